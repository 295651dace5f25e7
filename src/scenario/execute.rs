//! A checked scenario to its outcome: simulate, measure, price.

use super::collective::{Moves, Sweep, run_sweep};
use super::feed;
use super::load::{Job, Scenario};
use super::operations::{Operations, StorageJob};
use super::run;
use super::trace::TraceJob;
use crate::collectives::{Communicator, Library, token_source};
use crate::economics::cost;
use crate::fabric::{AcceleratorId, Fabric};
use crate::hardware::Accelerator;
use crate::metrics::{
    Band, CostOutcome, Detail, Fact, Identity, LossParts, Outcome, ProfileUse, RunOutcome, SimulationOutcome, StorageOutcome,
    TrainingOutcome, trace_outcome, training_outcome,
};
use crate::operations::FeedPlan;
use crate::replay::{Setting, replay, timed, work};
use crate::training::{Config, ExpertStack, Sharding, Step, StepError, expert_stacks, simulate_step_with, trace_step};
use crate::units::{Bytes, DAY, HOUR, KWH, Seconds};
use crate::workload::trace::Trace;
use std::fmt;

/// Why a checked scenario gave no outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The work is larger than the limit.
    TooMuchWork {
        /// Tasks that would be simulated.
        tasks: f64,
        /// Seconds that this would take, about.
        seconds: f64,
    },
    /// The failures of all runs are more than the limit.
    TooManyRuns {
        /// Failures that would be simulated, about.
        failures: f64,
        /// Seconds that this would take, about.
        seconds: f64,
    },
    /// The simulation could not go on.
    Step(StepError),
    /// The replay of a trace could not go on.
    Replay(String),
    /// A reader has no way to its storage.
    NoWay,
    /// A deployment cannot run.
    Serving(String),
    /// A watched percentile is missed for certain.
    Late,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuchWork { tasks, seconds } => {
                let memory = crate::units::Bytes::new(tasks * BYTES_PER_TASK);
                write!(f, "about {tasks:.1e} tasks would be simulated, about {seconds:.0} s of work and {memory} of memory")
            }
            Self::TooManyRuns { failures, seconds } => {
                write!(f, "about {failures:.1e} failures would be simulated over all runs, about {seconds:.0} s of work")
            }
            Self::Step(error) => write!(f, "{error}"),
            Self::Replay(said) => write!(f, "{said}"),
            Self::NoWay => write!(f, "a host has no way to its storage tier"),
            Self::Serving(reason) => f.write_str(reason),
            Self::Late => write!(f, "a latency that is watched is above its limit"),
        }
    }
}

/// Seconds that one task of the simulation takes, about (2 cores of 2024; measured 0.2 to 0.6 us).
const SECONDS_PER_TASK: f64 = 1e-6;

/// Memory of one task of the simulation, about (measured 145 bytes).
const BYTES_PER_TASK: f64 = 150.0;

/// Tasks for each second of the limit that memory allows: 6 GB under the default of 600 s.
const TASKS_PER_SECOND: f64 = 1e7 / BYTES_PER_TASK;

/// Seconds that one flow or message takes, about.
const SECONDS_PER_FLOW: f64 = 2e-6;

/// Runs a scenario. `max_work` is the greatest estimate in seconds that is taken; `wall` gives the seconds since a start.
///
/// # Errors
/// When the work is too large or the simulation locks up.
pub fn execute(scenario: &Scenario, max_work: f64, wall: &dyn Fn() -> f64) -> Result<Outcome, Failure> {
    let start = wall();
    let mut outcome = match &scenario.job {
        Job::Training { config, steps, band, operations } => training(scenario, config, *steps, *band, operations, max_work)?,
        Job::Serving(job) => super::serving::run(scenario, job, max_work)?,
        Job::Collective(sweep) => collective(scenario, sweep, max_work)?,
        Job::Trace(job) => trace(scenario, job, max_work)?,
        Job::Storage(job) => storage(scenario, job, max_work)?,
        Job::Fleet(job) => super::fleet::run(scenario, job, max_work)?,
    };
    let served = scenario.fabric.served().iter();
    outcome.detail.profile.extend(served.map(|s| ProfileUse {
        operator: s.what.clone(),
        entry: s.entry.clone(),
        source: s.source.clone(),
    }));
    outcome.simulation.wall_s = wall() - start;
    Ok(outcome)
}

