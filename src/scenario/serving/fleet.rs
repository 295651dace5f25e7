//! Checks of what lies beside one engine: engines of prompts, tiers of cached prompts, engines that come and go, drafts, adapters.

use super::super::load::head;
use super::super::operations::tier;
use super::check::{conflict, too_large};
use super::fleet_input::{PrefillInput, ScaledInput, TransferInput};
use super::input::{ServingInput, ServingParallelInput};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fabric::{AcceleratorId, Fabric, TierId, TierKind};
use crate::model::presets;
use crate::serving::{Adapters, Batching, Deployment, EngineFailure, Fleet, Offload, Prompts, Role, Scaling, Shape, StackRow, Start};
use std::ops::Range;

/// Engines that a scenario may name, and the longest time, seconds.
pub(super) const MOST_ENGINES: u64 = 1 << 12;
const LONGEST_TIME: f64 = 1e9;
/// Shortest time between two looks, seconds.
const SHORTEST_LOOK: f64 = 0.01;

fn unsupported(message: &str, hint: &str, span: Span, diags: &mut Diagnostics) {
    let place = head(span, diags);
    diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(place, "not modelled").hint(hint));
}

/// Degrees of a table for a deployment of the same model.
pub(super) fn laid_out(plain: &Deployment, parallel: &ServingParallelInput, replicas: u64) -> Deployment {
    Deployment {
        tensor: *parallel.tensor,
        data: *parallel.data,
        expert: *parallel.expert,
        redundant: *parallel.redundant_experts,
        imbalance: *parallel.imbalance,
        two_batches: *parallel.two_batches,
        pipeline: *parallel.pipeline,
        replicas,
        ..plain.clone()
    }
}

/// Accelerators of one engine.
pub(super) fn ranks(parallel: &ServingParallelInput) -> u64 {
    parallel.tensor.saturating_mul(*parallel.data).saturating_mul(*parallel.pipeline)
}

/// Engines of prompts, and the accelerators that they take.
pub(super) fn prefill_ranks(given: Option<&PrefillInput>) -> u64 {
    given.map_or(0, |p| ranks(&p.parallel).saturating_mul(*p.context).saturating_mul(p.parallel.replicas.unwrap_or(1)))
}

/// A tier that the engines reach.
fn reached(name: &At<String>, fabric: &Fabric, more: &[&str], diags: &mut Diagnostics) -> Option<TierId> {
    let found = tier(name, fabric, more, diags)?;
    if fabric.storage_route(AcceleratorId(0), found, 0, false, &mut |_, _| ()).is_none() {
        let message = format!("the accelerators have no way to `{}`", **name);
        diags.push(
            Diagnostic::error(codes::DISCONNECTED, message).at(name.span, "out of reach").hint("give the nodes a NIC on its network"),
        );
    }
    Some(found)
}

/// Times beyond any run.
fn soon(name: &str, seconds: f64, span: Span, diags: &mut Diagnostics) {
    if seconds > LONGEST_TIME {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, format!("`{name}` is absurdly long")).at(span, "absurd").hint("the most is 30 years"),
        );
    }
}

/// Engines of prompts.
pub(super) fn prompts(
    input: &ServingInput,
    plain: &Deployment,
    stack: &StackRow,
    fabric: &Fabric,
    diags: &mut Diagnostics,
) -> Option<Box<Prompts>> {
    let given = input.prefill.value.as_ref()?;
    let span = input.prefill.span;
    if *stack.batching == Batching::Static {
        unsupported("static batches have no prompts of their own", "choose another engine or policy", span, diags);
    }
    let mut own = stack.clone();
    if let Some(tokens) = given.max_tokens.value {
        own.max_tokens.value = tokens;
    }
    if let Some(sequences) = given.max_sequences.value {
        own.max_sequences.value = sequences;
        too_large("max_sequences", sequences, 1 << 20, given.max_sequences.span, diags);
    } else {
        own.max_sequences.value = (*own.max_sequences).min(*own.max_tokens);
    }
    too_large("kv_blocks", given.kv_blocks.unwrap_or(0), 1 << 40, given.kv_blocks.span, diags);
    let replicas = given.parallel.replicas.unwrap_or(1);
    too_large("replicas", replicas, MOST_ENGINES, given.parallel.replicas.span, diags);
    let context = *given.context;
    if context > 1 && (*given.parallel.data > 1 || *given.parallel.pipeline > 1) {
        let hint = "set data and pipeline of [serving.prefill.parallel] to 1, or leave out `context`";
        unsupported("prompts spread over groups of ranks beside data or pipeline are not modelled", hint, given.context.span, diags);
    }
    let (here, there) = (AcceleratorId(0), AcceleratorId((fabric.accelerator_count() - 1) as u32));
    let mut links = 0;
    fabric.route(here, there, 0, &mut |_, _| links += 1);
    if links == 0 {
        let said = Diagnostic::error(codes::DISCONNECTED, "engines of prompts have no way to those that decode");
        diags.push(said.at(head(span, diags), "nothing can be sent").hint("connect the nodes in [fabric]"));
    }
    let engines = Deployment { blocks: *given.kv_blocks, context, ..laid_out(plain, &given.parallel, replicas) };
    Some(Box::new(Prompts { engines, stack: own, by_layers: *given.transfer == TransferInput::Layers }))
}

