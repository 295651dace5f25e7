//! Which nodes go together when a part of the building fails: those on a leaf switch, in a rack, on a power feed.

use super::graph::{AcceleratorId, Fabric};
use crate::ids::Id;
use std::collections::{BTreeMap, BTreeSet};

/// What nodes have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A leaf switch that any of their ports is plugged into.
    Leaf,
    /// A rack.
    Rack,
    /// A power feed.
    Power,
}

/// Racks and power feeds, as the topology says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Building {
    /// Nodes of a rack.
    pub(super) nodes_per_rack: Option<u32>,
    /// Racks of a power feed.
    pub(super) racks_per_feed: Option<u32>,
}

impl Fabric {
    /// The number of nodes at each place of a kind; empty where the topology does not say. Without a number of nodes in a rack, a
    /// scale-up domain of several nodes is one.
    #[must_use]
    pub fn places_of(&self, kind: PlaceKind) -> Vec<u32> {
        let nodes = self.node_count() as u32;
        let chunks = |size: u32| (0..nodes.div_ceil(size)).map(|i| size.min(nodes - i * size)).collect();
        match kind {
            PlaceKind::Leaf => self.nodes_of_leaves(),
            PlaceKind::Rack => self.rack().map_or_else(Vec::new, chunks),
            PlaceKind::Power => {
                let size = self.rack().zip(self.building.racks_per_feed).map(|(rack, feed)| rack.saturating_mul(feed));
                size.map_or_else(Vec::new, chunks)
            }
        }
    }

    fn rack(&self) -> Option<u32> {
        let domain =
            self.domain(self.site(AcceleratorId(0)).domain).size / self.accelerators_per_node(self.site(AcceleratorId(0)).node).max(1);
        self.building.nodes_per_rack.or((domain > 1).then_some(domain))
    }

    fn nodes_of_leaves(&self) -> Vec<u32> {
        let mut leaves: BTreeMap<(u32, u32), BTreeSet<u32>> = BTreeMap::new();
        for index in 0..self.accelerator_count() {
            let site = self.site(AcceleratorId::from_index(index));
            for nic in self.nics_of(site).filter(|n| n.network.is_some()) {
                leaves.entry((nic.plane, nic.leaf)).or_default().insert(site.node.0);
            }
        }
        leaves.into_values().map(|nodes| nodes.len() as u32).collect()
    }
}
