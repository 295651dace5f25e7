//! A checked scenario to its outcome: simulate, measure, price.

use super::load::{Job, Scenario};
use crate::collectives::{Algorithm, Communicator, Library, Op, busbw_factor};
use crate::economics::cost;
use crate::fabric::{AcceleratorId, Fabric};
use crate::metrics::{
    CollectiveOutcome, CostOutcome, Detail, Fact, Identity, Outcome, RunOutcome, SimulationOutcome, TrainingOutcome, training_outcome,
};
use crate::training::{Config, StepError, simulate_step};
use crate::units::DAY;
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
    /// The simulation could not go on.
    Step(StepError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuchWork { tasks, seconds } => write!(f, "about {tasks:.1e} tasks would be simulated, about {seconds:.0} s of work"),
            Self::Step(error) => write!(f, "{error}"),
        }
    }
}

/// Seconds that one task of the simulation takes, about (2 cores of 2024; measured 0.2 to 0.6 us).
const SECONDS_PER_TASK: f64 = 1e-6;

/// Runs a scenario. `max_work` is the greatest estimate in seconds that is taken; `wall` gives the seconds since a start.
///
/// # Errors
/// When the work is too large or the simulation locks up.
pub fn execute(scenario: &Scenario, max_work: f64, wall: &dyn Fn() -> f64) -> Result<Outcome, Failure> {
    let start = wall();
    let mut outcome = match &scenario.job {
        Job::Training { config, steps } => training(scenario, config, *steps, max_work)?,
        Job::Collective { input, ranks } => {
            let sizes = sizes(input.min_bytes.get(), input.max_bytes.get());
            let ranks: Vec<AcceleratorId> = (0..*ranks as u32).map(AcceleratorId).collect();
            let list = collectives(&scenario.fabric, *input.op, &ranks, &sizes, None).unwrap_or_default();
            let facts = vec![
                Fact { name: "Operation".into(), value: format!("{} over {} accelerators", *input.op, ranks.len()) },
                Fact { name: "Cluster".into(), value: scenario.fabric.title().to_owned() },
            ];
            Outcome { collective: Some(list), detail: Detail { facts, ..Detail::default() }, ..empty(scenario, "collective") }
        }
    };
    outcome.simulation.wall_s = wall() - start;
    Ok(outcome)
}

fn empty(scenario: &Scenario, kind: &'static str) -> Outcome {
    Outcome {
        orrery: Identity { version: env!("CARGO_PKG_VERSION").into(), seed: scenario.seed, scenario_hash: scenario.hash.clone() },
        title: scenario.title.clone(),
        kind,
        training: None,
        run: None,
        collective: None,
        cost: None,
        simulation: SimulationOutcome { events: 0, wall_s: 0.0 },
        detail: Detail::default(),
    }
}

/// Sizes from the smallest to the greatest, doubling.
fn sizes(min: f64, max: f64) -> Vec<f64> {
    std::iter::successors(Some(min), |b| Some(b * 2.0)).take_while(|b| *b <= max).collect()
}

/// One operation over sizes on an idle fabric, by the library's choice or by an algorithm; `None` where that has no such form.
#[must_use]
pub fn collectives(
    fabric: &Fabric,
    op: Op,
    ranks: &[AcceleratorId],
    sizes: &[f64],
    algorithm: Option<Algorithm>,
) -> Option<Vec<CollectiveOutcome>> {
    let communicator = Communicator::new(fabric, &Library::nccl(), &[ranks.to_vec()]);
    let factor = busbw_factor(op, ranks.len());
    let one = |&bytes: &f64| {
        let plan = algorithm.map_or_else(|| Some(communicator.plan(op, bytes)), |a| communicator.plan_as(op, bytes, a))?;
        let time_s = communicator.time_of(op, bytes, &plan);
        Some(CollectiveOutcome {
            op: op.word(),
            bytes,
            time_s,
            algbw_bytes_per_s: bytes / time_s,
            busbw_bytes_per_s: bytes / time_s * factor,
            algorithm: plan.algorithm.to_string(),
            protocol: plan.protocol.to_string(),
        })
    };
    sizes.iter().map(one).collect()
}

fn training(scenario: &Scenario, config: &Config, steps: Option<f64>, max_work: f64) -> Result<Outcome, Failure> {
    let p = &config.parallel;
    // Passes and messages; split passes and collectives of their own multiply this by up to eight times the layers of a chunk.
    let tasks = 4.0 * config.microbatches() as f64 * (p.pipeline * p.virtual_stages) as f64;
    let seconds = tasks * SECONDS_PER_TASK + p.ranks() as f64 * 2e-5;
    if seconds > max_work {
        return Err(Failure::TooMuchWork { tasks, seconds });
    }
    let step = simulate_step(config, &scenario.fabric).map_err(Failure::Step)?;
    let (numbers, detail) = training_outcome(config, &scenario.fabric, &step);
    let run = steps.map(|steps| run(config, &numbers, steps));
    let cost = Some(price(scenario, config, &numbers, steps));
    Ok(Outcome {
        simulation: SimulationOutcome { events: step.execution.events, wall_s: 0.0 },
        training: Some(numbers),
        run,
        cost,
        detail,
        ..empty(scenario, "training")
    })
}

fn run(config: &Config, numbers: &TrainingOutcome, steps: f64) -> RunOutcome {
    RunOutcome {
        steps,
        tokens: steps * config.tokens_per_step(),
        model_flops: steps * numbers.model_flops_per_step,
        days: steps * numbers.step_time_s / DAY,
        training_goodput: 1.0,
        failures: 0.0,
        lost_s: 0.0,
    }
}

/// Share of the way from idle to design power that a busy accelerator draws in training (DGX systems under training load
/// are planned at 80 to 90 % of their maximum; from memory, unverified).
const BUSY_POWER: f64 = 0.85;

fn price(scenario: &Scenario, config: &Config, numbers: &TrainingOutcome, steps: Option<f64>) -> CostOutcome {
    let part = scenario.fabric.part(AcceleratorId(0));
    let parts = &numbers.breakdown_s;
    let busy = (parts.compute + parts.optimizer + parts.tensor_comm) / numbers.step_time_s;
    let (idle, tdp) = (part.idle_power.get(), part.tdp.get());
    let accelerators = config.parallel.ranks() as f64;
    let power = accelerators * (idle + (tdp - idle) * BUSY_POWER * busy) + scenario.fabric.overhead_power();
    let steps = steps.unwrap_or(1.0);
    cost(&scenario.cost, accelerators, power, steps * numbers.step_time_s, steps * config.tokens_per_step())
}
