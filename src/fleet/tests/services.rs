//! Services, their replicas and new versions, and pools that come and go.

use super::*;

#[test]
fn an_elastic_pool_comes_and_goes() {
    let mut p = pool("p", 0, 4);
    p.elastic = Some(ElasticPool { least: 1, provision: 120.0, idle: 600.0, life: 0.0 });
    let c = Cluster::new(vec![p], (0..4).map(|n| Node { pool: 0, trees: [n, 0, 0] }).collect());
    let mut set = fleet(c, vec![job(0.0, 100.0, 4), job(0.0, 100.0, 8)]);
    set.horizon = Some(3600.0);
    let out = replay(&set, &fifo(), &mut NoSteps);
    assert_eq!(out.fates[0].start, 0.0);
    // The first look is at time zero, and two nodes come two minutes later.
    assert_eq!(out.fates[1].start, 120.0);
    // One of them is used with the first node until 220 s; both go ten minutes after their last work.
    assert_eq!(out.node_seconds[0], 3600.0 + 600.0 + 700.0);
}

#[test]
fn a_service_follows_its_load_and_scales_to_zero() {
    let scaling = Scaling { metric: Metric::Utilization, target: 0.5, least: 0, most: 4, windows: [0.0, 300.0] };
    let service = Service {
        name: "s".into(),
        ask: ASK,
        team: 0,
        class: 0,
        priority: 0,
        rate: (10.0, 1.0, 7200.0),
        serves: 10.0,
        latency: 0.1,
        patience: 1.0,
        replica: None,
        warm: 60.0,
        rollout: None,
        scaling,
        interval: 15.0,
    };
    let mut set = fleet(cluster(1, 8, 1), Vec::new());
    set.services = vec![service];
    set.horizon = Some(4.0 * 7200.0);
    let out = replay(&set, &fifo(), &mut NoSteps);
    let s = &out.services[0];
    assert!((s.requests / (10.0 * 4.0 * 7200.0) - 1.0).abs() < 1e-3, "{}", s.requests);
    // Twenty a second at the peak need four replicas at half load, none are kept through the night for longer than the window.
    let most = s.series.points().map(|p| p.1[1]).fold(0.0, f64::max);
    assert!((3.9..=4.0).contains(&most), "{most}");
    let share = s.attained / s.requests;
    assert!(share > 0.9 && share <= 1.0, "{share}");
    assert!(s.replica_seconds < 4.0 * 4.0 * 7200.0 * 0.8);
    // Cold starts cost requests; without them all are in time.
    set.services[0].warm = 0.0;
    assert!(replay(&set, &fifo(), &mut NoSteps).services[0].attained >= s.attained);
}

/// Time of a roll-out of four replicas, the fewest that were warm, and the share of requests in time.
fn rolled(accelerators: u8, rollout: Rollout) -> (f64, u32, f64) {
    let scaling = Scaling { metric: Metric::Utilization, target: 0.5, least: 4, most: 4, windows: [0.0, 300.0] };
    let service = Service {
        name: "s".into(),
        ask: ASK,
        team: 0,
        class: 1,
        priority: 10,
        rate: (38.0, 0.0, 7200.0),
        serves: 10.0,
        latency: 0.1,
        patience: 1.0,
        replica: None,
        warm: 60.0,
        rollout: Some(rollout),
        scaling,
        interval: 15.0,
    };
    let cores = Ask { accelerators: 0, cpus: 1.0, ..ASK };
    let mut set = fleet(cluster(1, accelerators, 1), vec![Job { ask: cores, ..job(3000.0, 7.0, 0) }]);
    set.services = vec![service];
    set.horizon = Some(7200.0);
    let out = replay(&set, &fifo(), &mut NoSteps);
    let roll = out.services[0].rolls[0];
    assert_eq!((roll.version, roll.at, roll.superseded), (1, 3007.0, false));
    (roll.done - roll.at, roll.least_warm, roll.requests[1] / roll.requests[0])
}

