//! Closed forms and invariants of whole steps: pipeline bubble, scaling of rates, symmetry.

use crate::{fabric, gpt, whole_nodes};
use orrery::collectives::{Communicator, Library, Op};
use orrery::fabric::{AcceleratorId, Fabric};
use orrery::simulate::{Network, Route, Way, execute};
use orrery::training::{Config, Op as Step, Parallel, Schedule, program_of, simulate_step};
use orrery::workload::{ClassId, GraphBuilder, Task, TaskKind, Track, Work};
use proptest::prelude::*;
use std::rc::Rc;

fn dgx(nodes: u32, extra: &str) -> Fabric {
    fabric(&format!(
        "[[node]]\nname = \"dgx\"\naccelerator = \"a100-sxm-80gb\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-a100\"\nnic = \"cx6-hdr200\"\nnics = 8\n\
         [fabric]\nkind = \"rail-optimised\"\nnodes = {nodes}\nlevels = 3\nswitch = \"qm8700\"\n{extra}"
    ))
}

fn compute(class: u32, seconds: f64) -> Task {
    Task::new(ClassId(class), Track::Compute, TaskKind::Forward, Work::Compute { seconds })
}

/// A pipeline of stages that take `f` forward and `2 f` backward for each chunk, without communication.
fn ideal_pipeline(stages: u64, chunks: u64, microbatches: u64, f: f64) -> f64 {
    pipeline_of(Schedule::OneForwardOneBackward, stages, chunks, microbatches, [f, 2.0 * f, 0.0])
}

/// The same under a schedule; seconds of forward pass, of backward pass, and of what it leaves out.
fn pipeline_of(schedule: Schedule, stages: u64, chunks: u64, microbatches: u64, seconds: [f64; 3]) -> f64 {
    pipeline_spans(schedule, stages, chunks, microbatches, seconds).0
}

/// The end of such a pipeline, and the longest time between the start of a stage's first pass and the end of its last.
fn pipeline_spans(schedule: Schedule, stages: u64, chunks: u64, microbatches: u64, seconds: [f64; 3]) -> (f64, f64) {
    let layout = Parallel { pipeline: stages, virtual_stages: chunks, schedule, ..Parallel::default() };
    let [f, b, w] = seconds;
    let whole = if schedule.sends_aside() { b + w } else { b };
    let mut graph = GraphBuilder::new();
    let mut ends = std::collections::BTreeMap::new();
    let mut needs = Vec::new();
    for stage in 0..stages {
        let mut last = None;
        for op in program_of(schedule, stage, stages, chunks, microbatches) {
            let (time, passes) = match op {
                Step::Weights { .. } => (w, vec![]),
                Step::Forward { microbatch, chunk } => (f, vec![(true, microbatch, chunk)]),
                Step::Backward { microbatch, chunk } => (whole, vec![(false, microbatch, chunk)]),
                Step::Inputs { microbatch, chunk } => (b, vec![(false, microbatch, chunk)]),
                Step::Pair { forward, backward } => (f + whole, vec![(true, forward.0, forward.1), (false, backward.0, backward.1)]),
                Step::Exchange { .. } => continue,
            };
            let id = graph.add(compute(stage as u32, time), last.as_slice());
            last = Some(id);
            for (forward, m, chunk) in passes {
                let at = layout.virtual_stage(stage, u64::from(chunk));
                ends.insert((forward, m, at), id);
                needs.push((forward, m, at, id));
            }
        }
    }
    for (forward, m, at, id) in needs {
        let before = match (forward, layout.enters(at), layout.leaves(at)) {
            (true, true, _) => continue,
            (true, false, _) => (true, m, at - 1),
            (false, _, true) => (true, m, at),
            (false, _, false) => (false, m, at + 1),
        };
        graph.depend(ends[&before], id);
    }
    let fabric = dgx(1, "");
    let graph = graph.finish();
    let run = execute(&graph, &Network::new(&fabric), stages as usize, &[]).unwrap();
    let span = |stage: u64| {
        let own = || graph.tasks().iter().enumerate().filter(move |(_, t)| u64::from(t.class.0) == stage).map(|(i, _)| i);
        own().map(|i| run.finish[i]).fold(0.0, f64::max) - own().map(|i| run.start[i]).fold(f64::INFINITY, f64::min)
    };
    (run.makespan, (0..stages).map(span).fold(0.0, f64::max))
}

