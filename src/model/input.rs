//! The table of a model: a preset, a `config.json` of Hugging Face, or sizes; or one of the first two with some sizes replaced.

use super::architecture::{Architecture, Entry, Norm, Position};
use super::experts::{Experts, Window};
use super::huggingface;
use super::preset::{Preset, presets};
use crate::diag::{At, Code, Count, Diagnostic, Diagnostics, FilePath, Name, Share, Span, Whole, codes, nearest};
use crate::record;

record! {
    /// Which model: a preset, a `config.json` of Hugging Face, or sizes; or one of the first two with some sizes replaced.
    pub struct ModelInput {
        /// Preset to start from (`orrery catalog models`).
        pub preset: Option<Name>,
        /// File to start from: `config.json` of a model as Hugging Face keeps it, relative to this file.
        pub config: Option<FilePath>,
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
        /// Whether a token sees only those before it; absent: yes.
        pub causal: Option<bool>,
        /// Share of the tokens whose loss is computed; absent: all.
        pub predicted: Option<Share>,
        /// Experts of a layer (0: dense).
        pub experts: Option<Whole>,
        /// Experts that a token visits.
        pub experts_per_token: Option<Count>,
        /// Width of one expert; absent: the feed-forward width.
        pub moe_ffn_hidden: Option<Count>,
        /// Experts that every token visits.
        pub shared_experts: Option<Whole>,
        /// Dense layers before the first one with experts.
        pub first_dense_layers: Option<Whole>,
        /// After those, every n-th layer has experts and the others the dense network; absent: all.
        pub experts_every: Option<Count>,
        /// Extra layers that predict later tokens (multi-token prediction).
        pub prediction_layers: Option<Whole>,
        /// Attention window in tokens (0: none).
        pub sliding_window: Option<Whole>,
        /// The window holds in every n-th layer; absent: in all.
        pub sliding_window_every: Option<Count>,
    }
}

