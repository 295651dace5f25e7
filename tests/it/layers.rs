//! A room imports only rooms of a lower layer.

use super::{files, root};

const LAYERS: &[(&str, u32)] = &[
    ("units", 0),
    ("ids", 0),
    ("diag", 1),
    ("engine", 1),
    ("fair", 1),
    ("hardware", 2),
    ("tables", 2),
    ("measured", 2),
    ("fabric", 3),
    ("model", 3),
    ("kernels", 4),
    ("storage", 4),
    ("collectives", 5),
    ("workload", 5),
    ("simulate", 6),
    ("training", 7),
    ("serving", 7),
    ("replay", 8),
    ("operations", 8),
    ("fleet", 9),
    ("metrics", 10),
    ("economics", 11),
    ("scenario", 12),
    ("calibrate", 13),
    ("plan", 13),
    ("validate", 13),
    ("report", 14),
    ("probe", 14),
    ("cli", 15),
];

fn layer(room: &str) -> u32 {
    LAYERS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("the room `{room}` has no layer")).1
}

#[test]
fn rooms_import_only_lower_rooms() {
    let mut seen = 0;
    for file in files("src", ".rs") {
        let inside = file.strip_prefix(root().join("src")).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if own == "lib" || own == "main" {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for part in text.split("crate::").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // Macros live at the root of the crate: they belong to diag and ids.
            if ["record", "choice", "tagged", "ids"].contains(&name.as_str()) && !part[name.len()..].starts_with("::") {
                continue;
            }
            for other in grouped(&name, part) {
                if other == own || ["record", "choice", "tagged"].contains(&other.as_str()) {
                    continue;
                }
                seen += 1;
                assert!(
                    layer(&other) < layer(&own),
                    "{}: `{own}` (layer {}) imports `{other}` (layer {})",
                    inside.display(),
                    layer(&own),
                    layer(&other)
                );
            }
        }
    }
    assert!(seen > 100, "the test saw only {seen} imports");
}

/// The rooms of `use crate::{a::b, c}` or `crate::a::b`.
fn grouped(name: &str, part: &str) -> Vec<String> {
    if !name.is_empty() {
        return vec![name.to_owned()];
    }
    let Some(list) = part.strip_prefix('{').and_then(|p| p.split_once("};").or_else(|| p.split_once('}'))) else { return Vec::new() };
    let mut depth = 0;
    let mut out = Vec::new();
    let mut word = String::new();
    for c in list.0.chars().chain([',']) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let room: String = word.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                out.extend((!room.is_empty()).then_some(room));
                word.clear();
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    out
}
