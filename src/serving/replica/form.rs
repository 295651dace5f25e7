//! How a replica forms the batch of an iteration, by policy.

use super::{Batching, Replica, Role, Shared, Stage};
use crate::serving::cost::Batch;
use crate::serving::request::Requests;

impl Replica {
    /// Moves what the engine may see from the inbox into its queue.
    pub(super) fn read(&mut self, now: f64, requests: &Requests) {
        let idle = self.running == 0 && self.waiting.is_empty();
        if !idle && self.unread_steps < self.limits.read_interval {
            return;
        }
        self.unread_steps = 0;
        let until = if self.limits.lag && !idle { self.batch_start } else { now };
        while let Some(&(id, at)) = self.inbox.front() {
            if at > until {
                break;
            }
            self.inbox.pop_front();
            if requests.is_urgent(id) {
                self.waiting.insert(self.urgent, id);
                self.urgent += 1;
            } else {
                self.waiting.push_back(id);
            }
        }
    }

    /// Whether it has a prompt to run at `now`, and whether it decodes.
    pub(in crate::serving) fn looks(&mut self, now: f64, requests: &Requests) -> (bool, bool) {
        self.read(now, requests);
        (!self.waiting.is_empty() && self.running < self.limits.max_sequences, self.decoding > 0)
    }

    pub(super) fn batch(&self, s: &Shared<'_>) -> Batch {
        let mut batch = Batch { width: 1 + self.limits.speculation.map_or(0, |s| s.drafts), ..Batch::default() };
        if self.decodes_now {
            batch.decodes = if self.limits.batching == Batching::Static { self.batch_size } else { self.decoding };
            batch.context = self.context + self.decoding + self.extra_context.max(0.0) as u64;
        }
        for &(id, chunk) in &self.chunks {
            let live = &s.live[id as usize];
            let (done, chunk) = (f64::from(live.done), f64::from(chunk));
            batch.chunks += 1;
            batch.chunk_tokens += chunk as u64;
            batch.chunk_pairs += chunk * (done + 0.5 * chunk);
            batch.finished += u64::from(live.done + chunk as u32 == live.target);
        }
        batch
    }

    /// Decodes first, then unfinished prompts, then new ones, until the budget is used up.
    pub(super) fn form_chunked(&mut self, s: &mut Shared<'_>) {
        let before = self.preemptions;
        self.grow_decodes(s);
        let mut budget = self.limits.max_tokens.saturating_sub(self.decoding);
        let mut at = 0;
        while at < self.prefilling.len() && budget > 0 {
            let id = self.prefilling[at];
            let live = s.live[id as usize];
            let chunk = u64::from(live.target - live.done).min(budget);
            if self.grow_prompt(id, chunk, s) {
                self.chunks.push((id, chunk as u32));
                budget -= chunk;
                at += 1;
            }
        }
        if self.preemptions > before {
            return;
        }
        while budget > 0 && self.running < self.limits.max_sequences {
            let Some(&id) = self.waiting.front() else { break };
            if s.live[id as usize].swapped {
                break;
            }
            let found = self.look_up(id, s);
            let target = self.target(id, s);
            let chunk = (target - found).min(budget);
            if !self.admit(id, found, self.limits.lasting(found + chunk) + self.near_of(id, s), s) {
                break;
            }
            self.chunks.push((id, chunk as u32));
            self.prefilling.push(id);
            budget -= chunk;
        }
    }

    /// Whole prompts beside the decodes; they may have to wait for company.
    pub(super) fn form_whole(&mut self, s: &mut Shared<'_>) {
        self.decodes_now = self.decoding > 0;
        if self.hold {
            return;
        }
        if self.waiting.is_empty() {
            self.waited = 0;
            return;
        }
        let budget = self.limits.max_tokens.saturating_sub(self.decoding);
        if self.decodes_now && self.limits.wait_iterations > 0 && self.running < self.limits.max_sequences {
            let mut pending = self.decoding;
            for &id in &self.waiting {
                pending += self.target(id, s);
                if pending >= self.limits.wait_tokens {
                    break;
                }
            }
            if pending < self.limits.wait_tokens && self.waited < self.limits.wait_iterations {
                self.waited += 1;
                return;
            }
        }
        self.waited = 0;
        self.admit_whole(budget, s);
    }

    /// A batch of prompts alone where any can run, else the decodes.
    pub(super) fn form_separate(&mut self, s: &mut Shared<'_>) {
        self.admit_whole(self.limits.max_tokens, s);
        if self.chunks.is_empty() {
            self.grow_decodes(s);
        }
    }

