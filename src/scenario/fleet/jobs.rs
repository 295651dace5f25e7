//! Jobs of a fleet that are drawn: classes, what they train, who waits for whom.

use super::check::{Names, conflict};
use super::input::{ArrivalKind, Durations, JobInput};
use super::link::{self, Links};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fabric::{AcceleratorId, Fabric};
use crate::fleet::{Ask, Cluster, Copying, Elastic, Job, JobClass, Lengths, Model, Work, find, placement};
use crate::kernels::Profiles;
use crate::scenario::load::head;
use crate::scenario::training::training_job;
use crate::training::{Member, step_alone};
use crate::units::Seconds;

/// Jobs, drawn ones included, at most.
pub(super) const MOST_JOBS: u64 = 50_000_000;

/// What jobs of all kinds share.
pub(super) struct Place<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) fabric: &'a Fabric,
    pub(super) profiles: &'a Profiles,
    /// Seconds from a restart until a job works, where it does not say.
    pub(super) restart: f64,
}

pub(super) fn pools_with(cluster: &Cluster, wanted: impl Fn(usize) -> bool) -> u64 {
    (0..cluster.pools().len()).filter(|&p| wanted(p)).map(|p| 1 << p).sum()
}

/// Pools by their names; all where none is named.
pub(super) fn pools_named(names: &At<Vec<At<String>>>, cluster: &Cluster, diags: &mut Diagnostics) -> u64 {
    let none = At { value: Vec::new(), span: names.span };
    pools_of(&none, names, false, cluster, diags)
}

/// The pools that a job may use, from the names of parts and pools.
pub(super) fn pools_of(
    parts: &At<Vec<At<String>>>,
    pools: &At<Vec<At<String>>>,
    accelerators: bool,
    cluster: &Cluster,
    diags: &mut Diagnostics,
) -> u64 {
    let mut mask = |given: &[At<String>], what: &str, of: fn(&crate::fleet::Pool) -> &str| -> u64 {
        let mut out = 0;
        for name in given {
            let found = pools_with(cluster, |p| of(&cluster.pools()[p]) == name.value);
            if found == 0 {
                let have: Vec<&str> = cluster.pools().iter().map(of).filter(|n| !n.is_empty()).collect();
                let told = Diagnostic::error(codes::UNKNOWN_PART, format!("the fleet has no {what} `{}`", **name)).at(name.span, "unknown");
                let near = nearest(name, have.iter().copied()).map(|n| format!("did you mean \"{n}\"?"));
                diags.push(told.hint(near.unwrap_or_else(|| format!("there are {}", have.join(", ")))));
            }
            out |= found;
        }
        out
    };
    let all = pools_with(cluster, |p| !accelerators || cluster.pools()[p].accelerators > 0);
    let by_part = if parts.is_empty() { all } else { mask(parts, "accelerator", |p| &p.part) };
    let by_pool = if pools.is_empty() { all } else { mask(pools, "pool", |p| &p.name) };
    by_part & by_pool & all
}

/// A class of drawn jobs; models of classes that train are added to `models`.
pub(super) fn drawn(
    given: &At<JobInput>,
    place: &Place<'_>,
    names: &mut Names,
    models: &mut Vec<Model>,
    links: &mut Links,
    diags: &mut Diagnostics,
) -> Option<JobClass> {
    let before = diags.error_count();
    let at = head(given.span, diags);
    let (given, file) = &link::job(given, place, diags)?;
    let several = place.cluster.pools().iter().any(|p| p.region > 0);
    fits_together(given, at, several, diags);
    let sizes = sizes(given);
    let largest = sizes.iter().map(|s| s.0).max().unwrap_or(1);
    let ask = ask_of(given, largest, place.cluster, diags);
    if diags.error_count() > before {
        return None;
    }
    find_room(&ask, &sizes, at, place.cluster, diags)?;
    let work = match &given.training.value {
        None => Work::Time(0.0),
        Some(_) => Work::Steps { model: model(given, &ask, place, models, diags)?, steps: 0.0 },
    };
    let mut mean = given.duration.map(Seconds::get).or(given.steps.map(|s| s as f64)).unwrap_or(0.0);
    if let Some(file) = file {
        let step = if let Work::Steps { model, .. } = work { Some(models[model as usize].step) } else { None };
        let alone = match step {
            Some(step) => step * mean,
            None => links.seconds(file, &ask, place, diags)?,
        };
        mean = if step.is_none() { alone } else { mean };
        links.named(&given.name, &file.file, alone);
    }
    let team = names.team(given.team.value.as_deref().unwrap_or(""));
    let like = like(given, ask, work, place.restart, (names.class(&given.name), team));
    Some(JobClass {
        name: given.name.value.clone(),
        count: *given.count,
        after: Vec::new(),
        from: given.from.get(),
        gap: given.every.map_or(0.0, Seconds::get),
        random: given.arrivals.unwrap_or(ArrivalKind::Poisson) == ArrivalKind::Poisson,
        mean,
        lengths: lengths(given),
        sizes,
        like,
    })
}

