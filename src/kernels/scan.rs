//! Scans of layers with a state: element by element on the vector units, or in chunks of products on the matrix units.
//!
//! No table of measured scans is public; rates are those of kernels of like structure, and data sheets.

use super::attention::Pass;
use super::device::DeviceModel;
use super::profile::AttentionGeneration;
use crate::hardware::Dtype;

/// The scan of one layer over some tokens on one rank, forward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scan {
    /// FLOPs of chunk products.
    pub flops: f64,
    /// States that are updated one by one (selective scan), over all tokens: each takes an exponential.
    pub updates: f64,
    /// Bytes that move.
    pub bytes: f64,
}

/// FLOPs of the vector units in the time of one exponential: special-function units do 16 a cycle where vector units do 128 products with
/// sum (CUDA programming guide, throughput of arithmetic instructions, compute capability 8.0 and 9.0).
const EXPONENTIAL: f64 = 16.0;
/// Kernels of a chunked scan: decays, chunk states, their passing on, scores, result (reference implementation of Mamba-2).
const CHUNK_KERNELS: f64 = 5.0;
/// Backward over forward, as in attention: what is not kept is computed again.
const BACKWARD: f64 = 2.5;

impl DeviceModel {
    /// Seconds of a scan: the longer of its arithmetic and its memory traffic. Chunk products run at the rate of flash attention of the
    /// same generation, which like them fuses small products.
    #[must_use]
    pub fn scan(&self, scan: Scan, generation: AttentionGeneration, pass: Pass) -> f64 {
        let Some((_, _, row)) = self.flash_row(generation) else { return f64::INFINITY };
        let matrix = self.peak(Dtype::Bf16).unwrap_or(1.0) * if pass == Pass::Forward { *row.forward } else { *row.backward };
        let vector = self.peak(Dtype::Fp32).unwrap_or_else(|| self.peak(Dtype::Bf16).unwrap_or(1.0) / 16.0);
        let times = if pass == Pass::Forward { 1.0 } else { BACKWARD };
        let kernels = if scan.flops > 0.0 { CHUNK_KERNELS } else { 1.0 };
        let compute = scan.flops / matrix + EXPONENTIAL * scan.updates / vector;
        let memory = self.stream(scan.bytes, 0.0);
        times * compute.max(memory) + self.stream(0.0, kernels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Catalogue;

    #[test]
    fn the_longer_of_arithmetic_and_memory() {
        let h100 = DeviceModel::new(&Catalogue::embedded().accelerators["h100-sxm"], None);
        let (generation, gap) = (AttentionGeneration::Third, h100.stream(0.0, 1.0));
        let none = Scan { flops: 0.0, updates: 0.0, bytes: 0.0 };
        let memory = Scan { bytes: 1e9, ..none };
        assert!((h100.scan(memory, generation, Pass::Forward) - h100.stream(1e9, 1.0)).abs() < 1e-12);
        // 67 TFLOPS over 16: 4.2 T exponentials a second.
        let vector = Scan { updates: 1e10, ..none };
        let want = 16e10 / 67e12;
        assert!((h100.scan(vector, generation, Pass::Forward) - want - gap).abs() < 1e-9);
        assert!((h100.scan(vector, generation, Pass::Backward) - 2.5 * want - gap).abs() < 1e-9);
        let chunks = Scan { flops: 1e13, ..none };
        assert!((h100.scan(chunks, generation, Pass::Forward) - 1e13 / (989e12 * 0.615) - 5.0 * gap).abs() < 1e-9);
    }
}
