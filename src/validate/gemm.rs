//! Matrix products alone.

use super::table::{Columns, Record};
use crate::diag::codes;
use crate::hardware::{Accelerator, Catalogue, Dtype};
use crate::kernels::{DeviceModel, Gemm};

pub(super) const COLUMNS: Columns =
    Columns { needed: &["id", "source", "framework", "accelerator", "m", "n", "k", "dtype"], measured: &["time_us"] };

/// A part of the catalogue by its id.
pub(super) fn part(record: &Record<'_>) -> Result<&'static Accelerator, String> {
    let id = record.text("accelerator");
    Catalogue::embedded().accelerators.get(id).ok_or_else(|| format!("{}: `{id}` is in no catalogue", codes::UNKNOWN_PART.0))
}

/// A number format by its word.
pub(super) fn dtype(word: &str) -> Result<Dtype, String> {
    Dtype::from_word(word).ok_or_else(|| format!("the number format `{word}` is unknown"))
}

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    let part = part(record)?;
    let dtype = dtype(record.text("dtype"))?;
    let device = DeviceModel::new(part, Some(record.text("framework")));
    if device.peak(dtype).is_none() {
        return Err(format!("`{}` has no matrix path for {dtype}", *part.id));
    }
    let g = Gemm { m: record.count("m")?, n: record.count("n")?, k: record.count("k")?, batch: 1, output_bytes: 2.0 };
    Ok(1e6 * device.gemm(dtype, g))
}
