//! Engines of prompts and engines that decode, stages, drafts, adapters.

use super::*;
use crate::fabric::AcceleratorId;
use crate::ids::Id as _;

fn apart(shape: Shape, prompts: u64, decodes: u64, by_layers: bool, stack: &StackRow) -> Deployment {
    let engines = deployment(shape.clone(), prompts, None);
    Deployment { prompts: Some(Box::new(Prompts { engines, stack: stack.clone(), by_layers })), ..deployment(shape, decodes, None) }
}

/// Rate and latency of the way between the first two accelerators.
fn way(fabric: &Fabric) -> (f64, f64) {
    let mut rate = f64::INFINITY;
    let latency = fabric.route(AcceleratorId(0), AcceleratorId(1), 0, &mut |l, share| rate = rate.min(fabric.link(l).capacity / share));
    (rate, latency)
}

#[test]
fn keys_and_values_take_their_bytes_over_the_way() {
    let fabric = fabric(2);
    let stack = engine("vllm", 8);
    let shape = llama();
    let run = |by_layers| {
        let mut pool = apart(shape.clone(), 1, 1, by_layers, &stack).pool(&fabric, Profiles::embedded(), &stack).unwrap();
        serve(&mut pool, &requests([(0.0, 4000, 20)]), Arrivals::Open, 0.0, &Streams::new(1))
    };
    let (rate, latency) = way(&fabric);
    let bytes = 4000.0 * shape.kv_bytes_per_token(Dtype::Bf16, 1);
    let (whole, layers) = (run(false), run(true));
    assert_eq!((whole.handed_bytes, layers.handed_bytes), (bytes, bytes));
    let wait = |s: &Served| s.records[0].moved - s.records[0].first;
    assert!((wait(&whole) / (latency + bytes / rate) - 1.0).abs() < 1e-9, "{} against {}", wait(&whole), latency + bytes / rate);
    // The last layer alone is left when the prompt is through.
    let last = latency + bytes / shape.layers as f64 / rate;
    assert!((wait(&layers) / last - 1.0).abs() < 1e-6, "{} against {last}", wait(&layers));
    assert_eq!(whole.records[0].first, layers.records[0].first);
    assert_eq!((whole.gaps.count(), whole.held_blocks), (19, 0));
}

#[test]
fn decodes_are_not_disturbed_by_prompts_elsewhere() {
    let fabric = fabric(2);
    let stack = engine("vllm", 64);
    let list = requests((0..64).map(|i| (f64::from(i) * 0.2, 6000, 120)));
    let longest = |served: Served| served.gaps.into_sorted().last().unwrap().0;
    let mut pool = apart(llama(), 1, 1, true, &stack).pool(&fabric, Profiles::embedded(), &stack).unwrap();
    let moved = longest(serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1)));
    let mut pool = deployment(llama(), 1, None).pool(&fabric, Profiles::embedded(), &stack).unwrap();
    let mixed = longest(serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1)));
    assert!(moved < 0.4 * mixed, "{moved} against {mixed}");
}

