//! Training steps: a row of the table becomes a fabric and a job, which go the same way as a scenario.

use super::gemm::part;
use super::table::{Columns, Record};
use crate::diag::{Decode, Diagnostics, Node, Style, render};
use crate::fabric::{Fabric, TopologyInput};
use crate::hardware::Catalogue;
use crate::model::{Architecture, Norm, Position};
use crate::training::{Attention, Config, Parallel, Precision, Recompute, Stack, simulate_step};

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
    measured: "step_time_s",
};

/// What a fabric for a row needs.
pub(super) struct Shape {
    pub(super) accelerator: String,
    pub(super) nodes: u64,
    pub(super) per_node: u64,
    pub(super) domain: Option<u64>,
    pub(super) nics: u64,
    pub(super) gbps: f64,
    pub(super) fabric: String,
}

/// A NIC of the catalogue by fabric and rate.
fn nic(fabric: &str, gbps: f64) -> Result<&'static str, String> {
    Ok(match (fabric, gbps as u64) {
        ("infiniband", 100) => "cx5-edr100",
        ("infiniband", 200) => "cx6-hdr200",
        ("infiniband", 400) => "cx7-ndr400",
        ("infiniband", 800) => "cx8-xdr800",
        ("roce", 100) => "cx6-roce100",
        ("roce", 200) => "cx6-roce200",
        ("roce", 400) => "cx7-roce400",
        ("roce", 800) => "cx8-roce800",
        ("omnipath", 100) => "opa100",
        ("efa", 100) => "efa-v2",
        ("efa", 200) => "efa-v3",
        ("efa", 400) => "efa-v4",
        (other, rate) => return Err(format!("no NIC of {rate} Gb/s on `{other}` is in the catalogue")),
    })
}

/// A host that usually carries the part.
fn host(part: &str) -> &'static str {
    match part {
        p if p.starts_with("v100") => "dgx-1",
        p if p.starts_with("a100") || p.starts_with("a800") => "dgx-a100",
        p if p.starts_with("gb200") || p.starts_with("gb300") => "gb200-tray",
        p if p.starts_with("b200") || p.starts_with("b300") => "dgx-b200",
        p if p.starts_with("mi") => "mi300x-host",
        p if p.starts_with("tpu") => "tpu-host",
        _ => "dgx-h100",
    }
}

/// Builds the fabric of a row: nodes on one layer of adaptive leaves, which never limit it (rows do not tell the tree).
pub(super) fn fabric(shape: &Shape) -> Result<Fabric, String> {
    let part = Catalogue::embedded().accelerators.get(&shape.accelerator);
    let scale_up = match shape.accelerator.as_str() {
        _ if part.is_some_and(|p| p.scale_up.is_none()) => "pcie",
        a if a.starts_with("v100") => "cube-mesh",
        a if a.starts_with("mi") => "full-mesh",
        _ => "nvswitch",
    };
    let domain = shape.domain.filter(|d| d.is_multiple_of(shape.per_node)).map_or_else(String::new, |d| format!("scale_up_domain = {d}\n"));
    let one_domain = shape.domain.unwrap_or(shape.per_node) >= shape.nodes * shape.per_node;
    let networked = shape.nodes > 1 && !(one_domain && shape.nics == 0);
    let nics = if networked { format!("nic = \"{}\"\nnics = {}\n", nic(&shape.fabric, shape.gbps)?, shape.nics) } else { String::new() };
    let network = if networked {
        format!(
            "kind = \"rail-optimised\"\nnodes = {}\nlevels = 3\nswitch = \"{}\"\n",
            shape.nodes,
            if shape.nodes * shape.nics > 60_000 { "q3400" } else { "qm9700" }
        )
    } else {
        format!("kind = \"none\"\nnodes = {}\n", shape.nodes)
    };
    let text = format!(
        "[[node]]\nname = \"node\"\naccelerator = \"{}\"\naccelerators = {}\nscale_up = \"{scale_up}\"\n{domain}host = \"{}\"\n{nics}[fabric]\n{network}",
        shape.accelerator,
        shape.per_node,
        host(&shape.accelerator),
    );
    let mut diags = Diagnostics::new();
    let source = diags.add_source("row", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    built.map(|b| b.0).ok_or_else(|| format!("its cluster cannot be built: {}", render(&diags, Style::Plain).lines().next().unwrap_or("")))
}

/// The stack of a row's framework.
fn stack(framework: &str, date: &str) -> Result<&'static Stack, String> {
    let id = match framework {
        f if f.starts_with("megatron-deepspeed") => "megatron-deepspeed-2022",
        f if f.starts_with("megatron-bridge") => "megatron-bridge-2025",
        f if f.starts_with("megatron-lm") => "megatron-2022",
        f if f.starts_with("nemo-mlperf") => {
            if date < "2025" {
                "mlperf-2024"
            } else {
                "mlperf-2025"
            }
        }
        f if f.starts_with("nemo") => "nemo-2024",
        other => return Err(format!("the framework `{}` is not modelled yet", other.split('-').next().unwrap_or(other))),
    };
    Stack::named(id).ok_or_else(|| format!("the stack `{id}` is missing"))
}

