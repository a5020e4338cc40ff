use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixListener,
    process::{Child, Command, Stdio},
    thread,
};

use super::*;
use crate::pods::PodName;

/// gRPC's own server behind sockets in a directory; `tests/e2e/pod_resources.py` says which.
struct Kubelets {
    dir: tempfile::TempDir,
    server: Child,
}

impl Kubelets {
    /// `None` where there is no Python that has it.
    fn start(test: &str) -> Option<Self> {
        let Some(python) = env::var_os("E2E_PYTHON") else {
            println!(
                "skipped: pods::kubelet::tests::{test}: E2E_PYTHON names no Python; `cargo xtask test` makes one"
            );
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/pod_resources.py");
        let dir = tempfile::tempdir().unwrap();
        let mut server = Command::new(python)
            .args([&script, dir.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests' Python starts");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Some(Self { dir, server })
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).with_extension("sock")
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        let _killed = self.server.kill();
        let _ended = self.server.wait();
    }
}

fn devices(resource: &str, ids: &[&str]) -> Given {
    let ids = ids.iter().map(|&id| id.to_owned()).collect();
    Given::Devices { resource: resource.to_owned(), ids }
}

fn claimed(pool: &str, device: &str, cdi_devices: &[&str]) -> Given {
    Given::Claimed {
        claim_namespace: "ml".to_owned(),
        claim: "two-gpus".to_owned(),
        driver: "gpu.nvidia.com".to_owned(),
        pool: pool.to_owned(),
        device: device.to_owned(),
        cdi_devices: cdi_devices.iter().map(|&name| name.to_owned()).collect(),
    }
}

#[tokio::test]
async fn grpcs_own_server_is_understood() {
    let Some(kubelets) = Kubelets::start("grpcs_own_server_is_understood") else { return };
    let allocation = |pod: &str, given| Allocation {
        pod: PodName { namespace: "ml".to_owned(), name: pod.to_owned() },
        container: "main".to_owned(),
        given,
    };
    let expected = [
        allocation(
            "train-0",
            devices("nvidia.com/gpu", &["GPU-1fd4ab08-5b2c-4a6f-9d7e-0a7f5a1c9b11"]),
        ),
        allocation("train-0", devices("rdma/hca", &["a", "b"])),
        allocation("claims", claimed("node-1", "gpu-0", &["k8s.gpu.nvidia.com/device=gpu-0"])),
        allocation("claims", claimed("", "gpu-1", &[])),
    ];
    let kubelet = kubelets.socket("kubelet");
    assert_eq!(list(&kubelet).await.unwrap(), expected);
    // Another call is another connection.
    assert_eq!(list(&kubelet).await.unwrap(), expected);
    let gpus = Allocatable {
        resource: "nvidia.com/gpu".to_owned(),
        ids: vec!["GPU-1".to_owned(), "GPU-2".to_owned()],
    };
    assert_eq!(allocatable(&kubelet).await.unwrap(), [gpus]);
    assert_eq!(list(&kubelets.socket("empty")).await.unwrap(), []);
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_bound() {
    let Some(kubelets) = Kubelets::start("an_answer_is_read_up_to_its_bound") else { return };
    let large = list(&kubelets.socket("large")).await.unwrap();
    let Given::Devices { ids, .. } = &large[0].given else { panic!("{large:?}") };
    assert_eq!(ids.len(), (4 << 20) / 102);
    assert_eq!(list(&kubelets.socket("too-large")).await, Err(KubeletError::TooLarge));
}

#[tokio::test]
async fn a_refusal_and_another_service_are_told_apart() {
    let Some(kubelets) = Kubelets::start("a_refusal_and_another_service_are_told_apart") else {
        return;
    };
    let message = "rejected by rate limit".to_owned();
    let refused = list(&kubelets.socket("refusing")).await;
    assert_eq!(refused, Err(KubeletError::Status { code: 8, message }));
    for (socket, answer) in [
        ("other", list(&kubelets.socket("other")).await.err()),
        // A kubelet that has this method turned off.
        ("empty", allocatable(&kubelets.socket("empty")).await.err()),
    ] {
        assert!(matches!(answer, Some(KubeletError::NotTheService { .. })), "{socket}: {answer:?}");
    }
}

#[tokio::test]
async fn without_a_kubelet_it_is_said_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kubelet.sock");
    assert_eq!(list(&socket).await, Err(KubeletError::NotMounted(socket.clone())));
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(list(&socket).await, Err(KubeletError::Refused(socket.clone())));
    let refused = grpc::unconnected(&socket, &io::ErrorKind::PermissionDenied.into());
    assert_eq!(refused, KubeletError::Permission(socket));
}

#[tokio::test]
async fn who_speaks_another_protocol_or_nothing_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let web = dir.path().join("web.sock");
    let listener = UnixListener::bind(&web).unwrap();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
        // Until it has had enough.
        let _rest = client.read_to_end(&mut Vec::new());
    });
    let answer = list(&web).await;
    assert!(matches!(answer, Err(KubeletError::NotTheService { .. })), "{answer:?}");
    server.join().unwrap();

    let closing = dir.path().join("closing.sock");
    let listener = UnixListener::bind(&closing).unwrap();
    let server = thread::spawn(move || drop(listener.accept().unwrap()));
    let answer = list(&closing).await;
    assert!(matches!(answer, Err(KubeletError::Connection(_))), "{answer:?}");
    server.join().unwrap();

    let silent = dir.path().join("silent.sock");
    let _listener = UnixListener::bind(&silent).unwrap();
    assert_eq!(list(&silent).await, Err(KubeletError::Deadline));
}

/// One pod `p` in `n`, whose container `c` was given `d` of `r`, and a field 99 that nobody knows.
const MESSAGE: &[u8] =
    b"\x0a\x13\x0a\x01p\x12\x01n\x1a\x0b\x0a\x01c\x12\x06\x0a\x01r\x12\x01d\x9a\x06\x01x";

#[test]
fn a_message_is_decoded_and_a_torn_one_refused() {
    let decode = |bytes| messages::ListResponse::decode(bytes).map(allocations);
    let pod = pod_name("n", "p").unwrap();
    let whole = Allocation { pod, container: "c".to_owned(), given: devices("r", &["d"]) };
    assert_eq!(decode(MESSAGE).unwrap(), [whole]);
    for end in 1..MESSAGE.len() {
        // Before the last field it is whole without it.
        assert_eq!(decode(&MESSAGE[..end]).is_ok(), end == MESSAGE.len() - 4, "{end}");
    }
}

#[test]
fn a_frame_holds_one_whole_message() {
    let unframed = |bytes: &[u8]| grpc::unframed(bytes.to_vec());
    assert_eq!(unframed(b"\0\0\0\0\x02ab").unwrap(), "ab");
    assert_eq!(unframed(b"\0\0\0\0\0").unwrap(), "");
    for torn in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x03ab", b"\0\0\0\0\x01ab", b"\x01\0\0\0\x02ab"] {
        assert!(matches!(unframed(torn), Err(KubeletError::Malformed(_))), "{torn:?}");
    }
    assert_eq!(unframed(b"\0\xff\xff\xff\xff"), Err(KubeletError::TooLarge));
}
