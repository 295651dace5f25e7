//! Collective algorithms and protocols: how long one takes and what it puts on the links.
//!
//! A collective is one coupled activity: latency, then a payload that loads many links at once in fixed proportion. A
//! [`Communicator`] is a class of groups of the same shape that act at the same time by symmetry; its traffic is the sum
//! over the exact paths of all its groups. `constants` holds what was measured, `choose` picks algorithm and protocol as a
//! tuned library does, `timing` (inside a domain) and `across` (between domains) give start-up and rate, `edges` the bytes
//! between ranks, `schedule` the same algorithms message by message.

mod across;
mod book;
mod calibrated;
mod choose;
mod communicator;
mod constants;
mod edges;
mod platform;
mod rings;
mod schedule;
mod schedule_phases;
mod shape;
mod timing;
mod token_schedule;
mod tokens;

pub use communicator::{Communicator, Plan};
pub use platform::{Launch, Library};
pub use schedule::{Message, Schedule};
pub use tokens::{Routing, TOKEN_KERNEL_UNITS, token_source};

use crate::choice;

choice! {
    /// A communication operation; sizes follow nccl-tests (gathered or scattered operations: the whole buffer).
    pub enum Op {
        /// Every rank gets the sum.
        AllReduce = "all_reduce",
        /// Every rank gets all parts.
        AllGather = "all_gather",
        /// Every rank gets its part of the sum.
        ReduceScatter = "reduce_scatter",
        /// Every rank sends a part to every other.
        AllToAll = "all_to_all",
        /// All get one rank's buffer.
        Broadcast = "broadcast",
        /// One rank gets the sum.
        Reduce = "reduce",
        /// One rank gets all parts.
        Gather = "gather",
        /// Every rank gets its part of one rank's buffer.
        Scatter = "scatter",
        /// Everyone waits for everyone; carries no payload.
        Barrier = "barrier",
        /// The first rank of each group sends to the second.
        SendRecv = "send_recv",
        /// Tokens to the ranks of their experts; payload: the tokens of a rank, each once.
        Dispatch = "dispatch",
        /// Results of experts back to the ranks of their tokens; payload as dispatch.
        Combine = "combine",
    }
}

choice! {
    /// How an operation is done.
    pub enum Algorithm {
        /// Rings over all ranks.
        Ring = "ring",
        /// Double binary tree over domains, chains inside.
        Tree = "tree",
        /// Reduction in the NVLink switch.
        Nvls = "nvls",
        /// Reduction in the NVLink switch, double binary tree between domains.
        NvlsTree = "nvls_tree",
        /// Reduction in the network's switches (SHARP). Never chosen by itself: sites have to switch it on.
        Collnet = "collnet",
        /// Parallel aggregated trees: steps of doubling distance.
        Pat = "pat",
        /// Recursive halving and doubling. Never chosen by itself: NCCL has none.
        HalvingDoubling = "halving_doubling",
        /// Scatter inside every domain, rings between domains, gather inside. Never chosen by itself: NCCL has none.
        Hierarchical = "hierarchical",
        /// Rings in both directions of every dimension of a torus at the same time.
        Torus = "torus",
        /// Everyone to everyone.
        Pairwise = "pairwise",
        /// One message between two ranks.
        Direct = "direct",
        /// Every rank reads all others' buffers (serving engines).
        OneShot = "one_shot",
        /// Every rank reduces its part, then all read the parts (serving engines).
        TwoShot = "two_shot",
        /// One copy of a token to every domain, forwarded there to every rank with experts of it (DeepEP, high throughput).
        OneCopy = "one_copy",
        /// One message for every expert of a token (DeepEP, low latency).
        LowLatency = "low_latency",
    }
}

choice! {
    /// How bytes are signalled.
    pub enum Protocol {
        /// Flag with every 4 bytes: least latency, half the bandwidth.
        Ll = "LL",
        /// Flag with every 120 bytes.
        Ll128 = "LL128",
        /// Flag after a block: full bandwidth.
        Simple = "Simple",
    }
}

choice! {
    /// Whose kernels run small all-reduces.
    pub enum Engine {
        /// NCCL (RCCL has the same structure).
        Nccl = "nccl",
        /// SGLang's own kernels.
        Sglang = "sglang",
        /// vLLM's own kernels.
        Vllm = "vllm",
        /// TensorRT-LLM's own kernels.
        Trtllm = "trtllm",
        /// TensorRT-LLM's kernels inside SGLang.
        SglangTrtllm = "sglang-trtllm",
    }
}

impl Op {
    /// Whether it exchanges tokens with the ranks of their experts.
    #[must_use]
    pub const fn moves_tokens(self) -> bool {
        matches!(self, Self::Dispatch | Self::Combine)
    }
}

/// Bus bandwidth over algorithm bandwidth by the convention of nccl-tests.
#[must_use]
pub fn busbw_factor(op: Op, ranks: usize) -> f64 {
    let n = ranks as f64;
    match op {
        Op::AllReduce => 2.0 * (n - 1.0) / n,
        Op::AllGather | Op::ReduceScatter | Op::AllToAll | Op::Gather | Op::Scatter => (n - 1.0) / n,
        Op::Broadcast | Op::Reduce | Op::SendRecv | Op::Dispatch | Op::Combine => 1.0,
        Op::Barrier => 0.0,
    }
}

#[cfg(test)]
mod tests;
