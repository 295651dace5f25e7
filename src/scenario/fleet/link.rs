//! Scenario files that a fleet names: what a replica of a service serves, what a job trains, how long it takes.
//!
//! Where the fleet has a topology they are simulated on accelerators of it that lie near together, else on those of the scenario's own
//! cluster, which have to be of the same part. What was simulated is kept by file and accelerators.

use super::check::conflict;
use super::input::JobInput;
use super::jobs::Place;
use crate::diag::{At, Decode, Diagnostic, Diagnostics, Node, Span, Value, codes};
use crate::fabric::{AcceleratorId, Fabric};
use crate::fleet::{Ask, Curve, PlacementKind, find, placement};
use crate::kernels::Profiles;
use crate::metrics::ClassScenario;
use crate::scenario::execute::{Failure, execute};
use crate::scenario::input::ScenarioInput;
use crate::scenario::load::{Job, Scenario, head, resolve};
use crate::scenario::serving::{Replica, ServingInput, batch_seconds, one_replica, serving_job};
use crate::units::Seconds;
use std::sync::Arc;

/// Seconds of simulation that a file may take while it is read, about.
const MOST_WORK: f64 = 300.0;

/// A scenario file that was read, on its own cluster.
pub(super) struct Linked {
    /// The file as the fleet names it.
    pub(super) file: String,
    span: Span,
    input: ScenarioInput,
    scenario: Scenario,
    /// Steps, where it trains.
    steps: f64,
}

/// A serving scenario, cut to one replica.
pub(super) struct ReplicaFile {
    linked: Linked,
    one: At<ServingInput>,
    /// Accelerators of it.
    pub(super) accelerators: u64,
}

/// Accelerators and what a file says of them.
type Known<T> = Vec<(String, Vec<AcceleratorId>, T)>;

/// What the files of a fleet came to.
#[derive(Default)]
pub(super) struct Links {
    curves: Known<Arc<Curve>>,
    times: Known<f64>,
    /// Classes of jobs that name a file.
    pub(super) classes: Vec<ClassScenario>,
    /// Whether a value comes from a stand-in.
    pub(super) synthetic: bool,
}

/// Reads a file that a fleet names.
fn read(name: &str, span: Span, place: &Place<'_>, diags: &mut Diagnostics) -> Option<Linked> {
    let path = diags.folder_of(span.source).join(name);
    let source = diags.read_file(&path, Some(span))?;
    diags.including(span, |diags| {
        let before = diags.error_count();
        let node = Node::parse(source, diags)?;
        if let Value::Table(table) = &node.value
            && let Some(entry) = table.entries.get("fleet")
        {
            let told = Diagnostic::error(codes::UNSUPPORTED, "a fleet within a fleet is not modelled");
            diags.push(told.at(head(entry.node.span, diags), "a fleet").hint("name a training or a serving scenario"));
            return None;
        }
        let scenario = resolve(&node, None, None, diags)?;
        let input = ScenarioInput::decode(&node, diags)?;
        let fabric = place.fabric.node_count() > 0;
        for (there, at, name) in [
            (input.checkpoint.is_some(), input.checkpoint.span, "[checkpoint]"),
            (input.failures.is_some(), input.failures.span, "[failures]"),
            (input.storage.is_some(), input.storage.span, "[storage]"),
            (fabric && !input.profile.is_empty(), input.profile.span, "profile"),
        ] {
            if there {
                let message = format!("`{name}` does nothing in a scenario that a fleet names: that of the fleet holds");
                conflict(head(at, diags), &message, "leave it out there, and say it in the fleet", diags);
            }
        }
        (diags.error_count() == before).then(|| Linked { file: name.to_owned(), span, input, scenario, steps: 0.0 })
    })
}

/// A serving scenario as one replica of a service.
pub(super) fn replica(name: &str, span: Span, place: &Place<'_>, diags: &mut Diagnostics) -> Option<ReplicaFile> {
    let linked = read(name, span, place, diags)?;
    let Some(serving) = &linked.input.serving.value else {
        let told = Diagnostic::error(codes::CONFLICT, "a replica of a service is described by a serving scenario")
            .at(span, "this one serves nothing");
        diags.push(told.hint("name a file with a [serving] table"));
        return None;
    };
    let given = At { value: serving.clone(), span: linked.input.serving.span };
    let (one, accelerators) = diags.including(span, |diags| one_replica(&given, diags))?;
    Some(ReplicaFile { linked, one, accelerators })
}

