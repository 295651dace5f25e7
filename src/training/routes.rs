//! The routes of a job on the fabric: who talks to whom, and which links tensor-parallel communication shares.

use super::config::Sharding;
use super::lower::Lowering;
use super::place::{copy_groups, expert_replica_groups, shard_groups, stage_pairs, tensor_groups};
use super::schedule::Placement;
use super::weights::stage_weights;
use crate::collectives::{Communicator, Library, Op as Collective};
use crate::fabric::AcceleratorId;
use crate::simulate::{Route, Way};
use crate::workload::{ClassId, RouteId};
use std::rc::Rc;

#[derive(Clone, Copy)]
pub(super) struct TensorRoutes {
    /// All-reduce, or gather and scatter under sequence parallelism.
    pub(super) routes: [Option<RouteId>; 2],
    /// Seconds of one of them (of one pair) on idle links.
    pub(super) seconds: f64,
    /// Share of the device that its kernels hold.
    pub(super) share: f64,
    /// Whether pipeline messages use the same links.
    pub(super) with_pipeline: bool,
    /// Whether data-parallel traffic uses the same links.
    pub(super) with_data: bool,
}

#[derive(Default, Clone, Copy)]
pub(super) struct DataRoutes {
    pub(super) reduce: Option<RouteId>,
    pub(super) gather: Option<RouteId>,
    /// All-reduce between the copies of sharded state.
    pub(super) copies: Option<RouteId>,
    /// Spreads what was reduced in parts, where nothing is sharded (hierarchical all-reduce).
    pub(super) spread: Option<RouteId>,
    /// The same two for the weights of experts, among the ranks that hold them.
    pub(super) expert_reduce: Option<RouteId>,
    pub(super) expert_gather: Option<RouteId>,
}

