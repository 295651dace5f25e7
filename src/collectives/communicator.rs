//! A class of symmetric groups: its shape on the fabric, the plan of an operation, its traffic.

use super::across::Network;
use super::book::{Load, known};
use super::choose::in_domain;
use super::constants::constants;
use super::edges::{Traffic, traffic};
use super::platform::{Library, ScaleUpLines, lines_of};
use super::schedule::Schedule;
use super::shape::{Shape, widest};
use super::timing::{Chosen, Line, all_to_all, engine, nvls, ring, ring_edge};
use super::tokens::Routing;
use super::{Algorithm, Engine, Op, Protocol};
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::hardware::{Accelerator, AcceleratorKind, NicProtocol};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::sync::Arc;

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
type TrafficCache = RefCell<FxHashMap<(Op, Algorithm), Load>>;

/// A class of groups of the same shape that act at the same time.
pub struct Communicator<'f> {
    pub(super) fabric: &'f Fabric,
    groups: Vec<Vec<AcceleratorId>>,
    pub(super) shape: Shape,
    pub(super) lines: ScaleUpLines,
    pub(super) technology: String,
    /// What it needs between its nodes.
    pub(super) network: Network,
    /// Line rate of a NIC.
    pub(super) nic_rate: f64,
    pub(super) nodes: f64,
    pub(super) engine: Engine,
    sm_share: f64,
    /// Channels of its kernels.
    channels: f64,
    /// Compute units of the part; 0 where collectives run on engines of their own.
    units: f64,
    /// Bytes per second that the best kernels reach.
    memory_bandwidth: f64,
    pub(super) routing: Option<Routing>,
    measured: bool,
    traffic: TrafficCache,
    /// Lines of exchanges of tokens, found when first asked for.
    pub(super) token_lines: RefCell<FxHashMap<(Op, Algorithm), Line>>,
}

/// Share of the data sheet's memory bandwidth that the best memory-bound kernels reach: decode attention of long contexts, 0.86 to 0.92 on
/// H100 and 0.84 to 0.89 on B200 (`tests/validation/attention.csv`).
const BEST_MEMORY_SHARE: f64 = 0.92;

/// Send and receive kernels hold about two channels a peer, of the channels that there are.
const SEND_CHANNELS: f64 = 4.0;

/// Share of the compute units that collective kernels hold; only graphics processors run them there (TPU, Gaudi and Trainium have engines
/// of their own for it).
fn kernel_share(part: &Accelerator, library: &Library) -> f64 {
    if *part.kind == AcceleratorKind::Gpu { (library.units() / *part.compute_units as f64).min(0.5) } else { 0.0 }
}

impl<'f> Communicator<'f> {
    /// A class of groups of equal length; members in ring order.
    #[must_use]
    pub fn new(fabric: &'f Fabric, library: &Library, groups: &[Vec<AcceleratorId>]) -> Self {
        Self::of(fabric, library, groups.to_vec())
    }

    /// The same of groups that nobody else needs.
    #[must_use]
    pub fn of(fabric: &'f Fabric, library: &Library, groups: Vec<Vec<AcceleratorId>>) -> Self {
        let (group, shape) = widest(fabric, &groups);
        let (lines, measured) = lines_of(fabric, &group[shape.domains[0].clone()]);
        let lines = lines.over(library.channels);
        let part = fabric.part(group[0]);
        let node = fabric.site(group[0]).node;
        let mut nodes: Vec<_> = group.iter().map(|&a| fabric.site(a).node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let domains = shape.count() as f64;
        Self {
            fabric,
            shape,
            lines,
            technology: part.scale_up.value.clone().unwrap_or_default(),
            network: fabric
                .nic(node)
                .map_or_else(|| Network::of(NicProtocol::Tcp, "", domains), |n| Network::of(*n.protocol, &n.id, domains)),
            nic_rate: fabric.nic(node).map_or(0.0, |n| n.bandwidth.get()),
            nodes: nodes.len() as f64,
            engine: library.engine,
            sm_share: kernel_share(part, library),
            channels: library.units(),
            units: if *part.kind == AcceleratorKind::Gpu { *part.compute_units as f64 } else { 0.0 },
            memory_bandwidth: BEST_MEMORY_SHARE * part.memory_bandwidth.get(),
            routing: None,
            measured,
            traffic: RefCell::default(),
            token_lines: RefCell::default(),
            groups,
        }
    }

    /// How tokens visit the experts on its ranks.
    #[must_use]
    pub fn with_routing(mut self, routing: Routing) -> Self {
        self.routing = Some(routing);
        self.token_lines = RefCell::default();
        self.traffic = RefCell::default();
        self
    }

    /// Ranks of a group.
    #[must_use]
    pub const fn ranks(&self) -> usize {
        self.shape.ranks
    }
    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[Vec<AcceleratorId>] {
        &self.groups
    }
    pub(super) fn technology(&self) -> &str {
        &self.technology
    }
    /// Whether the constants were measured on this kind of platform; else they are data-sheet defaults.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measured
    }

