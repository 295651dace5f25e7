//! What a user's files say wrong: sources, spans, diagnostics with codes, and the checked reading of TOML.
//!
//! Nothing here prints. A reader collects every fault of every file in one [`Diagnostics`]; `render` turns them into
//! text or JSON for the command line. `doc` keeps a TOML file as a tree with a span on every key and value; `decode`
//! and the [`record!`](crate::record), [`choice!`](crate::choice) and [`tagged!`](crate::tagged) macros turn that tree
//! into checked input, and describe the same input as JSON Schema.

pub mod codes;
mod decode;
mod doc;
mod json;
mod macros;
mod render;
mod values;

#[cfg(test)]
mod tests;

pub use codes::Code;
pub use decode::{At, Decode, Fields, KeyInfo, default_at, describe_table, finish_table, join_docs, take_field};
pub use doc::{Entry, Node, TableNode, Value};
pub use render::{Style, render, to_json};
pub use values::{
    Bounds, Count, FilePath, Finite, List, Map, Name, NonNeg, Plain, Pos, Share, Text, Whole, decode_tag, decode_word, describe_variant,
};

use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a file at most, unpacked.
const LARGEST: u64 = 256 << 20;

/// What a file packed by gzip holds, up to one byte more than is read; any other file as it is.
fn unpacked(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).take(LARGEST + 1).read_to_end(&mut out)?;
    Ok(out)
}

crate::ids! {
    /// A text that diagnostics point into: a file, or a value from the command line.
    SourceId "source";
}

/// A text that diagnostics point into.
#[derive(Debug, Clone)]
pub struct Source {
    /// How it is called in messages: the path as the user gave it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A place in a source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which source.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The input is refused.
    Error,
    /// The input is taken, but is likely not what was meant.
    Warning,
}

/// A place with a remark.
#[derive(Debug, Clone)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// Why here.
    pub text: String,
}

/// One fault: what is wrong, where, and what to write instead.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Stable code with a page of its own.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in terms of the file.
    pub message: String,
    /// Places; the first is the main one.
    pub labels: Vec<Label>,
    /// Background.
    pub notes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
    /// What is needed of something that is short, and how much of it there is.
    pub lack: Option<(f64, f64)>,
}

impl Diagnostic {
    /// An error without a place yet.
    #[must_use]
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            hints: Vec::new(),
            lack: None,
        }
    }
    /// A warning without a place yet.
    #[must_use]
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }
    /// Adds a place; the first one added is the main one.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: label.into() });
        self
    }
    /// Adds background.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }
    /// Says how much is needed of how much there is.
    #[must_use]
    pub const fn lacking(mut self, need: f64, limit: f64) -> Self {
        self.lack = Some((need, limit));
        self
    }
    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }
}

/// All sources that were read and all that is wrong with them.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    sources: Vec<Source>,
    list: Vec<Diagnostic>,
    includes: Vec<Span>,
    digests: Vec<String>,
}

