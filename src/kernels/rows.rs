//! Rows of kernel tables as shapes: what is fitted and what is predicted are read alike.

use super::attention::{AttentionForm, Decode, Prefill};
use super::gemm::Gemm;
use super::grouped::{Balance, Moe};
use crate::hardware::{Accelerator, Catalogue, Dtype};
use crate::tables::{Columns, Record};

/// Columns of tables of matrix products.
pub const GEMM_COLUMNS: Columns =
    Columns { needed: &["id", "source", "framework", "accelerator", "m", "n", "k", "dtype"], measured: &["time_us"] };

/// Columns of tables of attention kernels.
pub const ATTENTION_COLUMNS: Columns = Columns {
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

/// Columns of tables of mixture-of-experts layers.
pub const MOE_COLUMNS: Columns = Columns {
    needed: &[
        "id",
        "source",
        "framework",
        "accelerator",
        "kernel",
        "dtype",
        "tokens",
        "hidden",
        "inner",
        "top_k",
        "experts",
        "tensor_parallel",
        "expert_parallel",
        "distribution",
    ],
    measured: &["time_us"],
};

/// The part of a row.
///
/// # Errors
/// When no catalogue has it.
pub fn part_of_row(record: &Record<'_>) -> Result<&'static Accelerator, String> {
    let id = record.text("accelerator");
    Catalogue::embedded().accelerators.get(id).ok_or_else(|| format!("`{id}` is in no catalogue"))
}

fn format(record: &Record<'_>, column: &str) -> Result<Dtype, String> {
    let word = record.text(column);
    Dtype::from_word(word).ok_or_else(|| format!("the number format `{word}` is unknown"))
}

fn with_path(record: &Record<'_>, dtype: Dtype) -> Result<Dtype, String> {
    let part = part_of_row(record)?;
    if part.peak.of(dtype).is_some() { Ok(dtype) } else { Err(format!("`{}` has no matrix path for {dtype}", *part.id)) }
}

/// A matrix product with its number format.
///
/// # Errors
/// Why the row is none.
pub fn gemm_of_row(r: &Record<'_>) -> Result<(Dtype, Gemm), String> {
    let dtype = with_path(r, format(r, "dtype")?)?;
    Ok((dtype, Gemm { m: r.count("m")?, n: r.count("n")?, k: r.count("k")?, batch: 1, output_bytes: 2.0 }))
}

/// One attention call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AttentionCall {
    /// A prompt or a part of one.
    Prefill(Prefill),
    /// New tokens on a context.
    Decode(Decode),
}

/// An attention call with the formats of queries and of keys and values.
///
/// # Errors
/// Why the row is none.
pub fn attention_of_row(r: &Record<'_>) -> Result<(Dtype, Dtype, AttentionCall, AttentionForm), String> {
    let (query, kv) = (format(r, "dtype")?, format(r, "kv_dtype")?);
    let (batch, heads, kv_heads) = (r.count("batch")?, r.count("q_heads")?, r.count("kv_heads")?);
    let (tokens, context, size) = (r.count("new_tokens")?, r.count("context_tokens")?, r.count("head_dim")?);
    let (kv_bytes, query_bytes) = (kv.bytes(), query.bytes());
    let form = AttentionForm { key_dim: size, value_dim: size, ..AttentionForm::default() };
    if tokens > context || kv_heads > heads {
        return Err("more new tokens than context, or more key-value heads than query heads".into());
    }
    match r.text("phase") {
        "prefill" => {
            let call = AttentionCall::Prefill(Prefill { batch, tokens, heads, kv_heads, kv_bytes, query_bytes });
            Ok((query, kv, call, AttentionForm { prefix: context - tokens, ..form }))
        }
        "decode" => {
            let call = AttentionCall::Decode(Decode { batch, context, heads, kv_heads, kv_bytes, query_bytes });
            Ok((query, kv, call, AttentionForm { queries: tokens, ..form }))
        }
        other => Err(format!("the phase `{other}` is unknown")),
    }
}

/// A mixture-of-experts layer with its number format.
///
/// # Errors
/// Why the row is none.
pub fn moe_of_row(r: &Record<'_>) -> Result<(Dtype, Moe), String> {
    let dtype = with_path(r, format(r, "dtype")?)?;
    let balance = match r.text("distribution") {
        "balanced" => Balance::Even,
        text => match text.strip_prefix("power_law_").and_then(|a| a.parse::<f64>().ok()) {
            Some(alpha) if alpha > 0.0 && alpha < 10.0 => Balance::PowerLaw(alpha),
            _ => return Err(format!("the distribution `{text}` is unknown")),
        },
    };
    let moe = Moe {
        tokens: r.count("tokens")?,
        hidden: r.count("hidden")?,
        inner: r.count("inner")?.div_ceil(r.count("tensor_parallel")?),
        gated: !r.text("kernel").contains("nongated"),
        top_k: r.count("top_k")?,
        experts: r.count("experts")?,
        expert_parallel: r.count("expert_parallel")?,
        balance,
    };
    if moe.top_k > moe.experts || moe.expert_parallel > moe.experts || moe.experts > 1 << 16 {
        return Err("more experts of a token or more expert ranks than experts, or more than 65,536 experts".into());
    }
    Ok((dtype, moe))
}
