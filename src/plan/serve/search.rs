//! The search over deployments: bound, prune, simulate.
//!
//! A deployment's money is known from its nodes, up to the electricity of bought ones; so deployments are taken from the cheapest bound on,
//! and the first that hold the load on a cluster leave little to do there. A deployment that was passed over is looked at again when what it has to beat has
//! changed, so that the answer is that of an exhaustive search.

use super::super::question::Objective;
use super::super::search::{Score, Want};
use super::bound::{Alone, Needs, engines};
use super::load::{Point, ServePlan, Size};
use super::setup::Setup;
use super::slo::{Target, worst};
use super::spot::Away;
use crate::economics::{CostPlan, cost};
use crate::fabric::Fabric;
use crate::metrics::{Outcome, ServingOutcome};
use crate::scenario::{Failure, Job, Scenario, execute};
use crate::units::Seconds;
use rayon::prelude::*;

/// Deployments that are simulated side by side.
const BATCH: usize = 8;
/// Greatest estimated work of one deployment, seconds.
const MAX_WORK: f64 = 600.0;
/// What a run that was stopped misses.
const LATE: &str = "late";
/// Rounding: a bound that is met exactly must not lie above.
const EXACT: f64 = 1.0 - 1e-9;

/// A simulated deployment under one way to pay.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) order: usize,
    pub(super) point: Point,
    pub(super) payment: usize,
    pub(super) score: Score,
    pub(super) numbers: ServingOutcome,
    /// Mean power with cooling, watts.
    pub(super) power: f64,
    /// What an accelerator holds, and its memory.
    pub(super) memory: (f64, f64),
    /// What is taken away, of spot capacity.
    pub(super) away: Option<Away>,
    /// Where the money goes.
    pub(super) parts: Vec<(String, f64)>,
}

/// How deployments were decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) considered: u64,
    pub(super) site: u64,
    pub(super) rate: u64,
    pub(super) latency: u64,
    pub(super) bounded: u64,
    pub(super) simulated: u64,
}

/// What was found.
pub(super) struct Searched {
    /// All that hold the load, in order of value.
    pub(super) found: Vec<Ran>,
    pub(super) counts: Counts,
    /// For every candidate: how near it came, and where; from bounds where nothing was simulated.
    pub(super) nearest: Vec<Option<(Miss, Point)>>,
}

/// A deployment whose bounds are known.
struct Open {
    order: usize,
    point: Point,
    bounds: Vec<Score>,
}

/// Where a deployment belongs: candidate and way to pay.
pub(super) fn place(plan: &ServePlan, point: &Point, payment: usize) -> (usize, usize) {
    (plan.sizes[point.size].candidate, payment)
}

impl Size {
    pub(super) fn accelerators(&self) -> u64 {
        self.fabric.accelerator_count() as u64
    }
    /// Accelerators of the nodes that work while as many are down as may be.
    pub(super) fn working(&self, spare: u64) -> u64 {
        self.accelerators() / self.nodes * (self.nodes - spare)
    }
}

fn idle_power(fabric: &Fabric) -> f64 {
    let idle = fabric.parts().map(|p| p.idle_power.get()).fold(f64::INFINITY, f64::min);
    idle * fabric.accelerator_count() as f64 + fabric.overhead_power()
}

/// A load that a deployment is put under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Requests per second.
    pub(super) rate: f64,
    /// Nodes that are down.
    pub(super) down: u64,
    /// Factor on all latencies that are allowed.
    pub(super) slack: f64,
}

impl Load {
    /// What has to be held: the rate with headroom while nodes are down.
    pub(super) fn of(plan: &ServePlan) -> Self {
        Self { rate: plan.load(), down: plan.spare, slack: 1.0 }
    }
}

/// The scenario of a deployment under a load.
fn scenario(plan: &ServePlan, point: &Point, load: Load) -> Option<Scenario> {
    let size = &plan.sizes[point.size];
    plan.scenario(size.candidate, size.nodes - load.down, size.working(load.down), point.setup, load.rate, &[]).0
}

/// What is missed: as reached over allowed, what is allowed, and words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Miss {
    /// `rate` or `latency`.
    pub(super) constraint: &'static str,
    /// Infinite where it cannot run at all.
    pub(super) over: f64,
    /// Engines or seconds; 1 where it is a share.
    pub(super) limit: f64,
    pub(super) words: String,
}

