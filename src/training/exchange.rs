//! Exchange of tokens with the ranks of their experts, and of pooled vectors with those of their tables: what travels, and how long it takes
//! on idle links.

use super::lower::Lowering;
use super::place::expert_groups;
use crate::collectives::{Library, Op as Collective};
use crate::fabric::AcceleratorId;
use crate::model::{Bags, Experts};
use crate::workload::RouteId;

/// Dispatch or combine of one pass of a stage.
#[derive(Clone, Copy, Default)]
pub(super) struct ExpertRoute {
    pub(super) route: Option<RouteId>,
    /// Send buffer of a rank, bytes.
    pub(super) bytes: f64,
    /// Seconds of one exchange on idle links.
    pub(super) seconds: f64,
    /// Exchanges inside the passes of the stage.
    pub(super) inside: f64,
}

/// Share of the scale-up data sheet that one-copy dispatchers reach: DeepEP on H100 312 to 336 of 450 GB/s, on B200 643 to 675 of 900.
const SCALE_UP_SHARE: f64 = 0.71;
/// Start-up of one-copy dispatchers inside a domain, and what a network adds.
const ONE_COPY_START: f64 = 30e-6;
const ONE_COPY_NETWORK: f64 = 60e-6;

impl Lowering<'_, '_> {
    pub(super) fn add_expert_route(&mut self, class: u64, library: &Library) -> ExpertRoute {
        let config = self.config;
        if let Some(bags) = config.model.bags {
            return self.add_bag_route(class, bags, library);
        }
        let (parallel, Some(experts)) = (config.parallel, config.model.experts) else { return ExpertRoute::default() };
        if parallel.expert == 1 {
            return ExpertRoute::default();
        }
        let stage = self.stage(class);
        if class >= self.stages() {
            // The groups of all variants of a stage are one route.
            return self.experts[stage as usize];
        }
        let groups = expert_groups(&parallel, stage);
        let group = self.communicator(&groups, library);
        let classes = self.classes_of(stage);
        let route = self.route(format!("experts of stage {stage}"), &group, Collective::AllToAll, &classes);
        let sequence = if parallel.sequence { parallel.tensor as f64 } else { 1.0 };
        let tokens = config.microbatch_tokens() as f64 / sequence * config.expert_imbalance;
        let row = config.precision.activation_bytes() * config.model.hidden as f64;
        if !config.experts.sends_one_copy() {
            let bytes = row * tokens * experts.per_token as f64;
            return ExpertRoute { route: Some(route), bytes, seconds: self.network.time_alone(route, bytes), inside: 0.0 };
        }
        let fabric = self.network.fabric();
        let domains = domains_of(&groups[0], |a| fabric.site(a).domain.0);
        let inside = parallel.expert as f64 / domains;
        let (accelerators, nodes) = receivers(&experts, inside, domains);
        let scale_up = fabric.part(groups[0][0]).scale_up_bandwidth.map_or(f64::INFINITY, |b| SCALE_UP_SHARE * b.get());
        let within = row * tokens * accelerators * domains / scale_up;
        // The payload of an all-to-all that puts as much on the network.
        let ranks = parallel.expert as f64;
        let bytes = if domains > 1.0 { row * tokens * nodes * ranks / (ranks - inside) } else { row * tokens * accelerators };
        let across = if domains > 1.0 { self.network.time_alone(route, bytes) } else { 0.0 };
        let start = ONE_COPY_START + if domains > 1.0 { ONE_COPY_NETWORK } else { 0.0 };
        ExpertRoute { route: Some(route), bytes, seconds: *config.experts.slowdown * (within.max(across) + start), inside: 0.0 }
    }
}

impl Lowering<'_, '_> {
    /// Exchange of pooled vectors: every rank has the samples of some, and the tables of all samples.
    fn add_bag_route(&mut self, class: u64, bags: Bags, library: &Library) -> ExpertRoute {
        let ranks = self.config.parallel.ranks();
        if ranks == 1 {
            return ExpertRoute::default();
        }
        if class > 0 {
            return self.experts[0];
        }
        let all = vec![(0..ranks).map(|r| AcceleratorId(r as u32)).collect()];
        let group = self.communicator(&all, library);
        let classes = self.classes_of(0);
        let route = self.route("embedding bags".into(), &group, Collective::AllToAll, &classes);
        let bytes = self.config.precision.activation_bytes() * (self.config.microbatch * bags.tables * bags.width) as f64;
        ExpertRoute { route: Some(route), bytes, seconds: self.network.time_alone(route, bytes), inside: 0.0 }
    }
}

fn domains_of(group: &[AcceleratorId], domain: impl Fn(AcceleratorId) -> u32) -> f64 {
    let mut all: Vec<u32> = group.iter().map(|&a| domain(a)).collect();
    all.sort_unstable();
    all.dedup();
    all.len() as f64
}

/// Copies of a token that leave its rank inside each domain, and copies that leave its domain for others, where every accelerator and
/// every domain gets one however many of the token's experts it holds (`inside` ranks in each of `domains`).
fn receivers(experts: &Experts, inside: f64, domains: f64) -> (f64, f64) {
    let k = experts.per_token as f64;
    let reached = |ranks: f64, choices: f64| 1.0 - libm::pow(1.0 - 1.0 / ranks, choices);
    let accelerators = (inside - 1.0) * reached(inside, k / domains);
    let groups = experts.groups as f64;
    let nodes = if experts.groups > 0 && domains <= groups {
        // A token visits few groups; those of one domain are all missed with the share of choices without them.
        let own = (groups / domains).floor() as u64;
        (domains - 1.0) * (1.0 - missed(experts.groups, own, experts.groups_per_token))
    } else {
        (domains - 1.0) * reached(domains, k)
    };
    (accelerators, nodes)
}

/// Chance that none of `own` groups is among `chosen` of `all`.
fn missed(all: u64, own: u64, chosen: u64) -> f64 {
    (0..chosen).map(|i| (all - i).saturating_sub(own) as f64 / (all - i) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experts(groups: u64) -> Experts {
        Experts {
            count: 256,
            per_token: 8,
            ffn_hidden: 1,
            shared: 0,
            first_dense: 0,
            every: 1,
            groups,
            groups_per_token: groups / 2,
            clamped: false,
        }
    }

    #[test]
    fn one_copy_for_every_receiver() {
        // 8 of 8 accelerators: 7 others, each reached unless all 8 choices miss it.
        let (a, n) = receivers(&experts(0), 8.0, 1.0);
        assert!((a - 7.0 * (1.0 - libm::pow(7.0 / 8.0, 8.0))).abs() < 1e-12 && n == 0.0);
        // Four domains under a limit of 4 of 8 groups: (3/4) · 4 · (1 − C(6,4)/C(8,4)) = 3 (1 − 15/70).
        let (_, n) = receivers(&experts(8), 8.0, 4.0);
        assert!((n - 3.0 * (1.0 - 15.0 / 70.0)).abs() < 1e-12, "{n}");
    }
}
