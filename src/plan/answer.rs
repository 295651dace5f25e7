//! The answer of a plan: what to buy, in which layout, at what cost; the runner-up and why it lost; or what is in the way.

use super::load::Plan;
use super::question::{GoalKind, Objective};
use super::search::{Counts, Ran, Rivals, Score, Searched, Want, Work};
use super::space::Cluster;
use crate::economics::Ownership;
use crate::metrics::BreakdownSeconds;
use crate::units::{Bytes, DAY, Seconds, si, three};
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
    fn add(&mut self, c: &Counts) {
        self.considered += c.considered;
        self.illegal += c.illegal;
        self.out_of_memory += c.memory;
        self.bounded += c.bounded;
        self.simulated += c.simulated;
    }
}

/// The place of an option: cluster and way to pay.
type Place = (usize, usize);

/// Answers a plan.
#[must_use]
pub fn decide(plan: &Plan) -> PlanOutcome {
    decide_with(plan, &plan.want)
}

/// The same with every layout simulated: what the search has to agree with.
#[must_use]
pub fn decide_exhaustively(plan: &Plan) -> PlanOutcome {
    decide_with(plan, &Want { exhaustive: true, ..plan.want })
}

/// Searches all clusters, those with the best bounds first, so that the rest has much to beat.
fn search(plan: &Plan, want: &Want, counts: &mut SearchCounts) -> Vec<Option<Searched>> {
    let mut out: Vec<Option<Searched>> = plan.clusters.iter().map(|_| None).collect();
    let mut start = 0;
    // Models one after the other, the largest first: smaller ones than one that fits are not looked at.
    while start < plan.clusters.len() {
        let model = &plan.clusters[start].0.model;
        let end = start + plan.clusters[start..].iter().take_while(|c| c.0.model == *model).count();
        let work = |i: usize| Work { base: &plan.base, place: plan.place, layouts: &plan.clusters[i].1 };
        let mut opened: Vec<_> = (start..end).map(|i| (i, work(i).bound(&plan.clusters[i].0, want))).collect();
        opened.sort_by(|a, b| a.1.best(want).total_cmp(&b.1.best(want)).then(a.0.cmp(&b.0)));
        let mut rivals = Rivals::default();
        for (i, opened) in opened {
            let searched = work(i).search(&plan.clusters[i].0, opened, want, &rivals);
            // One layout for each way to pay: the second of a cluster is no rival.
            let firsts: Vec<Vec<Ran>> = if want.objective == Objective::Pareto {
                searched.found.clone()
            } else {
                searched.found.iter().map(|f| f.iter().take(1).cloned().collect()).collect()
            };
            rivals.add(&firsts);
            counts.add(&searched.counts);
            out[i] = Some(searched);
        }
        start = end;
        if plan.goal == GoalKind::LargestModel && out[..end].iter().flatten().any(|s| s.found.iter().any(|f| !f.is_empty())) {
            break;
        }
    }
    out
}

fn decide_with(plan: &Plan, want: &Want) -> PlanOutcome {
    let mut counts = SearchCounts::default();
    let found = search(plan, want, &mut counts);
    let mut all: Vec<(Place, &Ran)> = Vec::new();
    for (c, searched) in found.iter().enumerate() {
        for (p, ran) in searched.iter().flat_map(|s| s.found.iter().enumerate()) {
            all.extend(ran.iter().map(|r| ((c, p), r)));
        }
    }
    let value = |r: &Ran| r.score.value(want.objective);
    all.sort_by(|a, b| value(a.1).total_cmp(&value(b.1)).then(a.0.cmp(&b.0)).then(a.1.order.cmp(&b.1.order)));
    let mut front: Vec<(Place, &Ran)> = Vec::new();
    if want.objective == Objective::Pareto {
        front = all.iter().filter(|(_, r)| !all.iter().any(|(_, o)| o.score.beats(&r.score))).copied().collect();
        all.clone_from(&front);
    }
    let mut outcome = empty(plan, want);
    outcome.feasible = !all.is_empty();
    if let Some(&(place, best)) = all.first() {
        let choice = choice(plan, place, best);
        let other = all.iter().find(|(p, _)| *p != place).map(|&(p, r)| self::choice(plan, p, r));
        let second = all.iter().find(|(p, r)| *p == place && r.order != best.order).map(|&(p, r)| self::choice(plan, p, r));
        outcome.runner_up = other.map(|o| RunnerUp { why: why_cluster(&choice, &o, want), choice: o });
        outcome.runner_up_layout = second.map(|o| RunnerUp { why: why_layout(&choice, &o), choice: o });
        outcome.front = front.iter().map(|&(p, r)| self::choice(plan, p, r)).collect();
        outcome.answer = sentence(plan, &choice, outcome.front.len());
        outcome.bill = Some(bill(&plan.clusters[place.0].0));
        outcome.reproduce = Some(command(plan, place, &choice));
        outcome.assumptions = assumptions(plan, place, &choice);
        outcome.best = Some(choice);
        outcome.options = options(plan, &found, None, want);
    } else {
        let nearest = relaxed(plan, want, &mut counts);
        outcome.binding = binding(plan, want, &found, &nearest);
        outcome.answer =
            format!("No candidate meets the goal. {}", outcome.binding.iter().map(|b| b.text.as_str()).collect::<Vec<_>>().join(" "));
        outcome.options = options(plan, &found, Some(&nearest), want);
    }
    outcome.search = counts;
    outcome
}

