//! The answer of a plan for serving: what to take, what it holds, what it costs; what came second.

use super::super::answer::shown;
use super::super::document::{document, plain};
use super::super::money;
use super::super::outcome::{BreakEven, Choice, PlanOutcome, RunnerUp, SearchCounts, Served, Service, SpotLoss};
use super::super::question::Objective;
use super::super::search::Want;
use super::super::space::paid_as;
use super::caveats::{assumptions, risks};
use super::growth;
use super::load::{Point, ServePlan};
use super::obstacles::{binding, options};
use super::search::{Counts, Load, Ran, hold, place, search};
use super::spot::Away;
use crate::diag::Value;
use crate::economics::Ownership;
use crate::metrics::ServingOutcome;
use crate::units::{HOUR, Seconds, dollars, grouped, three};

/// Answers a plan for serving.
pub(in crate::plan) fn decide(plan: &ServePlan, exhaustive: bool) -> PlanOutcome {
    let want = Want { exhaustive, ..plan.want };
    let found = search(plan, &want);
    let mut out = empty(plan, &want);
    out.search = counted(&found.counts);
    let all: Vec<&Ran> = if want.objective == Objective::Pareto {
        found.found.iter().filter(|r| !found.found.iter().any(|o| o.score.beats(&r.score))).collect()
    } else {
        found.found.iter().collect()
    };
    out.options = options(plan, &found, &want);
    let Some(&best) = all.first() else {
        out.binding = binding(plan, &found, &want);
        let said: Vec<&str> = out.binding.iter().map(|b| b.text.as_str()).collect();
        out.answer = format!("No candidate meets the goal. {}", said.join(" "));
        return out;
    };
    let own = place(plan, &best.point, best.payment);
    let at = |r: &Ran| place(plan, &r.point, r.payment);
    out.feasible = true;
    let chosen = choice(plan, best);
    let other = all.iter().find(|r| at(r) != own).map(|r| choice(plan, r));
    let second = all.iter().find(|r| at(r) == own && r.point.setup != best.point.setup).map(|r| choice(plan, r));
    out.runner_up = other.map(|o| RunnerUp { why: why(&chosen, &o), choice: o });
    out.runner_up_layout = second.map(|o| RunnerUp { why: why(&chosen, &o), choice: o });
    if want.objective == Objective::Pareto {
        out.front = all.iter().map(|r| choice(plan, r)).collect();
    }
    complete(plan, best, &mut out);
    out.answer = sentence(plan, &chosen, &out) + &money::purchase(&plan.sizes[best.point.size].plans[best.payment]);
    out.best = Some(chosen);
    out
}

fn counted(c: &Counts) -> SearchCounts {
    SearchCounts {
        considered: c.considered,
        site: c.site,
        too_slow: c.rate + c.latency,
        bounded: c.bounded,
        simulated: c.simulated,
        ..SearchCounts::default()
    }
}

