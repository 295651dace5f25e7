//! Attention of ranks that share every sequence: which part each computes, in how many kernels, and what travels between them.

use super::config::Attention;
use super::cost::PassCost;
use super::layer::Shape;
use super::lower::Lowering;
use super::place::context_groups;
use super::stack::ContextExchange;
use crate::collectives::{Library, Op as Collective};
use crate::kernels::{AttentionForm, FlashAttention, Pass};
use crate::workload::RouteId;

/// Exchange among context ranks.
#[derive(Clone, Copy, Default)]
pub(super) struct ContextRoute {
    pub(super) route: Option<RouteId>,
    /// Payload of one exchange, bytes: keys and values of all context ranks, or what a rank swaps for heads.
    pub(super) bytes: f64,
    /// Seconds of one exchange on idle links.
    pub(super) seconds: f64,
    pub(super) share: f64,
    /// Exchanges inside the passes of the stage.
    pub(super) inside: f64,
}

/// Memory traffic of keys and values in a ring, bytes per element: joined for the way, then at every step half of them copied (forward), or
/// their gradients joined and added (backward; TransformerEngine, `AttnFuncWithCP`).
const RING_KEYS: [[f64; 2]; 2] = [[2.0, 2.0], [4.0, 10.0]];
/// Kernels of a step of a ring beside attention, forward and backward: copies, corrections, messages (forward counted in the same code, backward
/// from memory).
const RING_KERNELS: [f64; 2] = [4.0, 7.0];
/// Memory traffic of what is swapped for heads, bytes per element: ordered by rank before, by token after, a copy each (2 + 2; TransformerEngine's
/// `flash_attn_a2a_communicate`, from memory).
const SWAPPED: f64 = 8.0;

impl Shape<'_> {
    /// Scores, softmax, product with the values, of this rank's part.
    pub(super) fn attention_core(&self, pass: Pass) -> f64 {
        let model = &self.config.model;
        let heads = (model.heads / self.tensor).max(1);
        let (s, context) = (model.sequence_length, self.config.parallel.context);
        let exchange = *self.config.stack.context_exchange;
        let swaps = context > 1 && exchange == ContextExchange::AllToAll;
        let around = if swaps { self.swapped() } else { 0.0 };
        let (heads, own) = if swaps { ((heads / context).max(1), s) } else { (heads, s / context) };
        if self.config.attention != Attention::Flash {
            return self.unfused(pass, self.config.microbatch * heads, own) + around;
        }
        let head_dim = model.latent.map_or(model.head_dim, |l| (l.nope + l.rope + l.value) / 2);
        let generation = *self.config.stack.attention;
        let shape = FlashAttention { batch: self.config.microbatch, heads, sequence: s, head_dim, generation };
        match exchange {
            _ if own == s => self.flash(shape, pass) + around,
            ContextExchange::Ring => self.ring(shape, pass),
            _ => self.flash(shape, pass) * self.slowest() / context as f64,
        }
    }

    /// Work of the slowest context rank over the mean: they share the causal work evenly where each takes an early and a late part of the
    /// sequence; else the last one, which sees nearly all, sets the pace.
    fn slowest(&self) -> f64 {
        let balanced = self.config.stack.context_balanced.value || !self.config.model.causal;
        if balanced { 1.0 } else { 2.0 - 1.0 / self.config.parallel.context as f64 }
    }

    /// Flash attention of whole sequences, the mean over layers with and without a window: kernels reach what the number of keys lets them,
    /// and leave out what mask and window hide where the stack's do.
    fn flash(&self, shape: FlashAttention, pass: Pass) -> f64 {
        self.over_windows(|window| self.flash_block(shape, self.masks(), window, pass))
    }

    fn masks(&self) -> bool {
        self.config.model.causal && self.config.stack.causal_skip.value
    }

    /// The mean over layers of what `of` says for those without and with a window.
    fn over_windows(&self, of: impl Fn(Option<u64>) -> f64) -> f64 {
        match self.config.model.window {
            Some(w) if self.config.stack.window_skip.value => (1.0 - w.share()) * of(None) + w.share() * of(Some(w.tokens)),
            _ => of(None),
        }
    }

    fn flash_block(&self, shape: FlashAttention, causal: bool, window: Option<u64>, pass: Pass) -> f64 {
        let dim = shape.head_dim;
        let form = AttentionForm { key_dim: dim, value_dim: dim, window, causal, ..AttentionForm::default() };
        let kernel = self.device.flash_attention_form(shape, form, pass);
        if !self.config.model.dropout {
            return kernel;
        }
        let square = (shape.batch * shape.heads) as f64 * shape.sequence as f64 * shape.sequence as f64;
        kernel + self.device.attention_dropout(if causal { 0.5 * square } else { square }, pass)
    }

    /// Attention in as many steps as ranks: the own part causal, then against the parts that arrive half of the queries or of the keys; where
    /// parts are not balanced, all of the last rank's. Every step has kernels of its own size, and its result is merged with those before.
    fn ring(&self, shape: FlashAttention, pass: Pass) -> f64 {
        let context = self.config.parallel.context;
        let own = FlashAttention { sequence: shape.sequence / context, ..shape };
        let masks = self.masks();
        let halved = masks && self.config.stack.context_balanced.value;
        // Two squares of half the side are all queries against half of the keys.
        let other = if halved { FlashAttention { batch: 2 * own.batch, sequence: own.sequence / 2, ..own } } else { own };
        let steps = context as f64;
        let whole = self.over_windows(|window| match window {
            None => self.flash_block(own, masks, None, pass) + (steps - 1.0) * self.flash_block(other, false, None, pass),
            // Few parts lie within a window.
            Some(_) => self.flash_block(shape, masks, window, pass) * self.slowest() / steps,
        });
        whole + self.merges(pass)
    }

    /// Traffic and kernels of merging the steps of a ring.
    fn merges(&self, pass: Pass) -> f64 {
        let (model, stack, steps) = (&self.config.model, &self.config.stack, self.config.parallel.context as f64);
        let step = if pass == Pass::Forward { *stack.ring_bytes_forward } else { *stack.ring_bytes_backward };
        let [once, each] = RING_KEYS[pass as usize];
        let wide = 0.5 * self.config.precision.activation_bytes();
        let elements = |heads: u64| self.tokens as f64 * (heads * model.head_dim) as f64 / self.tensor as f64;
        let bytes = step * steps * elements(model.heads) + (once + each * steps) * elements(2 * model.kv_heads);
        self.device.stream(wide * bytes, RING_KERNELS[pass as usize] * steps)
    }

    /// Copies round the swap of parts of sequences for heads: queries, keys, values and result.
    fn swapped(&self) -> f64 {
        let bytes = SWAPPED * 0.5 * self.config.precision.activation_bytes();
        self.device.stream(bytes * self.tokens as f64 * self.swapped_width(), 8.0)
    }

    /// Elements of queries, keys, values and result of a token on one tensor rank.
    fn swapped_width(&self) -> f64 {
        let model = &self.config.model;
        (2 * (model.heads + model.kv_heads) * model.head_dim) as f64 / self.tensor as f64
    }

    /// Exchanges of a pass: keys and values once, backward again and their gradients; or queries, keys and values there and the result back.
    pub(super) fn context(&self, pass: Pass) -> f64 {
        if self.config.parallel.context == 1 {
            return 0.0;
        }
        let swaps = *self.config.stack.context_exchange == ContextExchange::AllToAll;
        let count = if swaps || pass == Pass::Backward { 2.0 } else { 1.0 };
        count * self.config.model.attention_share()
    }
}