fn empty(plan: &Plan, want: &Want) -> PlanOutcome {
    PlanOutcome {
        version: env!("CARGO_PKG_VERSION").into(),
        plan_hash: plan.hash.clone(),
        title: plan.title.clone(),
        kind: "plan",
        goal: plan.goal.word().into(),
        objective: want.objective.word().into(),
        whole_run: plan.whole_run,
        within_s: want.within,
        budget_usd: want.budget,
        feasible: false,
        answer: String::new(),
        best: None,
        runner_up: None,
        runner_up_layout: None,
        front: Vec::new(),
        binding: Vec::new(),
        options: Vec::new(),
        bill: None,
        assumptions: Vec::new(),
        reproduce: None,
        search: SearchCounts::default(),
    }
}

fn choice(plan: &Plan, (c, p): Place, ran: &Ran) -> Choice {
    let cluster = &plan.clusters[c].0;
    let set = ran.layout.keys().into_iter().map(|(key, value)| format!("{key}={}", shown(&value)));
    Choice {
        cluster: cluster.name.clone(),
        model: cluster.model.clone(),
        payment: cluster.payments[p].name.clone(),
        nodes: cluster.fabric.node_count() as u64,
        accelerators: cluster.fabric.accelerator_count() as u64,
        layout: ran.layout.to_string(),
        set: set.collect(),
        step_time_s: ran.numbers.step_time_s,
        time_s: ran.score.seconds,
        usd: ran.score.usd,
        energy_kwh: ran.score.kwh,
        power_w: ran.power,
        mfu: ran.numbers.mfu,
        memory_peak_bytes: ran.numbers.memory_bytes.peak,
        memory_capacity_bytes: ran.numbers.memory_bytes.capacity,
        breakdown_s: ran.numbers.breakdown_s,
    }
}

fn shown(value: &crate::diag::Value) -> String {
    match value {
        crate::diag::Value::Int(i) => i.to_string(),
        crate::diag::Value::Bool(b) => b.to_string(),
        crate::diag::Value::Float(f) => f.to_string(),
        crate::diag::Value::Str(s) => s.clone(),
        _ => String::new(),
    }
}

/// Time for people.
fn time(seconds: f64) -> String {
    if seconds >= 2.0 * DAY { format!("{} days", three(seconds / DAY)) } else { Seconds::new(seconds).to_string() }
}

fn sentence(plan: &Plan, best: &Choice, front: usize) -> String {
    let what = if plan.whole_run { "The run takes" } else { "A step takes" };
    let model = best.model.as_ref().map_or_else(String::new, |m| format!("{m} is the largest of the models that fits: "));
    let money = if best.usd > 0.0 { format!(", costs {}", si(best.usd, "USD")) } else { String::new() };
    let more =
        if front > 1 { format!(" It is the fastest of {front} choices that nothing beats in both time and money.") } else { String::new() };
    format!(
        "{model}{} ({} accelerators, {}), as {}. {what} {}{money} and draws {} with cooling.{more}",
        best.cluster,
        best.accelerators,
        best.payment,
        best.layout,
        time(best.time_s),
        si(best.power_w, "W")
    )
}

