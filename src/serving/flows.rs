//! What moves over the fabric while requests are served: keys and values between engines and to and from tiers, weights of starting
//! engines. Each is an activity of one max-min fair solver over the links of the fabric.

use super::simulation::EngineSite;
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::fair::{ActivityId, ResourceId};
use crate::ids::Id;
use crate::simulate::Fluid;
use crate::storage::Transfer;
use rustc_hash::FxHashMap;

/// What a flow is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Keys and values of a request on their way to the engine that decodes it.
    Handover(u32),
    /// Weights of an engine that starts.
    Weights(u16),
    /// Cached prompt blocks of a request, from a tier.
    Load(u32),
    /// Prompt blocks to a tier.
    Store,
}

/// Links of a way with the load of one byte, and its latency in seconds.
#[derive(Debug, Clone)]
pub(super) struct Way {
    uses: Vec<(ResourceId, f64)>,
    /// Share against others: a transfer of many ranks weighs on its busiest link like one flow.
    weight: f64,
    cap: f64,
    latency: f64,
}

/// All flows of a run.
pub(super) struct Flows<'f> {
    fabric: &'f Fabric,
    fluid: Fluid,
    resources: Vec<Option<ResourceId>>,
    ways: FxHashMap<(u32, u32), usize>,
    known: Vec<Way>,
    purposes: Vec<(Purpose, f64)>,
    free: Vec<u32>,
    ended: Vec<u32>,
    /// Bytes handed over and loaded so far.
    pub(super) bytes: f64,
}

impl<'f> Flows<'f> {
    pub(super) fn new(fabric: &'f Fabric) -> Self {
        Self {
            fabric,
            fluid: Fluid::new(),
            resources: vec![None; fabric.link_count()],
            ways: FxHashMap::default(),
            known: Vec::new(),
            purposes: Vec::new(),
            free: Vec::new(),
            ended: Vec::new(),
            bytes: 0.0,
        }
    }

    /// When the next flow ends, if nothing else happens.
    pub(super) fn next(&mut self) -> Option<f64> {
        if self.fluid.active() == 0 { None } else { self.fluid.next_finish() }
    }

    /// Ends what ends at `now`: purposes with the latency of their ways.
    pub(super) fn finish(&mut self, now: f64) -> Vec<(Purpose, f64)> {
        self.ended.clear();
        self.fluid.finish_at(now, &mut self.ended);
        self.free.extend(&self.ended);
        self.ended.iter().map(|&token| self.purposes[token as usize]).collect()
    }

    /// Uses of links by loads of one byte; links without limit are left out.
    fn way(&mut self, loads: &[(LinkId, f64)], cap: f64, latency: f64) -> usize {
        let mut uses = Vec::with_capacity(loads.len());
        for &(link, load) in loads {
            let capacity = self.fabric.link(link).capacity;
            if !capacity.is_finite() || load <= 0.0 {
                continue;
            }
            let fluid = &mut self.fluid;
            uses.push((*self.resources[link.index()].get_or_insert_with(|| fluid.add_resource(capacity)), load));
        }
        let most = uses.iter().map(|u| u.1).fold(0.0, f64::max);
        self.known.push(Way { uses, weight: if most > 0.0 { 1.0 / most } else { 1.0 }, cap, latency });
        self.known.len() - 1
    }

    /// The way of keys and values from one rank of an engine to one of another, per byte of all tensor ranks together.
    pub(super) fn between(&mut self, from: (u32, &EngineSite, usize), to: (u32, &EngineSite, usize)) -> usize {
        if let Some(&way) = self.ways.get(&(from.0, to.0)) {
            return way;
        }
        // First rank of a piece of the layers, in an engine with stages the stage that holds it.
        let start = |(_, site, data): (u32, &EngineSite, usize), piece: u64, pieces: u64| {
            let stage = piece * site.lanes as u64 / pieces;
            u64::from(site.first.0) + (data as u64 + stage * site.ranks as u64) * site.tensor
        };
        let pieces = from.1.lanes.max(to.1.lanes) as u64;
        let (s, d) = (from.1.tensor, to.1.tensor);
        let pairs = s.max(d);
        let (mut loads, mut latency) = (FxHashMap::<LinkId, f64>::default(), 0.0f64);
        for piece in 0..pieces {
            let (a, b) = (start(from, piece, pieces), start(to, piece, pieces));
            for i in 0..pairs {
                let at = |first: u64, n: u64| AcceleratorId((first + i * n / pairs) as u32);
                let visit = &mut |link: LinkId, share: f64| *loads.entry(link).or_default() += share / (pairs * pieces) as f64;
                latency = latency.max(self.fabric.route(at(a, s), at(b, d), i, visit));
            }
        }
        let mut loads: Vec<_> = loads.into_iter().collect();
        loads.sort_unstable_by_key(|l| l.0);
        let way = self.way(&loads, f64::INFINITY, latency);
        self.ways.insert((from.0, to.0), way);
        way
    }

    /// The way of a read or write of a tier, kept under a key of the caller's (above all pairs of ranks).
    pub(super) fn tier(&mut self, key: (u32, u32), transfer: impl FnOnce(&Fabric) -> Transfer) -> usize {
        if let Some(&way) = self.ways.get(&key) {
            return way;
        }
        let t = transfer(self.fabric);
        let way = self.way(&t.traffic, t.cap, t.overhead_s);
        self.ways.insert(key, way);
        way
    }

    /// Starts a flow of some bytes at `now`, no faster than `cap` where that is less than what the way allows.
    pub(super) fn start(&mut self, now: f64, bytes: f64, way: usize, cap: f64, purpose: Purpose) -> ActivityId {
        let Way { uses, weight, cap: most, latency } = &self.known[way];
        let token = self.free.pop().unwrap_or_else(|| {
            self.purposes.push((purpose, 0.0));
            self.purposes.len() as u32 - 1
        });
        self.purposes[token as usize] = (purpose, *latency);
        self.bytes += bytes;
        // A way without limits takes no time but its latency.
        let cap = if uses.is_empty() { most.min(cap).min(1e18) } else { most.min(cap) };
        self.fluid.start_weighted(now, bytes, uses, *weight, cap, token)
    }

    /// Lets a flow run as fast as its way allows.
    pub(super) fn release(&mut self, now: f64, flow: ActivityId, way: usize) {
        let cap = if self.known[way].uses.is_empty() { 1e18 } else { self.known[way].cap };
        self.fluid.set_cap(now, flow, cap);
    }
}
