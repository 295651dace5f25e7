//! The sections of a plan's document, in the order in which a reader with the purchase order needs them.

use super::super::document::{Block, Cell, Mark, Section, Table, number, word};
use super::super::plot::PALETTE;
use super::behaviour::{latencies, run};
use super::charts::{Dot, bars, gantt, is_best, parts, scatter, tornado};
use super::words::glossary;
use super::{goal, ordered, percent, searched, serves, time, usd};
use crate::plan::{Bill, Choice, OptionRow, PlanOutcome, Purchases, RunnerUp};
use crate::units::{Bytes, BytesPerSecond, Seconds, Watts, grouped, si, three};

/// All sections.
pub(super) fn all(o: &PlanOutcome) -> Vec<Section> {
    let mut out = vec![Section { title: "", blocks: head(o) }];
    let mut add = |title: &'static str, blocks: Vec<Block>| {
        if !blocks.is_empty() {
            out.push(Section { title, blocks });
        }
    };
    add("What is in the way", o.binding.iter().map(|b| Block::Text(b.text.clone())).collect());
    add("Latencies", o.service.as_ref().map_or_else(Vec::new, |s| latencies(o, s)));
    add("What to buy or rent", o.bill.as_ref().map_or_else(Vec::new, |b| bill(o, b)));
    add("Where the money goes", money(o));
    add("What would change the cost", sensitivity(o));
    add("Purchases while demand grows", o.purchases.as_ref().map_or_else(Vec::new, purchases));
    add("Timeline", timeline(o));
    add("The run, with what goes wrong", run(o));
    add("Risks", if o.risks.is_empty() { Vec::new() } else { vec![Block::List(o.risks.clone())] });
    add("The choices compared", choices(o));
    let second = if serves(o) { "Another deployment on the same cluster" } else { "Another layout on the same cluster" };
    add("Runner-up", o.runner_up.as_ref().map_or_else(Vec::new, |r| beside(o, r)));
    add(second, o.runner_up_layout.as_ref().map_or_else(Vec::new, |r| beside(o, r)));
    add("What it rests on", assumptions(o));
    let exact = "No choice was left out that could be the best: bounds on memory, time, latency, money and energy lie below what the simulation gives.";
    add("How it was searched", vec![Block::Text(format!("{} {exact}", searched(o)))]);
    add("Words", glossary(o));
    add("Appendix: to reproduce it", appendix(o));
    out
}

fn head(o: &PlanOutcome) -> Vec<Block> {
    let mut out = vec![Block::Text(format!("Question: {} Job: {}.", goal(o), o.job)), Block::Answer(o.answer.clone(), o.feasible)];
    if let Some(best) = &o.best {
        out.push(Block::Tiles(tiles(o, best)));
    }
    out
}

fn tiles(o: &PlanOutcome, c: &Choice) -> Vec<(String, String)> {
    let nodes = format!("accelerators in {} node{}", grouped(c.nodes), if c.nodes == 1 { "" } else { "s" });
    let mut out = vec![(grouped(c.accelerators), nodes)];
    let months = o.service.as_ref().map(|s| s.months);
    if c.usd > 0.0 {
        let of = match (months, o.whole_run) {
            (Some(1), _) => "a month".to_owned(),
            (Some(n), _) => format!("in {n} months"),
            (None, true) => "for the run".into(),
            (None, false) => "a step".into(),
        };
        // Short, so that it stays inside.
        let money = usd(c.usd).replace(" million ", " M ").replace(" billion ", " bn ");
        out.push((money, format!("{of}, {}", c.payment)));
    }
    if let Some(t) = &c.training {
        out.insert(1, (time(c.time_s), if o.whole_run { "for the run".into() } else { "a step".into() }));
        match t.training_goodput {
            Some(goodput) => out.push((percent(goodput), format!("training goodput, MFU {}", percent(t.mfu)))),
            None => out.push((percent(t.mfu), "MFU".into())),
        }
        out.push((
            Bytes::new(c.memory_capacity_bytes - c.memory_peak_bytes).to_string(),
            format!("free of {}", Bytes::new(c.memory_capacity_bytes)),
        ));
    }
    if let Some(s) = &c.serving {
        out.push((format!("{} USD", three(s.usd_per_million_output_tokens)), "per million output tokens, at the planned load".into()));
        if let Some(rate) = o.service.as_ref().and_then(|s| s.sustained_requests_per_s) {
            out.push((three(rate), "requests a second at most, all nodes up".into()));
        }
    }
    out.push((Watts::new(c.power_w).to_string(), "mean power with cooling".into()));
    out
}

