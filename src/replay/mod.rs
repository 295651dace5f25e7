//! Replays traces: operations of ranks become tasks, on the fabric by our own models or in ASTRA-compatible mode by that program's.
//!
//! A rank (or a class of equal ranks) has a device that runs one kernel at a time and a host that does one thing at a time; of several
//! that are ready the one with the smallest number is next. A collective is one task for all its ranks and starts when the last has
//! come to it; those of one group follow each other in the order of the ranks' own dependencies. Messages match by sender, receiver
//! and tag, in that order too. Work that the trace does not describe (a rank's wait for another) is a result, not an input.

pub mod astra;
mod fabric;
mod lower;

use crate::choice;
use crate::fabric::Fabric;
use crate::hardware::Dtype;
use crate::simulate::{Execution, Network, execute};
use crate::workload::TaskGraph;
use crate::workload::trace::{OpName, Trace, TraceKind};
use lower::{Lowered, Prices};
use std::collections::{BTreeMap, BTreeSet};

choice! {
    /// Where the times of compute operations come from.
    pub enum ComputeTimes {
        /// The durations that the trace recorded.
        Recorded = "recorded",
        /// Operations and bytes of the trace over the device's peak and memory bandwidth.
        Roofline = "roofline",
    }
}

choice! {
    /// When a message may start.
    pub enum Sends {
        /// When both ends have come to it.
        Rendezvous = "rendezvous",
        /// When the sender has.
        Eager = "eager",
    }
}

/// How a trace is replayed on a fabric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Times of compute operations.
    pub compute: ComputeTimes,
    /// Number format of the roofline's peak.
    pub dtype: Dtype,
    /// Factor on all compute times.
    pub scale: f64,
    /// When messages start.
    pub sends: Sends,
    /// Whether communication kernels slow compute down while both run.
    pub interference: bool,
}

/// What a trace runs on.
#[derive(Debug, Clone, Copy)]
pub enum Setting<'a> {
    /// Rank r on accelerator r.
    Fabric(&'a Fabric, Rules),
    /// Files of ASTRA-sim.
    Astra(&'a astra::Machine),
}

/// A trace that ran.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The tasks.
    pub graph: TaskGraph,
    /// When they ran.
    pub execution: Execution,
    /// The task of every operation by class; a collective's is shared by its ranks.
    pub tasks: Vec<Vec<u32>>,
    /// Operations that the trace says no duration of, and all that compute.
    pub without_duration: (u64, u64),
}

/// Most faults that are told of one trace.
const MOST_FAULTS: usize = 20;

fn named(trace: &Trace, class: usize, op: usize) -> String {
    let rank = &trace.ranks[class];
    format!("rank {}: {}", rank.rank, OpName::from(&rank.ops[op]))
}

/// Why a sound trace cannot run in a setting; each names a rank and an operation.
#[must_use]
pub fn faults(trace: &Trace, setting: &Setting<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let ranks = u64::from(trace.ranks.last().map_or(0, |r| r.rank + r.count));
    match setting {
        Setting::Fabric(fabric, rules) => {
            let have = fabric.accelerator_count() as u64;
            if ranks > have {
                out.push(format!("the trace has rank {}, the cluster {have} accelerators", ranks - 1));
            }
            let part = fabric.part(crate::fabric::AcceleratorId(0));
            if rules.compute == ComputeTimes::Roofline && part.peak.of(rules.dtype).is_none() {
                out.push(format!("`{}` has no matrix path for {}", *part.id, rules.dtype));
            }
        }
        Setting::Astra(machine) => {
            let have = u64::from(machine.network.ranks());
            if trace.rank_count() != have || ranks != have {
                out.push(format!("the trace describes {} ranks, the network has {have}", trace.rank_count()));
            }
        }
    }
    if out.is_empty()
        && let Setting::Astra(machine) = setting
    {
        of_astra(trace, machine, &mut out);
    }
    out.truncate(MOST_FAULTS);
    out
}

