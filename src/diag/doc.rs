//! A TOML document as a tree with a span on every key and value, and dotted-path overrides on it.

use super::{Diagnostic, Diagnostics, SourceId, Span, codes};
use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the value stands.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// A value of a TOML or JSON document.
#[derive(Debug, Clone)]
pub enum Value {
    /// A table.
    Table(TableNode),
    /// An array.
    Array(Vec<Node>),
    /// A string.
    Str(String),
    /// An integer that fits 64 bits.
    Int(i64),
    /// A float, possibly not finite, or an integer that does not fit.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A date or time, which no key of ours takes.
    Datetime,
    /// Nothing, which only JSON can say.
    Null,
}

impl Value {
    /// What a message calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "an array",
            Self::Str(_) => "a string",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Datetime => "a date",
            Self::Null => "null",
        }
    }
}

/// A key of a table with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

/// A table in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct TableNode {
    /// The entries by key.
    pub entries: IndexMap<String, Entry>,
}

impl Node {
    /// Parses a source. Every syntax error is reported; `None` when there was one.
    pub fn parse(source: SourceId, diags: &mut Diagnostics) -> Option<Self> {
        let text = diags.source(source).text.clone();
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let range = error.span().unwrap_or(0..0);
            let span = span(source, range);
            diags.push(Diagnostic::error(codes::SYNTAX, format!("this is not TOML: {}", error.message().trim())).at(span, "here"));
        }
        errors.is_empty().then(|| Self { span: span(source, table.span()), value: Value::Table(convert_table(source, table.into_inner())) })
    }

    /// Applies `--set KEY=VALUE`: replaces or adds the value at a dotted path. The value is TOML, or else plain text.
    pub fn set(&mut self, assignment: &str, diags: &mut Diagnostics) {
        let source = diags.add_source(format!("--set {assignment}"), assignment);
        let whole = span(source, 0..assignment.len());
        let Some((path, text)) = assignment.split_once('=') else {
            diags.push(Diagnostic::error(codes::BAD_OVERRIDE, "an override has the form KEY=VALUE").at(whole, "no `=` here"));
            return;
        };
        let offset = path.len() + 1;
        let value = match DeValue::parse(text) {
            Ok(value) => convert(source, value),
            Err(_) => Self { span: whole, value: Value::Str(text.to_owned()) },
        };
        let value = Self { span: span(source, offset..assignment.len()), value: value.value };
        self.put(path, value, whole, diags);
    }

    /// The value at a dotted path of tables.
    pub fn at_mut(&mut self, path: &str) -> Option<&mut Self> {
        path.split('.').try_fold(self, |node, part| match &mut node.value {
            Value::Table(table) => table.entries.get_mut(part).map(|e| &mut e.node),
            _ => None,
        })
    }

    /// Takes the key at a dotted path away, where it is there.
    pub fn remove(&mut self, path: &str) {
        let (folder, name) = path.rsplit_once('.').map_or((None, path), |(folder, name)| (Some(folder), name));
        let found = match folder {
            Some(folder) => self.at_mut(folder),
            None => Some(self),
        };
        if let Some(Self { value: Value::Table(table), .. }) = found {
            table.entries.shift_remove(name);
        }
    }

    /// Puts a value at a dotted path: replaces or adds it, and makes the tables on the way. Faults are reported at `place`.
    pub fn put(&mut self, path: &str, value: Self, place: Span, diags: &mut Diagnostics) {
        let mut node = self;
        let parts: Vec<&str> = path.trim().split('.').map(str::trim).collect();
        for (i, part) in parts.iter().enumerate() {
            if part.is_empty() {
                diags.push(Diagnostic::error(codes::BAD_OVERRIDE, "a key of the path is empty").at(place, "here"));
                return;
            }
            let last = i + 1 == parts.len();
            match step(node, part, place) {
                Some(next) if last => {
                    *next = value;
                    return;
                }
                Some(next) => node = next,
                None => {
                    let message = format!("`{part}` cannot be set: what it stands in is no table and no array that long");
                    diags.push(Diagnostic::error(codes::BAD_OVERRIDE, message).at(place, "here"));
                    return;
                }
            }
        }
    }
}

/// One step along a dotted path: into a table (made where missing) or an array by index.
fn step<'a>(node: &'a mut Node, part: &str, whole: Span) -> Option<&'a mut Node> {
    match &mut node.value {
        Value::Table(table) => Some(
            &mut table
                .entries
                .entry(part.to_owned())
                .or_insert_with(|| Entry { key_span: whole, node: Node { span: whole, value: Value::Table(TableNode::default()) } })
                .node,
        ),
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    }
}

fn span(source: SourceId, range: std::ops::Range<usize>) -> Span {
    Span { source, start: range.start as u32, end: range.end as u32 }
}

fn convert_table(source: SourceId, table: DeTable<'_>) -> TableNode {
    let mut entries: Vec<_> = table
        .into_iter()
        .map(|(key, value)| {
            let key_span = span(source, key.span());
            (key.into_inner().into_owned(), Entry { key_span, node: convert(source, value) })
        })
        .collect();
    entries.sort_by_key(|(_, e)| e.key_span.start);
    TableNode { entries: entries.into_iter().collect() }
}

fn convert(source: SourceId, value: Spanned<DeValue<'_>>) -> Node {
    let span = span(source, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Str(text.into_owned()),
        DeValue::Integer(i) => {
            let digits = i.as_str();
            i64::from_str_radix(digits, i.radix()).map_or_else(|_| Value::Float(digits.parse().unwrap_or(f64::INFINITY)), Value::Int)
        }
        DeValue::Float(f) => Value::Float(f.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(items.into_iter().map(|item| convert(source, item)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(source, table)),
    };
    Node { span, value }
}