/// A class of jobs with what its scenario says in it, and the scenario.
pub(super) fn job(given: &At<JobInput>, place: &Place<'_>, diags: &mut Diagnostics) -> Option<(At<JobInput>, Option<Linked>)> {
    let Some(name) = given.scenario.value.as_deref() else { return Some((given.clone(), None)) };
    let (span, before) = (given.scenario.span, diags.error_count());
    let mut linked = read(name, span, place, diags)?;
    let mut refuse = |there: bool, at: Span, key: &str| {
        if there {
            conflict(at, &format!("`{key}` does nothing beside `scenario`, which says it"), "leave it out", diags);
        }
    };
    refuse(given.training.is_some(), given.training.span, "training");
    refuse(given.duration.is_some(), given.duration.span, "duration");
    refuse(given.durations.is_some(), given.durations.span, "durations");
    refuse(!given.sizes.is_empty(), given.sizes.span, "sizes");
    refuse(given.most.is_some(), given.most.span, "most");
    let on_fleet = place.fabric.node_count() > 0;
    let trains = matches!(linked.scenario.job, Job::Training { .. });
    refuse(given.accelerators.is_some() && !(trains && on_fleet), given.accelerators.span, "accelerators");
    refuse(given.steps.is_some() && !trains, given.steps.span, "steps");
    let mut out = given.clone();
    let size = match &linked.scenario.job {
        Job::Training { config, steps, .. } => {
            let Some(steps) = given.steps.map(|s| s as f64).or(*steps) else {
                let told =
                    Diagnostic::error(codes::MISSING_KEY, "how many steps does the job train?").at(span, "this scenario has no [run]");
                diags.push(told.hint("add [run] with `steps` or `tokens` to it, or `steps` here"));
                return None;
            };
            linked.steps = steps;
            out.value.steps = At { value: on_fleet.then_some(steps as u64), span };
            if on_fleet {
                out.value.training = At { value: linked.input.training.value.clone(), span: linked.input.training.span };
            }
            config.parallel.ranks()
        }
        Job::Serving(_) => linked.scenario.fabric.accelerator_count() as u64,
        _ => {
            let told = Diagnostic::error(codes::UNSUPPORTED, "a job of a fleet trains, or answers a batch of requests");
            diags.push(told.at(span, "this scenario does neither").hint("name a training or a serving scenario, or give `duration`"));
            return None;
        }
    };
    if out.training.is_none() {
        // What it takes is simulated when its nodes are known.
        out.value.duration = At { value: Some(Seconds::new(1.0)), span };
    }
    out.value.accelerators = At { value: Some(given.accelerators.unwrap_or(size)), span };
    (diags.error_count() == before).then_some((out, Some(linked)))
}

/// Accelerators of one kind that lie near together: of the fleet, or of the scenario's own cluster where the fleet has no topology.
fn site(linked: &Linked, ask: &Ask, place: &Place<'_>, diags: &mut Diagnostics) -> Option<(Arc<Fabric>, Vec<AcceleratorId>)> {
    let kinds = place.cluster.kinds_of(ask.pools);
    // Regions of one part are kinds of their own, and equal here.
    let part = |pools: &u64| place.cluster.pools()[pools.trailing_zeros() as usize].part.as_str();
    let same = kinds.iter().all(|k| part(k) == part(&kinds[0]));
    let Some(&pools) = kinds.first().filter(|_| same) else {
        let message = "several kinds of accelerators could take it, and its scenario is simulated on one";
        diags.push(Diagnostic::error(codes::CONFLICT, message).at(linked.span, "this scenario").hint("name one of them in `parts`"));
        return None;
    };
    if place.fabric.node_count() == 0 {
        let own = &linked.scenario.fabric;
        let (runs, have) = (own.part(AcceleratorId(0)).id.value.clone(), &place.cluster.pools()[pools.trailing_zeros() as usize].part);
        if runs != *have {
            let message = format!("the scenario runs on {runs}, the nodes of the fleet have {have}");
            let told = Diagnostic::error(codes::CONFLICT, message).at(linked.span, "another accelerator");
            diags.push(told.hint("name other `parts`, set `part` of [[fleet.node]], or give the fleet a topology"));
            return None;
        }
        let ranks: Vec<AcceleratorId> = (0..ask.accelerators).map(AcceleratorId).collect();
        return Some((Arc::new(own.with_ranks(&ranks)), ranks));
    }
    // The caller has seen that there is room.
    let parts = find(placement(PlacementKind::Topology), place.cluster, &Ask { pools, ..*ask })?;
    let first = place.fabric.first_accelerators();
    let of = |&(node, count): &(u32, u32)| {
        let first = first[node as usize].map_or(0, |a| a.0);
        (0..count).map(move |i| AcceleratorId(first + i))
    };
    let ranks: Vec<AcceleratorId> = parts.iter().flat_map(of).collect();
    Some((Arc::new(place.fabric.with_ranks(&ranks)), ranks))
}

