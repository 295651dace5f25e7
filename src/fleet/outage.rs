//! What breaks, what is taken away and what is maintained: nodes go down and come back, jobs on them start again from checkpoints.

use super::cluster::Condition;
use super::reclaim::Spot;
use super::region::RegionOutage;
use super::replay::{Event, Sim};
use crate::engine::Streams;
use crate::operations::{Arrivals, Class, Effect, Loses, normal, uniform};
use crate::units::SimTime;
use rand_pcg::Pcg64Mcg;

/// Work on nodes that is known beforehand.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// When it begins, seconds.
    pub at: f64,
    /// Seconds between two; `None`: it comes once.
    pub every: Option<f64>,
    /// Nodes.
    pub nodes: Vec<u32>,
    /// How long before it begins nodes take nothing new.
    pub cordon: f64,
    /// How long it lasts.
    pub lasts: f64,
}

/// All outages of a fleet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outages {
    /// Classes of failures, rates of the whole fleet.
    pub classes: Vec<Class>,
    /// Seconds until a node that broke is back: mean, and standard deviation of the logarithm.
    pub repair: (f64, f64),
    /// Spare nodes, and the seconds until one stands in for a node.
    pub spares: (u32, f64),
    /// Maintenance.
    pub maintenance: Vec<Maintenance>,
    /// Regions that are lost at known times.
    pub regions: Vec<RegionOutage>,
    /// Spot nodes that are taken away.
    pub spot: Vec<Spot>,
}

/// What is drawn, and spare nodes that are left.
#[derive(Default)]
pub(super) struct OutageState {
    arrivals: Vec<Arrivals>,
    repairs: Option<Pcg64Mcg>,
    pub(super) places: Option<Pcg64Mcg>,
    spares: u32,
    /// Nodes that a spare stands in for come back as spares: when.
    lent: Vec<f64>,
}

/// A fleet that fails so often that nothing ends is given up.
pub(super) const MOST_FAILURES: u64 = 1_000_000;

