//! Plans as text, JSON and a document: the answer, what to buy, why, the costs of all candidates, and what it rests on.

use super::html::page;
use super::plot::PALETTE;
use crate::plan::{Bill, Choice, OptionRow, PlanOutcome, RunnerUp};
use crate::units::{Bytes, DAY, Seconds, Watts, si, three};
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

fn time(seconds: f64) -> String {
    if seconds >= 2.0 * DAY { format!("{} days", three(seconds / DAY)) } else { Seconds::new(seconds).to_string() }
}

fn usd(value: f64) -> String {
    if value == 0.0 {
        "unknown".into()
    } else if value < 1e3 {
        format!("{} USD", three(value))
    } else {
        si(value, "USD")
    }
}

/// Whole number with thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A name that leaves room for the next column.
fn short(name: &str) -> String {
    if name.chars().count() > 44 { name.chars().take(43).chain(['…']).collect() } else { name.to_owned() }
}

fn goal(o: &PlanOutcome) -> String {
    let mut out = match o.goal.as_str() {
        "train" => "Train".to_owned(),
        "layout" => "Find the best layout".to_owned(),
        _ => "Find the largest model that fits".to_owned(),
    };
    if let Some(within) = o.within_s {
        let _ = write!(out, " within {}", time(within));
    }
    if let Some(budget) = o.budget_usd {
        let _ = write!(out, "{} {}", if o.within_s.is_some() { " and" } else { " for at most" }, si(budget, "USD"));
    }
    let least = match o.objective.as_str() {
        "pareto" => "everything that nothing beats in both time and money",
        "cost" => "least cost",
        "energy" => "least energy",
        _ => "least time",
    };
    format!("{out}; {least} is best.")
}

fn searched(o: &PlanOutcome) -> String {
    let s = &o.search;
    format!(
        "{} layouts: {} not legal, {} out of memory and {} worse by their bounds, {} simulated.",
        grouped(s.considered),
        grouped(s.illegal),
        grouped(s.out_of_memory),
        grouped(s.bounded),
        grouped(s.simulated)
    )
}

/// A plan as text.
#[must_use]
pub fn plan_text(o: &PlanOutcome) -> String {
    let mut out = format!("{}\n{}\n\n{}\n", o.title, goal(o), o.answer);
    for (name, runner) in [("Runner-up", &o.runner_up), ("Runner-up layout", &o.runner_up_layout)] {
        if let Some(RunnerUp { choice, why }) = runner {
            let _ = writeln!(out, "\n{name}: {} ({}), {}. {why}", choice.cluster, choice.payment, choice.layout);
        }
    }
    let _ = writeln!(out, "\n{:<46}{:<12}{:>10}{:>12}{:>8}  layout", "cluster", "payment", "time", "cost", "MFU");
    for row in &o.options {
        let _ = match &row.choice {
            Some(c) => writeln!(
                out,
                "{:<46}{:<12}{:>10}{:>12}{:>6.1} %  {}{}",
                short(&row.cluster),
                row.payment,
                time(c.time_s),
                usd(c.usd),
                100.0 * c.mfu,
                c.layout,
                row.why_not.as_ref().map_or_else(String::new, |w| format!(" ({w})"))
            ),
            None => writeln!(out, "{:<46}{:<12}{}", short(&row.cluster), row.payment, row.why_not.as_deref().unwrap_or("")),
        };
    }
    let _ = writeln!(out, "\nSearch: {}", searched(o));
    if let Some(command) = &o.reproduce {
        let _ = writeln!(out, "Again: {command}");
    }
    out
}

/// A plan as JSON that ends with a line break.
#[must_use]
pub fn plan_json(o: &PlanOutcome) -> String {
    serde_json::to_string_pretty(o).unwrap_or_default() + "\n"
}

