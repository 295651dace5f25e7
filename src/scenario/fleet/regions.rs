//! Regions of a fleet: which nodes lie in which.

use super::input::RegionInput;
use super::jobs::pools_named;
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fleet::{Cluster, Node, Pool};
use crate::scenario::load::head;
use std::collections::BTreeMap;

/// Pools of a fleet at most.
const MOST_POOLS: usize = 64;

/// The number of the region of a name.
pub(super) fn named(name: &At<String>, regions: &[At<RegionInput>], diags: &mut Diagnostics) -> Option<u16> {
    let found = regions.iter().position(|r| r.name.value == name.value);
    if found.is_none() {
        let told = Diagnostic::error(codes::UNKNOWN_PART, format!("the fleet has no region `{}`", **name)).at(name.span, "unknown");
        let near = nearest(name, regions.iter().map(|r| r.name.value.as_str())).map(|n| format!("did you mean \"{n}\"?"));
        diags.push(told.hint(near.unwrap_or_else(|| "name it in a [[fleet.region]]".into())));
    }
    found.map(|r| r as u16)
}

/// The cluster with its nodes in their regions: pools are split, so that none lies in two, and subtrees likewise.
pub(super) fn regions(given: &At<Vec<At<RegionInput>>>, cluster: Cluster, diags: &mut Diagnostics) -> Option<Cluster> {
    if given.is_empty() {
        return Some(cluster);
    }
    let before = diags.error_count();
    let at = head(given.span, diags);
    if given.len() < 2 {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "one region alone does nothing").at(at, "does nothing").hint("add another, or leave it out"),
        );
    }
    let mut of: Vec<Option<u16>> = vec![None; cluster.nodes().len()];
    for (i, region) in given.iter().enumerate() {
        if given[..i].iter().any(|r| r.name.value == region.name.value) {
            let message = format!("there are two regions named `{}`", *region.name);
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(region.name.span, "second"));
        }
        for node in nodes_of(region, &cluster, diags) {
            if of[node].is_some() {
                let message = format!("node {node} lies in two regions");
                diags.push(Diagnostic::error(codes::CONFLICT, message).at(region.name.span, "the second"));
                return None;
            }
            of[node] = Some(i as u16);
        }
    }
    if diags.error_count() > before {
        return None;
    }
    if let Some(node) = of.iter().position(Option::is_none) {
        diags.push(Diagnostic::error(codes::CONFLICT, format!("node {node} lies in no region")).at(at, "these regions"));
    }
    let of: Vec<u16> = of.into_iter().collect::<Option<_>>()?;
    split(&cluster, &of, given.len(), at, diags)
}

/// Nodes that a region names.
fn nodes_of(region: &RegionInput, cluster: &Cluster, diags: &mut Diagnostics) -> Vec<usize> {
    let count = cluster.nodes().len();
    match (region.pools.is_empty(), *region.first, *region.nodes) {
        (false, None, None) => {
            let pools = pools_named(&region.pools, cluster, diags);
            (0..count).filter(|&n| pools >> cluster.nodes()[n].pool & 1 == 1).collect()
        }
        (true, Some(first), Some(nodes)) => {
            let last = first.saturating_add(nodes);
            if last > count as u64 {
                let message = format!("nodes {first} to {} of {count}", last - 1);
                diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(region.nodes.span, "out of range"));
                return Vec::new();
            }
            (first as usize..last as usize).collect()
        }
        _ => {
            let told = Diagnostic::error(codes::CONFLICT, "a region has either `pools`, or `first` and `nodes`");
            diags.push(told.at(region.name.span, "this region"));
            Vec::new()
        }
    }
}

fn split(cluster: &Cluster, of: &[u16], regions: usize, at: Span, diags: &mut Diagnostics) -> Option<Cluster> {
    let (mut pools, mut kinds): (Vec<Pool>, BTreeMap<(u16, u16), u16>) = (Vec::new(), BTreeMap::new());
    let mut known: BTreeMap<(u16, u16), u16> = BTreeMap::new();
    let mut trees: [BTreeMap<(u32, u16), u32>; 3] = Default::default();
    let mut nodes = Vec::with_capacity(of.len());
    for (node, &region) in cluster.nodes().iter().zip(of) {
        let pool = *known.entry((node.pool, region)).or_insert_with(|| {
            let like = &cluster.pools()[node.pool as usize];
            // Nodes of two regions never serve one job: they are as of two kinds.
            let next = kinds.len() as u16;
            let kind = *kinds.entry((like.kind, region)).or_insert(next);
            pools.push(Pool { kind, region, ..like.clone() });
            pools.len() as u16 - 1
        });
        let mut own = node.trees;
        for (map, tree) in trees.iter_mut().zip(&mut own) {
            let next = map.len() as u32;
            *tree = *map.entry((*tree, region)).or_insert(next);
        }
        nodes.push(Node { pool, trees: own });
    }
    let divided = |p: &Pool| p.elastic.is_some() && pools.iter().filter(|o| o.name == p.name).count() > 1;
    if pools.len() > MOST_POOLS {
        let message = format!("{} pools in {regions} regions: at most {MOST_POOLS} parts", cluster.pools().len());
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(at, "these regions"));
        return None;
    }
    if let Some(pool) = pools.iter().find(|p| divided(p)) {
        let message = format!("the elastic pool `{}` lies in two regions", pool.name);
        diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(at, "these regions").hint("make a pool of each region's nodes"));
        return None;
    }
    Some(Cluster::new(pools, nodes))
}
