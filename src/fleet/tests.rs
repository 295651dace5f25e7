//! Queueing theory, bounds that policies keep, invariants on random jobs, and independent references.

use super::*;
use crate::engine::Streams;
use proptest::prelude::*;

fn replay(set: &Fleet, policy: &Policy, steps: &mut dyn StepTimes) -> Replayed {
    let keep = if set.jobs.len() < 1000 { Keep::ALL } else { Keep::NONE };
    super::replay(set, policy, steps, keep)
}

fn pool(name: &str, kind: u16, accelerators: u8) -> Pool {
    Pool { name: name.into(), kind, part: name.into(), accelerators, cpus: 64.0, memory: 1e12, price: None, power: [0.0; 2], elastic: None }
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
    let backfill = prop::sample::select(vec![BackfillKind::None, BackfillKind::Greedy, BackfillKind::Easy]);
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

/// Independent references: written from the definitions, over a plain count of accelerators, second by event.
mod reference {
    use super::*;

    type Ends = Vec<f64>;
    /// Who runs, from the time and (job, remaining, runs now).
    type Choice<'a> = &'a dyn Fn(f64, &[(usize, f64, bool)]) -> Vec<usize>;

    fn peak(booked: &[(f64, f64, u32)], from: f64, to: f64) -> u32 {
        let used = |t: f64| booked.iter().filter(|b| b.0 <= t && t < b.1).map(|b| b.2).sum::<u32>();
        booked.iter().map(|b| b.0).filter(|t| *t > from && *t < to).chain([from]).map(used).max().unwrap_or(0)
    }

    /// Each job at the earliest time from `least` at which its accelerators are free throughout.
    fn earliest(booked: &[(f64, f64, u32)], least: f64, job: &Job, cap: u32) -> f64 {
        let Work::Time(d) = job.work else { unreachable!() };
        let mut times: Vec<f64> = booked.iter().map(|b| b.1).filter(|t| *t > least).chain([least]).collect();
        times.sort_by(f64::total_cmp);
        times.into_iter().find(|&t| peak(booked, t, t + d) + job.ask.accelerators <= cap).unwrap()
    }

    /// FIFO: as conservative, and never before the job in front. Conservative: bookings in order of submission.
    pub(super) fn booked(jobs: &[Job], cap: u32, fifo: bool) -> Ends {
        let mut list: Vec<(f64, f64, u32)> = Vec::new();
        let mut last = 0.0f64;
        for job in jobs {
            let Work::Time(d) = job.work else { unreachable!() };
            let start = earliest(&list, if fifo { job.submit.max(last) } else { job.submit }, job, cap);
            last = start;
            list.push((start, start + d, job.ask.accelerators));
        }
        list.iter().map(|b| b.1).collect()
    }

    /// At every event: who runs is decided anew by `choose`, from (job, remaining, runs now) in order of submission. Returns ends.
    pub(super) fn stepped(jobs: &[Job], choose: Choice<'_>) -> Ends {
        let mut left: Vec<f64> = jobs.iter().map(|j| if let Work::Time(d) = j.work { d } else { unreachable!() }).collect();
        let mut end = vec![-1.0; jobs.len()];
        let mut runs = vec![false; jobs.len()];
        let mut now = 0.0;
        while end.iter().any(|e| *e < 0.0) {
            let here: Vec<(usize, f64, bool)> =
                (0..jobs.len()).filter(|&i| end[i] < 0.0 && jobs[i].submit <= now).map(|i| (i, left[i], runs[i])).collect();
            let chosen = choose(now, &here);
            (0..jobs.len()).for_each(|i| runs[i] = chosen.contains(&i));
            let next = chosen.iter().map(|&i| now + left[i]).chain(jobs.iter().map(|j| j.submit).filter(|s| *s > now));
            let next = next.min_by(f64::total_cmp).unwrap();
            for &i in &chosen {
                left[i] -= next - now;
                if left[i] <= 1e-9 {
                    end[i] = next;
                    runs[i] = false;
                }
            }
            now = next;
        }
        end
    }

    /// Running jobs stay; then the queue by the rule.
    pub(super) fn queued(jobs: &[Job], cap: u32, easy: bool) -> Ends {
        stepped(jobs, &|now, here| {
            let size = |i: usize| jobs[i].ask.accelerators;
            let mut on: Vec<usize> = here.iter().filter(|h| h.2).map(|h| h.0).collect();
            let used = |on: &[usize]| on.iter().map(|&i| size(i)).sum::<u32>();
            let left = |i: usize| here.iter().find(|h| h.0 == i).unwrap().1;
            let mut head: Option<(f64, u32)> = None;
            for &(i, ..) in here.iter().filter(|h| !h.2) {
                let fits = used(&on) + size(i) <= cap;
                match head {
                    _ if !easy && fits => on.push(i),
                    None if fits => on.push(i),
                    None if easy => {
                        // When enough has ended for the head, and what is over then.
                        let mut ends: Vec<(f64, u32)> = on.iter().map(|&r| (now + left(r), size(r))).collect();
                        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
                        let mut free = cap - used(&on);
                        let at = ends.iter().find(|e| {
                            free += e.1;
                            free >= size(i)
                        });
                        head = Some((at.unwrap().0, free - size(i)));
                    }
                    Some((at, extra)) if fits && (now + left(i) <= at || size(i) <= extra) => {
                        if now + left(i) > at {
                            head = Some((at, extra - size(i)));
                        }
                        on.push(i);
                    }
                    _ => {}
                }
            }
            on
        })
    }
}

/// Cuts of six to eight jobs of the shipped part of the Philly trace, closer together so that they wait.
fn philly() -> impl Strategy<Value = Vec<Job>> {
    let text = include_str!("../../scenarios/fleet/philly-cut.csv");
    let all = read_trace(TraceFormat::Philly, text).jobs;
    (0..all.len() - 8, 6usize..=8, 1u32..=3).prop_map(move |(at, count, shrink)| {
        let mut cut = all[at..at + count].to_vec();
        cut.sort_by(|a, b| a.submit.total_cmp(&b.submit));
        let first = cut[0].submit;
        let of = |t: &TraceJob| {
            let submit = ((t.submit - first) / f64::from(10u32.pow(shrink))).floor();
            Job {
                priority: (t.duration as i32) % 3,
                team: (t.duration as u16) % 2,
                ..job(submit, t.duration.max(1.0), t.accelerators.clamp(1, 8))
            }
        };
        cut.iter().map(of).collect()
    })
}

fn same(a: &[f64], b: &[f64]) -> Result<(), TestCaseError> {
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        prop_assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "job {i} ends at {a}, the reference at {b}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn references_on_cuts_of_philly(list in philly()) {
        let set = fleet(cluster(1, 8, 1), list.clone());
        same(&ends(&set, &fifo()), &reference::booked(&list, 8, true))?;
        same(&ends(&set, &policy(OrderKind::Fifo, BackfillKind::Conservative)), &reference::booked(&list, 8, false))?;
        same(&ends(&set, &policy(OrderKind::Fifo, BackfillKind::Greedy)), &reference::queued(&list, 8, false))?;
        same(&ends(&set, &policy(OrderKind::Fifo, BackfillKind::Easy)), &reference::queued(&list, 8, true))?;
    }

    /// Jobs of one accelerator: the shortest (or those of highest priority) run, whoever came first among equals.
    #[test]
    fn references_with_preemption(list in philly(), servers in 1u8..4) {
        let list: Vec<Job> = list.into_iter().map(|mut j| { j.ask.accelerators = 1; j }).collect();
        let set = fleet(cluster(1, servers, 1), list.clone());
        let best = |key: &dyn Fn(&(usize, f64, bool)) -> f64, here: &[(usize, f64, bool)]| {
            let mut here = here.to_vec();
            // Of equals those that run stay.
            here.sort_by(|a, b| key(a).total_cmp(&key(b)).then(b.2.cmp(&a.2)).then(a.0.cmp(&b.0)));
            here.iter().take(servers as usize).map(|h| h.0).collect::<Vec<_>>()
        };
        let shortest = reference::stepped(&list, &|_, here| best(&|h| h.1, here));
        same(&ends(&set, &Policy { preempt: true, ..policy(OrderKind::Shortest, BackfillKind::None) }), &shortest)?;
        let first = reference::stepped(&list, &|_, here| best(&|h| -f64::from(list[h.0].priority), here));
        same(&ends(&set, &Policy { preempt: true, ..policy(OrderKind::Priority, BackfillKind::None) }), &first)?;
    }

    /// Two teams: whoever uses less goes first, and within a team whoever came first.
    #[test]
    fn reference_of_fair_shares(list in philly()) {
        let mut set = fleet(cluster(1, 8, 1), list.clone());
        let team = |name: &str, weight| Team { name: name.into(), weight, quota: None, cohort: None, borrow: 0 };
        set.teams = vec![team("a", 1.0), team("b", 2.0)];
        let fair = reference::stepped(&list, &|_, here| {
            let mut on: Vec<usize> = here.iter().filter(|h| h.2).map(|h| h.0).collect();
            let mut wait: Vec<usize> = here.iter().filter(|h| !h.2).map(|h| h.0).collect();
            loop {
                let used = |t: u16| on.iter().filter(|&&i| list[i].team == t).map(|&i| list[i].ask.accelerators).sum::<u32>();
                let share = |t: u16| f64::from(used(t)) / set.teams[t as usize].weight;
                let Some(&next) = wait.iter().min_by(|&&a, &&b| share(list[a].team).total_cmp(&share(list[b].team)).then(a.cmp(&b))) else { return on };
                if used(0) + used(1) + list[next].ask.accelerators > 8 {
                    return on;
                }
                wait.retain(|&i| i != next);
                on.push(next);
            }
        });
        same(&ends(&set, &policy(OrderKind::Fair, BackfillKind::None)), &fair)?;
    }
}

