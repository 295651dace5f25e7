//! From a simulated step to the run: what checkpoints cost on the fabric, what fails, many runs, and what a change would buy.

use super::operations::{FailureClass, Failures, Operations};
use super::operations_input::Interval;
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::Profiles;
use crate::metrics::{
    CauseOutcome, CheckpointOutcome, IntervalOutcome, LevelOutcome, LossSeconds, RunNumbers, RunOutcome, RunSegment, SensitivityOutcome,
};
use crate::operations::{
    CheckpointCost, Class, Effect, EffectKind, Ensemble, LOSSES, Lemons, Loses, Mode, Recovery, RunPlan, Spares, Spread, best_interval,
    checkpoint_cost, daly, ensemble, sweep, young,
};
use crate::training::{Config, Step, simulate_step_beside, simulate_step_with};
use crate::units::{DAY, HOUR, Seconds};

/// Runs of each point of a curve and of each change.
const RUNS_OF_A_POINT: u64 = 64;

/// A run with what it cost to find out.
pub(super) struct Run {
    /// Its numbers.
    pub(super) outcome: RunOutcome,
    /// Its first seed's pieces.
    pub(super) segments: Vec<RunSegment>,
    /// Mean stall of a step because of checkpoints, seconds.
    pub(super) checkpoint_stall: f64,
    /// Share of the wall time in which accelerators train, lost work included.
    pub(super) training_share: f64,
}

/// The size of a run: optimizer steps, tokens and model FLOPs.
pub(super) struct Size {
    pub(super) steps: f64,
    pub(super) tokens: f64,
    pub(super) model_flops: f64,
}

/// Simulates the run of a step.
pub(super) fn run(
    operations: &Operations,
    config: &Config,
    (fabric, profiles): (&Fabric, &Profiles),
    step: &Step,
    data_stall: f64,
    size: &Size,
    seed: u64,
) -> Run {
    let time = step.execution.makespan;
    let cost = operations.checkpoint.as_ref().and_then(|(plan, ..)| checkpoint_cost(config, &step.layers, fabric, plan));
    let mut plan = RunPlan {
        steps: size.steps,
        step: time,
        data_stall,
        every: 0,
        block: cost.as_ref().map_or(0.0, |c| c.block),
        slowdown: 0.0,
        levels: cost.as_ref().map_or_else(Vec::new, |c| c.levels.iter().map(|l| l.level.clone()).collect()),
        retention: operations.checkpoint.as_ref().map_or(1, |c| c.2),
        classes: Vec::new(),
        recovery: Recovery { swap: 0.0, start: 0.0, warm_up: 0.0 },
        spares: Spares { count: None, repair: 0.0, sigma: 0.0 },
        lemons: None,
        fleet_sigma: 0.0,
    };
    if let (Some(cost), Some((saving, ..))) = (&cost, &operations.checkpoint)
        && saving.mode == Mode::Async
    {
        plan.slowdown = slowdown(cost, config, (fabric, profiles), time);
    }
    if let Some(failures) = &operations.failures {
        fail(&mut plan, failures, config, (fabric, profiles), time);
    }
    if let Some((_, interval, _)) = &operations.checkpoint {
        plan.every = every(&plan, *interval, seed);
    }
    let several = operations.failures.is_some();
    let runs = if several { operations.seeds } else { 1 };
    let all = ensemble(&plan, seed, runs, true);
    let checkpoint_stall = if plan.every > 0 { (plan.cycle() - plan.every as f64 * plan.whole_step()) / plan.every as f64 } else { 0.0 };
    let outcome = outcome(&plan, operations, cost.as_ref(), &all, size, seed);
    let idle: f64 = all.losses.iter().zip(LOSSES).filter(|(_, l)| is_idle(l.1)).map(|(s, _)| s).sum();
    let training_share = (1.0 - idle / all.wall.mean).clamp(0.0, 1.0);
    let name = |loss| LOSSES.iter().find(|l| l.0 == loss).map_or("", |l| l.1);
    let segments = all.first.segments.iter().map(|s| RunSegment { start_s: s.start, end_s: s.end, loss: s.loss.map(name) }).collect();
    Run { outcome, segments, checkpoint_stall, training_share }
}

/// Seconds that the steps lose while one checkpoint drains beside them, on the links that both load.
fn slowdown(cost: &CheckpointCost, config: &Config, (fabric, profiles): (&Fabric, &Profiles), time: f64) -> f64 {
    let mut sum = 0.0;
    for level in cost.levels.iter().filter(|l| l.write > 0.0) {
        // Over several steps each sees its part of the drain.
        let steps = (level.write / time).max(1.0);
        let beside = simulate_step_beside(config, fabric, profiles, &level.transfer, 1.0 / steps).map_or(time, |s| s.execution.makespan);
        let lost = steps * (beside - time).max(0.0);
        sum += if lost > 1e-9 * time { lost / level.level.every as f64 } else { 0.0 };
    }
    sum
}

fn is_idle(loss: &str) -> bool {
    !matches!(loss, "lost_work" | "straggler" | "checkpoint" | "data_stall")
}

