//! The scenario of an answer as a file: the base with its changes, paths relative to the plan's folder.

use crate::diag::{Node, TableNode, Value};
use crate::scenario::{Base, Change};
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

/// Keys whose values are paths relative to the file that names them.
const PATHS: [&str; 3] = ["topology", "profile", "serving.traffic.trace"];

/// The scenario as TOML. `base` is the base's file as the plan names it; `own` are keys whose paths are relative to the plan already.
pub(super) fn document(base: &Base, base_file: &str, changes: &[Change]) -> String {
    let Some(mut node) = base.tree(changes) else { return String::new() };
    let own: Vec<&str> = changes.iter().map(|c| c.key.as_str()).collect();
    let folder = Path::new(base_file).parent().unwrap_or(Path::new("")).to_owned();
    for key in PATHS.into_iter().filter(|k| !own.contains(k)) {
        if let Some(found) = node.at_mut(key) {
            relocate(found, &folder);
        }
    }
    let mut out = String::new();
    if let Value::Table(table) = &node.value {
        write_table(table, "", &mut out);
    }
    out
}

fn relocate(node: &mut Node, folder: &Path) {
    match &mut node.value {
        Value::Str(text) => *text = plain(&folder.join(text.as_str())).display().to_string(),
        Value::Array(list) => list.iter_mut().for_each(|n| relocate(n, folder)),
        _ => {}
    }
}

/// A path without `a/..`.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut out: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match (part, out.last()) {
            (Component::ParentDir, Some(Component::Normal(_))) => {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out.iter().collect()
}

/// Plain keys first, then tables, then arrays of tables.
fn write_table(table: &TableNode, path: &str, out: &mut String) {
    let full = |key: &str| if path.is_empty() { quoted_key(key) } else { format!("{path}.{}", quoted_key(key)) };
    let is_tables =
        |v: &Value| matches!(v, Value::Array(list) if !list.is_empty() && list.iter().all(|n| matches!(n.value, Value::Table(_))));
    for (key, entry) in &table.entries {
        if !matches!(entry.node.value, Value::Table(_)) && !is_tables(&entry.node.value) {
            let _ = writeln!(out, "{} = {}", quoted_key(key), value(&entry.node.value));
        }
    }
    for (key, entry) in &table.entries {
        if let Value::Table(inner) = &entry.node.value {
            let _ = write!(out, "\n[{}]\n", full(key));
            write_table(inner, &full(key), out);
        }
    }
    for (key, entry) in &table.entries {
        let Value::Array(list) = &entry.node.value else { continue };
        if is_tables(&entry.node.value) {
            for item in list {
                if let Value::Table(inner) = &item.value {
                    let _ = write!(out, "\n[[{}]]\n", full(key));
                    write_table(inner, &full(key), out);
                }
            }
        }
    }
}

fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { text(key) }
}

fn text(value: &str) -> String {
    let mut out = String::from('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value as TOML.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Str(s) => text(s),
        Value::Int(i) => i.to_string(),
        Value::Float(f) if f.is_finite() && f.fract() == 0.0 && f.abs() < 1e15 => format!("{f:.1}"),
        Value::Float(f) => format!("{f:?}"),
        Value::Bool(b) => b.to_string(),
        Value::Array(list) => format!("[{}]", list.iter().map(|n| self::value(&n.value)).collect::<Vec<_>>().join(", ")),
        Value::Table(t) => {
            let inner: Vec<String> = t.entries.iter().map(|(k, e)| format!("{} = {}", quoted_key(k), self::value(&e.node.value))).collect();
            format!("{{ {} }}", inner.join(", "))
        }
        Value::Datetime | Value::Null => "\"\"".into(),
    }
}
