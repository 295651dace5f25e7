//! Logs of serving engines: a folder with `meta.json` (model, engine settings) and `requests.jsonl` (every request with its times) is served
//! again with its own arrivals, and the distributions are compared.

use super::Kind;
use super::cluster::{Shape as FabricShape, fabric};
use super::summary::{Report, Row};
use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, codes};
use crate::engine::Streams;
use crate::hardware::{Catalogue, Dtype};
use crate::kernels::Profiles;
use crate::metrics::Percentiles;
use crate::model::presets;
use crate::serving::{Arrivals, Deployment, Formats, NO_SESSION, Request, Requests, Shape, StackRow, serve, stack};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// Quantities by statistic, in the order of [`figures`].
const COLUMNS: &[&str] = &[
    "ttft_mean_s",
    "ttft_p50_s",
    "ttft_p90_s",
    "ttft_p99_s",
    "tpot_mean_s",
    "tpot_p50_s",
    "tpot_p90_s",
    "tpot_p99_s",
    "e2e_mean_s",
    "e2e_p50_s",
    "e2e_p90_s",
    "e2e_p99_s",
];

/// One request of a log: times in seconds on one clock.
struct Logged {
    arrival: f64,
    first: f64,
    last: f64,
    input: u32,
    output: u32,
}

/// Means and percentiles of time to first token, per token and to the last token.
fn figures(list: &[Timed]) -> Vec<f64> {
    let parts = [
        Percentiles::of(list.iter().map(|r| r.1 - r.0)),
        Percentiles::of(list.iter().filter(|r| r.3 > 1).map(|r| (r.2 - r.1) / f64::from(r.3 - 1))),
        Percentiles::of(list.iter().map(|r| r.2 - r.0)),
    ];
    parts.iter().flat_map(|p| [p.mean, p.p50, p.p90, p.p99]).collect()
}

/// Which requests of a log count, in order of arrival; all of them are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Half {
    /// All.
    #[default]
    Both,
    /// The first half.
    First,
    /// The second half.
    Second,
}

impl Half {
    fn of<T>(self, list: &[T]) -> &[T] {
        let middle = list.len() / 2;
        match self {
            Self::Both => list,
            Self::First => &list[..middle],
            Self::Second => &list[middle..],
        }
    }
}

/// A log as it was read.
struct Log {
    name: String,
    meta: Json,
    logged: Vec<Logged>,
}

/// Whether a folder holds a log.
#[must_use]
pub fn is_serving_log(folder: &Path) -> bool {
    folder.join("meta.json").is_file() && folder.join("requests.jsonl").is_file()
}

fn open(folder: &Path, diags: &mut Diagnostics) -> Option<Log> {
    let meta = diags.read_file(&folder.join("meta.json"), None);
    let requests = diags.read_file(&folder.join("requests.jsonl"), None);
    let (meta, requests) = (meta?, requests?);
    let value: Json = match serde_json::from_str(&diags.source(meta).text) {
        Ok(value) => value,
        Err(error) => {
            let span = Span { source: meta, start: 0, end: 0 };
            diags.push(Diagnostic::error(codes::BAD_TABLE, format!("this is no JSON: {error}")).at(span, "in this file"));
            return None;
        }
    };
    let logged = read(requests, diags)?;
    let name = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    Some(Log { name, meta: value, logged })
}

/// Serves every log again under profiles; `None` when a folder is faulty, which `diags` then holds.
pub fn validate_logs(folders: &[PathBuf], profiles: &Profiles, half: Half, diags: &mut Diagnostics) -> Option<Report> {
    let mut rows = Vec::new();
    for folder in folders {
        let Some(log) = open(folder, diags) else { continue };
        let list: Vec<_> = log.logged.iter().map(|r| (r.arrival, r.first, r.last, r.output)).collect();
        let outcome = replay(&log, profiles, 1.0).map(|(list, _)| figures(half.of(&list)));
        rows.push(Row {
            id: log.name.clone(),
            source: source_of(&log.meta),
            measured: figures(half.of(&list)),
            outcome,
            about: None,
            interval: None,
        });
    }
    (!diags.has_errors()).then(|| Report::new(Kind::ServingLog, COLUMNS, rows))
}

/// All-reduces of an engine as its log implies them.
#[derive(Debug, Clone, PartialEq)]
pub struct ImpliedAllReduce {
    /// Part of the catalogue.
    pub part: String,
    /// Ranks.
    pub ranks: u64,
    /// Sizes in bytes, and seconds.
    pub points: Vec<(f64, f64)>,
    /// What they take over the model's time.
    pub factor: f64,
}

/// Factors on the all-reduce that are looked at, and how exactly.
const FACTORS: (f64, f64) = (0.05, 50.0);
const STEPS: usize = 30;
/// Index of the mean time per token in [`COLUMNS`].
const MEAN_TPOT: usize = 4;

