//! Checks of `[fleet]`: what it is made of and whether it fits together.

use super::input::{FleetInput, PolicyInput};
use super::jobs::{MOST_JOBS, Place, drawn, waits};
use super::kubernetes::Kubernetes;
use super::link::Links;
use super::outages::outages;
use super::pools::cluster;
use super::regions::regions;
use super::run::FleetJob;
use super::services::service;
use super::traced::traced;
use crate::diag::{At, Diagnostic, Diagnostics, SourceId, Span, codes};
use crate::economics::CostPlan;
use crate::fabric::Fabric;
use crate::fleet::{BackfillKind, OrderKind, PlacementKind, Policy, Team, Within};
use crate::kernels::Profiles;
use crate::scenario::input::ScenarioInput;
use crate::scenario::load::head;
pub(super) use crate::scenario::operations::conflict;
use crate::units::Seconds;
use indexmap::IndexMap;

/// Names of teams and classes in the order in which they come up.
#[derive(Default)]
pub(super) struct Names {
    pub(super) teams: IndexMap<String, ()>,
    pub(super) classes: IndexMap<String, ()>,
}

impl Names {
    fn of(map: &mut IndexMap<String, ()>, name: &str) -> u16 {
        map.insert_full(name.to_owned(), ()).0.min(usize::from(u16::MAX)) as u16
    }
    pub(super) fn team(&mut self, name: &str) -> u16 {
        Self::of(&mut self.teams, if name.is_empty() { "others" } else { name })
    }
    pub(super) fn class(&mut self, name: &str) -> u16 {
        Self::of(&mut self.classes, name)
    }
}

/// Reads a file that a key names: on the command line the path is the user's, in a file it is relative to it.
pub(super) fn trace_source(name: &str, span: Span, diags: &mut Diagnostics) -> Option<SourceId> {
    let path = diags.folder_of(span.source).join(name);
    diags.read_file(&path, Some(span))
}

/// The fleet of a scenario.
pub(in crate::scenario) fn fleet_job(
    input: &ScenarioInput,
    fabric: &Fabric,
    cost: &CostPlan,
    profiles: &Profiles,
    diags: &mut Diagnostics,
) -> Option<FleetJob> {
    let given = input.fleet.value.as_ref()?;
    let before = diags.error_count();
    let span = input.fleet.span;
    let mut names = Names::default();
    teams_once(given, &mut names, diags);
    let mut kube = kubernetes(given, diags)?;
    let own = kube.as_mut().filter(|k| !k.manifests.nodes.is_empty());
    let cluster = cluster(given, fabric, cost, own, span, diags)?;
    let cluster = regions(&given.region, cluster, diags)?;
    let outages = outages(given, input, &cluster, fabric, diags);
    let restart = input.failures.value.as_ref().map_or(0.0, |f| f.restart.get() + f.warm_up.get());
    let place = Place { cluster: &cluster, fabric, profiles, restart };
    let traced = traced(given, &place, &mut names, diags);
    if let Some(kube) = &kube {
        queues(given, kube, &mut names, diags)?;
    }
    let mut kube_jobs = kube.as_ref().map_or_else(Vec::new, |k| k.jobs(given, &cluster, restart, &mut names, diags));
    let (mut models, mut links) = (Vec::new(), Links::default());
    let classes: Vec<_> = given.job.iter().map(|j| drawn(j, &place, &mut names, &mut models, &mut links, diags)).collect();
    let services: Vec<_> = given.service.iter().map(|s| service(s, &given.job, &place, &mut names, &mut links, diags)).collect();
    let waits = waits(&given.job, diags);
    enough(given, kube_jobs.len(), span, diags);
    few_names(&names, span, diags);
    let teams = teams(given, kube.as_ref(), &names);
    if diags.error_count() > before {
        return None;
    }
    let (mut traced, skipped) = traced?;
    traced.append(&mut kube_jobs);
    let mut classes: Vec<_> = classes.into_iter().collect::<Option<Vec<_>>>()?;
    classes.iter_mut().zip(waits?).for_each(|(class, after)| class.after = after);
    let (services, weights) = services.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
    let policies = policies(given, &traced, kube.as_ref(), diags)?;
    Some(FleetJob {
        cluster,
        traced,
        skipped,
        classes,
        models,
        services,
        weights,
        outages: outages?,
        teams,
        team_names: names.teams.into_keys().collect(),
        class_names: names.classes.into_keys().collect(),
        policies,
        horizon: given.horizon.map(Seconds::get),
        trace: given.trace.value.clone(),
        region_names: given.region.iter().map(|r| r.name.value.clone()).collect(),
        scenarios: links.classes,
        synthetic: links.synthetic,
    })
}

