//! Layers with a state in place of attention: products, scan, small kernels, what they keep.

use super::layer::Shape;
use super::products::Products;
use crate::kernels::Pass;
use crate::model::{Architecture, StateKind, StateMixer};

/// Memory traffic of the causal convolution, bytes per channel: read and written; backward two reads and a write, and the input again.
const CONVOLUTION_BYTES: [f64; 2] = [4.0, 8.0];
/// The same of the gated norm after a chunked scan: result and gate read, written; backward three reads and two writes. The selective
/// scan applies its gate itself.
const GATED_NORM_BYTES: [f64; 2] = [6.0, 10.0];

impl Shape<'_> {
    /// The mixer on this rank, and the share of the layers that have it.
    fn state(&self) -> Option<(StateMixer, f64)> {
        let model = &self.config.model;
        model.hybrid.map(|h| (h.state.split(self.tensor), model.state_share()))
    }

    /// Its linear layers, the mean over all layers. The rank of a step size is not split.
    pub(super) fn state_products(&self, products: Products) -> f64 {
        let Some((state, share)) = self.state() else { return 0.0 };
        let dtype = self.config.precision.linear();
        let all = state.products(self.config.model.hidden);
        share * all.into_iter().map(|(n, k)| self.linear(n, k, products, dtype)).sum::<f64>()
    }

    /// Its scan, the mean over all layers.
    pub(super) fn state_scan(&self, pass: Pass) -> f64 {
        let Some((state, share)) = self.state() else { return 0.0 };
        share * self.device.scan(&state, self.tokens as f64, self.config.model.sequence_length as f64, pass)
    }

    /// Memory traffic of small kernels on what tensor ranks split, beside the feed-forward network: bytes per token. Of attention the
    /// projected queries, keys and values; of states convolution and gated norm.
    pub(super) fn mixer_bytes(&self, pass: Pass) -> f64 {
        let model = &self.config.model;
        let forward = pass == Pass::Forward;
        let (stack, hidden) = (&self.config.stack, model.hidden as f64);
        let attention = if forward {
            2.0 * model.qkv_width() as f64 + *stack.projection_extra_bytes_forward * hidden
        } else {
            (12.0 + *stack.projection_extra_bytes_backward) * hidden
        };
        let state = model.hybrid.map_or(0.0, |h| {
            let at = usize::from(!forward);
            let gated = if h.state.kind == StateKind::Mamba { 0.0 } else { GATED_NORM_BYTES[at] };
            CONVOLUTION_BYTES[at] * h.state.convolved() as f64 + gated * h.state.inner() as f64
        });
        model.attention_share() * attention + model.state_share() * state
    }
}

/// Elements that the states of a layer keep of one token for the backward pass, the mean over all layers: outputs of projections and
/// convolution, and the result. The scan computes its states again.
pub(super) fn kept(model: &Architecture) -> (f64, f64) {
    let Some(h) = model.hybrid else { return (0.0, 0.0) };
    let outputs: u64 = h.state.products(model.hidden).iter().rev().skip(1).map(|p| p.0).sum();
    let share = model.state_share();
    (share * (outputs + h.state.convolved()) as f64, share * h.state.inner() as f64)
}
