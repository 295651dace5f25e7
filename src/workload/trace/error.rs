//! Why a trace file cannot be read.

use std::fmt;

/// Why a trace file cannot be read: where, what is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceError {
    /// The file cannot be opened.
    File {
        /// File.
        file: String,
        /// What is wrong.
        what: String,
        /// What to do instead.
        fix: String,
    },
    /// A fault in a binary file.
    Binary {
        /// File.
        file: String,
        /// Offset in bytes, from 0.
        byte: u64,
        /// What is wrong.
        what: String,
        /// What to write instead.
        fix: String,
    },
    /// A fault in a text.
    Text {
        /// File.
        file: String,
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to write instead.
        fix: String,
    },
    /// A fault in a numbered node.
    Node {
        /// File.
        file: String,
        /// Number of the node.
        node: u64,
        /// What is wrong.
        what: String,
        /// What to write instead.
        fix: String,
    },
}

impl TraceError {
    /// A file that cannot be opened or found.
    pub(super) fn file(file: &str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), what: what.into(), fix: fix.into() }
    }
    /// A fault at an offset.
    pub(super) fn binary(file: &str, byte: usize, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Binary { file: file.to_owned(), byte: byte as u64, what: what.into(), fix: fix.into() }
    }
    /// A fault on a line.
    pub(super) fn text(file: &str, line: usize, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Text { file: file.to_owned(), line: line as u64, what: what.into(), fix: fix.into() }
    }
    /// A fault in a node.
    pub(super) fn node(file: &str, node: u64, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Node { file: file.to_owned(), node, what: what.into(), fix: fix.into() }
    }
    /// A text that is not JSON.
    pub(super) fn json(file: &str, error: &serde_json::Error) -> Self {
        Self::text(file, error.line(), format!("this is not JSON: {error}"), "write one JSON object; the file may be cut off")
    }
    /// The text of a file, or where it stops being one.
    pub(super) fn utf8<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Self> {
        std::str::from_utf8(bytes).map_err(|e| {
            let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            Self::text(file, line, "these bytes are not UTF-8", "save the file as UTF-8; a packed file must be unpacked first")
        })
    }
    /// The file.
    #[must_use]
    pub fn file_name(&self) -> &str {
        match self {
            Self::File { file, .. } | Self::Binary { file, .. } | Self::Text { file, .. } | Self::Node { file, .. } => file,
        }
    }
    /// Where and what is wrong, without what to write instead.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::File { file, what, .. } => format!("{file}: {what}"),
            Self::Binary { file, byte, what, .. } => format!("{file}: at byte {byte}: {what}"),
            Self::Text { file, line, what, .. } => format!("{file}:{line}: {what}"),
            Self::Node { file, node, what, .. } => format!("{file}: node {node}: {what}"),
        }
    }
    /// What to write instead.
    #[must_use]
    pub fn fix(&self) -> &str {
        match self {
            Self::File { fix, .. } | Self::Binary { fix, .. } | Self::Text { fix, .. } | Self::Node { fix, .. } => fix,
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.fix())
    }
}

impl std::error::Error for TraceError {}
