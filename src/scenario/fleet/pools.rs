//! Nodes of a fleet: from the topology, from pools, or from a table.

use super::check::{conflict, trace_source};
use super::input::{FleetInput, PoolInput};
use super::kubernetes::Kubernetes;
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::economics::{CostPlan, Ownership};
use crate::fabric::{AcceleratorId, Fabric, NodeId};
use crate::fleet::{Cluster, ElasticPool, Node, Pool, read_nodes};
use crate::hardware::{Catalogue, PriceKind};
use crate::scenario::execute::BUSY_POWER;

/// Accelerators of a node and nodes of a fleet at most.
const MOST_ACCELERATORS: u32 = 64;
const MOST_NODES: u64 = 1_000_000;
const MOST_POOLS: usize = 64;

/// The cluster of a fleet.
pub(super) fn cluster(
    given: &FleetInput,
    fabric: &Fabric,
    cost: &CostPlan,
    kube: Option<&mut Kubernetes>,
    span: Span,
    diags: &mut Diagnostics,
) -> Option<Cluster> {
    let from_fabric = fabric.node_count() > 0;
    let ways = [from_fabric, !given.node.is_empty(), given.nodes.is_some(), kube.is_some()];
    if ways.iter().filter(|w| **w).count() != 1 {
        let message = if ways.iter().any(|w| *w) { "the nodes of the fleet are given twice" } else { "the fleet has no nodes" };
        let mut told = Diagnostic::error(codes::CONFLICT, message).at(crate::scenario::load::head(span, diags), "this fleet");
        told = told.hint("give one of `topology`, [[fleet.node]] tables, `fleet.nodes` and nodes of Kubernetes");
        diags.push(told);
        return None;
    }
    if let Some(kube) = kube {
        return kube.cluster(diags);
    }
    if from_fabric {
        return of_fabric(fabric, cost, span, diags);
    }
    if let Some(name) = given.nodes.value.as_deref() {
        return of_table(name, given.nodes.span, diags);
    }
    of_pools(&given.node.value, cost, diags)
}

fn of_fabric(fabric: &Fabric, cost: &CostPlan, span: Span, diags: &mut Diagnostics) -> Option<Cluster> {
    let first = fabric.first_accelerators();
    let places = fabric.leaves_and_pods();
    let overhead = fabric.overhead_power() / fabric.node_count() as f64;
    let mut pools: Vec<Option<Pool>> = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    let mut nodes = Vec::new();
    for n in 0..fabric.node_count() {
        let id = NodeId(n as u32);
        let (template, name) = fabric.template_of(id);
        if pools.len() <= template {
            pools.resize(template + 1, None);
        }
        let size = fabric.accelerators_per_node(id);
        if size > MOST_ACCELERATORS {
            let message = format!("nodes of {size} accelerators: a scheduler's node has {MOST_ACCELERATORS} at most");
            diags.push(Diagnostic::error(codes::UNSUPPORTED, message).at(crate::scenario::load::head(span, diags), "this fleet"));
            return None;
        }
        if pools[template].is_none() {
            let part = fabric.part(first[n].unwrap_or(AcceleratorId(0)));
            let kind = parts.iter().position(|p| *p == part.id.value).unwrap_or_else(|| {
                parts.push(part.id.value.clone());
                parts.len() - 1
            });
            let (idle, tdp) = (part.idle_power.get(), part.tdp.get());
            let host = fabric.host(id);
            pools[template] = Some(Pool {
                name: name.to_owned(),
                kind: kind as u16,
                part: part.id.value.clone(),
                accelerators: size as u8,
                cpus: *host.cores as f64,
                memory: host.memory.get(),
                price: price_of(&part.id, cost, fabric.accelerator_count()),
                power: [idle, idle + (tdp - idle) * BUSY_POWER].map(|w| w * f64::from(size) + overhead),
                region: 0,
                elastic: None,
            });
        }
        let domain = fabric.site(first[n].unwrap_or(AcceleratorId(0))).domain.0;
        nodes.push(Node { pool: template as u16, trees: [domain, places[n].0, places[n].1] });
    }
    Some(Cluster::new(pools.into_iter().flatten().collect(), nodes))
}

/// Dollars for an accelerator and second.
fn price_of(part: &str, cost: &CostPlan, accelerators: usize) -> Option<f64> {
    match &cost.ownership {
        Ownership::Rent { rate, source } if source.starts_with("given") => Some(*rate),
        Ownership::Owned { price, life, utilization, .. } if accelerators > 0 => Some(price / (life * utilization) / accelerators as f64),
        _ => Catalogue::embedded().price(part, PriceKind::OnDemand).and_then(|p| *p.rent).map(|r| r.get()),
    }
}

