//! Parts that are slow, cut off or flapping: finds them by name, lowers capacities, takes dead cables out of the routes.

use super::graph::{AcceleratorId, Cable, Fabric, LinkKind, Scale, Vertex};
use super::input::DegradedInput;
use super::tree::Tree;
use crate::diag::{At, Diagnostic, Diagnostics, codes};
use crate::ids::Id;
use petgraph::graph::EdgeIndex;

/// A part by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Accelerator(usize),
    ScaleUp(usize),
    Node(usize),
    Nic(usize, usize),
    /// A switch of a level, and one of its uplinks.
    Switch(u8, usize, Option<usize>),
    Named(&'a str),
}

/// Reads a part's name.
fn part(text: &str) -> Option<Part<'_>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |i: usize| words.get(i).and_then(|w| w.parse::<usize>().ok());
    let level = |word: &str| match word {
        "leaf" => Some(0),
        "spine" => Some(1),
        "core" => Some(2),
        _ => None,
    };
    Some(match words.as_slice() {
        ["accelerator", _] => Part::Accelerator(number(1)?),
        ["accelerator", _, "scale-up"] => Part::ScaleUp(number(1)?),
        ["node", _] => Part::Node(number(1)?),
        ["node", _, "NIC" | "nic", _] => Part::Nic(number(1)?, number(3)?),
        ["switch", name] => Part::Named(name),
        [word, _] => Part::Switch(level(word)?, number(1)?, None),
        [word, _, "uplink", _] if *word != "core" => Part::Switch(level(word)?, number(1)?, Some(number(3)?)),
        _ => return None,
    })
}

/// What is left of a part.
enum Left {
    Capacity(f64),
    Speed(f64),
}

/// What an entry says is left; reports where it says too much or too little.
fn left(input: &At<DegradedInput>, diags: &mut Diagnostics) -> Option<Left> {
    let flapping = match (*input.down_for, *input.every) {
        (Some(down), Some(every)) if down.get() < every.get() => Some(1.0 - down.get() / every.get()),
        (None, None) => None,
        _ => {
            let span = if input.down_for.is_some() { input.down_for.span } else { input.every.span };
            diags.push(Diagnostic::error(codes::CONFLICT, "a flapping port needs `down_for` and a longer `every`").at(span, "here"));
            return None;
        }
    };
    match (*input.capacity, *input.speed, flapping) {
        (Some(c), None, None) => Some(Left::Capacity(c)),
        // Over many flaps a port carries its share of the time that it is up; traffic is on other paths meanwhile.
        (None, None, Some(c)) => Some(Left::Capacity(c)),
        (None, Some(s), None) if s > 0.0 => Some(Left::Speed(s)),
        (None, Some(_), None) => {
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, "an accelerator that stands still never finishes")
                    .at(input.speed.span, "is 0")
                    .hint("take its node out of the cluster"),
            );
            None
        }
        _ => {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "a degraded part has one of `capacity`, `speed`, or `down_for` with `every`")
                    .at(input.part.span, "this part"),
            );
            None
        }
    }
}

impl Fabric {
    /// Applies every entry; reports parts that are not there and nodes that nothing reaches any more.
    pub(super) fn degrade(&mut self, list: &[At<DegradedInput>], names: &[String], diags: &mut Diagnostics) {
        for input in list {
            let Some(left) = left(input, diags) else { continue };
            let known = part(&input.part).filter(|p| self.apply(*p, &left, names));
            if known.is_none() {
                let diagnostic = Diagnostic::error(codes::UNKNOWN_PART, format!("no `{}` that this can be said of", *input.part));
                diags.push(diagnostic.at(input.part.span, "not in this fabric").hint(
                    "capacity: `node 3 NIC 2`, `accelerator 17 scale-up`, `leaf 5`, `leaf 5 uplink 3`, `spine 2`, `spine 2 uplink 1`, `core 0`, `switch NAME`; speed: `accelerator 17`, `node 3`",
                ));
            }
        }
        if !list.is_empty() && self.node_count() > 1 && !diags.has_errors() {
            self.check_reachable(list, diags);
        }
    }

    fn apply(&mut self, part: Part<'_>, left: &Left, names: &[String]) -> bool {
        match (part, left) {
            (Part::Accelerator(a), Left::Speed(s)) if a < self.accelerator_count() => {
                self.speeds.insert(AcceleratorId::from_index(a), *s);
                true
            }
            (Part::Node(n), Left::Speed(s)) if n < self.node_count() => {
                let all = 0..self.accelerator_count();
                let on: Vec<_> = all.map(AcceleratorId::from_index).filter(|&a| self.site(a).node.index() == n).collect();
                on.into_iter().for_each(|a| {
                    self.speeds.insert(a, *s);
                });
                true
            }
            (Part::ScaleUp(a), Left::Capacity(c)) if a < self.accelerator_count() && *c > 0.0 => {
                let vertex = self.graph.node_indices().find(|&v| self.graph[v] == Vertex::Accelerator(AcceleratorId::from_index(a)));
                self.scale_edges(vertex, *c, &[LinkKind::ScaleUp])
            }
            (Part::Nic(node, nic), Left::Capacity(c)) => self.degrade_nic(node, nic, *c),
            (Part::Switch(level, number, uplink), Left::Capacity(c)) => self.degrade_switch(level, number, uplink, *c),
            (Part::Named(name), Left::Capacity(c)) => self.degrade_named(name, names, *c),
            _ => false,
        }
    }

