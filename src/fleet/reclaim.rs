//! Spot nodes that are taken away: each after a time that is exponential, with notice, until another one stands in its place.

use super::cluster::Condition;
use super::outage::MOST_FAILURES;
use super::replay::{Event, Sim};
use crate::engine::Streams;
use crate::operations::uniform;
use crate::units::SimTime;
use rand_pcg::Pcg64Mcg;

/// Nodes that are paid as spot.
#[derive(Debug, Clone, PartialEq)]
pub struct Spot {
    /// Which.
    pub nodes: Vec<u32>,
    /// Mean seconds until one of them is taken away.
    pub interval: f64,
    /// Seconds before, from which it takes nothing new and jobs on it save.
    pub notice: f64,
    /// Seconds until another one is there.
    pub replacement: f64,
}

impl Sim<'_> {
    pub(super) fn begin_spot(&mut self) {
        let streams = Streams::new(self.set.seed);
        for i in 0..self.set.outages.spot.len() {
            let stream = streams.stream(&format!("fleet spot {i}"));
            self.spot_streams.push(stream);
            self.next_reclaim(i);
        }
    }

    /// The reclaims of a group are a Poisson process over all of its nodes; those that are not there are passed over, which leaves each one's
    /// own time exponential.
    fn next_reclaim(&mut self, which: usize) {
        let spot = &self.set.outages.spot[which];
        let gap = -libm::log(uniform(&mut self.spot_streams[which])) * spot.interval / spot.nodes.len() as f64;
        if self.out.reclaims < MOST_FAILURES {
            self.events.push(SimTime::new(self.now + gap), Event::Reclaim { which: which as u32 });
        }
    }

    /// Notice is given of a node.
    pub(super) fn reclaim(&mut self, which: u32) {
        let spot = &self.set.outages.spot[which as usize];
        let stream: &mut Pcg64Mcg = &mut self.spot_streams[which as usize];
        let at = (uniform(stream) * spot.nodes.len() as f64) as usize;
        let node = spot.nodes[at.min(spot.nodes.len() - 1)];
        self.next_reclaim(which as usize);
        if self.cluster.condition(node) == Condition::Up {
            self.cluster.set_condition(node, Condition::Cordoned);
            self.events.push(SimTime::new(self.now + spot.notice), Event::TakeAway { node, which });
        }
    }

    /// A node goes: jobs that could save within the notice have; others fall back to their last checkpoint.
    pub(super) fn take_away(&mut self, node: u32, which: u32) {
        if self.cluster.condition(node) == Condition::Down {
            return;
        }
        let spot = &self.set.outages.spot[which as usize];
        for id in self.jobs_on(node) {
            let job = self.job(id);
            let saves = job.checkpoint > 0.0 && job.checkpoint_cost <= spot.notice;
            self.break_job(id, saves);
        }
        self.out.reclaims += 1;
        self.leave(node);
        self.cluster.set_condition(node, Condition::Down);
        self.events.push(SimTime::new(self.now + spot.replacement), Event::Repair { node });
    }
}
