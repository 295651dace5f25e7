//! Scenarios: TOML of every kind to checked input for the rooms below, and the one way from there to an outcome.

mod base;
mod check;
mod checkpoint;
mod collective;
mod collective_check;
mod collective_input;
mod elastic;
mod execute;
mod failures;
mod feed;
mod fleet;
mod idle;
mod input;
mod load;
mod operations;
mod operations_input;
mod outline;
mod profile;
mod run;
mod run_outcome;
mod schema;
mod serving;
mod tokens;
mod trace;
mod trace_input;
mod training;
mod training_layout;
mod training_options;

pub use base::{Base, Built, Change, scenario_of, tree};
pub use collective::{Beside, Moves, Sweep, run_sweep, sizes};
pub use collective_input::{BesideInput, CollectiveInput, CongestionControl, CongestionInput, TokensInput};
pub use execute::{Failure, constants_of, execute, export};
pub use fleet::{FleetInput, FleetJob, JobInput, MaintenanceInput, PolicyInput, PoolInput, ServiceInput, TeamInput};
pub use input::{CostInput, ParallelInput, RunInput, ScenarioInput, TrainingInput};
pub use load::{Job, Scenario, load, load_text, load_topology};
pub use operations::{FailureClass, Failures, Operations, Reshard, StorageJob};
pub use operations_input::{
    CheckpointInput, CheckpointLevelInput, EmulateInput, FailuresInput, IncrementalInput, Interval, LemonInput, ReshardInput, StorageInput,
};
pub use outline::{Outline, TrainingOutline};
pub use profile::{check_profile, is_profile};
pub use schema::schema;
pub use serving::{Goals, ServingInput, ServingJob, Source, SpreadInput};
pub use tokens::routing_of;
pub use trace::TraceJob;
pub use trace_input::{AstraInput, TraceFormat, TraceInput};
