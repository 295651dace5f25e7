//! The numbers of a run: means and percentiles, losses, checkpoints, recovery, the curve over intervals, what a change would buy.

use super::operations::Operations;
use super::run::{RUNS_OF_A_POINT, Size};
use crate::metrics::{
    CauseOutcome, CheckpointOutcome, IntervalOutcome, LevelOutcome, LossParts, RecoveryOutcome, ReshardLevel, ReshardOutcome, RunNumbers,
    RunOutcome, SensitivityOutcome, ShrunkOutcome,
};
use crate::operations::{CheckpointCost, Ensemble, LOSSES, Level, Objective, Recovery, RunPlan, Spread, daly, ensemble, sweep, young};
use crate::units::{DAY, HOUR};

/// What was found out about checkpoints.
pub(super) struct Costs<'a> {
    /// Of one.
    pub(super) checkpoint: Option<&'a CheckpointCost>,
    /// Bytes and seconds of reading one onto the other layout, by place.
    pub(super) reshard: Option<Vec<(f64, f64)>>,
}

/// The numbers of a run.
pub(super) fn outcome(plan: &RunPlan, operations: &Operations, costs: &Costs<'_>, all: &Ensemble, size: &Size, seed: u64) -> RunOutcome {
    let cost = costs.checkpoint;
    let several = operations.failures.is_some();
    let at = |pick: fn(&Spread) -> f64| RunNumbers {
        days: pick(&all.wall) / DAY,
        training_goodput: pick(&all.goodput),
        failures: pick(&all.stops),
        lost_s: pick(&all.lost),
    };
    let of = |name: &str| LOSSES.iter().position(|l| l.1 == name).map_or(0.0, |i| all.losses[i]);
    let causes = plan.classes.iter().zip(&all.by_class).zip(operations.failures.iter().flat_map(|f| &f.classes));
    let stops = plan.stop_rate() > 0.0;
    RunOutcome {
        steps: size.steps,
        tokens: size.tokens,
        model_flops: size.model_flops,
        days: all.wall.mean / DAY,
        training_goodput: all.goodput.mean,
        failures: all.stops.mean,
        lost_s: all.lost.mean,
        p5: several.then(|| at(|s| s.p5)),
        p50: several.then(|| at(|s| s.p50)),
        p95: several.then(|| at(|s| s.p95)),
        losses_s: LossParts::of(of),
        losses_usd: None,
        useful_usd: None,
        losses_kwh: None,
        useful_kwh: None,
        finishes_on: operations.start.map(|d| d.after(all.wall.mean / DAY).iso()),
        recovery: if cost.is_some() && several { recovery(plan, operations) } else { Vec::new() },
        shrunk: smaller(plan),
        seeds: several.then_some(all.runs),
        unfinished: (all.finished < all.runs).then_some(all.runs - all.finished),
        mttf_h: (several && stops).then(|| 1.0 / plan.stop_rate() / HOUR),
        causes: causes
            .map(|((c, &failures), given)| CauseOutcome { name: c.name.clone(), effect: given.input.effect.word(), failures })
            .collect(),
        checkpoint: cost.map(|c| checkpoint(plan, c, operations, costs, all)),
        intervals: if cost.is_some() && stops { intervals(plan, seed, operations.seeds) } else { Vec::new() },
        sensitivity: if stops { sensitivity(plan, seed, operations.seeds) } else { Vec::new() },
    }
}

/// Recovery point and time by what is lost.
fn recovery(plan: &RunPlan, operations: &Operations) -> Vec<RecoveryOutcome> {
    let detect = operations.failures.as_ref().map_or(0.0, |f| f.detect);
    let one = |o: Objective| RecoveryOutcome {
        loses: o.loses.word(),
        from: o.point.map(|(level, _)| plan.levels[level].name.clone()),
        rpo_s: o.point.map(|(_, age)| age),
        rto_s: o.time,
    };
    plan.objectives(detect).into_iter().map(one).collect()
}

/// The states with fewer replicas.
fn smaller(plan: &RunPlan) -> Vec<ShrunkOutcome> {
    let steps = plan.shrunk.windows(2).enumerate().filter(|(_, w)| w[1] > w[0]);
    steps.map(|(i, w)| ShrunkOutcome { missing_nodes: i as u64 + 1, time_factor: w[1] }).collect()
}

fn resharded(plan: &RunPlan, operations: &Operations, costs: &[(f64, f64)]) -> Option<ReshardOutcome> {
    let p = operations.reshard.as_ref()?.to.as_ref()?.parallel;
    let level = |(l, c): (&Level, &(f64, f64))| ReshardLevel { name: l.name.clone(), read_bytes: c.0, restore_s: c.1 };
    let levels = plan.levels.iter().zip(costs).map(level).collect();
    Some(ReshardOutcome { tensor: p.tensor, pipeline: p.pipeline, data: p.data, levels })
}

