//! Scenarios: TOML of every kind to checked input for the rooms below, and the one way from there to an outcome.

mod check;
mod execute;
mod input;
mod load;
mod schema;

pub use execute::{Failure, collectives, execute};
pub use input::{CollectiveInput, CostInput, Framework, ParallelInput, RunInput, ScenarioInput, TrainingInput};
pub use load::{Job, Scenario, load, load_text, load_topology};
pub use schema::schema;
