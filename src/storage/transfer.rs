//! Reads and writes of many nodes at once as one activity: all of them begin together, the slowest sets the end.
//!
//! As with collectives, what one byte of the whole puts on each link is summed over the exact paths of all clients; the rate is the
//! least of what any link, any client and the limits of the tier allow. So the cost follows the number of paths, and no average is taken.

use super::service::{Direction, client_rate, request_cost, store_rate, stream_rate};
use crate::fabric::{AcceleratorId, Fabric, LinkId, LinkKind, TierId};
use crate::ids::Id;

/// Somebody who reads or writes: the accelerator whose host memory is the near end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Client {
    /// Where it sits.
    pub at: AcceleratorId,
    /// Bytes.
    pub bytes: f64,
    /// Files that these bytes are.
    pub files: f64,
}

/// One activity over many links.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// Bytes of all clients.
    pub bytes: f64,
    /// Load of every link for one byte of the whole, by link.
    pub traffic: Vec<(LinkId, f64)>,
    /// Greatest rate of the whole that clients and tier allow, bytes per second.
    pub cap: f64,
    /// Seconds before and after bytes flow: path, first request, opening and committing of files.
    pub overhead_s: f64,
}

impl Transfer {
    /// Nothing to move.
    #[must_use]
    pub const fn none() -> Self {
        Self { bytes: 0.0, traffic: Vec::new(), cap: f64::INFINITY, overhead_s: 0.0 }
    }
    /// Bytes per second of the whole on an idle fabric.
    #[must_use]
    pub fn rate(&self, fabric: &Fabric) -> f64 {
        self.traffic.iter().map(|&(link, load)| fabric.link(link).capacity / load).fold(self.cap, f64::min)
    }
    /// Seconds of the whole on an idle fabric.
    #[must_use]
    pub fn time(&self, fabric: &Fabric) -> f64 {
        if self.bytes > 0.0 { self.overhead_s + self.bytes / self.rate(fabric) } else { 0.0 }
    }
    /// What sets the rate on an idle fabric, in words.
    #[must_use]
    pub fn bottleneck(&self, fabric: &Fabric) -> &'static str {
        let slowest = self.traffic.iter().min_by(|a, b| {
            let rate = |x: &(LinkId, f64)| fabric.link(x.0).capacity / x.1;
            rate(a).total_cmp(&rate(b)).then(a.0.cmp(&b.0))
        });
        match slowest {
            Some(&(link, load)) if fabric.link(link).capacity / load < self.cap => fabric.link(link).kind.name(),
            _ => "clients or request limits",
        }
    }
}

/// Sums loads by link.
struct Loads {
    by_link: Vec<f64>,
}

impl Loads {
    fn new(fabric: &Fabric) -> Self {
        Self { by_link: vec![0.0; fabric.link_count()] }
    }
    /// Loads for one byte of `total`.
    fn traffic(self, total: f64) -> Vec<(LinkId, f64)> {
        let loaded = self.by_link.into_iter().enumerate().filter(|(_, load)| *load > 0.0);
        loaded.map(|(i, load)| (LinkId::from_index(i), load / total)).collect()
    }
}

/// Bytes of each node: clients of a node share its client software.
fn greatest_node(fabric: &Fabric, clients: &[Client]) -> f64 {
    let mut by_node = vec![0.0; fabric.node_count()];
    for client in clients {
        by_node[fabric.site(client.at).node.index()] += client.bytes;
    }
    by_node.into_iter().fold(0.0, f64::max)
}

/// All clients read from or write to a tier in requests of `request` bytes; `None` where one of them has no way there.
#[must_use]
pub fn transfer(fabric: &Fabric, tier: TierId, direction: Direction, clients: &[Client], request: f64) -> Option<Transfer> {
    let total: f64 = clients.iter().map(|c| c.bytes).sum();
    if total <= 0.0 {
        return Some(Transfer::none());
    }
    let part = fabric.tier(tier);
    let cost = request_cost(part, direction, request);
    let servers = fabric.server_count(tier);
    let mut loads = Loads::new(fabric);
    let mut latency = 0.0f64;
    let mut file = 0u32;
    for client in clients {
        let files = (client.files.ceil().min(f64::from(servers)) as u32).max(1);
        let ways = (files * part.stripes).min(servers).max(1);
        let share = client.bytes / f64::from(ways);
        for way in 0..ways {
            let server = (file + way) % servers;
            let visit = &mut |link: LinkId, of: f64| {
                let served = matches!(fabric.link(link).kind, LinkKind::Storage | LinkKind::Drive);
                loads.by_link[link.index()] += share * of * if served { cost } else { 1.0 };
            };
            latency = latency.max(fabric.storage_route(client.at, tier, server, direction == Direction::Write, visit)?);
        }
        file = (file + ways) % servers;
    }
    let files: f64 = clients.iter().map(|c| c.files).sum();
    let most = greatest_node(fabric, clients);
    let cap = (client_rate(part, direction, request, total / files) * total / most).min(store_rate(part, direction, request));
    Some(Transfer { bytes: total, traffic: loads.traffic(total), cap, overhead_s: latency + part.latency + files / part.metadata_rate })
}

