//! Routes between accelerators: every link of the path with the share of the flow that it carries.

use super::graph::{AcceleratorId, Domain, DomainKind, Fabric, LinkId, NicSite, Scale, Site};
use super::input::PathPolicy;
use super::node::nic_groups;
use super::tree::Tree;
use crate::ids::Id;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The switches of an explicit fabric, with distances to destinations that were asked for.
#[derive(Debug, Default)]
pub(super) struct ExplicitRoutes {
    /// For every switch its neighbours in order: (switch, link to it).
    pub(super) neighbours: Vec<Vec<(u32, LinkId)>>,
    distances: Mutex<FxHashMap<u32, Arc<Vec<u32>>>>,
    /// Share of the traffic between groups that detours over a third one (dragonflies).
    pub(super) detours: f64,
    /// Group of every switch (dragonflies).
    pub(super) group_of: Vec<u32>,
}

impl Clone for ExplicitRoutes {
    /// Distances that were asked for are found again.
    fn clone(&self) -> Self {
        Self { neighbours: self.neighbours.clone(), distances: Mutex::default(), detours: self.detours, group_of: self.group_of.clone() }
    }
}

impl ExplicitRoutes {
    /// Switches without cables yet.
    pub(super) fn new(switches: usize) -> Self {
        Self { neighbours: vec![Vec::new(); switches], ..Self::default() }
    }

    /// Hops from every switch to `to`; `u32::MAX` where there is no way.
    pub(super) fn distances(&self, to: u32) -> Arc<Vec<u32>> {
        let mut cache = self.distances.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cache.entry(to).or_insert_with(|| {
            let mut distance = vec![u32::MAX; self.neighbours.len()];
            distance[to as usize] = 0;
            let mut queue = VecDeque::from([to]);
            while let Some(at) = queue.pop_front() {
                // Cables go both ways, so the neighbours of a switch are also those that reach it.
                for &(next, _) in &self.neighbours[at as usize] {
                    if distance[next as usize] == u32::MAX {
                        distance[next as usize] = distance[at as usize] + 1;
                        queue.push_back(next);
                    }
                }
            }
            Arc::new(distance)
        }))
    }
}

/// A well-mixed 64-bit hash of the words of a flow (splitmix64 steps).
fn hash(words: [u64; 4]) -> u64 {
    words.into_iter().fold(HASH, mixed)
}

/// The hash of no words.
const HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash with one more word.
#[inline]
const fn mixed(state: u64, word: u64) -> u64 {
    let state = state.wrapping_add(word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

struct Visitor<'a, F: ?Sized> {
    fabric: &'a Fabric,
    visit: &'a mut F,
    latency: f64,
}

impl<F: FnMut(LinkId, f64) + ?Sized> Visitor<'_, F> {
    /// A hop that the whole path crosses.
    fn hop(&mut self, link: LinkId) {
        self.latency += self.fabric.latencies.of(link);
        (self.visit)(link, 1.0);
    }
    /// Parallel links of one hop; they have the same latency, which counts once.
    fn share(&mut self, link: LinkId, share: f64, counts: bool) {
        if counts {
            self.latency += self.fabric.latencies.of(link);
        }
        (self.visit)(link, share);
    }
}

impl Fabric {
    /// Visits every link that a flow loads with the share of the flow that it carries (the shares of one hop sum to 1) and
    /// returns the latency of the path in seconds: hops and, across the network, both NICs. `flow` tells apart flows
    /// between the same two accelerators where paths are hashed.
    pub fn route<F: FnMut(LinkId, f64) + ?Sized>(&self, from: AcceleratorId, to: AcceleratorId, flow: u64, visit: &mut F) -> f64 {
        let (a, b) = (&self.sites[from.index()], &self.sites[to.index()]);
        let mut v = Visitor { fabric: self, visit, latency: 0.0 };
        if from == to {
            return 0.0;
        }
        if a.domain == b.domain && self.scale_up_route(a, b, &mut v) {
            return v.latency;
        }
        if a.node == b.node {
            v.hop(a.pcie.up);
            self.between_switches(a, a.pcie_switch, b.pcie_switch, &mut v);
            v.hop(b.pcie.down);
            return v.latency;
        }
        self.network_route((from, to), hash([u64::from(a.own.0), u64::from(b.own.0), flow, self.salt]), &mut v);
        v.latency
    }

