//! What the kubelet gave to whom: which pods have a GPU, and what that says about a pod's name. Pure.
//!
//! Device plugins and drivers call a GPU differently, and none of the names is more than a text to the kubelet:
//!
//! | id | by |
//! | --- | --- |
//! | `GPU-<uuid>` | NVIDIA's device plugin |
//! | `GPU-<uuid>::3`, `MIG-<uuid>::3` | the same, a replica of a GPU that is shared (time-slicing, MPS) |
//! | `MIG-<uuid>`, `MIG-GPU-<uuid>/1/0` | the same, a MIG instance; the second before R470 of the driver |
//! | `nvidia0`, `nvidia0/gi1`, `nvidia0/vgpu2`, `nvidia0/gi1/vgpu2` | GKE's device plugin: the minor number, an instance, a replica |
//! | `gpu-0`, `gpu-0-mig-9-4-4` | NVIDIA's DRA driver `gpu.nvidia.com`: the minor number, in its first releases the index |

use super::names::PodName;

/// One thing that one container was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    pub pod: PodName,
    pub container: String,
    pub given: Given,
}

/// What it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// By a device plugin.
    Devices { resource: String, ids: Vec<String> },
    /// By a DRA driver, for a ResourceClaim.
    Claimed {
        claim_namespace: String,
        claim: String,
        driver: String,
        pool: String,
        device: String,
        /// `vendor.com/class=name`
        cdi_devices: Vec<String>,
    },
}

/// The names that a GPU goes by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gpu<'a> {
    /// `GPU-…`. Empty where an instance alone is meant.
    pub uuid: &'a str,
    /// Of `/dev/nvidia<minor>`.
    pub minor: Option<u32>,
    /// NVML's.
    pub index: Option<u32>,
    /// `MIG-…`: the UUIDs of its instances.
    pub instances: &'a [String],
}

/// NVIDIA's DRA driver.
const DRA_DRIVER: &str = "gpu.nvidia.com";

impl Gpu<'_> {
    /// Whether an allocation gives this GPU or a part of it.
    #[must_use]
    pub fn is_in(&self, given: &Given) -> bool {
        match given {
            Given::Devices { ids, .. } => ids.iter().any(|id| self.is_called(id)),
            Given::Claimed { driver, device, .. } => {
                // Which number it is depends on the driver's release: believed where both are the same.
                let number = device.strip_prefix("gpu-").and_then(leading_number);
                driver == DRA_DRIVER
                    && number.is_some()
                    && self.minor == number
                    && self.index == number
            }
        }
    }

    /// Whether a device plugin's id means this GPU or a part of it.
    fn is_called(&self, id: &str) -> bool {
        if let Some(rest) = id.strip_prefix("nvidia") {
            let formed = |number: u32| {
                let after = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
                (after.is_empty() || after.starts_with('/')).then_some(number)
            };
            let minor = leading_number(rest).and_then(formed);
            return minor.is_some() && minor == self.minor;
        }
        let device = id.split_once("::").map_or(id, |(device, _)| device);
        let whole = device.strip_prefix("MIG-").filter(|rest| rest.starts_with("GPU-"));
        let gpu = whole.map_or(device, |rest| rest.split_once('/').map_or(rest, |(gpu, _)| gpu));
        !gpu.is_empty()
            && (gpu == self.uuid || self.instances.iter().any(|instance| instance == device))
    }
}

/// Those of `allocations` that give a GPU or a part of it.
#[must_use]
pub fn holders_of<'a>(allocations: &'a [Allocation], gpu: &Gpu<'_>) -> Vec<&'a Allocation> {
    allocations.iter().filter(|allocation| gpu.is_in(&allocation.given)).collect()
}

