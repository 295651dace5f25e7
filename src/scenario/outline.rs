//! The job of a scenario apart from any cluster: what a plan knows before it looks for one.

use super::check::only;
use super::load::decoded;
use crate::diag::{Diagnostics, Node};
use crate::model::Architecture;

/// What a scenario says whatever it runs on.
pub struct Outline {
    /// Title.
    pub title: String,
    /// The training job, where it is one.
    pub training: Option<TrainingOutline>,
    /// Whether it has a run.
    pub whole_run: bool,
}

/// A training job without its layout.
pub struct TrainingOutline {
    /// What is trained.
    pub model: Architecture,
    /// Sequences of one optimizer step.
    pub global_batch: u64,
}

/// Decodes a tree and looks at its job alone.
pub(super) fn outline(node: &Node, diags: &mut Diagnostics) -> Option<Outline> {
    let input = decoded(node, diags)?;
    only(&input, diags)?;
    let training = match &input.training.value {
        Some(t) => Some(TrainingOutline { model: t.model.resolve(t.model.span, diags)?, global_batch: *t.global_batch }),
        None => None,
    };
    Some(Outline { title: input.title.value, training, whole_run: input.run.value.is_some() })
}
