//! A profile as text and as a page: every entry with origin, source, time and device, how well it fits, its residuals, what stayed open.

use super::html::page;
use super::plot::{fit_and_residuals, scatter};
use crate::diag::At;
use crate::kernels::{NearRow, Profile, ProfileFile, Quality};
use crate::measured::{CollectiveRow, CurveQuality, Estimate, LineRow, LinkRow, MemoryRow, Stamp, StorageRow, ValueOrigin};
use crate::units::{Bytes, BytesPerSecond, Seconds, three};
use indexmap::IndexMap;
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

/// Points of an entry: size (0 where there is none), measured, fitted.
pub type Points = IndexMap<String, Vec<(f64, f64, f64)>>;

/// Reads the table of points that the fit writes beside a profile; rows that are none are left out.
#[must_use]
pub fn points_of(csv: &str) -> Points {
    let mut out = Points::new();
    for line in csv.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [name, x, measured, fitted] = cells[..] else { continue };
        let (Ok(measured), Ok(fitted)) = (measured.parse::<f64>(), fitted.parse::<f64>()) else { continue };
        if measured > 0.0 && fitted > 0.0 && measured.is_finite() && fitted.is_finite() {
            out.entry(name.to_owned()).or_default().push((x.parse().unwrap_or(0.0), measured, fitted));
        }
    }
    out
}

/// One entry for people.
struct Item {
    /// Its name in the table of points.
    name: String,
    /// Its name for people.
    title: String,
    values: Vec<String>,
    from: Option<Stamp>,
    source: String,
    quality: Option<CurveQuality>,
    open: Vec<String>,
    unit: &'static str,
}

fn line(l: &LineRow) -> String {
    let us = |v: f64| Seconds::new(1e-6 * v).to_string();
    let gb = |v: f64| BytesPerSecond::new(1e9 * v).to_string();
    let start = format!("{} ({} to {})", us(l.start.value.value), us(l.start.low), us(l.start.high));
    l.rate.map_or_else(
        || format!("{start}, whatever the size"),
        |r| format!("{start} + bytes / {} ({} to {})", gb(r.value), gb(r.low), gb(r.high)),
    )
}

fn items(file: &ProfileFile) -> Vec<Item> {
    let mut out: Vec<Item> = file.collective.iter().map(|r| collective(r)).collect();
    out.extend(file.link.iter().map(|r| link(r)));
    out.extend(file.memory.iter().map(|r| memory(r)));
    out.extend(file.storage.iter().map(|r| storage(r)));
    out.extend(file.profile.iter().map(|p| kernels(p)));
    out
}

fn texts(list: &[At<String>]) -> Vec<String> {
    list.iter().map(|t| t.value.clone()).collect()
}

fn collective(r: &CollectiveRow) -> Item {
    let op = r.op.replace('_', "-");
    let nodes = if *r.nodes > 1 { format!("{} nodes", *r.nodes) } else { "one node".into() };
    Item {
        name: format!("collective {} {} {} {} {} {}", *r.op, *r.accelerator, *r.ranks, *r.nodes, *r.library, *r.launch),
        title: format!("{op} over {} ranks of {nodes}, {} ({}, launch {})", *r.ranks, *r.accelerator, *r.library, *r.launch),
        values: r.line.iter().map(|l| line(l)).collect(),
        from: Some(r.from.value.clone()),
        source: String::new(),
        quality: Some(r.quality.value.clone()),
        open: texts(&r.undetermined),
        unit: "s",
    }
}

fn link(r: &LinkRow) -> Item {
    Item {
        name: format!("link {} {}", *r.path, *r.part),
        title: format!("{} copies, {}", *r.path, *r.part),
        values: r.line.iter().map(|l| line(l)).collect(),
        from: Some(r.from.value.clone()),
        source: String::new(),
        quality: Some(r.quality.value.clone()),
        open: texts(&r.undetermined),
        unit: "s",
    }
}

fn memory(r: &MemoryRow) -> Item {
    let level = |(size, rate): (&At<f64>, &At<Estimate>)| {
        format!("up to {}: {}", Bytes::new(size.value), BytesPerSecond::new(1e9 * rate.value.value))
    };
    Item {
        name: format!("memory {}", *r.part),
        title: format!("memory of {}", *r.part),
        values: r.level.iter().zip(r.bandwidth.iter()).map(level).collect(),
        from: Some(r.from.value.clone()),
        source: String::new(),
        quality: None,
        open: texts(&r.undetermined),
        unit: "B/s",
    }
}

fn storage(r: &StorageRow) -> Item {
    let mut values = Vec::new();
    values.extend(r.latency.map(|v| format!("latency {}", Seconds::new(1e-6 * v.value))));
    values.extend(r.iops.map(|v| format!("{} requests/s", three(v.value))));
    values.extend(r.bandwidth.map(|v| format!("bandwidth {}", BytesPerSecond::new(1e9 * v.value))));
    Item {
        name: format!("storage {} {}", *r.tier, *r.direction),
        title: format!("storage tier {}, {}", *r.tier, *r.direction),
        values,
        from: Some(r.from.value.clone()),
        source: String::new(),
        quality: Some(r.quality.value.clone()),
        open: texts(&r.undetermined),
        unit: "s",
    }
}

