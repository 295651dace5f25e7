//! Checks of a training job across keys: does it fit the cluster, do the sizes divide, does every key do something.

use super::input::{ScenarioInput, TrainingInput};
use super::load::head;
use super::training_options::{Sharded, batch_shares, channels, chunks, fuse, horovod, offload, schedule};
use crate::diag::{Diagnostic, Diagnostics, Span, codes, nearest};
use crate::fabric::Fabric;
use crate::model::{Architecture, Block};
use crate::training::{
    Attention, Config, ExpertStack, Framework, Parallel, Precision, Recompute, Sharding, SplitError, Stack, Uneven, expert_stacks, split,
    stacks,
};
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
    let Some(name) = &input.stack.value else { return Stack::newest(*input.framework).cloned() };
    let names: Vec<&str> = stacks().iter().map(|s| s.id.value.as_str()).collect();
    let stack = Stack::named(named(name, input.stack.span, "software stack", &names, diags)?)?;
    if *stack.framework != *input.framework {
        let chosen = input.framework.span != input.stack.span && *input.framework != Framework::Megatron;
        let mut diagnostic =
            Diagnostic::error(codes::CONFLICT, format!("the stack `{name}` is not of the framework `{}`", *input.framework))
                .at(input.stack.span, "stack");
        if chosen {
            diagnostic = diagnostic.at(input.framework.span, "framework");
        }
        diags.push(diagnostic.hint(format!("set framework = \"{}\"", *stack.framework)));
        return None;
    }
    Some(stack.clone())
}

/// A job of a scenario, checked against its cluster, and whether its answer is a band over all expert stacks.
pub(super) fn training_job(input: &TrainingInput, fabric: &Fabric, diags: &mut Diagnostics) -> Option<(Config, bool)> {
    let before = diags.error_count();
    let stack = stack_of(input, diags);
    let model = input.model.resolve(input.model.span, diags);
    let parallel = layout(input, fabric, diags);
    let experts = match &input.expert_stack.value {
        Some(name) => {
            let names: Vec<&str> = expert_stacks().iter().map(|s| s.id.value.as_str()).collect();
            named(name, input.expert_stack.span, "expert stack", &names, diags).and_then(ExpertStack::named)
        }
        None => expert_stacks().first(),
    };
    let (mut stack, model, parallel, experts) = (stack?, model?, parallel?, experts?);
    channels(input, fabric, diags);
    if *input.cuda_graphs {
        graphs(input, &model, &mut stack, diags);
    }
    divisible(input, &model, &parallel, diags);
    let uneven = stages(input, &model, &parallel, &stack, diags);
    let sharding = sharding(input, &parallel, &stack, diags);
    kinds(input, &model, &parallel, diags);
    with_experts(input, &model, &parallel, diags);
    let sharded = Sharded { sharding, parallel: &parallel, stack: &stack };
    let shares = batch_shares(input, &sharded, diags);
    schedule(input, &sharded, shares.as_deref(), diags);
    let offload = offload(input, &model, &sharded, fabric, diags);
    horovod(input, &sharded, fabric, diags);
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
        microbatch: *input.microbatch,
        precision: *input.precision,
        recompute: *input.recompute,
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

/// Parallel degrees that multiply to the accelerators of the cluster.
fn layout(input: &TrainingInput, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Parallel> {
    let p = &input.parallel.value;
    let accelerators = fabric.accelerator_count() as u64;
    let model = p.tensor.saturating_mul(*p.pipeline).saturating_mul(*p.context);
    let data = p.data.unwrap_or((accelerators / model.max(1)).max(1));
    let product = model.checked_mul(data);
    if product != Some(accelerators) {
        let place = head(input.parallel.span, diags);
        let product = product.map_or_else(|| "far more".to_owned(), |n| n.to_string());
        let mut diagnostic = Diagnostic::error(
            codes::LAYOUT_SIZE,
            format!(
                "tensor {} × pipeline {} × {}data {data} = {product} ranks on {accelerators} accelerators",
                *p.tensor,
                *p.pipeline,
                if *p.context > 1 { format!("context {} × ", *p.context) } else { String::new() }
            ),
        )
        .at(place, "these degrees");
        diagnostic = if accelerators.is_multiple_of(model) {
            diagnostic.hint(format!("set data = {}, or leave it out", accelerators / model))
        } else {
            diagnostic.hint(format!("tensor × pipeline × context = {model} has to divide the {accelerators} accelerators"))
        };
        diags.push(diagnostic);
        return None;
    }
    if *p.virtual_stages > 1 && *p.pipeline == 1 {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "`virtual_stages` does nothing without pipeline parallelism")
                .at(p.virtual_stages.span, "does nothing"),
        );
        return None;
    }
    let virtual_stages = chunks(input, diags)?;
    if *p.sequence && *p.tensor == 1 && p.sequence.span != input.parallel.span {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "`sequence` does nothing without tensor parallelism").at(p.sequence.span, "does nothing"),
        );
        return None;
    }
    Some(Parallel {
        tensor: *p.tensor,
        pipeline: *p.pipeline,
        data,
        context: *p.context,
        expert: *p.expert,
        virtual_stages,
        schedule: *p.schedule,
        sequence: *p.sequence,
    })
}