impl Miss {
    pub(super) fn latency(over: f64, limit: f64, words: String) -> Self {
        Self { constraint: "latency", over, limit, words }
    }
    fn cannot() -> Self {
        Self::latency(f64::INFINITY, 1.0, "it cannot run".into())
    }
    /// Late for certain; by how much is not known.
    fn late() -> Self {
        Self { constraint: LATE, ..Self::cannot() }
    }
}

/// A deployment under a load.
pub(super) fn run(plan: &ServePlan, point: &Point, load: Load) -> Result<(Scenario, Outcome, ServingOutcome), Miss> {
    simulated(scenario(plan, point, load).ok_or_else(Miss::cannot)?)
}

fn simulated(scenario: Scenario) -> Result<(Scenario, Outcome, ServingOutcome), Miss> {
    let outcome =
        execute(&scenario, MAX_WORK, &|| 0.0).map_err(|f| if matches!(f, Failure::Late) { Miss::late() } else { Miss::cannot() })?;
    let numbers = outcome.serving.clone().ok_or_else(Miss::cannot)?;
    Ok((scenario, outcome, numbers))
}

/// What is asked under a load.
fn asked(plan: &ServePlan, load: Load) -> Vec<Target> {
    plan.targets.iter().map(|t| Target { limit: t.limit * load.slack, ..*t }).collect()
}

/// Nothing, if the numbers meet what is asked under a load.
pub(super) fn meets(plan: &ServePlan, load: Load, numbers: &ServingOutcome) -> Result<(), Miss> {
    worst(&asked(plan, load), numbers).map_or(Ok(()), Err)
}

/// A deployment under a load: the outcome if it holds, else how far it is from that; or, in a hurry, only that it misses it.
pub(super) fn hold(plan: &ServePlan, point: &Point, load: Load, hurry: bool) -> Result<(Scenario, Outcome, ServingOutcome), Miss> {
    let mut scenario = scenario(plan, point, load).ok_or_else(Miss::cannot)?;
    if let Job::Serving(job) = &mut scenario.job
        && hurry
    {
        job.watches = asked(plan, load).iter().map(Target::watch).collect();
    }
    let (scenario, outcome, numbers) = simulated(scenario)?;
    meets(plan, load, &numbers).map(|()| (scenario, outcome, numbers))
}

/// Whether a deployment that is paid in some way holds a load.
pub(super) fn holds(plan: &ServePlan, point: &Point, payment: usize, load: Load) -> bool {
    let Ok((_, outcome, numbers)) = hold(plan, point, load, true) else { return false };
    let spot = plan.spot_of(plan.sizes[point.size].candidate, payment);
    spot.is_none_or(|spot| spot.over(plan, point, load, &outcome, &numbers).is_ok())
}

/// What every setup of every candidate says about all its sizes.
#[derive(Clone, Copy)]
struct Setups {
    /// Engines that are needed at least.
    needs: Needs,
    alone: Option<Alone>,
}

/// By candidate and setup. Engines of prompts change neither what a request takes at least nor what it takes alone.
fn setups(plan: &ServePlan, points: &[(usize, Point)], want: &Want) -> Vec<Vec<Setups>> {
    let together = |s: Setup| Setup { apart: None, ..s };
    let one = |c: usize, setup: Setup| {
        let at = points.iter().find(|(_, p)| plan.sizes[p.size].candidate == c && together(p.setup) == setup);
        let scenario = at.and_then(|(_, p)| scenario(plan, p, Load::of(plan)));
        match scenario {
            Some(scenario) if !want.exhaustive => Setups { needs: engines(&scenario, plan), alone: Alone::of(&scenario, plan) },
            _ => Setups { needs: Needs::default(), alone: None },
        }
    };
    let each = || plan.candidates.iter().enumerate().flat_map(|(c, x)| x.setups.iter().map(move |&s| (c, together(s))));
    let mut all: Vec<(usize, Setup)> = each().collect();
    all.sort_unstable();
    all.dedup();
    let known: Vec<Setups> = all.par_iter().map(|&(c, s)| one(c, s)).collect();
    let mut listed = each().map(|key| known[all.partition_point(|k| *k < key)]);
    plan.candidates.iter().map(|c| listed.by_ref().take(c.setups.len()).collect()).collect()
}

