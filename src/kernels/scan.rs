//! Scans of layers with a state: element by element on the vector units, or in chunks of products on the matrix units.
//!
//! Chunked scans were measured on an H100 (`reports/calibration/h100-sxm/scans.csv`: the Triton kernels of Mamba-2's authors and of
//! flash-linear-attention, 10 shapes); the rate of the selective scan is that of a data sheet.

use super::attention::Pass;
use super::device::{DeviceModel, moved};
use super::profile::AttentionGeneration;
use crate::hardware::Dtype;
use crate::model::{StateKind, StateMixer};

/// FLOPs of the vector units in the time of one exponential: special-function units do 16 a cycle where vector units do 128 products with
/// sum (CUDA programming guide, throughput of arithmetic instructions, compute capability 8.0 and 9.0).
const EXPONENTIAL: f64 = 16.0;
/// Backward over forward of the selective scan, as in attention: what is not kept is computed again.
const BACKWARD: f64 = 2.5;

/// What a chunked scan reaches.
struct Chunked {
    /// Rate of its products over that of second-generation flash attention of the part (0.354 of the peak on the H100): neither uses
    /// what Hopper brought.
    rate: f64,
    /// Backward over forward.
    backward: f64,
    /// Kernels forward and backward.
    kernels: [f64; 2],
    /// Of the time, what goes from chunk to chunk one after another; seconds of one such step of however few heads.
    serial: f64,
    step: f64,
}

/// Measured: 115 to 117 TFLOP/s forward (102 with 16 heads), 3.6 times as long backward (3.9 with 8 groups on 64 heads).
const MAMBA2: Chunked = Chunked { rate: 0.33, backward: 3.6, kernels: [5.0, 36.0], serial: 0.0, step: 0.0 };
/// Measured: 74 TFLOP/s, of which a quarter of the time is the recurrence, 1.17 µs a chunk of 64 tokens.
const DELTA: Chunked = Chunked { rate: 0.21, backward: 2.65, kernels: [8.0, 12.0], serial: 0.25, step: 1.17e-6 };
/// Measured: 107 to 109 TFLOP/s.
const LIGHTNING: Chunked = Chunked { rate: 0.31, backward: 3.7, kernels: [5.0, 4.0], serial: 0.0, step: 0.0 };

impl DeviceModel {
    /// Seconds of a mixer's scan over `tokens` of sequences of `length`: the longer of its arithmetic and its memory traffic.
    #[must_use]
    pub fn scan(&self, mixer: &StateMixer, tokens: f64, length: f64, pass: Pass) -> f64 {
        let form = match mixer.kind {
            StateKind::Mamba => return self.selective(mixer, tokens, pass),
            StateKind::Mamba2 => MAMBA2,
            StateKind::GatedDelta => DELTA,
            StateKind::Lightning => LIGHTNING,
        };
        let Some((origin, profile, row)) = self.flash_row(AttentionGeneration::Second) else { return f64::INFINITY };
        let matrix = self.peak(Dtype::Bf16).unwrap_or(1.0) * moved(self.achieved, origin, profile) * *row.forward * form.rate;
        let compute = tokens * mixer.scan_flops() / matrix;
        let chunks = length / mixer.chunk();
        let compute = (1.0 - form.serial) * compute + (form.serial * compute).max(chunks * form.step);
        let at = usize::from(pass == Pass::Backward);
        [1.0, form.backward][at] * compute.max(self.stream(tokens * mixer.scan_bytes(), 0.0)) + self.stream(0.0, form.kernels[at])
    }

