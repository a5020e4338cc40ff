//! The first and only program of a virtual machine with one of Debian's kernels: sets the machine up, drives the agent
//! against the stand-in for the driver, and says how each check went. `cargo xtask vm` builds and boots it, and says
//! what is expected of which kernel.
//!
//! Each check is a line on the serial port that `REPORT` names:
//!
//! ```text
//! CHECK xid_process ok kernel an Xid of 0000:ed:00.0
//! CHECK load fail missing CAP_BPF
//! ```
//!
//! The first word behind `ok` is what is compared: how it was done, or what was found. As `/init load …` it is the
//! process that works with the devices ([`load`]).

mod devices;
mod load;
mod machine;
mod standin;
mod xid;

use std::{env, fs::OpenOptions, io::Write as _, process::ExitCode};

use anyhow::{Context as _, Result};
use e2e::Agent;

/// How a check went that did not fail: the word that is compared, and what else is worth reading.
struct Outcome(String, String);

/// One session for all checks, because emulated it takes a second to open one.
#[derive(Default)]
struct Session(Option<Agent>);

impl Session {
    /// The session; another where there is none yet, or a check failed with the last.
    fn agent(&mut self) -> Result<&mut Agent> {
        if self.0.is_none() {
            self.0 = Some(Agent::simulated(&["--ebpf", "auto"])?);
        }
        self.0.as_mut().context("it was there a moment ago")
    }
}

/// All checks in their order: later ones find in the kernel's log what earlier ones had printed.
type Check = (&'static str, fn(&mut Session) -> Result<Outcome>);
const CHECKS: &[Check] = &[
    ("standin", devices::standin),
    ("load", xid::load),
    ("xid_process", |session| xid::printed(session, &xid::PROCESS)),
    ("xid_interrupt", |session| xid::printed(session, &xid::INTERRUPT)),
    ("xid_softirq", |session| xid::printed(session, &xid::SOFTIRQ)),
    ("xid_workqueue", |session| xid::printed(session, &xid::WORKQUEUE)),
    ("xid_forged", xid::forged),
    ("tracepoint", xid::tracepoint),
    ("kernel_log", xid::kernel_log),
    ("attach", devices::attach),
    ("open", devices::open),
    ("ioctl", devices::ioctl),
    ("failed", devices::failed),
    ("stall", devices::stall),
    ("fork", devices::fork),
    ("attribution_v2", devices::attribution_v2),
    // Takes the tree of version 2 away: the last.
    ("attribution_v1", devices::attribution_v1),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if arguments.get(1).is_some_and(|word| word == "load") {
        return said(load::run(&arguments[2..]));
    }
    if std::process::id() != 1 {
        return said(Err(anyhow::anyhow!(
            "this is the first process of a virtual machine: run `cargo xtask vm`"
        )));
    }
    if let Err(error) = run() {
        // Where the kernel's own messages go.
        let _ = writeln!(std::io::stderr(), "init: {error:#}");
    }
    // Returns only where it fails; the end of the first process ends the machine too.
    said(machine::power_off())
}

fn said(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "{error:#}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    machine::set_up()?;
    let mut report = OpenOptions::new()
        .write(true)
        .open(env::var_os("REPORT").context("no REPORT on the kernel's command line")?)?;
    machine::module()?;
    machine::nodes()?;
    let mut session = Session::default();
    for (name, check) in CHECKS {
        let outcome = check(&mut session);
        if outcome.is_err() {
            session = Session::default();
        }
        let outcome = match outcome {
            Ok(Outcome(word, detail)) => format!("ok {word} {detail}"),
            Err(error) => format!("fail {error:#}"),
        };
        // One line, whatever an error says.
        writeln!(report, "CHECK {name} {}", outcome.replace(['\n', '\r'], " "))?;
    }
    Ok(())
}
