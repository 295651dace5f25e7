//! Collective algorithms and protocols: how long one takes and what it puts on the links.
//!
//! A collective is one coupled activity: latency, then a payload that loads many links at once in fixed proportion. A
//! [`Communicator`] is a class of groups of the same shape that act at the same time by symmetry; its traffic is the sum
//! over the exact paths of all its groups. `choose` picks algorithm and protocol as a tuned library does, `timing` holds
//! the measured lines of every platform, `traffic` the bytes on links.

mod choose;
mod communicator;
mod platform;
mod timing;
mod traffic;

pub use communicator::{Communicator, Plan};
pub use platform::Library;

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
        /// The first rank of each group sends to the second.
        SendRecv = "send_recv",
    }
}

choice! {
    /// How an operation is done.
    pub enum Algorithm {
        /// Rings over all ranks.
        Ring = "ring",
        /// Double binary tree over nodes, chains inside.
        Tree = "tree",
        /// Scatter inside every domain, rings between domains, gather inside. Never chosen by itself: NCCL has none.
        Hierarchical = "hierarchical",
        /// Reduction in the NVLink switch.
        Nvls = "nvls",
        /// Everyone to everyone.
        Pairwise = "pairwise",
        /// One message.
        Direct = "direct",
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

/// Bus bandwidth over algorithm bandwidth by the convention of nccl-tests.
#[must_use]
pub fn busbw_factor(op: Op, ranks: usize) -> f64 {
    let n = ranks as f64;
    match op {
        Op::AllReduce => 2.0 * (n - 1.0) / n,
        Op::AllGather | Op::ReduceScatter | Op::AllToAll => (n - 1.0) / n,
        Op::Broadcast | Op::Reduce | Op::SendRecv => 1.0,
    }
}

#[cfg(test)]
mod tests;
