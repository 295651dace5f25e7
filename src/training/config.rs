//! What is trained and how: the checked configuration of one training job.

use super::experts::ExpertStack;
use super::offload::Offload;
use super::schedule::{Placement, Schedule};
use super::stack::Stack;
use super::stages::{SplitError, split};
use crate::choice;
use crate::hardware::Dtype;
use crate::kernels::OptimizerKind;
use crate::model::Architecture;

choice! {
    /// Number format of the matrix products.
    pub enum Precision {
        /// bfloat16.
        Bf16 = "bf16",
        /// IEEE half precision with loss scaling.
        Fp16 = "fp16",
        /// 32-bit float.
        Fp32 = "fp32",
        /// 32-bit float, products in TF32.
        Tf32 = "tf32",
        /// 8-bit float in the linear layers, 16 bit elsewhere.
        Fp8 = "fp8",
        /// 8-bit float with a scale for every block of 128 (DeepSeek-V3) in the linear layers.
        Fp8Block = "fp8-block",
        /// 8-bit float with block scales (MX) in the linear layers.
        Mxfp8 = "mxfp8",
        /// 4-bit float with block scales in the linear layers.
        Nvfp4 = "nvfp4",
        /// 8-bit integers in the linear layers (quantised training), 16 bit elsewhere.
        Int8 = "int8",
    }
}

impl Precision {
    /// Format of the linear layers' matrix products.
    #[must_use]
    pub const fn linear(self) -> Dtype {
        match self {
            Self::Bf16 => Dtype::Bf16,
            Self::Fp16 => Dtype::Fp16,
            Self::Fp32 => Dtype::Fp32,
            Self::Tf32 => Dtype::Tf32,
            // Matrix units apply MX scales themselves, at the rate of one scale a tensor.
            Self::Fp8 | Self::Mxfp8 => Dtype::Fp8,
            Self::Fp8Block => Dtype::Fp8Block,
            Self::Nvfp4 => Dtype::Nvfp4,
            Self::Int8 => Dtype::Int8,
        }
    }
    /// Format of attention, embedding and output projection.
    #[must_use]
    pub const fn wide(self) -> Dtype {
        match self {
            Self::Fp16 => Dtype::Fp16,
            Self::Fp32 => Dtype::Fp32,
            Self::Tf32 => Dtype::Tf32,
            _ => Dtype::Bf16,
        }
    }
    /// Whether operands are cast down from 16 bit before each product.
    #[must_use]
    pub const fn casts(self) -> bool {
        matches!(self, Self::Fp8 | Self::Fp8Block | Self::Mxfp8 | Self::Nvfp4 | Self::Int8)
    }
    /// Bytes of an activation.
    #[must_use]
    pub const fn activation_bytes(self) -> f64 {
        if matches!(self, Self::Fp32 | Self::Tf32) { 4.0 } else { 2.0 }
    }
}

choice! {
    /// Which activations are computed again in the backward pass.
    pub enum Recompute {
        /// None: all are kept.
        None = "none",
        /// Some, as the framework selects them (see the stack).
        Selective = "selective",
        /// Every layer from its input.
        Full = "full",
    }
}

choice! {
    /// Attention kernels.
    pub enum Attention {
        /// Fused attention that never writes the scores.
        Flash = "flash",
        /// Batched matrix products with the scores in memory.
        Unfused = "unfused",
    }
}

choice! {
    /// What is sharded over the replicas (ZeRO stages 0 to 3).
    pub enum Sharding {
        /// Nothing: every replica holds all.
        None = "none",
        /// Optimizer state (ZeRO-1, Megatron's distributed optimizer).
        Optimizer = "optimizer",
        /// Optimizer state and gradients (ZeRO-2, SHARD_GRAD_OP).
        Gradients = "gradients",
        /// Weights too (ZeRO-3, FULL_SHARD).
        Weights = "weights",
    }
}