/// Whose profiles hold.
fn profiles<'a>(linked: &'a Linked, place: &'a Place<'_>) -> &'a Profiles {
    if place.fabric.node_count() > 0 { place.profiles } else { &linked.scenario.profiles }
}

fn tell(failure: &Failure, span: Span, diags: &mut Diagnostics) {
    let code =
        if matches!(failure, Failure::TooMuchWork { .. } | Failure::TooManyRuns { .. }) { codes::TOO_MUCH_WORK } else { codes::CONFLICT };
    diags.push(Diagnostic::error(code, failure.to_string()).at(span, "this scenario"));
}

impl Links {
    /// What a replica does at each load.
    pub(super) fn curve(&mut self, file: &ReplicaFile, ask: &Ask, place: &Place<'_>, diags: &mut Diagnostics) -> Option<Arc<Curve>> {
        let linked = &file.linked;
        let (fabric, ranks) = site(linked, ask, place, diags)?;
        if let Some(known) = self.curves.iter().find(|k| k.0 == linked.file && k.1 == ranks) {
            return Some(Arc::clone(&known.2));
        }
        let job = diags.including(linked.span, |diags| serving_job(&file.one, &fabric, diags))?;
        let replica = Replica { fabric: &fabric, profiles: profiles(linked, place), job: &job, seed: linked.scenario.seed };
        if let Some(fault) = replica.fault() {
            diags.push(fault.at(linked.span, "this scenario"));
            return None;
        }
        let work = replica.work();
        let loads = if work > MOST_WORK { Err(Failure::TooMuchWork { tasks: work * 1e6, seconds: work }) } else { replica.loads() };
        let loads = loads.map_err(|e| tell(&e, linked.span, diags)).ok()?;
        let first_token = job.goals.map(|g| g.ttft).filter(|t| t.is_finite());
        let curve = Arc::new(Curve { scenario: linked.file.clone(), accelerators: ask.accelerators, loads, first_token });
        self.synthetic |= linked.scenario.synthetic;
        self.curves.push((linked.file.clone(), ranks, Arc::clone(&curve)));
        Some(curve)
    }

    /// Seconds that a job of a scenario takes.
    pub(super) fn seconds(&mut self, linked: &Linked, ask: &Ask, place: &Place<'_>, diags: &mut Diagnostics) -> Option<f64> {
        let (fabric, ranks) = site(linked, ask, place, diags)?;
        if let Some(known) = self.times.iter().find(|k| k.0 == linked.file && k.1 == ranks) {
            return Some(known.2 * linked.steps.max(1.0));
        }
        let seconds = match (&linked.scenario.job, &linked.input.serving.value) {
            (Job::Serving(_), Some(serving)) => {
                let given = At { value: serving.clone(), span: linked.input.serving.span };
                let job = diags.including(linked.span, |diags| serving_job(&given, &fabric, diags))?;
                batch_seconds(
                    &Replica { fabric: &fabric, profiles: profiles(linked, place), job: &job, seed: linked.scenario.seed },
                    MOST_WORK,
                )
            }
            _ => execute(&linked.scenario, MOST_WORK, &|| 0.0).map(|o| o.training.map_or(0.0, |t| t.step_time_s)),
        };
        let seconds = seconds.map_err(|e| tell(&e, linked.span, diags)).ok()?;
        self.synthetic |= linked.scenario.synthetic;
        self.times.push((linked.file.clone(), ranks, seconds));
        Some(seconds * linked.steps.max(1.0))
    }

    /// Keeps what a class takes by itself.
    pub(super) fn named(&mut self, class: &str, file: &str, alone_s: f64) {
        self.classes.push(ClassScenario { class: class.to_owned(), file: file.to_owned(), alone_s });
    }
}
