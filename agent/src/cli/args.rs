//! Flags and their environment variables.

use std::path::PathBuf;

use crate::node::AccessMode;
use clap::{
    ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    parser::ValueSource,
};

/// Diagnoses the NVIDIA GPUs of this node over MCP on stdin and stdout.
///
/// Without arguments it serves one MCP session: NVML answers what the GPUs are and how they are, and where the process
/// has CAP_BPF and CAP_PERFMON an eBPF program hears the driver's Xid lines as the kernel prints them.
#[derive(Debug, Parser)]
#[command(name = "agent", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What tools may do. `operator` is accepted and adds nothing in this version: no tool changes anything
    #[arg(long, value_enum, default_value = "read-only", env = "AGENT_MODE", global = true)]
    pub mode: Mode,

    /// `real` reads the driver's library; `simulated` the test simulator, and then every answer says so.
    /// Named explicitly, the agent exits with 3 when there is no such library
    #[arg(long, value_enum, default_value = "real", env = "AGENT_NVML_MODE", global = true)]
    pub nvml_mode: NvmlMode,

    /// The NVML library to load, instead of searching for libnvidia-ml.so.1
    #[arg(long, value_name = "PATH", env = "AGENT_NVML_LIBRARY", global = true)]
    pub nvml_library: Option<PathBuf>,

    /// Hear the kernel by eBPF: `auto` where the privileges allow it, `on` or exit with 3, `off` never
    #[arg(long, value_enum, default_value = "auto", env = "AGENT_EBPF", global = true)]
    pub ebpf: Ebpf,

    /// Read the kernel's log, for what was printed before: `auto` where /dev/kmsg or syslog(2) allows it, `off` never
    #[arg(long, value_enum, default_value = "auto", env = "AGENT_KERNEL_LOG", global = true)]
    pub kernel_log: KernelLog,

    /// Read kernel lines from a file or FIFO as if they were heard now; their events name the source `replay`
    #[arg(long, value_name = "PATH", env = "AGENT_REPLAY", global = true)]
    pub replay: Option<PathBuf>,

    /// Where the host's files are that name devices and pods: proc/devices, var/log/pods, var/lib/kubelet
    #[arg(long, value_name = "PATH", env = "AGENT_HOST_ROOT", default_value = "/", global = true)]
    pub host_root: PathBuf,

    /// Where the recorder of this node listens. A session joins it when it is there, and is complete by itself otherwise
    #[arg(
        long,
        value_name = "PATH",
        env = "AGENT_SOCKET",
        default_value = "/run/k8s-gpu-mcp-server/agent.sock",
        global = true
    )]
    pub socket: PathBuf,

    /// What goes to stderr: error, warn, info, debug, trace, or per target as in `info,agent::bpf=debug`
    #[arg(long, value_name = "LEVEL", default_value = "warn", env = "AGENT_LOG_LEVEL", global = true, value_parser = super::log::check)]
    pub log_level: String,

    /// Whether `--nvml-mode` was given rather than left at its default.
    #[arg(skip)]
    pub nvml_demanded: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Hear this node's GPU events for as long as the pod lives, keep them, and serve sessions on a unix socket
    Record(Record),
    /// Read a kernel log on stdin and print what it understood: `dmesg | agent decode`
    Decode(super::decode::Args),
    /// Say what NVIDIA's catalogue has on an Xid or SXid
    Xid(super::xid::Args),
    /// Say for each source what it found, what is missing and what turns it on
    Doctor(super::doctor::Args),
    /// Wait for SIGTERM: the pod's main process where sessions are opened by `kubectl exec`
    Pause,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Record {
    /// The file that keeps the events over restarts; `journal.redb` beside the socket when left out.
    /// Named explicitly, the recorder exits with 3 when it cannot be written
    #[arg(long, value_name = "PATH", env = "AGENT_JOURNAL")]
    pub journal: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    ReadOnly,
    Operator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NvmlMode {
    Real,
    Simulated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ebpf {
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KernelLog {
    Auto,
    Off,
}

impl From<Mode> for AccessMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::ReadOnly => Self::ReadOnly,
            Mode::Operator => Self::Operator,
        }
    }
}

impl Arguments {
    /// Reads the command line; prints usage and exits with 2 where it is wrong.
    pub fn parse() -> Self {
        let matches = Self::command().get_matches();
        Self::of(&matches).unwrap_or_else(|error| error.exit())
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut arguments = Self::from_arg_matches(matches)?;
        arguments.nvml_demanded =
            matches.value_source("nvml_mode") != Some(ValueSource::DefaultValue);
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::of(&Arguments::command().try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn real_is_the_default_and_demanded_only_when_it_is_written() {
        let arguments = parse("agent").expect("no argument is fine");
        assert_eq!(
            (arguments.nvml_mode, arguments.nvml_demanded, arguments.ebpf),
            (NvmlMode::Real, false, Ebpf::Auto)
        );
        assert!(parse("agent --nvml-mode=real").expect("given").nvml_demanded);
        assert!(!parse("agent record").expect("fine").nvml_demanded);
    }

    #[test]
    fn the_flags_stand_before_or_behind_the_subcommand() {
        for line in [
            "agent --nvml-mode=real --socket /s --ebpf off record",
            "agent record --nvml-mode=real --socket /s --ebpf off",
        ] {
            let arguments = parse(line).expect(line);
            assert!(arguments.nvml_demanded, "{line}");
            assert_eq!((arguments.socket, arguments.ebpf), ("/s".into(), Ebpf::Off), "{line}");
        }
    }

    #[test]
    fn what_is_not_known_exits_with_2() {
        for line in [
            "agent --nope",
            "agent --nvml-mode fake",
            "agent --ebpf maybe",
            "agent --mode admin",
            "agent --log-level loud",
            "agent frob",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
