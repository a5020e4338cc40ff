//! `agent decode` and `agent xid`: the parser's front door, held against the corpus in `tests/kernel-lines/`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context as _, Result};
use e2e::{agent, repository};
use serde_json::Value;

/// What every event has, in this order, before whatever later versions add.
const CONTRACT: [&str; 11] =
    ["line", "kind", "code", "pci", "pid", "name", "channel", "link", "details", "action", "raw"];

/// Runs the agent on an input.
fn on(arguments: &[&str], input: &[u8]) -> Result<Output> {
    let mut child = agent()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let output = std::thread::scope(|scope| {
        // Beside the reading, so that neither waits for the other; an agent that ends early reads no more.
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output()
    })?;
    Ok(output)
}

/// Decodes to JSON; every line has to be an object with the contract's fields.
fn decode(log: &[u8]) -> Result<Vec<Value>> {
    let output = on(&["decode", "-o", "json"], log)?;
    assert!(output.status.success(), "{output:?}");
    let mut events = Vec::new();
    for line in std::str::from_utf8(&output.stdout)?.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let names: Vec<&str> =
            event.as_object().context("an object")?.keys().map(String::as_str).collect();
        assert_eq!(&names[..CONTRACT.len()], CONTRACT, "{line}");
        assert!(event["details"].is_object() && event["raw"].is_string(), "{line}");
        events.push(event);
    }
    let lines = log.split_inclusive(|&byte| byte == b'\n').count();
    let with_none = lines - events.len();
    let noun = if lines == 1 { "line" } else { "lines" };
    let count = format!(
        "agent: {lines} {noun} read: {} with an event, {with_none} with none\n",
        events.len()
    );
    if lines > 0 {
        assert_eq!(String::from_utf8_lossy(&output.stderr), count);
    }
    Ok(events)
}

fn corpus() -> Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(repository().join("tests/kernel-lines"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    assert!(logs.len() > 10, "{logs:?}");
    Ok(logs)
}

/// The head of every event in a golden file (`xid 79 0000:3b:00.0`), with the line that it is read from. A file without
/// one has lines that are no events.
fn golden(log: &Path) -> Result<Vec<(String, String)>> {
    let path = log.with_extension("golden");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("  ")).collect();
    let pairs = lines.chunks(2).filter(|pair| pair[1] != "nothing");
    Ok(pairs.map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect())
}

/// As a golden file has it, without what follows from the lines before.
fn head(event: &Value) -> String {
    let code = event["code"].as_u64().map_or(String::new(), |code| format!(" {code}"));
    format!("{}{code}", event["kind"].as_str().unwrap_or_default())
}

#[test]
fn every_line_of_the_corpus_is_decoded_as_its_golden_file_says() -> Result<()> {
    for log in corpus()? {
        let bytes = fs::read(&log)?;
        let (events, golden) = (decode(&bytes)?, golden(&log)?);
        assert_eq!(events.len(), golden.len(), "{}", log.display());
        let input: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        for (event, (line, want)) in events.iter().zip(&golden) {
            assert!(want.starts_with(&head(event)), "{}: {want}: {event}", log.display());
            let number = usize::try_from(event["line"].as_u64().context("line")?)?;
            let raw = input[number - 1];
            assert_eq!(event["raw"], String::from_utf8_lossy(raw).as_ref(), "{}", log.display());
            assert_eq!(format!("> {}", raw.escape_ascii()), *line, "{}", log.display());
            let device = event["pci"].as_str();
            assert!(
                want.ends_with(" -") || device.is_some_and(|device| want.contains(device)),
                "{want}: {event}"
            );
        }
    }
    Ok(())
}

#[test]
fn lines_that_only_look_like_events_are_none() -> Result<()> {
    for name in ["near-miss", "silent"] {
        let log = fs::read(repository().join(format!("tests/kernel-lines/{name}.log")))?;
        assert_eq!(decode(&log)?, Vec::<Value>::new());
    }
    Ok(())
}

#[test]
fn lines_that_belong_together_are_told_together() -> Result<()> {
    let log = fs::read(repository().join("tests/kernel-lines/combined.log"))?;
    let events = decode(&log)?;
    let lost = events.iter().find(|event| event["kind"] == "bus_loss").context("a bus loss")?;
    assert_eq!((&lost["pci"], &lost["code"]), (&"0000:b3:00.0".into(), &Value::Null));
    assert!(events.iter().any(|event| event["follows"] == true));
    let text = on(&["decode"], &log)?;
    let text = String::from_utf8(text.stdout)?;
    assert_eq!(text.lines().count(), events.len() + 1, "{text}");
    assert!(text.ends_with(" with none\n") && text.contains("  + "), "{text}");
    Ok(())
}

const XID: &[u8] = b"NVRM: Xid (PCI:0000:3b:00): 79, pid=4711, name=python, ";

