//! Serving in text, HTML, CSV and pictures.

use super::html::tile;
use super::plot::{PALETTE, lines};
use crate::metrics::{ModelOutcome, Outcome, Percentiles, RequestRow, ServingDetail, ServingOutcome};
use crate::units::{Bytes, Seconds, dollars, grouped, si, three};
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

const DEFINITIONS: &str = "TTFT: first token − sent, queueing included. TPOT: (last − first token) ÷ (tokens − 1) of each request. \
    ITL: between successive tokens, over all tokens. E2E: last token − sent. Percentiles are exact, linear between neighbours. \
    Goodput: requests that meet all targets over the duration.";

fn latencies(s: &ServingOutcome) -> Vec<(&'static str, Percentiles)> {
    let mut out = vec![
        ("time to first token (TTFT)", s.ttft_s),
        ("time per output token (TPOT)", s.tpot_s),
        ("between tokens (ITL)", s.itl_s),
        ("to the last token (E2E)", s.e2e_s),
        ("in the queue", s.queue_s),
    ];
    if let Some(urgent) = s.urgent_ttft_s {
        out.insert(1, ("TTFT of urgent requests", urgent));
    }
    out
}

fn percent(share: f64) -> String {
    format!("{} %", three(100.0 * share))
}

/// Names and values beside the latencies.
fn figures(s: &ServingOutcome, goals: Option<[f64; 4]>) -> Vec<(&'static str, String)> {
    let mut out = throughput(s);
    out.extend(goals.map(|g| ("targets", targets(s, g))));
    out.push(("load", format!("engines busy {}, {} requests in the system on average", percent(s.busy_share), three(s.mean_requests))));
    out.push((
        "cache",
        format!("at most {} of {} blocks, {} preemptions", percent(s.kv_peak_share), grouped(s.kv_blocks), grouped(s.preemptions)),
    ));
    out.extend(apart(s));
    if let Some(f) = &s.fleet {
        let starts = if f.starts == 1 { "1 start".into() } else { format!("{} starts", f.starts) };
        let on = percent(f.engines_on_share);
        out.push((
            "engines",
            format!("{on} of them are on (mean over time), {starts}, {} requests moved after failures", f.moved_requests),
        ));
    }
    out.extend(not_served(s));
    out.push(("energy", format!("{} J per output token", three(s.joules_per_output_token))));
    out
}

/// Tokens and requests that are done in a second.
fn throughput(s: &ServingOutcome) -> Vec<(&'static str, String)> {
    vec![
        ("output", format!("{}tokens/s, {} per accelerator", si(s.output_tokens_per_s, ""), three(s.output_tokens_per_s_per_accelerator))),
        (
            "prompts",
            format!(
                "{}tokens/s, {} of them from the prefix cache{}",
                si(s.input_tokens_per_s, ""),
                percent(s.cached_prompt_share),
                if s.loaded_prompt_share > 0.0 { format!(" ({} read from a tier)", percent(s.loaded_prompt_share)) } else { String::new() }
            ),
        ),
        (
            "requests",
            format!("{} completed, {} a second over {}", grouped(s.completed), three(s.requests_per_s), Seconds::new(s.duration_s)),
        ),
    ]
}

/// What was asked and how many requests met it.
fn targets(s: &ServingOutcome, goals: [f64; 4]) -> String {
    let named = [("TTFT", goals[0]), ("TPOT", goals[1]), ("E2E", goals[2])];
    let asked: Vec<String> = named.iter().filter(|x| x.1.is_finite()).map(|(n, v)| format!("{n} ≤ {}", Seconds::new(*v))).collect();
    let verdict = if s.slo_met { "met" } else { "MISSED" };
    format!(
        "{}: {} of {} asked, {verdict}; goodput {} requests/s",
        asked.join(", "),
        percent(s.slo_attainment),
        percent(goals[3]),
        three(s.goodput_requests_per_s)
    )
}

