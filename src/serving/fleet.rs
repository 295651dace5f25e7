//! Engines that come and go: started and stopped by load, failed and repaired; requests that are refused.

use super::flows::Purpose;
use super::replica::Role;
use super::run::{Event, Run};
use crate::choice;
use crate::fabric::{AcceleratorId, TierId};
use crate::storage::{Client, Direction, Transfer, transfer};
use crate::units::SimTime;

/// How engines come, go and refuse.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fleet {
    /// Number of engines by load; absent: all of them from the start.
    pub scaling: Option<Scaling>,
    /// Engines that fail.
    pub failures: Vec<EngineFailure>,
    /// What a start takes.
    pub start: Start,
    /// Requests that wait at an engine before new ones are refused.
    pub max_waiting: Option<u64>,
}

choice! {
    /// What the number of engines follows.
    pub enum Measure {
        /// Waiting requests for each ready engine.
        Queue = "queue",
        /// Share of the cache blocks that running requests hold, mean of the ready engines.
        Cache = "cache",
    }
}

/// Number of engines by load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Which engines, where those of prompts are apart.
    pub role: Role,
    /// Engines at the start, and the fewest.
    pub least: u64,
    /// What is measured.
    pub measure: Measure,
    /// Seconds between two looks.
    pub interval: f64,
    /// Above this one more engine is started.
    pub above: f64,
    /// Below this, as often as `patience` says in a row, one is emptied and stopped.
    pub below: f64,
    /// Looks below before one is stopped.
    pub patience: u64,
}

/// What it takes until a started engine serves: boot, weights from a tier over the fabric, warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Start {
    /// Machine, image and processes, seconds.
    pub boot: f64,
    /// Tier that holds the weights; absent: they are at hand.
    pub tier: Option<TierId>,
    /// Compilation, captured graphs, profiling of memory, seconds.
    pub warm_up: f64,
}

/// A failure of one engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineFailure {
    /// Which.
    pub engine: u64,
    /// Node that fails with all engines on it, where it is not the engine alone.
    pub node: Option<u64>,
    /// When, seconds.
    pub at: f64,
    /// Seconds until the router notices: until then requests go to it and wait.
    pub detection: f64,
    /// Seconds until the engine is started again; absent: never.
    pub repair: Option<f64>,
}

/// Where an engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    Starting,
    /// Gets no more requests and is off when it is empty.
    Emptying,
    Off,
    Failed,
}

/// Requests of a read of weights: as loaders of safetensors files do, 16 MiB.
const WEIGHT_REQUEST: f64 = 16.0 * 1_048_576.0;

impl Fleet {
    /// Whether engines are not all there from start to end.
    #[must_use]
    pub const fn moves(&self) -> bool {
        self.scaling.is_some() || !self.failures.is_empty()
    }
}

impl Run<'_, '_> {
    /// Puts engines that are not needed yet out of service and schedules what is known beforehand.
    pub(super) fn prepare(&mut self) {
        if let Some(scaling) = self.pool.fleet.scaling {
            for engine in self.scaled(scaling).into_iter().skip(scaling.least as usize) {
                self.set_state(engine, State::Off, 0.0);
            }
            self.queue.push(SimTime::new(scaling.interval), Event::Scale);
        }
        for failure in 0..self.pool.fleet.failures.len() {
            self.queue.push(SimTime::new(self.pool.fleet.failures[failure].at), Event::Fail(failure as u32));
        }
    }

    /// The engines whose number follows the load.
    fn scaled(&self, scaling: Scaling) -> Vec<usize> {
        (0..self.pool.engines.len()).filter(|&e| self.pool.engines[e].limits.role == scaling.role).collect()
    }

    /// Whether engines of a state take rent.
    const fn is_on(state: State) -> bool {
        !matches!(state, State::Off)
    }

    /// Sets the state of an engine and keeps the books of how long engines are on and ready.
    pub(super) fn set_state(&mut self, engine: usize, state: State, now: f64) {
        let before = self.states[engine];
        self.count_engines(now);
        self.states[engine] = state;
        if state == State::Ready {
            self.starts += u64::from(before == State::Starting);
        }
        for r in self.replicas_of(engine) {
            // Until its failure is noticed the router believes in it.
            self.replicas[r].open = match state {
                State::Ready => !self.is_behind(engine),
                State::Failed => self.replicas[r].open,
                _ => false,
            };
            self.replicas[r].closed = match state {
                State::Ready => false,
                State::Failed => self.replicas[r].closed,
                _ => true,
            };
        }
    }

    /// Adds the time since the last change to the books.
    pub(super) fn count_engines(&mut self, now: f64) {
        if self.pool.fleet.moves() {
            let on = self.states.iter().filter(|&&s| Self::is_on(s)).count() as f64;
            let ready = self.states.iter().filter(|&&s| s == State::Ready).count() as f64;
            self.engine_s += on * (now - self.counted_at);
            self.series.ready(self.counted_at, now, ready);
            self.counted_at = now;
        }
    }

    /// One look at the load.
    pub(super) fn scale(&mut self, now: f64) {
        let Some(scaling) = self.pool.fleet.scaling else { return };
        if self.open_requests == 0 {
            return;
        }
        self.adjust(scaling, now);
        // Where nothing else will ever happen, looking again does not help.
        if !self.queue.is_empty() || self.flows.as_mut().is_some_and(|f| f.next().is_some()) {
            self.queue.push(SimTime::new(now + scaling.interval), Event::Scale);
        }
    }

