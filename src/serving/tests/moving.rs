//! Engines that come and go, requests that are refused, sessions, cached prompts in other tiers.

use super::*;

fn with_fleet(fabric: &Fabric, replicas: u64, fleet: Fleet, stack: &StackRow, list: &Requests) -> Served {
    let deployment = Deployment { fleet, router: RouterPolicy::LeastTokens, ..deployment(llama(), replicas, None) };
    let mut pool = deployment.pool(fabric, Profiles::embedded(), stack).unwrap();
    serve(&mut pool, list, Arrivals::Open, 0.0, &Streams::new(1))
}

fn all_done(list: &Requests, served: &Served) {
    assert!(served.records.iter().all(Record::is_done));
    let tokens: u64 = list.list.iter().map(|q| u64::from(q.output)).sum();
    assert_eq!(served.gaps.count(), tokens - list.list.len() as u64);
    assert!((served.series.slices.iter().map(|s| s.output).sum::<f64>() - tokens as f64).abs() < 1e-6);
    assert_eq!((served.held_blocks, served.unserved), (0, 0));
}

#[test]
fn requests_of_a_failed_engine_go_on_elsewhere() {
    let fabric = fabric(2);
    let stack = engine("vllm", 64);
    let list = requests((0..200).map(|i| (f64::from(i) * 0.05, 500, 200)));
    let failure = EngineFailure { engine: 1, node: None, at: 3.0, detection: 2.0, repair: Some(4.0) };
    let start = Start { boot: 1.0, tier: None, warm_up: 0.5 };
    let fleet = Fleet { failures: vec![failure], start, ..Fleet::default() };
    let (sound, broken) = (with_fleet(&fabric, 2, Fleet::default(), &stack, &list), with_fleet(&fabric, 2, fleet, &stack, &list));
    all_done(&list, &sound);
    all_done(&list, &broken);
    assert!(broken.moved > 5 && sound.moved == 0 && broken.starts == 1);
    // Nothing on the failed engine comes between its failure and the notice, and it serves again 4 + 1 + 0.5 s after it failed.
    let on_second = |r: &&Record| r.replica == 1;
    let gap = broken.records.iter().filter(on_second).filter(|r| r.last > 3.0).map(|r| r.scheduled).fold(f64::INFINITY, f64::min);
    assert!(gap >= 8.5, "{gap}");
    let worst = |s: &Served| s.records.iter().map(Record::ttft).fold(0.0, f64::max);
    assert!(worst(&broken) > 1.5 && worst(&sound) < 0.5, "{} and {}", worst(&broken), worst(&sound));
}

#[test]
fn without_an_engine_requests_are_not_served() {
    let fabric = fabric(1);
    let failure = EngineFailure { engine: 0, node: None, at: 1.0, detection: 0.5, repair: None };
    let list = requests((0..40).map(|i| (f64::from(i) * 0.1, 500, 20)));
    let served = with_fleet(&fabric, 1, Fleet { failures: vec![failure], ..Fleet::default() }, &engine("vllm", 64), &list);
    let done = served.records.iter().filter(|r| r.is_done()).count() as u64;
    assert!(done > 5 && served.unserved == 40 - done);
}

#[test]
fn engines_follow_the_load() {
    let fabric = fabric(4);
    let stack = engine("vllm", 4);
    // Ten busy seconds, then a trickle.
    let busy = (0..300).map(|i| (f64::from(i) / 30.0, 500, 60));
    let list = requests(busy.chain((0..60).map(|i| (20.0 + f64::from(i), 500, 60))));
    let scaling = Scaling { role: Role::Both, least: 1, measure: Measure::Queue, interval: 0.5, above: 4.0, below: 0.5, patience: 4 };
    let start = Start { boot: 1.0, tier: None, warm_up: 1.0 };
    let served = with_fleet(&fabric, 4, Fleet { scaling: Some(scaling), start, ..Fleet::default() }, &stack, &list);
    all_done(&list, &served);
    assert!(served.starts >= 2, "{}", served.starts);
    let most = served.series.slices.iter().map(|s| s.ready / served.series.width).fold(0.0, f64::max);
    assert!(most >= 3.0 - 1e-9, "{most}");
    let last = served.series.slices[served.series.slices.len() - 2].ready / served.series.width;
    assert!(last < 1.01, "{last}");
    assert!(served.engine_s < 0.6 * 4.0 * served.end_s && served.engine_s > served.end_s);
}