#[test]
fn quotas_are_lent_and_taken_back() {
    let lend = |name: &str| Team { name: name.into(), weight: 1.0, quota: Some(4), cohort: Some(0), borrow: 4 };
    let mut jobs = vec![job(0.0, 100.0, 4), job(0.0, 100.0, 4), job(10.0, 50.0, 4)];
    jobs[2].team = 1;
    let mut set = fleet(cluster(2, 4, 1), jobs);
    set.teams = vec![lend("a"), lend("b")];
    let waits = starts(&set, &policy(OrderKind::Fifo, BackfillKind::Greedy));
    assert_eq!(waits, [0.0, 0.0, 100.0], "the second team waits for what it lent");
    let out = replay(&set, &Policy { reclaim: true, ..policy(OrderKind::Fifo, BackfillKind::Greedy) }, &mut NoSteps);
    assert_eq!(out.fates[2].start, 10.0, "it takes back its own at once");
    assert_eq!(out.fates[1].preemptions, 1);
    assert_eq!(out.fates[1].end, 150.0);
    // Nobody borrows more than it may.
    set.teams[0].borrow = 3;
    assert_eq!(starts(&set, &policy(OrderKind::Fifo, BackfillKind::Greedy)), [0.0, 100.0, 10.0]);
}

#[test]
fn moving_a_job_makes_room_on_one_node() {
    // Two nodes of four: three and one are used; a job of four on one node finds room when the single one moves.
    let mut jobs = vec![job(0.0, 100.0, 3), job(0.0, 100.0, 4), job(0.0, 20.0, 0), job(1.0, 10.0, 4)];
    jobs.remove(2);
    jobs[0].ask.accelerators = 2;
    jobs[1].ask.accelerators = 2;
    jobs[2].ask.within = Within::Node;
    let set = fleet(cluster(2, 4, 1), jobs);
    let spread = Policy::new(OrderKind::Fifo, BackfillKind::Easy, PlacementKind::Spread);
    assert_eq!(starts(&set, &spread)[2], 100.0);
    let out = replay(&set, &Policy { migrate: Some(5.0), ..spread }, &mut NoSteps);
    assert_eq!(out.fates[2].start, 1.0);
    assert_eq!(out.fates.iter().map(|f| f.moves).sum::<u32>(), 1);
    assert_eq!(out.fates[0].end.max(out.fates[1].end), 105.0, "the job that moved pays for it");
}

