//! The checkpoints of a run: which are complete, which of them a failure leaves, which hold no wrong values.

use super::failure::Loses;
use super::plan::RunPlan;
use std::collections::VecDeque;

/// What is saved where.
pub(super) struct Saved<'a> {
    plan: &'a RunPlan,
    /// Checkpoints taken in all pieces of training before: which of them go to a rare level does not begin anew.
    taken: f64,
    /// Steps of the newest checkpoint at each level.
    stored: Vec<Option<f64>>,
    /// Steps of the last checkpoints at each of the safest places, oldest first.
    history: Vec<VecDeque<f64>>,
}

impl<'a> Saved<'a> {
    /// Nothing yet.
    pub(super) fn new(plan: &'a RunPlan) -> Self {
        let levels = plan.levels.len();
        Self { plan, taken: 0.0, stored: vec![None; levels], history: vec![VecDeque::new(); levels] }
    }

    /// Puts a checkpoint of a step at a level, out of turn.
    pub(super) fn put(&mut self, level: usize, steps: f64) {
        self.stored[level] = Some(steps);
        self.history[level].push_back(steps);
    }

    /// Keeps the checkpoints that are complete after `t` seconds of training that began at step `from`.
    pub(super) fn complete(&mut self, from: f64, t: f64) {
        if self.plan.every == 0 {
            return;
        }
        let (cycle, every) = (self.plan.cycle(), self.plan.every as f64);
        let full = self.plan.at(t).0;
        let safest = self.plan.levels.iter().map(|l| l.survives).max();
        for (i, level) in self.plan.levels.iter().enumerate() {
            let each = level.every as f64;
            let complete = ((t - level.drain) / cycle).floor().min(full);
            let last = ((self.taken + complete) / each).floor() * each - self.taken;
            if last < 1.0 {
                continue;
            }
            self.stored[i] = Some(from + last * every);
            if safest.is_some_and(|s| level.survives >= s.min(Loses::Domain)) {
                for back in (0..self.plan.retention).rev() {
                    let number = last - back as f64 * each;
                    if number >= 1.0 {
                        self.history[i].push_back(from + number * every);
                    }
                }
                while self.history[i].len() > self.plan.retention {
                    self.history[i].pop_front();
                }
            }
        }
        self.taken += full;
    }

    /// The newest checkpoint that a failure leaves, with the seconds to read it; from the beginning where there is none.
    pub(super) fn newest(&mut self, loses: Loses) -> (f64, f64) {
        let mut best = (0.0, 0.0);
        for (i, level) in self.plan.levels.iter().enumerate() {
            if level.survives < loses {
                self.stored[i] = None;
                self.history[i].clear();
            }
            if let Some(steps) = self.stored[i]
                && (steps > best.0 || (steps == best.0 && level.restore < best.1))
            {
                best = (steps, level.restore);
            }
        }
        best
    }

    /// The newest checkpoint from before the values went wrong; what was saved since is thrown away.
    pub(super) fn clean(&mut self, wrong_from: f64) -> (f64, f64) {
        let mut best = (0.0, 0.0);
        for (i, level) in self.plan.levels.iter().enumerate() {
            self.history[i].retain(|&s| s <= wrong_from);
            let newest = self.history[i].back().copied();
            self.stored[i] = newest.or(self.stored[i].filter(|&s| s <= wrong_from));
            if let Some(steps) = newest
                && (steps > best.0 || (steps == best.0 && level.restore < best.1))
            {
                best = (steps, level.restore);
            }
        }
        best
    }
}
