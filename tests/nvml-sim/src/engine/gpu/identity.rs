//! Who a GPU is and where it sits.

use std::fmt;
use std::str::FromStr;

use nvml_wrapper_sys::bindings as sys;
use serde::{Deserialize, Deserializer};

use crate::engine::reading::Reading;

named! {
    Brand: sys::nvmlBrandType_t {
        "unknown" = sys::nvmlBrandType_enum_NVML_BRAND_UNKNOWN,
        "quadro" = sys::nvmlBrandType_enum_NVML_BRAND_QUADRO,
        "tesla" = sys::nvmlBrandType_enum_NVML_BRAND_TESLA,
        "geforce" = sys::nvmlBrandType_enum_NVML_BRAND_GEFORCE,
        "nvidia" = sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA,
        "nvidia_rtx" = sys::nvmlBrandType_enum_NVML_BRAND_NVIDIA_RTX,
        "geforce_rtx" = sys::nvmlBrandType_enum_NVML_BRAND_GEFORCE_RTX,
    }
}

named! {
    Architecture: sys::nvmlDeviceArchitecture_t {
        "volta" = sys::NVML_DEVICE_ARCH_VOLTA,
        "turing" = sys::NVML_DEVICE_ARCH_TURING,
        "ampere" = sys::NVML_DEVICE_ARCH_AMPERE,
        "ada" = sys::NVML_DEVICE_ARCH_ADA,
        "hopper" = sys::NVML_DEVICE_ARCH_HOPPER,
        "blackwell" = sys::NVML_DEVICE_ARCH_BLACKWELL,
        "unknown" = sys::NVML_DEVICE_ARCH_UNKNOWN,
    }
}

named! {
    ComputeMode: sys::nvmlComputeMode_t {
        "default" = sys::nvmlComputeMode_enum_NVML_COMPUTEMODE_DEFAULT,
        "prohibited" = sys::nvmlComputeMode_enum_NVML_COMPUTEMODE_PROHIBITED,
        "exclusive_process" = sys::nvmlComputeMode_enum_NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The name as NVML gives it, "NVIDIA H100 80GB HBM3". Never a name that says "simulated": clients parse it.
    pub name: String,
    pub brand: Brand,
    pub architecture: Architecture,
    /// Major, minor.
    pub compute_capability: [i32; 2],
    pub cuda_cores: Reading<u32>,
    /// Left out, it is made from the device id and the index, and so is the serial number: the same in every run, and
    /// never one that a real board has.
    #[serde(default)]
    pub uuid: String,
    pub serial: Option<Reading<String>>,
    /// The N of `/dev/nvidiaN`. Left out, it is the index.
    pub minor: Option<u32>,
    pub part_number: Reading<String>,
    pub vbios: Reading<String>,
    pub inforom: Inforom,
    pub gsp_firmware: Reading<String>,
    pub module_id: Reading<u32>,
    /// NUMA node of the GPU's own memory; boards that are not coherent with the CPU have none.
    pub numa_node: Reading<u32>,
    pub display_active: Reading<bool>,
    pub display_mode: Reading<bool>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Inforom {
    pub image: Reading<String>,
    pub oem: Reading<String>,
    pub ecc: Reading<String>,
    pub power: Reading<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Pci {
    pub address: PciAddress,
    /// Device in the upper, vendor in the lower half: 0x233010DE.
    pub device_id: u32,
    pub subsystem_id: u32,
}

/// Where a device sits on the PCI bus. Function 0 always: NVML knows no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    pub domain: u32,
    pub bus: u8,
    pub device: u8,
}

impl PciAddress {
    /// With the domain cut to four digits, NVML's `busIdLegacy`.
    #[must_use]
    pub fn legacy(self) -> String {
        format!("{:04X}:{:02X}:{:02X}.0", self.domain & 0xffff, self.bus, self.device)
    }

    /// `nvmlDeviceGetBoardId`, as captures of single-GPU boards show it: the address without the function.
    #[must_use]
    pub fn board_id(self) -> u32 {
        self.domain << 16 | u32::from(self.bus) << 8 | u32::from(self.device)
    }
}

/// With an eight-digit domain, NVML's `busId`.
impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}:{:02X}:{:02X}.0", self.domain, self.bus, self.device)
    }
}

/// Takes `domain:bus:device.0`, and like NVML also without the domain or the function, digits in any case.
impl FromStr for PciAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a PCI address such as 0000:1b:00.0");
        let (rest, function) = text.split_once('.').unwrap_or((text, "0"));
        let (rest, device) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let (domain, bus) = rest.split_once(':').unwrap_or(("0", rest));
        let hex = |digits: &str| u32::from_str_radix(digits, 16).map_err(|_| wrong());
        let byte = |digits: &str| u8::from_str_radix(digits, 16).map_err(|_| wrong());
        if byte(function)? != 0 {
            return Err(wrong());
        }
        Ok(Self { domain: hex(domain)?, bus: byte(bus)?, device: byte(device)? })
    }
}

impl<'de> Deserialize<'de> for PciAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_three_spellings() {
        let address: PciAddress = "0000:1b:00.0".parse().unwrap();
        assert_eq!(address.to_string(), "00000000:1B:00.0");
        assert_eq!(address.legacy(), "0000:1B:00.0");
        assert_eq!(address.board_id(), 0x1b00);
        assert_eq!("1b:00".parse(), Ok(address));
        assert_eq!("00000000:1B:00.0".parse(), Ok(address));
        for wrong in ["", "1b", "0000:1b:00.1", "0000:1bb:00.0", "0000:xy:00.0"] {
            assert!(wrong.parse::<PciAddress>().is_err(), "{wrong}");
        }
    }
}
