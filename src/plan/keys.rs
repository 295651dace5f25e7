//! Which keys of a plan do something with its goal, and what a candidate may set.

use super::question::{CandidateInput, DeploymentInput, GoalInput, GoalKind, Objective, PlanInput, SiteInput};
use super::serve::ratio;
use crate::diag::{At, Diagnostic, Diagnostics, Span, Value, codes, nearest};
use crate::model::presets;
use crate::scenario::Base;
use crate::training::Recompute;

/// Keys of the base that a candidate may not change: they say which job is planned for, or are what the plan varies.
const JOB_KEYS: [&str; 14] = [
    "topology",
    "nodes",
    "run",
    "cost.payment",
    "training.model",
    "training.global_batch",
    "training.microbatch",
    "training.parallel",
    "training.recompute",
    "training.recompute_layers",
    "serving.traffic",
    "serving.slo",
    "serving.parallel",
    "serving.prefill",
];

/// Months that a plan may look ahead, and growth by month, at most.
const MONTHS: u64 = 240;
const GROWTH: f64 = 1.0;

/// Reports what does nothing, what is missing and what is absurd.
pub(super) fn check(input: &PlanInput, diags: &mut Diagnostics) {
    goal(input, diags);
    tables(input, diags);
    input.candidate.iter().for_each(|c| candidate(c, diags));
}

/// Reports keys of the base that only some of the layouts could have.
pub(super) fn base(input: &PlanInput, base: &Base, diags: &mut Diagnostics) -> Option<()> {
    let layout = input.layout.value.as_ref();
    let full = layout.and_then(|l| l.recompute.as_ref()).is_some_and(|l| l.iter().all(|r| r.value == Recompute::Full));
    let shared = layout.and_then(|l| l.context.as_ref()).is_some_and(|l| l.iter().all(|n| n.value > 1));
    let mut fits = true;
    for (key, all, hint) in [
        ("training.recompute_layers", full, "list recompute = [\"full\"] in [layout], or leave it out of the base"),
        ("training.parallel.context_exchange", shared, "list the context degrees above 1 in [layout], or leave it out of the base"),
    ] {
        if base.value(key).is_some() && !all {
            fits = false;
            let message = format!("the base sets `{key}`, which some of the layouts to try cannot have");
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(input.base.span, "this base").hint(hint));
        }
    }
    fits.then_some(())
}

fn conflict(message: String, span: Span, other: Span, diags: &mut Diagnostics) {
    diags.push(Diagnostic::error(codes::CONFLICT, message).at(span, "does nothing").at(other, "goal"));
}

fn goal(input: &PlanInput, diags: &mut Diagnostics) {
    let goal: &GoalInput = &input.goal;
    let kind = goal.kind;
    let given = [("within", goal.within.is_some(), goal.within.span), ("budget", goal.budget.is_some(), goal.budget.span)];
    match *kind {
        GoalKind::Serve => {
            if goal.requests_per_s.is_none() {
                let missing = Diagnostic::error(codes::MISSING_KEY, "to serve how many requests?").at(kind.span, "this goal");
                diags.push(missing.hint("add requests_per_s = 20"));
            }
            if goal.within.is_some() {
                conflict(
                    "`within` does nothing with the goal \"serve\": latencies are in `slo`".into(),
                    goal.within.span,
                    kind.span,
                    diags,
                );
            }
            if goal.budget.is_some() && input.demand.value.is_none() {
                let missing = Diagnostic::error(codes::MISSING_KEY, "a budget for how long?").at(goal.budget.span, "this budget");
                diags.push(missing.hint("add [demand] with months = 36"));
            }
        }
        GoalKind::Train if goal.within.is_none() && goal.budget.is_none() => diags.push(
            Diagnostic::error(codes::MISSING_KEY, "to train within what?")
                .at(kind.span, "this goal")
                .hint("add within = \"30 d\", or budget = \"5000000 USD\", or both"),
        ),
        GoalKind::Train => {}
        _ => {
            for (name, _, span) in given.into_iter().filter(|g| g.1) {
                conflict(format!("`{name}` does nothing with the goal \"{}\"", *kind), span, kind.span, diags);
            }
        }
    }
    let serving = [
        ("requests_per_s", goal.requests_per_s.is_some(), goal.requests_per_s.span),
        ("slo", goal.slo.is_some(), goal.slo.span),
        ("headroom", goal.headroom.is_some(), goal.headroom.span),
        ("spare_nodes", goal.spare_nodes.is_some(), goal.spare_nodes.span),
    ];
    if *kind != GoalKind::Serve {
        for (name, _, span) in serving.into_iter().filter(|g| g.1) {
            conflict(format!("`{name}` does nothing with the goal \"{}\"", *kind), span, kind.span, diags);
        }
    }
    match (&goal.models.value, *kind == GoalKind::LargestModel) {
        (Some(_), false) => conflict(format!("`models` does nothing with the goal \"{}\"", *kind), goal.models.span, kind.span, diags),
        (None, true) => diags.push(
            Diagnostic::error(codes::MISSING_KEY, "which models may it be?")
                .at(kind.span, "this goal")
                .hint("add models = [\"llama-2-7b\", \"llama-2-70b\"]; presets are listed by `orrery catalog models`"),
        ),
        (Some(models), true) => models.iter().for_each(|m| known(m, diags)),
        (None, false) => {}
    }
    if *kind == GoalKind::LargestModel && input.objective.value == Some(Objective::Pareto) {
        conflict("the largest model is one; a front of it does nothing".into(), input.objective.span, kind.span, diags);
    }
}

