//! What an engine does of requests, and what it is allowed.

use crate::serving::deployment::Speculation;
use crate::serving::shape::Windowed;
use crate::serving::stack::Batching;

/// What an engine does of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    Both,
    /// Its prompt, whose keys and values it hands on.
    Prompts,
    /// What comes after the prompt.
    Decodes,
}

/// What an engine is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// What it does of a request.
    pub role: Role,
    /// Which model of the cluster it serves.
    pub model: u16,
    /// How batches are formed.
    pub batching: Batching,
    /// Whether room for the whole answer is reserved.
    pub reserve_output: bool,
    /// Most tokens of an iteration.
    pub max_tokens: u64,
    /// Most running requests.
    pub max_sequences: u64,
    /// Tokens of a block.
    pub block_tokens: u64,
    /// Blocks of the cache.
    pub blocks: u64,
    /// Whether a batch is formed while one runs.
    pub lag: bool,
    /// Iterations that prompts wait for company.
    pub wait_iterations: u64,
    /// Tokens that end the wait.
    pub wait_tokens: u64,
    /// Decode iterations between looks at arrivals.
    pub read_interval: u64,
    /// Iterations that prompts wait until every data-parallel rank has one.
    pub balance_iterations: u64,
    /// Seconds of a request, and of a token of its answer, in the process before the engine.
    pub front: (f64, f64),
    /// Whether prompts are looked up in the prefix cache.
    pub prefix_cache: bool,
    /// Guesses of a draft layer.
    pub speculation: Option<Speculation>,
    /// Seconds that a block takes to host memory or back; absent: what is put back is computed again.
    pub swap: Option<f64>,
    /// What requests keep in layers with a window: set aside for each when it is admitted, for its whole length or the window.
    pub windowed: Option<Windowed>,
}

impl Limits {
    /// Blocks of some tokens in the layers that keep them to the end.
    pub(in crate::serving) fn lasting(&self, tokens: u64) -> u64 {
        if self.windowed.is_some_and(|w| w.alone) { 0 } else { tokens.div_ceil(self.block_tokens) }
    }

    /// Blocks that a request of `tokens` in all takes in layers with a window.
    pub(in crate::serving) fn near(&self, tokens: u64) -> u64 {
        self.windowed.map_or(0, |w| (tokens.min(w.tokens) as f64 * w.share / self.block_tokens as f64).ceil() as u64)
    }
}
