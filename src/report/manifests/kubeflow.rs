//! Pipelines of a fleet in the compiled form of Kubeflow Pipelines (version 2): tasks that create the jobs and wait for them.

use super::ground::{NAMESPACE, slug};
use super::yaml;
use serde_json::{Map, Value as Json, json};

/// A step: its name, those that it waits for, and what it creates (or, of a service, patches).
pub(super) struct Step {
    /// Its name.
    pub(super) name: String,
    /// Names of steps.
    pub(super) after: Vec<String>,
    /// What it does.
    pub(super) act: Act,
}

/// What a step does.
pub(super) enum Act {
    /// Creates an object and waits until it has succeeded.
    Create(Json),
    /// Patches a Deployment of a name.
    Patch(String, Json),
}

/// Image of the tasks: a shell and kubectl.
const IMAGE: &str = "orrery/kubectl";

/// Creates the object of a manifest and waits until one of two conditions holds.
const CREATE: &str = "name=$(printf '%s' \"$1\" | kubectl create -o name -f -)
until kubectl wait --namespace \"$2\" --for \"condition=$3\" --timeout 30s \"$name\"; do
  ! kubectl wait --namespace \"$2\" --for condition=Failed --timeout 1s \"$name\" || exit 1
done";

/// The pipeline as a document.
pub(super) fn pipeline(title: &str, steps: &[Step]) -> String {
    let (mut tasks, mut components, mut executors) = (Map::new(), Map::new(), Map::new());
    for step in steps {
        let (component, executor) = (format!("comp-{}", step.name), format!("exec-{}", step.name));
        let mut task =
            json!({"taskInfo": {"name": step.name}, "componentRef": {"name": component}, "cachingOptions": {"enableCache": false}});
        if !step.after.is_empty() {
            task["dependentTasks"] = json!(step.after);
        }
        tasks.insert(step.name.clone(), task);
        components.insert(component, json!({"executorLabel": executor}));
        executors.insert(executor, json!({"container": container(&step.act)}));
    }
    let spec = json!({"pipelineInfo": {"name": slug(title)}, "schemaVersion": "2.1.0", "sdkVersion": concat!("orrery-", env!("CARGO_PKG_VERSION")),
        "root": {"dag": {"tasks": tasks}}, "components": components, "deploymentSpec": {"executors": executors}});
    yaml::documents(&[spec])
}

fn container(act: &Act) -> Json {
    match act {
        Act::Create(manifest) => {
            let done = if manifest["kind"] == "Job" { "Complete" } else { "Succeeded" };
            let text = yaml::documents(std::slice::from_ref(manifest));
            json!({"image": IMAGE, "command": ["sh", "-ec", CREATE, "create"], "args": [text.trim_end(), NAMESPACE, done]})
        }
        Act::Patch(name, patch) => {
            let text = yaml::documents(std::slice::from_ref(patch));
            let place = format!("deployment/{name}");
            json!({"image": IMAGE, "command": ["kubectl", "patch", "--namespace", NAMESPACE, place, "--patch"], "args": [text.trim_end()]})
        }
    }
}
