//! What a job keeps: the bytes that a checkpoint of each rank holds, and who reads input data.
//!
//! Mixed precision with Adam: 2 bytes of weights, 4 of master weights and 8 of moments for each parameter, 14 together. With a sharded
//! optimizer (ZeRO-1) the first replica writes the weights and every replica its part of the rest, so the first writes most.

use super::config::{Config, Parallel, Sharding};
use super::offload::Shelf;
use super::place::rank;
use super::weights::stage_weights;
use crate::fabric::AcceleratorId;

/// Bytes of a parameter's weight in a checkpoint.
const WEIGHT: f64 = 2.0;

/// What one rank keeps in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shard {
    /// The rank's accelerator.
    pub at: AcceleratorId,
    /// Bytes that it writes.
    pub written: f64,
    /// Bytes that it needs to go on.
    pub needed: f64,
    /// Of both, the bytes that lie on the accelerator: the rest is on hosts or drives already.
    pub copied: [f64; 2],
}

/// The shards of all ranks of a job whose layers are split so. What several replicas hold is written by the first of them; frozen weights
/// under adapters are not written.
#[must_use]
pub fn shards(config: &Config, layers: &[Vec<u64>]) -> Vec<Shard> {
    let p = &config.parallel;
    let replicas = p.replicas();
    let of_weights = if config.gathers_layers() { config.shard_ranks() } else { 1 };
    let of_optimizer = config.optimizer_shards();
    let state = config.optimizer.state_bytes();
    let mut out = Vec::with_capacity(p.ranks() as usize);
    for stage in 0..p.pipeline {
        // Of two copies of the model the first writes what both hold.
        let first_copy = !p.two_copies() || 2 * stage < p.pipeline;
        let held = stage_weights(config, layers, stage);
        let trained = held.trained(config);
        let weights = WEIGHT * trained.common / of_weights as f64;
        let optimizer = state * trained.common / of_optimizer;
        let (experts, own_experts) = (WEIGHT * trained.routed, state * (trained.owned(config) - trained.common / of_optimizer));
        for replica in 0..replicas {
            for tensor in 0..p.tensor {
                // Experts lie over the ranks of a stage in order; the first group writes them.
                let first_experts = first_copy && tensor + p.tensor * replica < p.expert;
                let own = first_copy || config.sharding != Sharding::None;
                let mut narrow = if first_copy && replica < of_weights { weights } else { 0.0 };
                narrow += if first_experts { experts } else { 0.0 };
                let mut wide = if own && (replica as f64) < of_optimizer { optimizer } else { 0.0 };
                wide += if first_experts || config.sharding != Sharding::None { own_experts } else { 0.0 };
                wide += config.bag_bytes();
                let all = WEIGHT * (held.common / of_weights as f64 + held.routed);
                let state = optimizer + own_experts + config.bag_bytes();
                // What lies on hosts or drives anyway is not copied there.
                let here = |shelf: Option<Shelf>, bytes: f64| if shelf.is_some() { 0.0 } else { bytes };
                let of_device = |narrow, wide| here(config.offload.weights, narrow) + here(config.offload.optimizer, wide);
                out.push(Shard {
                    at: rank(p, tensor, replica, stage),
                    written: narrow + wide,
                    needed: all + state,
                    copied: [of_device(narrow, wide), of_device(all, state)],
                });
            }
        }
    }
    out
}

/// The ranks that read input data: the first tensor rank of the first and of the last stage, for tokens and labels.
#[must_use]
pub fn readers(parallel: &Parallel) -> Vec<AcceleratorId> {
    let ends = if parallel.pipeline > 1 { vec![0, parallel.pipeline - 1] } else { vec![0] };
    let of = |stage: u64| (0..parallel.data).map(move |d| rank(parallel, 0, d * parallel.context, stage));
    ends.into_iter().flat_map(of).collect()
}
