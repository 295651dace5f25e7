//! Independent references: schedules written from the definitions, on cuts of the Philly trace.

use super::*;

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
    let text = include_str!("../../../scenarios/fleet/philly-cut.csv");
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

/// Conservative backfill by node, written from its definition: in order of submission each job at the earliest time at which one node has its
/// accelerators throughout, of several the one with least room.
fn booked_by_node(jobs: &[Job], nodes: usize, size: u32) -> Vec<f64> {
    let mut booked: Vec<Vec<(f64, f64, u32)>> = vec![Vec::new(); nodes];
    let mut ends = Vec::new();
    for job in jobs {
        let Work::Time(d) = job.work else { unreachable!() };
        let mut times: Vec<f64> = booked.iter().flatten().map(|b| b.1).filter(|t| *t > job.submit).chain([job.submit]).collect();
        times.sort_by(f64::total_cmp);
        let room = |node: usize, t: f64| {
            let at = |x: f64| booked[node].iter().filter(|b| b.0 <= x && x < b.1).map(|b| b.2).sum::<u32>();
            let starts = booked[node].iter().map(|b| b.0).filter(|s| *s > t && *s < t + d);
            size - starts.chain([t]).map(at).max().unwrap_or(0)
        };
        let fit = |t: f64| (0..nodes).map(|n| (room(n, t), n)).filter(|r| r.0 >= job.ask.accelerators).min();
        let (start, node) = times.into_iter().find_map(|t| Some((t, fit(t)?.1))).unwrap();
        booked[node].push((start, start + d, job.ask.accelerators));
        ends.push(start + d);
    }
    ends
}

proptest! {
    #[test]
    fn reference_of_conservative_backfill_by_node(list in jobs(1..=4)) {
        let list: Vec<Job> = list.into_iter().map(|j| Job { ask: Ask { within: Within::Node, ..j.ask }, ..j }).collect();
        let set = fleet(cluster(3, 4, 1), list.clone());
        same(&ends(&set, &policy(OrderKind::Fifo, BackfillKind::Conservative)), &booked_by_node(&list, 3, 4))?;
    }

    /// Where nodes do not matter, reservations by node come to what counts come to, whoever has cores beside.
    #[test]
    fn by_node_and_by_count_agree_on_one_node(list in jobs(1..=8)) {
        let set = fleet(cluster(1, 8, 1), list.clone());
        let near = list.into_iter().map(|j| Job { ask: Ask { cpus: 1.0, ..j.ask }, ..j }).collect();
        let by_node = fleet(cluster(1, 8, 1), near);
        let rule = policy(OrderKind::Fifo, BackfillKind::Conservative);
        same(&ends(&by_node, &rule), &ends(&set, &rule))?;
    }
}
