//! The search over the layouts of a job on one cluster: bound, prune, simulate.
//!
//! Layouts are taken in order of their lower bounds, some at a time side by side; what a bound shows to be worse than what was found
//! already is not simulated. A bound never lies above what the simulation gives, so the best is never lost; the number of
//! layouts side by side is fixed, so the answer does not depend on threads.

use super::bound::{Bounds, Least};
use super::question::Objective;
use super::rank::Rank;
use super::space::{Cluster, Layout, Payment};
use crate::diag::Span;
use crate::economics::{CostPlan, cost};
use crate::metrics::{Outcome, ProfileUse, RunOutcome, TrainingOutcome};
use crate::scenario::{Base, Change, Job, Operations, Scenario, execute};
use crate::units::DAY;
use rayon::prelude::*;

/// Layouts that are simulated side by side.
const BATCH: usize = 8;
/// Layouts that are kept for each way to pay: the best and the one after it.
const KEPT: usize = 2;
/// Greatest estimated work of one layout, seconds.
const MAX_WORK: f64 = 600.0;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Want {
    pub(super) objective: Objective,
    /// Longest run, seconds.
    pub(super) within: Option<f64>,
    /// Most money, dollars.
    pub(super) budget: Option<f64>,
    /// Whether everything is simulated (tests).
    pub(super) exhaustive: bool,
}

/// Time, money and energy of the run (of a step where no run is given).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Score {
    pub(super) seconds: f64,
    pub(super) usd: f64,
    pub(super) kwh: f64,
}

/// A simulated layout under one way to pay.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) order: usize,
    pub(super) layout: Layout,
    pub(super) score: Score,
    pub(super) numbers: TrainingOutcome,
    /// Mean power with cooling, watts.
    pub(super) power: f64,
    /// Where the money goes.
    pub(super) parts: Vec<(String, f64)>,
    /// The whole run.
    pub(super) run: Option<RunOutcome>,
    /// Which constants served it.
    pub(super) profile: Vec<ProfileUse>,
}

/// How many layouts were decided, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) considered: u64,
    pub(super) illegal: u64,
    pub(super) memory: u64,
    pub(super) site: u64,
    pub(super) bounded: u64,
    pub(super) simulated: u64,
    pub(super) finalists: u64,
}

/// What was found on a cluster.
pub(super) struct Searched {
    pub(super) counts: Counts,
    /// By way to pay: the best first; for a front, all of it, the fastest first.
    pub(super) found: Vec<Vec<Ran>>,
    /// The least peak and the capacity over all legal layouts.
    pub(super) least_peak: Option<(f64, f64)>,
    /// The least bound by way to pay, over layouts that may fit.
    pub(super) least: Vec<Option<Score>>,
}

/// What other clusters came to: what cannot beat the first two of them is not simulated.
#[derive(Debug, Clone, Default)]
pub(super) struct Rivals {
    scores: Vec<Score>,
}

impl Rivals {
    /// Adds what a cluster came to.
    pub(super) fn add(&mut self, found: &[Vec<Ran>]) {
        self.scores.extend(found.iter().flatten().map(|r| r.score));
    }
    /// The best value of one of them, and of the second.
    fn first_two(&self, objective: Objective) -> [f64; 2] {
        let mut values: Vec<f64> = self.scores.iter().map(|s| s.value(objective)).collect();
        values.sort_by(f64::total_cmp);
        [values.first().copied().unwrap_or(f64::INFINITY), values.get(1).copied().unwrap_or(f64::INFINITY)]
    }
}

/// A cluster whose layouts have bounds.
pub(super) struct Opened {
    open: Vec<Open>,
    counts: Counts,
    least_peak: Option<(f64, f64)>,
}

impl Opened {
    /// The least bound of all.
    pub(super) fn best(&self, want: &Want) -> f64 {
        self.open.first().map_or(f64::INFINITY, |o| best_bound(o, want))
    }
}

struct Open {
    order: usize,
    layout: Layout,
    least: Least,
    bounds: Vec<Score>,
}

/// The job's part of a search.
pub(super) struct Work<'a> {
    pub(super) base: &'a Base,
    pub(super) place: Span,
    pub(super) layouts: &'a [Layout],
}

