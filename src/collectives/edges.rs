//! Bytes between ranks per byte of payload, for every operation and algorithm, and their sum on the links of the fabric.

use super::rings::{InnerRings, rings_of};
use super::shape::Shape;
use super::timing::ring_edge;
use super::tokens::{Routing, token_edges};
use super::{Algorithm, Op};
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::ids::Id;
use std::cell::RefCell;
use std::ops::Range;

/// Calls back with (from, to, bytes per byte of payload), ranks as indices into the group.
pub(super) type Emit<'a> = &'a mut dyn FnMut(usize, usize, f64);

/// The load of one operation under one algorithm, per byte of payload.
pub(super) struct Traffic {
    /// Bytes on every link, all groups together.
    pub(super) links: Vec<(LinkId, f64)>,
    /// Latency of the longest path.
    pub(super) longest: f64,
    /// Bytes that the kernels read and write in a rank's memory, the mean of all ranks.
    pub(super) memory: f64,
}

/// Reads and writes of device memory by byte that travels from one rank to another, both ends together: inside a domain, and over the
/// network, where the NIC reads what a kernel wrote to a buffer before. Counted from NCCL's primitives: a ring's step writes what arrives
/// to a buffer, reads it and, to add or to pass on, reads or writes one's own (3, and 5 over the network); a plain message is read, written
/// to a buffer, read and written to its place (4 and 6); a reduction in the switch copies to its buffers and back around one read and one
/// write, 6 for the `1 + 1/n` that travel. Serving kernels read others' memory and write once.
const fn memory_accesses(algorithm: Algorithm) -> (f64, f64) {
    match algorithm {
        Algorithm::Pairwise | Algorithm::Direct | Algorithm::OneCopy | Algorithm::LowLatency => (4.0, 6.0),
        Algorithm::Nvls => (5.3, 5.3),
        Algorithm::NvlsTree | Algorithm::Collnet => (5.3, 5.0),
        Algorithm::OneShot | Algorithm::TwoShot => (2.0, 2.0),
        _ => (3.0, 5.0),
    }
}

/// Adds the load of all groups up.
pub(super) fn traffic(fabric: &Fabric, groups: &[Vec<AcceleratorId>], routing: Option<&Routing>, op: Op, algorithm: Algorithm) -> Traffic {
    let (near, far) = memory_accesses(algorithm);
    SCRATCH.with_borrow_mut(|bytes| {
        if bytes.len() < fabric.link_count() {
            bytes.resize(fabric.link_count(), 0.0);
        }
        let mut touched = Vec::new();
        let (mut longest, mut memory, mut ranks) = (0.0f64, 0.0, 0.0);
        for group in groups {
            ranks += group.len() as f64;
            let shape = Shape::of(fabric, group);
            // Flows are told apart within their group only, so that a group takes the same hashed paths whichever others are folded with it.
            let mut flow = 0;
            edges(fabric, group, &shape, routing, op, algorithm, &mut |from, to, share| {
                if share > 0.0 && from != to {
                    flow += 1;
                    let inside = fabric.site(group[from]).domain == fabric.site(group[to]).domain;
                    memory += share * if inside { near } else { far };
                    let latency = fabric.route(group[from], group[to], flow, &mut |link, part| {
                        let at = &mut bytes[link.index()];
                        if *at == 0.0 {
                            touched.push(link.0);
                        }
                        *at += part * share;
                    });
                    longest = longest.max(latency);
                }
            });
        }
        // Leaves the scratch as it was found: all zero.
        let links = touched.into_iter().map(|l| (LinkId(l), std::mem::take(&mut bytes[l as usize]))).collect();
        Traffic { links, longest, memory: memory / f64::max(ranks, 1.0) }
    })
}

