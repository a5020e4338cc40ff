//! The schemas of tools, without what tells nobody anything: `tools/list` is read by models, and has nine tools' answers.

use std::sync::Arc;

use rmcp::{
    model::JsonObject,
    schemars::{
        Schema,
        transform::{RecursiveTransform, Transform},
    },
};
use serde_json::Value;

/// The schema of arguments: without the sizes of Rust's numbers, which are no formats of JSON Schema; some clients warn of each.
pub fn of_input(schema: &JsonObject) -> Arc<JsonObject> {
    without(schema, |schema| drop(schema.remove("format")))
}

/// The schema of an answer: beside these without saying of each count that it is not negative.
pub fn of_output(schema: &JsonObject) -> Arc<JsonObject> {
    without(schema, |schema| {
        schema.remove("format");
        if schema.get("minimum").and_then(Value::as_u64) == Some(0) {
            schema.remove("minimum");
        }
    })
}

fn without(schema: &JsonObject, remove: impl FnMut(&mut Schema)) -> Arc<JsonObject> {
    let mut schema = Schema::from(schema.clone());
    RecursiveTransform(remove).transform(&mut schema);
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rmcp::{
        handler::server::common::schema_for_output,
        schemars::{self, JsonSchema},
    };
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema, serde::Serialize)]
    struct Counted {
        /// How many.
        format: Option<u32>,
        #[schemars(range(min = 0, max = 9))]
        minimum: u64,
        signed: Vec<i32>,
    }

    #[test]
    fn sizes_of_numbers_go_and_all_else_stays() {
        let whole = schema_for_output::<Counted>();
        let output = of_output(&whole);
        let expected = json!({
            "format": {"description": "How many.", "type": ["integer", "null"]},
            "minimum": {"type": "integer", "maximum": 9},
            "signed": {"type": "array", "items": {"type": "integer"}},
        });
        assert_eq!(output["properties"], expected);
        assert_eq!(output["required"], json!(["format", "minimum", "signed"]));
        assert_eq!(of_input(&whole)["properties"]["minimum"]["minimum"], 0);
    }
}
