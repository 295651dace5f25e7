//! The keys of `[checkpoint]`, `[failures]` and `[storage]`.

use crate::diag::{
    Count, Decode, Diagnostic, Diagnostics, Finite, List, Name, Node, NonNeg, Plain, Pos, Share, Value, Whole, codes, decode_word,
};
use crate::operations::{FailureClassInput, Mode, Order};
use crate::record;
use crate::units::{Bytes, BytesPerSecond, Date, Seconds};

/// How often checkpoints are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interval {
    /// A time.
    Every(Seconds),
    /// Young's interval.
    Young,
    /// Daly's interval.
    Daly,
    /// The best of simulated runs.
    Auto,
}

impl Decode for Interval {
    type Out = Self;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        const WORDS: &[&str] = &["young", "daly", "auto"];
        let letters = matches!(&node.value, Value::Str(text) if text.trim().starts_with(|c: char| c.is_alphabetic()));
        if letters {
            let of = |word: &str| match word {
                "young" => Some(Self::Young),
                "daly" => Some(Self::Daly),
                "auto" => Some(Self::Auto),
                _ => None,
            };
            return decode_word(node, WORDS, of, diags);
        }
        Pos::<Seconds>::decode(node, diags).map(Self::Every)
    }
    fn describe() -> serde_json::Value {
        serde_json::json!({"oneOf": [{"enum": ["young", "daly", "auto"]}, Pos::<Seconds>::describe()]})
    }
}

impl Decode for Date {
    type Out = Self;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let text = if let Value::Str(text) = &node.value { text.as_str() } else { "" };
        let date = text.parse().ok();
        if date.is_none() {
            diags.push(
                Diagnostic::error(codes::WRONG_TYPE, "this is no day of the calendar")
                    .at(node.span, "here")
                    .hint("write a day in quotes as year-month-day, such as \"2026-03-01\""),
            );
        }
        date
    }
    fn describe() -> serde_json::Value {
        serde_json::json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"})
    }
}

record! {
    /// A place where checkpoints are kept.
    pub struct CheckpointLevelInput {
        /// `host` (memory of the same node), `peer` (memory of another node), or the name of a storage tier.
        pub to: Name,
        /// Every how manyth checkpoint goes there.
        pub every: Count = 1,
        /// Another place of this list that it is copied from, by the servers of both; absent: the nodes write it.
        pub from: Option<Name>,
    }
}

record! {
    /// Checkpoints that hold only what has changed.
    pub struct IncrementalInput {
        /// Every how manyth is whole.
        pub full_every: Count,
        /// Share of the state that changes from one checkpoint to the next.
        pub share: Share,
    }
}

record! {
    /// Reading a checkpoint onto another layout.
    pub struct ReshardInput {
        /// What one process cuts and joins anew; absent: readers fetch the ranges of bytes that they need.
        pub rate: Option<Pos<BytesPerSecond>>,
        /// Tensor-parallel degree of another layout, whose cost of coming back is reported.
        pub tensor: Option<Count>,
        /// Its pipeline stages.
        pub pipeline: Option<Count>,
        /// Its replicas; absent: as many as there is room for.
        pub data: Option<Count>,
    }
}

record! {
    /// Checkpoints of a training run.
    pub struct CheckpointInput {
        /// Work between two checkpoints: a time, `young`, `daly`, or `auto` (the best of simulated runs).
        pub interval: Interval = Interval::Auto,
        /// Whether the job waits until it is written.
        pub mode: Mode = Mode::Async,
        /// Places, each `[[checkpoint.level]]`.
        pub level: List<CheckpointLevelInput>,
        /// What one accelerator copies to pinned host memory; absent: 20 GB/s (pinned PCIe copies of generation 4: 20 to 25 GB/s), over
        /// NVLink-C2C 0.65 of the link (GH200: 297 of 450 GB/s to the host; from memory, unverified).
        pub copy_rate: Option<Pos<BytesPerSecond>>,
        /// What one process serialises; absent: a format without copies.
        pub serialise_rate: Option<Pos<BytesPerSecond>>,
        /// Time for all ranks to meet. Default 0.5 s (0.1 to 1 s).
        pub barrier: NonNeg<Seconds> = Seconds::new(0.5),
        /// Checkpoints kept in the safest place.
        pub retention: Count = 3,
        /// Most hold only what has changed.
        pub incremental: Option<IncrementalInput>,
        /// Reading onto another layout.
        pub reshard: Option<ReshardInput>,
    }
}

