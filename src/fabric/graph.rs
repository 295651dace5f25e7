//! The built fabric: vertices, links, sites of accelerators, domains, and the tables that routes use.

pub use super::elements::{AcceleratorId, Domain, DomainId, DomainKind, Link, LinkId, LinkKind, NodeId, Site, Vertex};
pub(super) use super::elements::{Cable, Inside, NicSite, Scale, Template};
use super::input::PathPolicy;
use super::latency::Latencies;
use super::measured::Served;
use super::memo::Memo;
use super::places::Building;
use super::store::Store;
use crate::engine::Streams;
use crate::hardware::{Accelerator, Host, Nic, NicProtocol, Switch};
use crate::ids::Id;
use crate::measured::Measured;
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use rand_pcg::rand_core::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The built fabric.
#[derive(Debug, Clone)]
pub struct Fabric {
    /// The graph; its edges are the links in order of their ids.
    pub graph: DiGraph<Vertex, Link, u32>,
    pub(super) title: String,
    pub(super) sites: Vec<Site>,
    pub(super) domains: Vec<Domain>,
    pub(super) nics: Vec<NicSite>,
    pub(super) inside: Vec<Inside>,
    pub(super) node_template: Vec<u32>,
    pub(super) templates: Vec<Template>,
    pub(super) scale: Scale,
    pub(super) switch: Option<Switch>,
    pub(super) policy: PathPolicy,
    pub(super) queue_pairs: u64,
    pub(super) salt: u64,
    /// Whether ranks reach other rails through the rank of that rail on their own node.
    pub(super) pxn: bool,
    /// Accelerators that are slower than their data sheet, with the share of speed that is left.
    pub(super) speeds: BTreeMap<AcceleratorId, f64>,
    /// Whether any part is degraded.
    pub(super) degraded: bool,
    /// Storage tiers in the order of the file.
    pub(super) stores: Vec<Store>,
    /// Racks and power feeds.
    pub(super) building: Building,
    pub(super) latencies: Latencies,
    /// What was measured of it.
    pub(super) measured: Option<Arc<Measured>>,
    /// The entries of that which serve it.
    pub(super) served: Vec<Served>,
    /// Where ranks were put otherwise than in order: the ranks that count, and the place in `sites` of every accelerator.
    pub(super) ranks: Option<(usize, Vec<u32>)>,
    /// What rooms above found about it.
    pub(super) memo: Memo,
}

