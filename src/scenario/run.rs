//! From a simulated step to the run: what checkpoints cost on the fabric, what fails, many runs, and what a change would buy.

use super::elastic::shrunk;
use super::execute::Failure;
use super::feed;
use super::operations::{FailureClass, Failures, Operations};
use super::operations_input::Interval;
use super::run_outcome::{Costs, more_drives, outcome};
use crate::fabric::{AcceleratorId, Fabric, TierKind};
use crate::kernels::Profiles;
use crate::metrics::{LossParts, RunOutcome, RunSegment};
use crate::operations::{
    CheckpointCost, Class, Effect, EffectKind, LOSSES, Lemons, Loses, Mode, Place, Recovery, RunPlan, Spares, best_interval,
    checkpoint_cost, daly, ensemble, reshard_cost, young,
};
use crate::training::{Config, Step, shards, simulate_step_beside, simulate_step_with};
use crate::units::Seconds;

/// Runs of each point of a curve and of each change.
pub(super) const RUNS_OF_A_POINT: u64 = 64;

/// Runs beside those of the seeds, for curves and changes.
const RUNS_BESIDE: u64 = 2_000;

/// Seconds that one failure of one run takes, about (2 cores of 2024; measured 0.3 us).
const SECONDS_PER_FAILURE: f64 = 5e-7;

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
///
/// # Errors
/// When the failures of all runs take more than `max_work` seconds.
#[expect(clippy::too_many_arguments, reason = "the whole setting of a run")]
pub(super) fn run(
    operations: &Operations,
    config: &Config,
    (fabric, profiles): (&Fabric, &Profiles),
    step: &Step,
    data_stall: f64,
    size: &Size,
    seed: u64,
    max_work: f64,
) -> Result<Run, Failure> {
    let cost = operations.checkpoint.as_ref().and_then(|(plan, ..)| checkpoint_cost(config, &step.layers, fabric, plan));
    let mut plan = plan_of(operations, config, (fabric, profiles), step, data_stall, size, cost.as_ref());
    let failures = (operations.seeds + RUNS_BESIDE) as f64 * plan.failures();
    let seconds = failures * SECONDS_PER_FAILURE;
    if seconds > max_work {
        return Err(Failure::TooManyRuns { failures, seconds });
    }
    if let Some((_, interval, _)) = &operations.checkpoint {
        plan.every = every(&plan, *interval, seed);
    }
    let several = operations.failures.is_some();
    let runs = if several { operations.seeds } else { 1 };
    let all = ensemble(&plan, seed, runs, true);
    let checkpoint_stall = if plan.every > 0 { (plan.cycle() - plan.every as f64 * plan.whole_step()) / plan.every as f64 } else { 0.0 };
    let costs = Costs { checkpoint: cost.as_ref(), reshard: resharded(operations, fabric) };
    let mut outcome = outcome(&plan, operations, &costs, &all, size, seed);
    if plan.stop_rate() > 0.0 {
        let wider = wider(operations, config, (fabric, profiles), step, data_stall, size, seed, &plan);
        outcome.sensitivity.extend(wider.and_then(|other| more_drives(&plan, &other, seed, operations.seeds)));
    }
    let idle: f64 = all.losses.iter().zip(LOSSES).filter(|(_, l)| LossParts::is_idle(l.1)).map(|(s, _)| s).sum();
    let training_share = (1.0 - idle / all.wall.mean).clamp(0.0, 1.0);
    let name = |loss| LOSSES.iter().find(|l| l.0 == loss).map_or("", |l| l.1);
    let segments = all.first.segments.iter().map(|s| RunSegment { start_s: s.start, end_s: s.end, loss: s.loss.map(name) }).collect();
    Ok(Run { outcome, segments, checkpoint_stall, training_share })
}