fn empty(plan: &ServePlan, want: &Want) -> PlanOutcome {
    PlanOutcome {
        version: env!("CARGO_PKG_VERSION").into(),
        plan_hash: plan.hash.clone(),
        title: plan.title.clone(),
        kind: "plan",
        goal: "serve".into(),
        job: plan.job.clone(),
        objective: want.objective.word().into(),
        whole_run: true,
        within_s: None,
        budget_usd: want.budget,
        service: Some(Service {
            requests_per_s: plan.rate,
            load_requests_per_s: plan.load(),
            headroom: plan.headroom,
            spare_nodes: plan.spare,
            months: plan.months(),
            slo: plan.targets.iter().map(|t| t.row(None)).collect(),
            ordinary: None,
            sustained_requests_per_s: None,
        }),
        feasible: false,
        answer: String::new(),
        best: None,
        runner_up: None,
        runner_up_layout: None,
        front: Vec::new(),
        binding: Vec::new(),
        options: Vec::new(),
        bill: None,
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

pub(super) fn name(plan: &ServePlan, point: &Point) -> String {
    let size = &plan.sizes[point.size];
    format!("{}, {} node{}", plan.candidates[size.candidate].name, size.nodes, if size.nodes == 1 { "" } else { "s" })
}

pub(super) fn layout(plan: &ServePlan, point: &Point) -> String {
    point.setup.words(plan.sizes[point.size].accelerators())
}

pub(super) fn choice(plan: &ServePlan, ran: &Ran) -> Choice {
    let size = &plan.sizes[ran.point.size];
    let keys = ran.point.setup.keys(size.accelerators());
    Choice {
        cluster: name(plan, &ran.point),
        model: None,
        payment: plan.candidates[size.candidate].payments[ran.payment].0.clone(),
        nodes: size.nodes,
        accelerators: size.accelerators(),
        layout: layout(plan, &ran.point),
        set: [format!("nodes={}", size.nodes)].into_iter().chain(keys.into_iter().map(|(key, n)| format!("{key}={n}"))).collect(),
        time_s: ran.score.seconds,
        usd: ran.score.usd,
        energy_kwh: ran.score.kwh,
        power_w: ran.power,
        memory_peak_bytes: ran.memory.0,
        memory_capacity_bytes: ran.memory.1,
        training: None,
        serving: Some(served(plan, ran, &ran.numbers, Load::of(plan))),
    }
}

fn served(plan: &ServePlan, ran: &Ran, n: &ServingOutcome, load: Load) -> Served {
    let size = &plan.sizes[ran.point.size];
    let hourly = ran.score.usd / plan.horizon() * HOUR;
    let (prompts, others) = ran.point.setup.split(size.working(load.down));
    let loss = |away: Away| SpotLoss {
        mean_nodes: away.there * size.nodes as f64,
        nodes_taken_per_day: away.per_day,
        requests_hit_share: away.hit,
        most_away: away.most,
    };
    Served {
        working_nodes: size.nodes - load.down,
        engines: prompts + others,
        prompt_engines: (prompts > 0).then_some(prompts),
        accelerators_per_engine: ran.point.setup.ranks(),
        requests_per_s: load.rate,
        ttft_s: n.ttft_s,
        tpot_s: n.tpot_s,
        e2e_s: n.e2e_s,
        output_tokens_per_s: n.output_tokens_per_s,
        busy_share: n.busy_share,
        kv_peak_share: n.kv_peak_share,
        usd_per_hour: hourly,
        usd_per_million_output_tokens: hourly / HOUR / n.output_tokens_per_s * 1e6,
        spot: ran.away.map(loss),
    }
}

/// The rest of the answer that hangs on the best.
fn complete(plan: &ServePlan, best: &Ran, out: &mut PlanOutcome) {
    let size = &plan.sizes[best.point.size];
    let paid = &size.plans[best.payment];
    let bill = money::bill(&size.summary, &plan.site, paid.pue);
    let ordinary = Load { rate: plan.load() / (1.0 + plan.headroom), down: 0, slack: f64::INFINITY };
    let day = hold(plan, &best.point, ordinary, true).ok();
    if let Some(service) = &mut out.service {
        service.slo = plan.targets.iter().map(|t| t.row(Some(&best.numbers))).collect();
        service.ordinary = day.as_ref().map(|(_, _, n)| served(plan, best, n, ordinary));
        service.sustained_requests_per_s = growth::sustained(plan, best);
    }
    out.cost_parts_usd = money::split(&best.parts, &size.summary);
    let mut swings = if best.score.usd > 0.0 { money::price_swings(&best.parts, paid) } else { Vec::new() };
    if best.score.usd > 0.0 {
        swings.extend(growth::swings(plan, best));
    }
    out.sensitivity = money::sorted(swings);
    out.break_even = break_even(plan, best);
    out.purchases = growth::purchases(plan, best);
    let owned = matches!(paid.ownership, Ownership::Owned { .. });
    let months = plan.months();
    out.timeline =
        money::timeline(&plan.site, owned, &[(format!("service, {months} month{}", if months == 1 { "" } else { "s" }), plan.horizon())]);
    if let Some((_, outcome, _)) = day {
        out.constants = outcome.detail.profile;
    }
    out.risks = risks(plan, best, out);
    out.assumptions = money::assumptions(paid, &plan.site, &bill);
    out.assumptions.extend(assumptions(plan, best));
    let way = &plan.candidates[size.candidate].payments[best.payment].1;
    let changes = plan.changes(size.candidate, size.nodes, size.accelerators(), best.point.setup, ordinary.rate, way);
    let base = plan.base_of(best.point.setup, size.accelerators());
    let folder = std::path::Path::new(&plan.folder);
    out.scenario = document(base, &plan.base_file, &changes);
    let mut command = format!("orrery run {}", plan.base_name);
    for change in &changes {
        let text = match (change.key.as_str(), &change.value.value) {
            ("topology", Value::Str(name)) => plain(&folder.join(name)).display().to_string(),
            (_, value) => shown(value),
        };
        command.push_str(&format!(" --set {}={text}", change.key));
    }
    out.reproduce = Some(command);
    out.bill = Some(bill);
}

fn break_even(plan: &ServePlan, best: &Ran) -> Option<BreakEven> {
    let size = &plan.sizes[best.point.size];
    let paid = |way: &str| {
        let more = paid_as(way, &[], &plan.candidates[size.candidate].money, plan.place);
        plan.scenario(size.candidate, size.nodes, size.accelerators(), best.point.setup, plan.load(), &more).0.map(|s| s.cost)
    };
    let name = plan.candidates[size.candidate].payments[best.payment].0.as_str();
    // What may be taken away is no substitute for what is bought.
    let way = if name == "reserved" { "reserved" } else { "on-demand" };
    money::break_even(&paid("owned")?, &paid(way)?, way, size.accelerators() as f64, best.power)
}

fn sentence(plan: &ServePlan, best: &Choice, out: &PlanOutcome) -> String {
    let Some(s) = &best.serving else { return String::new() };
    let down = match plan.spare {
        0 => String::new(),
        1 => " with one node down".into(),
        n => format!(" with {n} nodes down"),
    };
    let verb = if best.payment == "owned" { "Buy" } else { "Rent" };
    let planned = plan.load() / (1.0 + plan.headroom);
    let head =
        if plan.headroom > 0.0 { format!(" ({} and {} % headroom)", three(planned), three(100.0 * plan.headroom)) } else { String::new() };
    let slo: Vec<String> = out
        .service
        .iter()
        .flat_map(|s| &s.slo)
        .filter_map(|r| Some((r, r.reached_s?)))
        .map(|(r, s)| format!("{} p{:.0} {} of {}", r.metric.to_uppercase(), r.percentile, Seconds::new(s), Seconds::new(r.limit_s)))
        .collect();
    let reached = if slo.is_empty() { " within the base's targets".to_owned() } else { format!(": {}", slo.join(", ")) };
    let money = if best.usd > 0.0 {
        let months = plan.months();
        let span = if months == 1 { "a month".to_owned() } else { format!("in {months} months") };
        format!(
            " It costs {} {span}, {} USD per million output tokens at that rate.",
            dollars(best.usd),
            three(s.usd_per_million_output_tokens)
        )
    } else {
        String::new()
    };
    let phased = out.purchases.as_ref().filter(|p| p.phases.len() > 1 && p.phased_usd < 0.999 * p.at_once_usd && p.phased_usd > 0.0);
    let phased = phased.map_or_else(String::new, |p| {
        format!(" Growing in {} steps from {} nodes costs {} instead.", p.phases.len(), p.phases[0].nodes, dollars(p.phased_usd))
    });
    format!(
        "{verb} {} ({} accelerators, {}) and run {}. They hold {} requests a second{head}{down}{reached}.{money}{phased}",
        best.cluster,
        grouped(best.accelerators),
        best.payment,
        best.layout,
        three(s.requests_per_s)
    )
}

fn why(best: &Choice, other: &Choice) -> String {
    let more = |this: f64, than: f64| {
        let share = 100.0 * (this / than - 1.0);
        if share.abs() < 0.05 {
            "as much".to_owned()
        } else {
            format!("{} % {}", three(share.abs()), if share > 0.0 { "more" } else { "less" })
        }
    };
    let mut parts = Vec::new();
    if best.usd > 0.0 && other.usd > 0.0 {
        parts.push(format!("costs {}", more(other.usd, best.usd)));
    }
    parts.push(format!("draws {} power", more(other.power_w, best.power_w)));
    if let (Some(a), Some(b)) = (&best.serving, &other.serving) {
        let [own, others] = [a, b].map(|s| Seconds::new(s.tpot_s.p50).to_string());
        parts.push(if own == others {
            "a token takes as long".into()
        } else {
            format!("a token takes {others} instead of {own} (median)")
        });
    }
    if other.accelerators != best.accelerators {
        parts.push(format!("it has {} accelerators instead of {}", grouped(other.accelerators), grouped(best.accelerators)));
    }
    format!("It {}.", parts.join(", "))
}
