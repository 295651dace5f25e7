//! From a job on a fabric to a task graph: passes, messages between stages, gradient reduction, optimizer.
//!
//! A rank class is a pipeline stage of a variant (see `variants`): all its tensor and data ranks do the same at the same time, and
//! the routes sum their traffic over all of them. Data-parallel collectives join the variants of a stage. `pass` holds the pieces of
//! passes, `data` what the replicas exchange.

use super::config::Config;
use super::context::ContextRoute;
use super::cost::Passes;
use super::exchange::ExpertRoute;
use super::offload::{Away, HostRoutes};
use super::pass::{Part, Priced};
use super::repeat::Repeat;
use super::routes::{DataRoutes, TensorRoutes};
use super::schedule::{Op, Pass, Placement, program_of};
use super::stack::{DataSync, PipelineComm};
use super::variants::{Pace, Variant};
use crate::collectives::Library;
use crate::simulate::Network;
use crate::workload::{ClassId, GraphBuilder, Label, RouteId, Task, TaskGraph, TaskId, TaskKind, Track, Work};
use rustc_hash::FxHashMap;

/// A lowered step.
pub(super) struct Lowered {
    /// The tasks.
    pub(super) graph: TaskGraph,
    /// Rank classes (stages).
    pub(super) classes: usize,
    /// Tensor-parallel payload inside passes: route, bytes of one operation, operations.
    pub(super) inside: Vec<(RouteId, f64, f64)>,
}

/// No task.
const NO_TASK: TaskId = TaskId(u32::MAX);

/// A message between two stages of one variant: the result of a pass at a virtual stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MessageKey {
    forward: bool,
    microbatch: u32,
    at: u64,
    variant: u32,
}

/// Lowers one optimizer step.
pub(super) struct Lowering<'a, 'f> {
    pub(super) config: &'a Config,
    /// Passes and rate of memory (bytes per second) on each part of the job.
    pub(super) parts: &'a [(Passes, f64)],
    pub(super) layers: &'a [Vec<u64>],
    pub(super) variants: &'a [Variant],
    pub(super) network: &'a mut Network<'f>,
    pub(super) graph: GraphBuilder,
    pub(super) tensor: Vec<TensorRoutes>,
    pub(super) context: Vec<ContextRoute>,
    pub(super) experts: Vec<ExpertRoute>,
    pub(super) forward: Vec<Option<RouteId>>,
    pub(super) backward: Vec<Option<RouteId>>,
    pub(super) data: Vec<DataRoutes>,
    pub(super) host: Vec<HostRoutes>,
    /// Activations in host memory, class by class.
    pub(super) away: Vec<Away>,
    pub(super) embedding: Option<RouteId>,
    /// Messages by number of their key; `NO_TASK` where nobody has named them yet.
    messages: Vec<TaskId>,
    /// Where the messages of a pass leave: by class, chunk and direction.
    ways: Vec<Option<(u64, RouteId)>>,
    /// Prices of whole passes by class, chunk and part.
    pub(super) whole: Vec<Option<Priced>>,
    /// What the next task of each class waits for.
    pub(super) frontier: Vec<Vec<TaskId>>,
    /// Messages of one exchange, kept for its memory.
    posted: Vec<TaskId>,
    /// Last task of each route that keeps the order of its messages.
    pub(super) last_on: FxHashMap<RouteId, TaskId>,
    /// Data-parallel tasks of each stage in order, lane by lane, and how many of them each class has come to.
    pub(super) data_tasks: Vec<[Vec<TaskId>; 2]>,
    pub(super) data_seen: Vec<[usize; 2]>,
    /// Tensor-parallel collectives inside the passes of each class.
    pub(super) inside: Vec<f64>,
    /// What of the step is left out.
    pub(super) repeat: Option<Repeat>,
    /// The microbatch that is lowered now.
    pub(super) microbatch: u32,
    /// Whether every tensor-parallel collective that products do not hide is a task of its own, whatever shares its links.
    pub(super) apart: bool,
}

