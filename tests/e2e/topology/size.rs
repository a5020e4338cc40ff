//! A summary stays within 32 KiB, whatever is wrong with how many GPUs.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{entry, machine::machine};

/// Sixteen GPUs, each with a link that is down and one that errs, and 32 NICs: devices and scenario.
fn sixteen(more: &str) -> Result<(String, String)> {
    use std::fmt::Write as _;
    let (mut devices, mut scenario) = (String::new(), "profile = 'h100'\ngpus = 16\n".to_owned());
    for index in 0..16 {
        let bus = 0x10 + index;
        write!(
            scenario,
            "[[gpu]]\nindex = {index}\npci.address = '0000:{bus:x}:00.0'\nidentity.module_id = {index}\n\
             nvlink.links.{index} = {{ state = 'inactive', replay_errors = 4 }}\n{more}\n"
        )?;
        writeln!(devices, "pci0000:00/00:{index:02x}.0/{bus:x}:00.0 gpu 0")?;
        for function in 0..2 {
            let nic = 2 * index + function;
            writeln!(
                devices,
                "pci0000:80/80:{index:02x}.0/a{index:x}:00.{function} nic 1 mlx5_{nic}"
            )?;
        }
    }
    Ok((devices, scenario))
}

#[test]
fn sixteen_gpus_that_tell_little_have_each_reason_once() -> Result<()> {
    let refused = |calls: &[&str]| {
        let fault = |call: &&str| format!("faults.nvmlDeviceGet{call} = 'UNKNOWN'\n");
        calls.iter().map(fault).collect::<String>()
    };
    let own = ["CpuAffinity", "MemoryAffinity", "NumaNodeId"];
    let links = [&own[..], &["NvLinkState"]].concat();
    let pairs = [&own[..], &["TopologyCommonAncestor", "P2PStatus"]].concat();
    let all = [&links[..], &["TopologyCommonAncestor", "P2PStatus"]].concat();
    for (board, calls, reasons) in [
        ("h100", &own[..], 0),
        // The links say what pairs are to each other.
        ("h100", &pairs, 0),
        ("h100", &links, 16),
        ("h100", &all, 16),
        ("t4", &pairs, 1),
    ] {
        let (devices, scenario) = sixteen(&refused(calls))?;
        let has = |line: &&str| board == "h100" || !line.starts_with("nvlink.");
        let kept: Vec<_> = scenario.lines().filter(has).collect();
        let (_dir, mut agent) = machine(&devices, &kept.join("\n").replace("h100", board))?;
        let answer = agent.ask("get_gpu_topology", &json!({}))?;
        let size = answer.to_string().len();
        assert!(size < 32 << 10, "{board} {calls:?}: {size}");
        let told = answer["reasons"].as_array().map_or(0, Vec::len);
        let relation = &entry(&answer, "GPU0", "GPU1")?["relation"];
        assert_eq!((told, relation.is_null()), (reasons, reasons > 0), "{board} {calls:?}");
        let absent = [&answer["absent"], &answer["gpus"][15]["absent"]].map(Value::to_string);
        assert!(absent.concat().contains("nvmlDeviceGetCpuAffinity"), "{board} {calls:?}");
    }
    Ok(())
}

#[test]
fn sixteen_gpus_and_more_nics_than_fit_stay_within_the_bound_of_a_summary() -> Result<()> {
    let (devices, mut scenario) = sixteen("")?;
    scenario.push_str("lost = true\n");
    let (_dir, mut agent) = machine(&devices, &scenario)?;
    let answer = agent.ask("get_gpu_topology", &json!({}))?;
    assert_eq!(answer["gpus"].as_array().map(Vec::len), Some(16));
    assert_eq!(entry(&answer, "GPU0", "NIC11")?["relation"], "SYS");
    assert_eq!(
        (&answer["nics_left_out"], entry(&answer, "GPU0", "NIC12").is_err()),
        (&json!(20), true)
    );
    let size = answer.to_string().len();
    assert!(size < 32 << 10, "{size}");
    let full = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
    assert_eq!(entry(&full, "NIC30", "NIC31")?["relation"], "PIX");
    Ok(())
}

#[test]
fn sixteen_gpus_of_which_none_answers_stay_within_the_bound_too() -> Result<()> {
    for (fault, said) in [
        ("lost = true", "GPU_IS_LOST"),
        ("faults.nvmlDeviceGetCpuAffinity = { hang = true }", "nvmlDeviceGetCpuAffinity"),
    ] {
        let (devices, scenario) = sixteen(fault)?;
        let (_dir, mut agent) = machine(&devices, &scenario)?;
        let answer = agent.ask("get_gpu_topology", &json!({}))?;
        for gpu in answer["gpus"].as_array().context("gpus")? {
            assert!(gpu["error"].as_str().unwrap_or_default().contains(said), "{gpu}");
        }
        assert_eq!(entry(&answer, "GPU0", "GPU1")?["relation"], Value::Null);
        let size = answer.to_string().len();
        assert!(size < 32 << 10, "{said}: {size}");
    }
    Ok(())
}
