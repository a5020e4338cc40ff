//! `agent decode [-o text|json]`: reads a kernel log on stdin and prints what it understood of it.
//!
//! ```text
//! $ dmesg | agent decode
//!    210  fatal     0000:91:00.0  Xid 79: GPU has fallen off the bus.  → RESTART_BM
//!    211  fatal     0000:91:00.0  + bus_loss: GPU 0000:91:00.0: GPU has fallen off the bus.
//!    873  error     0000:2b:00.0  Xid 31 (pid 1942 llama-bench): channel 0x00000002, intr 00000000. MMU Fault: ENGINE GRAPHICS  → RESTART_APP
//! 1204 lines read: 3 with an event, 1201 with none
//! ```
//!
//! Any log will do, with or without the prefix that `dmesg`, `journalctl`, syslog, Talos or `/dev/kmsg` puts before a line.
//!
//! # Text
//! A line for every event: the number of the input line, how bad it is, the device, what it is with the process that the
//! driver names, the driver's words, and NVIDIA's action for at once. A `+` marks a line that goes on with an event told
//! before. The last line counts what was read. For what a number means there is `agent xid`.
//!
//! # JSON
//! An object for every event, a line each; the count goes to stderr, so that stdout is JSON alone, in ASCII. Every field is
//! always there. Names stay; new ones may come.
//!
//! | field | |
//! | --- | --- |
//! | `line` | number of the input line, from 1 |
//! | `kind` | `xid`, `sxid`, `bus_loss`, `init_failure`, `reset_required`, `gsp`, `aer` |
//! | `code` | the Xid's or SXid's number; null for other kinds |
//! | `pci` | the device, `0000:3b:00.0` |
//! | `pid`, `name` | the process that the line names. It chose the name itself |
//! | `channel`, `link` | channel of the GPU, NVLink of the device |
//! | `details` | what the message says, decoded; empty where its wording is not known. Registers and addresses are strings like `0x7f00`, counts numbers |
//! | `action` | NVIDIA's action for at once, for this line and not for the number alone |
//! | `raw` | the line, at most 8 KiB of it; what is not UTF-8 is replaced |
//! | `cut` | whether the line is longer than that |
//! | `severity`, `severity_rule` | `info` to `fatal`, and what that follows from: `nvidia_action`, `nvidia_class`, `line`, `ours` |
//! | `investigatory_action` | NVIDIA's action for afterwards |
//! | `mnemonic` | NVIDIA's name of the number; null where no catalogue has it |
//! | `caused_by` | the Xid that led to this one |
//! | `follows` | the line goes on with an event told before: not to be counted again |
//! | `mig_gpu_instance`, `mig_compute_instance` | the MIG instance |
//! | `message` | the driver's words behind address, code and process |
//! | `origin` | `kernel`, or `user` for a line that a process wrote through /dev/kmsg; null where the log does not tell |
//! | `since_boot_ns`, `time` | the time in the line: on the kernel's clock, or a wall clock's as it is written |
//!
//! A field is null where the line does not say.
//!
//! # Exit code
//! 0, also where nothing was found or stdin was empty (stderr says so) or the reader of stdout had enough; 1 where stdin
//! cannot be read or stdout not be written.
//!
//! # Cost
//! Memory does not grow with the log or its lines: of a line 8 KiB are looked at, the rest is read past. Where lines come
//! slowly, as from `dmesg --follow`, each is told before the next is waited for.

mod answer;
mod lines;

use std::{
    io::{self, IsTerminal as _, Read, Write},
    process::ExitCode,
};

use self::{
    answer::Event,
    lines::{Line, Lines},
};
use super::output::{self, Format};
use crate::xid::{self, Combiner, Fault, Kind, Origin};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// `text` for a person; `json`: one object a line, and the count on stderr
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

/// Decodes stdin to stdout.
pub fn run(args: &Args) -> ExitCode {
    let stdin = io::stdin().lock();
    if stdin.is_terminal() {
        output::say(
            "reading a kernel log from the terminal; `dmesg | agent decode` is the usual way",
        );
    }
    match decode(stdin, &mut output::stdout(), args.output) {
        Ok(count) => {
            if count.lines == 0 {
                output::say("stdin was empty, so no log was read; may this user run dmesg?");
            } else if args.output == Format::Json {
                output::say(&count);
            }
            ExitCode::SUCCESS
        }
        Err(Failed::Read(error)) => {
            output::say(format_args!("cannot read stdin: {error}"));
            ExitCode::FAILURE
        }
        Err(Failed::Write(error)) => output::ended(Err(error)),
    }
}

enum Failed {
    Read(io::Error),
    Write(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// What was read.
#[derive(Default)]
struct Count {
    lines: u64,
    events: u64,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lines, events } = self;
        let noun = if *lines == 1 { "line" } else { "lines" };
        write!(f, "{lines} {noun} read: {events} with an event, {} with none", lines - events)
    }
}

