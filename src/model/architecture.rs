//! What is trained: sizes of a transformer or the list of a network's blocks, parameter counts, model FLOPs.

use super::experts::{Experts, Latent, Window};
use super::hybrid::Hybrid;
use super::network::Block;
use crate::choice;

choice! {
    /// How positions enter.
    pub enum Position {
        /// A learned table.
        Learned = "learned",
        /// Rotary embedding of queries and keys.
        Rotary = "rotary",
        /// Linear biases on the scores.
        Alibi = "alibi",
        /// None.
        None = "none",
    }
}

choice! {
    /// Normalisation layer.
    pub enum Norm {
        /// Layer norm: weight and bias.
        Layernorm = "layernorm",
        /// RMS norm: weight only.
        Rmsnorm = "rmsnorm",
    }
}

choice! {
    /// How the public code of a model writes the activation of its feed-forward network.
    pub enum Activation {
        /// In one kernel: GELU, ReLU, SiLU.
        Kernel = "kernel",
        /// GELU's tanh form in single operations (`gelu_new`).
        GeluNew = "gelu-new",
    }
}

/// What stands before the first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A table with a row for every token of the vocabulary.
    Table,
    /// A linear layer over patches of an image.
    Patches {
        /// Side of a patch in pixels.
        side: u64,
        /// Channels of a pixel.
        channels: u64,
    },
    /// Nothing: the blocks of a network begin with the sample.
    Nothing,
}

/// Embedding tables of which every sample reads some rows that are summed up, table by table on the ranks of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bags {
    /// Tables.
    pub tables: u64,
    /// Rows of all tables together.
    pub rows: u64,
    /// Elements of a row.
    pub width: u64,
    /// Rows that one sample reads from all tables together.
    pub lookups: u64,
}

impl Bags {
    /// Weights of all tables.
    #[must_use]
    pub const fn parameters(&self) -> f64 {
        (self.rows * self.width) as f64
    }
}

/// A transformer, dense or with experts, of attention or states; or a network, whose layers are its list of blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Name for people.
    pub title: String,
    /// Layers.
    pub layers: u64,
    /// Hidden size.
    pub hidden: u64,
    /// Width of the feed-forward network.
    pub ffn_hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads (equal to `heads` without grouping).
    pub kv_heads: u64,
    /// Size of a head.
    pub head_dim: u64,
    /// Vocabulary.
    pub vocabulary: u64,
    /// Whether the feed-forward network is gated (three matrices instead of two).
    pub gated_mlp: bool,
    /// Whether the output projection shares the embedding's weights.
    pub tied_embeddings: bool,
    /// Positions.
    pub position: Position,
    /// Norm.
    pub norm: Norm,
    /// Activation of the feed-forward network.
    pub activation: Activation,
    /// Whether the public code projects queries, keys and values in one product.
    pub joined_projection: bool,
    /// Whether it is trained with dropout of branches and of attention's scores.
    pub dropout: bool,
    /// Tokens of a sequence (1: an image).
    pub sequence_length: u64,
    /// Whether a token sees only those before it (decoders) or all (encoders).
    pub causal: bool,
    /// Share of the tokens whose loss is computed: 1, or that of the masked ones.
    pub predicted: f64,
    /// Experts in place of the feed-forward network.
    pub experts: Option<Experts>,
    /// Latent attention in place of plain projections.
    pub latent: Option<Latent>,
    /// Attention over a window in some layers.
    pub window: Option<Window>,
    /// Extra layers that predict later tokens, each with a head of its own (multi-token prediction).
    pub prediction_layers: u64,
    /// Layers with states in place of attention.
    pub hybrid: Option<Hybrid>,
    /// What stands before the first layer.
    pub entry: Entry,
    /// Embedding bags beside the blocks of a network.
    pub bags: Option<Bags>,
    /// Blocks of one sample; empty for stacks of equal layers.
    pub blocks: Vec<Block>,
}

