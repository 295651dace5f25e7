//! Memory of every pipeline stage: weights, gradients, optimizer, activations in flight by schedule, buffers.
//!
//! Activation bytes follow Korthikanti et al. (arXiv 2205.05198): `s b h (34 + 5 a s / h)` for a GPT layer in 16 bit
//! with unfused attention and dropout, split over tensor ranks where the tensors are. How many microbatches are in flight
//! is counted along the stage's program.

use super::config::{Attention, Config, Precision, Recompute, Sharding};
use super::offload::{LAYERS_HELD, Shelf};
use super::schedule::{Op, program_of};
use super::stack::{Framework, Selective};
use super::weights::{ends_of, stage_layers, stage_weights};

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
    /// What a rank keeps in host memory instead.
    pub host: f64,
    /// What a rank keeps on drives instead.
    pub drives: f64,
}

impl MemoryPlan {
    /// All parts on the accelerator together.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.weights + self.gradients + self.optimizer + self.activations + self.other
    }
    /// What lies in a place other than the accelerator.
    const fn on(&mut self, shelf: Shelf) -> &mut f64 {
        match shelf {
            Shelf::Host => &mut self.host,
            Shelf::Tier(_) => &mut self.drives,
        }
    }
}

/// Allocator slack as a share of the activations; caching allocators round and fragment. From memory, unverified.
const SLACK: f64 = 0.04;

/// Bytes that one layer keeps of one microbatch until its backward pass.
#[must_use]
pub(super) fn layer_activations(config: &Config) -> f64 {
    let (model, t) = (&config.model, config.parallel.tensor as f64);
    let tokens = config.microbatch_tokens() as f64;
    let h = model.hidden as f64;
    let unsplit_by = if config.parallel.sequence { t } else { 1.0 };
    if model.is_network() {
        let elements: f64 = model.blocks.iter().map(crate::model::Block::kept).sum();
        return config.precision.activation_bytes() * config.microbatch as f64 * elements / model.layers as f64;
    }
    if config.recompute == Recompute::Full {
        let (again, input) = (config.recomputed_share(), config.precision.activation_bytes() * tokens * h / unsplit_by);
        let whole = if again < 1.0 { layer_kept(config, Recompute::None, unsplit_by) } else { 0.0 };
        return again * input + (1.0 - again) * whole;
    }
    layer_kept(config, config.recompute, unsplit_by)
}

/// Elements of the feed-forward networks that a token goes through in one layer (the mean over layers with and without experts): of the
/// first product and of the second's input.
fn feed_forward_elements(config: &Config) -> (f64, f64) {
    let model = &config.model;
    let factor = if model.gated_mlp { 2.0 } else { 1.0 };
    let own = model.feed_forward_share();
    let Some(e) = model.experts else { return (own * factor * model.ffn_hidden as f64, own * model.ffn_hidden as f64) };
    let visited = (e.per_token as f64 * config.expert_imbalance + e.shared as f64) * e.ffn_hidden as f64;
    let share = model.expert_layers() as f64 / model.layers as f64;
    let width = own * (share * visited + (1.0 - share) * model.ffn_hidden as f64);
    (factor * width, width)
}

fn layer_kept(config: &Config, recompute: Recompute, unsplit_by: f64) -> f64 {
    let (model, t) = (&config.model, config.parallel.tensor as f64);
    let (tokens, h) = (config.microbatch_tokens() as f64, model.hidden as f64);
    let wide = config.precision.activation_bytes();
    let operand = if config.precision.casts() { 1.0 } else { wide };
    let dropout = if *config.stack.norm_bytes_forward > 20.0 { 2.0 } else { 0.0 };
    let selected = if recompute == Recompute::Selective { Some(*config.stack.selective) } else { None };
    // Frozen weights need no input for a gradient of theirs; those of attention are inputs of the adapters beside them.
    let frozen = config.adapter_rank.is_some();
    // Inputs of the two column-split products, inputs of the two norms, dropout masks; norms that are computed again keep no result.
    let inputs = if frozen { 1.0 } else { 2.0 };
    let products = if selected.is_some_and(|s| s != Selective::Attention) { 0.0 } else { inputs * operand };
    let unsplit = model.norm_share() * tokens * h * (products + 2.0 * wide + dropout) / unsplit_by;
    let (a, state) = (model.attention_share(), super::mixers::kept(model));
    let heads = a * (model.heads * model.head_dim) as f64 + state.1;
    let (first, second) = feed_forward_elements(config);
    let second = if frozen || selected.is_some_and(|s| s != Selective::Attention) { 0.0 } else { second };
    let alternate = if selected == Some(Selective::AlternateProducts) { 0.5 } else { 1.0 };
    // Tokens that visit experts are kept as rows, the operands of their products.
    let rows = model.experts.map_or(0.0, |e| operand * e.per_token as f64 * config.expert_imbalance * h);
    let projected = match model.latent {
        // Computed again from the compressed ones.
        Some(l) if selected == Some(Selective::Modules) => (l.query_rank + l.kv_rank + l.rope) as f64 * t,
        Some(l) => (model.heads * (2 * (l.nope + l.rope) + l.value)) as f64,
        None => a * model.qkv_width() as f64 + state.0,
    };
    let gate = if config.stack.narrow_activations.value { operand } else { wide };
    let split = tokens * (alternate * (wide * projected + gate * first) + operand * heads + operand * second + rows) / t;
    let keeps_scores = config.attention == Attention::Unfused && recompute == Recompute::None;
    let scores = if keeps_scores {
        a * (2.0 * wide + 1.0) * model.heads as f64 * tokens * model.sequence_length as f64 / t
    } else {
        a * 4.0 * model.heads as f64 * tokens / t
    };
    unsplit + split + scores
}

