//! Checks of a serving scenario: the engine, the model on the cluster, the traffic.

use super::super::load::head;
use super::beside;
use super::fleet;
use super::fleet_input::PreemptionInput;
use super::input::{BatchingInput, ServingInput, ServingParallelInput, SloInput};
use super::run::{Goals, ServingJob, Source};
use super::traffic::traffic;
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fabric::Fabric;
use crate::hardware::Dtype;
use crate::kernels::Profiles;
use crate::serving::{Batching, Deployment, Formats, RouterPolicy, Shape, Speculation, StackRow, stack, stacks};

/// The most sequences and the largest block that are taken.
const MOST_SEQUENCES: u64 = 1 << 20;
const LARGEST_BLOCK: u64 = 1 << 14;

pub(super) fn conflict(message: impl Into<String>, span: Span, diags: &mut Diagnostics) {
    let place = head(span, diags);
    diags.push(Diagnostic::error(codes::CONFLICT, message).at(place, "does nothing"));
}

pub(super) fn too_large(name: &str, value: u64, limit: u64, span: Span, diags: &mut Diagnostics) {
    if value > limit {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, format!("{name} = {value} is absurdly large"))
                .at(span, "absurd")
                .hint(format!("the largest {name} is {limit}")),
        );
    }
}

/// A model with its engine's settings and number formats.
pub(super) struct Engine {
    pub(super) shape: Shape,
    pub(super) stack: StackRow,
    pub(super) formats: Formats,
}

/// The engine of a table, checked against the degrees of `parallel` and of engines of prompts.
pub(super) fn engine_of(input: &ServingInput, parallel: &ServingParallelInput, diags: &mut Diagnostics) -> Option<Engine> {
    let row = engine(&input.engine, diags);
    let shape = model(input, diags);
    let (row, shape) = (row?, shape?);
    let stack = settings(row, input.batching.value.as_ref(), diags);
    for parallel in [Some(parallel), input.prefill.value.as_ref().map(|p| &p.parallel.value)].into_iter().flatten() {
        divisible(parallel, &shape, &stack, diags);
        spread(parallel, &shape, diags);
    }
    if let Some(hybrid) = shape.hybrid.filter(|h| !h.state.heads.is_multiple_of(*parallel.tensor)) {
        let message = format!("{} state heads cannot be split over tensor = {}", hybrid.state.heads, *parallel.tensor);
        diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(parallel.tensor.span, "does not divide"));
    }
    windows(input, &shape, diags);
    let formats = formats(input, &shape);
    Some(Engine { shape, stack, formats })
}

/// The job of a `[serving]` table.
pub(in crate::scenario) fn serving_job(given: &At<ServingInput>, fabric: &Fabric, diags: &mut Diagnostics) -> Option<ServingJob> {
    let before = diags.error_count();
    let input = &given.value;
    let default = default_parallel(given.span);
    let parallel = input.parallel.value.as_ref().unwrap_or(&default);
    let own = engine_of(input, parallel, diags);
    let traffic = traffic(&input.traffic, diags);
    let goals = input.slo.value.as_ref().and_then(|slo| goals(slo, input.slo.span, diags));
    let beside = beside::models(input, parallel, goals, traffic.as_ref(), diags);
    let (Engine { shape, stack, formats }, (source, arrivals), beside) = (own?, traffic?, beside?);
    let replicas = replicas(parallel, input, fabric, diags);
    speculation(input, &stack, diags);
    if *input.prefix_cache && shape.hybrid.is_some() {
        conflict("`prefix_cache` does nothing for a model whose states hold no prefixes", input.prefix_cache.span, diags);
    }
    useless(input, &source, replicas.unwrap_or(2), diags);
    let plain = Deployment {
        speculation: input.speculation.value.as_ref().map(|s| Speculation { drafts: *s.drafts, acceptance: *s.acceptance }),
        draft: fleet::draft(input, *parallel.tensor, diags),
        adapters: fleet::adapters(input, &shape, diags),
        prefix_cache: *input.prefix_cache,
        router: input.router.unwrap_or(RouterPolicy::RoundRobin),
        ..Deployment::plain(shape, formats)
    };
    let deployment = Deployment {
        blocks: input.batching.value.as_ref().and_then(|b| *b.kv_blocks),
        swap: input.batching.value.as_ref().is_some_and(|b| b.preemption.value == Some(PreemptionInput::Swap)),
        prompts: fleet::prompts(input, &plain, &stack, fabric, diags),
        offload: fleet::offload(input, fabric, diags),
        ..fleet::laid_out(&plain, parallel, replicas.unwrap_or(1))
    };
    let (engines, models) = beside::placed(beside, &deployment, diags);
    let mut deployment = Deployment { beside: engines, ..deployment };
    // Engines that do not fill the cluster have no places.
    if replicas.is_some() {
        deployment.fleet = fleet::fleet(input, &deployment.sites(), fabric, diags);
    }
    if diags.error_count() > before {
        return None;
    }
    if let Err(error) = deployment.pool(fabric, Profiles::embedded(), &stack) {
        let place = if input.precision.span == given.span { head(given.span, diags) } else { input.precision.span };
        let message = format!("this cannot be served here: {error}");
        diags.push(match error.lack() {
            Some((need, limit)) => Diagnostic::error(codes::NO_ROOM, message).at(place, "this deployment").lacking(need, limit).hint(
                "spread an engine over more accelerators (serving.parallel.tensor), use a smaller format (serving.precision), or a part with more memory",
            ),
            None => Diagnostic::error(codes::CONFLICT, message).at(place, "this deployment"),
        });
        return None;
    }
    let urgent = input.priority.value.as_ref().map(|p| *p.urgent);
    Some(ServingJob { deployment, stack, source, arrivals, goals, urgent, warm_up: input.warm_up.get(), models, watches: Vec::new() })
}

