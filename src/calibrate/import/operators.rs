//! Matrix products and sustained rates: CUTLASS profiler, mamf-finder, cuBLASLt under Nsight Compute, gpu-burn.

use super::scan::{Fault, Line, Log, after, number, positive};
use crate::calibrate::record::{Measurement, OperatorTable, Unit, What};
use std::collections::{BTreeMap, HashMap};

/// A product of one shape.
fn product(shape: (f64, f64, f64), dtype: &str, library: &str, seconds: f64, tool: &str) -> Measurement {
    let cell = |name: &str, value: String| (name.to_owned(), value);
    let cells: BTreeMap<String, String> = [
        cell("m", format!("{}", shape.0)),
        cell("n", format!("{}", shape.1)),
        cell("k", format!("{}", shape.2)),
        cell("dtype", dtype.into()),
        cell("framework", library.into()),
    ]
    .into();
    Measurement::new(What::Operator { table: OperatorTable::Gemm, cells }, seconds, Unit::Seconds, tool)
}

pub(super) fn is_cutlass(log: &Log<'_>) -> bool {
    log.lines().take(200).any(|l| l.text.contains("OperationKind,Operation,Disposition,Status"))
}

/// Number formats of CUTLASS as words of the catalogue.
fn cutlass_dtype(a: &str, b: &str) -> Option<&'static str> {
    let short = |t: &str| t.split(':').next().unwrap_or("").to_owned();
    match (short(a).as_str(), short(b).as_str()) {
        ("bf16", "bf16") => Some("bf16"),
        ("f16", "f16") => Some("fp16"),
        ("tf32", "tf32") => Some("tf32"),
        ("f32", "f32") => Some("fp32"),
        ("s8" | "u8", "s8" | "u8") => Some("int8"),
        ("e4m3" | "e5m2", "e4m3" | "e5m2") => Some("fp8"),
        _ => None,
    }
}

