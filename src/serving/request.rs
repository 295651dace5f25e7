//! Requests: what comes in, and what became of each.

/// A request as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Request {
    /// Arrival, seconds. In a closed loop the moment is set when a slot is free.
    pub arrival: f64,
    /// Prompt tokens.
    pub input: u32,
    /// Tokens to generate.
    pub output: u32,
    /// Session that it belongs to; `NO_SESSION` for none.
    pub session: u32,
    /// Hashes of the prompt's blocks: first and one past the last in [`Requests::hashes`].
    pub hashes: (u32, u32),
}

/// The session of a request without one.
pub const NO_SESSION: u32 = u32::MAX;

/// Requests in order of arrival, with the hashes of their prompts' blocks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Requests {
    /// The requests.
    pub list: Vec<Request>,
    /// Hashes of prompt blocks: equal hashes mean equal prompts up to the end of the block.
    pub hashes: Vec<u64>,
    /// Tokens of a hashed block (0: no hashes).
    pub hash_tokens: u32,
    /// Which requests are urgent; empty where none is.
    pub urgent: Vec<bool>,
    /// Which model of the cluster each is for; empty where all are for the first.
    pub models: Vec<u16>,
    /// Whether the hashes go on over the answer, with which later prompts of the same session begin.
    pub answers: bool,
    /// For each request the next of its session and the pause before it, seconds; empty where sessions have no turns that wait for each
    /// other. Requests that wait arrive at infinity and come after all others.
    pub turns: Vec<Turn>,
}

/// What follows a request in its session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// The next request; none at the end of a session.
    pub next: Option<u32>,
    /// Seconds between the answer and the next request.
    pub pause: f64,
}

impl Requests {
    /// Whether a request goes before others.
    #[must_use]
    pub fn is_urgent(&self, id: u32) -> bool {
        self.urgent.get(id as usize).is_some_and(|u| *u)
    }
    /// Draws which requests are urgent: a share of all.
    pub fn mark_urgent(&mut self, share: f64, streams: &crate::engine::Streams) {
        let mut rng = streams.stream("urgent requests");
        self.urgent = self.list.iter().map(|_| super::lengths::uniform(&mut rng) < share).collect();
    }
    /// Which model a request is for.
    #[must_use]
    pub fn model_of(&self, id: u32) -> u16 {
        self.models.get(id as usize).copied().unwrap_or(0)
    }
    /// Draws which model each request is for: each further one gets its share of them, the first the rest. A session stays with a model.
    pub fn mark_models(&mut self, shares: &[f64], streams: &crate::engine::Streams) {
        let mut rng = streams.stream("models of requests");
        self.models = vec![u16::MAX; self.list.len()];
        for first in 0..self.list.len() {
            let mut at = super::lengths::uniform(&mut rng);
            let mut model = 0;
            for (i, share) in shares.iter().enumerate() {
                at -= share;
                if at < 0.0 {
                    model = i as u16 + 1;
                    break;
                }
            }
            let mut next = Some(first as u32);
            while let Some(id) = next.filter(|&id| self.models[id as usize] == u16::MAX) {
                self.models[id as usize] = model;
                next = self.turns.get(id as usize).and_then(|t| t.next);
            }
        }
    }
    /// Adds the requests of another open stream, all for one model and without prefixes in common with others; in order of arrival.
    pub fn join(&mut self, other: &Self, model: u16) {
        let mut all: Vec<(Request, u16)> = self.list.iter().enumerate().map(|(i, r)| (*r, self.model_of(i as u32))).collect();
        all.extend(other.list.iter().map(|r| (Request { hashes: (0, 0), session: NO_SESSION, ..*r }, model)));
        all.sort_by(|a, b| a.0.arrival.total_cmp(&b.0.arrival));
        self.list = all.iter().map(|r| r.0).collect();
        self.models = all.iter().map(|r| r.1).collect();
    }
    /// The hashes of one request's prompt.
    #[must_use]
    pub fn hashes_of(&self, request: &Request) -> &[u64] {
        &self.hashes[request.hashes.0 as usize..request.hashes.1 as usize]
    }
}

/// What became of a request; times in seconds, infinite for what did not happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// When it was sent.
    pub arrival: f64,
    /// When its prompt first ran.
    pub scheduled: f64,
    /// When its first token was there.
    pub first: f64,
    /// When its keys and values were at the engine that decodes it, where that is another one.
    pub moved: f64,
    /// When its last token was there.
    pub last: f64,
    /// Prompt tokens found in the prefix cache when it was admitted first.
    pub cached: u32,
    /// Of these, tokens that a tier outside device memory held.
    pub loaded: u32,
    /// How often it was put back.
    pub preemptions: u16,
    /// Replica that served it.
    pub replica: u16,
}

impl Record {
    pub(super) const fn new(arrival: f64) -> Self {
        let never = f64::INFINITY;
        Self { arrival, scheduled: never, first: never, moved: never, last: never, cached: 0, loaded: 0, preemptions: 0, replica: u16::MAX }
    }
    /// Whether the last token came.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.last < f64::INFINITY
    }
    /// Time to first token: first token − sent.
    #[must_use]
    pub const fn ttft(&self) -> f64 {
        self.first - self.arrival
    }
    /// Time from sending to the last token.
    #[must_use]
    pub const fn e2e(&self) -> f64 {
        self.last - self.arrival
    }
    /// Time per output token after the first: (last − first) ÷ (tokens − 1); none for a single token.
    #[must_use]
    pub fn tpot(&self, output: u32) -> Option<f64> {
        (output > 1).then(|| (self.last - self.first) / f64::from(output - 1))
    }
}
