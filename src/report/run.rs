//! The whole run and the feeding of data: as text, as a page with pictures, as CSV.

use super::csv::rows as csv_rows;
use super::html::{key_of, tile};
use super::plot::PALETTE;
use super::run_charts::{Line, TRAINING, colour, losses_svg, shares_svg, timeline_svg};
use super::text::{bar, grouped, percent, table};
use crate::metrics::{CheckpointOutcome, CostOutcome, IntervalOutcome, Outcome, RunOutcome, StorageOutcome};
use crate::units::{Bytes, BytesPerSecond, DAY, Date, Seconds, si, three};
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

/// A mean with its 5th and 95th percentile.
fn spread(mean: f64, run: &RunOutcome, of: impl Fn(&crate::metrics::RunNumbers) -> f64, show: impl Fn(f64) -> String) -> String {
    match (&run.p5, &run.p95) {
        (Some(low), Some(high)) => format!("{} ({} to {})", show(mean), show(of(low)), show(of(high))),
        _ => show(mean),
    }
}

/// The run in one sentence.
fn sentence(run: &RunOutcome, cost: Option<&CostOutcome>) -> String {
    let end = run.finishes_on.as_ref().and_then(|d| d.parse::<Date>().ok());
    let when = end.map_or_else(|| format!("This run takes {} days", three(run.days)), |d| format!("This run finishes on {d}"));
    let money = |usd: f64| if usd >= 1e6 { format!("{} M USD", three(usd / 1e6)) } else { format!("{} USD", grouped(usd)) };
    let paid = cost.filter(|c| c.usd_total > 0.0).map_or_else(String::new, |c| format!(", for {}", money(c.usd_total)));
    format!("{when}, at {} goodput{paid}", percent(run.training_goodput))
}

/// What happened beside training, as text; empty where nothing can.
pub(super) fn run_text(run: &RunOutcome, cost: Option<&CostOutcome>) -> String {
    let mut out = format!("\n{}\n", sentence(run, cost));
    let Some(seeds) = run.seeds else {
        if run.lost_s > 0.0 {
            let _ = writeln!(out, "  goodput {}, {} lost", percent(run.training_goodput), Seconds::new(run.lost_s));
        }
        if let Some(c) = &run.checkpoint {
            out.push_str(&checkpoint_text(c));
        }
        return out;
    };
    let _ = writeln!(out, "\nOver {seeds} runs (mean, 5th to 95th percentile)");
    let mut rows = table(&[]);
    rows.add_row(vec!["  days".into(), spread(run.days, run, |n| n.days, three)]);
    rows.add_row(vec!["  goodput (ETTR)".into(), spread(run.training_goodput, run, |n| n.training_goodput, percent)]);
    rows.add_row(vec!["  failures".into(), spread(run.failures, run, |n| n.failures, three)]);
    if let Some(mttf) = run.mttf_h {
        rows.add_row(vec!["  MTTF".into(), Seconds::new(mttf * 3600.0).to_string()]);
    }
    let _ = writeln!(out, "{}", rows.trim_fmt());
    if let Some(n) = run.unfinished {
        let _ = writeln!(out, "  {n} OF {seeds} RUNS NEVER END: they lose work faster than they do it");
    }
    let wall = run.days * DAY;
    let mut losses = table(&[1, 2]);
    for (name, seconds) in run.losses_s.parts().into_iter().filter(|p| p.1 > 0.0) {
        losses.add_row(vec![
            format!("  {}", name.replace('_', " ")),
            Seconds::new(seconds).to_string(),
            percent(seconds / wall),
            bar(seconds / run.lost_s),
        ]);
    }
    let _ = writeln!(out, "Where {} of lost time go\n{}", Seconds::new(run.lost_s), losses.trim_fmt());
    if let Some(c) = &run.checkpoint {
        out.push_str(&checkpoint_text(c));
    }
    out.push_str(&recovery_text(run));
    if let Some(best) = run.sensitivity.iter().max_by(|a, b| a.saved_days.total_cmp(&b.saved_days)).filter(|s| s.saved_days > 0.0) {
        let _ = writeln!(out, "Most would help: {}: {} days less, {} USD", best.change, three(best.saved_days), grouped(best.saved_usd));
    }
    out
}

