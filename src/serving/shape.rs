//! What a served model computes: sizes of attention, feed-forward networks and experts, weights and cache bytes.

use crate::hardware::Dtype;
use crate::model::{Architecture, Hybrid, Preset, Window};

/// A mixture of experts in place of the feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture {
    /// Experts that the router chooses from.
    pub experts: u64,
    /// Experts that a token visits.
    pub per_token: u64,
    /// Width of one expert.
    pub width: u64,
    /// Experts that every token visits.
    pub shared: u64,
    /// Dense layers before the first mixture layer.
    pub dense_layers: u64,
}

/// Latent attention: keys and values are kept as one compressed vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latent {
    /// Rank of the compressed queries.
    pub query_rank: u64,
    /// Rank of the compressed keys and values.
    pub kv_rank: u64,
    /// Size of a head's part without rotation.
    pub nope: u64,
    /// Size of a head's rotated part.
    pub rope: u64,
    /// Size of a value head.
    pub value: u64,
}

/// Keys and values in layers with a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windowed {
    /// Tokens of the window.
    pub tokens: u64,
    /// Bytes of a token in these layers over those in the layers without a window (1 where all layers have one).
    pub share: f64,
    /// Whether all layers have one: nothing grows beyond it.
    pub alone: bool,
}

/// The sizes of a served model.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Name for people.
    pub title: String,
    /// Layers.
    pub layers: u64,
    /// Hidden size.
    pub hidden: u64,
    /// Width of the dense feed-forward network.
    pub ffn: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Size of a head.
    pub head_dim: u64,
    /// Vocabulary.
    pub vocabulary: u64,
    /// Matrices of the feed-forward network that read its input: 2 where it is gated, else 1.
    pub ffn_inputs: u64,
    /// Whether the output projection shares the embedding.
    pub tied: bool,
    /// Experts, where there are any.
    pub mixture: Option<Mixture>,
    /// Latent attention, where it is used.
    pub latent: Option<Latent>,
    /// Layers with states in place of attention, where there are any.
    pub hybrid: Option<Hybrid>,
    /// Window over which some layers attend, where there are such layers.
    pub window: Option<Window>,
}

impl Shape {
    /// The sizes of a preset.
    ///
    /// # Errors
    /// What of it is not modelled.
    pub fn of_preset(p: &Preset) -> Result<Self, String> {
        Self::of(&p.architecture())
    }

    /// The sizes of an architecture.
    ///
    /// # Errors
    /// What of it is not modelled: networks of blocks, encoders, windows beside latent attention or states.
    pub fn of(a: &Architecture) -> Result<Self, String> {
        if a.window.is_some() && (a.latent.is_some() || a.hybrid.is_some()) {
            return Err(format!("`{}` has windows beside latent attention or states, which serving does not model", a.title));
        }
        if a.is_network() || !a.causal {
            return Err(format!("`{}` generates no tokens one after the other", a.title));
        }
        Ok(Self {
            title: a.title.clone(),
            layers: a.layers,
            hidden: a.hidden,
            ffn: a.ffn_hidden,
            heads: a.heads,
            kv_heads: a.kv_heads,
            head_dim: a.head_dim,
            vocabulary: a.vocabulary,
            ffn_inputs: if a.gated_mlp { 2 } else { 1 },
            tied: a.tied_embeddings,
            mixture: a.experts.map(|e| Mixture {
                experts: e.count,
                per_token: e.per_token,
                width: e.ffn_hidden,
                shared: e.shared,
                dense_layers: a.dense_layers(),
            }),
            latent: a.latent.map(|l| Latent { query_rank: l.query_rank, kv_rank: l.kv_rank, nope: l.nope, rope: l.rope, value: l.value }),
            hybrid: a.hybrid,
            window: a.window,
        })
    }

    /// Layers with attention.
    #[must_use]
    pub fn attention_layers(&self) -> u64 {
        self.hybrid.map_or(self.layers, |h| h.attention_layers)
    }
    /// Of these, layers that see everything and layers that see a window.
    #[must_use]
    pub fn attention_kinds(&self) -> (u64, u64) {
        let layers = self.attention_layers();
        let near = self.window.map_or(0, |w| (w.share() * layers as f64).round() as u64).min(layers);
        (layers - near, near)
    }
    /// Layers with a feed-forward network or experts.
    #[must_use]
    pub fn feed_forward_layers(&self) -> u64 {
        self.hybrid.map_or(self.layers, |h| h.feed_forward_layers)
    }
    /// Share of the layers with a feed-forward network or experts.
    #[must_use]
    pub fn feed_forward_share(&self) -> f64 {
        self.feed_forward_layers() as f64 / self.layers as f64
    }
    /// Blocks with a norm and a residual of their own, over the two of each layer of a transformer.
    #[must_use]
    pub fn block_share(&self) -> f64 {
        self.hybrid.map_or(1.0, |h| (h.attention_layers + h.state_layers + h.feed_forward_layers) as f64 / (2 * self.layers) as f64)
    }
    /// Bytes of the states of one sequence on one of `tensor` ranks.
    #[must_use]
    pub fn state_bytes(&self, tensor: u64) -> f64 {
        self.hybrid.map_or(0.0, |h| h.state_layers as f64 * h.state.split(tensor).state_bytes())
    }

