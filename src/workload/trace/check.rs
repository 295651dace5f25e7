//! The checks of a trace as a whole.
//!
//! 1. Every message that is sent is received, with the same size; those of one tag in the order of each end.
//! 2. The operations of a rank do not wait for each other in a circle.
//! 3. Every rank of a group that communicates is there, and every rank that communicates in a group is in it.
//! 4. All ranks of a group do the same collectives in the same order with the same size. Order is that of dependencies and
//!    then of numbers. Sizes of an all-to-all may differ: uneven experts are no fault.

use super::{OpName, Trace, TraceCollective, TraceFault, TraceKind, TraceOp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// All faults of a trace, after those that its reader noticed.
pub(super) fn check(trace: &Trace) -> Vec<TraceFault> {
    let mut faults = trace.noticed.clone();
    let mut orders = Vec::with_capacity(trace.ranks.len());
    let ordered: Vec<_> = trace.ranks.iter().map(|rank| order(&rank.ops)).collect();
    messages(trace, &ordered, &mut faults);
    for (rank, (order, left)) in trace.ranks.iter().zip(&ordered) {
        if order.len() < rank.ops.len() {
            faults.push(TraceFault::Cycle { rank: rank.rank, ops: circle(&rank.ops, left) });
        }
        orders.push(by_group(&rank.ops, order));
    }
    let mut users: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (class, order) in orders.iter().enumerate() {
        for group in order.keys().filter(|g| (**g as usize) < trace.groups.len()) {
            users.entry(*group).or_default().push(class);
        }
    }
    for (group, users) in users {
        collectives(trace, group, &users, &orders, &mut faults);
    }
    faults
}

/// The two ends of all messages with one sender, receiver and tag.
#[derive(Default)]
struct Ends<'a> {
    sends: Vec<(f64, &'a TraceOp)>,
    recvs: Vec<(f64, &'a TraceOp)>,
}

fn messages(trace: &Trace, orders: &[(Vec<u32>, Vec<u32>)], faults: &mut Vec<TraceFault>) {
    let mut all: BTreeMap<(u32, u32, u64), Ends<'_>> = BTreeMap::new();
    for (class, (order, waits)) in trace.ranks.iter().zip(orders) {
        // What is in a circle comes last: it is told of by itself.
        let stuck = (0..class.ops.len() as u32).filter(|&i| waits[i as usize] > 0);
        for op in order.iter().copied().chain(stuck).map(|i| &class.ops[i as usize]) {
            match op.kind {
                TraceKind::Send { to, tag, bytes } => all.entry((class.rank, to, tag)).or_default().sends.push((bytes, op)),
                TraceKind::Recv { from, tag, bytes } => all.entry((from, class.rank, tag)).or_default().recvs.push((bytes, op)),
                _ => {}
            }
        }
    }
    for ((from, to, tag), ends) in all {
        for ((sent, send), (received, recv)) in ends.sends.iter().zip(&ends.recvs) {
            if sent != received {
                let (send, recv) = (OpName::from(*send), OpName::from(*recv));
                faults.push(TraceFault::MessageSize { from, to, tag, sent: *sent, received: *received, send, recv });
            }
        }
        let (sent, received) = (ends.sends.len(), ends.recvs.len());
        let first = ends.sends.get(received).or_else(|| ends.recvs.get(sent));
        if let Some((_, op)) = first {
            faults.push(TraceFault::UnmatchedMessages { from, to, tag, sent, received, op: OpName::from(*op) });
        }
    }
}

/// An order that respects dependencies, smaller numbers first, and for each operation how many it still waits for.
pub(super) fn order(ops: &[TraceOp]) -> (Vec<u32>, Vec<u32>) {
    let mut waits = vec![0u32; ops.len()];
    let mut after: Vec<Vec<u32>> = vec![Vec::new(); ops.len()];
    for (i, op) in ops.iter().enumerate() {
        for &dep in &op.deps {
            if let Some(list) = after.get_mut(dep as usize) {
                list.push(i as u32);
                waits[i] += 1;
            }
        }
    }
    let ready = |i: u32| Reverse((ops[i as usize].id, i));
    let mut heap: BinaryHeap<_> = (0..ops.len() as u32).filter(|&i| waits[i as usize] == 0).map(ready).collect();
    let mut out = Vec::with_capacity(ops.len());
    while let Some(Reverse((_, i))) = heap.pop() {
        out.push(i);
        for &next in &after[i as usize] {
            waits[next as usize] -= 1;
            if waits[next as usize] == 0 {
                heap.push(ready(next));
            }
        }
    }
    (out, waits)
}

/// One circle among operations that still wait.
fn circle(ops: &[TraceOp], waits: &[u32]) -> Vec<OpName> {
    let stuck = |i: u32| waits.get(i as usize).is_some_and(|w| *w > 0);
    let Some(mut at) = (0..ops.len() as u32).find(|&i| stuck(i)) else { return Vec::new() };
    let mut place = vec![usize::MAX; ops.len()];
    let mut path = Vec::new();
    // An operation that still waits has a dependency that still waits, so the walk must meet itself.
    while place[at as usize] == usize::MAX {
        place[at as usize] = path.len();
        path.push(at);
        let Some(&next) = ops[at as usize].deps.iter().find(|&&d| stuck(d)) else { break };
        at = next;
    }
    let start = place[at as usize].min(path.len());
    path[start..].iter().map(|&i| OpName::from(&ops[i as usize])).collect()
}

/// The collectives of each group in order.
type ByGroup<'a> = BTreeMap<u32, Vec<&'a TraceOp>>;

fn by_group<'a>(ops: &'a [TraceOp], order: &[u32]) -> ByGroup<'a> {
    let mut out = ByGroup::new();
    for &i in order {
        let op = &ops[i as usize];
        if let TraceKind::Collective { group, .. } = op.kind {
            out.entry(group).or_default().push(op);
        }
    }
    out
}

