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

/// Two PCIe cards that cannot reach each other's memory: two steps of 20 us, 16 GB/s, and the low-latency protocol for small messages.
#[test]
fn copies_through_host_memory() {
    let pair = |access: &str| {
        let text = format!(
            "[[node]]\nname = \"n\"\naccelerator = \"rtx-pro-6000-server\"\naccelerators = 2\nscale_up = \"pcie\"\n{access}host = \"pcie-16\"\n[fabric]\nkind = \"none\"\n"
        );
        let mut diags = Diagnostics::new();
        let source = diags.add_source("t", text);
        let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
        built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0
    };
    let time = |access: &str, bytes: f64| {
        let fabric = pair(access);
        Communicator::new(&fabric, &Library::nccl(), &[first(2)]).time_alone(Op::AllReduce, bytes)
    };
    let (staged, bytes) = ("peer_access = false\n", 1.31e6);
    assert!((time(staged, bytes) / (40e-6 + bytes / (1.007 * 16e9)) - 1.0).abs() < 1e-6);
    assert!(time(staged, bytes) > 1.2 * time("", bytes) && time(staged, 8192.0) < 15e-6);
    assert_eq!(time("peer_access = true\n", bytes), time("", bytes));
    // Half of a limit that is said.
    assert!(time("peer_access = false\npeer_copy_limit = \"10 GB/s\"\n", bytes) > 1.31e6 / 5.1e9);
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

/// Bytes per byte of payload on all links of a kind together.
fn on(c: &Communicator<'_>, fabric: &Fabric, op: Op, algorithm: Algorithm, kind: LinkKind) -> f64 {
    c.traffic(op, algorithm).iter().filter(|(l, _)| fabric.link(*l).kind == kind).map(|x| x.1).sum()
}

#[test]
fn rings_of_a_cube_mesh() {
    let text = "[[node]]\nname = \"n\"\naccelerator = \"v100-sxm2-32gb\"\naccelerators = 8\nscale_up = \"cube-mesh\"\nhost = \"dgx-1\"\n[fabric]\nkind = \"none\"\n";
    let mut diags = Diagnostics::new();
    let source = diags.add_source("t", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    let fabric = built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0;
    let found: Vec<usize> = (2..=8).map(|n| super::rings::rings_in(&fabric, &first(n)).len()).collect();
    assert_eq!(found, [1, 2, 4, 0, 2, 4, 6], "rings of 2 to 8 V100, as found in a DGX-1");
}

#[test]
fn reductions_in_switches_put_their_bytes_on_the_wire_once() {
    let fabric = boxes("h100-sxm", 4, 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(32)]);
    let nic = |a| on(&c, &fabric, Op::AllReduce, a, LinkKind::Nic);
    // The tree between boxes is that of plain NVLink; SHARP sends every node's buffer up and down once.
    assert!((nic(Algorithm::NvlsTree) - nic(Algorithm::Tree)).abs() < 1e-9);
    assert!((nic(Algorithm::Collnet) - 2.0 * 4.0).abs() < 1e-9, "{}", nic(Algorithm::Collnet));
    // Inside a box a rank sends its buffer and, as owner, an eighth.
    let scale_up = on(&c, &fabric, Op::AllReduce, Algorithm::Collnet, LinkKind::ScaleUp);
    assert!((scale_up - 2.0 * 32.0 * (1.0 + 1.0 / 8.0)).abs() < 1e-9, "{scale_up}");
    assert!(c.plan_as(Op::AllReduce, 1e9, Algorithm::Collnet).is_some() && c.plan_as(Op::AllGather, 1e9, Algorithm::Collnet).is_none());
    // NVLS is a cap on the wire, not on bus bandwidth: s (1 + 1/n) at one rate for every n.
    let box8 = boxes("h200-sxm", 1, 0);
    let wire = |n: u32| {
        let c = Communicator::new(&box8, &Library::nccl(), &[first(n)]);
        let time = |bytes| c.time_of(Op::AllReduce, bytes, &c.plan_as(Op::AllReduce, bytes, Algorithm::Nvls).unwrap());
        (1.0 + 1.0 / f64::from(n)) * 8e9 / (time(16e9) - time(8e9))
    };
    assert!([6, 7, 8].iter().all(|&n| (wire(n) / wire(5) - 1.0).abs() < 1e-9));
}

#[test]
fn rooted_operations_barriers_and_messages() {
    let fabric = boxes("h100-sxm", 2, 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(16)]);
    // A chain: 7 of 8 edges inside the root's box, 8 in the other, one between them; over 8 rails.
    for op in [Op::Broadcast, Op::Reduce] {
        assert!((on(&c, &fabric, op, Algorithm::Ring, LinkKind::Nic) - 2.0).abs() < 1e-9, "{op}");
    }
    let star = |op| on(&c, &fabric, op, Algorithm::Direct, LinkKind::Nic);
    assert!((star(Op::Gather) - 2.0 * 8.0 / 16.0).abs() < 1e-9 && (star(Op::Scatter) - star(Op::Gather)).abs() < 1e-9);
    let barrier = c.plan(Op::Barrier, 0.0);
    assert!((c.time_of(Op::Barrier, 0.0, &barrier) / c.time_alone(Op::AllReduce, 8.0) - 1.0).abs() < 1e-12);
    assert!(c.traffic(Op::Barrier, barrier.algorithm).is_empty());
    let pair = Communicator::new(&fabric, &Library::nccl(), &[[0, 8].map(AcceleratorId).to_vec()]);
    let (one, two) = (pair.time_alone(Op::SendRecv, 1e9), pair.time_alone(Op::SendRecv, 2e9));
    assert!(((two - one) / (1e9 / pair.link_rate(Op::SendRecv, Algorithm::Direct)) - 1.0).abs() < 1e-9);
}

