//! `orrery sweep run`, `plan` and `collect`.

use super::Status;
use super::args::{MessageFormat, SweepCommand, SweepPlanArgs, SweepRunArgs};
use super::stream::Stream;
use crate::diag::{Diagnostics, codes};
use crate::plan::{Collected, Manifest, Part, StoreError, Sweep, collect, job_files, load_sweep};
use crate::report::write_folder;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::path::Path;
use std::sync::Mutex;

/// Where schedulers say which task of an array this is.
const TASK_VARIABLES: [&str; 4] = ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "HQ_TASK_ID", "OMPI_COMM_WORLD_RANK"];

pub(super) fn run(command: &SweepCommand, out: &mut Stream) -> Status {
    match command {
        SweepCommand::Run(args) => start(args, out),
        SweepCommand::Plan(args) => plan(args, out),
        SweepCommand::Collect { folder } => match collect(folder) {
            Ok(collected) => told(&collected, out),
            Err(error) => refuse(&error, out),
        },
    }
}

fn load(file: &Path, out: &mut Stream) -> Result<Sweep, Status> {
    let mut diags = Diagnostics::new();
    match load_sweep(file, &mut diags) {
        Some(sweep) if !diags.has_errors() => Ok(sweep),
        _ => Err(out.refuse(&diags, MessageFormat::Human)),
    }
}

fn refuse(error: &StoreError, out: &mut Stream) -> Status {
    let (path, code, hint) = match error {
        StoreError::Io { path, .. } => (path, codes::CANNOT_WRITE, "choose a folder that you may write to"),
        StoreError::Foreign { path, .. } => (path, codes::FOREIGN_RESULTS, "choose another folder with --out, or plan it again"),
        StoreError::Started(path) => (path, codes::FOREIGN_RESULTS, "go on with --resume, or choose another folder with --out"),
        StoreError::Busy(path) => (path, codes::FOREIGN_RESULTS, "wait for it, or end it"),
        StoreError::Missing(_) => {
            out.note(&format!(
                "falls short: {error}\nhint: run each again with `orrery sweep run SWEEP.toml --out DIR --resume --shard K/N`"
            ));
            return Status::FallsShort;
        }
    };
    out.refuse_file(path, code, error.to_string(), hint)
}

fn plan(args: &SweepPlanArgs, out: &mut Stream) -> Status {
    let sweep = match load(&args.file, out) {
        Ok(sweep) => sweep,
        Err(status) => return status,
    };
    if args.shards == 0 || args.shards > sweep.total() {
        out.note(&format!("error: --shards needs a number from 1 to {}, the scenarios of the sweep", sweep.total()));
        return Status::BadInput;
    }
    let manifest = sweep.manifest(args.shards);
    if let Err(error) = manifest.place(&args.out) {
        return refuse(&error, out);
    }
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let files = job_files(&manifest, &absolute(&args.file), &absolute(&args.out));
    if let Err(error) = write_folder(&args.out, &files) {
        return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
    }
    out.result(&format!(
        "{}: {} scenarios in {} shards of at most {}\n{}: manifest.json, slurm.sh, kubernetes.yaml, hyperqueue.sh\n",
        manifest.title,
        manifest.scenarios,
        manifest.shards,
        manifest.scenarios_of(0),
        args.out.display()
    ))
}

/// Which shard of how many: the flag, or the planned folder and the scheduler's variable.
fn shard(args: &SweepRunArgs) -> Result<(u64, u64), String> {
    if let Some(text) = &args.shard {
        let parsed = text.split_once('/').and_then(|(k, n)| Some((k.trim().parse().ok()?, n.trim().parse().ok()?)));
        return match parsed {
            Some((k, n)) if k < n => Ok((k, n)),
            _ => Err(format!("--shard needs K/N with K from 0 to N - 1, found `{text}`")),
        };
    }
    let planned = Manifest::read(&args.out).ok().flatten().map_or(1, |m| m.shards);
    if planned == 1 {
        return Ok((0, 1));
    }
    for name in TASK_VARIABLES {
        let Ok(text) = std::env::var(name) else { continue };
        return match text.parse() {
            Ok(k) if k < planned => Ok((k, planned)),
            _ => Err(format!("{name} is `{text}`, but the folder is planned in shards 0 to {}", planned - 1)),
        };
    }
    Err(format!("the folder is planned in {planned} shards; say which with --shard K/{planned}, or run it as an array job"))
}

