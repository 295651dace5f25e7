//! Step times of encoders, convolutional networks and adapters: rows that say what is trained and on what, but not the layout.
//!
//! The prediction is the fastest layout that fits into memory, among those that the model allows: data parallelism with the largest
//! microbatches for BERT and ResNet, tensor, context and pipeline degrees for adapters beside frozen weights.

use super::cluster::{Shape, fabric, has_no_switch, measured};
use super::gemm::part;
use super::recipes::{adapter_exchange, adapter_layers, adapter_tensor, adapters_keep_narrow};
use super::table::{Columns, Predicted, Record};
use crate::fabric::Fabric;
use crate::kernels::{OptimizerKind, Profiles};
use crate::metrics::step_interval;
use crate::model::{Architecture, Preset};
use crate::training::{
    Attention, Config, Offload, Parallel, Precision, Recompute, Schedule, Sharding, Stack, Uneven, expert_stacks, simulate_step_with,
};

pub(super) const COLUMNS: Columns = Columns {
    needed: &[
        "id",
        "source",
        "date",
        "framework",
        "accelerator",
        "accelerators",
        "accelerators_per_node",
        "scale_up_domain",
        "fabric",
        "nics_per_node",
        "nic_gbps",
        "model",
        "seq_len",
        "global_batch",
        "dtype",
    ],
    measured: &["step_time_s"],
};

/// Mean tokens of a packed sample over the longest: half of BERT's 512 positions hold words (packing factor 2.0, arXiv 2107.02027).
const PACKED: u64 = 2;

/// Width of a bin of lengths, positions.
const BIN: u64 = 64;

/// What a row leaves open.
struct Job {
    config: Config,
    /// Degrees that may be tried.
    layouts: Vec<Parallel>,
    microbatches: Vec<u64>,
    /// What may be computed again, and in how many layers.
    recompute: Vec<(Recompute, Option<u64>)>,
}

/// Submitted PCIe systems have switches under which cards copy to each other (NVIDIA's runs tensor parallelism of 4 over L40S), not the shared way
/// through host memory of rented ones: more than their links, bytes a second. Assumed, with the four rows of L40S known.
const FREE_COPIES: f64 = 1e12;

fn parallel(tensor: u64, pipeline: u64, context: u64, data: u64) -> Parallel {
    Parallel {
        tensor,
        pipeline,
        data,
        context,
        expert: 1,
        virtual_stages: 1,
        schedule: Schedule::OneForwardOneBackward,
        sequence: tensor > 1,
    }
}

/// Powers of two up to a number.
fn doublings(most: u64) -> impl Iterator<Item = u64> {
    (0..40).map(|i| 1 << i).take_while(move |x| *x <= most)
}

