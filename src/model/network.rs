//! Networks that are no stack of equal layers: lists of convolutions, transformer layers and linear layers for one sample.

use super::architecture::Activation;
use super::convolution::{Convolution, ImageNorm, resnet50};
use crate::choice;

/// A transformer layer over the tokens of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Tokens of a sample.
    pub tokens: u64,
    /// Hidden size.
    pub hidden: u64,
    /// Heads.
    pub heads: u64,
    /// Size of a head.
    pub head_dim: u64,
    /// Feed-forward width.
    pub ffn_hidden: u64,
    /// Whether the feed-forward network is gated.
    pub gated: bool,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// Tokens of another sequence that it attends to after its own (0: none), and their width.
    pub memory: (u64, u64),
    /// Columns of a linear layer per sample that scales and shifts it (adaptive norm; 0: none).
    pub modulation: u64,
    /// Whether linear layers on both sides project it in and out (in convolutional networks).
    pub projected: bool,
    /// How its activation is written.
    pub activation: Activation,
    /// Whether its scores have a learned bias, with norms written out (T5).
    pub learned_bias: bool,
}

impl Layer {
    /// Rows (per sample), outputs and inputs of its matrix products.
    #[must_use]
    pub fn products(&self) -> Vec<(u64, u64, u64)> {
        let (s, h, inner) = (self.tokens, self.hidden, self.heads * self.head_dim);
        let first = if self.gated { 2 * self.ffn_hidden } else { self.ffn_hidden };
        let mut out = vec![(s, 3 * inner, h), (s, h, inner), (s, first, h), (s, h, self.ffn_hidden)];
        if self.memory.0 > 0 {
            out.extend([(s, inner, h), (self.memory.0, 2 * inner, self.memory.1), (s, h, inner)]);
        }
        if self.modulation > 0 {
            out.push((1, self.modulation, h));
        }
        if self.projected {
            out.extend([(s, h, h), (s, h, h)]);
        }
        out
    }
    /// Pairs of tokens that one head looks at: its own sequence (half where causal), and the other one.
    #[must_use]
    pub fn pairs(&self) -> f64 {
        let s = self.tokens as f64;
        s * s * if self.causal { 0.5 } else { 1.0 } + s * self.memory.0 as f64
    }
    /// FLOPs of its attention cores for one sample, forward.
    #[must_use]
    pub fn attention_flops(&self) -> f64 {
        4.0 * self.pairs() * (self.heads * self.head_dim) as f64
    }
}

/// A linear layer over some rows of one sample, with an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Rows of a sample.
    pub rows: u64,
    /// Outputs.
    pub outputs: u64,
    /// Inputs.
    pub inputs: u64,
}

/// A part of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// A convolution with its norm and activation.
    Convolution(Convolution),
    /// A transformer layer.
    Layer(Layer),
    /// A linear layer.
    Linear(Linear),
}

impl Block {
    /// Weights of its products.
    #[must_use]
    pub fn parameters(&self) -> f64 {
        match self {
            Self::Convolution(c) => c.parameters(),
            Self::Layer(l) => l.products().into_iter().map(|(_, n, k)| (n * k) as f64).sum(),
            Self::Linear(l) => (l.outputs * l.inputs) as f64,
        }
    }
    /// Its other weights: norms and biases.
    #[must_use]
    pub fn vectors(&self) -> f64 {
        match self {
            Self::Convolution(c) => 2.0 * c.outputs as f64,
            // Two norms, and a third before the attention to another sequence.
            Self::Layer(l) => (if l.memory.0 > 0 { 3.0 } else { 2.0 }) * l.hidden as f64,
            Self::Linear(l) => l.outputs as f64,
        }
    }
    /// FLOPs of one sample, forward.
    #[must_use]
    pub fn flops(&self) -> f64 {
        match self {
            Self::Convolution(c) => c.flops(),
            Self::Layer(l) => l.products().into_iter().map(|(m, n, k)| 2.0 * (m * n * k) as f64).sum::<f64>() + l.attention_flops(),
            Self::Linear(l) => 2.0 * (l.rows * l.outputs * l.inputs) as f64,
        }
    }
    /// Elements that are kept of one sample until the backward pass: what a convolution and the norm after it write, the operands of a
    /// layer's products with the inputs of its norms, what a linear layer and its activation write.
    #[must_use]
    pub fn kept(&self) -> f64 {
        match self {
            Self::Convolution(c) => 2.0 * c.elements() as f64,
            Self::Layer(l) => l.products().into_iter().map(|(m, n, k)| (m * (n + k)) as f64).sum(),
            Self::Linear(l) => 2.0 * (l.rows * l.outputs) as f64,
        }
    }
}

