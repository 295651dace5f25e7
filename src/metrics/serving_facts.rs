//! What is told of a serving run before its numbers: model, engines, formats, batching, cache, traffic, and which constants predicted it.

use super::serving::ServingFrame;
use super::serving_models::facts as models_facts;
use super::{Fact, ProfileUse};
use crate::serving::{Deployment, EngineFailure, Memory};
use crate::units::{Bytes, Seconds, grouped};

/// The deployment in words, line by line.
pub(super) fn facts(frame: &ServingFrame<'_, '_>, memory: &Memory, blocks: u64) -> Vec<Fact> {
    let d = frame.deployment;
    let s = frame.stack;
    let by = d.draft.as_ref().map_or_else(String::new, |m| format!(" by {}", m.title));
    let guesses =
        d.speculation.map_or_else(String::new, |s| format!(", {} guesses a step{by}, each right with {}", s.drafts, s.acceptance));
    let parameters = d.shape.parameters() / 1e9;
    let given = if d.blocks.is_some() { "given" } else { "estimated from what weights and workspace leave" };
    let mut out = vec![
        fact("Model", format!("{}, {parameters:.1} G parameters", d.shape.title)),
        fact("Cluster", frame.fabric.title().to_owned()),
        fact("Engines", format!("{}, {} ({}){guesses}", layout(d), *s.title, *s.id)),
        fact("Formats", format!("{} weights, {} attention projections, {} cache", d.formats.linear, d.formats.attention, d.formats.kv)),
        fact("Batching", format!("{}, at most {} tokens and {} sequences an iteration", *s.batching, *s.max_tokens, *s.max_sequences)),
        fact(
            "Cache",
            format!(
                "{} blocks of {} tokens an engine ({given}); weights {} a rank",
                grouped(blocks),
                *s.block_tokens,
                Bytes::new(memory.weights)
            ),
        ),
        fact(
            "Routing",
            if frame.pool.engines.iter().map(crate::serving::EngineSite::replicas).sum::<usize>() > 1 {
                d.router.to_string()
            } else {
                "to one engine".into()
            },
        ),
        fact("Traffic", frame.title.clone()),
    ];
    if let Some(p) = &d.prompts {
        let when = if p.by_layers { "layer by layer while the prompt runs" } else { "when the prompt is through" };
        let limits = format!("at most {} tokens an iteration", *p.stack.max_tokens);
        out.insert(3, fact("Prompt engines", format!("{}, {limits}; keys and values sent {when}", layout(&p.engines))));
    }
    if let Some(o) = &d.offload {
        let name = o.tier.map_or("host memory", |t| frame.fabric.tier(t).name.as_str());
        let whose = if o.shared { "for all nodes" } else { "of every node" };
        out.push(fact("Cached prompts", format!("{} of {name} {whose}", Bytes::new(o.capacity))));
    }
    if let Some(a) = &d.adapters {
        out.push(fact("Adapters", format!("{} of rank {}, {} in device memory", a.count, a.rank, a.slots)));
    }
    out.extend(d.fleet.scaling.map(|x| {
        let (what, unit) = (x.measure, Seconds::new(x.interval));
        let rule = format!("{} to {}; one more above {what} {}, one fewer below {}", x.least, d.replicas, x.above, x.below);
        fact("Scaling", format!("{rule} ({} looks in a row), looked at every {unit}", x.patience))
    }));
    out.extend(models_facts(frame));
    out.extend(failures_of(d));
    out
}

fn fact(name: &str, value: String) -> Fact {
    Fact { name: name.into(), value }
}

/// What fails and when; engines of a node that fails are one line.
fn failures_of(d: &Deployment) -> Vec<Fact> {
    let mut out = Vec::new();
    for (i, f) in d.fleet.failures.iter().enumerate() {
        let same = |o: &EngineFailure| f.node.is_some() && o.node == f.node && o.at == f.at;
        if d.fleet.failures[..i].iter().any(same) {
            continue;
        }
        let back = f.repair.map_or_else(|| "for good".into(), |r| format!("for {}", Seconds::new(r)));
        let engines = d.fleet.failures.iter().filter(|o| same(o)).count();
        let what = f.node.map_or_else(|| format!("engine {}", f.engine), |n| format!("node {n} with {engines} engines"));
        let when = format!("{what} at {} {back}", Seconds::new(f.at));
        out.push(fact("Failure", format!("{when}, noticed after {}", Seconds::new(f.detection))));
    }
    out
}

/// Degrees of engines in words.
pub(super) fn layout(d: &Deployment) -> String {
    let mut out = format!("{} × TP {}", d.replicas, d.tensor);
    for (name, degree) in [("PP", d.pipeline), ("attention DP", d.data)] {
        if degree > 1 {
            out += &format!(" × {name} {degree}");
        }
    }
    if d.expert > 1 {
        let copies = if d.redundant > 0 { format!(" with {} copies of experts", d.redundant) } else { String::new() };
        out += &format!(", EP {}{copies}", d.expert);
    }
    if d.two_batches {
        out += ", two halves of a batch overlapped";
    }
    out
}

/// Which constants predicted the iterations.
pub(super) fn profile(frame: &ServingFrame<'_, '_>) -> Vec<ProfileUse> {
    let mut out: Vec<ProfileUse> = Vec::new();
    for cost in &frame.pool.costs {
        for used in cost.device().provenance().into_iter().filter(|u| u.operator.starts_with("matrix")) {
            out.push(ProfileUse { operator: "matrix products, attention".into(), entry: used.entry, source: used.source });
        }
    }
    out.dedup();
    out.push(ProfileUse {
        operator: "scheduler, host, small kernels".into(),
        entry: format!("serving/stacks.toml, {}", *frame.stack.id),
        source: frame.stack.source.value.clone(),
    });
    out
}
