//! What a training job is, in words, and which constants served it.

use super::detail::{Fact, ProfileUse};
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::DeviceModel;
use crate::training::{Attention, Config, Schedule, Sharding, Shelf, Step};

/// The facts of a job at the head of its report.
pub(super) fn facts(config: &Config, fabric: &Fabric) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    let mut facts = vec![
        fact("Model", format!("{}, {} parameters", config.model.title, crate::units::si(config.model.parameters(), "").trim())),
        fact("Accelerators", format!("{} × {} ({})", config.parallel.ranks(), part_names(config, fabric).join(" and "), fabric.title())),
        fact("Layout", layout(config)),
        fact(
            "Batch",
            format!(
                "{} sequences of {} tokens, microbatch {}, {} microbatches",
                config.global_batch,
                config.model.sequence_length,
                config.microbatch,
                config.microbatches()
            ),
        ),
        fact("Precision", format!("{}, recompute {}, attention {}", config.precision, recompute(config), config.attention)),
        fact("Software", config.stack.title.value.clone()),
    ];
    facts.extend(elsewhere(config, fabric).map(|text| fact("Offload", text)));
    if let Some(shares) = &config.batch_shares {
        let ends = [shares.iter().min(), shares.iter().max()].map(|n| n.copied().unwrap_or(0) / config.microbatch);
        facts.push(fact("Shares", format!("{} to {} microbatches on a data-parallel rank", ends[0], ends[1])));
    }
    if config.hierarchical {
        facts.push(fact("All-reduce", "inside nodes, then between them through host memory".into()));
    }
    facts
}

/// Accelerators of the job, in the order of ranks.
fn part_names(config: &Config, fabric: &Fabric) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for rank in 0..if fabric.is_uniform() { 1 } else { config.parallel.ranks() } {
        let name = &fabric.part(AcceleratorId(rank as u32)).name.value;
        if names.last() != Some(name) && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Parallel degrees and what is sharded.
fn layout(config: &Config) -> String {
    let p = &config.parallel;
    let sequence = if p.sequence { " + sequence" } else { "" };
    let context = if p.context > 1 { format!(" × CP {} ({})", p.context, config.stack.context_exchange.value) } else { String::new() };
    let experts = if p.expert > 1 { format!(", EP {}", p.expert) } else { String::new() };
    let shards = match (config.sharding, config.shard_group) {
        (Sharding::None, _) => String::new(),
        (what, Some(group)) => format!(", {what} sharded over {group}"),
        (what, None) => format!(", {what} sharded"),
    };
    let mut chunks = if p.virtual_stages > 1 { format!(" × {} virtual stages", p.virtual_stages) } else { String::new() };
    if p.schedule != Schedule::OneForwardOneBackward {
        chunks += &format!(" ({})", p.schedule);
    }
    format!("TP {}{sequence}{context} × PP {}{chunks} × DP {}{experts}{shards}", p.tensor, p.pipeline, p.data)
}

/// What is computed again, in words.
fn recompute(config: &Config) -> String {
    let layers = config.recompute_layers.map(|n| format!(" of {n} layers"));
    format!("{}{}", config.recompute, layers.unwrap_or_default())
}

/// What lies elsewhere, in words.
fn elsewhere(config: &Config, fabric: &Fabric) -> Option<String> {
    let place = |shelf: Shelf| match shelf {
        Shelf::Host => "host memory".to_owned(),
        Shelf::Tier(tier) => fabric.tier(tier).name.clone(),
    };
    let o = &config.offload;
    let mut parts = Vec::new();
    parts.extend(o.optimizer.map(|s| format!("optimizer in {}", place(s))));
    parts.extend(o.weights.map(|s| format!("weights in {}", place(s))));
    parts.extend(o.activations.then(|| "activations in host memory".to_owned()));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Entries of the profiles, the stack, and what was assumed.
pub(super) fn profile_uses(config: &Config, step: &Step) -> Vec<ProfileUse> {
    let served = |d: &DeviceModel| d.training_provenance(config.precision.linear(), *config.stack.attention);
    let unfused = config.attention == Attention::Unfused;
    let provenance = step.devices.iter().flat_map(served).filter(|p| !(unfused && p.operator == "flash attention"));
    let profile = provenance.map(|u| ProfileUse { operator: u.operator, entry: u.entry, source: u.source });
    let own = ProfileUse { operator: "framework".into(), entry: config.stack.id.value.clone(), source: config.stack.source.value.clone() };
    let expert_stack = &config.experts;
    let experts = config.has_experts().then(|| ProfileUse {
        operator: "experts".into(),
        entry: expert_stack.id.value.clone(),
        source: expert_stack.source.value.clone(),
    });
    let assumed =
        |operator: &str, entry: &str, source: &str| ProfileUse { operator: operator.into(), entry: entry.into(), source: source.into() };
    let rate = "rate of flash attention (chunks) or of exponentials (data sheet); assumed, nothing measured";
    let states = config.model.hybrid.map(|_| assumed("scans of states", rate, "docs/models/hybrids.md"));
    let rows = "memory_efficiency of whole sectors; counted, nothing measured";
    let bags = config.model.bags.map(|_| assumed("embedding bags", rows, "docs/models/other-networks.md"));
    profile.chain([own]).chain(experts).chain(states).chain(bags).collect()
}
