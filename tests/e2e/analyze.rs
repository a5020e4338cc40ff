//! `analyze_xid_errors` and the catalogue's resources, from a kernel line to the answer.

use std::{collections::BTreeSet, io::Write as _};

use anyhow::Result;
use e2e::{Agent, agent, text};
use serde_json::{Value, json};

use crate::kernel::{gpu, replaying, xid};

const DBE: &str = "An uncorrectable double bit error (DBE) has been detected on GPU in the framebuffer at physAddr 0x18f31d80 partition 16, subpartition 3.";
const LIMIT: usize = 32 << 10;

/// Waits until so many events are in the journal.
fn heard(agent: &mut Agent, events: usize) -> Result<()> {
    agent.ask("watch_gpu_events", &json!({"since": "0-0", "max_events": events}))?;
    Ok(())
}

fn list<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    answer[name].as_array().into_iter().flatten().collect()
}

fn codes(members: &Value) -> Vec<u64> {
    members.as_array().into_iter().flatten().filter_map(|member| member["code"].as_u64()).collect()
}

#[test]
fn a_cascade_is_one_incident_with_its_root_first_and_what_nvidia_says_to_do() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    // Raw records: the kernel's own, and a forgery by a process (facility 1) amid them.
    writeln!(log, "4,1,1000,-;{}", xid(0x3b, 48, DBE))?;
    writeln!(log, "12,2,1001,-;{}", xid(0x3b, 79, "GPU has fallen off the bus."))?;
    writeln!(
        log,
        "4,3,1002,-;{}",
        xid(
            0x3b,
            63,
            "Row Remapper: New row (0x18f31d80) marked for remapping, reset gpu to activate."
        )
    )?;
    writeln!(log, "4,4,1003,-;{}", xid(0x3b, 94, "Contained: SM (0x1). RST: No, D-RST: No"))?;
    writeln!(log, "4,5,1004,-;{}", xid(0x3b, 45, "Ch 00000008"))?;
    writeln!(log, "4,6,1005,-;{}", xid(0x3b, 45, "Ch 00000009"))?;
    heard(&mut agent, 6)?;
    let result = agent.call("analyze_xid_errors", &json!({}))?;
    let analysis = &result["structuredContent"];
    assert_eq!((&analysis["verdict"], &analysis["worst"]), (&json!("failed"), &json!("critical")));
    let incidents = list(analysis, "incidents");
    assert_eq!(incidents.len(), 1, "{analysis}");
    let incident = incidents[0];
    assert_eq!((&incident["gpu"], &incident["root"]["code"]), (&json!(gpu(0x3b)), &json!(48)));
    assert_eq!(codes(&incident["consequences"]), [63, 94, 45]);
    assert_eq!(incident["consequences"][2]["count"], 2);
    assert_eq!(incident["next_step"]["action"]["name"], "DRAIN_AND_RESET");
    assert_eq!(incident["next_step"]["steps"][0]["holds"], true);
    assert!(incident["evidence"][0]["raw"].as_str().unwrap_or_default().contains(DBE));
    let recommendation = analysis["recommendation"].as_str().unwrap_or_default();
    assert!(recommendation.starts_with("DRAIN_AND_RESET: "), "{recommendation}");
    // The forgery is shown for what it is, and not to be done.
    let forged: Vec<_> = list(analysis, "groups")
        .into_iter()
        .filter(|group| group["first"]["origin"] == "user")
        .map(|group| &group["first"]["xid"]["code"])
        .collect();
    assert_eq!(forged, [79]);
    let text = text(&result);
    assert!(
        text.contains("written by a process") && !text.contains("do      RESTART_BM"),
        "{text}"
    );
    let pids: Vec<_> = list(analysis, "groups").into_iter().map(|group| &group["pids"]).collect();
    assert!(pids.iter().all(|pids| **pids == json!({"seen": [4711], "more": false})), "{pids:?}");
    Ok(())
}

