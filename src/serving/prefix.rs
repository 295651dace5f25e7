//! The prefix cache of a replica: prompt blocks by hash, shared by reference, evicted by least recent use.

use rustc_hash::FxHashMap;

/// No neighbour in the list of unused blocks.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    hash: u64,
    users: u32,
    before: u32,
    after: u32,
}

/// Cached prompt blocks. Those without users are kept in order of their last use until the room is needed.
#[derive(Debug, Clone)]
pub(super) struct PrefixCache {
    by_hash: FxHashMap<u64, u32>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    unused: u64,
}

impl Default for PrefixCache {
    fn default() -> Self {
        Self { by_hash: FxHashMap::default(), nodes: Vec::new(), free: Vec::new(), oldest: NONE, newest: NONE, unused: 0 }
    }
}

impl PrefixCache {
    /// Hashed blocks that it holds.
    #[must_use]
    pub(super) fn len(&self) -> u64 {
        self.by_hash.len() as u64
    }
    /// Blocks that nobody uses.
    #[must_use]
    pub(super) const fn unused(&self) -> u64 {
        self.unused
    }
    /// How many leading blocks of a prompt it holds.
    #[must_use]
    pub(super) fn matching(&self, hashes: &[u64]) -> usize {
        hashes.iter().take_while(|h| self.by_hash.contains_key(h)).count()
    }
    /// Takes blocks into use that it holds.
    pub(super) fn take(&mut self, hashes: &[u64]) {
        for hash in hashes {
            let Some(&at) = self.by_hash.get(hash) else { continue };
            if self.nodes[at as usize].users == 0 {
                self.unlink(at);
            }
            self.nodes[at as usize].users += 1;
        }
    }
    /// Adds blocks in use; returns how many of them were there already.
    pub(super) fn add(&mut self, hashes: &[u64]) -> u64 {
        let mut known = 0;
        for &hash in hashes {
            if self.by_hash.contains_key(&hash) {
                self.take(&[hash]);
                known += 1;
                continue;
            }
            let node = Node { hash, users: 1, before: NONE, after: NONE };
            let at = match self.free.pop() {
                Some(at) => {
                    self.nodes[at as usize] = node;
                    at
                }
                None => {
                    self.nodes.push(node);
                    self.nodes.len() as u32 - 1
                }
            };
            self.by_hash.insert(hash, at);
        }
        known
    }
    /// Gives blocks back; the last of a prompt becomes the first to be evicted.
    pub(super) fn release(&mut self, hashes: &[u64]) {
        for hash in hashes.iter().rev() {
            let Some(&at) = self.by_hash.get(hash) else { continue };
            let node = &mut self.nodes[at as usize];
            node.users -= 1;
            if node.users == 0 {
                self.link(at);
            }
        }
    }
    /// Drops unused blocks, the longest unused first; returns how many were dropped.
    pub(super) fn evict(&mut self, blocks: u64) -> u64 {
        let mut dropped = 0;
        while dropped < blocks && self.oldest != NONE {
            let at = self.oldest;
            self.unlink(at);
            self.by_hash.remove(&self.nodes[at as usize].hash);
            self.free.push(at);
            dropped += 1;
        }
        dropped
    }

    fn link(&mut self, at: u32) {
        let before = self.newest;
        let node = &mut self.nodes[at as usize];
        (node.before, node.after) = (before, NONE);
        if before == NONE {
            self.oldest = at;
        } else {
            self.nodes[before as usize].after = at;
        }
        self.newest = at;
        self.unused += 1;
    }

    fn unlink(&mut self, at: u32) {
        let Node { before, after, .. } = self.nodes[at as usize];
        if before == NONE {
            self.oldest = after;
        } else {
            self.nodes[before as usize].after = after;
        }
        if after == NONE {
            self.newest = before;
        } else {
            self.nodes[after as usize].before = before;
        }
        self.unused -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_blocks_stay_and_the_least_recent_goes_first() {
        let mut cache = PrefixCache::default();
        assert_eq!(cache.add(&[1, 2, 3]), 0);
        assert_eq!(cache.matching(&[1, 2, 4]), 2);
        cache.take(&[1, 2]);
        cache.release(&[1, 2, 3]);
        assert_eq!((cache.len(), cache.unused()), (3, 1));
        cache.release(&[1, 2]);
        assert_eq!(cache.unused(), 3);
        // 3 was released first, then 2 before 1: the root of a prompt outlives its tail.
        assert_eq!(cache.evict(2), 2);
        assert_eq!(cache.matching(&[1, 2]), 1);
        assert_eq!(cache.add(&[1]), 1);
        assert_eq!(cache.evict(5), 0);
    }
}