/// Which pod has which uid, where there is no choice: **exactly one pod was given the GPU, and processes of exactly one uid
/// hold it**. The kubelet tells no uid, so nothing less says who is who.
///
/// It is only as good as `uids`: they have to be those that compute on the GPU. One that merely has it open (an exporter, a
/// privileged pod) was given nothing, and while the pod that was given it does nothing, it would get that one's name.
#[must_use]
pub fn name_by_elimination<'a>(holders: &[&'a Allocation], uids: &[&str]) -> Option<&'a PodName> {
    let only_pod = &holders.first()?.pod;
    let only_uid = uids.first()?;
    let no_choice = holders.iter().all(|holder| holder.pod == *only_pod)
        && uids.iter().all(|uid| uid == only_uid);
    no_choice.then_some(only_pod)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "GPU-1fd4ab08-5b2c-4a6f-9d7e-0a7f5a1c9b11";
    const INSTANCE: &str = "MIG-b8ea3855-276c-c9cb-b366-c6fa655957c5";

    fn given(id: &str) -> Given {
        Given::Devices { resource: "nvidia.com/gpu".to_owned(), ids: vec![id.to_owned()] }
    }

    fn claimed(driver: &str, device: &str) -> Given {
        Given::Claimed {
            claim_namespace: "ml".to_owned(),
            claim: "one-gpu".to_owned(),
            driver: driver.to_owned(),
            pool: "node".to_owned(),
            device: device.to_owned(),
            cdi_devices: Vec::new(),
        }
    }

    fn allocation(pod: &str, given: Given) -> Allocation {
        let pod = PodName { namespace: "ml".to_owned(), name: pod.to_owned() };
        Allocation { pod, container: "main".to_owned(), given }
    }

    #[test]
    fn a_gpu_is_known_by_each_of_its_names_and_no_other() {
        let instances = [INSTANCE.to_owned()];
        let gpu = Gpu { uuid: UUID, minor: Some(1), index: Some(1), instances: &instances };
        let is = |given: &Given| gpu.is_in(given);

        for id in [UUID, &format!("{UUID}::0"), &format!("MIG-{UUID}/1/0"), INSTANCE] {
            assert!(is(&given(id)), "{id}");
        }
        for id in ["nvidia1", "nvidia1/gi0", "nvidia1/vgpu2", "nvidia1/gi0/vgpu2"] {
            assert!(is(&given(id)), "{id}");
        }
        assert!(is(&given(&format!("{INSTANCE}::1"))));
        assert!(is(&claimed(DRA_DRIVER, "gpu-1")));
        assert!(is(&claimed(DRA_DRIVER, "gpu-1-mig-9-4-4")));

        for id in
            ["", "::0", "GPU-", "MIG-", "nvidia", "nvidia0", "nvidia11", "nvidia1x", "nvidiactl"]
        {
            assert!(!is(&given(id)), "{id}");
        }
        assert!(!is(&given("GPU-1fd4ab08-5b2c-4a6f-9d7e-0a7f5a1c9b12")));
        assert!(!is(&given("MIG-b8ea3855-276c-c9cb-b366-c6fa655957c6")));
        assert!(!is(&claimed(DRA_DRIVER, "gpu-11")));
        assert!(!is(&claimed(DRA_DRIVER, "gpu-vfio-1")));
        assert!(!is(&claimed("tpu.example.com", "gpu-1")));
    }

    #[test]
    fn a_claim_whose_number_could_be_either_is_not_believed() {
        let gpu = Gpu { uuid: UUID, minor: Some(0), index: Some(1), instances: &[] };
        assert!(!gpu.is_in(&claimed(DRA_DRIVER, "gpu-0")));
        assert!(!gpu.is_in(&claimed(DRA_DRIVER, "gpu-1")));
        assert!(!Gpu { uuid: UUID, ..Gpu::default() }.is_in(&claimed(DRA_DRIVER, "gpu-vfio-1")));
        assert!(gpu.is_in(&given("nvidia0")));
    }

    #[test]
    fn a_uid_gets_a_name_where_there_is_no_choice() {
        let allocations = [
            allocation("train", given(UUID)),
            // Its second container has it too: still one pod.
            allocation("train", given(UUID)),
            allocation("other", given("GPU-2")),
            allocation("shared-a", given("GPU-3::0")),
            allocation("shared-b", given("GPU-3::1")),
        ];
        let named = |uuid, uids: &[&str]| {
            let holders = holders_of(&allocations, &Gpu { uuid, ..Gpu::default() });
            name_by_elimination(&holders, uids).map(|pod| pod.name.clone())
        };
        assert_eq!(named(UUID, &["uid-1"]).as_deref(), Some("train"));
        assert_eq!(named(UUID, &["uid-1", "uid-1"]).as_deref(), Some("train"));
        assert_eq!(named(UUID, &["uid-1", "uid-2"]), None, "which of two uids is it?");
        assert_eq!(named(UUID, &[]), None);
        assert_eq!(named("GPU-3", &["uid-1"]), None, "which of two pods is it?");
        assert_eq!(named("GPU-4", &["uid-1"]), None, "nobody was given it");
    }
}