pub(super) fn default_parallel(span: Span) -> ServingParallelInput {
    ServingParallelInput {
        tensor: At { value: 1, span },
        data: At { value: 1, span },
        expert: At { value: 1, span },
        redundant_experts: At { value: 0, span },
        imbalance: At { value: 1.0, span },
        two_batches: At { value: false, span },
        pipeline: At { value: 1, span },
        replicas: At { value: None, span },
    }
}

fn engine(name: &At<String>, diags: &mut Diagnostics) -> Option<&'static StackRow> {
    let found = stack(name);
    if found.is_none() {
        let names: Vec<&str> = stacks().iter().map(|s| s.id.value.as_str()).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("the engines are {}", names.join(", ")),
        };
        diags.push(
            Diagnostic::error(codes::UNKNOWN_PART, format!("there is no serving engine `{}`", name.value))
                .at(name.span, "unknown")
                .hint(hint),
        );
    }
    found
}

/// The sizes of the model.
fn model(input: &ServingInput, diags: &mut Diagnostics) -> Option<Shape> {
    let given = &input.model;
    if given.sequence_length.is_some() {
        conflict("`sequence_length` does nothing in serving: requests have lengths of their own", given.sequence_length.span, diags);
        return None;
    }
    let mut sized = given.value.clone();
    if given.preset.is_none() && given.config.is_none() {
        // A context is no size of serving, but the architecture asks for one.
        sized.sequence_length.value = Some(1);
    }
    let model = sized.resolve(given.span, diags)?;
    match Shape::of(&model) {
        Ok(shape) => Some(shape),
        Err(reason) => {
            let place =
                [&given.preset, &given.config].into_iter().find(|at| at.is_some()).map_or_else(|| head(given.span, diags), |at| at.span);
            diags.push(Diagnostic::error(codes::UNSUPPORTED, reason).at(place, "not modelled").hint("name another model"));
            None
        }
    }
}

