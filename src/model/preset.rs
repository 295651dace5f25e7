//! Model presets: sizes of published architectures, as data.

use super::architecture::{Architecture, Norm, Position};
use super::convolution::resnet50;
use super::experts::{Experts, Latent, Window};
use crate::diag::{Count, Decode, Diagnostics, List, Name, Node, Share, Style, Text, Whole, render};
use crate::{choice, record};
use std::sync::OnceLock;

choice! {
    /// Convolutional networks that are known by name.
    pub enum Network {
        /// ResNet-50.
        Resnet50 = "resnet-50",
    }
}

record! {
    /// A model of the preset list.
    pub struct Preset {
        /// Preset name, such as `gpt3-175b`.
        pub id: Name,
        /// Name for people.
        pub title: Name,
        /// Layers.
        pub layers: Count,
        /// Hidden size.
        pub hidden: Count,
        /// Feed-forward width.
        pub ffn_hidden: Count,
        /// Query heads.
        pub heads: Count,
        /// Key and value heads.
        pub kv_heads: Count,
        /// Size of a head.
        pub head_dim: Count,
        /// Vocabulary.
        pub vocabulary: Count,
        /// Gated feed-forward network.
        pub gated_mlp: bool,
        /// Output projection shares the embedding.
        pub tied_embeddings: bool,
        /// Positions.
        pub position: Position,
        /// Norm.
        pub norm: Norm,
        /// Greatest context that the model was trained for.
        pub sequence_length: Count,
        /// Experts (0: dense).
        pub experts: Whole = 0,
        /// Experts that a token visits.
        pub experts_per_token: Whole = 0,
        /// Width of one expert.
        pub moe_ffn_hidden: Whole = 0,
        /// Experts that every token visits.
        pub shared_experts: Whole = 0,
        /// Dense layers before the first mixture layer.
        pub first_dense_layers: Whole = 0,
        /// Rank of the compressed queries (latent attention).
        pub q_lora_rank: Whole = 0,
        /// Rank of the compressed keys and values (latent attention).
        pub kv_lora_rank: Whole = 0,
        /// Size of a head's part without rotation (latent attention).
        pub qk_nope_head_dim: Whole = 0,
        /// Size of a head's rotated part (latent attention).
        pub qk_rope_head_dim: Whole = 0,
        /// Size of a value head (latent attention).
        pub v_head_dim: Whole = 0,
        /// Attention window in tokens (0: full).
        pub sliding_window: Whole = 0,
        /// The window holds in every n-th layer.
        pub sliding_window_every: Whole = 0,
        /// Groups of experts (0: no limit on the groups that a token visits).
        pub expert_groups: Whole = 0,
        /// Groups that a token visits.
        pub expert_groups_per_token: Whole = 0,
        /// Whether the experts' gate is clamped and biased.
        pub clamped_gate: bool = false,
        /// Extra layers that predict later tokens.
        pub prediction_layers: Whole = 0,
        /// Whether a token sees only those before it.
        pub causal: bool = true,
        /// Share of the tokens whose loss is computed.
        pub predicted: Share = 1.0,
        /// The list of convolutions of a convolutional network; its other sizes are those of its classifier.
        pub convolutions: Option<Network>,
        /// Where the sizes come from.
        pub source: Text,
    }
}

record! {
    /// The presets file.
    pub struct PresetFile {
        /// Models.
        pub model: List<Preset>,
    }
}

/// All presets in order of the file.
pub fn presets() -> &'static [Preset] {
    static PRESETS: OnceLock<Vec<Preset>> = OnceLock::new();
    PRESETS.get_or_init(|| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("model/presets.toml", include_str!("presets.toml"));
        let file = Node::parse(source, &mut diags).and_then(|node| PresetFile::decode(&node, &mut diags));
        let Some(file) = file else { panic!("the embedded presets are faulty:\n{}", render(&diags, Style::Plain)) };
        file.model.value.into_iter().map(|m| m.value).collect()
    })
}

impl Preset {
    /// Latent attention, where the model has it.
    #[must_use]
    pub fn latent(&self) -> Option<Latent> {
        (*self.kv_lora_rank > 0).then(|| Latent {
            query_rank: *self.q_lora_rank,
            kv_rank: *self.kv_lora_rank,
            nope: *self.qk_nope_head_dim,
            rope: *self.qk_rope_head_dim,
            value: *self.v_head_dim,
        })
    }
    /// Experts, where the model has them.
    #[must_use]
    pub fn expert_sizes(&self) -> Option<Experts> {
        (*self.experts > 0).then(|| Experts {
            count: *self.experts,
            per_token: (*self.experts_per_token).max(1),
            ffn_hidden: if *self.moe_ffn_hidden > 0 { *self.moe_ffn_hidden } else { *self.ffn_hidden },
            shared: *self.shared_experts,
            first_dense: *self.first_dense_layers,
            groups: *self.expert_groups,
            groups_per_token: *self.expert_groups_per_token,
            clamped: *self.clamped_gate,
        })
    }
    /// The architecture that it describes.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        Architecture {
            title: self.title.value.clone(),
            layers: *self.layers,
            hidden: *self.hidden,
            ffn_hidden: *self.ffn_hidden,
            heads: *self.heads,
            kv_heads: *self.kv_heads,
            head_dim: *self.head_dim,
            vocabulary: *self.vocabulary,
            gated_mlp: *self.gated_mlp,
            tied_embeddings: *self.tied_embeddings,
            position: *self.position,
            norm: *self.norm,
            sequence_length: *self.sequence_length,
            causal: *self.causal,
            predicted: *self.predicted,
            experts: self.expert_sizes(),
            latent: self.latent(),
            window: (*self.sliding_window > 0).then(|| Window { tokens: *self.sliding_window, every: (*self.sliding_window_every).max(1) }),
            prediction_layers: *self.prediction_layers,
            convolutions: if self.convolutions.is_some() { resnet50() } else { Vec::new() },
        }
    }
    /// A preset by its name.
    #[must_use]
    pub fn named(id: &str) -> Option<&'static Self> {
        presets().iter().find(|p| p.id.value == id)
    }
}
