//! What eager PyTorch launches under automatic mixed precision: every tensor operation is a kernel of its own.
//!
//! Weights and the residual stream are fp32, products 16 bit, norms and powers fp32 (autocast's lists), so that casts stand between
//! them. Counts are of public code: PyTorch's autocast lists, derivatives and kernels; layers as transformers, torchvision and
//! diffusers write them. They were checked against the kernels that steps launched (`reports/calibration`), kind by kind.

use super::beyond::Beyond;
use crate::kernels::Pass;
use crate::model::{Activation, Architecture, ImageNorm, Layer, Norm, Position};

/// Bytes of an element and launches, forward and backward.
type Each = [(f64, f64); 2];

/// A norm in one kernel; backward one for the input and one for the weights.
const NORM: Each = [(8.0, 1.0), (20.0, 2.0)];
/// The same on a 16-bit stream, cast there and back.
const NARROW_NORM: Each = [(14.0, 2.0), (26.0, 3.0)];
/// A norm without weights.
const PLAIN_NORM: Each = [(8.0, 1.0), (12.0, 1.0)];
/// An RMS norm that is written out (T5): square 8, mean 4, two small ones, scale 8, weight 8; backward two products of two operands
/// with their sums 48, mean 4, square 28, sum of both ways 12.
const WRITTEN_NORM: Each = [(28.0, 6.0), (92.0, 16.0)];
/// fp32 to 16 bit before a product, and its gradient back.
const CAST: Each = [(6.0, 1.0), (6.0, 1.0)];
/// Gradients of one more reader of a tensor, added up.
const MEET: Each = [(0.0, 0.0), (12.0, 1.0)];
/// A 16-bit branch added to the stream; backward its gradient cast, and what comes from the branch added.
const RESIDUAL: Each = [(10.0, 1.0), (18.0, 2.0)];
/// Dropout of a 16-bit branch with a mask of a byte.
const DROPOUT: Each = [(5.0, 1.0), (5.0, 1.0)];
/// A product: cast of its weights; backward two of them and the cast of the weights' gradient (bytes: `accumulate_bytes`).
const PRODUCT: Each = [(0.0, 2.0), (0.0, 3.0)];
/// A bias in a product: cast, and a clear by the library; backward its sum, with a clear, and a cast.
const BIAS: Each = [(0.0, 2.0), (2.0, 3.0)];
/// 16-bit gradients of the parts of one tensor joined.
const JOIN: Each = [(0.0, 0.0), (4.0, 1.0)];
/// Rotation of queries or keys: two products 12, half negated 2, halves joined 4, sum 6, and casts of two small tables.
const ROTARY: Each = [(24.0, 7.0), (24.0, 5.0)];
/// Fused attention with a clear; backward with two small kernels beside it and a clear.
const FUSED_ATTENTION: Each = [(0.0, 2.0), (0.0, 4.0)];
/// Attention whose scores have a learned bias falls back to fp32 products and kernels between them. For each score: bias added 8, softmax
/// 8, rows without a key sought 6 and masked 9; backward masked 9, softmax 12, sum of the bias 4.
const SCORES: Each = [(31.0, 16.0), (25.0, 20.0)];
/// Of the same for each element of queries, keys and values together: casts, scales, copies.
const SCORE_OPERANDS: Each = [(19.0, 0.0), (19.0, 0.0)];
/// An activation in one 16-bit kernel.
const ACTIVATION: Each = [(4.0, 1.0), (6.0, 1.0)];
/// Its product with the other half of a gate.
const GATE: Each = [(6.0, 1.0), (12.0, 2.0)];
/// The same beside an fp32 activation.
const WIDE_GATE: Each = [(10.0, 1.0), (28.0, 3.0)];
/// GELU's tanh form written out (`gelu_new`): cast 6, cube 8, scale 8, sum 10, scale 8, tanh 8, sum 8, half 4, product 10, all but two in fp32;
/// backward product 22, tanh 12, two scales 16, cube 28, three casts 18, half 4, sums of three ways 12.
const GELU_NEW: Each = [(70.0, 9.0), (112.0, 14.0)];
/// To the weights' type and back before the last product (T5).
const WIDEN: Each = [(6.0, 1.0), (6.0, 1.0)];
/// Scale and shift of a norm by vectors of a sample: two kernels; backward two products, two sums over tokens.
const MODULATE: Each = [(16.0, 2.0), (28.0, 4.0)];
/// A branch scaled by such a vector, 16 bit.
const SCALE_BRANCH: Each = [(6.0, 1.0), (14.0, 3.0)];
/// A group norm over 16-bit images: cast 6, moments 4, applied 8; backward cast 6, sums 8, applied 12, cast 6, small ones.
const GROUP_NORM: Each = [(18.0, 4.0), (32.0, 6.0)];
/// SiLU after it, in fp32.
const WIDE_ACTIVATION: Each = [(8.0, 1.0), (12.0, 1.0)];
/// Channels first to channels last and back around a convolution; backward both for each of its two products.
const LAYOUT: Each = [(4.0, 1.0), (8.0, 2.0)];
/// A bias of an image, apart from the convolution.
const IMAGE_BIAS: Each = [(4.0, 2.0), (2.0, 3.0)];
/// A sum of two 16-bit images.
const IMAGE_SUM: Each = [(6.0, 1.0), (6.0, 1.0)];
/// Batch norm of 16-bit images, channels last: statistics (their arithmetic bounds them, below), update of the running ones, applied; backward
/// sums, applied.
const BATCH_NORM: Each = [(4.0, 4.0), (10.0, 2.0)];
/// Memory traffic and launches of both passes, and what of it something else than memory bounds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Launched {
    each: [(f64, f64); 2],
    beyond: Beyond,
}

