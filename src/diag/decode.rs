//! From the tree of a TOML file to checked input: the trait, the walk over the keys of a table, and the schema.

use super::{Diagnostic, Diagnostics, Node, Span, TableNode, Value, codes, nearest};
use serde_json::{Map as JsonMap, Value as Json, json};
use std::ops::Deref;

/// A checked value with the place it came from (for a default: the table that lacks it).
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> At<T> {
    /// The same place with another value.
    pub fn map_value<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), span: self.span }
    }
}

/// A kind of value that a key may have.
pub trait Decode {
    /// What the rooms below get.
    type Out;
    /// Checks a value. Reports every fault that it finds and returns `None` if there was one.
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self::Out>;
    /// The value of a key that is not there; `None` where the key is needed.
    #[must_use]
    fn absent() -> Option<Self::Out> {
        None
    }
    /// The JSON Schema of the value.
    fn describe() -> Json;
}

impl<T: Decode> Decode for Option<T> {
    type Out = Option<T::Out>;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self::Out> {
        T::decode(node, diags).map(Some)
    }
    fn absent() -> Option<Self::Out> {
        Some(None)
    }
    fn describe() -> Json {
        T::describe()
    }
}

/// One key of a record, for messages and schema.
#[derive(Debug)]
pub struct KeyInfo {
    /// The key.
    pub name: &'static str,
    /// Its documentation.
    pub doc: String,
    /// Whether it has to be there.
    pub required: bool,
    /// The schema of its value.
    pub schema: Json,
}

/// A table that is being read: which keys were asked for.
pub struct Fields<'a> {
    /// The table.
    pub table: &'a TableNode,
    /// Where the table stands.
    pub span: Span,
    known: Vec<&'static str>,
    /// Whether any key was faulty.
    pub failed: bool,
}

impl<'a> Fields<'a> {
    /// Starts to read a table; `known` are keys that somebody else reads, `own` those that are read here.
    pub fn new(node: &'a Node, known: &[&'static str], own: &[&str], diags: &mut Diagnostics) -> Option<Self> {
        if let Value::Table(table) = &node.value {
            return Some(Self { table, span: node.span, known: known.to_vec(), failed: false });
        }
        let wrong = Diagnostic::error(codes::WRONG_TYPE, format!("expected a table, found {}", node.value.kind()))
            .at(node.span, "expected a table");
        diags.push(match &node.value {
            Value::Str(text) if own.contains(&"preset") => wrong.hint(format!("write {{ preset = \"{text}\" }}")),
            _ => wrong.hint(format!("the keys of this table are {}", own.join(", "))),
        });
        None
    }
}

/// Reads one key of a table; its documentation is the advice where it is missing.
pub fn take_field<T: Decode>(
    fields: &mut Fields<'_>,
    (key, doc): (&'static str, &str),
    default: Option<T::Out>,
    diags: &mut Diagnostics,
) -> Option<At<T::Out>> {
    fields.known.push(key);
    let result = match fields.table.entries.get(key) {
        Some(entry) => T::decode(&entry.node, diags).map(|value| At { value, span: entry.node.span }),
        None => match default.or_else(T::absent) {
            Some(value) => Some(At { value, span: fields.span }),
            None => {
                diags.push(
                    Diagnostic::error(codes::MISSING_KEY, format!("the key `{key}` is missing"))
                        .at(header(fields.span, diags), format!("this table needs `{key}`"))
                        .hint(advice(key, doc, &T::describe())),
                );
                None
            }
        },
    };
    fields.failed |= result.is_none();
    result
}

/// What to add, and what it is.
fn advice(key: &str, doc: &str, schema: &Json) -> String {
    let table = schema["type"] == "object";
    let what = doc.trim().trim_end_matches('.');
    let value = if table { "{ … }" } else { "…" };
    if what.is_empty() { format!("add `{key} = {value}`") } else { format!("add `{key} = {value}`: {what}") }
}

/// The first line of a table's span, so that a label does not paint the whole table.
fn header(span: Span, diags: &Diagnostics) -> Span {
    let text = &diags.source(span.source).text;
    let start = span.start as usize;
    let end = text.get(start..).and_then(|t| t.find('\n')).map_or(span.end, |i| (start + i) as u32).min(span.end.max(span.start));
    Span { end, ..span }
}

/// Reports the keys that nobody asked for. Returns whether the whole table is sound.
pub fn finish_table(fields: &Fields<'_>, diags: &mut Diagnostics) -> bool {
    let mut sound = !fields.failed;
    for (key, entry) in &fields.table.entries {
        if fields.known.contains(&key.as_str()) {
            continue;
        }
        sound = false;
        let mut diagnostic =
            Diagnostic::error(codes::UNKNOWN_KEY, format!("there is no key `{key}` here")).at(entry.key_span, "nothing reads this key");
        diagnostic = match nearest(key, fields.known.iter().copied()) {
            Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
            None => {
                let mut names = fields.known.clone();
                names.sort_unstable();
                diagnostic.hint(format!("the keys of this table are {}", names.join(", ")))
            }
        };
        diags.push(diagnostic);
    }
    sound
}

/// A default value at the place of the table that lacks the key.
pub const fn default_at<T>(value: T, span: Span) -> At<T> {
    At { value, span }
}

/// Joins the lines of a doc comment.
#[must_use]
pub fn join_docs(lines: &[&str]) -> String {
    lines.iter().map(|l| l.trim()).collect::<Vec<_>>().join(" ")
}

/// The schema of a table from its keys.
#[must_use]
pub fn describe_table(doc: &str, keys: Vec<KeyInfo>) -> Json {
    let mut properties = JsonMap::new();
    let mut required = Vec::new();
    for key in keys {
        let mut schema = key.schema;
        if let Json::Object(object) = &mut schema {
            object.insert("description".into(), Json::String(key.doc));
        }
        if key.required {
            required.push(Json::String(key.name.into()));
        }
        properties.insert(key.name.into(), schema);
    }
    json!({"type": "object", "description": doc, "properties": properties, "required": required, "additionalProperties": false})
}
