//! What may come otherwise than a plan for serving says, and what it rests on.

use super::super::money::{self, rests};
use super::super::outcome::{Assumption, PlanOutcome};
use super::load::ServePlan;
use super::search::Ran;
use crate::units::{Bytes, Seconds, grouped, three};

/// Lengths of a request that its traffic should last at least, for a steady state.
const STEADY: f64 = 5.0;

pub(super) fn risks(plan: &ServePlan, best: &Ran, out: &PlanOutcome) -> Vec<String> {
    let mut list = Vec::new();
    let tightest = plan
        .targets
        .iter()
        .map(|t| (t.of([&best.numbers.ttft_s, &best.numbers.tpot_s, &best.numbers.e2e_s]) / t.limit, t))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((share, t)) = tightest {
        let margin = 100.0 * (1.0 - share);
        let note = if margin < 10.0 { "; the model's own error is as large: ask for headroom" } else { "" };
        list.push(format!("Latency: the tightest target is {}, met with {} % to spare{note}.", t.name(), three(margin)));
    }
    list.push(match out.service.as_ref().and_then(|s| s.sustained_requests_per_s) {
        Some(rate) => {
            format!("Load: with all nodes up it holds {} requests a second of this traffic; beyond that queues grow.", three(rate))
        }
        None => "Load: the base's requests are too few to show the greatest rate that it holds.".into(),
    });
    list.extend(spot_risk(plan, best));
    if let Some(apart) = best.point.setup.apart {
        list.push(format!(
            "Prompts apart: {} to {} fits the lengths of this traffic; where prompts or answers grow, engines have to change sides.",
            apart.prompts, apart.answers
        ));
    }
    list.push(format!(
        "Cache: at most {} % of an engine's key-value cache is in use, {} requests were put back.",
        three(100.0 * best.numbers.kv_peak_share),
        grouped(best.numbers.preemptions)
    ));
    let lasts = plan.requests.list.last().map_or(0.0, |r| r.arrival);
    if lasts < STEADY * best.numbers.e2e_s.p90 {
        list.push(format!(
            "Sample: the base's requests last {} at this rate, less than {STEADY} times a request: queues have no time to grow. Give it more requests.",
            Seconds::new(lasts)
        ));
    }
    list.push(format!(
        "Sample: percentiles are those of {} requests; a 99th percentile of few requests is uncertain.",
        grouped(best.numbers.completed)
    ));
    list.extend(money::extrapolated(&out.constants));
    list
}

/// What may be taken away, where it may.
fn spot_risk(plan: &ServePlan, best: &Ran) -> Option<String> {
    let size = &plan.sizes[best.point.size];
    if plan.candidates[size.candidate].payments[best.payment].0 != "spot" {
        return None;
    }
    let Some(away) = best.away else {
        return Some("Spot capacity may be taken away; no loss for that is counted. Add [spot] to the plan.".into());
    };
    Some(format!(
        "Spot capacity: {} of {} nodes are there on average, {} a day are taken away, and {} % of the requests start again elsewhere for it; latencies and \
         money count that, each node by itself. Providers often take many nodes at a time: keep other capacity within reach.",
        three(away.there * size.nodes as f64),
        size.nodes,
        three(away.per_day),
        three(100.0 * away.hit)
    ))
}

pub(super) fn assumptions(plan: &ServePlan, best: &Ran) -> Vec<Assumption> {
    let m = best.memory;
    let mut out = vec![
        rests(
            format!("requests as in {}, at the rate of the plan", plan.base_name.rsplit('/').next().unwrap_or_default()),
            "the base scenario's [serving.traffic]",
        ),
        rests(
            "latencies of dense models are within 5 % (time per token) and 9 % (time to first token) of measurements in the median",
            "README, tests/validation/serving.csv",
        ),
        rests(
            format!("weights, workspace and cache take {} of {} an accelerator", Bytes::new(m.0), Bytes::new(m.1)),
            "docs/models/serving.md",
        ),
    ];
    if let Some(demand) = plan.demand {
        out.push(rests(format!("demand grows by {} % a month", three(100.0 * demand.growth)), "the plan's [demand]"));
    }
    if let (Some(spot), Some(_)) = (plan.spot, best.away) {
        out.push(rests(
            format!(
                "a node of spot capacity is taken away after {} on average, another is there {} later; those that are away are not paid",
                Seconds::new(spot.interval),
                Seconds::new(spot.replacement)
            ),
            "the plan's [spot]",
        ));
    }
    if best.point.setup.apart.is_some() {
        out.push(rests(
            "engines of prompts lie like those of answers; where nodes are down, engines share the two kinds of work in the same ratio",
            "docs/models/planner.md",
        ));
    }
    if plan.spare > 0 {
        out.push(rests("nodes that are down take no load; the router knows at once", "the plan's spare_nodes"));
    }
    out
}
