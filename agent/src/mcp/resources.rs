//! Resources: `gpu://events`, the newest events as JSON, which clients can subscribe to; `gpu://xid/{code}` and
//! `gpu://sxid/{code}`, what NVIDIA's catalogue says of a number, as `agent xid -o json` prints it, with how often this node
//! has met it.

use rmcp::{
    ErrorData,
    model::{
        ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
        ResourceUpdatedNotificationParam,
    },
};
use serde::Serialize;
use tokio::sync::watch;

use super::{catalogue, render, tools::event::AnyEvent};
use crate::{
    event::{Cursor, Filter, Group, Journal},
    node::Node,
    xid::Kind,
};

/// The events of this node.
pub const EVENTS: &str = "gpu://events";
/// How many of the newest events a read returns; `watch_gpu_events` pages through all.
const NEWEST: usize = 20;

const JSON: &str = "application/json";

pub fn events() -> Resource {
    Resource::new(EVENTS, "events")
        .with_title("GPU events of this node")
        .with_description(
            "The newest 20 events (Xid, SXid, bus loss, stalled driver call, …), oldest first. Subscribe to be told of new ones; read all with watch_gpu_events.",
        )
        .with_mime_type(JSON)
}

pub fn templates() -> Vec<ResourceTemplate> {
    let template = |uri: &str, name: &str, title: &str, description: &str| {
        ResourceTemplate::new(uri, name)
            .with_title(title)
            .with_description(description)
            .with_mime_type(JSON)
    };
    vec![
        template(
            "gpu://xid/{code}",
            "xid",
            "What NVIDIA says of an Xid",
            "Name, meaning, severity and where that comes from, NVIDIA's actions with their steps; and how often it occurred here.",
        ),
        template(
            "gpu://sxid/{code}",
            "sxid",
            "What NVIDIA says of an SXid",
            "The same for an error number of an NVSwitch, from 10000 on.",
        ),
    ]
}

/// What can be subscribed to.
pub fn known(uri: &str) -> Result<(), ErrorData> {
    if uri == EVENTS {
        return Ok(());
    }
    let uri = render::bounded(uri, 128);
    let text = format!("{uri:?} cannot be subscribed to; {EVENTS} can");
    Err(ErrorData::resource_not_found(text, None))
}

pub fn read(node: &Node, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let body = match Uri::parse(uri)? {
        Uri::Events => newest(node),
        Uri::Code(kind, code) => explained(node, kind, code)?,
    };
    let body = serde_json::to_string(&body)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let contents = ResourceContents::text(body, uri).with_mime_type(JSON);
    Ok(ReadResourceResult::new(vec![contents]))
}

#[derive(Debug, PartialEq, Eq)]
enum Uri {
    Events,
    Code(Kind, u32),
}

impl Uri {
    fn parse(uri: &str) -> Result<Self, ErrorData> {
        if uri == EVENTS {
            return Ok(Self::Events);
        }
        let of = |prefix: &str| {
            // A number as a template's expansion writes it: digits alone, no zero before them.
            let digits = uri.strip_prefix(prefix)?;
            digits.parse::<u32>().ok().filter(|code| code.to_string() == digits)
        };
        let xid = of("gpu://xid/").map(|code| Self::Code(Kind::Xid, code));
        xid.or_else(|| Some(Self::Code(Kind::Sxid, of("gpu://sxid/")?))).ok_or_else(|| {
            let uri = render::bounded(uri, 128);
            let there =
                format!("{EVENTS}, gpu://xid/79 and gpu://sxid/20034, each with any number");
            ErrorData::resource_not_found(format!("no resource {uri:?}; there are {there}"), None)
        })
    }
}

fn newest(node: &Node) -> serde_json::Value {
    let page = node.journal.read(node.journal.start(), &Filter::unasked(), usize::MAX);
    let newest = &page.events[page.events.len().saturating_sub(NEWEST)..];
    let events: Vec<AnyEvent> = newest.iter().filter_map(|event| AnyEvent::of(event)).collect();
    serde_json::json!({
        "simulated": node.gpu.simulated(),
        "events": events,
        "next_cursor": page.next.to_string(),
    })
}

/// What NVIDIA says of a number, and how often this node has met it.
#[derive(Debug, Serialize)]
struct Explained {
    #[serde(flatten)]
    entry: catalogue::Entry,
    /// How often the driver reported it, over all devices, as far back as the journal of this agent goes.
    occurrences: u64,
}

