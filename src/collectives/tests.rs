//! Closed forms of algorithms, switch points of the library, conservation of bytes.

use super::*;
use crate::diag::{Decode, Diagnostics, Node, Style, render};
use crate::fabric::{AcceleratorId, Fabric, LinkKind, TopologyInput};
use proptest::prelude::*;

fn boxes(part: &str, nodes: u32, nics: u32) -> Fabric {
    let network = if nodes > 1 {
        format!("kind = \"rail-optimised\"\nnodes = {nodes}\nlevels = 3\nswitch = \"qm9700\"\n")
    } else {
        "kind = \"none\"\n".into()
    };
    let nics = if nodes > 1 { format!("nic = \"cx7-ndr400\"\nnics = {nics}\n") } else { String::new() };
    let text = format!(
        "[[node]]\nname = \"n\"\naccelerator = \"{part}\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-h100\"\n{nics}[fabric]\n{network}"
    );
    let mut diags = Diagnostics::new();
    let source = diags.add_source("t", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0
}

fn first(n: u32) -> Vec<AcceleratorId> {
    (0..n).map(AcceleratorId).collect()
}

#[test]
fn ring_edges_and_tree() {
    for n in [2usize, 4, 8, 16] {
        let x = n as f64;
        assert!((timing::ring_edge(Op::AllReduce, n) - 2.0 * (x - 1.0) / x).abs() < 1e-12);
        assert!((timing::ring_edge(Op::AllGather, n) - (x - 1.0) / x).abs() < 1e-12);
        assert!((busbw_factor(Op::ReduceScatter, n) - (x - 1.0) / x).abs() < 1e-12);
    }
}

#[test]
fn bytes_on_nics_are_what_leaves_the_nodes() {
    let fabric = boxes("h100-sxm", 4, 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(32)]);
    let out: f64 =
        c.traffic(Op::AllReduce, Algorithm::Ring).iter().filter(|(l, _)| fabric.link(*l).kind == LinkKind::Nic).map(|x| x.1).sum();
    // Four nodes, each sends 2 (n − 1) / n and receives as much.
    assert!((out - 2.0 * 4.0 * 2.0 * 31.0 / 32.0).abs() < 1e-9, "{out}");
    let per_nic: Vec<f64> =
        c.traffic(Op::AllReduce, Algorithm::Ring).iter().filter(|(l, _)| fabric.link(*l).kind == LinkKind::Nic).map(|x| x.1).collect();
    assert_eq!(per_nic.len(), 64);
    assert!(per_nic.iter().all(|b| (b - per_nic[0]).abs() < 1e-9), "all rails carry the same");
}

#[test]
fn hierarchical_sends_what_a_tree_sends_and_less_than_a_ring() {
    let fabric = boxes("h100-sxm", 4, 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(32)]);
    let nic = |a| c.traffic(Op::AllReduce, a).iter().filter(|(l, _)| fabric.link(*l).kind == LinkKind::Nic).map(|x| x.1).sum::<f64>();
    assert!((nic(Algorithm::Hierarchical) - 2.0 * 4.0 * 2.0 * 3.0 / 4.0).abs() < 1e-9);
    assert!((nic(Algorithm::Tree) - nic(Algorithm::Hierarchical)).abs() < 1e-9 && nic(Algorithm::Ring) > nic(Algorithm::Tree));
    // Its phases follow each other, so it pays where the network is the slow part: one NIC a node, not eight.
    let faster = |fabric: &Fabric| {
        let c = Communicator::new(fabric, &Library::nccl(), &[first(32)]);
        let time = |a| c.time_of(Op::AllReduce, 1e10, &c.plan_as(Op::AllReduce, 1e10, a).unwrap());
        time(Algorithm::Hierarchical) < time(Algorithm::Ring)
    };
    assert!(faster(&boxes("h100-sxm", 4, 1)) && !faster(&fabric));
    assert!(c.plan_as(Op::AllGather, 1e6, Algorithm::Tree).is_none() && c.plan_as(Op::AllReduce, 1e6, Algorithm::Nvls).is_none());
}

#[test]
fn large_sizes_reach_the_measured_rates() {
    let busbw = |part: &str, n: u32, op| {
        let fabric = boxes(part, 1, 0);
        let c = Communicator::new(&fabric, &Library::nccl(), &[first(n)]);
        let bytes = 8.0 * 1024.0 * 1024.0 * 1024.0;
        bytes / c.time_alone(op, bytes) * busbw_factor(op, n as usize) / 1e9
    };
    // H200 listings: 361 to 363 GB/s for gathers at any n, NVLS all-reduce 414, 436, 460, 473 to 482 for n = 5 to 8.
    // The copy of the model costs a few per cent more than that.
    for n in [6, 8] {
        let got = busbw("h200-sxm", n, Op::AllGather);
        assert!((325.0..365.0).contains(&got), "{n}: {got}");
    }
    for (n, want) in [(5, 414.0), (6, 436.0), (7, 460.0), (8, 478.0)] {
        let got = busbw("h200-sxm", n, Op::AllReduce);
        assert!((got / want - 1.0).abs() < 0.04, "{n}: {got} against {want}");
    }
    let got = busbw("a100-sxm-80gb", 8, Op::AllReduce);
    assert!((got / 235.0 - 1.0).abs() < 0.03, "A100: {got}");
}

