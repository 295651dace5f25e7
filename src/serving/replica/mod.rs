//! One engine: its queue, its running requests, its cache blocks, and the batches that it forms.
//!
//! A decode iteration in which nobody comes or goes costs the same however many requests run: all of them gain one token, so ends are kept
//! by step number, needs for a new block by the phase in which a request reaches the end of one, and the context as a sum.

mod blocks;
mod form;
mod handover;

use super::cost::Batch;
use super::deployment::Speculation;
use super::gaps::Gaps;
use super::lengths::uniform;
use super::prefix::PrefixCache;
use super::request::{Record, Requests};
use super::series::Series;
use super::shape::Windowed;
use super::stack::Batching;
use rand_pcg::Pcg64Mcg;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

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
    pub(super) fn lasting(&self, tokens: u64) -> u64 {
        if self.windowed.is_some_and(|w| w.alone) { 0 } else { tokens.div_ceil(self.block_tokens) }
    }

    /// Blocks that a request of `tokens` in all takes in layers with a window.
    pub(super) fn near(&self, tokens: u64) -> u64 {
        self.windowed.map_or(0, |w| (tokens.min(w.tokens) as f64 * w.share / self.block_tokens as f64).ceil() as u64)
    }
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
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
pub(super) struct Live {
    stage: Stage,
    /// Raised at every admission: older entries of the lists are void.
    epoch: u32,
    /// Tokens to run before the next one can be generated: prompt, and after preemption what was generated.
    target: u32,
    /// Tokens of them in the cache.
    done: u32,
    /// Tokens generated (at the start of decoding; later the step counter holds the rest).
    generated: u32,
    /// Step at which decoding started.
    joined: u64,
    /// Blocks of its own.
    own: u32,
    /// Hashed blocks that it shares.
    shared: u32,
    /// Tokens that it gains in a decode step on average (1 without speculation).
    pace: f64,
    /// When its last token came, where the engine's own mark does not hold.
    token_at: f64,
    /// Whether its keys and values are in host memory.
    swapped: bool,
}

impl Live {
    pub(super) const fn new() -> Self {
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
    pub(super) const fn generated(&self) -> u32 {
        self.generated
    }
    /// When its last token came.
    pub(super) const fn token_at(&self) -> f64 {
        self.token_at
    }
    /// Back at the start, with tokens that had been generated elsewhere.
    pub(super) const fn resume(&mut self, generated: u32, token_at: f64) {
        self.stage = Stage::Waiting;
        (self.done, self.own, self.shared) = (0, 0, 0);
        (self.generated, self.token_at) = (generated, token_at);
    }

    /// Tokens of the prompt that are in the cache.
    pub(super) const fn done(&self) -> u32 {
        self.done
    }
}

/// What all engines of a deployment share while they run.
pub(super) struct Shared<'a> {
    pub(super) requests: &'a Requests,
    pub(super) records: &'a mut [Record],
    pub(super) live: &'a mut [Live],
    pub(super) rng: &'a mut Pcg64Mcg,
    pub(super) gaps: &'a mut Gaps,
    pub(super) series: &'a mut Series,
    /// Requests that ended in this iteration.
    pub(super) ended: &'a mut Vec<u32>,
    /// Requests whose prompts ended here and that go on elsewhere.
    pub(super) handed: &'a mut Vec<u32>,
    /// Requests with prompt blocks that are new in the prefix cache: from and to which.
    pub(super) kept: &'a mut Vec<(u32, u32, u32)>,
}

/// One engine.
pub(super) struct Replica {
    limits: Limits,
    number: u16,
    /// Arrived requests that the engine has not read.
    inbox: VecDeque<(u32, f64)>,
    waiting: VecDeque<u32>,
    /// Requests whose keys and values have come, and when their last token did.
    joining: Vec<(u32, f64)>,
    /// Whether a router may send it anything.
    pub(super) open: bool,
    /// Whether it takes no keys and values from engines of prompts.
    pub(super) closed: bool,
    /// Prompts that are through and not all handed on.
    handing: u64,
    /// Running requests with unfinished prompts.
    prefilling: Vec<u32>,
    /// All running requests in order of admission, with entries that are void.
    order: Vec<(u32, u32)>,
    running: u64,
    decoding: u64,
    context: u64,
    /// Tokens a step of all decodes above one each, and what they have added to the context.
    extra_pace: f64,
    extra_context: f64,
    step: u64,
    ends: BinaryHeap<Reverse<(u64, u32, u32)>>,
    phases: Vec<u64>,
    used: u64,
    cache: PrefixCache,
    hash_blocks: u64,
    /// Requests whose last token came at a time of its own.
    fresh: Vec<(u32, u32, f64)>,
    decoded_at: f64,
    chunks: Vec<(u32, u32)>,
    decodes_now: bool,
    /// Whether the decodes have got the blocks of this iteration.
    grown: bool,
    batch_start: f64,
    waited: u64,
    /// Whether other ranks have no prompt yet.
    pub(super) hold: bool,
    unread_steps: u64,
    /// Requests of a static batch.
    batch_size: u64,
    /// Urgent requests at the head of the queue.
    urgent: usize,
    /// Seconds that blocks take to host memory and back before the next iteration.
    swap_s: f64,
    /// Prompt and answer tokens of requests that were sent here and have not ended.
    pub(super) outstanding: u64,
    /// Requests that were sent here and have not ended.
    pub(super) present: u64,
    pub(super) busy_s: f64,
    pub(super) iterations: u64,
    pub(super) preemptions: u64,
    pub(super) peak_blocks: u64,
}

