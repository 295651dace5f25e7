//! Reads a plan: the job, the goal, and every cluster that may be bought, each with a layout that is legal and a price.

use super::question::{CandidateInput, GoalInput, GoalKind, LayoutInput, Objective, PlanInput};
use super::search::Want;
use super::space::{Cluster, Layout, Payment, Sizes, candidate_changes, layouts, put};
use crate::diag::{At, Decode, Diagnostic, Diagnostics, Node, Severity, Span, TableNode, Value, codes, nearest};
use crate::economics::Ownership;
use crate::model::presets;
use crate::scenario::{Base, Change, Job};
use std::path::Path;

/// Keys of the base that a candidate may not change: they say which job is planned for, or are what the plan varies.
const JOB_KEYS: [&str; 9] = [
    "topology",
    "nodes",
    "run",
    "cost.payment",
    "training.model",
    "training.global_batch",
    "training.microbatch",
    "training.parallel",
    "training.recompute",
];

/// A plan that was read and checked.
pub struct Plan {
    /// Title for people.
    pub title: String,
    pub(super) goal: GoalKind,
    pub(super) want: Want,
    pub(super) base: Base,
    pub(super) base_name: String,
    /// Folder of the plan.
    pub(super) folder: String,
    /// Whether the base has a run.
    pub(super) whole_run: bool,
    pub(super) place: Span,
    /// Clusters with the layouts to try on each; for the largest model, larger models first.
    pub(super) clusters: Vec<(Cluster, Vec<Layout>)>,
    /// Clusters on which no layout is legal, with the reason.
    pub(super) barred: Vec<(String, String)>,
    pub(super) hash: String,
}

/// Reads a plan file; `None` when anything is wrong.
pub fn load_plan(path: &Path, diags: &mut Diagnostics) -> Option<Plan> {
    let source = diags.read_file(path, None)?;
    let node = Node::parse(source, diags)?;
    let input = PlanInput::decode(&node, diags)?;
    if *input.format != 1 {
        diags.push(
            Diagnostic::error(codes::UNKNOWN_FORMAT, format!("format {} is newer than this program", *input.format))
                .at(input.format.span, "unknown format")
                .hint("this program reads format 1"),
        );
        return None;
    }
    goal(&input, diags);
    input.candidate.iter().for_each(|c| candidate(c, diags));
    if diags.has_errors() {
        return None;
    }
    let inline = input.candidate.iter().flat_map(|c| c.set.value.iter().flatten()).any(|(k, _)| k.starts_with("topology."));
    let base = Base::read(&input.base, input.base.span, inline, diags)?;
    let job = job(&base, &input, diags)?;
    let (mut clusters, mut barred, mut first) = (Vec::new(), Vec::new(), None);
    for model in models(&input, &job) {
        for candidate in candidates(&input) {
            let found = expand(&base, &input, &candidate, &model, &job, &mut barred, &mut first, diags)?;
            clusters.extend(found);
        }
    }
    if clusters.is_empty() {
        *diags = first?;
        return None;
    }
    let objective = input.objective.unwrap_or(if input.goal.within.is_some() { Objective::Cost } else { Objective::Time });
    let want =
        Want { objective, within: input.goal.within.map(|w| w.get()), budget: input.goal.budget.map(|b| b.get()), exhaustive: false };
    let text: Vec<&str> = diags.sources().iter().map(|s| s.text.as_str()).collect();
    let hash = blake3::hash(text.join("\0").as_bytes()).to_hex()[..16].to_owned();
    let base_name = diags.folder_of(source).join(input.base.value.as_str()).display().to_string();
    let folder = diags.folder_of(source).display().to_string();
    let goal = *input.goal.kind;
    let whole_run = job.whole_run;
    Some(Plan { title: input.title.value, goal, want, base, base_name, folder, whole_run, place: input.base.span, clusters, barred, hash })
}

/// The job that is planned for.
struct Work {
    sizes: Sizes,
    global_batch: u64,
    whole_run: bool,
}

