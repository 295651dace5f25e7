//! Engines at work: batches that begin and end, one iteration after the other.

use super::cost::Batch;
use super::fleet::State;
use super::flows::Flows;
use super::replica::Role;
use super::run::{Driver, Event, Run};
use crate::units::SimTime;

impl Run<'_, '_> {
    /// Lets the engine of a replica look for work, if it is idle.
    pub(super) fn wake(&mut self, replica: usize, now: f64) {
        let d = self.driver_of[replica];
        let driver = &mut self.drivers[d as usize];
        if !driver.busy && !driver.starting {
            driver.starting = true;
            self.queue.push(SimTime::new(now), Event::Start(d));
        }
    }

    /// When anything else happens next.
    fn next_other(&mut self) -> f64 {
        let event = self.queue.next_time().map_or(f64::INFINITY, SimTime::seconds);
        self.flows.as_mut().and_then(Flows::next).map_or(event, |flow| event.min(flow))
    }

    /// The next iteration of an engine, behind those that wait for its accelerators.
    pub(super) fn go_on(&mut self, d: usize, now: f64) {
        if self.pool.engines[self.drivers[d].engine as usize].shares {
            self.drivers[d].busy = false;
            self.wake(self.drivers[d].replicas.start, now);
        } else {
            self.drive(d, now);
        }
    }

    /// Runs an engine on from `now`, in place until somebody else's event comes first.
    pub(super) fn drive(&mut self, d: usize, mut now: f64) {
        loop {
            let Some(end) = self.begin(d, now) else { return };
            if self.next_other() <= end || self.pool.engines[self.drivers[d].engine as usize].shares {
                let life = self.lives[self.drivers[d].engine as usize];
                self.queue.push(SimTime::new(end), Event::End(d as u16, life));
                return;
            }
            self.events += 1;
            self.end(d, end);
            now = end;
        }
    }

    /// Forms the batches of an engine's ranks; when they end together, if there is anything to do.
    fn begin(&mut self, d: usize, now: f64) -> Option<f64> {
        let Driver { engine, replicas: ranks, .. } = self.drivers[d].clone();
        let engine = engine as usize;
        if !matches!(self.states[engine], State::Ready | State::Emptying) {
            self.drivers[d].busy = false;
            return None;
        }
        let free = self.stage_free[self.pool.engines[engine].turns][0];
        if free > now {
            self.drivers[d].busy = false;
            self.drivers[d].starting = true;
            self.queue.push(SimTime::new(free), Event::Start(d as u16));
            return None;
        }
        let mut batches = std::mem::take(&mut self.batches);
        batches.clear();
        self.balance(d, now);
        for r in ranks.clone() {
            let (replica, mut shared) = self.split(r);
            batches.push(replica.form(now, &mut shared).unwrap_or_default());
        }
        let any = batches.iter().any(|b| b.decodes > 0 || b.chunks > 0);
        self.drivers[d].busy = any;
        let swap = ranks.clone().map(|r| self.replicas[r].take_swap()).fold(0.0, f64::max);
        let (end, work) = if any { self.seconds(engine, &batches, now, swap) } else { (now, 0.0) };
        self.batches = batches;
        if !any {
            return None;
        }
        for r in ranks {
            let (replica, mut shared) = self.split(r);
            replica.launch(now, end, work, &mut shared);
        }
        if self.pool.engines[engine].limits.role == Role::Prompts && self.pool.by_layers {
            self.stream(d, now, end - now);
        }
        Some(end)
    }

    /// Lets prompts of data-parallel ranks wait for each other (TensorRT-LLM's balancing of attention): they run once every rank has one, a
    /// rank has nothing to decode, or so many iterations have passed.
    fn balance(&mut self, d: usize, now: f64) {
        let Driver { engine, replicas: ranks, waits, .. } = self.drivers[d].clone();
        let most = self.pool.engines[engine as usize].limits.balance_iterations;
        if ranks.len() < 2 || most == 0 {
            return;
        }
        let (mut all_prompts, mut all_decode) = (true, true);
        for r in ranks.clone() {
            let (prompts, decodes) = self.replicas[r].looks(now, self.requests);
            (all_prompts, all_decode) = (all_prompts && prompts, all_decode && decodes);
        }
        let hold = !all_prompts && all_decode && waits + 1 < most;
        self.drivers[d].waits = if hold { waits + 1 } else { 0 };
        for r in ranks {
            self.replicas[r].hold = hold;
        }
    }

    /// When a batch that begins at `now` ends, and how long it keeps the engine busy. Stages take batches in order.
    fn seconds(&mut self, engine: usize, batches: &[Batch], now: f64, swap: f64) -> (f64, f64) {
        let cost = &mut self.pool.costs[self.pool.engines[engine].class];
        let site = &self.pool.engines[engine];
        let free = &mut self.stage_free[site.turns];
        if site.lanes == 1 {
            let seconds = cost.time(batches) + swap;
            if site.shares {
                free[0] = now + seconds;
            }
            return (now + seconds, seconds);
        }
        let stages = cost.stages(batches);
        let (last, mut at, mut work) = (free.len() - 1, now + swap, swap);
        for (s, free) in free.iter_mut().enumerate() {
            let seconds = if s == last { stages.last } else { stages.each };
            at = at.max(*free) + seconds;
            *free = at;
            work += seconds;
            at += if s == last { 0.0 } else { stages.send };
        }
        (at, work)
    }

    pub(super) fn end(&mut self, d: usize, now: f64) {
        let Driver { engine, replicas: ranks, .. } = self.drivers[d].clone();
        for r in ranks.clone() {
            let (replica, mut shared) = self.split(r);
            replica.end(now, &mut shared);
            if !self.kept.is_empty() {
                self.store_kept(r, now);
            }
            if !self.handed.is_empty() {
                self.hand_over(r, now);
            }
        }
        if self.hands.is_used() {
            self.after_iteration(d, now);
        }
        if !self.ended.is_empty() {
            self.after_requests(now);
            if self.states[engine as usize] == State::Emptying {
                self.stop_if_empty(engine as usize, now);
            }
        }
    }
}
