//! What the inventory makes of nodes that are not like the others; its figures are held in `fields`.

use anyhow::{Context as _, Result};
use e2e::{Agent, scenario, simulated, text};
use serde_json::{Value, json};

/// A session on a scenario, with some files of its host.
struct Session {
    agent: Agent,
    folder: tempfile::TempDir,
}

fn session(content: &str, host: &[(&str, &str)]) -> Result<Session> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("scenario.toml");
    std::fs::write(&path, content)?;
    for (file, content) in host {
        let file = folder.path().join(file);
        std::fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        std::fs::write(file, content)?;
    }
    let mut command = simulated();
    command.args(["--ebpf", "off", "--host-root"]).arg(folder.path());
    command.env("NVML_SIM_TRACE", folder.path().join("trace"));
    let mut agent = Agent::spawn(command.env("NVML_SIM_SCENARIO", path))?;
    agent.initialize()?;
    Ok(Session { agent, folder })
}

impl Session {
    fn full(&mut self) -> Result<Value> {
        self.agent.ask("get_gpu_inventory", &json!({"detail": "full"}))
    }

    fn text(&mut self) -> Result<String> {
        Ok(text(&self.agent.call("get_gpu_inventory", &json!({"detail": "full"}))?).to_owned())
    }
}

/// The reason that a GPU, or the node, gives for a field that is null.
fn reason<'a>(of: &'a Value, field: &str) -> Option<(&'a str, bool)> {
    let names =
        |group: &&Value| group["fields"].as_array().is_some_and(|f| f.contains(&json!(field)));
    let group = of["absent"].as_array()?.iter().find(names)?;
    Some((group["reason"].as_str()?, group["by_design"].as_bool()?))
}

fn divided() -> Result<String> {
    Ok(std::fs::read_to_string(scenario("divided-node.toml"))?)
}

const FIRST: &str = "MIG-1f8a6f0c-52c5-5d8e-a6de-0f4f3a1c9b01";
const SECOND: &str = "MIG-1f8a6f0c-52c5-5d8e-a6de-0f4f3a1c9b02";
const THIRD: &str = "MIG-1f8a6f0c-52c5-5d8e-a6de-0f4f3a1c9b03";

