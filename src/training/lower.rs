//! From a job on a fabric to a task graph: passes, messages between stages, gradient reduction, optimizer.
//!
//! A rank class is a pipeline stage of a variant (see `variants`): all its tensor and data ranks do the same at the same time, and
//! the routes sum their traffic over all of them. Data-parallel collectives join the variants of a stage. Tensor-parallel communication is folded into the passes as long as nothing else uses
//! its links; else each of its collectives is a task of its own.

use super::config::Config;
use super::layer::{PassCost, Passes};
use super::memory::stage_parameters;
use super::routes::{ContextRoute, DataRoutes, TensorRoutes};
use super::schedule::{Op, program};
use super::stack::{DataSync, PipelineComm};
use super::variants::{Pace, Variant};
use crate::collectives::Library;
use crate::simulate::Network;
use crate::workload::{ClassId, GraphBuilder, Label, RouteId, Task, TaskGraph, TaskId, TaskKind, Track, Work};
use rustc_hash::FxHashMap;

/// Parameters of a gradient bucket for each data-parallel rank (Megatron-Core's rule: at least a million a rank).
const BUCKET_PER_RANK: u64 = 1_000_000;
/// Fixed time of the optimizer step: gradient norm, scaler, kernel launches (measured minus modelled of 13 vTrain pairs: 1 to 40 ms in
/// all, median of the rest below 0.5 ms).
const OPTIMIZER_FIXED: f64 = 0.5e-3;

/// A lowered step.
pub(super) struct Lowered {
    /// The tasks.
    pub(super) graph: TaskGraph,
    /// Rank classes (stages).
    pub(super) classes: usize,
    /// Tensor-parallel payload inside passes: route, bytes of one operation, operations.
    pub(super) inside: Vec<(RouteId, f64, f64)>,
}

/// A piece of a pass: some layers, perhaps the embedding or the head.
#[derive(Clone, Copy)]
struct Piece {
    layers: u64,
    embedding: bool,
    head: bool,
}

