//! Latent attention: absorbed products and attention over compressed vectors; prompts unpacked.

use super::{Batch, Cost};
use crate::hardware::Dtype;
use crate::serving::shape::Latent;

/// Share of memory bandwidth that latent decode attention and its absorbed products reach, and of the 16-bit peak (assumed).
const LATENT_MEMORY: f64 = 0.75;
const ABSORBED_MEMORY: f64 = 0.7;
const LATENT_PEAK: f64 = 0.45;
/// Start-ups of latent attention and of each absorbed product (assumed).
const LATENT_START: f64 = 10e-6;
const ABSORBED_START: f64 = 5e-6;
/// Share of the 16-bit peak of latent prefill attention (between 0.55 and 0.66 of the tables of head size 128).
const LATENT_PREFILL: f64 = 0.55;

impl Cost<'_> {
    /// Latent decode: absorbed products of queries and values, then attention over the compressed vectors.
    pub(super) fn latent_decode(&self, l: Latent, batch: u64, context: u64) -> f64 {
        let heads = self.shape.heads.div_ceil(self.tensor) as f64;
        let (bandwidth, peak) = (self.device.memory_bandwidth(), self.device.peak(Dtype::Bf16).unwrap_or(1.0));
        let absorbed = |width: u64| ABSORBED_START + 2.0 * heads * (width * l.kv_rank) as f64 / (ABSORBED_MEMORY * bandwidth);
        let tokens = (batch * context) as f64;
        let vector = (l.kv_rank + l.rope) as f64;
        let read = tokens * vector * self.formats.kv.bytes() / (LATENT_MEMORY * bandwidth);
        let flops = 2.0 * heads * tokens * (vector + l.kv_rank as f64) / (LATENT_PEAK * peak);
        absorbed(l.nope) + absorbed(l.value) + LATENT_START + read.max(flops)
    }

    /// Latent prefill: keys and values unpacked for every head, then attention of heads of two sizes.
    pub(super) fn latent_prefill(&self, l: Latent, batch: &Batch) -> f64 {
        let heads = self.shape.heads.div_ceil(self.tensor);
        let unpack = self.gemm(self.formats.attention, (batch.chunk_tokens.max(1), heads * (l.nope + l.value), l.kv_rank), true);
        let flops = 2.0 * heads as f64 * (l.nope + l.rope + l.value) as f64 * batch.chunk_pairs;
        unpack + LATENT_START + flops / (LATENT_PREFILL * self.device.peak(Dtype::Bf16).unwrap_or(1.0))
    }
}
