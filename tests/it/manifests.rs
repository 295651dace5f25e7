//! Manifests of Kubernetes, ours and those that we read, against the published schemas (`tests/schemas`); what is written is read back.

use super::{orrery, root};
use orrery::diag::{Diagnostics, Style, render};
use orrery::fleet::kubernetes::{Manifests, documents, read_manifests};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Kinds whose schemas no package registry has; they are few lines.
const UNCHECKED: [&str; 2] = ["Topology", "Kustomization"];

struct Schemas(Value);

impl Schemas {
    fn read() -> Self {
        let read = |name: &str| -> Value {
            serde_json::from_str(&std::fs::read_to_string(root().join("tests/schemas").join(name)).unwrap()).unwrap()
        };
        let (mut all, pipelines) = (read("manifests.json"), read("pipelines.json"));
        for part in ["kinds", "definitions"] {
            all[part].as_object_mut().unwrap().extend(pipelines[part].as_object().unwrap().clone());
        }
        Self(all)
    }

    /// Faults of an object, with their paths.
    fn faults(&self, object: &Value) -> Vec<String> {
        let name = format!("{}/{}", object["apiVersion"].as_str().unwrap_or(""), object["kind"].as_str().unwrap_or(""));
        let mut out = Vec::new();
        match self.0["kinds"][&name].as_str() {
            Some(schema) => self.check(object, &json!({"$ref": schema}), &name, &mut out),
            None => out.push(format!("{name} has no schema")),
        }
        out
    }

    /// The part of JSON Schema that these definitions use.
    fn check(&self, value: &Value, schema: &Value, path: &str, out: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            return self.check(value, &self.0["definitions"][name], path, out);
        }
        for word in ["anyOf", "oneOf"] {
            let Some(ways) = schema[word].as_array() else { continue };
            let tried: Vec<Vec<String>> = ways
                .iter()
                .map(|way| {
                    let mut found = Vec::new();
                    self.check(value, way, path, &mut found);
                    found
                })
                .collect();
            if tried.iter().all(|found| !found.is_empty()) {
                out.extend(tried.into_iter().flatten());
            }
        }
        let is = |word: &str| match word {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("no such type: {other}"),
        };
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|t| is(t)) {
            out.push(format!("{path}: {value} is no {}", types.join(" or ")));
        }
        if schema["enum"].as_array().is_some_and(|list| !list.contains(value)) {
            out.push(format!("{path}: {value} is none of {}", schema["enum"]));
        }
        if let (Some(list), Some(item)) = (value.as_array(), schema.get("items")) {
            list.iter().enumerate().for_each(|(i, v)| self.check(v, item, &format!("{path}/{i}"), out));
        }
        let Some(map) = value.as_object() else { return };
        for needed in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(needed) {
                out.push(format!("{path}: `{needed}` is missing"));
            }
        }
        for (key, inner) in map {
            let path = format!("{path}/{key}");
            match (schema["properties"].get(key), schema.get("additionalProperties")) {
                (Some(own), _) => self.check(inner, own, &path, out),
                (None, Some(Value::Bool(false))) => out.push(format!("{path}: no such key")),
                (None, Some(other)) if other.is_object() => self.check(inner, other, &path, out),
                _ => {}
            }
        }
    }
}

