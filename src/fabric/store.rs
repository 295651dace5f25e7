//! Storage on the graph: drives on the sockets of a node, servers on leaves or on a switch of their own, and the routes between them
//! and host memory.

use super::graph::{AcceleratorId, Cable, Fabric, Link, LinkId, LinkKind, NicSite, NodeId, Scale, Site, Vertex};
use super::input::TopologyInput;
use super::node::nic_groups;
use super::tiers::{Drives, StorageNetwork, StorageTierInput, Tier};
use crate::diag::{At, Diagnostic, Diagnostics, codes};
use crate::ids::Id;
use petgraph::graph::{EdgeIndex, NodeIndex};
use rustc_hash::FxHashMap;

crate::ids! {
    /// A storage tier of a fabric, in the order of the file.
    TierId "tier";
}

/// A server on a leaf.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerSite {
    /// Plane and leaf of the plane (or explicit switch).
    pub(super) plane: u32,
    pub(super) leaf: u32,
    /// Server to switch (up: what is read) and back (down: what is written).
    pub(super) cable: Cable,
}

/// How nodes reach a tier.
#[derive(Debug, Clone)]
pub(super) enum Reach {
    /// For every node its drives, one group for each of some sockets: group to socket is reading.
    Drives(Vec<Vec<Cable>>),
    /// Servers on the leaves of the network.
    Shared(Vec<ServerSite>),
    /// Servers and ports of the nodes on a switch of their own: server to switch, node to switch.
    Own { servers: Vec<Cable>, ports: Vec<Cable> },
}

/// A tier and how nodes reach it.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) tier: Tier,
    pub(super) reach: Reach,
}

/// Latency of a hop inside a node or into a storage server, seconds: order of magnitude of PCIe and of one switch.
const HOP: f64 = 1e-6;

impl Fabric {
    /// The storage tiers.
    pub fn tiers(&self) -> impl ExactSizeIterator<Item = &Tier> {
        self.stores.iter().map(|s| &s.tier)
    }
    /// A tier.
    #[must_use]
    pub fn tier(&self, id: TierId) -> &Tier {
        &self.stores[id.index()].tier
    }
    /// A tier by its name.
    #[must_use]
    pub fn tier_named(&self, name: &str) -> Option<TierId> {
        self.stores.iter().position(|s| s.tier.name == name).map(TierId::from_index)
    }

    fn usable_link(&mut self, from: NodeIndex<u32>, to: NodeIndex<u32>, capacity: f64, kind: LinkKind) -> LinkId {
        LinkId::from_index(self.graph.add_edge(from, to, Link { capacity, latency: HOP, kind }).index())
    }

    /// A cable whose directions differ: `up` from the storage, `down` to it.
    fn storage_cable(&mut self, store: NodeIndex<u32>, to: NodeIndex<u32>, tier: &Tier, share: f64, kind: LinkKind) -> Cable {
        let up = self.usable_link(store, to, tier.read.bandwidth * share, kind);
        let down = self.usable_link(to, store, tier.write.bandwidth * share, kind);
        Cable { up, down }
    }

    /// Adds the tiers of a topology file.
    pub(super) fn add_storage(&mut self, input: &TopologyInput, names: &[String], diags: &mut Diagnostics) {
        for (number, given) in input.storage.iter().enumerate() {
            let name = given.name();
            if let Some(first) = input.storage.iter().take(number).find(|t| t.name().value == name.value) {
                diags.push(
                    Diagnostic::error(codes::DUPLICATE_NAME, format!("there are two storage tiers named `{}`", **name))
                        .at(name.span, "second one")
                        .at(first.name().span, "first one"),
                );
            }
            if name.value == "peer" || name.value == "host" {
                diags.push(
                    Diagnostic::error(codes::DUPLICATE_NAME, format!("`{}` is the name of a memory tier that every cluster has", **name))
                        .at(name.span, "taken")
                        .hint("choose another name"),
                );
            }
            if given.fits(diags)
                && let Some(store) = self.store(given, number as u8, names, diags)
            {
                self.stores.push(store);
            }
        }
    }

