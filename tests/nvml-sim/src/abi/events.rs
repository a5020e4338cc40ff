//! Event sets.

use std::time::Duration;

use nvml_wrapper_sys::bindings as sys;

use super::args::{Out, SetHandle};
use super::handle;
use super::processes::NO_INSTANCE;
use crate::engine::events;

const _: () = assert!(size_of::<sys::nvmlEventData_t>() == 32, "not the size NVML documents");

export! {
    session fn nvmlEventSetCreate(session, set: Out<sys::nvmlEventSet_t>) {
        set.set(handle::of_event_set(session.event_sets.create()))
    }

    session fn nvmlEventSetFree(session, set: SetHandle) { session.event_sets.free(handle::event_set(set)?) }

    /// Not 0, or good clients do not register.
    device fn nvmlDeviceGetSupportedEventTypes((_, _), types: Out<u64>) { types.set(events::SUPPORTED) }

    device fn nvmlDeviceRegisterEvents((session, gpu), types: u64, set: SetHandle) {
        session.event_sets.get(handle::event_set(set)?)?.register(gpu.place, types)
    }

    /// Blocks up to `timeout_ms` in a condition variable.
    session fn nvmlEventSetWait_v2(
        session, set: SetHandle, data: Out<sys::nvmlEventData_t>, timeout_ms: u32,
    ) {
        let set = session.event_sets.get(handle::event_set(set)?)?;
        let plan = || session.now().node.events.clone();
        let event = set.wait(plan, Duration::from_millis(timeout_ms.into()))?;
        data.set(sys::nvmlEventData_t {
            device: handle::device(session.node.index_of(event.gpu)?),
            eventType: event.kind,
            eventData: event.data,
            gpuInstanceId: NO_INSTANCE,
            computeInstanceId: NO_INSTANCE,
        })
    }
}
