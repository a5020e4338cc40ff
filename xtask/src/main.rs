//! `cargo xtask`: everything the project does besides compiling, written in Rust so that a
//! contributor needs no other tool. `cargo xtask help` lists the tasks; each lives in the file of
//! its name.

mod arch;
mod bench;
mod build;
mod ci;
mod cluster;
mod cmd;
mod demo;
mod docs;
mod fuzz;
mod gpu;
mod image;
mod paths;
mod setup;
mod summary;
mod test;
mod ui;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Find or install what the other tasks need, and say what is used.
    Setup,
    /// Build the BPF object, the agent that embeds it, and the NVML simulator.
    Build(build::TaskArgs),
    /// Build, then play an MCP session against the agent and show what it answers.
    Demo(demo::Args),
    /// Build, then run every test of the workspace.
    Test(test::Args),
    /// Run the benchmarks on the release build.
    Bench(bench::Args),
    /// Fuzz the code that reads other people's bytes.
    Fuzz(fuzz::Args),
    /// Boot old and new kernels, and have the agent's eBPF at work on each.
    Vm(vm::Args),
    /// Run a real Kubernetes here, and the chart and the image on it.
    Cluster(cluster::Args),
    /// Hold the agent on this machine's own GPUs against NVIDIA's binding, and capture what it answers.
    Gpu(gpu::Args),
    /// Build the image that clusters run, as an OCI archive, and show what is in it.
    Image(image::Args),
    /// Write docs/tools.md from the manuals in the tools' sources.
    Docs(docs::Args),
    /// What a change must pass: formatting, clippy, the NVML-only build, a short fuzzing, an agent for arm64, every test.
    Ci,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.task {
        Task::Setup => setup::everything(),
        Task::Build(args) => build::task(args),
        Task::Demo(args) => demo::run(args),
        Task::Test(args) => test::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Vm(args) => vm::run(args),
        Task::Cluster(args) => cluster::run(args),
        Task::Gpu(args) => gpu::run(args),
        Task::Image(args) => image::run(args),
        Task::Docs(args) => docs::run(args),
        Task::Ci => ci::run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
