//! Attention: flash attention of training, prefill and decode of serving, latent attention.

use super::gemm::{Sheet, soft_max};
use super::profile::{AttentionGeneration, FlashRow};

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

/// Head size that kernels compute with: filled up to steps of 32 (FlashAttention 2, `static_switch.h`), to powers of two where kernels are
/// written in Triton (the first ones with a bias, `flash_attn_triton.py`).
const fn filled(dim: u64, generation: AttentionGeneration) -> u64 {
    match generation {
        AttentionGeneration::First => dim.next_power_of_two(),
        AttentionGeneration::Second | AttentionGeneration::Third => dim.next_multiple_of(32),
    }
}

/// Seconds of flash attention: causal FLOPs at the achieved share of the peak, which grows with the length.
pub(super) fn flash(row: &FlashRow, peak: f64, a: FlashAttention, form: AttentionForm, pass: Pass) -> f64 {
    let s = a.sequence as f64;
    // Pairs of a query and a key: half the square or all of it, less what the window cuts off.
    let seen = form.window.map_or(s, |w| (w.min(a.sequence)) as f64);
    let pairs = if form.causal { seen * (s - 0.5 * seen) } else { seen * s };
    let dims = filled(form.key_dim, a.generation) + filled(form.value_dim, a.generation);
    let flops = 2.0 * (a.batch * a.heads) as f64 * pairs * dims as f64;
    // Kernels walk over the keys of a query: what they reach depends on how many there are, whatever masks the others.
    let length = 2.0 * pairs / s;
    let (work, rate, half, small) = match pass {
        Pass::Forward => (flops, *row.forward, *row.half_length, *row.small_head),
        Pass::Backward => (
            2.5 * flops,
            *row.backward,
            row.half_length_backward.unwrap_or(*row.half_length),
            row.small_head_backward.map_or(*row.small_head, |v| v),
        ),
    };
    let small = if a.head_dim <= 64 { small } else { 1.0 };
    work * (length + half) / (peak * rate * small * length)
}

/// Scores for which one compute unit draws random numbers in a second inside fused attention, forward and backward: BERT's kernels with
/// dropout (512 tokens, heads of 64) take 61 and 34 µs longer for 67 M scores than the same without on an H100, 62 and 41 on an H200.
const DRAWS: [f64; 2] = [8.3e9, 13.5e9];

/// Seconds that dropout of so many scores adds to fused attention on so many compute units of a graphics processor.
pub(super) fn dropout(scores: f64, units: f64, pass: Pass) -> f64 {
    scores / (units * DRAWS[pass as usize])
}

/// What else there is to know of an attention call; the default is causal, head size 128, no cached prefix, no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionForm {
    /// Size of a head in queries and keys.
    pub key_dim: u64,
    /// Size of a head in values.
    pub value_dim: u64,
    /// Tokens that are in the cache before the new ones (prefill).
    pub prefix: u64,
    /// Sliding window: how many of the latest tokens a query sees.
    pub window: Option<u64>,
    /// New tokens of a sequence in one decode step (speculation).
    pub queries: u64,
    /// Whether a query sees no later key.
    pub causal: bool,
}

impl Default for AttentionForm {
    fn default() -> Self {
        Self { key_dim: 128, value_dim: 128, prefix: 0, window: None, queries: 1, causal: true }
    }
}

/// Causal prefill attention of a batch of equal prompts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prefill {
    /// Sequences.
    pub batch: u64,
    /// New tokens of each.
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

/// Decode of multi-head latent attention with absorbed projections: all heads read one latent vector per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentDecode {
    /// Sequences.
    pub batch: u64,
    /// Tokens of context, the new ones included.
    pub context: u64,
    /// Query heads on this rank.
    pub heads: u64,
    /// New tokens of a sequence in one step.
    pub queries: u64,
    /// Width of the latent vector (512 in DeepSeek-V3).
    pub latent: u64,
    /// Width of the rotary part beside it (64).
    pub rope: u64,
    /// Bytes of one cached element.
    pub kv_bytes: f64,
}

/// Constants of prefill attention, seconds and shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillConstants {
    /// Start-up, seconds.
    pub t0: f64,
    /// Share of the matrix peak.
    pub ec: f64,
    /// Share of the memory bandwidth of what is not overlapped.
    pub em: f64,
    /// Weight of the longest block's tail.
    pub lon: f64,
    /// Seconds of one block's start.
    pub tt: f64,
    /// Exponent of the soft maximum.
    pub q: f64,
    /// Passes over keys and values for layout and writing.
    pub qk: f64,
}

