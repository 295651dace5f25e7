//! Training jobs: PyTorchJob, MPIJob (Horovod), JAXJob (MaxText) of Kubeflow's training operator, a pod a node.

use super::Cannot;
use super::ground::{DOMAIN, GI, Ground, Kind, LEAF, NAMESPACE, NODE, POD, slug};
use crate::fabric::{AcceleratorId, Fabric};
use crate::training::{Attention, Config, ContextExchange, Framework, Precision, Recompute, Sharding};
use serde_json::{Map, Value as Json, json};

/// Pods of a job, alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pods<'a> {
    /// On what.
    pub(super) kind: &'a Kind,
    /// How many.
    pub(super) count: u64,
    /// Accelerators of each; 0: cores only.
    pub(super) each: u32,
    /// Share of an accelerator's node that one accelerator's cores and memory are; cores and bytes of the pod where they are given.
    pub(super) host: Option<(f64, f64)>,
}

impl<'a> Pods<'a> {
    /// For so many accelerators: whole nodes, or as many as divide both.
    pub(super) fn of(ground: &Ground, kind: &'a Kind, accelerators: u64) -> Self {
        let (mut a, mut b) = (u64::from(kind.per_node.max(1)), accelerators.max(1));
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let share = a as f64 / f64::from(kind.per_node.max(1));
        let host = ground.host(kind).map(|(cores, bytes)| ((cores * share).floor().max(1.0), bytes * share));
        Self { kind, count: accelerators / a, each: a as u32, host }
    }

    fn resources(&self) -> Json {
        let mut out = Map::new();
        if let Some((cores, bytes)) = self.host {
            out.insert("cpu".into(), json!(format!("{cores}")));
            out.insert("memory".into(), json!(format!("{}Gi", (bytes / GI).floor().max(1.0))));
        }
        if self.each > 0 {
            out.insert(self.kind.resource.into(), json!(self.each.to_string()));
        }
        json!({"requests": out, "limits": out})
    }

    /// A pod with one container; the image is a name that `kustomization.yaml` replaces.
    pub(super) fn template(&self, container: &str, image: &str, program: &Program, notes: &Json, restart: Option<&str>) -> Json {
        let mut one = json!({"name": container, "image": image});
        if !program.command.is_empty() {
            one["command"] = json!(program.command);
        }
        if !program.args.is_empty() {
            one["args"] = json!(program.args);
        }
        if !program.env.is_empty() {
            one["env"] = program.env.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
        }
        one["resources"] = self.resources();
        let mut spec = json!({});
        if let Some(restart) = restart {
            spec["restartPolicy"] = json!(restart);
        }
        if self.each > 0 {
            // Communication libraries share memory between the processes of a node, and pin it for the NICs.
            one["securityContext"] = json!({"capabilities": {"add": ["IPC_LOCK"]}});
            one["volumeMounts"] = json!([{"name": "shared-memory", "mountPath": "/dev/shm"}]);
            spec["tolerations"] = json!([{"key": self.kind.resource, "operator": "Exists", "effect": "NoSchedule"}]);
        }
        spec["containers"] = json!([one]);
        if self.each > 0 {
            spec["volumes"] = json!([{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}]);
        }
        json!({"metadata": {"annotations": notes}, "spec": spec})
    }
}

/// What a container runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Program {
    /// Command; empty: the image's own.
    pub(super) command: Vec<String>,
    /// Arguments.
    pub(super) args: Vec<String>,
    /// Environment.
    pub(super) env: Vec<(String, String)>,
}

