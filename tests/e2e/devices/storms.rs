//! Processes that open and close as fast as they can: what is told stays bounded, what is lost is counted, and no Xid is
//! forgotten because of them.

use std::{fs::OpenOptions, io::Write as _};

use anyhow::Result;
use e2e::measure::mib;
use serde_json::{Value, json};

use super::{Actor, Session, Stage, alone, in_words, major, unavailable};

/// More memory than that is no buffer's.
const MOST_MIB: f64 = 24.0;

/// A session that also hears the lines of a FIFO, after it has heard an Xid of GPU 0 there.
fn session(stage: &Stage) -> Result<(Session, std::fs::File)> {
    let fifo = stage.path("lines");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into())?;
    let mut session = stage.session_of(stage.agent().arg("--replay").arg(&fifo))?;
    let mut lines = OpenOptions::new().write(true).open(&fifo)?;
    writeln!(
        lines,
        "NVRM: Xid (PCI:0000:e2:00): 79, pid=1, name=e2e, GPU has fallen off the bus."
    )?;
    let first = json!({"kinds": ["xid"], "gpu": GPU, "since": "0-0", "max_events": 1});
    assert_eq!(xids(&session.agent.ask("watch_gpu_events", &first)?), [79]);
    Ok((session, lines))
}

/// No other test's line names it.
const GPU: &str = "0000:e2:00.0";

fn xids(watched: &Value) -> Vec<u64> {
    let events = watched["events"].as_array().into_iter().flatten();
    events.filter_map(|event| event["xid"]["code"].as_u64()).collect()
}

/// The Xid is there and the process has not grown. Other tests' lines are heard too, and may be so many that this one has to
/// go; what processes do is not among what is counted then.
fn check(session: &mut Session, before_mib: f64) -> Result<()> {
    let all = json!({"kinds": ["xid"], "gpu": GPU, "since": "0-0", "duration_s": 0});
    let watched = session.agent.ask("watch_gpu_events", &all)?;
    let evicted = session.agent.ask("get_agent_status", &json!({}))?["events"]["evicted"].as_u64();
    assert!(xids(&watched) == [79] || evicted > Some(0), "{watched}");
    let now_mib = mib(session.agent.pid(), "VmRSS")?;
    assert!(now_mib < before_mib + MOST_MIB, "{before_mib} MiB before, {now_mib} MiB after");
    Ok(())
}

/// How many of a kind were told of a process, and how many went before them untold.
fn told_and_folded(session: &Session, pid: u32, kind: &str) -> (u64, u64) {
    let mine = |it: &&Value| it["process"]["pid"] == pid && it["kind"] == kind;
    let folded = session.heard.iter().filter(mine).map(|it| it["folded"].as_u64().unwrap_or(0));
    (session.heard.iter().filter(mine).count() as u64, folded.sum())
}

