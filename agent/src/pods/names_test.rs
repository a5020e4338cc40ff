use std::fs;

use super::*;

const UID: &str = "414cbe69-8d5a-4d9f-8ad4-6606f7f69e33";
const STATIC: &str = "23b5c5a138ffb34cba6fda53690335d5";
const ID: &str = "38091356e51538f55de271b8822e9cc081a110663e7dc7cebfe5f1fe4ee6d75c";

/// A root with the directories and, as files, the links.
fn node(directories: &[&str], links: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("var/log/pods")).unwrap();
    fs::create_dir_all(root.path().join("var/log/containers")).unwrap();
    for directory in directories {
        fs::create_dir_all(root.path().join("var/log/pods").join(directory)).unwrap();
    }
    for link in links {
        let link = root.path().join("var/log/containers").join(link);
        std::os::unix::fs::symlink("/nowhere", link).unwrap();
    }
    root
}

fn called(namespace: &str, name: &str) -> PodName {
    PodName { namespace: namespace.to_owned(), name: name.to_owned() }
}

#[test]
fn a_pod_and_its_container_are_named() {
    let pod = format!("ml_train-0.x_{UID}");
    let static_pod = format!("kube-system_etcd-node_{STATIC}");
    let root = node(
        &[&pod, &format!("{pod}/main"), &static_pod],
        &[&format!("train-0.x_ml_my-main-{ID}.log"), "other.log"],
    );
    let mut names = Names::new(root.path());
    let now = Instant::now();
    assert_eq!(names.pod(UID, now), Some(called("ml", "train-0.x")));
    assert_eq!(names.pod(STATIC, now), Some(called("kube-system", "etcd-node")));
    let container =
        ContainerName { pod: called("ml", "train-0.x"), container: "my-main".to_owned() };
    assert_eq!(names.container(ID, now), Some(container));
    assert_eq!(names.only_container(&called("ml", "train-0.x"), UID).as_deref(), Some("main"));
    assert_eq!(names.only_container(&called("kube-system", "etcd-node"), STATIC), None);
    fs::create_dir(root.path().join("var/log/pods").join(&pod).join("second")).unwrap();
    assert_eq!(names.only_container(&called("ml", "train-0.x"), UID), None);
    let [pods, containers] = ["pods", "containers"].map(|it| root.path().join("var/log").join(it));
    assert_eq!(names.read_from(), Ok(vec![pods.as_path(), containers.as_path()]));
}

#[test]
fn what_kubernetes_would_not_have_accepted_is_not_believed() {
    let long = "a".repeat(64);
    for name in [
        format!("ML_train_{UID}"),
        format!("ml_-train_{UID}"),
        format!("ml_train-_{UID}"),
        format!("ml_tr..ain_{UID}"),
        format!("ml_tr\nain_{UID}"),
        format!("{long}_train_{UID}"),
        format!("ml__{UID}"),
        format!("_train_{UID}"),
        format!("ml_train_{UID}_"),
        format!("ml_train_{UID}0"),
        "ml_train_../../etc".to_owned(),
        "ml_train".to_owned(),
    ] {
        assert_eq!(pod_directory(&name), None, "{name}");
    }
    for name in [
        format!("train_ml_main-{ID}.txt"),
        format!("train_ml_main-{}.log", &ID[1..]),
        format!("train_ml_Main-{ID}.log"),
        format!("train_ml_{long}-{ID}.log"),
        format!("train_m.l_main-{ID}.log"),
        format!("train_ml_-{ID}.log"),
        format!("train_{ID}.log"),
    ] {
        assert_eq!(container_log(&name), None, "{name}");
    }
    let longest = format!("{}.{}", "a".repeat(126), "b".repeat(126));
    assert!(pod_name("ml", &longest).is_some());
    assert!(pod_name("ml", &format!("{longest}b")).is_none());
}

#[test]
fn what_is_new_is_found_but_not_looked_for_all_the_time() {
    let root = node(&[], &[]);
    let mut names = Names::new(root.path());
    let start = Instant::now();
    assert_eq!(names.pod(UID, start), None);
    fs::create_dir(root.path().join(format!("var/log/pods/ml_train_{UID}"))).unwrap();
    let soon = start + BETWEEN_READS / 2;
    assert_eq!(names.pod(UID, soon), None, "it was read a moment ago");
    assert_eq!(names.pod(UID, start + BETWEEN_READS), Some(called("ml", "train")));
    // An answer that is there needs no reading, and an older clock does no harm.
    assert_eq!(names.pod(UID, start), Some(called("ml", "train")));
}

#[test]
fn without_the_directories_there_is_a_reason_and_no_error() {
    let root = tempfile::tempdir().unwrap();
    let mut names = Names::new(root.path());
    let now = Instant::now();
    assert_eq!((names.pod(UID, now), names.container(ID, now)), (None, None));
    let (path, why) = names.read_from().unwrap_err();
    assert!(
        path.ends_with("var/log/containers") && why.contains("No such file"),
        "{path:?}: {why}"
    );
    names.learn(UID, called("ml", "train"));
    assert_eq!(names.pod(UID, now), Some(called("ml", "train")));
    // Mounted, or made, later.
    fs::create_dir_all(root.path().join(format!("var/log/pods/ml_other_{UID}"))).unwrap();
    assert_eq!(names.pod(UID, now + BETWEEN_READS), Some(called("ml", "other")));
    assert_eq!(names.read_from(), Ok(vec![root.path().join("var/log/pods").as_path()]));
}

#[test]
fn the_links_alone_name_a_container_and_its_pod() {
    let root = node(&[], &[&format!("train-0_ml_main-{ID}.log")]);
    fs::remove_dir(root.path().join("var/log/pods")).unwrap();
    let mut names = Names::new(root.path());
    let container = ContainerName { pod: called("ml", "train-0"), container: "main".to_owned() };
    assert_eq!(names.container(ID, Instant::now()), Some(container));
    assert_eq!(names.read_from(), Ok(vec![root.path().join("var/log/containers").as_path()]));
}

#[test]
fn a_directory_is_read_so_far_and_no_further() {
    let root = node(&[], &[]);
    for number in 0..MOST + 100 {
        let uid = format!("{number:032x}");
        fs::create_dir(root.path().join(format!("var/log/pods/ml_train-{number}_{uid}"))).unwrap();
    }
    assert_eq!(Names::new(root.path()).pods.len(), MOST);
}
