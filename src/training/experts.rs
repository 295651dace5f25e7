//! Layers with experts: how a software stack runs them, as data (`expert_stacks.toml`), and what a pass costs.

use super::config::Precision;
use super::cost::PassCost;
use super::layer::Shape;
use super::products::Products;
use crate::diag::{Decode, Diagnostics, Finite, List, Name, Node, NonNeg, Share, Style, Text, Whole, render};
use crate::kernels::{Gemm, Pass, common_alignment};
use crate::units::Seconds;
use crate::{choice, record};
use std::sync::OnceLock;

choice! {
    /// Who moves tokens to the ranks of their experts and back.
    pub enum Dispatcher {
        /// All-to-all of the library: every copy of a token travels.
        AllToAll = "all-to-all",
        /// Kernels that send one copy of a token to every node and to every accelerator (DeepEP).
        Deepep = "deepep",
        /// The same fused with permutation (HybridEP).
        Hybridep = "hybridep",
    }
}

choice! {
    /// What captured graphs hold.
    pub enum GraphScope {
        /// Nothing.
        None = "none",
        /// Router and preprocessing.
        Router = "router",
        /// Router and attention.
        Attention = "attention",
        /// The whole step: no launches, no waits for counts.
        Full = "full",
    }
}

record! {
    /// How layers with experts run.
    pub struct ExpertStack {
        /// Name, such as `eager`.
        pub id: Name,
        /// Name for people.
        pub title: Name,
        /// Who moves tokens.
        pub dispatcher: Dispatcher,
        /// Share of an exchange that runs under the compute of another microbatch where there is enough of it (0: none).
        pub hidden: Share = 0.0,
        /// What captured graphs hold.
        pub graph: GraphScope = GraphScope::None,
        /// Whether products, activation and casts of the experts are fused.
        pub fused: bool = false,
        /// Wait of the host for the counts of tokens, each forward pass of a layer.
        pub wait: NonNeg<Seconds>,
        /// Host-launched kernels of the dispatcher, forward.
        pub kernels_forward: Whole,
        /// The same, backward.
        pub kernels_backward: Whole,
        /// Memory traffic of permuting tokens and back, bytes per element of a row, 16-bit products.
        pub permute_bytes: Finite,
        /// The same with 8- and 4-bit products (padding, another sort).
        pub permute_bytes_narrow: Finite,
        /// Rate of the dispatcher in training over that of its kernels alone (its kernels share the device).
        pub slowdown: Finite = 1.0,
        /// Where the figures come from.
        pub source: Text,
    }
}

record! {
    /// The expert stacks file.
    pub struct ExpertStackFile {
        /// Stacks.
        pub expert_stack: List<ExpertStack>,
    }
}

/// All expert stacks.
pub fn expert_stacks() -> &'static [ExpertStack] {
    static STACKS: OnceLock<Vec<ExpertStack>> = OnceLock::new();
    STACKS.get_or_init(|| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("training/expert_stacks.toml", include_str!("expert_stacks.toml"));
        let file = Node::parse(source, &mut diags).and_then(|node| ExpertStackFile::decode(&node, &mut diags));
        let Some(file) = file else { panic!("the embedded expert stacks are faulty:\n{}", render(&diags, Style::Plain)) };
        file.expert_stack.value.into_iter().map(|s| s.value).collect()
    })
}

impl ExpertStack {
    /// A stack by its name.
    #[must_use]
    pub fn named(id: &str) -> Option<&'static Self> {
        expert_stacks().iter().find(|s| s.id.value == id)
    }

    /// Whether one copy of a token goes to every node and accelerator that needs it, however many of its experts are there.
    #[must_use]
    pub fn sends_one_copy(&self) -> bool {
        *self.dispatcher != Dispatcher::AllToAll
    }
}

