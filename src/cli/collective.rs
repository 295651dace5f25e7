//! `orrery collective`: an operation over sizes on a topology.

use super::Status;
use super::args::{CollectiveArgs, MessageFormat};
use super::run::write_folder_of;
use super::stream::Stream;
use crate::collectives::{Algorithm, Engine, Launch, Library, Op};
use crate::diag::{Diagnostics, codes, nearest};
use crate::fabric::AcceleratorId;
use crate::metrics::{Detail, Fact, Identity, Outcome, SimulationOutcome};
use crate::report;
use crate::scenario::{Sweep, constants_of, load_topology, run_sweep};
use crate::units::Bytes;
use std::time::Instant;

pub(super) fn run(args: &CollectiveArgs, out: &mut Stream) -> Status {
    let start = Instant::now();
    let (op, algorithm, engine, launch) = match words(args) {
        Ok(words) => words,
        Err(message) => {
            out.note(&message);
            return Status::BadInput;
        }
    };
    let sizes = match sizes(&args.bytes) {
        Ok(sizes) => sizes,
        Err(message) => {
            out.note(&format!("error: --bytes {}: {message}\nhint: write 64MiB or 1KiB..8GiB", args.bytes));
            return Status::BadInput;
        }
    };
    let mut diags = Diagnostics::new();
    let Some((fabric, _)) = load_topology(&args.file, &args.set, &mut diags) else {
        return out.refuse(&diags, MessageFormat::Human);
    };
    let all = fabric.accelerator_count() as u32;
    let Some(ranks) = ranks(args.ranks.as_deref(), all) else {
        out.note(&format!("error: --ranks needs at least two accelerators, such as 0-{}", all.saturating_sub(1)));
        return Status::BadInput;
    };
    let sweep =
        Sweep { library: Library::of(engine), launch, explicit: args.explicit.then_some(64), ..Sweep::plain(op, sizes, ranks, algorithm) };
    if sweep.work() > MOST_FLOWS {
        out.note(&format!(
            "error: about {:.0e} messages would be simulated\nhint: leave out --explicit, or take fewer ranks or sizes",
            sweep.work()
        ));
        return Status::BadInput;
    }
    let Some((list, events)) = run_sweep(&fabric, &sweep, 1) else {
        out.note(&format!(
            "error: {op} has no form `{}` over these ranks\nhint: use --algorithm auto, and --explicit only without reduction in switches",
            args.algorithm
        ));
        return Status::BadInput;
    };
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    let facts = vec![fact("Operation", sweep.title()), fact("Cluster", fabric.title().to_owned())];
    let outcome = Outcome {
        serving: None,
        orrery: Identity { version: env!("CARGO_PKG_VERSION").into(), seed: 1, scenario_hash: String::new() },
        title: format!("{op} on {}", fabric.title()),
        kind: "collective",
        training: None,
        run: None,
        storage: None,
        collective: Some(list),
        trace: None,
        fleet: None,
        cost: None,
        simulation: SimulationOutcome { events, wall_s: start.elapsed().as_secs_f64() },
        detail: Detail { facts, profile: constants_of(&fabric, &sweep), ..Detail::default() },
    };
    if let Some(folder) = &args.out
        && let Err(error) = write_folder_of(folder, &outcome)
    {
        return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
    }
    if args.json {
        return report::json(&[outcome]).map_or(Status::Internal, |text| out.result(&text));
    }
    out.result(&report::text(&outcome))
}

/// More messages than this take minutes.
const MOST_FLOWS: f64 = 3e8;

/// The words of the command line, each one of a choice.
fn words(args: &CollectiveArgs) -> Result<(Op, Option<Algorithm>, Engine, Launch), String> {
    let unknown = |what: &str, word: &str, words: &[&str]| {
        let hint =
            nearest(word, words.iter().copied()).map_or_else(|| format!("one of {}", words.join(", ")), |n| format!("did you mean {n}?"));
        format!("error: `{word}` is no {what}\nhint: {hint}")
    };
    let op = Op::from_word(&args.op).ok_or_else(|| unknown("operation", &args.op, Op::WORDS))?;
    let algorithm = match args.algorithm.as_str() {
        "auto" => None,
        word => Some(Algorithm::from_word(word).ok_or_else(|| unknown("algorithm", word, Algorithm::WORDS))?),
    };
    let engine = Engine::from_word(&args.engine).ok_or_else(|| unknown("engine", &args.engine, Engine::WORDS))?;
    let launch = Launch::from_word(&args.launch).ok_or_else(|| unknown("launch", &args.launch, Launch::WORDS))?;
    Ok((op, algorithm, engine, launch))
}

/// One size, or sizes that double between two.
fn sizes(text: &str) -> Result<Vec<f64>, String> {
    let parse = |t: &str| t.parse::<Bytes>().map(Bytes::get).map_err(|e| e.to_string());
    let (low, high) = match text.split_once("..") {
        Some((low, high)) => (parse(low)?, parse(high)?),
        None => (parse(text)?, parse(text)?),
    };
    if low < 1.0 || high < low || high > 1e15 {
        return Err("the sizes are not between 1 B and 1 PB, the smaller first".into());
    }
    Ok(crate::scenario::sizes(low, high))
}

/// Ranks such as `0-63` or `0,8,16-23`.
fn ranks(text: Option<&str>, all: u32) -> Option<Vec<AcceleratorId>> {
    let mut out = Vec::new();
    for part in text.unwrap_or(&format!("0-{}", all.saturating_sub(1))).split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= all {
            return None;
        }
        out.extend((first..=last).map(AcceleratorId));
    }
    out.sort_unstable();
    let n = out.len();
    out.dedup();
    (out.len() == n && n >= 2).then_some(out)
}