choice! {
    /// Networks that are known by name; those of transformer layers take their sizes from the preset.
    pub enum Network {
        /// ResNet-50.
        Resnet50 = "resnet-50",
        /// Encoder and decoder with attention to the encoder (T5); half of the layers each.
        T5 = "t5",
        /// Diffusion transformer over latent patches (DiT).
        Dit = "dit",
        /// Denoising network of Stable Diffusion 2: convolutions, and attention to a text of 77 tokens.
        StableDiffusion2 = "stable-diffusion-2",
        /// Deep and cross network over embedding bags (DLRM of MLPerf).
        DlrmDcnV2 = "dlrm-dcnv2",
    }
}

/// What a preset says of a network of transformer layers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) layers: u64,
    pub(super) hidden: u64,
    pub(super) heads: u64,
    pub(super) head_dim: u64,
    pub(super) ffn_hidden: u64,
    pub(super) gated: bool,
    pub(super) activation: Activation,
    pub(super) tokens: u64,
    /// Tokens of the decoder, among `tokens`.
    pub(super) decoder: u64,
}

impl Network {
    /// Its blocks, each with how often it comes.
    pub(super) fn blocks(self, sizes: &Sizes) -> Vec<Block> {
        match self {
            Self::Resnet50 => resnet50().into_iter().map(Block::Convolution).collect(),
            Self::T5 => t5(sizes),
            Self::Dit => dit(sizes),
            Self::StableDiffusion2 => stable_diffusion(),
            Self::DlrmDcnV2 => dlrm(),
        }
    }
}

fn plain(s: &Sizes, tokens: u64) -> Layer {
    Layer {
        tokens,
        hidden: s.hidden,
        heads: s.heads,
        head_dim: s.head_dim,
        ffn_hidden: s.ffn_hidden,
        gated: s.gated,
        causal: false,
        memory: (0, 0),
        modulation: 0,
        projected: false,
        activation: s.activation,
        learned_bias: false,
    }
}

/// Encoder layers over the input, decoder layers over the output that also look at the encoder's result (arXiv 1910.10683).
fn t5(s: &Sizes) -> Vec<Block> {
    let input = s.tokens - s.decoder;
    let encoder = Layer { learned_bias: true, ..plain(s, input) };
    let decoder = Layer { causal: true, memory: (input, s.hidden), learned_bias: true, ..plain(s, s.decoder) };
    let half = s.layers / 2;
    (0..half).map(|_| Block::Layer(encoder)).chain((half..s.layers).map(|_| Block::Layer(decoder))).collect()
}

/// Embedding of the step (two linear layers from 256 frequencies), layers with six scales and shifts, a last pair of them
/// (arXiv 2212.09748, adaLN-Zero).
fn dit(s: &Sizes) -> Vec<Block> {
    let h = s.hidden;
    let layer = Layer { modulation: 6 * h, ..plain(s, s.tokens) };
    let one = |outputs, inputs| Block::Linear(Linear { rows: 1, outputs, inputs });
    let mut out = vec![one(h, 256), one(h, h)];
    // Patches of 2 × 2 over 4 latent channels.
    out.push(Block::Linear(Linear { rows: s.tokens, outputs: h, inputs: 16 }));
    out.extend((0..s.layers).map(|_| Block::Layer(layer)));
    out.push(one(2 * h, h));
    out
}

/// Embedding of the step of Stable Diffusion's denoising network, and width of the text that it attends to (77 tokens).
const STEP: u64 = 1280;
const TEXT: (u64, u64) = (77, 1024);

/// The denoising network of Stable Diffusion 2 (published model configuration): 64 × 64 latents, widths 320, 640, 1280, 1280, two residual
/// blocks a level down and three up, transformers on the three finer levels and in the middle, heads of 64.
fn stable_diffusion() -> Vec<Block> {
    let mut out = vec![one(320, STEP), one(STEP, STEP)];
    out.push(convolution(4, 320, 3, 64));
    let levels = [(320, 64, true), (640, 32, true), (1280, 16, true), (1280, 8, false)];
    let mut skips = vec![320];
    let mut inputs = 320;
    for (i, &(width, side, attends)) in levels.iter().enumerate() {
        for _ in 0..2 {
            residual(&mut out, inputs, width, side);
            attends.then(|| transformer(&mut out, width, side));
            inputs = width;
            skips.push(width);
        }
        if i + 1 < levels.len() {
            out.push(convolution(width, width, 3, side / 2));
            skips.push(width);
        }
    }
    residual(&mut out, 1280, 1280, 8);
    transformer(&mut out, 1280, 8);
    residual(&mut out, 1280, 1280, 8);
    for (i, &(width, side, attends)) in levels.iter().enumerate().rev() {
        for _ in 0..3 {
            let skip = skips.pop().unwrap_or(0);
            residual(&mut out, inputs + skip, width, side);
            attends.then(|| transformer(&mut out, width, side));
            inputs = width;
        }
        if i > 0 {
            out.push(convolution(width, width, 3, 2 * side));
        }
    }
    out.push(convolution(320, 4, 3, 64));
    out
}

