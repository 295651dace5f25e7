//! Encoders, encoders with decoders, vision transformers.

use super::decoders::written;
use super::keys::Keys;
use crate::diag::codes;
use crate::model::architecture::{Architecture, Entry, Norm, Position};
use crate::model::network::{Network, Sizes};

/// Tokens of T5's inputs and targets in pre-training (arXiv 1910.10683).
const T5_TOKENS: (u64, u64) = (512, 114);

/// BERT and RoBERTa; 15 % of the tokens are masked and predicted.
pub(super) fn bert(k: &mut Keys<'_>) -> Architecture {
    let (hidden, heads) = (k.count(&["hidden_size"]), k.count(&["num_attention_heads"]));
    Architecture {
        layers: k.count(&["num_hidden_layers"]),
        hidden,
        ffn_hidden: k.count(&["intermediate_size"]),
        heads,
        kv_heads: heads,
        head_dim: k.head_dim(hidden, heads),
        vocabulary: k.count(&["vocab_size"]),
        tied_embeddings: true,
        position: Position::Learned,
        norm: Norm::Layernorm,
        dropout: k.above_zero("attention_probs_dropout_prob", true),
        sequence_length: k.count_or(&["max_position_embeddings"], 512),
        causal: false,
        predicted: 0.15,
        ..Architecture::default()
    }
}

/// T5.
pub(super) fn t5(k: &mut Keys<'_>) -> Architecture {
    let layers = k.count(&["num_layers"]);
    let gated = k.flag("is_gated_act", false) || k.word("feed_forward_proj").is_some_and(|w| w.starts_with("gated"));
    let (hidden, heads) = (k.count(&["d_model"]), k.count(&["num_heads"]));
    if k.count_or(&["num_decoder_layers"], layers) != layers {
        k.refuse_here(codes::UNSUPPORTED, "a decoder with more or fewer layers than the encoder is not modelled".into());
    }
    let sizes = Sizes {
        // Absurd numbers of layers are refused with the other limits; no list of them is made.
        layers: 2 * layers.min(10_000),
        hidden,
        heads,
        head_dim: k.count(&["d_kv"]),
        ffn_hidden: k.count(&["d_ff"]),
        gated,
        activation: written(k, "feed_forward_proj", false),
        tokens: T5_TOKENS.0 + T5_TOKENS.1,
        decoder: T5_TOKENS.1,
    };
    Architecture {
        layers: 2 * layers,
        hidden,
        ffn_hidden: sizes.ffn_hidden,
        heads,
        kv_heads: heads,
        head_dim: sizes.head_dim,
        vocabulary: k.count(&["vocab_size"]),
        gated_mlp: gated,
        tied_embeddings: k.flag("tie_word_embeddings", true),
        position: Position::None,
        norm: Norm::Rmsnorm,
        sequence_length: sizes.tokens,
        causal: false,
        predicted: T5_TOKENS.1 as f64 / sizes.tokens as f64,
        blocks: Network::T5.blocks(&sizes),
        ..Architecture::default()
    }
}

/// Vision transformer with a classifier on one of its tokens.
pub(super) fn vit(k: &mut Keys<'_>) -> Architecture {
    let (hidden, heads) = (k.count(&["hidden_size"]), k.count(&["num_attention_heads"]));
    let (image, side) = (k.count(&["image_size"]), k.count(&["patch_size"]));
    if !image.is_multiple_of(side) {
        k.refuse_here(codes::NOT_DIVISIBLE, format!("`patch_size` {side} does not divide `image_size` {image}"));
    }
    let tokens = (image / side) * (image / side) + 1;
    let classes = k.len("id2label").unwrap_or_else(|| k.count_or(&["num_labels"], 1000)).max(1);
    Architecture {
        layers: k.count(&["num_hidden_layers"]),
        hidden,
        ffn_hidden: k.count(&["intermediate_size"]),
        heads,
        kv_heads: heads,
        head_dim: k.head_dim(hidden, heads),
        vocabulary: classes,
        position: Position::Learned,
        norm: Norm::Layernorm,
        sequence_length: tokens,
        causal: false,
        predicted: 1.0 / tokens as f64,
        entry: Entry::Patches { side, channels: k.count_or(&["num_channels"], 3) },
        ..Architecture::default()
    }
}