/// The engine's settings with those of the scenario.
fn settings(row: &StackRow, given: Option<&BatchingInput>, diags: &mut Diagnostics) -> StackRow {
    let mut s = row.clone();
    let Some(b) = given else { return s };
    macro_rules! replace {
        ($($to:ident from $from:ident),*) => { $(if let Some(value) = b.$from.value { s.$to.value = value; })* };
    }
    replace!(batching from policy, reserve_output from reserve_output, max_tokens from max_tokens, max_sequences from max_sequences,
        block_tokens from block_tokens, memory_share from memory_share, workspace from workspace, host_iteration from host_iteration,
        host_sequence from host_sequence, wait_iterations from wait_iterations, wait_share from wait_share, read_interval from read_interval);
    let policy = *s.batching;
    let chunked = policy == Batching::Chunked;
    for (name, there, span, idle) in [
        ("max_tokens", b.max_tokens.is_some(), b.max_tokens.span, policy == Batching::Static),
        ("reserve_output", b.reserve_output.is_some(), b.reserve_output.span, policy == Batching::Static),
        ("read_interval", b.read_interval.is_some(), b.read_interval.span, policy == Batching::Static),
        ("wait_iterations", b.wait_iterations.is_some(), b.wait_iterations.span, policy != Batching::Whole),
        ("wait_share", b.wait_share.is_some(), b.wait_share.span, policy != Batching::Whole || *s.wait_iterations == 0),
        ("preemption", b.preemption.is_some(), b.preemption.span, *s.reserve_output),
        ("memory_share", b.memory_share.is_some(), b.memory_share.span, b.kv_blocks.is_some()),
        ("workspace", b.workspace.is_some(), b.workspace.span, b.kv_blocks.is_some()),
    ] {
        if there && idle {
            let why = if name == "memory_share" || name == "workspace" {
                "beside `kv_blocks`".into()
            } else if name == "preemption" {
                "where room for answers is reserved".into()
            } else {
                format!("with the policy `{policy}`")
            };
            conflict(format!("`{name}` does nothing {why}"), span, diags);
        }
    }
    if policy == Batching::Whole && !*s.reserve_output {
        let span = if b.reserve_output.is_some() { b.reserve_output.span } else { b.policy.span };
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, "whole prompts without room reserved for their answers are not modelled")
                .at(span, "not modelled")
                .hint("set reserve_output = true"),
        );
    }
    if chunked && *s.max_tokens < *s.max_sequences {
        let span = if b.max_tokens.is_some() { b.max_tokens.span } else { b.max_sequences.span };
        diags.push(
            Diagnostic::error(
                codes::CONFLICT,
                format!("{} sequences decode more than {} tokens an iteration", *s.max_sequences, *s.max_tokens),
            )
            .at(span, "too small or too many")
            .hint("max_tokens has to be at least max_sequences"),
        );
    }
    too_large("max_sequences", *s.max_sequences, MOST_SEQUENCES, b.max_sequences.span, diags);
    too_large("block_tokens", *s.block_tokens, LARGEST_BLOCK, b.block_tokens.span, diags);
    too_large("kv_blocks", b.kv_blocks.unwrap_or(0), 1 << 40, b.kv_blocks.span, diags);
    s
}

fn divisible(parallel: &ServingParallelInput, shape: &Shape, stack: &StackRow, diags: &mut Diagnostics) {
    let t = *parallel.tensor;
    let fails = |what: String, span: Span, diags: &mut Diagnostics| {
        diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, what).at(span, "does not divide"));
    };
    // transformers-neuronx pads heads up to a multiple of the ranks.
    let padded = stack.id.value == "neuronx";
    for (name, size) in [("attention heads", shape.heads), ("feed-forward width", shape.ffn)] {
        if !size.is_multiple_of(t) && !padded {
            fails(format!("{size} {name} cannot be split over tensor = {t}"), parallel.tensor.span, diags);
        }
    }
    if !shape.kv_heads.is_multiple_of(t) && !t.is_multiple_of(shape.kv_heads) && !padded {
        fails(format!("{} key-value heads and tensor = {t} do not divide each other", shape.kv_heads), parallel.tensor.span, diags);
    }
    let e = *parallel.expert;
    match shape.mixture {
        None if e > 1 => conflict("`expert` does nothing for a dense model", parallel.expert.span, diags),
        None if *parallel.data > 1 => {
            conflict("`data` does nothing for a dense model: give it more engines", parallel.data.span, diags);
        }
        Some(x)
            if !(x.experts.saturating_add(*parallel.redundant_experts)).is_multiple_of(e)
                || !(t.saturating_mul(*parallel.data)).is_multiple_of(e) =>
        {
            let ranks = t.saturating_mul(*parallel.data);
            let all = x.experts.saturating_add(*parallel.redundant_experts);
            fails(format!("expert = {e} has to divide {all} experts and tensor × data = {ranks}"), parallel.expert.span, diags);
        }
        _ => {}
    }
}

