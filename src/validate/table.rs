//! Rows of a table predicted side by side.

use super::summary::Row;
use crate::diag::{Diagnostics, SourceId};
pub(super) use crate::tables::{Columns, Record, Table};
use rayon::prelude::*;

/// Predicts every row of all tables, in order.
pub(super) fn predict(
    sources: &[SourceId],
    columns: &Columns,
    diags: &mut Diagnostics,
    predict: impl Fn(&Record<'_>) -> Result<f64, String> + Sync,
) -> Option<Vec<Row>> {
    let tables = crate::tables::read(sources, columns, diags)?;
    let row = |record: &Record<'_>| {
        let checked = |p: f64| if p > 0.0 && p.is_finite() { Ok(p) } else { Err(format!("the prediction is {p}")) };
        let outcome = predict(record).and_then(checked);
        Row { id: record.text("id").to_owned(), source: record.text("source").to_owned(), measured: record.measured[0], outcome }
    };
    let records: Vec<Record<'_>> = tables.iter().flat_map(Table::records).collect();
    Some(records.par_iter().map(row).collect())
}
