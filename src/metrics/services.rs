//! What the services of a fleet came to: requests in time, replicas, latencies, roll-outs.

use super::Percentiles;
use crate::fleet::{Curve, Fleet, Load, Replayed, Times};
use crate::units::HOUR;
use schemars::JsonSchema;
use serde::Serialize;

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ServiceOutcome {
    /// Its name.
    pub name: String,
    /// Requests that came.
    pub requests: f64,
    /// Share of them that waited no longer than they may.
    pub slo_attainment: f64,
    /// The longest wait while a replica was warm.
    pub longest_wait_s: f64,
    /// Replicas times hours.
    pub replica_hours: f64,
    /// Replicas that were started, each with a cold start.
    pub cold_starts: u64,
    /// Most replicas that were warm at once.
    pub peak_replicas: u64,
    /// A replica as its serving scenario describes it, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaOutcome>,
    /// Versions that were rolled out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<RollOutcome>,
}

/// One replica of a service by its serving scenario, and what that makes of the service's requests.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ReplicaOutcome {
    /// The scenario file.
    pub scenario: String,
    /// Accelerators of a replica.
    pub accelerators: u32,
    /// Requests a second that it serves within its targets.
    pub requests_per_s: f64,
    /// Time to first token of the service's requests, those that came while no replica was warm left out; percentiles to 1 %.
    pub ttft_s: Percentiles,
    /// Mean time for each output token after the first of the same requests.
    pub tpot_mean_s: f64,
    /// Mean time to the last token of the same requests.
    pub e2e_mean_s: f64,
    /// Loads of one replica that were simulated.
    pub loads: Vec<LoadOutcome>,
}

/// One replica at a load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct LoadOutcome {
    /// Requests a second.
    pub requests_per_s: f64,
    /// Share of the requests that meet their targets.
    pub slo_attainment: f64,
    /// Mean time to the first token.
    pub ttft_mean_s: f64,
    /// Mean time for each output token after the first.
    pub tpot_mean_s: f64,
    /// Mean time to the last token.
    pub e2e_mean_s: f64,
}

/// A version of a service on its way to all replicas.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RollOutcome {
    /// Its number; the first is 1.
    pub version: u32,
    /// When it was registered.
    pub registered_s: f64,
    /// From then until all replicas were of it and warm; absent: it never came so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_s: Option<f64>,
    /// Whether a newer version came before.
    pub superseded: bool,
    /// Replicas that were started for it.
    pub cold_starts: u32,
    /// Fewest warm replicas meanwhile.
    pub least_warm_replicas: u32,
    /// Share of the requests meanwhile that waited no longer than they may.
    pub slo_attainment: f64,
    /// The longest wait meanwhile, while a replica was warm.
    pub longest_wait_s: f64,
}

/// Services of one replay.
#[must_use]
pub fn fleet_services(set: &Fleet, out: &Replayed) -> Vec<ServiceOutcome> {
    let of = |(service, state): (&crate::fleet::Service, &crate::fleet::ServiceState)| ServiceOutcome {
        name: service.name.clone(),
        requests: state.requests,
        slo_attainment: if state.requests > 0.0 { state.attained / state.requests } else { 1.0 },
        longest_wait_s: state.longest,
        replica_hours: state.replica_seconds / HOUR,
        cold_starts: state.started,
        peak_replicas: u64::from(state.most_warm),
        replica: service.replica.as_ref().map(|curve| replica(curve, &state.times)),
        rollouts: state.rolls.iter().map(roll).collect(),
    };
    set.services.iter().zip(&out.services).map(of).collect()
}

fn replica(curve: &Curve, times: &Times) -> ReplicaOutcome {
    let [ttft, tpot_mean_s, e2e_mean_s] = times.means();
    let load = |l: &Load| LoadOutcome {
        requests_per_s: l.rate,
        slo_attainment: l.attained,
        ttft_mean_s: l.ttft,
        tpot_mean_s: l.tpot,
        e2e_mean_s: l.e2e,
    };
    let [p50, p90, p95, p99] = [0.5, 0.9, 0.95, 0.99].map(|share| times.ttft_within(share));
    ReplicaOutcome {
        scenario: curve.scenario.clone(),
        accelerators: curve.accelerators,
        requests_per_s: curve.serves(),
        ttft_s: Percentiles { mean: ttft, p50, p90, p95, p99 },
        tpot_mean_s,
        e2e_mean_s,
        loads: curve.loads.iter().map(load).collect(),
    }
}

fn roll(r: &crate::fleet::Roll) -> RollOutcome {
    let [came, in_time] = r.requests;
    RollOutcome {
        version: r.version,
        registered_s: r.at,
        took_s: (r.done >= 0.0).then_some(r.done - r.at),
        superseded: r.superseded,
        cold_starts: r.started,
        least_warm_replicas: r.least_warm,
        slo_attainment: if came > 0.0 { in_time / came } else { 1.0 },
        longest_wait_s: r.longest,
    }
}
