//! `orrery calibrate`: measurements to a profile.

use super::Status;
use super::args::{CalibrateCommand, FitArgs, MessageFormat};
use super::stream::Stream;
use crate::calibrate::{fit, summary, write};
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::report::write_atomically;

pub(super) fn run(command: &CalibrateCommand, out: &mut Stream) -> Status {
    match command {
        CalibrateCommand::Fit(args) => fit_tables(args, out),
    }
}

fn fit_tables(args: &FitArgs, out: &mut Stream) -> Status {
    let mut diags = Diagnostics::new();
    let sources: Vec<_> = args.files.iter().filter_map(|f| diags.read_file(f, None)).collect();
    if diags.has_errors() {
        return out.refuse(&diags, MessageFormat::Human);
    }
    let Some(calibration) = fit(&sources, &mut diags) else { return out.refuse(&diags, MessageFormat::Human) };
    if calibration.entries.iter().all(|e| e.fit.is_err()) {
        out.note(&summary(&calibration));
        diags.push(
            Diagnostic::error(codes::BAD_TABLE, "no entry has enough points for a fit")
                .at(Span { source: sources[0], start: 0, end: 0 }, "in these tables")
                .hint("an entry needs 20 measurements of one part, format and library; the lines above say what was left out"),
        );
        return out.refuse(&diags, MessageFormat::Human);
    }
    let head = "Written by `orrery calibrate fit`. Values are [value, low, high] with the 90 % interval of the fit, times in microseconds\n\
                (rq in nanoseconds); quality is cross-validated by shape. Models: docs/models/kernels.md.";
    if let Err(error) = write_atomically(&args.out, write(&calibration, head).as_bytes()) {
        return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
    }
    out.result(&summary(&calibration))
}
