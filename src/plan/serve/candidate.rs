//! One candidate of a plan for serving: its sizes, what each costs, and the deployments that are legal on it.

use super::super::load::{first_message, ways_to_pay};
use super::super::question::{CandidateInput, Objective, PlanInput};
use super::super::space::{candidate_changes, money_changes, put};
use super::load::{Barred, Candidate, Point, ServePlan, Size};
use super::setup::{Setup, setups};
use crate::diag::{Diagnostic, Diagnostics, Value, codes};
use crate::economics::{CostPlan, Ownership};
use crate::fabric::{AcceleratorId, Fabric};
use crate::scenario::Change;

/// Numbers of nodes that are tried unless they are named.
const NODES: u64 = 32;

/// Deployments of a candidate that were tried, on whatever size came first, and whether they fit.
#[derive(Default)]
struct Tried {
    known: Vec<(Setup, bool)>,
    /// Why the first that does not fit does not.
    reason: Option<Diagnostics>,
    /// The one that lacks least memory.
    short: Option<(Setup, (f64, f64))>,
}

/// Adds a candidate with its sizes and the deployments on each.
pub(super) fn expand(
    plan: &mut ServePlan,
    input: &PlanInput,
    given: &CandidateInput,
    first: &mut Option<Diagnostics>,
    diags: &mut Diagnostics,
) -> Option<()> {
    let named: Option<Vec<u64>> = given.nodes.value.as_ref().map(|n| n.iter().map(|n| n.value).collect());
    let counts: Vec<u64> = named.clone().unwrap_or_else(|| (1..=NODES).collect());
    nodes_at_work(plan, input, given, &counts, diags)?;
    let (index, from, changes) = (plan.candidates.len(), plan.sizes.len(), candidate_changes(given, None));
    plan.candidates.push(Candidate {
        name: String::new(),
        changes: changes.clone(),
        payments: ways_to_pay(&plan.base, given),
        money: money_changes(given),
        setups: Vec::new(),
    });
    let mut tried = Tried::default();
    for &nodes in counts.iter().filter(|n| **n > plan.spare) {
        let all = [changes.clone(), vec![put("nodes", Value::Int(nodes as i64), plan.place)]].concat();
        let (built, faults) = plan.base.cluster_with(&all);
        let Some((fabric, catalogue)) = built else {
            if named.is_some() || nodes == counts[counts.len() - 1] && plan.sizes.len() == from {
                *diags = faults;
                return None;
            }
            continue;
        };
        if plan.candidates[index].name.is_empty() {
            plan.candidates[index].name = given.name.value.clone().unwrap_or_else(|| fabric.title().to_owned());
        }
        let legal = legal(plan, input, nodes, &fabric, &mut tried);
        let Some(&setup) = legal.first() else { continue };
        let plans = prices(plan, nodes, &fabric, setup, given, input, diags)?;
        let summary = fabric.summary(&catalogue);
        let excess = plan.site.excess(&summary, plans[0].pue);
        let size = plan.sizes.len();
        plan.sizes.push(Size { candidate: index, nodes, fabric, summary, plans, excess });
        plan.points.extend(legal.into_iter().map(|setup| Point { size, setup }));
    }
    plan.candidates[index].setups = tried.known.iter().filter(|k| k.1).map(|k| k.0).collect();
    if plan.sizes.len() == from {
        bar(plan, input, tried, first, diags);
    }
    Some(())
}

/// Refuses numbers of nodes of which the spare ones leave none.
fn nodes_at_work(plan: &ServePlan, input: &PlanInput, given: &CandidateInput, counts: &[u64], diags: &mut Diagnostics) -> Option<()> {
    if counts.iter().any(|n| *n > plan.spare) {
        return Some(());
    }
    let span = input.goal.spare_nodes.span;
    let said = format!("spare_nodes = {} leaves no node of {} at work", plan.spare, counts.iter().max().unwrap_or(&0));
    diags.push(Diagnostic::error(codes::OUT_OF_RANGE, said).at(span, "too many").at(given.nodes.span, "of these nodes"));
    None
}

