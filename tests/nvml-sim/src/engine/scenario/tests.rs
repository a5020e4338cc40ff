use super::*;
use crate::engine::code::Code;
use crate::engine::faults::Fault;

const HEALTHY: &str = include_str!("../../../scenarios/healthy.toml");

fn read(text: &str) -> Result<Node, String> {
    from_text(text, Path::new("."), crate::abi::exports).map_err(|error| error.to_string())
}

/// The reference with its optional keys in use.
fn healthy_with_all_keys() -> String {
    HEALTHY
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The paths of all values, those in arrays of tables included.
fn keys(prefix: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                keys(&format!("{prefix}.{key}"), value, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for item in items {
                keys(prefix, item, found);
            }
        }
        _ => found.push(prefix.to_owned()),
    }
}

#[test]
fn the_reference_says_what_no_scenario_says() {
    assert_eq!(read(HEALTHY).unwrap(), read(DEFAULT).unwrap());
}

#[test]
fn the_reference_has_every_key_of_the_profile() {
    let profile = Profile::load("h100", Path::new(".")).unwrap();
    let reference: Table = toml::from_str(&healthy_with_all_keys()).unwrap();
    let mut documented = Vec::new();
    keys("", &Value::Table(reference), &mut documented);
    let mut needed = Vec::new();
    keys(".all", &Value::Table(profile.gpu), &mut needed);
    keys(".node", &Value::Table(profile.node), &mut needed);
    for slot in profile.slot {
        keys(".gpu", &Value::Table(slot), &mut needed);
    }
    assert!(needed.len() > 100, "the profile has lost its keys");
    needed.retain(|key| !documented.contains(key));
    assert_eq!(needed, Vec::<String>::new(), "not in scenarios/healthy.toml");
}

#[test]
fn the_optional_keys_of_the_reference_work() {
    let node = read(&healthy_with_all_keys()).unwrap();
    assert_eq!(node.driver.init_error, Some(Code::DRIVER_NOT_LOADED));
    assert_eq!(node.events.len(), 2);
    let gpu = &node.gpus[3];
    let fault = |symbol| gpu.faults.of(symbol).unwrap().outcome();
    assert_eq!(fault("nvmlDeviceGetPowerUsage"), Err(Code::UNKNOWN));
    assert_eq!(fault("nvmlDeviceGetNvLinkState"), Err(Code::TIMEOUT));
    assert_eq!((gpu.processes.len(), gpu.lost_after_ms), (1, Some(60_000)));
    let nvlink = gpu.nvlink.as_ref().unwrap();
    assert_eq!(nvlink.link(4).unwrap().crc_flit_errors, 120);
    assert_eq!(nvlink.link(5).unwrap().crc_flit_errors, 0);
    assert_eq!(nvlink.switched_links(), Ok(17));
}

#[test]
fn layers_merge_and_the_last_wins() {
    let node = read(
        "profile = 'h100'
         [all]
         power.usage_mw = 1
         ecc = { error = 'NOT_READY' }
         [[gpu]]
         index = 2
         power.instant_mw = 2
         ecc = { enabled = false }",
    );
    let message = node.unwrap_err();
    assert!(message.contains("missing field"), "an absent table is replaced whole: {message}");
    let node =
        read("profile = 'h100'\n[all]\npower.usage_mw = 1\n[[gpu]]\nindex = 2\npower.usage_mw = 2")
            .unwrap();
    let usage: Vec<_> = node.gpus.iter().map(|gpu| gpu.power.usage_mw.get()).collect();
    assert_eq!(usage[..4], [Ok(1), Ok(1), Ok(2), Ok(1)]);
    assert_eq!(node.gpus[2].power.max_limit_mw.get(), Ok(700_000));
}