fn of_pools(given: &[At<PoolInput>], cost: &CostPlan, diags: &mut Diagnostics) -> Option<Cluster> {
    let before = diags.error_count();
    let (mut pools, mut nodes, mut parts) = (Vec::new(), Vec::new(), Vec::<String>::new());
    let (mut leaves, mut pods) = (0u32, 0u32);
    let total: u64 = given.iter().map(|p| *p.count).fold(0, u64::saturating_add);
    if total > MOST_NODES || given.len() > MOST_POOLS {
        let message = format!("{total} nodes in {} pools: at most {MOST_NODES} in {MOST_POOLS}", given.len());
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(given[0].count.span, "out of range"));
        return None;
    }
    for (i, pool) in given.iter().enumerate() {
        if given[..i].iter().any(|p| p.name.value == pool.name.value) {
            let message = format!("there are two pools of nodes named `{}`", *pool.name);
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(pool.name.span, "second"));
        }
        pool_fits(pool, diags);
        let size = (*pool.accelerators).min(u64::from(MOST_ACCELERATORS)) as u8;
        let part = if size == 0 { String::new() } else { pool.part.value.clone().unwrap_or_else(|| pool.name.value.clone()) };
        let known = Catalogue::embedded().accelerators.get(&part);
        let kind = parts.iter().position(|p| *p == part).unwrap_or_else(|| {
            parts.push(part.clone());
            parts.len() - 1
        });
        let watts = known.map_or([0.0; 2], |k| {
            let (idle, tdp) = (k.idle_power.get(), k.tdp.get());
            [idle, idle + (tdp - idle) * BUSY_POWER].map(|w| w * f64::from(size))
        });
        let busy = pool.power.map_or(watts[1], |w| w.get());
        pools.push(Pool {
            name: pool.name.value.clone(),
            kind: kind as u16,
            accelerators: size,
            cpus: pool.cpus.unwrap_or(f64::INFINITY),
            memory: pool.memory.map_or(f64::INFINITY, |b| b.get()),
            price: pool.price.map(|p| p.get()).or_else(|| price_of(&part, cost, 0)),
            power: [pool.idle_power.map_or(if pool.power.is_some() { busy } else { watts[0] }, |w| w.get()), busy],
            part,
            region: 0,
            elastic: pool.elastic.value.as_ref().map(|e| ElasticPool {
                least: (*e.least).min(*pool.count) as u32,
                provision: e.provision.get(),
                idle: e.idle.get(),
                life: e.life.get(),
            }),
        });
        let per_leaf = pool.per_leaf.unwrap_or(*pool.count).max(1);
        let per_pod = pool.leaves_per_pod.unwrap_or(u64::MAX);
        for n in 0..*pool.count {
            let leaf = n / per_leaf;
            nodes.push(Node { pool: i as u16, trees: [nodes.len() as u32, leaves + leaf as u32, pods + (leaf / per_pod) as u32] });
        }
        let last = (*pool.count - 1) / per_leaf;
        leaves += last as u32 + 1;
        pods += (last / per_pod) as u32 + 1;
    }
    (diags.error_count() == before).then(|| Cluster::new(pools, nodes))
}

fn pool_fits(pool: &PoolInput, diags: &mut Diagnostics) {
    if *pool.accelerators > u64::from(MOST_ACCELERATORS) {
        let message = format!("nodes of {} accelerators: {MOST_ACCELERATORS} at most", *pool.accelerators);
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(pool.accelerators.span, "out of range"));
    }
    if *pool.accelerators == 0 && pool.part.is_some() {
        conflict(pool.part.span, "`part` does nothing for nodes without accelerators", "leave it out", diags);
    }
    if *pool.accelerators == 0 && pool.cpus.is_none() {
        let message = "nodes without accelerators need `cpus`";
        diags.push(Diagnostic::error(codes::MISSING_KEY, message).at(pool.name.span, "this pool"));
    }
    if pool.leaves_per_pod.is_some() && pool.per_leaf.is_none() {
        conflict(
            pool.leaves_per_pod.span,
            "`leaves_per_pod` does nothing without `per_leaf`",
            "say how many nodes are under a leaf",
            diags,
        );
    }
    if pool.idle_power.is_some() && pool.power.is_none() {
        conflict(pool.idle_power.span, "`idle_power` does nothing without `power`", "give both", diags);
    }
    if let (Some(idle), Some(busy)) = (*pool.idle_power, *pool.power)
        && idle.get() > busy.get()
    {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "an idle node draws more than one at work").at(pool.idle_power.span, "here"));
    }
    if let Some(e) = &pool.elastic.value
        && *e.least > *pool.count
    {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "more nodes are always there than there are").at(e.least.span, "here"));
    }
}

fn of_table(name: &str, span: Span, diags: &mut Diagnostics) -> Option<Cluster> {
    let source = trace_source(name, span, diags)?;
    let (rows, bad) = read_nodes(&diags.source(source).text);
    super::traced::tell_bad("node", source, span, &bad, diags);
    if !bad.is_empty() {
        return None;
    }
    let (mut pools, mut nodes): (Vec<Pool>, Vec<Node>) = (Vec::new(), Vec::new());
    let mut parts: Vec<String> = Vec::new();
    for row in rows {
        let same = |p: &Pool| {
            (p.part == row.part && u32::from(p.accelerators) == row.accelerators) && p.cpus == row.cpus && p.memory == row.memory
        };
        let pool = pools.iter().position(same).unwrap_or_else(|| {
            let kind = parts.iter().position(|p| *p == row.part).unwrap_or_else(|| {
                parts.push(row.part.clone());
                parts.len() - 1
            });
            pools.push(Pool {
                name: format!("{} × {}, {} cores", row.accelerators, if row.part.is_empty() { "none" } else { &row.part }, row.cpus),
                kind: kind as u16,
                part: row.part.clone(),
                accelerators: row.accelerators as u8,
                cpus: row.cpus,
                memory: row.memory,
                price: None,
                power: [0.0; 2],
                region: 0,
                elastic: None,
            });
            pools.len() - 1
        });
        nodes.push(Node { pool: pool as u16, trees: [nodes.len() as u32, 0, 0] });
    }
    if nodes.is_empty() || pools.len() > MOST_POOLS {
        let message =
            if nodes.is_empty() { "this table has no nodes".to_owned() } else { format!("more than {MOST_POOLS} kinds of nodes") };
        diags.push(Diagnostic::error(codes::BAD_TABLE, message).at(span, "this table"));
        return None;
    }
    Some(Cluster::new(pools, nodes))
}