impl Fabric {
    /// A fabric without parts, for jobs that bring a network of their own.
    #[must_use]
    pub fn empty(title: &str) -> Self {
        Self {
            graph: DiGraph::default(),
            title: title.to_owned(),
            sites: Vec::new(),
            domains: Vec::new(),
            nics: Vec::new(),
            inside: Vec::new(),
            node_template: Vec::new(),
            templates: Vec::new(),
            scale: Scale::None,
            switch: None,
            policy: PathPolicy::Adaptive,
            queue_pairs: 1,
            salt: 0,
            pxn: false,
            degraded: false,
            speeds: BTreeMap::new(),
            stores: Vec::new(),
            latencies: Latencies::default(),
            measured: None,
            served: Vec::new(),
            ranks: None,
            memo: Memo::default(),
            building: Building::default(),
        }
    }
    /// What rooms above found about it.
    #[must_use]
    pub const fn memo(&self) -> &Memo {
        &self.memo
    }
    /// Draws the hashes of paths (`ecmp`) from a seed.
    pub fn set_seed(&mut self, seed: u64) {
        self.memo = Memo::default();
        self.salt = Streams::new(seed).stream("hashed paths").next_u64();
    }
    /// Messages that the NICs of an accelerator start in a second; infinite without NICs.
    #[must_use]
    pub fn message_rate(&self, a: AcceleratorId) -> f64 {
        let template = &self.templates[self.sites[a.index()].template as usize];
        let nics = f64::from(template.nics) / f64::from(template.accelerators);
        template.nic.as_ref().map_or(f64::INFINITY, |nic| *nic.message_rate * nics)
    }
    /// Whether all NICs are RoCE.
    #[must_use]
    pub fn is_lossless_ethernet(&self) -> bool {
        let protocols = || self.templates.iter().map(|t| t.nic.as_ref().map(|n| *n.protocol));
        self.templates.iter().any(|t| t.nic.is_some()) && protocols().all(|p| p.is_none_or(|p| p == NicProtocol::Roce))
    }
    /// Whether pauses of ports spread on it: a tree on which a flow has paths of its own, or one switch.
    #[must_use]
    pub fn pauses_spread(&self) -> bool {
        match &self.scale {
            Scale::Trees(trees) => !self.policy.is_even() || trees.iter().all(|t| t.leaf_links == 0),
            _ => false,
        }
    }
    /// How many accelerators there are.
    #[must_use]
    pub fn accelerator_count(&self) -> usize {
        self.ranks.as_ref().map_or(self.sites.len(), |r| r.0)
    }
    /// How many nodes there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.node_template.len()
    }
    /// How many directed links there are.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.graph.edge_count()
    }
    /// Title of the topology.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }
    /// Where an accelerator sits.
    #[must_use]
    pub fn site(&self, a: AcceleratorId) -> &Site {
        &self.sites[a.index()]
    }
    /// The part that an accelerator is.
    #[must_use]
    pub fn part(&self, a: AcceleratorId) -> &Accelerator {
        &self.templates[self.sites[a.index()].template as usize].accelerator
    }
    fn template(&self, n: NodeId) -> &Template {
        &self.templates[self.node_template[n.index()] as usize]
    }
    /// The host of a node.
    #[must_use]
    pub fn host(&self, n: NodeId) -> &Host {
        &self.template(n).host
    }
    /// The NICs' part of a node.
    #[must_use]
    pub fn nic(&self, n: NodeId) -> Option<&Nic> {
        self.template(n).nic.as_ref()
    }
    /// NICs of a node.
    #[must_use]
    pub fn nics_per_node(&self, n: NodeId) -> u32 {
        self.template(n).nics
    }
    /// Accelerators of a node.
    #[must_use]
    pub fn accelerators_per_node(&self, n: NodeId) -> u32 {
        self.template(n).accelerators
    }
    /// Usable rate of all NICs of a node, one direction, bytes per second.
    #[must_use]
    pub fn node_network_bandwidth(&self, n: NodeId) -> f64 {
        let t = self.template(n);
        t.nic.as_ref().map_or(0.0, |nic| nic.bandwidth.get() * *nic.efficiency * f64::from(t.nics))
    }
    /// A scale-up domain.
    #[must_use]
    pub fn domain(&self, d: DomainId) -> &Domain {
        &self.domains[d.index()]
    }
    /// A link.
    #[must_use]
    pub fn link(&self, l: LinkId) -> &Link {
        &self.graph[EdgeIndex::new(l.index())]
    }
    /// The kinds of accelerators, each with its share of all of them.
    #[must_use]
    pub fn part_shares(&self) -> Vec<(&Accelerator, f64)> {
        let mut out: Vec<(&Accelerator, f64)> = Vec::new();
        for t in &self.templates {
            let share = f64::from(t.nodes) * f64::from(t.accelerators) / self.sites.len() as f64;
            match out.iter_mut().find(|(p, _)| p.id.value == t.accelerator.id.value) {
                Some(known) => known.1 += share,
                None => out.push((&t.accelerator, share)),
            }
        }
        out
    }
    /// The kinds of accelerators.
    pub fn parts(&self) -> impl Iterator<Item = &Accelerator> {
        self.part_shares().into_iter().map(|p| p.0)
    }
    /// Whether all nodes carry the same accelerator.
    #[must_use]
    pub fn is_uniform(&self) -> bool {
        self.templates.iter().all(|t| *t.accelerator.id == *self.templates[0].accelerator.id)
    }
    /// Share of its data sheet's speed that an accelerator has (1 unless it is degraded).
    #[must_use]
    pub fn speed(&self, a: AcceleratorId) -> f64 {
        self.speeds.get(&a).copied().unwrap_or(1.0)
    }
    /// The same fabric with an accelerator that keeps a share of its speed.
    #[must_use]
    pub fn with_slow(&self, a: AcceleratorId, speed: f64) -> Self {
        let mut out = self.clone();
        out.speeds.insert(a, speed * self.speed(a));
        out.degraded = true;
        out
    }
    /// Whether all nodes carry the same parts and none is slow or dead.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.templates.len() == 1 && !self.degraded
    }
    /// Whether a flow uses all equal-cost paths evenly.
    #[must_use]
    pub fn spreads_evenly(&self) -> bool {
        self.policy.is_even()
    }
    /// Accelerators that are slower than their data sheet.
    pub fn slow_accelerators(&self) -> impl Iterator<Item = (AcceleratorId, f64)> + '_ {
        self.speeds.iter().map(|(&a, &s)| (a, s))
    }
    /// What all peer copies of the accelerator's node share, where the topology says so.
    #[must_use]
    pub fn peer_copy_limit(&self, a: AcceleratorId) -> Option<f64> {
        self.templates[self.site(a).template as usize].peer_copy_limit
    }
    /// Whether the accelerators of the node copy straight into each other's memory.
    #[must_use]
    pub fn peer_access(&self, a: AcceleratorId) -> bool {
        self.templates[self.site(a).template as usize].peer_access
    }
    /// Whether the network's switches can reduce (SHARP).
    #[must_use]
    pub fn reduces_in_network(&self) -> bool {
        self.switch.as_ref().is_some_and(|s| *s.in_network_reduction)
    }
    /// Whether an accelerator has links of its own to each neighbour (meshes).
    #[must_use]
    pub fn has_direct_links(&self, a: AcceleratorId) -> bool {
        matches!(self.domain(self.site(a).domain).kind, DomainKind::CubeMesh | DomainKind::FullMesh)
    }
    /// The link between two accelerators of a mesh.
    #[must_use]
    pub fn direct_link(&self, a: AcceleratorId, b: AcceleratorId) -> Option<LinkId> {
        let domain = self.domain(self.site(a).domain);
        if !self.has_direct_links(a) || self.site(b).domain != self.site(a).domain {
            return None;
        }
        let [i, j] = [a, b].map(|x| (self.site(x).own.0 - domain.first.0) as usize);
        domain.direct[i * domain.width + j]
    }
    /// Cables between each two accelerators of a full mesh; of other meshes those of the thinnest pair.
    #[must_use]
    pub fn direct_cables(&self, a: AcceleratorId) -> f64 {
        let domain = self.domain(self.site(a).domain);
        let meshed = domain.kind == DomainKind::FullMesh;
        if meshed { *self.part(a).scale_up_links as f64 / (f64::from(domain.size) - 1.0).max(1.0) } else { 1.0 }
    }
    /// Rate of all cables of the thinnest pair of a mesh that an accelerator is in.
    #[must_use]
    pub fn direct_link_rate(&self, a: AcceleratorId) -> f64 {
        let domain = self.domain(self.site(a).domain);
        let links = (0..domain.size).filter_map(|i| self.direct_link(a, self.standing(AcceleratorId(domain.first.0 + i))));
        links.map(|l| self.link(l).capacity).fold(f64::INFINITY, f64::min)
    }
    /// The name of a link for people, such as `node 3 NIC 2 → leaf 7`.
    #[must_use]
    pub fn link_name(&self, l: LinkId) -> String {
        let Some((a, b)) = self.graph.edge_endpoints(EdgeIndex::new(l.index())) else { return l.to_string() };
        format!("{} → {}", self.vertex_name(a), self.vertex_name(b))
    }
    fn vertex_name(&self, v: NodeIndex<u32>) -> String {
        match self.graph[v] {
            Vertex::Accelerator(a) => format!("node {} accelerator {}", self.site(a).node.0, self.site(a).local),
            Vertex::ScaleUpSwitch(d) => format!("scale-up switch {}", d.0),
            Vertex::PcieSwitch(n, i) => format!("node {} PCIe switch {i}", n.0),
            Vertex::Cpu(n, i) => format!("node {} CPU {i}", n.0),
            Vertex::Memory(n, i) => format!("node {} memory {i}", n.0),
            Vertex::Nic(n, i) => format!("node {} NIC {i}", n.0),
            Vertex::Switch(0, i) => format!("leaf {i}"),
            Vertex::Switch(1, i) => format!("spine {i}"),
            Vertex::Switch(_, i) => format!("core {i}"),
            Vertex::Drives(n, i) => format!("node {} drives {i}", n.0),
            Vertex::StorageServer(t, i) => {
                format!("{} server {i}", self.stores.get(t as usize).map_or("storage", |s| s.tier.name.as_str()))
            }
            Vertex::Region(t) => format!("{} region", self.stores.get(t as usize).map_or("storage", |s| s.tier.name.as_str())),
            Vertex::Pool(t, i) => format!("{} pool {i}", self.stores.get(t as usize).map_or("memory", |s| s.tier.name.as_str())),
            Vertex::StorageSwitch(t) => format!("{} switch", self.stores.get(t as usize).map_or("storage", |s| s.tier.name.as_str())),
        }
    }
}