/// A share over another in words: `3.2 % more`.
fn more(this: f64, than: f64, up: &str, down: &str) -> String {
    let share = 100.0 * (this / than - 1.0);
    if share.abs() < 0.05 {
        format!("as {}", up.split(' ').next_back().unwrap_or("much"))
    } else {
        format!("{} % {}", three(share.abs()), if share > 0.0 { up } else { down })
    }
}

fn why_cluster(best: &Choice, other: &Choice, want: &Want) -> String {
    let mut parts = vec![format!("takes {}", more(other.time_s, best.time_s, "longer", "less time"))];
    if best.usd > 0.0 && other.usd > 0.0 {
        parts.push(format!("costs {}", more(other.usd, best.usd, "more", "less")));
    }
    parts.push(format!("needs {} of energy", more(other.energy_kwh, best.energy_kwh, "more", "less")));
    if other.accelerators != best.accelerators {
        parts.push(format!("has {} accelerators instead of {}", other.accelerators, best.accelerators));
    }
    format!(
        "It {}; least {} was asked for.",
        parts.join(", "),
        if want.objective == Objective::Pareto { "time" } else { want.objective.word() }
    )
}

/// Which parts of the step made a layout slower.
fn why_layout(best: &Choice, other: &Choice) -> String {
    let own = best.breakdown_s.parts();
    let mut parts: Vec<(f64, &str)> = other.breakdown_s.parts().iter().zip(own).map(|(o, b)| (o.1 - b.1, o.0)).collect();
    parts.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    let named: Vec<String> = parts
        .iter()
        .take(3)
        .filter(|p| p.0.abs() > 1e-4 * best.step_time_s)
        .map(|(d, name)| format!("{}{} {}", if *d < 0.0 { "−" } else { "+" }, Seconds::new(d.abs()), name.replace('_', " ")))
        .collect();
    let step = 100.0 * (other.step_time_s / best.step_time_s - 1.0);
    let why = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
    let tie = if step.abs() < 2.0 { " Differences under 2 % are below the noise of measurements: try both." } else { "" };
    format!("Its step is {} % {}{why}.{tie}", three(step.abs()), if step < 0.0 { "shorter" } else { "longer" })
}

fn bill(cluster: &Cluster) -> Bill {
    let s = cluster.fabric.summary(&cluster.catalogue);
    Bill {
        nodes: s.nodes,
        accelerators: s.accelerators,
        nics: s.nics,
        switches: [s.leaf_switches, s.spine_switches, s.core_switches],
        cables: s.network_cables,
        power_w: s.power_w,
        purchase_usd: s.purchase_usd,
        purchase_parts_usd: s.purchase_parts_usd,
        unpriced: s.unpriced,
    }
}

/// The command that runs a choice again; topologies are relative to the plan.
fn command(plan: &Plan, (c, p): Place, choice: &Choice) -> String {
    let cluster = &plan.clusters[c].0;
    let folder = std::path::Path::new(&plan.folder);
    let mut out = format!("orrery run {}", plan.base_name);
    for change in cluster.changes.iter().chain(&cluster.payments[p].change) {
        let text = match (change.key.as_str(), &change.value.value) {
            // An override's path is taken from the folder of the program.
            ("topology", crate::diag::Value::Str(name)) => folder.join(name).display().to_string(),
            ("training.model", _) => {
                out.push_str(&format!(" --set training.model.preset={}", cluster.model.as_deref().unwrap_or_default()));
                continue;
            }
            (_, value) => shown(value),
        };
        out.push_str(&format!(" --set {}={text}", change.key));
    }
    choice.set.iter().for_each(|s| out.push_str(&format!(" --set {s}")));
    out
}

