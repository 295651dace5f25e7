//! Fleets: as text, as a page with the policies side by side and the nodes over time, as CSV.

use super::csv::rows as csv_rows;
use super::document::escaped;
use super::html::{key_of, tile};
use super::plot::{PALETTE, lines};
use super::text::{bar, grouped, percent, table};
use crate::metrics::{ClassOutcome, FleetDetail, FleetNumbers, FleetOutcome, Outcome, Percentiles, PipelineOutcome, PolicyOutcome};
use crate::units::{DAY, HOUR, Seconds, three};
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

const DEFINITIONS: &str = "Queue: first start − submission. Completion: end − submission. Slowdown: completion over run time, jobs of at least 10 s. \
    Utilisation: accelerators in use over those that are there. Fragmentation: share of the free accelerators that lie on nodes in part used. \
    Goodput: share of the held accelerator time in which jobs came forward.";

pub(super) fn time(seconds: f64) -> String {
    Seconds::new(seconds).to_string()
}

/// What is told of a policy, with its name.
fn columns(n: &FleetNumbers) -> [(&'static str, String); 14] {
    [
        ("completed", grouped(n.completed as f64)),
        ("queue mean", time(n.queue_s.mean)),
        ("queue p50", time(n.queue_s.p50)),
        ("queue p99", time(n.queue_s.p99)),
        ("completion mean", time(n.completion_s.mean)),
        ("completion p99", time(n.completion_s.p99)),
        ("slowdown", three(n.slowdown)),
        ("makespan", time(n.makespan_s)),
        ("utilisation", percent(n.utilization)),
        ("fragmentation", percent(n.fragmentation)),
        ("goodput", percent(n.job_goodput)),
        ("preemptions", grouped(n.preemptions as f64)),
        ("migrations", grouped(n.migrations as f64)),
        ("spot nodes taken away", grouped(n.reclaims as f64)),
    ]
}

pub(super) fn spread(p: &Percentiles) -> [String; 4] {
    [p.mean, p.p50, p.p90, p.p99].map(time)
}

/// The summary.
pub(super) fn text(f: &FleetOutcome) -> String {
    let mut out = String::new();
    let n = &f.numbers;
    let mut head = table(&[1, 2, 3, 4]);
    head.add_row(vec!["", "mean", "p50", "p90", "p99"]);
    for (name, p) in [("time in the queue", &n.queue_s), ("time to completion", &n.completion_s)] {
        head.add_row([vec![name.to_owned()], spread(p).to_vec()].concat());
    }
    let _ = writeln!(out, "{}\n", head.trim_fmt());
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
    let _ = writeln!(out, "{}\n", rows.trim_fmt());
    let mut classes = table(&[1, 2, 3, 4, 5]);
    classes.add_row(vec!["class", "jobs", "queue mean", "queue p99", "completion mean", "accelerator hours"]);
    for c in &f.classes {
        let cells =
            [grouped(c.jobs as f64), time(c.queue_s.mean), time(c.queue_s.p99), time(c.completion_s.mean), grouped(c.accelerator_hours)];
        classes.add_row([vec![c.name.clone()], cells.to_vec()].concat());
    }
    let _ = writeln!(out, "{}\n", classes.trim_fmt());
    let linked: Vec<String> = f.classes.iter().filter_map(linked).collect();
    if !linked.is_empty() {
        let _ = writeln!(out, "{}\n", linked.join("\n"));
    }
    if f.teams.len() > 1 {
        let mut teams = table(&[1, 2, 3, 4]);
        teams.add_row(vec!["team", "jobs", "queue mean", "accelerator hours", "USD"]);
        for t in f.teams.iter().take(20) {
            let usd = t.usd.map_or_else(|| "-".into(), grouped);
            teams.add_row(vec![t.name.clone(), grouped(t.jobs as f64), time(t.queue_s.mean), grouped(t.accelerator_hours), usd]);
        }
        let more = f.teams.len().saturating_sub(20);
        let _ = writeln!(out, "{}{}\n", teams.trim_fmt(), if more > 0 { format!("\n  and {more} more teams") } else { String::new() });
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
        out.push_str(&super::regions::text(regions));
    }
    out.push_str(&super::services::text(&f.services));
    if !f.policies.is_empty() {
        out.push_str(&policies(&f.policies));
    }
    out
}

/// What the scenario file of a class says, in words.
fn linked(class: &ClassOutcome) -> Option<String> {
    let s = class.scenario.as_ref()?;
    Some(format!("Class {}: {} takes {} by itself", class.name, s.file, time(s.alone_s)))
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

/// Rows of what is told of policies: spot nodes only where there are any.
fn shown(list: &[PolicyOutcome]) -> std::ops::Range<usize> {
    let all = columns(&list[0].numbers).len();
    0..if list.iter().any(|p| p.numbers.reclaims > 0) { all } else { all - 1 }
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

/// The page's part.
pub(super) fn markup(outcome: &Outcome, f: &FleetOutcome) -> Markup {
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
        h2 { "By class of jobs" }
        table {
            thead { tr { th { "class" } th { "jobs" } th { "queue mean" } th { "p50" } th { "p90" } th { "p99" } th { "completion mean" } th { "p99" } th { "accelerator hours" } } }
            tbody { @for c in &f.classes { tr {
                td { (c.name) } td { (grouped(c.jobs as f64)) } @for v in spread(&c.queue_s) { td { (v) } }
                td { (time(c.completion_s.mean)) } td { (time(c.completion_s.p99)) } td { (grouped(c.accelerator_hours)) }
            } } }
        }
        @if f.classes.iter().any(|c| c.scenario.is_some()) {
            ul { @for words in f.classes.iter().filter_map(linked) { li { (words) } } }
        }
        h2 { "Over time" }
        @let (unit, name) = unit(f.numbers.makespan_s);
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
            figure { (PreEscaped(gantt(detail, n.makespan_s))) (key_of(&shown_classes(detail), (0..8).map(|i| PALETTE[i]).collect())) }
        }
        @if !detail.heat.is_empty() {
            h2 { "Links over time" }
            p.soft { "The " (detail.heat.len()) " links between nodes that jobs that train fill most, under the first policy: bytes over capacity in each interval; the darkest is full." }
            figure { (PreEscaped(heat(detail))) }
        }
        @if f.teams.len() > 1 {
            h2 { "By team" }
            table {
                thead { tr { th { "team" } th { "jobs" } th { "queue mean" } th { "p99" } th { "accelerator hours" } th { "USD" } } }
                tbody { @for t in f.teams.iter().take(100) { tr {
                    td { (t.name) } td { (grouped(t.jobs as f64)) } td { (time(t.queue_s.mean)) } td { (time(t.queue_s.p99)) } td { (grouped(t.accelerator_hours)) } td { (t.usd.map_or_else(|| "-".to_owned(), grouped)) }
                } } }
            }
        }
        @for p in &f.pipelines {
            h2 { "Pipeline: " (p.name) }
            p.soft { (p.completed) " of " (p.runs) " runs completed, " (time(p.duration_s.mean)) " on average, p99 " (time(p.duration_s.p99)) "." }
            table {
                thead { tr { th { "step" } th { "queue mean" } th { "run mean" } th { "on the critical path" } } }
                tbody { @for s in &p.steps { tr { td { (s.name) } td { (time(s.queue_s)) } td { (time(s.run_s)) } td { (percent(s.critical)) } } } }
            }
        }
        @if let Some(regions) = &f.regions { (super::regions::markup(regions)) }
        (super::services::markup(&f.services, &detail.services, (unit, name)))
    }
}

/// A unit of time in which a span reads well.
const fn unit(span: f64) -> (f64, &'static str) {
    match span {
        s if s > 4.0 * DAY => (DAY, "days"),
        s if s > 2.0 * HOUR => (HOUR, "hours"),
        s if s > 300.0 => (60.0, "minutes"),
        _ => (1.0, "seconds"),
    }
}

pub(super) fn picture(curves: Vec<(String, Vec<(f64, f64)>)>, x: &str, y: &str) -> Markup {
    html! {
        figure {
            (PreEscaped(lines(&curves, x, y, false)))
            div.key { @for (i, (name, _)) in curves.iter().enumerate() { span { i style={"background:" (PALETTE[i % PALETTE.len()])} {} (name) } } }
        }
    }
}

/// Classes with a colour of their own; the rest share the last one.
fn shown_classes(detail: &FleetDetail) -> Vec<&str> {
    let mut out: Vec<&str> = detail.classes.iter().take(8).map(String::as_str).collect();
    if detail.classes.len() > 8 {
        out[7] = "all others";
    }
    out
}

/// Rows of links, cells of intervals; what is next to each other and equally full is one cell.
fn heat(detail: &FleetDetail) -> String {
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 700.0;
    const ROW: f64 = 14.0;
    const SHADES: f64 = 10.0;
    let bins = detail.heat.iter().map(|l| l.utilization.len()).max().unwrap_or(1);
    let height = ROW * detail.heat.len() as f64;
    let mut paths = vec![String::new(); SHADES as usize + 1];
    let mut out = format!("<svg viewBox=\"0 0 900 {:.0}\" role=\"img\"><title>Utilisation of links over time</title>", height + 26.0);
    for (n, link) in detail.heat.iter().enumerate() {
        let y = n as f64 * ROW;
        let name: String = link.name.chars().take(34).collect();
        let _ = write!(out, "<text x=\"2\" y=\"{:.1}\" font-size=\"10\" fill=\"currentColor\">{}</text>", y + ROW - 4.0, escaped(&name));
        let shade = |v: f64| (v.clamp(0.0, 1.0) * SHADES).ceil() as usize;
        let mut from = 0;
        for i in 1..=link.utilization.len() {
            let now = shade(link.utilization[from]);
            if i == link.utilization.len() || shade(link.utilization[i]) != now {
                let (x, w) = (LEFT + WIDTH * from as f64 / bins as f64, WIDTH * (i - from) as f64 / bins as f64);
                let _ = write!(paths[now], "M{x:.1} {:.1}h{w:.1}v{:.1}h-{w:.1}z", y + 1.0, ROW - 2.0);
                from = i;
            }
        }
    }
    for (i, path) in paths.iter().enumerate().skip(1).filter(|p| !p.1.is_empty()) {
        let _ = write!(out, "<path fill=\"{}\" fill-opacity=\"{:.2}\" d=\"{path}\"/>", PALETTE[0], i as f64 / SHADES);
    }
    let (unit, name) = unit(bins as f64 * detail.heat_width);
    for i in 0..=4 {
        let at = bins as f64 * detail.heat_width * f64::from(i) / 4.0;
        let anchor = ["start", "middle", "middle", "middle", "end"][i as usize];
        let label = if i == 4 { format!("{} {name}", three(at / unit)) } else { three(at / unit) };
        let (x, y) = (LEFT + WIDTH * f64::from(i) / 4.0, height + 18.0);
        let _ =
            write!(out, "<text x=\"{x:.1}\" y=\"{y:.0}\" font-size=\"11\" text-anchor=\"{anchor}\" fill=\"currentColor\">{label}</text>");
    }
    out.push_str("</svg>");
    out
}

/// Rows of nodes, bars of jobs.
fn gantt(detail: &FleetDetail, end: f64) -> String {
    const LEFT: f64 = 80.0;
    const WIDTH: f64 = 810.0;
    let end = detail.stays.iter().map(|s| s.end).fold(end, f64::max).max(1e-9);
    let row = (640.0 / detail.nodes.len() as f64).clamp(12.0, 40.0);
    let height = row * detail.nodes.len() as f64;
    let mut paths = vec![String::new(); 8];
    for stay in &detail.stays {
        let size = f64::from(detail.nodes[stay.node as usize].0.max(1));
        let class = usize::from(detail.class_of.get(stay.job as usize).copied().unwrap_or(0)).min(7);
        let (x, w) = (LEFT + WIDTH * stay.start / end, (WIDTH * (stay.end - stay.start) / end).max(0.3));
        // Runs of neighbouring accelerators are one bar.
        let mut mask = stay.mask;
        while mask != 0 {
            let first = mask.trailing_zeros();
            let length = (mask >> first).trailing_ones();
            mask &= if first + length >= 64 { 0 } else { u64::MAX << (first + length) };
            let slot = (row - 2.0) / size;
            let y = f64::from(stay.node) * row + 1.0 + slot * f64::from(first);
            let _ = write!(paths[class], "M{x:.1} {y:.1}h{w:.1}v{:.1}h-{w:.1}z", slot * f64::from(length));
        }
    }
    let mut out = format!("<svg viewBox=\"0 0 900 {:.0}\" role=\"img\"><title>Jobs on nodes over time</title>", height + 26.0);
    for (n, (_, pool)) in detail.nodes.iter().enumerate() {
        let y = n as f64 * row;
        let _ = write!(out, "<path d=\"M{LEFT} {y:.1}h{WIDTH}\" stroke=\"currentColor\" stroke-opacity=\".12\"/>");
        if row >= 12.0 && (n == 0 || detail.nodes[n - 1].1 != *pool || n % 4 == 0) {
            let room = 13 - n.to_string().len() - 1;
            let long = pool.chars().count() > room;
            let short: String = pool.chars().take(if long { room - 1 } else { room }).collect();
            let name = format!("{short}{} {n}", if long { "…" } else { "" });
            let _ = write!(
                out,
                "<text x=\"2\" y=\"{:.1}\" font-size=\"10\" fill=\"currentColor\">{}</text>",
                y + row * 0.5 + 4.0,
                escaped(&name)
            );
        }
    }
    for (i, path) in paths.iter().enumerate().filter(|p| !p.1.is_empty()) {
        let _ = write!(out, "<path fill=\"{}\" d=\"{path}\"/>", PALETTE[i]);
    }
    let (unit, name) = unit(end);
    for i in 0..=4 {
        let at = end * f64::from(i) / 4.0;
        let anchor = ["start", "middle", "middle", "middle", "end"][i as usize];
        let (x, y) = (LEFT + WIDTH * at / end, height + 18.0);
        let label = if i == 4 { format!("{} {name}", three(at / unit)) } else { three(at / unit) };
        let _ =
            write!(out, "<text x=\"{x:.1}\" y=\"{y:.0}\" font-size=\"11\" text-anchor=\"{anchor}\" fill=\"currentColor\">{label}</text>");
    }
    out.push_str("</svg>");
    out
}

/// Policies as CSV.
#[must_use]
pub fn policies_csv(outcome: &Outcome) -> Option<String> {
    let f = outcome.fleet.as_ref()?;
    let header = [
        "policy",
        "completed",
        "rejected",
        "makespan_s",
        "queue_mean_s",
        "queue_p50_s",
        "queue_p90_s",
        "queue_p99_s",
        "completion_mean_s",
        "completion_p50_s",
        "completion_p90_s",
        "completion_p99_s",
        "slowdown",
        "utilization",
        "fragmentation",
        "job_goodput",
        "preemptions",
        "interruptions",
        "migrations",
        "reclaims",
    ];
    let own = outcome.detail.fleet.as_ref().and_then(|d| d.series.first()).map_or_else(String::new, |s| s.0.clone());
    let one = PolicyOutcome { name: own, numbers: f.numbers.clone() };
    let list = if f.policies.is_empty() { std::slice::from_ref(&one) } else { &f.policies };
    let line = |p: &PolicyOutcome| {
        let n = &p.numbers;
        let (q, c) = (&n.queue_s, &n.completion_s);
        let mut out = vec![p.name.clone(), n.completed.to_string(), n.rejected.to_string()];
        let values = [
            n.makespan_s,
            q.mean,
            q.p50,
            q.p90,
            q.p99,
            c.mean,
            c.p50,
            c.p90,
            c.p99,
            n.slowdown,
            n.utilization,
            n.fragmentation,
            n.job_goodput,
        ];
        out.extend(values.iter().map(f64::to_string));
        out.extend([n.preemptions, n.interruptions, n.migrations, n.reclaims].iter().map(u64::to_string));
        out
    };
    Some(csv_rows(&header, list.iter().map(line)))
}

/// Jobs under the first policy as CSV.
#[must_use]
pub fn jobs_csv(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.fleet.as_ref()?;
    let known = |t: f64| if t >= 0.0 { t.to_string() } else { String::new() };
    let name = |list: &[String], at: u16| list.get(at as usize).cloned().unwrap_or_default();
    let line = |j: &crate::metrics::JobRow| {
        vec![
            j.submit.to_string(),
            known(j.start),
            known(j.end),
            j.accelerators.to_string(),
            name(&detail.classes, j.class),
            name(&detail.teams, j.team),
            j.stops.to_string(),
        ]
    };
    Some(csv_rows(&["submit_s", "start_s", "end_s", "accelerators", "class", "team", "stops"], detail.jobs.iter().map(line)))
}

/// Use over time as CSV.
#[must_use]
pub fn use_csv(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.fleet.as_ref()?;
    let header = ["policy", "time_s", "accelerators_in_use", "free", "free_on_nodes_in_part_used", "there", "jobs_waiting"];
    let lines = detail.series.iter().flat_map(|(name, points)| {
        points.iter().map(move |(t, v)| [vec![name.clone(), t.to_string()], v.iter().map(f64::to_string).collect()].concat())
    });
    Some(csv_rows(&header, lines))
}