fn checkpoint(plan: &RunPlan, cost: &CheckpointCost, operations: &Operations, costs: &Costs<'_>, all: &Ensemble) -> CheckpointOutcome {
    let several = operations.failures.is_some();
    let places = operations.checkpoint.as_ref().map_or(&[][..], |c| &c.0.levels);
    let from = |i: usize| places.get(i).and_then(|l| l.from).map(|near| cost.levels[near].level.name.clone());
    let mtbf = 1.0 / plan.stop_rate();
    let save = plan.block + plan.slowdown;
    let levels = cost.levels.iter().enumerate().map(|(i, l)| LevelOutcome {
        name: l.level.name.clone(),
        every: l.level.every,
        from: from(i),
        write_s: l.write,
        write_bytes_per_s: l.rate,
        bottleneck: l.bottleneck,
        restore_s: l.level.restore,
        restore_bytes: l.read_bytes,
        stored_bytes: l.stored(cost, plan.retention),
        fits: l.stored(cost, plan.retention) <= l.capacity,
        survives: l.level.survives.word(),
    });
    CheckpointOutcome {
        bytes: cost.bytes,
        largest_shard_bytes: cost.largest_shard,
        interval_s: plan.every as f64 * plan.whole_step(),
        interval_steps: plan.every,
        young_s: mtbf.is_finite().then(|| young(save, mtbf)),
        daly_s: mtbf.is_finite().then(|| daly(save, mtbf)),
        block_s: plan.block,
        copy_s: cost.copy,
        slowdown_s: plan.slowdown,
        count: all.checkpoints,
        rpo_s: several.then_some(all.worst_loss),
        rto_s: several.then_some(all.worst_recovery),
        written_share: (cost.incremental.full_every > 1).then(|| cost.incremental.written()),
        levels: levels.collect(),
        reshard: costs.reshard.as_deref().and_then(|c| resharded(plan, operations, c)),
    }
}

fn intervals(plan: &RunPlan, seed: u64, seeds: u64) -> Vec<IntervalOutcome> {
    let points = sweep(plan, seed, seeds.min(RUNS_OF_A_POINT));
    points.into_iter().map(|p| IntervalOutcome { interval_s: p.interval, training_goodput: p.goodput, exact_goodput: p.exact }).collect()
}

/// What halving or doubling one thing buys, all with the same draws.
fn sensitivity(plan: &RunPlan, seed: u64, seeds: u64) -> Vec<SensitivityOutcome> {
    let runs = seeds.min(RUNS_OF_A_POINT);
    let base = ensemble(plan, seed, runs, false);
    let mut out = Vec::new();
    let mut with = |change: &str, edit: &dyn Fn(&mut RunPlan)| {
        let mut other = plan.clone();
        edit(&mut other);
        if other == *plan {
            return;
        }
        let all = ensemble(&other, seed, runs, false);
        out.push(SensitivityOutcome {
            change: change.to_owned(),
            days: all.wall.mean / DAY,
            training_goodput: all.goodput.mean,
            saved_days: (base.wall.mean - all.wall.mean) / DAY,
            saved_usd: 0.0,
        });
    };
    with("half as many failures", &|p| p.classes.iter_mut().for_each(|c| c.rate /= 2.0));
    with("failures noticed twice as fast", &|p| p.classes.iter_mut().for_each(|c| c.detect /= 2.0));
    with("swap, restart and warm-up twice as fast", &|p| {
        p.recovery = Recovery { swap: p.recovery.swap / 2.0, start: p.recovery.start / 2.0, warm_up: p.recovery.warm_up / 2.0 };
    });
    with("checkpoints written twice as fast", &|p| {
        p.block /= 2.0;
        p.slowdown /= 2.0;
        p.levels.iter_mut().for_each(|l| (l.drain, l.busy) = (l.drain / 2.0, l.busy / 2.0));
    });
    with("checkpoints read back twice as fast", &|p| p.levels.iter_mut().for_each(|l| l.restore /= 2.0));
    with("checkpoints twice as often", &|p| p.every = p.every.div_ceil(2));
    with("checkpoints half as often", &|p| p.every = p.every.saturating_mul(2).min(p.steps as u64));
    with("twice as many spare nodes", &|p| p.spares.count = p.spares.count.map(|n| (n * 2).max(1)));
    with("data that never wait", &|p| p.data_stall = 0.0);
    out
}

/// What one more drive in every node buys; `None` where it changes nothing.
pub(super) fn more_drives(plan: &RunPlan, other: &RunPlan, seed: u64, seeds: u64) -> Option<SensitivityOutcome> {
    if plan == other {
        return None;
    }
    let runs = seeds.min(RUNS_OF_A_POINT);
    let (base, all) = (ensemble(plan, seed, runs, false), ensemble(other, seed, runs, false));
    Some(SensitivityOutcome {
        change: "one more drive in every node".into(),
        days: all.wall.mean / DAY,
        training_goodput: all.goodput.mean,
        saved_days: (base.wall.mean - all.wall.mean) / DAY,
        saved_usd: 0.0,
    })
}
