//! Logs without a model of their own: figures by name, by which nodes are compared, and files that hold no measurement.

use super::scan::{Fault, Log, after, number, positive};
use crate::calibrate::record::{Measurement, Unit, What};
use serde_json::Value as Json;

fn metric(name: impl Into<String>, value: f64, tool: &str) -> Measurement {
    Measurement::new(What::Metric { name: name.into() }, value, Unit::Other, tool)
}

pub(super) fn is_gpcnet(log: &Log<'_>) -> bool {
    log.text.starts_with("NetworkLoad Tests") || log.text.starts_with("Network Tests v")
}

pub(super) fn gpcnet(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let (mut section, mut columns) = (String::new(), Vec::new());
    for line in log.lines().filter(|l| l.text.starts_with('|')) {
        if !line.text.ends_with('|') {
            faults.push(line.fault("this row has no end"));
            continue;
        }
        let cells: Vec<&str> = line.text.trim_matches('|').split('|').map(str::trim).collect();
        if cells.len() == 1 {
            section = cells[0].to_owned();
        } else if cells[0] == "Name" || cells[0].is_empty() {
            columns = cells.iter().map(|c| (*c).to_owned()).collect();
        } else if cells.len() != columns.len() {
            faults.push(line.fault(format!("{} cells under {} columns", cells.len(), columns.len())));
        } else {
            for (column, cell) in columns.iter().zip(&cells).skip(1).filter(|(c, _)| *c != "Units") {
                match number(cell.trim_end_matches('X')) {
                    Some(value) => out.push(metric(format!("{section} {} {column}", cells[0]), value, "GPCNeT")),
                    None => faults.push(line.fault(format!("`{cell}` is no number"))),
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let whole = !log.text.starts_with("NetworkLoad") || log.has("Key Results");
    if out.is_empty() || !whole || !log.text.trim_end().ends_with('+') || !log.text.ends_with('\n') {
        Err(log.truncated("a table has no end"))
    } else {
        Ok(out)
    }
}

pub(super) fn is_hpl(log: &Log<'_>) -> bool {
    log.has("HPLinpack")
}

pub(super) fn hpl(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let mut out = Vec::new();
    for line in log.lines().filter(|l| l.text.starts_with('W') && l.words().len() == 7) {
        let words = line.words();
        let (n, seconds, gflops) = (positive(words[1]), positive(words[5]), positive(words[6]));
        let (Some(n), Some(seconds), Some(rate)) = (n, seconds, gflops) else {
            return Err(vec![line.fault("a result has sizes, seconds and a rate above 0")]);
        };
        if ((2.0 / 3.0 * n * n * n + 1.5 * n * n) / seconds / (1e9 * rate) - 1.0).abs() > 0.05 {
            return Err(vec![line.fault("size, time and rate of this result do not agree")]);
        }
        out.push(metric(format!("HPL GFLOP/s {}", words[0]), rate, "HPL"));
    }
    if out.is_empty() || !log.has("End of Tests.") { Err(log.truncated("there is no line `End of Tests.`")) } else { Ok(out) }
}

pub(super) fn is_steps(log: &Log<'_>) -> bool {
    log.text.starts_with("Latency of step ")
}

pub(super) fn steps(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let mut samples = Vec::new();
    for line in log.lines().filter(|l| !l.text.trim().is_empty()) {
        let Some((number, value)) = line.text.strip_prefix("Latency of step ").and_then(|r| r.split_once(": ")) else {
            return Err(vec![line.fault("a row is `Latency of step N: X ms`")]);
        };
        match (number.parse::<usize>(), value.strip_suffix(" ms").and_then(positive)) {
            (Ok(n), Some(ms)) if n == samples.len() => samples.push(1e-3 * ms),
            _ => return Err(vec![line.fault("steps do not follow each other, or this one has no time in ms")]),
        }
    }
    let mut sorted = samples.clone();
    sorted.sort_by(f64::total_cmp);
    let Some(&median) = sorted.get(sorted.len() / 2) else { return Err(log.truncated("there is no step")) };
    let mut one = metric("step latency", median, "superbench dist-inference");
    (one.unit, one.samples, one.in_situ) = (Unit::Seconds, samples, true);
    Ok(vec![one])
}

/// Lines or a list of objects with figures by name: superbench's results and summaries.
pub(super) fn is_summary(log: &Log<'_>) -> bool {
    log.is_json() && (log.has("diagnosis/") || log.has("\"Defective Details\"") || log.has("kernel-launch/"))
}

pub(super) fn summary(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let objects: Vec<Json> = if log.text.trim_start().starts_with('[') {
        log.json()?.as_array().cloned().unwrap_or_default()
    } else {
        let mut all = Vec::new();
        for line in log.lines().filter(|l| !l.text.trim().is_empty()) {
            all.push(serde_json::from_str(line.text).map_err(|e| vec![line.fault(format!("{e}"))])?);
        }
        all
    };
    let mut out = Vec::new();
    for object in &objects {
        let Some(object) = object.as_object() else { return Err(log.fault("an entry is no object", "this is no summary of superbench")) };
        let host = ["index", "Index", "node"].iter().find_map(|k| object.get(*k)).and_then(Json::as_str).unwrap_or("").to_owned();
        for (name, value) in object.iter().filter(|(n, _)| !n.starts_with("diagnosis/")) {
            let Some(value) = value.as_f64().filter(|v| v.is_finite()) else { continue };
            let mut one = metric(name.as_str(), value, "superbench");
            one.host.clone_from(&host);
            out.push(one);
        }
    }
    if out.is_empty() { Err(log.fault("there is no figure", "this is no summary of superbench")) } else { Ok(out) }
}

/// Recognised files that hold no measurement: telemetry, cabling, plans of pairs, runs that were aborted before they measured.
pub(super) fn is_nothing(log: &Log<'_>) -> bool {
    let telemetry = log.is_json() && log.has("\"gpu_temperature:0\"") && log.has("\"cpu_usage\"");
    let cabling = log.has("switchguid=") || log.text.starts_with("VM_hostname ");
    let pairs = log.text.starts_with("benchmark_name:") && after(log.text, "pattern_type:").is_some();
    let aborted = log.text.starts_with("ERROR: this application must be run on at least");
    telemetry || cabling || pairs || aborted
}

pub(super) const fn nothing(_: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    Ok(Vec::new())
}
