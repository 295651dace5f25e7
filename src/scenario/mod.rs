//! Scenarios: TOML of every kind to checked input for the rooms below, and the one way from there to an outcome.

mod base;
mod check;
mod collective;
mod execute;
mod failures;
mod feed;
mod input;
mod load;
mod operations;
mod operations_input;
mod profile;
mod run;
mod schema;
mod serving;
mod trace;
mod training;
mod training_options;

pub use base::{Base, Built, Change};
pub use collective::{Beside, Moves, Sweep, run_sweep, sizes};
pub use execute::{Failure, constants_of, execute, export};
pub use input::{
    AstraInput, BesideInput, CollectiveInput, CostInput, ParallelInput, RunInput, ScenarioInput, TraceFormat, TraceInput, TrainingInput,
};
pub use load::{Job, Scenario, load, load_text, load_topology};
pub use operations::{FailureClass, Failures, Operations, StorageJob};
pub use operations_input::{CheckpointInput, CheckpointLevelInput, EmulateInput, FailuresInput, Interval, LemonInput, StorageInput};
pub use profile::{check_profile, is_profile};
pub use schema::schema;
pub use serving::{Goals, ServingInput, ServingJob, Source, SpreadInput};
pub use trace::TraceJob;
