//! `orrery flows`: when each flow of a flow case ends.

use super::Status;
use super::args::{FlowsArgs, MessageFormat};
use super::stream::Stream;
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::simulate::{FlowCase, FlowCaseError};
use crate::units::Seconds;
use std::fmt::Write;

pub(super) fn run(args: &FlowsArgs, out: &mut Stream) -> Status {
    let mut diags = Diagnostics::new();
    let Some(source) = diags.read_file(&args.file, None) else { return out.refuse(&diags, MessageFormat::Human) };
    let outcome = match FlowCase::parse(&diags.source(source).text).and_then(|case| case.run()) {
        Ok(outcome) => outcome,
        Err(error) => {
            let start = offset(&diags.source(source).text, &error);
            diags.push(Diagnostic::error(codes::BAD_FLOW_CASE, error.message).at(Span { source, start, end: start }, "here"));
            return out.refuse(&diags, MessageFormat::Human);
        }
    };
    if args.json {
        return serde_json::to_string(&outcome).map_or(Status::Internal, |text| out.result(&format!("{text}\n")));
    }
    let mut text = String::new();
    for flow in &outcome.flows {
        let _ = writeln!(text, "{:>10}  {}", flow.id.to_string(), Seconds::new(flow.finish_s));
    }
    let _ = writeln!(text, "  makespan  {}", Seconds::new(outcome.makespan_s));
    out.result(&text)
}

/// Byte offset of the place that the error names.
fn offset(text: &str, error: &FlowCaseError) -> u32 {
    let line_start: usize = text.split_inclusive('\n').take(error.line.saturating_sub(1)).map(str::len).sum();
    (line_start + error.column.saturating_sub(1)).min(text.len()) as u32
}
