//! What replicas exchange: gradients, weights that are gathered again, the optimizer between them.
//!
//! Collectives of a stage's replicas run in order on a stream of their own; those between copies of sharded state on another. What is
//! hidden behind compute follows from the order of tasks and from the links, never from a ratio.

use super::config::Config;
use super::config::Sharding;
use super::lower::Lowering;
use super::pass::{Part, Piece};
use super::step::launch_factor;
use super::variants::Pace;
use super::weights::{Weights, stage_weights};
use crate::workload::{ClassId, Label, RouteId, Task, TaskId, TaskKind, Track, Work};

/// Fixed time of the optimizer step: gradient norm, scaler, kernel launches (measured minus modelled of 13 vTrain pairs: 1 to 40 ms in
/// all, median of the rest below 0.5 ms).
pub const OPTIMIZER_FIXED: f64 = 0.5e-3;

/// Memory traffic of a stage's optimizer step on one rank, bytes.
#[must_use]
pub fn update_bytes(config: &Config, layers: &[Vec<u64>], stage: u64) -> f64 {
    let trained = stage_weights(config, layers, stage).trained(config);
    let owned = trained.owned(config);
    let local = if config.gathers_layers() { owned } else { trained.total() };
    config.optimizer_bytes() * owned + 4.0 * local
}

/// Streams of data-parallel collectives.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// Among the replicas that share one copy.
    Shards = 0,
    /// Between copies.
    Copies = 1,
}

impl Lowering<'_, '_> {
    /// The next data-parallel collective of a class on a lane: all variants of a stage come to the same ones, in order on the lane's
    /// stream; the first adds it, the others hold it up too.
    fn data_task(&mut self, class: u64, lane: Lane, route: RouteId, bytes: f64, chunk: u64, after: &[TaskId]) -> TaskId {
        let (stage, lane) = (self.home(self.stage(class)), lane as usize);
        let seen = self.data_seen[class as usize][lane];
        self.data_seen[class as usize][lane] += 1;
        if let Some(&known) = self.data_tasks[stage][lane].get(seen) {
            after.iter().for_each(|&before| self.graph.depend(before, known));
            return known;
        }
        let mut after = after.to_vec();
        after.extend(self.data_tasks[stage][lane].last());
        let label = Label { microbatch: self.microbatch, chunk: chunk as u16, piece: 0 };
        let task = self.transfer(class, route, bytes, TaskKind::DataComm, Track::Data, label);
        let id = self.graph.add(task, &after);
        self.data_tasks[stage][lane].push(id);
        id
    }

    /// Reduces the gradients of some weights after what the class has computed so far, and sends them where they lie; `earlier` microbatches
    /// may have left sums there.
    pub(super) fn reduce(&mut self, class: u64, weights: Weights, chunk: u64, earlier: bool) -> Option<TaskId> {
        let routes = self.data[self.home(self.stage(class))];
        let trained = weights.trained(self.config);
        let bytes = self.config.gradient_bytes() * trained.common;
        let before = self.frontier[class as usize].clone();
        let after = if routes.reduce.is_some() { self.fuse(class, bytes, before) } else { before };
        let mut last = routes.reduce.map(|route| self.data_task(class, Lane::Shards, route, bytes, chunk, &after));
        if let (Some(route), true) = (routes.expert_reduce, trained.routed > 0.0) {
            let bytes = self.config.gradient_bytes() * trained.routed;
            last = Some(self.data_task(class, Lane::Shards, route, bytes, chunk, &after));
        }
        let after = last.map_or(after, |l| vec![l]);
        if let Some(route) = routes.copies {
            last = self.reduce_copies(class, route, bytes, chunk, &after);
        }
        let after = last.map_or(after, |l| vec![l]);
        self.gradients_away(class, trained, earlier, &after).or(last)
    }

    /// A bucket waits for the next cycle of a framework that fuses tensors, half a cycle in the mean, and is copied into the buffer and
    /// out of it.
    fn fuse(&mut self, class: u64, bytes: f64, after: Vec<TaskId>) -> Vec<TaskId> {
        let cycle = self.config.stack.cycle_time.get();
        if cycle <= 0.0 {
            return after;
        }
        let Pace { part, speed } = self.pace(class);
        let seconds = 0.5 * cycle + 4.0 * bytes / self.parts[part].1 / speed;
        let label = Label { microbatch: self.microbatch, ..Label::default() };
        let task = Task { label, ..Task::new(ClassId(class as u32), Track::Data, TaskKind::DataComm, Work::Delay { seconds }) };
        vec![self.graph.add(task, &after)]
    }

    /// All-reduce of a rank's part of some gradients between copies; of a hierarchical all-reduce through the memory of the hosts, with
    /// the parts spread after it.
    fn reduce_copies(&mut self, class: u64, route: RouteId, bytes: f64, chunk: u64, after: &[TaskId]) -> Option<TaskId> {
        if !self.config.hierarchical {
            let part = bytes / self.config.optimizer_shards();
            return Some(self.data_task(class, Lane::Copies, route, part, chunk, after));
        }
        let (routes, host) = (self.data[self.home(self.stage(class))], self.host[class as usize]);
        let part = bytes / self.local_replicas() as f64;
        let down = self.host_copy(class, host.down?, part, after);
        let sum = self.data_task(class, Lane::Copies, route, part, chunk, &[down]);
        let up = self.host_copy(class, host.up?, part, &[sum]);
        routes.spread.map(|route| self.data_task(class, Lane::Copies, route, bytes, chunk, &[up]))
    }

