//! Checks of a training job across keys: does it fit the cluster, do the sizes divide, does every key do something.

use super::input::{ScenarioInput, TrainingInput};
use super::load::head;
use super::training_layout::{divisible, layout, stages, swaps};
use super::training_options::{Sharded, batch_shares, channels, fuse, horovod, offload, schedule};
use crate::diag::{Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fabric::Fabric;
use crate::model::{Architecture, Block};
use crate::training::{Attention, Config, ExpertStack, Framework, Parallel, Precision, Recompute, Sharding, Stack, expert_stacks, stacks};
use crate::units::Seconds;

/// A named entry of a list, or a diagnostic with the nearest names.
pub(super) fn named<'a>(name: &str, span: Span, what: &str, names: &[&'a str], diags: &mut Diagnostics) -> Option<&'a str> {
    if let Some(found) = names.iter().find(|n| **n == name) {
        return Some(found);
    }
    let mut diagnostic = Diagnostic::error(codes::UNKNOWN_PART, format!("there is no {what} `{name}`")).at(span, "unknown");
    diagnostic = match nearest(name, names.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean \"{near}\"?")),
        None => diagnostic.hint(format!("the {what}s are {}", names.join(", "))),
    };
    diags.push(diagnostic);
    None
}

fn stack_of(input: &TrainingInput, diags: &mut Diagnostics) -> Option<Stack> {
    let Some(name) = &input.stack.value else { return Stack::newest(input.framework.unwrap_or(Framework::Megatron)).cloned() };
    let names: Vec<&str> = stacks().iter().map(|s| s.id.value.as_str()).collect();
    let stack = Stack::named(named(name, input.stack.span, "software stack", &names, diags)?)?;
    if let Some(framework) = input.framework.filter(|f| *f != *stack.framework) {
        let said = Diagnostic::error(codes::CONFLICT, format!("the stack `{name}` is not of the framework `{framework}`"))
            .at(input.stack.span, "stack")
            .at(input.framework.span, "framework");
        diags.push(said.hint(format!("set framework = \"{}\", or leave it out", *stack.framework)));
        return None;
    }
    Some(stack.clone())
}

fn experts_of(input: &TrainingInput, diags: &mut Diagnostics) -> Option<&'static ExpertStack> {
    let Some(name) = &input.expert_stack.value else { return expert_stacks().first() };
    let names: Vec<&str> = expert_stacks().iter().map(|s| s.id.value.as_str()).collect();
    named(name, input.expert_stack.span, "expert stack", &names, diags).and_then(ExpertStack::named)
}

/// A job of a scenario, checked against its cluster, and whether its answer is a band over all expert stacks.
pub(super) fn training_job(input: &TrainingInput, fabric: &Fabric, diags: &mut Diagnostics) -> Option<(Config, bool)> {
    let before = diags.error_count();
    let stack = stack_of(input, diags);
    let model = input.model.resolve(input.model.span, diags);
    let parallel = layout(input, fabric, diags);
    let experts = experts_of(input, diags);
    let (mut stack, model, parallel, experts) = (stack?, model?, parallel?, experts?);
    channels(input, fabric, diags);
    let input = &with_microbatch(input, &parallel, &stack);
    if *input.cuda_graphs {
        graphs(input, &model, &mut stack, diags);
    }
    exchange(input, &parallel, &mut stack, diags);
    divisible(input, &model, &parallel, diags);
    swaps(input, &model, &parallel, &stack, diags);
    let uneven = stages(input, &model, &parallel, &stack, diags);
    let sharding = sharding(input, &parallel, &stack, diags);
    kinds(input, &model, &parallel, diags);
    partly_again(input, &model, diags);
    with_experts(input, &model, &parallel, diags);
    let sharded = Sharded { sharding, parallel: &parallel, stack: &stack };
    let shares = batch_shares(input, &sharded, diags);
    schedule(input, &sharded, shares.as_deref(), diags);
    let offload = offload(input, &model, &sharded, fabric, diags);
    horovod(input, &sharded, fabric, diags);
    matrix_paths(input, fabric, diags);
    if diags.error_count() > before {
        return None;
    }
    let band = model.experts.is_some() && input.expert_stack.is_none();
    let mut config = Config {
        model,
        parallel,
        uneven,
        batch_shares: shares,
        global_batch: *input.global_batch,
        microbatch: input.sequences_of_a_pass(),
        precision: *input.precision,
        recompute: *input.recompute,
        recompute_layers: *input.recompute_layers,
        attention: *input.attention,
        optimizer: *input.optimizer,
        sharding,
        shard_group: if sharding == Sharding::None { None } else { *input.shard_group },
        offload,
        hierarchical: input.horovod.as_ref().is_some_and(|h| *h.hierarchical),
        adapter_rank: *input.adapter_rank,
        stack,
        experts: experts.clone(),
        expert_imbalance: input.expert_imbalance.unwrap_or(1.0),
        collective_channels: input.collective_channels.map(|c| c.min(1 << 16) as u32),
    };
    if *config.stack.framework == Framework::Horovod {
        fuse(input, &mut config);
    }
    Some((config, band))
}