/// Waits until so many processes are in the list. The simulator's default scenario has none.
fn until_there_are(session: &mut Session, count: u64) -> Result<()> {
    let end = std::time::Instant::now() + e2e::PATIENCE;
    loop {
        let answer = session.agent.ask("get_gpu_processes", &json!({}))?;
        if answer["process_count"] == count {
            return Ok(());
        }
        assert!(std::time::Instant::now() < end, "{}", answer["process_count"]);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_process_that_opens_and_closes_without_end_is_told_in_part_and_counted_whole() -> Result<()> {
    const TEST: &str = "devices::storms::a_process_that_opens_and_closes_without_end_is_told_in_part_and_counted_whole";
    const TIMES: u64 = 50_000;
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _alone = alone();
    let stage = Stage::new()?;
    let (mut session, _lines) = session(&stage)?;
    let nvidia = major("cpu/cpuid").unwrap_or_default();
    // By a path that says what it is, so that openings are counted whatever way calls are followed.
    let mut actor = Actor::with_own_dev(&stage, &format!("mknod nvidia0 c {nvidia} 0"))?;
    let before = mib(session.agent.pid(), "VmRSS")?;
    actor.run(&format!("open_and_close('/dev/nvidia0', {TIMES})"))?;
    // Now and then one more is told, with how many were not.
    let mut more = 0;
    while told_and_folded(&session, actor.pid, "gpu_open").1 == 0 {
        assert!(more < 1000, "{:?}", session.heard.iter().map(in_words).collect::<Vec<_>>());
        actor.run("open_and_close('/dev/nvidia0', 1); time.sleep(0.1)")?;
        more += 1;
        session.listen()?;
    }
    let (told, folded) = told_and_folded(&session, actor.pid, "gpu_open");
    let lost = session.lost["device_events"].as_u64().unwrap_or_default();
    assert!((32..100).contains(&told), "{told} told, {folded} folded, {lost} lost");
    assert!(told + folded <= TIMES + more, "{told} told, {folded} folded, {lost} lost");
    // Of what was neither told nor folded the opening was lost, or the end of the one before.
    assert!(told + folded + lost >= TIMES, "{told} told, {folded} folded, {lost} lost");
    // Each call was counted, whatever was lost on the way.
    actor.run("gpu = os.open('/dev/nvidia0', os.O_RDONLY); ask(gpu, 50_000)")?;
    let expected = 2 * (TIMES + more) + 1 + 50_000;
    let kernel = session.process_in_time(actor.pid, |it| it["calls"] == expected)?;
    assert_eq!((&kernel["errors"], &kernel["inside"]), (&json!(50_000), &json!([])));
    check(&mut session, before)?;
    // Once everything is closed nobody is left, though many an end was lost.
    let pid = actor.pid;
    actor.end()?;
    session.process_in_time(pid, Value::is_null)?;
    Ok(())
}

#[test]
fn thousands_of_short_lived_processes_leave_nobody_behind() -> Result<()> {
    const TEST: &str = "devices::storms::thousands_of_short_lived_processes_leave_nobody_behind";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _alone = alone();
    let stage = Stage::new()?;
    let (mut session, _lines) = session(&stage)?;
    let before = mib(session.agent.pid(), "VmRSS")?;
    let mut actor = stage.actor()?;
    actor.run("uvm = os.open(nvidia_uvm, os.O_RDONLY)")?;
    // Each inherits one device and opens another.
    actor.run("in_children(lambda: os.open(nvidia0, os.O_RDONLY), 2000)")?;
    let kernel =
        session.process_in_time(actor.pid, |it| it["devices"] == json!(["/dev/nvidia-uvm"]))?;
    assert_eq!(kernel["errors"], 0);
    until_there_are(&mut session, 1)?;
    check(&mut session, before)?;
    // There is room for the counts of who comes afterwards.
    let mut later = stage.actor()?;
    later.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
    let end = std::time::Instant::now() + e2e::PATIENCE;
    loop {
        let before = session.kernel(later.pid)?["errors"].as_u64();
        later.run("ask(gpu)")?;
        if session.kernel(later.pid)?["errors"].as_u64() > before {
            break;
        }
        assert!(std::time::Instant::now() < end, "calls are not counted any more");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn more_holders_than_there_is_room_for_are_not_told_and_leave_nobody_behind() -> Result<()> {
    const TEST: &str =
        "devices::storms::more_holders_than_there_is_room_for_are_not_told_and_leave_nobody_behind";
    // Of a session by itself.
    const ROOM: u64 = 2048;
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _alone = alone();
    let stage = Stage::new()?;
    let (mut session, _lines) = session(&stage)?;
    let before = mib(session.agent.pid(), "VmRSS")?;
    let mut actor = stage.actor()?;
    actor.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
    // Not too fast: what is lost makes the agent look again, which mends more than is to be seen here.
    let few = ROOM / 50 + 1;
    actor.run(&format!(
        "kept = [(time.sleep(0.02), hold_in_children(50))[1] for _ in range({few})]"
    ))?;
    until_there_are(&mut session, ROOM)?;
    actor
        .run("[(time.sleep(0.02), os.close(it), [os.wait() for _ in range(50)]) for it in reversed(kept)]")?;
    until_there_are(&mut session, 1)?;
    check(&mut session, before)
}