/// Layers with a window keep only its tokens, of which the parts below know nothing.
fn windows(input: &ServingInput, shape: &Shape, diags: &mut Diagnostics) {
    if shape.window.is_none() {
        return;
    }
    let swaps = input.batching.value.as_ref().filter(|b| b.preemption.value == Some(PreemptionInput::Swap));
    let refused = [
        ("prefix_cache", *input.prefix_cache, input.prefix_cache.span),
        ("[serving.prefill]", input.prefill.is_some(), input.prefill.span),
        ("preemption = \"swap\"", swaps.is_some(), swaps.map_or(input.prefix_cache.span, |b| b.preemption.span)),
    ];
    for (name, given, span) in refused {
        if given {
            let place = head(span, diags);
            diags.push(
                Diagnostic::error(codes::UNSUPPORTED, format!("{name} beside layers with a sliding window is not modelled"))
                    .at(place, "not modelled")
                    .hint("leave it out, or name a model without windows"),
            );
        }
    }
}

/// Keys of experts and stages that do nothing or do not fit.
fn spread(parallel: &ServingParallelInput, shape: &Shape, diags: &mut Diagnostics) {
    let (data, pipeline) = (*parallel.data, *parallel.pipeline);
    let idle = [
        ("redundant_experts", *parallel.redundant_experts > 0, parallel.redundant_experts.span, *parallel.expert == 1, "without `expert`"),
        ("imbalance", *parallel.imbalance != 1.0, parallel.imbalance.span, *parallel.expert == 1, "without `expert`"),
        ("two_batches", *parallel.two_batches, parallel.two_batches.span, data == 1, "without `data`, which makes ranks exchange tokens"),
    ];
    for (name, given, span, nothing, why) in idle {
        if given && nothing {
            conflict(format!("`{name}` does nothing {why}"), span, diags);
        }
    }
    if !(1.0..=100.0).contains(&parallel.imbalance.value) {
        let message = format!("imbalance = {}", *parallel.imbalance);
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(parallel.imbalance.span, "not between 1 and 100"));
    }
    too_large("redundant_experts", *parallel.redundant_experts, 1 << 16, parallel.redundant_experts.span, diags);
    if pipeline > shape.layers {
        let message = format!("pipeline = {pipeline} is more than {} layers", shape.layers);
        diags.push(Diagnostic::error(codes::TOO_MANY_STAGES, message).at(parallel.pipeline.span, "too many stages"));
    }
}

/// Guessing engines: where their answers have room, and no more guesses than anybody makes.
fn speculation(input: &ServingInput, stack: &StackRow, diags: &mut Diagnostics) {
    let Some(s) = &input.speculation.value else { return };
    too_large("drafts", *s.drafts, 64, s.drafts.span, diags);
    if !*stack.reserve_output {
        let place = head(input.speculation.span, diags);
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, "speculation without room reserved for answers is not modelled")
                .at(place, "not modelled")
                .hint("set batching.reserve_output = true"),
        );
    }
}

/// Engines that use all accelerators.
fn replicas(parallel: &ServingParallelInput, input: &ServingInput, fabric: &Fabric, diags: &mut Diagnostics) -> Option<u64> {
    let (all, ranks) = (fabric.accelerator_count() as u64, fleet::ranks(parallel));
    let apart = fleet::prefill_ranks(input.prefill.value.as_ref());
    let taken = apart.saturating_add(beside::ranks(input));
    if taken >= all {
        let message = format!("other engines take {taken} of {all} accelerators and leave none to those of `[serving.parallel]`");
        let place = head(if apart > 0 { input.prefill.span } else { input.beside.span }, diags);
        diags.push(Diagnostic::error(codes::LAYOUT_SIZE, message).at(place, "too many"));
        return None;
    }
    let accelerators = all - taken;
    let replicas = parallel.replicas.unwrap_or((accelerators / ranks).max(1));
    if replicas.checked_mul(ranks) != Some(accelerators) {
        let place = head(if parallel.tensor.span == parallel.replicas.span { input.traffic.span } else { input.parallel.span }, diags);
        let place = if input.parallel.value.is_some() { head(input.parallel.span, diags) } else { place };
        let mut diagnostic = Diagnostic::error(
            codes::LAYOUT_SIZE,
            format!("{replicas} engines of {ranks} accelerators do not use {accelerators} accelerators"),
        )
        .at(place, "these degrees");
        diagnostic = if accelerators.is_multiple_of(ranks) {
            diagnostic.hint(format!("set replicas = {}, or leave it out", accelerators / ranks))
        } else {
            diagnostic.hint("change tensor, or the nodes of the cluster")
        };
        diags.push(diagnostic);
        return None;
    }
    let places = |p: &ServingParallelInput, engines: u64| p.data.saturating_mul(*p.pipeline).saturating_mul(engines);
    let before = input.prefill.value.as_ref().map_or(0, |p| places(&p.parallel, p.parallel.replicas.unwrap_or(1)));
    too_large("replicas", places(parallel, replicas).saturating_add(before), 1 << 15, parallel.replicas.span, diags);
    Some(replicas)
}

