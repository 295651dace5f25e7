//! Objects of a Kubernetes cluster as plain data, as far as they say where jobs may run.

use std::collections::BTreeMap;

/// A taint of a node; pods need a toleration for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Effect.
    pub effect: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct KubeNode {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Accelerators (`nvidia.com/gpu`, `amd.com/gpu`, `google.com/tpu`, `habana.ai/gaudi`, `aws.amazon.com/neuron`).
    pub accelerators: u32,
    /// Cores.
    pub cpus: f64,
    /// Bytes of host memory.
    pub memory: f64,
    /// Taints that keep pods away (effects other than PreferNoSchedule).
    pub taints: Vec<Taint>,
    /// Whether it takes pods.
    pub takes: bool,
}

/// A toleration of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// Key; empty: any.
    pub key: String,
    /// Value; `None`: any.
    pub value: Option<String>,
    /// Effect; empty: any.
    pub effect: String,
}

impl Toleration {
    /// Whether it tolerates a taint.
    #[must_use]
    pub fn covers(&self, taint: &Taint) -> bool {
        (self.key.is_empty() || self.key == taint.key)
            && self.value.as_ref().is_none_or(|v| *v == taint.value)
            && (self.effect.is_empty() || self.effect == taint.effect)
    }
}

/// A requirement of node affinity: a label with one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values.
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether the labels of a node meet it.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let have = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => have.is_some_and(|v| self.values.contains(v)),
            "NotIn" => have.is_none_or(|v| !self.values.contains(v)),
            "Exists" => have.is_some(),
            _ => have.is_none(),
        }
    }
}

/// A job: pods that start together.
#[derive(Debug, Clone, PartialEq)]
pub struct KubeJob {
    /// Kind and name.
    pub name: String,
    /// Queue of Kueue, else the namespace.
    pub queue: String,
    /// Pods.
    pub pods: u32,
    /// Accelerators of a pod.
    pub accelerators: u32,
    /// Cores of a pod.
    pub cpus: f64,
    /// Bytes of a pod.
    pub memory: f64,
    /// What nodes have to be.
    pub requires: Vec<Requirement>,
    /// What it tolerates.
    pub tolerates: Vec<Toleration>,
    /// The label of the topology level that its pods have to share (Kueue).
    pub within: Option<String>,
    /// How long it runs, as its annotation `orrery/duration` says.
    pub duration: Option<String>,
    /// Priority class.
    pub priority: Option<String>,
}

/// A queue with its quota.
#[derive(Debug, Clone, PartialEq)]
pub struct KubeQueue {
    /// Name of the ClusterQueue.
    pub name: String,
    /// Cohort.
    pub cohort: Option<String>,
    /// Accelerators that are its own.
    pub quota: Option<f64>,
    /// Accelerators that it may borrow.
    pub borrow: Option<f64>,
    /// Whether it takes back what others borrowed.
    pub reclaims: bool,
    /// Local queues that lead to it.
    pub local: Vec<String>,
}

/// All that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifests {
    /// Nodes.
    pub nodes: Vec<KubeNode>,
    /// Jobs.
    pub jobs: Vec<KubeJob>,
    /// Queues.
    pub queues: Vec<KubeQueue>,
    /// Priority classes with their values.
    pub priorities: BTreeMap<String, i32>,
}
