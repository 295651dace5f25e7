//! Linear layers on one rank: which products they are, in which format, and what casting their operands takes.

use super::config::Precision;
use super::layer::Shape;
use crate::hardware::Dtype;
use crate::kernels::{Gemm, Operator, common_alignment};

/// Which products of a linear layer are computed.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Products {
    Forward,
    /// Gradients of inputs and weights.
    Backward,
    /// Gradients of weights alone.
    Weights,
}

/// What of a linear layer every tensor rank has whole, after a gather under sequence parallelism.
#[derive(Clone, Copy, PartialEq)]
enum Whole {
    /// The input: its outputs are split.
    Input,
    /// The gradient of the output: its inputs are split.
    Gradient,
    /// Nothing is gathered.
    Neither,
}

impl Shape<'_> {
    /// Seconds of one product with operands of `dtype` that lie on multiples of `alignment` elements.
    pub(super) fn product(&self, dtype: Dtype, [m, n, k]: [u64; 3], alignment: u64, output_bytes: f64) -> f64 {
        self.device.gemm_aligned(dtype, Gemm { m, n, k, batch: 1, output_bytes }, alignment)
    }

    /// Seconds of casting elements to the low precision of the products: a cast reads 2 bytes, writes 1 and writes a transposed copy of
    /// 1 (Transformer Engine, torchao); a scale of the whole tensor by its own elements takes another reading.
    pub(super) fn cast(&self, elements: f64) -> f64 {
        self.cast_copies(elements, true)
    }

    fn cast_copies(&self, elements: f64, transposed: bool) -> f64 {
        let blocks = matches!(self.config.precision, Precision::Mxfp8 | Precision::Fp8Block);
        let amax_pass = self.config.stack.dynamic_scales.value && !blocks;
        let cast = Operator::Cast { elements, from: 2.0, to: 1.0, transposed, amax_pass };
        if self.config.precision.casts() { self.device.operator(&cast) } else { 0.0 }
    }

    /// The same of an operand that tensor ranks gather in 8 bit: each casts its part, and transposes what it has gathered (1 + 1 bytes).
    fn cast_gathered(&self, elements: f64) -> f64 {
        if !self.narrow_gathers() {
            return self.cast(elements);
        }
        self.cast_copies(elements / self.tensor as f64, false) + self.device.stream(2.0 * elements, 1.0)
    }

    /// Whether ranks gather operands of products in 8 bit.
    pub(super) fn narrow_gathers(&self) -> bool {
        let config = self.config;
        config.stack.narrow_gathers.value && config.parallel.sequence && self.tensor > 1 && config.precision.casts()
    }

    /// Seconds of the products of a linear layer with `n` outputs and `k` inputs, casts to low precision included.
    pub(super) fn linear(&self, n: u64, k: u64, products: Products, dtype: Dtype) -> f64 {
        self.linears(&[n], k, Whole::Neither, products, dtype)
    }

    /// Seconds of the products of linear layers that read one input of `k` elements.
    fn linears(&self, outputs: &[u64], k: u64, whole: Whole, products: Products, dtype: Dtype) -> f64 {
        let m = self.tokens;
        let out = self.config.precision.activation_bytes();
        let frozen = self.config.adapter_rank.is_some();
        let cast = |elements: u64, gathered: bool| match (dtype == self.config.precision.linear(), gathered) {
            (false, _) => 0.0,
            (true, false) => self.cast(elements as f64),
            (true, true) => self.cast_gathered(elements as f64),
        };
        // Rows of inputs, weights and outputs have so many elements; tokens stand beside each other in none.
        let all = |of: &dyn Fn(u64, u64) -> f64| outputs.iter().map(|&n| of(n, common_alignment(&[n, k]))).sum::<f64>();
        let weights = || all(&|n, along| self.product(dtype, [n, k, m], along, self.gradient_traffic()));
        match products {
            Products::Forward => all(&|n, along| self.product(dtype, [m, n, k], along, out)) + cast(m * k, whole == Whole::Input),
            Products::Weights if frozen => 0.0,
            Products::Weights => weights(),
            Products::Backward => {
                let inputs = all(&|n, along| self.product(dtype, [m, k, n], along, out));
                let gradient = cast(m * outputs.iter().sum::<u64>(), whole == Whole::Gradient);
                // Frozen weights need the gradient of the input only.
                inputs + if frozen { 0.0 } else { weights() } + gradient
            }
        }
    }

    /// Bytes that a product writes for each weight's gradient: the sum over microbatches where the stack adds inside products, whose reading
    /// steps do not show (with it H100 would keep 0.90 of its 8-bit rate in training, where 0.86 was measured).
    pub(super) fn gradient_traffic(&self) -> f64 {
        let config = self.config;
        if config.stack.adds_gradients.value { config.gradient_bytes() } else { config.precision.activation_bytes() }
    }

    /// The linear layers of attention, and of states in its place: the mean over the layers.
    pub(super) fn projections(&self, products: Products) -> f64 {
        let share = self.config.model.attention_share();
        let own = if share > 0.0 { share * self.attention_products(products) } else { 0.0 };
        own + self.state_products(products)
    }

    fn attention_products(&self, products: Products) -> f64 {
        let model = &self.config.model;
        let t = self.tensor;
        let dtype = self.config.precision.linear();
        if let Some(latent) = model.latent {
            // What has heads is split over tensor ranks; the compressions are not.
            let all = latent.products(model.hidden, (model.heads / t).max(1));
            return all.into_iter().map(|(n, k)| self.linear(n, k, products, dtype)).sum();
        }
        let width = |heads: u64| (heads * model.head_dim / t).max(1);
        let apart = [width(model.heads), width(model.kv_heads), width(model.kv_heads)];
        let joined = [model.qkv_width() / t];
        let outputs: &[u64] = if self.config.stack.separate_projections.value { &apart } else { &joined };
        self.linears(outputs, model.hidden, Whole::Input, products, dtype)
            + self.linears(&[model.hidden], model.heads * model.head_dim / t, Whole::Gradient, products, dtype)
    }

    /// A feed-forward network of a width.
    pub(super) fn feed_forward(&self, width: u64, products: Products) -> f64 {
        let model = &self.config.model;
        let dtype = self.config.precision.linear();
        let own = (width / self.tensor).max(1);
        let joined = [if model.gated_mlp { (2 * width / self.tensor).max(1) } else { own }];
        let apart = model.gated_mlp && self.config.stack.separate_projections.value;
        let outputs: &[u64] = if apart { &[own, own] } else { &joined };
        self.linears(outputs, model.hidden, Whole::Input, products, dtype)
            + self.linears(&[model.hidden], own, Whole::Gradient, products, dtype)
    }
}
