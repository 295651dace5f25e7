//! The blocks of a replica's cache: who gets them, who has to give them back.

use super::{Live, Replica, Role, Shared, Stage};

impl Replica {
    pub(super) fn free(&self) -> u64 {
        self.limits.blocks - self.used - self.cache.len() * self.hash_blocks
    }

    /// Makes room for blocks by dropping unused prompts; whether it is there.
    pub(super) fn make_room(&mut self, blocks: u64) -> bool {
        let free = self.free();
        if free >= blocks {
            return true;
        }
        if self.hash_blocks == 0 || free + self.cache.unused() * self.hash_blocks < blocks {
            return false;
        }
        self.cache.evict((blocks - free).div_ceil(self.hash_blocks));
        true
    }

    /// Gives the decodes their blocks, putting the youngest requests back until there is room.
    pub(super) fn grow_decodes(&mut self, s: &mut Shared<'_>) {
        let grows = self.limits.windowed.is_none_or(|w| !w.alone);
        if !self.limits.reserve_output && grows {
            loop {
                let need = self.phases[(self.step % self.limits.block_tokens) as usize];
                if need == 0 {
                    break;
                }
                if self.make_room(need) {
                    self.used += need;
                    break;
                }
                self.preempt(s);
            }
            self.grown = true;
        }
        self.decodes_now = self.decoding > 0;
    }

    /// Gives a running prompt the blocks of its next chunk; false where it was put back itself.
    pub(super) fn grow_prompt(&mut self, id: u32, chunk: u64, s: &mut Shared<'_>) -> bool {
        loop {
            let live = s.live[id as usize];
            if live.stage != Stage::Prefill {
                return false;
            }
            if self.limits.reserve_output {
                return true;
            }
            let held = u64::from(live.own) + u64::from(live.shared) * self.hash_blocks;
            let need = (self.limits.lasting(u64::from(live.done) + chunk) + self.near_of(id, s)).saturating_sub(held);
            if self.make_room(need) {
                self.used += need;
                s.live[id as usize].own += need as u32;
                return true;
            }
            self.preempt(s);
        }
    }

    /// Puts the youngest running request back to the head of the queue: its tokens are computed again.
    fn preempt(&mut self, s: &mut Shared<'_>) {
        // Those whose keys and values are under way stay.
        let mut kept = Vec::new();
        while let Some((id, epoch)) = self.order.pop() {
            let live = s.live[id as usize];
            if live.epoch != epoch || live.stage == Stage::Done || live.stage == Stage::Waiting {
                continue;
            }
            // Urgent requests are put back when no other is left.
            let spared = s.requests.is_urgent(id)
                && self.order.iter().any(|&(o, e)| {
                    let other = s.live[o as usize];
                    other.epoch == e && matches!(other.stage, Stage::Prefill | Stage::Decode) && !s.requests.is_urgent(o)
                });
            if live.stage == Stage::Receiving || spared {
                kept.push((id, epoch));
                continue;
            }
            self.order.extend(kept.drain(..).rev());
            let mut generated = live.generated;
            let mut token_at = live.token_at;
            if live.stage == Stage::Decode {
                generated += (self.step - live.joined) as u32;
                token_at = self.decoded_at;
                if let Some(at) = self.fresh.iter().position(|f| f.0 == id && f.1 == epoch) {
                    token_at = self.fresh.swap_remove(at).2;
                }
                self.leave_decode(&live);
            } else {
                self.prefilling.retain(|&p| p != id);
                self.chunks.retain(|c| c.0 != id);
            }
            let before = self.used;
            self.give_back(id, &live, s);
            let swap = self.limits.swap.filter(|_| live.stage == Stage::Decode && live.shared == 0);
            let live = &mut s.live[id as usize];
            live.stage = Stage::Waiting;
            live.generated = generated;
            live.token_at = token_at;
            live.done = 0;
            if let Some(block) = swap {
                live.swapped = true;
                self.swap_s += (before - self.used) as f64 * block;
            }
            s.records[id as usize].preemptions = s.records[id as usize].preemptions.saturating_add(1);
            self.preemptions += 1;
            self.running -= 1;
            let urgent = s.requests.is_urgent(id);
            self.queue_first(id, urgent);
            return;
        }
        self.order.extend(kept.into_iter().rev());
    }

