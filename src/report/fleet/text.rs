//! A fleet as text.

use super::{columns, linked, shown, spread, time};
use crate::metrics::{ClassOutcome, FleetOutcome, PipelineOutcome, PolicyOutcome, TeamOutcome};
use crate::report::text::{bar, grouped, percent, table};
use std::fmt::Write;

/// The summary.
pub(in crate::report) fn text(f: &FleetOutcome) -> String {
    let mut out = String::new();
    let n = &f.numbers;
    let mut head = table(&[1, 2, 3, 4]);
    head.add_row(vec!["", "mean", "p50", "p90", "p99"]);
    for (name, p) in [("time in the queue", &n.queue_s), ("time to completion", &n.completion_s)] {
        head.add_row([vec![name.to_owned()], spread(p).to_vec()].concat());
    }
    let _ = writeln!(out, "{}\n", head.trim_fmt());
    out.push_str(&totals(f));
    out.push_str(&classes(&f.classes));
    let linked: Vec<String> = f.classes.iter().filter_map(linked).collect();
    if !linked.is_empty() {
        let _ = writeln!(out, "{}\n", linked.join("\n"));
    }
    if f.teams.len() > 1 {
        out.push_str(&teams(&f.teams));
    }
    for l in f.links.iter().take(1) {
        let _ = writeln!(
            out,
            "Fullest link: {}, {} on average, {} in its fullest interval\n",
            l.name,
            percent(l.utilization),
            percent(l.peak_utilization)
        );
    }
    out.push_str(&pipelines(&f.pipelines));
    if let Some(regions) = &f.regions {
        out.push_str(&crate::report::regions::text(regions));
    }
    out.push_str(&crate::report::services::text(&f.services));
    if !f.policies.is_empty() {
        out.push_str(&policies(&f.policies));
    }
    out
}

/// Jobs, use and stops of the first policy.
fn totals(f: &FleetOutcome) -> String {
    let n = &f.numbers;
    let mut rows = table(&[1]);
    rows.add_row(vec![
        "Jobs".into(),
        format!("{} of {} completed in {}", grouped(n.completed as f64), grouped(f.jobs as f64), time(n.makespan_s)),
    ]);
    if n.rejected > 0 {
        rows.add_row(vec!["Turned away".into(), format!("{} ask for more than there is", grouped(n.rejected as f64))]);
    }
    rows.add_row(vec!["Utilisation".into(), format!("{} {}", percent(n.utilization), bar(n.utilization))]);
    rows.add_row(vec!["Fragmentation".into(), format!("{} of what is free", percent(n.fragmentation))]);
    rows.add_row(vec!["Goodput".into(), format!("{} of the time that jobs held", percent(n.job_goodput))]);
    let mut stops = format!("{} for others, {} by failures, {} moves", n.preemptions, n.interruptions, n.migrations);
    if n.reclaims > 0 {
        let _ = write!(stops, "; {} spot nodes were taken away", grouped(n.reclaims as f64));
    }
    rows.add_row(vec!["Stops".into(), stops]);
    format!("{}\n\n", rows.trim_fmt())
}

/// Classes of jobs.
fn classes(list: &[ClassOutcome]) -> String {
    let mut rows = table(&[1, 2, 3, 4, 5]);
    rows.add_row(vec!["class", "jobs", "queue mean", "queue p99", "completion mean", "accelerator hours"]);
    for c in list {
        let cells =
            [grouped(c.jobs as f64), time(c.queue_s.mean), time(c.queue_s.p99), time(c.completion_s.mean), grouped(c.accelerator_hours)];
        rows.add_row([vec![c.name.clone()], cells.to_vec()].concat());
    }
    format!("{}\n\n", rows.trim_fmt())
}

/// Teams, the first twenty.
fn teams(list: &[TeamOutcome]) -> String {
    let mut rows = table(&[1, 2, 3, 4]);
    rows.add_row(vec!["team", "jobs", "queue mean", "accelerator hours", "USD"]);
    for t in list.iter().take(20) {
        let usd = t.usd.map_or_else(|| "-".into(), grouped);
        rows.add_row(vec![t.name.clone(), grouped(t.jobs as f64), time(t.queue_s.mean), grouped(t.accelerator_hours), usd]);
    }
    let more = list.len().saturating_sub(20);
    format!("{}{}\n\n", rows.trim_fmt(), if more > 0 { format!("\n  and {more} more teams") } else { String::new() })
}

/// Pipelines with their steps.
fn pipelines(list: &[PipelineOutcome]) -> String {
    let mut out = String::new();
    for p in list {
        let _ = writeln!(
            out,
            "Pipeline {}: {} of {} runs completed, {} on average, p99 {}",
            p.name,
            p.completed,
            p.runs,
            time(p.duration_s.mean),
            time(p.duration_s.p99)
        );
        let mut rows = table(&[1, 2, 3]);
        rows.add_row(vec!["step", "queue mean", "run mean", "on the critical path"]);
        for s in &p.steps {
            rows.add_row(vec![s.name.clone(), time(s.queue_s), time(s.run_s), percent(s.critical)]);
        }
        let _ = writeln!(out, "{}\n", rows.trim_fmt());
    }
    out
}

/// Policies side by side.
fn policies(list: &[PolicyOutcome]) -> String {
    let mut rows = table(&(1..=list.len()).collect::<Vec<_>>());
    rows.add_row([vec!["policy".to_owned()], list.iter().map(|p| p.name.clone()).collect()].concat());
    let all: Vec<_> = list.iter().map(|p| columns(&p.numbers)).collect();
    for i in shown(list) {
        rows.add_row([vec![all[0][i].0.to_owned()], all.iter().map(|c| c[i].1.clone()).collect()].concat());
    }
    format!("{}\n\n", rows.trim_fmt())
}
