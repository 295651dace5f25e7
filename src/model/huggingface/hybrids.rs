//! Models with states in place of attention in some or all layers.

use super::decoders::{llama, mixtral, qwen_experts};
use super::keys::Keys;
use crate::diag::codes;
use crate::model::architecture::{Architecture, Norm, Position};
use crate::model::experts::Experts;
use crate::model::hybrid::{Hybrid, StateKind, StateMixer};

/// A selective state space; names of the state size, the taps of the convolution and the rank of the step size.
fn selective(k: &mut Keys<'_>, hidden: u64, names: [&str; 3]) -> StateMixer {
    let expand = k.count_or(&["mamba_expand", "expand"], 2);
    // The rank may be "auto".
    let auto = k.is_word(names[2]);
    let usual = hidden.div_ceil(16);
    StateMixer {
        kind: StateKind::Mamba,
        heads: expand * hidden,
        value_dim: 1,
        key_heads: 1,
        key_dim: k.count(&[names[0]]),
        convolution: k.count_or(&[names[1]], 4),
        rank: if auto { usual } else { k.count_or(&[names[2]], usual) },
    }
}

/// Jamba: attention in one layer of a period, experts in every n-th.
pub(super) fn jamba(k: &mut Keys<'_>) -> Architecture {
    let model = llama(k);
    let (period, offset) = (k.count(&["attn_layer_period"]), k.count_or(&["attn_layer_offset"], 0));
    let attention_layers = (0..model.layers).filter(|i| i % period == offset).count() as u64;
    let state = selective(k, model.hidden, ["mamba_d_state", "mamba_d_conv", "mamba_dt_rank"]);
    let count = k.count_or(&["num_experts"], 1);
    let experts = (count > 1).then_some(Experts {
        count,
        per_token: k.count_or(&["num_experts_per_tok"], 2),
        ffn_hidden: model.ffn_hidden,
        shared: 0,
        first_dense: 0,
        every: k.count_or(&["expert_layer_period"], 1),
        groups: 0,
        groups_per_token: 0,
        clamped: false,
    });
    let hybrid = Hybrid { attention_layers, state_layers: model.layers - attention_layers, feed_forward_layers: model.layers, state };
    Architecture { position: Position::None, experts, hybrid: Some(hybrid), ..model }
}

/// A stack of states alone.
fn states(k: &mut Keys<'_>, hidden: u64, state: StateMixer) -> Architecture {
    let layers = k.count(&["num_hidden_layers", "n_layer"]);
    Architecture {
        layers,
        hidden,
        // No layer has these.
        ffn_hidden: state.inner(),
        heads: state.heads,
        kv_heads: state.heads,
        head_dim: state.value_dim,
        vocabulary: k.count(&["vocab_size"]),
        tied_embeddings: k.flag("tie_word_embeddings", true),
        position: Position::None,
        norm: Norm::Rmsnorm,
        sequence_length: 2048,
        hybrid: Some(Hybrid { attention_layers: 0, state_layers: layers, feed_forward_layers: 0, state }),
        ..Architecture::default()
    }
}

/// Mamba.
pub(super) fn mamba(k: &mut Keys<'_>) -> Architecture {
    let hidden = k.count(&["hidden_size", "d_model"]);
    let state = selective(k, hidden, ["state_size", "conv_kernel", "time_step_rank"]);
    states(k, hidden, state)
}

/// Mamba-2.
pub(super) fn mamba2(k: &mut Keys<'_>) -> Architecture {
    let hidden = k.count(&["hidden_size", "d_model"]);
    let state = StateMixer {
        kind: StateKind::Mamba2,
        heads: k.count(&["num_heads"]),
        value_dim: k.count(&["head_dim"]),
        key_heads: k.count_or(&["n_groups"], 1),
        key_dim: k.count(&["state_size"]),
        convolution: k.count_or(&["conv_kernel"], 4),
        rank: 0,
    };
    states(k, hidden, state)
}

