//! The `[serving]` table: its keys, types and defaults.

use super::fleet_input::{
    AdaptersInput, AdmissionInput, BesideInput, EngineFailureInput, OffloadInput, PreemptionInput, PrefillInput, PriorityInput,
    ScalingInput, StartInput,
};
use crate::diag::{Count, Decode, Diagnostics, FilePath, Finite, List, Name, Node, NonNeg, Pos, Share, Value, Whole};
use crate::hardware::Dtype;
use crate::model::ModelInput;
use crate::serving::{Batching, Length, RouterPolicy, TraceFormat};
use crate::units::{Bytes, Seconds};
use crate::{choice, record, tagged};

choice! {
    /// Number format of weights and matrix products.
    pub enum ServingPrecision {
        /// bfloat16.
        Bf16 = "bf16",
        /// IEEE half precision.
        Fp16 = "fp16",
        /// 8-bit float, one scale per tensor.
        Fp8 = "fp8",
        /// 8-bit float, scales per block of 128.
        Fp8Block = "fp8-block",
        /// 4-bit float, 16-element block scales.
        Nvfp4 = "nvfp4",
        /// 8-bit integer.
        Int8 = "int8",
        /// Weights alone in 8-bit integers, products in 16 bit.
        W8a16 = "w8a16",
        /// Weights alone in 4-bit integers with group scales (AWQ, GPTQ), products in 16 bit.
        W4a16 = "w4a16",
    }
}

impl ServingPrecision {
    pub(super) const fn dtype(self) -> Dtype {
        match self {
            Self::Bf16 => Dtype::Bf16,
            Self::Fp16 => Dtype::Fp16,
            Self::Fp8 => Dtype::Fp8,
            Self::Fp8Block => Dtype::Fp8Block,
            Self::Nvfp4 => Dtype::Nvfp4,
            Self::Int8 => Dtype::Int8,
            Self::W8a16 => Dtype::W8a16,
            Self::W4a16 => Dtype::W4a16,
        }
    }
}

choice! {
    /// Number format of keys and values.
    pub enum CachePrecision {
        /// bfloat16.
        Bf16 = "bf16",
        /// 8-bit float.
        Fp8 = "fp8",
    }
}

record! {
    /// How an engine lies on accelerators.
    pub struct ServingParallelInput {
        /// Tensor ranks of an engine.
        pub tensor: Count = 1,
        /// Data-parallel attention ranks of an engine, each of `tensor` accelerators with requests of its own, in step with each other.
        pub data: Count = 1,
        /// Ranks of an engine over which experts are spread.
        pub expert: Count = 1,
        /// Copies of experts beside the model's own, spread over the same ranks.
        pub redundant_experts: Whole = 0,
        /// Load of the busiest expert rank over the mean.
        pub imbalance: Finite = 1.0,
        /// Whether a batch runs in two halves, so that one computes while the other's tokens are exchanged.
        pub two_batches: bool = false,
        /// Stages of an engine; as many batches are in flight, each with requests and blocks of its own.
        pub pipeline: Count = 1,
        /// Engines; absent: what the accelerators leave.
        pub replicas: Option<Count>,
    }
}

record! {
    /// Settings of the engine, instead of those of its launch script.
    pub struct BatchingInput {
        /// How batches are formed.
        pub policy: Option<Batching>,
        /// Whether a request is admitted only when the cache can hold it to its last token.
        pub reserve_output: Option<bool>,
        /// Most tokens of an iteration.
        pub max_tokens: Option<Count>,
        /// Most requests that run at the same time.
        pub max_sequences: Option<Count>,
        /// Tokens of a cache block.
        pub block_tokens: Option<Count>,
        /// Blocks of the cache; absent: what memory leaves.
        pub kv_blocks: Option<Count>,
        /// Share of the memory that the engine takes.
        pub memory_share: Option<Share>,
        /// What becomes of a request that is put back for want of blocks.
        pub preemption: Option<PreemptionInput>,
        /// Activations, graphs and buffers.
        pub workspace: Option<NonNeg<Bytes>>,
        /// Host time of an iteration that the device waits for.
        pub host_iteration: Option<NonNeg<Seconds>>,
        /// Host time of one sequence in an iteration.
        pub host_sequence: Option<NonNeg<Seconds>>,
        /// Iterations that prompts wait for company while decodes run.
        pub wait_iterations: Option<Count>,
        /// Share of the token budget that ends the wait.
        pub wait_share: Option<Share>,
        /// Decode iterations between two looks at arrived requests.
        pub read_interval: Option<Count>,
    }
}

record! {
    /// Lengths between two bounds, all equally likely.
    pub struct UniformInput {
        /// Least length.
        pub least: Count,
        /// Greatest length.
        pub most: Count,
    }
}

