//! Orrery: a discrete-event simulator and capacity planner for AI clusters.

pub mod ids;
pub mod units;