#[test]
fn the_library_switches_where_it_does() {
    // First size of the new choice on A100 and H100 (facts of NCCL 2.27 to 2.29 tables).
    let first_of = |part: &str, op, n, wanted: &dyn Fn(&Plan) -> bool| {
        let fabric = boxes(part, 1, 0);
        let c = Communicator::new(&fabric, &Library::nccl(), &[first(n)]);
        (9..33).map(|e| f64::from(1u32 << (e - 9)) * 512.0).find(|&b| wanted(&c.plan(op, b))).unwrap()
    };
    let mib = 1_048_576.0;
    assert_eq!(first_of("h100-sxm", Op::AllReduce, 8, &|p| p.algorithm == Algorithm::Nvls), 2.0 * mib);
    let simple = |p: &Plan| p.protocol == Protocol::Simple;
    assert_eq!(first_of("a100-sxm-80gb", Op::AllGather, 8, &simple), 16.0 * mib);
    assert_eq!(first_of("h100-sxm", Op::AllGather, 8, &simple), 32.0 * mib);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]

    /// Within one choice more bytes never take less time, and the order of groups changes nothing.
    #[test]
    fn monotone_and_symmetric(exponent in 10u32..32, n in 2u32..9, op in prop::sample::select(vec![Op::AllReduce, Op::AllGather, Op::ReduceScatter])) {
        let fabric = boxes("h100-sxm", 2, 8);
        let c = Communicator::new(&fabric, &Library::nccl(), &[first(n)]);
        let bytes = f64::from(exponent).exp2_exact();
        let (a, b) = (c.plan(op, bytes), c.plan(op, 1.5 * bytes));
        if (a.algorithm, a.protocol) == (b.algorithm, b.protocol) {
            prop_assert!(c.time_alone(op, 1.5 * bytes) >= c.time_alone(op, bytes) * (1.0 - 1e-12));
        }
        let groups: Vec<Vec<AcceleratorId>> = (0..8).map(|r| vec![AcceleratorId(r), AcceleratorId(r + 8)]).collect();
        let mut turned = groups.clone();
        turned.rotate_left(3);
        let time = |g: &[Vec<AcceleratorId>]| Communicator::new(&fabric, &Library::nccl(), g).time_alone(op, bytes);
        prop_assert!((time(&groups) / time(&turned) - 1.0).abs() < 1e-12);
    }
}

/// Powers of two without platform functions.
trait Exp2 {
    fn exp2_exact(self) -> f64;
}
impl Exp2 for f64 {
    fn exp2_exact(self) -> f64 {
        libm::exp2(self)
    }
}

#[test]
fn every_fourth_chip_of_a_torus_is_a_smaller_torus() {
    // 16 × 16 chips: the 64 at every fourth place of a row make a box of 4 × 16 that closes both ways; each hop along a row is four long.
    let text = "[[node]]\nname = \"n\"\naccelerator = \"tpu-v5e\"\naccelerators = 4\nscale_up = \"torus\"\nscale_up_domain = 256\ntorus = [16, 16]\n\
                host = \"tpu-host\"\n[fabric]\nkind = \"none\"\nnodes = 64\n";
    let mut diags = Diagnostics::new();
    let source = diags.add_source("t", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    let fabric = built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0;
    let group: Vec<AcceleratorId> = (0..64).map(|i| AcceleratorId(4 * i)).collect();
    let c = Communicator::new(&fabric, &Library::nccl(), &[group]);
    assert_eq!(c.plan(Op::AllGather, 1e9).algorithm, Algorithm::Torus);
    let odd: Vec<AcceleratorId> = [0, 1, 3, 7].map(AcceleratorId).to_vec();
    let c = Communicator::new(&fabric, &Library::nccl(), &[odd]);
    assert_eq!(c.plan(Op::AllGather, 1e9).algorithm, Algorithm::Ring);
}

#[test]
fn fewer_wired_links_slow_the_ring_in_proportion() {
    let node = |links: &str| {
        let text = format!(
            "[[node]]\nname = \"n\"\naccelerator = \"a100-sxm-80gb\"\naccelerators = 8\nscale_up = \"nvswitch\"\n{links}host = \"dgx-a100\"\n[fabric]\nkind = \"none\"\n"
        );
        let mut diags = Diagnostics::new();
        let source = diags.add_source("t", text);
        let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
        built.map(|b| b.0)
    };
    let rate = |fabric: &Fabric| {
        let c = Communicator::new(fabric, &Library::nccl(), &[first(8)]);
        let (small, large) = (1e9, 2e9);
        (large - small) / (c.time_alone(Op::AllReduce, large) - c.time_alone(Op::AllReduce, small))
    };
    let (all, four) = (node("").unwrap(), node("scale_up_links = 4\n").unwrap());
    assert!((rate(&four) / rate(&all) - 4.0 / 12.0).abs() < 1e-6, "{} of {}", rate(&four), rate(&all));
    assert!(node("scale_up_links = 13\n").is_none());
}
