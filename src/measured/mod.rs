//! What was measured of a cluster's links, collectives, memories and drives: the entries of a profile file beside those of kernels.
//!
//! A [`Measured`] is what one or more profile files say. The fabric takes rates of links, host memory and storage tiers from it, collectives the
//! times of operations. Every entry has a [`Stamp`]: origin, tool, source, time, device.

mod estimate;
mod rows;

pub use estimate::{Above, Bias, Estimate};
pub use rows::{
    CollectiveRow, Curve, CurveQuality, Direction, LineRow, LinkPath, LinkRow, MemoryRow, Quarantined, Stamp, StorageRow, ValueOrigin,
};

use crate::diag::{At, Diagnostic, Diagnostics, codes};

/// Operations that a collective entry may name; the same words as the operations of `collectives`.
pub const OPERATIONS: [&str; 10] =
    ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "reduce", "gather", "scatter", "barrier", "send_recv"];

/// Entries of profile files, those of earlier files first.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Collectives by size.
    pub collective: Vec<CollectiveRow>,
    /// Copies and messages by size.
    pub link: Vec<LinkRow>,
    /// Memory bandwidth by level.
    pub memory: Vec<MemoryRow>,
    /// Storage tiers.
    pub storage: Vec<StorageRow>,
}

impl Measured {
    /// Whether nothing was measured.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.collective.is_empty() && self.link.is_empty() && self.memory.is_empty() && self.storage.is_empty()
    }

    /// The stamps of all entries, in order.
    pub fn stamps(&self) -> impl Iterator<Item = &Stamp> {
        let collective = self.collective.iter().map(|r| &r.from.value);
        let link = self.link.iter().map(|r| &r.from.value);
        let memory = self.memory.iter().map(|r| &r.from.value);
        collective.chain(link).chain(memory).chain(self.storage.iter().map(|r| &r.from.value))
    }

    /// The entries that this has before those of `rest`.
    #[must_use]
    pub fn before(&self, rest: &Self) -> Self {
        fn head<T: Clone>(all: &[T], rest: &[T]) -> Vec<T> {
            all[..all.len().saturating_sub(rest.len())].to_vec()
        }
        Self {
            collective: head(&self.collective, &rest.collective),
            link: head(&self.link, &rest.link),
            memory: head(&self.memory, &rest.memory),
            storage: head(&self.storage, &rest.storage),
        }
    }

    /// Adds the entries of another file behind these.
    pub fn extend(&mut self, other: Self) {
        self.collective.extend(other.collective);
        self.link.extend(other.link);
        self.memory.extend(other.memory);
        self.storage.extend(other.storage);
    }

    /// Entries of an operation, library and number of nodes on parts that `serves` takes.
    pub fn collectives(&self, op: &str, library: &str, serves: &dyn Fn(&str) -> bool) -> Vec<&CollectiveRow> {
        self.collective.iter().filter(|r| *r.op == op && *r.library == library && serves(&r.accelerator)).collect()
    }

    /// Checks what the types of the keys do not: words, order of ranges, lines that are lines, an entry twice.
    pub fn check(&self, diags: &mut Diagnostics) {
        for row in &self.collective {
            if !OPERATIONS.contains(&row.op.as_str()) {
                let message = format!("`{}` is not one of {}", *row.op, OPERATIONS.join(", "));
                diags.push(Diagnostic::error(codes::UNKNOWN_CHOICE, message).at(row.op.span, "unknown operation"));
            }
            if *row.ranks < 2 || *row.nodes > *row.ranks {
                let message = format!("{} ranks on {} nodes are no collective", *row.ranks, *row.nodes);
                diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(row.ranks.span, "out of range"));
            }
            row.curve().check(diags);
        }
        self.link.iter().for_each(|row| row.curve().check(diags));
        for row in &self.storage {
            if row.latency.is_none() && row.iops.is_none() && row.bandwidth.is_none() {
                diags.push(
                    Diagnostic::error(codes::MISSING_KEY, "a storage entry needs `latency`, `iops` or `bandwidth`")
                        .at(row.tier.span, "this entry has none of them"),
                );
            }
        }
        let collective =
            self.collective.iter().map(|r| (format!("{} {} {} {} {}", *r.op, *r.accelerator, *r.library, *r.ranks, *r.nodes), r.op.span));
        twice(collective.collect(), diags);
        twice(self.link.iter().map(|r| (format!("{} {}", *r.path, *r.part), r.path.span)).collect(), diags);
        twice(self.memory.iter().map(|r| (format!("memory of {}", *r.part), r.part.span)).collect(), diags);
        twice(self.storage.iter().map(|r| (format!("{} of {}", *r.direction, *r.tier), r.tier.span)).collect(), diags);
    }
}

fn twice(keys: Vec<(String, crate::diag::Span)>, diags: &mut Diagnostics) {
    for (i, (key, span)) in keys.iter().enumerate() {
        if let Some((_, first)) = keys[..i].iter().find(|(k, _)| k == key) {
            let message = format!("there are two entries for {key}");
            diags.push(Diagnostic::error(codes::DUPLICATE_NAME, message).at(*span, "second one").at(*first, "first one"));
        }
    }
}

/// The values of a decoded list.
#[must_use]
pub fn values<T>(list: At<Vec<At<T>>>) -> Vec<T> {
    list.value.into_iter().map(|row| row.value).collect()
}