/// A tier of cached prompts.
pub(super) fn offload(input: &ServingInput, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Offload> {
    let given = input.offload.value.as_ref()?;
    if !*input.prefix_cache {
        conflict("`[serving.offload]` does nothing without prefix_cache = true", input.offload.span, diags);
    }
    let found = if given.tier.value == "host" { None } else { Some(reached(&given.tier, fabric, &["host"], diags)?) };
    let shared = found.is_some_and(|t| fabric.tier(t).kind != TierKind::Local);
    if let Some(most) = found.map(|t| fabric.tier(t).capacity).filter(|&most| given.capacity.get() > most) {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, format!("the tier holds {}", crate::units::Bytes::new(most)))
                .at(given.capacity.span, "more than the tier holds"),
        );
    }
    Some(Offload { tier: found, capacity: given.capacity.get(), shared })
}

/// Engines that fail, alone or with their node; `engines` are their accelerators.
fn failures(input: &ServingInput, engines: &[Range<u64>], fabric: &Fabric, diags: &mut Diagnostics) -> Vec<EngineFailure> {
    let mut out = Vec::new();
    for given in &input.failure.value {
        let f = &given.value;
        let none_such = |what: &str, number: u64, most: usize, span: Span, diags: &mut Diagnostics| {
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, format!("there is no {what} {number}"))
                    .at(span, "too large")
                    .hint(format!("{what}s are 0 to {}", most.saturating_sub(1))),
            );
        };
        soon("at", f.at.get(), f.at.span, diags);
        soon("detection", f.detection.get(), f.detection.span, diags);
        let repair = f.repair.map(crate::units::Seconds::get);
        soon("repair", repair.unwrap_or(0.0), f.repair.span, diags);
        if repair.is_some_and(|r| r < f.detection.get()) {
            conflict("an engine is not repaired before its failure is noticed", f.repair.span, diags);
        }
        let one = |engine: usize, node| EngineFailure { engine: engine as u64, node, at: f.at.get(), detection: f.detection.get(), repair };
        match (*f.engine, *f.node) {
            (Some(engine), None) if engine >= engines.len() as u64 => none_such("engine", engine, engines.len(), f.engine.span, diags),
            (None, Some(node)) if node >= fabric.node_count() as u64 => none_such("node", node, fabric.node_count(), f.node.span, diags),
            (Some(engine), None) => out.push(one(engine as usize, None)),
            (None, Some(node)) => {
                let on = |r: &Range<u64>| r.clone().any(|a| u64::from(fabric.site(AcceleratorId(a as u32)).node.0) == node);
                let before = out.len();
                out.extend((0..engines.len()).filter(|&e| on(&engines[e])).map(|e| one(e, Some(node))));
                if out.len() == before {
                    conflict(format!("no engine lies on node {node}"), f.node.span, diags);
                }
            }
            _ => {
                let message = "a failure is of one `engine` or of one `node`";
                diags.push(Diagnostic::error(codes::CONFLICT, message).at(head(given.span, diags), "give one of them"));
            }
        }
    }
    out
}

