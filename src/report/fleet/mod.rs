//! Fleets in reports: what is told of policies and classes, and the words for it; as text, as a page with pictures, as CSV.

mod page;
mod pictures;
mod tables;
mod text;

pub(super) use page::markup;
pub(super) use pictures::picture;
pub use tables::{jobs_csv, policies_csv, use_csv};
pub(super) use text::text;

use super::text::{grouped, percent};
use crate::metrics::{ClassOutcome, FleetNumbers, Percentiles, PolicyOutcome};
use crate::units::{Seconds, three};

/// Seconds in words.
pub(super) fn time(seconds: f64) -> String {
    Seconds::new(seconds).to_string()
}

/// What is told of a policy, with its name.
fn columns(n: &FleetNumbers) -> [(&'static str, String); 14] {
    [
        ("completed", grouped(n.completed as f64)),
        ("queue mean", time(n.queue_s.mean)),
        ("queue p50", time(n.queue_s.p50)),
        ("queue p99", time(n.queue_s.p99)),
        ("completion mean", time(n.completion_s.mean)),
        ("completion p99", time(n.completion_s.p99)),
        ("slowdown", three(n.slowdown)),
        ("makespan", time(n.makespan_s)),
        ("utilisation", percent(n.utilization)),
        ("fragmentation", percent(n.fragmentation)),
        ("goodput", percent(n.job_goodput)),
        ("preemptions", grouped(n.preemptions as f64)),
        ("migrations", grouped(n.migrations as f64)),
        ("spot nodes taken away", grouped(n.reclaims as f64)),
    ]
}

/// Mean, median, 90th and 99th percentile in words.
pub(super) fn spread(p: &Percentiles) -> [String; 4] {
    [p.mean, p.p50, p.p90, p.p99].map(time)
}

/// What the scenario file of a class says, in words.
fn linked(class: &ClassOutcome) -> Option<String> {
    let s = class.scenario.as_ref()?;
    Some(format!("Class {}: {} takes {} by itself", class.name, s.file, time(s.alone_s)))
}

/// Rows of what is told of policies: spot nodes only where there are any.
fn shown(list: &[PolicyOutcome]) -> std::ops::Range<usize> {
    let all = columns(&list[0].numbers).len();
    0..if list.iter().any(|p| p.numbers.reclaims > 0) { all } else { all - 1 }
}
