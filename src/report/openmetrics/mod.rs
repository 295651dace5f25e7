//! Simulated time series in OpenMetrics text, under the names of the DCGM exporter, the node exporter, kube-state-metrics and vLLM, so that dashboards of real
//! clusters show them. `promtool tsdb create-blocks-from openmetrics` takes the file.

mod job;

use crate::metrics::{FleetDetail, Outcome};
use std::fmt::Write;

/// The second of simulated time zero: 1 January 2026, 00:00 UTC.
const EPOCH: f64 = 1_767_225_600.0;

/// Samples of one accelerator at most.
const POINTS: usize = 512;

/// The time series of an outcome; none where it has no course of time.
#[must_use]
pub fn openmetrics(outcome: &Outcome) -> Option<String> {
    let mut out = String::new();
    let mut any = job::write(outcome, &mut out);
    if let Some(detail) = &outcome.detail.fleet {
        cluster(detail, &mut out);
        accelerators(detail, &mut out);
        services(detail, &mut out);
        any = true;
    }
    out.push_str("# EOF\n");
    any.then_some(out)
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

fn sample(out: &mut String, name: &str, labels: &str, value: f64, at: f64) {
    let _ = writeln!(out, "{name}{{{labels}}} {value} {:.3}", EPOCH + at);
}

/// Jobs as pods by phase, accelerators as resources, under every policy.
fn cluster(detail: &FleetDetail, out: &mut String) {
    type Value = fn(&[f64; 5]) -> f64;
    let series: [(&str, &str, &str, Value); 4] = [
        ("kube_pod_status_phase", "Jobs that wait", "namespace=\"orrery\",phase=\"Pending\"", |v| v[4]),
        ("kube_node_status_capacity", "Accelerators that are there", "resource=\"nvidia_com_gpu\",unit=\"integer\"", |v| v[3]),
        ("kube_pod_resource_request", "Accelerators in use", "resource=\"nvidia_com_gpu\",unit=\"integer\"", |v| v[0]),
        ("orrery_fragmented_accelerators", "Free accelerators on nodes in part used", "", |v| v[2]),
    ];
    for (name, help, labels, value) in series {
        head(out, name, "gauge", help);
        for (policy, points) in &detail.series {
            let comma = if labels.is_empty() { "" } else { "," };
            let labels = format!("{labels}{comma}policy=\"{}\"", label(policy));
            points.iter().for_each(|(at, v)| sample(out, name, &labels, value(v), *at));
        }
    }
}

/// Use of each accelerator of the nodes that are kept, under the first policy: the share of each interval in which a job had it.
fn accelerators(detail: &FleetDetail, out: &mut String) {
    let end = detail.stays.iter().map(|s| s.end).fold(0.0, f64::max);
    if end <= 0.0 {
        return;
    }
    let width = end / POINTS as f64;
    let name = "DCGM_FI_DEV_GPU_UTIL";
    head(out, name, "gauge", "GPU utilization (in %)");
    for (node, (size, pool)) in detail.nodes.iter().enumerate() {
        let mine: Vec<_> = detail.stays.iter().filter(|s| s.node as usize == node).collect();
        for gpu in 0..*size {
            let mut busy = vec![0.0; POINTS];
            for stay in mine.iter().filter(|s| s.mask >> gpu & 1 == 1) {
                let (from, to) = ((stay.start / width) as usize, ((stay.end / width) as usize).min(POINTS - 1));
                for (i, busy) in busy.iter_mut().enumerate().take(to + 1).skip(from) {
                    let (low, high) = (i as f64 * width, (i + 1) as f64 * width);
                    *busy += (stay.end.min(high) - stay.start.max(low)).max(0.0) / width;
                }
            }
            let labels = format!("gpu=\"{gpu}\",device=\"nvidia{gpu}\",modelName=\"{}\",Hostname=\"node-{node}\"", label(pool));
            for (i, share) in busy.iter().enumerate() {
                // Shares of an accelerator that several jobs have add up to no more than all of it.
                sample(out, name, &labels, (100.0 * share.min(1.0)).round(), (i + 1) as f64 * width);
            }
        }
    }
}

/// Replicas of services as deployments, and their requests.
fn services(detail: &FleetDetail, out: &mut String) {
    type Value = fn(&[f64; 5]) -> f64;
    let series: [(&str, &str, Value); 5] = [
        ("kube_deployment_status_replicas_updated", "Replicas of the newest version that are warm", |v| v[4]),
        ("kube_deployment_status_replicas_available", "Replicas that are warm", |v| v[1]),
        ("kube_deployment_spec_replicas", "Replicas that are wanted", |v| v[2]),
        ("orrery_service_requests_per_second", "Requests a second", |v| v[0]),
        ("orrery_service_requests_waiting", "Requests that wait", |v| v[3]),
    ];
    if detail.services.is_empty() {
        return;
    }
    for (name, help, value) in series {
        head(out, name, "gauge", help);
        for (service, points) in &detail.services {
            let labels = format!("namespace=\"orrery\",deployment=\"{}\"", label(service));
            points.iter().for_each(|(at, v)| sample(out, name, &labels, value(v), *at));
        }
    }
}