/// Recovery point and time, and what fewer replicas cost, as text.
fn recovery_text(run: &RunOutcome) -> String {
    let mut out = String::new();
    if !run.recovery.is_empty() {
        let mut rows = table(&[1, 2]);
        for r in &run.recovery {
            let from = r.from.as_deref().unwrap_or("the beginning");
            let point = r.rpo_s.map_or_else(|| "all work".into(), |s| Seconds::new(s).to_string());
            rows.add_row(vec![format!("  {} lost", r.loses), point, Seconds::new(r.rto_s).to_string(), format!("from {from}")]);
        }
        let _ = writeln!(out, "Recovery point (work lost at most) and recovery time\n{}", rows.trim_fmt());
    }
    for s in &run.shrunk {
        let _ =
            writeln!(out, "With nodes missing ({} or more) the same work takes {} times as long", s.missing_nodes, three(s.time_factor));
    }
    out
}

fn checkpoint_text(c: &CheckpointOutcome) -> String {
    let mut out = format!(
        "Checkpoints of {} every {} ({} steps), {} blocked",
        Bytes::new(c.bytes),
        Seconds::new(c.interval_s),
        c.interval_steps,
        Seconds::new(c.block_s)
    );
    if let (Some(y), Some(d)) = (c.young_s, c.daly_s) {
        let _ = write!(out, "; Young {}, Daly {}", Seconds::new(y), Seconds::new(d));
    }
    if let Some(share) = c.written_share {
        let _ = write!(out, "; incremental, {} of the bytes in the mean", percent(share));
    }
    out.push('\n');
    for l in &c.levels {
        let _ = writeln!(
            out,
            "  {}: {} in {} ({}, {}), read back in {}",
            l.name,
            l.from.as_ref().map_or_else(|| "written".into(), |near| format!("copied from {near}")),
            Seconds::new(l.write_s),
            BytesPerSecond::new(l.write_bytes_per_s),
            l.bottleneck,
            Seconds::new(l.restore_s)
        );
        if !l.fits {
            let _ = writeln!(out, "  {} IS TOO SMALL for {} of checkpoints", l.name, Bytes::new(l.stored_bytes));
        }
    }
    if let Some(r) = &c.reshard {
        let _ = writeln!(out, "Read onto tensor {} × pipeline {} × data {}:", r.tensor, r.pipeline, r.data);
        for l in &r.levels {
            let _ = writeln!(out, "  {} from {} in {}", Bytes::new(l.read_bytes), l.name, Seconds::new(l.restore_s));
        }
    }
    out
}

/// The feeding of data as text.
pub(super) fn storage_text(s: &StorageOutcome) -> String {
    let mut rows = table(&[1]);
    rows.add_row(vec!["Utilisation".into(), percent(s.accelerator_utilization)]);
    rows.add_row(vec!["Samples".into(), format!("{}/s, {}", si(s.samples_per_s, "").trim(), BytesPerSecond::new(s.bytes_per_s))]);
    rows.add_row(vec!["Asked for".into(), BytesPerSecond::new(s.demand_bytes_per_s).to_string()]);
    rows.add_row(vec!["Supply".into(), format!("{} from {} to {} hosts", BytesPerSecond::new(s.supply_bytes_per_s), s.tier, s.hosts)]);
    rows.add_row(vec!["First step after".into(), Seconds::new(s.first_step_s).to_string()]);
    rows.add_row(vec!["Step".into(), format!("{}, of it {} wait for data", Seconds::new(s.step_s), Seconds::new(s.data_wait_s))]);
    if s.contention_s > 0.0 {
        rows.add_row(vec!["Slows collectives".into(), format!("{} a step on links that both load", Seconds::new(s.contention_s))]);
    }
    if let (Some(n), Some(target)) = (s.sustained_per_host, s.target_utilization) {
        rows.add_row(vec![format!("Sustained at {}", percent(target)), format!("{n} accelerators a host")]);
    }
    format!("Feeding of data\n{}\n\n", rows.trim_fmt())
}