    /// One kernel: each state of each token takes an exponential.
    fn selective(&self, mixer: &StateMixer, tokens: f64, pass: Pass) -> f64 {
        let vector = self.peak(Dtype::Fp32).unwrap_or_else(|| self.peak(Dtype::Bf16).unwrap_or(1.0) / 16.0);
        let compute = EXPONENTIAL * tokens * mixer.state_elements() as f64 / vector;
        let times = if pass == Pass::Forward { 1.0 } else { BACKWARD };
        times * compute.max(self.stream(tokens * mixer.scan_bytes(), 0.0)) + self.stream(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Catalogue;

    fn h100() -> DeviceModel {
        DeviceModel::new(&Catalogue::embedded().accelerators["h100-sxm"], None)
    }

    fn mixer(kind: StateKind, heads: u64, value_dim: u64, key_heads: u64) -> StateMixer {
        StateMixer { kind, heads, value_dim, key_heads, key_dim: 128, convolution: 4, rank: 0 }
    }

    /// `reports/calibration/h100-sxm/scans.csv`: kind, sequences, tokens, heads, value, groups of keys; milliseconds forward and backward.
    #[test]
    fn chunked_scans_as_measured() {
        use StateKind::{GatedDelta, Lightning, Mamba2};
        let device = h100();
        for (kind, batch, length, heads, value, groups, forward, backward) in [
            (Mamba2, 1, 8192, 128, 64, 8, 0.6241, 2.2635),
            (Mamba2, 4, 4096, 128, 64, 8, 1.2466, 4.4751),
            (Mamba2, 2, 8192, 64, 64, 8, 0.6740, 2.6226),
            (Mamba2, 4, 2048, 80, 64, 1, 0.3785, 1.3447),
            (Mamba2, 1, 8192, 16, 64, 1, 0.0888, 0.4323),
            (GatedDelta, 1, 8192, 32, 128, 16, 0.6392, 1.6957),
            (GatedDelta, 4, 4096, 32, 128, 16, 1.2641, 3.3267),
            (GatedDelta, 1, 8192, 8, 128, 4, 0.2694, 0.7502),
            (Lightning, 1, 8192, 64, 128, 64, 0.4801, 1.7557),
            (Lightning, 1, 32_768, 64, 128, 64, 1.8918, 7.1113),
        ] {
            let mixer = mixer(kind, heads, value, groups);
            for (pass, milliseconds) in [(Pass::Forward, forward), (Pass::Backward, backward)] {
                let error = 1e3 * device.scan(&mixer, (batch * length) as f64, length as f64, pass) / milliseconds - 1.0;
                // Sixteen heads leave units idle backward.
                assert!(error.abs() < if heads == 16 { 0.18 } else { 0.1 }, "{kind:?} {heads} heads, {pass:?}: {error}");
            }
        }
    }

    #[test]
    fn the_longer_of_arithmetic_and_memory() {
        let (device, tokens) = (h100(), 1e5);
        let gap = device.stream(0.0, 1.0);
        // 67 TFLOPS over 16: 4.2 T exponentials a second.
        let one = StateMixer { key_dim: 64, ..mixer(StateKind::Mamba, 5120, 1, 1) };
        let want = 16.0 * tokens * one.state_elements() as f64 / 67e12;
        assert!((device.scan(&one, tokens, tokens, Pass::Forward) - want - gap).abs() < 1e-9);
        assert!((device.scan(&one, tokens, tokens, Pass::Backward) - 2.5 * want - gap).abs() < 1e-9);
        // With one state a channel its memory traffic is longer.
        let narrow = StateMixer { key_dim: 1, ..one };
        let want = device.stream(tokens * narrow.scan_bytes(), 1.0);
        assert!((device.scan(&narrow, tokens, tokens, Pass::Forward) - want).abs() < 1e-12);
    }

    /// Few heads wait for the recurrence; many short sequences do not.
    #[test]
    fn the_recurrence_bounds_few_heads() {
        let device = h100();
        let time = |heads, length| device.scan(&mixer(StateKind::GatedDelta, heads, 128, heads), 32_768.0, length, Pass::Forward);
        assert!(time(1, 32_768.0) > 1.17e-6 * 512.0);
        assert!(time(1, 1024.0) < 0.5 * time(1, 32_768.0));
        assert!((time(64, 1024.0) / time(64, 32_768.0) - 1.0).abs() < 1e-9);
    }
}