/// Parallel degrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallel {
    /// Tensor-parallel degree.
    pub tensor: u64,
    /// Pipeline stages.
    pub pipeline: u64,
    /// Data-parallel degree.
    pub data: u64,
    /// Context-parallel degree: ranks that share every sequence.
    pub context: u64,
    /// Expert-parallel degree: ranks of a stage (tensor, context and data ranks in order) that share the experts.
    pub expert: u64,
    /// Model chunks on each stage (interleaved schedule when above 1).
    pub virtual_stages: u64,
    /// Order of passes.
    pub schedule: Schedule,
    /// Whether norms and dropouts are split along the sequence over the tensor ranks.
    pub sequence: bool,
}

impl Default for Parallel {
    /// One rank.
    fn default() -> Self {
        Self {
            tensor: 1,
            pipeline: 1,
            data: 1,
            context: 1,
            expert: 1,
            virtual_stages: 1,
            schedule: Schedule::OneForwardOneBackward,
            sequence: false,
        }
    }
}

impl Parallel {
    /// Ranks of the job.
    #[must_use]
    pub const fn ranks(&self) -> u64 {
        self.tensor * self.pipeline * self.data * self.context
    }
    /// Ranks that hold the same weights and reduce gradients together.
    #[must_use]
    pub const fn replicas(&self) -> u64 {
        self.data * self.context
    }
    /// Ranks of a stage that hold the same experts.
    #[must_use]
    pub const fn expert_replicas(&self) -> u64 {
        self.tensor * self.replicas() / self.expert
    }
    /// Virtual stages, those of both copies where there are two.
    #[must_use]
    pub const fn virtual_count(&self) -> u64 {
        self.pipeline * self.virtual_stages
    }
    /// The number of a chunk along the way of the activations; the second copy of a model comes after the first.
    #[must_use]
    pub fn virtual_stage(&self, stage: u64, chunk: u64) -> u64 {
        match self.schedule.placement() {
            Placement::Loop => chunk * self.pipeline + stage,
            Placement::Vee | Placement::BothWays if chunk == 0 => stage,
            Placement::Vee | Placement::BothWays => 2 * self.pipeline - 1 - stage,
        }
    }
    /// The stage and the chunk of a virtual stage.
    #[must_use]
    pub fn place(&self, virtual_stage: u64) -> (u64, u64) {
        let (chunk, left) = (virtual_stage / self.pipeline, virtual_stage % self.pipeline);
        let back = chunk == 1 && self.schedule.placement() != Placement::Loop;
        (if back { self.pipeline - 1 - left } else { left }, chunk)
    }
    /// The first virtual stage of the copy of the model that one belongs to.
    #[must_use]
    pub fn first_of(&self, virtual_stage: u64) -> u64 {
        if self.two_copies() && virtual_stage >= self.pipeline { self.pipeline } else { 0 }
    }
    /// Whether a virtual stage has the embedding.
    #[must_use]
    pub fn enters(&self, virtual_stage: u64) -> bool {
        virtual_stage == self.first_of(virtual_stage)
    }
    /// Whether a virtual stage has the head.
    #[must_use]
    pub fn leaves(&self, virtual_stage: u64) -> bool {
        virtual_stage + 1 == self.virtual_count() || self.two_copies() && virtual_stage + 1 == self.pipeline
    }
    /// Whether the stages hold two copies of the model.
    #[must_use]
    pub fn two_copies(&self) -> bool {
        self.schedule.placement() == Placement::BothWays
    }
    /// Whether the embedding and the head are on different ranks.
    #[must_use]
    pub fn ends_apart(&self) -> bool {
        self.pipeline > 1 && self.schedule.placement() == Placement::Loop
    }
}

/// Layers of the stages, where somebody has said how many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uneven {
    /// Layers of the first stage, where they differ from the others.
    pub first: Option<u64>,
    /// Layers of the last stage, where they differ from the others.
    pub last: Option<u64>,
    /// Layers of every stage.
    pub stages: Option<Vec<u64>>,
}

