//! `get_gpu_topology`: the matrix, links and their peers, and the PCIe tree of machines that are described in
//! `tests/topologies/`.

mod machine;
mod missing;
mod size;

use anyhow::{Context as _, Result};
use e2e::{Agent, scenario, simulated};
use serde_json::{Value, json};

use machine::{Machine, machine};

fn find<'a>(list: &'a Value, key: &str, name: &str) -> Result<&'a Value> {
    let list = list.as_array().with_context(|| format!("no list for {name}"))?;
    list.iter().find(|item| item[key] == name).with_context(|| format!("{name} is not there"))
}

fn entry<'a>(answer: &'a Value, of: &str, to: &str) -> Result<&'a Value> {
    find(&find(&answer["matrix"], "of", of)?["entries"], "to", to)
}

fn noted(answer: &Value) -> Vec<String> {
    let notes = answer["notes"].as_array().cloned().unwrap_or_default();
    notes.iter().map(|note| format!("{} {}", note["id"], note["gpus"]).replace('"', "")).collect()
}

#[test]
fn the_matrix_is_that_of_the_machine() -> Result<()> {
    for (name, scenario) in [
        ("dgx-h100", "profile = 'h100'"),
        ("cloud-t4", "profile = 't4'"),
        ("odd-a100", "profile = 'a100'\ngpus = 4"),
    ] {
        let expected = Machine::named(name)?;
        let (_dir, mut agent) = machine(&expected.devices, scenario)?;
        let answer = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
        expected.check(&answer).with_context(|| name.to_owned())?;
        assert_eq!(answer["absent"], json!([]), "{name}");
        assert_eq!(noted(&answer), Vec::<String>::new(), "{name}");
    }
    Ok(())
}

