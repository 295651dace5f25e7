//! Checks of further models on the cluster of a serving scenario.

use super::super::load::head;
use super::check::{Engine, conflict, default_parallel, engine_of, goals, too_large};
use super::fleet;
use super::fleet_input::BesideInput;
use super::input::{ServingInput, ServingParallelInput};
use super::run::{Goals, ModelJob, Source};
use super::traffic::traffic;
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::serving::{Arrivals, Beside, Deployment};

/// Further models at most.
const MOST_MODELS: usize = 64;

/// A checked further model.
pub(super) struct Checked {
    engine: Engine,
    parallel: ServingParallelInput,
    blocks: Option<u64>,
    shared: bool,
    job: ModelJob,
}

/// The same table as that of a single model, for its checks.
fn alone(input: &ServingInput, given: &BesideInput, span: Span) -> ServingInput {
    fn none<T>(span: Span) -> At<Option<T>> {
        At { value: None, span }
    }
    ServingInput {
        engine: given.engine.clone(),
        precision: given.precision,
        attention_precision: given.attention_precision,
        kv_precision: given.kv_precision,
        router: none(span),
        prefix_cache: At { value: false, span },
        warm_up: input.warm_up,
        model: given.model.clone(),
        parallel: given.parallel.clone(),
        batching: given.batching.clone(),
        prefill: none(span),
        offload: none(span),
        scaling: none(span),
        start: none(span),
        failure: At { value: Vec::new(), span },
        admission: none(span),
        priority: none(span),
        adapters: none(span),
        speculation: none(span),
        beside: At { value: Vec::new(), span },
        traffic: input.traffic.clone(),
        slo: given.slo.clone(),
    }
}

/// Accelerators that further models take for themselves.
pub(super) fn ranks(input: &ServingInput) -> u64 {
    let of = |b: &BesideInput| {
        let engines = b.parallel.value.as_ref().map_or(1, |p| fleet::ranks(p).saturating_mul(p.replicas.unwrap_or(1)));
        if *b.shared { 0 } else { engines }
    };
    input.beside.value.iter().map(|b| of(&b.value)).fold(0, u64::saturating_add)
}

/// What a single model may have and several may not.
fn unsupported(input: &ServingInput, diags: &mut Diagnostics) {
    let given = [
        ("[serving.prefill]", input.prefill.is_some(), input.prefill.span),
        ("[serving.offload]", input.offload.is_some(), input.offload.span),
        ("[serving.scaling]", input.scaling.is_some(), input.scaling.span),
    ];
    for (name, there, span) in given {
        if there {
            let place = head(span, diags);
            let said = Diagnostic::error(codes::UNSUPPORTED, format!("{name} beside further models is not modelled"));
            diags.push(said.at(place, "not modelled").hint("leave it out, or [[serving.beside]]"));
        }
    }
}

/// The further models of a table, `None` where one is faulty.
pub(super) fn models(
    input: &ServingInput,
    parallel: &ServingParallelInput,
    all: Option<Goals>,
    main: Option<&(Source, Arrivals)>,
    diags: &mut Diagnostics,
) -> Option<Vec<Checked>> {
    let before = diags.error_count();
    let list = &input.beside.value;
    if list.is_empty() {
        return Some(Vec::new());
    }
    unsupported(input, diags);
    too_large("number of models", list.len() as u64, MOST_MODELS as u64, input.beside.span, diags);
    let mut out: Vec<Checked> = Vec::new();
    let mut shares = 0.0;
    for b in list.iter().take(MOST_MODELS) {
        let (given, span) = (&b.value, b.span);
        if out.iter().any(|c| c.job.name == *given.name.value) {
            let message = format!("the model `{}` is given twice", given.name.value);
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(given.name.span, "again"));
        }
        shares += given.share.unwrap_or(0.0);
        let checked = one(input, parallel, (given, span), all, main, diags);
        out.extend(checked);
    }
    if shares > 1.0 {
        let message = format!("the shares of the further models add up to {shares}");
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(head(input.beside.span, diags), "more than all requests"));
    }
    (diags.error_count() == before).then_some(out)
}

