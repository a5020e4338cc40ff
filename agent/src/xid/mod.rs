//! Kernel lines about NVIDIA GPUs, from text to meaning.
//!
//! Pure functions over bytes: no clock, no file, no NVML. Three steps, each usable alone:
//!
//! 1. [`parse`] makes a [`Fault`] of one line, or nothing: what the line says, and no more.
//!    [`Combiner`] does the same over a stream of lines and puts together what the driver spreads
//!    over several.
//! 2. [`catalogue`] knows what NVIDIA says about a code: name, meaning, what to do at once and what
//!    to look into.
//! 3. [`assess`] joins the two for one fault: how bad it is and what to do, where the answer
//!    depends on more than the code (NVLink5's registers, the number in an Xid 154, what an Xid 45
//!    follows).
//!
//! # What is an event
//! | [`Kind`] | the driver's text |
//! | --- | --- |
//! | `xid` | `NVRM: Xid (PCI:0000:3b:00): 79, …`, known code or not |
//! | `sxid` | `nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, …` and its `Severity` and `Data` lines |
//! | `bus_loss` | `NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.`, or three lines that end with it |
//! | `init_failure` | `RmInitAdapter failed!`, `rm_init_adapter failed` |
//! | `reset_required` | any `NVRM:` line with NV_ERR_RESET_REQUIRED, by name or as `status=0x00000062` |
//! | `gsp` | firmware notices without an Xid: rate limit of RPC errors, lost heartbeat, halted PMU |
//! | `aer` | PCIe errors of a device bound to `nvidia`, or of a port that may be above one ([`Fault::concerns`]) |
//!
//! The text has to stand where the driver puts it: at the line's start or behind a log's prefix,
//! which the `prefix` file defines part by part. The same words anywhere else are somebody's text
//! and not an event.
//!
//! # Trust
//! A process chooses its own name, and with it up to 15 bytes of an Xid line ([`Process::name`]).
//! The name stands behind the address and the code, so it can forge neither; a name with `, ` in it
//! can push its tail into the message. Who may write `/dev/kmsg` can forge a whole line:
//! [`Fault::origin`] tells where the log format carries it.
//!
//! # Memory and speed
//! A fault borrows from its line and nothing is allocated. To keep one, keep the line and parse it
//! again; that takes well under a microsecond. A line that is no event is told by its first bytes,
//! however long it is.
//!
//! # Adding a format
//! Put the line, with its public source, into `tests/kernel-lines/`, run the tests with
//! `UPDATE_GOLDEN=1`, and read the golden file's difference as the review will.

mod action;
mod aer;
mod assess;
mod bus;
pub mod cascade;
pub mod catalogue;
mod combine;
mod details;
mod fields;
mod graphics;
mod gsp;
mod memory;
mod mmu;
mod nvlink;
pub mod nvlink5;
mod nvrm;
mod pci;
mod prefix;
mod reader;
mod recovery;
mod sxid;
#[cfg(test)]
mod tests;
mod text;
mod time;
pub mod workflow;

pub use action::{Action, Severity, SeverityRule};
pub use aer::{Aer, AerDriver, AerSeverity};
pub use assess::{Assessment, assess};
pub use bus::InitFailure;
pub use combine::Combiner;
pub use details::{Details, Value};
pub use graphics::{ContextSwitchTimeout, GraphicsException, SmLocation};
pub use gsp::{GspException, GspNotice, GspTimeout};
pub use memory::{
    Containment, DoubleBit, EccResidual, MemoryKind, Repair, RepairOutcome, RepairResource,
    SingleBit, Uncorrectable,
};
pub use mmu::PageFault;
pub use nvlink::{BitClass, NvLinkError, RegisterBit};
pub use nvlink5::NvLink5;
pub use pci::PciAddress;
pub use prefix::Origin;
pub use recovery::{RecoveryAction, RecoveryChange};
pub use sxid::{Sxid, SxidPart, SxidSeverity};
pub use text::Text;
pub use time::Stamp;

use prefix::Speaker;

/// The longest line that is looked at. The kernel writes at most about 1 KiB into a record; what is
/// behind this is not read, so that a line of a megabyte costs what a long one does.
pub const MAX_LINE: usize = 8 * 1024;

