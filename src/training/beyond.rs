//! What of PyTorch's small kernels something else than memory bounds: measured on an H100 and an H200, which differ in bandwidth alone
//! (`reports/calibration/*/kernels.csv.gz`).

use crate::kernels::Pass;

/// Elements whose mean and variance one compute unit updates in a second (Welford's way, a division each): in batch norms 2.4 on an H100,
/// 2.5 on an H200, which has nearly half as much more bandwidth; in layer norms of 1,024 to 1,280 elements 2.3 on both.
pub(super) const MOMENTS_RATE: f64 = 2.4e9;
/// 16-bit elements that one compute unit adds up over tokens in a second, for the gradient of a bias: 4.2 to 5.4 on an H100, 4.7 to 6.4 on an
/// H200 (widths of 1,024 to 5,120).
const COLUMN_RATE: f64 = 5e9;
/// Seconds a token of the kernel that sums the gradients of a norm's weights, however narrow the norm: 4.7 to 6.0 on an H100, 4.3 to 5.4 on an
/// H200 (1,024 and 1,280 elements).
const NORM_SUM: f64 = 5.2e-9;

/// Norms and sums of biases, for one token.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Beyond {
    /// Elements of layer norms.
    pub(super) moments: f64,
    /// Elements whose gradients, 2 bytes each, are added up for a bias.
    pub(super) columns: f64,
    /// Norms whose weights have gradients, and their width.
    pub(super) norms: (f64, f64),
}

impl Beyond {
    /// The two layer norms of a layer.
    pub(super) const fn layer_norms(width: f64) -> Self {
        Self { moments: 2.0 * width, columns: 0.0, norms: (2.0, width) }
    }

    /// Seconds of one pass beyond its memory traffic, where norms move `bytes` an element: on so many units, with `rate` bytes a second.
    pub(super) fn seconds(&self, pass: Pass, bytes: f64, units: f64, rate: f64) -> f64 {
        let longer = |seconds: f64, bytes: f64| (seconds - bytes / rate).max(0.0);
        if pass == Pass::Forward {
            return longer(self.moments / (units * MOMENTS_RATE), bytes * self.moments);
        }
        let (norms, width) = self.norms;
        longer(self.columns / (units * COLUMN_RATE), 2.0 * self.columns) + norms * longer(NORM_SUM, bytes * width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 132 units and 2.61 TB/s: moments of 1,280 elements take 4.04 ns where memory takes 3.92, sums of a norm 5.2 where memory takes 3.92, of
    /// biases of 9 widths 17.5 where memory takes 8.8; norms of 4,096 in 32 bit sum at the rate of memory.
    #[test]
    fn the_longer_of_arithmetic_and_memory() {
        let (units, rate) = (132.0, 2.61e12);
        let narrow = Beyond { columns: 9.0 * 1280.0, ..Beyond::layer_norms(1280.0) };
        let forward = 2.0 * 1280.0 * (1.0 / (132.0 * 2.4e9) - 8.0 / 2.61e12);
        assert!((narrow.seconds(Pass::Forward, 8.0, units, rate) / forward - 1.0).abs() < 1e-9);
        let backward = 9.0 * 1280.0 * (1.0 / (132.0 * 5e9) - 2.0 / 2.61e12) + 2.0 * (5.2e-9 - 8.0 * 1280.0 / 2.61e12);
        assert!((narrow.seconds(Pass::Backward, 8.0, units, rate) / backward - 1.0).abs() < 1e-9);
        assert_eq!(Beyond::layer_norms(4096.0).seconds(Pass::Backward, 8.0, units, rate), 0.0);
        // In 16 bit the arithmetic of means and variances is more than half of a norm.
        assert!(Beyond::layer_norms(4096.0).seconds(Pass::Forward, 4.0, units, rate) > 0.5 * 8192.0 * 4.0 / rate);
    }
}