fn decode(input: impl Read, out: &mut impl Write, format: Format) -> Result<Count, Failed> {
    let mut lines = Lines::new(input);
    let mut combiner = Combiner::default();
    let mut count = Count::default();
    loop {
        let more = lines.read().map_err(Failed::Read)?;
        while let Some(line) = lines.next() {
            count.lines += 1;
            if let Some(fault) = combiner.feed(line.bytes) {
                count.events += 1;
                match format {
                    Format::Json => output::json_line(out, &Event::of(count.lines, &fault, line))?,
                    Format::Text => text(out, count.lines, &fault)?,
                }
            }
        }
        if !more {
            break;
        }
        // The next read may wait for long.
        out.flush()?;
    }
    if format == Format::Text && count.lines > 0 {
        writeln!(out, "{count}")?;
    }
    out.flush()?;
    Ok(count)
}

/// A line for a person. What a process wrote into it comes with its control characters escaped.
fn text(out: &mut impl Write, line: u64, fault: &Fault<'_>) -> io::Result<()> {
    let assessment = xid::assess(fault);
    let pci = fault.pci.map_or("-".to_owned(), |pci| pci.to_string());
    write!(out, "{line:>6}  {:<8}  {pci:<12}  ", assessment.severity.name())?;
    if fault.follows {
        write!(out, "+ ")?;
    }
    match (fault.kind, fault.code) {
        (Kind::Xid, Some(code)) => write!(out, "Xid {code}")?,
        (Kind::Sxid, Some(code)) => write!(out, "SXid {code}")?,
        (kind, _) => write!(out, "{}", kind.name())?,
    }
    let process = fault.process;
    match (process.pid, process.name) {
        (Some(pid), Some(name)) => write!(out, " (pid {pid} {name})")?,
        (Some(pid), None) => write!(out, " (pid {pid})")?,
        (None, Some(name)) => write!(out, " ({name})")?,
        (None, None) => {}
    }
    if !fault.message.is_empty() {
        write!(out, ": {}", fault.message)?;
    }
    if let Some(code) = fault.caused_by {
        write!(out, " [caused by Xid {code}]")?;
    }
    if fault.origin == Origin::User {
        write!(out, " [written by a process, not by the driver]")?;
    }
    if let (Some(action), false) = (assessment.immediate, fault.follows) {
        write!(out, "  → {}", action.name())?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LOG: &[u8] = b"[ 1.0] usb 1-1: new device\n\
        [ 2.5] NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=py\x1bthon, Ch 00000010, intr 00000000\n\
        <12>NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 45, pid=4711, Ch 0000000c caused by previous Xid 31\r\n";

    fn decoded(log: &[u8], format: Format) -> (String, Count) {
        let mut out = Vec::new();
        let Ok(count) = decode(log, &mut out, format) else { panic!("memory does not fail") };
        (String::from_utf8(out).unwrap(), count)
    }

    #[test]
    fn json_has_every_field_and_null_where_the_line_does_not_say() {
        let (out, count) = decoded(LOG, Format::Json);
        assert_eq!((count.lines, count.events), (3, 2));
        let events: Vec<Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let want = json!({
            "line": 2, "kind": "xid", "code": 31, "pci": "0000:3b:00.0", "pid": 4711, "name": "py\\u{1b}thon",
            "channel": 16, "link": null, "details": {"interrupt": "0x0"}, "action": "RESTART_APP",
            "raw": "[ 2.5] NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=py\u{1b}thon, Ch 00000010, intr 00000000",
            "cut": false, "severity": "error", "severity_rule": "nvidia_action",
            "investigatory_action": "WORKFLOW_XID_31", "mnemonic": "ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT",
            "caused_by": null, "follows": false, "mig_gpu_instance": null, "mig_compute_instance": null,
            "message": "Ch 00000010, intr 00000000", "origin": null, "since_boot_ns": 2_500_000_000_u64, "time": null,
        });
        assert_eq!(events[0], want);
        let names = |event: &Value| event.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(&events[1]),
            names(&want),
            "the contract's fields first, always in this order"
        );
        assert_eq!(
            [&events[1]["caused_by"], &events[1]["origin"], &events[1]["mig_gpu_instance"]],
            [&json!(31), &json!("user"), &json!(5)]
        );
        assert!(events[1]["raw"].as_str().unwrap().ends_with("Xid 31"), "without its line end");
    }

    #[test]
    fn text_is_a_harmless_line_per_event_and_a_count() {
        let (out, _) = decoded(LOG, Format::Text);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            [
                r"     2  error     0000:3b:00.0  Xid 31 (pid 4711 py\u{1b}thon): Ch 00000010, intr 00000000  → RESTART_APP",
                "     3  info      0000:3b:00.0  Xid 45 (pid 4711): Ch 0000000c [caused by Xid 31] [written by a process, not by the driver]  → IGNORE",
                "3 lines read: 2 with an event, 1 with none",
            ]
        );
        assert_eq!(decoded(b"", Format::Text).0, "");
    }

    #[test]
    fn what_cannot_be_read_or_written_is_told_apart() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::IsADirectory.into())
            }
        }
        assert!(matches!(decode(Broken, &mut io::sink(), Format::Text), Err(Failed::Read(_))));
        let mut full = &mut [0; 8][..];
        assert!(matches!(decode(LOG, &mut full, Format::Json), Err(Failed::Write(_))));
    }
}
