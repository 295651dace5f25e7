//! Training steps: a row of the table becomes a fabric and a job, which go the same way as a scenario.

use super::cluster::{Shape, fabric, has_no_switch, measured};
use super::gemm::part;
use super::recipes;
use super::table::{Columns, Predicted, Record};
use crate::kernels::{AttentionGeneration, OptimizerKind, Profiles};
use crate::metrics::step_interval;
use crate::model::{Architecture, Experts, Norm, Position, Preset};
use crate::training::{
    Attention, Config, ExpertStack, Framework, Offload, Parallel, Precision, Recompute, Schedule, Sharding, Split, Stack, Uneven,
    expert_stacks, simulate_step_with, stage_memory,
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
        "layers",
        "hidden",
        "ffn_hidden",
        "heads",
        "kv_heads",
        "head_dim",
        "vocab",
        "gated_mlp",
        "tied_embeddings",
        "experts",
        "mla",
        "seq_len",
        "global_batch",
        "microbatch",
        "dtype",
        "tensor_parallel",
        "pipeline_parallel",
        "virtual_stages",
        "context_parallel",
        "expert_parallel",
        "data_parallel",
        "zero_stage",
        "sequence_parallel",
        "recompute",
        "attention",
    ],
    measured: &["step_time_s"],
};

/// The stack of a row's framework.
fn stack(record: &Record<'_>) -> Result<Stack, String> {
    let (framework, date) = (record.text("framework"), record.text("date"));
    let id = match framework {
        f if f.starts_with("megatron-deepspeed") => "megatron-deepspeed-2022",
        f if f.starts_with("megatron-bridge") => "megatron-bridge-recipes-2025",
        // Megatron-Core's releases, by other names: overlapped gradients and weights, transfers beside products.
        f if f.starts_with("megatron-core") || f.starts_with("primus") => "nemo-2024",
        f if f.starts_with("megatron-lm") && date >= "2024-06" => "nemo-2024",
        f if f.starts_with("megatron-lm") => "megatron-2022",
        f if f.starts_with("nemo-mlperf") && date < "2025" => "mlperf-2024",
        f if f.starts_with("nemo-mlperf") => "mlperf-2025",
        f if f.starts_with("nemo") => "nemo-2024",
        f if f.starts_with("llm-foundry") => {
            recipes::foundry(record.text("accelerator"), date, record.count("seq_len")?, record.count("accelerators")?)
        }
        f if f.starts_with("torchtitan") && f.contains("asynctp") => "torchtitan-asynctp-2024",
        f if f.starts_with("torchtitan-compile") => "torchtitan-compile-2024",
        f if f.starts_with("torchtitan") => "torchtitan-eager-2024",
        f if f.starts_with("fms-fsdp") => "fms-fsdp-2024",
        f if f.starts_with("deepspeed") => "deepspeed-2023",
        f if f.starts_with("pytorch-ddp") || f.starts_with("ddp") => "pytorch-ddp-2021",
        f if f.starts_with("horovod") => "horovod-2021",
        f if f.starts_with("pytorch-fsdp2") || f.starts_with("fsdp2") => "fsdp2-2024",
        f if f.starts_with("pytorch-fsdp") || f.starts_with("fsdp") => "fsdp-2023",
        f if f.starts_with("maxtext") => "maxtext-2023",
        other => return Err(format!("the framework `{}` is not modelled yet", other.split('-').next().unwrap_or(other))),
    };
    let mut stack = Stack::named(id).ok_or_else(|| format!("the stack `{id}` is missing"))?.clone();
    if id == "llm-foundry-0.4" && matches!(record.text("model"), "mpt-13b" | "mpt-30b") {
        // These two kept `attn_impl = triton` in the scripts of January 2024.
        stack.attention.value = AttentionGeneration::First;
    }
    Ok(stack)
}

/// Scale-up links that a row's site has wired: the nodes of BLOOM's trial runs are described with four NVLinks for each accelerator
/// (its public training notes).
fn wired_links(record: &Record<'_>) -> Option<u64> {
    (record.text("source") == "bloom" && record.text("accelerator").starts_with("a100")).then_some(4)
}

fn yes(record: &Record<'_>, column: &str) -> bool {
    record.text(column) == "true"
}

