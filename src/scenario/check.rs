//! Checks across keys: does the job fit the cluster, do the sizes divide, can it be paid.

use super::collective_check::sweep;
use super::input::{CostInput, Payment, ScenarioInput};
use super::load::{Job, head};
use super::operations::{operations, storage_job};
use super::serving::serving_job;
use super::training::{steps, training_job};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::economics::{CostPlan, Ownership};
use crate::fabric::Fabric;
use crate::hardware::{Catalogue, PriceKind};
use crate::units::{HOUR, KWH};

/// The job of a scenario, checked against its cluster.
pub(super) fn job(input: &ScenarioInput, fabric: &Fabric, root: Span, diags: &mut Diagnostics) -> Option<Job> {
    only(input, diags)?;
    if let Some(training) = &input.training.value {
        let (config, band) = training_job(training, fabric, diags)?;
        let (steps, operations) = (steps(input, &config, diags), operations(input, &config, fabric, diags));
        return Some(Job::Training { config: Box::new(config), steps: steps?, band, operations: Box::new(operations?) });
    }
    if let Some(serving) = &input.serving.value {
        alone(input, "serving", diags)?;
        let given = At { value: serving.clone(), span: input.serving.span };
        return Some(Job::Serving(Box::new(serving_job(&given, fabric, diags)?)));
    }
    if let Some(collective) = &input.collective.value {
        alone(input, "a collective", diags)?;
        let given = At { value: collective.clone(), span: input.collective.span };
        return Some(Job::Collective(Box::new(sweep(&given, fabric, diags)?)));
    }
    if let Some(trace) = &input.trace.value {
        alone(input, "a trace", diags)?;
        let given = At { value: trace.clone(), span: input.trace.span };
        return Some(Job::Trace(Box::new(super::trace::job(&given, fabric, diags)?)));
    }
    if let Some(storage) = &input.storage.value {
        alone(input, "emulated accelerators", diags)?;
        let given = At { value: storage.clone(), span: input.storage.span };
        return Some(Job::Storage(Box::new(storage_job(&given, fabric, diags)?)));
    }
    diags.push(
        Diagnostic::error(codes::MISSING_KEY, "the scenario says nothing to compute")
            .at(head(root, diags), "this file")
            .hint("add a [training], a [serving], a [collective], a [trace], a [fleet] or a [storage] table"),
    );
    None
}

/// Refuses two jobs in one scenario, and beside a fleet what does nothing for it.
pub(super) fn only(input: &ScenarioInput, diags: &mut Diagnostics) -> Option<()> {
    let tables = [
        input.training.is_some().then_some(input.training.span),
        input.serving.is_some().then_some(input.serving.span),
        input.collective.is_some().then_some(input.collective.span),
        input.trace.is_some().then_some(input.trace.span),
        input.fleet.is_some().then_some(input.fleet.span),
    ];
    let given: Vec<Span> = tables.into_iter().flatten().collect();
    if let [one, another, ..] = given[..] {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "a scenario has one of [training], [serving], [collective], [trace] and [fleet]")
                .at(head(one, diags), "one")
                .at(head(another, diags), "another"),
        );
        return None;
    }
    let Some(fleet) = &input.fleet.value else { return Some(()) };
    let no_cluster = input.topology.is_none();
    let linked = fleet.job.iter().any(|j| j.scenario.is_some()) || fleet.service.iter().any(|s| s.scenario.is_some());
    let trains = fleet.job.iter().any(|j| j.training.is_some()) || linked && !no_cluster;
    let owned = input.cost.value.as_ref().is_some_and(|c| *c.payment == Payment::Owned);
    for (given, span, name) in [
        (input.run.is_some(), input.run.span, "[run]"),
        (input.checkpoint.is_some(), input.checkpoint.span, "[checkpoint]"),
        (input.storage.is_some(), input.storage.span, "[storage]"),
        (no_cluster && input.nodes.is_some(), input.nodes.span, "nodes"),
        (no_cluster && !input.degraded.is_empty(), input.degraded.span, "degraded"),
        (!trains && !input.profile.is_empty(), input.profile.span, "profile"),
        (no_cluster && owned, input.cost.span, "payment = \"owned\""),
    ] {
        if given {
            let message = format!("`{name}` does nothing for this fleet");
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(head(span, diags), "does nothing"));
            return None;
        }
    }
    Some(())
}

