//! The samples that the driver takes by itself.

use nvml_wrapper_sys::bindings as sys;

use super::args::{Count, List, Out};
use super::throttle::now_us;
use crate::engine::code::Code;

const _: () = assert!(size_of::<sys::nvmlSample_t>() == 16, "not the size NVML documents");

export! {
    /// As many as there is room for, oldest first. When none is younger than the caller's last: `NOT_FOUND`.
    device fn nvmlDeviceGetSamples(
        (session, gpu), sampling: sys::nvmlSamplingType_t, last_seen_us: u64, kind: Out<sys::nvmlValueType_t>,
        count: Count, samples: List<sys::nvmlSample_t>,
    ) {
        // The past of a GPU is that of all its frames, not of the one of this moment.
        let sampled = session.node.by_index(gpu.index)?.samples(sampling, last_seen_us, now_us()?)?;
        if sampled.is_empty() {
            return Err(Code::NOT_FOUND);
        }
        let sample = |(time, value)| sys::nvmlSample_t { timeStamp: time, sampleValue: sys::nvmlValue_t { uiVal: value } };
        let sampled: Vec<_> = sampled.into_iter().map(sample).collect();
        samples.fill_room(&count, &sampled)?;
        kind.set(sys::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT)
    }
}
