use super::{Attention, Board, CASE, Case, Degraded, Failed, SAME};
use crate::gpu::{
    health::vitals::{Link, Vitals},
    raw::Fabric,
};

fn all_down(vitals: &mut Vitals) {
    vitals.nvlink.links.iter_mut().for_each(|link| link.up = false);
    vitals.nvlink.to_switches = Some(0);
}

/// A board that bridges may join, with none on four of its links.
fn bridged(vitals: &mut Vitals) {
    vitals.nvlink.to_switches = Some(0);
    vitals.nvlink.links[8..].iter_mut().for_each(|link| link.up = false);
}

fn on_link_4(vitals: &mut Vitals, change: impl Fn(&mut Link)) {
    change(&mut vitals.nvlink.links[4]);
}

/// As Blackwell counts.
fn blackwell(vitals: &mut Vitals, events: u64, failed: u64) {
    for link in &mut vitals.nvlink.links {
        let (number, up) = (link.number, link.up);
        let (recoveries, failed_recoveries) = (Some(events), Some(failed));
        *link = Link { number, up, recoveries, failed_recoveries, ..Link::default() };
    }
}

fn fabric(vitals: &mut Vitals, change: impl Fn(&mut Fabric)) {
    vitals.nvlink.fabric.iter_mut().for_each(change);
}

pub const CASES: &[Case] = &[
    Case {
        rule: "nvlink_down",
        what: "one of those that go to switches",
        now: |v| on_link_4(v, |link| link.up = false),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "nvlink_down",
        what: "switches that make no fabric",
        board: Board::A100,
        now: |v| on_link_4(v, |link| link.up = false),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "nvlink_down",
        what: "a bridge that was there before",
        board: Board::A100,
        now: bridged,
        before: Some((60, SAME)),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "nvlink_down",
        what: "links without a bridge",
        board: Board::A100,
        now: bridged,
        before: Some((60, bridged)),
        ..CASE
    },
    Case {
        rule: "nvlink_down",
        what: "a GPU that was given to a virtual machine alone",
        now: all_down,
        before: Some((60, all_down)),
        ..CASE
    },
    Case {
        rule: "nvlink_down",
        what: "all of them, while a peer has its own up",
        now: |v| {
            all_down(v);
            v.nvlink.peers_on_switches = true;
        },
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "nvlink_down",
        what: "a divided GPU, while a peer has its own up",
        now: |v| {
            all_down(v);
            (v.nvlink.peers_on_switches, v.mig_enabled) = (true, Some(true));
        },
        ..CASE
    },
    Case {
        rule: "nvlink_down",
        what: "a GPU that has been divided since",
        now: |v| {
            all_down(v);
            v.mig_enabled = Some(true);
        },
        before: Some((60, SAME)),
        ..CASE
    },
    Case {
        rule: "nvlink_recovery_failed",
        what: "since the reading before",
        now: |v| blackwell(v, 1, 1),
        before: Some((60, |v| blackwell(v, 1, 0))),
        raises: Some(Failed),
        ..CASE
    },
    Case {
        rule: "nvlink_recovery_failed",
        what: "long ago",
        now: |v| blackwell(v, 1, 1),
        before: Some((60, |v| blackwell(v, 1, 1))),
        ..CASE
    },
    Case {
        rule: "nvlink_errors",
        what: "a replay",
        now: |v| on_link_4(v, |link| link.replays = Some(3)),
        before: Some((60, SAME)),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "nvlink_errors",
        what: "a replay on some day",
        now: |v| on_link_4(v, |link| link.replays = Some(3)),
        before: Some((86_400, SAME)),
        ..CASE
    },
    Case {
        rule: "nvlink_errors",
        what: "a recovery, as Blackwell counts it",
        now: |v| blackwell(v, 1, 0),
        before: Some((60, |v| blackwell(v, 0, 0))),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "nvlink_errors",
        what: "a recovery on some day",
        now: |v| blackwell(v, 1, 0),
        before: Some((86_400, |v| blackwell(v, 0, 0))),
        ..CASE
    },
    Case {
        rule: "nvlink_errors",
        what: "a hundred wrong check sums a second",
        now: |v| on_link_4(v, |link| link.crc_errors = Some(400 + 6000)),
        before: Some((60, SAME)),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "nvlink_errors",
        what: "ninety-nine wrong check sums a second",
        now: |v| on_link_4(v, |link| link.crc_errors = Some(400 + 5940)),
        before: Some((60, SAME)),
        ..CASE
    },
    Case {
        rule: "nvlink_errors",
        what: "many since the driver was loaded",
        now: |v| on_link_4(v, |link| link.replays = Some(900)),
        ..CASE
    },
    Case {
        rule: "fabric_not_ready",
        what: "not started",
        now: |v| fabric(v, |it| it.state = 1),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "fabric_not_ready",
        what: "under way",
        now: |v| fabric(v, |it| it.state = 2),
        raises: Some(Attention),
        ..CASE
    },
    Case {
        rule: "fabric_not_ready",
        what: "under way for five minutes",
        now: |v| fabric(v, |it| it.state = 2),
        before: Some((300, |v| fabric(v, |it| it.state = 2))),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "fabric_not_ready",
        what: "a board that knows of none",
        now: |v| fabric(v, |it| it.state = 0),
        ..CASE
    },
    Case {
        rule: "fabric_failed",
        what: "with a code",
        now: |v| fabric(v, |it| it.status = 999),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "fabric_failed",
        what: "a status says nothing before the end",
        now: |v| fabric(v, |it| (it.state, it.status) = (2, 999)),
        and: &["fabric_not_ready"],
        ..CASE
    },
    Case {
        rule: "fabric_unhealthy",
        what: "degraded bandwidth",
        now: |v| fabric(v, |it| it.health_mask = 0b01),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "fabric_unhealthy",
        what: "limited capacity, by the summary alone",
        now: |v| fabric(v, |it| it.health_summary = Some(3)),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "fabric_unhealthy",
        what: "every field says no, and the summary healthy",
        now: |v| fabric(v, |it| (it.health_mask, it.health_summary) = (0x1aa, Some(1))),
        ..CASE
    },
    Case {
        rule: "fabric_misconfigured",
        what: "in no partition, which makes the summary unhealthy",
        now: |v| fabric(v, |it| (it.health_mask, it.health_summary) = (0x4aa, Some(2))),
        raises: Some(Degraded),
        ..CASE
    },
    Case {
        rule: "fabric_misconfigured",
        what: "nothing is",
        now: |v| fabric(v, |it| it.health_mask = 0x100),
        ..CASE
    },
];
