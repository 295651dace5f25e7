//! YAML out of JSON values, in the subset that `fleet::kubernetes` reads: block collections, plain or double-quoted scalars.

use serde_json::Value as Json;
use std::fmt::Write;

/// Documents of one file.
pub(super) fn documents(list: &[Json]) -> String {
    list.iter().map(document).collect::<Vec<_>>().join("---\n")
}

fn document(value: &Json) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// A collection that begins on a new line.
fn block(value: &Json, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                let _ = write!(out, "{pad}{}:", scalar_text(key));
                entry(value, indent, out);
            }
        }
        Json::Array(list) => {
            for item in list {
                let mut inner = String::new();
                match item {
                    Json::Object(map) if !map.is_empty() => {
                        block(item, indent + 2, &mut inner);
                        let _ = write!(out, "{pad}- {}", &inner[indent + 2..]);
                    }
                    _ => {
                        let _ = writeln!(out, "{pad}- {}", flow(item));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{pad}{}", flow(other));
        }
    }
}

/// What follows the colon of a key.
fn entry(value: &Json, indent: usize, out: &mut String) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        Json::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        Json::String(text) if text.contains('\n') => {
            out.push_str(" |-\n");
            text.lines().for_each(|line| {
                let _ = writeln!(out, "{}{line}", " ".repeat(indent + 2));
            });
        }
        _ => {
            let _ = writeln!(out, " {}", flow(value));
        }
    }
}

fn flow(value: &Json) -> String {
    match value {
        Json::String(text) => scalar_text(text),
        Json::Array(list) if list.is_empty() => "[]".into(),
        Json::Object(map) if map.is_empty() => "{}".into(),
        Json::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A text, quoted where plain it would be something else.
fn scalar_text(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(word)
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Json::String(text.to_owned()).to_string() }
}