#[test]
fn new_versions_replace_replicas_within_their_bounds() {
    // One at a time beside the four: four cold starts after each other, never fewer than four serve.
    assert_eq!(rolled(8, Rollout { after: 0, surge: 1, unavailable: 0 }), (240.0, 4, 1.0));
    // All at once.
    assert_eq!(rolled(8, Rollout { after: 0, surge: 4, unavailable: 0 }), (60.0, 4, 1.0));
    // One fewer meanwhile: three serve 30 of 38 requests a second, what waits is late after four seconds.
    let (took, least, in_time) = rolled(8, Rollout { after: 0, surge: 0, unavailable: 1 });
    assert_eq!((took, least), (240.0, 3));
    assert!(in_time < 0.05, "{in_time}");
    // Without room for one more the roll-out stands still, and all go on with the old version.
    let (took, least, in_time) = rolled(4, Rollout { after: 0, surge: 2, unavailable: 0 });
    assert!(took < 0.0 && least == 4 && in_time == 1.0);
    let (took, least, _) = rolled(4, Rollout { after: 0, surge: 0, unavailable: 2 });
    assert_eq!((took, least), (120.0, 2));
}

/// A replica of ten requests a second: all in time up to five, three quarters at ten; half of the first tokens come in a tenth of what the
/// others take.
fn curve() -> std::sync::Arc<Curve> {
    let load = |rate: f64, attained: f64, t: f64| Load {
        rate,
        attained,
        tpot: t / 10.0,
        e2e: 10.0 * t,
        ttft: 0.55 * t,
        ttft_parts: vec![0.1 * t, t],
    };
    let loads = vec![load(5.0, 1.0, 0.2), load(10.0, 0.75, 0.4)];
    std::sync::Arc::new(Curve { scenario: "s.toml".into(), accelerators: 1, loads, first_token: Some(1.0) })
}

#[test]
fn between_simulated_loads_a_replica_does_what_lies_between() {
    let c = curve();
    assert_eq!((c.serves(), c.e2e(5.0), c.e2e(10.0), c.e2e(1.0)), (10.0, 2.0, 4.0, 2.0));
    assert!((c.e2e(7.5) - 3.0).abs() < 1e-12 && (c.in_time(7.5, 0.0) - 0.875).abs() < 1e-12);
    // After 0.7 s of waiting only the quick half is there within a second, after 0.97 s at full load nobody.
    assert_eq!((c.in_time(10.0, 0.7), c.in_time(10.0, 0.97), c.in_time(5.0, 0.7)), (0.5, 0.0, 1.0));
}

/// A service with a steady load on two replicas, which is far from another number.
fn steady(rate: f64) -> ServiceState {
    let scaling = Scaling { metric: Metric::Utilization, target: 0.7, least: 2, most: 2, windows: [0.0, 300.0] };
    let service = Service {
        name: "s".into(),
        ask: ASK,
        team: 0,
        class: 0,
        priority: 0,
        rate: (rate, 0.0, 7200.0),
        serves: curve().serves(),
        latency: 2.0,
        patience: 1.0,
        replica: Some(curve()),
        warm: 0.0,
        rollout: None,
        scaling,
        interval: 15.0,
    };
    let mut set = fleet(cluster(1, 8, 1), Vec::new());
    set.services = vec![service];
    set.horizon = Some(3600.0);
    replay(&set, &fifo(), &mut NoSteps).services.remove(0)
}

#[test]
fn a_described_replica_gives_the_latencies_of_its_load() {
    for (rate, attained, [ttft, tpot, e2e], p99) in [(10.0, 1.0, [0.11, 0.02, 2.0], 0.2), (20.0, 0.75, [0.22, 0.04, 4.0], 0.4)] {
        let s = steady(rate);
        assert!((s.attained / s.requests - attained).abs() < 1e-9, "{rate}: {}", s.attained / s.requests);
        assert_eq!(s.times.requests, s.requests);
        for (got, want) in s.times.means().into_iter().zip([ttft, tpot, e2e]) {
            assert!((got / want - 1.0).abs() < 1e-9, "{rate}: {got}, {want}");
        }
        assert!((s.times.ttft_within(0.99) / p99 - 1.0).abs() < 0.01, "{}", s.times.ttft_within(0.99));
        assert!((s.times.ttft_within(0.4) / p99 - 0.1).abs() < 0.001, "{}", s.times.ttft_within(0.4));
    }
    // Two more a second than both serve: an hour later 7,200 wait, six minutes each, and hardly anybody is in time.
    let s = steady(22.0);
    assert!((s.backlog - 7200.0).abs() < 1e-6 && (s.longest - 359.0).abs() < 2.0, "{} {}", s.backlog, s.longest);
    assert!(s.attained / s.requests < 0.01 && (s.times.means()[0] / 180.0 - 1.0).abs() < 0.01, "{:?}", s.times.means());
}
