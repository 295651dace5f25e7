//! What ranks of an engine exchange within a layer, and how much of it hides behind compute.

use super::{Cost, keep, lookup};
use crate::collectives::Op;

impl Cost<'_> {
    /// All layers for the tokens of a rank and of all ranks, with the attention of the slowest.
    pub(super) fn model(&mut self, own: u64, total: u64, attention: f64, prefill: bool) -> f64 {
        let compute = self.layers_by_tokens(own, total) + attention;
        let exchange = self.exchanges(own, prefill);
        let whole = compute + exchange;
        if !self.two_batches || own < 2 {
            return whole;
        }
        // While one half computes, the tokens of the other are under way.
        let halves = 2.0 * self.layers_by_tokens(own.div_ceil(2), total.div_ceil(2)) + attention;
        let exchanges = 2.0 * self.exchanges(own.div_ceil(2), prefill);
        whole.min(halves.max(exchanges))
    }

    /// Exchange of a prompt's keys and values among the groups of ranks that share it, in all layers.
    pub(super) fn gather_keys(&self, tokens: u64) -> f64 {
        let Some(group) = &self.context_group else { return 0.0 };
        let layers = self.shape.layers as f64;
        let bytes = self.shape.kv_bytes_per_token(self.formats.kv, self.tensor) / layers * tokens as f64;
        layers * group.time_alone(Op::AllGather, bytes)
    }

    /// Exchange of a rank's tokens in all layers with experts.
    pub(super) fn exchanges(&mut self, m: u64, prefill: bool) -> f64 {
        let (Some(x), true) = (self.shape.mixture, self.all_ranks.is_some()) else { return 0.0 };
        let merged = usize::from(prefill && self.nodes > 1);
        let mut seconds = lookup(&mut self.by_exchange[merged], m).unwrap_or(f64::NAN);
        if seconds.is_nan() {
            let layers = (self.shape.layers - self.shape.dense_layers()) as f64;
            seconds = layers * self.exchange(m, x.per_token, merged == 1);
            keep(&mut self.by_exchange[merged], m, seconds);
        }
        seconds
    }

    /// Dispatch of tokens to the ranks of their experts (8 bit with scales) and the way back (16 bit). Exchange of prompts sends one copy
    /// to every node that a token visits, that of decodes one to every expert (as the two modes of DeepEP).
    pub(super) fn exchange(&self, m: u64, per_token: u64, merged: bool) -> f64 {
        let Some(all) = &self.all_ranks else { return 0.0 };
        let nodes = self.nodes as f64;
        let copies = if merged { nodes * (1.0 - libm::pow(1.0 - 1.0 / nodes, per_token as f64)) } else { per_token as f64 };
        let elements = (m * self.shape.hidden) as f64 * copies * self.imbalance;
        all.time_alone(Op::AllToAll, elements * (1.0 + 1.0 / 32.0)) + all.time_alone(Op::AllToAll, 2.0 * elements)
    }
}