#[test]
fn engines_go_from_one_shot_to_two_shot_to_the_library() {
    let fabric = boxes("h100-sxm", 1, 0);
    let c = Communicator::new(&fabric, &Library::of(Engine::Sglang), &[first(8)]);
    let algorithm = |kib: f64| c.plan(Op::AllReduce, kib * 1024.0).algorithm;
    assert_eq!(algorithm(16.0), Algorithm::OneShot);
    assert_eq!(algorithm(1024.0), Algorithm::TwoShot);
    assert_eq!(algorithm(64.0 * 1024.0), Algorithm::Nvls);
}

#[test]
fn a_protocol_of_ones_own() {
    let (fabric, blackwell) = (boxes("h100-sxm", 1, 0), boxes("b200-sxm", 1, 0));
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(8)]);
    let time = |p, bytes| c.time_of(Op::AllGather, bytes, &c.plan_by(Op::AllGather, bytes, None, Some(p)).unwrap());
    let order = |bytes| [Protocol::Ll, Protocol::Ll128, Protocol::Simple].map(|p| time(p, bytes));
    let (small, large) = (order(1024.0), order(1e9));
    assert!(small[0] < small[1] && small[1] < small[2], "{small:?}");
    assert!(large[2] < large[0], "{large:?}");
    // Half the rate of the bulk protocol, less its 1.007.
    let slope = |p| time(p, 4e9) - time(p, 2e9);
    assert!((slope(Protocol::Ll) / slope(Protocol::Simple) - 1.007 / 0.5).abs() < 1e-9);
    assert!(c.plan_by(Op::AllToAll, 1e6, None, Some(Protocol::Ll)).is_none());
    let b200 = Communicator::new(&blackwell, &Library::nccl(), &[first(8)]);
    assert!(b200.plan_by(Op::AllReduce, 1e6, None, Some(Protocol::Ll128)).is_none());
    assert!(b200.plan_by(Op::AllReduce, 1e6, Some(Algorithm::Nvls), Some(Protocol::Ll)).is_none());
}

