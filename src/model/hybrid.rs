//! Layers with a recurrent state in place of attention: state-space models and linear attention.
//!
//! A mixer keeps a state of fixed size per sequence instead of keys and values of every token. Training runs it as a scan: Mamba
//! element by element on the vector units, the others in chunks of products on the matrix units.

use crate::choice;

choice! {
    /// Kinds of mixers with a state.
    pub enum StateKind {
        /// Selective state space with a state for every channel (Mamba, arXiv 2312.00752).
        Mamba = "mamba",
        /// State space with a scalar decay per head (Mamba-2, arXiv 2405.21060).
        Mamba2 = "mamba-2",
        /// Gated delta rule (Gated DeltaNet, arXiv 2412.06464).
        GatedDelta = "gated-delta",
        /// Linear attention with a fixed decay and an output gate (lightning attention, arXiv 2501.08313).
        Lightning = "lightning",
    }
}

/// A mixer with a state. Of Mamba every channel is a head with a value of size 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateMixer {
    /// Which kind.
    pub kind: StateKind,
    /// Heads of the values.
    pub heads: u64,
    /// Size of a value head.
    pub value_dim: u64,
    /// Heads of keys and queries that the value heads share (groups of B and C in state-space models).
    pub key_heads: u64,
    /// Size of a key head (the state size of state-space models).
    pub key_dim: u64,
    /// Taps of the causal convolution before it (0: none).
    pub convolution: u64,
    /// Rank of the step-size projection (Mamba; 0 elsewhere).
    pub rank: u64,
}

/// Tokens of a chunk: the default of Mamba-2's kernels, and that of flash-linear-attention (gated delta rule, lightning attention).
const MAMBA2_CHUNK: f64 = 256.0;
const CHUNK: f64 = 64.0;
/// FLOPs of the selective scan for every channel and state of a token, as the reference implementation is counted in literature: decay,
/// input, update, output.
const SCAN_FLOPS: f64 = 9.0;

impl StateMixer {
    /// Channels of the values.
    #[must_use]
    pub const fn inner(&self) -> u64 {
        self.heads * self.value_dim
    }
    /// Channels of the keys (and of the queries).
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.key_heads * self.key_dim
    }
    /// Channels that the convolution runs over.
    #[must_use]
    pub const fn convolved(&self) -> u64 {
        match self.kind {
            StateKind::Mamba => self.inner(),
            StateKind::Mamba2 | StateKind::GatedDelta => self.inner() + 2 * self.keys(),
            StateKind::Lightning => 0,
        }
    }
    /// The part of it on one of `t` tensor ranks, which split the heads.
    #[must_use]
    pub const fn split(&self, t: u64) -> Self {
        let heads = if self.heads > t { self.heads / t } else { 1 };
        let key_heads = if self.key_heads > t { self.key_heads / t } else { 1 };
        Self { heads, key_heads, ..*self }
    }
    /// Outputs and inputs of its matrix products.
    #[must_use]
    pub fn products(&self, hidden: u64) -> Vec<(u64, u64)> {
        let (inner, keys) = (self.inner(), self.keys());
        match self.kind {
            StateKind::Mamba => vec![(2 * inner, hidden), (self.rank + 2 * keys, inner), (inner, self.rank), (hidden, inner)],
            StateKind::Mamba2 => vec![(2 * inner + 2 * keys + self.heads, hidden), (hidden, inner)],
            StateKind::GatedDelta => vec![(2 * keys + 2 * inner, hidden), (2 * self.heads, hidden), (hidden, inner)],
            StateKind::Lightning => vec![(2 * keys + inner, hidden), (inner, hidden), (hidden, inner)],
        }
    }
    /// Weights of its matrix products.
    #[must_use]
    pub fn matrix_parameters(&self, hidden: u64) -> f64 {
        self.products(hidden).into_iter().map(|(n, k)| (n * k) as f64).sum()
    }
    /// Its other weights: convolution, decays, skips, norm.
    #[must_use]
    pub fn vector_parameters(&self) -> f64 {
        let (inner, heads, taps) = (self.inner() as f64, self.heads as f64, self.convolution as f64);
        let convolved = self.convolved() as f64;
        match self.kind {
            // Convolution with bias, bias of the step size, decay of every state, skip.
            StateKind::Mamba => convolved * (taps + 1.0) + inner * (2.0 + self.key_dim as f64),
            StateKind::Mamba2 => convolved * (taps + 1.0) + 3.0 * heads + inner,
            StateKind::GatedDelta => convolved * taps + 2.0 * heads + self.value_dim as f64,
            StateKind::Lightning => inner,
        }
    }
    /// Elements of its state for one sequence.
    #[must_use]
    pub const fn state_elements(&self) -> u64 {
        self.inner() * self.key_dim
    }
    /// Bytes that one sequence keeps between tokens: the state in 32 bit, the last inputs of the convolution in 16 bit.
    #[must_use]
    pub fn state_bytes(&self) -> f64 {
        4.0 * self.state_elements() as f64 + 2.0 * (self.convolution.saturating_sub(1) * self.convolved()) as f64
    }
    /// Tokens that a chunked scan takes at a time; one by one in the selective scan.
    #[must_use]
    pub const fn chunk(&self) -> f64 {
        match self.kind {
            StateKind::Mamba => 1.0,
            StateKind::Mamba2 => MAMBA2_CHUNK,
            StateKind::GatedDelta | StateKind::Lightning => CHUNK,
        }
    }
    /// FLOPs of the scan for one token, forward.
    #[must_use]
    pub fn scan_flops(&self) -> f64 {
        let (heads, key, value, chunk) = (self.heads as f64, self.key_dim as f64, self.value_dim as f64, self.chunk());
        match self.kind {
            StateKind::Mamba => SCAN_FLOPS * self.state_elements() as f64,
            // Scores of a chunk for every group of keys, their product with the values, the chunk's state and what it reads from it.
            StateKind::Mamba2 => 2.0 * chunk * self.keys() as f64 + heads * (2.0 * chunk * value + 4.0 * key * value),
            StateKind::Lightning => heads * (2.0 * chunk * (key + value) + 4.0 * key * value),
            // Scores of keys with keys and queries, the triangular inverse applied to keys and values, the product with the values; the
            // state is read for keys and queries and written.
            StateKind::GatedDelta => heads * (2.0 * chunk * (3.0 * key + 2.0 * value) + 6.0 * key * value),
        }
    }
    /// Bytes that the scan moves for one token, forward: values, keys, queries and result in 16 bit, decays in 32 bit, the gate where the
    /// scan applies it; chunked scans also write and read the state of every chunk, Mamba-2's kernels in 32 bit, the others in 16.
    #[must_use]
    pub fn scan_bytes(&self) -> f64 {
        let (inner, heads) = (self.inner() as f64, self.heads as f64);
        let channels = 2.0 * (2 * self.inner() + 2 * self.keys()) as f64;
        let state = self.state_elements() as f64 / self.chunk();
        match self.kind {
            StateKind::Mamba => channels + 6.0 * inner,
            StateKind::Mamba2 => channels + 2.0 * inner + 4.0 * heads + 8.0 * state,
            StateKind::Lightning => channels + 4.0 * heads + 4.0 * state,
            StateKind::GatedDelta => channels + 8.0 * heads + 4.0 * state,
        }
    }
}

