//! What a plan's answer holds, as data: the keys of `plan --json` (units are in the names). Here the answer itself, its choices, and how
//! it was found; what is bought and what is served have files of their own.

mod bill;
mod service;

pub use bill::{Bill, BreakEven, StorageLine, Swing};
pub use service::{Phase, Purchases, Served, Service, SloRow, SpotLoss};

use super::search::Counts;
use crate::metrics::{BreakdownSeconds, ProfileUse, RunOutcome};
use schemars::JsonSchema;
use serde::Serialize;

/// The answer of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PlanOutcome {
    /// Version of the program.
    pub version: String,
    /// Hash of the plan with what it includes.
    pub plan_hash: String,
    /// Title of the plan.
    pub title: String,
    /// Always `plan`.
    pub kind: &'static str,
    /// What is wanted: `train`, `layout`, `largest-model` or `serve`.
    pub goal: String,
    /// Title of the base scenario: the job that is planned for.
    pub job: String,
    /// What is best: `cost`, `time`, `energy` or `pareto`.
    pub objective: String,
    /// Whether money and time are those of a whole run; else of one step.
    pub whole_run: bool,
    /// Longest time that is allowed, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_s: Option<f64>,
    /// Most money that is allowed, dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
    /// What has to be served (goal `serve`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Whether the goal can be met.
    pub feasible: bool,
    /// The answer in a sentence or two.
    pub answer: String,
    /// What to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<Choice>,
    /// The best of the other clusters and ways to pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<RunnerUp>,
    /// The second layout on the cluster of the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_up_layout: Option<RunnerUp>,
    /// What nothing else beats in both time and money, the fastest first (objective `pareto`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub front: Vec<Choice>,
    /// Constraints that are in the way, where the goal cannot be met.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub binding: Vec<Binding>,
    /// Every cluster with every way to pay.
    pub options: Vec<OptionRow>,
    /// What the cluster of the best consists of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
    /// Where the money of the best goes; sums to its `usd`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cost_parts_usd: Vec<(String, f64)>,
    /// What a change of one thing does to the money of the best, the greatest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitivity: Vec<Swing>,
    /// When buying beats renting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even: Option<BreakEven>,
    /// What happens when, from the order on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Stage>,
    /// Purchases while demand grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchases: Option<Purchases>,
    /// The whole run of the best, with failures, checkpoints and storage where the base has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunOutcome>,
    /// What may come otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<String>,
    /// What the answer rests on, each with its source.
    pub assumptions: Vec<Assumption>,
    /// Which constants predicted the best.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constants: Vec<ProfileUse>,
    /// The scenario of the best: the base with its changes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scenario: String,
    /// The command that runs the best again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reproduce: Option<String>,
    /// What the search did.
    pub search: SearchCounts,
}

/// A cluster, a way to pay and a layout, with what comes of them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Choice {
    /// Cluster.
    pub cluster: String,
    /// Model (goal `largest-model`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Way to pay.
    pub payment: String,
    /// Nodes.
    pub nodes: u64,
    /// Accelerators.
    pub accelerators: u64,
    /// Layout in words.
    pub layout: String,
    /// Layout as keys of a scenario.
    pub set: Vec<String>,
    /// Time of the run (of a step without a run); serving: mean time to the last token of a request.
    pub time_s: f64,
    /// Money of the run; serving: of the months that are planned for.
    pub usd: f64,
    /// Energy with cooling, for the same.
    pub energy_kwh: f64,
    /// Mean power with cooling.
    pub power_w: f64,
    /// Fullest accelerator.
    pub memory_peak_bytes: f64,
    /// Memory of an accelerator.
    pub memory_capacity_bytes: f64,
    /// The step and the run (training).
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub training: Option<Trained>,
    /// The service (serving).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<Served>,
}

/// What a layout comes to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Trained {
    /// Time of a step, with its waits.
    pub step_time_s: f64,
    /// 10th percentile of it, from the residuals of the profile.
    pub step_time_p10_s: f64,
    /// 90th percentile.
    pub step_time_p90_s: f64,
    /// Model FLOPs over peak.
    pub mfu: f64,
    /// Where the step goes.
    pub breakdown_s: BreakdownSeconds,
    /// Share of the wall time that goes into steps that count (where the base has checkpoints, failures or storage).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_goodput: Option<f64>,
    /// Failures that stop the run, preemptions included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<f64>,
    /// 5th percentile of the run's time over seeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_p5_s: Option<f64>,
    /// 95th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_p95_s: Option<f64>,
}

/// A stage of a timeline.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Stage {
    /// What happens.
    pub name: String,
    /// Begin, seconds from the order.
    pub start_s: f64,
    /// End.
    pub end_s: f64,
}

/// What an answer rests on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Assumption {
    /// It.
    pub what: String,
    /// Where it comes from.
    pub source: String,
}

/// What came after the best, and why.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunnerUp {
    /// It.
    pub choice: Choice,
    /// Why it lost.
    pub why: String,
}

/// A constraint that is in the way.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Binding {
    /// `memory`, `time`, `cost`, `layout`, `rate`, `latency`, or of the site `power`, `cooling`, `rack-power`, `racks`.
    pub constraint: String,
    /// What is allowed: bytes, seconds, dollars, watts, racks, engines.
    pub limit: f64,
    /// The nearest that any candidate comes.
    pub nearest: f64,
    /// By how much that is over, as a share of the limit.
    pub over: f64,
    /// The same in words.
    pub text: String,
}

/// What came of a cluster under one way to pay.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct OptionRow {
    /// Cluster.
    pub cluster: String,
    /// Way to pay.
    pub payment: String,
    /// Whether the goal can be met with it.
    pub feasible: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// The best on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
}

/// How the layouts were decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct SearchCounts {
    /// Layouts (serving: deployments) over all clusters.
    pub considered: u64,
    /// Of those: refused by the scenario's checks.
    pub illegal: u64,
    /// Too large by the bound of memory.
    pub out_of_memory: u64,
    /// On clusters that the site cannot take.
    pub site: u64,
    /// Too slow by the bounds of latency and rate (serving).
    pub too_slow: u64,
    /// Worse than what was found, by the bounds of time, money and energy.
    pub bounded: u64,
    /// Simulated.
    pub simulated: u64,
    /// Of those simulated: once more with failures, checkpoints and storage.
    pub finalists: u64,
}

impl SearchCounts {
    /// Adds what the search of one cluster counted.
    pub(super) fn add(&mut self, c: &Counts) {
        self.considered += c.considered;
        self.illegal += c.illegal;
        self.out_of_memory += c.memory;
        self.site += c.site;
        self.bounded += c.bounded;
        self.simulated += c.simulated;
        self.finalists += c.finalists;
    }
}
