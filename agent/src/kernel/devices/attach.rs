//! Attaches device tracing by what the kernel offers: `fentry` and `fexit`, which cost other calls nothing, else the raw
//! tracepoints of all system calls.

use std::fs::File;

use aya::{
    Btf, Ebpf, Endianness,
    programs::{FEntry, FExit, Program, ProgramError, RawTracePoint},
};

use crate::kernel::{
    btf,
    layout::BTF,
    tracer::{TracerError, refused},
};

/// Prefix of the functions behind system calls.
#[cfg(target_arch = "aarch64")]
const SYSTEM_CALL: &str = "__arm64_sys_";
#[cfg(not(target_arch = "aarch64"))]
const SYSTEM_CALL: &str = "__x64_sys_";

/// Programs and the functions they are for; those of system calls begin with a colon. Without one of these the calls of
/// the driver are not seen whole.
const FUNCTIONS: [(&str, &str); 6] = [
    ("enter_ioctl", ":ioctl"),
    ("exit_ioctl", ":ioctl"),
    ("enter_close", ":close"),
    ("exit_close", ":close"),
    ("enter_chrdev_open", "chrdev_open"),
    ("exit_chrdev_open", "chrdev_open"),
];

/// The same for what a kernel may lack: openings that were refused before they came to the device.
const BESIDE: [(&str, &str); 1] = [("exit_openat2", "do_sys_openat2")];

/// What both ways need.
const SCHEDULER: [&str; 3] = ["sched_process_fork", "sched_process_exec", "sched_process_exit"];

/// How the calls are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Functions,
    /// Why not by functions.
    Tracepoints(String),
}

/// Attaches everything, and loads what is run by hand.
pub fn attach(programs: &mut Ebpf) -> Result<Way, TracerError> {
    for name in SCHEDULER {
        raw(programs, name)?;
    }
    let way = match functions(programs) {
        Ok(()) => Way::Functions,
        Err(why) => {
            for (program, _) in FUNCTIONS.iter().chain(&BESIDE) {
                unload(programs, program);
            }
            raw(programs, "sys_enter")?;
            raw(programs, "sys_exit")?;
            Way::Tracepoints(why)
        }
    };
    Ok(way)
}

fn raw(programs: &mut Ebpf, name: &'static str) -> Result<(), TracerError> {
    let program = programs.program_mut(name).ok_or(TracerError::Object(name))?;
    let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
    program.load().and_then(|()| program.attach(name)).map_err(refused)?;
    Ok(())
}

/// By functions, or why not.
fn functions(programs: &mut Ebpf) -> Result<(), String> {
    let words = |error: ProgramError| match &error {
        // Without the verifier's pages.
        ProgramError::LoadError { io_error, .. } => io_error.to_string(),
        _ => refused(error).to_string(),
    };
    let btf = numbers()?;
    for (program, function) in FUNCTIONS {
        on_function(programs, program, &name(function), &btf).map_err(words)?;
    }
    for (program, function) in BESIDE {
        if let Err(error) = on_function(programs, program, &name(function), &btf) {
            tracing::debug!(program, %error, "A function of the kernel is not to be followed.");
        }
    }
    Ok(())
}

/// The numbers of the functions, as aya wants them. All of the kernel's types would take it some 25 MiB for a moment, half of
/// what the pod has.
fn numbers() -> Result<Btf, String> {
    let names: Vec<String> =
        FUNCTIONS.iter().chain(&BESIDE).map(|(_, function)| name(function)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = File::open(BTF).map_err(|error| format!("{BTF}: {error}"))?;
    let found = btf::functions(file, &names).map_err(|error| format!("{BTF} {error}"))?;
    let known = names.into_iter().zip(found).filter_map(|(name, number)| Some((name, number?)));
    let known: Vec<(&str, u32)> = known.collect();
    let small = btf::of_functions(&known);
    Btf::parse(&small, Endianness::default()).map_err(|error| refused(error).to_string())
}

/// A function's name in this kernel.
fn name(function: &str) -> String {
    function
        .strip_prefix(':')
        .map_or_else(|| function.to_owned(), |call| format!("{SYSTEM_CALL}{call}"))
}

fn on_function(
    programs: &mut Ebpf,
    program: &str,
    function: &str,
    btf: &Btf,
) -> Result<(), ProgramError> {
    match programs.program_mut(program) {
        Some(Program::FEntry(entry)) => on_entry(entry, function, btf),
        Some(Program::FExit(exit)) => on_exit(exit, function, btf),
        _ => Err(ProgramError::NotLoaded),
    }
}

fn on_entry(program: &mut FEntry, function: &str, btf: &Btf) -> Result<(), ProgramError> {
    program.load(function, btf)?;
    program.attach().map(drop)
}

fn on_exit(program: &mut FExit, function: &str, btf: &Btf) -> Result<(), ProgramError> {
    program.load(function, btf)?;
    program.attach().map(drop)
}

/// Takes a program back, if it was loaded.
fn unload(programs: &mut Ebpf, program: &str) {
    let _ = match programs.program_mut(program) {
        Some(Program::FEntry(entry)) => entry.unload(),
        Some(Program::FExit(exit)) => exit.unload(),
        _ => Ok(()),
    };
}
