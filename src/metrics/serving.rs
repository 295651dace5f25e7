//! Requests that were served to numbers: latencies, throughput, goodput, load.

use super::serving_facts::{facts, profile};
use super::serving_models::{ModelOutcome, models};
use super::{Detail, Percentiles};
use crate::fabric::{AcceleratorId, Fabric};
use crate::serving::{Deployment, Memory, Pool, Prompts, Record, Request, Requests, Series, Served, StackRow};
use schemars::JsonSchema;
use serde::Serialize;

/// Keys and values between engines of prompts and engines that decode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct HandoverOutcome {
    /// From the first token (the end of the prompt) until all keys and values are at the engine that decodes.
    pub wait_s: Percentiles,
    /// Bytes handed over.
    pub bytes: f64,
    /// Prompt tokens per second and accelerator of the engines of prompts.
    pub input_tokens_per_s_per_accelerator: f64,
    /// Output tokens per second and accelerator of the engines that decode.
    pub output_tokens_per_s_per_accelerator: f64,
    /// The same in half of the time slices at least.
    pub median_output_tokens_per_s_per_accelerator: f64,
    /// Share of the time in which engines of prompts run an iteration.
    pub prompts_busy_share: f64,
    /// Share of the time in which engines that decode run an iteration.
    pub decodes_busy_share: f64,
}

/// Engines that come and go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct FleetOutcome {
    /// Engines that are on (starting, ready, emptying or failed) over all, on average; rent and energy count these.
    pub engines_on_share: f64,
    /// Engines that were started after the beginning.
    pub starts: u64,
    /// Requests that a failed engine lost and others computed again.
    pub moved_requests: u64,
}

/// Serving of a stream of requests.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ServingOutcome {
    /// Time to first token: first token − sent, queueing included.
    pub ttft_s: Percentiles,
    /// Time per output token after the first: (last − first token) ÷ (tokens − 1), by request; requests of one token have none.
    pub tpot_s: Percentiles,
    /// Time to first token of urgent requests alone, where some are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgent_ttft_s: Option<Percentiles>,
    /// Time between successive tokens of a request, over all tokens.
    pub itl_s: Percentiles,
    /// Time to the last token: last token − sent.
    pub e2e_s: Percentiles,
    /// Time from sending until the prompt first runs.
    pub queue_s: Percentiles,
    /// Output tokens of counted requests over the duration.
    pub output_tokens_per_s: f64,
    /// Output tokens a second in half of the time slices at least: what a long run settles to.
    pub median_output_tokens_per_s: f64,
    /// Prompt tokens of counted requests over the duration.
    pub input_tokens_per_s: f64,
    /// Output tokens per second and accelerator.
    pub output_tokens_per_s_per_accelerator: f64,
    /// Counted requests over the duration.
    pub requests_per_s: f64,
    /// Counted requests that meet all targets over the duration (all of them where none is set).
    pub goodput_requests_per_s: f64,
    /// Share of the requests that meet all targets; refused and lost ones do not.
    pub slo_attainment: f64,
    /// Whether as large a share as is asked meets them.
    pub slo_met: bool,
    /// Requests that are counted: completed, and sent after the warm-up.
    pub completed: u64,
    /// Requests that no engine's cache can hold, with what would have followed in their sessions.
    pub rejected: u64,
    /// Requests that were refused because too many waited, with what would have followed in their sessions.
    pub shed: u64,
    /// Requests that no engine was left for.
    pub unserved: u64,
    /// Rows of the trace that could not be read and were left out.
    pub skipped_rows: u64,
    /// From the end of the warm-up to the last token.
    pub duration_s: f64,
    /// How often a running request was put back and computed again.
    pub preemptions: u64,
    /// Iterations of all engines.
    pub iterations: u64,
    /// Share of the time in which engines run an iteration.
    pub busy_share: f64,
    /// Requests in the system on average over the whole run.
    pub mean_requests: f64,
    /// Share of the prompt tokens that came from the prefix cache.
    pub cached_prompt_share: f64,
    /// Share of the prompt tokens that were read from a tier into it.
    pub loaded_prompt_share: f64,
    /// Keys and values between engines, where prompts have engines of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<HandoverOutcome>,
    /// Every model, where there are several: the first and those beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelOutcome>,
    /// Engines that come and go, where they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetOutcome>,
    /// Blocks of the key-value cache of an engine (the fullest one).
    pub kv_blocks: u64,
    /// Greatest share of them in use.
    pub kv_peak_share: f64,
    /// All cost over output tokens alone.
    pub usd_per_million_output_tokens: f64,
    /// All cost over prompt tokens alone.
    pub usd_per_million_input_tokens: f64,
    /// All energy over output tokens.
    pub joules_per_output_token: f64,
}

