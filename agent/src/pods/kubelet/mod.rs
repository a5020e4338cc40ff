//! The kubelet's PodResources: which container was given which devices. A gRPC service on a unix socket of the node, which
//! asks for no token and knows of this node alone.
//!
//! Every call makes its own connection, as calls are rare and a kubelet that was restarted has a new socket; a call takes at
//! most [`DEADLINE`]. The kubelet's own limit of a message is 16 MiB, here it is [`MOST_BYTES`]: some hundred bytes a
//! container make that a node of thousands.
//!
//! `Get`, which asks for one pod, is left out: it needs the name that is looked for.

mod grpc;
mod messages;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;

use super::{
    allocation::{Allocation, Given},
    names::pod_name,
};

/// Where the kubelet listens, below the root of the node's file system. What has to be mounted is its directory: a mount of
/// the socket itself is stale after the kubelet's next start.
pub const SOCKET: &str = "var/lib/kubelet/pod-resources/kubelet.sock";
/// Longer than a loaded kubelet takes, short enough to be waited for.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// The largest answer that is read.
pub const MOST_BYTES: usize = 4 << 20;

/// Devices that may be given: a resource and its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocatable {
    pub resource: String,
    pub ids: Vec<String>,
}

/// Why the kubelet did not tell. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubeletError {
    /// The directory is not mounted, or the kubelet has never run here.
    #[error(
        "{} is not there: mount the node's directory /var/lib/kubelet/pod-resources read-only into the agent's container",
        .0.display()
    )]
    NotMounted(PathBuf),
    /// A kubelet that restarts comes back by itself; a socket mounted as a file has to become its directory.
    #[error(
        "nobody listens at {}: the kubelet is not running, or the socket was mounted by itself and not with its directory, and is that of a kubelet before",
        .0.display()
    )]
    Refused(PathBuf),
    /// The socket is root's; SELinux may refuse root too.
    #[error(
        "{} may not be opened: run the agent as user 0 and, where SELinux enforces, as a type that may use the kubelet's sockets (spc_t)",
        .0.display()
    )]
    Permission(PathBuf),
    /// Some other program's socket, or a kubelet that lacks the method.
    #[error("{} is not the kubelet's PodResources service: {reason}", path.display())]
    NotTheService { path: PathBuf, reason: String },
    /// The kubelet is busy or hangs: ask again later.
    #[error("the kubelet did not answer within {} s: ask again later, and see its log", DEADLINE.as_secs())]
    Deadline,
    /// The kubelet's own refusal; a rate limit goes away by itself.
    #[error("the kubelet refused (gRPC status {code}): {message}")]
    Status { code: u32, message: String },
    /// More containers than this is made for.
    #[error("the kubelet's answer is larger than {} MiB, the most that is read", MOST_BYTES >> 20)]
    TooLarge,
    /// A kubelet of another API, or a broken one.
    #[error("the kubelet's answer cannot be read: {0}")]
    Malformed(String),
    /// Anything else; it may go away by itself.
    #[error("the connection to the kubelet failed: {0}")]
    Connection(String),
}

/// What every container of this node was given.
pub async fn list(socket: &Path) -> Result<Vec<Allocation>, KubeletError> {
    let answer: messages::ListResponse = call(socket, "List").await?;
    Ok(allocations(answer))
}

/// What the kubelet has to give, whether given or not.
pub async fn allocatable(socket: &Path) -> Result<Vec<Allocatable>, KubeletError> {
    let answer: messages::AllocatableResponse = call(socket, "GetAllocatableResources").await?;
    let resource = |devices: messages::ContainerDevices| Allocatable {
        resource: devices.resource_name,
        ids: devices.device_ids,
    };
    Ok(answer.devices.into_iter().map(resource).collect())
}

/// Calls a method of the service. Its request is empty, for each of them.
async fn call<Answer: Message + Default>(
    socket: &Path,
    method: &str,
) -> Result<Answer, KubeletError> {
    let path = format!("/v1.PodResourcesLister/{method}");
    let answer = tokio::time::timeout(DEADLINE, grpc::unary(socket, &path))
        .await
        .map_err(|_| KubeletError::Deadline)??;
    Answer::decode(answer).map_err(|error| KubeletError::Malformed(error.to_string()))
}

fn allocations(answer: messages::ListResponse) -> Vec<Allocation> {
    let mut all = Vec::new();
    for resources in answer.pod_resources {
        let Some(pod) = pod_name(&resources.namespace, &resources.name) else { continue };
        for container in resources.containers {
            let devices = container.devices.into_iter().map(|devices| Given::Devices {
                resource: devices.resource_name,
                ids: devices.device_ids,
            });
            let claims = container.dynamic_resources.into_iter().flat_map(claimed);
            all.extend(devices.chain(claims).map(|given| Allocation {
                pod: pod.clone(),
                container: container.name.clone(),
                given,
            }));
        }
    }
    all
}

fn claimed(claim: messages::DynamicResource) -> impl Iterator<Item = Given> {
    let messages::DynamicResource { claim_name, claim_namespace, claim_resources } = claim;
    claim_resources.into_iter().map(move |resource| Given::Claimed {
        claim_namespace: claim_namespace.clone(),
        claim: claim_name.clone(),
        driver: resource.driver_name,
        pool: resource.pool_name,
        device: resource.device_name,
        cdi_devices: resource.cdi_devices.into_iter().map(|device| device.name).collect(),
    })
}

#[cfg(test)]
mod tests;