/// Engines of prompts and of outputs, where they are apart, and what goes from one to the other.
fn apart(s: &ServingOutcome) -> Vec<(&'static str, String)> {
    let Some(h) = &s.handover else { return Vec::new() };
    let rates = (three(h.input_tokens_per_s_per_accelerator), three(h.output_tokens_per_s_per_accelerator));
    let median = three(h.median_output_tokens_per_s_per_accelerator);
    let busy = percent(h.decodes_busy_share);
    let wait = [h.wait_s.p50, h.wait_s.p99].map(Seconds::new);
    vec![
        ("prefill", format!("{} tokens/s per accelerator, busy {}", rates.0, percent(h.prompts_busy_share))),
        ("decode", format!("{} tokens/s per accelerator on average, {median} in the median slice of time, busy {busy}", rates.1)),
        ("handover", format!("{} moved; there {} after the prompt (p50), {} (p99)", Bytes::new(h.bytes), wait[0], wait[1])),
    ]
}

/// Requests without an answer, and why.
fn not_served(s: &ServingOutcome) -> impl Iterator<Item = (&'static str, String)> {
    let reasons = [
        ("refused", s.shed, "requests, because too many waited"),
        ("unserved", s.unserved, "requests, for want of an engine"),
        ("rejected", s.rejected, "requests are larger than any engine's cache"),
        ("left out", s.skipped_rows, "rows of the trace cannot be read"),
    ];
    reasons.into_iter().filter(|r| r.1 > 0).map(|(name, count, why)| (name, format!("{count} {why}")))
}

