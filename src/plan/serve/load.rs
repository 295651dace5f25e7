//! Reads a plan for serving: the traffic, the latencies, and every cluster with the deployments that are legal on it.

use super::super::load::{base_name, candidates, hash_of};
use super::super::question::{Objective, PlanInput};
use super::super::search::Want;
use super::super::site::{Excess, Site};
use super::super::space::{candidate_changes, put};
use super::candidate::expand;
use super::setup::Setup;
use super::slo::{Target, targets};
use super::spot::Spot;
use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, Value, codes};
use crate::economics::CostPlan;
use crate::fabric::{Fabric, TopologySummary};
use crate::scenario::{Base, Change, Job, Scenario};
use crate::serving::{Arrivals, Fleet, Requests};
use crate::units::MONTH;
use std::sync::Arc;

/// Demand that grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand {
    pub(super) months: u64,
    pub(super) growth: f64,
    pub(super) review: u64,
}

impl Demand {
    /// The rate after some months, over the one of the first.
    pub(super) fn factor(&self, month: u64) -> f64 {
        libm::pow(1.0 + self.growth, month as f64)
    }
}

/// A kind of cluster, in several sizes.
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) changes: Vec<Change>,
    /// Ways to pay: name and changes of the base.
    pub(super) payments: Vec<(String, Vec<Change>)>,
    /// What is set for one way to pay alone.
    pub(super) money: Vec<Change>,
    /// Ways to lay out an engine that are legal.
    pub(super) setups: Vec<Setup>,
}

/// A candidate of one size.
pub(super) struct Size {
    pub(super) candidate: usize,
    pub(super) nodes: u64,
    pub(super) fabric: Arc<Fabric>,
    pub(super) summary: TopologySummary,
    /// By way to pay.
    pub(super) plans: Vec<CostPlan>,
    /// Limits of the site that it does not keep.
    pub(super) excess: Vec<Excess>,
}

/// A deployment on a cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) size: usize,
    pub(super) setup: Setup,
}

/// A candidate on which nothing can run.
pub(super) struct Barred {
    pub(super) name: String,
    /// The first reason that was met.
    pub(super) why: String,
    /// The deployment that comes nearest to fitting, in words, with the memory of an accelerator that it needs and may use.
    pub(super) short: Option<(String, (f64, f64))>,
}

/// A plan for serving that was read and checked.
pub struct ServePlan {
    /// Title for people.
    pub(in crate::plan) title: String,
    pub(in crate::plan) want: Want,
    pub(super) base: Base,
    /// The base without a router, for single engines.
    pub(super) single: Base,
    pub(super) base_name: String,
    /// The same as the plan names it.
    pub(super) base_file: String,
    pub(super) folder: String,
    pub(super) place: Span,
    pub(super) hash: String,
    /// Requests per second, and with headroom.
    pub(super) rate: f64,
    pub(super) headroom: f64,
    pub(super) spare: u64,
    pub(super) targets: Vec<Target>,
    pub(super) demand: Option<Demand>,
    /// How capacity that is paid as spot is taken away.
    pub(super) spot: Option<Spot>,
    pub(super) site: Site,
    pub(super) candidates: Vec<Candidate>,
    pub(super) sizes: Vec<Size>,
    pub(super) points: Vec<Point>,
    /// Candidates on which nothing can run.
    pub(super) barred: Vec<Barred>,
    /// The requests at the rate with headroom (of the last month, where demand grows).
    pub(super) requests: Requests,
    pub(super) warm_up: f64,
    /// Title of the base.
    pub(super) job: String,
}

impl ServePlan {
    /// Months that money and energy are of.
    pub(super) fn months(&self) -> u64 {
        self.demand.map_or(1, |d| d.months)
    }
    /// Seconds that money and energy are of.
    pub(super) fn horizon(&self) -> f64 {
        self.months() as f64 * MONTH
    }
    /// Requests per second that have to be held in the end, with headroom.
    pub(super) fn load(&self) -> f64 {
        self.rate * self.demand.map_or(1.0, |d| d.factor(d.months)) * (1.0 + self.headroom)
    }

    /// How the capacity of a candidate under a way to pay is taken away, if it is.
    pub(super) fn spot_of(&self, candidate: usize, payment: usize) -> Option<Spot> {
        self.spot.filter(|_| self.candidates[candidate].payments[payment].0 == "spot")
    }

    /// The changes of the base that put a setup on a number of nodes at a rate.
    pub(super) fn changes(&self, candidate: usize, nodes: u64, accelerators: u64, setup: Setup, rate: f64, more: &[Change]) -> Vec<Change> {
        let int = |key: &str, n: u64| put(key, Value::Int(n as i64), self.place);
        let mut out = self.candidates[candidate].changes.clone();
        out.push(int("nodes", nodes));
        out.extend(setup.keys(accelerators).into_iter().map(|(key, n)| int(key, n)));
        out.push(put("serving.traffic.requests_per_s", Value::Float(rate), self.place));
        out.extend(more.iter().cloned());
        out
    }

    /// The base of a setup on so many accelerators: without a router where requests have one way to go.
    pub(super) fn base_of(&self, setup: Setup, accelerators: u64) -> &Base {
        if setup.fronts(accelerators) == 1 { &self.single } else { &self.base }
    }

