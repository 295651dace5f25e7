//! One attempt of a job: it gets nodes, works at its pace, saves, and stops, ends or breaks.

use super::grant::{Ask, Grant, Part};
use super::job::Work;
use super::replay::{Event, Sim};
use super::tally::Stay;
use crate::units::SimTime;

impl Sim<'_> {
    /// Starts a waiting job on some nodes.
    pub(super) fn start(&mut self, id: u32, parts: &[(u32, u32)]) {
        let (job, place) = (*self.job(id), self.place_of(id));
        self.queue.remove(&job, place);
        let again = self.out.fates[id as usize].start >= 0.0;
        if !again {
            self.out.fates[id as usize].start = self.now;
        }
        self.states[id as usize].size = job.ask.accelerators;
        self.give(id, parts, if again { job.restart } else { 0.0 });
    }

    /// Gives nodes to a job that has none; it works again after `delay` seconds.
    pub(super) fn give(&mut self, id: u32, parts: &[(u32, u32)], delay: f64) {
        let job = *self.job(id);
        let ask = Ask { accelerators: self.states[id as usize].size, ..job.ask };
        let grant = self.cluster.take(parts, &ask);
        self.usage.used[job.team as usize] += asked(&ask);
        let state = &mut self.states[id as usize];
        state.generation += 1;
        (state.base, state.started, state.since) = (state.left, self.now, self.now + delay);
        self.out.fates[id as usize].wasted += weight(&ask) * delay;
        if let Work::Steps { model, .. } = job.work {
            self.steps.place(self.now, id, model, &grant);
            state.pace = 0.0;
            state.grant = Some(grant);
            // Until its step time is known it is expected to take as long as it was said to.
            state.end = self.now + state.left * state.unit / job.productive();
            self.running.insert((SimTime::new(state.end), id));
        } else {
            let speedup = job.elastic.map_or(1.0, |e| e.speedup(job.ask.accelerators, state.size));
            state.pace = 1.0 / (job.productive() * speedup);
            state.grant = Some(grant);
            self.promise(id);
        }
        self.arrives_in_region(id, delay);
        self.started_replica(id);
    }

    /// Says when a running job ends, from its rate.
    pub(super) fn promise(&mut self, id: u32) {
        let estimate = self.policy.estimate;
        let state = &mut self.states[id as usize];
        self.running.remove(&(SimTime::new(state.end), id));
        let takes = if state.left > 0.0 { state.left * state.pace } else { 0.0 };
        let from = state.since.max(self.now);
        // What users say counts from the start of the attempt.
        state.end = from + takes * estimate;
        self.running.insert((SimTime::new(state.end), id));
        if takes.is_finite() {
            self.events.push(SimTime::new(from + takes), Event::Finish { job: id, generation: state.generation });
        }
    }

    /// Brings what is left of a running job to now.
    fn advance(&mut self, id: u32) {
        let left = self.left(id);
        let state = &mut self.states[id as usize];
        state.left = left;
        state.since = state.since.max(self.now);
    }

    /// Jobs with steps whose step time has changed go on at the new rate.
    pub(super) fn apply_steps(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        self.steps.changed(self.now, &mut changed);
        for (id, seconds) in changed.drain(..) {
            self.advance(id);
            let productive = self.job(id).productive();
            let state = &mut self.states[id as usize];
            (state.unit, state.pace) = (seconds, seconds / productive);
            state.generation += 1;
            self.promise(id);
        }
        self.changed = changed;
    }

    /// Takes its nodes from a running job and counts what it held them for.
    pub(super) fn withdraw(&mut self, id: u32) -> Option<Grant> {
        // Whoever does not save has said so before.
        self.leaves_region(id, true);
        self.advance(id);
        let job = *self.job(id);
        let state = &mut self.states[id as usize];
        let grant = state.grant.take()?;
        state.generation += 1;
        self.running.remove(&(SimTime::new(state.end), id));
        let ask = Ask { accelerators: state.size, ..job.ask };
        self.cluster.release(&grant, &ask);
        self.usage.used[job.team as usize] -= asked(&ask);
        let length = self.now - state.started;
        // It was to start again and was stopped before it did: no more than it held was wasted.
        let idle = (state.since - self.now).max(0.0);
        let count = weight(&ask);
        let saving = (state.base - state.left).max(0.0) * state.unit * (1.0 / job.productive() - 1.0);
        let fate = &mut self.out.fates[id as usize];
        fate.ran += length;
        fate.held += count * length;
        fate.wasted += count * if saving.is_finite() { saving } else { 0.0 } - count * idle;
        if self.now > state.started && self.out.stays.len() < self.keep.most {
            let stay = |p: &Part| Stay { job: id, node: p.node, mask: p.mask, start: state.started, end: self.now };
            self.out.stays.extend(grant.parts.iter().filter(|p| p.node < self.keep.nodes).map(stay));
        }
        if matches!(job.work, Work::Steps { .. }) {
            self.steps.remove(self.now, id);
        }
        self.stopped_replica(id);
        Some(grant)
    }

    pub(super) fn finish(&mut self, id: u32) {
        self.withdraw(id);
        self.states[id as usize].left = 0.0;
        self.out.fates[id as usize].end = self.now;
        self.open -= 1;
        self.out.end = self.out.end.max(self.now);
        self.release(id);
        self.register(id);
    }

    /// Stops a running job for another one: it saves first and waits again.
    pub(super) fn preempt(&mut self, id: u32) -> Option<Grant> {
        let grant = self.withdraw(id);
        self.out.fates[id as usize].preemptions += 1;
        self.enqueue(id);
        grant
    }

    /// A running job breaks: what it did since its last checkpoint is lost, and it waits again.
    pub(super) fn break_job(&mut self, id: u32, notice: bool) {
        let job = *self.job(id);
        self.leaves_region(id, notice);
        self.withdraw(id);
        let state = &mut self.states[id as usize];
        let done = state.base - state.left;
        if !notice && done.is_finite() && done > 0.0 {
            let between = job.checkpoint / state.unit;
            let kept = if job.checkpoint > 0.0 { (done / between).floor() * between } else { 0.0 };
            let lost = done - kept;
            self.out.fates[id as usize].wasted += f64::from(state.size) * lost * state.pace * job.productive();
            state.left += lost;
        }
        self.out.fates[id as usize].failures += 1;
        self.enqueue(id);
    }
}

/// Accelerators that a job holds.
pub(super) fn weight(ask: &Ask) -> f64 {
    asked(ask) as f64 / 1000.0
}

/// Thousandths of accelerators.
pub(super) const fn asked(ask: &Ask) -> u64 {
    ask.accelerators as u64 * ask.share as u64
}
