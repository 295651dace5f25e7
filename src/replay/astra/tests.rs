//! ASTRA-sim's cycles, closed forms against messages, one rank against all.

use super::*;
use crate::workload::trace::astra::{Algorithm, Dimension, Wiring};
use TraceCollective::{AllGather, AllReduce, AllToAll, ReduceScatter};
use proptest::prelude::*;

fn dimension(wiring: Wiring, count: u32, bandwidth: f64, latency_nanos: f64) -> Dimension {
    Dimension { wiring, count, bandwidth, latency_nanos }
}

/// The system of the measured cases: 4 splits, 1 active chunk, end-point delay 10, memory 1600.
fn machine(dimensions: Vec<Dimension>, word: &str, backend: Backend) -> Machine {
    let algorithm = Algorithm { by_dimension: vec![word.to_owned(); dimensions.len()], custom: Vec::new() };
    let system = System {
        endpoint_delay: Some(10.0),
        active_chunks_per_dimension: Some(1.0),
        preferred_dataset_splits: Some(4.0),
        all_reduce: algorithm.clone(),
        all_gather: algorithm.clone(),
        reduce_scatter: algorithm.clone(),
        all_to_all: algorithm,
        collective_optimization: Some("localBWAware".to_owned()),
        local_mem_bw: Some(1600.0),
        ..System::default()
    };
    let memory = Memory { kind: MemoryKind::NoExpansion, latency_nanos: None, bytes_per_nano: None, nodes: None, per_node: None };
    Machine { network: Network { dimensions }, system, memory, backend }
}

fn ring(count: u32) -> Vec<Dimension> {
    vec![dimension(Wiring::Ring, count, 50.0, 500.0)]
}

/// Switches of 8 at 400 GB/s inside, slower ones outside.
fn switches(outer: &[u32]) -> Vec<Dimension> {
    let outside = outer.iter().map(|&n| dimension(Wiring::Switch, n, 50.0, 1000.0));
    std::iter::once(dimension(Wiring::Switch, 8, 400.0, 936.25)).chain(outside).collect()
}

const MIB: f64 = 1_048_576.0;

fn nanos(machine: &Machine, op: TraceCollective) -> u64 {
    let ranks: Vec<u32> = (0..machine.network.ranks()).collect();
    Collectives::default().nanos(machine, op, MIB, &ranks).unwrap()
}

#[test]
fn rings_take_the_cycles_of_astra_sim() {
    for backend in [Backend::Unaware, Backend::Aware] {
        for (op, ranks, cycles) in [
            (AllReduce, 8, 64_440),
            (AllGather, 8, 151_016),
            (AllToAll, 8, 125_480),
            (AllReduce, 64, 296_896),
            (AllGather, 64, 1_358_824),
            (AllToAll, 64, 4_725_544),
            (AllReduce, 512, 2_121_712),
            (AllGather, 512, 11_021_288),
        ] {
            assert_eq!(nanos(&machine(ring(ranks), "ring", backend), op), cycles, "{op:?} over {ranks}, {backend}");
        }
    }
}

/// ASTRA-sim's own regression, with a slow memory, and its H100 box, with two chunks at a time on the aware backend.
#[test]
fn its_own_inputs_take_the_cycles_of_astra_sim() {
    let mut slow = machine(ring(8), "ring", Backend::Aware);
    slow.system.local_mem_bw = Some(50.0);
    assert_eq!(nanos(&slow, AllReduce), 117_780);
    let mut h100 = machine(vec![dimension(Wiring::Switch, 8, 400.0, 936.25)], "ring", Backend::Aware);
    h100.system.local_mem_bw = Some(3350.0);
    h100.system.active_chunks_per_dimension = Some(2.0);
    let ranks: Vec<u32> = (0..8).collect();
    for (mib, micros) in [(1.0, 57.4), (4.0, 71.7), (16.0, 128.8), (64.0, 357.3), (256.0, 1271.0), (1024.0, 4927.0)] {
        let nanos = Collectives::default().nanos(&h100, AllReduce, mib * MIB, &ranks).unwrap();
        assert!((nanos as f64 / (micros * 1e3) - 1.0).abs() < 1e-3, "{mib} MiB: {nanos} ns");
    }
}

#[test]
fn rings_in_several_dimensions_take_the_cycles_of_astra_sim() {
    for (outer, op, cycles) in [
        (&[8][..], AllReduce, 144_876),
        (&[8], AllGather, 240_381),
        (&[8], AllToAll, 348_314),
        (&[64], AllReduce, 1_045_468),
        (&[64], AllGather, 2_023_449),
        (&[8, 64], AllReduce, 1_070_702),
        (&[8, 64], AllGather, 11_441_210),
    ] {
        assert_eq!(nanos(&machine(switches(outer), "ring", Backend::Unaware), op), cycles, "{op:?} over 8 x {outer:?}");
    }
}

