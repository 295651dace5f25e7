//! Cached prompts outside device memory: host memory, drives, remote stores. What a prompt leaves is written there, what a later prompt
//! begins with is read back before it runs; both move over the fabric.

use super::flows::Purpose;
use super::prefix::PrefixCache;
use super::run::Run;
use crate::fabric::{AcceleratorId, Fabric, TierId};
use crate::ids::Id as _;
use crate::storage::{Client, Direction, Transfer, copy, transfer};

/// Where cached prompts go beside device memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Offload {
    /// The tier; absent: host memory.
    pub tier: Option<TierId>,
    /// Bytes that it holds: of every node, or of all together where the tier is shared.
    pub capacity: f64,
    /// Whether all nodes share it.
    pub shared: bool,
}

/// Cached prompts of the stores of a run.
pub(super) struct Stores {
    caches: Vec<PrefixCache>,
    /// Hashed blocks that a store holds.
    most: u64,
    /// Bytes of a hashed block on all ranks together.
    block: f64,
}

/// Requests of reads and writes: a hashed block of a rank in one piece, at least 64 KiB.
const LEAST_REQUEST: f64 = 65_536.0;

impl Stores {
    pub(super) fn new(offload: &Offload, nodes: usize, block: f64) -> Self {
        let count = if offload.shared { 1 } else { nodes };
        Self { caches: vec![PrefixCache::default(); count], most: (offload.capacity / block) as u64, block }
    }
}

impl Run<'_, '_> {
    fn store_of(&self, engine: usize) -> usize {
        let shared = self.pool.offload.as_ref().is_some_and(|o| o.shared);
        if shared { 0 } else { self.pool.fabric.site(self.pool.engines[engine].first).node.index() }
    }

    /// The way between a replica and its store.
    fn store_way(&mut self, replica: usize, write: bool) -> Option<usize> {
        let offload = self.pool.offload.clone()?;
        let (engine, data) = self.place_of(replica);
        let site = &self.pool.engines[engine];
        let block = self.stores.as_ref()?.block;
        let (first, tensor) = (u64::from(site.first.0) + data as u64 * site.tensor, site.tensor);
        let each = block / tensor as f64;
        let clients: Vec<Client> = (0..tensor).map(|i| Client { at: AcceleratorId((first + i) as u32), bytes: each, files: 1.0 }).collect();
        let direction = if write { Direction::Write } else { Direction::Read };
        let build = |fabric: &Fabric| match offload.tier {
            None => copy(fabric, &clients, write, f64::INFINITY),
            Some(tier) => {
                let mut through = transfer(fabric, tier, direction, &clients, each.max(LEAST_REQUEST)).unwrap_or_else(Transfer::none);
                // Between host memory and device too.
                let last = copy(fabric, &clients, write, f64::INFINITY);
                for (link, load) in last.traffic {
                    match through.traffic.iter_mut().find(|t| t.0 == link) {
                        Some(t) => t.1 += load,
                        None => through.traffic.push((link, load)),
                    }
                }
                through.overhead_s += last.overhead_s;
                through
            }
        };
        let key = (u32::MAX - 1 - u32::from(write), replica as u32);
        Some(self.flows.as_mut()?.tier(key, build))
    }

    /// Starts to read what the store holds of a prompt beyond what the engine's cache does; whether anything is read.
    pub(super) fn fetch(&mut self, id: u32, replica: usize, now: f64) -> bool {
        let Some(stores) = &self.stores else { return false };
        let request = &self.requests.list[id as usize];
        let hashes = self.requests.hashes_of(request);
        let own = self.replicas[replica].held_blocks_of(hashes);
        let engine = self.place_of(replica).0;
        let found = own + stores.caches[self.store_of(engine)].matching(&hashes[own..]);
        // The last token of a prompt is always computed.
        let found = found.min((request.input as usize - 1) / self.requests.hash_tokens.max(1) as usize);
        if found <= own {
            return false;
        }
        let bytes = (found - own) as f64 * stores.block;
        let Some(way) = self.store_way(replica, false) else { return false };
        self.loads[id as usize] = (own as u32, found as u32, replica as u32);
        self.loaded_bytes += bytes;
        if let Some(flows) = &mut self.flows {
            flows.start(now, bytes, way, f64::INFINITY, Purpose::Load(id));
        }
        true
    }

    /// What was read of a prompt is in the engine's cache; the request queues there.
    pub(super) fn fetched(&mut self, id: u32, now: f64) {
        let (from, to, replica) = self.loads[id as usize];
        let request = &self.requests.list[id as usize];
        let hashes = &self.requests.hashes_of(request)[from as usize..to as usize];
        let r = &mut self.replicas[replica as usize];
        let loaded = if r.open { r.load(hashes) } else { 0 };
        self.records[id as usize].loaded = (loaded * u64::from(self.requests.hash_tokens)) as u32;
        self.enqueue(id, replica as usize, now);
    }

    /// Writes new prompt blocks of a replica to its store.
    pub(super) fn store_kept(&mut self, replica: usize, now: f64) {
        let kept = std::mem::take(&mut self.kept);
        if self.stores.is_some() {
            let at = self.store_of(self.place_of(replica).0);
            for &(id, from, to) in &kept {
                let hashes = &self.requests.hashes_of(&self.requests.list[id as usize])[from as usize..to as usize];
                let Some(stores) = &mut self.stores else { break };
                let cache = &mut stores.caches[at];
                let known = cache.add(hashes);
                cache.release(hashes);
                if cache.len() > stores.most {
                    cache.evict(cache.len() - stores.most);
                }
                let bytes = (hashes.len() as u64 - known) as f64 * stores.block;
                if bytes > 0.0
                    && let Some(way) = self.store_way(replica, true)
                    && let Some(flows) = &mut self.flows
                {
                    flows.start(now, bytes, way, f64::INFINITY, Purpose::Store);
                }
            }
        }
        self.kept = kept;
        self.kept.clear();
    }
}