    /// Whether the rate of one channel is known, so that their number can be chosen.
    #[must_use]
    pub const fn knows_channels(&self) -> bool {
        self.lines.channel.is_some()
    }

    /// Where the constants come from: those inside a domain, where something is known of its links; those between nodes; the cost model
    /// that picks algorithm and protocol.
    #[must_use]
    pub fn sources(&self) -> (Option<&'static str>, &'static str, &'static str) {
        let inside = constants().lines(&self.technology).map(|row| row.source.value.as_str());
        (inside, self.network.source(), self.lines.tuner.source.value.as_str())
    }

    /// What an operation of `bytes` does under an algorithm of the caller's choice; `None` where it has no such form here.
    #[must_use]
    pub fn plan_as(&self, op: Op, bytes: f64, algorithm: Algorithm) -> Option<Plan> {
        if self.shape.ranks < 2 {
            return None;
        }
        let line = if op.moves_tokens() {
            self.token_line(op, algorithm)
        } else if self.shape.count() == 1 {
            self.line_inside(op, bytes, algorithm)
        } else {
            self.line_across(op, bytes, algorithm)
        };
        line.map(|line| self.planned(op, Chosen { line, algorithm, protocol: Protocol::Simple }))
    }

    /// The same under a protocol of the caller's choice: rings inside one domain, rings and trees between nodes by the library's own figures.
    #[must_use]
    pub fn plan_by(&self, op: Op, bytes: f64, algorithm: Option<Algorithm>, protocol: Option<Protocol>) -> Option<Plan> {
        let Some(protocol) = protocol else {
            return algorithm.map_or_else(|| Some(self.plan(op, bytes)), |a| self.plan_as(op, bytes, a));
        };
        let rings = matches!(op, Op::AllReduce | Op::AllGather | Op::ReduceScatter | Op::Broadcast | Op::Reduce);
        let known = protocol != Protocol::Ll128 || self.lines.ll128;
        if !rings || !known || self.shape.ranks < 2 || self.shape.torus.is_some() {
            return None;
        }
        if self.shape.count() == 1 {
            let line = ring(&self.lines, op, self.shape.ranks as f64, protocol, bytes);
            return algorithm
                .is_none_or(|a| a == Algorithm::Ring)
                .then(|| self.planned(op, Chosen { line, algorithm: Algorithm::Ring, protocol }));
        }
        let of = |a: Algorithm| Some(Chosen { line: self.line_by(op, a, protocol)?, algorithm: a, protocol });
        let chosen = match algorithm {
            Some(algorithm) => of(algorithm)?,
            None => {
                let both = [Algorithm::Ring, Algorithm::Tree].into_iter().filter_map(of);
                both.min_by(|a, b| a.line.time(bytes).total_cmp(&b.line.time(bytes)))?
            }
        };
        Some(self.planned(op, chosen))
    }

