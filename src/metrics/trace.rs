//! From a trace that ran to its numbers: what each rank did when, communication by operation, timeline.
//!
//! A rank computes while any of its compute operations runs, communicates while a collective or message of its runs (from the moment
//! all that take part have come to it, so that waiting for others is idle time), and else moves memory or is idle.

use super::detail::{Detail, LinkUse, TraceRank};
use super::outcome::{TraceCommunication, TraceOutcome};
use super::timeline::{Slice, SliceKind, SliceName, Timeline};
use crate::fabric::Fabric;
use crate::replay::Replayed;
use crate::workload::trace::{RankTrace, Trace, TraceKind};
use std::collections::{BTreeMap, BTreeSet};

/// Timelines show no more slices than this; the first ranks are shown.
const MOST_SLICES: usize = 500_000;

/// The numbers of a trace, and what reports draw; `in_cycles` in ASTRA-compatible mode.
#[must_use]
pub fn trace_outcome(trace: &Trace, fabric: &Fabric, run: &Replayed, in_cycles: bool) -> (TraceOutcome, Detail) {
    let makespan_s = run.execution.makespan;
    let ranks: Vec<TraceRank> = (0..trace.ranks.len()).map(|class| rank(trace, run, class)).collect();
    let longest = ranks.iter().map(|r| r.compute_s).fold(0.0, f64::max);
    let critical = ranks.iter().find(|r| r.compute_s >= longest * (1.0 - 1e-9));
    let of = |value: fn(&TraceRank) -> f64| critical.map_or(0.0, value);
    let outcome = TraceOutcome {
        makespan_s,
        ranks: trace.rank_count(),
        rank: critical.map_or(0, |r| r.rank),
        compute_s: of(|r| r.compute_s),
        host_s: of(|r| r.host_s),
        recorded_s: critical.and_then(|r| trace.class_of(r.rank)).map_or(0.0, |class| recorded(&trace.ranks[class])),
        comm_s: of(|r| r.comm_s),
        exposed_comm_s: of(|r| r.exposed_comm_s),
        exposed_memory_s: of(|r| r.exposed_memory_s),
        idle_s: of(|r| r.idle_s),
        operations: trace.ranks.iter().map(|r| r.ops.len() as u64 * u64::from(r.count)).sum(),
        cycles: in_cycles.then_some(libm::round(makespan_s * 1e9) as u64),
        communication: communication(trace, run),
        notices: notices(trace, run),
    };
    let (tracks, timeline, shown) = timeline(trace, run);
    let links = run.execution.loads.iter().map(|l| LinkUse {
        name: format!("{} ({})", l.kind.name(), fabric.link_name(l.link)),
        bytes: l.bytes,
        utilization: if makespan_s > 0.0 { l.bytes / l.capacity / makespan_s } else { 0.0 },
    });
    let detail = Detail {
        processes: trace.ranks[..shown].iter().map(rank_name).collect(),
        links: links.collect(),
        tracks,
        timeline,
        ranks,
        ..Detail::default()
    };
    (outcome, detail)
}

/// Seconds that were recorded for a rank.
fn recorded(rank: &RankTrace) -> f64 {
    let micros = |kind: &TraceKind| match *kind {
        TraceKind::Compute { micros, .. } | TraceKind::Collective { micros, .. } => micros.unwrap_or(0.0),
        _ => 0.0,
    };
    rank.ops.iter().map(|o| micros(&o.kind)).sum::<f64>() * 1e-6
}

/// `rank 3`, or `ranks 0 to 7`.
fn rank_name(rank: &RankTrace) -> String {
    if rank.count == 1 { format!("rank {}", rank.rank) } else { format!("ranks {} to {}", rank.rank, rank.rank + rank.count - 1) }
}

/// What an operation occupies: 0 compute, 1 communication, 2 memory.
const fn occupies(kind: &TraceKind) -> Option<usize> {
    match kind {
        TraceKind::Compute { .. } => Some(0),
        TraceKind::Collective { .. } | TraceKind::Send { .. } | TraceKind::Recv { .. } => Some(1),
        TraceKind::Memory { .. } => Some(2),
        TraceKind::Nothing => None,
    }
}

/// Start and end of an operation that ran.
fn span(run: &Replayed, class: usize, op: usize) -> Option<(f64, f64)> {
    let task = *run.tasks[class].get(op)? as usize;
    Some((*run.execution.start.get(task)?, *run.execution.finish.get(task)?))
}