#[test]
fn a_full_queue_refuses() {
    let fabric = fabric(1);
    let stack = engine("vllm", 2);
    let list = requests([(0.0, 100, 50); 10]);
    let served = with_fleet(&fabric, 1, Fleet { max_waiting: Some(5), ..Fleet::default() }, &stack, &list);
    assert_eq!((served.shed, served.records.iter().filter(|r| r.is_done()).count()), (5, 5));
}

fn dialogue() -> Dialogue {
    Dialogue {
        rate: 2.0,
        sessions: 20,
        turns: Length::Fixed(4),
        pause: 1.0,
        common: 128,
        input: Length::Uniform(100, 400),
        output: Length::Uniform(20, 200),
        most: 8192,
    }
}

#[test]
fn turns_wait_for_their_answers_and_find_them_in_the_cache() {
    let fabric = fabric(2);
    let list = converse(&dialogue(), &Streams::new(1));
    assert_eq!(list.list.len(), 80);
    let run = |router| {
        let deployment = Deployment { prefix_cache: true, router, ..deployment(llama(), 2, None) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &engine("vllm", 64)).unwrap();
        serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1))
    };
    let served = run(RouterPolicy::Session);
    all_done(&list, &served);
    for (id, turn) in list.turns.iter().enumerate() {
        let Some(next) = turn.next else { continue };
        let (before, after) = (&served.records[id], &served.records[next as usize]);
        assert!((after.arrival - before.last - turn.pause).abs() < 1e-9);
        assert_eq!(before.replica, after.replica);
        // All full blocks of prompt and answer but the last token, which has no keys and values when the answer ends.
        let said = list.list[id].input + list.list[id].output;
        assert_eq!(after.cached, (said - 1) / 64 * 64);
    }
    let cached = |s: &Served| s.records.iter().map(|r| u64::from(r.cached)).sum::<u64>();
    assert!(cached(&run(RouterPolicy::RoundRobin)) < cached(&served));
}

#[test]
fn prompts_come_back_from_host_memory() {
    let fabric = fabric(1);
    let list = converse(&Dialogue { pause: 20.0, rate: 1.0, ..dialogue() }, &Streams::new(1));
    let run = |offload| {
        // A cache so small that other sessions push a session's blocks out while it pauses.
        let deployment = Deployment { prefix_cache: true, offload, ..deployment(llama(), 1, Some(300)) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &engine("vllm", 64)).unwrap();
        serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1))
    };
    let (without, with) = (run(None), run(Some(Offload { tier: None, capacity: 1e12, shared: false })));
    all_done(&list, &with);
    let cached = |s: &Served| s.records.iter().map(|r| u64::from(r.cached)).sum::<u64>();
    let loaded = with.records.iter().map(|r| u64::from(r.loaded)).sum::<u64>();
    assert!(loaded > 0 && cached(&with) > cached(&without), "{loaded}, {} against {}", cached(&with), cached(&without));
    assert_eq!(without.loaded_bytes, 0.0);
    // Every read moves the bytes of its blocks.
    assert!(with.loaded_bytes >= loaded as f64 * llama().kv_bytes_per_token(Dtype::Bf16, 1));
    // A tier of one block holds nothing worth reading.
    let tiny = run(Some(Offload { tier: None, capacity: 64.0 * llama().kv_bytes_per_token(Dtype::Bf16, 1), shared: false }));
    assert!(tiny.loaded_bytes < 0.1 * with.loaded_bytes);
}

