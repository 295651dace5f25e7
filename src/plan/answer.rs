//! The answer of a plan: what to buy, in which layout, at what cost; the runner-up and why it lost.

use super::caveats::{assumptions, risks};
use super::document::{document, plain, value as toml};
use super::load::{Plan, TrainingPlan};
use super::money::{self, time};
use super::obstacles::{binding, options, relaxed};
use super::outcome::{BreakEven, Choice, PlanOutcome, RunnerUp, SearchCounts, Swing, Trained};
use super::question::{GoalKind, Objective};
use super::search::{Ran, Rivals, Searched, Want, Work};
use super::serve;
use super::space::{paid_as, put};
use crate::diag::Value;
use crate::economics::Ownership;
use crate::metrics::RunOutcome;
use crate::scenario::{Change, execute};
use crate::units::{DAY, Seconds, dollars, grouped, si, three};

/// The place of an option: cluster and way to pay.
pub(super) type Place = (usize, usize);

/// Answers a plan.
#[must_use]
pub fn decide(plan: &Plan) -> PlanOutcome {
    match plan {
        Plan::Training(plan) => decide_with(plan, &plan.want),
        Plan::Serving(plan) => serve::decide(plan, false),
    }
}

/// The same with every layout simulated: what the search has to agree with.
#[must_use]
pub fn decide_exhaustively(plan: &Plan) -> PlanOutcome {
    match plan {
        Plan::Training(plan) => decide_with(plan, &Want { exhaustive: true, ..plan.want }),
        Plan::Serving(plan) => serve::decide(plan, true),
    }
}

/// Searches all clusters, those with the best bounds first, so that the rest has much to beat.
pub(super) fn search(plan: &TrainingPlan, want: &Want, counts: &mut SearchCounts) -> Vec<Option<Searched>> {
    let mut out: Vec<Option<Searched>> = plan.clusters.iter().map(|_| None).collect();
    let mut start = 0;
    // Models one after the other, the largest first: smaller ones than one that fits are not looked at.
    while start < plan.clusters.len() {
        let model = &plan.clusters[start].0.model;
        let end = start + plan.clusters[start..].iter().take_while(|c| c.0.model == *model).count();
        let work = |i: usize| Work { base: &plan.base, place: plan.place, layouts: &plan.clusters[i].1 };
        for i in (start..end).filter(|i| !plan.clusters[*i].0.excess.is_empty()) {
            counts.considered += plan.clusters[i].1.len() as u64;
            counts.site += plan.clusters[i].1.len() as u64;
        }
        let mut opened: Vec<_> =
            plan.admitted().filter(|i| (start..end).contains(i)).map(|i| (i, work(i).bound(&plan.clusters[i].0, want))).collect();
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

fn decide_with(plan: &TrainingPlan, want: &Want) -> PlanOutcome {
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
        let paid = &plan.clusters[place.0].0.payments[place.1].plan;
        outcome.answer = sentence(plan, &choice, outcome.front.len()) + &money::purchase(paid);
        complete(plan, place, best, &mut outcome);
        outcome.best = Some(choice);
        outcome.options = options(plan, &found, None, want);
    } else {
        let nearest = relaxed(plan, want);
        outcome.binding = binding(plan, want, &found, &nearest);
        outcome.answer =
            format!("No candidate meets the goal. {}", outcome.binding.iter().map(|b| b.text.as_str()).collect::<Vec<_>>().join(" "));
        outcome.options = options(plan, &found, Some(&nearest), want);
    }
    outcome.search = counts;
    outcome
}

fn empty(plan: &TrainingPlan, want: &Want) -> PlanOutcome {
    PlanOutcome {
        version: env!("CARGO_PKG_VERSION").into(),
        plan_hash: plan.hash.clone(),
        title: plan.title.clone(),
        kind: "plan",
        goal: plan.goal.word().into(),
        job: plan.job.clone(),
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
        service: None,
        cost_parts_usd: Vec::new(),
        sensitivity: Vec::new(),
        break_even: None,
        timeline: Vec::new(),
        purchases: None,
        run: None,
        risks: Vec::new(),
        assumptions: Vec::new(),
        constants: Vec::new(),
        scenario: String::new(),
        reproduce: None,
        search: SearchCounts::default(),
    }
}

pub(super) fn choice(plan: &TrainingPlan, (c, p): Place, ran: &Ran) -> Choice {
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
        time_s: ran.score.seconds,
        usd: ran.score.usd,
        energy_kwh: ran.score.kwh,
        power_w: ran.power,
        memory_peak_bytes: ran.numbers.memory_bytes.peak,
        memory_capacity_bytes: ran.numbers.memory_bytes.capacity,
        training: Some(trained(ran)),
        serving: None,
    }
}

