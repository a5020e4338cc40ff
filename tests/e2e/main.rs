//! The real binary, over the real protocol, against the simulator and this machine's kernel.
//!
//! A test that needs what a machine may lack says `skipped: <test>: <why>` and returns; `cargo xtask ci` fails on a skip
//! that CI's machines could have run.

mod analyze;
mod architecture;
mod audit;
mod bad_input;
mod captures;
mod chart;
mod clients;
mod decode;
mod device_load;
mod devices;
mod doctor;
mod fields;
mod health;
mod image;
mod inventory;
mod kernel;
mod kernel_log;
mod nvml;
mod privileges;
mod processes;
mod protocol;
mod record;
mod sick_drivers;
mod terminal;
mod timeline;
mod topology;

/// Says that a test does not run here.
#[expect(clippy::print_stdout, reason = "the test runner reads it from there")]
fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
}
