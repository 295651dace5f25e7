//! Time of one iteration of an engine: matrix products, attention, all-reduces, small kernels, output projection, host.
//!
//! Everything that depends on the number of tokens alone is computed once for each number; decode attention is a table of
//! batch and mean context that is linear between contexts a sixteenth of an octave apart.

mod attention;
mod draft;
mod exchange;
mod grid;
mod latent;
mod layers;
mod states;

use super::adapters::Adapters;
use super::experts::{self, ExpertKernel};
use super::shape::Shape;
use super::stack::StackRow;
use crate::collectives::{Communicator, Op};
use crate::hardware::Dtype;
use crate::kernels::DeviceModel;
use grid::graph_size;

/// Number formats of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// Weights and operands of the large matrix products (of the experts alone, where a checkpoint keeps the others wider).
    pub linear: Dtype,
    /// Weights and operands of the attention projections.
    pub attention: Dtype,
    /// Keys and values in the cache.
    pub kv: Dtype,
}

/// The work of one iteration.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Batch {
    /// Sequences that decode.
    pub decodes: u64,
    /// Tokens that each of them runs (1 without speculation).
    pub width: u64,
    /// Context tokens of all of them together, new ones included.
    pub context: u64,
    /// Chunks of prompts.
    pub chunks: u64,
    /// Tokens of the chunks.
    pub chunk_tokens: u64,
    /// Pairs of query and key of the chunks: chunk × (tokens before + chunk / 2).
    pub chunk_pairs: f64,
    /// Prompts that end in this iteration.
    pub finished: u64,
}

/// The iteration times of one deployment on one kind of part.
pub struct Cost<'f> {
    device: DeviceModel,
    attention: DeviceModel,
    tensor_group: Option<Communicator<'f>>,
    all_ranks: Option<Communicator<'f>>,
    next_stage: Option<Communicator<'f>>,
    shape: Shape,
    stack: StackRow,
    formats: Formats,
    query: Dtype,
    /// Whether decodes and prompts of a batch share one attention kernel.
    joint: bool,
    tensor: u64,
    data: u64,
    expert: u64,
    pipeline: u64,
    redundant: u64,
    imbalance: f64,
    two_batches: bool,
    nodes: u64,
    context: u64,
    context_group: Option<Communicator<'f>>,
    adapters: Option<Adapters>,
    drafts: u64,
    /// The model that drafts, where it is not a layer of the model itself.
    draft_model: Option<Box<Cost<'f>>>,
    expert_kernel: ExpertKernel,
    bulk: f64,
    /// Factor on all-reduces.
    slow: f64,
    /// Speed of the slowest accelerator of the group.
    speed: f64,
    /// Layers by the tokens of a rank, in decodes alone and beside prompts (clocks under the power limit).
    by_tokens: [Vec<f64>; 2],
    /// Routed experts by the tokens of all ranks, likewise.
    by_total: [Vec<f64>; 2],
    by_logits: Vec<f64>,
    /// Decode attention by batch and context, alone and in one kernel with prompts.
    by_context: [Vec<Vec<f64>>; 2],
    /// Exchange of tokens, copies for a node merged or not.
    by_exchange: [Vec<f64>; 2],
}

/// An iteration of an engine with stages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stages {
    /// Seconds of a stage before the last.
    pub each: f64,
    /// Seconds of the last, with the output projection.
    pub last: f64,
    /// Seconds from one stage to the next.
    pub send: f64,
}

/// One iteration in its parts, seconds.
struct Iteration {
    layers: f64,
    head: f64,
    /// Least time of a launch kernel by kernel.
    floor: f64,
    host: f64,
    /// Tokens of the fullest rank.
    tokens: u64,
}

/// What a deployment is, for the iteration times.
pub struct Parts<'f> {
    /// The accelerator with an engine's kernels.
    pub device: DeviceModel,
    /// Whose attention kernels are taken where it has none.
    pub attention: DeviceModel,
    /// Generation of the accelerators.
    pub generation: String,
    /// The tensor-parallel group, where there are several ranks.
    pub group: Option<Communicator<'f>>,
    /// All ranks of the engine, where attention is data-parallel.
    pub all: Option<Communicator<'f>>,
    /// One rank and that of the next stage, where there are several.
    pub next: Option<Communicator<'f>>,
    /// Tensor ranks.
    pub tensor: u64,
    /// Data-parallel attention ranks, each of `tensor` accelerators.
    pub data: u64,
    /// Expert ranks among all of them.
    pub expert: u64,
    /// Copies of experts beside the model's own.
    pub redundant: u64,
    /// Load of the busiest expert rank over the mean.
    pub imbalance: f64,
    /// Whether one half of a batch computes while the other half's tokens are exchanged.
    pub two_batches: bool,
    /// Nodes of the engine.
    pub nodes: u64,
    /// Groups of ranks over which every prompt is spread, and one rank of each of them where there are several.
    pub context: u64,
    /// The same as a group.
    pub spread: Option<Communicator<'f>>,
    /// Stages.
    pub pipeline: u64,
    /// Adapters that requests ask for.
    pub adapters: Option<Adapters>,
    /// Tokens that a draft guesses in every decode step.
    pub drafts: u64,
    /// Speed of the slowest accelerator, 1 for a sound one.
    pub speed: f64,
}

