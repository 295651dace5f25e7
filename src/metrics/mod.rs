//! Numbers out of a simulation: the outcome of a scenario as data, from step time to cost, with what reports draw.

mod outcome;
mod training;
mod uncertainty;

pub use outcome::{
    Band, BreakdownSeconds, CollectiveOutcome, CostOutcome, Detail, Fact, FlowTimes, Identity, LinkUse, MemoryBytes, Outcome, ProfileUse,
    RunOutcome, SimulationOutcome, Slice, SliceKind, StageMemory, TrainingOutcome,
};
pub use training::training_outcome;