impl Launched {
    /// Adds `count` times kernels over so many elements.
    fn of(&mut self, each: Each, elements: f64, count: f64) {
        for (sum, (bytes, kernels)) in self.each.iter_mut().zip(each) {
            sum.0 += count * bytes * elements;
            sum.1 += count * kernels;
        }
    }
    /// Adds biases of so many elements.
    fn bias(&mut self, elements: f64, count: f64) {
        self.of(BIAS, elements, count);
        self.beyond.columns += count * elements;
    }
    /// Adds norms; layer norms have moments, and those with weights sum their gradients.
    fn norm(&mut self, each: Each, elements: f64, count: f64, moments: bool) {
        self.of(each, elements, count);
        self.beyond.moments += if moments { count * elements } else { 0.0 };
        if each == NORM || each == NARROW_NORM {
            self.beyond.norms = (self.beyond.norms.0 + count, elements);
        }
    }
    /// Bytes of one pass.
    pub(super) const fn bytes(&self, pass: Pass) -> f64 {
        self.each[pass as usize].0
    }
    /// Launches of one pass, products included.
    pub(super) const fn kernels(&self, pass: Pass) -> f64 {
        self.each[pass as usize].1
    }
    /// Seconds of one pass beyond its memory traffic, on so many units with `rate` bytes a second.
    pub(super) fn beyond(&self, pass: Pass, units: f64, rate: f64) -> f64 {
        self.beyond.seconds(pass, 8.0, units, rate)
    }
}

/// A transformer layer as eager code sees it; elements of one token.
#[derive(Debug, Clone, Copy)]
struct Form {
    hidden: f64,
    inner: f64,
    kv: f64,
    ffn: f64,
    gated: bool,
    activation: Activation,
    /// One product for queries, keys and values.
    joined: bool,
    /// One product for both halves of a gate.
    joined_gate: bool,
    norm: Each,
    /// Whether norms are layer norms in one kernel, which take mean and variance.
    moments: bool,
    residual: Each,
    biases: (bool, bool),
    rotary: bool,
    /// T5's code: norms written out, learned biases on the scores.
    learned_bias: bool,
    scores: f64,
}

