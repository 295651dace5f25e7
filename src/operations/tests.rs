//! Closed forms: the renewal formula, Young's and Daly's optimum, exact sums of time, no failures, levels, spares, Weibull.

use super::*;
use proptest::prelude::*;

fn class(rate: f64) -> Class {
    Class {
        name: "all".into(),
        rate,
        parts: 1000.0,
        shape: 1.0,
        renewed: false,
        effect: Effect::Stop,
        loses: Loses::Node,
        nodes: 1,
        detect: 0.0,
        outage: 0.0,
    }
}

fn level(drain: f64, restore: f64, survives: Loses) -> Level {
    Level { name: "store".into(), every: 1, drain, busy: drain, restore, restore_worst: restore, survives }
}

/// Steps of a second; a synchronous save of `save`, a recovery of `recovery`, failures every `mtbf`.
fn plan(steps: f64, every: u64, save: f64, recovery: f64, mtbf: f64) -> RunPlan {
    RunPlan {
        steps,
        step: 1.0,
        data_stall: 0.0,
        every,
        block: save,
        slowdown: 0.0,
        levels: vec![level(0.0, 0.0, Loses::Domain)],
        retention: 3,
        classes: vec![class(1.0 / mtbf)],
        recovery: Recovery { swap: 0.0, start: recovery, warm_up: 0.0 },
        spares: Spares { count: None, repair: 0.0, sigma: 0.0 },
        lemons: None,
        fleet_sigma: 0.0,
        shrunk: Vec::new(),
        reshard: 0.0,
    }
}

/// The rows of the page: M 7.9 h, 3.09 h, 14 min, 0.5 h.
const GRID: [(f64, f64, f64, u64); 5] = [
    (7.9 * 3600.0, 120.0, 900.0, 2533),
    (3.09 * 3600.0, 30.0, 600.0, 797),
    (3.09 * 3600.0, 5.0, 600.0, 330),
    (14.0 * 60.0, 10.0, 120.0, 123),
    (0.5 * 3600.0, 60.0, 600.0, 425),
];

#[test]
fn simulated_goodput_is_that_of_the_renewal_formula() {
    for (mtbf, save, recovery, every) in GRID {
        let exact = exact_efficiency(every as f64, save, recovery, mtbf);
        // About 2,000 failures in each of 16 runs.
        let all = ensemble(&plan(2000.0 * mtbf * exact, every, save, recovery, mtbf), 1, 16, false);
        let got = all.goodput.mean;
        assert_eq!(all.finished, 16);
        let waste = (1.0 - got) / (1.0 - exact);
        assert!((waste - 1.0).abs() < 0.02, "M {mtbf} d {save} R {recovery}: simulated {got}, exact {exact}");
    }
    // The formula itself, from the table of the page; the first-order waste is 14 points off in the last row.
    let of = |i: usize| exact_efficiency(GRID[i].3 as f64, GRID[i].1, GRID[i].2, GRID[i].0);
    for (i, want) in [0.883, 0.880, 0.919, 0.740, 0.547].into_iter().enumerate() {
        assert!((of(i) - want).abs() < 6e-4, "{i}: {}", of(i));
    }
}

/// The interval of greatest exact efficiency.
fn exact_best(save: f64, mtbf: f64) -> f64 {
    let at = |t: f64| exact_efficiency(t, save, 0.0, mtbf);
    (1..200_000).map(|i| 0.1 * f64::from(i)).max_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap()
}

#[test]
fn the_simulated_best_interval_is_the_analytic_one() {
    for mtbf in [0.23 * 3600.0, 0.5 * 3600.0, 3.09 * 3600.0, 7.9 * 3600.0, 24.0 * 3600.0] {
        for save in [5.0, 30.0, 120.0] {
            for recovery in [120.0, 600.0, 1800.0] {
                if recovery > 1.5 * mtbf {
                    continue;
                }
                let best = exact_best(save, mtbf);
                let plan = plan(300.0 * mtbf, 1, save, recovery, mtbf);
                let found = best_interval(&plan, 7, 16) as f64;
                assert!((found / best - 1.0).abs() < 0.05, "M {mtbf} d {save} R {recovery}: found {found}, best {best}");
                let (at, want) = (exact_efficiency(young(save, mtbf), save, recovery, mtbf), exact_efficiency(best, save, recovery, mtbf));
                assert!(at > 0.985 * want, "Young's interval is nearly as good: {at}, {want}");
            }
        }
    }
}

