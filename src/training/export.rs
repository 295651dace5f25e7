//! A simulated step as a trace: what every rank does and waits for, with the durations of the simulation.
//!
//! A pass is cut at its tensor-parallel collectives, so that they are operations of their own; those that a stack hides beside products,
//! and the exchange of context and expert ranks, stay inside the durations of passes. Where tasks of different ranks wait for each other without a message (the gradient norm), the trace has a
//! barrier. A rank class becomes as many rank classes of the trace as its ranks form runs of consecutive numbers.

use super::config::Parallel;
use super::step::Step;
use crate::collectives::{Communicator, Op};
use crate::simulate::{Network, Way};
use crate::workload::trace::{RankTrace, SizeConvention, Trace, TraceCollective, TraceGroup, TraceKind, TraceOp};
use crate::workload::{Task, TaskId, Work};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// The ranks of a class as (first, count) of consecutive ones.
fn runs(parallel: &Parallel, members: &[u64], stage: u64) -> Vec<(u32, u32)> {
    let each = (parallel.tensor * parallel.context) as u32;
    let mut out: Vec<(u32, u32)> = Vec::new();
    for &d in members {
        let first = d as u32 * each + (parallel.tensor * parallel.replicas() * stage) as u32;
        match out.last_mut() {
            Some((start, count)) if *start + *count == first => *count += each,
            _ => out.push((first, each)),
        }
    }
    out
}

struct Exporter<'a, 'f> {
    step: &'a Step,
    network: &'a Network<'f>,
    classes: usize,
    groups: Vec<TraceGroup>,
    /// Groups by the address of their communicator, and barriers by their classes.
    known: BTreeMap<usize, u32>,
    barriers: BTreeMap<Vec<u32>, u32>,
    /// Ranks of each class.
    runs: Vec<Vec<(u32, u32)>>,
    /// Classes that have an operation for each task.
    takes_part: Vec<Vec<u32>>,
}

/// The trace of a step.
pub(super) fn export(parallel: &Parallel, step: &Step, network: &Network<'_>) -> Trace {
    let classes = step.layers.len() * step.variants.len();
    let of = |class: usize| {
        let (stage, variant) = (step.stage_of(class), class / step.layers.len());
        runs(parallel, &step.variants[variant].members, stage as u64)
    };
    let mut exporter = Exporter {
        step,
        network,
        classes,
        groups: Vec::new(),
        known: BTreeMap::new(),
        barriers: BTreeMap::new(),
        runs: (0..classes).map(of).collect(),
        takes_part: vec![Vec::new(); step.graph.len()],
    };
    exporter.participants();
    exporter.trace()
}

const fn collective(op: Op) -> TraceCollective {
    match op {
        Op::AllReduce => TraceCollective::AllReduce,
        Op::AllGather => TraceCollective::AllGather,
        Op::ReduceScatter => TraceCollective::ReduceScatter,
        Op::AllToAll | Op::Dispatch | Op::Combine => TraceCollective::AllToAll,
        Op::Broadcast => TraceCollective::Broadcast,
        Op::Reduce => TraceCollective::Reduce,
        Op::Gather => TraceCollective::Gather,
        Op::Scatter => TraceCollective::Scatter,
        Op::Barrier | Op::SendRecv => TraceCollective::Barrier,
    }
}

impl Exporter<'_, '_> {
    /// Settles which classes have an operation for each task, in an order in which what a task waits for comes before it.
    fn participants(&mut self) {
        let graph = &self.step.graph;
        let mut waits: Vec<usize> = (0..graph.len()).map(|i| graph.predecessors(TaskId(i as u32)).len()).collect();
        let mut ready: Vec<u32> = (0..graph.len() as u32).filter(|&i| waits[i as usize] == 0).collect();
        while let Some(i) = ready.pop() {
            let task = graph.task(TaskId(i));
            let own = task.class.0;
            self.takes_part[i as usize] = match task.work {
                Work::Transfer { route, .. } => self.network.route(route).classes.iter().map(|c| c.0).collect(),
                _ => {
                    let mut all = vec![own];
                    for before in graph.predecessors(TaskId(i)) {
                        let there = &self.takes_part[before.0 as usize];
                        if !there.contains(&own) {
                            all.extend(there);
                        }
                    }
                    all
                }
            };
            self.takes_part[i as usize].sort_unstable();
            self.takes_part[i as usize].dedup();
            for next in graph.successors(TaskId(i)) {
                waits[next.0 as usize] -= 1;
                if waits[next.0 as usize] == 0 {
                    ready.push(next.0);
                }
            }
        }
    }

    fn trace(mut self) -> Trace {
        let mut ranks = Vec::new();
        for class in 0..self.classes as u32 {
            for (number, (first, count)) in self.runs[class as usize].clone().into_iter().enumerate() {
                ranks.push(RankTrace { rank: first, count, ops: self.ops(class, number) });
            }
        }
        ranks.sort_by_key(|r| r.rank);
        Trace { ranks, groups: self.groups, sizes: SizeConvention::Gathered, noticed: Vec::new() }
    }

