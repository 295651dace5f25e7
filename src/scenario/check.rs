//! Checks across keys: does the job fit the cluster, do the sizes divide, can it be paid.

use super::collective::sweep;
use super::input::{CostInput, Framework, Payment, ScenarioInput, TrainingInput};
use super::load::{Job, head};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes, nearest};
use crate::economics::{CostPlan, Ownership};
use crate::fabric::Fabric;
use crate::hardware::{Catalogue, PriceKind};
use crate::model::Architecture;
use crate::training::{Config, Parallel, SplitError, Stack, split, stacks};
use crate::units::{HOUR, KWH};

/// The job of a scenario, checked against its cluster.
pub(super) fn job(input: &ScenarioInput, fabric: &Fabric, root: Span, diags: &mut Diagnostics) -> Option<Job> {
    match (&input.training.value, &input.collective.value) {
        (Some(training), None) => {
            let config = training_job(training, fabric, diags)?;
            let steps = steps(input, &config, diags)?;
            Some(Job::Training { config: Box::new(config), steps })
        }
        (None, Some(collective)) => {
            for (at, name) in [
                (input.run.value.is_some().then_some(input.run.span), "run"),
                (input.cost.value.is_some().then_some(input.cost.span), "cost"),
            ] {
                if let Some(span) = at {
                    diags.push(
                        Diagnostic::error(codes::CONFLICT, format!("`[{name}]` does nothing for a collective"))
                            .at(head(span, diags), "does nothing"),
                    );
                    return None;
                }
            }
            let given = At { value: collective.clone(), span: input.collective.span };
            Some(Job::Collective(Box::new(sweep(&given, fabric, diags)?)))
        }
        (Some(_), Some(_)) => {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "a scenario has one of [training] and [collective]")
                    .at(head(input.training.span, diags), "one")
                    .at(head(input.collective.span, diags), "another"),
            );
            None
        }
        (None, None) => {
            diags.push(
                Diagnostic::error(codes::MISSING_KEY, "the scenario says nothing to compute")
                    .at(head(root, diags), "this file")
                    .hint("add a [training] or a [collective] table"),
            );
            None
        }
    }
}

fn stack_of(input: &TrainingInput, diags: &mut Diagnostics) -> Option<Stack> {
    let family = |id: &str| id.starts_with("megatron-deepspeed") == (*input.framework == Framework::MegatronDeepspeed);
    let Some(name) = &input.stack.value else {
        let newest = if *input.framework == Framework::Megatron { "megatron-bridge-2025" } else { "megatron-deepspeed-2022" };
        return Stack::named(newest).cloned();
    };
    match Stack::named(name) {
        Some(stack) if family(name) => Some(stack.clone()),
        Some(_) => {
            diags.push(
                Diagnostic::error(codes::CONFLICT, format!("the stack `{name}` is not of the framework `{}`", *input.framework))
                    .at(input.stack.span, "stack")
                    .at(input.framework.span, "framework"),
            );
            None
        }
        None => {
            let names: Vec<&str> = stacks().iter().map(|s| s.id.value.as_str()).collect();
            let mut diagnostic =
                Diagnostic::error(codes::UNKNOWN_PART, format!("there is no software stack `{name}`")).at(input.stack.span, "unknown");
            diagnostic = match nearest(name, names.iter().copied()) {
                Some(near) => diagnostic.hint(format!("did you mean \"{near}\"?")),
                None => diagnostic.hint(format!("the stacks are {}", names.join(", "))),
            };
            diags.push(diagnostic);
            None
        }
    }
}

fn training_job(input: &TrainingInput, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Config> {
    let before = diags.error_count();
    let stack = stack_of(input, diags);
    let model = input.model.resolve(input.model.span, diags);
    let parallel = layout(input, fabric, diags);
    let (stack, model, parallel) = (stack?, model?, parallel?);
    divisible(input, &model, &parallel, diags);
    stages(input, &model, &parallel, &stack, diags);
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
    Some(Config {
        model,
        parallel,
        global_batch: *input.global_batch,
        microbatch: *input.microbatch,
        precision: *input.precision,
        recompute: *input.recompute,
        attention: *input.attention,
        shard_optimizer: *input.distributed_optimizer && parallel.replicas() > 1,
        stack,
    })
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
        virtual_stages: *p.virtual_stages,
        sequence: *p.sequence,
        first_stage_layers: *p.first_stage_layers,
        last_stage_layers: *p.last_stage_layers,
    })
}

