//! Numbers out of a simulation: the outcome of a scenario as data, from step time to cost, with what reports draw.

mod detail;
mod fleet;
mod outcome;
mod run;
mod serving;
mod serving_models;
mod trace;
mod training;
mod uncertainty;

pub use detail::{Detail, Fact, LinkUse, ProfileUse, Slice, SliceKind, SliceName, StageMemory, TraceRank};
pub use fleet::{
    ClassOutcome, Course, FleetDetail, FleetNumbers, FleetOutcome, JobRow, LinkOutcome, PipelineOutcome, PolicyOutcome, RollOutcome,
    ServiceOutcome, StepOutcome, TeamOutcome, fleet_groups, fleet_numbers, fleet_pipelines, fleet_services,
};
pub use outcome::{
    Band, BreakdownSeconds, CollectiveOutcome, CostOutcome, Filled, FlowTimes, Identity, MemoryBytes, Outcome, SimulationOutcome,
    TraceCommunication, TraceOutcome, TrainingOutcome,
};
pub use run::{
    CauseOutcome, CheckpointOutcome, IntervalOutcome, LevelOutcome, LossParts, RecoveryOutcome, ReshardLevel, ReshardOutcome, RunNumbers,
    RunOutcome, RunSegment, SensitivityOutcome, ShrunkOutcome, StorageOutcome, UtilizationPoint,
};
pub use serving::{Counted, Percentiles, RequestRow, ServingDetail, ServingFrame, ServingOutcome, serving_outcome};
pub use serving_models::ModelOutcome;
pub use trace::trace_outcome;
pub use training::{step_interval, training_outcome};
