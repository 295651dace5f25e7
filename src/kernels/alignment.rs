//! Products whose matrices do not lie on 16-byte boundaries: their kernels are bound by how much a load instruction brings.
//!
//! Full-rate kernels load 16 bytes at a time (`cp.async`, TMA). Where a row of a matrix has an odd number of elements, or one that only 2
//! or 4 divide, libraries fall back to kernels that load single elements, pairs or fours. Their rate is that of loads: so many FLOPs a
//! compute unit for each element that one load brings, whatever the peak of the part is.

use super::device::{DeviceModel, operand_bytes};
use super::gemm::Gemm;
use crate::hardware::Dtype;

/// Bytes on which rows of a matrix have to lie for kernels at full rate (cuBLAS documentation: 16-byte alignment of leading dimensions).
const FULL: f64 = 16.0;

/// Elements on whose multiples the rows of matrices lie that have these lengths: the greatest power of two that divides them all, up to 16.
#[must_use]
pub fn common_alignment(lengths: &[u64]) -> u64 {
    let zeros = lengths.iter().map(|l| l.trailing_zeros()).min().unwrap_or(4);
    1 << zeros.min(4)
}

impl DeviceModel {
    /// Seconds of one product in long training whose matrices lie on multiples of `alignment` elements.
    #[must_use]
    pub fn gemm_aligned(&self, dtype: Dtype, g: Gemm, alignment: u64) -> f64 {
        let each = operand_bytes(dtype).weight;
        // Narrower formats have no kernels for other layouts; what calls them pads.
        let bound = self.unaligned_rate.filter(|_| each >= 2.0 && alignment as f64 * each < FULL);
        let (Some(rate), Some(constants)) = (bound, self.sustained_constants(dtype)) else { return self.gemm_sustained(dtype, g) };
        let sheet = self.sheet(dtype);
        let share = rate * alignment as f64 * each / 2.0 * sheet.units / sheet.peak;
        super::gemm::GemmConstants { ec: constants.ec.min(share), ..constants }.time(&sheet, operand_bytes(dtype), g)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Catalogue;

    #[test]
    fn rows_lie_on_what_divides_all_of_their_lengths() {
        assert_eq!([[50257, 1280], [30522, 1024], [32004, 64], [50304, 768]].map(|l| common_alignment(&l)), [1, 2, 4, 16]);
    }

    /// The products of output projections with 50,257 and 30,522 columns, measured inside training steps on an H100 and an H200, which
    /// agree to 0.3 % (`reports/calibration`): forward, gradient of the input, gradient of the weight.
    #[test]
    fn odd_vocabularies_as_measured() {
        let h100 = DeviceModel::new(&Catalogue::embedded().accelerators["h100-sxm"], None);
        for (columns, hidden, alignment, each) in [(50_257, 1280, 1, [10.81, 7.48, 7.10]), (30_522, 1024, 2, [2.08, 2.02, 1.95])] {
            let shapes = [(8192, columns, hidden), (8192, hidden, columns), (columns, hidden, 8192)];
            let times =
                shapes.map(|(m, n, k)| 1e3 * h100.gemm_aligned(Dtype::Bf16, Gemm { m, n, k, batch: 1, output_bytes: 2.0 }, alignment));
            let (got, want) = (times.iter().sum::<f64>(), each.iter().sum::<f64>());
            assert!((got / want - 1.0).abs() < 0.08, "{columns}: {times:?} against {each:?}");
        }
    }

    #[test]
    fn alignment_never_speeds_up_and_full_alignment_changes_nothing() {
        for id in ["a100-sxm-80gb", "h100-sxm", "b200-sxm", "tpu-v5e", "mi300x"] {
            let device = DeviceModel::new(&Catalogue::embedded().accelerators[id], None);
            let g = Gemm { m: 4096, n: 32_000, k: 4096, batch: 1, output_bytes: 2.0 };
            let times = [1, 2, 4, 8, 16].map(|a| device.gemm_aligned(Dtype::Bf16, g, a));
            assert!(times.windows(2).all(|t| t[0] >= t[1]), "{id}: {times:?}");
            assert_eq!(times[3], device.gemm_sustained(Dtype::Bf16, g));
        }
    }
}