/// Losses of the run as CSV.
#[must_use]
pub fn run_csv(outcome: &Outcome) -> Option<String> {
    let run = outcome.run.as_ref().filter(|r| r.seeds.is_some() || r.lost_s > 0.0)?;
    let wall = run.days * DAY;
    let useful = ("useful", wall - run.lost_s);
    let parts = std::iter::once(useful).chain(run.losses_s.parts());
    Some(csv_rows(&["part", "time_s", "share"], parts.map(|(n, s)| vec![n.into(), s.to_string(), (s / wall).to_string()])))
}

/// Goodput over checkpoint intervals as CSV.
#[must_use]
pub fn intervals_csv(outcome: &Outcome) -> Option<String> {
    let run = outcome.run.as_ref().filter(|r| !r.intervals.is_empty())?;
    let line = |p: &IntervalOutcome| vec![p.interval_s.to_string(), p.training_goodput.to_string(), p.exact_goodput.to_string()];
    Some(csv_rows(&["interval_s", "training_goodput", "exact_goodput"], run.intervals.iter().map(line)))
}

/// The page's part on the feeding of data.
pub(super) fn storage_html(s: &StorageOutcome, alone: bool) -> Markup {
    html! {
        h2 { "Feeding of data" }
        @if alone { div.tiles {
            (tile(&percent(s.accelerator_utilization), "accelerator utilisation"))
            (tile(&format!("{}/s", si(s.samples_per_s, "").trim()), "samples"))
            (tile(&BytesPerSecond::new(s.bytes_per_s).to_string(), "read"))
            @if let Some(n) = s.sustained_per_host { (tile(&n.to_string(), "accelerators sustained a host")) }
        } }
        table {
            caption { "Reading from " (s.tier) " by " (s.accelerators) " accelerators on " (s.hosts) (if s.hosts == 1 { " host" } else { " hosts" }) }
            tbody {
                tr { td { "asked for, when nothing waits" } td { (BytesPerSecond::new(s.demand_bytes_per_s)) } }
                tr { td { "supply to all hosts reading at once" } td { (BytesPerSecond::new(s.supply_bytes_per_s)) } }
                tr { td { "first step begins after" } td { (Seconds::new(s.first_step_s)) } }
                tr { td { "step" } td { (Seconds::new(s.step_s)) } }
                tr { td { "of it compute" } td { (Seconds::new(s.compute_s)) } }
                tr { td { "of it waiting for data" } td { (Seconds::new(s.data_wait_s)) } }
                tr { td { "utilisation of accelerators" } td { (percent(s.accelerator_utilization)) } }
                @if s.contention_s > 0.0 { tr { td { "slows the collectives of a step by" } td { (Seconds::new(s.contention_s)) } } }
                @if s.cached_share > 0.0 { tr { td { "kept in host memory after the first epoch" } td { (percent(s.cached_share)) } } }
                @if let (Some(n), Some(target)) = (s.sustained_per_host, s.target_utilization) {
                    tr { td { "accelerators of a host that stay above " (percent(target)) } td { (n) } }
                }
            }
        }
        @if s.curve.len() > 2 {
            p.soft { "Utilisation over the accelerators of one host; the mark stands at this scenario's count." }
            figure { (PreEscaped(curve_svg(s))) }
        }
    }
}

