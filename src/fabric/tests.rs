//! Counts by closed form, invariants of routes, faults of topology files.

use super::*;
use crate::diag::{Decode, Diagnostics, Node, Style, render};
use crate::hardware::Catalogue;
use crate::ids::Id;
use petgraph::graph::EdgeIndex;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn build(text: &str) -> Result<Fabric, String> {
    let mut diags = Diagnostics::new();
    let source = diags.add_source("topology.toml", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    built.map(|b| b.0).ok_or_else(|| render(&diags, Style::Plain))
}

fn nodes(accelerators: u32, nics: u32, scale_up: &str) -> String {
    format!(
        "[[node]]\nname = \"n\"\naccelerator = \"a100-sxm-80gb\"\naccelerators = {accelerators}\nscale_up = \"{scale_up}\"\nhost = \"dgx-a100\"\nnic = \"cx6-hdr200\"\nnics = {nics}\n"
    )
}

fn tree(kind: &str, count: u32, levels: u32, policy: &str) -> Fabric {
    let text = format!(
        "{}[fabric]\nkind = \"{kind}\"\nnodes = {count}\nlevels = {levels}\nswitch = \"qm8700\"\npath_policy = \"{policy}\"\n",
        nodes(8, 8, "nvswitch")
    );
    build(&text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn counts_of_trees() {
    let s = tree("rail-optimised", 128, 3, "adaptive").summary(Catalogue::embedded());
    assert_eq!((s.nodes, s.accelerators, s.nics, s.scale_up_domains), (128, 1024, 1024, 128));
    // Twenty nodes share a leaf for each rail: ceil(128 / 20) × 8.
    assert_eq!(s.leaf_switches, 56);
    assert!((s.bisection_bytes_per_s / s.full_bisection_bytes_per_s - 1.0).abs() < 0.1);
    let s = tree("fat-tree", 10, 2, "ecmp").summary(Catalogue::embedded());
    // 80 NICs at 20 a leaf, 4 × 20 uplinks on 40-port spines.
    assert_eq!((s.leaf_switches, s.spine_switches, s.network_cables), (4, 2, 80 + 80));
    let text =
        format!("{}[fabric]\nkind = \"fat-tree\"\nnodes = 10\noversubscription = 4.0\nswitch = \"qm8700\"\n", nodes(8, 8, "nvswitch"));
    let s = build(&text).unwrap().summary(Catalogue::embedded());
    let share = s.bisection_bytes_per_s / s.full_bisection_bytes_per_s;
    assert!((0.2..0.35).contains(&share), "{share}");
}

#[test]
fn nvl72_domains_span_nodes() {
    let text = "[[node]]\nname = \"tray\"\naccelerator = \"gb200\"\naccelerators = 4\nscale_up = \"nvswitch\"\nscale_up_domain = 72\nhost = \"gb200-tray\"\nnic = \"cx7-ndr400\"\nnics = 4\n\
        [fabric]\nkind = \"rail-optimised\"\nnodes = 36\nswitch = \"qm9700\"\n";
    let fabric = build(text).unwrap();
    assert_eq!(fabric.domains.len(), 2);
    let hops = |a: u32, b: u32| {
        let mut kinds = Vec::new();
        fabric.route(AcceleratorId(a), AcceleratorId(b), 0, &mut |l, _| kinds.push(fabric.link(l).kind));
        kinds
    };
    assert_eq!(hops(0, 71), [LinkKind::ScaleUp, LinkKind::ScaleUp]);
    assert!(hops(0, 72).contains(&LinkKind::Nic));
}

#[test]
fn meshes_and_tori_route_inside() {
    let cube = build("[[node]]\nname = \"n\"\naccelerator = \"v100-sxm2-32gb\"\naccelerators = 8\nscale_up = \"cube-mesh\"\nhost = \"dgx-1\"\n[fabric]\nkind = \"none\"\n").unwrap();
    let degree = |a: u32| (0..8).filter(|&b| cube.domain(DomainId(0)).direct[(a * 8 + b) as usize].is_some()).count();
    assert!((0..8).all(|a| degree(a) == 4), "every V100 has four neighbours");
    let rate: f64 = cube
        .graph
        .edges(cube.graph.node_indices().find(|&v| cube.graph[v] == Vertex::Accelerator(AcceleratorId(0))).unwrap())
        .filter(|e| e.weight().kind == LinkKind::ScaleUp)
        .map(|e| e.weight().capacity)
        .sum();
    assert!((rate / (6.0 * 25e9 * 0.9) - 1.0).abs() < 1e-9, "six NVLinks: {rate}");
    let torus = build("[[node]]\nname = \"n\"\naccelerator = \"tpu-v4\"\naccelerators = 4\nscale_up = \"torus\"\nscale_up_domain = 64\ntorus = [4, 4, 4]\nhost = \"tpu-host\"\n[fabric]\nkind = \"none\"\nnodes = 16\n").unwrap();
    // A 4 × 4 × 4 torus is cut in two planes of sixteen links each.
    let summary = torus.summary(Catalogue::embedded());
    let one = summary.full_bisection_bytes_per_s / (32.0 * 6.0);
    assert!((summary.bisection_bytes_per_s / one - 32.0).abs() < 1e-9);
    let hops = |a: u32, b: u32| {
        let mut n = 0;
        torus.route(AcceleratorId(a), AcceleratorId(b), 0, &mut |_, _| n += 1);
        n
    };
    assert_eq!((hops(0, 1), hops(0, 3), hops(0, 2), hops(0, 2 + 8 + 32)), (1, 1, 2, 6));
}

#[test]
fn faults_point_into_the_file() {
    let wrong = nodes(8, 8, "nvswitch").replace("a100-sxm-80gb", "a100-sxm-80g");
    let said = build(&format!("{wrong}[fabric]\nkind = \"none\"\n")).unwrap_err();
    assert!(said.contains("E0204") && said.contains("topology.toml:3:15") && said.contains("did you mean \"a100-sxm-80gb\""), "{said}");
    let explicit = format!(
        "{}[fabric]\nkind = \"explicit\"\nnodes = 2\nswitches = [\"a\", \"b\"]\nlink = [{{ from = \"node0.nic0\", to = \"a\", bandwidth = \"1 GB/s\", latency = \"1 us\" }}, {{ from = \"node1.nic0\", to = \"b\", bandwidth = \"1 GB/s\", latency = \"1 us\" }}]\n",
        nodes(1, 1, "nvswitch")
    );
    assert!(build(&explicit).unwrap_err().contains("E0301"));
    let none = build(&explicit.replace("[\"a\", \"b\"]", "[]")).unwrap_err();
    assert!(none.contains("no switch and no NIC named `a`"), "{none}");
    for (extra, code) in [
        ("levels = 7", "E0202"),
        ("queue_pairs = 4", "E0205"),
        ("core_oversubscription = 2.0", "E0205"),
        ("nodes = 5000000", "E0302"),
        ("switch = \"qm\"", "E0204"),
    ] {
        let rest = if extra.starts_with("switch") {
            "nodes = 2"
        } else if extra.starts_with("nodes") {
            "switch = \"qm8700\""
        } else {
            "nodes = 2\nswitch = \"qm8700\""
        };
        let said = build(&format!("{}[fabric]\nkind = \"fat-tree\"\n{extra}\n{rest}\n", nodes(8, 8, "nvswitch"))).unwrap_err();
        assert!(said.contains(code), "{extra}: {said}");
    }
}

/// Links of a route with the share of the flow on each.
fn links(fabric: &Fabric, a: u32, b: u32, flow: u64) -> Vec<(LinkId, f64)> {
    let mut out = Vec::new();
    fabric.route(AcceleratorId(a), AcceleratorId(b), flow, &mut |l, s| out.push((l, s)));
    out
}

fn with(kind: &str, keys: &str, degraded: &str) -> Result<Fabric, String> {
    let degraded: String =
        degraded.split(';').filter(|d| !d.is_empty()).map(|d| format!("[[degraded]]\n{}\n", d.replace(',', "\n"))).collect();
    build(&format!("{}[fabric]\nkind = \"{kind}\"\nnodes = 40\nswitch = \"qm8700\"\n{keys}\n{degraded}", nodes(8, 8, "nvswitch")))
}

#[test]
fn a_flapping_port_carries_its_share_of_the_time() {
    let (sound, flapping) =
        (with("fat-tree", "", "").unwrap(), with("fat-tree", "", "part = \"node 3 NIC 2\",down_for = \"2 s\",every = \"8 s\"").unwrap());
    let rate = |f: &Fabric, a: u32| links(f, a, 100, 0).iter().map(|(l, _)| f.link(*l).capacity).fold(f64::INFINITY, f64::min);
    assert!((rate(&flapping, 26) / rate(&sound, 26) - 0.75).abs() < 1e-12 && rate(&flapping, 27) == rate(&sound, 27));
    let said = with("fat-tree", "", "part = \"node 3 NIC 2\",down_for = \"9 s\",every = \"8 s\"").err().unwrap();
    assert!(said.contains("E0205"), "{said}");
}

#[test]
fn what_is_dead_leaves_the_routes() {
    let policy = "path_policy = \"ecmp\"\nqueue_pairs = 64";
    let sound = with("fat-tree", policy, "").unwrap();
    let uplinks =
        |f: &Fabric| -> std::collections::BTreeSet<LinkId> { links(f, 0, 300, 0).into_iter().filter(|l| l.1 < 1.0).map(|l| l.0).collect() };
    for dead in ["part = \"leaf 0 uplink 3\",capacity = 0.0", "part = \"spine 1\",capacity = 0.0"] {
        let fabric = with("fat-tree", policy, dead).unwrap();
        let (before, after) = (uplinks(&sound), uplinks(&fabric));
        assert!(after.is_subset(&before) && after.len() < before.len(), "{dead}: {} and {} links", before.len(), after.len());
        let sum: f64 = links(&fabric, 0, 300, 0).iter().map(|l| l.1).sum();
        assert!((sum - links(&sound, 0, 300, 0).iter().map(|l| l.1).sum::<f64>()).abs() < 1e-9, "{dead}: nothing is lost");
    }
    let said = with("fat-tree", "", "part = \"leaf 0\",capacity = 0.0").err().unwrap();
    assert!(said.contains("E0301"), "{said}");
}

#[test]
fn queue_pairs_are_hashed_each_by_itself() {
    let fabric = with("fat-tree", "path_policy = \"ecmp\"\nqueue_pairs = 4", "").unwrap();
    let shares: Vec<f64> = links(&fabric, 0, 300, 0).into_iter().map(|l| l.1).filter(|s| *s < 1.0).collect();
    assert!(shares.len() == 4 * 2 && shares.iter().all(|s| (s - 0.25).abs() < 1e-12), "{shares:?}");
    let one = with("fat-tree", "path_policy = \"ecmp\"", "").unwrap();
    let taken: std::collections::BTreeSet<_> = (0..64).map(|flow| links(&one, 0, 300, flow)).map(|l| format!("{l:?}")).collect();
    assert!(taken.len() > 10, "64 flows take {} paths", taken.len());
}

#[test]
fn ranks_reach_other_rails_over_the_scale_up_switch_or_the_spine() {
    let (with_pxn, without) = (with("rail-optimised", "", "").unwrap(), with("rail-optimised", "pxn = false", "").unwrap());
    let kinds = |f: &Fabric, b: u32| links(f, 0, b, 0).iter().map(|l| f.link(l.0).kind).collect::<Vec<_>>();
    let count = |k: &[LinkKind], kind| k.iter().filter(|x| **x == kind).count();
    // Rank 0 to rank 1 of the next node: two hops of NVLink, then its own leaf.
    let (relayed, crossed) = (kinds(&with_pxn, 9), kinds(&without, 9));
    assert_eq!((count(&relayed, LinkKind::ScaleUp), count(&crossed, LinkKind::ScaleUp)), (2, 0));
    assert!(relayed.len() < crossed.len() + 2, "{relayed:?} {crossed:?}");
    assert_eq!(kinds(&with_pxn, 8), kinds(&without, 8));
    // Rails without a network between them have no other way.
    assert!(with("rail-only", "pxn = false", "").is_err() || kinds(&with("rail-only", "", "").unwrap(), 9).contains(&LinkKind::ScaleUp));
}

/// The share of the flow that enters and leaves every vertex of a route.
fn conserved(fabric: &Fabric, from: AcceleratorId, to: AcceleratorId, flow: u64) -> Result<(), String> {
    let mut net: BTreeMap<usize, f64> = BTreeMap::new();
    fabric.route(from, to, flow, &mut |link, share| {
        let (a, b) = fabric.graph.edge_endpoints(EdgeIndex::new(link.index())).unwrap();
        *net.entry(a.index()).or_default() -= share;
        *net.entry(b.index()).or_default() += share;
    });
    let mut ends = [None, None];
    for (vertex, value) in net {
        let Vertex::Accelerator(a) = fabric.graph[petgraph::graph::NodeIndex::new(vertex)] else {
            if value.abs() > 1e-9 {
                return Err(format!("vertex {vertex} keeps {value}"));
            }
            continue;
        };
        // An accelerator that relays to another rail keeps nothing either.
        if value.abs() <= 1e-9 {
            continue;
        }
        ends[usize::from(value > 0.0)] = Some((a, value.abs()));
    }
    match ends {
        [Some((a, x)), Some((b, y))] if a == from && b == to && (x - 1.0).abs() < 1e-9 && (y - 1.0).abs() < 1e-9 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

    /// A route leads the whole flow from one accelerator to the other, nothing is lost at any switch, and both ways are equally long.
    #[test]
    fn routes_conserve_the_flow(kind in prop::sample::select(vec!["fat-tree", "rail-optimised"]), levels in 2u32..4, policy in prop::sample::select(vec!["static", "ecmp", "adaptive"]), count in 2u32..60, a in 0u32..480, b in 0u32..480, flow in 0u64..5) {
        let fabric = tree(kind, count, levels, policy);
        let n = fabric.accelerator_count() as u32;
        let (a, b) = (AcceleratorId(a % n), AcceleratorId(b % n));
        if a != b {
            prop_assert_eq!(conserved(&fabric, a, b, flow), Ok(()));
            // A relay changes to the rail of the receiver, whose leaves may lie in other pods than the sender's.
            if kind == "fat-tree" || a.0 % 8 == b.0 % 8 {
                let there = fabric.route(a, b, flow, &mut |_, _| {});
                let back = fabric.route(b, a, flow, &mut |_, _| {});
                prop_assert!((there - back).abs() < 1e-12);
            }
        }
    }

    /// Explicit fabrics conserve the flow under every policy too.
    #[test]
    fn explicit_routes_conserve_the_flow(policy in prop::sample::select(vec!["static", "ecmp", "adaptive"]), flow in 0u64..9) {
        let mut cables = Vec::new();
        for s in ["l0", "l1"] {
            for t in ["s0", "s1", "s2"] {
                cables.push(format!("{{ from = \"{s}\", to = \"{t}\", bandwidth = \"1 GB/s\", latency = \"1 us\" }}"));
            }
        }
        for n in 0..4 {
            cables.push(format!("{{ from = \"node{n}.nic0\", to = \"l{}\", bandwidth = \"1 GB/s\", latency = \"1 us\" }}", n / 2));
        }
        let text = format!("{}[fabric]\nkind = \"explicit\"\nnodes = 4\nswitches = [\"l0\", \"l1\", \"s0\", \"s1\", \"s2\"]\npath_policy = \"{policy}\"\nlink = [{}]\n", nodes(1, 1, "nvswitch"), cables.join(", "));
        let fabric = build(&text).unwrap_or_else(|e| panic!("{e}"));
        for b in 1..4 {
            prop_assert_eq!(conserved(&fabric, AcceleratorId(0), AcceleratorId(b), flow), Ok(()));
        }
    }
}
