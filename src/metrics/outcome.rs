//! The outcome of one scenario: the keys of `--json` (units are in the names).

use super::detail::Detail;
use super::run::{RunOutcome, StorageOutcome};
use super::{FleetOutcome, ServingOutcome};
use schemars::JsonSchema;
use serde::Serialize;

/// Which program, seed and input gave this outcome.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Identity {
    /// Program version.
    pub version: String,
    /// Seed of all random streams.
    pub seed: u64,
    /// Hash of the scenario with everything that it includes and overrides.
    pub scenario_hash: String,
    /// Whether values of a stand-in, which no machine measured, entered; absent: none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
}

impl Identity {
    /// What every report says at its head where values of a stand-in entered.
    #[must_use]
    pub const fn banner(&self) -> Option<&'static str> {
        if self.synthetic {
            Some("SYNTHETIC: a profile with values that no machine measured was used. Do not plan with these figures.")
        } else {
            None
        }
    }
}

/// The outcome of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Outcome {
    /// Which program, seed and input.
    pub orrery: Identity,
    /// Title of the scenario.
    pub title: String,
    /// `training`, `serving`, `collective`, `trace`, `fleet` or `storage` (the object of that name is there).
    pub kind: &'static str,
    /// One training step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingOutcome>,
    /// The whole run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunOutcome>,
    /// The feeding of data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageOutcome>,
    /// Serving of a stream of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingOutcome>,
    /// Collectives by size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collective: Option<Vec<CollectiveOutcome>>,
    /// A trace that was replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceOutcome>,
    /// Many jobs on one cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetOutcome>,
    /// Money, energy, carbon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostOutcome>,
    /// What the simulation itself took.
    pub simulation: SimulationOutcome,
    /// What reports draw; not part of `--json`.
    #[serde(skip)]
    #[schemars(skip)]
    pub detail: Detail,
}

impl Outcome {
    /// What its cost is of.
    #[must_use]
    pub const fn priced(&self) -> &'static str {
        match (self.run.is_some(), self.serving.is_some(), self.fleet.is_some()) {
            (true, ..) => "Run",
            (_, true, _) => "All requests",
            (.., true) => "Fleet",
            _ => "One step",
        }
    }
}

/// One training step.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TrainingOutcome {
    /// Time of one optimizer step.
    pub step_time_s: f64,
    /// 10th percentile of it, from the residuals of the profile entries that served it.
    pub step_time_p10_s: f64,
    /// 90th percentile of it.
    pub step_time_p90_s: f64,
    /// Step times over all ways to run experts, where the scenario leaves that open; `step_time_s` is the middle one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_time_band_s: Option<Band>,
    /// Tokens per second of the whole cluster.
    pub tokens_per_s: f64,
    /// Tokens per second and accelerator.
    pub tokens_per_s_per_accelerator: f64,
    /// Sequences per second of the whole cluster.
    pub samples_per_s: f64,
    /// FLOPs of one step that the model needs (no recompute).
    pub model_flops_per_step: f64,
    /// Model FLOPs over peak FLOPs of the step time.
    pub mfu: f64,
    /// Executed FLOPs (with recompute) over peak FLOPs of the step time.
    pub hfu: f64,
    /// Share of the step in which the critical rank waits for other pipeline stages.
    pub bubble_fraction: f64,
    /// Where the step time goes on the critical rank; sums to `step_time_s`.
    pub breakdown_s: BreakdownSeconds,
    /// Communication that is hidden behind compute on the critical rank.
    pub hidden_comm_s: f64,
    /// Memory of the fullest accelerator at the moment of its peak.
    pub memory_bytes: MemoryBytes,
    /// Memory of the fullest host, where something of the job lies there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_memory_bytes: Option<Filled>,
    /// What lies on drives, of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drive_bytes: Option<Filled>,
    /// Whether it fits.
    pub fits: bool,
    /// What would help, where it does not fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
}

