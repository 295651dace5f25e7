//! Collectives as ASTRA-sim's system layer runs them: cut into chunks, each through the phases of the network's dimensions.
//!
//! Where all ranks do the same at the same time and messages do not share links, the time of a phase does not depend on what else
//! runs: the ring's has a closed form, and the chunks only wait for their turn in each dimension. Else messages are run one by one.

use super::Machine;
use super::engine::{Case, run};
use super::network::{Backend, Wires, alone, stored, way};
use super::steps::{Phase, Steps};
use crate::engine::EventQueue;
use crate::units::SimTime;
use crate::workload::trace::TraceCollective;
use crate::workload::trace::astra::{Algorithm, Wiring};
use std::collections::VecDeque;

/// Nanoseconds between a rank and its network in a group that is not the whole machine.
const GROUP_ENDPOINT: u64 = 10;

/// A collective, planned.
pub(super) struct Planned<'a> {
    phases: Vec<Phase>,
    chunks: u32,
    active: u32,
    memory: f64,
    wires: Wires<'a>,
}

/// What an algorithm's word says: the steps, and whether they go over all ranks as one dimension.
fn steps(word: &str) -> Option<(Steps, bool)> {
    let (word, one) = word.strip_prefix("one").map_or((word, false), |rest| (rest, true));
    let lower = word.to_lowercase();
    let steps = match lower.as_str() {
        "ring" => Steps::Ring,
        "halvingdoubling" => Steps::Halving,
        _ => {
            let window = lower.strip_prefix("direct")?;
            Steps::Direct(if window.is_empty() { None } else { window.parse().ok() })
        }
    };
    Some((steps, one))
}

impl Machine {
    const fn algorithm(&self, op: TraceCollective) -> Option<(&Algorithm, &'static str)> {
        Some(match op {
            TraceCollective::AllReduce => (&self.system.all_reduce, "all-reduce-implementation"),
            TraceCollective::AllGather => (&self.system.all_gather, "all-gather-implementation"),
            TraceCollective::ReduceScatter => (&self.system.reduce_scatter, "reduce-scatter-implementation"),
            TraceCollective::AllToAll => (&self.system.all_to_all, "all-to-all-implementation"),
            _ => return None,
        })
    }