/// Tables beside the goal.
fn tables(input: &PlanInput, diags: &mut Diagnostics) {
    let kind = input.goal.kind;
    let serves = *kind == GoalKind::Serve;
    for (name, given, span, of_serving) in [
        ("layout", input.layout.is_some(), input.layout.span, false),
        ("deployment", input.deployment.is_some(), input.deployment.span, true),
        ("demand", input.demand.is_some(), input.demand.span, true),
    ] {
        if given && of_serving != serves {
            conflict(format!("`[{name}]` does nothing with the goal \"{}\"", *kind), span, kind.span, diags);
        }
    }
    let paid = |word: &str| {
        let all = input.candidate.iter().flat_map(|c| c.payment.value.iter().flatten());
        all.into_iter().any(|v| matches!(&v.value.value, Value::Str(s) if s == word))
    };
    if let Some(deployment) = &input.deployment.value {
        ratios(deployment, diags);
    }
    if input.spot.is_some() && !paid("spot") {
        conflict("`[spot]` does nothing where no candidate is paid as spot capacity".into(), input.spot.span, kind.span, diags);
    }
    if let Some(demand) = &input.demand.value {
        for (name, value, most, span) in [
            ("months", *demand.months as f64, MONTHS as f64, demand.months.span),
            ("growth_per_month", *demand.growth_per_month, GROWTH, demand.growth_per_month.span),
            ("review_months", *demand.review_months as f64, MONTHS as f64, demand.review_months.span),
        ] {
            if value > most {
                let absurd = Diagnostic::error(codes::OUT_OF_RANGE, format!("{name} = {value} is absurdly large")).at(span, "absurd");
                diags.push(absurd.hint(format!("at most {most}")));
            }
        }
    }
    if let Some(site) = &input.site.value {
        site_keys(site, input.site.span, paid("owned"), kind.span, diags);
    }
}

/// Ratios that are none.
fn ratios(input: &DeploymentInput, diags: &mut Diagnostics) {
    for text in input.prefill_to_decode.value.iter().flatten().filter(|t| ratio(t).is_none()) {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, format!("`{}` is no ratio of engines", **text))
                .at(text.span, "not understood")
                .hint("\"1:3\" gives one engine of prompts for three that decode (1 to 1000 each); \"together\" keeps both in one engine"),
        );
    }
}

fn site_keys(site: &SiteInput, span: Span, owned: bool, goal: Span, diags: &mut Diagnostics) {
    let limits = [site.power.is_some(), site.cooling.is_some(), site.rack_power.is_some(), site.racks.is_some()];
    let times =
        [("delivery", site.delivery.is_some(), site.delivery.span), ("installation", site.installation.is_some(), site.installation.span)];
    if !limits.contains(&true) && times.iter().all(|t| !t.1) {
        conflict("a `[site]` without a limit or a time does nothing".into(), span, goal, diags);
    }
    for (name, _, span) in times.into_iter().filter(|t| t.1 && !owned) {
        conflict(format!("`{name}` does nothing where no candidate is bought (payment \"owned\")"), span, goal, diags);
    }
}

fn known(model: &At<String>, diags: &mut Diagnostics) {
    if presets().iter().any(|p| *p.id == **model) {
        return;
    }
    let names = presets().iter().map(|p| p.id.value.as_str());
    let hint =
        nearest(model, names).map_or_else(|| "presets are listed by `orrery catalog models`".into(), |n| format!("did you mean \"{n}\"?"));
    diags.push(Diagnostic::error(codes::UNKNOWN_PART, format!("there is no model `{}`", **model)).at(model.span, "unknown").hint(hint));
}

fn candidate(candidate: &CandidateInput, diags: &mut Diagnostics) {
    for (key, value) in candidate.set.value.iter().flatten() {
        if JOB_KEYS.iter().any(|j| key == j || key.strip_prefix(j).is_some_and(|rest| rest.starts_with('.')) && *j != "topology") {
            diags.push(
                Diagnostic::error(
                    codes::CONFLICT,
                    format!("a candidate cannot set `{key}`: all do the same job, and the plan varies the rest"),
                )
                .at(value.span, "not here"),
            );
        }
    }
    for (name, empty, span) in [
        ("nodes", candidate.nodes.value.as_ref().is_some_and(Vec::is_empty), candidate.nodes.span),
        ("payment", candidate.payment.value.as_ref().is_some_and(Vec::is_empty), candidate.payment.span),
    ] {
        if empty {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, format!("`{name}` names none")).at(span, "is empty"));
        }
    }
}
