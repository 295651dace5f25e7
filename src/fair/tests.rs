//! Known graphs, and the fast solver against a slow obvious one.

use super::*;
use proptest::prelude::*;

fn rates(capacities: &[f64], flows: &[(&[usize], f64, f64)]) -> Vec<f64> {
    let mut fair = Fair::new();
    let resources: Vec<_> = capacities.iter().map(|&c| fair.add_resource(c)).collect();
    let ids: Vec<_> =
        flows.iter().map(|(uses, weight, cap)| fair.start(uses.iter().map(|&r| (resources[r], 1.0)), *weight, *cap)).collect();
    fair.solve();
    ids.iter().map(|&a| fair.rate(a)).collect()
}

#[test]
fn parking_lot_triangle_caps_and_weights() {
    let inf = f64::INFINITY;
    assert_eq!(rates(&[1.0, 2.0], &[(&[0, 1], 1.0, inf), (&[0], 1.0, inf), (&[1], 1.0, inf)]), [0.5, 0.5, 1.5]);
    assert_eq!(rates(&[3.0], &[(&[0], 1.0, inf), (&[0], 2.0, inf)]), [1.0, 2.0]);
    assert_eq!(rates(&[3.0], &[(&[0], 1.0, 0.5), (&[0], 1.0, inf)]), [0.5, 2.5]);
    assert_eq!(rates(&[], &[(&[], 1.0, 7.0)]), [7.0]);
    assert_eq!(rates(&[0.0, 1.0], &[(&[0, 1], 1.0, inf), (&[1], 1.0, inf)]), [0.0, 1.0]);
}

#[derive(Debug, Clone)]
struct Flow {
    uses: Vec<(usize, f64)>,
    weight: f64,
    cap: f64,
}

/// Raises one common level; at each step whoever reaches its cap or a full resource stops.
fn slow(capacities: &[f64], flows: &[Flow]) -> Vec<f64> {
    let mut rate: Vec<Option<f64>> = vec![None; flows.len()];
    while rate.iter().any(Option::is_none) {
        let mut level = f64::INFINITY;
        for (f, flow) in flows.iter().enumerate().filter(|(f, _)| rate[*f].is_none()) {
            let _ = f;
            level = level.min(flow.cap / flow.weight);
        }
        let bound = |r: usize, rate: &[Option<f64>]| {
            let (mut used, mut growing) = (0.0, 0.0);
            for (f, flow) in flows.iter().enumerate() {
                for &(at, c) in flow.uses.iter().filter(|u| u.0 == r) {
                    assert_eq!(at, r);
                    match rate[f] {
                        Some(x) => used += c * x,
                        None => growing += c * flow.weight,
                    }
                }
            }
            if growing > 0.0 { ((capacities[r] - used) / growing).max(0.0) } else { f64::INFINITY }
        };
        let bounds: Vec<f64> = (0..capacities.len()).map(|r| bound(r, &rate)).collect();
        level = bounds.iter().copied().fold(level, f64::min);
        let tight = |x: f64| x <= level * (1.0 + 1e-12);
        let stop: Vec<usize> = (0..flows.len())
            .filter(|&f| rate[f].is_none() && (tight(flows[f].cap / flows[f].weight) || flows[f].uses.iter().any(|u| tight(bounds[u.0]))))
            .collect();
        for f in stop {
            rate[f] = Some(level * flows[f].weight);
        }
    }
    rate.into_iter().map(Option::unwrap).collect()
}

fn flow(resources: usize) -> impl Strategy<Value = Flow> {
    (proptest::collection::btree_map(0..resources, 1u32..5, 1..4), 1u32..4, proptest::option::of(1u32..40)).prop_map(
        |(uses, weight, cap)| Flow {
            uses: uses.into_iter().map(|(r, c)| (r, f64::from(c))).collect(),
            weight: f64::from(weight),
            cap: cap.map_or(f64::INFINITY, f64::from),
        },
    )
}

proptest! {
    /// Fast equals slow, also after stops and restarts, and no resource is overloaded.
    #[test]
    fn fast_equals_slow(
        capacities in proptest::collection::vec(1u32..30, 1..8).prop_map(|v| v.into_iter().map(f64::from).collect::<Vec<_>>()),
        flows in proptest::collection::vec(flow(8), 1..14),
        keep in proptest::collection::vec(any::<bool>(), 14),
    ) {
        let flows: Vec<Flow> = flows.into_iter().map(|mut f| { f.uses.retain(|u| u.0 < capacities.len()); f })
            .filter(|f| !f.uses.is_empty()).collect();
        let mut fair = Fair::new();
        let resources: Vec<_> = capacities.iter().map(|&c| fair.add_resource(c)).collect();
        let start = |fair: &mut Fair, f: &Flow| fair.start(f.uses.iter().map(|&(r, c)| (resources[r], c)), f.weight, f.cap);
        let mut ids: Vec<_> = flows.iter().map(|f| start(&mut fair, f)).collect();
        for round in 0..2 {
            fair.solve();
            let want = slow(&capacities, &flows);
            for (id, w) in ids.iter().zip(&want) {
                prop_assert!((fair.rate(*id) - w).abs() <= 1e-9 * w.max(1e-9), "{} against {}", fair.rate(*id), w);
            }
            for (&r, c) in resources.iter().zip(&capacities) {
                prop_assert!(fair.load(r) <= c * (1.0 + 1e-9));
            }
            if round == 0 {
                for i in 0..flows.len() {
                    if !keep[i] {
                        fair.stop(ids[i]);
                    }
                }
                fair.solve();
                for i in 0..flows.len() {
                    if !keep[i] {
                        ids[i] = start(&mut fair, &flows[i]);
                    }
                }
            }
        }
    }

    /// All capacities and caps times k give all rates times k.
    #[test]
    fn rates_scale(k in 0.01f64..100.0, flows in proptest::collection::vec(flow(4), 1..8)) {
        let run = |k: f64| {
            let mut fair = Fair::new();
            let resources: Vec<_> = (1..=4).map(|c| fair.add_resource(f64::from(c) * k)).collect();
            let ids: Vec<_> = flows.iter().map(|f| fair.start(f.uses.iter().map(|&(r, c)| (resources[r], c)), f.weight, f.cap * k)).collect();
            fair.solve();
            ids.into_iter().map(|a| fair.rate(a)).collect::<Vec<_>>()
        };
        for (one, many) in run(1.0).into_iter().zip(run(k)) {
            prop_assert!((one * k - many).abs() <= 1e-9 * many.max(1e-12));
        }
    }
}