impl Form {
    fn attention(&self, l: &mut Launched) {
        let (h, width) = (self.hidden, self.inner + 2.0 * self.kv);
        let inputs = if self.joined { 1.0 } else { 3.0 };
        l.of(CAST, h, inputs);
        l.of(MEET, h, inputs - 1.0);
        l.of(PRODUCT, 0.0, inputs + 1.0);
        if self.joined {
            l.of(JOIN, width, 1.0);
        }
        if self.biases.0 {
            l.bias(width / inputs, inputs);
            l.bias(h, 1.0);
        }
        if self.rotary {
            l.of(ROTARY, self.inner, 1.0);
            l.of(ROTARY, self.kv, 1.0);
        }
        if self.learned_bias {
            l.of(SCORES, self.scores, 1.0);
            l.of(SCORE_OPERANDS, width, 1.0);
        } else {
            l.of(FUSED_ATTENTION, 0.0, 1.0);
        }
    }

    fn feed_forward(&self, l: &mut Launched) {
        let (h, f) = (self.hidden, self.ffn);
        let inputs = if self.gated && !self.joined_gate { 2.0 } else { 1.0 };
        let halves = if self.gated { 2.0 } else { 1.0 };
        l.of(CAST, h, inputs);
        l.of(MEET, h, inputs - 1.0);
        l.of(PRODUCT, 0.0, inputs + 1.0);
        if self.joined_gate {
            l.of(JOIN, 2.0 * f, 1.0);
        }
        if self.biases.1 {
            l.bias(halves / inputs * f, inputs);
            l.bias(h, 1.0);
        }
        match (self.activation, self.gated) {
            (Activation::GeluNew, gated) => {
                l.of(GELU_NEW, f, 1.0);
                l.of(WIDE_GATE, f, if gated { 1.0 } else { 0.0 });
                l.of(CAST, f, 1.0);
            }
            (Activation::Kernel, gated) => {
                l.of(ACTIVATION, f, 1.0);
                l.of(GATE, f, if gated { 1.0 } else { 0.0 });
            }
        }
        if self.learned_bias && self.activation == Activation::Kernel {
            l.of(WIDEN, f, 1.0);
            l.of(CAST, f, 1.0);
        }
    }

    fn layer(&self) -> Launched {
        let mut l = Launched::default();
        l.norm(self.norm, self.hidden, 2.0, self.moments);
        l.of(self.residual, self.hidden, 2.0);
        self.attention(&mut l);
        self.feed_forward(&mut l);
        l
    }
}

/// A layer of a stack of equal ones: traffic of one token, launches.
pub(super) fn stacked_layer(model: &Architecture) -> Launched {
    let biased = model.norm == Norm::Layernorm;
    let form = Form {
        hidden: model.hidden as f64,
        inner: (model.heads * model.head_dim) as f64,
        kv: (model.kv_heads * model.head_dim) as f64,
        ffn: model.ffn_hidden as f64,
        gated: model.gated_mlp,
        activation: model.activation,
        joined: model.joined_projection,
        joined_gate: false,
        norm: NORM,
        moments: biased,
        residual: RESIDUAL,
        biases: (biased, biased),
        rotary: model.position == Position::Rotary,
        learned_bias: false,
        scores: 0.0,
    };
    let mut layer = form.layer();
    if model.dropout {
        layer.of(DROPOUT, form.hidden, 2.0);
    }
    layer
}

