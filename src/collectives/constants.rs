//! The measured constants of libraries, platforms and networks: schema, embedded file, lookup.

use super::{Engine, Op};
use crate::diag::{Decode as _, Diagnostics, Finite, List, Name, Node, NonNeg, Plain, Pos, Style, Text, render};
use crate::hardware::NicProtocol;
use crate::record;
use crate::units::{Bytes, BytesPerSecond, Seconds};
use std::sync::OnceLock;

record! {
    /// What a library's cost model assumes: it picks algorithm and protocol by it. Also the start-ups of a protocol between nodes, where a
    /// caller forces one.
    pub struct TunerRow {
        /// Library.
        pub library: Name,
        /// Start-up of LL.
        pub base: NonNeg<Seconds>,
        /// One step of it.
        pub hop: NonNeg<Seconds>,
        /// Its share of the rate.
        pub ll_share: Finite,
        /// Start-up and step of LL128, where the library has it.
        pub ll128: List<NonNeg<Seconds>> = Vec::new(),
        /// Start-up of the bulk protocol.
        pub bulk_base: NonNeg<Seconds>,
        /// One step of it.
        pub bulk_hop: NonNeg<Seconds>,
        /// One step between nodes of LL, LL128 and the bulk protocol, in rings; absent: the library's figures do not time a protocol there.
        pub ring_across: List<NonNeg<Seconds>> = Vec::new(),
        /// The same in trees.
        pub tree_across: List<NonNeg<Seconds>> = Vec::new(),
        /// What posting to the network takes at least of a step inside a node, of a ring that leaves it.
        pub overhead: List<NonNeg<Seconds>> = Vec::new(),
        /// Factor on the start-up of a bulk ring of an all-reduce between nodes.
        pub plateau: Finite = 1.0,
        /// Where the values come from.
        pub source: Text,
    }
}

record! {
    /// Lines of a library inside a domain of one link technology.
    pub struct ScaleUpRow {
        /// Link technology.
        pub technology: Name,
        /// Library.
        pub library: Name = "nccl".to_owned(),
        /// Whether these are measurements, not a library's own figures.
        pub measured: bool = true,
        /// Rate of a ring edge by link.
        pub per_link: Pos<BytesPerSecond>,
        /// Rate by link that the library's cost model assumes.
        pub tuner_link: Pos<BytesPerSecond>,
        /// Start-up of the low-latency protocol.
        pub base: NonNeg<Seconds>,
        /// One step of it.
        pub hop: NonNeg<Seconds>,
        /// Extra once it spreads over more channels.
        pub spread: NonNeg<Seconds>,
        /// Start-up of the bulk protocol.
        pub bulk_base: NonNeg<Seconds>,
        /// One step of it.
        pub bulk_hop: NonNeg<Seconds>,
        /// One step of it in a ring over several domains, where that was measured apart.
        pub bulk_hop_across: Option<NonNeg<Seconds>>,
        /// Start-up of small in-switch reductions.
        pub nvls_small: Option<NonNeg<Seconds>>,
        /// Start-up of large ones.
        pub nvls_large: Option<NonNeg<Seconds>>,
        /// Share of the ring's rate that LL reaches.
        pub ll_share: Finite = 0.5,
        /// Cap of LL bus bandwidth in the library's cost model.
        pub ll_cap: Option<Pos<BytesPerSecond>>,
        /// Greatest rate of one channel of a ring.
        pub channel: Option<Pos<BytesPerSecond>>,
        /// Channel rate of NVLS in the library's cost model.
        pub nvls_channel: Option<Pos<BytesPerSecond>>,
        /// Efficiency of NVLS in the library's cost model.
        pub nvls_tuner_efficiency: Finite = 1.0,
        /// Whether LL128 is a line of its own.
        pub ll128: bool,
        /// Local copy relative to the wire.
        pub copy: Plain,
        /// Where the values come from.
        pub source: Text,
    }
}