fn one(
    input: &ServingInput,
    first: &ServingParallelInput,
    (given, span): (&BesideInput, Span),
    all: Option<Goals>,
    main: Option<&(Source, Arrivals)>,
    diags: &mut Diagnostics,
) -> Option<Checked> {
    let place = head(span, diags);
    let parallel = given.parallel.value.clone().unwrap_or_else(|| default_parallel(span));
    let engine = engine_of(&alone(input, given, span), &parallel, diags);
    let source = match (given.share.value, given.traffic.value.is_some()) {
        (Some(share), false) => Some((Some(share), None)),
        (None, true) => own_traffic(given, main, diags).map(|s| (None, Some(s))),
        _ => {
            let message = "a further model has a `share` of the requests or `traffic` of its own";
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(place, "give one of them"));
            None
        }
    };
    if *given.shared && (fleet::ranks(&parallel) != fleet::ranks(first) || *parallel.pipeline > 1 || *first.pipeline > 1) {
        let message = "engines that share accelerators have as many of them and no stages";
        diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(given.shared.span, "not modelled").hint("give both the same degrees"));
    }
    too_large("replicas", parallel.replicas.unwrap_or(1), fleet::MOST_ENGINES, parallel.replicas.span, diags);
    let own = given.slo.value.as_ref().and_then(|slo| goals(slo, given.slo.span, diags));
    let (engine, (share, source)) = (engine?, source?);
    Some(Checked {
        engine,
        parallel,
        blocks: given.batching.value.as_ref().and_then(|b| *b.kv_blocks),
        shared: *given.shared,
        job: ModelJob { name: given.name.value.clone(), share, source, goals: own.or(all) },
    })
}

/// Traffic of its own: an open stream without sessions, beside another open one.
fn own_traffic(given: &BesideInput, main: Option<&(Source, Arrivals)>, diags: &mut Diagnostics) -> Option<Source> {
    let at = At { value: given.traffic.value.clone()?, span: given.traffic.span };
    let (source, arrivals) = traffic(&at, diags)?;
    let open = |s: &Source, a: Arrivals| a == Arrivals::Open && !matches!(s, Source::Sessions(_));
    if !open(&source, arrivals) || main.is_some_and(|(s, a)| !open(s, *a)) {
        let place = head(given.traffic.span, diags);
        let said = Diagnostic::error(codes::UNSUPPORTED, "closed loops and sessions beside other traffic are not modelled");
        diags.push(said.at(place, "not modelled").hint("give the model a `share` of the requests instead"));
        return None;
    }
    if let Source::Synthetic(s) = &source
        && s.common > 0
    {
        conflict("`common_prefix` does nothing for a further model, which has no prefix cache", given.traffic.span, diags);
    }
    Some(source)
}

/// The further models' engines on the cluster of the first, and their jobs.
pub(super) fn placed(list: Vec<Checked>, first: &Deployment, diags: &mut Diagnostics) -> (Vec<Beside>, Vec<ModelJob>) {
    let mut one = |c: Checked| {
        let Engine { shape, stack, formats } = c.engine;
        let fitting = if c.shared { first.replicas } else { 1 };
        let plain = Deployment { router: first.router, ..Deployment::plain(shape, formats) };
        let asked = c.parallel.replicas.unwrap_or(fitting);
        if c.shared && asked > first.replicas {
            let message = format!("{asked} engines share the accelerators of {}", first.replicas);
            let span = c.parallel.replicas.span;
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(span, "too many").hint("give at most as many, or leave it out"));
        }
        let replicas = if c.shared { asked.min(first.replicas) } else { asked };
        let engines = Deployment { blocks: c.blocks, ..fleet::laid_out(&plain, &c.parallel, replicas) };
        (Beside { engines, stack, shared: c.shared }, c.job)
    };
    list.into_iter().map(&mut one).unzip()
}