/// Where the save waits for the drain of the last one, the best interval is no shorter than the drain.
#[test]
fn a_long_drain_sets_the_interval() {
    let mut p = plan(400.0 * 10_000.0, 1, 0.1, 300.0, 10_000.0);
    (p.levels[0].drain, p.levels[0].busy) = (400.0, 400.0);
    let found = best_interval(&p, 7, 16) as f64;
    assert!((found / 400.0 - 1.0).abs() < 0.05, "{found}");
}

#[test]
fn without_failures_a_run_is_its_steps_exactly() {
    let mut quiet = plan(123_456.0, 0, 0.0, 0.0, 1.0);
    quiet.classes.clear();
    quiet.step = 0.3;
    let run = run_once(&quiet, 1, 0, true);
    assert_eq!(run.wall, 123_456.0 * 0.3);
    assert_eq!(run.useful / run.wall, 1.0);
    assert!(run.losses.iter().all(|&l| l == 0.0));
    // With checkpoints: one after each full cycle but the last.
    quiet.every = 1000;
    quiet.block = 2.0;
    let run = run_once(&quiet, 1, 0, false);
    assert!((run.wall - (123_456.0 * 0.3 + 123.0 * 2.0)).abs() < 1e-6, "{}", run.wall);
}

#[test]
fn an_asynchronous_save_waits_for_the_last_drain() {
    let mut p = plan(1000.0, 10, 0.5, 0.0, 1.0);
    p.levels[0].busy = 4.0;
    assert!((p.cycle() - 10.5).abs() < 1e-12, "the drain hides behind ten steps");
    p.levels[0].busy = 40.0;
    assert!((p.cycle() - 40.5).abs() < 1e-12, "the next save waits");
    p.levels[0].every = 4;
    assert!((p.cycle() - 10.5).abs() < 1e-12, "every fourth goes there");
}

#[test]
fn a_level_that_survives_less_is_read_less() {
    // Failures of processes only: host memory (saved each cycle) is enough; failures of nodes fall back to the store.
    let mut p = plan(20_000.0, 10, 0.0, 5.0, 2_000.0);
    p.levels = vec![level(0.0, 1.0, Loses::Process), Level { every: 20, ..level(0.0, 100.0, Loses::Domain) }];
    p.classes[0].loses = Loses::Process;
    let soft = ensemble(&p, 3, 50, false);
    p.classes[0].loses = Loses::Node;
    let hard = ensemble(&p, 3, 50, false);
    assert!(soft.goodput.mean > hard.goodput.mean + 0.03, "{} and {}", soft.goodput.mean, hard.goodput.mean);
    assert!(soft.worst_loss < 12.0 && hard.worst_loss > 100.0);
}

#[test]
fn wrong_values_go_back_to_before_they_were_wrong() {
    let mut p = plan(200_000.0, 100, 1.0, 10.0, 20_000.0);
    p.classes[0].effect = Effect::Corrupt { found_after: 450.0 };
    p.retention = 10;
    let kept = ensemble(&p, 5, 30, false);
    p.retention = 2;
    let lost = ensemble(&p, 5, 30, false);
    // Found after 450 s: about five checkpoints are thrown away; with two kept none is clean, and the run starts from the beginning.
    assert!(kept.worst_loss > 400.0 && kept.worst_loss < 700.0, "{}", kept.worst_loss);
    assert!(lost.worst_loss > 5_000.0, "{}", lost.worst_loss);
    assert!(kept.goodput.mean > lost.goodput.mean);
}

#[test]
fn few_spares_make_a_run_wait() {
    let mut p = plan(200_000.0, 100, 0.0, 60.0, 2_000.0);
    p.spares = Spares { count: Some(100), repair: 20_000.0, sigma: 0.5 };
    let many = ensemble(&p, 1, 20, false);
    p.spares.count = Some(2);
    let few = ensemble(&p, 1, 20, false);
    let waits = |e: &Ensemble| e.losses[Loss::NoSpare as usize];
    assert!(waits(&many) == 0.0 && waits(&few) > 1e4, "{} and {}", waits(&many), waits(&few));
}

