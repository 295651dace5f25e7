//! How often to checkpoint: Young's and Daly's intervals, the exact efficiency under exponential failures, and search over simulated runs.
//!
//! Young (1974): `sqrt(2 d M)`; Daly (2006) adds terms of higher order, for `d < 2 M`. With exponential failures that may come at any time,
//! also while saving and coming back, a segment of work `T` with save `d` takes `M e^(R/M) (e^((T+d)/M) - 1)` in the mean, so that the
//! efficiency is exactly `T` over that. Young's first-order waste errs by up to 14 points where `R` is not small against `M`.

use super::ensemble::ensemble;
use super::plan::RunPlan;
use nalgebra::{DMatrix, DVector};

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

/// The best interval in steps: a coarse sweep over three decades of simulated runs, then the lowest point of a curve through all simulated
/// runs around the best.
///
/// Goodput is so flat around its best that noise decides between single points. All of them together say more: the time for a unit
/// of work is fitted to `a expm1(c/M)/T + b (c - T)/T + e`, which holds the renewal formula exactly (`c` is the cycle of work `T`, its save
/// and a wait for the last drain). Draws are the same at each point, so most of the noise is in `e`. Error: about `0.3/sqrt(failures)`.
#[must_use]
pub fn best_interval(plan: &RunPlan, seed: u64, runs: u64) -> u64 {
    let step = plan.whole_step();
    let most = plan.steps.max(1.0);
    let middle = (young(save_of(plan).max(1e-3), 1.0 / plan.stop_rate()) / step).clamp(1.0, most);
    let tried = |every: f64| (every.round().max(1.0)).min(most) as u64;
    let mut points: Vec<SweepPoint> = Vec::new();
    let simulate = |around: f64, exponents: &[f64], points: &mut Vec<SweepPoint>| {
        for e in exponents {
            let every = tried(around * libm::exp2(*e));
            if points.iter().all(|p| p.every != every) {
                points.push(point(plan, every, seed, runs));
            }
        }
    };
    simulate(middle, &COARSE, &mut points);
    let best = |points: &[SweepPoint]| points.iter().max_by(|a, b| a.goodput.total_cmp(&b.goodput)).map_or(1, |p| p.every);
    let mut center = best(&points) as f64;
    for _ in 0..3 {
        simulate(center, &FINE, &mut points);
        let (low, high) = (tried(center / WINDOW), tried(center * WINDOW));
        let near: Vec<SweepPoint> = points.iter().copied().filter(|p| (low..=high).contains(&p.every)).collect();
        let Some(found) = lowest(plan, &near, (low, high)) else { return best(&near) };
        // In the middle half of its window the curve stands on points on both sides.
        if (found as f64 / center).max(center / found as f64) <= 2.0 || found == 1 || found == tried(most) {
            return found;
        }
        center = found as f64;
    }
    center as u64
}

/// Powers of two of the coarse and of the fine points.
const COARSE: [f64; 11] = [-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
const FINE: [f64; 17] = [-1.6, -1.4, -1.2, -1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6];
/// Points that are fitted lie within this factor of the middle.
const WINDOW: f64 = 3.1;

/// The three terms of the curve at an interval.
fn terms(plan: &RunPlan, every: u64) -> [f64; 3] {
    let with = with(plan, every);
    let (work, cycle) = (every as f64 * with.whole_step(), with.cycle());
    [libm::expm1((cycle * plan.stop_rate()).min(100.0)) / work, (cycle - work) / work, 1.0]
}

/// Steps between checkpoints where the curve through some points is lowest within bounds; `None` where they do not make one.
fn lowest(plan: &RunPlan, points: &[SweepPoint], (low, high): (u64, u64)) -> Option<u64> {
    let useful: Vec<&SweepPoint> = points.iter().filter(|p| p.goodput > 0.0).collect();
    if useful.len() < 6 {
        return None;
    }
    let rows: Vec<[f64; 3]> = useful.iter().map(|p| terms(plan, p.every)).collect();
    let scale: Vec<f64> = (0..3).map(|i| rows.iter().map(|r| r[i].abs()).fold(0.0, f64::max).max(f64::MIN_POSITIVE)).collect();
    let matrix = DMatrix::from_fn(rows.len(), 3, |r, c| rows[r][c] / scale[c]);
    let wanted = DVector::from_iterator(rows.len(), useful.iter().map(|p| 1.0 / p.goodput));
    let fitted = matrix.svd(true, true).solve(&wanted, 1e-10).ok()?;
    let at = |every: u64| (0..3).map(|i| fitted[i] / scale[i] * terms(plan, every)[i]).sum::<f64>();
    // Steps of half a percent are finer than the error of the curve.
    let count = (libm::log(high as f64 / low as f64) / 0.005).ceil().max(1.0) as u64;
    let tried = (0..=count).map(|i| (low as f64 * libm::exp(0.005 * i as f64)).round() as u64).map(|e| e.clamp(low, high));
    tried.map(|e| (at(e), e)).min_by(|a, b| a.0.total_cmp(&b.0)).map(|x| x.1)
}
