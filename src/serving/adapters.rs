//! Low-rank adapters: what they weigh, and what they add to an iteration.

use super::shape::Shape;

/// Adapters on all projections of a model, equally popular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adapters {
    /// Adapters that requests ask for.
    pub count: u64,
    /// Of those, in device memory at the same time.
    pub slots: u64,
    /// Rank.
    pub rank: u64,
}

/// Start-up of one of the two grouped kernels of a projection, and the share of memory bandwidth that they reach (assumed: between the 5 µs of
/// captured kernels and what Punica, Chen et al. 2024, gains over gathered copies).
const START: f64 = 5e-6;
const MEMORY: f64 = 0.5;
/// Groups of projections that share kernels: query, key and value; output; gate and up; down.
const GROUPS: f64 = 4.0;

impl Adapters {
    /// Weights of one adapter in one layer of one of `tensor` ranks: rank × (inputs + outputs) of every projection.
    fn layer(&self, s: &Shape, tensor: u64) -> f64 {
        let (q, kv) = ((s.heads * s.head_dim) as f64, (2 * s.kv_heads * s.head_dim) as f64);
        let attention = 4.0 * s.hidden as f64 + 2.0 * q + kv;
        let network = (s.ffn_inputs + 1) as f64 * (s.hidden + s.ffn) as f64;
        self.rank as f64 * (attention + network) / tensor as f64
    }

    /// Bytes of the adapters in memory, 16 bit.
    #[must_use]
    pub fn bytes(&self, shape: &Shape, tensor: u64) -> f64 {
        2.0 * self.slots.min(self.count) as f64 * shape.layers as f64 * self.layer(shape, tensor)
    }

    /// Seconds that they add to an iteration with some sequences and tokens: the weights of the distinct adapters are read once, each
    /// token passes the two small products of every projection.
    #[must_use]
    pub fn time(&self, shape: &Shape, tensor: u64, (sequences, tokens): (u64, u64), (bandwidth, peak): (f64, f64)) -> f64 {
        if sequences == 0 {
            return 0.0;
        }
        let n = self.count as f64;
        let distinct = n * (1.0 - libm::pow(1.0 - 1.0 / n, sequences as f64));
        let weights = self.layer(shape, tensor);
        let read = 2.0 * distinct * weights / (MEMORY * bandwidth);
        let products = 2.0 * tokens as f64 * weights / (MEMORY * peak);
        shape.layers as f64 * (2.0 * GROUPS * START + read.max(products))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets;

    #[test]
    fn an_adapter_of_rank_16_of_llama_8b_has_42_million_weights() {
        let preset = presets().iter().find(|p| p.id.value == "llama-3.1-8b").unwrap();
        let shape = Shape::of_preset(preset).unwrap();
        // A layer: q and o 8192 each, k and v 5120 each, gate, up and down 18432 each, times rank 16.
        let adapters = Adapters { count: 100, slots: 4, rank: 16 };
        assert_eq!(adapters.bytes(&shape, 1), 2.0 * 4.0 * 41_943_040.0);
        let one = adapters.time(&shape, 1, (1, 1), (3e12, 1e15));
        let many = adapters.time(&shape, 1, (64, 64), (3e12, 1e15));
        assert!(one < many && many < 64.0 * one);
    }
}