fn bill(o: &PlanOutcome, b: &Bill) -> Vec<Block> {
    let mut table = Table::new(&["<item", "count"]);
    let mut row = |name: &str, n: u64| {
        if n > 0 {
            table.row(vec![word(name), number(n as f64, grouped(n))]);
        }
    };
    row("accelerators", b.accelerators);
    row("nodes", b.nodes);
    row("scale-up domains", b.scale_up_domains);
    row("network cards", b.nics);
    for (name, n) in ["leaf switches", "spine switches", "core switches"].into_iter().zip(b.switches) {
        row(name, n);
    }
    row("network cables", b.cables);
    row("drives in nodes", b.drives);
    row("racks", b.racks);
    let mut facts = vec![
        ("power under load", format!("{}, {} with cooling", Watts::new(b.power_w), Watts::new(b.site_power_w))),
        ("a rack holds", format!("at most {}", Watts::new(b.rack_power_w))),
    ];
    if !b.unpriced.is_empty() {
        facts.push(("without a price", b.unpriced.join(", ")));
    }
    let mut out = vec![Block::Table(table), Block::Table(Table::facts(facts))];
    if b.purchase_usd > 0.0 {
        let owned = o.best.as_ref().is_some_and(|c| c.payment == "owned");
        let mut table = Table::new(&[if owned { "<purchase" } else { "<what it would cost to buy" }, "price", "share"]);
        for (name, value) in &b.purchase_parts_usd {
            let share = value / b.purchase_usd;
            table.row(vec![word(name), number(*value, usd(*value)), number(share, percent(share))]);
        }
        table.rows.push((Mark::Best, vec![word("all together"), number(b.purchase_usd, usd(b.purchase_usd)), number(1.0, "100 %")]));
        out.push(Block::Table(table));
    }
    if !b.storage.is_empty() {
        let mut table = Table::new(&["<storage", "<kind", "servers", "size", "read", "write"]);
        for s in &b.storage {
            table.row(vec![
                word(&s.name),
                word(&s.kind),
                number(s.servers as f64, grouped(s.servers)),
                s.capacity_bytes.map_or_else(|| word("as needed"), |c| number(c, Bytes::new(c).to_string())),
                number(s.read_bytes_per_s, BytesPerSecond::new(s.read_bytes_per_s).to_string()),
                number(s.write_bytes_per_s, BytesPerSecond::new(s.write_bytes_per_s).to_string()),
            ]);
        }
        out.push(Block::Table(table));
    }
    out
}

fn money(o: &PlanOutcome) -> Vec<Block> {
    let mut out = Vec::new();
    if !o.cost_parts_usd.is_empty() {
        let total: f64 = o.cost_parts_usd.iter().map(|p| p.1).sum();
        out.push(Block::Picture(parts(&o.cost_parts_usd), String::new()));
        let mut table = Table::new(&["<part", "money", "share"]);
        for (name, value) in &o.cost_parts_usd {
            table.row(vec![word(name), number(*value, usd(*value)), number(value / total, percent(value / total))]);
        }
        table.rows.push((Mark::Best, vec![word("all together"), number(total, usd(total)), number(1.0, "100 %")]));
        out.push(Block::Table(table));
    }
    out.extend(o.break_even.iter().map(|b| Block::Text(format!("Rent or buy: {}", b.text))));
    out
}

fn sensitivity(o: &PlanOutcome) -> Vec<Block> {
    let Some(best) = o.best.as_ref().filter(|_| !o.sensitivity.is_empty()) else { return Vec::new() };
    let mut table = Table::new(&["<what changes", "<lower", "cost", "<higher", "cost"]);
    for s in &o.sensitivity {
        table.row(vec![word(&s.what), word(&s.low), number(s.low_usd, usd(s.low_usd)), word(&s.high), number(s.high_usd, usd(s.high_usd))]);
    }
    vec![
        Block::Soft("Each bar changes one thing and leaves all others as they are.".into()),
        Block::Picture(tornado(&o.sensitivity, best.usd), String::new()),
        Block::Table(table),
    ]
}

