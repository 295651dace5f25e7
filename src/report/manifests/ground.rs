//! What manifests stand on: kinds of nodes as flavours of Kueue with the levels of the topology, queues of teams with their quotas.

use super::Cannot;
use crate::fabric::{AcceleratorId, Fabric, NodeId};
use crate::fleet::{BackfillKind, Cluster, Policy, Team};
use crate::hardware::Catalogue;
use serde_json::{Map, Value as Json, json};

/// Where everything lies.
pub(super) const NAMESPACE: &str = "orrery";
/// API of Kueue.
const KUEUE: &str = "kueue.x-k8s.io/v1beta2";
/// Share of a node's cores and memory that pods may ask for: the rest is for the system (kubelet, daemons).
const FOR_PODS: f64 = 0.9;

/// A kind of nodes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind {
    /// Name, also of its flavour.
    pub(super) name: String,
    /// Accelerator: the label `orrery/accelerator` of its nodes.
    pub(super) part: String,
    /// What Kubernetes calls its accelerators; empty for nodes without any.
    pub(super) resource: &'static str,
    /// Accelerators of a node.
    pub(super) per_node: u32,
    /// Cores and bytes of a node, where they are known.
    pub(super) host: Option<(f64, f64)>,
    /// Nodes.
    pub(super) nodes: u64,
}

/// All kinds of nodes, and how they lie to each other.
pub(super) struct Ground {
    /// Kinds.
    pub(super) kinds: Vec<Kind>,
    /// Labels of the levels of the topology, the widest first; the last is the node.
    pub(super) levels: Vec<&'static str>,
}

/// Labels of levels: pod, leaf, scale-up domain, node.
pub(super) const POD: &str = "cloud.provider.com/topology-block";
pub(super) const LEAF: &str = "cloud.provider.com/topology-rack";
pub(super) const DOMAIN: &str = "nvidia.com/gpu.clique";
pub(super) const NODE: &str = "kubernetes.io/hostname";

/// What Kubernetes calls the accelerators of a part.
fn resource(part: &str) -> Result<&'static str, Cannot> {
    let known = Catalogue::embedded().accelerators.get(part);
    match known.map_or("", |p| p.vendor.as_str()) {
        "NVIDIA" => Ok("nvidia.com/gpu"),
        "AMD" => Ok("amd.com/gpu"),
        "Google" => Ok("google.com/tpu"),
        "AWS" | "Amazon" => Ok("aws.amazon.com/neuron"),
        "Intel" if known.is_some_and(|p| p.id.contains("gaudi")) => Ok("habana.ai/gaudi"),
        _ => Err(Cannot(format!("Kubernetes has no device plugin that is known here for `{part}`"))),
    }
}

/// A name as Kubernetes takes it.
pub(super) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if out.len() >= 48 {
            break;
        }
    }
    let out = out.trim_matches('-').to_owned();
    if out.starts_with(|c: char| c.is_ascii_alphabetic()) { out } else { format!("x{out}") }
}

impl Ground {
    /// Of a cluster that is simulated link by link.
    pub(super) fn of_fabric(fabric: &Fabric) -> Result<Self, Cannot> {
        let first = fabric.first_accelerators();
        let mut kinds: Vec<Kind> = Vec::new();
        for (n, first) in first.iter().enumerate() {
            let id = NodeId(n as u32);
            let (_, name) = fabric.template_of(id);
            let name = slug(name);
            if let Some(kind) = kinds.iter_mut().find(|k| k.name == name) {
                kind.nodes += 1;
                continue;
            }
            let part = fabric.part(first.unwrap_or(AcceleratorId(0)));
            let host = fabric.host(id);
            // Sockets as accelerators are cores to Kubernetes.
            let (per_node, resource) = if *part.kind == crate::hardware::AcceleratorKind::Cpu {
                (0, "")
            } else {
                (fabric.accelerators_per_node(id), resource(&part.id)?)
            };
            let host = Some((*host.cores as f64 * FOR_PODS, host.memory.get() * FOR_PODS));
            kinds.push(Kind { name, part: part.id.value.clone(), resource, per_node, host, nodes: 1 });
        }
        let places = fabric.leaves_and_pods();
        let many = |of: &dyn Fn(usize) -> u32| (1..places.len()).any(|n| of(n) != of(0));
        let domains = fabric.site(AcceleratorId(0)).domain;
        let spans = fabric.domain(domains).size > kinds.first().map_or(1, |k| k.per_node.max(1));
        let levels = [(POD, many(&|n| places[n].1)), (LEAF, many(&|n| places[n].0)), (DOMAIN, spans), (NODE, true)];
        Ok(Self { kinds, levels: levels.into_iter().filter(|l| l.1).map(|l| l.0).collect() })
    }

    /// Of the nodes of a fleet.
    pub(super) fn of_cluster(cluster: &Cluster) -> Result<Self, Cannot> {
        let mut kinds = Vec::new();
        for (i, pool) in cluster.pools().iter().enumerate() {
            let nodes = cluster.nodes().iter().filter(|n| n.pool as usize == i).count() as u64;
            let known = pool.cpus.is_finite() && pool.memory.is_finite();
            kinds.push(Kind {
                name: slug(&pool.name),
                part: pool.part.clone(),
                resource: if pool.accelerators == 0 { "" } else { resource(&pool.part)? },
                per_node: u32::from(pool.accelerators),
                host: known.then_some((pool.cpus * FOR_PODS, pool.memory * FOR_PODS)),
                nodes,
            });
        }
        let many = |level: usize| cluster.nodes().windows(2).any(|w| w[0].trees[level] != w[1].trees[level]);
        let shared = cluster.nodes().windows(2).any(|w| w[0].trees[0] == w[1].trees[0]);
        let levels = [(POD, many(2)), (LEAF, many(1)), (DOMAIN, shared), (NODE, true)];
        Ok(Self { kinds, levels: levels.into_iter().filter(|l| l.1).map(|l| l.0).collect() })
    }

