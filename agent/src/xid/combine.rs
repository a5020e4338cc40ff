//! Events that the drivers spread over several lines.

use super::bus;
use super::prefix;
use super::{Details, Fault, Kind, PciAddress, SxidPart};

/// Reads a stream of lines as [`super::parse`] does each, and puts together what belongs together.
/// Give it the lines of one log in order; it keeps a few numbers and none of the text.
///
/// # Rules
/// A line waits for its rest over at most [`Self::REACH`] lines, since other processors print in
/// between.
///
/// - **Bus loss in three lines.** `NVRM: The NVIDIA GPU 0000:b3:00.0` is remembered, and is no
///   event by itself: other messages begin with it too. `NVRM: fallen off the bus …` becomes the
///   event, with that address. Any other line that names an address the same way takes the first
///   one's place.
/// - **Follow-up lines** are events with [`Fault::follows`] set, to be shown with the first and not
///   to be counted: the `Severity` and `Data` lines of an SXid (which take over its link), `GPU
///   0000:…: GPU has fallen off the bus` behind an Xid 79, `rm_init_adapter failed` behind
///   `RmInitAdapter failed!`, and the second to fourth line of an AER report; each of the same
///   device. A follow-up whose first line was lost is an event of its own.
#[derive(Clone, Debug, Default)]
pub struct Combiner {
    /// Lines read so far.
    lines: u64,
    /// Address of a bus loss that is being told, and its line.
    head: Option<(PciAddress, u64)>,
    /// First lines that may have a follow-up; the oldest is overwritten.
    firsts: [Option<First>; Combiner::FIRSTS],
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct First {
    kind: Kind,
    code: Option<u32>,
    pci: PciAddress,
    link: Option<u32>,
    line: u64,
}

impl Combiner {
    /// How many lines later the rest of an event still belongs to it.
    pub const REACH: u64 = 32;
    /// Events that wait at the same time: a node has up to 8 GPUs and 6 switches, and may lose them
    /// together.
    const FIRSTS: usize = 16;

    /// Reads the next line.
    pub fn feed<'a>(&mut self, line: &'a [u8]) -> Option<Fault<'a>> {
        self.lines += 1;
        let line = prefix::strip(&line[..line.len().min(super::MAX_LINE)])?;
        let Some(mut fault) = super::parse_stripped(line) else {
            if let Some(pci) = line.text.strip_prefix(b"NVRM: ").and_then(bus::head) {
                self.head = Some((pci, self.lines));
            }
            return None;
        };
        match fault.kind {
            Kind::BusLoss if fault.pci.is_none() => {
                fault.pci =
                    self.head.take().filter(|&(_, line)| self.reaches(line)).map(|(pci, _)| pci);
            }
            Kind::Sxid | Kind::BusLoss | Kind::InitFailure | Kind::Aer => {
                if let Some(first) = self.first_of(&fault) {
                    fault.follows = true;
                    fault.link = fault.link.or(first.link);
                }
            }
            Kind::Xid | Kind::ResetRequired | Kind::Gsp => {}
        }
        if !fault.follows {
            self.remember(&fault);
        }
        Some(fault)
    }

    fn reaches(&self, line: u64) -> bool {
        self.lines - line <= Self::REACH
    }

    fn remember(&mut self, fault: &Fault<'_>) {
        let may_go_on = match fault.kind {
            Kind::Xid => fault.code == Some(79),
            Kind::Sxid | Kind::InitFailure | Kind::Aer => true,
            Kind::BusLoss | Kind::ResetRequired | Kind::Gsp => false,
        };
        let Some(pci) = fault.pci.filter(|_| may_go_on) else { return };
        let &Fault { kind, code, link, .. } = fault;
        self.firsts[self.next] = Some(First { kind, code, pci, link, line: self.lines });
        self.next = (self.next + 1) % Self::FIRSTS;
    }

    /// The line that `fault` is a follow-up of.
    fn first_of(&self, fault: &Fault<'_>) -> Option<First> {
        let (kind, code) = match fault.details {
            Details::Sxid(sxid) if sxid.part != SxidPart::Report => (Kind::Sxid, fault.code),
            Details::Init(init) if init.minor.is_some() => (Kind::InitFailure, None),
            Details::Aer(aer) if aer.goes_on() => (Kind::Aer, None),
            _ if fault.kind == Kind::BusLoss => (Kind::Xid, Some(79)),
            _ => return None,
        };
        let same = |first: &First| {
            first.kind == kind
                && first.code == code
                && Some(first.pci) == fault.pci
                && self.reaches(first.line)
        };
        self.firsts.iter().flatten().copied().find(same)
    }
}
