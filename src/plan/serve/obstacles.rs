//! What stands in the way of a service: every candidate with the reason why it lost, and the constraint that binds.

use super::super::money;
use super::super::outcome::{Binding, OptionRow};
use super::super::question::Objective;
use super::super::search::Want;
use super::super::site;
use super::answer::{choice, layout, name};
use super::load::{Barred, ServePlan};
use super::search::{Searched, place, search};
use crate::units::{Bytes, dollars};

pub(super) fn options(plan: &ServePlan, found: &Searched, want: &Want) -> Vec<OptionRow> {
    let mut out = Vec::new();
    for (c, candidate) in plan.candidates.iter().enumerate() {
        if let Some(barred) = plan.barred.iter().find(|b| b.name == candidate.name) {
            let why = Some(match &barred.short {
                Some((engine, (need, limit))) => {
                    format!("does not fit: {engine} needs at least {} of {} an accelerator", Bytes::new(*need), Bytes::new(*limit))
                }
                None => format!("nothing is legal: {}", barred.why),
            });
            out.push(OptionRow { cluster: candidate.name.clone(), payment: String::new(), feasible: false, why_not: why, choice: None });
            continue;
        }
        for (p, (payment, _)) in candidate.payments.iter().enumerate() {
            let best = found.found.iter().find(|r| place(plan, &r.point, r.payment) == (c, p));
            let sizes = || plan.sizes.iter().filter(|s| s.candidate == c);
            let why = || {
                if sizes().all(|s| !s.excess.is_empty()) {
                    let least = sizes().next().map(|s| s.excess.iter().map(site::Excess::words).collect::<Vec<_>>().join("; "));
                    return format!("the site cannot take it: {}", least.unwrap_or_default());
                }
                let leads = found.found.first().map(|r| r.score.value(want.objective));
                match (&found.nearest[c], leads) {
                    (Some((miss, _)), None) => miss.words.clone(),
                    (Some((miss, _)), Some(_)) if want.objective != Objective::Pareto => miss.words.clone(),
                    _ if want.budget.is_some() => "over the budget by its bounds".into(),
                    _ => "beaten in both latency and money by its bounds".into(),
                }
            };
            out.push(OptionRow {
                cluster: best.map_or_else(|| candidate.name.clone(), |r| name(plan, &r.point)),
                payment: payment.clone(),
                feasible: best.is_some(),
                why_not: if best.is_none() { Some(why()) } else { None },
                choice: best.map(|r| choice(plan, r)),
            });
        }
    }
    out
}

/// What comes nearest to fitting, where no engine fits anywhere.
fn memory(plan: &ServePlan) -> Option<Binding> {
    let over = |b: &Barred| b.short.as_ref().map_or(f64::INFINITY, |s| s.1.0 / s.1.1);
    let least = plan.barred.iter().min_by(|a, b| over(a).total_cmp(&over(b)))?;
    let (engine, (need, limit)) = least.short.as_ref()?;
    let text = format!(
        "Memory: an engine of {engine} on {} comes nearest, and needs at least {} an accelerator for weights, workspace and one block of the cache ({}).",
        least.name,
        Bytes::new(*need),
        money::beyond(need / limit, &format!("the {} that it may use", Bytes::new(*limit)))
    );
    Some(Binding { constraint: "memory".into(), limit: *limit, nearest: *need, over: need / limit - 1.0, text })
}

pub(super) fn binding(plan: &ServePlan, found: &Searched, want: &Want) -> Vec<Binding> {
    if plan.points.is_empty() {
        return memory(plan).into_iter().collect();
    }
    if plan.sizes.iter().all(|s| !s.excess.is_empty()) {
        let clusters = plan.sizes.iter().map(|s| (plan.candidates[s.candidate].name.as_str(), s.excess.as_slice()));
        return site::nearest(clusters).into_iter().collect();
    }
    if let Some(budget) = want.budget {
        let free = search(plan, &Want { budget: None, objective: Objective::Cost, ..*want });
        if let Some(cheapest) = free.found.first() {
            let usd = cheapest.score.usd;
            let text = format!(
                "Cost: the cheapest, {} as {}, costs {} ({}).",
                name(plan, &cheapest.point),
                layout(plan, &cheapest.point),
                dollars(usd),
                money::beyond(usd / budget, &dollars(budget))
            );
            return vec![Binding { constraint: "cost".into(), limit: budget, nearest: usd, over: usd / budget - 1.0, text }];
        }
    }
    let all = found.nearest.iter().flatten();
    let Some((miss, point)) = all.min_by(|a, b| a.0.over.total_cmp(&b.0.over)) else { return Vec::new() };
    let over = if miss.over.is_finite() { miss.over } else { 1e9 };
    let words = if miss.over.is_finite() { format!(" ({})", money::beyond(over, "what is allowed")) } else { String::new() };
    let head = if miss.constraint == "rate" { "Rate" } else { "Latency" };
    let text = format!("{head}: {} as {} comes nearest: {}{words}.", name(plan, point), layout(plan, point), miss.words);
    vec![Binding { constraint: miss.constraint.into(), limit: miss.limit, nearest: over * miss.limit, over: over - 1.0, text }]
}
