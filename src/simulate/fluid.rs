//! Work that progresses at fair rates over time.
//!
//! Every activity has an amount left and a rate; only when its rate changes is the amount brought up to date and its end
//! computed again, so nothing drifts. Ends that lie within a few units in the last place of each other are one instant.

use crate::engine::EventQueue;
use crate::fair::{ActivityId, Fair, ResourceId};

#[derive(Debug, Clone, Copy)]
struct Progress {
    left: f64,
    rate: f64,
    since: f64,
    end: f64,
    token: u32,
    generation: u32,
    alive: bool,
}

/// Activities in progress.
#[derive(Debug, Clone, Default)]
pub struct Fluid {
    fair: Fair,
    progress: Vec<Progress>,
    ends: EventQueue<(ActivityId, u32)>,
    generation: u32,
    now: f64,
    touched: bool,
}

/// Ends closer than this, relative to the time, are simultaneous: they differ only by rounding.
const SAME_INSTANT: f64 = 4.0 * f64::EPSILON;

impl Fluid {
    /// Nothing in progress.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a resource with a capacity in units per second.
    pub fn add_resource(&mut self, capacity: f64) -> ResourceId {
        self.fair.add_resource(capacity)
    }
    /// Changes a capacity from `now` on.
    pub fn set_capacity(&mut self, now: f64, resource: ResourceId, capacity: f64) {
        self.at(now);
        self.fair.set_capacity(resource, capacity);
        self.touched = true;
    }
    /// Starts an activity of `amount` units at `now`; `token` comes back when it ends.
    pub fn start(&mut self, now: f64, amount: f64, uses: impl IntoIterator<Item = (ResourceId, f64)>, cap: f64, token: u32) -> ActivityId {
        self.at(now);
        self.touched = true;
        let id = self.fair.start(uses, 1.0, cap);
        self.generation += 1;
        let progress =
            Progress { left: amount, rate: 0.0, since: now, end: f64::INFINITY, token, generation: self.generation, alive: true };
        let at = id.0 as usize;
        if at == self.progress.len() {
            self.progress.push(progress);
        } else {
            self.progress[at] = progress;
        }
        if amount <= 0.0 {
            self.progress[at].end = now;
            self.ends.push(now, (id, self.generation));
        }
        id
    }
    fn at(&mut self, now: f64) {
        if now > self.now {
            // Whatever changed at the last instant has to be solved with the rates of that instant.
            self.settle();
            self.now = now;
        }
    }
    /// Solves what changed and computes the ends of activities whose rate changed.
    fn settle(&mut self) {
        if !self.touched {
            return;
        }
        self.touched = false;
        self.fair.solve();
        let now = self.now;
        for i in 0..self.fair.changed().len() {
            let id = self.fair.changed()[i];
            let rate = self.fair.rate(id);
            let p = &mut self.progress[id.0 as usize];
            if !p.alive || p.left <= 0.0 {
                continue;
            }
            p.left = (p.left - p.rate * (now - p.since)).max(0.0);
            p.since = now;
            p.rate = rate;
            self.generation += 1;
            p.generation = self.generation;
            if rate > 0.0 {
                p.end = now + p.left / rate;
                self.ends.push(p.end, (id, p.generation));
            } else {
                p.end = f64::INFINITY;
            }
        }
    }
    fn current(&self, (id, generation): (ActivityId, u32)) -> bool {
        let p = &self.progress[id.0 as usize];
        p.alive && p.generation == generation
    }
    /// The time of the next end, if anything makes progress.
    pub fn next_finish(&mut self) -> Option<f64> {
        self.settle();
        while let Some((time, event)) = self.ends.peek() {
            if self.current(event) {
                return Some(time);
            }
            self.ends.pop();
        }
        None
    }
    /// Ends all activities whose end is `time`; appends their tokens in order of token.
    pub fn finish_at(&mut self, time: f64, out: &mut Vec<u32>) {
        self.at(time);
        let first = out.len();
        let limit = time * (1.0 + SAME_INSTANT);
        while let Some((end, event)) = self.ends.peek() {
            if self.current(event) && end > limit {
                break;
            }
            self.ends.pop();
            if !self.current(event) {
                continue;
            }
            self.progress[event.0.0 as usize].alive = false;
            out.push(self.progress[event.0.0 as usize].token);
            self.fair.stop(event.0);
            self.touched = true;
        }
        out[first..].sort_unstable();
    }
    /// How many activities are in progress.
    #[must_use]
    pub fn active(&self) -> usize {
        self.progress.iter().filter(|p| p.alive).count()
    }
}