pub(super) fn architecture(record: &Record<'_>) -> Result<Architecture, String> {
    let name = record.text("model");
    let (gated, bloom, mpt) = (yes(record, "gated_mlp"), name.contains("bloom"), name.starts_with("mpt"));
    let dense = Architecture {
        title: name.to_owned(),
        layers: record.count("layers")?,
        hidden: record.count("hidden")?,
        ffn_hidden: record.count("ffn_hidden")?,
        heads: record.count("heads")?,
        kv_heads: record.count("kv_heads")?,
        head_dim: record.count("head_dim")?,
        vocabulary: record.count("vocab")?,
        gated_mlp: gated,
        tied_embeddings: yes(record, "tied_embeddings"),
        position: if bloom || mpt {
            Position::Alibi
        } else if gated {
            Position::Rotary
        } else {
            Position::Learned
        },
        norm: if gated { Norm::Rmsnorm } else { Norm::Layernorm },
        sequence_length: record.count("seq_len")?,
        ..Architecture::default()
    };
    if record.get::<u64>("experts")? == 0 && !yes(record, "mla") {
        return Ok(dense);
    }
    // Ranks of latent attention, dense first layers and windows are in no column: the preset of the model has them. A model that is
    // none has what the columns say, and the latent sizes of DeepSeek, which all published ones share.
    if let Some(known) = Preset::named(name).map(Preset::architecture) {
        let (experts, latent, window) = (known.experts, known.latent, known.window);
        return Ok(Architecture { experts, latent, window, prediction_layers: known.prediction_layers, ..dense });
    }
    let latent = yes(record, "mla").then(|| Preset::named("deepseek-v3").and_then(Preset::latent)).flatten();
    let width: u64 = record.get("moe_ffn_hidden")?;
    let experts = Experts {
        count: record.get("experts")?,
        per_token: record.count("experts_per_token")?,
        ffn_hidden: if width > 0 { width } else { dense.ffn_hidden },
        shared: record.get("shared_experts")?,
        first_dense: 0,
        every: 1,
        groups: 0,
        groups_per_token: 0,
        clamped: name.starts_with("gpt-oss"),
    };
    Ok(Architecture { experts: (experts.count > 0).then_some(experts), latent, ..dense })
}

/// The stack with layers that gather their weights, as Megatron-FSDP adds it to Megatron's.
fn sharding_layers(mut stack: Stack) -> Stack {
    stack.gathers_layers.value = true;
    stack
}

fn config(record: &Record<'_>) -> Result<Config, String> {
    let stack = stack(record)?;
    let mut model = architecture(record)?;
    // NeMo's configurations of GPT-3 train with dropout of 0.1 (NeMo-Framework-Launcher, conf/training/gpt3), those of other models without.
    model.dropout = stack.id.as_str() == "nemo-2024" && record.text("model").starts_with("gpt3-");
    let parallel = Parallel {
        tensor: record.count("tensor_parallel")?,
        pipeline: record.count("pipeline_parallel")?,
        data: record.count("data_parallel")?,
        context: record.count("context_parallel")?,
        expert: record.count("expert_parallel")?,
        virtual_stages: record.count("virtual_stages")?,
        schedule: Schedule::OneForwardOneBackward,
        sequence: yes(record, "sequence_parallel"),
    };
    let (global_batch, microbatch) = (record.count("global_batch")?, record.count("microbatch")?);
    if parallel.ranks() != record.count("accelerators")? {
        return Err("the parallel degrees do not multiply to the accelerators".into());
    }
    if !model.heads.is_multiple_of(parallel.tensor) || !global_batch.is_multiple_of(microbatch * parallel.data) {
        return Err("the heads or the batch do not divide".into());
    }
    if !(parallel.tensor * parallel.replicas()).is_multiple_of(parallel.expert) {
        return Err("the expert-parallel degree does not divide the ranks of a stage".into());
    }
    let word = |column: &str| record.text(column).to_owned();
    let sharding = match record.get::<u64>("zero_stage")? {
        _ if parallel.replicas() == 1 => Sharding::None,
        0 => Sharding::None,
        1 => Sharding::Optimizer,
        2 => Sharding::Gradients,
        3 => Sharding::Weights,
        other => return Err(format!("ZeRO stage {other} is unknown")),
    };
    let stack = if sharding == Sharding::Weights { sharding_layers(stack) } else { stack };
    let group = if word("shard_group").is_empty() { parallel.replicas() } else { record.count("shard_group")? };
    if !parallel.replicas().is_multiple_of(group) {
        return Err("the shard group does not divide the replicas".into());
    }
    Ok(Config {
        model,
        parallel,
        global_batch,
        microbatch,
        uneven: Uneven::default(),
        batch_shares: None,
        precision: Precision::from_word(&word("dtype")).ok_or_else(|| format!("training in `{}` is not modelled yet", word("dtype")))?,
        recompute: Recompute::from_word(&word("recompute")).ok_or_else(|| format!("recompute `{}` is unknown", word("recompute")))?,
        recompute_layers: None,
        attention: Attention::from_word(&word("attention")).ok_or_else(|| format!("attention `{}` is unknown", word("attention")))?,
        optimizer: OptimizerKind::Adam,
        sharding,
        shard_group: (sharding != Sharding::None && group < parallel.replicas()).then_some(group),
        offload: Offload::default(),
        hierarchical: false,
        adapter_rank: None,
        stack,
        experts: expert_stacks()[0].clone(),
        expert_imbalance: 1.0,
        collective_channels: None,
    })
}