/// Operations that ASTRA-sim, or its files, have nothing for.
fn of_astra(trace: &Trace, machine: &astra::Machine, out: &mut Vec<String>) {
    use crate::workload::trace::astra::MemoryKind;
    let mut seen = BTreeSet::new();
    for (class, rank) in trace.ranks.iter().enumerate() {
        for (i, op) in rank.ops.iter().enumerate() {
            match op.kind {
                TraceKind::Memory { .. } if machine.memory.kind == MemoryKind::NoExpansion && machine.system.replay_only != Some(true) => {
                    out.push(format!("{} needs a memory, and the memory file says NO_MEMORY_EXPANSION", named(trace, class, i)));
                }
                TraceKind::Collective { op: what, bytes, group, .. }
                    if !machine.replays(what) && seen.insert((what, bytes.to_bits(), group)) =>
                {
                    let set = trace.groups.get(group as usize).and_then(|g| g.sets.first());
                    let input = trace.input_bytes(what, bytes, group);
                    if let Some(Err(said)) = set.map(|set| astra::Collectives::work(machine, what, input, set)) {
                        out.push(format!("{}: {said}", named(trace, class, i)));
                    }
                }
                _ => {}
            }
            if out.len() > MOST_FAULTS {
                return;
            }
        }
    }
}

/// Seconds that one task takes, about (measured 0.5 to 1 us), and one message of a collective that is run by itself.
const SECONDS: (f64, f64) = (1.5e-6, 0.5e-6);

/// Tasks and messages that a replay takes, and about how many seconds.
#[must_use]
pub fn work(trace: &Trace, setting: &Setting<'_>) -> (f64, f64) {
    let tasks: usize = trace.ranks.iter().map(|r| r.ops.len() + r.ops.iter().map(|o| o.deps.len()).sum::<usize>() / 8).sum();
    let members: usize = trace.groups.iter().flat_map(|g| &g.sets).map(|s| s.len()).sum();
    let mut messages = members as f64;
    if let Setting::Astra(machine) = setting {
        let (mut seen, mut shapes) = (BTreeSet::new(), BTreeMap::new());
        for op in trace.ranks.iter().flat_map(|r| &r.ops) {
            let TraceKind::Collective { op, bytes, group, .. } = op.kind else { continue };
            if seen.insert((op, bytes.to_bits(), group))
                && let Some(info) = trace.groups.get(group as usize)
            {
                let input = trace.input_bytes(op, bytes, group);
                let shapes = shapes.entry(group).or_insert_with(|| astra::Collectives::shapes(machine, &info.sets));
                messages += shapes.iter().filter_map(|&s| astra::Collectives::work(machine, op, input, &info.sets[s]).ok()).sum::<f64>();
            }
        }
    }
    (tasks as f64 + messages, tasks as f64 * SECONDS.0 + messages * SECONDS.1)
}

/// Replays a trace that has no faults.
///
/// # Errors
/// Names the ranks and operations that wait for each other, or what cannot be priced.
pub fn replay(trace: &Trace, setting: &Setting<'_>) -> Result<Replayed, String> {
    match setting {
        Setting::Fabric(fabric, rules) => {
            let mut network = Network::new(fabric);
            let mut prices = fabric::OnFabric::new(trace, fabric, *rules, &mut network);
            let lowered = lower::lower(trace, &mut prices)?;
            let without_duration = prices.without_duration();
            run(trace, lowered, &network, without_duration)
        }
        Setting::Astra(machine) => {
            let mut prices = OnAstra { machine, collectives: astra::Collectives::default(), shapes: BTreeMap::new() };
            let lowered = lower::lower(trace, &mut prices)?;
            let nothing = Fabric::empty("");
            run(trace, lowered, &Network::new(&nothing), (0, 0))
        }
    }
}

/// The trace with the durations of a replay instead of those that it had.
#[must_use]
pub fn timed(trace: &Trace, run: &Replayed) -> Trace {
    let mut out = trace.clone();
    for (rank, tasks) in out.ranks.iter_mut().zip(&run.tasks) {
        for (op, &task) in rank.ops.iter_mut().zip(tasks) {
            if let TraceKind::Compute { micros, .. } | TraceKind::Collective { micros, .. } = &mut op.kind {
                let (start, finish) = (&run.execution.start, &run.execution.finish);
                let span = finish.get(task as usize).zip(start.get(task as usize));
                *micros = span.map(|(finish, start)| (finish - start) * 1e6);
            }
        }
    }
    out
}

