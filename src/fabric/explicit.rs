//! Explicit fabrics: switches and cables one by one, checked for unknown ends and for parts that nothing joins.

use super::connect::nic_link;
use super::elements::NicSite;
use super::graph::{Link, LinkKind, NodeId, Template, Vertex};
use super::input::ExplicitInput;
use super::node::{Growing, nic_groups};
use super::route::ExplicitRoutes;
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use rustc_hash::FxHashMap;

/// Switches and cables one by one.
pub(super) fn explicit(
    input: &ExplicitInput,
    growing: &mut Growing,
    templates: &[Template],
    diags: &mut Diagnostics,
) -> Option<ExplicitRoutes> {
    let before = diags.error_count();
    let mut switches: FxHashMap<&str, (u32, Span)> = FxHashMap::default();
    let mut vertices = Vec::new();
    for (i, name) in input.switches.iter().enumerate() {
        if let Some((_, first)) = switches.insert(name, (i as u32, name.span)) {
            diags.push(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("there are two switches named `{}`", **name))
                    .at(name.span, "second one")
                    .at(first, "first one"),
            );
        }
        vertices.push(growing.graph.add_node(Vertex::Switch(0, i as u32)));
    }
    let mut routes = ExplicitRoutes::new(vertices.len());
    let firsts = first_nics(growing, templates);
    let rates = nic_rates(growing, templates);
    for cable in input.link.iter() {
        let link = Link { capacity: cable.bandwidth.get(), latency: cable.latency.get(), kind: LinkKind::Leaf };
        let ends = [end(&cable.from, &switches, &firsts, diags), end(&cable.to, &switches, &firsts, diags)];
        match ends {
            [Some(End::Switch(a)), Some(End::Switch(b))] => {
                let pair = growing.cable(vertices[a as usize], vertices[b as usize], link);
                routes.neighbours[a as usize].push((b, pair.up));
                routes.neighbours[b as usize].push((a, pair.down));
            }
            [Some(End::Nic(n)), Some(End::Switch(s))] | [Some(End::Switch(s)), Some(End::Nic(n))] => {
                if growing.nics[n].network.is_some() {
                    diags.push(Diagnostic::error(codes::DUPLICATE_NAME, "this NIC has two cables").at(cable.from.span, "second cable"));
                    continue;
                }
                let capacity = link.capacity.min(rates[n]);
                let pair = growing.cable(growing.nic_vertices[n], vertices[s as usize], Link { capacity, kind: LinkKind::Nic, ..link });
                growing.nics[n].network = Some(pair);
                growing.nics[n].leaf = s;
            }
            [Some(End::Nic(_)), Some(End::Nic(_))] => diags
                .push(Diagnostic::error(codes::BAD_TOPOLOGY, "a cable joins two NICs").at(cable.from.span, "one end has to be a switch")),
            _ => {}
        }
    }
    for list in &mut routes.neighbours {
        list.sort_unstable();
    }
    check_connected(input, growing, &routes, diags);
    (diags.error_count() == before).then_some(routes)
}

fn check_connected(input: &ExplicitInput, growing: &Growing, routes: &ExplicitRoutes, diags: &mut Diagnostics) {
    let Some(first) = growing.nics.first() else { return };
    // Without switches no NIC has a leaf.
    let distance = (!routes.neighbours.is_empty()).then(|| routes.distances(first.leaf));
    let reached = |n: &NicSite| distance.as_ref().is_some_and(|d| d[n.leaf as usize] < u32::MAX);
    let alone = growing.nics.iter().position(|n| n.network.is_none() || !reached(n));
    if let Some(nic) = alone {
        let site = growing.sites.iter().find(|s| s.nic == Some(nic as u32));
        let node = site.map_or(NodeId(0), |s| s.node);
        let lacks = if growing.nics[nic].network.is_some() { "cannot reach NIC 0" } else { "has no cable" };
        diags.push(
            Diagnostic::error(codes::DISCONNECTED, format!("the fabric is not connected: NIC {nic} (node {}) {lacks}", node.0))
                .at(input.link.span, "no cable joins the parts")
                .hint("give every NIC a cable, and the switches cables among themselves"),
        );
    }
}

enum End {
    Switch(u32),
    Nic(usize),
}

/// First NIC of every node and how many it has.
fn first_nics(growing: &Growing, templates: &[Template]) -> Vec<(usize, u32)> {
    let mut first = 0;
    growing
        .node_template
        .iter()
        .map(|&t| {
            let count = nic_groups(&templates[t as usize]);
            first += count as usize;
            (first - count as usize, count)
        })
        .collect()
}

/// Usable rate of every NIC, in order.
fn nic_rates(growing: &Growing, templates: &[Template]) -> Vec<f64> {
    let of = |&t: &u32| {
        let groups = nic_groups(&templates[t as usize]);
        std::iter::repeat_n(nic_link(&templates[t as usize], groups, 0.0).capacity, groups as usize)
    };
    growing.node_template.iter().flat_map(of).collect()
}

fn end(name: &At<String>, switches: &FxHashMap<&str, (u32, Span)>, nics: &[(usize, u32)], diags: &mut Diagnostics) -> Option<End> {
    if let Some(&(number, _)) = switches.get(name.as_str()) {
        return Some(End::Switch(number));
    }
    let nic = name.strip_prefix("node").and_then(|rest| {
        let (node, nic) = rest.split_once(".nic")?;
        let &(first, count) = nics.get(node.parse::<usize>().ok()?)?;
        let nic: u32 = nic.parse().ok()?;
        (nic < count).then_some(End::Nic(first + nic as usize))
    });
    if nic.is_none() {
        diags.push(
            Diagnostic::error(codes::UNKNOWN_PART, format!("there is no switch and no NIC named `{}`", **name))
                .at(name.span, "unknown end")
                .hint("an end is the name of a switch, or a NIC such as node3.nic0"),
        );
    }
    nic
}