/// Refuses tables and keys that only a training job, or a cluster, has.
fn alone(input: &ScenarioInput, kind: &str, diags: &mut Diagnostics) -> Option<()> {
    let no_cluster = input.topology.is_none();
    // A scenario without another job is one of emulated accelerators.
    let emulated = input.collective.is_none() && input.trace.is_none() && input.serving.is_none();
    for (given, span, name) in [
        (input.run.is_some(), input.run.span, "[run]"),
        (input.cost.is_some() && input.serving.is_none(), input.cost.span, "[cost]"),
        (input.checkpoint.is_some(), input.checkpoint.span, "[checkpoint]"),
        (input.failures.is_some(), input.failures.span, "[failures]"),
        (!emulated && input.storage.is_some(), input.storage.span, "[storage]"),
        (no_cluster && input.nodes.is_some(), input.nodes.span, "nodes"),
        (no_cluster && !input.degraded.is_empty(), input.degraded.span, "degraded"),
    ] {
        if given {
            let what = if name.starts_with('[') { kind } else { "a network of ASTRA-sim" };
            let message = format!("`{name}` does nothing for {what}");
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(head(span, diags), "does nothing"));
            return None;
        }
    }
    Some(())
}

/// Payment and site.
pub(super) fn cost(input: &ScenarioInput, fabric: &Fabric, catalogue: &Catalogue, diags: &mut Diagnostics) -> Option<CostPlan> {
    let default = CostInput {
        payment: at(Payment::OnDemand, input.title.span),
        rent: at(None, input.title.span),
        life: at(None, input.title.span),
        utilization: at(None, input.title.span),
        pue: at(1.25, input.title.span),
        electricity: at(None, input.title.span),
        carbon_intensity: at(crate::units::KilogramsPerJoule::new(0.4 / KWH), input.title.span),
    };
    let given = input.cost.value.as_ref().unwrap_or(&default);
    if !(1.0..=5.0).contains(&given.pue.value) {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, format!("a PUE of {}", given.pue.value)).at(given.pue.span, "not between 1 and 5"),
        );
        return None;
    }
    let electricity = given.electricity.map_or(0.1 / KWH, crate::units::UsdPerJoule::get);
    let ownership = ownership(given, fabric, catalogue, diags)?;
    Some(CostPlan { ownership, pue: *given.pue, electricity, carbon: given.carbon_intensity.get() })
}

const fn at<T>(value: T, span: Span) -> At<T> {
    At { value, span }
}

fn ownership(given: &CostInput, fabric: &Fabric, catalogue: &Catalogue, diags: &mut Diagnostics) -> Option<Ownership> {
    let owned = *given.payment == Payment::Owned;
    let idle = if owned {
        [("rent", given.rent.is_some().then_some(given.rent.span)), ("", None), ("", None)]
    } else {
        [
            ("life", given.life.is_some().then_some(given.life.span)),
            ("utilization", given.utilization.is_some().then_some(given.utilization.span)),
            ("electricity", given.electricity.is_some().then_some(given.electricity.span)),
        ]
    };
    for (name, span) in idle {
        if let Some(span) = span {
            diags.push(
                Diagnostic::error(codes::CONFLICT, format!("`{name}` does nothing with payment = \"{}\"", *given.payment))
                    .at(span, "does nothing")
                    .at(given.payment.span, "payment"),
            );
            return None;
        }
    }
    if owned {
        let summary = fabric.summary(catalogue);
        let utilization = given.utilization.unwrap_or(0.8);
        if utilization <= 0.0 {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "a cluster that never works").at(given.utilization.span, "is 0"));
            return None;
        }
        return Some(Ownership::Owned {
            price: summary.purchase_usd,
            life: given.life.map_or(4.0 * 365.25 * 24.0 * HOUR, crate::units::Seconds::get),
            utilization,
            source: format!(
                "purchase prices of the catalogue (without: {})",
                if summary.unpriced.is_empty() { "none".into() } else { summary.unpriced.join(", ") }
            ),
        });
    }
    if let Some(rent) = *given.rent {
        return Some(Ownership::Rent { rate: rent.get(), source: "given in the scenario".into() });
    }
    let kind = match *given.payment {
        Payment::Reserved => PriceKind::Reserved,
        Payment::Spot => PriceKind::Spot,
        _ => PriceKind::OnDemand,
    };
    // Over several parts: the mean, each as often as it is there.
    let (mut rate, mut sources) = (0.0, Vec::new());
    for (part, share) in fabric.part_shares() {
        let Some((price, rent)) = catalogue.price(&part.id, kind).and_then(|p| Some((p, (*p.rent)?))) else {
            return Some(Ownership::Unknown);
        };
        rate += share * rent.get();
        sources.push(format!("{} {}: {} ({}, {})", *part.name, kind, rent, *price.date, *price.source));
    }
    Some(Ownership::Rent { rate, source: sources.join("; ") })
}