record! {
    /// All-to-all inside a domain, three regimes by message size.
    pub struct AllToAllRow {
        /// Link technology.
        pub technology: Name,
        /// Start-up of small messages.
        pub a: NonNeg<Seconds>,
        /// One more peer.
        pub h: NonNeg<Seconds>,
        /// Rate of one peer's small messages.
        pub b1: Pos<BytesPerSecond>,
        /// Start-up of middle sizes.
        pub am: NonNeg<Seconds>,
        /// Their rate.
        pub bm: Pos<BytesPerSecond>,
        /// Start-up of large sizes.
        pub a_s: NonNeg<Seconds>,
        /// Their rate.
        pub b: Pos<BytesPerSecond>,
        /// Start-up of the largest, where they were measured apart.
        pub a_bulk: Option<NonNeg<Seconds>>,
        /// Their rate.
        pub b_bulk: Option<Pos<BytesPerSecond>>,
        /// Local copy relative to the wire.
        pub copy: Plain,
    }
}

record! {
    /// A line of a serving engine's kernel.
    pub struct EngineLine {
        /// Start-up.
        pub a: NonNeg<Seconds>,
        /// One more rank.
        pub h: NonNeg<Seconds>,
        /// Rate.
        pub b: Pos<BytesPerSecond>,
    }
}

record! {
    /// All-reduce kernels of a serving engine.
    pub struct EngineRow {
        /// Engine.
        pub engine: Engine,
        /// Link technology.
        pub technology: Name,
        /// Every rank reads all others.
        pub one_shot: EngineLine,
        /// Scatter, then gather.
        pub two_shot: EngineLine,
        /// Greatest size by 2, 4 and 8 ranks.
        pub limit: List<Pos<Bytes>>,
        /// Sizes inside the limit that go to NCCL all the same: from, to (8 ranks).
        pub gap: List<Pos<Bytes>> = Vec::new(),
    }
}

record! {
    /// Exchange of tokens with the ranks of their experts, one way; shares are of what a ring's edge and the network's links carry.
    pub struct TokenRow {
        /// Which way.
        pub op: Op,
        /// High throughput: start-up in one domain.
        pub start: NonNeg<Seconds>,
        /// Start-up over two.
        pub start_across: NonNeg<Seconds>,
        /// One more doubling of domains.
        pub start_doubling: NonNeg<Seconds>,
        /// Start-up by hidden size over 7,168, less one.
        pub start_hidden: NonNeg<Seconds>,
        /// Exchange of counts over two domains.
        pub notify: NonNeg<Seconds>,
        /// It grows by this power of the domains.
        pub notify_growth: Finite,
        /// Bytes of the token below.
        pub row: Pos<Bytes>,
        /// One compute unit's time for a token with 4.6 copies in one domain.
        pub unit: NonNeg<Seconds>,
        /// The same with one copy over the network.
        pub unit_across: NonNeg<Seconds>,
        /// One more copy over the network.
        pub unit_copy: NonNeg<Seconds>,
        /// Part that does not depend on bytes.
        pub unit_fixed: NonNeg<Seconds>,
        /// Power of the norm that joins compute units and links.
        pub sharpness: Finite,
        /// Share of a ring edge's rate inside a domain.
        pub scale_up_share: Finite,
        /// Share of the links between domains.
        pub network_share: Finite,
        /// Low latency: start-up.
        pub fast_start: NonNeg<Seconds>,
        /// Over the network; grows by a third with every doubling of domains.
        pub fast_across: NonNeg<Seconds>,
        /// One more expert.
        pub fast_expert: NonNeg<Seconds>,
        /// Share of a ring edge's rate.
        pub fast_scale_up_share: Finite,
        /// Rate of the compute units that serve one expert.
        pub fast_expert_rate: Pos<BytesPerSecond>,
        /// Share of the links between domains.
        pub fast_network_share: Finite,
        /// Where the values come from.
        pub source: Text,
    }
}