fn one(outputs: u64, inputs: u64) -> Block {
    Block::Linear(Linear { rows: 1, outputs, inputs })
}

fn convolution(inputs: u64, outputs: u64, kernel: u64, side: u64) -> Block {
    Block::Convolution(Convolution { inputs, outputs, kernel, side, joins: false, norm: ImageNorm::None })
}

/// Two convolutions with the step's embedding between them, and a projection where the width changes.
fn residual(out: &mut Vec<Block>, inputs: u64, width: u64, side: u64) {
    let after_norm = |inputs, joins| Convolution { inputs, outputs: width, kernel: 3, side, joins, norm: ImageNorm::Group };
    out.push(Block::Convolution(after_norm(inputs, false)));
    out.push(one(width, STEP));
    out.push(Block::Convolution(after_norm(width, true)));
    if inputs != width {
        out.push(convolution(inputs, width, 1, side));
    }
}

fn transformer(out: &mut Vec<Block>, hidden: u64, side: u64) {
    out.push(Block::Layer(Layer {
        tokens: side * side,
        hidden,
        heads: hidden / 64,
        head_dim: 64,
        ffn_hidden: 4 * hidden,
        gated: true,
        causal: false,
        memory: TEXT,
        modulation: 0,
        projected: true,
        activation: Activation::Kernel,
        learned_bias: false,
    }));
}

/// The dense part of MLPerf's DLRM-DCNv2: bottom network of 13 numbers, three low-rank crosses over 27 vectors of 128, top network
/// (MLCommons training reference; arXiv 2008.13535).
fn dlrm() -> Vec<Block> {
    let crossed = 27 * 128;
    let mut sizes = vec![(512, 13), (256, 512), (128, 256)];
    for _ in 0..3 {
        sizes.extend([(512, crossed), (crossed, 512)]);
    }
    sizes.extend([(1024, crossed), (1024, 1024), (512, 1024), (256, 512)]);
    sizes.into_iter().map(|(outputs, inputs)| one(outputs, inputs)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(layers: u64, hidden: u64, heads: u64, head_dim: u64, ffn_hidden: u64, tokens: u64, decoder: u64) -> Sizes {
        Sizes { layers, hidden, heads, head_dim, ffn_hidden, gated: false, activation: Activation::Kernel, tokens, decoder }
    }

    #[test]
    fn t5_by_hand() {
        // T5 11B: 24 and 24 layers of 1024, 128 heads of 128, 65,536 wide: attention 4·1024·16384, feed-forward 2·1024·65536.
        let blocks = t5(&sizes(48, 1024, 128, 128, 65536, 626, 114));
        let attention = 4.0 * 1024.0 * 16384.0;
        let ffn = 2.0 * 1024.0 * 65536.0;
        let got: f64 = blocks.iter().map(Block::parameters).sum();
        assert_eq!(got, 24.0 * (attention + ffn) + 24.0 * (2.0 * attention + ffn));
        let Block::Layer(decoder) = blocks[47] else { panic!() };
        assert_eq!(decoder.pairs(), 114.0 * 114.0 / 2.0 + 114.0 * 512.0);
    }

    #[test]
    fn dit_xl_2_has_119_billion_products() {
        // arXiv 2212.09748, table 9: DiT-XL/2 at 256 × 256 has 675 M weights and 118.6 G multiply-adds.
        let blocks = dit(&sizes(28, 1152, 16, 72, 4608, 256, 0));
        let millions = blocks.iter().map(|b| b.parameters() + b.vectors()).sum::<f64>() / 1e6;
        let giga = blocks.iter().map(Block::flops).sum::<f64>() / 2e9;
        assert!((672.0..677.0).contains(&millions), "{millions}");
        assert!((117.5..119.5).contains(&giga), "{giga}");
    }

    #[test]
    fn stable_diffusion_2_has_866_million_weights() {
        let blocks = stable_diffusion();
        // Published: 865.9 M.
        let millions = blocks.iter().map(|b| b.parameters() + b.vectors()).sum::<f64>() / 1e6;
        assert!((862.0..869.0).contains(&millions), "{millions}");
        // About 0.34 T multiply-adds at 64 × 64 with a narrower text (Stable Diffusion 1, often measured).
        let tera = blocks.iter().map(Block::flops).sum::<f64>() / 2e12;
        assert!((0.33..0.42).contains(&tera), "{tera}");
    }

    #[test]
    fn the_dense_part_of_dlrm_by_hand() {
        let c = 3456.0;
        let want = 13.0 * 512.0
            + 512.0 * 256.0
            + 256.0 * 128.0
            + 3.0 * 2.0 * 512.0 * c
            + c * 1024.0
            + 1024.0 * 1024.0
            + 1024.0 * 512.0
            + 512.0 * 256.0;
        assert_eq!(dlrm().iter().map(Block::parameters).sum::<f64>(), want);
    }
}
