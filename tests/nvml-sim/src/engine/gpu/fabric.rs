//! The fabric that NVSwitches make of NVLinks, as the GPU knows it.

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use crate::engine::code::Code;

named! {
    FabricState: sys::nvmlGpuFabricState_t {
        "not_supported" = small(sys::NVML_GPU_FABRIC_STATE_NOT_SUPPORTED),
        "not_started" = small(sys::NVML_GPU_FABRIC_STATE_NOT_STARTED),
        "in_progress" = small(sys::NVML_GPU_FABRIC_STATE_IN_PROGRESS),
        "completed" = small(sys::NVML_GPU_FABRIC_STATE_COMPLETED),
    }
}

named! {
    FabricSummary: u8 {
        "not_supported" = small(sys::NVML_GPU_FABRIC_HEALTH_SUMMARY_NOT_SUPPORTED),
        "healthy" = small(sys::NVML_GPU_FABRIC_HEALTH_SUMMARY_HEALTHY),
        "unhealthy" = small(sys::NVML_GPU_FABRIC_HEALTH_SUMMARY_UNHEALTHY),
        "limited_capacity" = small(sys::NVML_GPU_FABRIC_HEALTH_SUMMARY_LIMITED_CAPACITY),
    }
}

named! {
    /// The four yes-or-no fields of the health mask share their numbers.
    FabricFlag: u32 {
        "not_supported" = sys::NVML_GPU_FABRIC_HEALTH_MASK_DEGRADED_BW_NOT_SUPPORTED,
        "true" = sys::NVML_GPU_FABRIC_HEALTH_MASK_DEGRADED_BW_TRUE,
        "false" = sys::NVML_GPU_FABRIC_HEALTH_MASK_DEGRADED_BW_FALSE,
    }
}

named! {
    FabricConfiguration: u32 {
        "not_supported" = sys::NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_NOT_SUPPORTED,
        "none" = sys::NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_NONE,
        "incorrect_sysguid" = sys::NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_INCORRECT_SYSGUID,
        "incorrect_chassis_sn" = sys::NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_INCORRECT_CHASSIS_SN,
        "no_partition" = sys::NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_NO_PARTITION,
        "insufficient_nvlinks" = sys::NVML_GPU_FABRIC_HEALTH_MASK_INCORRECT_CONFIGURATION_INSUFFICIENT_NVLINKS,
    }
}

/// The bindings make every constant 32 bits wide; these go into single bytes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time, with the assertion before it"
)]
const fn small(constant: u32) -> u8 {
    assert!(constant <= 0xff, "the constant does not fit its field");
    constant as u8
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Fabric {
    pub state: FabricState,
    /// The code the probe ended with: "success" or an NVML error.
    pub status: FabricStatus,
    pub clique_id: u32,
    /// 32 hexadecimal digits, dashes as you like.
    pub cluster_uuid: ClusterUuid,
    pub health: FabricHealth,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FabricHealth {
    pub summary: FabricSummary,
    pub degraded_bandwidth: FabricFlag,
    pub route_recovery: FabricFlag,
    pub route_unhealthy: FabricFlag,
    pub access_timeout_recovery: FabricFlag,
    pub incorrect_configuration: FabricConfiguration,
}

impl FabricHealth {
    #[must_use]
    pub fn mask(&self) -> u32 {
        self.degraded_bandwidth.number() << sys::NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_DEGRADED_BW
            | self.route_recovery.number() << sys::NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_RECOVERY
            | self.route_unhealthy.number()
                << sys::NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ROUTE_UNHEALTHY
            | self.access_timeout_recovery.number()
                << sys::NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_ACCESS_TIMEOUT_RECOVERY
            | self.incorrect_configuration.number()
                << sys::NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_INCORRECT_CONFIGURATION
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(from = "StatusForm")]
pub struct FabricStatus(pub sys::nvmlReturn_t);

#[derive(Deserialize)]
#[serde(untagged)]
enum StatusForm {
    Success(Success),
    Failed(Code),
}

#[derive(Deserialize)]
enum Success {
    #[serde(rename = "success")]
    Success,
}

impl From<StatusForm> for FabricStatus {
    fn from(form: StatusForm) -> Self {
        match form {
            StatusForm::Success(Success::Success) => Self(sys::nvmlReturn_enum_NVML_SUCCESS),
            StatusForm::Failed(code) => Self(code.number()),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
pub struct ClusterUuid(pub [u8; sys::NVML_GPU_FABRIC_UUID_LEN as usize]);

impl TryFrom<String> for ClusterUuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.replace('-', "");
        match u128::from_str_radix(&digits, 16) {
            Ok(number) if digits.len() == 32 => Ok(Self(number.to_be_bytes())),
            _ => Err(format!("{text:?} is not a UUID")),
        }
    }
}
