//! From a trace to a task graph, whoever prices the operations.

use super::{Sends, named};
use crate::workload::trace::{Trace, TraceKind, TraceOp};
use crate::workload::{ClassId, GraphBuilder, LaneId, Task, TaskGraph, TaskId, TaskKind, Track, Work};
use std::collections::BTreeMap;

/// Who says how long operations take.
pub(super) trait Prices {
    /// A compute operation of a class.
    fn compute(&mut self, class: usize, op: &TraceKind) -> Work;
    /// An access to memory outside the accelerator.
    fn memory(&mut self, class: usize, bytes: f64) -> Work;
    /// Which shared memory a rank's accesses queue at; `None` where each rank has its own.
    fn memory_of(&self, rank: u32) -> Option<u32>;
    /// A collective that these classes take part in.
    fn collective(&mut self, trace: &Trace, op: &TraceKind, classes: &[usize]) -> Result<Work, String>;
    /// A message between two classes.
    fn message(&mut self, trace: &Trace, from: usize, to: usize, bytes: f64) -> Work;
    /// Whether a rank has one communication in flight, receives aside.
    fn one_at_a_time(&self) -> bool;
    /// When messages start.
    fn sends(&self) -> Sends;
}

/// A lowered trace.
pub(super) struct Lowered {
    pub(super) graph: TaskGraph,
    /// The task of every operation, by class.
    pub(super) tasks: Vec<Vec<u32>>,
}

/// Lanes of a class.
struct Lanes {
    device: LaneId,
    host: LaneId,
    memory: LaneId,
    communication: LaneId,
}

/// An operation by its class and its place in it.
type At = (usize, usize);

/// The operations that are one collective, or messages in order.
type Ends = Vec<At>;

/// The collectives of every group in their order, and the messages with both their ends.
type Together = (BTreeMap<u32, Vec<Ends>>, Vec<(At, At)>);

struct Lowering<'a, P> {
    trace: &'a Trace,
    prices: &'a mut P,
    graph: GraphBuilder,
    lanes: Vec<Lanes>,
    /// Shared memories by number.
    memories: BTreeMap<u32, LaneId>,
    /// The task that an operation ends with, and the one that waits for what it waits for.
    end: Vec<Vec<Option<TaskId>>>,
    entry: Vec<Vec<Option<TaskId>>>,
}

/// Lowers a trace that has no faults.
pub(super) fn lower<P: Prices>(trace: &Trace, prices: &mut P) -> Result<Lowered, String> {
    let mut graph = GraphBuilder::new();
    let mut lanes = || Lanes { device: graph.lane(), host: graph.lane(), memory: graph.lane(), communication: graph.lane() };
    let lanes = trace.ranks.iter().map(|_| lanes()).collect();
    let none: Vec<Vec<Option<TaskId>>> = trace.ranks.iter().map(|r| vec![None; r.ops.len()]).collect();
    let mut lowering = Lowering { trace, prices, graph, lanes, memories: BTreeMap::new(), end: none.clone(), entry: none };
    let (collectives, messages) = together(trace);
    for class in 0..trace.ranks.len() {
        // Tasks in order of numbers: that is the order in which lanes are given out.
        let mut order: Vec<usize> = (0..trace.ranks[class].ops.len()).collect();
        order.sort_by_key(|&i| trace.ranks[class].ops[i].id);
        for op in order {
            lowering.alone(class, op);
        }
    }
    for list in collectives.values() {
        lowering.collectives(list)?;
    }
    for (send, recv) in messages {
        lowering.message(send, recv);
    }
    lowering.depend();
    let tasks = lowering.end.iter().map(|ops| ops.iter().map(|t| t.map_or(u32::MAX, |t| t.0)).collect()).collect();
    Ok(Lowered { graph: lowering.graph.finish(), tasks })
}

/// What ranks do together.
fn together(trace: &Trace) -> Together {
    let mut collectives: BTreeMap<u32, Vec<Ends>> = BTreeMap::new();
    let mut sends: BTreeMap<(u32, u32, u64), Ends> = BTreeMap::new();
    let mut recvs = sends.clone();
    for (class, rank) in trace.ranks.iter().enumerate() {
        let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
        for i in Trace::order(&rank.ops) {
            let at = (class, i as usize);
            match rank.ops[i as usize].kind {
                TraceKind::Collective { group, .. } => {
                    let place = seen.entry(group).or_insert(0);
                    let list = collectives.entry(group).or_default();
                    if list.len() <= *place {
                        list.push(Ends::new());
                    }
                    list[*place].push(at);
                    *place += 1;
                }
                TraceKind::Send { to, tag, .. } => sends.entry((rank.rank, to, tag)).or_default().push(at),
                TraceKind::Recv { from, tag, .. } => recvs.entry((from, rank.rank, tag)).or_default().push(at),
                _ => {}
            }
        }
    }
    let matched = sends.into_iter().flat_map(|(key, ends)| ends.into_iter().zip(recvs.remove(&key).unwrap_or_default()));
    (collectives, matched.collect())
}