fn assumptions(plan: &Plan, (c, p): Place, choice: &Choice) -> Vec<String> {
    let payment = &plan.clusters[c].0.payments[p];
    let cost = &payment.plan;
    let price = match &cost.ownership {
        Ownership::Rent { rate, source } => format!("Price: {} USD per accelerator and hour ({source}).", three(rate * 3600.0)),
        Ownership::Owned { price, life, utilization, source } => format!(
            "Price: {} for the cluster, spread over {} at {} % use, electricity at {} USD/kWh ({source}).",
            si(*price, "USD"),
            time(*life),
            three(100.0 * utilization),
            three(cost.electricity * 3.6e6)
        ),
        Ownership::Unknown => "Price: none is known; money is not counted.".into(),
    };
    let mut out = vec![
        price,
        format!("PUE {}, {} kg of carbon dioxide per kWh.", three(cost.pue), three(cost.carbon * 3.6e6)),
        "The run never stops: failures, checkpoints and storage are not in it. Plan for a share of lost time on large clusters (one interruption per 2,111 GPU-days was published for 16,384 H100).".into(),
        format!(
            "Memory: {} of {} on the fullest accelerator; runtime and allocator slack are flat figures (docs/models/memory.md).",
            Bytes::new(choice.memory_peak_bytes),
            Bytes::new(choice.memory_capacity_bytes)
        ),
        "Step times of dense models are within 5 % (median) and 16 % (nine of ten) of published measurements; see the README. Layouts that lie closer than 2 % are ties.".into(),
    ];
    if payment.name == "spot" {
        out.push("Spot capacity may be taken away; no loss for that is counted.".into());
    }
    out
}

/// The nearest that candidates come when limits are dropped.
struct Nearest {
    fastest: Vec<Option<Searched>>,
    cheapest: Option<Vec<Option<Searched>>>,
}

fn relaxed(plan: &Plan, want: &Want, counts: &mut SearchCounts) -> Nearest {
    let by = |objective| Want { objective, within: None, budget: None, exhaustive: want.exhaustive };
    let fastest = search(plan, &by(Objective::Time), counts);
    let cheapest = want.budget.map(|_| search(plan, &by(Objective::Cost), counts));
    Nearest { fastest, cheapest }
}

fn best_of(found: &[Option<Searched>], value: impl Fn(&Ran) -> f64) -> Option<(Place, &Ran)> {
    let all =
        found.iter().enumerate().flat_map(|(c, s)| s.iter().flat_map(move |s| s.found.iter().enumerate().map(move |(p, f)| ((c, p), f))));
    all.filter_map(|(place, f)| f.first().map(|r| (place, r))).min_by(|a, b| value(a.1).total_cmp(&value(b.1)).then(a.0.cmp(&b.0)))
}

fn binding(plan: &Plan, want: &Want, found: &[Option<Searched>], nearest: &Nearest) -> Vec<Binding> {
    let bound = |constraint: &str, limit: f64, nearest: f64, text: String| Binding {
        constraint: constraint.into(),
        limit,
        nearest,
        over: nearest / limit - 1.0,
        text,
    };
    let Some((place, fastest)) = best_of(&nearest.fastest, |r| r.score.seconds) else {
        let least = found.iter().enumerate().filter_map(|(c, s)| Some((c, s.as_ref()?.least_peak?)));
        return match least.min_by(|a, b| (a.1.0 / a.1.1).total_cmp(&(b.1.0 / b.1.1))) {
            Some((c, (peak, capacity))) => {
                let text = format!(
                    "Memory: the leanest legal layout, on {}, needs at least {} of {} an accelerator ({} % over).",
                    plan.clusters[c].0.name,
                    Bytes::new(peak),
                    Bytes::new(capacity),
                    three(100.0 * (peak / capacity - 1.0).max(0.0))
                );
                vec![bound("memory", capacity, peak, text)]
            }
            None => vec![bound("layout", 1.0, 1.0, "No layout is legal on any candidate.".into())],
        };
    };
    let name = |(c, p): Place| format!("{} ({})", plan.clusters[c].0.name, plan.clusters[c].0.payments[p].name);
    let mut out = Vec::new();
    if let Some(within) = want.within.filter(|w| fastest.score.seconds > *w) {
        let text = format!(
            "Time: the fastest, {} as {}, takes {} ({} % over {}).",
            name(place),
            fastest.layout,
            time(fastest.score.seconds),
            three(100.0 * (fastest.score.seconds / within - 1.0)),
            time(within)
        );
        out.push(bound("time", within, fastest.score.seconds, text));
    }
    let cheapest = nearest.cheapest.as_ref().and_then(|c| best_of(c, |r| r.score.usd));
    if let (Some(budget), Some((place, cheapest))) = (want.budget, cheapest) {
        if cheapest.score.usd > budget {
            let text = format!(
                "Cost: the cheapest, {} as {}, costs {} ({} % over {}).",
                name(place),
                cheapest.layout,
                si(cheapest.score.usd, "USD"),
                three(100.0 * (cheapest.score.usd / budget - 1.0)),
                si(budget, "USD")
            );
            out.push(bound("cost", budget, cheapest.score.usd, text));
        } else if out.is_empty() {
            let text = format!(
                "Time and cost together: the fastest, {}, costs {}; the cheapest, {}, takes {}.",
                name(best_of(&nearest.fastest, |r| r.score.seconds).map_or((0, 0), |b| b.0)),
                si(fastest.score.usd, "USD"),
                name(place),
                time(cheapest.score.seconds)
            );
            out.push(bound("cost", budget, fastest.score.usd, text));
        }
    }
    out
}

