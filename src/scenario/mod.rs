//! Scenarios: TOML of every kind to checked input for the rooms below, and the one way from there to an outcome.

mod base;
mod check;
mod collective;
mod execute;
mod input;
mod load;
mod schema;
mod trace;
mod training;

pub use base::{Base, Built, Change};
pub use collective::{Beside, Moves, Sweep, run_sweep, sizes};
pub use execute::{Failure, constants_of, execute, export};
pub use input::{
    AstraInput, BesideInput, CollectiveInput, CostInput, ParallelInput, RunInput, ScenarioInput, TraceFormat, TraceInput, TrainingInput,
};
pub use load::{Job, Scenario, load, load_text, load_topology};
pub use schema::schema;
pub use trace::TraceJob;
