//! Fitted links, collectives, memories and storage as entries of a profile file, as lines for people, and their points as a table.

use super::curve::{CurveFit, Interval};
use super::fits::{Fit, Fits, Levels, Seal, Sustained};
use super::write::digits;
use super::{Calibration, Entry};
use crate::hardware::Catalogue;
use std::fmt::Write;

fn estimate(i: Interval, factor: f64) -> String {
    format!("[{}, {}, {}]", digits(i.value * factor), digits(i.low * factor), digits(i.high * factor))
}

/// The stamp as an inline table.
pub(super) fn stamp(seal: &Seal) -> String {
    let mut out = format!("{{ origin = \"{}\"", seal.origin);
    for (key, value) in [("tool", &seal.tool), ("source", &seal.source), ("time", &seal.time), ("device", &seal.device)] {
        if !value.is_empty() || key == "source" {
            let _ = write!(out, ", {key} = {}", quoted(value));
        }
    }
    let _ = write!(out, ", sessions = {} }}", seal.sessions);
    out
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}

fn quality(points: usize, left_out: [f64; 3], bias: f64) -> String {
    let [median, p90, worst] = left_out.map(digits);
    format!(
        "quality = {{ points = {points}, median = {median}, p90 = {p90}, worst = {worst}, bias = {} }}",
        digits(bias.clamp(-10.0, 10.0))
    )
}

fn undetermined(list: &[String], out: &mut String) {
    if !list.is_empty() {
        let _ = writeln!(out, "undetermined = [{}]", list.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(", "));
    }
}