/// One request for tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestRow {
    /// What became of it.
    pub record: Record,
    /// Prompt tokens.
    pub input: u32,
    /// Answer tokens.
    pub output: u32,
    /// Whether it goes before others.
    pub urgent: bool,
    /// Which model it is for.
    pub model: u16,
}

/// What reports of serving draw.
#[derive(Debug, Clone, PartialEq)]
pub struct ServingDetail {
    /// Every request in order of arrival.
    pub requests: Vec<RequestRow>,
    /// Load over time.
    pub series: Series,
    /// Places with requests of their own: engines, or their ranks or lanes.
    pub replicas: u64,
    /// Engines, where they come and go.
    pub fleet: Option<u64>,
    /// Memory of a rank.
    pub memory: Memory,
    /// Targets (time to first token, per token, to the last token) and the share that has to meet them.
    pub goals: Option<[f64; 4]>,
}

/// What ran, for the numbers.
pub struct ServingFrame<'a, 'f> {
    /// The cluster.
    pub fabric: &'a Fabric,
    /// The engines.
    pub deployment: &'a Deployment,
    /// Their settings.
    pub stack: &'a StackRow,
    /// Their iteration times.
    pub pool: &'a Pool<'f>,
    /// Targets and the share that has to meet them.
    pub goals: Option<[f64; 4]>,
    /// Seconds before which arrivals are not counted.
    pub warm_up: f64,
    /// Rows of a trace that were left out.
    pub skipped: u64,
    /// Further models: names, targets and the share that has to meet them.
    pub models: Vec<(String, Option<[f64; 4]>)>,
    /// The traffic in words.
    pub title: String,
}

/// Sums that cost needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted {
    /// Prompt tokens.
    pub input: f64,
    /// Output tokens.
    pub output: f64,
    /// Share of the engines that are on.
    pub engines_on: f64,
    /// Events of the simulation.
    pub events: u64,
}

/// The numbers and the detail of a run, and what cost needs. Costs are still zero.
#[must_use]
pub fn serving_outcome(frame: &ServingFrame<'_, '_>, requests: &Requests, mut served: Served) -> (ServingOutcome, Detail, Counted) {
    let row = |(i, (q, &record)): (usize, (&Request, &Record))| RequestRow {
        record,
        input: q.input,
        output: q.output,
        urgent: requests.is_urgent(i as u32),
        model: requests.model_of(i as u32),
    };
    let all: Vec<RequestRow> = requests.list.iter().zip(&served.records).enumerate().map(row).collect();
    let gaps = std::mem::take(&mut served.gaps).into_sorted();
    let (numbers, counted) = numbers(frame, requests, &all, &served, &gaps);
    let first = frame.deployment.prompts.as_ref().map_or(0, |p| p.engines.replicas * p.engines.ranks());
    let memory = frame.deployment.memory(frame.fabric, frame.stack, AcceleratorId(first as u32));
    let detail = Detail {
        facts: facts(frame, &memory, numbers.kv_blocks),
        profile: profile(frame),
        serving: Some(ServingDetail {
            requests: all,
            series: served.series,
            replicas: frame.pool.engines.iter().map(|e| e.replicas() as u64).sum(),
            fleet: frame.pool.fleet.moves().then_some(frame.pool.engines.len() as u64),
            memory,
            goals: frame.goals,
        }),
        ..Detail::default()
    };
    (numbers, detail, counted)
}