/// What the files of Kubernetes hold, where they are named.
fn kubernetes(given: &FleetInput, diags: &mut Diagnostics) -> Option<Option<Kubernetes>> {
    if !given.kubernetes.is_empty() {
        return Some(Some(super::kubernetes::read(given, diags)?));
    }
    if given.kubernetes_duration.is_some() {
        conflict(given.kubernetes_duration.span, "`kubernetes_duration` does nothing without `kubernetes`", "leave it out", diags);
    }
    Some(None)
}

/// Queues of Kubernetes as teams; `None` where there are jobs without nodes.
fn queues(given: &FleetInput, kube: &Kubernetes, names: &mut Names, diags: &mut Diagnostics) -> Option<()> {
    if kube.manifests.nodes.is_empty() && !kube.manifests.jobs.is_empty() {
        let told = Diagnostic::error(codes::UNSUPPORTED, "jobs of Kubernetes need the nodes of Kubernetes: their labels, taints and sizes");
        diags.push(told.at(given.kubernetes.span, "these files").hint("add `kubectl get nodes -o yaml`"));
        return None;
    }
    kube.manifests.queues.iter().for_each(|q| {
        names.team(&q.name);
    });
    Some(())
}

/// Teams by their names, each once.
fn teams_once(given: &FleetInput, names: &mut Names, diags: &mut Diagnostics) {
    given.team.iter().for_each(|t| {
        names.team(&t.name);
    });
    for (i, team) in given.team.iter().enumerate() {
        if given.team[..i].iter().any(|t| t.name.value == team.name.value) {
            let message = format!("there are two teams named `{}`", *team.name);
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(team.name.span, "second"));
        }
    }
}

/// Whether there is something to do, not too much of it, and an end; beside the jobs of Kubernetes.
fn enough(given: &FleetInput, queued: usize, span: Span, diags: &mut Diagnostics) {
    let total = given.job.iter().map(|j| *j.count).fold(0, u64::saturating_add);
    if total > MOST_JOBS {
        let told = Diagnostic::error(codes::OUT_OF_RANGE, format!("{total} jobs: at most {MOST_JOBS}"));
        diags.push(told.at(head(given.job.span, diags), "these jobs"));
    }
    if given.trace.is_none() && given.job.is_empty() && given.service.is_empty() && queued == 0 {
        let told = Diagnostic::error(codes::MISSING_KEY, "the fleet has nothing to do").at(head(span, diags), "this fleet");
        diags.push(told.hint("add `trace`, a [[fleet.job]] or a [[fleet.service]]"));
    }
    if !given.service.is_empty() && given.horizon.is_none() {
        let told = Diagnostic::error(codes::MISSING_KEY, "a fleet with services needs `horizon`: they never end");
        diags.push(told.at(head(span, diags), "this fleet"));
    }
}

/// Whether teams and classes can be counted by 16 bits.
fn few_names(names: &Names, span: Span, diags: &mut Diagnostics) {
    if names.teams.len() > 60_000 || names.classes.len() > 60_000 {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "more than 60,000 teams or classes").at(head(span, diags), "this fleet"));
    }
}

fn teams(given: &FleetInput, kube: Option<&Kubernetes>, names: &Names) -> Vec<Team> {
    let cohorts: Vec<&str> = given.team.iter().filter_map(|t| t.cohort.value.as_deref()).collect();
    let cohort = |name: &str| cohorts.iter().position(|c| *c == name).map(|c| c as u16);
    let of = |name: &str| match given.team.iter().find(|t| t.name.value == name) {
        Some(t) => Team {
            name: name.to_owned(),
            weight: *t.weight,
            quota: t.quota.map(|q| q.min(1 << 30) as u32),
            cohort: t.cohort.value.as_deref().and_then(cohort),
            borrow: t.borrow.map_or(u32::MAX, |b| b.min(1 << 30) as u32),
        },
        None => {
            let own = Team { name: name.to_owned(), weight: 1.0, quota: None, cohort: None, borrow: 0 };
            kube.and_then(|k| k.team(name)).unwrap_or(own)
        }
    };
    names.teams.keys().map(|n| of(n)).collect()
}

