//! Comparisons of scenarios: what each comes to by aspect, which keys differ, and what each group of differences does.

use super::document::{Block, Document, Mark, Section, Table, escaped, number, word};
use super::plot::PALETTE;
use crate::plan::compare::{AspectRow, Causes, Comparison};
use crate::units::{DAY, Seconds, dollars, rounded, three};
use std::fmt::Write;

fn time(seconds: f64) -> String {
    if seconds >= 2.0 * DAY { format!("{} days", three(seconds / DAY)) } else { Seconds::new(seconds).to_string() }
}

/// A factor: times, or by how much less.
fn times(f: f64) -> String {
    if (f - 1.0).abs() < 5e-4 {
        "the same".into()
    } else if f > 1.0 {
        format!("× {}", rounded(f))
    } else {
        format!("÷ {}", rounded(1.0 / f))
    }
}

fn factor(row: &AspectRow, scenario: usize) -> String {
    row.factor(scenario).map_or_else(String::new, times)
}

/// Differences and causes as text, after the table of outcomes.
#[must_use]
pub fn compare_text(c: &Comparison) -> String {
    let mut out = String::new();
    if !c.rows.is_empty() {
        let _ = writeln!(out, "\n{:<17}{:<42}scenarios, and factors against the first", "aspect", "quantity");
        for row in &c.rows {
            let figures = row.figures.iter().enumerate().map(|(i, f)| {
                let factor = if i == 0 { String::new() } else { factor(row, i) };
                let text = if f.text.is_empty() { "-" } else { &f.text };
                if factor.is_empty() { text.to_owned() } else { format!("{text} ({factor})") }
            });
            let _ = writeln!(out, "{:<17}{:<42}{}", row.aspect, row.what, figures.collect::<Vec<_>>().join("  |  "));
        }
    }
    for causes in &c.causes {
        let _ =
            writeln!(out, "\nFrom the first to {} ({}), one group of differences after the other:", c.titles[causes.other], causes.name);
        for step in &causes.steps {
            let _ = writeln!(
                out,
                "  {:<34}{:>10} → {:<10} {:<10} {}",
                step.group,
                time(step.seconds[0]),
                time(step.seconds[1]),
                times(step.seconds[1] / step.seconds[0]),
                step.keys.join(", ")
            );
        }
    }
    out
}

/// The files of a comparison: a page, Markdown, JSON.
#[must_use]
pub fn compare_files(c: &Comparison) -> Vec<(String, String)> {
    let document = document(c);
    vec![
        ("compare.html".into(), document.html()),
        ("compare.md".into(), document.markdown()),
        ("compare.json".into(), serde_json::to_string_pretty(c).unwrap_or_default() + "\n"),
    ]
}

fn document(c: &Comparison) -> Document {
    let mut sections = vec![Section {
        title: "",
        blocks: vec![Block::Soft("A model's prediction, not a measurement. Factors are against the first.".into())],
    }];
    sections.extend(aspects(c));
    sections.extend(c.causes.iter().map(|causes| Section { title: "What the differences do", blocks: causes_of(c, causes) }));
    if !c.differences.is_empty() {
        let mut rows = Vec::new();
        for d in &c.differences {
            let mut cells = vec![word(&d.key)];
            cells.extend(d.values.iter().map(|v| word(if v.is_empty() { "–" } else { v })));
            rows.push((Mark::Plain, cells));
        }
        let head = std::iter::once("<key").chain((0..c.titles.len()).map(|i| if i < LETTERS.len() { LETTERS[i] } else { "<…" })).collect();
        sections.push(Section { title: "Keys that differ", blocks: vec![letters(c), Block::Table(Table { head, rows, sorts: true })] });
    }
    Document { title: c.titles.join(" against "), sections, footer: format!("Orrery {}", env!("CARGO_PKG_VERSION")) }
}

/// Names of columns for the scenarios in order.
const LETTERS: [&str; 10] = ["<A", "<B", "<C", "<D", "<E", "<F", "<G", "<H", "<I", "<J"];

