//! The same algorithms message by message: who sends how much to whom after what. The oracle of the coupled form.

use super::edges::{double_tree, gate};
use super::rings::{InnerRings, rings_of};
use super::shape::Shape;
use super::timing::ring_edge;
use super::tokens::Routing;
use super::{Algorithm, Op};
use crate::fabric::{AcceleratorId, Fabric};
use rustc_hash::FxHashMap;

/// One message between two ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Message {
    /// Sender.
    pub from: AcceleratorId,
    /// Receiver.
    pub to: AcceleratorId,
    /// Passed on by this rank of the sender's domain (its NIC is used), where it is another than the sender.
    pub via: Option<AcceleratorId>,
    /// Bytes per byte of payload.
    pub share: f64,
    /// Bytes per byte of payload of all messages of its lane together: they follow each other. Infinite where only links and
    /// [`Schedule::inside_rate`] limit it.
    pub lane: f64,
}

/// Messages and what they wait for.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    /// The messages.
    pub messages: Vec<Message>,
    /// (earlier, later) where the later passes on what the earlier brought: the later starts a step after it.
    pub data: Vec<(u32, u32)>,
    /// (earlier, later) on one lane: the later starts when the earlier ends.
    pub order: Vec<(u32, u32)>,
    /// Steps on the longest way of data: the start-up of the operation is spread over them.
    pub depth: u32,
    /// Greatest rate of a message inside a scale-up domain, bytes per second.
    pub inside_rate: f64,
    last: FxHashMap<(u32, u32), u32>,
}

impl Schedule {
    /// The schedule of all groups; `None` for algorithms that are not messages between ranks (reduction in switches, open lines of a
    /// torus) or that have no form for the operation. Pipelined algorithms cut the payload into `chunks`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn of(
        fabric: &Fabric,
        groups: &[Vec<AcceleratorId>],
        routing: Option<&Routing>,
        op: Op,
        algorithm: Algorithm,
        chunks: u32,
        inside_rate: f64,
    ) -> Option<Self> {
        let mut out = Self { inside_rate, ..Self::default() };
        for group in groups {
            let shape = Shape::of(fabric, group);
            let builder = Builder { fabric, group, shape: &shape, chunks: chunks.max(1), out: &mut out };
            match (op.moves_tokens(), routing) {
                (true, Some(routing)) => builder.tokens(routing, op, algorithm)?,
                _ => builder.build(op, algorithm)?,
            }
        }
        out.last = FxHashMap::default();
        Some(out)
    }

    /// Greatest number of messages that [`Schedule::of`] writes for a group, to be known before they are written; none for what is not messages.
    pub(super) fn most(fabric: &Fabric, group: &[AcceleratorId], op: Op, algorithm: Algorithm, chunks: u32) -> f64 {
        let shape = Shape::of(fabric, group);
        let (n, m, k, chunks) = (shape.ranks as f64, shape.least() as f64, shape.count() as f64, f64::from(chunks));
        let rings = match shape.count() {
            1 => rings_of(fabric, group).len() as f64,
            _ => m * InnerRings::new().of(fabric, &group[shape.domains[0].clone()]).len() as f64,
        };
        let pipelined = matches!(op, Op::Broadcast | Op::Reduce);
        match algorithm {
            Algorithm::Ring if pipelined => rings * chunks * n,
            Algorithm::Ring => rings * 2.0 * n * n,
            Algorithm::Tree => chunks * m * 4.0 * k,
            Algorithm::Pat | Algorithm::HalvingDoubling => 2.0 * n * libm::log2(n).ceil(),
            Algorithm::Hierarchical => 2.0 * n * (m + k),
            Algorithm::Torus => shape.torus.iter().flatten().map(|s| 12.0 * n * s.0 as f64).sum(),
            Algorithm::Direct => n,
            Algorithm::Nvls | Algorithm::NvlsTree | Algorithm::Collnet => 0.0,
            _ => n * n,
        }
    }

    /// Adds a message behind the last one of its sender's lane; `after` brought what it sends.
    pub(super) fn push(&mut self, message: Message, lane: u32, after: Option<u32>) -> u32 {
        let id = self.messages.len() as u32;
        if let Some(earlier) = self.last.insert((message.from.0, lane), id) {
            self.order.push((earlier, id));
        }
        if let Some(earlier) = after {
            self.data.push((earlier, id));
        }
        self.messages.push(message);
        id
    }
}

