//! From tables of measurements to kernel profiles: one fit for every entry, cross-validated by shape, with intervals.
//!
//! The same fit made the shipped profile (`src/kernels/fitted.toml`) from `tests/validation`.

mod attention;
mod fit;
mod gemm;
mod moe;
mod solve;
#[cfg(test)]
mod tests;
mod write;

pub use fit::{Fitted, Value};
pub use write::{summary, write};

use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, codes};
use crate::hardware::Catalogue;
use crate::kernels::{ATTENTION_COLUMNS, GEMM_COLUMNS, MOE_COLUMNS, Sheet, part_of_row};
use crate::tables::{Columns, Record, Table, header, read};
use indexmap::IndexMap;

/// Lists of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// Matrix products.
    Gemm,
    /// Prefill attention.
    Prefill,
    /// Decode attention.
    Decode,
    /// Mixture-of-experts layers.
    Moe,
}

/// A fitted entry with what it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Measured part.
    pub accelerator: String,
    /// List that it belongs to.
    pub list: List,
    /// Keys that name it, in order.
    pub keys: Vec<(&'static str, String)>,
    /// Sources of its points.
    pub sources: Vec<String>,
    /// Values, or why there are none.
    pub fit: Result<Fitted, String>,
}

/// All entries that tables gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Entries in order of part and list.
    pub entries: Vec<Entry>,
    /// Rows that no entry could use, by reason.
    pub skipped: Vec<(String, usize)>,
}

/// Fewest points of an entry: facts of transfer say that five shapes may be worse than none, and 20 are enough with a prior.
const FEWEST: usize = 20;

/// Points below which an entry leans on a neighbour's constants.
const FEW: usize = 100;

/// Penalty of the prior for one unit of the logarithm, in relative error of one point: with many points, and with few.
const PRIOR: (f64, f64) = (0.03, 0.1);

/// Points of one entry.
struct Points<S> {
    keys: Vec<(&'static str, String)>,
    sources: Vec<String>,
    shapes: Vec<S>,
    measured: Vec<f64>,
}

/// Points by part and entry, in order of reading.
type ByEntry<S> = IndexMap<(String, String), Points<S>>;

/// Rows dealt to entries; what cannot be used is counted by reason.
struct Deal<S> {
    entries: ByEntry<S>,
    skipped: IndexMap<String, usize>,
}

/// A row's place: the part, the keys of its entry, the shape.
type Placed<S> = (Vec<(&'static str, String)>, S);

fn deal<S>(tables: &[Table], place: impl Fn(&Record<'_>) -> Result<Placed<S>, String>) -> Deal<S> {
    let mut out = Deal { entries: IndexMap::new(), skipped: IndexMap::new() };
    for record in tables.iter().flat_map(Table::records) {
        let placed = part_of_row(&record).and_then(|p| Ok((p, place(&record)?)));
        match placed {
            Ok((part, (keys, shape))) => {
                let name = keys.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>().join(" ");
                let empty = || Points { keys, sources: Vec::new(), shapes: Vec::new(), measured: Vec::new() };
                let points = out.entries.entry((part.id.value.clone(), name)).or_insert_with(empty);
                let source = record.text("source");
                if !points.sources.iter().any(|s| s == source) {
                    points.sources.push(source.to_owned());
                }
                points.shapes.push(shape);
                points.measured.push(1e-6 * record.measured[0]);
            }
            Err(reason) => *out.skipped.entry(reason).or_insert(0) += 1,
        }
    }
    out
}

/// The data sheet of a part for a number format.
fn sheet(part: &str, dtype: crate::hardware::Dtype) -> Sheet {
    let part = &Catalogue::embedded().accelerators[part];
    Sheet {
        peak: part.peak.of(dtype).or(*part.peak.bf16).map_or(1.0, crate::units::Quantity::get),
        bandwidth: part.memory_bandwidth.get(),
        units: *part.compute_units as f64,
    }
}

/// An entry with too few points.
fn too_few<S>(part: &str, list: List, points: &Points<S>) -> Entry {
    let reason = format!("{} points; an entry needs {FEWEST}", points.measured.len());
    Entry { accelerator: part.into(), list, keys: points.keys.clone(), sources: points.sources.clone(), fit: Err(reason) }
}

/// Entries of tables of one kind, and rows that none could use, by reason.
type FitTables = fn(&[Table]) -> (Vec<Entry>, IndexMap<String, usize>);

/// Fits all entries of tables of any of the kinds gemm, attention and moe; `None` when a table is faulty, which `diags` then holds.
pub fn fit(sources: &[SourceId], diags: &mut Diagnostics) -> Option<Calibration> {
    let before = diags.error_count();
    let (mut entries, mut skipped) = (Vec::new(), IndexMap::new());
    for &source in sources {
        let columns = header(&diags.source(source).text);
        let has = |name: &str| columns.iter().any(|c| c == name);
        let kind: (&Columns, FitTables) = if has("phase") {
            (&ATTENTION_COLUMNS, attention::fit)
        } else if has("top_k") {
            (&MOE_COLUMNS, moe::fit)
        } else if has("m") && has("n") && has("k") {
            (&GEMM_COLUMNS, gemm::fit)
        } else {
            let end = diags.source(source).text.find('\n').unwrap_or(0) as u32;
            diags.push(
                Diagnostic::error(codes::BAD_TABLE, "no kind of table has these columns")
                    .at(Span { source, start: 0, end }, "this header")
                    .hint("gemm tables have m, n, k; attention tables phase; tables of experts top_k"),
            );
            continue;
        };
        let Some(tables) = read(&[source], kind.0, diags) else { continue };
        let (some, without) = kind.1(&tables);
        entries.extend(some);
        for (reason, n) in without {
            *skipped.entry(reason).or_insert(0) += n;
        }
    }
    if diags.error_count() > before {
        return None;
    }
    entries.sort_by(|a: &Entry, b: &Entry| (&a.accelerator, a.list, &a.keys).cmp(&(&b.accelerator, b.list, &b.keys)));
    Some(Calibration { entries, skipped: skipped.into_iter().collect() })
}