/// A message between two stages of one variant: the result of a pass at a virtual stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MessageKey {
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
    pub(super) forward: Vec<Option<RouteId>>,
    pub(super) backward: Vec<Option<RouteId>>,
    pub(super) data: Vec<DataRoutes>,
    pub(super) embedding: Option<RouteId>,
    pub(super) messages: FxHashMap<MessageKey, TaskId>,
    /// What the next task of each class waits for.
    pub(super) frontier: Vec<Vec<TaskId>>,
    /// Last task of each route that keeps the order of its messages.
    pub(super) last_on: FxHashMap<RouteId, TaskId>,
    /// Data-parallel tasks of each stage in order, and how many of them each class has come to.
    pub(super) data_tasks: Vec<Vec<TaskId>>,
    pub(super) data_seen: Vec<usize>,
    /// Tensor-parallel collectives inside the passes of each class.
    pub(super) inside: Vec<f64>,
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
            forward: vec![None; classes],
            backward: vec![None; classes],
            data: vec![DataRoutes::default(); stages],
            embedding: None,
            messages: FxHashMap::default(),
            frontier: vec![Vec::new(); classes],
            last_on: FxHashMap::default(),
            data_tasks: vec![Vec::new(); stages],
            data_seen: vec![0; classes],
            inside: vec![0.0; classes],
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
    /// The classes of a stage in all variants.
    pub(super) fn classes_of(&self, stage: u64) -> Vec<u64> {
        (0..self.variants.len()).map(|v| self.class(v, stage)).collect()
    }
    fn pace(&self, class: u64) -> Pace {
        self.variants[(class / self.stages()) as usize].paces[self.stage(class) as usize]
    }
    pub(super) fn passes_of(&self, class: u64) -> &'a Passes {
        &self.parts[self.pace(class).part].0
    }

    /// Bytes of an activation between two stages on one rank.
    pub(super) fn message_bytes(&self) -> f64 {
        let whole = 2.0 * (self.config.microbatch_tokens() * self.config.model.hidden) as f64;
        let split = self.config.parallel.sequence || self.config.stack.scatter_gather.value;
        if split { whole / self.config.parallel.tensor as f64 } else { whole }
    }

    /// Builds the whole step.
    pub(super) fn lower(mut self) -> Lowered {
        let (stages, classes) = (self.stages(), self.classes());
        let overlapped = *self.config.stack.data_sync == DataSync::Overlapped;
        let mut gathered = vec![Vec::new(); stages as usize];
        if overlapped {
            for s in 0..stages {
                gathered[s as usize] = self.gather_first(s);
            }
        }
        for class in 0..classes {
            self.lower_class(class, &gathered[self.stage(class) as usize]);
        }
        self.finish_step(overlapped);
        let mut inside = Vec::new();
        for class in 0..classes {
            let bytes = self.passes_of(class).layer_forward.comm_bytes;
            let (tensor, context) = (&self.tensor[class as usize], &self.context[class as usize]);
            inside.extend(tensor.routes.into_iter().flatten().map(|r| (r, bytes, self.inside[class as usize])));
            inside.extend(context.route.map(|r| (r, context.bytes, context.inside)));
        }
        Lowered { inside, graph: self.graph.finish(), classes: classes as usize }
    }

    /// The pieces into which a chunk's pass is cut where buckets of gradients or weights follow it.
    fn pieces(&self, stage: u64, chunk: u64, cut: bool) -> Vec<Piece> {
        let layers = self.layers[stage as usize][chunk as usize];
        let virtual_stage = chunk * self.stages() + stage;
        let embedding = virtual_stage == 0;
        let head = virtual_stage + 1 == self.stages() * self.config.parallel.virtual_stages;
        let whole = vec![Piece { layers, embedding, head }];
        if !cut || self.config.parallel.replicas() == 1 || layers < 2 {
            return whole;
        }
        let bucket = (*self.config.stack.bucket_parameters).max(BUCKET_PER_RANK * self.config.parallel.replicas()) as f64;
        let local = self.config.model.layer_parameters() / self.config.parallel.tensor as f64;
        let each = ((bucket / local).ceil() as u64).clamp(1, layers);
        let mut out = Vec::new();
        let mut left = layers;
        while left > 0 {
            let n = each.min(left);
            left -= n;
            out.push(Piece { layers: n, embedding: embedding && out.is_empty(), head: head && left == 0 });
        }
        out
    }

    /// Parameters of a piece on one rank.
    fn piece_parameters(&self, piece: Piece) -> f64 {
        let model = &self.config.model;
        let tables = if piece.embedding { model.embedding_parameters() + model.position_parameters() } else { 0.0 }
            + if piece.head { model.embedding_parameters() } else { 0.0 };
        (piece.layers as f64 * model.layer_parameters() + tables) / self.config.parallel.tensor as f64
    }

    /// Gathers of the weights that the last optimizer step has changed, chunk by chunk, under the first forward passes.
    fn gather_first(&mut self, stage: u64) -> Vec<Vec<TaskId>> {
        let Some(route) = self.data[stage as usize].gather else { return Vec::new() };
        let mut out = Vec::new();
        for chunk in 0..self.config.parallel.virtual_stages {
            let pieces = self.pieces(stage, chunk, true);
            let ids = pieces.into_iter().map(|p| self.data_task(stage, route, 2.0 * self.piece_parameters(p), chunk, &[])).collect();
            out.push(ids);
        }
        let done = self.data_tasks[stage as usize].len();
        for class in self.classes_of(stage) {
            self.data_seen[class as usize] = done;
        }
        out
    }

    /// The next data-parallel collective of a class: all variants of a stage come to the same ones, in order on the stage's data
    /// stream; the first adds it, the others hold it up too.
    fn data_task(&mut self, class: u64, route: RouteId, bytes: f64, chunk: u64, after: &[TaskId]) -> TaskId {
        let stage = self.stage(class) as usize;
        let seen = self.data_seen[class as usize];
        self.data_seen[class as usize] += 1;
        if let Some(&known) = self.data_tasks[stage].get(seen) {
            after.iter().for_each(|&before| self.graph.depend(before, known));
            return known;
        }
        let mut after = after.to_vec();
        after.extend(self.data_tasks[stage].last());
        let label = Label { microbatch: 0, chunk: chunk as u16, piece: 0 };
        let task = self.transfer(class, route, bytes, TaskKind::DataComm, Track::Data, label);
        let id = self.graph.add(task, &after);
        self.data_tasks[stage].push(id);
        id
    }

    fn transfer(&self, class: u64, route: RouteId, bytes: f64, kind: TaskKind, track: Track, label: Label) -> Task {
        Task { label, ..Task::new(ClassId(class as u32), track, kind, Work::Transfer { route, bytes }) }
    }

    fn lower_class(&mut self, class: u64, gathered: &[Vec<TaskId>]) {
        let (chunks, microbatches) = (self.config.parallel.virtual_stages, self.config.microbatches());
        let ops = program(self.stage(class), self.stages(), chunks, microbatches);
        let overlapped = *self.config.stack.data_sync == DataSync::Overlapped;
        let asynchronous = *self.config.stack.pipeline_comm == PipelineComm::Overlapped && chunks > 1;
        for op in ops {
            match op {
                Op::Exchange { send, receive } if asynchronous => self.send_async(class, &send, &receive),
                Op::Exchange { send, receive } => self.exchange(class, &send, &receive),
                Op::Forward { microbatch, chunk } => {
                    self.await_message(class, true, microbatch, chunk, asynchronous);
                    let gates = if microbatch == 0 { gathered.get(chunk as usize).cloned().unwrap_or_default() } else { Vec::new() };
                    self.pass(class, true, microbatch, chunk, &gates, false);
                }
                Op::Backward { microbatch, chunk } => {
                    self.await_message(class, false, microbatch, chunk, asynchronous);
                    let last = u64::from(microbatch) + 1 == microbatches;
                    self.pass(class, false, microbatch, chunk, &[], last && overlapped);
                }
            }
        }
    }

    /// The message that leaves a pass, if the pass has a neighbour on that side: its key and its route.
    fn outgoing(&self, class: u64, forward: bool, microbatch: u32, chunk: u16) -> Option<(MessageKey, RouteId)> {
        let (stages, stage) = (self.stages(), self.stage(class));
        let at = u64::from(chunk) * stages + stage;
        let total = stages * self.config.parallel.virtual_stages;
        let leaves = if forward { at + 1 < total } else { at > 0 };
        if !leaves || stages == 1 {
            return None;
        }
        let route = if forward { self.forward[class as usize] } else { self.backward[class as usize] };
        Some((MessageKey { forward, microbatch, at, variant: (class / stages) as u32 }, route?))
    }

    /// The message that a pass waits for, as the neighbour's outgoing one.
    fn incoming(&self, class: u64, forward: bool, microbatch: u32, chunk: u16) -> Option<(MessageKey, RouteId)> {
        let (stages, stage) = (self.stages(), self.stage(class));
        let at = u64::from(chunk) * stages + stage;
        let total = stages * self.config.parallel.virtual_stages;
        let from = if forward { at.checked_sub(1)? } else { Some(at + 1).filter(|n| *n < total)? };
        self.outgoing(class - stage + from % stages, forward, microbatch, (from / stages) as u16)
    }

    fn message(&mut self, (key, route): (MessageKey, RouteId)) -> TaskId {
        if let Some(&id) = self.messages.get(&key) {
            return id;
        }
        let stages = self.stages();
        let label = Label { microbatch: key.microbatch, chunk: (key.at / stages) as u16, piece: 0 };
        let sender = self.class(key.variant as usize, key.at % stages);
        let task = self.transfer(sender, route, self.message_bytes(), TaskKind::PipelineComm, Track::Pipeline, label);
        let id = self.graph.add(task, &[]);
        self.messages.insert(key, id);
        id
    }

    /// Both sides post the messages and wait for all of them.
    fn exchange(&mut self, class: u64, send: &[(bool, u32, u16)], receive: &[(bool, u32, u16)]) {
        let mut posted = Vec::new();
        posted.extend(send.iter().filter_map(|&(f, m, c)| self.outgoing(class, f, m, c)));
        posted.extend(receive.iter().filter_map(|&(f, m, c)| self.incoming(class, f, m, c)));
        if posted.is_empty() {
            return;
        }
        let before = std::mem::take(&mut self.frontier[class as usize]);
        let ids: Vec<TaskId> = posted.into_iter().map(|p| self.message(p)).collect();
        for &id in &ids {
            for &b in &before {
                self.graph.depend(b, id);
            }
        }
        self.frontier[class as usize] = ids;
    }

    /// Results leave from a side stream in order; only the pass that needs a message waits for it.
    fn send_async(&mut self, class: u64, send: &[(bool, u32, u16)], _receive: &[(bool, u32, u16)]) {
        for &(f, m, c) in send {
            let Some(key) = self.outgoing(class, f, m, c) else { continue };
            let id = self.message(key);
            for b in self.frontier[class as usize].clone() {
                self.graph.depend(b, id);
            }
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

    /// One pass of a microbatch through a chunk; `gates` hold its pieces back, `reduce` starts their gradient buckets.
    fn pass(&mut self, class: u64, forward: bool, microbatch: u32, chunk: u16, gates: &[TaskId], reduce: bool) {
        let cut = !gates.is_empty() || reduce;
        let mut pieces = self.pieces(self.stage(class), u64::from(chunk), cut);
        if !forward {
            pieces.reverse();
        }
        for (i, piece) in pieces.into_iter().enumerate() {
            self.frontier[class as usize].extend(gates.get(i));
            let label = Label { microbatch, chunk, piece: i as u16 };
            self.run_piece(class, forward, piece, label, cut);
            if let (true, Some(route)) = (reduce, self.data[self.stage(class) as usize].reduce) {
                let after = self.frontier[class as usize].clone();
                let bytes = self.config.gradient_bytes() * self.piece_parameters(piece);
                self.data_task(class, route, bytes, u64::from(chunk), &after);
            }
        }
    }

    fn piece_cost(&self, class: u64, forward: bool, piece: Piece) -> PassCost {
        let p = self.passes_of(class);
        let (layer, embedding, head) = if forward {
            (p.layer_forward, p.embedding_forward, p.head_forward)
        } else {
            (p.layer_backward, p.embedding_backward, p.head_backward)
        };
        let mut cost = layer.times(piece.layers as f64);
        if piece.embedding {
            cost = cost.plus(embedding);
        }
        if piece.head {
            cost = cost.plus(head);
        }
        cost
    }

    /// Seconds of one tensor-parallel collective that the products next to it do not hide.
    ///
    /// With user buffers a collective of t parts runs beside the parts of a product: what is longer shows, and the first
    /// or last part of the shorter; its kernels hold a share of the device meanwhile.
    fn exposed(&self, tensor: &TensorRoutes, cost: &PassCost) -> f64 {
        if !self.config.stack.tensor_overlap.value || cost.comm_count == 0.0 {
            return tensor.seconds;
        }
        let parts = self.config.parallel.tensor as f64;
        let product = cost.matrix / cost.comm_count;
        let hidden = tensor.seconds.min(product) * (1.0 - 1.0 / parts);
        tensor.seconds - hidden * (1.0 - tensor.share)
    }

    /// Seconds of context-parallel exchange in a pass that its attention does not hide: a ring passes the parts of keys and values
    /// on while attention works on the part before, so all but one part runs beside it.
    fn exposed_context(&mut self, class: u64, cost: &PassCost) -> f64 {
        let route = &mut self.context[class as usize];
        if cost.context_count == 0.0 {
            return 0.0;
        }
        route.inside += cost.context_count;
        let all = route.seconds * cost.context_count;
        let parts = self.config.parallel.context as f64;
        all - all.min(cost.attention) * (1.0 - 1.0 / parts) * (1.0 - route.share)
    }

    fn run_piece(&mut self, class: u64, forward: bool, piece: Piece, label: Label, beside_data: bool) {
        let cost = self.piece_cost(class, forward, piece).slowed(self.pace(class).speed);
        let tensor = self.tensor[class as usize];
        let exposed = self.exposed(&tensor, &cost);
        let comm = cost.comm_count * exposed;
        let context = self.exposed_context(class, &cost);
        let seconds = (cost.compute() + comm + context).max(cost.host);
        let kind = if forward { TaskKind::Forward } else { TaskKind::Backward };
        let compute = |seconds, inner_comm, inner_context| {
            let task = Task::new(ClassId(class as u32), Track::Compute, kind, Work::Compute { seconds });
            Task { label, inner_comm, inner_context, ..task }
        };
        let apart = tensor.with_pipeline || (tensor.with_data && beside_data);
        let count = if apart { cost.comm_count.round() as u64 } else { 0 };
        if count == 0 {
            self.inside[class as usize] += cost.comm_count;
            let before = std::mem::take(&mut self.frontier[class as usize]);
            let id = self.graph.add(compute(seconds, comm, context), &before);
            self.frontier[class as usize] = vec![id];
            return;
        }
        let each = (seconds - comm).max(0.0) / count as f64;
        let bytes = self.passes_of(class).layer_forward.comm_bytes * exposed / tensor.seconds;
        for _ in 0..count {
            let before = std::mem::take(&mut self.frontier[class as usize]);
            let mut id = self.graph.add(compute(each, 0.0, context / count as f64), &before);
            for route in tensor.routes.into_iter().flatten() {
                let task = self.transfer(class, route, bytes, TaskKind::TensorComm, Track::Tensor, label);
                id = self.graph.add(task, &[id]);
            }
            self.frontier[class as usize] = vec![id];
        }
    }

    /// Gradient reduction that is left, the tied embedding, optimizer, and the gather of weights that is not hidden.
    fn finish_step(&mut self, overlapped: bool) {
        let (stages, classes) = (self.stages(), self.classes());
        for class in 0..classes {
            let (c, s) = (class as usize, self.stage(class));
            if let (false, Some(route)) = (overlapped, self.data[s as usize].reduce) {
                let after = self.frontier[c].clone();
                let bytes = self.config.gradient_bytes() * stage_parameters(self.config, self.layers, s);
                let id = self.data_task(class, route, bytes, 0, &after);
                self.frontier[c] = vec![id];
            }
            self.frontier[c].extend(self.data_tasks[s as usize].last());
        }
        if let Some(route) = self.embedding {
            let bytes = self.config.gradient_bytes() * self.config.model.embedding_parameters() / self.config.parallel.tensor as f64;
            let ends = [self.classes_of(0), self.classes_of(stages - 1)].concat();
            let after: Vec<TaskId> = ends.iter().flat_map(|&c| self.frontier[c as usize].clone()).collect();
            let task = self.transfer(0, route, bytes, TaskKind::DataComm, Track::Data, Label::default());
            let id = self.graph.add(task, &after);
            ends.iter().for_each(|&c| self.frontier[c as usize] = vec![id]);
        }
        // The gradient norm needs every stage.
        let done: Vec<TaskId> = self.frontier.concat();
        let norm = self.graph.add(Task::new(ClassId(0), Track::Compute, TaskKind::Other, Work::Join), &done);
        self.data_tasks.iter_mut().for_each(Vec::clear);
        self.data_seen.fill(0);
        for class in 0..classes {
            let s = self.stage(class);
            let parameters = stage_parameters(self.config, self.layers, s);
            let shards = if self.config.shard_optimizer { self.config.parallel.replicas() as f64 } else { 1.0 };
            let bytes = *self.config.stack.optimizer_bytes * parameters / shards + 4.0 * parameters;
            let Pace { part, speed } = self.pace(class);
            let work = Work::Compute { seconds: (OPTIMIZER_FIXED + bytes / self.parts[part].1) / speed };
            let id = self.graph.add(Task::new(ClassId(class as u32), Track::Compute, TaskKind::Optimizer, work), &[norm]);
            if let (false, Some(route)) = (overlapped, self.data[s as usize].gather) {
                self.data_task(class, route, 2.0 * parameters, 0, &[id]);
            }
        }
    }
}