/// The numbers of a run, costs aside, and the sums that cost needs; `gaps` between tokens come ascending with their counts.
fn numbers(
    frame: &ServingFrame<'_, '_>,
    requests: &Requests,
    all: &[RequestRow],
    served: &Served,
    gaps: &[(f64, u64)],
) -> (ServingOutcome, Counted) {
    let counted: Vec<&RequestRow> = all.iter().filter(|r| r.record.is_done() && r.record.arrival >= frame.warm_up).collect();
    let n = counted.len() as f64;
    let last = counted.iter().map(|r| r.record.last).fold(0.0, f64::max);
    let duration = if counted.is_empty() { served.end_s.max(1e-9) } else { last - frame.warm_up };
    let models = models(frame, all, served, duration);
    let goals = |r: &RequestRow| if r.model == 0 { frame.goals } else { frame.models.get(r.model as usize - 1).and_then(|m| m.1) };
    let good = counted.iter().filter(|r| goals(r).is_none_or(|g| meets(r, g))).count() as f64;
    let input: f64 = counted.iter().map(|r| f64::from(r.input)).sum();
    let output: f64 = counted.iter().map(|r| f64::from(r.output)).sum();
    let accelerators = frame.fabric.accelerator_count() as f64;
    let missed = (served.rejected + served.shed + served.unserved) as f64;
    let attainment = if counted.is_empty() { 0.0 } else { good / (n + missed) };
    let engines_on = served.engine_s / (frame.pool.engines.len() as f64 * served.end_s.max(1e-9));
    let loaded: f64 = counted.iter().map(|r| f64::from(r.record.loaded)).sum();
    let e2e: f64 = all.iter().filter(|r| r.record.is_done()).map(|r| r.record.e2e()).sum();
    let cached: f64 = counted.iter().map(|r| f64::from(r.record.cached)).sum();
    let handover = frame.deployment.prompts.as_ref().map(|p| handover(frame, p, &counted, served, (input, output, duration)));
    let numbers = ServingOutcome {
        ttft_s: Percentiles::of(counted.iter().map(|r| r.record.ttft())),
        urgent_ttft_s: (!requests.urgent.is_empty()).then(|| Percentiles::of(counted.iter().filter(|r| r.urgent).map(|r| r.record.ttft()))),
        tpot_s: Percentiles::of(counted.iter().filter_map(|r| r.record.tpot(r.output))),
        itl_s: Percentiles::of_sorted(gaps),
        e2e_s: Percentiles::of(counted.iter().map(|r| r.record.e2e())),
        queue_s: Percentiles::of(counted.iter().map(|r| r.record.scheduled - r.record.arrival)),
        output_tokens_per_s: output / duration,
        median_output_tokens_per_s: median_rate(&served.series),
        input_tokens_per_s: input / duration,
        output_tokens_per_s_per_accelerator: output / duration / accelerators,
        requests_per_s: n / duration,
        goodput_requests_per_s: good / duration,
        slo_attainment: attainment,
        slo_met: if models.is_empty() {
            !counted.is_empty() && frame.goals.is_none_or(|g| attainment >= g[3])
        } else {
            models.iter().all(|m| m.slo_met)
        },
        models,
        completed: counted.len() as u64,
        rejected: served.rejected,
        shed: served.shed,
        unserved: served.unserved,
        skipped_rows: frame.skipped,
        duration_s: duration,
        preemptions: served.preemptions,
        iterations: served.iterations,
        busy_share: (served.busy_s.iter().sum::<f64>() / (served.busy_s.len() as f64 * served.end_s.max(1e-9))).min(1.0),
        mean_requests: e2e / served.end_s.max(1e-9),
        cached_prompt_share: if input > 0.0 { cached / input } else { 0.0 },
        loaded_prompt_share: if input > 0.0 { loaded / input } else { 0.0 },
        handover,
        fleet: frame.pool.fleet.moves().then_some(FleetOutcome {
            engines_on_share: engines_on,
            starts: served.starts,
            moved_requests: served.moved,
        }),
        kv_blocks: served.peak_blocks.1,
        kv_peak_share: served.peak_blocks.0 as f64 / served.peak_blocks.1.max(1) as f64,
        usd_per_million_output_tokens: 0.0,
        usd_per_million_input_tokens: 0.0,
        joules_per_output_token: 0.0,
    };
    (numbers, Counted { input, output, engines_on, events: served.events })
}

/// Median over the slices of time of the output rate, tokens a second.
fn median_rate(series: &Series) -> f64 {
    Percentiles::of(series.slices.iter().map(|s| s.output / series.width)).p50
}

/// What moved between engines, and what each kind of them did.
fn handover(
    frame: &ServingFrame<'_, '_>,
    prompts: &Prompts,
    counted: &[&RequestRow],
    served: &Served,
    (input, output, duration): (f64, f64, f64),
) -> HandoverOutcome {
    let d = frame.deployment;
    let places = prompts.engines.replicas * prompts.engines.data * prompts.engines.pipeline;
    let (first, rest) = served.busy_s.split_at((places as usize).min(served.busy_s.len()));
    let busy = |of: &[f64]| (of.iter().sum::<f64>() / (of.len().max(1) as f64 * served.end_s.max(1e-9))).min(1.0);
    HandoverOutcome {
        wait_s: Percentiles::of(counted.iter().filter(|r| r.record.moved < f64::INFINITY).map(|r| r.record.moved - r.record.first)),
        bytes: served.handed_bytes,
        input_tokens_per_s_per_accelerator: input / duration / (prompts.engines.replicas * prompts.engines.ranks()) as f64,
        output_tokens_per_s_per_accelerator: output / duration / (d.replicas * d.ranks()) as f64,
        median_output_tokens_per_s_per_accelerator: median_rate(&served.series) / (d.replicas * d.ranks()) as f64,
        prompts_busy_share: busy(first),
        decodes_busy_share: busy(rest),
    }
}

pub(super) fn meets(r: &RequestRow, goals: [f64; 4]) -> bool {
    r.record.ttft() <= goals[0] && r.record.tpot(r.output).unwrap_or(0.0) <= goals[1] && r.record.e2e() <= goals[2]
}
