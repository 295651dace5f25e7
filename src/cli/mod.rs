//! Arguments, streams, exit codes: the only room that prints.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 ran but a stated requirement is
//! not met, 2 bad input, 3 internal error.

mod args;
mod calibrate;
mod calibrate_args;
mod catalog;
mod check;
mod collective;
mod flows;
mod mlflow;
mod plan;
mod probe;
mod run;
mod stream;
mod sweep;
mod topology;
mod validate;

use args::{Cli, Command, SchemaKind};
use clap::Parser;
use std::process::ExitCode;
use stream::Stream;

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Done.
    Done,
    /// Ran, but a stated requirement is not met.
    FallsShort,
    /// Bad input.
    BadInput,
    /// A bug.
    Internal,
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = u8::from(error.use_stderr()) * 2;
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    // A panic is a bug: its message stays short and asks for a report.
    std::panic::set_hook(Box::new(|info| {
        let mut out = Stream::new();
        out.note(&format!("internal error: {info}\nThis is a bug in Orrery; please report it with the input that caused it."));
    }));
    let status = std::panic::catch_unwind(|| dispatch(cli)).unwrap_or(Status::Internal);
    ExitCode::from(match status {
        Status::Done => 0,
        Status::FallsShort => 1,
        Status::BadInput => 2,
        Status::Internal => 3,
    })
}

fn dispatch(cli: Cli) -> Status {
    let mut out = Stream::new();
    match cli.command {
        Command::Run(args) => run::run(&args, &mut out),
        Command::Compare(args) => run::compare(&args, &mut out),
        Command::Check(args) => check::run(&args, &mut out),
        Command::Topology(args) => topology::run(&args, &mut out),
        Command::Collective(args) => collective::run(&args, &mut out),
        Command::Flows(args) => flows::run(&args, &mut out),
        Command::Validate(args) => validate::run(&args, &mut out),
        Command::Calibrate { command } => calibrate::run(&command, &mut out),
        Command::Plan(args) => plan::run(&args, &mut out),
        Command::Sweep { command } => sweep::run(&command, &mut out),
        Command::Catalog(args) => catalog::run(&args, &mut out),
        Command::Schema { kind } => schema(kind, &mut out),
        Command::Explain { code } => explain(&code, &mut out),
    }
}

fn schema(kind: SchemaKind, out: &mut Stream) -> Status {
    let schema = match kind {
        SchemaKind::Scenario => crate::scenario::schema("scenario"),
        SchemaKind::Topology => crate::scenario::schema("topology"),
        SchemaKind::Profile => crate::scenario::schema("profile"),
        SchemaKind::Plan => crate::plan::schema("plan"),
        SchemaKind::PlanOutput => crate::plan::schema("plan-output"),
        SchemaKind::Sweep => crate::plan::schema("sweep"),
        SchemaKind::Output => crate::scenario::schema("output"),
    };
    match schema {
        Some(schema) => out.result(&format!("{schema:#}\n")),
        None => Status::Internal,
    }
}

fn explain(code: &str, out: &mut Stream) -> Status {
    let wanted = code.to_uppercase();
    if let Some((_, page)) = crate::diag::codes::ALL.iter().find(|(c, _)| c.0 == wanted) {
        return out.result(page);
    }
    let names: Vec<&str> = crate::diag::codes::ALL.iter().map(|(c, _)| c.0).collect();
    out.note(&format!("error: there is no diagnostic `{code}`\nhint: the codes are {}", names.join(", ")));
    Status::BadInput
}
