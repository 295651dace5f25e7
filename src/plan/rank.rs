//! Where a layout stands among all legal layouts of its job: how many of them the simulation finds faster.

use super::load::Plan;
use super::question::Objective;
use super::search::{Want, Work};
use super::space::Layout;
use serde::Serialize;

/// The place of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rank {
    /// Legal layouts that fit by the bound of memory.
    pub legal: u64,
    /// Of those: simulated faster steps that fit.
    pub faster: u64,
    /// Its own step, seconds.
    pub step_time_s: f64,
    /// The fastest step, seconds.
    pub best_step_time_s: f64,
}

impl Rank {
    /// Share of the layouts that are faster.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.faster as f64 / self.legal.max(1) as f64
    }
}

/// Ranks a layout on the first cluster of a plan for training; `None` where it does not run there. What bounds show to be slower is not
/// simulated.
#[must_use]
pub fn rank(plan: &Plan, of: &dyn Fn(&Layout) -> bool) -> Option<Rank> {
    let Plan::Training(plan) = plan else { return None };
    let (cluster, layouts) = plan.clusters.first()?;
    let want = Want { objective: Objective::Time, within: None, budget: None, exhaustive: false };
    Work { base: &plan.base, place: plan.place, layouts }.rank(cluster, &want, of)
}
