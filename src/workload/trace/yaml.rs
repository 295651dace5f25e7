//! The little of YAML that network files of ASTRA-sim use: keys at the left margin, each with a scalar or a list.

use super::TraceError;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Line of the key, from 1.
    pub(super) line: usize,
    /// Key.
    pub(super) key: String,
    /// The scalar, or the items of the list.
    pub(super) items: Vec<String>,
}

const FIX: &str = "write `key: value`, `key: [a, b]`, or a list with `- ` on lines of its own";

/// Reads all entries.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Entry>, TraceError> {
    let mut out: Vec<Entry> = Vec::new();
    let mut open = false;
    for (i, raw) in text.lines().enumerate() {
        let fault = |what: &str| TraceError::text(file, i + 1, what, FIX);
        let line = uncommented(raw);
        let body = line.trim();
        if body.is_empty() || body == "---" {
            continue;
        }
        if open {
            let entry = out.last_mut().ok_or_else(|| fault("a list without a key"))?;
            if body.contains(':') {
                return Err(endless(file, entry));
            }
            open = !list(body, &mut entry.items);
        } else if let Some(item) = body.strip_prefix("- ") {
            let entry = out.last_mut().ok_or_else(|| fault("a list without a key"))?;
            entry.items.push(bare(item));
        } else {
            if line.starts_with([' ', '\t']) {
                return Err(fault("a key is indented: nested tables are not used here"));
            }
            let (key, value) = body.split_once(':').ok_or_else(|| fault("this is no `key: value`"))?;
            let mut entry = Entry { line: i + 1, key: bare(key), items: Vec::new() };
            unique(file, &out, &entry)?;
            open = first(value.trim(), &mut entry.items);
            out.push(entry);
        }
    }
    match out.last() {
        Some(last) if open => Err(endless(file, last)),
        _ => Ok(out),
    }
}

/// Takes what stands behind a key, and says whether a list goes on.
fn first(value: &str, items: &mut Vec<String>) -> bool {
    if let Some(rest) = value.strip_prefix('[') {
        return !list(rest, items);
    }
    items.extend((!value.is_empty()).then(|| bare(value)));
    false
}

fn unique(file: &str, before: &[Entry], entry: &Entry) -> Result<(), TraceError> {
    if before.len() > 100 {
        return Err(TraceError::text(file, entry.line, "there are more than 100 keys", FIX));
    }
    let Some(first) = before.iter().find(|e| e.key == entry.key) else { return Ok(()) };
    Err(TraceError::text(file, entry.line, format!("`{}` is there already, on line {}", entry.key, first.line), "remove one"))
}

fn endless(file: &str, entry: &Entry) -> TraceError {
    TraceError::text(file, entry.line, format!("the list of `{}` has no end", entry.key), "close it with `]`")
}

/// Takes the items of a list up to its end, and says whether the end was there.
fn list(text: &str, items: &mut Vec<String>) -> bool {
    let (inside, end) = text.split_once(']').map_or((text, false), |(inside, _)| (inside, true));
    items.extend(inside.split(',').map(bare).filter(|item| !item.is_empty()));
    end
}

fn bare(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

fn uncommented(line: &str) -> &str {
    let mut before = ' ';
    for (i, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return line.get(..i).unwrap_or_default();
        }
        before = c;
    }
    line
}