impl<P: Prices> Lowering<'_, P> {
    fn op(&self, (class, op): At) -> &TraceOp {
        &self.trace.ranks[class].ops[op]
    }
    fn add(&mut self, class: usize, work: Work) -> TaskId {
        self.graph.add(Task::new(ClassId(class as u32), Track::Compute, TaskKind::Other, work), &[])
    }
    fn set(&mut self, (class, op): At, entry: TaskId, end: TaskId) {
        self.entry[class][op] = Some(entry);
        self.end[class][op] = Some(end);
    }

    /// An operation that concerns its rank alone; of those that do not, what takes the rank's communication lane.
    fn alone(&mut self, class: usize, op: usize) {
        let kind = self.trace.ranks[class].ops[op].kind;
        let at = (class, op);
        match kind {
            TraceKind::Compute { on_cpu, .. } => {
                let work = self.prices.compute(class, &kind);
                let task = self.add(class, work);
                let lane = if on_cpu { self.lanes[class].host } else { self.lanes[class].device };
                self.graph.hold(task, lane, task);
                self.set(at, task, task);
            }
            TraceKind::Memory { bytes, .. } => {
                let work = self.prices.memory(class, bytes);
                let task = self.add(class, work);
                let lane = match self.prices.memory_of(self.trace.ranks[class].rank) {
                    Some(number) => *self.memories.entry(number).or_insert_with(|| self.graph.lane()),
                    None => self.lanes[class].memory,
                };
                self.graph.hold(task, lane, task);
                let entry = self.post(class, task).unwrap_or(task);
                self.set(at, entry, task);
            }
            TraceKind::Nothing => {
                let task = self.add(class, Work::Join);
                self.set(at, task, task);
            }
            // A place in the order of numbers; what it waits for is added with the other end.
            TraceKind::Collective { .. } | TraceKind::Send { .. } if self.prices.one_at_a_time() => {
                let post = self.add(class, Work::Join);
                self.entry[class][op] = Some(post);
            }
            TraceKind::Collective { .. } | TraceKind::Send { .. } | TraceKind::Recv { .. } => {}
        }
    }
    /// A task that takes the communication lane of a class until `last` ends, where there is only one communication at a time.
    fn post(&mut self, class: usize, last: TaskId) -> Option<TaskId> {
        if !self.prices.one_at_a_time() {
            return None;
        }
        let post = self.add(class, Work::Join);
        self.graph.hold(post, self.lanes[class].communication, last);
        self.graph.depend(post, last);
        Some(post)
    }
    /// Joins an operation to the task that does it.
    fn join(&mut self, (class, op): At, task: TaskId) {
        if let Some(post) = self.entry[class][op] {
            self.graph.hold(post, self.lanes[class].communication, task);
            self.graph.depend(post, task);
            self.end[class][op] = Some(task);
        } else {
            self.set((class, op), task, task);
        }
    }

    /// The collectives of one group, which follow each other.
    fn collectives(&mut self, list: &[Ends]) -> Result<(), String> {
        let mut last: Option<TaskId> = None;
        for ends in list {
            let Some(&first) = ends.first() else { continue };
            // The most of what ranks put in: uneven exchanges take as long as the greatest.
            let bytes = |kind: TraceKind| if let TraceKind::Collective { bytes, .. } = kind { bytes } else { 0.0 };
            let kind = ends.iter().map(|&e| self.op(e).kind).max_by(|a, b| bytes(*a).total_cmp(&bytes(*b))).unwrap_or(TraceKind::Nothing);
            let classes: Vec<usize> = ends.iter().map(|e| e.0).collect();
            let priced = self.prices.collective(self.trace, &kind, &classes);
            let work = priced.map_err(|said| format!("{}: {said}", named(self.trace, first.0, first.1)))?;
            let task = self.add(first.0, work);
            ends.iter().for_each(|&e| self.join(e, task));
            if let Some(before) = last.replace(task) {
                self.graph.depend(before, task);
            }
        }
        Ok(())
    }

    fn message(&mut self, send: At, recv: At) {
        let TraceKind::Send { bytes, .. } = self.op(send).kind else { return };
        let work = if send.0 == recv.0 { Work::Join } else { self.prices.message(self.trace, send.0, recv.0, bytes) };
        let task = self.add(send.0, work);
        self.join(send, task);
        if self.prices.sends() == Sends::Rendezvous {
            self.set(recv, task, task);
        } else {
            let got = self.add(recv.0, Work::Join);
            self.graph.depend(task, got);
            self.set(recv, got, got);
        }
    }

    /// What operations wait for.
    fn depend(&mut self) {
        for (class, rank) in self.trace.ranks.iter().enumerate() {
            for (op, entry) in rank.ops.iter().zip(&self.entry[class]) {
                for &dep in &op.deps {
                    if let (Some(before), Some(entry)) = (self.end[class][dep as usize], *entry)
                        && before != entry
                    {
                        self.graph.depend(before, entry);
                    }
                }
            }
        }
    }
}
