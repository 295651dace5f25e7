//! The same fabric under other ranks, and where nodes lie: what many jobs on one cluster need.

use super::graph::{AcceleratorId, Fabric, NodeId, Scale};
use crate::ids::Id;

impl Fabric {
    /// The same fabric where rank r stands on accelerator `ranks[r]`; only these ranks count. The others follow, so that messages can
    /// pass through accelerators that are no ranks. Costs a copy of the graph.
    ///
    /// # Panics
    /// When an accelerator is named twice or is not there: a bug in the caller.
    #[must_use]
    pub fn with_ranks(&self, ranks: &[AcceleratorId]) -> Self {
        let mut out = self.clone();
        let mut place = vec![u32::MAX; self.sites.len()];
        let mut order: Vec<usize> = Vec::with_capacity(self.sites.len());
        for &a in ranks {
            let at = self.standing(a).index();
            assert_eq!(place[self.sites[at].own.index()], u32::MAX, "{a} has two ranks");
            place[self.sites[at].own.index()] = order.len() as u32;
            order.push(at);
        }
        for (at, site) in self.sites.iter().enumerate() {
            if place[site.own.index()] == u32::MAX {
                place[site.own.index()] = order.len() as u32;
                order.push(at);
            }
        }
        out.sites = order.iter().map(|&at| self.sites[at]).collect();
        let moved = |a: &AcceleratorId| AcceleratorId(place[self.sites[a.index()].own.index()]);
        out.speeds = self.speeds.iter().map(|(a, &s)| (moved(a), s)).collect();
        out.ranks = Some((ranks.len(), place));
        out
    }
    /// The rank that stands on an accelerator of the fabric (itself, unless ranks were put otherwise).
    #[must_use]
    pub fn standing(&self, own: AcceleratorId) -> AcceleratorId {
        self.ranks.as_ref().map_or(own, |r| AcceleratorId(r.1[own.index()]))
    }
    /// The first accelerator of a node, in the numbers of the fabric; `None` for a node without any.
    #[must_use]
    pub fn first_accelerators(&self) -> Vec<Option<AcceleratorId>> {
        let mut out = vec![None; self.node_count()];
        for site in &self.sites {
            let first: &mut Option<AcceleratorId> = &mut out[site.node.index()];
            if first.is_none_or(|f| site.own < f) {
                *first = Some(site.own);
            }
        }
        out
    }
    /// The leaf and the pod of every node, by its first NIC; nodes without a network are alone.
    #[must_use]
    pub fn leaves_and_pods(&self) -> Vec<(u32, u32)> {
        let mut out: Vec<Option<(u32, u32)>> = vec![None; self.node_count()];
        for site in &self.sites {
            let Some(nic) = site.nic.map(|n| &self.nics[n as usize]) else { continue };
            let at = &mut out[site.node.index()];
            if at.is_none() && nic.network.is_some() {
                let pod = match &self.scale {
                    Scale::Trees(trees) => nic.leaf / trees[nic.plane as usize].pod.max(1),
                    Scale::Explicit(routes) => routes.group_of.get(nic.leaf as usize).copied().unwrap_or(0),
                    Scale::None => 0,
                };
                *at = Some((nic.leaf, pod));
            }
        }
        let leaves = out.iter().flatten().map(|l| l.0 + 1).max().unwrap_or(0);
        let pods = out.iter().flatten().map(|l| l.1 + 1).max().unwrap_or(0);
        out.iter().enumerate().map(|(n, at)| at.unwrap_or((leaves + n as u32, pods + n as u32))).collect()
    }
    /// The number of the template of a node, and the name of each template.
    #[must_use]
    pub fn template_of(&self, n: NodeId) -> (usize, &str) {
        let number = self.node_template[n.index()] as usize;
        (number, &self.templates[number].name)
    }
}