#[test]
fn bubble_of_1f1b_and_interleaved() {
    for (p, v, m) in [(4, 1, 8), (8, 1, 32), (2, 1, 2), (4, 2, 8), (8, 3, 24), (4, 4, 16)] {
        let f = 1e-3;
        let ideal = (m * v) as f64 * 3.0 * f;
        let time = ideal_pipeline(p, v, m, f);
        let bubble = (time - ideal) / time;
        let want = (p - 1) as f64 / ((m * v + p - 1) as f64);
        assert!((bubble - want).abs() < 1e-9, "p {p} v {v} m {m}: {bubble} against {want}");
    }
}

#[test]
fn bubble_of_gpipe_and_zero_bubble() {
    for (p, m) in [(4, 8), (8, 32), (2, 4)] {
        let (f, b, w) = (1.0e-3, 1.1e-3, 0.9e-3);
        let work = m as f64 * (f + b + w);
        let stages = (p - 1) as f64;
        let gpipe = pipeline_of(Schedule::Gpipe, p, 1, m, [f, b + w, 0.0]) - work;
        assert!((gpipe - stages * (f + b + w)).abs() < 1e-9, "{gpipe}");
        // arXiv 2401.10241, table 1: (p − 1)(F + B − W).
        let zero = pipeline_of(Schedule::ZeroBubble, p, 1, m, [f, b, w]) - work;
        assert!((zero - stages * (f + b - w)).abs() < 1e-9, "p {p} m {m}: {zero} against {}", stages * (f + b - w));
    }
}

#[test]
fn bubble_of_schedules_with_two_chunks() {
    for (p, m) in [(4, 16), (8, 32), (2, 4)] {
        // arXiv 2401.10241, section 6: no gap on any stage where the three parts of a pass take as long.
        let f = 1.0e-3;
        let work = 2.0 * m as f64 * 3.0 * f;
        let (_, span) = pipeline_spans(Schedule::ZbV, p, 2, m, [f, f, f]);
        assert!((span - work).abs() < 1e-9, "ZB-V p {p} m {m}: {} of bubble", (span - work) / f);
        // Table of the DualPipe repository: (p / 2 − 1)(F&B + B − 3 W), here with F&B = F + B, and B with the gradients of weights.
        let bubble = |places: u64| (places - 1) as f64 * (3.0 * f + 2.0 * f - 3.0 * f);
        let both = pipeline_of(Schedule::DualPipe, p, 2, m, [f, f, f]) - m as f64 * 3.0 * f;
        assert!((both - bubble(p / 2)).abs() < 1e-9, "p {p} m {m}: {both} against {}", bubble(p / 2));
        let vee = pipeline_of(Schedule::DualPipeV, p, 2, m, [f, f, f]) - 2.0 * m as f64 * 3.0 * f;
        assert!((vee - bubble(p)).abs() < 1e-9, "V p {p} m {m}: {vee} against {}", bubble(p));
    }
}

#[test]
fn bubble_of_interleaved_zero_bubble() {
    for (p, v, m) in [(4, 2, 8), (8, 3, 24), (4, 4, 16)] {
        let (f, b, w) = (1.0e-3, 1.0e-3, 1.0e-3);
        let work = (m * v) as f64 * (f + b + w);
        let bubble = pipeline_of(Schedule::ZeroBubble, p, v, m, [f, b, w]) - work;
        let plain = pipeline_of(Schedule::OneForwardOneBackward, p, v, m, [f, b + w, 0.0]) - work;
        let want = (p - 1) as f64 * (f + b - w);
        assert!((bubble - want).abs() < 1e-9, "p {p} v {v} m {m}: {bubble} against {want}; plain {plain}");
    }
}

