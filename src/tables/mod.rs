//! Tables of measurements: CSV with a header, faults with their line. Whoever predicts rows or fits constants reads them here.

use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, codes, nearest};
use rustc_hash::FxHashMap;
use std::str::FromStr;

/// A quantile by linear interpolation; 0 of nothing.
#[must_use]
pub fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let at = q * last as f64;
    let low = at.floor() as usize;
    values[low] + (values[(low + 1).min(last)] - values[low]) * (at - low as f64)
}

/// Columns of a kind of table: those that are needed, and the measured ones.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// Columns that have to be there besides the measured ones.
    pub needed: &'static [&'static str],
    /// The measured columns.
    pub measured: &'static [&'static str],
}

/// One record by column name.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    header: &'a FxHashMap<String, usize>,
    record: &'a csv::StringRecord,
    /// The measured values, above 0, in the order of the columns.
    pub measured: &'a [f64],
}

/// A table that was read: sound rows with a measured value each.
#[derive(Debug)]
pub struct Table {
    header: FxHashMap<String, usize>,
    rows: Vec<(csv::StringRecord, Vec<f64>)>,
}

impl Table {
    /// All records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.rows.iter().map(|(record, measured)| Record { header: &self.header, record, measured })
    }
}

impl Record<'_> {
    /// The text of a column; empty where it is not there.
    #[must_use]
    pub fn text(&self, column: &str) -> &str {
        self.header.get(column).and_then(|&i| self.record.get(i)).unwrap_or("").trim()
    }
    /// A number or another value of a column.
    ///
    /// # Errors
    /// The reason to skip the row.
    pub fn get<T: FromStr>(&self, column: &str) -> Result<T, String> {
        let text = self.text(column);
        text.parse().map_err(|_| format!("column {column} holds `{text}`"))
    }
    /// A whole number of at least 1 within reason.
    ///
    /// # Errors
    /// The reason to skip the row.
    pub fn count(&self, column: &str) -> Result<u64, String> {
        let value: u64 = self.get(column)?;
        if (1..1 << 40).contains(&value) { Ok(value) } else { Err(format!("column {column} holds {value}")) }
    }
}

/// The header of a table, for telling kinds of tables apart.
#[must_use]
pub fn header(text: &str) -> Vec<String> {
    let line = text.lines().next().unwrap_or("");
    line.split(',').map(|n| n.trim().trim_start_matches('\u{feff}').to_owned()).collect()
}

/// Reads all tables of one kind, in order; `None` when one is faulty, which `diags` then holds.
pub fn read(sources: &[SourceId], columns: &Columns, diags: &mut Diagnostics) -> Option<Vec<Table>> {
    let mut seen = FxHashMap::default();
    sources.iter().map(|&source| read_one(source, columns, diags, &mut seen)).collect()
}

fn read_one(source: SourceId, columns: &Columns, diags: &mut Diagnostics, seen: &mut FxHashMap<String, Span>) -> Option<Table> {
    let text = diags.source(source).text.clone();
    let before = diags.error_count();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let line = |position: u64| line_at(&text, source, position as usize);
    let header: FxHashMap<String, usize> = match reader.headers() {
        Ok(names) => names.iter().enumerate().map(|(i, n)| (n.trim().trim_start_matches('\u{feff}').to_owned(), i)).collect(),
        Err(error) => {
            diags.push(Diagnostic::error(codes::BAD_TABLE, format!("this is no CSV: {error}")).at(line(0), "header"));
            return None;
        }
    };
    all_there(&header, columns, line(0), diags);
    if diags.error_count() > before {
        return None;
    }
    let mut rows = Vec::new();
    for result in reader.into_records() {
        match result {
            Ok(record) => {
                let place = line(record.position().map_or(0, csv::Position::byte));
                if record.len() == header.len() {
                    let row = Record { header: &header, record: &record, measured: &[] };
                    once(row.text("id"), place, seen, diags);
                    rows.extend(measured(row, columns, place, diags).map(|measured| (record, measured)));
                } else {
                    let message = format!("this row has {} fields, the header {}", record.len(), header.len());
                    diags.push(Diagnostic::error(codes::BAD_TABLE, message).at(place, "here"));
                }
            }
            Err(error) => diags.push(Diagnostic::error(codes::BAD_TABLE, format!("this is no CSV: {error}")).at(line(0), "in this file")),
        }
        if diags.error_count() > before + 50 {
            break;
        }
    }
    (diags.error_count() == before).then_some(Table { header, rows })
}

/// The line that begins at a byte of a table.
fn line_at(text: &str, source: SourceId, position: usize) -> Span {
    let start = position.min(text.len());
    let end = text[start..].find('\n').map_or(text.len(), |i| start + i);
    Span { source, start: start as u32, end: end as u32 }
}

/// Reports columns that a table lacks.
fn all_there(header: &FxHashMap<String, usize>, columns: &Columns, place: Span, diags: &mut Diagnostics) {
    for &name in columns.needed.iter().chain(columns.measured) {
        if !header.contains_key(name) {
            let mut diagnostic =
                Diagnostic::error(codes::BAD_TABLE, format!("the column `{name}` is missing")).at(place, "this header lacks it");
            let mut names: Vec<&str> = header.keys().map(String::as_str).collect();
            names.sort_unstable();
            if let Some(near) = nearest(name, names) {
                diagnostic = diagnostic.hint(format!("is it the one named `{near}`?"));
            }
            diags.push(diagnostic);
        }
    }
}

/// Reports an id that an earlier row has.
fn once(id: &str, place: Span, seen: &mut FxHashMap<String, Span>, diags: &mut Diagnostics) {
    if let Some(first) = seen.insert(id.to_owned(), place) {
        diags.push(
            Diagnostic::error(codes::DUPLICATE_NAME, format!("the id `{id}` comes twice")).at(place, "second row").at(first, "first row"),
        );
    }
}

/// The measured values of a row; `None` where one is none, which is reported.
fn measured(row: Record<'_>, columns: &Columns, place: Span, diags: &mut Diagnostics) -> Option<Vec<f64>> {
    let value = |name: &str| row.text(name).parse::<f64>().ok().filter(|v| *v > 0.0 && v.is_finite());
    for name in columns.measured.iter().filter(|name| value(name).is_none()) {
        diags.push(
            Diagnostic::error(codes::BAD_TABLE, format!("`{}` is no measured value above 0", row.text(name)))
                .at(place, format!("column {name}")),
        );
    }
    columns.measured.iter().map(|name| value(name)).collect()
}
