//! JSON Schemas of the input files, made from the same declarations that read them.

use super::input::ScenarioInput;
use crate::diag::Decode;
use crate::fabric::TopologyInput;
use serde_json::{Value as Json, json};

/// The schema of a kind of file: `scenario` or `topology`; `None` for other words.
#[must_use]
pub fn schema(kind: &str) -> Option<Json> {
    let (title, body) = match kind {
        "scenario" => ("Orrery scenario", ScenarioInput::describe()),
        "topology" => ("Orrery topology", TopologyInput::describe()),
        _ => return None,
    };
    let mut out = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
    if let (Some(out), Json::Object(body)) = (out.as_object_mut(), body) {
        out.extend(body);
    }
    Some(out)
}