#[test]
fn stages_take_batches_one_after_the_other() {
    let fabric = fabric(2);
    let shape = Shape { layers: 2, ..llama() };
    let mut stack = host_bound(8);
    stack.host_iteration.value = Seconds::new(1.0);
    let run = |n: usize| {
        let deployment = Deployment { pipeline: 2, ..deployment(shape.clone(), 1, None) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
        serve(&mut pool, &requests(vec![(0.0, 16, 11); n]), Arrivals::Open, 0.0, &Streams::new(1))
    };
    // Each stage takes a second: a token comes every two seconds, to one request as to two in different batches, of which the second
    // comes one stage later.
    let (one, two) = (run(1), run(2));
    assert_eq!(one.records[0].last.floor(), 22.0);
    assert_eq!([two.records[0].last.floor(), two.records[1].last.floor()], [22.0, 23.0]);
    assert!((two.busy_s.iter().sum::<f64>() / one.busy_s.iter().sum::<f64>() - 2.0).abs() < 1e-9);
}

#[test]
fn stages_split_weights_and_cache() {
    let fabric = fabric(4);
    let stack = engine("vllm", 8);
    let memory = |pipeline| Deployment { pipeline, ..deployment(llama(), 1, None) }.memory(&fabric, &stack, AcceleratorId::from_index(0));
    let (one, four) = (memory(1), memory(4));
    assert_eq!(one.token / four.token, 4.0);
    // A quarter of the layers and one of the two tables.
    let tables = 2.0 * llama().table_parameters();
    assert!(((one.weights - tables) / 4.0 + tables / 2.0 - four.weights).abs() < 1.0);
}

#[test]
fn a_draft_model_costs_its_own_iterations() {
    let fabric = fabric(1);
    let mut stack = engine("vllm", 8);
    stack.reserve_output.value = true;
    let target = Shape::of_preset(presets().iter().find(|p| p.id.value == "llama-2-13b").unwrap()).unwrap();
    let small = Shape { layers: 4, ..target.clone() };
    let time = |drafts, draft: Option<Shape>| {
        let speculation = (drafts > 0).then_some(Speculation { drafts, acceptance: 0.0 });
        let deployment = Deployment { speculation, draft: draft.map(Box::new), ..deployment(target.clone(), 1, None) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
        let served = serve(&mut pool, &requests([(0.0, 100, 101)]), Arrivals::Open, 0.0, &Streams::new(1));
        (served.records[0].last - served.records[0].first) / 100.0
    };
    // No guess is ever right, so that each step costs what it costs: two runs of the draft in place of the extra layer.
    let (plain, two) = (time(0, None), time(2, Some(small)));
    // A draft of a tenth of the layers takes about a tenth of the time, tables included somewhat more.
    assert!(two > 1.15 * plain && two < 1.5 * plain, "{two} against {plain}");
}

#[test]
fn adapters_cost_memory_and_time() {
    let fabric = fabric(1);
    let stack = engine("vllm", 64);
    let list = requests([(0.0, 100, 100); 32]);
    let run = |adapters| {
        let deployment = Deployment { adapters, ..deployment(llama(), 1, None) };
        let blocks = deployment.memory(&fabric, &stack, AcceleratorId(0)).blocks(16);
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
        (blocks, serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1)).end_s)
    };
    let (none, few) = (run(None), run(Some(Adapters { count: 4, slots: 4, rank: 16 })));
    let many = run(Some(Adapters { count: 1000, slots: 64, rank: 64 }));
    assert!(few.0 < none.0 && many.0 < few.0);
    assert!(none.1 < few.1 && few.1 < many.1);
}

#[test]
fn overlapped_halves_are_never_slower() {
    let text = "[[node]]\nname = \"node\"\naccelerator = \"h100-sxm\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-h100\"\nnic = \"cx7-ndr400\"\n\
        nics = 8\n[fabric]\nkind = \"rail-optimised\"\nnodes = 2\nlevels = 2\nswitch = \"qm9700\"\n";
    let mut diags = Diagnostics::new();
    let source = diags.add_source("test", text);
    let node = Node::parse(source, &mut diags).unwrap();
    let fabric = TopologyInput::decode(&node, &mut diags).unwrap().build(&mut diags).unwrap().0;
    let preset = presets().iter().find(|p| p.id.value == "deepseek-v3").unwrap();
    let shape = Shape { layers: 6, ..Shape::of_preset(preset).unwrap() };
    let formats = Formats { linear: Dtype::Fp8Block, attention: Dtype::Fp8Block, kv: Dtype::Bf16 };
    let end = |two_batches, imbalance| {
        let deployment = Deployment { data: 16, expert: 16, formats, two_batches, imbalance, ..deployment(shape.clone(), 1, None) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &engine("sglang", 256)).unwrap();
        serve(&mut pool, &requests([(0.0, 2000, 60); 512]), Arrivals::Open, 0.0, &Streams::new(1)).end_s
    };
    assert!(end(true, 1.0) < end(false, 1.0));
    assert!(end(false, 1.5) > end(false, 1.0));
}

