//! Training: parallel layouts and schedules lowered to a task graph, memory, and one step's time.
//!
//! A framework is a [`Stack`]: data that says how many kernels a layer launches, how many bytes its element-wise
//! kernels move, what it overlaps and how it splits layers over stages. `layer` gives the time of one pass through a
//! layer, `stages` and `schedule` say who computes what in which order, `lower` turns that into tasks and routes, and
//! `step` lets `simulate` run them, long ones in part (`repeat`). Memory is counted along the same schedule.

mod beyond;
mod config;
mod context;
mod cost;
mod data;
mod eager;
mod exchange;
mod experts;
mod export;
mod layer;
mod lower;
mod memory;
mod mixers;
mod network;
mod offload;
mod pass;
mod place;
mod products;
mod recompute;
mod repeat;
mod routes;
mod schedule;
mod sequence;
mod stack;
mod stages;
mod state;
mod step;
mod together;
mod two_chunks;
mod variants;
mod weights;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use config::{Attention, Config, Parallel, Precision, Recompute, Sharding, Uneven};
pub use cost::{PassCost, Passes};
pub use data::{OPTIMIZER_FIXED, update_bytes};
pub use experts::{Dispatcher, ExpertStack, GraphScope, expert_stacks};
pub use memory::{MemoryPlan, advice, stage_memory};
pub use offload::{Offload, Shelf};
pub use repeat::Repeat;
pub use schedule::{Messages, Op, Pass, Placement, Schedule, program, program_of};
pub use stack::{ContextExchange, DataSync, Framework, PipelineComm, Selective, Split, Stack, stacks};
pub use stages::{SplitError, split};
pub use state::{Shard, readers, shards};
pub use step::{Step, StepError, simulate_step, simulate_step_beside, simulate_step_folded, simulate_step_with, trace_step};
pub use together::{Member, step_alone, steps_together};
pub use variants::{Folding, Pace, Variant};