    /// Plans a collective over some ranks; `bytes` is what one rank puts in.
    ///
    /// # Errors
    /// What this mode, or ASTRA-sim, does not have.
    pub(super) fn plan(&self, op: TraceCollective, bytes: f64, ranks: &[u32]) -> Result<Planned<'_>, String> {
        let (algorithm, key) = self.algorithm(op).ok_or_else(|| format!("ASTRA-sim has no {}", op.word()))?;
        if !algorithm.custom.is_empty() {
            return Err(format!("`{key}-custom` is not run here: give `{key}` with ring, direct or halvingDoubling"));
        }
        let mut words = Vec::new();
        for word in &algorithm.by_dimension {
            words.push(steps(word).ok_or_else(|| format!("`{word}` of `{key}` is not run here: give ring, direct or halvingDoubling"))?);
        }
        let whole = ranks.len() as u32 == self.network.ranks();
        let dimensions = self.network.dimensions.len();
        if words.is_empty() || (whole && words.len() > dimensions) {
            return Err(format!("`{key}` has {} words, the network {dimensions} dimensions", words.len()));
        }
        let (bytes, chunk) = self.chunk(op, bytes);
        let chunks = bytes.div_ceil(chunk) as u32;
        let mut rings = Vec::new();
        let mut layout = Vec::new();
        if !whole {
            // A group is one ring, whatever the dimensions; only a single word is kept.
            let steps = if let [(one, _)] = words[..] { one } else { Steps::Ring };
            layout.push((steps, ranks.len() as u32));
            rings.push(ranks.to_vec());
        } else if let Some(&(steps, _)) = words.iter().find(|w| w.1) {
            layout.push((steps, ranks.len() as u32));
            rings.push((0..self.network.ranks()).collect());
        } else {
            let mut stride = 1;
            for (&(steps, _), dimension) in words.iter().zip(&self.network.dimensions) {
                layout.push((steps, dimension.count));
                rings.push((0..dimension.count).map(|i| i * stride).collect());
                stride *= dimension.count;
            }
        }
        let phases = self.phases(op, chunk, &layout, !whole)?;
        let wires = Wires { network: &self.network, backend: self.backend, rings, alike: true };
        let mut planned = Planned { phases, chunks, active: self.active(), memory: self.memory_rate(), wires };
        planned.wires.alike = planned.is_alike();
        Ok(planned)
    }

    /// The size as ASTRA-sim takes it, and that of a chunk.
    fn chunk(&self, op: TraceCollective, bytes: f64) -> (u64, u64) {
        let (bytes, splits, ranks) = (bytes as u64, self.splits(), u64::from(self.network.ranks()));
        let chunk = bytes / splits;
        if op != TraceCollective::AllGather && ranks > chunk { (splits * ranks, ranks) } else { (bytes, chunk.max(1)) }
    }

    /// The phases of a chunk over the dimensions that have more than one rank.
    fn phases(&self, op: TraceCollective, chunk: u64, layout: &[(Steps, u32)], is_group: bool) -> Result<Vec<Phase>, String> {
        let used: Vec<usize> = (0..layout.len()).filter(|&d| layout[d].1 > 1).collect();
        let mut order: Vec<(usize, TraceCollective)> = used.iter().map(|&d| (d, op)).collect();
        if op == TraceCollective::AllGather {
            order.reverse();
        }
        let by_halves = self.system.collective_optimization.as_deref() == Some("localBWAware");
        if let (TraceCollective::AllReduce, true, Some((&last, others))) = (op, by_halves, used.split_last()) {
            order = others.iter().map(|&d| (d, TraceCollective::ReduceScatter)).collect();
            order.push((last, TraceCollective::AllReduce));
            order.extend(others.iter().rev().map(|&d| (d, TraceCollective::AllGather)));
        }
        let endpoint = if is_group { GROUP_ENDPOINT } else { self.endpoint() };
        let mut out = Vec::new();
        let mut bytes = chunk;
        for (dimension, op) in order {
            let (steps, ranks) = layout[dimension];
            if steps == Steps::Halving && (!ranks.is_power_of_two() || op == TraceCollective::AllToAll) {
                return Err(format!("halvingDoubling has no {} over {ranks} ranks", op.word()));
            }
            let phase = Phase { op, steps, ranks, dimension, bytes, endpoint, is_group };
            bytes = phase.bytes_after();
            out.push(phase);
        }
        Ok(out)
    }
}

