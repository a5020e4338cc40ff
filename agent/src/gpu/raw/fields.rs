//! Field values: the figures that NVML has under a number instead of a function.

use std::mem::zeroed;

use nvml_wrapper::{
    Device,
    error::{NvmlError, nvml_sym, nvml_try},
};
use nvml_wrapper_sys::bindings::{
    nvmlFieldValue_t, nvmlValue_t, nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT, nvmlValueType_t,
};

const _: () = assert!(size_of::<nvmlFieldValue_t>() == 40);

/// What is asked for: the field's number, and its scope where it has one (a link's number, say).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub id: u32,
    pub scope: u32,
}

/// A field's value, as the driver typed it. nvml-wrapper's cuts longs to 32 bits and knows no signed int.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Double(f64),
}

impl Value {
    /// The value where it is a whole number that is not negative.
    #[must_use]
    pub fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            Self::Double(_) => None,
        }
    }

    /// The value where it is a whole number.
    #[must_use]
    pub fn signed(self) -> Option<i64> {
        match self {
            Self::Unsigned(value) => i64::try_from(value).ok(),
            Self::Signed(value) => Some(value),
            Self::Double(_) => None,
        }
    }
}

/// `nvmlDeviceGetFieldValues`: all in one call, each with an outcome of its own, in the order asked for.
///
/// The numbers 251 to 273 mean other fields from driver 580.82 on than in the header this was built with: do not ask for them here.
pub fn field_values(
    device: &Device<'_>,
    fields: &[Field],
) -> Result<Vec<Result<Value, NvmlError>>, NvmlError> {
    let call = nvml_sym(device.nvml().lib().nvmlDeviceGetFieldValues.as_ref())?;
    let asked = |field: &Field| {
        // SAFETY: plain numbers and a union of numbers, for all of which zero is a value.
        let mut value: nvmlFieldValue_t = unsafe { zeroed() };
        (value.fieldId, value.scopeId) = (field.id, field.scope);
        value
    };
    let mut values: Vec<_> = fields.iter().map(asked).collect();
    let count = i32::try_from(values.len()).map_err(|_| NvmlError::InvalidArg)?;
    // SAFETY: as many elements as the count says; the handle belongs to this NVML.
    nvml_try(unsafe { call(device.handle(), count, values.as_mut_ptr()) })?;
    Ok(values.iter().map(value).collect())
}

/// One field by its number.
pub fn field_value(device: &Device<'_>, field: Field) -> Result<Value, NvmlError> {
    field_values(device, &[field])?.pop().unwrap_or(Err(NvmlError::Unknown))
}

fn value(field: &nvmlFieldValue_t) -> Result<Value, NvmlError> {
    nvml_try(field.nvmlReturn)?;
    typed(field.valueType, field.value)
}

/// What a union of NVML's has, by the type it is said to be of.
#[expect(non_upper_case_globals, reason = "they are named as in NVML's header")]
pub(super) fn typed(kind: nvmlValueType_t, union: nvmlValue_t) -> Result<Value, NvmlError> {
    // SAFETY: every member starts at the union's first byte, any bits are a value of each member, and the driver wrote the
    // one that it says.
    let value = unsafe {
        match kind {
            nvmlValueType_enum_NVML_VALUE_TYPE_DOUBLE => Value::Double(union.dVal),
            nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT => Value::Unsigned(union.uiVal.into()),
            nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG => Value::Unsigned(union.ulVal),
            nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG => Value::Unsigned(union.ullVal),
            nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_LONG_LONG => Value::Signed(union.sllVal),
            nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT => Value::Signed(union.siVal.into()),
            nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_SHORT => {
                Value::Unsigned(union.usVal.into())
            }
            other => return Err(NvmlError::UnexpectedVariant(other)),
        }
    };
    Ok(value)
}
