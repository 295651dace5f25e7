//! Passes of a microbatch as tasks: cut into pieces where gradients or weights of the replicas travel beside them, with the
//! communication inside that nothing else disturbs.

use super::cost::PassCost;
use super::lower::Lowering;
use super::routes::TensorRoutes;
use super::weights::{Weights, layers_before};
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

impl Part {
    /// How many there are.
    pub(super) const COUNT: usize = 4;
}

/// What a pass, or a piece of one, comes to on its class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Priced {
    cost: PassCost,
    /// Seconds of one tensor-parallel collective that show.
    exposed: f64,
    /// Seconds that show, all together, of tensor-parallel, context-parallel and experts' communication.
    comm: f64,
    context: f64,
    exchange: f64,
    /// Seconds of everything.
    seconds: f64,
}

/// Share of the device that exchange of tokens holds while passes run side by side: 20 of 132 multiprocessors (arXiv 2412.19437, section
/// 3.2.2).
const PAIRED_SHARE: f64 = 20.0 / 132.0;

impl Lowering<'_, '_> {
    /// A chunk's layers from `first` on, counted from its start.
    fn piece(&self, stage: u64, chunk: u64, first: u64, layers: u64) -> Piece {
        let parallel = &self.config.parallel;
        let virtual_stage = parallel.virtual_stage(stage, chunk);
        let own = self.layers[stage as usize][chunk as usize];
        // Which layers have experts depends on where they stand.
        let before = if self.config.has_experts() { layers_before(self.config, self.layers, virtual_stage) + first } else { 0 };
        let model = &self.config.model;
        let expert = model.expert_layers_before(before + layers) - model.expert_layers_before(before);
        Piece {
            dense: layers - expert,
            expert,
            embedding: parallel.enters(virtual_stage) && first == 0,
            head: parallel.leaves(virtual_stage) && first + layers == own,
        }
    }

    /// The pieces into which a chunk's pass is cut where buckets of gradients or weights follow it.
    pub(super) fn pieces(&self, stage: u64, chunk: u64, cut: bool) -> Vec<Piece> {
        let layers = self.layers[stage as usize][chunk as usize];
        let offload = &self.config.offload;
        if layers > 1 && offload.activations {
            return self.layer_pieces(stage, chunk);
        }
        if !cut || self.config.parallel.replicas() == 1 && offload.optimizer.is_none() || layers < 2 {
            return vec![self.piece(stage, chunk, 0, layers)];
        }
        let stack = &self.config.stack;
        let bucket = (*stack.bucket_parameters).max(*stack.bucket_parameters_per_rank * self.config.parallel.replicas()) as f64;
        let whole = self.piece(stage, chunk, 0, layers);
        let local = Weights::of_layers(self.config, whole.dense, whole.expert).total() / layers as f64;
        let each = ((bucket / local).ceil() as u64).clamp(1, layers);
        (0..layers.div_ceil(each)).map(|i| self.piece(stage, chunk, i * each, each.min(layers - i * each))).collect()
    }

    /// One piece for each layer of a chunk.
    pub(super) fn layer_pieces(&self, stage: u64, chunk: u64) -> Vec<Piece> {
        let layers = self.layers[stage as usize][chunk as usize];
        if layers == 0 { vec![self.piece(stage, chunk, 0, 0)] } else { (0..layers).map(|i| self.piece(stage, chunk, i, 1)).collect() }
    }

    /// Weights of a piece on one rank.
    pub(super) fn piece_weights(&self, piece: Piece) -> Weights {
        let mut weights = Weights::of_layers(self.config, piece.dense, piece.expert);
        let model = &self.config.model;
        // A tied table on one rank is whole with the embedding, which comes last.
        let own_head = piece.head && (!model.tied_embeddings || self.config.parallel.ends_apart());
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
        // Gradients that the host's optimizer takes are summed up in its memory.
        let complete = matches!(part, Part::Backward | Part::Weights);
        let sums = complete && self.config.offload.optimizer.is_some() && !self.is_last(class, microbatch);
        let cut = !gates.is_empty() || reduce || sums;
        if !cut && !self.config.offload.any() {
            self.whole_pass(class, part, microbatch, chunk);
            return;
        }
        let mut pieces = self.pieces(self.stage(class), u64::from(chunk), cut);
        if part != Part::Forward {
            pieces.reverse();
        }
        let layers = pieces.len();
        for (i, piece) in pieces.into_iter().enumerate() {
            self.frontier[class as usize].extend(gates.get(i));
            let label = Label { microbatch, chunk, piece: i as u16 };
            let forward = part == Part::Forward;
            if forward {
                self.make_room(class);
            } else {
                self.activations_return(class, microbatch, chunk, layers - 1 - i);
            }
            self.run_piece(class, part, piece, label, cut);
            if forward {
                self.activations_leave(class, microbatch, chunk, i, layers);
            } else {
                self.layer_done(class);
            }
            if reduce {
                self.reduce(class, self.piece_weights(piece), u64::from(chunk), microbatch > 0);
            } else if sums {
                let (trained, after) = (self.piece_weights(piece).trained(self.config), self.frontier[class as usize].clone());
                self.sum_away(class, trained, microbatch > 0, &after);
            }
        }
    }

