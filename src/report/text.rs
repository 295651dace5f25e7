//! Outcomes as text for a terminal.

use super::run::{run_text, storage_text};
use crate::metrics::{CollectiveOutcome, CostOutcome, Outcome, TraceOutcome, TrainingOutcome};
use crate::units::{Bytes, BytesPerSecond, DAY, Flops, FlopsPerSecond, Seconds, Watts, si, three};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;

const BAR: usize = 24;

pub(super) fn percent(share: f64) -> String {
    format!("{} %", three(100.0 * share))
}

pub(super) fn bar(share: f64) -> String {
    let full = (share * BAR as f64).round().clamp(0.0, BAR as f64) as usize;
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

pub(super) fn table(right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A number with a thousands separator, for money and counts.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// The summary of one outcome.
#[must_use]
pub fn text(outcome: &Outcome) -> String {
    let banner = outcome.orrery.banner().map_or_else(String::new, |b| format!("*** {b} ***\n\n"));
    let mut out = format!("{banner}{}\n\n", outcome.title);
    let mut facts = table(&[]);
    for fact in &outcome.detail.facts {
        facts.add_row(vec![fact.name.as_str(), fact.value.as_str()]);
    }
    let _ = writeln!(out, "{}\n", facts.trim_fmt());
    if let Some(training) = &outcome.training {
        out.push_str(&training_text(outcome, training));
    }
    if let Some(serving) = &outcome.serving {
        out.push_str(&super::serving::text(outcome, serving));
    }
    if let Some(list) = &outcome.collective {
        out.push_str(&collective_text(list));
    }
    if let Some(trace) = &outcome.trace {
        out.push_str(&trace_text(trace));
    }
    if let Some(fleet) = &outcome.fleet {
        out.push_str(&super::fleet::text(fleet));
    }
    if let Some(storage) = &outcome.storage {
        out.push_str(&storage_text(storage));
    }
    if let Some(run) = &outcome.run {
        let _ = writeln!(
            out,
            "Run: {} steps, {}tokens, {} ({} PF-days) in {} days",
            grouped(run.steps),
            si(run.tokens, ""),
            Flops::new(run.model_flops),
            three(run.model_flops / 1e15 / DAY),
            three(run.days),
        );
        out.push_str(&run_text(run, outcome.cost.as_ref()));
    }
    if let Some(cost) = &outcome.cost {
        out.push_str(&cost_text(cost, outcome.priced()));
    }
    let _ = writeln!(out, "Simulated {} events in {}", grouped(outcome.simulation.events as f64), Seconds::new(outcome.simulation.wall_s));
    out
}

fn training_text(outcome: &Outcome, t: &TrainingOutcome) -> String {
    let mut out = String::new();
    let mut head = table(&[1]);
    let [low, high] = [t.step_time_p10_s, t.step_time_p90_s].map(Seconds::new);
    head.add_row(vec!["Step time".into(), format!("{} (80 % between {low} and {high})", Seconds::new(t.step_time_s))]);
    head.add_row(vec![
        "Throughput".into(),
        format!("{}tokens/s, {} per accelerator", si(t.tokens_per_s, ""), three(t.tokens_per_s_per_accelerator)),
    ]);
    head.add_row(vec!["MFU, HFU".into(), format!("{}, {}", percent(t.mfu), percent(t.hfu))]);
    let model_rate = FlopsPerSecond::new(t.model_flops_per_step / t.step_time_s);
    head.add_row(vec!["Model FLOPs".into(), format!("{} a step, {model_rate}", Flops::new(t.model_flops_per_step))]);
    let _ = writeln!(out, "{}\n", head.trim_fmt());
    let _ = writeln!(out, "Where the step goes (critical rank)");
    let mut parts = table(&[1, 2]);
    for (name, seconds) in t.breakdown_s.parts().into_iter().filter(|p| p.1 > 0.0) {
        let share = seconds / t.step_time_s;
        parts.add_row(vec![format!("  {}", name.replace('_', " ")), Seconds::new(seconds).to_string(), percent(share), bar(share)]);
    }
    let _ = writeln!(out, "{}", parts.trim_fmt());
    if t.hidden_comm_s > 0.0 {
        let _ = writeln!(out, "  (hidden behind compute: {} of communication)", Seconds::new(t.hidden_comm_s));
    }
    let m = &t.memory_bytes;
    let verdict = if t.fits { "fits" } else { "DOES NOT FIT" };
    let fullest = outcome.detail.stages.iter().find(|s| s.memory.peak == m.peak).map_or("", |s| s.name.as_str());
    let _ =
        writeln!(out, "\nMemory of the fullest accelerator ({fullest}): {} of {}, {verdict}", Bytes::new(m.peak), Bytes::new(m.capacity));
    let mut memory = table(&[1, 2]);
    for (name, bytes) in m.parts() {
        let share = bytes / m.capacity;
        memory.add_row(vec![format!("  {name}"), Bytes::new(bytes).to_string(), percent(share), bar(share)]);
    }
    let _ = writeln!(out, "{}", memory.trim_fmt());
    for (name, filled) in t.elsewhere() {
        let over = if filled.fits() { "" } else { ", DOES NOT FIT" };
        let _ = writeln!(out, "{name}: {} of {}{over}", Bytes::new(filled.used), Bytes::new(filled.capacity));
    }
    for line in &t.advice {
        let _ = writeln!(out, "  try: {line}");
    }
    out.push('\n');
    out
}

fn trace_text(t: &TraceOutcome) -> String {
    let mut out = String::new();
    let cycles = t.cycles.map_or_else(String::new, |c| format!(", {} cycles of ASTRA-sim", grouped(c as f64)));
    let _ = writeln!(out, "Makespan {}{cycles}: {} operations\n", Seconds::new(t.makespan_s), grouped(t.operations as f64));
    let _ = writeln!(out, "What rank {} does, which computes longest", t.rank);
    let mut parts = table(&[1, 2]);
    let working = t.makespan_s - t.exposed_comm_s - t.exposed_memory_s - t.idle_s;
    for (name, seconds) in [
        ("computes", working),
        ("only communicates", t.exposed_comm_s),
        ("only moves memory", t.exposed_memory_s),
        ("waits or is done", t.idle_s),
    ] {
        let share = if t.makespan_s > 0.0 { (seconds / t.makespan_s).clamp(0.0, 1.0) } else { 0.0 };
        if seconds > 0.0 {
            parts.add_row(vec![format!("  {name}"), Seconds::new(seconds).to_string(), percent(share), bar(share)]);
        }
    }
    let _ = writeln!(out, "{}", parts.trim_fmt());
    let _ = writeln!(
        out,
        "  (compute operations sum to {}, of which {} on the host; communication runs for {}; {} were recorded)\n",
        Seconds::new(t.compute_s),
        Seconds::new(t.host_s),
        Seconds::new(t.comm_s),
        Seconds::new(t.recorded_s)
    );
    if !t.communication.is_empty() {
        let mut rows = table(&[1, 2, 3]);
        rows.add_row(vec!["communication", "count", "bytes", "time"]);
        for c in &t.communication {
            let cells = [grouped(c.count as f64), Bytes::new(c.bytes).to_string(), Seconds::new(c.time_s).to_string()];
            rows.add_row([vec![c.op.clone()], cells.to_vec()].concat());
        }
        let _ = writeln!(out, "{}\n", rows.trim_fmt());
    }
    for notice in &t.notices {
        let _ = writeln!(out, "Noticed: {notice}");
    }
    out
}

fn collective_text(list: &[CollectiveOutcome]) -> String {
    let exchange = list.iter().any(|c| c.tokens.is_some());
    let mut rows = table(if exchange { &[0, 1, 2, 3, 4] } else { &[0, 1, 2, 3] });
    let header = ["tokens", "size", "time", "algbw", "busbw", "algorithm", "protocol"];
    rows.add_row(header[usize::from(!exchange)..].to_vec());
    for c in list {
        let mut row: Vec<String> = c.tokens.iter().map(f64::to_string).collect();
        row.extend([
            Bytes::new(c.bytes).to_string(),
            Seconds::new(c.time_s).to_string(),
            BytesPerSecond::new(c.algbw_bytes_per_s).to_string(),
            BytesPerSecond::new(c.busbw_bytes_per_s).to_string(),
            c.algorithm.clone(),
            c.protocol.clone(),
        ]);
        rows.add_row(row);
    }
    let mut out = format!("{}\n\n", rows.trim_fmt());
    if list.iter().any(|c| c.flows.is_some()) {
        let mut flows = table(&[0, 1, 2, 3, 4, 5]);
        flows.add_row(vec!["size of a flow", "flows", "first", "mean", "median", "p99", "last"]);
        for (bytes, f) in list.iter().filter_map(|c| Some((c.bytes, c.flows.as_ref()?))) {
            let times = [f.min_s, f.mean_s, f.p50_s, f.p99_s, f.max_s].map(|s| Seconds::new(s).to_string());
            flows.add_row([vec![Bytes::new(bytes).to_string(), f.count.to_string()], times.to_vec()].concat());
        }
        let _ = writeln!(out, "{}\n", flows.trim_fmt());
    }
    if list.len() > 2 {
        out.push_str(&busbw_bars(list));
    }
    out
}

/// Bus bandwidth by size as bars of text.
fn busbw_bars(list: &[CollectiveOutcome]) -> String {
    let most = list.iter().map(|c| c.busbw_bytes_per_s).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut rows = table(&[0, 1]);
    for c in list {
        rows.add_row(vec![
            Bytes::new(c.bytes).to_string(),
            BytesPerSecond::new(c.busbw_bytes_per_s).to_string(),
            bar(c.busbw_bytes_per_s / most),
        ]);
    }
    format!("Bus bandwidth by size\n{}\n\n", rows.trim_fmt())
}

fn cost_text(cost: &CostOutcome, what: &str) -> String {
    let mut out = String::new();
    // A fleet trains and serves no tokens that were counted.
    let tokens = if cost.usd_per_million_tokens > 0.0 {
        format!(", {} USD per million tokens", three(cost.usd_per_million_tokens))
    } else {
        String::new()
    };
    let money = if cost.usd_total >= 100.0 { grouped(cost.usd_total) } else { three(cost.usd_total) };
    let _ = writeln!(
        out,
        "{what}: {money} USD ({} USD/h{tokens}), {} kWh at {}, {} kg CO2",
        grouped(cost.usd_per_hour),
        grouped(cost.energy_kwh),
        Watts::new(cost.average_power_w),
        grouped(cost.carbon_kg),
    );
    for source in &cost.sources {
        let _ = writeln!(out, "  price: {source}");
    }
    out
}

/// Which profile entry served which operator class.
#[must_use]
pub fn explain(outcome: &Outcome) -> String {
    let mut out = String::from("Where the constants come from\n");
    for used in &outcome.detail.profile {
        let _ = writeln!(out, "  {}: {}\n    {}", used.operator, used.entry, used.source);
    }
    if !outcome.detail.operators.is_empty() {
        let _ = writeln!(out, "Kernel time of one microbatch on the critical rank");
        for (name, seconds) in &outcome.detail.operators {
            let _ = writeln!(out, "  {name}: {}", Seconds::new(*seconds));
        }
    }
    out
}

/// Several outcomes side by side, the first as the reference.
#[must_use]
pub fn compare(outcomes: &[Outcome]) -> String {
    let mut rows = table(&[1, 2, 3, 4, 5, 6]);
    rows.add_row(vec!["scenario", "step", "against first", "MFU", "tokens/s/acc.", "memory", "USD per M tokens"]);
    let time = |o: &Outcome| o.training.as_ref().map(|t| t.step_time_s).or_else(|| o.trace.as_ref().map(|t| t.makespan_s));
    let first = outcomes.first().and_then(time).filter(|f| *f > 0.0);
    let against = |seconds: f64| first.map_or(1.0, |f| seconds / f);
    for outcome in outcomes {
        let Some(t) = &outcome.training else {
            let cells = time(outcome).map_or_else(
                || vec!["no training".to_owned()],
                |seconds| vec![Seconds::new(seconds).to_string(), format!("× {}", three(against(seconds)))],
            );
            rows.add_row([vec![outcome.title.clone()], cells].concat());
            continue;
        };
        let ratio = against(t.step_time_s);
        rows.add_row(vec![
            outcome.title.clone(),
            Seconds::new(t.step_time_s).to_string(),
            format!("× {}", three(ratio)),
            percent(t.mfu),
            three(t.tokens_per_s_per_accelerator),
            format!("{}{}", Bytes::new(t.memory_bytes.peak), if t.fits { "" } else { " (does not fit)" }),
            outcome.cost.as_ref().map_or_else(|| "-".into(), |c| three(c.usd_per_million_tokens)),
        ]);
    }
    format!("{}\n", rows.trim_fmt())
}
