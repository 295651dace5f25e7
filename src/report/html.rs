//! The HTML report of one outcome: self-contained, inline SVG, no script, no request; light, dark and print.

use super::plot::{BarRow, PALETTE, log_line, stacked_bars};
use super::run::{run_html, storage_html};
use crate::metrics::{CollectiveOutcome, CostOutcome, Outcome, Slice, SliceKind, TraceOutcome, TrainingOutcome};
use crate::units::{Bytes, BytesPerSecond, Seconds, Watts, dollars, si, three};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::fmt::Write;

/// The page's style, shared by all reports.
pub(super) const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--page:#fff;--tile:#f6f8fa;--bad:#b42318;--good:#1a7f37}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--line:#30363d;--page:#0d1117;--tile:#161b22;--bad:#ff7b72;--good:#56d364}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);margin:0 auto;max-width:1000px;padding:24px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px;border-bottom:1px solid var(--line);padding-bottom:4px}
p{margin:6px 0}.soft{color:var(--soft)}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:12px;margin:20px 0}
.tile{background:var(--tile);border:1px solid var(--line);border-radius:8px;padding:12px 10px}.tile b{display:block;font-size:18px;line-height:1.3}.tile span{color:var(--soft);font-size:13px}
table{border-collapse:collapse;width:100%;margin:8px 0;font-variant-numeric:tabular-nums}th,td{text-align:right;padding:4px 10px;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}caption{text-align:left;color:var(--soft);padding:4px 0}
.left{text-align:left!important}table:not(.facts) td:not(:first-child):not(.left){white-space:nowrap}.facts td{text-align:left}.facts td:first-child{color:var(--soft);width:130px}svg{width:100%;height:auto;display:block}
.key{display:flex;flex-wrap:wrap;gap:14px;font-size:13px;color:var(--soft)}.key i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:5px;vertical-align:-1px}
.bad{color:var(--bad);font-weight:600}.good{color:var(--good);font-weight:600}footer{margin-top:40px;color:var(--soft);font-size:13px;border-top:1px solid var(--line);padding-top:10px}
@media(max-width:600px){body{padding:14px}figure{overflow-x:auto}figure svg{min-width:620px}th,td{padding:4px 6px}table:not(.facts):not(.wide table){display:block;overflow-x:auto}}
@media print{body{max-width:none;padding:0}h2{break-after:avoid}figure,table{break-inside:avoid}}figure{margin:0}";

/// The page around a body.
pub(super) fn page(title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
    .into_string()
}

fn percent(share: f64) -> String {
    format!("{} %", three(100.0 * share))
}

fn key(names: &[&str]) -> Markup {
    html! { div.key { @for (i, name) in names.iter().enumerate() { span { i style={"background:" (PALETTE[i % PALETTE.len()])} {} (name) } } } }
}

/// A key with colours of its own.
pub(super) fn key_of(names: &[&str], colours: Vec<&str>) -> Markup {
    html! { div.key { @for (name, colour) in names.iter().zip(colours) { span { i style={"background:" (colour)} {} (name) } } } }
}