pub(super) fn empty(scenario: &Scenario, kind: &'static str) -> Outcome {
    Outcome {
        orrery: Identity {
            version: env!("CARGO_PKG_VERSION").into(),
            seed: scenario.seed,
            scenario_hash: scenario.hash.clone(),
            synthetic: scenario.synthetic,
        },
        title: scenario.title.clone(),
        kind,
        training: None,
        run: None,
        storage: None,
        serving: None,
        collective: None,
        trace: None,
        fleet: None,
        cost: None,
        simulation: SimulationOutcome { events: 0, wall_s: 0.0 },
        detail: Detail::default(),
    }
}

fn collective(scenario: &Scenario, sweep: &Sweep, max_work: f64) -> Result<Outcome, Failure> {
    let tasks = sweep.work();
    let seconds = tasks * SECONDS_PER_FLOW;
    if seconds > max_work {
        return Err(Failure::TooMuchWork { tasks, seconds });
    }
    // The check found a form for every size.
    let (list, events) = run_sweep(&scenario.fabric, sweep, scenario.seed).unwrap_or_default();
    let facts = vec![
        Fact { name: "Operation".into(), value: sweep.title() },
        Fact { name: "Cluster".into(), value: scenario.fabric.title().to_owned() },
    ];
    Ok(Outcome {
        collective: Some(list),
        simulation: SimulationOutcome { events, wall_s: 0.0 },
        detail: Detail { facts, profile: constants_of(&scenario.fabric, sweep), ..Detail::default() },
        ..empty(scenario, "collective")
    })
}

fn trace(scenario: &Scenario, job: &TraceJob, max_work: f64) -> Result<Outcome, Failure> {
    let setting = job.setting(&scenario.fabric);
    let (tasks, seconds) = work(&job.trace, &setting);
    if seconds > max_work {
        return Err(Failure::TooMuchWork { tasks, seconds });
    }
    let run = replay(&job.trace, &setting).map_err(Failure::Replay)?;
    let (numbers, detail) = trace_outcome(&job.trace, &scenario.fabric, &run, job.machine.is_some());
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    let mut facts = vec![fact("Trace", format!("{}, {} ranks in {} classes", job.format, numbers.ranks, job.trace.ranks.len()))];
    let mut profile = Vec::new();
    match setting {
        Setting::Fabric(fabric, rules) => {
            let slowed = if rules.interference { "slowed by communication kernels" } else { "not slowed by communication" };
            facts.push(fact("Cluster", fabric.title().to_owned()));
            facts.push(fact("Compute", format!("{} times × {}, {slowed}; {} sends", rules.compute, rules.scale, rules.sends)));
            profile.extend(trace_constants(fabric, &job.trace));
        }
        Setting::Astra(machine) => {
            let sides: Vec<String> = machine.network.dimensions.iter().map(|d| format!("{:?} {}", d.wiring, d.count)).collect();
            facts.push(fact("Network", format!("{} of ASTRA-sim, {} backend", sides.join(" × "), machine.backend)));
        }
    }
    Ok(Outcome {
        simulation: SimulationOutcome { events: run.execution.events, wall_s: 0.0 },
        trace: Some(numbers),
        detail: Detail { facts, profile, ..detail },
        ..empty(scenario, "trace")
    })
}

/// Bytes of one operation in a trace file and how many of them are written in a second, about.
const EXPORT: (f64, f64) = (120.0, 100e6);