/// What the all-reduces of a log take: the model's times by size, times the one factor under which the mean time per token of the chosen
/// requests is met. The rest of the iteration comes from the profiles. `None` when the folder is faulty or tells nothing, which `diags` holds.
pub fn implied_all_reduce(folder: &Path, profiles: &Profiles, half: Half, diags: &mut Diagnostics) -> Option<ImpliedAllReduce> {
    let log = open(folder, diags)?;
    let list: Vec<_> = log.logged.iter().map(|r| (r.arrival, r.first, r.last, r.output)).collect();
    let wanted = figures(half.of(&list))[MEAN_TPOT];
    let mut refuse = |message: String| {
        let place = diags.add_source(folder.join("meta.json").display().to_string(), "");
        diags.push(Diagnostic::error(codes::BAD_LOG, message).at(Span { source: place, start: 0, end: 0 }, "this log"));
    };
    let reached = |factor: f64| replay(&log, profiles, factor).map(|(list, found)| (figures(half.of(&list))[MEAN_TPOT], found));
    let (mut low, mut high) = FACTORS;
    for factor in [low, high] {
        let got = match reached(factor) {
            Ok((_, found)) if found.ranks < 2 => Err("an engine on one accelerator has no all-reduces".to_owned()),
            Ok((tpot, _)) if (tpot - wanted) * (factor - 1.0) < 0.0 => {
                Err(format!("no all-reduce explains {:.2} ms a token: {:.2} ms at {factor} times the model's", 1e3 * wanted, 1e3 * tpot))
            }
            other => other.map(|_| ()),
        };
        if let Err(message) = got {
            refuse(message);
            return None;
        }
    }
    for _ in 0..STEPS {
        let middle = (low * high).sqrt();
        if reached(middle).is_ok_and(|(tpot, _)| tpot < wanted) { low = middle } else { high = middle }
    }
    let factor = (low * high).sqrt();
    let (_, found) = reached(factor).ok()?;
    Some(ImpliedAllReduce { factor, ..found })
}

fn source_of(meta: &Json) -> String {
    format!("vllm {}", meta.get("vllm_version").and_then(Json::as_str).unwrap_or("?"))
}

/// The requests of a log. Two clocks: arrivals are wall time, the engine's marks monotonic; they are laid together so that the
/// quickest pick-up takes no time.
fn read(source: SourceId, diags: &mut Diagnostics) -> Option<Vec<Logged>> {
    let text = diags.source(source).text.clone();
    let before = diags.error_count();
    let mut out = Vec::new();
    let (mut offset, mut at) = (f64::INFINITY, 0);
    for line in text.split_inclusive('\n') {
        let span = Span { source, start: at as u32, end: (at + line.trim_end().len()) as u32 };
        at += line.len();
        if line.trim().is_empty() {
            continue;
        }
        let value: Json = serde_json::from_str(line).unwrap_or(Json::Null);
        let number = |key: &str| value.get(key).and_then(Json::as_f64).filter(|v| v.is_finite());
        let tokens = |key: &str| number(key).filter(|v| v.fract() == 0.0 && (1.0..1e7).contains(v)).map(|v| v as u32);
        let row = (|| {
            let (arrival, queued) = (number("arrival_time")?, number("queued_ts")?);
            let (first, last) = (number("first_token_ts")?, number("last_token_ts")?);
            (queued <= first && first <= last).then_some(())?;
            offset = offset.min(queued - arrival);
            Some(Logged { arrival, first, last, input: tokens("input_toks")?, output: tokens("output_toks")? })
        })();
        match row {
            Some(row) => out.push(row),
            None => diags.push(
                Diagnostic::error(
                    codes::BAD_TABLE,
                    "a request needs input_toks, output_toks, arrival_time, queued_ts, first_token_ts and last_token_ts, in order of time",
                )
                .at(span, "here"),
            ),
        }
    }
    if out.is_empty() && diags.error_count() == before {
        let span = Span { source, start: 0, end: 0 };
        diags.push(Diagnostic::error(codes::BAD_TABLE, "this log has no requests").at(span, "empty"));
    }
    for request in &mut out {
        request.arrival += offset;
    }
    out.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    (diags.error_count() == before).then_some(out)
}

/// Letters and digits of a name, in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

/// The part of a log: its `accelerator`, or the beginning of the folder's name (`RTXPRO6000_Llama-3.1-8B`).
fn part(name: &str, meta: &Json) -> Result<String, String> {
    let wanted = meta.get("accelerator").and_then(Json::as_str).unwrap_or_else(|| name.split('_').next().unwrap_or(name));
    let found = Catalogue::embedded().accelerators.keys().find(|id| plain(id).starts_with(&plain(wanted)));
    found.map(ToString::to_string).filter(|_| !plain(wanted).is_empty()).ok_or_else(|| format!("no accelerator is called `{wanted}`"))
}

