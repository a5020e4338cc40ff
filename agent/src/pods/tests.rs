use std::fs;

use super::*;

const UID: &str = "414cbe69-8d5a-4d9f-8ad4-6606f7f69e33";
const OTHER_UID: &str = "1e597579-417e-482f-bf65-5fe170c3aebd";
const ID: &str = "38091356e51538f55de271b8822e9cc081a110663e7dc7cebfe5f1fe4ee6d75c";
const OTHER_ID: &str = "a09bc17f5aa29b0dbdec9ede5f46cf1396d2405917ab02e6f1eb1019f388396e";
const GPU: &str = "GPU-1fd4ab08-5b2c-4a6f-9d7e-0a7f5a1c9b11";

fn path(uid: &str, id: &str) -> String {
    format!("/kubepods/burstable/pod{uid}/{id}")
}

fn pod_at(pods: &Pods, path: &str, now: Instant) -> Option<Arc<Pod>> {
    pods.pod(path.rsplit('/'), now)
}

fn given(pod: &str) -> Allocation {
    Allocation {
        pod: PodName { namespace: "ml".to_owned(), name: pod.to_owned() },
        container: "main".to_owned(),
        given: Given::Devices { resource: "nvidia.com/gpu".to_owned(), ids: vec![GPU.to_owned()] },
    }
}

#[test]
fn a_container_is_named_when_its_names_are_there_and_keeps_them() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("var/log");
    fs::create_dir_all(log.join("containers")).unwrap();
    let pods = Pods::new(root.path().to_owned());
    let start = Instant::now();

    let early = pod_at(&pods, &path(UID, ID), start).unwrap();
    let nameless =
        Pod { uid: Some(UID.to_owned()), container_id: Some(ID.to_owned()), ..Pod::default() };
    assert_eq!(*early, nameless);

    fs::create_dir_all(log.join(format!("pods/ml_train_{UID}"))).unwrap();
    std::os::unix::fs::symlink("x", log.join(format!("containers/train_ml_main-{ID}.log")))
        .unwrap();
    let later = start + names::BETWEEN_READS;
    let named = pod_at(&pods, &path(UID, ID), later).unwrap();
    let whole = Pod {
        namespace: Some("ml".to_owned()),
        name: Some("train".to_owned()),
        container: Some("main".to_owned()),
        ..nameless
    };
    assert_eq!(*named, whole);

    fs::remove_dir_all(&log).unwrap();
    let gone = pod_at(&pods, &path(UID, ID), later + names::BETWEEN_READS).unwrap();
    assert!(Arc::ptr_eq(&named, &gone), "{gone:?}");
}

#[test]
fn a_pod_that_goes_while_its_container_is_looked_for_keeps_its_name() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join(format!("var/log/pods/ml_train_{UID}"));
    fs::create_dir_all(dir.join("main")).unwrap();
    fs::create_dir_all(dir.join("side")).unwrap();
    let pods = Pods::new(root.path().to_owned());
    let start = Instant::now();
    let named = pod_at(&pods, &path(UID, ID), start).unwrap();
    assert_eq!((named.name.as_deref(), named.container.as_deref()), (Some("train"), None));
    fs::remove_dir_all(dir).unwrap();
    // Another pod's question has the directories read again.
    let later = start + names::BETWEEN_READS;
    pod_at(&pods, &path(OTHER_UID, OTHER_ID), later).unwrap();
    let gone = pod_at(&pods, &path(UID, ID), later).unwrap();
    assert_eq!(named, gone);
}

#[test]
fn names_are_looked_for_so_long_and_no_longer() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path().to_owned());
    let start = Instant::now();
    let before = pod_at(&pods, &path(UID, ID), start).unwrap();
    fs::create_dir_all(root.path().join(format!("var/log/pods/ml_train_{UID}"))).unwrap();
    let late = start + PATIENCE + Duration::from_secs(1);
    assert!(Arc::ptr_eq(&before, &pod_at(&pods, &path(UID, ID), late).unwrap()));
    // Another container of it is looked for.
    let other = pod_at(&pods, &path(UID, OTHER_ID), late).unwrap();
    assert_eq!(other.name.as_deref(), Some("train"));
}

#[test]
fn a_container_of_no_pod_and_a_process_of_no_container() {
    let pods = Pods::new(tempfile::tempdir().unwrap().path().to_owned());
    let now = Instant::now();
    let docker = pod_at(&pods, &format!("/docker/{ID}"), now).unwrap();
    assert_eq!(*docker, Pod { container_id: Some(ID.to_owned()), ..Pod::default() });
    assert_eq!(pod_at(&pods, "/system.slice/kubelet.service", now), None);
}

#[test]
fn a_link_that_is_left_from_before_does_not_rename_a_pod() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("var/log");
    fs::create_dir_all(log.join(format!("pods/ml_train_{UID}/main"))).unwrap();
    fs::create_dir_all(log.join(format!("containers/other_ml_side-{ID}.log"))).unwrap();
    let pods = Pods::new(root.path().to_owned());
    let now = Instant::now();
    let pod = pod_at(&pods, &path(UID, ID), now).unwrap();
    assert_eq!((pod.name.as_deref(), pod.container.as_deref()), (Some("train"), Some("main")));
    // Without a uid the link is all there is.
    let pod = pod_at(&pods, &format!("/../cri-containerd-{ID}.scope"), now).unwrap();
    assert_eq!((pod.name.as_deref(), pod.container.as_deref()), (Some("other"), Some("side")));
}

