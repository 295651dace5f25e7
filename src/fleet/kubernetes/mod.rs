//! What a Kubernetes cluster says of itself, read from JSON or YAML: nodes, jobs (Job, PyTorchJob, MPIJob, JAXJob), queues of Kueue.

mod objects;
mod yaml;

pub use objects::{KubeJob, KubeNode, KubeQueue, Manifests, Requirement, Taint, Toleration};
pub use yaml::documents;

use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Resources that count as accelerators.
const ACCELERATORS: [&str; 5] = ["nvidia.com/gpu", "amd.com/gpu", "google.com/tpu", "habana.ai/gaudi", "aws.amazon.com/neuron"];

/// Reads JSON or YAML of `kubectl get … -o json|yaml`, or manifests, into what was read before.
///
/// # Errors
/// The line (0 where it is not known) and what is wrong.
pub fn read_manifests(text: &str, out: &mut Manifests) -> Result<(), (usize, String)> {
    let documents = if text.trim_start().starts_with('{') {
        vec![serde_json::from_str(text).map_err(|e| (e.line(), format!("this is no JSON: {e}")))?]
    } else {
        yaml::documents(text)?
    };
    documents.iter().try_for_each(|d| object(d, out)).map_err(|why| (0, why))
}

fn object(json: &Json, out: &mut Manifests) -> Result<(), String> {
    let kind = json["kind"].as_str().ok_or("an object without `kind`")?;
    if let Some(items) = json["items"].as_array() {
        return items.iter().try_for_each(|i| object(i, out));
    }
    let name = json.pointer("/metadata/name").and_then(Json::as_str).unwrap_or("unnamed");
    let told = |why: String| format!("{kind} {name}: {why}");
    match kind {
        "Node" => out.nodes.push(node(name, json).map_err(told)?),
        "Job" | "PyTorchJob" | "MPIJob" | "JAXJob" => out.jobs.push(job(kind, name, json).map_err(told)?),
        "ClusterQueue" => out.queues.push(queue(name, json).map_err(told)?),
        "LocalQueue" => {
            let of = json.pointer("/spec/clusterQueue").and_then(Json::as_str).ok_or_else(|| told("no spec.clusterQueue".into()))?;
            match out.queues.iter_mut().find(|q| q.name == of) {
                Some(queue) => queue.local.push(name.to_owned()),
                None => return Err(told(format!("the ClusterQueue `{of}` has to come before it"))),
            }
        }
        "PriorityClass" | "WorkloadPriorityClass" => {
            let value = json["value"].as_i64().ok_or_else(|| told("no value".into()))?;
            out.priorities.insert(name.to_owned(), value.clamp(0, 1_000_000) as i32);
        }
        _ => {}
    }
    Ok(())
}

/// A quantity of Kubernetes: `8`, `500m`, `64Gi`, `1e3`.
fn quantity(value: &Json) -> Result<f64, String> {
    if let Some(number) = value.as_f64() {
        return if number >= 0.0 { Ok(number) } else { Err(format!("`{number}` is negative")) };
    }
    let text = value.as_str().ok_or_else(|| format!("`{value}` is no quantity"))?.trim();
    const UNITS: [(&str, f64); 13] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("m", 1e-3),
        ("u", 1e-6),
    ];
    let (digits, factor) = UNITS.iter().find_map(|(u, f)| Some((text.strip_suffix(u)?, *f))).unwrap_or((text, 1.0));
    let number: f64 = digits.parse().map_err(|_| format!("`{text}` is no quantity"))?;
    if (0.0..1e30).contains(&number) { Ok(number * factor) } else { Err(format!("`{text}` is out of range")) }
}

fn accelerators(resources: &Json) -> Result<u32, String> {
    for name in ACCELERATORS {
        if let Some(value) = resources.get(name) {
            let count = quantity(value)?;
            return if count.fract() == 0.0 && count <= 1e6 { Ok(count as u32) } else { Err(format!("`{name}: {value}` is no count")) };
        }
    }
    Ok(0)
}

