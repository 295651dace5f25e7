//! Where a job goes: a rule looks for nodes, whole or not at all. Literature: `docs/models/scheduling.md`.

use super::cluster::Cluster;
use super::grant::{Ask, Within};
use super::job::PlacementKind;

/// A rule of placement.
pub trait Placement: Sync {
    /// Nodes for a job with the accelerators on each; `None` where it does not fit now. `pools` are of one kind of accelerator.
    fn find(&self, cluster: &Cluster, ask: &Ask, pools: u64) -> Option<Vec<(u32, u32)>>;
    /// Whether a node with many free accelerators comes before one with few, for what does not fill nodes.
    fn emptiest_first(&self) -> bool {
        false
    }
}

/// The rule of a kind.
#[must_use]
pub fn placement(kind: PlacementKind) -> &'static dyn Placement {
    match kind {
        PlacementKind::Pack => &Pack,
        PlacementKind::Spread => &Spread,
        PlacementKind::Topology => &Topology,
    }
}

/// Best fit: the node with least room that has enough; a job larger than a node takes the emptiest nodes whole and the best fit for
/// the rest.
struct Pack;
/// Worst fit: the node with most room.
struct Spread;
/// The smallest subtree that has room, the fullest of them; inside it as [`Pack`].
struct Topology;

impl Placement for Pack {
    fn find(&self, cluster: &Cluster, ask: &Ask, pools: u64) -> Option<Vec<(u32, u32)>> {
        on_one(cluster, ask, pools, false).or_else(|| on_many(cluster, ask, pools, false))
    }
}

impl Placement for Spread {
    fn find(&self, cluster: &Cluster, ask: &Ask, pools: u64) -> Option<Vec<(u32, u32)>> {
        on_one(cluster, ask, pools, true).or_else(|| on_many(cluster, ask, pools, true))
    }
    fn emptiest_first(&self) -> bool {
        true
    }
}

impl Placement for Topology {
    fn find(&self, cluster: &Cluster, ask: &Ask, pools: u64) -> Option<Vec<(u32, u32)>> {
        if let Some(found) = on_one(cluster, ask, pools, false) {
            return Some(found);
        }
        (0..3).find_map(|level| in_tree(cluster, ask, pools, level, false)).or_else(|| on_many(cluster, ask, pools, false))
    }
}

/// Looks for nodes under a rule: jobs without accelerators, shares of one, whole ones within the distance that the job allows.
#[must_use]
pub fn find(rule: &dyn Placement, cluster: &Cluster, ask: &Ask) -> Option<Vec<(u32, u32)>> {
    if ask.accelerators == 0 {
        return host_only(cluster, ask, rule.emptiest_first());
    }
    cluster.kinds(ask.pools).find_map(|pools| {
        if ask.share < 1000 {
            return share(cluster, ask, pools, rule.emptiest_first());
        }
        if cluster.free_of(pools) < ask.accelerators {
            return None;
        }
        let level = match ask.within {
            Within::Any => return rule.find(cluster, ask, pools),
            Within::Node => return on_one(cluster, ask, pools, rule.emptiest_first()),
            Within::Domain => 0,
            Within::Leaf => 1,
            Within::Pod => 2,
        };
        let near = on_one(cluster, ask, pools, rule.emptiest_first());
        near.or_else(|| (0..=level).find_map(|l| in_tree(cluster, ask, pools, l, rule.emptiest_first())))
    })
}

fn pools_of(pools: u64, cluster: &Cluster) -> impl Iterator<Item = usize> + use<> {
    (0..cluster.pools().len()).filter(move |p| pools >> p & 1 == 1)
}

/// All of it on one node: the one with least (or most) room, the lowest number among equals.
fn on_one(cluster: &Cluster, ask: &Ask, pools: u64, emptiest: bool) -> Option<Vec<(u32, u32)>> {
    let most = pools_of(pools, cluster).map(|p| u32::from(cluster.pools()[p].accelerators)).max()?;
    if most < ask.accelerators {
        return None;
    }
    let look = |free: u32| {
        let nodes = pools_of(pools, cluster).filter(|&p| free <= u32::from(cluster.pools()[p].accelerators));
        nodes.filter_map(|p| cluster.bucket(p, free as usize).iter().copied().find(|&n| cluster.capacity(n, ask) >= ask.accelerators)).min()
    };
    let node = if emptiest { (ask.accelerators..=most).rev().find_map(look) } else { (ask.accelerators..=most).find_map(look) };
    node.map(|n| vec![(n, ask.accelerators)])
}