#[test]
fn a_circle_of_tasks_is_named() {
    let mut graph = GraphBuilder::new();
    let a = graph.add(compute(0, 1.0), &[]);
    let b = graph.add(compute(1, 1.0), &[a]);
    graph.depend(b, a);
    let fabric = dgx(1, "");
    let deadlock = execute(&graph.finish(), &Network::new(&fabric), 2, &[]).unwrap_err();
    assert_eq!(deadlock.stuck, 2);
    assert_eq!(
        deadlock.to_string(),
        "deadlock: 2 tasks never run; these wait for each other: forward of class1 (microbatch 0, chunk 0) → forward of class0 (microbatch 0, chunk 0)"
    );
}

fn config(tensor: u64, pipeline: u64, data: u64, chunks: u64, microbatches: u64) -> Config {
    gpt(tensor, pipeline, data, chunks, microbatches, "nemo-2024")
}

#[test]
fn ring_closed_form_across_nodes() {
    // 16 ranks, one of each node, 200 Gb/s a rail: payload rate n / (2 (n − 1)) of the NIC for long messages.
    let fabric = dgx(16, "");
    let ranks: Vec<AcceleratorId> = (0..16).map(|n| AcceleratorId(8 * n)).collect();
    let c = Communicator::new(&fabric, &Library::nccl(), &[ranks]);
    let bytes = 64e9;
    let nic = 25e9 * 0.96;
    let want = bytes * 2.0 * 15.0 / 16.0 / nic;
    let got = c.time_alone(Op::AllReduce, bytes);
    assert!((got / want - 1.0).abs() < 1e-3, "{got} against {want}");
    let gathered = c.time_alone(Op::AllGather, bytes);
    assert!((gathered / (want / 2.0) - 1.0).abs() < 1e-3);
}

#[test]
fn groups_that_share_a_nic_take_turns() {
    let shared = dgx(2, "").accelerator_count();
    assert_eq!(shared, 16);
    let half = fabric(
        "[[node]]\nname = \"dgx\"\naccelerator = \"a100-sxm-80gb\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-a100\"\nnic = \"cx6-hdr200\"\nnics = 4\n\
         [fabric]\nkind = \"rail-optimised\"\nnodes = 2\nlevels = 3\nswitch = \"qm8700\"\n",
    );
    let groups: Vec<Vec<AcceleratorId>> = (0..8).map(|r| vec![AcceleratorId(r), AcceleratorId(8 + r)]).collect();
    let time = |fabric: &Fabric| Communicator::new(fabric, &Library::nccl(), &groups).time_alone(Op::AllGather, 1e10);
    let ratio = time(&half) / time(&dgx(2, ""));
    assert!((ratio - 2.0).abs() < 1e-2, "half the NICs take {ratio} times as long");
}

/// A compute task of which memory bounds a share, beside `routes` gathers over all ranks of a box; seconds that it takes.
fn beside_gathers(part: &str, memory: f64, gathers: u32, bytes: f64) -> (f64, f64) {
    let fabric = fabric(&format!(
        "[[node]]\nname = \"n\"\naccelerator = \"{part}\"\naccelerators = 8\nscale_up = \"{}\"\nhost = \"dgx-h100\"\n{}[fabric]\nkind = \"none\"\n",
        if part.starts_with("tpu") { "torus" } else { "nvswitch" },
        if part.starts_with("tpu") { "torus = [2, 4]\nwrap = false\n" } else { "" }
    ));
    let communicator = Rc::new(Communicator::new(&fabric, &Library::nccl(), &[(0..8).map(AcceleratorId).collect()]));
    let mut network = Network::new(&fabric);
    let mut graph = GraphBuilder::new();
    graph.add(Task { memory, ..compute(0, 1e-3) }, &[]);
    for i in 0..gathers {
        let (name, communicator) = (format!("gather {i}"), Rc::clone(&communicator));
        let route =
            network.add(Route { name, way: Way::Groups { communicator, op: Op::AllGather, algorithm: None }, classes: vec![ClassId(0)] });
        graph.add(Task::new(ClassId(0), Track::Data, TaskKind::Other, Work::Transfer { route, bytes }), &[]);
    }
    let run = execute(&graph.finish(), &network, 1, &[]).unwrap();
    let plan = communicator.plan(Op::AllGather, bytes);
    let rate = plan.rate_cap.min(communicator.link_rate(Op::AllGather, plan.algorithm));
    (run.finish[0], rate * communicator.memory_time(Op::AllGather, plan.algorithm))
}

