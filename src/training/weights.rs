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
        let copies = if config.parallel.two_copies() { 2.0 } else { 1.0 };
        let experts = if config.sharding == Sharding::None { 1.0 } else { copies * config.parallel.expert_replicas() as f64 };
        self.common / config.optimizer_shards() + self.routed / experts
    }
}

/// Layers that come before a virtual stage in its copy of the model.
pub(super) fn layers_before(config: &Config, layers: &[Vec<u64>], virtual_stage: u64) -> u64 {
    let p = &config.parallel;
    let at = |v: u64| p.place(v);
    (p.first_of(virtual_stage)..virtual_stage).map(at).map(|(s, c)| layers[s as usize][c as usize]).sum()
}

/// Dense layers and layers with experts of a stage.
pub(super) fn stage_layers(config: &Config, layers: &[Vec<u64>], stage: u64) -> (u64, u64) {
    let own: u64 = layers[stage as usize].iter().sum();
    if !config.has_experts() {
        return (own, 0);
    }
    let mut dense = 0;
    for (chunk, &held) in layers[stage as usize].iter().enumerate() {
        let before = layers_before(config, layers, config.parallel.virtual_stage(stage, chunk as u64));
        dense += held - (config.model.expert_layers_before(before + held) - config.model.expert_layers_before(before));
    }
    (dense, own - dense)
}

/// Whether a stage has the embedding, and whether it has the head.
pub(super) fn ends_of(config: &Config, stage: u64) -> (bool, bool) {
    let p = &config.parallel;
    let any = |has: &dyn Fn(u64) -> bool| (0..p.virtual_stages).any(|c| has(p.virtual_stage(stage, c)));
    (any(&|at| p.enters(at)), any(&|at| p.leaves(at)))
}

/// Weights on one rank of a stage.
#[must_use]
pub(super) fn stage_weights(config: &Config, layers: &[Vec<u64>], stage: u64) -> Weights {
    let model = &config.model;
    let (first, last) = ends_of(config, stage);
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
