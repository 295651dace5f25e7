//! Kernel profiles: the schema, the embedded file, and which profile serves which generation.

use crate::diag::{Decode as _, Diagnostics, Finite, List, Name, Node, NonNeg, Plain, Style, Text, render};
use crate::hardware::Dtype;
use crate::units::Seconds;
use crate::{choice, record};
use std::sync::OnceLock;

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
    /// Constants of the tile model of matrix products, one number format and library.
    pub struct GemmRow {
        /// Number format.
        pub dtype: Dtype,
        /// Library or engine that was measured.
        pub library: Name,
        /// Start-up, microseconds.
        pub t0: Finite,
        /// Share of the matrix peak that a full tile reaches.
        pub ec: Finite,
        /// Microseconds per 256 bytes of the inner dimension of one tile.
        pub kl: Plain,
        /// Extra microseconds of a split inner dimension (0: never split).
        pub ts: Plain,
        /// Passes over the input for quantisation, in units of one 16-bit read and one 8-bit write.
        pub cq: Plain,
        /// Nanoseconds per token row for quantisation.
        pub rq: Plain,
        /// Share of the memory bandwidth.
        pub em: Finite,
        /// Exponent of the soft maximum of compute and memory.
        pub q: Finite,
        /// Hardness of wave quantisation: 1 whole waves, 0 none.
        pub w: Plain,
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
        /// Start-up, microseconds.
        pub t0: Finite,
        /// Share of the matrix peak.
        pub ec: Finite,
        /// Share of the memory bandwidth of what is not overlapped.
        pub em: Finite,
        /// Weight of the longest block's tail.
        pub lon: Finite,
        /// Microseconds of one block's start.
        pub tt: Finite,
        /// Exponent of the soft maximum.
        pub q: Finite,
        /// Passes over keys and values for layout and writing.
        pub qk: Plain,
    }
}

record! {
    /// Constants of decode attention, one format and library.
    pub struct DecodeRow {
        /// Format of keys and values.
        pub kv: Dtype,
        /// Library or engine.
        pub library: Name,
        /// Start-up, microseconds.
        pub t0: Finite,
        /// Share of the memory bandwidth.
        pub em: Finite,
        /// Extra microseconds of a split context.
        pub ts: Finite,
        /// Microseconds of one block's start.
        pub tt: Finite,
        /// Bandwidth of one block in units of an even share.
        pub bc: Finite,
        /// Exponent of the soft maximum.
        pub q: Finite,
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
        /// Sequence length at which half of it is reached.
        pub half_length: Plain,
        /// Rate with heads of at most 64 over that with 128.
        pub small_head: Finite = 0.85,
    }
}

record! {
    /// The kernel profile of a generation.
    pub struct Profile {
        /// Generation that it serves.
        pub generation: Name,
        /// Part that was measured.
        pub reference: Name,
        /// Share of the memory bandwidth that element-wise kernels reach in training.
        pub memory_efficiency: Finite,
        /// Gap between two element-wise kernels on the device.
        pub kernel_gap: NonNeg<Seconds>,
        /// Sustained share of short benchmarks' matrix rate in long training, 16 bit.
        pub sustained_16: Finite,
        /// The same for 8 and 4 bit.
        pub sustained_8: Finite,
        /// Where the values come from.
        pub source: Text,
        /// Flash attention in training.
        pub flash: List<FlashRow>,
        /// Matrix products.
        pub gemm: List<GemmRow>,
        /// Prefill attention.
        pub prefill: List<PrefillRow>,
        /// Decode attention.
        pub decode: List<DecodeRow>,
    }
}

record! {
    /// The profiles file.
    pub struct ProfileFile {
        /// Profiles.
        pub profile: List<Profile>,
    }
}

fn embedded() -> &'static [Profile] {
    static PROFILES: OnceLock<Vec<Profile>> = OnceLock::new();
    PROFILES.get_or_init(|| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("kernels/profiles.toml", include_str!("profiles.toml"));
        let file = Node::parse(source, &mut diags).and_then(|node| ProfileFile::decode(&node, &mut diags));
        let Some(file) = file else { panic!("the embedded kernel profiles are faulty:\n{}", render(&diags, Style::Plain)) };
        file.profile.value.into_iter().map(|p| p.value).collect()
    })
}

/// The profile of a generation, and whether it is borrowed from a neighbour.
///
/// Ampere serves older NVIDIA parts and chips of another kind; Hopper serves Ada,
/// Gaudi and Trainium, TPU v5e the other TPUs, CDNA 3 the other AMD parts, whose own measurements are not in yet.
pub(super) fn profile_of(generation: &str) -> (&'static Profile, bool) {
    let all = embedded();
    if let Some(own) = all.iter().find(|p| p.generation.value == generation) {
        return (own, false);
    }
    let hopper = ["ada", "gaudi", "neuron"].iter().any(|p| generation.starts_with(p));
    let name = match generation {
        g if g.starts_with("tpu") => "tpu-v5e",
        g if g.starts_with("cdna") => "cdna3",
        _ if hopper => "hopper",
        _ => "ampere",
    };
    (all.iter().find(|p| p.generation.value == name).unwrap_or(&all[0]), true)
}
