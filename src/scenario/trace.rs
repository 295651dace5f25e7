//! Traces of a scenario: reads their files, checks that they can run, and says where what is wrong.

use super::load::head;
use super::trace_input::{AstraInput, TraceFormat, TraceInput};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::fabric::Fabric;
use crate::hardware::Dtype;
use crate::replay::astra::{Backend, Machine};
use crate::replay::{ComputeTimes, Rules, Sends, Setting, faults};
use crate::workload::trace::astra::{Memory, MemoryKind, read_memory, read_network, read_system};
use crate::workload::trace::{MAX_RANKS, Trace, TraceError, TraceFault, TraceFile, aicb, chakra, host_json};
use std::path::PathBuf;

/// A trace and what it runs on, checked.
#[derive(Debug)]
pub struct TraceJob {
    /// The trace.
    pub trace: Trace,
    /// Its format, as in the scenario.
    pub format: TraceFormat,
    /// How it is replayed on the fabric.
    pub rules: Rules,
    /// Files of ASTRA-sim instead of the fabric.
    pub machine: Option<Machine>,
}

impl TraceJob {
    /// What the trace runs on.
    #[must_use]
    pub const fn setting<'a>(&'a self, fabric: &'a Fabric) -> Setting<'a> {
        match &self.machine {
            Some(machine) => Setting::Astra(machine),
            None => Setting::Fabric(fabric, self.rules),
        }
    }
}

/// The most faults of a trace that are told one by one.
const MOST_FAULTS: usize = 20;

/// The trace of a scenario, checked against what it runs on.
pub(super) fn job(input: &At<TraceInput>, fabric: &Fabric, diags: &mut Diagnostics) -> Option<TraceJob> {
    let before = diags.error_count();
    let place = head(input.span, diags);
    let rules = rules(input, diags);
    let machine = input.astra.value.as_ref().map(|astra| machine(astra, diags));
    let read = read(input, place, diags);
    let machine = match machine {
        Some(machine) => Some(machine?),
        None => None,
    };
    let (trace, from) = read?;
    let mut job = TraceJob { trace, format: *input.format, rules, machine };
    let mut sound = true;
    let wrong: Vec<_> = job.trace.check().into_iter().filter(|f| !f.is_warning()).collect();
    for fault in wrong.iter().take(MOST_FAULTS) {
        sound = false;
        let mut told = Diagnostic::error(codes::BAD_TRACE, fault.to_string()).at(from, "this trace cannot run");
        if matches!(fault, TraceFault::MissingRanks { .. }) {
            told = told.hint("give a file for every rank (`prefix`), or `ranks` if all ranks do what one `file` says");
        }
        diags.push(told);
    }
    if wrong.len() > MOST_FAULTS {
        let message = format!("{} more faults of this kind are not listed", wrong.len() - MOST_FAULTS);
        diags.push(Diagnostic::error(codes::BAD_TRACE, message).at(from, "this trace cannot run"));
    }
    if sound {
        for fault in faults(&job.trace, &job.setting(fabric)) {
            diags.push(Diagnostic::error(codes::BAD_TRACE, fault).at(from, "this trace does not fit"));
        }
    }
    job.trace.noticed.truncate(1000);
    (diags.error_count() == before).then_some(job)
}

/// How a trace is replayed; keys that do nothing are refused.
fn rules(input: &TraceInput, diags: &mut Diagnostics) -> Rules {
    let astra = input.astra.is_some();
    for (given, span, name) in [
        (input.compute.is_some(), input.compute.span, "compute"),
        (input.precision.is_some(), input.precision.span, "precision"),
        (input.compute_scale.is_some(), input.compute_scale.span, "compute_scale"),
        (input.sends.is_some(), input.sends.span, "sends"),
        (input.interference.is_some(), input.interference.span, "interference"),
    ] {
        if astra && given {
            let message = format!("`{name}` does nothing with [trace.astra], whose files say it");
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(span, "does nothing"));
        }
    }
    let compute = input.compute.unwrap_or(ComputeTimes::Recorded);
    if compute == ComputeTimes::Recorded && input.precision.is_some() && !astra {
        let message = "`precision` does nothing with recorded durations";
        diags.push(Diagnostic::error(codes::CONFLICT, message).at(input.precision.span, "does nothing").hint("set compute = \"roofline\""));
    }
    // Durations that a profiler recorded hold the interference of their run; those of isolated kernels and rooflines do not.
    let isolated = compute == ComputeTimes::Roofline || *input.format == TraceFormat::Aicb;
    Rules {
        compute,
        dtype: input.precision.unwrap_or(Dtype::Bf16),
        scale: input.compute_scale.unwrap_or(1.0),
        sends: input.sends.unwrap_or(Sends::Eager),
        interference: input.interference.unwrap_or(isolated),
    }
}

