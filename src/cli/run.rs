//! `orrery run` and `orrery compare`.

use super::args::{CompareArgs, MessageFormat, RunArgs};
use super::stream::Stream;
use super::{Status, mlflow};
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::metrics::{Outcome, RunOutcome};
use crate::plan::compare::{compare as compare_scenarios, trees};
use crate::report;
use crate::scenario::{Failure, Job, Scenario, execute, export, load, load_text};
use crate::workload::trace::Trace;
use crate::workload::trace::chakra::{write_groups, write_rank};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The quick start.
const QUICK_START: (&str, &str) =
    ("(embedded) gpt3-175b-a100-1024.toml", include_str!("../../scenarios/training/gpt3-175b-a100-1024.toml"));

struct Loaded {
    scenario: Scenario,
    diags: Diagnostics,
}

pub(super) fn run(args: &RunArgs, out: &mut Stream) -> Status {
    run_all(&with_flags(args), out).unwrap_or_else(|status| status)
}

/// The arguments with flags that stand for keys of the files.
fn with_flags(args: &RunArgs) -> RunArgs {
    let mut args = args.clone();
    let flags = [(args.skip_bad_rows, "serving.traffic.skip_bad_rows=true"), (args.allow_synthetic, "allow_synthetic=true")];
    args.set.extend(flags.into_iter().filter(|f| f.0).map(|f| f.1.to_owned()));
    args
}

