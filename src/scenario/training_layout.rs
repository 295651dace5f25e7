//! Checks of a training job's layout: degrees against the cluster, what they divide, batches, layers of stages.

use super::input::TrainingInput;
use super::load::head;
use super::training::conflict;
use super::training_options::chunks;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::fabric::Fabric;
use crate::model::Architecture;
use crate::training::{ContextExchange, Parallel, SplitError, Stack, Uneven, split};

/// Parallel degrees that multiply to the accelerators of the cluster.
pub(super) fn layout(input: &TrainingInput, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Parallel> {
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
pub(super) fn divisible(input: &TrainingInput, model: &Architecture, parallel: &Parallel, diags: &mut Diagnostics) {
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

/// Heads over context ranks, where those swap sequences for heads.
pub(super) fn swaps(input: &TrainingInput, model: &Architecture, parallel: &Parallel, stack: &Stack, diags: &mut Diagnostics) {
    let (t, c) = (parallel.tensor, parallel.context);
    if c == 1 || *stack.context_exchange != ContextExchange::AllToAll {
        return;
    }
    for (name, heads) in [("heads", model.heads), ("key-value heads", model.kv_heads)] {
        if !heads.is_multiple_of(t * c) {
            let message = format!("{heads} {name} over tensor = {t} cannot be swapped among {c} context ranks");
            diags.push(
                Diagnostic::error(codes::NOT_DIVISIBLE, message)
                    .at(input.parallel.context.span, "does not divide")
                    .hint("tensor × context has to divide them, or context_exchange = \"ring\""),
            );
        }
    }
}

/// Sequences over ranks and microbatches.
fn batch(input: &TrainingInput, parallel: &Parallel, diags: &mut Diagnostics) {
    let ranks = parallel.data.checked_mul(input.sequences_of_a_pass());
    if ranks.is_none_or(|r| !input.global_batch.is_multiple_of(r)) {
        let nearest = ranks.map_or(0, |r| input.global_batch.div_ceil(r).saturating_mul(r));
        diags.push(
            Diagnostic::error(
                codes::BATCH,
                format!(
                    "{} sequences do not divide into microbatches of {} over {} data-parallel ranks",
                    *input.global_batch,
                    input.sequences_of_a_pass(),
                    parallel.data
                ),
            )
            .at(input.global_batch.span, "does not divide")
            .hint(format!("global_batch = {nearest} does")),
        );
    }
}

/// Layers over stages.
pub(super) fn stages(input: &TrainingInput, model: &Architecture, parallel: &Parallel, stack: &Stack, diags: &mut Diagnostics) -> Uneven {
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
