use rmcp::model::{ClientResult, NumberOrString, ServerResult};
use tokio::io::{AsyncReadExt as _, DuplexStream, ReadHalf, SimplexStream, duplex, simplex};

use super::*;
use crate::node::AccessMode;

type Canned = Stdio<io::Cursor<Vec<u8>>, tokio::io::WriteHalf<SimplexStream>>;

/// An audit that nobody keeps.
fn unheard() -> Arc<audit::Entries> {
    audit::Session::new(audit::Log::NOWHERE, AccessMode::ReadOnly, false).entries()
}

/// A transport that reads `input` and then sees its end, and the other end of its output.
fn over(input: &[u8]) -> (Canned, ReadHalf<SimplexStream>) {
    let (answers, output) = simplex(1 << 20);
    (Stdio::new(io::Cursor::new(input.to_vec()), output, None, unheard()), answers)
}

/// What comes out of `input`: the methods that reach the server, and the errors that go back at once.
async fn run(input: &[u8]) -> (Vec<String>, Vec<Value>) {
    let (mut stdio, mut answers) = over(input);
    let mut methods = Vec::new();
    while let Some(message) = stdio.receive().await {
        let value = serde_json::to_value(&message).expect("json");
        methods.push(value["method"].as_str().unwrap_or("").to_owned());
        if let ClientJsonRpcMessage::Request(request) = message {
            let answer = ServerJsonRpcMessage::response(ServerResult::empty(()), request.id);
            stdio.send(answer).await.expect("send");
        }
    }
    stdio.output.stream.lock().await.shutdown().await.expect("shutdown");
    let mut out = String::new();
    answers.read_to_string(&mut out).await.expect("utf-8");
    let errors = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("json"))
        .filter(|v| v.get("error").is_some());
    (methods, errors.collect())
}

const OPEN: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;

/// Sends `line` in an open session: it must be refused like this, and the ping behind it must get through.
async fn check(line: &[u8], code: i64, id: Value) {
    let input = [OPEN.as_bytes(), b"\n", line, b"\n", PING.as_bytes(), b"\n"].concat();
    let (methods, errors) = run(&input).await;
    assert_eq!(methods, ["initialize", "ping"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((errors[0]["error"]["code"].as_i64(), &errors[0]["id"]), (Some(code), &id));
}

#[tokio::test]
async fn what_is_not_json_is_a_parse_error() {
    for line in [&b"{"[..], b"hello", b"{\"jsonrpc\":\"2.0\",", b"\xff\xfe", b"\0", b"\x1b[A"] {
        check(line, -32700, Value::Null).await;
    }
}

#[tokio::test]
async fn what_is_no_request_is_told_so_under_its_own_id() {
    check(br#"{"id":7}"#, -32600, 7.into()).await;
    check(br#"{"jsonrpc":"1.0","id":"x","method":"ping"}"#, -32600, "x".into()).await;
    check(br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, Value::Null).await;
    check(b"[]", -32600, Value::Null).await;
    check(b"42", -32600, Value::Null).await;
}

#[tokio::test]
async fn a_tool_call_with_parameters_of_the_wrong_type_is_told_so() {
    check(
        br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":"get_gpu_health"}"#,
        -32602,
        3.into(),
    )
    .await;
    check(
        br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":5}}"#,
        -32602,
        3.into(),
    )
    .await;
    check(
        br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"x","arguments":[]}}"#,
        -32602,
        3.into(),
    )
    .await;
}

#[tokio::test]
async fn a_line_of_64_mib_costs_one_error_and_no_memory() {
    let (mut input, agent) = duplex(1 << 16);
    let (answers, output) = simplex(1 << 16);
    let mut stdio = Stdio::new(agent, output, None, unheard());
    let write = async move {
        let mebibyte = vec![b'a'; 1 << 20];
        for _ in 0..64 {
            input.write_all(&mebibyte).await.expect("write");
        }
        input.write_all(format!("\n{PING}\n").as_bytes()).await.expect("write");
        input
    };
    let (received, _input): (_, DuplexStream) = tokio::join!(stdio.receive(), write);
    assert!(matches!(received, Some(ClientJsonRpcMessage::Request(_))));
    assert!(stdio.line.capacity() <= LONGEST_LINE * 2);
    let mut out = vec![0; 4096];
    let mut answers = answers;
    let read = answers.read(&mut out).await.expect("read");
    assert!(String::from_utf8_lossy(&out[..read]).contains("longer than"));
}

#[tokio::test]
async fn before_the_session_is_opened_notifications_are_ignored_and_requests_are_not() {
    let early = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let (methods, errors) = run(format!("{early}\n{PING}\n{OPEN}\n{early}\n").as_bytes()).await;
    assert_eq!(
        (methods, errors),
        (["ping", "initialize", "notifications/initialized"].map(String::from).to_vec(), vec![])
    );
}

#[tokio::test]
async fn blank_lines_carriage_returns_and_a_missing_last_newline_are_fine() {
    let (methods, errors) = run(format!("\n  \r\n{OPEN}\r\n{PING}").as_bytes()).await;
    assert_eq!((methods, errors), (["initialize", "ping"].map(String::from).to_vec(), vec![]));
}

#[tokio::test]
async fn an_unknown_notification_is_never_answered() {
    let (_, errors) =
        run(format!("{OPEN}\n{{\"jsonrpc\":\"2.0\",\"method\":\"nobody/knows\",\"params\":3}}\n")
            .as_bytes())
        .await;
    assert_eq!(errors, Vec::<Value>::new());
}

#[tokio::test]
async fn a_stray_response_is_passed_on_and_harmless() {
    let stray = serde_json::to_string(&ClientJsonRpcMessage::response(
        ClientResult::empty(()),
        NumberOrString::Number(99),
    ))
    .expect("json");
    let (methods, errors) = run(format!("{OPEN}\n{stray}\n{PING}\n").as_bytes()).await;
    assert_eq!((methods.len(), errors), (3, vec![]));
}
