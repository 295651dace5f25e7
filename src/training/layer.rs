//! Time of one microbatch through one layer, the embedding and the head, on one rank.
//!
//! Matrix products, attention and element-wise kernels come from the kernel models; tensor-parallel communication from
//! the route of the stage's tensor ranks. A pass takes the longer of device and host: the host runs ahead of the device
//! and matters only where it launches more slowly than the device computes.

use super::config::{Attention, Config, Recompute};
use crate::hardware::Dtype;
use crate::kernels::{DeviceModel, FlashAttention, Gemm, Pass};

/// What one pass of one microbatch costs on one rank.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PassCost {
    /// Matrix products, seconds.
    pub matrix: f64,
    /// Attention core, seconds.
    pub attention: f64,
    /// Element-wise kernels, norms, loss, seconds.
    pub elementwise: f64,
    /// Host launches of the pass, seconds.
    pub host: f64,
    /// Tensor-parallel collectives: payload of each, bytes.
    pub comm_bytes: f64,
    /// How many of them are all-reduces (or pairs of gather and scatter).
    pub comm_count: f64,
    /// Gathers of keys and values over the context ranks (a backward pass also returns their gradients: two).
    pub context_count: f64,
}

impl PassCost {
    /// Device seconds without communication.
    #[must_use]
    pub fn compute(&self) -> f64 {
        self.matrix + self.attention + self.elementwise
    }
    /// The same on a device at a share of its speed; the host keeps its own.
    pub(super) fn slowed(self, speed: f64) -> Self {
        Self { matrix: self.matrix / speed, attention: self.attention / speed, elementwise: self.elementwise / speed, ..self }
    }
    /// So many of it.
    pub(super) fn times(self, n: f64) -> Self {
        Self {
            matrix: self.matrix * n,
            attention: self.attention * n,
            elementwise: self.elementwise * n,
            host: self.host * n,
            comm_bytes: self.comm_bytes,
            comm_count: self.comm_count * n,
            context_count: self.context_count * n,
        }
    }
    /// Both, one after the other.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            matrix: self.matrix + other.matrix,
            attention: self.attention + other.attention,
            elementwise: self.elementwise + other.elementwise,
            host: self.host + other.host,
            comm_bytes: self.comm_bytes.max(other.comm_bytes),
            comm_count: self.comm_count + other.comm_count,
            context_count: self.context_count + other.context_count,
        }
    }
}

/// The passes of a job on one kind of accelerator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passes {
    /// One layer forward.
    pub layer_forward: PassCost,
    /// One layer backward, with what is recomputed.
    pub layer_backward: PassCost,
    /// Embedding forward (first virtual stage).
    pub embedding_forward: PassCost,
    /// Embedding backward.
    pub embedding_backward: PassCost,
    /// Final norm, output projection and loss, forward (last virtual stage).
    pub head_forward: PassCost,
    /// The same, backward.
    pub head_backward: PassCost,
}

struct Shape<'a> {
    config: &'a Config,
    device: &'a DeviceModel,
    launch_factor: f64,
    tokens: u64,
    tensor: u64,
}

/// Which products of a linear layer are computed.
#[derive(Clone, Copy, PartialEq)]
enum Products {
    Forward,
    Backward,
}

impl Passes {
    /// Computes all passes; `launch_factor` is the host's launch time relative to the host of the stacks' figures.
    #[must_use]
    pub fn new(config: &Config, device: &DeviceModel, launch_factor: f64) -> Self {
        let shape = Shape { config, device, launch_factor, tokens: config.microbatch_tokens(), tensor: config.parallel.tensor };
        let forward = shape.layer_forward();
        let backward = shape.layer_backward();
        let recompute = match config.recompute {
            Recompute::None => PassCost::default(),
            Recompute::Selective => {
                PassCost { attention: shape.attention(Pass::Forward), context_count: forward.context_count, ..PassCost::default() }
            }
            Recompute::Full => PassCost { host: forward.host + config.stack.launch_checkpoint.get() * launch_factor, ..forward },
        };
        let layer_forward = if config.recompute == Recompute::Full {
            // Saving the random state takes about half of what restoring it takes.
            PassCost { host: forward.host + 0.5 * config.stack.launch_checkpoint.get() * launch_factor, ..forward }
        } else {
            forward
        };
        Self {
            layer_forward,
            layer_backward: backward.plus(recompute),
            embedding_forward: shape.embedding(6.0),
            embedding_backward: shape.embedding(8.0),
            head_forward: shape.head(Products::Forward),
            head_backward: shape.head(Products::Backward),
        }
    }
}

