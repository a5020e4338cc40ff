//! The BPF programs: hear the kernel print, and the NVIDIA driver's own tracepoint where it has one.
//!
//! [`console`] sits on the raw tracepoint of that name, which every printk passes and which needs neither tracefs nor
//! perf_event_open: CAP_BPF and CAP_PERFMON are enough (Linux 5.8+ for the capabilities and the ring buffer). It passes
//! on what the driver and the PCIe ports above it say, and who wrote it ([`origin`]). Lines of anybody else are told
//! apart by their first bytes and cost one short read.
#![no_std]
#![no_main]
// Atomic additions are an instruction that the language has no name for on this target.
#![feature(asm_experimental_arch)]

mod calls;
mod entries;
mod holders;
mod origin;
mod task;

use agent_ebpf::{
    COMM_LEN, HEADER_LEN, Header, PCI_LEN, SLOT_TEXT, XID_TEXT, counter, kind, layout,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_cgroup_id, bpf_ktime_get_ns,
        generated::{bpf_get_current_comm, bpf_probe_read_kernel, bpf_probe_read_kernel_str},
    },
    macros::{map, raw_tracepoint},
    maps::{PerCpuArray, RingBuf},
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;

#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::LEN, 0);

/// How many bytes are looked at to tell a driver's line: the longest console prefix of kernels before 6.0
/// (`<6>[12345678.123456][T12345678] `) and the tag after it.
const HEAD: usize = 64;

#[raw_tracepoint(tracepoint = "console")]
pub fn console(ctx: RawTracePointContext) -> i32 {
    // TP_PROTO(const char *text, size_t len). The text does not end with a NUL where the record ends: len is the truth.
    let text: *const u8 = ctx.arg(0);
    let printed: usize = ctx.arg(1);
    if printed == 0 || !is_driver_line(text, printed) {
        return 0;
    }
    count(counter::LINES);
    let last = origin::read(text as u64 + printed as u64 - 1).unwrap_or(b'\n');
    let kind = origin::of_line(&ctx, last);
    let sent = if printed <= SLOT_TEXT[0] {
        send_line::<{ SLOT_TEXT[0] }>(text, printed, kind)
    } else if printed <= SLOT_TEXT[1] {
        send_line::<{ SLOT_TEXT[1] }>(text, printed, kind)
    } else if printed <= SLOT_TEXT[2] {
        send_line::<{ SLOT_TEXT[2] }>(text, printed, kind)
    } else {
        send_line::<{ SLOT_TEXT[3] }>(text, printed, kind)
    };
    if !sent {
        count(counter::LINES_DROPPED);
    }
    debug!(
        &ctx,
        "driver line of {} bytes printed by pid {}, kind {}, sent: {}",
        printed,
        ctx.tgid(),
        kind,
        u8::from(sent)
    );
    0
}

#[raw_tracepoint(tracepoint = "nvidia_dev_xid")]
pub fn nvidia_dev_xid(ctx: RawTracePointContext) -> i32 {
    // TP_PROTO(const struct pci_dev *pdev, uint32_t error_code, const char *msg)
    let device: u64 = ctx.arg(0);
    let code: u32 = ctx.arg(1);
    let message: *const u8 = ctx.arg(2);
    count(counter::XIDS);
    if !send_xid(device, code, message) {
        count(counter::XIDS_DROPPED);
    }
    0
}

/// A slot as it lies in the ring buffer.
#[repr(C)]
struct Slot<const PCI: usize, const TEXT: usize> {
    header: Header,
    pci: [u8; PCI],
    text: [u8; TEXT],
}

/// Copies the line into a slot of its own; false when the ring buffer is full.
#[inline(always)]
fn send_line<const TEXT: usize>(text: *const u8, printed: usize, kind: u32) -> bool {
    const { assert!(size_of::<Slot<0, TEXT>>() == HEADER_LEN + TEXT) };
    let Some(mut entry) = RECORDS.reserve::<Slot<0, TEXT>>(0) else { return false };
    let slot = entry.as_mut_ptr();
    // SAFETY: slot points to TEXT + HEADER_LEN writable bytes that the ring buffer reserved for this program alone;
    // every field of the header is written, and len is at most TEXT.
    unsafe {
        begin(&raw mut (*slot).header, kind, 0);
        (*slot).header.printed_len = printed as u32;
        // Right before its use: verifiers before 6.3 forget a bound that goes through memory.
        let len = core::hint::black_box(printed).min(TEXT);
        if bpf_probe_read_kernel((&raw mut (*slot).text).cast(), len as u32, text.cast()) == 0 {
            (*slot).header.text_len = len as u32;
        }
    }
    entry.submit(0);
    true
}

