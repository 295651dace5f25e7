//! Copies between hosts and accelerators: nvbandwidth, CUDA's bandwidthTest, ROCm's bandwidth logs, superbench's gpu-copy.

use super::scan::{Fault, Line, Log, after, json_number, json_text, number, positive};
use crate::calibrate::record::{Measurement, Unit, What};

const MIB: f64 = 1_048_576.0;

/// A streamed copy of a size at a rate.
fn copy(path: &str, bytes: f64, rate: f64, tool: &str) -> Measurement {
    let what = What::Link { path: path.into(), bytes, streamed: true };
    Measurement::new(what, bytes / rate, Unit::Seconds, tool)
}

/// The way that a test of nvbandwidth copies; `None` for tests whose figure is no rate of one copy (both directions at once, sums over all).
fn path_of(test: &str) -> Option<&'static str> {
    if test.contains("bidirectional") || test.starts_with("all_") || test.contains("_to_all") || test.contains("_all_") {
        return None;
    }
    [
        ("host_to_device_memcpy", "host-to-device"),
        ("device_to_host_memcpy", "device-to-host"),
        ("device_to_device_memcpy", "peer"),
        ("device_local_copy", "device"),
    ]
    .into_iter()
    .find(|(start, _)| test.starts_with(start))
    .map(|(_, path)| path)
}

/// Default buffer of nvbandwidth.
const BUFFER: f64 = 512.0 * MIB;

/// A cell of a matrix as a measurement: a copy, or a metric of the test's name.
fn cell(test: &str, row: usize, column: usize, value: f64, tool: &str) -> Measurement {
    let mut out = match path_of(test) {
        Some(path) => copy(path, BUFFER, 1e9 * value, tool),
        None => Measurement::new(What::Metric { name: test.into() }, value, Unit::Other, tool),
    };
    let of_device = test.starts_with("device_to_device");
    out.host = if of_device { format!("gpu{row}") } else { format!("cpu{row}") };
    out.peer = format!("gpu{column}");
    out
}

pub(super) fn is_nvbandwidth(log: &Log<'_>) -> bool {
    log.text.trim_start().starts_with("nvbandwidth Version") || (log.has("SUM ") && log.has("Running ") && log.has("memcpy"))
}

pub(super) fn is_nvbandwidth_json(log: &Log<'_>) -> bool {
    log.is_json() && log.has("\"nvbandwidth\"")
}

