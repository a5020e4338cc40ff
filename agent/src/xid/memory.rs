//! Memory errors and what the driver does about them: Xid 48, 63, 64, 92, 94, 95, 140, 156, 157,
//! 160, 161, 171, 172, 177.
//!
//! Wordings from the open modules' src/nvidia/interface/events/gpu/ras/ras_events.c and
//! kern_gpu_error_cont_ga100.c, and from older drivers' lines in the sample corpus.

use super::graphics::value;
use super::reader::{Reader, contains, find};
use super::{SmLocation, Text};

/// Xid 48: an error that ECC saw and could not correct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoubleBit<'a> {
    /// The memory it was in, in the driver's words: `framebuffer` is the GPU's DRAM, anything else
    /// on-chip memory.
    pub location: Option<Text<'a>>,
    /// Physical address in the framebuffer.
    pub address: Option<u64>,
    /// Framebuffer partition.
    pub partition: Option<u32>,
    /// Half of that partition.
    pub subpartition: Option<u32>,
}

/// Xid 63, 64, 156, 157, 160, 161, 177: a faulty piece was taken out of use, or could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair<'a> {
    /// What is being replaced.
    pub resource: RepairResource,
    /// How it went.
    pub outcome: RepairOutcome,
    /// Physical address in the framebuffer, of rows and pages.
    pub address: Option<u64>,
    /// Number of the channel, slice or TPC.
    pub unit: Option<u32>,
    /// Number of what it is part of: FBPA of a channel, FBP of a slice, GPC of a TPC.
    pub parent: Option<u32>,
    /// Why it failed, or what makes it take effect, in the driver's words.
    pub reason: Option<Text<'a>>,
}

/// What a [`Repair`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepairResource {
    /// A DRAM row, since Ampere.
    Row,
    /// A page of memory, before Ampere.
    Page,
    /// A DRAM bank.
    Bank,
    /// DRAM, where the driver does not say what of it.
    Dram,
    /// A memory channel.
    Channel,
    /// A slice of the L2 cache (LTS).
    L2Slice,
    /// A texture processing cluster, which holds the multiprocessors.
    Tpc,
}

/// How a [`Repair`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepairOutcome {
    /// Noted down; it takes effect with the next reset or reboot.
    Pending,
    /// It could not be done.
    Failed,
}

/// Xid 92: so many corrected errors that the driver stopped listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleBit {
    /// Where.
    pub memory: MemoryKind,
    /// Logical framebuffer partition, for DRAM.
    pub partition: Option<u32>,
}

/// Off-chip or on-chip memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryKind {
    /// Framebuffer: rows can be remapped.
    Dram,
    /// Caches, register files, microcontrollers.
    Sram,
}

/// Xid 94 and 95: whether the damage stayed with one application.
///
/// Under MIG a contained error stays within the instance that the line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Containment<'a> {
    /// True for `Contained`, false for `Uncontained`.
    pub contained: bool,
    /// Where the error came from: `SM`, `CE User Channel`, `LTC TAG`, `FBHUB`.
    pub unit: Text<'a>,
    /// Location and sub-location within it, as printed in brackets.
    pub location: [Option<u32>; 2],
    /// The GPU has to be reset: `RST`.
    pub reset: Option<bool>,
    /// The GPU has to be drained, then reset: `D-RST`.
    pub drain_reset: Option<bool>,
}

/// Xid 140: uncorrectable errors that the firmware had not handled, by where they were counted.
/// Negative where a driver's counter ran backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EccResidual {
    /// DRAM.
    pub dram: Option<i32>,
    /// L2 cache.
    pub ltc: Option<i32>,
    /// Memory management unit.
    pub mmu: Option<i32>,
    /// PCIe block.
    pub pcie: Option<i32>,
}

/// Xid 171 and 172, printed with an Xid 48 to tell which memory it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncorrectable<'a> {
    /// By code: 171 DRAM, 172 SRAM.
    pub memory: MemoryKind,
    /// The unit in the driver's words, if the message begins with one.
    pub unit: Option<Text<'a>>,
    /// Which part of the chip, if printed.
    pub location: Option<SmLocation>,
    /// Physical address, if printed.
    pub address: Option<u64>,
}

pub(super) fn double_bit(message: &[u8]) -> Option<DoubleBit<'_>> {
    let at = find(message, b"detected on GPU")?;
    let mut double_bit = DoubleBit::default();
    let mut reader = Reader::new(&message[at + 15..]);
    if reader.eat(b" in ") {
        reader.eat(b"the ");
        let rest = reader.rest();
        let end = find(rest, b" at physAddr").unwrap_or(rest.len());
        let location = rest[..end].trim_ascii();
        let location = location.strip_suffix(b".").unwrap_or(location);
        double_bit.location = (!location.is_empty()).then(|| Text::bounded(location, 100));
    }
    double_bit.address = hex_behind(message, b"physAddr ");
    double_bit.partition = decimal_behind(message, b" partition ");
    double_bit.subpartition = decimal_behind(message, b"subpartition ");
    Some(double_bit)
}

