//! `orrery collective`: an operation over sizes on a topology.

use super::Status;
use super::args::{CollectiveArgs, MessageFormat};
use super::run::write_folder_of;
use super::stream::Stream;
use crate::collectives::{Algorithm, Communicator, Engine, Launch, Library, Op, Protocol};
use crate::diag::{Diagnostics, codes, nearest};
use crate::fabric::{AcceleratorId, Fabric};
use crate::metrics::{CollectiveOutcome, Detail, Fact, Identity, Outcome, SimulationOutcome};
use crate::report;
use crate::scenario::{Sweep, constants_of, load_topology, routing_of, run_sweep};
use crate::units::Bytes;
use std::time::Instant;

pub(super) fn run(args: &CollectiveArgs, out: &mut Stream) -> Status {
    let start = Instant::now();
    let mut diags = Diagnostics::new();
    let (op, fabric, sweep) = match asked(args, &mut diags) {
        Ok(asked) => asked,
        Err(None) => return out.refuse(&diags, MessageFormat::Human),
        Err(Some(message)) => {
            out.note(&message);
            return Status::BadInput;
        }
    };
    let Some((list, events)) = run_sweep(&fabric, &sweep, 1) else {
        out.note(&format!(
            "error: {op} has no form `{}` with protocol {} over these ranks\nhint: use --algorithm auto and --protocol auto, and --explicit only without reduction in switches",
            args.algorithm, args.protocol
        ));
        return Status::BadInput;
    };
    let simulation = SimulationOutcome { events, wall_s: start.elapsed().as_secs_f64() };
    let outcome = outcome(format!("{op} on {}", fabric.title()), &fabric, &sweep, list, simulation);
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

/// The cluster and what is asked of it; else what is wrong with a word of the command, or nothing where the file is at fault.
fn asked(args: &CollectiveArgs, diags: &mut Diagnostics) -> Result<(Op, Fabric, Sweep), Option<String>> {
    let (op, algorithm, engine, launch) = words(args)?;
    exchange(args, op)?;
    let text = args.bytes.as_deref().unwrap_or("1KiB..8GiB");
    let mut sizes = sizes(text).map_err(|message| format!("error: --bytes {text}: {message}\nhint: write 64MiB or 1KiB..8GiB"))?;
    let (fabric, _) = load_topology(&args.file, &args.set, diags).ok_or(None)?;
    let all = fabric.accelerator_count() as u32;
    let few = || format!("error: --ranks needs at least two accelerators, such as 0-{}", all.saturating_sub(1));
    let ranks = ranks(args.ranks.as_deref(), all).ok_or_else(few)?;
    let mut routing = None;
    if let Some(text) = &args.routing {
        let read = routing_of(text, ranks.len(), diags).ok_or(None)?;
        (sizes, routing) = (read.0, Some(read.1));
    }
    let protocol = protocol(args)?;
    let library = Library { channels: args.channels, ..Library::of(engine) };
    if let Some(message) = channels(args, op, &library, &fabric, &ranks) {
        return Err(Some(message));
    }
    let plain = Sweep { protocol, ..Sweep::plain(op, sizes, ranks, algorithm) };
    let sweep = Sweep { library, launch, explicit: args.explicit.then_some(64), routing, ..plain };
    let work = sweep.work();
    if work > MOST_FLOWS {
        let hint = "leave out --explicit, or take fewer ranks or sizes";
        return Err(Some(format!("error: about {work:.0e} messages would be simulated\nhint: {hint}")));
    }
    Ok((op, fabric, sweep))
}

fn outcome(title: String, fabric: &Fabric, sweep: &Sweep, list: Vec<CollectiveOutcome>, simulation: SimulationOutcome) -> Outcome {
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    let facts = vec![fact("Operation", sweep.title()), fact("Cluster", fabric.title().to_owned())];
    Outcome {
        serving: None,
        orrery: Identity { version: env!("CARGO_PKG_VERSION").into(), seed: 1, scenario_hash: String::new(), synthetic: false },
        title,
        kind: "collective",
        training: None,
        run: None,
        storage: None,
        collective: Some(list),
        trace: None,
        fleet: None,
        cost: None,
        simulation,
        detail: Detail { facts, profile: constants_of(fabric, sweep), ..Detail::default() },
    }
}

/// Whether `--routing`, `--bytes` and `--engine` fit the operation.
fn exchange(args: &CollectiveArgs, op: Op) -> Result<(), String> {
    match (op.moves_tokens(), &args.routing) {
        (true, None) => Err(format!("error: --op {op} needs --routing\nhint: such as --routing hidden=7168,experts=256,per_token=8")),
        (false, Some(_)) => Err(format!("error: --routing does nothing for --op {op}\nhint: leave it out, or take --op dispatch")),
        (true, Some(_)) if args.bytes.is_some() => {
            Err(format!("error: --bytes does nothing for --op {op}\nhint: give min_tokens and max_tokens in --routing"))
        }
        (true, Some(_)) if args.engine != "nccl" => Err(format!("error: --engine does nothing for --op {op}\nhint: leave it out")),
        _ => Ok(()),
    }
}

/// More messages than this take minutes.
const MOST_FLOWS: f64 = 3e8;

/// The protocol of the command line; only NCCL's rings have several.
fn protocol(args: &CollectiveArgs) -> Result<Option<Protocol>, String> {
    if args.protocol == "auto" {
        return Ok(None);
    }
    if args.engine != "nccl" {
        return Err("error: --protocol does nothing for an engine's own kernels\nhint: leave out --protocol or --engine".into());
    }
    let unknown = || format!("error: `{}` is no protocol\nhint: one of auto, {}", args.protocol, Protocol::WORDS.join(", "));
    Protocol::from_word(&args.protocol).map(Some).ok_or_else(unknown)
}

/// Why a number of channels cannot be chosen, if it cannot.
fn channels(args: &CollectiveArgs, op: Op, library: &Library, fabric: &Fabric, ranks: &[AcceleratorId]) -> Option<String> {
    let count = args.channels?;
    if count == 0 {
        return Some("error: --channels must be at least 1\nhint: leave it out for the library's own number".into());
    }
    if args.engine != "nccl" || args.explicit || op.moves_tokens() {
        return Some("error: --channels does nothing for an engine's own kernels, for exchanges of tokens, or message by message\nhint: leave it out".into());
    }
    let knows = Communicator::new(fabric, library, &[ranks.to_vec()]).knows_channels();
    (!knows).then(|| {
        "error: what one channel moves is not known on these links\nhint: leave out --channels; it is known of NVLink 2 to 5".into()
    })
}

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