#[test]
fn the_links_alone_tell_all_that_there_is_to_tell() {
    let root = tempfile::tempdir().unwrap();
    let links = root.path().join("var/log/containers");
    fs::create_dir_all(&links).unwrap();
    // As they are in a container that has nothing else of the node: they lead nowhere.
    std::os::unix::fs::symlink(
        format!("/var/log/pods/ml_train_{UID}/main/0.log"),
        links.join(format!("train_ml_main-{ID}.log")),
    )
    .unwrap();
    let pods = Pods::new(root.path().to_owned());
    let whole = Pod {
        uid: Some(UID.to_owned()),
        namespace: Some("ml".to_owned()),
        name: Some("train".to_owned()),
        container: Some("main".to_owned()),
        container_id: Some(ID.to_owned()),
    };
    let now = Instant::now();
    assert_eq!(pod_at(&pods, &path(UID, ID), now).as_deref(), Some(&whole));
    let nested = format!("{}{}", path(OTHER_UID, OTHER_ID), path(UID, ID));
    assert_eq!(pod_at(&pods, &nested, now).as_deref(), Some(&whole), "its kubelet is in the outer");
    let said = pods.describe();
    assert!(said.starts_with(&format!("Pods are named from {}.", links.display())), "{said}");
}

#[test]
fn of_a_pod_in_a_pod_the_one_of_this_kubelet_is_told() {
    let both = format!("{}{}", path(UID, ID), path(OTHER_UID, OTHER_ID));
    let now = Instant::now();
    let told = |known: &[&str]| {
        let root = tempfile::tempdir().unwrap();
        for uid in known {
            fs::create_dir_all(root.path().join(format!("var/log/pods/ml_x_{uid}"))).unwrap();
        }
        pod_at(&Pods::new(root.path().to_owned()), &both, now).unwrap().uid.clone()
    };
    assert_eq!(told(&[OTHER_UID]).as_deref(), Some(OTHER_UID), "its kubelet is in the outer pod");
    assert_eq!(told(&[UID]).as_deref(), Some(UID));
    // A tenant cannot take another pod's name by a directory below his own.
    assert_eq!(told(&[UID, OTHER_UID]).as_deref(), Some(UID));
    assert_eq!(told(&[]).as_deref(), Some(UID));
}

#[test]
fn no_more_containers_are_remembered_than_that() {
    let pods = Pods::new(tempfile::tempdir().unwrap().path().to_owned());
    let now = Instant::now();
    let first = pod_at(&pods, &format!("/docker/{:064x}", 0), now).unwrap();
    for number in 1..=MOST_CONTAINERS {
        pod_at(&pods, &format!("/docker/{number:064x}"), now).unwrap();
    }
    let again = pod_at(&pods, &format!("/docker/{:064x}", 0), now).unwrap();
    assert!(!Arc::ptr_eq(&first, &again), "it was forgotten and made anew");
    assert_eq!(first, again);
}

#[test]
fn the_kubelet_names_a_pod_where_there_is_no_choice() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path().to_owned());
    let now = Instant::now();
    let gpu = Gpu { uuid: GPU, ..Gpu::default() };
    let held = pod_at(&pods, &path(UID, ID), now).unwrap();
    assert!(!pods.name_by_elimination(&gpu, &[UID], now), "the kubelet was not asked");

    pods.kubelet_said(Ok(vec![given("train")]));
    assert_eq!(pods.holders_of(&gpu), Some(vec![given("train")]));
    assert!(pods.name_by_elimination(&gpu, &[UID], now));
    assert_eq!(held.name, None, "what was handed out stays as it was");
    let named = pod_at(&pods, &path(UID, ID), now).unwrap();
    assert_eq!((named.namespace.as_deref(), named.name.as_deref()), (Some("ml"), Some("train")));

    pods.kubelet_said(Ok(vec![given("next")]));
    assert!(!pods.name_by_elimination(&gpu, &[UID], now), "it has a name");
    assert_eq!(pod_at(&pods, &path(UID, ID), now).unwrap().name.as_deref(), Some("train"));

    pods.kubelet_said(Err(KubeletError::Deadline));
    assert_eq!(pods.holders_of(&gpu), None);
}

#[tokio::test]
async fn a_kubelet_that_is_gone_has_said_nothing() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path().to_owned());
    assert!(!pods.ask_kubelet().await);
    assert_eq!(pods.kubelet_error(), None, "it was never there");
    pods.kubelet_said(Ok(vec![given("train")]));
    assert!(!pods.ask_kubelet().await);
    assert_eq!(pods.holders_of(&Gpu { uuid: GPU, ..Gpu::default() }), None);
    assert_eq!(pods.kubelet_error(), Some(KubeletError::NotMounted(pods.kubelet_socket())));
}

#[test]
fn it_says_how_pods_are_named_and_what_to_mount() {
    let root = tempfile::tempdir().unwrap();
    let pods = Pods::new(root.path().to_owned());
    let said = pods.describe();
    assert!(said.contains("mount the node's /var/log/containers read-only"), "{said}");
    assert!(said.contains("was not asked"), "{said}");

    pods.kubelet_said(Err(KubeletError::NotMounted(pods.kubelet_socket())));
    let said = pods.describe();
    assert!(said.contains("mount the node's directory /var/lib/kubelet/pod-resources"), "{said}");

    fs::create_dir_all(root.path().join("var/log/pods")).unwrap();
    let pods = Pods::new(root.path().to_owned());
    pods.kubelet_said(Ok(Vec::new()));
    let said = pods.describe();
    assert!(said.starts_with("Pods are named from"), "{said}");
    assert!(said.contains("The kubelet says"), "{said}");
}
