//! Model presets: sizes of published architectures, as data.

use super::architecture::{Activation, Architecture, Bags, Entry, Norm, Position};
use super::experts::{Experts, Latent, Window};
use super::hybrid::{Hybrid, StateKind, StateMixer};
use super::network::{Network, Sizes};
use crate::diag::{Count, Decode, Diagnostics, List, Name, Node, Share, Style, Text, Whole, render};
use crate::record;
use std::sync::OnceLock;

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
        /// How the public code writes the activation of the feed-forward network.
        pub activation: Activation = Activation::Kernel,
        /// Whether it projects queries, keys and values in one product.
        pub joined_projection: bool = false,
        /// Whether it is trained with dropout.
        pub dropout: bool = false,
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
        /// Where above 0: the window holds in all but every n-th layer.
        pub full_attention_every: Whole = 0,
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
        /// Where every n-th layer has experts and the others a dense network: n.
        pub experts_every: Whole = 1,
        /// The network whose blocks it has, in place of equal layers.
        pub network: Option<Network>,
        /// Tokens of the decoder among those of a sequence (encoders with decoders).
        pub decoder_length: Whole = 0,
        /// Side of a patch in pixels, where patches of images stand in place of tokens.
        pub patch_side: Whole = 0,
        /// Channels of a pixel.
        pub patch_channels: Whole = 3,
        /// Embedding tables of which every sample reads some rows that are summed up.
        pub bag_tables: Whole = 0,
        /// Rows of all those tables together.
        pub bag_rows: Whole = 0,
        /// Elements of a row.
        pub bag_width: Whole = 0,
        /// Rows that a sample reads from all tables together.
        pub bag_lookups: Whole = 0,
        /// Mixers with a state in place of attention in some layers.
        pub state: Option<StateKind>,
        /// Layers with such a mixer.
        pub state_layers: Whole = 0,
        /// Layers with attention, where some have none.
        pub attention_layers: Whole = 0,
        /// Layers with a feed-forward network or experts; absent: all.
        pub feed_forward_layers: Option<Whole>,
        /// Heads of its values.
        pub state_heads: Whole = 0,
        /// Size of a value head.
        pub state_value_dim: Whole = 1,
        /// Heads of its keys (groups).
        pub state_key_heads: Whole = 1,
        /// Size of a key head (the state size).
        pub state_key_dim: Whole = 0,
        /// Taps of the convolution before it.
        pub state_convolution: Whole = 0,
        /// Rank of the step-size projection.
        pub state_rank: Whole = 0,
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
            every: (*self.experts_every).max(1),
            groups: *self.expert_groups,
            groups_per_token: *self.expert_groups_per_token,
            clamped: *self.clamped_gate,
        })
    }
    /// Layers with states, where the model has them.
    fn hybrid(&self) -> Option<Hybrid> {
        let kind = self.state.value?;
        let state = StateMixer {
            kind,
            heads: *self.state_heads,
            value_dim: *self.state_value_dim,
            key_heads: *self.state_key_heads,
            key_dim: *self.state_key_dim,
            convolution: *self.state_convolution,
            rank: *self.state_rank,
        };
        let feed_forward_layers = self.feed_forward_layers.unwrap_or(*self.layers);
        Some(Hybrid { attention_layers: *self.attention_layers, state_layers: *self.state_layers, feed_forward_layers, state })
    }
    fn sizes(&self) -> Sizes {
        Sizes {
            layers: *self.layers,
            hidden: *self.hidden,
            heads: *self.heads,
            head_dim: *self.head_dim,
            ffn_hidden: *self.ffn_hidden,
            gated: *self.gated_mlp,
            activation: *self.activation,
            tokens: *self.sequence_length,
            decoder: *self.decoder_length,
        }
    }
    /// The architecture that it describes.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        let blocks = self.network.map_or_else(Vec::new, |n| n.blocks(&self.sizes()));
        let entry = match (self.network.value, *self.patch_side) {
            (Some(n), _) if n != Network::T5 => Entry::Nothing,
            (_, side) if side > 0 => Entry::Patches { side, channels: *self.patch_channels },
            _ => Entry::Table,
        };
        Architecture {
            title: self.title.value.clone(),
            layers: if blocks.is_empty() { *self.layers } else { blocks.len() as u64 },
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
            activation: *self.activation,
            joined_projection: *self.joined_projection,
            dropout: *self.dropout,
            sequence_length: *self.sequence_length,
            causal: *self.causal,
            predicted: *self.predicted,
            experts: self.expert_sizes(),
            latent: self.latent(),
            window: (*self.sliding_window > 0).then(|| Window {
                tokens: *self.sliding_window,
                every: (*self.sliding_window_every).max(1),
                full_every: *self.full_attention_every,
            }),
            prediction_layers: *self.prediction_layers,
            hybrid: self.hybrid(),
            entry,
            bags: (*self.bag_tables > 0).then(|| Bags {
                tables: *self.bag_tables,
                rows: *self.bag_rows,
                width: *self.bag_width,
                lookups: *self.bag_lookups,
            }),
            blocks,
        }
    }
    /// A preset by its name.
    #[must_use]
    pub fn named(id: &str) -> Option<&'static Self> {
        presets().iter().find(|p| p.id.value == id)
    }
}
