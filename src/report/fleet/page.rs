//! A fleet's part of the page.

use super::pictures::{gantt, heat, picture, shown_classes, unit};
use super::{columns, linked, shown, spread, time};
use crate::metrics::{ClassOutcome, FleetDetail, FleetOutcome, Outcome, PipelineOutcome, TeamOutcome};
use crate::report::html::{key_of, tile};
use crate::report::plot::PALETTE;
use crate::report::text::{grouped, percent};
use maud::{Markup, PreEscaped, html};

const DEFINITIONS: &str = "Queue: first start − submission. Completion: end − submission. Slowdown: completion over run time, jobs of at least 10 s. \
    Utilisation: accelerators in use over those that are there. Fragmentation: share of the free accelerators that lie on nodes in part used. \
    Goodput: share of the held accelerator time in which jobs came forward.";

/// The page's part.
pub(in crate::report) fn markup(outcome: &Outcome, f: &FleetOutcome) -> Markup {
    let Some(detail) = &outcome.detail.fleet else { return html! {} };
    let n = &f.numbers;
    html! {
        div.tiles {
            (tile(&grouped(f.jobs as f64), "jobs"))
            (tile(&time(n.queue_s.mean), "mean time in the queue"))
            (tile(&time(n.completion_s.mean), "mean completion"))
            (tile(&percent(n.utilization), "utilisation"))
            (tile(&percent(n.fragmentation), "fragmentation"))
            (tile(&time(n.makespan_s), "makespan"))
        }
        p.soft { (DEFINITIONS) }
        @if !f.policies.is_empty() {
            h2 { "Policies side by side" }
            @let all = f.policies.iter().map(|p| columns(&p.numbers)).collect::<Vec<_>>();
            table {
                thead { tr { th { "" } @for p in &f.policies { th { (p.name) } } } }
                tbody { @for i in shown(&f.policies) { tr { td { (all[0][i].0) } @for c in &all { td { (c[i].1) } } } } }
            }
        }
        (classes(&f.classes))
        (over_time(detail, n.makespan_s))
        (teams(&f.teams))
        (pipelines(&f.pipelines))
        @if let Some(regions) = &f.regions { (crate::report::regions::markup(regions)) }
        (crate::report::services::markup(&f.services, &detail.services, unit(n.makespan_s)))
    }
}

/// Classes of jobs, with what the scenario files say that they come from.
fn classes(list: &[ClassOutcome]) -> Markup {
    html! {
        h2 { "By class of jobs" }
        table {
            thead { tr { th { "class" } th { "jobs" } th { "queue mean" } th { "p50" } th { "p90" } th { "p99" } th { "completion mean" } th { "p99" } th { "accelerator hours" } } }
            tbody { @for c in list { tr {
                td { (c.name) } td { (grouped(c.jobs as f64)) } @for v in spread(&c.queue_s) { td { (v) } }
                td { (time(c.completion_s.mean)) } td { (time(c.completion_s.p99)) } td { (grouped(c.accelerator_hours)) }
            } } }
        }
        @if list.iter().any(|c| c.scenario.is_some()) {
            ul { @for words in list.iter().filter_map(linked) { li { (words) } } }
        }
    }
}

/// Use and queue over time; jobs on nodes; links.
fn over_time(detail: &FleetDetail, end: f64) -> Markup {
    html! {
        h2 { "Over time" }
        @let (unit, name) = unit(end);
        p.soft { "Accelerators in use, as a share of those that are there." }
        (picture(detail.series.iter().map(|(name, points)| (name.clone(), points.iter().map(|(t, v)| (t / unit, if v[3] > 0.0 { v[0] / v[3] } else { 0.0 })).collect())).collect(), name, "share in use"))
        p.soft { "Jobs that wait." }
        (picture(detail.series.iter().map(|(name, points)| (name.clone(), points.iter().map(|(t, v)| (t / unit, v[4])).collect())).collect(), name, "jobs"))
        @if let Some((_, points)) = detail.series.first() {
            p.soft { "Accelerators under the first policy: in use; free on nodes that are wholly free; free on nodes in part used." }
            (picture(vec![
                ("in use".to_owned(), points.iter().map(|(t, v)| (t / unit, v[0])).collect()),
                ("free on free nodes".to_owned(), points.iter().map(|(t, v)| (t / unit, v[1] - v[2])).collect()),
                ("free on used nodes".to_owned(), points.iter().map(|(t, v)| (t / unit, v[2])).collect()),
            ], name, "accelerators"))
        }
        @if !detail.stays.is_empty() {
            h2 { "Nodes over time" }
            p.soft { "The first " (detail.nodes.len()) " nodes under the first policy, a row each, its accelerators from top to bottom; colours are classes of jobs." }
            figure { (PreEscaped(gantt(detail, end))) (key_of(&shown_classes(detail), (0..8).map(|i| PALETTE[i]).collect())) }
        }
        @if !detail.heat.is_empty() {
            h2 { "Links over time" }
            p.soft { "The " (detail.heat.len()) " links between nodes that jobs that train fill most, under the first policy: bytes over capacity in each interval; the darkest is full." }
            figure { (PreEscaped(heat(detail))) }
        }
    }
}

/// Teams, the first hundred.
fn teams(list: &[TeamOutcome]) -> Markup {
    html! {
        @if list.len() > 1 {
            h2 { "By team" }
            table {
                thead { tr { th { "team" } th { "jobs" } th { "queue mean" } th { "p99" } th { "accelerator hours" } th { "USD" } } }
                tbody { @for t in list.iter().take(100) { tr {
                    td { (t.name) } td { (grouped(t.jobs as f64)) } td { (time(t.queue_s.mean)) } td { (time(t.queue_s.p99)) } td { (grouped(t.accelerator_hours)) } td { (t.usd.map_or_else(|| "-".to_owned(), grouped)) }
                } } }
            }
        }
    }
}

/// Pipelines with their steps.
fn pipelines(list: &[PipelineOutcome]) -> Markup {
    html! {
        @for p in list {
            h2 { "Pipeline: " (p.name) }
            p.soft { (p.completed) " of " (p.runs) " runs completed, " (time(p.duration_s.mean)) " on average, p99 " (time(p.duration_s.p99)) "." }
            table {
                thead { tr { th { "step" } th { "queue mean" } th { "run mean" } th { "on the critical path" } } }
                tbody { @for s in &p.steps { tr { td { (s.name) } td { (time(s.queue_s)) } td { (time(s.run_s)) } td { (percent(s.critical)) } } } }
            }
        }
    }
}