impl Work<'_> {
    fn changes(&self, cluster: &Cluster, layout: &Layout) -> Vec<Change> {
        let mut out = cluster.changes.clone();
        out.extend(cluster.payments.iter().take(1).flat_map(|p| p.changes.iter().cloned()));
        out.extend(layout.changes(self.place));
        out
    }

    /// Gives every layout its bounds.
    pub(super) fn bound(&self, cluster: &Cluster, want: &Want) -> Opened {
        let bounds = Bounds::new(&cluster.fabric);
        let opened: Vec<Option<Open>> = self.layouts.par_iter().enumerate().map(|(i, l)| self.open(cluster, &bounds, i, l)).collect();
        let mut counts = Counts { considered: opened.len() as u64, ..Counts::default() };
        let mut open: Vec<Open> = opened.into_iter().flatten().collect();
        counts.illegal = counts.considered - open.len() as u64;
        let least_peak = open.iter().map(|o| (o.least.peak, o.least.capacity)).min_by(|a, b| a.0.total_cmp(&b.0));
        if !want.exhaustive {
            let legal = open.len();
            open.retain(|o| o.least.peak <= o.least.capacity);
            counts.memory = (legal - open.len()) as u64;
        }
        open.sort_by(|a, b| best_bound(a, want).total_cmp(&best_bound(b, want)).then(a.order.cmp(&b.order)));
        Opened { open, counts, least_peak }
    }

    /// Simulates what its bounds do not rule out.
    pub(super) fn search(&self, cluster: &Cluster, opened: Opened, want: &Want, rivals: &Rivals) -> Searched {
        let Opened { open, mut counts, least_peak } = opened;
        let least = (0..cluster.payments.len()).map(|p| {
            let fits = open.iter().filter(|o| o.least.peak <= o.least.capacity).map(|o| o.bounds[p]);
            fits.min_by(|a, b| a.value(want.objective).total_cmp(&b.value(want.objective)))
        });
        let least = least.collect();
        let mut found: Vec<Vec<Ran>> = vec![Vec::new(); cluster.payments.len()];
        let unknown = least_from(&open, cluster.payments.len(), want);
        let total = open.len();
        let mut rest = open.into_iter();
        let mut size = 2;
        loop {
            let unknown = &unknown[total - rest.len()];
            let mut batch = Vec::new();
            while batch.len() < size
                && let Some(next) = rest.next()
            {
                let mut each = next.bounds.iter().zip(&found).zip(unknown);
                if want.exhaustive || each.any(|((bound, found), unknown)| could_be_kept(bound, found, *unknown, want, rivals)) {
                    batch.push(next);
                } else {
                    counts.bounded += 1;
                }
            }
            if batch.is_empty() {
                return Searched { counts, found, least_peak, least };
            }
            // The first tell what the rest has to beat.
            size = BATCH;
            counts.simulated += batch.len() as u64;
            let kept =
                |payment: usize, score: &Score| want.exhaustive || could_be_kept(score, &found[payment], unknown[payment], want, rivals);
            let ran: Vec<(bool, Vec<(usize, Ran)>)> = batch.par_iter().map(|o| self.simulate(cluster, o, &kept)).collect();
            for (whole, ran) in ran {
                counts.finalists += u64::from(whole);
                for (payment, ran) in ran {
                    keep(&mut found[payment], ran, want);
                }
            }
        }
    }

    /// Where a layout stands among all.
    pub(super) fn rank(&self, cluster: &Cluster, want: &Want, of: &dyn Fn(&Layout) -> bool) -> Option<Rank> {
        let Opened { open, .. } = self.bound(cluster, want);
        let steps = |o: &Open| {
            let mut scenario = self.base.with(&self.changes(cluster, &o.layout)).0?;
            strip(&mut scenario);
            let outcome = execute(&scenario, MAX_WORK, &|| 0.0).ok()?;
            outcome.training.filter(|t| t.fits).map(|t| t.step_time_s)
        };
        let own = open.iter().find(|o| of(&o.layout)).and_then(steps)?;
        let near: Vec<&Open> = open.iter().filter(|o| o.least.step < own).collect();
        let found: Vec<f64> = near.par_iter().filter_map(|o| steps(o)).collect();
        Some(Rank {
            legal: open.len() as u64,
            faster: found.iter().filter(|s| **s < own).count() as u64,
            step_time_s: own,
            best_step_time_s: found.into_iter().fold(own, f64::min),
        })
    }

    fn open(&self, cluster: &Cluster, bounds: &Bounds<'_>, order: usize, layout: &Layout) -> Option<Open> {
        let (scenario, _) = self.base.with(&self.changes(cluster, layout));
        let scenario = scenario?;
        let Job::Training { config, steps, .. } = &scenario.job else { return None };
        let least = bounds.of(config, layout, &scenario.profiles);
        let steps = steps.unwrap_or(1.0);
        let score = |p: &CostPlan| {
            let (usd, kwh) = bounds.money(p, least.step, steps, config.tokens_per_step());
            Score { seconds: steps * least.step, usd, kwh }
        };
        Some(Open { order, layout: *layout, least, bounds: cluster.payments.iter().map(|p| score(&p.plan)).collect() })
    }

    /// The layout under every way to pay; nothing where it does not fit or cannot run. First its steps alone; with failures,
    /// checkpoints and storage, which only lengthen a run, if the steps do not rule it out. Says whether that was done.
    fn simulate(&self, cluster: &Cluster, open: &Open, kept: &(dyn Fn(usize, &Score) -> bool + Sync)) -> (bool, Vec<(usize, Ran)>) {
        let changes = self.changes(cluster, &open.layout);
        let all: Vec<usize> = (0..cluster.payments.len()).collect();
        let Some(mut scenario) = self.base.with(&changes).0 else { return (false, Vec::new()) };
        let runs_through = strip(&mut scenario);
        let steps = self.run(cluster, open, &scenario, &all);
        if runs_through && cluster.payments.iter().all(|p| p.losses.is_empty()) {
            return (false, steps);
        }
        let left: Vec<usize> = steps.iter().filter(|(p, ran)| kept(*p, &ran.score)).map(|s| s.0).collect();
        let mut out = Vec::new();
        // Ways to pay that lose capacity run by themselves, all others together.
        let (lossy, steady): (Vec<usize>, Vec<usize>) = left.iter().partition(|p| !cluster.payments[**p].losses.is_empty());
        for group in std::iter::once(steady).chain(lossy.into_iter().map(|p| vec![p])).filter(|g| !g.is_empty()) {
            let more = &cluster.payments[group[0]].losses;
            let whole = self.base.with(&[changes.clone(), more.clone()].concat()).0;
            out.extend(whole.map_or_else(Vec::new, |s| self.run(cluster, open, &s, &group)));
        }
        (!left.is_empty(), out)
    }

    /// Runs a scenario and prices it in some ways.
    fn run(&self, cluster: &Cluster, open: &Open, scenario: &Scenario, payments: &[usize]) -> Vec<(usize, Ran)> {
        let Ok(outcome) = execute(scenario, MAX_WORK, &|| 0.0) else { return Vec::new() };
        let Job::Training { config, steps, .. } = &scenario.job else { return Vec::new() };
        let Some(run) = Simulated::of(&outcome, steps.unwrap_or(1.0), config.tokens_per_step(), scenario.cost.pue) else {
            return Vec::new();
        };
        let accelerators = cluster.fabric.accelerator_count() as f64;
        payments.iter().map(|&p| (p, run.priced(open, &cluster.payments[p], accelerators))).collect()
    }
}

