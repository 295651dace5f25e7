//! A scenario as manifests of Kubernetes: queues of Kueue with the levels of the fabric, training jobs of Kubeflow, Deployments and
//! LeaderWorkerSets, workflows of Argo, compiled pipelines of Kubeflow. `docs/formats/manifests.md` says what is written and what a site adds.

mod fleet;
mod ground;
mod kubeflow;
mod serve;
mod train;
mod yaml;

#[cfg(test)]
mod tests;

use crate::scenario::{Job, Scenario};
use crate::units::Seconds;
use ground::Ground;
use serde_json::{Value as Json, json};
use train::Pods;

/// Why a scenario cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cannot(pub String);

impl std::fmt::Display for Cannot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no manifests are written for {}", self.0)
    }
}
impl std::error::Error for Cannot {}

/// Files with their names.
///
/// # Errors
/// When a part of the scenario has no form in Kubernetes that is known here.
pub fn manifests(scenario: &Scenario, step_s: Option<f64>) -> Result<Vec<(String, String)>, Cannot> {
    let mut files = match &scenario.job {
        Job::Training { config, steps, band, .. } => {
            if *band {
                return Err(Cannot("a band over ways that experts run: say which with `expert_stack`".into()));
            }
            let ground = Ground::of_fabric(&scenario.fabric)?;
            let [kind] = &ground.kinds[..] else { return Err(Cannot("one job over several kinds of nodes".into())) };
            let ranks = config.parallel.ranks();
            let pods = Pods::of(&ground, kind, ranks);
            if pods.each == 0 || kind.per_node == 0 {
                return Err(Cannot("training on processor cores".into()));
            }
            let near = train::nearness(&ground, &scenario.fabric, ranks, pods.count);
            let mut notes = json!({});
            if let Some(step) = step_s {
                notes["orrery/step"] = json!(Seconds::new(step).to_string());
                if let Some(steps) = steps {
                    notes["orrery/duration"] = json!(Seconds::new(step * steps).to_string());
                }
            }
            let job = train::job(&scenario.title, "orrery", config, pods, &near, notes)?;
            vec![
                ("kueue.yaml".to_owned(), yaml::documents(&ground.objects(&[], None)?)),
                ("train.yaml".to_owned(), yaml::documents(&[job])),
            ]
        }
        Job::Serving(job) => {
            let ground = Ground::of_fabric(&scenario.fabric)?;
            let objects = serve::of_scenario(&ground, job, "orrery")?;
            vec![
                ("kueue.yaml".to_owned(), yaml::documents(&ground.objects(&[], None)?)),
                ("serve.yaml".to_owned(), yaml::documents(&objects)),
            ]
        }
        Job::Fleet(job) => fleet::files(job, &scenario.title)?,
        Job::Collective(_) | Job::Trace(_) | Job::Storage(_) => return Err(Cannot("a collective, a trace or a reader of data".into())),
    };
    let kustomization = kustomization(&files);
    files.push(("kustomization.yaml".to_owned(), kustomization));
    Ok(files)
}

/// One file that names all others, and where images are set. Workflows are submitted, not applied.
fn kustomization(files: &[(String, String)]) -> String {
    let named: Vec<&str> = files.iter().map(|f| f.0.as_str()).filter(|n| !n.starts_with("pipeline")).collect();
    let mut images: Vec<String> = Vec::new();
    // Images of Kubeflow's own tasks are set where the pipeline is uploaded.
    for line in files.iter().filter(|f| f.0 != "pipeline-kubeflow.yaml").flat_map(|f| f.1.lines()) {
        if let Some((_, image)) = line.split_once("image: ")
            && !images.iter().any(|i| i == image)
        {
            images.push(image.to_owned());
        }
    }
    let image = |i: &String| json!({"name": i, "newName": format!("registry.example.com/{i}"), "newTag": "latest"});
    let all: Json = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": named, "images": images.iter().map(image).collect::<Vec<_>>()});
    yaml::documents(&[all])
}
