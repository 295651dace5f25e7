//! Traces of jobs as plain data: what each rank does and waits for, read from the files of other programs.
//!
//! Readers keep sizes as their file states them; [`SizeConvention`] says what such a size means, and
//! [`Trace::nccl_bytes`] gives the size that nccl-tests would print. [`Trace::check`] says what cannot run.
//!
//! A trace may be *folded*: a [`RankTrace`] then stands for `count` consecutive ranks that do the same, a group is a family
//! of sets of ranks that communicate at the same time, and the other end of a message is the first rank of its class
//! (member `i` of one class talks to member `i` of the other).

pub mod aicb;
mod aicb_lower;
pub mod astra;
mod attribute;
pub mod chakra;
mod chakra_write;
mod check;
mod error;
mod fault;
mod groups;
mod host_comms;
pub mod host_json;
mod protobuf;
#[cfg(test)]
mod tests;
mod yaml;

pub use error::TraceError;
pub use fault::{OpName, TraceFault};
use std::sync::Arc;

/// The most ranks that a reader accepts; a number above it in a file is a fault of the file.
pub const MAX_RANKS: u32 = 1 << 20;

/// One file of a trace, already in memory.
#[derive(Debug, Clone, Copy)]
pub struct TraceFile<'a> {
    /// Name for messages.
    pub name: &'a str,
    /// Rank that the file describes.
    pub rank: u32,
    /// The whole file.
    pub bytes: &'a [u8],
}

/// What all ranks of a job do.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Ranks, or classes of equal ranks, in order of their first rank.
    pub ranks: Vec<RankTrace>,
    /// Groups that communicate.
    pub groups: Vec<TraceGroup>,
    /// What the size of a collective means.
    pub sizes: SizeConvention,
    /// What the reader noticed and tolerated; all of it is a warning.
    pub noticed: Vec<TraceFault>,
}

/// What one rank does, or each of several consecutive ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct RankTrace {
    /// The rank, or the first of them.
    pub rank: u32,
    /// How many consecutive ranks do this; 1 in a trace that is not folded.
    pub count: u32,
    /// Operations; their order means nothing, their dependencies do.
    pub ops: Vec<TraceOp>,
}

/// A group of ranks, or a family of groups that do the same at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceGroup {
    /// Name in the file.
    pub name: String,
    /// The sets of ranks, all of one size; a trace that is not folded has one.
    pub sets: Vec<Arc<[u32]>>,
}

impl TraceGroup {
    /// How many ranks communicate with each other.
    #[must_use]
    pub fn size(&self) -> usize {
        self.sets.first().map_or(0, |s| s.len())
    }
}

/// An operation of a rank.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceOp {
    /// Number in the file, unique on the rank.
    pub id: u64,
    /// Name in the file.
    pub name: String,
    /// Positions in the rank's `ops` that must end before this starts, ascending.
    pub deps: Vec<u32>,
    /// What it does.
    pub kind: TraceKind,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TraceKind {
    /// Computes.
    Compute {
        /// Recorded duration in microseconds, where there is one.
        micros: Option<f64>,
        /// Floating-point operations; 0 where the file does not say.
        flops: f64,
        /// Bytes moved to and from memory; 0 where the file does not say.
        bytes: f64,
        /// Whether it runs on the host.
        on_cpu: bool,
    },
    /// Moves data to or from a memory outside the accelerator.
    Memory {
        /// Whether it loads; else it stores.
        load: bool,
        /// Bytes.
        bytes: f64,
    },
    /// Communicates with all ranks of a group.
    Collective {
        /// What.
        op: TraceCollective,
        /// Size as in the file, see [`SizeConvention`].
        bytes: f64,
        /// Position in the trace's `groups`.
        group: u32,
        /// Recorded duration in microseconds, where there is one.
        micros: Option<f64>,
    },
    /// Sends a message.
    Send {
        /// Receiver.
        to: u32,
        /// Tag.
        tag: u64,
        /// Bytes.
        bytes: f64,
    },
    /// Receives a message.
    Recv {
        /// Sender.
        from: u32,
        /// Tag.
        tag: u64,
        /// Bytes.
        bytes: f64,
    },
    /// Takes no time.
    Nothing,
}

/// A collective operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TraceCollective {
    /// Sum on all.
    AllReduce,
    /// Sum on one.
    Reduce,
    /// Shards of all on all.
    AllGather,
    /// Shards of all on one.
    Gather,
    /// Shards of one to all.
    Scatter,
    /// The same from one to all.
    Broadcast,
    /// Each to each.
    AllToAll,
    /// Shards of the sum.
    ReduceScatter,
    /// Waiting for each other.
    Barrier,
}