/// What one line says. Every field is what stands in the line; what does not stand there is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'a> {
    /// What sort of event.
    pub kind: Kind,
    /// The Xid's or SXid's number; other kinds have none.
    pub code: Option<u32>,
    /// The device that the line is about: a GPU, an NVSwitch (`sxid`), or for `aer` the device or
    /// port that reports.
    pub pci: Option<PciAddress>,
    /// The MIG instance, where the driver could attribute the error to one.
    pub instance: MigInstance,
    /// The process the driver names.
    pub process: Process<'a>,
    /// The channel's number on the GPU.
    pub channel: Option<u32>,
    /// The NVLink's number on this device.
    pub link: Option<u32>,
    /// The Xid that led to this one (printed with Xid 45).
    pub caused_by: Option<u32>,
    /// What the message says, decoded by code and wording.
    pub details: Details<'a>,
    /// The line repeats or goes on with an event that was already told: set by [`Combiner`], false
    /// from [`parse`].
    pub follows: bool,
    /// The driver's words behind address, code and process, at most [`Text::MAX_MESSAGE`] bytes.
    pub message: Text<'a>,
    /// Who wrote the line.
    pub origin: Origin,
    /// The time in the line.
    pub stamp: Option<Stamp<'a>>,
}

/// Sorts of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An error report of the GPU driver, by number.
    Xid,
    /// An error report of the NVSwitch driver, by number.
    Sxid,
    /// The GPU does not answer on PCIe, told without an Xid.
    BusLoss,
    /// The driver could not bring a GPU up.
    InitFailure,
    /// The driver refuses work until the GPU is reset.
    ResetRequired,
    /// A notice about the GPU's system processor (GSP) without an Xid.
    Gsp,
    /// PCIe Advanced Error Reporting.
    Aer,
}

impl Kind {
    /// Its name in answers and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Xid => "xid",
            Self::Sxid => "sxid",
            Self::BusLoss => "bus_loss",
            Self::InitFailure => "init_failure",
            Self::ResetRequired => "reset_required",
            Self::Gsp => "gsp",
            Self::Aer => "aer",
        }
    }
}

/// A MIG instance as the driver's line names it. Both are absent where MIG is off, and where the
/// error belongs to the GPU as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MigInstance {
    /// GPU instance, `GPU-I:`.
    pub gpu: Option<u32>,
    /// Compute instance, `GPU-CI:`.
    pub compute: Option<u32>,
}

/// The process in the line: the one that allocated the channel, else the one that ran at the moment
/// (kernel_rc.c), so a monitor's own query may stand here as the culprit of what it only noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process<'a> {
    /// Process id on the host; `None` where the line has `'<unknown>'` or nothing.
    pub pid: Option<u32>,
    /// The name the process chose for itself: data, never to be believed. At most
    /// [`Text::MAX_NAME`] bytes.
    pub name: Option<Text<'a>>,
}

/// Reads one line, with or without a log's prefix and line end. None: the line is no event.
///
/// Any bytes will do: nothing in a line makes this fail or allocate.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Fault<'_>> {
    parse_stripped(prefix::strip(&line[..line.len().min(MAX_LINE)])?)
}

fn parse_stripped(line: prefix::Line<'_>) -> Option<Fault<'_>> {
    let fault = match line.speaker {
        Speaker::Nvrm => nvrm::parse(line.text)?,
        Speaker::NvSwitch => sxid::parse(line.text)?,
        Speaker::Pci => aer::parse(line.text)?,
    };
    Some(Fault { origin: line.origin, stamp: line.stamp, ..fault })
}

impl<'a> Fault<'a> {
    /// The fault of an Xid that came by another way than a line. The driver's tracepoint
    /// `nvidia:nvidia_dev_xid` gives the number and what stands behind it in the line, process and
    /// all (`pid=4711, name=python3, Ch 0000000a`); NVML gives the number alone.
    #[must_use]
    pub fn of_xid(pci: Option<PciAddress>, code: u32, message: &'a [u8]) -> Self {
        Fault { pci, ..nvrm::behind_code(code, message) }
    }

    fn new(kind: Kind, message: &'a [u8]) -> Self {
        Self {
            kind,
            code: None,
            pci: None,
            instance: MigInstance::default(),
            process: Process::default(),
            channel: None,
            link: None,
            caused_by: None,
            details: Details::None,
            follows: false,
            message: Text::bounded(reader::trim_end(message), Text::MAX_MESSAGE),
            origin: Origin::Unstated,
            stamp: None,
        }
    }
}
