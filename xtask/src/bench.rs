//! `cargo xtask bench [NAME]`: the benchmarks, on the release build.
//!
//! | name | what |
//! | --- | --- |
//! | `decode` | a log of 1 GB through `agent decode`: throughput and peak memory |
//! | `latency` | from the kernel's print to the client's line, beside `dmesg --follow`; as root |
//! | `burst` | 100,000 Xids as fast as the kernel takes them: told, folded, lost; as root |
//! | `idle` | a recorder's processor time over ten minutes and its memory after a million events; as root |
//! | `calls` | what an ioctl costs more while the agent follows the driver's devices, beside bpftrace and strace; as root |
//! | `soak` | ten minutes (`--seconds`) of a storm of processes on a device: every call counted, memory; as root |
//! | `footprint` | the memory of a session and of a recorder with its sessions, on 8 and 16 GPUs; as root |
//! | `health` | an answer of `get_gpu_health` over the NVML calls it is made of, and beside nvidia-ml-py |
//! | `sick` | what each NVML tool answers to each fault of a driver, and after how long |
//! | `timeline` | what it costs a recorder to sample eight GPUs every second |
//! | `cold-start` | from the start of the process to its first answer, and its peak memory |
//!
//! Figures are of this machine at this moment. No test asserts them.

use anyhow::Result;

use crate::{build, cmd, paths, setup, ui};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One benchmark; all when left out.
    name: Option<String>,
    /// How long `soak` takes.
    #[arg(long)]
    seconds: Option<u64>,
}

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let built = build::run(&build::Args::default())?;
    if args.name.as_deref().is_none_or(|name| name == "calls")
        && let Err(error) = setup::tracers()
    {
        ui::line(format!("  `calls` goes without what is not here: {error:#}"));
    }
    ui::step("the benchmarks");
    let mut bench = paths::cargo();
    bench.args(["bench", "--quiet", "--package", "e2e"]);
    match &args.name {
        Some(name) => bench.args(["--bench", name]),
        None => bench.args(["--bench", "*"]),
    };
    bench.env("E2E_AGENT", &built.agent).env("E2E_SIM_DIR", &built.sim_dir);
    if let Some(seconds) = args.seconds {
        bench.env("SOAK_SECONDS", seconds.to_string());
    }
    cmd::visible(&mut bench)
}