impl Sim<'_> {
    pub(super) fn begin_outages(&mut self) {
        let streams = Streams::new(self.set.seed);
        let set = self.set;
        self.outages.spares = set.outages.spares.0;
        self.outages.repairs = Some(streams.stream("fleet repairs"));
        self.outages.places = Some(streams.stream("fleet failures"));
        for (i, class) in set.outages.classes.iter().enumerate() {
            let arrivals = Arrivals::new(streams.stream(&format!("fleet failures of {}", class.name)), class, 1.0);
            self.outages.arrivals.push(arrivals);
            self.next_failure(i);
        }
        for (i, m) in set.outages.maintenance.iter().enumerate() {
            self.events.push(SimTime::new((m.at - m.cordon).max(0.0)), Event::Maintenance { which: i as u32, phase: 0 });
        }
    }

    fn next_failure(&mut self, class: usize) {
        let at = self.outages.arrivals[class].next;
        if at.is_finite() && self.out.failures < MOST_FAILURES {
            self.events.push(SimTime::new(at), Event::Failure { class: class as u32 });
        }
    }

    /// A failure of a class comes: somewhere, every accelerator (or node) as likely as any other.
    pub(super) fn fail(&mut self, class: u32) {
        let set = self.set;
        let what = &set.outages.classes[class as usize];
        self.outages.arrivals[class as usize].advance(what, 1.0);
        self.next_failure(class as usize);
        if what.loses == Loses::Region {
            let region = self.draw_region();
            self.lose_region(region, what.detect, what.outage);
            return;
        }
        let Some(node) = self.draw_node() else { return };
        if !self.is_there(node) {
            return;
        }
        self.out.failures += 1;
        let nodes = if what.loses == Loses::Domain { self.neighbours(node, what.nodes) } else { vec![node] };
        match what.effect {
            Effect::Stop | Effect::Corrupt { .. } => {
                // Wrong values: what was done since they came is lost too.
                let wrong = if let Effect::Corrupt { found_after } = what.effect { found_after } else { 0.0 };
                let detected = what.detect + wrong;
                for &node in &nodes {
                    if what.loses == Loses::Process {
                        self.stop_one(node, detected);
                    } else {
                        self.take_down(node, false, detected);
                    }
                }
            }
            Effect::Hold { lost, .. } => self.hang(node, lost),
            Effect::Planned { lasts } => {
                for &node in &nodes {
                    if self.cluster.condition(node) != Condition::Down {
                        self.drain(node);
                        self.events.push(SimTime::new(self.now + lasts), Event::Repair { node });
                    }
                }
            }
        }
    }

    fn draw_node(&mut self) -> Option<u32> {
        let nodes = self.cluster.nodes().len();
        let stream = self.outages.places.as_mut()?;
        let at = (uniform(stream) * nodes as f64) as usize;
        (nodes > 0).then(|| at.min(nodes - 1) as u32)
    }

    /// A node and those that follow it under its leaf.
    fn neighbours(&self, node: u32, count: u32) -> Vec<u32> {
        let leaf = self.cluster.nodes()[node as usize].trees[1] as usize;
        let members = self.cluster.members(1, leaf);
        let at = members.iter().position(|&n| n == node).unwrap_or(0);
        (0..members.len().min(count.max(1) as usize)).map(|i| members[(at + i) % members.len()]).collect()
    }

    /// Jobs on a node, in order.
    pub(super) fn jobs_on(&self, node: u32) -> Vec<u32> {
        let on = |id: &u32| self.states[*id as usize].grant.as_ref().is_some_and(|g| g.parts.iter().any(|p| p.node == node));
        let mut out: Vec<u32> = self.running.iter().map(|r| r.1).filter(on).collect();
        out.sort_unstable();
        out
    }

    /// The processes of one job on a node die: the one on the accelerator that is drawn.
    fn stop_one(&mut self, node: u32, detected: f64) {
        let size = self.cluster.pool(node).accelerators.max(1);
        let Some(stream) = self.outages.places.as_mut() else { return };
        let at = ((uniform(stream) * f64::from(size)) as u8).min(size - 1);
        let hit = |id: &u32| {
            let grant = self.states[*id as usize].grant.as_ref();
            grant.is_some_and(|g| g.parts.iter().any(|p| p.node == node && (p.mask >> at & 1 == 1 || p.mask == 0)))
        };
        let Some(id) = self.jobs_on(node).into_iter().find(hit) else { return };
        self.lose_detection(id, detected);
        self.break_job(id, false);
    }

    /// Until a failure is noticed nothing comes forward: that time is lost with what follows the last checkpoint.
    fn lose_detection(&mut self, id: u32, detected: f64) {
        self.leaves_region(id, false);
        let state = &mut self.states[id as usize];
        state.left += detected / state.unit;
        state.base += detected / state.unit;
        self.out.fates[id as usize].wasted += f64::from(state.size) * detected;
    }

    /// A node goes down with all that runs on it; `notice`: jobs save first.
    pub(super) fn take_down(&mut self, node: u32, notice: bool, detected: f64) {
        for id in self.jobs_on(node) {
            if !notice {
                self.lose_detection(id, detected);
            }
            self.break_job(id, notice);
        }
        if self.cluster.condition(node) == Condition::Down {
            return;
        }
        self.leave(node);
        self.cluster.set_condition(node, Condition::Down);
        let back = self.back_after();
        self.events.push(SimTime::new(self.now + back), Event::Repair { node });
    }

    /// Seconds until a node that broke is replaced: by a spare while one is left, else when it is repaired.
    fn back_after(&mut self) -> f64 {
        let (mean, sigma) = self.set.outages.repair;
        let now = self.now;
        let back = self.outages.lent.iter().filter(|t| **t <= now).count() as u32;
        self.outages.lent.retain(|t| *t > now);
        self.outages.spares += back;
        let draw = self.outages.repairs.as_mut().map_or(0.0, normal);
        let repair = mean * libm::exp(sigma * draw - sigma * sigma / 2.0);
        if self.outages.spares == 0 {
            return repair;
        }
        self.outages.spares -= 1;
        self.outages.lent.push(now + repair);
        self.set.outages.spares.1
    }

    pub(super) fn repair(&mut self, node: u32) {
        if self.is_lost(node) {
            self.comes_with_region(node);
            return;
        }
        if self.cluster.condition(node) == Condition::Down {
            self.join(node);
        }
        self.cluster.set_condition(node, Condition::Up);
    }

    /// A node is emptied: its jobs save and wait again; it takes nothing until it is repaired.
    fn drain(&mut self, node: u32) {
        for id in self.jobs_on(node) {
            self.break_job(id, true);
        }
        if self.cluster.condition(node) != Condition::Down {
            self.leave(node);
        }
        self.cluster.set_condition(node, Condition::Down);
    }

    /// A job on a node hangs, or one of its accelerators is slow, which costs it a time.
    fn hang(&mut self, node: u32, lost: f64) {
        let jobs = self.jobs_on(node);
        let Some(&id) = jobs.first() else { return };
        let left = self.left(id);
        let state = &mut self.states[id as usize];
        (state.left, state.since) = (left, state.since.max(self.now) + lost);
        state.generation += 1;
        self.out.fates[id as usize].wasted += f64::from(state.size) * lost;
        if self.states[id as usize].pace > 0.0 {
            self.promise(id);
        }
    }

    /// Maintenance: nodes are cordoned, then emptied, then come back.
    pub(super) fn maintain(&mut self, which: u32, phase: u8) {
        let set = self.set;
        let m = &set.outages.maintenance[which as usize];
        let next = |sim: &mut Self, at: f64, phase: u8| sim.events.push(SimTime::new(at.max(sim.now)), Event::Maintenance { which, phase });
        match phase {
            0 => {
                for &node in m.nodes.iter().filter(|n| self.cluster.condition(**n) == Condition::Up).collect::<Vec<_>>() {
                    self.cluster.set_condition(node, Condition::Cordoned);
                }
                next(self, self.now + m.cordon, 1);
            }
            1 => {
                m.nodes.iter().for_each(|&n| self.drain(n));
                next(self, self.now + m.lasts, 2);
            }
            _ => {
                m.nodes.iter().for_each(|&n| self.repair(n));
                if let Some(every) = m.every {
                    next(self, self.now + (every - m.cordon - m.lasts).max(0.0), 0);
                }
            }
        }
    }
}
