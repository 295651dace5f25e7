//! A class of symmetric groups: its shape on the fabric, the plan of an operation, its traffic.

use super::choose::in_domain;
use super::platform::{Library, ScaleUpLines, lines_of, network_latency};
use super::timing::{Chosen, Line, all_to_all, nvls, ring};
use super::traffic::{ring_edge, traffic, tree_edge};
use super::{Algorithm, Op, Protocol};
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::hardware::NicProtocol;
use crate::ids::Id;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// How the ranks of a group lie on scale-up domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Ranks of a group.
    pub(super) ranks: usize,
    /// Domains that it spans.
    pub(super) domains: usize,
    /// Ranks in each.
    pub(super) per_domain: usize,
    /// Whether every domain holds equally many, one after the other.
    pub(super) even: bool,
}

/// What an operation of some size does: names, latency, greatest rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Protocol.
    pub protocol: Protocol,
    /// Seconds before bytes flow: start-up and steps.
    pub latency_s: f64,
    /// Payload bytes per second that protocol, channels and copies allow, whatever the links could.
    pub rate_cap: f64,
    /// Share of the device's compute units that the operation's kernels hold.
    pub kernel_sm_share: f64,
}

/// Loads by operation and algorithm, computed when first asked for.
type TrafficCache = RefCell<FxHashMap<(Op, Algorithm), Rc<[(LinkId, f64)]>>>;

/// A class of groups of the same shape that act at the same time.
pub struct Communicator<'f> {
    fabric: &'f Fabric,
    groups: Vec<Vec<AcceleratorId>>,
    shape: Shape,
    lines: ScaleUpLines,
    technology: String,
    protocol: NicProtocol,
    nodes: f64,
    sm_share: f64,
    measured: bool,
    traffic: TrafficCache,
}

/// Send and receive kernels hold about two channels a peer.
const SEND_CHANNELS: f64 = 4.0;

impl<'f> Communicator<'f> {
    /// A class of groups of equal length; members in ring order.
    #[must_use]
    pub fn new(fabric: &'f Fabric, library: &Library, groups: &[Vec<AcceleratorId>]) -> Self {
        let group = &groups[0];
        let shape = shape_of(fabric, group);
        let domain = fabric.domain(fabric.site(group[0]).domain);
        let (lines, measured) = lines_of(fabric, domain, shape.per_domain.max(2));
        let part = fabric.part(group[0]);
        let node = fabric.site(group[0]).node;
        let mut nodes: Vec<_> = group.iter().map(|&a| fabric.site(a).node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Self {
            fabric,
            groups: groups.to_vec(),
            shape,
            lines,
            technology: part.scale_up.value.clone().unwrap_or_default(),
            protocol: fabric.nic(node).map_or(NicProtocol::Tcp, |n| *n.protocol),
            nodes: nodes.len() as f64,
            sm_share: (f64::from(library.channels) / *part.compute_units as f64).min(0.5),
            measured,
            traffic: RefCell::default(),
        }
    }

    /// Ranks of a group.
    #[must_use]
    pub const fn ranks(&self) -> usize {
        self.shape.ranks
    }
    /// Whether the constants were measured on this kind of platform; else they are data-sheet defaults.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measured
    }

    /// What an operation of `bytes` does under an algorithm of the caller's choice; `None` where it has no such form here.
    #[must_use]
    pub fn plan_as(&self, op: Op, bytes: f64, algorithm: Algorithm) -> Option<Plan> {
        let n = self.shape.ranks as f64;
        let inside = self.shape.domains == 1;
        let all_reduce = op == Op::AllReduce;
        let line = match algorithm {
            Algorithm::Ring if inside && op != Op::AllToAll => ring(&self.lines, op, n, Protocol::Simple, bytes),
            Algorithm::Nvls if inside && all_reduce && self.lines.nvls.is_some() => nvls(&self.lines, n, bytes),
            Algorithm::Ring if op != Op::AllToAll => self.ring_line(op),
            Algorithm::Tree if !inside && all_reduce => self.tree_line(op, bytes),
            Algorithm::Hierarchical if !inside && all_reduce && self.shape.even => {
                let (latency, ..) = network_latency(self.protocol, self.nodes);
                let m = self.shape.per_domain as f64;
                let start = self.lines.bulk_base + 2.0 * (m - 1.0) * self.lines.bulk_hop;
                Line { latency: start + latency, rate: self.lines.rate / (2.0 * (m - 1.0) / m).max(1e-9) }
            }
            _ => return None,
        };
        let plan = self.plan(op, bytes);
        Some(Plan { algorithm, protocol: Protocol::Simple, latency_s: line.latency, rate_cap: line.rate, ..plan })
    }

    /// What an operation of `bytes` does.
    #[must_use]
    pub fn plan(&self, op: Op, bytes: f64) -> Plan {
        let n = self.shape.ranks as f64;
        if self.shape.ranks < 2 {
            return Plan {
                algorithm: Algorithm::Direct,
                protocol: Protocol::Simple,
                latency_s: 0.0,
                rate_cap: f64::INFINITY,
                kernel_sm_share: 0.0,
            };
        }
        let chosen = match op {
            Op::SendRecv => self.message(bytes),
            Op::AllToAll if self.shape.domains == 1 => Chosen {
                line: all_to_all(&self.technology, &self.lines, n, bytes),
                algorithm: Algorithm::Pairwise,
                protocol: Protocol::Simple,
            },
            Op::AllToAll => {
                let (ring, ..) = network_latency(self.protocol, self.nodes);
                Chosen { line: Line { latency: ring, rate: f64::INFINITY }, algorithm: Algorithm::Pairwise, protocol: Protocol::Simple }
            }
            _ if self.shape.domains == 1 => in_domain(&self.lines, op, n, bytes),
            _ => self.across(op, bytes),
        };
        let share = if op == Op::SendRecv { SEND_CHANNELS / 20.0 * self.sm_share } else { self.sm_share };
        Plan {
            algorithm: chosen.algorithm,
            protocol: chosen.protocol,
            latency_s: chosen.line.latency,
            rate_cap: chosen.line.rate,
            kernel_sm_share: share,
        }
    }