/// Number formats. A 4-bit checkpoint of a model with latent attention keeps its attention in 16 bit.
fn formats(input: &ServingInput, shape: &Shape) -> Formats {
    let linear = match input.precision.dtype() {
        Dtype::Fp8 if shape.latent.is_some() => Dtype::Fp8Block,
        other => other,
    };
    let wide = shape.latent.is_some() && linear == Dtype::Nvfp4;
    let attention = input.attention_precision.map_or(if wide { Dtype::Bf16 } else { linear }, |p| p.dtype());
    let kv = if *input.kv_precision == super::input::CachePrecision::Fp8 { Dtype::Fp8 } else { Dtype::Bf16 };
    Formats { linear, attention, kv }
}

/// Keys that do nothing in this combination.
fn useless(input: &ServingInput, source: &Source, replicas: u64, diags: &mut Diagnostics) {
    let (hash_tokens, sessions) = match source {
        Source::Synthetic(s) => (if s.common > 0 { 64 } else { 0 }, false),
        Source::Sessions(_) => (64, true),
        Source::Trace { requests, .. } => {
            (u64::from(requests.hash_tokens), requests.list.iter().any(|r| r.session != crate::serving::NO_SESSION))
        }
    };
    if let Some(router) = input.router.value {
        let places = |p: &ServingParallelInput| p.data.saturating_mul(*p.pipeline);
        let fronts = match &input.prefill.value {
            Some(p) => places(&p.parallel).saturating_mul(p.parallel.replicas.unwrap_or(1)),
            None => replicas.saturating_mul(input.parallel.value.as_ref().map_or(1, places)),
        };
        if fronts == 1 {
            conflict("`router` does nothing with one engine", input.router.span, diags);
        }
        if router == RouterPolicy::PrefixAware && !*input.prefix_cache {
            conflict("a prefix-aware router does nothing without prefix_cache = true", input.router.span, diags);
        }
        if router == RouterPolicy::Session && !sessions {
            conflict("no request of this traffic belongs to a session", input.router.span, diags);
        }
    }
    if *input.prefix_cache && hash_tokens == 0 {
        conflict("`prefix_cache` does nothing: no prompts of this traffic are known to begin alike", input.prefix_cache.span, diags);
    }
    let block =
        input.batching.value.as_ref().and_then(|b| *b.block_tokens).or_else(|| stack(&input.engine).map(|s| *s.block_tokens)).unwrap_or(1);
    if *input.prefix_cache && hash_tokens > 0 && !hash_tokens.is_multiple_of(block) {
        diags.push(
            Diagnostic::error(
                codes::NOT_DIVISIBLE,
                format!("prompts are hashed by {hash_tokens} tokens, which are no multiple of blocks of {block}"),
            )
            .at(input.prefix_cache.span, "cannot share blocks"),
        );
    }
}

pub(super) fn goals(slo: &SloInput, span: Span, diags: &mut Diagnostics) -> Option<Goals> {
    if slo.ttft.is_none() && slo.tpot.is_none() && slo.e2e.is_none() {
        diags.push(
            Diagnostic::error(codes::MISSING_KEY, "targets need at least one of `ttft`, `tpot`, `e2e`")
                .at(head(span, diags), "this table asks nothing"),
        );
        return None;
    }
    let most = |at: &At<Option<crate::units::Seconds>>| at.map_or(f64::INFINITY, crate::units::Seconds::get);
    Some(Goals { ttft: most(&slo.ttft), tpot: most(&slo.tpot), e2e: most(&slo.e2e), share: *slo.share })
}
