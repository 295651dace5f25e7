//! Diagnostics as text for people and as JSON for editors.

use super::{Diagnostic, Diagnostics, Severity};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value as Json, json};

/// With or without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For a terminal.
    Colour,
    /// For files, pipes and snapshots.
    Plain,
}

/// All diagnostics as text, in order of file and place.
#[must_use]
pub fn render(diags: &Diagnostics, style: Style) -> String {
    let renderer = if style == Style::Colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diags.sorted() {
        let groups = [group(diags, diagnostic)];
        out.push_str(&renderer.render(&groups));
        out.push_str("\n\n");
    }
    let errors = diags.error_count();
    if errors > 0 {
        out.push_str(&format!("{errors} error{} found\n", if errors == 1 { "" } else { "s" }));
    }
    out
}

fn group<'a>(diags: &'a Diagnostics, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = if diagnostic.severity == Severity::Error { Level::ERROR } else { Level::WARNING };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.0));
    let mut sources: Vec<_> = diagnostic.labels.iter().map(|l| l.span.source).collect();
    sources.dedup();
    for source in sources {
        let file = diags.source(source);
        if file.text.trim().is_empty() {
            group = group.element(annotate_snippets::Origin::path(file.name.as_str()).line(1).char_column(1));
            continue;
        }
        let labels = diagnostic.labels.iter().enumerate().filter(|(_, l)| l.span.source == source);
        let annotations = labels.map(|(i, label)| {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            kind.span(clamp(&file.text, label.span.start as usize, label.span.end as usize)).label(label.text.as_str())
        });
        group = group.element(Snippet::source(file.text.as_str()).path(file.name.as_str()).annotations(annotations));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    for hint in &diagnostic.hints {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    group
}

/// A range inside the text, on character borders, within one line where the span covers several.
fn clamp(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let border = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = border(start);
    let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
    start..border(end.max(start)).min(line_end).max(start)
}

/// All diagnostics as a JSON array: code, severity, message, labels with file, line and column, notes, hints.
#[must_use]
pub fn to_json(diags: &Diagnostics) -> Json {
    let label = |l: &super::Label| {
        let (line, column) = diags.line_column(l.span);
        json!({"file": diags.source(l.span.source).name, "line": line, "column": column, "start": l.span.start, "end": l.span.end, "text": l.text})
    };
    let one = |d: &&Diagnostic| {
        json!({
            "code": d.code.0,
            "severity": if d.severity == Severity::Error { "error" } else { "warning" },
            "message": d.message,
            "labels": d.labels.iter().map(label).collect::<Vec<_>>(),
            "notes": d.notes,
            "hints": d.hints,
        })
    };
    Json::Array(diags.sorted().iter().map(one).collect())
}