/// Which layers of a model have attention, a mixer with a state, and a feed-forward network. Layers count as equal, the mean over the model,
/// so that a stage has its share of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hybrid {
    /// Layers with attention.
    pub attention_layers: u64,
    /// Layers with a state.
    pub state_layers: u64,
    /// Layers with a feed-forward network or experts.
    pub feed_forward_layers: u64,
    /// The mixer.
    pub state: StateMixer,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mamba-2 as in Nemotron-H 56B: 256 heads of 64, 8 groups with 256 states.
    const MAMBA2: StateMixer =
        StateMixer { kind: StateKind::Mamba2, heads: 256, value_dim: 64, key_heads: 8, key_dim: 256, convolution: 4, rank: 0 };

    #[test]
    fn counts_by_hand() {
        // 2·16384 + 2·2048 + 256 columns in, 16384 rows out.
        assert_eq!(MAMBA2.matrix_parameters(8192), (37120 * 8192 + 8192 * 16384) as f64);
        assert_eq!(MAMBA2.vector_parameters(), (20480 * 5 + 3 * 256 + 16384) as f64);
        assert_eq!(MAMBA2.state_bytes(), (4 * 16384 * 256 + 2 * 3 * 20480) as f64);
        // Scores for 8 groups, then for 256 heads: 2·256·8·256 + 256 (2·256·64 + 4·256·64).
        assert_eq!(MAMBA2.scan_flops(), (2 * 256 * 2048 + 256 * (2 * 256 * 64 + 4 * 256 * 64)) as f64);
        let mamba = StateMixer { kind: StateKind::Mamba, heads: 5120, value_dim: 1, key_heads: 1, key_dim: 16, convolution: 4, rank: 160 };
        assert_eq!(mamba.scan_flops(), 9.0 * 5120.0 * 16.0);
        assert_eq!(mamba.matrix_parameters(2560), (2 * 5120 * 2560 + 192 * 5120 + 5120 * 160 + 2560 * 5120) as f64);
    }

    #[test]
    fn tensor_ranks_split_the_heads() {
        let half = MAMBA2.split(2);
        assert_eq!(2 * half.state_elements(), MAMBA2.state_elements());
        assert!((2.0 * half.scan_flops() / MAMBA2.scan_flops() - 1.0).abs() < 1e-12);
        // More ranks than groups: each group is on several of them.
        assert_eq!(MAMBA2.split(16).key_heads, 1);
    }
}
