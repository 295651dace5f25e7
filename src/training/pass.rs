//! Passes of a microbatch as tasks: cut into pieces where gradients or weights of the replicas travel beside them, with the
//! communication inside that nothing else disturbs.

use super::cost::PassCost;
use super::lower::Lowering;
use super::routes::TensorRoutes;
use super::weights::Weights;
use crate::workload::{ClassId, Label, Task, TaskId, TaskKind, Track, Work};

/// A piece of a pass: some layers, perhaps the embedding or the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Layers without experts.
    pub(super) dense: u64,
    /// Layers with experts.
    pub(super) expert: u64,
    pub(super) embedding: bool,
    pub(super) head: bool,
}

/// Which part of the work on a microbatch a pass does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Forward,
    /// Gradients of inputs and weights.
    Backward,
    /// Gradients of inputs, and what is computed again.
    Inputs,
    /// Gradients of weights.
    Weights,
}

impl Lowering<'_, '_> {
    /// A chunk's layers from `first` on, counted from its start.
    fn piece(&self, stage: u64, chunk: u64, first: u64, layers: u64) -> Piece {
        let virtual_stage = chunk * self.stages() + stage;
        let own = self.layers[stage as usize][chunk as usize];
        let total = self.stages() * self.config.parallel.virtual_stages;
        // Which layers have experts depends on where they stand.
        let before = if self.config.has_experts() {
            let at = |v: u64| self.layers[(v % self.stages()) as usize][(v / self.stages()) as usize];
            (0..virtual_stage).map(at).sum::<u64>() + first
        } else {
            0
        };
        let model = &self.config.model;
        let expert = model.expert_layers_before(before + layers) - model.expert_layers_before(before);
        Piece {
            dense: layers - expert,
            expert,
            embedding: virtual_stage == 0 && first == 0,
            head: virtual_stage + 1 == total && first + layers == own,
        }
    }

    /// The pieces into which a chunk's pass is cut where buckets of gradients or weights follow it.
    pub(super) fn pieces(&self, stage: u64, chunk: u64, cut: bool) -> Vec<Piece> {
        let layers = self.layers[stage as usize][chunk as usize];
        if !cut || self.config.parallel.replicas() == 1 || layers < 2 {
            return vec![self.piece(stage, chunk, 0, layers)];
        }
        let stack = &self.config.stack;
        let bucket = (*stack.bucket_parameters).max(*stack.bucket_parameters_per_rank * self.config.parallel.replicas()) as f64;
        let whole = self.piece(stage, chunk, 0, layers);
        let local = Weights::of_layers(self.config, whole.dense, whole.expert).total() / layers as f64;
        let each = ((bucket / local).ceil() as u64).clamp(1, layers);
        (0..layers.div_ceil(each)).map(|i| self.piece(stage, chunk, i * each, each.min(layers - i * each))).collect()
    }

    /// One piece for each layer.
    pub(super) fn layer_pieces(&self) -> Vec<Piece> {
        (0..self.layers[0][0]).map(|i| self.piece(0, 0, i, 1)).collect()
    }

    /// Weights of a piece on one rank.
    pub(super) fn piece_weights(&self, piece: Piece) -> Weights {
        let mut weights = Weights::of_layers(self.config, piece.dense, piece.expert);
        let model = &self.config.model;
        // A tied table of one stage is whole with the embedding, which comes last.
        let own_head = piece.head && !(model.tied_embeddings && self.stages() == 1);
        let tables =
            if piece.embedding { model.entry_parameters() } else { 0.0 } + if own_head { model.embedding_parameters() } else { 0.0 };
        weights.common += tables / self.config.parallel.tensor as f64;
        if piece.head {
            weights = weights.plus(Weights::of_prediction(self.config));
        }
        weights
    }

    /// One pass of a microbatch through a chunk; `gates` hold its pieces back, `reduce` starts their gradient buckets.
    pub(super) fn pass(&mut self, class: u64, part: Part, microbatch: u32, chunk: u16, gates: &[TaskId], reduce: bool) {
        let cut = !gates.is_empty() || reduce;
        let mut pieces = self.pieces(self.stage(class), u64::from(chunk), cut);
        if part != Part::Forward {
            pieces.reverse();
        }
        for (i, piece) in pieces.into_iter().enumerate() {
            self.frontier[class as usize].extend(gates.get(i));
            let label = Label { microbatch, chunk, piece: i as u16 };
            self.run_piece(class, part, piece, label, cut);
            if reduce {
                self.reduce(class, self.piece_weights(piece), u64::from(chunk));
            }
        }
    }