fn purchases(p: &Purchases) -> Vec<Block> {
    let mut table = Table::new(&["<months", "requests a second at the end", "nodes", "added", "cost"]);
    for phase in &p.phases {
        table.row(vec![
            Cell { text: format!("{} to {}", phase.month + 1, phase.until_month), sort: Some(phase.month as f64) },
            number(phase.requests_per_s, three(phase.requests_per_s)),
            number(phase.nodes as f64, grouped(phase.nodes)),
            number(phase.added as f64, grouped(phase.added)),
            number(phase.usd, usd(phase.usd)),
        ]);
    }
    let words = format!(
        "In phases {}, with everything from the first month on {}: {} % less. Prices are taken as those of today.",
        usd(p.phased_usd),
        usd(p.at_once_usd),
        three(100.0 * (1.0 - p.phased_usd / p.at_once_usd))
    );
    vec![Block::Table(table), Block::Text(words)]
}

fn timeline(o: &PlanOutcome) -> Vec<Block> {
    let Some(last) = o.timeline.last() else { return Vec::new() };
    let list: Vec<String> = o.timeline.iter().map(|s| format!("{}: {}", s.name, time(s.end_s - s.start_s))).collect();
    let owned = o.best.as_ref().is_some_and(|c| c.payment == "owned");
    let end = if o.timeline.len() > 1 {
        format!("From the order to the end: {}.", time(last.end_s))
    } else if owned {
        "The plan gives no time of delivery: work begins when everything is there.".into()
    } else {
        "Rented capacity is taken as there when it is asked for.".into()
    };
    vec![Block::Picture(gantt(&o.timeline), list.join("; ")), Block::Soft(end)]
}

fn choices(o: &PlanOutcome) -> Vec<Block> {
    let mut out = Vec::new();
    let rows: Vec<Dot<'_>> = o.options.iter().filter_map(|r| Some((r, r.choice.as_ref()?))).collect();
    if rows.len() > 1 {
        let money = rows.iter().all(|(_, c)| c.usd > 0.0);
        if money {
            out.push(Block::Picture(scatter(o, &rows), String::new()));
        }
        out.push(Block::Picture(bars(o, &rows, money), String::new()));
        out.push(Block::Key(vec![("the best", PALETTE[2]), ("meets the goal", PALETTE[0]), ("does not", PALETTE[7])]));
        if rows.len() < o.options.len() {
            out.push(Block::Soft(
                "Not drawn: candidates that bounds show to be beaten, and those on which nothing fits or holds; see the table.".into(),
            ));
        }
    }
    let (latency, yields) = if serves(o) { ("mean time to last token", "engines busy") } else { ("time", "MFU") };
    let mut table = Table::new(&["<cluster", "<payment", "accelerators", latency, "cost", yields, "<layout, or why not"]);
    for row in ordered(o) {
        let mark = if is_best(o, row) {
            Mark::Best
        } else if row.feasible {
            Mark::Plain
        } else {
            Mark::Off
        };
        table.rows.push((mark, option(row)));
    }
    out.push(Block::Table(table));
    if o.front.len() > 1 {
        out.push(Block::Text("Choices that nothing beats in both:".into()));
        let mut front = Table::new(&["<cluster", "<payment", latency, "cost", "energy", "<layout"]);
        for c in &o.front {
            front.row(vec![
                word(&c.cluster),
                word(&c.payment),
                number(c.time_s, time(c.time_s)),
                number(c.usd, usd(c.usd)),
                number(c.energy_kwh, si(c.energy_kwh * 1e3, "Wh")),
                word(&c.layout),
            ]);
        }
        out.push(Block::Table(front));
    }
    out
}

