//! Closed-loop serving points and offline throughput: a row becomes a deployment, an engine as it was launched, and the client of the
//! benchmark.

use super::cluster::{Shape as FabricShape, fabric, has_no_switch};
use super::launch::{Point, engine, offline};
use super::table::{Columns, Record};
use crate::engine::Streams;
use crate::hardware::Dtype;
use crate::kernels::Profiles;
use crate::model::presets;
use crate::serving::{Arrivals, Deployment, Formats, Length, Pace, RouterPolicy, Served, Shape, StackRow, Synthetic, serve, synthesize};

const NEEDED: &[&str] = &[
    "id",
    "source",
    "engine",
    "accelerator",
    "accelerators",
    "model",
    "precision",
    "kv_dtype",
    "isl",
    "osl",
    "concurrency",
    "tensor_parallel",
    "pipeline_parallel",
    "data_parallel",
    "expert_parallel",
];

pub(super) const COLUMNS: Columns = Columns { needed: NEEDED, measured: &["ttft_ms", "tpot_ms"] };
pub(super) const THROUGHPUT: Columns = Columns { needed: NEEDED, measured: &["output_tokens_per_s"] };

/// The row of a record, with what its script made of it.
fn point(record: &Record<'_>) -> Result<Point, String> {
    let point = Point {
        engine: record.text("engine").to_owned(),
        hopper: record.text("accelerator").starts_with('h'),
        model: record.text("model").to_owned(),
        fp8: record.text("precision") == "fp8",
        input: record.count("isl")?,
        output: record.count("osl")?,
        concurrency: record.count("concurrency")?,
        tensor: record.count("tensor_parallel")?,
        data: record.count("data_parallel")?,
        expert: record.count("expert_parallel")?,
    };
    Ok(point.launched())
}

/// Number formats of a row.
fn formats(record: &Record<'_>, p: &Point) -> Result<Formats, String> {
    let linear = match record.text("precision") {
        "bf16" => Dtype::Bf16,
        "fp8" if p.is_mixture() => Dtype::Fp8Block,
        "fp8" => Dtype::Fp8,
        "nvfp4" => Dtype::Nvfp4,
        "int8" => Dtype::Int8,
        other => return Err(format!("the precision `{other}` is unknown")),
    };
    // The 4-bit checkpoint of DeepSeek-V3 keeps its attention in 16 bit.
    let attention = if p.is_mixture() && linear == Dtype::Nvfp4 { Dtype::Bf16 } else { linear };
    let kv = match record.text("kv_dtype") {
        // vLLM's scripts for H100 did not set an 8-bit cache before 23 September 2025, and one row has a queue that only a 16-bit cache explains.
        "fp8" if p.engine == "vllm" && p.hopper => Dtype::Bf16,
        "fp8" => Dtype::Fp8,
        "bf16" | "fp16" => Dtype::Bf16,
        other => return Err(format!("the cache format `{other}` is unknown")),
    };
    Ok(Formats { linear, attention, kv })
}

fn shape_of(model: &str) -> Result<Shape, String> {
    let preset = presets().iter().find(|p| p.id.value == model).ok_or_else(|| format!("the model `{model}` is no preset"))?;
    Shape::of_preset(preset)
}

/// The servers of a row, of as many accelerators as it says, else of as many as it has.
fn servers(record: &Record<'_>, ranks: u64) -> FabricShape {
    let built_in = record.get::<u64>("accelerators_per_node").ok().filter(|n| *n > 0 && ranks.is_multiple_of(*n));
    let (accelerator, each) = (record.text("accelerator"), built_in.unwrap_or(ranks));
    // Engines keep to their servers, so any network will do.
    let (nics, gbps, fabric) = if each < ranks { (1, 400.0, "infiniband") } else { (0, 0.0, "none") };
    let direct = has_no_switch(accelerator, built_in.unwrap_or(0));
    FabricShape { nics, gbps, fabric: fabric.into(), direct, ..FabricShape::of(accelerator, ranks / each, each) }
}

fn run(record: &Record<'_>, p: &Point, stack: &StackRow, traffic: &Synthetic, arrivals: Arrivals) -> Result<(Served, Vec<u32>), String> {
    let deployment = Deployment {
        tensor: p.tensor,
        data: p.data,
        expert: p.expert,
        router: RouterPolicy::LeastTokens,
        speculation: p.speculation(),
        pipeline: record.count("pipeline_parallel")?,
        ..Deployment::plain(shape_of(&p.model)?, formats(record, p)?)
    };
    let fabric = fabric(&servers(record, deployment.ranks()))?;
    let mut pool = deployment.pool(&fabric, Profiles::embedded(), stack).map_err(|e| e.to_string())?;
    let requests = synthesize(traffic, &Streams::new(1));
    let served = serve(&mut pool, &requests, arrivals, 0.0, &Streams::new(1));
    if served.rejected > 0 {
        return Err("a request is larger than the key-value cache".into());
    }
    Ok((served, requests.list.iter().map(|r| r.output).collect()))
}

/// Mean time to first token and per further token, milliseconds, of ten times as many requests as clients.
pub(super) fn predict(record: &Record<'_>) -> Result<Vec<f64>, String> {
    let p = point(record)?;
    let stack = engine(&p)?;
    // The public harness draws lengths from 80 to 100 % of the nominal ones; `genai-perf` was asked for the nominal ones.
    let least = if p.is_written() { 1.0 } else { 0.8 };
    let length = |nominal: u64| Length::Uniform(((nominal as f64 * least) as u64).max(1), nominal);
    let traffic =
        Synthetic { pace: Pace::Burst, requests: 10 * p.concurrency, input: length(p.input), output: length(p.output), common: 0 };
    let (served, outputs) = run(record, &p, &stack, &traffic, Arrivals::Closed { clients: p.concurrency as usize, pause: 0.0 })?;
    let n = served.records.len() as f64;
    let ttft = served.records.iter().map(|r| r.ttft()).sum::<f64>() / n;
    let each: Vec<f64> = served.records.iter().zip(&outputs).filter_map(|(r, &o)| r.tpot(o)).collect();
    let tpot = each.iter().sum::<f64>() / each.len().max(1) as f64;
    Ok(vec![1e3 * ttft, 1e3 * tpot])
}

/// Output tokens per second of all requests at once.
pub(super) fn predict_throughput(record: &Record<'_>) -> Result<Vec<f64>, String> {
    let p = point(record)?;
    let stack = offline(&p)?;
    let requests = record.count("num_requests")?;
    let traffic = Synthetic { pace: Pace::Burst, requests, input: Length::Fixed(p.input), output: Length::Fixed(p.output), common: 0 };
    let (served, outputs) = run(record, &p, &stack, &traffic, Arrivals::Open)?;
    Ok(vec![outputs.iter().map(|&o| f64::from(o)).sum::<f64>() / served.end_s])
}
