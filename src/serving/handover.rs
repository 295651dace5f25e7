//! Keys and values on their way from engines of prompts to engines that decode: room is reserved there first, layers may be sent while
//! the prompt runs, and the blocks of the prompt are kept until all is there.

use super::fleet::State;
use super::flows::Purpose;
use super::replica::{Replica, Role};
use super::request::Request;
use super::run::Run;
use crate::fair::ActivityId;
use std::collections::VecDeque;

/// One request between two engines.
#[derive(Debug, Clone, Copy, Default)]
struct Hand {
    from: u32,
    to: u32,
    chosen: bool,
    reserved: bool,
    /// Whether its prompt is through.
    through: bool,
    /// Tokens whose keys and values are there or under way.
    sent: u32,
    flows: u32,
    /// Flows of earlier attempts that have not ended.
    stale: u32,
    /// Tokens that had been generated before an engine was lost and that are computed again with the prompt.
    before: u32,
}

impl Hand {
    /// The same request before anything of its keys and values was promised or sent.
    fn again(self) -> Self {
        Self { from: self.from, through: self.through, stale: self.stale + self.flows, before: self.before, ..Self::default() }
    }
}

/// All requests between engines.
#[derive(Default)]
pub(super) struct Hands {
    list: Vec<Hand>,
    /// For each replica, requests that wait for room there.
    parked: Vec<VecDeque<u32>>,
    /// Flows of layers whose prompts run: replica, flow and its way.
    streams: Vec<(u32, ActivityId, usize)>,
    /// Requests whose prompts are through and for which no engine that decodes is there.
    homeless: Vec<u32>,
    /// Bytes handed over.
    pub(super) bytes: f64,
}

impl Hands {
    pub(super) fn new(requests: usize, replicas: usize) -> Self {
        Self { list: vec![Hand::default(); requests], parked: vec![VecDeque::new(); replicas], ..Self::default() }
    }
    pub(super) const fn is_used(&self) -> bool {
        !self.list.is_empty()
    }
    /// Whether any engine that decodes could ever hold a request.
    pub(super) fn can_hold(&self, replicas: &[Replica], request: &Request) -> bool {
        !self.is_used() || replicas.iter().any(|r| r.role() == Role::Decodes && r.can_hold(request.input, request.output))
    }
}

impl Run<'_, '_> {
    /// Chooses who decodes a request: the rank with the least work among those that could hold it; false where there is none.
    fn choose_decoder(&mut self, id: u32, from: usize, now: f64) -> bool {
        self.hands.list[id as usize].from = from as u32;
        if self.hands.list[id as usize].chosen {
            return true;
        }
        let request = &self.requests.list[id as usize];
        let fits = |r: &Replica| r.role() == Role::Decodes && !r.closed && r.can_hold(request.input, request.output);
        let least = self.replicas.iter().enumerate().filter(|(_, r)| fits(r)).min_by_key(|(i, r)| (r.outstanding, *i));
        let Some((to, _)) = least else { return false };
        self.replicas[to].expect(id, self.requests);
        self.hands.list[id as usize] = Hand { to: to as u32, chosen: true, ..self.hands.list[id as usize].again() };
        self.hands.parked[to].push_back(id);
        self.give_room(to, now);
        true
    }

    /// Tokens whose keys and values a request hands on.
    fn handed_tokens(&self, id: u32) -> u32 {
        self.requests.list[id as usize].input + self.hands.list[id as usize].before
    }

    /// Reserves room for those that wait for it at a replica, in order, and sends what is there of their prompts.
    fn give_room(&mut self, to: usize, now: f64) {
        while let Some(&id) = self.hands.parked[to].front() {
            let before = self.hands.list[id as usize].before;
            let (replica, mut shared) = self.split(to);
            if !replica.reserve(id, before, &mut shared) {
                return;
            }
            self.hands.parked[to].pop_front();
            self.hands.list[id as usize].reserved = true;
            if self.hands.list[id as usize].through {
                self.send_rest(id, now);
            }
        }
    }

    /// Starts a flow of the keys and values of some tokens; `over` is how long they take to come into being, layer by layer.
    fn send(&mut self, id: u32, tokens: u32, over: Option<f64>, now: f64) {
        let hand = self.hands.list[id as usize];
        let place = |run: &Self, r: u32| {
            let (engine, data) = run.place_of(r as usize);
            let site = run.pool.engines[engine];
            (r, site, data)
        };
        let (from, to) = (place(self, hand.from), place(self, hand.to));
        let bytes = f64::from(tokens) * self.pool.handed_token;
        // All layers but the last can be sent while the iteration runs.
        let cap = over.map_or(f64::INFINITY, |seconds| bytes * (1.0 - 1.0 / self.pool.layers) / seconds);
        let Some(flows) = &mut self.flows else { return };
        let way = flows.between((from.0, &from.1, from.2), (to.0, &to.1, to.2));
        let flow = flows.start(now, bytes, way, cap, Purpose::Handover(id));
        if over.is_some() {
            self.hands.streams.push((hand.from, flow, way));
        }
        self.hands.bytes += bytes;
        self.hands.list[id as usize].sent += tokens;
        self.hands.list[id as usize].flows += 1;
    }

    fn send_rest(&mut self, id: u32, now: f64) {
        let rest = self.handed_tokens(id) - self.hands.list[id as usize].sent;
        if rest > 0 {
            self.send(id, rest, None, now);
        }
        self.try_join(id, now);
    }

