//! What an iteration brings: tokens, prompts that are through, requests that end.

use super::{Replica, Role, Shared, Stage};
use crate::serving::deployment::Speculation;
use crate::serving::lengths::uniform;
use rand_pcg::Pcg64Mcg;
use std::cmp::Reverse;

impl Replica {
    /// Ends the running batch at `now`.
    pub(in crate::serving) fn end(&mut self, now: f64, s: &mut Shared<'_>) {
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
    pub(super) fn decode(&mut self, id: u32, now: f64, token_at: f64, s: &mut Shared<'_>) {
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
