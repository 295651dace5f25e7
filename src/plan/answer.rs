//! The answer of a plan: what to buy, in which layout, at what cost; the runner-up and why it lost.

use super::load::Plan;
use super::obstacles::{binding, options, relaxed};
use super::outcome::{Bill, Choice, PlanOutcome, RunnerUp, SearchCounts};
use super::question::{GoalKind, Objective};
use super::search::{Ran, Rivals, Searched, Want, Work};
use super::space::Cluster;
use crate::economics::Ownership;
use crate::units::{Bytes, DAY, Seconds, si, three};

/// The place of an option: cluster and way to pay.
pub(super) type Place = (usize, usize);

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
pub(super) fn search(plan: &Plan, want: &Want, counts: &mut SearchCounts) -> Vec<Option<Searched>> {
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

pub(super) fn choice(plan: &Plan, (c, p): Place, ran: &Ran) -> Choice {
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
pub(super) fn time(seconds: f64) -> String {
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