/// Every cluster with every way to pay; where the goal was not met, what it comes to without limits.
fn options(plan: &Plan, found: &[Option<Searched>], nearest: Option<&Nearest>, want: &Want) -> Vec<OptionRow> {
    let mut out = Vec::new();
    for (c, (cluster, _)) in plan.clusters.iter().enumerate() {
        let full = cluster.model.as_ref().map_or_else(|| cluster.name.clone(), |m| format!("{m} on {}", cluster.name));
        for (p, payment) in cluster.payments.iter().enumerate() {
            let Some(searched) = &found[c] else {
                let why = Some("a larger model fits".to_owned());
                out.push(OptionRow { cluster: full.clone(), payment: payment.name.clone(), feasible: false, why_not: why, choice: None });
                continue;
            };
            let best = searched.found[p].first();
            let near = nearest.and_then(|n| n.fastest[c].as_ref()).and_then(|s| s.found[p].first());
            let why = match (best, near) {
                (Some(_), _) => None,
                (None, Some(r)) => Some(limits_missed(r, want)),
                (None, None) if nearest.is_none() && searched.least[p].is_some_and(|s| s.is_within(want)) => {
                    searched.least[p].map(|s| at_least(&s, want))
                }
                (None, None)
                    if nearest.is_none()
                        && (want.within.is_some() || want.budget.is_some())
                        && searched.counts.bounded + searched.counts.simulated > 0 =>
                {
                    Some("no layout that fits meets the limits".into())
                }
                _ => Some(match searched.least_peak {
                    Some((peak, capacity)) => format!("no layout fits: at least {} of {}", Bytes::new(peak), Bytes::new(capacity)),
                    None => "no layout is legal".into(),
                }),
            };
            let choice = best.or(near).map(|r| choice(plan, (c, p), r));
            out.push(OptionRow { cluster: full.clone(), payment: payment.name.clone(), feasible: best.is_some(), why_not: why, choice });
        }
    }
    let barred = plan.barred.iter().map(|(name, why)| OptionRow {
        cluster: name.clone(),
        payment: String::new(),
        feasible: false,
        why_not: Some(format!("no layout is legal: {why}")),
        choice: None,
    });
    out.extend(barred);
    out
}

/// Why a cluster was not looked at further: its bound.
fn at_least(bound: &Score, want: &Want) -> String {
    match want.objective {
        Objective::Cost => format!("cannot beat the first two: at least {}", si(bound.usd, "USD")),
        Objective::Energy => format!("cannot beat the first two: at least {}", si(bound.kwh * 1e3, "Wh")),
        Objective::Time => format!("cannot beat the first two: at least {}", time(bound.seconds)),
        Objective::Pareto => "beaten in both time and money by its bounds".into(),
    }
}

fn limits_missed(ran: &Ran, want: &Want) -> String {
    let mut out = Vec::new();
    if let Some(within) = want.within.filter(|w| ran.score.seconds > *w) {
        out.push(format!("{} % too slow", three(100.0 * (ran.score.seconds / within - 1.0))));
    }
    if let Some(budget) = want.budget.filter(|b| ran.score.usd > *b) {
        out.push(format!("{} % over the budget", three(100.0 * (ran.score.usd / budget - 1.0))));
    }
    out.join(", ")
}
