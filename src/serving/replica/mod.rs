//! One engine: its queue, its running requests, its cache blocks, and the batches that it forms.
//!
//! A decode iteration in which nobody comes or goes costs the same however many requests run: all of them gain one token, so ends are kept
//! by step number, needs for a new block by the phase in which a request reaches the end of one, and the context as a sum.

mod blocks;
mod ends;
mod form;
mod handover;
mod limits;
mod live;

use super::cost::Batch;
use super::gaps::Gaps;
use super::prefix::PrefixCache;
use super::request::{Record, Requests};
use super::series::Series;
use super::stack::Batching;
use rand_pcg::Pcg64Mcg;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

pub use limits::{Limits, Role};
pub(super) use live::Live;
use live::Stage;

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
}
