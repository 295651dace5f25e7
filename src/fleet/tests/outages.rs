//! What breaks and what is taken away.

use super::*;

#[test]
fn a_failure_costs_what_came_after_the_last_checkpoint() {
    let mut one = job(0.0, 1000.0, 4);
    (one.checkpoint, one.restart) = (100.0, 7.0);
    let mut set = fleet(cluster(1, 4, 1), vec![one]);
    set.outages.maintenance = vec![Maintenance { at: 250.0, every: None, nodes: vec![0], cordon: 0.0, lasts: 50.0 }];
    // Planned: it saves, is away for 50 s and takes 7 s to start again.
    assert_eq!(ends(&set, &fifo()), [1057.0]);
    set.outages.maintenance.clear();
    let mut sim = replay(&set, &fifo(), &mut NoSteps);
    assert_eq!(sim.fates[0].end, 1000.0);
    set.outages = Outages {
        classes: vec![crate::operations::Class {
            name: "node".into(),
            rate: 1.0 / 500.0,
            parts: 1.0,
            shape: 1.0,
            renewed: false,
            effect: crate::operations::Effect::Stop,
            loses: crate::operations::Loses::Node,
            nodes: 1,
            detect: 3.0,
            outage: 0.0,
        }],
        repair: (20.0, 0.0),
        ..Outages::default()
    };
    sim = replay(&set, &fifo(), &mut NoSteps);
    let fate = sim.fates[0];
    assert!(fate.failures > 0);
    // Held: the work, and what was wasted; away: 20 s a failure.
    assert!((fate.held / 4.0 - fate.wasted / 4.0 - 1000.0).abs() < 1e-6, "{fate:?}");
    assert!((fate.end - fate.ran - 20.0 * f64::from(fate.failures)).abs() < 1e-6, "{fate:?}");
}

#[test]
fn spot_jobs_give_way() {
    let mut spot = job(0.0, 100.0, 4);
    spot.spot = true;
    let set = fleet(cluster(1, 4, 1), vec![spot, job(10.0, 10.0, 2)]);
    let out = replay(&set, &fifo(), &mut NoSteps);
    assert_eq!((out.fates[1].start, out.fates[0].preemptions, out.fates[0].end), (10.0, 1, 110.0));
}

/// Two regions of two nodes of four: as of two kinds, so that no job lies in both.
fn two_regions(jobs: Vec<Job>) -> Fleet {
    let part = |region: u16| Pool { region, kind: region, ..pool("p", 0, 4) };
    let node = |n: u32| Node { pool: (n / 2) as u16, trees: [n, n / 2, n / 2] };
    let jobs = jobs.into_iter().map(|j| Job { ask: Ask { pools: 3, ..j.ask }, ..j }).collect();
    fleet(Cluster::new(vec![part(0), part(1)], (0..4).map(node).collect()), jobs)
}

fn lost_at(set: &mut Fleet, region: u16, at: f64, lasts: f64) {
    set.outages.regions.push(RegionOutage { region, at, lasts });
}

fn copied(every: u32, takes: f64) -> Job {
    let mut one = job(0.0, 1000.0, 8);
    (one.checkpoint, one.restart, one.copies) = (100.0, 7.0, Some(Copying { every, takes }));
    one
}

#[test]
fn a_job_goes_on_elsewhere_from_its_newest_copy() {
    // Every second checkpoint, complete at once: at 450 s that of 400 s is there.
    for (every, takes, kept) in [(2, 0.0, 400.0), (2, 60.0, 200.0), (2, 50.0, 400.0), (1, 60.0, 300.0), (3, 0.0, 300.0), (5, 0.0, 0.0)] {
        let mut set = two_regions(vec![copied(every, takes)]);
        lost_at(&mut set, 0, 450.0, 100.0);
        let out = replay(&set, &fifo(), &mut NoSteps);
        let way = out.ways_back[0];
        assert!((way.lost - (450.0 - kept)).abs() < 1e-9, "{every} {takes}: {way:?}");
        assert_eq!((way.at, way.back), (450.0, 457.0));
        assert!((out.fates[0].end - (457.0 + 1000.0 - kept)).abs() < 1e-9, "{every} {takes}: {}", out.fates[0].end);
        assert_eq!((out.region_losses[0].jobs, out.region_losses[0].replicas), (1, 0));
        // Held: the work, what was lost, and the restart.
        let fate = out.fates[0];
        assert!((fate.held - fate.wasted - 8000.0).abs() < 1e-6, "{fate:?}");
    }
    // Without copies all is lost.
    let mut set = two_regions(vec![Job { copies: None, ..copied(1, 0.0) }]);
    lost_at(&mut set, 0, 450.0, 100.0);
    let out = replay(&set, &fifo(), &mut NoSteps);
    assert_eq!((out.ways_back[0].lost, out.fates[0].end), (450.0, 1457.0));
}