/// What a scenario simulates as a trace, with the simulated durations; `None` for a collective by itself, serving, fleets and emulated accelerators, which
/// have no such trace.
///
/// # Errors
/// As [`execute`], or when the files would be too large for `max_work` seconds of writing.
pub fn export(scenario: &Scenario, max_work: f64) -> Result<Option<Trace>, Failure> {
    let trace = match &scenario.job {
        Job::Training { config, .. } => trace_step(config, &scenario.fabric, &scenario.profiles).map_err(Failure::Step)?,
        Job::Trace(job) => {
            let run = replay(&job.trace, &job.setting(&scenario.fabric)).map_err(Failure::Replay)?;
            timed(&job.trace, &run)
        }
        Job::Collective(_) | Job::Serving(_) | Job::Storage(_) | Job::Fleet(_) => return Ok(None),
    };
    let tasks: f64 = trace.ranks.iter().map(|r| r.ops.len() as f64 * f64::from(r.count)).sum();
    let seconds = tasks * EXPORT.0 / EXPORT.1;
    if seconds > max_work { Err(Failure::TooMuchWork { tasks, seconds }) } else { Ok(Some(trace)) }
}

/// Where the constants of a trace's largest group come from.
fn trace_constants(fabric: &Fabric, trace: &Trace) -> Vec<ProfileUse> {
    let sets = trace.groups.iter().flat_map(|g| g.sets.first());
    let Some(set) = sets.max_by_key(|s| s.len()).filter(|s| s.len() > 1) else { return Vec::new() };
    let group: Vec<AcceleratorId> = set.iter().map(|&r| AcceleratorId(r)).collect();
    constants_between(fabric, &Library::nccl(), &[group])
}

/// Where the constants of a sweep come from.
#[must_use]
pub fn constants_of(fabric: &Fabric, sweep: &Sweep) -> Vec<ProfileUse> {
    let mut out = constants_between(fabric, &sweep.library, &sweep.groups[..1]);
    if let Moves::Op(op) = sweep.moves
        && let Some(source) = token_source(op)
    {
        out.push(ProfileUse { operator: op.word().into(), entry: "collectives/constants.toml".into(), source: source.into() });
    }
    out
}

fn constants_between(fabric: &Fabric, library: &Library, groups: &[Vec<AcceleratorId>]) -> Vec<ProfileUse> {
    let communicator = Communicator::new(fabric, library, groups);
    let (inside, between, choice) = communicator.sources();
    let entry =
        |operator: &str, entry: &str, source: &str| ProfileUse { operator: operator.into(), entry: entry.into(), source: source.into() };
    let none = "data sheet and defaults; not measured on this kind of link: ±40 % below 1 MiB";
    let mut out = vec![entry("inside a scale-up domain", "collectives/constants.toml", inside.unwrap_or(none))];
    if communicator.groups()[0].iter().any(|&a| fabric.site(a).node != fabric.site(communicator.groups()[0][0]).node) {
        out.push(entry("between nodes", "collectives/constants.toml", between));
    }
    out.push(entry("choice of algorithm and protocol", "collectives/constants.toml", choice));
    out
}

/// Seconds that reading a batch takes to simulate, about.
const SECONDS_PER_BATCH: f64 = 1e-6;

fn storage(scenario: &Scenario, job: &StorageJob, max_work: f64) -> Result<Outcome, Failure> {
    let batches = f64::from(job.accelerators) * f64::from(job.steps);
    // Every count near the sustained one is simulated too.
    let seconds = 20.0 * batches * SECONDS_PER_BATCH * (1.0 + f64::from(job.accelerators) / 50.0);
    if seconds > max_work {
        return Err(Failure::TooMuchWork { tasks: batches, seconds });
    }
    let fed = feed::emulated(&scenario.fabric, job, scenario.seed).ok_or(Failure::NoWay)?;
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    let facts = vec![
        fact(
            "Accelerators",
            format!("{} on each of {} hosts, {} samples a step of {}", job.accelerators, fed.hosts, job.batch, Seconds::new(job.compute)),
        ),
        fact("Data", format!("samples of {} in {}", Bytes::new(job.feed.sample_bytes), fed.tier)),
        fact("Cluster", scenario.fabric.title().to_owned()),
    ];
    Ok(Outcome {
        storage: Some(fed),
        simulation: SimulationOutcome { events: batches as u64, wall_s: 0.0 },
        detail: Detail { facts, ..Detail::default() },
        ..empty(scenario, "storage")
    })
}

