//! Closed forms and invariants of serving.

mod deployments;
mod kinds;
mod models;
mod moving;
mod waits;

use super::lengths::{exponential, uniform};
use super::request::NO_SESSION;
use super::*;
use crate::diag::{Decode as _, Diagnostics, Node};
use crate::engine::Streams;
use crate::fabric::{Fabric, TopologyInput};
use crate::hardware::Dtype;
use crate::kernels::Profiles;
use crate::model::presets;
use crate::units::Seconds;
use proptest::prelude::*;

fn fabric(accelerators: u64) -> Fabric {
    let text = format!(
        "[[node]]\nname = \"node\"\naccelerator = \"h100-sxm\"\naccelerators = {accelerators}\nscale_up = \"nvswitch\"\nhost = \"dgx-h100\"\n[fabric]\nkind = \"none\"\n"
    );
    let mut diags = Diagnostics::new();
    let source = diags.add_source("test", text);
    let node = Node::parse(source, &mut diags).unwrap();
    TopologyInput::decode(&node, &mut diags).unwrap().build(&mut diags).unwrap().0
}

fn llama() -> Shape {
    Shape::of_preset(presets().iter().find(|p| p.id.value == "llama-3.1-8b").unwrap()).unwrap()
}

fn deployment(shape: Shape, replicas: u64, blocks: Option<u64>) -> Deployment {
    let formats = Formats { linear: Dtype::Bf16, attention: Dtype::Bf16, kv: Dtype::Bf16 };
    Deployment { replicas, blocks, ..Deployment::plain(shape, formats) }
}

fn engine(id: &str, sequences: u64) -> StackRow {
    let mut stack = stack(id).unwrap().clone();
    stack.max_sequences.value = sequences;
    stack.lag.value = false;
    stack
}

fn requests(list: impl IntoIterator<Item = (f64, u32, u32)>) -> Requests {
    let one = |(arrival, input, output)| Request { arrival, input, output, session: NO_SESSION, hashes: (0, 0) };
    Requests { list: list.into_iter().map(one).collect(), ..Requests::default() }
}

/// Mean number of requests in the system from arrivals and departures, by integrating their count.
fn mean_present(records: &[Record]) -> f64 {
    let mut events: Vec<(f64, f64)> = records.iter().flat_map(|r| [(r.arrival, 1.0), (r.last, -1.0)]).collect();
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut area, mut count, mut at) = (0.0, 0.0, 0.0);
    for (time, change) in events {
        area += count * (time - at);
        (count, at) = (count + change, time);
    }
    area / at
}

#[test]
fn one_at_a_time_is_the_sum_of_single_requests() {
    let fabric = fabric(1);
    let stack = engine("vllm", 1);
    let lengths = [(300, 40), (2000, 7), (9000, 1), (64, 300)];
    let run = |list: Requests| {
        let mut pool = deployment(llama(), 1, None).pool(&fabric, Profiles::embedded(), &stack).unwrap();
        serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1))
    };
    let all = run(requests(lengths.map(|(i, o)| (0.0, i, o))));
    let sum: f64 = lengths.iter().map(|&(i, o)| run(requests([(0.0, i, o)])).end_s).sum();
    assert!((all.end_s / sum - 1.0).abs() < 1e-12, "{} against {sum}", all.end_s);
    assert_eq!(all.gaps.count(), 39 + 6 + 299);
}

#[test]
fn single_server_with_equal_service_is_m_d_1() {
    let fabric = fabric(1);
    let stack = engine("vllm", 1);
    let mut pool = deployment(llama(), 1, None).pool(&fabric, Profiles::embedded(), &stack).unwrap();
    let service = serve(&mut pool, &requests([(0.0, 512, 32)]), Arrivals::Open, 0.0, &Streams::new(1)).end_s;
    let load = 0.7;
    let mut rng = Streams::new(3).stream("test");
    let mut now = 0.0;
    let list: Vec<_> = (0..200_000)
        .map(|_| {
            now += exponential(&mut rng) * service / load;
            (now, 512, 32)
        })
        .collect();
    let served = serve(&mut pool, &requests(list), Arrivals::Open, 0.0, &Streams::new(1));
    let wait = served.records.iter().map(|r| r.scheduled - r.arrival).sum::<f64>() / served.records.len() as f64;
    let want = load * service / (2.0 * (1.0 - load));
    assert!((wait / want - 1.0).abs() < 0.03, "{wait} against {want}");
    // Little's law, counts against times.
    let mean = served.records.iter().map(Record::e2e).sum::<f64>() / served.end_s;
    assert!((mean_present(&served.records) / mean - 1.0).abs() < 1e-9);
}

/// A model so small that the host's time is all that an iteration takes, whatever its batch.
fn host_bound(sequences: u64) -> StackRow {
    let mut stack = engine("vllm", sequences);
    stack.host_iteration.value = Seconds::new(1.0);
    stack.host_prefill.value = Seconds::new(1.0);
    stack.host_sequence.value = Seconds::new(0.0);
    stack.eager_layer.value = Seconds::new(0.0);
    stack
}