#[test]
fn jobs_grow_into_idle_accelerators_and_shrink_for_others() {
    let mut one = job(0.0, 100.0, 2);
    one.elastic = Some(Elastic { most: 8, serial: 0.0 });
    let set = fleet(cluster(2, 4, 1), vec![one, job(10.0, 10.0, 6)]);
    let grow = Policy { grow: true, ..policy(OrderKind::Fifo, BackfillKind::None) };
    let out = replay(&set, &grow, &mut NoSteps);
    // 10 s at four times the speed, 10 s at its own, the rest at four times.
    assert_eq!(out.fates[1].start, 10.0);
    assert!((out.fates[0].end - (20.0 + 50.0 / 4.0)).abs() < 1e-9, "{}", out.fates[0].end);
    assert_eq!(ends(&set, &fifo())[0], 100.0);
}

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

#[test]
fn nearness_is_kept_and_the_fullest_subtree_is_taken() {
    let mut c = cluster(8, 4, 2);
    let topology = placement(PlacementKind::Topology);
    let ask = |n, within| Ask { accelerators: n, within, ..ASK };
    let first = find(topology, &c, &ask(6, Within::Leaf)).unwrap();
    let leaf = |n: u32| c.nodes()[n as usize].trees[1];
    assert!(first.iter().all(|p| leaf(p.0) == leaf(first[0].0)));
    c.take(&first, &ask(6, Within::Leaf));
    assert!(find(topology, &c, &ask(9, Within::Leaf)).is_none());
    // Two are left in that leaf: a job of two goes there, not into an empty one.
    let second = find(topology, &c, &ask(2, Within::Leaf)).unwrap();
    assert_eq!(c.nodes()[second[0].0 as usize].trees[1], c.nodes()[first[0].0 as usize].trees[1]);
    // Workers of three do not share nodes of four.
    let workers = Ask { chunk: 3, ..ask(9, Within::Any) };
    assert!(find(topology, &c, &workers).unwrap().iter().all(|p| p.1 == 3));
}

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