/// The run as a plan, without an interval.
fn plan_of(
    operations: &Operations,
    config: &Config,
    (fabric, profiles): (&Fabric, &Profiles),
    step: &Step,
    data_stall: f64,
    size: &Size,
    cost: Option<&CheckpointCost>,
) -> RunPlan {
    let time = step.time_s();
    let mut plan = RunPlan {
        steps: size.steps,
        step: time,
        data_stall,
        every: 0,
        block: cost.map_or(0.0, |c| c.block),
        slowdown: 0.0,
        levels: cost.map_or_else(Vec::new, |c| c.levels.iter().map(|l| l.level.clone()).collect()),
        retention: operations.checkpoint.as_ref().map_or(1, |c| c.2),
        classes: Vec::new(),
        recovery: Recovery { swap: 0.0, start: 0.0, warm_up: 0.0 },
        spares: Spares { count: None, repair: 0.0, sigma: 0.0 },
        lemons: None,
        fleet_sigma: 0.0,
        shrunk: Vec::new(),
        reshard: 0.0,
    };
    if let (Some(cost), Some((saving, ..))) = (cost, &operations.checkpoint)
        && saving.mode == Mode::Async
    {
        plan.slowdown = slowdown(cost, config, (fabric, profiles), time);
    }
    if let Some(failures) = &operations.failures {
        fail(&mut plan, failures, config, (fabric, profiles), time);
        if failures.elastic {
            plan.shrunk = shrunk(config, (fabric, profiles), time);
            let largest = shards(config, &step.layers).iter().map(|s| s.needed).fold(0.0, f64::max);
            plan.reshard = operations.reshard.as_ref().map_or(0.0, |r| largest / r.rate);
        }
    }
    plan
}

/// What reading onto the other layout costs, by place.
fn resharded(operations: &Operations, fabric: &Fabric) -> Option<Vec<(f64, f64)>> {
    let ((plan, ..), reshard) = (operations.checkpoint.as_ref()?, operations.reshard.as_ref()?);
    let to = reshard.to.as_ref()?;
    reshard_cost(to, &super::checkpoint::layers_of(to)?, fabric, plan, reshard.rate)
}

/// The plan with one more drive in every node, where checkpoints or data lie on drives.
#[expect(clippy::too_many_arguments, reason = "the whole setting of a run, for another fabric")]
fn wider(
    operations: &Operations,
    config: &Config,
    (fabric, profiles): (&Fabric, &Profiles),
    step: &Step,
    data_stall: f64,
    size: &Size,
    seed: u64,
    plan: &RunPlan,
) -> Option<RunPlan> {
    let drives = |id| fabric.tier(id).kind == TierKind::Local;
    let levels = || operations.checkpoint.iter().flat_map(|c| &c.0.levels);
    let saved = levels().any(|l| matches!(l.place, Place::Tier(id) if drives(id)));
    let read = operations.feed.as_ref().filter(|f| drives(f.tier) || f.cache_tier.is_some_and(drives));
    if !saved && read.is_none() {
        return None;
    }
    let more = fabric.with_one_more_drive();
    let cost = operations.checkpoint.as_ref().and_then(|(plan, ..)| checkpoint_cost(config, &step.layers, &more, plan));
    let stall = match read {
        Some(feed) => feed::training((&more, profiles), config, feed, plan.step, Some(size.steps), seed)?.1,
        None => data_stall,
    };
    let other = plan_of(operations, config, (&more, profiles), step, stall, size, cost.as_ref());
    // What neither drives nor checkpoints change stays as it is.
    Some(RunPlan { every: plan.every, classes: plan.classes.clone(), shrunk: plan.shrunk.clone(), ..other })
}

/// Seconds that the steps lose while one checkpoint drains beside them, on the links that both load.
fn slowdown(cost: &CheckpointCost, config: &Config, (fabric, profiles): (&Fabric, &Profiles), time: f64) -> f64 {
    let mut sum = 0.0;
    for level in cost.levels.iter().filter(|l| l.write > 0.0) {
        // Over several steps each sees its part of the drain.
        let steps = (level.write / time).max(1.0);
        let beside = simulate_step_beside(config, fabric, profiles, &level.transfer, 1.0 / steps).map_or(time, |s| s.time_s());
        let lost = steps * (beside - time).max(0.0);
        sum += if lost > 1e-9 * time { lost / level.level.every as f64 } else { 0.0 };
    }
    sum
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
            let slow = simulate_step_with(config, &slowed, profiles).map_or(time, |s| s.time_s());
            Effect::Hold { lost: lasts * (1.0 - time / slow).max(0.0), straggler: true }
        }
    };
    Class {
        name: input.name.value.clone(),
        rate: given.rate,
        parts: given.parts,
        shape: input.shape.unwrap_or(1.0),
        renewed: *input.renewed,
        effect,
        loses: given.loses,
        nodes: given.nodes,
        detect: given.detect,
        outage: given.outage,
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
