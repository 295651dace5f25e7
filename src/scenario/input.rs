//! The scenario file: its keys, types and defaults.

use super::collective_input::CollectiveInput;
use super::fleet::FleetInput;
use super::operations_input::{CheckpointInput, FailuresInput, StorageInput};
use super::serving::ServingInput;
use super::trace_input::TraceInput;
use crate::diag::{
    At, Count, Decode, Diagnostic, Diagnostics, FilePath, Finite, List, Name, Node, NonNeg, Pos, Share, Value, Whole, codes,
};
use crate::fabric::{DegradedInput, TopologyInput};
use crate::kernels::OptimizerKind;
use crate::model::ModelInput;
use crate::training::{Attention, ContextExchange, Framework, Precision, Recompute, Schedule, Sharding};
use crate::units::{Bytes, Date, KilogramsPerJoule, Seconds, UsdPerJoule, UsdPerSecond};
use crate::{choice, record};

choice! {
    /// How accelerators are paid.
    pub enum Payment {
        /// Pay as you go.
        OnDemand = "on-demand",
        /// Under a commitment.
        Reserved = "reserved",
        /// May be taken away.
        Spot = "spot",
        /// Bought.
        Owned = "owned",
    }
}

record! {
    /// Parallel degrees.
    pub struct ParallelInput {
        /// Tensor-parallel degree.
        pub tensor: Count = 1,
        /// Pipeline stages.
        pub pipeline: Count = 1,
        /// Data-parallel degree; absent: what the accelerators leave.
        pub data: Option<Count>,
        /// Context-parallel degree: ranks that share every sequence.
        pub context: Count = 1,
        /// How context ranks see each other's parts; absent: as the stack does.
        pub context_exchange: Option<ContextExchange>,
        /// Expert-parallel degree: ranks of a stage (tensor, context and data ranks in order) that share the experts.
        pub expert: Count = 1,
        /// Model chunks on each stage (interleaved schedule).
        pub virtual_stages: Count = 1,
        /// Order of passes in the pipeline.
        pub schedule: Schedule = Schedule::OneForwardOneBackward,
        /// Sequence parallelism: norms and dropouts split over the tensor ranks.
        pub sequence: bool = false,
        /// Layers of the first stage, where they differ from the others.
        pub first_stage_layers: Option<Count>,
        /// Layers of the last stage, where they differ from the others.
        pub last_stage_layers: Option<Count>,
        /// Layers of every stage, such as `[10, 10, 14, 14]`, where they differ.
        pub stage_layers: Option<List<Count>>,
    }
}

record! {
    /// What lies in host memory or on drives.
    pub struct OffloadInput {
        /// Where optimizer state with master weights and gradients lie: `host`, or the name of a storage tier. The host's processors run
        /// the optimizer.
        pub optimizer: Option<Name>,
        /// Where every rank's part of the weights lies: `host`, or the name of a storage tier.
        pub weights: Option<Name>,
        /// Whether activations lie in host memory between a layer's two passes.
        pub activations: bool = false,
    }
}

record! {
    /// How Horovod reduces gradients.
    pub struct HorovodInput {
        /// Size of the buffer in which tensors are reduced together (HOROVOD_FUSION_THRESHOLD).
        pub fusion_threshold: Pos<Bytes> = Bytes::new(134_217_728.0),
        /// Time between two rounds in which ranks agree on what is reduced next (HOROVOD_CYCLE_TIME).
        pub cycle_time: Pos<Seconds> = Seconds::new(1e-3),
        /// Whether nodes reduce inside first and then through host memory between them (HOROVOD_HIERARCHICAL_ALLREDUCE).
        pub hierarchical: bool = false,
    }
}

record! {
    /// A training job.
    pub struct TrainingInput {
        /// Framework whose policy is followed; absent: that of the stack, else `megatron`.
        pub framework: Option<Framework>,
        /// Software stack, such as `megatron-2022`; absent: the framework's newest.
        pub stack: Option<Name>,
        /// Sequences of one optimizer step.
        pub global_batch: Count,
        /// Sequences of one optimizer step of every data-parallel rank, where they differ; they add up to `global_batch`.
        pub batch_shares: Option<List<Count>>,
        /// Sequences of one pass; absent: 1, or under pipelines of torchtitan and MaxText what makes as many microbatches as stages.
        pub microbatch: Option<Count>,
        /// Optimizer.
        pub optimizer: OptimizerKind = OptimizerKind::Adam,
        /// Whether passes are captured graphs, so that the host launches no single kernels.
        pub cuda_graphs: bool = false,
        /// Number format of the matrix products.
        pub precision: Precision = Precision::Bf16,
        /// What is computed again in the backward pass.
        pub recompute: Recompute = Recompute::None,
        /// Layers of the model that `recompute = "full"` computes again, spread evenly over its stages; the others keep their activations.
        /// Absent: all.
        pub recompute_layers: Option<Count>,
        /// Attention kernels.
        pub attention: Attention = Attention::Flash,
        /// Whether optimizer state is sharded over the data-parallel ranks (ZeRO-1): the older word for `sharding = "optimizer"`.
        pub distributed_optimizer: Option<bool>,
        /// What is sharded over the data-parallel ranks (ZeRO stages 0 to 3); absent: weights under fully sharded frameworks, nothing
        /// under DDP, else the optimizer.
        pub sharding: Option<Sharding>,
        /// Data-parallel ranks that share one copy of what is sharded (hybrid sharding); absent: all.
        pub shard_group: Option<Count>,
        /// Rank of low-rank adapters that are trained beside frozen weights (LoRA on the attention projections); absent: all weights
        /// are trained.
        pub adapter_rank: Option<Count>,
        /// How layers with experts run (`eager`, `eager-overlap`, `router-graph`, `deepep-overlap`, `hybridep`, `hybridep-overlap`,
        /// `partial-graph`, `full-graph`); absent: the answer is
        /// a band over all of them.
        pub expert_stack: Option<Name>,
        /// Rows of the busiest rank's experts over the mean.
        pub expert_imbalance: Option<Finite>,
        /// Channels of collective kernels, one compute unit each (NCCL_MAX_NCHANNELS); absent: as many as the library opens by itself, about 20.
        pub collective_channels: Option<Count>,
        /// What lies in host memory or on drives instead of the accelerators.
        pub offload: Option<OffloadInput>,
        /// Tensor fusion and the way of all-reduces (framework `horovod`).
        pub horovod: Option<HorovodInput>,
        /// What is trained.
        pub model: ModelInput,
        /// Parallel degrees.
        pub parallel: ParallelInput,
    }
}

