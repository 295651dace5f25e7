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

/// A step time with its 10th and 90th percentile, seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Predicted {
    pub(super) time: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Predicts steps, with intervals and what each row is about.
pub(super) fn predict_steps(
    sources: &[SourceId],
    columns: &Columns,
    diags: &mut Diagnostics,
    predict: impl Fn(&Record<'_>) -> Result<Predicted, String> + Sync,
    about: impl Fn(&Record<'_>) -> About,
) -> Option<Vec<Row>> {
    let mut rows = predict_all(sources, columns, diags, |record| predict(record).map(|p| vec![p.time, p.low, p.high]))?;
    let tables = crate::tables::read(sources, columns, diags)?;
    for (row, record) in rows.iter_mut().zip(tables.iter().flat_map(Table::records)) {
        row.about = Some(about(&record));
        if let Ok(values) = &mut row.outcome {
            row.interval = Some((values[1], values[2]));
            values.truncate(1);
        }
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
            interval: None,
        }
    };
    let records: Vec<Record<'_>> = tables.iter().flat_map(Table::records).collect();
    Some(records.par_iter().map(row).collect())
}
