//! Kernel profiles: the schema of the files that `orrery calibrate fit` writes and `profile =` reads.

use super::attention::{DecodeConstants, PrefillConstants};
use super::gemm::GemmConstants;
use super::grouped::MoeConstants;
use crate::diag::{Count, Decode, Diagnostic, Diagnostics, Finite, List, Name, Node, NonNeg, Plain, Pos, Text, Value, Whole, codes};
use crate::hardware::Dtype;
use crate::measured::{Above, Bias, CollectiveRow, Estimate, LinkRow, MemoryRow, Quarantined, Stamp, StorageRow};
use crate::units::{FlopsPerSecond, Seconds};
use crate::{choice, record};
use serde_json::{Value as Json, json};

choice! {
    /// Generation of flash-attention kernels.
    pub enum AttentionGeneration {
        /// The first ones, with an added bias (llm-foundry of 2023).
        First = "first",
        /// FlashAttention 2 and what frameworks of 2023 and 2024 call.
        Second = "second",
        /// FlashAttention 3 and vendor libraries.
        Third = "third",
    }
}

record! {
    /// How well an entry predicts shapes that it was not fitted to.
    pub struct Quality {
        /// Measurements.
        pub points: Whole,
        /// Median of the absolute relative error, cross-validated by shape.
        pub median: Plain,
        /// 90th percentile of it.
        pub p90: Plain,
        /// Median of the signed error.
        pub bias: Bias,
    }
}

/// A product that was measured: `[m, n, k, microseconds]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Inner dimension.
    pub k: u64,
    /// Measured seconds.
    pub seconds: f64,
}

