//! New versions of a service: the model registry takes one from the end of a pipeline, and replicas are replaced as a Deployment of
//! Kubernetes does it. Literature: `docs/models/autoscaling.md`.

use super::replay::{Event, Sim};
use crate::units::SimTime;

/// How a service gets new versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollout {
    /// Jobs of this class register a new version when they end.
    pub after: u16,
    /// Replicas beyond the wanted number at most.
    pub surge: u32,
    /// Warm replicas below the wanted number at most.
    pub unavailable: u32,
}

/// A version on its way to the replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roll {
    /// Its number; the first is 1, replicas before it are of version 0.
    pub version: u32,
    /// When it was registered, seconds.
    pub at: f64,
    /// When all replicas were of it and warm; negative: never.
    pub done: f64,
    /// Whether a newer version came before it was done.
    pub superseded: bool,
    /// Requests that came meanwhile, and those of them in time.
    pub requests: [f64; 2],
    /// Fewest warm replicas meanwhile.
    pub least_warm: u32,
    /// The longest wait meanwhile, seconds.
    pub longest: f64,
    /// Replicas that were started for it.
    pub started: u32,
}

impl Sim<'_> {
    /// A job has ended: services that take their versions from its class begin to roll out.
    pub(super) fn register(&mut self, id: u32) {
        let set = self.set;
        let class = self.job(id).class;
        for (which, service) in set.services.iter().enumerate() {
            if service.rollout.is_some_and(|r| r.after == class) {
                self.begin_roll(which);
            }
        }
    }

    fn begin_roll(&mut self, which: usize) {
        let state = &mut self.out.services[which];
        if let Some(last) = state.rolls.last_mut().filter(|_| state.rolling) {
            last.superseded = true;
        }
        state.version += 1;
        state.rolling = true;
        state.rolls.push(Roll {
            version: state.version,
            at: self.now,
            done: -1.0,
            superseded: false,
            requests: [0.0; 2],
            least_warm: state.warm.len() as u32,
            longest: 0.0,
            started: 0,
        });
        self.roll(which);
    }

    /// Replaces as many replicas as the bounds allow now; the roll-out is done when all are new and warm.
    pub(super) fn roll(&mut self, which: usize) {
        let Some(rule) = self.set.services[which].rollout.filter(|_| self.out.services[which].rolling) else { return };
        loop {
            let state = &self.out.services[which];
            let (wanted, total) = (state.wanted, state.replicas.len() as u32);
            let new = state.replicas.iter().filter(|r| self.version_of(**r) == state.version).count() as u32;
            if new < wanted && total < wanted + rule.surge {
                self.start_replica(which);
                if let Some(roll) = self.out.services[which].rolls.last_mut() {
                    roll.started += 1;
                }
                continue;
            }
            let Some(victim) = self.old_replica(which, wanted.saturating_sub(rule.unavailable)) else { break };
            self.stop_replica(which, victim);
        }
        let state = &mut self.out.services[which];
        let all_new = state.replicas.len() as u32 >= state.wanted && state.replicas.iter().all(|r| state.warm.contains(r));
        if all_new && state.old == 0 {
            state.rolling = false;
            if let Some(roll) = state.rolls.last_mut() {
                roll.done = self.now;
            }
        }
    }

    /// An old replica that may go: one that does not serve, else the youngest, as long as enough are warm.
    fn old_replica(&mut self, which: usize, least: u32) -> Option<usize> {
        let state = &self.out.services[which];
        let old: Vec<usize> = (0..state.replicas.len()).filter(|&i| self.version_of(state.replicas[i]) != state.version).collect();
        let cold = old.iter().rev().copied().find(|&i| !state.warm.contains(&state.replicas[i]));
        let may = state.warm.len() as u32 > least;
        let found = cold.or_else(|| old.last().copied().filter(|_| may));
        self.out.services[which].old = old.len() as u32;
        found
    }

    /// Reads of weights have begun or ended: the next end is waited for.
    pub(super) fn await_reads(&mut self) {
        let next = self.steps.next_read().unwrap_or(f64::INFINITY);
        if next != self.reads.1 {
            self.reads = (self.reads.0.wrapping_add(1), next);
            if next.is_finite() {
                self.events.push(SimTime::new(next.max(self.now)), Event::Read { generation: self.reads.0 });
            }
        }
    }

    /// Reads end: their replicas are warm after what comes beside.
    pub(super) fn end_reads(&mut self, generation: u32) {
        if generation != self.reads.0 {
            return;
        }
        let mut ended = Vec::new();
        self.steps.finish_reads(self.now, &mut ended);
        self.reads.1 = f64::INFINITY;
        for (replica, beside) in ended {
            self.warm_after(replica, beside);
        }
    }
}
