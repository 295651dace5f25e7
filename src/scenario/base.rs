//! A scenario file that is loaded many times with other values: read once, its fabrics built once for the same input.

use super::load::{Scenario, cluster, resolve, topology_source};
use super::outline::{Outline, outline};
use crate::diag::{Diagnostics, Node, Source, Span, Value};
use crate::fabric::Fabric;
use crate::hardware::Catalogue;
use rustc_hash::FxHashMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Accelerators of all fabrics that are kept: about a gigabyte. Above it the store is emptied.
const KEPT_ACCELERATORS: usize = 500_000;

/// Fabrics kept at most; a sweep over a continuous key of the topology builds each once anyway.
const KEPT_FABRICS: usize = 64;

/// A fabric with the catalogue of its parts and prices.
pub type Built = (Arc<Fabric>, Arc<Catalogue>);

/// A fabric with the files that were read for it.
type Kept = (Built, Vec<Source>);

/// Fabrics by the input that they were built from, with the files that were read for each.
#[derive(Default)]
pub(super) struct Shared {
    fabrics: Mutex<FxHashMap<[u8; 32], Kept>>,
}

impl Shared {
    /// The fabric of a scenario: built, or the one that was built from the same text, seed and changes.
    pub(super) fn fabric(
        &self,
        node: &Node,
        seed: u64,
        diags: &mut Diagnostics,
        build: impl FnOnce(&mut Diagnostics) -> Option<Built>,
    ) -> Option<Built> {
        // Without a topology there is nothing to build.
        if !matches!(&node.value, Value::Table(t) if t.entries.contains_key("topology")) {
            return build(diags);
        }
        let key = key(node, seed, diags);
        if let Some((built, read)) = self.fabrics.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            for source in read {
                diags.add_source(source.name.as_str(), source.text.as_str());
            }
            return Some(built.clone());
        }
        let before = diags.sources().len();
        let built = build(diags)?;
        let read = diags.sources()[before..].to_vec();
        let mut kept = self.fabrics.lock().unwrap_or_else(PoisonError::into_inner);
        // Only a sum: the order of the map does not show.
        #[expect(clippy::iter_over_hash_type)]
        let accelerators = {
            let mut sum = built.0.accelerator_count();
            for (built, _) in kept.values() {
                sum += built.0.accelerator_count();
            }
            sum
        };
        if kept.len() >= KEPT_FABRICS || accelerators > KEPT_ACCELERATORS {
            kept.clear();
        }
        kept.insert(key, (built.clone(), read));
        Some(built)
    }
}

