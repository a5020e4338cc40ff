//! What NVML does not tell: of a GPU that is lost or hangs, of a pair, of links.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    entry, find,
    machine::{Machine, machine},
    noted,
};

#[test]
fn a_gpu_that_is_lost_takes_its_own_pairs_and_no_others() -> Result<()> {
    let lost = "profile = 'h100'\n[[gpu]]\nindex = 3\nlost = true";
    let late =
        "profile = 'h100'\n[[gpu]]\nindex = 3\nfaults.nvmlDeviceGetCpuAffinity = 'GPU_IS_LOST'";
    for scenario in [lost, late] {
        let (_dir, mut agent) = machine(&Machine::named("dgx-h100")?.devices, scenario)?;
        let answer = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
        for other in [0, 1, 2, 4, 5, 6, 7].map(|index| format!("GPU{index}")) {
            for (of, to) in [("GPU3", other.as_str()), (other.as_str(), "GPU3")] {
                let entry = entry(&answer, of, to)?;
                assert_eq!(entry["relation"], Value::Null, "{entry}");
                assert_eq!(entry.get("reason"), None, "{entry}");
            }
            assert_eq!(
                entry(&answer, &other, if other == "GPU0" { "GPU1" } else { "GPU0" })?["relation"],
                "NV18"
            );
        }
        assert_eq!(noted(&answer), ["gpu_unreachable [3]"]);
        assert!(answer["gpus"][3]["error"].as_str().unwrap_or_default().contains("GPU_IS_LOST"));
        assert_eq!(answer["p2p"][0], json!({"capability": "read", "pairs": {"OK": 42}}));
        // Where the GPU itself is not in the answer, the cell says it.
        let other = agent.ask("get_gpu_topology", &json!({"gpu": 0}))?;
        let reason = entry(&other, "GPU0", "GPU3")?["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("GPU 3: ") && reason.contains("GPU_IS_LOST"), "{other}");
    }
    Ok(())
}

#[test]
fn a_gpu_that_hangs_is_named_where_it_is_missing() -> Result<()> {
    let hangs =
        "profile = 'h100'\n[[gpu]]\nindex = 7\nfaults.nvmlDeviceGetCpuAffinity = { hang = true }";
    let (_dir, mut agent) = machine("", hangs)?;
    let answer = agent.ask("get_gpu_topology", &json!({}))?;
    let missing = entry(&answer, "GPU0", "GPU7")?;
    assert_eq!((&missing["relation"], missing.get("reason")), (&Value::Null, None), "{missing}");
    let error = answer["gpus"][7]["error"].as_str().unwrap_or_default();
    assert!(error.contains("nvmlDeviceGetCpuAffinity"), "{error}");
    assert_eq!(answer["gpus"][0]["cpu_affinity"], "0-55,112-167");
    assert_eq!(answer["gpus"][0]["nvlinks"]["up"], 18);
    Ok(())
}

#[test]
fn where_nvml_does_not_tell_the_kernel_does_and_where_nvml_fails_nobody_does() -> Result<()> {
    let with = |code: &str| {
        format!(
            "profile = 't4'\n[all.faults]\nnvmlDeviceGetTopologyCommonAncestor = '{code}'\nnvmlDeviceGetP2PStatus = '{code}'"
        )
    };
    let devices = Machine::named("cloud-t4")?.devices;
    for (devices, code, relation) in [
        (devices.as_str(), "NOT_SUPPORTED", json!("PHB")),
        (devices.as_str(), "UNKNOWN", Value::Null),
        ("", "NOT_SUPPORTED", Value::Null),
    ] {
        let (_dir, mut agent) = machine(devices, &with(code))?;
        let answer = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
        let entry = entry(&answer, "GPU0", "GPU1")?;
        assert_eq!(entry["relation"], relation, "{code}: {entry}");
        let told = entry["reason"].as_str().is_some_and(|reason| reason.contains("CommonAncestor"));
        assert_eq!(told, relation.is_null(), "{code}: {entry}");
        assert_eq!(answer["p2p"][0]["pairs"], json!({"untold": 12}));
        let p2p = &answer["gpus"][0]["p2p"][0];
        assert!(p2p["read"].is_null() && p2p["reason"].is_string(), "{p2p}");
        let absent = answer["gpus"][0]["absent"].to_string();
        assert!(answer["gpus"][0]["nvlinks"].is_null() && absent.contains("\"links\""), "{absent}");
    }
    Ok(())
}

#[test]
fn links_of_which_nvml_does_not_tell_are_null_and_no_pair_looks_as_if_it_had_none() -> Result<()> {
    for (board, faults, of_pair) in [
        ("h100", "faults.nvmlDeviceGetNvLinkState = \"RESET_REQUIRED\"", None),
        // It has none, and no fault.
        ("t4", "", Some("PHB")),
    ] {
        let scenario = format!("profile = {board:?}\ngpus = 3\n[[gpu]]\nindex = 1\n{faults}\n");
        let (_dir, mut agent) = machine("", &scenario)?;
        let answer = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
        let gpu = &answer["gpus"][1];
        assert_eq!((&gpu["nvlinks"], &gpu["links"]), (&Value::Null, &Value::Null), "{gpu}");
        let reason = find(&gpu["absent"], "field", "links")?;
        assert_eq!(reason["by_design"], faults.is_empty(), "{reason}");
        for (of, to) in [("GPU0", "GPU1"), ("GPU1", "GPU0")] {
            let entry = entry(&answer, of, to)?;
            assert_eq!(entry["relation"].as_str(), of_pair, "{entry}");
            assert_eq!(entry["reason"].is_string(), of_pair.is_none(), "{entry}");
        }
        let others = entry(&answer, "GPU0", "GPU2")?;
        assert_eq!(others["relation"] == "PHB", of_pair.is_some(), "{others}");
        assert!(gpu["p2p"].as_array().is_some_and(|pairs| pairs.len() == 2), "{gpu}");
    }
    Ok(())
}
