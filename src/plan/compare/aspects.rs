//! What each scenario comes to, by aspect: compute unit, compute pattern, network, storage, scheduling, recovery, software, result.

use crate::collectives::{Communicator, Library, Op};
use crate::fabric::{AcceleratorId, NodeId};
use crate::hardware::{Catalogue, Dtype};
use crate::metrics::Outcome;
use crate::scenario::{Job, Scenario};
use crate::units::{Bytes, BytesPerSecond, DAY, FlopsPerSecond, HOUR, Seconds, Watts, dollars, rounded, si, three};
use schemars::JsonSchema;
use serde::Serialize;

/// Bytes of the all-reduce that stands for a network.
const GIGABYTE: f64 = 1e9;

/// A figure of one scenario: in words, and as a number in SI units where it is one.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Figure {
    /// In words.
    pub text: String,
    /// In SI units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct AspectRow {
    /// What it is about.
    pub aspect: &'static str,
    /// Which quantity.
    pub what: &'static str,
    /// One for every scenario; empty words where a scenario has none.
    pub figures: Vec<Figure>,
}

impl AspectRow {
    /// The figure of a scenario over that of the first, where both are numbers.
    #[must_use]
    pub fn factor(&self, scenario: usize) -> Option<f64> {
        let (first, own) = (self.figures.first()?.value?, self.figures.get(scenario)?.value?);
        (first > 0.0 && own > 0.0).then(|| own / first)
    }
}

fn number(value: f64, text: String) -> Option<Figure> {
    Some(Figure { text, value: Some(value) })
}
fn words(text: impl Into<String>) -> Option<Figure> {
    Some(Figure { text: text.into(), value: None })
}
fn share(value: f64) -> Option<Figure> {
    number(value, format!("{} %", three(100.0 * value)))
}
fn seconds(value: f64) -> Option<Figure> {
    number(value, if value >= 2.0 * DAY { format!("{} days", three(value / DAY)) } else { Seconds::new(value).to_string() })
}
fn count(value: f64) -> Option<Figure> {
    number(value, format!("{value:.0}"))
}