fn config(record: &Record<'_>, model: Architecture, submitted: bool, adapter_rank: Option<u64>, ranks: u64) -> Result<Config, String> {
    let id = match (submitted, adapter_rank.is_some(), record.text("date") < "2025") {
        (false, ..) => "pytorch-ddp-2021",
        (true, false, _) => "mlperf-ddp-2024",
        (true, true, true) => "mlperf-2024",
        (true, true, false) => "mlperf-2025",
    };
    let stack = Stack::named(id).ok_or_else(|| format!("the stack `{id}` is missing"))?;
    let bert = record.text("model").starts_with("bert");
    // BERT's 8-bit layers and attention are for Hopper and later: the public configuration for L40S (Fujitsu, 2024) asks for neither.
    let dtype = if submitted && bert && part(record)?.generation.value == "ada" { "fp16" } else { record.text("dtype") };
    // The benchmarks' reference: LAMB for BERT, momentum (LARS at large batches) for ResNet-50, AdamW for adapters.
    let optimizer = match record.text("model") {
        _ if bert => OptimizerKind::Lamb,
        m if m.starts_with("resnet") => OptimizerKind::Momentum,
        _ => OptimizerKind::Adam,
    };
    // Submissions of BERT shard LAMB inside a node and sum the shards between nodes (`--dwu-group-size`: one node where nothing is said);
    // those of ResNet-50 sum whole gradients (Horovod).
    let (shards, node) = (submitted && ranks > 1 && bert, record.count("accelerators_per_node")?);
    Ok(Config {
        model,
        parallel: parallel(1, 1, 1, ranks),
        global_batch: record.count("global_batch")?,
        microbatch: 1,
        uneven: Uneven::default(),
        batch_shares: None,
        precision: Precision::from_word(dtype).ok_or_else(|| format!("training in `{dtype}` is not modelled yet"))?,
        recompute: Recompute::None,
        recompute_layers: None,
        optimizer,
        attention: if submitted { Attention::Flash } else { Attention::Unfused },
        sharding: if shards { Sharding::Optimizer } else { Sharding::None },
        shard_group: Some(node).filter(|n| shards && *n < ranks && ranks.is_multiple_of(*n)),
        offload: Offload::default(),
        hierarchical: false,
        adapter_rank,
        stack: stack.clone(),
        experts: expert_stacks()[0].clone(),
        expert_imbalance: 1.0,
        collective_channels: None,
    })
}

/// Data parallelism with the largest microbatches of one rank's samples.
fn replicated(record: &Record<'_>, id: &str, submitted: bool, ranks: u64) -> Result<Job, String> {
    let mut model = Preset::named(id).ok_or_else(|| format!("`{id}` is no preset"))?.architecture();
    // What does not divide is rounded up: the ranks with most samples set the pace.
    let own = record.count("global_batch")?.div_ceil(ranks);
    if !model.is_network() {
        let length = record.count("seq_len")?;
        // Submissions pack samples; DeepLearningExamples puts long ones into bins of 64 positions (LDDL, from memory), which leaves half a
        // bin of padding in the mean; short ones are padded to the longest.
        model.sequence_length = match (submitted, length > 128) {
            (true, _) => (length / PACKED).max(1),
            (false, true) => length / PACKED + BIN / 2,
            (false, false) => length,
        };
    }
    let config = Config { global_batch: own * ranks, ..config(record, model, submitted, None, ranks)? };
    // Whole batches of a rank, or the largest powers of two.
    let mut microbatches: Vec<u64> = doublings(own).filter(|m| own.is_multiple_of(*m)).collect();
    microbatches.push(own);
    microbatches.reverse();
    microbatches.truncate(6);
    Ok(Job { config, layouts: vec![parallel(1, 1, 1, ranks)], microbatches, recompute: vec![(Recompute::None, None)] })
}

/// Adapters beside frozen weights: every layout of powers of two that the batch allows; of the tensor degree of public configurations, which have
/// no pipelines, where there are any.
fn adapters(record: &Record<'_>, base: &str, rank: u64, ranks: u64) -> Result<Job, String> {
    let mut model = Preset::named(base).ok_or_else(|| format!("`{base}` is no preset"))?.architecture();
    model.sequence_length = record.count("seq_len")?;
    let batch = record.count("global_batch")?;
    let per_node = record.count("accelerators_per_node")?.min(ranks);
    let layouts = |degrees: &dyn Fn(u64) -> bool, most: u64| {
        let mut layouts = Vec::new();
        for tensor in doublings(per_node).filter(|t| model.kv_heads.is_multiple_of(*t) && degrees(*t)) {
            for pipeline in doublings(most).filter(|p| model.layers.is_multiple_of(*p)) {
                for context in doublings(64) {
                    let model_ranks = tensor * pipeline * context;
                    let data = ranks / model_ranks.max(1);
                    if data * model_ranks == ranks && data > 0 && batch.is_multiple_of(data) && batch / data >= pipeline.min(2) {
                        layouts.push(parallel(tensor, pipeline, context, data));
                    }
                }
            }
        }
        layouts
    };
    let known = adapter_tensor(record.text("accelerator"), record.text("date"), ranks / per_node.max(1));
    let public = known.map_or_else(Vec::new, |k| layouts(&|t| t == k, 1));
    let layouts = if public.is_empty() { layouts(&|_| true, 8) } else { public };
    if layouts.is_empty() {
        return Err("no layout divides the batch and the accelerators".into());
    }
    let mut config = config(record, model, true, Some(rank), ranks)?;
    let (accelerator, date) = (record.text("accelerator"), record.text("date"));
    config.stack.context_exchange.value = adapter_exchange(accelerator, date);
    config.stack.narrow_activations.value = adapters_keep_narrow(date);
    let recompute = match adapter_layers(accelerator) {
        None => vec![(Recompute::None, None), (Recompute::Full, None)],
        layers => vec![(Recompute::Full, layers)],
    };
    Ok(Job { config, layouts, microbatches: vec![1], recompute })
}