    /// A new batch when the last has ended; decodes until then.
    pub(super) fn form_static(&mut self, s: &mut Shared<'_>) {
        if self.running == 0 {
            self.admit_whole(u64::MAX, s);
            self.batch_size = self.chunks.len() as u64;
            return;
        }
        self.grow_decodes(s);
    }

    /// Admits whole prompts in order while they fit the budget; one that is larger than it runs alone.
    fn admit_whole(&mut self, mut budget: u64, s: &mut Shared<'_>) {
        while self.running < self.limits.max_sequences {
            let Some(&id) = self.waiting.front() else { break };
            if s.live[id as usize].swapped {
                break;
            }
            let found = self.look_up(id, s);
            let target = self.target(id, s);
            let chunk = target - found;
            if chunk > budget && !self.chunks.is_empty() {
                break;
            }
            if !self.admit(id, found, self.limits.lasting(target) + self.near_of(id, s), s) {
                break;
            }
            self.chunks.push((id, chunk as u32));
            self.prefilling.push(id);
            budget = budget.saturating_sub(chunk);
        }
    }

    /// Takes the head of the queue.
    pub(super) fn next_out(&mut self) {
        self.waiting.pop_front();
        self.urgent = self.urgent.saturating_sub(1);
    }

    /// Puts a request back to the head of the queue, behind urgent ones if it is not urgent.
    pub(super) fn queue_first(&mut self, id: u32, urgent: bool) {
        if urgent {
            self.waiting.push_front(id);
            self.urgent += 1;
        } else {
            self.waiting.insert(self.urgent, id);
        }
    }

    /// Brings requests back from host memory while there is room, a hundredth of the blocks kept free for those that run.
    pub(super) fn swap_in(&mut self, s: &mut Shared<'_>) {
        let Some(block) = self.limits.swap else { return };
        while let Some(&id) = self.waiting.front() {
            let live = s.live[id as usize];
            if !live.swapped || self.running >= self.limits.max_sequences {
                return;
            }
            let tokens = s.requests.list[id as usize].input + live.generated - 1;
            let blocks = u64::from(tokens).div_ceil(self.limits.block_tokens);
            let spare = if self.running == 0 { 0 } else { self.limits.blocks / 100 + self.decoding.min(8) };
            if !self.make_room(blocks + spare) {
                return;
            }
            self.next_out();
            self.used += blocks;
            self.swap_s += blocks as f64 * block;
            let live = &mut s.live[id as usize];
            live.swapped = false;
            live.epoch += 1;
            live.target = tokens;
            live.done = tokens;
            (live.own, live.shared) = (blocks as u32, 0);
            self.order.push((id, live.epoch));
            self.running += 1;
            let token_at = live.token_at;
            self.decode(id, token_at, token_at, s);
        }
    }

    /// Tokens that a waiting request has to run before its next one.
    fn target(&self, id: u32, s: &Shared<'_>) -> u64 {
        u64::from(s.requests.list[id as usize].input) + u64::from(s.live[id as usize].generated)
    }

    fn look_up(&self, id: u32, s: &Shared<'_>) -> u64 {
        if self.limits.prefix_cache { self.cached(s.requests, id) / self.limits.block_tokens * self.limits.block_tokens } else { 0 }
    }

    /// Admits a waiting request with `found` tokens from the cache, if `blocks` (all of the answer's, where those are reserved) have room.
    fn admit(&mut self, id: u32, found: u64, blocks: u64, s: &mut Shared<'_>) -> bool {
        let request = &s.requests.list[id as usize];
        let shared = if found == 0 { 0 } else { found.div_ceil(u64::from(s.requests.hash_tokens)) };
        let hashes = &s.requests.hashes_of(request)[..shared as usize];
        // What was generated before an engine was lost is part of the prompt.
        let input = request.input + if self.limits.role == Role::Prompts { s.live[id as usize].generated } else { 0 };
        let blocks = if self.limits.reserve_output { self.blocks_of(input, request.output) } else { blocks };
        self.cache.take(hashes);
        let own = blocks.saturating_sub(shared * self.hash_blocks);
        if !self.make_room(own) {
            self.cache.release(hashes);
            return false;
        }
        self.used += own;
        self.next_out();
        let live = &mut s.live[id as usize];
        if live.epoch == 0 {
            s.records[id as usize].cached = found as u32;
        }
        live.epoch += 1;
        live.stage = Stage::Prefill;
        live.target = request.input + live.generated;
        live.done = found as u32;
        live.own = own as u32;
        live.shared = shared as u32;
        self.order.push((id, live.epoch));
        self.running += 1;
        true
    }
}
