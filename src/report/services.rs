//! Services of a fleet: as text and as their part of a page.

use super::fleet::{picture, spread, time};
use super::text::{grouped, percent};
use crate::metrics::{Course, ReplicaOutcome, RollOutcome, ServiceOutcome};
use crate::units::three;
use maud::{Markup, html};
use std::fmt::Write;

/// The summary.
pub(super) fn text(list: &[ServiceOutcome]) -> String {
    let mut out = String::new();
    for s in list {
        let _ = writeln!(
            out,
            "Service {}: {} requests, {} in time, longest wait {}, {} replica hours, {} cold starts, {} replicas at the peak",
            s.name,
            grouped(s.requests),
            percent(s.slo_attainment),
            time(s.longest_wait_s),
            three(s.replica_hours),
            s.cold_starts,
            s.peak_replicas
        );
        if let Some(r) = &s.replica {
            let [mean, p50, _, p99] = spread(&r.ttft_s);
            let [tpot, e2e] = [r.tpot_mean_s, r.e2e_mean_s].map(time);
            let _ = writeln!(out, "  {}", described(r));
            let _ = writeln!(out, "  Time to first token {mean} on average, p50 {p50}, p99 {p99}; {tpot} a token, {e2e} to the last one");
        }
        for r in &s.rollouts {
            let _ = writeln!(out, "  {}", rolled(r));
        }
    }
    if !list.is_empty() {
        out.push('\n');
    }
    out
}

/// What a replica does by its scenario, in words.
fn described(r: &ReplicaOutcome) -> String {
    format!(
        "A replica is {}: {} accelerators, {} requests a second within its targets",
        r.scenario,
        r.accelerators,
        three(r.requests_per_s)
    )
}

/// A roll-out in words.
fn rolled(r: &RollOutcome) -> String {
    let end = match r.took_s {
        Some(took) => format!("on all replicas after {}", time(took)),
        None if r.superseded => "a newer one came before".to_owned(),
        None => "not on all replicas by the end".to_owned(),
    };
    format!(
        "Version {} at {}: {end}; {} cold starts, at least {} replicas warm, {} of the requests in time, longest wait {}",
        r.version,
        time(r.registered_s),
        r.cold_starts,
        r.least_warm_replicas,
        percent(r.slo_attainment),
        time(r.longest_wait_s)
    )
}

/// The page's part; times are shown in `unit`.
pub(super) fn markup(list: &[ServiceOutcome], courses: &[(String, Course<5>)], (unit, name): (f64, &str)) -> Markup {
    html! {
        @if !list.is_empty() {
            h2 { "Services" }
            table {
                thead { tr { th { "service" } th { "requests" } th { "in time" } th { "longest wait" } th { "replica hours" } th { "cold starts" } th { "replicas at the peak" } } }
                tbody { @for s in list { tr {
                    td { (s.name) } td { (grouped(s.requests)) } td { (percent(s.slo_attainment)) } td { (time(s.longest_wait_s)) } td { (three(s.replica_hours)) } td { (s.cold_starts) } td { (s.peak_replicas) }
                } } }
            }
            @for (s, r) in list.iter().filter_map(|s| Some((s, s.replica.as_ref()?))) {
                h3 { (s.name) }
                p { (described(r)) "." }
                @let [mean, p50, p90, p99] = spread(&r.ttft_s);
                p.soft { "Time to first token of its requests while a replica was warm: " (mean) " on average, p50 " (p50) ", p90 " (p90) ", p99 " (p99) "; " (time(r.tpot_mean_s)) " for each token after it, " (time(r.e2e_mean_s)) " to the last one. One replica at each load that was simulated:" }
                table {
                    thead { tr { th { "requests a second" } th { "in time" } th { "time to first token" } th { "a token" } th { "to the last token" } } }
                    tbody { @for l in &r.loads { tr {
                        td { (three(l.requests_per_s)) } td { (percent(l.slo_attainment)) } td { (time(l.ttft_mean_s)) } td { (time(l.tpot_mean_s)) } td { (time(l.e2e_mean_s)) }
                    } } }
                }
            }
            @for (service, points) in courses {
                @let rolls = list.iter().find(|s| s.name == *service).map_or(&[][..], |s| &s.rollouts);
                p.soft { (service) ": replicas that are warm and wanted; requests a second over " (name) "." }
                @let mut curves = vec![
                    ("warm".to_owned(), points.iter().map(|(t, v)| (t / unit, v[1])).collect()),
                    ("wanted".to_owned(), points.iter().map(|(t, v)| (t / unit, v[2])).collect()),
                ];
                @if !rolls.is_empty() {
                    @let () = curves.push(("warm, newest version".to_owned(), points.iter().map(|(t, v)| (t / unit, v[4])).collect()));
                }
                (picture(curves, name, "replicas"))
                @if !rolls.is_empty() {
                    ul { @for r in rolls { li { (rolled(r)) } } }
                }
                (picture(vec![("requests a second".to_owned(), points.iter().map(|(t, v)| (t / unit, v[0])).collect())], name, "requests a second"))
            }
        }
    }
}