#[test]
fn channels_bound_the_rate_and_hold_units() {
    let fabric = boxes("h100-sxm", 2, 8);
    let of = |channels, n| Communicator::new(&fabric, &Library { channels, ..Library::nccl() }, &[first(n)]);
    let slope = |c: &Communicator<'_>| {
        let time = |b| c.time_of(Op::AllGather, b, &c.plan_by(Op::AllGather, b, None, Some(Protocol::Simple)).unwrap());
        7.0 / 8.0 * 2e9 / (time(4e9) - time(2e9))
    };
    // Four channels of 36.7 GB/s (and the copy that shows beside the wire); as many as the library opens are no limit.
    let copy = 1.0 + 0.6 / 7.0;
    assert!((slope(&of(Some(4), 8)) * copy / (1.007 * 4.0 * 36.7e9) - 1.0).abs() < 1e-9);
    assert_eq!(slope(&of(Some(20), 8)), slope(&of(None, 8)));
    let share = |channels| of(channels, 8).plan(Op::AllReduce, 1e9).kernel_sm_share;
    assert!((share(Some(4)) - 4.0 / 132.0).abs() < 1e-12 && (share(None) - 20.0 / 132.0).abs() < 1e-12);
    // Between nodes too: eight NICs bring 400 GB/s, four channels no more than their own.
    let across = |channels| of(channels, 16).time_alone(Op::AllGather, 8e9);
    assert!(across(Some(4)) > 2.0 * across(None) && across(Some(1)) > 3.9 * across(Some(4)));
}

#[test]
fn protocols_between_nodes_follow_the_library() {
    let fabric = boxes("h100-sxm", 4, 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(32)]);
    let time = |a, p, bytes| c.time_of(Op::AllReduce, bytes, &c.plan_by(Op::AllReduce, bytes, Some(a), Some(p)).unwrap());
    // NCCL's own steps: 6.6 + 56 steps of 1 us inside (posting to the network bounds them) + 6 of 2.7 us between nodes, in a ring;
    // 6.8 less 0.2 + 2 (7 x 0.6 + 2 x 5) us in a tree.
    assert!((time(Algorithm::Ring, Protocol::Ll, 1.0) - (6.6 + 56.0 + 6.0 * 2.7) * 1e-6).abs() < 1e-9);
    assert!((time(Algorithm::Tree, Protocol::Ll, 1.0) - (6.6 + 2.0 * (7.0 * 0.6 + 2.0 * 5.0)) * 1e-6).abs() < 1e-9);
    // Flags take half of a ring's rate, and all but a 3.8th of a tree's.
    let slope = |a, p| time(a, p, 4e9) - time(a, p, 2e9);
    assert!((slope(Algorithm::Ring, Protocol::Ll) / slope(Algorithm::Ring, Protocol::Simple) - 2.0).abs() < 1e-9);
    assert!((slope(Algorithm::Tree, Protocol::Ll) / slope(Algorithm::Tree, Protocol::Simple) - 3.8).abs() < 1e-9);
    let best = |p| c.plan_by(Op::AllReduce, 8.0, None, Some(p)).unwrap().algorithm;
    assert_eq!(best(Protocol::Ll), Algorithm::Tree);
    assert!(c.plan_by(Op::AllReduce, 8.0, Some(Algorithm::NvlsTree), Some(Protocol::Ll)).is_none());
}

/// One node whose accelerators are joined without a switch.
fn mesh(part: &str, accelerators: u32) -> Fabric {
    let text = format!(
        "[[node]]\nname = \"n\"\naccelerator = \"{part}\"\naccelerators = {accelerators}\nscale_up = \"full-mesh\"\nhost = \"dgx-h100\"\n[fabric]\nkind = \"none\"\n"
    );
    let mut diags = Diagnostics::new();
    let source = diags.add_source("t", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    built.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain))).0
}