impl<'f> Lowering<'_, 'f> {
    pub(super) fn route(&mut self, name: String, communicator: &Rc<Communicator<'f>>, op: Collective, classes: &[u64]) -> RouteId {
        let classes = classes.iter().map(|&c| ClassId(c as u32)).collect();
        self.network.add(Route { name, way: Way::Groups { communicator: Rc::clone(communicator), op, algorithm: None }, classes })
    }

    pub(super) fn communicator(&self, groups: Vec<Vec<AcceleratorId>>, library: &Library) -> Rc<Communicator<'f>> {
        Rc::new(Communicator::of(self.network.fabric(), library, groups))
    }

    /// Adds every route of the job.
    pub(super) fn add_routes(&mut self, library: &Library) {
        let parallel = self.config.parallel;
        let stages = self.stages();
        for s in 0..stages {
            self.add_pipeline_routes(s, library);
            self.add_data_routes(s, library);
        }
        if self.config.model.tied_embeddings && parallel.ends_apart() && self.config.adapter_rank.is_none() {
            let all: Vec<u64> = (0..parallel.data).collect();
            let pairs = self.communicator(stage_pairs(&parallel, &all, 0, stages - 1), library);
            let classes = [self.classes_of(0), self.classes_of(stages - 1)].concat();
            self.embedding = Some(self.route("tied embedding".into(), &pairs, Collective::AllReduce, &classes));
        }
        let marks = (parallel.tensor > 1).then(|| self.mark());
        for class in 0..self.classes() {
            let host = self.add_host_routes(class);
            self.host.push(host);
            let context = self.add_context_route(class, library);
            self.context.push(context);
            let experts = self.add_expert_route(class, library);
            self.experts.push(experts);
            let routes = self.add_tensor_routes(class, library, marks.as_ref());
            self.tensor.push(routes);
        }
    }

    /// Reduction of gradients and gathers of weights among the replicas of a stage.
    fn add_data_routes(&mut self, s: u64, library: &Library) {
        let parallel = self.config.parallel;
        if self.home(s) as u64 != s {
            return;
        }
        // With two copies of the model the same weights lie on a stage of each half.
        let twin = parallel.two_copies().then(|| self.stages() - 1 - s);
        let classes = [self.classes_of(s), twin.map(|t| self.classes_of(t)).unwrap_or_default()].concat();
        let joined = |groups: &dyn Fn(u64) -> Vec<Vec<AcceleratorId>>| match twin {
            None => groups(s),
            Some(t) => groups(s).into_iter().zip(groups(t)).map(|(a, b)| [a, b].concat()).collect(),
        };
        let sharded = self.config.sharding != Sharding::None;
        let scatters = sharded && (self.config.stack.reduce_scatter.value || self.config.sharding >= Sharding::Gradients);
        let reduce = if scatters { Collective::ReduceScatter } else { Collective::AllReduce };
        let size = if sharded { self.config.shard_ranks() } else { parallel.replicas() };
        let mut routes = DataRoutes::default();
        let (reduce, size) = if self.config.hierarchical { (Collective::ReduceScatter, self.local_replicas()) } else { (reduce, size) };
        if size > 1 || twin.is_some() {
            let group = self.communicator(joined(&|s| shard_groups(&parallel, s, size)), library);
            let name = format!("data parallel of stage {s}");
            routes.reduce = Some(self.route(name.clone(), &group, reduce, &classes));
            routes.gather = sharded.then(|| self.route(name.clone(), &group, Collective::AllGather, &classes));
            routes.spread = self.config.hierarchical.then(|| self.route(name, &group, Collective::AllGather, &classes));
        }
        if size < parallel.replicas() {
            let group = self.communicator(copy_groups(&parallel, s, size), library);
            routes.copies = Some(self.route(format!("copies of stage {s}"), &group, Collective::AllReduce, &classes));
        }
        if self.config.has_experts() && (parallel.expert_replicas() > 1 || twin.is_some()) {
            let group = self.communicator(joined(&|s| expert_replica_groups(&parallel, s)), library);
            let name = format!("data parallel of the experts of stage {s}");
            routes.expert_reduce = Some(self.route(name.clone(), &group, reduce, &classes));
            routes.expert_gather = sharded.then(|| self.route(name, &group, Collective::AllGather, &classes));
        }
        self.data[s as usize] = routes;
    }

    /// Replicas of one node.
    pub(super) fn local_replicas(&self) -> u64 {
        let fabric = self.network.fabric();
        let node = fabric.site(AcceleratorId(0)).node;
        u64::from(fabric.accelerators_per_node(node)).min(self.config.parallel.replicas()).max(1)
    }

    /// Messages from a stage to the next and back, for each variant.
    fn add_pipeline_routes(&mut self, s: u64, library: &Library) {
        let parallel = self.config.parallel;
        let stages = self.stages();
        let next = (s + 1) % stages;
        let round = parallel.virtual_stages > 1 && parallel.schedule.placement() == Placement::Loop;
        if stages == 1 || s + 1 == stages && !round {
            return;
        }
        for v in 0..self.variants.len() {
            let members = self.variants[v].members.clone();
            let down = self.communicator(stage_pairs(&parallel, &members, s, next), library);
            let up = self.communicator(stage_pairs(&parallel, &members, next, s), library);
            let (here, there) = (self.class(v, s), self.class(v, next));
            self.forward[here as usize] =
                Some(self.route(format!("stage {s} → stage {next}"), &down, Collective::SendRecv, &[here, there]));
            self.backward[there as usize] =
                Some(self.route(format!("stage {next} → stage {s}"), &up, Collective::SendRecv, &[there, here]));
        }
    }

    pub(super) fn members(&self, class: u64) -> &[u64] {
        &self.variants[(class / self.stages()) as usize].members
    }

    fn add_tensor_routes(&mut self, class: u64, library: &Library, marks: Option<&Marks>) -> TensorRoutes {
        let mut out = TensorRoutes { routes: [None; 2], seconds: 0.0, share: 0.0, with_pipeline: false, with_data: false };
        let parallel = self.config.parallel;
        let Some(marks) = marks else { return out };
        let stage = self.stage(class);
        let group = self.communicator(tensor_groups(&parallel, self.members(class), stage), library);
        let name = format!("tensor parallel of stage {stage}");
        out.routes = if parallel.sequence {
            let gather = self.route(name.clone(), &group, Collective::AllGather, &[class]);
            [Some(gather), Some(self.route(name, &group, Collective::ReduceScatter, &[class]))]
        } else {
            [Some(self.route(name, &group, Collective::AllReduce, &[class])), None]
        };
        let bytes = self.comm_bytes(class);
        for route in out.routes.into_iter().flatten() {
            out.seconds += self.network.time_alone(route, bytes);
            out.share = self.network.plan(route, bytes).kernel_sm_share;
        }
        let touches = |marks: &[bool]| out.routes.into_iter().flatten().any(|r| self.network.touches(r, bytes, marks));
        (out.with_pipeline, out.with_data) = (touches(&marks.pipeline), touches(&marks.data));
        out
    }

    /// Which links pipeline messages and data-parallel traffic use.
    fn mark(&self) -> Marks {
        let none = vec![false; self.network.fabric().link_count()];
        let mut marks = Marks { pipeline: none.clone(), data: none };
        let message = self.message_bytes();
        for &route in self.forward.iter().chain(&self.backward).flatten() {
            self.network.mark_links(route, message, &mut marks.pipeline);
        }
        for (s, d) in self.data.iter().enumerate() {
            let gradients = stage_weights(self.config, self.layers, s as u64).common * self.config.gradient_bytes();
            let embedding = self.embedding.filter(|_| s == 0);
            for route in [d.reduce, d.gather, d.expert_reduce, d.expert_gather, embedding].into_iter().flatten() {
                self.network.mark_links(route, gradients, &mut marks.data);
            }
        }
        marks
    }
}

/// Links by what uses them.
struct Marks {
    pipeline: Vec<bool>,
    data: Vec<bool>,
}