/// Gradients of activations while a layer's backward pass runs: of the feed-forward network, or of scores and probabilities that lie in
/// memory, whichever is more.
fn layer_gradients(config: &Config) -> f64 {
    let (model, t) = (&config.model, config.parallel.tensor as f64);
    let (tokens, wide) = (config.microbatch_tokens() as f64, config.precision.activation_bytes());
    // XLA assigns their place to the activations that they are computed from.
    if model.is_network() || *config.stack.elementwise_share < 1.0 {
        return 0.0;
    }
    let (first, second) = feed_forward_elements(config);
    let scores = if config.attention == Attention::Unfused { 2.0 * (model.heads * model.sequence_length) as f64 } else { 0.0 };
    tokens * wide * (first + second).max(scores) / t
}

/// Tensors and buffers beside weights, gradients, state and activations: communicators, a bucket, what the optimizer step takes.
fn beside(config: &Config, trained: f64, owned: f64) -> f64 {
    let (p, stack) = (&config.parallel, &config.stack);
    let groups = u8::from(p.tensor > 1) + u8::from(p.replicas() > 1) + 2 * u8::from(p.pipeline > 1) + u8::from(p.expert > 1);
    let sharded = config.sharding != Sharding::None;
    let bucket = if stack.keeps_bucket.value && sharded { (*stack.bucket_parameters as f64).min(trained) } else { 0.0 };
    // One flat tensor has no place in the segments that freed activations leave behind.
    let flat = config.precision == Precision::Fp16 && config.sharding < Sharding::Weights && config.offload.optimizer.is_none();
    let step = if flat { *stack.step_bytes_fp16 * owned } else { 0.0 };
    stack.runtime_bytes.get() + f64::from(groups) * stack.communicator_bytes.get() + config.weight_bytes() * bucket + step
}

/// Most layers' activations that a stage holds at once, in microbatch-layers, counted along its program. They are needed until the
/// gradients of the weights are computed.
fn peak_layers(config: &Config, layers: &[u64], stage: u64) -> u64 {
    let (mut now, mut peak) = (0, 0);
    let p = &config.parallel;
    for op in program_of(p.schedule, stage, p.pipeline, p.virtual_stages, config.microbatches()) {
        match op {
            Op::Forward { chunk, .. } => now += layers[chunk as usize],
            Op::Pair { forward, .. } => now += layers[forward.1 as usize],
            Op::Backward { chunk, .. } | Op::Weights { chunk, .. } => now -= layers[chunk as usize],
            Op::Inputs { .. } | Op::Exchange { .. } => {}
        }
        peak = peak.max(now);
        if let Op::Pair { backward, .. } = op {
            now -= layers[backward.1 as usize];
        }
    }
    peak
}

