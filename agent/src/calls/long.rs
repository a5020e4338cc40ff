//! Calls that wait for something by their nature, so that one which has not come back is no sign of a wedged driver yet.
//!
//! Only what NVIDIA's headers and driver say of it: a call that is merely slow at times is not here.

use super::{CONTROL, Call, IDLE_CHANNELS, WAIT_OPEN_COMPLETE, escape};

/// From uvm_ioctl.h: without its flag ASYNC it comes back when the range's pages have moved, however large the range.
const UVM_MIGRATE: u32 = 51;
/// From uvm.h: the same for the ranges of a group.
const UVM_MIGRATE_RANGE_GROUP: u32 = 53;
/// From uvm.h: the last free of peer-to-peer memory may wait until other drivers have let go of it.
const UVM_FREE: u32 = 34;
/// From uvm.h: brings all pages of a range in, however large the range.
const UVM_POPULATE_PAGEABLE: u32 = 71;

impl Call {
    /// It is expected to wait: for work on the GPU to end, for pages to move, for a GPU to come up, for an event.
    #[must_use]
    pub fn is_usually_long(self) -> bool {
        let Self::Ioctl { request, command } = self else { return false };
        match escape(request) {
            // nvos.h: waits until the channels are idle, for as long as its `timeout` says. nv.c: waits until the GPU is up
            // that was opened with O_NONBLOCK.
            Some(IDLE_CHANNELS | WAIT_OPEN_COMPLETE) => true,
            Some(CONTROL) => matches!(
                command,
                // ctrl0000gpu.h: waits for an attach in the background.
                0x290
                // ctrl0000nvd.h, ctrl2080nvd.h: a dump with triggers waits until one occurs.
                | 0x602
                | 0x2080_2402
                // ctrl0080fifo.h: waits for pending work.
                | 0x0080_1714
                // ctrla06c.h, ctrla06fgpfifo.h: wait for a preemption, for a channel to be idle.
                | 0xa06c_0105
                | 0xa06f_0112
                // ctrlb0ccprofiler.h: can wait until a profiler's bytes are there.
                | 0xb0cc_0109
            ),
            Some(_) => false,
            None => matches!(
                request,
                UVM_FREE | UVM_MIGRATE | UVM_MIGRATE_RANGE_GROUP | UVM_POPULATE_PAGEABLE
            ),
        }
    }
}
