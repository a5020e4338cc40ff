//! Field values of links that only newer hardware has: the counts of NVLink 5, and the links between chip and chip.

use nvml_wrapper_sys::bindings::field_id as id;

use super::code::Code;
use super::fields::FieldValue::{self, Long, Unsigned};
use super::gpu::Gpu;
use super::gpu::links::LinkCounts;

/// `None` when the field is about neither. `scope` is the link.
pub fn read(gpu: &Gpu, field: u32, scope: u32) -> Option<Result<FieldValue, Code>> {
    let c2c = || gpu.topology.c2c.as_ref();
    let of_c2c = |figure: u32| {
        let known =
            |links| if scope < links { Ok(Unsigned(figure)) } else { Err(Code::INVALID_ARGUMENT) };
        c2c().and_then(|c2c| known(c2c.links))
    };
    match field {
        id::NVML_FI_DEV_C2C_LINK_COUNT => Some(c2c().map(|c2c| Unsigned(c2c.links))),
        id::NVML_FI_DEV_C2C_LINK_GET_STATUS => Some(of_c2c(1)),
        id::NVML_FI_DEV_C2C_LINK_GET_MAX_BW => {
            Some(c2c().map(|c2c| c2c.max_bandwidth_mb_s).and_then(of_c2c))
        }
        _ => {
            let count = count(field)?;
            let link = || gpu.nvlink.as_ref()?.link(scope);
            Some(link().and_then(|link| link.counts.as_ref().map(|counts| Long(count(counts)))))
        }
    }
}

fn count(field: u32) -> Option<fn(&LinkCounts) -> u64> {
    Some(match field {
        id::NVML_FI_DEV_NVLINK_COUNT_MALFORMED_PACKET_ERRORS => |counts| counts.malformed_packets,
        id::NVML_FI_DEV_NVLINK_COUNT_BUFFER_OVERRUN_ERRORS => |counts| counts.buffer_overruns,
        id::NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS => |counts| counts.receive,
        id::NVML_FI_DEV_NVLINK_COUNT_RCV_REMOTE_ERRORS => |counts| counts.receive_remote,
        id::NVML_FI_DEV_NVLINK_COUNT_RCV_GENERAL_ERRORS => |counts| counts.receive_general,
        id::NVML_FI_DEV_NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS => |counts| counts.link_integrity,
        id::NVML_FI_DEV_NVLINK_COUNT_XMIT_DISCARDS => |counts| counts.transmit_discards,
        id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS => |counts| counts.recoveries,
        id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS => {
            |counts| counts.failed_recoveries
        }
        id::NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS => {
            |counts| counts.recoveries.saturating_sub(counts.failed_recoveries)
        }
        id::NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_ERRORS => |counts| counts.effective,
        id::NVML_FI_DEV_NVLINK_COUNT_SYMBOL_ERRORS => |counts| counts.symbol,
        _ => return None,
    })
}