/// Engines that come and go.
pub(super) fn fleet(input: &ServingInput, engines: &[Range<u64>], fabric: &Fabric, diags: &mut Diagnostics) -> Fleet {
    let apart = input.prefill.value.as_ref().map(|p| p.parallel.replicas.unwrap_or(1));
    let prompts = input.scaling.value.as_ref().is_some_and(|s| *s.engines == Some(ScaledInput::Prompts));
    let replicas = match apart {
        Some(fronts) if prompts => fronts,
        Some(fronts) => (engines.len() as u64).saturating_sub(fronts),
        None => engines.len() as u64,
    };
    let scaling = input.scaling.value.as_ref().map(|s| {
        if *s.least >= replicas {
            conflict(
                format!("[serving.scaling] does nothing: there are {replicas} engines and at least {}", *s.least),
                input.scaling.span,
                diags,
            );
        }
        if !(SHORTEST_LOOK..=LONGEST_TIME).contains(&s.interval.get()) {
            let message = format!("interval = {}", *s.interval);
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(s.interval.span, "not between 10 ms and 30 years"));
        }
        if *s.below >= *s.above {
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, format!("below = {} is not under above = {}", *s.below, *s.above))
                    .at(s.below.span, "here"),
            );
        }
        if s.engines.is_some() && apart.is_none() {
            conflict("`engines` does nothing without [serving.prefill]", s.engines.span, diags);
        }
        let role = match apart {
            None => Role::Both,
            Some(_) if prompts => Role::Prompts,
            Some(_) => Role::Decodes,
        };
        Scaling {
            role,
            least: *s.least,
            measure: *s.measure,
            interval: s.interval.get(),
            above: *s.above,
            below: *s.below,
            patience: *s.patience,
        }
    });
    let failures = failures(input, engines, fabric, diags);
    if input.speculation.is_some() && !failures.is_empty() {
        unsupported("guesses of an engine that fails are not modelled", "leave out [serving.speculation]", input.failure.span, diags);
    }
    let mut start = Start::default();
    if let Some(given) = &input.start.value {
        if scaling.is_none() && failures.iter().all(|f| f.repair.is_none()) {
            conflict("`[serving.start]` does nothing: no engine is started", input.start.span, diags);
        }
        soon("boot", given.boot.get(), given.boot.span, diags);
        soon("warm_up", given.warm_up.get(), given.warm_up.span, diags);
        start.boot = given.boot.get();
        start.warm_up = given.warm_up.get();
        if let Some(name) = &given.weights.value {
            let name = At { value: name.clone(), span: given.weights.span };
            start.tier = reached(&name, fabric, &[], diags);
        }
    }
    Fleet { scaling, failures, start, max_waiting: input.admission.value.as_ref().map(|a| *a.max_waiting) }
}

/// The model that drafts.
pub(super) fn draft(input: &ServingInput, tensor: u64, diags: &mut Diagnostics) -> Option<Box<Shape>> {
    let given = input.speculation.value.as_ref()?;
    let name = given.model.value.as_ref()?;
    let span = given.model.span;
    let Some(preset) = presets().iter().find(|p| p.id.value == *name) else {
        let hint = nearest(name, presets().iter().map(|p| p.id.value.as_str()));
        let said = Diagnostic::error(codes::UNKNOWN_PART, format!("there is no model `{name}`")).at(span, "unknown");
        diags.push(match hint {
            Some(near) => said.hint(format!("did you mean \"{near}\"?")),
            None => said.hint("`orrery catalog models` lists them"),
        });
        return None;
    };
    if *preset.experts > 0 || *preset.kv_lora_rank > 0 || *preset.sliding_window > 0 || preset.heads.value == 0 {
        unsupported("only dense models with plain attention draft", "name a small dense model", span, diags);
        return None;
    }
    let shape = Shape::of_preset(preset).ok()?;
    if !shape.heads.is_multiple_of(tensor) || !shape.ffn.is_multiple_of(tensor) {
        let message = format!("{} heads of the draft cannot be split over tensor = {tensor}", shape.heads);
        diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(span, "does not divide"));
    }
    Some(Box::new(shape))
}

/// Low-rank adapters.
pub(super) fn adapters(input: &ServingInput, shape: &Shape, diags: &mut Diagnostics) -> Option<Adapters> {
    let given = input.adapters.value.as_ref()?;
    if shape.mixture.is_some() || shape.latent.is_some() {
        unsupported(
            "adapters are modelled on dense models with plain attention",
            "leave out [serving.adapters]",
            input.adapters.span,
            diags,
        );
    }
    let slots = given.slots.unwrap_or(*given.count);
    if slots > *given.count {
        conflict("more slots than adapters", given.slots.span, diags);
    }
    too_large("count", *given.count, 1 << 20, given.count.span, diags);
    too_large("rank", *given.rank, 4096, given.rank.span, diags);
    Some(Adapters { count: *given.count, slots, rank: *given.rank })
}
