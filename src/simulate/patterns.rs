//! Patterns of plain flows that start together: permutation, incast, shift, all-to-all.

use super::fluid::Fluid;
use crate::choice;
use crate::engine::{EventQueue, Streams};
use crate::fabric::{AcceleratorId, Fabric};
use crate::fair::ResourceId;
use crate::ids::Id;
use crate::units::SimTime;
use rand_pcg::rand_core::Rng;
use rustc_hash::FxHashMap;

choice! {
    /// Who sends to whom.
    pub enum Pattern {
        /// Everyone to one other, drawn at random; nobody to itself.
        Permutation = "permutation",
        /// Everyone to the first.
        Incast = "incast",
        /// Everyone to the next.
        Shift = "shift",
        /// Everyone to everyone.
        AllToAll = "all-to-all",
    }
}

/// One flow of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// Sender.
    pub from: AcceleratorId,
    /// Receiver.
    pub to: AcceleratorId,
    /// Its size over the mean of the pattern.
    pub share: f64,
}

impl Pattern {
    /// The flows over `ranks`; a permutation is drawn from the seed. The busiest receiver gets `1 + skew` times the mean, the last rank
    /// `1 − skew`, those between them what lies between (an all-to-all of uneven sizes).
    #[must_use]
    pub fn flows(self, ranks: &[AcceleratorId], skew: f64, seed: u64) -> Vec<Flow> {
        let n = ranks.len();
        let place: FxHashMap<AcceleratorId, usize> = ranks.iter().enumerate().map(|(i, &r)| (r, i)).collect();
        let share = |to: AcceleratorId| 1.0 + skew * (1.0 - 2.0 * place[&to] as f64 / (n - 1).max(1) as f64);
        self.pairs(ranks, seed).into_iter().map(|(from, to)| Flow { from, to, share: share(to) }).collect()
    }

    fn pairs(self, ranks: &[AcceleratorId], seed: u64) -> Vec<(AcceleratorId, AcceleratorId)> {
        let n = ranks.len();
        match self {
            Self::Permutation => {
                let mut stream = Streams::new(seed).stream("permutation");
                // A random cyclic order: everyone has one successor that is not itself.
                let mut order: Vec<usize> = (0..n).collect();
                for i in (1..n).rev() {
                    order.swap(i, (stream.next_u64() % i as u64) as usize);
                }
                (0..n).map(|i| (ranks[i], ranks[order[i]])).collect()
            }
            Self::Incast => (1..n).map(|i| (ranks[i], ranks[0])).collect(),
            Self::Shift => (0..n).map(|i| (ranks[i], ranks[(i + 1) % n])).collect(),
            Self::AllToAll => (1..n).flat_map(|k| (0..n).map(move |i| (i, (i + k) % n))).map(|(i, j)| (ranks[i], ranks[j])).collect(),
        }
    }

    /// How many flows it has over `n` ranks.
    #[must_use]
    pub const fn count(self, n: usize) -> usize {
        match self {
            Self::Permutation | Self::Shift => n,
            Self::Incast => n - 1,
            Self::AllToAll => n * (n - 1),
        }
    }
}

/// When each of some flows ends that start together, `bytes` the mean size: path latency, then fair shares of the links. A transport with a `window`
/// of bytes in flight sends no more than it in a round trip of the idle path.
#[must_use]
pub fn run_pattern(fabric: &Fabric, flows: &[Flow], bytes: f64, window: Option<f64>) -> Vec<f64> {
    let mut fluid = Fluid::new();
    let mut resource: Vec<Option<ResourceId>> = vec![None; fabric.link_count()];
    let mut queue = EventQueue::new();
    let (mut uses, mut paths) = (Vec::new(), Vec::new());
    for (i, &Flow { from, to, .. }) in flows.iter().enumerate() {
        let start = uses.len();
        let latency = fabric.route(from, to, i as u64, &mut |link, share| {
            let capacity = fabric.link(link).capacity;
            let id = *resource[link.index()].get_or_insert_with(|| fluid.add_resource(capacity));
            uses.push((id, share));
        });
        let cap = window.map_or(f64::INFINITY, |w| w / (2.0 * latency));
        paths.push((start..uses.len(), cap));
        queue.push(SimTime::new(latency), i as u32);
    }
    let mut finish = vec![0.0; flows.len()];
    let mut ended = Vec::new();
    loop {
        match (queue.next_time().map(SimTime::seconds), fluid.next_finish()) {
            (Some(q), f) if f.is_none_or(|f| q <= f) => {
                while queue.next_time().map(SimTime::seconds) == Some(q) {
                    let Some((_, i)) = queue.pop() else { break };
                    let (path, cap) = &paths[i as usize];
                    fluid.start(q, bytes * flows[i as usize].share, &uses[path.clone()], *cap, i);
                }
            }
            (_, Some(f)) => {
                fluid.finish_at(f, &mut ended);
                ended.drain(..).for_each(|i: u32| finish[i as usize] = f);
            }
            _ => return finish,
        }
    }
}
