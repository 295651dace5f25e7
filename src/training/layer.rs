//! Time of one microbatch through one layer, the embedding and the head, on one rank.
//!
//! Attention and element-wise kernels come from the kernel models, products from `products`; how often each rank talks to others is counted
//! here, and how long that takes follows from the routes of its stage.

use super::beyond::Beyond;
use super::config::{Attention, Config, Precision, Sharding};
use super::cost::{PassCost, Passes};
use super::eager::{Launched, stacked_layer};
use super::products::Products;
use crate::kernels::{DeviceModel, Gemm, Pass};
use crate::model::{Entry, Norm};

/// Sizes of a job's microbatch on one rank.
pub(super) struct Shape<'a> {
    pub(super) config: &'a Config,
    pub(super) device: &'a DeviceModel,
    pub(super) launch_factor: f64,
    pub(super) tokens: u64,
    pub(super) tensor: u64,
}

impl Passes {
    /// Computes all passes; `launch_factor` is the host's launch time relative to the host of the stacks' figures.
    #[must_use]
    pub fn new(config: &Config, device: &DeviceModel, launch_factor: f64) -> Self {
        let shape = Shape { config, device, launch_factor, tokens: config.microbatch_tokens(), tensor: config.parallel.tensor };
        if config.model.is_network() {
            return shape.network();
        }
        let (layer_forward, layer_backward) = shape.with_recompute(shape.layer_forward(), shape.layer_backward());
        let (expert_forward, expert_backward) = if config.has_experts() {
            shape.with_recompute(shape.expert_layer(Products::Forward), shape.expert_layer(Products::Backward))
        } else {
            Default::default()
        };
        let (mut head_forward, mut head_backward) = (shape.head(Products::Forward), shape.head(Products::Backward));
        for _ in 0..config.model.prediction_layers {
            head_forward = head_forward.plus(expert_forward).plus(shape.head(Products::Forward)).plus(shape.joining(Products::Forward));
            head_backward =
                head_backward.plus(expert_backward).plus(shape.head(Products::Backward)).plus(shape.joining(Products::Backward));
        }
        Self {
            layer_forward,
            layer_backward,
            expert_forward,
            expert_backward,
            embedding_forward: shape.embedding(Products::Forward),
            embedding_backward: shape.embedding(Products::Backward),
            head_forward,
            head_backward,
        }
    }
}

