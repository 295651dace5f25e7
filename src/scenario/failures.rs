//! Checks of `[failures]`: presets, rates, effects, spares, lemons.

use super::load::head;
use super::operations::{FailureClass, Failures, conflict};
use super::operations_input::FailuresInput;
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::operations::{
    Component, Counts, EffectKind, FailureClassInput, FailurePreset, Loses, Recovery, Spares, domain_nodes, failure_presets, rate_of,
};
use crate::units::Seconds;

/// The failures of a scenario, from a preset and classes of its own.
pub(super) fn failures_of(input: &FailuresInput, span: Span, counts: &Counts, diags: &mut Diagnostics) -> Option<Failures> {
    let before = diags.error_count();
    let mut given: Vec<FailureClassInput> = Vec::new();
    let mut source = "given in the scenario".to_owned();
    if let Some(preset) = input.preset.value.as_deref().and_then(|name| preset_of(name, input.preset.span, diags)) {
        given.extend(preset.class.iter().map(|c| c.value.clone()));
        source = format!("{}: {}", *preset.title, *preset.source);
    }
    for class in input.class.iter() {
        if class_fits(class, counts, diags) {
            given.push(class.value.clone());
        }
    }
    if diags.error_count() == before && given.is_empty() {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "nothing fails here")
                .at(head(span, diags), "needs a preset or a class")
                .hint("add preset = \"fleet-2024\", or a [[failures.class]]"),
        );
    }
    if given.len() > 1000 {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "so many classes are absurd").at(head(span, diags), "here"));
    }
    names_once(&given, if input.class.is_empty() { span } else { input.class[0].name.span }, diags);
    spares_fit(input, counts, diags);
    let classes: Vec<FailureClass> = given.iter().map(|c| class_of(c, input, counts)).collect();
    classes_fit(&classes, input, span, diags);
    (diags.error_count() == before).then(|| Failures {
        classes,
        source,
        fleet_sigma: *input.fleet_spread,
        detect: input.detect.get(),
        elastic: input.elastic.unwrap_or(false),
        recovery: Recovery { swap: input.swap.get(), start: input.restart.get(), warm_up: input.warm_up.get() },
        spares: Spares {
            count: input.spares.map(|n| n as u32),
            repair: input.repair.map_or(86_400.0, Seconds::get),
            sigma: input.repair_spread.unwrap_or(1.0),
        },
        lemons: input.lemons.value.as_ref().map(|l| (*l.nodes as u32, *l.factor, l.removed_after.map(|n| n as u32))),
    })
}

/// The preset of a name, or a diagnostic with the names that there are.
fn preset_of(name: &str, span: Span, diags: &mut Diagnostics) -> Option<&'static FailurePreset> {
    let found = failure_presets().iter().find(|p| p.id.value == name);
    if found.is_none() {
        let names: Vec<&str> = failure_presets().iter().map(|p| p.id.value.as_str()).collect();
        diags.push(
            Diagnostic::error(codes::UNKNOWN_PART, format!("there is no preset of failures `{name}`"))
                .at(span, "unknown")
                .hint(format!("the presets are {}", names.join(", "))),
        );
    }
    found
}

/// Whether the names of classes differ.
fn names_once(given: &[FailureClassInput], place: Span, diags: &mut Diagnostics) {
    for (i, class) in given.iter().enumerate() {
        if given[..i].iter().any(|c| c.name.value == class.name.value) {
            diags.push(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("there are two classes of failures named `{}`", *class.name))
                    .at(place, "names have to differ"),
            );
        }
    }
}

/// Whether what all classes do together leaves lemons something to do, and the run a chance.
fn classes_fit(classes: &[FailureClass], input: &FailuresInput, span: Span, diags: &mut Diagnostics) {
    if input.lemons.value.is_some() && !classes.is_empty() && classes.iter().all(|c| c.loses == Loses::Process) {
        conflict(input.lemons.span, "`lemons` does nothing where no failure takes a node", "leave it out", diags);
    }
    if classes.iter().map(|c| c.rate).sum::<f64>() > 1.0 {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, "more than one failure a second: no run can live with that")
                .at(head(span, diags), "these rates")
                .hint("check the units of the rates"),
        );
    }
}