#[test]
fn weibull_failures_come_early() {
    let mut p = plan(1e6, 100, 0.0, 0.0, 500.0);
    let n = |p: &RunPlan| ensemble(p, 2, 40, false).stops.mean;
    let even = n(&p);
    assert!((even / 2000.0 - 1.0).abs() < 0.15, "{even}");
    p.classes[0].shape = 0.7;
    // A thousand parts of mean life 500,000 s: the expected failures of a renewal-free fleet until t are n (t/scale)^k.
    let scale = 500.0 * 1000.0 / libm::tgamma(1.0 + 1.0 / 0.7);
    let wall = ensemble(&p, 2, 40, false).wall.mean;
    let want = 1000.0 * libm::pow(wall / scale, 0.7);
    assert!((n(&p) / want - 1.0).abs() < 0.05, "{} {want}", n(&p));
}

#[test]
fn new_parts_begin_their_age_anew() {
    let aging = |renewed, shape| Class { shape, renewed, parts: 200.0, ..class(0.2) };
    let count = |class: &Class, until: f64| {
        let mut arrivals = Arrivals::new(crate::engine::Streams::new(5).stream("x"), class, 1.0);
        let mut n = 0.0;
        while arrivals.next < until {
            n += 1.0;
            let before = arrivals.next;
            arrivals.advance(class, 1.0);
            assert!(arrivals.next >= before);
        }
        n
    };
    // Two hundred parts that wear out (shape 3, mean life 1,000 s): renewed, t / m + (c² - 1) / 2 failures of each part in the long run, c the
    // coefficient of variation; repaired as old as they were, (t / s)^3.
    let gamma = |x: f64| libm::tgamma(x);
    let spread = gamma(1.0 + 2.0 / 3.0) / libm::pow(gamma(4.0 / 3.0), 2.0) - 1.0;
    let want = 200.0 * (20.0 + (spread - 1.0) / 2.0);
    let renewed = count(&aging(true, 3.0), 20_000.0);
    assert!((renewed / want - 1.0).abs() < 0.02, "{renewed} {want}");
    let old = count(&aging(false, 3.0), 4_000.0);
    let want = 200.0 * libm::pow(4.0 * gamma(4.0 / 3.0), 3.0);
    assert!((old / want - 1.0).abs() < 0.03, "{old} {want}");
    // Parts that do not age are as good as new anyway.
    assert_eq!(count(&aging(true, 1.0), 20_000.0), count(&aging(false, 1.0), 20_000.0));
}

#[test]
fn lemons_that_are_taken_out_fail_no_more() {
    let mut p = plan(500_000.0, 100, 0.0, 10.0, 1_000.0);
    p.lemons = Some(Lemons { count: 10, share: 0.5, removed_after: None });
    let kept = ensemble(&p, 1, 20, false).stops.mean;
    p.lemons = Some(Lemons { count: 10, share: 0.5, removed_after: Some(2) });
    let removed = ensemble(&p, 1, 20, false).stops.mean;
    assert!(removed < 0.65 * kept && removed > 0.45 * kept, "{removed} of {kept}");
}

#[test]
fn threads_and_seeds() {
    let p = plan(50_000.0, 100, 1.0, 30.0, 1_000.0);
    assert_eq!(run_once(&p, 1, 3, false), run_once(&p, 1, 3, false));
    assert_ne!(run_once(&p, 1, 3, false).wall, run_once(&p, 1, 4, false).wall);
    let all = ensemble(&p, 1, 20, true);
    assert!(all.wall.p5 <= all.wall.p50 && all.wall.p50 <= all.wall.p95);
    assert_eq!(all.first, run_once(&p, 1, 0, true));
}

