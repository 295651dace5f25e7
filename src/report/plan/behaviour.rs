//! How what was chosen behaves: latencies of a service, the run of a training job with what goes wrong.

use super::super::document::{Block, Mark, Table, number, word};
use super::{percent, time};
use crate::plan::{PlanOutcome, Served, Service};
use crate::units::{Bytes, Seconds, three};

pub(super) fn latencies(o: &PlanOutcome, service: &Service) -> Vec<Block> {
    let Some(loaded) = o.best.as_ref().and_then(|b| b.serving.as_ref()) else { return Vec::new() };
    let pick = |s: &Served, metric: &str, p: f64| {
        let all = match metric {
            "ttft" => &s.ttft_s,
            "tpot" => &s.tpot_s,
            _ => &s.e2e_s,
        };
        if p < 60.0 {
            all.p50
        } else if p < 92.5 {
            all.p90
        } else if p < 97.0 {
            all.p95
        } else {
            all.p99
        }
    };
    let mut table = Table::new(&["<latency", "allowed", "at the planned load", "on an ordinary day"]);
    let names = [("ttft", "time to first token"), ("tpot", "time per output token"), ("e2e", "time to last token")];
    for (metric, name) in names {
        for p in [50.0, 90.0, 95.0, 99.0] {
            let limit = service.slo.iter().find(|r| r.metric == metric && (r.percentile - p).abs() < 0.5);
            if p == 95.0 && limit.is_none() {
                continue;
            }
            let seconds = |v: f64| number(v, Seconds::new(v).to_string());
            let cells = vec![
                word(format!("{name}, p{p:.0}")),
                limit.map_or_else(|| word("–"), |r| seconds(r.limit_s)),
                seconds(pick(loaded, metric, p)),
                service.ordinary.as_ref().map_or_else(|| word("–"), |s| seconds(pick(s, metric, p))),
            ];
            table.rows.push((if limit.is_some() { Mark::Best } else { Mark::Plain }, cells));
        }
    }
    let load = |s: &Served| {
        format!(
            "{} requests a second on {} node{}, {} engine{}{} busy {} of the time, {} of the cache in use at most",
            three(s.requests_per_s),
            s.working_nodes,
            if s.working_nodes == 1 { "" } else { "s" },
            s.engines,
            if s.engines == 1 { "" } else { "s" },
            s.prompt_engines.map_or_else(String::new, |p| format!(" ({p} for prompts alone)")),
            percent(s.busy_share),
            percent(s.kv_peak_share)
        )
    };
    let mut facts = vec![("planned load", load(loaded))];
    facts.extend(service.ordinary.as_ref().map(|s| ("ordinary day", load(s))));
    facts.extend(loaded.spot.map(|s| {
        let words = format!(
            "{} nodes there on average, {} a day taken away, {} of the requests start again elsewhere; the planned load counts that",
            three(s.mean_nodes),
            three(s.nodes_taken_per_day),
            percent(s.requests_hit_share)
        );
        ("spot capacity", words)
    }));
    vec![Block::Table(table), Block::Table(Table::facts(facts))]
}

pub(super) fn run(o: &PlanOutcome) -> Vec<Block> {
    let Some(run) = &o.run else { return Vec::new() };
    let mut facts = vec![("training goodput", percent(run.training_goodput)), ("wall time", format!("{} days", three(run.days)))];
    if let (Some(early), Some(late)) = (&run.p5, &run.p95) {
        facts.push(("nine of ten runs", format!("{} to {} days", three(early.days), three(late.days))));
        facts.push((
            "stops by failures",
            format!("{} on average, {} to {}", three(run.failures), three(early.failures), three(late.failures)),
        ));
    }
    if let Some(c) = &run.checkpoint {
        facts.push((
            "checkpoints",
            format!(
                "{} each, every {} ({} steps), blocking for {}",
                Bytes::new(c.bytes),
                Seconds::new(c.interval_s),
                c.interval_steps,
                Seconds::new(c.block_s)
            ),
        ));
    }
    let mut table = Table::new(&["<lost to", "time", "share of the wall time"]);
    let wall = run.days * crate::units::DAY;
    for (name, seconds) in run.losses_s.parts().into_iter().filter(|l| l.1 > 0.0) {
        let words = meaning(name).map_or_else(|| name.replace('_', " "), |m| format!("{}: {m}", name.replace('_', " ")));
        table.row(vec![word(words), number(seconds, time(seconds)), number(seconds / wall, percent(seconds / wall))]);
    }
    vec![Block::Table(Table::facts(facts)), Block::Table(table)]
}

/// What a loss of time is.
fn meaning(loss: &str) -> Option<&'static str> {
    Some(match loss {
        "checkpoint" => "steps stand still or run slower while one is written",
        "lost_work" => "steps since the last checkpoint, done again",
        "detection" => "until a failure is noticed",
        "restart" => "nodes are swapped, processes start and warm up",
        "restore" => "the last checkpoint is read back",
        "no_spare" => "no spare node was left",
        "straggler" => "one slow accelerator holds all others up",
        "pause" => "the job hung and went on by itself",
        "maintenance" => "planned stops",
        "data_stall" => "steps wait for input data",
        "shrunk" => "fewer replicas work on",
        _ => return None,
    })
}
