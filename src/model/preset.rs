//! Model presets, and the `[training.model]` table that names one or gives sizes.

use super::architecture::{Architecture, Norm, Position};
use crate::diag::{At, Count, Decode, Diagnostic, Diagnostics, List, Name, Node, Span, Style, Text, Whole, codes, nearest, render};
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

record! {
    /// Which model: a preset, or sizes, or a preset with some sizes replaced.
    pub struct ModelInput {
        /// Preset to start from (`orrery catalog models`).
        pub preset: Option<Name>,
        /// Name for people.
        pub title: Option<Name>,
        /// Layers.
        pub layers: Option<Count>,
        /// Hidden size.
        pub hidden: Option<Count>,
        /// Feed-forward width.
        pub ffn_hidden: Option<Count>,
        /// Query heads.
        pub heads: Option<Count>,
        /// Key and value heads; absent: as many as query heads.
        pub kv_heads: Option<Count>,
        /// Size of a head; absent: hidden over heads.
        pub head_dim: Option<Count>,
        /// Vocabulary, padded as it is computed.
        pub vocabulary: Option<Count>,
        /// Gated feed-forward network (three matrices).
        pub gated_mlp: Option<bool>,
        /// Output projection shares the embedding's weights.
        pub tied_embeddings: Option<bool>,
        /// Positions.
        pub position: Option<Position>,
        /// Norm.
        pub norm: Option<Norm>,
        /// Tokens of one training sequence.
        pub sequence_length: Option<Count>,
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

fn find<'a>(name: &At<String>, diags: &mut Diagnostics) -> Option<&'a Preset> {
    let all = presets();
    if let Some(preset) = all.iter().find(|p| p.id.value == name.value) {
        if *preset.experts > 0 || *preset.kv_lora_rank > 0 || *preset.sliding_window > 0 {
            diags.push(
                Diagnostic::error(codes::UNSUPPORTED, format!("training of `{}` is not modelled yet", name.value))
                    .at(name.span, "mixture of experts, latent attention or sliding windows")
                    .hint("dense transformers are; name one of those"),
            );
            return None;
        }
        return Some(preset);
    }
    let mut diagnostic =
        Diagnostic::error(codes::UNKNOWN_PART, format!("there is no model preset `{}`", name.value)).at(name.span, "unknown preset");
    diagnostic = match nearest(name, all.iter().map(|p| p.id.value.as_str())) {
        Some(near) => diagnostic.hint(format!("did you mean \"{near}\"?")),
        None => diagnostic.hint("`orrery catalog models` lists the presets"),
    };
    diags.push(diagnostic);
    None
}

impl ModelInput {
    /// The architecture that this table describes; every missing or contradicting size is reported at `span`.
    pub fn resolve(&self, span: Span, diags: &mut Diagnostics) -> Option<Architecture> {
        let base = match &self.preset.value {
            Some(name) => Some(find(&At { value: name.clone(), span: self.preset.span }, diags)?),
            None => None,
        };
        let mut missing = Vec::new();
        let mut size = |own: &At<Option<u64>>, preset: Option<u64>, name: &'static str| {
            own.value.or(preset).unwrap_or_else(|| {
                missing.push(name);
                1
            })
        };
        let layers = size(&self.layers, base.map(|b| *b.layers), "layers");
        let hidden = size(&self.hidden, base.map(|b| *b.hidden), "hidden");
        let ffn_hidden = size(&self.ffn_hidden, base.map(|b| *b.ffn_hidden), "ffn_hidden");
        let heads = size(&self.heads, base.map(|b| *b.heads), "heads");
        let vocabulary = size(&self.vocabulary, base.map(|b| *b.vocabulary), "vocabulary");
        let sequence_length = size(&self.sequence_length, base.map(|b| *b.sequence_length), "sequence_length");
        if !missing.is_empty() {
            diags.push(
                Diagnostic::error(codes::MISSING_KEY, format!("the model lacks {}", missing.join(", ")))
                    .at(Span { end: span.start, ..span }, "here")
                    .hint("give them, or name a preset"),
            );
            return None;
        }
        let same_heads = self.heads.value.is_none();
        let kv_heads = self.kv_heads.value.or(base.filter(|_| same_heads).map(|b| *b.kv_heads)).unwrap_or(heads);
        let preset_dim = base.filter(|_| same_heads && self.hidden.value.is_none()).map(|b| *b.head_dim);
        let model = Architecture {
            title: self.title.value.clone().or_else(|| base.map(|b| b.title.value.clone())).unwrap_or_else(|| "custom transformer".into()),
            layers,
            hidden,
            ffn_hidden,
            heads,
            kv_heads,
            head_dim: self.head_dim.value.or(preset_dim).unwrap_or_else(|| (hidden / heads).max(1)),
            vocabulary,
            gated_mlp: self.gated_mlp.value.or(base.map(|b| *b.gated_mlp)).unwrap_or(false),
            tied_embeddings: self.tied_embeddings.value.or(base.map(|b| *b.tied_embeddings)).unwrap_or(false),
            position: self.position.value.or(base.map(|b| *b.position)).unwrap_or(Position::Rotary),
            norm: self.norm.value.or(base.map(|b| *b.norm)).unwrap_or(Norm::Layernorm),
            sequence_length,
        };
        self.check(&model, span, diags).then_some(model)
    }

    fn check(&self, model: &Architecture, span: Span, diags: &mut Diagnostics) -> bool {
        let before = diags.error_count();
        let place = |at: &At<Option<u64>>| if at.value.is_some() { at.span } else { Span { end: span.start, ..span } };
        if !model.heads.is_multiple_of(model.kv_heads) {
            diags.push(
                Diagnostic::error(
                    codes::NOT_DIVISIBLE,
                    format!("{} query heads cannot share {} key-value heads", model.heads, model.kv_heads),
                )
                .at(place(&self.kv_heads), "does not divide the heads")
                .hint("kv_heads has to divide heads"),
            );
        }
        if self.head_dim.value.is_none() && !model.hidden.is_multiple_of(model.heads) && self.preset.value.is_none() {
            diags.push(
                Diagnostic::error(codes::NOT_DIVISIBLE, format!("hidden size {} is no multiple of {} heads", model.hidden, model.heads))
                    .at(place(&self.heads), "does not divide the hidden size")
                    .hint("change heads or hidden, or give head_dim"),
            );
        }
        for (name, at, value, limit) in [
            ("layers", &self.layers, model.layers, 10_000),
            ("hidden", &self.hidden, model.hidden, 1 << 20),
            ("ffn_hidden", &self.ffn_hidden, model.ffn_hidden, 1 << 24),
            ("heads", &self.heads, model.heads, 1 << 16),
            ("head_dim", &self.head_dim, model.head_dim, 1 << 16),
            ("vocabulary", &self.vocabulary, model.vocabulary, 1 << 28),
            ("sequence_length", &self.sequence_length, model.sequence_length, 1 << 28),
        ] {
            if value > limit {
                diags.push(
                    Diagnostic::error(codes::OUT_OF_RANGE, format!("{name} = {value} is absurdly large"))
                        .at(place(at), "absurd")
                        .hint(format!("the largest {name} is {limit}")),
                );
            }
        }
        diags.error_count() == before
    }
}