/// Looks for the deployments that hold the load.
pub(super) fn search(plan: &ServePlan, want: &Want) -> Searched {
    let mut counts = Counts { considered: plan.points.len() as u64, ..Counts::default() };
    let mut nearest: Vec<Option<(Miss, Point)>> = vec![None; plan.candidates.len()];
    let points: Vec<(usize, Point)> =
        plan.points.iter().copied().enumerate().filter(|(_, p)| plan.sizes[p.size].excess.is_empty()).collect();
    counts.site = counts.considered - points.len() as u64;
    let known = setups(plan, &points, want);
    let mut open = Vec::new();
    for (order, point) in points {
        let size = &plan.sizes[point.size];
        let at = plan.candidates[size.candidate].setups.iter().position(|s| *s == point.setup).unwrap_or(0);
        let says = &known[size.candidate][at];
        let engines = point.setup.split(size.working(plan.spare));
        let mut near = |miss: Miss| closer(&mut nearest[size.candidate], miss, point);
        if let Some((over, needed, what)) = says.needs.lack(engines) {
            counts.rate += 1;
            let words =
                format!("the rate needs at least {:.0} {what} of TP {}, there are {:.0}", needed.ceil(), point.setup.tensor, needed / over);
            near(Miss { constraint: "rate", over, limit: needed / over, words });
        } else if let Some((over, target)) = says.alone.as_ref().and_then(|a| a.misses(&plan.targets)) {
            counts.latency += 1;
            let (reached, limit) = (Seconds::new(over * target.limit), Seconds::new(target.limit));
            let words = format!("{} is at least {reached} instead of {limit}, even for requests that are alone", target.name());
            near(Miss::latency(over, target.limit, words));
        } else {
            open.push(Open { order, point, bounds: bounds(plan, size, says.alone.as_ref()) });
        }
    }
    open.sort_by(|a, b| least(a, want).total_cmp(&least(b, want)).then(a.order.cmp(&b.order)));
    let found = walk(plan, want, open, &mut counts, &mut nearest);
    Searched { found, counts, nearest }
}

/// Keeps the nearest of misses.
fn closer(slot: &mut Option<(Miss, Point)>, miss: Miss, point: Point) {
    if slot.as_ref().is_none_or(|n| miss.over < n.0.over) {
        *slot = Some((miss, point));
    }
}

fn bounds(plan: &ServePlan, size: &Size, alone: Option<&Alone>) -> Vec<Score> {
    let score = |(payment, paid): (usize, &CostPlan)| {
        let there = plan.spot_of(size.candidate, payment).map_or(1.0, |s| s.there());
        let c = cost(paid, there * size.accelerators() as f64, there * idle_power(&size.fabric), plan.horizon(), 1.0);
        Score { seconds: alone.map_or(0.0, Alone::least_e2e), usd: EXACT * c.usd_total, kwh: EXACT * c.energy_kwh }
    };
    size.plans.iter().enumerate().map(score).collect()
}

fn least(open: &Open, want: &Want) -> f64 {
    open.bounds.iter().map(|b| b.value(want.objective)).fold(f64::INFINITY, f64::min)
}

/// Simulates, from the best bound on, whatever could be among what the answer shows.
fn walk(plan: &ServePlan, want: &Want, mut open: Vec<Open>, counts: &mut Counts, nearest: &mut [Option<(Miss, Point)>]) -> Vec<Ran> {
    let mut found: Vec<Ran> = Vec::new();
    let mut stopped: Vec<(usize, Point)> = Vec::new();
    loop {
        let mut batch = Vec::new();
        let mut rest = Vec::new();
        for next in open {
            if batch.len() < BATCH && (want.exhaustive || could_be_shown(plan, want, &next, &found)) {
                batch.push(next);
            } else {
                rest.push(next);
            }
        }
        open = rest;
        if batch.is_empty() {
            counts.bounded = open.len() as u64;
            how_late(plan, &stopped, &found, nearest);
            return found;
        }
        counts.simulated += batch.len() as u64;
        let ran: Vec<Vec<Result<Ran, Miss>>> = batch.par_iter().map(|o| simulate(plan, o.order, &o.point, !want.exhaustive)).collect();
        for (open, ran) in batch.iter().zip(ran) {
            let slot = &mut nearest[plan.sizes[open.point.size].candidate];
            for ran in ran {
                match ran {
                    Ok(ran) => found.extend(Some(ran).filter(|r| r.score.is_within(want))),
                    Err(miss) if miss.constraint == LATE => stopped.push((open.order, open.point)),
                    Err(miss) => closer(slot, miss, open.point),
                }
            }
        }
        let value = |r: &Ran| r.score.value(want.objective);
        // Of equal ones that with the shorter latencies.
        let key = |r: &Ran| (value(r), r.score.seconds);
        found.sort_by(|a, b| {
            let (a_key, b_key) = (key(a), key(b));
            let by = a_key.0.total_cmp(&b_key.0).then(a_key.1.total_cmp(&b_key.1));
            by.then(a.order.cmp(&b.order)).then(a.payment.cmp(&b.payment))
        });
    }
}

