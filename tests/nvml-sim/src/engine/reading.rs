//! A value that a board may not have.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};

use super::code::Code;

/// What the hardware answers for one value: the value, or why there is none.
///
/// In TOML: the value itself; the word `"unsupported"`, which real boards say most of the time; or
/// `{ error = "DEPRECATED" }` for any other code.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading<T> {
    Value(T),
    Absent(Code),
}

impl<T> Reading<T> {
    pub fn as_ref(&self) -> Result<&T, Code> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Absent(code) => Err(*code),
        }
    }
}

impl<T: Copy> Reading<T> {
    pub fn get(&self) -> Result<T, Code> {
        self.as_ref().copied()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Absent {
    error: Code,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Reading<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        if value.as_str() == Some("unsupported") {
            return Ok(Self::Absent(Code::NOT_SUPPORTED));
        }
        if value.get("error").is_some() {
            let absent = Absent::deserialize(value).map_err(D::Error::custom)?;
            return Ok(Self::Absent(absent.error));
        }
        T::deserialize(value)
            .map(Self::Value)
            .map_err(|error| D::Error::custom(error.to_string().trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Board {
        watts: Reading<u32>,
        part: Reading<String>,
    }

    #[test]
    fn a_value_can_be_there_or_absent_with_a_reason() {
        let board: Board = toml::from_str("watts = 70\npart = 'unsupported'").unwrap();
        assert_eq!(board.watts.get(), Ok(70));
        assert_eq!(board.part.as_ref(), Err(Code::NOT_SUPPORTED));
        let board: Board = toml::from_str("watts = { error = 26 }\npart = '900-1'").unwrap();
        assert_eq!(board.watts.get(), Err(Code::DEPRECATED));
        assert_eq!(board.part.as_ref().map(String::as_str), Ok("900-1"));
    }

    #[test]
    fn another_word_is_not_absence() {
        assert!(toml::from_str::<Board>("watts = 'n/a'\npart = 'x'").is_err());
        assert!(toml::from_str::<Board>("watts = { error = 26, why = 1 }\npart = 'x'").is_err());
    }
}
