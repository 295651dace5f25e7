//! Networks of ASTRA-sim's analytical backends: how long a message takes.
//!
//! The unaware backend prices a message alone: hops × latency + size ÷ bandwidth, over the first dimension in which its ends
//! differ. The aware one has links that send one message at a time, first come first served, each stored before it goes on. Whole
//! nanoseconds everywhere; "GB" are 2^30 bytes; a switch is two hops.

use crate::choice;
use crate::workload::trace::astra::{Dimension, Network, Wiring};
use rustc_hash::FxHashMap;

choice! {
    /// Which of ASTRA-sim's analytical backends is followed.
    pub enum Backend {
        /// Messages do not share links.
        Unaware = "unaware",
        /// Links send one message at a time; one dimension only.
        Aware = "aware",
    }
}

/// When each link is free again.
#[derive(Debug, Default)]
pub(super) struct Links {
    free: FxHashMap<u64, u64>,
}

/// The wires between the ranks of a collective.
pub(super) struct Wires<'a> {
    /// The network.
    pub(super) network: &'a Network,
    /// Which backend.
    pub(super) backend: Backend,
    /// The ranks of each dimension's ring, by the queue of the phase.
    pub(super) rings: Vec<Vec<u32>>,
    /// Whether one rank stands for all: then all links of a kind are one.
    pub(super) alike: bool,
}

impl Wires<'_> {
    /// When a message that is at hop `hop` at `now` is at the next; `None` if it has come. `ends` are places in the ring.
    pub(super) fn hop(&self, links: &mut Links, dimension: usize, ends: (u32, u32), hop: u32, bytes: u64, now: u64) -> Option<u64> {
        let ring = &self.rings[dimension];
        let (from, to) = (ring[ends.0 as usize], ring[ends.1 as usize % ring.len()]);
        if self.backend == Backend::Unaware {
            return (hop == 0).then(|| now.saturating_add(alone(self.network, from, to, bytes)));
        }
        let wire = &self.network.dimensions[0];
        if hop >= hops(wire, from, to).0 {
            return None;
        }
        let link = self.link(wire, from, to, hop);
        let free = links.free.entry(link).or_insert(0);
        let start = now.max(*free);
        *free = start.saturating_add(sending(wire, bytes) as u64);
        Some(start.saturating_add((wire.latency_nanos + sending(wire, bytes)) as u64))
    }
    /// The number of the link that a message takes at a hop.
    fn link(&self, wire: &Dimension, from: u32, to: u32, hop: u32) -> u64 {
        let n = u64::from(wire.count);
        let (from, to, hop) = (u64::from(from), u64::from(to), u64::from(hop));
        match wire.wiring {
            Wiring::Switch if self.alike => hop,
            Wiring::Switch => 2 * if hop == 0 { from } else { to } + hop,
            Wiring::Ring => {
                let backwards = hops(wire, from as u32, to as u32).1;
                let at = if backwards { (from + n - hop) % n } else { (from + hop) % n };
                u64::from(backwards) + if self.alike { 0 } else { 2 * at }
            }
            Wiring::FullyConnected => {
                if self.alike {
                    (to + n - from) % n
                } else {
                    from * n + to
                }
            }
        }
    }
}

/// Nanoseconds that a link sends for.
fn sending(wire: &Dimension, bytes: u64) -> f64 {
    bytes as f64 / (wire.bytes_per_second() / 1e9)
}

/// Hops between two places of a dimension, and whether the short way is backwards.
fn hops(wire: &Dimension, from: u32, to: u32) -> (u32, bool) {
    match wire.wiring {
        Wiring::Switch => (2, false),
        Wiring::FullyConnected => (1, false),
        Wiring::Ring => {
            let forwards = (to + wire.count - from) % wire.count;
            let backwards = wire.count - forwards;
            if backwards < forwards { (backwards, true) } else { (forwards, false) }
        }
    }
}

/// The dimension in which two ranks first differ, and the hops between them in it; `None` for a rank and itself.
pub(super) fn way(network: &Network, from: u32, to: u32) -> Option<(usize, u32)> {
    let (mut a, mut b) = (from, to);
    for (at, dimension) in network.dimensions.iter().enumerate() {
        let (here, there) = (a % dimension.count, b % dimension.count);
        if here != there {
            return Some((at, hops(dimension, here, there).0));
        }
        (a, b) = (a / dimension.count, b / dimension.count);
    }
    None
}

/// Nanoseconds of a message alone on the unaware backend.
pub(super) fn alone(network: &Network, from: u32, to: u32, bytes: u64) -> u64 {
    let Some((at, hops)) = way(network, from, to) else { return 0 };
    let wire = &network.dimensions[at];
    (f64::from(hops) * wire.latency_nanos + sending(wire, bytes)) as u64
}

/// Nanoseconds of a message alone on the aware backend: stored at every hop.
pub(super) fn stored(network: &Network, from: u32, to: u32, bytes: u64) -> u64 {
    let Some((at, hops)) = way(network, from, to) else { return 0 };
    let wire = &network.dimensions[at];
    u64::from(hops).saturating_mul((wire.latency_nanos + sending(wire, bytes)) as u64)
}
