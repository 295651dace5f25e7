//! Services of a fleet: what a replica asks for and serves, how their number follows the load, new versions, weights.

use super::check::{Names, conflict};
use super::input::{JobInput, RolloutInput, ServiceInput, WeightsInput};
use super::jobs::{Place, class_named, pools_of};
use super::link::{Links, replica};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::fleet::{Ask, Rollout, Scaling, Service, Weights, find, placement};
use crate::scenario::load::head;
use crate::scenario::operations::tier;
use crate::units::Seconds;

/// A service.
pub(super) fn service(
    given: &At<ServiceInput>,
    jobs: &[At<JobInput>],
    place: &Place<'_>,
    names: &mut Names,
    links: &mut Links,
    diags: &mut Diagnostics,
) -> Option<(Service, Option<Weights>)> {
    let before = diags.error_count();
    serves_once(given, diags);
    let file = given.scenario.value.as_deref().map(|name| replica(name, given.scenario.span, place, diags));
    let accelerators = file.as_ref().map_or(given.accelerators.unwrap_or(1), |f| f.as_ref().map_or(1, |f| f.accelerators));
    let ask = ask_of(given, accelerators, place, diags);
    if diags.error_count() > before {
        return None;
    }
    amounts(given, diags);
    if find(placement(crate::fleet::PlacementKind::Pack), place.cluster, &ask).is_none() {
        let message = format!("a replica of {accelerators} accelerators never finds room on this fleet, however empty");
        let wide = if file.is_some() { given.scenario.span } else { given.accelerators.span };
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(wide, "out of range"));
    }
    let rollout = given.rollout.value.as_ref().and_then(|r| rollout(r, jobs, names, diags));
    let weights = given.weights.value.as_ref().and_then(|w| weights(w, place, diags));
    if diags.error_count() > before {
        return None;
    }
    let curve = match file {
        Some(file) => Some(links.curve(&file?, &ask, place, diags)?),
        None => None,
    };
    let service = Service {
        name: given.name.value.clone(),
        ask,
        team: names.team(given.team.value.as_deref().unwrap_or("")),
        class: names.class(&given.name),
        priority: (*given.priority).min(1_000_000) as i32,
        rate: (*given.requests_per_s, *given.swing, given.period.get()),
        serves: curve.as_ref().map_or(given.replica_requests_per_s.unwrap_or(0.0), |c| c.serves()),
        latency: curve.as_ref().map_or(given.latency.map_or(1.0, Seconds::get), |c| c.loads[0].e2e),
        // Whoever waits for longer than the first token may take is late anyway.
        patience: curve.as_ref().and_then(|c| c.first_token).or(given.patience.map(Seconds::get)).unwrap_or(1.0),
        replica: curve,
        warm: given.warm.get(),
        rollout,
        scaling: scaling(given),
        interval: given.interval.get(),
    };
    (diags.error_count() == before).then_some((service, weights))
}

/// What a replica asks for.
fn ask_of(given: &ServiceInput, accelerators: u64, place: &Place<'_>, diags: &mut Diagnostics) -> Ask {
    Ask {
        pools: pools_of(&given.parts, &given.pools, true, place.cluster, diags),
        accelerators: accelerators.min(1 << 24) as u32,
        share: 1000,
        chunk: 1,
        cpus: 0.0,
        memory: 0.0,
        within: *given.within,
    }
}

/// Numbers of a service that are out of range.
fn amounts(given: &ServiceInput, diags: &mut Diagnostics) {
    let mut range = |bad: bool, span: Span, message: &str| {
        if bad {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message.to_owned()).at(span, "out of range"));
        }
    };
    range(*given.least > *given.most, given.least.span, "`least` is more than `most`");
    range(*given.most > 100_000, given.most.span, "more than 100,000 replicas");
    let share = *given.metric == crate::fleet::Metric::Utilization;
    range(share && *given.target > 1.0, given.target.span, "a utilization above 1");
    range(given.interval.get() < 1.0, given.interval.span, "looks less than a second apart");
    range(given.period.get() < 10.0 * given.interval.get(), given.period.span, "a period of less than ten looks");
    range(given.down_window.get().max(given.up_window.get()) > 86_400.0, given.down_window.span, "a window of more than a day");
}

/// How the number of replicas follows the load.
fn scaling(given: &ServiceInput) -> Scaling {
    Scaling {
        metric: *given.metric,
        target: *given.target,
        least: *given.least as u32,
        most: *given.most as u32,
        windows: [given.up_window.get(), given.down_window.get()],
    }
}

/// What a replica serves is said once: by a scenario, or by the service.
fn serves_once(given: &At<ServiceInput>, diags: &mut Diagnostics) {
    let linked = given.scenario.is_some();
    let rules = [
        (given.accelerators.is_some(), given.accelerators.span, "accelerators"),
        (given.replica_requests_per_s.is_some(), given.replica_requests_per_s.span, "replica_requests_per_s"),
        (given.latency.is_some(), given.latency.span, "latency"),
    ];
    for (_, span, key) in rules.into_iter().filter(|r| linked && r.0) {
        conflict(span, &format!("`{key}` does nothing beside `scenario`, which says it"), "leave it out", diags);
    }
    if !linked && given.replica_requests_per_s.is_none() {
        let told =
            Diagnostic::error(codes::MISSING_KEY, "how many requests does a replica serve?").at(head(given.span, diags), "this service");
        diags.push(told.hint("name a serving `scenario`, or give `replica_requests_per_s`"));
    }
}

fn rollout(given: &RolloutInput, jobs: &[At<JobInput>], names: &mut Names, diags: &mut Diagnostics) -> Option<Rollout> {
    class_named(&given.after, jobs, diags)?;
    if *given.surge == 0 && *given.unavailable == 0 {
        let told = Diagnostic::error(codes::CONFLICT, "with neither `surge` nor `unavailable` no replica can ever be replaced");
        diags.push(told.at(given.surge.span, "here").hint("allow one of them"));
        return None;
    }
    let whole = |v: u64| v.min(1 << 20) as u32;
    Some(Rollout { after: names.class(&given.after), surge: whole(*given.surge), unavailable: whole(*given.unavailable) })
}

fn weights(given: &WeightsInput, place: &Place<'_>, diags: &mut Diagnostics) -> Option<Weights> {
    let tier = tier(&given.tier, place.fabric, &[], diags)?;
    let (bytes, most) = (given.size.get(), place.fabric.tier(tier).capacity);
    if bytes > most {
        let message = format!("the tier holds {}", crate::units::Bytes::new(most));
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(given.size.span, "more than the tier holds"));
        return None;
    }
    Some(Weights { tier, bytes })
}