/// The engine of a log with its own settings.
fn engine(settings: &Json) -> Result<StackRow, String> {
    let mut s = stack("vllm-0.19").cloned().ok_or("the engine `vllm-0.19` is missing")?;
    let count = |key: &str| settings.get(key).and_then(Json::as_u64).filter(|v| (1..1 << 20).contains(v));
    if let Some(tokens) = count("max_num_batched_tokens") {
        s.max_tokens.value = tokens;
    }
    if let Some(sequences) = count("max_num_seqs") {
        s.max_sequences.value = sequences;
    }
    if let Some(share) = settings.get("gpu_memory_utilization").and_then(Json::as_f64).filter(|v| (0.0..=1.0).contains(v)) {
        s.memory_share.value = share;
    }
    Ok(s)
}

/// A request: arrival, first and last token, seconds, and its tokens.
type Timed = (f64, f64, f64, u32);

/// Serves a log again, with all-reduces `factor` times as slow as the model's; its requests, and what its all-reduces then take.
fn replay(log: &Log, profiles: &Profiles, factor: f64) -> Result<(Vec<Timed>, ImpliedAllReduce), String> {
    let (meta, logged) = (&log.meta, &log.logged);
    let settings = meta.get("engine_kwargs").unwrap_or(&Json::Null);
    let model = meta.get("model").and_then(Json::as_str).ok_or("the meta file names no model")?;
    let id = model.rsplit('/').next().unwrap_or(model).to_lowercase();
    let preset = presets().iter().find(|p| p.id.value == id).ok_or_else(|| format!("the model `{model}` is no preset"))?;
    let tensor = settings.get("tensor_parallel_size").and_then(Json::as_u64).unwrap_or(1).clamp(1, 64);
    for (key, plain) in [("data_parallel_size", 1), ("pipeline_parallel_size", 1)] {
        if settings.get(key).and_then(Json::as_u64).is_some_and(|v| v != plain) {
            return Err(format!("{key} is not modelled"));
        }
    }
    if settings.get("dtype").and_then(Json::as_str).is_some_and(|d| !["bfloat16", "float16", "auto"].contains(&d)) {
        return Err("only 16-bit weights are read from logs".into());
    }
    let stack = engine(settings)?;
    let deployment = Deployment {
        tensor,
        blocks: meta.get("num_gpu_blocks").or_else(|| settings.get("num_gpu_blocks_override")).and_then(Json::as_u64),
        ..Deployment::plain(Shape::of_preset(preset)?, Formats { linear: Dtype::Bf16, attention: Dtype::Bf16, kv: Dtype::Bf16 })
    };
    let accelerator = part(&log.name, meta)?;
    // Cards in slots of their own: the catalogue's host is an Intel one, across whose bridges NCCL makes no peer copies (`ncclTopoCheckP2p`).
    let cards = tensor > 1 && Catalogue::embedded().accelerators.get(&accelerator).is_some_and(|a| a.scale_up.is_none());
    let cluster = FabricShape {
        peer_access: !cards || meta.get("peer_access").and_then(Json::as_bool).unwrap_or(false),
        ..FabricShape::of(&accelerator, 1, tensor)
    };
    let mut fabric = fabric(&cluster)?;
    fabric.set_measured(profiles.measured());
    let mut pool = deployment.pool(&fabric, profiles, &stack).map_err(|e| e.to_string())?;
    pool.costs.iter_mut().for_each(|c| c.slow_all_reduces(factor));
    let start = logged.first().map_or(0.0, |r| r.arrival);
    let list = logged
        .iter()
        .map(|r| Request { arrival: r.arrival - start, input: r.input, output: r.output, session: NO_SESSION, hashes: (0, 0) })
        .collect();
    let requests = Requests { list, ..Requests::default() };
    let served = serve(&mut pool, &requests, Arrivals::Open, 0.0, &Streams::new(1));
    if served.rejected > 0 {
        return Err("a request is larger than the key-value cache".into());
    }
    let list = served.records.iter().zip(logged).map(|(r, l)| (r.arrival, r.first, r.last, l.output)).collect();
    let hidden = 2.0 * deployment.shape.hidden as f64;
    let tokens = (0..).map(|i| 1u64 << i).take_while(|t| t <= &stack.max_tokens);
    let points = tokens.filter_map(|t| Some((t as f64 * hidden, pool.costs.first()?.all_reduce_time(t as f64 * hidden)))).collect();
    Ok((list, ImpliedAllReduce { part: accelerator, ranks: tensor, points, factor }))
}