/// Kernel launches of attention, router and latent projections; those of eager Transformer Engine layers (facts: layer benchmark and
/// counts).
const ATTENTION_LAUNCHES: [f64; 2] = [18.0, 30.0];
const ROUTER_LAUNCHES: [f64; 2] = [25.0, 30.0];
const LATENT_LAUNCHES: [f64; 2] = [14.0, 20.0];
/// Launches of every local expert (quantise, swizzle scales, products), forward and backward.
const EXPERT_LAUNCHES: [f64; 2] = [8.0, 14.0];
/// Host time of one of them: 13 us with block scales (Qwen3-30B-A3B on B200), 6 us in 16 bit or with per-tensor scales.
const EXPERT_LAUNCH_BLOCK: f64 = 13e-6;
const EXPERT_LAUNCH: f64 = 6e-6;
/// Launch factor of the hosts on which launches of layers with experts were measured (B200).
const MEASURED_ON: f64 = 0.7;
/// Activation traffic where a clamped, biased gate runs unfused, and in fused expert kernels, relative to one fused kernel.
const UNFUSED_ACTIVATION: f64 = 8.0;
const FUSED_ACTIVATION: f64 = 0.35;
/// Padding of rows under static shapes (whole-step graphs): the capacity of the recipes that use them.
const STATIC_PADDING: f64 = 1.5;

