//! The network between nodes: trees in one or several planes, one switch, dragonflies, explicit cables.

use super::dragonfly::dragonfly;
use super::explicit::explicit;
use super::graph::{Link, LinkKind, Scale, Template};
use super::input::{FabricInput, NoFabric, SingleInput, TopologyInput, TreeInput};
use super::node::{Growing, nic_groups};
use super::tree::{Tree, TreePlan, down_ports};
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::hardware::{Catalogue, Switch, find};

/// What the network is made of, and the switch where there is one kind.
type Connected = Option<(Scale, Option<Switch>)>;

/// How NICs are dealt out to leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dealing {
    /// Consecutive NICs share a leaf.
    Consecutive,
    /// NIC r of many nodes share a leaf.
    Rails,
    /// The same, and every rail is a network of its own.
    RailsApart,
}

impl TopologyInput {
    /// Adds the network between nodes.
    pub(super) fn connect(
        &self,
        growing: &mut Growing,
        templates: &[Template],
        catalogue: &Catalogue,
        diags: &mut Diagnostics,
    ) -> Connected {
        let several = templates.iter().map(|t| t.nodes).sum::<u32>() > 1;
        if several && !matches!(&*self.fabric, FabricInput::None(_)) && !self.all_have_nics(templates, diags) {
            return None;
        }
        match &*self.fabric {
            FabricInput::None(input) => Self::none(input, several, growing, diags),
            FabricInput::Single(input) => Self::single(input, growing, templates, catalogue, diags),
            FabricInput::FatTree(input) => self.tree(input, Dealing::Consecutive, growing, templates, catalogue, diags),
            FabricInput::Rail(input) => self.tree(input, Dealing::Rails, growing, templates, catalogue, diags),
            FabricInput::RailOnly(input) => self.tree(input, Dealing::RailsApart, growing, templates, catalogue, diags),
            FabricInput::Dragonfly(input) => dragonfly(input, false, growing, templates, catalogue, diags),
            FabricInput::DragonflyPlus(input) => dragonfly(input, true, growing, templates, catalogue, diags),
            FabricInput::Explicit(input) => explicit(input, growing, templates, diags).map(|routes| (Scale::Explicit(routes), None)),
        }
    }

    fn all_have_nics(&self, templates: &[Template], diags: &mut Diagnostics) -> bool {
        for (template, input) in templates.iter().zip(&self.node.value) {
            if template.nics == 0 {
                let message = format!("the nodes `{}` have no NIC, so nothing connects them", template.name);
                diags.push(Diagnostic::error(codes::DISCONNECTED, message).at(input.name.span, "no NICs").hint("give `nic` and `nics`"));
                return false;
            }
        }
        true
    }

    fn none(input: &NoFabric, several: bool, growing: &Growing, diags: &mut Diagnostics) -> Connected {
        if several && growing.domains.len() != 1 {
            diags.push(
                Diagnostic::error(codes::DISCONNECTED, "several nodes without a network between them")
                    .at(input.nodes.span, "more than one node")
                    .hint("choose another fabric kind, or a scale_up_domain that holds all accelerators"),
            );
            return None;
        }
        Some((Scale::None, None))
    }

    fn single(
        input: &SingleInput,
        growing: &mut Growing,
        templates: &[Template],
        catalogue: &Catalogue,
        diags: &mut Diagnostics,
    ) -> Connected {
        let switch = find(&catalogue.switches, &input.switch, "switch", diags)?;
        let ports: u64 = templates.iter().map(|t| u64::from(t.nodes) * u64::from(t.nics)).sum();
        if ports > *switch.ports {
            let message = format!("{ports} NICs do not fit the {} ports of `{}`", *switch.ports, *switch.id);
            diags.push(
                Diagnostic::error(codes::BAD_TOPOLOGY, message)
                    .at(input.switch.span, "too few ports")
                    .hint("use a larger switch or kind = \"fat-tree\""),
            );
            return None;
        }
        let plan = TreePlan { levels: 1, leaf_ports: ports as u32, oversubscription: 1.0, core_oversubscription: 1.0, bundled: true };
        let tree = Tree::plan(&plan, 1, switch).ok()?;
        Some((grow_trees(vec![tree], growing, templates, |_, _, _| (0, 0)), Some(switch.clone())))
    }

