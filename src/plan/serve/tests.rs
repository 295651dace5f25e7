//! Tests of plans for serving: pruned against exhaustive, growth, and what is in the way.

use super::super::load::{Plan, load_plan};
use super::super::question::Objective;
use super::super::search::Want;
use super::load::ServePlan;
use super::search::{Ran, place, search};
use crate::diag::{Diagnostics, Style, render};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn plan(folder: &std::path::Path, traffic: &str, text: &str) -> Box<ServePlan> {
    let base = format!(
        "title = \"t\"\ntopology = \"{ROOT}/topologies/dgx-h100-ndr.toml\"\nnodes = 1\n[serving]\nengine = \"vllm\"\nrouter = \"least-tokens\"\n[serving.model]\npreset = \"llama-3.1-8b\"\n\
         [serving.traffic]\n{traffic}\n"
    );
    std::fs::write(folder.join("base.toml"), base).unwrap();
    let path = folder.join("plan.toml");
    std::fs::write(&path, format!("title = \"t\"\nbase = \"base.toml\"\n{text}")).unwrap();
    let mut diags = Diagnostics::new();
    match load_plan(&path, &mut diags) {
        Some(Plan::Serving(plan)) => plan,
        _ => panic!("{text}\n{}", render(&diags, Style::Plain)),
    }
}

/// What an answer shows: the best of every place, and another setup on the place of the best.
fn shown(plan: &ServePlan, found: &[Ran], objective: Objective) -> Vec<(usize, usize, String)> {
    let name = |r: &Ran| (r.order, r.payment, format!("{:?}", r.score));
    if objective == Objective::Pareto {
        return found.iter().filter(|r| !found.iter().any(|o| o.score.beats(&r.score))).map(name).collect();
    }
    let at = |r: &Ran| place(plan, &r.point, r.payment);
    let mut out: Vec<_> = Vec::new();
    for (i, r) in found.iter().enumerate() {
        if !found[..i].iter().any(|o| at(o) == at(r)) {
            out.push(name(r));
        }
    }
    let second = found.first().and_then(|b| found.iter().find(|r| at(r) == at(b) && r.point.setup != b.point.setup));
    out.extend(second.map(name));
    out
}

/// Pruning loses nothing that an answer shows.
#[test]
fn pruning_never_loses_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let cases: u64 = std::env::var("PROPTEST_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(16).min(200);
    let (mut feasible, mut saved, mut all) = (0, 0, 0);
    for case in 0..cases {
        let mut state = case.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 777;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let lengths = [
            "input = 512\noutput = 128",
            "input = { kind = \"lognormal\", mean = 2000, cv = 1.0, most = 8000 }\noutput = { kind = \"uniform\", least = 1, most = 200 }",
            "input = 100\noutput = { kind = \"lognormal\", mean = 300, cv = 0.8, most = 1500 }",
        ][draw(3) as usize];
        let kind = ["kind = \"poisson\"", "kind = \"gamma\"\ncv = 3.0", "kind = \"bursty\"\npeak = 4\nburst = \"3 s\"\nshare = 0.1"]
            [draw(3) as usize];
        let traffic = format!("{kind}\nrequests_per_s = 1\nrequests = {}\n{lengths}", 60 + draw(200));
        let objective = ["cost", "energy", "time", "pareto"][draw(4) as usize];
        let slo = [
            format!("ttft_p99 = \"{} ms\", tpot_p99 = \"{} ms\"", 100 + draw(2000), 8 + draw(40)),
            format!("e2e_p90 = \"{} ms\"", 600 + draw(9000)),
            format!("ttft_p50 = \"{} ms\"", 15 + draw(300)),
            format!("tpot_p50 = \"{} ms\", e2e_p99 = \"{} s\"", 5 + draw(30), 2 + draw(40)),
        ][draw(4) as usize]
            .clone();
        let spare = draw(2);
        // Engines of prompts in all ratios, in named ones, in none; one case in three spot capacity that is taken away.
        let apart = [
            "[deployment]\nprefill_to_decode = [\"together\", \"1:7\", \"1:1\", \"5:3\"]\ntensor = [1, 2, 4]\n",
            "[deployment]\nprefill_to_decode = [\"together\"]\n",
            "",
        ][draw(3) as usize];
        let (way, spot) = if draw(3) == 0 {
            (", \"spot\"", format!("[spot]\ninterval = \"{} min\"\nreplacement = \"{} s\"\n", 10 + draw(300), draw(900)))
        } else {
            ("", String::new())
        };
        let text = format!(
            "objective = \"{objective}\"\n[goal]\nkind = \"serve\"\nrequests_per_s = {}\nheadroom = 0.2\nspare_nodes = {spare}\nslo = {{ {slo} }}\n{apart}{spot}\
             [[candidate]]\nnodes = [1, 2, 3]\npayment = [\"on-demand\", \"owned\"{way}]\n[[candidate]]\nname = \"A100\"\ntopology = \"{ROOT}/topologies/dgx-a100-hdr.toml\"\nnodes = [1, 2, 4]\n\
             [[candidate]]\nname = \"PCIe\"\ntopology = \"{ROOT}/topologies/l40s-pcie.toml\"\nnodes = [2]\n",
            1 + draw(200)
        );
        let plan = plan(folder.path(), &traffic, &text);
        let pruned = search(&plan, &plan.want);
        let whole = search(&plan, &Want { exhaustive: true, ..plan.want });
        let objective = plan.want.objective;
        assert_eq!(shown(&plan, &pruned.found, objective), shown(&plan, &whole.found, objective), "case {case}: {traffic}\n{text}");
        let c = pruned.counts;
        assert_eq!(c.considered, c.site + c.rate + c.latency + c.bounded + c.simulated, "case {case}");
        feasible += u64::from(!whole.found.is_empty());
        saved += whole.counts.simulated - c.simulated;
        all += whole.counts.simulated;
    }
    assert!(feasible > cases / 3 && feasible < cases && saved * 3 > all, "{feasible} of {cases}, {saved} of {all}");
}