    /// Gathers weights among the replicas, from where they lie.
    fn gather(&mut self, class: u64, weights: Weights, chunk: u64, after: &[TaskId]) -> Option<TaskId> {
        let routes = self.data[self.home(self.stage(class))];
        let each = self.config.weight_bytes();
        let mut last = self.fetch(class, weights, after);
        let after = last.map_or_else(|| after.to_vec(), |l| vec![l]);
        if let Some(route) = routes.gather {
            last = Some(self.data_task(class, Lane::Shards, route, each * weights.common, chunk, &after));
        }
        if let (Some(route), true) = (routes.expert_gather, weights.routed > 0.0) {
            last = Some(self.data_task(class, Lane::Shards, route, each * weights.routed, chunk, &after));
        }
        last
    }

    /// Gathers of the weights that the last optimizer step has changed, chunk by chunk, under the first forward passes.
    pub(super) fn gather_first(&mut self, stage: u64) -> Vec<Vec<TaskId>> {
        if self.data[self.home(stage)].gather.is_none() || self.config.stack.late_gather.value {
            return Vec::new();
        }
        let mut out = Vec::new();
        for chunk in 0..self.config.parallel.virtual_stages {
            let pieces = self.pieces(stage, chunk, true);
            let weights = pieces.into_iter().map(|p| self.piece_weights(p).trained(self.config));
            let weights: Vec<Weights> = weights.collect();
            out.push(weights.into_iter().filter_map(|w| self.gather(stage, w, chunk, &[])).collect());
        }
        let done = self.data_tasks[self.home(stage)][0].len();
        for class in self.classes_of(stage) {
            self.data_seen[class as usize][0] = done;
        }
        out
    }

    /// Reduces the gradients of a whole chunk.
    pub(super) fn reduce_chunk(&mut self, class: u64, chunk: u16) {
        for piece in self.pieces(self.stage(class), u64::from(chunk), false) {
            self.reduce(class, self.piece_weights(piece), u64::from(chunk), true);
        }
    }

    /// The layers of a chunk one by one with their weights, and the tables beside them.
    fn sharded_pieces(&self, class: u64, chunk: u16) -> (Vec<Piece>, Vec<Weights>, Weights) {
        let pieces = self.layer_pieces(self.stage(class), u64::from(chunk));
        let weights: Vec<Weights> = pieces.iter().map(|&p| Weights::of_layers(self.config, p.dense, p.expert)).collect();
        let all = pieces.iter().map(|&p| self.piece_weights(p)).fold(Weights::default(), Weights::plus);
        let tables = all.minus(weights.iter().copied().fold(Weights::default(), Weights::plus));
        (pieces, weights, tables)
    }

    /// The forward pass of a chunk whose layers gather their weights: each layer's gather comes a given number of layers ahead of its
    /// pass. The embedding and the head stay gathered through both passes, and so does the last layer between them.
    pub(super) fn sharded_forward(&mut self, class: u64, microbatch: u32, chunk: u16) {
        let (pieces, weights, tables) = self.sharded_pieces(class, chunk);
        let start = self.frontier[class as usize].clone();
        let root = if tables.total() > 0.0 { self.gather(class, tables, u64::from(chunk), &start) } else { None };
        self.frontier[class as usize].extend(root);
        let ahead = *self.config.stack.prefetch_forward as usize;
        let mut done = Vec::with_capacity(pieces.len());
        for (i, &piece) in pieces.iter().enumerate() {
            let after: Vec<TaskId> = i.checked_sub(ahead + 1).map_or_else(|| start.clone(), |j| vec![done[j]]);
            let gathered = self.gather(class, weights[i], u64::from(chunk), &after);
            self.frontier[class as usize].extend(gathered);
            self.make_room(class);
            self.run_piece(class, Part::Forward, piece, Label { microbatch, chunk, piece: i as u16 }, true);
            done.push(self.frontier[class as usize][0]);
            self.activations_leave(class, microbatch, chunk, i, pieces.len());
        }
    }