/// Reads, runs, writes, shows; an error is the status of what went wrong, which was said.
fn run_all(args: &RunArgs, out: &mut Stream) -> Result<Status, Status> {
    if args.max_work.is_nan() || args.max_work <= 0.0 {
        out.note("error: --max-work needs a number of seconds above 0");
        return Err(Status::BadInput);
    }
    let (loaded, format) = (load_all(args, out)?, args.message_format);
    if args.chakra.is_some() {
        have_workloads(&loaded, format, out)?;
    }
    if args.metrics.is_some() {
        have_series(&loaded, format, out)?;
    }
    if args.manifests.is_some() {
        have_manifests(&loaded, format, out)?;
    }
    let ran = execute_all(loaded, args.max_work, args.chakra.is_some(), format, out)?;
    let mut written = args.manifests.as_ref().map_or(Ok(()), |folder| write_manifests(folder, &ran));
    let (outcomes, traces): (Vec<Outcome>, Vec<Option<Trace>>) = ran.into_iter().map(|(_, outcome, trace)| (outcome, trace)).unzip();
    if written.is_ok() {
        written = args.chakra.as_ref().map_or(Ok(()), |folder| write_traces(folder, &traces));
    }
    if let Err(error) = written.and_then(|()| write_files(args, &outcomes)) {
        return Err(out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to"));
    }
    let shown = show(args, &outcomes, out);
    if shown != Status::Done {
        return Err(shown);
    }
    match args.mlflow.as_deref().map_or(Status::Done, |url| log_all(url, &outcomes, out)) {
        Status::Done => Ok(verdict(&outcomes)),
        status => Err(status),
    }
}

/// Prints the outcomes as JSON or as text.
fn show(args: &RunArgs, outcomes: &[Outcome], out: &mut Stream) -> Status {
    if args.json {
        return match report::json(outcomes) {
            Ok(text) => out.result(&text),
            Err(error) => {
                out.note(&format!("internal error: {error}"));
                Status::Internal
            }
        };
    }
    let mut text = String::new();
    for outcome in outcomes {
        text.push_str(&report::text(outcome));
        if args.explain {
            text.push('\n');
            text.push_str(&report::explain(outcome));
        }
        text.push('\n');
    }
    out.result(&text)
}

/// Logs outcomes to MLflow, each as a run.
fn log_all(url: &str, outcomes: &[Outcome], out: &mut Stream) -> Status {
    let run = |o: &Outcome| {
        let json = serde_json::to_value(o).ok()?;
        Some(mlflow::Run { name: o.title.clone(), json, series: Vec::new(), files: vec![("report.html", report::html(o))] })
    };
    let runs: Vec<mlflow::Run> = outcomes.iter().filter_map(run).collect();
    mlflow::log(url, "orrery", &runs, out)
}

pub(super) fn compare(args: &CompareArgs, out: &mut Stream) -> Status {
    let run = RunArgs {
        files: args.files.clone(),
        json: args.json,
        out: args.out.clone(),
        set: Vec::new(),
        skip_bad_rows: false,
        allow_synthetic: false,
        seed: None,
        timeline: None,
        chakra: None,
        metrics: None,
        manifests: None,
        mlflow: None,
        explain: false,
        max_work: 600.0,
        message_format: MessageFormat::Human,
    };
    let ran = match load_all(&run, out).and_then(|loaded| execute_all(loaded, run.max_work, false, MessageFormat::Human, out)) {
        Ok(ran) => ran,
        Err(status) => return status,
    };
    let (scenarios, outcomes): (Vec<Scenario>, Vec<Outcome>) = ran.into_iter().map(|(scenario, outcome, _)| (scenario, outcome)).unzip();
    let files: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
    let comparison = compare_scenarios(&scenarios, &outcomes, &trees(&files));
    let written = write_files(&run, &outcomes).and_then(|()| match &args.out {
        Some(folder) => report::write_folder(folder, &report::compare_files(&comparison)),
        None => Ok(()),
    });
    if let Err(error) = written {
        return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
    }
    let text = if args.json {
        report::json(&outcomes).unwrap_or_default()
    } else {
        report::compare(&outcomes) + &report::compare_text(&comparison)
    };
    let shown = out.result(&text);
    if shown != Status::Done { shown } else { verdict(&outcomes) }
}

/// 1 where something does not fit, a run never ends, checkpoints need more room than their place has, or a target is missed.
fn verdict(outcomes: &[Outcome]) -> Status {
    let holds = |r: &RunOutcome| r.checkpoint.iter().flat_map(|c| &c.levels).all(|l| l.fits);
    let ends = |o: &Outcome| o.run.as_ref().is_none_or(|r| r.unfinished.is_none() && holds(r));
    let served = |o: &Outcome| o.serving.as_ref().is_none_or(|s| s.slo_met);
    let fits = outcomes.iter().all(|o| o.training.as_ref().is_none_or(|t| t.fits) && ends(o) && served(o));
    if fits { Status::Done } else { Status::FallsShort }
}

fn load_all(args: &RunArgs, out: &mut Stream) -> Result<Vec<Loaded>, Status> {
    let mut loaded = Vec::new();
    let mut refused = false;
    let mut read = |load: &dyn Fn(&mut Diagnostics) -> Option<Scenario>, out: &mut Stream| {
        let mut diags = Diagnostics::new();
        match load(&mut diags) {
            Some(scenario) if !diags.has_errors() => loaded.push(Loaded { scenario, diags }),
            _ => {
                out.faults(&diags, args.message_format);
                refused = true;
            }
        }
    };
    if args.files.is_empty() {
        read(&|diags| load_text(QUICK_START.0, QUICK_START.1, &args.set, args.seed, diags), out);
    }
    for file in &args.files {
        read(&|diags| load(file, &args.set, args.seed, diags), out);
    }
    if refused { Err(Status::BadInput) } else { Ok(loaded) }
}

/// What runs can be written as traces of: steps and traces, not collectives by themselves, nor serving.
fn have_workloads(loaded: &[Loaded], format: MessageFormat, out: &mut Stream) -> Result<(), Status> {
    let without = loaded.iter().find(|l| matches!(l.scenario.job, Job::Collective(_) | Job::Serving(_) | Job::Fleet(_)));
    let Some(Loaded { diags, .. }) = without else { return Ok(()) };
    let mut diags = diags.clone();
    let place = Span { source: crate::diag::SourceId(0), start: 0, end: 0 };
    let said = Diagnostic::error(codes::CONFLICT, "`--chakra` does nothing for a collective by itself, for serving or for a fleet")
        .at(place, "this scenario");
    diags.push(said.hint("leave it out, or run a training step or a trace"));
    Err(out.refuse(&diags, format))
}

/// What runs have a course of time that can be written: fleets, training, serving.
fn have_series(loaded: &[Loaded], format: MessageFormat, out: &mut Stream) -> Result<(), Status> {
    let Some(Loaded { diags, .. }) =
        loaded.iter().find(|l| !matches!(l.scenario.job, Job::Fleet(_) | Job::Training { .. } | Job::Serving(_)))
    else {
        return Ok(());
    };
    let mut diags = diags.clone();
    let place = Span { source: crate::diag::SourceId(0), start: 0, end: 0 };
    let said = Diagnostic::error(codes::CONFLICT, "`--metrics` writes the time series of training, serving and fleets only")
        .at(place, "this scenario");
    diags.push(said.hint("leave it out"));
    Err(out.refuse(&diags, format))
}

/// What has no form in Kubernetes is told before it runs.
fn have_manifests(loaded: &[Loaded], format: MessageFormat, out: &mut Stream) -> Result<(), Status> {
    let told = loaded.iter().find_map(|l| Some((l, report::manifests(&l.scenario, None).err()?)));
    let Some((Loaded { diags, .. }, why)) = told else { return Ok(()) };
    let mut diags = diags.clone();
    let place = Span { source: crate::diag::SourceId(0), start: 0, end: 0 };
    diags.push(Diagnostic::error(codes::UNSUPPORTED, why.to_string()).at(place, "this scenario").hint("leave --manifests out"));
    Err(out.refuse(&diags, format))
}

/// Manifests of every scenario, with the step times that came out.
fn write_manifests(folder: &Path, ran: &[Ran]) -> Result<(), report::WriteError> {
    for (i, (scenario, outcome, _)) in ran.iter().enumerate() {
        if let Ok(files) = report::manifests(scenario, outcome.training.as_ref().map(|t| t.step_time_s)) {
            report::write_folder(&folder_of(folder, i, ran.len() > 1), &files)?;
        }
    }
    Ok(())
}

/// A scenario, what it came to, and its trace where one is wanted.
type Ran = (Scenario, Outcome, Option<Trace>);

/// Runs scenarios side by side; results come in the order of the files.
fn execute_all(loaded: Vec<Loaded>, max_work: f64, traced: bool, format: MessageFormat, out: &mut Stream) -> Result<Vec<Ran>, Status> {
    let bar = if loaded.len() > 1 { ProgressBar::new(loaded.len() as u64) } else { ProgressBar::hidden() };
    let start = Instant::now();
    let wall = || start.elapsed().as_secs_f64();
    let run = |scenario: &Scenario| -> Result<(Outcome, Option<Trace>), Failure> {
        let outcome = execute(scenario, max_work, &wall)?;
        let trace = if traced { export(scenario, max_work)? } else { None };
        Ok((outcome, trace))
    };
    let results: Vec<Result<Ran, Box<(Failure, Diagnostics)>>> = loaded
        .into_par_iter()
        .map(|l| {
            let result = run(&l.scenario);
            bar.inc(1);
            match result {
                Ok((outcome, trace)) => Ok((l.scenario, outcome, trace)),
                Err(error) => Err(Box::new((error, l.diags))),
            }
        })
        .collect();
    bar.finish_and_clear();
    let mut outcomes = Vec::new();
    let mut refused = None;
    for result in results {
        match result {
            Ok(outcome) => outcomes.push(outcome),
            Err(why) => {
                let (failure, mut diags) = *why;
                refused = Some(fail(failure, &mut diags, format, out));
            }
        }
    }
    refused.map_or(Ok(outcomes), Err)
}

fn fail(failure: Failure, diags: &mut Diagnostics, format: MessageFormat, out: &mut Stream) -> Status {
    let source = crate::diag::SourceId(0);
    let place = Span { source, start: 0, end: 0 };
    let diagnostic = match &failure {
        Failure::TooMuchWork { .. } => Diagnostic::error(codes::TOO_MUCH_WORK, failure.to_string())
            .at(place, "this scenario")
            .hint("use fewer microbatches or ranks, or raise --max-work"),
        Failure::TooManyRuns { .. } => Diagnostic::error(codes::TOO_MUCH_WORK, failure.to_string())
            .at(place, "this scenario")
            .hint("use fewer steps or seeds, or raise --max-work"),
        Failure::NoWay => Diagnostic::error(codes::DISCONNECTED, failure.to_string()).at(place, "this scenario"),
        Failure::Serving(_) | Failure::Late => Diagnostic::error(codes::CONFLICT, failure.to_string()).at(place, "this scenario"),
        Failure::Step(_) => Diagnostic::error(codes::DEADLOCK, failure.to_string()).at(place, "this scenario"),
        Failure::Replay(_) => Diagnostic::error(codes::DEADLOCK, failure.to_string())
            .at(place, "this scenario")
            .hint("if only rendezvous locks up, sends = \"eager\" lets messages wait for their sender only"),
    };
    diags.push(diagnostic);
    out.refuse(diags, format)
}

/// A folder for one outcome; for several one each, by number.
fn folder_of(out: &Path, i: usize, many: bool) -> PathBuf {
    if many { out.join(format!("{:03}", i + 1)) } else { out.to_owned() }
}

/// Writes the report, the JSON, the tables and the timeline of an outcome into a folder.
pub(super) fn write_folder_of(folder: &Path, outcome: &Outcome) -> Result<(), report::WriteError> {
    let mut files = vec![("report.html".to_owned(), report::html(outcome))];
    files.push(("outcome.json".into(), report::json(std::slice::from_ref(outcome)).unwrap_or_default()));
    let tables = [
        ("breakdown.csv", report::breakdown_csv(outcome)),
        ("memory.csv", report::memory_csv(outcome)),
        ("collective.csv", report::collective_csv(outcome)),
        ("ranks.csv", report::ranks_csv(outcome)),
        ("communication.csv", report::communication_csv(outcome)),
        ("run.csv", report::run_csv(outcome)),
        ("intervals.csv", report::intervals_csv(outcome)),
        ("requests.csv", report::requests_csv(outcome)),
        ("load.csv", report::load_csv(outcome)),
        ("load.svg", report::load_svg(outcome)),
        ("policies.csv", report::policies_csv(outcome)),
        ("jobs.csv", report::jobs_csv(outcome)),
        ("use.csv", report::use_csv(outcome)),
        ("load.om.txt", report::load_metrics(outcome)),
    ];
    files.extend(tables.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))));
    if !outcome.detail.timeline.is_empty() {
        files.push(("timeline.json".into(), report::timeline(outcome)));
    }
    report::write_folder(folder, &files)
}

