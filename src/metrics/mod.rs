//! Numbers out of a simulation: the outcome of a scenario as data, from step time to cost, with what reports draw.

mod detail;
mod fleet;
mod outcome;
mod percentiles;
mod regions;
mod run;
mod services;
mod serving;
mod serving_facts;
mod serving_models;
mod timeline;
mod trace;
mod training;
mod training_facts;
mod uncertainty;

pub use detail::{Detail, Fact, LinkUse, ProfileUse, StageMemory, TraceRank};
pub use fleet::{
    ClassOutcome, ClassScenario, Course, FleetDetail, FleetNumbers, FleetOutcome, JobRow, LinkOutcome, PipelineOutcome, PolicyOutcome,
    StepOutcome, TeamOutcome, fleet_groups, fleet_numbers, fleet_pipelines,
};
pub use outcome::{
    Band, BreakdownSeconds, CollectiveOutcome, CostOutcome, Filled, FlowTimes, Identity, MemoryBytes, Outcome, SimulationOutcome,
    TraceCommunication, TraceOutcome, TrainingOutcome,
};
pub use percentiles::Percentiles;
pub use regions::{FailoverOutcome, RecoveryClass, RegionLossOutcome, RegionsOutcome, fleet_regions};
pub use run::{
    CauseOutcome, CheckpointOutcome, IntervalOutcome, LevelOutcome, LossParts, RecoveryOutcome, ReshardLevel, ReshardOutcome, RunNumbers,
    RunOutcome, RunSegment, SensitivityOutcome, ShrunkOutcome, StorageOutcome, UtilizationPoint,
};
pub use services::{LoadOutcome, ReplicaOutcome, RollOutcome, ServiceOutcome, fleet_services};
pub use serving::{Counted, RequestRow, ServingDetail, ServingFrame, ServingOutcome, serving_outcome};
pub use serving_models::ModelOutcome;
pub use timeline::{Slice, SliceKind, SliceName, Timeline};
pub use trace::trace_outcome;
pub use training::{step_interval, training_outcome};
