//! Attention kernels of serving, prefill and decode.

use super::gemm::part;
use super::table::{Columns, Record};
use crate::kernels::{ATTENTION_COLUMNS, AttentionCall, DeviceModel, attention_of_row};

pub(super) const COLUMNS: Columns = ATTENTION_COLUMNS;

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    let device = DeviceModel::new(part(record)?, Some(record.text("framework")));
    let (query, kv, call, form) = attention_of_row(record)?;
    let seconds = match call {
        AttentionCall::Prefill(a) => device.prefill_form(query, kv, a, form),
        AttentionCall::Decode(a) => device.decode_form(kv, a, form),
    }?;
    Ok(1e6 * seconds)
}