#[test]
fn communication_takes_memory_from_what_memory_bounds() {
    let units = 1.0 - 20.0 / 132.0;
    let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-3, "{got} is not {want}");
    // Long gathers at NVLink rate: three accesses for each of 7/8 of the bytes, a third of an H100's memory.
    let (bound, drawn) = beside_gathers("h100-sxm", 1.0, 1, 64e9);
    assert!((0.25..0.40).contains(&drawn), "{drawn}");
    near(bound, 1e-3 / (1.0 - drawn));
    near(beside_gathers("h100-sxm", 0.0, 1, 64e9).0, 1e-3 / units);
    near(beside_gathers("h100-sxm", 0.5, 1, 64e9).0, 1e-3 * (0.5 / units + 0.5 / (1.0 - drawn)));
    // Two at a time hold twice the units and draw what their shares of the links let through.
    let (two, _) = beside_gathers("h100-sxm", 1.0, 2, 64e9);
    assert!(two >= bound * (1.0 - 1e-9) && two < 1e-3 / (1.0 - 1.4 * drawn), "{two} and {bound}");
    // Engines of their own hold no units, but draw.
    let (own, drawn) = beside_gathers("tpu-v5e", 1.0, 1, 64e9);
    near(own, 1e-3 / (1.0 - drawn));
    near(beside_gathers("tpu-v5e", 0.0, 1, 64e9).0, 1e-3);
}

#[test]
fn oversubscription_never_helps_and_halves_a_shifted_ring() {
    let groups: Vec<Vec<AcceleratorId>> = (0..8).map(|r| (0..40).map(|n| AcceleratorId(8 * n + r)).collect()).collect();
    let time = |extra: &str| {
        let fabric = dgx(40, extra);
        Communicator::new(&fabric, &Library::nccl(), &groups).time_alone(Op::AllReduce, 1e10)
    };
    assert!(time("oversubscription = 4.0\n") >= time("") * (1.0 - 1e-12));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 10))]

    /// A step runs for any layout, takes at least its compute, and more microbatches never take less time.
    #[test]
    fn steps_are_sane((t, p, d) in prop::sample::select(whole_nodes(3, 3, 0..3, 8..=64)), v in 1u64..3, m in 1u64..10) {
        let v = if p == 1 { 1 } else { v };
        let fabric = dgx((t * p * d / 8) as u32, "");
        let one = config(t, p, d, v, m);
        let step = simulate_step(&one, &fabric).unwrap();
        let passes = &step.passes;
        let layers: u64 = step.layers[0].iter().sum();
        let least = m as f64 * layers as f64 * (passes[0].layer_forward.compute() + passes[0].layer_backward.compute());
        prop_assert!(step.time_s() > least, "{} under {least}", step.time_s());
        let more = simulate_step(&config(t, p, d, v, m + 1), &fabric).unwrap();
        prop_assert!(more.time_s() >= step.time_s() * (1.0 - 1e-9));
        for load in &step.execution.loads {
            prop_assert!(load.bytes <= load.capacity * step.time_s() * (1.0 + 1e-9), "a link carries more than it can");
        }
    }
}