/// Entries of kernels, named by what they hold.
fn kernels(p: &Profile) -> Item {
    let lists = [
        (p.gemm.len(), "matrix products"),
        (p.prefill.len(), "prefill attention"),
        (p.decode.len(), "decode attention"),
        (p.moe.len(), "experts"),
    ];
    let shares = [
        ("memory_efficiency", "memory efficiency", p.memory_efficiency),
        ("sustained_16", "lasting products in 16 bit", p.sustained_16),
        ("sustained_8", "lasting products in 8 bit", p.sustained_8),
    ];
    let lists = lists.into_iter().filter(|l| l.0 > 0).map(|(n, what)| (what, format!("{what}: {n} kind{}", if n == 1 { "" } else { "s" })));
    let shares = shares.into_iter().filter_map(|(key, what, share)| share.map(|v| (what, format!("{key} {v}"))));
    let (what, values): (Vec<&str>, Vec<String>) = lists.chain(shares).unzip();
    let title = format!("{} of {}", if what.is_empty() { "kernels".into() } else { what.join(", ") }, *p.accelerator);
    Item {
        name: title.clone(),
        title,
        values,
        from: p.from.value.clone(),
        source: p.source.value.clone(),
        quality: None,
        open: Vec::new(),
        unit: "",
    }
}

fn stamped(item: &Item) -> String {
    let Some(from) = &item.from else { return format!("imported, {}", item.source) };
    let mut out = from.origin.to_string();
    for text in [&*from.tool, &*from.source, &*from.time, &*from.device] {
        if !text.is_empty() {
            let _ = write!(out, ", {text}");
        }
    }
    let sessions = *from.sessions;
    let _ = write!(out, ", {sessions} session{}", if sessions == 1 { " (intervals only tell how repeatable it is)" } else { "s" });
    out
}

fn errors(q: &CurveQuality) -> String {
    let percent = |v: f64| format!("{} %", three(100.0 * v));
    format!("{} points; sizes left out: median {}, p90 {}, worst {}", *q.points, percent(*q.median), percent(*q.p90), percent(*q.worst))
}

fn is_synthetic(file: &ProfileFile) -> bool {
    items(file).iter().any(|i| i.from.as_ref().is_some_and(|f| *f.origin == ValueOrigin::Synthetic))
}

const BANNER: &str = "SYNTHETIC: values here were made by a stand-in; no machine measured them.";

/// The profile as text.
#[must_use]
pub fn calibration_text(file: &ProfileFile) -> String {
    let mut out = String::new();
    if is_synthetic(file) {
        let _ = writeln!(out, "*** {BANNER} ***\n");
    }
    for item in items(file) {
        let _ = writeln!(out, "{}\n    {}", item.name, stamped(&item));
        for value in &item.values {
            let _ = writeln!(out, "    {value}");
        }
        if let Some(q) = &item.quality {
            let _ = writeln!(out, "    {}", errors(q));
        }
        for open in &item.open {
            let _ = writeln!(out, "    undetermined: {open}");
        }
    }
    for p in file.profile.iter() {
        for r in p.gemm.iter() {
            let q = &r.quality;
            let _ = writeln!(
                out,
                "gemm {} {} {}: {} points, median {:.1} %, p90 {:.1} %",
                *p.accelerator,
                *r.dtype,
                *r.library,
                *q.points,
                100.0 * *q.median,
                100.0 * *q.p90
            );
            if let Some(near) = r.near.as_ref() {
                let (q, n) = (&near.quality, near.products.len());
                let _ = writeln!(
                    out,
                    "    with {n} measured products nearby, left out one at a time: median {:.1} %, p90 {:.1} %",
                    100.0 * *q.median,
                    100.0 * *q.p90
                );
            }
        }
    }
    for q in file.quarantined.iter() {
        let _ = writeln!(out, "quarantined: {} at {:.2} of the data sheet, {} points, {}", *q.what, *q.share, *q.points, *q.from.source);
    }
    out
}

/// The profile as a page, with the points of its fits.
#[must_use]
pub fn calibration_html(title: &str, file: &ProfileFile, points: &Points) -> String {
    let list = items(file);
    let body = html! {
        @if is_synthetic(file) { p.bad style="border:2px solid var(--bad);border-radius:8px;padding:10px 14px" { (BANNER) } }
        h1 { "Calibration: " (title) }
        p.soft { "What was measured, what was fitted to it, and how far apart they are. Values with 90 % intervals; errors are of sizes that the fit did not see." }
        (overview(&list, points))
        @for item in &list { (section(item, points)) }
        (entries_of_kernels(file))
        (operators(points))
        @if !file.quarantined.is_empty() {
            h2 { "Quarantined" }
            p { "No such part can reach these figures; nothing uses them." }
            table { thead { tr { th { "what" } th { "of the data sheet" } th { "points" } th { "source" } } }
                tbody { @for q in file.quarantined.iter() { tr { td { (*q.what) } td { (three(*q.share)) } td { (*q.points) } td { (*q.from.source) } } } } }
        }
        @if points.is_empty() { p.soft { "The table of points that the fit writes beside a profile is not there: no residuals are drawn." } }
        footer { "Orrery " (env!("CARGO_PKG_VERSION")) }
    };
    page(&format!("Calibration: {title}"), &body)
}