    /// Routes inside a scale-up domain; false where the two have no way inside it.
    fn scale_up_route<F: FnMut(LinkId, f64) + ?Sized>(&self, a: &Site, b: &Site, v: &mut Visitor<'_, F>) -> bool {
        let domain = &self.domains[a.domain.index()];
        let (i, j) = ((a.own.0 - domain.first.0) as usize, (b.own.0 - domain.first.0) as usize);
        match domain.kind {
            DomainKind::Switched => {
                let (Some(up), Some(down)) = (a.scale_up, b.scale_up) else { return false };
                v.hop(up.up);
                v.hop(down.down);
                true
            }
            DomainKind::CubeMesh | DomainKind::FullMesh => {
                let Some(link) = domain.direct[i * domain.width + j] else { return false };
                v.hop(link);
                true
            }
            DomainKind::Torus => torus_route(domain, i, j, v),
            DomainKind::Pcie => false,
        }
    }

    /// From one PCIe switch of a node to another, over CPU sockets.
    fn between_switches<F: FnMut(LinkId, f64) + ?Sized>(&self, site: &Site, from: u8, to: u8, v: &mut Visitor<'_, F>) {
        if from == to {
            return;
        }
        let inside = &self.inside[site.node.index()];
        let (up, from_socket) = inside.switches[from as usize];
        let (down, to_socket) = inside.switches[to as usize];
        v.hop(up.up);
        if from_socket != to_socket
            && let Some(link) = inside.sockets[from_socket as usize * inside.socket_count as usize + to_socket as usize]
        {
            v.hop(link);
        }
        v.hop(down.down);
    }

    /// The NIC that a site uses towards a rail: its own, or the next one of its node that works and lies on the rail's plane.
    fn nic_of(&self, site: &Site, towards: Option<&NicSite>) -> Option<&NicSite> {
        let own = &self.nics[site.nic? as usize];
        let fits = |n: &&NicSite| n.network.is_some() && towards.is_none_or(|t| t.plane == n.plane);
        if fits(&own) {
            return Some(own);
        }
        let first = (site.nic? - own.rail) as usize;
        let count = nic_groups(&self.templates[site.template as usize]) as usize;
        let turn = towards.map_or(own.rail, |t| t.rail) as usize;
        (0..count).map(|i| &self.nics[first + (turn + i) % count]).find(fits)
    }

    /// The rank of a site's node on another rail, that passes messages on over the scale-up switch.
    fn proxy(&self, site: &Site, from: AcceleratorId, rail: u32) -> Option<AcceleratorId> {
        let template = &self.templates[site.template as usize];
        let local = rail * template.accelerators / nic_groups(template).max(1);
        let proxy = self.standing(AcceleratorId(site.own.0 - site.local + local));
        let there = &self.sites[proxy.index()];
        let works = there.nic.is_some_and(|n| self.nics[n as usize].network.is_some() && self.nics[n as usize].rail == rail);
        (works && proxy != from && there.domain == site.domain && there.scale_up.is_some()).then_some(proxy)
    }

