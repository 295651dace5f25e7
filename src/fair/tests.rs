//! Known graphs, the two conditions that define max-min fairness, and the fast solver against a slow obvious one.

use super::*;
use proptest::prelude::*;

const FREE: f64 = f64::INFINITY;

#[track_caller]
fn close(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-12 * want.abs().max(1e-300) || got.to_bits() == want.to_bits(), "{got} is not {want}");
}

/// Starts activities of weight one, without caps, on links by number.
fn on_links(capacities: &[f64], paths: &[&[usize]]) -> (Fair, Vec<ResourceId>, Vec<ActivityId>) {
    let mut fair = Fair::new();
    let links: Vec<ResourceId> = capacities.iter().map(|&capacity| fair.add_resource(capacity)).collect();
    let start = |path: &&[usize]| fair.start(&path.iter().map(|&l| (links[l], 1.0)).collect::<Vec<_>>(), 1.0, FREE);
    let flows = paths.iter().map(start).collect();
    fair.solve();
    (fair, links, flows)
}

#[test]
fn parking_lot() {
    let (fair, _, flows) = on_links(&[10.0, 10.0, 10.0], &[&[0, 1, 2], &[0], &[1], &[2]]);
    for flow in flows {
        close(fair.rate(flow), 5.0);
    }
}
#[test]
fn uneven_parking_lot() {
    let (fair, links, flows) = on_links(&[9.0, 4.0], &[&[0, 1], &[0], &[1]]);
    close(fair.rate(flows[0]), 2.0);
    close(fair.rate(flows[1]), 7.0);
    close(fair.rate(flows[2]), 2.0);
    close(fair.used(links[0]), 9.0);
}
#[test]
fn triangle() {
    // Three links; each pair of neighbours shared by one flow, and a fourth flow on the first link only.
    let (fair, _, flows) = on_links(&[6.0, 6.0, 6.0], &[&[0, 1], &[1, 2], &[2, 0], &[0]]);
    close(fair.rate(flows[0]), 2.0);
    close(fair.rate(flows[2]), 2.0);
    close(fair.rate(flows[3]), 2.0);
    close(fair.rate(flows[1]), 4.0);
}
#[test]
fn weights_and_coefficients() {
    let mut fair = Fair::new();
    let r = fair.add_resource(12.0);
    let light = fair.start(&[(r, 1.0)], 1.0, FREE);
    let heavy = fair.start(&[(r, 1.0)], 3.0, FREE);
    let hungry = fair.start(&[(r, 2.0)], 1.0, FREE);
    fair.solve();
    for (activity, rate) in [(light, 2.0), (heavy, 6.0), (hungry, 2.0)] {
        close(fair.rate(activity), rate);
    }
    assert_eq!(fair.limit(heavy), Some(r));
    fair.set_cap(heavy, 3.0);
    assert_eq!(fair.solve().len(), 3);
    assert_eq!((fair.limit(light), fair.limit(heavy)), (Some(r), None));
    for (activity, rate) in [(light, 3.0), (heavy, 3.0), (hungry, 3.0)] {
        close(fair.rate(activity), rate);
    }
}
#[test]
fn without_resources_the_cap_rules() {
    let mut fair = Fair::new();
    let capped = fair.start(&[], 1.0, 5.0);
    let free = fair.start(&[], 1.0, FREE);
    assert_eq!(fair.solve(), [capped, free]);
    assert_eq!((fair.rate(capped), fair.rate(free)), (5.0, FREE));
    fair.set_cap(capped, 2.0);
    assert_eq!(fair.solve(), [capped]);
    assert_eq!(fair.rate(capped), 2.0);
}
#[test]
fn a_dead_link_stops_its_users_only() {
    let (mut fair, links, flows) = on_links(&[8.0, 8.0], &[&[0, 1], &[0]]);
    fair.set_capacity(links[1], 0.0);
    assert_eq!(fair.solve().len(), 2);
    assert_eq!((fair.rate(flows[0]), fair.rate(flows[1])), (0.0, 8.0));
    fair.set_capacity(links[1], 8.0);
    fair.solve();
    close(fair.rate(flows[0]), 4.0);
}
#[test]
fn infinite_capacity_leaves_the_cap() {
    let mut fair = Fair::new();
    let r = fair.add_resource(FREE);
    let capped = fair.start(&[(r, 1.0)], 1.0, 3.0);
    let other = fair.start(&[(r, 2.0)], 1.0, FREE);
    fair.solve();
    assert_eq!((fair.rate(capped), fair.rate(other)), (3.0, FREE));
}
#[test]
fn a_resource_named_twice_counts_twice() {
    let mut fair = Fair::new();
    let r = fair.add_resource(6.0);
    let twice = fair.start(&[(r, 1.0), (r, 1.0)], 1.0, FREE);
    fair.solve();
    close(fair.rate(twice), 3.0);
    let once = fair.start(&[(r, 1.0)], 1.0, FREE);
    fair.solve();
    close(fair.rate(twice), 2.0);
    fair.stop(twice);
    fair.solve();
    close(fair.rate(once), 6.0);
}
#[test]
fn only_what_is_connected_is_reported() {
    let (mut fair, links, flows) = on_links(&[8.0, 8.0], &[&[0], &[1]]);
    let third = fair.start(&[(links[0], 1.0)], 1.0, FREE);
    assert_eq!(fair.solve(), [third, flows[0]]);
    assert!(fair.solve().is_empty());
    fair.stop(third);
    assert_eq!(fair.solve(), [flows[0]]);
    assert_eq!(fair.start(&[(links[1], 1.0)], 1.0, FREE), third, "ids are used again");
}

