//! Serving: a Deployment (a LeaderWorkerSet where an engine spans nodes), a Service, an autoscaler where the engines follow the load.

use super::Cannot;
use super::ground::{Ground, Kind, NAMESPACE, slug};
use super::train::{Pods, Program};
use crate::fleet::{Metric, Service};
use crate::scenario::ServingJob;
use crate::serving::{Deployment, Measure, StackRow};
use serde_json::{Value as Json, json};

/// Seconds of a window at most (limit of the autoscaler).
const LONGEST_WINDOW: f64 = 3600.0;

/// Everything that a serving scenario runs.
pub(super) fn of_scenario(ground: &Ground, job: &ServingJob, queue: &str) -> Result<Vec<Json>, Cannot> {
    let d = &job.deployment;
    if ground.kinds.len() > 1 {
        return Err(Cannot("engines over several kinds of nodes".into()));
    }
    let kind = &ground.kinds[0];
    if kind.per_node == 0 {
        return Err(Cannot("engines on processor cores".into()));
    }
    let mut out = Vec::new();
    let base = slug(&d.shape.title);
    match &d.prompts {
        None => out.extend(engines(&base, ground, kind, d, &job.stack, queue)),
        Some(prompts) => {
            out.extend(engines(&format!("{base}-prefill"), ground, kind, &prompts.engines, &prompts.stack, queue));
            out.extend(engines(&format!("{base}-decode"), ground, kind, d, &job.stack, queue));
        }
    }
    Ok(out)
}

/// Engines of one kind with their service and autoscaler.
fn engines(name: &str, ground: &Ground, kind: &Kind, d: &Deployment, stack: &StackRow, queue: &str) -> Vec<Json> {
    let accelerators = d.tensor * d.data * d.pipeline * d.context.max(1);
    let least = d.fleet.scaling.map_or(d.replicas, |s| s.least);
    let spans = accelerators > u64::from(kind.per_node);
    let pods = Pods::of(ground, kind, accelerators);
    let (program, port) = launch(d, stack, spans);
    let labels = json!({"app": name});
    let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": {"app": name, "kueue.x-k8s.io/queue-name": queue}});
    let near = if spans { ground.preferred() } else { json!({"kueue.x-k8s.io/podset-required-topology": super::ground::NODE}) };
    let mut template = pods.template("engine", "server", &program, &near, None);
    template["metadata"]["labels"] = labels.clone();
    // Of an engine over several pods only the first answers.
    let workers = template.clone();
    template["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": port}]);
    template["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 5, "failureThreshold": 3});
    let (set, api, word, mut select) = if spans {
        let set = json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": metadata,
            "spec": {"replicas": least, "leaderWorkerTemplate": {"size": pods.count, "restartPolicy": "RecreateGroupOnPodRestart", "leaderTemplate": template, "workerTemplate": workers}}});
        (set, "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", json!({"leaderworkerset.sigs.k8s.io/worker-index": "0"}))
    } else {
        let set = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"replicas": least, "selector": {"matchLabels": labels}, "template": template}});
        (set, "apps/v1", "Deployment", json!({}))
    };
    select["app"] = json!(name);
    let mut out = vec![set, service(name, &select, port)];
    if let Some(s) = d.fleet.scaling {
        let metric = match (s.measure, stack.library.as_str()) {
            (Measure::Queue, "sglang") => "sglang:num_queue_reqs",
            (Measure::Cache, "sglang") => "sglang:token_usage",
            (Measure::Queue, _) => "vllm:num_requests_waiting",
            (Measure::Cache, _) => "vllm:kv_cache_usage_perc",
        };
        let window = (s.interval * s.patience as f64).min(LONGEST_WINDOW);
        let one = |seconds: f64| json!([{"type": "Pods", "value": 1, "periodSeconds": seconds.clamp(1.0, 1800.0).round() as u64}]);
        out.push(
            json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"scaleTargetRef": {"apiVersion": api, "kind": word, "name": name}, "minReplicas": s.least, "maxReplicas": d.replicas,
                "metrics": [pods_metric(metric, s.above)],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "policies": one(s.interval)},
                    "scaleDown": {"stabilizationWindowSeconds": window.round() as u64, "policies": one(s.interval)}}}}),
        );
    }
    out
}

fn service(name: &str, select: &Json, port: u64) -> Json {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": select, "ports": [{"name": "http", "port": 80, "targetPort": port}]}})
}

