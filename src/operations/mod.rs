//! The run, not only the step: failures, checkpoints, restarts and the feeding of data, over the result of one simulated step.
//!
//! A run is events over counted steps: between two failures nothing is simulated one by one, so months of a large job take
//! microseconds and thousands of seeds take seconds. What a checkpoint costs comes from flows over the fabric (`checkpoint`), what
//! fails and how often from tables with sources (`failure`), what happens then from `process`; `ensemble` runs many seeds side by side,
//! `interval` searches the best interval and knows the closed forms, `loading` simulates readers, prefetch and barriers.

mod checkpoint;
mod come_back;
mod draw;
mod ensemble;
mod failure;
mod interval;
mod loading;
mod plan;
mod process;
mod repair;
mod saved;

#[cfg(test)]
mod feed_tests;
#[cfg(test)]
mod tests;

pub use checkpoint::{CheckpointCost, CheckpointPlan, Incremental, LevelCost, LevelPlan, Mode, Place, checkpoint_cost, reshard_cost};
pub use draw::{Arrivals, normal, uniform};
pub use ensemble::{Ensemble, Spread, ensemble};
pub use failure::{
    Class, Component, Counts, Effect, EffectKind, FailureClassInput, FailurePreset, Lemons, Loses, domain_nodes, failure_presets, rate_of,
};
pub use interval::{SweepPoint, best_interval, daly, exact_efficiency, sweep, young};
pub use loading::{Feed, FeedPlan, Host, Order, feed_host, kept_rate, request_of, supply, sustained};
pub use plan::{LOSSES, Level, Loss, Objective, Recovery, RunPlan, RunResult, Segment, Spares};
pub use process::run_once;