/// Nodes break every 20,000 s and are back after 2,000 s: for about a tenth of the time one is missing, and steps take a quarter longer.
#[test]
fn with_fewer_replicas_the_job_goes_on() {
    let mut p = plan(1e6, 100, 0.0, 0.0, 20_000.0);
    p.spares = Spares { count: Some(0), repair: 2_000.0, sigma: 0.0 };
    let waits = ensemble(&p, 1, 40, false);
    p.shrunk = vec![1.0, 1.25, 1.5, 1.75];
    let shrinks = ensemble(&p, 1, 40, false);
    let share = |e: &Ensemble, loss: Loss| e.losses[loss as usize] / e.wall.mean;
    // Waiting costs 2,000 s for each stop; shrinking a fifth of the same time, without a wait. Twice as many nodes are seldom missing.
    assert!((share(&waits, Loss::NoSpare) / (0.1 / 1.1) - 1.0).abs() < 0.1, "{}", share(&waits, Loss::NoSpare));
    assert_eq!(share(&shrinks, Loss::NoSpare), 0.0);
    assert!((share(&shrinks, Loss::Shrunk) / 0.02 - 1.0).abs() < 0.12, "{}", share(&shrinks, Loss::Shrunk));
    // A repaired node is taken back at once: a stop of its own that loses no work.
    assert!(shrinks.worst_loss < 101.0 && shrinks.goodput.mean > waits.goodput.mean + 0.05);
}

/// Joining with other replicas is read anew, at its own cost, once on the way down and once on the way up.
#[test]
fn other_replicas_are_cut_anew() {
    let mut p = plan(1e6, 100, 0.0, 0.0, 20_000.0);
    p.spares = Spares { count: Some(0), repair: 500.0, sigma: 0.0 };
    p.shrunk = vec![1.0, 1.1, 1.2, 1.3];
    p.reshard = 7.0;
    let all = ensemble(&p, 1, 40, false);
    let each = all.losses[Loss::Restore as usize] / all.stops.mean;
    assert!((each / 14.0 - 1.0).abs() < 0.05, "{each} s for each stop");
}

/// The region is lost with its stores: the copy in another one is read, and no more work is lost than its age.
#[test]
fn a_region_is_survived_elsewhere_only() {
    let mut p = plan(2e6, 100, 0.0, 0.0, 200_000.0);
    let far = Level { every: 10, drain: 300.0, busy: 300.0, restore: 900.0, restore_worst: 900.0, ..level(0.0, 0.0, Loses::Region) };
    p.levels.push(far);
    p.classes[0] = Class { loses: Loses::Region, nodes: 0, outage: 5_000.0, ..class(1.0 / 200_000.0) };
    let all = ensemble(&p, 3, 100, false);
    let goal = p.objectives(0.0).into_iter().find(|o| o.loses == Loses::Region).unwrap();
    assert_eq!((goal.point, goal.time), (Some((1, 1300.0)), 5_900.0));
    assert!(all.worst_loss <= 1300.0 && all.worst_loss > 800.0, "{}", all.worst_loss);
    // Now and then the region is lost again while it is down.
    assert!((all.losses[Loss::NoSpare as usize] / (5_000.0 * all.stops.mean) - 1.0).abs() < 0.03);
    // Without the copy everything is lost.
    p.levels.truncate(1);
    assert_eq!(p.objectives(0.0)[3].point, None);
    assert!(ensemble(&p, 3, 20, false).worst_loss > 50_000.0);
}

/// Which checkpoints go to a rare place does not begin anew with each stop: every tenth of all is there, also where stops are more frequent.
#[test]
fn rare_copies_are_taken_between_many_stops() {
    let mut p = plan(500_000.0, 100, 0.0, 0.0, 700.0);
    p.levels.push(Level { every: 10, ..level(0.0, 0.0, Loses::Region) });
    p.classes.push(Class { name: "region".into(), loses: Loses::Region, nodes: 0, ..class(1.0 / 50_000.0) });
    let lost = ensemble(&p, 3, 50, false).worst_loss;
    assert!(lost < 1_500.0, "{lost}");
}

#[test]
fn increments_write_less_and_read_more() {
    let some = Incremental { full_every: 10, share: 0.1 };
    assert!((some.written() - 0.19).abs() < 1e-12 && (some.read() - 1.45).abs() < 1e-12 && (some.read_most() - 1.9).abs() < 1e-12);
    assert!((some.stored(3.0) - 2.0 * 1.9).abs() < 1e-12);
    let all = Incremental::WHOLE;
    assert_eq!((all.written(), all.read(), all.read_most(), all.stored(3.0)), (1.0, 1.0, 1.0, 3.0));
}

