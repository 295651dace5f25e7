//! Checks of `[checkpoint]`: places and where copies come from, increments, the other layout.

use super::input::ScenarioInput;
use super::load::head;
use super::operations::{Reshard, conflict, tier};
use super::operations_input::{CheckpointInput, IncrementalInput, Interval, ReshardInput};
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::fabric::{AcceleratorId, Fabric};
use crate::operations::{CheckpointPlan, Incremental, LevelPlan, Place};
use crate::training::{Config, Parallel, Sharding, Uneven};
use crate::units::BytesPerSecond;

/// How checkpoints are taken, how often, and how many are kept.
pub(super) fn checkpoint_of(
    input: &CheckpointInput,
    scenario: &ScenarioInput,
    fabric: &Fabric,
    diags: &mut Diagnostics,
) -> Option<(CheckpointPlan, Interval, usize)> {
    let before = diags.error_count();
    if input.level.is_empty() {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "a checkpoint goes nowhere")
                .at(head(scenario.checkpoint.span, diags), "needs a [[checkpoint.level]]")
                .hint("add [[checkpoint.level]] with to = \"peer\" or the name of a storage tier"),
        );
    }
    let levels = levels(input, fabric, diags);
    if *input.retention > 10_000 {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "so many kept checkpoints are absurd").at(input.retention.span, "absurd"));
    }
    if scenario.failures.value.is_none() && !matches!(*input.interval, Interval::Every(_)) {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "without failures no interval is best")
                .at(head(input.interval.span, diags), "needs failures")
                .hint("give interval = \"10 min\", or add [failures]"),
        );
    }
    let plan = CheckpointPlan {
        mode: *input.mode,
        levels,
        incremental: input.incremental.value.as_ref().map_or(Incremental::WHOLE, |given| incremental(given, diags)),
        copy_rate: input.copy_rate.map_or_else(|| default_copy(fabric), BytesPerSecond::get),
        serialise_rate: input.serialise_rate.map_or(f64::INFINITY, |r| r.get()),
        barrier: input.barrier.get(),
    };
    (diags.error_count() == before).then_some((plan, *input.interval, *input.retention as usize))
}

/// Places that checkpoints go to, in the order of the list.
fn levels(input: &CheckpointInput, fabric: &Fabric, diags: &mut Diagnostics) -> Vec<LevelPlan> {
    let mut levels: Vec<LevelPlan> = Vec::new();
    for level in input.level.iter() {
        let place = match level.to.as_str() {
            "host" => Some(Place::Host),
            "peer" => Some(Place::Peer),
            _ => tier(&level.to, fabric, &["host", "peer"], diags).map(Place::Tier),
        };
        let Some(place) = place else { continue };
        if place == Place::Peer && fabric.node_count() < 2 {
            conflict(level.to.span, "there is no other node whose memory could keep a checkpoint", "use a storage tier", diags);
        }
        if levels.iter().any(|l| l.place == place) {
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, "checkpoints go to this place twice").at(level.to.span, "second time"));
        }
        if *level.every > 1_000_000 {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "so rare a checkpoint is absurd").at(level.every.span, "absurd"));
        }
        levels.push(LevelPlan { place, every: *level.every, from: None });
    }
    sources(input, &mut levels, fabric, diags);
    if !levels.is_empty() && levels.iter().all(|l| l.every > 1) {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "no place takes every checkpoint")
                .at(input.level[0].every.span, "here")
                .hint("let one place have every = 1 and choose the interval"),
        );
    }
    levels
}

/// How often a checkpoint is whole, and the share of it that the others write.
fn incremental(given: &IncrementalInput, diags: &mut Diagnostics) -> Incremental {
    let mut range = |bad: bool, span: Span, message: &str| {
        if bad {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message.to_owned()).at(span, "out of range"));
        }
    };
    let bad = *given.full_every < 2 || *given.full_every > 10_000;
    range(bad, given.full_every.span, "every second to every 10,000th checkpoint can be whole");
    range(*given.share <= 0.0 || *given.share >= 1.0, given.share.span, "a share of more than none and less than all");
    Incremental { full_every: *given.full_every, share: *given.share }
}