    /// Whether a microbatch is the last of a class in a step.
    fn is_last(&self, class: u64, microbatch: u32) -> bool {
        let all = self.config.microbatches_of(self.variants[(class / self.stages()) as usize].members[0]);
        u64::from(microbatch) + 1 == if self.config.parallel.two_copies() { all / 2 } else { all }
    }

    /// A pass that nothing cuts, which costs the same for every microbatch.
    fn whole_pass(&mut self, class: u64, part: Part, microbatch: u32, chunk: u16) {
        let at = (class * self.config.parallel.virtual_stages + u64::from(chunk)) as usize * Part::COUNT + part as usize;
        let priced = self.whole[at].unwrap_or_else(|| {
            let stage = self.stage(class);
            let piece = self.piece(stage, u64::from(chunk), 0, self.layers[stage as usize][chunk as usize]);
            self.price(class, self.piece_cost(class, part, piece), false)
        });
        self.whole[at] = Some(priced);
        let kind = if part == Part::Forward { TaskKind::Forward } else { TaskKind::Backward };
        self.place(class, kind, &priced, Label { microbatch, chunk, piece: 0 }, false);
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
        let hidden = tensor.seconds.min(product) * (1.0 - 1.0 / parts) * (1.0 - cost.comm_bare / cost.comm_count);
        tensor.seconds - hidden * (1.0 - tensor.share)
    }

    /// Seconds of exchange with the ranks of the experts in a pass that shows: all of it, or what the stack does not run under the
    /// compute of another microbatch, of which each exchange has an equal part beside it. Passes side by side hide as much as they can.
    fn exposed_exchange(&self, class: u64, cost: &PassCost, paired: bool) -> f64 {
        if cost.expert_count == 0.0 {
            return 0.0;
        }
        let route = &self.experts[class as usize];
        if self.config.model.bags.is_some() {
            // Pooled vectors travel beside the part of the network that needs none of them.
            return (cost.expert_count * route.seconds - cost.expert_compute).max(0.0);
        }
        let several = self.config.microbatches() > 1;
        let hidden = match (paired, several) {
            (true, _) => 1.0,
            (false, true) => *self.config.experts.hidden,
            (false, false) => 0.0,
        };
        let beside = cost.compute() / cost.expert_count;
        cost.expert_count * (route.seconds - (hidden * route.seconds).min(beside))
    }

    /// A forward pass of one microbatch and a backward pass of another side by side; what exchanges tokens holds a part of the device.
    pub(super) fn pair(&mut self, class: u64, forward: (u32, u16), backward: (u32, u16)) {
        let stage = self.stage(class);
        let whole = |chunk: u16| self.piece(stage, u64::from(chunk), 0, self.layers[stage as usize][chunk as usize]);
        let (ahead, back) = (whole(forward.1), whole(backward.1));
        let cost = self.piece_cost(class, Part::Forward, ahead).plus(self.piece_cost(class, Part::Backward, back));
        let exchanges = cost.expert_count > 0.0 && self.experts[class as usize].route.is_some();
        let cost = if exchanges { cost.slowed(1.0 - PAIRED_SHARE) } else { cost };
        let label = Label { microbatch: backward.0, chunk: backward.1, piece: 0 };
        let priced = self.price(class, cost, true);
        self.place(class, TaskKind::Backward, &priced, label, false);
    }

    pub(super) fn run_piece(&mut self, class: u64, part: Part, piece: Piece, label: Label, beside_data: bool) {
        let kind = if part == Part::Forward { TaskKind::Forward } else { TaskKind::Backward };
        let cost = self.piece_cost(class, part, piece);
        let priced = self.price(class, cost, false);
        self.place(class, kind, &priced, label, beside_data);
    }

    /// What a cost comes to on a class.
    fn price(&self, class: u64, cost: PassCost, paired: bool) -> Priced {
        let cost = cost.slowed(self.pace(class).speed);
        let exposed = self.exposed(&self.tensor[class as usize], &cost);
        let comm = cost.comm_count * exposed;
        let context = self.exposed_context(class, &cost);
        let exchange = self.exposed_exchange(class, &cost, paired);
        let seconds = cost.seconds(comm + context + exchange, exchange);
        Priced { cost, exposed, comm, context, exchange, seconds }
    }

    /// Adds the tasks of what was priced.
    fn place(&mut self, class: u64, kind: TaskKind, priced: &Priced, label: Label, beside_data: bool) {
        let &Priced { cost, exposed, comm, context, exchange, seconds } = priced;
        let tensor = self.tensor[class as usize];
        let times = self.times();
        self.context[class as usize].inside += times * cost.context_count;
        self.experts[class as usize].inside += times * cost.expert_count;
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
            self.inside[class as usize] += times * cost.comm_count;
            self.advance(class, compute(seconds, comm, 1.0));
            return;
        }
        let each = (seconds - comm).max(0.0) / count as f64;
        let bytes = self.comm_bytes(class) * exposed / tensor.seconds;
        for i in 0..count {
            // The head has half a collective.
            let share = (cost.comm_count - i as f64).min(1.0);
            self.advance(class, compute(each, 0.0, 1.0 / count as f64));
            for route in tensor.routes.into_iter().flatten() {
                let task = self.transfer(class, route, share * bytes, TaskKind::TensorComm, Track::Tensor, label);
                self.advance(class, task);
            }
        }
    }
}