impl Planned<'_> {
    /// Whether all ranks do the same at the same time, so that one stands for all.
    fn is_alike(&self) -> bool {
        let whole = |ring: &[u32], d: usize| ring.len() as u32 == self.wires.network.dimensions.get(d).map_or(0, |d| d.count);
        let dimensions = &self.wires.network.dimensions;
        self.phases.iter().all(|phase| {
            let ring = &self.wires.rings[phase.dimension];
            if self.wires.backend == Backend::Aware {
                let pairs = phase.steps == Steps::Halving && dimensions[0].wiring == Wiring::Ring;
                return whole(ring, 0) && !pairs;
            }
            if !phase.is_group && whole(ring, phase.dimension) {
                return true;
            }
            let n = ring.len();
            let alike = |distance: usize| {
                let partner = |i: usize| if phase.steps == Steps::Halving { i ^ distance } else { (i + distance) % n };
                let first = way(self.wires.network, ring[0], ring[partner(0)]);
                (1..n).all(|i| way(self.wires.network, ring[i], ring[partner(i)]) == first)
            };
            match phase.steps {
                Steps::Ring => alike(1),
                Steps::Direct(_) => n <= 4096 && (1..n).all(alike),
                Steps::Halving => (0..n.ilog2()).all(|bit| alike(1 << bit)),
            }
        })
    }
    /// Whether the closed form holds: nothing shares a link.
    fn is_free(&self) -> bool {
        self.wires.alike && (self.wires.backend == Backend::Unaware || self.active == 1)
    }
    /// Messages that would be run one by one.
    pub(super) fn work(&self) -> f64 {
        let sends = |p: &Phase| p.sends() as f64;
        if self.is_free() {
            return self.phases.iter().filter(|p| p.steps != Steps::Ring).map(sends).sum::<f64>() + f64::from(self.chunks);
        }
        let ranks = if self.wires.alike { 1.0 } else { self.phases.first().map_or(1.0, |p| f64::from(p.ranks)) };
        self.phases.iter().map(sends).sum::<f64>() * f64::from(self.chunks) * ranks
    }
    /// Nanoseconds from the start, which is the same for all ranks, to the end of the last.
    pub(super) fn nanos(&self) -> u64 {
        if !self.is_free() {
            return self.by_messages();
        }
        let times: Vec<(usize, u64)> = self.phases.iter().map(|p| (p.dimension, self.phase_nanos(p))).collect();
        take_turns(&times, self.chunks, self.active)
    }
    /// The same with every message run: the oracle of the closed form.
    pub(super) fn by_messages(&self) -> u64 {
        let ranks = if self.wires.alike { 1 } else { self.phases.first().map_or(1, |p| p.ranks) };
        self.run(&self.phases, self.chunks, ranks)
    }
    fn run(&self, phases: &[Phase], chunks: u32, ranks: u32) -> u64 {
        run(&Case { phases, chunks, active: self.active, memory: self.memory, ranks }, &self.wires)
    }
    /// One phase of one chunk. A ring: the end point once, then for each message the way and the end point, and a reduction of
    /// memory written once and read twice for each part that is summed.
    fn phase_nanos(&self, phase: &Phase) -> u64 {
        if phase.steps != Steps::Ring {
            return self.run(std::slice::from_ref(phase), 1, 1);
        }
        let ring = &self.wires.rings[phase.dimension];
        let price = if self.wires.backend == Backend::Aware { stored } else { alone };
        let message = price(self.wires.network, ring[0], ring[1], phase.message());
        let summed = matches!(phase.op, TraceCollective::AllReduce | TraceCollective::ReduceScatter);
        let pass = (phase.message() as f64 / self.memory * 1e9) as u64;
        let reductions = if summed { u64::from(phase.ranks) - 1 } else { 0 };
        let sends = phase.sends().saturating_mul(message.saturating_add(phase.endpoint));
        phase.endpoint.saturating_add(sends).saturating_add(reductions.saturating_mul(pass.saturating_mul(3)))
    }
    #[cfg(test)]
    pub(super) fn apart(mut self) -> Self {
        self.wires.alike = false;
        self
    }
}

/// Chunks that go through phases of known length, a few at a time in each dimension, first come first served.
fn take_turns(phases: &[(usize, u64)], chunks: u32, active: u32) -> u64 {
    let dimensions = phases.iter().map(|p| p.0 + 1).max().unwrap_or(0);
    let mut waiting: Vec<VecDeque<u32>> = vec![VecDeque::new(); dimensions];
    let mut running = vec![0u32; dimensions];
    let mut at = vec![0usize; chunks as usize];
    let mut queue = EventQueue::new();
    let mut now = 0u64;
    let Some(&(first, _)) = phases.first() else { return 0 };
    waiting[first].extend(0..chunks);
    let mut stirred = vec![first];
    loop {
        for dimension in stirred.drain(..) {
            while running[dimension] < active {
                let Some(chunk) = waiting[dimension].pop_front() else { break };
                running[dimension] += 1;
                queue.push(SimTime::new(now.saturating_add(phases[at[chunk as usize]].1) as f64), chunk);
            }
        }
        let Some((time, chunk)) = queue.pop() else { return now };
        now = time.seconds() as u64;
        let here = phases[at[chunk as usize]].0;
        running[here] -= 1;
        stirred.push(here);
        at[chunk as usize] += 1;
        if let Some(&(next, _)) = phases.get(at[chunk as usize]) {
            waiting[next].push_back(chunk);
            stirred.push(next);
        }
    }
}
