//! From logs and tables of measurements to profiles: importers to one common record, a fit for every entry with intervals and with what
//! the data could not determine, and what a fitted profile says of whole steps.
//!
//! The same fit of operators made the shipped profile (`src/kernels/fitted.toml`) from `tests/validation`.

mod attention;
mod check;
mod compare;
mod curve;
mod device;
mod fit;
mod fits;
mod gemm;
mod groups;
mod import;
mod moe;
mod nearby;
mod record;
mod script;
mod solve;
mod storage;
#[cfg(test)]
mod tests;
mod write;
mod write_curves;

pub use check::{Component, Judged, StepCheck, check_steps};
pub use compare::{Odd, compare_nodes};
pub use curve::{CurveFit, Interval, LineFit, Point, fit_curve};
pub use device::part_named;
pub use fit::{Fitted, Value};
pub use fits::{Fit, Fits, Implausible, Levels, Seal};
pub use groups::PLAUSIBLE;
pub use import::{Imported, import, is_known};
pub use nearby::Near;
pub use record::{HEADER, Measurement, OperatorTable, Unit, What, is_measurements, sustained_share, to_lines};
pub use script::{Scheduler, script};
pub use storage::StorageFit;
pub use write::{summary, write};
pub use write_curves::points_csv;

use crate::diag::{Diagnostics, SourceId};
use crate::hardware::Catalogue;
use crate::kernels::{ATTENTION_COLUMNS, GEMM_COLUMNS, MOE_COLUMNS, Sheet, part_of_row};
use crate::measured::ValueOrigin;
use crate::tables::{Columns, Record, Table, header, read};
use groups::fit_measurements;
use indexmap::IndexMap;
use std::fmt::Write as _;

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
    /// How its points came to be.
    pub origin: ValueOrigin,
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
    /// What was fitted to measurements of links, collectives, memories and storage.
    pub fits: Fits,
}

impl Calibration {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let f = &self.fits;
        self.entries.iter().all(|e| e.fit.is_err())
            && f.collective.is_empty()
            && f.link.is_empty()
            && f.memory.is_empty()
            && f.storage.is_empty()
            && f.sustained.is_empty()
    }
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
    Entry {
        accelerator: part.into(),
        list,
        keys: points.keys.clone(),
        sources: points.sources.clone(),
        origin: ValueOrigin::Imported,
        fit: Err(reason),
    }
}

/// Entries of tables of one kind, and rows that none could use, by reason.
type FitTables = fn(&[Table]) -> (Vec<Entry>, IndexMap<String, usize>);

/// What a fit is told beside its files.
#[derive(Debug, Clone, Copy)]
pub struct FitOptions<'a> {
    /// Catalogue id of the accelerator where logs do not say it.
    pub accelerator: Option<&'a str>,
    /// Storage tier that measurements of storage are of.
    pub tier: &'a str,
    /// Whether entries keep the products that correct their law nearby.
    pub products: bool,
}

impl Default for FitOptions<'_> {
    fn default() -> Self {
        Self { accelerator: None, tier: "nvme", products: true }
    }
}

/// The kind of a table of operators.
fn table_kind(text: &str) -> Option<(&'static Columns, FitTables)> {
    let columns = header(text);
    let has = |name: &str| columns.iter().any(|c| c == name);
    if !has("id") || !has("time_us") {
        return None;
    }
    if has("phase") {
        Some((&ATTENTION_COLUMNS, attention::fit))
    } else if has("top_k") {
        Some((&MOE_COLUMNS, moe::fit))
    } else if has("m") && has("n") && has("k") {
        Some((&GEMM_COLUMNS, gemm::fit))
    } else {
        None
    }
}

/// Fits everything that tables, logs and files of measurements hold; `None` when one is faulty, which `diags` then holds.
pub fn fit(sources: &[SourceId], options: FitOptions<'_>, diags: &mut Diagnostics) -> Option<Calibration> {
    let before = diags.error_count();
    let mut tables: Vec<(SourceId, ValueOrigin, bool)> = Vec::new();
    let mut list: Vec<Measurement> = Vec::new();
    for &source in sources {
        if table_kind(&diags.source(source).text).is_some() {
            tables.push((source, ValueOrigin::Imported, false));
        } else if let Some(imported) = import(source, options.accelerator, diags) {
            list.extend(imported.list);
        }
    }
    for (name, origin, text) in operator_tables(&list) {
        tables.push((diags.add_source(name, text), origin, true));
    }
    let (mut entries, mut skipped) = (Vec::new(), IndexMap::new());
    for (source, origin, in_sessions) in tables {
        let Some(kind) = table_kind(&diags.source(source).text) else { continue };
        let Some(tables) = read(&[source], kind.0, diags) else { continue };
        let (some, without) = kind.1(&tables);
        entries.extend(some.into_iter().map(|e| {
            // Sources of measurements are their sessions.
            let sessions = e.sources.len();
            let fit = e.fit.map(|f| if in_sessions { f.over_sessions(sessions) } else { f });
            let fit = fit.map(|f| Fitted { near: f.near.filter(|_| options.products), ..f });
            Entry { origin, fit, ..e }
        }));
        for (reason, n) in without {
            *skipped.entry(reason).or_insert(0) += n;
        }
    }
    if diags.error_count() > before {
        return None;
    }
    entries.sort_by(|a: &Entry, b: &Entry| (&a.accelerator, a.origin, a.list, &a.keys).cmp(&(&b.accelerator, b.origin, b.list, &b.keys)));
    let fits = fit_measurements(&list, options.tier);
    Some(Calibration { entries, skipped: skipped.into_iter().collect(), fits })
}

/// Measurements of operators as tables in the columns of `tests/validation`, one for each kind and origin.
fn operator_tables(list: &[Measurement]) -> Vec<(String, ValueOrigin, String)> {
    let mut out: IndexMap<(OperatorTable, ValueOrigin), String> = IndexMap::new();
    for (i, one) in list.iter().enumerate().filter(|(_, m)| !m.in_situ && m.unfit().is_none()) {
        let What::Operator { table, cells } = &one.what else { continue };
        let (word, columns) = match table {
            OperatorTable::Gemm => ("gemm", &GEMM_COLUMNS),
            OperatorTable::Attention => ("attention", &ATTENTION_COLUMNS),
            OperatorTable::Moe => ("moe", &MOE_COLUMNS),
        };
        let origin = ValueOrigin::from_word(&one.origin).unwrap_or(ValueOrigin::Synthetic);
        let text = out.entry((*table, origin)).or_insert_with(|| format!("{},time_us\n", columns.needed.join(",")));
        for column in columns.needed {
            let cell = match *column {
                "id" => format!("{word}-{i}"),
                "source" => one.session.replace([',', '"'], " "),
                "accelerator" => one.part.clone(),
                other => cells.get(other).map_or_else(String::new, |c| c.replace([',', '"'], " ")),
            };
            let _ = write!(text, "{cell},");
        }
        let _ = writeln!(text, "{}", 1e6 * one.value);
    }
    out.into_iter().map(|((table, origin), text)| (format!("measurements of operators ({table:?}, {origin})"), origin, text)).collect()
}
