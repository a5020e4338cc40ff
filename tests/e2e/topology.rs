//! `get_gpu_topology`: the matrix, links and their peers, and the PCIe tree of machines that are described in
//! `tests/topologies/`.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};
use e2e::{Agent, repository, scenario, simulated};
use serde_json::{Value, json};

/// A machine of `tests/topologies/`: its devices as lines, and what the matrix has to be.
struct Machine {
    devices: String,
    heads: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Machine {
    fn named(name: &str) -> Result<Self> {
        let path = repository().join("tests/topologies").join(name).with_extension("txt");
        let text = fs::read_to_string(&path)?;
        let (devices, matrix) = text.split_once("---\n").context("no matrix")?;
        let words = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        let mut lines = matrix.lines().map(words);
        let heads = lines.next().context("no heads")?.split_off(1);
        let rows = lines.map(|mut row| {
            let cells = row.split_off(1);
            (row.concat(), cells)
        });
        Ok(Self { devices: devices.to_owned(), heads, rows: rows.collect() })
    }

    /// The matrix of the answer is this machine's.
    fn check(&self, answer: &Value) -> Result<()> {
        let nics = answer["nics"].as_array().context("nics")?;
        assert_eq!(nics.len(), self.heads.iter().filter(|head| head.starts_with("NIC")).count());
        for (of, cells) in &self.rows {
            for (to, cell) in self.heads.iter().zip(cells).filter(|(to, _)| *to != of) {
                let entry = entry(answer, of, to)?;
                let told = entry["relation"].as_str().unwrap_or("?");
                assert_eq!(told, cell, "{of} to {to}: {entry}");
                assert_eq!(told == "?", entry["reason"].is_string(), "{entry}");
            }
        }
        Ok(())
    }
}

/// Makes below `root` what the kernel has in `/sys` of devices such as `tests/topologies/dgx-h100.txt` describes.
fn sysfs(root: &Path, devices: &str) -> Result<()> {
    let list = root.join("sys/bus/pci/devices");
    fs::create_dir_all(&list)?;
    for line in devices.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let mut word = || words.next();
        let (way, kind) = (word().context("way")?, word().context("kind")?);
        let numa = word().context("NUMA node")?;
        let whole = |name: &str| match name.len() {
            7 => format!("0000:{name}"),
            _ => name.to_owned(),
        };
        let mut names: Vec<String> = way.split('/').map(whole).collect();
        if names[0].contains('.') {
            names.insert(0, format!("pci{}", &names[0][..7]));
        }
        let mut at = "sys/devices".to_owned();
        for name in &names {
            at = format!("{at}/{name}");
            let folder = root.join(&at);
            if folder.exists() {
                continue;
            }
            fs::create_dir_all(&folder)?;
            if name.contains('.') {
                symlink(Path::new("../../../..").join(&at), list.join(name))?;
                for (file, text) in
                    [("class", "0x060400"), ("vendor", "0x1000"), ("numa_node", numa)]
                {
                    fs::write(folder.join(file), format!("{text}\n"))?;
                }
            }
        }
        let folder = root.join(&at);
        let (class, vendor) = match kind {
            "gpu" => ("0x030200", "0x10de"),
            "nvswitch" => ("0x068000", "0x10de"),
            "nic" | "vf" => ("0x020700", "0x15b3"),
            _ => ("0x010802", "0x144d"),
        };
        for (file, text) in [
            ("class", class),
            ("vendor", vendor),
            ("current_link_speed", "2.5 GT/s PCIe"),
            ("current_link_width", "16"),
            ("max_link_speed", "32.0 GT/s PCIe"),
            ("max_link_width", "16"),
        ] {
            fs::write(folder.join(file), format!("{text}\n"))?;
        }
        if kind == "vf" {
            symlink("../0000:18:00.0", folder.join("physfn"))?;
        }
        for (class, name) in [("infiniband", word()), ("net", word())] {
            if let Some(name) = name.filter(|name| *name != "-") {
                fs::create_dir_all(folder.join(class).join(name))?;
            }
        }
    }
    Ok(())
}

/// A session on a machine whose kernel lists these devices, with GPUs as the scenario says.
fn machine(devices: &str, scenario: &str) -> Result<(tempfile::TempDir, Agent)> {
    let dir = tempfile::tempdir()?;
    sysfs(dir.path(), devices)?;
    let path = dir.path().join("scenario.toml");
    fs::write(&path, scenario)?;
    let mut agent = Agent::spawn(
        simulated()
            .args(["--ebpf", "off"])
            .env("NVML_SIM_SCENARIO", &path)
            .env("AGENT_HOST_ROOT", dir.path()),
    )?;
    agent.initialize()?;
    Ok((dir, agent))
}

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
fn a_gpu_beside_its_cpu_has_links_to_it() -> Result<()> {
    let scenario = "profile = 'h100'\ngpus = 1\n[all]\nidentity.numa_node = 2\n\
                    topology.c2c = { links = 10, max_bandwidth_mb_s = 44712 }";
    let (_dir, mut agent) = machine("", scenario)?;
    let gpu = &agent.ask("get_gpu_topology", &json!({}))?["gpus"][0];
    let c2c = json!({"enabled": true, "links": 10, "links_up": 10, "max_bandwidth_mb_s": 447_120});
    assert_eq!((&gpu["c2c"], &gpu["gpu_numa_node"]), (&c2c, &json!(2)));
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
