//! Orrery: a discrete-event simulator and capacity planner for AI clusters.
//!
//! One way through: a TOML file becomes a checked [`scenario`], the scenario a [`fabric`] and a workload, the workload runs in
//! [`simulate`], and [`metrics`] and [`economics`] turn what happened into an outcome that [`report`] writes. Rooms are listed
//! in `ARCHITECTURE.md`, lowest first; a room imports only lower ones.

pub mod calibrate;
pub mod cli;
pub mod collectives;
pub mod diag;
pub mod economics;
pub mod engine;
pub mod fabric;
pub mod fair;
pub mod fleet;
pub mod hardware;
pub mod ids;
pub mod kernels;
pub mod measured;
pub mod metrics;
pub mod model;
pub mod operations;
pub mod plan;
pub mod probe;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod serving;
pub mod simulate;
pub mod storage;
pub mod tables;
pub mod training;
pub mod units;
pub mod validate;
pub mod workload;