fn training(
    scenario: &Scenario,
    config: &Config,
    steps: Option<f64>,
    band: bool,
    operations: &Operations,
    max_work: f64,
) -> Result<Outcome, Failure> {
    let (tasks, seconds) = step_work(config);
    if seconds > max_work || tasks > TASKS_PER_SECOND * max_work {
        return Err(Failure::TooMuchWork { tasks, seconds });
    }
    let (step, config, ends) = median_step(scenario, config, band)?;
    let config = &config;
    let (mut numbers, mut detail) = training_outcome(config, &scenario.fabric, &step);
    if band {
        detail.facts.push(experts_fact(&ends, config));
        numbers.step_time_band_s = Some(ends);
    }
    let (fed, data_stall) = fed(scenario, config, operations.feed.as_ref(), numbers.step_time_s, steps)?;
    let fabric = &scenario.fabric;
    let size =
        steps.map(|steps| run::Size { steps, tokens: steps * config.tokens_per_step(), model_flops: steps * numbers.model_flops_per_step });
    let whole = size
        .map(|size| run::run(operations, config, (fabric, &scenario.profiles), &step, data_stall, &size, scenario.seed, max_work))
        .transpose()?;
    numbers.stall(data_stall, whole.as_ref().map_or(0.0, |r| r.checkpoint_stall));
    let (cost, power) = price(scenario, config, &numbers, whole.as_ref());
    let mut run = whole.map(|r| {
        detail.run_segments = r.segments;
        r.outcome
    });
    if let Some(run) = &mut run {
        price_run(run, &cost, power);
    }
    detail.profile.extend(operations.failures.as_ref().map(|failures| ProfileUse {
        operator: "failures".into(),
        entry: "operations/failures.toml".into(),
        source: failures.source.clone(),
    }));
    Ok(Outcome {
        simulation: SimulationOutcome { events: step.execution.events, wall_s: 0.0 },
        training: Some(numbers),
        run,
        storage: fed,
        cost: Some(cost),
        detail,
        ..empty(scenario, "training")
    })
}

/// Tasks of the simulation of a step and the seconds that they take, about.
fn step_work(config: &Config) -> (f64, f64) {
    let p = &config.parallel;
    // Passes and messages; where weights are sharded, tasks of every layer. Collectives of their own multiply this by up to eight.
    let chunks = (p.pipeline * p.virtual_stages) as f64;
    let by_layer = config.sharding >= Sharding::Gradients || config.offload.any();
    let layered = if by_layer { (2.0 * config.model.layers as f64 / chunks).max(1.0) } else { 1.0 };
    let tasks = 4.0 * config.microbatches() as f64 * chunks * layered;
    (tasks, tasks * SECONDS_PER_TASK + p.ranks() as f64 * 2e-5)
}

/// The step with its configuration, the median one over all expert stacks where a `band` is asked for, and the shortest and longest time.
fn median_step(scenario: &Scenario, config: &Config, band: bool) -> Result<(Step, Config, Band), Failure> {
    let run_with = |experts: &ExpertStack| {
        let config = Config { experts: experts.clone(), ..config.clone() };
        simulate_step_with(&config, &scenario.fabric, &scenario.profiles).map(|step| (step, config)).map_err(Failure::Step)
    };
    let mut steps_by_stack =
        if band { expert_stacks().iter().map(run_with).collect::<Result<Vec<_>, _>>()? } else { vec![run_with(&config.experts)?] };
    steps_by_stack.sort_by(|a, b| a.0.time_s().total_cmp(&b.0.time_s()));
    let [low, high] = [0, steps_by_stack.len() - 1].map(|i| steps_by_stack[i].0.time_s());
    let (step, config) = steps_by_stack.swap_remove(steps_by_stack.len() / 2);
    Ok((step, config, Band { low, high }))
}