pub(super) fn repair(message: &[u8]) -> Option<Repair<'_>> {
    let mut repair = Repair {
        resource: RepairResource::Row,
        outcome: RepairOutcome::Pending,
        address: hex_behind(message, b"(0x").or_else(|| hex_behind(message, b" at 0x")),
        unit: None,
        parent: None,
        reason: None,
    };
    let mut reader = Reader::new(message);
    if reader.eat(b"Row Remapper Error:") || reader.eat(b"Row Remapper:") {
        // `New row (0x…) marked for remapping, …` or `(0x…) - why it failed`
        if reader.skip_to(b" - ").is_some() {
            repair.outcome = RepairOutcome::Failed;
            repair.reason = reason(reader.rest());
        }
    } else if reader.eat(b"Bank Remapper:") {
        repair.resource = RepairResource::Bank;
    } else if reader.eat(b"Dynamic Page Retirement:") || reader.eat(b"Dynamic Page Blacklisting:") {
        repair.resource = RepairResource::Page;
        reader.spaces();
        if contains(message, b"failed")
            || contains(message, b"full")
            || contains(message, b"too many")
        {
            repair.outcome = RepairOutcome::Failed;
            repair.reason = reason(reader.rest());
        }
    } else if reader.eat(b"DRAM Retirement failed") {
        repair.resource = RepairResource::Dram;
        repair.outcome = RepairOutcome::Failed;
        reader.spaces();
        repair.reason = reason(reader.rest());
    } else if reader.eat(b"Marking ") || reader.eat(b"Repairing ") {
        let pending = message.starts_with(b"Marking ");
        repair.resource = if reader.eat(b"LTS") {
            RepairResource::L2Slice
        } else if reader.eat(b"Channel") {
            RepairResource::Channel
        } else {
            return None;
        };
        reader.spaces();
        repair.unit = reader.decimal();
        repair.parent =
            decimal_behind(message, b" in FBPA ").or_else(|| decimal_behind(message, b" in FPB "));
        if pending {
            repair.reason = reader.skip_to(b"Perform ").and_then(|()| reason(reader.rest()));
        } else {
            repair.outcome = RepairOutcome::Failed;
            repair.reason = reason(reader.rest());
        }
    } else if reader.eat(b"Retiring TPC ") || reader.eat(b"Unable to retire TPC ") {
        repair.resource = RepairResource::Tpc;
        repair.unit = reader.decimal();
        repair.parent = reader.eat(b" from GPC ").then(|| reader.decimal()).flatten();
        if message.starts_with(b"Unable") {
            repair.outcome = RepairOutcome::Failed;
        }
        reader.spaces();
        repair.reason = reason(reader.rest());
    } else {
        return None;
    }
    Some(repair)
}

pub(super) fn single_bit(message: &[u8]) -> Option<SingleBit> {
    if contains(message, b"framebuffer") {
        let partition = decimal_behind(message, b"partition ");
        Some(SingleBit { memory: MemoryKind::Dram, partition })
    } else if contains(message, b"SM SBE") {
        Some(SingleBit { memory: MemoryKind::Sram, partition: None })
    } else {
        None
    }
}

pub(super) fn containment(message: &[u8]) -> Option<Containment<'_>> {
    let mut reader = Reader::new(message);
    let contained = reader.eat(b"Contained: ");
    if !contained {
        reader.expect(b"Uncontained: ")?;
    }
    // The unit ends where its numbers begin, at the full stop, or with a cut line.
    let unit = reader.take_while(|byte| byte != b'(' && byte != b'.').trim_ascii();
    let mut location = [None; 2];
    if reader.eat(b"(") {
        location[0] = reader.hex32();
        if reader.eat(b",") {
            reader.spaces();
            location[1] = reader.hex32();
        }
    }
    let flag = |label: &[u8]| {
        let at = find(message, label)?;
        let mut value = Reader::new(&message[at + label.len()..]);
        if value.eat(b"Yes") { Some(true) } else { value.eat(b"No").then_some(false) }
    };
    Some(Containment {
        contained,
        unit: Text::bounded(unit, 100),
        location,
        reset: flag(b" RST: "),
        drain_reset: flag(b"D-RST: "),
    })
}

pub(super) fn residual(message: &[u8]) -> Option<EccResidual> {
    let count = |label: &[u8]| {
        let at = find(message, label)?;
        let mut reader = Reader::new(&message[at + label.len()..]);
        reader.spaces();
        reader.signed()
    };
    let residual = EccResidual {
        dram: count(b"DRAM:"),
        ltc: count(b"LTC:"),
        mmu: count(b"MMU:"),
        pcie: count(b"PCIE:"),
    };
    (residual != EccResidual::default()).then_some(residual)
}

pub(super) fn uncorrectable(code: u32, message: &[u8]) -> Option<Uncorrectable<'_>> {
    if !contains(message, b"ncorrectable") {
        return None;
    }
    let memory = if code == 171 { MemoryKind::Dram } else { MemoryKind::Sram };
    let unit = find(message, b", Uncorrectable").map(|at| Text::bounded(&message[..at], 100));
    let address =
        hex_behind(message, b"physAddr ").or_else(|| value(message, b"address ").map(u64::from));
    let location = decimal_behind(message, b" in GPC ").map(|gpc| SmLocation {
        gpc,
        tpc: decimal_behind(message, b" TPC "),
        sm: decimal_behind(message, b" SM "),
    });
    Some(Uncorrectable { memory, unit, location, address })
}

fn reason(text: &[u8]) -> Option<Text<'_>> {
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| Text::bounded(text, 200))
}

fn hex_behind(text: &[u8], label: &[u8]) -> Option<u64> {
    let at = find(text, label)?;
    Reader::new(&text[at + label.len()..]).hex()
}

fn decimal_behind(text: &[u8], label: &[u8]) -> Option<u32> {
    let at = find(text, label)?;
    Reader::new(&text[at + label.len()..]).decimal()
}
