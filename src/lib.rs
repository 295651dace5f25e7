//! Orrery: a discrete-event simulator and capacity planner for AI clusters.

pub mod diag;
pub mod hardware;
pub mod ids;
pub mod metrics;
pub mod units;