    /// A message from the first rank of each group to the second.
    fn message(&self, bytes: f64) -> Chosen {
        let group = &self.groups[0];
        let path = self.fabric.route(group[0], group[1], 0, &mut |_, _| {});
        let line = if self.shape.domains == 1 {
            Line { latency: self.lines.base + self.lines.hop + path, rate: self.lines.rate }
        } else {
            // Start-up of a send over the network: library and proxy thread, about 15 us above the wire.
            Line { latency: 15e-6 + path, rate: f64::INFINITY }
        };
        let protocol = if bytes < 65536.0 { Protocol::Ll } else { Protocol::Simple };
        Chosen { line, algorithm: Algorithm::Direct, protocol }
    }

    /// Start-up inside the domains.
    fn start(&self) -> f64 {
        let inner = (self.shape.per_domain as f64 - 1.0).max(0.0);
        self.lines.base + 2.0 * inner * self.lines.hop
    }

    /// A ring over several domains.
    fn ring_line(&self, op: Op) -> Line {
        let (latency, _, bulk) = network_latency(self.protocol, self.nodes);
        Line { latency: self.start() + latency + bulk, rate: self.lines.rate / ring_edge(op, self.shape.ranks) }
    }

    /// A tree over several domains. It reaches 0.84 of the wire (two p4de nodes: 41.8 of 50 GB/s); on EFA a third of it until
    /// its bulk start-up pays.
    fn tree_line(&self, op: Op, bytes: f64) -> Line {
        let (_, latency, bulk) = network_latency(self.protocol, self.nodes);
        let rate = (0.84 * self.link_rate(op, Algorithm::Tree)).min(self.lines.rate / tree_edge(&self.shape).max(1.0));
        let tree = Line { latency: self.start() + latency, rate };
        if self.protocol != NicProtocol::Efa {
            return tree;
        }
        let (small, large) = (Line { rate: 0.33 * rate, ..tree }, Line { latency: tree.latency + bulk, ..tree });
        if small.time(bytes) < large.time(bytes) { small } else { large }
    }

    /// Ring or tree over several domains, whichever is faster on idle links.
    fn across(&self, op: Op, bytes: f64) -> Chosen {
        let candidate = |line: Line, algorithm| {
            let time = line.latency + bytes / line.rate.min(self.link_rate(op, algorithm));
            (time, Chosen { line, algorithm, protocol: if bytes < 1e6 { Protocol::Ll } else { Protocol::Simple } })
        };
        let (ring_time, ring) = candidate(self.ring_line(op), Algorithm::Ring);
        if op != Op::AllReduce {
            return ring;
        }
        let (tree_time, tree) = candidate(self.tree_line(op, bytes), Algorithm::Tree);
        if tree_time < ring_time { tree } else { ring }
    }

    /// Payload rate that the links alone allow.
    #[must_use]
    pub fn link_rate(&self, op: Op, algorithm: Algorithm) -> f64 {
        self.traffic(op, algorithm).iter().map(|&(link, c)| self.fabric.link(link).capacity / c).fold(f64::INFINITY, f64::min)
    }

    /// Bytes on each link per byte of payload, all groups of the class together.
    pub fn traffic(&self, op: Op, algorithm: Algorithm) -> Rc<[(LinkId, f64)]> {
        if let Some(known) = self.traffic.borrow().get(&(op, algorithm)) {
            return Rc::clone(known);
        }
        let loads: Rc<[(LinkId, f64)]> =
            if self.shape.ranks < 2 { Rc::from([]) } else { traffic(self.fabric, &self.groups, &self.shape, op, algorithm).into() };
        self.traffic.borrow_mut().insert((op, algorithm), Rc::clone(&loads));
        loads
    }

    /// Seconds of an operation on an idle fabric.
    #[must_use]
    pub fn time_alone(&self, op: Op, bytes: f64) -> f64 {
        self.time_of(op, bytes, &self.plan(op, bytes))
    }

    /// Seconds of an operation under a plan on an idle fabric.
    #[must_use]
    pub fn time_of(&self, op: Op, bytes: f64, plan: &Plan) -> f64 {
        plan.latency_s + bytes / plan.rate_cap.min(self.link_rate(op, plan.algorithm))
    }
}

fn shape_of(fabric: &Fabric, group: &[AcceleratorId]) -> Shape {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &a in group {
        let domain = fabric.site(a).domain.index();
        match runs.last_mut() {
            Some(last) if last.0 == domain => last.1 += 1,
            _ => runs.push((domain, 1)),
        }
    }
    let even = runs.iter().all(|r| r.1 == runs[0].1);
    Shape { ranks: group.len(), domains: runs.len(), per_domain: runs.iter().map(|r| r.1).max().unwrap_or(1), even }
}
