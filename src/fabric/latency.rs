//! Latencies of links, apart from the graph: a route asks for nothing else of a link, and there are millions of links of a few kinds.

use super::graph::{Link, LinkId};
use crate::ids::Id;
use rustc_hash::FxHashMap;

/// The latency of every link, as a number into the distinct ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    of: Vec<u32>,
    distinct: Vec<f64>,
}

impl Latencies {
    /// Those of links in order of their ids.
    pub(super) fn gather<'l>(links: impl Iterator<Item = &'l Link>) -> Self {
        let mut known: FxHashMap<u64, u32> = FxHashMap::default();
        let mut distinct = Vec::new();
        let of = links.map(|link| {
            *known.entry(link.latency.to_bits()).or_insert_with(|| {
                distinct.push(link.latency);
                distinct.len() as u32 - 1
            })
        });
        Self { of: of.collect(), distinct }
    }

    /// Seconds.
    pub(super) fn of(&self, link: LinkId) -> f64 {
        self.distinct[self.of[link.index()] as usize]
    }
}
