use std::{fs, path::Path};

use super::*;

/// One line of `tests/cgroups/cgroups.tsv`.
struct Case {
    told: [String; 4],
    source: String,
    text: String,
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cgroups/cgroups.tsv");
    let text = fs::read_to_string(file).expect("the cases are there");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let &[pod, class, container, runtime, source, text] = fields.as_slice() else {
                panic!("six fields: {line}");
            };
            Case {
                told: [pod, class, container, runtime].map(str::to_owned),
                source: source.to_owned(),
                text: text.replace("\\n", "\n"),
            }
        })
        .collect()
}

/// A place as the file writes it, its container with so many digits.
fn written(place: Option<&Place>, digits: usize) -> [String; 4] {
    let fields = place.map(|place| {
        let container = place.container_id.as_deref();
        assert!(container.is_none_or(is_container_id), "{container:?}");
        [
            place.pod_uid.as_deref(),
            place.qos.map(|qos| match qos {
                Qos::Guaranteed => "guaranteed",
                Qos::Burstable => "burstable",
                Qos::BestEffort => "besteffort",
            }),
            container.and_then(|id| id.get(..digits)),
            place.runtime.map(|runtime| match runtime {
                Runtime::Containerd => "containerd",
                Runtime::CriO => "cri-o",
                Runtime::Docker => "docker",
                Runtime::Podman => "podman",
            }),
        ]
    });
    fields.unwrap_or_default().map(|field| field.unwrap_or("-").to_owned())
}

#[test]
fn every_listed_cgroup_is_told() {
    let cases = cases();
    assert!(cases.len() > 60, "{}", cases.len());
    for case in cases {
        let place = if case.text.starts_with('/') {
            place_of_path(&case.text)
        } else {
            of_proc_cgroup(&case.text)
        };
        let written = written(place.as_ref(), case.told[2].len());
        assert_eq!(written, case.told, "{}: {}", case.source, case.text);
    }
}

#[test]
fn names_come_from_the_leaf_and_the_root_has_none() {
    let id = "38091356e51538f55de271b8822e9cc081a110663e7dc7cebfe5f1fe4ee6d75c";
    let pod = "pod4a163a05-439d-484b-8e53-2968bc15824f";
    let whole = place([id, pod, "burstable", "kubepods", ""]).unwrap();
    assert_eq!((whole.pod_uid.as_deref(), whole.qos), (pod.get(3..), Some(Qos::Burstable)));
    // The way up was longer than what was read of it: the pod is told still, its class is not.
    let cut = place(["init.scope", id, pod]).unwrap();
    assert_eq!((cut.pod_uid, cut.container_id.as_deref()), (whole.pod_uid, Some(id)));
    assert_eq!(cut.qos, None);
    assert_eq!(place([]), None);
}

#[test]
fn of_pods_in_pods_the_outermost_comes_first() {
    let path = "/kubepods/besteffort/pod85af8291-287b-44b0-897e-c4e6a9c8512b/\
                19e5ed27c5ab22ca59b11ebe481145f03325b330ab94dc2b55b7cec3c5cc35dd/kubepods.slice/\
                kubepods-pod1e597579_417e_482f_bf65_5fe170c3aebd.slice/\
                crio-a09bc17f5aa29b0dbdec9ede5f46cf1396d2405917ab02e6f1eb1019f388396e.scope";
    let all = places(path.rsplit('/'));
    let all: Vec<_> = all.iter().map(|place| written(Some(place), 4)).collect();
    let outer = ["85af8291-287b-44b0-897e-c4e6a9c8512b", "besteffort", "19e5", "-"];
    let inner = ["1e597579-417e-482f-bf65-5fe170c3aebd", "guaranteed", "a09b", "cri-o"];
    assert_eq!(all, [outer, inner].map(|place| place.map(str::to_owned)));
    assert_eq!(written(place_of_path(path).as_ref(), 4), all[0]);
}

#[test]
fn whatever_a_container_makes_below_itself_it_stays_where_it_is() {
    let cases = cases();
    let paths = || cases.iter().filter(|case| case.text.starts_with('/'));
    let mut tried = 0;
    for outer in paths() {
        let own = place_of_path(&outer.text);
        if own.as_ref().is_none_or(|own| own.container_id.is_none() || own.pod_uid.is_none()) {
            continue;
        }
        for made in paths() {
            let below = format!("{}{}", outer.text, made.text);
            assert_eq!(place_of_path(&below), own, "{below}");
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
}
