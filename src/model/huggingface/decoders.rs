//! Decoders, dense and with experts.

use super::keys::Keys;
use crate::diag::codes;
use crate::model::architecture::{Activation, Architecture, Norm, Position};
use crate::model::experts::{Experts, Latent, Window};

/// A decoder of Llama's form: gated, RMS norm, rotary positions, grouped queries.
pub(super) fn llama(k: &mut Keys<'_>) -> Architecture {
    let hidden = k.count(&["hidden_size"]);
    let layers = k.count(&["num_hidden_layers"]);
    let heads = k.count(&["num_attention_heads"]);
    let window = window(k);
    Architecture {
        layers,
        hidden,
        ffn_hidden: k.count(&["intermediate_size"]),
        heads,
        kv_heads: k.count_or(&["num_key_value_heads"], heads),
        head_dim: k.head_dim(hidden, heads),
        vocabulary: k.count(&["vocab_size"]),
        gated_mlp: true,
        tied_embeddings: k.flag("tie_word_embeddings", false),
        position: Position::Rotary,
        norm: Norm::Rmsnorm,
        sequence_length: k.count_or(&["max_position_embeddings"], 2048),
        window,
        ..Architecture::default()
    }
}

/// Windows of some layers: by a list of layer types, a pattern, or in all of them. Qwen has a switch.
fn window(k: &mut Keys<'_>) -> Option<Window> {
    if !k.flag("use_sliding_window", true) {
        return None;
    }
    let tokens = k.count_or(&["sliding_window"], 0);
    let kinds = k.list("layer_types");
    let pattern = k.count_or(&["sliding_window_pattern"], 0);
    if tokens == 0 {
        return None;
    }
    let all = Window { tokens, every: 1, full_every: 0 };
    if let Some(kinds) = kinds {
        let (own, total) = (kinds.iter().filter(|t| *t == "sliding_attention").count() as u64, kinds.len() as u64);
        return match total - own {
            _ if own == 0 => None,
            0 => Some(all),
            full if own > full => Some(Window { full_every: total.div_ceil(full), ..all }),
            _ => Some(Window { every: total.div_ceil(own), ..all }),
        };
    }
    Some(if pattern > 2 {
        Window { full_every: pattern, ..all }
    } else if pattern == 2 || k.kind() == "gemma2" {
        Window { every: 2, ..all }
    } else {
        all
    })
}

/// Gemma: the embedding is shared unless the file says no. Gemma 3 has full attention in every sixth layer.
pub(super) fn gemma(k: &mut Keys<'_>) -> Architecture {
    let mut model = llama(k);
    model.tied_embeddings = k.flag("tie_word_embeddings", true);
    if k.kind().starts_with("gemma3") && !k.has("layer_types") && !k.has("sliding_window_pattern") {
        model.window = model.window.map(|w| Window { full_every: 6, ..w });
    }
    model
}

/// Nemotron 4: squared ReLU without a gate, layer norm.
pub(super) fn nemotron(k: &mut Keys<'_>) -> Architecture {
    Architecture { gated_mlp: false, norm: Norm::Layernorm, window: None, ..llama(k) }
}

/// A decoder of GPT's form: no gate, layer norm with biases, as many key heads as query heads.
fn gpt(k: &mut Keys<'_>, names: [&[&str]; 5], position: Position, tied: bool) -> Architecture {
    let [hidden, layers, heads, ffn, length] = names;
    let hidden = k.count(hidden);
    let heads = k.count(heads);
    Architecture {
        layers: k.count(layers),
        hidden,
        ffn_hidden: k.count_or(ffn, 4 * hidden),
        heads,
        kv_heads: heads,
        head_dim: k.head_dim(hidden, heads),
        vocabulary: k.count(&["vocab_size"]),
        tied_embeddings: k.flag("tie_word_embeddings", tied),
        position,
        norm: Norm::Layernorm,
        sequence_length: k.count_or(length, 2048),
        ..Architecture::default()
    }
}

/// GPT-2.
pub(super) fn gpt2(k: &mut Keys<'_>) -> Architecture {
    let model = gpt(k, [&["n_embd"], &["n_layer"], &["n_head"], &["n_inner"], &["n_positions"]], Position::Learned, true);
    Architecture { activation: written(k, "activation_function", true), joined_projection: true, ..model }
}

