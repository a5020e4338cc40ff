//! NVML's return codes: their numbers, their names in a scenario, and the sentence `nvmlErrorString` gives.

use std::ffi::CStr;
use std::fmt;

use nvml_wrapper_sys::bindings as sys;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Why a call did not succeed. Never `NVML_SUCCESS`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(sys::nvmlReturn_t);

macro_rules! codes {
    ($($name:ident = $constant:ident: $sentence:literal;)*) => {
        impl Code {
            $(pub const $name: Self = Self(sys::$constant);)*
        }
        /// Name in a scenario, number, sentence. The sentences are those of `nvmlErrorString`.
        const KNOWN: &[(&str, Code, &CStr)] = &[$((stringify!($name), Code::$name, $sentence)),*];
    };
}

codes! {
    UNINITIALIZED = nvmlReturn_enum_NVML_ERROR_UNINITIALIZED: c"Uninitialized";
    INVALID_ARGUMENT = nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT: c"Invalid Argument";
    NOT_SUPPORTED = nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED: c"Not Supported";
    NO_PERMISSION = nvmlReturn_enum_NVML_ERROR_NO_PERMISSION: c"Insufficient Permissions";
    ALREADY_INITIALIZED = nvmlReturn_enum_NVML_ERROR_ALREADY_INITIALIZED: c"Already Initialized";
    NOT_FOUND = nvmlReturn_enum_NVML_ERROR_NOT_FOUND: c"Not Found";
    INSUFFICIENT_SIZE = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE: c"Insufficient Size";
    INSUFFICIENT_POWER = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_POWER: c"Insufficient External Power";
    DRIVER_NOT_LOADED = nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED: c"Driver Not Loaded";
    TIMEOUT = nvmlReturn_enum_NVML_ERROR_TIMEOUT: c"Timeout";
    IRQ_ISSUE = nvmlReturn_enum_NVML_ERROR_IRQ_ISSUE: c"Interrupt Request Issue";
    LIBRARY_NOT_FOUND = nvmlReturn_enum_NVML_ERROR_LIBRARY_NOT_FOUND: c"NVML Shared Library Not Found";
    FUNCTION_NOT_FOUND = nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND: c"Function Not Found";
    CORRUPTED_INFOROM = nvmlReturn_enum_NVML_ERROR_CORRUPTED_INFOROM: c"Corrupted infoROM";
    GPU_IS_LOST = nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST: c"GPU is lost";
    RESET_REQUIRED = nvmlReturn_enum_NVML_ERROR_RESET_REQUIRED: c"GPU requires restart";
    OPERATING_SYSTEM = nvmlReturn_enum_NVML_ERROR_OPERATING_SYSTEM:
        c"The operating system has blocked the request.";
    LIB_RM_VERSION_MISMATCH = nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        c"RM has detected an NVML/RM version mismatch.";
    IN_USE = nvmlReturn_enum_NVML_ERROR_IN_USE: c"In use by another client";
    MEMORY = nvmlReturn_enum_NVML_ERROR_MEMORY: c"Insufficient Memory";
    NO_DATA = nvmlReturn_enum_NVML_ERROR_NO_DATA: c"No data";
    INSUFFICIENT_RESOURCES = nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_RESOURCES: c"Insufficient Resources";
    FREQ_NOT_SUPPORTED = nvmlReturn_enum_NVML_ERROR_FREQ_NOT_SUPPORTED: c"Frequency Not Supported";
    ARGUMENT_VERSION_MISMATCH = nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
        c"Argument Version Mismatch";
    DEPRECATED = nvmlReturn_enum_NVML_ERROR_DEPRECATED: c"Requested functionality has been deprecated";
    NOT_READY = nvmlReturn_enum_NVML_ERROR_NOT_READY: c"Not Ready";
    GPU_NOT_FOUND = nvmlReturn_enum_NVML_ERROR_GPU_NOT_FOUND: c"No GPUs were found";
    INVALID_STATE = nvmlReturn_enum_NVML_ERROR_INVALID_STATE: c"Invalid State";
    RESET_TYPE_NOT_SUPPORTED = nvmlReturn_enum_NVML_ERROR_RESET_TYPE_NOT_SUPPORTED: c"Reset Type Not Supported";
    UNKNOWN = nvmlReturn_enum_NVML_ERROR_UNKNOWN: c"Unknown Error";
}

impl Code {
    #[must_use]
    pub fn number(self) -> sys::nvmlReturn_t {
        self.0
    }

    fn named(name: &str) -> Option<Self> {
        KNOWN.iter().find(|(known, ..)| *known == name).map(|(_, code, _)| *code)
    }
}

/// What `nvmlErrorString` says; for a number nobody knows it is what the driver says too.
#[must_use]
pub fn sentence(number: sys::nvmlReturn_t) -> &'static CStr {
    if number == sys::nvmlReturn_enum_NVML_SUCCESS {
        return c"Success";
    }
    KNOWN
        .iter()
        .find(|(_, code, _)| code.0 == number)
        .map_or(c"Unknown Error", |(.., sentence)| sentence)
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|(_, code, _)| code == self) {
            Some((name, ..)) => f.write_str(name),
            None => write!(f, "NVML code {}", self.0),
        }
    }
}

/// From a name without its `NVML_ERROR_` ("NOT_SUPPORTED"), or from a number for codes this list does not have.
impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumber;
        impl Visitor<'_> for NameOrNumber {
            type Value = Code;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an NVML error such as \"NOT_SUPPORTED\", or its number")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Code, E> {
                Code::named(name).ok_or_else(|| {
                    let names: Vec<_> = KNOWN.iter().map(|(name, ..)| *name).collect();
                    E::custom(format!(
                        "no NVML error is called {name:?}; known: {}",
                        names.join(", ")
                    ))
                })
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Code, E> {
                match u32::try_from(number) {
                    Ok(number) if number != sys::nvmlReturn_enum_NVML_SUCCESS => Ok(Code(number)),
                    _ => Err(E::custom(format!("{number} is not the number of an NVML error"))),
                }
            }
        }
        deserializer.deserialize_any(NameOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_name_or_a_number_and_nothing_else() {
        let read = |text: &str| {
            toml::from_str::<std::collections::BTreeMap<String, Code>>(&format!("code = {text}"))
                .map(|map| map["code"].number())
        };
        assert_eq!(read("\"GPU_IS_LOST\""), Ok(15));
        assert_eq!(read("25"), Ok(25));
        assert_eq!(read("4711"), Ok(4711));
        assert!(read("0").is_err(), "success is not an error");
        assert!(read("-1").is_err());
        let unknown = read("\"GPU_LOST\"").unwrap_err().to_string();
        assert!(unknown.contains("GPU_LOST") && unknown.contains("GPU_IS_LOST"), "{unknown}");
    }

    #[test]
    fn every_code_has_its_own_number() {
        let mut numbers: Vec<_> = KNOWN.iter().map(|(_, code, _)| code.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), KNOWN.len());
    }
}