#[test]
fn a_pair_on_a_board_of_four_has_a_third_of_the_links() {
    let rate = |fabric: &Fabric, ranks| Communicator::new(fabric, &Library::nccl(), &[first(ranks)]).plan(Op::AllReduce, 1e9).rate_cap;
    let (board, switched) = (mesh("h100-sxm", 4), boxes("h100-sxm", 1, 0));
    let pair = rate(&board, 2);
    assert!((rate(&switched, 2) / pair - 3.0).abs() < 0.05, "{pair}");
    // Six rings of three links each use them all, and nothing adds up inside a switch.
    let c = Communicator::new(&board, &Library::nccl(), &[first(4)]);
    assert!((rate(&board, 4) / rate(&switched, 4) - 1.0).abs() < 0.05);
    assert_eq!(c.plan(Op::AllReduce, 1e9).algorithm, Algorithm::Ring);
}

#[test]
fn boxes_of_mi300x_choose_as_rccl_does() {
    let fabric = mesh("mi300x", 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(8)]);
    assert!(!c.is_measured() && !c.knows_channels());
    // LL at 0.08 of the rate: 12 + 0.8 x 14 us; then the bulk protocol, seven rings of 48 GB/s.
    let small = c.plan(Op::AllReduce, 1024.0);
    assert_eq!((small.algorithm, small.protocol), (Algorithm::Ring, Protocol::Ll));
    assert!((small.latency_s - 23.2e-6).abs() < 1e-9);
    let large = c.plan(Op::AllReduce, 1e9);
    assert_eq!(large.protocol, Protocol::Simple);
    assert!((large.rate_cap * 1.75 / (1.007 * 336e9) - 1.0).abs() < 1e-9, "{}", large.rate_cap);
    // They switch where the library's estimates meet: 17 + 2.1 x 14 less 12 + 0.8 x 14 us at 1.75 bytes (1 / 26.88 - 1 / 336) GB/s.
    let meet = 23.2e-6 / (1.75 * (1.0 / 26.88e9 - 1.0 / 336e9));
    assert_eq!(c.plan(Op::AllReduce, 0.99 * meet).protocol, Protocol::Ll);
    assert_eq!(c.plan(Op::AllReduce, 1.01 * meet).protocol, Protocol::Simple);
}

fn deepseek(units: f64) -> Routing {
    Routing { hidden: 7168, experts: 256, per_token: 8, groups: None, dispatch_bytes: 1.0, compute_units: units }
}

#[test]
fn one_copy_crosses_the_network_and_is_passed_on_inside() {
    let fabric = boxes("h100-sxm", 4, 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(32)]).with_routing(deepseek(20.0));
    let nic = |op, a| on(&c, &fabric, op, a, LinkKind::Nic) / 2.0 / 32.0;
    // 2.71 other domains of 4; all 8 copies but those for the own domain.
    assert!((nic(Op::Dispatch, Algorithm::OneCopy) - 2.71).abs() < 0.01);
    assert!((nic(Op::Dispatch, Algorithm::LowLatency) - 8.0 * 0.75).abs() < 1e-9);
    assert!((nic(Op::Combine, Algorithm::OneCopy) - nic(Op::Dispatch, Algorithm::OneCopy)).abs() < 1e-9, "the way back is the way there");
    let factor = c.busbw_factor(Op::Dispatch, Algorithm::OneCopy);
    assert!((factor - nic(Op::Dispatch, Algorithm::OneCopy)).abs() < 1e-9);
    // Few tokens take the low-latency kernels, many those of high throughput, which hold their compute units.
    let plan = |tokens: f64| c.plan(Op::Dispatch, tokens * deepseek(20.0).row(Op::Dispatch, Algorithm::OneCopy));
    assert_eq!((plan(16.0).algorithm, plan(4096.0).algorithm), (Algorithm::LowLatency, Algorithm::OneCopy));
    assert!((plan(4096.0).kernel_sm_share - 20.0 / 132.0).abs() < 1e-12 && plan(16.0).kernel_sm_share == 0.0);
    // Without a routing nothing is known of experts: an even all-to-all.
    let blind = Communicator::new(&fabric, &Library::nccl(), &[first(32)]);
    assert_eq!(blind.plan(Op::Dispatch, 1e8).algorithm, Algorithm::Pairwise);
    assert!(blind.plan_as(Op::Dispatch, 1e8, Algorithm::OneCopy).is_none());
}