#[test]
fn no_input_is_too_bad() -> Result<()> {
    let long = [b"noise\n", XID, &b"x".repeat(1 << 20), b"\n", XID].concat();
    let events = decode(&long)?;
    assert_eq!(events.len(), 2, "a line of 1 MB is one line");
    assert_eq!((&events[0]["line"], &events[0]["cut"]), (&2.into(), &true.into()));
    assert_eq!((&events[1]["line"], &events[1]["cut"]), (&3.into(), &false.into()));
    assert_eq!(events[1]["pid"], 4711, "the last line needs no end");
    assert!(events[0]["raw"].as_str().is_some_and(|raw| raw.len() <= 8 << 10));

    let bytes = [b"\0\0\n\xff\xfe\n", XID, b"a\0b\xff\x1b[31m\xe2\x80\xae\n\0"].concat();
    let output = on(&["decode", "-o", "json"], &bytes)?;
    assert!(output.stdout.is_ascii() && !output.stdout.contains(&0x1b), "{output:?}");
    let events = decode(&bytes)?;
    assert_eq!((events.len(), &events[0]["line"]), (1, &3.into()));
    assert_eq!(events[0]["message"], r"a\u{0}b\xff\u{1b}[31m\u{202e}");
    let text = on(&["decode"], &bytes)?.stdout;
    assert!(!text.contains(&0x1b) && !text.contains(&0), "{text:?}");

    let endless = on(&["decode", "-o", "json"], &vec![0; 16 << 20])?;
    assert_eq!((endless.status.code(), endless.stdout.len()), (Some(0), 0));
    assert!(endless.stderr.starts_with(b"agent: 1 line read"), "{endless:?}");
    Ok(())
}

#[test]
fn an_empty_log_is_said_to_be_empty() -> Result<()> {
    for format in ["text", "json"] {
        let output = on(&["decode", "-o", format], b"")?;
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]));
        assert!(String::from_utf8(output.stderr)?.contains("stdin was empty"));
    }
    Ok(())
}

#[test]
fn what_is_no_log_is_refused() -> Result<()> {
    let directory = fs::File::open(repository())?;
    let output = agent().arg("decode").stdin(directory).output()?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("cannot read stdin"));
    assert_eq!(on(&["decode", "-o", "yaml"], b"")?.status.code(), Some(2));
    Ok(())
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() -> Result<()> {
    let mut log = [XID, b"again\n"].concat().repeat(100_000);
    log.extend_from_slice(b"more");
    for arguments in [&["decode"][..], &["decode", "-o", "json"]] {
        let mut child = agent()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("stdin")?;
        let mut stdout = BufReader::new(child.stdout.take().context("stdout")?);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = stdin.write_all(&log);
                drop(stdin);
            });
            let mut first = String::new();
            stdout.read_line(&mut first).expect("a first line");
            assert!(first.contains("0000:3b:00.0"), "{first}");
            drop(stdout);
        });
        let output = child.wait_with_output()?;
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    }
    Ok(())
}

#[test]
fn a_log_that_goes_on_is_told_as_it_comes() -> Result<()> {
    let mut child = agent()
        .args(["decode", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let mut stdout = BufReader::new(child.stdout.take().context("stdout")?);
    for number in 1..=3 {
        stdin.write_all(&[XID, b"x\n"].concat())?;
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        assert_eq!(serde_json::from_str::<Value>(&line)?["line"], number);
    }
    drop(stdin);
    assert_eq!(stdout.read_to_end(&mut Vec::new())?, 0);
    assert!(child.wait()?.success());
    Ok(())
}

#[test]
fn a_number_is_explained() -> Result<()> {
    let output = on(&["xid", "79"], b"")?;
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    let text = String::from_utf8(output.stdout)?;
    for part in ["Xid 79  ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS", "fatal: ", "RESTART_BM: "] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let output = on(&["xid", "48", "20034", "-o", "json"], b"")?;
    let text = String::from_utf8(output.stdout)?;
    let entries = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    assert_eq!((&entries[0]["kind"], &entries[0]["code"]), (&"xid".into(), &48.into()));
    assert_eq!(entries[0]["immediate_action"]["name"], "WORKFLOW_XID_48");
    assert!(entries[0]["immediate_action"]["steps"].as_array().is_some_and(|all| all.len() >= 3));
    assert_eq!((&entries[1]["kind"], &entries[1]["code"]), (&"sxid".into(), &20034.into()));
    assert_eq!(entries[1]["mnemonic"], "LTSSM Fault Up");
    Ok(())
}

#[test]
fn a_number_that_no_catalogue_has_is_said_to_be_none() -> Result<()> {
    let output = on(&["xid", "99999", "79", "178"], b"")?;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.starts_with(b"Xid 79"), "the others are explained");
    let stderr = String::from_utf8(output.stderr)?;
    assert!(stderr.contains("SXid 99999") && stderr.contains("Xid 178"), "{stderr}");
    for wrong in ["abc", "-1", "4294967296", ""] {
        assert_eq!(on(&["xid", wrong], b"")?.status.code(), Some(2), "{wrong:?}");
    }
    Ok(())
}

#[test]
fn without_a_number_the_whole_table_is_printed() -> Result<()> {
    let text = String::from_utf8(on(&["xid"], b"")?.stdout)?;
    let json = String::from_utf8(on(&["xid", "-o", "json"], b"")?.stdout)?;
    assert!(json.lines().count() > 200);
    assert_eq!(text.lines().count(), json.lines().count() + 1, "{text}");
    Ok(())
}
