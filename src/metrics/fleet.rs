//! What a fleet came to: waits and completions by class, use and fragmentation, teams, services, policies side by side.

use super::Percentiles;
use super::regions::RegionsOutcome;
use super::services::ServiceOutcome;
use crate::fleet::{Fate, Fleet, HotLink, PipelineRun, Replayed, Stay};
use crate::units::HOUR;
use schemars::JsonSchema;
use serde::Serialize;

/// A fleet under its first policy, and the others beside.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FleetOutcome {
    /// Jobs that were submitted; replicas of services are none.
    pub jobs: u64,
    /// Accelerators of all nodes.
    pub accelerators: u64,
    /// Numbers of the first policy.
    #[serde(flatten)]
    pub numbers: FleetNumbers,
    /// By class of jobs.
    pub classes: Vec<ClassOutcome>,
    /// By team.
    pub teams: Vec<TeamOutcome>,
    /// Services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceOutcome>,
    /// Regions that were lost, and how jobs and services came back, where there are several regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<RegionsOutcome>,
    /// Pipelines: jobs that wait for each other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pipelines: Vec<PipelineOutcome>,
    /// All policies, where there are several; the first one is that of the numbers above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyOutcome>,
    /// The links between nodes that jobs that train fill most, under the first policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkOutcome>,
    /// Rows of the trace that could not be read.
    pub skipped_rows: u64,
}

/// Numbers of one policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FleetNumbers {
    /// Jobs that came to their end.
    pub completed: u64,
    /// Jobs that ask for more than there ever is, or than their quota.
    pub rejected: u64,
    /// From the first submission to the last end, or to the horizon.
    pub makespan_s: f64,
    /// From submission to first start, of jobs that started.
    pub queue_s: Percentiles,
    /// From submission to end, of jobs that ended.
    pub completion_s: Percentiles,
    /// Mean of completion time over the time that the job runs, of jobs of at least ten seconds.
    pub slowdown: f64,
    /// Accelerators in use over those that were there, over time.
    pub utilization: f64,
    /// Share of the free accelerators that lie on nodes in part used, over time.
    pub fragmentation: f64,
    /// Share of the accelerator time held by jobs in which they came forward.
    pub job_goodput: f64,
    /// Stops for other jobs.
    pub preemptions: u64,
    /// Stops by what broke, was maintained or taken away.
    pub interruptions: u64,
    /// Spot nodes that were taken away.
    pub reclaims: u64,
    /// Moves to make room.
    pub migrations: u64,
}

/// Jobs of one class.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ClassOutcome {
    /// Its name.
    pub name: String,
    /// Jobs.
    pub jobs: u64,
    /// Jobs that came to their end.
    pub completed: u64,
    /// From submission to first start.
    pub queue_s: Percentiles,
    /// From submission to end.
    pub completion_s: Percentiles,
    /// Accelerators times hours that they held.
    pub accelerator_hours: f64,
    /// The scenario file that says what they do, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<ClassScenario>,
}

/// What a class of jobs takes from a scenario file.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ClassScenario {
    /// The class.
    #[serde(skip)]
    pub class: String,
    /// The file.
    pub file: String,
    /// Simulated time of one job by itself on nodes that lie near together, without saving.
    pub alone_s: f64,
}

/// Jobs of one team.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TeamOutcome {
    /// Its name.
    pub name: String,
    /// Jobs.
    pub jobs: u64,
    /// From submission to first start.
    pub queue_s: Percentiles,
    /// Accelerators times hours that its jobs held.
    pub accelerator_hours: f64,
    /// What that costs, where prices are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

/// A link between nodes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LinkOutcome {
    /// What it connects.
    pub name: String,
    /// Bytes over capacity, mean of all intervals.
    pub utilization: f64,
    /// The same in the fullest interval.
    pub peak_utilization: f64,
}

impl LinkOutcome {
    /// Of a link over time.
    #[must_use]
    pub fn of(hot: &HotLink) -> Self {
        let mean = hot.utilization.iter().sum::<f64>() / hot.utilization.len().max(1) as f64;
        Self { name: hot.name.clone(), utilization: mean, peak_utilization: hot.utilization.iter().copied().fold(0.0, f64::max) }
    }
}

/// Jobs that wait for each other, run several times.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PipelineOutcome {
    /// Its steps in words.
    pub name: String,
    /// How often it was begun.
    pub runs: u64,
    /// How often it came to its end.
    pub completed: u64,
    /// From the first submission to the last end, of those that ended.
    pub duration_s: Percentiles,
    /// Its steps, in order of their first submission.
    pub steps: Vec<StepOutcome>,
}

