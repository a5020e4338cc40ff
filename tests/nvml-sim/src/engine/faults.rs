//! What goes wrong with a call before it is answered: an error, a delay, or no return at all.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::code::Code;

/// Faults by the name of the exported function they strike.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct Faults(BTreeMap<String, Fault>);

/// In TOML a code alone (`"TIMEOUT"`, `999`) or a table `{ code = …, delay_ms = …, hang = … }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    code: Option<Code>,
    delay: Duration,
    hang: bool,
}

impl Faults {
    /// Does to the calling thread what the scenario has in store for `symbol`.
    ///
    /// The caller must hold no lock: a hang is for ever, and other calls go on around it as they do around a process
    /// that is stuck in the real driver.
    pub fn strike(&self, symbol: &str) -> Result<(), Code> {
        let Some(Fault { code, delay, hang }) = self.0.get(symbol) else { return Ok(()) };
        if !delay.is_zero() {
            thread::sleep(*delay);
        }
        if *hang {
            loop {
                thread::park();
            }
        }
        code.map_or(Ok(()), Err)
    }

    /// The first name that is no function about `subject`: a fault that could never strike.
    pub fn stray(&self, subject: Subject, exports: &Exports<'_>) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|symbol| !exports(symbol, subject))
    }
}

/// What a function is about, and so whose faults strike it. A function that looks a GPU up is about both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Node,
    Gpu,
}

/// Whether the library exports a function of this name about this subject.
pub type Exports<'a> = dyn Fn(&str, Subject) -> bool + 'a;

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            code: Option<Code>,
            #[serde(default)]
            delay_ms: u64,
            #[serde(default)]
            hang: bool,
        }
        let value = toml::Value::deserialize(deserializer)?;
        let custom =
            |error: toml::de::Error| serde::de::Error::custom(error.to_string().trim_end());
        if !value.is_table() {
            let code = Code::deserialize(value).map_err(custom)?;
            return Ok(Self { code: Some(code), ..Self::default() });
        }
        let Long { code, delay_ms, hang } = Long::deserialize(value).map_err(custom)?;
        if code.is_none() && delay_ms == 0 && !hang {
            return Err(serde::de::Error::custom("a fault needs a code, delay_ms or hang = true"));
        }
        Ok(Self { code, delay: Duration::from_millis(delay_ms), hang })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Instant;

    use super::*;

    fn faults(text: &str) -> Faults {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_code_strikes_its_own_symbol_only() {
        let faults = faults("nvmlDeviceGetName = 'NOT_SUPPORTED'\nnvmlDeviceGetUUID = 999");
        assert_eq!(faults.strike("nvmlDeviceGetName"), Err(Code::NOT_SUPPORTED));
        assert_eq!(faults.strike("nvmlDeviceGetUUID"), Err(Code::UNKNOWN));
        assert_eq!(faults.strike("nvmlDeviceGetSerial"), Ok(()));
    }

    #[test]
    fn a_delay_comes_before_the_answer() {
        let faults = faults("nvmlDeviceGetName = { delay_ms = 30 }");
        let start = Instant::now();
        assert_eq!(faults.strike("nvmlDeviceGetName"), Ok(()));
        assert!(start.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_hang_never_returns() {
        let faults = Arc::new(faults("nvmlDeviceGetName = { hang = true }"));
        let (done, returned) = mpsc::channel();
        let stuck = Arc::clone(&faults);
        let thread = thread::spawn(move || {
            let _ = done.send(stuck.strike("nvmlDeviceGetName"));
        });
        // `park` may wake without reason; an unpark shows that the hang outlives it.
        thread.thread().unpark();
        assert_eq!(
            returned.recv_timeout(Duration::from_millis(100)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
    }

    #[test]
    fn a_fault_that_does_nothing_is_refused() {
        assert!(toml::from_str::<Faults>("nvmlDeviceGetName = { delay_ms = 0 }").is_err());
        assert!(
            toml::from_str::<Faults>("nvmlDeviceGetName = { hang = true, for_ms = 3 }").is_err()
        );
    }
}