    fn network_route<F: FnMut(LinkId, f64) + ?Sized>(&self, ends: (AcceleratorId, AcceleratorId), flow: u64, v: &mut Visitor<'_, F>) {
        let (mut a, b) = (&self.sites[ends.0.index()], &self.sites[ends.1.index()]);
        let Some(into) = self.nic_of(b, None) else { return };
        let own_rail = a.nic.map(|n| self.nics[n as usize].rail);
        if self.pxn
            && own_rail != Some(into.rail)
            && let Some(proxy) = self.proxy(a, ends.0, into.rail)
            && let (Some(up), Some(down)) = (a.scale_up, self.sites[proxy.index()].scale_up)
        {
            v.hop(up.up);
            v.hop(down.down);
            a = &self.sites[proxy.index()];
        }
        let Some(out) = self.nic_of(a, Some(into)) else { return };
        let (Some(leave), Some(arrive)) = (out.network, into.network) else { return };
        v.hop(a.pcie.up);
        self.between_switches(a, a.pcie_switch, out.pcie_switch, v);
        v.hop(out.pcie.down);
        v.hop(leave.up);
        match &self.scale {
            Scale::Trees(trees) => self.tree_route(&trees[into.plane as usize], (out.leaf, into.leaf), flow, u64::from(b.own.0), v),
            Scale::Explicit(routes) => self.detoured_route(routes, out.leaf, into.leaf, flow, v),
            Scale::None => {}
        }
        v.hop(arrive.down);
        v.hop(into.pcie.up);
        self.between_switches(b, into.pcie_switch, b.pcie_switch, v);
        v.hop(b.pcie.down);
        v.latency += out.latency + into.latency;
    }

    /// From one leaf (or explicit switch) of a plane to another; returns the latency in seconds.
    pub(super) fn leaf_route(
        &self,
        plane: u32,
        leaves: (u32, u32),
        words: [u64; 4],
        destination: u64,
        visit: &mut dyn FnMut(LinkId, f64),
    ) -> f64 {
        let mut v = Visitor { fabric: self, visit, latency: 0.0 };
        let flow = hash([words[0], words[1], words[2] << 8 | words[3], self.salt]);
        match &self.scale {
            Scale::Trees(trees) => self.tree_route(&trees[plane as usize], leaves, flow, destination, &mut v),
            Scale::Explicit(routes) => self.detoured_route(routes, leaves.0, leaves.1, flow, &mut v),
            Scale::None => {}
        }
        v.latency
    }

    /// Up and down a tree; the way down mirrors the way up, as the same spine and core serve both leaves.
    fn tree_route<F: FnMut(LinkId, f64) + ?Sized>(
        &self,
        tree: &Tree,
        leaves: (u32, u32),
        flow: u64,
        destination: u64,
        v: &mut Visitor<'_, F>,
    ) {
        let (out, into) = leaves;
        if out == into || tree.leaf_links == 0 {
            return;
        }
        let (from_pod, to_pod) = (out / tree.pod, into / tree.pod);
        let hashed = self.policy == PathPolicy::Ecmp;
        let paths = if hashed { self.queue_pairs } else { 1 };
        let crosses = from_pod != to_pod && tree.spine_links > 0;
        let share = 1.0 / paths as f64;
        // Parallel paths have the same latency, which counts once.
        v.latency += tree.switch_latency * if crosses { 4.0 } else { 2.0 };
        let of_flow = mixed(HASH, flow);
        for path in 0..paths {
            let of_path = mixed(of_flow, path);
            let pick = match self.policy {
                PathPolicy::Adaptive | PathPolicy::Spray => 0,
                PathPolicy::Static => destination,
                PathPolicy::Ecmp => mixed(mixed(of_path, 1), 0),
            };
            let cable = tree.pick_leaf(out, into, pick);
            (v.visit)(tree.leaf_cable(out, cable).up, share);
            if crosses {
                let spine = tree.spine_of(cable);
                let again = if hashed { mixed(mixed(of_path, 2), 0) } else { pick / u64::from(tree.leaf_links) };
                let high = tree.pick_spine((from_pod, to_pod), spine, again);
                (v.visit)(tree.spine_cable(from_pod, spine, high).up, share);
                (v.visit)(tree.spine_cable(to_pod, spine, high).down, share);
            }
            (v.visit)(tree.leaf_cable(into, cable).down, share);
        }
    }