fn explained(node: &Node, kind: Kind, code: u32) -> Result<serde_json::Value, ErrorData> {
    let entry = catalogue::Entry::of(code).filter(|entry| entry.kind == kind.name());
    let Some(entry) = entry else {
        let first = catalogue::FIRST_SXID;
        let text = format!(
            "no catalogue has {} {code}; Xids are below {first}, SXids from there on, and `agent xid` lists all",
            kind.name()
        );
        return Err(ErrorData::resource_not_found(text, None));
    };
    let of_number = |group: &&Group| {
        !group.key.from_user && group.key.kind == kind && group.key.code == Some(code)
    };
    let occurrences = node.journal.groups().iter().filter(of_number).map(|group| group.count).sum();
    serde_json::to_value(Explained { entry, occurrences })
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

pub fn updated() -> ResourceUpdatedNotificationParam {
    ResourceUpdatedNotificationParam::new(EVENTS)
}

/// News of the events that a read of them would show. A burst is told once: the client reads what is there.
#[derive(Debug)]
pub struct News {
    journal: Journal,
    newest: watch::Receiver<u64>,
    /// Up to here the client knows that there is something.
    told: Cursor,
}

impl News {
    pub fn of(journal: &Journal) -> Self {
        let mut newest = journal.watch();
        newest.mark_unchanged();
        Self { told: journal.end(), newest, journal: journal.clone() }
    }

    /// The same with what there is already.
    pub fn from_the_start(journal: &Journal) -> Self {
        let mut news = Self::of(journal);
        news.told = journal.start();
        news.newest.mark_changed();
        news
    }

    /// Waits for the next; false when there can be none any more.
    pub async fn next(&mut self) -> bool {
        while self.newest.changed().await.is_ok() {
            // All there is: the client reads it in one go. What comes after this is told by itself.
            let end = self.journal.end();
            let told = std::mem::replace(&mut self.told, end);
            if !self.journal.read(told, &Filter::unasked(), 1).events.is_empty() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::{
        task::{Context, Poll, Waker},
        time::{Duration, SystemTime},
    };

    use bytes::Bytes;

    use super::*;
    use crate::{
        calls::Call,
        event::{
            Access, Origin, Report, Source, What,
            access::{Did, Way},
        },
        xid::MigInstance,
    };

    /// Whether there is news at once.
    fn told(news: &mut News) -> bool {
        let next = std::pin::pin!(news.next());
        matches!(next.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(true))
    }

    #[test]
    fn subscribers_are_told_of_faults_and_of_calls_that_hang_and_not_of_opens() {
        let journal = Journal::new();
        let did = |did| Report::access(SystemTime::UNIX_EPOCH, Access::example(did));
        let opened = || did(Did::Opened(Way::Opened));
        let stalled = || did(Did::Stalled { call: Call::Close, inside: Duration::from_secs(30) });
        let what = What::Xid {
            pci: None,
            code: 79,
            instance: MigInstance::default(),
            message: Bytes::new(),
        };
        let xid = Report { source: Source::Nvml, what, origin: Origin::Kernel, ..opened() };
        journal.append(opened());
        assert!(!told(&mut News::from_the_start(&journal)));
        let mut news = News::of(&journal);
        for (report, tells) in
            [(opened(), false), (stalled(), true), (opened(), false), (xid, true)]
        {
            journal.append(report);
            assert_eq!((told(&mut news), told(&mut news)), (tells, false));
        }
        // A burst is told once, also to somebody who comes after it.
        journal.append(opened());
        journal.append(stalled());
        journal.append(stalled());
        for mut news in [news, News::from_the_start(&journal)] {
            assert_eq!((told(&mut news), told(&mut news)), (true, false));
        }
        assert!(!told(&mut News::of(&journal)));
    }

    #[test]
    fn a_uri_that_is_not_spelled_as_the_template_expands_is_refused() {
        let parsed = |uri: &str| Uri::parse(uri).ok();
        assert_eq!(parsed("gpu://xid/79"), Some(Uri::Code(Kind::Xid, 79)));
        assert_eq!(parsed("gpu://sxid/20034"), Some(Uri::Code(Kind::Sxid, 20034)));
        for uri in [
            "gpu://xid/",
            "gpu://xid/079",
            "gpu://xid/+79",
            "gpu://xid/79/",
            "gpu://xid/79?x=1",
            "gpu://xid/-1",
            "gpu://xid/4294967296",
            "GPU://xid/79",
            "gpu://xid/%37%39",
            "gpu://xid/{code}",
            "gpu://xid",
            "",
        ] {
            assert_eq!(parsed(uri), None, "{uri}");
        }
    }
}