#[test]
fn several_slots_with_exponential_service_are_m_m_c() {
    // Lengths are rounded up: the mean service is 100 iterations.
    let (slots, load, mean) = (4u64, 0.7, 100.0);
    let fabric = fabric(1);
    let shape = Shape { layers: 1, ..llama() };
    let mut pool = deployment(shape, 1, None).pool(&fabric, Profiles::embedded(), &host_bound(slots)).unwrap();
    let mut rng = Streams::new(5).stream("test");
    let mut now = 0.0;
    let rate = load * slots as f64 / mean;
    let list: Vec<_> = (0..400_000)
        .map(|_| {
            now += exponential(&mut rng) / rate;
            (now, 16, (exponential(&mut rng) * (mean - 0.5)).ceil() as u32)
        })
        .collect();
    let served = serve(&mut pool, &requests(list), Arrivals::Open, 0.0, &Streams::new(1));
    let wait = served.records.iter().map(|r| r.scheduled - r.arrival).sum::<f64>() / served.records.len() as f64;
    // Erlang C with offered load a = 2.8 on 4 servers.
    let a = load * slots as f64;
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..slots {
        term *= a / k as f64;
        sum += term;
    }
    term *= a / slots as f64 / (1.0 - load);
    let queued = term / (sum + term);
    // An arrival waits half an iteration for the running one to end.
    let want = queued * mean / (slots as f64 * (1.0 - load)) + 0.5;
    assert!((wait / want - 1.0).abs() < 0.04, "{wait} against {want}");
}

#[test]
fn static_batches_wait_for_their_longest() {
    let fabric = fabric(1);
    let mut pool = deployment(Shape { layers: 1, ..llama() }, 1, None);
    pool.formats.kv = Dtype::Bf16;
    let mut stack = host_bound(2);
    stack.batching.value = Batching::Static;
    let mut pool = pool.pool(&fabric, Profiles::embedded(), &stack).unwrap();
    let served = serve(&mut pool, &requests([(0.0, 8, 3), (0.0, 8, 10), (0.0, 8, 2)]), Arrivals::Open, 0.0, &Streams::new(1));
    let at: Vec<f64> = served.records.iter().map(|r| r.last.floor()).collect();
    assert_eq!(at, [3.0, 10.0, 12.0]);
}

#[test]
fn preemption_runs_tokens_again_and_still_gives_all() {
    let fabric = fabric(1);
    // 20 blocks of 16 tokens: three requests of 100 + 100 do not fit together.
    let mut pool = deployment(llama(), 1, Some(20)).pool(&fabric, Profiles::embedded(), &engine("vllm", 8)).unwrap();
    let served = serve(&mut pool, &requests([(0.0, 100, 100); 3]), Arrivals::Open, 0.0, &Streams::new(1));
    assert!(served.preemptions > 0 && served.records.iter().all(Record::is_done));
    assert_eq!((served.gaps.count(), served.held_blocks), (297, 0));
    assert!(served.records[0].last < served.records[2].last);
}

#[test]
fn shared_prompts_are_computed_once() {
    let fabric = fabric(1);
    let traffic = Synthetic {
        pace: Pace::Gamma { rate: 1.0, cv: 1.0 },
        requests: 200,
        input: Length::Fixed(2048),
        output: Length::Fixed(16),
        common: 1920,
    };
    let list = synthesize(&traffic, &Streams::new(1));
    let run = |prefix_cache| {
        let deployment = Deployment { prefix_cache, ..deployment(llama(), 1, None) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &engine("vllm", 64)).unwrap();
        serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1))
    };
    let (with, without) = (run(true), run(false));
    assert_eq!(with.records[150].cached, 1920);
    assert_eq!(without.records[150].cached, 0);
    let mean = |s: &Served| s.records.iter().map(Record::ttft).sum::<f64>();
    assert!(mean(&with) < 0.7 * mean(&without));
}

#[test]
fn guesses_give_their_mean_and_no_token_more() {
    let fabric = fabric(1);
    let shape = Shape { layers: 1, ..llama() };
    let mut deployment = deployment(shape, 1, None);
    deployment.speculation = Some(Speculation { drafts: 3, acceptance: 0.7 });
    let mut stack = host_bound(8);
    stack.reserve_output.value = true;
    let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
    let served = serve(&mut pool, &requests([(0.0, 100, 4001); 8]), Arrivals::Open, 0.0, &Streams::new(1));
    assert_eq!((served.gaps.count(), served.held_blocks), (8 * 4000, 0));
    let steps = served.records.iter().map(|r| r.last - r.first).sum::<f64>() / 8.0;
    // 1 + 0.7 + 0.49 + 0.343 tokens a step, a second each.
    assert!((4000.0 / steps / 2.533 - 1.0).abs() < 0.02, "{}", 4000.0 / steps);
    let tokens: f64 = served.series.slices.iter().map(|s| s.output).sum();
    assert!((tokens / (8.0 * 4001.0) - 1.0).abs() < 1e-9, "{tokens}");
}