record! {
    /// Log-normal lengths.
    pub struct LogNormalInput {
        /// Mean.
        pub mean: Count,
        /// Standard deviation over mean.
        pub cv: Finite,
        /// Greatest length.
        pub most: Count,
    }
}

tagged! {
    /// A distribution of lengths.
    pub enum SpreadInput by kind {
        /// Between two bounds.
        Uniform(UniformInput) = "uniform",
        /// Log-normal.
        LogNormal(LogNormalInput) = "lognormal",
    }
}

/// A length in tokens: a number, or a distribution.
#[derive(Debug, Clone, Copy)]
pub struct LengthInput;

impl Decode for LengthInput {
    type Out = Length;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Length> {
        if !matches!(node.value, Value::Table(_)) {
            return Count::decode(node, diags).map(Length::Fixed);
        }
        Some(match SpreadInput::decode(node, diags)? {
            SpreadInput::Uniform(u) => Length::Uniform(*u.least, *u.most),
            SpreadInput::LogNormal(l) => Length::LogNormal { mean: *l.mean as f64, cv: *l.cv, most: *l.most },
        })
    }
    fn describe() -> serde_json::Value {
        serde_json::json!({"oneOf": [Count::describe(), SpreadInput::describe()]})
    }
}

record! {
    /// Independent arrivals.
    pub struct PoissonInput {
        /// Requests per second.
        pub requests_per_s: Finite,
        /// Requests.
        pub requests: Count,
        /// Prompt tokens.
        pub input: LengthInput,
        /// Answer tokens.
        pub output: LengthInput,
        /// Tokens that all prompts begin with.
        pub common_prefix: Whole = 0,
    }
}

record! {
    /// Arrivals with gamma-distributed gaps.
    pub struct GammaInput {
        /// Requests per second.
        pub requests_per_s: Finite,
        /// Standard deviation of the gaps over their mean (1: Poisson).
        pub cv: Finite,
        /// Requests.
        pub requests: Count,
        /// Prompt tokens.
        pub input: LengthInput,
        /// Answer tokens.
        pub output: LengthInput,
        /// Tokens that all prompts begin with.
        pub common_prefix: Whole = 0,
    }
}

record! {
    /// A Poisson stream that switches between a high and a low rate.
    pub struct BurstyInput {
        /// Mean requests per second.
        pub requests_per_s: Finite,
        /// Rate within bursts over the mean rate.
        pub peak: Finite,
        /// Mean length of a burst.
        pub burst: Pos<Seconds>,
        /// Share of the time within bursts.
        pub share: Share,
        /// Requests.
        pub requests: Count,
        /// Prompt tokens.
        pub input: LengthInput,
        /// Answer tokens.
        pub output: LengthInput,
        /// Tokens that all prompts begin with.
        pub common_prefix: Whole = 0,
    }
}

record! {
    /// A Poisson stream whose rate swings over a day.
    pub struct DiurnalInput {
        /// Mean requests per second.
        pub requests_per_s: Finite,
        /// Swing of the rate over its mean; the stream begins at its lowest.
        pub swing: Share,
        /// Length of a period.
        pub period: Pos<Seconds> = Seconds::new(86_400.0),
        /// Requests.
        pub requests: Count,
        /// Prompt tokens.
        pub input: LengthInput,
        /// Answer tokens.
        pub output: LengthInput,
        /// Tokens that all prompts begin with.
        pub common_prefix: Whole = 0,
    }
}

record! {
    /// All requests at once.
    pub struct OfflineInput {
        /// Requests.
        pub requests: Count,
        /// Prompt tokens.
        pub input: LengthInput,
        /// Answer tokens.
        pub output: LengthInput,
        /// Tokens that all prompts begin with.
        pub common_prefix: Whole = 0,
    }
}

record! {
    /// Clients that wait for their answer before they ask again.
    pub struct ClosedInput {
        /// Clients.
        pub clients: Count,
        /// Pause between an answer and the next request.
        pub pause: NonNeg<Seconds> = Seconds::ZERO,
        /// Requests.
        pub requests: Count,
        /// Prompt tokens.
        pub input: LengthInput,
        /// Answer tokens.
        pub output: LengthInput,
        /// Tokens that all prompts begin with.
        pub common_prefix: Whole = 0,
    }
}

record! {
    /// Requests of a trace.
    pub struct TraceTrafficInput {
        /// The file, relative to the scenario.
        pub trace: FilePath,
        /// How it is written.
        pub format: TraceFormat,
        /// How much faster than in the trace requests come.
        pub speed: Finite = 1.0,
        /// Mean rate of Poisson arrivals, instead of the trace's.
        pub requests_per_s: Option<Finite>,
        /// Start within the trace.
        pub from: NonNeg<Seconds> = Seconds::ZERO,
        /// End within the trace.
        pub until: Option<Pos<Seconds>>,
        /// Most requests.
        pub requests: Option<Count>,
        /// How often the trace is run through.
        pub repeat: Count = 1,
        /// Whether rows that cannot be read are left out and counted.
        pub skip_bad_rows: bool = false,
    }
}