fn collectives(trace: &Trace, group: u32, users: &[usize], orders: &[ByGroup<'_>], faults: &mut Vec<TraceFault>) {
    let info = &trace.groups[group as usize];
    let mut missing = Vec::new();
    let mut members = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for set in &info.sets {
        let classes: Vec<_> = set.iter().map(|&r| trace.class_of(r)).collect();
        missing.extend(set.iter().zip(&classes).filter(|(_, c)| c.is_none()).map(|(r, _)| *r));
        let mut present: Vec<usize> = classes.into_iter().flatten().collect();
        present.sort_unstable();
        present.dedup();
        members.extend(present.iter().copied());
        if let Some((&one, others)) = present.split_first() {
            for &other in others {
                if seen.insert((one, other)) {
                    compare(trace, group, (one, other), orders, faults);
                }
            }
        }
    }
    let first = |class: usize| orders[class].get(&group).and_then(|o| o.first()).map(|op| (trace.ranks[class].rank, OpName::from(*op)));
    if let (false, Some((rank, op))) = (missing.is_empty(), users.first().and_then(|c| first(*c))) {
        faults.push(TraceFault::MissingRanks { group: info.name.clone(), missing, rank, op });
    }
    for (rank, op) in users.iter().filter(|c| !members.contains(c)).filter_map(|c| first(*c)) {
        faults.push(TraceFault::NotMember { group: info.name.clone(), rank, op });
    }
}

/// Compares what two classes do in a group and names the first difference.
fn compare(trace: &Trace, group: u32, pair: (usize, usize), orders: &[ByGroup<'_>], faults: &mut Vec<TraceFault>) {
    let of = |class: usize| orders[class].get(&group).map_or(&[][..], Vec::as_slice);
    let (a, b) = (of(pair.0), of(pair.1));
    let (rank_a, rank_b) = (trace.ranks[pair.0].rank, trace.ranks[pair.1].rank);
    let group = trace.groups[group as usize].name.clone();
    for (place, (x, y)) in a.iter().zip(b).enumerate() {
        if !same(x, y) {
            let (what, other_what) = (said(x), said(y));
            let (op, other_op) = (OpName::from(*x), OpName::from(*y));
            faults.push(TraceFault::CollectiveDiffers { group, place, rank: rank_a, op, what, other: rank_b, other_op, other_what });
            return;
        }
    }
    let more = if a.len() > b.len() { (rank_a, a, rank_b, b) } else { (rank_b, b, rank_a, a) };
    let (rank, ops, other, fewer) = more;
    if let Some(op) = ops.get(fewer.len()) {
        let (count, other_count) = (ops.len(), fewer.len());
        faults.push(TraceFault::CollectiveCount { group, rank, count, op: OpName::from(*op), other, other_count });
    }
}

fn parts(op: &TraceOp) -> Option<(TraceCollective, f64)> {
    if let TraceKind::Collective { op, bytes, .. } = op.kind { Some((op, bytes)) } else { None }
}

fn same(a: &TraceOp, b: &TraceOp) -> bool {
    match (parts(a), parts(b)) {
        (Some((TraceCollective::AllToAll, _)), Some((TraceCollective::AllToAll, _))) => true,
        (a, b) => a == b,
    }
}

fn said(op: &TraceOp) -> String {
    parts(op).map_or_else(String::new, |(op, bytes)| format!("{} of {bytes} bytes", op.word()))
}