#[test]
fn attention_ranks_run_in_step() {
    let fabric = fabric(4);
    let preset = presets().iter().find(|p| p.id.value == "deepseek-v3").unwrap();
    let shape = Shape { layers: 4, ..Shape::of_preset(preset).unwrap() };
    let formats = Formats { linear: Dtype::Fp8Block, attention: Dtype::Fp8Block, kv: Dtype::Bf16 };
    let deployment = Deployment { data: 4, expert: 4, formats, ..deployment(shape, 1, None) };
    let mut pool = deployment.pool(&fabric, Profiles::embedded(), &engine("sglang", 64)).unwrap();
    // One long request on the first rank beside short ones: each iteration lasts as long as that of the slowest rank, for all of them.
    let served =
        serve(&mut pool, &requests([(0.0, 4000, 50), (0.0, 10, 50), (0.0, 10, 50), (0.0, 10, 50)]), Arrivals::Open, 0.0, &Streams::new(1));
    let first = served.records[0].first;
    assert!(served.records.iter().all(|r| r.first == first && r.last == served.records[0].last));
    assert_eq!(served.busy_s.len(), 4);
}

#[test]
fn more_replicas_are_never_slower() {
    let fabric = fabric(4);
    let list = requests((0..400).map(|i| (f64::from(i) * 0.02, 1000, 100)));
    let mut last = f64::INFINITY;
    for replicas in [1, 2, 4] {
        let mut pool = deployment(llama(), replicas, None).pool(&fabric, Profiles::embedded(), &engine("vllm", 64)).unwrap();
        let served = serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1));
        let mean = served.records.iter().map(Record::e2e).sum::<f64>();
        assert!(mean < last, "{replicas} replicas");
        last = mean;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    /// Whatever the policy, the limits and the traffic: all tokens come, blocks are never overdrawn and all are given back.
    #[test]
    fn tokens_are_conserved_and_blocks_are_kept(
        policy in 0usize..4, reserve: bool, lag: bool, prefix: bool, blocks in 40u64..200, sequences in 1u64..40, budget in 64u64..2048,
        wait in 0u64..5, interval in 1u64..5, closed in prop::option::of(1usize..20), seed: u64, n in 1usize..60,
        window in prop::option::of((1u64..400, 1u64..4)),
    ) {
        let fabric = fabric(2);
        let mut stack = engine("vllm", sequences.min(budget));
        stack.batching.value = [Batching::Chunked, Batching::Whole, Batching::Separate, Batching::Static][policy];
        stack.reserve_output.value = reserve || policy == 1;
        (stack.lag.value, stack.max_tokens.value, stack.wait_iterations.value, stack.wait_share.value, stack.read_interval.value) =
            (lag, budget, wait, 0.5, interval);
        let window = window.map(|(tokens, every)| crate::model::Window { tokens, every, full_every: 0 });
        let shape = Shape { layers: 6, window, ..llama() };
        let deployment = Deployment { prefix_cache: prefix && window.is_none(), ..deployment(shape, 2, Some(blocks)) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).unwrap();
        let mut rng = Streams::new(seed).stream("test");
        let mut draw = |most: f64| (uniform(&mut rng) * most) as u32 + 1;
        let mut list = requests((0..n).map(|_| (0.0, draw(400.0), draw(200.0))));
        list.hash_tokens = 64;
        for i in 0..n {
            let request = &mut list.list[i];
            request.arrival = 0.01 * i as f64;
            let first = list.hashes.len() as u32;
            list.hashes.extend((0..u64::from(request.input) / 64).map(|b| b + if b < 2 { 0 } else { 1000 * i as u64 }));
            request.hashes = (first, list.hashes.len() as u32);
        }
        let arrivals = closed.map_or(Arrivals::Open, |clients| Arrivals::Closed { clients, pause: 0.001 });
        let served = serve(&mut pool, &list, arrivals, 0.0, &Streams::new(seed));
        prop_assert_eq!(served.rejected as usize + served.records.iter().filter(|r| r.is_done()).count(), n);
        let done = || list.list.iter().zip(&served.records).filter(|(_, r)| r.is_done());
        let tokens: u64 = done().map(|(q, _)| u64::from(q.output)).sum();
        prop_assert_eq!(served.series.slices.iter().map(|s| s.output).sum::<f64>(), tokens as f64);
        prop_assert_eq!(served.gaps.count(), done().map(|(q, _)| u64::from(q.output) - 1).sum::<u64>());
        prop_assert_eq!(served.held_blocks, 0);
        prop_assert!(served.peak_blocks.0 <= served.peak_blocks.1, "{:?}", served.peak_blocks);
        for (q, r) in done() {
            prop_assert!(r.arrival <= r.scheduled && r.scheduled < r.first && r.first <= r.last && (q.output > 1) == (r.first < r.last));
        }
        // The gaps of a request sum to the time between its first and its last token.
        let gaps: f64 = served.gaps.into_sorted().iter().map(|g| g.0 * g.1 as f64).sum();
        let spans: f64 = done().map(|(_, r)| r.last - r.first).sum();
        prop_assert!((gaps - spans).abs() < 1e-6 * spans.max(1.0), "{gaps} against {spans}");
    }
}