    fn piece_cost(&self, class: u64, part: Part, piece: Piece) -> PassCost {
        let p = self.passes_of(class);
        let (layer, expert, embedding, head) = if part == Part::Forward {
            (p.layer_forward, p.expert_forward, p.embedding_forward, p.head_forward)
        } else {
            (p.layer_backward, p.expert_backward, p.embedding_backward, p.head_backward)
        };
        let mut cost = layer.times(piece.dense as f64);
        if piece.expert > 0 {
            cost = cost.plus(expert.times(piece.expert as f64));
        }
        if piece.embedding {
            cost = cost.plus(embedding);
        }
        if piece.head {
            cost = cost.plus(head);
        }
        match part {
            Part::Forward | Part::Backward => cost,
            Part::Inputs => cost.inputs(),
            Part::Weights => cost.weights(),
        }
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

    /// Seconds of exchange with the ranks of the experts in a pass that shows: all of it, or what the stack does not run under the
    /// compute of another microbatch, of which each exchange has an equal part beside it.
    fn exposed_exchange(&mut self, class: u64, cost: &PassCost) -> f64 {
        if cost.expert_count == 0.0 {
            return 0.0;
        }
        let route = &mut self.experts[class as usize];
        route.inside += cost.expert_count;
        if self.config.model.bags.is_some() {
            // Pooled vectors travel beside the part of the network that needs none of them.
            return (cost.expert_count * route.seconds - cost.expert_compute).max(0.0);
        }
        let hidden = if self.config.microbatches() > 1 { *self.config.experts.hidden } else { 0.0 };
        let beside = cost.compute() / cost.expert_count;
        cost.expert_count * (route.seconds - (hidden * route.seconds).min(beside))
    }

    pub(super) fn run_piece(&mut self, class: u64, part: Part, piece: Piece, label: Label, beside_data: bool) {
        let cost = self.piece_cost(class, part, piece).slowed(self.pace(class).speed);
        let tensor = self.tensor[class as usize];
        let exposed = self.exposed(&tensor, &cost);
        let comm = cost.comm_count * exposed;
        let context = self.exposed_context(class, &cost);
        let exchange = self.exposed_exchange(class, &cost);
        let seconds = cost.seconds(comm + context + exchange, exchange);
        let kind = if part == Part::Forward { TaskKind::Forward } else { TaskKind::Backward };
        let compute = |seconds, inner_comm, share: f64| {
            let task = Task::new(ClassId(class as u32), Track::Compute, kind, Work::Compute { seconds });
            let memory = if seconds > 0.0 { (share * cost.elementwise / seconds).min(1.0) } else { 0.0 };
            Task { label, memory, inner_comm, inner_context: context * share, inner_expert: (exchange + cost.expert_wait) * share, ..task }
        };
        // What runs beside the parts of products has no time of its own to be cut out.
        let cut = self.apart && !self.config.stack.tensor_overlap.value;
        let apart = cut || tensor.with_pipeline || (tensor.with_data && beside_data);
        let count = if apart { cost.comm_count.ceil() as u64 } else { 0 };
        if count == 0 {
            self.inside[class as usize] += cost.comm_count;
            let before = std::mem::take(&mut self.frontier[class as usize]);
            let id = self.graph.add(compute(seconds, comm, 1.0), &before);
            self.frontier[class as usize] = vec![id];
            return;
        }
        let each = (seconds - comm).max(0.0) / count as f64;
        let bytes = self.comm_bytes(class) * exposed / tensor.seconds;
        for i in 0..count {
            // The head has half a collective.
            let share = (cost.comm_count - i as f64).min(1.0);
            let before = std::mem::take(&mut self.frontier[class as usize]);
            let mut id = self.graph.add(compute(each, 0.0, 1.0 / count as f64), &before);
            for route in tensor.routes.into_iter().flatten() {
                let task = self.transfer(class, route, share * bytes, TaskKind::TensorComm, Track::Tensor, label);
                id = self.graph.add(task, &[id]);
            }
            self.frontier[class as usize] = vec![id];
        }
    }
}
