//! From a stop to training again: what is lost, waited for and read, and failures that come on the way.

use super::failure::{Effect, Loses};
use super::plan::{Loss, Segment};
use super::process::{MOST_EVENTS, Runner, Stop};

impl Runner<'_> {
    /// From a stop to training again; failures on the way start it over.
    pub(super) fn come_back(&mut self, stop: Stop, reached: f64) {
        let begin = self.now;
        let mut reached = reached;
        let mut cause = stop;
        loop {
            let (parts, target) = self.parts(cause, reached);
            self.lost_work(begin, reached - target);
            reached = target;
            self.steps = target;
            if self.poison.is_some_and(|(_, wrong)| target <= wrong) {
                self.poison = None;
            }
            let mut interrupted = None;
            for (loss, seconds) in parts {
                let end = self.now + seconds;
                interrupted = self.interruption(end);
                let until = interrupted.map_or(end, |i| i.0.max(self.now));
                self.lose(loss, until - self.now);
                self.segment(self.now, until, Some(loss));
                self.now = until;
                if interrupted.is_some() {
                    break;
                }
            }
            match interrupted {
                Some((_, class)) => cause = Stop::Failure(class),
                None => break,
            }
            if self.events > MOST_EVENTS {
                break;
            }
        }
        self.out.worst_recovery = self.out.worst_recovery.max(self.now - begin);
    }

    /// A failure that stops the job before `end`; others pass unnoticed by a job that does not train.
    fn interruption(&mut self, end: f64) -> Option<(f64, usize)> {
        loop {
            let (class, at) = self.arrivals.iter().enumerate().map(|(i, a)| (i, a.next)).min_by(|a, b| a.1.total_cmp(&b.1))?;
            if at >= end || self.events > MOST_EVENTS {
                return None;
            }
            if self.take(class) {
                self.out.by_class[class] += 1;
                if matches!(self.plan.classes[class].effect, Effect::Stop) {
                    return Some((at, class));
                }
            }
        }
    }

    /// The pieces of coming back from a stop, and the step from which the job goes on.
    fn parts(&mut self, cause: Stop, reached: f64) -> (Vec<(Loss, f64)>, f64) {
        let recovery = self.plan.recovery;
        let again = recovery.start + recovery.warm_up;
        let class = match cause {
            Stop::Found => {
                self.out.stops += 1;
                let wrong = self.poison.take().map_or(0.0, |p| p.1);
                let (steps, restore) = self.saved.clean(wrong);
                let swap = self.machines.take(1, self.now);
                let read = restore + self.reshard();
                return (vec![(Loss::NoSpare, swap), (Loss::Restart, recovery.swap + again), (Loss::Restore, read)], steps.min(reached));
            }
            Stop::Grow => {
                self.events += 1;
                return self.planned(reached, 0.0);
            }
            Stop::Failure(class) => &self.plan.classes[class],
        };
        if let Effect::Planned { lasts } = class.effect {
            return self.planned(reached, lasts);
        }
        self.out.stops += 1;
        let (detect, nodes, loses) = (class.detect, class.nodes, class.loses);
        let (steps, restore) = self.saved.newest(loses);
        let wait = class.outage + self.machines.take(nodes, self.now + detect);
        let swap = if nodes > 0 { recovery.swap } else { 0.0 };
        let read = restore + self.reshard();
        let parts = vec![(Loss::Detection, detect), (Loss::NoSpare, wait), (Loss::Restart, swap + again), (Loss::Restore, read)];
        (parts, steps.min(reached))
    }

    /// A stop before which the job saves: to the safest place of its region, and waits until the checkpoint is complete.
    fn planned(&mut self, reached: f64, lasts: f64) -> (Vec<(Loss, f64)>, f64) {
        let levels = self.plan.levels.iter().enumerate().filter(|(_, l)| l.survives <= Loses::Domain || self.plan.levels.len() == 1);
        let safest = levels.max_by(|a, b| a.1.survives.cmp(&b.1.survives).then(b.1.drain.total_cmp(&a.1.drain)));
        let (saved, restore) = match safest {
            Some((i, level)) if self.plan.every > 0 => {
                self.saved.put(i, reached);
                (self.plan.block + level.drain, level.restore)
            }
            _ => (0.0, 0.0),
        };
        let steps = if safest.is_some() && self.plan.every > 0 { reached } else { 0.0 };
        self.machines.take(0, self.now);
        let again = self.plan.recovery.start + self.plan.recovery.warm_up;
        let read = restore + self.reshard();
        (vec![(Loss::Checkpoint, saved), (Loss::Maintenance, lasts), (Loss::Restart, again), (Loss::Restore, read)], steps)
    }

    /// Seconds that reading takes longer because the job has other replicas than before.
    fn reshard(&self) -> f64 {
        if self.machines.slow() == self.slow { 0.0 } else { self.plan.reshard }
    }

    /// Marks work that has to be done again at the end of the last training piece.
    fn lost_work(&mut self, begin: f64, steps: f64) {
        let seconds = steps * self.plan.whole_step();
        self.out.worst_loss = self.out.worst_loss.max(seconds);
        if !self.record || seconds <= 0.0 {
            return;
        }
        let mut left = seconds;
        let mut marks = Vec::new();
        for segment in self.out.segments.iter_mut().rev().filter(|s| s.loss.is_none() && s.end <= begin) {
            let take = left.min(segment.end - segment.start);
            marks.push(Segment { start: segment.end - take, end: segment.end, loss: Some(Loss::LostWork) });
            segment.end -= take;
            left -= take;
            if left <= 0.0 {
                break;
            }
        }
        self.out.segments.extend(marks);
    }
}
