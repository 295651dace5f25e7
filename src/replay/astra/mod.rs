//! The ASTRA-compatible mode: a trace on the network, system and memory files of ASTRA-sim, by its conventions instead of ours.
//!
//! Units (a GB of a network is 2^30 bytes, of a memory 10^9), whole nanoseconds, end-point delays, chunks and how many of them run at
//! a time, algorithms by dimension, reductions priced by memory passes, one compute and one communication in flight on each rank.
//! What a collective takes is a function of operation, size and ranks, since nothing else of its ranks communicates beside it; a
//! collective starts when the last of its ranks has come to it.

mod collective;
mod engine;
mod network;
mod steps;
#[cfg(test)]
mod tests;

pub use network::Backend;

use crate::workload::trace::TraceCollective;
use crate::workload::trace::astra::{Memory, MemoryKind, Network, System};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// A machine as ASTRA-sim's files describe it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its network.
    pub network: Network,
    /// Its system.
    pub system: System,
    /// Memory outside the accelerators.
    pub memory: Memory,
    /// Which backend prices messages.
    pub backend: Backend,
}

/// Nanoseconds at each end of a message where the file does not say.
const ENDPOINT: f64 = 10.0;

impl Machine {
    /// What the files ask for and this mode does not have, or what contradicts itself: which file (0 network, 1 system), what, and
    /// what to do.
    #[must_use]
    pub fn faults(&self) -> Vec<(usize, String, &'static str)> {
        let mut out = Vec::new();
        if self.backend == Backend::Aware && self.network.dimensions.len() > 1 {
            let what = format!("the aware backend has one dimension, this network {}", self.network.dimensions.len());
            out.push((0, what, "use backend = \"unaware\", as ASTRA-sim does"));
        }
        if self.network.dimensions.iter().any(|d| d.bandwidth <= 0.0) {
            out.push((0, "a bandwidth is 0".to_owned(), "give a bandwidth above 0"));
        }
        let s = &self.system;
        if s.roofline_enabled == Some(true) && !(s.peak_perf.is_some_and(|p| p > 0.0) && s.local_mem_bw.is_some_and(|b| b > 0.0)) {
            let fix = "give `peak-perf` (TFLOP/s) and `local-mem-bw` (GB/s) above 0";
            out.push((1, "a roofline needs a peak and a memory bandwidth".to_owned(), fix));
        }
        if s.model_shared_bus == Some(true) {
            out.push((1, "`model-shared-bus` is not run here".to_owned(), "set it to 0"));
        }
        if s.endpoint_delay.is_some_and(|d| d > 1e15) || s.preferred_dataset_splits.is_some_and(|d| d > 1e6) {
            out.push((1, "a delay or a number of splits is absurd".to_owned(), "check `endpoint-delay` and `preferred-dataset-splits`"));
        }
        out
    }
    fn endpoint(&self) -> u64 {
        self.system.endpoint_delay.unwrap_or(ENDPOINT) as u64
    }
    fn splits(&self) -> u64 {
        (self.system.preferred_dataset_splits.unwrap_or(1.0) as u64).max(1)
    }
    fn active(&self) -> u32 {
        (self.system.active_chunks_per_dimension.unwrap_or(1.0) as u32).max(1)
    }
    /// Bytes per second of local memory; infinite where none is given.
    fn memory_rate(&self) -> f64 {
        self.system.local_mem_bw.filter(|b| *b > 0.0).map_or(f64::INFINITY, |b| b * 1e9)
    }

