//! What a topology is: counts, bisection bandwidth, power and price.

use super::graph::{DomainKind, Fabric, Link, LinkKind, Scale, Vertex};
use super::tier::{Tier, TierKind};
use crate::hardware::{Catalogue, PriceKind};
use crate::ids::Id;
use petgraph::graph::{DiGraph, EdgeReference, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::Serialize;

/// Counts, bandwidth, power and price of a topology.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopologySummary {
    /// Title.
    pub title: String,
    /// Nodes.
    pub nodes: u64,
    /// Accelerators.
    pub accelerators: u64,
    /// NICs.
    pub nics: u64,
    /// Leaf switches (switches of an explicit fabric).
    pub leaf_switches: u64,
    /// Spine switches.
    pub spine_switches: u64,
    /// Core switches.
    pub core_switches: u64,
    /// Cables between NICs and switches and among switches.
    pub network_cables: u64,
    /// Drives in nodes.
    pub drives: u64,
    /// Scale-up domains.
    pub scale_up_domains: u64,
    /// Directed links of the graph.
    pub links: u64,
    /// Vertices of the graph.
    pub vertices: u64,
    /// Bandwidth of the network between two halves of the nodes, one direction; without a network between two halves of the accelerators.
    pub bisection_bytes_per_s: f64,
    /// All NICs of half of the nodes (without a network the links of half of the accelerators), one direction: what a fabric without
    /// oversubscription would carry.
    pub full_bisection_bytes_per_s: f64,
    /// Switch hops between the two nodes farthest from each other.
    pub diameter_switches: u64,
    /// Power under load: accelerators at their design power, hosts, NICs, drives, switches.
    pub power_w: f64,
    /// Of that, network switches.
    pub switch_power_w: f64,
    /// Purchase price of what has one in the price list.
    pub purchase_usd: f64,
    /// Parts of the purchase price.
    pub purchase_parts_usd: Vec<(String, f64)>,
    /// The purchase price by kind of part: accelerators, hosts, network cards, switches, drives.
    pub purchase_by_kind_usd: Vec<(&'static str, f64)>,
    /// Parts without a purchase price.
    pub unpriced: Vec<String>,
    /// Rent on demand by the hour, where the accelerators have one.
    pub rent_usd_per_hour: f64,
    /// Storage tiers.
    pub storage: Vec<TierSummary>,
}

/// A storage tier in a summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierSummary {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: &'static str,
    /// Servers; drives of a node.
    pub servers: u64,
    /// What all servers (drives of all nodes) read together.
    pub read_bytes_per_s: f64,
    /// What they write.
    pub write_bytes_per_s: f64,
    /// Size; absent: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<f64>,
}

