//! PyTorch profiler traces: kernels, copies and collectives as they ran inside a job. They tell how a job went and are never fitted.

use super::nccl::operation;
use super::scan::{Fault, Log, json_number, json_text};
use crate::calibrate::record::{Measurement, Unit, What};

pub(super) fn is_trace(log: &Log<'_>) -> bool {
    log.is_json() && log.has("\"traceEvents\"")
}

fn element(dtype: &str) -> Option<f64> {
    let lower = dtype.to_lowercase();
    Some(match lower.as_str() {
        "float" | "float32" | "int" | "int32" => 4.0,
        "bfloat16" | "half" | "float16" => 2.0,
        "double" | "long" | "int64" => 8.0,
        "char" | "byte" | "int8" | "uint8" | "bool" => 1.0,
        t if t.starts_with("float8") => 1.0,
        _ => return None,
    })
}

pub(super) fn trace(log: &Log<'_>) -> Result<Vec<Measurement>, Vec<Fault>> {
    let json = log.json()?;
    let device = json_text(&json["deviceProperties"][0]["name"]);
    let rank = json_number(&json["distributedInfo"]["rank"]).unwrap_or(0.0);
    let nodes = json_number(&json["distributedInfo"]["world_size"]).map_or(1.0, |w| (w / 8.0).ceil());
    let mut out = Vec::new();
    for (i, event) in json["traceEvents"].as_array().into_iter().flatten().enumerate() {
        let category = event["cat"].as_str().unwrap_or("");
        if json_text(&event["ph"]) != "X" || !matches!(category, "kernel" | "gpu_memcpy") {
            continue;
        }
        let Some(us) = json_number(&event["dur"]).filter(|d| *d >= 0.0) else {
            return Err(log.fault(format!("event {i} ({}) has no duration", event["name"]), "export the trace again"));
        };
        if us <= 0.0 {
            continue;
        }
        let args = &event["args"];
        let Some(what) = (if category == "kernel" { kernel(event, nodes) } else { copy(event) }) else { continue };
        let mut one = Measurement::new(what, 1e-6 * us, Unit::Seconds, "PyTorch profiler");
        one.in_situ = true;
        one.device.clone_from(&device);
        one.host = format!("rank{rank}");
        one.peer = args["stream"].as_u64().map_or_else(String::new, |s| format!("stream{s}"));
        out.push(one);
    }
    if out.is_empty() { Err(log.fault("no kernel and no copy is in this trace", "profile with CUDA or ROCm activities")) } else { Ok(out) }
}

fn kernel(event: &serde_json::Value, nodes: f64) -> Option<What> {
    let args = &event["args"];
    let name = json_text(&event["name"]);
    let Some(op) = args["Collective name"].as_str().and_then(operation) else { return Some(What::Metric { name }) };
    let group = json_number(&args["Group size"])?;
    let element = element(&json_text(&args["dtype"]))?;
    let elements = json_number(&args["In msg nelems"])?.max(json_number(&args["Out msg nelems"]).unwrap_or(0.0));
    (elements > 0.0 && group >= 2.0).then(|| What::Collective {
        op: op.into(),
        bytes: elements * element,
        ranks: group as u64,
        nodes: nodes.min((group / 8.0).ceil()).max(1.0) as u64,
        library: "nccl".into(),
        launch: "graph".into(),
        variant: "in situ".into(),
    })
}

fn copy(event: &serde_json::Value) -> Option<What> {
    let bytes = json_number(&event["args"]["bytes"]).filter(|b| *b > 0.0)?;
    let name = json_text(&event["name"]);
    let path = match name.as_str() {
        n if n.contains("HtoD") => "host-to-device",
        n if n.contains("DtoH") => "device-to-host",
        n if n.contains("PtoP") => "peer",
        n if n.contains("DtoD") => "device",
        _ => return None,
    };
    Some(What::Link { path: path.into(), bytes, streamed: false })
}