/// A transformer layer of a network: traffic of one of its tokens, launches.
pub(super) fn network_layer(l: &Layer) -> Launched {
    let (h, inner) = (l.hidden as f64, (l.heads * l.head_dim) as f64);
    let modulated = l.modulation > 0;
    let form = Form {
        hidden: h,
        inner,
        kv: inner,
        ffn: l.ffn_hidden as f64,
        gated: l.gated,
        activation: l.activation,
        joined: false,
        joined_gate: l.projected && l.gated,
        norm: match (l.learned_bias, modulated) {
            (true, _) => WRITTEN_NORM,
            (false, true) => PLAIN_NORM,
            (false, false) if l.projected => NARROW_NORM,
            (false, false) => NORM,
        },
        moments: !l.learned_bias,
        // What comes out of a product is a 16-bit stream.
        residual: if l.projected { IMAGE_SUM } else { RESIDUAL },
        biases: (modulated, modulated || l.projected),
        rotary: false,
        learned_bias: l.learned_bias,
        scores: (l.heads * l.tokens) as f64,
    };
    let mut out = form.layer();
    if l.memory.0 > 0 {
        // Keys and values of the other sequence, which all layers read; its own norm and residual.
        let other = l.memory.0 as f64 / l.tokens as f64;
        out.norm(form.norm, h, 1.0, form.moments);
        out.of(form.residual, h, 1.0);
        out.of(CAST, h, 1.0);
        out.of(CAST, other * l.memory.1 as f64, 2.0);
        out.of(MEET, other * l.memory.1 as f64, 2.0);
        out.of(PRODUCT, 0.0, 4.0);
        out.of(FUSED_ATTENTION, 0.0, 1.0);
    }
    if modulated {
        out.of(MODULATE, h, 2.0);
        out.of(SCALE_BRANCH, h, 2.0);
        // The vectors: an activation, a product with its bias, parts joined.
        out.of(PRODUCT, 0.0, 1.0);
        out.bias(0.0, 1.0);
        out.of(ACTIVATION, 0.0, 1.0);
    }
    if l.projected {
        out.of(GROUP_NORM, h, 1.0);
        out.of(CAST, h, 2.0);
        out.of(PRODUCT, 0.0, 2.0);
        out.bias(h, 2.0);
        out.of(IMAGE_SUM, h, 1.0);
    }
    out
}

/// Elements of a convolution on one rank, and what stands around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image {
    /// Elements of its input.
    pub(super) input: f64,
    /// Elements of its output.
    pub(super) output: f64,
    /// Its weights.
    pub(super) weights: f64,
    /// Whether it has a kernel of more than one pixel.
    pub(super) wide: bool,
    /// Whether a residual joins after it.
    pub(super) joins: bool,
    /// The norm beside it.
    pub(super) norm: ImageNorm,
}