impl Diagnostics {
    /// No sources, no faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a text under the name that messages shall use.
    pub fn add_source(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        self.sources.push(Source { name: name.into(), text: text.into() });
        SourceId(self.sources.len() as u32 - 1)
    }
    /// A source by its id.
    #[must_use]
    pub fn source(&self, id: SourceId) -> &Source {
        &self.sources[id.0 as usize]
    }
    /// All sources in order of reading.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }
    /// Reads a file; a fault is reported at `from`, the place that names it, or at the start of an empty source.
    pub fn read_file(&mut self, path: &Path, from: Option<Span>) -> Option<SourceId> {
        let name = path.display().to_string();
        let fault = match std::fs::read(path).and_then(unpacked) {
            Ok(bytes) if bytes.len() as u64 > LARGEST => (codes::FILE_TOO_LARGE, format!("`{name}` is larger than 256 MiB")),
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => return Some(self.add_source(name, text)),
                Err(error) => {
                    let valid = error.utf8_error().valid_up_to();
                    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                    let source = self.add_source(name.clone(), text);
                    let span = Span { source, start: valid as u32, end: valid as u32 + 1 };
                    self.push(
                        Diagnostic::error(codes::NOT_UTF8, format!("`{name}` is not UTF-8 text"))
                            .at(span, "first byte that is no UTF-8")
                            .hint("save the file as UTF-8"),
                    );
                    return None;
                }
            },
            Err(error) => (codes::CANNOT_READ, format!("cannot read `{name}`: {}", reason(&error))),
        };
        let span = from.unwrap_or_else(|| {
            let source = self.add_source(name, "");
            Span { source, start: 0, end: 0 }
        });
        self.push(Diagnostic::error(fault.0, fault.1).at(span, if from.is_some() { "named here" } else { "" }));
        None
    }
    /// Reads a file that need not be text; a fault is reported at `from`, the place that names it.
    pub fn read_bytes(&mut self, path: &Path, from: Span) -> Option<Vec<u8>> {
        let name = path.display().to_string();
        let large = std::fs::metadata(path).is_ok_and(|m| m.len() > LARGEST);
        let fault = match std::fs::read(path) {
            _ if large => (codes::FILE_TOO_LARGE, format!("`{name}` is larger than 256 MiB")),
            Ok(bytes) => {
                self.digests.push(blake3::hash(&bytes).to_hex().to_string());
                return Some(bytes);
            }
            Err(error) => (codes::CANNOT_READ, format!("cannot read `{name}`: {}", reason(&error))),
        };
        self.push(Diagnostic::error(fault.0, fault.1).at(from, "named here"));
        None
    }
    /// Digests of the files that [`Self::read_bytes`] has read, in order.
    #[must_use]
    pub fn digests(&self) -> &[String] {
        &self.digests
    }
    /// Adds a fault. Inside an included file the place that includes it is labelled too.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        let main = diagnostic.labels.first().map(|l| l.span.source);
        for span in self.includes.iter().rev() {
            if main.is_some_and(|m| m != span.source) && !diagnostic.labels.iter().any(|l| l.span == *span) {
                diagnostic.labels.push(Label { span: *span, text: "included here".into() });
            }
        }
        self.list.push(diagnostic);
    }
    /// Runs `read` for an included file: faults found meanwhile are labelled at `from` too.
    pub fn including<T>(&mut self, from: Span, read: impl FnOnce(&mut Self) -> T) -> T {
        self.includes.push(from);
        let out = read(self);
        self.includes.pop();
        out
    }
    /// Whether any fault is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }
    /// How many errors there are.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.list.iter().filter(|d| d.severity == Severity::Error).count()
    }
    /// All faults, sorted by source and place.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_key(|d| d.labels.first().map(|l| l.span));
        list
    }
    /// Line and column (both from 1, column in characters) of the start of a span.
    #[must_use]
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let text = &self.source(span.source).text;
        let mut start = (span.start as usize).min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
    /// The folder of a source's file, for paths relative to it; the current one for values from the command line.
    #[must_use]
    pub fn folder_of(&self, id: SourceId) -> PathBuf {
        let name = &self.source(id).name;
        if name.starts_with("--set ") {
            return PathBuf::new();
        }
        Path::new(name).parent().map_or_else(PathBuf::new, Path::to_path_buf)
    }
}

/// The operating system's reason in words that do not differ between systems.
#[must_use]
pub fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::NotFound => "there is no such file".into(),
        K::PermissionDenied => "permission denied".into(),
        K::IsADirectory => "it is a folder".into(),
        K::NotADirectory => "a part of the path is no folder".into(),
        K::StorageFull => "the disk is full".into(),
        K::ReadOnlyFilesystem => "the file system is read-only".into(),
        _ => error.to_string(),
    }
}

/// The nearest of some names, for "did you mean".
#[must_use]
pub fn nearest<'a>(name: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(f64, &str)> = None;
    for candidate in among {
        let score = strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
        if score > 0.84 && best.is_none_or(|(b, _)| score > b) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, name)| name)
}
