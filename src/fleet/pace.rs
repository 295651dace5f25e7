//! How long the steps of jobs take on the nodes that they got, beside whom they share links with.
//!
//! A step is simulated when nothing like it was before: the same model on nodes that lie to each other in the same way takes as long
//! (on fabrics that spread evenly; hashed paths differ from node to node). Jobs that load a common link are simulated together.

use super::cluster::Node;
use super::grant::Grant;
use super::heat::Heat;
use super::reads::{Reads, Weights};
use super::step_times::StepTimes;
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::kernels::Profiles;
use crate::training::{Config, Member, StepError, step_alone, steps_together};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// What a class of jobs trains, in its layout.
#[derive(Debug, Clone)]
pub struct Model {
    /// The job.
    pub config: Config,
    /// Seconds of a step by itself, near together.
    pub step: f64,
}

/// A job that runs.
struct Placed {
    model: u16,
    ranks: Vec<AcceleratorId>,
    /// Links with the bytes of a step over each.
    links: Vec<(LinkId, f64)>,
    alone: f64,
    step: f64,
    /// Since when its step takes as long.
    since: f64,
}

/// Step times of the models of a fleet.
pub struct Models<'a> {
    fabric: &'a Fabric,
    profiles: &'a Profiles,
    models: &'a [Model],
    nodes: &'a [Node],
    first: Vec<u32>,
    /// By number, so that nothing depends on a hash.
    placed: BTreeMap<u32, Placed>,
    alone: FxHashMap<Vec<u64>, f64>,
    together: FxHashMap<Vec<u64>, Vec<f64>>,
    stale: bool,
    reads: Reads<'a>,
    /// What the links carry over time.
    pub heat: Heat,
    /// Why a step could not be simulated.
    pub failed: Option<StepError>,
    /// Simulations that were run.
    pub simulated: u64,
}

impl<'a> Models<'a> {
    /// Step times on a fabric whose nodes are those of the cluster, in order.
    #[must_use]
    pub fn new(fabric: &'a Fabric, profiles: &'a Profiles, models: &'a [Model], nodes: &'a [Node], weights: &'a [Option<Weights>]) -> Self {
        let first = fabric.first_accelerators().iter().map(|f| f.map_or(0, |a| a.0)).collect();
        Self {
            fabric,
            profiles,
            models,
            nodes,
            first,
            placed: BTreeMap::new(),
            alone: FxHashMap::default(),
            together: FxHashMap::default(),
            stale: false,
            reads: Reads::new(fabric, weights),
            heat: Heat::default(),
            failed: None,
            simulated: 0,
        }
    }

    /// Accelerators in the order of ranks: node by node as they lie in the fabric.
    fn ranks(&self, grant: &Grant) -> Vec<AcceleratorId> {
        let mut parts = grant.parts.clone();
        parts.sort_unstable_by_key(|p| {
            let [domain, leaf, pod] = self.nodes[p.node as usize].trees;
            (pod, leaf, domain, p.node)
        });
        let of = |p: &super::Part| {
            let (first, mask) = (self.first[p.node as usize], p.mask);
            (0..64).filter(move |i| mask >> i & 1 == 1).map(move |i| AcceleratorId(first + i))
        };
        parts.iter().flat_map(of).collect()
    }