/// Writes the messages of one group.
pub(super) struct Builder<'a> {
    fabric: &'a Fabric,
    pub(super) group: &'a [AcceleratorId],
    pub(super) shape: &'a Shape,
    pub(super) chunks: u32,
    pub(super) out: &'a mut Schedule,
}

/// One ring: its members in order, each with the rank that passes its messages on.
pub(super) type Ring = Vec<(AcceleratorId, Option<AcceleratorId>)>;

impl Builder<'_> {
    fn build(mut self, op: Op, algorithm: Algorithm) -> Option<()> {
        let n = self.shape.ranks;
        let reduces = matches!(op, Op::AllReduce | Op::AllGather | Op::ReduceScatter);
        match (op, algorithm) {
            (Op::SendRecv, Algorithm::Direct) => self.single(0, 1, 1.0, None),
            (Op::AllReduce | Op::AllGather | Op::ReduceScatter | Op::Broadcast | Op::Reduce, Algorithm::Ring) => self.rings(op)?,
            (Op::AllReduce, Algorithm::Tree) if self.shape.count() > 1 => self.tree(),
            (Op::AllGather | Op::ReduceScatter, Algorithm::Pat) => self.doubling(),
            (_, Algorithm::HalvingDoubling) if reduces && n.is_power_of_two() => self.halving(op),
            (_, Algorithm::Hierarchical) if reduces && self.shape.is_even() => self.hierarchical(op),
            (_, Algorithm::Torus) if reduces && self.shape.count() == 1 => self.torus(op)?,
            (Op::AllToAll, Algorithm::Pairwise) => self.pairwise(),
            (Op::Gather | Op::Scatter, Algorithm::Direct) => self.star(op),
            _ => return None,
        }
        Some(())
    }

    fn single(&mut self, from: usize, to: usize, share: f64, after: Option<u32>) {
        let message = Message { from: self.group[from], to: self.group[to], via: None, share, lane: share };
        self.out.push(message, 0, after);
        self.out.depth = self.out.depth.max(1);
    }

    /// All rings of the group.
    fn ring_list(&self) -> Option<Vec<Ring>> {
        let at = |i: usize| self.group[i];
        if self.shape.count() == 1 {
            let found = rings_of(self.fabric, self.group);
            let rings: Vec<Ring> = found.iter().map(|r| r.iter().map(|&i| (at(i), None)).collect()).collect();
            return (!rings.is_empty()).then_some(rings);
        }
        // Every rail once for each ring of the wiring inside the domains.
        let mut inner = InnerRings::new();
        let ways = self.shape.domains.iter().map(|d| inner.of(self.fabric, &self.group[d.clone()]).len()).max().unwrap_or(1);
        let mut rings = Vec::new();
        for c in 0..self.shape.least() {
            for way in 0..ways {
                let mut ring = Ring::new();
                for (d, domain) in self.shape.domains.iter().enumerate() {
                    let wired = inner.of(self.fabric, &self.group[domain.clone()]);
                    let order = &wired[way % wired.len()];
                    let first = gate(self.shape, d, c) - domain.start;
                    let at_gate = order.iter().position(|&r| r == first).unwrap_or(0);
                    for r in 0..order.len() {
                        let rank = at(domain.start + order[(at_gate + r) % order.len()]);
                        let via = (r + 1 == order.len() && r > 0).then(|| at(domain.start + first));
                        ring.push((rank, via));
                    }
                }
                rings.push(ring);
            }
        }
        Some(rings)
    }

    fn rings(&mut self, op: Op) -> Option<()> {
        let rings = self.ring_list()?;
        let share = 1.0 / rings.len() as f64;
        for (number, ring) in rings.iter().enumerate() {
            match op {
                Op::Broadcast | Op::Reduce => self.chain(ring, op, share, number as u32),
                Op::AllReduce => {
                    self.ring(ring, 2 * (ring.len() - 1), share, ring_edge(op, ring.len()) * share, number as u32, None);
                }
                _ => {
                    self.ring(ring, ring.len() - 1, share, ring_edge(op, ring.len()) * share, number as u32, None);
                }
            }
        }
        Some(())
    }

    /// Steps around a ring, every member sends an n-th of `share` in each; returns the last message that each member got.
    pub(super) fn ring(&mut self, ring: &Ring, steps: usize, share: f64, lane: f64, key: u32, start: Option<&[u32]>) -> Vec<u32> {
        let n = ring.len();
        let mut got: Vec<Option<u32>> = (0..n).map(|i| start.map(|s| s[i])).collect();
        for _ in 0..steps {
            let mut next = vec![None; n];
            for (i, &(from, via)) in ring.iter().enumerate() {
                let message = Message { from, to: ring[(i + 1) % n].0, via, share: share / n as f64, lane };
                next[(i + 1) % n] = Some(self.out.push(message, key, got[i]));
            }
            got = next;
        }
        let depth = steps as u32;
        self.out.depth = self.out.depth.max(depth);
        got.into_iter().map(|g| g.unwrap_or(0)).collect()
    }

    /// A pipelined chain out of the first member, or into it.
    fn chain(&mut self, ring: &Ring, op: Op, share: f64, key: u32) {
        let root = ring.iter().position(|r| r.0 == self.group[0]).unwrap_or(0);
        // Into the root the chain runs the ring's own way: from the member behind the root.
        let first = if op == Op::Reduce { root + 1 } else { root };
        let order: Vec<_> = (0..ring.len()).map(|i| ring[(first + i) % ring.len()]).collect();
        let part = share / f64::from(self.chunks);
        for _ in 0..self.chunks {
            let mut after = None;
            for pair in order.windows(2) {
                let message = Message { from: pair[0].0, to: pair[1].0, via: pair[0].1, share: part, lane: share };
                after = Some(self.out.push(message, key, after));
            }
        }
        self.out.depth = self.out.depth.max(order.len() as u32 - 1);
    }

    /// Chunks up both trees to their roots and down again; inside a domain along a chain.
    fn tree(&mut self) {
        let (rails, k) = (self.shape.least(), self.shape.count());
        let edges = double_tree(k);
        let part = 0.5 / rails as f64 / f64::from(self.chunks);
        let mut deepest = 0;
        for _ in 0..self.chunks {
            for c in 0..rails {
                for tree in 0..2usize {
                    deepest = deepest.max(self.tree_chunk(&edges, tree, c, part));
                }
            }
        }
        self.out.depth = self.out.depth.max(deepest);
    }

    /// One chunk on one rail of one tree; returns its depth.
    fn tree_chunk(&mut self, edges: &[(usize, usize, usize)], tree: usize, rail: usize, part: f64) -> u32 {
        let k = self.shape.count();
        let mut up: Vec<Option<usize>> = vec![None; k];
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); k];
        for &(child, parent, t) in edges.iter().filter(|e| e.2 == tree) {
            debug_assert_eq!(t, tree);
            up[child] = Some(parent);
            children[parent].push(child);
        }
        let root = up.iter().position(Option::is_none).unwrap_or(0);
        // Domains from the root down.
        let mut order = vec![(root, 0u32)];
        let mut next = 0;
        while next < order.len() {
            let (at, depth) = order[next];
            order.extend(children[at].iter().map(|&c| (c, depth + 1)));
            next += 1;
        }
        let lane = |from: usize, to: usize| (tree * k * k + from * k + to) as u32;
        let send = |out: &mut Schedule, from: usize, to: usize, after: &[u32]| {
            let (a, b) = (self.group[gate(self.shape, from, rail)], self.group[gate(self.shape, to, rail)]);
            let message = Message { from: a, to: b, via: None, share: part, lane: part * f64::from(self.chunks) };
            let id = out.push(message, lane(from, to), after.first().copied());
            out.data.extend(after.iter().skip(1).map(|&earlier| (earlier, id)));
            id
        };
        let mut arrived: Vec<Vec<u32>> = vec![Vec::new(); k];
        for &(at, _) in order.iter().rev() {
            if let Some(parent) = up[at] {
                let id = send(self.out, at, parent, &arrived[at]);
                arrived[parent].push(id);
            }
        }
        let mut down: Vec<Vec<u32>> = vec![Vec::new(); k];
        down[root].clone_from(&arrived[root]);
        for &(at, _) in &order {
            for &child in &children[at] {
                let id = send(self.out, at, child, &down[at]);
                down[child] = vec![id];
            }
        }
        2 * order.iter().map(|o| o.1).max().unwrap_or(0)
    }

    fn doubling(&mut self) {
        let n = self.group.len();
        let lane = (n as f64 - 1.0) / n as f64;
        let (mut distance, mut steps) = (1, 0);
        let mut got: Vec<Option<u32>> = vec![None; n];
        while distance < n {
            let share = distance.min(n - distance) as f64 / n as f64;
            got = self.exchange(&got, |i| (i + distance) % n, share, lane);
            distance *= 2;
            steps += 1;
        }
        self.out.depth = self.out.depth.max(steps);
    }

    fn halving(&mut self, op: Op) {
        let n = self.group.len();
        let lane = ring_edge(op, n);
        let distances: Vec<usize> = std::iter::successors(Some(n / 2), |d| Some(d / 2)).take_while(|d| *d > 0).collect();
        let gather = distances.iter().rev().copied();
        let all: Vec<usize> = match op {
            Op::ReduceScatter => distances.clone(),
            Op::AllGather => gather.collect(),
            _ => distances.iter().copied().chain(gather).collect(),
        };
        let mut got: Vec<Option<u32>> = vec![None; n];
        for &distance in &all {
            got = self.exchange(&got, |i| i ^ distance, distance as f64 / n as f64, lane);
        }
        self.out.depth = self.out.depth.max(all.len() as u32);
    }

    /// Every rank sends to `partner`; returns what every rank got last.
    fn exchange(&mut self, got: &[Option<u32>], partner: impl Fn(usize) -> usize, share: f64, lane: f64) -> Vec<Option<u32>> {
        let mut next = vec![None; got.len()];
        for (i, &after) in got.iter().enumerate() {
            let to = partner(i);
            let message = Message { from: self.group[i], to: self.group[to], via: None, share, lane };
            next[to] = Some(self.out.push(message, 0, after));
        }
        next
    }

    /// Everyone to everyone at the same time; ports share their rate among peers.
    fn pairwise(&mut self) {
        let n = self.group.len();
        let share = 1.0 / n as f64;
        for step in 1..n {
            for i in 0..n {
                let message = Message { from: self.group[i], to: self.group[(i + step) % n], via: None, share, lane: share };
                self.out.push(message, step as u32, None);
            }
        }
        self.out.depth = self.out.depth.max(1);
    }

    fn star(&mut self, op: Op) {
        let n = self.group.len();
        // The root's port is the lane: what arrives at it at the same time shares it.
        let lane = if op == Op::Gather { 1.0 } else { n as f64 - 1.0 } / n as f64;
        for other in 1..n {
            let (from, to) = if op == Op::Gather { (other, 0) } else { (0, other) };
            let message = Message { from: self.group[from], to: self.group[to], via: None, share: 1.0 / n as f64, lane };
            self.out.push(message, 0, None);
        }
        self.out.depth = self.out.depth.max(1);
    }
}