/// How transformers runs the activation that a key names; its old GELU in single operations.
pub(super) fn written(k: &mut Keys<'_>, key: &str, absent: bool) -> Activation {
    let old = k.word(key).map_or(absent, |w| matches!(w, "gelu_new" | "gelu_fast" | "gated-gelu"));
    if old { Activation::GeluNew } else { Activation::Kernel }
}

/// GPT-J.
pub(super) fn gptj(k: &mut Keys<'_>) -> Architecture {
    let model = gpt(k, [&["n_embd"], &["n_layer"], &["n_head"], &["n_inner"], &["n_positions"]], Position::Rotary, false);
    Architecture { activation: written(k, "activation_function", true), ..model }
}

const USUAL: [&[&str]; 5] =
    [&["hidden_size"], &["num_hidden_layers"], &["num_attention_heads"], &["intermediate_size"], &["max_position_embeddings"]];

/// GPT-NeoX and Pythia.
pub(super) fn neox(k: &mut Keys<'_>) -> Architecture {
    Architecture { joined_projection: true, ..gpt(k, USUAL, Position::Rotary, false) }
}

/// Phi 1 and 2.
pub(super) fn phi(k: &mut Keys<'_>) -> Architecture {
    let model = gpt(k, USUAL, Position::Rotary, false);
    Architecture { activation: written(k, "hidden_act", true), ..model }
}

/// BLOOM.
pub(super) fn bloom(k: &mut Keys<'_>) -> Architecture {
    let names: [&[&str]; 5] =
        [&["hidden_size", "n_embed"], &["n_layer", "num_hidden_layers"], &["n_head", "num_attention_heads"], &["n_inner"], &["seq_length"]];
    Architecture { joined_projection: true, ..gpt(k, names, Position::Alibi, true) }
}

/// OPT.
pub(super) fn opt(k: &mut Keys<'_>) -> Architecture {
    let names: [&[&str]; 5] =
        [&["hidden_size"], &["num_hidden_layers"], &["num_attention_heads"], &["ffn_dim"], &["max_position_embeddings"]];
    gpt(k, names, Position::Learned, true)
}

/// Falcon: one key head, or groups in the newer form.
pub(super) fn falcon(k: &mut Keys<'_>) -> Architecture {
    let names: [&[&str]; 5] = [
        &["hidden_size"],
        &["num_hidden_layers", "n_layer"],
        &["num_attention_heads", "n_head"],
        &["ffn_hidden_size"],
        &["max_position_embeddings"],
    ];
    let position = if k.flag("alibi", false) { Position::Alibi } else { Position::Rotary };
    let model = gpt(k, names, position, true);
    let kv_heads = if k.flag("new_decoder_architecture", false) {
        k.count_or(&["num_kv_heads", "n_head_kv"], 8)
    } else if k.flag("multi_query", true) {
        1
    } else {
        model.heads
    };
    Architecture { kv_heads, joined_projection: true, ..model }
}

/// MPT.
pub(super) fn mpt(k: &mut Keys<'_>) -> Architecture {
    let alibi = k.inside("attn_config", |a| a.flag("alibi", false));
    let position = if alibi { Position::Alibi } else { Position::Learned };
    let mut model = gpt(k, [&["d_model"], &["n_layers"], &["n_heads"], &["ffn_hidden_size"], &["max_seq_len"]], position, true);
    model.joined_projection = true;
    model.ffn_hidden = k.count_or(&["expansion_ratio"], 4) * model.hidden;
    model
}

/// Experts of the plain kind.
fn experts(count: u64, per_token: u64, ffn_hidden: u64) -> Experts {
    Experts { count, per_token, ffn_hidden, shared: 0, first_dense: 0, every: 1, groups: 0, groups_per_token: 0, clamped: false }
}

/// Mixtral.
pub(super) fn mixtral(k: &mut Keys<'_>) -> Architecture {
    let model = llama(k);
    let own = experts(k.count(&["num_local_experts"]), k.count(&["num_experts_per_tok"]), model.ffn_hidden);
    Architecture { experts: Some(own), ..model }
}

/// Qwen with experts. A shared expert is counted in widths of the routed ones.
pub(super) fn qwen_moe(k: &mut Keys<'_>) -> Architecture {
    let model = llama(k);
    Architecture { experts: Some(qwen_experts(k)), ..model }
}

pub(super) fn qwen_experts(k: &mut Keys<'_>) -> Experts {
    let width = k.count(&["moe_intermediate_size"]);
    let shared = k.count_or(&["shared_expert_intermediate_size"], 0);
    if !shared.is_multiple_of(width) {
        let message = format!("a shared expert of width {shared} is no multiple of the routed ones' {width}, which is not modelled");
        k.refuse_here(codes::UNSUPPORTED, message);
    }
    Experts {
        shared: shared / width,
        every: k.count_or(&["decoder_sparse_step"], 1),
        ..experts(k.count(&["num_experts"]), k.count(&["num_experts_per_tok"]), width)
    }
}

