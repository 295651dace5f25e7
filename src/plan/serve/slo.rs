//! Latencies that a plan asks for: percentiles of time to first token, per token, to the last token.

use super::super::outcome::SloRow;
use super::super::question::LatencyInput;
use super::search::Miss;
use crate::metrics::{Percentiles, ServingOutcome};
use crate::serving::{Watch, Watched};
use crate::units::Seconds;

/// Which latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Metric {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// Time to the last token.
    E2e,
}

/// One demand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::plan) struct Target {
    pub(in crate::plan) metric: Metric,
    /// 0.5, 0.9, 0.95 or 0.99.
    pub(in crate::plan) quantile: f64,
    /// Seconds.
    pub(in crate::plan) limit: f64,
}

impl Metric {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }
}

impl Target {
    pub(super) fn of(&self, [ttft, tpot, e2e]: [&Percentiles; 3]) -> f64 {
        let p = match self.metric {
            Metric::Ttft => ttft,
            Metric::Tpot => tpot,
            Metric::E2e => e2e,
        };
        match self.quantile {
            q if q < 0.6 => p.p50,
            q if q < 0.925 => p.p90,
            q if q < 0.97 => p.p95,
            _ => p.p99,
        }
    }

    /// The same for a simulation that ends once it is missed for certain.
    pub(super) fn watch(&self) -> Watch {
        let metric = match self.metric {
            Metric::Ttft => Watched::Ttft,
            Metric::Tpot => Watched::Tpot,
            Metric::E2e => Watched::E2e,
        };
        Watch { metric, quantile: self.quantile, limit: self.limit }
    }

    pub(super) fn name(&self) -> String {
        format!("{} p{:.0}", self.metric.word().to_uppercase(), 100.0 * self.quantile)
    }

    /// What is asked, and what numbers reach of it.
    pub(super) fn row(&self, s: Option<&ServingOutcome>) -> SloRow {
        SloRow {
            metric: self.metric.word().into(),
            percentile: 100.0 * self.quantile,
            limit_s: self.limit,
            reached_s: s.map(|s| self.of([&s.ttft_s, &s.tpot_s, &s.e2e_s])),
        }
    }
}

/// All demands of a goal.
pub(super) fn targets(input: Option<&LatencyInput>) -> Vec<Target> {
    let Some(i) = input else { return Vec::new() };
    let all = [
        (Metric::Ttft, [&i.ttft_p50, &i.ttft_p90, &i.ttft_p95, &i.ttft_p99]),
        (Metric::Tpot, [&i.tpot_p50, &i.tpot_p90, &i.tpot_p95, &i.tpot_p99]),
        (Metric::E2e, [&i.e2e_p50, &i.e2e_p90, &i.e2e_p95, &i.e2e_p99]),
    ];
    let mut out = Vec::new();
    for (metric, keys) in all {
        for (given, quantile) in keys.into_iter().zip([0.5, 0.9, 0.95, 0.99]) {
            out.extend(given.map(|limit| Target { metric, quantile, limit: Seconds::get(limit) }));
        }
    }
    out
}

/// The demand that is missed most, as reached over allowed; `None` where all are met.
pub(super) fn worst(targets: &[Target], s: &ServingOutcome) -> Option<Miss> {
    let over = |t: &Target| t.of([&s.ttft_s, &s.tpot_s, &s.e2e_s]) / t.limit;
    let most = targets.iter().map(|t| (over(t), t)).max_by(|a, b| a.0.total_cmp(&b.0));
    let missed = most.filter(|m| m.0 > 1.0).map(|(over, t)| {
        let reached = t.of([&s.ttft_s, &s.tpot_s, &s.e2e_s]);
        Miss::latency(over, t.limit, format!("{} is {} instead of {}", t.name(), Seconds::new(reached), Seconds::new(t.limit)))
    });
    if s.completed == 0 || s.rejected > 0 {
        return Some(Miss::latency(f64::INFINITY, 1.0, format!("{} requests are longer than an engine's cache", s.rejected)));
    }
    missed.or_else(|| {
        (!s.slo_met).then(|| {
            let words = format!("only {:.1} % of the requests meet the base's targets", 100.0 * s.slo_attainment);
            Miss::latency(1.0 + (1.0 - s.slo_attainment), 1.0, words)
        })
    })
}
