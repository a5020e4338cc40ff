//! Looks through the files of all processes once, by a program that is run and not attached: what was open before the
//! programs came is known from the start, whatever PID namespace the agent is in. Linux 5.10+.

use agent_ebpf::access::{MAP_WALK, PROGRAM_WALK, Walk};
use aya::{
    Ebpf,
    maps::Array,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};

use crate::kernel::tracer::refused;

/// Runs of the program: enough for some million files.
const RUNS: u32 = 4096;

/// Looks through the files of all processes: how many processes and places for files it saw, or why it could not.
pub fn walk(programs: &mut Ebpf) -> Result<(u32, u32), String> {
    let state = programs.take_map(MAP_WALK).ok_or("the embedded BPF object lacks it")?;
    let state: Array<_, [u8; size_of::<Walk>()]> =
        Array::try_from(state).map_err(|error| error.to_string())?;
    let program = programs.program_mut(PROGRAM_WALK).ok_or("the embedded BPF object lacks it")?;
    let words = |error| refused(error).to_string();
    let program: &mut RawTracePoint = program.try_into().map_err(words)?;
    program.load().map_err(words)?;
    for _ in 0..RUNS {
        program.test_run(RawTracePointRunOptions { args: [0; 12], cpu: None }).map_err(words)?;
        let state = state.get(&0, 0).map_err(|error| error.to_string())?;
        let number =
            |at: usize| state.as_chunks().0.get(at).map_or(0, |it| u32::from_ne_bytes(*it));
        // The four numbers at the end of `Walk`.
        if number(9) == 1 {
            return Ok((number(10), number(11)));
        }
    }
    Err("there are too many".to_owned())
}