fn trained(ran: &Ran) -> Trained {
    let disturbed = ran.run.as_ref().filter(|r| r.seeds.is_some() || r.lost_s > 0.0);
    let at = |of: fn(&RunOutcome) -> Option<crate::metrics::RunNumbers>| disturbed.and_then(of).map(|n| n.days * DAY);
    Trained {
        step_time_s: ran.numbers.step_time_s,
        step_time_p10_s: ran.numbers.step_time_p10_s,
        step_time_p90_s: ran.numbers.step_time_p90_s,
        mfu: ran.numbers.mfu,
        breakdown_s: ran.numbers.breakdown_s,
        training_goodput: disturbed.map(|r| r.training_goodput),
        failures: disturbed.map(|r| r.failures),
        time_p5_s: at(|r| r.p5),
        time_p95_s: at(|r| r.p95),
    }
}

/// A value as a shell takes it after `--set KEY=`.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        Value::Float(f) => f.to_string(),
        Value::Str(s) => s.clone(),
        other => toml(other),
    };
    let plain = |c: char| c.is_alphanumeric() || "-_./:+%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn sentence(plan: &TrainingPlan, best: &Choice, front: usize) -> String {
    let what = if plan.whole_run { "The run takes" } else { "A step takes" };
    let model = best.model.as_ref().map_or_else(String::new, |m| format!("{m} is the largest of the models that fits: "));
    let money = if best.usd > 0.0 { format!(", costs {}", dollars(best.usd)) } else { String::new() };
    let goodput = best.training.as_ref().and_then(|t| t.training_goodput);
    let goodput = goodput.map_or_else(String::new, |g| format!(" at a goodput of {} %", three(100.0 * g)));
    let more =
        if front > 1 { format!(" It is the fastest of {front} choices that nothing beats in both time and money.") } else { String::new() };
    let verb = match (plan.goal, best.payment.as_str()) {
        (GoalKind::Train, "owned") => "Buy",
        (GoalKind::Train, _) => "Rent",
        _ => "Take",
    };
    format!(
        "{model}{verb} {} ({} accelerators, {}) and lay the job out as {}. {what} {}{goodput}{money} and draws {} with cooling.{more}",
        best.cluster,
        grouped(best.accelerators),
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
        parts.push(format!("has {} accelerators instead of {}", grouped(other.accelerators), grouped(best.accelerators)));
    }
    format!(
        "It {}; least {} was asked for.",
        parts.join(", "),
        if want.objective == Objective::Pareto { "time" } else { want.objective.word() }
    )
}

