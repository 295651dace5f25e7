//! YAML as `kubectl` and manifests write it, to JSON values: block maps and lists, scalars, quotes, flow collections on one line, literal
//! blocks, several documents. Anchors, tags and complex keys are refused.

use serde_json::{Map, Value as Json};

/// What is wrong, and in which line (from 1).
pub(super) type Fault = (usize, String);

struct Line<'a> {
    indent: usize,
    text: &'a str,
    number: usize,
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    raw: Vec<&'a str>,
    at: usize,
}

/// Nested deeper than this is refused.
const DEEPEST: usize = 64;

/// All documents of a text.
///
/// # Errors
/// The line and what is wrong there.
pub fn documents(text: &str) -> Result<Vec<Json>, Fault> {
    let raw: Vec<&str> = text.lines().collect();
    let mut out = Vec::new();
    let mut start = 0;
    for end in 0..=raw.len() {
        let boundary = end == raw.len() || raw[end].trim_end() == "---" || raw[end].starts_with("--- ") || raw[end].trim_end() == "...";
        if !boundary {
            continue;
        }
        let mut lines = Vec::new();
        for (i, line) in raw.iter().enumerate().take(end).skip(start) {
            let body = line.trim_start();
            if body.is_empty() || body.starts_with('#') {
                continue;
            }
            let indent = line.len() - body.len();
            if line[..indent].contains('\t') {
                return Err((i + 1, "a tab stands where YAML wants blanks".into()));
            }
            lines.push(Line { indent, text: uncommented(body), number: i + 1 });
        }
        start = end + 1;
        if lines.is_empty() {
            continue;
        }
        let mut reader = Reader { lines, raw: raw.clone(), at: 0 };
        let indent = reader.lines[0].indent;
        out.push(reader.node(indent, 0)?);
        if let Some(line) = reader.lines.get(reader.at) {
            return Err((line.number, "this line belongs to nothing before it".into()));
        }
    }
    Ok(out)
}

/// A line without the comment at its end.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    for (i, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None, '#') if i > 0 && line[..i].ends_with(' ') => return line[..i].trim_end(),
            _ => {}
        }
    }
    line.trim_end()
}

