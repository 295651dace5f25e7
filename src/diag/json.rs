//! A JSON document as the same tree as a TOML one, with a span on every key and value.

use super::{Diagnostic, Diagnostics, Entry, Node, SourceId, Span, TableNode, Value, codes};

/// How deep arrays and objects may nest.
const DEEPEST: usize = 64;

impl Node {
    /// Parses a source as JSON. The first syntax error is reported with its place; `None` when there was one.
    pub fn parse_json(source: SourceId, diags: &mut Diagnostics) -> Option<Self> {
        let text = diags.source(source).text.clone();
        let mut parser = Parser { source, text: &text, at: 0, depth: 0 };
        let parsed = parser.value().and_then(|node| {
            parser.blank();
            if parser.at < text.len() { Err(parser.fault("nothing may follow the value")) } else { Ok(node) }
        });
        match parsed {
            Ok(node) => Some(node),
            Err(fault) => {
                diags.push(*fault);
                None
            }
        }
    }
}

struct Parser<'a> {
    source: SourceId,
    text: &'a str,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl Parser<'_> {
    fn span(&self, start: usize) -> Span {
        Span { source: self.source, start: start as u32, end: self.at as u32 }
    }

    fn fault(&self, message: &str) -> Box<Diagnostic> {
        let end = self.text[self.at..].chars().next().map_or(self.at, |c| self.at + c.len_utf8());
        let span = Span { source: self.source, start: self.at as u32, end: end as u32 };
        Box::new(Diagnostic::error(codes::SYNTAX, format!("this is not JSON: {message}")).at(span, "here"))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, message: &str) -> Parsed<()> {
        self.blank();
        if self.peek() != Some(byte) {
            return Err(self.fault(message));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Parsed<Node> {
        self.blank();
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Value::Str(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(_) => return Err(self.fault("expected a value")),
            None => return Err(self.fault("the text ends where a value should be")),
        };
        Ok(Node { span: self.span(start), value })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.fault("arrays and objects nest too deep"));
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Parsed<Value> {
        let mut table = TableNode::default();
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Table(table));
        }
        loop {
            self.blank();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in double quotes"));
            }
            let key = self.string()?;
            let key_span = self.span(start);
            self.expect(b':', "expected `:` after the key")?;
            let node = self.value()?;
            if table.entries.contains_key(&key) {
                let twice = Diagnostic::error(codes::DUPLICATE_NAME, format!("the key `{key}` is there twice"));
                return Err(Box::new(twice.at(key_span, "again")));
            }
            table.entries.insert(key, Entry { key_span, node });
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Table(table));
                }
                _ => return Err(self.fault("expected `,` or `}`")),
            }
        }
    }

    fn array(&mut self) -> Parsed<Value> {
        let mut items = Vec::new();
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.fault("expected `,` or `]`")),
            }
        }
    }

    /// A text with its escapes; what they mean is left to the library.
    fn string(&mut self) -> Parsed<String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    break;
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
                }
                Some(b) if b < 0x20 => return Err(self.fault("a text may not have control characters")),
                Some(_) => self.at += self.text[self.at..].chars().next().map_or(1, char::len_utf8),
                None => return Err(self.fault("the text ends inside a string")),
            }
        }
        serde_json::from_str(&self.text[start..self.at]).map_err(|_| {
            self.at = start;
            self.fault("a string with an escape that there is not")
        })
    }

    fn number(&mut self) -> Parsed<Value> {
        let start = self.at;
        while self.peek().is_some_and(|b| matches!(b, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let digits = &self.text[start..self.at];
        if let Ok(whole) = digits.parse::<i64>() {
            return Ok(Value::Int(whole));
        }
        digits.parse::<f64>().map(Value::Float).map_err(|_| {
            self.at = start;
            self.fault("a number that is none")
        })
    }

    fn word(&mut self, word: &str, value: Value) -> Parsed<Value> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault("expected true, false, null or a value"));
        }
        self.at += word.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Node, String> {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("config.json", text);
        Node::parse_json(source, &mut diags).ok_or_else(|| {
            let list = diags.sorted();
            let (line, column) = diags.line_column(list[0].labels[0].span);
            format!("{line}:{column}: {}", list[0].message)
        })
    }

    #[test]
    fn values_and_places() {
        let node = parse("{\"a\": [1, -2.5e3, true, null],\n \"b\": \"x\\u0041\\n\"}").unwrap();
        let Value::Table(table) = &node.value else { panic!() };
        let Value::Array(items) = &table.entries["a"].node.value else { panic!() };
        assert!(matches!(items[0].value, Value::Int(1)) && matches!(items[1].value, Value::Float(x) if x == -2500.0));
        assert!(matches!(items[3].value, Value::Null));
        assert!(matches!(&table.entries["b"].node.value, Value::Str(s) if s == "xA\n"));
    }

    #[test]
    fn faults_have_line_and_column() {
        for (text, want) in [
            ("{\n  \"a\": 1,\n}", "3:1: this is not JSON: expected a key in double quotes"),
            ("{\"a\" 1}", "1:6: this is not JSON: expected `:` after the key"),
            ("{\"a\": 1} x", "1:10: this is not JSON: nothing may follow the value"),
            ("{\"a\": tru}", "1:7: this is not JSON: expected true, false, null or a value"),
            ("{\"a\": \"x", "1:9: this is not JSON: the text ends inside a string"),
            ("", "1:1: this is not JSON: the text ends where a value should be"),
            ("{\"a\": 1, \"a\": 2}", "1:10: the key `a` is there twice"),
            ("[1 2]", "1:4: this is not JSON: expected `,` or `]`"),
            ("[1.2.3]", "1:2: this is not JSON: a number that is none"),
        ] {
            assert_eq!(parse(text).unwrap_err(), want, "{text}");
        }
        assert!(parse(&"[".repeat(10_000)).unwrap_err().contains("too deep"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}\",:0-9a-fné\\\\ .-]{0,40}") {
            let ours = parse(&text).is_ok();
            // What the library takes is taken, but for repeated keys.
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert!(ours || parse(&text).unwrap_err().contains("twice"));
            }
        }
    }
}
