//! Routes between host memory and storage, between the memories of two nodes, and between two tiers.

use super::graph::{AcceleratorId, Cable, Fabric, LinkId, NicSite, NodeId, Site};
use super::node::nic_groups;
use super::store::{Reach, TierId};
use crate::ids::Id;

impl Fabric {
    /// Visits the links between an accelerator and the memory of its socket; returns the latency in seconds.
    pub fn copy_route(&self, a: AcceleratorId, to_host: bool, visit: &mut dyn FnMut(LinkId, f64)) -> f64 {
        let site = &self.sites[a.index()];
        let inside = &self.inside[site.node.index()];
        let (switch, socket) = inside.switches[site.pcie_switch as usize];
        let memory = inside.memory[socket as usize];
        let mut latency = 0.0;
        // A link faster than the host's own PCIe goes to the CPU itself (NVLink-C2C).
        let direct = self.link(site.pcie.up).capacity > self.link(switch.up).capacity;
        for cable in [Some(site.pcie), (!direct).then_some(switch), Some(memory)].into_iter().flatten() {
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
            Reach::Memory => {}
            Reach::Pools { pools, ports, nodes } => {
                path.sockets(site.node, socket, 0);
                path.cable(ports[site.node.index()], write);
                path.cable(pools[site.node.index() / *nodes as usize], write);
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
        if let Some(wan) = self.stores[tier.index()].wan {
            path.cable(wan, write);
        }
        Some(path.latency)
    }

    /// Visits the links that a copy from one server of a tier to one of another loads, and returns the latency in seconds: what the first
    /// reads, what the second writes, and the way to another region; `None` where a tier has no servers.
    pub fn replica_route(&self, from: (TierId, u32), to: (TierId, u32), visit: &mut dyn FnMut(LinkId, f64)) -> Option<f64> {
        let cable = |(tier, server): (TierId, u32)| match &self.stores[tier.index()].reach {
            Reach::Shared(sites) => sites.get(server as usize).map(|s| s.cable),
            Reach::Own { servers, .. } => servers.get(server as usize).copied(),
            Reach::Drives(_) | Reach::Memory | Reach::Pools { .. } => None,
        };
        let mut path = Path { fabric: self, write: true, visit, latency: 0.0 };
        path.cable(cable(from)?, true);
        path.cable(cable(to)?, false);
        for (wan, up) in [(self.stores[from.0.index()].wan, false), (self.stores[to.0.index()].wan, true)] {
            if let Some(wan) = wan {
                path.cable(wan, up);
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
        self.nics_of(site).find(|n| n.network.is_some())
    }

    /// All NICs of a site's node.
    pub(super) fn nics_of(&self, site: &Site) -> impl Iterator<Item = &NicSite> {
        let count = nic_groups(&self.templates[site.template as usize]) as usize;
        let first = site.nic.map_or(0, |n| n as usize - self.nics[n as usize].rail as usize);
        let count = if site.nic.is_some() { count } else { 0 };
        self.nics[first..first + count].iter()
    }

    /// The site's own NIC if it works and lies on a plane, or the next of its node that does.
    fn nic_towards(&self, site: &Site, plane: u32) -> Option<&NicSite> {
        let own = &self.nics[site.nic? as usize];
        let fits = |n: &&NicSite| n.network.is_some() && n.plane == plane;
        if fits(&own) { Some(own) } else { self.nics_of(site).find(fits) }
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