/// Manifests of a scenario with some keys changed.
fn written(file: &str, set: &[&str]) -> Vec<(String, String)> {
    let mut diags = Diagnostics::new();
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    let scenario = orrery::scenario::load(&root().join(file), &set, None, &mut diags);
    let scenario = scenario.unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain)));
    orrery::report::manifests(&scenario, Some(2.5)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// All objects of some files, those that workflows hold included; how many there are of each kind.
fn check_all(files: &[(String, String)]) -> BTreeMap<String, usize> {
    let schemas = Schemas::read();
    let mut seen = BTreeMap::new();
    let mut open: Vec<(Value, bool)> = Vec::new();
    for (name, text) in files {
        open.extend(documents(text).unwrap_or_else(|e| panic!("{name}: {e:?}\n{text}")).into_iter().map(|d| (d, false)));
    }
    while let Some((object, patch)) = open.pop() {
        // A compiled pipeline of Kubeflow says no kind.
        let kind = object["kind"].as_str().unwrap_or("PipelineSpec").to_owned();
        for executor in object.pointer("/deploymentSpec/executors").and_then(Value::as_object).into_iter().flat_map(|e| e.values()) {
            let container = &executor["container"];
            let patch = container["command"][1] == "patch";
            open.extend(documents(container["args"][0].as_str().unwrap()).unwrap().into_iter().map(|d| (d, patch)));
        }
        for template in object.pointer("/spec/templates").and_then(Value::as_array).into_iter().flatten() {
            if let Some(text) = template.pointer("/resource/manifest").and_then(Value::as_str) {
                let patch = template["resource"]["action"] == "patch";
                open.extend(documents(text).unwrap().into_iter().map(|d| (d, patch)));
            }
        }
        if !UNCHECKED.contains(&kind.as_str()) {
            let mut faults = schemas.faults(&object);
            // A patch is a part of an object.
            faults.retain(|f| !(patch && f.contains("is missing")));
            assert!(faults.is_empty(), "{faults:#?}\n{object:#}");
        }
        *seen.entry(kind).or_default() += 1;
    }
    seen
}

#[test]
fn what_is_written_fits_the_published_schemas() {
    let count = |file: &str, set: &[&str], wanted: &[(&str, usize)]| {
        let seen = check_all(&written(file, set));
        for (kind, n) in wanted {
            assert_eq!(seen.get(*kind), Some(n), "{file}: {seen:?}");
        }
    };
    count(
        "scenarios/training/gpt3-175b-a100-1024.toml",
        &[],
        &[("PyTorchJob", 1), ("ClusterQueue", 1), ("LocalQueue", 1), ("Topology", 1)],
    );
    count(
        "scenarios/fleet/pipeline-registry.toml",
        &[],
        &[("Workflow", 1), ("PipelineSpec", 1), ("Job", 8), ("PyTorchJob", 2), ("Deployment", 3), ("RoleBinding", 1)],
    );
    let two = [("Deployment", 2), ("HorizontalPodAutoscaler", 2), ("Service", 2), ("Job", 2)];
    count("scenarios/fleet/services-and-training.toml", &[], &two);
    count("scenarios/fleet/policies-small.toml", &[], &[("Job", 6), ("ClusterQueue", 1)]);
    count("scenarios/fleet/policies-small.toml", &["fleet.team.0.quota=40"], &[("ClusterQueue", 2), ("LocalQueue", 2)]);
    count("scenarios/serving/deepseek-v3-disaggregated-h800.toml", &[], &[("LeaderWorkerSet", 2), ("Service", 2)]);
    count("scenarios/serving/autoscaling-cold-start.toml", &[], &[("Deployment", 1), ("HorizontalPodAutoscaler", 1)]);
}

#[test]
fn every_scenario_is_written_or_refused_with_a_reason() {
    let mut kinds = BTreeMap::new();
    for folder in ["scenarios/training", "scenarios/fleet", "scenarios/faults", "scenarios/serving"] {
        for file in super::files(folder, ".toml") {
            let mut diags = Diagnostics::new();
            let Some(scenario) = orrery::scenario::load(&file, &[], None, &mut diags) else { continue };
            match orrery::report::manifests(&scenario, None) {
                Ok(files) => check_all(&files).into_iter().for_each(|(kind, n)| *kinds.entry(kind).or_insert(0) += n),
                Err(why) => assert!(why.to_string().starts_with("no manifests are written for "), "{why}"),
            }
        }
    }
    for kind in ["PyTorchJob", "MPIJob", "JAXJob", "Deployment", "LeaderWorkerSet"] {
        assert!(kinds.contains_key(kind), "nothing ships that is written as {kind}: {kinds:?}");
    }
}

#[test]
fn what_is_read_in_tests_fits_them_too() {
    let text = std::fs::read_to_string(root().join("scenarios/fleet/kubernetes-small.yaml")).unwrap();
    let mut files = Vec::new();
    for document in documents(&text).unwrap() {
        let items = document["items"].as_array().cloned().unwrap_or_else(|| vec![document]);
        files.extend(items.into_iter().map(|i| ("item".to_owned(), i.to_string())));
    }
    // One object a document, as JSON, which is YAML.
    let seen = files.iter().map(|(_, t)| serde_json::from_str::<Value>(t).unwrap());
    let schemas = Schemas::read();
    let mut count = 0;
    for object in seen {
        assert!(schemas.faults(&object).is_empty(), "{:#?}", schemas.faults(&object));
        count += 1;
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn the_pipeline_of_kubeflow_has_the_steps_of_the_fleet() {
    let files = written("scenarios/fleet/pipeline-registry.toml", &[]);
    let text = &files.iter().find(|f| f.0 == "pipeline-kubeflow.yaml").unwrap().1;
    let spec = documents(text).unwrap().remove(0);
    let tasks = spec.pointer("/root/dag/tasks").unwrap().as_object().unwrap();
    let after = |name: &str| tasks[name].get("dependentTasks").cloned().unwrap_or_else(|| json!([]));
    assert_eq!(tasks.keys().collect::<Vec<_>>(), ["prepare", "train", "evaluate", "red-team", "sign", "deploy-chat"]);
    assert_eq!(
        ["prepare", "train", "sign", "deploy-chat"].map(after),
        [json!([]), json!(["prepare"]), json!(["evaluate", "red-team"]), json!(["sign"])]
    );
    for (name, task) in tasks {
        let label = &spec["components"][task["componentRef"]["name"].as_str().unwrap()]["executorLabel"];
        let container = &spec["deploymentSpec"]["executors"][label.as_str().unwrap()]["container"];
        let done = if name == "train" { "Succeeded" } else { "Complete" };
        assert!(name == "deploy-chat" || container["args"][2] == done, "{container:#}");
    }
    assert!(!files.iter().find(|f| f.0 == "kustomization.yaml").unwrap().1.contains("pipeline"), "it is submitted, not applied");
}

#[test]
fn the_check_finds_faults() {
    let schemas = Schemas::read();
    let pipeline = json!({"pipelineInfo": {"name": "a"}, "root": {"dag": {"tasks": {"a": {"dependantTasks": ["b"]}}}}});
    assert!(schemas.faults(&pipeline)[0].contains("dependantTasks: no such key"), "{:?}", schemas.faults(&pipeline));
    let good =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}]}});
    assert!(schemas.faults(&good).is_empty(), "{:?}", schemas.faults(&good));
    let broken = |pointer: &str, value: Value| {
        let mut object = good.clone();
        *object.pointer_mut(pointer).unwrap() = value;
        schemas.faults(&object)
    };
    assert!(broken("/spec/ports/0", json!({"targetPort": 1}))[0].contains("`port` is missing"));
    assert!(broken("/spec/ports/0/port", json!("80"))[0].contains("no integer"));
    assert!(broken("/spec", json!({"prots": []}))[0].contains("no such key"));
    assert!(broken("/kind", json!("Servise"))[0].contains("has no schema"));
    let queue = json!({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ClusterQueue", "metadata": {"name": "a"}, "spec": {"queueingStrategy": "LIFO"}});
    assert!(schemas.faults(&queue)[0].contains("none of"), "{:?}", schemas.faults(&queue));
}

#[test]
fn a_written_job_is_read_back_as_it_is() {
    let mut out = Manifests::default();
    for (_, text) in written("scenarios/training/gpt3-175b-a100-1024.toml", &[]) {
        read_manifests(&text, &mut out).unwrap();
    }
    let job = &out.jobs[0];
    assert_eq!((job.pods, job.accelerators, job.queue.as_str()), (128, 8, "orrery"));
    assert!(job.tolerates.iter().any(|t| t.key == "nvidia.com/gpu"));
    // 95,368 steps of two and a half seconds.
    assert_eq!(job.duration.as_deref(), Some("2.76 d"));
    assert_eq!((out.queues[0].quota, out.queues[0].local.len()), (Some(1024.0), 1));
}

#[test]
fn a_plan_writes_the_manifests_of_its_answer() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("kube");
    let ran = orrery(&["plan", "scenarios/plan/serve-llama-8b-growing.toml", "--json", "--manifests", folder.to_str().unwrap()]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let best: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let read = |name: &str| (name.to_owned(), std::fs::read_to_string(folder.join(name)).unwrap());
    let files = ["kueue.yaml", "serve.yaml", "kustomization.yaml"].map(read);
    let seen = check_all(&files);
    // Engines of prompts are a deployment of their own.
    let apart = best["best"]["serving"]["prompt_engines"].is_u64();
    assert_eq!(seen.get("Deployment"), Some(&(1 + usize::from(apart))), "{seen:?}");
    // All the accelerators that it buys serve.
    let used: f64 = documents(&files[1].1)
        .unwrap()
        .iter()
        .filter(|d| d["kind"] == "Deployment")
        .map(|d| {
            let each = d.pointer("/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu").and_then(Value::as_str).unwrap();
            each.parse::<f64>().unwrap() * d["spec"]["replicas"].as_f64().unwrap()
        })
        .sum();
    assert_eq!(used, best["best"]["accelerators"].as_f64().unwrap());
    let said = orrery(&["run", "scenarios/collective/incast-16.toml", "--manifests", folder.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(2) && text.contains("no manifests are written for"), "{text}");
}