/// All clients copy between their accelerators and host memory at no more than `each` bytes per second.
#[must_use]
pub fn copy(fabric: &Fabric, clients: &[Client], to_host: bool, each: f64) -> Transfer {
    let total: f64 = clients.iter().map(|c| c.bytes).sum();
    if total <= 0.0 {
        return Transfer::none();
    }
    let mut loads = Loads::new(fabric);
    let mut latency = 0.0f64;
    for client in clients {
        let visit = &mut |link: LinkId, of: f64| loads.by_link[link.index()] += client.bytes * of;
        latency = latency.max(fabric.copy_route(client.at, to_host, visit));
    }
    let most = clients.iter().map(|c| c.bytes).fold(0.0, f64::max);
    Transfer { bytes: total, traffic: loads.traffic(total), cap: each * total / most, overhead_s: latency }
}

/// Every client sends its bytes from host memory to that of another node, `stride` nodes on; `None` where there is no other node or way.
#[must_use]
pub fn exchange(fabric: &Fabric, clients: &[Client], stride: usize, back: bool) -> Option<Transfer> {
    let total: f64 = clients.iter().map(|c| c.bytes).sum();
    let count = fabric.accelerator_count();
    let per_node = fabric.accelerators_per_node(fabric.site(AcceleratorId(0)).node) as usize;
    if fabric.node_count() < 2 {
        return None;
    }
    if total <= 0.0 {
        return Some(Transfer::none());
    }
    let mut loads = Loads::new(fabric);
    let mut latency = 0.0f64;
    for client in clients {
        let peer = AcceleratorId::from_index((client.at.index() + stride * per_node) % count);
        let visit = &mut |link: LinkId, of: f64| loads.by_link[link.index()] += client.bytes * of;
        let (from, to) = if back { (peer, client.at) } else { (client.at, peer) };
        latency = latency.max(fabric.memory_route(from, to, visit)?);
    }
    Some(Transfer { bytes: total, traffic: loads.traffic(total), cap: f64::INFINITY, overhead_s: latency })
}

/// A tier's servers copy bytes to those of another one, which may lie in another region: the nodes and their network carry nothing. As many
/// requests are in flight as one node has, from each server. `None` where there is no way between their servers.
#[must_use]
pub fn replicate(fabric: &Fabric, near: TierId, far: TierId, bytes: f64) -> Option<Transfer> {
    if bytes <= 0.0 {
        return Some(Transfer::none());
    }
    let (from, to) = (fabric.tier(near), fabric.tier(far));
    let (sources, targets) = (fabric.server_count(near), fabric.server_count(far));
    let ways = sources.max(targets);
    let (read, written) = (request_cost(from, Direction::Read, from.request), request_cost(to, Direction::Write, to.request));
    let mut loads = Loads::new(fabric);
    let mut latency = 0.0f64;
    for way in 0..ways {
        let mut sent = false;
        let visit = &mut |link: LinkId, of: f64| {
            let served = fabric.link(link).kind == LinkKind::Storage;
            let cost = if !served {
                1.0
            } else if sent {
                written
            } else {
                read
            };
            sent |= served;
            loads.by_link[link.index()] += bytes / f64::from(ways) * of * cost;
        };
        latency = latency.max(fabric.replica_route((near, way % sources), (far, way % targets), visit)?);
    }
    let streams = f64::from(sources) * to.depth * stream_rate(to, to.request);
    let cap = streams.min(store_rate(from, Direction::Read, from.request)).min(store_rate(to, Direction::Write, to.request));
    Some(Transfer { bytes, traffic: loads.traffic(bytes), cap, overhead_s: latency + from.latency + to.latency })
}
