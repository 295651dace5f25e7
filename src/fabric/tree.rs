//! Trees of switches: how many leaves, spines and cores, which cable is which link.

use super::graph::{Cable, Link, LinkKind, Vertex};
use super::node::Growing;
use crate::hardware::Switch;
use petgraph::graph::NodeIndex;
use std::collections::BTreeMap;

/// A tree of one, two or three levels.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// Leaf switches.
    pub(super) leaves: u32,
    /// Leaves of a pod (three levels; else all).
    pub(super) pod: u32,
    /// Spine switches of a pod.
    pub(super) spines: u32,
    /// Core switches.
    pub(super) cores: u32,
    /// Cables from a leaf up, as links (1 where they are bundled).
    pub(super) leaf_links: u32,
    /// Cables from a spine up, as links (1 where they are bundled).
    pub(super) spine_links: u32,
    /// Cables from a leaf up.
    pub(super) leaf_cables: u32,
    /// Cables from a spine up.
    pub(super) spine_cables: u32,
    /// Capacity of one cable.
    pub(super) cable_rate: f64,
    /// Leaf uplinks, leaf by leaf.
    pub(super) leaf_up: Vec<Cable>,
    /// Spine uplinks, pod by pod and spine by spine.
    pub(super) spine_up: Vec<Cable>,
    /// Latency of one switch.
    pub(super) switch_latency: f64,
    /// Uplinks that still work, of leaves and of spines (pod by pod) that lost some.
    pub(super) alive_leaf: BTreeMap<u32, Vec<u32>>,
    pub(super) alive_spine: BTreeMap<u32, Vec<u32>>,
}

/// An uplink: of a leaf, or of a spine (pod by pod), and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uplink {
    Leaf(u32, u32),
    Spine(u32, u32),
}

/// What a tree has to carry.
pub(super) struct TreePlan {
    pub(super) levels: u32,
    pub(super) leaf_ports: u32,
    pub(super) oversubscription: f64,
    pub(super) core_oversubscription: f64,
    pub(super) bundled: bool,
}

/// Why a tree cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) needed: u32,
    pub(super) possible: u32,
    pub(super) what: &'static str,
}

/// Down ports of a switch with `ports` ports under an oversubscription.
pub(super) fn down_ports(ports: u64, oversubscription: f64) -> u32 {
    let down = (ports as f64 * oversubscription / (1.0 + oversubscription)).floor();
    (down as u32).clamp(1, (ports as u32).saturating_sub(1).max(1))
}

impl Tree {
    /// Plans a tree of `leaves` leaves of which the fullest serves `leaf_ports` NICs.
    pub(super) fn plan(plan: &TreePlan, leaves: u32, switch: &Switch) -> Result<Self, TooLarge> {
        let ports = (*switch.ports).min(1 << 16) as u32;
        let up =
            if plan.levels > 1 && leaves > 1 { ((f64::from(plan.leaf_ports) / plan.oversubscription).ceil() as u32).max(1) } else { 0 };
        let mut tree = Self {
            leaves,
            pod: leaves,
            spines: 0,
            cores: 0,
            leaf_links: if plan.bundled { up.min(1) } else { up },
            spine_links: 0,
            leaf_cables: up,
            spine_cables: 0,
            cable_rate: switch.port_bandwidth.get(),
            leaf_up: Vec::new(),
            spine_up: Vec::new(),
            switch_latency: switch.latency.get(),
            alive_leaf: BTreeMap::new(),
            alive_spine: BTreeMap::new(),
        };
        if up == 0 {
            return Ok(tree);
        }
        if plan.levels == 2 {
            if leaves > ports {
                return Err(TooLarge { needed: leaves, possible: ports, what: "leaf switches under two levels" });
            }
            tree.spines = (leaves * up).div_ceil(ports);
            return Ok(tree);
        }
        let down = down_ports(u64::from(ports), plan.core_oversubscription);
        tree.pod = down.min(leaves);
        let pods = leaves.div_ceil(tree.pod);
        if pods > ports {
            return Err(TooLarge { needed: pods, possible: ports, what: "pods under three levels" });
        }
        tree.spines = (tree.pod * up).div_ceil(down);
        if pods > 1 {
            let spine_down = (tree.pod * up).div_ceil(tree.spines);
            tree.spine_cables = ((f64::from(spine_down) / plan.core_oversubscription).ceil() as u32).max(1);
            tree.spine_links = if plan.bundled { 1 } else { tree.spine_cables };
            tree.cores = (pods * tree.spines * tree.spine_cables).div_ceil(ports);
        }
        if plan.bundled && pods > 1 {
            // The spines of a pod are one layer; its uplinks are one bundle.
            tree.spine_cables *= tree.spines;
        }
        Ok(tree)
    }