fn letters(c: &Comparison) -> Block {
    let named = c.titles.iter().zip(LETTERS).map(|(title, letter)| format!("{}: {title}", letter.trim_start_matches('<')));
    Block::Soft(named.collect::<Vec<_>>().join(". "))
}

/// A section for all aspects: one table with the aspect in front.
fn aspects(c: &Comparison) -> Option<Section> {
    if c.rows.is_empty() {
        return None;
    }
    let mut head = vec!["<aspect", "<quantity"];
    head.extend(LETTERS.iter().take(c.titles.len()).copied());
    head.extend(LETTERS.iter().take(c.titles.len()).skip(1).map(|_| "factor"));
    let mut rows = Vec::new();
    let mut last = "";
    for row in &c.rows {
        let mut cells = vec![word(if row.aspect == last { "" } else { row.aspect }), word(row.what)];
        last = row.aspect;
        for f in &row.figures {
            let text = if f.text.is_empty() { "–" } else { &f.text };
            cells.push(f.value.map_or_else(|| word(text), |v| number(v, text)));
        }
        for i in 1..row.figures.len() {
            cells.push(row.factor(i).map_or_else(|| word(""), |f| number(f, factor(row, i))));
        }
        rows.push((if row.aspect == "result" { Mark::Best } else { Mark::Plain }, cells));
    }
    Some(Section { title: "Side by side", blocks: vec![letters(c), Block::Table(Table { head, rows, sorts: false })] })
}

fn causes_of(c: &Comparison, causes: &Causes) -> Vec<Block> {
    let mut table = Table::new(&["<what is changed", "before", "after", "factor", "cost after", "<keys"]);
    for step in &causes.steps {
        let [a, b] = step.seconds;
        table.row(vec![
            word(&step.group),
            number(a, time(a)),
            number(b, time(b)),
            number(b / a, times(b / a)),
            step.usd.map_or_else(|| word("–"), |[_, usd]| number(usd, dollars(usd))),
            word(step.keys.join(", ")),
        ]);
    }
    let head = format!(
        "From {} to {}: the differences are put in one group after the other, and the first scenario is run again after each ({}). What a group does depends on those before it.",
        c.titles[0], c.titles[causes.other], causes.name
    );
    vec![Block::Text(head), Block::Picture(waterfall(causes), String::new()), Block::Table(table)]
}

/// Time after every group of differences, on a logarithmic scale.
fn waterfall(causes: &Causes) -> String {
    let Some(first) = causes.steps.first() else { return String::new() };
    let all = || causes.steps.iter().flat_map(|s| s.seconds);
    let (low, high) = (all().fold(f64::INFINITY, f64::min) * 0.7, all().fold(0.0, f64::max) * 1.05);
    let x = |v: f64| 300.0 + 470.0 * libm::log(v / low) / libm::log(high / low);
    let height = 30.0 * (causes.steps.len() + 1) as f64 + 24.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 900 {height:.0}\" role=\"img\" aria-label=\"what the differences do\" font-size=\"12.5\" fill=\"currentColor\">"
    );
    let mut bar = |i: usize, name: &str, from: f64, to: f64, ink: &str| {
        let y = 30.0 * i as f64 + 4.0;
        let (a, b) = (x(from).min(x(to)), x(from).max(x(to)));
        let title = escaped(&format!("{name}: {} → {}", time(from), time(to)));
        let _ = write!(
            out,
            "<text x=\"290\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect x=\"{a:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"20\" rx=\"2\" fill=\"{ink}\"><title>{title}</title></rect><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            y + 14.5,
            escaped(name),
            (b - a).max(1.5),
            b + 7.0,
            y + 14.5,
            escaped(&time(to))
        );
    };
    bar(0, "the first", low, first.seconds[0], PALETTE[7]);
    for (i, step) in causes.steps.iter().enumerate() {
        let ink = if step.seconds[1] <= step.seconds[0] { PALETTE[2] } else { PALETTE[5] };
        bar(i + 1, &step.group, step.seconds[0], step.seconds[1], ink);
    }
    let _ = write!(
        out,
        "<text x=\"535\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"var(--soft)\">{}, logarithmic scale</text>",
        height - 6.0,
        causes.name
    );
    out + "</svg>"
}