    /// The operations of a run of a class.
    fn ops(&mut self, class: u32, run: usize) -> Vec<TraceOp> {
        let graph = &self.step.graph;
        let mut place = vec![u32::MAX; graph.len()];
        let mut ops: Vec<TraceOp> = Vec::new();
        let mut tags: BTreeMap<(u32, bool), u64> = BTreeMap::new();
        for (i, task) in graph.tasks().iter().enumerate() {
            if !self.takes_part[i].contains(&class) {
                continue;
            }
            let id = 2 * i as u64 + 1;
            let op = |id, name: String, kind| TraceOp { id, name, deps: Vec::new(), kind };
            if !matches!(task.work, Work::Transfer { .. }) && self.takes_part[i].len() > 1 {
                let (group, micros) = (self.barrier(i), Some(0.0));
                let kind = TraceKind::Collective { op: TraceCollective::Barrier, bytes: 0.0, group, micros };
                ops.push(op(id - 1, format!("barrier before {}", task.kind.word()), kind));
                place[i] = ops.len() as u32 - 1;
                if task.class.0 != class || matches!(task.work, Work::Join) {
                    continue;
                }
            }
            let kind = self.kind(i, class, run, &mut tags);
            ops.push(op(id, name(task), kind));
            if place[i] != u32::MAX {
                let barrier = place[i];
                ops.last_mut().into_iter().for_each(|o| o.deps.push(barrier));
            }
            place[i] = ops.len() as u32 - 1;
        }
        for i in 0..graph.len() {
            // Where a barrier stands before a task, it is what waits.
            let at = place[i];
            if at == u32::MAX {
                continue;
            }
            let first = if ops[at as usize].deps.is_empty() { at } else { at - 1 };
            let mut deps: Vec<u32> = graph.predecessors(TaskId(i as u32)).map(|p| place[p.0 as usize]).filter(|p| *p != u32::MAX).collect();
            deps.sort_unstable();
            deps.dedup();
            ops[first as usize].deps.extend(deps);
        }
        ops
    }

    fn micros(&self, task: usize) -> f64 {
        (self.step.execution.finish[task] - self.step.execution.start[task]) * 1e6
    }

    fn kind(&mut self, i: usize, class: u32, run: usize, tags: &mut BTreeMap<(u32, bool), u64>) -> TraceKind {
        let task = self.step.graph.tasks()[i];
        let micros = Some(self.micros(i));
        match task.work {
            Work::Compute { .. } => TraceKind::Compute { micros, flops: 0.0, bytes: 0.0, on_cpu: false },
            Work::Delay { .. } => TraceKind::Compute { micros, flops: 0.0, bytes: 0.0, on_cpu: true },
            Work::Join => TraceKind::Nothing,
            Work::Transfer { route, bytes } => {
                let route = self.network.route(route);
                let Way::Groups { communicator, op, .. } = &route.way else {
                    // Copies between a rank's own accelerator, host and drives.
                    return TraceKind::Compute { micros, flops: 0.0, bytes: 0.0, on_cpu: true };
                };
                if *op != Op::SendRecv {
                    let group = self.group(&route.name, communicator);
                    return TraceKind::Collective { op: collective(*op), bytes, group, micros };
                }
                let sends = task.class.0 == class;
                let other = route.classes.iter().map(|c| c.0).find(|c| *c != class).unwrap_or(class);
                let tag = tags.entry((other, sends)).or_insert(0);
                *tag += 1;
                // Stages have their ranks in the same runs.
                let peer = self.runs[other as usize].get(run).map_or(0, |r| r.0);
                if sends { TraceKind::Send { to: peer, tag: *tag, bytes } } else { TraceKind::Recv { from: peer, tag: *tag, bytes } }
            }
        }
    }

    /// The group of a collective's route.
    fn group(&mut self, name: &str, communicator: &Rc<Communicator<'_>>) -> u32 {
        let address = Rc::as_ptr(communicator) as usize;
        if let Some(&known) = self.known.get(&address) {
            return known;
        }
        let sets = communicator.groups().iter().map(|g| g.iter().map(|a| a.0).collect::<Arc<[u32]>>()).collect();
        self.groups.push(TraceGroup { name: name.to_owned(), sets });
        self.known.insert(address, self.groups.len() as u32 - 1);
        self.groups.len() as u32 - 1
    }

    /// The group of all ranks that a task brings together.
    fn barrier(&mut self, task: usize) -> u32 {
        let classes = self.takes_part[task].clone();
        if let Some(&known) = self.barriers.get(&classes) {
            return known;
        }
        let runs = classes.iter().flat_map(|&c| self.runs[c as usize].iter());
        let mut all: Vec<u32> = runs.flat_map(|&(first, count)| first..first + count).collect();
        all.sort_unstable();
        self.groups.push(TraceGroup { name: "barrier".to_owned(), sets: vec![all.into()] });
        self.barriers.insert(classes, self.groups.len() as u32 - 1);
        self.groups.len() as u32 - 1
    }
}

/// Such as `forward 12.1`: microbatch 12, model chunk 1.
fn name(task: &Task) -> String {
    format!("{} {}.{}", task.kind.word(), task.label.microbatch, task.label.chunk)
}
