//! Attention: flash attention of training, prefill and decode of serving.

use super::gemm::{Sheet, soft_max};
use super::profile::{AttentionGeneration, DecodeRow, FlashRow, PrefillRow};

/// Which way a pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Forward.
    Forward,
    /// Backward.
    Backward,
}

/// A causal attention core of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlashAttention {
    /// Sequences.
    pub batch: u64,
    /// Query heads on this rank.
    pub heads: u64,
    /// Tokens of a sequence.
    pub sequence: u64,
    /// Size of a head.
    pub head_dim: u64,
    /// Generation of the kernels.
    pub generation: AttentionGeneration,
}

/// Seconds of flash attention: causal FLOPs at the achieved share of the peak, which grows with the length.
pub(super) fn flash(row: &FlashRow, peak: f64, a: FlashAttention, pass: Pass) -> f64 {
    let (s, d) = (a.sequence as f64, a.head_dim as f64);
    let flops = 2.0 * (a.batch * a.heads) as f64 * s * s * d;
    let small_head = if a.head_dim <= 64 { *row.small_head } else { 1.0 };
    let ramp = s / (s + *row.half_length);
    match pass {
        Pass::Forward => flops / (peak * *row.forward * small_head * ramp),
        Pass::Backward => 2.5 * flops / (peak * *row.backward * small_head * ramp),
    }
}

/// Causal prefill attention of a batch of equal prompts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prefill {
    /// Sequences.
    pub batch: u64,
    /// Tokens of each.
    pub tokens: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Bytes of one element of keys and values.
    pub kv_bytes: f64,
    /// Bytes of one element of queries.
    pub query_bytes: f64,
}

/// Decode attention: one new token a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decode {
    /// Sequences.
    pub batch: u64,
    /// Tokens of context, the new one included.
    pub context: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Bytes of one element of keys and values.
    pub kv_bytes: f64,
    /// Bytes of one element of queries.
    pub query_bytes: f64,
}

/// Seconds of prefill attention at head size 128.
pub(super) fn prefill(row: &PrefillRow, sheet: &Sheet, a: Prefill) -> f64 {
    let (b, s, h, kv) = (a.batch as f64, a.tokens as f64, a.heads as f64, a.kv_heads as f64);
    let mut span = f64::INFINITY;
    for block in [64u64, 128] {
        let nq = a.tokens.div_ceil(block) as f64;
        let blocks = if block == 128 {
            nq * (nq + 1.0) / 2.0
        } else {
            let f = (nq / 2.0).floor();
            f * (f + 1.0) + (nq - 2.0 * f) * (f + 1.0)
        };
        let c = (block * 128 * 4 * 128) as f64 / (sheet.peak / sheet.units * *row.ec);
        let start = 1e-6 * *row.tt;
        let average = b * h * (blocks * c + nq * start) / sheet.units;
        let longest = (nq * block as f64 / 128.0).ceil() * c + start;
        span = span.min(average.max(longest) + *row.lon * average.min(longest));
    }
    let memory = (b * kv * s * 256.0 * a.kv_bytes + b * h * s * 128.0 * (2.0 + a.query_bytes)) / (sheet.bandwidth * *row.em);
    1e-6 * *row.t0 + *row.qk * 3.0 * b * kv * s * 256.0 / sheet.bandwidth + soft_max(span, memory, *row.q)
}

/// Seconds of decode attention at head size 128.
pub(super) fn decode(row: &DecodeRow, sheet: &Sheet, a: Decode) -> f64 {
    // Above 32 query heads per key-value head TensorRT-LLM falls back to a kernel that reads the keys once per query head.
    let shared = !(row.library.starts_with("trtllm") && a.heads > 32 * a.kv_heads);
    let kv = if shared { a.kv_heads } else { a.heads } as f64;
    let (b, h, l) = (a.batch as f64, a.heads as f64, a.context as f64);
    let memory = (b * kv * l * 256.0 * a.kv_bytes + b * h * 128.0 * (2.0 + a.query_bytes)) / (sheet.bandwidth * *row.em);
    let mut best = f64::INFINITY;
    for s in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0] {
        if s > 1.0 && l / s < 64.0 {
            break;
        }
        let waves = (b * kv * s / sheet.units).ceil();
        let block = (l / s).ceil() * 256.0 * a.kv_bytes / (sheet.bandwidth / sheet.units * *row.bc) + 1e-6 * *row.tt;
        let mut core = soft_max(waves * block, memory, *row.q);
        if s > 1.0 {
            core += 1e-6 * *row.ts + s * b * h * 1024.0 / sheet.bandwidth;
        }
        best = best.min(core);
    }
    1e-6 * *row.t0 + best
}
