//! Layers with a state in place of attention: projections, the scan of prompts, one step of the state for every token.

use super::Cost;
use super::layers::{SMALL_GAP, SMALL_MEMORY};
use crate::kernels::{AttentionGeneration, Pass, Scan};

/// Kernels of one step of a state: convolution and update (reference implementations have one each).
const STEP_KERNELS: f64 = 2.0;

impl Cost<'_> {
    /// Projections of all layers with a state.
    pub(super) fn state_projections(&self, m: u64, prefill: bool) -> f64 {
        let Some(h) = self.shape.hybrid else { return 0.0 };
        let products = h.state.split(self.tensor).products(self.shape.hidden);
        h.state_layers as f64 * products.into_iter().map(|(n, k)| self.gemm(self.formats.attention, (m, n, k), prefill)).sum::<f64>()
    }

    /// Scans of all layers over the tokens of prompts.
    pub(super) fn state_scan(&self, tokens: u64) -> f64 {
        let Some(h) = self.shape.hybrid else { return 0.0 };
        let (state, tokens) = (h.state.split(self.tensor), tokens as f64);
        let (flops, updates) =
            if state.is_chunked() { (tokens * state.scan_flops(), 0.0) } else { (0.0, tokens * state.state_elements() as f64) };
        let scan = Scan { flops, updates, bytes: tokens * state.scan_bytes() };
        h.state_layers as f64 * self.device.scan(scan, AttentionGeneration::Second, Pass::Forward)
    }

    /// Every decoding sequence reads and writes its states, whatever its context.
    pub(super) fn state_step(&self, batch: u64) -> f64 {
        let Some(h) = self.shape.hybrid else { return 0.0 };
        let bytes = 2.0 * batch as f64 * self.shape.state_bytes(self.tensor);
        bytes / (SMALL_MEMORY * self.device.memory_bandwidth()) + h.state_layers as f64 * STEP_KERNELS * SMALL_GAP
    }
}
