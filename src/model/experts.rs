//! What distinguishes newer layers: experts, latent attention, windows.

/// Experts in place of the feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: u64,
    /// Experts that a token visits.
    pub per_token: u64,
    /// Width of one expert.
    pub ffn_hidden: u64,
    /// Experts that every token visits, each as wide as the others.
    pub shared: u64,
    /// Layers before the first one with experts; they have the dense network.
    pub first_dense: u64,
    /// After those, every n-th layer has experts, the others the dense network.
    pub every: u64,
    /// Groups of experts of which a token visits at most [`Experts::groups_per_token`] (0: no limit).
    pub groups: u64,
    /// Groups that a token visits.
    pub groups_per_token: u64,
    /// Whether the gate is clamped and biased, which older stacks compute in unfused kernels.
    pub clamped: bool,
}

/// Latent attention: queries, keys and values through narrow projections (DeepSeek's MLA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Rank of the compressed queries (0: not compressed).
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

impl Latent {
    /// Weights of its five projections for `hidden` columns and `heads` heads.
    #[must_use]
    pub fn parameters(&self, hidden: u64, heads: u64) -> f64 {
        self.products(hidden, heads).iter().map(|&(n, k)| (n * k) as f64).sum()
    }

    /// Outputs and inputs of its projections: queries down and up, keys and values down and up, output.
    #[must_use]
    pub fn products(&self, hidden: u64, heads: u64) -> Vec<(u64, u64)> {
        let query = heads * (self.nope + self.rope);
        let mut out = if self.query_rank > 0 { vec![(self.query_rank, hidden), (query, self.query_rank)] } else { vec![(query, hidden)] };
        out.push((self.kv_rank + self.rope, hidden));
        out.push((heads * (self.nope + self.value), self.kv_rank));
        out.push((hidden, heads * self.value));
        out
    }
}

/// Attention that sees only the last tokens, in some layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Tokens that it sees.
    pub tokens: u64,
    /// It holds in every n-th layer.
    pub every: u64,
    /// Where above 0: it holds in all but every n-th layer.
    pub full_every: u64,
}

impl Window {
    /// Share of the layers in which it holds.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.full_every > 0 { 1.0 - 1.0 / self.full_every as f64 } else { 1.0 / self.every.max(1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latent_attention_of_deepseek() {
        // arXiv 2412.19437: 7168 × 1536, 1536 × 128·192, 7168 × 576, 512 × 128·256, 128·128 × 7168.
        let latent = Latent { query_rank: 1536, kv_rank: 512, nope: 128, rope: 64, value: 128 };
        let want = 7168.0 * 1536.0 + 1536.0 * 24576.0 + 7168.0 * 576.0 + 512.0 * 32768.0 + 16384.0 * 7168.0;
        assert!((latent.parameters(7168, 128) - want).abs() < 0.5);
    }
}
