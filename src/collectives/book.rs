//! Loads of groups on the links of a fabric, kept with the fabric: the layouts of a plan and the scenarios of a sweep ask for the same ones.

use super::{Algorithm, Op};
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Links of all loads that are kept, at most: 16 MB.
const MOST: usize = 1 << 20;

/// Bytes on links by byte of payload, the payload rate that they allow, and the latency of the longest path.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) links: Arc<[(LinkId, f64)]>,
    pub(super) rate: f64,
    pub(super) longest: f64,
    pub(super) memory: f64,
}

/// A load and what it is of.
struct Entry {
    op: Op,
    algorithm: Algorithm,
    groups: Vec<Vec<AcceleratorId>>,
    load: Load,
}

#[derive(Default)]
struct Book {
    entries: FxHashMap<u64, Vec<Entry>>,
    links: usize,
}

/// The load of an operation of some groups without routing of tokens, from the fabric's book or computed and put there.
pub(super) fn known(fabric: &Fabric, groups: &[Vec<AcceleratorId>], op: Op, algorithm: Algorithm, compute: impl FnOnce() -> Load) -> Load {
    let book = fabric.memo().of::<Mutex<Book>>();
    let mut hasher = FxHasher::default();
    (op, algorithm, groups).hash(&mut hasher);
    let hash = hasher.finish();
    let lock = || book.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |e: &&Entry| e.op == op && e.algorithm == algorithm && e.groups == groups;
    if let Some(found) = lock().entries.get(&hash).and_then(|list| list.iter().find(same)) {
        return found.load.clone();
    }
    let load = compute();
    let mut book = lock();
    if book.links + load.links.len() <= MOST {
        book.links += load.links.len();
        book.entries.entry(hash).or_default().push(Entry { op, algorithm, groups: groups.to_vec(), load: load.clone() });
    }
    load
}