    /// The line of an algorithm inside one domain.
    fn line_inside(&self, op: Op, bytes: f64, algorithm: Algorithm) -> Option<Line> {
        let (n, lines) = (self.shape.ranks as f64, &self.lines);
        let all_reduce = op == Op::AllReduce;
        let gathers = matches!(op, Op::AllGather | Op::ReduceScatter);
        let levels = libm::log2(n).ceil();
        // One message at a time on a port of the domain, at the rate of a ring edge.
        let port = |edge: f64| self.lines.rate / edge;
        Some(match algorithm {
            Algorithm::Ring if all_reduce || gathers || matches!(op, Op::Broadcast | Op::Reduce) => {
                ring(lines, op, n, Protocol::Simple, bytes)
            }
            Algorithm::Nvls if all_reduce && lines.nvls.is_some() => nvls(lines, n, bytes),
            Algorithm::Pairwise if op == Op::AllToAll => all_to_all(&self.technology, lines, n, bytes),
            Algorithm::HalvingDoubling if self.shape.ranks.is_power_of_two() && (all_reduce || gathers) => {
                let steps = levels * if all_reduce { 2.0 } else { 1.0 };
                Line { latency: lines.bulk_base + steps * lines.bulk_hop, rate: port(ring_edge(op, self.shape.ranks)) }
            }
            Algorithm::Pat if gathers => {
                Line { latency: lines.bulk_base + levels * lines.bulk_hop, rate: port(ring_edge(op, self.shape.ranks)) }
            }
            Algorithm::Torus if self.shape.torus.is_some() && (all_reduce || gathers) => {
                Line { latency: self.torus_start(op), rate: f64::INFINITY }
            }
            Algorithm::Direct if matches!(op, Op::Gather | Op::Scatter) => {
                Line { latency: lines.base + lines.hop * (n - 1.0), rate: port(ring_edge(op, self.shape.ranks)) }
            }
            Algorithm::OneShot | Algorithm::TwoShot if all_reduce => {
                let row = constants().engine(self.engine, &self.technology)?;
                let (line, factor) =
                    if algorithm == Algorithm::OneShot { (&row.one_shot, n - 1.0) } else { (&row.two_shot, 2.0 * (n - 1.0) / n) };
                Line { latency: line.a.get() + line.h.get() * n, rate: line.b.get() / factor }
            }
            _ => return None,
        })
    }

    /// What an operation of `bytes` does.
    #[must_use]
    pub fn plan(&self, op: Op, bytes: f64) -> Plan {
        if self.shape.ranks < 2 {
            let line = Line { latency: 0.0, rate: f64::INFINITY };
            let chosen = Chosen { line, algorithm: Algorithm::Direct, protocol: Protocol::Simple };
            return Plan { kernel_sm_share: 0.0, ..self.planned(op, chosen) };
        }
        let chosen = match op {
            Op::SendRecv => self.message(bytes),
            // A barrier is an all-reduce of one number.
            Op::Barrier => {
                let plan = self.plan(Op::AllReduce, 8.0);
                let latency = self.time_of(Op::AllReduce, 8.0, &plan);
                Chosen { line: Line { latency, rate: f64::INFINITY }, algorithm: plan.algorithm, protocol: plan.protocol }
            }
            // Where nothing says how tokens visit experts, every rank's are spread evenly.
            Op::Dispatch | Op::Combine => self.token_choice(op, bytes).map_or_else(
                || Chosen { algorithm: Algorithm::Pairwise, ..self.any(Op::AllToAll, bytes) },
                |(line, algorithm)| Chosen { line, algorithm, protocol: Protocol::Simple },
            ),
            _ => self.any(op, bytes),
        };
        // A barrier was calibrated as the all-reduce that it is.
        self.planned(op, if op == Op::Barrier { chosen } else { self.calibrated(op, bytes, chosen) })
    }

    /// The library's choice for an operation of its own.
    fn any(&self, op: Op, bytes: f64) -> Chosen {
        if self.shape.count() > 1 { self.across(op, bytes) } else { self.inside(op, bytes) }
    }

    fn planned(&self, op: Op, chosen: Chosen) -> Plan {
        let share = match (op, chosen.algorithm, self.routing) {
            (Op::SendRecv, ..) => (SEND_CHANNELS / self.channels).min(1.0) * self.sm_share,
            // The low-latency kernels leave the device while bytes travel (a hook receives later).
            (_, Algorithm::LowLatency, _) => 0.0,
            (_, Algorithm::OneCopy, Some(routing)) if self.units > 0.0 => (routing.compute_units / self.units).min(0.5),
            _ => self.sm_share,
        };
        Plan {
            algorithm: chosen.algorithm,
            protocol: chosen.protocol,
            latency_s: chosen.line.latency,
            rate_cap: chosen.line.rate,
            kernel_sm_share: share,
        }
    }

