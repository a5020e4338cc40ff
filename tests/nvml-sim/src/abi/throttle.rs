//! What holds the clocks down. Each call has an older name, which clients still use.

use std::time::{SystemTime, UNIX_EPOCH};

use nvml_wrapper_sys::bindings as sys;

use super::args::Out;
use crate::engine::code::Code;
use crate::engine::gpu::thermal::reason_bits;

const _: () = assert!(size_of::<sys::nvmlViolationTime_t>() == 16, "not the size NVML documents");

/// Microseconds since 1970, NVML's time stamps.
pub(super) fn now_us() -> Result<u64, Code> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| Code::UNKNOWN)?;
    u64::try_from(since.as_micros()).map_err(|_| Code::UNKNOWN)
}

export! {
    device fn nvmlDeviceGetCurrentClocksEventReasons((_, gpu), reasons: Out<u64>) {
        reasons.set(reason_bits(gpu.throttle.reasons.as_ref()?))
    }

    device fn nvmlDeviceGetCurrentClocksThrottleReasons((_, gpu), reasons: Out<u64>) {
        reasons.set(reason_bits(gpu.throttle.reasons.as_ref()?))
    }

    device fn nvmlDeviceGetSupportedClocksEventReasons((_, gpu), reasons: Out<u64>) {
        reasons.set(reason_bits(gpu.throttle.supported.as_ref()?))
    }

    device fn nvmlDeviceGetSupportedClocksThrottleReasons((_, gpu), reasons: Out<u64>) {
        reasons.set(reason_bits(gpu.throttle.supported.as_ref()?))
    }

    /// Reference in microseconds since 1970, violation in nanoseconds.
    device fn nvmlDeviceGetViolationStatus(
        (_, gpu), policy: sys::nvmlPerfPolicyType_t, time: Out<sys::nvmlViolationTime_t>,
    ) {
        let violation = gpu.throttle.time_ns.by_policy(policy)?;
        time.set(sys::nvmlViolationTime_t { referenceTime: now_us()?, violationTime: violation })
    }
}
