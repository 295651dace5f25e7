//! Attention of an iteration: decodes by batch and mean context, chunks of prompts, both in one kernel, layers with a window.

use super::grid::{context_of, knot_below};
use super::{Batch, Cost};
use crate::hardware::Dtype;
use crate::kernels::{AttentionForm, Decode, Prefill};

/// A prefill that every part with attention kernels can run.
const TRIAL: Prefill = Prefill { batch: 1, tokens: 16, heads: 1, kv_heads: 1, kv_bytes: 2.0, query_bytes: 2.0 };
/// Size of the heads that kernels were measured with; others are taken as so many more or fewer tokens.
const MEASURED_HEAD: f64 = 128.0;

impl Cost<'_> {
    /// Chooses kernels and formats that the part has.
    pub(super) fn try_attention(&mut self) -> Result<(), String> {
        if self.shape.latent.is_some() {
            return Ok(());
        }
        if self.device.prefill(Dtype::Bf16, Dtype::Bf16, TRIAL).is_ok() {
            self.attention = self.device.clone();
        }
        self.prefill_heads(Dtype::Bf16, 1, 16).or_else(|_| {
            self.query = Dtype::Fp8;
            self.prefill_heads(Dtype::Fp8, 1, 16)
        })?;
        self.decode_heads(1, 16, None).map(|_| ())
    }

    /// Attention of one rank's batch in all layers; `tokens` of prompts before they are spread over groups of ranks.
    pub(super) fn attention_of(&mut self, b: &Batch, tokens: u64) -> f64 {
        let mut seconds = 0.0;
        if b.decodes > 0 {
            seconds += self.decode_attention(b.decodes, b.context, self.joint && b.chunks > 0);
        }
        if b.chunks > 0 {
            seconds += self.prefill_attention(b) + self.gather_keys(tokens);
        }
        seconds
    }

    /// Decode attention of all layers.
    pub(super) fn decode_attention(&mut self, batch: u64, context: u64, joint: bool) -> f64 {
        let mean = self.compiled(context as f64 / batch as f64);
        let (low, high) = (knot_below(mean as u64), knot_below(mean as u64) + 1);
        let (x0, x1) = (context_of(low) as f64, context_of(high) as f64);
        let (y0, y1) = (self.decode_at(batch, low, joint), self.decode_at(batch, high, joint));
        y0 + (y1 - y0) * (mean - x0) / (x1 - x0)
    }

    fn decode_at(&mut self, batch: u64, knot: usize, joint: bool) -> f64 {
        let (at, table) = (batch as usize, usize::from(joint));
        if at >= self.by_context[table].len() {
            self.by_context[table].resize(at + 1, Vec::new());
        }
        if knot >= self.by_context[table][at].len() {
            self.by_context[table][at].resize(knot + 1, f64::NAN);
        }
        if self.by_context[table][at][knot].is_nan() {
            let context = context_of(knot);
            let layer = |window| match self.shape.latent {
                Some(l) => self.latent_decode(l, batch, context),
                None if joint => self.joint_heads(batch, context, window),
                // The constructor has tried it.
                None => self.decode_heads(batch, context, window).unwrap_or(0.0),
            };
            let (full, near) = self.shape.attention_kinds();
            let near = if near > 0 { near as f64 * layer(self.shape.window.map(|w| w.tokens)) } else { 0.0 };
            let full = if full > 0 { full as f64 * layer(None) } else { 0.0 };
            self.by_context[table][at][knot] = full + near + self.state_step(batch);
        }
        self.by_context[table][at][knot]
    }

    /// The context that a compiled graph reads: the next length that there is a graph for, whatever the request's own.
    fn compiled(&self, context: f64) -> f64 {
        self.stack.context_buckets.map_or(context, |least| (context.ceil() as u64).next_power_of_two().max(least) as f64)
    }

    /// Heads of one part; where every compute unit is a rank of its own, whole ones for each of them.
    fn own_heads(&self) -> (u64, u64) {
        let units = if *self.stack.splits_units { self.device.units() as u64 } else { 1 };
        let own = |heads: u64| heads.div_ceil(self.tensor * units) * units;
        (own(self.shape.heads), own(self.shape.kv_heads))
    }

    /// Tokens of heads of the measured size with as many elements.
    fn scaled(&self, tokens: u64) -> u64 {
        (tokens as f64 * self.shape.head_dim as f64 / MEASURED_HEAD).ceil().max(1.0) as u64
    }

    fn decode_heads(&self, batch: u64, context: u64, window: Option<u64>) -> Result<f64, String> {
        let (heads, kv_heads) = self.own_heads();
        let form = AttentionForm { window: window.map(|w| self.scaled(w)), ..AttentionForm::default() };
        let context = self.scaled(context);
        let decode = Decode { batch, context, heads, kv_heads, kv_bytes: self.formats.kv.bytes(), query_bytes: 2.0 };
        self.attention.decode_form(self.formats.kv, decode, form)
    }

    /// Decodes in a kernel of prompts: a single query fills a tile of them, and every query head reads its keys by itself.
    fn joint_heads(&self, batch: u64, context: u64, window: Option<u64>) -> f64 {
        let (heads, kv_heads) = self.own_heads();
        let prefix = self.scaled(context).saturating_sub(1);
        let form = AttentionForm { prefix, window: window.map(|w| self.scaled(w)), ..AttentionForm::default() };
        let query_bytes = self.query.bytes();
        let prompts = Prefill { batch, tokens: 1, heads, kv_heads, kv_bytes: self.formats.kv.bytes(), query_bytes };
        self.attention.prefill_form(self.query, self.formats.kv, prompts, form).unwrap_or(0.0)
    }

    fn prefill_heads(&self, query: Dtype, batch: u64, tokens: u64) -> Result<f64, String> {
        let (heads, kv_heads) = self.own_heads();
        let prefill = Prefill { batch, tokens, heads, kv_heads, kv_bytes: self.formats.kv.bytes(), query_bytes: query.bytes() };
        self.attention.prefill(query, self.formats.kv, prefill)
    }

    /// Prefill attention of all layers: chunks as prompts of equal length with as many pairs of query and key. A query of a layer with a
    /// window sees the mean context of the chunks or the window, whichever is less.
    fn prefill_attention(&self, batch: &Batch) -> f64 {
        if let Some(l) = self.shape.latent {
            return self.shape.attention_layers() as f64 * self.latent_prefill(l, batch);
        }
        let layer = |pairs: f64| {
            let each = (2.0 * pairs / batch.chunks as f64).sqrt() * (self.shape.head_dim as f64 / MEASURED_HEAD).sqrt();
            self.prefill_heads(self.query, batch.chunks, (each.round() as u64).max(1)).unwrap_or(0.0)
        };
        let (full, near) = self.shape.attention_kinds();
        let seen = self.shape.window.map_or(0.0, |w| batch.chunk_pairs.min((batch.chunk_tokens * w.tokens) as f64));
        let near = if near > 0 { near as f64 * layer(seen) } else { 0.0 };
        let full = if full > 0 { full as f64 * layer(batch.chunk_pairs) } else { 0.0 };
        self.state_scan(batch.chunk_tokens, batch.chunks) + full + near
    }
}