    fn store(&mut self, given: &At<StorageTierInput>, number: u8, names: &[String], diags: &mut Diagnostics) -> Option<Store> {
        let ports = self.node_network_bandwidth(NodeId(0));
        let Some(plug) = given.plug() else {
            let tier = given.tier(ports, self.drives(given, diags)?)?;
            let reach = self.add_drives(&tier);
            return Some(Store { tier, reach });
        };
        let tier = given.tier(ports, None)?;
        if plug.network == StorageNetwork::Own {
            let switch = self.graph.add_node(Vertex::StorageSwitch(number));
            let servers = (0..tier.servers).map(|s| {
                let vertex = self.graph.add_node(Vertex::StorageServer(number, s));
                self.storage_cable(vertex, switch, &tier, 1.0, LinkKind::Storage)
            });
            let servers = servers.collect();
            let capacity = plug.port.unwrap_or(f64::INFINITY);
            let sockets = self.sockets();
            let ports = sockets.iter().map(|node| Cable {
                up: self.usable_link(node[0], switch, capacity, LinkKind::StorageNic),
                down: self.usable_link(switch, node[0], capacity, LinkKind::StorageNic),
            });
            let reach = Reach::Own { servers, ports: ports.collect() };
            return Some(Store { tier, reach });
        }
        let places = self.places(given, plug.at, names, diags)?;
        let sites = (0..tier.servers).map(|s| {
            let (s_index, servers) = (s as usize, tier.servers as usize);
            let spread = if places.len() > servers { s_index * places.len() / servers } else { s_index % places.len() };
            let (vertex, plane, leaf) = places[spread];
            let server = self.graph.add_node(Vertex::StorageServer(number, s));
            ServerSite { plane, leaf, cable: self.storage_cable(server, vertex, &tier, 1.0, LinkKind::Storage) }
        });
        let reach = Reach::Shared(sites.collect());
        Some(Store { tier, reach })
    }

    /// The drives of a node; all templates have to carry the same.
    fn drives(&self, given: &At<StorageTierInput>, diags: &mut Diagnostics) -> Option<Option<Drives>> {
        let mut found: Option<(&str, u64)> = None;
        for t in &self.templates {
            let own = t.drive.as_ref().filter(|(_, n)| *n > 0).map(|(d, n)| (d.id.as_str(), *n));
            let same = found.is_none() || found == own;
            let Some(own) = own.filter(|_| same) else {
                let message =
                    if same { format!("the nodes `{}` have no drives", t.name) } else { "the nodes have different drives".into() };
                diags.push(
                    Diagnostic::error(codes::BAD_TOPOLOGY, message)
                        .at(given.name().span, "this tier")
                        .hint("give every node template the same `drive` and `drives`"),
                );
                return None;
            };
            found = Some(own);
        }
        let (drive, count) = self.templates.first()?.drive.as_ref()?;
        let n = *count as f64;
        Some(Some(Drives {
            count: (*count).min(1 << 16) as u32,
            read: n * drive.read_bandwidth.get(),
            write: n * drive.write_bandwidth.get(),
            read_iops: n * *drive.read_iops,
            write_iops: n * *drive.write_iops,
            latency: drive.latency.get(),
            capacity: n * drive.capacity.get() * self.node_count() as f64,
        }))
    }

    /// CPU vertices of every node by socket.
    fn sockets(&self) -> Vec<Vec<NodeIndex<u32>>> {
        let mut out = vec![Vec::new(); self.node_count()];
        for v in self.graph.node_indices() {
            if let Vertex::Cpu(node, _) = self.graph[v] {
                out[node.index()].push(v);
            }
        }
        out
    }

    fn add_drives(&mut self, tier: &Tier) -> Reach {
        let sockets = self.sockets();
        let mut all = Vec::with_capacity(sockets.len());
        for (n, cpus) in sockets.iter().enumerate() {
            let groups = (tier.servers as usize).clamp(1, cpus.len());
            let cables = (0..groups).map(|g| {
                let vertex = self.graph.add_node(Vertex::Drives(NodeId::from_index(n), g as u8));
                self.storage_cable(vertex, cpus[g * cpus.len() / groups], tier, 1.0 / groups as f64, LinkKind::Drive)
            });
            all.push(cables.collect());
        }
        Reach::Drives(all)
    }