/// The report of an outcome.
#[must_use]
pub fn html(outcome: &Outcome) -> String {
    let body = html! {
        @if let Some(banner) = outcome.orrery.banner() { p.bad style="border:2px solid var(--bad);border-radius:8px;padding:10px 14px" { (banner) } }
        h1 { (outcome.title) }
        p.soft { "Orrery " (outcome.orrery.version) ": a model's prediction, not a measurement" }
        @if let Some(t) = &outcome.training { (tiles(outcome, t)) }
        @if let Some(s) = &outcome.serving { (super::serving::tiles(outcome, s)) }
        table.facts { tbody { @for fact in &outcome.detail.facts { tr { td { (fact.name) } td { (fact.value) } } } } }
        @if let Some(t) = &outcome.training { (training(outcome, t)) }
        @if let Some(run) = outcome.run.as_ref().filter(|r| r.seeds.is_some() || r.lost_s > 0.0) { (run_html(outcome, run)) }
        @if let Some(storage) = &outcome.storage { (storage_html(storage, outcome.training.is_none())) }
        @if let Some(s) = &outcome.serving { (super::serving::markup(outcome, s)) }
        @if let Some(f) = &outcome.fleet { (super::fleet::markup(outcome, f)) }
        @if let Some(list) = &outcome.collective { (collectives(list)) }
        @if let Some(t) = &outcome.trace { (trace(outcome, t)) }
        @if let Some(cost) = &outcome.cost { (costs(outcome, cost)) }
        @if !outcome.detail.profile.is_empty() { (sources(outcome)) }
        footer {
            "Orrery " (outcome.orrery.version) ", scenario " (outcome.orrery.scenario_hash) ", seed " (outcome.orrery.seed) ", "
            (outcome.simulation.events) " events. "
            @if outcome.training.is_some() {
            "MFU: FLOPs that the model needs (forward and twice that for backward, causal attention, no recompute) over dense peak FLOPs of the step time. "
            "HFU: the same with recomputed FLOPs. Bubble: time in which the critical rank waits for other pipeline stages."
            }
            @if outcome.collective.is_some() {
                "algbw: bytes over time. busbw: algbw times the operation's factor, by the convention of nccl-tests."
            }
        }
    };
    page(&outcome.title, &body)
}

pub(super) fn tile(value: &str, name: &str) -> Markup {
    html! { div.tile { b { (value) } span { (name) } } }
}

fn tiles(outcome: &Outcome, t: &TrainingOutcome) -> Markup {
    html! {
        div.tiles {
            (tile(
                &Seconds::new(t.step_time_s).to_string(),
                &format!("per optimizer step, 80 % between {} and {}", Seconds::new(t.step_time_p10_s), Seconds::new(t.step_time_p90_s))
            ))
            (tile(&percent(t.mfu), "MFU"))
            (tile(&three(t.tokens_per_s_per_accelerator), "tokens/s per accelerator"))
            div.tile { b class=(if t.fits { "good" } else { "bad" }) { (if t.fits { "fits" } else { "does not fit" }) }
                span { (Bytes::new(t.memory_bytes.peak)) " of " (Bytes::new(t.memory_bytes.capacity)) } }
            @for (name, filled) in t.elsewhere() {
                (tile(&Bytes::new(filled.used).to_string(), &format!("{}, of {}", name.to_lowercase(), Bytes::new(filled.capacity))))
            }
            @if let Some(run) = &outcome.run { (tile(&format!("{} days", three(run.days)), "whole run"))
                @if run.seeds.is_some() { (tile(&percent(run.training_goodput), "training goodput")) } }
            @if let Some(cost) = &outcome.cost { (tile(&dollars(cost.usd_total), if outcome.run.is_some() { "whole run" } else { "one step" })) }
        }
    }
}

