//! Links as constraints of the solver: those that the same channels load are one row, and what only one channel loads is a rate of its own.
//! Kept with the fabric, as steps of other batches, schedules and models over the same groups come to the same ones.

use crate::fabric::{Fabric, LinkId};
use crate::ids::Id;
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes on links for a byte of payload of a channel.
type Traffic = Arc<[(LinkId, f64)]>;

/// Loads of links in all constraints that are kept, at most.
const MOST: usize = 1 << 20;

/// What a set of channels shares.
pub(super) struct Constraints {
    /// Of every channel: what it takes of each constraint for a byte of payload, as (constraint, share of its capacity); the greatest payload rate on
    /// the links that it alone loads.
    pub(super) channels: Vec<(Vec<(u32, f64)>, f64)>,
    /// How many constraints there are.
    pub(super) count: usize,
}

/// Constraints by the traffic that they are of, which is kept so that its address stays its own.
#[derive(Default)]
struct Known {
    sets: FxHashMap<Vec<usize>, (Vec<Traffic>, Arc<Constraints>)>,
    loads: usize,
}

/// The constraints of channels with some traffic, from those that the fabric keeps or found anew.
pub(super) fn constraints(fabric: &Fabric, channels: Vec<Traffic>) -> Arc<Constraints> {
    let known = fabric.memo().of::<Mutex<Known>>();
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let key: Vec<usize> = channels.iter().map(|c| c.as_ptr().addr()).collect();
    if let Some((_, found)) = lock().sets.get(&key) {
        return Arc::clone(found);
    }
    let made = Arc::new(grouped(fabric, &channels));
    let mut known = lock();
    let loads: usize = channels.iter().map(|c| c.len()).sum();
    if known.loads + loads <= MOST {
        known.loads += loads;
        known.sets.insert(key, (channels, Arc::clone(&made)));
    }
    made
}

/// Groups links into constraints. Links that the same channels load are rows of the same form; a row that another one implies (no
/// channel takes a greater share of it) never binds and is left out, so that hashed paths do not multiply the solver's size.
fn grouped(fabric: &Fabric, channels: &[Traffic]) -> Constraints {
    let (starts, loads) = by_link(channels, fabric.link_count());
    let mut out = Constraints { channels: vec![(Vec::new(), f64::INFINITY); channels.len()], count: 0 };
    let mut sets: FxHashMap<Vec<u32>, usize> = FxHashMap::default();
    let mut rows: Vec<(Vec<u32>, Vec<f64>)> = Vec::new();
    let mut key: Vec<u32> = Vec::new();
    let mut recent = [usize::MAX; 8];
    for (link, ends) in starts.windows(2).enumerate() {
        let group = &loads[ends[0] as usize..ends[1] as usize];
        let capacity = || fabric.link(LinkId::from_index(link)).capacity;
        match group {
            [] => continue,
            [(channel, coefficient)] => {
                let solo = &mut out.channels[*channel as usize].1;
                *solo = solo.min(capacity() / coefficient);
                continue;
            }
            _ => {}
        }
        // Links of the same kind on one node after the other load the same channels.
        let alike = |set: usize| rows.get(set).is_some_and(|r| r.0.len() == group.len() && r.0.iter().zip(group).all(|(c, g)| *c == g.0));
        let set = recent.iter().copied().find(|&set| alike(set)).unwrap_or_else(|| {
            key.clear();
            key.extend(group.iter().map(|load| load.0));
            let set = sets.get(&key).copied().unwrap_or_else(|| {
                rows.push((key.clone(), Vec::new()));
                sets.insert(key.clone(), rows.len() - 1);
                rows.len() - 1
            });
            recent.rotate_right(1);
            recent[0] = set;
            set
        });
        let capacity = capacity();
        let shares = &mut rows[set].1;
        // What the first row reaches everywhere never binds.
        if shares.len() < group.len() || !group.iter().zip(&*shares).all(|(load, first)| load.1 / capacity <= *first) {
            shares.extend(group.iter().map(|load| load.1 / capacity));
        }
    }
    for (channels, shares) in &rows {
        for row in greatest(shares, channels.len()) {
            let number = out.count as u32;
            out.count += 1;
            for (&channel, &share) in channels.iter().zip(row) {
                out.channels[channel as usize].0.push((number, share));
            }
        }
    }
    out
}

/// The loads of all channels as (channel, bytes per payload byte), link by link and channel by channel; where each link's begin.
fn by_link(channels: &[Traffic], links: usize) -> (Vec<u32>, Vec<(u32, f64)>) {
    let mut starts = vec![0u32; links + 1];
    let all = || channels.iter().enumerate().flat_map(|(c, channel)| channel.iter().map(move |&(link, x)| (c as u32, link, x)));
    for (_, link, _) in all() {
        starts[link.index()] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    // Filled from the back, so that each link's end becomes its start.
    let mut loads = vec![(0, 0.0); sum as usize];
    for (c, channel) in channels.iter().enumerate().rev() {
        for &(link, x) in channel.iter() {
            let at = &mut starts[link.index()];
            *at -= 1;
            loads[*at as usize] = (c as u32, x);
        }
    }
    (starts, loads)
}

/// The rows of `width` numbers that no other row reaches in every column (to within rounding).
fn greatest(rows: &[f64], width: usize) -> Vec<&[f64]> {
    // Sums over the same members in another order differ in their last bits.
    let reaches = |k: &[f64], row: &[f64]| k.iter().zip(row).all(|(k, x)| *x <= k * (1.0 + 1e-12));
    let mut order: Vec<(f64, &[f64])> = rows.chunks_exact(width).map(|row| (row.iter().sum(), row)).collect();
    let Some(&(_, first)) = order.iter().rev().max_by(|a, b| a.0.total_cmp(&b.0)) else { return Vec::new() };
    // The greatest alone drops most of them, before they are sorted.
    order.retain(|(_, row)| !reaches(first, row));
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut kept = vec![first];
    for (_, row) in order {
        if !kept.iter().any(|k| reaches(k, row)) {
            kept.push(row);
        }
    }
    kept
}