/// Reads the trace; also gives the key that names its files.
fn read(input: &TraceInput, place: Span, diags: &mut Diagnostics) -> Option<(Trace, Span)> {
    let before = diags.error_count();
    let (name, span) = named(input, place, diags)?;
    idle_keys(input, diags);
    let ranks = ranks_of(input, diags);
    if diags.error_count() > before {
        return None;
    }
    let files = files(name, input.prefix.is_some(), *input.format, span, diags)?;
    let groups = match &input.groups.value {
        Some(name) => Some((shown(name, input.groups.span, diags), read_at(name, input.groups.span, diags)?)),
        None => None,
    };
    let trace = trace_in(&files, groups.as_ref(), ranks, (input, span), diags)?;
    match ranks.filter(|_| *input.format != TraceFormat::Aicb) {
        Some(ranks) => Some((for_all(trace, ranks, (input, span), diags)?, span)),
        None => Some((trace, span)),
    }
}

/// The name of the trace's files and the key that gives it.
fn named<'a>(input: &'a TraceInput, place: Span, diags: &mut Diagnostics) -> Option<(&'a str, Span)> {
    match (&input.file.value, &input.prefix.value) {
        (Some(file), None) => Some((file, input.file.span)),
        (None, Some(prefix)) => Some((prefix, input.prefix.span)),
        (Some(_), Some(_)) => {
            let both = Diagnostic::error(codes::CONFLICT, "a trace has one of `file` and `prefix`");
            diags.push(both.at(input.prefix.span, "one").at(input.file.span, "another"));
            None
        }
        (None, None) => {
            let none = Diagnostic::error(codes::MISSING_KEY, "a trace needs `file` or `prefix`");
            diags.push(none.at(place, "in this table").hint("prefix = \"traces/job\" reads traces/job.0.et, traces/job.1.et and so on"));
            None
        }
    }
}

/// Keys that do nothing for the format or beside others.
fn idle_keys(input: &TraceInput, diags: &mut Diagnostics) {
    let by_prefix = input.prefix.is_some();
    let one_file = *input.format == TraceFormat::Aicb && by_prefix;
    let own_groups = input.groups.is_some() && *input.format != TraceFormat::Chakra;
    for (bad, span, what) in [
        (one_file, input.prefix.span, "an aicb workload is one file for all ranks: give `file`"),
        (own_groups, input.groups.span, "`groups` does nothing for this format, whose files say their groups"),
        (by_prefix && input.ranks.is_some(), input.ranks.span, "`ranks` does nothing with a file for each rank"),
    ] {
        if bad {
            diags.push(Diagnostic::error(codes::CONFLICT, what).at(span, "does nothing"));
        }
    }
}

/// How many ranks one file stands for, where that is said; reports too many.
fn ranks_of(input: &TraceInput, diags: &mut Diagnostics) -> Option<u32> {
    let ranks = input.ranks.value.and_then(|r| u32::try_from(r).ok()).filter(|r| *r <= MAX_RANKS);
    if input.ranks.is_some() && ranks.is_none() {
        let message = format!("the most ranks of a trace are {MAX_RANKS}");
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(input.ranks.span, "out of range"));
    }
    ranks
}

/// The trace that files hold, with the file of its groups; faults are told at the key that names the files.
fn trace_in(
    files: &[(u32, String, Vec<u8>)],
    groups: Option<&(String, Vec<u8>)>,
    ranks: Option<u32>,
    (input, span): (&TraceInput, Span),
    diags: &mut Diagnostics,
) -> Option<Trace> {
    let listed: Vec<TraceFile<'_>> = files.iter().map(|(rank, path, bytes)| TraceFile { name: path, rank: *rank, bytes }).collect();
    let shared = groups.map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let read = match *input.format {
        TraceFormat::Chakra => chakra::read(&listed, shared),
        TraceFormat::HostJson => host_json::read(&listed),
        TraceFormat::Aicb => aicb::read_trace(listed[0].name, listed[0].bytes, ranks),
    };
    let bytes_of = |file: &str| {
        let own = listed.iter().find(|f| f.name == file).map(|f| f.bytes);
        own.or_else(|| shared.filter(|s| s.0 == file).map(|s| s.1))
    };
    match read {
        Ok(trace) => Some(trace),
        Err(error) => {
            let at = if shared.is_some_and(|s| s.0 == error.file_name()) { input.groups.span } else { span };
            tell(&error, bytes_of(error.file_name()), at, diags);
            None
        }
    }
}

