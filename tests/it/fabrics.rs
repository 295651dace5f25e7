//! Every shipped topology: what leaves one accelerator arrives at the other, and nothing is lost on the way.

use super::files;
use orrery::diag::Diagnostics;
use orrery::fabric::{AcceleratorId, Fabric, LinkKind, Vertex};
use orrery::scenario::load_topology;
use petgraph::graph::NodeIndex;
use std::collections::BTreeMap;

/// The share of a flow that stays at a vertex: -1 at the sender, 1 at the receiver, nothing anywhere else.
fn kept(fabric: &Fabric, from: AcceleratorId, to: AcceleratorId) -> BTreeMap<u32, f64> {
    let mut net: BTreeMap<usize, f64> = BTreeMap::new();
    let ends: Vec<_> = fabric.graph.raw_edges().iter().map(|e| (e.source().index(), e.target().index())).collect();
    fabric.route(from, to, 7, &mut |link, share| {
        let (a, b) = ends[link.0 as usize];
        *net.entry(a).or_default() -= share;
        *net.entry(b).or_default() += share;
    });
    let mut out = BTreeMap::new();
    for (vertex, value) in net.into_iter().filter(|(_, v)| v.abs() > 1e-9) {
        match fabric.graph[NodeIndex::new(vertex)] {
            Vertex::Accelerator(a) => *out.entry(a.0).or_insert(0.0) += value,
            other => panic!("{other:?} keeps {value}"),
        }
    }
    out
}

#[test]
fn every_topology_conserves_its_flows() {
    let (mut seen, mut lost) = (0, Vec::new());
    for path in files("topologies", ".toml") {
        let mut diags = Diagnostics::new();
        let (fabric, _) = load_topology(&path, &[], &mut diags).unwrap_or_else(|| panic!("{}", path.display()));
        let n = fabric.accelerator_count() as u32;
        if !(2..20_000).contains(&n) {
            continue;
        }
        seen += 1;
        for (a, b) in [(0, n - 1), (n - 1, 0), (0, n / 2), (1, n / 3), (n / 2, 1), (0, 1)] {
            if a == b {
                continue;
            }
            let (from, to) = (AcceleratorId(a), AcceleratorId(b));
            let kept = kept(&fabric, from, to);
            let want = BTreeMap::from([(a, -1.0), (b, 1.0)]);
            let same = kept.len() == 2 && want.iter().all(|(k, v)| kept.get(k).is_some_and(|x| (x - v).abs() < 1e-9));
            if !same {
                lost.push(format!("{}: {a} to {b}: {kept:?}", path.display()));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:#?}");
    assert!(seen >= 20, "{seen} topologies");
}

#[test]
fn planes_and_groups_are_what_the_file_says() {
    let links = |name: &str, a: u32, b: u32| {
        let mut diags = Diagnostics::new();
        let path = super::root().join("topologies").join(name);
        let (fabric, _) = load_topology(&path, &[], &mut diags).unwrap_or_else(|| panic!("{name}"));
        let mut kinds = Vec::new();
        fabric.route(AcceleratorId(a), AcceleratorId(b), 0, &mut |l, _| kinds.push(fabric.link(l).kind));
        kinds
    };
    // A full mesh of eight: one hop between any two.
    assert!((1..8).all(|b| links("mi300x-xgmi.toml", 0, b) == [LinkKind::ScaleUp]));
    // Rails without a network between them: another rail is reached over NVLink first.
    assert!(
        links("rail-only-h100.toml", 0, 9).contains(&LinkKind::ScaleUp) && !links("rail-only-h100.toml", 0, 8).contains(&LinkKind::ScaleUp)
    );
    // Slices of a TPU pod are apart: only the data-centre network joins them.
    assert!(links("tpu-v5p-two-slices.toml", 0, 100).iter().all(|k| *k == LinkKind::ScaleUp));
    assert!(links("tpu-v5p-two-slices.toml", 0, 200).contains(&LinkKind::Nic));
}
