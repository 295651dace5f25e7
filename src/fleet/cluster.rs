//! The cluster as a scheduler sees it: nodes of several pools, what of them is free, and the subtrees that they lie in.
//!
//! Free accelerators of a node are bits of a mask, so that none can be given twice. Nodes are kept by pool and number of free
//! accelerators, free counts by scale-up domain, leaf and pod: a placement costs what it takes, not what there is.

use super::grant::{Ask, Grant, Part};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Nodes of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Number of its kind of accelerator: pools of one kind may serve one job together.
    pub kind: u16,
    /// What its accelerators are called; empty for nodes without any.
    pub part: String,
    /// Accelerators of a node, at most 64.
    pub accelerators: u8,
    /// Processor cores of a node.
    pub cpus: f64,
    /// Bytes of host memory of a node.
    pub memory: f64,
    /// Dollars for an accelerator (for a node without any: the node) and second, where a price is known.
    pub price: Option<f64>,
    /// Watts of a node that is idle, and of one that works on all its accelerators.
    pub power: [f64; 2],
    /// The region in which it lies.
    pub region: u16,
    /// Whether nodes come and go with the load, and how.
    pub elastic: Option<super::autoscale::ElasticPool>,
}

/// A node: its pool and the subtrees that it lies in, numbered across the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its pool.
    pub pool: u16,
    /// Scale-up domain, leaf and pod.
    pub trees: [u32; 3],
}

/// Whether a node takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    Up,
    /// It keeps what it runs and takes nothing new.
    Cordoned,
    /// It is broken, under maintenance, or not there.
    Down,
}

/// A count for each subtree and pool.
#[derive(Debug, Clone)]
struct Level {
    /// Free accelerators at tree × pools + pool.
    free: Vec<u32>,
    /// Nodes of every tree.
    members: Arc<Vec<Vec<u32>>>,
    /// Whether it says more than the nodes themselves.
    tells: bool,
}

/// Nodes and what is free on them.
#[derive(Debug, Clone)]
pub struct Cluster {
    pools: Arc<Vec<Pool>>,
    nodes: Arc<Vec<Node>>,
    /// Wholly free accelerators of each node.
    free: Vec<u64>,
    cpus: Vec<f64>,
    memory: Vec<f64>,
    condition: Vec<Condition>,
    /// Thousandths that are left of accelerators that are in part given away.
    shared: BTreeMap<(u32, u8), u16>,
    /// Nodes that take work: by pool and free accelerators.
    buckets: Vec<Vec<BTreeSet<u32>>>,
    levels: [Level; 3],
    /// Free accelerators on nodes that take work, by pool.
    by_pool: Vec<u32>,
    /// Accelerators of wholly free nodes among them.
    unbroken: u64,
    /// Accelerators in use (an accelerator that is shared counts by its shares), in thousandths.
    used: u64,
    /// Accelerators of nodes that are not down.
    present: u64,
}

const WHOLE: u16 = 1000;

