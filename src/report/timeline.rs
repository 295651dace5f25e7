//! The timeline of a step or a trace as Chrome-trace JSON, which Perfetto opens: one process a rank class, one thread a stream.
//!
//! Times are simulated microseconds with three decimals.

use crate::metrics::{Outcome, SliceKind};
use std::fmt::Write;

const fn category(kind: SliceKind) -> &'static str {
    match kind {
        SliceKind::Forward => "forward",
        SliceKind::Backward => "backward",
        SliceKind::TensorComm => "tensor_comm",
        SliceKind::PipelineComm => "pipeline_comm",
        SliceKind::DataComm => "data_comm",
        SliceKind::Optimizer => "optimizer",
        SliceKind::Other => "other",
        SliceKind::Compute => "compute",
        SliceKind::Host => "host",
        SliceKind::Memory => "memory",
        SliceKind::Communication => "communication",
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The trace of an outcome.
#[must_use]
pub fn timeline(outcome: &Outcome) -> String {
    let detail = &outcome.detail;
    let slices = detail.timeline.slices();
    let mut out = String::with_capacity(128 * slices.len() + 4096);
    let _ = write!(
        out,
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"title\":{},\"scenario_hash\":{}}},\"traceEvents\":[",
        quoted(&outcome.title),
        quoted(&outcome.orrery.scenario_hash)
    );
    let mut first = true;
    let mut comma = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.push('\n');
    };
    for (p, name) in detail.processes.iter().enumerate() {
        comma(&mut out);
        let _ = write!(out, "{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{p},\"args\":{{\"name\":{}}}}}", quoted(name));
        for (t, track) in detail.tracks.iter().enumerate() {
            comma(&mut out);
            let _ =
                write!(out, "{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{p},\"tid\":{t},\"args\":{{\"name\":{}}}}}", quoted(track));
        }
    }
    for slice in &slices {
        comma(&mut out);
        let (ts, dur) = (slice.start_s * 1e6, slice.duration_s * 1e6);
        let _ = write!(
            out,
            "{{\"ph\":\"X\",\"name\":{},\"cat\":\"{}\",\"pid\":{},\"tid\":{},\"ts\":{ts:.3},\"dur\":{dur:.3}}}",
            quoted(&slice.name.to_string()),
            category(slice.kind),
            slice.process,
            slice.track
        );
    }
    out.push_str("\n]}\n");
    out
}
