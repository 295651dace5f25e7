//! A checked serving job to its outcome.

use super::super::execute::{BUSY_POWER, Failure, empty};
use super::super::load::Scenario;
use crate::economics::cost;
use crate::engine::Streams;
use crate::fabric::Fabric;
use crate::hardware::Accelerator;
use crate::kernels::Profiles;
use crate::metrics::{Counted, Outcome, ServingFrame, ServingOutcome, serving_outcome};
use crate::metrics::{Detail, SimulationOutcome};
use crate::serving::{Arrivals, Deployment, Dialogue, Pace, Requests, StackRow, Synthetic, Watch, converse, serve_watched, synthesize};
use crate::units::{grouped, three};

/// Where the requests come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Distributions.
    Synthetic(Synthetic),
    /// Sessions of several turns.
    Sessions(Dialogue),
    /// A trace, cut and scaled.
    Trace {
        /// Its requests.
        requests: Requests,
        /// How often it is run through.
        repeat: u64,
        /// Rate of Poisson arrivals instead of its own.
        rate: Option<f64>,
        /// Rows that were left out.
        skipped: u64,
    },
}

/// What a request has to meet, seconds; infinite where nothing is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goals {
    /// Time to first token.
    pub ttft: f64,
    /// Time per output token after the first.
    pub tpot: f64,
    /// Time to the last token.
    pub e2e: f64,
    /// Share of the requests that has to meet all.
    pub share: f64,
}

/// A serving job that fits its cluster.
#[derive(Debug, Clone)]
pub struct ServingJob {
    /// The engines.
    pub deployment: Deployment,
    /// Their settings.
    pub stack: StackRow,
    /// The requests.
    pub source: Source,
    /// How they come.
    pub arrivals: Arrivals,
    /// What they have to meet.
    pub goals: Option<Goals>,
    /// Share of the requests that go before others.
    pub urgent: Option<f64>,
    /// Seconds before which arrivals are not counted.
    pub warm_up: f64,
    /// Further models, in order of their numbers from 1.
    pub models: Vec<ModelJob>,
    /// Percentiles whose certain miss ends the simulation (none of a file's own).
    pub watches: Vec<Watch>,
}

/// A further model of a job.
#[derive(Debug, Clone)]
pub struct ModelJob {
    /// Its name.
    pub name: String,
    /// Share of the job's requests that are for it.
    pub share: Option<f64>,
    /// Requests of its own.
    pub source: Option<Source>,
    /// What they have to meet.
    pub goals: Option<Goals>,
}

/// Seconds that one iteration and one request of the simulation take, about (2 cores of 2024).
const SECONDS_PER_ITERATION: f64 = 1.5e-7;
const SECONDS_PER_REQUEST: f64 = 5e-6;
/// One look at the load, and one hashed block of a prompt.
const SECONDS_PER_LOOK: f64 = 5e-7;
const SECONDS_PER_HASH: f64 = 2e-7;

impl Source {
    /// Requests and the tokens of their answers.
    fn size(&self) -> (f64, f64) {
        match self {
            Self::Synthetic(s) => (s.requests as f64, s.requests as f64 * s.output.mean()),
            Self::Sessions(d) => {
                let requests = d.sessions as f64 * d.turns.mean();
                (requests, requests * d.output.mean())
            }
            Self::Trace { requests, repeat, .. } => {
                let n = requests.list.len() as f64 * *repeat as f64;
                (n, requests.list.iter().map(|r| f64::from(r.output)).sum::<f64>() * *repeat as f64)
            }
        }
    }

    /// Seconds over which requests arrive, about.
    fn span(&self) -> f64 {
        match self {
            Self::Synthetic(s) => match s.pace {
                Pace::Burst => 0.0,
                Pace::Gamma { rate, .. } | Pace::OnOff { rate, .. } | Pace::Swing { rate, .. } => s.requests as f64 / rate,
            },
            Self::Sessions(d) => d.sessions as f64 / d.rate + d.turns.most() as f64 * d.pause,
            Self::Trace { requests, repeat, rate, .. } => {
                let n = requests.list.len() as f64;
                let once = rate.map_or_else(|| requests.list.last().map_or(0.0, |r| r.arrival), |rate| n / rate);
                once * *repeat as f64
            }
        }
    }

    /// Hashed blocks of drawn prompts, at most.
    fn hashes(&self) -> f64 {
        match self {
            Self::Synthetic(s) if s.common > 0 => s.requests as f64 * s.input.mean() / 64.0,
            Self::Sessions(d) => {
                let said = d.common as f64 + d.turns.mean() * (d.input.mean() + d.output.mean());
                d.sessions as f64 * said.min(d.most as f64 + d.output.mean()) / 64.0
            }
            _ => 0.0,
        }
    }

    /// The requests under some streams of random numbers, and the rows that were left out.
    fn draw(&self, streams: &Streams) -> (Requests, u64) {
        match self {
            Self::Synthetic(s) => (synthesize(s, streams), 0),
            Self::Sessions(d) => (converse(d, streams), 0),
            Self::Trace { requests, repeat, rate, skipped } => {
                let mut requests = requests.clone();
                requests.repeat(*repeat);
                if let Some(rate) = rate {
                    requests.arrive_at(*rate, streams);
                }
                (requests, *skipped)
            }
        }
    }
}

impl ServingJob {
    /// Tasks at most (iterations and requests) and the seconds that they take.
    pub(super) fn work(&self) -> (f64, f64) {
        let all = || std::iter::once(&self.source).chain(self.models.iter().filter_map(|m| m.source.as_ref()));
        let (requests, tokens) = all().map(Source::size).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
        let looks = self.deployment.fleet.scaling.map_or(0.0, |s| self.source.span() / s.interval);
        let seconds = requests * SECONDS_PER_REQUEST + tokens * SECONDS_PER_ITERATION + looks * SECONDS_PER_LOOK;
        (requests + tokens + looks, seconds + self.source.hashes() * SECONDS_PER_HASH)
    }

