//! Jobs and services of a fleet, and its pipelines as workflows of Argo that create the jobs one after the other.

use super::ground::{DOMAIN, Ground, LEAF, NAMESPACE, NODE, POD, slug};
use super::kubeflow::{self, Act, Step};
use super::train::{Pods, Program};
use super::{Cannot, serve, train, yaml};
use crate::fleet::{Ask, JobClass, PlacementKind, Within, Work};
use crate::scenario::FleetJob;
use crate::units::Seconds;
use serde_json::{Value as Json, json};

/// Files of a fleet.
pub(super) fn files(job: &FleetJob, title: &str) -> Result<Vec<(String, String)>, Cannot> {
    let ground = Ground::of_cluster(&job.cluster)?;
    let mut out = vec![("kueue.yaml".to_owned(), yaml::documents(&ground.objects(&job.teams, job.policies.first())?))];
    if job.classes.is_empty() && job.services.is_empty() {
        return Err(Cannot("a fleet whose jobs all come from a trace or from manifests".into()));
    }
    let writer = Writer { job, ground };
    let piped = |i: usize| !job.classes[i].after.is_empty() || job.classes.iter().any(|c| c.after.contains(&i));
    let mut alone = Vec::new();
    for class in (0..job.classes.len()).filter(|&i| !piped(i)) {
        alone.extend(writer.jobs(class)?);
    }
    if !alone.is_empty() {
        out.push(("jobs.yaml".into(), yaml::documents(&alone)));
    }
    let mut services = Vec::new();
    for s in &job.services {
        let pods = writer.pods(&s.ask)?;
        services.extend(serve::of_fleet(s, pods, &writer.near(&s.ask), &writer.queue(s.team)));
    }
    if !services.is_empty() {
        out.push(("services.yaml".into(), yaml::documents(&services)));
    }
    let steps: Vec<usize> = (0..job.classes.len()).filter(|&i| piped(i)).collect();
    if !steps.is_empty() {
        let mut workflow = rights();
        workflow.push(writer.workflow(&steps, title)?);
        out.push(("pipeline.yaml".into(), yaml::documents(&workflow)));
        out.push(("pipeline-kubeflow.yaml".into(), kubeflow::pipeline(title, &writer.steps(&steps, "{{$.pipeline_job_uuid}}")?)));
    }
    Ok(out)
}

struct Writer<'a> {
    job: &'a FleetJob,
    ground: Ground,
}

