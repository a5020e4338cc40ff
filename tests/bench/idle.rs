//! What a recorder costs that has nothing to do, and what it keeps of a million events.
//!
//! `cargo xtask bench idle`, as root; it takes ten minutes. `IDLE_SECONDS` (600) and `IDLE_EVENTS` (1,000,000) set both.

use std::{env, fs, io::Write as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use e2e::{
    Recorder,
    measure::{Unlimited, mib, processor_time},
    no_kernel,
};
use serde_json::json;

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    if let Some(why) = no_kernel() {
        bail!("this benchmark cannot run here: {why}");
    }
    let number = |name, default: u64| -> Result<u64> {
        env::var(name).map_or(Ok(default), |value| value.parse()).context(name)
    };
    let (seconds, events) = (number("IDLE_SECONDS", 600)?, number("IDLE_EVENTS", 1_000_000)?);
    let _limit = Unlimited::new()?;
    let recorder = Recorder::start(&["--ebpf", "on", "--kernel-log", "auto"])?;
    let pid = recorder.pid();
    let mut session = recorder.session()?;
    println!("resident: {:.1} MiB at the start", mib(pid, "VmRSS")?);
    let mut log = fs::OpenOptions::new().write(true).open("/dev/kmsg")?;
    for part in 1..=5 {
        for event in 0..events / 5 {
            let line = format!(
                "NVRM: Xid (PCI:0000:e8:00): {}, pid={event}, name=bench, Ch 00000008, intr 00000000\n",
                event % 7 + 40
            );
            log.write_all(line.as_bytes())?;
        }
        let told = session.ask("get_agent_status", &json!({}))?["events"]["total"].clone();
        println!("resident: {:.1} MiB after {told} events ({part}/5)", mib(pid, "VmRSS")?);
    }
    let lost = &session.ask("analyze_xid_errors", &json!({"limit": 1}))?["lost"];
    println!("lost of them: {lost}");
    drop(session);
    // What is still to be written down is not idleness.
    std::thread::sleep(Duration::from_secs(10));
    let before = processor_time(pid)?;
    std::thread::sleep(Duration::from_secs(seconds));
    let spent = processor_time(pid)?.saturating_sub(before);
    println!(
        "idle for {seconds} s: {:.0} ms of processor time, {:.4} % of one; resident {:.1} MiB, peak {:.1} MiB",
        spent.as_secs_f64() * 1e3,
        spent.as_secs_f64() * 100.0 / Duration::from_secs(seconds).as_secs_f64(),
        mib(pid, "VmRSS")?,
        mib(pid, "VmHWM")?,
    );
    Ok(())
}
