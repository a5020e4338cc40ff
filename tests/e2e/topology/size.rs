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
