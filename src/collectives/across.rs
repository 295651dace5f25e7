//! Lines of a collective that spans scale-up domains, and the choice among its algorithms on idle links.

use super::choose::LL128_SHARE;
use super::communicator::Communicator;
use super::constants::{NetworkRow, constants};
use super::timing::{Chosen, Line, nvls, nvls_growth, nvls_share, ring_edge};
use super::{Algorithm, Op, Protocol};
use crate::fabric::LinkKind;
use crate::hardware::NicProtocol;

/// Share of a tree's rate that LL reaches (NCCL 2.30, `src/graph/tuning.cc`).
const LL_TREE_SHARE: f64 = 1.0 / 3.8;

/// What a pair of NVL72 racks moves in an all-reduce of all their ranks, bytes per second of payload (two racks of GB200, 128 ranks:
/// 891 us + s / 410 GB/s): about eight NICs' worth, not what all NICs could carry. More than two racks: `2 (K - 1) / K` of it, unverified.
/// A ring's edge between racks is held to the same rate.
const BETWEEN_RACKS: f64 = 410e9;

/// What a collective over several domains needs between them: seconds, and rates in bytes per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    row: &'static NetworkRow,
    domains: f64,
    /// Doublings of domains, and those beyond two.
    levels: f64,
    further: f64,
}

impl Network {
    pub(super) fn of(protocol: NicProtocol, nic: &str, domains: f64) -> Self {
        let levels = libm::log2(domains.max(1.0)).ceil();
        Self { row: constants().network(protocol, nic), domains, levels, further: (levels - 1.0).max(0.0) }
    }
    /// Start-up of a ring that goes around so many times.
    pub(super) fn ring(&self, trips: f64) -> f64 {
        let r = self.row;
        r.ring_base.get() + trips * r.ring_node.get() * (self.domains.min(RING_DOMAINS) - 1.0).max(0.0) + r.ring_level.get() * self.levels
    }
    fn tree(&self) -> f64 {
        self.row.tree_base.get() + self.row.tree_level.get() * self.further
    }
    /// Start-up of messages from every rank to every other: each sends and receives (37 us in listings of two nodes of B200 and of MI355X).
    pub(super) fn exchange(&self) -> f64 {
        2.0 * self.message() + self.ring(1.0) - self.row.ring_base.get()
    }
    /// One step of a doubling algorithm: half of a tree's level, which goes up and down.
    fn step(&self) -> f64 {
        self.row.tree_level.get() / 2.0
    }
    /// Where the figures come from.
    pub(super) fn source(&self) -> &'static str {
        &self.row.source.value
    }
    /// Start-up of one message.
    pub(super) fn message(&self) -> f64 {
        self.row.message.get()
    }
}

/// Ranks of the greatest domain in which the start-ups of middle sizes were measured; they do not grow beyond (racks of GB200).
const BOX: usize = 8;

/// Domains beyond which a ring's start-up was not measured, and does not grow.
const RING_DOMAINS: f64 = 64.0;

