//! Passes of a network of blocks: convolutions with norms, transformer layers, linear layers, embedding bags.
//!
//! All blocks count as layers of equal cost, the mean over the network, so that gradients leave in as many parts.

use super::beyond::MOMENTS_RATE;
use super::cost::{PassCost, Passes};
use super::eager::{self, Image};
use super::layer::Shape;
use super::products::Products;
use crate::hardware::Dtype;
use crate::kernels::{AttentionForm, Convolve, FlashAttention, Gemm, Operator, Pass};
use crate::model::{Block, Convolution, Entry, ImageNorm, Layer, Linear};

/// Elements read for a residual that joins in the norm's kernel: one forward; a sum of gradients in a kernel of its own backward.
const RESIDUAL_PASSES: [f64; 2] = [1.0, 3.0];
/// Blocks of a network with embedding bags that need none of their vectors: the network of dense inputs.
const BEFORE_BAGS: usize = 3;

const fn pass_of(products: Products) -> Pass {
    match products {
        Products::Forward => Pass::Forward,
        Products::Backward | Products::Weights => Pass::Backward,
    }
}

impl Shape<'_> {
    pub(super) fn network(&self) -> Passes {
        let (forward, backward) = (self.mean_block(Products::Forward), self.mean_block(Products::Backward));
        let convolutional = matches!(self.config.model.blocks[0], Block::Convolution(_));
        let head = |products| {
            let model = &self.config.model;
            if !convolutional {
                return self.head(products);
            }
            let matrix = self.linear(model.vocabulary, model.hidden, products, self.config.precision.wide());
            PassCost { matrix, elementwise: self.device.stream(0.0, 8.0), ..PassCost::default() }
        };
        Passes {
            layer_forward: forward,
            layer_backward: backward,
            expert_forward: PassCost::default(),
            expert_backward: PassCost::default(),
            embedding_forward: self.entry(Products::Forward),
            embedding_backward: self.entry(Products::Backward),
            head_forward: head(Products::Forward),
            head_backward: head(Products::Backward),
        }
    }

    /// Table of tokens, embedding bags, or nothing.
    fn entry(&self, products: Products) -> PassCost {
        let Some(bags) = self.config.model.bags else {
            return if self.config.model.entry == Entry::Table { self.embedding(products) } else { PassCost::default() };
        };
        let ranks = self.config.parallel.ranks();
        let pass = pass_of(products);
        // A rank has its part of the tables and sees the samples of all ranks: as many rows as all tables have for its own samples.
        let gather = Operator::EmbeddingBag {
            samples: self.config.microbatch as f64,
            tables: bags.tables as f64,
            lookups: bags.lookups as f64 / bags.tables as f64,
            width: bags.width as f64,
            bytes: 4.0,
            pass,
        };
        let beside = self.config.model.blocks.iter().take(BEFORE_BAGS).map(|b| self.block(b, products, false).compute()).sum();
        PassCost {
            elementwise: self.device.operator(&gather),
            host: self.host(2.0, self.config.stack.launch_forward.get(), 0.0),
            expert_count: if ranks > 1 { 1.0 } else { 0.0 },
            expert_compute: beside,
            ..PassCost::default()
        }
    }

    /// The mean block of the network.
    fn mean_block(&self, products: Products) -> PassCost {
        let blocks = &self.config.model.blocks;
        let sum = blocks.iter().enumerate().fold(PassCost::default(), |sum, (i, b)| sum.plus(self.block(b, products, i == 0)));
        sum.times(1.0 / blocks.len() as f64)
    }

    /// One block; the first one has no gradient of its input.
    fn block(&self, block: &Block, products: Products, first: bool) -> PassCost {
        match block {
            Block::Convolution(c) => self.convolution(c, products, first),
            Block::Layer(l) => self.block_layer(l, products),
            Block::Linear(l) => self.block_linear(l, products, first),
        }
    }

    /// Rows of a product over all samples of a microbatch.
    fn rows(&self, rows: u64) -> Self {
        Self { tokens: self.config.microbatch * rows, ..*self }
    }

    fn convolution(&self, c: &Convolution, products: Products, first: bool) -> PassCost {
        let config = self.config;
        let (images, dtype) = (config.microbatch, config.precision.linear());
        let pass = pass_of(products);
        let width = config.precision.activation_bytes();
        let shape = Convolve { images, inputs: c.inputs, outputs: c.outputs, kernel: c.kernel, side: c.side };
        let matrix = match products {
            Products::Forward => self.device.convolution(dtype, shape, width, false),
            Products::Backward | Products::Weights => {
                let input = if first { 0.0 } else { self.device.convolution(dtype, shape.transposed(), width, false) };
                input + self.device.convolution(dtype, shape, width, true)
            }
        };
        let (elementwise, host) = self.image_kernels(c, pass);
        PassCost { matrix, elementwise, host, ..PassCost::default() }
    }

    /// Norm, activation and residual beside a convolution: seconds on the device, and on the host, of the convolution too.
    fn image_kernels(&self, c: &Convolution, pass: Pass) -> (f64, f64) {
        let (config, stack) = (self.config, &self.config.stack);
        let (forward, images, width) = (pass == Pass::Forward, config.microbatch, config.precision.activation_bytes());
        let elements = (images * c.elements()) as f64;
        if self.counts_kernels() {
            let image = Image {
                input: c.inputs as f64 * (c.side * c.side) as f64,
                output: c.elements() as f64,
                weights: c.parameters() / images as f64,
                wide: c.kernel > 1,
                joins: c.joins,
                norm: c.norm,
            };
            let samples = Self { tokens: images, ..*self };
            let (seconds, host) = samples.launched(&eager::convolution(&image), pass);
            let moments = if forward && c.norm == ImageNorm::Batch { elements / (self.device.units() * MOMENTS_RATE) } else { 0.0 };
            let sums = if forward { 0.0 } else { self.accumulation(c.parameters()) };
            return (seconds + moments + sums, host);
        }
        let norm = Operator::BatchNorm { elements, bytes: width, pass }.bytes() * *stack.elementwise_share;
        let apart = Operator::Activation { elements, bytes: width, gated: false, pass };
        let activation = if stack.fused_norms.value { 0.0 } else { apart.bytes() };
        let residual = if c.joins { RESIDUAL_PASSES[usize::from(!forward)] * width * elements } else { 0.0 };
        // Convolution, norm, activation; backward twice that.
        let launch = if forward { stack.launch_forward.get() } else { 2.0 * stack.launch_backward.get() };
        (self.device.stream(norm + activation + residual, 2.0), self.host(3.0, launch, 0.0))
    }

    fn block_linear(&self, l: &Linear, products: Products, first: bool) -> PassCost {
        let rows = self.rows(l.rows);
        let (stack, dtype) = (&self.config.stack, self.config.precision.linear());
        let pass = pass_of(products);
        let part = if first && products == Products::Backward { Products::Weights } else { products };
        let width = self.config.precision.activation_bytes();
        let activation = Operator::Activation { elements: (rows.tokens * l.outputs) as f64, bytes: width, gated: false, pass };
        let launch = if pass == Pass::Forward { stack.launch_forward.get() } else { 2.0 * stack.launch_backward.get() };
        PassCost {
            matrix: rows.linear(l.outputs, l.inputs, part, dtype),
            elementwise: self.device.operator(&activation),
            host: self.host(2.0, launch, 0.0),
            ..PassCost::default()
        }
    }

    /// A transformer layer: the stack's traffic of norms and activations and its launches, and half as much of the former again for attention to
    /// another sequence.
    fn block_layer(&self, l: &Layer, products: Products) -> PassCost {
        let dtype = self.config.precision.linear();
        let matrix = l.products().into_iter().map(|(m, n, k)| self.rows(m).linear(n, k, products, dtype)).sum();
        let pass = pass_of(products);
        let own = if self.falls_back(l) { self.wide_attention(l, pass) } else { self.fused_attention(l, l.tokens, l.causal, pass) };
        let attention = own + if l.memory.0 > 0 { self.fused_attention(l, l.memory.0, false, pass) } else { 0.0 };
        let (elementwise, host) = self.layer_kernels(l, pass);
        PassCost { matrix, attention, elementwise, host, ..PassCost::default() }
    }

    /// Whether eager attention takes the path of plain products: learned biases on the scores need a gradient, which no fused kernel gives.
    fn falls_back(&self, l: &Layer) -> bool {
        l.learned_bias && self.counts_kernels()
    }

    /// That path: products in fp32, of the whole square of scores.
    fn wide_attention(&self, l: &Layer, pass: Pass) -> f64 {
        let (s, d, batch) = (l.tokens, l.head_dim, self.config.microbatch * l.heads);
        let gemm = |m, n, k| self.device.gemm_sustained(Dtype::Fp32, Gemm { m, n, k, batch, output_bytes: 4.0 });
        let pair = gemm(s, s, d) + gemm(s, d, s);
        if pass == Pass::Forward { pair } else { 2.0 * pair }
    }

    /// Fused attention of a layer's tokens to so many keys.
    fn fused_attention(&self, l: &Layer, keys: u64, causal: bool, pass: Pass) -> f64 {
        let (batch, generation) = (self.config.microbatch, *self.config.stack.attention);
        let shape = FlashAttention { batch, heads: l.heads, sequence: keys, head_dim: l.head_dim, generation };
        let form = AttentionForm { key_dim: l.head_dim, value_dim: l.head_dim, causal, ..AttentionForm::default() };
        l.tokens as f64 / keys as f64 * self.device.flash_attention_form(shape, form, pass)
    }

    /// What stands in a layer beside products and attention: seconds on the device, on the host.
    fn layer_kernels(&self, l: &Layer, pass: Pass) -> (f64, f64) {
        let (stack, forward) = (&self.config.stack, pass == Pass::Forward);
        if self.counts_kernels() {
            let rows = self.rows(l.tokens);
            let weights = l.products().into_iter().map(|(_, n, k)| (n * k) as f64).sum();
            let (seconds, host) = rows.launched(&eager::network_layer(l), pass);
            return (seconds + if forward { 0.0 } else { self.accumulation(weights) }, host);
        }
        let (norm, kernels, launch) = if forward {
            (*stack.norm_bytes_forward, *stack.kernels_forward, stack.launch_forward.get())
        } else {
            (*stack.norm_bytes_backward, *stack.kernels_backward, stack.launch_backward.get())
        };
        let more = if l.memory.0 > 0 { 1.5 } else { 1.0 };
        let gate = stack.activation_extra_bytes.value
            + match (l.gated, forward) {
                (true, true) => 6.0,
                (false, true) => 4.0,
                (true, false) => 10.0,
                (false, false) => 6.0,
            };
        let inner = (l.heads * l.head_dim) as f64;
        let bytes = more * (norm * l.hidden as f64 + if forward { 6.0 } else { 12.0 } * inner) + gate * l.ffn_hidden as f64;
        let tokens = (self.config.microbatch * l.tokens) as f64 * 0.5 * self.config.precision.activation_bytes() * *stack.elementwise_share;
        let elementwise = self.device.stream(tokens * bytes, (more * kernels - 6.0).max(2.0));
        (elementwise, self.host(more * kernels, launch, 0.0))
    }
}
