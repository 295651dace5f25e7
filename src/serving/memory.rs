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

impl Memory {
    /// The memory of a rank: products in their format, tables in 16 bit, heads and widths split over the first of `split` ranks, experts
    /// over the second.
    #[must_use]
    pub fn of(shape: &Shape, formats: Formats, stack: &StackRow, split: (u64, u64), capacity: f64) -> Self {
        let (tensor, ranks) = (split.0, split.1 as f64);
        let t = tensor as f64;
        let attention = shape.mixer_parameters() * formats.attention.bytes();
        let dense = shape.dense_ffn_parameters() * formats.linear.bytes();
        let experts = shape.expert_parameters() * formats.linear.bytes();
        let weights = (attention + dense + 2.0 * shape.table_parameters()) / t + experts / ranks;
        // States of fixed size are set aside for as many sequences as may run at once.
        let workspace = stack.workspace.get() + *stack.max_sequences as f64 * shape.state_bytes(tensor);
        let share = *stack.memory_share;
        let cache = if *stack.share_of_rest { (capacity - weights - workspace) * share } else { capacity * share - weights - workspace };
        Self { weights, workspace, cache: cache.max(0.0), capacity, token: shape.kv_bytes_per_token(formats.kv, tensor) }
    }

    /// Blocks of `tokens` that the cache holds.
    #[must_use]
    pub fn blocks(&self, tokens: u64) -> u64 {
        // A model of states alone needs no blocks.
        let blocks = if self.token > 0.0 { self.cache / (self.token * tokens as f64) } else { MOST_BLOCKS };
        blocks.floor().min(MOST_BLOCKS) as u64
    }
}
