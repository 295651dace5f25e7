//! Convolutions as implicit matrix products: the tile model with the traffic of the images instead of that of the unfolded matrix.

use super::device::DeviceModel;
use super::gemm::Gemm;
use crate::hardware::Dtype;

/// A convolution over square images, channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolve {
    /// Images.
    pub images: u64,
    /// Input channels.
    pub inputs: u64,
    /// Output channels.
    pub outputs: u64,
    /// Side of the kernel.
    pub kernel: u64,
    /// Side of the output image.
    pub side: u64,
}

impl Convolve {
    /// The gradient of the input: as many products with the channels exchanged.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self { inputs: self.outputs, outputs: self.inputs, ..self }
    }
}

/// Channels that matrix units need side by side; fewer are padded.
const PADDING: u64 = 8;

impl DeviceModel {
    /// Seconds of a convolution with elements of `width` bytes, or of the gradient of its weights.
    #[must_use]
    pub fn convolution(&self, dtype: Dtype, c: Convolve, width: f64, weights: bool) -> f64 {
        let pixels = c.images * c.side * c.side;
        let inner = c.inputs.next_multiple_of(PADDING) * c.kernel * c.kernel;
        let images = width * (pixels * (c.inputs.max(PADDING) + c.outputs)) as f64;
        let bytes = images + width * (inner * c.outputs) as f64;
        let g = if weights {
            Gemm { m: c.outputs, n: inner, k: pixels, batch: 1, output_bytes: 4.0 }
        } else {
            Gemm { m: pixels, n: c.outputs, k: inner, batch: 1, output_bytes: width }
        };
        self.gemm_moving(dtype, g, bytes)
    }
}