/// A place and what of it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Filled {
    /// Bytes that are taken.
    pub used: f64,
    /// Bytes that there are.
    pub capacity: f64,
}

impl Filled {
    /// Whether it is not overfull.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.used <= self.capacity
    }
}

/// A range of values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Band {
    /// Least.
    pub low: f64,
    /// Greatest.
    pub high: f64,
}

impl TrainingOutcome {
    /// What lies elsewhere than on the accelerators, with the name of the place.
    pub fn elsewhere(&self) -> impl Iterator<Item = (&'static str, Filled)> {
        let places = [("Memory of the fullest host", self.host_memory_bytes), ("On drives", self.drive_bytes)];
        places.into_iter().filter_map(|(name, filled)| filled.map(|f| (name, f)))
    }
    /// Lengthens the step by its mean waits for data and checkpoints; rates and shares follow.
    pub fn stall(&mut self, data: f64, checkpoint: f64) {
        let (before, after) = (self.step_time_s, self.step_time_s + data + checkpoint);
        let share = before / after;
        self.step_time_s = after;
        for rate in [&mut self.tokens_per_s, &mut self.tokens_per_s_per_accelerator, &mut self.samples_per_s, &mut self.mfu, &mut self.hfu]
        {
            *rate *= share;
        }
        self.bubble_fraction *= share;
        if let Some(band) = &mut self.step_time_band_s {
            band.low += data + checkpoint;
            band.high += data + checkpoint;
        }
        self.breakdown_s.data_stall += data;
        self.breakdown_s.checkpoint_stall += checkpoint;
    }
}

/// Where the step time goes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct BreakdownSeconds {
    /// Kernels of forward, backward and recompute.
    pub compute: f64,
    /// Exposed tensor-parallel communication.
    pub tensor_comm: f64,
    /// Exposed pipeline communication.
    pub pipeline_comm: f64,
    /// Exposed data-parallel communication.
    pub data_comm: f64,
    /// Exposed expert-parallel communication.
    pub expert_comm: f64,
    /// Exposed context-parallel communication.
    pub context_comm: f64,
    /// Waiting for other pipeline stages.
    pub bubble: f64,
    /// Waiting for input data.
    pub data_stall: f64,
    /// Waiting for checkpoints.
    pub checkpoint_stall: f64,
    /// Optimizer.
    pub optimizer: f64,
    /// Exposed copies to and from host memory and drives (offload).
    pub offload: f64,
    /// Everything else.
    pub other: f64,
}

impl BreakdownSeconds {
    /// Adds other parts, so many times.
    pub(super) fn add(&mut self, times: f64, other: &Self) {
        self.compute += times * other.compute;
        self.tensor_comm += times * other.tensor_comm;
        self.pipeline_comm += times * other.pipeline_comm;
        self.data_comm += times * other.data_comm;
        self.expert_comm += times * other.expert_comm;
        self.context_comm += times * other.context_comm;
        self.bubble += times * other.bubble;
        self.data_stall += times * other.data_stall;
        self.checkpoint_stall += times * other.checkpoint_stall;
        self.optimizer += times * other.optimizer;
        self.offload += times * other.offload;
        self.other += times * other.other;
    }
    /// The parts with their names, in the order of the contract.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, f64); 12] {
        [
            ("compute", self.compute),
            ("tensor_comm", self.tensor_comm),
            ("pipeline_comm", self.pipeline_comm),
            ("data_comm", self.data_comm),
            ("expert_comm", self.expert_comm),
            ("context_comm", self.context_comm),
            ("bubble", self.bubble),
            ("data_stall", self.data_stall),
            ("checkpoint_stall", self.checkpoint_stall),
            ("optimizer", self.optimizer),
            ("offload", self.offload),
            ("other", self.other),
        ]
    }
}

