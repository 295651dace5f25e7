//! Several models on one cluster.

use super::*;

fn small() -> Shape {
    Shape::of_preset(presets().iter().find(|p| p.id.value == "llama-3.2-1b").unwrap()).unwrap()
}

fn with(first: Deployment, second: Deployment, shared: bool) -> Deployment {
    Deployment { beside: vec![Beside { engines: second, stack: engine("vllm", 32), shared }], ..first }
}

fn traffic(n: u32, step: f64) -> Requests {
    requests((0..n).map(|i| (f64::from(i) * step, 300 + 7 * (i % 50), 40 + i % 30)))
}

#[test]
fn models_on_accelerators_of_their_own_do_not_meet() {
    let stack = engine("vllm", 32);
    let (a, b) = (traffic(150, 0.03), traffic(90, 0.05));
    let mut both = a.clone();
    both.join(&b, 1);
    let cluster = fabric(3);
    let mut pool =
        with(deployment(llama(), 2, None), deployment(small(), 1, None), false).pool(&cluster, Profiles::embedded(), &stack).unwrap();
    assert_eq!(pool.engines.iter().map(|e| e.first.0).collect::<Vec<_>>(), [0, 1, 2]);
    let served = serve(&mut pool, &both, Arrivals::Open, 0.0, &Streams::new(1));
    let alone = |shape: Shape, replicas: u64, list: &Requests| {
        let cluster = fabric(replicas);
        let mut pool = deployment(shape, replicas, None).pool(&cluster, Profiles::embedded(), &stack).unwrap();
        serve(&mut pool, list, Arrivals::Open, 0.0, &Streams::new(1)).records
    };
    for (model, records) in [(0, alone(llama(), 2, &a)), (1, alone(small(), 1, &b))] {
        let mine = (0..both.list.len()).filter(|&i| both.model_of(i as u32) == model).map(|i| served.records[i]);
        let times = |r: &Record| (r.arrival, r.scheduled, r.first, r.last);
        assert_eq!(mine.map(|r| times(&r)).collect::<Vec<_>>(), records.iter().map(times).collect::<Vec<_>>(), "model {model}");
    }
}

#[test]
fn engines_on_the_same_accelerators_take_turns() {
    let cluster = fabric(1);
    let mut stack = engine("vllm", 32);
    stack.memory_share.value = 0.4;
    let (a, b) = (traffic(200, 0.0), traffic(200, 0.0));
    let mut both = a.clone();
    both.join(&b, 1);
    let mut second = engine("vllm", 32);
    second.memory_share.value = 0.4;
    let mut shared = with(deployment(llama(), 1, None), deployment(llama(), 1, None), true);
    shared.beside[0].stack = second;
    let mut pool = shared.pool(&cluster, Profiles::embedded(), &stack).unwrap();
    let served = serve(&mut pool, &both, Arrivals::Open, 0.0, &Streams::new(1));
    assert!(served.records.iter().all(Record::is_done) && served.held_blocks == 0);
    // Their iterations never overlap and, with work for both, leave no gap; each has half of the time.
    let busy: f64 = served.busy_s.iter().sum();
    assert!((busy / served.end_s - 1.0).abs() < 1e-6, "{busy} of {}", served.end_s);
    assert!((served.busy_s[0] / served.busy_s[1] - 1.0).abs() < 0.01);
    let mut alone = deployment(llama(), 1, None).pool(&cluster, Profiles::embedded(), &stack).unwrap();
    let single = serve(&mut alone, &a, Arrivals::Open, 0.0, &Streams::new(1)).end_s;
    assert!((served.end_s / (2.0 * single) - 1.0).abs() < 1e-6);
    // Two engines that both take nine tenths of the memory do not fit.
    stack.memory_share.value = 0.9;
    assert!(matches!(shared.pool(&cluster, Profiles::embedded(), &stack), Err(DeployError::Shared(..))));
}

#[test]
fn a_mix_has_its_shares_and_sessions_stay() {
    let mut list = traffic(20_000, 0.001);
    list.mark_models(&[0.25, 0.1], &Streams::new(5));
    let share = |model| (0..20_000).filter(|&i| list.model_of(i) == model).count() as f64 / 20_000.0;
    assert!((share(1) - 0.25).abs() < 0.01 && (share(2) - 0.1).abs() < 0.01 && (share(0) - 0.65).abs() < 0.01);
    let turns = Length::Fixed(4);
    let length = Length::Fixed(10);
    let mut chats = converse(
        &Dialogue { rate: 1.0, sessions: 50, turns, pause: 1.0, common: 0, input: length, output: length, most: 1 << 20 },
        &Streams::new(2),
    );
    chats.mark_models(&[0.5], &Streams::new(5));
    for (i, request) in chats.list.iter().enumerate() {
        assert_eq!(chats.model_of(i as u32), chats.model_of(request.session));
    }
    assert!(chats.models.contains(&0) && chats.models.contains(&1));
}

#[test]
fn stages_of_data_parallel_attention() {
    let shape = Shape::of_preset(presets().iter().find(|p| p.id.value == "qwen3-30b-a3b").unwrap()).unwrap();
    let run = |pipeline: u64, list: &Requests| {
        let cluster = fabric(2 * pipeline);
        let deployment =
            Deployment { data: 2, expert: 2, pipeline, router: RouterPolicy::LeastTokens, ..deployment(shape.clone(), 1, None) };
        let mut pool = deployment.pool(&cluster, Profiles::embedded(), &engine("vllm", 256)).unwrap();
        assert_eq!(pool.engines[0].accelerators(), 2 * pipeline);
        let served = serve(&mut pool, list, Arrivals::Open, 0.0, &Streams::new(1));
        assert!(served.records.iter().all(Record::is_done) && served.held_blocks == 0);
        (served.end_s, pool.engines[0].weights)
    };
    // One request passes both halves of the layers; many fill both stages.
    let (one, many) = (requests([(0.0, 100, 200)]), requests((0..400).map(|_| (0.0, 500, 100))));
    let ((alone, whole), (staged, half)) = (run(1, &one), run(2, &one));
    assert!((0.99..1.1).contains(&(staged / alone)), "{staged} against {alone}");
    assert!((0.45..0.6).contains(&(half / whole)), "{half} of {whole}");
    let gain = run(1, &many).0 / run(2, &many).0;
    assert!((1.1..2.0).contains(&gain), "{gain}");
}
