//! Which accelerator each rank sits on, and the groups of ranks that communicate.
//!
//! Ranks follow Megatron's order: tensor fastest, then context, data and pipeline; rank r sits on accelerator r of the fabric.

use super::config::Parallel;
use crate::fabric::AcceleratorId;

/// `replica` counts context ranks first, then data ranks.
pub(super) fn rank(parallel: &Parallel, tensor: u64, replica: u64, stage: u64) -> AcceleratorId {
    AcceleratorId((tensor + parallel.tensor * (replica + parallel.replicas() * stage)) as u32)
}

/// The replicas (context ranks of data ranks) of some data ranks.
fn replicas<'a>(parallel: &'a Parallel, members: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
    let c = parallel.context;
    members.iter().flat_map(move |&d| (0..c).map(move |i| d * c + i))
}

/// The tensor-parallel groups of a stage over some data ranks.
pub(super) fn tensor_groups(parallel: &Parallel, members: &[u64], stage: u64) -> Vec<Vec<AcceleratorId>> {
    replicas(parallel, members).map(|r| (0..parallel.tensor).map(|t| rank(parallel, t, r, stage)).collect()).collect()
}

/// The groups of a stage that share one copy of what is sharded, `size` replicas each; with all replicas, those that reduce gradients
/// together.
pub(super) fn shard_groups(parallel: &Parallel, stage: u64, size: u64) -> Vec<Vec<AcceleratorId>> {
    let copies = parallel.replicas() / size;
    let group = |t, c| (c * size..(c + 1) * size).map(|d| rank(parallel, t, d, stage)).collect();
    (0..copies).flat_map(|c| (0..parallel.tensor).map(move |t| (t, c))).map(|(t, c)| group(t, c)).collect()
}

/// The groups of a stage that reduce gradients together.
pub(super) fn data_groups(parallel: &Parallel, stage: u64) -> Vec<Vec<AcceleratorId>> {
    shard_groups(parallel, stage, parallel.replicas())
}

/// The groups of a stage that hold the same shard in every copy.
pub(super) fn copy_groups(parallel: &Parallel, stage: u64, size: u64) -> Vec<Vec<AcceleratorId>> {
    let copies = parallel.replicas() / size;
    let group = |t, i| (0..copies).map(|c| rank(parallel, t, c * size + i, stage)).collect();
    (0..size).flat_map(|i| (0..parallel.tensor).map(move |t| (t, i))).map(|(t, i)| group(t, i)).collect()
}

/// The groups of a stage that share the experts: its ranks in order.
pub(super) fn expert_groups(parallel: &Parallel, stage: u64) -> Vec<Vec<AcceleratorId>> {
    let first = parallel.tensor * parallel.replicas() * stage;
    let group = |g| (0..parallel.expert).map(|i| AcceleratorId((first + g * parallel.expert + i) as u32)).collect();
    (0..parallel.expert_replicas()).map(group).collect()
}

/// The groups of a stage that hold the same experts.
pub(super) fn expert_replica_groups(parallel: &Parallel, stage: u64) -> Vec<Vec<AcceleratorId>> {
    let first = parallel.tensor * parallel.replicas() * stage;
    let group = |i| (0..parallel.expert_replicas()).map(|g| AcceleratorId((first + g * parallel.expert + i) as u32)).collect();
    (0..parallel.expert).map(group).collect()
}

/// The context-parallel groups of a stage over some data ranks.
pub(super) fn context_groups(parallel: &Parallel, members: &[u64], stage: u64) -> Vec<Vec<AcceleratorId>> {
    let c = parallel.context;
    members
        .iter()
        .copied()
        .flat_map(|d| (0..parallel.tensor).map(move |t| (t, d)))
        .map(|(t, d)| (0..c).map(|i| rank(parallel, t, d * c + i, stage)).collect())
        .collect()
}

/// The pairs of ranks at the same position of two stages, over some data ranks.
pub(super) fn stage_pairs(parallel: &Parallel, members: &[u64], from: u64, to: u64) -> Vec<Vec<AcceleratorId>> {
    replicas(parallel, members)
        .flat_map(|d| (0..parallel.tensor).map(move |t| (t, d)))
        .map(|(t, d)| vec![rank(parallel, t, d, from), rank(parallel, t, d, to)])
        .collect()
}
