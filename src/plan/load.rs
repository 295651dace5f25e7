//! Reads a plan: the job, the goal, and every cluster that may be bought, each with a layout that is legal and a price.

use super::document::plain;
use super::keys;
use super::question::{CandidateInput, GoalKind, LayoutInput, Objective, PlanInput, SpotInput};
use super::search::Want;
use super::serve::{self, ServePlan};
use super::site::Site;
use super::space::{Cluster, Layout, Payment, Sizes, candidate_changes, layouts, money_changes, put, says_under};
use crate::diag::{At, Decode, Diagnostic, Diagnostics, Node, Severity, SourceId, Span, TableNode, Value, codes};
use crate::economics::Ownership;
use crate::model::presets;
use crate::scenario::{Base, Change};
use std::path::Path;

/// A plan that was read and checked.
pub enum Plan {
    /// For a training job.
    Training(Box<TrainingPlan>),
    /// To serve requests.
    Serving(Box<ServePlan>),
}

/// A plan for a training job.
pub struct TrainingPlan {
    /// Title for people.
    pub title: String,
    pub(super) goal: GoalKind,
    pub(super) want: Want,
    pub(super) base: Base,
    pub(super) base_name: String,
    /// The same as the plan names it.
    pub(super) base_file: String,
    /// Folder of the plan.
    pub(super) folder: String,
    /// Title of the base.
    pub(super) job: String,
    /// Whether the base has a run.
    pub(super) whole_run: bool,
    pub(super) place: Span,
    /// Clusters with the layouts to try on each; for the largest model, larger models first.
    pub(super) clusters: Vec<(Cluster, Vec<Layout>)>,
    /// Clusters on which no layout is legal, with the reason.
    pub(super) barred: Vec<(String, String)>,
    pub(super) hash: String,
    pub(super) site: Site,
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
    keys::check(&input, diags);
    if diags.has_errors() {
        return None;
    }
    let inline = input.candidate.iter().flat_map(|c| c.set.value.iter().flatten()).any(|(k, _)| k.starts_with("topology."));
    let base = Base::read(&input.base, input.base.span, inline, diags)?;
    clusters_are_named(&input, &base, diags)?;
    if *input.goal.kind == GoalKind::Serve {
        return serve::load(&input, base, source, diags).map(|plan| Plan::Serving(Box::new(plan)));
    }
    training(&input, base, source, diags).map(|plan| Plan::Training(Box::new(plan)))
}

/// The hash of all texts that were read.
pub(super) fn hash_of(diags: &Diagnostics) -> String {
    let text: Vec<&str> = diags.sources().iter().map(|s| s.text.as_str()).collect();
    blake3::hash(text.join("\0").as_bytes()).to_hex()[..16].to_owned()
}

/// The base's file as the program finds it.
pub(super) fn base_name(input: &PlanInput, source: SourceId, diags: &Diagnostics) -> String {
    plain(&diags.folder_of(source).join(input.base.value.as_str())).display().to_string()
}

fn training(input: &PlanInput, base: Base, source: SourceId, diags: &mut Diagnostics) -> Option<TrainingPlan> {
    let job = job(&base, input, diags)?;
    keys::base(input, &base, diags)?;
    let site = Site::of(input.site.value.as_ref());
    let (mut clusters, mut barred, mut first) = (Vec::new(), Vec::new(), None);
    for model in models(input, &job) {
        for candidate in candidates(input) {
            let found = expand(&base, input, &candidate, &model, &job, &site, &mut barred, &mut first, diags)?;
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
    Some(TrainingPlan {
        title: input.title.value.clone(),
        goal: *input.goal.kind,
        want,
        base_name: base_name(input, source, diags),
        base_file: input.base.value.clone(),
        folder: diags.folder_of(source).display().to_string(),
        hash: hash_of(diags),
        base,
        whole_run: job.whole_run,
        job: job.title,
        place: input.base.span,
        clusters,
        barred,
        site,
    })
}

/// The job that is planned for.
struct Work {
    title: String,
    sizes: Sizes,
    global_batch: u64,
    whole_run: bool,
}

fn job(base: &Base, input: &PlanInput, diags: &mut Diagnostics) -> Option<Work> {
    let (outline, faults) = base.outline();
    let Some(outline) = outline else {
        *diags = faults;
        return None;
    };
    let Some(training) = outline.training else {
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, "plans are made for training jobs, this scenario is none")
                .at(input.base.span, "no training scenario"),
        );
        return None;
    };
    if *input.goal.kind == GoalKind::Train && !outline.whole_run {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "the base does not say how long it trains")
                .at(input.base.span, "this scenario has no [run]")
                .at(input.goal.kind.span, "a goal for the whole run")
                .hint("add [run] with tokens = \"300 G\" to the base"),
        );
        return None;
    }
    let model = &training.model;
    let sizes = Sizes { layers: model.layers, heads: model.heads, sequence: model.sequence_length };
    Some(Work { title: outline.title, sizes, global_batch: training.global_batch, whole_run: outline.whole_run })
}

