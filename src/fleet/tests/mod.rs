//! Queueing theory, bounds that policies keep, invariants on random jobs; what other tests of the room build on.

mod jobs;
mod outages;
mod references;
mod services;

use super::*;
use crate::engine::Streams;
use proptest::prelude::*;

fn replay(set: &Fleet, policy: &Policy, steps: &mut dyn StepTimes) -> Replayed {
    let keep = if set.jobs.len() < 1000 { Keep::ALL } else { Keep::NONE };
    super::replay(set, policy, steps, keep)
}

fn pool(name: &str, kind: u16, accelerators: u8) -> Pool {
    Pool {
        name: name.into(),
        kind,
        part: name.into(),
        accelerators,
        cpus: 64.0,
        memory: 1e12,
        price: None,
        power: [0.0; 2],
        region: 0,
        elastic: None,
    }
}

/// Nodes of one pool, each a domain of its own, `per_leaf` under a leaf, two leaves a pod.
fn cluster(nodes: u32, accelerators: u8, per_leaf: u32) -> Cluster {
    let node = |n: u32| Node { pool: 0, trees: [n, n / per_leaf, n / per_leaf / 2] };
    Cluster::new(vec![pool("p", 0, accelerators)], (0..nodes).map(node).collect())
}

const ASK: Ask = Ask { pools: 1, accelerators: 1, share: 1000, chunk: 1, cpus: 0.0, memory: 0.0, within: Within::Any };

fn job(submit: f64, seconds: f64, accelerators: u32) -> Job {
    Job {
        submit,
        ask: Ask { accelerators, ..ASK },
        work: Work::Time(seconds),
        class: 0,
        team: 0,
        priority: 0,
        spot: false,
        preemptible: true,
        checkpoint: 0.0,
        checkpoint_cost: 0.0,
        copies: None,
        restart: 0.0,
        elastic: None,
    }
}

fn fleet(cluster: Cluster, jobs: Vec<Job>) -> Fleet {
    let graph = Graph::default();
    Fleet {
        cluster,
        jobs,
        graph,
        teams: Vec::new(),
        outages: Outages::default(),
        services: Vec::new(),
        steps: Vec::new(),
        horizon: None,
        seed: 1,
    }
}

fn policy(order: OrderKind, backfill: BackfillKind) -> Policy {
    Policy::new(order, backfill, PlacementKind::Pack)
}

fn fifo() -> Policy {
    policy(OrderKind::Fifo, BackfillKind::None)
}

/// Erlang's C: the chance to wait, and from it the mean wait in service times.
fn erlang_wait(servers: u32, load: f64) -> f64 {
    let mut b = 1.0;
    for k in 1..=servers {
        b = load * b / (f64::from(k) + load * b);
    }
    let rho = load / f64::from(servers);
    let c = b / (1.0 - rho + rho * b);
    c / (f64::from(servers) - load)
}

#[test]
fn waits_are_those_of_queueing_theory() {
    assert!((erlang_wait(1, 0.5) - 1.0).abs() < 1e-12);
    for (servers, rho) in [(1u32, 0.5), (1, 0.7), (4, 0.8)] {
        let mean = 100.0;
        let class = JobClass {
            name: format!("m{servers}"),
            after: Vec::new(),
            count: 1_000_000,
            from: 0.0,
            gap: mean / (rho * f64::from(servers)),
            random: true,
            mean,
            lengths: Lengths::Exponential,
            sizes: vec![(1, 1.0)],
            like: job(0.0, 0.0, 1),
        };
        let set = fleet(cluster(1, servers as u8, 1), draw_all(&[], &[class], &Streams::new(7)).0);
        let out = replay(&set, &fifo(), &mut NoSteps);
        let waits: f64 = out.fates.iter().zip(&set.jobs).map(|(f, j)| f.start - j.submit).sum();
        let (got, want) = (waits / set.jobs.len() as f64 / mean, erlang_wait(servers, rho * f64::from(servers)));
        assert!((got / want - 1.0).abs() < 0.02, "{servers} servers at {rho}: {got}, theory {want}");
        let used = out.series.total[0] / out.end / f64::from(servers);
        assert!((used / rho - 1.0).abs() < 0.01, "{used}");
    }
}