/// Whether every part of the cluster multiplies matrices in the precisions of the job.
fn matrix_paths(input: &TrainingInput, fabric: &Fabric, diags: &mut Diagnostics) {
    for part in fabric.parts() {
        for dtype in [input.precision.linear(), input.precision.wide()] {
            if part.peak.of(dtype).is_none() {
                diags.push(
                    Diagnostic::error(codes::CONFLICT, format!("`{}` has no matrix path for {dtype}", *part.id))
                        .at(input.precision.span, "not on this part"),
                );
            }
        }
    }
}

/// The input with the microbatch that its framework takes where none is given.
fn with_microbatch(input: &TrainingInput, parallel: &Parallel, stack: &Stack) -> TrainingInput {
    let mut out = input.clone();
    let own = *input.global_batch / parallel.data.max(1);
    if input.microbatch.is_none() && stack.stage_microbatches.value && parallel.pipeline > 1 && own.is_multiple_of(parallel.pipeline) {
        out.microbatch.value = Some((own / parallel.pipeline).max(1));
    }
    out
}

/// How context ranks see each other's parts, where the stack is not asked.
fn exchange(input: &TrainingInput, parallel: &Parallel, stack: &mut Stack, diags: &mut Diagnostics) {
    let Some(exchange) = *input.parallel.context_exchange else { return };
    if parallel.context == 1 {
        let span = input.parallel.context_exchange.span;
        conflict(span, "`context_exchange` does nothing without context parallelism", "set context, or leave it out", diags);
    }
    stack.context_exchange.value = exchange;
}

/// Captured graphs: the host launches nothing by itself.
fn graphs(input: &TrainingInput, model: &Architecture, stack: &mut Stack, diags: &mut Diagnostics) {
    let span = input.cuda_graphs.span;
    if stack.launch_forward.get() == 0.0 {
        conflict(span, &format!("`cuda_graphs` does nothing: the stack `{}` captures its passes", *stack.id), "leave it out", diags);
    }
    if model.experts.is_some() {
        conflict(span, "what graphs capture of layers with experts is part of the expert stack", "choose an `expert_stack`", diags);
    }
    for launch in [&mut stack.launch_forward, &mut stack.launch_backward, &mut stack.launch_comm, &mut stack.launch_checkpoint] {
        launch.value = Seconds::ZERO;
    }
}

pub(super) fn conflict(span: Span, message: &str, hint: &str, diags: &mut Diagnostics) {
    diags.push(Diagnostic::error(codes::CONFLICT, message).at(span, "here").hint(hint));
}