fn find<'a>(name: &At<String>, diags: &mut Diagnostics) -> Option<&'a Preset> {
    let all = presets();
    if let Some(preset) = all.iter().find(|p| p.id.value == name.value) {
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

/// Sizes that only presets and `config` files have, with their limits.
fn parts(model: &Architecture) -> Vec<(&'static str, u64, u64)> {
    let mut out = Vec::new();
    if let Some(l) = model.latent {
        out.extend([("a rank of latent attention", l.query_rank.max(l.kv_rank), 1 << 16)]);
        out.extend([("a head of latent attention", l.nope.max(l.rope).max(l.value), 1 << 12)]);
    }
    if let Some(h) = model.hybrid {
        out.extend([("a number of state heads", h.state.heads.max(h.state.key_heads), 1 << 20)]);
        out.extend([("a head of states", h.state.value_dim.max(h.state.key_dim), 1 << 12)]);
        out.extend([("a convolution of states", h.state.convolution, 1 << 10), ("a rank of step sizes", h.state.rank, 1 << 16)]);
    }
    if let Entry::Patches { side, channels } = model.entry {
        out.extend([("a side of patches", side, 1 << 12), ("a number of channels", channels, 1 << 10)]);
    }
    if let Some(e) = model.experts {
        out.extend([("a number of groups of experts", e.groups, 1 << 12)]);
    }
    out
}

/// Where a key is given.
fn given<T>(key: &At<Option<T>>) -> Option<Span> {
    key.is_some().then_some(key.span)
}

fn refuse(span: Span, code: Code, message: String, diags: &mut Diagnostics) {
    diags.push(Diagnostic::error(code, message).at(span, "here"));
}

/// Refuses keys that are given and do nothing.
fn idle(keys: &[(&str, Option<Span>)], why: &str, diags: &mut Diagnostics) {
    for (name, span) in keys {
        if let Some(span) = span {
            refuse(*span, codes::CONFLICT, format!("`{name}` does nothing {why}"), diags);
        }
    }
}

impl ModelInput {
    /// The architecture that this table describes; every missing or contradicting size is reported at `span`.
    pub fn resolve(&self, span: Span, diags: &mut Diagnostics) -> Option<Architecture> {
        let base = self.base(diags)?;
        let base = base.as_ref();
        let mut missing = Vec::new();
        let mut size = |own: &At<Option<u64>>, known: Option<u64>, name: &'static str| {
            own.value.or(known).unwrap_or_else(|| {
                missing.push(name);
                1
            })
        };
        let layers = size(&self.layers, base.map(|b| b.layers), "layers");
        let hidden = size(&self.hidden, base.map(|b| b.hidden), "hidden");
        let ffn_hidden = size(&self.ffn_hidden, base.map(|b| b.ffn_hidden), "ffn_hidden");
        let heads = size(&self.heads, base.map(|b| b.heads), "heads");
        let vocabulary = size(&self.vocabulary, base.map(|b| b.vocabulary), "vocabulary");
        let sequence_length = size(&self.sequence_length, base.map(|b| b.sequence_length), "sequence_length");
        if !missing.is_empty() {
            diags.push(
                Diagnostic::error(codes::MISSING_KEY, format!("the model lacks {}", missing.join(", ")))
                    .at(Span { end: span.start, ..span }, "here")
                    .hint("give them, or name a preset, or a `config` file"),
            );
            return None;
        }
        let same_heads = self.heads.value.is_none();
        let kv_heads = self.kv_heads.value.or(base.filter(|_| same_heads).map(|b| b.kv_heads)).unwrap_or(heads);
        let known_dim = base.filter(|_| same_heads && self.hidden.value.is_none()).map(|b| b.head_dim);
        let rest = base.cloned().unwrap_or_default();
        let model = Architecture {
            title: self.title.value.clone().or_else(|| base.map(|b| b.title.clone())).unwrap_or_else(|| "custom transformer".into()),
            layers,
            hidden,
            ffn_hidden,
            heads,
            kv_heads,
            head_dim: self.head_dim.value.or(known_dim).unwrap_or_else(|| (hidden / heads).max(1)),
            vocabulary,
            gated_mlp: self.gated_mlp.value.unwrap_or(rest.gated_mlp),
            tied_embeddings: self.tied_embeddings.value.unwrap_or(rest.tied_embeddings),
            position: self.position.value.unwrap_or(rest.position),
            norm: self.norm.value.unwrap_or(rest.norm),
            sequence_length,
            causal: self.causal.value.unwrap_or(rest.causal),
            predicted: self.predicted.value.unwrap_or(rest.predicted),
            experts: self.experts(rest.experts, ffn_hidden),
            window: self.window(rest.window),
            prediction_layers: self.prediction_layers.value.unwrap_or(rest.prediction_layers),
            ..rest
        };
        self.check(&model, span, diags).then_some(model)
    }

    /// What the table starts from; `None` inside where it gives all sizes itself.
    fn base(&self, diags: &mut Diagnostics) -> Option<Option<Architecture>> {
        match (&self.preset.value, &self.config.value) {
            (Some(_), Some(_)) => {
                diags.push(
                    Diagnostic::error(codes::CONFLICT, "a model starts from a preset or from a `config` file, not both")
                        .at(self.config.span, "one")
                        .at(self.preset.span, "another"),
                );
                None
            }
            (Some(name), None) => Some(Some(find(&At { value: name.clone(), span: self.preset.span }, diags)?.architecture())),
            (None, Some(file)) => Some(Some(huggingface::read(file, self.config.span, diags)?)),
            (None, None) => Some(None),
        }
    }

    fn experts(&self, known: Option<Experts>, ffn_hidden: u64) -> Option<Experts> {
        let count = self.experts.value.or(known.map(|e| e.count)).unwrap_or(0);
        (count > 0).then(|| Experts {
            count,
            per_token: self.experts_per_token.value.or(known.map(|e| e.per_token)).unwrap_or(1),
            ffn_hidden: self.moe_ffn_hidden.value.or(known.map(|e| e.ffn_hidden)).unwrap_or(ffn_hidden),
            shared: self.shared_experts.value.or(known.map(|e| e.shared)).unwrap_or(0),
            first_dense: self.first_dense_layers.value.or(known.map(|e| e.first_dense)).unwrap_or(0),
            every: self.experts_every.value.or(known.map(|e| e.every)).unwrap_or(1),
            groups: known.map_or(0, |e| e.groups),
            groups_per_token: known.map_or(0, |e| e.groups_per_token),
            clamped: known.is_some_and(|e| e.clamped),
        })
    }

    fn window(&self, known: Option<Window>) -> Option<Window> {
        let tokens = self.sliding_window.value.or(known.map(|w| w.tokens)).unwrap_or(0);
        let every = self.sliding_window_every.value.or(known.map(|w| w.every)).unwrap_or(1);
        let full_every = known.filter(|_| self.sliding_window_every.is_none()).map_or(0, |w| w.full_every);
        (tokens > 0).then_some(Window { tokens, every, full_every })
    }

    /// Experts and windows that contradict each other, and keys that do nothing.
    fn check_keys(&self, model: &Architecture, diags: &mut Diagnostics) {
        self.check_experts(model, diags);
        if model.window.is_none() && self.sliding_window_every.is_some() {
            let message = "`sliding_window_every` does nothing without `sliding_window`".into();
            refuse(self.sliding_window_every.span, codes::CONFLICT, message, diags);
        }
        if model.predicted <= 0.0 {
            let message = "a model whose loss is computed on no token learns nothing".into();
            refuse(self.predicted.span, codes::OUT_OF_RANGE, message, diags);
        }
        if model.hybrid.is_some() && self.layers.is_some() {
            let message = "which layers have attention and which have states is part of this model".into();
            refuse(self.layers.span, codes::CONFLICT, message, diags);
        }
        if model.is_network() {
            self.check_network(diags);
        }
    }

    /// Experts that the layers cannot have, and keys that need experts.
    fn check_experts(&self, model: &Architecture, diags: &mut Diagnostics) {
        let Some(e) = model.experts else {
            let keys = [
                ("experts_per_token", given(&self.experts_per_token)),
                ("moe_ffn_hidden", given(&self.moe_ffn_hidden)),
                ("shared_experts", given(&self.shared_experts)),
                ("first_dense_layers", given(&self.first_dense_layers)),
                ("experts_every", given(&self.experts_every)),
            ];
            return idle(&keys, "without `experts`", diags);
        };
        if e.per_token > e.count {
            let span = given(&self.experts_per_token).unwrap_or(self.experts.span);
            refuse(span, codes::OUT_OF_RANGE, format!("a token cannot visit {} of {} experts", e.per_token, e.count), diags);
        } else if e.first_dense >= model.layers {
            let span = given(&self.first_dense_layers).unwrap_or(self.layers.span);
            let message = format!("all {} layers come before the first one with experts", model.layers);
            refuse(span, codes::OUT_OF_RANGE, message, diags);
        } else if e.every > model.layers - e.first_dense {
            refuse(self.experts_every.span, codes::OUT_OF_RANGE, format!("no layer of {} has experts", model.layers), diags);
        }
    }

    /// Keys that do nothing where the model is a network of given blocks.
    fn check_network(&self, diags: &mut Diagnostics) {
        let keys = [
            ("layers", given(&self.layers)),
            ("hidden", given(&self.hidden)),
            ("ffn_hidden", given(&self.ffn_hidden)),
            ("heads", given(&self.heads)),
            ("kv_heads", given(&self.kv_heads)),
            ("head_dim", given(&self.head_dim)),
            ("sequence_length", given(&self.sequence_length)),
            ("experts", given(&self.experts)),
            ("sliding_window", given(&self.sliding_window)),
            ("prediction_layers", given(&self.prediction_layers)),
            ("gated_mlp", given(&self.gated_mlp)),
            ("tied_embeddings", given(&self.tied_embeddings)),
            ("position", given(&self.position)),
            ("norm", given(&self.norm)),
            ("causal", given(&self.causal)),
            ("predicted", given(&self.predicted)),
        ];
        idle(&keys, "for a network of given blocks", diags);
    }

    fn check(&self, model: &Architecture, span: Span, diags: &mut Diagnostics) -> bool {
        let before = diags.error_count();
        let base = [&self.config, &self.preset].into_iter().find(|b| b.is_some()).map(|b| b.span);
        let place = |at: &At<Option<u64>>| match (at.value, base) {
            (Some(_), _) => at.span,
            (None, Some(base)) => base,
            (None, None) => Span { end: span.start, ..span },
        };
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
        if self.head_dim.value.is_none() && !model.hidden.is_multiple_of(model.heads) && self.preset.is_none() && self.config.is_none() {
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
            ("experts", &self.experts, model.experts.map_or(0, |e| e.count), 1 << 16),
            ("moe_ffn_hidden", &self.moe_ffn_hidden, model.experts.map_or(0, |e| e.ffn_hidden), 1 << 24),
            ("shared_experts", &self.shared_experts, model.experts.map_or(0, |e| e.shared), 1 << 10),
            ("prediction_layers", &self.prediction_layers, model.prediction_layers, 100),
        ] {
            if value > limit {
                diags.push(
                    Diagnostic::error(codes::OUT_OF_RANGE, format!("{name} = {value} is absurdly large"))
                        .at(place(at), "absurd")
                        .hint(format!("the largest {name} is {limit}")),
                );
            }
        }
        for (name, value, limit) in parts(model) {
            if value > limit {
                let at = base.unwrap_or(Span { end: span.start, ..span });
                diags.push(
                    Diagnostic::error(codes::OUT_OF_RANGE, format!("{name} of {value} is absurdly large"))
                        .at(at, "absurd")
                        .hint(format!("the largest is {limit}")),
                );
            }
        }
        if let Some(e) = model.experts.filter(|e| e.groups > 0 && (e.groups_per_token == 0 || e.groups_per_token > e.groups)) {
            let message = format!("a token cannot visit {} of {} groups of experts", e.groups_per_token, e.groups);
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(self.config.span, "here"));
        }
        self.check_keys(model, diags);
        diags.error_count() == before
    }
}
