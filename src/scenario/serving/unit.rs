//! One replica of a serving scenario by itself: what it does at a load, and how many requests a second it serves within its targets.

use super::super::execute::Failure;
use super::check::conflict;
use super::fleet::{prefill_ranks, ranks};
use super::input::ServingInput;
use super::run::{ServingJob, Source, simulate};
use crate::diag::{At, Diagnostic, Diagnostics, codes};
use crate::fabric::Fabric;
use crate::fleet::Load;
use crate::kernels::Profiles;
use crate::metrics::{Detail, ServingOutcome};
use crate::serving::{Arrivals, Pace, Synthetic};

/// Rates that are tried before a search gives up: from the first one a millionfold up and down.
const DOUBLINGS: usize = 20;
/// Where the search for the greatest rate ends: between a rate that holds and one 1 % above that does not.
const CLOSE: f64 = 1.01;
/// Loads that are simulated below the greatest one, as shares of it.
const BELOW: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.9];
/// Times to first token that are kept of a load.
const PARTS: usize = 100;
/// Simulations of a search, about.
const SIMULATIONS: f64 = 20.0;

/// The table of one replica, and its accelerators: without what several of them share. A deployment with engines of prompts is one
/// replica as a whole.
pub(in crate::scenario) fn one_replica(given: &At<ServingInput>, diags: &mut Diagnostics) -> Option<(At<ServingInput>, u64)> {
    let before = diags.error_count();
    let input = &given.value;
    let own = "for a replica of a fleet's service: the fleet starts, stops and loses replicas";
    for (there, span, name) in [
        (input.scaling.is_some(), input.scaling.span, "[serving.scaling]"),
        (input.start.is_some(), input.start.span, "[serving.start]"),
        (!input.failure.is_empty(), input.failure.span, "[[serving.failure]]"),
        (!input.beside.is_empty(), input.beside.span, "[[serving.beside]]"),
    ] {
        if there {
            conflict(format!("`{name}` does nothing {own}"), span, diags);
        }
    }
    let mut one = given.clone();
    let parallel = input.parallel.value.as_ref();
    let each = parallel.map_or(1, ranks);
    let apart = prefill_ranks(input.prefill.value.as_ref());
    let engines = if apart > 0 { parallel.and_then(|p| *p.replicas).unwrap_or(1) } else { 1 };
    if let Some(parallel) = &mut one.value.parallel.value {
        parallel.replicas.value = Some(engines);
    }
    let places = parallel.map_or(1, |p| p.data.saturating_mul(*p.pipeline));
    if apart == 0 && places == 1 {
        // With one engine there is nothing to route.
        one.value.router.value = None;
    }
    (diags.error_count() == before).then_some((one, apart.saturating_add(engines.saturating_mul(each))))
}

impl ServingJob {
    /// The rate at which its requests come.
    fn rate(&self) -> Option<f64> {
        match &self.source {
            _ if self.arrivals != Arrivals::Open => None,
            Source::Synthetic(Synthetic { pace: Pace::Gamma { rate, .. } | Pace::OnOff { rate, .. }, .. }) => Some(*rate),
            Source::Trace { requests, rate, .. } => {
                let last = requests.list.last().map_or(0.0, |r| r.arrival);
                rate.or_else(|| (last > 0.0).then(|| requests.list.len() as f64 / last))
            }
            _ => None,
        }
    }

    /// The same requests at another rate; the warm-up is the same share of them.
    fn at_rate(&self, rate: f64) -> Option<Self> {
        let before = self.rate()?;
        let source = match &self.source {
            Source::Synthetic(s) => {
                let pace = match s.pace {
                    Pace::Gamma { cv, .. } => Pace::Gamma { rate, cv },
                    Pace::OnOff { peak, burst, share, .. } => Pace::OnOff { rate, peak, burst, share },
                    Pace::Burst | Pace::Swing { .. } => return None,
                };
                Source::Synthetic(Synthetic { pace, ..*s })
            }
            Source::Trace { requests, repeat, skipped, .. } => {
                Source::Trace { requests: requests.clone(), repeat: *repeat, rate: Some(rate), skipped: *skipped }
            }
            Source::Sessions(_) => return None,
        };
        Some(Self { source, warm_up: self.warm_up * before / rate, ..self.clone() })
    }
}

/// A replica on the accelerators of a fabric.
pub(in crate::scenario) struct Replica<'a> {
    pub(in crate::scenario) fabric: &'a Fabric,
    pub(in crate::scenario) profiles: &'a Profiles,
    pub(in crate::scenario) job: &'a ServingJob,
    pub(in crate::scenario) seed: u64,
}