thread_local! {
    /// Bytes by link while they are added up; zero in between, so that only what was touched costs time.
    static SCRATCH: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// The edges of one group.
#[allow(clippy::too_many_arguments)]
fn edges(fabric: &Fabric, group: &[AcceleratorId], shape: &Shape, routing: Option<&Routing>, op: Op, algorithm: Algorithm, emit: Emit<'_>) {
    let n = shape.ranks;
    match (op, algorithm) {
        (Op::Dispatch | Op::Combine, _) => match routing {
            Some(routing) => token_edges(shape, routing, op, algorithm, emit),
            None => every_pair(n, 1.0 / n as f64, emit),
        },
        (Op::Barrier, _) => {}
        (Op::SendRecv, _) => emit(0, 1, 1.0),
        (Op::AllToAll, Algorithm::Hierarchical) => two_step_exchange(shape, emit),
        (_, Algorithm::Pairwise | Algorithm::OneCopy | Algorithm::LowLatency) => every_pair(n, 1.0 / n as f64, emit),
        (_, Algorithm::OneShot) => every_pair(n, 1.0, emit),
        (_, Algorithm::TwoShot) => every_pair(n, 2.0 / n as f64, emit),
        (_, Algorithm::Direct) => star(n, op, emit),
        (_, Algorithm::Nvls) => in_switch(0..n, emit),
        (_, Algorithm::NvlsTree) => {
            shape.domains.iter().for_each(|d| in_switch(d.clone(), emit));
            between_domains(shape, emit);
        }
        (_, Algorithm::Collnet) => {
            shape.domains.iter().for_each(|d| in_switch(d.clone(), emit));
            next_domain(shape, 1.0, emit);
        }
        (_, Algorithm::Tree) => {
            let mut inner = InnerRings::new();
            shape.domains.iter().for_each(|d| chains(d, inner.of(fabric, &group[d.clone()]), emit));
            between_domains(shape, emit);
        }
        (_, Algorithm::Pat) => doubling(n, emit),
        (_, Algorithm::HalvingDoubling) => halving(n, if op == Op::AllReduce { 2.0 } else { 1.0 }, emit),
        (_, Algorithm::Hierarchical) => hierarchical(shape, if op == Op::AllReduce { 2.0 } else { 1.0 }, emit),
        (_, Algorithm::Torus) => torus(shape, if op == Op::AllReduce { 2.0 } else { 1.0 }, emit),
        (_, Algorithm::Ring) if shape.count() > 1 => long_rings(fabric, group, shape, op, emit),
        (_, Algorithm::Ring) => rings(fabric, group, op, emit),
    }
}

/// Rings inside one domain: over the wiring's own rings where it has direct links only, else one in rank order.
fn rings(fabric: &Fabric, group: &[AcceleratorId], op: Op, emit: Emit<'_>) {
    let n = group.len();
    let edge = ring_edge(op, n);
    let found = rings_of(fabric, group);
    let share = edge / found.len().max(1) as f64;
    for ring in &found {
        for (i, &from) in ring.iter().enumerate() {
            let to = ring[(i + 1) % n];
            if !skipped(op, from, to) {
                emit(from, to, share);
            }
        }
    }
}

/// Chains leave out the edge into the root, or out of it.
fn skipped(op: Op, from: usize, to: usize) -> bool {
    (op == Op::Broadcast && to == 0) || (op == Op::Reduce && from == 0)
}

/// Rings over several domains, one for each rank of the smallest, so that all NICs are used: ring c enters and leaves every domain at
/// one rank (whose NIC it uses both ways) and goes once around inside, over all rings of the domain's wiring in equal parts.
fn long_rings(fabric: &Fabric, group: &[AcceleratorId], shape: &Shape, op: Op, emit: Emit<'_>) {
    let (rails, k) = (shape.least(), shape.count());
    let share = ring_edge(op, shape.ranks) / rails as f64;
    let mut inner = InnerRings::new();
    for c in 0..rails {
        for (d, domain) in shape.domains.iter().enumerate() {
            let gate = gate(shape, d, c);
            let next = gate_of_next(shape, d, c);
            let last = d + 1 == k && matches!(op, Op::Broadcast | Op::Reduce);
            if !last {
                emit(gate, next, share);
            }
            if domain.len() > 1 {
                let rings = inner.of(fabric, &group[domain.clone()]);
                for ring in rings {
                    for (i, &from) in ring.iter().enumerate() {
                        let to = ring[(i + 1) % ring.len()];
                        emit(domain.start + from, domain.start + to, share / rings.len() as f64);
                    }
                }
            }
        }
    }
}

/// The rank of domain `d` that rail `c` leaves and enters by.
pub(super) fn gate(shape: &Shape, d: usize, c: usize) -> usize {
    let domain = &shape.domains[d];
    domain.start + c * domain.len() / shape.least()
}

fn gate_of_next(shape: &Shape, d: usize, c: usize) -> usize {
    gate(shape, (d + 1) % shape.count(), c)
}

/// Every rail from each domain to the next: `bytes` leave and enter every domain.
fn next_domain(shape: &Shape, bytes: f64, emit: Emit<'_>) {
    let rails = shape.least();
    for c in 0..rails {
        for d in 0..shape.count() {
            emit(gate(shape, d, c), gate_of_next(shape, d, c), bytes / rails as f64);
        }
    }
}

/// Parent of a node of a balanced binary tree over 0..k in which odd nodes are leaves; `None` for the root.
pub(super) fn parent(node: usize, k: usize) -> Option<usize> {
    if node == 0 {
        return None;
    }
    let bit = node & node.wrapping_neg();
    let up = (node ^ bit) | (bit << 1);
    Some(if up < k { up } else { node ^ bit })
}

/// The two trees over domains: the second is the first read backwards (even k) or turned by one (odd k), so that inner nodes of one
/// are leaves of the other. Gives (child, parent, tree).
pub(super) fn double_tree(k: usize) -> Vec<(usize, usize, usize)> {
    let second = |x: usize| if k.is_multiple_of(2) { k - 1 - x } else { (x + 1) % k };
    let first = (0..k).filter_map(|x| parent(x, k).map(|p| (x, p, 0)));
    let turned = (0..k).filter_map(|x| parent(x, k).map(|p| (second(x), second(p), 1)));
    first.chain(turned).collect()
}

/// Up and down a double binary tree over domains, on every rail.
fn between_domains(shape: &Shape, emit: Emit<'_>) {
    let rails = shape.least();
    let share = 0.5 / rails as f64;
    for c in 0..rails {
        for (child, parent, _) in double_tree(shape.count()) {
            let (a, b) = (gate(shape, child, c), gate(shape, parent, c));
            emit(a, b, share);
            emit(b, a, share);
        }
    }
}

/// Inside a domain of a tree: one chain for each rank, up to it and back, along all rings of the domain's wiring in equal parts.
fn chains(domain: &Range<usize>, rings: &[Vec<usize>], emit: Emit<'_>) {
    let m = domain.len();
    let share = 1.0 / (m * rings.len()) as f64;
    for ring in rings {
        for c in 0..m {
            for r in 1..m {
                let (near, far) = (domain.start + ring[(c + r - 1) % m], domain.start + ring[(c + r) % m]);
                emit(far, near, share);
                emit(near, far, share);
            }
        }
    }
}

/// Every rank sends its buffer to the switch once and gets the sum once, a part of it as owner.
fn in_switch(domain: Range<usize>, emit: Emit<'_>) {
    let m = domain.len();
    if m > 1 {
        for r in 0..m {
            emit(domain.start + r, domain.start + (r + 1) % m, 1.0 + 1.0 / m as f64);
        }
    }
}

fn every_pair(n: usize, share: f64, emit: Emit<'_>) {
    for from in 0..n {
        for step in 1..n {
            emit(from, (from + step) % n, share);
        }
    }
}

/// Messages from or to the first rank.
fn star(n: usize, op: Op, emit: Emit<'_>) {
    let share = 1.0 / n as f64;
    for other in 1..n {
        match op {
            Op::Gather => emit(other, 0, share),
            Op::Scatter => emit(0, other, share),
            _ => {}
        }
    }
}

/// Doubling distances: in step k every rank passes on the 2^k parts that it has.
fn doubling(n: usize, emit: Emit<'_>) {
    let mut distance = 1;
    while distance < n {
        let parts = distance.min(n - distance) as f64 / n as f64;
        (0..n).for_each(|from| emit(from, (from + distance) % n, parts));
        distance *= 2;
    }
}

/// Halving: partners at half the distance of the step before exchange half as much.
fn halving(n: usize, times: f64, emit: Emit<'_>) {
    let mut distance = n / 2;
    while distance > 0 {
        let part = times * distance as f64 / n as f64;
        (0..n).for_each(|from| emit(from, from ^ distance, part));
        distance /= 2;
    }
}

/// Ring inside every domain, then rings of each rail between domains with what is left.
fn hierarchical(shape: &Shape, times: f64, emit: Emit<'_>) {
    let (m, k) = (shape.least() as f64, shape.count() as f64);
    for domain in &shape.domains {
        if domain.len() > 1 {
            for r in 0..domain.len() {
                emit(domain.start + r, domain.start + (r + 1) % domain.len(), times * (m - 1.0) / m);
            }
        }
    }
    next_domain(shape, times * (k - 1.0) / k, emit);
}

/// All-to-all in two steps: inside the domain to the rank of the destination's rail, then along the rail.
fn two_step_exchange(shape: &Shape, emit: Emit<'_>) {
    let (m, n) = (shape.least(), shape.ranks as f64);
    for domain in &shape.domains {
        for i in domain.clone() {
            domain.clone().filter(|&j| j != i).for_each(|j| emit(i, j, 1.0 / m as f64));
            for other in shape.domains.iter().filter(|o| o.start != domain.start) {
                emit(i, other.start + (i - domain.start), m as f64 / n);
            }
        }
    }
}

/// Both directions of all dimensions at once: the payload in as many parts as there are dimensions longer than one, each of which goes
/// through them in another order; then rails between domains (slices) with what is left.
fn torus(shape: &Shape, times: f64, emit: Emit<'_>) {
    let Some(sides) = &shape.torus else { return };
    let used: Vec<usize> = (0..sides.len()).filter(|&d| sides[d].0 > 1).collect();
    for domain in &shape.domains {
        for turn in 0..used.len() {
            let mut part = times / used.len() as f64;
            for step in 0..used.len() {
                let d = used[(turn + step) % used.len()];
                lines(sides, d, domain.start, part, emit);
                part /= sides[d].0 as f64;
            }
        }
    }
    let k = shape.count() as f64;
    if k > 1.0 {
        next_domain(shape, times * (k - 1.0) / k, emit);
    }
}

/// All lines of a box along one dimension: half of `part` each way around a ring, or both ways along an open line.
fn lines(sides: &[(usize, bool)], d: usize, start: usize, part: f64, emit: Emit<'_>) {
    let (side, wrap) = sides[d];
    let stride: usize = sides[..d].iter().map(|s| s.0).product();
    let all: usize = sides.iter().map(|s| s.0).product();
    for i in 0..all {
        let at = i / stride % side;
        let next = if at + 1 < side { i + stride } else { i + stride - side * stride };
        if wrap {
            let half = part * (side as f64 - 1.0) / side as f64 / 2.0;
            emit(start + i, start + next, half);
            emit(start + next, start + i, half);
        } else if at + 1 < side {
            // Over the cable after place `at` go the parts of all before it one way, of all behind it the other.
            emit(start + i, start + next, part * (at + 1) as f64 / side as f64);
            emit(start + next, start + i, part * (side - at - 1) as f64 / side as f64);
        }
    }
}