#[test]
fn frames_come_one_after_the_other_and_change_only_what_they_say() {
    let node = read(
        "profile = 'h100'
         [all]
         frame_ms = 500
         frames = [{ power.usage_mw = 1 }, { power.usage_mw = 2, faults.nvmlDeviceGetName = 999 }]
         [[gpu]]
         index = 1
         frames = []",
    )
    .unwrap();
    let at = |gpu: usize, ms: u64| node.gpus[gpu].at(ms * 1000);
    let power = [0, 499, 500, 999, 1000].map(|ms| at(0, ms).power.usage_mw.get());
    assert_eq!(power, [Ok(1), Ok(1), Ok(2), Ok(2), Ok(1)]);
    let frame = at(0, 500);
    assert_eq!((frame.index, &frame.identity), (0, &node.gpus[0].identity));
    assert_eq!(frame.thermal, node.gpus[0].thermal);
    assert_eq!(frame.faults.of("nvmlDeviceGetName").map(Fault::outcome), Some(Err(Code::UNKNOWN)));
    assert_eq!(at(1, 500).power.usage_mw.get(), Ok(68_570));
    // The buffers have the past as it was.
    let samples = node.gpus[0].samples(0, 0, 2_000_000);
    assert_eq!(samples.unwrap().len(), 101 - 1);
}

#[test]
fn a_mistake_is_named_with_its_place_and_key() {
    for (text, place, key) in [
        ("profil = 'h100'", "scenario", "profil"),
        ("profile = 'h1000'", "profile", "h1000"),
        ("profile = 'h100'\n[node]\ndriver = '1'", "[node]", "driver"),
        ("profile = 'h100'\n[all]\npower.usage_w = 1", "[all], GPU 0", "usage_w"),
        ("profile = 'h100'\n[all]\necc.volatile.dram = 1", "[all], GPU 0", "dram"),
        ("profile = 'h100'\n[[gpu]]\nindex = 3\npower.usage_w = 1", "[[gpu]], GPU 3", "usage_w"),
        ("profile = 'h100'\n[[gpu]]\nindex = 8", "[[gpu]]", "index = 8"),
        ("profile = 'h100'\n[[gpu]]\nindex = 1\n[[gpu]]\nindex = 1", "[[gpu]]", "twice"),
        ("profile = 'h100'\n[[gpu]]\nlost = true", "[[gpu]]", "index is missing"),
        (
            "profile = 'h100'\n[all.faults]\nnvmlDeviceGetTemprature = 3",
            "GPU 0",
            "nvmlDeviceGetTemprature",
        ),
        ("profile = 'h100'\n[node.faults]\nnvmlSystem = 3", "[node]", "nvmlSystem"),
        // A fault of a function that is about something else would never strike.
        ("profile = 'h100'\n[node.faults]\nnvmlDeviceGetName = 3", "[node]", "about a Node"),
        ("profile = 'h100'\n[all.faults]\nnvmlInit_v2 = 3", "GPU 0", "about a Gpu"),
        ("profile = 'h100'\n[all]\nthrottle.reasons = ['hot']", "[all], GPU 0", "hot"),
        (
            "profile = 'h100'\n[[event]]\ngpu = 8\nxid = 1\nafter_ms = 0",
            "[[event]] number 1",
            "gpu = 8",
        ),
        ("profile = 'h100'\n[[event]]\ngpu = 0\nafter_ms = 0", "[[event]] number 1", "xid"),
        ("profile = 'h100'\n[all]\nframes = 3", "[all], GPU 0", "frames"),
        ("profile = 'h100'\n[all]\nframes = [{ power.watts = 3 }]", "[all], GPU 0", "watts"),
        (
            "profile = 'h100'\n[all]\nframes = [{ memory.used_bytes = 99000000000 }]",
            "GPU 0",
            "total",
        ),
    ] {
        let message = read(text).unwrap_err();
        assert!(message.contains(place) && message.contains(key), "{text}\ngave: {message}");
    }
}

#[test]
fn the_file_is_named_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let from = |text: &str| from_file(&path, text, |_, _| true);
    let message = from("profile = 'h100'\n[all]\nhot = true").unwrap_err().to_string();
    assert!(message.contains("wrong.toml") && message.contains("`hot`"), "{message}");
    fs::write(folder.path().join("mine.toml"), include_str!("../../../profiles/h100.toml"))
        .unwrap();
    assert_eq!(from("profile = 'mine.toml'").unwrap().gpus.len(), 8);
    let missing = from("profile = 'yours.toml'").unwrap_err().to_string();
    assert!(missing.contains("yours.toml"), "{missing}");
}

#[test]
fn every_shipped_scenario_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        from_file(&file, &text, crate::abi::exports).unwrap();
    }
}
