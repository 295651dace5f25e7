//! Fitted entries as a profile file, and as a table for people.

use super::nearby::Near;
use super::{Calibration, Entry, List, write_curves};
use crate::hardware::Catalogue;
use crate::measured::ValueOrigin;
use std::fmt::Write;

/// Four significant digits: the intervals are wider than the fifth.
pub(super) fn digits(value: f64) -> String {
    let text = format!("{value:.3e}");
    let rounded: f64 = text.parse().unwrap_or(value);
    format!("{rounded}")
}

impl List {
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Moe => "moe",
        }
    }
}

/// The profile file of all entries that were fitted; `head` is put before it as comments.
#[must_use]
pub fn write(calibration: &Calibration, head: &str) -> String {
    let mut out = String::new();
    for line in head.lines() {
        let _ = writeln!(out, "# {line}");
    }
    out.push_str("format = 1\n");
    let entries: Vec<&Entry> = calibration.entries.iter().filter(|e| e.fit.is_ok()).collect();
    let mut parts: Vec<(&str, ValueOrigin)> = entries.iter().map(|e| (e.accelerator.as_str(), e.origin)).collect();
    parts.dedup();
    for (part, origin) in parts {
        let of_part: Vec<&&Entry> = entries.iter().filter(|e| e.accelerator == part && e.origin == origin).collect();
        let mut sources: Vec<&str> = of_part.iter().flat_map(|e| e.sources.iter().map(String::as_str)).collect();
        sources.sort_unstable();
        sources.dedup();
        let generation = Catalogue::embedded().accelerators.get(part).map_or("", |p| p.generation.as_str());
        let _ = writeln!(out, "\n[[profile]]\naccelerator = {part:?}\ngeneration = {generation:?}");
        let _ = writeln!(out, "source = {:?}", format!("fitted by orrery calibrate to {}", sources.join(", ")));
        if origin != ValueOrigin::Imported {
            // Sources of measurements are their sessions.
            let _ = writeln!(out, "from = {{ origin = \"{origin}\", source = {:?}, sessions = {} }}", sources.join(", "), sources.len());
        }
        for list in [List::Gemm, List::Prefill, List::Decode, List::Moe] {
            let rows: Vec<&&&Entry> = of_part.iter().filter(|e| e.list == list).collect();
            for row in rows {
                entry(row, list, &mut out);
            }
        }
    }
    write_curves::entries(&calibration.fits, &mut out);
    out
}

fn entry(entry: &Entry, list: List, out: &mut String) {
    let Ok(fit) = &entry.fit else { return };
    let _ = writeln!(out, "\n[[profile.{}]]", list.key());
    for (key, value) in &entry.keys {
        let _ = writeln!(out, "{key} = {value:?}");
    }
    let [median, p90, bias] = [fit.median, fit.p90, fit.bias].map(digits);
    let _ = writeln!(out, "quality = {{ points = {}, median = {median}, p90 = {p90}, bias = {bias} }}", fit.points);
    for v in &fit.values {
        let _ = writeln!(out, "{} = [{}, {}, {}]", v.name, digits(v.value), digits(v.low), digits(v.high));
    }
    if let Some(near) = &fit.near {
        products(near, list, out);
    }
}

fn products(near: &Near, list: List, out: &mut String) {
    let [median, p90, bias] = near.left_out.map(digits);
    let _ = writeln!(out, "\n[profile.{}.near]\nreach = {}\nown = {}", list.key(), near.reach, near.own);
    let _ = writeln!(out, "quality = {{ points = {}, median = {median}, p90 = {p90}, bias = {bias} }}", near.products.len());
    let cells: Vec<String> =
        near.products.iter().map(|(g, seconds)| format!("[{}, {}, {}, {}]", g.m, g.n, g.k, digits(1e6 * seconds))).collect();
    let lines: Vec<String> = cells.chunks(6).map(|c| format!("    {},\n", c.join(", "))).collect();
    let _ = writeln!(out, "products = [\n{}]", lines.concat());
}

/// One line for every entry: points and errors, in the fit, of shapes held out, and under the mean of the other libraries.
#[must_use]
pub fn summary(calibration: &Calibration) -> String {
    let mut out = format!("{:<64}{:>7}{:>9}{:>9}{:>9}{:>9}\n", "entry", "points", "in fit", "held out", "p90", "others");
    for e in &calibration.entries {
        let keys = e.keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>().join(" ");
        let name = format!("{} {} {keys}", e.accelerator, e.list.key());
        let _ = match &e.fit {
            Ok(f) => {
                let others = f.others.map_or_else(|| "-".into(), |o| format!("{:.1}%", 100.0 * o));
                let [inside, median, p90] = [f.inside, f.median, f.p90].map(|x| 100.0 * x);
                let mut line = format!("{name:<64}{:>7}{inside:>8.1}%{median:>8.1}%{p90:>8.1}%{others:>9}", f.points);
                if let Some(near) = &f.near {
                    let [median, p90, _] = near.left_out.map(|x| 100.0 * x);
                    let what = format!("    with measured products near by, left out one at a time (reach {})", near.reach);
                    let _ = write!(line, "\n{what:<80}{median:>8.1}%{p90:>8.1}%");
                }
                writeln!(out, "{line}")
            }
            Err(reason) => writeln!(out, "{name:<64} left out: {reason}"),
        };
    }
    write_curves::summary(&calibration.fits, &mut out);
    for (reason, n) in &calibration.skipped {
        let _ = writeln!(out, "skipped {n}: {reason}");
    }
    out
}