#[test]
fn a_graph_of_jobs_runs_in_order() {
    // A diamond of 10, 20 or 30, and 5 seconds, on one accelerator less than both middle jobs need at once, and a job beside it.
    let mut jobs = vec![job(0.0, 10.0, 1), job(3.0, 100.0, 1), job(f64::INFINITY, 20.0, 1), job(f64::INFINITY, 30.0, 1)];
    jobs.push(job(f64::INFINITY, 5.0, 2));
    let mut set = fleet(cluster(1, 2, 1), jobs);
    set.graph = Graph::new(vec![(0, 2), (0, 3), (2, 4), (3, 4)]);
    let out = replay(&set, &fifo(), &mut NoSteps);
    let seen: Vec<_> = out.fates.iter().map(|f| (f.ready, f.start, f.end)).collect();
    // The last asks for both accelerators, one of which is held until 103 s.
    assert_eq!(seen, [(0.0, 0.0, 10.0), (3.0, 3.0, 103.0), (10.0, 10.0, 30.0), (10.0, 30.0, 60.0), (60.0, 103.0, 108.0)]);
    let runs = set.graph.runs(&set.jobs, &out.fates);
    assert_eq!(runs, [PipelineRun { jobs: vec![0, 2, 3, 4], seconds: 108.0, critical: vec![0, 3, 4] }]);
    // What comes after a job that can never start never comes.
    set.jobs[3].ask.accelerators = 9;
    let out = replay(&set, &fifo(), &mut NoSteps);
    assert!(out.fates[3].rejected && out.fates[4].ready < 0.0);
    assert_eq!(set.graph.runs(&set.jobs, &out.fates)[0].seconds, -1.0);
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

#[test]
fn rows_of_all_formats() {
    let philly = read_trace(
        TraceFormat::Philly,
        "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,a\n2017-10-09 07:01:56,x,1,1,a\n",
    );
    assert_eq!((philly.jobs.len(), philly.bad.len(), philly.bad[0].line), (1, 1, 3));
    assert_eq!(philly.jobs[0].submit, 1_507_532_515.0);
    let acme = "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,duration,queue\nj,u,1,8,64,Other,COMPLETED,2023-03-01 10:00:00+08:00,12,0\n";
    assert_eq!(format_of(acme.lines().next().unwrap()), Some(TraceFormat::Acme));
    let acme = read_trace(TraceFormat::Acme, acme);
    assert_eq!((acme.jobs[0].submit, acme.jobs[0].accelerators), (1_677_636_000.0, 8));
    let pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np,4000,1024,1,250,T4|V100M16,LS,Running,10,70,20\n";
    assert_eq!(format_of(pods.lines().next().unwrap()), Some(TraceFormat::Openb));
    let pods = read_trace(TraceFormat::Openb, pods);
    assert_eq!((pods.jobs[0].share, pods.jobs[0].cpus, pods.jobs[0].duration, pods.parts[0].as_str()), (250, 4.0, 50.0, "T4|V100M16"));
    let (nodes, bad) = read_nodes("sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,2,P100\nb,96000,786432,0,\n");
    assert_eq!((nodes.len(), bad.len(), nodes[1].part.as_str()), (2, 0, ""));
    let plain = read_trace(TraceFormat::Plain, "submit_s,duration_s,accelerators,team,share\n0,10,1,a,0.5\n1,10,2,b,0.5\n");
    assert_eq!((plain.jobs[0].share, plain.bad.len()), (500, 1));
}