/// A metric of pods, held at a mean. Quantities have thousandths.
fn pods_metric(name: &str, value: f64) -> Json {
    json!({"type": "Pods", "pods": {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": format!("{}m", (value * 1000.0).round().max(1.0))}}})
}

/// How an engine is started, and its port.
fn launch(d: &Deployment, stack: &StackRow, spans: bool) -> (Program, u64) {
    let id = stack.id.as_str();
    let mut args: Vec<String> = Vec::new();
    let mut set = |key: &str, value: String| args.extend([format!("--{key}"), value]);
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let (command, port) = if id.starts_with("sglang") {
        set("tp-size", (d.tensor * d.data).to_string());
        if d.data > 1 {
            set("dp-size", d.data.to_string());
        }
        if d.expert > 1 {
            set("ep-size", d.expert.to_string());
        }
        if d.pipeline > 1 {
            set("pp-size", d.pipeline.to_string());
        }
        set("max-running-requests", stack.max_sequences.to_string());
        set("mem-fraction-static", stack.memory_share.to_string());
        if spans {
            set("nnodes", "$(LWS_GROUP_SIZE)".into());
            set("node-rank", "$(LWS_WORKER_INDEX)".into());
            set("dist-init-addr", "$(LWS_LEADER_ADDRESS):5000".into());
        }
        if d.data > 1 {
            args.push("--enable-dp-attention".into());
        }
        (words(&["python3", "-m", "sglang.launch_server", "--host", "0.0.0.0", "--port", "30000", "--model-path", "$(MODEL)"]), 30000)
    } else if id.starts_with("trtllm") {
        set("tp_size", d.tensor.to_string());
        set("pp_size", d.pipeline.to_string());
        if d.expert > 1 {
            set("ep_size", d.expert.to_string());
        }
        set("max_batch_size", stack.max_sequences.to_string());
        set("max_num_tokens", stack.max_tokens.to_string());
        set("kv_cache_free_gpu_memory_fraction", stack.memory_share.to_string());
        (words(&["trtllm-serve", "$(MODEL)", "--host", "0.0.0.0", "--port", "8000"]), 8000)
    } else {
        set("tensor-parallel-size", d.tensor.to_string());
        set("pipeline-parallel-size", d.pipeline.to_string());
        if d.data > 1 {
            set("data-parallel-size", d.data.to_string());
        }
        set("max-num-batched-tokens", stack.max_tokens.to_string());
        set("max-num-seqs", stack.max_sequences.to_string());
        set("gpu-memory-utilization", stack.memory_share.to_string());
        set("block-size", stack.block_tokens.to_string());
        if spans {
            set("nnodes", "$(LWS_GROUP_SIZE)".into());
            set("node-rank", "$(LWS_WORKER_INDEX)".into());
            set("master-addr", "$(LWS_LEADER_ADDRESS)".into());
        }
        if d.expert > 1 {
            args.push("--enable-expert-parallel".into());
        }
        args.push(if d.prefix_cache { "--enable-prefix-caching" } else { "--no-enable-prefix-caching" }.into());
        (words(&["vllm", "serve", "$(MODEL)", "--port", "8000"]), 8000)
    };
    (Program { command, args, env: vec![("MODEL".into(), d.shape.title.clone())] }, port)
}

/// A service of a fleet: replicas that follow its load.
pub(super) fn of_fleet(s: &Service, pods: Pods<'_>, near: &Json, queue: &str) -> Vec<Json> {
    let name = slug(&s.name);
    let labels = json!({"app": name});
    let mut template = pods.template("engine", "server", &Program::default(), near, None);
    template["metadata"]["labels"] = labels.clone();
    template["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 8000}]);
    let mut spec = json!({"replicas": s.scaling.least, "selector": {"matchLabels": labels}, "template": template});
    if let Some(r) = s.rollout {
        spec["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": r.surge, "maxUnavailable": r.unavailable}});
    }
    let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": {"app": name, "kueue.x-k8s.io/queue-name": queue}});
    let (metric, value) = match s.scaling.metric {
        Metric::Utilization => ("requests_per_second", s.scaling.target * s.serves),
        Metric::Queue => ("requests_waiting", s.scaling.target),
        Metric::Concurrency => ("requests_in_flight", s.scaling.target),
    };
    let [up, down] = s.scaling.windows.map(|w| json!({"stabilizationWindowSeconds": w.min(LONGEST_WINDOW).round() as u64}));
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": s.scaling.least, "maxReplicas": s.scaling.most, "metrics": [pods_metric(metric, value)],
            "behavior": {"scaleUp": up, "scaleDown": down}}});
    vec![json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}), service(&name, &labels, 8000), scaler]
}
