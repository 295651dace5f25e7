//! Lines of a collective that spans scale-up domains, and the choice among its algorithms on idle links.

use super::choose::LL128_SHARE;
use super::communicator::Communicator;
use super::constants::{NetworkRow, constants};
use super::timing::{Chosen, Line, nvls, ring_edge};
use super::{Algorithm, Op, Protocol};
use crate::fabric::LinkKind;
use crate::hardware::NicProtocol;

/// Share of the wire that trees reach: two p4de nodes 41.8 of 50 GB/s (0.84); four H200 nodes, NVLS tree forced, 160 of 200 GB/s (0.80).
const TREE_SHARE: f64 = 0.82;

/// Share of a tree's rate that LL reaches (NCCL 2.30, `src/graph/tuning.cc`).
const LL_TREE_SHARE: f64 = 1.0 / 3.8;

/// What a pair of NVL72 racks moves in an all-reduce of all their ranks, bytes per second of payload (two racks of GB200, 128 ranks:
/// 891 us + s / 410 GB/s): about eight NICs' worth, not what all NICs could carry. More than two racks: `2 (K - 1) / K` of it, unverified.
/// A ring's edge between racks is held to the same rate.
const BETWEEN_RACKS: f64 = 410e9;

/// Start-ups across `nodes` nodes, seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) ring: f64,
    pub(super) tree: f64,
    pub(super) bulk: f64,
    pub(super) slow_share: f64,
    /// Of one message.
    pub(super) message: f64,
    /// One step of a doubling algorithm.
    pub(super) level: f64,
}

/// The start-ups of a network.
pub(super) fn start_of(protocol: NicProtocol, nodes: f64) -> Start {
    let row: &NetworkRow = constants().network(protocol);
    let levels = libm::log2(nodes.max(1.0)).ceil();
    Start {
        ring: row.ring_base.get() + row.ring_node.get() * nodes.min(64.0) + row.ring_level.get() * levels,
        tree: row.tree_base.get() + row.tree_level.get() * levels,
        bulk: row.bulk.get(),
        slow_share: *row.slow_share,
        message: row.message.get(),
        level: row.tree_level.get() / 2.0,
    }
}

