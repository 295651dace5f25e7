//! The answer of a validation: every row once, errors, quantiles, bounds.

use super::Kind;
use crate::tables::quantile;
use serde_json::{Map, Value as Json, json};

/// One row: predicted, or skipped with the reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Id of the row.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Measured values in the units of the table's columns.
    pub measured: Vec<f64>,
    /// Predicted values, or why there are none.
    pub outcome: Result<Vec<f64>, String>,
    /// What the row is about, where the table says so.
    pub about: Option<About>,
    /// The 10th and 90th percentile of the prediction, where the model states them.
    pub interval: Option<(f64, f64)>,
}

/// What a measured step is about, to look at errors from several sides.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Catalogue id of the accelerator.
    pub accelerator: String,
    /// Framework.
    pub framework: String,
    /// Class of the model's size.
    pub size: String,
    /// What is suspected where the prediction is far off.
    pub cause: &'static str,
}

impl Row {
    /// predicted ÷ measured − 1 of a column.
    #[must_use]
    pub fn error(&self, column: usize) -> Option<f64> {
        self.outcome.as_ref().ok().map(|p| p[column] / self.measured[column] - 1.0)
    }
}

/// Errors over some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Rows that were predicted.
    pub n: usize,
    /// Rows that were skipped.
    pub skipped: usize,
    /// Median of the absolute error.
    pub median: f64,
    /// Mean of the absolute error.
    pub mean: f64,
    /// 90th percentile of the absolute error.
    pub p90: f64,
    /// Median of the signed error.
    pub bias: f64,
    /// Share of the rows with a stated interval whose measurement lies between its ends (80 % are claimed); none without any.
    pub inside: Option<f64>,
}

impl Summary {
    fn of<'a>(rows: impl Iterator<Item = &'a Row>, column: usize) -> Self {
        let (mut errors, mut skipped) = (Vec::new(), 0);
        let (mut stated, mut inside) = (0, 0);
        for row in rows {
            if let Some((low, high)) = row.interval {
                stated += 1;
                inside += usize::from((low..=high).contains(&row.measured[column]));
            }
            match row.error(column) {
                Some(error) => errors.push(error),
                None => skipped += 1,
            }
        }
        let absolute: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
        let mean = if absolute.is_empty() { 0.0 } else { absolute.iter().sum::<f64>() / absolute.len() as f64 };
        Self {
            n: errors.len(),
            skipped,
            median: quantile(absolute.clone(), 0.5),
            mean,
            p90: quantile(absolute, 0.9),
            bias: quantile(errors, 0.5),
            inside: (stated > 0).then(|| inside as f64 / stated as f64),
        }
    }
    fn json(&self) -> Json {
        let mut json = self.errors_json();
        if let (Some(map), Some(inside)) = (json.as_object_mut(), self.inside) {
            map.insert("inside_interval".into(), json!(inside));
        }
        json
    }
    fn errors_json(&self) -> Json {
        json!({"n": self.n, "skipped": self.skipped, "median_abs_error": self.median, "mean_abs_error": self.mean, "p90_abs_error": self.p90, "bias": self.bias})
    }
}

/// A requirement on a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// `median`, `mean`, `p90`, `bias` (at most) or `covered` (at least); for one of several columns with its name before, such as
    /// `ttft.median`.
    pub name: String,
    /// The bound.
    pub value: f64,
}

