//! Outcomes as CSV, with units in the headers.

use crate::metrics::Outcome;

pub(super) fn rows(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail; rows have the header's length by construction.
    let _ = writer.write_record(header);
    for row in rows {
        let _ = writer.write_record(row);
    }
    writer.into_inner().ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The breakdown of the step.
#[must_use]
pub fn breakdown_csv(outcome: &Outcome) -> Option<String> {
    let t = outcome.training.as_ref()?;
    let parts = t.breakdown_s.parts();
    Some(rows(&["part", "time_s", "share"], parts.iter().map(|(n, s)| vec![(*n).into(), s.to_string(), (s / t.step_time_s).to_string()])))
}

/// Memory of every stage.
#[must_use]
pub fn memory_csv(outcome: &Outcome) -> Option<String> {
    outcome.training.as_ref()?;
    let header = [
        "stage",
        "weights_bytes",
        "gradients_bytes",
        "optimizer_bytes",
        "activations_bytes",
        "other_bytes",
        "peak_bytes",
        "capacity_bytes",
    ];
    let line = |s: &crate::metrics::StageMemory| {
        let m = &s.memory;
        let mut out = vec![s.name.clone()];
        out.extend(m.parts().iter().map(|p| p.1.to_string()));
        out.extend([m.peak.to_string(), m.capacity.to_string()]);
        out
    };
    Some(rows(&header, outcome.detail.stages.iter().map(line)))
}

/// Collectives by size.
#[must_use]
pub fn collective_csv(outcome: &Outcome) -> Option<String> {
    let list = outcome.collective.as_ref()?;
    let header = ["op", "bytes", "time_s", "algbw_bytes_per_s", "busbw_bytes_per_s", "algorithm", "protocol", "tokens"];
    Some(rows(
        &header,
        list.iter().map(|c| {
            vec![
                c.op.into(),
                c.bytes.to_string(),
                c.time_s.to_string(),
                c.algbw_bytes_per_s.to_string(),
                c.busbw_bytes_per_s.to_string(),
                c.algorithm.clone(),
                c.protocol.clone(),
                c.tokens.map_or_else(String::new, |t| t.to_string()),
            ]
        }),
    ))
}

/// What every rank of a trace did.
#[must_use]
pub fn ranks_csv(outcome: &Outcome) -> Option<String> {
    outcome.trace.as_ref()?;
    let header = ["rank", "ranks", "finish_s", "compute_s", "host_s", "comm_s", "exposed_comm_s", "exposed_memory_s", "idle_s"];
    let line = |r: &crate::metrics::TraceRank| {
        let times = [r.finish_s, r.compute_s, r.host_s, r.comm_s, r.exposed_comm_s, r.exposed_memory_s, r.idle_s];
        let mut out = vec![r.rank.to_string(), r.count.to_string()];
        out.extend(times.iter().map(f64::to_string));
        out
    };
    Some(rows(&header, outcome.detail.ranks.iter().map(line)))
}

/// Communication of a trace by operation.
#[must_use]
pub fn communication_csv(outcome: &Outcome) -> Option<String> {
    let trace = outcome.trace.as_ref()?;
    let line = |c: &crate::metrics::TraceCommunication| vec![c.op.clone(), c.count.to_string(), c.bytes.to_string(), c.time_s.to_string()];
    Some(rows(&["op", "count", "bytes", "time_s"], trace.communication.iter().map(line)))
}
