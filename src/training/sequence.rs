//! What sequence-parallel ranks copy around their collectives, where a collective only joins or splits along the first dimension while
//! sequences lie along the second (PyTorch's `all_gather_tensor` and `reduce_scatter_tensor`).

use super::cost::PassCost;
use super::layer::Shape;
use super::products::Products;

impl Shape<'_> {
    fn copies_sequences(&self) -> bool {
        self.config.stack.sequence_copies.value && self.config.parallel.sequence && self.tensor > 1
    }

    /// Bytes per element of a hidden state that are copied after its gather: read and written. None where products read the parts as they come.
    fn gather_bytes(&self) -> f64 {
        match (self.config.stack.tensor_overlap.value, self.narrow_gathers()) {
            (true, _) => 0.0,
            (false, true) => 2.0,
            (false, false) => 2.0 * self.config.precision.activation_bytes(),
        }
    }

    /// The same before the scatter of what one product wrote; where parts are sent as products write them, reading what all ranks sent
    /// and writing its sum.
    fn scatter_bytes(&self) -> f64 {
        let width = self.config.precision.activation_bytes();
        width * if self.config.stack.tensor_overlap.value { 1.0 + 1.0 / self.tensor as f64 } else { 2.0 }
    }

    /// The same before the scatter of a gradient to which so many products add: their sum is written in the order of the scatter.
    fn sum_bytes(&self, products: f64) -> f64 {
        if products > 1.0 { self.config.precision.activation_bytes() * (products + 1.0) } else { self.scatter_bytes() }
    }

    fn moved(&self, bytes: f64) -> f64 {
        if self.copies_sequences() { self.device.stream(bytes * (self.tokens * self.config.model.hidden) as f64, 1.0) } else { 0.0 }
    }

    /// Seconds of the copies of a pass with so many pairs of gather and scatter, as many of attention as of feed-forward networks.
    pub(super) fn sequence_copies(&self, products: Products, pairs: f64) -> f64 {
        let apart = self.config.stack.separate_projections.value;
        let parts = |n: f64| if apart { n } else { 1.0 };
        let scatter = match products {
            Products::Forward => self.scatter_bytes(),
            _ => 0.5 * (self.sum_bytes(parts(3.0)) + self.sum_bytes(parts(if self.config.model.gated_mlp { 2.0 } else { 1.0 }))),
        };
        pairs * self.moved(self.gather_bytes() + scatter)
    }

    /// Seconds of the copies before so many scatters of results.
    pub(super) fn scatter_copies(&self, scatters: f64) -> f64 {
        scatters * self.moved(self.scatter_bytes())
    }

    /// Seconds of the copy around a collective of the embedding or the head, whose products run beside nothing.
    pub(super) fn end_copies(&self) -> f64 {
        self.moved(2.0 * self.config.precision.activation_bytes())
    }

    /// A backward pass whose scatters of sums no product runs beside: what is sent is no product's own result.
    pub(super) fn with_bare_scatters(&self, cost: PassCost) -> PassCost {
        let bare = self.config.stack.separate_projections.value && self.config.parallel.sequence;
        PassCost { comm_bare: if bare { 0.5 * cost.comm_count } else { 0.0 }, ..cost }
    }
}