/// A dense decoder without special features, to fill in.
impl Default for Architecture {
    fn default() -> Self {
        Self {
            title: "transformer".into(),
            layers: 1,
            hidden: 1,
            ffn_hidden: 4,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            vocabulary: 1,
            gated_mlp: false,
            tied_embeddings: false,
            position: Position::Rotary,
            norm: Norm::Layernorm,
            activation: Activation::Kernel,
            joined_projection: false,
            dropout: false,
            sequence_length: 1,
            causal: true,
            predicted: 1.0,
            experts: None,
            latent: None,
            window: None,
            prediction_layers: 0,
            hybrid: None,
            entry: Entry::Table,
            bags: None,
            blocks: Vec::new(),
        }
    }
}

impl Architecture {
    /// Columns of the fused query, key and value projection.
    #[must_use]
    pub const fn qkv_width(&self) -> u64 {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
    /// Columns of the first feed-forward matrix (gate and up together).
    #[must_use]
    pub const fn ffn_in_width(&self) -> u64 {
        if self.gated_mlp { 2 * self.ffn_hidden } else { self.ffn_hidden }
    }
    /// Whether this is a list of blocks instead of a stack of equal layers.
    #[must_use]
    pub const fn is_network(&self) -> bool {
        !self.blocks.is_empty()
    }
    /// Share of the layers with attention.
    #[must_use]
    pub fn attention_share(&self) -> f64 {
        self.hybrid.map_or(1.0, |h| h.attention_layers as f64 / self.layers as f64)
    }
    /// Share of the layers with a state.
    #[must_use]
    pub fn state_share(&self) -> f64 {
        self.hybrid.map_or(0.0, |h| h.state_layers as f64 / self.layers as f64)
    }
    /// Share of the layers with a feed-forward network or experts.
    #[must_use]
    pub fn feed_forward_share(&self) -> f64 {
        self.hybrid.map_or(1.0, |h| h.feed_forward_layers as f64 / self.layers as f64)
    }
    /// Blocks with a norm and a residual of their own in a layer, over the two of a transformer's.
    #[must_use]
    pub fn norm_share(&self) -> f64 {
        0.5 * (self.attention_share() + self.state_share() + self.feed_forward_share())
    }
    /// Layers with experts among the first `layers`.
    #[must_use]
    pub fn expert_layers_before(&self, layers: u64) -> u64 {
        self.experts.map_or(0, |e| layers.saturating_sub(e.first_dense) / e.every.max(1))
    }
    /// Layers with the dense feed-forward network.
    #[must_use]
    pub fn dense_layers(&self) -> u64 {
        self.layers - self.expert_layers()
    }
    /// Layers with experts.
    #[must_use]
    pub fn expert_layers(&self) -> u64 {
        self.expert_layers_before(self.layers)
    }
    /// Weights of the products of attention, or of the states in its place, of one layer.
    #[must_use]
    pub fn attention_parameters(&self) -> f64 {
        let h = self.hidden as f64;
        let own = match self.latent {
            Some(latent) => latent.parameters(self.hidden, self.heads),
            None => h * self.qkv_width() as f64 + h * (self.heads * self.head_dim) as f64,
        };
        let state = self.hybrid.map_or(0.0, |x| x.state.matrix_parameters(self.hidden));
        self.attention_share() * own + self.state_share() * state
    }
    /// Weights of a feed-forward network of a width: two matrices, three with a gate.
    #[must_use]
    pub fn feed_forward_parameters(&self, width: u64) -> f64 {
        let matrices = if self.gated_mlp { 3.0 } else { 2.0 };
        self.feed_forward_share() * matrices * (self.hidden * width) as f64
    }
    /// Weights of the matrix products of one dense layer; of a block, the mean over the network.
    #[must_use]
    pub fn layer_matrix_parameters(&self) -> f64 {
        if self.is_network() {
            return self.blocks.iter().map(Block::parameters).sum::<f64>() / self.layers as f64;
        }
        self.attention_parameters() + self.feed_forward_parameters(self.ffn_hidden)
    }
    /// Weights of one layer that are no matrices: norms, and biases where the norm has them (GPT style).
    fn layer_vectors(&self) -> f64 {
        let h = self.hidden as f64;
        if self.is_network() {
            return self.blocks.iter().map(Block::vectors).sum::<f64>() / self.layers as f64;
        }
        let own = match self.norm {
            Norm::Layernorm => 4.0 * h + self.qkv_width() as f64 + self.ffn_in_width() as f64 + 2.0 * h,
            Norm::Rmsnorm => 2.0 * h,
        };
        self.norm_share() * own + self.hybrid.map_or(0.0, |x| self.state_share() * x.state.vector_parameters())
    }
    /// All weights of one dense layer.
    #[must_use]
    pub fn layer_parameters(&self) -> f64 {
        self.layer_matrix_parameters() + self.layer_vectors()
    }
    /// Weights of the router of one layer.
    #[must_use]
    pub fn router_parameters(&self) -> f64 {
        self.experts.map_or(0.0, |e| self.feed_forward_share() * (self.hidden * e.count) as f64)
    }
    /// Weights of one layer with experts that every rank holds: attention, router, shared experts, norms.
    #[must_use]
    pub fn common_parameters(&self) -> f64 {
        let Some(e) = self.experts else { return self.layer_parameters() };
        let shared = self.feed_forward_parameters(e.shared * e.ffn_hidden);
        self.attention_parameters() + self.router_parameters() + shared + self.layer_vectors()
    }
    /// Weights of all routed experts of one layer.
    #[must_use]
    pub fn routed_parameters(&self) -> f64 {
        self.experts.map_or(0.0, |e| e.count as f64 * self.feed_forward_parameters(e.ffn_hidden))
    }
    /// Weights of the output matrix, and of the table of tokens.
    #[must_use]
    pub fn embedding_parameters(&self) -> f64 {
        (self.vocabulary * self.hidden) as f64
    }
    /// Weights of what stands before the first layer, positions included.
    #[must_use]
    pub fn entry_parameters(&self) -> f64 {
        let table = match self.entry {
            Entry::Table => self.embedding_parameters(),
            // With a bias, and the token that stands for the image.
            Entry::Patches { side, channels } => ((side * side * channels + 2) * self.hidden) as f64,
            Entry::Nothing => 0.0,
        };
        table + self.position_parameters()
    }
    /// Weights of the learned position table.
    #[must_use]
    pub fn position_parameters(&self) -> f64 {
        if self.position == Position::Learned { (self.sequence_length * self.hidden) as f64 } else { 0.0 }
    }
    /// Weights of the projection that joins hidden state and next token before one extra layer of prediction.
    #[must_use]
    pub fn prediction_parameters(&self) -> f64 {
        2.0 * (self.hidden * self.hidden) as f64
    }
    /// All weights (of extra layers of prediction too).
    #[must_use]
    pub fn parameters(&self) -> f64 {
        let expert = self.common_parameters() + self.routed_parameters();
        self.dense_layers() as f64 * self.layer_parameters()
            + self.expert_layers() as f64 * expert
            + self.prediction_layers as f64 * (expert + self.prediction_parameters())
            + self.entry_parameters()
            + if self.tied_embeddings { 0.0 } else { self.embedding_parameters() }
            + self.bags.map_or(0.0, |b| b.parameters())
    }
    /// FLOPs of the forward pass of one dense layer for one token: matrix products, and the scores and their product with the
    /// values over the causal half of the sequence. Of a network: of the mean block, for one token of a sample.
    #[must_use]
    pub fn layer_forward_flops(&self) -> f64 {
        if self.is_network() {
            let sample = self.blocks.iter().map(Block::flops).sum::<f64>();
            return sample / self.layers as f64 / self.sequence_length as f64;
        }
        2.0 * self.layer_matrix_parameters() + self.attention_flops()
    }
    /// The same of a layer with experts: those that a token visits.
    #[must_use]
    pub fn expert_forward_flops(&self) -> f64 {
        let Some(e) = self.experts else { return self.layer_forward_flops() };
        let visited = self.feed_forward_parameters((e.per_token + e.shared) * e.ffn_hidden);
        2.0 * (self.attention_parameters() + self.router_parameters() + visited) + self.attention_flops()
    }
    /// FLOPs of the forward pass of all layers for one token, extra layers of prediction included.
    #[must_use]
    pub fn layers_forward_flops(&self) -> f64 {
        let extra = self.expert_forward_flops() + 2.0 * self.prediction_parameters() + self.head_flops();
        self.dense_layers() as f64 * self.layer_forward_flops()
            + self.expert_layers() as f64 * self.expert_forward_flops()
            + self.prediction_layers as f64 * extra
    }
    /// FLOPs of the scores and of their product with the values, one layer, one token, forward: over the causal half, or all of
    /// the sequence for encoders; mean over layers with and without a window, with attention and with states (their scan).
    #[must_use]
    pub fn attention_flops(&self) -> f64 {
        if self.is_network() {
            return 0.0;
        }
        let seen = self.sequence_length as f64 * if self.causal { 0.5 } else { 1.0 };
        let seen = match self.window {
            Some(w) => (1.0 - w.share()) * seen + w.share() * seen.min(w.tokens as f64),
            None => seen,
        };
        let widths = self.latent.map_or(2 * self.head_dim, |l| l.nope + l.rope + l.value);
        let scan = self.hybrid.map_or(0.0, |x| x.state.scan_flops());
        self.attention_share() * 2.0 * seen * (self.heads * widths) as f64 + self.state_share() * scan
    }
    /// FLOPs of the output projection for one token, forward.
    #[must_use]
    pub fn head_flops(&self) -> f64 {
        2.0 * self.predicted * self.embedding_parameters()
    }
    /// FLOPs of the projection of patches for one token, forward.
    #[must_use]
    pub fn entry_flops(&self) -> f64 {
        match self.entry {
            Entry::Patches { side, channels } => 2.0 * (side * side * channels * self.hidden) as f64,
            Entry::Table | Entry::Nothing => 0.0,
        }
    }
    /// FLOPs that the model needs to train on one token: forward and twice that for backward, no recompute. Patches have no gradient of
    /// their own.
    #[must_use]
    pub fn training_flops_per_token(&self) -> f64 {
        3.0 * (self.layers_forward_flops() + self.head_flops()) + 2.0 * self.entry_flops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of GPT-3 175B (arXiv 2005.14165, table 2.1).
    fn gpt3() -> Architecture {
        Architecture {
            title: "GPT-3 175B".into(),
            layers: 96,
            hidden: 12288,
            ffn_hidden: 49152,
            heads: 96,
            kv_heads: 96,
            head_dim: 128,
            vocabulary: 51200,
            gated_mlp: false,
            tied_embeddings: true,
            position: Position::Learned,
            norm: Norm::Layernorm,
            sequence_length: 2048,
            ..Architecture::default()
        }
    }

    #[test]
    fn gpt3_has_175_billion_parameters() {
        let billions = gpt3().parameters() / 1e9;
        assert!((174.0..176.0).contains(&billions), "{billions}");
    }

    #[test]
    fn six_flops_per_parameter_and_token() {
        // 3.14e23 FLOP for 300 G tokens is the figure of the paper (3,640 PF-days): 6 N D without attention scores.
        let flops = 6.0 * gpt3().parameters() * 300e9;
        assert!((flops / 3.14e23 - 1.0).abs() < 0.01, "{flops}");
        let with_scores = gpt3().training_flops_per_token() * 300e9;
        assert!(with_scores > flops && with_scores < 1.05 * flops, "{with_scores}");
    }
}