/// A convolution with its norm and activation: traffic, launches. Networks with batch norms run channels last, those with group norms as
/// PyTorch makes them, channels first, and the library changes layouts round every kernel of more than a pixel.
pub(super) fn convolution(c: &Image) -> Launched {
    let mut l = Launched::default();
    l.of(PRODUCT, 0.0, 1.0);
    if c.norm == ImageNorm::Batch {
        l.of(BATCH_NORM, c.output, 1.0);
        l.of(ACTIVATION, c.output, 1.0);
    } else {
        l.of(IMAGE_BIAS, c.output, 1.0);
        if c.wide {
            l.of(LAYOUT, c.input, 1.0);
            l.of(LAYOUT, c.output, 1.0);
            l.of(LAYOUT, c.weights, 1.0);
        }
    }
    if c.norm == ImageNorm::Group {
        l.of(GROUP_NORM, c.input, 1.0);
        l.of(WIDE_ACTIVATION, c.input, 1.0);
        l.of(CAST, c.input, 1.0);
        if !c.joins {
            // The vector of the step, a bias of a sample.
            l.of(IMAGE_BIAS, c.output, 1.0);
        }
    }
    if c.joins {
        l.of(IMAGE_SUM, c.output, 1.0);
    }
    l
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Block, Preset};

    fn model(id: &str) -> Architecture {
        Preset::named(id).unwrap().architecture()
    }

    fn launches(l: &Launched) -> f64 {
        l.kernels(Pass::Forward) + l.kernels(Pass::Backward)
    }

    #[test]
    fn a_layer_of_gpt_2_by_hand() {
        // Norms 16, residuals 20, one cast 6 before the projection and one before the wide product; 70 and a cast of four times the width.
        let l = stacked_layer(&model("gpt2-large"));
        assert_eq!(l.bytes(Pass::Forward), 1280.0 * (16.0 + 20.0 + 12.0 + 4.0 * 76.0));
        // Norms 40, residuals 36, two casts 12, three parts joined 12, sums of biases 2 (3 + 1 + 4 + 1); 112 and a cast.
        assert_eq!(l.bytes(Pass::Backward), 1280.0 * (40.0 + 36.0 + 12.0 + 12.0 + 18.0 + 4.0 * 118.0));
        assert_eq!((l.kernels(Pass::Forward), l.kernels(Pass::Backward)), (34.0, 54.0));
    }

    #[test]
    fn a_layer_of_llama_by_hand() {
        let m = model("llama-3-8b");
        let l = stacked_layer(&m);
        // Norms 16, residuals 20, five casts 30; rotation 24 of queries and a quarter as many keys; gate 10.
        assert_eq!(l.bytes(Pass::Forward), 4096.0 * 66.0 + 24.0 * 5120.0 + 10.0 * 14336.0);
        assert_eq!(l.bytes(Pass::Backward), 4096.0 * (40.0 + 36.0 + 30.0 + 36.0) + 24.0 * 5120.0 + 18.0 * 14336.0);
    }

    /// Launches that steps were seen to make on an H100 (`reports/calibration`), less those of the optimizer.
    #[test]
    fn launches_as_seen() {
        for (id, seen) in [("gpt2-large", 3318.0 - 38.0), ("bert-large", 2323.0 - 17.0)] {
            let m = model(id);
            let got = m.layers as f64 * launches(&stacked_layer(&m));
            // Embedding, head and loss take the rest.
            assert!((0.94..1.0).contains(&(got / seen)), "{id}: {got} of {seen}");
        }
        let blocks = model("stable-diffusion-2").blocks;
        let got: f64 = blocks
            .iter()
            .map(|b| match b {
                Block::Layer(l) => launches(&network_layer(l)),
                Block::Convolution(c) => {
                    let image = Image { input: 1.0, output: 1.0, weights: 1.0, wide: c.kernel > 1, joins: c.joins, norm: c.norm };
                    launches(&convolution(&image))
                }
                Block::Linear(_) => 12.0,
            })
            .sum();
        assert!((got / (4780.0 - 47.0) - 1.0).abs() < 0.1, "{got}");
    }

    /// 132 units and 2.61 TB/s: norms of 1,280 and sums of biases of 9 widths are bound by more than memory, RMS norms of 4,096 are not.
    #[test]
    fn what_memory_does_not_bound() {
        let want = Beyond { moments: 2.0 * 1280.0, columns: 9.0 * 1280.0, norms: (2.0, 1280.0) };
        let got = stacked_layer(&model("gpt2-large"));
        let rms = stacked_layer(&model("llama-3-8b"));
        for pass in [Pass::Forward, Pass::Backward] {
            assert!(got.beyond(pass, 132.0, 2.61e12) > 0.0);
            assert_eq!(got.beyond(pass, 132.0, 2.61e12), want.seconds(pass, 8.0, 132.0, 2.61e12));
            assert_eq!(rms.beyond(pass, 132.0, 2.61e12), 0.0);
        }
    }

    #[test]
    fn a_written_out_gelu_moves_more_than_any_kernel() {
        let m = model("gpt2-large");
        let plain = stacked_layer(&Architecture { activation: Activation::Kernel, ..m.clone() });
        let written = stacked_layer(&m);
        for pass in [Pass::Forward, Pass::Backward] {
            assert!(written.bytes(pass) > 2.0 * plain.bytes(pass) && written.kernels(pass) > plain.kernels(pass));
        }
    }
}
