//! What each of several models on one cluster gave.

use super::serving::{RequestRow, ServingFrame, meets};
use super::{Fact, Percentiles};
use crate::serving::Served;
use schemars::JsonSchema;
use serde::Serialize;

/// One of several models on a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ModelOutcome {
    /// Its name; the first is called by the model's title.
    pub name: String,
    /// Accelerators of its engines; with engines that take turns the same ones count for each.
    pub accelerators: u64,
    /// Counted requests.
    pub completed: u64,
    /// Requests for it that were refused or that no engine was left for.
    pub lost: u64,
    /// Time to first token.
    pub ttft_s: Percentiles,
    /// Time per output token after the first.
    pub tpot_s: Percentiles,
    /// Time to the last token.
    pub e2e_s: Percentiles,
    /// Output tokens over the duration of all.
    pub output_tokens_per_s: f64,
    /// Prompt tokens over it.
    pub input_tokens_per_s: f64,
    /// Share of the time in which its engines run an iteration.
    pub busy_share: f64,
    /// Requests that meet its targets over the duration (all of them where none is set).
    pub goodput_requests_per_s: f64,
    /// Share of its requests that meet them; refused and lost ones do not.
    pub slo_attainment: f64,
    /// Whether as large a share as is asked meets them.
    pub slo_met: bool,
}

/// The models of a run, where there are several.
pub(super) fn models(frame: &ServingFrame<'_, '_>, all: &[RequestRow], served: &Served, duration: f64) -> Vec<ModelOutcome> {
    if frame.models.is_empty() {
        return Vec::new();
    }
    let first = (frame.deployment.shape.title.clone(), frame.goals);
    std::iter::once(&first)
        .chain(&frame.models)
        .enumerate()
        .map(|(i, (name, goals))| one(frame, all, served, duration, (i, name, *goals)))
        .collect()
}

fn one(
    frame: &ServingFrame<'_, '_>,
    all: &[RequestRow],
    served: &Served,
    duration: f64,
    (number, name, goals): (usize, &str, Option<[f64; 4]>),
) -> ModelOutcome {
    let own: Vec<&RequestRow> = all.iter().filter(|r| r.model as usize == number && r.record.arrival >= frame.warm_up).collect();
    let done: Vec<&RequestRow> = own.iter().copied().filter(|r| r.record.is_done()).collect();
    let lost = own.iter().filter(|r| r.record.arrival < f64::INFINITY && !r.record.is_done()).count();
    let good = done.iter().filter(|r| goals.is_none_or(|g| meets(r, g))).count() as f64;
    let (mut busy, mut places, mut at, mut accelerators) = (0.0, 0.0, 0, 0);
    for site in &frame.pool.engines {
        let next = at + site.replicas();
        if site.limits.model as usize == number {
            busy += served.busy_s[at..next].iter().sum::<f64>();
            places += site.replicas() as f64;
            accelerators += site.accelerators();
        }
        at = next;
    }
    let attainment = if own.is_empty() { 0.0 } else { good / (done.len() + lost).max(1) as f64 };
    ModelOutcome {
        name: name.to_owned(),
        accelerators,
        completed: done.len() as u64,
        lost: lost as u64,
        ttft_s: Percentiles::of(done.iter().map(|r| r.record.ttft())),
        tpot_s: Percentiles::of(done.iter().filter_map(|r| r.record.tpot(r.output))),
        e2e_s: Percentiles::of(done.iter().map(|r| r.record.e2e())),
        output_tokens_per_s: done.iter().map(|r| f64::from(r.output)).sum::<f64>() / duration,
        input_tokens_per_s: done.iter().map(|r| f64::from(r.input)).sum::<f64>() / duration,
        busy_share: (busy / (f64::max(places, 1.0) * served.end_s.max(1e-9))).min(1.0),
        goodput_requests_per_s: good / duration,
        slo_attainment: attainment,
        slo_met: !done.is_empty() && goals.is_none_or(|g| attainment >= g[3]),
    }
}

/// What serves the further models, in words.
pub(super) fn facts(frame: &ServingFrame<'_, '_>) -> Vec<Fact> {
    let of = |(b, (name, _)): (&crate::serving::Beside, &(String, Option<[f64; 4]>))| {
        let (d, s) = (&b.engines, &b.stack);
        let parameters = d.shape.parameters() / 1e9;
        let place = if b.shared { ", in turns on the accelerators of the first" } else { "" };
        let formats = format!("{} weights, {} cache", d.formats.linear, d.formats.kv);
        let value = format!(
            "{}, {parameters:.1} G parameters; {}, {} ({}){place}; {formats}",
            d.shape.title,
            super::serving_facts::layout(d),
            *s.title,
            *s.id
        );
        Fact { name: format!("Model {name}"), value }
    };
    frame.deployment.beside.iter().zip(&frame.models).map(of).collect()
}
