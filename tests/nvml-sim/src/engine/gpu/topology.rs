//! Where a GPU sits among the others: on what way it is reached, which CPUs and memory are near, what its peers may do.

use nvml_wrapper_sys::bindings as sys;
use serde::Deserialize;

use crate::engine::code::Code;
use crate::engine::reading::Reading;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The way to the GPU: its CPU's memory node, the host bridge, then the PCIe switches, by names of your choice. As
    /// far as two GPUs share it from its beginning on, so near they are to each other.
    pub path: Reading<Vec<String>>,
    /// The CPUs near the GPU, and the nodes of memory: `0-55,112-167`.
    pub cpus: Reading<NumberSet>,
    pub memory_nodes: Reading<NumberSet>,
    pub p2p: P2p,
    pub c2c: Reading<C2c>,
}

named! {
    P2pStatus: sys::nvmlGpuP2PStatus_t {
        "ok" = sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_OK,
        "chipset_not_supported" = sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_CHIPSET_NOT_SUPPORTED,
        "gpu_not_supported" = sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_GPU_NOT_SUPPORTED,
        "topology_not_supported" =
            sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_IOH_TOPOLOGY_NOT_SUPPORTED,
        "disabled_by_regkey" = sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_DISABLED_BY_REGKEY,
        "not_supported" = sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_NOT_SUPPORTED,
        "unknown" = sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_UNKNOWN,
    }
}

/// What this GPU can do with any other. Of two that differ the one that is not ok counts, the asking one's first.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct P2p {
    pub read: P2pStatus,
    pub write: P2pStatus,
    pub nvlink: P2pStatus,
    pub atomics: P2pStatus,
    pub pcie: P2pStatus,
}

/// Links between chip and chip, of a GPU that is coherent with its CPU.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct C2c {
    pub links: u32,
    /// Of each link.
    pub max_bandwidth_mb_s: u32,
}

impl Topology {
    /// `nvmlDeviceGetTopologyCommonAncestor` of this GPU and another.
    pub fn level(&self, other: &Self) -> Result<sys::nvmlGpuTopologyLevel_t, Code> {
        let (own, others) = (self.path.as_ref()?, other.path.as_ref()?);
        let shared = own.iter().zip(others).take_while(|(one, another)| one == another).count();
        Ok(match shared {
            0 => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM,
            1 => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_NODE,
            2 => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_HOSTBRIDGE,
            _ if own == others => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_SINGLE,
            _ => sys::nvmlGpuLevel_enum_NVML_TOPOLOGY_MULTIPLE,
        })
    }
}

impl P2p {
    pub fn status(&self, what: sys::nvmlGpuP2PCapsIndex_t) -> Result<P2pStatus, Code> {
        match what {
            sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_READ => Ok(self.read),
            sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_WRITE => Ok(self.write),
            sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_NVLINK => Ok(self.nvlink),
            sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_ATOMICS => Ok(self.atomics),
            sys::nvmlGpuP2PCapsIndex_enum_NVML_P2P_CAPS_INDEX_PCI => Ok(self.pcie),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }

    /// `nvmlDeviceGetP2PStatus` of this GPU and another.
    pub fn between(
        &self,
        other: &Self,
        what: sys::nvmlGpuP2PCapsIndex_t,
    ) -> Result<sys::nvmlGpuP2PStatus_t, Code> {
        let own = self.status(what)?.number();
        if own == sys::nvmlGpuP2PStatus_enum_NVML_P2P_STATUS_OK {
            return Ok(other.status(what)?.number());
        }
        Ok(own)
    }
}

/// A set of small numbers, as the kernel writes them: `0-55,112-167`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
pub struct NumberSet(Vec<u64>);

impl NumberSet {
    /// As bits of words, the lowest first.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }
}

impl TryFrom<String> for NumberSet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no list of numbers such as 0-55,112-167");
        let mut words = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |digits: &str| digits.parse::<u16>().map_err(|_| wrong());
            for number in number(first)?..=number(last)? {
                let word = usize::from(number / 64);
                if words.len() <= word {
                    words.resize(word + 1, 0);
                }
                words[word] |= 1 << (number % 64);
            }
        }
        Ok(Self(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_bits() {
        let set = |text: &str| NumberSet::try_from(text.to_owned()).map(|set| set.0);
        assert_eq!(set("0-3,65"), Ok(vec![0xf, 2]));
        assert_eq!(set("7"), Ok(vec![0x80]));
        for wrong in ["", "a", "0-", "70000"] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
    }
}