/// Nemotron-H: a pattern of state (`M`), feed-forward (`-`) and attention layers (`*`).
pub(super) fn nemotron_h(k: &mut Keys<'_>) -> Architecture {
    let pattern = k.word("hybrid_override_pattern").unwrap_or("").to_owned();
    let of = |c: char| pattern.chars().filter(|p| *p == c).count() as u64;
    let layers = k.count(&["num_hidden_layers"]);
    let hidden = k.count(&["hidden_size"]);
    let heads = k.count(&["num_attention_heads"]);
    if of('M') + of('-') + of('*') != layers || of('M') == 0 || of('-') == 0 {
        let message = format!("`hybrid_override_pattern` has to name the {layers} layers with `M`, `-` and `*`, some of the first two");
        k.refuse_here(codes::UNSUPPORTED, message);
    }
    let state = StateMixer {
        kind: StateKind::Mamba2,
        heads: k.count(&["mamba_num_heads"]),
        value_dim: k.count(&["mamba_head_dim"]),
        key_heads: k.count(&["n_groups"]),
        key_dim: k.count(&["ssm_state_size"]),
        convolution: k.count_or(&["conv_kernel"], 4),
        rank: 0,
    };
    let hybrid = Hybrid { attention_layers: of('*'), state_layers: of('M'), feed_forward_layers: of('-'), state };
    let head_dim = k.count_or(&["attention_head_dim", "head_dim"], (hidden / heads).max(1));
    Architecture {
        layers,
        hidden,
        ffn_hidden: k.count(&["intermediate_size"]),
        heads,
        kv_heads: k.count_or(&["num_key_value_heads"], heads),
        head_dim,
        vocabulary: k.count(&["vocab_size"]),
        tied_embeddings: k.flag("tie_word_embeddings", false),
        position: Position::None,
        norm: Norm::Rmsnorm,
        sequence_length: k.count_or(&["max_position_embeddings"], 4096),
        hybrid: Some(hybrid),
        ..Architecture::default()
    }
}

/// Layers with full attention by a list, or one in every `interval`.
fn attention_layers(k: &mut Keys<'_>, layers: u64) -> u64 {
    let list = if k.has("layer_types") { "layer_types" } else { "attn_type_list" };
    if k.list(list).is_some_and(|l| l.len() as u64 != layers) {
        k.refuse_here(codes::NOT_DIVISIBLE, format!("`{list}` does not name the {layers} layers"));
    }
    let full = |list: Vec<String>| list.iter().filter(|t| ["full_attention", "attention", "1"].contains(&t.as_str())).count() as u64;
    if let Some(list) = k.list("layer_types") {
        return full(list);
    }
    if let Some(list) = k.list("attn_type_list") {
        return full(list);
    }
    layers / k.count(&["full_attention_interval"])
}

/// Qwen3-Next: gated delta rule in three of four layers. Its attention's output gate is left out (0.1 % of the weights).
pub(super) fn qwen3_next(k: &mut Keys<'_>) -> Architecture {
    let model = llama(k);
    let attention_layers = attention_layers(k, model.layers).min(model.layers);
    let state = StateMixer {
        kind: StateKind::GatedDelta,
        heads: k.count(&["linear_num_value_heads"]),
        value_dim: k.count(&["linear_value_head_dim"]),
        key_heads: k.count(&["linear_num_key_heads"]),
        key_dim: k.count(&["linear_key_head_dim"]),
        convolution: k.count_or(&["linear_conv_kernel_dim"], 4),
        rank: 0,
    };
    let hybrid = Hybrid { attention_layers, state_layers: model.layers - attention_layers, feed_forward_layers: model.layers, state };
    Architecture { experts: Some(qwen_experts(k)), hybrid: Some(hybrid), window: None, ..model }
}

/// MiniMax-01: lightning attention in seven of eight layers.
pub(super) fn minimax(k: &mut Keys<'_>) -> Architecture {
    let model = mixtral(k);
    let attention_layers = attention_layers(k, model.layers).min(model.layers);
    let state = StateMixer {
        kind: StateKind::Lightning,
        heads: model.heads,
        value_dim: model.head_dim,
        key_heads: model.heads,
        key_dim: model.head_dim,
        convolution: 0,
        rank: 0,
    };
    let hybrid = Hybrid { attention_layers, state_layers: model.layers - attention_layers, feed_forward_layers: model.layers, state };
    Architecture { hybrid: Some(hybrid), window: None, ..model }
}
