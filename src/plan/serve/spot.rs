//! Spot capacity of a service: nodes are taken away and replaced, requests on them start again elsewhere.
//!
//! Each node is there for a mean time and away for another, whatever the others do, so the number away is binomial. A request meets the latencies
//! of the nodes that are there when it comes: all percentiles are of the mixture over these states, each simulated by itself. A request whose
//! node goes loses its keys and values: its prompt is computed again by another engine after another wait in a queue.

use super::load::{Point, ServePlan};
use super::search::{Load, Miss, meets, run};
use crate::metrics::{Outcome, Percentiles, RequestRow, ServingOutcome};
use crate::units::DAY;

/// States that come less often than this, all together, count as the worst that is looked at.
const RARE: f64 = 1e-4;

/// How spot capacity is taken away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spot {
    /// Mean time until a node is taken away, seconds.
    pub(super) interval: f64,
    /// Time until another is there, seconds.
    pub(super) replacement: f64,
}

/// What is taken away of a deployment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Away {
    /// Share of its nodes that is there, on average.
    pub(super) there: f64,
    /// Nodes that are taken away in a day.
    pub(super) per_day: f64,
    /// Share of the requests whose node is taken away while they run.
    pub(super) hit: f64,
    /// Most nodes away at a time that were looked at.
    pub(super) most: u64,
}

/// A request in a state: how likely, and its latencies.
struct Sample {
    weight: f64,
    ttft: f64,
    tpot: Option<f64>,
    e2e: f64,
}

impl Spot {
    /// Share of the time that a node is there.
    pub(super) fn there(&self) -> f64 {
        1.0 / (1.0 + self.replacement / self.interval)
    }

    /// How likely so many of `nodes` are away, from none on; the last state stands for the rare ones after it.
    fn away(&self, nodes: u64) -> Vec<f64> {
        let (n, there) = (nodes as f64, self.there());
        let factorial = |n: f64| libm::lgamma(n + 1.0);
        let mut out = Vec::new();
        let mut left = 1.0;
        for k in 0..=nodes {
            let k = k as f64;
            // 0 × ln 0 is 0.
            let power = |share: f64, count: f64| if count > 0.0 { count * libm::log(share) } else { 0.0 };
            let ways = factorial(n) - factorial(k) - factorial(n - k);
            let likely = libm::exp(ways + power(1.0 - there, k) + power(there, n - k));
            out.push(likely.min(left));
            left -= likely;
            if left <= RARE {
                break;
            }
        }
        if let Some(last) = out.last_mut() {
            *last += left.max(0.0);
        }
        out
    }

    /// A request that meets a state with a likelihood: undisturbed, or hit before or after its first token.
    fn samples(&self, row: &RequestRow, weight: f64, late: f64, out: &mut Vec<Sample>) -> f64 {
        let (r, own) = (&row.record, row.record.ttft());
        let (ttft, e2e, tpot) = (own + late, r.e2e() + late, r.tpot(row.output));
        let before = (own / self.interval).min(1.0);
        let after = ((r.e2e() - own) / self.interval).min(1.0 - before);
        let gap = own / f64::from(row.output.saturating_sub(1).max(1));
        out.push(Sample { weight: weight * (1.0 - before - after), ttft, tpot, e2e });
        out.push(Sample { weight: weight * before, ttft: ttft + own, tpot, e2e: e2e + own });
        out.push(Sample { weight: weight * after, ttft, tpot: tpot.map(|t| t + gap), e2e: e2e + own });
        weight * (before + after)
    }

