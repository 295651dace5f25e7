//! Bytes on every link per byte of payload, summed over the exact paths of all groups of a class.

use super::communicator::Shape;
use super::{Algorithm, Op};
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::ids::Id;

struct Loads<'f> {
    fabric: &'f Fabric,
    bytes: Vec<f64>,
    flow: u64,
}

impl Loads<'_> {
    fn edge(&mut self, from: AcceleratorId, to: AcceleratorId, bytes: f64) {
        if bytes > 0.0 && from != to {
            self.flow += 1;
            let loads = &mut self.bytes;
            self.fabric.route(from, to, self.flow, &mut |link, share| loads[link.index()] += share * bytes);
        }
    }
}

/// The load of one operation under one algorithm.
pub(super) fn traffic(fabric: &Fabric, groups: &[Vec<AcceleratorId>], shape: &Shape, op: Op, algorithm: Algorithm) -> Vec<(LinkId, f64)> {
    let mut loads = Loads { fabric, bytes: vec![0.0; fabric.link_count()], flow: 0 };
    for group in groups {
        match (op, algorithm) {
            (Op::SendRecv, _) => loads.edge(group[0], group[1], 1.0),
            (_, Algorithm::Pairwise) => pairwise(&mut loads, group),
            (_, Algorithm::Nvls) => in_switch(&mut loads, group),
            (_, Algorithm::Hierarchical) => {
                rings(&mut loads, group, shape, tree_edge(shape), 2.0 * (shape.per_domain as f64 - 1.0) / shape.per_domain as f64)
            }
            (_, Algorithm::Tree) => rings(&mut loads, group, shape, tree_edge(shape), 2.0),
            _ => {
                let edge = ring_edge(op, group.len());
                rings(&mut loads, group, shape, edge, edge);
            }
        }
    }
    loads.bytes.iter().enumerate().filter(|(_, b)| **b > 0.0).map(|(i, &b)| (LinkId::from_index(i), b)).collect()
}

/// Bytes over one edge of a ring per byte of payload.
pub(super) fn ring_edge(op: Op, n: usize) -> f64 {
    let n = n as f64;
    match op {
        Op::AllReduce => 2.0 * (n - 1.0) / n,
        Op::AllGather | Op::ReduceScatter | Op::AllToAll => (n - 1.0) / n,
        Op::Broadcast | Op::Reduce | Op::SendRecv => 1.0,
    }
}

/// Bytes that leave a domain under a tree: up and down, once for every child and parent on average.
pub(super) fn tree_edge(shape: &Shape) -> f64 {
    let k = shape.domains as f64;
    2.0 * (k - 1.0) / k
}

/// One ring for each rank of a domain, so that all its NICs are used: ring c leaves and enters every domain at its c-th rank,
/// and goes once around inside. `outside` and `inside` are the bytes of an edge between and inside domains.
fn rings(loads: &mut Loads<'_>, group: &[AcceleratorId], shape: &Shape, outside: f64, inside: f64) {
    let m = shape.per_domain;
    if shape.domains <= 1 || !shape.even {
        for (i, &from) in group.iter().enumerate() {
            loads.edge(from, group[(i + 1) % group.len()], if group.len() == 2 { inside } else { inside.min(outside.max(inside)) });
        }
        return;
    }
    let share = 1.0 / m as f64;
    for c in 0..m {
        for d in 0..shape.domains {
            let at = |r: usize| group[d * m + (c + r) % m];
            let next = group[(d + 1) % shape.domains * m + c];
            loads.edge(group[d * m + c], next, outside * share);
            for r in 0..m {
                loads.edge(at(r), at(r + 1), inside * share);
            }
        }
    }
}

fn pairwise(loads: &mut Loads<'_>, group: &[AcceleratorId]) {
    let share = 1.0 / group.len() as f64;
    for &from in group {
        for &to in group {
            loads.edge(from, to, share);
        }
    }
}

/// Every rank sends its buffer to the switch once and gets the sum once, a part of it as owner.
fn in_switch(loads: &mut Loads<'_>, group: &[AcceleratorId]) {
    let n = group.len();
    let wire = 1.0 + 1.0 / n as f64;
    for (i, &from) in group.iter().enumerate() {
        loads.edge(from, group[(i + 1) % n], wire);
    }
}