fn overview(list: &[Item], points: &Points) -> Markup {
    html! {
        table {
            thead { tr { th { "entry" } th { "origin" } th { "points" } th { "median" } th { "worst" } th { "undetermined" } } }
            tbody { @for i in list { tr {
                td { (i.title) }
                td { (i.from.as_ref().map_or("imported", |f| f.origin.word())) }
                @if let Some(q) = &i.quality { td { (*q.points) } td style="white-space:nowrap" { (three(100.0 * *q.median)) " %" } td style="white-space:nowrap" { (three(100.0 * *q.worst)) " %" } }
                @else { td { (points.get(&i.name).map_or_else(|| "–".to_owned(), |p| p.len().to_string())) } td { "–" } td { "–" } }
                td { (i.open.len()) }
            } } }
        }
    }
}

fn section(item: &Item, points: &Points) -> Markup {
    let own = points.get(&item.name).filter(|p| p.iter().all(|q| q.0 > 0.0));
    html! {
        h2 { (item.title) }
        p.soft { (stamped(item)) }
        ul { @for v in &item.values { li { (v) } } @for o in &item.open { li.bad { "undetermined: " (o) } } }
        @if let Some(q) = &item.quality { p { (errors(q)) } }
        @if let Some(own) = own {
            @let y = if item.unit == "s" { "time, s" } else { "bandwidth, B/s" };
            @let (above, below) = fit_and_residuals(own, "bytes", y);
            figure { (PreEscaped(above)) (PreEscaped(below))
                div.key { span { i style="background:#0072b2" {} "measured (median of a size)" } span { i style="background:#e69f00" {} "fit" } span { i style="background:#d55e00" {} "error of the fit" } } }
        }
    }
}

/// Entries of kernels with what they are worth; constants are in the profile.
fn entries_of_kernels(file: &ProfileFile) -> Markup {
    let mut rows: Vec<(String, &Quality, Option<&NearRow>)> = Vec::new();
    for p in file.profile.iter() {
        let part = &*p.accelerator;
        rows.extend(p.gemm.iter().map(|r| (format!("products {part} {} {}", *r.dtype, *r.library), &*r.quality, r.near.as_ref())));
        rows.extend(p.prefill.iter().map(|r| (format!("prefill {part} {} over {} {}", *r.dtype, *r.kv, *r.library), &*r.quality, None)));
        rows.extend(p.decode.iter().map(|r| (format!("decode {part} {} {}", *r.kv, *r.library), &*r.quality, None)));
        rows.extend(p.moe.iter().map(|r| (format!("experts {part} {} {} {}", *r.dtype, *r.library, *r.kernel), &*r.quality, None)));
    }
    let percent = |v: f64| format!("{} %", three(100.0 * v));
    html! {
        @if !rows.is_empty() {
            h2 { "Kernels: errors of shapes that the fit did not see" }
            table {
                thead { tr { th { "entry" } th { "points" } th { "median" } th { "90th percentile" } th { "with products nearby" } } }
                tbody { @for (name, q, near) in &rows { tr {
                    td { (name) } td { (*q.points) } td { (percent(*q.median)) } td { (percent(*q.p90)) }
                    td { @if let Some(n) = near { (percent(*n.quality.median)) ", " (percent(*n.quality.p90)) " (" (n.products.len()) ")" } @else { "–" } }
                } } }
            }
        }
    }
}

/// Operators: predicted against measured, a picture for each list.
fn operators(points: &Points) -> Markup {
    let lists = [("gemm ", "Matrix products"), ("prefill ", "Prefill attention"), ("decode ", "Decode attention"), ("moe ", "Experts")];
    let of = |start: &str| -> Vec<(String, Vec<(f64, f64)>)> {
        points.iter().filter(|(n, _)| n.starts_with(start)).map(|(n, p)| (n.clone(), p.iter().map(|q| (q.1, q.2)).collect())).collect()
    };
    html! {
        @for (start, title) in lists {
            @let series = of(start);
            @if !series.is_empty() {
                h2 { (title) ": shapes that the fit did not see" }
                figure { (PreEscaped(scatter(&series, "measured, s", "predicted, s"))) (super::html::key_of(
                    &series.iter().map(|s| s.0.as_str()).collect::<Vec<_>>(),
                    (0..series.len()).map(|i| super::plot::PALETTE[i % super::plot::PALETTE.len()]).collect())) }
            }
        }
    }
}
