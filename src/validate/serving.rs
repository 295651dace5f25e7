//! Closed-loop serving points and offline throughput: a row becomes a deployment, an engine with the settings of its launch script, and the
//! client of the benchmark.

use super::cluster::{Shape as FabricShape, fabric};
use super::table::{Columns, Record};
use crate::engine::Streams;
use crate::hardware::Dtype;
use crate::kernels::Profiles;
use crate::model::presets;
use crate::serving::{
    Arrivals, Deployment, Formats, Length, Pace, Served, Shape, Speculation, StackRow, Synthetic, serve, stack, synthesize,
};

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

/// A row of either table.
struct Point {
    engine: String,
    hopper: bool,
    model: String,
    fp8: bool,
    input: u64,
    output: u64,
    concurrency: u64,
    tensor: u64,
}

impl Point {
    fn of(record: &Record<'_>) -> Result<Self, String> {
        Ok(Self {
            engine: record.text("engine").to_owned(),
            hopper: record.text("accelerator").starts_with('h'),
            model: record.text("model").to_owned(),
            fp8: record.text("precision") == "fp8",
            input: record.count("isl")?,
            output: record.count("osl")?,
            concurrency: record.count("concurrency")?,
            tensor: record.count("tensor_parallel")?,
        })
    }
    fn family(&self) -> &str {
        self.engine.split('-').next().unwrap_or("")
    }
    fn is_mixture(&self) -> bool {
        self.model.starts_with("deepseek")
    }
}

fn named(id: &str) -> Result<StackRow, String> {
    stack(id).cloned().ok_or_else(|| format!("the engine `{id}` is missing"))
}

/// The engine of a closed-loop row with the settings of the public launch scripts.
fn engine(p: &Point) -> Result<StackRow, String> {
    let mut s = match (p.family(), p.hopper) {
        ("vllm", true) => named("vllm")?,
        ("vllm", false) => named("vllm-decode-graphs")?,
        ("trtllm", _) if p.engine == "trtllm-1.0.0rc3" => named("trtllm-1.0rc")?,
        ("trtllm", true) => named("trtllm")?,
        ("trtllm", false) => named("trtllm-blackwell")?,
        ("sglang", _) => named("sglang")?,
        (other, _) => return Err(format!("the engine `{other}` is not modelled")),
    };
    match p.family() {
        "vllm" if p.hopper => s.max_sequences.value = p.concurrency,
        // One slot fewer than clients: time to first token grows with the length of answers as if each waited for another's end.
        "trtllm" if p.engine == "trtllm-1.0.0rc3" => s.max_sequences.value = p.concurrency.saturating_sub(1).max(1),
        "trtllm" if p.is_mixture() => {
            let late = p.engine.starts_with("trtllm-1.2");
            s.max_tokens.value = (p.concurrency + p.input + 64).next_multiple_of(64).max(if late { 8192 } else { 0 });
            s.memory_share.value = 0.8;
            if late && p.fp8 && p.input == 1024 && p.output == 1024 && p.concurrency >= 64 {
                (s.wait_iterations.value, s.wait_share.value) = (40, 0.8);
            }
        }
        "trtllm" if p.input == 1024 && p.output == 1024 && p.tensor < 8 => {
            (s.wait_iterations.value, s.wait_share.value) = (20, 0.9);
        }
        "sglang" => {
            let (budget, share, most) = match (p.fp8, p.tensor) {
                (false, _) => (16384, 0.85, 256),
                (true, 8) => (32768, 0.82, 128),
                _ => (8192, 0.95, 32),
            };
            s.max_tokens.value = budget;
            s.memory_share.value = share;
            // Sweeps with more clients than a script's limit raised it: their time per token grows with all clients.
            s.max_sequences.value = p.concurrency.max(most);
            s.read_interval.value = if p.concurrency < 16 { 10 } else { 30 };
        }
        _ => {}
    }
    Ok(s)
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

/// The version that the public benchmark uses only in its speculating configurations: three guesses, one with data-parallel attention. 2.5 and
/// 1.7 tokens a step were found on its 30 rows together, both a probability of 0.7 for each guess.
fn speculation(p: &Point, data: u64) -> Option<Speculation> {
    let drafts = if data > 1 { 1 } else { 3 };
    (p.engine == "trtllm-1.2.0rc6.post3").then_some(Speculation { drafts, acceptance: 0.7 })
}

fn shape_of(model: &str) -> Result<Shape, String> {
    let preset = presets().iter().find(|p| p.id.value == model).ok_or_else(|| format!("the model `{model}` is no preset"))?;
    Shape::of_preset(preset)
}

fn run(record: &Record<'_>, p: &Point, stack: &StackRow, traffic: &Synthetic, arrivals: Arrivals) -> Result<(Served, Vec<u32>), String> {
    let data = record.count("data_parallel")?;
    let deployment = Deployment {
        tensor: p.tensor,
        data,
        expert: record.count("expert_parallel")?,
        speculation: speculation(p, data),
        pipeline: record.count("pipeline_parallel")?,
        ..Deployment::plain(shape_of(&p.model)?, formats(record, p)?)
    };
    let cluster = FabricShape {
        accelerator: record.text("accelerator").to_owned(),
        nodes: 1,
        per_node: deployment.ranks(),
        domain: None,
        nics: 0,
        gbps: 0.0,
        fabric: "none".into(),
        links: None,
        peer_access: true,
    };
    let fabric = fabric(&cluster)?;
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
    let p = Point::of(record)?;
    let stack = engine(&p)?;
    // The public harness draws lengths from 80 to 100 % of the nominal ones; the harness of the 8B rows nearly constant ones.
    let least = if p.engine == "trtllm-1.0.0rc3" { 0.9 } else { 0.8 };
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

/// The engine of an offline run.
fn offline(p: &Point) -> Result<StackRow, String> {
    let mut s = match p.engine.as_str() {
        e if e.starts_with("tensorrt-llm") => {
            let mut s = named(if p.hopper { "trtllm" } else { "trtllm-blackwell" })?;
            (s.max_tokens.value, s.max_sequences.value, s.graph_batch.value) = (8192.max(p.input), 4096, 4096);
            s
        }
        e if e.starts_with("vllm") => named("vllm")?,
        e if e.starts_with("transformers-neuronx") => named("neuronx")?,
        other => return Err(format!("the engine `{other}` is not modelled")),
    };
    if p.engine == "vllm-2024" || p.engine.starts_with("transformers") {
        s.max_sequences.value = p.concurrency;
    }
    Ok(s)
}

/// Output tokens per second of all requests at once.
pub(super) fn predict_throughput(record: &Record<'_>) -> Result<Vec<f64>, String> {
    let p = Point::of(record)?;
    let stack = offline(&p)?;
    let requests = record.count("num_requests")?;
    let traffic = Synthetic { pace: Pace::Burst, requests, input: Length::Fixed(p.input), output: Length::Fixed(p.output), common: 0 };
    let (served, outputs) = run(record, &p, &stack, &traffic, Arrivals::Open)?;
    Ok(vec![outputs.iter().map(|&o| f64::from(o)).sum::<f64>() / served.end_s])
}