impl Cluster {
    /// A cluster with everything free.
    #[must_use]
    pub fn new(pools: Vec<Pool>, nodes: Vec<Node>) -> Self {
        let level = |l: usize| {
            let trees = nodes.iter().map(|n| n.trees[l] as usize + 1).max().unwrap_or(0);
            let mut members = vec![Vec::new(); trees];
            nodes.iter().enumerate().for_each(|(i, n)| members[n.trees[l] as usize].push(i as u32));
            let tells = members.iter().any(|m| m.len() > 1);
            Level { free: vec![0; trees * pools.len()], members: Arc::new(members), tells }
        };
        let of = |get: fn(&Pool) -> f64| nodes.iter().map(|n| get(&pools[n.pool as usize])).collect::<Vec<f64>>();
        let mut cluster = Self {
            levels: [level(0), level(1), level(2)],
            free: nodes.iter().map(|n| full(pools[n.pool as usize].accelerators)).collect(),
            cpus: of(|p| p.cpus),
            memory: of(|p| p.memory),
            condition: vec![Condition::Down; nodes.len()],
            shared: BTreeMap::new(),
            buckets: pools.iter().map(|p| vec![BTreeSet::new(); usize::from(p.accelerators) + 1]).collect(),
            by_pool: vec![0; pools.len()],
            unbroken: 0,
            used: 0,
            present: 0,
            pools: Arc::new(pools),
            nodes: Arc::new(nodes),
        };
        (0..cluster.nodes.len() as u32).for_each(|n| cluster.set_condition(n, Condition::Up));
        cluster
    }
    /// The pools.
    #[must_use]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }
    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// The pool of a node.
    #[must_use]
    pub fn pool(&self, node: u32) -> &Pool {
        &self.pools[self.nodes[node as usize].pool as usize]
    }
    /// Whether a node takes work.
    #[must_use]
    pub fn condition(&self, node: u32) -> Condition {
        self.condition[node as usize]
    }
    /// Accelerators that are in use, shares included.
    #[must_use]
    pub fn used(&self) -> f64 {
        self.used as f64 / 1000.0
    }
    /// Accelerators of nodes that are not down.
    #[must_use]
    pub const fn present(&self) -> u64 {
        self.present
    }
    /// Free accelerators on nodes that take work, and those of them on nodes that are in part used.
    #[must_use]
    pub fn free_and_broken(&self) -> (f64, f64) {
        let free: u64 = self.by_pool.iter().map(|&f| u64::from(f)).sum();
        (free as f64, (free - self.unbroken) as f64)
    }
    /// Free accelerators of some pools.
    #[must_use]
    pub fn free_of(&self, pools: u64) -> u32 {
        self.by_pool.iter().enumerate().filter(|(p, _)| pools >> p & 1 == 1).map(|(_, f)| f).sum()
    }
    /// Wholly free accelerators of a node.
    #[must_use]
    pub fn free_on(&self, node: u32) -> u32 {
        self.free[node as usize].count_ones()
    }
    /// Whether nothing runs on a node.
    #[must_use]
    pub fn is_idle(&self, node: u32) -> bool {
        let pool = self.pool(node);
        self.free[node as usize] == full(pool.accelerators) && self.cpus[node as usize] >= pool.cpus - 1e-9
    }
    /// Pools of a mask, one mask for each kind of accelerator.
    #[must_use]
    pub fn kinds_of(&self, pools: u64) -> Vec<u64> {
        self.kinds(pools).collect()
    }
    /// Pools of the mask, one mask for each kind of accelerator.
    pub(super) fn kinds(&self, pools: u64) -> impl Iterator<Item = u64> + '_ {
        let of = move |kind: u16| {
            let mine = self.pools.iter().enumerate().filter(|(_, p)| p.kind == kind);
            mine.map(|(i, _)| 1u64 << i).sum::<u64>() & pools
        };
        let mut seen = 0u64;
        (0..self.pools.len()).filter_map(move |i| {
            let group = of(self.pools[i].kind);
            (seen >> i & 1 == 0 && group >> i & 1 == 1).then(|| {
                seen |= group;
                group
            })
        })
    }
    /// How many accelerators a node has for a job now.
    pub(super) fn capacity(&self, node: u32, ask: &Ask) -> u32 {
        let n = node as usize;
        let mut count = self.free[n].count_ones();
        if ask.cpus > 0.0 {
            count = count.min((self.cpus[n] / ask.cpus + 1e-9) as u32);
        }
        if ask.memory > 0.0 {
            count = count.min((self.memory[n] / ask.memory + 1e-9) as u32);
        }
        if ask.chunk > 1 { count / ask.chunk * ask.chunk } else { count }
    }
    /// Whether a node has the cores and the memory for a job without accelerators, or for a share of one.
    pub(super) fn has_host(&self, node: u32, ask: &Ask) -> bool {
        self.cpus[node as usize] + 1e-9 >= ask.cpus && self.memory[node as usize] * (1.0 + 1e-12) >= ask.memory
    }
    /// Nodes that take work, by pool and number of free accelerators.
    pub(super) fn bucket(&self, pool: usize, free: usize) -> &BTreeSet<u32> {
        &self.buckets[pool][free]
    }
    /// Accelerators that are in part given away, with what is left of them.
    pub(super) fn shares(&self) -> impl Iterator<Item = (u32, u8, u16)> + '_ {
        self.shared.iter().map(|(&(node, at), &left)| (node, at, left))
    }
    /// Trees of a level: their number, whether the level says more than its nodes do.
    pub(super) fn trees(&self, level: usize) -> (usize, bool) {
        (self.levels[level].members.len(), self.levels[level].tells)
    }
    /// Free accelerators of a tree in some pools.
    pub(super) fn free_in(&self, level: usize, tree: usize, pools: u64) -> u32 {
        let row = &self.levels[level].free[tree * self.pools.len()..][..self.pools.len()];
        row.iter().enumerate().filter(|(p, _)| pools >> p & 1 == 1).map(|(_, f)| f).sum()
    }
    /// Nodes of a tree.
    pub(super) fn members(&self, level: usize, tree: usize) -> &[u32] {
        &self.levels[level].members[tree]
    }

    /// Gives `count` accelerators of each node to a job that asked, the lowest free ones first.
    pub(super) fn take(&mut self, parts: &[(u32, u32)], ask: &Ask) -> Grant {
        let mut grant = Grant { parts: Vec::with_capacity(parts.len()) };
        for &(node, count) in parts {
            let mask = if ask.share < WHOLE && ask.accelerators > 0 {
                self.take_share(node, ask.share)
            } else {
                let mask = lowest(self.free[node as usize], count);
                self.used += u64::from(count) * u64::from(WHOLE);
                self.set_free(node, self.free[node as usize] & !mask);
                mask
            };
            self.host(node, mask, ask, -1.0);
            grant.parts.push(Part { node, mask });
        }
        grant
    }
    /// Gives the very accelerators of a grant back to a job that had them a moment ago.
    pub(super) fn retake(&mut self, grant: &Grant, ask: &Ask) {
        for part in &grant.parts {
            if ask.share < WHOLE && ask.accelerators > 0 {
                let at = part.mask.trailing_zeros() as u8;
                let left = self.shared.get(&(part.node, at)).copied().unwrap_or(WHOLE);
                if left == WHOLE {
                    self.set_free(part.node, self.free[part.node as usize] & !part.mask);
                }
                self.shared.insert((part.node, at), left - ask.share);
                self.used += u64::from(ask.share);
            } else {
                debug_assert_eq!(self.free[part.node as usize] & part.mask, part.mask, "an accelerator is given twice");
                self.used += u64::from(part.mask.count_ones()) * u64::from(WHOLE);
                self.set_free(part.node, self.free[part.node as usize] & !part.mask);
            }
            self.host(part.node, part.mask, ask, -1.0);
        }
    }
    fn take_share(&mut self, node: u32, share: u16) -> u64 {
        // The fullest accelerator that still has room, else a whole one.
        let open = self.shared.range((node, 0)..=(node, u8::MAX)).filter(|(_, left)| **left >= share);
        let at = open.min_by_key(|(key, left)| (**left, key.1)).map(|(key, _)| key.1);
        let at = at.unwrap_or_else(|| {
            let at = self.free[node as usize].trailing_zeros() as u8;
            self.set_free(node, self.free[node as usize] & !(1 << at));
            self.shared.insert((node, at), WHOLE);
            at
        });
        if let Some(left) = self.shared.get_mut(&(node, at)) {
            *left -= share;
        }
        self.used += u64::from(share);
        1 << at
    }
    /// Takes back what a job had.
    pub(super) fn release(&mut self, grant: &Grant, ask: &Ask) {
        for &Part { node, mask } in &grant.parts {
            if ask.share < WHOLE && ask.accelerators > 0 {
                let at = mask.trailing_zeros() as u8;
                let left = self.shared.get(&(node, at)).copied().unwrap_or(0) + ask.share;
                self.used -= u64::from(ask.share);
                if left >= WHOLE {
                    self.shared.remove(&(node, at));
                    self.set_free(node, self.free[node as usize] | mask);
                } else {
                    self.shared.insert((node, at), left);
                }
            } else {
                debug_assert_eq!(self.free[node as usize] & mask, 0, "an accelerator comes back twice");
                self.used -= u64::from(mask.count_ones()) * u64::from(WHOLE);
                self.set_free(node, self.free[node as usize] | mask);
            }
            self.host(node, mask, ask, 1.0);
        }
    }
    /// Takes so much of a node off the books, for a look at what is left; no more than it has.
    pub(super) fn occupy(&mut self, node: u32, accelerators: u32, cpus: f64, memory: f64) {
        let free = self.free[node as usize];
        self.set_free(node, free & !lowest(free, accelerators));
        self.cpus[node as usize] -= cpus;
        self.memory[node as usize] -= memory;
    }
    fn host(&mut self, node: u32, mask: u64, ask: &Ask, sign: f64) {
        let times = if ask.accelerators == 0 || ask.share < WHOLE { 1.0 } else { f64::from(mask.count_ones()) };
        self.cpus[node as usize] += sign * ask.cpus * times;
        self.memory[node as usize] += sign * ask.memory * times;
    }
    /// Sets which accelerators of a node are free, wherever that is counted.
    fn set_free(&mut self, node: u32, mask: u64) {
        let before = self.free[node as usize];
        self.free[node as usize] = mask;
        if self.condition[node as usize] == Condition::Up {
            self.count(node, before, false);
            self.count(node, mask, true);
        }
    }
    /// Adds or removes the free accelerators of a node that takes work.
    fn count(&mut self, node: u32, mask: u64, add: bool) {
        let Node { pool, trees } = self.nodes[node as usize];
        let (pool, free, pools) = (pool as usize, mask.count_ones(), self.pools.len());
        let whole = if mask == full(self.pools[pool].accelerators) { u64::from(free) } else { 0 };
        let bucket = &mut self.buckets[pool][free as usize];
        let rows = self.levels.iter_mut().zip(trees).map(|(level, tree)| &mut level.free[tree as usize * pools + pool]);
        if add {
            bucket.insert(node);
            rows.for_each(|row| *row += free);
            self.by_pool[pool] += free;
            self.unbroken += whole;
        } else {
            bucket.remove(&node);
            rows.for_each(|row| *row -= free);
            self.by_pool[pool] -= free;
            self.unbroken -= whole;
        }
    }
    /// Lets a node take work, or not.
    pub(super) fn set_condition(&mut self, node: u32, condition: Condition) {
        let before = std::mem::replace(&mut self.condition[node as usize], condition);
        let size = u64::from(self.pool(node).accelerators);
        if before == Condition::Up && condition != Condition::Up {
            self.count(node, self.free[node as usize], false);
        } else if before != Condition::Up && condition == Condition::Up {
            self.count(node, self.free[node as usize], true);
        }
        match (before, condition) {
            (Condition::Down, Condition::Down) => {}
            (Condition::Down, _) => self.present += size,
            (_, Condition::Down) => self.present -= size,
            _ => {}
        }
    }
}

/// A mask of the first `n` accelerators.
const fn full(n: u8) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// The lowest `count` bits of a mask.
const fn lowest(mask: u64, count: u32) -> u64 {
    let (mut left, mut rest) = (count, mask);
    while left > 0 && rest != 0 {
        rest &= rest - 1;
        left -= 1;
    }
    mask & !rest
}