/// A plan as a document: self-contained, no script, no request.
#[must_use]
pub fn plan_html(o: &PlanOutcome) -> String {
    let body = html! {
        h1 { (o.title) }
        p.soft { (goal(o)) " A model's prediction by Orrery " (o.version) ", not a measurement." }
        p.answer class=(if o.feasible { "good" } else { "bad" }) { (o.answer) }
        @if let Some(best) = &o.best { (tiles(o, best)) }
        @if !o.binding.is_empty() {
            h2 { "What is in the way" }
            @for b in &o.binding { p { (b.text) } }
        }
        (pictures(o))
        @if let Some(runner) = &o.runner_up { h2 { "Runner-up" } (beside(o, runner)) }
        @if let Some(runner) = &o.runner_up_layout { h2 { "Runner-up layout on the same cluster" } (beside(o, runner)) }
        @if o.front.len() > 1 { h2 { "Choices that nothing beats in both time and money" } (front(&o.front)) }
        h2 { "All candidates" }
        (table(o))
        @if let Some(bill) = &o.bill { (bill_of(bill)) }
        @if !o.assumptions.is_empty() { h2 { "What it rests on" } @for a in &o.assumptions { p { (a) } } }
        h2 { "How it was searched" }
        p { (searched(o)) " No layout was left out that could be the best: bounds on memory, time, money and energy lie below what the simulation gives." }
        @if let Some(command) = &o.reproduce { p { "Run the best again:" } pre { (command) } }
        footer { "Orrery " (o.version) ", plan " (o.plan_hash) }
    };
    let style = "<style>.answer{font-size:17px;margin:16px 0}.answer.good{color:inherit;font-weight:400;border-left:4px solid var(--good);padding-left:12px}\
        .answer.bad{color:inherit;font-weight:400;border-left:4px solid var(--bad);padding-left:12px}pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--tile);\
        border:1px solid var(--line);border-radius:8px;padding:10px;font-size:12.5px}.wide{overflow-x:auto}td.left,th.left{text-align:left}tr.best td{font-weight:600}tr.off td{color:var(--soft)}td{white-space:nowrap}td.wrap{white-space:normal;min-width:200px}</style>";
    page(&o.title, &html! { (PreEscaped(style)) (body) })
}

fn tiles(o: &PlanOutcome, c: &Choice) -> Markup {
    let spare = c.memory_capacity_bytes - c.memory_peak_bytes;
    html! {
        div.tiles {
            div.tile { b { (grouped(c.accelerators)) } span { "accelerators in " (grouped(c.nodes)) " nodes" } }
            div.tile { b { (time(c.time_s)) } span { (if o.whole_run { "for the run" } else { "a step" }) } }
            @if c.usd > 0.0 { div.tile { b { (usd(c.usd)) } span { (if o.whole_run { "for the run, " } else { "a step, " }) (c.payment) } } }
            div.tile { b { (three(100.0 * c.mfu)) " %" } span { "MFU" } }
            div.tile { b { (Bytes::new(spare)) } span { "free of " (Bytes::new(c.memory_capacity_bytes)) } }
            div.tile { b { (Watts::new(c.power_w)) } span { "mean power with cooling" } }
        }
        table.facts { tbody {
            tr { td { "Cluster" } td { (c.cluster) } }
            @if let Some(model) = &c.model { tr { td { "Model" } td { (model) } } }
            tr { td { "Layout" } td { (c.layout) } }
            tr { td { "Step" } td { (Seconds::new(c.step_time_s)) } }
            tr { td { "Energy" } td { (si(c.energy_kwh * 1e3, "Wh")) } }
        } }
    }
}