/// Kind, name with count, and price of a part.
type Priced = (&'static str, String, f64);

impl Fabric {
    /// Counts, bandwidth, power and price.
    #[must_use]
    pub fn summary(&self, catalogue: &Catalogue) -> TopologySummary {
        let nics: u64 = self.templates.iter().map(|t| u64::from(t.nodes) * u64::from(t.nics)).sum();
        let (leaves, spines, cores, cables) = self.switch_counts(nics);
        let nic_rate: f64 = self
            .templates
            .iter()
            .map(|t| f64::from(t.nodes) * f64::from(t.nics) * t.nic.as_ref().map_or(0.0, |n| n.bandwidth.get() * *n.efficiency))
            .sum();
        let (power_w, priced, unpriced, rent) = self.bill(catalogue, leaves + spines + cores);
        let kinds = ["accelerators", "hosts", "network cards", "switches", "drives"];
        let of = |kind: &str| priced.iter().filter(|p| p.0 == kind).map(|p| p.2).sum::<f64>();
        let by_kind = kinds.into_iter().map(|k| (k, of(k))).filter(|k| k.1 > 0.0).collect();
        let parts: Vec<(String, f64)> = priced.into_iter().map(|(_, name, usd)| (name, usd)).collect();
        TopologySummary {
            title: self.title.clone(),
            nodes: self.node_count() as u64,
            accelerators: self.accelerator_count() as u64,
            nics,
            leaf_switches: leaves,
            spine_switches: spines,
            core_switches: cores,
            network_cables: cables,
            drives: self.templates.iter().map(|t| u64::from(t.nodes) * t.drive.as_ref().map_or(0, |(_, n)| *n)).sum(),
            scale_up_domains: self.domains.len() as u64,
            links: self.link_count() as u64,
            vertices: self.graph.node_count() as u64,
            bisection_bytes_per_s: self.bisection(nic_rate / 2.0),
            full_bisection_bytes_per_s: if matches!(self.scale, Scale::None) { self.ports() / 2.0 } else { nic_rate / 2.0 },
            diameter_switches: self.diameter(),
            power_w,
            switch_power_w: self.switch.as_ref().map_or(0.0, |s| s.power.get()) * (leaves + spines + cores) as f64,
            purchase_usd: parts.iter().map(|p| p.1).sum(),
            purchase_parts_usd: parts,
            purchase_by_kind_usd: by_kind,
            unpriced,
            rent_usd_per_hour: rent,
            storage: self.tiers().map(|t| self.tier_summary(t)).collect(),
        }
    }

    fn tier_summary(&self, tier: &Tier) -> TierSummary {
        let many = if tier.kind == TierKind::Local { self.node_count() as f64 } else { f64::from(tier.servers) };
        TierSummary {
            name: tier.name.clone(),
            kind: tier.kind.name(),
            servers: u64::from(tier.servers),
            read_bytes_per_s: tier.read.bandwidth * many,
            write_bytes_per_s: tier.write.bandwidth * many,
            capacity_bytes: tier.capacity.is_finite().then_some(tier.capacity),
        }
    }

    fn switch_counts(&self, nics: u64) -> (u64, u64, u64, u64) {
        match &self.scale {
            Scale::None => (0, 0, 0, 0),
            Scale::Trees(trees) => trees.iter().fold((0, 0, 0, nics), |sum, t| {
                let (pods, leaves) = (u64::from(t.pods()), u64::from(t.leaves));
                let spine_up = u64::from(t.spine_cables) * if t.leaf_links <= 1 { pods } else { pods * u64::from(t.spines) };
                let cables = leaves * u64::from(t.leaf_cables) + spine_up;
                (sum.0 + leaves, sum.1 + pods * u64::from(t.spines), sum.2 + u64::from(t.cores), sum.3 + cables)
            }),
            Scale::Explicit(e) => {
                let spines = self.graph.node_weights().filter(|v| matches!(v, Vertex::Switch(1, _))).count() as u64;
                let cables = e.neighbours.iter().map(|n| n.len() as u64).sum::<u64>() / 2;
                (e.neighbours.len() as u64 - spines, spines, 0, nics + cables)
            }
        }
    }

    /// What crosses between two halves: in a tree the least of half the NICs, half the leaf uplinks and half the spine uplinks.
    /// For an explicit fabric the greatest flow from the first half of the nodes to the second; without a network that of the
    /// accelerators.
    fn bisection(&self, nics: f64) -> f64 {
        let half = |kind: LinkKind| self.graph.edge_weights().filter(|l| l.kind == kind).map(|l| l.capacity).sum::<f64>() / 4.0;
        match &self.scale {
            Scale::None => self.inner_bisection(),
            Scale::Trees(t) if t[0].leaf_cables == 0 => nics,
            Scale::Trees(t) if t[0].pods() == 1 => nics.min(half(LinkKind::Leaf)),
            Scale::Trees(_) => nics.min(half(LinkKind::Leaf)).min(half(LinkKind::Spine)),
            Scale::Explicit(_) => self.explicit_bisection(),
        }
    }

    /// What all accelerators together could send over the links of their own.
    fn ports(&self) -> f64 {
        let own = |e: &EdgeReference<'_, Link>| matches!(self.graph[e.source()], Vertex::Accelerator(_));
        let scale_up = |e: &EdgeReference<'_, Link>| e.weight().kind == LinkKind::ScaleUp;
        let pcie = self.domains.first().is_some_and(|d| d.kind == DomainKind::Pcie);
        self.graph.edge_references().filter(|e| own(e) && (pcie || scale_up(e))).map(|e| e.weight().capacity).sum()
    }

    /// Greatest flow from the first half of the accelerators of one domain to the second; of direct links those that cross.
    fn inner_bisection(&self) -> f64 {
        let half = self.accelerator_count() / 2;
        let side = |v: NodeIndex| match self.graph[v] {
            Vertex::Accelerator(a) => Some(a.index() < half),
            _ => None,
        };
        if self.domains.iter().any(|d| matches!(d.kind, DomainKind::Switched | DomainKind::Pcie)) {
            return self.greatest_flow(&|kind| matches!(kind, LinkKind::ScaleUp | LinkKind::Pcie | LinkKind::Socket), &side);
        }
        let crosses = |a, b| side(a) == Some(true) && side(b) == Some(false);
        self.graph.edge_references().filter(|e| crosses(e.source(), e.target())).map(|e| e.weight().capacity).sum()
    }

    /// Greatest flow from the NICs of the first half of the nodes to those of the second.
    fn explicit_bisection(&self) -> f64 {
        let side = |v: NodeIndex| match self.graph[v] {
            Vertex::Nic(node, _) => Some(node.index() < self.node_count() / 2),
            _ => None,
        };
        self.greatest_flow(&|kind| matches!(kind, LinkKind::Leaf | LinkKind::Nic | LinkKind::Spine), &side)
    }

    /// Greatest flow over links of some kinds from the vertices of one side to those of the other.
    fn greatest_flow(&self, kinds: &dyn Fn(LinkKind) -> bool, side: &dyn Fn(NodeIndex) -> Option<bool>) -> f64 {
        let mut net: DiGraph<(), f64> = DiGraph::new();
        let (source, sink) = (net.add_node(()), net.add_node(()));
        let first = net.node_count();
        for _ in self.graph.node_indices() {
            net.add_node(());
        }
        let place = |v: NodeIndex| NodeIndex::new(v.index() + first);
        for edge in self.graph.edge_references().filter(|e| kinds(e.weight().kind)) {
            net.add_edge(place(edge.source()), place(edge.target()), edge.weight().capacity);
        }
        for v in self.graph.node_indices() {
            match side(v) {
                Some(true) => net.add_edge(source, place(v), f64::MAX),
                Some(false) => net.add_edge(place(v), sink, f64::MAX),
                None => continue,
            };
        }
        petgraph::algo::ford_fulkerson(&net, source, sink).0
    }

    fn diameter(&self) -> u64 {
        match &self.scale {
            Scale::None => 0,
            Scale::Trees(t) if t[0].leaf_cables == 0 => 1,
            Scale::Trees(t) if t[0].pods() == 1 => 3,
            Scale::Trees(_) => 5,
            Scale::Explicit(e) => {
                let count = e.neighbours.len().min(512) as u32;
                (0..count)
                    .flat_map(|s| e.distances(s).iter().copied().filter(|d| *d != u32::MAX).max())
                    .max()
                    .map_or(0, |d| u64::from(d) + 1)
            }
        }
    }

    fn bill(&self, catalogue: &Catalogue, switches: u64) -> (f64, Vec<Priced>, Vec<String>, f64) {
        let (mut power, mut rent) = (0.0, 0.0);
        let (mut parts, mut unpriced): (Vec<Priced>, Vec<String>) = (Vec::new(), Vec::new());
        let mut add = |kind: &'static str, id: &str, name: &str, count: f64| {
            if count == 0.0 {
                return;
            }
            match catalogue.price(id, PriceKind::Purchase).and_then(|p| *p.price) {
                Some(price) => parts.push((kind, format!("{count} × {name}"), count * price.get())),
                None => unpriced.push(name.to_owned()),
            }
        };
        for t in &self.templates {
            let nodes = f64::from(t.nodes);
            let accelerators = nodes * f64::from(t.accelerators);
            power += accelerators * t.accelerator.tdp.get() + nodes * t.host.power.get();
            add("accelerators", &t.accelerator.id, &t.accelerator.name, accelerators);
            add("hosts", &t.host.id, &t.host.name, nodes);
            if let Some(nic) = &t.nic {
                power += nodes * f64::from(t.nics) * nic.power.get();
                add("network cards", &nic.id, &nic.name, nodes * f64::from(t.nics));
            }
            if let Some((drive, count)) = &t.drive {
                power += nodes * *count as f64 * drive.power.get();
                add("drives", &drive.id, &drive.name, nodes * *count as f64);
            }
            let hourly = [PriceKind::OnDemand, PriceKind::Reserved]
                .into_iter()
                .find_map(|k| catalogue.price(&t.accelerator.id, k).and_then(|p| *p.rent));
            rent += accelerators * hourly.map_or(0.0, |r| r.get() * 3600.0);
        }
        if let Some(switch) = &self.switch {
            power += switches as f64 * switch.power.get();
            add("switches", &switch.id, &switch.name, switches as f64);
        }
        (power, parts, unpriced, rent)
    }

    /// Power of the network's switches and of everything in a node but its accelerators, watts for the whole fabric.
    #[must_use]
    pub fn overhead_power(&self) -> f64 {
        let nodes = self.templates.iter().map(|t| {
            let nics = t.nic.as_ref().map_or(0.0, |n| n.power.get() * f64::from(t.nics));
            let drives = t.drive.as_ref().map_or(0.0, |(d, n)| d.power.get() * *n as f64);
            f64::from(t.nodes) * (t.host.power.get() + nics + drives)
        });
        let (leaves, spines, cores, _) = self.switch_counts(0);
        nodes.sum::<f64>() + self.switch.as_ref().map_or(0.0, |s| s.power.get() * (leaves + spines + cores) as f64)
    }
}
