//! Exchange of tokens with the ranks of their experts, and of pooled vectors with those of their tables: what travels, and how long it takes
//! on idle links.

use super::experts::Dispatcher;
use super::lower::Lowering;
use super::place::expert_groups;
use crate::collectives::{Algorithm, Communicator, Library, Op as Collective, Routing, TOKEN_KERNEL_UNITS};
use crate::fabric::AcceleratorId;
use crate::model::Bags;
use crate::simulate::{Route, Way};
use crate::workload::{ClassId, RouteId};
use std::rc::Rc;

/// Dispatch or combine of one pass of a stage.
#[derive(Clone, Copy, Default)]
pub(super) struct ExpertRoute {
    pub(super) route: Option<RouteId>,
    /// Payload of a rank by the convention of the route's operation, bytes.
    pub(super) bytes: f64,
    /// Seconds of one exchange on idle links, the mean of both ways.
    pub(super) seconds: f64,
    /// Exchanges inside the passes of the stage.
    pub(super) inside: f64,
}

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
        let classes = self.classes_of(stage);
        let name = format!("experts of stage {stage}");
        let sequence = if parallel.sequence { parallel.tensor as f64 } else { 1.0 };
        let tokens = config.microbatch_tokens() as f64 / sequence * config.expert_imbalance;
        if !config.experts.sends_one_copy() {
            let group = self.communicator(groups, library);
            let route = self.route(name, &group, Collective::AllToAll, &classes);
            let bytes = config.precision.activation_bytes() * config.model.hidden as f64 * tokens * experts.per_token as f64;
            return ExpertRoute { route: Some(route), bytes, seconds: self.network.time_alone(route, bytes), inside: 0.0 };
        }
        let routing = Routing {
            hidden: config.model.hidden,
            experts: experts.count,
            per_token: experts.per_token,
            groups: (experts.groups > 0).then_some((experts.groups, experts.groups_per_token)),
            // Training sends activations as they are; the way back is the way there.
            dispatch_bytes: config.precision.activation_bytes().min(2.0),
            // What HybridEP's kernels take over the links' time in training is measured as a whole (`slowdown`).
            compute_units: if *config.experts.dispatcher == Dispatcher::Hybridep { f64::INFINITY } else { TOKEN_KERNEL_UNITS as f64 },
        };
        let group = Rc::new(Communicator::new(self.network.fabric(), library, &groups).with_routing(routing));
        let classes = classes.iter().map(|&c| ClassId(c as u32)).collect();
        let dispatch = Route {
            name,
            way: Way::Groups { communicator: Rc::clone(&group), op: Collective::Dispatch, algorithm: Some(ONE_COPY) },
            classes,
        };
        let route = self.network.add(dispatch);
        let one_way = |op| {
            let bytes = tokens * routing.row(op, ONE_COPY);
            (bytes, group.plan_as(op, bytes, ONE_COPY).map_or(0.0, |plan| group.time_of(op, bytes, &plan)))
        };
        let ((bytes, there), (_, back)) = (one_way(Collective::Dispatch), one_way(Collective::Combine));
        ExpertRoute { route: Some(route), bytes, seconds: *config.experts.slowdown * 0.5 * (there + back), inside: 0.0 }
    }
}

/// Training runs the high-throughput kernels, whatever the number of tokens.
const ONE_COPY: Algorithm = Algorithm::OneCopy;

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
        let group = self.communicator(all, library);
        let classes = self.classes_of(0);
        let route = self.route("embedding bags".into(), &group, Collective::AllToAll, &classes);
        let bytes = self.config.precision.activation_bytes() * (self.config.microbatch * bags.tables * bags.width) as f64;
        ExpertRoute { route: Some(route), bytes, seconds: self.network.time_alone(route, bytes), inside: 0.0 }
    }
}
