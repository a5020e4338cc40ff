//! What each tool that asks NVML answers to each fault of a driver, and after how long.
//!
//! `cargo xtask bench sick`. Eight simulated H100s, of which GPU 2 is struck, or the node as a whole, while a session is
//! open that has been answered once. A row is a fault, a cell what became of it: how many of the GPUs were answered for,
//! what is said of the other, and the milliseconds of that answer.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use e2e::{Changing, text};
use serde_json::{Value, json};

const TOOLS: [&str; 3] = ["get_gpu_inventory", "get_gpu_health", "get_gpu_processes"];

const FAULTS: [(&str, &str); 10] = [
    ("none", ""),
    ("a call fails, UNKNOWN", "[[gpu]]\nindex = 2\n[gpu.faults]\nnvmlDeviceGetTemperature = 999\n"),
    ("every call fails, UNKNOWN", "[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = 999\n"),
    (
        "a call hangs for 2 s",
        "[[gpu]]\nindex = 2\n[gpu.faults]\nnvmlDeviceGetHandleByIndex_v2 = { delay_ms = 2000 }\n",
    ),
    ("calls hang for ever", "[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = { hang = true }\n"),
    ("each call takes 20 ms", "[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = { delay_ms = 20 }\n"),
    ("GPU_IS_LOST", "[[gpu]]\nindex = 2\nlost = true\n"),
    ("RESET_REQUIRED", "[[gpu]]\nindex = 2\n[gpu.faults]\n\"*\" = \"RESET_REQUIRED\"\n"),
    (
        "the node: LIB_RM_VERSION_MISMATCH",
        "[node]\ninit_error = \"LIB_RM_VERSION_MISMATCH\"\n[node.faults]\n\"*\" = \"LIB_RM_VERSION_MISMATCH\"\n",
    ),
    ("the node: every call hangs", "[node.faults]\n\"*\" = { hang = true }\n"),
];

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    for (fault, scenario) in FAULTS {
        println!("{fault}");
        for tool in TOOLS {
            let mut node = Changing::start("profile = \"h100\"\n")?;
            node.agent.ask(tool, &json!({}))?;
            node.becomes(&format!("profile = \"h100\"\n{scenario}"))?;
            // The simulator looks at its scenario 25 ms apart.
            sleep(Duration::from_millis(50));
            let asked = Instant::now();
            let answer = node.agent.call(tool, &json!({}))?;
            let ms = asked.elapsed().as_secs_f64() * 1e3;
            println!("  {tool:18} {ms:8.1} ms  {}", outcome(&answer));
        }
    }
    Ok(())
}

/// What was answered, in a line.
fn outcome(answer: &Value) -> String {
    let said = |line: &&str| !line.starts_with("SIMULATED");
    let short =
        |text: &str| text.lines().find(said).unwrap_or_default().chars().take(110).collect();
    if answer["isError"] == true {
        return short(text(answer));
    }
    let gpus = answer["structuredContent"]["gpus"].as_array().cloned().unwrap_or_default();
    let said: Vec<_> = gpus.iter().map(of_gpu).collect();
    let well = said.iter().filter(|said| said.is_none()).count();
    let ill =
        said.into_iter().flatten().next().map_or_else(String::new, |said| format!("; {said}"));
    short(&format!("{well} of {} as ever{ill}", gpus.len()))
}

/// What an answer says of a GPU that is not well.
fn of_gpu(gpu: &Value) -> Option<String> {
    let index = &gpu["index"];
    if let Some(error) = gpu["error"].as_str() {
        return Some(format!("GPU {index}: {error}"));
    }
    if gpu["verdict"].as_str().is_some_and(|verdict| verdict != "healthy") {
        let finding = &gpu["findings"][0];
        let evidence = finding["evidence"][0]["value"].as_str().unwrap_or_default();
        return Some(format!(
            "GPU {index}: {}, {}: {evidence}",
            gpu["verdict"].as_str().unwrap_or_default(),
            finding["id"].as_str().unwrap_or_default()
        ));
    }
    let failed = |absent: &&Value| absent["by_design"] == false;
    let absent = gpu["absent"].as_array()?.iter().find(failed)?;
    Some(format!("GPU {index}: {} is null: {}", absent["field"], absent["reason"]))
}