#[test]
fn a_window_shows_what_is_in_it_and_an_incident_from_its_root() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    writeln!(log, "{}", xid(0x3b, 62, "2023b230 20238a3a"))?;
    heard(&mut agent, 1)?;
    let before = agent.ask("analyze_xid_errors", &json!({}))?;
    let at = |answer: &Value, group: usize| answer["groups"][group]["first"]["time"].clone();
    let first = at(&before, 0);
    writeln!(log, "{}", xid(0x3b, 45, "Ch 00000008"))?;
    writeln!(log, "{}", xid(0x5e, 31, "MMU Fault"))?;
    heard(&mut agent, 3)?;
    let all = agent.ask("analyze_xid_errors", &json!({"since": "1h"}))?;
    assert_eq!((list(&all, "groups").len(), list(&all, "incidents").len()), (3, 2), "{all}");
    for since in [at(&all, 1), before["next_cursor"].clone()] {
        let later = agent.ask("analyze_xid_errors", &json!({"since": since}))?;
        assert_eq!(later["event_count"], 2, "{since}");
        // What began it came before the window, and is told.
        let roots: Vec<_> =
            list(&later, "incidents").into_iter().map(|i| &i["root"]["code"]).collect();
        assert_eq!(roots, [62, 31], "{since}");
        assert_eq!(codes(&later["incidents"][0]["consequences"]), [45], "{since}");
    }
    let earlier = agent.ask("analyze_xid_errors", &json!({"until": first}))?;
    assert_eq!((&earlier["event_count"], &earlier["verdict"]), (&json!(1), &json!("failed")));
    assert_eq!(codes(&earlier["incidents"][0]["consequences"]), [] as [u64; 0]);
    // Nobody listened then: that nothing is known of it is no good news.
    let long_ago = agent.ask("analyze_xid_errors", &json!({"since": "2d", "until": "1d"}))?;
    assert_eq!(
        (&long_ago["verdict"], &long_ago["event_count"]),
        (&json!("nothing_heard"), &json!(0))
    );
    let nothing_new = agent.ask("analyze_xid_errors", &json!({"since": all["next_cursor"]}))?;
    assert_eq!(
        (&nothing_new["verdict"], &nothing_new["event_count"], &nothing_new["worst"]),
        (&json!("no_fault_reported"), &json!(0), &Value::Null)
    );
    Ok(())
}

#[test]
fn filters_choose_events_and_bring_the_root_of_what_they_choose() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    writeln!(
        log,
        "{}",
        xid(
            0x3b,
            149,
            "NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000)"
        )
    )?;
    writeln!(log, "{}", xid(0x3b, 45, "Ch 0000000c caused by previous Xid 149"))?;
    writeln!(log, "{}", xid(0x5e, 13, "Graphics Exception"))?;
    heard(&mut agent, 3)?;
    for (arguments, groups, root) in [
        (json!({"codes": [45]}), vec![45], 149),
        (json!({"gpu": gpu(0x5e)}), vec![13], 13),
        (json!({"min_severity": "critical"}), vec![149], 149),
        (json!({"kinds": ["xid"], "codes": [13, 14]}), vec![13], 13),
    ] {
        let answer = agent.ask("analyze_xid_errors", &arguments)?;
        let shown: Vec<_> = list(&answer, "groups")
            .into_iter()
            .filter_map(|group| group["first"]["xid"]["code"].as_u64())
            .collect();
        let roots: Vec<_> =
            list(&answer, "incidents").into_iter().map(|i| &i["root"]["code"]).collect();
        assert_eq!((shown, roots), (groups, vec![&json!(root)]), "{arguments}");
    }
    let none = agent.ask("analyze_xid_errors", &json!({"kinds": ["sxid"]}))?;
    assert_eq!((&none["event_count"], &none["verdict"]), (&json!(0), &json!("no_fault_reported")));
    Ok(())
}

#[test]
fn single_events_page_through_all_of_them_once() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    for round in 0..40 {
        writeln!(log, "{}", xid(0x3b, if round % 4 == 0 { 31 } else { 45 }, &"y".repeat(800)))?;
    }
    heard(&mut agent, 40)?;
    for (filter, events) in [(json!({}), 40), (json!({"codes": [31]}), 10)] {
        for limit in [7, 100] {
            let mut arguments = filter.clone();
            arguments["grouping"] = json!("none");
            arguments["limit"] = json!(limit);
            let mut seen = BTreeSet::new();
            loop {
                let page = agent.ask("analyze_xid_errors", &arguments)?;
                assert!(page.to_string().len() < LIMIT);
                let seqs = list(&page, "events").into_iter().filter_map(|e| e["seq"].as_u64());
                let seqs: Vec<u64> = seqs.collect();
                assert!(!seqs.is_empty() && seqs.is_sorted() && seqs.len() <= limit, "{page}");
                assert!(seqs.into_iter().all(|seq| seen.insert(seq)));
                arguments["since"] = page["next_cursor"].clone();
                if page["more"] == false {
                    break;
                }
            }
            assert_eq!(seen.len(), events, "{arguments}");
        }
    }
    Ok(())
}