    /// The scenario of a setup on a number of nodes at a rate, under some changes more; and what is wrong where there is none.
    pub(super) fn scenario(
        &self,
        candidate: usize,
        nodes: u64,
        accelerators: u64,
        setup: Setup,
        rate: f64,
        more: &[Change],
    ) -> (Option<Scenario>, Diagnostics) {
        let changes = self.changes(candidate, nodes, accelerators, setup, rate, more);
        self.base_of(setup, accelerators).with(&changes)
    }
}

/// Reads the parts of a plan whose goal is to serve.
pub(in crate::plan) fn load(input: &PlanInput, base: Base, source: SourceId, diags: &mut Diagnostics) -> Option<ServePlan> {
    let job = job(&base, input, diags)?;
    let goal = &input.goal;
    let targets = targets(goal.slo.value.as_ref());
    if targets.is_empty() && !job.goals {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "to serve within which latencies?")
                .at(goal.kind.span, "this goal")
                .hint("add slo = { ttft_p99 = \"2 s\", tpot_p99 = \"50 ms\" }, or a [serving.slo] to the base"),
        );
        return None;
    }
    let demand = input.demand.value.as_ref().map(|d| Demand {
        months: *d.months,
        growth: *d.growth_per_month,
        review: (*d.review_months).min(*d.months),
    });
    let objective = input.objective.unwrap_or(Objective::Cost);
    let single = base.without("serving.router");
    let mut plan = ServePlan {
        want: Want { objective, within: None, budget: goal.budget.map(|b| b.get()), exhaustive: false },
        base_name: base_name(input, source, diags),
        base_file: input.base.value.clone(),
        folder: diags.folder_of(source).display().to_string(),
        hash: hash_of(diags),
        place: input.base.span,
        rate: goal.requests_per_s.unwrap_or(1.0),
        headroom: goal.headroom.unwrap_or(0.0),
        spare: goal.spare_nodes.unwrap_or(0),
        site: Site::of(input.site.value.as_ref()),
        title: input.title.value.clone(),
        candidates: Vec::new(),
        sizes: Vec::new(),
        points: Vec::new(),
        barred: Vec::new(),
        requests: Requests::default(),
        warm_up: job.warm_up,
        job: job.title,
        base,
        single,
        targets,
        demand,
        spot: input.spot.value.as_ref().map(|s| Spot { interval: s.interval.get(), replacement: s.replacement.get() }),
    };
    let mut first = None;
    for candidate in candidates(input) {
        expand(&mut plan, input, &candidate, &mut first, diags)?;
    }
    let Some(point) = plan.points.first().copied() else {
        if plan.barred.iter().any(|b| b.short.is_some()) {
            return Some(plan);
        }
        *diags = first?;
        return None;
    };
    let size = &plan.sizes[point.size];
    let scenario = plan.scenario(size.candidate, size.nodes, size.fabric.accelerator_count() as u64, point.setup, plan.load(), &[]).0?;
    let Job::Serving(job) = &scenario.job else { return None };
    plan.requests = job.requests_of(scenario.seed);
    Some(plan)
}

/// What the base says of the job.
struct Asked {
    title: String,
    goals: bool,
    warm_up: f64,
}

/// The base, on its own cluster or else on the first candidate's that takes it; where its own engines have no room, with more tensor
/// ranks an engine, as the layout is what is searched.
fn loaded(base: &Base, input: &PlanInput, diags: &mut Diagnostics) -> Option<Scenario> {
    let place = input.base.span;
    let clusters: Vec<Vec<Change>> = if base.value("topology").is_some() {
        vec![Vec::new()]
    } else {
        candidates(input).iter().map(|c| candidate_changes(c, None)).collect()
    };
    let mut first = None;
    for cluster in clusters {
        let (scenario, faults) = base.with(&cluster);
        let room = !faults.sorted().iter().any(|d| d.code == codes::NO_ROOM);
        let mut wider = (1..=6).map(|i| put("serving.parallel.tensor", Value::Int(1 << i), place));
        let wide = |change| base.with(&[cluster.clone(), vec![change]].concat()).0;
        let found = scenario.or_else(|| if room { None } else { wider.find_map(wide) });
        if found.is_some() {
            return found;
        }
        first.get_or_insert(faults);
    }
    *diags = first?;
    None
}

fn job(base: &Base, input: &PlanInput, diags: &mut Diagnostics) -> Option<Asked> {
    let scenario = loaded(base, input, diags)?;
    let Job::Serving(job) = &scenario.job else {
        let message = "the goal is to serve, but the base is no serving scenario";
        diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(input.base.span, "this base").at(input.goal.kind.span, "this goal"));
        return None;
    };
    let burst = matches!(&base.value("serving.traffic.kind").map(|n| &n.value), Some(Value::Str(kind)) if kind == "offline");
    if job.arrivals != Arrivals::Open || burst {
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, "the base's requests come at no rate of their own")
                .at(input.base.span, "closed or offline traffic")
                .hint("plan with traffic of kind poisson, gamma, bursty, diurnal or trace"),
        );
        return None;
    }
    if job.deployment.prompts.is_some() || job.deployment.pipeline > 1 || job.deployment.fleet != Fleet::default() {
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, "the search lays out engines itself, of one stage, that neither come and go nor fail")
                .at(input.base.span, "prefill engines, pipeline stages, scaling or failures")
                .hint("leave them out of the base; [deployment] prefill_to_decode tries engines of prompts"),
        );
        return None;
    }
    Some(Asked { title: scenario.title.clone(), goals: job.goals.is_some(), warm_up: job.warm_up })
}