impl<'a, 'f> Lowering<'a, 'f> {
    /// Sets up the routes of a job.
    pub(super) fn new(
        config: &'a Config,
        parts: &'a [(Passes, f64)],
        layers: &'a [Vec<u64>],
        variants: &'a [Variant],
        network: &'a mut Network<'f>,
        library: &Library,
    ) -> Self {
        let stages = config.parallel.pipeline as usize;
        let classes = stages * variants.len();
        let mut lowering = Self {
            config,
            parts,
            layers,
            variants,
            network,
            graph: GraphBuilder::new(),
            tensor: Vec::new(),
            context: Vec::new(),
            experts: Vec::new(),
            forward: vec![None; classes],
            backward: vec![None; classes],
            data: vec![DataRoutes::default(); stages],
            host: Vec::new(),
            away: vec![Away::default(); classes],
            embedding: None,
            messages: Vec::new(),
            ways: Vec::new(),
            whole: Vec::new(),
            frontier: vec![Vec::new(); classes],
            posted: Vec::new(),
            last_on: FxHashMap::default(),
            data_tasks: vec![Default::default(); stages],
            data_seen: vec![[0; 2]; classes],
            inside: vec![0.0; classes],
            repeat: None,
            microbatch: 0,
            apart: false,
        };
        lowering.add_routes(library);
        lowering
    }