/// Accelerators of a class's jobs, with their shares.
fn sizes(given: &JobInput) -> Vec<(u32, f64)> {
    if given.sizes.is_empty() {
        vec![(given.accelerators.unwrap_or(1).min(1 << 24) as u32, 1.0)]
    } else {
        let share = |i: usize| given.shares.get(i).map_or(1.0, |s| **s);
        given.sizes.iter().enumerate().map(|(i, s)| ((**s).min(1 << 24) as u32, share(i))).collect()
    }
}

/// What the largest jobs of a class ask for.
fn ask_of(given: &JobInput, accelerators: u32, cluster: &Cluster, diags: &mut Diagnostics) -> Ask {
    Ask {
        pools: pools_of(&given.parts, &given.pools, accelerators > 0, cluster, diags),
        accelerators,
        share: given.share.map_or(1000, |s| (s * 1000.0).round() as u16),
        chunk: given.worker.unwrap_or(1).min(64) as u32,
        cpus: given.cpus.unwrap_or(0.0),
        memory: given.memory.map_or(0.0, |b| b.get()),
        within: *given.within,
    }
}

/// Whether jobs of every size find room on the empty fleet; reports the first that do not.
fn find_room(ask: &Ask, sizes: &[(u32, f64)], at: Span, cluster: &Cluster, diags: &mut Diagnostics) -> Option<()> {
    for &(size, _) in sizes {
        if find(placement(crate::fleet::PlacementKind::Pack), cluster, &Ask { accelerators: size, ..*ask }).is_none() {
            let message = format!("jobs of {size} accelerators never find room on this fleet, however empty");
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(at, "this class").hint("ask for less, or for less nearness"));
            return None;
        }
    }
    Some(())
}

/// How the lengths of a class's jobs spread.
fn lengths(given: &JobInput) -> Lengths {
    match given.durations.unwrap_or(Durations::Fixed) {
        Durations::Fixed => Lengths::Fixed,
        Durations::Exponential => Lengths::Exponential,
        Durations::Lognormal => Lengths::Lognormal(given.sigma.unwrap_or(1.0)),
    }
}

/// A job like all of a class; of which class and team.
fn like(given: &JobInput, ask: Ask, work: Work, restart: f64, (class, team): (u16, u16)) -> Job {
    Job {
        submit: 0.0,
        ask,
        work,
        class,
        team,
        priority: (*given.priority).min(1_000_000) as i32,
        spot: *given.spot,
        preemptible: *given.preemptible,
        checkpoint: given.checkpoint.map_or(0.0, Seconds::get),
        checkpoint_cost: given.checkpoint_cost.map_or(0.0, Seconds::get),
        copies: given
            .copy_every
            .map(|every| Copying { every: every.min(1 << 20) as u32, takes: given.copy_time.map_or(0.0, Seconds::get) }),
        restart: given.restart.map_or(restart, Seconds::get),
        elastic: given.most.map(|most| Elastic { most: most.min(1 << 24) as u32, serial: given.serial.unwrap_or(0.0) }),
    }
}

