//! What was measured of this cluster, laid over the data sheets that it was built from: host links, NICs, host memory, storage tiers.
//! Collectives take their entries from here.

use super::graph::{Fabric, LinkId, LinkKind};
use super::store::Reach;
use super::tier::{Rates, TierKind};
use crate::hardware::{Accelerator, Catalogue};
use crate::ids::Id;
use crate::measured::{Direction, LinkPath, Measured, Stamp, StorageRow};
use petgraph::graph::EdgeIndex;
use std::sync::Arc;

/// An entry of a profile that serves this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// What it serves.
    pub what: String,
    /// Origin, tool and time.
    pub entry: String,
    /// Files that it was fitted to.
    pub source: String,
}

impl Served {
    fn new(what: String, from: &Stamp) -> Self {
        let mut entry = format!("profile, {}", *from.origin);
        for (name, value) in [("by ", &*from.tool), ("on ", &*from.device), ("at ", &*from.time)] {
            if !value.is_empty() {
                entry.push_str(&format!(", {name}{value}"));
            }
        }
        Self { what, entry, source: from.source.value.clone() }
    }
}

/// Whether a part has the scale-up links of another: collectives of one hold for the other.
fn same_links(part: &Accelerator, measured: &str) -> bool {
    if *part.id == *measured {
        return true;
    }
    let Some(other) = Catalogue::embedded().accelerators.get(measured) else { return false };
    let links = |p: &Accelerator| (p.scale_up.value.clone(), *p.scale_up_links, p.scale_up_bandwidth.map(|b| b.get().to_bits()));
    other.scale_up.is_some() && links(part) == links(other)
}

impl Fabric {
    /// What was measured of this cluster.
    #[must_use]
    pub fn measured(&self) -> Option<&Measured> {
        self.measured.as_deref()
    }

    /// Whether collectives that were measured on a part hold for those of `on`.
    #[must_use]
    pub fn borrows_collectives(on: &Accelerator, measured: &str) -> bool {
        same_links(on, measured)
    }

    /// The entries of profiles that serve this cluster.
    #[must_use]
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// Lays measurements over the data sheets.
    pub fn set_measured(&mut self, measured: &Arc<Measured>) {
        self.memo = super::memo::Memo::default();
        self.measured = Some(Arc::clone(measured));
        let mut out = Vec::new();
        for row in &measured.collective {
            if self.templates.iter().any(|t| same_links(&t.accelerator, &row.accelerator)) && *row.ranks <= self.sites.len() as u64 {
                let borrowed =
                    if self.templates.iter().any(|t| *t.accelerator.id == *row.accelerator) { "" } else { ", borrowed: the same links" };
                let what = format!("{} over {} ranks of {} on {} node(s){borrowed}", *row.op, *row.ranks, *row.accelerator, *row.nodes);
                out.push(Served::new(what, &row.from));
            }
        }
        // Later entries first, so that earlier ones come to lie over them.
        for row in measured.link.iter().rev() {
            let rate = row.curve().rate();
            let used = rate.is_finite()
                && match *row.path {
                    LinkPath::HostToDevice | LinkPath::DeviceToHost => {
                        self.set_host_links(&row.part, *row.path == LinkPath::DeviceToHost, rate)
                    }
                    LinkPath::Rdma => self.set_nics(&row.part, rate),
                    LinkPath::Peer | LinkPath::Device | LinkPath::Tcp => false,
                };
            if used {
                out.push(Served::new(format!("{} of {}", *row.path, *row.part), &row.from));
            }
        }
        for row in measured.memory.iter().rev() {
            if self.set_host_memory(&row.part, row.memory()) {
                out.push(Served::new(format!("memory of {}", *row.part), &row.from));
            }
        }
        for row in measured.storage.iter().rev() {
            if self.set_storage(row) {
                out.push(Served::new(format!("{} of tier {}", *row.direction, *row.tier), &row.from));
            }
        }
        self.served = out;
    }