fn class_of(class: &FailureClassInput, input: &FailuresInput, counts: &Counts) -> FailureClass {
    let stops = matches!(*class.effect, EffectKind::Stop | EffectKind::Corrupt);
    let own = if is_place(class) { Loses::Domain } else { Loses::Node };
    let loses = class.loses.unwrap_or(if stops { own } else { Loses::Process });
    let (rate, parts) = rate_of(class, counts);
    FailureClass {
        rate: rate * *input.factor,
        parts,
        detect: class.detect.map_or(input.detect.get(), Seconds::get),
        loses,
        nodes: match loses {
            Loses::Process | Loses::Region => 0,
            Loses::Node => 1,
            Loses::Domain => {
                let own = domain_nodes(class, counts).map(|d| d.1.round().max(1.0) as u64);
                own.or(*class.nodes).unwrap_or(1).min(1 << 20) as u32
            }
        },
        outage: if loses == Loses::Region { class.lasts.map_or(0.0, Seconds::get) } else { 0.0 },
        input: class.clone(),
    }
}

/// Whether the component of a class is a place of the building, which takes its nodes with it.
fn is_place(class: &FailureClassInput) -> bool {
    matches!(*class.component, Some(Component::Leaf | Component::Rack | Component::Power))
}

fn spares_fit(input: &FailuresInput, counts: &Counts, diags: &mut Diagnostics) {
    if input.spares.is_none() {
        for (given, at, name) in [
            (input.repair.is_some(), input.repair.span, "repair"),
            (input.repair_spread.is_some(), input.repair_spread.span, "repair_spread"),
            (input.elastic.is_some(), input.elastic.span, "elastic"),
        ] {
            if given {
                conflict(at, &format!("`{name}` does nothing without `spares`"), "say how many spare nodes there are", diags);
            }
        }
    }
    let mut range = |bad: bool, span: Span, message: &str| {
        if bad {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message.to_owned()).at(span, "out of range"));
        }
    };
    range(input.spares.is_some_and(|n| n > 1_000_000), input.spares.span, "so many spare nodes are absurd");
    range(input.repair_spread.is_some_and(|s| s > 5.0), input.repair_spread.span, "a sigma above 5 is absurd");
    range(*input.fleet_spread > 3.0, input.fleet_spread.span, "a sigma above 3 is absurd");
    if let Some(lemons) = &input.lemons.value {
        range(*lemons.nodes >= counts.nodes as u64, lemons.nodes.span, "not all nodes can be lemons");
        range(*lemons.factor < 1.0 || *lemons.factor > 1e4, lemons.factor.span, "the factor is not between 1 and 10,000");
        range(lemons.removed_after.is_some_and(|n| n > 1_000_000), lemons.removed_after.span, "so many failures are absurd");
    }
    let largest = input.class.iter().filter(|c| *c.loses == Some(Loses::Domain)).filter_map(|c| Some((c.nodes.value?, c.nodes.span)));
    for (nodes, span) in largest {
        range(nodes > counts.nodes as u64, span, "a domain has more nodes than the cluster");
    }
}

/// Whether the keys of a class fit together.
fn class_fits(class: &FailureClassInput, counts: &Counts, diags: &mut Diagnostics) -> bool {
    let before = diags.error_count();
    component_fits(class, diags);
    place_fits(class, counts, diags);
    effect_fits(class, diags);
    amounts(class, diags);
    diags.error_count() == before
}

