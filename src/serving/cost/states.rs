//! Layers with a state in place of attention: projections, the scan of prompts, one step of the state for every token.

use super::Cost;
use super::layers::{SMALL_GAP, SMALL_MEMORY};
use crate::kernels::Pass;

/// Kernels of one step of a state: convolution and update (reference implementations have one each).
const STEP_KERNELS: f64 = 2.0;

impl Cost<'_> {
    /// Projections of all layers with a state.
    pub(super) fn state_projections(&self, m: u64, prefill: bool) -> f64 {
        let Some(h) = self.shape.hybrid else { return 0.0 };
        let products = h.state.split(self.tensor).products(self.shape.hidden);
        h.state_layers as f64 * products.into_iter().map(|(n, k)| self.gemm(self.formats.attention, (m, n, k), prefill)).sum::<f64>()
    }

    /// Scans of all layers over the tokens of so many prompts.
    pub(super) fn state_scan(&self, tokens: u64, prompts: u64) -> f64 {
        let Some(h) = self.shape.hybrid else { return 0.0 };
        h.state_layers as f64
            * self.device.scan(&h.state.split(self.tensor), tokens as f64, tokens as f64 / prompts.max(1) as f64, Pass::Forward)
    }

    /// Every decoding sequence reads and writes its states, whatever its context.
    pub(super) fn state_step(&self, batch: u64) -> f64 {
        let Some(h) = self.shape.hybrid else { return 0.0 };
        let bytes = 2.0 * batch as f64 * self.shape.state_bytes(self.tensor);
        bytes / (SMALL_MEMORY * self.device.memory_bandwidth()) + h.state_layers as f64 * STEP_KERNELS * SMALL_GAP
    }
}
