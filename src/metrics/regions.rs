//! Regions of a fleet that were lost: what of their work jobs lost, how long they and the services took to come back.

use super::Percentiles;
use crate::fleet::{Failover, Fleet, RegionLoss, Replayed, WayBack};
use schemars::JsonSchema;
use serde::Serialize;

/// Losses of regions under the first policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RegionsOutcome {
    /// Their names.
    pub names: Vec<String>,
    /// Each loss.
    pub losses: Vec<RegionLossOutcome>,
    /// Jobs by class, those that were hit.
    pub classes: Vec<RecoveryClass>,
    /// Services that lost warm replicas.
    pub services: Vec<FailoverOutcome>,
}

/// One loss of a region.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RegionLossOutcome {
    /// Which.
    pub region: String,
    /// When.
    pub at_s: f64,
    /// Time until its nodes were back.
    pub lasts_s: f64,
    /// Jobs that ran there, or waited with all that they had saved there.
    pub jobs: u64,
    /// Replicas that ran there.
    pub replicas: u64,
}

/// Jobs of a class whose region was lost.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RecoveryClass {
    /// The class.
    pub name: String,
    /// How often one was hit.
    pub hit: u64,
    /// How often one worked again.
    pub recovered: u64,
    /// Work lost (recovery point).
    pub rpo_s: Percentiles,
    /// The most.
    pub rpo_most_s: f64,
    /// From the loss until it worked again (recovery time), of those that did.
    pub rto_s: Percentiles,
    /// The longest.
    pub rto_most_s: f64,
}

/// A service that lost warm replicas with a region.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FailoverOutcome {
    /// The service.
    pub name: String,
    /// When.
    pub at_s: f64,
    /// Warm replicas before.
    pub warm: u64,
    /// Those that were lost.
    pub lost: u64,
    /// Until as many were warm as before, or as were wanted (recovery time); absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_s: Option<f64>,
    /// Requests meanwhile.
    pub requests: f64,
    /// Share of them in time.
    pub slo_attainment: f64,
}

/// Regions of one replay; `None` where there are none.
#[must_use]
pub fn fleet_regions(set: &Fleet, out: &Replayed, names: &[String], classes: &[String]) -> Option<RegionsOutcome> {
    if names.is_empty() {
        return None;
    }
    let loss = |l: &RegionLoss| RegionLossOutcome {
        region: names[l.region as usize].clone(),
        at_s: l.at,
        lasts_s: l.lasts,
        jobs: u64::from(l.jobs),
        replicas: u64::from(l.replicas),
    };
    let failover = |f: &Failover| FailoverOutcome {
        name: set.services[f.service as usize].name.clone(),
        at_s: f.at,
        warm: u64::from(f.warm[0]),
        lost: u64::from(f.warm[1]),
        rto_s: (f.back >= 0.0).then_some(f.back - f.at),
        requests: f.requests[0],
        slo_attainment: if f.requests[0] > 0.0 { f.requests[1] / f.requests[0] } else { 1.0 },
    };
    let of = |class: usize| {
        let ways: Vec<&WayBack> = out.ways_back.iter().filter(|w| set.jobs[w.job as usize].class as usize == class).collect();
        (!ways.is_empty()).then(|| recovery(&classes[class], &ways))
    };
    Some(RegionsOutcome {
        names: names.to_vec(),
        losses: out.region_losses.iter().map(loss).collect(),
        classes: (0..classes.len()).filter_map(of).collect(),
        services: out.failovers.iter().map(failover).collect(),
    })
}

fn recovery(name: &str, ways: &[&WayBack]) -> RecoveryClass {
    let lost: Vec<f64> = ways.iter().map(|w| w.lost).collect();
    let back: Vec<f64> = ways.iter().filter(|w| w.back >= 0.0).map(|w| w.back - w.at).collect();
    let most = |list: &[f64]| list.iter().copied().fold(0.0, f64::max);
    RecoveryClass {
        name: name.to_owned(),
        hit: ways.len() as u64,
        recovered: back.len() as u64,
        rpo_most_s: most(&lost),
        rto_most_s: most(&back),
        rpo_s: Percentiles::of(lost.into_iter()),
        rto_s: Percentiles::of(back.into_iter()),
    }
}