    /// The requests under a seed.
    #[must_use]
    pub fn requests_of(&self, seed: u64) -> Requests {
        self.requests(&Streams::new(seed)).0
    }

    fn requests(&self, streams: &Streams) -> (Requests, u64) {
        let (mut out, mut skipped) = self.source.draw(streams);
        let shares: Vec<f64> = self.models.iter().map(|m| m.share.unwrap_or(0.0)).collect();
        if !self.models.is_empty() {
            out.mark_models(&shares, streams);
        }
        for (i, model) in self.models.iter().enumerate() {
            if let Some(source) = &model.source {
                let (more, left_out) = source.draw(&streams.of(&model.name));
                out.join(&more, i as u16 + 1);
                skipped += left_out;
            }
        }
        (out, skipped)
    }
}

/// Runs a serving job.
pub(in crate::scenario) fn run(scenario: &Scenario, job: &ServingJob, max_work: f64) -> Result<Outcome, Failure> {
    let (tasks, seconds) = job.work();
    if seconds > max_work {
        return Err(Failure::TooMuchWork { tasks, seconds });
    }
    let (mut numbers, detail, counted) = simulate(&scenario.fabric, &scenario.profiles, job, scenario.seed)?;
    let cost = price(scenario, &mut numbers, &counted);
    Ok(Outcome {
        simulation: SimulationOutcome { events: counted.events, wall_s: 0.0 },
        serving: Some(numbers),
        cost: Some(cost),
        detail,
        ..empty(scenario, "serving")
    })
}

/// The numbers of a serving job on a fabric under a seed, before prices.
pub(super) fn simulate(
    fabric: &Fabric,
    profiles: &Profiles,
    job: &ServingJob,
    seed: u64,
) -> Result<(ServingOutcome, Detail, Counted), Failure> {
    // The check has built the pool once.
    let mut pool = job.deployment.pool(fabric, profiles, &job.stack).map_err(|e| Failure::Serving(e.to_string()))?;
    let streams = Streams::new(seed);
    let (mut requests, skipped) = job.requests(&streams);
    if let Some(share) = job.urgent {
        requests.mark_urgent(share, &streams);
    }
    let served = serve_watched(&mut pool, &requests, job.arrivals, job.warm_up, &streams, &job.watches).ok_or(Failure::Late)?;
    let frame = ServingFrame {
        fabric,
        deployment: &job.deployment,
        stack: &job.stack,
        pool: &pool,
        goals: job.goals.map(|g| [g.ttft, g.tpot, g.e2e, g.share]),
        warm_up: job.warm_up,
        skipped,
        models: job.models.iter().map(|m| (m.name.clone(), m.goals.map(|g| [g.ttft, g.tpot, g.e2e, g.share]))).collect(),
        title: job.describe(&requests),
    };
    Ok(serving_outcome(&frame, &requests, served))
}

fn price(scenario: &Scenario, numbers: &mut ServingOutcome, counted: &Counted) -> crate::metrics::CostOutcome {
    let mean = |of: fn(&Accelerator) -> f64| scenario.fabric.part_shares().iter().map(|(p, share)| share * of(p)).sum::<f64>();
    let (idle, tdp) = (mean(|p| p.idle_power.get()), mean(|p| p.tdp.get()));
    let accelerators = scenario.fabric.accelerator_count() as f64 * counted.engines_on;
    // Busy shares count engines that are off as idle.
    let busy = numbers.busy_share / counted.engines_on.max(1e-9);
    let power = accelerators * (idle + (tdp - idle) * BUSY_POWER * busy.min(1.0)) + scenario.fabric.overhead_power();
    let cost = cost(&scenario.cost, accelerators, power, numbers.duration_s, counted.input + counted.output);
    numbers.usd_per_million_output_tokens = 1e6 * cost.usd_total / counted.output.max(1.0);
    numbers.usd_per_million_input_tokens = 1e6 * cost.usd_total / counted.input.max(1.0);
    numbers.joules_per_output_token = cost.energy_kwh * crate::units::KWH / counted.output.max(1.0);
    cost
}

impl ServingJob {
    /// The traffic in words.
    fn describe(&self, requests: &Requests) -> String {
        let n = requests.list.len();
        let all = grouped(n as u64);
        let mean = |of: fn(&crate::serving::Request) -> u32| requests.list.iter().map(|r| f64::from(of(r))).sum::<f64>() / n.max(1) as f64;
        let lengths = format!("{:.0} tokens in, {:.0} out on average", mean(|r| r.input), mean(|r| r.output));
        let first_turns = || requests.list.iter().take_while(|r| r.arrival < f64::INFINITY);
        let last = first_turns().last().map_or(0.0, |r| r.arrival);
        match self.arrivals {
            Arrivals::Closed { clients, .. } => format!("{all} requests of {clients} clients, {lengths}"),
            Arrivals::Open if !requests.turns.is_empty() => {
                let sessions = first_turns().count();
                format!(
                    "{all} requests of {} sessions, {} sessions a second, {lengths}",
                    grouped(sessions as u64),
                    three(sessions as f64 / last.max(1e-9))
                )
            }
            Arrivals::Open if last > 0.0 => format!("{all} requests, {} a second, {lengths}", three((n as f64 - 1.0) / last)),
            Arrivals::Open => format!("{all} requests at once, {lengths}"),
        }
    }
}
