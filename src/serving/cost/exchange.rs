//! What ranks of an engine exchange within a layer, and how much of it hides behind compute.

use super::Cost;
use super::layers::{keep, lookup};
use crate::collectives::{Algorithm, Op, TOKEN_KERNEL_UNITS};

impl Cost<'_> {
    /// All layers for the tokens of a rank and of all ranks, with the attention of the slowest.
    pub(super) fn model(&mut self, own: u64, total: u64, attention: f64, prefill: bool) -> f64 {
        let compute = self.layers_by_tokens(own, total, prefill) + attention;
        let exchange = self.exchanges(own, prefill);
        let whole = compute + exchange;
        if !self.two_batches || own < 2 {
            return whole;
        }
        // While one half computes, the tokens of the other are under way. Kernels that move a prompt's tokens hold some compute units, those
        // of decodes none.
        let left = if prefill && *self.stack.deepep { 1.0 - (TOKEN_KERNEL_UNITS as f64 / self.device.units()).min(0.5) } else { 1.0 };
        let halves = (2.0 * self.layers_by_tokens(own.div_ceil(2), total.div_ceil(2), prefill) + attention) / left;
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
        if self.shape.mixture.is_none() || self.all_ranks.is_none() {
            return 0.0;
        }
        let table = usize::from(prefill);
        let mut seconds = lookup(&mut self.by_exchange[table], m).unwrap_or(f64::NAN);
        if seconds.is_nan() {
            let layers = (self.shape.layers - self.shape.dense_layers()) as f64;
            seconds = layers * self.exchange(m, prefill);
            keep(&mut self.by_exchange[table], m, seconds);
        }
        seconds
    }

    /// Dispatch of a rank's tokens to the ranks of their experts (8 bit with scales) and the way back (16 bit): one copy of a prompt's token
    /// to every node that it visits, one for every expert of a decode's. By the two kinds of kernels of DeepEP where the engine has them.
    fn exchange(&self, m: u64, prefill: bool) -> f64 {
        let (Some(all), Some(x)) = (&self.all_ranks, self.shape.mixture) else { return 0.0 };
        if let Some(routing) = all.routing().filter(|_| *self.stack.deepep) {
            let algorithm = if prefill { Algorithm::OneCopy } else { Algorithm::LowLatency };
            let one = |op| {
                let bytes = m as f64 * self.imbalance * routing.row(op, algorithm);
                all.plan_as(op, bytes, algorithm).map_or_else(|| all.time_alone(op, bytes), |plan| all.time_of(op, bytes, &plan))
            };
            return one(Op::Dispatch) + one(Op::Combine);
        }
        let (nodes, per_token) = (self.nodes as f64, x.per_token as f64);
        let copies = if prefill && self.nodes > 1 { nodes * (1.0 - libm::pow(1.0 - 1.0 / nodes, per_token)) } else { per_token };
        let elements = (m * self.shape.hidden) as f64 * copies * self.imbalance;
        all.time_alone(Op::AllToAll, elements * (1.0 + 1.0 / 32.0)) + all.time_alone(Op::AllToAll, 2.0 * elements)
    }
}
