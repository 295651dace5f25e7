//! A checked fleet to its outcome: every policy by itself, side by side on the threads there are, gathered in order.

use crate::economics::CostPlan;
use crate::engine::Streams;
use crate::fleet::{
    BackfillKind, Cluster, Fleet, Graph, Heat, Job, JobClass, Keep, Model, Models, NoSteps, Outages, Policy, Replayed, Service, Team,
    Weights, draw_all, replay,
};
use crate::metrics::{
    ClassScenario, CostOutcome, Detail, Fact, FleetDetail, FleetOutcome, JobRow, LinkOutcome, Outcome, PolicyOutcome, SimulationOutcome,
    fleet_groups, fleet_numbers, fleet_pipelines, fleet_regions, fleet_services,
};
use crate::scenario::execute::{Failure, empty};
use crate::scenario::load::Scenario;
use crate::units::{DAY, HOUR, KWH, Seconds};
use rayon::prelude::*;

/// A fleet that fits together.
#[derive(Debug, Clone)]
pub struct FleetJob {
    /// The cluster.
    pub cluster: Cluster,
    /// Jobs of the trace.
    pub traced: Vec<Job>,
    /// Rows of the trace that were left out.
    pub skipped: u64,
    /// Classes of drawn jobs.
    pub classes: Vec<JobClass>,
    /// What jobs with steps train.
    pub models: Vec<Model>,
    /// Services.
    pub services: Vec<Service>,
    /// Where the weights of each lie, as far as that is said.
    pub weights: Vec<Option<Weights>>,
    /// Failures and maintenance.
    pub outages: Outages,
    /// Teams with their rules.
    pub teams: Vec<Team>,
    /// Their names.
    pub team_names: Vec<String>,
    /// Names of classes.
    pub class_names: Vec<String>,
    /// Policies; the first one's numbers are the scenario's.
    pub policies: Vec<Policy>,
    /// Seconds after which it stops.
    pub horizon: Option<f64>,
    /// The trace, as it was named.
    pub trace: Option<String>,
    /// Names of regions, where there are several.
    pub region_names: Vec<String>,
    /// Classes whose jobs come from a scenario file.
    pub scenarios: Vec<ClassScenario>,
    /// Whether a value of such a file comes from a stand-in and not from a machine.
    pub synthetic: bool,
}

/// Seconds that a job takes to simulate under one policy, about (2 cores of 2024), and bytes that it takes.
const SECONDS_PER_JOB: f64 = 4e-6;

/// Stays that are kept for the picture of nodes, and nodes and jobs that are shown.
const STAYS: usize = 200_000;
const SHOWN_NODES: usize = 48;
const SHOWN_JOBS: usize = 200_000;
/// Links of the heat map, and those that are named in the outcome.
const SHOWN_LINKS: usize = 40;
const NAMED_LINKS: usize = 5;

impl FleetJob {
    fn count(&self) -> f64 {
        self.traced.len() as f64 + self.classes.iter().map(|c| c.count as f64).sum::<f64>()
    }

    /// All jobs by submission, the first at time zero where none is drawn before.
    fn jobs(&self, seed: u64) -> (Vec<Job>, Graph) {
        draw_all(&self.traced, &self.classes, &Streams::new(seed))
    }
}

/// Runs a fleet under all of its policies.
pub(in crate::scenario) fn run(scenario: &Scenario, job: &FleetJob, max_work: f64) -> Result<Outcome, Failure> {
    let looks: f64 = job.services.iter().map(|s| job.horizon.unwrap_or(0.0) / s.interval).sum();
    let reclaims = job.outages.spot.iter().map(|s| s.nodes.len() as f64 / s.interval);
    let failures = job.outages.classes.iter().map(|c| c.rate).chain(reclaims).sum::<f64>() * job.horizon.unwrap_or(30.0 * DAY);
    let tasks = (job.count() + looks + failures) * job.policies.len() as f64;
    let seconds = tasks * SECONDS_PER_JOB;
    if seconds > max_work {
        return Err(Failure::TooMuchWork { tasks, seconds });
    }
    let (jobs, graph) = job.jobs(scenario.seed);
    let set = Fleet {
        cluster: job.cluster.clone(),
        jobs,
        graph,
        teams: job.teams.clone(),
        outages: job.outages.clone(),
        services: job.services.clone(),
        steps: job.models.iter().map(|m| m.step).collect(),
        horizon: job.horizon,
        seed: scenario.seed,
    };
    let one = |(i, policy): (usize, &Policy)| -> Result<(Replayed, Heat), Failure> {
        let keep = if i == 0 { Keep { nodes: SHOWN_NODES as u32, most: STAYS } } else { Keep::NONE };
        if job.models.is_empty() && job.weights.iter().all(Option::is_none) {
            return Ok((replay(&set, policy, &mut NoSteps, keep), Heat::default()));
        }
        let mut models = Models::new(&scenario.fabric, &scenario.profiles, &job.models, set.cluster.nodes(), &job.weights);
        let out = replay(&set, policy, &mut models, keep);
        models.failed.map_or(Ok((out, models.heat)), |e| Err(Failure::Step(e)))
    };
    let results: Vec<Result<(Replayed, Heat), Failure>> = job.policies.par_iter().enumerate().map(one).collect();
    let (results, heats): (Vec<Replayed>, Vec<Heat>) = results.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    Ok(outcome(scenario, job, &set, results, &heats[0]))
}