/// The model of a class that trains: its layout fits the accelerators, and a step of it can be simulated on each kind that it may use.
fn model(given: &JobInput, ask: &Ask, place: &Place<'_>, models: &mut Vec<Model>, diags: &mut Diagnostics) -> Option<u16> {
    let input = given.training.value.as_ref()?;
    let first = place.fabric.first_accelerators();
    let mut config = None;
    for pools in place.cluster.kinds_of(ask.pools) {
        let on = Ask { pools, ..*ask };
        let Some(parts) = find(placement(crate::fleet::PlacementKind::Topology), place.cluster, &on) else { continue };
        let ranks = |&(node, count): &(u32, u32)| {
            let first = first[node as usize].map_or(0, |a| a.0);
            (0..count).map(move |i| AcceleratorId(first + i))
        };
        let view = place.fabric.with_ranks(&parts.iter().flat_map(ranks).collect::<Vec<_>>());
        let (found, band) = training_job(input, &view, diags)?;
        if band {
            let told =
                Diagnostic::error(codes::MISSING_KEY, "a job of a fleet with experts needs `expert_stack`").at(given.training.span, "here");
            diags.push(told);
            return None;
        }
        match step_alone(Member { config: &found, fabric: &view }, place.profiles) {
            Ok((step, _)) => config = config.or(Some(Model { config: found, step })),
            Err(error) => {
                diags.push(Diagnostic::error(codes::CONFLICT, error.to_string()).at(head(given.training.span, diags), "this job"));
                return None;
            }
        }
    }
    models.push(config?);
    Some(models.len() as u16 - 1)
}

/// Keys of a class of jobs that do nothing together.
fn fits_together(given: &JobInput, at: Span, several: bool, diags: &mut Diagnostics) {
    let trains = given.training.is_some();
    let cores_only = *given.accelerators == Some(0);
    match (trains, given.duration.is_some()) {
        (true, true) => conflict(given.duration.span, "`duration` does nothing for a job that trains", "say how many `steps`", diags),
        (true, false) if given.steps.is_none() => {
            diags.push(Diagnostic::error(codes::MISSING_KEY, "a job that trains needs `steps`").at(at, "this class"));
        }
        (false, false) => {
            let told = Diagnostic::error(codes::MISSING_KEY, "a class of jobs needs `duration`, or `training` and `steps`");
            diags.push(told.at(at, "this class"));
        }
        _ => {}
    }
    for (bad, span, message) in idle_keys(given, several) {
        if bad {
            conflict(span, message, "leave it out", diags);
        }
    }
    if cores_only && given.cpus.is_none() {
        diags.push(Diagnostic::error(codes::MISSING_KEY, "a job without accelerators needs `cpus`").at(at, "this class"));
    }
    amounts(given, diags);
}

/// Keys of a class that do nothing beside what else it says, or contradict it.
fn idle_keys(given: &JobInput, several: bool) -> Vec<(bool, Span, &'static str)> {
    let trains = given.training.is_some();
    let cores_only = *given.accelerators == Some(0);
    let lognormal = *given.durations == Some(Durations::Lognormal);
    vec![
        (given.steps.is_some() && !trains, given.steps.span, "`steps` does nothing without `training`"),
        (given.arrivals.is_some() && given.every.is_none(), given.arrivals.span, "`arrivals` does nothing without `every`"),
        (given.sigma.is_some() && !lognormal, given.sigma.span, "`sigma` does nothing unless durations = \"lognormal\""),
        (!given.shares.is_empty() && given.sizes.is_empty(), given.shares.span, "`shares` does nothing without `sizes`"),
        (given.accelerators.is_some() && !given.sizes.is_empty(), given.accelerators.span, "`accelerators` does nothing beside `sizes`"),
        (trains && !given.sizes.is_empty(), given.sizes.span, "`sizes` does nothing for a job that trains: its layout has one size"),
        (trains && cores_only, given.accelerators.span, "a job that trains needs accelerators"),
        (given.share.is_some() && *given.accelerators != Some(1), given.share.span, "`share` needs accelerators = 1"),
        (given.worker.is_some() && cores_only, given.worker.span, "`worker` does nothing without accelerators"),
        (given.serial.is_some() && given.most.is_none(), given.serial.span, "`serial` does nothing without `most`"),
        (given.most.is_some() && trains, given.most.span, "jobs that train do not grow: their layout has one size"),
        (given.most.is_some() && (cores_only || !given.sizes.is_empty()), given.most.span, "`most` needs one size of `accelerators`"),
        (
            given.checkpoint_cost.is_some() && given.checkpoint.is_none(),
            given.checkpoint_cost.span,
            "`checkpoint_cost` does nothing without `checkpoint`",
        ),
        (
            given.copy_every.is_some() && (given.checkpoint.is_none() || !several),
            given.copy_every.span,
            "`copy_every` does nothing without `checkpoint` and several regions ([[fleet.region]])",
        ),
        (given.copy_time.is_some() && given.copy_every.is_none(), given.copy_time.span, "`copy_time` does nothing without `copy_every`"),
        (*given.spot && !*given.preemptible, given.preemptible.span, "a spot job can be stopped"),
        (
            *given.within != crate::fleet::Within::Any && cores_only,
            given.within.span,
            "`within` does nothing without accelerators: the job is on one node",
        ),
    ]
}

