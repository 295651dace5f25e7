//! Scenarios side by side: what each comes to by aspect, in which values their files differ, and what each of those differences does.
//!
//! Causes: the differences are put into the first scenario one group after the other, and it is run again after each, until it is the other
//! scenario. What a group does depends on those before it; the order is that of the groups, from compute to payment.

mod aspects;
mod causes;
mod differences;

pub use aspects::{AspectRow, Figure};
pub use causes::{Cause, Causes, Headline};
pub use differences::Difference;

use crate::diag::{Diagnostics, Node};
use crate::metrics::Outcome;
use crate::scenario::{Scenario, tree};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// Scenarios side by side.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    /// Their titles.
    pub titles: Vec<String>,
    /// What each comes to, by aspect.
    pub rows: Vec<AspectRow>,
    /// Keys with values that are not the same in all files; topologies are part of them.
    pub differences: Vec<Difference>,
    /// For every scenario but the first: what its differences do.
    pub causes: Vec<Causes>,
}

/// A scenario with its tree: paths in it are where they were, its topology is part of it.
pub struct Tree {
    pub(in crate::plan) node: Node,
    pub(in crate::plan) read: Diagnostics,
}

/// Reads the trees of files that were loaded already; all in one list of sources, so that values may move between them.
#[must_use]
pub fn trees(files: &[&Path]) -> Vec<Tree> {
    let mut read = Diagnostics::new();
    let nodes: Vec<Node> = files.iter().filter_map(|file| tree(file, &mut read)).collect();
    nodes.into_iter().map(|node| Tree { node, read: read.clone() }).collect()
}

/// Compares scenarios; the first is the reference. Differences and causes need the files' trees.
#[must_use]
pub fn compare(scenarios: &[Scenario], outcomes: &[Outcome], trees: &[Tree]) -> Comparison {
    let whole = trees.len() == outcomes.len();
    let differences = if whole { differences::between(trees) } else { Vec::new() };
    let causes = if whole {
        (1..trees.len()).filter_map(|i| causes::between(&trees[0], &trees[i], [&outcomes[0], &outcomes[i]], i)).collect()
    } else {
        Vec::new()
    };
    Comparison { titles: outcomes.iter().map(|o| o.title.clone()).collect(), rows: aspects::rows(scenarios, outcomes), differences, causes }
}
