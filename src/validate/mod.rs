//! Predictions against tables of measurements: rows that the model does not cover are skipped with the reason, never guessed.

mod attention;
mod causes;
mod cluster;
mod collective;
mod exchange;
mod gemm;
mod launch;
mod moe;
mod other;
mod recipes;
mod serving;
mod serving_log;
mod storage;
mod summary;
mod table;
mod training;

pub use serving_log::{Half, ImpliedAllReduce, implied_all_reduce, is_serving_log, validate_logs};
pub use summary::{About, Bound, Report, Row, Summary, parse_bounds};

use crate::diag::{Diagnostics, SourceId};
use crate::kernels::Profiles;

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Step times.
    Training,
    /// Collectives.
    Collective,
    /// Matrix products.
    Gemm,
    /// Attention kernels.
    Attention,
    /// Time to first token and per token of serving; or throughput, told apart by its column.
    Serving,
    /// Logs of serving engines, request by request.
    ServingLog,
    /// Mixture-of-experts layers.
    Moe,
    /// Exchanges of tokens with the ranks of their experts.
    Exchange,
    /// Runs of MLPerf Storage: samples per second; or accelerators sustained, told apart by its column.
    Storage,
}

impl Kind {
    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Collective => "collective",
            Self::Gemm => "gemm",
            Self::Attention => "attention",
            Self::Serving => "serving",
            Self::ServingLog => "serving-log",
            Self::Moe => "moe",
            Self::Exchange => "exchange",
            Self::Storage => "storage",
        }
    }
}

/// Predicts every row of tables; training, collectives and matrix products under `profiles`, the rest under the shipped ones. `None` when a
/// table is faulty, which `diags` then holds.
pub fn validate(kind: Kind, sources: &[SourceId], profiles: &Profiles, diags: &mut Diagnostics) -> Option<Report> {
    use Kind::{Attention, Collective, Exchange, Gemm, Moe, Serving, Storage, Training};
    let (columns, rows): (&'static [&'static str], _) = match kind {
        Training => (training::COLUMNS.measured, training_rows(sources, profiles, diags)),
        Collective => {
            (collective::COLUMNS.measured, table::predict(sources, &collective::COLUMNS, diags, |r| collective::predict(r, profiles)))
        }
        Gemm => (gemm::COLUMNS.measured, table::predict(sources, &gemm::COLUMNS, diags, |r| gemm::predict(r, profiles))),
        Attention => (attention::COLUMNS.measured, table::predict(sources, &attention::COLUMNS, diags, attention::predict)),
        Moe => (moe::COLUMNS.measured, table::predict(sources, &moe::COLUMNS, diags, moe::predict)),
        Exchange => (exchange::COLUMNS.measured, table::predict(sources, &exchange::COLUMNS, diags, exchange::predict)),
        Storage if has_column(sources, storage::SUSTAINED.measured[0], diags) => {
            (storage::SUSTAINED.measured, table::predict(sources, &storage::SUSTAINED, diags, storage::predict_sustained))
        }
        Storage => (storage::COLUMNS.measured, table::predict(sources, &storage::COLUMNS, diags, storage::predict)),
        Serving if has_column(sources, serving::THROUGHPUT.measured[0], diags) => {
            (serving::THROUGHPUT.measured, table::predict_all(sources, &serving::THROUGHPUT, diags, serving::predict_throughput))
        }
        Serving | Kind::ServingLog => (serving::COLUMNS.measured, table::predict_all(sources, &serving::COLUMNS, diags, serving::predict)),
    };
    Some(Report::new(kind, columns, rows?))
}

/// Whether the first table has a column.
fn has_column(sources: &[SourceId], column: &str, diags: &Diagnostics) -> bool {
    let header = sources.first().and_then(|&s| diags.source(s).text.lines().next()).unwrap_or("");
    header.split(',').any(|name| name.trim() == column)
}

/// Tables with layouts, and those without, told apart by their columns.
fn training_rows(sources: &[SourceId], profiles: &Profiles, diags: &mut Diagnostics) -> Option<Vec<Row>> {
    let is_other = |source: &SourceId, diags: &Diagnostics| {
        let header = diags.source(*source).text.lines().next().unwrap_or("").to_owned();
        let has = |name: &str| header.split(',').any(|c| c.trim() == name);
        has("model") && !has("layers") && !has("tensor_parallel")
    };
    let (other, whole): (Vec<SourceId>, Vec<SourceId>) = sources.iter().partition(|s| is_other(s, diags));
    let mut rows = Vec::new();
    if !whole.is_empty() {
        rows.extend(table::predict_steps(&whole, &training::COLUMNS, diags, |r| training::predict(r, profiles), causes::of_layout)?);
    }
    if !other.is_empty() {
        rows.extend(table::predict_steps(&other, &other::COLUMNS, diags, |r| other::predict(r, profiles), causes::of_other)?);
    }
    Some(rows)
}