/// A trace of one file for all ranks that do the same.
fn for_all(trace: Trace, ranks: u32, (input, span): (&TraceInput, Span), diags: &mut Diagnostics) -> Option<Trace> {
    match trace.repeated(ranks) {
        Ok(trace) => Some(trace),
        Err(why) => {
            let message = format!("one file cannot stand for {ranks} ranks: {why}");
            let told = Diagnostic::error(codes::BAD_TRACE, message).at(input.ranks.span, "ranks that do the same").at(span, "this file");
            diags.push(told.hint("give `prefix` with a file for each rank"));
            None
        }
    }
}

fn path_of(name: &str, span: Span, diags: &Diagnostics) -> PathBuf {
    diags.folder_of(span.source).join(name)
}

fn shown(name: &str, span: Span, diags: &Diagnostics) -> String {
    path_of(name, span, diags).display().to_string()
}

fn read_at(name: &str, span: Span, diags: &mut Diagnostics) -> Option<Vec<u8>> {
    let path = path_of(name, span, diags);
    diags.read_bytes(&path, span)
}

/// The files of a trace: rank, name and bytes.
fn files(name: &str, by_prefix: bool, format: TraceFormat, span: Span, diags: &mut Diagnostics) -> Option<Vec<(u32, String, Vec<u8>)>> {
    let path = path_of(name, span, diags);
    let ending = if format == TraceFormat::Chakra { ".et" } else { ".json" };
    let found = if by_prefix {
        match chakra::find_files(&path, ending) {
            Ok(found) => found,
            Err(error) => {
                diags.push(Diagnostic::error(codes::CANNOT_READ, error.to_string()).at(span, "named here"));
                return None;
            }
        }
    } else {
        vec![(rank_of(name), path)]
    };
    let mut out = Vec::with_capacity(found.len());
    for (rank, path) in found {
        out.push((rank, path.display().to_string(), diags.read_bytes(&path, span)?));
    }
    Some(out)
}

/// The rank in a file's name: 3 in `job.3.et`, else 0.
fn rank_of(name: &str) -> u32 {
    name.strip_suffix(".et").and_then(|stem| stem.rsplit_once('.')).and_then(|(_, rank)| rank.parse().ok()).unwrap_or(0)
}

/// Reports a fault of a file: at its line where it is a text, and at the key that names it.
fn tell(error: &TraceError, bytes: Option<&[u8]>, from: Span, diags: &mut Diagnostics) {
    let mut told = Diagnostic::error(codes::BAD_TRACE, error.what());
    if let (TraceError::Text { file, line, .. }, Some(bytes)) = (error, bytes) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let number = (*line as usize).max(1);
        let start = text.split_inclusive('\n').take(number - 1).map(str::len).sum::<usize>().min(text.len().saturating_sub(1));
        let length = text[start..].lines().next().map_or(0, str::len).min(2000);
        let source = diags.add_source(file.as_str(), text);
        told = told.at(Span { source, start: start as u32, end: (start + length) as u32 }, "here");
    }
    diags.push(told.at(from, "named here").hint(error.fix()));
}

/// The machine of ASTRA-sim's files.
fn machine(input: &AstraInput, diags: &mut Diagnostics) -> Option<Machine> {
    let network = parsed(&input.network.value, input.network.span, read_network, diags);
    let system = parsed(&input.system.value, input.system.span, read_system, diags);
    let none = Memory { kind: MemoryKind::NoExpansion, latency_nanos: None, bytes_per_nano: None, nodes: None, per_node: None };
    let memory = match &input.memory.value {
        Some(name) => parsed(name, input.memory.span, read_memory, diags),
        None => Some(none),
    };
    let machine = Machine { network: network?, system: system?, memory: memory?, backend: input.backend.unwrap_or(Backend::Unaware) };
    let faults = machine.faults();
    for (file, what, fix) in &faults {
        let span = if *file == 0 { input.network.span } else { input.system.span };
        diags.push(Diagnostic::error(codes::BAD_TRACE, what.as_str()).at(span, "this file").hint(*fix));
    }
    faults.is_empty().then_some(machine)
}

fn parsed<T>(name: &str, span: Span, parse: fn(&str, &[u8]) -> Result<T, TraceError>, diags: &mut Diagnostics) -> Option<T> {
    let bytes = read_at(name, span, diags)?;
    match parse(&shown(name, span, diags), &bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            tell(&error, Some(&bytes), span, diags);
            None
        }
    }
}
