//! Routed experts of one layer on one rank: the weights of the experts that are visited, and their products.

use super::shape::Mixture;
use crate::hardware::Dtype;

/// Constants of grouped expert kernels in one number format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ExpertKernel {
    /// Start-up, seconds.
    start: f64,
    /// Share of the memory bandwidth (above 1: skewed routing visits fewer experts than even routing would).
    memory: f64,
    /// Share of the matrix peak.
    peak: f64,
    /// Share of a batch's tokens that choose on their own.
    spread: f64,
    /// Exponent of the soft maximum of reading and products (1: one after the other).
    overlap: f64,
}

impl ExpertKernel {
    /// Least-squares fits of the open tables of FlashInfer's kernels on B200 (nvfp4: 48 rows, median 18 %; 8 bit by blocks: 113 rows, 19 %); 16
    /// and plain 8 bit between the rows of TensorRT-LLM's grouped products on H100 (8 to 10 %). Where experts are spread over Hopper parts,
    /// 8 bit by blocks runs on DeepGEMM: least squares over the ten grouped products of its first published benchmark on H800 (median 5 %,
    /// at most 15 %), 6 us for each of two.
    #[must_use]
    pub(super) fn of(dtype: Dtype, generation: &str, expert: u64) -> Self {
        match dtype {
            Dtype::Nvfp4 => Self { start: 30e-6, memory: 1.07, peak: 0.39, spread: 0.90, overlap: 1.0 },
            Dtype::Fp8Block if generation == "hopper" && expert > 1 => {
                Self { start: 12e-6, memory: 0.98, peak: 0.62, spread: 0.92, overlap: 2.0 }
            }
            Dtype::Fp8Block => Self { start: 34e-6, memory: 0.98, peak: 0.094, spread: 0.92, overlap: 1.0 },
            _ => Self { start: 25e-6, memory: 0.9, peak: 0.5, spread: 0.91, overlap: 1.0 },
        }
    }
}

/// What one rank holds of a layer's experts, and on what it runs them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rank {
    /// Hidden size.
    pub(super) hidden: u64,
    /// Matrices that read the input of an expert.
    pub(super) inputs: u64,
    /// Ranks that share every expert.
    pub(super) tensor: u64,
    /// Ranks over which experts are spread.
    pub(super) expert: u64,
    /// Bytes of one weight.
    pub(super) bytes: f64,
    /// Dense peak of the format, FLOP per second.
    pub(super) peak: f64,
    /// Memory bandwidth, bytes per second.
    pub(super) bandwidth: f64,
}

/// Experts that at least one of `tokens` visits under even routing.
#[must_use]
pub(super) fn visited(x: &Mixture, tokens: f64) -> f64 {
    let miss = 1.0 - x.per_token as f64 / x.experts as f64;
    x.experts as f64 * (1.0 - libm::pow(miss, tokens))
}

/// Seconds of the routed experts of one layer for `m` tokens of the whole group, on the rank that has `imbalance` times the mean load.
#[must_use]
pub(super) fn routed(kernel: ExpertKernel, rank: &Rank, x: Mixture, m: u64, imbalance: f64) -> f64 {
    let weights = (rank.hidden * x.width * (rank.inputs + 1)) as f64 / rank.tensor as f64;
    let own = visited(&x, kernel.spread * m as f64) / rank.expert as f64;
    let read = own * weights * rank.bytes / (kernel.memory * rank.bandwidth);
    let products = imbalance * 2.0 * (m * x.per_token) as f64 / rank.expert as f64 * weights / (kernel.peak * rank.peak);
    let q = kernel.overlap;
    let both = if q == 1.0 { read + products } else { libm::pow(libm::pow(read, q) + libm::pow(products, q), 1.0 / q) };
    kernel.start + both
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DeepGEMM on H800, first published benchmark: groups, tokens of each, output and input width of one product, TFLOP/s.
    #[test]
    fn grouped_products_of_the_published_benchmark() {
        let kernel = ExpertKernel::of(Dtype::Fp8Block, "hopper", 8);
        let rows =
            [(4, 8192, 4096, 7168, 1297.0), (8, 4096, 7168, 2048, 1093.0), (2, 512, 4096, 7168, 1040.0), (4, 256, 7168, 2048, 815.0)];
        for (groups, each, n, k, rate) in rows {
            let experts = Mixture { experts: groups, per_token: groups, width: n, shared: 0, dense_layers: 0 };
            let rank = Rank { hidden: k, inputs: 0, tensor: 1, expert: 1, bytes: 1.0, peak: 1979e12, bandwidth: 3.35e12 };
            let one = routed(kernel, &rank, experts, each, 1.0) - 0.5 * kernel.start;
            let measured = 2.0 * (groups * each * n * k) as f64 / (rate * 1e12);
            assert!((one / measured - 1.0).abs() < 0.11, "{groups} {each}: {one} against {measured}");
        }
    }

    #[test]
    fn experts_visited() {
        let x = Mixture { experts: 256, per_token: 8, width: 2048, shared: 1, dense_layers: 3 };
        assert!((visited(&x, 1.0) - 8.0).abs() < 1e-9);
        assert!(visited(&x, 1e4) > 255.9);
        // 64 tokens on 256 experts, 8 each: 1 − (1 − 1/32)^64 = 86.9 % of them.
        assert!((visited(&x, 64.0) / 256.0 - 0.869).abs() < 0.001);
    }
}
