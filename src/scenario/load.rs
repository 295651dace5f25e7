//! Reads a scenario with its topology, applies overrides, checks it, and hashes everything that was read.

use super::base::{Built, Shared, reach};
use super::check;
use super::collective::Sweep;
use super::fleet::{FleetJob, fleet_job};
use super::input::{ScenarioInput, TopologyRef};
use super::operations::{Operations, StorageJob};
use super::profile;
use super::serving::ServingJob;
use super::trace::TraceJob;
use crate::diag::{At, Decode, Diagnostic, Diagnostics, Node, SourceId, Span, codes};
use crate::economics::CostPlan;
use crate::fabric::{Fabric, FabricInput, TopologyInput};
use crate::hardware::Catalogue;
use crate::kernels::Profiles;
use crate::training::Config;
use std::path::Path;
use std::sync::Arc;

/// What a scenario computes.
pub enum Job {
    /// A training step, and perhaps the run of it.
    Training {
        /// The job.
        config: Box<Config>,
        /// Optimizer steps of the run, where one is given.
        steps: Option<f64>,
        /// Whether the way that experts run was left open: the answer is a band over all expert stacks.
        band: bool,
        /// Checkpoints, failures, feeding of data.
        operations: Box<Operations>,
    },
    /// Serving of requests.
    Serving(Box<ServingJob>),
    /// A collective over sizes.
    Collective(Box<Sweep>),
    /// A trace of a job.
    Trace(Box<TraceJob>),
    /// The feeding of accelerators that only take data and time.
    Storage(Box<StorageJob>),
    /// Many jobs on one cluster.
    Fleet(Box<FleetJob>),
}

/// A checked scenario: a fabric and a job that fit each other.
pub struct Scenario {
    /// Title.
    pub title: String,
    /// Seed.
    pub seed: u64,
    /// Hash of all that was read.
    pub hash: String,
    /// The cluster; scenarios of a sweep or a plan share it.
    pub fabric: Arc<Fabric>,
    /// What it computes.
    pub job: Job,
    /// Payment and site.
    pub cost: CostPlan,
    /// Kernel profiles.
    pub profiles: Profiles,
    /// Whether any value comes from a stand-in and not from a machine.
    pub synthetic: bool,
}

/// Loads a scenario file; `None` when anything is wrong, which `diags` then holds.
pub fn load(path: &Path, overrides: &[String], seed: Option<u64>, diags: &mut Diagnostics) -> Option<Scenario> {
    let source = diags.read_file(path, None)?;
    finish(Node::parse(source, diags)?, overrides, seed, diags)
}

/// Loads a scenario from a text; paths in it are relative to the folder of `name`.
pub fn load_text(name: &str, text: &str, overrides: &[String], seed: Option<u64>, diags: &mut Diagnostics) -> Option<Scenario> {
    let source = diags.add_source(name, text);
    finish(Node::parse(source, diags)?, overrides, seed, diags)
}

fn finish(mut node: Node, overrides: &[String], seed: Option<u64>, diags: &mut Diagnostics) -> Option<Scenario> {
    for assignment in overrides {
        if !reach(&mut node, assignment, diags) {
            return None;
        }
        node.set(assignment, diags);
    }
    if diags.has_errors() {
        return None;
    }
    resolve(&node, seed, None, diags)
}

/// The keys of a tree, of a format that this program reads.
pub(super) fn decoded(node: &Node, diags: &mut Diagnostics) -> Option<ScenarioInput> {
    let input = ScenarioInput::decode(node, diags)?;
    if *input.format == 1 {
        return Some(input);
    }
    diags.push(
        Diagnostic::error(codes::UNKNOWN_FORMAT, format!("format {} is newer than this program", *input.format))
            .at(input.format.span, "unknown format")
            .hint("this program reads format 1"),
    );
    None
}

/// Decodes a tree and checks it; the fabric comes from `shared` where one was built from the same input.
pub(super) fn resolve(node: &Node, seed: Option<u64>, shared: Option<&Shared>, diags: &mut Diagnostics) -> Option<Scenario> {
    let root = node.span;
    let input = decoded(node, diags)?;
    let seed = seed.unwrap_or(*input.seed);
    let own = profile::read(&input, diags);
    let (fabric, catalogue) = built(&input, node, seed, shared, own.as_ref(), diags)?;
    let cost = check::cost(&input, &fabric, &catalogue, diags);
    let job = if input.fleet.is_some() {
        check::only(&input, diags)?;
        let profiles = &own.as_ref()?.profiles;
        fleet_job(&input, &fabric, cost.as_ref()?, profiles, diags).map(|f| Job::Fleet(Box::new(f)))
    } else {
        check::job(&input, &fabric, root, diags)
    };
    let (job, cost, own) = (job?, cost?, own?);
    if !profile::all_serve(&own, &job, &fabric, diags) {
        return None;
    }
    let synthetic = own.is_synthetic() || matches!(&job, Job::Fleet(f) if f.synthetic);
    Some(Scenario { title: input.title.value, seed, hash: hash(diags), fabric, job, cost, profiles: own.profiles, synthetic })
}

/// Builds the fabric of a scenario, or takes the one that was built from the same input.
fn built(
    input: &ScenarioInput,
    node: &Node,
    seed: u64,
    shared: Option<&Shared>,
    own: Option<&profile::Own>,
    diags: &mut Diagnostics,
) -> Option<Built> {
    let build = |diags: &mut Diagnostics| {
        let (mut fabric, catalogue) = fabric_of(input, node.span, diags)?;
        fabric.set_seed(seed);
        if let Some(own) = own.filter(|o| !o.measured().is_empty()) {
            fabric.set_measured(own.measured());
        }
        Some((Arc::new(fabric), Arc::new(catalogue)))
    };
    match shared {
        Some(shared) => shared.fabric(node, seed, diags, build),
        None => build(diags),
    }
}

