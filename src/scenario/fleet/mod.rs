//! Fleets: nodes, jobs, teams and policies of `[fleet]`, and from there to an outcome.

mod check;
mod input;
mod jobs;
mod kubernetes;
mod link;
mod outages;
mod pools;
mod regions;
mod run;
mod services;
mod traced;

pub(super) use check::fleet_job;
pub use input::{FleetInput, JobInput, MaintenanceInput, PolicyInput, PoolInput, ServiceInput, TeamInput};
pub use run::FleetJob;
pub(super) use run::run;