/// Where the base names no topology, every candidate has to; all that do not are faults.
fn clusters_are_named(input: &PlanInput, base: &Base, diags: &mut Diagnostics) -> Option<()> {
    let is_job = ["training", "serving"].iter().any(|job| base.value(job).is_some());
    if base.value("topology").is_some() || !is_job {
        return Some(());
    }
    if input.candidate.is_empty() {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "neither the base nor a candidate says which cluster it may be")
                .at(input.base.span, "this base names no topology")
                .hint("add [[candidate]] with `topology = …` to the plan, or `topology = …` to the base"),
        );
        return None;
    }
    let bare: Vec<&At<CandidateInput>> = input.candidate.iter().filter(|c| c.topology.is_none()).collect();
    for candidate in &bare {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "this candidate says not which cluster it is")
                .at(candidate.span, "this candidate needs `topology`, as the base names none")
                .hint("add `topology = …` to it, or to the base for all candidates without their own"),
        );
    }
    bare.is_empty().then_some(())
}

/// The candidates, or the base's own cluster.
pub(super) fn candidates(input: &PlanInput) -> Vec<CandidateInput> {
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
    site: &Site,
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
        let excess = site.excess(&fabric.summary(&catalogue), payments[0].plan.pue);
        let money = money_changes(candidate);
        out.push((Cluster { name, model: model.name.clone(), changes, money, payments, fabric, catalogue, excess }, layouts));
    }
    Some(out)
}

pub(super) fn first_message(faults: &Diagnostics) -> String {
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
    let mut out = Vec::new();
    for (name, way) in ways_to_pay(base, candidate) {
        let all: Vec<Change> = changes.iter().chain(&way).cloned().chain(legal.changes(input.base.span)).collect();
        let (scenario, faults) = base.with(&all);
        let Some(scenario) = scenario else {
            *diags = faults;
            return None;
        };
        let plan = scenario.cost;
        let priced = input.objective.is_none_or(|o| o != Objective::Time) || input.goal.budget.is_some();
        if plan.ownership == Ownership::Unknown
            && (priced && *input.goal.kind == GoalKind::Train || input.objective.value == Some(Objective::Cost))
        {
            let span = way.first().map_or(input.base.span, |c| c.place);
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
        let losses = input.spot.value.as_ref().filter(|_| name == "spot").map_or_else(Vec::new, |s| losses(base, s, input.spot.span));
        out.push(Payment { name, changes: way, plan, losses });
    }
    Some(out)
}

/// The ways to pay of a candidate: name, and changes of the base. What no way reads stays in all of them, to be refused.
pub(super) fn ways_to_pay(base: &Base, candidate: &CandidateInput) -> Vec<(String, Vec<Change>)> {
    let word = |n: &Node| if let Value::Str(s) = &n.value { s.clone() } else { String::new() };
    let money = money_changes(candidate);
    let Some(list) = &candidate.payment.value else {
        return vec![(base.value("cost.payment").map_or_else(|| "on-demand".into(), word), money)];
    };
    let names: Vec<String> = list.iter().map(|v| word(&v.value)).collect();
    let reads = |key: &str, way: &str| says_under(key, way) || !names.iter().any(|n| says_under(key, n));
    list.iter()
        .zip(&names)
        .map(|(v, way)| {
            let pay = Change { key: "cost.payment".into(), place: v.span, value: v.value.clone() };
            let own = money.iter().filter(|c| reads(&c.key, way)).cloned();
            (way.clone(), std::iter::once(pay).chain(own).collect())
        })
        .collect()
}

/// Spot capacity that is taken away, as one class more of the base's failures: a node is lost and comes back later.
fn losses(base: &Base, spot: &SpotInput, span: Span) -> Vec<Change> {
    let mut table = TableNode::default();
    let mut entry = |key: &str, text: String| {
        let node = Node { span, value: Value::Str(text) };
        table.entries.insert(key.to_owned(), crate::diag::Entry { key_span: span, node });
    };
    entry("name", "spot capacity taken away".into());
    entry("mtbf", format!("{} s", spot.interval.get()));
    entry("component", "node".into());
    entry("loses", "node".into());
    entry("detect", format!("{} s", spot.replacement.get()));
    let mut classes = match base.value("failures.class").map(|n| &n.value) {
        Some(Value::Array(list)) => list.clone(),
        _ => Vec::new(),
    };
    classes.push(Node { span, value: Value::Table(table) });
    vec![put("failures.class", Value::Array(classes), span)]
}
