//! What a checkpoint costs: the shards of the memory model as flows over the fabric, place by place.
//!
//! A save copies every rank's shard over PCIe to host memory and meets at a barrier. A synchronous save then writes to its places while
//! the job waits; an asynchronous one lets it go on and drains in the background. Coming back, every rank reads the weights and its part
//! of the optimizer: replicas read the same weights, so reading moves more than writing. A place may be filled from another one instead of from the
//! nodes (a store in another region), then only the servers of that one and the way between them carry the bytes.
//!
//! Of incremental checkpoints every nth is whole, the others hold what has changed. Times and bytes of a write are means over n, reading back is
//! the whole one and `(n - 1)/2` increments in the mean.

use super::failure::Loses;
use super::plan::Level;
use crate::choice;
use crate::fabric::{AcceleratorId, Fabric, TierId, TierKind};
use crate::storage::{Client, Direction, Transfer, copy, exchange, replicate, transfer};
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
    /// The place that it is copied from, by its number; `None`: the nodes write it.
    pub from: Option<usize>,
}

/// Checkpoints that hold only what has changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incremental {
    /// Every how manyth is whole.
    pub full_every: u64,
    /// Share of the bytes that has changed since the last one.
    pub share: f64,
}

impl Incremental {
    /// Every one whole.
    pub const WHOLE: Self = Self { full_every: 1, share: 1.0 };

    fn others(self) -> f64 {
        self.full_every as f64 - 1.0
    }
    /// Bytes of a write over those of a whole one, in the mean.
    #[must_use]
    pub fn written(self) -> f64 {
        (1.0 + self.others() * self.share) / self.full_every as f64
    }
    /// The same for reading back, in the mean.
    #[must_use]
    pub fn read(self) -> f64 {
        1.0 + self.share * self.others() / 2.0
    }
    /// The same for reading back the last one before a whole one.
    #[must_use]
    pub fn read_most(self) -> f64 {
        1.0 + self.share * self.others()
    }
    /// Bytes of the last `kept` ones with all that they build on, over those of a whole one, at most.
    #[must_use]
    pub fn stored(self, kept: f64) -> f64 {
        let chains = ((kept - 1.0) / self.full_every as f64).ceil() + 1.0;
        if self.full_every == 1 { kept } else { chains * self.read_most() }
    }
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
    /// Which are whole.
    pub incremental: Incremental,
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
        let kept = if self.level.survives >= Loses::Domain { retention as f64 } else { 1.0 };
        cost.bytes * cost.incremental.stored(kept)
    }
}

/// What one checkpoint costs.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointCost {
    /// Bytes of the whole checkpoint.
    pub bytes: f64,
    /// Which are whole.
    pub incremental: Incremental,
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
    let to_host = copy(fabric, &clients(&shards, |s| s.copied[0]), true, plan.copy_rate).time(fabric);
    let to_device = copy(fabric, &clients(&shards, |s| s.copied[1]), false, plan.copy_rate).time(fabric);
    let serialise = largest_shard * plan.incremental.written() / plan.serialise_rate;
    let mut levels: Vec<LevelCost> = Vec::new();
    for level in &plan.levels {
        let near = level.from.and_then(|i| plan.levels.get(i));
        levels.push(match near {
            Some(near) => copied(fabric, level, near, (bytes, &needed), (to_device, plan.incremental))?,
            None => level_cost(fabric, level, &written, &needed, (to_device, plan.incremental))?,
        });
    }
    let mut block = to_host + plan.barrier;
    for i in 0..levels.len() {
        let from = plan.levels[i].from;
        let write = if from.is_some() { levels[i].write } else { serialise + levels[i].write };
        match plan.mode {
            Mode::Sync if from.is_none() => block += write / levels[i].level.every as f64,
            _ => {
                // A copy begins when the near one is complete.
                levels[i].level.drain = write + from.map_or(0.0, |near| levels[near].level.drain);
                levels[i].level.busy = write;
            }
        }
    }
    Some(CheckpointCost { bytes, incremental: plan.incremental, largest_shard, copy: to_host, block, levels })
}

