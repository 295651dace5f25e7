//! Microbatches in the middle of a long step that are not run. A pipeline soon falls into step: every pass comes a fixed time, a period,
//! after the same pass of the microbatch (interleaved: of the group) before. What a pass waits for lies at most a few microbatches back,
//! so once that holds for as many microbatches in a row as anything reaches back, it holds for all that follow, until no new ones
//! enter. A short step with the same beginning, a stretch in step, and the same end therefore stands for the long one; where the stretch
//! turns out not to be in step, the long one is run.

use super::config::Config;
use super::schedule::{Schedule, group_size};
use crate::simulate::Execution;
use crate::workload::TaskGraph;

/// How far the same pass of two periods in step may differ, in periods.
const SAME: f64 = 1e-9;

/// A step pays off short where it has at most so much of the long one's microbatches.
const WORTH: f64 = 0.75;

/// Periods of a step that were not run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repeat {
    /// First microbatch of the period that stands for those left out, which come after it.
    pub first: u32,
    /// Microbatches of a period.
    pub count: u32,
    /// Periods left out.
    pub times: u32,
    /// Seconds of a period.
    pub period_s: f64,
}

impl Repeat {
    /// How often what a microbatch does happens in the step.
    #[must_use]
    pub fn weight(&self, microbatch: u32) -> f64 {
        if self.is_in(microbatch) { f64::from(1 + self.times) } else { 1.0 }
    }
    /// Whether a microbatch belongs to the period that stands for those left out.
    #[must_use]
    pub const fn is_in(&self, microbatch: u32) -> bool {
        microbatch >= self.first && microbatch < self.first + self.count
    }
    /// Whether a microbatch comes after those left out.
    #[must_use]
    pub const fn is_late(&self, microbatch: u32) -> bool {
        microbatch >= self.first + self.count
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
    /// Microbatches that have to be in step.
    depth: u32,
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
    // A backward pass follows the forward pass that is as many microbatches ahead as are in flight.
    let depth = if several { 2 * group } else { p.pipeline.max(2) };
    let kept = depth + depth + group + depth + microbatches % group;
    let times = microbatches.checked_sub(kept)? / group;
    if kept as f64 > WORTH * microbatches as f64 || several && group_size(p.pipeline, p.virtual_stages, kept) != group {
        return None;
    }
    let repeat = Repeat { first: depth as u32, count: group as u32, times: u32::try_from(times).ok()?, period_s: 0.0 };
    let left_out = times * group * config.microbatch * p.data;
    Some(Short { config: Config { global_batch: config.global_batch - left_out, ..config.clone() }, repeat, depth: depth as u32 })
}

impl Short {
    /// What the step left out, if it came into step.
    pub(super) fn settled(&self, graph: &TaskGraph, run: &Execution) -> Option<Repeat> {
        let Repeat { first, count, .. } = self.repeat;
        let span = (self.depth + count) as usize;
        let mut tasks: Vec<Vec<usize>> = vec![Vec::new(); span];
        for (i, task) in graph.tasks().iter().enumerate() {
            if let Some(list) = task.label.microbatch.checked_sub(first).and_then(|m| tasks.get_mut(m as usize)) {
                list.push(i);
            }
        }
        let (one, same) = (*tasks[0].first()?, *tasks[count as usize].first()?);
        let period_s = run.start[same] - run.start[one];
        let near = |a: f64, b: f64| ((b - a) / period_s - 1.0).abs() <= SAME;
        let in_step = |(&a, &b): (&usize, &usize)| {
            let (x, y) = (&graph.tasks()[a], &graph.tasks()[b]);
            let alike =
                (x.class, x.track, x.kind, x.label.chunk, x.label.piece) == (y.class, y.track, y.kind, y.label.chunk, y.label.piece);
            alike && near(run.start[a], run.start[b]) && near(run.finish[a], run.finish[b])
        };
        let pairs = tasks.iter().zip(&tasks[count as usize..]);
        let all = period_s > 0.0 && pairs.into_iter().all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(in_step));
        all.then_some(Repeat { period_s, ..self.repeat })
    }
}