/// Key blocks that the query blocks of one head see: `rows` query blocks, `per` of them to one key block, `before` key
/// blocks cached, at most `most` seen by one.
fn key_blocks(rows: f64, per: f64, before: f64, most: f64) -> f64 {
    let triangle = |n: f64| {
        let full = (n / per).floor();
        per * full * (full + 1.0) / 2.0 + (n - per * full) * (full + 1.0)
    };
    let growing = (per * (most - before)).clamp(0.0, rows);
    let capped = rows - growing;
    growing * before + triangle(growing) + if capped > 0.0 { capped * most } else { 0.0 }
}

impl PrefillConstants {
    /// Seconds of one call.
    #[must_use]
    pub fn time(&self, sheet: &Sheet, a: Prefill, form: AttentionForm) -> f64 {
        let (b, s, h, kv) = (a.batch as f64, a.tokens as f64, a.heads as f64, a.kv_heads as f64);
        let width = (form.key_dim + form.value_dim) as f64;
        let (before, most) = (form.prefix.div_ceil(128) as f64, form.window.map_or(f64::INFINITY, |w| w.div_ceil(128) as f64 + 1.0));
        let all = (form.prefix.saturating_add(a.tokens)).div_ceil(128) as f64;
        let mut span = f64::INFINITY;
        for block in [64u64, 128] {
            let nq = a.tokens.div_ceil(block) as f64;
            let per = 128.0 / block as f64;
            let blocks = if form.causal { key_blocks(nq, per, before.min(most), most) } else { nq * all.min(most) };
            let c = (block * 128) as f64 * 2.0 * width / (sheet.peak / sheet.units * self.ec);
            let average = b * h * (blocks * c + nq * self.tt) / sheet.units;
            let longest = ((nq * block as f64 / 128.0).ceil() + before).min(most) * c + self.tt;
            span = span.min(average.max(longest) + self.lon * average.min(longest));
        }
        let seen = form.window.map_or(form.prefix as f64, |w| (form.prefix.min(w)) as f64) + s;
        let keys = b * kv * seen * width * a.kv_bytes;
        let rows = b * h * s * (2.0 * form.value_dim as f64 + a.query_bytes * form.key_dim as f64);
        let memory = (keys + rows) / (sheet.bandwidth * self.em);
        self.t0 + self.qk * 3.0 * b * kv * s * width / sheet.bandwidth + soft_max(span, memory, self.q)
    }
}

/// Constants of decode attention, seconds and shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeConstants {
    /// Start-up, seconds.
    pub t0: f64,
    /// Share of the memory bandwidth.
    pub em: f64,
    /// Extra seconds of a split context.
    pub ts: f64,
    /// Seconds of one block's start.
    pub tt: f64,
    /// Bandwidth of one block in units of an even share.
    pub bc: f64,
    /// Exponent of the soft maximum.
    pub q: f64,
}

/// Share of the 16-bit matrix peak that absorbed latent attention reaches when compute bounds it: 660 of 989 TFLOP/s (FlashMLA's
/// published figure on H800).
const LATENT_COMPUTE: f64 = 0.67;

impl DecodeConstants {
    /// Seconds of one call. `shared` says whether one read of the keys serves all query heads of a group.
    #[must_use]
    pub fn time(&self, sheet: &Sheet, a: Decode, form: AttentionForm, shared: bool) -> f64 {
        let kv = if shared { a.kv_heads } else { a.heads } as f64;
        let (b, h) = (a.batch as f64, (a.heads * form.queries) as f64);
        let l = form.window.map_or(a.context, |w| a.context.min(w.saturating_add(form.queries - 1))) as f64;
        let token = (form.key_dim + form.value_dim) as f64 * a.kv_bytes;
        let rows = b * h * (2.0 * form.value_dim as f64 + a.query_bytes * form.key_dim as f64);
        let memory = (b * kv * l * token + rows) / (sheet.bandwidth * self.em);
        self.t0 + self.best(sheet, b * kv, l, token, memory, 8.0 * b * h * form.value_dim as f64)
    }

