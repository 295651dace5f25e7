//! Prediction against measurement as a page and as Markdown: scatter, errors from several sides, the worst rows.

use super::html::page;
use super::plot::{PALETTE, scatter};
use crate::units::three;
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

/// One row that was predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterPoint {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Measured value.
    pub measured: f64,
    /// Predicted value.
    pub predicted: f64,
    /// What it is about in words; empty where the table does not say.
    pub about: String,
    /// What is suspected where it is far off; empty where nothing is.
    pub cause: String,
}

impl ScatterPoint {
    fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }
}

/// Errors of one group of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    /// Group, or `all`.
    pub name: String,
    /// Rows that were predicted.
    pub n: usize,
    /// Rows that were not.
    pub skipped: usize,
    /// Median of the absolute relative error.
    pub median: f64,
    /// Its 90th percentile.
    pub p90: f64,
    /// Median of the signed relative error.
    pub bias: f64,
    /// Share of its rows whose measurement lies in the stated interval, where intervals are stated.
    pub inside: Option<f64>,
}

/// Errors of one measured column: its points, and its rows grouped from several sides (the first by source).
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationColumn {
    /// Name of the column.
    pub name: String,
    /// Rows that were predicted.
    pub points: Vec<ScatterPoint>,
    /// What rows are grouped by, and the groups.
    pub groups: Vec<(&'static str, Vec<GroupRow>)>,
}

/// How many of the rows that are farthest off are shown.
const WORST: usize = 20;

impl ValidationColumn {
    fn worst(&self) -> Vec<&ScatterPoint> {
        let mut all: Vec<&ScatterPoint> = self.points.iter().collect();
        all.sort_by(|a, b| b.error().abs().total_cmp(&a.error().abs()).then(a.id.cmp(&b.id)));
        all.truncate(WORST);
        all
    }
    fn has_causes(&self) -> bool {
        self.points.iter().any(|p| !p.cause.is_empty())
    }
}

fn percent(share: f64) -> String {
    format!("{} %", three(100.0 * share))
}

/// With its sign, to a tenth.
fn signed(share: f64) -> String {
    // No minus before a zero.
    let tenths = (1000.0 * share).round() / 10.0 + 0.0;
    format!("{tenths:+.1} %")
}

const NOTE: &str = "Every row is a measurement that no constant was fitted to by itself. Error: prediction over measurement less 1; bias: the median of the signed \
                    error.";

/// The page of a validation.
#[must_use]
pub fn validation_html(kind: &str, columns: &[ValidationColumn]) -> String {
    let body: Markup = html! {
        h1 { "Prediction against measurement: " (kind) }
        p.soft { (NOTE) " Grey lines: 10 % and 20 %." }
        @for column in columns { (part(column)) }
    };
    page(&format!("Validation: {kind}"), &body)
}

fn part(column: &ValidationColumn) -> Markup {
    let sources = column.groups.first().map_or(&[][..], |g| &g.1);
    let of = |s: &GroupRow| column.points.iter().filter(|p| p.source == s.name).map(|p| (p.measured, p.predicted)).collect();
    let series: Vec<(String, Vec<(f64, f64)>)> =
        sources.iter().filter(|s| s.name != "all" && s.n > 0).map(|s| (s.name.clone(), of(s))).collect();
    let causes = column.has_causes();
    html! {
        figure {
            (PreEscaped(scatter(&series, &format!("measured, {}", column.name), &format!("predicted, {}", column.name))))
            div.key { @for (i, (name, _)) in series.iter().enumerate() { span { i style={"background:" (PALETTE[i % PALETTE.len()])} {} (name) } } }
        }
        @for (by, rows) in &column.groups { (groups(&column.name, by, rows)) }
        h2 { "Farthest off" }
        table {
            thead { tr { th { "row" } th { "measured" } th { "predicted" } th { "error" } @if causes { th { "suspected cause" } } } }
            tbody { @for p in column.worst() { tr {
                td { (p.id) @if !p.about.is_empty() { div.soft { (p.about) } } }
                td { (three(p.measured)) } td { (three(p.predicted)) } td { (signed(p.error())) }
                @if causes { td.left { (p.cause) } }
            } } }
        }
    }
}

/// A table of groups, with a bar from the middle for the bias: full at 30 %.
fn groups(column: &str, by: &str, rows: &[GroupRow]) -> Markup {
    let bar = |bias: f64| {
        let width = (bias.abs() / 0.3).min(1.0) * 50.0;
        let left = if bias < 0.0 { 50.0 - width } else { 50.0 };
        let colour = if bias < 0.0 { PALETTE[0] } else { PALETTE[1] };
        format!("margin-left:{left:.1}%;width:{width:.1}%;height:10px;background:{colour}")
    };
    let intervals = rows.iter().any(|r| r.inside.is_some());
    html! {
        h2 { (column) " by " (by) }
        table {
            thead { tr { th { (by) } th { "rows" } th { "skipped" } th { "median error" } th { "90th percentile" } th { "bias" } @if intervals { th { "in p10 to p90" } } th style="width:22%;text-align:center" { "−30 %   0   +30 %" } } }
            tbody { @for s in rows { tr {
                td { (s.name) } td { (s.n) } td { (s.skipped) }
                @if s.n > 0 {
                    td { (percent(s.median)) } td { (percent(s.p90)) } td { (signed(s.bias)) } @if intervals { td { (s.inside.map_or_else(|| "–".to_owned(), percent)) } } td { div style=(bar(s.bias)) {} }
                } @else { td { "–" } td { "–" } td { "–" } @if intervals { td { "–" } } td {} }
            } } }
        }
    }
}

/// The same as Markdown, without the scatter.
#[must_use]
pub fn validation_markdown(kind: &str, columns: &[ValidationColumn]) -> String {
    let mut out = format!("# Prediction against measurement: {kind}\n\n{NOTE}\n");
    for column in columns {
        for (by, rows) in &column.groups {
            let intervals = rows.iter().any(|r| r.inside.is_some());
            let (more, rule) = if intervals { (" in p10 to p90 |", "---|") } else { ("", "") };
            let _ = write!(
                out,
                "\n## {} by {by}\n\n| {by} | rows | skipped | median error | 90th percentile | bias |{more}\n|---|---|---|---|---|---|{rule}\n",
                column.name
            );
            for s in rows {
                let inside = match s.inside {
                    Some(share) => format!(" {} |", percent(share)),
                    None if intervals => " – |".to_owned(),
                    None => String::new(),
                };
                let _ = if s.n > 0 {
                    writeln!(
                        out,
                        "| {} | {} | {} | {} | {} | {} |{inside}",
                        s.name,
                        s.n,
                        s.skipped,
                        percent(s.median),
                        percent(s.p90),
                        signed(s.bias)
                    )
                } else {
                    writeln!(out, "| {} | 0 | {} | – | – | – |{inside}", s.name, s.skipped)
                };
            }
        }
        let causes = column.has_causes();
        let (more, rule) = if causes { (" what | suspected cause |", "---|---|") } else { ("", "") };
        let _ = write!(out, "\n## Farthest off\n\n| row | measured | predicted | error |{more}\n|---|---|---|---|{rule}\n");
        for p in column.worst() {
            let _ = write!(out, "| {} | {} | {} | {} |", p.id, three(p.measured), three(p.predicted), signed(p.error()));
            let _ = if causes { writeln!(out, " {} | {} |", p.about, p.cause) } else { writeln!(out) };
        }
    }
    out
}
