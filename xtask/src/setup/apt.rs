//! Packages of Debian and Ubuntu.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::version::{Version, field};
use crate::{cmd, paths, ui};

/// How this machine lets us install packages.
#[derive(Debug)]
pub(crate) struct Apt {
    access: Access,
    /// The package lists are brought up to date once per run, and only when something is missing:
    /// a fresh machine or image has none, and the compiler needed here came as an update.
    updated: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Not Debian's family.
    NoApt,
    /// apt-get is there, the right to use it is not.
    NotAllowed,
    Root,
    Sudo {
        may_ask: bool,
    },
}

impl Apt {
    pub(crate) fn detect() -> Self {
        let access = if paths::on_path("apt-get").is_none() {
            Access::NoApt
        } else if is_root() {
            Access::Root
        } else if cmd::succeeds(Command::new("sudo").args(["-n", "true"])) {
            Access::Sudo { may_ask: false }
        } else if paths::on_path("sudo").is_some() && std::io::stdin().is_terminal() {
            Access::Sudo { may_ask: true }
        } else {
            Access::NotAllowed
        };
        Self { access, updated: Cell::new(false) }
    }

    pub(crate) fn present(&self) -> bool {
        self.access != Access::NoApt
    }

    pub(crate) fn may_install(&self) -> bool {
        matches!(self.access, Access::Root | Access::Sudo { .. })
    }

    /// The version of the package that would be installed, after a refresh of the lists.
    pub(crate) fn candidate(&self, package: &str) -> Result<Option<Version>> {
        if !self.present() {
            return Ok(None);
        }
        self.update()?;
        let policy = cmd::output(Command::new("apt-cache").args(["policy", package]))?;
        // Debian writes an epoch before some versions: "1:22.1.8-1".
        let candidate = field(&policy, "Candidate").map(|v| v.rsplit(':').next().unwrap_or(v));
        Ok(candidate.and_then(|version| version.parse().ok()))
    }

    /// Installs packages, or says which command the user has to run.
    pub(crate) fn install(&self, packages: &[&str], why: &str) -> Result<()> {
        let names = packages.join(" ");
        match self.access {
            Access::NoApt => bail!(
                "{why} needs the packages that Debian calls {names}, and this machine has no \
                 apt-get: install them its own way, then run this again"
            ),
            Access::NotAllowed => bail!(
                "{why} needs packages, and this user may not install them: run\n\n    \
                 sudo apt-get update && sudo apt-get install --no-install-recommends {names}\n\n\
                 and then this command again"
            ),
            Access::Root | Access::Sudo { .. } => {}
        }
        self.update()?;
        let mut install = self.apt_get()?;
        install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        ui::line(format!("  for {why}: {}", cmd::display(&install)));
        cmd::quiet(&mut install, &format!("installing {names}"))
            .with_context(|| format!("cannot install what {why} needs"))
    }

    fn update(&self) -> Result<()> {
        if self.updated.get() || !self.may_install() {
            return Ok(());
        }
        let mut update = self.apt_get()?;
        update.arg("update");
        // A repository that is gone must not stop us: the packages may come from another.
        if let Err(error) = cmd::quiet(&mut update, "updating the package lists") {
            ui::line(format!("  going on with the package lists as they are: {error}"));
        }
        self.updated.set(true);
        Ok(())
    }

    fn apt_get(&self) -> Result<Command> {
        const NONINTERACTIVE: (&str, &str) = ("DEBIAN_FRONTEND", "noninteractive");
        let Access::Sudo { may_ask } = self.access else {
            let mut cmd = Command::new("apt-get");
            cmd.env(NONINTERACTIVE.0, NONINTERACTIVE.1);
            return Ok(cmd);
        };
        if may_ask {
            ui::line("  packages are missing: sudo may ask for your password");
            cmd::visible(Command::new("sudo").arg("-v"))?;
        }
        let mut cmd = Command::new("sudo");
        cmd.arg(format!("{}={}", NONINTERACTIVE.0, NONINTERACTIVE.1)).arg("apt-get");
        Ok(cmd)
    }
}

pub(crate) fn is_root() -> bool {
    cmd::output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(access: Access) -> String {
        let apt = Apt { access, updated: Cell::new(false) };
        apt.install(&["llvm-22-dev", "g++"], "building it").unwrap_err().to_string()
    }

    #[test]
    fn without_the_right_to_install_the_user_gets_the_command_to_run() {
        let said = refusal(Access::NotAllowed);
        assert!(said.contains("sudo apt-get update && sudo apt-get install"), "{said}");
        assert!(said.contains("llvm-22-dev g++"), "{said}");
    }

    #[test]
    fn without_apt_the_user_gets_the_names() {
        let said = refusal(Access::NoApt);
        assert!(said.contains("no apt-get") && said.contains("llvm-22-dev g++"), "{said}");
    }
}