/// Writes a file for every rank and one of groups, whole or not at all.
fn write_traces(folder: &Path, traces: &[Option<Trace>]) -> Result<(), report::WriteError> {
    for (i, trace) in traces.iter().enumerate() {
        let Some(trace) = trace else { continue };
        let groups = ("trace.groups.json".to_owned(), write_groups(trace).into_bytes());
        let ranks = trace.ranks.iter().flat_map(|r| r.rank..r.rank + r.count);
        let files = ranks.filter_map(|rank| Some((format!("trace.{rank}.et"), write_rank(trace, rank)?)));
        report::write_each(&folder_of(folder, i, traces.len() > 1), std::iter::once(groups).chain(files))?;
    }
    Ok(())
}

fn write_files(args: &RunArgs, outcomes: &[Outcome]) -> Result<(), report::WriteError> {
    for (i, outcome) in outcomes.iter().enumerate() {
        let many = outcomes.len() > 1;
        if let Some(out) = &args.out {
            write_folder_of(&folder_of(out, i, many), outcome)?;
        }
        if let (Some(file), Some(text)) = (&args.metrics, report::openmetrics(outcome)) {
            let file = if many { file.with_extension(format!("{:03}.om", i + 1)) } else { file.clone() };
            report::write_atomically(&file, text.as_bytes())?;
        }
        if let Some(file) = &args.timeline {
            let file = if many { file.with_extension(format!("{:03}.json", i + 1)) } else { file.clone() };
            report::write_atomically(&file, report::timeline(outcome).as_bytes())?;
        }
    }
    Ok(())
}