fn texts(json: &Json) -> BTreeMap<String, String> {
    let text = |v: &Json| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    json.as_object().map(|m| m.iter().map(|(k, v)| (k.clone(), text(v))).collect()).unwrap_or_default()
}

fn list<'a>(json: &'a Json, path: &str) -> impl Iterator<Item = &'a Json> {
    json.pointer(path).and_then(Json::as_array).into_iter().flatten()
}

fn text(json: &Json, key: &str) -> String {
    json[key].as_str().unwrap_or("").to_owned()
}

fn node(name: &str, json: &Json) -> Result<KubeNode, String> {
    let has = json.pointer("/status/allocatable").or_else(|| json.pointer("/status/capacity")).ok_or("no status.allocatable")?;
    let taint = |t: &Json| Taint { key: text(t, "key"), value: text(t, "value"), effect: text(t, "effect") };
    let ready = list(json, "/status/conditions").find(|c| c["type"] == "Ready").is_none_or(|c| c["status"] == "True");
    // What only says that the node takes nothing is no taint that a pod could tolerate.
    let own = |t: &Taint| t.effect != "PreferNoSchedule" && !t.key.starts_with("node.kubernetes.io/");
    Ok(KubeNode {
        name: name.to_owned(),
        labels: texts(&json["metadata"]["labels"]),
        accelerators: accelerators(has)?,
        cpus: has.get("cpu").map_or(Ok(0.0), quantity)?,
        memory: has.get("memory").map_or(Ok(0.0), quantity)?,
        taints: list(json, "/spec/taints").map(taint).filter(own).collect(),
        takes: ready && json.pointer("/spec/unschedulable") != Some(&Json::Bool(true)),
    })
}

fn job(kind: &str, name: &str, json: &Json) -> Result<KubeJob, String> {
    let spec = &json["spec"];
    let count = |v: &Json, key: &str| match v.get(key) {
        None | Some(Json::Null) => Ok(1u32),
        Some(n) => n.as_u64().filter(|n| *n <= 1_000_000).map(|n| n as u32).ok_or(format!("`{key}: {n}` is no count")),
    };
    // Pods that hold accelerators; a launcher or a master without any is left out.
    let mut sets: Vec<(u32, &Json)> = Vec::new();
    match kind {
        "Job" => sets.push((count(spec, "parallelism")?, &spec["template"])),
        _ => {
            let replicas = match kind {
                "MPIJob" => &spec["mpiReplicaSpecs"],
                "JAXJob" => &spec["jaxReplicaSpecs"],
                _ => &spec["pytorchReplicaSpecs"],
            };
            for set in replicas.as_object().ok_or("no replica specs")?.values() {
                sets.push((count(set, "replicas")?, &set["template"]));
            }
        }
    }
    let mut pods: Vec<(u32, u32, f64, f64)> = Vec::new();
    for (replicas, template) in &sets {
        let (mut a, mut c, mut m) = (0, 0.0, 0.0);
        for container in list(template, "/spec/containers") {
            let resources = &container["resources"];
            let asked = if resources["requests"].is_object() { &resources["requests"] } else { &resources["limits"] };
            let limit = accelerators(&resources["limits"])?;
            a += accelerators(asked)?.max(limit);
            c += asked.get("cpu").map_or(Ok(0.0), quantity)?;
            m += asked.get("memory").map_or(Ok(0.0), quantity)?;
        }
        pods.push((*replicas, a, c, m));
    }
    let most = pods.iter().map(|p| p.1).max().unwrap_or(0);
    let main: Vec<_> = pods.iter().filter(|p| p.1 == most).collect();
    if pods.iter().any(|p| p.1 != most && p.1 != 0) {
        return Err("its pods ask for different numbers of accelerators".to_owned());
    }
    let template = sets.iter().zip(&pods).find(|(_, p)| p.1 == most).map(|((_, t), _)| *t).ok_or("no pods")?;
    let (labels, notes) = (texts(&json["metadata"]["labels"]), texts(&json["metadata"]["annotations"]));
    let pod_notes = texts(&template["metadata"]["annotations"]);
    let note = |key: &str| notes.get(key).or_else(|| pod_notes.get(key)).cloned();
    let namespace = json.pointer("/metadata/namespace").and_then(Json::as_str).unwrap_or("default");
    Ok(KubeJob {
        name: name.to_owned(),
        queue: labels.get("kueue.x-k8s.io/queue-name").cloned().unwrap_or_else(|| namespace.to_owned()),
        pods: main.iter().map(|p| p.0).sum(),
        accelerators: most,
        cpus: main.iter().map(|p| p.2).fold(0.0, f64::max),
        memory: main.iter().map(|p| p.3).fold(0.0, f64::max),
        requires: requirements(template)?,
        tolerates: list(template, "/spec/tolerations").map(toleration).collect(),
        within: note("kueue.x-k8s.io/podset-required-topology"),
        duration: note("orrery/duration"),
        priority: labels
            .get("kueue.x-k8s.io/priority-class")
            .cloned()
            .or_else(|| template.pointer("/spec/priorityClassName").and_then(Json::as_str).map(str::to_owned)),
    })
}