/// Whether a row is a submission to MLPerf.
fn submitted(record: &Record<'_>) -> bool {
    record.text("framework").starts_with("mlperf")
}

fn job(record: &Record<'_>, ranks: u64) -> Result<Job, String> {
    let submitted = submitted(record);
    match record.text("model").split_once("-lora-r") {
        Some((base, rank)) => adapters(record, base, rank.parse().map_err(|_| "the rank of the adapters is no number")?, ranks),
        None => replicated(record, record.text("model"), submitted, ranks),
    }
}

/// The fastest layout that fits, or the one that needs least memory where none does.
fn fastest(job: &Job, fabric: &Fabric, profiles: &Profiles, memory: f64) -> Result<Predicted, String> {
    let (mut best, mut least, mut failure) = (None::<Predicted>, None::<(f64, Predicted)>, "no layout was tried".to_owned());
    for &parallel in &job.layouts {
        for &(recompute, recompute_layers) in &job.recompute {
            // Larger microbatches first: the first that fits is taken.
            for &microbatch in &job.microbatches {
                let config = Config { parallel, microbatch, recompute, recompute_layers, ..job.config.clone() };
                let step = match simulate_step_with(&config, fabric, profiles) {
                    Ok(step) => step,
                    Err(error) => {
                        failure = error.to_string();
                        continue;
                    }
                };
                let peak = step.memory.iter().map(|m| m.total()).fold(0.0, f64::max);
                let (low, high) = step_interval(&config, &step);
                let this = Predicted { time: step.time_s(), low, high };
                if peak <= memory {
                    best = Some(best.filter(|b| b.time <= this.time).unwrap_or(this));
                    break;
                }
                if least.is_none_or(|l| peak < l.0) {
                    least = Some((peak, this));
                }
            }
        }
    }
    best.or(least.map(|l| l.1)).ok_or(failure)
}

pub(super) fn predict(record: &Record<'_>, profiles: &Profiles) -> Result<Predicted, String> {
    let part = part(record)?;
    let ranks = record.count("accelerators")?;
    let built_in = record.count("accelerators_per_node")?;
    let per_node = built_in.min(ranks);
    if !ranks.is_multiple_of(per_node) {
        return Err("the accelerators do not fill whole nodes".into());
    }
    let job = job(record, ranks)?;
    let shape = Shape {
        domain: record.get::<u64>("scale_up_domain").ok().filter(|d| *d > per_node && ranks > per_node),
        nics: record.get("nics_per_node")?,
        gbps: record.get("nic_gbps")?,
        fabric: record.text("fabric").to_owned(),
        peer_copies: Some(FREE_COPIES).filter(|_| submitted(record)),
        direct: has_no_switch(&part.id.value, built_in),
        ..Shape::of(&part.id.value, ranks / per_node, per_node)
    };
    fastest(&job, &measured(fabric(&shape)?, profiles), profiles, part.memory.get())
}