impl TraceCollective {
    /// The word in messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::AllReduce => "all-reduce",
            Self::Reduce => "reduce",
            Self::AllGather => "all-gather",
            Self::Gather => "gather",
            Self::Scatter => "scatter",
            Self::Broadcast => "broadcast",
            Self::AllToAll => "all-to-all",
            Self::ReduceScatter => "reduce-scatter",
            Self::Barrier => "barrier",
        }
    }
}

/// What the size of a collective in a file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeConvention {
    /// What one rank puts in: for an all-gather and a gather, its shard (Chakra, PyTorch).
    RankInput,
    /// The whole buffer: for an all-gather, what each rank has at the end (AICB, nccl-tests).
    Gathered,
}

impl SizeConvention {
    /// The size that nccl-tests would print, for a group of `ranks`.
    #[must_use]
    pub fn nccl_bytes(self, op: TraceCollective, bytes: f64, ranks: usize) -> f64 {
        match (self, op) {
            (_, TraceCollective::Barrier) => 0.0,
            (Self::RankInput, TraceCollective::AllGather | TraceCollective::Gather) => bytes * ranks as f64,
            _ => bytes,
        }
    }
    /// The size in this convention of what nccl-tests calls `nccl` bytes.
    #[must_use]
    pub fn from_nccl_bytes(self, op: TraceCollective, nccl: f64, ranks: usize) -> f64 {
        match (self, op) {
            (Self::RankInput, TraceCollective::AllGather | TraceCollective::Gather) => nccl / ranks.max(1) as f64,
            _ => nccl,
        }
    }
}

impl Trace {
    /// The size of a collective as nccl-tests would print it; `None` for other operations.
    #[must_use]
    pub fn nccl_bytes(&self, op: &TraceOp) -> Option<f64> {
        let TraceKind::Collective { op, bytes, group, .. } = op.kind else { return None };
        let size = self.groups.get(group as usize)?.size();
        Some(self.sizes.nccl_bytes(op, bytes, size))
    }
    /// The size of a collective as what one rank puts in, whatever the convention of the trace.
    #[must_use]
    pub fn input_bytes(&self, op: TraceCollective, bytes: f64, group: u32) -> f64 {
        if self.sizes == SizeConvention::RankInput {
            return bytes;
        }
        let size = self.groups.get(group as usize).map_or(1, TraceGroup::size);
        SizeConvention::RankInput.from_nccl_bytes(op, self.sizes.nccl_bytes(op, bytes, size), size)
    }
    /// An order of a rank's operations that respects their dependencies, smaller numbers first; what is in a circle is left out.
    #[must_use]
    pub fn order(ops: &[TraceOp]) -> Vec<u32> {
        check::order(ops).0
    }
    /// The trace of `ranks` ranks that all do what its only rank does.
    ///
    /// # Errors
    /// The trace has several ranks, or its rank sends messages, or communicates with a part of the job: then ranks differ.
    pub fn repeated(mut self, ranks: u32) -> Result<Self, String> {
        let [rank] = &mut self.ranks[..] else { return Err(format!("the trace has {} ranks of its own", self.ranks.len())) };
        if let Some(op) = rank.ops.iter().find(|o| matches!(o.kind, TraceKind::Send { .. } | TraceKind::Recv { .. })) {
            return Err(format!("{} is a message: its other end does something else", OpName::from(op)));
        }
        rank.rank = 0;
        rank.count = ranks;
        let used = |g: u32| rank.ops.iter().find(|o| matches!(o.kind, TraceKind::Collective { group, .. } if group == g));
        for (i, group) in self.groups.iter_mut().enumerate() {
            let Some(op) = used(i as u32) else { continue };
            let size = group.size() as u32;
            if size > 1 && size != ranks {
                return Err(format!("{} is among {size} ranks of group `{}`, not among all {ranks}", OpName::from(op), group.name));
            }
            group.sets = vec![(0..ranks).collect()];
        }
        Ok(self)
    }
    /// The class that a rank belongs to.
    #[must_use]
    pub fn class_of(&self, rank: u32) -> Option<usize> {
        let after = self.ranks.partition_point(|r| r.rank <= rank);
        let class = after.checked_sub(1)?;
        (rank - self.ranks[class].rank < self.ranks[class].count).then_some(class)
    }
    /// How many ranks the trace describes.
    #[must_use]
    pub fn rank_count(&self) -> u64 {
        self.ranks.iter().map(|r| u64::from(r.count)).sum()
    }
    /// All that cannot run, or can only run by luck, and all that the reader noticed.
    #[must_use]
    pub fn check(&self) -> Vec<TraceFault> {
        check::check(self)
    }
}
