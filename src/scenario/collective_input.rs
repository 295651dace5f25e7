//! The keys of `[collective]`: an operation or a pattern of flows over sizes, tokens to experts, congestion, operations beside.

use crate::collectives::{Algorithm, Engine, Launch, Op, Protocol};
use crate::diag::{Count, List, Pos, Share, Whole};
use crate::simulate::Pattern;
use crate::units::{Bytes, Seconds};
use crate::{choice, record};

record! {
    /// A sweep of a collective over sizes, as nccl-tests does it.
    pub struct CollectiveInput {
        /// Operation; absent: `all_reduce`, unless there is a pattern.
        pub op: Option<Op>,
        /// Plain flows instead of a collective; the size is that of one flow.
        pub pattern: Option<Pattern>,
        /// Bytes that a flow of a pattern has in flight at most (the window of its transport); absent: what the path holds.
        pub window: Option<Pos<Bytes>>,
        /// Lossless Ethernet on hashed or static paths: what congestion does to the flows of a pattern. Absent: fair shares.
        pub congestion: Option<CongestionInput>,
        /// All-to-all of uneven sizes: how much more than the mean the busiest receiver gets, as a share of the mean.
        pub skew: Option<Share>,
        /// Smallest size; absent: 1 KiB.
        pub min_bytes: Option<Pos<Bytes>>,
        /// Greatest size; sizes double in between. Absent: 8 GiB.
        pub max_bytes: Option<Pos<Bytes>>,
        /// How tokens visit experts (`dispatch` and `combine`); sizes are numbers of tokens then.
        pub tokens: Option<TokensInput>,
        /// How many of the first accelerators take part; absent: all.
        pub ranks: Option<Count>,
        /// Ranks of a group; all groups run the operation at the same time. Absent: one group.
        pub group_size: Option<Count>,
        /// Whether members of a group lie apart (rank 0, g, 2g of g groups) instead of side by side.
        pub strided: bool = false,
        /// Algorithm; absent: the library's choice.
        pub algorithm: Option<Algorithm>,
        /// Protocol of a ring, or of a tree between nodes; absent: the library's choice.
        pub protocol: Option<Protocol>,
        /// Channels of the library's kernels, one compute unit each; absent: as many as it opens by itself (about 20).
        pub channels: Option<Count>,
        /// Whose kernels run small all-reduces; absent: NCCL.
        pub engine: Option<Engine>,
        /// What the host's launch adds; absent: nothing (a captured graph).
        pub launch: Option<Launch>,
        /// Message by message instead of one coupled activity.
        pub explicit: bool = false,
        /// Chunks of pipelined algorithms, message by message; absent: 64.
        pub chunks: Option<Count>,
        /// Operations that start at the same time and share the links.
        pub beside: List<BesideInput> = Vec::new(),
    }
}

choice! {
    /// How lossless Ethernet deals with congestion.
    pub enum CongestionControl {
        /// Switches pause the ports that fill their queues (PFC) and nothing else holds senders back.
        Pfc = "pfc",
        /// The same, and switches mark packets, upon which senders find their fair rates (ECN, DCQCN).
        Dcqcn = "dcqcn",
    }
}

record! {
    /// What congestion does to flows on lossless Ethernet.
    pub struct CongestionInput {
        /// Pauses alone, or marks too.
        pub control: CongestionControl = CongestionControl::Pfc,
        /// How long after the start senders have found their fair rates (dcqcn); absent: 55 us, one period of its timer.
        pub reaction: Option<Pos<Seconds>>,
    }
}

record! {
    /// Tokens that visit experts, which are spread evenly over the ranks of a group.
    pub struct TokensInput {
        /// Elements of a token.
        pub hidden: Count,
        /// Experts.
        pub experts: Count,
        /// Experts that a token visits.
        pub per_token: Count,
        /// Groups of experts, of which a token visits `groups_per_token`.
        pub groups: Option<Count>,
        /// Groups that a token visits.
        pub groups_per_token: Option<Count>,
        /// Bits of an element on the way to the experts: 8 (with a scale for every 128 elements) or 16. Back it is 16.
        pub dispatch_bits: Count = 8,
        /// Compute units that the high-throughput kernels run on; absent: 20.
        pub compute_units: Option<Count>,
        /// Smallest number of tokens of a rank.
        pub min_tokens: Count = 1,
        /// Greatest number; numbers double in between.
        pub max_tokens: Count = 4096,
    }
}

record! {
    /// An operation beside the measured one.
    pub struct BesideInput {
        /// Operation.
        pub op: Op = Op::AllReduce,
        /// Size.
        pub bytes: Pos<Bytes>,
        /// First rank.
        pub first: Whole = 0,
        /// How many ranks.
        pub ranks: Count,
        /// Distance between two of them.
        pub stride: Count = 1,
        /// How often, one after the other.
        pub repeat: Count = 1,
    }
}