fn toleration(t: &Json) -> Toleration {
    // A GPU node's own taint is tolerated by what asks for GPUs (extended resource toleration).
    let value = if t["operator"] == "Exists" { None } else { Some(text(t, "value")) };
    Toleration { key: text(t, "key"), value, effect: text(t, "effect") }
}

/// Node selector and required node affinity; only one term of alternatives is read.
fn requirements(template: &Json) -> Result<Vec<Requirement>, String> {
    let selector = texts(&template["spec"]["nodeSelector"]);
    let mut out: Vec<Requirement> =
        selector.into_iter().map(|(key, value)| Requirement { key, operator: "In".into(), values: vec![value] }).collect();
    const TERMS: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let terms: Vec<&Json> = list(template, TERMS).collect();
    if terms.len() > 1 {
        return Err("alternatives of node affinity (several nodeSelectorTerms) are not read".to_owned());
    }
    for e in terms.iter().flat_map(|t| list(t, "/matchExpressions")) {
        let operator = text(e, "operator");
        if !["In", "NotIn", "Exists", "DoesNotExist"].contains(&operator.as_str()) {
            return Err(format!("the operator `{operator}` of node affinity is not read"));
        }
        let values = list(e, "/values").filter_map(Json::as_str).map(str::to_owned).collect();
        out.push(Requirement { key: text(e, "key"), operator, values });
    }
    Ok(out)
}

