//! Tables of `[serving]` beside one engine: engines of prompts, tiers of cached prompts, engines that come and go, adapters.

use super::input::ServingParallelInput;
use crate::diag::{Count, Finite, Name, NonNeg, Plain, Pos, Share, Whole};
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

record! {
    /// Number of engines by load.
    pub struct ScalingInput {
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
    /// An engine that fails.
    pub struct EngineFailureInput {
        /// Which, from 0.
        pub engine: Whole,
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