/// gpt-oss: a clamped, biased gate, windows in every second layer.
pub(super) fn gpt_oss(k: &mut Keys<'_>) -> Architecture {
    let mut model = llama(k);
    if !k.has("layer_types") {
        model.window = model.window.map(|w| Window { every: 2, ..w });
    }
    let own = experts(k.count(&["num_local_experts"]), k.count(&["num_experts_per_tok", "experts_per_token"]), model.ffn_hidden);
    Architecture { experts: Some(Experts { clamped: true, ..own }), ..model }
}

/// DBRX.
pub(super) fn dbrx(k: &mut Keys<'_>) -> Architecture {
    let kv_heads = k.inside("attn_config", |a| a.count(&["kv_n_heads"]));
    let own = k.inside("ffn_config", |f| {
        let (count, per_token) = (f.count(&["moe_num_experts"]), f.count(&["moe_top_k"]));
        experts(count, per_token, f.count(&["ffn_hidden_size"]))
    });
    let model = gpt(k, [&["d_model"], &["n_layers"], &["n_heads"], &["ffn_hidden_size"], &["max_seq_len"]], Position::Rotary, false);
    Architecture { kv_heads, ffn_hidden: own.ffn_hidden, gated_mlp: true, experts: Some(own), ..model }
}

/// Llama 4: experts in every n-th layer beside one that all tokens visit; attention in chunks in three of four layers.
pub(super) fn llama4(k: &mut Keys<'_>) -> Architecture {
    let model = llama(k);
    let own = experts(k.count(&["num_local_experts"]), k.count(&["num_experts_per_tok"]), model.ffn_hidden);
    let every = k.count_or(&["interleave_moe_layer_step"], 1);
    let chunk = k.count_or(&["attention_chunk_size"], 0);
    // A token sees half of a chunk on average, as it does of a sequence.
    let window = (chunk > 0).then_some(Window { tokens: chunk.div_ceil(2), every: 1, full_every: 4 });
    let ffn_hidden = k.count_or(&["intermediate_size_mlp"], model.ffn_hidden);
    Architecture { ffn_hidden, window, experts: Some(Experts { shared: 1, every, ..own }), ..model }
}

/// DeepSeek-V2, V3 and Kimi K2: latent attention, shared experts, dense first layers, extra layers of prediction.
pub(super) fn deepseek(k: &mut Keys<'_>) -> Architecture {
    let latent = Latent {
        query_rank: k.count_or(&["q_lora_rank"], 0),
        kv_rank: k.count(&["kv_lora_rank"]),
        nope: k.count(&["qk_nope_head_dim"]),
        rope: k.count(&["qk_rope_head_dim"]),
        value: k.count(&["v_head_dim"]),
    };
    let own = Experts {
        shared: k.count_or(&["n_shared_experts"], 0),
        first_dense: k.count_or(&["first_k_dense_replace"], 0),
        every: k.count_or(&["moe_layer_freq"], 1),
        groups: k.count_or(&["n_group"], 0),
        groups_per_token: k.count_or(&["topk_group"], 0),
        ..experts(k.count(&["n_routed_experts"]), k.count(&["num_experts_per_tok"]), k.count(&["moe_intermediate_size"]))
    };
    // One group is no limit.
    let own = if own.groups <= 1 { Experts { groups: 0, groups_per_token: 0, ..own } } else { own };
    let prediction_layers = k.count_or(&["num_nextn_predict_layers"], 0);
    let heads = k.count(&["num_attention_heads"]);
    Architecture {
        layers: k.count(&["num_hidden_layers"]),
        hidden: k.count(&["hidden_size"]),
        ffn_hidden: k.count(&["intermediate_size"]),
        heads,
        kv_heads: heads,
        head_dim: latent.value,
        vocabulary: k.count(&["vocab_size"]),
        gated_mlp: true,
        tied_embeddings: k.flag("tie_word_embeddings", false),
        position: Position::Rotary,
        norm: Norm::Rmsnorm,
        sequence_length: k.count_or(&["max_position_embeddings"], 4096),
        experts: Some(own),
        latent: Some(latent),
        prediction_layers,
        ..Architecture::default()
    }
}