#[test]
fn a_thousand_distinct_faults_fit_and_what_began_the_worst_is_there() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    let tail = "\u{1b}é".repeat(300);
    writeln!(log, "{}", xid(0x3b, 79, "GPU has fallen off the bus."))?;
    writeln!(
        log,
        "{}",
        xid(0x3b, 154, "GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    )?;
    for code in 1000..2000 {
        writeln!(log, "{}", xid(0x5e, code, &tail))?;
    }
    drop(log);
    while !agent.source_is("replay", "off")? {}
    for arguments in [
        json!({"limit": 100}),
        json!({"limit": 100, "detail": "full"}),
        json!({"limit": 1}),
        json!({"limit": 100, "grouping": "none"}),
    ] {
        let result = agent.call("analyze_xid_errors", &arguments)?;
        let answer = &result["structuredContent"];
        assert!(answer.to_string().len() < LIMIT, "{arguments}: {}", answer.to_string().len());
        assert!(text(&result).len() < LIMIT, "{arguments}: {}", text(&result).len());
        assert!(!result.to_string().contains("\\u001b"), "{arguments}");
        assert_eq!((&answer["verdict"], &answer["event_count"]), (&json!("failed"), &json!(1002)));
        if arguments["grouping"] != "none" {
            assert_eq!(answer["incidents"][0]["root"]["code"], 79, "{arguments}");
            assert_eq!(answer["groups"][0]["first"]["xid"]["code"], 79, "{arguments}");
            let told = |list: &str, omitted: &str| {
                answer[list].as_array().map_or(0, Vec::len) as u64
                    + answer[omitted].as_u64().unwrap_or(0)
            };
            assert_eq!(told("groups", "groups_omitted"), 1002);
            assert_eq!(told("incidents", "incidents_omitted"), 1001);
        }
    }
    Ok(())
}

#[test]
fn a_full_answer_has_every_line_and_what_it_says_decoded() -> Result<()> {
    let (_dir, mut log, mut agent) = replaying()?;
    for _ in 0..10 {
        writeln!(
            log,
            "{}",
            xid(
                0x3b,
                13,
                "Graphics SM Warp Exception on (GPC 9, TPC 1, SM 1): Out Of Range Address"
            )
        )?;
    }
    heard(&mut agent, 10)?;
    let summary = agent.ask("analyze_xid_errors", &json!({}))?;
    assert_eq!(list(&summary["incidents"][0], "evidence").len(), 1);
    assert_eq!(summary["groups"][0].get("details"), None);
    let full = agent.ask("analyze_xid_errors", &json!({"detail": "full"}))?;
    assert_eq!(list(&full["incidents"][0], "evidence").len(), 10);
    assert_eq!(full["groups"][0]["details"]["gpc"], 9);
    Ok(())
}

#[test]
fn an_agent_that_hears_nothing_does_not_say_that_all_is_well() -> Result<()> {
    let mut deaf = Agent::spawn(agent().args(["--ebpf", "off", "--nvml-library", "/nonexistent"]))?;
    deaf.initialize()?;
    let answer = deaf.ask("analyze_xid_errors", &json!({}))?;
    assert_eq!(
        (&answer["verdict"], &answer["listening"]),
        (&json!("nothing_heard"), &json!(false))
    );
    assert!(answer["recommendation"].as_str().unwrap_or_default().contains("get_agent_status"));
    Ok(())
}

#[test]
fn the_catalogue_is_a_resource_of_the_shape_that_the_command_prints() -> Result<()> {
    let (_dir, mut log, mut session) = replaying()?;
    writeln!(log, "{}", xid(0x3b, 79, "GPU has fallen off the bus."))?;
    writeln!(log, "12,2,1001,-;{}", xid(0x3b, 79, "GPU has fallen off the bus."))?;
    heard(&mut session, 2)?;
    let listed = session.request("resources/templates/list", &json!({}))?;
    let templates: Vec<_> = list(&listed["result"], "resourceTemplates")
        .into_iter()
        .map(|template| &template["uriTemplate"])
        .collect();
    assert_eq!(templates, ["gpu://xid/{code}", "gpu://sxid/{code}"]);
    for (uri, code, occurrences) in [("gpu://xid/79", "79", 1), ("gpu://sxid/20034", "20034", 0)] {
        let read = session.request("resources/read", &json!({"uri": uri}))?;
        let contents = &read["result"]["contents"][0];
        assert_eq!(
            (&contents["uri"], &contents["mimeType"]),
            (&json!(uri), &json!("application/json"))
        );
        let body: Value = serde_json::from_str(contents["text"].as_str().unwrap_or_default())?;
        let printed = agent().args(["xid", code, "-o", "json"]).output()?.stdout;
        let mut expected: Value = serde_json::from_slice(&printed)?;
        expected["occurrences"] = json!(occurrences);
        assert_eq!(body, expected, "{uri}");
    }
    for (uri, said) in [
        ("gpu://xid/999", "no catalogue has xid 999"),
        ("gpu://xid/20034", "no catalogue has xid 20034"),
        ("gpu://sxid/79", "no catalogue has sxid 79"),
        ("gpu://xid/079", "there are gpu://events"),
        ("gpu://xid/79/x\n", "there are gpu://events"),
    ] {
        let answer = session.request("resources/read", &json!({"uri": uri}))?;
        assert_eq!(answer["error"]["code"], -32002, "{uri}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(said) && !message.contains('\n'), "{uri}: {message}");
    }
    Ok(())
}
