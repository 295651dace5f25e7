//! What stands in the way of a plan: the limits that bind, and why every cluster that lost did.

use super::answer::{Place, choice, search};
use super::load::TrainingPlan;
use super::money::{beyond, time};
use super::outcome::{Binding, OptionRow, SearchCounts};
use super::question::Objective;
use super::search::{Ran, Score, Searched, Want};
use super::site;
use crate::units::{Bytes, dollars, si};

/// The nearest that candidates come when limits are dropped.
pub(super) struct Nearest {
    fastest: Vec<Option<Searched>>,
    cheapest: Option<Vec<Option<Searched>>>,
}

pub(super) fn relaxed(plan: &TrainingPlan, want: &Want) -> Nearest {
    // The answer counts the search that the goal asked for.
    let counts = &mut SearchCounts::default();
    let by = |objective| Want { objective, within: None, budget: None, exhaustive: want.exhaustive };
    let fastest = search(plan, &by(Objective::Time), counts);
    let cheapest = want.budget.map(|_| search(plan, &by(Objective::Cost), counts));
    Nearest { fastest, cheapest }
}

fn best_of(found: &[Option<Searched>], value: impl Fn(&Ran) -> f64) -> Option<(Place, &Ran)> {
    let all =
        found.iter().enumerate().flat_map(|(c, s)| s.iter().flat_map(move |s| s.found.iter().enumerate().map(move |(p, f)| ((c, p), f))));
    all.filter_map(|(place, f)| f.first().map(|r| (place, r))).min_by(|a, b| value(a.1).total_cmp(&value(b.1)).then(a.0.cmp(&b.0)))
}

pub(super) fn binding(plan: &TrainingPlan, want: &Want, found: &[Option<Searched>], nearest: &Nearest) -> Vec<Binding> {
    let bound = |constraint: &str, limit: f64, nearest: f64, text: String| Binding {
        constraint: constraint.into(),
        limit,
        nearest,
        over: nearest / limit - 1.0,
        text,
    };
    if plan.admitted().next().is_none() {
        let clusters = plan.clusters.iter().map(|(c, _)| (c.name.as_str(), c.excess.as_slice()));
        return site::nearest(clusters).into_iter().collect();
    }
    let Some((place, fastest)) = best_of(&nearest.fastest, |r| r.score.seconds) else {
        let least = found.iter().enumerate().filter_map(|(c, s)| Some((c, s.as_ref()?.least_peak?)));
        return match least.min_by(|a, b| (a.1.0 / a.1.1).total_cmp(&(b.1.0 / b.1.1))) {
            Some((c, (peak, capacity))) => {
                let text = format!(
                    "Memory: the leanest legal layout, on {}, needs at least {} an accelerator ({}).",
                    plan.clusters[c].0.name,
                    Bytes::new(peak),
                    beyond((peak / capacity).max(1.0), &Bytes::new(capacity).to_string())
                );
                vec![bound("memory", capacity, peak, text)]
            }
            None => vec![bound("layout", 1.0, 1.0, "No layout is legal on any candidate.".into())],
        };
    };
    let name = |(c, p): Place| format!("{} ({})", plan.clusters[c].0.name, plan.clusters[c].0.payments[p].name);
    let mut out = Vec::new();
    if let Some(within) = want.within.filter(|w| fastest.score.seconds > *w) {
        let text = format!(
            "Time: the fastest, {} as {}, takes {} ({}).",
            name(place),
            fastest.layout,
            time(fastest.score.seconds),
            beyond(fastest.score.seconds / within, &time(within))
        );
        out.push(bound("time", within, fastest.score.seconds, text));
    }
    let cheapest = nearest.cheapest.as_ref().and_then(|c| best_of(c, |r| r.score.usd));
    if let (Some(budget), Some((place, cheapest))) = (want.budget, cheapest) {
        if cheapest.score.usd > budget {
            let text = format!(
                "Cost: the cheapest, {} as {}, costs {} ({}).",
                name(place),
                cheapest.layout,
                dollars(cheapest.score.usd),
                beyond(cheapest.score.usd / budget, &dollars(budget))
            );
            out.push(bound("cost", budget, cheapest.score.usd, text));
        } else if out.is_empty() {
            let text = format!(
                "Time and cost together: the fastest, {}, costs {}; the cheapest, {}, takes {}.",
                name(best_of(&nearest.fastest, |r| r.score.seconds).map_or((0, 0), |b| b.0)),
                dollars(fastest.score.usd),
                name(place),
                time(cheapest.score.seconds)
            );
            out.push(bound("cost", budget, fastest.score.usd, text));
        }
    }
    out
}

