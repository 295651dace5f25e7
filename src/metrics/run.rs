//! The outcome of a whole run and of the feeding of data: the keys of `--json` (units are in the names).

use schemars::JsonSchema;
use serde::Serialize;

/// The whole run; over several seeds means.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunOutcome {
    /// Optimizer steps.
    pub steps: f64,
    /// Tokens.
    pub tokens: f64,
    /// FLOPs that the model needs for all steps.
    pub model_flops: f64,
    /// Wall time in days.
    pub days: f64,
    /// Share of the wall time that goes into steps that count, without their stalls (ETTR).
    pub training_goodput: f64,
    /// Failures that stopped the run; planned stops apart.
    pub failures: f64,
    /// Wall time that was lost.
    pub lost_s: f64,
    /// 5th percentiles over seeds, each number by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p5: Option<RunNumbers>,
    /// Medians.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<RunNumbers>,
    /// 95th percentiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<RunNumbers>,
    /// Where the lost time goes; sums to `lost_s`.
    pub losses_s: LossSeconds,
    /// Runs under different draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<u64>,
    /// Runs that did not come to their end within a hundred times the length of their steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<u64>,
    /// Mean time between failures that stop the job, by the rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mttf_h: Option<f64>,
    /// Failures by cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<CauseOutcome>,
    /// Checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointOutcome>,
    /// Goodput over the checkpoint interval.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<IntervalOutcome>,
    /// What a change of one thing would buy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitivity: Vec<SensitivityOutcome>,
}

/// The numbers of a run that differ between seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct RunNumbers {
    /// Wall time in days.
    pub days: f64,
    /// Share of the wall time that goes into steps that count.
    pub training_goodput: f64,
    /// Failures that stopped the run.
    pub failures: f64,
    /// Wall time that was lost.
    pub lost_s: f64,
}

/// Where the wall time of a run is lost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct LossSeconds {
    /// Blocked or slowed by checkpoints.
    pub checkpoint: f64,
    /// Steps that had to be done again.
    pub lost_work: f64,
    /// Until failures were noticed.
    pub detection: f64,
    /// Swapping nodes, scheduling, starting, warming up.
    pub restart: f64,
    /// Reading checkpoints back.
    pub restore: f64,
    /// No spare node was left.
    pub no_spare: f64,
    /// Slow accelerators.
    pub straggler: f64,
    /// The job hung and went on.
    pub pause: f64,
    /// Planned stops.
    pub maintenance: f64,
    /// Steps waited for input data.
    pub data_stall: f64,
}

impl LossSeconds {
    /// The parts with their names.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, f64); 10] {
        [
            ("checkpoint", self.checkpoint),
            ("lost_work", self.lost_work),
            ("detection", self.detection),
            ("restart", self.restart),
            ("restore", self.restore),
            ("no_spare", self.no_spare),
            ("straggler", self.straggler),
            ("pause", self.pause),
            ("maintenance", self.maintenance),
            ("data_stall", self.data_stall),
        ]
    }
}

/// Failures of one cause.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CauseOutcome {
    /// Name of the class.
    pub name: String,
    /// What it does: stop, slow, pause, corrupt, planned.
    pub effect: &'static str,
    /// How many in a run.
    pub failures: f64,
}

/// Checkpoints of a run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CheckpointOutcome {
    /// Bytes of one.
    pub bytes: f64,
    /// Bytes of the largest shard of a rank.
    pub largest_shard_bytes: f64,
    /// Work between two.
    pub interval_s: f64,
    /// Steps between two.
    pub interval_steps: u64,
    /// Young's interval for the same save and failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub young_s: Option<f64>,
    /// Daly's interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daly_s: Option<f64>,
    /// How long one blocks the job.
    pub block_s: f64,
    /// The copy to host memory in it.
    pub copy_s: f64,
    /// How much the traffic of one slows the steps beside it.
    pub slowdown_s: f64,
    /// How many are taken in a run.
    pub count: f64,
    /// Most work lost at once (recovery point), mean over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_s: Option<f64>,
    /// Longest way back to training (recovery time), mean over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_s: Option<f64>,
    /// Places.
    pub levels: Vec<LevelOutcome>,
}

/// A place where checkpoints are kept.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LevelOutcome {
    /// Name.
    pub name: String,
    /// Every how manyth goes there.
    pub every: u64,
    /// Time of a write by itself.
    pub write_s: f64,
    /// Its rate.
    pub write_bytes_per_s: f64,
    /// What sets the rate.
    pub bottleneck: &'static str,
    /// Time to come back from it.
    pub restore_s: f64,
    /// Bytes that are read to come back.
    pub restore_bytes: f64,
    /// Bytes that it holds with all that are kept.
    pub stored_bytes: f64,
    /// Whether the place is large enough for that.
    pub fits: bool,
    /// The worst failure that it survives: process, node, domain.
    pub survives: &'static str,
}

/// Goodput at one checkpoint interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct IntervalOutcome {
    /// Work between two checkpoints.
    pub interval_s: f64,
    /// Simulated mean goodput.
    pub training_goodput: f64,
    /// Of the exact formula for exponential failures with the mean recovery.
    pub exact_goodput: f64,
}

/// What a change of one thing would buy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SensitivityOutcome {
    /// The change.
    pub change: String,
    /// Wall days with it.
    pub days: f64,
    /// Goodput with it.
    pub training_goodput: f64,
    /// Days that it saves.
    pub saved_days: f64,
    /// Money that it saves, where a price is known.
    pub saved_usd: f64,
}

/// The feeding of data.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StorageOutcome {
    /// Name of the tier.
    pub tier: String,
    /// Hosts that read.
    pub hosts: u64,
    /// Accelerators that read.
    pub accelerators: u64,
    /// Share of the time in which accelerators compute, the first step left out.
    pub accelerator_utilization: f64,
    /// Samples per second of all hosts, the first wait included.
    pub samples_per_s: f64,
    /// The same in bytes.
    pub bytes_per_s: f64,
    /// Bytes per second that all hosts ask for when nothing waits.
    pub demand_bytes_per_s: f64,
    /// Bytes per second that the tier gives to all hosts reading at once.
    pub supply_bytes_per_s: f64,
    /// Time until the first step began: the workers fill their batches.
    pub first_step_s: f64,
    /// Mean time from step to step.
    pub step_s: f64,
    /// Compute of a step.
    pub compute_s: f64,
    /// Mean wait for data of a step.
    pub data_wait_s: f64,
    /// Accelerators of one host that stay above the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sustained_per_host: Option<u64>,
    /// The target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_utilization: Option<f64>,
    /// Utilisation over the accelerators of one host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<UtilizationPoint>,
    /// Share of reads that host memory serves after the first epoch.
    pub cached_share: f64,
}

/// Utilisation at one count of accelerators on a host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct UtilizationPoint {
    /// Accelerators of one host.
    pub accelerators: u64,
    /// Share of the time in which they compute.
    pub utilization: f64,
}

/// A piece of a run's time, for the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSegment {
    /// Start, seconds.
    pub start_s: f64,
    /// End, seconds.
    pub end_s: f64,
    /// Name of the loss; `None`: training.
    pub loss: Option<&'static str>,
}