/// A step of a pipeline; means over the runs that ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StepOutcome {
    /// Its class of jobs.
    pub name: String,
    /// From the end of what it waits for to its first start.
    pub queue_s: f64,
    /// From its first start to its end.
    pub run_s: f64,
    /// Share of the runs in which the end waited for it.
    pub critical: f64,
}

/// One of several policies.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PolicyOutcome {
    /// Its name.
    pub name: String,
    /// Its numbers.
    #[serde(flatten)]
    pub numbers: FleetNumbers,
}

/// Values over time, in seconds.
pub type Course<const N: usize> = Vec<(f64, [f64; N])>;

/// What reports draw of a fleet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FleetDetail {
    /// Use over time by policy: seconds, then accelerators in use, free, free on nodes in part used, there, and jobs that wait.
    pub series: Vec<(String, Course<5>)>,
    /// Replicas over time by service: seconds, then requests a second, warm replicas, wanted ones, requests that wait, warm ones of the
    /// newest version.
    pub services: Vec<(String, Course<5>)>,
    /// Where jobs lay under the first policy: the first nodes and stays.
    pub stays: Vec<Stay>,
    /// Accelerators of each of these nodes, and its pool.
    pub nodes: Vec<(u8, String)>,
    /// Class of each job.
    pub class_of: Vec<u16>,
    /// Names of classes.
    pub classes: Vec<String>,
    /// Jobs of the first policy: submission, first start, end (negative: none), accelerators, class, team.
    pub jobs: Vec<JobRow>,
    /// Names of teams.
    pub teams: Vec<String>,
    /// The part of each pool's accelerators, its nodes and accelerators of a node.
    pub pools: Vec<(String, String, u64, u8)>,
    /// Links that carry most over time, under the first policy, and the seconds of an interval.
    pub heat: Vec<HotLink>,
    /// Seconds of an interval of it.
    pub heat_width: f64,
}

/// A job as a row of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JobRow {
    /// Submission, seconds.
    pub submit: f64,
    /// First start, seconds; negative: none.
    pub start: f64,
    /// End, seconds; negative: none.
    pub end: f64,
    /// Accelerators.
    pub accelerators: u32,
    /// Class.
    pub class: u16,
    /// Team.
    pub team: u16,
    /// Stops of all sorts.
    pub stops: u32,
}

/// Jobs shorter than this say nothing of slowdown (bounded slowdown; Feitelson).
const SHORT: f64 = 10.0;

/// Numbers of one replay.
#[must_use]
pub fn fleet_numbers(set: &Fleet, out: &Replayed) -> FleetNumbers {
    let fates = || set.jobs.iter().zip(&out.fates);
    let sum = |of: fn(&crate::fleet::Fate) -> u32| out.fates.iter().map(|f| u64::from(of(f))).sum::<u64>();
    let ended = || fates().filter(|(_, f)| f.end >= 0.0);
    let slow: Vec<f64> = ended().filter(|(_, f)| f.ran >= SHORT).map(|(_, f)| (f.end - f.ready) / f.ran).collect();
    let held: f64 = out.fates.iter().map(|f| f.held).sum();
    let wasted: f64 = out.fates.iter().map(|f| f.wasted.min(f.held)).sum();
    let [used, free, broken, there, _] = out.series.total;
    let share = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let first = set.jobs.first().map_or(0.0, |j| j.submit);
    FleetNumbers {
        completed: ended().count() as u64,
        rejected: out.fates.iter().filter(|f| f.rejected).count() as u64,
        makespan_s: (out.end - first).max(0.0),
        queue_s: Percentiles::of(fates().filter(|(_, f)| f.start >= 0.0).map(|(_, f)| f.start - f.ready)),
        completion_s: Percentiles::of(ended().map(|(_, f)| f.end - f.ready)),
        slowdown: if slow.is_empty() { 1.0 } else { slow.iter().sum::<f64>() / slow.len() as f64 },
        utilization: share(used, there),
        fragmentation: share(broken, free),
        job_goodput: if held > 0.0 { 1.0 - wasted / held } else { 1.0 },
        preemptions: sum(|f| f.preemptions),
        interruptions: sum(|f| f.failures),
        reclaims: out.reclaims,
        migrations: sum(|f| f.moves),
    }
}

