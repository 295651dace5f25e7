//! What a job asks of a cluster, and what it got.

use crate::choice;

choice! {
    /// How near the accelerators of a job have to be to each other.
    pub enum Within {
        /// On one node.
        Node = "node",
        /// In one scale-up domain.
        Domain = "domain",
        /// Under one leaf.
        Leaf = "leaf",
        /// In one pod.
        Pod = "pod",
        /// Anywhere.
        Any = "any",
    }
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// Pools that it may use, a bit each.
    pub pools: u64,
    /// Accelerators, all or none at once; 0: processor cores only.
    pub accelerators: u32,
    /// Thousandths of one accelerator (1000: whole ones). Below 1000 `accelerators` is 1.
    pub share: u16,
    /// Accelerators that lie together on a node (a worker's): the job takes a multiple of it on every node.
    pub chunk: u32,
    /// Cores for each accelerator (for the whole job where it asks for none).
    pub cpus: f64,
    /// Bytes of host memory for each accelerator (for the whole job where it asks for none).
    pub memory: f64,
    /// How near to each other.
    pub within: Within,
}

/// What a job got on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The node.
    pub node: u32,
    /// Its accelerators, a bit each.
    pub mask: u64,
}

/// What a job got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Node by node.
    pub parts: Vec<Part>,
}

impl Grant {
    /// Accelerators of all nodes.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.parts.iter().map(|p| p.mask.count_ones()).sum()
    }
}
