//! Dragonflies: groups of routers (or of leaves and spines), every group joined to every other by global cables.

use super::connect::nic_link;
use super::graph::{Link, LinkKind, Scale, Template, Vertex};
use super::input::DragonflyInput;
use super::node::{Growing, nic_groups};
use super::route::ExplicitRoutes;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::hardware::{Catalogue, Switch, find};
use petgraph::graph::NodeIndex;

/// Builds the network; `plus` for groups of leaves and spines.
pub(super) fn dragonfly(
    input: &DragonflyInput,
    plus: bool,
    growing: &mut Growing,
    templates: &[Template],
    catalogue: &Catalogue,
    diags: &mut Diagnostics,
) -> Option<(Scale, Option<Switch>)> {
    let switch = find(&catalogue.switches, &input.switch, "switch", diags)?;
    let nics: u64 = templates.iter().map(|t| u64::from(t.nodes) * u64::from(t.nics)).sum();
    let (terminals, routers, global) = (*input.terminals, *input.routers, *input.global_links);
    let in_group = terminals.saturating_mul(routers).min(1 << 40);
    let groups = nics.div_ceil(in_group);
    let wanted = terminals + routers + if plus { 0 } else { global.saturating_sub(1) };
    let spine = routers + global;
    let ports = *switch.ports;
    let mut refuse = |span, message: String, hint: &str| {
        diags.push(Diagnostic::error(codes::BAD_TOPOLOGY, message).at(span, "here").hint(hint));
    };
    if wanted > ports || (plus && spine > ports) {
        refuse(
            input.switch.span,
            format!("{} ports are needed, but a `{}` has {ports}", wanted.max(if plus { spine } else { 0 }), *switch.id),
            "fewer terminals, routers or global_links, or a switch with more ports",
        );
        return None;
    }
    if groups > 1 && routers.saturating_mul(global) < groups - 1 {
        refuse(
            input.global_links.span,
            format!("{groups} groups, but a group has only {} global cables", routers * global),
            "more global_links or larger groups",
        );
        return None;
    }
    let plan = Plan { groups: groups as usize, routers: routers as usize, global: global as usize, plus };
    let mut routes = ExplicitRoutes::new(plan.switches());
    routes.detours = *input.detours;
    let vertices: Vec<_> = (0..plan.switches()).map(|s| growing.graph.add_node(plan.vertex(s))).collect();
    for s in 0..plan.switches() {
        routes.group_of.push((s % (plan.groups * plan.routers) / plan.routers) as u32);
    }
    plan.cables(growing, &mut routes, &vertices, switch);
    for list in &mut routes.neighbours {
        list.sort_unstable();
    }
    plug(growing, templates, terminals as u32, &vertices, switch);
    Some((Scale::Explicit(routes), Some(switch.clone())))
}

struct Plan {
    groups: usize,
    routers: usize,
    global: usize,
    plus: bool,
}

impl Plan {
    /// Routers first, group by group; then, with `plus`, as many spines.
    const fn switches(&self) -> usize {
        self.groups * self.routers * if self.plus { 2 } else { 1 }
    }

    fn vertex(&self, s: usize) -> Vertex {
        let leaves = self.groups * self.routers;
        Vertex::Switch(u8::from(s >= leaves), (s % leaves) as u32)
    }

    /// The switch of group `g` that carries its global cable number `cable`.
    const fn outlet(&self, g: usize, cable: usize) -> usize {
        let router = g * self.routers + cable / self.global;
        if self.plus { router + self.groups * self.routers } else { router }
    }

    fn cables(&self, growing: &mut Growing, routes: &mut ExplicitRoutes, vertices: &[NodeIndex<u32>], switch: &Switch) {
        let (capacity, latency) = (switch.port_bandwidth.get(), switch.latency.get());
        let mut join = |a: usize, b: usize, kind: LinkKind| {
            let pair = growing.cable(vertices[a], vertices[b], Link { capacity, latency, kind });
            routes.neighbours[a].push((b as u32, pair.up));
            routes.neighbours[b].push((a as u32, pair.down));
        };
        let leaves = self.groups * self.routers;
        for g in 0..self.groups {
            let first = g * self.routers;
            for i in 0..self.routers {
                if self.plus {
                    (0..self.routers).for_each(|j| join(first + i, leaves + first + j, LinkKind::Leaf));
                } else {
                    (i + 1..self.routers).for_each(|j| join(first + i, first + j, LinkKind::Leaf));
                }
            }
        }
        if self.groups < 2 {
            return;
        }
        // Every pair of groups gets as many cables as all pairs can have; the rest of the ports stays free.
        let each = self.routers * self.global / (self.groups - 1);
        for g in 0..self.groups {
            for other in g + 1..self.groups {
                for k in 0..each {
                    let here = (other - g - 1) * each + k;
                    let there = (self.groups - 1 - (other - g)) * each + k;
                    join(self.outlet(g, here), self.outlet(other, there), LinkKind::Spine);
                }
            }
        }
    }
}

/// NICs one after the other, `terminals` on a router.
fn plug(growing: &mut Growing, templates: &[Template], terminals: u32, vertices: &[NodeIndex<u32>], switch: &Switch) {
    let (mut at, mut before) = (0, 0);
    for node in 0..growing.node_template.len() {
        let template = &templates[growing.node_template[node] as usize];
        let groups = nic_groups(template);
        for group in 0..groups {
            let router = (before + group * template.nics / groups) / terminals;
            let link = nic_link(template, groups, switch.latency.get());
            let cable = growing.cable(growing.nic_vertices[at], vertices[router as usize], link);
            growing.nics[at].network = Some(cable);
            growing.nics[at].leaf = router;
            at += 1;
        }
        before += template.nics;
    }
}