/// How near the simulated ranks of a job lie to each other, as Kueue's annotations of a set of pods.
pub(super) fn nearness(ground: &Ground, fabric: &Fabric, ranks: u64, pods: u64) -> Json {
    let places = fabric.leaves_and_pods();
    let mut nodes: Vec<usize> =
        (0..ranks.min(fabric.accelerator_count() as u64)).map(|r| fabric.site(AcceleratorId(r as u32)).node.0 as usize).collect();
    nodes.dedup();
    let same = |of: &dyn Fn(usize) -> u32| nodes.windows(2).all(|w| of(w[0]) == of(w[1]));
    let domain = |n: usize| fabric.site(AcceleratorId(n as u32)).domain.0;
    let in_domain = (1..ranks.min(fabric.accelerator_count() as u64) as usize).all(|a| domain(a) == domain(0));
    let has = |level: &str| ground.levels.contains(&level);
    let mut out = if nodes.len() <= 1 {
        json!({"kueue.x-k8s.io/podset-required-topology": NODE})
    } else if has(DOMAIN) && in_domain {
        json!({"kueue.x-k8s.io/podset-required-topology": DOMAIN})
    } else if has(LEAF) && same(&|n| places[n].0) {
        json!({"kueue.x-k8s.io/podset-required-topology": LEAF})
    } else if has(POD) && same(&|n| places[n].1) {
        json!({"kueue.x-k8s.io/podset-required-topology": POD})
    } else {
        // Over several of the widest level: as few of them as there are.
        ground.preferred()
    };
    // Scale-up domains of several nodes: groups of pods that fill one stay in it.
    if has(DOMAIN) && !in_domain {
        let size = u64::from(fabric.domain(fabric.site(AcceleratorId(0)).domain).size);
        let slice = size * pods / ranks.max(1);
        if slice > 1 && pods.is_multiple_of(slice) {
            out["kueue.x-k8s.io/podset-slice-required-topology"] = json!(DOMAIN);
            out["kueue.x-k8s.io/podset-slice-size"] = json!(slice.to_string());
        }
    }
    out
}

/// A training job; `notes` go to its annotations.
pub(super) fn job(name: &str, queue: &str, config: &Config, pods: Pods<'_>, near: &Json, notes: Json) -> Result<Json, Cannot> {
    let program = program(config, pods);
    let framework = *config.stack.framework;
    let metadata = json!({
        "name": slug(name), "namespace": NAMESPACE,
        "labels": {"kueue.x-k8s.io/queue-name": slug(queue)}, "annotations": notes,
    });
    let set = |container: &str, replicas: u64| json!({"replicas": replicas, "restartPolicy": "OnFailure", "template": pods.template(container, "trainer", &program, near, None)});
    let (kind, spec) = match framework {
        Framework::Horovod => {
            let launcher = Pods { each: 0, host: pods.host.map(|_| (2.0, 4.0 * GI)), ..pods };
            let start = Program { command: vec!["mpirun".into()], ..program.clone() };
            let launch = json!({"replicas": 1, "restartPolicy": "OnFailure",
                "template": launcher.template("mpi", "trainer", &start, &json!({"kueue.x-k8s.io/podset-unconstrained-topology": "true"}), None)});
            let idle = Program { command: vec!["/usr/sbin/sshd".into(), "-De".into()], ..Program::default() };
            let worker = json!({"replicas": pods.count, "restartPolicy": "OnFailure", "template": pods.template("mpi", "trainer", &idle, near, None)});
            let spec = json!({"slotsPerWorker": pods.each, "runPolicy": {"cleanPodPolicy": "Running"},
                "mpiReplicaSpecs": {"Launcher": launch, "Worker": worker}});
            ("MPIJob", spec)
        }
        Framework::Maxtext => {
            ("JAXJob", json!({"runPolicy": {"cleanPodPolicy": "None"}, "jaxReplicaSpecs": {"Worker": set("jax", pods.count)}}))
        }
        _ => {
            let mut sets = json!({"Master": set("pytorch", 1)});
            if pods.count > 1 {
                // One group: master and workers are placed together.
                sets["Worker"] = set("pytorch", pods.count - 1);
                for which in ["Master", "Worker"] {
                    sets[which]["template"]["metadata"]["annotations"]["kueue.x-k8s.io/podset-group-name"] = json!("ranks");
                }
            }
            (
                "PyTorchJob",
                json!({"nprocPerNode": pods.each.to_string(), "runPolicy": {"cleanPodPolicy": "None"}, "pytorchReplicaSpecs": sets}),
            )
        }
    };
    Ok(json!({"apiVersion": "kubeflow.org/v1", "kind": kind, "metadata": metadata, "spec": spec}))
}