/// What is sharded, and over how many ranks.
fn sharding(input: &TrainingInput, parallel: &Parallel, stack: &Stack, diags: &mut Diagnostics) -> Sharding {
    let gathers = stack.gathers_layers.value;
    if input.sharding.is_some() && input.distributed_optimizer.is_some() {
        let message = "`sharding` and `distributed_optimizer` say the same thing twice";
        conflict(input.distributed_optimizer.span, message, "leave `distributed_optimizer` out", diags);
    }
    let staged = parallel.pipeline > 1;
    let usual = match (*stack.framework, *input.distributed_optimizer) {
        (_, Some(true)) => Sharding::Optimizer,
        (_, Some(false)) | (Framework::PytorchDdp | Framework::Horovod, None) => Sharding::None,
        // DeepSpeed's pipelines do not take ZeRO-2 and 3; torchtitan gathers weights once a step under a pipeline.
        (Framework::Deepspeed, None) if staged => Sharding::Optimizer,
        (framework, None) if gathers && staged && framework != Framework::Maxtext => Sharding::Gradients,
        (_, None) if gathers => Sharding::Weights,
        (_, None) => Sharding::Optimizer,
    };
    let chosen = input.sharding.unwrap_or(usual);
    if chosen == Sharding::Weights && !gathers {
        let message = format!("the stack `{}` does not shard weights", *stack.id);
        conflict(input.sharding.span, &message, "use a fully sharded framework, such as \"pytorch-fsdp\" or \"deepspeed\"", diags);
    }
    if staged && chosen >= Sharding::Gradients && *stack.framework == Framework::Deepspeed {
        let message = "DeepSpeed's pipelines take neither sharded gradients nor sharded weights (ZeRO-2, ZeRO-3)";
        conflict(input.sharding.span, message, "set pipeline = 1, or sharding = \"optimizer\"", diags);
    }
    if let Some(group) = *input.shard_group {
        if chosen == Sharding::None {
            conflict(input.shard_group.span, "`shard_group` does nothing where nothing is sharded", "leave it out", diags);
        } else if !parallel.replicas().is_multiple_of(group) {
            let message = format!("groups of {group} do not divide the {} replicas", parallel.replicas());
            diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(input.shard_group.span, "does not divide"));
        }
    }
    if parallel.replicas() == 1 { Sharding::None } else { chosen }
}

/// Layers that are computed again where not all are.
fn partly_again(input: &TrainingInput, model: &Architecture, diags: &mut Diagnostics) {
    let Some(layers) = *input.recompute_layers else { return };
    let span = input.recompute_layers.span;
    if *input.recompute != Recompute::Full {
        let message = "`recompute_layers` counts the layers that are computed again from their input";
        conflict(span, message, "set recompute = \"full\", or leave it out", diags);
    } else if layers > model.layers {
        let message = format!("the model has {} layers, fewer than {layers}", model.layers);
        conflict(span, &message, "leave it out to compute all layers again", diags);
    }
}

/// Fewest columns of a table's part on one rank: 64 bytes of 32-bit elements.
const TABLE_PART: u64 = 16;