    /// Checks what a tree says about itself; false after a report.
    fn tree_fits(input: &TreeInput, dealing: Dealing, diags: &mut Diagnostics) -> bool {
        let least = if dealing == Dealing::RailsApart { 1 } else { 2 };
        let mut refuse = |code, span, message: &str, hint: &str| {
            diags.push(Diagnostic::error(code, message).at(span, "here").hint(hint));
            false
        };
        if !(least..=3).contains(&*input.levels) {
            let message = format!("a tree of {} levels", *input.levels);
            return refuse(codes::OUT_OF_RANGE, input.levels.span, &message, "2 or 3; one switch is kind = \"single-switch\"");
        }
        for over in [&input.oversubscription, &input.core_oversubscription] {
            if !(0.1..=100.0).contains(&over.value) {
                return refuse(codes::OUT_OF_RANGE, over.span, "the oversubscription is absurd", "between 0.1 and 100");
            }
        }
        if *input.levels < 3 && *input.core_oversubscription != 1.0 {
            let span = input.core_oversubscription.span;
            return refuse(
                codes::CONFLICT,
                span,
                "`core_oversubscription` does nothing in a tree of fewer than three levels",
                "leave it out",
            );
        }
        if dealing == Dealing::Consecutive && (input.planes.is_some() || input.pxn.is_some()) {
            let (span, name) = if input.planes.is_some() { (input.planes.span, "planes") } else { (input.pxn.span, "pxn") };
            let message = format!("`{name}` does nothing where consecutive NICs share a leaf");
            return refuse(codes::CONFLICT, span, &message, "use kind = \"rail-optimised\", or leave it out");
        }
        if dealing == Dealing::RailsApart && input.planes.is_some() {
            return refuse(codes::CONFLICT, input.planes.span, "every rail is a plane of its own here", "leave `planes` out");
        }
        true
    }

    fn tree(
        &self,
        input: &TreeInput,
        dealing: Dealing,
        growing: &mut Growing,
        templates: &[Template],
        catalogue: &Catalogue,
        diags: &mut Diagnostics,
    ) -> Connected {
        let switch = find(&catalogue.switches, &input.switch, "switch", diags)?;
        if !Self::tree_fits(input, dealing, diags) {
            return None;
        }
        let nics: u64 = templates.iter().map(|t| u64::from(t.nodes) * u64::from(t.nics)).sum();
        let per_node = templates.iter().map(|t| t.nics).max().unwrap_or(1).max(1);
        let planes = if dealing == Dealing::RailsApart { per_node } else { input.planes.unwrap_or(1).min(1 << 16) as u32 };
        if !per_node.is_multiple_of(planes) {
            let message = format!("{per_node} NICs of a node do not divide into {planes} planes");
            diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(input.planes.span, "does not divide"));
            return None;
        }
        let down = if *input.levels == 1 { *switch.ports as u32 } else { down_ports(*switch.ports, *input.oversubscription) };
        let nodes = growing.node_template.len() as u32;
        let rails = per_node / planes;
        // A leaf serves one rail of `down` nodes, or all NICs of as many nodes as fit.
        let consecutive = dealing == Dealing::Consecutive;
        let (leaves, leaf_ports) = if consecutive {
            ((nics as u32).div_ceil(down), down.min(nics as u32))
        } else {
            (nodes.div_ceil(down) * rails, down.min(nodes))
        };
        let plan = TreePlan {
            levels: *input.levels as u32,
            leaf_ports,
            oversubscription: *input.oversubscription,
            core_oversubscription: *input.core_oversubscription,
            bundled: input.path_policy.is_even(),
        };
        match Tree::plan(&plan, leaves, switch) {
            Ok(tree) => {
                let place = move |node: u32, nic: u32, before: u32| {
                    if consecutive { (0, (before + nic) / down) } else { (nic % planes, node / down * rails + nic / planes) }
                };
                let trees = vec![tree; planes as usize];
                Some((grow_trees(trees, growing, templates, place), Some(switch.clone())))
            }
            Err(large) => {
                let message = format!("{} {}, but a `{}` joins at most {}", large.needed, large.what, *switch.id, large.possible);
                diags.push(
                    Diagnostic::error(codes::BAD_TOPOLOGY, message)
                        .at(self.nodes_span(), "too many nodes")
                        .hint("use more levels, more oversubscription, or a switch with more ports"),
                );
                None
            }
        }
    }
}

/// Grows trees and plugs every NIC into the plane and leaf that `place` gives for (node, NIC, NICs of the nodes before).
fn grow_trees(mut trees: Vec<Tree>, growing: &mut Growing, templates: &[Template], place: impl Fn(u32, u32, u32) -> (u32, u32)) -> Scale {
    let leaves: Vec<_> = trees.iter_mut().enumerate().map(|(plane, tree)| tree.grow(plane as u32, growing)).collect();
    let (mut at, mut before) = (0, 0);
    for node in 0..growing.node_template.len() {
        let template = &templates[growing.node_template[node] as usize];
        let groups = nic_groups(template);
        for group in 0..groups {
            // A group of NICs is plugged into the leaf of its first.
            let first = group * template.nics / groups;
            let (plane, leaf) = place(node as u32, first, before);
            let tree = &trees[plane as usize];
            let leaf = leaf.min(tree.leaves - 1);
            let link = nic_link(template, groups, tree.switch_latency);
            let cable = growing.cable(growing.nic_vertices[at], leaves[plane as usize][leaf as usize], link);
            let nic = &mut growing.nics[at];
            (nic.network, nic.leaf, nic.plane) = (Some(cable), leaf, plane);
            at += 1;
        }
        before += template.nics;
    }
    Scale::Trees(trees)
}

/// The cable of a group of NICs.
pub(super) fn nic_link(template: &Template, groups: u32, latency: f64) -> Link {
    let rate = template.nic.as_ref().map_or(0.0, |n| n.bandwidth.get() * *n.efficiency);
    Link { capacity: rate * f64::from(template.nics) / f64::from(groups.max(1)), latency, kind: LinkKind::Nic }
}