/// The same for an Xid of the driver's tracepoint.
#[inline(always)]
fn send_xid(device: u64, code: u32, message: *const u8) -> bool {
    const { assert!(size_of::<Slot<PCI_LEN, XID_TEXT>>() == HEADER_LEN + PCI_LEN + XID_TEXT) };
    let Some(mut entry) = RECORDS.reserve::<Slot<PCI_LEN, XID_TEXT>>(0) else { return false };
    let slot = entry.as_mut_ptr();
    let name: u64 = origin::read(device + origin::field(layout::PCI_NAME)).unwrap_or(0);
    // SAFETY: slot points to writable bytes of the slot's size that the ring buffer reserved for this program alone;
    // the helper writes at most the size it is given, and every field of the header is written.
    unsafe {
        begin(&raw mut (*slot).header, kind::XID, code);
        (*slot).pci = [0; PCI_LEN];
        bpf_probe_read_kernel_str((&raw mut (*slot).pci).cast(), PCI_LEN as u32, name as *const _);
        let text = (&raw mut (*slot).text).cast();
        let len = bpf_probe_read_kernel_str(text, XID_TEXT as u32, message.cast());
        // Counts the NUL.
        let len = if len > 0 { len as u32 - 1 } else { 0 };
        (*slot).header.text_len = len;
        (*slot).header.printed_len = len;
    }
    entry.submit(0);
    true
}

/// Writes every field of a record's header; the lengths are none yet.
///
/// # Safety
/// `header` is writable.
#[inline(always)]
unsafe fn begin(header: *mut Header, kind: u32, code: u32) {
    let pid_tgid = aya_ebpf::helpers::bpf_get_current_pid_tgid();
    // SAFETY: by the caller; the helper writes COMM_LEN bytes.
    unsafe {
        *header = Header {
            monotonic_ns: bpf_ktime_get_ns(),
            cgroup_id: bpf_get_current_cgroup_id(),
            pid: (pid_tgid >> 32) as u32,
            tid: pid_tgid as u32,
            kind,
            code,
            text_len: 0,
            printed_len: 0,
            comm: [0; COMM_LEN],
        };
        bpf_get_current_comm((&raw mut (*header).comm).cast(), COMM_LEN as u32);
    }
}

/// Whether the line, after the prefix that kernels before 6.0 put in front, begins with a tag of interest.
#[inline(always)]
fn is_driver_line(text: *const u8, printed: usize) -> bool {
    let mut head = [0u8; HEAD];
    let len = core::hint::black_box(printed).min(HEAD);
    // SAFETY: head has HEAD bytes and len is at most HEAD; the kernel checks the source address.
    if unsafe { bpf_probe_read_kernel(head.as_mut_ptr().cast(), len as u32, text.cast()) } != 0 {
        return false;
    }
    // `<6>` and `[  12.345678]`, in any number, with blanks between them.
    let mut closing = 0u8;
    let mut at = 0;
    while at < HEAD - 8 {
        let byte = head[at];
        if closing != 0 {
            if byte == closing {
                closing = 0;
            }
        } else {
            match byte {
                b'<' => closing = b'>',
                b'[' => closing = b']',
                b' ' => {}
                _ => break,
            }
        }
        at += 1;
    }
    if at >= HEAD - 8 {
        return false;
    }
    let tag = u64::from_be_bytes([
        head[at],
        head[at + 1],
        head[at + 2],
        head[at + 3],
        head[at + 4],
        head[at + 5],
        head[at + 6],
        head[at + 7],
    ]);
    const NVRM: u64 = u64::from_be_bytes(*b"NVRM:\0\0\0");
    const NVIDIA: u64 = u64::from_be_bytes(*b"nvidia\0\0");
    const PCIEPORT: u64 = u64::from_be_bytes(*b"pcieport");
    tag & 0xffff_ffff_ff00_0000 == NVRM || tag & 0xffff_ffff_ffff_0000 == NVIDIA || tag == PCIEPORT
}

#[inline(always)]
fn count(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: a per-CPU value, valid while the program runs; an interrupt on this CPU can at worst lose a count
        // that a nested run makes, never write elsewhere.
        unsafe { *value += 1 };
    }
}

/// The kernel lets GPL-compatible programs alone read its memory and the current task's name.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the verifier refuses a program in which this is reachable.
    unsafe { core::hint::unreachable_unchecked() }
}