/// Jobs with whole seconds, in order of submission.
fn jobs(sizes: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Vec<Job>> {
    prop::collection::vec((0u32..60, 1u32..40, sizes), 1..40).prop_map(|list| {
        let mut list: Vec<Job> = list.into_iter().map(|(s, d, n)| job(f64::from(s), f64::from(d), n)).collect();
        list.sort_by(|a, b| a.submit.total_cmp(&b.submit));
        list
    })
}

fn starts(set: &Fleet, policy: &Policy) -> Vec<f64> {
    replay(set, policy, &mut NoSteps).fates.iter().map(|f| f.start).collect()
}

fn ends(set: &Fleet, policy: &Policy) -> Vec<f64> {
    replay(set, policy, &mut NoSteps).fates.iter().map(|f| f.end).collect()
}

/// No accelerator is with two jobs at once, jobs hold all they asked for from start to end, and what they held is what they had to do.
fn sound(set: &Fleet, out: &Replayed, exact: bool) -> Result<(), TestCaseError> {
    let mut by_place: std::collections::BTreeMap<(u32, u32), Vec<(f64, f64)>> = std::collections::BTreeMap::new();
    let mut by_start: std::collections::BTreeMap<(u32, u64), u32> = std::collections::BTreeMap::new();
    for stay in &out.stays {
        *by_start.entry((stay.job, stay.start.to_bits())).or_default() += stay.mask.count_ones();
        for at in (0..64).filter(|i| stay.mask >> i & 1 == 1) {
            by_place.entry((stay.node, at)).or_default().push((stay.start, stay.end));
        }
    }
    for ((node, at), mut list) in by_place {
        prop_assert!(at < u32::from(set.cluster.pool(node).accelerators));
        list.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for pair in list.windows(2) {
            prop_assert!(pair[0].1 <= pair[1].0, "node {node}, accelerator {at} is given twice: {pair:?}");
        }
    }
    for ((job, _), count) in by_start {
        if set.jobs[job as usize].elastic.is_none() && set.jobs[job as usize].ask.share == 1000 {
            prop_assert_eq!(count, set.jobs[job as usize].ask.accelerators, "job {} started in part", job);
        }
    }
    for (job, fate) in set.jobs.iter().zip(&out.fates) {
        prop_assert!(fate.rejected || fate.end >= 0.0, "a job never ends");
        if let Work::Time(seconds) = job.work
            && !fate.rejected
        {
            prop_assert!(fate.start >= job.submit);
            let done = fate.held - fate.wasted;
            let want = seconds * f64::from(job.ask.accelerators);
            prop_assert!(!exact || (done - want).abs() < 1e-6 * want.max(1.0), "held {} wasted {} for {want}", fate.held, fate.wasted);
        }
    }
    Ok(())
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let order = prop::sample::select(vec![OrderKind::Fifo, OrderKind::Shortest, OrderKind::Priority, OrderKind::Fair]);
    let backfill = prop::sample::select(vec![BackfillKind::None, BackfillKind::Greedy, BackfillKind::Easy, BackfillKind::Conservative]);
    let place = prop::sample::select(vec![PlacementKind::Pack, PlacementKind::Spread, PlacementKind::Topology]);
    (order, backfill, place, any::<[bool; 4]>()).prop_map(|(order, backfill, place, [preempt, reclaim, migrate, grow])| Policy {
        preempt,
        reclaim,
        migrate: migrate.then_some(3.0),
        grow,
        ..Policy::new(order, backfill, place)
    })
}

/// Jobs of all kinds: distances, workers, teams, priorities, spot, checkpoints, jobs that grow.
fn all_kinds() -> impl Strategy<Value = Vec<Job>> {
    let near = prop::sample::select(vec![Within::Any, Within::Any, Within::Node, Within::Domain, Within::Leaf, Within::Pod]);
    let one = (0u32..100, 1u32..60, 1u32..20, near, 1u32..4, 0u16..3, 0i32..3, any::<[bool; 3]>(), 0u32..3);
    prop::collection::vec(one, 1..40).prop_map(|list| {
        let mut out: Vec<Job> = Vec::new();
        for (submit, seconds, n, within, chunk, team, priority, [spot, saves, elastic], restart) in list {
            let chunk = if n % chunk == 0 { chunk } else { 1 };
            let n = if within == Within::Node { n.min(4) / chunk.min(n.min(4)) * chunk.min(n.min(4)) } else { n };
            let mut job = job(f64::from(submit), f64::from(seconds), n);
            job.ask = Ask { within, chunk, ..job.ask };
            (job.team, job.priority, job.spot, job.restart) = (team, priority, spot, f64::from(restart));
            job.checkpoint = if saves { 7.0 } else { 0.0 };
            job.elastic = (elastic && chunk == 1 && within == Within::Any).then_some(Elastic { most: n + 6, serial: 0.1 });
            out.push(job);
        }
        out.sort_by(|a, b| a.submit.total_cmp(&b.submit));
        out
    })
}

fn teams() -> Vec<Team> {
    let team = |name: &str, quota, borrow| Team { name: name.into(), weight: 1.0, quota: Some(quota), cohort: Some(0), borrow };
    vec![team("a", 8, 4), team("b", 8, 8), Team { quota: None, cohort: None, ..team("c", 0, 0) }]
}

proptest! {
    #[test]
    fn one_server_shortest_remaining_is_never_worse(list in jobs(1..=1)) {
        let set = fleet(cluster(1, 1, 1), list);
        let mean = |p: &Policy| ends(&set, p).iter().zip(&set.jobs).map(|(e, j)| e - j.submit).sum::<f64>();
        let shortest = Policy { preempt: true, ..policy(OrderKind::Shortest, BackfillKind::None) };
        prop_assert!(mean(&shortest) <= mean(&fifo()) + 1e-6);
    }

    #[test]
    fn conservative_backfill_delays_nobody_beyond_fifo(list in jobs(1..=8)) {
        let set = fleet(cluster(2, 4, 1), list);
        let (a, b) = (starts(&set, &policy(OrderKind::Fifo, BackfillKind::Conservative)), starts(&set, &fifo()));
        for (a, b) in a.iter().zip(&b) {
            prop_assert!(a <= b, "{a} after {b}");
        }
    }

    /// Whatever the policy: nothing is given twice, gangs are whole, work is done once, quotas hold.
    #[test]
    fn invariants_of_all_policies(list in all_kinds(), policy in any_policy(), quotas in any::<bool>()) {
        let mut set = fleet(cluster(6, 4, 2), list);
        if quotas {
            set.teams = teams();
        }
        let out = replay(&set, &policy, &mut NoSteps);
        // Jobs that grow hold more than they need; all others exactly what they have to do.
        let grows = policy.grow && set.jobs.iter().any(|j| j.elastic.is_some());
        sound(&set, &out, !grows)?;
        let again = replay(&set, &policy, &mut NoSteps);
        prop_assert_eq!(&out.fates, &again.fates);
    }

    /// With nodes that break and are maintained, everything still ends and nothing is given twice.
    #[test]
    fn invariants_under_outages(list in all_kinds(), policy in any_policy(), seed in 0u64..1000) {
        let class = |name: &str, effect, loses, rate| crate::operations::Class {
            name: name.into(), rate, parts: 6.0, shape: 1.0, renewed: false, effect, loses, nodes: 2, detect: 2.0, outage: 0.0,
        };
        use crate::operations::{Effect, Loses};
        let mut set = fleet(cluster(6, 4, 2), list);
        set.seed = seed;
        set.jobs.iter_mut().for_each(|j| j.checkpoint = 5.0);
        set.outages = Outages {
            classes: vec![
                class("node", Effect::Stop, Loses::Node, 0.01),
                class("rack", Effect::Stop, Loses::Domain, 0.002),
                class("process", Effect::Stop, Loses::Process, 0.01),
                class("pause", Effect::Hold { lost: 4.0, straggler: false }, Loses::Process, 0.01),
            ],
            repair: (30.0, 0.5),
            spares: (1, 3.0),
            maintenance: vec![Maintenance { at: 40.0, every: Some(100.0), nodes: vec![2, 3], cordon: 10.0, lasts: 20.0 }],
            ..Outages::default()
        };
        let out = replay(&set, &policy, &mut NoSteps);
        sound(&set, &out, false)?;
    }

    /// Free counts by pool, tree and bucket agree with the nodes, whatever is taken and given back.
    #[test]
    fn counts_agree(steps in prop::collection::vec((0u32..3, 1u32..12, 0u32..6), 1..60)) {
        let mut c = cluster(6, 4, 2);
        let whole = c.free_of(1);
        let mut held: Vec<(Grant, Ask)> = Vec::new();
        for (what, n, node) in steps {
            match what {
                0 => {
                    let share = if n < 4 { 250 } else { 1000 };
                    let ask = Ask { accelerators: if n < 4 { 1 } else { n }, share, cpus: 1.0, ..ASK };
                    if let Some(parts) = find(placement(PlacementKind::Topology), &c, &ask) {
                        held.push((c.take(&parts, &ask), ask));
                    }
                }
                1 if !held.is_empty() => {
                    let (grant, ask) = held.swap_remove(n as usize % held.len());
                    c.release(&grant, &ask);
                    c.retake(&grant, &ask);
                    c.release(&grant, &ask);
                }
                _ => c.set_condition(node, if n % 2 == 0 { Condition::Down } else { Condition::Up }),
            }
            let up = |n: &u32| c.condition(*n) == Condition::Up;
            let free: u32 = (0..6).filter(up).map(|n| c.free_on(n)).sum();
            prop_assert_eq!(free, c.free_of(1));
            for level in 0..3 {
                let trees = c.trees(level).0;
                prop_assert_eq!((0..trees).map(|t| c.free_in(level, t, 1)).sum::<u32>(), free);
            }
            prop_assert_eq!((0..=4).map(|f| c.bucket(0, f).len()).sum::<usize>(), (0..6).filter(up).count());
        }
        for (grant, ask) in held.drain(..) {
            c.release(&grant, &ask);
        }
        (0..6).for_each(|n| c.set_condition(n, Condition::Up));
        prop_assert_eq!(c.free_of(1), whole);
        prop_assert!(c.used() == 0.0 && (0..6).all(|n| c.is_idle(n)));
    }
}