fn job(base: &Base, input: &PlanInput, diags: &mut Diagnostics) -> Option<Work> {
    let (scenario, faults) = base.with(&[]);
    let Some(scenario) = scenario else {
        *diags = faults;
        return None;
    };
    let Job::Training { config, steps, .. } = &scenario.job else {
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, "plans are made for training jobs, this scenario is none")
                .at(input.base.span, "no training scenario"),
        );
        return None;
    };
    if *input.goal.kind == GoalKind::Train && steps.is_none() {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "the base does not say how long it trains")
                .at(input.base.span, "this scenario has no [run]")
                .at(input.goal.kind.span, "a goal for the whole run")
                .hint("add [run] with tokens = \"300 G\" to the base"),
        );
        return None;
    }
    let model = &config.model;
    let sizes = Sizes { layers: model.layers, heads: model.heads, sequence: model.sequence_length };
    Some(Work { sizes, global_batch: config.global_batch, whole_run: steps.is_some() })
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
            diags.push(
                Diagnostic::error(codes::UNSUPPORTED, "plans for serving are not there yet")
                    .at(kind.span, "not yet")
                    .hint("the goals are train, layout and largest-model"),
            );
            return;
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

/// The candidates, or the base's own cluster.
fn candidates(input: &PlanInput) -> Vec<CandidateInput> {
    if !input.candidate.is_empty() {
        return input.candidate.iter().map(|c| c.value.clone()).collect();
    }
    let span = input.base.span;
    let none = |_: ()| At { value: None, span };
    vec![CandidateInput {
        name: none(()),
        topology: At { value: None, span },
        nodes: At { value: None, span },
        payment: At { value: None, span },
        set: At { value: None, span },
    }]
}

/// A model to try: its changes to the base, and its sizes.
struct Model {
    name: Option<String>,
    changes: Vec<Change>,
    sizes: Sizes,
}

/// The models to try, larger ones first; without `models` the base's own.
fn models(input: &PlanInput, job: &Work) -> Vec<Model> {
    let Some(names) = &input.goal.models.value else { return vec![Model { name: None, changes: Vec::new(), sizes: job.sizes }] };
    let size = |p: &crate::model::Preset| *p.layers as f64 * *p.hidden as f64 * (4 * *p.hidden + 3 * *p.ffn_hidden) as f64;
    let mut all: Vec<_> = names.iter().filter_map(|n| presets().iter().find(|p| *p.id == **n).map(|p| (p, n.span))).collect();
    all.sort_by(|a, b| size(b.0).total_cmp(&size(a.0)));
    all.dedup_by(|a, b| *a.0.id == *b.0.id);
    let model = |(preset, span): (&crate::model::Preset, Span)| {
        let mut table = TableNode::default();
        let mut entry = |key: &str, value: Value| {
            let node = Node { span, value };
            table.entries.insert(key.to_owned(), crate::diag::Entry { key_span: span, node });
        };
        entry("preset", Value::Str(preset.id.value.clone()));
        entry("sequence_length", Value::Int(job.sizes.sequence as i64));
        Model {
            name: Some(preset.id.value.clone()),
            changes: vec![put("training.model", Value::Table(table), span)],
            sizes: Sizes { layers: *preset.layers, heads: *preset.heads, sequence: job.sizes.sequence },
        }
    };
    all.into_iter().map(model).collect()
}

