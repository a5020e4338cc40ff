//! Field values.

use nvml_wrapper_sys::bindings as sys;

use super::args::{FieldCount, Fields};
use super::throttle::now_us;
use crate::engine::fields::{self, FieldValue, Numbering};

const _: () = assert!(size_of::<sys::nvmlFieldValue_t>() == 40, "not the size NVML documents");

export! {
    /// Succeeds whatever its entries do; each has a return code of its own.
    device fn nvmlDeviceGetFieldValues((session, gpu), count: FieldCount, values: Fields) {
        let numbering = Numbering { renumbered: session.node.driver.has_renumbered_fields() };
        let timestamp = now_us()?.cast_signed();
        values.answer(&count, |question| {
            let answer = fields::read(gpu, question.fieldId, question.scopeId, numbering);
            entry(question, timestamp, answer)
        });
        Ok(())
    }
}

fn entry(
    question: sys::nvmlFieldValue_t,
    timestamp: i64,
    answer: Result<FieldValue, crate::engine::code::Code>,
) -> sys::nvmlFieldValue_t {
    let success = sys::nvmlReturn_enum_NVML_SUCCESS;
    let (status, kind, value) = match answer {
        Err(code) => (code.number(), sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT, ZERO),
        Ok(FieldValue::Unsigned(value)) => (
            success,
            sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT,
            sys::nvmlValue_t { uiVal: value },
        ),
        Ok(FieldValue::Signed(value)) => (
            success,
            sys::nvmlValueType_enum_NVML_VALUE_TYPE_SIGNED_INT,
            sys::nvmlValue_t { siVal: value },
        ),
        Ok(FieldValue::Long(value)) => {
            let kind = sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
            (success, kind, sys::nvmlValue_t { ullVal: value })
        }
    };
    sys::nvmlFieldValue_t {
        timestamp,
        latencyUsec: 0,
        valueType: kind,
        nvmlReturn: status,
        value,
        ..question
    }
}

const ZERO: sys::nvmlValue_t = sys::nvmlValue_t { ullVal: 0 };