    /// The library's choice inside one domain.
    fn inside(&self, op: Op, bytes: f64) -> Chosen {
        let n = self.shape.ranks as f64;
        let own = match op {
            Op::AllReduce if self.engine != Engine::Nccl => {
                constants().engine(self.engine, &self.technology).and_then(|row| engine(row, n, self.spans_trays(), bytes))
            }
            _ => None,
        };
        let forced = match op {
            Op::AllToAll => Some(Algorithm::Pairwise),
            Op::Gather | Op::Scatter => Some(Algorithm::Direct),
            Op::AllReduce | Op::AllGather | Op::ReduceScatter if self.shape.torus.is_some() => Some(Algorithm::Torus),
            _ => None,
        };
        let forced = forced.and_then(|algorithm| {
            let line = self.line_inside(op, bytes, algorithm)?;
            Some(Chosen { line, algorithm, protocol: Protocol::Simple })
        });
        own.or(forced).unwrap_or_else(|| in_domain(&self.lines, op, n, bytes))
    }

    /// A message from the first rank of each group to the second.
    fn message(&self, bytes: f64) -> Chosen {
        let path = self.load(Op::SendRecv, Algorithm::Direct).longest;
        let line = if self.shape.count() == 1 {
            Line { latency: self.lines.base + self.lines.hop + path, rate: self.lines.rate }
        } else {
            // Start-up of a send over the network: library and proxy thread, above the wire.
            Line { latency: self.network.message() + path, rate: f64::INFINITY }
        };
        let protocol = if bytes < 65536.0 { Protocol::Ll } else { Protocol::Simple };
        Chosen { line, algorithm: Algorithm::Direct, protocol }
    }

    /// Payload rate that the links alone allow.
    #[must_use]
    pub fn link_rate(&self, op: Op, algorithm: Algorithm) -> f64 {
        self.load(op, algorithm).rate
    }

    /// Bytes on each link per byte of payload, all groups of the class together.
    pub fn traffic(&self, op: Op, algorithm: Algorithm) -> Arc<[(LinkId, f64)]> {
        self.load(op, algorithm).links
    }

    /// Seconds of a rank's memory that a byte of payload takes: what kernels read and write, over the bandwidth that the best kernels reach.
    #[must_use]
    pub fn memory_time(&self, op: Op, algorithm: Algorithm) -> f64 {
        self.load(op, algorithm).memory / self.memory_bandwidth
    }

    fn load(&self, op: Op, algorithm: Algorithm) -> Load {
        // A scatter runs over the edges of a gather, backwards or not.
        let op = if op == Op::ReduceScatter { Op::AllGather } else { op };
        if let Some(known) = self.traffic.borrow().get(&(op, algorithm)) {
            return known.clone();
        }
        let compute = || {
            let Traffic { links, longest, memory } = if self.shape.ranks < 2 {
                Traffic { links: Vec::new(), longest: 0.0, memory: 0.0 }
            } else {
                traffic(self.fabric, &self.groups, self.routing.as_ref(), op, algorithm)
            };
            let rate = links.iter().map(|&(link, c)| self.fabric.link(link).capacity / c).fold(f64::INFINITY, f64::min);
            Load { links: links.into(), rate, longest, memory }
        };
        let load = if self.routing.is_none() { known(self.fabric, &self.groups, op, algorithm, compute) } else { compute() };
        self.traffic.borrow_mut().insert((op, algorithm), load.clone());
        load
    }

    /// Greatest number of messages that the operation takes message by message in one of the groups.
    #[must_use]
    pub fn most_messages(&self, op: Op, algorithm: Algorithm, chunks: u32) -> f64 {
        Schedule::most(self.fabric, &self.groups[0], op, algorithm, chunks)
    }

    /// The same operation message by message; `None` where it is not messages between ranks.
    #[must_use]
    pub fn schedule(&self, op: Op, algorithm: Algorithm, chunks: u32) -> Option<Schedule> {
        if self.shape.ranks < 2 {
            None
        } else {
            Schedule::of(self.fabric, &self.groups, self.routing.as_ref(), op, algorithm, chunks, self.lines.rate)
        }
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