#[test]
fn the_tree_leads_from_host_bridges_to_devices() -> Result<()> {
    let (_dir, mut agent) = machine(&Machine::named("dgx-h100")?.devices, "profile = 'h100'")?;
    let answer = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
    let mut node = find(&answer["tree"], "address", "pci0000:15")?;
    for step in ["15:01.0", "16:00.0", "17:02.0", "19:00.0", "1a:00.0"] {
        node = find(&node["children"], "address", &format!("0000:{step}"))?;
        assert_eq!((&node["kind"], &node["link"]), (&json!("bridge"), &Value::Null), "{node}");
    }
    let gpu = json!({
        "address": "0000:1b:00.0", "kind": "gpu", "name": "GPU0", "numa_node": 0,
        "link": "2.5 GT/s x16", "link_max": "32.0 GT/s x16",
    });
    assert_eq!(node["children"], json!([gpu]));
    let roots = answer["tree"].as_array().map(Vec::len);
    assert_eq!(roots, Some(11), "eight with GPUs, two with storage, one with switches");
    assert!(answer["tree"].to_string().contains("nvswitch"));
    assert_eq!(
        (&answer["nics_left_out"], answer["nics"].as_array().map(Vec::len)),
        (&json!(1), Some(12))
    );
    let nic = json!({
        "name": "NIC3", "pci_address": "0000:40:00.0", "rdma_device": "mlx5_3", "interface": null, "numa_node": 0,
    });
    assert_eq!(answer["nics"][3], nic);
    let text = agent.call("get_gpu_topology", &json!({"detail": "full"}))?;
    let text = e2e::text(&text);
    for line in ["PXB: below several", "NIC3: mlx5_3 0000:40:00.0", "      0000:17:02.0 bridge"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // A summary is for one look.
    let answer = agent.ask("get_gpu_topology", &json!({}))?;
    assert!(answer.get("tree").is_none() && answer["gpus"][0].get("links").is_none(), "{answer}");
    assert_eq!(answer["matrix"].as_array().map(Vec::len), Some(8));
    Ok(())
}

#[test]
fn gpus_that_are_simulated_are_in_no_tree_of_this_machine() -> Result<()> {
    let mut agent = Agent::simulated(&["--ebpf", "off"])?;
    let answer = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
    assert_eq!((answer.get("tree"), &answer["nics"]), (None, &json!([])));
    assert_eq!(answer["absent"][0]["field"], "tree");
    // NVML alone says what they are to each other.
    let entry = entry(&answer, "GPU0", "GPU4")?;
    assert_eq!(*entry, json!({"to": "GPU4", "relation": "NV18", "nvlinks": 18, "pcie": "SYS"}));
    let gpu = &answer["gpus"][4];
    assert_eq!(
        (&gpu["cpu_affinity"], &gpu["numa_affinity"]),
        (&json!("56-111,168-223"), &json!("1"))
    );
    assert_eq!(gpu["links"].as_array().map(Vec::len), Some(18));
    let link = json!({
        "link": 5, "state": "up", "version": "4.0", "speed_mb_s": 26562,
        "peer": {"kind": "nvswitch", "pci_address": "0000:06:00.0"},
        "errors": {"replay": 0, "recovery": 0, "crc_flit": 0, "crc_data": 0},
    });
    assert_eq!(gpu["links"][5], link);
    let p2p = json!({
        "to": "GPU0", "read": "OK", "write": "OK", "nvlink": "OK", "atomics": "OK", "pcie": "NS",
    });
    assert_eq!(gpu["p2p"][0], p2p);
    Ok(())
}

#[test]
fn links_from_gpu_to_gpu_lead_to_a_gpu() -> Result<()> {
    let mut agent = Agent::spawn(
        simulated()
            .args(["--ebpf", "off"])
            .env("NVML_SIM_SCENARIO", scenario("nvlink-bridges.toml")),
    )?;
    agent.initialize()?;
    let answer = agent.ask("get_gpu_topology", &json!({"detail": "full"}))?;
    for (of, to, relation, nvlinks, pcie) in [
        ("GPU0", "GPU1", "NV12", json!(12), json!("PXB")),
        ("GPU0", "GPU2", "SYS", Value::Null, Value::Null),
        ("GPU3", "GPU2", "NV11", json!(11), json!("PXB")),
    ] {
        let entry = entry(&answer, of, to)?;
        assert_eq!(
            (&entry["relation"], &entry["nvlinks"], &entry["pcie"]),
            (&json!(relation), &nvlinks, &pcie)
        );
    }
    let peer = json!({
        "kind": "gpu", "pci_address": "0000:47:00.0", "index": 2, "uuid": answer["gpus"][2]["uuid"],
    });
    assert_eq!(answer["gpus"][3]["links"][0]["peer"], peer);
    assert_eq!(noted(&answer), ["nvlink_down [2]", "nvlink_down [3]"]);
    // Of one GPU: its row and its notes.
    let one = agent.ask("get_gpu_topology", &json!({"gpu": "4e:00.0"}))?;
    assert_eq!(
        (one["matrix"].as_array().map(Vec::len), &one["matrix"][0]["of"]),
        (Some(1), &json!("GPU3"))
    );
    assert_eq!(
        (one["gpus"].as_array().map(Vec::len), noted(&one)),
        (Some(1), vec!["nvlink_down [3]".to_owned()])
    );
    Ok(())
}

#[test]
fn what_is_not_alike_is_noted_and_nothing_else_is() -> Result<()> {
    let pair = |index: u32, other: &str, more: &str| {
        let addresses = vec![format!("'0000:{other}:00.0'"); 12].join(", ");
        format!(
            "[[gpu]]\nindex = {index}\nnvlink.remote = 'gpu'\nnvlink.remote_addresses = [{addresses}]\n{more}\n"
        )
    };
    let bridged = |more: &str| {
        format!("profile = 'a100'\ngpus = 2\n{}{}", pair(0, "0f", more), pair(1, "07", ""))
    };
    // Links that go to no switch.
    let off = |count: u32| {
        let off = |link| format!("nvlink.links.{link}.state = 'inactive'\n");
        "nvlink.remote = 'gpu'\n".to_owned() + &(0..count).map(off).collect::<String>()
    };
    for (scenario, expected) in [
        ("profile = 'h100'".to_owned(), vec![]),
        // One link less at one GPU makes every way to it narrower, and no other.
        (
            "profile = 'h100'\n[[gpu]]\nindex = 6\nnvlink.links.4.state = 'inactive'".to_owned(),
            vec!["nvlink_down [6]", "nvlink_unequal [6]"],
        ),
        (
            "profile = 'h100'\n[[gpu]]\nindex = 2\nnvlink.links.4.recovery_errors = 3".to_owned(),
            vec!["nvlink_errors [2]"],
        ),
        ("profile = 'h100'\n[[gpu]]\nindex = 2\nnvlink.links.4.state = 'sleep'".to_owned(), vec![]),
        (bridged("nvlink.links.4.state = 'inactive'"), vec!["nvlink_down [0]", "nvlink_one_sided [0,1]"]),
        (bridged("topology.p2p.nvlink = 'not_supported'"), vec!["nvlink_unused [0,1]"]),
        // The counters of NVLink 5 replace the older ones.
        (
            "profile = 'h100'\n[all.nvlink]\nversion = '5.0'\nlink.counts = { recoveries = 7, symbol = 0 }\n\
             [[gpu]]\nindex = 1\nnvlink.links.3.counts = { recoveries = 7, failed_recoveries = 1 }"
                .to_owned(),
            vec!["nvlink_errors [1]"],
        ),
        ("profile = 't4'".to_owned(), vec![]),
        // Without a bridge, and with one that joins some of the links.
        (format!("profile = 'a100'\ngpus = 2\n[all]\n{}", off(12)), vec![]),
        (format!("profile = 'a100'\ngpus = 2\n[all]\n{}", off(4)), vec![]),
        // Two joined by a bridge, and one by itself.
        (
            bridged("").replace("gpus = 2", "gpus = 3") + "[[gpu]]\nindex = 2\n" + &off(12),
            vec![],
        ),
        // What is divided has its links off.
        (
            format!("profile = 'h100'\n[[gpu]]\nindex = 3\nmig.enabled = true\n{}", off(18)),
            vec![],
        ),
    ] {
        let (_dir, mut agent) = machine("", &scenario)?;
        let answer = agent.ask("get_gpu_topology", &json!({}))?;
        assert_eq!(noted(&answer), expected, "{scenario}");
        if expected == ["nvlink_down [6]", "nvlink_unequal [6]"] {
            assert_eq!(entry(&answer, "GPU6", "GPU0")?["nvlinks"], 17);
            assert_eq!(entry(&answer, "GPU0", "GPU6")?["nvlinks"], 17);
            assert_eq!(entry(&answer, "GPU0", "GPU1")?["nvlinks"], 18);
        }
    }
    Ok(())
}

#[test]
fn a_gpu_beside_its_cpu_has_links_to_it() -> Result<()> {
    let scenario = "profile = 'h100'\ngpus = 1\n[all]\nidentity.numa_node = 2\n\
                    topology.c2c = { links = 10, max_bandwidth_mb_s = 44712 }";
    let (_dir, mut agent) = machine("", scenario)?;
    let gpu = &agent.ask("get_gpu_topology", &json!({}))?["gpus"][0];
    let c2c = json!({"enabled": true, "links": 10, "links_up": 10, "max_bandwidth_mb_s": 447_120});
    assert_eq!((&gpu["c2c"], &gpu["gpu_numa_node"]), (&c2c, &json!(2)));
    Ok(())
}
