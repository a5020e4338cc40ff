//! What each tool that asks NVML answers to each fault of a driver, and after how long.
//!
//! `cargo xtask bench sick`. Eight simulated H100s, of which GPU 2 is struck, or the node as a whole, while a session is
//! open that has been answered once. A row is a fault, a cell what became of it: how many of the GPUs were answered for,
//! what is said of the other, and the milliseconds of that answer.

use std::{
    fmt::Write as _,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use e2e::{Changing, simulator, text};
use nvml_sim::older;
use serde_json::{Value, json};

const TOOLS: [&str; 5] = [
    "get_gpu_inventory",
    "get_gpu_health",
    "get_gpu_processes",
    "get_gpu_topology",
    "get_gpu_timeline",
];

/// The node as it is before.
const WELL: &str = "profile = \"h100\"\n";
/// The branch of the driver whose library lacks what came later.
const OLDER: u32 = 470;

/// Each with what the node becomes, one after the other.
const FAULTS: [(&str, &[&str]); 11] = [
    ("none", &[""]),
    (
        "a call fails, UNKNOWN",
        &["[[gpu]]\nindex = 2\n[gpu.faults]\nnvmlDeviceGetTemperature = 999\n"],
    ),
    ("every call fails, UNKNOWN", &["[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = 999\n"]),
    (
        "a call hangs for 2 s",
        &[
            "[[gpu]]\nindex = 2\n[gpu.faults]\nnvmlDeviceGetHandleByIndex_v2 = { delay_ms = 2000 }\n",
        ],
    ),
    ("calls hang for ever", &["[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = { hang = true }\n"]),
    ("each call takes 20 ms", &["[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = { delay_ms = 20 }\n"]),
    ("GPU_IS_LOST", &["[[gpu]]\nindex = 2\nlost = true\n"]),
    (
        "the driver loaded again, the GPU gone",
        &[
            "[node]\ninit_error = \"DRIVER_NOT_LOADED\"\n[node.faults]\n\"*\" = \"DRIVER_NOT_LOADED\"\n",
            "[[gpu]]\nindex = 2\nremoved = true\n",
        ],
    ),
    ("RESET_REQUIRED", &["[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = \"RESET_REQUIRED\"\n"]),
    (
        "the node: LIB_RM_VERSION_MISMATCH",
        &[
            "[node]\ninit_error = \"LIB_RM_VERSION_MISMATCH\"\n[node.faults]\n\"*\" = \"LIB_RM_VERSION_MISMATCH\"\n",
        ],
    ),
    ("the node: every call hangs", &["[node.faults]\n\"*\" = { hang = true }\n"]),
];

fn main() -> Result<()> {
    for (fault, becomes) in FAULTS {
        row(fault, |tool| {
            let mut node = Changing::start(WELL)?;
            node.agent.ask(tool, &json!({}))?;
            for (at, change) in becomes.iter().enumerate() {
                if at > 0 {
                    // It has to be seen that the driver was gone.
                    node.agent.call(tool, &json!({}))?;
                }
                node.becomes(&format!("{WELL}{change}"))?;
                // The simulator looks at its scenario 25 ms apart.
                sleep(Duration::from_millis(50));
            }
            Ok(node)
        })?;
    }
    row("lists of processes that outgrow each room", |_| Changing::start(&growing()?))?;
    let dir = tempfile::tempdir()?;
    let library = dir.path().join("libnvidia-ml.so.1");
    fs::write(&library, older::without(&fs::read(simulator())?, older::since(OLDER)))?;
    let scenario = format!("{WELL}[node]\ndriver_version = \"{OLDER}.256.02\"\n");
    row(&format!("the library of driver {OLDER}"), |_| Changing::start_on(&scenario, &library))
}

/// A line for each tool, of a node that has come to be as it is.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn row(fault: &str, node: impl Fn(&str) -> Result<Changing>) -> Result<()> {
    println!("{fault}");
    for tool in TOOLS {
        let mut node = node(tool)?;
        let asked = Instant::now();
        let answer = node.agent.call(tool, &json!({}))?;
        let ms = asked.elapsed().as_secs_f64() * 1e3;
        println!("  {tool:18} {ms:8.1} ms  {}", outcome(&answer));
    }
    Ok(())
}

/// GPU 2 with a list that is longer than said before, each time it is asked for.
fn growing() -> Result<String> {
    let mut scenario = format!("{WELL}[[gpu]]\nindex = 2\n");
    for pid in 0..70 * 4 {
        let (after, pid) = (pid / 70, 100_000 + pid);
        write!(
            scenario,
            "[[gpu.processes]]\npid = {pid}\nkind = \"compute\"\nused_bytes = 1\nafter_calls = {after}\n"
        )?;
    }
    Ok(scenario)
}

/// What was answered, in a line.
fn outcome(answer: &Value) -> String {
    let said = |line: &&str| !line.starts_with("SIMULATED");
    if answer["isError"] == true {
        return short(text(answer).lines().find(said).unwrap_or_default());
    }
    let answer = &answer["structuredContent"];
    let gpus = answer["gpus"].as_array().cloned().unwrap_or_default();
    let said: Vec<_> = gpus.iter().map(|gpu| of_gpu(answer, gpu)).collect();
    let well = said.iter().filter(|said| said.is_none()).count();
    let ill =
        said.into_iter().flatten().next().map_or_else(String::new, |said| format!("; {said}"));
    let processes = answer["process_count"].as_u64().filter(|count| *count > 0);
    let processes = processes.map_or_else(String::new, |count| format!("; {count} processes"));
    short(&format!("{well} of {} as ever{processes}{ill}", gpus.len()))
}

fn short(text: &str) -> String {
    text.chars().take(110).collect()
}

/// What an answer says of a GPU that is not well.
fn of_gpu(answer: &Value, gpu: &Value) -> Option<String> {
    let index = &gpu["index"];
    if let Some(error) = gpu["error"].as_str() {
        return Some(format!("GPU {index}: {error}"));
    }
    if gpu["verdict"].as_str().is_some_and(|verdict| verdict != "healthy") {
        let findings = gpu["findings"].as_array().into_iter().flatten();
        let ids: Vec<_> = findings.filter_map(|finding| finding["id"].as_str()).collect();
        let verdict = gpu["verdict"].as_str().unwrap_or_default();
        return Some(format!("GPU {index}: {verdict}: {}", ids.join(", ")));
    }
    if let Some(reason) = gpu["gaps"][0]["reason"].as_str() {
        return Some(format!("GPU {index}: a gap: {reason}"));
    }
    // Told with the GPU, or once for several; what concerns the node alone is this machine's.
    let about =
        |absent: &&Value| absent["gpus"].as_array().is_some_and(|gpus| gpus.contains(index));
    let shared = answer["absent"].as_array().into_iter().flatten().filter(about);
    let mut all = gpu["absent"].as_array().into_iter().flatten().chain(shared);
    let absent = all.find(|absent| absent["by_design"] == false)?;
    let field = absent["field"].as_str().or_else(|| absent["fields"][0].as_str());
    let reason = absent["reason"].as_str().unwrap_or_default();
    Some(format!("GPU {index}: no {}: {reason}", field.unwrap_or_default()))
}