#[test]
fn a_divided_gpu_has_its_tree() -> Result<()> {
    let mut session = session(&divided()?, &[])?;
    let answer = session.full()?;
    let gpu = &answer["gpus"][1];
    let mib = |count: u64| count << 20;
    let (large, middle) = (mib(40448), mib(20096));
    assert_eq!(
        gpu["detail"]["mig"],
        json!({"enabled": true, "pending": false, "devices_max": 7, "gpu_instances": [
            {
                "id": 1, "profile": "3g.40gb", "placement_start": 4, "placement_size": 4,
                "memory_total_bytes": large, "memory_used_bytes": mib(2048), "memory_reserved_bytes": 0,
                "memory_free_bytes": large - mib(2048),
                "compute_instances": [
                    {"id": 0, "mig_index": 0, "uuid": FIRST, "sm_count": 16, "slices": 1},
                    {"id": 1, "mig_index": 1, "uuid": SECOND, "sm_count": 32, "slices": 2},
                ],
            },
            {
                "id": 5, "profile": "1g.20gb", "placement_start": 0, "placement_size": 2,
                "memory_total_bytes": middle, "memory_used_bytes": mib(1024), "memory_reserved_bytes": 0,
                "memory_free_bytes": middle - mib(1024),
                "compute_instances": [{"id": 0, "mig_index": 2, "uuid": THIRD, "sm_count": 26, "slices": 1}],
            },
            {
                "id": 13, "profile": "1g.10gb+me", "placement_start": 2, "placement_size": 1,
                "memory_total_bytes": null, "memory_used_bytes": null, "memory_reserved_bytes": null,
                "memory_free_bytes": null, "compute_instances": [],
            },
        ]})
    );
    assert_eq!(gpu["gpu_utilization_percent"], Value::Null);
    let (why, by_design) = reason(gpu, "gpu_utilization_percent").context("no reason")?;
    assert!(why.contains("MIG") && by_design, "{why}");
    let (why, _) = reason(gpu, "mig.gpu_instances.memory_total_bytes").context("no reason")?;
    assert!(why.contains("GPU instance 13"), "{why}");
    let told = session.text()?;
    for line in [
        "MIG 3g.40gb 1g.20gb 1g.10gb+me",
        "GPU instance 1  3g.40gb  slices 4 to 7 of memory  39.5 GiB, 2.0 GiB used",
        "compute instance 1  MIG-1f8a6f0c-52c5-5d8e-a6de-0f4f3a1c9b02  32 SMs",
        "GPU instance 13  1g.10gb+me  slice 2 of memory  NO COMPUTE INSTANCE",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    Ok(())
}

#[test]
fn what_the_driver_tells_root_alone_is_missed_and_the_devices_name_their_profiles() -> Result<()> {
    let faults = "\n[gpu.faults]\nnvmlDeviceGetGpuInstances = \"NO_PERMISSION\"\n";
    // Behind the last table of GPU 1.
    for more in ["", "nvmlDeviceGetGpuInstanceProfileInfoV = \"ARGUMENT_VERSION_MISMATCH\"\n"] {
        let mut session = session(&format!("{}{faults}{more}", divided()?), &[])?;
        let answer = session.full()?;
        let gpu = &answer["gpus"][1];
        assert_eq!(gpu["mig_profiles"], json!(["3g.40gb", "1g.20gb"]));
        let tree = &gpu["detail"]["mig"]["gpu_instances"];
        assert_eq!(tree[0]["placement_start"], Value::Null);
        assert_eq!(tree[0]["compute_instances"][1]["uuid"], SECOND);
        let words = if more.is_empty() { "needs UID 0" } else { "ARGUMENT_VERSION_MISMATCH" };
        let (why, _) = reason(gpu, "mig.gpu_instances.placement_start").context("no reason")?;
        assert!(why.contains(words), "{why}");
    }
    // Where no device tells of one, there may be some all the same.
    let empty = "profile = \"h100\"\ngpus = 1\n[all.mig]\nenabled = true\npending = true\n";
    for (faults, profiles) in [("", json!([])), (&faults.replace("gpu.", "all."), Value::Null)] {
        let mut session = session(&format!("{empty}{faults}"), &[])?;
        let answer = session.full()?;
        let gpu = &answer["gpus"][0];
        assert_eq!(gpu["mig_profiles"], profiles, "{gpu}");
        assert_eq!(gpu["detail"]["mig"]["gpu_instances"], profiles, "{gpu}");
        assert_eq!(reason(gpu, "mig_profiles").is_some(), profiles.is_null(), "{gpu}");
    }
    // Nor their names: then slices and memory make it.
    let nameless = "nvmlDeviceGetName = \"FUNCTION_NOT_FOUND\"\n";
    let mut session = session(&format!("{}{faults}{nameless}", divided()?), &[])?;
    assert_eq!(session.full()?["gpus"][1]["mig_profiles"], json!(["3g.40gb", "1g.20gb"]));
    Ok(())
}

#[test]
fn the_kernel_module_is_open_or_proprietary_or_not_known() -> Result<()> {
    let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)\n\
                GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n";
    let proprietary = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n";
    for (shown, flavour, version) in
        [(open, "open", "580.95.05"), (proprietary, "proprietary", "535.129.03")]
    {
        let mut session = session("profile = 'h100'", &[("proc/driver/nvidia/version", shown)])?;
        let module = &session.full()?["kernel_module"];
        assert_eq!(module, &json!({"flavour": flavour, "version": version}));
        assert!(session.text()?.contains(&format!("driver 580.95.05 ({flavour} kernel module)")));
    }
    let answer = session("profile = 'h100'", &[])?.full()?;
    assert_eq!(answer["kernel_module"], Value::Null);
    let (why, by_design) = reason(&answer, "kernel_module").context("no reason")?;
    assert!(why.contains("proc/driver/nvidia/version") && !by_design, "{why}");
    Ok(())
}

#[test]
fn the_kernel_names_the_numa_node_where_nvml_does_not() -> Result<()> {
    let node = |content: &'static str| [("sys/bus/pci/devices/0000:1b:00.0/numa_node", content)];
    for (nodes, shown, wanted) in [
        ("\"unsupported\"", "1\n", json!(1)),
        ("\"0-1\"", "1\n", json!(1)),
        ("\"0\"", "1\n", json!(0)),
        ("\"unsupported\"", "-1\n", Value::Null),
        ("\"0-1\"", "-1\n", Value::Null),
    ] {
        let scenario =
            format!("profile = 'h100'\ngpus = 1\n[all]\ntopology.memory_nodes = {nodes}");
        let answer = session(&scenario, &node(shown))?.full()?;
        let gpu = &answer["gpus"][0];
        assert_eq!(gpu["detail"]["host_numa_node"], wanted, "{nodes} {shown}");
        assert_eq!(reason(gpu, "host_numa_node").is_some(), wanted.is_null(), "{gpu}");
    }
    Ok(())
}