    /// Pods of the tree.
    pub(super) fn pods(&self) -> u32 {
        self.leaves.div_ceil(self.pod.max(1)).max(1)
    }

    /// Spine vertices of a pod: one for a bundled layer.
    fn spine_vertices(&self) -> u32 {
        if self.leaf_links <= 1 { self.spines.min(1) } else { self.spines }
    }

    /// The spine that a leaf's cable goes to.
    pub(super) fn spine_of(&self, cable: u32) -> u32 {
        cable % self.spine_vertices().max(1)
    }

    /// Adds switches and cables to the graph; returns the leaf vertices.
    pub(super) fn grow(&mut self, plane: u32, growing: &mut Growing) -> Vec<NodeIndex<u32>> {
        let leaves: Vec<_> = (0..self.leaves).map(|l| growing.graph.add_node(Vertex::Switch(0, plane * self.leaves + l))).collect();
        let (pods, per_pod) = (self.pods(), self.spine_vertices());
        let spines: Vec<_> = (0..pods * per_pod).map(|s| growing.graph.add_node(Vertex::Switch(1, plane * pods * per_pod + s))).collect();
        let bundle = |cables: u32, links: u32| f64::from(cables) / f64::from(links.max(1)) * self.cable_rate;
        let latency = self.switch_latency;
        let leaf_link = Link { capacity: bundle(self.leaf_cables, self.leaf_links), latency, kind: LinkKind::Leaf };
        for l in 0..self.leaves {
            for c in 0..self.leaf_links {
                let spine = spines[(l / self.pod * per_pod + self.spine_of(c)) as usize];
                let cable = growing.cable(leaves[l as usize], spine, leaf_link);
                self.leaf_up.push(cable);
            }
        }
        if self.spine_links > 0 {
            let count = if per_pod == 1 { 1 } else { self.cores };
            let cores: Vec<_> = (0..count).map(|c| growing.graph.add_node(Vertex::Switch(2, plane * count + c))).collect();
            let spine_link = Link { capacity: bundle(self.spine_cables, self.spine_links), latency, kind: LinkKind::Spine };
            for s in 0..pods * per_pod {
                for c in 0..self.spine_links {
                    let core = cores[((s % per_pod * self.spine_links + c) as usize) % cores.len()];
                    let cable = growing.cable(spines[s as usize], core, spine_link);
                    self.spine_up.push(cable);
                }
            }
        }
        leaves
    }

    /// Whether parallel cables are one link.
    pub(super) const fn is_bundled(&self) -> bool {
        self.leaf_links <= 1
    }

