//! Lines with their places, numbers that are numbers, and what every importer says of a file that ends too early.

use serde_json::Value as Json;

/// A fault of a log at a place in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

/// A log under a reader.
pub(super) struct Log<'a> {
    /// File name without its folder.
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

/// A line with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Line<'_> {
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { start: self.start, end: self.start + self.text.len(), message: message.into(), hint: None }
    }
    pub(super) fn words(&self) -> Vec<&str> {
        self.text.split_whitespace().collect()
    }
}

impl<'a> Log<'a> {
    pub(super) const fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text }
    }
    /// All lines; carriage returns end lines too.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'a>> {
        let mut at = 0;
        self.text.split_inclusive(['\n', '\r']).map(move |line| {
            let start = at;
            at += line.len();
            Line { text: line.trim_end_matches(['\n', '\r']), start }
        })
    }
    pub(super) fn has(&self, what: &str) -> bool {
        self.text.contains(what)
    }
    /// The fault of a file that stops before its end.
    pub(super) fn truncated(&self, missing: &str) -> Vec<Fault> {
        let start = self.text.trim_end().rfind('\n').map_or(0, |i| i + 1);
        vec![Fault {
            start,
            end: self.text.trim_end().len(),
            message: format!("the file ends too early: {missing}"),
            hint: Some("nothing of it was taken; run the tool again, or remove the file"),
        }]
    }
    /// A fault without a line of its own.
    pub(super) fn fault(&self, message: impl Into<String>, hint: &'static str) -> Vec<Fault> {
        let end = self.text.find('\n').unwrap_or(self.text.len());
        vec![Fault { start: 0, end, message: message.into(), hint: Some(hint) }]
    }
    /// The file as JSON; whatever stands before the first line that opens with a brace or bracket is left out.
    pub(super) fn json(&self) -> Result<Json, Vec<Fault>> {
        let start = self.json_start().unwrap_or(0);
        serde_json::from_str(&self.text[start..]).map_err(|error| {
            let line = self.text[start..].split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
            let at = start + line;
            let end = self.text[at..].find('\n').map_or(self.text.len(), |i| at + i);
            let early = if error.is_eof() { "the file ends too early: " } else { "" };
            vec![Fault { start: at, end, message: format!("{early}{error}"), hint: None }]
        })
    }
    fn json_start(&self) -> Option<usize> {
        self.lines().find(|l| l.text.trim_start().starts_with(['{', '['])).map(|l| l.start)
    }
    pub(super) fn is_json(&self) -> bool {
        let opens =
            self.lines().take(40).find(|l| !l.text.trim().is_empty() && !l.text.starts_with("fio:") && !l.text.starts_with("note:"));
        opens.is_some_and(|l| l.text.trim_start().starts_with(['{', '[']))
    }
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0)
}

/// A number of at least 0.
pub(super) fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0)
}

/// A number of a JSON value, or of a text in it.
pub(super) fn json_number(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|t| t.trim().parse().ok())).filter(|v| v.is_finite())
}

/// A text of a JSON value; empty where there is none.
pub(super) fn json_text(value: &Json) -> String {
    value.as_str().unwrap_or("").to_owned()
}

/// A size such as `4k`, `1M` or `4096`, powers of 1024.
pub(super) fn size(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches(['b', 'B']).trim_end_matches('i');
    let (digits, factor) = match text.chars().last()? {
        'k' | 'K' => (&text[..text.len() - 1], 1024.0),
        'm' | 'M' => (&text[..text.len() - 1], 1_048_576.0),
        'g' | 'G' => (&text[..text.len() - 1], 1_073_741_824.0),
        _ => (text, 1.0),
    };
    positive(digits).map(|v| v * factor)
}

/// What follows a word in a text, up to the end of the line.
pub(super) fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let start = text.find(word)? + word.len();
    Some(text[start..].lines().next().unwrap_or("").trim())
}