impl Communicator<'_> {
    /// Start-up inside the domains.
    fn start(&self) -> f64 {
        let inner = (self.shape.most() as f64 - 1.0).max(0.0);
        self.lines.base + 2.0 * inner * self.lines.hop
    }

    /// The line of an algorithm over several domains; `None` where it has no such form.
    pub(super) fn line_across(&self, op: Op, bytes: f64, algorithm: Algorithm) -> Option<Line> {
        let net = start_of(self.protocol, self.nodes);
        let all_reduce = op == Op::AllReduce;
        let gathers = matches!(op, Op::AllGather | Op::ReduceScatter);
        let levels = libm::log2(self.shape.ranks as f64).ceil();
        let least = self.shape.least() as f64;
        let rings = matches!(op, Op::AllReduce | Op::AllGather | Op::ReduceScatter | Op::Broadcast | Op::Reduce);
        Some(match algorithm {
            Algorithm::Ring if rings => {
                let inside = self.lines.rate.min(if self.spans_trays() { BETWEEN_RACKS } else { f64::INFINITY });
                Line { latency: self.start() + net.ring + net.bulk, rate: inside / ring_edge(op, self.shape.ranks) }
            }
            Algorithm::Tree if all_reduce => self.tree_line(bytes, algorithm, Line { latency: self.start(), rate: self.lines.rate / 2.0 }),
            Algorithm::NvlsTree if all_reduce && self.lines.nvls.is_some() => {
                self.tree_line(bytes, algorithm, nvls(&self.lines, self.shape.most() as f64, bytes))
            }
            Algorithm::Collnet if all_reduce && self.fabric.reduces_in_network() && self.shape.is_even() => {
                // One trip up and down the switches; inside the domain the reduction of NVLS, where there is one.
                let inside = if self.lines.nvls.is_some() { nvls(&self.lines, least, bytes).rate } else { self.lines.rate / 2.0 };
                Line { latency: self.start() + net.tree, rate: inside }
            }
            Algorithm::Pat if gathers => Line { latency: self.start() + net.level * levels, rate: f64::INFINITY },
            Algorithm::HalvingDoubling if self.shape.ranks.is_power_of_two() && (all_reduce || gathers) => {
                Line { latency: self.start() + net.level * levels * if all_reduce { 2.0 } else { 1.0 }, rate: f64::INFINITY }
            }
            Algorithm::Hierarchical if self.shape.is_even() && (all_reduce || gathers) => {
                let factor = if all_reduce { 2.0 } else { 1.0 };
                let start = self.lines.bulk_base + factor * (least - 1.0) * self.lines.bulk_hop;
                // Its phases follow each other: what the payload takes inside adds to what it takes outside.
                let inside = factor * (least - 1.0) / least / self.lines.rate;
                Line { latency: start + net.ring, rate: 1.0 / (inside + 1.0 / self.rate_outside(op, algorithm)) }
            }
            Algorithm::Hierarchical if self.shape.is_even() && op == Op::AllToAll => {
                Line { latency: net.ring + self.lines.base + self.lines.hop * (least - 1.0), rate: f64::INFINITY }
            }
            Algorithm::Torus if self.shape.torus.is_some() && self.shape.is_even() && (all_reduce || gathers) => {
                Line { latency: self.torus_start(op) + net.ring, rate: f64::INFINITY }
            }
            Algorithm::Pairwise if op == Op::AllToAll => Line { latency: net.ring + self.messages(least), rate: f64::INFINITY },
            Algorithm::Direct if matches!(op, Op::Gather | Op::Scatter) => {
                Line { latency: net.message + net.level * levels + self.messages(least), rate: f64::INFINITY }
            }
            _ => return None,
        })
    }

    /// The line of a ring or a tree over several domains under a protocol, with the steps of the library's cost model; the links' rate is in
    /// it, since a protocol's flags take a share of what they carry.
    pub(super) fn line_by(&self, op: Op, bytes: f64, algorithm: Algorithm, protocol: Protocol) -> Option<Line> {
        let t = self.lines.tuner;
        let at = protocol as usize;
        let (base, hop, ring_share, tree_share) = match protocol {
            Protocol::Ll => (t.base.get(), t.hop.get(), *t.ll_share, LL_TREE_SHARE),
            Protocol::Ll128 => (t.ll128.first()?.get(), t.ll128.get(1)?.get(), LL128_SHARE, 120.0 / 128.0),
            Protocol::Simple => (t.bulk_base.get(), t.bulk_hop.get(), 1.0, 1.0),
        };
        let (n, domains) = (self.shape.ranks as f64, self.shape.count() as f64);
        let plain = self.line_across(op, bytes, algorithm)?;
        let rate = plain.rate.min(self.link_rate(op, algorithm));
        match algorithm {
            Algorithm::Ring => {
                let trips = if op == Op::AllReduce { 2.0 } else { 1.0 };
                let inside = hop.max(t.overhead.get(at)?.get());
                let steps = trips * (n - domains) * inside + trips * (domains - 1.0) * t.ring_across.get(at)?.get();
                let plateau = if protocol == Protocol::Simple && op == Op::AllReduce { *t.plateau } else { 1.0 };
                Some(Line { latency: plateau * (base + steps), rate: ring_share * rate })
            }
            Algorithm::Tree => {
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

    /// A tree over several domains; on EFA a part of its rate until its bulk start-up pays.
    fn tree_line(&self, bytes: f64, algorithm: Algorithm, inside: Line) -> Line {
        let net = start_of(self.protocol, self.nodes);
        let mut rate = (TREE_SHARE * self.link_rate(Op::AllReduce, algorithm)).min(inside.rate);
        if self.spans_trays() {
            let k = self.shape.count() as f64;
            rate = rate.min(BETWEEN_RACKS * k / (2.0 * (k - 1.0)));
        }
        let tree = Line { latency: inside.latency + net.tree, rate };
        let slow = Line { rate: net.slow_share * rate, ..tree };
        slow.or(bytes, Line { latency: tree.latency + net.bulk, ..tree })
    }

    /// Whether its domains hold several nodes each (NVL72).
    pub(super) fn spans_trays(&self) -> bool {
        self.nodes > self.shape.count() as f64
    }

    /// The best algorithm over several domains on idle links, among those that the library would take.
    pub(super) fn across(&self, op: Op, bytes: f64) -> Chosen {
        let candidates: &[Algorithm] = match op {
            Op::AllReduce if self.shape.torus.is_some() => &[Algorithm::Torus, Algorithm::Ring],
            Op::AllReduce if self.lines.nvls.is_some() && self.spans_trays() => &[Algorithm::NvlsTree],
            Op::AllReduce if self.lines.nvls.is_some() && self.shape.least() > 2 => {
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
            let Some(line) = self.line_across(op, bytes, algorithm) else { continue };
            let time = line.latency + bytes / line.rate.min(self.link_rate(op, algorithm));
            let protocol = if bytes < 1e6 { Protocol::Ll } else { Protocol::Simple };
            if best.as_ref().is_none_or(|b| time < b.0) {
                best = Some((time, Chosen { line, algorithm, protocol }));
            }
        }
        let none = Chosen { line: Line { latency: 0.0, rate: f64::INFINITY }, algorithm: Algorithm::Ring, protocol: Protocol::Simple };
        best.map_or(none, |b| b.1)
    }
}