    /// The best split of the context: `units` independent reads of `l` tokens, `partial` bytes written and read per split.
    fn best(&self, sheet: &Sheet, units: f64, l: f64, token: f64, memory: f64, partial: f64) -> f64 {
        let mut best = f64::INFINITY;
        for s in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0] {
            if s > 1.0 && l / s < 64.0 {
                break;
            }
            let waves = (units * s / sheet.units).ceil();
            let block = (l / s).ceil() * token / (sheet.bandwidth / sheet.units * self.bc) + self.tt;
            let extra = if s > 1.0 { self.ts + s * partial / sheet.bandwidth } else { 0.0 };
            best = best.min(soft_max(waves * block, memory, self.q) + extra);
        }
        best
    }

    /// Seconds of absorbed latent attention: the latent is read once for keys and values, and the products of many heads
    /// with it may bound the time.
    #[must_use]
    pub fn latent(&self, sheet: &Sheet, a: LatentDecode) -> f64 {
        let (b, h, l) = (a.batch as f64, (a.heads * a.queries) as f64, a.context as f64);
        let width = (a.latent + a.rope) as f64;
        let rows = b * h * 2.0 * (width + a.latent as f64);
        let memory = (b * l * width * a.kv_bytes + rows) / (sheet.bandwidth * self.em);
        // Tiles of 64 query rows work on one sequence side by side.
        let groups = (h / 64.0).ceil();
        let core = self.best(sheet, b * groups, l, width * a.kv_bytes, memory, 8.0 * b * h * a.latent as f64);
        let flops = 2.0 * b * 64.0 * groups * l * (width + a.latent as f64);
        self.t0 + soft_max(core, flops / (sheet.peak * LATENT_COMPUTE), self.q.max(2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Catalogue;
    use crate::kernels::DeviceModel;

    /// Pairs by hand: a window of w of s tokens leaves w (s − w/2) causal ones, w s plain ones; what kernels reach goes with the keys of a query.
    #[test]
    fn windows_and_head_sizes_by_hand() {
        let h100 = DeviceModel::new(&Catalogue::embedded().accelerators["h100-sxm"], None);
        let call = |sequence, head_dim, window, causal| {
            let a = FlashAttention { batch: 2, heads: 8, sequence, head_dim, generation: AttentionGeneration::Third };
            let form = AttentionForm { key_dim: head_dim, value_dim: head_dim, window, causal, ..AttentionForm::default() };
            h100.flash_attention_form(a, form, Pass::Forward)
        };
        let want = |pairs: f64, s: f64| pairs * (2.0 * pairs / s + 420.0) / (2.0 * pairs / s);
        let (full, near) = (call(8192, 128, None, true), call(8192, 128, Some(128), true));
        assert!((near / full - want(128.0 * 8128.0, 8192.0) / want(4096.0 * 8192.0, 8192.0)).abs() < 1e-9);
        // A window costs more than its share of the pairs: kernels walk over few keys at a time.
        assert!(near / full > 2.0 * 128.0 / 8192.0);
        let (plain, near) = (call(4096, 128, None, false), call(4096, 128, Some(1024), false));
        assert!((near / plain - want(1024.0 * 4096.0, 4096.0) / want(4096.0 * 4096.0, 4096.0)).abs() < 1e-9);
        assert_eq!(call(1024, 72, None, true), call(1024, 96, None, true));
    }

    /// Backward kernels of cuDNN with windows on a consumer part (cudnn-frontend, pull request 505), shares of the whole causal call: Hopper's
    /// constants come within a quarter of them, the share of the pairs to half.
    #[test]
    fn windows_as_published() {
        let h100 = DeviceModel::new(&Catalogue::embedded().accelerators["h100-sxm"], None);
        let call = |sequence, window| {
            let a = FlashAttention { batch: 1, heads: 16, sequence, head_dim: 64, generation: AttentionGeneration::Third };
            let form = AttentionForm { key_dim: 64, value_dim: 64, window, ..AttentionForm::default() };
            h100.flash_attention_form(a, form, Pass::Backward)
        };
        for (tokens, window, share) in [(4096, 512, 0.306), (4096, 1024, 0.496), (16384, 512, 0.123), (16384, 1024, 0.181)] {
            let got = call(tokens, Some(window)) / call(tokens, None);
            let pairs = window as f64 * (tokens as f64 - 0.5 * window as f64) / (0.5 * (tokens * tokens) as f64);
            assert!(got > pairs && (got / share - 1.0).abs() < 0.25, "{tokens} {window}: {got} against {share}, pairs {pairs}");
        }
    }
}