#[test]
fn what_an_older_board_or_driver_lacks_is_null_with_its_reason() -> Result<()> {
    let mut session = session(
        "profile = 'h100'\n[node.faults]\nnvmlSystemGetConfComputeSettings = 'FUNCTION_NOT_FOUND'\n\
         [all]\nidentity.gsp_firmware = 'unsupported'\nfabric.state = 'in_progress'\n\
         [all.faults]\nnvmlDeviceGetPlatformInfo = 'ARGUMENT_VERSION_MISMATCH'\nnvmlDeviceGetSerial = 'UNKNOWN'\n\
         nvmlDeviceGetNvLinkState = 'TIMEOUT'",
        &[],
    )?;
    let answer = session.full()?;
    let gpu = &answer["gpus"][0];
    let detail = &gpu["detail"];
    for (field, words, by_design) in [
        ("gsp_firmware_version", "NOT_SUPPORTED", true),
        ("platform", "too old", true),
        ("serial", "nvmlDeviceGetSerial", false),
    ] {
        assert_eq!(detail[field], Value::Null, "{field}");
        let (why, designed) = reason(gpu, field).context("no reason")?;
        assert!(why.contains(words) && designed == by_design, "{field}: {why}");
    }
    let nvlink = json!({"link_count": 18, "version": "4.0", "up": null, "down": null});
    assert_eq!(detail["nvlink"], nvlink);
    assert!(reason(gpu, "nvlink.down").is_some_and(|(_, by_design)| !by_design), "{gpu}");
    let fabric =
        json!({"state": "in_progress", "status": null, "clique_id": null, "cluster_uuid": null});
    assert_eq!(detail["fabric"], fabric);
    assert!(reason(gpu, "fabric.clique_id").is_some_and(|(why, _)| why.contains("not completed")));
    assert_eq!(answer["confidential_computing"]["enabled"], false);
    assert_eq!(answer["confidential_computing"]["multi_gpu"], Value::Null);
    assert!(reason(&answer, "confidential_computing.multi_gpu").is_some(), "{answer}");
    assert!(session.text()?.contains("GSP firmware: N/A"));
    Ok(())
}

#[test]
fn sixteen_gpus_in_full_come_in_pages() -> Result<()> {
    let more = (8..16).map(|index| {
        format!(
            "[[gpu]]\nindex = {index}\npci.address = \"0001:{index:02x}:00.0\"\nidentity.module_id = 1\n"
        )
    });
    let content: String =
        std::iter::once("profile = \"h100\"\ngpus = 16\n".to_owned()).chain(more).collect();
    let mut session = session(&content, &[])?;
    let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, Value::Null);
    while pages == 0 || cursor.is_string() {
        let mut arguments = json!({"detail": "full"});
        if cursor.is_string() {
            arguments["cursor"] = cursor.take();
        }
        let page = session.agent.ask("get_gpu_inventory", &arguments)?;
        assert!(page.to_string().len() < 32 << 10, "{}", page.to_string().len());
        seen.extend(page["gpus"].as_array().into_iter().flatten().map(|gpu| gpu["index"].as_u64()));
        cursor = page["next_cursor"].clone();
        pages += 1;
    }
    assert!(pages > 1, "all fit into one page, and the test holds nothing");
    assert_eq!(seen, (0..16).map(Some).collect::<Vec<_>>());
    let refused = session.agent.call("get_gpu_inventory", &json!({"cursor": "-1"}))?;
    assert!(refused["isError"] == true && text(&refused).contains("next_cursor"), "{refused}");
    Ok(())
}

#[test]
fn a_summary_asks_for_no_more_than_it_tells() -> Result<()> {
    let mut session = session("profile = 'h100'\ngpus = 1", &[])?;
    let trace = |session: &Session| std::fs::read_to_string(session.folder.path().join("trace"));
    session.agent.ask("get_gpu_inventory", &json!({}))?;
    for call in ["nvmlDeviceGetSerial", "nvmlDeviceGetNvLinkState", "nvmlDeviceGetPlatformInfo"] {
        assert!(!trace(&session)?.contains(call), "{call}");
    }
    session.full()?;
    assert!(trace(&session)?.contains("nvmlDeviceGetSerial"));
    Ok(())
}