/// Every cluster with every way to pay; where the goal was not met, what it comes to without limits.
pub(super) fn options(plan: &TrainingPlan, found: &[Option<Searched>], nearest: Option<&Nearest>, want: &Want) -> Vec<OptionRow> {
    let mut out = Vec::new();
    for (c, (cluster, _)) in plan.clusters.iter().enumerate() {
        let full = cluster.model.as_ref().map_or_else(|| cluster.name.clone(), |m| format!("{m} on {}", cluster.name));
        for (p, payment) in cluster.payments.iter().enumerate() {
            let Some(searched) = &found[c] else {
                let broken: Vec<String> = cluster.excess.iter().map(site::Excess::words).collect();
                let why = Some(if broken.is_empty() {
                    "a larger model fits".to_owned()
                } else {
                    format!("the site cannot take it: {}", broken.join("; "))
                });
                out.push(OptionRow { cluster: full.clone(), payment: payment.name.clone(), feasible: false, why_not: why, choice: None });
                continue;
            };
            let best = searched.found[p].first();
            let near = nearest.and_then(|n| n.fastest[c].as_ref()).and_then(|s| s.found[p].first());
            let why = match (best, near) {
                (Some(_), _) => None,
                (None, Some(r)) => Some(limits_missed(r, want)),
                (None, None) if nearest.is_none() && searched.least[p].is_some_and(|s| s.is_within(want)) => {
                    searched.least[p].map(|s| at_least(&s, want))
                }
                (None, None)
                    if nearest.is_none()
                        && (want.within.is_some() || want.budget.is_some())
                        && searched.counts.bounded + searched.counts.simulated > 0 =>
                {
                    Some("no layout that fits meets the limits".into())
                }
                _ => Some(match searched.least_peak {
                    Some((peak, capacity)) => format!("no layout fits: at least {} of {}", Bytes::new(peak), Bytes::new(capacity)),
                    None => "no layout is legal".into(),
                }),
            };
            let choice = best.or(near).map(|r| choice(plan, (c, p), r));
            out.push(OptionRow { cluster: full.clone(), payment: payment.name.clone(), feasible: best.is_some(), why_not: why, choice });
        }
    }
    let barred = plan.barred.iter().map(|(name, why)| OptionRow {
        cluster: name.clone(),
        payment: String::new(),
        feasible: false,
        why_not: Some(format!("no layout is legal: {why}")),
        choice: None,
    });
    out.extend(barred);
    out
}

/// Why a cluster was not looked at further: its bound.
fn at_least(bound: &Score, want: &Want) -> String {
    match want.objective {
        Objective::Cost => format!("cannot beat the first two: at least {}", dollars(bound.usd)),
        Objective::Energy => format!("cannot beat the first two: at least {}", si(bound.kwh * 1e3, "Wh")),
        Objective::Time => format!("cannot beat the first two: at least {}", time(bound.seconds)),
        Objective::Pareto => "beaten in both time and money by its bounds".into(),
    }
}

fn limits_missed(ran: &Ran, want: &Want) -> String {
    let mut out = Vec::new();
    if let Some(within) = want.within.filter(|w| ran.score.seconds > *w) {
        out.push(beyond(ran.score.seconds / within, "the time allowed"));
    }
    if let Some(budget) = want.budget.filter(|b| ran.score.usd > *b) {
        out.push(beyond(ran.score.usd / budget, "the budget"));
    }
    out.join(", ")
}
