//! Checks of what breaks, is maintained, lost or taken away in a fleet.

use super::check::conflict;
use super::input::{FleetInput, FleetSpotInput};
use super::regions::named;
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::fabric::Fabric;
use crate::fleet::{Cluster, Maintenance, Outages, RegionOutage, Spot};
use crate::operations::{Class, Component, Counts, Effect, EffectKind, FailureClassInput, Loses};
use crate::scenario::failures::failures_of;
use crate::scenario::input::ScenarioInput;
use crate::scenario::operations_input::FailuresInput;
use crate::units::Seconds;

/// Shortest mean time until a spot node is taken away, seconds.
const LEAST_INTERVAL: f64 = 60.0;

/// What breaks, is maintained, lost or taken away.
pub(super) fn outages(
    given: &FleetInput,
    input: &ScenarioInput,
    cluster: &Cluster,
    fabric: &Fabric,
    diags: &mut Diagnostics,
) -> Option<Outages> {
    let before = diags.error_count();
    let count = cluster.nodes().len() as u64;
    let mut out = Outages::default();
    for m in given.maintenance.iter() {
        let last = m.first.saturating_add(*m.nodes);
        if last > count {
            let message = format!("nodes {} to {} of {count}", *m.first, last - 1);
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(m.nodes.span, "out of range"));
            continue;
        }
        if m.cordon.get() > m.at.get() {
            diags
                .push(Diagnostic::error(codes::OUT_OF_RANGE, "nodes are cordoned before the run begins").at(m.cordon.span, "out of range"));
        }
        if m.every.is_some_and(|e| e.get() < m.cordon.get() + m.lasts.get()) {
            diags
                .push(Diagnostic::error(codes::OUT_OF_RANGE, "maintenance comes again before it is over").at(m.every.span, "out of range"));
        }
        out.maintenance.push(Maintenance {
            at: m.at.get(),
            every: m.every.map(Seconds::get),
            nodes: (*m.first as u32..last as u32).collect(),
            cordon: m.cordon.get(),
            lasts: m.lasts.get(),
        });
    }
    out.regions = known(given, diags);
    out.spot = given.spot.iter().filter_map(|s| spot(s, cluster, diags)).collect();
    if let Some(failures) = &input.failures.value {
        let accelerators: f64 = cluster.nodes().iter().map(|n| f64::from(cluster.pools()[n.pool as usize].accelerators)).sum();
        let counts = if fabric.node_count() > 0 {
            Counts::of(fabric)
        } else {
            Counts { nodes: count as f64, accelerators, nics: 0.0, regions: 1.0, places: [None; 3] }
        };
        let counts = Counts { regions: given.region.len().max(1) as f64, ..counts };
        failing(failures, input.failures.span, &counts, &mut out, diags);
    }
    (diags.error_count() == before).then_some(out)
}

fn failing(given: &FailuresInput, span: Span, counts: &Counts, out: &mut Outages, diags: &mut Diagnostics) {
    if given.lemons.is_some() {
        conflict(given.lemons.span, "`lemons` does nothing for a fleet", "leave it out", diags);
    }
    if *given.fleet_spread != 0.0 {
        conflict(given.fleet_spread.span, "`fleet_spread` does nothing for a fleet: one run is simulated", "leave it out", diags);
    }
    if given.elastic.is_some() {
        conflict(
            given.elastic.span,
            "`elastic` does nothing here: jobs of a fleet say themselves how small they may become",
            "leave it out",
            diags,
        );
    }
    let Some(failures) = failures_of(given, span, counts, diags) else { return };
    let one = counts.regions < 2.0;
    for class in given.class.iter().filter(|c| one && (*c.loses == Some(Loses::Region) || *c.component == Some(Component::Region))) {
        let hint = "divide the nodes by [[fleet.region]], or take another class of failures";
        conflict(class.name.span, "a fleet without regions lies in one: its loss does nothing here", hint, diags);
    }
    if failures.spares.count.is_none() && given.repair.is_none() {
        // There is always a spare.
        out.spares = (u32::MAX / 2, failures.recovery.swap);
    } else {
        out.spares = (failures.spares.count.unwrap_or(0), failures.recovery.swap);
    }
    out.repair = (failures.spares.repair, failures.spares.sigma);
    out.classes = failures
        .classes
        .iter()
        .map(|c| Class {
            name: c.input.name.value.clone(),
            rate: c.rate,
            parts: c.parts,
            shape: c.input.shape.unwrap_or(1.0),
            renewed: *c.input.renewed,
            effect: effect(&c.input),
            loses: c.loses,
            nodes: c.nodes,
            detect: c.detect,
            outage: c.outage,
        })
        .collect();
}

fn effect(class: &FailureClassInput) -> Effect {
    let lasts = class.lasts.map_or(0.0, Seconds::get);
    match *class.effect {
        EffectKind::Stop => Effect::Stop,
        EffectKind::Pause => Effect::Hold { lost: lasts, straggler: false },
        // All ranks wait for the slow one.
        EffectKind::Slow => Effect::Hold { lost: lasts * (1.0 - class.speed.unwrap_or(1.0)), straggler: true },
        EffectKind::Corrupt => Effect::Corrupt { found_after: class.found_after.map_or(0.0, Seconds::get) },
        EffectKind::Planned => Effect::Planned { lasts },
    }
}

/// Regions that are lost at known times, none twice at once.
fn known(given: &FleetInput, diags: &mut Diagnostics) -> Vec<RegionOutage> {
    let mut out: Vec<RegionOutage> = Vec::new();
    for outage in given.outage.iter() {
        let Some(region) = named(&outage.region, &given.region, diags) else { continue };
        let (at, lasts) = (outage.at.get(), outage.lasts.get());
        if out.iter().any(|o| o.region == region && at < o.at + o.lasts && o.at < at + lasts) {
            let message = format!("the region `{}` is lost while it is away", *outage.region);
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(outage.at.span, "does nothing"));
        }
        out.push(RegionOutage { region, at, lasts });
    }
    out
}

/// Spot nodes.
fn spot(given: &FleetSpotInput, cluster: &Cluster, diags: &mut Diagnostics) -> Option<Spot> {
    let pools = super::jobs::pools_named(&given.pools, cluster, diags);
    let nodes = (0..cluster.nodes().len() as u32).filter(|&n| pools >> cluster.nodes()[n as usize].pool & 1 == 1).collect();
    if given.interval.get() < LEAST_INTERVAL {
        let told = Diagnostic::error(codes::OUT_OF_RANGE, "nodes that are taken away within a minute do no work");
        diags.push(told.at(given.interval.span, "out of range"));
        return None;
    }
    Some(Spot { nodes, interval: given.interval.get(), notice: given.notice.get(), replacement: given.replacement.get() })
}