/// Whether a deployment could be the best of its cluster and way to pay, or the second on the cluster of the best of all.
fn could_be_shown(plan: &ServePlan, want: &Want, open: &Open, found: &[Ran]) -> bool {
    open.bounds.iter().enumerate().any(|(payment, bound)| {
        if !bound.is_within(want) {
            return false;
        }
        if want.objective == Objective::Pareto {
            return !found.iter().any(|f| f.score.beats(bound));
        }
        let value = |s: &Score| s.value(want.objective);
        let own = place(plan, &open.point, payment);
        let Some(best) = found.first() else { return true };
        let here = |r: &&Ran| place(plan, &r.point, r.payment) == own;
        // On every cluster and under every way to pay the best is shown; on that of the best of all also another way to lay out engines.
        let leads = place(plan, &best.point, best.payment) == own;
        let rival = if leads && open.point.setup != best.point.setup {
            found.iter().filter(here).find(|r| r.point.setup != best.point.setup)
        } else {
            found.iter().find(here)
        };
        rival.is_none_or(|r| value(bound) <= value(&r.score))
    })
}

/// Runs what was stopped once more to its end where the answer says what came nearest: where a cluster paid in some way has no deployment.
fn how_late(plan: &ServePlan, stopped: &[(usize, Point)], found: &[Ran], nearest: &mut [Option<(Miss, Point)>]) {
    let told = |c: usize| (0..plan.candidates[c].payments.len()).all(|p| found.iter().any(|r| place(plan, &r.point, r.payment) == (c, p)));
    let open: Vec<Point> = stopped.iter().map(|s| s.1).filter(|p| !told(plan.sizes[p.size].candidate)).collect();
    let misses: Vec<Option<Miss>> = open.par_iter().map(|p| hold(plan, p, Load::of(plan), false).err()).collect();
    for (point, miss) in open.iter().zip(misses) {
        if let Some(miss) = miss {
            closer(&mut nearest[plan.sizes[point.size].candidate], miss, *point);
        }
    }
}

/// A deployment under load, by way to pay; or how far it is from holding it, which in a hurry is not always known.
fn simulate(plan: &ServePlan, order: usize, point: &Point, hurry: bool) -> Vec<Result<Ran, Miss>> {
    let size = &plan.sizes[point.size];
    let load = Load::of(plan);
    let (scenario, outcome, numbers) = match hold(plan, point, load, hurry) {
        Ok(held) => held,
        Err(miss) => return vec![Err(miss)],
    };
    let (Some(paid), Some(detail)) = (&outcome.cost, &outcome.detail.serving) else {
        return vec![Err(Miss::cannot())];
    };
    // Nodes in reserve draw as much as the others: they share the load on ordinary days.
    let share = size.accelerators() as f64 / size.working(plan.spare) as f64;
    let power = paid.average_power_w / scenario.cost.pue * share;
    let m = detail.memory;
    let memory = (m.weights + m.workspace + m.cache, m.capacity);
    let ran = |(payment, p): (usize, &CostPlan)| {
        let (numbers, away) = match plan.spot_of(size.candidate, payment) {
            Some(spot) => spot.over(plan, point, load, &outcome, &numbers).map(|(n, away)| (n, Some(away)))?,
            None => (numbers.clone(), None),
        };
        let there = away.map_or(1.0, |a| a.there);
        let c = cost(p, there * size.accelerators() as f64, there * power, plan.horizon(), 1.0);
        let score = Score { seconds: numbers.e2e_s.mean, usd: c.usd_total, kwh: c.energy_kwh };
        Ok(Ran { order, point: *point, payment, score, numbers, power: c.average_power_w, memory, away, parts: c.parts_usd })
    };
    size.plans.iter().enumerate().map(ran).collect()
}