    pub(super) const fn stages(&self) -> u64 {
        self.config.parallel.pipeline
    }
    pub(super) const fn classes(&self) -> u64 {
        self.stages() * self.variants.len() as u64
    }
    /// The class of a stage in a variant.
    pub(super) const fn class(&self, variant: usize, stage: u64) -> u64 {
        variant as u64 * self.stages() + stage
    }
    pub(super) const fn stage(&self, class: u64) -> u64 {
        class % self.stages()
    }
    /// The stage under which data-parallel work of a stage is kept: with two copies of the model, that of the first of the two stages
    /// that hold the same weights.
    pub(super) fn home(&self, stage: u64) -> usize {
        if self.config.parallel.two_copies() { stage.min(self.stages() - 1 - stage) as usize } else { stage as usize }
    }
    /// The classes of a stage in all variants.
    pub(super) fn classes_of(&self, stage: u64) -> Vec<u64> {
        (0..self.variants.len()).map(|v| self.class(v, stage)).collect()
    }
    pub(super) fn pace(&self, class: u64) -> Pace {
        let stage = self.stage(class) as usize;
        if self.config.parallel.expert > 1 && self.variants.len() > 1 {
            // Ranks that share experts wait for each other in every layer.
            let speed = |p: &Pace| p.speed / self.parts[p.part].0.expert_forward.compute().max(f64::MIN_POSITIVE);
            let paces = self.variants.iter().map(|v| v.paces[stage]);
            return paces.min_by(|a, b| speed(a).total_cmp(&speed(b))).unwrap_or(self.variants[0].paces[stage]);
        }
        self.variants[(class / self.stages()) as usize].paces[stage]
    }
    pub(super) fn passes_of(&self, class: u64) -> &'a Passes {
        &self.parts[self.pace(class).part].0
    }

    /// Bytes of an activation between two stages on one rank.
    pub(super) fn message_bytes(&self) -> f64 {
        let whole = self.config.precision.activation_bytes() * (self.config.microbatch_tokens() * self.config.model.hidden) as f64;
        let split = self.config.parallel.sequence || self.config.stack.scatter_gather.value;
        if split { whole / self.config.parallel.tensor as f64 } else { whole }
    }

    /// Builds the whole step.
    pub(super) fn lower(mut self) -> Lowered {
        let (stages, classes) = (self.stages(), self.classes());
        self.number();
        // The two copies of a model add their gradients up after their last pass.
        let overlapped = *self.config.stack.data_sync == DataSync::Overlapped && !self.config.parallel.two_copies();
        let mut gathered = vec![Vec::new(); stages as usize];
        if overlapped && !self.config.gathers_layers() {
            for s in 0..stages {
                gathered[s as usize] = self.gather_first(s);
            }
        }
        for class in 0..classes {
            self.lower_class(class, &gathered[self.stage(class) as usize], overlapped);
        }
        self.finish_step(overlapped);
        if let Some(repeat) = self.repeat {
            self.graph.repeat(|microbatch| repeat.weight(microbatch));
        }
        let mut inside = Vec::new();
        for class in 0..classes {
            let bytes = self.comm_bytes(class);
            let (tensor, context) = (&self.tensor[class as usize], &self.context[class as usize]);
            inside.extend(tensor.routes.into_iter().flatten().map(|r| (r, bytes, self.inside[class as usize])));
            inside.extend(context.route.map(|r| (r, context.bytes, context.inside)));
            // The groups of all variants of a stage are one route.
            if class < stages {
                let experts = &self.experts[class as usize];
                inside.extend(experts.route.map(|r| (r, experts.bytes, experts.inside)));
            }
        }
        Lowered { inside, graph: self.graph.finish(), classes: classes as usize }
    }

    /// Payload of one tensor-parallel collective of a class.
    pub(super) fn comm_bytes(&self, class: u64) -> f64 {
        let passes = self.passes_of(class);
        passes.layer_forward.comm_bytes.max(passes.expert_forward.comm_bytes)
    }

    /// Adds a task of a class after what it has come to, and moves the class on to it.
    pub(super) fn advance(&mut self, class: u64, task: Task) -> TaskId {
        let frontier = &mut self.frontier[class as usize];
        let id = self.graph.add(task, frontier);
        frontier.clear();
        frontier.push(id);
        id
    }

    pub(super) fn transfer(&self, class: u64, route: RouteId, bytes: f64, kind: TaskKind, track: Track, label: Label) -> Task {
        Task { label, ..Task::new(ClassId(class as u32), track, kind, Work::Transfer { route, bytes }) }
    }

    /// How often what the microbatch that is lowered now does happens in the step.
    pub(super) fn times(&self) -> f64 {
        self.repeat.map_or(1.0, |repeat| repeat.weight(self.microbatch))
    }

    /// Microbatches of a class in a step.
    fn microbatches(&self, class: u64) -> u64 {
        self.config.microbatches_of(self.variants[(class / self.stages()) as usize].members[0])
    }

    fn lower_class(&mut self, class: u64, gathered: &[Vec<TaskId>], overlapped: bool) {
        let parallel = self.config.parallel;
        let (chunks, microbatches, schedule) = (parallel.virtual_stages, self.microbatches(class), parallel.schedule);
        let last = if parallel.two_copies() { microbatches / 2 } else { microbatches } - 1;
        let ops = program_of(schedule, self.stage(class), self.stages(), chunks, microbatches);
        let asynchronous = schedule.sends_aside() || *self.config.stack.pipeline_comm == PipelineComm::Overlapped && chunks > 1;
        let (shards, every_pass) = (self.config.gathers_layers(), self.config.reduces_every_pass());
        let leaves = |microbatch: u32| overlapped && (u64::from(microbatch) == last || every_pass);
        for op in ops {
            self.microbatch = op.microbatch().unwrap_or(self.microbatch);
            match op {
                Op::Exchange { send, receive: _ } if asynchronous => self.send_async(class, &send),
                Op::Exchange { send, receive } => self.exchange(class, &send, &receive),
                Op::Forward { microbatch, chunk } => {
                    self.await_message(class, true, microbatch, chunk, asynchronous);
                    let gates = if microbatch == 0 { gathered.get(chunk as usize).cloned().unwrap_or_default() } else { Vec::new() };
                    match shards {
                        true => self.sharded_forward(class, microbatch, chunk),
                        false => self.pass(class, Part::Forward, microbatch, chunk, &gates, false),
                    }
                }
                Op::Backward { microbatch, chunk } => {
                    self.await_message(class, false, microbatch, chunk, asynchronous);
                    match shards {
                        true => self.sharded_backward(class, microbatch, chunk),
                        false => self.pass(class, Part::Backward, microbatch, chunk, &[], leaves(microbatch)),
                    }
                }
                Op::Inputs { microbatch, chunk } => {
                    self.await_message(class, false, microbatch, chunk, asynchronous);
                    self.pass(class, Part::Inputs, microbatch, chunk, &[], false);
                }
                Op::Weights { microbatch, chunk } => self.pass(class, Part::Weights, microbatch, chunk, &[], leaves(microbatch)),
                Op::Pair { forward, backward } => {
                    self.await_message(class, true, forward.0, forward.1, asynchronous);
                    self.await_message(class, false, backward.0, backward.1, asynchronous);
                    self.pair(class, forward, backward);
                    if leaves(backward.0) {
                        self.reduce_chunk(class, backward.1);
                    }
                }
            }
        }
    }

    /// Numbers messages, and finds the way of each pass' messages once.
    fn number(&mut self) {
        let (classes, chunks) = (self.classes(), self.config.parallel.virtual_stages);
        let most = (0..classes).map(|c| self.microbatches(c)).max().unwrap_or(0);
        self.messages = vec![NO_TASK; (self.variants.len() as u64 * self.stages() * chunks * 2 * most) as usize];
        self.ways = (0..classes * chunks * 2).map(|i| self.way(i / (2 * chunks), i % 2 == 1, (i / 2 % chunks) as u16)).collect();
        self.whole = vec![None; (classes * chunks) as usize * Part::COUNT];
    }

    /// The number of a message.
    fn number_of(&self, key: &MessageKey) -> usize {
        let ends = self.stages() * self.config.parallel.virtual_stages;
        let most = self.messages.len() as u64 / (2 * ends * self.variants.len() as u64);
        (((u64::from(key.variant) * ends + key.at) * 2 + u64::from(key.forward)) * most + u64::from(key.microbatch)) as usize
    }

    /// The message that leaves a pass, if the pass has a neighbour on that side: its key and its route.
    fn outgoing(&self, class: u64, forward: bool, microbatch: u32, chunk: u16) -> Option<(MessageKey, RouteId)> {
        let at = (class * self.config.parallel.virtual_stages + u64::from(chunk)) * 2 + u64::from(forward);
        let (at, route) = self.ways[at as usize]?;
        Some((MessageKey { forward, microbatch, at, variant: (class / self.stages()) as u32 }, route))
    }

    /// The virtual stage and the route of what leaves a pass.
    fn way(&self, class: u64, forward: bool, chunk: u16) -> Option<(u64, RouteId)> {
        let (parallel, stages, stage) = (&self.config.parallel, self.stages(), self.stage(class));
        let at = parallel.virtual_stage(stage, u64::from(chunk));
        let stays = if forward { parallel.leaves(at) } else { parallel.enters(at) };
        if stays || stages == 1 {
            return None;
        }
        let there = parallel.place(if forward { at + 1 } else { at - 1 }).0;
        // Where the way turns, the next chunk is on the same ranks.
        if there == stage {
            return None;
        }
        let down = forward == (chunk == 0 || parallel.schedule.placement() == Placement::Loop);
        let route = if down { self.forward[class as usize] } else { self.backward[class as usize] };
        Some((at, route?))
    }

    /// The message that a pass waits for, as the neighbour's outgoing one.
    fn incoming(&self, class: u64, forward: bool, microbatch: u32, chunk: u16) -> Option<(MessageKey, RouteId)> {
        let (parallel, stage) = (&self.config.parallel, self.stage(class));
        let at = parallel.virtual_stage(stage, u64::from(chunk));
        if if forward { parallel.enters(at) } else { parallel.leaves(at) } {
            return None;
        }
        let (there, chunk) = parallel.place(if forward { at - 1 } else { at + 1 });
        self.outgoing(class - stage + there, forward, microbatch, chunk as u16)
    }

    fn message(&mut self, (key, route): (MessageKey, RouteId)) -> TaskId {
        let number = self.number_of(&key);
        if self.messages[number] != NO_TASK {
            return self.messages[number];
        }
        let (stage, chunk) = self.config.parallel.place(key.at);
        let label = Label { microbatch: key.microbatch, chunk: chunk as u16, piece: 0 };
        let sender = self.class(key.variant as usize, stage);
        let task = self.transfer(sender, route, self.message_bytes(), TaskKind::PipelineComm, Track::Pipeline, label);
        let id = self.graph.add(task, &[]);
        self.messages[number] = id;
        id
    }

    /// Both sides post the messages and wait for all of them.
    fn exchange(&mut self, class: u64, send: &[Pass], receive: &[Pass]) {
        let mut posted = std::mem::take(&mut self.posted);
        for &(f, m, c) in send {
            let message = self.outgoing(class, f, m, c).map(|key| self.message(key));
            posted.extend(message);
        }
        for &(f, m, c) in receive {
            let message = self.incoming(class, f, m, c).map(|key| self.message(key));
            posted.extend(message);
        }
        if !posted.is_empty() {
            let frontier = &mut self.frontier[class as usize];
            for &id in &posted {
                frontier.iter().for_each(|&before| self.graph.depend(before, id));
            }
            std::mem::swap(frontier, &mut posted);
            posted.clear();
        }
        self.posted = posted;
    }

    /// Results leave from a side stream in order; only the pass that needs a message waits for it.
    fn send_async(&mut self, class: u64, send: &[Pass]) {
        for &(f, m, c) in send {
            let Some(key) = self.outgoing(class, f, m, c) else { continue };
            let id = self.message(key);
            self.frontier[class as usize].iter().for_each(|&before| self.graph.depend(before, id));
            if let Some(previous) = self.last_on.insert(key.1, id) {
                self.graph.depend(previous, id);
            }
        }
    }

    fn await_message(&mut self, class: u64, forward: bool, microbatch: u32, chunk: u16, asynchronous: bool) {
        if let (true, Some(key)) = (asynchronous, self.incoming(class, forward, microbatch, chunk)) {
            let id = self.message(key);
            self.frontier[class as usize].push(id);
        }
    }
}