/// Decodes a tree and builds its fabric; the job is not looked at.
pub(super) fn cluster(node: &Node, shared: &Shared, diags: &mut Diagnostics) -> Option<Built> {
    let input = ScenarioInput::decode(node, diags)?;
    let own = profile::read(&input, diags);
    built(&input, node, *input.seed, Some(shared), own.as_ref(), diags)
}

/// The hash of all texts that were read, in order.
fn hash(diags: &Diagnostics) -> String {
    let mut hasher = blake3::Hasher::new();
    for source in diags.sources() {
        hasher.update(&(source.text.len() as u64).to_le_bytes());
        hasher.update(source.text.as_bytes());
    }
    for digest in diags.digests() {
        hasher.update(digest.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Loads a topology file by itself.
pub fn load_topology(path: &Path, overrides: &[String], diags: &mut Diagnostics) -> Option<(Fabric, Catalogue)> {
    let source = diags.read_file(path, None)?;
    let mut node = Node::parse(source, diags)?;
    for assignment in overrides {
        node.set(assignment, diags);
    }
    if diags.has_errors() {
        return None;
    }
    TopologyInput::decode(&node, diags)?.build(diags)
}

fn fabric_of(input: &ScenarioInput, root: Span, diags: &mut Diagnostics) -> Option<(Fabric, Catalogue)> {
    let span = input.topology.span;
    let astra = input.trace.value.as_ref().filter(|t| t.astra.is_some());
    let own = input.fleet.value.as_ref().is_some_and(|f| !f.node.is_empty() || f.nodes.is_some() || !f.kubernetes.is_empty());
    let Some(topology) = &input.topology.value else {
        if own && astra.is_none() {
            return Some((Fabric::empty("nodes of the fleet"), Catalogue::embedded().clone()));
        }
        return astra.is_some().then(|| (Fabric::empty("network of ASTRA-sim"), Catalogue::embedded().clone())).or_else(|| {
            let missing = Diagnostic::error(codes::MISSING_KEY, "the key `topology` is missing");
            diags.push(
                missing
                    .at(head(root, diags), "this table needs `topology`")
                    .hint("add `topology = …`: a topology file; topologies/ holds some"),
            );
            None
        });
    };
    if let Some(trace) = astra {
        let both = Diagnostic::error(codes::CONFLICT, "`topology` does nothing with [trace.astra], whose files describe the network");
        diags.push(both.at(span, "does nothing").at(head(trace.astra.span, diags), "these files"));
        return None;
    }
    match topology {
        TopologyRef::Inline(topology) => changed((**topology).clone(), input, diags)?.build(diags),
        TopologyRef::File(name) => {
            let source = topology_source(name, span, diags)?;
            diags.including(span, |diags| {
                let node = Node::parse(source, diags)?;
                changed(TopologyInput::decode(&node, diags)?, input, diags)?.build(diags)
            })
        }
    }
}

/// Reads the topology file that is named at `span`.
pub(super) fn topology_source(name: &str, span: Span, diags: &mut Diagnostics) -> Option<SourceId> {
    let folder = diags.folder_of(span.source);
    match embedded_topology(&diags.source(span.source).name, name) {
        Some(text) => Some(diags.add_source(name, text)),
        None => diags.read_file(&folder.join(name), Some(span)),
    }
}

/// Topologies of the embedded scenarios, which have no folder.
fn embedded_topology(scenario: &str, name: &str) -> Option<&'static str> {
    let known = [("../../topologies/dgx-a100-hdr.toml", include_str!("../../topologies/dgx-a100-hdr.toml"))];
    scenario.starts_with("(embedded)").then(|| known.into_iter().find(|(n, _)| *n == name).map(|(_, t)| t)).flatten()
}

/// The topology with the scenario's number of nodes and degraded parts.
fn changed(mut topology: TopologyInput, input: &ScenarioInput, diags: &mut Diagnostics) -> Option<TopologyInput> {
    topology.degraded.value.extend(input.degraded.iter().cloned());
    let nodes = input.nodes;
    let Some(wanted) = nodes.value else { return Some(topology) };
    let put = At { value: Some(wanted), span: nodes.span };
    if topology.node.len() > 1 {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "`nodes` does nothing where the topology has several node templates")
                .at(nodes.span, "does nothing")
                .hint("set the `count` of each template"),
        );
        return None;
    }
    if let Some(first) = topology.node.value.first_mut() {
        first.value.count.value = None;
    }
    match &mut topology.fabric.value {
        FabricInput::FatTree(t) | FabricInput::Rail(t) | FabricInput::RailOnly(t) => t.nodes = put,
        FabricInput::Dragonfly(d) | FabricInput::DragonflyPlus(d) => d.nodes = put,
        FabricInput::Single(s) => s.nodes = put,
        FabricInput::Explicit(e) => e.nodes = put,
        FabricInput::None(n) => n.nodes = At { value: wanted, span: nodes.span },
    }
    Some(topology)
}

/// The first line of a span: where a whole table is to blame.
pub(super) fn head(span: Span, diags: &Diagnostics) -> Span {
    let text = &diags.source(span.source).text;
    let start = span.start as usize;
    let line = text.get(start..).and_then(|t| t.find('\n')).map_or(text.len(), |i| start + i);
    Span { end: (line as u32).min(span.end.max(span.start)), ..span }
}
