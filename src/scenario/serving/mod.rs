//! Serving scenarios: their keys, their checks, their runs.

mod beside;
mod check;
mod fleet;
mod fleet_input;
mod input;
mod run;
mod traffic;
mod unit;

pub use input::{ServingInput, SpreadInput};
pub use run::{Goals, ServingJob, Source};

pub(super) use check::serving_job;
pub(super) use run::run;
pub(super) use unit::{Replica, batch_seconds, one_replica};
