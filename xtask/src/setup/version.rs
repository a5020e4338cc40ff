//! Versions as rustc, LLVM and Debian write them.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result};

/// `major.minor.patch`; what follows (`-nightly`, `+dfsg1-1`) is not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

impl Version {
    /// The oldest compiler this workspace is built with, from its one place: `rust-version` in
    /// the root Cargo.toml.
    pub(crate) fn oldest_rust() -> Result<Self> {
        env!("CARGO_PKG_RUST_VERSION").parse()
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or("");
        let mut parts = numbers.split('.').map(str::parse);
        let mut next = || parts.next().and_then(Result::ok);
        let major = next().with_context(|| format!("{text:?} is not a version"))?;
        Ok(Self { major, minor: next().unwrap_or(0), patch: next().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The value of a `name: value` line, as `rustc -vV` and `apt-cache policy` print them.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_of_rustc_llvm_and_debian_are_read() {
        let expected = Version { major: 1, minor: 97, patch: 0 };
        assert_eq!(version("1.97.0-nightly"), expected);
        assert_eq!(version("22.1.4"), Version { major: 22, minor: 1, patch: 4 });
        assert_eq!(version("22.1"), Version { major: 22, minor: 1, patch: 0 });
        assert_eq!(version("1.96.0+dfsg1-1~deb12u2").minor, 96);
        assert!("(none)".parse::<Version>().is_err());
        assert!("".parse::<Version>().is_err());
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(version("22.1.10") > version("22.1.9"));
        assert!(version("23.1.0") > version("22.9.9"));
    }

    #[test]
    fn the_workspace_names_its_oldest_compiler() {
        assert!(Version::oldest_rust().unwrap() >= version("1.95"));
    }

    #[test]
    fn fields_are_found_at_any_indent() {
        let text = "rustc 1.97.0\nrelease: 1.97.0-nightly\n  LLVM version: 22.1.4\n";
        assert_eq!(field(text, "release"), Some("1.97.0-nightly"));
        assert_eq!(field(text, "LLVM version"), Some("22.1.4"));
        assert_eq!(field(text, "host"), None);
    }
}