impl Shape<'_> {
    /// Seconds of one product with operands of `dtype`.
    fn product(&self, dtype: Dtype, m: u64, n: u64, k: u64, output_bytes: f64) -> f64 {
        self.device.gemm_sustained(dtype, Gemm { m, n, k, batch: 1, output_bytes })
    }

    /// Seconds of the products of a linear layer with `n` outputs and `k` inputs, casts to low precision included.
    fn linear(&self, n: u64, k: u64, products: Products, dtype: Dtype) -> f64 {
        let m = self.tokens;
        // A cast reads 2 bytes, writes 1 and writes a transposed copy of 1 (Transformer Engine).
        let cast = |elements: u64| {
            if dtype == self.config.precision.linear() && self.config.precision.casts() {
                self.device.stream(4.0 * elements as f64, 1.0)
            } else {
                0.0
            }
        };
        match products {
            Products::Forward => self.product(dtype, m, n, k, 2.0) + cast(m * k),
            // The gradient of the input, and that of the weight accumulated in fp32.
            Products::Backward => self.product(dtype, m, k, n, 2.0) + self.product(dtype, n, k, m, 4.0) + cast(m * n),
        }
    }

    fn linears(&self, products: Products) -> f64 {
        let model = &self.config.model;
        let t = self.tensor;
        let dtype = self.config.precision.linear();
        self.linear(model.qkv_width() / t, model.hidden, products, dtype)
            + self.linear(model.hidden, model.heads * model.head_dim / t, products, dtype)
            + self.linear(model.ffn_in_width() / t, model.hidden, products, dtype)
            + self.linear(model.hidden, model.ffn_hidden / t, products, dtype)
    }

    /// The attention core: scores, softmax, product with the values.
    fn attention(&self, pass: Pass) -> f64 {
        let model = &self.config.model;
        let heads = (model.heads / self.tensor).max(1);
        let batch = self.config.microbatch * heads;
        let (s, d) = (model.sequence_length, model.head_dim);
        if self.config.attention == Attention::Flash {
            let shape =
                FlashAttention { batch: self.config.microbatch, heads, sequence: s, head_dim: d, generation: *self.config.stack.attention };
            // Context ranks share the causal work evenly (each takes an early and a late part of the sequence).
            return self.device.flash_attention(shape, pass) / self.config.parallel.context as f64;
        }
        let dtype = self.config.precision.wide();
        let gemm = |m, n, k| self.device.gemm_sustained(dtype, Gemm { m, n, k, batch, output_bytes: 2.0 });
        // Batched products with a head size that is no multiple of 8 leave the matrix units: measured on BLOOM's trial
        // layouts with head sizes 108 and 150 (facts: factor 11 on 14 rows).
        let odd = if d % 8 == 0 { 1.0 } else { 11.0 };
        let own = s / self.config.parallel.context;
        let products = match pass {
            Pass::Forward => gemm(own, s, d) + gemm(own, d, s),
            Pass::Backward => 2.0 * gemm(own, s, d) + 2.0 * gemm(own, d, s),
        };
        let stack = &self.config.stack;
        let alibi = if model.position == crate::model::Position::Alibi && pass == Pass::Forward { 4.0 } else { 0.0 };
        let bytes = if pass == Pass::Forward { *stack.score_bytes_forward + alibi } else { *stack.score_bytes_backward };
        products * odd + self.device.stream(bytes * (batch * own * s) as f64, 3.0)
    }

    /// Hidden elements of a token on one rank where norms and residuals are computed.
    fn norm_width(&self) -> f64 {
        let h = self.config.model.hidden as f64;
        if self.config.parallel.sequence { h / self.tensor as f64 } else { h }
    }

    /// Seconds of element-wise kernels: `norm` bytes per norm-width element, `split` bytes per token on the tensor split.
    fn elementwise(&self, norm: f64, split: f64, kernels: f64) -> f64 {
        let tokens = self.tokens as f64;
        self.device.stream(tokens * (norm * self.norm_width() + split / self.tensor as f64), (kernels - 6.0).max(2.0))
    }

    fn host(&self, kernels: f64, launch: f64, comm: f64) -> f64 {
        self.launch_factor * (kernels * launch + comm * self.config.stack.launch_comm.get())
    }

    fn comm(&self, cost: PassCost, count: f64) -> PassCost {
        if self.tensor == 1 {
            return cost;
        }
        let bytes = 2.0 * (self.tokens * self.config.model.hidden) as f64;
        PassCost { comm_bytes: bytes, comm_count: count, ..cost }
    }

    fn context(&self, count: f64) -> f64 {
        if self.config.parallel.context > 1 { count } else { 0.0 }
    }

    fn layer_forward(&self) -> PassCost {
        let (model, stack) = (&self.config.model, &self.config.stack);
        let gate = if model.gated_mlp { 6.0 } else { 4.0 };
        let split = 2.0 * model.qkv_width() as f64 + gate * model.ffn_hidden as f64;
        let comm = if self.tensor > 1 { 2.0 } else { 0.0 };
        let cost = PassCost {
            matrix: self.linears(Products::Forward),
            attention: self.attention(Pass::Forward),
            elementwise: self.elementwise(*stack.norm_bytes_forward, split, *stack.kernels_forward),
            host: self.host(*stack.kernels_forward, stack.launch_forward.get(), comm),
            context_count: self.context(1.0),
            ..PassCost::default()
        };
        self.comm(cost, comm)
    }

    fn layer_backward(&self) -> PassCost {
        let (model, stack) = (&self.config.model, &self.config.stack);
        let gate = if model.gated_mlp { 10.0 } else { 6.0 };
        let split = 12.0 * model.hidden as f64 + gate * model.ffn_hidden as f64;
        let comm = if self.tensor > 1 { 2.0 } else { 0.0 };
        let cost = PassCost {
            matrix: self.linears(Products::Backward),
            attention: self.attention(Pass::Backward),
            elementwise: self.elementwise(*stack.norm_bytes_backward, split, *stack.kernels_backward) + self.accumulation(),
            host: self.host(*stack.kernels_backward, stack.launch_backward.get(), comm),
            context_count: self.context(2.0),
            ..PassCost::default()
        };
        self.comm(cost, comm)
    }

    /// Gradients added to their accumulator outside the product, one layer.
    fn accumulation(&self) -> f64 {
        let stack = &self.config.stack;
        let fp16 = self.config.precision == super::config::Precision::Fp16;
        let bytes = if fp16 { *stack.accumulate_bytes_fp16 } else { *stack.accumulate_bytes_bf16 };
        if bytes == 0.0 { 0.0 } else { self.device.stream(bytes * self.config.model.layer_parameters() / self.tensor as f64, 4.0) }
    }

    fn embedding(&self, bytes: f64) -> PassCost {
        let elementwise = self.device.stream(bytes * self.tokens as f64 * self.config.model.hidden as f64, 2.0);
        let host = self.host(4.0, self.config.stack.launch_forward.get(), 0.0);
        self.comm(PassCost { elementwise, host, ..PassCost::default() }, if self.tensor > 1 { 1.0 } else { 0.0 })
    }

    fn head(&self, products: Products) -> PassCost {
        let (model, stack) = (&self.config.model, &self.config.stack);
        let columns = model.vocabulary.div_ceil(self.tensor);
        let matrix = self.linear(columns, model.hidden, products, self.config.precision.wide());
        // Forward writes and reads the logits about twice as often as backward.
        let share = if products == Products::Forward { 0.7 } else { 0.3 };
        let loss = share * *stack.logit_bytes * (self.tokens * columns) as f64;
        let elementwise = self.device.stream(loss + 8.0 * self.tokens as f64 * self.norm_width(), 10.0);
        let host = self.host(16.0, stack.launch_forward.get(), 0.0);
        let count = if self.tensor > 1 { 0.5 } else { 0.0 };
        self.comm(PassCost { matrix, elementwise, host, attention: 0.0, ..PassCost::default() }, count)
    }
}
