//! Storage on the graph: drives on the sockets of a node, servers on leaves or on a switch of their own, memory behind CXL.

use super::graph::{Cable, Fabric, Link, LinkId, LinkKind, NodeId, Scale, Vertex};
use super::input::TopologyInput;
use super::tier::{Drives, Tier};
use super::tiers::{StorageNetwork, StorageTierInput};
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
    /// The memory of every node's CPUs.
    Memory,
    /// Pools of memory and ports of the nodes, `nodes` of them on each pool: node to pool, pool to its memory.
    Pools { pools: Vec<Cable>, ports: Vec<Cable>, nodes: u32 },
}

/// A tier and how nodes reach it.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) tier: Tier,
    pub(super) reach: Reach,
    /// The link to another region: away from here is up.
    pub(super) wan: Option<Cable>,
}

/// Latency of a hop inside a node or into a storage server, seconds: order of magnitude of PCIe and of one switch.
pub(super) const HOP: f64 = 1e-6;

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
        let memory = (self.host(NodeId(0)).memory.get(), self.memory_of_node(), self.node_count() as f64);
        let Some(plug) = given.plug() else {
            let drives = if matches!(&given.value, StorageTierInput::Local(_)) { self.drives(given, diags)? } else { None };
            let tier = given.tier(ports, drives, memory)?;
            let reach = match &given.value {
                StorageTierInput::CxlPool(pool) => self.add_pools(&tier, pool.port_bandwidth.get(), number),
                StorageTierInput::HostMemory(_) => Reach::Memory,
                _ => self.add_drives(&tier),
            };
            return Some(Store { tier, reach, wan: None });
        };
        let tier = given.tier(ports, None, memory)?;
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
            let wan = self.add_region(&tier, switch, number);
            return Some(Store { tier, reach, wan });
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
        let wan = self.add_region(&tier, places[0].0, number);
        Some(Store { tier, reach, wan })
    }

    /// The link to another region, which all servers share, where the tier lies in one; its latency is in that of requests.
    fn add_region(&mut self, tier: &Tier, from: NodeIndex<u32>, number: u8) -> Option<Cable> {
        let (_, capacity) = tier.region.as_ref()?;
        let region = self.graph.add_node(Vertex::Region(number));
        let up = self.usable_link(from, region, *capacity, LinkKind::Wan);
        let down = self.usable_link(region, from, *capacity, LinkKind::Wan);
        Some(Cable { up, down })
    }

    /// Bytes per second of all memory of the first node.
    fn memory_of_node(&self) -> f64 {
        self.inside[0].memory.iter().map(|m| self.link(m.up).capacity).sum()
    }

    fn add_pools(&mut self, tier: &Tier, port: f64, number: u8) -> Reach {
        let sockets = self.sockets();
        let (mut pools, mut ports) = (Vec::new(), Vec::new());
        for (i, nodes) in sockets.chunks(tier.servers.max(1) as usize).enumerate() {
            let pool = self.graph.add_node(Vertex::Pool(number, i as u32));
            let memory = self.graph.add_node(Vertex::StorageServer(number, i as u32));
            let cable = |fabric: &mut Self, from, to, capacity| Cable {
                up: fabric.usable_link(from, to, capacity, LinkKind::Cxl),
                down: fabric.usable_link(to, from, capacity, LinkKind::Cxl),
            };
            pools.push(cable(self, pool, memory, tier.read.bandwidth));
            ports.extend(nodes.iter().map(|cpus| cable(self, cpus[0], pool, port)));
        }
        Reach::Pools { pools, ports, nodes: tier.servers.max(1) }
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
            Reach::Drives(_) | Reach::Memory | Reach::Pools { .. } => 1,
            Reach::Shared(sites) => sites.len() as u32,
            Reach::Own { servers, .. } => servers.len() as u32,
        }
    }

    /// The same fabric with one more drive in every node that has drives, on the links that lead to them.
    #[must_use]
    pub fn with_one_more_drive(&self) -> Self {
        let mut out = self.clone();
        for store in &mut out.stores {
            let Reach::Drives(nodes) = &store.reach else { continue };
            let more = f64::from(store.tier.servers + 1) / f64::from(store.tier.servers.max(1));
            for cable in nodes.iter().flatten() {
                for link in [cable.up, cable.down] {
                    out.graph[EdgeIndex::new(link.index())].capacity *= more;
                }
            }
            for rates in [&mut store.tier.read, &mut store.tier.write] {
                rates.bandwidth *= more;
                rates.iops *= more;
            }
            store.tier.servers += 1;
            store.tier.capacity *= more;
        }
        out
    }
}
