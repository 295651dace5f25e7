//! Jobs of a trace: its rows as jobs of a fleet.

use super::check::{Names, conflict, trace_source};
use super::input::FleetInput;
use super::jobs::{Place, pools_with};
use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, codes};
use crate::fleet::{Ask, BadRow, Job, TraceJob, TraceRead, Work, format_of, read_trace};
use crate::units::Seconds;

/// Bad rows that are told one by one.
const MOST_ROWS: usize = 50;

/// Reports rows that cannot be read.
pub(super) fn tell_bad(what: &str, source: SourceId, span: Span, bad: &[BadRow], diags: &mut Diagnostics) {
    for row in bad.iter().take(MOST_ROWS) {
        let text = &diags.source(source).text;
        let start = row.start.min(text.len());
        let end = text.get(start..).and_then(|t| t.find('\n')).map_or(text.len(), |i| start + i);
        let place = Span { source, start: start as u32, end: end as u32 };
        let message = format!("line {} holds no {what}: {}", row.line, row.reason);
        let told = Diagnostic::error(codes::BAD_TABLE, message).at(place, "here").at(span, "this table");
        diags.push(if what == "job" { told.hint("repair the row, or set fleet.skip_bad_rows = true") } else { told });
    }
    if bad.len() > MOST_ROWS {
        let message = format!("{} more rows cannot be read", bad.len() - MOST_ROWS);
        diags.push(Diagnostic::error(codes::BAD_TABLE, message).at(span, "this table"));
    }
}

/// The jobs of a trace, the first at time zero, and how many rows were left out.
pub(super) fn traced(given: &FleetInput, place: &Place<'_>, names: &mut Names, diags: &mut Diagnostics) -> Option<(Vec<Job>, u64)> {
    let Some(name) = given.trace.value.as_deref() else {
        let rules = [
            (given.trace_format.is_some(), given.trace_format.span, "trace_format"),
            (*given.skip_bad_rows, given.skip_bad_rows.span, "skip_bad_rows"),
            (*given.load != 1.0, given.load.span, "load"),
            (*given.within != crate::fleet::Within::Any, given.within.span, "within"),
            (given.checkpoint.is_some(), given.checkpoint.span, "checkpoint"),
        ];
        for (set, span, key) in rules {
            if set {
                conflict(span, &format!("`{key}` does nothing without a trace"), "leave it out, or give `trace`", diags);
            }
        }
        return Some((Vec::new(), 0));
    };
    let span = given.trace.span;
    let source = trace_source(name, span, diags)?;
    let text = diags.source(source).text.clone();
    let Some(format) = given.trace_format.or_else(|| format_of(text.lines().next().unwrap_or(""))) else {
        let told =
            Diagnostic::error(codes::BAD_TABLE, "the header of this trace has the columns of no known format").at(span, "this trace");
        diags.push(told.hint("our own columns are submit_s, duration_s, accelerators; docs/formats/traces-jobs.md lists all"));
        return None;
    };
    let read = read_trace(format, &text);
    let hopeless = read.jobs.is_empty();
    if !*given.skip_bad_rows || hopeless {
        tell_bad("job", source, span, &read.bad, diags);
    }
    if hopeless && read.bad.is_empty() {
        diags.push(Diagnostic::error(codes::BAD_TABLE, "this trace has no jobs").at(span, "empty"));
    }
    if diags.has_errors() || hopeless {
        return None;
    }
    Some((listed(given, &read, place, names, span, diags)?, read.bad.len() as u64))
}

fn listed(
    given: &FleetInput,
    read: &TraceRead,
    place: &Place<'_>,
    names: &mut Names,
    span: Span,
    diags: &mut Diagnostics,
) -> Option<Vec<Job>> {
    let first = read.jobs.iter().map(|j| j.submit).fold(f64::INFINITY, f64::min);
    let pools = place.cluster.pools();
    let all = pools_with(place.cluster, |p| pools[p].accelerators > 0);
    let masks: Vec<u64> =
        read.parts
            .iter()
            .map(|part| {
                if part.is_empty() { all } else { pools_with(place.cluster, |p| part.split('|').any(|name| pools[p].part == name.trim())) }
            })
            .collect();
    if let Some(part) = read.parts.iter().zip(&masks).find(|(_, m)| **m == 0).map(|(p, _)| p) {
        let message = format!("jobs of the trace ask for `{part}`, which no node has");
        diags.push(Diagnostic::error(codes::UNKNOWN_PART, message).at(span, "this trace").hint("the jobs would never run"));
        return None;
    }
    let teams: Vec<u16> = read.teams.iter().map(|t| names.team(t)).collect();
    let classes: Vec<Option<u16>> = read.classes.iter().map(|c| (!c.is_empty()).then(|| names.class(c))).collect();
    let mut out: Vec<Job> = Vec::with_capacity(read.jobs.len());
    for job in &read.jobs {
        let TraceJob { accelerators, share, .. } = *job;
        let times = if accelerators == 0 || share < 1000 { 1.0 } else { f64::from(accelerators) };
        let class = classes[job.class as usize].unwrap_or_else(|| names.class(size_class(accelerators)));
        out.push(Job {
            submit: (job.submit - first) / *given.load,
            ask: Ask {
                pools: if accelerators == 0 { pools_with(place.cluster, |_| true) } else { masks[job.part as usize] },
                accelerators,
                share,
                chunk: 1,
                cpus: job.cpus / times,
                memory: job.memory / times,
                within: if accelerators > 0 { *given.within } else { crate::fleet::Within::Any },
            },
            work: Work::Time(job.duration),
            class,
            team: teams[job.team as usize],
            priority: job.priority,
            spot: false,
            preemptible: true,
            checkpoint: given.checkpoint.map_or(0.0, Seconds::get),
            checkpoint_cost: 0.0,
            copies: None,
            restart: place.restart,
            elastic: None,
        });
    }
    Some(out)
}

/// Classes of jobs that have no name of their own.
const fn size_class(accelerators: u32) -> &'static str {
    match accelerators {
        0 => "no accelerators",
        1 => "1 accelerator",
        2..=8 => "2 to 8 accelerators",
        _ => "more than 8 accelerators",
    }
}