/// Which expert stack is shown of a band over all.
fn experts_fact(ends: &Band, config: &Config) -> Fact {
    let text = |s: f64| Seconds::new(s).to_string();
    let value = format!("not stated: {} to {} over all expert stacks; shown is {}", text(ends.low), text(ends.high), *config.experts.title);
    Fact { name: "Experts".into(), value }
}

/// How a job whose steps take `step` seconds is fed, where that is said, and the seconds that a step waits for its data.
fn fed(
    scenario: &Scenario,
    config: &Config,
    plan: Option<&FeedPlan>,
    step: f64,
    steps: Option<f64>,
) -> Result<(Option<StorageOutcome>, f64), Failure> {
    let Some(plan) = plan else { return Ok((None, 0.0)) };
    let (outcome, stall) =
        feed::training((&scenario.fabric, &scenario.profiles), config, plan, step, steps, scenario.seed).ok_or(Failure::NoWay)?;
    Ok((Some(outcome), stall))
}

/// Share of the way from idle to design power that a busy accelerator draws in training, and is taken to draw while it serves, where it draws less (DGX systems under training load
/// are planned at 80 to 90 % of their maximum; from memory, unverified).
pub(super) const BUSY_POWER: f64 = 0.85;

/// What a run could save, and its cost and energy split as its time is; `power` is that of the site while the job is down and while it
/// trains, watts.
fn price_run(run: &mut RunOutcome, cost: &CostOutcome, (idle, busy): (f64, f64)) {
    run.sensitivity.iter_mut().for_each(|s| s.saved_usd = s.saved_days * 24.0 * cost.usd_per_hour);
    let useful = run.days * DAY - run.lost_s;
    if cost.usd_total > 0.0 {
        let of = |seconds: f64| cost.usd_per_hour * seconds / HOUR;
        (run.losses_usd, run.useful_usd) = (Some(LossParts::of(|n| of(run.losses_s.get(n)))), Some(of(useful)));
    }
    let power = |name: &str| if LossParts::is_idle(name) { idle } else { busy };
    run.losses_kwh = Some(LossParts::of(|n| power(n) * run.losses_s.get(n) / KWH));
    run.useful_kwh = Some(busy * useful / KWH);
}

/// What it costs, and the power of the site while the job is down and while it trains.
fn price(scenario: &Scenario, config: &Config, numbers: &TrainingOutcome, run: Option<&run::Run>) -> (CostOutcome, (f64, f64)) {
    let parts = &numbers.breakdown_s;
    let training = run.map_or(1.0, |r| r.training_share);
    let share = (parts.compute + parts.optimizer + parts.tensor_comm) / numbers.step_time_s;
    let mean = |of: fn(&Accelerator) -> f64| scenario.fabric.part_shares().iter().map(|(p, share)| share * of(p)).sum::<f64>();
    let (idle, tdp) = (mean(|p| p.idle_power.get()), mean(|p| p.tdp.get()));
    let accelerators = config.parallel.ranks() as f64;
    let at = |busy: f64| accelerators * (idle + (tdp - idle) * BUSY_POWER * busy) + scenario.fabric.overhead_power();
    let power = at(share * training);
    let (seconds, tokens) = match run {
        Some(run) => (run.outcome.days * DAY, run.outcome.tokens),
        None => (numbers.step_time_s, config.tokens_per_step()),
    };
    let mut out = cost(&scenario.cost, accelerators, power, seconds, tokens);
    for tier in scenario.fabric.tiers() {
        let Some(price) = tier.price else { continue };
        // Where nothing limits the size, what the run's checkpoints take is paid.
        let levels = || run.iter().filter_map(|r| r.outcome.checkpoint.as_ref()).flat_map(|c| &c.levels);
        let kept: f64 = levels().filter(|l| l.name == tier.name).map(|l| l.stored_bytes).sum();
        let bytes = if tier.capacity.is_finite() { tier.capacity } else { kept };
        out.add(&format!("storage {}", tier.name), bytes * price * seconds, seconds, tokens);
    }
    (out, (at(0.0) * scenario.cost.pue, at(share) * scenario.cost.pue))
}
