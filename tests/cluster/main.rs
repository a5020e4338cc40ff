//! The chart, the image and a session on a real cluster: an API server, kubelets, containerd and runc.
//!
//! `E2E_CLUSTER` names a folder that says where the cluster is ([`cluster`]); `cargo xtask cluster` makes both. Without it
//! each test is ignored and says so. The GPUs are simulated: a runtime that stands in for NVIDIA's mounts the simulator into the
//! containers that ask for GPUs, as NVIDIA's mounts the driver.
//!
//! The tests share the cluster, and so run one after the other in one process; what is measured on the way stands in a
//! table at the end. Nothing of them is left behind.

mod access;
mod audit;
mod cluster;
mod figures;
mod host;
mod install;
mod kernel;
mod memory;
mod names;
mod release;
mod rights;
mod sessions;

use std::{process::ExitCode, sync::OnceLock};

use anyhow::Result;
use cluster::Cluster;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A test of the cluster.
type Test = fn(&Cluster) -> Result<()>;

/// In this order: what measures an install does so before others are there, and what needs quiet is last.
const TESTS: &[(&str, Test)] = &[
    ("install::helm_installs_upgrades_rolls_back_and_uninstalls", install::by_every_helm),
    ("rights::each_mode_has_what_the_table_says_and_no_more", rights::of_each_mode),
    ("rights::a_capability_by_its_long_name_is_ignored", rights::by_the_long_name),
    ("sessions::a_client_that_others_wrote_sees_every_gpu", sessions::a_real_client),
    ("sessions::a_session_takes_no_gpu_from_the_scheduler", sessions::no_gpu_is_taken),
    ("sessions::two_at_once_are_apart", sessions::two_at_once),
    ("sessions::none_outlives_its_client", sessions::ends_with_the_client),
    ("install::the_first_process_obeys_sigterm", install::sigterm_is_obeyed),
    ("sessions::a_deleted_pod_ends_its_sessions", sessions::ends_with_the_pod),
    ("audit::every_call_is_a_line_of_the_pods_log", audit::in_the_pods_log),
    ("kernel::a_line_of_the_kernel_reaches_the_client", kernel::a_line_is_heard),
    ("access::diagnosticians_may_exec_and_nothing_else", access::of_diagnosticians),
    ("names::a_process_on_a_gpu_is_told_with_its_pod", names::of_the_pod),
    ("memory::the_limits_hold_in_a_storm_with_five_sessions", memory::in_a_storm),
];

/// Opened by the first test that runs, closed when all have.
static CLUSTER: OnceLock<Result<Option<Cluster>, String>> = OnceLock::new();

#[expect(clippy::print_stdout, reason = "people read it there")]
fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = TESTS
        .iter()
        .map(|(name, test)| Trial::ignorable_test(format!("cluster::{name}"), || run(*test)));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let closed = match CLUSTER.get() {
        Some(Ok(Some(cluster))) => cluster.close(),
        _ => Ok(()),
    };
    figures::print();
    if let Err(error) = closed {
        println!("The cluster is not as it was: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn run(test: Test) -> Result<Completion, Failed> {
    match CLUSTER.get_or_init(|| Cluster::open().map_err(|error| format!("{error:#}"))) {
        Ok(Some(cluster)) => {
            test(cluster).map_err(|error| format!("{error:?}"))?;
            Ok(Completion::Completed)
        }
        Ok(None) => Ok(Completion::ignored_with("no cluster; `cargo xtask cluster` makes one")),
        Err(why) => Err(format!("the cluster of E2E_CLUSTER: {why}").into()),
    }
}
