//! Many runs under different draws, side by side; results are gathered in the order of their numbers, so threads change nothing.

use super::plan::{LOSSES, RunPlan, RunResult};
use super::process::run_once;
use rayon::prelude::*;

/// Mean and percentiles of one number over runs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// 5th percentile.
    pub p5: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
}

impl Spread {
    /// Of some values (nearest rank); zero of none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        let n = values.len();
        if n == 0 {
            return Self::default();
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        values.sort_by(f64::total_cmp);
        let at = |p: f64| values[((p * n as f64).ceil() as usize).clamp(1, n) - 1];
        Self { mean, p5: at(0.05), p50: at(0.5), p95: at(0.95) }
    }
}

/// What many runs of one plan came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    /// How many runs.
    pub runs: u64,
    /// How many of them came to their end.
    pub finished: u64,
    /// Wall seconds.
    pub wall: Spread,
    /// Useful share of the wall time.
    pub goodput: Spread,
    /// Failures that stopped the job.
    pub stops: Spread,
    /// Wall seconds that were lost.
    pub lost: Spread,
    /// Mean seconds lost, in the order of [`LOSSES`].
    pub losses: [f64; LOSSES.len()],
    /// Mean failures by class.
    pub by_class: Vec<f64>,
    /// Mean checkpoints taken.
    pub checkpoints: f64,
    /// Mean over runs of the most work lost at once, seconds.
    pub worst_loss: f64,
    /// Mean over runs of the longest time of coming back, seconds.
    pub worst_recovery: f64,
    /// The first run with its pieces.
    pub first: RunResult,
}

/// Runs a plan `runs` times under a seed.
#[must_use]
pub fn ensemble(plan: &RunPlan, seed: u64, runs: u64, record: bool) -> Ensemble {
    let results: Vec<RunResult> = (0..runs.max(1)).into_par_iter().map(|i| run_once(plan, seed, i, record && i == 0)).collect();
    let n = results.len() as f64;
    let spread = |of: &dyn Fn(&RunResult) -> f64| Spread::of(results.iter().map(of).collect());
    let mean = |of: &dyn Fn(&RunResult) -> f64| results.iter().map(of).sum::<f64>() / n;
    let mut losses = [0.0; LOSSES.len()];
    for (i, loss) in losses.iter_mut().enumerate() {
        *loss = mean(&|r| r.losses[i]);
    }
    Ensemble {
        runs: results.len() as u64,
        finished: results.iter().filter(|r| r.finished).count() as u64,
        wall: spread(&|r| r.wall),
        goodput: spread(&|r| r.useful / r.wall),
        stops: spread(&|r| r.stops as f64),
        lost: spread(&|r| (r.wall - r.useful).max(0.0)),
        losses,
        by_class: (0..plan.classes.len()).map(|c| mean(&|r| r.by_class[c] as f64)).collect(),
        checkpoints: mean(&|r| r.checkpoints),
        worst_loss: mean(&|r| r.worst_loss),
        worst_recovery: mean(&|r| r.worst_recovery),
        first: results.into_iter().next().unwrap_or_else(|| run_once(plan, seed, 0, record)),
    }
}