/// What an activity is, for the slow solver.
#[derive(Debug, Clone)]
struct Spec {
    uses: Vec<(usize, f64)>,
    weight: f64,
    cap: f64,
}

/// Progressive filling as it stands in textbooks: raise the common level until a cap or a capacity is met, fix what it limits, repeat.
fn slow_rates(capacities: &[f64], specs: &[Spec]) -> Vec<f64> {
    let mut rates: Vec<Option<f64>> = vec![None; specs.len()];
    while rates.contains(&None) {
        let room = |r: usize| {
            let uses = |spec: &Spec| spec.uses.iter().filter(|u| u.0 == r).map(|u| u.1).sum::<f64>();
            let taken: f64 = specs.iter().zip(&rates).map(|(s, rate)| uses(s) * rate.unwrap_or(0.0)).sum();
            let demand: f64 = specs.iter().zip(&rates).filter(|(_, rate)| rate.is_none()).map(|(s, _)| uses(s) * s.weight).sum();
            if demand > 0.0 { (capacities[r] - taken).max(0.0) / demand } else { FREE }
        };
        let rooms: Vec<f64> = (0..capacities.len()).map(room).collect();
        let limit = |s: &Spec| s.uses.iter().map(|u| rooms[u.0]).fold(s.cap / s.weight, f64::min);
        let open = || specs.iter().enumerate().filter(|(i, _)| rates[*i].is_none());
        let level = open().map(|(_, s)| limit(s)).fold(FREE, f64::min);
        let fixed: Vec<usize> = open().filter(|(_, s)| limit(s) <= level * (1.0 + 1e-14)).map(|(i, _)| i).collect();
        for i in fixed {
            rates[i] = Some((specs[i].weight * level).min(specs[i].cap));
        }
    }
    rates.into_iter().map(|rate| rate.unwrap_or(0.0)).collect()
}

fn start(fair: &mut Fair, links: &[ResourceId], spec: &Spec) -> ActivityId {
    let uses: Vec<(ResourceId, f64)> = spec.uses.iter().map(|&(r, c)| (links[r], c)).collect();
    fair.start(&uses, spec.weight, spec.cap)
}

fn spec(resources: usize) -> impl Strategy<Value = Spec> {
    // Whole numbers often give equal levels, the others give none.
    let number = || prop_oneof![(1u32..5).prop_map(f64::from), 0.01..100.0];
    let cap = prop_oneof![3 => Just(FREE), 1 => (0u32..8).prop_map(f64::from), 1 => 0.1..50.0];
    let uses = prop::collection::vec((0..resources, prop_oneof![2 => Just(1.0), 1 => number()]), 0..5);
    let cap_if_needed =
        |(uses, weight, cap): (Vec<_>, f64, f64)| Spec { cap: if uses.is_empty() { cap.min(9.0) } else { cap }, uses, weight };
    (uses, prop_oneof![2 => Just(1.0), 1 => number()], cap).prop_map(cap_if_needed)
}

fn capacities(resources: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![1 => Just(0.0), 6 => (1u32..20).prop_map(f64::from), 6 => 0.5..1000.0], resources)
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Change {
    Start(Spec),
    Stop(usize),
    Cap(usize, f64),
    Capacity(usize, f64),
    Solve,
}

fn change(resources: usize) -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => spec(resources).prop_map(Change::Start),
        3 => any::<prop::sample::Index>().prop_map(|i| Change::Stop(i.index(1 << 16))),
        1 => (0usize..1 << 16, 0.0..20.0).prop_map(|(i, cap)| Change::Cap(i, cap)),
        1 => (0..resources, prop_oneof![1 => Just(0.0), 4 => 0.5..100.0]).prop_map(|(r, capacity)| Change::Capacity(r, capacity)),
        3 => Just(Change::Solve),
    ]
}