/// Where copies come from: a shared tier before them in the list that takes them as often.
fn sources(input: &CheckpointInput, levels: &mut [LevelPlan], fabric: &Fabric, diags: &mut Diagnostics) {
    if levels.len() != input.level.len() {
        return;
    }
    for (i, level) in input.level.iter().enumerate() {
        let Some(from) = level.from.value.as_deref() else { continue };
        let Some(near) = input.level[..i].iter().position(|l| l.to.value == from) else {
            diags.push(
                Diagnostic::error(codes::UNKNOWN_PART, format!("no place before this one is `{from}`"))
                    .at(level.from.span, "unknown place")
                    .hint("copies come from a [[checkpoint.level]] that stands before"),
            );
            continue;
        };
        let shared = |place: Place| matches!(place, Place::Tier(id) if !fabric.tier(id).kind.is_local());
        if !shared(levels[near].place) || !shared(levels[i].place) || levels[near].from.is_some() {
            conflict(level.from.span, "only servers that the nodes write to can copy, to other servers", "copy from a shared tier", diags);
        }
        if !levels[i].every.is_multiple_of(levels[near].every) {
            conflict(
                level.every.span,
                "the place that it is copied from does not have all of these checkpoints",
                "give a multiple of its `every`",
                diags,
            );
        }
        levels[i].from = Some(near);
    }
}

/// What one accelerator copies to host memory: over PCIe (generation 4 from pinned memory: 20 to 25 GB/s), or over a link that goes to the CPU
/// itself (GH200: 297 of 450 GB/s; from memory, unverified).
fn default_copy(fabric: &Fabric) -> f64 {
    const PCIE: f64 = 20e9;
    const COHERENT: f64 = 0.65;
    let mut links = 0;
    fabric.copy_route(AcceleratorId(0), true, &mut |_, _| links += 1);
    let own = fabric.link(fabric.site(AcceleratorId(0)).host_link()).capacity;
    if links < 3 { COHERENT * own } else { PCIE }
}

/// Reading onto another layout.
pub(super) fn reshard_of(
    input: &ReshardInput,
    span: Span,
    scenario: &ScenarioInput,
    (config, fabric): (&Config, &Fabric),
    diags: &mut Diagnostics,
) -> Option<Reshard> {
    let before = diags.error_count();
    let elastic = scenario.failures.value.as_ref().is_some_and(|f| *f.elastic == Some(true));
    let layout = input.tensor.is_some() || input.pipeline.is_some() || input.data.is_some();
    if !layout && !elastic {
        conflict(span, "nothing is read onto another layout", "give another layout here, or elastic = true in [failures]", diags);
    }
    if !layout && input.rate.is_none() {
        conflict(span, "a table without a rate or a layout", "give `rate`, or leave it out", diags);
    }
    let to = layout.then(|| {
        let (tensor, pipeline) = (input.tensor.unwrap_or(config.parallel.tensor), input.pipeline.unwrap_or(config.parallel.pipeline));
        let model = tensor.saturating_mul(pipeline).saturating_mul(config.parallel.context);
        let data = input.data.unwrap_or((fabric.accelerator_count() as u64 / model.max(1)).max(1));
        let parallel = Parallel { tensor, pipeline, data, virtual_stages: 1, ..config.parallel };
        let sharding = if parallel.replicas() == 1 { Sharding::None } else { config.sharding };
        Config { parallel, sharding, shard_group: None, uneven: Uneven::default(), ..config.clone() }
    });
    if let Some(to) = &to {
        let p = &to.parallel;
        let ranks = p.tensor.checked_mul(p.pipeline).and_then(|n| n.checked_mul(p.context)).and_then(|n| n.checked_mul(p.data));
        let mut refuse = |bad: bool, code, span: Span, message: String| {
            if bad {
                diags.push(Diagnostic::error(code, message).at(span, "here"));
            }
        };
        let room = fabric.accelerator_count() as u64;
        refuse(
            ranks.is_none_or(|n| n > room),
            codes::LAYOUT_SIZE,
            span,
            format!("the other layout has more ranks than the {room} accelerators"),
        );
        let heads = config.model.heads;
        refuse(
            !heads.is_multiple_of(p.tensor),
            codes::NOT_DIVISIBLE,
            input.tensor.span,
            format!("tensor = {} does not divide {heads} heads", p.tensor),
        );
        refuse(
            p.expert > 1 && !(p.tensor.saturating_mul(p.data)).is_multiple_of(p.expert),
            codes::NOT_DIVISIBLE,
            span,
            "the experts do not divide over the other layout".into(),
        );
        refuse(
            p.pipeline > 100_000 || layers_of(to).is_none(),
            codes::NOT_DIVISIBLE,
            input.pipeline.span,
            format!("{} layers do not divide into {} stages", config.model.layers, p.pipeline),
        );
    }
    (diags.error_count() == before).then(|| Reshard { rate: input.rate.map_or(f64::INFINITY, BytesPerSecond::get), to })
}

/// Layers of the stages of a layout.
pub(super) fn layers_of(config: &Config) -> Option<Vec<Vec<u64>>> {
    config.layers().ok()
}
