//! How a tool is made known to MCP: one type a tool, its input and its answer described by their own types.
//!
//! An answer goes out twice, as `structuredContent` that obeys the tool's `outputSchema` and as a text that a person can
//! read. A refusal is a tool error (`isError`) whose text says what happened and what to do next.

use std::{borrow::Cow, future::Future, pin::Pin, sync::Arc};

use super::{schema, stdio::Closing};
use crate::{
    gpu::GpuError,
    node::{AccessMode, Node},
};
use rmcp::{
    RoleServer,
    handler::server::common::{schema_for_input, schema_for_output},
    model::{CallToolResult, ContentBlock, JsonObject, Tool as Described, ToolAnnotations},
    schemars::JsonSchema,
    service::RequestContext,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// One tool. Everything here only reads: the annotations say so for all.
pub trait Tool: 'static {
    const NAME: &'static str;
    const TITLE: &'static str;
    /// What a model reads to decide whether to call it, and how.
    const DESCRIPTION: &'static str;
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    type Answer: Answer;

    fn call(
        node: &Node,
        input: Self::Input,
        call: &Call,
    ) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;
}

/// What a tool answers.
pub trait Answer: Serialize + JsonSchema + Send + 'static {
    /// The answer for a person, some lines long.
    fn text(&self) -> String;
}

/// What belongs to one call and not to the tool.
#[derive(Debug)]
pub struct Call {
    /// The client's progress token, cancellation, and the way to it.
    pub context: RequestContext<RoleServer>,
    /// What the session's tools may do.
    pub access: AccessMode,
    /// Completes when the client has closed its end.
    pub closing: Closing,
}

/// Why a tool does not answer.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub what: String,
    pub next: String,
}

impl From<GpuError> for Refusal {
    fn from(error: GpuError) -> Self {
        Self { next: error.remedy(), what: error.to_string() }
    }
}

/// A call under way.
type Answering = Pin<Box<dyn Future<Output = CallToolResult> + Send>>;

/// A tool with its types erased.
#[derive(Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub describe: fn() -> Result<Described, String>,
    pub call: fn(Arc<Node>, JsonObject, Call) -> Answering,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Entry {
    #[must_use]
    pub fn of<T: Tool>() -> Self {
        Self {
            name: T::NAME,
            describe: describe::<T>,
            call: |node, input, call| Box::pin(answer::<T>(node, input, call)),
        }
    }
}

fn describe<T: Tool>() -> Result<Described, String> {
    let annotations = ToolAnnotations::with_title(T::TITLE)
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false);
    let input = schema::of_input(&*schema_for_input::<T::Input>()?);
    Ok(Described::new(T::NAME, Cow::Borrowed(T::DESCRIPTION), input)
        .with_title(T::TITLE)
        .with_raw_output_schema(schema::of_output(&schema_for_output::<T::Answer>()))
        .with_annotations(annotations))
}

async fn answer<T: Tool>(node: Arc<Node>, input: JsonObject, call: Call) -> CallToolResult {
    let input = match serde_path_to_error::deserialize::<_, T::Input>(Value::Object(input)) {
        Ok(input) => input,
        Err(error) => {
            let next = format!("tools/list has the inputSchema of {}.", T::NAME);
            return refused(
                &node,
                &Refusal {
                    what: format!("the arguments of {} do not fit: {error}", T::NAME),
                    next,
                },
            );
        }
    };
    let answer = match T::call(&node, input, &call).await {
        Ok(answer) => answer,
        Err(refusal) => return refused(&node, &refusal),
    };
    match serde_json::to_value(&answer) {
        Ok(value) => {
            let mut result = CallToolResult::success(vec![text(&node, &answer.text())]);
            result.structured_content = Some(value);
            result
        }
        Err(error) => {
            let next = "Report this: it is a bug of the agent.".to_owned();
            refused(
                &node,
                &Refusal { what: format!("the answer cannot be written as JSON: {error}"), next },
            )
        }
    }
}

fn refused(node: &Node, refusal: &Refusal) -> CallToolResult {
    CallToolResult::error(vec![text(node, &format!("{}\nNext: {}", refusal.what, refusal.next))])
}

/// A text, marked where the GPUs it speaks of do not exist.
fn text(node: &Node, text: &str) -> ContentBlock {
    if node.gpu.simulated() {
        ContentBlock::text(format!(
            "SIMULATED GPUs (--nvml-mode simulated; simulated: true): no figure is of real hardware.\n{text}"
        ))
    } else {
        ContentBlock::text(text)
    }
}
