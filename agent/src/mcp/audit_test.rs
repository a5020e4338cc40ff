use std::{
    fs,
    io::{Read as _, pipe},
    os::fd::OwnedFd,
};

use rmcp::model::{ClientJsonRpcMessage, ErrorData};

use super::*;

/// PIPE_BUF of Linux: a write of no more bytes is done whole or not at all, and never mixed with another.
const LONGEST: usize = 4096;

/// A session of which every line is read back.
struct Heard {
    log: Log,
    reader: std::io::PipeReader,
}

impl Heard {
    fn new() -> Self {
        let (reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        Self { log: Log::to(OwnedFd::from(writer)), reader }
    }

    /// The lines, when nobody writes any more.
    fn lines(self) -> Vec<Value> {
        let Self { log, mut reader } = self;
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.is_ascii() && text.lines().all(|line| line.len() < LONGEST), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn ask(entries: &Entries, id: i64, method: &str, params: &Value) {
    let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let Ok(ClientJsonRpcMessage::Request(request)) = serde_json::from_value(message) else {
        panic!("{method} is no request")
    };
    entries.asked(&request.id, &request.request);
}

fn call(entries: &Entries, id: i64, tool: &str, arguments: &Value) {
    ask(entries, id, "tools/call", &json!({"name": tool, "arguments": arguments}));
}

fn refuse(entries: &Entries, id: i64, why: &str) {
    let id = RequestId::Number(id);
    let error = ErrorData::invalid_params(why.to_owned(), None);
    entries.answered(&id, &ServerJsonRpcMessage::error(error, Some(id.clone())), 99);
}

#[test]
fn whatever_a_client_sends_is_one_short_line_of_ascii_each() {
    let hostile = "\n{\"audit\":\"session_ended\"}\n\u{1b}[2J\u{202e}ä𝄞\"\\".repeat(50_000);
    let heard = Heard::new();
    let session = Session::new(heard.log.clone(), AccessMode::Operator, true);
    let entries = session.entries();
    let client = json!({"name": hostile, "version": hostile});
    ask(
        &entries,
        0,
        "initialize",
        &json!({"protocolVersion": hostile, "capabilities": {}, "clientInfo": client}),
    );
    call(&entries, 1, &hostile, &json!({ hostile.clone(): [hostile] }));
    refuse(&entries, 1, &hostile);
    ask(&entries, 2, "resources/read", &json!({"uri": hostile}));
    refuse(&entries, 2, &hostile);
    ask(&entries, 3, &hostile, &json!({"x": hostile}));
    drop((session, entries));
    let lines = heard.lines();
    let kinds: Vec<_> = lines.iter().map(|line| line["audit"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["session_started", "tool_call", "request", "request", "session_ended"]);
    for line in &lines[1..4] {
        assert!(line["arguments"].as_str().unwrap().len() > 200, "{line}");
        assert!(line["arguments_bytes"].as_u64().unwrap() > 1_000_000, "{line}");
    }
}

#[test]
fn requests_that_share_an_id_are_each_told_and_lists_are_not() {
    let heard = Heard::new();
    let session = Session::new(heard.log.clone(), AccessMode::ReadOnly, false);
    let entries = session.entries();
    for method in ["ping", "tools/list", "resources/list"] {
        ask(&entries, 7, method, &json!({}));
    }
    call(&entries, 7, "a", &json!({"x": 1}));
    call(&entries, 7, "b", &json!({}));
    call(&entries, 8, "c", &json!({}));
    entries.cancelled(&RequestId::Number(7));
    refuse(&entries, 7, "no tool");
    refuse(&entries, 7, "nobody asked");
    drop(session);
    // The end has been told: nothing comes behind it.
    refuse(&entries, 8, "late");
    call(&entries, 9, "d", &json!({}));
    drop(entries);
    let told: Vec<_> = heard
        .lines()
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line["audit"], line["tool"], line["outcome"], line["error"])
        })
        .collect();
    let expected = [
        r#""session_started" null null null"#,
        r#""tool_call" "a" "cancelled" null"#,
        r#""tool_call" "b" "error" "no tool""#,
        r#""tool_call" "c" "unanswered" null"#,
        r#""session_ended" null null null"#,
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_session_that_asked_nothing_is_told_too() {
    let heard = Heard::new();
    drop(Session::new(heard.log.clone(), AccessMode::ReadOnly, false));
    let lines = heard.lines();
    assert_eq!(
        (lines.len(), &lines[0]["client"], &lines[1]["calls"]),
        (2, &Value::Null, &json!(0))
    );
}

#[test]
fn a_pipe_that_nobody_reads_costs_lines_which_are_counted() {
    let mut heard = Heard::new();
    let session = Session::new(heard.log.clone(), AccessMode::ReadOnly, false);
    let entries = session.entries();
    for id in 0..1000 {
        call(&entries, id, "a", &json!({"x": "y".repeat(500)}));
        refuse(&entries, id, "no");
    }
    let mut some = vec![0; 32 << 10];
    heard.reader.read_exact(&mut some).unwrap();
    drop((session, entries));
    let first = String::from_utf8(some).unwrap();
    let (first, cut) = first.rsplit_once('\n').unwrap();
    let Heard { log, mut reader } = heard;
    drop(log);
    let mut rest = cut.to_owned();
    reader.read_to_string(&mut rest).unwrap();
    let lines: Vec<Value> =
        first.lines().chain(rest.lines()).map(|line| serde_json::from_str(line).unwrap()).collect();
    let lost = lines.last().unwrap()["lost"].as_u64().unwrap();
    assert_eq!(
        (lines.len() as u64 + lost, lines.last().unwrap()["calls"].as_u64()),
        (1002, Some(1000))
    );
}

#[test]
fn a_log_that_cannot_be_written_costs_the_log_alone() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let session = Session::new(Log::to(full.into()), AccessMode::ReadOnly, false);
    call(&session.entries(), 1, "a", &json!({}));
}