#[test]
fn other_algorithms_take_the_cycles_of_astra_sim() {
    let switch = vec![dimension(Wiring::Switch, 64, 50.0, 936.25)];
    assert_eq!(nanos(&machine(switch.clone(), "halvingDoubling", Backend::Aware), AllReduce), 168_164);
    assert_eq!(nanos(&machine(switch, "direct", Backend::Aware), AllToAll), 27_024);
    assert_eq!(nanos(&machine(switches(&[64]), "direct", Backend::Unaware), AllToAll), 10_352);
    assert_eq!(nanos(&machine(switches(&[8, 64]), "direct", Backend::Unaware), AllToAll), 14_584);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// One rank that stands for all, chunks that take turns with closed forms, and every rank message by message agree.
    #[test]
    fn the_closed_form_is_what_messages_take(
        sides in prop::collection::vec((2u32..6, 0usize..3, 1.0f64..900.0, 0.0f64..3000.0), 1..4),
        op in prop::sample::select(vec![AllReduce, AllGather, ReduceScatter, AllToAll]),
        word in prop::sample::select(vec!["ring", "direct", "direct2"]),
        splits in 1u32..6, active in 1u32..4, bytes in 1u32..4_000_000, halves: bool,
    ) {
        let wiring = [Wiring::Ring, Wiring::Switch, Wiring::FullyConnected];
        let dimensions: Vec<_> = sides.iter().map(|&(n, w, b, l)| dimension(wiring[w], n, b, l)).collect();
        let one = dimensions.len() == 1;
        let mut m = machine(dimensions, word, Backend::Unaware);
        m.system.preferred_dataset_splits = Some(f64::from(splits));
        m.system.active_chunks_per_dimension = Some(f64::from(active));
        if !halves {
            m.system.collective_optimization = None;
        }
        let ranks: Vec<u32> = (0..m.network.ranks()).collect();
        let folded = m.plan(op, f64::from(bytes), &ranks).unwrap();
        prop_assert_eq!(folded.nanos(), folded.by_messages());
        if one {
            let all = m.plan(op, f64::from(bytes), &ranks).unwrap().apart();
            prop_assert_eq!(folded.nanos(), all.by_messages());
            m.backend = Backend::Aware;
            let folded = m.plan(op, f64::from(bytes), &ranks).unwrap();
            let all = m.plan(op, f64::from(bytes), &ranks).unwrap().apart();
            prop_assert_eq!(folded.by_messages(), all.by_messages());
            if active == 1 {
                prop_assert_eq!(folded.nanos(), folded.by_messages());
            }
        }
    }
}

#[test]
fn groups_are_one_ring_with_an_end_point_of_their_own() {
    let m = machine(switches(&[8]), "direct", Backend::Unaware);
    let inside: Vec<u32> = (0..8).collect();
    let across: Vec<u32> = (0..8).map(|i| i * 8).collect();
    // A ring whatever the words: 4 chunks of 10 + 14 messages of (2 × 936.25 + 32,768 / 429.5 + 10), with 7 reductions of 3 × 20.
    let mut known = Collectives::default();
    assert_eq!(known.nanos(&m, AllReduce, MIB, &inside), Ok(4 * (10 + 14 * (1948 + 10) + 7 * 60)));
    assert_eq!(known.nanos(&m, AllReduce, MIB, &across), Ok(4 * (10 + 14 * (2610 + 10) + 7 * 60)));
    // A ring that leaves the inner switch twice: the slow hops are not on every rank's way at the same time.
    let mixed = known.nanos(&m, AllReduce, MIB, &[0, 1, 2, 3, 8, 9, 10, 11]).unwrap();
    assert!(mixed > 4 * (14 * 1958) && mixed < 4 * (10 + 14 * (2610 + 10) + 7 * 60), "{mixed}");
    assert_eq!(known.nanos(&m, AllReduce, MIB, &[3]), Ok(0));
}

#[test]
fn what_astra_sim_does_not_have_is_said() {
    let m = machine(switches(&[6]), "halvingDoubling", Backend::Unaware);
    let ranks: Vec<u32> = (0..48).collect();
    let said = |op| Collectives::default().nanos(&m, op, MIB, &ranks).unwrap_err();
    assert_eq!(said(TraceCollective::Barrier), "ASTRA-sim has no barrier");
    assert_eq!(said(AllReduce), "halvingDoubling has no all-reduce over 6 ranks");
    let mut m = machine(ring(8), "doubleBinaryTree", Backend::Aware);
    let said = Collectives::default().nanos(&m, AllReduce, MIB, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap_err();
    assert!(said.starts_with("`doubleBinaryTree` of `all-reduce-implementation` is not run here"), "{said}");
    m.network.dimensions.extend(ring(2));
    m.system.roofline_enabled = Some(true);
    m.system.model_shared_bus = Some(true);
    assert_eq!(m.faults().iter().map(|f| f.0).collect::<Vec<_>>(), [0, 1, 1]);
    assert!(m.replays(TraceCollective::Broadcast) && !m.replays(AllReduce));
}

#[test]
fn compute_and_memory_by_the_files() {
    let mut m = machine(ring(8), "ring", Backend::Unaware);
    assert_eq!(m.compute_nanos(Some(2.5), 1e12, 1e9, false), 2500);
    assert_eq!(m.compute_nanos(None, 1e12, 1e9, false), 1, "ASTRA-sim gives what was not recorded one cycle");
    m.system.roofline_enabled = Some(true);
    m.system.peak_perf = Some(100.0);
    assert_eq!(m.compute_nanos(Some(2.5), 1e12, 1e9, false), 10_000_000, "compute-bound");
    assert_eq!(m.compute_nanos(Some(2.5), 1e9, 1e9, false), 625_000, "memory-bound");
    assert_eq!(m.compute_nanos(Some(2.5), 1e9, 0.0, false), 0);
    assert_eq!(m.compute_nanos(Some(2.5), 1e9, 1e9, true), 2500, "host work is what was recorded");
    m.memory =
        Memory { kind: MemoryKind::PerNode, latency_nanos: Some(100.0), bytes_per_nano: Some(2.0), nodes: None, per_node: Some(4.0) };
    assert_eq!((m.memory_nanos(1000.0), m.memory_of(7)), (600, Some(1)));
    assert_eq!(m.message_nanos(0, 6, 53_687.0), 1000 + 999);
}