record! {
    /// Start-ups and shares of collectives across a network, beside what they need inside the domains.
    pub struct NetworkRow {
        /// How its NICs talk.
        pub protocol: NicProtocol,
        /// The NICs that it is of; absent: all others of the protocol.
        pub nics: List<Name> = Vec::new(),
        /// Start-up of a ring.
        pub ring_base: NonNeg<Seconds>,
        /// One step of a ring from domain to domain, up to 64.
        pub ring_node: NonNeg<Seconds>,
        /// One doubling of domains of a ring.
        pub ring_level: NonNeg<Seconds>,
        /// Start-up of small messages in a tree over two domains.
        pub tree_base: NonNeg<Seconds>,
        /// One more level of a tree.
        pub tree_level: NonNeg<Seconds>,
        /// Rates of the low-latency protocol: all-reduce, gather and scatter; absent: it has no line of its own.
        pub small: List<Pos<BytesPerSecond>> = Vec::new(),
        /// Start-ups inside the domains that middle sizes take more than small ones.
        pub middle_start: Finite = 0.0,
        /// Start-up of middle sizes over two domains.
        pub middle_base: NonNeg<Seconds>,
        /// One more level.
        pub middle_level: NonNeg<Seconds>,
        /// Their share of a tree's rate.
        pub middle_share: Finite,
        /// Start-up of a bulk transfer in a tree over two domains.
        pub bulk_base: NonNeg<Seconds>,
        /// One more level.
        pub bulk_level: NonNeg<Seconds>,
        /// Share of what the links carry that a tree reaches.
        pub tree_share: Finite,
        /// Start-up of a send.
        pub message: NonNeg<Seconds>,
        /// Where the values come from.
        pub source: Text,
    }
}

record! {
    /// The constants file.
    pub struct Constants {
        /// Cost models of libraries.
        pub tuner: List<TunerRow>,
        /// Lines inside domains.
        pub scale_up: List<ScaleUpRow>,
        /// All-to-all inside domains.
        pub all_to_all: List<AllToAllRow>,
        /// Serving engines.
        pub engine: List<EngineRow>,
        /// Exchange of tokens.
        pub tokens: List<TokenRow>,
        /// Networks.
        pub network: List<NetworkRow>,
    }
}

pub(super) fn constants() -> &'static Constants {
    static CONSTANTS: OnceLock<Constants> = OnceLock::new();
    CONSTANTS.get_or_init(|| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("collectives/constants.toml", include_str!("constants.toml"));
        let file = Node::parse(source, &mut diags).and_then(|node| Constants::decode(&node, &mut diags));
        file.unwrap_or_else(|| panic!("the embedded constants of collectives are faulty:\n{}", render(&diags, Style::Plain)))
    })
}

/// The technology whose constants serve another: NVLink 6 borrows those of NVLink 5.
fn known(technology: &str) -> &str {
    if technology == "nvlink6" { "nvlink5" } else { technology }
}

impl Constants {
    /// The cost model of a library; NCCL's where it has none of its own.
    pub(super) fn tuner(&self, library: &str) -> &TunerRow {
        let row = self.tuner.iter().map(|r| &r.value).find(|r| *r.library == library);
        row.unwrap_or(&self.tuner[0].value)
    }
    pub(super) fn lines(&self, technology: &str) -> Option<&ScaleUpRow> {
        self.scale_up.iter().map(|r| &r.value).find(|r| *r.technology == known(technology))
    }
    pub(super) fn all_to_all(&self, technology: &str) -> Option<&AllToAllRow> {
        self.all_to_all.iter().map(|r| &r.value).find(|r| *r.technology == known(technology))
    }
    /// An engine's kernels; one that was measured on another technology only has none.
    pub(super) fn engine(&self, engine: Engine, technology: &str) -> Option<&EngineRow> {
        self.engine.iter().map(|r| &r.value).find(|r| *r.engine == engine && *r.technology == known(technology))
    }
    pub(super) fn tokens(&self, op: Op) -> Option<&TokenRow> {
        self.tokens.iter().map(|r| &r.value).find(|r| *r.op == op)
    }
    pub(super) fn network(&self, protocol: NicProtocol, nic: &str) -> &NetworkRow {
        let of = || self.network.iter().map(|r| &r.value).filter(|r| *r.protocol == protocol);
        let own = of().find(|r| r.nics.iter().any(|n| *n.value == *nic));
        own.or_else(|| of().find(|r| r.nics.is_empty())).unwrap_or(&self.network[0].value)
    }
}