fn queue(name: &str, json: &Json) -> Result<KubeQueue, String> {
    let spec = &json["spec"];
    let (mut quota, mut borrow) = (None::<f64>, None::<f64>);
    let flavors = list(spec, "/resourceGroups").flat_map(|g| list(g, "/flavors"));
    for resource in flavors.flat_map(|f| list(f, "/resources")) {
        if !ACCELERATORS.contains(&resource["name"].as_str().unwrap_or("")) {
            continue;
        }
        *quota.get_or_insert(0.0) += quantity(&resource["nominalQuota"])?;
        if let Some(limit) = resource.get("borrowingLimit").filter(|l| !l.is_null()) {
            *borrow.get_or_insert(0.0) += quantity(limit)?;
        }
    }
    let cohort = spec["cohort"].as_str().or_else(|| spec["cohortName"].as_str()).map(str::to_owned);
    let reclaims = spec.pointer("/preemption/reclaimWithinCohort").and_then(Json::as_str).is_some_and(|p| p != "Never");
    Ok(KubeQueue { name: name.to_owned(), cohort, quota, borrow, reclaims, local: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "apiVersion: v1\nkind: List\nitems:\n- kind: Node\n  metadata:\n    name: a\n    labels:\n      nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3\n      cloud.provider.com/topology-rack: r1\n  spec:\n    taints:\n    - {key: nvidia.com/gpu, effect: NoSchedule}\n  status:\n    allocatable: {cpu: 190500m, memory: 2000Gi, nvidia.com/gpu: \"8\"}\n    conditions:\n    - {type: Ready, status: \"True\"}\n";

    #[test]
    fn nodes_jobs_and_queues() {
        let mut out = Manifests::default();
        read_manifests(NODES, &mut out).unwrap();
        let node = &out.nodes[0];
        assert_eq!((node.accelerators, node.cpus, node.memory, node.takes), (8, 190.5, 2000.0 * 1_073_741_824.0, true));
        let queues = "kind: ClusterQueue\nmetadata: {name: cq}\nspec:\n  cohort: all\n  preemption: {reclaimWithinCohort: Any}\n  resourceGroups:\n  - coveredResources: [nvidia.com/gpu]\n    flavors:\n    - name: h100\n      resources:\n      - {name: nvidia.com/gpu, nominalQuota: 16, borrowingLimit: 8}\n---\nkind: LocalQueue\nmetadata: {name: team-a, namespace: a}\nspec: {clusterQueue: cq}\n";
        read_manifests(queues, &mut out).unwrap();
        assert_eq!(
            out.queues,
            [KubeQueue {
                name: "cq".into(),
                cohort: Some("all".into()),
                quota: Some(16.0),
                borrow: Some(8.0),
                reclaims: true,
                local: vec!["team-a".into()]
            }]
        );
        let job = "apiVersion: kubeflow.org/v1\nkind: PyTorchJob\nmetadata:\n  name: train\n  labels: {kueue.x-k8s.io/queue-name: team-a}\n  annotations: {orrery/duration: 2 h}\nspec:\n  pytorchReplicaSpecs:\n    Master:\n      replicas: 1\n      template: &t\n";
        assert!(read_manifests(job, &mut out).unwrap_err().1.contains("anchors"));
        let worker = "      template:\n        metadata:\n          annotations: {kueue.x-k8s.io/podset-required-topology: cloud.provider.com/topology-rack}\n        spec:\n          tolerations:\n          - {key: nvidia.com/gpu, operator: Exists}\n          containers:\n          - resources:\n              limits: {nvidia.com/gpu: 8, cpu: 32}\n";
        let job = job.replace("      template: &t\n", worker) + "    Worker:\n      replicas: 3\n" + worker;
        read_manifests(&job, &mut out).unwrap();
        let job = &out.jobs[0];
        assert_eq!((job.pods, job.accelerators, job.queue.as_str(), job.duration.as_deref()), (4, 8, "team-a", Some("2 h")));
        assert_eq!(job.within.as_deref(), Some("cloud.provider.com/topology-rack"));
        assert!(job.tolerates[0].covers(&node_taint()));
        let mpi = r#"{"kind": "MPIJob", "metadata": {"name": "m"}, "spec": {"mpiReplicaSpecs": {
            "Launcher": {"replicas": 1, "template": {"spec": {"containers": [{}]}}},
            "Worker": {"replicas": 2, "template": {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "4"}}}]}}}}}}"#;
        read_manifests(mpi, &mut out).unwrap();
        assert_eq!((out.jobs[1].pods, out.jobs[1].accelerators), (2, 4));
        for (text, said) in [
            ("kind: Node\nmetadata: {name: b}\n", "no status"),
            ("kind: LocalQueue\nmetadata: {name: l}\nspec: {clusterQueue: none}\n", "has to come before"),
            ("{\"kind\": 3}", "without `kind`"),
            ("{", "no JSON"),
            ("kind: Node\nmetadata: {name: b}\nstatus: {allocatable: {nvidia.com/gpu: -1}}\n", "negative"),
        ] {
            assert!(read_manifests(text, &mut out).unwrap_err().1.contains(said), "{text}");
        }
    }

    fn node_taint() -> Taint {
        Taint { key: "nvidia.com/gpu".into(), value: String::new(), effect: "NoSchedule".into() }
    }
}