fn beside(o: &PlanOutcome, runner: &RunnerUp) -> Markup {
    let Some(best) = &o.best else { return html! {} };
    let c = &runner.choice;
    let parts = best.breakdown_s.parts();
    let rows: Vec<_> = parts.iter().zip(c.breakdown_s.parts()).filter(|(a, b)| a.1 > 0.0 || b.1 > 0.0).collect();
    html! {
        p { (c.cluster) " (" (c.payment) "), " (c.layout) ". " (runner.why) }
        div.wide { table {
            thead { tr { th { "" } th { "best" } th { "runner-up" } } }
            tbody {
                tr { td { "time" } td { (time(best.time_s)) } td { (time(c.time_s)) } }
                @if best.usd > 0.0 { tr { td { "cost" } td { (usd(best.usd)) } td { (usd(c.usd)) } } }
                tr { td { "energy" } td { (si(best.energy_kwh * 1e3, "Wh")) } td { (si(c.energy_kwh * 1e3, "Wh")) } }
                tr { td { "MFU" } td { (three(100.0 * best.mfu)) " %" } td { (three(100.0 * c.mfu)) " %" } }
                tr { td { "memory" } td { (Bytes::new(best.memory_peak_bytes)) } td { (Bytes::new(c.memory_peak_bytes)) } }
                @for (a, b) in rows { tr { td { "step: " (a.0.replace('_', " ")) } td { (Seconds::new(a.1)) } td { (Seconds::new(b.1)) } } }
            }
        } }
    }
}

fn front(list: &[Choice]) -> Markup {
    html! { div.wide { table {
        thead { tr { th { "cluster" } th.left { "payment" } th { "time" } th { "cost" } th { "energy" } th.left { "layout" } } }
        tbody { @for c in list { tr {
            td { (c.cluster) } td.left { (c.payment) } td { (time(c.time_s)) } td { (usd(c.usd)) } td { (si(c.energy_kwh * 1e3, "Wh")) } td.left.wrap { (c.layout) }
        } } }
    } } }
}

fn is_best(o: &PlanOutcome, row: &OptionRow) -> bool {
    o.best.as_ref().is_some_and(|b| row.choice.as_ref() == Some(b))
}

fn table(o: &PlanOutcome) -> Markup {
    html! { div.wide { table {
        thead { tr { th { "cluster" } th.left { "payment" } th { "accelerators" } th { "time" } th { "cost" } th { "MFU" } th.left { "layout, or why not" } } }
        tbody { @for row in &o.options { tr class=(if is_best(o, row) { "best" } else if row.feasible { "" } else { "off" }) {
            td.wrap { (row.cluster) } td.left { (row.payment) }
            @if let Some(c) = &row.choice {
                td { (grouped(c.accelerators)) } td { (time(c.time_s)) } td { (usd(c.usd)) } td { (three(100.0 * c.mfu)) " %" }
                td.left.wrap { (c.layout) @if let Some(why) = &row.why_not { " (" (why) ")" } }
            } @else { td { "–" } td { "–" } td { "–" } td { "–" } td.left.wrap { (row.why_not.as_deref().unwrap_or("")) } }
        } } }
    } } }
}

fn bill_of(b: &Bill) -> Markup {
    html! {
        h2 { "What the cluster consists of" }
        table { tbody {
            tr { td { "nodes" } td { (grouped(b.nodes)) } }
            tr { td { "accelerators" } td { (grouped(b.accelerators)) } }
            tr { td { "network cards" } td { (grouped(b.nics)) } }
            tr { td { "switches" } td { (grouped(b.switches[0])) " leaf, " (grouped(b.switches[1])) " spine, " (grouped(b.switches[2])) " core" } }
            tr { td { "network cables" } td { (grouped(b.cables)) } }
            tr { td { "power under load, without cooling" } td { (Watts::new(b.power_w)) } }
            @for (name, price) in &b.purchase_parts_usd { tr { td { "purchase: " (name) } td { (si(*price, "USD")) } } }
            tr { td { "purchase, all that has a price" } td { (si(b.purchase_usd, "USD")) } }
            @if !b.unpriced.is_empty() { tr { td { "without a price in the catalogue" } td { (b.unpriced.join(", ")) } } }
        } }
    }
}

