//! Patterns of plain flows that start together: permutation, incast, shift, all-to-all; under fair shares, a window, or pauses.

use super::fluid::Fluid;
use super::pauses::Pauses;
use crate::choice;
use crate::engine::{EventQueue, Streams};
use crate::fabric::{AcceleratorId, Fabric, LinkId};
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

/// What holds the senders of a pattern back, besides fair shares of the links.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transport {
    /// Nothing.
    Fair,
    /// So many bytes in flight at most: no more than that in a round trip of the idle path.
    Window(f64),
    /// Pauses of lossless Ethernet (`pauses`); so many seconds after the start marks have led the senders to fair shares. Infinite where
    /// switches set no marks.
    Pauses(f64),
}

/// When each of some flows ends that start together, `bytes` the mean size: path latency, then rates as the transport has them.
#[must_use]
pub fn run_pattern(fabric: &Fabric, flows: &[Flow], bytes: f64, transport: Transport) -> Vec<f64> {
    match transport {
        Transport::Fair => run_fair(fabric, flows, bytes, None),
        Transport::Window(window) => run_fair(fabric, flows, bytes, Some(window)),
        Transport::Pauses(reaction) => run_paused(fabric, flows, bytes, reaction),
    }
}

/// Every queue pair of the flows as a flow of its own: links in order, latency, the flow.
fn queue_pairs(fabric: &Fabric, flows: &[Flow]) -> Vec<(Vec<LinkId>, f64, u32)> {
    let mut out = Vec::new();
    for (i, &Flow { from, to, .. }) in flows.iter().enumerate() {
        let mut hops: Vec<(LinkId, f64)> = Vec::new();
        let latency = fabric.route(from, to, i as u64, &mut |link, share| hops.push((link, share)));
        // Between what all take come the hops of each queue pair, one after the other.
        let first = hops.iter().position(|h| h.1 < 1.0).unwrap_or(hops.len());
        let behind = hops.iter().rposition(|h| h.1 < 1.0).map_or(hops.len(), |l| l + 1);
        let pairs = hops.get(first).map_or(1, |h| (1.0 / h.1).round() as usize);
        let each = (behind - first) / pairs;
        for pair in 0..pairs {
            let own = &hops[first + pair * each..first + (pair + 1) * each];
            out.push((hops[..first].iter().chain(own).chain(&hops[behind..]).map(|h| h.0).collect(), latency, i as u32));
        }
    }
    out
}

/// Ends that differ by no more than this share of the time are one instant.
const SAME_END: f64 = 1e-6;

fn run_paused(fabric: &Fabric, flows: &[Flow], bytes: f64, reaction: f64) -> Vec<f64> {
    let pairs = queue_pairs(fabric, flows);
    let mut number: FxHashMap<LinkId, u32> = FxHashMap::default();
    let mut capacities = Vec::new();
    let mut dense = |link: LinkId| {
        *number.entry(link).or_insert_with(|| {
            capacities.push(fabric.link(link).capacity);
            capacities.len() as u32 - 1
        })
    };
    let paths: Vec<Vec<u32>> = pairs.iter().map(|p| p.0.iter().map(|&l| dense(l)).collect()).collect();
    let mut count = vec![0.0f64; flows.len()];
    pairs.iter().for_each(|p| count[p.2 as usize] += 1.0);
    let mut left: Vec<f64> = pairs.iter().map(|p| bytes * flows[p.2 as usize].share / count[p.2 as usize]).collect();
    let pauses = Pauses::new(capacities.clone(), paths.clone());
    let mut starts: Vec<u32> = (0..pairs.len() as u32).collect();
    starts.sort_by(|&a, &b| pairs[b as usize].1.total_cmp(&pairs[a as usize].1).then(b.cmp(&a)));
    let settled = starts.first().map_or(0.0, |&last| pairs[last as usize].1) + reaction;
    let mut finish = vec![0.0f64; flows.len()];
    let (mut active, mut now): (Vec<u32>, f64) = (Vec::new(), 0.0);
    loop {
        while starts.last().is_some_and(|&i| pairs[i as usize].1 <= now) {
            active.extend(starts.pop());
        }
        if now >= settled || (active.is_empty() && starts.is_empty()) {
            break;
        }
        let rates = pauses.rates(&active);
        let ends = active.iter().zip(&rates).map(|(&i, r)| now + left[i as usize] / r);
        let next_start = starts.last().map_or(f64::INFINITY, |&i| pairs[i as usize].1);
        let end = ends.fold(f64::INFINITY, f64::min);
        let next = end.min(next_start).min(settled);
        if next.is_infinite() {
            // Links without capacity: what is left never ends.
            active.iter().for_each(|&i| finish[pairs[i as usize].2 as usize] = f64::INFINITY);
            return finish;
        }
        for (&i, r) in active.iter().zip(&rates) {
            let at = &mut left[i as usize];
            let done = now + *at / r <= next * (1.0 + SAME_END);
            *at = if done { 0.0 } else { (*at - r * (next - now)).max(0.0) };
            if done {
                finish[pairs[i as usize].2 as usize] = next;
            }
        }
        active.retain(|&i| left[i as usize] > 0.0);
        now = next;
    }
    let mut fluid = Fluid::new();
    let resources: Vec<ResourceId> = capacities.iter().map(|&c| fluid.add_resource(c)).collect();
    for &i in &active {
        let uses: Vec<(ResourceId, f64)> = paths[i as usize].iter().map(|&l| (resources[l as usize], 1.0)).collect();
        fluid.start(now, left[i as usize], &uses, f64::INFINITY, pairs[i as usize].2);
    }
    let mut ended = Vec::new();
    while let Some(at) = fluid.next_finish() {
        fluid.finish_at(at, &mut ended);
        ended.drain(..).for_each(|i: u32| finish[i as usize] = finish[i as usize].max(at));
    }
    finish
}

fn run_fair(fabric: &Fabric, flows: &[Flow], bytes: f64, window: Option<f64>) -> Vec<f64> {
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
