//! What a model's layers take by the number of tokens: products, all-reduces, small kernels, experts, the output projection.

use super::{Cost, experts};
use crate::collectives::Op;
use crate::hardware::Dtype;
use crate::kernels::Gemm;
use crate::serving::shape::Mixture;

/// Numbers of tokens from which on times are not kept.
const LONGEST_TABLE: u64 = 1 << 20;
/// Bytes above which an all-reduce is a bulk one.
const BULK: f64 = 8e6;
/// Small kernels of a layer with latent attention (assumed: as many as the prototype that met TPOT of DeepSeek-V3).
const LATENT_KERNELS: f64 = 10.0;
/// Router: product, scores, choice.
const ROUTER: f64 = 8e-6;
/// Bytes of small kernels for one token of a layer: six passes over the hidden vector, twice the attention vectors, three over the
/// feed-forward width, 16 bit.
const PASSES: (f64, f64, f64) = (6.0, 2.0, 3.0);
/// Share of memory bandwidth of small kernels in serving.
pub(super) const SMALL_MEMORY: f64 = 0.8;
pub(super) const SMALL_GAP: f64 = 2e-6;

impl Cost<'_> {
    /// A product of a layer; prompts keep matrix units busy for long enough that clocks fall to what the power limit allows.
    pub(super) fn gemm(&self, dtype: Dtype, (m, n, k): (u64, u64, u64), prefill: bool) -> f64 {
        let g = Gemm { m, n: n.max(1), k: k.max(1), batch: 1, output_bytes: 2.0 };
        let share = if prefill { self.device.clock_share() } else { 1.0 };
        if self.stack.fused_casts.value { self.device.gemm_fused_at(dtype, g, share) } else { self.device.gemm_at(dtype, g, share) }
    }

    fn all_reduce(&self, bytes: f64) -> f64 {
        let Some(group) = &self.tensor_group else { return 0.0 };
        let seconds = self.slow * group.time_alone(Op::AllReduce, bytes);
        if bytes > BULK { seconds * self.bulk } else { seconds }
    }

    /// All of a model's layers except attention itself and exchange, for the tokens of a rank and of all ranks together.
    pub(super) fn layers_by_tokens(&mut self, own: u64, total: u64, prefill: bool) -> f64 {
        let table = usize::from(prefill);
        let mut seconds = lookup(&mut self.by_tokens[table], own).unwrap_or(f64::NAN);
        if seconds.is_nan() {
            seconds = self.layers(own, prefill);
            keep(&mut self.by_tokens[table], own, seconds);
        }
        let Some(mixture) = self.shape.mixture else { return seconds };
        let mut routed = lookup(&mut self.by_total[table], total).unwrap_or(f64::NAN);
        if routed.is_nan() {
            let layers = (self.shape.layers - self.shape.dense_layers()) as f64;
            routed = layers * self.routed(total, mixture, prefill);
            keep(&mut self.by_total[table], total, routed);
        }
        seconds + routed
    }

    /// What every rank does with its own tokens.
    fn layers(&self, m: u64, prefill: bool) -> f64 {
        let s = &self.shape;
        let dense = s.dense_layers() as f64;
        let sparse = s.layers as f64 - dense;
        let reduce = self.all_reduce(2.0 * (m * s.hidden) as f64);
        // With data-parallel attention the experts' sum comes back by an exchange instead of an all-reduce.
        let blocks = s.block_share();
        let reduces = if self.data > 1 { dense + s.layers as f64 } else { 2.0 * blocks * s.layers as f64 };
        let mixers = s.attention_layers() as f64 * self.projections(m, prefill) + self.state_projections(m, prefill);
        let wide = dense * s.feed_forward_share();
        let mut seconds = mixers + blocks * s.layers as f64 * self.small(m) + reduces * reduce;
        seconds += wide * self.feed_forward(self.formats.linear, m, s.ffn, prefill);
        if let Some(x) = s.mixture {
            // Shared experts: half of their time beside the routed ones.
            let shared = if x.shared > 0 { 0.5 * self.feed_forward(self.formats.linear, m, x.shared * x.width, prefill) } else { 0.0 };
            seconds += sparse * (ROUTER + shared);
        }
        seconds
    }

    /// Attention projections of a layer.
    fn projections(&self, m: u64, prefill: bool) -> f64 {
        let (s, t) = (&self.shape, self.tensor);
        let gemm = |n, k| self.gemm(self.formats.attention, (m, n, k), prefill);
        if let Some(l) = s.latent {
            let own = s.heads.div_ceil(t);
            let down = gemm(l.query_rank + l.kv_rank + l.rope, s.hidden);
            let up = gemm(own * (l.nope + l.rope), if l.query_rank > 0 { l.query_rank } else { s.hidden });
            return down + up + gemm(s.hidden, own * l.value);
        }
        let own = s.heads.div_ceil(t);
        let qkv = (own + 2 * s.kv_heads.div_ceil(t)) * s.head_dim;
        gemm(qkv, s.hidden) + gemm(s.hidden, own * s.head_dim)
    }

    fn feed_forward(&self, dtype: Dtype, m: u64, width: u64, prefill: bool) -> f64 {
        let (s, own) = (&self.shape, width.div_ceil(self.tensor));
        self.gemm(dtype, (m, s.ffn_inputs * own, s.hidden), prefill) + self.gemm(dtype, (m, s.hidden, own), prefill)
    }

    /// Routed experts of a layer for the tokens of all ranks.
    fn routed(&self, total: u64, x: Mixture, prefill: bool) -> f64 {
        let dtype = self.formats.linear;
        let share = if prefill { self.device.clock_share() } else { 1.0 };
        let rank = experts::Rank {
            hidden: self.shape.hidden,
            inputs: self.shape.ffn_inputs,
            tensor: self.tensor * self.data / self.expert,
            expert: self.expert,
            bytes: self.formats.linear.bytes(),
            peak: share * self.device.peak(dtype).unwrap_or(1.0),
            bandwidth: self.device.memory_bandwidth(),
        };
        let slots = Mixture { experts: x.experts + self.redundant, ..x };
        experts::routed(self.expert_kernel, &rank, slots, total, self.imbalance)
    }

    /// Norms, activation, rotation and cache writes of a layer.
    fn small(&self, m: u64) -> f64 {
        let (s, t) = (&self.shape, self.tensor as f64);
        let qkv = ((s.heads + 2 * s.kv_heads.min(s.heads)) * s.head_dim) as f64 / t;
        let width = s.mixture.map_or(s.ffn, |x| x.width * (x.per_token + x.shared)) as f64 / t / self.data as f64;
        let bytes = 2.0 * m as f64 * (PASSES.0 * s.hidden as f64 + PASSES.1 * qkv + PASSES.2 * width);
        let kernels = if s.latent.is_some() { LATENT_KERNELS } else { *self.stack.small_kernels };
        kernels * SMALL_GAP + bytes / (SMALL_MEMORY * self.device.memory_bandwidth())
    }

    /// Output projection and the exchange of its parts, for the sequences that get a token.
    pub(super) fn head(&mut self, logits: u64) -> f64 {
        let at = logits as usize;
        if at == 0 {
            return 0.0;
        }
        if at >= self.by_logits.len() {
            self.by_logits.resize(at + 1, f64::NAN);
        }
        if self.by_logits[at].is_nan() {
            let own = self.shape.vocabulary.div_ceil(self.tensor);
            let product = Gemm { m: logits, n: own, k: self.shape.hidden, batch: 1, output_bytes: 2.0 };
            let bytes = 2.0 * (logits * self.shape.vocabulary) as f64;
            let gather = self.tensor_group.as_ref().map_or(0.0, |g| g.time_alone(Op::AllGather, bytes));
            self.by_logits[at] = self.device.gemm(Dtype::Bf16, product) + gather;
        }
        self.by_logits[at]
    }
}

/// A kept time; none from a length on at which times are not kept.
pub(super) fn lookup(table: &mut Vec<f64>, at: u64) -> Option<f64> {
    if at >= LONGEST_TABLE {
        return None;
    }
    if at as usize >= table.len() {
        table.resize(at as usize + 1, f64::NAN);
    }
    Some(table[at as usize])
}

pub(super) fn keep(table: &mut [f64], at: u64, seconds: f64) {
    if let Some(slot) = table.get_mut(at as usize) {
        *slot = seconds;
    }
}
