//! Predictions against tables of measurements: rows that the model does not cover are skipped with the reason, never guessed.

mod attention;
mod cluster;
mod collective;
mod gemm;
mod moe;
mod other;
mod summary;
mod table;
mod training;

pub use summary::{Bound, Report, Row, Summary, parse_bounds};

use crate::diag::{Diagnostics, SourceId};

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
    /// Mixture-of-experts layers.
    Moe,
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
            Self::Moe => "moe",
        }
    }
    /// Unit of the measured column.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Training => "seconds",
            _ => "microseconds",
        }
    }
}

/// Predicts every row of tables; `None` when a table is faulty, which `diags` then holds.
pub fn validate(kind: Kind, sources: &[SourceId], diags: &mut Diagnostics) -> Option<Report> {
    let rows = match kind {
        Kind::Training => training_rows(sources, diags),
        Kind::Collective => table::predict(sources, &collective::COLUMNS, diags, collective::predict),
        Kind::Gemm => table::predict(sources, &gemm::COLUMNS, diags, gemm::predict),
        Kind::Attention => table::predict(sources, &attention::COLUMNS, diags, attention::predict),
        Kind::Moe => table::predict(sources, &moe::COLUMNS, diags, moe::predict),
    }?;
    Some(Report::new(kind, rows))
}

/// Tables with layouts, and those without, told apart by their columns.
fn training_rows(sources: &[SourceId], diags: &mut Diagnostics) -> Option<Vec<Row>> {
    let is_other = |source: &SourceId, diags: &Diagnostics| {
        let header = diags.source(*source).text.lines().next().unwrap_or("").to_owned();
        let has = |name: &str| header.split(',').any(|c| c.trim() == name);
        has("model") && !has("layers") && !has("tensor_parallel")
    };
    let (other, whole): (Vec<SourceId>, Vec<SourceId>) = sources.iter().partition(|s| is_other(s, diags));
    let mut rows = Vec::new();
    if !whole.is_empty() {
        rows.extend(table::predict(&whole, &training::COLUMNS, diags, training::predict)?);
    }
    if !other.is_empty() {
        rows.extend(table::predict(&other, &other::COLUMNS, diags, other::predict)?);
    }
    Some(rows)
}
