//! Files of devices that come and go by other ways than open and close: before the agent, with a child, with another program,
//! by duplicates, through a socket.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Actor, Stage, quiet, quoted, unavailable};

#[test]
fn what_was_open_before_is_found_wherever_it_stands_among_thousands() -> Result<()> {
    const TEST: &str =
        "devices::changes::what_was_open_before_is_found_wherever_it_stands_among_thousands";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut many = stage.actor()?;
    many.run("resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))")?;
    many.run("others = [os.dup(0) for _ in range(5000)]")?;
    many.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
    assert!(many.run("gpu")?.as_u64() > Some(5000));
    let mut few = stage.actor()?;
    few.run("gpu = os.open(nvidia0, os.O_RDONLY); uvm = os.open(nvidia_uvm, os.O_RDONLY)")?;
    let mut none = stage.actor()?;
    none.run("os.close(os.open(nvidia0, os.O_RDONLY))")?;
    let mut session = stage.session()?;
    assert_eq!(session.told(many.pid)?, ["gpu_open nvidia0 found"]);
    assert_eq!(session.told(few.pid)?, ["gpu_open nvidia0 found", "gpu_open nvidia-uvm found"]);
    assert_eq!(session.told(none.pid)?, [] as [&str; 0]);
    let process = session.process(few.pid)?;
    let kernel = &process["kernel"];
    assert_eq!((&kernel["since"], &kernel["held"][0]["since"]), (&Value::Null, &Value::Null));
    assert!(kernel["started"].is_string(), "{process}");
    // What it had is still known after its calls.
    few.run("ask(gpu); os.close(gpu)")?;
    let told = session.events(few.pid)?;
    let last = told.last().cloned().unwrap_or_default();
    assert_eq!((&last["kind"], &last["held_ms"]), (&json!("gpu_close"), &Value::Null));
    assert_eq!(session.holds(few.pid)?, json!(["/dev/nvidia-uvm"]));
    let [few_pid, many_pid] = [few.pid, many.pid];
    few.end()?;
    many.end()?;
    assert_eq!(
        session.told(few_pid)?.last().map(String::as_str),
        Some("gpu_close nvidia-uvm exited")
    );
    assert_eq!(
        session.told(many_pid)?.last().map(String::as_str),
        Some("gpu_close nvidia0 exited")
    );
    Ok(())
}

#[test]
fn a_child_has_what_its_parent_had_and_keeps_it_when_that_ends() -> Result<()> {
    const TEST: &str =
        "devices::changes::a_child_has_what_its_parent_had_and_keeps_it_when_that_ends";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let mut parent = stage.actor()?;
    parent.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
    let mut child = parent.fork(&stage)?;
    assert_eq!(session.told(child.pid)?, ["gpu_open nvidia0 inherited"]);
    let pid = parent.pid;
    parent.end()?;
    assert_eq!(session.told(pid)?, ["gpu_open nvidia0 opened", "gpu_close nvidia0 exited"]);
    assert_eq!(session.process(pid)?, Value::Null);
    assert_eq!(session.holds(child.pid)?, json!(["/dev/nvidia0"]));
    let grandchild = child.fork(&stage)?;
    child.run("os.close(gpu)")?;
    let pids = [child.pid, grandchild.pid];
    grandchild.end()?;
    child.end()?;
    assert_eq!(session.told(pids[0])?, ["gpu_open nvidia0 inherited", "gpu_close nvidia0"]);
    assert_eq!(session.told(pids[1])?, ["gpu_open nvidia0 inherited", "gpu_close nvidia0 exited"]);
    Ok(())
}