    /// Pods near together, as far as the fabric has a level above the node.
    pub(super) fn preferred(&self) -> Json {
        match self.levels[..] {
            [NODE] => json!({"kueue.x-k8s.io/podset-unconstrained-topology": "true"}),
            _ => json!({"kueue.x-k8s.io/podset-preferred-topology": self.levels[0]}),
        }
    }

    /// Names of all resources that are counted.
    fn resources(&self) -> Vec<&'static str> {
        let mut out: Vec<&'static str> = Vec::new();
        if self.kinds.iter().all(|k| k.host.is_some()) {
            out.extend(["cpu", "memory"]);
        }
        for kind in &self.kinds {
            if !kind.resource.is_empty() && !out.contains(&kind.resource) {
                out.push(kind.resource);
            }
        }
        out
    }

    /// What pods may ask for of a kind: cores and memory only where they are known of all.
    pub(super) fn host(&self, kind: &Kind) -> Option<(f64, f64)> {
        kind.host.filter(|_| self.kinds.iter().all(|k| k.host.is_some()))
    }

    /// Topology and flavours, and a queue for every team (or one).
    pub(super) fn objects(&self, teams: &[Team], policy: Option<&Policy>) -> Result<Vec<Json>, Cannot> {
        let mut out = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            json!({"apiVersion": KUEUE, "kind": "Topology", "metadata": {"name": "fabric"},
                "spec": {"levels": self.levels.iter().map(|l| json!({"nodeLabel": l})).collect::<Vec<_>>()}}),
        ];
        for kind in &self.kinds {
            let label = if kind.part.is_empty() { json!({"orrery/nodes": kind.name}) } else { json!({"orrery/accelerator": kind.part}) };
            let spec = json!({"nodeLabels": label, "topologyName": "fabric"});
            out.push(json!({"apiVersion": KUEUE, "kind": "ResourceFlavor", "metadata": {"name": kind.name}, "spec": spec}));
        }
        let teams: Vec<Option<&Team>> = if teams.iter().any(|t| t.quota.is_some()) { teams.iter().map(Some).collect() } else { vec![None] };
        for team in teams {
            out.extend(self.queue(team, policy)?);
        }
        Ok(out)
    }

    /// Resources of one flavour within a queue.
    fn quotas(&self, kind: &Kind, team: Option<&Team>) -> Vec<Json> {
        let quota = |name: &&'static str| {
            let whole = match *name {
                "cpu" => kind.host.map_or(0.0, |h| h.0.floor() * kind.nodes as f64),
                "memory" => kind.host.map_or(0.0, |h| (h.1 / GI).floor() * kind.nodes as f64),
                own if own == kind.resource => f64::from(kind.per_node) * kind.nodes as f64,
                _ => 0.0,
            };
            let accelerators = *name == kind.resource;
            let nominal = team.filter(|_| accelerators).and_then(|t| t.quota).map_or(whole, f64::from);
            let unit = if *name == "memory" { "Gi" } else { "" };
            let mut out = Map::new();
            out.insert("name".into(), json!(name));
            out.insert("nominalQuota".into(), json!(format!("{nominal}{unit}")));
            if let Some(borrow) = team.filter(|t| accelerators && t.cohort.is_some() && t.borrow < u32::MAX).map(|t| t.borrow) {
                out.insert("borrowingLimit".into(), json!(borrow.to_string()));
            }
            Json::Object(out)
        };
        self.resources().iter().map(quota).collect()
    }

    fn queue(&self, team: Option<&Team>, policy: Option<&Policy>) -> Result<[Json; 2], Cannot> {
        let name = team.map_or_else(|| "orrery".to_owned(), |t| slug(&t.name));
        if team.is_some_and(|t| t.quota.is_some()) && self.kinds.iter().filter(|k| k.per_node > 0).count() > 1 {
            return Err(Cannot("quotas of teams over several kinds of nodes: Kueue's are by kind".into()));
        }
        let flavors: Vec<Json> = self.kinds.iter().map(|k| json!({"name": k.name, "resources": self.quotas(k, team)})).collect();
        let strict = policy.is_some_and(|p| p.backfill == BackfillKind::None);
        let mut spec = json!({
            "namespaceSelector": {},
            "queueingStrategy": if strict { "StrictFIFO" } else { "BestEffortFIFO" },
            "resourceGroups": [{"coveredResources": self.resources(), "flavors": flavors}],
        });
        if let Some(cohort) = team.and_then(|t| t.cohort) {
            spec["cohortName"] = json!(format!("cohort-{cohort}"));
        }
        if let Some(p) = policy.filter(|p| p.preempt || p.reclaim) {
            let within = if p.preempt { "LowerPriority" } else { "Never" };
            let reclaim = if p.reclaim && team.is_some_and(|t| t.cohort.is_some()) { "Any" } else { "Never" };
            spec["preemption"] = json!({"withinClusterQueue": within, "reclaimWithinCohort": reclaim});
        }
        Ok([
            json!({"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec}),
            json!({"apiVersion": KUEUE, "kind": "LocalQueue", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"clusterQueue": name}}),
        ])
    }
}

/// Bytes of a GiB.
pub(super) const GI: f64 = 1_073_741_824.0;