const TRAFFIC: &str = "kind = \"poisson\"\nrequests_per_s = 1\nrequests = 4000\ninput = 800\noutput = 200";

#[test]
fn growing_demand_is_bought_in_phases() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[goal]\nkind = \"serve\"\nrequests_per_s = 25\nslo = {{ ttft_p99 = \"2 s\", tpot_p99 = \"80 ms\" }}\n[demand]\nmonths = 24\ngrowth_per_month = 0.08\nreview_months = 6\n\
         [[candidate]]\ntopology = \"{ROOT}/topologies/l40s-pcie.toml\"\nnodes = [1, 2, 3, 4, 5, 6, 7, 8]\n"
    );
    let plan = plan(folder.path(), TRAFFIC, &text);
    let outcome = super::decide(&plan, false);
    let bought = outcome.purchases.unwrap();
    let best = outcome.best.unwrap();
    assert_eq!(bought.phases.len(), 4);
    assert_eq!(bought.phases.last().unwrap().nodes, best.nodes);
    assert!(bought.phases.windows(2).all(|w| w[0].nodes <= w[1].nodes && w[0].until_month == w[1].month));
    assert!(bought.phases[0].nodes < best.nodes, "{bought:?}");
    assert!(bought.phased_usd < bought.at_once_usd && (bought.at_once_usd / best.usd - 1.0).abs() < 1e-12);
    // The last phase asks for the rate of the last month.
    let rate = 25.0 * libm::pow(1.08, 24.0);
    assert!((bought.phases[3].requests_per_s / rate - 1.0).abs() < 1e-12);
    assert!(outcome.service.unwrap().sustained_requests_per_s.unwrap() >= rate);
    assert!((outcome.cost_parts_usd.iter().map(|p| p.1).sum::<f64>() / best.usd - 1.0).abs() < 1e-9);
}

#[test]
fn the_greatest_rate_does_not_depend_on_what_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let greatest = |traffic: &str, rate: f64| {
        let text = format!(
            "[goal]\nkind = \"serve\"\nrequests_per_s = {rate}\nslo = {{ ttft_p99 = \"2 s\" }}\n[deployment]\ntensor = [2]\nprefill_to_decode = [\"together\"]\n[[candidate]]\ntopology = \"{ROOT}/topologies/l40s-pcie.toml\"\nnodes = [1]\n"
        );
        super::decide(&plan(folder.path(), traffic, &text), false).service.unwrap().sustained_requests_per_s
    };
    let (few, many) = (greatest(TRAFFIC, 0.25).unwrap(), greatest(TRAFFIC, 8.0).unwrap());
    assert!(few > 8.0 && (few / many - 1.0).abs() < 0.05, "{few} and {many}");
    assert_eq!(greatest(&TRAFFIC.replace("4000", "2"), 1.0), None);
}

