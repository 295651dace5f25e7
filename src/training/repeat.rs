//! Microbatches in the middle of a long step that are not run. A pipeline soon falls into step: every pass comes a fixed time, a period,
//! after the same pass of the microbatch (interleaved: of the group) before. Every class takes its passes in order, so what is to come
//! follows from what runs and from how far each class has come; where all that runs in one period runs again in the next, one microbatch
//! on, it runs so until no new microbatches enter. A short step with the same beginning, two such periods, and the same end therefore
//! stands for the long one; where they differ, the long one is run.

use super::config::Config;
use super::schedule::{Schedule, group_size};
use crate::simulate::Execution;
use crate::workload::{Task, TaskGraph};

/// How far the same pass of two periods in step may differ, in periods.
const SAME: f64 = 1e-9;

/// A step pays off short where it has at most so much of the long one's microbatches.
const WORTH: f64 = 0.75;

/// Periods of a step that were not run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repeat {
    /// First microbatch of a group whose bytes count for those left out, too.
    pub first: u32,
    /// Microbatches of a period.
    pub count: u32,
    /// Periods left out.
    pub times: u32,
    /// When the period that stands for those left out begins.
    pub from_s: f64,
    /// Seconds of a period.
    pub period_s: f64,
}

impl Repeat {
    /// How often what a microbatch moves is moved in the step.
    #[must_use]
    pub fn weight(&self, microbatch: u32) -> f64 {
        let counts = microbatch >= self.first && microbatch < self.first + self.count;
        if counts { f64::from(1 + self.times) } else { 1.0 }
    }
    /// Whether what starts then belongs to the period that stands for those left out.
    #[must_use]
    pub fn is_in(&self, start_s: f64) -> bool {
        start_s >= self.from_s && start_s < self.from_s + self.period_s
    }
    /// Whether what starts then comes after those left out.
    #[must_use]
    pub fn is_late(&self, start_s: f64) -> bool {
        start_s >= self.from_s + self.period_s
    }
    /// Microbatches left out.
    #[must_use]
    pub const fn microbatches(&self) -> u32 {
        self.count * self.times
    }
    /// Seconds of the periods left out.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        f64::from(self.times) * self.period_s
    }
}

/// A short step that may stand for a long one.
pub(super) struct Short {
    pub(super) config: Config,
    /// What it leaves out; its period is not known yet.
    pub(super) repeat: Repeat,
}

/// The short step that may stand for a job's; `None` where that would not pay off, or where passes differ by more than their microbatch:
/// replicas with unequal shares, schedules other than 1F1B (stages that wait for little drift apart over many microbatches, and whatever
/// does not take microbatches in turn never falls into step), and copies from and to the host, which queue on and on.
pub(super) fn short(config: &Config) -> Option<Short> {
    let p = &config.parallel;
    if p.schedule != Schedule::OneForwardOneBackward || config.batch_shares.is_some() || config.offload.any() {
        return None;
    }
    let microbatches = config.microbatches();
    let several = p.virtual_stages > 1;
    let group = if several { group_size(p.pipeline, p.virtual_stages, microbatches) } else { 1 };
    // Groups that enter before the first stage works forward and backward in turn.
    let filling = if several { 2 } else { p.pipeline };
    // What comes last: a group that is not whole, else a whole one.
    let last = if microbatches.is_multiple_of(group) { group } else { microbatches % group };
    let first = filling * group;
    let kept = first + 2 * group + last;
    let times = microbatches.checked_sub(kept)? / group;
    if kept as f64 > WORTH * microbatches as f64 || several && group_size(p.pipeline, p.virtual_stages, kept) != group {
        return None;
    }
    let times = u32::try_from(times).ok()?;
    let repeat = Repeat { first: first as u32, count: group as u32, times, from_s: 0.0, period_s: 0.0 };
    let left_out = u64::from(repeat.microbatches()) * config.microbatch * p.data;
    Some(Short { config: Config { global_batch: config.global_batch - left_out, ..config.clone() }, repeat })
}

impl Short {
    /// What the step left out, if it came into step.
    pub(super) fn settled(&self, graph: &TaskGraph, run: &Execution) -> Option<Repeat> {
        let Repeat { first, count, .. } = self.repeat;
        let tasks = graph.tasks();
        let enters = |microbatch: u32| tasks.iter().position(|t| t.label.microbatch == microbatch).map(|i| run.start[i]);
        let entered = enters(first)?;
        let period_s = enters(first + count)? - entered;
        // Just before, so that what ends and starts at that moment is not torn apart by rounding.
        let from_s = entered - 1e-6 * period_s;
        let running = |from: f64| {
            let to = from + period_s;
            (0..tasks.len()).filter(move |&i| run.start[i] < to && run.finish[i] > from)
        };
        let near = |a: f64, b: f64| ((b - a) / period_s - 1.0).abs() <= SAME;
        let in_step = |(a, b): (usize, usize)| {
            alike(&tasks[a], &tasks[b], count) && near(run.start[a], run.start[b]) && near(run.finish[a], run.finish[b])
        };
        let (one, next) = (running(from_s), running(from_s + period_s));
        let repeat = Repeat { from_s, period_s, ..self.repeat };
        // Every pass of a microbatch comes once a period, or the pipeline is not full.
        let group = tasks.iter().filter(|t| self.repeat.weight(t.label.microbatch) > 1.0).count();
        let started = run.start.iter().filter(|&&s| repeat.is_in(s)).count();
        (period_s > 0.0 && group == started && one.clone().count() == next.clone().count() && one.zip(next).all(in_step)).then_some(repeat)
    }
}

/// Whether a task does what another does a period later.
fn alike(a: &Task, b: &Task, count: u32) -> bool {
    (a.class, a.track, a.kind, a.label.chunk, a.label.piece, a.label.microbatch + count)
        == (b.class, b.track, b.kind, b.label.chunk, b.label.piece, b.label.microbatch)
}