fn outcome(scenario: &Scenario, job: &FleetJob, set: &Fleet, results: Vec<Replayed>, heat: &Heat) -> Outcome {
    let first = &results[0];
    let hot = heat.hottest(&scenario.fabric, first.end, SHOWN_LINKS);
    let cost = price(job, first, &scenario.cost);
    // Dollars of an accelerator and second, for the bills of teams: the mean over pools by what was there.
    let there: f64 = job.cluster.pools().iter().zip(&first.node_seconds).map(|(p, s)| f64::from(p.accelerators) * s).sum();
    let rate = cost.as_ref().filter(|_| there > 0.0).map(|c| c.usd_total / there);
    let (mut classes, teams) = fleet_groups(set, first, &job.class_names, &job.team_names, rate);
    for class in &mut classes {
        class.scenario = job.scenarios.iter().find(|s| s.class == class.name).cloned();
    }
    let numbers: Vec<_> = results.iter().map(|r| fleet_numbers(set, r)).collect();
    let policies = job.policies.iter().zip(&numbers).map(|(p, n)| PolicyOutcome { name: p.name.clone(), numbers: n.clone() });
    let accelerators: u64 = job.cluster.nodes().iter().map(|n| u64::from(job.cluster.pools()[n.pool as usize].accelerators)).sum();
    let events = results.iter().map(|r| r.events).sum();
    Outcome {
        fleet: Some(FleetOutcome {
            jobs: set.jobs.len() as u64,
            accelerators,
            numbers: numbers[0].clone(),
            classes,
            teams,
            services: fleet_services(set, first),
            regions: fleet_regions(set, first, &job.region_names, &job.class_names),
            pipelines: fleet_pipelines(set, first, &job.class_names),
            policies: if results.len() > 1 { policies.collect() } else { Vec::new() },
            links: hot.iter().take(NAMED_LINKS).map(LinkOutcome::of).collect(),
            skipped_rows: job.skipped,
        }),
        cost,
        simulation: SimulationOutcome { events, wall_s: 0.0 },
        detail: Detail {
            facts: facts(scenario, job, accelerators),
            fleet: Some(FleetDetail { heat: hot, heat_width: heat.width(), ..detail(job, set, &results) }),
            ..Detail::default()
        },
        ..empty(scenario, "fleet")
    }
}

