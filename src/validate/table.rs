//! Rows of a table predicted side by side.

use super::summary::{About, Row};
use crate::diag::{Diagnostics, SourceId};
pub(super) use crate::tables::{Columns, Record, Table};
use rayon::prelude::*;

/// Predicts every row of all tables, in order; one measured column.
pub(super) fn predict(
    sources: &[SourceId],
    columns: &Columns,
    diags: &mut Diagnostics,
    predict: impl Fn(&Record<'_>) -> Result<f64, String> + Sync,
) -> Option<Vec<Row>> {
    predict_all(sources, columns, diags, |record| predict(record).map(|v| vec![v]))
}

/// The same, with what each row is about.
pub(super) fn predict_about(
    sources: &[SourceId],
    columns: &Columns,
    diags: &mut Diagnostics,
    predict: impl Fn(&Record<'_>) -> Result<f64, String> + Sync,
    about: impl Fn(&Record<'_>) -> About,
) -> Option<Vec<Row>> {
    let mut rows = self::predict(sources, columns, diags, predict)?;
    let tables = crate::tables::read(sources, columns, diags)?;
    for (row, record) in rows.iter_mut().zip(tables.iter().flat_map(Table::records)) {
        row.about = Some(about(&record));
    }
    Some(rows)
}

/// Predicts every row of all tables, in order; one value for each measured column.
pub(super) fn predict_all(
    sources: &[SourceId],
    columns: &Columns,
    diags: &mut Diagnostics,
    predict: impl Fn(&Record<'_>) -> Result<Vec<f64>, String> + Sync,
) -> Option<Vec<Row>> {
    let tables = crate::tables::read(sources, columns, diags)?;
    let row = |record: &Record<'_>| {
        let outcome = predict(record).and_then(|all| match all.iter().find(|p| !(**p > 0.0 && p.is_finite())) {
            None => Ok(all),
            Some(p) => Err(format!("the prediction is {p}")),
        });
        Row {
            id: record.text("id").to_owned(),
            source: record.text("source").to_owned(),
            measured: record.measured.to_vec(),
            outcome,
            about: None,
        }
    };
    let records: Vec<Record<'_>> = tables.iter().flat_map(Table::records).collect();
    Some(records.par_iter().map(row).collect())
}