    /// Switches that servers can be plugged into, as (vertex, plane, leaf).
    fn places(
        &self,
        given: &At<StorageTierInput>,
        at: Option<&[At<String>]>,
        names: &[String],
        diags: &mut Diagnostics,
    ) -> Option<Vec<(NodeIndex<u32>, u32, u32)>> {
        let mut known: FxHashMap<(u32, u32), NodeIndex<u32>> = FxHashMap::default();
        let mut places = Vec::new();
        for nic in &self.nics {
            let Some(cable) = nic.network else { continue };
            let Some((_, leaf)) = self.graph.edge_endpoints(EdgeIndex::new(cable.up.index())) else { continue };
            if known.insert((nic.plane, nic.leaf), leaf).is_none() {
                places.push((leaf, nic.plane, nic.leaf));
            }
        }
        places.sort_unstable_by_key(|p| (p.1, p.2));
        if places.is_empty() {
            diags.push(
                Diagnostic::error(codes::DISCONNECTED, "storage on the shared network, but the nodes have no network")
                    .at(given.name().span, "this tier")
                    .hint("set network = \"own\" with a `port_bandwidth`"),
            );
            return None;
        }
        let Some(at) = at else { return Some(places) };
        let before = diags.error_count();
        let chosen: Vec<_> = at.iter().filter_map(|name| self.place(name, &places, names, diags)).collect();
        if at.is_empty() {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "the list of places is empty").at(given.name().span, "this tier"));
        }
        (diags.error_count() == before).then_some(chosen)
    }

    fn place(
        &self,
        name: &At<String>,
        places: &[(NodeIndex<u32>, u32, u32)],
        names: &[String],
        diags: &mut Diagnostics,
    ) -> Option<(NodeIndex<u32>, u32, u32)> {
        let by_name = || {
            let number = names.iter().position(|n| *n == name.value)? as u32;
            let vertex = self.graph.node_indices().find(|&v| self.graph[v] == Vertex::Switch(0, number))?;
            Some((vertex, 0, number))
        };
        let by_number = || {
            let number: u32 = name.strip_prefix("leaf ")?.trim().parse().ok()?;
            places.iter().copied().find(|p| self.graph[p.0] == Vertex::Switch(0, number))
        };
        let found = by_name().or_else(by_number);
        if found.is_none() {
            diags.push(
                Diagnostic::error(codes::UNKNOWN_PART, format!("there is no leaf or switch `{}` for storage", **name))
                    .at(name.span, "unknown place")
                    .hint(format!("the leaves that carry NICs are leaf 0 to leaf {}", places.len() - 1)),
            );
        }
        found
    }

    /// Servers whose leaf lost its uplinks or NICs cannot be told from living ones by capacity alone: drops those on dead switches.
    pub(super) fn drop_dead_servers(&mut self, input: &TopologyInput, diags: &mut Diagnostics) {
        let alive: Vec<(u32, u32)> = self.nics.iter().filter(|n| n.network.is_some()).map(|n| (n.plane, n.leaf)).collect();
        let explicit = matches!(self.scale, Scale::Explicit(_));
        let mut lost = false;
        for store in &mut self.stores {
            if let Reach::Shared(sites) = &mut store.reach {
                sites.retain(|s| explicit || alive.contains(&(s.plane, s.leaf)));
                lost |= sites.is_empty();
            }
        }
        if lost {
            diags.push(
                Diagnostic::error(codes::DISCONNECTED, "all servers of a storage tier sit on switches that are dead")
                    .at(input.degraded.span, "this list"),
            );
        }
    }

    /// How many servers of a tier an accelerator can reach (one for local drives).
    #[must_use]
    pub fn server_count(&self, tier: TierId) -> u32 {
        match &self.stores[tier.index()].reach {
            Reach::Drives(_) => 1,
            Reach::Shared(sites) => sites.len() as u32,
            Reach::Own { servers, .. } => servers.len() as u32,
        }
    }

    /// Visits the links between an accelerator and the memory of its socket; returns the latency in seconds.
    pub fn copy_route(&self, a: AcceleratorId, to_host: bool, visit: &mut dyn FnMut(LinkId, f64)) -> f64 {
        let site = &self.sites[a.index()];
        let inside = &self.inside[site.node.index()];
        let (switch, socket) = inside.switches[site.pcie_switch as usize];
        let memory = inside.memory[socket as usize];
        let mut latency = 0.0;
        for cable in [site.pcie, switch, memory] {
            let link = if to_host { cable.up } else { cable.down };
            latency += self.link(link).latency;
            visit(link, 1.0);
        }
        latency
    }

    /// Visits the links between the host memory beside an accelerator and a server of a tier with the share of the flow that each
    /// carries, and returns the latency of the path in seconds; `None` where there is no way.
    pub fn storage_route(
        &self,
        a: AcceleratorId,
        tier: TierId,
        server: u32,
        write: bool,
        visit: &mut dyn FnMut(LinkId, f64),
    ) -> Option<f64> {
        let site = &self.sites[a.index()];
        let inside = &self.inside[site.node.index()];
        let socket = inside.switches[site.pcie_switch as usize].1;
        let mut path = Path { fabric: self, write, visit, latency: 0.0 };
        // Memory is left when writing and entered when reading.
        path.cable(inside.memory[socket as usize], !write);
        match &self.stores[tier.index()].reach {
            Reach::Drives(nodes) => {
                let groups = &nodes[site.node.index()];
                let group = socket as usize * groups.len() / inside.socket_count.max(1) as usize;
                let home = (group * inside.socket_count as usize / groups.len()) as u8;
                path.sockets(site.node, socket, home);
                path.cable(groups[group], !write);
            }
            Reach::Own { servers, ports } => {
                path.sockets(site.node, socket, 0);
                path.cable(ports[site.node.index()], write);
                path.cable(servers[server as usize], !write);
            }
            Reach::Shared(sites) => {
                let there = &sites[server as usize];
                let nic = self.nic_towards(site, there.plane)?;
                path.through_nic(site, socket, nic);
                let ends = if write { (nic.leaf, there.leaf) } else { (there.leaf, nic.leaf) };
                let flow = [u64::from(a.0), 1 << 40 | u64::from(server), u64::from(write), tier.index() as u64];
                path.latency += self.leaf_route(there.plane, ends, flow, u64::from(server), path.visit);
                path.cable(there.cable, !write);
            }
        }
        Some(path.latency)
    }

    /// Visits the links from the host memory beside one accelerator to that beside another one, over the network.
    pub fn memory_route(&self, from: AcceleratorId, to: AcceleratorId, visit: &mut dyn FnMut(LinkId, f64)) -> Option<f64> {
        let (a, b) = (&self.sites[from.index()], &self.sites[to.index()]);
        let socket = |s: &Site| self.inside[s.node.index()].switches[s.pcie_switch as usize].1;
        let into = b.nic.map(|n| &self.nics[n as usize]).filter(|n| n.network.is_some()).or_else(|| self.any_nic(b))?;
        let out = self.nic_towards(a, into.plane)?;
        let mut path = Path { fabric: self, write: true, visit, latency: 0.0 };
        path.cable(self.inside[a.node.index()].memory[socket(a) as usize], false);
        path.through_nic(a, socket(a), out);
        path.latency += self.leaf_route(
            into.plane,
            (out.leaf, into.leaf),
            [u64::from(from.0), u64::from(to.0), 2, 1 << 41],
            u64::from(to.0),
            path.visit,
        );
        path.write = false;
        path.through_nic(b, socket(b), into);
        path.cable(self.inside[b.node.index()].memory[socket(b) as usize], true);
        Some(path.latency)
    }

    fn any_nic(&self, site: &Site) -> Option<&NicSite> {
        self.node_nics(site).find(|n| n.network.is_some())
    }

    fn node_nics(&self, site: &Site) -> impl Iterator<Item = &NicSite> {
        let count = nic_groups(&self.templates[site.template as usize]) as usize;
        let first = site.nic.map_or(0, |n| n as usize - self.nics[n as usize].rail as usize);
        let count = if site.nic.is_some() { count } else { 0 };
        self.nics[first..first + count].iter()
    }

    /// The site's own NIC if it works and lies on a plane, or the next of its node that does.
    fn nic_towards(&self, site: &Site, plane: u32) -> Option<&NicSite> {
        let own = &self.nics[site.nic? as usize];
        let fits = |n: &&NicSite| n.network.is_some() && n.plane == plane;
        if fits(&own) { Some(own) } else { self.node_nics(site).find(fits) }
    }
}