/// What a fabric depends on: the keys `topology`, `nodes`, `degraded` and `profile`, the folder of a path, and the seed. A file is
/// taken to stay the same while the program runs.
fn key(node: &Node, seed: u64, diags: &Diagnostics) -> [u8; 32] {
    let mut text = format!("{seed}\n");
    if let Value::Table(table) = &node.value {
        for name in ["topology", "nodes", "degraded", "profile"] {
            if let Some(entry) = table.entries.get(name) {
                if matches!(entry.node.value, Value::Str(_) | Value::Array(_)) {
                    let _ = write!(text, "{:?}", diags.folder_of(entry.node.span.source));
                }
                print(&entry.node.value, &mut text);
            }
            text.push('\n');
        }
    }
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// A value without its places.
fn print(value: &Value, out: &mut String) {
    let _ = match value {
        Value::Table(table) => {
            for (key, entry) in &table.entries {
                let _ = write!(out, "{key:?}{{");
                print(&entry.node.value, out);
                out.push('}');
            }
            Ok(())
        }
        Value::Array(items) => {
            for item in items {
                out.push('[');
                print(&item.value, out);
            }
            Ok(())
        }
        other => write!(out, "{other:?}"),
    };
}

/// A value to put in place of the base's.
#[derive(Debug, Clone)]
pub struct Change {
    /// Dotted path of the key.
    pub key: String,
    /// Where the key is named, for faults.
    pub place: Span,
    /// The value, with its place.
    pub value: Node,
}

/// A scenario file that other values are put into.
pub struct Base {
    node: Node,
    /// The sources that were read; the faults of a scenario start from here.
    read: Diagnostics,
    from: Span,
    shared: Arc<Shared>,
}

impl Base {
    /// Reads the file that `from` names, relative to the file of `from`; with `inline`, a topology file becomes part of the tree, so
    /// that changes reach into it. `None` when anything is wrong.
    pub fn read(name: &str, from: Span, inline: bool, diags: &mut Diagnostics) -> Option<Self> {
        let path = diags.folder_of(from.source).join(name);
        let source = diags.read_file(&path, Some(from))?;
        let mut node = diags.including(from, |diags| Node::parse(source, diags))?;
        if inline {
            inline_topology(&mut node, diags)?;
        }
        Some(Self { node, read: diags.clone(), from, shared: Arc::default() })
    }

    /// The value at a dotted path of the base itself.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(&self.node, |node, part| match &node.value {
            Value::Table(table) => table.entries.get(part).map(|e| &e.node),
            _ => None,
        })
    }

    /// The base's tree with some values changed; `None` where one cannot be put.
    #[must_use]
    pub fn tree(&self, changes: &[Change]) -> Option<Node> {
        let (mut node, mut diags) = (self.node.clone(), self.read.clone());
        put_all(&mut node, changes, &mut diags);
        (!diags.has_errors()).then_some(node)
    }

    /// The same without the key at a dotted path; built fabrics are shared.
    #[must_use]
    pub fn without(&self, path: &str) -> Self {
        let mut node = self.node.clone();
        node.remove(path);
        Self { node, read: self.read.clone(), from: self.from, shared: Arc::clone(&self.shared) }
    }

    /// The scenario with some values changed, and what is wrong where there is none.
    #[must_use]
    pub fn with(&self, changes: &[Change]) -> (Option<Scenario>, Diagnostics) {
        self.changed(changes, |node, diags| {
            let mut scenario = resolve(node, None, Some(&self.shared), diags)?;
            scenario.hash = hash(&scenario.hash, changes);
            Some(scenario)
        })
    }

    /// The cluster of the scenario with some values changed, whether or not the job fits it.
    #[must_use]
    pub fn cluster_with(&self, changes: &[Change]) -> (Option<Built>, Diagnostics) {
        self.changed(changes, |node, diags| cluster(node, &self.shared, diags))
    }

    /// The job of the scenario, whatever it runs on, and what is wrong where it cannot be read.
    #[must_use]
    pub fn outline(&self) -> (Option<Outline>, Diagnostics) {
        self.changed(&[], outline)
    }

    fn changed<T>(&self, changes: &[Change], read: impl FnOnce(&Node, &mut Diagnostics) -> Option<T>) -> (Option<T>, Diagnostics) {
        let mut diags = self.read.clone();
        let found = diags.including(self.from, |diags| {
            let mut node = self.node.clone();
            put_all(&mut node, changes, diags);
            if diags.has_errors() { None } else { read(&node, diags) }
        });
        let found = if diags.has_errors() { None } else { found };
        (found, diags)
    }
}

fn put_all(node: &mut Node, changes: &[Change], diags: &mut Diagnostics) {
    for change in changes {
        if !reach(node, &change.key, diags) {
            return;
        }
        node.put(&change.key, change.value.clone(), change.place, diags);
    }
}

/// Where a key reaches into the topology and that is a file, makes the file part of the tree; false where that cannot be.
pub(super) fn reach(node: &mut Node, key: &str, diags: &mut Diagnostics) -> bool {
    !key.trim_start().starts_with("topology.") || inline_topology(node, diags).is_some()
}

/// Puts the file that `topology` names into its place.
fn inline_topology(node: &mut Node, diags: &mut Diagnostics) -> Option<()> {
    if let Some(topology) = node.at_mut("topology")
        && let Value::Str(name) = &topology.value
    {
        let place = topology.span;
        let source = topology_source(name, place, diags)?;
        *topology = diags.including(place, |diags| Node::parse(source, diags))?;
    }
    Some(())
}

/// The tree of a scenario file, with its topology in it.
pub fn tree(path: &Path, diags: &mut Diagnostics) -> Option<Node> {
    let source = diags.read_file(path, None)?;
    let mut node = Node::parse(source, diags)?;
    inline_topology(&mut node, diags)?;
    Some(node)
}

/// The scenario of a tree whose sources were `read`; `None` where anything is wrong.
#[must_use]
pub fn scenario_of(node: &Node, read: &Diagnostics) -> Option<Scenario> {
    let mut diags = read.clone();
    resolve(node, None, None, &mut diags).filter(|_| !diags.has_errors())
}

/// The hash of what was read, with the changes.
fn hash(read: &str, changes: &[Change]) -> String {
    let mut text = read.to_owned();
    for change in changes {
        let _ = write!(text, "\n{}=", change.key);
        print(&change.value.value, &mut text);
    }
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
