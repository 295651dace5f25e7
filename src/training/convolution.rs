//! Passes of a convolutional network: convolutions, batch norms, activations, residuals, classifier.
//!
//! All convolutions count as layers of equal cost, the mean over the network, so that gradients leave in as many parts.

use super::cost::{PassCost, Passes};
use super::layer::{Products, Shape};
use crate::kernels::Convolve;

/// Memory traffic of a batch norm with its activation, 16 bit, bytes per element of the output. Forward: statistics read, then read and
/// write. Backward: two reads for the sums, two reads and a write for the gradient.
const NORM_BYTES: [f64; 2] = [6.0, 10.0];
/// The same of an activation in a kernel of its own: read and write; two reads and a write.
const ACTIVATION_BYTES: [f64; 2] = [4.0, 6.0];
/// The same of a residual: read forward; read, read and write backward.
const RESIDUAL_BYTES: [f64; 2] = [2.0, 6.0];

impl Shape<'_> {
    pub(super) fn convolutional(&self) -> Passes {
        let (forward, backward) = (self.convolutions(Products::Forward), self.convolutions(Products::Backward));
        let head = |products| {
            let model = &self.config.model;
            let matrix = self.linear(model.vocabulary, model.hidden, products, self.config.precision.wide());
            PassCost { matrix, elementwise: self.device.stream(0.0, 8.0), ..PassCost::default() }
        };
        Passes {
            layer_forward: forward,
            layer_backward: backward,
            expert_forward: PassCost::default(),
            expert_backward: PassCost::default(),
            embedding_forward: PassCost::default(),
            embedding_backward: PassCost::default(),
            head_forward: head(Products::Forward),
            head_backward: head(Products::Backward),
        }
    }

    /// The mean convolution of the network with what follows it.
    fn convolutions(&self, products: Products) -> PassCost {
        let (config, stack) = (self.config, &self.config.stack);
        let images = self.tokens;
        let pass = usize::from(products == Products::Backward);
        let width = config.precision.activation_bytes();
        let mut sum = PassCost::default();
        for (i, c) in config.model.convolutions.iter().enumerate() {
            let shape = Convolve { images, inputs: c.inputs, outputs: c.outputs, kernel: c.kernel, side: c.side };
            sum.matrix += match products {
                Products::Forward => self.device.convolution(config.precision.linear(), shape, width, false),
                // The first convolution has no gradient of its input.
                Products::Backward | Products::Weights => {
                    let input =
                        if i == 0 { 0.0 } else { self.device.convolution(config.precision.linear(), shape.transposed(), width, false) };
                    input + self.device.convolution(config.precision.linear(), shape, width, true)
                }
            };
            let activation = if stack.fused_norms.value { 0.0 } else { ACTIVATION_BYTES[pass] };
            let bytes = NORM_BYTES[pass] * *stack.elementwise_share + activation + if c.joins { RESIDUAL_BYTES[pass] } else { 0.0 };
            sum.elementwise += self.device.stream(0.5 * width * bytes * (images * c.elements()) as f64, 2.0);
            // Convolution, norm, activation; backward twice that.
            let launch = if pass == 0 { stack.launch_forward.get() } else { 2.0 * stack.launch_backward.get() };
            sum.host += self.host(3.0, launch, 0.0);
        }
        sum.times(1.0 / config.model.layers as f64)
    }
}
