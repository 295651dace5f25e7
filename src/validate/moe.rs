//! Mixture-of-experts layers of serving engines.

use super::gemm::part;
use super::table::{Columns, Record};
use crate::kernels::{DeviceModel, MOE_COLUMNS, moe_of_row};

pub(super) const COLUMNS: Columns = MOE_COLUMNS;

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    let device = DeviceModel::new(part(record)?, Some(record.text("framework")));
    let (dtype, moe) = moe_of_row(record)?;
    device.moe(dtype, Some(record.text("kernel")), &moe).map(|seconds| 1e6 * seconds)
}
