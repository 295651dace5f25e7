//! Streams through memory: STREAM, superbench's gpu-stream, triad tables.

use super::scan::{Fault, Log, after, positive};
use crate::calibrate::record::{Measurement, Unit, What};

pub(super) fn is_stream(log: &Log<'_>) -> bool {
    log.has("STREAM version") || log.has("Function    Best Rate MB/s")
}

/// Arrays that a kernel of STREAM touches.
fn arrays(kernel: &str) -> f64 {
    if matches!(kernel, "add" | "triad") { 3.0 } else { 2.0 }
}

pub(super) fn stream(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let first = |word: &str| after(log.text, word).and_then(|t| t.split_whitespace().next()).and_then(positive);
    let (Some(elements), Some(each)) = (first("Array size ="), first("This system uses")) else {
        return Err(log.truncated("array size and bytes per element are missing"));
    };
    let threads = first("Number of Threads counted =").unwrap_or(1.0);
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    for line in log.lines() {
        let words = line.words();
        let Some(kernel) = words.first().and_then(|w| ["Copy:", "Scale:", "Add:", "Triad:"].into_iter().find(|k| k == w)) else { continue };
        let values: Vec<f64> = words[1..].iter().filter_map(|w| positive(w)).collect();
        let [rate, _, least, _] = values[..] else {
            faults.push(line.fault("a row has a rate and three times above 0"));
            continue;
        };
        let kernel = kernel.trim_end_matches(':').to_lowercase();
        let bytes = arrays(&kernel) * elements * each;
        // The best rate comes of the least time.
        if (bytes / least / (1e6 * rate) - 1.0).abs() > 0.02 {
            faults.push(line.fault("rate and least time of this row do not agree with the array size"));
            continue;
        }
        let what = What::Memory { kernel, bytes, threads: threads as u64 };
        let mut one = Measurement::new(what, 1e6 * rate, Unit::BytesPerSecond, "STREAM");
        one.part = "host".into();
        out.push(one);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if out.len() < 4 || out.len() % 4 != 0 {
        return Err(log.truncated("not all four kernels are there"));
    }
    Ok(out)
}

pub(super) fn is_gpu(log: &Log<'_>) -> bool {
    log.has("STREAM_COPY_") || log.has("STREAM Benchmark")
}

pub(super) fn gpu(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let (mut device, mut peak) = (String::new(), 0.0);
    for line in log.lines() {
        if line.text.starts_with("Device ") {
            device = line.text.split('"').nth(1).unwrap_or("").to_owned();
            peak = line.text.split('=').nth(1).and_then(|t| positive(t.split_whitespace().next()?)).unwrap_or(0.0);
            continue;
        }
        if !line.text.starts_with("STREAM_") {
            continue;
        }
        let words = line.words();
        let parts: Vec<&str> = words[0].split('_').collect();
        let buffer = parts.iter().position(|p| *p == "buffer").and_then(|i| positive(parts.get(i + 1)?));
        let gpu = parts.iter().position(|p| *p == "gpu").and_then(|i| parts.get(i + 1));
        let block = parts.iter().position(|p| *p == "block").and_then(|i| positive(parts.get(i + 1)?));
        let rate = words.get(1).and_then(|w| positive(w));
        let share = words.get(2).and_then(|w| positive(w));
        let (Some(buffer), Some(gpu), Some(_), Some(rate), Some(share)) = (buffer, gpu, block, rate, share) else {
            faults.push(line.fault("a row has a name with buffer and block, a rate and a share of the peak"));
            continue;
        };
        if peak > 0.0 && (100.0 * rate / peak - share).abs() > 0.6 {
            faults.push(line.fault("rate and share of this row do not agree with the device's peak"));
            continue;
        }
        let what = What::Memory { kernel: parts[1].to_lowercase(), bytes: arrays(&parts[1].to_lowercase()) * buffer, threads: 1 };
        let mut one = Measurement::new(what, 1e9 * rate, Unit::BytesPerSecond, "superbench gpu-stream");
        one.device.clone_from(&device);
        one.peer = format!("gpu{gpu}");
        out.push(one);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    // Every kernel runs with the same blocks on every device.
    let mut counts = std::collections::BTreeMap::new();
    for one in &out {
        let What::Memory { kernel, .. } = &one.what else { continue };
        *counts.entry((one.peer.clone(), kernel.clone())).or_insert(0) += 1;
    }
    let kernels = counts.len();
    let most = counts.values().copied().max().unwrap_or(0);
    let devices: std::collections::BTreeSet<&String> = counts.keys().map(|k| &k.0).collect();
    if kernels != 4 * devices.len() || counts.values().any(|c| *c != most) {
        return Err(log.truncated("not all kernels ran with all blocks"));
    }
    Ok(out)
}

pub(super) fn is_triad(log: &Log<'_>) -> bool {
    log.text.starts_with("total_KiB,us,GB/s(triad)")
}

pub(super) fn triad(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    for line in log.lines().skip(1).filter(|l| !l.text.is_empty()) {
        let cells: Option<Vec<f64>> = line.text.split(',').map(positive).collect();
        match cells.as_deref() {
            Some(&[size, us, rate]) if (1024.0 * size / us / 1e3 / rate - 1.0).abs() < 0.05 + 0.001 / us => {
                let what = What::Memory { kernel: "triad".into(), bytes: 1024.0 * size, threads: 1 };
                let mut one = Measurement::new(what, 1e9 * rate, Unit::BytesPerSecond, "triad");
                one.part = "host".into();
                out.push(one);
            }
            Some([_, _, _]) => faults.push(line.fault("size, time and rate of this row do not agree")),
            _ => faults.push(line.fault("a row has size, time and rate above 0")),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if out.is_empty() || !log.text.ends_with('\n') { Err(log.truncated("the last row is not whole")) } else { Ok(out) }
}
