//! What goes wrong with a call before it is answered: an error, a delay, or no return at all.
//!
//! Faults come and go with the scenario while a client runs. A call that waits looks at the scenario again and again, so
//! a fault that is taken away lets go of the calls it held, and these answer as if it had never been.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::code::Code;

/// Faults by the exported function they strike: by its name, or by the beginning of its name and a star.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct Faults(BTreeMap<String, Fault>);

/// In TOML a code alone (`"TIMEOUT"`, `999`), a table `{ code = …, delay_ms = …, hang = … }`, or `"none"`, which spares
/// a function what a star or a layer below has in store for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    code: Option<Code>,
    delay: Duration,
    hang: bool,
}

/// The one function that no star strikes: a client must be able to go.
const SPARED: &str = "nvmlShutdown";

impl Faults {
    /// The fault of this function: its own, or that of the longest beginning of its name.
    #[must_use]
    pub fn of(&self, symbol: &str) -> Option<&Fault> {
        let by_beginning = || {
            let beginnings =
                self.0.iter().filter_map(|(key, fault)| Some((key.strip_suffix('*')?, fault)));
            beginnings
                .filter(|(beginning, _)| symbol != SPARED && symbol.starts_with(beginning))
                .max_by_key(|(beginning, _)| beginning.len())
                .map(|(_, fault)| fault)
        };
        self.0.get(symbol).or_else(by_beginning)
    }

    /// The first name that is no function about `subject`: a fault that could never strike. A beginning with a star may
    /// stand for functions about anything, in the node's faults.
    pub fn stray(&self, subject: Subject, exports: Exports) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|symbol| !exports(symbol, subject))
    }
}

impl Fault {
    /// How much longer a call waits that has waited so long, and after that what it fails with. None: it waits no more.
    #[must_use]
    pub fn wait(&self, waited: Duration) -> Option<Duration> {
        if self.hang {
            return Some(Duration::MAX);
        }
        self.delay.checked_sub(waited).filter(|rest| !rest.is_zero())
    }

    pub fn outcome(&self) -> Result<(), Code> {
        self.code.map_or(Ok(()), Err)
    }
}

/// What a function is about, and so whose faults strike it. A function that looks a GPU up is about both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Node,
    Gpu,
}

/// Whether the library exports a function of this name about this subject, or for a name that ends in a star, functions
/// whose names begin so.
pub type Exports = fn(&str, Subject) -> bool;

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            code: Option<Code>,
            #[serde(default)]
            delay_ms: f64,
            #[serde(default)]
            hang: bool,
        }
        let value = toml::Value::deserialize(deserializer)?;
        let custom =
            |error: toml::de::Error| serde::de::Error::custom(error.to_string().trim_end());
        if value.as_str() == Some("none") {
            return Ok(Self::default());
        }
        if !value.is_table() {
            let code = Code::deserialize(value).map_err(custom)?;
            return Ok(Self { code: Some(code), ..Self::default() });
        }
        let Long { code, delay_ms, hang } = Long::deserialize(value).map_err(custom)?;
        let delay = Duration::try_from_secs_f64(delay_ms / 1e3)
            .map_err(|error| serde::de::Error::custom(format_args!("delay_ms: {error}")))?;
        if code.is_none() && delay.is_zero() && !hang {
            return Err(serde::de::Error::custom("a fault needs a code, delay_ms or hang = true"));
        }
        Ok(Self { code, delay, hang })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        toml::from_str(text).unwrap()
    }

    fn outcome(faults: &Faults, symbol: &str) -> Result<(), Code> {
        faults.of(symbol).map_or(Ok(()), Fault::outcome)
    }

    #[test]
    fn a_code_strikes_its_own_symbol_only() {
        let faults = faults("nvmlDeviceGetName = 'NOT_SUPPORTED'\nnvmlDeviceGetUUID = 999");
        assert_eq!(outcome(&faults, "nvmlDeviceGetName"), Err(Code::NOT_SUPPORTED));
        assert_eq!(outcome(&faults, "nvmlDeviceGetUUID"), Err(Code::UNKNOWN));
        assert_eq!(faults.of("nvmlDeviceGetSerial"), None);
    }

    #[test]
    fn the_longest_beginning_strikes_and_the_whole_name_before_it() {
        let faults = faults(
            "'*' = 'UNKNOWN'\n'nvmlDeviceGetNvLink*' = 'TIMEOUT'\nnvmlDeviceGetNvLinkState = 'none'",
        );
        for (symbol, expected) in [
            ("nvmlDeviceGetNvLinkVersion", Err(Code::TIMEOUT)),
            ("nvmlDeviceGetNvLinkState", Ok(())),
            ("nvmlInit_v2", Err(Code::UNKNOWN)),
            ("nvmlShutdown", Ok(())),
        ] {
            assert_eq!(outcome(&faults, symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn a_call_waits_for_its_delay_and_in_a_hang_for_ever() {
        let faults = faults(
            "a = { delay_ms = 30, code = 'TIMEOUT' }\nb = { hang = true }\nc = 'TIMEOUT'\nd = { delay_ms = 0.1 }",
        );
        let wait = |symbol, waited| faults.of(symbol).unwrap().wait(Duration::from_millis(waited));
        assert_eq!(wait("d", 0), Some(Duration::from_micros(100)));
        assert_eq!(wait("a", 0), Some(Duration::from_millis(30)));
        assert_eq!(wait("a", 20), Some(Duration::from_millis(10)));
        assert_eq!((wait("a", 30), wait("a", 31), wait("c", 0)), (None, None, None));
        assert_eq!(wait("b", 1_000_000), Some(Duration::MAX));
    }

    #[test]
    fn a_fault_that_does_nothing_is_refused() {
        for fault in ["delay_ms = 0", "delay_ms = -1", "hang = true, for_ms = 3"] {
            let text = format!("nvmlDeviceGetName = {{ {fault} }}");
            assert!(toml::from_str::<Faults>(&text).is_err(), "{fault}");
        }
    }
}
