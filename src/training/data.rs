//! What replicas exchange: gradients, weights that are gathered again, the optimizer between them.
//!
//! Collectives of a stage's replicas run in order on a stream of their own; those between copies of sharded state on another. What is
//! hidden behind compute follows from the order of tasks and from the links, never from a ratio.

use super::config::Sharding;
use super::lower::Lowering;
use super::pass::{Part, Piece};
use super::variants::Pace;
use super::weights::{Weights, stage_weights};
use crate::workload::{ClassId, Label, RouteId, Task, TaskId, TaskKind, Track, Work};

/// Fixed time of the optimizer step: gradient norm, scaler, kernel launches (measured minus modelled of 13 vTrain pairs: 1 to 40 ms in
/// all, median of the rest below 0.5 ms).
const OPTIMIZER_FIXED: f64 = 0.5e-3;

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
        let (stage, lane) = (self.stage(class) as usize, lane as usize);
        let seen = self.data_seen[class as usize][lane];
        self.data_seen[class as usize][lane] += 1;
        if let Some(&known) = self.data_tasks[stage][lane].get(seen) {
            after.iter().for_each(|&before| self.graph.depend(before, known));
            return known;
        }
        let mut after = after.to_vec();
        after.extend(self.data_tasks[stage][lane].last());
        let label = Label { microbatch: 0, chunk: chunk as u16, piece: 0 };
        let task = self.transfer(class, route, bytes, TaskKind::DataComm, Track::Data, label);
        let id = self.graph.add(task, &after);
        self.data_tasks[stage][lane].push(id);
        id
    }

    /// Reduces the gradients of some weights after what the class has computed so far.
    pub(super) fn reduce(&mut self, class: u64, weights: Weights, chunk: u64) -> Option<TaskId> {
        let routes = self.data[self.stage(class) as usize];
        let after = self.frontier[class as usize].clone();
        let (each, trained) = (self.config.gradient_bytes(), weights.trained(self.config));
        let mut last = None;
        if let Some(route) = routes.reduce {
            last = Some(self.data_task(class, Lane::Shards, route, each * trained.common, chunk, &after));
        }
        if let (Some(route), true) = (routes.expert_reduce, trained.routed > 0.0) {
            last = Some(self.data_task(class, Lane::Shards, route, each * trained.routed, chunk, &after));
        }
        if let Some(route) = routes.copies {
            let after = last.map_or(after, |l| vec![l]);
            let bytes = each * trained.common / self.config.optimizer_shards();
            last = Some(self.data_task(class, Lane::Copies, route, bytes, chunk, &after));
        }
        last
    }

    /// Gathers weights among the replicas.
    fn gather(&mut self, class: u64, weights: Weights, chunk: u64, after: &[TaskId]) -> Option<TaskId> {
        let routes = self.data[self.stage(class) as usize];
        let each = self.config.weight_bytes();
        let mut last = routes.gather.map(|route| self.data_task(class, Lane::Shards, route, each * weights.common, chunk, after));
        if let (Some(route), true) = (routes.expert_gather, weights.routed > 0.0) {
            last = Some(self.data_task(class, Lane::Shards, route, each * weights.routed, chunk, after));
        }
        last
    }

    /// Gathers of the weights that the last optimizer step has changed, chunk by chunk, under the first forward passes.
    pub(super) fn gather_first(&mut self, stage: u64) -> Vec<Vec<TaskId>> {
        if self.data[stage as usize].gather.is_none() || self.config.stack.late_gather.value {
            return Vec::new();
        }
        let mut out = Vec::new();
        for chunk in 0..self.config.parallel.virtual_stages {
            let pieces = self.pieces(stage, chunk, true);
            let weights = pieces.into_iter().map(|p| self.piece_weights(p).trained(self.config));
            let weights: Vec<Weights> = weights.collect();
            out.push(weights.into_iter().filter_map(|w| self.gather(stage, w, chunk, &[])).collect());
        }
        let done = self.data_tasks[stage as usize][0].len();
        for class in self.classes_of(stage) {
            self.data_seen[class as usize][0] = done;
        }
        out
    }

    /// The step of a class whose layers gather their weights: each layer's gather comes a given number of layers ahead of its pass,
    /// its gradients leave after its backward pass. The embedding and the head stay gathered through both passes, and so does the
    /// last layer between them.
    pub(super) fn lower_sharded(&mut self, class: u64) {
        let pieces = self.layer_pieces();
        let weights: Vec<Weights> = pieces.iter().map(|&p| Weights::of_layers(self.config, p.dense, p.expert)).collect();
        let tables = stage_weights(self.config, self.layers, 0).minus(weights.iter().copied().fold(Weights::default(), Weights::plus));
        let again = self.config.sharding == Sharding::Weights;
        let n = pieces.len();
        for m in 0..self.config.microbatches() as u32 {
            let start = self.frontier[class as usize].clone();
            let root = self.gather(class, tables, 0, &start);
            self.frontier[class as usize].extend(root);
            let ahead = *self.config.stack.prefetch_forward as usize;
            let mut done = Vec::with_capacity(n);
            for i in 0..n {
                let after: Vec<TaskId> = i.checked_sub(ahead + 1).map_or_else(|| start.clone(), |j| vec![done[j]]);
                let gathered = self.gather(class, weights[i], 0, &after);
                self.frontier[class as usize].extend(gathered);
                self.run_piece(class, Part::Forward, pieces[i], Label { microbatch: m, chunk: 0, piece: i as u16 }, true);
                done.push(self.frontier[class as usize][0]);
            }
            self.sharded_backward(class, m, &pieces, &weights, again);
            self.reduce(class, tables, 0);
        }
    }

    fn sharded_backward(&mut self, class: u64, microbatch: u32, pieces: &[Piece], weights: &[Weights], again: bool) {
        let n = pieces.len();
        let ahead = *self.config.stack.prefetch_backward as usize;
        let mut gathered: Vec<Option<TaskId>> = vec![None; n];
        let mut next = 1;
        for j in 0..n {
            let unit = n - 1 - j;
            // Gathers ahead are posted before this layer's pass.
            while again && ahead > 0 && next < n && next <= j + ahead {
                let after = self.frontier[class as usize].clone();
                gathered[next] = self.gather(class, weights[n - 1 - next], 0, &after);
                next += 1;
            }
            self.frontier[class as usize].extend(gathered[j]);
            self.run_piece(class, Part::Backward, pieces[unit], Label { microbatch, chunk: 0, piece: unit as u16 }, true);
            // Without prefetch the next gather is posted after the pass, before the gradients leave.
            if again && ahead == 0 && j + 1 < n {
                let after = self.frontier[class as usize].clone();
                gathered[j + 1] = self.gather(class, weights[n - 2 - j], 0, &after);
            }
            self.reduce(class, weights[unit], 0);
        }
    }

    /// Gradient reduction that is left, the tied embedding, optimizer, and the gather of weights that is not hidden.
    pub(super) fn finish_step(&mut self, overlapped: bool) {
        let (stages, classes) = (self.stages(), self.classes());
        let serial = !overlapped && !self.config.gathers_layers();
        for class in 0..classes {
            let (c, s) = (class as usize, self.stage(class));
            if serial {
                let last = self.reduce(class, stage_weights(self.config, self.layers, s), 0);
                if let Some(id) = last {
                    self.frontier[c] = vec![id];
                }
            }
            let lanes = &self.data_tasks[s as usize];
            self.frontier[c].extend(lanes.iter().filter_map(|lane| lane.last()));
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
        self.data_tasks.iter_mut().flatten().for_each(Vec::clear);
        self.data_seen.fill([0; 2]);
        for class in 0..classes {
            let id = self.optimizer(class, norm);
            if serial || self.config.stack.late_gather.value && !self.config.gathers_layers() {
                let weights = stage_weights(self.config, self.layers, self.stage(class)).trained(self.config);
                self.gather(class, weights, 0, &[id]);
            }
        }
    }

    /// The optimizer of a class: its share of the state, and the local gradients that are scaled and cleared.
    fn optimizer(&mut self, class: u64, norm: TaskId) -> TaskId {
        let trained = stage_weights(self.config, self.layers, self.stage(class)).trained(self.config);
        let owned = trained.owned(self.config);
        let local = if self.config.gathers_layers() { owned } else { trained.total() };
        let bytes = self.config.optimizer_bytes() * owned + 4.0 * local;
        let Pace { part, speed } = self.pace(class);
        let streaming = bytes / self.parts[part].1;
        let work = Work::Compute { seconds: (OPTIMIZER_FIXED + streaming) / speed };
        let memory = streaming / (OPTIMIZER_FIXED + streaming);
        self.graph.add(Task { memory, ..Task::new(ClassId(class as u32), Track::Compute, TaskKind::Optimizer, work) }, &[norm])
    }
}