/// A path between host memory and storage, walked from the memory.
struct Path<'a> {
    fabric: &'a Fabric,
    /// Whether bytes go away from the memory.
    write: bool,
    visit: &'a mut dyn FnMut(LinkId, f64),
    latency: f64,
}

impl Path<'_> {
    fn cable(&mut self, cable: Cable, up: bool) {
        self.link(if up { cable.up } else { cable.down });
    }
    fn link(&mut self, link: LinkId) {
        self.latency += self.fabric.link(link).latency;
        (self.visit)(link, 1.0);
    }
    /// Between two sockets of a node, in the direction of the bytes.
    fn sockets(&mut self, node: NodeId, near: u8, far: u8) {
        if near == far {
            return;
        }
        let inside = &self.fabric.inside[node.index()];
        let (from, to) = if self.write { (near, far) } else { (far, near) };
        if let Some(link) = inside.sockets[from as usize * inside.socket_count as usize + to as usize] {
            self.link(link);
        }
    }
    /// Between a socket of a node and the switch that a NIC is plugged into.
    fn through_nic(&mut self, site: &Site, socket: u8, nic: &NicSite) {
        let (switch, home) = self.fabric.inside[site.node.index()].switches[nic.pcie_switch as usize];
        self.sockets(site.node, socket, home);
        // PCIe cables point up to the socket: bytes that leave go down to the NIC and up from it to the leaf.
        self.cable(switch, !self.write);
        self.cable(nic.pcie, !self.write);
        if let Some(network) = nic.network {
            self.cable(network, self.write);
        }
        self.latency += nic.latency;
    }
}