impl Replica {
    pub(super) fn new(number: u16, limits: Limits, hash_tokens: u32) -> Self {
        Self {
            limits,
            number,
            inbox: VecDeque::new(),
            waiting: VecDeque::new(),
            joining: Vec::new(),
            open: true,
            closed: false,
            handing: 0,
            prefilling: Vec::new(),
            order: Vec::new(),
            running: 0,
            decoding: 0,
            context: 0,
            extra_pace: 0.0,
            extra_context: 0.0,
            step: 0,
            ends: BinaryHeap::new(),
            phases: vec![0; limits.block_tokens as usize],
            used: 0,
            cache: PrefixCache::default(),
            hash_blocks: u64::from(hash_tokens) / limits.block_tokens,
            fresh: Vec::new(),
            decoded_at: f64::NEG_INFINITY,
            chunks: Vec::new(),
            decodes_now: false,
            grown: false,
            batch_start: f64::NEG_INFINITY,
            waited: 0,
            hold: false,
            unread_steps: 0,
            batch_size: 0,
            urgent: 0,
            swap_s: 0.0,
            outstanding: 0,
            present: 0,
            busy_s: 0.0,
            iterations: 0,
            preemptions: 0,
            peak_blocks: 0,
        }
    }

    /// Prompt tokens that the cache holds of a request.
    pub(super) fn cached(&self, requests: &Requests, id: u32) -> u64 {
        let request = &requests.list[id as usize];
        let found = self.cache.matching(requests.hashes_of(request)) as u64 * u64::from(requests.hash_tokens);
        found.min(u64::from(request.input).saturating_sub(1))
    }

    /// Takes in a request that was expected.
    pub(super) fn deliver(&mut self, id: u32, now: f64) {
        self.inbox.push_back((id, now));
    }

    /// Counts a request that is sent here.
    pub(super) fn expect(&mut self, id: u32, requests: &Requests) {
        self.outstanding += self.work(id, requests);
        self.present += 1;
    }

    /// Tokens of a request that this engine computes or holds.
    fn work(&self, id: u32, requests: &Requests) -> u64 {
        let request = &requests.list[id as usize];
        u64::from(request.input) + if self.limits.role == Role::Prompts { 0 } else { u64::from(request.output) }
    }

    /// Whether a router may send it requests for a model.
    pub(super) const fn serves(&self, model: u16) -> bool {
        self.open && self.limits.model == model
    }

    /// What it does of a request.
    pub(super) const fn role(&self) -> Role {
        self.limits.role
    }

    /// Whether nobody is here, nor keys and values to be handed on.
    pub(super) const fn is_empty(&self) -> bool {
        self.present == 0 && self.handing == 0
    }

    /// Blocks of its cache.
    pub(super) const fn block_count(&self) -> u64 {
        self.limits.blocks
    }

    /// Requests that are here and do not run.
    pub(super) const fn queued(&self) -> u64 {
        self.present.saturating_sub(self.running)
    }

    /// Seconds that the iteration waits for blocks to and from host memory.
    pub(super) const fn take_swap(&mut self) -> f64 {
        std::mem::replace(&mut self.swap_s, 0.0)
    }

    /// Share of the blocks that requests and cached prompts in use hold.
    pub(super) fn use_share(&self) -> f64 {
        self.used as f64 / self.limits.blocks as f64
    }

    /// Forms the next batch at `now`, or nothing to do.
    pub(super) fn form(&mut self, now: f64, s: &mut Shared<'_>) -> Option<Batch> {
        self.read(now, s.requests);
        self.join(s);
        self.swap_in(s);
        self.chunks.clear();
        self.decodes_now = false;
        self.grown = false;
        match self.limits.batching {
            Batching::Chunked => self.form_chunked(s),
            Batching::Whole => self.form_whole(s),
            Batching::Separate => self.form_separate(s),
            Batching::Static => self.form_static(s),
        }
        self.grown = false;
        (!self.chunks.is_empty() || self.decodes_now).then(|| self.batch(s))
    }

    /// Notes that the formed batch runs from `now` to `end` and keeps the engine busy for `work` seconds of it.
    pub(super) fn launch(&mut self, now: f64, end: f64, work: f64, s: &mut Shared<'_>) {
        self.peak_blocks = self.peak_blocks.max(self.limits.blocks - self.free());
        for &(id, _) in &self.chunks {
            let record = &mut s.records[id as usize];
            if record.scheduled == f64::INFINITY {
                record.scheduled = now;
            }
        }
        self.batch_start = now;
        self.busy_s += work;
        self.iterations += 1;
        let held = (self.limits.blocks - self.free()) as f64 / self.limits.blocks as f64;
        s.series.engine(now, end, self.running as f64, self.queued() as f64, held);
    }