/// What kinds of models and kernels allow together.
fn kinds(input: &TrainingInput, model: &Architecture, parallel: &Parallel, diags: &mut Diagnostics) {
    let unfused = *input.attention == Attention::Unfused;
    if unfused && (model.latent.is_some() || model.window.is_some()) && !model.is_network() {
        let message = "unfused attention is not modelled with latent attention or sliding windows";
        conflict(input.attention.span, message, "set attention = \"flash\"", diags);
    }
    let wide = matches!(*input.precision, Precision::Fp32 | Precision::Tf32);
    let attends = !model.is_network() || model.blocks.iter().any(|b| matches!(b, Block::Layer(_)));
    if wide && !unfused && attends {
        conflict(input.precision.span, "flash attention has no kernels for 32-bit operands", "set attention = \"unfused\"", diags);
    }
    if model.is_network() {
        if parallel.tensor * parallel.pipeline * parallel.context > 1 {
            let message = "networks of given blocks are trained with data parallelism only";
            conflict(head(input.parallel.span, diags), message, "leave tensor, pipeline and context out", diags);
        }
        if *input.recompute != Recompute::None {
            conflict(input.recompute.span, "recompute in networks of given blocks is not modelled", "leave `recompute` out", diags);
        }
        if unfused {
            let message =
                if attends { "unfused attention in networks of given blocks is not modelled" } else { "`attention` does nothing here" };
            conflict(input.attention.span, message, "leave `attention` out", diags);
        }
    }
    if let Some(hybrid) = model.hybrid {
        if parallel.context > 1 {
            let message = "layers with states over context ranks are not modelled";
            conflict(input.parallel.context.span, message, "set context = 1", diags);
        }
        if !hybrid.state.heads.is_multiple_of(parallel.tensor) {
            let message = format!("{} state heads cannot be split over tensor = {}", hybrid.state.heads, parallel.tensor);
            diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(input.parallel.tensor.span, "does not divide"));
        }
    }
    if let Some(bags) = model.bags {
        let most = bags.tables * bags.width.div_ceil(TABLE_PART);
        if parallel.ranks() > most {
            let message = format!("{} tables of {} columns cannot be spread over {} ranks", bags.tables, bags.width, parallel.ranks());
            diags.push(
                Diagnostic::error(codes::NOT_DIVISIBLE, message)
                    .at(head(input.parallel.span, diags), "too many ranks")
                    .hint(format!("at most {most}, with parts of {TABLE_PART} columns")),
            );
        }
    }
    let plain = !model.is_network() && model.experts.is_none() && model.latent.is_none() && model.hybrid.is_none();
    if input.adapter_rank.is_some() && !plain {
        let message = "adapters are modelled beside plain attention projections of dense transformers only";
        conflict(input.adapter_rank.span, message, "leave `adapter_rank` out", diags);
    }
    if let Some(rank) = *input.adapter_rank
        && rank >= model.hidden
    {
        let message = format!("adapters of rank {rank} are no narrower than the hidden size {}", model.hidden);
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(input.adapter_rank.span, "too wide"));
    }
}

/// Experts over ranks, and keys that need experts.
fn with_experts(input: &TrainingInput, model: &Architecture, parallel: &Parallel, diags: &mut Diagnostics) {
    let span = input.parallel.expert.span;
    let Some(experts) = model.experts else {
        let given = [
            ("expert", (parallel.expert > 1).then_some(span)),
            ("expert_stack", input.expert_stack.is_some().then_some(input.expert_stack.span)),
            ("expert_imbalance", input.expert_imbalance.is_some().then_some(input.expert_imbalance.span)),
        ];
        for (name, span) in given {
            if let Some(span) = span {
                conflict(span, &format!("`{name}` does nothing for a model without experts"), "leave it out", diags);
            }
        }
        return;
    };
    let ranks = parallel.tensor * parallel.replicas();
    if !experts.count.is_multiple_of(parallel.expert) || !ranks.is_multiple_of(parallel.expert) {
        let message = format!("expert = {} does not divide {} experts and the {ranks} ranks of a stage", parallel.expert, experts.count);
        diags.push(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(span, "does not divide"));
    }
    if let Some(imbalance) = *input.expert_imbalance {
        let most = experts.count as f64 / experts.per_token as f64;
        if !(1.0..=most.max(1.0)).contains(&imbalance) {
            let message = format!("the busiest rank has {imbalance} times the mean");
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, message)
                    .at(input.expert_imbalance.span, "out of range")
                    .hint(format!("from 1 to {most}, where every token visits the same experts")),
            );
        }
    }
}

/// Optimizer steps of the run.
pub(super) fn steps(input: &ScenarioInput, config: &Config, diags: &mut Diagnostics) -> Option<Option<f64>> {
    let Some(run) = &input.run.value else { return Some(None) };
    match (run.tokens.value, run.steps.value) {
        (Some(tokens), None) => Some(Some((tokens as f64 / config.tokens_per_step()).ceil())),
        (None, Some(steps)) => Some(Some(steps as f64)),
        (Some(_), Some(_)) => {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "a run has `tokens` or `steps`, not both")
                    .at(run.tokens.span, "one")
                    .at(run.steps.span, "another"),
            );
            None
        }
        (None, None) => {
            diags.push(Diagnostic::error(codes::MISSING_KEY, "a run needs `tokens` or `steps`").at(head(input.run.span, diags), "here"));
            None
        }
    }
}