    fn scale_link(&mut self, cable: Cable, share: f64) {
        for link in [cable.up, cable.down] {
            self.graph[EdgeIndex::new(link.index())].capacity *= share;
        }
    }

    /// Scales all links of some kinds at a vertex, both directions.
    fn scale_edges(&mut self, vertex: Option<petgraph::graph::NodeIndex<u32>>, share: f64, kinds: &[LinkKind]) -> bool {
        let Some(vertex) = vertex else { return false };
        let out: Vec<_> = self.graph.edges_directed(vertex, petgraph::Outgoing).map(|e| petgraph::visit::EdgeRef::id(&e)).collect();
        let into: Vec<_> = self.graph.edges_directed(vertex, petgraph::Incoming).map(|e| petgraph::visit::EdgeRef::id(&e)).collect();
        let mut any = false;
        for edge in out.into_iter().chain(into) {
            if kinds.contains(&self.graph[edge].kind) {
                self.graph[edge].capacity *= share;
                any = true;
            }
        }
        any
    }

    fn degrade_nic(&mut self, node: usize, nic: usize, share: f64) -> bool {
        let found = self.sites.iter().find(|s| s.node.index() == node).and_then(|s| s.nic.map(|n| n - self.nics[n as usize].rail));
        let Some(first) = found else { return false };
        let Some(at) = self.nics.get_mut(first as usize + nic).filter(|n| n.rail as usize == nic) else { return false };
        let Some(cable) = at.network else { return true };
        if share == 0.0 {
            at.network = None;
        } else {
            self.scale_link(cable, share);
        }
        true
    }

    fn degrade_switch(&mut self, level: u8, number: usize, uplink: Option<usize>, share: f64) -> bool {
        let Scale::Trees(trees) = &mut self.scale else { return false };
        // Numbers run on from plane to plane.
        let mut number = number;
        let mut plane = 0;
        while plane < trees.len() && number >= trees[plane].switches(level) {
            number -= trees[plane].switches(level);
            plane += 1;
        }
        let Some(tree) = trees.get_mut(plane) else { return false };
        let known = tree.cables_of(level, number, uplink);
        if known.is_empty() && !(level == 0 && uplink.is_none()) {
            return false;
        }
        if share == 0.0 {
            known.iter().for_each(|&(cable, _)| tree.kill(cable));
        }
        // A dead cable of a bundle takes its part of the bundle's capacity along; nothing is routed over a dead link of its own.
        let scaled: Vec<(Cable, f64)> =
            known.iter().map(|&(cable, part)| (tree.cable(cable), (1.0 - part * (1.0 - share)).max(f64::MIN_POSITIVE))).collect();
        for (cable, left) in scaled {
            self.scale_link(cable, left);
        }
        if level == 0 && uplink.is_none() {
            let at: Vec<usize> =
                (0..self.nics.len()).filter(|&n| self.nics[n].leaf as usize == number && self.nics[n].plane as usize == plane).collect();
            for n in at {
                match self.nics[n].network {
                    Some(_) if share == 0.0 => self.nics[n].network = None,
                    Some(cable) => self.scale_link(cable, share),
                    None => {}
                }
            }
        }
        true
    }

    /// A switch of an explicit fabric by its name; dead, it leaves the routes.
    fn degrade_named(&mut self, name: &str, names: &[String], share: f64) -> bool {
        let Some(number) = names.iter().position(|n| n == name) else { return false };
        let vertex = self.graph.node_indices().find(|&v| self.graph[v] == Vertex::Switch(0, number as u32));
        if share > 0.0 {
            return self.scale_edges(vertex, share, &[LinkKind::Leaf, LinkKind::Nic, LinkKind::Spine, LinkKind::Storage]);
        }
        let Scale::Explicit(routes) = &mut self.scale else { return false };
        routes.neighbours[number].clear();
        routes.neighbours.iter_mut().for_each(|list| list.retain(|(n, _)| *n as usize != number));
        for nic in &mut self.nics {
            if nic.leaf as usize == number {
                nic.network = None;
            }
        }
        true
    }

    /// Every node has to reach the first: some NIC of each works, and a path joins them.
    fn check_reachable(&self, list: &[At<DegradedInput>], diags: &mut Diagnostics) {
        let mut first: Option<AcceleratorId> = None;
        let mut last_node = None;
        for a in (0..self.accelerator_count()).map(AcceleratorId::from_index) {
            let node = self.site(a).node;
            if last_node == Some(node) {
                continue;
            }
            last_node = Some(node);
            let root = *first.get_or_insert(a);
            if root != a && !(self.reaches(root, a) && self.reaches(a, root)) {
                diags.push(
                    Diagnostic::error(codes::DISCONNECTED, format!("node {} is cut off by what is degraded", node.0))
                        .at(list[0].part.span, "this list")
                        .hint("leave it a NIC and a path, or take the node out of the cluster"),
                );
                return;
            }
        }
    }

    fn reaches(&self, from: AcceleratorId, to: AcceleratorId) -> bool {
        let mut shares = 0.0;
        self.route(from, to, 0, &mut |l, share| {
            if matches!(self.link(l).kind, LinkKind::Nic | LinkKind::ScaleUp) {
                shares += share;
            }
        });
        shares > 1.5 || self.site(from).domain == self.site(to).domain
    }
}

impl Tree {
    /// Switches of a level.
    pub(super) fn switches(&self, level: u8) -> usize {
        (match level {
            0 => self.leaves,
            1 => self.pods() * self.spines,
            _ => self.cores,
        }) as usize
    }
}