fn training(outcome: &Outcome, t: &TrainingOutcome) -> Markup {
    let shown: Vec<(&str, f64)> = t.breakdown_s.parts().into_iter().filter(|p| p.1 > 0.0).collect();
    let names: Vec<String> = shown.iter().map(|p| p.0.replace('_', " ")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bar = BarRow { name: "step".into(), parts: shown.iter().map(|p| p.1).collect() };
    let memory: Vec<BarRow> = outcome
        .detail
        .stages
        .iter()
        .take(64)
        .map(|s| BarRow { name: s.name.clone(), parts: s.memory.parts().iter().map(|p| p.1 / 1_073_741_824.0).collect() })
        .collect();
    let copies = outcome.detail.tracks.iter().any(|t| t == "host");
    let sent = if copies { "pipeline transfer, copies to and from the host" } else { "pipeline transfer" };
    html! {
        h2 { "Where the step goes" }
        figure { (PreEscaped(stacked_bars(&[bar], "seconds", None))) (key(&names)) }
        table {
            caption { "Time of the critical rank by what it does or waits for" }
            thead { tr { th { "part" } th { "time" } th { "share" } } }
            tbody { @for (name, seconds) in &shown { tr { td { (name.replace('_', " ")) } td { (Seconds::new(*seconds)) } td { (percent(seconds / t.step_time_s)) } } } }
        }
        @if t.hidden_comm_s > 0.0 { p.soft { (Seconds::new(t.hidden_comm_s)) " of communication is hidden behind compute." } }
        h2 { "Pipeline of one step" }
        p.soft { "The whole step, and its beginning and end enlarged."
            @if rows_of(outcome) < outcome.detail.processes.len() { " One replica of " (outcome.detail.processes.len() / rows_of(outcome)) " that differ in their paths or speed." } }
        (timelines(outcome, t.step_time_s))
        figure { (key(&["forward", "backward", "tensor communication", sent, "data-parallel communication", "optimizer"])) }
        h2 { "Memory by stage" }
        figure {
            (PreEscaped(stacked_bars(&memory, "GiB", Some((t.memory_bytes.capacity / 1_073_741_824.0, "capacity")))))
            (key(&["weights", "gradients", "optimizer", "activations", "other"]))
        }
        @if !t.advice.is_empty() { p.bad { "It does not fit. What would help:" } ul { @for line in &t.advice { li { (line) } } } }
        (links(outcome))
        h2 { "Kernels of one microbatch" }
        table {
            thead { tr { th { "operators on the critical rank" } th { "time" } } }
            tbody { @for (name, seconds) in &outcome.detail.operators { tr { td { (name) } td { (Seconds::new(*seconds)) } } } }
        }
    }
}

fn links(outcome: &Outcome) -> Markup {
    let kind = |name: &str| name.split(" (").next().unwrap_or(name).to_owned();
    let links = &outcome.detail.links;
    let bars: Vec<BarRow> = links.iter().map(|l| BarRow { name: kind(&l.name), parts: vec![100.0 * l.utilization] }).collect();
    html! {
        h2 { "Links" }
        @if !bars.is_empty() { figure { (PreEscaped(stacked_bars(&bars, "mean use, %", None))) } }
        table {
            caption { "The most loaded link of every kind" }
            thead { tr { th { "link" } th { "bytes" } th { "mean use" } } }
            tbody { @for link in links { tr { td { (link.name) } td { (Bytes::new(link.bytes)) } td { (percent(link.utilization)) } } } }
        }
    }
}

fn trace(outcome: &Outcome, t: &TraceOutcome) -> Markup {
    let computes = |r: &crate::metrics::TraceRank| (t.makespan_s - r.exposed_comm_s - r.exposed_memory_s - r.idle_s).max(0.0);
    let ranks: Vec<BarRow> = outcome
        .detail
        .ranks
        .iter()
        .take(64)
        .map(|r| BarRow { name: format!("rank {}", r.rank), parts: vec![computes(r), r.exposed_comm_s, r.exposed_memory_s, r.idle_s] })
        .collect();
    html! {
        div.tiles {
            (tile(&Seconds::new(t.makespan_s).to_string(), "makespan"))
            (tile(&Seconds::new(t.compute_s).to_string(), "compute of the busiest rank"))
            (tile(&Seconds::new(t.exposed_comm_s).to_string(), "its exposed communication"))
            (tile(&t.ranks.to_string(), "ranks"))
            @if let Some(cycles) = t.cycles { (tile(&cycles.to_string(), "cycles of ASTRA-sim")) }
        }
        h2 { "What ranks do" }
        @if t.makespan_s > 0.0 {
            figure { (PreEscaped(stacked_bars(&ranks, "seconds", None))) (key(&["computes", "only communicates", "only moves memory", "waits or is done"])) }
            @if outcome.detail.ranks.len() > ranks.len() { p.soft { "The first " (ranks.len()) " of " (outcome.detail.ranks.len()) "." } }
            h2 { "Timeline" }
            (timelines(outcome, t.makespan_s))
            figure { (key(&["device", "host", "communication", "memory"])) }
        }
        @if !t.communication.is_empty() {
            h2 { "Communication" }
            table {
                thead { tr { th { "operation" } th { "count" } th { "bytes" } th { "time" } } }
                tbody { @for c in &t.communication { tr { td { (c.op) } td { (c.count) } td { (Bytes::new(c.bytes)) } td { (Seconds::new(c.time_s)) } } } }
            }
        }
        @if !outcome.detail.links.is_empty() { (links(outcome)) }
        @for notice in &t.notices { p.soft { "Noticed: " (notice) } }
    }
}

/// The timeline, in as many pictures as it takes.
fn timelines(outcome: &Outcome, step: f64) -> Markup {
    let slices = outcome.detail.timeline.slices();
    html! { @for (from, to) in windows(outcome, &slices, step) { figure { (PreEscaped(timeline_svg(outcome, &slices, from, to))) } } }
}

/// The whole step; where it holds more passes than a picture can show, also its beginning and end.
fn windows(outcome: &Outcome, slices: &[Slice], step: f64) -> Vec<(f64, f64)> {
    let counts = |kind| matches!(kind, SliceKind::Forward | SliceKind::Backward | SliceKind::Compute | SliceKind::Communication);
    let passes = slices.iter().filter(|s| s.process == 0 && counts(s.kind)).count();
    let shown = 48.max(2 * rows_of(outcome));
    let part = step * shown as f64 / passes.max(1) as f64;
    if part * 3.0 > step { vec![(0.0, step)] } else { vec![(0.0, step), (0.0, part), (step - part, step)] }
}

/// Colours of a timeline.
const COLOURS: usize = 6;

/// The colour of a slice, and whether it stands in the upper part of its row, where compute is.
const fn look(kind: SliceKind) -> Option<(usize, bool)> {
    Some(match kind {
        SliceKind::Forward | SliceKind::Compute => (0, true),
        SliceKind::Backward | SliceKind::Host => (1, true),
        SliceKind::TensorComm | SliceKind::Communication => (2, false),
        SliceKind::PipelineComm | SliceKind::Memory => (3, false),
        SliceKind::DataComm => (4, false),
        SliceKind::Optimizer => (5, true),
        SliceKind::Other => return None,
    })
}

/// Rows that a timeline shows: where replicas differ, there is one more set of stages for each, of which the first is shown.
fn rows_of(outcome: &Outcome) -> usize {
    let all = outcome.detail.processes.len();
    let stages = if outcome.training.is_some() { outcome.detail.stages.len() } else { 0 };
    if all > 24 && stages > 0 && all.is_multiple_of(stages) { stages.min(64) } else { all.min(64) }
}

/// Rows of ranks or stages over a window of time; slices thinner than a tenth of a pixel beside their neighbour are left out.
fn timeline_svg(outcome: &Outcome, slices: &[Slice], from: f64, to: f64) -> String {
    const LEFT: f64 = 70.0;
    const WIDTH: f64 = 900.0 - LEFT - 10.0;
    let stages = rows_of(outcome);
    let row = if stages > 24 { 12.0 } else { 26.0 };
    let height = stages as f64 * row + 44.0;
    let scale = WIDTH / (to - from);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height:.0}\" role=\"img\"><title>Timeline from {} to {}</title>",
        Seconds::new(from),
        Seconds::new(to)
    );
    let mut paths = vec![String::new(); COLOURS];
    let mut last: Vec<f64> = vec![-1.0; stages * COLOURS];
    for slice in slices {
        let Some((kind, compute)) = look(slice.kind) else { continue };
        let (stage, end) = (slice.process as usize, (slice.start_s + slice.duration_s).min(to));
        let start = slice.start_s.max(from);
        if stage >= stages || end <= start {
            continue;
        }
        let (x, w) = (LEFT + (start - from) * scale, (end - start) * scale);
        if w < 0.1 && x + w < last[stage * COLOURS + kind] + 0.25 {
            continue;
        }
        last[stage * COLOURS + kind] = x + w;
        let y = stage as f64 * row + if compute { 2.0 } else { row * 0.62 };
        let h = if compute { row * 0.56 } else { row * 0.26 };
        let _ = write!(paths[kind], "M{x:.2} {y:.1}h{w:.2}v{h:.1}h-{w:.2}z");
    }
    for (i, path) in paths.iter().enumerate() {
        let _ = write!(out, "<path fill=\"{}\" stroke=\"var(--page)\" stroke-width=\".15\" d=\"{path}\"/>", PALETTE[i]);
    }
    axis(&mut out, outcome, stages, row, from, to);
    out.push_str("</svg>");
    out
}

