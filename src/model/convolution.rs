//! Convolutional networks as lists of their convolutions.

/// The norm beside a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageNorm {
    /// Batch norm and activation after it.
    Batch,
    /// Group norm and activation before it.
    Group,
    /// None.
    None,
}

/// A convolution over square images, with the norm and activation that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Input channels.
    pub inputs: u64,
    /// Output channels.
    pub outputs: u64,
    /// Side of the kernel.
    pub kernel: u64,
    /// Side of the output image.
    pub side: u64,
    /// Whether a residual is added after it.
    pub joins: bool,
    /// The norm beside it.
    pub norm: ImageNorm,
}

impl Convolution {
    /// Its weights.
    #[must_use]
    pub fn parameters(&self) -> f64 {
        (self.inputs * self.outputs * self.kernel * self.kernel) as f64
    }
    /// FLOPs of one image, forward.
    #[must_use]
    pub fn flops(&self) -> f64 {
        2.0 * self.parameters() * (self.side * self.side) as f64
    }
    /// Elements of its output for one image.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.outputs * self.side * self.side
    }
}

/// The 53 convolutions of ResNet-50 (arXiv 1512.03385) with the stride in the 3 × 3 convolution, images of 224 × 224.
#[must_use]
pub fn resnet50() -> Vec<Convolution> {
    let one = |inputs, outputs, kernel, side, joins| Convolution { inputs, outputs, kernel, side, joins, norm: ImageNorm::Batch };
    let mut out = vec![one(3, 64, 7, 112, false)];
    let mut inputs = 64;
    for (width, blocks, side) in [(64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)] {
        for block in 0..blocks {
            // The first block of a stage shrinks the image after its first convolution.
            let before = if block == 0 && width > 64 { 2 * side } else { side };
            out.push(one(inputs, width, 1, before, false));
            out.push(one(width, width, 3, side, false));
            out.push(one(width, 4 * width, 1, side, true));
            if block == 0 {
                out.push(one(inputs, 4 * width, 1, side, false));
            }
            inputs = 4 * width;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resnet_50_has_25_million_weights_and_4_billion_products() {
        let all = resnet50();
        assert_eq!(all.len(), 53);
        let millions = all.iter().map(Convolution::parameters).sum::<f64>() / 1e6;
        let giga = all.iter().map(Convolution::flops).sum::<f64>() / 2e9;
        assert!((23.4..23.5).contains(&millions), "{millions}");
        // 4.1 G multiply-adds with the stride in the 3 × 3 convolution.
        assert!((4.05..4.12).contains(&giga), "{giga}");
    }
}