    /// Ends the running batch at `now`.
    pub(super) fn end(&mut self, now: f64, s: &mut Shared<'_>) {
        let mut tokens = 0.0;
        if self.decodes_now {
            tokens += self.decoding as f64 + self.extra_pace;
            self.end_decodes(now, s);
        }
        self.unread_steps = if self.chunks.is_empty() { self.unread_steps + 1 } else { self.limits.read_interval };
        let mut prompt_tokens = 0;
        let chunks = std::mem::take(&mut self.chunks);
        for &(id, chunk) in &chunks {
            prompt_tokens += u64::from(chunk);
            let live = &mut s.live[id as usize];
            live.done += chunk;
            if live.done == live.target {
                tokens += 1.0;
                self.end_prompt(id, now, s);
            }
        }
        self.chunks = chunks;
        if !self.chunks.is_empty() {
            self.prefilling.retain(|&p| s.live[p as usize].stage == Stage::Prefill);
        }
        if self.order.len() > 64 && self.order.len() as u64 > 4 * self.running {
            self.order.retain(|&(id, epoch)| {
                let live = &s.live[id as usize];
                live.epoch == epoch && matches!(live.stage, Stage::Prefill | Stage::Receiving | Stage::Decode)
            });
        }
        s.series.tokens(now, tokens, prompt_tokens);
    }

    fn end_decodes(&mut self, now: f64, s: &mut Shared<'_>) {
        let fresh = self.fresh.len() as u64;
        if self.decoding > fresh {
            s.gaps.push(self.decoded_at, now, self.decoding - fresh);
        }
        for (_, _, at) in self.fresh.drain(..) {
            s.gaps.push(at, now, 1);
        }
        self.decoded_at = now;
        self.step += 1;
        self.context += self.decoding;
        self.extra_context += self.extra_pace;
        while let Some(&Reverse((step, id, epoch))) = self.ends.peek() {
            if step > self.step {
                break;
            }
            self.ends.pop();
            let live = s.live[id as usize];
            if live.epoch == epoch && live.stage == Stage::Decode {
                self.leave_decode(&live);
                self.finish(id, now, s);
            }
        }
    }

    /// A prompt is through: its first (or after preemption its next) token is there.
    fn end_prompt(&mut self, id: u32, now: f64, s: &mut Shared<'_>) {
        self.keep_prompt(id, s);
        let request = &s.requests.list[id as usize];
        let live = &mut s.live[id as usize];
        if live.generated == 0 {
            s.records[id as usize].first = now;
        } else {
            s.gaps.push(live.token_at, now, 1);
        }
        live.generated += 1;
        live.token_at = now;
        if live.generated >= request.output {
            self.finish(id, now, s);
        } else if self.limits.role == Role::Prompts {
            self.hand_on(id, s);
        } else {
            self.decode(id, now, now, s);
        }
    }

    /// A request decodes from `now` on; its last token came at `token_at`.
    fn decode(&mut self, id: u32, now: f64, token_at: f64, s: &mut Shared<'_>) {
        let request = &s.requests.list[id as usize];
        let live = &mut s.live[id as usize];
        live.joined = self.step;
        live.stage = Stage::Decode;
        let rest = u64::from(request.output.saturating_sub(live.generated));
        let mut steps = rest;
        if let Some(speculation) = self.limits.speculation {
            steps = steps_of(rest, speculation, s.rng);
            live.pace = rest as f64 / steps as f64;
            // Tokens that come together have no time between them.
            s.gaps.push(now, now, rest - steps);
        }
        let live = *live;
        self.extra_pace += live.pace - 1.0;
        self.decoding += 1;
        self.context += u64::from(live.target);
        let phase = self.phase(&live);
        self.phases[phase] += 1;
        self.ends.push(Reverse((self.step + steps, id, live.epoch)));
        if token_at != self.decoded_at {
            self.fresh.push((id, live.epoch, token_at));
        }
    }

    fn finish(&mut self, id: u32, now: f64, s: &mut Shared<'_>) {
        self.keep_answer(id, s);
        let live = s.live[id as usize];
        self.give_back(id, &live, s);
        s.live[id as usize].stage = Stage::Done;
        self.running -= 1;
        self.outstanding -= self.work(id, s.requests);
        self.present -= 1;
        let record = &mut s.records[id as usize];
        record.last = now;
        record.replica = self.number;
        s.ended.push(id);
    }
}

/// Decode steps of an answer: each gives one token and the guesses up to the first wrong one.
fn steps_of(mut rest: u64, speculation: Speculation, rng: &mut Pcg64Mcg) -> u64 {
    let mut steps = 0;
    while rest > 0 {
        let right = (0..speculation.drafts).take_while(|_| uniform(rng) < speculation.acceptance).count() as u64;
        rest = rest.saturating_sub(1 + right);
        steps += 1;
    }
    steps
}