    /// Layers with a dense feed-forward network.
    #[must_use]
    pub fn dense_layers(&self) -> u64 {
        self.mixture.map_or(self.layers, |m| m.dense_layers.min(self.layers))
    }
    /// Weights of the projections of attention, or of states in its place, of all layers.
    #[must_use]
    pub fn mixer_parameters(&self) -> f64 {
        let states = self.hybrid.map_or(0.0, |h| h.state_layers as f64 * h.state.matrix_parameters(self.hidden));
        self.attention_layers() as f64 * self.attention_parameters() + states
    }
    /// Weights of the attention projections of one layer that has attention.
    fn attention_parameters(&self) -> f64 {
        let h = self.hidden as f64;
        match self.latent {
            None => h * ((2 * self.heads + 2 * self.kv_heads) * self.head_dim) as f64,
            Some(l) => {
                let query = if l.query_rank > 0 {
                    l.query_rank as f64 * (h + (self.heads * (l.nope + l.rope)) as f64)
                } else {
                    h * (self.heads * (l.nope + l.rope)) as f64
                };
                let kv = h * (l.kv_rank + l.rope) as f64 + (l.kv_rank * self.heads * (l.nope + l.value)) as f64;
                query + kv + h * (self.heads * l.value) as f64
            }
        }
    }
    /// Weights of a feed-forward network of some width.
    #[must_use]
    pub fn ffn_parameters(&self, width: u64) -> f64 {
        self.hidden as f64 * width as f64 * (self.ffn_inputs + 1) as f64
    }
    /// Weights of all experts of all layers that the router chooses from.
    #[must_use]
    pub fn expert_parameters(&self) -> f64 {
        self.mixture.map_or(0.0, |m| (self.layers - self.dense_layers()) as f64 * m.experts as f64 * self.ffn_parameters(m.width))
    }
    /// Weights of the dense feed-forward networks and of the experts that every token visits.
    #[must_use]
    pub fn dense_ffn_parameters(&self) -> f64 {
        let dense = self.dense_layers();
        let shared = self.mixture.map_or(0.0, |m| (self.layers - dense) as f64 * m.shared as f64 * self.ffn_parameters(m.width));
        dense as f64 * self.feed_forward_share() * self.ffn_parameters(self.ffn) + shared
    }
    /// Weights of the embedding and the output projection.
    #[must_use]
    pub fn table_parameters(&self) -> f64 {
        (self.vocabulary * self.hidden) as f64 * if self.tied { 1.0 } else { 2.0 }
    }
    /// All weights, norms left out.
    #[must_use]
    pub fn parameters(&self) -> f64 {
        self.mixer_parameters() + self.dense_ffn_parameters() + self.expert_parameters() + self.table_parameters()
    }
    /// Bytes of keys and values that one token leaves on one of `tensor` ranks in the layers that keep it to the end: those without a
    /// window, or all where every layer has one.
    #[must_use]
    pub fn kv_bytes_per_token(&self, kv: Dtype, tensor: u64) -> f64 {
        let elements = match self.latent {
            Some(l) => l.kv_rank + l.rope,
            None => 2 * self.kv_heads.div_ceil(tensor) * self.head_dim,
        };
        let (full, near) = self.attention_kinds();
        (if full > 0 { full } else { near }) as f64 * elements as f64 * kv.bytes()
    }
    /// What sequences keep in layers with a window, where there are any.
    #[must_use]
    pub fn windowed(&self) -> Option<Windowed> {
        let (full, near) = self.attention_kinds();
        let tokens = self.window.filter(|_| near > 0)?.tokens;
        Some(Windowed { tokens, share: if full > 0 { near as f64 / full as f64 } else { 1.0 }, alone: full == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets;

    fn shape(id: &str) -> Shape {
        Shape::of_preset(presets().iter().find(|p| p.id.value == id).unwrap()).unwrap()
    }

    #[test]
    fn parameters_of_published_models() {
        for (id, billions) in [("llama-3.1-70b", 70.55), ("llama-3.1-8b", 8.03), ("deepseek-v3", 671.03)] {
            let got = shape(id).parameters() / 1e9;
            assert!((got / billions - 1.0).abs() < 0.002, "{id}: {got}");
        }
    }

    #[test]
    fn cache_of_a_token() {
        // Llama 70B, 16 bit: 80 layers × 2 × 8 heads × 128 × 2 B = 327,680 B; DeepSeek-V3, 8 bit: 61 × 576 B.
        assert_eq!(shape("llama-3.1-70b").kv_bytes_per_token(Dtype::Bf16, 1), 327_680.0);
        assert_eq!(shape("llama-3.1-70b").kv_bytes_per_token(Dtype::Bf16, 16), 40_960.0);
        assert_eq!(shape("deepseek-v3").kv_bytes_per_token(Dtype::Fp8, 8), 35_136.0);
    }
}