    /// The latencies of a deployment that holds a load with all its nodes, while nodes come and go; or by how much it misses.
    pub(super) fn over(
        &self,
        plan: &ServePlan,
        point: &Point,
        load: Load,
        whole: &Outcome,
        numbers: &ServingOutcome,
    ) -> Result<(ServingOutcome, Away), Miss> {
        let nodes = plan.sizes[point.size].nodes;
        let states = self.away(nodes);
        let (mut samples, mut hit, mut late, mut peak) = (Vec::new(), 0.0, 0.0, numbers.kv_peak_share);
        let mut rows = counted(plan, whole);
        let mut good = share_good(plan, whole, &rows, 0.0);
        let mut attained = 0.0;
        for (k, likely) in (0u64..).zip(&states) {
            // Nodes in reserve are those that are away first.
            if k > load.down {
                match run(plan, point, Load { down: k, ..load }).ok().filter(|_| k < nodes) {
                    Some((_, outcome, n)) if n.completed > 0 => {
                        (rows, late) = (counted(plan, &outcome), 0.0);
                        peak = peak.max(n.kv_peak_share);
                        good = share_good(plan, &outcome, &rows, late);
                    }
                    // Nobody is there to serve: requests wait for the next replacement.
                    _ => {
                        late += self.replacement;
                        good = share_good(plan, whole, &rows, late);
                    }
                }
            }
            let each = likely / rows.len().max(1) as f64;
            hit += rows.iter().map(|row| self.samples(row, each, late, &mut samples)).sum::<f64>();
            attained += likely * good;
        }
        let there = self.there();
        let away = Away { there, per_day: nodes as f64 * there * DAY / self.interval, hit, most: states.len() as u64 - 1 };
        let goal = whole.detail.serving.as_ref().and_then(|s| s.goals);
        let mixed = ServingOutcome {
            ttft_s: percentiles(samples.iter().map(|s| (s.ttft, s.weight))),
            tpot_s: percentiles(samples.iter().filter_map(|s| s.tpot.map(|t| (t, s.weight)))),
            e2e_s: percentiles(samples.iter().map(|s| (s.e2e, s.weight))),
            slo_attainment: (attained - hit).max(0.0),
            slo_met: goal.is_none_or(|g| attained - hit >= g[3]),
            kv_peak_share: peak,
            ..numbers.clone()
        };
        meets(plan, load, &mixed).map_err(|m| Miss { words: format!("{} while spot capacity comes and goes", m.words), ..m })?;
        Ok((mixed, away))
    }
}

/// Requests that count.
fn counted(plan: &ServePlan, outcome: &Outcome) -> Vec<RequestRow> {
    let all = outcome.detail.serving.iter().flat_map(|s| &s.requests);
    all.filter(|r| r.record.is_done() && r.record.arrival >= plan.warm_up).copied().collect()
}

/// Share of a state's requests that meets the base's targets when all are later by some seconds; those that a hit disturbs are taken off
/// afterwards.
fn share_good(plan: &ServePlan, outcome: &Outcome, rows: &[RequestRow], late: f64) -> f64 {
    let Some([ttft, tpot, e2e, _]) = outcome.detail.serving.as_ref().and_then(|s| s.goals) else { return 1.0 };
    let sent = outcome.detail.serving.iter().flat_map(|s| &s.requests).filter(|r| r.record.arrival >= plan.warm_up).count();
    let good = |r: &&RequestRow| {
        r.record.ttft() + late <= ttft && r.record.tpot(r.output).is_none_or(|t| t <= tpot) && r.record.e2e() + late <= e2e
    };
    rows.iter().filter(good).count() as f64 / sent.max(1) as f64
}

/// Mean and percentiles of values that are so likely each: the least value up to which the share lies.
fn percentiles(values: impl Iterator<Item = (f64, f64)>) -> Percentiles {
    let mut list: Vec<(f64, f64)> = values.filter(|v| v.1 > 0.0).collect();
    list.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = list.iter().map(|v| v.1).sum();
    let Some(&(greatest, _)) = list.last() else { return Percentiles::default() };
    let quantile = |q: f64| {
        let mut below = 0.0;
        let at = list.iter().find(|v| {
            below += v.1;
            below >= q * all
        });
        at.map_or(greatest, |v| v.0)
    };
    let mean = list.iter().map(|v| v.0 * v.1).sum::<f64>() / all;
    Percentiles { mean, p50: quantile(0.5), p90: quantile(0.9), p95: quantile(0.95), p99: quantile(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_away_are_binomial() {
        let spot = Spot { interval: 3600.0, replacement: 400.0 };
        assert!((spot.there() - 0.9).abs() < 1e-12);
        let two = spot.away(2);
        for (got, want) in two.iter().zip([0.81, 0.18, 0.01]) {
            assert!((got - want).abs() < 1e-12, "{two:?}");
        }
        for nodes in [1, 7, 64, 5000] {
            let all = spot.away(nodes);
            assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-9 && all.iter().all(|p| (0.0..=1.0).contains(p)));
            let mean: f64 = (0u32..).zip(&all).map(|(k, p)| f64::from(k) * p).sum();
            assert!((mean / (0.1 * nodes as f64) - 1.0).abs() < 1e-3, "{nodes}: {mean}");
        }
        assert_eq!(Spot { interval: 1e-300, replacement: 1e300 }.away(2), [0.0, 0.0, 1.0]);
        // What is there at once is never away.
        assert_eq!(Spot { replacement: 0.0, ..spot }.away(9), [1.0]);
    }

    #[test]
    fn percentiles_go_by_weight() {
        let p = percentiles([(3.0, 0.02), (1.0, 0.6), (2.0, 0.38)].into_iter());
        assert_eq!((p.p50, p.p90, p.p95, p.p99), (1.0, 2.0, 2.0, 3.0));
        assert!((p.mean - 1.42).abs() < 1e-12);
    }
}