/// Names of the ranks or stages and marks of time.
fn axis(out: &mut String, outcome: &Outcome, stages: usize, row: f64, from: f64, to: f64) {
    for (s, name) in outcome.detail.processes.iter().enumerate().take(stages) {
        if stages <= 24 || s.is_multiple_of(4) {
            let short = name.split(['(', ',']).next().unwrap_or("").trim();
            let _ = write!(
                out,
                "<text x=\"4\" y=\"{:.1}\" font-size=\"12\" fill=\"currentColor\">{short}</text>",
                s as f64 * row + (row * 0.55).max(10.0)
            );
        }
    }
    let base = stages as f64 * row + 8.0;
    for i in 0..=4 {
        let x = 70.0 + 820.0 * f64::from(i) / 4.0;
        let anchor = if i == 4 { "end" } else { "middle" };
        let time = Seconds::new(from + (to - from) * f64::from(i) / 4.0);
        let _ = write!(
            out,
            "<path d=\"M{x:.1} 0V{base:.1}\" stroke=\"currentColor\" stroke-opacity=\".25\" stroke-width=\".6\"/><text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"12\" text-anchor=\"{anchor}\" fill=\"currentColor\">{time}</text>",
            base + 18.0
        );
    }
}

fn collectives(list: &[CollectiveOutcome]) -> Markup {
    let points: Vec<(f64, f64)> = list.iter().map(|c| (c.bytes, c.busbw_bytes_per_s)).collect();
    let exchange = list.iter().any(|c| c.tokens.is_some());
    html! {
        h2 { "Bus bandwidth over size" }
        figure { (PreEscaped(log_line(&points, "bytes", "bus bandwidth, bytes per second"))) }
        table {
            thead { tr { @if exchange { th { "tokens" } } th { "size" } th { "time" } th { "algbw" } th { "busbw" } th { "algorithm" } th { "protocol" } } }
            tbody { @for c in list { tr {
                @if let Some(tokens) = c.tokens { td { (tokens) } }
                td { (Bytes::new(c.bytes)) } td { (Seconds::new(c.time_s)) } td { (BytesPerSecond::new(c.algbw_bytes_per_s)) }
                td { (BytesPerSecond::new(c.busbw_bytes_per_s)) } td { (c.algorithm) } td { (c.protocol) }
            } } }
        }
        @if list.iter().any(|c| c.flows.is_some()) {
            h2 { "When the flows end" }
            table {
                thead { tr { th { "size of a flow" } th { "flows" } th { "first" } th { "mean" } th { "median" } th { "p99" } th { "last" } } }
                tbody { @for c in list { @if let Some(f) = &c.flows { tr {
                    td { (Bytes::new(c.bytes)) } td { (f.count) }
                    @for s in [f.min_s, f.mean_s, f.p50_s, f.p99_s, f.max_s] { td { (Seconds::new(s)) } }
                } } } }
            }
        }
    }
}

