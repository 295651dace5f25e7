//! What a checkpoint costs: the shards of the memory model as flows over the fabric, place by place.
//!
//! A save copies every rank's shard over PCIe to host memory and meets at a barrier. A synchronous save then writes to its places while
//! the job waits; an asynchronous one lets it go on and drains in the background. Coming back, every rank reads the weights and its part
//! of the optimizer: replicas read the same weights, so reading moves more than writing.

use super::failure::Loses;
use super::plan::Level;
use crate::choice;
use crate::fabric::{AcceleratorId, Fabric, TierId};
use crate::storage::{Client, Direction, Transfer, copy, exchange, transfer};
use crate::training::{Config, Shard, shards};

choice! {
    /// Whether the job waits for a checkpoint.
    pub enum Mode {
        /// It waits until the checkpoint is written.
        Sync = "sync",
        /// It waits for the copy to host memory only.
        Async = "async",
    }
}

/// Where a checkpoint goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It stays in the memory of its own host.
    Host,
    /// Memory of another node.
    Peer,
    /// A storage tier.
    Tier(TierId),
}

/// One place of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelPlan {
    /// Where.
    pub place: Place,
    /// Every how manyth checkpoint goes there.
    pub every: u64,
}

/// How checkpoints are taken.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointPlan {
    /// Whether the job waits.
    pub mode: Mode,
    /// Places.
    pub levels: Vec<LevelPlan>,
    /// What one accelerator copies to pinned host memory, bytes per second.
    pub copy_rate: f64,
    /// What one process serialises, bytes per second; infinite for formats without a copy.
    pub serialise_rate: f64,
    /// Seconds for all ranks to meet.
    pub barrier: f64,
}

/// One place of a checkpoint with its cost.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelCost {
    /// As the run sees it.
    pub level: Level,
    /// Seconds of the write by itself.
    pub write: f64,
    /// Bytes per second of the write.
    pub rate: f64,
    /// What sets the rate.
    pub bottleneck: &'static str,
    /// Bytes that are read to come back.
    pub read_bytes: f64,
    /// The write as traffic.
    pub transfer: Transfer,
    /// Bytes that the place holds.
    pub capacity: f64,
}

impl LevelCost {
    /// Bytes that all checkpoints kept here take.
    #[must_use]
    pub fn stored(&self, cost: &CheckpointCost, retention: usize) -> f64 {
        cost.bytes * if self.level.survives == Loses::Domain { retention as f64 } else { 1.0 }
    }
}

/// What one checkpoint costs.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointCost {
    /// Bytes of the whole checkpoint.
    pub bytes: f64,
    /// Bytes of the largest shard.
    pub largest_shard: f64,
    /// Seconds of the copy to host memory.
    pub copy: f64,
    /// Seconds that the job is blocked.
    pub block: f64,
    /// Places.
    pub levels: Vec<LevelCost>,
}

fn clients(shards: &[Shard], bytes: impl Fn(&Shard) -> f64) -> Vec<Client> {
    shards.iter().map(|s| Client { at: s.at, bytes: bytes(s), files: 1.0 }).filter(|c| c.bytes > 0.0).collect()
}

/// What the checkpoints of a job cost; `None` where a place cannot be reached.
#[must_use]
pub fn checkpoint_cost(config: &Config, layers: &[Vec<u64>], fabric: &Fabric, plan: &CheckpointPlan) -> Option<CheckpointCost> {
    let shards = shards(config, layers);
    let written = clients(&shards, |s| s.written);
    let needed = clients(&shards, |s| s.needed);
    let bytes: f64 = written.iter().map(|c| c.bytes).sum();
    let largest_shard = written.iter().map(|c| c.bytes).fold(0.0, f64::max);
    let to_host = copy(fabric, &written, true, plan.copy_rate).time(fabric);
    let to_device = copy(fabric, &needed, false, plan.copy_rate).time(fabric);
    let serialise = largest_shard / plan.serialise_rate;
    let mut levels = Vec::new();
    for level in &plan.levels {
        levels.push(level_cost(fabric, level, &written, &needed, to_device)?);
    }
    let mut block = to_host + plan.barrier;
    for cost in &mut levels {
        let write = serialise + cost.write;
        match plan.mode {
            Mode::Sync => block += write / cost.level.every as f64,
            Mode::Async => cost.level.drain = write,
        }
    }
    Some(CheckpointCost { bytes, largest_shard, copy: to_host, block, levels })
}

fn level_cost(fabric: &Fabric, plan: &LevelPlan, written: &[Client], needed: &[Client], to_device: f64) -> Option<LevelCost> {
    let (name, survives, write, read): (String, Loses, Transfer, Transfer) = match plan.place {
        Place::Host => ("host memory".into(), Loses::Process, Transfer::none(), Transfer::none()),
        Place::Peer => {
            // Only the node that was replaced fetches its part from its peer.
            let node = fabric.site(AcceleratorId(0)).node;
            let lost: Vec<Client> = needed.iter().copied().filter(|c| fabric.site(c.at).node == node).collect();
            ("peer memory".into(), Loses::Node, exchange(fabric, written, 1, false)?, exchange(fabric, &lost, 1, true)?)
        }
        Place::Tier(id) => {
            let tier = fabric.tier(id);
            let survives = if tier.kind == crate::fabric::TierKind::Local { Loses::Process } else { Loses::Domain };
            let write = transfer(fabric, id, Direction::Write, written, tier.request)?;
            (tier.name.clone(), survives, write, transfer(fabric, id, Direction::Read, needed, tier.request)?)
        }
    };
    let hosts: f64 = fabric.host(fabric.site(AcceleratorId(0)).node).memory.get() * fabric.node_count() as f64;
    let capacity = if let Place::Tier(id) = plan.place { fabric.tier(id).capacity } else { hosts };
    let seconds = write.time(fabric);
    Some(LevelCost {
        level: Level { name, every: plan.every, drain: 0.0, restore: read.time(fabric) + to_device, survives },
        write: seconds,
        rate: if seconds > 0.0 { write.bytes / seconds } else { 0.0 },
        bottleneck: if write.bytes > 0.0 { write.bottleneck(fabric) } else { "PCIe" },
        read_bytes: read.bytes,
        transfer: write,
        capacity,
    })
}