/// Classes and teams of one replay; `rate` is dollars for an accelerator and second.
#[must_use]
pub fn fleet_groups(
    set: &Fleet,
    out: &Replayed,
    classes: &[String],
    teams: &[String],
    rate: Option<f64>,
) -> (Vec<ClassOutcome>, Vec<TeamOutcome>) {
    let gather = |count: usize, of: fn(&crate::fleet::Job) -> u16| {
        let mut waits: Vec<Vec<f64>> = vec![Vec::new(); count];
        let mut ends: Vec<Vec<f64>> = vec![Vec::new(); count];
        let mut held = vec![(0u64, 0.0f64); count];
        for (job, fate) in set.jobs.iter().zip(&out.fates) {
            let at = of(job) as usize;
            held[at].0 += 1;
            held[at].1 += fate.held;
            if fate.start >= 0.0 {
                waits[at].push(fate.start - fate.ready);
            }
            if fate.end >= 0.0 {
                ends[at].push(fate.end - fate.ready);
            }
        }
        (waits, ends, held)
    };
    let (waits, ends, held) = gather(classes.len(), |j| j.class);
    let class = waits.into_iter().zip(ends).zip(held).zip(classes).filter(|(((_, _), held), _)| held.0 > 0);
    let classes = class.map(|(((waits, ends), held), name)| ClassOutcome {
        name: name.clone(),
        jobs: held.0,
        completed: ends.len() as u64,
        queue_s: Percentiles::of(waits.into_iter()),
        completion_s: Percentiles::of(ends.into_iter()),
        accelerator_hours: held.1 / HOUR,
        scenario: None,
    });
    let classes = classes.collect();
    let (waits, _, mut held) = gather(teams.len(), |j| j.team);
    // Replicas of services come after the jobs.
    for (service, state) in set.services.iter().zip(&out.services) {
        held[service.team as usize].1 += state.replica_seconds * f64::from(service.ask.accelerators);
    }
    let team = waits.into_iter().zip(held).zip(teams).filter(|((_, held), _)| held.0 > 0 || held.1 > 0.0);
    let teams = team.map(|((waits, held), name)| TeamOutcome {
        name: name.clone(),
        jobs: held.0,
        queue_s: Percentiles::of(waits.into_iter()),
        accelerator_hours: held.1 / HOUR,
        usd: rate.map(|r| r * held.1),
    });
    (classes, teams.collect())
}

/// Pipelines of one replay; runs of the same classes are one pipeline.
#[must_use]
pub fn fleet_pipelines(set: &Fleet, out: &Replayed, classes: &[String]) -> Vec<PipelineOutcome> {
    let mut kinds: Vec<(Vec<u16>, Vec<PipelineRun>)> = Vec::new();
    for run in set.graph.runs(&set.jobs, &out.fates) {
        let mut of: Vec<u16> = run.jobs.iter().map(|j| set.jobs[*j as usize].class).collect();
        of.sort_unstable();
        of.dedup();
        match kinds.iter_mut().find(|k| k.0 == of) {
            Some(kind) => kind.1.push(run),
            None => kinds.push((of, vec![run])),
        }
    }
    kinds.into_iter().map(|(of, runs)| pipeline(set, out, classes, of, &runs)).collect()
}

fn pipeline(set: &Fleet, out: &Replayed, names: &[String], classes: Vec<u16>, runs: &[PipelineRun]) -> PipelineOutcome {
    let ended: Vec<&PipelineRun> = runs.iter().filter(|r| r.seconds >= 0.0).collect();
    let mean = |class: u16, of: &dyn Fn(&Fate) -> f64| {
        let jobs = ended.iter().flat_map(|r| &r.jobs).filter(|j| set.jobs[**j as usize].class == class);
        let values: Vec<f64> = jobs.map(|j| of(&out.fates[*j as usize])).collect();
        values.iter().sum::<f64>() / values.len().max(1) as f64
    };
    let share = |class: u16| {
        let on = ended.iter().filter(|r| r.critical.iter().any(|j| set.jobs[*j as usize].class == class)).count();
        on as f64 / ended.len().max(1) as f64
    };
    // Steps in the order in which they came in the first run.
    let first = |class: &u16| {
        let of = runs.iter().flat_map(|r| &r.jobs).filter(|j| set.jobs[**j as usize].class == *class);
        of.map(|j| out.fates[*j as usize].ready).find(|t| *t >= 0.0).unwrap_or(f64::INFINITY)
    };
    let mut order = classes;
    order.sort_by(|a, b| first(a).total_cmp(&first(b)).then(a.cmp(b)));
    let name = |class: u16| names.get(class as usize).cloned().unwrap_or_default();
    PipelineOutcome {
        name: order.iter().map(|c| name(*c)).collect::<Vec<_>>().join(", "),
        runs: runs.len() as u64,
        completed: ended.len() as u64,
        duration_s: Percentiles::of(ended.iter().map(|r| r.seconds)),
        steps: order
            .iter()
            .map(|&class| StepOutcome {
                name: name(class),
                queue_s: mean(class, &|f| f.start - f.ready),
                run_s: mean(class, &|f| f.end - f.start),
                critical: share(class),
            })
            .collect(),
    }
}