impl Communicator<'_> {
    /// Start-up inside the domains of an algorithm that goes up and down a chain of theirs.
    fn start(&self) -> f64 {
        self.start_of(self.shape.most())
    }
    fn start_of(&self, ranks: usize) -> f64 {
        self.lines.base + 2.0 * (ranks as f64 - 1.0).max(0.0) * self.lines.hop
    }

    /// Steps of a ring inside domains, each of which some message takes; as many domains count as between them.
    fn inner_steps(&self) -> f64 {
        (self.shape.most() as f64 - 1.0) * (self.shape.count() as f64).min(RING_DOMAINS)
    }

    /// The line of an algorithm over several domains that serves a size best; `None` where it has no such form.
    pub(super) fn line_across(&self, op: Op, bytes: f64, algorithm: Algorithm) -> Option<Line> {
        self.choice_across(op, bytes, algorithm).map(|c| c.line)
    }

    /// The same with its protocol.
    fn choice_across(&self, op: Op, bytes: f64, algorithm: Algorithm) -> Option<Chosen> {
        let rings = matches!(op, Op::AllReduce | Op::AllGather | Op::ReduceScatter | Op::Broadcast | Op::Reduce);
        let all_reduce = op == Op::AllReduce;
        let forms = match algorithm {
            Algorithm::Ring if rings => self.ring_forms(op),
            Algorithm::Tree if all_reduce => self.tree_forms(algorithm, self.lines.rate / 2.0),
            Algorithm::NvlsTree if all_reduce && self.lines.nvls.is_some() => {
                self.tree_forms(algorithm, nvls_share(self.shape.most() as f64) * self.lines.rate / (1.0 + 1.0 / self.shape.most() as f64))
            }
            _ => [self.other_form(op, bytes, algorithm).map(|line| (Protocol::Simple, line)), None, None],
        };
        let links = self.link_rate(op, algorithm);
        let seen = |line: &Line| line.latency + bytes / line.rate.min(links);
        let best = forms.into_iter().flatten().min_by(|a, b| seen(&a.1).total_cmp(&seen(&b.1)))?;
        Some(Chosen { line: best.1, algorithm, protocol: best.0 })
    }

    /// A ring's lines: small messages of a gather or scatter, and bulk.
    fn ring_forms(&self, op: Op) -> [Option<(Protocol, Line)>; 3] {
        let (lines, trips) = (&self.lines, if op == Op::AllReduce { 2.0 } else { 1.0 });
        let (steps, between, rate) = (trips * self.inner_steps(), self.network.ring(trips), self.ring_rate(op));
        let hop = lines.bulk_hop_across.unwrap_or(lines.bulk_hop);
        let bulk = Line { latency: lines.bulk_base + steps * hop + between, rate };
        let gathers = matches!(op, Op::AllGather | Op::ReduceScatter);
        let small = self.network.row.small.get(1).filter(|_| gathers);
        let small = small.map(|r| Line { latency: lines.base + steps * lines.hop + between, rate: rate.min(r.get()) });
        [small.map(|line| (Protocol::Ll, line)), Some((Protocol::Simple, bulk)), None]
    }

    /// A tree's lines: small messages, middle sizes and bulk.
    fn tree_forms(&self, algorithm: Algorithm, inside: f64) -> [Option<(Protocol, Line)>; 3] {
        let (net, row, start, rate) = (&self.network, self.network.row, self.start(), self.tree_rate(algorithm, inside));
        let sums = algorithm == Algorithm::NvlsTree;
        let small = row.small.first().filter(|_| !sums).map(|r| Line { latency: start + net.tree(), rate: rate.min(r.get()) });
        let middle = row.middle_base.get() + row.middle_level.get() * net.further + *row.middle_start * start.min(self.start_of(BOX));
        let middle = Line { latency: start + middle, rate: *row.middle_share * rate };
        let growth = if sums { nvls_growth(self.shape.most() as f64) } else { 0.0 };
        let bulk = Line { latency: start + growth + row.bulk_base.get() + row.bulk_level.get() * net.further, rate };
        let bulk = (sums || self.takes_trees()).then_some(bulk);
        // In-switch sums have the bulk protocol alone; their middle line is how they get under way.
        let between = if sums { Protocol::Simple } else { Protocol::Ll128 };
        [small.map(|line| (Protocol::Ll, line)), Some((between, middle)), bulk.map(|line| (Protocol::Simple, line))]
    }

    /// What a tree moves of the payload, given what it moves inside the domains.
    fn tree_rate(&self, algorithm: Algorithm, inside: f64) -> f64 {
        let rate = (*self.network.row.tree_share * self.link_rate(Op::AllReduce, algorithm)).min(inside);
        if !self.spans_trays() {
            return rate;
        }
        let k = self.shape.count() as f64;
        rate.min(BETWEEN_RACKS * k / (2.0 * (k - 1.0)))
    }

    /// What a ring moves inside the domains.
    fn ring_rate(&self, op: Op) -> f64 {
        let racks = op == Op::AllReduce && self.spans_trays();
        self.lines.rate.min(if racks { BETWEEN_RACKS } else { f64::INFINITY }) / ring_edge(op, self.shape.ranks)
    }

    /// Whether the library gives bulk to a tree without in-switch sums: where two domains meet over NICs that are slower than its channels inside, by
    /// which its cost model rates a tree there. Listings show trees on p4de and with NICs of 100 Gb/s, rings with those of 200.
    fn takes_trees(&self) -> bool {
        self.shape.count() <= 2 && self.nic_rate < self.lines.channel.unwrap_or(self.lines.rate)
    }

    /// The one line of an algorithm that is neither a ring nor a tree.
    fn other_form(&self, op: Op, bytes: f64, algorithm: Algorithm) -> Option<Line> {
        let net = &self.network;
        let all_reduce = op == Op::AllReduce;
        let gathers = matches!(op, Op::AllGather | Op::ReduceScatter);
        let ranks_levels = libm::log2(self.shape.ranks as f64).ceil();
        let least = self.shape.least() as f64;
        let trips = if all_reduce { 2.0 } else { 1.0 };
        Some(match algorithm {
            Algorithm::Collnet if all_reduce && self.fabric.reduces_in_network() && self.shape.is_even() => {
                // One trip up and down the switches; inside the domain the reduction of NVLS, where there is one.
                let inside = if self.lines.nvls.is_some() { nvls(&self.lines, least, bytes).rate } else { self.lines.rate / 2.0 };
                Line { latency: self.start() + net.tree(), rate: inside }
            }
            Algorithm::Pat if gathers => Line { latency: self.start() + net.step() * ranks_levels, rate: f64::INFINITY },
            Algorithm::HalvingDoubling if self.shape.ranks.is_power_of_two() && (all_reduce || gathers) => {
                Line { latency: self.start() + net.step() * ranks_levels * trips, rate: f64::INFINITY }
            }
            Algorithm::Hierarchical if self.shape.is_even() && (all_reduce || gathers) => {
                let start = self.lines.bulk_base + trips * (least - 1.0) * self.lines.bulk_hop;
                // Its phases follow each other: what the payload takes inside adds to what it takes outside.
                let inside = trips * (least - 1.0) / least / self.lines.rate;
                Line { latency: start + net.ring(trips), rate: 1.0 / (inside + 1.0 / self.rate_outside(op, algorithm)) }
            }
            Algorithm::Hierarchical if self.shape.is_even() && op == Op::AllToAll => {
                Line { latency: net.exchange() + self.lines.base + self.lines.hop * (least - 1.0), rate: f64::INFINITY }
            }
            Algorithm::Torus if self.shape.torus.is_some() && self.shape.is_even() && (all_reduce || gathers) => {
                Line { latency: self.torus_start(op) + net.ring(trips), rate: f64::INFINITY }
            }
            Algorithm::Pairwise if op == Op::AllToAll => Line { latency: net.exchange() + self.messages(least), rate: f64::INFINITY },
            Algorithm::Direct if matches!(op, Op::Gather | Op::Scatter) => {
                Line { latency: net.message() + net.step() * ranks_levels + self.messages(least), rate: f64::INFINITY }
            }
            _ => return None,
        })
    }

    /// The line of a ring or a tree over several domains under a protocol, with the steps of the library's cost model; the links' rate is in
    /// it, since a protocol's flags take a share of what they carry.
    pub(super) fn line_by(&self, op: Op, algorithm: Algorithm, protocol: Protocol) -> Option<Line> {
        let t = self.lines.tuner;
        let at = protocol as usize;
        let (base, hop, ring_share, tree_share) = match protocol {
            Protocol::Ll => (t.base.get(), t.hop.get(), *t.ll_share, LL_TREE_SHARE),
            Protocol::Ll128 => (t.ll128.first()?.get(), t.ll128.get(1)?.get(), LL128_SHARE, 120.0 / 128.0),
            Protocol::Simple => (t.bulk_base.get(), t.bulk_hop.get(), 1.0, 1.0),
        };
        let (n, domains) = (self.shape.ranks as f64, self.shape.count() as f64);
        match algorithm {
            Algorithm::Ring => {
                let rate = self.ring_rate(op).min(self.link_rate(op, algorithm));
                let trips = if op == Op::AllReduce { 2.0 } else { 1.0 };
                let inside = hop.max(t.overhead.get(at)?.get());
                let steps = trips * (n - domains) * inside + trips * (domains - 1.0) * t.ring_across.get(at)?.get();
                let plateau = if protocol == Protocol::Simple && op == Op::AllReduce { *t.plateau } else { 1.0 };
                Some(Line { latency: plateau * (base + steps), rate: ring_share * rate })
            }
            Algorithm::Tree if op == Op::AllReduce => {
                let rate = self.tree_rate(algorithm, self.lines.rate / 2.0);
                let levels = libm::log2(domains).ceil() * t.tree_across.get(at)?.get();
                Some(Line { latency: base + 2.0 * ((n / domains - 1.0) * hop + levels), rate: tree_share * rate })
            }
            _ => None,
        }
    }

    /// Seconds in which a rank's NICs start a message to (or from) every rank of the other domains.
    fn messages(&self, own: f64) -> f64 {
        (self.shape.ranks as f64 - own) / self.fabric.message_rate(self.groups()[0][0])
    }

    /// Payload rate that the links between domains allow.
    pub(super) fn rate_outside(&self, op: Op, algorithm: Algorithm) -> f64 {
        let traffic = self.traffic(op, algorithm);
        let outside = traffic.iter().map(|&(link, c)| (self.fabric.link(link), c)).filter(|(l, _)| l.kind != LinkKind::ScaleUp);
        outside.map(|(l, c)| l.capacity / c).fold(f64::INFINITY, f64::min)
    }

    /// Start-up of the rings of a torus: every dimension in turn.
    pub(super) fn torus_start(&self, op: Op) -> f64 {
        let steps: usize = self.shape.torus.iter().flatten().map(|&(side, wrap)| if wrap { side / 2 } else { side - 1 }).sum();
        self.lines.base + steps as f64 * self.lines.hop * if op == Op::AllReduce { 2.0 } else { 1.0 }
    }

    /// Whether its domains hold several nodes each (NVL72).
    pub(super) fn spans_trays(&self) -> bool {
        self.nodes > self.shape.count() as f64
    }

    /// The best algorithm over several domains on idle links, among those that the library would take.
    pub(super) fn across(&self, op: Op, bytes: f64) -> Chosen {
        let candidates: &[Algorithm] = match op {
            Op::AllReduce if self.shape.torus.is_some() => &[Algorithm::Torus, Algorithm::Ring],
            Op::AllReduce if self.lines.nvls.is_some() && self.spans_trays() => &[Algorithm::Tree, Algorithm::NvlsTree],
            // Pairs too: two nodes with two H100 each were listed at 147 GB/s, which no ring reaches over their NICs.
            Op::AllReduce if self.lines.nvls.is_some() && self.shape.least() > 1 => {
                &[Algorithm::Ring, Algorithm::Tree, Algorithm::NvlsTree]
            }
            Op::AllReduce => &[Algorithm::Ring, Algorithm::Tree],
            Op::AllGather | Op::ReduceScatter if self.shape.torus.is_some() => &[Algorithm::Torus, Algorithm::Ring],
            Op::AllGather | Op::ReduceScatter if self.shape.most() == 1 => &[Algorithm::Ring, Algorithm::Pat],
            Op::AllToAll => &[Algorithm::Pairwise],
            Op::Gather | Op::Scatter => &[Algorithm::Direct],
            _ => &[Algorithm::Ring],
        };
        let mut best: Option<(f64, Chosen)> = None;
        for &algorithm in candidates {
            let Some(chosen) = self.choice_across(op, bytes, algorithm) else { continue };
            let time = chosen.line.latency + bytes / chosen.line.rate.min(self.link_rate(op, algorithm));
            if best.as_ref().is_none_or(|b| time < b.0) {
                best = Some((time, chosen));
            }
        }
        let none = Chosen { line: Line { latency: 0.0, rate: f64::INFINITY }, algorithm: Algorithm::Ring, protocol: Protocol::Simple };
        best.map_or(none, |b| b.1)
    }
}
