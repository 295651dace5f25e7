//! Logs of other tools to the common record: formats are told apart by content, a bad line is an error with its place, and a file
//! that ends too early gives nothing.

mod gpu;
mod kineto;
mod nccl;
mod network;
mod operators;
mod scan;
mod storage;
mod streams;
mod summaries;
mod tables;
mod tuning;

use super::device::part_named;
use super::record::{Measurement, from_lines, is_measurements};
use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, codes};
use scan::{Fault, Log};

/// A format with the test for it and its reader.
struct Format {
    name: &'static str,
    is: fn(&Log<'_>) -> bool,
    read: fn(&Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>>,
}

/// All formats; the first whose test holds reads the file.
const FORMATS: &[Format] = &[
    Format { name: "NCCL tuner table", is: tuning::is_csv, read: tuning::csv },
    Format { name: "NCCL tuning log", is: tuning::is_log, read: tuning::log },
    Format { name: "nccl-tests JSON", is: nccl::is_json, read: nccl::json },
    Format { name: "nccl-tests", is: nccl::is_text, read: nccl::text },
    Format { name: "nvbandwidth JSON", is: gpu::is_nvbandwidth_json, read: gpu::nvbandwidth_json },
    Format { name: "nvbandwidth", is: gpu::is_nvbandwidth, read: gpu::nvbandwidth },
    Format { name: "bandwidthTest", is: gpu::is_bandwidth_test, read: gpu::bandwidth_test },
    Format { name: "ROCm bandwidth", is: gpu::is_rocm, read: gpu::rocm },
    Format { name: "superbench gpu-copy", is: gpu::is_gpu_copy, read: gpu::gpu_copy },
    Format { name: "superbench gpu-stream", is: streams::is_gpu, read: streams::gpu },
    Format { name: "STREAM", is: streams::is_stream, read: streams::stream },
    Format { name: "triad table", is: streams::is_triad, read: streams::triad },
    Format { name: "CUTLASS profiler", is: operators::is_cutlass, read: operators::cutlass },
    Format { name: "mamf-finder", is: operators::is_mamf, read: operators::mamf },
    Format { name: "cuBLASLt under Nsight Compute", is: operators::is_cublaslt, read: operators::cublaslt },
    Format { name: "gpu-burn", is: operators::is_gpu_burn, read: operators::gpu_burn },
    Format { name: "perftest JSON", is: network::is_perftest_json, read: network::perftest_json },
    Format { name: "perftest", is: network::is_perftest, read: network::perftest },
    Format { name: "iperf3", is: network::is_iperf3, read: network::iperf3 },
    Format { name: "sockperf", is: network::is_sockperf, read: network::sockperf },
    Format { name: "fio", is: storage::is_fio, read: storage::fio },
    Format { name: "PyTorch profiler", is: kineto::is_trace, read: kineto::trace },
    Format { name: "GPCNeT", is: summaries::is_gpcnet, read: summaries::gpcnet },
    Format { name: "HPL", is: summaries::is_hpl, read: summaries::hpl },
    Format { name: "step latencies", is: summaries::is_steps, read: summaries::steps },
    Format { name: "superbench summary", is: summaries::is_summary, read: summaries::summary },
    Format { name: "no measurements (telemetry, topology or an aborted run)", is: summaries::is_nothing, read: summaries::nothing },
    Format { name: "table", is: tables::is_table, read: tables::table },
];

/// What a file gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Format by its name.
    pub format: &'static str,
    /// Measurements in order.
    pub list: Vec<Measurement>,
}

/// Whether a known tool wrote a text.
#[must_use]
pub fn is_known(name: &str, text: &str) -> bool {
    let log = Log::new(name, text);
    is_measurements(text) || FORMATS.iter().any(|f| (f.is)(&log))
}

/// Reads a log; `part` is the catalogue id of the accelerator where the log does not say it. `None` when the format is unknown or a line
/// is faulty, which `diags` then holds.
pub fn import(source: SourceId, part: Option<&str>, diags: &mut Diagnostics) -> Option<Imported> {
    let text = diags.source(source).text.clone();
    let path = diags.source(source).name.clone();
    if is_measurements(&text) {
        let named = |mut list: Vec<Measurement>| {
            list.iter_mut().filter(|m| m.part.is_empty()).for_each(|m| m.part = part.unwrap_or("").to_owned());
            list
        };
        return from_lines(source, diags).map(|list| Imported { format: "measurements", list: named(list) });
    }
    let name = path.rsplit(['/', '\\']).next().unwrap_or(&path);
    let log = Log::new(name, &text);
    let Some(format) = FORMATS.iter().find(|f| (f.is)(&log)) else {
        diags.push(
            Diagnostic::error(codes::BAD_LOG, "no known tool wrote this")
                .at(first_line(source, &text), "this file")
                .hint("docs/formats/measurements.md lists the formats; a table with their columns takes any other figures"),
        );
        return None;
    };
    let fault = |f: &Fault| {
        let span = Span { source, start: f.start.min(text.len()) as u32, end: f.end.min(text.len()) as u32 };
        let mut out = Diagnostic::error(codes::BAD_LOG, format!("{}: {}", format.name, f.message)).at(span, "here");
        if let Some(hint) = f.hint {
            out = out.hint(hint);
        }
        out
    };
    match (format.read)(&log) {
        Ok(mut list) => {
            for one in &mut list {
                one.source = name.into();
                if one.session.is_empty() {
                    one.session = name.into();
                }
                if one.part.is_empty() {
                    one.part = part.map(str::to_owned).or_else(|| part_named(&one.device)).unwrap_or_default();
                }
            }
            Some(Imported { format: format.name, list })
        }
        Err(faults) => {
            faults.iter().take(20).for_each(|f| diags.push(fault(f)));
            None
        }
    }
}

fn first_line(source: SourceId, text: &str) -> Span {
    Span { source, start: 0, end: text.find('\n').unwrap_or(text.len()) as u32 }
}