/// Takes checkpoints, failures and storage out of a training scenario; whether there were none.
fn strip(scenario: &mut Scenario) -> bool {
    let Job::Training { operations, .. } = &mut scenario.job else { return true };
    let none = operations.checkpoint.is_none() && operations.failures.is_none() && operations.feed.is_none();
    **operations = Operations { seeds: operations.seeds, ..Operations::default() };
    none
}

/// What a scenario came to, before it is priced.
struct Simulated<'a> {
    outcome: &'a Outcome,
    numbers: &'a TrainingOutcome,
    /// Seconds of the run.
    seconds: f64,
    tokens: f64,
    /// Mean power without cooling, watts.
    power: f64,
    /// What storage tiers cost.
    storage: Vec<(String, f64)>,
}

impl<'a> Simulated<'a> {
    /// Nothing where the layout does not fit, the run does not end or checkpoints need more room than there is.
    fn of(outcome: &'a Outcome, steps: f64, tokens: f64, pue: f64) -> Option<Self> {
        let (numbers, paid) = (outcome.training.as_ref()?, outcome.cost.as_ref()?);
        let run = outcome.run.as_ref();
        let holds = run.and_then(|r| r.checkpoint.as_ref()).is_none_or(|c| c.levels.iter().all(|l| l.fits));
        if !numbers.fits || !holds || run.is_some_and(|r| r.unfinished.is_some()) {
            return None;
        }
        // Checkpoints, failures and waits for data lengthen a run beyond its steps.
        let seconds = run.map_or(steps * numbers.step_time_s, |run| run.days * DAY);
        let storage = paid.parts_usd.iter().filter(|p| p.0.starts_with("storage ")).cloned().collect();
        Some(Self { outcome, numbers, seconds, tokens: steps * tokens, power: paid.average_power_w / pue, storage })
    }

