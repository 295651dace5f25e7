//! JSON Schemas: of the input files from the declarations that read them, of `--json` from the structures that are written.

use super::input::ScenarioInput;
use crate::diag::Decode;
use crate::fabric::TopologyInput;
use crate::kernels::ProfileFile;
use crate::metrics::Outcome;
use serde_json::{Value as Json, json};

/// The schema of a kind: `scenario`, `topology`, `profile` or `output`; `None` for other words.
#[must_use]
pub fn schema(kind: &str) -> Option<Json> {
    let (title, body) = match kind {
        "scenario" => ("Orrery scenario", ScenarioInput::describe()),
        "output" => return serde_json::to_value(schemars::schema_for!(Outcome)).ok(),
        "topology" => ("Orrery topology", TopologyInput::describe()),
        "profile" => ("Orrery kernel profile", ProfileFile::describe()),
        _ => return None,
    };
    let mut out = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
    if let (Some(out), Json::Object(body)) = (out.as_object_mut(), body) {
        out.extend(body);
    }
    Some(out)
}
