//! Task graphs over rank classes: compute and transfers with their dependencies.
//!
//! A *rank class* is a set of ranks that behave the same by symmetry; it is simulated once. A *route* is a set of
//! groups of ranks that communicate at the same time by symmetry; what it puts on the links is settled in the rooms
//! above. Streams are not a concept of their own: work that runs in order on one stream is chained by dependencies,
//! and the track only says where a timeline shows it. Where the order is not known beforehand, tasks take turns on a *lane*.

mod graph;
pub mod trace;

pub use graph::{ClassId, GraphBuilder, Hold, Label, LaneId, RouteId, Task, TaskGraph, TaskId, TaskKind, Track, Work};
