//! `orrery collective`: an operation over sizes on a topology.

use super::Status;
use super::args::{CollectiveArgs, MessageFormat};
use super::stream::Stream;
use crate::collectives::{Algorithm, Op};
use crate::diag::{Diagnostics, nearest};
use crate::fabric::AcceleratorId;
use crate::metrics::{Detail, Fact, Identity, Outcome, SimulationOutcome};
use crate::report;
use crate::scenario::{collectives, load_topology};
use crate::units::Bytes;
use std::time::Instant;

pub(super) fn run(args: &CollectiveArgs, out: &mut Stream) -> Status {
    let start = Instant::now();
    let Some(op) = Op::from_word(&args.op) else {
        let hint = nearest(&args.op, Op::WORDS.iter().copied())
            .map_or_else(|| format!("one of {}", Op::WORDS.join(", ")), |n| format!("did you mean {n}?"));
        out.note(&format!("error: `{}` is no operation\nhint: {hint}", args.op));
        return Status::BadInput;
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
    let algorithm = Algorithm::from_word(&args.algorithm);
    let Some(list) = collectives(&fabric, op, &ranks, &sizes, algorithm) else {
        out.note(&format!("error: {op} has no form `{}` over these ranks\nhint: use --algorithm auto", args.algorithm));
        return Status::BadInput;
    };
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    let facts = vec![fact("Operation", format!("{op} over {} accelerators", ranks.len())), fact("Cluster", fabric.title().to_owned())];
    let outcome = Outcome {
        orrery: Identity { version: env!("CARGO_PKG_VERSION").into(), seed: 1, scenario_hash: String::new() },
        title: format!("{op} on {}", fabric.title()),
        kind: "collective",
        training: None,
        run: None,
        collective: Some(list),
        cost: None,
        simulation: SimulationOutcome { events: 0, wall_s: start.elapsed().as_secs_f64() },
        detail: Detail { facts, ..Detail::default() },
    };
    if args.json {
        return report::json(&[outcome]).map_or(Status::Internal, |text| out.result(&text));
    }
    out.result(&report::text(&outcome))
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
    Ok(std::iter::successors(Some(low), |b| Some(b * 2.0)).take_while(|b| *b <= high).collect())
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