/// The deployments of the last candidate that are legal on so many nodes.
fn legal(plan: &ServePlan, input: &PlanInput, nodes: u64, fabric: &Fabric, tried: &mut Tried) -> Vec<Setup> {
    let index = plan.candidates.len() - 1;
    let domain = u64::from(fabric.domain(fabric.site(AcceleratorId(0)).domain).size);
    let accelerators = fabric.accelerator_count() as u64;
    let working = accelerators / nodes * (nodes - plan.spare);
    let experts = has_experts(plan, &plan.candidates[index].changes);
    let mut legal = Vec::new();
    for setup in setups(input.deployment.value.as_ref(), domain, experts) {
        if !setup.divides(accelerators, working) {
            continue;
        }
        if !tried.known.iter().any(|k| k.0 == setup) {
            let (found, faults) = plan.scenario(index, nodes, accelerators, setup, plan.load(), &[]);
            tried.known.push((setup, found.is_some()));
            if found.is_none() {
                nearer(&mut tried.short, setup, &faults);
                tried.reason.get_or_insert(faults);
            }
        }
        legal.extend(tried.known.iter().find(|k| k.0 == setup && k.1).map(|k| k.0));
    }
    legal
}

/// Notes why the last candidate has no deployment at all.
fn bar(plan: &mut ServePlan, input: &PlanInput, tried: Tried, first: &mut Option<Diagnostics>, diags: &Diagnostics) {
    let why = tried.reason.as_ref().map_or_else(|| "no degrees divide the accelerators of these nodes".into(), first_message);
    let short = tried.short.map(|(setup, lack)| (setup.engine(), lack));
    let name = plan.candidates[plan.candidates.len() - 1].name.clone();
    plan.barred.push(Barred { name, why: why.clone(), short });
    let mut faults = tried.reason.unwrap_or_else(|| diags.clone());
    if !faults.has_errors() {
        faults.push(Diagnostic::error(codes::LAYOUT_SIZE, why).at(input.base.span, "this job"));
    }
    first.get_or_insert(faults);
}

/// Keeps the setup that lacks least memory.
fn nearer(short: &mut Option<(Setup, (f64, f64))>, setup: Setup, faults: &Diagnostics) {
    let lack = faults.sorted().into_iter().find_map(|d| d.lack);
    let over = |l: (f64, f64)| l.0 / l.1;
    if let Some(lack) = lack.filter(|l| short.is_none_or(|s| over(*l) < over(s.1))) {
        *short = Some((setup, lack));
    }
}

fn has_experts(plan: &ServePlan, changes: &[Change]) -> bool {
    let own = changes.iter().find(|c| c.key == "serving.model.preset").map(|c| &c.value);
    let preset = own.or_else(|| plan.base.value("serving.model.preset"));
    let Some(Value::Str(name)) = preset.map(|n| &n.value) else { return false };
    crate::model::presets().iter().any(|p| *p.id == *name && *p.experts > 0)
}

/// What each way to pay for the last candidate comes to on a cluster.
fn prices(
    plan: &ServePlan,
    nodes: u64,
    fabric: &Fabric,
    setup: Setup,
    given: &CandidateInput,
    input: &PlanInput,
    diags: &mut Diagnostics,
) -> Option<Vec<CostPlan>> {
    let candidate = plan.candidates.len() - 1;
    let mut out = Vec::new();
    for (name, more) in &plan.candidates[candidate].payments {
        let (scenario, faults) = plan.scenario(candidate, nodes, fabric.accelerator_count() as u64, setup, plan.load(), more);
        let Some(scenario) = scenario else {
            *diags = faults;
            return None;
        };
        let needed = matches!(plan.want.objective, Objective::Cost | Objective::Pareto) || plan.want.budget.is_some();
        if scenario.cost.ownership == Ownership::Unknown && needed {
            let span = given.payment.value.as_ref().map_or(input.base.span, |_| given.payment.span);
            diags.push(
                Diagnostic::error(codes::UNKNOWN_PART, format!("no {name} price is known for the accelerators of {}", fabric.title()))
                    .at(span, "no price")
                    .hint("give `\"cost.rent\" = \"2.50 USD/h\"` in the candidate's `set`, or a [[price]] in the topology"),
            );
            return None;
        }
        out.push(scenario.cost);
    }
    Some(out)
}