    /// An explicit route, part of which goes over third groups of a dragonfly.
    fn detoured_route<F: FnMut(LinkId, f64) + ?Sized>(
        &self,
        routes: &ExplicitRoutes,
        from: u32,
        to: u32,
        flow: u64,
        v: &mut Visitor<'_, F>,
    ) {
        let group = |s: u32| routes.group_of.get(s as usize).copied();
        let groups = routes.group_of.iter().max().map_or(1, |g| g + 1);
        if routes.detours == 0.0 || groups < 3 || group(from) == group(to) {
            return self.explicit_route(routes, (from, to), flow, (1.0, true), v);
        }
        self.explicit_route(routes, (from, to), flow, (1.0 - routes.detours, true), v);
        // A few hashed third groups stand for all.
        const THIRDS: u64 = 4;
        let size = routes.group_of.iter().filter(|g| **g == 0).count() as u64;
        for k in 0..THIRDS {
            let mut third = (hash([flow, k, 5, self.salt]) % u64::from(groups)) as u32;
            while Some(third) == group(from) || Some(third) == group(to) {
                third = (third + 1) % groups;
            }
            let pick = hash([flow, k, 6, self.salt]) % size;
            let through = (0..routes.group_of.len() as u32).filter(|&s| group(s) == Some(third)).nth(pick as usize).unwrap_or(from);
            let share = routes.detours / THIRDS as f64;
            self.explicit_route(routes, (from, through), flow, (share, false), v);
            self.explicit_route(routes, (through, to), flow, (share, false), v);
        }
    }

    /// Along all shortest paths of an explicit fabric, or one for each hashed queue pair.
    fn explicit_route<F: FnMut(LinkId, f64) + ?Sized>(
        &self,
        routes: &ExplicitRoutes,
        ends: (u32, u32),
        flow: u64,
        part: (f64, bool),
        v: &mut Visitor<'_, F>,
    ) {
        let (from, to) = ends;
        let (whole, counts) = part;
        let distance = routes.distances(to);
        let paths = match self.policy {
            PathPolicy::Ecmp => self.queue_pairs,
            _ => 1,
        };
        for path in 0..paths {
            let mut layer = vec![(from, whole / paths as f64)];
            while let Some(&(at, _)) = layer.first().filter(|l| l.0 != to) {
                let hops = distance[at as usize];
                let mut next: Vec<(u32, f64)> = Vec::new();
                let mut counted = path > 0 || !counts;
                for &(at, share) in &layer {
                    let ways: Vec<_> = routes.neighbours[at as usize].iter().filter(|(n, _)| distance[*n as usize] < hops).collect();
                    if ways.is_empty() {
                        return;
                    }
                    let (taken, each) = match self.policy {
                        PathPolicy::Adaptive | PathPolicy::Spray => (&ways[..], share / ways.len() as f64),
                        PathPolicy::Static => (&ways[to as usize % ways.len()..][..1], share),
                        PathPolicy::Ecmp => (&ways[(hash([flow, path, u64::from(hops), 3]) % ways.len() as u64) as usize..][..1], share),
                    };
                    for &&(n, link) in taken {
                        v.share(link, each, !counted);
                        counted = true;
                        match next.iter_mut().find(|x| x.0 == n) {
                            Some(x) => x.1 += each,
                            None => next.push((n, each)),
                        }
                    }
                }
                layer = next;
            }
        }
    }
}

/// Dimension by dimension, each the shorter way around.
fn torus_route<F: FnMut(LinkId, f64) + ?Sized>(domain: &Domain, from: usize, to: usize, v: &mut Visitor<'_, F>) -> bool {
    let mut at = from;
    let mut stride = 1;
    for (dimension, &side) in domain.torus.iter().enumerate() {
        let side = side as usize;
        let goal = to / stride % side;
        loop {
            let here = at / stride % side;
            if here == goal {
                break;
            }
            let ahead = (goal + side - here) % side;
            // An open line has no way around.
            let forward = if domain.wrap { ahead * 2 <= side } else { here < goal };
            let Some(link) = domain.direct[at * domain.width + dimension * 2 + usize::from(!forward)] else { return false };
            v.hop(link);
            let next = if forward { (here + 1) % side } else { (here + side - 1) % side };
            at = at + next * stride - here * stride;
        }
        stride *= side;
    }
    true
}