proptest! {
    /// Every second of a run is a step that counts or one loss, whatever happens.
    #[test]
    fn losses_sum_to_the_whole(
        seed in 0u64..1000, every in 1u64..500, save in 0.0f64..20.0, drain in 0.0f64..300.0, recovery in 0.0f64..500.0,
        mtbf in 300.0f64..50_000.0, spares in proptest::option::of(0u32..4), kind in 0u8..5, elastic in any::<bool>(),
    ) {
        let mut p = plan(30_000.0, every, save, recovery, mtbf);
        p.levels = vec![level(drain, 7.0, Loses::Domain), level(drain / 10.0, 1.0, Loses::Process)];
        p.data_stall = 0.1;
        p.spares = Spares { count: spares, repair: 5_000.0, sigma: 1.0 };
        p.shrunk = if elastic { vec![1.0, 1.1, 1.1, 1.3] } else { Vec::new() };
        p.reshard = 3.0;
        p.classes.push(Class { name: "region".into(), loses: Loses::Region, nodes: 0, outage: 400.0, ..class(1.0 / 20_000.0) });
        let effect = [Effect::Stop, Effect::Hold { lost: 30.0, straggler: true }, Effect::Hold { lost: 90.0, straggler: false },
            Effect::Corrupt { found_after: 200.0 }, Effect::Planned { lasts: 60.0 }][kind as usize];
        p.classes.push(Class { name: "other".into(), effect, loses: Loses::Process, nodes: 0, ..class(1.0 / 3_000.0) });
        let run = run_once(&p, seed, 0, true);
        let sum = run.useful + run.losses.iter().sum::<f64>();
        prop_assert!((sum / run.wall - 1.0).abs() < 1e-9, "{sum} of {}", run.wall);
        prop_assert!(run.losses.iter().all(|&l| l >= -1e-9));
        prop_assert!(run.useful <= run.wall * (1.0 + 1e-12));
        let drawn: f64 = run.segments.iter().map(|s| s.end - s.start).sum();
        prop_assert!((drawn / run.wall - 1.0).abs() < 1e-6, "pieces cover {drawn} of {}", run.wall);
    }
}

/// Wrong values that are due while the job comes back from another stop are found when it trains again, not before.
#[test]
fn findings_wait_until_the_job_is_back() {
    let mut p = plan(30_000.0, 1, 0.0, 0.0, 300.0);
    p.levels = vec![level(0.0, 7.0, Loses::Domain), level(0.0, 1.0, Loses::Process)];
    p.data_stall = 0.1;
    let effect = Effect::Corrupt { found_after: 200.0 };
    p.classes.push(Class { name: "other".into(), effect, loses: Loses::Process, nodes: 0, ..class(1.0 / 3_000.0) });
    for seed in 0..1000 {
        let run = run_once(&p, seed, 0, false);
        let sum = run.useful + run.losses.iter().sum::<f64>();
        assert!((sum / run.wall - 1.0).abs() < 1e-9, "seed {seed}: {sum} of {}", run.wall);
    }
}

#[test]
fn rates_of_fleets_are_the_published_mean_times() {
    // 6.50 failures per 1,000 node-days: 1.8 h at 2,048 nodes, 0.23 h at 16,384 (Kokolis et al.).
    let hours = |nodes: f64| 24.0 * 1000.0 / (6.5 * nodes);
    assert!((hours(2048.0) - 1.8).abs() < 0.01 && (hours(16_384.0) - 0.225).abs() < 0.005);
    for preset in failure_presets() {
        let total: f64 = preset.class.iter().filter(|c| *c.effect == EffectKind::Stop).filter_map(|c| *c.per_1000_node_days).sum();
        let want = match preset.id.as_str() {
            "llama-3-405b" => 3.79,
            "fleet-2024" => 4.3,
            "meta-rsc-1" => 6.5,
            "meta-rsc-2" => 2.34,
            other => panic!("{other}"),
        };
        assert!((total - want).abs() < 0.005, "{}: {total}", *preset.id);
    }
}