fn start(args: &SweepRunArgs, out: &mut Stream) -> Status {
    let (shard, shards) = match shard(args) {
        Ok(found) => found,
        Err(message) => {
            out.note(&format!("error: {message}"));
            return Status::BadInput;
        }
    };
    let sweep = match load(&args.file, out) {
        Ok(sweep) => sweep,
        Err(status) => return status,
    };
    let manifest = sweep.manifest(shards);
    let done = manifest
        .place(&args.out)
        .and_then(|()| Part::open(&manifest, &args.out, shard, args.resume))
        .and_then(|part| part.map_or(Ok(()), |part| work(&sweep, part)));
    if let Err(error) = done {
        return refuse(&error, out);
    }
    if shards > 1 && args.mlflow.is_some() {
        out.note("note: --mlflow logs whole sweeps; this shard is written and not logged");
    }
    if shards > 1 {
        let left = manifest.missing(&args.out).len();
        out.note(&format!("shard {shard} of {shards} is done; {left} left"));
        return Status::Done;
    }
    match collect(&args.out) {
        Ok(collected) => {
            let status = told(&collected, out);
            match args.mlflow.as_deref().filter(|_| status == Status::Done) {
                Some(url) => log(url, &sweep, &collected, out),
                None => status,
            }
        }
        Err(error) => refuse(&error, out),
    }
}

/// Points of one column that are logged at most: of longer sweeps every n-th row.
const LOGGED: u64 = 2_000;

/// Logs a sweep as one run: every column of numbers over the scenarios, the table as a file.
fn log(url: &str, sweep: &Sweep, collected: &Collected, out: &mut Stream) -> Status {
    let text = match std::fs::read_to_string(&collected.path) {
        Ok(text) => text,
        Err(error) => return out.refuse_file(&collected.path, codes::CANNOT_READ, crate::diag::reason(&error), "run the sweep again"),
    };
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let names: Vec<String> = rows.headers().map(|h| h.iter().map(str::to_owned).collect()).unwrap_or_default();
    let every = sweep.total().div_ceil(LOGGED).max(1);
    let mut series = Vec::new();
    for (i, row) in rows.records().flatten().enumerate().filter(|(i, _)| (*i as u64).is_multiple_of(every)) {
        for (name, cell) in names.iter().zip(row.iter()) {
            if let Some(value) = cell.parse::<f64>().ok().filter(|v| v.is_finite()) {
                series.push((name.clone(), i as u64, value));
            }
        }
    }
    let manifest = sweep.manifest(1);
    let counts = serde_json::json!({"kind": "sweep", "sweep": manifest.sweep, "scenarios": manifest.scenarios, "sound": collected.sound,
        "refused": collected.refused, "columns": names.join(", ")});
    let run = super::mlflow::Run { name: manifest.title, json: counts, series, files: vec![("results.csv", text)] };
    super::mlflow::log(url, "orrery", &[run], out)
}

/// Runs what is left of a shard; every row is written as its scenario ends.
fn work(sweep: &Sweep, part: Part) -> Result<(), StoreError> {
    let left = part.left();
    let bar = ProgressBar::new(part.total());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} scenarios, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar.set_position(part.total() - left.len() as u64);
    bar.reset_eta();
    let part = Mutex::new(part);
    let result = left.into_par_iter().with_max_len(64).try_for_each(|index| {
        let row = sweep.row(index);
        bar.inc(1);
        part.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(index, &row)
    });
    bar.finish_and_clear();
    result?;
    part.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).finish()
}

fn told(collected: &Collected, out: &mut Stream) -> Status {
    let refused =
        if collected.refused > 0 { format!(", {} with an error instead of an outcome", collected.refused) } else { String::new() };
    for name in &collected.empty {
        out.note(&format!("warning: the column `{name}` is empty in every row"));
    }
    let shown = out.result(&format!("{}: {} scenarios{refused}\n", collected.path.display(), collected.sound + collected.refused));
    if shown != Status::Done || collected.sound > 0 { shown } else { Status::BadInput }
}