impl Reader<'_> {
    fn node(&mut self, indent: usize, depth: usize) -> Result<Json, Fault> {
        let line = &self.lines[self.at];
        if depth > DEEPEST {
            return Err((line.number, "this is nested too deeply".into()));
        }
        if is_item(line.text) {
            return self.list(indent, depth);
        }
        if key_of(line.text).is_some() {
            return self.map(indent, depth);
        }
        let value = scalar(line.text, line.number)?;
        self.at += 1;
        Ok(value)
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Json, Fault> {
        let mut out = Vec::new();
        while let Some(line) = self.lines.get(self.at).filter(|l| l.indent == indent && is_item(l.text)) {
            let rest = line.text[1..].trim_start();
            if rest.is_empty() {
                self.at += 1;
                out.push(self.below(indent + 1, depth)?);
                continue;
            }
            // What follows the dash is a node of its own, as deep as it stands.
            let deeper = indent + (line.text.len() - rest.len());
            self.lines[self.at] = Line { indent: deeper, text: rest, number: line.number };
            out.push(self.node(deeper, depth + 1)?);
        }
        Ok(Json::Array(out))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Json, Fault> {
        let mut out = Map::new();
        while let Some(line) = self.lines.get(self.at).filter(|l| l.indent == indent && !is_item(l.text)) {
            let number = line.number;
            let Some((key, rest)) = key_of(line.text) else { return Err((number, format!("`{}` is no key with a value", line.text))) };
            self.at += 1;
            let value = match rest {
                "" => {
                    let deeper = self.lines.get(self.at).is_some_and(|l| l.indent > indent || l.indent == indent && is_item(l.text));
                    if deeper { self.below(indent, depth)? } else { Json::Null }
                }
                "|" | "|-" | "|+" | ">" | ">-" | ">+" => Json::String(self.block(indent, number)),
                _ => scalar(rest, number)?,
            };
            if out.insert(key.clone(), value).is_some() {
                return Err((number, format!("the key `{key}` comes twice")));
            }
        }
        if self.lines.get(self.at).is_some_and(|l| l.indent > indent) {
            return Err((self.lines[self.at].number, "this line is indented more than what it belongs to".into()));
        }
        Ok(Json::Object(out))
    }

    /// The node on the next line, which stands at least so deep.
    fn below(&mut self, least: usize, depth: usize) -> Result<Json, Fault> {
        match self.lines.get(self.at) {
            Some(line) if line.indent >= least => {
                let indent = line.indent;
                self.node(indent, depth + 1)
            }
            _ => Ok(Json::Null),
        }
    }

    /// The lines of a literal or folded block, joined.
    fn block(&mut self, indent: usize, number: usize) -> String {
        let inside = |l: &&str| l.trim().is_empty() || l.len() - l.trim_start().len() > indent;
        let lines: Vec<&str> = self.raw[number..].iter().copied().take_while(|l| inside(l)).collect();
        let last = number + lines.len();
        while self.lines.get(self.at).is_some_and(|l| l.number <= last) {
            self.at += 1;
        }
        // The first line says how deep the text stands.
        let deep = lines.iter().find(|l| !l.trim().is_empty()).map_or(0, |l| l.len() - l.trim_start().len());
        let body = lines.iter().map(|l| l.get(deep..).unwrap_or("").trim_end()).collect::<Vec<_>>().join("\n");
        body.trim_end_matches('\n').to_owned()
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// A key and what follows its colon.
fn key_of(text: &str) -> Option<(String, &str)> {
    if let Some(quote) = text.chars().next().filter(|c| *c == '"' || *c == '\'') {
        let end = text[1..].find(quote)? + 1;
        let rest = text[end + 1..].trim_start().strip_prefix(':')?;
        return Some((text[1..end].to_owned(), rest.trim_start()));
    }
    if text.starts_with(['{', '[']) {
        return None;
    }
    let at = text.find(": ").or_else(|| text.ends_with(':').then(|| text.len() - 1))?;
    Some((text[..at].trim_end().to_owned(), text[at + 1..].trim_start()))
}

fn scalar(text: &str, number: usize) -> Result<Json, Fault> {
    if text.starts_with(['&', '*', '!']) {
        return Err((number, format!("anchors and tags are not read: `{text}`")));
    }
    if text.starts_with(['{', '[']) {
        let (value, rest) = flow(text, number, 0)?;
        return if rest.trim().is_empty() { Ok(value) } else { Err((number, format!("`{}` stands behind the end", rest.trim()))) };
    }
    Ok(plain(text))
}

fn plain(text: &str) -> Json {
    let quoted = |q: char| text.len() >= 2 && text.starts_with(q) && text.ends_with(q);
    if quoted('"') {
        // JSON's escapes are YAML's.
        return serde_json::from_str(text).unwrap_or_else(|_| Json::String(text[1..text.len() - 1].to_owned()));
    }
    if quoted('\'') {
        return Json::String(text[1..text.len() - 1].replace("''", "'"));
    }
    match text {
        "" | "~" | "null" => return Json::Null,
        "true" => return Json::Bool(true),
        "false" => return Json::Bool(false),
        _ => {}
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.');
    if number && let Ok(value) = text.parse::<i64>() {
        return Json::from(value);
    }
    if number && let Some(value) = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
        return Json::Number(value);
    }
    Json::String(text.to_owned())
}

/// A flow collection at the start of a text, and what follows it.
fn flow(text: &str, number: usize, depth: usize) -> Result<(Json, &str), Fault> {
    if depth > DEEPEST {
        return Err((number, "this is nested too deeply".into()));
    }
    let close = if text.starts_with('{') { '}' } else { ']' };
    let (mut list, mut map) = (Vec::new(), Map::new());
    let mut rest = text[1..].trim_start();
    loop {
        if let Some(after) = rest.strip_prefix(close) {
            return Ok((if close == '}' { Json::Object(map) } else { Json::Array(list) }, after));
        }
        if rest.is_empty() {
            return Err((number, format!("a `{close}` is missing")));
        }
        let mut key = None;
        if close == '}' {
            let Some((name, after)) = rest.split_once(':') else { return Err((number, "a key without a value".into())) };
            key = Some(name.trim().trim_matches(['"', '\'']).to_owned());
            rest = after.trim_start();
        }
        let (value, after) = if rest.starts_with(['{', '[']) {
            flow(rest, number, depth + 1)?
        } else {
            let quote = rest.chars().next().filter(|c| *c == '"' || *c == '\'');
            let end = match quote.and_then(|q| rest[1..].find(q)) {
                Some(end) => end + 2,
                None => rest.find([',', close]).unwrap_or(rest.len()),
            };
            (plain(rest[..end].trim()), &rest[end..])
        };
        match key {
            Some(key) => drop(map.insert(key, value)),
            None => list.push(value),
        }
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_kubectl_writes() {
        let text = "apiVersion: v1\nitems:\n- kind: Node # a node\n  metadata:\n    labels: {a/b: \"c\", n: 1}\n    name: 'x'\n  spec:\n    taints:\n    - effect: NoSchedule\n      key: gpu\n    note: |\n      two\n      lines\n- kind: Node\n---\nlist: [1, \"a, b\", {k: v}]\nempty:\nlast: true\n";
        let got = documents(text).unwrap();
        assert_eq!(
            got,
            [
                json!({"apiVersion": "v1", "items": [
                    {"kind": "Node", "metadata": {"labels": {"a/b": "c", "n": 1}, "name": "x"},
                     "spec": {"taints": [{"effect": "NoSchedule", "key": "gpu"}], "note": "two\nlines"}},
                    {"kind": "Node"}]}),
                json!({"list": [1, "a, b", {"k": "v"}], "empty": null, "last": true})
            ]
        );
        assert_eq!(documents("a: 1\na: 2\n").unwrap_err().0, 2);
        assert_eq!(documents("a:\n\tb: 1\n").unwrap_err().0, 2);
        assert_eq!(documents("a: [1, 2\n").unwrap_err().0, 1);
        assert_eq!(documents("a: *b\n").unwrap_err().0, 1);
    }

    proptest! {
        /// Any text is read or refused.
        #[test]
        fn no_text_panics(text in "([ ]{0,4}(- )?[a-z\"'{}\\[\\]:,#|>&*]{0,8}(: )?[a-z0-9\"'{}\\[\\]:,#|]{0,8}\n){0,8}\\PC{0,6}") {
            if let Err((line, _)) = documents(&text) {
                prop_assert!(line >= 1);
            }
        }
    }
}