/// One training job.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is trained.
    pub model: Architecture,
    /// Parallel degrees.
    pub parallel: Parallel,
    /// Layers of the stages, where they differ.
    pub uneven: Uneven,
    /// Sequences of one optimizer step of every data rank; absent: equal parts.
    pub batch_shares: Option<Vec<u64>>,
    /// Sequences of one optimizer step.
    pub global_batch: u64,
    /// Sequences of one pass.
    pub microbatch: u64,
    /// Number format.
    pub precision: Precision,
    /// What is computed again.
    pub recompute: Recompute,
    /// Layers of the model that are computed again where whole layers are, spread over the stages; absent: all.
    pub recompute_layers: Option<u64>,
    /// Attention kernels.
    pub attention: Attention,
    /// Optimizer.
    pub optimizer: OptimizerKind,
    /// What is sharded over the replicas.
    pub sharding: Sharding,
    /// Replicas that share one copy of what is sharded; absent: all of them. The copies reduce gradients among each other.
    pub shard_group: Option<u64>,
    /// What lies in host memory or on drives.
    pub offload: Offload,
    /// Whether gradients are reduced inside nodes first, then between nodes through host memory, then spread inside nodes (Horovod).
    pub hierarchical: bool,
    /// Rank of trained low-rank adapters beside frozen weights; absent: all weights are trained.
    pub adapter_rank: Option<u64>,
    /// The framework's policy.
    pub stack: Stack,
    /// How layers with experts run; used by such models only.
    pub experts: ExpertStack,
    /// Rows of the busiest rank's experts over the mean (1: balanced).
    pub expert_imbalance: f64,
    /// Channels of collective kernels, one compute unit each; absent: as many as the library opens by itself.
    pub collective_channels: Option<u32>,
}

