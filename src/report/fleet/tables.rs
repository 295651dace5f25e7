//! A fleet as CSV: policies, jobs, use over time.

use crate::metrics::{Outcome, PolicyOutcome};
use crate::report::csv::rows as csv_rows;

/// Policies as CSV.
#[must_use]
pub fn policies_csv(outcome: &Outcome) -> Option<String> {
    let f = outcome.fleet.as_ref()?;
    let header = [
        "policy",
        "completed",
        "rejected",
        "makespan_s",
        "queue_mean_s",
        "queue_p50_s",
        "queue_p90_s",
        "queue_p99_s",
        "completion_mean_s",
        "completion_p50_s",
        "completion_p90_s",
        "completion_p99_s",
        "slowdown",
        "utilization",
        "fragmentation",
        "job_goodput",
        "preemptions",
        "interruptions",
        "migrations",
        "reclaims",
    ];
    let own = outcome.detail.fleet.as_ref().and_then(|d| d.series.first()).map_or_else(String::new, |s| s.0.clone());
    let one = PolicyOutcome { name: own, numbers: f.numbers.clone() };
    let list = if f.policies.is_empty() { std::slice::from_ref(&one) } else { &f.policies };
    let line = |p: &PolicyOutcome| {
        let n = &p.numbers;
        let (q, c) = (&n.queue_s, &n.completion_s);
        let mut out = vec![p.name.clone(), n.completed.to_string(), n.rejected.to_string()];
        let values = [
            n.makespan_s,
            q.mean,
            q.p50,
            q.p90,
            q.p99,
            c.mean,
            c.p50,
            c.p90,
            c.p99,
            n.slowdown,
            n.utilization,
            n.fragmentation,
            n.job_goodput,
        ];
        out.extend(values.iter().map(f64::to_string));
        out.extend([n.preemptions, n.interruptions, n.migrations, n.reclaims].iter().map(u64::to_string));
        out
    };
    Some(csv_rows(&header, list.iter().map(line)))
}

/// Jobs under the first policy as CSV.
#[must_use]
pub fn jobs_csv(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.fleet.as_ref()?;
    let known = |t: f64| if t >= 0.0 { t.to_string() } else { String::new() };
    let name = |list: &[String], at: u16| list.get(at as usize).cloned().unwrap_or_default();
    let line = |j: &crate::metrics::JobRow| {
        vec![
            j.submit.to_string(),
            known(j.start),
            known(j.end),
            j.accelerators.to_string(),
            name(&detail.classes, j.class),
            name(&detail.teams, j.team),
            j.stops.to_string(),
        ]
    };
    Some(csv_rows(&["submit_s", "start_s", "end_s", "accelerators", "class", "team", "stops"], detail.jobs.iter().map(line)))
}

/// Use over time as CSV.
#[must_use]
pub fn use_csv(outcome: &Outcome) -> Option<String> {
    let detail = outcome.detail.fleet.as_ref()?;
    let header = ["policy", "time_s", "accelerators_in_use", "free", "free_on_nodes_in_part_used", "there", "jobs_waiting"];
    let lines = detail.series.iter().flat_map(|(name, points)| {
        points.iter().map(move |(t, v)| [vec![name.clone(), t.to_string()], v.iter().map(f64::to_string).collect()].concat())
    });
    Some(csv_rows(&header, lines))
}
