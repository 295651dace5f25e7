//! A dense decoder-only transformer: sizes, parameter counts, model FLOPs.

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

/// A dense decoder-only transformer.
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
    /// Tokens of a sequence.
    pub sequence_length: u64,
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
    /// Weights of the matrix products of one layer.
    #[must_use]
    pub fn layer_matrix_parameters(&self) -> f64 {
        let h = self.hidden as f64;
        let attention = h * self.qkv_width() as f64 + h * (self.heads * self.head_dim) as f64;
        attention + h * self.ffn_in_width() as f64 + h * self.ffn_hidden as f64
    }
    /// All weights of one layer: matrices, norms, and biases where the norm has them (GPT style).
    #[must_use]
    pub fn layer_parameters(&self) -> f64 {
        let h = self.hidden as f64;
        let extra = match self.norm {
            Norm::Layernorm => 4.0 * h + self.qkv_width() as f64 + self.ffn_in_width() as f64 + 2.0 * h,
            Norm::Rmsnorm => 2.0 * h,
        };
        self.layer_matrix_parameters() + extra
    }
    /// Weights of one embedding or output matrix.
    #[must_use]
    pub fn embedding_parameters(&self) -> f64 {
        (self.vocabulary * self.hidden) as f64
    }
    /// Weights of the learned position table.
    #[must_use]
    pub fn position_parameters(&self) -> f64 {
        if self.position == Position::Learned { (self.sequence_length * self.hidden) as f64 } else { 0.0 }
    }
    /// All weights.
    #[must_use]
    pub fn parameters(&self) -> f64 {
        let tables = if self.tied_embeddings { 1.0 } else { 2.0 };
        self.layers as f64 * self.layer_parameters() + tables * self.embedding_parameters() + self.position_parameters()
    }
    /// FLOPs of the forward pass of one layer for one token: matrix products, and the scores and their product with the
    /// values over the causal half of the sequence.
    #[must_use]
    pub fn layer_forward_flops(&self) -> f64 {
        2.0 * self.layer_matrix_parameters() + self.attention_flops()
    }
    /// FLOPs of the causal scores and of their product with the values, one layer, one token, forward.
    #[must_use]
    pub fn attention_flops(&self) -> f64 {
        2.0 * (self.sequence_length * self.heads * self.head_dim) as f64
    }
    /// FLOPs of the output projection for one token, forward.
    #[must_use]
    pub fn head_flops(&self) -> f64 {
        2.0 * self.embedding_parameters()
    }
    /// FLOPs that the model needs to train on one token: forward and twice that for backward, no recompute.
    #[must_use]
    pub fn training_flops_per_token(&self) -> f64 {
        3.0 * (self.layers as f64 * self.layer_forward_flops() + self.head_flops())
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
