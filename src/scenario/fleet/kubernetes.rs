//! A Kubernetes cluster as a fleet: nodes to pools, jobs to jobs that wait at time zero, queues of Kueue to teams with quotas.

use super::check::{Names, trace_source};
use super::input::FleetInput;
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::fleet::kubernetes::{KubeJob, KubeNode, Manifests, Taint, read_manifests};
use crate::fleet::{Ask, Cluster, Job, Node, Pool, Team, Within, Work, find, placement};
use crate::hardware::{Catalogue, PriceKind};
use crate::units::{Quantity, Seconds};
use std::collections::BTreeMap;

/// Labels that say where a node lies.
const DOMAIN: [&str; 1] = ["nvidia.com/gpu.clique"];
const LEAF: [&str; 2] = ["cloud.provider.com/topology-rack", "topology.kubernetes.io/rack"];
const POD: [&str; 2] = ["cloud.provider.com/topology-block", "topology.kubernetes.io/zone"];

/// What was read, and what the pools that were made of its nodes have in common.
pub(super) struct Kubernetes {
    pub(super) manifests: Manifests,
    pools: Vec<(BTreeMap<String, String>, Vec<Taint>)>,
    span: Span,
}

/// Reads the files that the fleet names.
pub(super) fn read(given: &FleetInput, diags: &mut Diagnostics) -> Option<Kubernetes> {
    let mut manifests = Manifests::default();
    let before = diags.error_count();
    for file in given.kubernetes.iter() {
        let Some(source) = trace_source(&file.value, file.span, diags) else { continue };
        let text = diags.source(source).text.clone();
        if let Err((line, why)) = read_manifests(&text, &mut manifests) {
            let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
            let end = text.get(start..).and_then(|t| t.find('\n')).map_or(text.len(), |i| start + i);
            let place = Span { source, start: start as u32, end: if line == 0 { start as u32 } else { end as u32 } };
            let message = format!("these manifests cannot be read: {why}");
            diags.push(Diagnostic::error(codes::BAD_TABLE, message).at(place, "here").at(file.span, "named here"));
        }
    }
    (diags.error_count() == before).then_some(Kubernetes { manifests, pools: Vec::new(), span: given.kubernetes.span })
}

/// The catalogue's id of an accelerator by its product label, where one is known; else the label itself.
fn part(node: &KubeNode) -> String {
    if node.accelerators == 0 {
        return String::new();
    }
    // What manifests of our own select nodes by says it at once.
    if let Some(id) = node.labels.get("orrery/accelerator") {
        return id.clone();
    }
    let label = ["nvidia.com/gpu.product", "amd.com/gpu.product-name", "cloud.google.com/gke-tpu-accelerator"];
    let product = label.iter().find_map(|l| node.labels.get(*l)).map_or("accelerator", String::as_str);
    let words: String = product.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let has = |word: &str| words.split_whitespace().any(|w| w == word);
    let known = Catalogue::embedded().accelerators.keys().find(|id| {
        let mut parts = id.split('-');
        // Model and, where the id has one, memory size have to be in the label.
        parts.next().is_some_and(has) && id.contains("pcie") == has("pcie") && id.split('-').filter(|p| p.ends_with("gb")).all(has)
    });
    known.map_or_else(|| product.to_owned(), String::clone)
}

impl Kubernetes {
    /// The nodes that take pods, alike ones as one pool.
    pub(super) fn cluster(&mut self, diags: &mut Diagnostics) -> Option<Cluster> {
        let asked: Vec<&str> = self.manifests.jobs.iter().flat_map(|j| &j.requires).map(|r| r.key.as_str()).collect();
        let (mut pools, mut nodes): (Vec<Pool>, Vec<Node>) = (Vec::new(), Vec::new());
        let (mut kinds, mut trees): (Vec<String>, [BTreeMap<String, u32>; 3]) = (Vec::new(), Default::default());
        for node in self.manifests.nodes.iter().filter(|n| n.takes) {
            if node.accelerators > 64 {
                let message = format!("the node {} has {} accelerators: 64 at most", node.name, node.accelerators);
                diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(self.span, "these files"));
                return None;
            }
            let labels: BTreeMap<String, String> =
                node.labels.iter().filter(|(k, _)| asked.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
            let mut taints = node.taints.clone();
            taints.sort();
            let part = part(node);
            let alike = |(pool, own): (&Pool, &(BTreeMap<String, String>, Vec<Taint>))| {
                pool.part == part
                    && u32::from(pool.accelerators) == node.accelerators
                    && pool.cpus == node.cpus
                    && pool.memory == node.memory
                    && *own == (labels.clone(), taints.clone())
            };
            let at = pools.iter().zip(&self.pools).position(alike).unwrap_or_else(|| {
                let kind = kinds.iter().position(|k| *k == part).unwrap_or_else(|| {
                    kinds.push(part.clone());
                    kinds.len() - 1
                });
                pools.push(pool(node, &part, kind as u16));
                self.pools.push((labels, taints));
                pools.len() - 1
            });
            let names = [&DOMAIN[..], &LEAF[..], &POD[..]].map(|l| l.iter().find_map(|l| node.labels.get(*l)).cloned());
            let mut number = |level: usize, name: String| {
                let next = trees[level].len() as u32;
                *trees[level].entry(name).or_insert(next)
            };
            let [domain, leaf, pod] = names;
            let domain = number(0, domain.unwrap_or_else(|| format!("node {}", node.name)));
            let leaf = number(1, leaf.unwrap_or_default());
            nodes.push(Node { pool: at as u16, trees: [domain, leaf, number(2, pod.unwrap_or_default())] });
        }
        if nodes.is_empty() || pools.len() > 64 {
            let message =
                if nodes.is_empty() { "these files have no node that takes pods" } else { "these files have more than 64 kinds of nodes" };
            diags.push(Diagnostic::error(codes::BAD_TABLE, message).at(self.span, "these files"));
            return None;
        }
        Some(Cluster::new(pools, nodes))
    }