/// Memory of one stage at the moment of its peak.
#[must_use]
pub fn stage_memory(config: &Config, layers: &[Vec<u64>], stage: u64) -> MemoryPlan {
    let weights = stage_weights(config, layers, stage);
    let trained = weights.trained(config);
    let tokens = config.microbatch_tokens() as f64;
    let (h, t) = (config.model.hidden as f64, config.parallel.tensor as f64);
    let kept = peak_layers(config, &layers[stage as usize], stage);
    let held = if config.offload.activations { kept.min(LAYERS_HELD) } else { kept };
    let mut activations = held as f64 * layer_activations(config);
    activations += layer_gradients(config);
    if config.stack.keeps_outputs.value && config.parallel.pipeline > 1 {
        let own: u64 = layers[stage as usize].iter().sum();
        let in_flight = kept as f64 / own.max(1) as f64;
        activations += in_flight * config.precision.activation_bytes() * tokens * h / if config.parallel.sequence { t } else { 1.0 };
    }
    if config.recompute == Recompute::Full && !config.model.is_network() {
        // One layer is whole while its backward pass runs.
        activations += layer_kept(config, Recompute::None, if config.parallel.sequence { t } else { 1.0 });
    }
    if ends_of(config, stage).1 {
        activations += *config.stack.logit_kept_bytes * tokens * config.model.predicted * config.model.vocabulary as f64 / t;
    }
    let exchange = if config.parallel.pipeline > 1 { 4.0 * 2.0 * tokens * h } else { 0.0 };
    let (held_weights, gradients) =
        if config.gathers_layers() { sharded(config, layers, stage) } else { (weights.total(), trained.total()) };
    let bucket = (*config.stack.bucket_parameters as f64).min(gradients);
    let gradients = if config.offload.optimizer.is_some() {
        // They leave bucket by bucket: one is reduced, one is copied.
        (2.0 * bucket).min(gradients)
    } else if config.sharding == Sharding::Gradients && !config.gathers_layers() && !config.keeps_gradients() {
        // Gradients leave bucket by bucket; a rank keeps those that it owns.
        trained.owned(config) + bucket
    } else {
        gradients
    };
    let narrow = !matches!(config.precision, Precision::Fp16 | Precision::Fp32 | Precision::Tf32);
    let beside_sum = if narrow { *config.stack.gradient_kept_bytes_bf16 } else { 0.0 };
    let owned = trained.owned(config);
    // DeepSpeed keeps its part of the 16-bit weights beside the master weights; FSDP casts from those.
    let shard = if config.sharding == Sharding::Weights && *config.stack.framework == Framework::Deepspeed { owned } else { 0.0 };
    let mut plan = MemoryPlan {
        weights: weight_bytes(config) * (held_weights + if config.offload.weights.is_some() { 0.0 } else { shard }) + config.bag_bytes(),
        gradients: (config.gradient_bytes() + beside_sum) * gradients,
        optimizer: config.optimizer.state_bytes() * owned,
        activations,
        other: beside(config, trained.total(), owned) + SLACK * activations + exchange,
        host: (kept - held) as f64 * layer_activations(config),
        drives: 0.0,
    };
    if let Some(shelf) = config.offload.optimizer {
        let state = (config.optimizer.state_bytes() + config.gradient_bytes()) * owned;
        plan.optimizer = 0.0;
        *plan.on(shelf) += state;
    }
    if let Some(shelf) = config.offload.weights {
        *plan.on(shelf) += config.weight_bytes() * weights.owned(config);
    }
    plan
}

/// Bytes of a weight on the accelerator.
fn weight_bytes(config: &Config) -> f64 {
    if config.precision.casts() && config.adapter_rank.is_none() {
        *config.stack.narrow_weight_bytes
    } else if config.precision.casts() {
        // Frozen weights are kept in the narrow format alone.
        config.precision.linear().bytes()
    } else {
        config.weight_bytes()
    }
}

/// Weights and gradients that are whole on a rank at once where layers gather them: tables, and the layers that compute or are gathered
/// ahead; besides, the rank's share of all gradients. Its share of the weights is the optimizer's master copy.
fn sharded(config: &Config, layers: &[Vec<u64>], stage: u64) -> (f64, f64) {
    let all = stage_weights(config, layers, stage);
    let (dense, expert) = stage_layers(config, layers, stage);
    let stacked = super::weights::Weights::of_layers(config, dense, expert);
    let tables = all.minus(stacked).total();
    let one = stacked.total() / (dense + expert).max(1) as f64;
    let ahead = (*config.stack.prefetch_forward).max(*config.stack.prefetch_backward) as f64;
    let held = if config.sharding == Sharding::Gradients { stacked.total() } else { (1.0 + ahead) * one };
    let owned = all.trained(config).owned(config);
    (tables + held.min(stacked.total()), owned + config.trained_share() * (tables + 2.0 * one))
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
    } else if config.recomputed_share() < 1.0 {
        out.push("more recompute_layers keep one activation a layer".to_owned());
    }
    if config.sharding == Sharding::None && config.parallel.replicas() > 1 {
        let saved = plan.optimizer * (1.0 - 1.0 / config.parallel.replicas() as f64);
        out.push(format!("sharding = \"optimizer\" saves {}", crate::units::Bytes::new(saved)));
    }
    if config.sharding < Sharding::Weights && config.stack.gathers_layers.value {
        out.push("sharding = \"weights\" keeps one layer's weights and gradients at a time".to_owned());
    }
    if config.has_experts() && config.parallel.expert_replicas() > 1 {
        out.push("more expert parallelism spreads the experts over more ranks".to_owned());
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
