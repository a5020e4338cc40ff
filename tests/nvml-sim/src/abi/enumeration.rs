//! How many GPUs there are, and the handle of each.

use super::args::{Out, Str};

export! {
    session fn nvmlDeviceGetCount_v2(session, count: Out<u32>) { count.set(session.node.count()) }

    /// The first version left out GPUs without permission, of which there are none here.
    session fn nvmlDeviceGetCount(session, count: Out<u32>) { count.set(session.node.count()) }

    lookup fn nvmlDeviceGetHandleByIndex_v2(session, index: u32) { session.node.by_index(index) }

    lookup fn nvmlDeviceGetHandleByIndex(session, index: u32) { session.node.by_index(index) }

    lookup fn nvmlDeviceGetHandleByUUID(session, uuid: Str) { session.node.by_uuid(uuid.as_ref()) }

    lookup fn nvmlDeviceGetHandleBySerial(session, serial: Str) { session.node.by_serial(serial.as_ref()) }

    lookup fn nvmlDeviceGetHandleByPciBusId_v2(session, address: Str) {
        session.node.by_pci_address(address.as_ref())
    }

    lookup fn nvmlDeviceGetHandleByPciBusId(session, address: Str) {
        session.node.by_pci_address(address.as_ref())
    }

    device fn nvmlDeviceGetIndex((_, gpu), index: Out<u32>) { index.set(gpu.index) }
}
