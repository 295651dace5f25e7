//! Regions of a fleet that were lost: as text and as their part of a page.

use super::fleet::time;
use super::text::{grouped, percent, table};
use crate::metrics::{FailoverOutcome, RecoveryClass, RegionLossOutcome, RegionsOutcome};
use maud::{Markup, html};
use std::fmt::Write;

const DEFINITIONS: &str = "Recovery point (RPO): work that jobs lost. Recovery time (RTO): from the loss until they worked again; of a service until as many \
    replicas were warm as before, or as were wanted.";

const HEAD: [&str; 8] = ["class", "hit", "recovered", "RPO mean", "RPO p90", "RPO most", "RTO mean", "RTO most"];

fn lost(l: &RegionLossOutcome) -> String {
    format!("Region {} lost at {} for {}: {} jobs and {} replicas were there", l.region, time(l.at_s), time(l.lasts_s), l.jobs, l.replicas)
}

fn failed_over(f: &FailoverOutcome) -> String {
    let end = f.rto_s.map_or_else(|| "not made up for by the end".to_owned(), |s| format!("made up for after {}", time(s)));
    let late = percent(f.slo_attainment);
    format!(
        "Service {} lost {} of {} warm replicas at {}: {end}; {late} of {} requests meanwhile in time",
        f.name,
        f.lost,
        f.warm,
        time(f.at_s),
        grouped(f.requests)
    )
}

fn cells(c: &RecoveryClass) -> Vec<String> {
    let times = [c.rpo_s.mean, c.rpo_s.p90, c.rpo_most_s, c.rto_s.mean, c.rto_most_s].map(time);
    [vec![c.name.clone(), c.hit.to_string(), c.recovered.to_string()], times.to_vec()].concat()
}

/// The summary.
pub(super) fn text(r: &RegionsOutcome) -> String {
    let mut out = String::new();
    for l in r.losses.iter().take(20) {
        let _ = writeln!(out, "{}", lost(l));
    }
    if r.losses.is_empty() {
        let _ = writeln!(out, "No region was lost ({})", r.names.join(", "));
    }
    if !r.classes.is_empty() {
        let mut rows = table(&[1, 2, 3, 4, 5, 6, 7]);
        rows.add_row(HEAD.to_vec());
        r.classes.iter().for_each(|c| {
            rows.add_row(cells(c));
        });
        let _ = writeln!(out, "{}", rows.trim_fmt());
    }
    for f in r.services.iter().take(20) {
        let _ = writeln!(out, "{}", failed_over(f));
    }
    out.push('\n');
    out
}

/// The page's part.
pub(super) fn markup(r: &RegionsOutcome) -> Markup {
    html! {
        h2 { "Regions" }
        p.soft { (DEFINITIONS) }
        @if r.losses.is_empty() { p { "No region was lost (" (r.names.join(", ")) ")." } }
        ul { @for l in r.losses.iter().take(100) { li { (lost(l)) } } @for f in r.services.iter().take(100) { li { (failed_over(f)) } } }
        @if !r.classes.is_empty() {
            table {
                thead { tr { @for name in HEAD { th { (name) } } } }
                tbody { @for c in &r.classes { tr { @for cell in cells(c) { td { (cell) } } } } }
            }
        }
    }
}
