//! Reads single keys of a `config.json`, with what is wrong of them.

use crate::diag::{Code, Count, Decode, Diagnostic, Diagnostics, Node, Span, TableNode, Value, codes};

/// The object that is read.
pub(super) struct Keys<'a> {
    table: &'a TableNode,
    span: Span,
    kind: &'a str,
    diags: &'a mut Diagnostics,
    failed: bool,
}

impl<'a> Keys<'a> {
    /// Starts on an object; other values hold no keys.
    pub(super) fn new(node: &'a Node, kind: &'a str, diags: &'a mut Diagnostics) -> Self {
        static EMPTY: std::sync::OnceLock<TableNode> = std::sync::OnceLock::new();
        let table = match &node.value {
            Value::Table(table) => table,
            _ => EMPTY.get_or_init(TableNode::default),
        };
        Self { table, span: Span { end: node.span.start, ..node.span }, kind, diags, failed: false }
    }

    /// Whether nothing was wrong.
    pub(super) const fn sound(&self) -> bool {
        !self.failed
    }

    /// The family's word.
    pub(super) const fn kind(&self) -> &str {
        self.kind
    }

    /// The value of the first key that is there and not null.
    fn find(&self, names: &[&str]) -> Option<&'a Node> {
        names.iter().filter_map(|n| self.table.entries.get(*n)).map(|e| &e.node).find(|n| !matches!(n.value, Value::Null))
    }

    /// A fault with a place.
    fn refuse(&mut self, diagnostic: Diagnostic) {
        self.failed = true;
        self.diags.push(diagnostic);
    }

    /// A fault of the whole object.
    pub(super) fn refuse_here(&mut self, code: Code, message: String) {
        self.refuse(Diagnostic::error(code, message).at(self.span, "this object"));
    }

    fn missing(&mut self, name: &str) {
        let message = format!("the key `{name}` is missing, which models of type \"{}\" need", self.kind);
        self.refuse(Diagnostic::error(codes::MISSING_KEY, message).at(self.span, "this object"));
    }

    fn wrong(&mut self, name: &str, wanted: &str, node: &Node) {
        let message = format!("`{name}`: expected {wanted}, found {}", node.value.kind());
        self.refuse(Diagnostic::error(codes::WRONG_TYPE, message).at(node.span, format!("expected {wanted}")));
    }

    /// A count under the first of some names; 1 where it is wrong.
    pub(super) fn count(&mut self, names: &[&str]) -> u64 {
        if self.find(names).is_none() {
            self.missing(names[0]);
            return 1;
        }
        self.count_or(names, 1)
    }

    /// The same with a value for where it is absent. 0 counts as absent.
    pub(super) fn count_or(&mut self, names: &[&str], absent: u64) -> u64 {
        match self.find(names) {
            None | Some(Node { value: Value::Int(0), .. }) => absent,
            Some(node) if matches!(node.value, Value::Int(_) | Value::Float(_)) => {
                let found = Count::decode(node, self.diags);
                self.failed |= found.is_none();
                // No product of sizes may overflow; the limits of each size are checked with those of scenarios.
                match found {
                    Some(size) if size <= 1 << 28 => size,
                    Some(size) => {
                        let message = format!("{} = {size} is absurdly large", names[0]);
                        self.refuse(Diagnostic::error(codes::OUT_OF_RANGE, message).at(node.span, "absurd"));
                        1
                    }
                    None => 1,
                }
            }
            Some(node) => {
                self.wrong(names[0], "a whole number", node);
                absent.max(1)
            }
        }
    }

    /// A yes or no.
    pub(super) fn flag(&mut self, name: &str, absent: bool) -> bool {
        match self.find(&[name]) {
            None => absent,
            Some(Node { value: Value::Bool(b), .. }) => *b,
            Some(node) => {
                self.wrong(name, "true or false", node);
                absent
            }
        }
    }

    /// Whether a number is above 0.
    pub(super) fn above_zero(&mut self, name: &str, absent: bool) -> bool {
        match self.find(&[name]) {
            None => absent,
            Some(Node { value: Value::Int(n), .. }) => *n > 0,
            Some(Node { value: Value::Float(x), .. }) => *x > 0.0,
            Some(node) => {
                self.wrong(name, "a number", node);
                absent
            }
        }
    }

    /// A word.
    pub(super) fn word(&mut self, name: &str) -> Option<&'a str> {
        match self.find(&[name]) {
            Some(Node { value: Value::Str(text), .. }) => Some(text),
            Some(node) => {
                self.wrong(name, "a text in quotes", node);
                None
            }
            None => None,
        }
    }

    /// Whether a key has a word.
    pub(super) fn is_word(&self, name: &str) -> bool {
        matches!(self.find(&[name]), Some(Node { value: Value::Str(_), .. }))
    }

    /// Whether a key is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(&[name]).is_some()
    }

    /// The entries of an array, as words or numbers in words.
    pub(super) fn list(&mut self, name: &str) -> Option<Vec<String>> {
        match self.find(&[name]) {
            Some(Node { value: Value::Array(items), .. }) => {
                let word = |n: &Node| match &n.value {
                    Value::Str(text) => text.clone(),
                    Value::Int(i) => i.to_string(),
                    other => other.kind().to_owned(),
                };
                Some(items.iter().map(word).collect())
            }
            Some(node) => {
                self.wrong(name, "an array", node);
                None
            }
            None => None,
        }
    }

    /// The entries of an object, or how many an array or object has.
    pub(super) fn len(&self, name: &str) -> Option<u64> {
        match &self.find(&[name])?.value {
            Value::Table(table) => Some(table.entries.len() as u64),
            Value::Array(items) => Some(items.len() as u64),
            _ => None,
        }
    }

    /// Reads keys of an object inside this one; of an absent one all keys are absent.
    pub(super) fn inside<T>(&mut self, name: &str, read: impl FnOnce(&mut Keys<'_>) -> T) -> T {
        let empty = Node { span: self.span, value: Value::Null };
        let node = self.find(&[name]).unwrap_or(&empty);
        let mut inner = Keys::new(node, self.kind, self.diags);
        let out = read(&mut inner);
        let failed = inner.failed;
        self.failed |= failed;
        out
    }

    /// The size of a head: its own key, or the hidden size over the heads.
    pub(super) fn head_dim(&mut self, hidden: u64, heads: u64) -> u64 {
        if self.has("head_dim") {
            return self.count(&["head_dim"]);
        }
        if !hidden.is_multiple_of(heads) && !self.failed {
            let message = format!("hidden size {hidden} is no multiple of {heads} heads, and there is no `head_dim`");
            self.refuse(Diagnostic::error(codes::NOT_DIVISIBLE, message).at(self.span, "this object"));
        }
        (hidden / heads).max(1)
    }
}