    /// Brings the fastest of some links to a rate and the others with it: parts that are degraded stay so.
    fn bring_to(&mut self, links: &[LinkId], rate: f64) {
        let most = links.iter().map(|&l| self.link(l).capacity).filter(|c| c.is_finite()).fold(0.0, f64::max);
        for link in links {
            if let Some(edge) = self.graph.edge_weight_mut(EdgeIndex::new(link.index())).filter(|_| most > 0.0) {
                edge.capacity *= rate / most;
            }
        }
    }

    /// Links between accelerators of a part and their hosts, one direction.
    fn set_host_links(&mut self, part: &str, to_host: bool, rate: f64) -> bool {
        let of_part = |s: &&super::graph::Site| *self.templates[s.template as usize].accelerator.id == *part;
        let links: Vec<LinkId> = self.sites.iter().filter(of_part).map(|s| if to_host { s.pcie.up } else { s.pcie.down }).collect();
        self.bring_to(&links, rate);
        !links.is_empty()
    }

    /// NICs of a catalogue id: what one reaches, over what it was taken to reach.
    fn set_nics(&mut self, part: &str, rate: f64) -> bool {
        let Some(nic) = self.templates.iter().filter_map(|t| t.nic.as_ref()).find(|n| *n.id == *part) else { return false };
        let assumed = nic.bandwidth.get() * *nic.efficiency;
        // Other NICs of a mixed cluster keep their data sheet.
        if assumed <= 0.0 || self.templates.iter().any(|t| t.nic.as_ref().is_some_and(|n| *n.id != *part)) {
            return false;
        }
        self.graph.edge_weights_mut().filter(|l| l.kind == LinkKind::Nic).for_each(|l| l.capacity *= rate / assumed);
        true
    }

    /// Memory of hosts, by the host's id or for all of them as `host`.
    fn set_host_memory(&mut self, part: &str, rate: f64) -> bool {
        let mut found = false;
        for node in 0..self.inside.len() {
            let host = &self.templates[self.node_template[node] as usize].host;
            if part == "host" || *host.id == *part {
                let links: Vec<LinkId> = self.inside[node].memory.iter().flat_map(|c| [c.up, c.down]).collect();
                let sockets = self.inside[node].memory.len().max(1) as f64;
                self.bring_to(&links, rate / sockets);
                found = true;
            }
        }
        found
    }

    /// One direction of a tier: local drives as a whole; of servers what one node's client reaches.
    fn set_storage(&mut self, row: &StorageRow) -> bool {
        let Some(index) = self.stores.iter().position(|s| s.tier.name == *row.tier) else { return false };
        let (latency, iops) = (row.latency.map(|l| 1e-6 * l.value), row.iops.map(|i| i.value));
        let bandwidth = row.bandwidth.map(|b| 1e9 * b.value);
        let read = *row.direction == Direction::Read;
        let store = &mut self.stores[index];
        let local = store.tier.kind == TierKind::Local;
        if let Some(latency) = latency.filter(|_| read || local) {
            store.tier.latency = latency;
        }
        let rates: &mut Rates = if read { &mut store.tier.read } else { &mut store.tier.write };
        if let Some(iops) = iops {
            *(if local { &mut rates.iops } else { &mut rates.client_iops }) = iops;
        }
        let Some(bandwidth) = bandwidth else { return true };
        *(if local { &mut rates.bandwidth } else { &mut rates.client }) = bandwidth;
        if let Reach::Drives(nodes) = &store.reach {
            let one = |c: &super::graph::Cable| if read { c.up } else { c.down };
            let by_node: Vec<Vec<LinkId>> = nodes.iter().map(|groups| groups.iter().map(one).collect()).collect();
            for links in by_node {
                self.bring_to(&links, bandwidth / links.len().max(1) as f64);
            }
        }
        true
    }
}