/// Checks both conditions of max-min fairness and agreement with the slow solver.
fn check(fair: &Fair, links: &[ResourceId], specs: &[Spec], ids: &[ActivityId]) -> Result<(), TestCaseError> {
    let capacities: Vec<f64> = links.iter().map(|&r| fair.capacity(r)).collect();
    for (&r, &capacity) in links.iter().zip(&capacities) {
        prop_assert!(fair.used(r) <= capacity * (1.0 + 1e-9), "{} of {capacity} used", fair.used(r));
    }
    for (&a, s) in ids.iter().zip(specs) {
        let level = fair.rate(a) / s.weight;
        let is_top = |r: ResourceId| fair.users(r).all(|(b, _)| fair.rate(b) / fair.weight(b) <= level * (1.0 + 1e-9) + 1e-12);
        let is_full = |r: ResourceId| fair.used(r) >= fair.capacity(r) * (1.0 - 1e-9);
        let is_limited = fair.rate(a) >= s.cap * (1.0 - 1e-9) || fair.uses(a).any(|(r, _)| is_full(r) && is_top(r));
        prop_assert!(is_limited, "nothing limits {a} at {}", fair.rate(a));
    }
    for ((&a, want), s) in ids.iter().zip(slow_rates(&capacities, specs)).zip(specs) {
        let got = fair.rate(a);
        let scale = s.uses.iter().map(|u| capacities[u.0] / u.1).fold(want.max(got), f64::max);
        prop_assert!((got - want).abs() <= 1e-10 * want + 1e-13 * scale, "{a} runs at {got}, not {want}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_history_gives_the_rates_of_the_slow_solver(
        capacities in capacities(12),
        changes in prop::collection::vec(change(12), 1..60),
    ) {
        let mut fair = Fair::new();
        let links: Vec<ResourceId> = capacities.iter().map(|&capacity| fair.add_resource(capacity)).collect();
        let (mut specs, mut ids): (Vec<Spec>, Vec<ActivityId>) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Start(spec) => {
                    ids.push(start(&mut fair, &links, &spec));
                    specs.push(spec);
                }
                Change::Stop(i) if !ids.is_empty() => {
                    let i = i % ids.len();
                    fair.stop(ids.swap_remove(i));
                    specs.swap_remove(i);
                }
                Change::Cap(i, cap) if !ids.is_empty() => {
                    let i = i % ids.len();
                    fair.set_cap(ids[i], cap);
                    specs[i].cap = cap;
                }
                Change::Capacity(r, capacity) => fair.set_capacity(links[r], capacity),
                Change::Solve => {
                    let before: Vec<f64> = ids.iter().map(|&a| fair.rate(a)).collect();
                    let changed = fair.solve().to_vec();
                    for (&a, old) in ids.iter().zip(before) {
                        prop_assert_eq!(changed.contains(&a), fair.rate(a).to_bits() != old.to_bits());
                    }
                    check(&fair, &links, &specs, &ids)?;
                }
                Change::Stop(_) | Change::Cap(..) => {}
            }
        }
        fair.solve();
        check(&fair, &links, &specs, &ids)?;
    }
}

/// A large component: several hundred flows over a two-level tree, joined and left one at a time.
#[test]
fn a_large_component_stays_exact() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(3);
    let mut fair = Fair::new();
    let capacities: Vec<f64> = (0..128).map(|i| if i < 96 { 10.0 } else { 25.0 }).collect();
    let links: Vec<ResourceId> = capacities.iter().map(|&capacity| fair.add_resource(capacity)).collect();
    let (mut specs, mut ids): (Vec<Spec>, Vec<ActivityId>) = (Vec::new(), Vec::new());
    for step in 0..400 {
        if step % 3 == 2 {
            let i = random.random_range(0..ids.len());
            fair.stop(ids.swap_remove(i));
            specs.swap_remove(i);
        } else {
            let (from, to) = (random.random_range(0..48), random.random_range(48..96));
            let uses = vec![(from, 1.0), (96 + from / 4, 1.0), (108 + (to - 48) / 4, 1.0), (to, 1.0)];
            specs.push(Spec { uses, weight: 1.0, cap: FREE });
            ids.push(start(&mut fair, &links, &specs[specs.len() - 1]));
        }
        fair.solve();
        if step % 20 == 19 {
            check(&fair, &links, &specs, &ids).expect("the rates are max-min fair");
        }
    }
}