/// Over several nodes, the emptiest first; the last, which is not filled, is the best fit (or again the emptiest).
fn on_many(cluster: &Cluster, ask: &Ask, pools: u64, emptiest: bool) -> Option<Vec<(u32, u32)>> {
    let most = pools_of(pools, cluster).map(|p| usize::from(cluster.pools()[p].accelerators)).max()?;
    let mut out = Vec::new();
    let mut left = ask.accelerators;
    for free in (1..=most).rev() {
        let nodes = pools_of(pools, cluster).filter(|&p| free <= usize::from(cluster.pools()[p].accelerators));
        for node in nodes.flat_map(|p| cluster.bucket(p, free)) {
            let room = cluster.capacity(*node, ask);
            if room == 0 {
                continue;
            }
            if room > left && !emptiest {
                return best_rest(cluster, ask, pools, left, out);
            }
            let taken = room.min(left);
            out.push((*node, taken));
            left -= taken;
            if left == 0 {
                return Some(out);
            }
        }
    }
    None
}

/// The node with least room for what is left, among those not taken.
fn best_rest(cluster: &Cluster, ask: &Ask, pools: u64, left: u32, mut out: Vec<(u32, u32)>) -> Option<Vec<(u32, u32)>> {
    let most = pools_of(pools, cluster).map(|p| u32::from(cluster.pools()[p].accelerators)).max()?;
    for free in left..=most {
        let nodes = pools_of(pools, cluster).filter(|&p| free <= u32::from(cluster.pools()[p].accelerators));
        let fits = |n: &u32| cluster.capacity(*n, ask) >= left && !out.iter().any(|o| o.0 == *n);
        if let Some(node) = nodes.filter_map(|p| cluster.bucket(p, free as usize).iter().copied().find(fits)).min() {
            out.push((node, left));
            return Some(out);
        }
    }
    None
}

/// Inside one tree of a level: the one with least room that has enough.
fn in_tree(cluster: &Cluster, ask: &Ask, pools: u64, level: usize, emptiest: bool) -> Option<Vec<(u32, u32)>> {
    let (trees, tells) = cluster.trees(level);
    if !tells {
        return None;
    }
    let mut roomy: Vec<(u32, usize)> =
        (0..trees).map(|t| (cluster.free_in(level, t, pools), t)).filter(|t| t.0 >= ask.accelerators).collect();
    roomy.sort_unstable_by_key(|&(free, tree)| (if emptiest { u32::MAX - free } else { free }, tree));
    roomy.into_iter().find_map(|(_, tree)| {
        let takes = |n: &u32| pools >> cluster.nodes()[*n as usize].pool & 1 == 1 && cluster.condition(*n) == super::Condition::Up;
        let mut nodes: Vec<(u32, u32)> =
            cluster.members(level, tree).iter().filter(|n| takes(n)).map(|&n| (cluster.capacity(n, ask), n)).filter(|n| n.0 > 0).collect();
        nodes.sort_unstable_by_key(|&(room, node)| (u32::MAX - room, node));
        let mut left = ask.accelerators;
        let mut out = Vec::new();
        for (i, &(room, node)) in nodes.iter().enumerate() {
            if room > left {
                let fit = nodes[i..].iter().rev().find(|n| n.0 >= left).map_or(node, |n| n.1);
                out.push((if emptiest { node } else { fit }, left));
                return Some(out);
            }
            out.push((node, room));
            left -= room;
            if left == 0 {
                return Some(out);
            }
        }
        None
    })
}

/// A part of one accelerator: the fullest one that has room, else a whole one of the node that [`on_one`] finds.
fn share(cluster: &Cluster, ask: &Ask, pools: u64, emptiest: bool) -> Option<Vec<(u32, u32)>> {
    let open = cluster.shares().filter(|&(node, _, left)| {
        left >= ask.share
            && pools >> cluster.nodes()[node as usize].pool & 1 == 1
            && cluster.condition(node) == super::Condition::Up
            && cluster.has_host(node, ask)
    });
    if let Some((node, ..)) = open.min_by_key(|&(node, at, left)| (left, node, at)) {
        return Some(vec![(node, 1)]);
    }
    on_one(cluster, &Ask { chunk: 1, ..*ask }, pools, emptiest)
}

/// Cores and memory only: nodes without free accelerators first, so that none is walled in.
fn host_only(cluster: &Cluster, ask: &Ask, emptiest: bool) -> Option<Vec<(u32, u32)>> {
    let most = cluster.pools().iter().map(|p| usize::from(p.accelerators)).max()?;
    let look = |free: usize| {
        let pools = pools_of(ask.pools, cluster).filter(|&p| free <= usize::from(cluster.pools()[p].accelerators));
        pools.flat_map(|p| cluster.bucket(p, free)).copied().filter(|&n| cluster.has_host(n, ask)).min()
    };
    let node = if emptiest { (0..=most).rev().find_map(look) } else { (0..=most).find_map(look) };
    node.map(|n| vec![(n, 0)])
}