fn yes(record: &Record<'_>, column: &str) -> bool {
    record.text(column) == "true"
}

fn architecture(record: &Record<'_>) -> Result<Architecture, String> {
    if record.get::<u64>("experts")? > 0 {
        return Err("mixture of experts is not modelled yet".into());
    }
    if yes(record, "mla") {
        return Err("latent attention is not modelled yet".into());
    }
    let name = record.text("model");
    let (gated, bloom) = (yes(record, "gated_mlp"), name.contains("bloom"));
    Ok(Architecture {
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
        position: if bloom {
            Position::Alibi
        } else if gated {
            Position::Rotary
        } else {
            Position::Learned
        },
        norm: if gated { Norm::Rmsnorm } else { Norm::Layernorm },
        sequence_length: record.count("seq_len")?,
    })
}

fn config(record: &Record<'_>) -> Result<Config, String> {
    if record.count("expert_parallel")? > 1 {
        return Err("expert parallelism is not modelled yet".into());
    }
    let stack = stack(record.text("framework"), record.text("date"))?;
    let model = architecture(record)?;
    let zero: u64 = record.get("zero_stage")?;
    if zero > 2 {
        return Err("fully sharded weights are not modelled yet".into());
    }
    let parallel = Parallel {
        tensor: record.count("tensor_parallel")?,
        pipeline: record.count("pipeline_parallel")?,
        data: record.count("data_parallel")?,
        context: record.count("context_parallel")?,
        virtual_stages: record.count("virtual_stages")?,
        sequence: yes(record, "sequence_parallel"),
        first_stage_layers: None,
        last_stage_layers: None,
    };
    let (global_batch, microbatch) = (record.count("global_batch")?, record.count("microbatch")?);
    if parallel.ranks() != record.count("accelerators")? {
        return Err("the parallel degrees do not multiply to the accelerators".into());
    }
    if !model.heads.is_multiple_of(parallel.tensor) || !global_batch.is_multiple_of(microbatch * parallel.data) {
        return Err("the heads or the batch do not divide".into());
    }
    let word = |column: &str| record.text(column).to_owned();
    Ok(Config {
        model,
        parallel,
        global_batch,
        microbatch,
        precision: Precision::from_word(&word("dtype")).ok_or_else(|| format!("training in `{}` is not modelled yet", word("dtype")))?,
        // In newer recipes "selective" means cheap modules only, which this table cannot tell from the attention core.
        recompute: Recompute::from_word(&word("recompute")).ok_or_else(|| format!("recompute `{}` is unknown", word("recompute")))?,
        attention: Attention::from_word(&word("attention")).ok_or_else(|| format!("attention `{}` is unknown", word("attention")))?,
        shard_optimizer: zero >= 1 && parallel.replicas() > 1,
        stack: stack.clone(),
    })
}

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    let config = config(record)?;
    let part = part(record)?;
    let (accelerators, per_node) = (record.count("accelerators")?, record.count("accelerators_per_node")?);
    let per_node = per_node.min(accelerators);
    if !accelerators.is_multiple_of(per_node) {
        return Err("the accelerators do not fill whole nodes".into());
    }
    let domain = record.get::<u64>("scale_up_domain").ok().filter(|d| *d > per_node);
    let shape = Shape {
        accelerator: part.id.value.clone(),
        nodes: accelerators / per_node,
        per_node,
        domain,
        nics: record.get("nics_per_node")?,
        gbps: record.get("nic_gbps")?,
        fabric: record.text("fabric").to_owned(),
    };
    let fabric = fabric(&shape)?;
    simulate_step(&config, &fabric).map(|step| step.execution.makespan).map_err(|e| e.to_string())
}