fn facts(scenario: &Scenario, job: &FleetJob, accelerators: u64) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    let nodes = |p: usize| job.cluster.nodes().iter().filter(|n| n.pool as usize == p).count();
    let place = |p: &crate::fleet::Pool| job.region_names.get(p.region as usize).map_or_else(String::new, |r| format!(" in {r}"));
    let pools: Vec<String> =
        job.cluster.pools().iter().enumerate().map(|(i, p)| format!("{} × {}{}", nodes(i), p.name, place(p))).collect();
    let shown = if pools.len() > 4 { format!("{} and {} more kinds", pools[..3].join(", "), pools.len() - 3) } else { pools.join(", ") };
    let mut out = vec![fact("Nodes", format!("{shown}; {accelerators} accelerators"))];
    if scenario.fabric.node_count() > 0 {
        out.push(fact("Cluster", scenario.fabric.title().to_owned()));
    }
    if let Some(trace) = &job.trace {
        let name = std::path::Path::new(trace).file_name().map_or_else(|| trace.clone(), |n| n.to_string_lossy().into_owned());
        let left = if job.skipped > 0 { format!(", {} rows left out", job.skipped) } else { String::new() };
        out.push(fact("Trace", format!("{name}, {} jobs{left}", job.traced.len())));
    }
    if !job.classes.is_empty() {
        let names: Vec<String> = job.classes.iter().map(|c| format!("{} × {}", c.count, c.name)).collect();
        out.push(fact("Jobs", names.join(", ")));
    }
    let policy = &job.policies[0];
    let more: Vec<&str> = [
        (policy.preempt, "preempts"),
        (policy.reclaim, "reclaims quotas"),
        (policy.migrate.is_some(), "migrates"),
        (policy.grow, "grows jobs"),
    ]
    .into_iter()
    .filter(|m| m.0)
    .map(|m| m.1)
    .collect();
    let more = if more.is_empty() { String::new() } else { format!("; {}", more.join(", ")) };
    let backfill = if policy.backfill == BackfillKind::None { "no".to_owned() } else { policy.backfill.to_string() };
    let words = format!("{} order, {backfill} backfill, {} placement{more}", policy.order, policy.placement);
    out.push(fact("Policy", if policy.name.contains(',') { words } else { format!("{}: {words}", policy.name) }));
    if let Some(horizon) = job.horizon {
        out.push(fact("Horizon", Seconds::new(horizon).to_string()));
    }
    out
}

/// What the nodes cost while they were there; none where a price or a power is not known.
fn price(job: &FleetJob, out: &Replayed, plan: &CostPlan) -> Option<CostOutcome> {
    let pools = job.cluster.pools();
    let (mut parts, mut joules) = (Vec::new(), 0.0);
    let (mut swing, mut size) = (0.0, 0.0);
    for (pool, &seconds) in pools.iter().zip(&out.node_seconds) {
        let units = f64::from(pool.accelerators.max(1));
        if pool.power[1] <= 0.0 {
            return None;
        }
        parts.push((format!("nodes {}", pool.name), pool.price? * units * seconds));
        joules += pool.power[0] * seconds;
        swing += (pool.power[1] - pool.power[0]) * seconds;
        size += units * seconds;
    }
    let busy = if size > 0.0 { (out.series.total[0] / size).min(1.0) } else { 0.0 };
    joules = (joules + swing * busy) * plan.pue;
    let seconds = out.end.max(f64::MIN_POSITIVE);
    let total: f64 = parts.iter().map(|p| p.1).sum();
    (joules > 0.0).then(|| CostOutcome {
        usd_total: total,
        usd_per_hour: total / seconds * HOUR,
        usd_per_million_tokens: 0.0,
        energy_kwh: joules / KWH,
        carbon_kg: joules * plan.carbon,
        parts_usd: parts,
        average_power_w: joules / seconds,
        sources: vec!["prices of the pools or of the catalogue, while nodes are there".into()],
    })
}

fn detail(job: &FleetJob, set: &Fleet, results: &[Replayed]) -> FleetDetail {
    let first = &results[0];
    let nodes = set.cluster.nodes().len().min(SHOWN_NODES);
    let row = |(j, f): (&Job, &crate::fleet::Fate)| JobRow {
        submit: f.ready,
        start: f.start,
        end: f.end,
        accelerators: j.ask.accelerators,
        class: j.class,
        team: j.team,
        stops: f.preemptions + f.failures + f.moves,
    };
    let pools = job.cluster.pools().iter().enumerate().map(|(i, p)| {
        let count = set.cluster.nodes().iter().filter(|n| n.pool as usize == i).count() as u64;
        (p.name.clone(), p.part.clone(), count, p.accelerators)
    });
    FleetDetail {
        series: job.policies.iter().zip(results).map(|(p, r)| (p.name.clone(), r.series.points().collect())).collect(),
        services: set.services.iter().zip(&first.services).map(|(s, r)| (s.name.clone(), r.series.points().collect())).collect(),
        stays: first.stays.clone(),
        nodes: (0..nodes as u32).map(|n| (set.cluster.pool(n).accelerators, set.cluster.pool(n).name.clone())).collect(),
        class_of: set.jobs.iter().map(|j| j.class).chain(first.replica_classes.iter().copied()).collect(),
        classes: job.class_names.clone(),
        jobs: set.jobs.iter().zip(&first.fates).take(SHOWN_JOBS).map(row).collect(),
        teams: job.team_names.clone(),
        pools: pools.collect(),
        ..FleetDetail::default()
    }
}