record! {
    /// Nodes that fail far more often than others.
    pub struct LemonInput {
        /// How many.
        pub nodes: Count,
        /// How many times as often they fail. Default 10 (Meta RSC).
        pub factor: Finite = 10.0,
        /// Failures of one after which it is taken out; absent: never.
        pub removed_after: Option<Count>,
    }
}

record! {
    /// What fails during a run, and how the job comes back.
    pub struct FailuresInput {
        /// Classes of a published fleet, such as `llama-3-405b` or `fleet-2024`.
        pub preset: Option<Name>,
        /// Classes of your own, each `[[failures.class]]`.
        pub class: List<FailureClassInput> = Vec::new(),
        /// Factor on all rates (new clusters fail twice as often in their first weeks).
        pub factor: Finite = 1.0,
        /// Spread between fleets: the rates of each run are multiplied by a lognormal draw with this sigma (published fleets: 0.5).
        pub fleet_spread: Plain = 0.0,
        /// Time until a failure is noticed. Default 2 min.
        pub detect: NonNeg<Seconds> = Seconds::new(120.0),
        /// Time to diagnose and to swap in a spare node. Default 3 min.
        pub swap: NonNeg<Seconds> = Seconds::new(180.0),
        /// Time to schedule the job, start its processes and build communicators. Default 3 min (1 to 5 min at 10,000 ranks).
        pub restart: NonNeg<Seconds> = Seconds::new(180.0),
        /// Time until steps are as fast as before. Default 1 min.
        pub warm_up: NonNeg<Seconds> = Seconds::new(60.0),
        /// Spare nodes; absent: there is always one.
        pub spares: Option<Whole>,
        /// Mean time to repair a node (with `spares`). Default 24 h.
        pub repair: Option<Pos<Seconds>>,
        /// Spread of repairs: sigma of their logarithm (with `spares`). Default 1.
        pub repair_spread: Option<Plain>,
        /// Whether the job goes on with fewer replicas where no spare is left, until nodes are repaired (with `spares`).
        pub elastic: Option<bool>,
        /// Nodes that fail far more often than others.
        pub lemons: Option<LemonInput>,
    }
}

record! {
    /// Accelerators that only take data and time, as MLPerf Storage has them.
    pub struct EmulateInput {
        /// Accelerators of one host.
        pub accelerators: Count,
        /// Samples of one accelerator and step.
        pub batch: Count,
        /// Compute time of one step.
        pub compute: Pos<Seconds>,
        /// Steps of an epoch.
        pub steps: Count = 500,
        /// Utilisation that counts as sustained (MLPerf: 0.9, cosmoflow 0.7).
        pub target: Share = 0.9,
    }
}

record! {
    /// Where the data lie and how they are read.
    pub struct StorageInput {
        /// Name of the storage tier.
        pub data: Name,
        /// Bytes of a sample; absent: four for each token of a sequence.
        pub sample_bytes: Option<Pos<Bytes>>,
        /// Standard deviation of a sample's bytes over their mean.
        pub sample_spread: Share = 0.0,
        /// Samples in one file.
        pub samples_per_file: Count = 1,
        /// Samples of the data set (needed with `cache`).
        pub samples: Option<Count>,
        /// Order of reading.
        pub order: Order = Order::Random,
        /// Worker processes of each accelerator that reads.
        pub workers: Count = 4,
        /// Batches of each worker that are read or wait.
        pub prefetch: Count = 2,
        /// Core time to decode one sample.
        pub decode: NonNeg<Seconds> = Seconds::new(0.0),
        /// What the hand-over of batches and the loop add to every step.
        pub overhead: NonNeg<Seconds> = Seconds::new(0.0),
        /// Share of host memory that keeps data from one epoch to the next.
        pub cache: Option<Share>,
        /// Storage tier that keeps data from one epoch to the next, as far as they fit: host memory, CXL, drives; instead of `cache`.
        pub cache_tier: Option<Name>,
        /// Whether every host reads the same part of the data in every epoch (with `cache` or `cache_tier`).
        pub sharded: Option<bool>,
        /// Accelerators that only take data and time; instead of a `[training]` table.
        pub emulate: Option<EmulateInput>,
    }
}