/// Sizes that the degrees have to divide.
fn divisible(input: &TrainingInput, model: &Architecture, parallel: &Parallel, diags: &mut Diagnostics) {
    let t = parallel.tensor;
    let tensor = input.parallel.tensor.span;
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
fn stages(input: &TrainingInput, model: &Architecture, parallel: &Parallel, stack: &Stack, diags: &mut Diagnostics) {
    let p = &input.parallel.value;
    let total = parallel.pipeline.saturating_mul(parallel.virtual_stages);
    let error = if total > 1_000_000 {
        Some(SplitError::TooManyStages)
    } else {
        split(
            model.layers,
            parallel.pipeline,
            parallel.virtual_stages,
            *stack.split,
            parallel.first_stage_layers,
            parallel.last_stage_layers,
        )
        .err()
    };
    let diagnostic = match error {
        None => return,
        Some(SplitError::TooManyStages) => Diagnostic::error(codes::TOO_MANY_STAGES, format!("{total} stages for {} layers", model.layers))
            .at(p.pipeline.span, "more stages than layers"),
        Some(SplitError::NotDivisible { nearest }) => {
            Diagnostic::error(codes::NOT_DIVISIBLE, format!("{} layers do not divide into {total} stages", model.layers))
                .at(p.pipeline.span, "does not divide")
                .hint(format!("{} or {} layers would; or give first_stage_layers and last_stage_layers", nearest[0], nearest[1]))
        }
        Some(SplitError::Ends) => {
            let span = if p.first_stage_layers.is_some() { p.first_stage_layers.span } else { p.last_stage_layers.span };
            Diagnostic::error(codes::NOT_DIVISIBLE, "the layers that the ends leave do not divide among the other stages").at(span, "here")
        }
    };
    diags.push(diagnostic);
}

/// Optimizer steps of the run.
fn steps(input: &ScenarioInput, config: &Config, diags: &mut Diagnostics) -> Option<Option<f64>> {
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

/// Payment and site.
pub(super) fn cost(input: &ScenarioInput, fabric: &Fabric, catalogue: &Catalogue, diags: &mut Diagnostics) -> Option<CostPlan> {
    let default = CostInput {
        payment: at(Payment::OnDemand, input.title.span),
        rent: at(None, input.title.span),
        life: at(None, input.title.span),
        utilization: at(None, input.title.span),
        pue: at(1.25, input.title.span),
        electricity: at(None, input.title.span),
        carbon_intensity: at(crate::units::KilogramsPerJoule::new(0.4 / KWH), input.title.span),
    };
    let given = input.cost.value.as_ref().unwrap_or(&default);
    if !(1.0..=5.0).contains(&given.pue.value) {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, format!("a PUE of {}", given.pue.value)).at(given.pue.span, "not between 1 and 5"),
        );
        return None;
    }
    let electricity = given.electricity.map_or(0.1 / KWH, crate::units::UsdPerJoule::get);
    let ownership = ownership(given, fabric, catalogue, diags)?;
    Some(CostPlan { ownership, pue: *given.pue, electricity, carbon: given.carbon_intensity.get() })
}

const fn at<T>(value: T, span: Span) -> At<T> {
    At { value, span }
}

fn ownership(given: &CostInput, fabric: &Fabric, catalogue: &Catalogue, diags: &mut Diagnostics) -> Option<Ownership> {
    let owned = *given.payment == Payment::Owned;
    let idle = if owned {
        [("rent", given.rent.is_some().then_some(given.rent.span)), ("", None), ("", None)]
    } else {
        [
            ("life", given.life.is_some().then_some(given.life.span)),
            ("utilization", given.utilization.is_some().then_some(given.utilization.span)),
            ("electricity", given.electricity.is_some().then_some(given.electricity.span)),
        ]
    };
    for (name, span) in idle {
        if let Some(span) = span {
            diags.push(
                Diagnostic::error(codes::CONFLICT, format!("`{name}` does nothing with payment = \"{}\"", *given.payment))
                    .at(span, "does nothing")
                    .at(given.payment.span, "payment"),
            );
            return None;
        }
    }
    if owned {
        let summary = fabric.summary(catalogue);
        let utilization = given.utilization.unwrap_or(0.8);
        if utilization <= 0.0 {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "a cluster that never works").at(given.utilization.span, "is 0"));
            return None;
        }
        return Some(Ownership::Owned {
            price: summary.purchase_usd,
            life: given.life.map_or(4.0 * 365.25 * 24.0 * HOUR, crate::units::Seconds::get),
            utilization,
            source: format!(
                "purchase prices of the catalogue (without: {})",
                if summary.unpriced.is_empty() { "none".into() } else { summary.unpriced.join(", ") }
            ),
        });
    }
    if let Some(rent) = *given.rent {
        return Some(Ownership::Rent { rate: rent.get(), source: "given in the scenario".into() });
    }
    let kind = match *given.payment {
        Payment::Reserved => PriceKind::Reserved,
        Payment::Spot => PriceKind::Spot,
        _ => PriceKind::OnDemand,
    };
    // Over several parts: the mean, each as often as it is there.
    let (mut rate, mut sources) = (0.0, Vec::new());
    for (part, share) in fabric.part_shares() {
        let Some((price, rent)) = catalogue.price(&part.id, kind).and_then(|p| Some((p, (*p.rent)?))) else {
            return Some(Ownership::Unknown);
        };
        rate += share * rent.get();
        sources.push(format!("{} {}: {} ({}, {})", *part.name, kind, rent, *price.date, *price.source));
    }
    Some(Ownership::Rent { rate, source: sources.join("; ") })
}