/// Sizes that the degrees have to divide.
fn divisible(input: &TrainingInput, model: &Architecture, parallel: &Parallel, diags: &mut Diagnostics) {
    let t = parallel.tensor;
    let tensor = input.parallel.tensor.span;
    if model.is_network() {
        return batch(input, parallel, diags);
    }
    for (name, size) in [("attention heads", model.heads), ("hidden size", model.hidden), ("feed-forward width", model.ffn_hidden)] {
        if !size.is_multiple_of(t) {
            diags.push(
                Diagnostic::error(codes::NOT_DIVISIBLE, format!("{size} {name} cannot be split over tensor = {t}"))
                    .at(tensor, "does not divide")
                    .hint("tensor has to divide heads, hidden size and feed-forward width"),
            );
        }
    }
    if !model.kv_heads.is_multiple_of(t) && !t.is_multiple_of(model.kv_heads) {
        diags.push(
            Diagnostic::error(
                codes::NOT_DIVISIBLE,
                format!("{} key-value heads and tensor = {t} do not divide each other", model.kv_heads),
            )
            .at(tensor, "does not divide"),
        );
    }
    if parallel.context > 1 && !model.sequence_length.is_multiple_of(2 * parallel.context) {
        diags.push(
            Diagnostic::error(
                codes::NOT_DIVISIBLE,
                format!(
                    "sequences of {} tokens cannot be cut into two parts for each of {} context ranks",
                    model.sequence_length, parallel.context
                ),
            )
            .at(input.parallel.context.span, "does not divide"),
        );
    }
    if parallel.sequence && !model.sequence_length.is_multiple_of(t) {
        diags.push(
            Diagnostic::error(
                codes::NOT_DIVISIBLE,
                format!("sequences of {} tokens cannot be split over tensor = {t}", model.sequence_length),
            )
            .at(tensor, "does not divide"),
        );
    }
    batch(input, parallel, diags);
}

/// Sequences over ranks and microbatches.
fn batch(input: &TrainingInput, parallel: &Parallel, diags: &mut Diagnostics) {
    let ranks = parallel.data.checked_mul(*input.microbatch);
    if ranks.is_none_or(|r| !input.global_batch.is_multiple_of(r)) {
        let nearest = ranks.map_or(0, |r| input.global_batch.div_ceil(r).saturating_mul(r));
        diags.push(
            Diagnostic::error(
                codes::BATCH,
                format!(
                    "{} sequences do not divide into microbatches of {} over {} data-parallel ranks",
                    *input.global_batch, *input.microbatch, parallel.data
                ),
            )
            .at(input.global_batch.span, "does not divide")
            .hint(format!("global_batch = {nearest} does")),
        );
    }
}

/// Layers over stages.
fn stages(input: &TrainingInput, model: &Architecture, parallel: &Parallel, stack: &Stack, diags: &mut Diagnostics) -> Uneven {
    let p = &input.parallel.value;
    let listed = p.stage_layers.as_ref().map(|l| l.iter().map(|n| n.value).collect::<Vec<u64>>());
    if listed.is_some() && (p.first_stage_layers.is_some() || p.last_stage_layers.is_some()) {
        conflict(
            p.stage_layers.span,
            "`stage_layers` says what its ends have",
            "leave first_stage_layers and last_stage_layers out",
            diags,
        );
    }
    if parallel.two_copies() && (p.first_stage_layers.is_some() || p.last_stage_layers.is_some()) {
        let span = if p.first_stage_layers.is_some() { p.first_stage_layers.span } else { p.last_stage_layers.span };
        conflict(span, "DualPipe's ends hold layers of both copies", "give the layers of one copy as stage_layers", diags);
    }
    let uneven = Uneven { first: *p.first_stage_layers, last: *p.last_stage_layers, stages: listed };
    let total = parallel.virtual_count();
    let error = if total > 1_000_000 {
        Some(SplitError::TooManyStages)
    } else {
        split(model.layers, parallel, &uneven, *stack.split, 2 * model.prediction_layers).err()
    };
    let diagnostic = match error {
        None => return uneven,
        Some(SplitError::TooManyStages) => Diagnostic::error(codes::TOO_MANY_STAGES, format!("{total} stages for {} layers", model.layers))
            .at(p.pipeline.span, "more stages than layers"),
        Some(SplitError::NotDivisible { nearest }) => {
            Diagnostic::error(codes::NOT_DIVISIBLE, format!("{} layers do not divide into {total} stages", model.layers))
                .at(p.pipeline.span, "does not divide")
                .hint(format!(
                    "{} or {} layers would; or give stage_layers, or first_stage_layers and last_stage_layers",
                    nearest[0], nearest[1]
                ))
        }
        Some(SplitError::Ends) => {
            let given = [p.first_stage_layers.span, p.last_stage_layers.span, p.stage_layers.span];
            let which = [p.first_stage_layers.is_some(), p.last_stage_layers.is_some(), true].iter().position(|g| *g).unwrap_or(0);
            let message = "the layers of a stage do not divide among its chunks or the other stages";
            Diagnostic::error(codes::NOT_DIVISIBLE, message).at(given[which], "here")
        }
        Some(SplitError::Listed { stages, layers }) => Diagnostic::error(
            codes::NOT_DIVISIBLE,
            format!("{layers} layers on {stages} stages, but the model has {} and the pipeline {}", model.layers, parallel.pipeline),
        )
        .at(p.stage_layers.span, "this list"),
    };
    diags.push(diagnostic);
    uneven
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
