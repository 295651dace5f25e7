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
use std::path::PathBuf;

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
fn figures(list: &[(f64, f64, f64, u32)]) -> Vec<f64> {
    let parts = [
        Percentiles::of(list.iter().map(|r| r.1 - r.0)),
        Percentiles::of(list.iter().filter(|r| r.3 > 1).map(|r| (r.2 - r.1) / f64::from(r.3 - 1))),
        Percentiles::of(list.iter().map(|r| r.2 - r.0)),
    ];
    parts.iter().flat_map(|p| [p.mean, p.p50, p.p90, p.p99]).collect()
}

/// Serves every log again; `None` when a folder is faulty, which `diags` then holds.
pub fn validate_logs(folders: &[PathBuf], diags: &mut Diagnostics) -> Option<Report> {
    let mut rows = Vec::new();
    for folder in folders {
        let meta = diags.read_file(&folder.join("meta.json"), None);
        let requests = diags.read_file(&folder.join("requests.jsonl"), None);
        let (Some(meta), Some(requests)) = (meta, requests) else { continue };
        let meta_value: Json = match serde_json::from_str(&diags.source(meta).text) {
            Ok(value) => value,
            Err(error) => {
                let span = Span { source: meta, start: 0, end: 0 };
                diags.push(Diagnostic::error(codes::BAD_TABLE, format!("this is no JSON: {error}")).at(span, "in this file"));
                continue;
            }
        };
        let Some(logged) = read(requests, diags) else { continue };
        let name = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let list: Vec<_> = logged.iter().map(|r| (r.arrival, r.first, r.last, r.output)).collect();
        let outcome = predict(&name, &meta_value, &logged);
        rows.push(Row { id: name, source: source_of(&meta_value), measured: figures(&list), outcome, about: None, interval: None });
    }
    (!diags.has_errors()).then(|| Report::new(Kind::ServingLog, COLUMNS, rows))
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

fn predict(name: &str, meta: &Json, logged: &[Logged]) -> Result<Vec<f64>, String> {
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
    let cluster = FabricShape {
        accelerator: part(name, meta)?,
        nodes: 1,
        per_node: tensor,
        domain: None,
        nics: 0,
        gbps: 0.0,
        fabric: "none".into(),
        links: None,
    };
    let fabric = fabric(&cluster)?;
    let mut pool = deployment.pool(&fabric, Profiles::embedded(), &stack).map_err(|e| e.to_string())?;
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
    let list: Vec<_> = served.records.iter().zip(logged).map(|(r, l)| (r.arrival, r.first, r.last, l.output)).collect();
    Ok(figures(&list))
}
