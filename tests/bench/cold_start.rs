//! From the start of the process to the answer of its first `get_gpu_inventory`, and the peak of its memory for that.
//!
//! `cargo xtask bench cold-start`. The GPUs are the simulator's eight H100s, whose calls cost next to nothing: what is
//! measured is the agent. `COLD_STARTS` sets the number of starts (50) of each kind.

use std::{env, time::Instant};

use anyhow::{Context as _, Result};
use e2e::{Agent, measure::mib, simulated};
use serde_json::json;

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    let starts: usize =
        env::var("COLD_STARTS").map_or(Ok(50), |starts| starts.parse()).context("COLD_STARTS")?;
    println!("process start -> first get_gpu_inventory, {starts} starts each:");
    for ebpf in ["auto", "off"] {
        let (mut milliseconds, mut peak_mib) = (Vec::new(), Vec::new());
        for _ in 0..starts {
            let started = Instant::now();
            let mut agent = Agent::spawn(simulated().args(["--ebpf", ebpf]))?;
            agent.initialize()?;
            agent.ask("get_gpu_inventory", &json!({}))?;
            milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
            // The tracer is loaded beside the first answer: its memory counts too.
            agent.source_is("ebpf", "live")?;
            peak_mib.push(mib(agent.pid(), "VmHWM")?);
        }
        println!(
            "  --ebpf {ebpf:4}  ms: {}   peak MiB: {}",
            spread(&mut milliseconds),
            spread(&mut peak_mib)
        );
    }
    Ok(())
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    format!(
        "min {:.1}  median {:.1}  max {:.1}",
        values[0],
        values[values.len() / 2],
        values[values.len() - 1]
    )
}