    /// Sends layers of the prompts that an engine begins to run now.
    pub(super) fn stream(&mut self, driver: usize, now: f64, seconds: f64) {
        for r in self.drivers[driver].replicas.clone() {
            let chunks: Vec<(u32, u32)> = self.replicas[r].chunks_now().collect();
            for (id, chunk) in chunks {
                let last = self.requests.list[id as usize].output <= self.hands.list[id as usize].before + 1;
                if last || !self.choose_decoder(id, r, now) {
                    continue;
                }
                if self.hands.list[id as usize].reserved {
                    let until = self.live_prompts[id as usize].done() + chunk;
                    let tokens = until - self.hands.list[id as usize].sent;
                    self.send(id, tokens, Some(seconds), now);
                }
            }
        }
    }

    /// Prompts that ended on a replica go on elsewhere.
    pub(super) fn hand_over(&mut self, replica: usize, now: f64) {
        self.release_streams(replica, now);
        let handed = std::mem::take(&mut self.handed);
        for &id in &handed {
            self.hands.list[id as usize].through = true;
            if !self.choose_decoder(id, replica, now) {
                self.hands.homeless.push(id);
            } else if self.hands.list[id as usize].reserved {
                self.send_rest(id, now);
            }
        }
        self.handed = handed;
        self.handed.clear();
    }

    /// Layers of the iteration that ended may go as fast as they can.
    fn release_streams(&mut self, replica: usize, now: f64) {
        let Some(flows) = &mut self.flows else { return };
        self.hands.streams.retain(|&(r, flow, way)| {
            if r as usize == replica {
                flows.release(now, flow, way);
            }
            r as usize != replica
        });
    }

    /// After an iteration: streams of its prompts are released, and requests that wait for room look again.
    pub(super) fn after_iteration(&mut self, driver: usize, now: f64) {
        for r in self.drivers[driver].replicas.clone() {
            self.release_streams(r, now);
            if !self.hands.parked[r].is_empty() {
                self.give_room(r, now);
            }
        }
    }

    /// Keys and values of some tokens are there.
    pub(super) fn handover_landed(&mut self, id: u32, now: f64) {
        let hand = &mut self.hands.list[id as usize];
        if hand.stale > 0 {
            hand.stale -= 1;
        } else {
            hand.flows -= 1;
        }
        self.try_join(id, now);
    }

    /// Lets a request decode once all of it is there.
    fn try_join(&mut self, id: u32, now: f64) {
        let hand = self.hands.list[id as usize];
        if !hand.through || !hand.reserved || hand.flows > 0 || hand.sent < self.handed_tokens(id) {
            return;
        }
        let (from, to) = (hand.from as usize, hand.to as usize);
        self.records[id as usize].moved = now;
        let token_at = self.live_prompts[id as usize].token_at();
        self.hands.list[id as usize] = Hand { through: false, ..hand.again() };
        let (replica, mut shared) = self.split(from);
        replica.let_go(id, &mut shared);
        self.wake(from, now);
        let (engine, _) = self.place_of(from);
        if self.states[engine] == State::Emptying {
            self.stop_if_empty(engine, now);
        }
        self.replicas[to].receive(id, token_at);
        self.wake(to, now);
    }

    /// A rank that decodes is lost: requests on their way to it go to another; those that had come are computed again from their prompts.
    pub(super) fn lose_decoder(&mut self, replica: usize, lost: &[u32], now: f64) {
        for &id in lost {
            let had = self.live[id as usize];
            self.live_prompts[id as usize].resume(had.generated(), had.token_at());
            let hand = &mut self.hands.list[id as usize];
            *hand = Hand { before: had.generated(), through: false, ..hand.again() };
        }
        self.hands.parked[replica].clear();
        let waiting = |h: &Hand| h.chosen && h.to as usize == replica;
        let ids: Vec<u32> = (0..self.hands.list.len() as u32).filter(|&id| waiting(&self.hands.list[id as usize])).collect();
        for id in ids {
            let hand = self.hands.list[id as usize].again();
            self.hands.list[id as usize] = hand;
            if hand.through {
                self.find_home(id, now);
            }
        }
    }

    /// A rank of prompts is lost with all keys and values that it had not handed on: what of it has to be computed again.
    pub(super) fn lose_prompts(&mut self, replica: usize, lost: &mut Vec<u32>, now: f64) {
        self.release_streams(replica, now);
        self.hands.homeless.retain(|&id| self.hands.list[id as usize].from as usize != replica);
        for id in 0..self.hands.list.len() as u32 {
            let hand = self.hands.list[id as usize];
            if hand.from as usize != replica || !(hand.chosen || hand.through) {
                continue;
            }
            if hand.chosen {
                let to = hand.to as usize;
                self.hands.parked[to].retain(|&p| p != id);
                let (decoder, mut shared) = self.split(to);
                decoder.forget(id, hand.reserved, &mut shared);
            }
            let mut again = Hand { through: false, ..hand.again() };
            if hand.through {
                let had = self.live_prompts[id as usize];
                self.live_prompts[id as usize].resume(had.generated(), had.token_at());
                again.before = had.generated();
                lost.push(id);
            }
            self.hands.list[id as usize] = again;
        }
        // Room that was reserved is free again: for those that wait for it, and for what an engine had put back itself.
        for to in 0..self.hands.parked.len() {
            self.give_room(to, now);
            self.wake(to, now);
        }
    }

    /// Requests that wait for an engine that decodes.
    pub(super) const fn homeless(&self) -> usize {
        self.hands.homeless.len()
    }

    /// Finds an engine that decodes for a request whose prompt is through.
    fn find_home(&mut self, id: u32, now: f64) {
        if !self.choose_decoder(id, self.hands.list[id as usize].from as usize, now) {
            self.hands.homeless.push(id);
        }
    }

    /// An engine that decodes is there: requests that waited for one go on.
    pub(super) fn house(&mut self, now: f64) {
        for id in std::mem::take(&mut self.hands.homeless) {
            self.find_home(id, now);
        }
    }
}