/// The serving part of the summary.
pub(super) fn text(outcome: &Outcome, s: &ServingOutcome) -> String {
    let mut out = format!("{:<30}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "", "mean", "p50", "p90", "p95", "p99");
    for (name, p) in latencies(s) {
        let cells = [p.mean, p.p50, p.p90, p.p95, p.p99].map(|v| format!("{:>12}", Seconds::new(v).to_string()));
        let _ = writeln!(out, "{name:<30}{}", cells.concat());
    }
    let goals = outcome.detail.serving.as_ref().and_then(|d| d.goals);
    out.push('\n');
    for (name, value) in figures(s, goals) {
        let _ = writeln!(out, "  {name:<10}{value}");
    }
    if !s.models.is_empty() {
        let _ = writeln!(out, "\n{:<24}{}", "model", MODEL_COLUMNS.map(|c| format!("{c:>15}")).concat());
        for m in &s.models {
            let _ = writeln!(out, "{:<24}{}", m.name, model_cells(m).map(|c| format!("{c:>15}")).concat());
        }
    }
    let _ = writeln!(out, "\n{DEFINITIONS}\n");
    out
}

const MODEL_COLUMNS: [&str; 8] = ["accelerators", "requests", "lost", "TTFT p50", "TTFT p99", "TPOT p50", "tokens/s", "in target"];

/// The columns of one of several models.
fn model_cells(m: &ModelOutcome) -> [String; 8] {
    let seconds = |v: f64| Seconds::new(v).to_string();
    [
        m.accelerators.to_string(),
        m.completed.to_string(),
        m.lost.to_string(),
        seconds(m.ttft_s.p50),
        seconds(m.ttft_s.p99),
        seconds(m.tpot_s.p50),
        three(m.output_tokens_per_s),
        percent(m.slo_attainment),
    ]
}

/// What a reader looks for first.
pub(super) fn tiles(outcome: &Outcome, s: &ServingOutcome) -> Markup {
    let goals = outcome.detail.serving.as_ref().is_some_and(|d| d.goals.is_some());
    html! {
        div.tiles {
            (tile(&three(s.requests_per_s), "requests a second"))
            (tile(&Seconds::new(s.ttft_s.p99).to_string(), "time to first token, 99 % of the requests within"))
            (tile(&Seconds::new(s.tpot_s.p99).to_string(), "time per output token, 99 % of the requests within"))
            @if goals {
                div.tile { b class=(if s.slo_met { "good" } else { "bad" }) { (if s.slo_met { "targets met" } else { "targets missed" }) }
                    span { "by " (percent(s.slo_attainment)) " of the requests" } }
            }
            @if let Some(cost) = outcome.cost.as_ref().filter(|c| c.usd_total > 0.0) {
                (tile(&dollars(cost.usd_per_hour), "by the hour"))
                (tile(&dollars(s.usd_per_million_output_tokens), "per million output tokens"))
            }
        }
    }
}

/// The serving part of the report.
pub(super) fn markup(outcome: &Outcome, s: &ServingOutcome) -> Markup {
    let Some(detail) = &outcome.detail.serving else { return html! {} };
    html! {
        h2 { "Latencies" }
        table {
            thead { tr { th { "" } th { "mean" } th { "p50" } th { "p90" } th { "p95" } th { "p99" } } }
            tbody { @for (name, p) in latencies(s) { tr { td { (name) } @for v in [p.mean, p.p50, p.p90, p.p95, p.p99] { td { (Seconds::new(v)) } } } } }
        }
        p.soft { (DEFINITIONS) }
        @if !s.models.is_empty() {
            h2 { "Models" }
            table {
                thead { tr { th { "" } @for c in MODEL_COLUMNS { th { (c) } } } }
                tbody { @for m in &s.models { tr { td { (m.name) } @for c in model_cells(m) { td { (c) } } } } }
            }
        }
        h2 { "Throughput and load" }
        table.facts { tbody { @for (name, value) in figures(s, detail.goals) { tr { td { (name) } td { (value) } } } } }
        h2 { "Distribution of latencies" }
        (picture(&cumulative(detail), "seconds, logarithmic", "share of requests", true))
        h2 { "Over time" }
        (picture(&over_time(detail, &["running requests", "waiting requests"]), "seconds", "requests", false))
        (picture(&over_time(detail, &["output tokens/s", "prompt tokens/s"]), "seconds", "tokens per second", false))
        (picture(&over_time(detail, &["cache in use"]), "seconds", "share of the blocks", false))
        @if detail.fleet.is_some() { (picture(&over_time(detail, &["ready engines"]), "seconds", "engines", false)) }
        h2 { "Memory of a rank" }
        table { tbody {
            @let m = &detail.memory;
            @for (name, bytes) in [("weights", m.weights), ("activations, graphs, buffers", m.workspace), ("keys and values", m.cache), ("capacity", m.capacity), ("one token's keys and values", m.token)] {
                tr { td { (name) } td { (Bytes::new(bytes)) } }
            }
        } }
    }
}

type Curves = Vec<(String, Vec<(f64, f64)>)>;

fn picture(curves: &Curves, x: &str, y: &str, log: bool) -> Markup {
    html! {
        figure {
            (PreEscaped(lines(curves, x, y, log)))
            div.key { @for (i, (name, _)) in curves.iter().enumerate() { span { i style={"background:" (PALETTE[i % PALETTE.len()])} {} (name) } } }
        }
    }
}

/// Cumulative shares of requests by latency, 200 points a curve.
fn cumulative(detail: &ServingDetail) -> Curves {
    let curve = |name: &str, of: &dyn Fn(&RequestRow) -> Option<f64>| {
        let mut values: Vec<f64> = detail.requests.iter().filter(|r| r.record.is_done()).filter_map(of).filter(|v| *v > 0.0).collect();
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len();
        let points = (0..=200usize).filter(|_| n > 0).map(|i| (values[(i * (n - 1)) / 200], i as f64 / 200.0)).collect();
        (name.to_owned(), points)
    };
    vec![curve("TTFT", &|r| Some(r.record.ttft())), curve("TPOT", &|r| r.record.tpot(r.output)), curve("E2E", &|r| Some(r.record.e2e()))]
}

/// Mean values of every slice of time.
fn slices(detail: &ServingDetail) -> Vec<[f64; 8]> {
    let width = detail.series.width;
    let one = |(i, s): (usize, &crate::serving::Slice)| {
        let cache = s.cache / width / detail.replicas as f64;
        [
            i as f64 * width,
            s.running / width,
            s.waiting / width,
            cache,
            s.busy / width / detail.replicas as f64,
            s.output / width,
            s.input / width,
            s.ready / width,
        ]
    };
    detail.series.slices.iter().enumerate().map(one).collect()
}

const COLUMNS: [&str; 8] = [
    "start_s",
    "running_requests",
    "waiting_requests",
    "kv_used_share",
    "busy_share",
    "output_tokens_per_s",
    "input_tokens_per_s",
    "ready_engines",
];

fn over_time(detail: &ServingDetail, names: &[&str]) -> Curves {
    let column = |name: &str| match name {
        "running requests" => 1,
        "waiting requests" => 2,
        "cache in use" => 3,
        "output tokens/s" => 5,
        "ready engines" => 7,
        _ => 6,
    };
    let slices = slices(detail);
    names.iter().map(|name| ((*name).to_owned(), slices.iter().map(|s| (s[0], s[column(name)])).collect())).collect()
}

/// Load over time, one row a slice.
#[must_use]
pub fn load_csv(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.serving.as_ref()?;
    // Engines are counted where they come and go.
    let columns = if detail.fleet.is_some() { 8 } else { 7 };
    let mut out = COLUMNS[..columns].join(",") + "\n";
    for slice in slices(detail) {
        let _ = writeln!(out, "{}", slice.map(|v| v.to_string())[..columns].join(","));
    }
    Some(out)
}

/// What the columns of a slice are called as metrics, and what they mean.
const METRICS: [(&str, &str); 7] = [
    ("orrery_requests_running", "Requests that run."),
    ("orrery_requests_waiting", "Requests that wait."),
    ("orrery_kv_cache_usage_ratio", "Share of the cache blocks in use."),
    ("orrery_engine_busy_ratio", "Share of the time in which engines run an iteration."),
    ("orrery_generation_tokens_per_second", "Output tokens."),
    ("orrery_prompt_tokens_per_second", "Prompt tokens that were run."),
    ("orrery_engines_ready", "Engines that are ready."),
];

/// Load over time as OpenMetrics gauges, one sample a slice, with simulated seconds as timestamps.
#[must_use]
pub fn load_metrics(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.serving.as_ref()?;
    let slices = slices(detail);
    let mut out = String::new();
    let count = if detail.fleet.is_some() { METRICS.len() } else { METRICS.len() - 1 };
    for (i, (name, help)) in METRICS.iter().enumerate().take(count) {
        let _ = writeln!(out, "# TYPE {name} gauge\n# HELP {name} {help}");
        for slice in &slices {
            let _ = writeln!(out, "{name} {} {}", slice[i + 1], slice[0]);
        }
    }
    out.push_str("# EOF\n");
    Some(out)
}

/// Every request, one row each; cells of what did not happen are empty.
#[must_use]
pub fn requests_csv(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.serving.as_ref()?;
    let several = outcome.serving.as_ref().is_some_and(|s| !s.models.is_empty());
    let mut out = String::from(
        "request,arrival_s,scheduled_s,first_token_s,last_token_s,ttft_s,tpot_s,e2e_s,input_tokens,output_tokens,cached_tokens,preemptions,replica",
    );
    out.push_str(if several { ",model\n" } else { "\n" });
    for (i, r) in detail.requests.iter().enumerate() {
        let q = &r.record;
        let cell = |v: f64| if v.is_finite() { v.to_string() } else { String::new() };
        let tpot = q.tpot(r.output).map_or_else(String::new, cell);
        let replica = if q.is_done() { q.replica.to_string() } else { String::new() };
        let model = if several { format!(",{}", r.model) } else { String::new() };
        let _ = writeln!(
            out,
            "{i},{},{},{},{},{},{tpot},{},{},{},{},{},{replica}{model}",
            q.arrival,
            cell(q.scheduled),
            cell(q.first),
            cell(q.last),
            cell(q.ttft()),
            cell(q.e2e()),
            r.input,
            r.output,
            q.cached,
            q.preemptions,
        );
    }
    Some(out)
}

/// Load over time as a picture.
#[must_use]
pub fn load_svg(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.serving.as_ref()?;
    Some(lines(&over_time(detail, &["running requests", "waiting requests"]), "seconds", "requests", false))
}