#[test]
fn copies_in_a_region_that_is_lost_are_gone() {
    // Lost at home, then in the region to which it went, before a copy was made of what it did there: 50 s after its start no checkpoint
    // has come, and its old copy lies where it ran.
    let mut set = two_regions(vec![copied(1, 0.0)]);
    lost_at(&mut set, 0, 450.0, 100.0);
    lost_at(&mut set, 1, 507.0 + 100.0, 100.0);
    let out = replay(&set, &fifo(), &mut NoSteps);
    let [first, second] = out.ways_back[..] else { panic!("{:?}", out.ways_back) };
    assert!((first.lost - 50.0).abs() < 1e-9 && (first.back - 457.0).abs() < 1e-9);
    // At 557 s the first region was there again, so the checkpoint of that moment (500 s of work) was copied.
    assert!((second.lost - 50.0).abs() < 1e-9, "{second:?}");
    // Away for longer, there is no place for copies: all is lost.
    set.outages.regions[0].lasts = 157.0;
    let out = replay(&set, &fifo(), &mut NoSteps);
    assert!((out.ways_back[1].lost - 550.0).abs() < 1e-9, "{:?}", out.ways_back);
    // Where it cannot go anywhere it waits for its region, and everything is to be done again.
    let mut stays = Job { copies: None, ..copied(1, 0.0) };
    stays.ask.accelerators = 8;
    let mut set = two_regions(vec![stays]);
    set.jobs[0].ask.pools = 1;
    lost_at(&mut set, 0, 450.0, 100.0);
    assert_eq!(ends(&set, &fifo()), [1557.0]);
}

#[test]
fn a_service_fails_over() {
    let scaling = Scaling { metric: Metric::Utilization, target: 0.5, least: 4, most: 4, windows: [0.0, 300.0] };
    let service = Service {
        name: "s".into(),
        ask: Ask { pools: 3, ..ASK },
        team: 0,
        class: 0,
        priority: 0,
        rate: (18.0, 0.0, 7200.0),
        serves: 10.0,
        latency: 0.1,
        patience: 1.0,
        replica: None,
        warm: 60.0,
        rollout: None,
        scaling,
        interval: 15.0,
    };
    let mut set = two_regions(Vec::new());
    set.services = vec![service];
    set.horizon = Some(7200.0);
    // All four lie in the first region.
    lost_at(&mut set, 0, 3600.0, 600.0);
    let out = replay(&set, &fifo(), &mut NoSteps);
    let f = out.failovers[0];
    assert_eq!((f.at, f.warm, f.back), (3600.0, [4, 4], 3660.0));
    // A minute of requests, none of them in time.
    assert!((f.requests[0] - 18.0 * 60.0).abs() < 1e-6 && f.requests[1] == 0.0, "{f:?}");
    assert_eq!(out.region_losses[0].replicas, 4);
}

