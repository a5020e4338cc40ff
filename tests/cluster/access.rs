//! Who may do what with the pods, as the API server answers it.

use anyhow::Result;

use crate::{cluster::Cluster, release::Release};

const GROUP: &str = "gpu-diagnosticians";

/// A member of the group finds pods and runs commands in them, in this namespace; whoever is not, does not.
pub fn of_diagnosticians(cluster: &Cluster) -> Result<()> {
    let group = format!("rbac.diagnosticians[0].kind=Group,rbac.diagnosticians[0].name={GROUP}");
    let release = Release::install(cluster, "access", &[&group])?;
    let pod = release.pod(cluster, &cluster.gpu_nodes[0])?;
    let here = ["-n", &release.namespace];
    let pod = pod.name.as_str();
    let may: [&[&str]; 3] = [
        &["get", "pods"],
        &["get", "pod", pod, "-o", "yaml"],
        &["exec", "-i", pod, "--", "/agent", "--version"],
    ];
    let may_not: [&[&str]; 9] = [
        &["delete", "pod", pod],
        &["create", "-f", "-"],
        &["annotate", "pod", pod, "a=b"],
        &["logs", pod],
        &["port-forward", pod, "1:1"],
        &["attach", pod],
        &["get", "secrets"],
        &["get", "daemonsets"],
        &["get", "rolebindings"],
    ];
    let member = ["--as", "ada", "--as-group", GROUP];
    let run = |who: &[&str], what: &[&str], place: &[&str]| {
        let arguments = if what.contains(&"--") {
            [who, place, what].concat()
        } else {
            [what, who, place].concat()
        };
        as_somebody(cluster, &arguments)
    };
    for what in may {
        assert_eq!(run(&member, what, &here)?, Answer::Done, "{what:?}");
    }
    for what in may_not {
        assert_eq!(run(&member, what, &here)?, Answer::Forbidden, "{what:?}");
    }
    // Elsewhere, and cluster-wide.
    for (what, place) in [
        (["get", "pods"], ["-n", "kube-system"]),
        (["get", "pods"], ["-n", "default"]),
        (["get", "pods"], ["--all-namespaces", "--ignore-not-found"]),
        (["get", "nodes"], ["--ignore-not-found", "--no-headers"]),
    ] {
        assert_eq!(run(&member, &what, &place)?, Answer::Forbidden, "{what:?} {place:?}");
    }
    let others: [&[&str]; 3] = [
        &["--as", "eve"],
        &["--as", "eve", "--as-group", "developers"],
        // The pods' own account has no right at all.
        &["--as", &format!("system:serviceaccount:{}:gpu-k8s-gpu-mcp-server", release.namespace)],
    ];
    for who in others {
        for what in may {
            assert_eq!(run(who, what, &here)?, Answer::Forbidden, "{who:?}: {what:?}");
        }
    }
    release.remove(cluster)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Forbidden,
    Else(String),
}

fn as_somebody(cluster: &Cluster, arguments: &[&str]) -> Result<Answer> {
    let mut command = cluster.program(&cluster.kubectl);
    let manifest = tempfile::NamedTempFile::new()?;
    let pod = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "eves"},
        "spec": {"containers": [{"name": "c", "image": cluster.image}]},
    });
    std::fs::write(manifest.path(), pod.to_string())?;
    let output = command.args(arguments).stdin(std::fs::File::open(manifest.path())?).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(match output.status.code() {
        Some(0) => Answer::Done,
        _ if said.contains("orbidden") => Answer::Forbidden,
        _ => Answer::Else(said),
    })
}
