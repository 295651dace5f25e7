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
    pub losses_s: LossParts,
    /// What the lost time costs, where a price is known; with `useful_usd` the whole cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses_usd: Option<LossParts>,
    /// Cost of the steps that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub useful_usd: Option<f64>,
    /// Energy of the lost time; accelerators are idle while the job is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses_kwh: Option<LossParts>,
    /// Energy of the steps that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub useful_kwh: Option<f64>,
    /// The day on which the run ends, in the mean over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finishes_on: Option<String>,
    /// Recovery point and recovery time by what is lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<RecoveryOutcome>,
    /// How much longer steps take with fewer replicas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shrunk: Vec<ShrunkOutcome>,
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

/// What the loss of something costs at most, by the plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RecoveryOutcome {
    /// What is lost: process, node, domain, region.
    pub loses: &'static str,
    /// The place whose checkpoint is read; absent: none survives, and the run begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Most time whose work is lost (recovery point objective).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_s: Option<f64>,
    /// Time until the job trains again with a spare node and nothing else failing (recovery time objective).
    pub rto_s: f64,
}

/// Steps with fewer replicas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct ShrunkOutcome {
    /// The fewest missing nodes that lead there.
    pub missing_nodes: u64,
    /// Time of the same work over that of the whole job.
    pub time_factor: f64,
}

/// Reading a checkpoint onto another layout.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReshardOutcome {
    /// Tensor-parallel degree.
    pub tensor: u64,
    /// Pipeline stages.
    pub pipeline: u64,
    /// Replicas.
    pub data: u64,
    /// What it takes from each place.
    pub levels: Vec<ReshardLevel>,
}

/// Reading a checkpoint onto another layout from one place.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReshardLevel {
    /// The place.
    pub name: String,
    /// Bytes that are read.
    pub read_bytes: f64,
    /// Time of it.
    pub restore_s: f64,
}

/// Something of a run by what is lost: seconds, dollars, kilowatt-hours.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct LossParts {
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
    /// No spare node was left, or the region was down.
    pub no_spare: f64,
    /// Slow accelerators.
    pub straggler: f64,
    /// The job hung and went on.
    pub pause: f64,
    /// Planned stops.
    pub maintenance: f64,
    /// Steps waited for input data.
    pub data_stall: f64,
    /// The job went on with fewer replicas.
    pub shrunk: f64,
}

impl LossParts {
    /// From a value for each name.
    #[must_use]
    pub fn of(value: impl Fn(&str) -> f64) -> Self {
        Self {
            checkpoint: value("checkpoint"),
            lost_work: value("lost_work"),
            detection: value("detection"),
            restart: value("restart"),
            restore: value("restore"),
            no_spare: value("no_spare"),
            straggler: value("straggler"),
            pause: value("pause"),
            maintenance: value("maintenance"),
            data_stall: value("data_stall"),
            shrunk: value("shrunk"),
        }
    }
    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.parts().iter().find(|p| p.0 == name).map_or(0.0, |p| p.1)
    }
    /// Whether accelerators do nothing meanwhile.
    #[must_use]
    pub fn is_idle(name: &str) -> bool {
        matches!(name, "detection" | "restart" | "restore" | "no_spare" | "pause" | "maintenance")
    }
    /// The parts with their names.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, f64); 11] {
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
            ("shrunk", self.shrunk),
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
    /// Bytes of a write over those of a whole checkpoint, where not all are whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_share: Option<f64>,
    /// Places.
    pub levels: Vec<LevelOutcome>,
    /// Reading onto another layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reshard: Option<ReshardOutcome>,
}

/// A place where checkpoints are kept.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LevelOutcome {
    /// Name.
    pub name: String,
    /// Every how manyth goes there.
    pub every: u64,
    /// The place that it is copied from; absent: the nodes write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
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
    /// The worst failure that it survives: process, node, domain, region.
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
    /// What reading adds to a step on links that its collectives load too.
    pub contention_s: f64,
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