fn run(trace: &Trace, lowered: Lowered, network: &Network<'_>, without_duration: (u64, u64)) -> Result<Replayed, String> {
    let Lowered { graph, tasks } = lowered;
    match execute(&graph, network, trace.ranks.len(), &[]) {
        Ok(execution) => Ok(Replayed { graph, execution, tasks, without_duration }),
        Err(deadlock) => {
            let wanted: Vec<u32> = deadlock.tasks.iter().map(|t| t.0).collect();
            Err(format!("{} operations never run; these wait for each other: {}", deadlock.stuck, circle(trace, &tasks, &wanted)))
        }
    }
}

/// The operations of a circle of tasks, in its order.
fn circle(trace: &Trace, tasks: &[Vec<u32>], wanted: &[u32]) -> String {
    let mut names = vec![String::new(); wanted.len()];
    for (class, list) in tasks.iter().enumerate() {
        for (op, task) in list.iter().enumerate() {
            if let Some(at) = wanted.iter().position(|w| w == task) {
                let comma = if names[at].is_empty() { "" } else { " with " };
                if names[at].len() < 300 {
                    names[at].push_str(&format!("{comma}{}", named(trace, class, op)));
                }
            }
        }
    }
    names.retain(|n| !n.is_empty());
    names.join(" → ")
}

/// Prices of ASTRA-sim's files.
struct OnAstra<'a> {
    machine: &'a astra::Machine,
    collectives: astra::Collectives,
    /// One set of each shape, by group.
    shapes: BTreeMap<u32, Vec<usize>>,
}

impl Prices for OnAstra<'_> {
    fn compute(&mut self, _class: usize, op: &TraceKind) -> crate::workload::Work {
        let TraceKind::Compute { micros, flops, bytes, on_cpu } = *op else { return crate::workload::Work::Join };
        nanos(self.machine.compute_nanos(micros, flops, bytes, on_cpu))
    }
    fn memory(&mut self, _class: usize, bytes: f64) -> crate::workload::Work {
        if self.machine.system.replay_only == Some(true) {
            return nanos(1);
        }
        nanos(self.machine.memory_nanos(bytes))
    }
    fn memory_of(&self, rank: u32) -> Option<u32> {
        self.machine.memory_of(rank)
    }
    fn collective(&mut self, trace: &Trace, op: &TraceKind, _classes: &[usize]) -> Result<crate::workload::Work, String> {
        let TraceKind::Collective { op, bytes, group, micros } = *op else { return Ok(crate::workload::Work::Join) };
        if self.machine.replays(op) {
            return Ok(nanos(astra::recorded_nanos(micros)));
        }
        let input = trace.input_bytes(op, bytes, group);
        let sets = trace.groups.get(group as usize).map_or(&[][..], |g| &g.sets);
        let mut longest = 0;
        let shapes = self.shapes.entry(group).or_insert_with(|| astra::Collectives::shapes(self.machine, sets));
        for &shape in shapes.iter() {
            longest = longest.max(self.collectives.nanos(self.machine, op, input, &sets[shape])?);
        }
        Ok(nanos(longest))
    }
    fn message(&mut self, trace: &Trace, from: usize, to: usize, bytes: f64) -> crate::workload::Work {
        if self.machine.system.replay_only == Some(true) {
            return nanos(1);
        }
        nanos(self.machine.message_nanos(trace.ranks[from].rank, trace.ranks[to].rank, bytes))
    }
    fn one_at_a_time(&self) -> bool {
        true
    }
    fn sends(&self) -> Sends {
        Sends::Eager
    }
}

fn nanos(nanos: u64) -> crate::workload::Work {
    crate::workload::Work::Delay { seconds: nanos as f64 * 1e-9 }
}
