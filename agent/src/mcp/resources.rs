//! Resources: `gpu://events`, the newest events as JSON, which clients can subscribe to.

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceContents, ResourceUpdatedNotificationParam},
};

use tokio::sync::watch;

use super::tools::event::EventAnswer;
use crate::{event::Filter, node::Node};

/// The events of this node.
pub const EVENTS: &str = "gpu://events";
/// How many of the newest events a read returns; `watch_gpu_events` pages through all.
const NEWEST: u64 = 20;

pub fn events() -> Resource {
    Resource::new(EVENTS, "events")
        .with_title("GPU events of this node")
        .with_description(
            "The newest 20 events (Xid, SXid, bus loss, …), oldest first. Subscribe to be told of new ones; read all with watch_gpu_events.",
        )
        .with_mime_type("application/json")
}

pub fn known(uri: &str) -> Result<(), ErrorData> {
    if uri == EVENTS {
        return Ok(());
    }
    let text = format!("no resource {:?}; there is {EVENTS}", super::render::bounded(uri, 128));
    Err(ErrorData::resource_not_found(text, None))
}

pub fn read(node: &Node, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    known(uri)?;
    let mut from = node.journal.end();
    from.seq = from.seq.saturating_sub(NEWEST);
    let page = node.journal.read(from, &Filter::default(), usize::MAX);
    let events: Vec<EventAnswer> =
        page.events.iter().filter_map(|event| EventAnswer::of(event)).collect();
    let body = serde_json::json!({
        "simulated": node.gpu.simulated(),
        "events": events,
        "next_cursor": page.next.to_string(),
    });
    let contents =
        ResourceContents::text(body.to_string(), EVENTS).with_mime_type("application/json");
    Ok(ReadResourceResult::new(vec![contents]))
}

pub fn updated() -> ResourceUpdatedNotificationParam {
    ResourceUpdatedNotificationParam::new(EVENTS)
}

/// News of the events. A burst is told once: the client reads what is there.
#[derive(Debug)]
pub struct News(watch::Receiver<u64>);

impl News {
    pub fn of(node: &Node) -> Self {
        let mut newest = node.journal.watch();
        newest.mark_unchanged();
        Self(newest)
    }

    /// Makes the next wait return without waiting.
    pub fn tell_at_once(&mut self) {
        self.0.mark_changed();
    }

    /// Waits for the next; false when there can be none any more.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
