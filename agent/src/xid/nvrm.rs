//! Lines of the GPU driver: the canonical Xid line, and which file reads its message.
//!
//! The driver prints an Xid with one of these (src/nvidia/src/kernel/gpu/rc/kernel_rc.c of the open
//! modules; the last is from drivers before 302):
//! ```text
//! NVRM: Xid (PCI:%04x:%02x:%02x): %d, pid=%s, name=%s, MESSAGE
//! NVRM: Xid (PCI:%04x:%02x:%02x GPU-I:%02u): %d, MESSAGE
//! NVRM: Xid (PCI:%04x:%02x:%02x GPU-I:%02u GPU-CI:%02u): %d, MESSAGE caused by previous Xid %d
//! NVRM: Xid (%04x:%02x:%02x): %d, MESSAGE
//! ```
//! `pid` is a number or `'<unknown>'`, `name` the process's own or `<unknown>`.

use super::reader::{Reader, contains, decimal, find, trim_end};
use super::{
    Details, Fault, Kind, MigInstance, PciAddress, Process, Text, bus, graphics, gsp, memory, mmu,
    nvlink, nvlink5, recovery,
};

/// `text` begins with `NVRM: `.
pub(super) fn parse(text: &[u8]) -> Option<Fault<'_>> {
    let mut reader = Reader::new(text);
    reader.expect(b"NVRM:")?;
    reader.spaces();
    let mut xid_line = reader;
    if xid_line.eat(b"Xid") {
        return xid(xid_line);
    }
    let text = reader.rest();
    bus::parse(text).or_else(|| gsp::notice(text)).or_else(|| bus::reset_required(text))
}

fn xid(mut reader: Reader<'_>) -> Option<Fault<'_>> {
    reader.spaces();
    reader.expect(b"(")?;
    reader.eat(b"PCI:");
    let pci = PciAddress::read(&mut reader)?;
    let instance = instance(&mut reader);
    reader.expect(b"):")?;
    reader.spaces();
    let code = reader.decimal()?;
    if reader.peek().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    comma(&mut reader);
    Some(Fault { pci: Some(pci), instance, ..behind_code(code, reader.rest()) })
}

/// What stands behind address and code: the process, then the message.
pub(super) fn behind_code(code: u32, text: &[u8]) -> Fault<'_> {
    let mut reader = Reader::new(trim_end(text));
    let process = process(&mut reader);
    let (message, caused_by) = cause(reader.rest());
    let details = details(code, message);
    let link = match details {
        Details::NvLink(error) => Some(error.link),
        Details::NvLink5(error) => error.link,
        _ => None,
    };
    Fault {
        code: Some(code),
        process,
        channel: channel(message),
        link,
        caused_by,
        details,
        ..Fault::new(Kind::Xid, message)
    }
}

/// Which file knows the message of a code.
fn details(code: u32, message: &[u8]) -> Details<'_> {
    match code {
        13 | 69 => graphics::exception(message).map(Details::Graphics),
        31 => mmu::page_fault(message).map(Details::PageFault),
        48 => memory::double_bit(message).map(Details::DoubleBit),
        63 | 64 | 156 | 157 | 160 | 161 | 177 => memory::repair(message).map(Details::Repair),
        74 => nvlink::error(message).map(Details::NvLink),
        92 => memory::single_bit(message).map(Details::SingleBit),
        94 | 95 => memory::containment(message).map(Details::Containment),
        109 => graphics::context_switch_timeout(message).map(Details::ContextSwitchTimeout),
        119 => gsp::timeout(message).map(Details::GspTimeout),
        120 => gsp::exception(message).map(Details::GspException),
        140 => memory::residual(message).map(Details::EccResidual),
        144..=150 => nvlink5::line(message).map(Details::NvLink5),
        154 => recovery::change(message).map(Details::Recovery),
        171 | 172 => memory::uncorrectable(code, message).map(Details::Uncorrectable),
        _ => None,
    }
    .unwrap_or(Details::None)
}

/// ` GPU-I:05 GPU-CI:00` before the bracket closes.
fn instance(reader: &mut Reader<'_>) -> MigInstance {
    let mut instance = MigInstance::default();
    reader.spaces();
    if reader.eat(b"GPU-I:") {
        instance.gpu = reader.decimal();
        reader.spaces();
    }
    if reader.eat(b"GPU-CI:") {
        instance.compute = reader.decimal();
        reader.spaces();
    }
    instance
}

fn comma(reader: &mut Reader<'_>) {
    reader.spaces();
    reader.eat(b",");
    reader.spaces();
}

/// `pid=4711, name=python3, `; either may be missing.
fn process<'a>(reader: &mut Reader<'a>) -> Process<'a> {
    let mut process = Process::default();
    if reader.eat(b"pid=") {
        let value = reader.take_while(|byte| byte != b',' && byte != b' ');
        process.pid = decimal(
            value
                .trim_ascii()
                .strip_prefix(b"'")
                .map_or(value, |inner| inner.strip_suffix(b"'").unwrap_or(inner)),
        );
        comma(reader);
    }
    if reader.eat(b"name=") {
        // Up to the first `, `, or to the end if the message is empty. A name may hold the same two
        // bytes; it is taken as the shorter one then, because a message may hold them too and
        // matters more.
        let rest = reader.rest();
        let (name, rest) = rest.split_at(find(rest, b", ").unwrap_or(rest.len()));
        *reader = Reader::new(rest);
        let name = trim_end(name);
        let name = name.strip_suffix(b",").unwrap_or(name);
        let known = !name.is_empty() && name != b"<unknown>" && name != b"'<unknown>'";
        process.name = known.then(|| Text::bounded(name, Text::MAX_NAME));
        comma(reader);
    }
    process
}

/// Takes ` caused by previous Xid 149` off the message's end.
fn cause(message: &[u8]) -> (&[u8], Option<u32>) {
    const WORDS: &[u8] = b"caused by previous Xid ";
    if !message.last().is_some_and(u8::is_ascii_digit) {
        return (message, None);
    }
    let Some(at) = find(message, WORDS) else { return (message, None) };
    match decimal(&message[at + WORDS.len()..]) {
        Some(code) => (trim_end(&message[..at]), Some(code)),
        None => (message, None),
    }
}

/// The channel's number, always hexadecimal: `Ch 00000008`, `channel 0x0b00000a`, `Channel
/// 00000001`, `Channel ID 00000052` at the message's start, `ChID 000a` or `ChId 0008` in the
/// messages of Xid 13 and 69.
fn channel(message: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(message);
    let at_start = [&b"Ch "[..], b"channel ", b"Channel ID ", b"Channel "];
    if !at_start.into_iter().any(|word| reader.eat(word)) {
        if !contains(message, b"Exception: Ch") && !contains(message, b"Error: Ch") {
            return None;
        }
        reader.skip_to(b": Ch")?;
        if !(reader.eat(b"ID ") || reader.eat(b"Id ")) {
            return None;
        }
    }
    reader.spaces();
    reader.hex32()
}