#[test]
fn another_program_keeps_what_is_not_closed_with_it() -> Result<()> {
    const TEST: &str = "devices::changes::another_program_keeps_what_is_not_closed_with_it";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let mut actor = stage.actor()?;
    let program = quoted(&stage.path("other-program"));
    actor.run(&format!("os.symlink(sys.executable, {program})"))?;
    // What Python opens is closed by an exec unless it is told otherwise.
    actor.run("gpu = os.open(nvidia0, os.O_RDONLY); uvm = os.open(nvidia_uvm, os.O_RDONLY)")?;
    actor.run("os.set_inheritable(uvm, True)")?;
    actor.tell(&format!("become({program})"))?;
    let other = Actor::come(&stage)?;
    assert_eq!(other.pid, actor.pid);
    assert_eq!(
        session.told(other.pid)?,
        ["gpu_open nvidia0 opened", "gpu_open nvidia-uvm opened", "gpu_close nvidia0"]
    );
    let process = session.process(other.pid)?;
    assert_eq!(process["name"], "other-program", "{process}");
    assert_eq!(process["kernel"]["devices"], json!(["/dev/nvidia-uvm"]));
    Ok(())
}

/// Python and what is told of it.
type Step = (&'static str, &'static [&'static str]);

#[test]
fn the_last_duplicate_counts_by_whatever_call_it_goes() -> Result<()> {
    const TEST: &str = "devices::changes::the_last_duplicate_counts_by_whatever_call_it_goes";
    const STEPS: &[Step] = &[
        ("gpu = os.open(nvidia0, os.O_RDONLY)", &["gpu_open nvidia0 opened"]),
        ("more = os.dup(gpu)", &[]),
        ("os.dup2(gpu, 200)", &[]),
        ("os.close(gpu)", &[]),
        ("os.dup2(0, more)", &[]),
        // close_range(2), on every architecture; the flag only marks them for execve(2).
        ("libc.syscall(436, 200, 201, 4)", &[]),
        ("libc.syscall(436, 200, 201, 0)", &["gpu_close nvidia0"]),
        ("uvm = os.open(nvidia_uvm, os.O_RDONLY)", &["gpu_open nvidia-uvm opened"]),
        ("os.dup2(0, uvm, inheritable=False)", &["gpu_close nvidia-uvm"]),
        ("gpu = os.open(nvidia0, os.O_RDONLY)", &["gpu_open nvidia0 opened"]),
        // A device over another.
        (
            "os.dup2(os.open(nvidia_uvm, os.O_RDONLY), gpu)",
            &["gpu_open nvidia-uvm opened", "gpu_close nvidia0"],
        ),
    ];
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let mut actor = stage.actor()?;
    let mut told = Vec::new();
    for (python, news) in STEPS {
        actor.run(python)?;
        told.extend(news.iter().map(|news| (*news).to_owned()));
        assert_eq!(session.told(actor.pid)?, told, "{python}");
    }
    assert_eq!(session.holds(actor.pid)?, json!(["/dev/nvidia-uvm"]));
    Ok(())
}

#[test]
fn a_file_that_another_process_has_passed_is_found_at_its_first_call_each_time() -> Result<()> {
    const TEST: &str = "devices::changes::a_file_that_another_process_has_passed_is_found_at_its_first_call_each_time";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let (mut giver, mut taker) = (stage.actor()?, stage.actor()?);
    let inbox = quoted(&stage.path("inbox"));
    taker.run("inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)")?;
    taker.run(&format!("inbox.bind({inbox})"))?;
    giver.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
    let mut told = Vec::new();
    for _ in 0..3 {
        giver.run(&format!("pass_on(gpu, {inbox})"))?;
        taker.run("gpu = take(inbox)")?;
        assert_eq!(session.told(taker.pid)?, told);
        taker.run("ask(gpu)")?;
        assert_eq!(session.holds(taker.pid)?, json!(["/dev/nvidia0"]));
        taker.run("os.close(gpu)")?;
        told = session.told(taker.pid)?;
        assert_eq!(told.last().map(String::as_str), Some("gpu_close nvidia0"));
        assert_eq!(session.process(taker.pid)?, Value::Null);
    }
    told.retain(|told| !told.starts_with("call_failed"));
    assert_eq!(told, ["gpu_open nvidia0 found", "gpu_close nvidia0"].repeat(3));
    assert_eq!(session.told(giver.pid)?, ["gpu_open nvidia0 opened"]);
    Ok(())
}

#[test]
fn a_process_whose_main_thread_has_ended_is_the_same_process() -> Result<()> {
    const TEST: &str =
        "devices::changes::a_process_whose_main_thread_has_ended_is_the_same_process";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let mut session = stage.session()?;
    let mut main = stage.actor()?;
    main.run("gpu = os.open(nvidia0, os.O_RDONLY)")?;
    main.tell("leave_to_a_thread()")?;
    let mut thread = Actor::come(&stage)?;
    assert_eq!(thread.pid, main.pid);
    thread.run("uvm = os.open(nvidia_uvm, os.O_RDONLY); ask(gpu)")?;
    // By now the main thread is a zombie.
    let how = "open(f'/proc/{os.getpid()}/stat').read().split()[2]";
    while thread.run(how)? != "Z" {}
    assert_eq!(session.holds(thread.pid)?, json!(["/dev/nvidia0", "/dev/nvidia-uvm"]));
    thread.run("os.close(gpu)")?;
    assert_eq!(session.holds(thread.pid)?, json!(["/dev/nvidia-uvm"]));
    let pid = thread.pid;
    thread.end()?;
    let mut told = session.told(pid)?;
    told.retain(|told| !told.starts_with("call_failed"));
    assert_eq!(
        told,
        [
            "gpu_open nvidia0 opened",
            "gpu_open nvidia-uvm opened",
            "gpu_close nvidia0",
            "gpu_close nvidia-uvm exited"
        ]
    );
    Ok(())
}

#[test]
fn a_capability_that_is_closed_leaves_nobody_behind() -> Result<()> {
    const TEST: &str = "devices::changes::a_capability_that_is_closed_leaves_nobody_behind";
    if let Some(why) = unavailable() {
        crate::skip(TEST, &why);
        return Ok(());
    }
    let _quiet = quiet();
    let stage = Stage::new()?;
    let caps = super::major("vcs").unwrap_or_default();
    let nvidia = super::major("cpu/cpuid").unwrap_or_default();
    stage.devices(&format!("Character devices:\n{nvidia} nvidia\n{caps} nvidia-caps\n"))?;
    stage.node("nvidia-cap1", caps, 1)?;
    let cap = quoted(&stage.path("nvidia-cap1"));
    // All capabilities are one to the kernel's programs, and what was open before could be any.
    let mut before = stage.actor()?;
    before.run(&format!("cap = os.open({cap}, os.O_RDONLY)"))?;
    let mut session = stage.session()?;
    assert_eq!(session.process(before.pid)?, Value::Null);
    let mut actor = stage.actor()?;
    actor
        .run(&format!("cap = os.open({cap}, os.O_RDONLY); gpu = os.open(nvidia0, os.O_RDONLY)"))?;
    let both = json!(["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap1"]);
    assert_eq!(session.holds(actor.pid)?, both);
    actor.run("os.close(cap)")?;
    assert_eq!(session.holds(actor.pid)?, json!(["/dev/nvidia0"]));
    actor.run("os.close(gpu)")?;
    assert_eq!(session.process(actor.pid)?, Value::Null);
    actor.run(&format!("cap = os.open({cap}, os.O_RDONLY)"))?;
    let pid = actor.pid;
    actor.end()?;
    assert_eq!(
        session.told(pid)?,
        [
            "gpu_open nvidia-caps/nvidia-cap1 opened",
            "gpu_open nvidia0 opened",
            "gpu_close nvidia-caps/nvidia-cap1",
            "gpu_close nvidia0",
            "gpu_open nvidia-caps/nvidia-cap1 opened",
            "gpu_close nvidia-caps/nvidia-cap1 exited"
        ]
    );
    assert_eq!(session.process(pid)?, Value::Null);
    Ok(())
}
