//! Memory of one rank: weights, workspace, and the blocks of the key-value cache that are left.

use super::cost::Formats;
use super::shape::Shape;
use super::stack::StackRow;

/// Memory of one rank in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Memory {
    /// Weights.
    pub weights: f64,
    /// Activations, graphs, buffers, states of sequences.
    pub workspace: f64,
    /// What is left for keys and values.
    pub cache: f64,
    /// Memory of the part.
    pub capacity: f64,
    /// Bytes of one token's keys and values.
    pub token: f64,
}

/// More blocks than any traffic fills.
const MOST_BLOCKS: f64 = 1e12;

/// Over how many ranks a model is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Ranks that share heads and widths.
    pub tensor: u64,
    /// Ranks of a stage, over which experts are spread.
    pub ranks: u64,
    /// Stages.
    pub pipeline: u64,
    /// Copies of experts beside the model's own.
    pub redundant: u64,
}

impl Memory {
    /// The memory of the fullest rank: products in their format, tables in 16 bit.
    #[must_use]
    pub fn of(shape: &Shape, formats: Formats, stack: &StackRow, split: Split, capacity: f64) -> Self {
        let t = split.tensor as f64;
        // The longest stage holds this share of the layers; embedding and output projection are on different ones.
        let stage = shape.layers.div_ceil(split.pipeline) as f64 / shape.layers as f64;
        let tables = shape.table_parameters() * if split.pipeline > 1 && !shape.tied { 0.5 } else { 1.0 };
        let attention = shape.mixer_parameters() * formats.attention.bytes();
        let dense = shape.dense_ffn_parameters() * formats.linear.bytes();
        let copies = shape.mixture.map_or(1.0, |x| (x.experts + split.redundant) as f64 / x.experts as f64);
        let experts = shape.expert_parameters() * copies * formats.linear.bytes();
        let weights = ((attention + dense) * stage + 2.0 * tables) / t + experts * stage / split.ranks as f64;
        // States of fixed size are set aside for as many sequences as may run at once.
        let workspace = stack.workspace.get() + *stack.max_sequences as f64 * shape.state_bytes(split.tensor) * stage;
        let token = shape.kv_bytes_per_token(formats.kv, split.tensor) * stage;
        Self { weights: 0.0, workspace, cache: 0.0, capacity, token: 0.0 }.with(weights, token, stack)
    }

    /// More weights and more bytes a token on every rank.
    pub(super) fn add(&mut self, weights: f64, token: f64, stack: &StackRow) {
        *self = self.with(weights, token, stack);
    }

    fn with(self, weights: f64, token: f64, stack: &StackRow) -> Self {
        let (weights, token) = (self.weights + weights, self.token + token);
        let share = *stack.memory_share;
        let rest = self.capacity - weights - self.workspace;
        let cache = if *stack.share_of_rest { rest * share } else { self.capacity * share - weights - self.workspace };
        Self { weights, token, cache: cache.max(0.0), ..self }
    }

    /// Memory that weights, workspace and the least cache need, and what an engine may use of it.
    #[must_use]
    pub fn least(&self, tokens: u64, stack: &StackRow) -> (f64, f64) {
        let fixed = self.weights + self.workspace;
        let cache = self.token * tokens as f64;
        if *stack.share_of_rest {
            (fixed + cache / *stack.memory_share, self.capacity)
        } else {
            (fixed + cache, self.capacity * *stack.memory_share)
        }
    }

    /// Blocks of `tokens` that the cache holds.
    #[must_use]
    pub fn blocks(&self, tokens: u64) -> u64 {
        // A model of states alone needs no blocks.
        let blocks = if self.token > 0.0 { self.cache / (self.token * tokens as f64) } else { MOST_BLOCKS };
        blocks.floor().min(MOST_BLOCKS) as u64
    }
}