    /// The uplinks that a switch, or one cable of it, stands for, each with the part of the link that it is. Empty where there is none.
    pub(super) fn cables_of(&self, level: u8, number: usize, uplink: Option<usize>) -> Vec<(Uplink, f64)> {
        let (number, per_pod) = (number as u32, self.spine_vertices());
        let leaves = |pod: u32| pod * self.pod..((pod + 1) * self.pod).min(self.leaves);
        let all = 0..self.pods() * per_pod;
        let wanted = |c: u32, count: u32| uplink.map_or(c < count, |u| u == c as usize);
        let of_bundle = |count: u32| match uplink {
            Some(u) if u as u32 >= count => None,
            Some(_) => Some(1.0 / f64::from(count)),
            None => Some(1.0),
        };
        match (level, self.is_bundled()) {
            (0, false) => (0..self.leaf_links).filter(|&c| wanted(c, self.leaf_links)).map(|c| (Uplink::Leaf(number, c), 1.0)).collect(),
            (0, true) if self.leaf_links == 0 => Vec::new(),
            (0, true) => of_bundle(self.leaf_cables).map(|part| (Uplink::Leaf(number, 0), part)).into_iter().collect(),
            (1, false) => {
                let own = (0..self.spine_links).filter(|&c| wanted(c, self.spine_links)).map(|c| (Uplink::Spine(number, c), 1.0));
                let below = leaves(number / per_pod.max(1)).flat_map(|l| (0..self.leaf_links).map(move |c| (l, c)));
                let below = below.filter(|&(_, c)| uplink.is_none() && self.spine_of(c) == number % per_pod.max(1));
                own.chain(below.map(|(l, c)| (Uplink::Leaf(l, c), 1.0))).collect()
            }
            (1, true) => {
                let pod = number / self.spines.max(1);
                let up = (self.spine_links > 0).then(|| match uplink {
                    Some(_) => (Uplink::Spine(pod, 0), 1.0 / f64::from(self.spine_cables)),
                    None => (Uplink::Spine(pod, 0), 1.0 / f64::from(self.spines)),
                });
                let below = leaves(pod).filter(|_| uplink.is_none()).map(|l| (Uplink::Leaf(l, 0), 1.0 / f64::from(self.spines)));
                up.into_iter().chain(below).collect()
            }
            (_, true) if self.spine_links > 0 => all.map(|p| (Uplink::Spine(p, 0), 1.0 / f64::from(self.cores))).collect(),
            (_, false) => all
                .flat_map(|s| (0..self.spine_links).map(move |c| (s, c)))
                .filter(|&(s, c)| (s % per_pod.max(1) * self.spine_links + c) % self.cores.max(1) == number)
                .map(|(s, c)| (Uplink::Spine(s, c), 1.0))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Takes an uplink out of the routes, where it is a link of its own.
    pub(super) fn kill(&mut self, uplink: Uplink) {
        if self.is_bundled() {
            return;
        }
        let (map, key, cable, count) = match uplink {
            Uplink::Leaf(leaf, cable) => (&mut self.alive_leaf, leaf, cable, self.leaf_links),
            Uplink::Spine(spine, cable) => (&mut self.alive_spine, spine, cable, self.spine_links),
        };
        map.entry(key).or_insert_with(|| (0..count).collect()).retain(|&c| c != cable);
    }

    /// The cable of an uplink.
    pub(super) fn cable(&self, uplink: Uplink) -> Cable {
        match uplink {
            Uplink::Leaf(leaf, cable) => self.leaf_cable(leaf, cable),
            Uplink::Spine(spine, cable) => self.spine_up[(spine * self.spine_links + cable) as usize],
        }
    }

    /// One of the uplinks that two leaves can use together.
    pub(super) fn pick_leaf(&self, a: u32, b: u32, pick: u64) -> u32 {
        Self::pick(&self.alive_leaf, a, b, self.leaf_links, pick)
    }

    /// One of the uplinks that the same spine of two pods can use together.
    pub(super) fn pick_spine(&self, pods: (u32, u32), spine: u32, pick: u64) -> u32 {
        let at = |pod: u32| pod * self.spine_vertices() + spine;
        Self::pick(&self.alive_spine, at(pods.0), at(pods.1), self.spine_links, pick)
    }

    fn pick(alive: &BTreeMap<u32, Vec<u32>>, a: u32, b: u32, count: u32, pick: u64) -> u32 {
        let whole = (pick % u64::from(count)) as u32;
        if alive.is_empty() {
            return whole;
        }
        let (a, b) = (alive.get(&a), alive.get(&b));
        let common: Vec<u32> = match (a, b) {
            (None, None) => return whole,
            (Some(a), None) | (None, Some(a)) => a.clone(),
            (Some(a), Some(b)) => a.iter().copied().filter(|c| b.contains(c)).collect(),
        };
        if common.is_empty() { whole } else { common[(pick % common.len() as u64) as usize] }
    }

    /// The uplink of a leaf.
    pub(super) fn leaf_cable(&self, leaf: u32, cable: u32) -> Cable {
        self.leaf_up[(leaf * self.leaf_links + cable) as usize]
    }

    /// The uplink of a spine of a pod.
    pub(super) fn spine_cable(&self, pod: u32, spine: u32, cable: u32) -> Cable {
        self.spine_up[((pod * self.spine_vertices() + spine) * self.spine_links + cable) as usize]
    }
}