impl Shape<'_> {
    /// Tokens that one rank routes: sequence parallelism splits them over the tensor ranks.
    pub(super) fn routed_tokens(&self) -> f64 {
        self.tokens as f64 / if self.config.parallel.sequence { self.tensor as f64 } else { 1.0 }
    }

    /// One pass of a layer with experts.
    pub(super) fn expert_layer(&self, products: Products) -> PassCost {
        let (model, stack) = (&self.config.model, &self.config.stack);
        let Some(experts) = model.experts else { return PassCost::default() };
        let forward = products == Products::Forward;
        let pass = if forward { Pass::Forward } else { Pass::Backward };
        let t = self.tensor as f64;
        let norm = if forward { *stack.norm_bytes_forward } else { *stack.norm_bytes_backward };
        let split = self.mixer_bytes(pass);
        let before = self.projections(products) + self.router(products);
        let between = self.routed(products);
        let shared = if experts.shared > 0 { self.feed_forward(experts.shared * experts.ffn_hidden, products) } else { 0.0 };
        let weight = if forward {
            0.0
        } else {
            let shared = if experts.shared > 0 { self.feed_forward(experts.shared * experts.ffn_hidden, Products::Weights) } else { 0.0 };
            self.projections(Products::Weights) + between.weight + shared
        };
        let shared_bytes = if forward { 6.0 } else { 10.0 } * (experts.shared * experts.ffn_hidden) as f64;
        let activation = self.elementwise(0.0, shared_bytes, 0.0);
        let held = model.common_parameters() / t;
        let accumulation = self.gathered(held) + if forward { 0.0 } else { self.accumulation(held) };
        let rope = self.latent_traffic(forward);
        let count = if self.tensor > 1 { 1.0 + f64::from(u8::from(experts.shared > 0)) } else { 0.0 };
        let (host, late) = self.expert_host(usize::from(!forward), count);
        let copies = self.sequence_copies(products, count);
        let exchanged = self.config.parallel.expert > 1;
        let cost = PassCost {
            matrix: before + between.matrix + shared,
            weight,
            attention: self.attention(pass),
            elementwise: self.elementwise(norm, split, 20.0) + between.elementwise + activation + accumulation + rope + copies,
            host,
            context_count: self.context(pass),
            expert_count: if exchanged { 2.0 } else { 0.0 },
            expert_compute: between.compute() + shared + activation,
            expert_host: late,
            expert_wait: if forward { self.config.experts.wait.get() } else { 0.0 },
            ..PassCost::default()
        };
        let cost = self.comm(cost, count);
        if forward { cost } else { self.with_bare_scatters(cost) }
    }

    /// Router: scores of all experts and the choice among them; backward twice that.
    fn router(&self, products: Products) -> f64 {
        let model = &self.config.model;
        let experts = model.experts.map_or(1, |e| e.count);
        let tokens = self.routed_tokens();
        let rows = (tokens as u64).max(1);
        let times = if products == Products::Forward { 1.0 } else { 2.0 };
        let bytes = tokens * (4.0 * model.hidden as f64 + 24.0 * experts as f64);
        let along = common_alignment(&[experts, model.hidden]);
        times * (self.product(self.config.precision.wide(), [rows, experts, model.hidden], along, 4.0) + self.device.stream(bytes, 8.0))
    }

    /// Permutation, products, activation and casts of the experts of one rank.
    fn routed(&self, products: Products) -> PassCost {
        let (config, stack) = (self.config, &self.config.experts);
        let Some(e) = config.model.experts else { return PassCost::default() };
        let (h, f) = (config.model.hidden, e.ffn_hidden);
        let rows = self.routed_tokens() * e.per_token as f64 * config.expert_imbalance;
        let local = (e.count / config.parallel.expert).max(1);
        let each = ((rows / local as f64).ceil() as u64).max(1);
        let dtype = config.precision.linear();
        let grouped = |m, n, k, output_bytes| self.device.gemm_sustained(dtype, Gemm { m, n, k, batch: local, output_bytes });
        let first = if config.model.gated_mlp { 2 * f } else { f };
        let forward = products == Products::Forward;
        let sums = self.gradient_traffic();
        let weight = if forward { 0.0 } else { grouped(first, h, each, sums) + grouped(h, f, each, sums) };
        let matrix = if forward {
            grouped(each, first, h, 2.0) + grouped(each, h, f, 2.0)
        } else {
            grouped(each, h, first, 2.0) + grouped(each, f, h, 2.0) + weight
        };
        let narrow = config.precision.casts();
        let permute = if narrow { *stack.permute_bytes_narrow } else { *stack.permute_bytes };
        let padded = rows * if *stack.graph == GraphScope::Full { STATIC_PADDING } else { 1.0 };
        let kernels = match (stack.fused.value, e.clamped) {
            (true, _) => FUSED_ACTIVATION,
            (false, true) => UNFUSED_ACTIVATION,
            (false, false) => 1.0,
        };
        let activation = if forward { 6.0 } else { 10.0 } * kernels * padded * f as f64;
        let cast = if stack.fused.value { 0.5 } else { 1.0 } * self.cast(padded * if forward { h + f } else { first + h } as f64);
        let elementwise = self.device.stream(rows * h as f64 * permute + activation, 4.0) + cast;
        PassCost { matrix, weight, elementwise, ..PassCost::default() }
    }

    /// Rotation and concatenation of latent queries and keys: 12 bytes an element of the heads forward, 16 backward.
    fn latent_traffic(&self, forward: bool) -> f64 {
        let model = &self.config.model;
        let Some(latent) = model.latent else { return 0.0 };
        let elements = (model.heads * (latent.nope + latent.rope)) as f64;
        self.elementwise(0.0, if forward { 12.0 } else { 16.0 } * elements, 6.0)
    }

    /// Host seconds of a pass (0 forward, 1 backward), and of what is launched after the counts of tokens are known.
    fn expert_host(&self, pass: usize, comm: f64) -> (f64, f64) {
        let (config, stack) = (self.config, &self.config.experts);
        if *stack.graph == GraphScope::Full {
            return (0.0, 0.0);
        }
        let launch = if pass == 0 { config.stack.launch_forward.get() } else { config.stack.launch_backward.get() };
        let attention = ATTENTION_LAUNCHES[pass] + if config.model.latent.is_some() { LATENT_LAUNCHES[pass] } else { 0.0 };
        let before = match *stack.graph {
            GraphScope::None => attention + ROUTER_LAUNCHES[pass],
            GraphScope::Router => attention,
            GraphScope::Attention | GraphScope::Full => 0.0,
        };
        let local = config.model.experts.map_or(0, |e| (e.count / config.parallel.expert).max(1)) as f64;
        let scaled = matches!(config.precision, Precision::Fp8Block | Precision::Mxfp8 | Precision::Nvfp4);
        let one = if scaled { EXPERT_LAUNCH_BLOCK } else { EXPERT_LAUNCH };
        // Captured stacks launch nothing one by one.
        let one = if launch > 0.0 { one } else { 0.0 };
        let kernels = if pass == 0 { *stack.kernels_forward } else { *stack.kernels_backward } as f64;
        let late = (self.host(kernels, launch, 0.0) + self.launch_factor * local * EXPERT_LAUNCHES[pass] * one) / MEASURED_ON;
        (self.host(before, launch / MEASURED_ON, comm) + late, late)
    }
}