/// What fms-fsdp selects is whole layers, every k-th (`selective_checkpointing`): where a row does not say how many, as few as memory needs.
fn layers_that_memory_needs(config: Config, memory: f64) -> Config {
    if *config.stack.framework != Framework::FmsFsdp || config.recompute != Recompute::Selective {
        return config;
    }
    let again = |n| Config { recompute: Recompute::Full, recompute_layers: Some(n), ..config.clone() };
    let fits = |n: &u64| {
        let job = again(*n);
        job.layers().is_ok_and(|layers| stage_memory(&job, &layers, 0).total() <= memory)
    };
    again((1..config.model.layers).find(fits).unwrap_or(config.model.layers))
}

/// Recipes of models with experts list the layers of every stage; where equal parts do not work out, the remainder is on the last.
fn with_remainder_last(mut config: Config) -> Config {
    if config.has_experts() && config.layers().is_err() {
        config.stack.split.value = Split::Greedy;
    }
    config
}

pub(super) fn predict(record: &Record<'_>, profiles: &Profiles) -> Result<Predicted, String> {
    let config = config(record)?;
    let part = part(record)?;
    let (accelerators, built_in) = (record.count("accelerators")?, record.count("accelerators_per_node")?);
    let per_node = built_in.min(accelerators);
    if !accelerators.is_multiple_of(per_node) {
        return Err("the accelerators do not fill whole nodes".into());
    }
    let domain = record.get::<u64>("scale_up_domain").ok().filter(|d| *d > per_node && accelerators > per_node);
    let shape = Shape {
        domain,
        nics: record.get("nics_per_node")?,
        gbps: record.get("nic_gbps")?,
        fabric: record.text("fabric").to_owned(),
        links: wired_links(record),
        direct: has_no_switch(&part.id.value, built_in),
        ..Shape::of(&part.id.value, accelerators / per_node, per_node)
    };
    let fabric = measured(fabric(&shape)?, profiles);
    let config = layers_that_memory_needs(with_remainder_last(config), part.memory.get());
    let time = |experts: &ExpertStack| -> Result<Predicted, String> {
        let config = Config { experts: experts.clone(), ..config.clone() };
        let step = simulate_step_with(&config, &fabric, profiles).map_err(|e| e.to_string())?;
        let (low, high) = step_interval(&config, &step);
        Ok(Predicted { time: step.time_s(), low, high })
    };
    if !config.has_experts() {
        return time(&config.experts);
    }
    // Where the release does not say how experts ran, the answer is the geometric middle of the band over all expert stacks, and the
    // interval reaches over all of theirs.
    let all = recipes::experts(record)?.into_iter().map(time).collect::<Result<Vec<_>, String>>()?;
    let least = |get: fn(&Predicted) -> f64| all.iter().map(get).fold(f64::INFINITY, f64::min);
    let most = |get: fn(&Predicted) -> f64| all.iter().map(get).fold(0.0, f64::max);
    Ok(Predicted { time: (least(|p| p.time) * most(|p| p.time)).sqrt(), low: least(|p| p.low), high: most(|p| p.high) })
}