    fn priced(&self, open: &Open, payment: &Payment, accelerators: f64) -> Ran {
        let mut paid = cost(&payment.plan, accelerators, self.power, self.seconds, self.tokens);
        self.storage.iter().for_each(|(name, usd)| paid.add(name, *usd, self.seconds, self.tokens));
        Ran {
            order: open.order,
            layout: open.layout,
            score: Score { seconds: self.seconds, usd: paid.usd_total, kwh: paid.energy_kwh },
            numbers: self.numbers.clone(),
            power: paid.average_power_w,
            parts: paid.parts_usd,
            run: self.outcome.run.clone(),
            profile: self.outcome.detail.profile.clone(),
        }
    }
}

impl Score {
    /// What is made small.
    pub(super) const fn value(&self, objective: Objective) -> f64 {
        match objective {
            Objective::Cost => self.usd,
            Objective::Time | Objective::Pareto => self.seconds,
            Objective::Energy => self.kwh,
        }
    }
    pub(super) fn is_within(&self, want: &Want) -> bool {
        want.within.is_none_or(|w| self.seconds <= w) && want.budget.is_none_or(|b| self.usd <= b)
    }
    /// No worse in time and money, and better in one.
    pub(super) fn beats(&self, other: &Self) -> bool {
        self.seconds <= other.seconds && self.usd <= other.usd && (self.seconds < other.seconds || self.usd < other.usd)
    }
}

fn best_bound(open: &Open, want: &Want) -> f64 {
    open.bounds.iter().map(|b| b.value(want.objective)).fold(f64::INFINITY, f64::min)
}

/// Least bound by way to pay over the layouts from each one on.
fn least_from(open: &[Open], payments: usize, want: &Want) -> Vec<Vec<f64>> {
    let mut out = vec![vec![f64::INFINITY; payments]];
    for o in open.iter().rev() {
        let after = &out[out.len() - 1];
        out.push(o.bounds.iter().zip(after).map(|(bound, least)| bound.value(want.objective).min(*least)).collect());
    }
    out.reverse();
    out
}

/// Whether a layout that is at best `bound` could be among the kept ones; those that are not simulated yet are at best `unknown`.
fn could_be_kept(bound: &Score, found: &[Ran], unknown: f64, want: &Want, rivals: &Rivals) -> bool {
    if !bound.is_within(want) {
        return false;
    }
    if want.objective == Objective::Pareto {
        return !found.iter().map(|f| &f.score).chain(&rivals.scores).any(|s| s.beats(bound));
    }
    let value = |s: &Score| s.value(want.objective);
    let [first, second] = rivals.first_two(want.objective);
    // On the cluster of the best the second layout is looked for too, and this one may have the best still before it.
    let may_lead = unknown <= first || found.first().is_some_and(|f| value(&f.score) <= first);
    let beats_rivals = may_lead || value(bound) <= second;
    beats_rivals && (found.len() < KEPT || value(bound) <= value(&found[KEPT - 1].score))
}

fn keep(found: &mut Vec<Ran>, ran: Ran, want: &Want) {
    if !ran.score.is_within(want) || want.objective == Objective::Pareto && found.iter().any(|f| f.score.beats(&ran.score)) {
        return;
    }
    if want.objective == Objective::Pareto {
        found.retain(|f| !ran.score.beats(&f.score));
    }
    found.push(ran);
    let value = |r: &Ran| r.score.value(want.objective);
    found.sort_by(|a, b| value(a).total_cmp(&value(b)).then(a.order.cmp(&b.order)));
    if want.objective != Objective::Pareto {
        found.truncate(KEPT);
    }
}
