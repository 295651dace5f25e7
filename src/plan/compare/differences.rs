//! In which values files differ.

use super::Tree;
use crate::diag::{Node, Value};
use schemars::JsonSchema;
use serde::Serialize;

/// A key with its value in every file; nothing where a file has it not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// Dotted path.
    pub key: String,
    /// Values in the order of the files, empty where a file has not the key.
    pub values: Vec<String>,
}

/// Keys that say nothing about what is computed.
pub(super) const NAMES: [&str; 5] = ["title", "format", "topology.title", "topology.format", "topology.node.0.name"];

/// All keys whose values differ, in the order of the files.
pub(super) fn between(trees: &[Tree]) -> Vec<Difference> {
    let flat: Vec<Vec<(String, String)>> = trees
        .iter()
        .map(|t| {
            let mut out = Vec::new();
            flatten(&t.node, "", &mut out);
            out
        })
        .collect();
    let mut keys: Vec<&str> = Vec::new();
    for list in &flat {
        for (key, _) in list {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
    }
    let of = |list: &[(String, String)], key: &str| list.iter().find(|(k, _)| k == key).map_or_else(String::new, |(_, v)| v.clone());
    let all = keys
        .into_iter()
        .filter(|k| !NAMES.contains(k))
        .map(|key| Difference { key: key.to_owned(), values: flat.iter().map(|list| of(list, key)).collect() });
    all.filter(|d| d.values.iter().any(|v| *v != d.values[0])).collect()
}

fn flatten(node: &Node, path: &str, out: &mut Vec<(String, String)>) {
    let below = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match &node.value {
        Value::Table(table) => table.entries.iter().for_each(|(key, entry)| flatten(&entry.node, &below(key), out)),
        Value::Array(list) if list.iter().any(|n| matches!(n.value, Value::Table(_))) => {
            list.iter().enumerate().for_each(|(i, n)| flatten(n, &below(&i.to_string()), out));
        }
        value => out.push((path.to_owned(), shown(value))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Str(s) => s.clone(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => f.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(|n| shown(&n.value)).collect::<Vec<_>>().join(", ")),
        Value::Table(_) | Value::Datetime | Value::Null => String::new(),
    }
}
