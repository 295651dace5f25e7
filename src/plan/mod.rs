//! Many scenarios: sweeps over any keys, in shards and over crashes.
//!
//! A sweep is a rule that gives the scenario of every index (`design`), what is kept of an outcome (`columns`), and files that
//! survive a kill at any moment (`store`). Everything runs through `scenario::Base` and `scenario::execute`.

mod columns;
mod design;
mod input;
mod jobs;
mod store;
mod sweep;

#[cfg(test)]
mod tests;

pub use input::{AnyValue, AxisInput, Design, Scale, SweepInput};
pub use jobs::job_files;
pub use store::{Collected, Manifest, Part, StoreError, collect};
pub use sweep::{Row, Sweep, load_sweep};

use crate::diag::Decode;
use serde_json::{Value as Json, json};

/// The schema of a kind of file that this room reads or writes; `None` for other words.
#[must_use]
pub fn schema(kind: &str) -> Option<Json> {
    let (title, body) = match kind {
        "sweep" => ("Orrery sweep", SweepInput::describe()),
        _ => return None,
    };
    let mut out = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
    if let (Some(out), Json::Object(body)) = (out.as_object_mut(), body) {
        out.extend(body);
    }
    Some(out)
}