    /// The jobs, all submitted at time zero in the order of the files.
    pub(super) fn jobs(&self, given: &FleetInput, cluster: &Cluster, restart: f64, names: &mut Names, diags: &mut Diagnostics) -> Vec<Job> {
        let mut out = Vec::new();
        for job in &self.manifests.jobs {
            match self.job(job, given, cluster, restart, names) {
                Ok(job) => out.push(job),
                Err(why) => {
                    let message = format!("the job {}: {why}", job.name);
                    diags.push(Diagnostic::error(codes::BAD_TABLE, message).at(self.span, "these files"));
                }
            }
        }
        out
    }

    fn job(&self, job: &KubeJob, given: &FleetInput, cluster: &Cluster, restart: f64, names: &mut Names) -> Result<Job, String> {
        let duration = match &job.duration {
            Some(text) => Seconds::parse(text).map_err(|e| format!("orrery/duration: {}", e.message))?.get(),
            None => given.kubernetes_duration.map(Seconds::get).ok_or("no annotation orrery/duration; give `kubernetes_duration`")?,
        };
        let takes = |pool: usize| {
            let (labels, taints) = &self.pools[pool];
            // Pods that ask for an extended resource tolerate the taint of its name (ExtendedResourceToleration).
            let own = |t: &Taint| job.accelerators > 0 && t.key.contains('/') && (t.key.ends_with("/gpu") || t.key.ends_with("/tpu"));
            job.requires.iter().all(|r| r.holds(labels)) && taints.iter().all(|t| own(t) || job.tolerates.iter().any(|o| o.covers(t)))
        };
        let within = match job.within.as_deref() {
            None => Within::Any,
            Some("kubernetes.io/hostname") => Within::Node,
            Some(label) if DOMAIN.contains(&label) => Within::Domain,
            Some(label) if LEAF.contains(&label) => Within::Leaf,
            Some(label) if POD.contains(&label) => Within::Pod,
            Some(label) => return Err(format!("the topology level `{label}` is not known")),
        };
        let accelerators = job.pods.saturating_mul(job.accelerators);
        if accelerators == 0 && job.pods > 1 {
            return Err("several pods without accelerators as one job are not read".to_owned());
        }
        let each = f64::from(job.accelerators.max(1));
        let ask = Ask {
            pools: (0..cluster.pools().len())
                .filter(|&p| takes(p) && (accelerators == 0 || cluster.pools()[p].accelerators > 0))
                .map(|p| 1 << p)
                .sum(),
            accelerators,
            share: 1000,
            chunk: job.accelerators.max(1),
            cpus: job.cpus / each,
            memory: job.memory / each,
            within: if accelerators == 0 { Within::Any } else { within },
        };
        if find(placement(crate::fleet::PlacementKind::Pack), cluster, &ask).is_none() {
            return Err("no nodes, however empty, take it (selectors, taints, sizes)".to_owned());
        }
        let queue = self.manifests.queues.iter().find(|q| q.local.contains(&job.queue) || q.name == job.queue);
        let priority = match &job.priority {
            None => 0,
            Some(class) => *self.manifests.priorities.get(class).unwrap_or(&0),
        };
        Ok(Job {
            submit: 0.0,
            ask,
            work: Work::Time(duration),
            class: names.class("kubernetes"),
            team: names.team(queue.map_or(job.queue.as_str(), |q| q.name.as_str())),
            priority,
            spot: false,
            preemptible: true,
            checkpoint: 0.0,
            checkpoint_cost: 0.0,
            copies: None,
            restart,
            elastic: None,
        })
    }

    /// The quota of a queue as that of a team.
    pub(super) fn team(&self, name: &str) -> Option<Team> {
        let queues = &self.manifests.queues;
        let queue = queues.iter().find(|q| q.name == name)?;
        let whole = |v: f64| v.clamp(0.0, 1e9) as u32;
        let cohort = queue.cohort.as_ref().and_then(|c| queues.iter().position(|q| q.cohort.as_ref() == Some(c)));
        Some(Team {
            name: name.to_owned(),
            weight: 1.0,
            quota: queue.quota.map(whole),
            // Apart from cohorts of [[fleet.team]].
            cohort: cohort.map(|c| 30_000 + c as u16),
            borrow: queue.borrow.map_or(u32::MAX, whole),
        })
    }
    /// Whether any queue takes back what others borrowed.
    pub(super) fn reclaims(&self) -> bool {
        self.manifests.queues.iter().any(|q| q.reclaims)
    }
}

fn pool(node: &KubeNode, part: &str, kind: u16) -> Pool {
    let known = Catalogue::embedded().accelerators.get(part);
    let watts = known.map_or([0.0; 2], |k| [k.idle_power.get(), k.tdp.get()].map(|w| w * f64::from(node.accelerators)));
    Pool {
        name: if part.is_empty() { format!("nodes as {}", node.name) } else { format!("{} × {part}", node.accelerators) },
        kind,
        part: part.to_owned(),
        accelerators: node.accelerators as u8,
        cpus: node.cpus,
        memory: node.memory,
        price: Catalogue::embedded().price(part, PriceKind::OnDemand).and_then(|p| *p.rent).map(|r| r.get()),
        power: watts,
        region: 0,
        elastic: None,
    }
}
