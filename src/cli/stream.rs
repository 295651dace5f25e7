//! Standard output and error; a closed pipe is no fault.

use super::Status;
use super::args::MessageFormat;
use crate::diag::{Code, Diagnostic, Diagnostics, Span, Style, render, to_json};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Where a command writes.
pub(super) struct Stream {
    style: Style,
}

impl Stream {
    pub(super) fn new() -> Self {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { style: if colour { Style::Colour } else { Style::Plain } }
    }
    /// A result.
    pub(super) fn result(&mut self, text: &str) -> Status {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                self.note(&format!("error[E0004]: cannot write the result: {}", crate::diag::reason(&error)));
                Status::BadInput
            }
            _ => Status::Done,
        }
    }
    /// Anything that is no result.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
    /// All faults, and bad input as the answer.
    pub(super) fn refuse(&mut self, diags: &Diagnostics, format: MessageFormat) -> Status {
        self.faults(diags, format);
        Status::BadInput
    }
    /// All faults.
    pub(super) fn faults(&mut self, diags: &Diagnostics, format: MessageFormat) {
        let text = match format {
            MessageFormat::Human => render(diags, self.style),
            MessageFormat::Json => format!("{:#}\n", to_json(diags)),
        };
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
    /// One fault about a file as a whole.
    pub(super) fn refuse_file(&mut self, path: &Path, code: Code, message: String, hint: &str) -> Status {
        let mut diags = Diagnostics::new();
        let source = diags.add_source(path.display().to_string(), "");
        diags.push(Diagnostic::error(code, message).at(Span { source, start: 0, end: 0 }, "").hint(hint));
        self.refuse(&diags, MessageFormat::Human)
    }
}