    /// Takes a request out of the sums of the decodes.
    pub(super) fn leave_decode(&mut self, live: &Live) {
        self.decoding -= 1;
        self.context -= u64::from(live.target) + (self.step - live.joined);
        self.extra_pace -= live.pace - 1.0;
        self.extra_context -= (live.pace - 1.0) * (self.step - live.joined) as f64;
        let phase = self.phase(live);
        self.phases[phase] -= 1;
    }

    /// The remainder of steps in which a decoding request starts a new block.
    pub(super) const fn phase(&self, live: &Live) -> usize {
        let block = self.limits.block_tokens;
        ((live.joined % block + block - live.target as u64 % block) % block) as usize
    }

    /// Gives the blocks of a request back; shared ones stay in the cache.
    pub(super) fn give_back(&mut self, id: u32, live: &Live, s: &Shared<'_>) {
        let mut own = u64::from(live.own);
        if live.stage == Stage::Decode && !self.limits.reserve_output {
            let tokens = u64::from(live.target) + (self.step - live.joined) + u64::from(self.grown);
            let held = self.limits.lasting(tokens) + self.near_of(id, s);
            own = held.saturating_sub(u64::from(live.shared) * self.hash_blocks);
        }
        self.used -= own;
        let request = &s.requests.list[id as usize];
        self.cache.release(&s.requests.hashes_of(request)[..live.shared as usize]);
    }

    /// Puts the full blocks of a prompt that has run into the prefix cache.
    pub(super) fn keep_prompt(&mut self, id: u32, s: &mut Shared<'_>) {
        if !self.limits.prefix_cache || self.hash_blocks == 0 {
            return;
        }
        let from = s.live[id as usize].shared;
        let to = self.keep(id, s.requests.list[id as usize].input, s);
        if to > from {
            s.kept.push((id, from, to));
        }
    }

    /// Puts the full blocks of an answer into the prefix cache, where later prompts may begin with it.
    pub(super) fn keep_answer(&mut self, id: u32, s: &mut Shared<'_>) {
        if s.requests.answers && self.limits.prefix_cache && self.hash_blocks > 0 && self.limits.role == Role::Both {
            let request = &s.requests.list[id as usize];
            // The last token has no keys and values yet.
            self.keep(id, request.input + request.output - 1, s);
        }
    }

    /// Shares the full blocks of the first `tokens` of a request; up to which one it shares then.
    fn keep(&mut self, id: u32, tokens: u32, s: &mut Shared<'_>) -> u32 {
        let hashes = s.requests.hashes_of(&s.requests.list[id as usize]);
        let live = &mut s.live[id as usize];
        let full = (tokens / s.requests.hash_tokens) as usize;
        let (from, to) = (live.shared as usize, full.min(hashes.len()));
        if to > from {
            let blocks = (to - from) as u64 * self.hash_blocks;
            self.cache.add(&hashes[from..to]);
            self.used -= blocks;
            // While it decodes without reserved room, its own blocks follow from its length.
            live.own = live.own.saturating_sub(blocks as u32);
            live.shared = to as u32;
        }
        live.shared
    }

    /// Whether the cache could ever hold a request.
    pub(in crate::serving) fn can_hold(&self, input: u32, output: u32) -> bool {
        self.blocks_of(input, output) <= self.limits.blocks
    }

    /// Blocks of a request's prompt and, where this engine decodes, answer.
    pub(super) fn blocks_of(&self, input: u32, output: u32) -> u64 {
        let answer =
            if self.limits.role == Role::Prompts { 0 } else { u64::from(output) + self.limits.speculation.map_or(0, |s| s.drafts) };
        let tokens = u64::from(input) + answer;
        self.limits.lasting(tokens) + self.limits.near(tokens)
    }

    /// Blocks that a request takes in layers with a window.
    pub(super) fn near_of(&self, id: u32, s: &Shared<'_>) -> u64 {
        let request = &s.requests.list[id as usize];
        self.limits.near(u64::from(request.input) + u64::from(request.output))
    }

    /// Blocks that requests hold, cached prompts left out.
    pub(in crate::serving) const fn held(&self) -> u64 {
        self.used
    }
}
