//! A request while it is in an engine.

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Prefill,
    /// Its blocks are there, its keys and values are under way.
    Receiving,
    Decode,
    /// Its prompt is through, its keys and values are not all handed on.
    Handed,
    Done,
}

/// A request in the engine.
#[derive(Debug, Clone, Copy)]
pub(in crate::serving) struct Live {
    pub(super) stage: Stage,
    /// Raised at every admission: older entries of the lists are void.
    pub(super) epoch: u32,
    /// Tokens to run before the next one can be generated: prompt, and after preemption what was generated.
    pub(super) target: u32,
    /// Tokens of them in the cache.
    pub(super) done: u32,
    /// Tokens generated (at the start of decoding; later the step counter holds the rest).
    pub(super) generated: u32,
    /// Step at which decoding started.
    pub(super) joined: u64,
    /// Blocks of its own.
    pub(super) own: u32,
    /// Hashed blocks that it shares.
    pub(super) shared: u32,
    /// Tokens that it gains in a decode step on average (1 without speculation).
    pub(super) pace: f64,
    /// When its last token came, where the engine's own mark does not hold.
    pub(super) token_at: f64,
    /// Whether its keys and values are in host memory.
    pub(super) swapped: bool,
}

impl Live {
    pub(in crate::serving) const fn new() -> Self {
        Self {
            stage: Stage::Waiting,
            epoch: 0,
            target: 0,
            done: 0,
            generated: 0,
            joined: 0,
            own: 0,
            shared: 0,
            pace: 1.0,
            token_at: f64::INFINITY,
            swapped: false,
        }
    }

    /// Tokens generated when it last began to decode or was put back.
    pub(in crate::serving) const fn generated(&self) -> u32 {
        self.generated
    }
    /// When its last token came.
    pub(in crate::serving) const fn token_at(&self) -> f64 {
        self.token_at
    }
    /// Back at the start, with tokens that had been generated elsewhere.
    pub(in crate::serving) const fn resume(&mut self, generated: u32, token_at: f64) {
        self.stage = Stage::Waiting;
        (self.done, self.own, self.shared) = (0, 0, 0);
        (self.generated, self.token_at) = (generated, token_at);
    }

    /// Tokens of the prompt that are in the cache.
    pub(in crate::serving) const fn done(&self) -> u32 {
        self.done
    }
}