#[test]
fn what_cannot_be_served_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |goal: &str, more: &str| {
        let text = format!("[goal]\nkind = \"serve\"\n{goal}\n{more}[[candidate]]\nnodes = [1, 2]\n");
        super::decide(&plan(folder.path(), TRAFFIC, &text), false)
    };
    for (goal, more, constraint) in [
        ("requests_per_s = 20\nslo = { tpot_p50 = \"1 ms\" }", "", "latency"),
        ("requests_per_s = 50000\nslo = { ttft_p99 = \"1 s\" }", "", "rate"),
        ("requests_per_s = 20\nslo = { ttft_p99 = \"1 s\" }", "[site]\npower = \"5 kW\"\n", "power"),
        ("requests_per_s = 20\nbudget = \"9 USD\"\nslo = { ttft_p99 = \"1 s\" }", "[demand]\nmonths = 1\n", "cost"),
    ] {
        let outcome = ask(goal, more);
        assert!(!outcome.feasible && outcome.binding[0].over > 0.0, "{goal}: {outcome:?}");
        assert_eq!(outcome.binding[0].constraint, constraint, "{:?}", outcome.binding);
    }
}

#[test]
fn spot_capacity_costs_less_and_holds_less() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |spot: &str, payment: &str, nodes: &str| {
        let text = format!(
            "[goal]\nkind = \"serve\"\nrequests_per_s = 60\nslo = {{ ttft_p99 = \"1 s\", tpot_p99 = \"60 ms\" }}\n{spot}[deployment]\ntensor = [1]\nprefill_to_decode = [\"together\"]\n[[candidate]]\nnodes = {nodes}\npayment = [\"{payment}\"]\n"
        );
        super::decide(&plan(folder.path(), TRAFFIC, &text), false)
    };
    let spot = |interval: &str, replacement: &str| format!("[spot]\ninterval = \"{interval}\"\nreplacement = \"{replacement}\"\n");
    let best = |o: &crate::plan::PlanOutcome| o.best.clone().unwrap();
    let calm = best(&ask("", "spot", "[2]"));
    // What is never away is as if nothing were taken: only requests that a loss interrupts are later.
    let quick = best(&ask(&spot("10 h", "0 s"), "spot", "[2]"));
    let (c, q) = (calm.serving.unwrap(), quick.serving.unwrap());
    assert_eq!(quick.usd, calm.usd);
    assert!((q.ttft_s.p50 / c.ttft_s.p50 - 1.0).abs() < 1e-3 && q.e2e_s.mean > c.e2e_s.mean, "{q:?} {c:?}");
    let loss = q.spot.unwrap();
    // A request is hit when its node goes while it runs, and a day's losses follow from the interval.
    assert!((loss.requests_hit_share / (c.e2e_s.mean / 36_000.0) - 1.0).abs() < 1e-9 && (loss.nodes_taken_per_day - 4.8).abs() < 1e-9);
    // A node is away one thirteenth of the time: so much less money, and requests that meet one node or none.
    let rare = ask(&spot("1 h", "5 min"), "spot", "[2]");
    let (usd, s) = (best(&rare).usd, best(&rare).serving.unwrap());
    assert!((usd / calm.usd - 12.0 / 13.0).abs() < 1e-9 && s.e2e_s.mean > q.e2e_s.mean && s.spot.unwrap().most_away == 2, "{s:?}");
    // One node is away too often for a 99th percentile: requests would wait for another.
    let alone = ask(&spot("1 h", "5 min"), "spot", "[1]");
    assert!(!alone.feasible && alone.binding[0].constraint == "latency" && alone.binding[0].text.contains("spot"), "{:?}", alone.binding);
}

#[test]
fn prompts_apart_keep_tokens_steady() {
    let folder = tempfile::tempdir().unwrap();
    // Long prompts beside short answers: decodes of engines that do both wait for prompts.
    let traffic = "kind = \"poisson\"\nrequests_per_s = 1\nrequests = 1500\ninput = 6000\noutput = 150";
    let ask = |ratios: &str| {
        let text = format!(
            "[goal]\nkind = \"serve\"\nrequests_per_s = 20\nslo = {{ ttft_p99 = \"2 s\", tpot_p99 = \"12 ms\" }}\n[deployment]\ntensor = [1]\nprefill_to_decode = {ratios}\n[[candidate]]\nnodes = [1, 2, 3]\n"
        );
        super::decide(&plan(folder.path(), traffic, &text), false)
    };
    let both = ask("[\"together\", \"1:3\", \"1:1\", \"3:1\"]");
    let together = ask("[\"together\"]");
    let best = both.best.unwrap();
    let served = best.serving.unwrap();
    assert!(served.prompt_engines.is_some() && served.engines == best.accelerators, "{}", best.layout);
    assert!(best.set.iter().any(|s| s.starts_with("serving.prefill.parallel.replicas=")), "{:?}", best.set);
    assert!(together.best.is_none_or(|t| t.usd > best.usd), "engines of prompts pay off here: {}", best.layout);
}