    /// Nanoseconds of a compute operation.
    #[must_use]
    pub fn compute_nanos(&self, micros: Option<f64>, flops: f64, bytes: f64, on_cpu: bool) -> u64 {
        if self.system.roofline_enabled == Some(true) && self.system.replay_only != Some(true) && !on_cpu {
            if bytes == 0.0 {
                return 0;
            }
            let (peak, memory) = (self.system.peak_perf.unwrap_or(0.0) * 1e12, self.memory_rate());
            return ((flops / peak).max(bytes / memory) * 1e9) as u64;
        }
        recorded_nanos(micros)
    }
    /// Whether a collective takes the time that was recorded: broadcasts do, and all in a pure replay.
    #[must_use]
    pub fn replays(&self, op: TraceCollective) -> bool {
        op == TraceCollective::Broadcast || self.system.replay_only == Some(true)
    }
    /// Nanoseconds of an access to memory outside the accelerator.
    #[must_use]
    pub fn memory_nanos(&self, bytes: f64) -> u64 {
        let rate = self.memory.bytes_per_nano.unwrap_or(0.0);
        let moving = if rate > 0.0 { bytes / rate } else { 0.0 };
        self.memory.latency_nanos.unwrap_or(0.0) as u64 + moving as u64
    }
    /// Which memory a rank's accesses queue at; `None` where they do not.
    #[must_use]
    pub fn memory_of(&self, rank: u32) -> Option<u32> {
        match self.memory.kind {
            MemoryKind::Pool => Some(0),
            MemoryKind::PerNode => Some(rank / (self.memory.per_node.unwrap_or(1.0) as u32).max(1)),
            MemoryKind::NoExpansion | MemoryKind::PerAccelerator => None,
        }
    }
    /// Nanoseconds of a message that nothing else is in the way of.
    #[must_use]
    pub fn message_nanos(&self, from: u32, to: u32, bytes: f64) -> u64 {
        match self.backend {
            Backend::Unaware => network::alone(&self.network, from, to, bytes as u64),
            Backend::Aware => network::stored(&self.network, from, to, bytes as u64),
        }
    }
}

/// Nanoseconds of what was recorded; what was not takes one cycle.
#[must_use]
pub fn recorded_nanos(micros: Option<f64>) -> u64 {
    micros.filter(|m| *m > 0.0).map_or(1, |m| (m * 1e3) as u64)
}

/// Times of collectives, each worked out once.
#[derive(Debug, Default)]
pub struct Collectives {
    known: FxHashMap<(TraceCollective, u64, Vec<u32>), u64>,
}

impl Collectives {
    /// Nanoseconds of a collective over some ranks; `bytes` is what one rank puts in.
    ///
    /// # Errors
    /// What this mode, or ASTRA-sim, does not have.
    pub fn nanos(&mut self, machine: &Machine, op: TraceCollective, bytes: f64, ranks: &[u32]) -> Result<u64, String> {
        if ranks.len() < 2 {
            return Ok(0);
        }
        let whole = ranks.len() as u32 == machine.network.ranks();
        let key = (op, bytes.to_bits(), if whole { Vec::new() } else { ranks.to_vec() });
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        let nanos = machine.plan(op, bytes, ranks)?.nanos();
        self.known.insert(key, nanos);
        Ok(nanos)
    }
    /// One set of each shape: networks look the same from every rank, so sets whose members lie alike take the same time.
    #[must_use]
    pub fn shapes(machine: &Machine, sets: &[Arc<[u32]>]) -> Vec<usize> {
        let mut seen = FxHashSet::default();
        let shape = |set: &[u32]| -> Vec<u32> {
            let Some(&first) = set.first() else { return Vec::new() };
            let from = machine.network.place(first);
            let apart = |&rank: &u32| {
                let place = machine.network.place(rank);
                let sides = machine.network.dimensions.iter().map(|d| d.count);
                place.iter().zip(&from).zip(sides).map(|((p, f), n)| (p + n - f) % n).collect::<Vec<_>>()
            };
            set.iter().flat_map(apart).collect()
        };
        (0..sets.len()).filter(|&i| seen.insert(shape(&sets[i]))).collect()
    }
    /// Messages that would be run one by one for a collective that is not known yet.
    ///
    /// # Errors
    /// As [`Self::nanos`].
    pub fn work(machine: &Machine, op: TraceCollective, bytes: f64, ranks: &[u32]) -> Result<f64, String> {
        if ranks.len() < 2 { Ok(0.0) } else { machine.plan(op, bytes, ranks).map(|p| p.work()) }
    }
}