type Case<'a> = (&'a Scenario, &'a Outcome);
type Ask = fn(&Case<'_>) -> Option<Figure>;

/// The quantities by aspect.
const ROWS: &[(&str, &str, Ask)] = &[
    ("compute unit", "accelerators", |(s, _)| count(s.fabric.accelerator_count() as f64)),
    ("compute unit", "part", |(s, _)| words(part_names(s))),
    ("compute unit", "16-bit peak of one", |(s, _)| {
        s.fabric.part(AcceleratorId(0)).peak.of(Dtype::Bf16).and_then(|p| number(p.get(), FlopsPerSecond::new(p.get()).to_string()))
    }),
    ("compute unit", "memory of one", |(s, _)| bytes(s.fabric.part(AcceleratorId(0)).memory.get())),
    ("compute unit", "memory bandwidth of one", |(s, _)| rate(s.fabric.part(AcceleratorId(0)).memory_bandwidth.get())),
    ("compute pattern", "FLOPs of a step", |(_, o)| {
        o.training.as_ref().and_then(|t| number(t.model_flops_per_step, si(t.model_flops_per_step, "FLOP")))
    }),
    ("compute pattern", "MFU", |(_, o)| o.training.as_ref().and_then(|t| share(t.mfu))),
    ("compute pattern", "share of a step that computes", |(_, o)| {
        o.training.as_ref().and_then(|t| share((t.breakdown_s.compute + t.breakdown_s.optimizer) / t.step_time_s))
    }),
    ("compute pattern", "samples a second", |(_, o)| o.training.as_ref().and_then(|t| number(t.samples_per_s, rounded(t.samples_per_s)))),
    ("compute pattern", "output tokens a second", |(_, o)| {
        o.serving.as_ref().and_then(|t| number(t.output_tokens_per_s, rounded(t.output_tokens_per_s)))
    }),
    ("network", "network card", |(s, _)| {
        s.fabric.nic(NodeId(0)).and_then(|n| words(format!("{} × {}", s.fabric.nics_per_node(NodeId(0)), *n.name)))
    }),
    ("network", "bandwidth of a node", |(s, _)| {
        s.fabric.nic(NodeId(0)).and_then(|n| rate(n.bandwidth.get() * *n.efficiency * f64::from(s.fabric.nics_per_node(NodeId(0)))))
    }),
    ("network", "bisection", |(s, _)| rate(s.fabric.summary(Catalogue::embedded()).bisection_bytes_per_s)),
    ("network", "all-reduce of 1 GB over all", |(s, _)| all_reduce(s).and_then(seconds)),
    ("network", "share of a step that only communicates", |(_, o)| o.training.as_ref().and_then(|t| share(exposed(t) / t.step_time_s))),
    ("storage", "where the data lie", |(s, _)| data_tier(s).and_then(|t| words(format!("{} ({})", t.name, t.kind)))),
    ("storage", "it reads", |(s, _)| data_tier(s).and_then(|t| rate(t.read_bytes_per_s))),
    ("storage", "share of a step that waits for data", |(_, o)| {
        o.training.as_ref().and_then(|t| share(t.breakdown_s.data_stall / t.step_time_s))
    }),
    ("storage", "writing a checkpoint", |(_, o)| o.run.as_ref()?.checkpoint.as_ref()?.levels.last().and_then(|l| seconds(l.write_s))),
    ("scheduling", "ranks that go in step", |(s, _)| match &s.job {
        Job::Training { config, .. } => count(config.parallel.ranks() as f64),
        Job::Serving(job) => count(job.deployment.ranks() as f64),
        _ => None,
    }),
    ("scheduling", "from a stop to work again, in the mean", |(_, o)| o.run.as_ref().and_then(|r| recovery(r).and_then(seconds))),
    ("scheduling", "accelerator hours that stand still", |(s, o)| {
        o.run.as_ref().map(|r| (r.lost_s / HOUR) * s.fabric.accelerator_count() as f64).and_then(|h| number(h, rounded(h)))
    }),
    ("recovery", "mean time between stops", |(_, o)| o.run.as_ref().and_then(|r| r.mttf_h).and_then(|h| seconds(h * HOUR))),
    ("recovery", "stops in the run", |(_, o)| {
        o.run.as_ref().filter(|r| r.seeds.is_some()).and_then(|r| number(r.failures, three(r.failures)))
    }),
    ("recovery", "work between checkpoints", |(_, o)| o.run.as_ref()?.checkpoint.as_ref().and_then(|c| seconds(c.interval_s))),
    ("recovery", "reading a checkpoint back", |(_, o)| {
        o.run.as_ref()?.checkpoint.as_ref()?.levels.last().and_then(|l| seconds(l.restore_s))
    }),
    ("recovery", "training goodput", |(_, o)| o.run.as_ref().and_then(|r| share(r.training_goodput))),
    ("software", "stack", |(s, _)| match &s.job {
        Job::Training { config, .. } => words(config.stack.title.value.clone()),
        Job::Serving(job) => words(job.stack.title.value.clone()),
        _ => None,
    }),
    ("software", "number format", |(s, _)| match &s.job {
        Job::Training { config, .. } => words(config.precision.to_string()),
        Job::Serving(job) => words(format!("{} weights, {} cache", job.deployment.formats.linear, job.deployment.formats.kv)),
        _ => None,
    }),
    ("software", "kernel profile", |(_, o)| o.detail.profile.first().and_then(|p| words(p.entry.clone()))),
    ("result", "time of a step", |(_, o)| o.training.as_ref().and_then(|t| seconds(t.step_time_s))),
    ("result", "makespan", |(_, o)| o.trace.as_ref().and_then(|t| seconds(t.makespan_s))),
    ("result", "time to first token, p99", |(_, o)| o.serving.as_ref().and_then(|s| seconds(s.ttft_s.p99))),
    ("result", "time per token, p99", |(_, o)| o.serving.as_ref().and_then(|s| seconds(s.tpot_s.p99))),
    ("result", "time of the run", |(_, o)| o.run.as_ref().and_then(|r| seconds(r.days * DAY))),
    ("result", "cost", |(_, o)| o.cost.as_ref().filter(|c| c.usd_total > 0.0).and_then(|c| number(c.usd_total, dollars(c.usd_total)))),
    ("result", "energy", |(_, o)| o.cost.as_ref().and_then(|c| number(c.energy_kwh * 3.6e6, si(c.energy_kwh * 1e3, "Wh")))),
    ("result", "mean power with cooling", |(_, o)| {
        o.cost.as_ref().and_then(|c| number(c.average_power_w, Watts::new(c.average_power_w).to_string()))
    }),
    ("result", "cost per million tokens", |(_, o)| {
        o.cost
            .as_ref()
            .filter(|c| c.usd_total > 0.0)
            .and_then(|c| number(c.usd_per_million_tokens, format!("{} USD", three(c.usd_per_million_tokens))))
    }),
];

/// All lines that any scenario has a figure for.
pub(super) fn rows(scenarios: &[Scenario], outcomes: &[Outcome]) -> Vec<AspectRow> {
    let cases: Vec<Case<'_>> = scenarios.iter().zip(outcomes).filter(|(s, _)| s.fabric.accelerator_count() > 0).collect();
    if cases.len() != outcomes.len() {
        return Vec::new();
    }
    let none = || Figure { text: String::new(), value: None };
    let row = |(aspect, what, ask): &(&'static str, &'static str, Ask)| AspectRow {
        aspect,
        what,
        figures: cases.iter().map(|c| ask(c).unwrap_or_else(none)).collect(),
    };
    ROWS.iter().map(row).filter(|r| r.figures.iter().any(|f| !f.text.is_empty())).collect()
}

fn bytes(value: f64) -> Option<Figure> {
    number(value, Bytes::new(value).to_string())
}
fn rate(value: f64) -> Option<Figure> {
    number(value, BytesPerSecond::new(value).to_string())
}

fn part_names(s: &Scenario) -> String {
    s.fabric.parts().map(|p| p.name.value.clone()).collect::<Vec<_>>().join(", ")
}

fn exposed(t: &crate::metrics::TrainingOutcome) -> f64 {
    let b = &t.breakdown_s;
    b.tensor_comm + b.pipeline_comm + b.data_comm + b.expert_comm + b.context_comm
}

/// An all-reduce over all accelerators alone on the fabric.
fn all_reduce(s: &Scenario) -> Option<f64> {
    let n = s.fabric.accelerator_count();
    if !(2..=16_384).contains(&n) {
        return None;
    }
    let group: Vec<AcceleratorId> = (0..n as u32).map(AcceleratorId).collect();
    Some(Communicator::new(&s.fabric, &Library::nccl(), &[group]).time_alone(Op::AllReduce, GIGABYTE))
}

fn data_tier(s: &Scenario) -> Option<crate::fabric::TierSummary> {
    let feed = match &s.job {
        Job::Training { operations, .. } => operations.feed.as_ref().map(|f| f.tier),
        Job::Storage(job) => Some(job.feed.tier),
        _ => None,
    };
    let name = &s.fabric.tier(feed?).name;
    s.fabric.summary(Catalogue::embedded()).storage.into_iter().find(|t| t.name == *name)
}

/// Mean time from a stop to training again: detection, restart, restore, lack of spares.
fn recovery(r: &crate::metrics::RunOutcome) -> Option<f64> {
    let l = &r.losses_s;
    (r.seeds.is_some() && r.failures > 0.0).then(|| (l.detection + l.restart + l.restore + l.no_spare) / r.failures)
}