/// Reads requirements such as `median=0.08,p90=0.2`.
///
/// # Errors
/// Which part is wrong.
pub fn parse_bounds(text: &str) -> Result<Vec<Bound>, String> {
    let one = |part: &str| {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` has no `=`"))?;
        let figure = name.trim().split_once('.').map_or(name.trim(), |(_, figure)| figure);
        if !["median", "mean", "p90", "bias", "covered"].contains(&figure) {
            return Err(format!("`{name}` is none of median, mean, p90, bias, covered"));
        }
        match value.trim().parse::<f64>() {
            Ok(v) if v.is_finite() && v >= 0.0 => Ok(Bound { name: name.trim().into(), value: v }),
            _ => Err(format!("`{value}` is no number of at least 0")),
        }
    };
    text.split(',').map(one).collect()
}

/// The answer of a validation.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What the table holds.
    pub kind: Kind,
    /// The measured columns.
    pub columns: &'static [&'static str],
    /// Every row, in order.
    pub rows: Vec<Row>,
    /// Over all rows, by column.
    pub all: Vec<Summary>,
    /// By source, most rows first, by column.
    pub by_source: Vec<(String, Vec<Summary>)>,
}

impl Report {
    /// Sums up rows.
    #[must_use]
    pub fn new(kind: Kind, columns: &'static [&'static str], rows: Vec<Row>) -> Self {
        let mut names: Vec<String> = Vec::new();
        for row in &rows {
            if !names.contains(&row.source) {
                names.push(row.source.clone());
            }
        }
        let of = |name: Option<&str>| -> Vec<Summary> {
            (0..columns.len()).map(|c| Summary::of(rows.iter().filter(|r| name.is_none_or(|n| r.source == n)), c)).collect()
        };
        let mut by_source: Vec<(String, Vec<Summary>)> = names.into_iter().map(|n| (n.clone(), of(Some(&n)))).collect();
        let size = |s: &[Summary]| s[0].n + s[0].skipped;
        by_source.sort_by(|a, b| size(&b.1).cmp(&size(&a.1)).then(a.0.cmp(&b.0)));
        Self { kind, columns, all: of(None), by_source, rows }
    }

    /// Errors of one column by a word of what rows are about, most rows first.
    #[must_use]
    pub fn by(&self, column: usize, word: impl Fn(&About) -> &str) -> Vec<(String, Summary)> {
        let word = |r: &Row| r.about.as_ref().map(|a| word(a).to_owned());
        let mut names: Vec<String> = self.rows.iter().filter_map(word).collect();
        names.sort_unstable();
        names.dedup();
        let of = |n: &String| Summary::of(self.rows.iter().filter(|r| word(r).as_ref() == Some(n)), column);
        let mut out: Vec<(String, Summary)> = names.into_iter().map(|n| (n.clone(), of(&n))).collect();
        out.sort_by(|a, b| (b.1.n + b.1.skipped).cmp(&(a.1.n + a.1.skipped)).then(a.0.cmp(&b.0)));
        out
    }

    /// Reasons for skipping with their counts, most frequent first.
    #[must_use]
    pub fn skipped(&self) -> Vec<(String, usize)> {
        let mut out: Vec<(String, usize)> = Vec::new();
        for reason in self.rows.iter().filter_map(|r| r.outcome.as_ref().err()) {
            match out.iter_mut().find(|x| x.0 == *reason) {
                Some(x) => x.1 += 1,
                None => out.push((reason.clone(), 1)),
            }
        }
        out.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        out
    }

    /// The bounds that do not hold, in words. A bound without a column holds for all of them.
    #[must_use]
    pub fn missed(&self, bounds: &[Bound]) -> Vec<String> {
        let mut out = Vec::new();
        for (column, s) in self.columns.iter().zip(&self.all) {
            let covered = s.n as f64 / (s.n + s.skipped).max(1) as f64;
            for b in bounds {
                let (of, figure) = b.name.split_once('.').map_or((None, b.name.as_str()), |(c, f)| (Some(c), f));
                if of.is_some_and(|c| !column.starts_with(c)) {
                    continue;
                }
                let (value, holds) = match figure {
                    "median" => (s.median, s.median <= b.value),
                    "mean" => (s.mean, s.mean <= b.value),
                    "p90" => (s.p90, s.p90 <= b.value),
                    "bias" => (s.bias, s.bias.abs() <= b.value),
                    _ => (covered, covered >= b.value),
                };
                if !holds {
                    let name = if self.columns.len() > 1 { format!("{column} {figure}") } else { figure.to_owned() };
                    out.push(format!("{name} is {value:.4}, bound {}", b.value));
                }
            }
        }
        out
    }

    /// A value for each column: itself where there is one column, an object by column where there are several.
    fn keyed(&self, values: impl Iterator<Item = Json>) -> Json {
        let mut map: Map<String, Json> = self.columns.iter().map(|c| (*c).to_owned()).zip(values).collect();
        if self.columns.len() == 1 { map.shift_remove(self.columns[0]).unwrap_or(Json::Null) } else { Json::Object(map) }
    }

    /// The contract of `validate --json`.
    #[must_use]
    pub fn json(&self) -> Json {
        let row = |r: &Row| match &r.outcome {
            Ok(p) => {
                let mut json = json!({
                    "id": r.id,
                    "measured": self.keyed(r.measured.iter().map(|&v| json!(v))),
                    "predicted": self.keyed(p.iter().map(|&v| json!(v))),
                    "error": self.keyed((0..self.columns.len()).map(|c| json!(r.error(c)))),
                });
                if let (Some(map), Some((low, high))) = (json.as_object_mut(), r.interval) {
                    map.insert("p10".into(), json!(low));
                    map.insert("p90".into(), json!(high));
                }
                json
            }
            Err(reason) => json!({"id": r.id, "skipped": reason}),
        };
        let mut summary = self.keyed(self.all.iter().map(Summary::json));
        let by_source: Map<String, Json> =
            self.by_source.iter().map(|(n, s)| (n.clone(), self.keyed(s.iter().map(Summary::json)))).collect();
        if let Some(map) = summary.as_object_mut() {
            map.insert("by_source".into(), Json::Object(by_source));
        }
        json!({"kind": self.kind.word(), "rows": self.rows.iter().map(row).collect::<Vec<_>>(), "summary": summary})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, measured: f64, outcome: Result<f64, String>) -> Row {
        Row { id: id.into(), source: "s".into(), measured: vec![measured], outcome: outcome.map(|v| vec![v]), about: None, interval: None }
    }

    #[test]
    fn quantiles_bounds_and_contract() {
        let report =
            Report::new(Kind::Gemm, &["time_us"], vec![row("a", 1.0, Ok(1.1)), row("b", 2.0, Ok(1.8)), row("c", 1.0, Err("no".into()))]);
        let all = report.all[0];
        assert!((all.median - 0.1).abs() < 1e-12 && all.bias.abs() < 1e-12 && all.skipped == 1);
        assert_eq!(report.missed(&parse_bounds("median=0.2,covered=0.5").unwrap()), Vec::<String>::new());
        assert_eq!(report.missed(&parse_bounds("median=0.05").unwrap()).len(), 1);
        assert!(parse_bounds("mode=1").is_err() && parse_bounds("median").is_err() && parse_bounds("median=x").is_err());
        let json = report.json();
        assert_eq!(json["rows"][2]["skipped"], "no");
        assert_eq!(json["summary"]["n"], 2);
        assert!((json["rows"][0]["error"].as_f64().unwrap() - 0.1).abs() < 1e-12);
    }

    #[test]
    fn measurements_inside_their_intervals_are_counted() {
        let with = |interval| Row { interval, ..row("a", 1.0, Ok(1.2)) };
        let rows = vec![with(Some((0.9, 1.3))), with(Some((1.1, 1.3))), with(Some((1.0, 1.1))), with(None)];
        let report = Report::new(Kind::Training, &["step_time_s"], rows);
        assert!((report.all[0].inside.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((&report.json()["rows"][1]["p10"], report.json()["rows"][3].get("p10")), (&json!(1.1), None));
        assert_eq!(Report::new(Kind::Gemm, &["time_us"], vec![row("a", 1.0, Ok(1.1))]).all[0].inside, None);
    }

    #[test]
    fn several_columns_are_keyed_by_name() {
        let both = |a: f64, b: f64| Row {
            id: "a".into(),
            source: "s".into(),
            measured: vec![1.0, 2.0],
            outcome: Ok(vec![a, b]),
            about: None,
            interval: None,
        };
        let report = Report::new(Kind::Serving, &["ttft_ms", "tpot_ms"], vec![both(1.2, 2.0)]);
        let json = report.json();
        assert_eq!(json["rows"][0]["predicted"]["tpot_ms"], 2.0);
        assert!((json["summary"]["ttft_ms"]["median_abs_error"].as_f64().unwrap() - 0.2).abs() < 1e-12);
        assert_eq!(json["summary"]["by_source"]["s"]["tpot_ms"]["n"], 1);
        assert_eq!(report.missed(&parse_bounds("tpot.median=0.1").unwrap()).len(), 0);
        assert_eq!(report.missed(&parse_bounds("median=0.1").unwrap()), ["ttft_ms median is 0.2000, bound 0.1"]);
    }
}
