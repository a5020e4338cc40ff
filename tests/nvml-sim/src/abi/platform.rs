//! Where in its rack a GPU sits.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Tagged, Versioned as _};
use crate::engine::code::Code;

type Info = sys::nvmlPlatformInfo_v2_t;

export! {
    device fn nvmlDeviceGetPlatformInfo((_, gpu), info: Tagged<sys::nvmlPlatformInfo_t>) {
        let platform = gpu.platform.as_ref()?;
        let mut serial = [0; 16];
        let bytes = platform.chassis_serial.as_bytes();
        serial.get_mut(..bytes.len()).ok_or(Code::INSUFFICIENT_SIZE)?.copy_from_slice(bytes);
        info.set(Info {
            version: Info::TAG,
            ibGuid: platform.ib_guid.0,
            chassisSerialNumber: serial,
            slotNumber: platform.slot,
            trayIndex: platform.tray,
            hostId: platform.host,
            peerType: platform.peer_type,
            moduleId: platform.module,
        })
    }
}
