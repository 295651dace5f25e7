//! What a plan's answer holds, as data: the keys of `plan --json` (units are in the names).

use super::search::Counts;
use crate::metrics::BreakdownSeconds;
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
    /// What is wanted: `train`, `layout` or `largest-model`.
    pub goal: String,
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
    /// What the answer rests on.
    pub assumptions: Vec<String>,
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
    /// Time of a step.
    pub step_time_s: f64,
    /// Time of the run (of a step without a run).
    pub time_s: f64,
    /// Money of the run.
    pub usd: f64,
    /// Energy of the run with cooling.
    pub energy_kwh: f64,
    /// Mean power with cooling.
    pub power_w: f64,
    /// Model FLOPs over peak.
    pub mfu: f64,
    /// Fullest accelerator.
    pub memory_peak_bytes: f64,
    /// Memory of an accelerator.
    pub memory_capacity_bytes: f64,
    /// Where the step goes.
    pub breakdown_s: BreakdownSeconds,
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
    /// `memory`, `time`, `cost` or `layout`.
    pub constraint: String,
    /// What is allowed: bytes, seconds or dollars.
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

/// What a cluster consists of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Bill {
    /// Nodes.
    pub nodes: u64,
    /// Accelerators.
    pub accelerators: u64,
    /// Network cards.
    pub nics: u64,
    /// Switches by level: leaf, spine, core.
    pub switches: [u64; 3],
    /// Network cables.
    pub cables: u64,
    /// Power under load without cooling.
    pub power_w: f64,
    /// Purchase price of what has one.
    pub purchase_usd: f64,
    /// Its parts.
    pub purchase_parts_usd: Vec<(String, f64)>,
    /// Parts without a price.
    pub unpriced: Vec<String>,
}

/// How the layouts were decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct SearchCounts {
    /// Layouts over all clusters.
    pub considered: u64,
    /// Of those: refused by the scenario's checks.
    pub illegal: u64,
    /// Too large by the bound of memory.
    pub out_of_memory: u64,
    /// Worse than what was found, by the bounds of time, money and energy.
    pub bounded: u64,
    /// Simulated.
    pub simulated: u64,
}

impl SearchCounts {
    /// Adds what the search of one cluster counted.
    pub(super) fn add(&mut self, c: &Counts) {
        self.considered += c.considered;
        self.illegal += c.illegal;
        self.out_of_memory += c.memory;
        self.bounded += c.bounded;
        self.simulated += c.simulated;
    }
}