#[test]
fn swapped_requests_are_not_computed_again() {
    let fabric = fabric(1);
    let list = requests([(0.0, 100, 100); 3]);
    let run = |swap| {
        let deployment = Deployment { swap, ..deployment(llama(), 1, Some(20)) };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &engine("vllm", 8)).unwrap();
        serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1))
    };
    let (again, back) = (run(false), run(true));
    all_done(&list, &again);
    all_done(&list, &back);
    assert!(again.preemptions > 0 && back.preemptions > 0);
    // Every prompt runs once, and no prompt token more.
    let prompts = |s: &Served| s.series.slices.iter().map(|x| x.input).sum::<f64>();
    assert_eq!(prompts(&back), 300.0);
    assert!(prompts(&again) > 400.0);
}

#[test]
fn urgent_requests_go_first() {
    let fabric = fabric(1);
    let mut list = requests((0..200).map(|i| (f64::from(i) * 0.01, 500, 50)));
    list.mark_urgent(0.2, &Streams::new(1));
    let mut pool = deployment(llama(), 1, None).pool(&fabric, Profiles::embedded(), &engine("vllm", 4)).unwrap();
    let served = serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(1));
    all_done(&list, &served);
    let mean = |urgent: bool| {
        let of: Vec<f64> = (0..200).filter(|&i| list.is_urgent(i) == urgent).map(|i| served.records[i as usize].ttft()).collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    assert!(mean(true) < 0.4 * mean(false), "{} against {}", mean(true), mean(false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whatever fails, starts and stops while sessions run: requests that are not refused are served once and whole.
    #[test]
    fn nothing_is_lost_or_doubled(
        seed: u64, blocks in 120u64..400, at in 0.0f64..20.0, detection in 0.0f64..3.0, second in prop::option::of(0.0f64..20.0),
        scaled: bool, offload: bool, swap: bool, urgent in prop::option::of(0.0f64..1.0), waiting in prop::option::of(1u64..8),
    ) {
        let fabric = fabric(3);
        let mut list = converse(&Dialogue { pause: 0.5, ..dialogue() }, &Streams::new(seed));
        if let Some(share) = urgent {
            list.mark_urgent(share, &Streams::new(seed));
        }
        let mut failures = vec![EngineFailure { engine: 0, node: None, at, detection, repair: Some(detection + 1.0) }];
        failures.extend(second.map(|at| EngineFailure { engine: 1, node: None, at, detection, repair: Some(detection + 2.0) }));
        let scaling = scaled.then_some(Scaling { role: Role::Both, least: 1, measure: Measure::Cache, interval: 0.5, above: 0.4, below: 0.1, patience: 2 });
        let start = Start { boot: 0.7, tier: None, warm_up: 0.3 };
        let fleet = Fleet { scaling, failures, start, max_waiting: waiting };
        let offload = offload.then_some(Offload { tier: None, capacity: 1e9, shared: false });
        let deployment = Deployment {
            fleet, offload, swap, prefix_cache: true, router: RouterPolicy::Session, ..deployment(Shape { layers: 8, ..llama() }, 3, Some(blocks))
        };
        let mut pool = deployment.pool(&fabric, Profiles::embedded(), &engine("vllm", 16)).unwrap();
        let served = serve(&mut pool, &list, Arrivals::Open, 0.0, &Streams::new(seed));
        let done = || list.list.iter().zip(&served.records).filter(|(_, r)| r.is_done());
        prop_assert_eq!((served.rejected + served.shed + served.unserved) as usize + done().count(), list.list.len());
        prop_assert_eq!(served.unserved, 0);
        // Requests are refused before they run, so that every token belongs to one that ends.
        prop_assert_eq!(served.gaps.count(), done().map(|(q, _)| u64::from(q.output) - 1).sum::<u64>());
        prop_assert_eq!(served.held_blocks, 0);
        prop_assert!(served.peak_blocks.0 <= served.peak_blocks.1);
        prop_assert!(served.engine_s <= 3.0 * served.end_s * (1.0 + 1e-9));
    }
}
