//! The feeding of data on the fabric: of a training job, and of emulated accelerators.

use super::operations::StorageJob;
use crate::fabric::{AcceleratorId, Fabric};
use crate::ids::Id;
use crate::kernels::Profiles;
use crate::metrics::{StorageOutcome, UtilizationPoint};
use crate::operations::{Feed, FeedPlan, Host, feed_host, kept_rate, request_of, supply, sustained};
use crate::storage::{Client, Direction, transfer};
use crate::training::{Config, readers, simulate_step_beside};

/// Steps of a training job that are simulated: enough for the prefetched batches to be spent and the rest to be steady.
const STEPS: u32 = 200;

/// How a host is fed with a supply, from memory in part.
fn feed(plan: &FeedPlan, host: Host, cached: f64, memory: f64, seed: u64) -> Feed {
    feed_host(plan, with_kept(host, cached, memory), seed)
}

/// The host with what it gets when memory serves a share of the reads.
fn with_kept(host: Host, cached: f64, memory: f64) -> Host {
    Host { supply: if cached >= 1.0 { memory } else { (host.supply / (1.0 - cached)).min(memory) }, ..host }
}

fn outcome(plan: &FeedPlan, fabric: &Fabric, hosts: usize, readers: u64, host: Host, feed: &Feed, cached: f64) -> StorageOutcome {
    let hosts_f = hosts as f64;
    StorageOutcome {
        tier: fabric.tier(plan.tier).name.clone(),
        hosts: hosts as u64,
        accelerators: readers,
        accelerator_utilization: feed.utilization,
        samples_per_s: feed.samples_per_s * hosts_f,
        bytes_per_s: feed.samples_per_s * hosts_f * plan.sample_bytes,
        demand_bytes_per_s: hosts_f * f64::from(host.readers) * host.batch * plan.sample_bytes / (host.compute + plan.overhead),
        supply_bytes_per_s: host.supply * hosts_f,
        first_step_s: feed.first,
        step_s: feed.step,
        compute_s: host.compute,
        data_wait_s: feed.wait,
        contention_s: 0.0,
        sustained_per_host: None,
        target_utilization: None,
        curve: Vec::new(),
        cached_share: cached,
    }
}

/// Emulated accelerators on every node.
pub(super) fn emulated(fabric: &Fabric, job: &StorageJob, seed: u64) -> Option<StorageOutcome> {
    let hosts = fabric.node_count();
    let first: Vec<AcceleratorId> = firsts(fabric, (0..fabric.accelerator_count()).map(AcceleratorId::from_index));
    let all: Vec<AcceleratorId> = (0..fabric.accelerator_count()).map(AcceleratorId::from_index).collect();
    let (rate, cached) = supply(&job.feed, fabric, &all, hosts)?;
    let cores = *fabric.host(fabric.site(first[0]).node).cores as f64;
    let host = Host { readers: job.accelerators, batch: job.batch, compute: job.compute, supply: rate, cores, steps: job.steps };
    let kept = kept_rate(&job.feed, fabric, &all, hosts)?;
    let fed = feed(&job.feed, host, cached, kept, seed);
    let readers = u64::from(job.accelerators) * hosts as u64;
    let mut out = outcome(&job.feed, fabric, hosts, readers, host, &fed, cached);
    out.sustained_per_host =
        Some(u64::from(sustained(&job.feed, Host { steps: job.steps.min(STEPS), ..with_kept(host, cached, kept) }, job.target, seed)));
    out.target_utilization = Some(job.target);
    let most = (2 * out.sustained_per_host.unwrap_or(1).max(u64::from(job.accelerators) / 2)).clamp(4, 2048);
    let at = |n: u64| {
        let fed = feed(&job.feed, Host { readers: n as u32, steps: job.steps.min(STEPS), ..host }, cached, kept, seed);
        UtilizationPoint { accelerators: n, utilization: fed.utilization }
    };
    let step = (most / 12).max(1);
    out.curve = (1..=most / step).map(|i| at(i * step)).collect();
    Some(out)
}

/// The first of some accelerators on each node.
fn firsts(fabric: &Fabric, all: impl Iterator<Item = AcceleratorId>) -> Vec<AcceleratorId> {
    let mut out: Vec<AcceleratorId> = Vec::new();
    for a in all {
        if out.last().is_none_or(|&b| fabric.site(b).node != fabric.site(a).node) {
            out.push(a);
        }
    }
    out
}

/// A training job whose steps take `step` seconds: how it is fed, and the mean stall of a step over the epochs of the run.
pub(super) fn training(
    (fabric, profiles): (&Fabric, &Profiles),
    config: &Config,
    plan: &FeedPlan,
    step: f64,
    steps: Option<f64>,
    seed: u64,
) -> Option<(StorageOutcome, f64)> {
    let readers = readers(&config.parallel);
    let nodes = firsts(fabric, readers.iter().copied());
    let hosts = nodes.len();
    let (rate, cached) = supply(plan, fabric, &readers, hosts)?;
    let most = nodes.iter().map(|&n| readers.iter().filter(|&&r| fabric.site(r).node == fabric.site(n).node).count()).max().unwrap_or(1);
    let batch = config.global_batch as f64 / config.parallel.data as f64;
    let cores = *fabric.host(fabric.site(nodes[0]).node).cores as f64;
    let slowed = contention((fabric, profiles), config, plan, &readers, batch, step);
    let kept = kept_rate(plan, fabric, &readers, hosts)?;
    let fed = |cached: f64| {
        // What is kept from one epoch to the next is not read over the network again.
        let host = Host { readers: most as u32, batch, compute: step + slowed * (1.0 - cached), supply: rate, cores, steps: STEPS };
        (host, feed(plan, host, cached, kept, seed))
    };
    let (host, cold) = fed(0.0);
    let stall = |f: &Feed| (f.step - step).max(0.0);
    let epochs = steps.map_or(1.0, |s| (s * config.global_batch as f64 / plan.samples).max(1.0));
    let mean = if cached > 0.0 && epochs > 1.0 {
        let warm = fed(cached).1;
        (stall(&cold) + (epochs - 1.0) * stall(&warm)) / epochs
    } else {
        stall(&cold)
    };
    // Rounding of sums of steps is no stall.
    let mean = if mean < 1e-9 * step { 0.0 } else { mean };
    let out = outcome(plan, fabric, hosts, readers.len() as u64, host, &cold, cached);
    Some((StorageOutcome { contention_s: slowed, compute_s: step, ..out }, mean))
}

/// Seconds that reading the data of one step adds to a step, on the links that its collectives load too.
fn contention(
    (fabric, profiles): (&Fabric, &Profiles),
    config: &Config,
    plan: &FeedPlan,
    readers: &[AcceleratorId],
    batch: f64,
    step: f64,
) -> f64 {
    let files = (batch / plan.samples_per_file).max(1.0);
    let clients: Vec<Client> = readers.iter().map(|&at| Client { at, bytes: batch * plan.sample_bytes, files }).collect();
    let Some(read) = transfer(fabric, plan.tier, Direction::Read, &clients, request_of(plan, fabric)) else { return 0.0 };
    // What cannot be read in the time of a step is waited for, which the feed counts.
    let share = (step / read.time(fabric)).min(1.0);
    let beside = simulate_step_beside(config, fabric, profiles, &read, share).map_or(step, |s| s.time_s());
    let lost = (beside - step).max(0.0);
    if lost > 1e-9 * step { lost } else { 0.0 }
}
