//! fio: every job and direction that moved bytes.

use super::scan::{Fault, Log, json_number, json_text, size};
use crate::calibrate::record::{Measurement, Unit, What};
use serde_json::Value as Json;

pub(super) fn is_fio(log: &Log<'_>) -> bool {
    log.has("\"fio version\"")
}

pub(super) fn fio(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let json = log.json()?;
    let tool = json_text(&json["fio version"]);
    let mut out = Vec::new();
    for (i, job) in json["jobs"].as_array().into_iter().flatten().enumerate() {
        let name = json_text(&job["jobname"]);
        if json_number(&job["error"]).is_some_and(|e| e != 0.0) {
            return Err(log.fault(format!("job {i} ({name}) ended with error {}", job["error"]), "run it again"));
        }
        let option = |key: &str| [&job["job options"], &json["global options"]].into_iter().find_map(|o| o[key].as_str());
        let rw = option("rw").or_else(|| option("readwrite")).unwrap_or("read");
        let block = option("bs").or_else(|| option("blocksize")).unwrap_or("4k");
        let Some(bytes) = size(block.split(',').next().unwrap_or("")) else {
            return Err(log.fault(format!("job {i} ({name}): `{block}` is no request size"), "give one `bs`"));
        };
        let count = |key: &str| option(key).and_then(|t| t.parse::<f64>().ok()).filter(|v| *v >= 1.0).unwrap_or(1.0);
        let grouped = option("group_reporting").is_some();
        let depth = count("iodepth") * if grouped { count("numjobs") } else { 1.0 };
        let pattern = match (rw.contains("rw"), rw.starts_with("rand")) {
            (true, _) => "mixed",
            (_, true) => "random",
            _ => "sequential",
        };
        for direction in ["read", "write"] {
            let side = &job[direction];
            let number = |key: &str| json_number(&side[key]).unwrap_or(0.0);
            if number("total_ios") <= 0.0 && number("io_bytes") <= 0.0 {
                continue;
            }
            let iops = number("iops");
            if iops <= 0.0 || (number("bw_bytes") > 0.0 && (iops * bytes / number("bw_bytes") - 1.0).abs() > 0.05) {
                return Err(
                    log.fault(format!("job {i} ({name}): requests, size and bandwidth of {direction} do not agree"), "give one `bs`")
                );
            }
            let what = What::Storage {
                direction: direction.into(),
                pattern: pattern.into(),
                bytes,
                depth,
                engine: option("ioengine").unwrap_or("psync").into(),
                latency_s: 1e-9 * mean(side),
            };
            let mut one = Measurement::new(what, iops, Unit::OperationsPerSecond, &tool);
            one.device = option("filename").or_else(|| option("directory")).unwrap_or("").into();
            one.time = json_text(&json["time"]);
            one.host = json_text(&job["hostname"]);
            out.push(one);
        }
    }
    if out.is_empty() { Err(log.fault("no job moved a byte", "run fio with --output-format=json to its end")) } else { Ok(out) }
}

fn mean(side: &Json) -> f64 {
    json_number(&side["clat_ns"]["mean"]).or_else(|| json_number(&side["lat_ns"]["mean"])).unwrap_or(0.0).max(0.0)
}