/// The pictures: money over time of every candidate, and bars of cost.
fn pictures(o: &PlanOutcome) -> Markup {
    let rows: Vec<(&OptionRow, &Choice)> = o.options.iter().filter_map(|r| Some((r, r.choice.as_ref()?))).collect();
    if rows.len() < 2 {
        return html! {};
    }
    let money = rows.iter().all(|(_, c)| c.usd > 0.0);
    html! {
        @if money { h2 { "Money over time" } figure { (PreEscaped(scatter(o, &rows))) } }
        h2 { (if money { "Cost of every candidate" } else { "Time of every candidate" }) }
        figure { (PreEscaped(bars(o, &rows, money))) }
        @if rows.len() < o.options.len() { p.soft { "Not drawn: candidates whose bounds show that they cannot be among the first two, and those on which nothing fits; see the table." } }
        div.key {
            span { i style={"background:" (PALETTE[2])} {} "the best" } span { i style={"background:" (PALETTE[0])} {} "meets the goal" }
            span { i style={"background:" (PALETTE[7])} {} "does not" }
        }
    }
}

fn ink(o: &PlanOutcome, row: &OptionRow) -> &'static str {
    if is_best(o, row) {
        PALETTE[2]
    } else if row.feasible {
        PALETTE[0]
    } else {
        PALETTE[7]
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Round steps over a span from 0.
fn steps(most: f64) -> Vec<f64> {
    let rough = most / 5.0;
    let base = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * base).find(|s| *s >= rough).unwrap_or(rough);
    (0..).map(|i| f64::from(i) * step).take_while(|v| *v <= most * 1.0001).collect()
}

