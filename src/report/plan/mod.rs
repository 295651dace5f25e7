//! Plans as text, JSON, and a document (HTML and Markdown): the answer, what to buy, why, what it costs, what may come otherwise.

mod behaviour;
mod charts;
mod sections;
mod words;

use super::document::Document;
use crate::plan::{Choice, OptionRow, PlanOutcome, RunnerUp};
use crate::units::{DAY, Seconds, dollars, grouped, three};
use std::fmt::Write;

fn time(seconds: f64) -> String {
    if seconds >= 2.0 * DAY { format!("{} days", three(seconds / DAY)) } else { Seconds::new(seconds).to_string() }
}

fn usd(value: f64) -> String {
    if value == 0.0 { "unknown".into() } else { dollars(value) }
}

fn percent(share: f64) -> String {
    if share > 0.0 && share < 1e-4 { "< 0.01 %".into() } else { format!("{} %", three(100.0 * share)) }
}

/// The candidates, those that meet the goal first, each sort by what is best.
fn ordered(o: &PlanOutcome) -> Vec<&OptionRow> {
    let value = |row: &OptionRow| {
        row.choice.as_ref().map_or(f64::INFINITY, |c| match o.objective.as_str() {
            "cost" => c.usd,
            "energy" => c.energy_kwh,
            _ => c.time_s,
        })
    };
    let mut rows: Vec<&OptionRow> = o.options.iter().collect();
    rows.sort_by(|a, b| b.feasible.cmp(&a.feasible).then(value(a).total_cmp(&value(b))));
    rows
}

/// A name that leaves room for the next column.
fn short(name: &str) -> String {
    if name.chars().count() > 44 { name.chars().take(43).chain(['…']).collect() } else { name.to_owned() }
}

fn serves(o: &PlanOutcome) -> bool {
    o.service.is_some()
}

/// What is asked, in a sentence.
fn goal(o: &PlanOutcome) -> String {
    let mut out = match (o.goal.as_str(), &o.service) {
        ("serve", Some(s)) => service(s),
        ("train", _) => "Train".to_owned(),
        ("layout", _) => "Find the best layout".to_owned(),
        _ => "Find the largest model that fits".to_owned(),
    };
    if let Some(within) = o.within_s {
        let _ = write!(out, " within {}", time(within));
    }
    if let Some(budget) = o.budget_usd {
        let _ = write!(out, "{} {}", if o.within_s.is_some() { " and" } else { " for at most" }, dollars(budget));
    }
    let least = match (o.objective.as_str(), serves(o)) {
        ("pareto", false) => "everything that nothing beats in both time and money",
        ("pareto", true) => "everything that nothing beats in both latency and money",
        ("cost", _) => "least cost",
        ("energy", _) => "least energy",
        (_, true) => "least latency",
        _ => "least time",
    };
    format!("{out}; {least} is best.")
}

fn service(s: &crate::plan::Service) -> String {
    let mut out = format!("Serve {} requests a second", three(s.requests_per_s));
    if s.load_requests_per_s > s.requests_per_s * (1.0 + s.headroom) * 1.0001 {
        let _ = write!(out, ", growing to {} in {} months", three(s.load_requests_per_s / (1.0 + s.headroom)), s.months);
    }
    if s.headroom > 0.0 {
        let _ = write!(out, ", with {} headroom", percent(s.headroom));
    }
    if s.spare_nodes > 0 {
        let _ = write!(out, ", also while {} node{} down", s.spare_nodes, if s.spare_nodes == 1 { " is" } else { "s are" });
    }
    let limits: Vec<String> =
        s.slo.iter().map(|r| format!("{} p{:.0} of at most {}", r.metric.to_uppercase(), r.percentile, Seconds::new(r.limit_s))).collect();
    if !limits.is_empty() {
        let _ = write!(out, ", within {}", limits.join(", "));
    }
    out
}

