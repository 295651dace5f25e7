//! `orrery validate`: predictions against a table of measurements.

use super::Status;
use super::args::{HalfKind, MessageFormat, ValidateArgs, ValidateKind};
use super::stream::Stream;
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::kernels::Profiles;
use crate::report::{GroupRow, ScatterPoint, ValidationColumn, validation_html, validation_markdown, write_folder};
use crate::validate::{About, Kind, Report, Summary, parse_bounds, validate, validate_logs};
use std::fmt::Write;

pub(super) fn run(args: &ValidateArgs, out: &mut Stream) -> Status {
    let kind = match args.kind {
        ValidateKind::Training => Kind::Training,
        ValidateKind::Collective => Kind::Collective,
        ValidateKind::Gemm => Kind::Gemm,
        ValidateKind::Attention => Kind::Attention,
        ValidateKind::Serving => Kind::Serving,
        ValidateKind::ServingLog => Kind::ServingLog,
        ValidateKind::Moe => Kind::Moe,
        ValidateKind::Exchange => Kind::Exchange,
        ValidateKind::Storage => Kind::Storage,
    };
    let bounds = match args.bound.as_deref().map(parse_bounds).transpose() {
        Ok(bounds) => bounds.unwrap_or_default(),
        Err(message) => {
            out.note(&format!("error: --bound: {message}\nhint: write median=0.08,p90=0.2"));
            return Status::BadInput;
        }
    };
    let mut diags = Diagnostics::new();
    if args.half.is_some() && kind != Kind::ServingLog {
        out.note("error: --half: only serving logs have halves\nhint: leave it out");
        return Status::BadInput;
    }
    let profiles = read_profiles(args, kind, &mut diags);
    let report = if kind == Kind::ServingLog {
        if diags.has_errors() { None } else { validate_logs(&args.files, &profiles, HalfKind::of(args.half), &mut diags) }
    } else {
        let sources: Vec<_> = args.files.iter().filter_map(|f| diags.read_file(f, None)).collect();
        if diags.has_errors() { None } else { validate(kind, &sources, &profiles, &mut diags) }
    };
    let Some(report) = report else { return out.refuse(&diags, MessageFormat::Human) };
    if let Some(folder) = &args.out {
        let (kind, columns) = (report.kind.word(), columns(&report));
        let files = vec![
            ("report.html".to_owned(), validation_html(kind, &columns)),
            ("report.md".to_owned(), validation_markdown(kind, &columns)),
            ("rows.json".to_owned(), format!("{:#}\n", report.json())),
        ];
        if let Err(error) = write_folder(folder, &files) {
            return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
        }
    }
    let shown = if args.json { out.result(&format!("{}\n", report.json())) } else { out.result(&text(&report)) };
    let missed = report.missed(&bounds);
    for line in &missed {
        out.note(&format!("falls short: {line}"));
    }
    if shown != Status::Done {
        shown
    } else if missed.is_empty() {
        Status::Done
    } else {
        Status::FallsShort
    }
}

/// The shipped profiles with those of the command line before them.
fn read_profiles(args: &ValidateArgs, kind: Kind, diags: &mut Diagnostics) -> Profiles {
    let mut out = Profiles::embedded().clone();
    for file in args.profile.iter().rev() {
        let Some(source) = diags.read_file(file, None) else { continue };
        if !matches!(kind, Kind::Training | Kind::Collective | Kind::Gemm | Kind::ServingLog) {
            let place = Span { source, start: 0, end: 0 };
            let said =
                Diagnostic::error(codes::CONFLICT, format!("`--profile` does nothing for {}", kind.word())).at(place, "this profile");
            diags.push(said.hint("it serves training, collective, gemm and serving-log"));
        } else if let Some(with) = out.with(source, diags) {
            out = with;
        }
    }
    out
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    if report.kind == Kind::ServingLog {
        return logs(report);
    }
    for (at, column) in report.columns.iter().enumerate() {
        if report.columns.len() > 1 {
            let _ = writeln!(out, "{column}");
        }
        let _ = writeln!(out, "{:<34}{:>7}{:>9}{:>10}{:>10}{:>10}", "source", "rows", "skipped", "median", "p90", "bias");
        let mut line = |name: &str, s: &Summary| {
            let _ = write!(out, "{name:<34}{:>7}{:>9}", s.n, s.skipped);
            let _ = if s.n > 0 {
                writeln!(out, "{:>9.1}%{:>9.1}%{:>+9.1}%", 100.0 * s.median, 100.0 * s.p90, 100.0 * s.bias)
            } else {
                writeln!(out, "{:>10}{:>10}{:>10}", "-", "-", "-")
            };
        };
        for (name, summary) in &report.by_source {
            line(name, &summary[at]);
        }
        line("all", &report.all[at]);
    }
    for (reason, n) in report.skipped().iter().take(12) {
        let _ = writeln!(out, "skipped {n}: {reason}");
    }
    out
}

/// Errors of every log, one line a quantity.
fn logs(report: &Report) -> String {
    let mut out = String::new();
    for row in &report.rows {
        let _ = writeln!(out, "{} ({})", row.id, row.source);
        match &row.outcome {
            Ok(predicted) => {
                for (i, column) in report.columns.iter().enumerate() {
                    let error = 100.0 * row.error(i).unwrap_or(0.0);
                    let _ = writeln!(
                        out,
                        "  {column:<14}measured {:>10.4}  predicted {:>10.4}  {error:>+7.1} %",
                        row.measured[i], predicted[i]
                    );
                }
            }
            Err(reason) => {
                let _ = writeln!(out, "  skipped: {reason}");
            }
        }
    }
    out
}

/// A word of what a row is about.
type Side = fn(&About) -> &str;

/// What the pages show of each measured column.
fn columns(report: &Report) -> Vec<ValidationColumn> {
    (0..report.columns.len()).map(|at| column(report, at)).collect()
}

fn column(report: &Report, at: usize) -> ValidationColumn {
    let point = |r: &crate::validate::Row| {
        let predicted = r.outcome.as_ref().ok()?[at];
        let about = r.about.as_ref();
        Some(ScatterPoint {
            id: r.id.clone(),
            source: r.source.clone(),
            measured: r.measured[at],
            predicted,
            about: about.map_or_else(String::new, |a| format!("{}, {}, {}", a.accelerator, a.framework, a.size)),
            cause: about.map_or_else(String::new, |a| a.cause.to_owned()),
        })
    };
    let row = |name: &str, s: &Summary| GroupRow {
        name: name.into(),
        n: s.n,
        skipped: s.skipped,
        median: s.median,
        p90: s.p90,
        bias: s.bias,
        inside: s.inside,
    };
    let mut sources: Vec<GroupRow> = report.by_source.iter().map(|(n, s)| row(n, &s[at])).collect();
    sources.push(row("all", &report.all[at]));
    let mut groups = vec![("source", sources)];
    let sides: [(&'static str, Side); 3] =
        [("accelerator", |a| &a.accelerator), ("framework", |a| &a.framework), ("model size", |a| &a.size)];
    for (by, word) in sides {
        let rows: Vec<GroupRow> = report.by(at, word).iter().map(|(n, s)| row(n, s)).collect();
        if !rows.is_empty() {
            groups.push((by, rows));
        }
    }
    ValidationColumn { name: report.columns[at].to_owned(), points: report.rows.iter().filter_map(point).collect(), groups }
}
