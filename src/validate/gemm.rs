//! Matrix products alone.

use super::table::{Columns, Record};
use crate::diag::codes;
use crate::hardware::{Accelerator, Catalogue};
use crate::kernels::{DeviceModel, GEMM_COLUMNS, Profiles, gemm_of_row};

pub(super) const COLUMNS: Columns = GEMM_COLUMNS;

/// A part of the catalogue by its id.
pub(super) fn part(record: &Record<'_>) -> Result<&'static Accelerator, String> {
    let id = record.text("accelerator");
    Catalogue::embedded().accelerators.get(id).ok_or_else(|| format!("{}: `{id}` is in no catalogue", codes::UNKNOWN_PART.0))
}

pub(super) fn predict(record: &Record<'_>, profiles: &Profiles) -> Result<f64, String> {
    let device = DeviceModel::with(profiles, part(record)?, Some(record.text("framework")));
    let (dtype, g) = gemm_of_row(record)?;
    Ok(1e6 * device.gemm(dtype, g))
}