impl<'f> Cost<'f> {
    /// Joins model, engine and hardware.
    ///
    /// # Errors
    /// Which operator has no kernels on the part.
    pub fn new(parts: Parts<'f>, shape: &Shape, stack: &StackRow, formats: Formats) -> Result<Self, String> {
        let mut cost = Self {
            device: parts.device,
            attention: parts.attention,
            tensor_group: parts.group,
            all_ranks: parts.all,
            next_stage: parts.next,
            shape: shape.clone(),
            stack: stack.clone(),
            formats,
            query: Dtype::Bf16,
            joint: shape.latent.is_none() && stack.joint_attention.iter().any(|g| g.value == parts.generation),
            tensor: parts.tensor,
            data: parts.data,
            expert: parts.expert,
            pipeline: parts.pipeline,
            redundant: parts.redundant,
            imbalance: parts.imbalance,
            two_batches: parts.two_batches,
            nodes: parts.nodes,
            context: parts.context,
            context_group: parts.spread,
            adapters: parts.adapters,
            drafts: parts.drafts,
            draft_model: None,
            expert_kernel: ExpertKernel::of(formats.linear, &parts.generation, parts.expert),
            bulk: *stack.bulk_all_reduce,
            slow: 1.0,
            speed: parts.speed,
            by_tokens: [Vec::new(), Vec::new()],
            by_total: [Vec::new(), Vec::new()],
            by_logits: Vec::new(),
            by_context: [Vec::new(), Vec::new()],
            by_exchange: [Vec::new(), Vec::new()],
        };
        for dtype in [formats.linear, formats.attention, Dtype::Bf16] {
            if cost.device.peak(dtype).is_none() {
                return Err(format!("this part has no matrix path for {dtype}"));
            }
        }
        cost.try_attention()?;
        Ok(cost)
    }

    /// Makes every all-reduce of the tensor ranks `factor` times as slow, before any time was asked for.
    pub const fn slow_all_reduces(&mut self, factor: f64) {
        self.slow = factor;
    }

    /// Seconds of an all-reduce of the tensor ranks; 0 for one rank.
    #[must_use]
    pub fn all_reduce_time(&self, bytes: f64) -> f64 {
        self.slow * self.tensor_group.as_ref().map_or(0.0, |g| g.time_alone(Op::AllReduce, bytes))
    }

    /// Lets another model draft.
    pub fn set_draft(&mut self, draft: Self) {
        self.draft_model = Some(Box::new(draft));
    }

    /// Seconds of one iteration: one batch for each data-parallel attention rank, in step with each other. The slowest rank counts; experts
    /// see the tokens of all.
    pub fn time(&mut self, batches: &[Batch]) -> f64 {
        let p = self.parts(batches);
        (p.layers + p.head).max(p.floor) / self.speed + p.host
    }

    /// Seconds of the stages of an iteration; the host's work falls on each of them.
    pub fn stages(&mut self, batches: &[Batch]) -> Stages {
        let p = self.parts(batches);
        let longest = self.shape.layers.div_ceil(self.pipeline) as f64 / self.shape.layers as f64;
        let (layers, floor) = (p.layers * longest, p.floor * longest);
        // Hidden vectors and residuals, 16 bit, each tensor rank its part.
        let bytes = 4.0 * (p.tokens * self.shape.hidden) as f64 / self.tensor as f64;
        let send = self.next_stage.as_ref().map_or(0.0, |n| n.time_alone(Op::SendRecv, bytes));
        Stages { each: layers.max(floor) / self.speed + p.host, last: (layers + p.head).max(floor) / self.speed + p.host, send }
    }

    fn parts(&mut self, batches: &[Batch]) -> Iteration {
        let most = *self.stack.graph_batch;
        let eager = batches.iter().any(|b| b.chunks > 0 || b.decodes > most);
        let (mut own, mut total, mut attention, mut logits, mut sequences, mut decodes) = (0, 0, 0.0, 0, 0, 0);
        for whole in batches {
            // Every group of ranks has a part of each prompt.
            let b = &Batch {
                chunk_tokens: whole.chunk_tokens.div_ceil(self.context),
                chunk_pairs: whole.chunk_pairs / self.context as f64,
                ..*whole
            };
            let width = b.width.max(1);
            let tokens = if eager { b.decodes * width + b.chunk_tokens } else { graph_size(b.decodes, most) * width };
            own = tokens.max(own);
            total += tokens;
            let seconds = self.attention_of(b, whole.chunk_tokens);
            attention = seconds.max(attention);
            logits = (b.decodes * width + b.finished).max(logits);
            sequences = (b.decodes + b.chunks).max(sequences);
            decodes = b.decodes.max(decodes);
        }
        let prefill = batches.iter().any(|b| b.chunks > 0);
        let model = self.model(own, total, attention, prefill);
        let mut layers = model;
        if let Some(adapters) = self.adapters {
            let rates = (self.device.memory_bandwidth(), self.device.peak(Dtype::Bf16).unwrap_or(1.0));
            layers += adapters.time(&self.shape, self.tensor, (sequences, own), rates);
        }
        let mut head = self.head(logits);
        if self.drafts > 0 {
            head += self.draft(model, own, decodes, batches);
        }
        let floor = if eager && most > 0 { self.floor() } else { 0.0 };
        let host = if prefill { self.stack.host_prefill.get() } else { self.stack.host_iteration.get() };
        Iteration { layers, head, floor, host: host + self.stack.host_sequence.get() * sequences as f64, tokens: own }
    }

    /// Least time of an iteration that is launched kernel by kernel.
    fn floor(&self) -> f64 {
        let layer = if self.shape.mixture.is_some() { &self.stack.eager_mixture_layer } else { &self.stack.eager_layer };
        layer.get() * self.shape.layers as f64
    }

    /// Which constants serve it.
    #[must_use]
    pub const fn device(&self) -> &DeviceModel {
        &self.device
    }
    /// The engine.
    #[must_use]
    pub const fn stack(&self) -> &StackRow {
        &self.stack
    }
}
