//! What is trained and how: the checked configuration of one training job.

use super::stack::Stack;
use crate::choice;
use crate::hardware::Dtype;
use crate::model::Architecture;

choice! {
    /// Number format of the matrix products.
    pub enum Precision {
        /// bfloat16.
        Bf16 = "bf16",
        /// IEEE half precision with loss scaling.
        Fp16 = "fp16",
        /// 8-bit float in the linear layers, 16 bit elsewhere.
        Fp8 = "fp8",
        /// 8-bit float with block scales (MX) in the linear layers.
        Mxfp8 = "mxfp8",
        /// 4-bit float with block scales in the linear layers.
        Nvfp4 = "nvfp4",
    }
}

impl Precision {
    /// Format of the linear layers' matrix products.
    #[must_use]
    pub const fn linear(self) -> Dtype {
        match self {
            Self::Bf16 => Dtype::Bf16,
            Self::Fp16 => Dtype::Fp16,
            Self::Fp8 | Self::Mxfp8 => Dtype::Fp8,
            Self::Nvfp4 => Dtype::Nvfp4,
        }
    }
    /// Format of attention, embedding and output projection.
    #[must_use]
    pub const fn wide(self) -> Dtype {
        match self {
            Self::Fp16 => Dtype::Fp16,
            _ => Dtype::Bf16,
        }
    }
    /// Whether operands are cast down from 16 bit before each product.
    #[must_use]
    pub const fn casts(self) -> bool {
        matches!(self, Self::Fp8 | Self::Mxfp8 | Self::Nvfp4)
    }
}

choice! {
    /// Which activations are computed again in the backward pass.
    pub enum Recompute {
        /// None: all are kept.
        None = "none",
        /// The attention core only.
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
    /// Model chunks on each stage (interleaved schedule when above 1).
    pub virtual_stages: u64,
    /// Whether norms and dropouts are split along the sequence over the tensor ranks.
    pub sequence: bool,
    /// Layers of the first stage, where they differ from the others.
    pub first_stage_layers: Option<u64>,
    /// Layers of the last stage, where they differ from the others.
    pub last_stage_layers: Option<u64>,
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
}

/// One training job.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is trained.
    pub model: Architecture,
    /// Parallel degrees.
    pub parallel: Parallel,
    /// Sequences of one optimizer step.
    pub global_batch: u64,
    /// Sequences of one pass.
    pub microbatch: u64,
    /// Number format.
    pub precision: Precision,
    /// What is computed again.
    pub recompute: Recompute,
    /// Attention kernels.
    pub attention: Attention,
    /// Whether optimizer state is sharded over the data-parallel ranks (ZeRO-1, Megatron's distributed optimizer).
    pub shard_optimizer: bool,
    /// The framework's policy.
    pub stack: Stack,
}

impl Config {
    /// Microbatches of one step on one data-parallel rank.
    #[must_use]
    pub const fn microbatches(&self) -> u64 {
        self.global_batch / (self.microbatch * self.parallel.data)
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
    /// FLOPs that the model needs for one step.
    #[must_use]
    pub fn model_flops_per_step(&self) -> f64 {
        self.tokens_per_step() * self.model.training_flops_per_token()
    }
    /// FLOPs that are executed for one step, recompute included.
    #[must_use]
    pub fn hardware_flops_per_step(&self) -> f64 {
        let again = match self.recompute {
            Recompute::None => 0.0,
            Recompute::Selective => self.model.attention_flops(),
            Recompute::Full => self.model.layer_forward_flops(),
        };
        self.model_flops_per_step() + self.tokens_per_step() * self.model.layers as f64 * again
    }
    /// Bytes of one gradient element as it is accumulated and reduced.
    #[must_use]
    pub fn gradient_bytes(&self) -> f64 {
        if self.precision == Precision::Fp16 { *self.stack.gradient_bytes_fp16 } else { *self.stack.gradient_bytes_bf16 }
    }
}
