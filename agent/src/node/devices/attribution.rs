//! Which process a fault may have to do with, and how that is known: by the line that names it, by what ran in the kernel at
//! that moment, or by who has the GPU open. Nobody is named where nothing speaks for anybody.

use std::time::SystemTime;

use super::table::{Known, Table};
use crate::{
    calls::Device,
    event::{Attribution, KnownBy, Task},
};

/// Processes that are named where one of several may be meant.
const MOST: usize = 16;

/// What is known of a fault.
#[derive(Debug, Clone, Copy)]
pub struct Clues<'a> {
    pub time: SystemTime,
    /// The process that the driver's line names.
    pub pid: Option<u32>,
    /// The task in which the driver printed.
    pub task: Option<&'a Task>,
    /// The GPU, by its minor number.
    pub gpu: Option<Device>,
}

/// Who it may be.
#[must_use]
pub fn attribute(table: &Table, clues: Clues<'_>) -> Option<Attribution> {
    let Clues { time, pid, task, gpu } = clues;
    let one = |known_by, known: &Known| Attribution { known_by, parties: vec![table.party(known)] };
    if let Some(pid) = pid {
        // The line is right, whether or not anything is known of this process.
        return table.find(pid, time).map(|known| one(KnownBy::Line, known));
    }
    let gpu = gpu?;
    let has = |known: &&Known| known.devices.contains_key(&gpu);
    let of_task = |task: &Task| table.here().find(|it| it.process.pid == task.pid).filter(has);
    if let Some(known) = task.and_then(of_task) {
        return Some(one(KnownBy::Kernel, known));
    }
    let parties: Vec<_> =
        table.here().filter(has).take(MOST).map(|known| table.party(known)).collect();
    let known_by = match parties.len() {
        0 => return None,
        1 => KnownBy::OnlyHolder,
        _ => KnownBy::OneOfSeveral,
    };
    Some(Attribution { known_by, parties })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        event::access::Way,
        kernel::devices::{Acted, Did, ProcessId},
    };

    fn table() -> Table {
        let mut table = Table::default();
        for (pid, gpu) in [(10, 0), (11, 1), (12, 1), (13, 2)] {
            let process = ProcessId { pid, started: Duration::from_secs(1) };
            let did = Did::Got(Way::Opened, vec![Device::Control, Device::Gpu(gpu)]);
            let (time, name) = (SystemTime::UNIX_EPOCH, format!("p{pid}"));
            table.apply(&Acted { time, process, tid: pid, name, place: 1, did });
        }
        let process = ProcessId { pid: 13, started: Duration::from_secs(1) };
        let did = Did::Ended;
        let (time, name) = (SystemTime::UNIX_EPOCH, "p13".to_owned());
        table.apply(&Acted { time, process, tid: 13, name, place: 1, did });
        table
    }

    #[track_caller]
    fn check(pid: Option<u32>, task: Option<u32>, gpu: u32, expected: Option<(KnownBy, &[u32])>) {
        let task = task.map(|pid| Task { pid, tid: pid, cgroup_id: 1, comm: String::new() });
        let clues = Clues {
            time: SystemTime::UNIX_EPOCH,
            pid,
            task: task.as_ref(),
            gpu: Some(Device::Gpu(gpu)),
        };
        let found = attribute(&table(), clues);
        let found = found
            .map(|it| (it.known_by, it.parties.iter().map(|party| party.pid).collect::<Vec<_>>()));
        assert_eq!(found, expected.map(|(known_by, pids)| (known_by, pids.to_vec())));
    }

    #[test]
    fn the_better_evidence_comes_first() {
        check(Some(10), Some(11), 1, Some((KnownBy::Line, &[10])));
        check(None, Some(11), 1, Some((KnownBy::Kernel, &[11])));
        check(None, None, 0, Some((KnownBy::OnlyHolder, &[10])));
        check(None, None, 1, Some((KnownBy::OneOfSeveral, &[11, 12])));
    }

    #[test]
    fn nobody_is_named_without_evidence() {
        // A task that does not have this GPU open just ran there.
        check(None, Some(10), 1, Some((KnownBy::OneOfSeveral, &[11, 12])));
        check(None, Some(10), 2, None);
        check(None, None, 7, None);
        // The line names somebody of whom nothing is known.
        check(Some(99), Some(11), 1, None);
    }

    #[test]
    fn who_is_gone_is_named_by_a_line_alone() {
        check(Some(13), None, 2, Some((KnownBy::Line, &[13])));
        check(None, Some(13), 2, None);
    }

    #[test]
    fn without_a_gpu_only_a_line_tells() {
        let clues = Clues { time: SystemTime::UNIX_EPOCH, pid: None, task: None, gpu: None };
        assert_eq!(attribute(&table(), clues), None);
    }
}