impl Decode for Product {
    type Out = Self;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        if let Value::Array(items) = &node.value
            && let [m, n, k, time] = &items[..]
        {
            let [m, n, k] = [m, n, k].map(|x| Count::decode(x, diags));
            let time = Finite::decode(time, diags);
            return Some(Self { m: m?, n: n?, k: k?, seconds: 1e-6 * time? });
        }
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, "a measured product is three sizes and a time")
                .at(node.span, "not [m, n, k, microseconds]")
                .hint("write [4096, 8192, 1024, 131.5]"),
        );
        None
    }
    fn describe() -> Json {
        json!({"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 4, "maxItems": 4})
    }
}

record! {
    /// Measured products of an entry: what they take beside the law of its constants corrects products near them.
    pub struct NearRow {
        /// Distance in the logarithms of m, n and k at which e^-1 of a correction is left.
        pub reach: Finite,
        /// Variance of what a product has for itself, over that of what it shares with its neighbours.
        pub own: Plain,
        /// How well law and neighbours together predict products that were left out one at a time.
        pub quality: Quality,
        /// Products, no shape twice.
        pub products: List<Product>,
    }
}

record! {
    /// Constants of the tile model of matrix products, one number format and library.
    pub struct GemmRow {
        /// Number format.
        pub dtype: Dtype,
        /// Library or engine that was measured.
        pub library: Name,
        /// How well it predicts.
        pub quality: Quality,
        /// Start-up, microseconds.
        pub t0: Above,
        /// Share of the matrix peak that a full tile reaches.
        pub ec: Above,
        /// Microseconds per 256 bytes of the inner dimension of one tile.
        pub kl: Estimate,
        /// Extra microseconds of a split inner dimension (0: never split).
        pub ts: Estimate = Estimate::exact(0.0),
        /// Passes over the input for quantisation, in units of one 16-bit read and one 8-bit write.
        pub cq: Estimate = Estimate::exact(0.0),
        /// Nanoseconds per token row for quantisation.
        pub rq: Estimate = Estimate::exact(0.0),
        /// Share of the memory bandwidth.
        pub em: Above,
        /// Exponent of the soft maximum of compute and memory.
        pub q: Above,
        /// Hardness of wave quantisation: 1 whole waves, 0 none.
        pub w: Estimate,
        /// Passes over the result whose writing nothing hides.
        pub wb: Estimate = Estimate::exact(0.0),
        /// Measured products beside the law.
        pub near: Option<NearRow>,
    }
}

record! {
    /// Constants of causal prefill attention, one format and library.
    pub struct PrefillRow {
        /// Format of the queries.
        pub dtype: Dtype,
        /// Format of keys and values.
        pub kv: Dtype,
        /// Library or engine.
        pub library: Name,
        /// How well it predicts.
        pub quality: Quality,
        /// Start-up, microseconds.
        pub t0: Above,
        /// Share of the matrix peak.
        pub ec: Above,
        /// Share of the memory bandwidth of what is not overlapped.
        pub em: Above,
        /// Weight of the longest block's tail.
        pub lon: Estimate,
        /// Microseconds of one block's start.
        pub tt: Estimate,
        /// Exponent of the soft maximum.
        pub q: Above,
        /// Passes over keys and values for layout and writing.
        pub qk: Estimate,
    }
}

record! {
    /// Constants of decode attention, one format and library.
    pub struct DecodeRow {
        /// Format of keys and values.
        pub kv: Dtype,
        /// Library or engine.
        pub library: Name,
        /// How well it predicts.
        pub quality: Quality,
        /// Start-up, microseconds.
        pub t0: Above,
        /// Share of the memory bandwidth.
        pub em: Above,
        /// Extra microseconds of a split context.
        pub ts: Estimate,
        /// Microseconds of one block's start.
        pub tt: Estimate,
        /// Bandwidth of one block in units of an even share.
        pub bc: Above,
        /// Exponent of the soft maximum.
        pub q: Above,
    }
}

record! {
    /// Constants of a mixture-of-experts layer, one number format, library and kernel.
    pub struct MoeRow {
        /// Number format of the experts.
        pub dtype: Dtype,
        /// Library or engine.
        pub library: Name,
        /// Kernel of the library.
        pub kernel: Name,
        /// How well it predicts.
        pub quality: Quality,
        /// Start-up of the layer, microseconds.
        pub t0: Above,
        /// Share of the matrix peak that a full tile reaches.
        pub ec: Above,
        /// Microseconds per 256 bytes of the inner dimension of one tile.
        pub kl: Estimate,
        /// Share of the memory bandwidth.
        pub em: Above,
        /// Exponent of the soft maximum of compute and memory.
        pub q: Above,
        /// Hardness of wave quantisation.
        pub w: Estimate,
        /// Passes over the assignments for permuting and combining.
        pub cp: Estimate,
        /// Passes over all tokens of the group for routing and quantising.
        pub ct: Estimate,
        /// Microseconds per local expert.
        pub te: Estimate,
    }
}

record! {
    /// Achieved rates of flash attention in training.
    pub struct FlashRow {
        /// Generation of the kernels.
        pub generation: AttentionGeneration,
        /// Share of the 16-bit peak, forward, for long sequences.
        pub forward: Finite,
        /// The same, backward.
        pub backward: Finite,
        /// Length of a causal sequence at which half of it is reached; a plain one, which sees twice as many keys, reaches it at half the length.
        pub half_length: Plain,
        /// The same, backward; absent: as forward.
        pub half_length_backward: Option<Plain>,
        /// Rate with heads of at most 64 over that with 128.
        pub small_head: Finite = 0.85,
        /// The same, backward; absent: as forward.
        pub small_head_backward: Option<Finite>,
    }
}

record! {
    /// What is known of the kernels of one measured part. A list or value that is absent comes from the shipped profiles.
    pub struct Profile {
        /// Part that was measured.
        pub accelerator: Name,
        /// Its generation: parts of it without measurements borrow by data-sheet ratio.
        pub generation: Name,
        /// Where the values come from.
        pub source: Text,
        /// How they came to be; absent: read from tables of other tools.
        pub from: Option<Stamp>,
        /// Share of the memory bandwidth that element-wise kernels reach in training.
        pub memory_efficiency: Option<Finite>,
        /// Gap between two element-wise kernels on the device.
        pub kernel_gap: Option<NonNeg<Seconds>>,
        /// Sustained share of short benchmarks' matrix rate in long training, 16 bit.
        pub sustained_16: Option<Finite>,
        /// The same for 8 and 4 bit.
        pub sustained_8: Option<Finite>,
        /// Rate of one compute unit in products whose matrices do not lie on 16 bytes, for each 16-bit element that one load brings.
        pub unaligned_rate: Option<Pos<FlopsPerSecond>>,
        /// Flash attention in training.
        pub flash: List<FlashRow> = Vec::new(),
        /// Matrix products.
        pub gemm: List<GemmRow> = Vec::new(),
        /// Prefill attention.
        pub prefill: List<PrefillRow> = Vec::new(),
        /// Decode attention.
        pub decode: List<DecodeRow> = Vec::new(),
        /// Mixture-of-experts layers.
        pub moe: List<MoeRow> = Vec::new(),
    }
}

record! {
    /// A profile file.
    pub struct ProfileFile {
        /// Format version.
        pub format: Count = 1,
        /// Kernels of measured parts.
        pub profile: List<Profile> = Vec::new(),
        /// Collectives.
        pub collective: List<CollectiveRow> = Vec::new(),
        /// Copies and messages.
        pub link: List<LinkRow> = Vec::new(),
        /// Memories.
        pub memory: List<MemoryRow> = Vec::new(),
        /// Storage tiers.
        pub storage: List<StorageRow> = Vec::new(),
        /// Measurements that no such part can reach; nothing uses them.
        pub quarantined: List<Quarantined> = Vec::new(),
    }
}

impl GemmRow {
    /// The constants in seconds.
    #[must_use]
    pub fn constants(&self) -> GemmConstants {
        GemmConstants {
            t0: 1e-6 * self.t0.value.value,
            ec: self.ec.value.value,
            kl: 1e-6 * self.kl.value.value,
            ts: 1e-6 * self.ts.value.value,
            cq: self.cq.value.value,
            rq: 1e-9 * self.rq.value.value,
            em: self.em.value.value,
            q: self.q.value.value,
            w: self.w.value.value.min(1.0),
            wb: self.wb.value.value,
        }
    }
}

impl PrefillRow {
    /// The constants in seconds.
    #[must_use]
    pub fn constants(&self) -> PrefillConstants {
        PrefillConstants {
            t0: 1e-6 * self.t0.value.value,
            ec: self.ec.value.value,
            em: self.em.value.value,
            lon: self.lon.value.value,
            tt: 1e-6 * self.tt.value.value,
            q: self.q.value.value,
            qk: self.qk.value.value,
        }
    }
}

impl DecodeRow {
    /// The constants in seconds.
    #[must_use]
    pub fn constants(&self) -> DecodeConstants {
        DecodeConstants {
            t0: 1e-6 * self.t0.value.value,
            em: self.em.value.value,
            ts: 1e-6 * self.ts.value.value,
            tt: 1e-6 * self.tt.value.value,
            bc: self.bc.value.value,
            q: self.q.value.value,
        }
    }
    /// Whether one read of the keys serves all query heads of a group: above 32 query heads per key-value head TensorRT-LLM
    /// falls back to a kernel that reads the keys once per query head.
    #[must_use]
    pub fn shares_keys(library: &str, heads: u64, kv_heads: u64) -> bool {
        !(library.starts_with("trtllm") && heads > kv_heads.saturating_mul(32))
    }
}

impl MoeRow {
    /// The constants in seconds.
    #[must_use]
    pub fn constants(&self) -> MoeConstants {
        MoeConstants {
            gemm: GemmConstants {
                t0: 1e-6 * self.t0.value.value,
                ec: self.ec.value.value,
                kl: 1e-6 * self.kl.value.value,
                ts: 0.0,
                cq: 0.0,
                rq: 0.0,
                em: self.em.value.value,
                q: self.q.value.value,
                w: self.w.value.value.min(1.0),
                wb: 0.0,
            },
            cp: self.cp.value.value,
            ct: self.ct.value.value,
            te: 1e-6 * self.te.value.value,
        }
    }
}
