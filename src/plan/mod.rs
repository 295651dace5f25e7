//! Many scenarios: sweeps over any keys, in shards and over crashes; plans that search what to buy and how to use it.
//!
//! A sweep is a rule that gives the scenario of every index (`design`), what is kept of an outcome (`columns`), and files that
//! survive a kill at any moment (`store`). A plan (`question`, `load`) spans a `space` of clusters and layouts, which `search` walks
//! with lower `bound`s, `answer` says what came of it (`outcome` as data) and
//! `obstacles` what stood in the way. Everything runs through `scenario::Base` and `scenario::execute`.

mod answer;
mod bound;
mod caveats;
mod columns;
pub mod compare;
mod design;
mod document;
mod input;
mod jobs;
mod keys;
mod load;
mod money;
mod obstacles;
mod outcome;
#[cfg(feature = "parquet")]
mod parquet;
mod question;
mod rank;
mod search;
mod serve;
mod site;
mod space;
mod store;
mod sweep;

#[cfg(test)]
mod tests;

pub use answer::{decide, decide_exhaustively};
pub use input::{AnyValue, AxisInput, Design, Scale, SweepInput};
pub use jobs::job_files;
pub use load::{Plan, TrainingPlan, load_plan};
pub use outcome::{
    Assumption, Bill, Binding, BreakEven, Choice, OptionRow, Phase, PlanOutcome, Purchases, RunnerUp, SearchCounts, Served, Service,
    SloRow, SpotLoss, Stage, StorageLine, Swing, Trained,
};
pub use question::{
    CandidateInput, DemandInput, DeploymentInput, GoalInput, GoalKind, LatencyInput, LayoutInput, Objective, PlanInput, SiteInput,
    SpotInput,
};
pub use rank::{Rank, rank};
pub use serve::ServePlan;
pub use space::Layout;
pub use store::{Collected, Manifest, Part, StoreError, collect};
pub use sweep::{Row, Sweep, load_sweep};

use crate::diag::Decode;
use serde_json::{Value as Json, json};

/// The schema of a kind of file that this room reads or writes; `None` for other words.
#[must_use]
pub fn schema(kind: &str) -> Option<Json> {
    let (title, body) = match kind {
        "plan" => ("Orrery plan", PlanInput::describe()),
        "plan-output" => return serde_json::to_value(schemars::schema_for!(PlanOutcome)).ok(),
        "sweep" => ("Orrery sweep", SweepInput::describe()),
        _ => return None,
    };
    let mut out = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
    if let (Some(out), Json::Object(body)) = (out.as_object_mut(), body) {
        out.extend(body);
    }
    Some(out)
}
