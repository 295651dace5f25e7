//! Memory of every pipeline stage: weights, gradients, optimizer, activations in flight by schedule, buffers.
//!
//! Activation bytes follow Korthikanti et al. (arXiv 2205.05198): `s b h (34 + 5 a s / h)` for a GPT layer in 16 bit
//! with unfused attention and dropout, split over tensor ranks where the tensors are. How many microbatches are in flight
//! is counted along the stage's program.

use super::config::{Attention, Config, Recompute};
use super::schedule::{Op, program};

/// Memory of one stage at the moment of its peak, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryPlan {
    /// Weights in compute precision, low-precision copies included.
    pub weights: f64,
    /// Gradients.
    pub gradients: f64,
    /// Optimizer state with master weights.
    pub optimizer: f64,
    /// Activations in flight.
    pub activations: f64,
    /// Runtime, communication buffers, allocator slack.
    pub other: f64,
}

impl MemoryPlan {
    /// All parts together.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.weights + self.gradients + self.optimizer + self.activations + self.other
    }
}

/// What the runtime takes before the first tensor: driver context, libraries, communicators. Order of magnitude seen on
/// NVIDIA drivers with NCCL; from memory, unverified.
const RUNTIME_BYTES: f64 = 1.5e9;
/// Allocator slack as a share of the activations; caching allocators round and fragment. From memory, unverified.
const SLACK: f64 = 0.04;
/// Adam under mixed precision: fp32 master weight and two fp32 moments.
const OPTIMIZER_BYTES: f64 = 12.0;

/// Weights on one rank of a stage.
#[must_use]
pub(super) fn stage_parameters(config: &Config, layers: &[Vec<u64>], stage: u64) -> f64 {
    let model = &config.model;
    let own: u64 = layers[stage as usize].iter().sum();
    let first = stage == 0;
    let last = stage + 1 == config.parallel.pipeline;
    let mut tables = 0.0;
    if first {
        tables += model.embedding_parameters() + model.position_parameters();
    }
    if last && !(first && model.tied_embeddings) {
        tables += model.embedding_parameters();
    }
    (own as f64 * model.layer_parameters() + tables) / config.parallel.tensor as f64
}

/// Bytes that one layer keeps of one microbatch until its backward pass.
#[must_use]
pub(super) fn layer_activations(config: &Config) -> f64 {
    let (model, t) = (&config.model, config.parallel.tensor as f64);
    let tokens = config.microbatch_tokens() as f64;
    let h = model.hidden as f64;
    let unsplit_by = if config.parallel.sequence { t } else { 1.0 };
    if config.recompute == Recompute::Full {
        return 2.0 * tokens * h / unsplit_by;
    }
    layer_kept(config, tokens, h, t, unsplit_by)
}

fn layer_kept(config: &Config, tokens: f64, h: f64, t: f64, unsplit_by: f64) -> f64 {
    let model = &config.model;
    let operand = if config.precision.casts() { 1.0 } else { 2.0 };
    let dropout = if *config.stack.norm_bytes_forward > 20.0 { 2.0 } else { 0.0 };
    // Inputs of the two column-split products, inputs of the two norms, dropout masks.
    let unsplit = tokens * h * (2.0 * operand + 4.0 + dropout) / unsplit_by;
    let heads = (model.heads * model.head_dim) as f64;
    let split = tokens
        * (2.0 * model.qkv_width() as f64 + operand * heads + 2.0 * model.ffn_in_width() as f64 + operand * model.ffn_hidden as f64)
        / t;
    let scores = if config.attention == Attention::Unfused && config.recompute == Recompute::None {
        5.0 * model.heads as f64 * tokens * model.sequence_length as f64 / t
    } else {
        4.0 * model.heads as f64 * tokens / t
    };
    unsplit + split + scores
}

/// Most layers' activations that a stage holds at once, in microbatch-layers, counted along its program.
fn peak_layers(config: &Config, layers: &[u64], stage: u64) -> u64 {
    let (mut now, mut peak) = (0, 0);
    for op in program(stage, config.parallel.pipeline, config.parallel.virtual_stages, config.microbatches()) {
        match op {
            Op::Forward { chunk, .. } => {
                now += layers[chunk as usize];
                peak = peak.max(now);
            }
            Op::Backward { chunk, .. } => now -= layers[chunk as usize],
            Op::Exchange { .. } => {}
        }
    }
    peak
}

/// Memory of one stage at the moment of its peak.
#[must_use]
pub fn stage_memory(config: &Config, layers: &[Vec<u64>], stage: u64) -> MemoryPlan {
    let parameters = stage_parameters(config, layers, stage);
    let shards = if config.shard_optimizer { config.parallel.replicas() as f64 } else { 1.0 };
    let tokens = config.microbatch_tokens() as f64;
    let (h, t) = (config.model.hidden as f64, config.parallel.tensor as f64);
    let mut activations = peak_layers(config, &layers[stage as usize], stage) as f64 * layer_activations(config);
    if config.recompute == Recompute::Full {
        // One layer is whole while its backward pass runs.
        let by = if config.parallel.sequence { t } else { 1.0 };
        let mut whole = config.clone();
        whole.recompute = Recompute::None;
        activations += layer_kept(&whole, tokens, h, t, by);
    }
    if stage + 1 == config.parallel.pipeline {
        // Logits in fp32 and their gradient in 16 bit.
        activations += 6.0 * tokens * config.model.vocabulary as f64 / t;
    }
    let weight_bytes = if config.precision.casts() { *config.stack.narrow_weight_bytes } else { 2.0 };
    let exchange = if config.parallel.pipeline > 1 { 4.0 * 2.0 * tokens * h } else { 0.0 };
    MemoryPlan {
        weights: weight_bytes * parameters,
        gradients: config.gradient_bytes() * parameters,
        optimizer: OPTIMIZER_BYTES * parameters / shards,
        activations,
        other: RUNTIME_BYTES + SLACK * activations + exchange,
    }
}

/// What would help a job that does not fit, most helpful first.
#[must_use]
pub fn advice(config: &Config, plan: &MemoryPlan, capacity: f64) -> Vec<String> {
    let over = plan.total() - capacity;
    let mut out = Vec::new();
    if config.recompute == Recompute::None {
        out.push("recompute = \"selective\" or \"full\" keeps fewer activations".to_owned());
    } else if config.recompute == Recompute::Selective && plan.activations > over {
        out.push("recompute = \"full\" keeps one activation a layer".to_owned());
    }
    if !config.shard_optimizer && config.parallel.replicas() > 1 {
        let saved = plan.optimizer * (1.0 - 1.0 / config.parallel.replicas() as f64);
        out.push(format!("distributed_optimizer = true saves {}", crate::units::Bytes::new(saved)));
    }
    if config.microbatch > 1 {
        out.push("a smaller microbatch keeps proportionally fewer activations".to_owned());
    }
    if config.attention == Attention::Unfused && config.recompute == Recompute::None {
        out.push("attention = \"flash\" never writes the scores".to_owned());
    }
    if config.parallel.tensor > 1 && !config.parallel.sequence {
        out.push("sequence = true splits norms and dropouts over the tensor ranks".to_owned());
    }
    if plan.weights + plan.gradients + plan.optimizer > capacity {
        out.push("more pipeline or tensor parallelism: weights, gradients and optimizer alone do not fit".to_owned());
    } else {
        out.push("more pipeline or tensor parallelism".to_owned());
    }
    out
}