/// Which parts of the step made a layout slower.
fn why_layout(best: &Choice, other: &Choice) -> String {
    let (Some(best), Some(other)) = (&best.training, &other.training) else { return String::new() };
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

/// Everything of the answer that hangs on the best: what to buy, its money, what may come otherwise, what it rests on.
fn complete(plan: &TrainingPlan, place: Place, best: &Ran, outcome: &mut PlanOutcome) {
    let (cluster, payment) = (&plan.clusters[place.0].0, &plan.clusters[place.0].0.payments[place.1]);
    let choice = choice(plan, place, best);
    let summary = cluster.fabric.summary(&cluster.catalogue);
    let bill = money::bill(&summary, &plan.site, payment.plan.pue);
    let owned = matches!(payment.plan.ownership, Ownership::Owned { .. });
    let changes = changes_of(plan, place, best);
    outcome.cost_parts_usd = money::split(&best.parts, &summary);
    outcome.sensitivity = swings(plan, place, best, &changes);
    outcome.break_even = break_even(plan, place, best, &changes);
    if plan.whole_run {
        outcome.timeline = money::timeline(&plan.site, owned, &[("training run".into(), best.score.seconds)]);
    }
    outcome.run = best.run.clone().filter(|r| r.seeds.is_some() || r.lost_s > 0.0);
    outcome.risks = risks(plan, best, &payment.name, !payment.losses.is_empty());
    outcome.assumptions = money::assumptions(&payment.plan, &plan.site, &bill);
    outcome.assumptions.extend(assumptions(&choice, outcome.run.as_ref()));
    outcome.constants.clone_from(&best.profile);
    outcome.scenario = document(&plan.base, &plan.base_file, &changes);
    outcome.reproduce = Some(command(plan, place, &choice));
    outcome.bill = Some(bill);
}

/// All changes of the base that make a choice.
fn changes_of(plan: &TrainingPlan, (c, p): Place, ran: &Ran) -> Vec<Change> {
    let cluster = &plan.clusters[c].0;
    let mut out = cluster.changes.clone();
    out.extend(cluster.payments[p].changes.iter().cloned());
    out.extend(ran.layout.changes(plan.place));
    out.extend(cluster.payments[p].losses.iter().cloned());
    out
}

fn swings(plan: &TrainingPlan, (c, p): Place, best: &Ran, changes: &[Change]) -> Vec<Swing> {
    let payment = &plan.clusters[c].0.payments[p];
    if best.score.usd <= 0.0 {
        return Vec::new();
    }
    let mut out = money::price_swings(&best.parts, &payment.plan);
    let n = &best.numbers;
    // Money follows time; waits for checkpoints and data are small beside it.
    let at = |step: f64| best.score.usd * step / n.step_time_s;
    out.push(Swing {
        what: "time of a step (80 % band of the model)".into(),
        low: Seconds::new(n.step_time_p10_s).to_string(),
        high: Seconds::new(n.step_time_p90_s).to_string(),
        low_usd: at(n.step_time_p10_s),
        high_usd: at(n.step_time_p90_s),
    });
    let seconds = |run: &RunOutcome| run.days * DAY;
    let with = |factor: f64| {
        let mut all = changes.to_vec();
        all.push(put("failures.factor", Value::Float(factor), plan.place));
        let scenario = plan.base.with(&all).0?;
        let run = execute(&scenario, 600.0, &|| 0.0).ok()?.run?;
        Some(best.score.usd * seconds(&run) / best.score.seconds)
    };
    let own = match plan.base.value("failures.factor").map(|n| &n.value) {
        Some(Value::Float(f)) => *f,
        Some(Value::Int(i)) => *i as f64,
        _ => 1.0,
    };
    if best.run.as_ref().is_some_and(|r| r.mttf_h.is_some())
        && let (Some(low_usd), Some(high_usd)) = (with(own / 2.0), with(own * 2.0))
    {
        let what = "rate of failures".into();
        out.push(Swing { what, low: "half".into(), high: "twice".into(), low_usd, high_usd });
    }
    money::sorted(out)
}

fn break_even(plan: &TrainingPlan, (c, p): Place, best: &Ran, changes: &[Change]) -> Option<BreakEven> {
    let cluster = &plan.clusters[c].0;
    let paid = |way: &str| plan.base.with(&paid_as(way, changes, &cluster.money, plan.place)).0.map(|s| s.cost);
    let owned = paid("owned")?;
    let own = &cluster.payments[p];
    // What may be taken away is no substitute for what is bought.
    let way = if own.name == "reserved" { "reserved" } else { "on-demand" };
    money::break_even(&owned, &paid(way)?, way, cluster.fabric.accelerator_count() as f64, best.power)
}

/// The command that runs a choice again; topologies are relative to the plan.
fn command(plan: &TrainingPlan, (c, p): Place, choice: &Choice) -> String {
    let cluster = &plan.clusters[c].0;
    let folder = std::path::Path::new(&plan.folder);
    let mut out = format!("orrery run {}", plan.base_name);
    for change in cluster.changes.iter().chain(&cluster.payments[p].changes) {
        let text = match (change.key.as_str(), &change.value.value) {
            // An override's path is taken from the folder of the program.
            ("topology", Value::Str(name)) => plain(&folder.join(name)).display().to_string(),
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