proptest! {
    /// Whenever a region goes for the first time, no more work is lost than lies between two copies, and the time that one takes.
    #[test]
    fn recovery_points_are_within_the_copies(list in all_kinds(), policy in any_policy(), every in 1u32..5, takes in 0.0f64..5.0,
                                             region in 0u16..2, at in 10.0f64..400.0, lasts in 5.0f64..60.0) {
        let mut set = two_regions(list);
        for job in &mut set.jobs {
            (job.checkpoint, job.copies) = (5.0, Some(Copying { every, takes }));
            (job.ask.accelerators, job.ask.chunk, job.elastic) = (job.ask.accelerators.min(8), 1, None);
        }
        lost_at(&mut set, region, at, lasts);
        let out = replay(&set, &policy, &mut NoSteps);
        sound(&set, &out, false)?;
        for way in &out.ways_back {
            prop_assert!(way.lost <= 5.0 * f64::from(every) + takes + 1e-6, "{way:?}");
            prop_assert!(way.back >= way.at);
        }
    }

    /// With spot nodes and regions that go at random everything still ends once.
    #[test]
    fn invariants_with_regions_and_spot(list in all_kinds(), policy in any_policy(), seed in 0u64..1000) {
        let mut set = two_regions(list);
        set.seed = seed;
        for job in &mut set.jobs {
            (job.checkpoint, job.copies) = (5.0, Some(Copying { every: 2, takes: 3.0 }));
            (job.ask.accelerators, job.ask.chunk) = (job.ask.accelerators.min(8), 1);
        }
        set.outages.spot = vec![Spot { nodes: vec![0, 2], interval: 90.0, notice: 2.0, replacement: 10.0 }];
        set.outages.classes = vec![crate::operations::Class {
            name: "region".into(), rate: 0.005, parts: 2.0, shape: 1.0, renewed: false, effect: crate::operations::Effect::Stop,
            loses: crate::operations::Loses::Region, nodes: 0, detect: 2.0, outage: 20.0,
        }];
        let out = replay(&set, &policy, &mut NoSteps);
        sound(&set, &out, false)?;
    }
}

/// Spot nodes that are taken away in `hours`.
fn reclaimed(hours: f64, notice: f64, replacement: f64) -> f64 {
    let mut set = fleet(cluster(50, 4, 10), Vec::new());
    let hour = |h: f64| h * 3600.0;
    set.outages.spot = vec![Spot { nodes: (0..50).collect(), interval: hour(100.0), notice: hour(notice), replacement: hour(replacement) }];
    set.horizon = Some(hour(hours));
    replay(&set, &fifo(), &mut NoSteps).reclaims as f64
}

#[test]
fn spot_nodes_go_at_their_rate() {
    // Poisson with a mean of 2,500: within four standard deviations.
    let n = reclaimed(5000.0, 0.0, 0.0);
    assert!((n - 2500.0).abs() < 4.0 * 50.0, "{n}");
    // Each node comes by once in the interval, the notice and the replacement; a renewal process varies less than Poisson.
    let (n, mean) = (reclaimed(5000.0, 10.0, 50.0), 50.0 * 5000.0 / 160.0);
    assert!((n - mean).abs() < 4.0 * mean.sqrt(), "{n} {mean}");
}

#[test]
fn notice_lets_jobs_save() {
    let one = |cost: f64| {
        let mut one = job(0.0, 100_000.0, 4);
        (one.checkpoint, one.checkpoint_cost, one.restart) = (1000.0, cost, 7.0);
        let mut set = fleet(cluster(1, 4, 1), vec![one]);
        set.outages.spot = vec![Spot { nodes: vec![0], interval: 20_000.0, notice: 30.0, replacement: 600.0 }];
        let out = replay(&set, &fifo(), &mut NoSteps);
        (out.fates[0], out.reclaims as f64)
    };
    // What is saved in half a minute is not lost: only starting again costs, and ten minutes away each time.
    let (fate, times) = one(0.0);
    assert!(times >= 1.0 && f64::from(fate.failures) == times, "{fate:?}");
    assert!((fate.wasted - 4.0 * 7.0 * times).abs() < 1e-6, "{fate:?}");
    assert!((fate.end - (100_000.0 + (600.0 + 7.0) * times)).abs() < 1e-6, "{fate:?}");
    // A checkpoint of a minute is not done in time: up to a thousand seconds are lost beside the time of saving.
    let (fate, times) = one(60.0);
    let saving = 4.0 * 60.0 * 100.0;
    assert!(fate.wasted > 4.0 * 7.0 * times + saving && fate.wasted < 4.0 * (1060.0 + 67.0) * times + saving + 240.0 * times, "{fate:?}");
}
