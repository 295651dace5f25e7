//! The best deployment under other loads: purchases while demand grows, the rate that it holds, what a change of rate or latencies costs.

use super::super::outcome::{Phase, Purchases, Swing};
use super::load::{Point, ServePlan};
use super::search::{Load, Ran, holds};
use crate::economics::cost;
use crate::units::MONTH;

/// Bisections of the rate that is held: to a percent of a factor of two.
const BISECTIONS: u32 = 6;

/// Doublings of what is asked after which no greatest rate is looked for: requests that arrive all at once show none.
const DOUBLINGS: u32 = 10;

/// Sizes of a candidate on which a setup is legal, in order of nodes.
fn sizes(plan: &ServePlan, best: &Ran) -> Vec<usize> {
    let candidate = plan.sizes[best.point.size].candidate;
    let own = plan.points.iter().filter(|p| plan.sizes[p.size].candidate == candidate && p.setup == best.point.setup);
    let mut out: Vec<usize> = own.map(|p| p.size).filter(|s| plan.sizes[*s].excess.is_empty()).collect();
    out.sort_by_key(|s| plan.sizes[*s].nodes);
    out
}

/// The smallest size that holds a load with the best's setup, looked for from the best's own size on.
pub(super) fn least(plan: &ServePlan, best: &Ran, load: Load) -> Option<usize> {
    let all = sizes(plan, best);
    let holds = |at: usize| holds(plan, &Point { size: all[at], setup: best.point.setup }, best.payment, load);
    let mut at = all.iter().position(|s| *s == best.point.size)?;
    if holds(at) {
        while at > 0 && holds(at - 1) {
            at -= 1;
        }
        return Some(all[at]);
    }
    (at + 1..all.len()).find(|&i| holds(i)).map(|i| all[i])
}

/// Money of some months on a size, at the best's power by accelerator.
fn money(plan: &ServePlan, best: &Ran, size: usize, months: f64) -> f64 {
    let (own, size) = (&plan.sizes[best.point.size], &plan.sizes[size]);
    let there = best.away.map_or(1.0, |a| a.there);
    let accelerators = there * size.accelerators() as f64;
    let paid = &size.plans[best.payment];
    let power = best.power / paid.pue * accelerators / (there * own.accelerators() as f64);
    cost(paid, accelerators, power, months * MONTH, 1.0).usd_total
}

/// What is bought when: each purchase holds what is asked until the next.
pub(super) fn purchases(plan: &ServePlan, best: &Ran) -> Option<Purchases> {
    let demand = plan.demand?;
    let mut phases: Vec<Phase> = Vec::new();
    let mut month = 0;
    while month < demand.months {
        let until = (month + demand.review).min(demand.months);
        let rate = plan.rate * demand.factor(until);
        let load = Load { rate: rate * (1.0 + plan.headroom), ..Load::of(plan) };
        let size = if until == demand.months { best.point.size } else { least(plan, best, load)? };
        let before = phases.last().map_or(0, |p| p.nodes);
        let nodes = plan.sizes[size].nodes.max(before);
        phases.push(Phase {
            month,
            until_month: until,
            requests_per_s: rate,
            nodes,
            added: nodes - before,
            usd: money(plan, best, size, (until - month) as f64),
        });
        month = until;
    }
    let phased_usd = phases.iter().map(|p| p.usd).sum();
    Some(Purchases { phases, phased_usd, at_once_usd: best.score.usd })
}

/// The greatest rate that all nodes hold; `None` where the base's requests are too few to find one.
pub(super) fn sustained(plan: &ServePlan, best: &Ran) -> Option<f64> {
    let holds = |rate: f64| holds(plan, &best.point, best.payment, Load { rate, down: 0, slack: 1.0 });
    let doubled = |n: u32| plan.load() * f64::from(1u32 << n);
    let over = (1..=DOUBLINGS).find(|&n| !holds(doubled(n)))?;
    let (mut low, mut high) = (doubled(over - 1), doubled(over));
    for _ in 0..BISECTIONS {
        let middle = libm::sqrt(low * high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

/// What a fifth more or less of the rate and of the latencies does to the money.
pub(super) fn swings(plan: &ServePlan, best: &Ran) -> Vec<Swing> {
    let of = |load: Load| least(plan, best, load).map(|size| (plan.sizes[size].nodes, money(plan, best, size, plan.months() as f64)));
    let own = Load::of(plan);
    let nodes = |n: u64, what: &str| format!("{what}: {n} node{}", if n == 1 { "" } else { "s" });
    let mut out = Vec::new();
    let mut add = |what: &str, low: (&str, Load), high: (&str, Load)| {
        if let (Some((few, low_usd)), Some((many, high_usd))) = (of(low.1), of(high.1)) {
            out.push(Swing { what: what.into(), low: nodes(few, low.0), high: nodes(many, high.0), low_usd, high_usd });
        }
    };
    add("requests per second", ("20 % fewer", Load { rate: 0.8 * own.rate, ..own }), ("20 % more", Load { rate: 1.2 * own.rate, ..own }));
    // A quarter more time is what a fifth less of it takes back.
    add("latencies that are allowed", ("25 % longer", Load { slack: 1.25, ..own }), ("20 % shorter", Load { slack: 0.8, ..own }));
    out
}
