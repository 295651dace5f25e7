//! Passes of a network of blocks: convolutions with norms, transformer layers, linear layers, embedding bags.
//!
//! All blocks count as layers of equal cost, the mean over the network, so that gradients leave in as many parts.

use super::cost::{PassCost, Passes};
use super::layer::{Products, Shape};
use crate::kernels::{Convolve, FlashAttention, Operator, Pass};
use crate::model::{Block, Convolution, Entry, Layer, Linear};

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
        let (config, stack) = (self.config, &self.config.stack);
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
        let elements = (images * c.elements()) as f64;
        let norm = Operator::BatchNorm { elements, bytes: width, pass }.bytes() * *stack.elementwise_share;
        let apart = Operator::Activation { elements, bytes: width, gated: false, pass };
        let activation = if stack.fused_norms.value { 0.0 } else { apart.bytes() };
        let residual = if c.joins { RESIDUAL_PASSES[usize::from(pass == Pass::Backward)] * width * elements } else { 0.0 };
        let elementwise = self.device.stream(norm + activation + residual, 2.0);
        // Convolution, norm, activation; backward twice that.
        let launch = if pass == Pass::Forward { stack.launch_forward.get() } else { 2.0 * stack.launch_backward.get() };
        PassCost { matrix, elementwise, host: self.host(3.0, launch, 0.0), ..PassCost::default() }
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
        let (stack, dtype) = (&self.config.stack, self.config.precision.linear());
        let forward = products == Products::Forward;
        let matrix = l.products().into_iter().map(|(m, n, k)| self.rows(m).linear(n, k, products, dtype)).sum();
        let flash = FlashAttention {
            batch: self.config.microbatch,
            heads: l.heads,
            sequence: l.tokens,
            head_dim: l.head_dim,
            generation: *stack.attention,
        };
        // The kernel's time is that of the causal half of its own sequence.
        let halves = 2.0 * l.pairs() / (l.tokens * l.tokens) as f64;
        let attention = halves * self.device.flash_attention(flash, if forward { Pass::Forward } else { Pass::Backward });
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
        PassCost { matrix, attention, elementwise, host: self.host(more * kernels, launch, 0.0), ..PassCost::default() }
    }
}