impl Replica<'_> {
    /// Seconds that the search takes, about.
    pub(in crate::scenario) fn work(&self) -> f64 {
        self.job.work().1 * SIMULATIONS
    }

    /// Whether there are a rate to vary and targets to meet; what is missing in words.
    pub(in crate::scenario) fn fault(&self) -> Option<Diagnostic> {
        if self.job.goals.is_none() {
            let told = Diagnostic::error(codes::MISSING_KEY, "how many requests a replica serves is open: its scenario has no targets");
            return Some(told.hint("add a [serving.slo] to it, or give `replica_requests_per_s` instead"));
        }
        if self.job.rate().is_none() {
            let told = Diagnostic::error(codes::UNSUPPORTED, "the requests of this scenario come at no constant rate that could be varied");
            return Some(told.hint("a replica's traffic is of kind poisson, gamma, bursty or trace; the service's own load swings"));
        }
        None
    }

    fn at(&self, rate: f64) -> Result<(Load, bool), Failure> {
        let job = self.job.at_rate(rate).ok_or_else(|| Failure::Serving("requests at no rate".into()))?;
        let (numbers, detail, _) = simulate(self.fabric, self.profiles, &job, self.seed)?;
        let met = numbers.slo_met;
        Ok((load(rate, &numbers, &detail), met))
    }

    /// Simulated loads up to the greatest at which the targets are met, ascending.
    pub(in crate::scenario) fn loads(&self) -> Result<Vec<Load>, Failure> {
        let mut rate = self.job.rate().unwrap_or(1.0);
        let (mut good, mut over): (Vec<Load>, Option<f64>) = (Vec::new(), None);
        let mut last = 0.0;
        for _ in 0..2 * DOUBLINGS {
            let (load, met) = self.at(rate)?;
            last = load.attained;
            if met {
                good.push(load);
            } else {
                over = Some(over.map_or(rate, |o: f64| o.min(rate)));
            }
            match (good.is_empty(), over) {
                (false, None) => rate *= 2.0,
                (true, _) => rate /= 2.0,
                _ => break,
            }
        }
        let Some(mut over) = over else {
            let said = format!(
                "its targets are met at {rate:.3e} requests a second too: the scenario has too few requests to tell what a replica serves"
            );
            return Err(Failure::Serving(said));
        };
        if good.is_empty() {
            let said = format!(
                "its targets are not met at {rate:.3e} requests a second either, where {:.1} % of the requests are in time",
                100.0 * last
            );
            return Err(Failure::Serving(said));
        }
        let most = |good: &[Load]| good.iter().map(|l| l.rate).fold(0.0, f64::max);
        while over > CLOSE * most(&good) {
            let rate = (over * most(&good)).sqrt();
            match self.at(rate)? {
                (load, true) => good.push(load),
                _ => over = rate,
            }
        }
        let serves = most(&good);
        for share in BELOW {
            good.push(self.at(share * serves)?.0);
        }
        good.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        good.dedup_by(|a, b| a.rate == b.rate);
        Ok(good)
    }
}

/// Seconds from the first request to the last token of a batch.
pub(in crate::scenario) fn batch_seconds(batch: &Replica<'_>, max_work: f64) -> Result<f64, Failure> {
    let (tasks, seconds) = batch.job.work();
    if seconds > max_work {
        return Err(Failure::TooMuchWork { tasks, seconds });
    }
    let (numbers, ..) = simulate(batch.fabric, batch.profiles, batch.job, batch.seed)?;
    Ok(numbers.duration_s + batch.job.warm_up)
}

fn load(rate: f64, numbers: &ServingOutcome, detail: &Detail) -> Load {
    let counted = detail.serving.iter().flat_map(|s| &s.requests).map(|r| r.record).filter(|r| r.is_done());
    let mut ttft: Vec<f64> = counted.map(|r| r.ttft()).collect();
    ttft.sort_by(f64::total_cmp);
    let parts = PARTS.min(ttft.len());
    let part = |i: usize| ttft[((2 * i + 1) * ttft.len() / (2 * parts)).min(ttft.len() - 1)];
    Load {
        rate,
        attained: numbers.slo_attainment,
        tpot: numbers.tpot_s.mean,
        e2e: numbers.e2e_s.mean,
        ttft: numbers.ttft_s.mean,
        ttft_parts: (0..parts).map(part).collect(),
    }
}