    /// The backward pass of such a chunk: weights are gathered again where they were dropped, gradients leave after each layer.
    pub(super) fn sharded_backward(&mut self, class: u64, microbatch: u32, chunk: u16) {
        let (pieces, weights, tables) = self.sharded_pieces(class, chunk);
        let again = self.config.sharding == Sharding::Weights || self.config.offload.weights.is_some();
        // In a pipeline other passes come between a forward pass and its backward pass.
        let dropped = again && self.stages() > 1;
        let (n, of) = (pieces.len(), u64::from(chunk));
        let ahead = *self.config.stack.prefetch_backward as usize;
        let mut gathered: Vec<Option<TaskId>> = vec![None; n];
        if dropped {
            let after = self.frontier[class as usize].clone();
            gathered[0] = self.gather(class, weights[n - 1], of, &after);
        }
        let mut next = 1;
        for j in 0..n {
            let unit = n - 1 - j;
            // Gathers ahead are posted before this layer's pass.
            while again && ahead > 0 && next < n && next <= j + ahead {
                let after = self.frontier[class as usize].clone();
                gathered[next] = self.gather(class, weights[n - 1 - next], of, &after);
                next += 1;
            }
            self.frontier[class as usize].extend(gathered[j]);
            self.activations_return(class, microbatch, chunk, unit);
            self.run_piece(class, Part::Backward, pieces[unit], Label { microbatch, chunk, piece: unit as u16 }, true);
            self.layer_done(class);
            // Without prefetch the next gather is posted after the pass, before the gradients leave.
            if again && ahead == 0 && j + 1 < n {
                let after = self.frontier[class as usize].clone();
                gathered[j + 1] = self.gather(class, weights[n - 2 - j], of, &after);
            }
            self.reduce(class, weights[unit], of, microbatch > 0);
        }
        if tables.total() > 0.0 {
            self.reduce(class, tables, of, microbatch > 0);
        }
    }

    /// Gradient reduction that is left, the tied embedding, optimizer, and the gather of weights that is not hidden.
    pub(super) fn finish_step(&mut self, overlapped: bool) {
        let (stages, classes) = (self.stages(), self.classes());
        let serial = !overlapped && !self.config.gathers_layers();
        for class in 0..classes {
            let (c, s) = (class as usize, self.stage(class));
            if serial {
                let earlier = self.config.microbatches() > 1;
                let last = self.reduce(class, stage_weights(self.config, self.layers, s), 0, earlier);
                if let Some(id) = last {
                    self.frontier[c] = vec![id];
                }
            }
            let lanes = &self.data_tasks[self.home(s)];
            self.frontier[c].extend(lanes.iter().filter_map(|lane| lane.last()));
            let copies = self.last_copies(class);
            self.frontier[c].extend(copies);
        }
        if let Some(route) = self.embedding {
            let bytes = self.config.gradient_bytes() * self.config.model.embedding_parameters() / self.config.parallel.tensor as f64;
            let ends = [self.classes_of(0), self.classes_of(stages - 1)].concat();
            let after: Vec<TaskId> = ends.iter().flat_map(|&c| self.frontier[c as usize].clone()).collect();
            let label = Label { microbatch: self.microbatch, ..Label::default() };
            let task = self.transfer(0, route, bytes, TaskKind::DataComm, Track::Data, label);
            let id = self.graph.add(task, &after);
            ends.iter().for_each(|&c| self.frontier[c as usize] = vec![id]);
        }
        // The gradient norm needs every stage.
        let done: Vec<TaskId> = self.frontier.concat();
        let norm = self.graph.add(Task::new(ClassId(0), Track::Compute, TaskKind::Other, Work::Join), &done);
        self.data_tasks.iter_mut().flatten().for_each(Vec::clear);
        self.data_seen.fill([0; 2]);
        for class in 0..classes {
            let id = if self.config.offload.optimizer.is_some() { self.host_optimizer(class, norm) } else { self.optimizer(class, norm) };
            let id = self.metrics(class, id);
            if serial || self.config.stack.late_gather.value && !self.config.gathers_layers() {
                let weights = stage_weights(self.config, self.layers, self.stage(class)).trained(self.config);
                self.gather(class, weights, 0, &[id]);
            }
        }
    }

    /// The metrics of a step: after a barrier the host launches two kernels for every rank and number (torchmetrics, `gather_all_tensors`).
    fn metrics(&mut self, class: u64, after: TaskId) -> TaskId {
        let stack = &self.config.stack;
        if *stack.metric_states == 0 {
            return after;
        }
        let kernels = (*stack.metric_states * self.config.parallel.ranks()) as f64;
        let seconds = launch_factor(self.network.fabric()) * kernels * (stack.launch_forward.get() + stack.launch_backward.get());
        let label = Label { microbatch: self.microbatch, ..Label::default() };
        let task = Task { label, ..Task::new(ClassId(class as u32), Track::Compute, TaskKind::Other, Work::Compute { seconds }) };
        self.graph.add(task, &[after])
    }

    /// The optimizer of a class: its share of the state, and the local gradients that are scaled and cleared.
    fn optimizer(&mut self, class: u64, norm: TaskId) -> TaskId {
        let Pace { part, speed } = self.pace(class);
        let streaming = update_bytes(self.config, self.layers, self.stage(class)) / self.parts[part].1;
        let work = Work::Compute { seconds: (OPTIMIZER_FIXED + streaming) / speed };
        let memory = streaming / (OPTIMIZER_FIXED + streaming);
        let label = Label { microbatch: self.microbatch, ..Label::default() };
        self.graph.add(Task { label, memory, ..Task::new(ClassId(class as u32), Track::Compute, TaskKind::Optimizer, work) }, &[norm])
    }
}