fn policies(given: &FleetInput, traced: &[crate::fleet::Job], kube: Option<&Kubernetes>, diags: &mut Diagnostics) -> Option<Vec<Policy>> {
    let before = diags.error_count();
    for team in given.team.iter() {
        let rules = [
            (team.cohort.is_some() && team.quota.is_none(), team.cohort.span, "`cohort` does nothing without `quota`"),
            (team.borrow.is_some() && team.cohort.is_none(), team.borrow.span, "`borrow` does nothing without `cohort`"),
        ];
        for (bad, span, message) in rules {
            if bad {
                conflict(span, message, "leave it out", diags);
            }
        }
    }
    if given.policy.is_empty() {
        return Some(vec![Policy {
            name: "fifo, easy, pack".into(),
            reclaim: kube.is_some_and(Kubernetes::reclaims),
            ..Policy::new(OrderKind::Fifo, BackfillKind::Easy, PlacementKind::Pack)
        }]);
    }
    let queues = kube.is_some_and(|k| k.manifests.queues.iter().any(|q| q.cohort.is_some()));
    let cohorts = queues || given.team.iter().any(|t| t.cohort.is_some());
    let grows = given.job.iter().any(|j| j.most.is_some());
    let near = traced.iter().any(|j| j.ask.within != Within::Any) || given.job.iter().any(|j| *j.within != Within::Any);
    let shares = traced.iter().any(|j| j.ask.share < 1000) || given.job.iter().any(|j| j.share.is_some_and(|s| s < 1.0));
    let weights = given.team.iter().any(|t| *t.weight != 1.0);
    if weights && given.policy.iter().all(|p| *p.order != OrderKind::Fair) {
        conflict(given.team.span, "`weight` does nothing unless order = \"fair\"", "leave it out", diags);
    }
    let mut out: Vec<Policy> = Vec::new();
    for policy in given.policy.iter() {
        policy_fits(policy, [cohorts, grows, near, shares], diags);
        let p = &policy.value;
        let words = Policy::new(*p.order, *p.backfill, *p.placement);
        let policy_of = Policy {
            name: p.name.value.clone().unwrap_or(words.name.clone()),
            preempt: *p.preempt,
            reclaim: *p.reclaim,
            migrate: p.migrate.map(Seconds::get),
            grow: *p.grow,
            depth: p.depth.map_or(usize::MAX, |d| d as usize),
            estimate: p.estimate.unwrap_or(1.0),
            ..words
        };
        if out.iter().any(|o| o.name == policy_of.name) {
            let message = format!("there are two policies named `{}`", policy_of.name);
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(head(policy.span, diags), "second"));
        }
        out.push(policy_of);
    }
    (diags.error_count() == before).then_some(out)
}

fn policy_fits(p: &At<PolicyInput>, [cohorts, grows, near, shares]: [bool; 4], diags: &mut Diagnostics) {
    let by_key = matches!(*p.order, OrderKind::Shortest | OrderKind::Priority);
    let reserves = matches!(*p.backfill, BackfillKind::Easy | BackfillKind::Conservative);
    let rules = [
        (*p.preempt && !by_key, p.preempt.span, "`preempt` does nothing where whoever came first goes first"),
        (*p.reclaim && !cohorts, p.reclaim.span, "`reclaim` does nothing without teams of a cohort"),
        (*p.grow && !grows, p.grow.span, "`grow` does nothing where no job has `most`"),
        (p.migrate.is_some() && !near, p.migrate.span, "`migrate` does nothing where no job asks for nearness (`within`)"),
        (p.depth.is_some() && *p.backfill == BackfillKind::None, p.depth.span, "`depth` does nothing without backfill"),
        (p.estimate.is_some() && !reserves, p.estimate.span, "`estimate` does nothing without reservations (easy, conservative)"),
    ];
    for (bad, span, message) in rules {
        if bad {
            conflict(span, message, "leave it out", diags);
        }
    }
    if p.estimate.is_some_and(|e| !(1.0..=1000.0).contains(&e)) {
        let told = Diagnostic::error(codes::OUT_OF_RANGE, "an estimate below the truth, or absurd").at(p.estimate.span, "from 1 to 1000");
        diags.push(told);
    }
    if *p.backfill == BackfillKind::Conservative && shares {
        let message = "conservative backfill books whole accelerators: no `share`";
        diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(p.backfill.span, "here").hint("use \"easy\""));
    }
}