impl Shape<'_> {
    /// The attention core, and the scan of states in its place: the mean over the layers.
    pub(super) fn attention(&self, pass: Pass) -> f64 {
        let share = self.config.model.attention_share();
        let core = if share > 0.0 { share * self.attention_core(pass) } else { 0.0 };
        core + self.state_scan(pass)
    }

    /// Batched products with the scores in memory.
    pub(super) fn unfused(&self, pass: Pass, batch: u64, own: u64) -> f64 {
        let model = &self.config.model;
        let (s, d) = (model.sequence_length, model.head_dim);
        let dtype = self.config.precision.wide();
        let out = self.config.precision.activation_bytes();
        let gemm = |m, n, k| self.device.gemm_sustained(dtype, Gemm { m, n, k, batch, output_bytes: out });
        // Batched products with a head size that is no multiple of 8 leave the matrix units: measured on BLOOM's trial
        // layouts with head sizes 108 and 150 (facts: factor 11 on 14 rows).
        let odd = if d % 8 == 0 { 1.0 } else { 11.0 };
        let products = match pass {
            Pass::Forward => gemm(own, s, d) + gemm(own, d, s),
            Pass::Backward => 2.0 * gemm(own, s, d) + 2.0 * gemm(own, d, s),
        };
        let stack = &self.config.stack;
        let alibi = if model.position == crate::model::Position::Alibi && pass == Pass::Forward { 4.0 } else { 0.0 };
        let bytes = if pass == Pass::Forward { *stack.score_bytes_forward + alibi } else { *stack.score_bytes_backward };
        products * odd + self.device.stream(0.5 * out * bytes * (batch * own * s) as f64, 3.0)
    }

    /// Hidden elements of a token on one rank where norms and residuals are computed.
    pub(super) fn norm_width(&self) -> f64 {
        let h = self.config.model.hidden as f64;
        if self.config.parallel.sequence { h / self.tensor as f64 } else { h }
    }

    /// Seconds of element-wise kernels: `norm` bytes per norm-width element, `split` bytes per token on the tensor split, both as
    /// for 16-bit activations.
    pub(super) fn elementwise(&self, norm: f64, split: f64, kernels: f64) -> f64 {
        let tokens = self.tokens as f64 * 0.5 * self.config.precision.activation_bytes() * *self.config.stack.elementwise_share;
        self.device.stream(tokens * (norm * self.norm_width() + split / self.tensor as f64), (kernels - 6.0).max(2.0))
    }

    pub(super) fn host(&self, kernels: f64, launch: f64, comm: f64) -> f64 {
        self.launch_factor * (kernels * launch + comm * self.config.stack.launch_comm.get())
    }

    /// Host time of fetching a microbatch, before its forward pass.
    fn batch_host(&self, products: Products) -> f64 {
        if products == Products::Forward { self.launch_factor * self.config.stack.launch_batch.get() } else { 0.0 }
    }

    /// Kernels more of a layer's pass where the scores of a rank do not suit the fused softmax: scale, mask, casts apart (counted).
    fn apart_softmax(&self, pass: Pass) -> f64 {
        let rows = self.config.microbatch * (self.config.model.heads / self.tensor).max(1);
        let fused = self.config.attention != Attention::Unfused || rows.is_multiple_of(*self.config.stack.fused_softmax_multiple);
        match pass {
            _ if fused => 0.0,
            Pass::Forward => 6.0,
            Pass::Backward => 5.0,
        }
    }

    pub(super) fn comm(&self, cost: PassCost, count: f64) -> PassCost {
        if self.tensor == 1 {
            return cost;
        }
        let config = self.config;
        // Of a pair of gather and scatter, the gather may be of the products' operands.
        let width = if self.narrow_gathers() { 1.5 } else { config.precision.activation_bytes() };
        PassCost { comm_bytes: width * (self.tokens * config.model.hidden) as f64, comm_count: count, ..cost }
    }

    /// Traffic of adapters beside the query-key-value and output projections: they read the input again and add to the output.
    fn adapters(&self, times: f64) -> f64 {
        if self.config.adapter_rank.is_none() {
            return 0.0;
        }
        let model = &self.config.model;
        let width = (model.heads * model.head_dim) as f64;
        let bytes = 2.0 * (model.hidden as f64 + width) + 6.0 * (model.qkv_width() as f64 + model.hidden as f64);
        times * self.elementwise(0.0, bytes, 14.0)
    }

    /// Whether the kernels of layers are counted from the model's public code.
    pub(super) fn counts_kernels(&self) -> bool {
        let config = self.config;
        let narrow = matches!(config.precision, Precision::Bf16 | Precision::Fp16);
        config.stack.autocast.value && narrow && config.adapter_rank.is_none()
    }

    /// Seconds on the device and launches of a layer's small kernels in one pass, as eager code runs them; of `products` launches.
    pub(super) fn launched(&self, l: &Launched, pass: Pass) -> (f64, f64) {
        let launch = if pass == Pass::Forward { self.config.stack.launch_forward } else { self.config.stack.launch_backward };
        let (tokens, rate) = (self.tokens as f64, 1.0 / self.device.stream(1.0, 0.0));
        let device = self.device.stream(tokens * l.bytes(pass), l.kernels(pass)) + tokens * l.beyond(pass, self.device.units(), rate);
        (device, self.host(l.kernels(pass), launch.get(), 0.0))
    }

    /// What stands in a dense layer beside products and fused attention: seconds on the device, on the host.
    fn small_kernels(&self, pass: Pass) -> (f64, f64) {
        let (model, stack) = (&self.config.model, &self.config.stack);
        if self.counts_kernels() && model.hybrid.is_none() && self.tensor == 1 {
            return self.launched(&stacked_layer(model), pass);
        }
        let forward = pass == Pass::Forward;
        let (norms, wide) = (model.norm_share(), model.feed_forward_share());
        let gate = match (model.gated_mlp, forward) {
            (true, true) => 6.0,
            (false, true) => 4.0,
            (true, false) => 10.0,
            (false, false) => 6.0,
        };
        let split = self.mixer_bytes(pass) + wide * (gate + *stack.activation_extra_bytes) * model.ffn_hidden as f64;
        let (bytes, kernels, launch) = if forward {
            (*stack.norm_bytes_forward, *stack.kernels_forward, stack.launch_forward.get())
        } else {
            (*stack.norm_bytes_backward, *stack.kernels_backward, stack.launch_backward.get())
        };
        let comm = if self.tensor > 1 { 2.0 * norms } else { 0.0 };
        let kernels = norms * kernels + self.apart_softmax(pass);
        (self.elementwise(norms * bytes, split, kernels) + norms * self.beyond(pass), self.host(kernels, launch, comm))
    }

    /// Seconds of PyTorch's own layer norms and sums of biases beyond their memory traffic.
    fn beyond(&self, pass: Pass) -> f64 {
        let (model, stack) = (&self.config.model, &self.config.stack);
        let hidden = model.hidden as f64;
        let mut beyond = Beyond::default();
        if model.norm == Norm::Layernorm && stack.eager_norms.value {
            beyond = Beyond::layer_norms(hidden);
        }
        if model.norm == Norm::Layernorm && stack.eager_bias_sums.value {
            beyond.columns = (model.qkv_width() + model.ffn_hidden) as f64 / self.tensor as f64 + 2.0 * hidden;
        }
        let rate = 1.0 / self.device.stream(1.0, 0.0);
        self.tokens as f64 * beyond.seconds(pass, 4.0, self.device.units(), rate)
    }

    fn layer_forward(&self) -> PassCost {
        let model = &self.config.model;
        let (norms, wide) = (model.norm_share(), model.feed_forward_share());
        let (elementwise, host) = self.small_kernels(Pass::Forward);
        let cost = PassCost {
            matrix: self.projections(Products::Forward) + wide * self.feed_forward(model.ffn_hidden, Products::Forward),
            attention: self.attention(Pass::Forward),
            elementwise: elementwise
                + self.adapters(1.0)
                + self.gathered(self.layer_part())
                + self.sequence_copies(Products::Forward, 2.0 * norms),
            host,
            context_count: self.context(Pass::Forward),
            ..PassCost::default()
        };
        self.comm(cost, if self.tensor > 1 { 2.0 * norms } else { 0.0 })
    }

    fn layer_backward(&self) -> PassCost {
        let model = &self.config.model;
        let (norms, wide) = (model.norm_share(), model.feed_forward_share());
        let (elementwise, host) = self.small_kernels(Pass::Backward);
        let weights = self.accumulation(self.layer_part()) + self.gathered(self.layer_part());
        let cost = PassCost {
            matrix: self.projections(Products::Backward) + wide * self.feed_forward(model.ffn_hidden, Products::Backward),
            weight: self.projections(Products::Weights) + wide * self.feed_forward(model.ffn_hidden, Products::Weights),
            attention: self.attention(Pass::Backward),
            elementwise: elementwise + weights + self.adapters(2.0) + self.sequence_copies(Products::Backward, 2.0 * norms),
            host,
            context_count: self.context(Pass::Backward),
            ..PassCost::default()
        };
        self.with_bare_scatters(self.comm(cost, if self.tensor > 1 { 2.0 * norms } else { 0.0 }))
    }

    /// Weights of a dense layer on one rank, where they are gathered.
    fn layer_part(&self) -> f64 {
        self.config.model.layer_parameters() / self.tensor as f64
    }

    /// So many gathered weights copied to where products read them.
    pub(super) fn gathered(&self, parameters: f64) -> f64 {
        let bytes = *self.config.stack.gather_copy_bytes;
        if bytes == 0.0 || self.config.sharding != Sharding::Weights { 0.0 } else { self.device.stream(bytes * parameters, 1.0) }
    }

    /// Gradients of so many weights between product and collective: sums, casts, copies.
    pub(super) fn accumulation(&self, parameters: f64) -> f64 {
        let stack = &self.config.stack;
        let fp16 = self.config.precision == Precision::Fp16;
        let bytes = if fp16 { *stack.accumulate_bytes_fp16 } else { *stack.accumulate_bytes_bf16 };
        if bytes == 0.0 || self.config.adapter_rank.is_some() { 0.0 } else { self.device.stream(bytes * parameters, 4.0) }
    }

    /// Table of tokens, or projection of patches, which need no gradient of their own.
    pub(super) fn embedding(&self, products: Products) -> PassCost {
        let bytes = if products == Products::Forward { 6.0 } else { 8.0 };
        let hidden = self.config.model.hidden;
        let elementwise = self.device.stream(bytes * self.tokens as f64 * hidden as f64, 2.0) + self.end_copies();
        let matrix = match self.config.model.entry {
            Entry::Patches { side, channels } => {
                let part = if products == Products::Forward { Products::Forward } else { Products::Weights };
                self.linear((hidden / self.tensor).max(1), side * side * channels, part, self.config.precision.wide())
            }
            Entry::Table | Entry::Nothing => 0.0,
        };
        let host = self.host(4.0, self.config.stack.launch_forward.get(), 0.0) + self.batch_host(products);
        self.comm(PassCost { matrix, elementwise, host, ..PassCost::default() }, if self.tensor > 1 { 1.0 } else { 0.0 })
    }

    /// The projection that joins hidden state and next token before an extra layer of prediction.
    fn joining(&self, products: Products) -> PassCost {
        let h = self.config.model.hidden;
        PassCost { matrix: self.linear(h / self.tensor, 2 * h, products, self.config.precision.linear()), ..PassCost::default() }
    }

    pub(super) fn head(&self, products: Products) -> PassCost {
        let (model, stack) = (&self.config.model, &self.config.stack);
        // Megatron pads for every rank, so that its part lies on full lines.
        let columns = model.vocabulary.div_ceil(self.tensor).next_multiple_of(*stack.vocabulary_multiple);
        // Encoders project the masked tokens only.
        let predicted = ((self.tokens as f64 * model.predicted).ceil() as u64).max(1);
        let rows = Shape { tokens: predicted, ..*self };
        let matrix = rows.linear(columns, model.hidden, products, self.config.precision.wide());
        // Forward writes and reads the logits about twice as often as backward.
        let weight = match products {
            Products::Forward => 0.0,
            _ => rows.linear(columns, model.hidden, Products::Weights, self.config.precision.wide()),
        };
        let share = if products == Products::Forward { 0.7 } else { 0.3 };
        let loss = share * *stack.logit_bytes * (predicted * columns) as f64;
        let elementwise = self.device.stream(loss + 8.0 * self.tokens as f64 * self.norm_width(), 10.0) + self.end_copies();
        let host = self.host(16.0, stack.launch_forward.get(), 0.0) + self.batch_host(products);
        let count = if self.tensor > 1 { 0.5 } else { 0.0 };
        self.comm(PassCost { matrix, weight, elementwise, host, ..PassCost::default() }, count)
    }
}
