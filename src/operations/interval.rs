//! How often to checkpoint: Young's and Daly's intervals, the exact efficiency under exponential failures, and search over simulated runs.
//!
//! Young (1974): `sqrt(2 d M)`; Daly (2006) adds terms of higher order, for `d < 2 M`. With exponential failures that may come at any time,
//! also while saving and coming back, a segment of work `T` with save `d` takes `M e^(R/M) (e^((T+d)/M) - 1)` in the mean, so that the
//! efficiency is exactly `T` over that. Young's first-order waste errs by up to 14 points where `R` is not small against `M`.

use super::ensemble::ensemble;
use super::plan::RunPlan;

/// Young's interval in seconds of work, for a save of `save` seconds and a mean time `mtbf` between failures.
#[must_use]
pub fn young(save: f64, mtbf: f64) -> f64 {
    libm::sqrt(2.0 * save * mtbf)
}

/// Daly's interval in seconds of work.
#[must_use]
pub fn daly(save: f64, mtbf: f64) -> f64 {
    if save >= 2.0 * mtbf {
        return mtbf;
    }
    let ratio = save / (2.0 * mtbf);
    young(save, mtbf) * (1.0 + libm::sqrt(ratio) / 3.0 + ratio / 9.0) - save
}

/// Share of the time that counts, for an interval of work, a save, a recovery and a mean time between failures, all in seconds.
#[must_use]
pub fn exact_efficiency(interval: f64, save: f64, recovery: f64, mtbf: f64) -> f64 {
    if mtbf.is_infinite() {
        return interval / (interval + save);
    }
    interval / (mtbf * libm::exp(recovery / mtbf) * libm::expm1((interval + save) / mtbf))
}

/// Goodput at one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SweepPoint {
    /// Steps between checkpoints.
    pub every: u64,
    /// Seconds of work between checkpoints.
    pub interval: f64,
    /// Simulated mean useful share.
    pub goodput: f64,
    /// Of the exact formula, where save, recovery and failures are those of the plan on average.
    pub exact: f64,
}

/// The plan with another interval.
fn with(plan: &RunPlan, every: u64) -> RunPlan {
    RunPlan { every, ..plan.clone() }
}

/// What a save costs the job in the mean: block and slowdown.
fn save_of(plan: &RunPlan) -> f64 {
    plan.block + plan.slowdown
}

/// Simulated goodput at one interval.
fn point(plan: &RunPlan, every: u64, seed: u64, runs: u64) -> SweepPoint {
    let plan = with(plan, every);
    let interval = every as f64 * plan.whole_step();
    let mtbf = 1.0 / plan.stop_rate();
    let save = plan.cycle() - interval;
    let exact = exact_efficiency(interval, save, plan.mean_recovery(), mtbf) * plan.step / plan.whole_step();
    SweepPoint { every, interval, goodput: ensemble(&plan, seed, runs, false).goodput.mean, exact }
}

/// Goodput over intervals from an eighth to eight times Young's, each simulated `runs` times with the same draws.
#[must_use]
pub fn sweep(plan: &RunPlan, seed: u64, runs: u64) -> Vec<SweepPoint> {
    let step = plan.whole_step();
    let middle = young(save_of(plan).max(1e-3), 1.0 / plan.stop_rate()).clamp(step, step * plan.steps.max(1.0));
    let mut steps: Vec<u64> =
        (-6..=6).map(|i| ((middle * libm::exp2(f64::from(i) / 2.0) / step).round().max(1.0)).min(plan.steps) as u64).collect();
    steps.push(plan.every.max(1));
    steps.sort_unstable();
    steps.dedup();
    steps.into_iter().map(|every| point(plan, every, seed, runs)).collect()
}

/// The best interval in steps by simulated goodput: a coarse sweep over three decades, then halving around the best.
#[must_use]
pub fn best_interval(plan: &RunPlan, seed: u64, runs: u64) -> u64 {
    let step = plan.whole_step();
    let most = plan.steps.max(1.0);
    let middle = (young(save_of(plan).max(1e-3), 1.0 / plan.stop_rate()) / step).clamp(1.0, most);
    let mut ratio = 2.0;
    let mut best = point(plan, (middle.round() as u64).max(1), seed, runs);
    let tried = |every: f64| (every.round().max(1.0)).min(most) as u64;
    for i in -5..=5 {
        let candidate = point(plan, tried(middle * libm::exp2(f64::from(i))), seed, runs);
        if candidate.goodput > best.goodput {
            best = candidate;
        }
    }
    while ratio > 1.05 {
        ratio = libm::sqrt(ratio);
        for factor in [1.0 / ratio, ratio] {
            let candidate = point(plan, tried(best.every as f64 * factor), seed, runs);
            if candidate.goodput > best.goodput {
                best = candidate;
            }
        }
    }
    best.every
}