fn costs(outcome: &Outcome, cost: &CostOutcome) -> Markup {
    let what = outcome.priced();
    html! {
        h2 { "Cost, energy, carbon" }
        table {
            caption { (what) }
            tbody {
                @for (name, usd) in &cost.parts_usd { tr { td { (name) } td { (dollars(*usd)) } } }
                tr { td { "all together" } td { (dollars(cost.usd_total)) } }
                tr { td { "by the hour" } td { (dollars(cost.usd_per_hour)) } }
                @if cost.usd_per_million_tokens > 0.0 { tr { td { "per million tokens" } td { (three(cost.usd_per_million_tokens)) " USD" } } }
                tr { td { "energy with cooling (PUE)" } td { (si(cost.energy_kwh * 1e3, "Wh")) } }
                tr { td { "mean power with cooling" } td { (Watts::new(cost.average_power_w)) } }
                tr { td { "carbon dioxide" } td { (three(cost.carbon_kg / 1e3)) " t" } }
            }
        }
        @for source in &cost.sources { p.soft { "Price: " (source) } }
    }
}

fn sources(outcome: &Outcome) -> Markup {
    html! {
        h2 { "Where the constants come from" }
        table {
            thead { tr { th { "operators" } th.left { "profile entry" } th.left { "source" } } }
            tbody { @for used in &outcome.detail.profile { tr { td { (used.operator) } td.left { (used.entry) } td.soft.left { (used.source) } } } }
        }
    }
}