fn option(row: &OptionRow) -> Vec<Cell> {
    let mut cells = vec![word(&row.cluster), word(&row.payment)];
    let Some(c) = &row.choice else {
        cells.extend((0..4).map(|_| word("–")));
        cells.push(word(row.why_not.as_deref().unwrap_or("")));
        return cells;
    };
    let share = c.training.as_ref().map_or_else(|| c.serving.as_ref().map_or(0.0, |s| s.busy_share), |t| t.mfu);
    let why = row.why_not.as_ref().map_or_else(String::new, |w| format!(" ({w})"));
    cells.extend([
        number(c.accelerators as f64, grouped(c.accelerators)),
        number(c.time_s, time(c.time_s)),
        number(c.usd, usd(c.usd)),
        number(share, percent(share)),
        word(format!("{}{why}", c.layout)),
    ]);
    cells
}

fn beside(o: &PlanOutcome, runner: &RunnerUp) -> Vec<Block> {
    let Some(best) = &o.best else { return Vec::new() };
    let c = &runner.choice;
    let mut table = Table::new(&["<", "best", "other"]);
    let mut row = |name: &str, of: &dyn Fn(&Choice) -> Option<(f64, String)>| {
        if let (Some(a), Some(b)) = (of(best), of(c)) {
            table.row(vec![word(name), number(a.0, a.1), number(b.0, b.1)]);
        }
    };
    row("accelerators", &|c| Some((c.accelerators as f64, grouped(c.accelerators))));
    row(if serves(o) { "mean time to last token" } else { "time" }, &|c| Some((c.time_s, time(c.time_s))));
    row("cost", &|c| (c.usd > 0.0).then(|| (c.usd, usd(c.usd))));
    row("energy", &|c| Some((c.energy_kwh, si(c.energy_kwh * 1e3, "Wh"))));
    row("memory", &|c| Some((c.memory_peak_bytes, Bytes::new(c.memory_peak_bytes).to_string())));
    row("MFU", &|c| c.training.as_ref().map(|t| (t.mfu, percent(t.mfu))));
    row("training goodput", &|c| c.training.as_ref()?.training_goodput.map(|g| (g, percent(g))));
    row("TTFT p99", &|c| c.serving.as_ref().map(|s| (s.ttft_s.p99, Seconds::new(s.ttft_s.p99).to_string())));
    row("TPOT p99", &|c| c.serving.as_ref().map(|s| (s.tpot_s.p99, Seconds::new(s.tpot_s.p99).to_string())));
    row("engines busy", &|c| c.serving.as_ref().map(|s| (s.busy_share, percent(s.busy_share))));
    if let (Some(a), Some(b)) = (&best.training, &c.training) {
        for (i, (name, own)) in a.breakdown_s.parts().into_iter().enumerate() {
            let other = b.breakdown_s.parts()[i].1;
            if own > 0.0 || other > 0.0 {
                let seconds = |v: f64| number(v, Seconds::new(v).to_string());
                table.row(vec![word(format!("step: {}", name.replace('_', " "))), seconds(own), seconds(other)]);
            }
        }
    }
    vec![Block::Text(format!("{} ({}), {}. {}", c.cluster, c.payment, c.layout, runner.why)), Block::Table(table)]
}

fn assumptions(o: &PlanOutcome) -> Vec<Block> {
    if o.assumptions.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&["<assumption", "<source"]);
    o.assumptions.iter().for_each(|a| table.row(vec![word(&a.what), word(&a.source)]));
    let mut out = vec![Block::Table(table)];
    if !o.constants.is_empty() {
        let mut table = Table::new(&["<operators", "<profile entry", "<source"]);
        o.constants.iter().for_each(|c| table.row(vec![word(&c.operator), word(&c.entry), word(&c.source)]));
        out.push(Block::Text("Constants that predicted the best:".into()));
        out.push(Block::Table(table));
    }
    out
}

fn appendix(o: &PlanOutcome) -> Vec<Block> {
    let mut out = Vec::new();
    if let Some(command) = &o.reproduce {
        out.push(Block::Code(command.clone()));
    }
    if !o.scenario.is_empty() {
        out.push(Block::Text("The same as a scenario file in the folder of the plan:".into()));
        out.push(Block::Code(o.scenario.clone()));
    }
    out
}