fn searched(o: &PlanOutcome) -> String {
    let s = &o.search;
    let what = if serves(o) { "deployments" } else { "layouts" };
    let mut parts = Vec::new();
    for (n, words) in [
        (s.illegal, "not legal"),
        (s.site, "more than the site can take"),
        (s.out_of_memory, "out of memory by their bounds"),
        (s.too_slow, "too slow by their bounds"),
        (s.bounded, "worse by their bounds"),
        (s.simulated, "simulated"),
    ] {
        if n > 0 {
            parts.push(format!("{} {words}", grouped(n)));
        }
    }
    let whole =
        if s.finalists > 0 { format!(", {} of them with failures, checkpoints and storage", grouped(s.finalists)) } else { String::new() };
    format!("{} {what}: {}{whole}.", grouped(s.considered), parts.join(", "))
}

/// What a choice does, in the last column but one of tables: MFU or the median latencies.
fn yields(c: &Choice) -> String {
    match (&c.training, &c.serving) {
        (Some(t), _) => format!("{:.1} %", 100.0 * t.mfu),
        (_, Some(s)) => format!("{} %", three(100.0 * s.busy_share)),
        _ => String::new(),
    }
}

/// A plan as text.
#[must_use]
pub fn plan_text(o: &PlanOutcome) -> String {
    let mut out = format!("{}\n{}\n\n{}\n", o.title, goal(o), o.answer);
    let second = if serves(o) { "Runner-up deployment" } else { "Runner-up layout" };
    for (name, runner) in [("Runner-up", &o.runner_up), (second, &o.runner_up_layout)] {
        if let Some(RunnerUp { choice, why }) = runner {
            let _ = writeln!(out, "\n{name}: {} ({}), {}. {why}", choice.cluster, choice.payment, choice.layout);
        }
    }
    for text in o.break_even.iter().map(|b| &b.text) {
        let _ = writeln!(out, "\nRent or buy: {text}");
    }
    let last = if serves(o) { "busy" } else { "MFU" };
    let _ = writeln!(
        out,
        "\n{:<46}{:<12}{:>10}{:>18}{last:>8}  layout",
        "cluster",
        "payment",
        if serves(o) { "latency" } else { "time" },
        "cost"
    );
    for row in ordered(o) {
        let _ = writeln!(out, "{}", text_row(row));
    }
    if !o.risks.is_empty() {
        let _ = writeln!(out, "\nRisks:");
    }
    for risk in &o.risks {
        let _ = writeln!(out, "- {risk}");
    }
    let _ = writeln!(out, "\nSearch: {}", searched(o));
    if let Some(command) = &o.reproduce {
        let _ = writeln!(out, "Again: {command}");
    }
    out
}

fn text_row(row: &OptionRow) -> String {
    match &row.choice {
        Some(c) => format!(
            "{:<46}{:<12}{:>10}{:>18}{:>8}  {}{}",
            short(&row.cluster),
            row.payment,
            time(c.time_s),
            usd(c.usd),
            yields(c),
            c.layout,
            row.why_not.as_ref().map_or_else(String::new, |w| format!(" ({w})"))
        ),
        None => format!("{:<46}{:<12}{}", short(&row.cluster), row.payment, row.why_not.as_deref().unwrap_or("")),
    }
}

/// A plan as JSON that ends with a line break.
#[must_use]
pub fn plan_json(o: &PlanOutcome) -> String {
    serde_json::to_string_pretty(o).unwrap_or_default() + "\n"
}

fn document(o: &PlanOutcome) -> Document {
    Document {
        title: o.title.clone(),
        sections: sections::all(o),
        footer: format!("Orrery {}, plan {}. A model's prediction, not a measurement.", o.version, o.plan_hash),
    }
}

/// A plan as a self-contained page.
#[must_use]
pub fn plan_html(o: &PlanOutcome) -> String {
    document(o).html()
}

/// The same as Markdown.
#[must_use]
pub fn plan_markdown(o: &PlanOutcome) -> String {
    document(o).markdown()
}
