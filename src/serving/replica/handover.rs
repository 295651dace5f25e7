//! Requests that come from or go to other engines: room for keys and values that are under way, prompts that are handed on, all that
//! is lost with an engine.

use super::{Replica, Shared, Stage};

impl Replica {
    /// Makes room for a request whose prompt runs elsewhere; false where there is none now.
    ///
    /// `before` tokens had been generated when its prompt began to run (again).
    pub(in crate::serving) fn reserve(&mut self, id: u32, before: u32, s: &mut Shared<'_>) -> bool {
        if self.running >= self.limits.max_sequences {
            return false;
        }
        let request = &s.requests.list[id as usize];
        let prompt = u64::from(request.input + before).div_ceil(self.limits.block_tokens);
        let blocks = if self.limits.reserve_output { self.blocks_of(request.input, request.output) } else { prompt };
        if !self.make_room(blocks) {
            return false;
        }
        self.used += blocks;
        let live = &mut s.live[id as usize];
        live.epoch += 1;
        live.stage = Stage::Receiving;
        live.target = request.input + before;
        live.done = live.target;
        live.generated = before + 1;
        live.own = blocks as u32;
        live.shared = 0;
        self.order.push((id, live.epoch));
        self.running += 1;
        true
    }

    /// All keys and values of a request are here.
    pub(in crate::serving) fn receive(&mut self, id: u32, token_at: f64) {
        self.joining.push((id, token_at));
    }

    /// Lets requests decode whose keys and values have come.
    pub(super) fn join(&mut self, s: &mut Shared<'_>) {
        let joining = std::mem::take(&mut self.joining);
        for &(id, token_at) in &joining {
            self.decode(id, token_at, token_at, s);
        }
        self.joining = joining;
        self.joining.clear();
    }

    /// A prompt is through and its keys and values go elsewhere: it keeps its blocks until they are there.
    pub(super) fn hand_on(&mut self, id: u32, s: &mut Shared<'_>) {
        s.live[id as usize].stage = Stage::Handed;
        self.handing += 1;
        self.running -= 1;
        self.outstanding -= self.work(id, s.requests);
        self.present -= 1;
        s.handed.push(id);
    }

    /// Keys and values of a prompt have been handed on.
    pub(in crate::serving) fn let_go(&mut self, id: u32, s: &mut Shared<'_>) {
        let live = s.live[id as usize];
        self.give_back(id, &live, s);
        self.handing -= 1;
        s.live[id as usize].stage = Stage::Done;
    }

    /// A request whose prompt was lost elsewhere does not come: room that was reserved for it is free again.
    pub(in crate::serving) fn forget(&mut self, id: u32, reserved: bool, s: &mut Shared<'_>) {
        if reserved {
            let live = s.live[id as usize];
            self.give_back(id, &live, s);
            s.live[id as usize].stage = Stage::Waiting;
            self.running -= 1;
        }
        self.outstanding -= self.work(id, s.requests);
        self.present -= 1;
    }

    /// Requests with chunks in the running batch, tokens of each before and in it.
    pub(in crate::serving) fn chunks_now(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.chunks.iter().copied()
    }

    /// The engine is lost with all keys and values: its requests, in order of admission and then of arrival, with what they have generated.
    pub(in crate::serving) fn lose(&mut self, s: &mut Shared<'_>) -> Vec<u32> {
        let mut lost = Vec::new();
        // Those whose keys and values had come; of those under way the prompts' engines know.
        for &(id, token_at) in &self.joining {
            s.live[id as usize].token_at = token_at;
        }
        for (id, epoch) in std::mem::take(&mut self.order) {
            let live = s.live[id as usize];
            if live.epoch == epoch && live.stage == Stage::Receiving {
                s.live[id as usize].stage = Stage::Waiting;
                if self.joining.iter().any(|j| j.0 == id) {
                    s.records[id as usize].preemptions = s.records[id as usize].preemptions.saturating_add(1);
                    lost.push(id);
                }
            }
            if live.epoch != epoch || !matches!(live.stage, Stage::Prefill | Stage::Decode) {
                continue;
            }
            let before = self.fresh.iter().find(|f| f.0 == id && f.1 == epoch).map_or(self.decoded_at, |f| f.2);
            let now = &mut s.live[id as usize];
            if live.stage == Stage::Decode {
                now.generated += (self.step - live.joined) as u32;
                now.token_at = before;
            }
            now.stage = Stage::Waiting;
            (now.done, now.own, now.shared, now.swapped) = (0, 0, 0, false);
            s.records[id as usize].preemptions = s.records[id as usize].preemptions.saturating_add(1);
            lost.push(id);
        }
        for &id in &self.waiting {
            s.live[id as usize].swapped = false;
        }
        lost.extend(self.waiting.drain(..));
        lost.extend(self.inbox.drain(..).map(|i| i.0));
        let (open, closed) = (self.open, self.closed);
        let kept = (self.busy_s, self.iterations, self.preemptions, self.peak_blocks);
        *self = Self::new(self.number, self.limits, (self.hash_blocks * self.limits.block_tokens) as u32);
        (self.open, self.closed) = (open, closed);
        (self.busy_s, self.iterations, self.preemptions, self.peak_blocks) = kept;
        lost
    }

    /// Puts prompt blocks from a tier into the prefix cache, as far as there is room; how many of them.
    pub(in crate::serving) fn load(&mut self, hashes: &[u64]) -> u64 {
        let mut loaded = 0;
        for &hash in hashes {
            if self.cache.matching(&[hash]) == 0 {
                if !self.make_room(self.hash_blocks) {
                    break;
                }
                self.cache.add(&[hash]);
                self.cache.release(&[hash]);
                loaded += 1;
            }
        }
        loaded
    }

    /// Leading blocks of a prompt that the prefix cache holds.
    pub(in crate::serving) fn held_blocks_of(&self, hashes: &[u64]) -> usize {
        self.cache.matching(hashes)
    }
}
