//! Prediction against measurement as a page: scatter, errors by source, the worst rows.

use super::html::page;
use super::plot::{PALETTE, scatter};
use crate::units::three;
use maud::{Markup, PreEscaped, html};

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
}

/// Errors of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRow {
    /// Source, or `all`.
    pub source: String,
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
}

fn percent(share: f64) -> String {
    format!("{} %", three(100.0 * share))
}

/// The page of a validation: for each measured column its name, its points and its errors by source.
#[must_use]
pub fn validation_html(kind: &str, columns: &[(&str, Vec<ScatterPoint>, Vec<SourceRow>)]) -> String {
    let body: Markup = html! {
        h1 { "Prediction against measurement: " (kind) }
        p.soft { "Every point is a measurement that no constant was fitted to by itself. Grey lines: 10 % and 20 %." }
        @for (column, points, sources) in columns { (part(column, points, sources)) }
    };
    page(&format!("Validation: {kind}"), &body)
}

fn part(column: &str, points: &[ScatterPoint], sources: &[SourceRow]) -> Markup {
    let series: Vec<(String, Vec<(f64, f64)>)> = sources
        .iter()
        .filter(|s| s.source != "all" && s.n > 0)
        .map(|s| (s.source.clone(), points.iter().filter(|p| p.source == s.source).map(|p| (p.measured, p.predicted)).collect()))
        .collect();
    let mut worst: Vec<&ScatterPoint> = points.iter().collect();
    let error = |p: &ScatterPoint| p.predicted / p.measured - 1.0;
    worst.sort_by(|a, b| error(b).abs().total_cmp(&error(a).abs()));
    html! {
        figure {
            (PreEscaped(scatter(&series, &format!("measured, {column}"), &format!("predicted, {column}"))))
            div.key { @for (i, (name, _)) in series.iter().enumerate() { span { i style={"background:" (PALETTE[i % PALETTE.len()])} {} (name) } } }
        }
        h2 { (column) " by source" }
        table {
            thead { tr { th { "source" } th { "rows" } th { "skipped" } th { "median error" } th { "90th percentile" } th { "bias" } } }
            tbody { @for s in sources { tr { td { (s.source) } td { (s.n) } td { (s.skipped) } @if s.n > 0 { td { (percent(s.median)) } td { (percent(s.p90)) } td { (percent(s.bias)) } } @else { td { "–" } td { "–" } td { "–" } } } } }
        }
        h2 { "Farthest off" }
        table {
            thead { tr { th { "row" } th { "measured" } th { "predicted" } th { "error" } } }
            tbody { @for p in worst.iter().take(20) { tr { td { (p.id) } td { (three(p.measured)) } td { (three(p.predicted)) } td { (percent(error(p))) } } } }
        }
    }
}
