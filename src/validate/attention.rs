//! Attention kernels of serving, prefill and decode.

use super::gemm::{dtype, part};
use super::table::{Columns, Record};
use crate::kernels::{Decode, DeviceModel, Prefill};

pub(super) const COLUMNS: Columns = Columns {
    needed: &[
        "id",
        "source",
        "framework",
        "accelerator",
        "phase",
        "batch",
        "new_tokens",
        "context_tokens",
        "q_heads",
        "kv_heads",
        "head_dim",
        "dtype",
        "kv_dtype",
    ],
    measured: &["time_us"],
};

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    let part = part(record)?;
    if record.count("head_dim")? != 128 {
        return Err("only a head size of 128 was measured".into());
    }
    let (query, kv) = (dtype(record.text("dtype"))?, dtype(record.text("kv_dtype"))?);
    let device = DeviceModel::new(part, Some(record.text("framework")));
    let (batch, heads, kv_heads) = (record.count("batch")?, record.count("q_heads")?, record.count("kv_heads")?);
    let (tokens, context) = (record.count("new_tokens")?, record.count("context_tokens")?);
    let (kv_bytes, query_bytes) = (kv.bytes(), query.bytes());
    let seconds = match record.text("phase") {
        "prefill" if tokens == context => device.prefill(query, kv, Prefill { batch, tokens, heads, kv_heads, kv_bytes, query_bytes }),
        "prefill" => Err("prefill after a cached prefix is not modelled yet".into()),
        "decode" if tokens == 1 => device.decode(kv, Decode { batch, context, heads, kv_heads, kv_bytes, query_bytes }),
        "decode" => Err("decode of several tokens at once is not modelled yet".into()),
        other => Err(format!("the phase `{other}` is unknown")),
    }?;
    Ok(1e6 * seconds)
}