fn head(table: &str, keys: &[(&'static str, String)], seal: &Seal, out: &mut String) {
    let _ = writeln!(out, "\n[[{table}]]");
    for (key, value) in keys {
        let _ =
            if matches!(*key, "ranks" | "nodes") { writeln!(out, "{key} = {value}") } else { writeln!(out, "{key} = {}", quoted(value)) };
    }
    let _ = writeln!(out, "from = {}", stamp(seal));
}

fn curve(table: &str, fit: &Fit<CurveFit>, out: &mut String) {
    head(table, &fit.keys, &fit.seal, out);
    let f = &fit.fit;
    let _ = writeln!(out, "range = [{}, {}]", f.range.0, f.range.1);
    let _ = writeln!(out, "{}", quality(f.measurements, f.left_out, f.bias));
    let lines: Vec<String> = f
        .lines
        .iter()
        .map(|l| {
            let rate = l.rate.map_or_else(String::new, |r| format!(", rate = {}", estimate(r, 1e-9)));
            format!("{{ start = {}{rate} }}", estimate(l.start, 1e6))
        })
        .collect();
    let _ = writeln!(out, "line = [\n    {},\n]", lines.join(",\n    "));
    undetermined(&f.undetermined, out);
}

/// All entries, appended to a profile file.
pub(super) fn entries(fits: &Fits, out: &mut String) {
    fits.memory.iter().for_each(|m| efficiency(m, out));
    fits.sustained.iter().for_each(|s| lasting(s, out));
    fits.collective.iter().for_each(|f| curve("collective", f, out));
    fits.link.iter().for_each(|f| curve("link", f, out));
    for m in &fits.memory {
        head("memory", &m.keys, &m.seal, out);
        let list = |of: &dyn Fn(&(f64, Interval)) -> String| m.fit.levels.iter().map(of).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "points = {}\nlevel = [{}]", m.fit.points, list(&|l| digits(l.0)));
        let _ = writeln!(out, "bandwidth = [{}]", list(&|l| estimate(l.1, 1e-9)));
        undetermined(&m.fit.undetermined, out);
    }
    for s in &fits.storage {
        head("storage", &s.keys, &s.seal, out);
        let f = &s.fit;
        let _ = writeln!(out, "{}", quality(f.measurements, f.left_out, f.bias));
        for (key, value, factor) in [("latency", f.latency, 1e6), ("iops", f.iops, 1.0), ("bandwidth", f.bandwidth, 1e-9)] {
            if let Some(value) = value {
                let _ = writeln!(out, "{key} = {}", estimate(value, factor));
            }
        }
        undetermined(&f.undetermined, out);
    }
    for q in &fits.quarantined {
        let _ = writeln!(out, "\n[[quarantined]]\nwhat = {}\nfrom = {}", quoted(&q.what), stamp(&q.seal));
        let _ = writeln!(out, "share = {}\npoints = {}", digits(q.share), q.points);
    }
}

/// The share of an accelerator's memory bandwidth that streams reach, for the kernels of its profile.
fn efficiency(memory: &Fit<Levels>, out: &mut String) {
    let part = &memory.keys[0].1;
    let (Some(sheet), Some((_, rate))) = (Catalogue::embedded().accelerators.get(part), memory.fit.levels.last()) else { return };
    let share = rate.value / sheet.memory_bandwidth.get();
    of_part(part, "streams through memory", &memory.seal, ("memory_efficiency", share), out);
}

fn lasting(sustained: &Fit<Sustained>, out: &mut String) {
    let s = &sustained.fit;
    of_part(&sustained.keys[0].1, "products without a pause", &sustained.seal, (s.key, s.share), out);
}

/// One constant of a part that the catalogue knows.
fn of_part(part: &str, what: &str, seal: &Seal, (key, value): (&str, f64), out: &mut String) {
    let Some(sheet) = Catalogue::embedded().accelerators.get(part) else { return };
    let _ = writeln!(out, "\n[[profile]]\naccelerator = {}\ngeneration = {}", quoted(part), quoted(&sheet.generation));
    let _ = writeln!(out, "source = {}\nfrom = {}", quoted(&format!("{what}: {}", seal.source)), stamp(seal));
    let _ = writeln!(out, "{key} = {}", digits(value));
}

/// Lines for people: keys, measurements, error left out, what is undetermined.
pub(super) fn summary(fits: &Fits, out: &mut String) {
    let name = |keys: &[(&'static str, String)]| keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>().join(" ");
    let mut line = |name: String, points: usize, inside: Option<f64>, left_out: [f64; 3], list: &[String]| {
        let inside = inside.map_or_else(|| "-".into(), |i| format!("{:.1}%", 100.0 * i));
        let [median, p90, worst] = left_out.map(|e| 100.0 * e);
        let _ = writeln!(out, "{name:<64}{points:>7}{inside:>9}{median:>8.1}%{p90:>8.1}% worst {worst:.1}%");
        list.iter().for_each(|u| {
            let _ = writeln!(out, "    undetermined: {u}");
        });
    };
    for (kind, list) in [("", &fits.collective), ("link ", &fits.link)] {
        for f in list {
            let fit = &f.fit;
            line(
                format!("{kind}{}, {} lines", name(&f.keys), fit.lines.len()),
                fit.measurements,
                Some(fit.inside),
                fit.left_out,
                &fit.undetermined,
            );
        }
    }
    for s in &fits.storage {
        line(format!("storage {}", name(&s.keys)), s.fit.measurements, None, s.fit.left_out, &s.fit.undetermined);
    }
    for s in &fits.sustained {
        let _ = writeln!(
            out,
            "{:<64}{:>7}  {:.3} of the rate of short products",
            format!("{} of {}", s.fit.key, name(&s.keys)),
            s.seal.sessions,
            s.fit.share
        );
    }
    for m in &fits.memory {
        let rates: Vec<String> = m.fit.levels.iter().map(|(b, r)| format!("{:.1} GB/s to {:.3e} B", 1e-9 * r.value, b)).collect();
        let _ = writeln!(out, "{:<64}{:>7}  {}", format!("memory of {}", name(&m.keys)), m.fit.points, rates.join(", "));
    }
    for q in &fits.quarantined {
        let _ = writeln!(out, "quarantined: {} is {:.2} times the data sheet ({} points)", q.what, q.share, q.points);
    }
    for (reason, n) in &fits.left {
        let _ = writeln!(out, "left at its prior, {n} points: {reason}");
    }
}

/// Name of an entry of operators in tables of points and reports.
fn entry_name(entry: &Entry) -> String {
    let keys = entry.keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>().join(" ");
    format!("{} {} {keys}", entry.list.key(), entry.accelerator)
}

/// All points with what was measured and what the fit says, for `calibrate show`: columns `entry`, `x` (bytes; empty for operators),
/// `measured`, `predicted` (seconds; bytes per second for memories; operators: predicted by a fit that did not see the shape).
#[must_use]
pub fn points_csv(calibration: &Calibration) -> String {
    let mut out = String::from("entry,x,measured,predicted\n");
    let mut row = |name: &str, x: Option<f64>, measured: f64, predicted: f64| {
        let x = x.map_or_else(String::new, |x| format!("{x}"));
        let _ = writeln!(out, "{},{x},{measured:.6e},{predicted:.6e}", name.replace(',', " "));
    };
    for entry in &calibration.entries {
        let name = entry_name(entry);
        entry.fit.iter().flat_map(|f| &f.held).for_each(|(m, p)| row(&name, None, *m, *p));
    }
    let name =
        |kind: &str, keys: &[(&'static str, String)]| format!("{kind} {}", keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>().join(" "));
    let fits = &calibration.fits;
    for f in &fits.collective {
        f.fit.points.iter().for_each(|p| row(&name("collective", &f.keys), Some(p.0), p.1, p.2));
    }
    for f in &fits.link {
        f.fit.points.iter().for_each(|p| row(&name("link", &f.keys), Some(p.0), p.1, p.2));
    }
    for f in &fits.memory {
        f.fit.seen.iter().for_each(|p| row(&name("memory", &f.keys), Some(p.0), p.1, p.2));
    }
    for f in &fits.storage {
        f.fit.points.iter().for_each(|p| row(&name("storage", &f.keys), Some(p.0), p.1, p.2));
    }
    out
}
