//! Going on with fewer data-parallel replicas: the step of the smaller job, simulated for each number of replicas.

use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::Profiles;
use crate::training::{Config, Parallel, Sharding, simulate_step_with};

/// Smaller jobs that are simulated; with fewer replicas than that the job waits for repairs.
const STATES: usize = 4;

/// How much longer the same work takes with some nodes missing, by their number, none first. The job is placed anew on the nodes that are
/// left, so that as many replicas run as fit; each takes more microbatches of the same global batch.
pub(super) fn shrunk(config: &Config, (fabric, profiles): (&Fabric, &Profiles), time: f64) -> Vec<f64> {
    let per_node = u64::from(fabric.accelerators_per_node(fabric.site(AcceleratorId(0)).node)).max(1);
    let p = &config.parallel;
    let nodes = p.ranks().div_ceil(per_node);
    let mut out = vec![1.0];
    let (mut data, mut factor, mut states) = (p.data, 1.0, 0);
    for missing in 1..nodes {
        let left = ((nodes - missing) * per_node / (p.ranks() / p.data)).min(p.data);
        if left != data {
            states += 1;
            let smaller = if states > STATES || left == 0 { None } else { with_replicas(config, left, (fabric, profiles), time) };
            let Some(longer) = smaller else { break };
            (data, factor) = (left, longer.max(factor));
        }
        out.push(factor);
    }
    out
}

/// Time of the same work with fewer replicas over that of all; `None` where the smaller job does not fit together.
fn with_replicas(config: &Config, data: u64, (fabric, profiles): (&Fabric, &Profiles), time: f64) -> Option<f64> {
    let p = &config.parallel;
    if !(p.tensor * data * p.context).is_multiple_of(p.expert) {
        return None;
    }
    // Whole microbatches on every replica (whole rounds of stages where they are interleaved): a little more or less than the global batch.
    let rounds = if p.virtual_stages > 1 { p.pipeline } else { 1 };
    let unit = config.microbatch * data * rounds;
    let batch = (config.global_batch as f64 / unit as f64).round().max(1.0) as u64 * unit;
    let parallel = Parallel { data, ..*p };
    let sharding = if parallel.replicas() == 1 { Sharding::None } else { config.sharding };
    let group = config.shard_group.filter(|g| parallel.replicas().is_multiple_of(*g));
    let other = Config { parallel, global_batch: batch, sharding, shard_group: group, ..config.clone() };
    let step = simulate_step_with(&other, fabric, profiles).ok()?.time_s();
    Some((step / batch as f64) / (time / config.global_batch as f64))
}