record! {
    /// The whole run.
    pub struct RunInput {
        /// Tokens to train on.
        pub tokens: Option<Count>,
        /// Optimizer steps.
        pub steps: Option<Count>,
        /// Runs under different draws of what fails; absent: 100.
        pub seeds: Option<Count>,
        /// The day on which it begins, such as "2026-03-01".
        pub start: Option<Date>,
    }
}

record! {
    /// Money, energy, carbon.
    pub struct CostInput {
        /// How accelerators are paid.
        pub payment: Payment = Payment::OnDemand,
        /// Price of one accelerator; absent: the price list.
        pub rent: Option<Pos<UsdPerSecond>>,
        /// Life over which a purchase is spread.
        pub life: Option<Pos<Seconds>>,
        /// Share of its life in which a bought cluster works.
        pub utilization: Option<Share>,
        /// Power usage effectiveness of the site. Default 1.25, between hyperscale (1.09) and industry average (1.56).
        pub pue: Finite = 1.25,
        /// Price of electricity (bought clusters).
        pub electricity: Option<NonNeg<UsdPerJoule>>,
        /// Carbon of the grid. Default 0.4 kg/kWh, about the world's average of recent years.
        pub carbon_intensity: NonNeg<KilogramsPerJoule> = KilogramsPerJoule::new(0.4 / crate::units::KWH),
    }
}

/// A topology: the path of a file, or the table itself.
#[derive(Debug, Clone)]
pub enum TopologyRef {
    /// A file, relative to the scenario.
    File(String),
    /// Given in place.
    Inline(Box<TopologyInput>),
}

impl Decode for TopologyRef {
    type Out = Self;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Str(_) => FilePath::decode(node, diags).map(Self::File),
            Value::Table(_) => TopologyInput::decode(node, diags).map(|t| Self::Inline(Box::new(t))),
            other => {
                let message = format!("expected the path of a topology file or a table, found {}", other.kind());
                diags.push(Diagnostic::error(codes::WRONG_TYPE, message).at(node.span, "expected a path or a table"));
                None
            }
        }
    }
    fn describe() -> serde_json::Value {
        serde_json::json!({"oneOf": [{"type": "string", "minLength": 1}, TopologyInput::describe()]})
    }
}

/// Paths of profile files: one, or several of which earlier ones go before later ones.
pub struct ProfilePaths;

impl Decode for ProfilePaths {
    type Out = Vec<At<String>>;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self::Out> {
        if matches!(node.value, Value::Array(_)) {
            return List::<FilePath>::decode(node, diags);
        }
        FilePath::decode(node, diags).map(|value| vec![At { value, span: node.span }])
    }
    fn describe() -> serde_json::Value {
        serde_json::json!({"oneOf": [FilePath::describe(), List::<FilePath>::describe()]})
    }
}

record! {
    /// A scenario.
    pub struct ScenarioInput {
        /// Format version.
        pub format: Count = 1,
        /// Title for people.
        pub title: Name,
        /// Cluster: the path of a topology file, or the table itself. Absent only where a trace brings ASTRA-sim's files or a fleet its own nodes.
        pub topology: Option<TopologyRef>,
        /// Nodes of the cluster, instead of the topology's number.
        pub nodes: Option<Count>,
        /// Parts of the cluster that are slow, cut off or flapping, besides those that the topology names.
        pub degraded: List<DegradedInput> = Vec::new(),
        /// Profiles that go before the shipped ones, as `orrery calibrate fit` writes them: a path, or a list of paths.
        pub profile: ProfilePaths = Vec::new(),
        /// Whether values that a stand-in made, and no machine measured, may enter; reports then say so.
        pub allow_synthetic: bool = false,
        /// Seed of all random streams.
        pub seed: Whole = 1,
        /// Training of one job.
        pub training: Option<TrainingInput>,
        /// Inference serving.
        pub serving: Option<ServingInput>,
        /// A collective by itself.
        pub collective: Option<CollectiveInput>,
        /// A trace of a job.
        pub trace: Option<TraceInput>,
        /// Many jobs on one cluster.
        pub fleet: Option<FleetInput>,
        /// The whole run of a training job.
        pub run: Option<RunInput>,
        /// Checkpoints of the run.
        pub checkpoint: Option<CheckpointInput>,
        /// What fails during the run, and how the job comes back.
        pub failures: Option<FailuresInput>,
        /// Where the data lie and how they are read.
        pub storage: Option<StorageInput>,
        /// Money, energy, carbon.
        pub cost: Option<CostInput>,
    }
}

impl TrainingInput {
    /// Sequences of one pass; 1 where nothing says otherwise.
    #[must_use]
    pub fn sequences_of_a_pass(&self) -> u64 {
        self.microbatch.unwrap_or(1)
    }
}
