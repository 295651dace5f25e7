//! Tables of `[serving]` beside one engine: engines of prompts, tiers of cached prompts, engines that come and go, adapters.

use super::input::{BatchingInput, CachePrecision, ServingParallelInput, ServingPrecision, SloInput, TrafficInput};
use crate::diag::{Count, Finite, Name, NonNeg, Plain, Pos, Share, Whole};
use crate::model::ModelInput;
use crate::serving::Measure;
use crate::units::{Bytes, Seconds};
use crate::{choice, record};

choice! {
    /// When keys and values are sent to the engine that decodes.
    pub enum TransferInput {
        /// Layer by layer while the prompt runs.
        Layers = "layers",
        /// When the prompt is through.
        Whole = "whole",
    }
}

choice! {
    /// What becomes of a request that is put back for want of cache blocks.
    pub enum PreemptionInput {
        /// All its tokens are computed again.
        Recompute = "recompute",
        /// Its keys and values go to host memory and come back.
        Swap = "swap",
    }
}

record! {
    /// Requests of two priorities.
    pub struct PriorityInput {
        /// Share of the requests, drawn at random, that go before all others.
        pub urgent: Share,
    }
}

record! {
    /// Engines of their own for prompts.
    pub struct PrefillInput {
        /// Groups of `tensor` ranks over which every prompt is spread (context parallelism).
        pub context: Count = 1,
        /// How an engine lies on accelerators.
        pub parallel: ServingParallelInput,
        /// Most tokens of an iteration, instead of those of the launch script.
        pub max_tokens: Option<Count>,
        /// Most prompts that run at the same time.
        pub max_sequences: Option<Count>,
        /// Blocks of the cache; absent: what memory leaves.
        pub kv_blocks: Option<Count>,
        /// When keys and values are sent to the engine that decodes.
        pub transfer: TransferInput = TransferInput::Layers,
    }
}

record! {
    /// Where cached prompts go beside device memory.
    pub struct OffloadInput {
        /// A storage tier of the topology, or `host` for host memory.
        pub tier: Name,
        /// Bytes of it: of every node for host memory and local drives, else of all nodes together.
        pub capacity: Pos<Bytes>,
    }
}

choice! {
    /// Engines of one kind.
    pub enum ScaledInput {
        /// Those of prompts.
        Prompts = "prompts",
        /// Those that decode.
        Decodes = "decodes",
    }
}

record! {
    /// Number of engines by load.
    pub struct ScalingInput {
        /// Which engines, where those of prompts are apart; absent: those that decode.
        pub engines: Option<ScaledInput>,
        /// Engines at the start, and the fewest; the most is `parallel.replicas`.
        pub least: Count = 1,
        /// What is measured.
        pub measure: Measure = Measure::Queue,
        /// Time between two looks.
        pub interval: Pos<Seconds> = Seconds::new(15.0),
        /// Above this one more engine is started.
        pub above: Finite,
        /// Below this, `patience` looks in a row, one is emptied and stopped.
        pub below: Plain = 0.0,
        /// Looks below before one is stopped.
        pub patience: Count = 4,
    }
}

record! {
    /// What it takes until a started engine serves.
    pub struct StartInput {
        /// Machine, image and processes.
        pub boot: NonNeg<Seconds> = Seconds::ZERO,
        /// Storage tier from which weights are read; absent: they are at hand.
        pub weights: Option<Name>,
        /// Compilation, captured graphs, profiling of memory.
        pub warm_up: NonNeg<Seconds> = Seconds::ZERO,
    }
}

record! {
    /// An engine that fails, or a node with all engines that lie on it.
    pub struct EngineFailureInput {
        /// Which engine, from 0.
        pub engine: Option<Whole>,
        /// Which node, from 0, instead of an engine.
        pub node: Option<Whole>,
        /// When.
        pub at: NonNeg<Seconds>,
        /// Time until the router notices: until then it sends requests there.
        pub detection: NonNeg<Seconds> = Seconds::new(10.0),
        /// Time until the engine is started again; absent: never.
        pub repair: Option<Pos<Seconds>>,
    }
}

record! {
    /// Requests that are refused.
    pub struct AdmissionInput {
        /// Requests that wait at an engine before it gets no more.
        pub max_waiting: Count,
    }
}

record! {
    /// Low-rank adapters on all projections.
    pub struct AdaptersInput {
        /// Adapters that requests ask for.
        pub count: Count,
        /// Adapters in device memory; absent: all.
        pub slots: Option<Count>,
        /// Rank.
        pub rank: Count = 16,
    }
}

record! {
    /// Another model on the same cluster.
    pub struct BesideInput {
        /// Its name in the outcome.
        pub name: Name,
        /// Share of the requests of `[serving.traffic]` that are for it; or it has traffic of its own.
        pub share: Option<Share>,
        /// Whether its engines lie on the accelerators of the first model's engines and take turns with them, instead of behind them.
        pub shared: bool = false,
        /// Engine with the settings of a launch script.
        pub engine: Name = "vllm".into(),
        /// Number format of weights and matrix products.
        pub precision: ServingPrecision = ServingPrecision::Bf16,
        /// Number format of the attention projections, where it differs.
        pub attention_precision: Option<ServingPrecision>,
        /// Number format of keys and values.
        pub kv_precision: CachePrecision = CachePrecision::Bf16,
        /// What is served.
        pub model: ModelInput,
        /// How an engine lies on accelerators; `replicas` absent: one engine, or with `shared` as many as fit.
        pub parallel: Option<ServingParallelInput>,
        /// Settings of the engine.
        pub batching: Option<BatchingInput>,
        /// Requests of its own, beside `[serving.traffic]`.
        pub traffic: Option<TrafficInput>,
        /// What a request for it has to meet, instead of `[serving.slo]`.
        pub slo: Option<SloInput>,
    }
}