/// Numbers of a class that are out of range or do not divide.
fn amounts(given: &JobInput, diags: &mut Diagnostics) {
    if !given.shares.is_empty() && given.shares.len() != given.sizes.len() {
        let message = format!("{} sizes have {} shares", given.sizes.len(), given.shares.len());
        diags.push(Diagnostic::error(codes::CONFLICT, message).at(given.shares.span, "as many as sizes"));
    }
    if given.share.is_some_and(|s| (s * 1000.0).round() < 1.0) {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "less than a thousandth of an accelerator").at(given.share.span, "out of range"));
    }
    let worker = given.worker.unwrap_or(1);
    let sizes = given.sizes.iter().map(|s| **s).chain(*given.accelerators);
    if worker > 64 || sizes.into_iter().any(|s| !s.is_multiple_of(worker)) {
        let message = format!("workers of {worker} do not divide the accelerators, or are larger than a node");
        diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(given.worker.span, "does not divide"));
    }
    if given.most.is_some_and(|m| given.accelerators.is_some_and(|a| m <= a)) {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "`most` is no more than `accelerators`").at(given.most.span, "out of range"));
    }
    if let (Some(every), Some(takes), Some(between)) = (*given.copy_every, *given.copy_time, *given.checkpoint)
        && takes.get() > every as f64 * between.get()
    {
        let message = "a copy takes longer than the next one is away: they would pile up";
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(given.copy_time.span, "out of range").hint("copy fewer checkpoints"));
    }
    if given.sigma.is_some_and(|s| s > 5.0) {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "a sigma above 5 is absurd").at(given.sigma.span, "out of range"));
    }
}

/// The class of drawn jobs of a name.
pub(super) fn class_named(name: &At<String>, jobs: &[At<JobInput>], diags: &mut Diagnostics) -> Option<usize> {
    let mut found = (0..jobs.len()).filter(|&i| jobs[i].name.value == name.value);
    let (first, second) = (found.next(), found.next());
    if first.is_some() && second.is_none() {
        return first;
    }
    let what = if second.is_some() { "several classes of jobs are" } else { "no class of jobs is" };
    let mut told = Diagnostic::error(codes::UNKNOWN_PART, format!("{what} named `{}`", **name)).at(name.span, "which?");
    if let Some(near) = nearest(name, jobs.iter().map(|j| j.name.value.as_str())).filter(|_| second.is_none()) {
        told = told.hint(format!("did you mean \"{near}\"?"));
    }
    diags.push(told);
    None
}

/// Which classes each class waits for: named, as many jobs each, and no circle.
pub(super) fn waits(jobs: &[At<JobInput>], diags: &mut Diagnostics) -> Option<Vec<Vec<usize>>> {
    let before = diags.error_count();
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); jobs.len()];
    for (i, job) in jobs.iter().enumerate() {
        for name in job.after.iter() {
            let Some(at) = class_named(name, jobs, diags) else { continue };
            if *jobs[at].count != *job.count {
                let message = format!("{} jobs wait for {} of `{}`", *job.count, *jobs[at].count, **name);
                let told = Diagnostic::error(codes::CONFLICT, message).at(name.span, "as many of both");
                diags.push(told.at(job.count.span, "this class"));
            }
            out[i].push(at);
        }
        let rules = [(job.every.is_some(), job.every.span, "every"), (job.from.get() > 0.0, job.from.span, "from")];
        for (_, span, key) in rules.into_iter().filter(|r| r.0 && !job.after.is_empty()) {
            conflict(span, &format!("`{key}` does nothing for jobs that come after others"), "leave it out", diags);
        }
    }
    // Classes whose predecessors are all done, until none is left: what is left is a circle.
    let mut done = vec![false; jobs.len()];
    while let Some(i) = (0..jobs.len()).find(|&i| !done[i] && out[i].iter().all(|&b| done[b])) {
        done[i] = true;
    }
    if let Some(i) = done.iter().position(|d| !d) {
        let message = format!("jobs of `{}` wait for each other in a circle", *jobs[i].name);
        diags.push(Diagnostic::error(codes::CONFLICT, message).at(jobs[i].after.span, "never starts"));
    }
    (diags.error_count() == before).then_some(out)
}