impl Writer<'_> {
    fn queue(&self, team: u16) -> String {
        let quotas = self.job.teams.iter().any(|t| t.quota.is_some());
        self.job.teams.get(team as usize).filter(|_| quotas).map_or_else(|| "orrery".to_owned(), |t| slug(&t.name))
    }

    fn pods(&self, ask: &Ask) -> Result<Pods<'_>, Cannot> {
        let at = (0..self.ground.kinds.len()).find(|p| ask.pools >> p & 1 == 1).ok_or_else(|| Cannot("a job without nodes".into()))?;
        let kind = &self.ground.kinds[at];
        if ask.share < 1000 {
            return Err(Cannot("shares of an accelerator: their names are those of the site's device plugin".into()));
        }
        let given = |each: f64| {
            (ask.cpus > 0.0 || ask.memory > 0.0).then(|| ((ask.cpus * each).max(0.1), (ask.memory * each).max(super::ground::GI)))
        };
        if ask.accelerators == 0 {
            return Ok(Pods { kind, count: 1, each: 0, host: given(1.0) });
        }
        let mut pods = Pods::of(&self.ground, kind, u64::from(ask.accelerators));
        if ask.chunk > 1 {
            pods = Pods {
                count: u64::from(ask.accelerators / ask.chunk),
                each: ask.chunk,
                ..Pods::of(&self.ground, kind, u64::from(ask.chunk))
            };
        }
        Ok(Pods { host: given(f64::from(pods.each)).or(pods.host), ..pods })
    }

    /// Nearness that a job asks for, as far as the fabric has the level; else what the policy prefers.
    fn near(&self, ask: &Ask) -> Json {
        let level = match ask.within {
            Within::Any => None,
            Within::Node => Some(NODE),
            Within::Domain => Some(DOMAIN),
            Within::Leaf => Some(LEAF),
            Within::Pod => Some(POD),
        };
        let prefers = self.job.policies.first().is_some_and(|p| p.placement == PlacementKind::Topology);
        match level.filter(|l| self.ground.levels.contains(l)) {
            Some(level) => json!({"kueue.x-k8s.io/podset-required-topology": level}),
            None if prefers => self.ground.preferred(),
            None => json!({"kueue.x-k8s.io/podset-unconstrained-topology": "true"}),
        }
    }

    /// The jobs of a class, one for each of its sizes.
    fn jobs(&self, class: usize) -> Result<Vec<Json>, Cannot> {
        let c = &self.job.classes[class];
        let one = |&(size, _): &(u32, f64)| {
            let name = if c.sizes.len() > 1 { format!("{} {size}", c.name) } else { c.name.clone() };
            self.manifest(&name, c, &Ask { accelerators: size, ..c.like.ask })
        };
        c.sizes.iter().map(one).collect()
    }

    fn manifest(&self, name: &str, c: &JobClass, ask: &Ask) -> Result<Json, Cannot> {
        let (pods, near, queue) = (self.pods(ask)?, self.near(ask), self.queue(c.like.team));
        let seconds = if let Work::Steps { model, .. } = c.like.work { c.mean * self.job.models[model as usize].step } else { c.mean };
        let notes = json!({"orrery/duration": Seconds::new(seconds).to_string()});
        if let Work::Steps { model, .. } = c.like.work {
            return train::job(name, &queue, &self.job.models[model as usize].config, pods, &near, notes);
        }
        let template = pods.template("main", &slug(&c.name), &Program::default(), &near, Some("Never"));
        Ok(json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": slug(name), "namespace": NAMESPACE, "labels": {"kueue.x-k8s.io/queue-name": queue}, "annotations": notes},
            "spec": {"suspend": true, "parallelism": pods.count, "completions": pods.count, "completionMode": "Indexed", "template": template}}))
    }

    /// Classes that wait for each other as steps; services that take their versions from one of them are restarted behind it, under a name
    /// that is another one for every run.
    fn steps(&self, of: &[usize], run: &str) -> Result<Vec<Step>, Cannot> {
        let classes = &self.job.classes;
        let name = |i: usize| slug(&classes[i].name);
        let mut out = Vec::new();
        for &i in of {
            let mut manifest = self.jobs(i)?.into_iter().next_back().ok_or_else(|| Cannot("a step without a job".into()))?;
            // Every run makes a job of its own.
            let metadata = manifest["metadata"].as_object_mut().ok_or_else(|| Cannot("a step without a name".into()))?;
            metadata.shift_remove("name");
            metadata.shift_insert(0, "generateName".into(), json!(format!("{}-", name(i))));
            let after = classes[i].after.iter().map(|&b| name(b)).collect();
            out.push(Step { name: name(i), after, act: Act::Create(manifest) });
        }
        for s in &self.job.services {
            let Some(rule) = s.rollout else { continue };
            let Some(i) = of.iter().copied().find(|&i| classes[i].like.class == rule.after) else { continue };
            let patch = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": slug(&s.name), "namespace": NAMESPACE},
                "spec": {"template": {"metadata": {"annotations": {"orrery/version": run}}}}});
            let act = Act::Patch(slug(&s.name), patch);
            out.push(Step { name: format!("deploy-{}", slug(&s.name)), after: vec![name(i)], act });
        }
        Ok(out)
    }

    /// Steps as a workflow of Argo.
    fn workflow(&self, of: &[usize], title: &str) -> Result<Json, Cannot> {
        let (mut tasks, mut templates) = (Vec::new(), Vec::new());
        for Step { name, after, act } in self.steps(of, "{{workflow.name}}")? {
            let mut task = json!({"name": name, "template": name});
            if !after.is_empty() {
                task["dependencies"] = json!(after);
            }
            tasks.push(task);
            let resource = match act {
                Act::Create(manifest) => {
                    let (done, failed) = ends(&manifest);
                    json!({"action": "create", "setOwnerReference": true, "successCondition": done, "failureCondition": failed,
                        "manifest": yaml::documents(&[manifest]).trim_end()})
                }
                Act::Patch(_, patch) => {
                    json!({"action": "patch", "mergeStrategy": "strategic", "manifest": yaml::documents(&[patch]).trim_end()})
                }
            };
            templates.push(json!({"name": name, "resource": resource}));
        }
        templates.insert(0, json!({"name": "pipeline", "dag": {"tasks": tasks}}));
        Ok(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
            "metadata": {"generateName": format!("{}-", slug(title)), "namespace": NAMESPACE},
            "spec": {"entrypoint": "pipeline", "serviceAccountName": "pipeline", "templates": templates}}))
    }
}

/// When a step has succeeded and failed, by the fields of its job's state.
fn ends(manifest: &Json) -> (String, String) {
    match manifest["kind"].as_str() {
        Some("Job") => (format!("status.succeeded == {}", manifest["spec"]["completions"]), "status.failed > 0".into()),
        Some("MPIJob") => ("status.replicaStatuses.Launcher.succeeded == 1".into(), "status.replicaStatuses.Launcher.failed > 0".into()),
        Some("JAXJob") => {
            let count = &manifest["spec"]["jaxReplicaSpecs"]["Worker"]["replicas"];
            (format!("status.replicaStatuses.Worker.succeeded == {count}"), "status.replicaStatuses.Worker.failed > 0".into())
        }
        _ => ("status.replicaStatuses.Master.succeeded == 1".into(), "status.replicaStatuses.Master.failed > 0".into()),
    }
}

/// What the workflow may do: create jobs and look at them, restart services.
fn rights() -> Vec<Json> {
    let metadata = json!({"name": "pipeline", "namespace": NAMESPACE});
    let api = "rbac.authorization.k8s.io";
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata, "rules": [
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "watch", "list"]},
            {"apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs", "mpijobs", "jaxjobs"], "verbs": ["create", "get", "watch", "list"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]},
            {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]}),
        json!({"apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "pipeline"},
            "subjects": [{"kind": "ServiceAccount", "name": "pipeline", "namespace": NAMESPACE}]}),
    ]
}
