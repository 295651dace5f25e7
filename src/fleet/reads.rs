//! Weights of replicas that start: read from a storage tier over the fabric, slower the more start at once.
//!
//! Every read is an activity of one max-min fair solver over the links between the tier and the nodes that the replica got. Jobs that
//! train do not share links with it (`docs/models/scheduling.md`).

use super::grant::Grant;
use crate::fabric::{AcceleratorId, Fabric, TierId};
use crate::fair::{ActivityId, ResourceId};
use crate::ids::Id;
use crate::simulate::Fluid;
use crate::storage::{Client, Direction, Transfer, transfer};
use std::collections::BTreeMap;

/// Weights of a service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Where they lie.
    pub tier: TierId,
    /// Bytes that a replica reads.
    pub bytes: f64,
}

/// Requests of a read of weights: as loaders of safetensors files do, 16 MiB.
const REQUEST: f64 = 16.0 * 1_048_576.0;

/// All reads of a fleet.
pub struct Reads<'a> {
    fabric: &'a Fabric,
    /// Weights of each service, where it reads any.
    weights: &'a [Option<Weights>],
    first: Vec<u32>,
    fluid: Fluid,
    resources: Vec<Option<ResourceId>>,
    /// Replicas that read: the activity, and the seconds beside it.
    open: BTreeMap<u32, (ActivityId, f64)>,
    ended: Vec<u32>,
}

impl<'a> Reads<'a> {
    /// None yet.
    #[must_use]
    pub fn new(fabric: &'a Fabric, weights: &'a [Option<Weights>]) -> Self {
        let first = fabric.first_accelerators().iter().map(|f| f.map_or(0, |a| a.0)).collect();
        Self {
            fabric,
            weights,
            first,
            fluid: Fluid::new(),
            resources: vec![None; fabric.link_count()],
            open: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    /// A replica of a service begins to read on the nodes that it got; returns whether it reads at all.
    pub fn start(&mut self, now: f64, replica: u32, service: u32, grant: &Grant) -> bool {
        let Some(weights) = self.weights.get(service as usize).copied().flatten() else { return false };
        let of = |p: &super::Part| {
            let (first, mask) = (self.first[p.node as usize], p.mask);
            (0..64).filter(move |i| mask >> i & 1 == 1).map(move |i| AcceleratorId(first + i))
        };
        let ranks: Vec<AcceleratorId> = grant.parts.iter().flat_map(of).collect();
        let each = weights.bytes / ranks.len().max(1) as f64;
        let clients: Vec<Client> = ranks.into_iter().map(|at| Client { at, bytes: each, files: 1.0 }).collect();
        let t = transfer(self.fabric, weights.tier, Direction::Read, &clients, REQUEST).unwrap_or_else(Transfer::none);
        if t.bytes <= 0.0 {
            return false;
        }
        let mut uses = Vec::with_capacity(t.traffic.len());
        for &(link, load) in &t.traffic {
            let capacity = self.fabric.link(link).capacity;
            if capacity.is_finite() && load > 0.0 {
                let fluid = &mut self.fluid;
                uses.push((*self.resources[link.index()].get_or_insert_with(|| fluid.add_resource(capacity)), load));
            }
        }
        let most = uses.iter().map(|u| u.1).fold(0.0, f64::max);
        let weight = if most > 0.0 { 1.0 / most } else { 1.0 };
        let cap = if uses.is_empty() { t.cap.min(1e18) } else { t.cap };
        let activity = self.fluid.start_weighted(now, t.bytes, &uses, weight, cap, replica);
        self.open.insert(replica, (activity, t.overhead_s));
        true
    }

    /// A replica stops, whether or not it reads.
    pub fn stop(&mut self, now: f64, replica: u32) {
        if let Some((activity, _)) = self.open.remove(&replica) {
            self.fluid.cancel(now, activity);
        }
    }

    /// When the next read ends, if nothing else happens.
    pub fn next_end(&mut self) -> Option<f64> {
        if self.open.is_empty() { None } else { self.fluid.next_finish() }
    }

    /// Replicas whose reads end by `now`, with the seconds that come beside.
    pub fn finish(&mut self, now: f64, out: &mut Vec<(u32, f64)>) {
        self.ended.clear();
        self.fluid.finish_at(now, &mut self.ended);
        self.ended.sort_unstable();
        for replica in &self.ended {
            out.extend(self.open.remove(replica).map(|(_, beside)| (*replica, beside)));
        }
    }
}