/// Memory of one accelerator at the moment of its peak: the parts sum to `peak`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct MemoryBytes {
    /// Weights in compute precision.
    pub weights: f64,
    /// Gradients.
    pub gradients: f64,
    /// Optimizer state, master weights included.
    pub optimizer: f64,
    /// Activations in flight.
    pub activations: f64,
    /// Communication buffers, workspace, context, fragmentation.
    pub other: f64,
    /// Sum of the parts.
    pub peak: f64,
    /// Memory of the accelerator.
    pub capacity: f64,
}

impl MemoryBytes {
    /// The parts with their names.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, f64); 5] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("other", self.other),
        ]
    }
}

/// One size of a collective.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CollectiveOutcome {
    /// Operation.
    pub op: &'static str,
    /// Bytes by the convention of nccl-tests.
    pub bytes: f64,
    /// Time of one operation.
    pub time_s: f64,
    /// Bytes over time.
    pub algbw_bytes_per_s: f64,
    /// The same, corrected by the factor of the operation.
    pub busbw_bytes_per_s: f64,
    /// Algorithm that was chosen.
    pub algorithm: String,
    /// Protocol that was chosen.
    pub protocol: String,
    /// Tokens of a rank (exchanges of tokens).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// Ends of the flows of a pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<FlowTimes>,
}

/// When the flows of a pattern end, seconds after they started together.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FlowTimes {
    /// Flows.
    pub count: u64,
    /// The first.
    pub min_s: f64,
    /// Mean.
    pub mean_s: f64,
    /// Median.
    pub p50_s: f64,
    /// 99th percentile.
    pub p99_s: f64,
    /// The last.
    pub max_s: f64,
}

/// A trace that was replayed. Times are those of the rank that computes longest, as far as they are of one rank: compute, exposed
/// communication, exposed memory and idle time sum to the makespan, but for what host and device do side by side.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TraceOutcome {
    /// End of the last operation of all ranks.
    pub makespan_s: f64,
    /// Ranks.
    pub ranks: u64,
    /// The rank that computes longest, which the times below are of.
    pub rank: u32,
    /// Sum of its compute operations, on the device and on the host.
    pub compute_s: f64,
    /// The part of it on the host.
    pub host_s: f64,
    /// Sum of the durations that the trace recorded for it, communication included.
    pub recorded_s: f64,
    /// Time in which it communicates.
    pub comm_s: f64,
    /// Time in which it communicates and does not compute.
    pub exposed_comm_s: f64,
    /// Time in which it moves data to or from outside memory and neither computes nor communicates.
    pub exposed_memory_s: f64,
    /// Time in which it does nothing: it waits for other ranks, or is done.
    pub idle_s: f64,
    /// Operations of all ranks.
    pub operations: u64,
    /// Makespan in cycles of ASTRA-sim (nanoseconds), in its mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<u64>,
    /// Communication by operation.
    pub communication: Vec<TraceCommunication>,
    /// What was noticed in the files and tolerated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// One kind of communication in a trace.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TraceCommunication {
    /// Operation.
    pub op: String,
    /// How many; a collective of several ranks is one, and so is a message.
    pub count: u64,
    /// Their sizes together, each as nccl-tests would print it.
    pub bytes: f64,
    /// Their times together.
    pub time_s: f64,
}

/// Money, energy, carbon of the run (of one step where no run is given).
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CostOutcome {
    /// All together.
    pub usd_total: f64,
    /// By the hour.
    pub usd_per_hour: f64,
    /// By million tokens trained, or of prompts and answers together.
    pub usd_per_million_tokens: f64,
    /// Energy with cooling and losses (PUE).
    pub energy_kwh: f64,
    /// Carbon by the grid's intensity.
    pub carbon_kg: f64,
    /// What the total is made of.
    pub parts_usd: Vec<(String, f64)>,
    /// Average power with PUE.
    pub average_power_w: f64,
    /// Where the prices come from.
    pub sources: Vec<String>,
}

/// What the simulation itself took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct SimulationOutcome {
    /// Events.
    pub events: u64,
    /// Wall time of the simulation; the only value that may differ between two runs.
    pub wall_s: f64,
}