/// The page's part on the run.
pub(super) fn run_html(outcome: &Outcome, run: &RunOutcome) -> Markup {
    let wall = run.days * DAY;
    let usd = |name: &str| run.losses_usd.map_or(0.0, |l| l.get(name));
    let kwh = |name: &str| run.losses_kwh.map_or(0.0, |l| l.get(name));
    let lost: Vec<(&str, f64)> = run.losses_s.parts().into_iter().filter(|p| p.1 > 0.0).collect();
    let names: Vec<String> = std::iter::once("training".to_owned()).chain(lost.iter().map(|p| p.0.replace('_', " "))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    html! {
        h2 { "The whole run" }
        p { (sentence(run, outcome.cost.as_ref())) "." }
        @if let Some(seeds) = run.seeds { p.soft { "Over " (seeds) " runs with different draws: mean, 5th to 95th percentile." } }
        @if let Some(n) = run.unfinished { p.bad { (n) " runs never end: they lose work faster than they do it." } }
        table { tbody {
            tr { td { "days" } td { (spread(run.days, run, |n| n.days, three)) } }
            tr { td { "training goodput (ETTR)" } td { (spread(run.training_goodput, run, |n| n.training_goodput, percent)) } }
            @if run.seeds.is_some() { tr { td { "failures that stop the job" } td { (spread(run.failures, run, |n| n.failures, three)) } } }
            @if let Some(mttf) = run.mttf_h { tr { td { "mean time between them" } td { (Seconds::new(mttf * 3600.0)) } } }
        } }
        @if !lost.is_empty() {
            p.soft { (Seconds::new(run.lost_s)) " are lost:" }
            figure { (PreEscaped(losses_svg(&lost))) (key_of(&names[1..], colours(&lost).split_off(1))) }
            table {
                caption { "Where the time goes" }
                thead { tr { th { "part" } th { "time" } th { "share of the run" } th { "USD" } th { "kWh" } } }
                tbody {
                    tr { td { "steps that count" } td { (Seconds::new(wall - run.lost_s)) } td { (percent(run.training_goodput)) } td { (grouped(run.useful_usd.unwrap_or(0.0))) } td { (grouped(run.useful_kwh.unwrap_or(0.0))) } }
                    @for (name, seconds) in &lost { tr { td { (name.replace('_', " ")) } td { (Seconds::new(*seconds)) } td { (percent(seconds / wall)) } td { (grouped(usd(name))) } td { (grouped(kwh(name))) } } }
                }
            }
        }
        @if outcome.detail.run_segments.len() > 1 {
            h2 { "Time line of the first run" }
            figure { (PreEscaped(timeline_svg(&outcome.detail.run_segments, &lost))) (key_of(&names, colours(&lost))) }
        }
        @if let Some(c) = &run.checkpoint { (checkpoint_html(run, c)) }
        @if !run.recovery.is_empty() { (recovery_html(run)) }
        @if !run.causes.is_empty() {
            h2 { "Failures by cause" }
            table {
                thead { tr { th { "cause" } th { "effect" } th { "in a run" } } }
                tbody { @for c in &run.causes { tr { td { (c.name) } td { (c.effect) } td { (three(c.failures)) } } } }
            }
        }
        @if !run.sensitivity.is_empty() {
            h2 { "What a change would buy" }
            table {
                thead { tr { th { "change" } th { "days" } th { "goodput" } th { "days saved" } th { "USD saved" } } }
                tbody { @for s in &run.sensitivity { tr {
                    td { (s.change) } td { (three(s.days)) } td { (percent(s.training_goodput)) } td { (signed(s.saved_days, three)) } td { (signed(s.saved_usd, grouped)) }
                } } }
            }
        }
    }
}

fn recovery_html(run: &RunOutcome) -> Markup {
    html! {
        h2 { "Recovery" }
        p.soft { "What the loss of something costs at most: work since the newest checkpoint that survives, and the way back with a spare node." }
        table {
            thead { tr { th { "what is lost" } th { "recovery point" } th { "recovery time" } th.left { "read from" } } }
            tbody { @for r in &run.recovery { tr {
                td { (r.loses) } td class=(if r.from.is_some() { "" } else { "bad" }) { (r.rpo_s.map_or_else(|| "all work".into(), |s| Seconds::new(s).to_string())) }
                td { (Seconds::new(r.rto_s)) } td.left { (r.from.as_deref().unwrap_or("the beginning")) }
            } } }
        }
        @if !run.shrunk.is_empty() { table {
            caption { "Fewer replicas while nodes are repaired" }
            thead { tr { th { "nodes missing" } th { "time for the same work" } } }
            tbody { @for s in &run.shrunk { tr { td { (s.missing_nodes) } td { (three(s.time_factor)) " ×" } } } }
        } }
    }
}

/// A number with its sign.
fn signed(value: f64, show: impl Fn(f64) -> String) -> String {
    if value < 0.0 { format!("−{}", show(-value)) } else { show(value) }
}

fn checkpoint_html(run: &RunOutcome, c: &CheckpointOutcome) -> Markup {
    html! {
        h2 { "Checkpoints" }
        table { tbody {
            tr { td { "bytes of one" } td { (Bytes::new(c.bytes)) } }
            tr { td { "largest shard of a rank" } td { (Bytes::new(c.largest_shard_bytes)) } }
            tr { td { "work between two" } td { (Seconds::new(c.interval_s)) " (" (c.interval_steps) " steps)" } }
            @if let (Some(y), Some(d)) = (c.young_s, c.daly_s) { tr { td { "interval of Young, of Daly" } td { (Seconds::new(y)) ", " (Seconds::new(d)) } } }
            tr { td { "one blocks the job for" } td { (Seconds::new(c.block_s)) } }
            tr { td { "taken in a run" } td { (grouped(c.count)) } }
            @if let (Some(rpo), Some(rto)) = (c.rpo_s, c.rto_s) { tr { td { "most work lost at once, longest way back" } td { (Seconds::new(rpo)) ", " (Seconds::new(rto)) } } }
        } }
        table {
            thead { tr { th { "place" } th { "every" } th { "written in" } th { "rate" } th.left { "set by" } th { "read back in" } th.left { "survives loss of" } th { "holds" } } }
            tbody { @for l in &c.levels { tr {
                td { (l.name) @if let Some(near) = &l.from { " (copied from " (near) ")" } } td { (l.every) } td { (Seconds::new(l.write_s)) } td { (BytesPerSecond::new(l.write_bytes_per_s)) } td.left { (l.bottleneck) }
                td { (Seconds::new(l.restore_s)) } td.left { (l.survives) } td class=(if l.fits { "" } else { "bad" }) { (Bytes::new(l.stored_bytes)) }
            } } }
        }
        @if let Some(share) = c.written_share { p.soft { "Incremental: " (percent(share)) " of the bytes of a whole one are written in the mean." } }
        @if let Some(r) = &c.reshard { table {
            caption { "Read onto tensor " (r.tensor) " × pipeline " (r.pipeline) " × data " (r.data) }
            thead { tr { th { "from" } th { "bytes" } th { "time" } } }
            tbody { @for l in &r.levels { tr { td { (l.name) } td { (Bytes::new(l.read_bytes)) } td { (Seconds::new(l.restore_s)) } } } }
        } }
        @if run.intervals.len() > 2 {
            p.soft { "Goodput over the work between two checkpoints: simulated, and by the exact formula for failures that come at random." }
            figure { (PreEscaped(intervals_svg(&run.intervals, c.interval_s))) (key_of(&["simulated", "exact formula", "this run"], vec![PALETTE[0], PALETTE[1], PALETTE[5]])) }
        }
    }
}

/// Colours of training and of the losses that are shown.
fn colours(lost: &[(&str, f64)]) -> Vec<&'static str> {
    std::iter::once(TRAINING).chain(lost.iter().map(|p| colour(p.0))).collect()
}

fn intervals_svg(points: &[IntervalOutcome], chosen: f64) -> String {
    let of = |pick: fn(&IntervalOutcome) -> f64| points.iter().map(|p| (p.interval_s, pick(p))).collect();
    let lines = [
        Line { colour: PALETTE[1], dashed: true, points: of(|p| p.exact_goodput) },
        Line { colour: PALETTE[0], dashed: false, points: of(|p| p.training_goodput) },
    ];
    let show = |s| Seconds::new(s).to_string();
    shares_svg("Goodput over the checkpoint interval", &lines, true, chosen, "work between two checkpoints", &show)
}

/// Utilisation over the accelerators of a host; the mark stands at the count of this scenario.
fn curve_svg(s: &StorageOutcome) -> String {
    let points = s.curve.iter().map(|p| (p.accelerators as f64, p.utilization)).collect();
    let lines = [Line { colour: PALETTE[0], dashed: false, points }];
    let own = (s.accelerators / s.hosts.max(1)) as f64;
    shares_svg("Utilisation over accelerators", &lines, false, own, "accelerators of one host", &|n| format!("{n:.0}"))
}