fn scatter(o: &PlanOutcome, rows: &[(&OptionRow, &Choice)]) -> String {
    const LEFT: f64 = 80.0;
    const WIDTH: f64 = 790.0;
    const HEIGHT: f64 = 360.0;
    let unit = if rows.iter().any(|(_, c)| c.time_s >= 2.0 * DAY) { DAY } else { 1.0 };
    let most = |of: &dyn Fn(&Choice) -> f64| rows.iter().map(|(_, c)| of(c)).fold(0.0, f64::max) * 1.08;
    let (xm, ym) = (
        most(&|c| c.time_s / unit).max(o.within_s.map_or(0.0, |w| 1.05 * w / unit)),
        most(&|c| c.usd).max(o.budget_usd.map_or(0.0, |b| 1.05 * b)),
    );
    let (x, y) = (|v: f64| LEFT + WIDTH * v / xm, |v: f64| 12.0 + HEIGHT * (1.0 - v / ym));
    let mut out =
        "<svg viewBox=\"0 0 900 440\" role=\"img\" aria-label=\"money over time\" font-size=\"12\" fill=\"currentColor\">".to_owned();
    for v in steps(xm) {
        let _ = write!(
            out,
            "<path d=\"M{0:.1} 12V{1:.1}\" stroke=\"var(--line)\"/><text x=\"{0:.1}\" y=\"{2:.1}\" text-anchor=\"middle\">{3}</text>",
            x(v),
            y(0.0),
            y(0.0) + 18.0,
            three(v)
        );
    }
    for v in steps(ym) {
        let _ = write!(
            out,
            "<path d=\"M{LEFT} {0:.1}H{1:.1}\" stroke=\"var(--line)\"/><text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            y(v),
            LEFT + WIDTH,
            LEFT - 8.0,
            y(v) + 4.0,
            si(v, "")
        );
    }
    let _ = write!(
        out,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
        LEFT + WIDTH / 2.0,
        y(0.0) + 42.0,
        if unit == DAY { "days" } else { "seconds" }
    );
    let _ = write!(
        out,
        "<text x=\"16\" y=\"{0:.0}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {0:.0})\">USD</text>",
        12.0 + HEIGHT / 2.0
    );
    let limit = "stroke=\"#d55e00\" stroke-dasharray=\"6 4\" stroke-width=\"1.5\"";
    if let Some(within) = o.within_s {
        let at = x(within / unit);
        let _ = write!(
            out,
            "<path d=\"M{at:.1} 12V{:.1}\" {limit}/><text x=\"{:.1}\" y=\"24\" text-anchor=\"end\" fill=\"#d55e00\">time allowed</text>",
            y(0.0),
            at - 6.0
        );
    }
    if let Some(budget) = o.budget_usd {
        let at = y(budget);
        let _ = write!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" {limit}/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"#d55e00\">budget</text>",
            LEFT + WIDTH,
            LEFT + 6.0,
            at - 5.0
        );
    }
    let mut front: Vec<&Choice> = rows.iter().map(|(_, c)| *c).collect();
    front.sort_by(|a, b| a.time_s.total_cmp(&b.time_s).then(a.usd.total_cmp(&b.usd)));
    let mut least = f64::INFINITY;
    front.retain(|c| {
        let better = c.usd < least;
        least = least.min(c.usd);
        better
    });
    let line: Vec<String> = front.iter().map(|c| format!("{:.1} {:.1}", x(c.time_s / unit), y(c.usd))).collect();
    let _ =
        write!(out, "<path d=\"M{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" stroke-opacity=\".6\"/>", line.join("L"), PALETTE[2]);
    for (row, c) in rows {
        let words = format!("{}, {}: {}, {}; {}", row.cluster, row.payment, time(c.time_s), usd(c.usd), c.layout);
        let radius = if is_best(o, row) { 7.0 } else { 5.0 };
        let _ = write!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{}\" stroke=\"var(--page)\"><title>{}</title></circle>",
            x(c.time_s / unit),
            y(c.usd),
            ink(o, row),
            escaped(&words)
        );
    }
    if let Some(best) = &o.best {
        let (cx, cy) = (x(best.time_s / unit), y(best.usd));
        let (anchor, dx) = if cx > LEFT + 0.6 * WIDTH { ("end", -11.0) } else { ("start", 11.0) };
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-weight=\"600\">{}, {}</text>",
            cx + dx,
            cy + 4.0,
            escaped(&best.cluster),
            escaped(&best.payment)
        );
    }
    out.push_str("</svg>");
    out
}

fn bars(o: &PlanOutcome, rows: &[(&OptionRow, &Choice)], money: bool) -> String {
    let value = |c: &Choice| if money { c.usd } else { c.time_s };
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| value(a.1).total_cmp(&value(b.1)));
    sorted.truncate(30);
    let most = sorted.iter().map(|(_, c)| value(c)).fold(0.0, f64::max);
    let height = 26.0 * sorted.len() as f64 + 6.0;
    let mut out =
        format!("<svg viewBox=\"0 0 900 {height:.0}\" role=\"img\" aria-label=\"candidates\" font-size=\"12.5\" fill=\"currentColor\">");
    for (i, (row, c)) in sorted.iter().enumerate() {
        let y = 26.0 * i as f64 + 4.0;
        let width = 400.0 * value(c) / most;
        let name = format!("{}, {}", row.cluster, row.payment);
        let short: String = if name.chars().count() > 52 { name.chars().take(51).chain(['…']).collect() } else { name.clone() };
        let shown = if money { format!("{}, {}", usd(c.usd), time(c.time_s)) } else { time(c.time_s) };
        let _ = write!(
            out,
            "<text x=\"334\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect x=\"342\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"2\" fill=\"{}\"><title>{}</title></rect><text x=\"{:.1}\" y=\"{:.1}\">{shown}</text>",
            y + 13.5,
            escaped(&short),
            ink(o, row),
            escaped(&format!("{name}: {}", c.layout)),
            350.0 + width,
            y + 13.5
        );
    }
    out.push_str("</svg>");
    out
}
