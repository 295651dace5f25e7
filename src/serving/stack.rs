//! Serving engines as data: what their launch scripts and schedulers do, and what they cost beside their kernels.

use crate::collectives::Engine;
use crate::diag::{Count, Decode as _, Diagnostics, Finite, List, Name, Node, NonNeg, Plain, Share, Style, Text, Whole, render};
use crate::units::{Bytes, Seconds};
use crate::{choice, record};
use std::sync::OnceLock;

choice! {
    /// How an engine forms the batch of an iteration.
    pub enum Batching {
        /// Prompts are cut to fill a budget of tokens beside the running decodes (vLLM v1).
        Chunked = "chunked",
        /// Whole prompts join the running decodes (Orca, TensorRT-LLM).
        Whole = "whole",
        /// Prompts run in batches of their own while decodes wait (SGLang, vLLM v0).
        Separate = "separate",
        /// A batch runs to the end of its longest request before the next is formed.
        Static = "static",
    }
}

record! {
    /// A serving engine with the settings of a launch script.
    pub struct StackRow {
        /// Id, such as `vllm-0.10`.
        pub id: Name,
        /// Name for people.
        pub title: Name,
        /// Rows of the kernel profile that it uses, by prefix.
        pub library: Name,
        /// Whose all-reduce kernels it runs.
        pub all_reduce: Engine,
        /// The same over NVLink 5, where it differs.
        pub all_reduce_nvlink5: Option<Engine>,
        /// How batches are formed.
        pub batching: Batching,
        /// Whether a request is admitted only when the cache can hold it to its last token.
        pub reserve_output: bool,
        /// Most tokens of an iteration.
        pub max_tokens: Count,
        /// Most requests that run at the same time.
        pub max_sequences: Count,
        /// Tokens of a cache block.
        pub block_tokens: Count,
        /// Share of the memory that the engine takes.
        pub memory_share: Share,
        /// Whether that share is of what weights and workspace leave, instead of all memory.
        pub share_of_rest: bool,
        /// Activations, graphs and buffers.
        pub workspace: NonNeg<Bytes>,
        /// Whether the next batch is formed while one runs: it sees only requests that came before the running one began.
        pub lag: bool,
        /// Small kernels of a layer (norms, activation, rotation, cache writes) beside products and attention.
        pub small_kernels: Plain,
        /// Whether casts to 8 and 4 bit are part of the kernels before the products.
        pub fused_casts: bool,
        /// Host time of a layer that is launched kernel by kernel: iterations outside captured graphs are never faster.
        pub eager_layer: NonNeg<Seconds>,
        /// The same with a mixture of experts.
        pub eager_mixture_layer: NonNeg<Seconds>,
        /// Time of all-reduces above 8 MB over that of the kernels (ranks that start apart in eager prefill).
        pub bulk_all_reduce: Finite,
        /// Host time of an iteration that the device waits for.
        pub host_iteration: NonNeg<Seconds>,
        /// The same of an iteration with prompts.
        pub host_prefill: NonNeg<Seconds>,
        /// Host time of one sequence in an iteration.
        pub host_sequence: NonNeg<Seconds>,
        /// Greatest decode batch with a captured graph (0: all run eagerly without a floor).
        pub graph_batch: Whole,
        /// Iterations that prompts wait for company while decodes run.
        pub wait_iterations: Whole = 0,
        /// Share of the token budget that ends the wait.
        pub wait_share: Share = 0.0,
        /// Decode iterations between two looks at arrived requests.
        pub read_interval: Count = 1,
        /// Iterations that prompts of data-parallel attention wait until every rank has one, while all ranks decode.
        pub balance_iterations: Whole = 0,
        /// Time of a request in the one process that takes requests in, writes prompts as tokens and streams answers.
        pub front_request: NonNeg<Seconds> = Seconds::new(0.0),
        /// The same of one token of an answer.
        pub front_token: NonNeg<Seconds> = Seconds::new(0.0),
        /// Generations of accelerators on which decodes and prompts of a batch share one attention kernel.
        pub joint_attention: List<Name> = Vec::new(),
        /// Decodes read all of a compiled context, whatever a request's own: powers of two, the least of them.
        pub context_buckets: Option<Count>,
        /// Whether every compute unit of a part is a rank of its own, with whole heads (NeuronCores).
        pub splits_units: bool = false,
        /// Whether tokens go to the ranks of their experts by DeepEP's kernels (else by an all-to-all).
        pub deepep: bool = false,
        /// Where the values come from.
        pub source: Text,
    }
}

record! {
    /// The stacks file.
    pub struct StackFile {
        /// Engines.
        pub stack: List<StackRow>,
    }
}

/// All engines in order of the file.
pub fn stacks() -> &'static [StackRow] {
    static STACKS: OnceLock<Vec<StackRow>> = OnceLock::new();
    STACKS.get_or_init(|| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("serving/stacks.toml", include_str!("stacks.toml"));
        let file = Node::parse(source, &mut diags).and_then(|node| StackFile::decode(&node, &mut diags));
        let Some(file) = file else { panic!("the embedded serving engines are faulty:\n{}", render(&diags, Style::Plain)) };
        file.stack.value.into_iter().map(|s| s.value).collect()
    })
}

/// The engine of an id.
#[must_use]
pub fn stack(id: &str) -> Option<&'static StackRow> {
    stacks().iter().find(|s| s.id.value == id)
}