pub(super) fn cutlass(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let mut columns: HashMap<&str, usize> = HashMap::new();
    let mut width = 0;
    for line in log.lines().filter(|l| l.text.contains(',')) {
        let cells: Vec<&str> = line.text.split(',').collect();
        if line.text.contains("OperationKind,Operation,Disposition,Status") {
            columns = cells.iter().enumerate().map(|(i, c)| (*c, i)).collect();
            width = cells.len();
            continue;
        }
        if columns.is_empty() {
            continue;
        }
        if cells.len() != width {
            faults.push(line.fault(format!("{} fields, the header has {width}", cells.len())));
            continue;
        }
        match cutlass_row(&line, &cells, &columns) {
            Ok(Some(one)) => out.push(one),
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if !log.text.ends_with('\n') {
        return Err(log.truncated("the last row is not whole"));
    }
    Ok(best(out))
}

/// The fastest kernel of every shape and format: a library picks it.
fn best(list: Vec<Measurement>) -> Vec<Measurement> {
    let mut out: Vec<Measurement> = Vec::new();
    for one in list {
        match out.iter_mut().find(|o| o.what == one.what) {
            Some(known) if known.value <= one.value => {}
            Some(known) => *known = one,
            None => out.push(one),
        }
    }
    out
}

fn cutlass_row(line: &Line<'_>, cells: &[&str], columns: &HashMap<&str, usize>) -> Result<Option<Measurement>, Fault> {
    let cell = |name: &str| columns.get(name).map_or("", |&i| cells[i]);
    let value = |name: &str| positive(cell(name)).ok_or_else(|| line.fault(format!("`{}` is no {name}", cell(name))));
    if cell("OperationKind") != "gemm" || !matches!(cell("Status"), "success" | "Success") {
        return Ok(None);
    }
    // A disposition of `incorrect` still carries a time; only what was verified, or not looked at, counts.
    let (runtime, flops, rate) = (value("Runtime")?, value("Flops")?, value("GFLOPs")?);
    if (flops / (1e-3 * runtime) / (1e9 * rate) - 1.0).abs() > 0.01 {
        return Err(line.fault("FLOPs, run time and rate of this row do not agree"));
    }
    if !matches!(cell("Disposition"), "passed" | "not_verified") {
        return Ok(None);
    }
    let Some(dtype) = cutlass_dtype(cell("A"), cell("B")) else { return Ok(None) };
    if number(cell("batch_count")).is_some_and(|b| b > 1.0) {
        return Ok(None);
    }
    Ok(Some(product((value("m")?, value("n")?, value("k")?), dtype, "cutlass", 1e-3 * runtime, "CUTLASS profiler")))
}

pub(super) fn is_mamf(log: &Log<'_>) -> bool {
    log.has("mamf-finder.py") || (log.has("TFLOPS @ ") && log.lines().any(|l| mamf_shape(l.text).is_some()))
}

/// The shape behind `@` of a progress line.
fn mamf_shape(text: &str) -> Option<(f64, f64, f64)> {
    let shape = text.split('@').nth(1)?.split(['|', ' ']).find(|w| !w.is_empty())?;
    let sides: Vec<f64> = shape.split('x').filter_map(positive).collect();
    if let [m, n, k] = sides[..] { Some((m, n, k)) } else { None }
}

pub(super) fn mamf(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let dtype = match after(log.text, "torch.").unwrap_or("bfloat16") {
        t if t.starts_with("float16") => "fp16",
        t if t.starts_with("float8") => "fp8",
        t if t.starts_with("float32") => "fp32",
        _ => "bf16",
    };
    let device = ["_CudaDeviceProperties(name='", "Device name:", "** Device:"].iter().find_map(|w| after(log.text, w));
    let device = device.map(|d| d.split('\'').next().unwrap_or("").trim().to_owned()).unwrap_or_default();
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    let mut closed = false;
    for line in log.lines() {
        let lower = line.text.to_lowercase();
        closed |= lower.contains("mean") && lower.contains("tflops @ ") && !line.text.contains('|');
        let Some((index, rest)) = line.text.split_once('|') else { continue };
        if index.trim().is_empty() || !index.trim().bytes().all(|b| b.is_ascii_digit()) || !rest.contains('@') {
            continue;
        }
        let rate = |w: &str| positive(w.split('(').next().unwrap_or(""));
        let values: Vec<f64> = rest.split('@').next().unwrap_or("").split_whitespace().filter_map(rate).collect();
        match (&values[..], mamf_shape(rest)) {
            (&[_, median, _], Some((m, n, k))) => {
                let mut one = product((m, n, k), dtype, "torch", 2.0 * m * n * k / (1e12 * median), "mamf-finder");
                one.device.clone_from(&device);
                out.push(one);
            }
            _ => faults.push(line.fault("a progress line has mean, median, max and a shape MxNxK")),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if out.is_empty() || !closed {
        return Err(log.truncated("there is no final block with the best shape"));
    }
    Ok(out)
}

pub(super) fn is_cublaslt(log: &Log<'_>) -> bool {
    log.has("==PROF==") && log.has("cublaslt")
}

pub(super) fn cublaslt(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let Some(kernel) = log.lines().map(|l| l.text).find(|t| t.starts_with('"') && t.contains("gemm_") && t.matches("\",\"").count() > 4)
    else {
        return Err(log.truncated("the table with the kernel's name is missing"));
    };
    let dtype = if kernel.contains("f8_f8") {
        "fp8"
    } else if kernel.contains("f16") {
        "fp16"
    } else {
        "bf16"
    };
    let mut out = Vec::new();
    for line in log.lines() {
        let words = line.words();
        let values: Vec<f64> = words.iter().filter_map(|w| number(w)).collect();
        if values.len() != words.len() || words.len() < 4 {
            continue;
        }
        let [m, n, k, _, us, tflops] = values[..] else { return Err(vec![line.fault("a row has m, n, k, batch, time and rate")]) };
        if (2.0 * m * n * k / (1e6 * us) / tflops - 1.0).abs() > 0.01 {
            return Err(vec![line.fault("shape, time and rate of this row do not agree")]);
        }
        let mut one = product((m, n, k), dtype, "cublaslt", 1e-6 * us, "cublaslt_gemm under Nsight Compute");
        // The profiler replays kernels at locked clocks.
        one.in_situ = true;
        out.push(one);
    }
    if out.is_empty() || !log.has("Disconnected") { Err(log.truncated("there is no row, or the profiler did not end")) } else { Ok(out) }
}

pub(super) fn is_gpu_burn(log: &Log<'_>) -> bool {
    log.has("proc'd:")
}

pub(super) fn gpu_burn(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let devices: Vec<&str> =
        log.lines().filter(|l| l.text.starts_with("GPU ")).filter_map(|l| l.text.split_once(": ").map(|d| d.1)).collect();
    let verdicts: Vec<Line<'_>> = log.lines().filter(|l| l.text.starts_with("\tGPU ")).collect();
    if devices.is_empty() || verdicts.len() != devices.len() {
        return Err(log.truncated("not every GPU has a verdict"));
    }
    // The last line of progress holds the rate that is sustained when the part is warm.
    let Some(last) = log.lines().filter(|l| l.text.contains("proc'd:") && l.text.contains("temps:")).last() else {
        return Err(log.truncated("there is no line of progress"));
    };
    let body = last.text.split("proc'd:").last().unwrap_or("").split("errors:").next().unwrap_or("");
    let rates: Vec<f64> = body.split('(').skip(1).filter_map(|t| number(t.split_whitespace().next()?)).collect();
    if rates.len() != devices.len() {
        return Err(vec![last.fault(format!("{} rates for {} GPUs", rates.len(), devices.len()))]);
    }
    let mut out = Vec::new();
    for (i, ((device, rate), verdict)) in devices.iter().zip(&rates).zip(&verdicts).enumerate() {
        if !verdict.text.ends_with(": OK") {
            return Err(vec![verdict.fault("this GPU failed")]);
        }
        let rate = if *rate > 0.0 { *rate } else { return Err(vec![last.fault(format!("GPU {i} did nothing"))]) };
        let mut one = Measurement::new(What::Metric { name: "gpu-burn GFLOP/s".into() }, rate, Unit::Other, "gpu-burn");
        one.device = (*device).to_owned();
        one.host = format!("gpu{i}");
        out.push(one);
    }
    Ok(out)
}