    fn adjust(&mut self, scaling: Scaling, now: f64) {
        let scaled = self.scaled(scaling);
        let ready: Vec<usize> = scaled.iter().copied().filter(|&e| self.states[e] == State::Ready).collect();
        let of = |run: &Self, e: usize| match scaling.measure {
            Measure::Queue => run.replicas_of(e).map(|r| run.replicas[r].queued() as f64).sum::<f64>(),
            Measure::Cache => run.replicas_of(e).map(|r| run.replicas[r].use_share()).sum::<f64>() / run.pool.engines[e].replicas() as f64,
        };
        let held = match (scaling.measure, scaling.role) {
            (Measure::Cache, _) => 0.0,
            (Measure::Queue, Role::Decodes) => self.homeless() as f64,
            (Measure::Queue, _) => self.held.len() as f64,
        };
        let load = (ready.iter().map(|&e| of(self, e)).sum::<f64>() + held) / ready.len().max(1) as f64;
        let starting = scaled.iter().any(|&e| self.states[e] == State::Starting);
        if load > scaling.above || (ready.len() as u64) < scaling.least {
            self.calm = 0;
            let idle = |&e: &usize| matches!(self.states[e], State::Off | State::Emptying);
            if !starting && let Some(engine) = scaled.iter().copied().find(idle) {
                if self.states[engine] == State::Emptying {
                    self.ready(engine, now);
                } else {
                    self.start_engine(engine, now);
                }
            }
            return;
        }
        self.calm = if load < scaling.below { self.calm + 1 } else { 0 };
        if self.calm >= scaling.patience && ready.len() as u64 > scaling.least {
            self.calm = 0;
            let last = ready[ready.len() - 1];
            self.set_state(last, State::Emptying, now);
            self.stop_if_empty(last, now);
        }
    }

    /// An emptying engine without requests is off.
    pub(super) fn stop_if_empty(&mut self, engine: usize, now: f64) {
        if self.states[engine] == State::Emptying && self.replicas_of(engine).all(|r| self.replicas[r].is_empty()) {
            for r in self.replicas_of(engine) {
                let (replica, mut shared) = self.split(r);
                replica.lose(&mut shared);
            }
            self.set_state(engine, State::Off, now);
        }
    }

    /// Boots an engine.
    pub(super) fn start_engine(&mut self, engine: usize, now: f64) {
        self.set_state(engine, State::Starting, now);
        self.queue.push(SimTime::new(now + self.pool.fleet.start.boot), Event::Boot(engine as u16));
    }

    /// A booted engine reads its weights.
    pub(super) fn read_weights(&mut self, engine: usize, now: f64) {
        let Some(tier) = self.pool.fleet.start.tier else {
            self.queue.push(SimTime::new(now + self.pool.fleet.start.warm_up), Event::Ready(engine as u16));
            return;
        };
        let site = &self.pool.engines[engine];
        let (first, ranks, weights) = (site.first.0, site.accelerators(), site.weights);
        let clients: Vec<Client> = (0..ranks).map(|r| Client { at: AcceleratorId(first + r as u32), bytes: weights, files: 1.0 }).collect();
        let bytes = weights * ranks as f64;
        let Some(flows) = &mut self.flows else { return };
        let key = (u32::MAX, engine as u32);
        let way =
            flows.tier(key, |fabric| transfer(fabric, tier, Direction::Read, &clients, WEIGHT_REQUEST).unwrap_or_else(Transfer::none));
        flows.start(now, bytes, way, f64::INFINITY, Purpose::Weights(engine as u16));
    }

    /// An engine serves.
    pub(super) fn ready(&mut self, engine: usize, now: f64) {
        self.set_state(engine, State::Ready, now);
        for id in std::mem::take(&mut self.held) {
            self.route(id, now);
        }
        if self.is_behind(engine) {
            self.house(now);
        }
    }

    /// An engine fails: what runs on it stands still until the router notices.
    pub(super) fn fail(&mut self, failure: usize, now: f64) {
        let f = self.pool.fleet.failures[failure];
        let engine = f.engine as usize;
        if self.states[engine] != State::Ready && self.states[engine] != State::Emptying {
            return;
        }
        self.set_state(engine, State::Failed, now);
        self.lives[engine] += 1;
        for driver in self.drivers.iter_mut().filter(|d| d.engine as usize == engine) {
            driver.busy = false;
        }
        self.queue.push(SimTime::new(now + f.detection), Event::Notice(engine as u16));
        if let Some(repair) = f.repair {
            self.queue.push(SimTime::new(now + f.detection.max(repair)), Event::Repaired(engine as u16));
        }
    }

    /// The router notices a failure: requests go to other engines, where all their tokens are computed again.
    pub(super) fn notice(&mut self, engine: usize, now: f64) {
        let mut lost = Vec::new();
        for r in self.replicas_of(engine) {
            (self.replicas[r].open, self.replicas[r].closed) = (false, true);
        }
        for r in self.replicas_of(engine) {
            let (replica, mut shared) = self.split(r);
            let mut own = replica.lose(&mut shared);
            match self.pool.engines[engine].limits.role {
                Role::Both => {}
                Role::Decodes => self.lose_decoder(r, &own, now),
                Role::Prompts => self.lose_prompts(r, &mut own, now),
            }
            lost.extend(own);
        }
        self.moved_requests += lost.len() as u64;
        for id in lost {
            self.route(id, now);
        }
    }
}