/// Layout as arguments of Megatron's programs, and for all as environment.
fn program(c: &Config, pods: Pods<'_>) -> Program {
    let p = &c.parallel;
    let mut env: Vec<(String, String)> = [
        ("TENSOR_PARALLEL", p.tensor),
        ("PIPELINE_PARALLEL", p.pipeline),
        ("DATA_PARALLEL", p.data),
        ("CONTEXT_PARALLEL", p.context),
        ("EXPERT_PARALLEL", p.expert),
        ("GLOBAL_BATCH", c.global_batch),
        ("MICRO_BATCH", c.microbatch),
        ("SEQUENCE_LENGTH", c.model.sequence_length),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_string()))
    .to_vec();
    env.push(("PRECISION".into(), c.precision.to_string()));
    if let Some((cores, _)) = pods.host {
        env.push(("OMP_NUM_THREADS".into(), format!("{}", (cores / f64::from(pods.each.max(1))).floor().max(1.0))));
    }
    let framework = *c.stack.framework;
    let own = matches!(framework, Framework::Megatron | Framework::MegatronDeepspeed);
    // Megatron's program of language models; other networks have programs of their own.
    if !own || !c.model.blocks.is_empty() || c.model.hybrid.is_some() || !c.model.causal {
        return match framework {
            // One process an accelerator; the operator's host file says where.
            Framework::Horovod => {
                let count = pods.count * u64::from(pods.each);
                Program {
                    args: vec!["-np".into(), count.to_string(), "--bind-to".into(), "none".into(), "/workspace/train".into()],
                    env,
                    ..Program::default()
                }
            }
            _ => Program { env, ..Program::default() },
        };
    }
    // Megatron-LM overlaps communication of tensor ranks only in order of launch.
    env.push(("CUDA_DEVICE_MAX_CONNECTIONS".into(), "1".into()));
    Program { command: vec!["torchrun".into(), "pretrain_gpt.py".into()], args: megatron(c), env }
}

fn megatron(c: &Config) -> Vec<String> {
    let (p, m) = (&c.parallel, &c.model);
    let mut out = Vec::new();
    let mut set = |key: &str, value: u64| out.extend([format!("--{key}"), value.to_string()]);
    set("tensor-model-parallel-size", p.tensor);
    set("pipeline-model-parallel-size", p.pipeline);
    if p.context > 1 {
        set("context-parallel-size", p.context);
    }
    if p.expert > 1 {
        set("expert-model-parallel-size", p.expert);
    }
    if p.virtual_stages > 1 {
        set("num-layers-per-virtual-pipeline-stage", (m.layers / (p.pipeline * p.virtual_stages)).max(1));
    }
    set("num-layers", m.layers);
    set("hidden-size", m.hidden);
    set("ffn-hidden-size", m.ffn_hidden);
    set("num-attention-heads", m.heads);
    if m.kv_heads < m.heads {
        set("num-query-groups", m.kv_heads);
    }
    if let Some(e) = &m.experts {
        set("num-experts", e.count);
        set("moe-router-topk", e.per_token);
        set("moe-ffn-hidden-size", e.ffn_hidden);
    }
    set("seq-length", m.sequence_length);
    set("max-position-embeddings", m.sequence_length);
    set("micro-batch-size", c.microbatch);
    set("global-batch-size", c.global_batch);
    let flags = [
        (m.kv_heads < m.heads, "group-query-attention"),
        (p.sequence, "sequence-parallel"),
        (c.sharding == Sharding::Optimizer, "use-distributed-optimizer"),
        (m.gated_mlp, "swiglu"),
        (c.attention == Attention::Flash, "use-flash-attn"),
        (c.precision == Precision::Bf16, "bf16"),
        (c.precision == Precision::Fp16, "fp16"),
    ];
    out.extend(flags.into_iter().filter(|f| f.0).map(|f| format!("--{}", f.1)));
    if p.context > 1 {
        let exchange = match *c.stack.context_exchange {
            ContextExchange::Ring => "p2p",
            ContextExchange::Gather => "all_gather",
            ContextExchange::AllToAll => "a2a",
        };
        out.extend(["--cp-comm-type", exchange].map(Into::into));
    }
    match c.recompute {
        Recompute::None => {}
        Recompute::Selective => out.extend(["--recompute-granularity".into(), "selective".into()]),
        Recompute::Full => {
            out.extend(["--recompute-granularity", "full"].map(Into::into));
            // The first layers of every chunk, or all of them one by one.
            let (method, layers) = match c.recompute_layers {
                Some(layers) => ("block", layers.div_ceil(p.pipeline * p.virtual_stages)),
                None => ("uniform", 1),
            };
            out.extend(["--recompute-method".into(), method.into(), "--recompute-num-layers".into(), layers.to_string()]);
        }
    }
    out
}
