//! What the backward pass of a layer computes again: all of it, all but its last product, or what a stack's selective recompute lists.

use super::config::{Config, Recompute};
use super::cost::PassCost;
use super::layer::Shape;
use super::products::Products;
use super::stack::Selective;

impl Shape<'_> {
    /// A layer's passes with what is computed again in the backward one.
    pub(super) fn with_recompute(&self, forward: PassCost, backward: PassCost) -> (PassCost, PassCost) {
        let stack = &self.config.stack;
        let checkpoint = stack.launch_checkpoint.get() * self.launch_factor;
        let core = PassCost { attention: forward.attention, context_count: forward.context_count, ..PassCost::default() };
        let elementwise = PassCost { elementwise: forward.elementwise - self.scatter_copies(forward.comm_count), ..PassCost::default() };
        let again = match (self.config.recompute, *stack.selective) {
            (Recompute::None, _) => PassCost::default(),
            (Recompute::Selective, Selective::Attention) => core,
            (Recompute::Selective, Selective::KeepProducts) => core.plus(elementwise),
            (Recompute::Selective, Selective::AlternateProducts) => {
                let matrix = self.config.alternate_share() * forward.matrix;
                // What reduce-scatters return is kept, what is gathered is gathered again.
                let comm_count = if self.config.parallel.sequence { 0.5 * forward.comm_count } else { 0.0 };
                let host = forward.host + checkpoint;
                PassCost { matrix, host, comm_count, comm_bytes: forward.comm_bytes, ..elementwise }
            }
            (Recompute::Selective, Selective::Modules) => self.cheap_modules(),
            (Recompute::Full, _) => {
                let again = PassCost { host: forward.host + checkpoint, expert_wait: 0.0, ..forward };
                // Layers of experts run again whole: their last is an exchange, whose order their own stack sets.
                if stack.early_stop.value && forward.expert_compute == 0.0 { self.without_last_product(again) } else { again }
            }
        };
        let forward = if self.config.recompute == Recompute::Full {
            // Saving the random state takes about half of what restoring it takes.
            PassCost { host: forward.host + 0.5 * self.config.recomputed_share() * checkpoint, ..forward }
        } else {
            forward
        };
        (forward, backward.plus(again.times(self.config.recomputed_share())))
    }

    /// A layer forward up to its last product: without that, the collective that joins its parts and the residual sum.
    fn without_last_product(&self, forward: PassCost) -> PassCost {
        let model = &self.config.model;
        let share = model.feed_forward_share();
        let last = self.linear(model.hidden, (model.ffn_hidden / self.tensor).max(1), Products::Forward, self.config.precision.linear());
        let joined = if self.config.parallel.sequence { 0.5 } else { 1.0 };
        PassCost {
            matrix: (forward.matrix - share * last).max(0.0),
            elementwise: (forward.elementwise - share * (self.elementwise(6.0, 0.0, 0.0) + self.scatter_copies(1.0))).max(0.0),
            comm_count: (forward.comm_count - share * joined).max(0.0),
            ..forward
        }
    }

    /// Norms and activation: two norms (read, write) and the activation.
    fn cheap_modules(&self) -> PassCost {
        let gate = if self.config.model.gated_mlp { 6.0 } else { 4.0 };
        let width = self.config.model.experts.map_or(self.config.model.ffn_hidden, |e| e.per_token * e.ffn_hidden);
        let share = self.config.model.feed_forward_share();
        let elementwise = self.elementwise(8.0 * self.config.model.norm_share(), share * gate * width as f64, 9.0);
        // Latent queries, keys and values are projected up again.
        let matrix = self.config.model.latent.map_or(0.0, |l| {
            let heads = (self.config.model.heads / self.tensor).max(1);
            let up = |n, k| if k > 0 { self.linear(n, k, Products::Forward, self.config.precision.linear()) } else { 0.0 };
            up(heads * (l.nope + l.rope), l.query_rank) + up(heads * (l.nope + l.value), l.kv_rank)
        });
        PassCost { matrix, elementwise, host: self.host(3.0, self.config.stack.launch_forward.get(), 0.0), ..PassCost::default() }
    }
}

impl Config {
    /// FLOPs that are executed for one step, recompute included.
    #[must_use]
    pub fn hardware_flops_per_step(&self) -> f64 {
        let model = &self.model;
        let again = match (self.recompute, *self.stack.selective) {
            (Recompute::None, _) | (Recompute::Selective, Selective::Modules) => 0.0,
            (Recompute::Selective, Selective::Attention | Selective::KeepProducts) => model.layers as f64 * model.attention_flops(),
            (Recompute::Selective, Selective::AlternateProducts) => {
                self.alternate_share() * (model.layers_forward_flops() - model.layers as f64 * model.attention_flops())
            }
            (Recompute::Full, _) if self.stack.early_stop.value && model.experts.is_none() && !model.is_network() => {
                let last = 2.0 * (model.hidden * model.ffn_hidden) as f64 * model.feed_forward_share();
                model.layers_forward_flops() - model.layers as f64 * last
            }
            (Recompute::Full, _) => model.layers_forward_flops(),
        };
        self.model_flops_per_step() + self.tokens_per_step() * self.recomputed_share() * again
    }
    /// Share of a layer's products in every second one, of queries, keys, values, output, gated input, input and output in this order; the
    /// last of all is never needed again. Half where layers are of another kind.
    #[must_use]
    pub fn alternate_share(&self) -> f64 {
        let model = &self.model;
        if model.latent.is_some() || model.experts.is_some() || model.hybrid.is_some() || model.is_network() {
            return 0.5;
        }
        let again = model.head_dim * (model.kv_heads + model.heads) + if model.gated_mlp { model.ffn_hidden } else { 0 };
        (model.hidden * again) as f64 / model.layer_matrix_parameters()
    }
}