    /// How jobs lie to each other: nodes and subtrees numbered as they come up; on hashed paths and odd fabrics the very accelerators.
    fn class<'b>(&self, jobs: impl Iterator<Item = (u16, &'b [AcceleratorId])>) -> Vec<u64> {
        let exact = !self.fabric.spreads_evenly() || !self.fabric.is_sound();
        let mut seen: [FxHashMap<u32, u64>; 4] = Default::default();
        let mut out = Vec::new();
        for (model, ranks) in jobs {
            out.push(u64::MAX - u64::from(model));
            for &a in ranks {
                if exact {
                    out.push(u64::from(a.0));
                    continue;
                }
                let site = self.fabric.site(a);
                let [domain, leaf, pod] = self.nodes[site.node.0 as usize].trees;
                let names = [site.node.0, domain, leaf, pod];
                let mut word = u64::from(site.local);
                for (map, name) in seen.iter_mut().zip(names) {
                    let next = map.len() as u64;
                    word = word << 14 | *map.entry(name).or_insert(next) & 0x3fff;
                }
                out.push(word);
            }
        }
        out
    }

    fn alone(&mut self, model: u16, ranks: &[AcceleratorId]) -> (f64, Vec<(LinkId, f64)>) {
        let key = self.class(std::iter::once((model, ranks)));
        let config = &self.models[model as usize].config;
        let known = self.alone.get(&key).copied();
        let fabric = self.fabric.with_ranks(ranks);
        let member = Member { config, fabric: &fabric };
        // Links are of this very place.
        match step_alone(member, self.profiles) {
            Ok((seconds, links)) => {
                self.simulated += 1;
                let seconds = known.unwrap_or(seconds);
                self.alone.insert(key, seconds);
                (seconds, links)
            }
            Err(error) => {
                self.failed = Some(error);
                (1.0, Vec::new())
            }
        }
    }

    /// Jobs that share links, directly or through others.
    fn components(&self) -> Vec<Vec<u32>> {
        let ids: Vec<u32> = self.placed.keys().copied().collect();
        let mut parent: Vec<usize> = (0..ids.len()).collect();
        fn root(parent: &mut [usize], mut i: usize) -> usize {
            while parent[i] != i {
                parent[i] = parent[parent[i]];
                i = parent[i];
            }
            i
        }
        let mut owner: FxHashMap<LinkId, usize> = FxHashMap::default();
        for (i, placed) in self.placed.values().enumerate() {
            for &(link, _) in &placed.links {
                let other = *owner.entry(link).or_insert(i);
                let (a, b) = (root(&mut parent, i), root(&mut parent, other));
                parent[a.max(b)] = a.min(b);
            }
        }
        let mut out: Vec<Vec<u32>> = vec![Vec::new(); ids.len()];
        for (i, &id) in ids.iter().enumerate() {
            let r = root(&mut parent, i);
            out[r].push(id);
        }
        out.retain(|c| !c.is_empty());
        out
    }

    /// Step times of jobs that share links.
    fn shared(&mut self, jobs: &[u32]) -> Vec<f64> {
        let key = self.class(jobs.iter().map(|id| (self.placed[id].model, self.placed[id].ranks.as_slice())));
        if let Some(known) = self.together.get(&key) {
            return known.clone();
        }
        let fabrics: Vec<Fabric> = jobs.iter().map(|id| self.fabric.with_ranks(&self.placed[id].ranks)).collect();
        let config = |id: &u32| &self.models[self.placed[id].model as usize].config;
        let members: Vec<Member<'_>> = jobs.iter().zip(&fabrics).map(|(id, fabric)| Member { config: config(id), fabric }).collect();
        let alone: Vec<f64> = jobs.iter().map(|id| self.placed[id].alone).collect();
        let steps = match steps_together(&members, &alone, self.profiles) {
            Ok(steps) => steps,
            Err(error) => {
                self.failed = Some(error);
                alone
            }
        };
        self.simulated += 1;
        self.together.insert(key, steps.clone());
        steps
    }
}

impl StepTimes for Models<'_> {
    fn place(&mut self, now: f64, job: u32, model: u16, grant: &Grant) {
        let ranks = self.ranks(grant);
        let (alone, links) = self.alone(model, &ranks);
        self.placed.insert(job, Placed { model, ranks, links, alone, step: 0.0, since: now });
        self.stale = true;
    }
    fn remove(&mut self, now: f64, job: u32) {
        if let Some(placed) = self.placed.remove(&job) {
            self.heat.add(self.fabric, placed.since, now, placed.step, &placed.links);
        }
        self.stale = true;
    }
    fn read(&mut self, now: f64, replica: u32, service: u32, grant: &Grant) -> bool {
        self.reads.start(now, replica, service, grant)
    }
    fn stop_reading(&mut self, now: f64, replica: u32) {
        self.reads.stop(now, replica);
    }
    fn next_read(&mut self) -> Option<f64> {
        self.reads.next_end()
    }
    fn finish_reads(&mut self, now: f64, out: &mut Vec<(u32, f64)>) {
        self.reads.finish(now, out);
    }
    fn changed(&mut self, now: f64, out: &mut Vec<(u32, f64)>) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        for jobs in self.components() {
            let steps = match jobs[..] {
                [one] => vec![self.placed[&one].alone],
                _ => self.shared(&jobs),
            };
            for (id, step) in jobs.into_iter().zip(steps) {
                if let Some(placed) = self.placed.get_mut(&id)
                    && placed.step != step
                {
                    self.heat.add(self.fabric, placed.since, now, placed.step, &placed.links);
                    (placed.step, placed.since) = (step, now);
                    out.push((id, step));
                }
            }
        }
    }
}
