//! A storm of Xids as fast as the kernel takes them: what of it is told, folded, lost.
//!
//! Writers print lines to /dev/kmsg without a pause while a recorder listens on the same processors. Afterwards the
//! analysis must have counted every line: sent = counted + lost. The kernel's log is read beside the program and must add
//! none a second time.
//!
//! `cargo xtask bench burst`, as root. `BURST_LINES` sets the number of lines (100,000).

use std::{
    env, fs,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use e2e::{
    Agent, Recorder,
    measure::{Unlimited, mib, processor_time},
    no_kernel,
};
use serde_json::{Value, json};

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<()> {
    if let Some(why) = no_kernel() {
        bail!("this benchmark cannot run here: {why}");
    }
    let lines: u64 = env::var("BURST_LINES")
        .map_or(Ok(100_000), |lines| lines.parse())
        .context("BURST_LINES")?;
    let _limit = Unlimited::new()?;
    for writers in [1, 2] {
        let recorder = Recorder::start(&["--ebpf", "on", "--kernel-log", "auto"])?;
        let mut session = recorder.session()?;
        let began = counted(&mut session)?;
        let started = Instant::now();
        let printing: Vec<_> =
            (0..writers).map(|of| std::thread::spawn(move || print(of, lines / writers))).collect();
        for writer in printing {
            writer.join().map_err(|_| anyhow::anyhow!("a writer has panicked"))??;
        }
        let took = started.elapsed();
        let sent = lines / writers * writers;
        let all_told = loop {
            let (events, lost) = counted(&mut session)?;
            if events - began.0 + lost - began.1 >= sent {
                break started.elapsed();
            }
            if started.elapsed() > took + Duration::from_secs(30) {
                bail!("sent {sent}, counted {} and lost {}", events - began.0, lost - began.1);
            }
        };
        // The log is read beside it every few seconds.
        std::thread::sleep(Duration::from_secs(12));
        let (events, lost) = counted(&mut session)?;
        println!(
            "{sent} lines by {writers} writers in {:.2} s ({:.0} lines/s), all told after {:.2} s: counted {}, lost {}; \
             recorder: {:.2} s of processor time, peak {:.1} MiB, now {:.1} MiB",
            took.as_secs_f64(),
            f64::from(u32::try_from(sent)?) / took.as_secs_f64(),
            all_told.as_secs_f64(),
            events - began.0,
            lost - began.1,
            processor_time(recorder.pid())?.as_secs_f64(),
            mib(recorder.pid(), "VmHWM")?,
            mib(recorder.pid(), "VmRSS")?,
        );
    }
    Ok(())
}

fn print(writer: u64, lines: u64) -> Result<()> {
    let mut log = fs::OpenOptions::new().write(true).open("/dev/kmsg")?;
    for number in 0..lines {
        let line = format!(
            "NVRM: Xid (PCI:0000:{:02x}:00): {}, pid={number}, name=bench, Ch 00000008, intr 00000000\n",
            0xe0 + writer,
            [13, 31, 43, 45][usize::try_from(number % 4)?],
        );
        log.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// Events that the analysis has, and lines that were lost before they came there.
fn counted(session: &mut Agent) -> Result<(u64, u64)> {
    let analysis = session.ask("analyze_xid_errors", &json!({"limit": 1}))?;
    let number = |value: &Value| value.as_u64().context("a number");
    Ok((number(&analysis["event_count"])?, number(&analysis["lost"])?))
}