/// Adds what fails to a plan.
fn fail(plan: &mut RunPlan, failures: &Failures, config: &Config, (fabric, profiles): (&Fabric, &Profiles), time: f64) {
    let with_node: f64 = failures.classes.iter().filter(|c| c.loses >= Loses::Node).map(|c| c.rate).sum();
    plan.classes = failures.classes.iter().map(|c| class(c, config, (fabric, profiles), time)).collect();
    plan.recovery = failures.recovery;
    plan.spares = failures.spares;
    plan.fleet_sigma = failures.fleet_sigma;
    plan.lemons = failures.lemons.filter(|_| with_node > 0.0).map(|(count, factor, removed_after)| {
        // Rates are means of the fleet with its lemons in it.
        let (few, rest) = (f64::from(count) * factor, fabric.node_count() as f64 - f64::from(count));
        Lemons { count, share: few / (few + rest), removed_after }
    });
}

fn class(given: &FailureClass, config: &Config, (fabric, profiles): (&Fabric, &Profiles), time: f64) -> Class {
    let input = &given.input;
    let lasts = input.lasts.map_or(0.0, Seconds::get);
    let effect = match *input.effect {
        EffectKind::Stop => Effect::Stop,
        EffectKind::Pause => Effect::Hold { lost: lasts, straggler: false },
        EffectKind::Planned => Effect::Planned { lasts },
        EffectKind::Corrupt => Effect::Corrupt { found_after: input.found_after.map_or(0.0, Seconds::get) },
        EffectKind::Slow => {
            // The step with one slow accelerator is a state of its own.
            let slowed = fabric.with_slow(AcceleratorId(0), input.speed.unwrap_or(1.0));
            let slow = simulate_step_with(config, &slowed, profiles).map_or(time, |s| s.execution.makespan);
            Effect::Hold { lost: lasts * (1.0 - time / slow).max(0.0), straggler: true }
        }
    };
    Class {
        name: input.name.value.clone(),
        rate: given.rate,
        parts: given.parts,
        shape: input.shape.unwrap_or(1.0),
        effect,
        loses: given.loses,
        nodes: given.nodes,
        detect: given.detect,
    }
}

/// Steps between checkpoints.
fn every(plan: &RunPlan, interval: Interval, seed: u64) -> u64 {
    let mtbf = 1.0 / plan.stop_rate();
    let save = plan.block + plan.slowdown;
    let seconds = match interval {
        Interval::Every(time) => time.get(),
        _ if mtbf.is_infinite() => plan.steps * plan.whole_step(),
        Interval::Young => young(save, mtbf),
        Interval::Daly => daly(save, mtbf),
        Interval::Auto => return best_interval(plan, seed, RUNS_OF_A_POINT),
    };
    (seconds / plan.whole_step()).round().clamp(1.0, plan.steps.max(1.0)) as u64
}

fn outcome(plan: &RunPlan, operations: &Operations, cost: Option<&CheckpointCost>, all: &Ensemble, size: &Size, seed: u64) -> RunOutcome {
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
        losses_s: LossSeconds {
            checkpoint: of("checkpoint"),
            lost_work: of("lost_work"),
            detection: of("detection"),
            restart: of("restart"),
            restore: of("restore"),
            no_spare: of("no_spare"),
            straggler: of("straggler"),
            pause: of("pause"),
            maintenance: of("maintenance"),
            data_stall: of("data_stall"),
        },
        seeds: several.then_some(all.runs),
        unfinished: (all.finished < all.runs).then_some(all.runs - all.finished),
        mttf_h: (several && stops).then(|| 1.0 / plan.stop_rate() / HOUR),
        causes: causes
            .map(|((c, &failures), given)| CauseOutcome { name: c.name.clone(), effect: given.input.effect.word(), failures })
            .collect(),
        checkpoint: cost.map(|c| checkpoint(plan, c, all, several)),
        intervals: if cost.is_some() && stops { intervals(plan, seed, operations.seeds) } else { Vec::new() },
        sensitivity: if stops { sensitivity(plan, seed, operations.seeds) } else { Vec::new() },
    }
}

fn checkpoint(plan: &RunPlan, cost: &CheckpointCost, all: &Ensemble, several: bool) -> CheckpointOutcome {
    let mtbf = 1.0 / plan.stop_rate();
    let save = plan.block + plan.slowdown;
    let levels = cost.levels.iter().map(|l| LevelOutcome {
        name: l.level.name.clone(),
        every: l.level.every,
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
        levels: levels.collect(),
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
        p.levels.iter_mut().for_each(|l| l.drain /= 2.0);
    });
    with("checkpoints read back twice as fast", &|p| p.levels.iter_mut().for_each(|l| l.restore /= 2.0));
    with("checkpoints twice as often", &|p| p.every = p.every.div_ceil(2));
    with("checkpoints half as often", &|p| p.every = p.every.saturating_mul(2).min(p.steps as u64));
    with("twice as many spare nodes", &|p| p.spares.count = p.spares.count.map(|n| (n * 2).max(1)));
    with("data that never wait", &|p| p.data_stall = 0.0);
    out
}