impl Config {
    /// Microbatches of one step on one data-parallel rank; where they differ, the most.
    #[must_use]
    pub fn microbatches(&self) -> u64 {
        let most = self.batch_shares.as_ref().and_then(|s| s.iter().max());
        most.map_or(self.global_batch / self.parallel.data, |s| *s) / self.microbatch
    }
    /// Microbatches of one step on a data-parallel rank.
    #[must_use]
    pub fn microbatches_of(&self, rank: u64) -> u64 {
        let own = self.batch_shares.as_ref().and_then(|s| s.get(rank as usize));
        own.map_or(self.global_batch / self.parallel.data, |s| *s) / self.microbatch
    }
    /// Layers of every chunk by stage.
    ///
    /// # Errors
    /// When the layers cannot be split that way.
    pub fn layers(&self) -> Result<Vec<Vec<u64>>, SplitError> {
        split(self.model.layers, &self.parallel, &self.uneven, *self.stack.split, 2 * self.model.prediction_layers)
    }
    /// Share of the layers that are computed again.
    #[must_use]
    pub fn recomputed_share(&self) -> f64 {
        match (self.recompute, self.recompute_layers) {
            (Recompute::None, _) => 0.0,
            (Recompute::Full, Some(layers)) => (layers as f64 / self.model.layers as f64).min(1.0),
            _ => 1.0,
        }
    }
    /// Tokens of one microbatch on one rank.
    #[must_use]
    pub const fn microbatch_tokens(&self) -> u64 {
        self.microbatch * self.model.sequence_length / self.parallel.context
    }
    /// Tokens of one optimizer step.
    #[must_use]
    pub fn tokens_per_step(&self) -> f64 {
        self.global_batch as f64 * self.model.sequence_length as f64
    }
    /// Passes' worth of FLOPs of a step: forward, and backward for inputs and weights (no weights where they are frozen).
    fn passes(&self) -> f64 {
        if self.adapter_rank.is_some() { 2.0 } else { 3.0 }
    }
    /// FLOPs that the model needs for one step.
    #[must_use]
    pub fn model_flops_per_step(&self) -> f64 {
        self.tokens_per_step() * self.model.training_flops_per_token() * self.passes() / 3.0
    }
    /// Bytes of the embedding tables on one rank: rows in 32 bit, and one 32-bit number of the row-wise optimizer each, spread evenly.
    #[must_use]
    pub fn bag_bytes(&self) -> f64 {
        self.model.bags.map_or(0.0, |b| 4.0 * (b.rows * (b.width + 1)) as f64 / self.parallel.ranks() as f64)
    }
    /// Bytes of one gradient element as it is accumulated and reduced.
    #[must_use]
    pub fn gradient_bytes(&self) -> f64 {
        match self.precision {
            Precision::Fp16 => *self.stack.gradient_bytes_fp16,
            Precision::Fp32 | Precision::Tf32 => 4.0,
            _ => *self.stack.gradient_bytes_bf16,
        }
    }
    /// Memory traffic of the optimizer, bytes per owned parameter: the stack's figure is that of Adam.
    #[must_use]
    pub fn optimizer_bytes(&self) -> f64 {
        let bytes = |kind: OptimizerKind| kind.bytes_per_parameter(self.gradient_bytes());
        *self.stack.optimizer_bytes + bytes(self.optimizer) - bytes(OptimizerKind::Adam)
    }
    /// Bytes of a weight as it is computed with and gathered.
    #[must_use]
    pub const fn weight_bytes(&self) -> f64 {
        self.precision.activation_bytes()
    }
    /// Ranks over which the optimizer state is sharded.
    #[must_use]
    pub fn optimizer_shards(&self) -> f64 {
        let copies = if self.parallel.two_copies() { 2.0 } else { 1.0 };
        if self.sharding == Sharding::None { 1.0 } else { copies * self.shard_ranks() as f64 }
    }
    /// Replicas that share one copy of what is sharded.
    #[must_use]
    pub fn shard_ranks(&self) -> u64 {
        self.shard_group.unwrap_or(self.parallel.replicas())
    }
    /// Whether every layer gathers its weights before it computes (fully sharded data parallelism). Where a pipeline shards no more than
    /// gradients, each layer is gathered once a step and stays.
    #[must_use]
    pub fn gathers_layers(&self) -> bool {
        let weights = self.offload.weights.is_some();
        weights
            || self.shard_ranks() > 1
                && (self.sharding == Sharding::Weights
                    || self.sharding == Sharding::Gradients
                        && self.stack.gathers_layers.value
                        && !self.stack.late_gather.value
                        && self.parallel.pipeline == 1)
    }
    /// Whether gradients of every pass leave at once, because no rank has the place to sum them up.
    #[must_use]
    pub fn reduces_every_pass(&self) -> bool {
        self.sharding == Sharding::Weights || self.sharding == Sharding::Gradients && !self.keeps_gradients()
    }
    /// Whether a rank of a pipeline keeps whole gradients until the last pass though they are sharded then: frameworks with layers that
    /// gather their weights (torch.distributed.pipelining, `run_post_backward`).
    #[must_use]
    pub fn keeps_gradients(&self) -> bool {
        self.sharding == Sharding::Gradients && self.stack.gathers_layers.value && self.parallel.pipeline > 1
    }
    /// Whether the model has experts.
    #[must_use]
    pub const fn has_experts(&self) -> bool {
        self.model.experts.is_some()
    }
    /// Trained weights for each weight of the base model's matrices of one layer (1 unless adapters are trained).
    #[must_use]
    pub fn trained_share(&self) -> f64 {
        let Some(rank) = self.adapter_rank else { return 1.0 };
        let model = &self.model;
        // Adapters on the query-key-value and output projections: r (in + out) each.
        let width = (model.heads * model.head_dim) as f64;
        let adapters = rank as f64 * (model.hidden as f64 + model.qkv_width() as f64 + width + model.hidden as f64);
        adapters / model.layer_parameters()
    }
}
