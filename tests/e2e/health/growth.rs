//! What is judged by how it changes: one session is asked, the simulated node becomes another, and it is asked again.
//!
//! Nothing here is a rate, for which the readings have to be a minute apart.

use std::{fs, time::Instant};

use anyhow::{Result, ensure};
use e2e::{Changing, PATIENCE, scenario};
use serde_json::{Value, json};

use super::{Found, findings};

/// What shows that the simulator has seen the change.
const WARMER: u32 = 47;

/// A node, GPU 1 of it before and after, and what is found then.
struct Case {
    node: Node,
    before: &'static str,
    after: &'static str,
    found: Found,
}

enum Node {
    Of(&'static str),
    /// GPUs joined by bridges.
    Bridged,
}

use Node::{Bridged, Of};

const CASES: &[Case] = &[
    Case {
        node: Of("h100"),
        before: "pcie.non_fatal_errors = 1",
        after: "pcie.non_fatal_errors = 2",
        found: &[("pcie_errors", "attention")],
    },
    Case {
        node: Of("h100"),
        before: "",
        after: "pcie = { non_fatal_errors = 2, fatal_errors = 1 }",
        found: &[("pcie_errors", "degraded")],
    },
    Case {
        node: Of("h100"),
        before: "nvlink.links.4.recovery_errors = 3",
        after: "nvlink.links.4.recovery_errors = 4",
        found: &[("nvlink_errors", "degraded")],
    },
    Case {
        node: Of("a100"),
        before: "",
        after: "nvlink.links.0.replay_errors = 1",
        found: &[("nvlink_errors", "degraded")],
    },
    Case {
        node: Of("b200"),
        before: "nvlink.links.5.counts = { recoveries = 2 }",
        after: "nvlink.links.5.counts = { recoveries = 3 }",
        found: &[("nvlink_errors", "degraded")],
    },
    Case {
        node: Of("b200"),
        before: "",
        after: "nvlink.links.17.counts = { recoveries = 1, failed_recoveries = 1 }",
        found: &[("nvlink_recovery_failed", "failed"), ("nvlink_errors", "degraded")],
    },
    Case {
        node: Of("h100"),
        before: "throttle.time_ns.hw_thermal = 1000",
        after: "throttle.time_ns.hw_thermal = 2000",
        found: &[("slowdown_lately", "attention")],
    },
    Case {
        node: Of("h100"),
        before: "",
        after: "throttle.time_ns.hw_power_brake = 5000000",
        found: &[("slowdown_lately", "attention")],
    },
    // Of links that no switch is behind one that was down is not used, and one that was up is missed.
    Case { node: Bridged, before: DOWN, after: DOWN, found: &[] },
    Case { node: Bridged, before: "", after: DOWN, found: &[("nvlink_down", "degraded")] },
    // Whatever came before the first answer is history,
    Case { node: Of("h100"), before: HISTORY, after: HISTORY, found: &[] },
    Case { node: Of("b200"), before: COUNTS, after: COUNTS, found: &[] },
    // a driver that is loaded anew counts from nothing,
    Case { node: Of("h100"), before: HISTORY, after: "", found: &[] },
    // corrected errors are by rate, and so are packets that were sent again over PCIe.
    Case {
        node: Of("h100"),
        before: "",
        after: "pcie = { replays = 90000, correctable_errors = 90000 }\necc.volatile.dram_corrected = 5",
        found: &[],
    },
];

const DOWN: &str = "nvlink.links.0.state = \"inactive\"";
const HISTORY: &str = "pcie = { replays = 90000, correctable_errors = 90000, non_fatal_errors = 70, fatal_errors = 3 }\n\
    nvlink.link = { state = \"active\", replay_errors = 40, recovery_errors = 7, crc_flit_errors = 90000 }\n\
    throttle.time_ns = { hw_thermal = 86400000000000, hw_power_brake = 86400000000000 }";
const COUNTS: &str = "nvlink.link.counts = { recoveries = 30, failed_recoveries = 2 }";

#[test]
fn what_grew_or_went_is_found_and_what_stood_there_before_is_not() -> Result<()> {
    for Case { node, before, after, found } in CASES {
        let node = match node {
            Of(board) => format!("profile = {board:?}\ngpus = 3\n[[gpu]]\nindex = 1\n"),
            Bridged => fs::read_to_string(scenario("nvlink-bridges.toml"))?,
        };
        let with = |own: &str, celsius: u32| {
            let own = format!("index = 1\nthermal.gpu_celsius = {celsius}\n{own}\n");
            node.replace("index = 1\n", &own)
        };
        let mut session = Changing::start(&with(before, WARMER - 1))?;
        let asked = json!({"detail": "full"});
        let first = session.agent.ask("get_gpu_health", &asked)?;
        assert_eq!(findings(&first), [], "{before}");
        assert_eq!(first["gpus"][1]["compared_with_seconds_ago"], Value::Null, "{first}");
        session.becomes(&with(after, WARMER))?;
        let started = Instant::now();
        while session.agent.ask("get_gpu_health", &asked)?["gpus"][1]["figures"]["temperature_celsius"]
            != WARMER
        {
            ensure!(started.elapsed() < PATIENCE, "GPU 1 does not get warmer");
        }
        // The change may have come between two calls of that answer.
        let second = session.agent.ask("get_gpu_health", &asked)?;
        let expected: Vec<_> =
            found.iter().map(|(id, is)| (1, (*id).to_owned(), (*is).to_owned())).collect();
        assert_eq!(findings(&second), expected, "{before}\nthen {after}");
    }
    Ok(())
}
