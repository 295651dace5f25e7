//! What one pass of one microbatch costs on one rank, as sums that pieces of a pass add up.

/// What one pass of one microbatch costs on one rank.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PassCost {
    /// Matrix products, seconds.
    pub matrix: f64,
    /// Gradients of weights, seconds (part of `matrix`).
    pub weight: f64,
    /// Attention core, seconds.
    pub attention: f64,
    /// Element-wise kernels, norms, loss, seconds.
    pub elementwise: f64,
    /// Host launches of the pass, seconds.
    pub host: f64,
    /// Tensor-parallel collectives: payload of each, bytes.
    pub comm_bytes: f64,
    /// How many of them are all-reduces (or pairs of gather and scatter).
    pub comm_count: f64,
    /// How many of those no product runs beside, whatever the stack overlaps.
    pub comm_bare: f64,
    /// Gathers of keys and values over the context ranks (a backward pass also returns their gradients: two).
    pub context_count: f64,
    /// Exchanges of tokens with the ranks of their experts: dispatches and combines.
    pub expert_count: f64,
    /// Device seconds of what lies between dispatch and combine (part of the above).
    pub expert_compute: f64,
    /// Host seconds of what is launched after the wait for the counts of tokens (part of `host`).
    pub expert_host: f64,
    /// Waits of the host for the counts of tokens of every expert, seconds.
    pub expert_wait: f64,
}

impl PassCost {
    /// Device seconds without communication.
    #[must_use]
    pub fn compute(&self) -> f64 {
        self.matrix + self.attention + self.elementwise
    }
    /// Seconds of the pass with `comm` seconds of communication that shows, `exchange` of them with experts' ranks.
    ///
    /// The host runs ahead of the device and matters only where it launches more slowly than the device computes. A wait for counts
    /// of tokens ends its lead: what comes after it takes the longer of launch and execution.
    #[must_use]
    pub(super) fn seconds(&self, comm: f64, exchange: f64) -> f64 {
        let late = if self.expert_wait > 0.0 { (self.expert_host - self.expert_compute - exchange).max(0.0) } else { 0.0 };
        (self.compute() + comm + self.expert_wait + late).max(self.host)
    }
    /// The gradients of weights alone; a third of a backward pass' launches.
    pub(super) fn weights(self) -> Self {
        Self { matrix: self.weight, weight: self.weight, host: self.host / 3.0, ..Self::default() }
    }
    /// A backward pass without the gradients of weights.
    pub(super) fn inputs(self) -> Self {
        Self { matrix: self.matrix - self.weight, weight: 0.0, host: self.host * 2.0 / 3.0, ..self }
    }
    /// The same on a device at a share of its speed; the host keeps its own.
    pub(super) fn slowed(self, speed: f64) -> Self {
        Self {
            matrix: self.matrix / speed,
            weight: self.weight / speed,
            attention: self.attention / speed,
            elementwise: self.elementwise / speed,
            expert_compute: self.expert_compute / speed,
            ..self
        }
    }
    /// So many of it.
    pub(super) fn times(self, n: f64) -> Self {
        Self {
            matrix: self.matrix * n,
            weight: self.weight * n,
            attention: self.attention * n,
            elementwise: self.elementwise * n,
            host: self.host * n,
            comm_bytes: self.comm_bytes,
            comm_count: self.comm_count * n,
            comm_bare: self.comm_bare * n,
            context_count: self.context_count * n,
            expert_count: self.expert_count * n,
            expert_compute: self.expert_compute * n,
            expert_host: self.expert_host * n,
            expert_wait: self.expert_wait * n,
        }
    }
    /// Both, one after the other.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            matrix: self.matrix + other.matrix,
            weight: self.weight + other.weight,
            attention: self.attention + other.attention,
            elementwise: self.elementwise + other.elementwise,
            host: self.host + other.host,
            comm_bytes: self.comm_bytes.max(other.comm_bytes),
            comm_count: self.comm_count + other.comm_count,
            comm_bare: self.comm_bare + other.comm_bare,
            context_count: self.context_count + other.context_count,
            expert_count: self.expert_count + other.expert_count,
            expert_compute: self.expert_compute + other.expert_compute,
            expert_host: self.expert_host + other.expert_host,
            expert_wait: self.expert_wait + other.expert_wait,
        }
    }
}

/// The passes of a job on one kind of accelerator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passes {
    /// One dense layer forward.
    pub layer_forward: PassCost,
    /// One dense layer backward, with what is recomputed.
    pub layer_backward: PassCost,
    /// One layer with experts forward; nothing in dense models.
    pub expert_forward: PassCost,
    /// The same backward, with what is recomputed.
    pub expert_backward: PassCost,
    /// Embedding forward (first virtual stage).
    pub embedding_forward: PassCost,
    /// Embedding backward.
    pub embedding_backward: PassCost,
    /// Final norm, output projection and loss, forward (last virtual stage), with extra layers of prediction.
    pub head_forward: PassCost,
    /// The same, backward.
    pub head_backward: PassCost,
}