/// The rate of a class, given once, and the component that it holds for.
fn component_fits(class: &FailureClassInput, diags: &mut Diagnostics) {
    match (class.per_1000_node_days.is_some(), class.mtbf.is_some()) {
        (false, false) => diags.push(
            Diagnostic::error(codes::MISSING_KEY, "a class of failures needs a rate")
                .at(class.name.span, "this class")
                .hint("add per_1000_node_days = 4.3, or mtbf = \"50000 h\" with a component"),
        ),
        (true, true) => conflict(class.mtbf.span, "the rate is given twice", "give one of per_1000_node_days and mtbf", diags),
        _ => {}
    }
    if *class.component == Some(Component::Region) && *class.loses != Some(Loses::Region) {
        let told = Diagnostic::error(codes::MISSING_KEY, "a region that fails is lost with all that is kept there");
        diags.push(told.at(class.component.span, "this component").hint("add loses = \"region\" and `lasts`"));
    }
    if class.component.is_some() && class.mtbf.is_none() {
        conflict(class.component.span, "`component` does nothing without `mtbf`", "leave it out", diags);
    }
}

/// Whether the topology knows the place that a class takes, and nothing else is said to be lost.
fn place_fits(class: &FailureClassInput, counts: &Counts, diags: &mut Diagnostics) {
    if is_place(class) && domain_nodes(class, counts).is_none() {
        diags.push(
            Diagnostic::error(codes::BAD_TOPOLOGY, "the topology does not say which nodes stand together")
                .at(class.component.span, "this component")
                .hint("add [site] with nodes_per_rack and racks_per_power_domain to the topology; leaves need a network"),
        );
    }
    if is_place(class) && class.loses.is_some_and(|l| l != Loses::Domain) {
        conflict(class.loses.span, "a leaf, rack or power domain takes its nodes with it", "leave `loses` out", diags);
    }
}

/// Keys of a class that do nothing with its effect, or that it needs.
fn effect_fits(class: &FailureClassInput, diags: &mut Diagnostics) {
    let effect = *class.effect;
    let lasting = matches!(effect, EffectKind::Slow | EffectKind::Pause | EffectKind::Planned);
    let stops = matches!(effect, EffectKind::Stop | EffectKind::Corrupt);
    let region = *class.loses == Some(Loses::Region);
    let rules: [(&str, bool, bool, Span); 6] = [
        ("lasts", class.lasts.is_some(), lasting || region, class.lasts.span),
        ("speed", class.speed.is_some(), effect == EffectKind::Slow, class.speed.span),
        ("found_after", class.found_after.is_some(), effect == EffectKind::Corrupt, class.found_after.span),
        ("detect", class.detect.is_some(), effect == EffectKind::Stop, class.detect.span),
        ("loses", class.loses.is_some(), stops, class.loses.span),
        ("nodes", class.nodes.is_some(), *class.loses == Some(Loses::Domain) && !is_place(class), class.nodes.span),
    ];
    for (name, given, wanted, span) in rules {
        if given && !wanted {
            conflict(span, &format!("`{name}` does nothing with effect = \"{effect}\" and what it loses"), "leave it out", diags);
        }
        if !given && wanted && !matches!(name, "detect" | "loses") {
            diags.push(
                Diagnostic::error(codes::MISSING_KEY, format!("effect = \"{effect}\" needs `{name}`"))
                    .at(class.name.span, "this class")
                    .hint(format!("add `{name} = …`")),
            );
        }
    }
}

/// Numbers of a class that are out of range or do nothing.
fn amounts(class: &FailureClassInput, diags: &mut Diagnostics) {
    if class.shape.is_some_and(|k| !(0.2..=10.0).contains(&k)) {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "a Weibull shape outside 0.2 to 10").at(class.shape.span, "out of range"));
    }
    if *class.renewed && class.shape.is_none_or(|k| k == 1.0) {
        conflict(
            class.renewed.span,
            "`renewed` does nothing without a `shape` other than 1: parts do not age",
            "leave it out, or give `shape`",
            diags,
        );
    }
    if class.speed.is_some_and(|s| s <= 0.0 || s >= 1.0) {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, "a slow accelerator keeps more than none and less than all of its speed")
                .at(class.speed.span, "here"),
        );
    }
}