/// The clusters of a candidate: one for each number of nodes.
#[expect(clippy::too_many_arguments)]
fn expand(
    base: &Base,
    input: &PlanInput,
    candidate: &CandidateInput,
    model: &Model,
    job: &Work,
    barred: &mut Vec<(String, String)>,
    first: &mut Option<Diagnostics>,
    diags: &mut Diagnostics,
) -> Option<Vec<(Cluster, Vec<Layout>)>> {
    let nodes: Vec<Option<&At<u64>>> = candidate.nodes.value.as_ref().map_or_else(|| vec![None], |n| n.iter().map(Some).collect());
    let mut out = Vec::new();
    for nodes in nodes {
        let mut changes = candidate_changes(candidate, nodes);
        changes.extend(model.changes.iter().cloned());
        let (built, faults) = base.cluster_with(&changes);
        let Some((fabric, catalogue)) = built else {
            *diags = faults;
            return None;
        };
        let title = candidate.name.value.clone().unwrap_or_else(|| fabric.title().to_owned());
        let name = format!("{title}, {} node{}", fabric.node_count(), if fabric.node_count() == 1 { "" } else { "s" });
        let layout: Option<&LayoutInput> = input.layout.value.as_ref();
        let layouts = layouts(layout, &model.sizes, job.global_batch, fabric.accelerator_count() as u64);
        let mut reason = None;
        let legal = layouts.iter().find(|l| {
            let (found, faults) = base.with(&[changes.clone(), l.changes(input.base.span)].concat());
            if found.is_none() {
                reason.get_or_insert(faults);
            }
            found.is_some()
        });
        let Some(legal) = legal.copied() else {
            let why =
                reason.as_ref().map_or_else(|| "no degrees of the layout divide the accelerators and the batch".into(), first_message);
            let full = model.name.as_ref().map_or_else(|| name.clone(), |m| format!("{m} on {name}"));
            barred.push((full, why.clone()));
            let mut faults = reason.unwrap_or_else(|| diags.clone());
            if !faults.has_errors() {
                faults.push(Diagnostic::error(codes::LAYOUT_SIZE, format!("{name}: {why}")).at(input.base.span, "this job"));
            }
            first.get_or_insert(faults);
            continue;
        };
        let payments = payments(base, candidate, &changes, &legal, input, diags)?;
        out.push((Cluster { name, model: model.name.clone(), changes, payments, fabric, catalogue }, layouts));
    }
    Some(out)
}

fn first_message(faults: &Diagnostics) -> String {
    faults.sorted().into_iter().find(|d| d.severity == Severity::Error).map_or_else(String::new, |d| d.message.clone())
}

/// The ways to pay, each with a known price.
fn payments(
    base: &Base,
    candidate: &CandidateInput,
    changes: &[Change],
    legal: &Layout,
    input: &PlanInput,
    diags: &mut Diagnostics,
) -> Option<Vec<Payment>> {
    let ways: Vec<Option<Change>> = match &candidate.payment.value {
        None => vec![None],
        Some(list) => list.iter().map(|v| Some(Change { key: "cost.payment".into(), place: v.span, value: v.value.clone() })).collect(),
    };
    let mut out = Vec::new();
    for change in ways {
        let all: Vec<Change> = changes.iter().cloned().chain(change.clone()).chain(legal.changes(input.base.span)).collect();
        let (scenario, faults) = base.with(&all);
        let Some(scenario) = scenario else {
            *diags = faults;
            return None;
        };
        let plan = scenario.cost;
        let word = change.as_ref().and_then(|c| if let Value::Str(s) = &c.value.value { Some(s.clone()) } else { None });
        let own = base.value("cost.payment").and_then(|n| if let Value::Str(s) = &n.value { Some(s.clone()) } else { None });
        let name = word.or(own).unwrap_or_else(|| "on-demand".into());
        let priced = input.objective.is_none_or(|o| o != Objective::Time) || input.goal.budget.is_some();
        if plan.ownership == Ownership::Unknown
            && (priced && *input.goal.kind == GoalKind::Train || input.objective.value == Some(Objective::Cost))
        {
            let span = change.as_ref().map_or(input.base.span, |c| c.place);
            diags.push(
                Diagnostic::error(
                    codes::UNKNOWN_PART,
                    format!("no {name} price is known for the accelerators of {}", scenario.fabric.title()),
                )
                .at(span, "no price")
                .hint("give `\"cost.rent\" = \"2.50 USD/h\"` in the candidate's `set`, or a [[price]] in the topology"),
            );
            return None;
        }
        out.push(Payment { name, change, plan });
    }
    Some(out)
}