#[test]
fn a_prompt_spread_over_ranks_is_quicker_and_leaves_its_keys_once() {
    let fabric = fabric(8);
    let stack = engine("vllm", 8);
    let run = |context| {
        let mut deployment = apart(llama(), 1, 1, false, &stack);
        if let Some(p) = &mut deployment.prompts {
            (p.engines.context, p.stack.max_tokens.value) = (context, 65_536);
        }
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
        serve(&mut pool, &requests([(0.0, 60_000, 20)]), Arrivals::Open, 0.0, &Streams::new(1))
    };
    let (one, four) = (run(1), run(4));
    let speedup = one.records[0].first / four.records[0].first;
    assert!(speedup > 2.5 && speedup <= 4.0, "{speedup}");
    assert_eq!(one.handed_bytes, four.handed_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Engines of prompts and of decodes, with stages or without: all tokens come, no block is overdrawn, all are given back, and as many
    /// bytes move as the prompts have.
    #[test]
    fn requests_between_engines_are_conserved(
        prompts in 1u64..3, decodes in 1u64..3, stages in 1u64..3, by_layers: bool, reserve: bool, policy in 0usize..3,
        blocks in 60u64..200, own in 40u64..120, sequences in 1u64..20, budget in 64u64..1024, closed in prop::option::of(1usize..20),
        seed: u64, n in 1usize..50, failing in prop::collection::vec((0u64..4, 0.0f64..0.6, 0.0f64..0.1), 0..4),
        scaled in prop::option::of((prop::bool::ANY, prop::bool::ANY)),
    ) {
        let fabric = fabric(8);
        let mut stack = engine("vllm", sequences.min(budget));
        stack.batching.value = [Batching::Chunked, Batching::Whole, Batching::Separate][policy];
        (stack.reserve_output.value, stack.max_tokens.value) = (reserve || policy == 1, budget);
        let mut deployment = apart(Shape { layers: 4, ..llama() }, prompts, decodes, by_layers, &stack);
        (deployment.pipeline, deployment.blocks) = (stages, Some(blocks));
        deployment.router = RouterPolicy::LeastTokens;
        if let Some(p) = &mut deployment.prompts {
            p.engines.blocks = Some(own);
        }
        let failure = |&(engine, at, detection): &(u64, f64, f64)| {
            EngineFailure { engine: engine % (prompts + decodes), node: None, at, detection, repair: Some(detection + 0.05) }
        };
        let scaling = scaled.map(|(front, queue)| Scaling {
            role: if front { Role::Prompts } else { Role::Decodes },
            measure: if queue { Measure::Queue } else { Measure::Cache },
            least: 1, interval: 0.03, above: 0.5, below: 0.1, patience: 2,
        });
        let start = Start { boot: 0.02, tier: None, warm_up: 0.01 };
        deployment.fleet = Fleet { scaling, failures: failing.iter().map(failure).collect(), start, max_waiting: None };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
        let mut rng = Streams::new(seed).stream("test");
        let mut draw = |most: f64| (uniform(&mut rng) * most) as u32 + 1;
        let list = requests((0..n).map(|i| (0.002 * i as f64, draw(500.0), draw(150.0))));
        let arrivals = closed.map_or(Arrivals::Open, |clients| Arrivals::Closed { clients, pause: 0.0 });
        let served = serve(&mut pool, &list, arrivals, 0.0, &Streams::new(seed));
        let done = || list.list.iter().zip(&served.records).filter(|(_, r)| r.is_done());
        prop_assert_eq!(served.rejected as usize + done().count(), n);
        prop_assert_eq!(served.unserved, 0);
        let tokens: u64 = done().map(|(q, _)| u64::from(q.output)).sum();
        prop_assert_eq!(served.series.slices.iter().map(|s| s.output).sum::<f64>(), tokens as f64);
        prop_assert_eq!(served.gaps.count(), done().map(|(q, _)| u64::from(q.output) - 1).sum::<u64>());
        prop_assert_eq!(served.held_blocks, 0);
        prop_assert!(served.peak_blocks.0 <= served.peak_blocks.1, "{:?}", served.peak_blocks);
        let moved: f64 = done().filter(|(q, _)| q.output > 1).map(|(q, _)| f64::from(q.input)).sum();
        let once = moved * llama().kv_bytes_per_token(Dtype::Bf16, 1) * 4.0 / 32.0;
        // What a lost engine had is handed on again, or ends where its prompt is computed again.
        prop_assert!(!failing.is_empty() || (served.handed_bytes - once).abs() < 1.0, "{} bytes against {}", served.handed_bytes, once);
        for (q, r) in done() {
            prop_assert!(r.arrival <= r.scheduled && r.scheduled < r.first && r.first <= r.last && (q.output > 1) == (r.first < r.last));
            prop_assert!(!failing.is_empty() || q.output == 1 || (r.first <= r.moved && r.moved <= r.last));
        }
        // Little's law, counts against times.
        let rows: Vec<Record> = done().map(|(_, r)| *r).collect();
        let span: f64 = rows.iter().map(Record::e2e).sum();
        let end = rows.iter().map(|r| r.last).fold(0.0, f64::max);
        prop_assert!(rows.is_empty() || (mean_present(&rows) * end / span - 1.0).abs() < 1e-6);
        let gaps: f64 = served.gaps.into_sorted().iter().map(|g| g.0 * g.1 as f64).sum();
        let spans: f64 = done().map(|(_, r)| r.last - r.first).sum();
        prop_assert!((gaps - spans).abs() < 1e-6 * spans.max(1.0), "{} against {}", gaps, spans);
    }
}