#[test]
fn token_exchange_takes_the_measured_time() {
    // DeepEP's own listing on H100-class NICs, 4,096 tokens of 7,168, 8 of 256 experts: 24 units saturate NVLink, few pace it.
    let fabric = boxes("h100-sxm", 1, 0);
    let time = |units: f64| {
        let routing = deepseek(units);
        let c = Communicator::new(&fabric, &Library::nccl(), &[first(8)]).with_routing(routing);
        let bytes = 4096.0 * routing.row(Op::Dispatch, Algorithm::OneCopy);
        c.time_of(Op::Dispatch, bytes, &c.plan_as(Op::Dispatch, bytes, Algorithm::OneCopy).unwrap())
    };
    let (few, many, more) = (time(4.0), time(24.0), time(48.0));
    assert!(few > 3.5 * many && many < 1.15 * more, "{few} {many} {more}");
    // 336 GB/s inside: 4.64 copies of 7,456 bytes.
    let links = 4096.0 * 4.64 * 7456.0 / 336e9;
    assert!((more / (27e-6 + links) - 1.0).abs() < 0.02, "{more} and {links}");
    // 24 units of a B200 keep up with its links (643 to 675 GB/s of a listing).
    let faster = boxes("b200-sxm", 1, 0);
    let routing = deepseek(24.0);
    let c = Communicator::new(&faster, &Library::nccl(), &[first(8)]).with_routing(routing);
    let plan = c.plan_as(Op::Dispatch, 1e9, Algorithm::OneCopy).unwrap();
    let rate = plan.rate_cap * c.busbw_factor(Op::Dispatch, Algorithm::OneCopy);
    assert!((580e9..680e9).contains(&rate), "{rate}");
}

#[test]
fn messages_of_a_nic_take_their_time() {
    let fabric = boxes("h100-sxm", 4, 8);
    let c = Communicator::new(&fabric, &Library::nccl(), &[first(32)]);
    // 24 messages to other boxes at 330 million a second.
    let start = c.plan(Op::AllToAll, 1024.0).latency_s;
    let network = super::across::Network::of(crate::hardware::NicProtocol::Infiniband, "", 4.0).exchange();
    assert!(((start - network) / (24.0 / 3.3e8) - 1.0).abs() < 1e-6, "{start}");
}

#[test]
fn collectives_draw_on_memory() {
    let fabric = boxes("h100-sxm", 4, 8);
    let inside = Communicator::new(&fabric, &Library::nccl(), &[first(8)]);
    let bandwidth = 0.92 * fabric.part(AcceleratorId(0)).memory_bandwidth.get();
    let draws = |c: &Communicator<'_>, op, a| c.memory_time(op, a) * bandwidth;
    // A ring: three accesses for every byte of 2 (n − 1) / n; over the network five.
    assert!((draws(&inside, Op::AllReduce, Algorithm::Ring) - 3.0 * 14.0 / 8.0).abs() < 1e-9);
    let rail = Communicator::new(&fabric, &Library::nccl(), &[[0, 8, 16, 24].map(AcceleratorId).to_vec()]);
    assert!((draws(&rail, Op::AllReduce, Algorithm::Ring) - 5.0 * 1.5).abs() < 1e-9);
    // NVLS copies to its buffers and back: six for the buffer.
    assert!((draws(&inside, Op::AllReduce, Algorithm::Nvls) - 5.3 * 1.125).abs() < 1e-9);
    // A message: one end reads, the other writes, reads and writes, each the mean of the two.
    assert!((draws(&inside, Op::SendRecv, Algorithm::Direct) - 4.0 / 8.0).abs() < 1e-9);
}