pub(super) fn nvbandwidth(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let version = after(log.text, "nvbandwidth Version:").unwrap_or("");
    let tool = format!("nvbandwidth {version}");
    let device = after(log.text, "Device 0:").unwrap_or("").to_owned();
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let mut test: Option<String> = None;
    let mut columns: Option<Vec<usize>> = None;
    let mut pending: Vec<Measurement> = Vec::new();
    let mut sum = 0.0;
    for line in log.lines() {
        let words = line.words();
        if let Some(name) = line.text.strip_prefix("Running ") {
            if test.is_some() {
                faults.push(line.fault("the test before this one has no sum"));
            }
            test = Some(name.trim_end_matches('.').to_owned());
            (columns, sum) = (None, 0.0);
            pending.clear();
        } else if words.first() == Some(&"SUM") {
            match (test.take(), words.get(1), words.get(2).and_then(|w| number(w))) {
                (Some(name), Some(of), Some(total))
                    if name == *of && (total - sum).abs() <= 0.02 * total + 0.01 * pending.len() as f64 + 0.01 =>
                {
                    out.append(&mut pending);
                }
                _ => faults.push(line.fault("the sum does not belong to the rows before it")),
            }
        } else if words.first() == Some(&"Waived:") || words.first() == Some(&"ERROR:") {
            test = None;
            pending.clear();
        } else if let Some(name) = &test
            && !words.is_empty()
            && words[0].bytes().all(|b| b.is_ascii_digit())
        {
            let Some(ids) = &columns else {
                columns = words.iter().map(|w| w.parse().ok()).collect();
                continue;
            };
            if words.len() != ids.len() + 1 {
                faults.push(line.fault(format!("{} cells under {} columns", words.len() - 1, ids.len())));
                continue;
            }
            for (id, word) in ids.iter().zip(&words[1..]) {
                match number(word) {
                    Some(value) if value > 0.0 => {
                        sum += value;
                        let mut one = cell(name, words[0].parse().unwrap_or(0), *id, value, &tool);
                        one.device.clone_from(&device);
                        pending.push(one);
                    }
                    _ if *word == "N/A" => {}
                    _ => faults.push(line.fault(format!("`{word}` is no rate"))),
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if let Some(name) = test {
        return Err(log.truncated(&format!("{name} has no sum")));
    }
    if !log.has("NOTE: The reported results") {
        return Err(log.truncated("there is no closing note (versions without it: take JSON, `nvbandwidth -j`)"));
    }
    if out.is_empty() { Err(log.fault("no test has passed", "see why nvbandwidth waived all")) } else { Ok(out) }
}

pub(super) fn nvbandwidth_json(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let json = log.json()?;
    let body = &json["nvbandwidth"];
    let tool = format!("nvbandwidth {}", json_text(&body["version"]));
    let device = body["GPU Device list"][0].as_str().unwrap_or("").to_owned();
    let mut out = Vec::new();
    for test in body["testcases"].as_array().into_iter().flatten() {
        let name = json_text(&test["name"]);
        if json_text(&test["status"]) != "Passed" {
            continue;
        }
        for (r, row) in test["bandwidth_matrix"].as_array().into_iter().flatten().enumerate() {
            for (c, value) in row.as_array().into_iter().flatten().enumerate() {
                if value.as_str() == Some("N/A") {
                    continue;
                }
                let Some(value) = json_number(value).filter(|v| *v > 0.0) else {
                    return Err(log.fault(format!("{name}: {value} is no rate"), "run the tool again"));
                };
                let mut one = cell(&name, r, c, value, &tool);
                one.device.clone_from(&device);
                out.push(one);
            }
        }
    }
    if out.is_empty() { Err(log.fault("no test has passed", "see why nvbandwidth waived all")) } else { Ok(out) }
}

pub(super) fn is_bandwidth_test(log: &Log<'_>) -> bool {
    log.has("bandwidthTest-")
}

/// Greatest relative step of the printed digits that a row is taken with.
const COARSEST: f64 = 0.05;

pub(super) fn bandwidth_test(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let device = after(log.text, "Device 0:").unwrap_or("").to_owned();
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    for line in log.lines().filter(|l| l.text.starts_with("bandwidthTest-")) {
        let value = |name: &str, unit: &str| {
            let text = after(line.text, name)?.trim_start_matches('=').trim();
            number(text.split(unit).next()?.trim())
        };
        let path = match line.text.split(['-', ',']).nth(1) {
            Some("H2D") => "host-to-device",
            Some("D2H") => "device-to-host",
            Some("D2D") => "device",
            _ => "",
        };
        let (rate, time, bytes) = (value("Bandwidth", "GB/s"), value("Time", "s"), value("Size", "bytes"));
        let (Some(rate), Some(time), Some(bytes)) =
            (rate, time, bytes.filter(|b| *b > 0.0 && !path.is_empty() && line.text.contains("NumDevsUsed")))
        else {
            faults.push(line.fault("a row of bandwidthTest has bandwidth, time, size and devices"));
            continue;
        };
        // Printed with one decimal and with five: whichever is finer tells the time; rows where both are coarse tell nothing.
        let (of_rate, of_time) = (0.05 / rate.max(1e-9), 5e-6 / time.max(1e-12));
        if of_rate.min(of_time) > COARSEST {
            continue;
        }
        if of_rate.max(of_time) < 0.2 && (bytes / (1e9 * rate) / time - 1.0).abs() > 1.5 * (of_rate + of_time) + 0.05 {
            faults.push(line.fault("size, time and bandwidth of this row do not agree"));
            continue;
        }
        let seconds = if of_time < of_rate { time } else { bytes / (1e9 * rate) };
        let what = What::Link { path: path.into(), bytes, streamed: false };
        let mut one = Measurement::new(what, seconds, Unit::Seconds, "CUDA bandwidthTest");
        one.device.clone_from(&device);
        out.push(one);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if !log.has("Result = PASS") {
        return Err(log.truncated("there is no line `Result = PASS`"));
    }
    if out.is_empty() { Err(log.fault("all rows are printed too coarsely to tell a time", "measure larger sizes")) } else { Ok(out) }
}

pub(super) fn is_rocm(log: &Log<'_>) -> bool {
    log.has("H2D_Bandwidth_") || log.has("D2H_Bandwidth_")
}

/// Sizes such as `1kB` (powers of 1024) and `+064By`.
fn rocm_size(text: &str) -> Option<f64> {
    if let Some(bytes) = text.strip_suffix("By") {
        return positive(bytes.trim_start_matches('+').trim_start_matches('0'));
    }
    positive(text.strip_suffix("kB")?).map(|k| 1024.0 * k)
}

pub(super) fn rocm(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let device = after(log.text, "Device:").unwrap_or("").split(" Mem=").next().unwrap_or("").to_owned();
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let mut last = 0.0;
    for line in log.lines() {
        let words = line.words();
        let Some(name) = words.first().filter(|w| w.starts_with("H2D_") || w.starts_with("D2H_")) else { continue };
        if words.len() != 8 {
            faults.push(line.fault(format!("{} fields, a row has 8", words.len())));
            continue;
        }
        let (bytes, median) = (rocm_size(words[1]), number(words[3]));
        let (Some(bytes), Some(median)) = (bytes, median) else {
            faults.push(line.fault("size or median of this row is no number"));
            continue;
        };
        if name.contains("_Bandwidth_") {
            continue;
        }
        if bytes <= last {
            faults.push(line.fault("sizes do not grow"));
        }
        last = bytes;
        // Four decimals of a millisecond: below a microsecond nothing is left.
        if median < 1e-3 {
            continue;
        }
        let path = if name.starts_with("H2D") { "host-to-device" } else { "device-to-host" };
        let what = What::Link { path: path.into(), bytes, streamed: false };
        let mut one = Measurement::new(what, 1e-3 * median, Unit::Seconds, "ROCm bandwidth");
        one.device.clone_from(&device);
        out.push(one);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if out.is_empty() || !log.has("Note: results marked") {
        return Err(log.truncated("there is no closing note"));
    }
    Ok(out)
}

pub(super) fn is_gpu_copy(log: &Log<'_>) -> bool {
    log.lines().next().is_some_and(|l| (l.text.contains("_by_sm") || l.text.contains("_by_dma")) && l.words().len() == 2)
}

pub(super) fn gpu_copy(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    for line in log.lines().filter(|l| !l.text.trim().is_empty()) {
        match gpu_copy_row(&line) {
            Ok(one) => out.push(one),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if !log.text.ends_with('\n') {
        return Err(log.truncated("the last line is not whole"));
    }
    Ok(out)
}

fn gpu_copy_row(line: &Line<'_>) -> Result<Measurement, Fault> {
    let words = line.words();
    let [name, rate] = words[..] else { return Err(line.fault("a row has a name and a rate")) };
    let rate = positive(rate).ok_or_else(|| line.fault("the rate is no number above 0"))?;
    let ends = name.split("_by_").next().unwrap_or("");
    if !name.contains("_by_sm") && !name.contains("_by_dma") {
        return Err(line.fault("the name does not say how it was copied"));
    }
    // The best of copy engine and kernel, of reading and writing, is what a library reaches; all of them are kept apart by their peers.
    let (from, to) = ends.split_once("_to_").unwrap_or((ends, ""));
    let to = to.trim_end_matches("_write").trim_end_matches("_read");
    let path = match (from, to) {
        ("cpu", gpu) if gpu.starts_with("gpu") && !gpu.contains("all") => "host-to-device",
        (gpu, "cpu") if gpu.starts_with("gpu") && !gpu.contains("all") => "device-to-host",
        (a, b) if a == b && a.starts_with("gpu") && !a.contains("all") => "device",
        (a, b) if a.starts_with("gpu") && b.starts_with("gpu") && !name.contains("all") => "peer",
        _ => {
            let metric = What::Metric { name: name.into() };
            return Ok(Measurement::new(metric, rate, Unit::Other, "superbench gpu-copy"));
        }
    };
    let mut one = copy(path, 256.0 * MIB, 1e9 * rate, "superbench gpu-copy");
    (one.host, one.peer) = (from.into(), to.into());
    Ok(one)
}