fn rank(trace: &Trace, run: &Replayed, class: usize) -> TraceRank {
    let of = &trace.ranks[class];
    let mut out = TraceRank {
        rank: of.rank,
        count: of.count,
        finish_s: 0.0,
        compute_s: 0.0,
        host_s: 0.0,
        comm_s: 0.0,
        exposed_comm_s: 0.0,
        exposed_memory_s: 0.0,
        idle_s: 0.0,
    };
    let mut edges: Vec<(f64, i32, usize)> = Vec::new();
    for (i, op) in of.ops.iter().enumerate() {
        let Some((start, end)) = span(run, class, i) else { continue };
        out.finish_s = out.finish_s.max(end);
        if let TraceKind::Compute { on_cpu, .. } = op.kind {
            out.compute_s += end - start;
            out.host_s += if on_cpu { end - start } else { 0.0 };
        }
        if let Some(what) = occupies(&op.kind).filter(|_| end > start) {
            edges.push((start, 1, what));
            edges.push((end, -1, what));
        }
    }
    edges.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut at, mut held) = (0.0, [0i32; 3]);
    for (time, step, what) in edges.into_iter().chain([(run.execution.makespan, 0, 0)]) {
        let length = time - at;
        match held.map(|h| h > 0) {
            [true, ..] => {}
            [_, true, _] => out.exposed_comm_s += length,
            [_, _, true] => out.exposed_memory_s += length,
            _ => out.idle_s += length,
        }
        out.comm_s += if held[1] > 0 { length } else { 0.0 };
        held[what] += step;
        at = time;
    }
    out
}

/// Communication by operation; what several ranks do together is counted once.
fn communication(trace: &Trace, run: &Replayed) -> Vec<TraceCommunication> {
    let mut seen = BTreeSet::new();
    let mut by_op: BTreeMap<&'static str, TraceCommunication> = BTreeMap::new();
    for (class, rank) in trace.ranks.iter().enumerate() {
        for (i, op) in rank.ops.iter().enumerate() {
            let (name, bytes, times) = match op.kind {
                TraceKind::Collective { op: what, group, .. } => {
                    let sets = trace.groups.get(group as usize).map_or(1, |g| g.sets.len());
                    (what.word(), trace.nccl_bytes(op).unwrap_or(0.0), sets as u64)
                }
                TraceKind::Send { bytes, .. } => ("message", bytes, u64::from(rank.count)),
                _ => continue,
            };
            let Some((start, end)) = span(run, class, i).filter(|_| seen.insert(run.tasks[class][i])) else { continue };
            let row = by_op.entry(name).or_insert_with(|| TraceCommunication { op: name.to_owned(), count: 0, bytes: 0.0, time_s: 0.0 });
            row.count += times;
            row.bytes += bytes * times as f64;
            row.time_s += (end - start) * times as f64;
        }
    }
    by_op.into_values().collect()
}

/// What was noticed, the first of it one by one.
fn notices(trace: &Trace, run: &Replayed) -> Vec<String> {
    const MOST: usize = 10;
    let mut out: Vec<String> = trace.noticed.iter().take(MOST).map(ToString::to_string).collect();
    if trace.noticed.len() > MOST {
        out.push(format!("{} more of this kind", trace.noticed.len() - MOST));
    }
    let (without, all) = run.without_duration;
    if without > 0 {
        out.push(format!("{without} of {all} compute operations have no duration and take no time"));
    }
    out
}

/// Tracks, slices and how many ranks are shown. Communication that overlaps on a rank gets tracks of its own.
fn timeline(trace: &Trace, run: &Replayed) -> (Vec<String>, Timeline, usize) {
    let mut tracks: Vec<String> = ["compute", "host", "memory"].map(str::to_owned).to_vec();
    let mut out = Vec::new();
    let mut shown = 0;
    for (class, rank) in trace.ranks.iter().enumerate() {
        if out.len() + rank.ops.len() > MOST_SLICES && shown > 0 {
            break;
        }
        shown += 1;
        let mut slices: Vec<(f64, f64, usize)> = Vec::new();
        for i in 0..rank.ops.len() {
            slices.extend(span(run, class, i).filter(|(start, end)| end > start).map(|(start, end)| (start, end, i)));
        }
        slices.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
        let mut free: Vec<f64> = Vec::new();
        for (start_s, end, i) in slices {
            let op = &rank.ops[i];
            let (kind, track) = match op.kind {
                TraceKind::Compute { on_cpu: false, .. } => (SliceKind::Compute, 0),
                TraceKind::Compute { .. } => (SliceKind::Host, 1),
                TraceKind::Memory { .. } => (SliceKind::Memory, 2),
                TraceKind::Nothing => continue,
                _ => {
                    let lane = free.iter().position(|f| *f <= start_s).unwrap_or(free.len());
                    if lane == free.len() {
                        free.push(end);
                    }
                    free[lane] = end;
                    (SliceKind::Communication, 3 + lane)
                }
            };
            while tracks.len() <= track {
                tracks.push(format!("communication {}", tracks.len() - 2));
            }
            let (process, name) = (class as u32, SliceName::Text(op.name.clone()));
            out.push(Slice { process, track: track as u32, kind, name, start_s, duration_s: end - start_s });
        }
    }
    (tracks, Timeline::new(out, None), shown)
}
