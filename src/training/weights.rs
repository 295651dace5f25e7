//! How many weights a rank holds, trains and owns.

use super::config::{Config, Sharding};

/// Weights on one rank: those that all replicas hold, and those of routed experts, which fewer hold.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Weights {
    pub(super) common: f64,
    pub(super) routed: f64,
}

impl Weights {
    pub(super) fn total(self) -> f64 {
        self.common + self.routed
    }
    pub(super) fn plus(self, other: Self) -> Self {
        Self { common: self.common + other.common, routed: self.routed + other.routed }
    }
    pub(super) fn minus(self, other: Self) -> Self {
        Self { common: self.common - other.common, routed: self.routed - other.routed }
    }
    /// Of some dense layers and some with experts.
    pub(super) fn of_layers(config: &Config, dense: u64, expert: u64) -> Self {
        let model = &config.model;
        let common = dense as f64 * model.layer_parameters() + expert as f64 * model.common_parameters();
        Self {
            common: common / config.parallel.tensor as f64,
            routed: expert as f64 * model.routed_parameters() / config.parallel.expert as f64,
        }
    }
    /// Of extra layers of prediction.
    pub(super) fn of_prediction(config: &Config) -> Self {
        let extra = config.model.prediction_layers;
        if extra == 0 {
            return Self::default();
        }
        let joining = extra as f64 * config.model.prediction_parameters() / config.parallel.tensor as f64;
        Self::of_layers(config, 0, extra).plus(Self { common: joining, routed: 0.0 })
    }
    /// Those that are trained: all, or the adapters beside frozen ones.
    pub(super) fn trained(self, config: &Config) -> Self {
        let share = config.trained_share();
        Self { common: self.common * share, routed: if config.adapter_rank.is_some() { 0.0 } else { self.routed } }
    }
    /// Those whose optimizer state one rank holds.
    pub(super) fn owned(self, config: &Config) -> f64 {
        let experts = if config.sharding == Sharding::None { 1.0 } else { config.parallel.expert_replicas() as f64 };
        self.common / config.optimizer_shards() + self.routed / experts
    }
}

/// Dense layers and layers with experts of a stage.
pub(super) fn stage_layers(config: &Config, layers: &[Vec<u64>], stage: u64) -> (u64, u64) {
    let own: u64 = layers[stage as usize].iter().sum();
    if !config.has_experts() {
        return (own, 0);
    }
    let stages = layers.len();
    let (mut before, mut dense) = (0, 0);
    for (chunk, _) in layers[0].iter().enumerate() {
        for (s, chunks) in layers.iter().enumerate().take(stages) {
            let after = before + chunks[chunk];
            if s as u64 == stage {
                dense += chunks[chunk] - (config.model.expert_layers_before(after) - config.model.expert_layers_before(before));
            }
            before = after;
        }
    }
    (dense, own - dense)
}

/// Weights on one rank of a stage.
#[must_use]
pub(super) fn stage_weights(config: &Config, layers: &[Vec<u64>], stage: u64) -> Weights {
    let model = &config.model;
    let (first, last) = (stage == 0, stage + 1 == config.parallel.pipeline);
    let mut tables = 0.0;
    if first {
        tables += model.entry_parameters();
    }
    if last && !(first && model.tied_embeddings) {
        tables += model.embedding_parameters();
    }
    let (dense, expert) = stage_layers(config, layers, stage);
    let own = Weights::of_layers(config, dense, expert).plus(Weights { common: tables / config.parallel.tensor as f64, routed: 0.0 });
    if last { own.plus(Weights::of_prediction(config)) } else { own }
}