record! {
    /// Sessions of several turns: each prompt is all that was said before and something new, sent after the last answer and a pause.
    pub struct SessionsInput {
        /// Sessions that begin in a second, as a Poisson stream.
        pub sessions_per_s: Finite,
        /// Sessions.
        pub sessions: Count,
        /// Turns of a session.
        pub turns: LengthInput,
        /// Mean pause between an answer and the next prompt (exponential).
        pub pause: NonNeg<Seconds>,
        /// New prompt tokens of a turn.
        pub input: LengthInput,
        /// Answer tokens.
        pub output: LengthInput,
        /// Tokens that all sessions begin with.
        pub common_prefix: Whole = 0,
        /// Longest prompt: a session ends before a longer one.
        pub longest: Count = 32_768,
    }
}

tagged! {
    /// The requests.
    pub enum TrafficInput by kind {
        /// Poisson arrivals.
        Poisson(PoissonInput) = "poisson",
        /// Arrivals with gamma-distributed gaps.
        Gamma(GammaInput) = "gamma",
        /// Bursts.
        Bursty(BurstyInput) = "bursty",
        /// A day's swing.
        Diurnal(DiurnalInput) = "diurnal",
        /// All at once.
        Offline(OfflineInput) = "offline",
        /// A closed loop.
        Closed(ClosedInput) = "closed",
        /// Sessions of several turns.
        Sessions(SessionsInput) = "sessions",
        /// A trace.
        Trace(TraceTrafficInput) = "trace",
    }
}

record! {
    /// Speculation: a draft guesses, the model verifies all guesses at once.
    pub struct SpeculationInput {
        /// Preset of a smaller model that drafts; absent: a layer of the model itself (multi-token prediction).
        pub model: Option<Name>,
        /// Guesses in every step.
        pub drafts: Count,
        /// Probability that a guess is right when those before it were.
        pub acceptance: Share,
    }
}

record! {
    /// What a request has to meet.
    pub struct SloInput {
        /// Greatest time to first token.
        pub ttft: Option<Pos<Seconds>>,
        /// Greatest time per output token after the first.
        pub tpot: Option<Pos<Seconds>>,
        /// Greatest time to the last token.
        pub e2e: Option<Pos<Seconds>>,
        /// Share of the requests that has to meet all of them.
        pub share: Share = 0.99,
    }
}

record! {
    /// Inference serving.
    pub struct ServingInput {
        /// Engine with the settings of a launch script (`orrery catalog engines`).
        pub engine: Name = "vllm".into(),
        /// Number format of weights and matrix products.
        pub precision: ServingPrecision = ServingPrecision::Bf16,
        /// Number format of the attention projections, where it differs.
        pub attention_precision: Option<ServingPrecision>,
        /// Number format of keys and values.
        pub kv_precision: CachePrecision = CachePrecision::Bf16,
        /// Which replica gets a request; absent: one after the other.
        pub router: Option<RouterPolicy>,
        /// Whether prompts are looked up in a prefix cache.
        pub prefix_cache: bool = false,
        /// Requests that arrive before this moment are served but not counted.
        pub warm_up: NonNeg<Seconds> = Seconds::ZERO,
        /// What is served.
        pub model: ModelInput,
        /// How an engine lies on accelerators.
        pub parallel: Option<ServingParallelInput>,
        /// Settings of the engine.
        pub batching: Option<BatchingInput>,
        /// Engines of their own for prompts, on the first accelerators of the cluster; the others then only decode.
        pub prefill: Option<PrefillInput>,
        /// Where cached prompts go beside device memory.
        pub offload: Option<OffloadInput>,
        /// Number of engines by load.
        pub scaling: Option<ScalingInput>,
        /// What the start of an engine takes.
        pub start: Option<StartInput>,
        /// Engines that fail.
        pub failure: List<EngineFailureInput> = Vec::new(),
        /// Requests that are refused.
        pub admission: Option<AdmissionInput>,
        /// Requests of two priorities.
        pub priority: Option<PriorityInput>,
        /// Low-rank adapters that requests ask for, equally popular.
        pub adapters: Option<AdaptersInput>,
        /// Guesses of a draft.
        pub speculation: Option<SpeculationInput>,
        /// Further models on the same cluster, each with engines of its own.
        pub beside: List<BesideInput> = Vec::new(),
        /// The requests.
        pub traffic: TrafficInput,
        /// What a request has to meet.
        pub slo: Option<SloInput>,
    }
}