/// What a checkpoint of one layout costs to read onto another one: bytes and seconds for each place, with `rate` bytes per second of one
/// process that cuts them anew (infinite where readers fetch ranges of bytes); `None` where a place cannot be reached.
#[must_use]
pub fn reshard_cost(to: &Config, layers: &[Vec<u64>], fabric: &Fabric, plan: &CheckpointPlan, rate: f64) -> Option<Vec<(f64, f64)>> {
    let shards = shards(to, layers);
    let needed = clients(&shards, |s| s.needed);
    let to_device = copy(fabric, &clients(&shards, |s| s.copied[1]), false, plan.copy_rate).time(fabric);
    let largest = needed.iter().map(|c| c.bytes).fold(0.0, f64::max);
    let one = |level: &LevelPlan| {
        let read = match level.place {
            Place::Tier(id) => transfer(fabric, id, Direction::Read, &needed, fabric.tier(id).request)?,
            // Shards lie in the memory of other nodes than those that need them.
            Place::Host | Place::Peer => exchange(fabric, &needed, 1, true)?,
        };
        Some((read.bytes * plan.incremental.read(), read.time(fabric) * plan.incremental.read() + to_device + largest / rate))
    };
    plan.levels.iter().map(one).collect()
}

/// A place that is filled from another one.
fn copied(
    fabric: &Fabric,
    plan: &LevelPlan,
    near: &LevelPlan,
    (bytes, needed): (f64, &[Client]),
    (to_device, incremental): (f64, Incremental),
) -> Option<LevelCost> {
    let (Place::Tier(far), Place::Tier(near)) = (plan.place, near.place) else { return None };
    let write = replicate(fabric, near, far, bytes * incremental.written())?;
    let tier = fabric.tier(far);
    let read = transfer(fabric, far, Direction::Read, needed, tier.request)?;
    Some(cost_of(fabric, plan, (tier.name.clone(), survives(fabric, plan.place)), (write, read), (to_device, incremental)))
}

/// The worst failure that a place survives.
fn survives(fabric: &Fabric, place: Place) -> Loses {
    match place {
        Place::Host => Loses::Process,
        Place::Peer => Loses::Node,
        Place::Tier(id) => match (fabric.tier(id).kind, &fabric.tier(id).region) {
            (TierKind::Local | TierKind::HostMemory, _) => Loses::Process,
            // A pool keeps its contents when one of its nodes goes; a pool of one node goes with it.
            (TierKind::CxlPool, _) => {
                if fabric.tier(id).servers > 1 {
                    Loses::Node
                } else {
                    Loses::Process
                }
            }
            (_, Some(_)) => Loses::Region,
            _ => Loses::Domain,
        },
    }
}

fn level_cost(
    fabric: &Fabric,
    plan: &LevelPlan,
    written: &[Client],
    needed: &[Client],
    (to_device, incremental): (f64, Incremental),
) -> Option<LevelCost> {
    let (name, mut write, read): (String, Transfer, Transfer) = match plan.place {
        Place::Host => ("host memory".into(), Transfer::none(), Transfer::none()),
        Place::Peer => {
            // Only the node that was replaced fetches its part from its peer.
            let node = fabric.site(AcceleratorId(0)).node;
            let lost: Vec<Client> = needed.iter().copied().filter(|c| fabric.site(c.at).node == node).collect();
            ("peer memory".into(), exchange(fabric, written, 1, false)?, exchange(fabric, &lost, 1, true)?)
        }
        Place::Tier(id) => {
            let tier = fabric.tier(id);
            let write = transfer(fabric, id, Direction::Write, written, tier.request)?;
            (tier.name.clone(), write, transfer(fabric, id, Direction::Read, needed, tier.request)?)
        }
    };
    write.bytes *= incremental.written();
    Some(cost_of(fabric, plan, (name, survives(fabric, plan.place)), (write, read), (to_device, incremental)))
}

fn cost_of(
    fabric: &Fabric,
    plan: &LevelPlan,
    (name, survives): (String, Loses),
    (write, mut read): (Transfer, Transfer),
    (to_device, incremental): (f64, Incremental),
) -> LevelCost {
    let hosts: f64 = fabric.host(fabric.site(AcceleratorId(0)).node).memory.get() * fabric.node_count() as f64;
    let capacity = if let Place::Tier(id) = plan.place { fabric.tier(id).capacity } else { hosts };
    let seconds = write.time(fabric);
    let whole = read.bytes;
    read.bytes = whole * incremental.read_most();
    let restore_worst = read.time(fabric) + to_device;
    read.bytes = whole * incremental.read();
    LevelCost {
        level: Level { name, every: plan.every, drain: 0.0, busy: 0.0, restore: read.time(fabric) + to_device, restore_worst, survives },
        write: seconds,
        rate: if seconds > 0.0 { write.bytes / seconds } else { 0.0 },
        bottleneck: if write.bytes > 0.0 { write.bottleneck(fabric) } else { "PCIe" },
        read_bytes: read.bytes,
        transfer: write,
        capacity,
    }
}