impl Lowering<'_, '_> {
    pub(super) fn add_context_route(&mut self, class: u64, library: &Library) -> ContextRoute {
        let parallel = self.config.parallel;
        if parallel.context == 1 {
            return ContextRoute::default();
        }
        let (model, wide) = (&self.config.model, self.config.precision.activation_bytes());
        let elements = |heads: u64| ((heads / parallel.tensor).max(1) * model.head_dim) as f64;
        let (op, bytes) = match *self.config.stack.context_exchange {
            // Of the two exchanges of a pass, the mean.
            ContextExchange::AllToAll => {
                let own = wide * self.config.microbatch_tokens() as f64;
                (Collective::AllToAll, own * (elements(model.heads) + elements(model.kv_heads)))
            }
            ContextExchange::Ring | ContextExchange::Gather => {
                let tokens = (self.config.microbatch * model.sequence_length) as f64;
                (Collective::AllGather, 2.0 * wide * elements(model.kv_heads) * tokens)
            }
        };
        let stage = self.stage(class);
        let group = self.communicator(context_groups(&parallel, self.members(class), stage), library);
        let route = self.route(format!("context parallel of stage {stage}"), &group, op, &[class]);
        let plan = self.network.plan(route, bytes);
        ContextRoute { route: Some(route), bytes, seconds: self.network.time_alone(route, bytes), share: plan.kernel_sm_share, inside: 0.0 }
    }

    /// Seconds of context-parallel exchange in a pass that its attention does not hide: a ring passes the parts of keys and values
    /// on while attention works on the part before, so all but one part runs beside it; other exchanges come before and after.
    pub(super) fn exposed_context(&self, class: u64, cost: &PassCost) -> f64 {
        let route = &self.context[class as usize];
        if cost.context_count == 0.0 {
            return 0.0;
        }
        let all = route.seconds * cost.context_count;
        if *self.config.stack.context_exchange != ContextExchange::Ring {
            return all;
        }
        let parts = self.config.parallel.context as f64;
        all - all.min(cost.attention) * (1.0 - 1.0 / parts) * (1.0 - route.share)
    }
}
