//! What grows and shrinks with the load: replicas of services, and nodes of elastic pools. Literature: `docs/models/autoscaling.md`.

use super::attempt::weight;
use super::cluster::Condition;
use super::job::{Job, Work};
use super::replay::{Event, Sim, State};
use super::service::{Metric, ServiceState};
use super::tally::Fate;
use crate::units::SimTime;

/// A pool whose nodes come and go (cluster autoscaler).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ElasticPool {
    /// Nodes that are always there.
    pub least: u32,
    /// Seconds from asking for a node until it takes work.
    pub provision: f64,
    /// Seconds for which a node has to be idle before it goes.
    pub idle: f64,
    /// Seconds for which a node is paid at least.
    pub life: f64,
}

/// Seconds between two looks at elastic pools (the scan interval of the Kubernetes cluster autoscaler).
const SCAN: f64 = 10.0;

/// What elastic pools remember of their nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct NodeLife {
    /// When it came.
    came: f64,
    /// Since when nothing runs on it; negative: something does.
    idle: f64,
    coming: bool,
}

impl Sim<'_> {
    /// Nodes of elastic pools that are not always there go; services get their least replicas.
    pub(super) fn begin_services(&mut self) {
        let set = self.set;
        let pools = set.cluster.pools();
        self.lives = vec![NodeLife::default(); set.cluster.nodes().len()];
        let mut there = vec![0; pools.len()];
        for (n, node) in set.cluster.nodes().iter().enumerate() {
            let pool = node.pool as usize;
            there[pool] += 1;
            if pools[pool].elastic.is_some_and(|e| there[pool] > e.least) {
                self.cluster.set_condition(n as u32, Condition::Down);
            }
        }
        self.out.services = vec![ServiceState::default(); set.services.len()];
        if !set.services.is_empty() || pools.iter().any(|p| p.elastic.is_some()) {
            self.events.push(SimTime::ZERO, Event::Scale);
        }
    }

    fn interval(&self) -> f64 {
        let services = self.set.services.iter().map(|s| s.interval);
        let scan = self.set.cluster.pools().iter().any(|p| p.elastic.is_some()).then_some(SCAN);
        services.chain(scan).fold(f64::INFINITY, f64::min)
    }

    pub(super) fn scale(&mut self) {
        for which in 0..self.set.services.len() {
            let wanted = self.wanted(which);
            self.out.services[which].wanted = wanted;
            self.follow(which, wanted);
        }
        self.scale_pools();
        self.events.push(SimTime::new(self.now + self.interval()), Event::Scale);
    }

    /// Replicas that a service wants after its windows (Kubernetes: ratio of metric and target with a tolerance of a tenth).
    fn wanted(&mut self, which: usize) -> u32 {
        let service = &self.set.services[which];
        let (now, state) = (self.now, &mut self.out.services[which]);
        let s = &service.scaling;
        let rate = service.rate_at(now);
        let load = match s.metric {
            Metric::Utilization => (rate + state.backlog / service.interval) / service.serves,
            Metric::Queue => state.backlog,
            Metric::Concurrency => rate * service.latency_at(rate, state.warm.len()) + state.backlog,
        };
        // A roll-out has more replicas for a while than are wanted.
        let have = if state.rolling { f64::from(state.wanted) } else { state.replicas.len() as f64 };
        let ratio = load / (s.target * have.max(1.0));
        let mut want = if (ratio - 1.0).abs() <= 0.1 && have > 0.0 { have as u32 } else { (load / s.target).ceil().min(1e6) as u32 };
        if s.metric == Metric::Queue && state.backlog > 0.0 || rate > 0.0 {
            want = want.max(1);
        }
        let want = want.clamp(s.least, s.most);
        state.history.push((now, want));
        let longest = s.windows[0].max(s.windows[1]);
        state.history.retain(|h| h.0 >= now - longest - 1e-9);
        let within = |window: f64| state.history.iter().filter(move |h| h.0 >= now - window - 1e-9).map(|h| h.1);
        let up = within(s.windows[0]).min().unwrap_or(want);
        let down = within(s.windows[1]).max().unwrap_or(want);
        (have as u32).clamp(up.min(down), down.max(up))
    }

    /// Starts or stops replicas; those that do not run yet go first, then the youngest.
    fn follow(&mut self, which: usize, wanted: u32) {
        if self.out.services[which].rolling {
            self.roll(which);
            return;
        }
        while (self.out.services[which].replicas.len() as u32) < wanted {
            self.start_replica(which);
        }
        while self.out.services[which].replicas.len() as u32 > wanted {
            let state = &self.out.services[which];
            let waits = state.replicas.iter().rposition(|&r| self.states[r as usize].grant.is_none());
            let cold = state.replicas.iter().rposition(|r| !state.warm.contains(r));
            let at = waits.or(cold).unwrap_or(state.replicas.len() - 1);
            self.stop_replica(which, at);
        }
    }

    /// A replica more, of the newest version; it queues like any job.
    pub(super) fn start_replica(&mut self, which: usize) {
        let service = &self.set.services[which];
        let id = self.states.len() as u32;
        let job = Job {
            submit: self.now,
            ask: service.ask,
            work: Work::Endless,
            class: service.class,
            team: service.team,
            priority: service.priority,
            spot: false,
            preemptible: false,
            checkpoint: 0.0,
            checkpoint_cost: 0.0,
            copies: None,
            restart: 0.0,
            elastic: None,
        };
        self.extra.push(job);
        self.owners.push(which as u32);
        self.versions.push(self.out.services[which].version);
        self.out.replica_classes.push(service.class);
        let state = State { left: f64::INFINITY, base: f64::INFINITY, unit: 1.0, size: job.ask.accelerators, ..State::default() };
        self.states.push(state);
        self.out.fates.push(Fate { ready: self.now, ..Fate::NONE });
        self.out.services[which].replicas.push(id);
        self.out.services[which].started += 1;
        self.enqueue(id);
    }

    /// Stops the replica at a place of the list.
    pub(super) fn stop_replica(&mut self, which: usize, at: usize) {
        let id = self.out.services[which].replicas.remove(at);
        if self.states[id as usize].grant.is_some() {
            self.withdraw(id);
        } else {
            let (job, place) = (*self.job(id), self.place_of(id));
            self.queue.remove(&job, place);
        }
        self.out.fates[id as usize].end = self.now;
    }

    /// The version of a replica.
    pub(super) fn version_of(&self, replica: u32) -> u32 {
        self.versions[replica as usize - self.set.jobs.len()]
    }

    fn owner(&self, id: u32) -> Option<usize> {
        let at = (id as usize).checked_sub(self.set.jobs.len())?;
        self.owners.get(at).map(|&o| o as usize)
    }

    /// A replica has got its nodes: it reads its weights, and is warm a while later.
    pub(super) fn started_replica(&mut self, id: u32) {
        let Some(which) = self.owner(id) else { return };
        let reads = match &self.states[id as usize].grant {
            Some(grant) => self.steps.read(self.now, id, which as u32, grant),
            None => false,
        };
        if !reads {
            self.warm_after(id, 0.0);
        }
    }

    /// A replica has its weights: it is warm after its time, and `beside`.
    pub(super) fn warm_after(&mut self, id: u32, beside: f64) {
        let Some(which) = self.owner(id) else { return };
        let generation = self.states[id as usize].generation;
        let at = self.now + beside + self.set.services[which].warm;
        self.events.push(SimTime::new(at), Event::Warm { job: id, generation });
    }

    pub(super) fn warm(&mut self, id: u32, generation: u32) {
        if self.states[id as usize].generation == generation
            && let Some(which) = self.owner(id)
        {
            self.out.services[which].warm.push(id);
            self.failed_over(which);
            self.roll(which);
        }
    }

    pub(super) fn stopped_replica(&mut self, id: u32) {
        if let Some(which) = self.owner(id) {
            self.out.services[which].warm.retain(|&r| r != id);
            self.steps.stop_reading(self.now, id);
        }
    }

    /// Elastic pools: nodes come for what waits, and go when they were idle for long enough.
    fn scale_pools(&mut self) {
        let set = self.set;
        for (pool, elastic) in set.cluster.pools().iter().enumerate().filter_map(|(i, p)| Some((i, p.elastic?))) {
            let nodes: Vec<u32> =
                (0..set.cluster.nodes().len() as u32).filter(|&n| set.cluster.nodes()[n as usize].pool as usize == pool).collect();
            let waits: f64 =
                self.queue.iter().map(|id| self.job(id)).filter(|j| j.ask.pools >> pool & 1 == 1).map(|j| weight(&j.ask)).sum();
            let size = f64::from(set.cluster.pools()[pool].accelerators);
            let coming = nodes.iter().filter(|n| self.lives[**n as usize].coming).count() as f64;
            let mut missing = waits - f64::from(self.cluster.free_of(1 << pool)) - coming * size;
            for &node in &nodes {
                let lost = self.is_lost(node);
                let life = &mut self.lives[node as usize];
                if missing > 0.0 && !lost && !life.coming && self.cluster.condition(node) == Condition::Down {
                    life.coming = true;
                    missing -= size;
                    self.events.push(SimTime::new(self.now + elastic.provision), Event::Arrive { node });
                }
            }
            let mut there = nodes.iter().filter(|n| self.is_there(**n)).count() as u32;
            for &node in nodes.iter().rev() {
                if self.cluster.condition(node) != Condition::Up {
                    continue;
                }
                let (idle, now) = (self.cluster.is_idle(node), self.now);
                let life = &mut self.lives[node as usize];
                life.idle = if !idle {
                    -1.0
                } else if life.idle < 0.0 {
                    now
                } else {
                    life.idle
                };
                if waits == 0.0 && there > elastic.least && idle && now - life.idle >= elastic.idle && now - life.came >= elastic.life {
                    there -= 1;
                    self.leave(node);
                    self.cluster.set_condition(node, Condition::Down);
                }
            }
        }
    }

    pub(super) fn arrive(&mut self, node: u32) {
        self.lives[node as usize] = NodeLife { came: self.now, idle: self.now, coming: false };
        if self.is_lost(node) {
            return;
        }
        if self.cluster.condition(node) == Condition::Down {
            self.join(node);
            self.cluster.set_condition(node, Condition::Up);
        }
    }

    /// A node is no longer there: what is paid of it ends.
    pub(super) fn leave(&mut self, node: u32) {
        let pool = self.cluster.nodes()[node as usize].pool as usize;
        self.out.node_seconds[pool] += self.now;
    }
    /// A node is there: what is paid of it begins.
    pub(super) fn join(&mut self, node: u32) {
        let pool = self.cluster.nodes()[node as usize].pool as usize;
        self.out.node_seconds[pool] -= self.now;
    }
    /// What is still there is paid until the end.
    pub(super) fn close_pools(&mut self) {
        for node in 0..self.cluster.nodes().len() as u32 {
            if self.is_there(node) {
                self.leave(node);
            }
        }
    }
}
