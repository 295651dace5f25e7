//! `orrery calibrate`: measurements to a profile, and what a profile is worth.

use super::Status;
use super::args::{HalfKind, MessageFormat};
use super::calibrate_args::{CalibrateCommand, FitArgs, ImportArgs, SchedulerKind, ScriptArgs, ShowArgs, StepsArgs};
use super::stream::Stream;
use crate::calibrate::{
    Component, FitOptions, Imported, List, Measurement, Scheduler, StepCheck, Unit, What, check_steps, compare_nodes, fit, import,
    is_known, points_csv, script, summary, to_lines, write,
};
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::hardware::Catalogue;
use crate::kernels::{Profiles, read_profile};
use crate::report::{calibration_html, calibration_text, points_of, write_atomically, write_folder};
use crate::validate::{implied_all_reduce, is_serving_log};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const FOLDER_HINT: &str = "choose a folder that you may write to";

pub(super) fn run(command: &CalibrateCommand, out: &mut Stream) -> Status {
    match command {
        CalibrateCommand::Probe(args) => super::probe::run(args, out),
        CalibrateCommand::Import(args) => import_logs(args, out),
        CalibrateCommand::Fit(args) => fit_files(args, out),
        CalibrateCommand::Show(args) => show(args, out),
        CalibrateCommand::Check(args) => check(args, out),
        CalibrateCommand::Script(args) => write_scripts(args, out),
    }
}

/// Files, and all files below folders, in order of their names; hidden ones are left out.
fn expand(files: &[PathBuf]) -> std::io::Result<Vec<(PathBuf, bool)>> {
    let mut out = Vec::new();
    let mut open: Vec<(PathBuf, bool)> = files.iter().rev().map(|f| (f.clone(), false)).collect();
    while let Some((path, found)) = open.pop() {
        if !path.is_dir() {
            out.push((path, found));
            continue;
        }
        let mut inside: Vec<PathBuf> = std::fs::read_dir(&path)?.filter_map(|e| e.ok().map(|e| e.path())).collect();
        inside.retain(|p| p.file_name().is_some_and(|n| !n.to_string_lossy().starts_with('.')));
        inside.sort_unstable();
        open.extend(inside.into_iter().rev().map(|p| (p, true)));
    }
    Ok(out)
}

/// Whether an accelerator of the command line is one; says so where it is not.
fn known(accelerator: Option<&str>, out: &mut Stream) -> bool {
    let Some(id) = accelerator.filter(|id| !Catalogue::embedded().accelerators.contains_key(*id)) else { return true };
    let names = Catalogue::embedded().accelerators.keys().map(String::as_str);
    let near = crate::diag::nearest(id, names).map_or_else(String::new, |n| format!(", did you mean {n}?"));
    out.note(&format!("error[{}]: --accelerator: `{id}` is in no catalogue{near}", codes::UNKNOWN_PART.0));
    false
}

fn import_logs(args: &ImportArgs, out: &mut Stream) -> Status {
    if !known(args.accelerator.as_deref(), out) {
        return Status::BadInput;
    }
    let (logs, rest): (Vec<_>, Vec<_>) = args.files.iter().cloned().partition(|f| is_serving_log(f));
    if args.half.is_some() && logs.is_empty() {
        out.note("error: --half: only folders with serving logs have halves\nhint: leave it out");
        return Status::BadInput;
    }
    let files = match expand(&rest) {
        Ok(files) => files,
        Err(error) => {
            return out.refuse_file(&args.files[0], codes::CANNOT_READ, crate::diag::reason(&error), "name a folder that you may read");
        }
    };
    let mut diags = Diagnostics::new();
    let mut list = Vec::new();
    let mut text = format!("{:<44}{:<34}{:>8}\n", "file", "format", "values");
    for folder in &logs {
        list.extend(all_reduces(folder, args, &mut text, &mut diags));
    }
    for (path, found) in &files {
        let Some(source) = diags.read_file(path, None) else { continue };
        let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        // What merely lies in a folder may be anything; what was named has to be a log.
        if *found && !is_known(&name, &diags.source(source).text) {
            let _ = writeln!(text, "{name:<44}left out: no known tool wrote it");
            continue;
        }
        if let Some(Imported { format, list: some }) = import(source, args.accelerator.as_deref(), &mut diags) {
            let _ = writeln!(text, "{name:<44}{format:<34}{:>8}", some.len());
            // A folder of a node names the node where the log does not.
            let node = path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            list.extend(some.into_iter().map(|mut m| {
                if files.len() > 1 {
                    of_node(&mut m, &node);
                }
                m
            }));
        }
    }
    if diags.has_errors() {
        return out.refuse(&diags, MessageFormat::Human);
    }
    if let Err(error) = write_atomically(&args.out, to_lines(&list).as_bytes()) {
        return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), FOLDER_HINT);
    }
    let _ = writeln!(text, "{} measurements in {}", list.len(), args.out.display());
    for odd in compare_nodes(&list) {
        let _ = writeln!(text, "slow {}: {} at {:.0} % of the median of {} ({})", odd.kind, odd.name, 100.0 * odd.share, odd.of, odd.what);
    }
    out.result(&text)
}

/// What the all-reduces of a serving log take.
fn all_reduces(folder: &Path, args: &ImportArgs, text: &mut String, diags: &mut Diagnostics) -> Vec<Measurement> {
    let name = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let Some(found) = implied_all_reduce(folder, Profiles::embedded(), HalfKind::of(args.half), diags) else { return Vec::new() };
    let ranks = found.ranks;
    let _ = writeln!(text, "{name:<44}{:<34}{:>8}   all-reduces {:.2} times the model's", "serving log", found.points.len(), found.factor);
    let one = |&(bytes, seconds): &(f64, f64)| {
        let (op, library, launch) = ("all_reduce".into(), "nccl".into(), "graph".into());
        let what = What::Collective { op, bytes, ranks, nodes: 1, library, launch, variant: String::new() };
        let mut m = Measurement::new(what, seconds, Unit::Seconds, "serving log");
        (m.part, m.source, m.session) = (found.part.clone(), name.clone(), name.clone());
        m
    };
    found.points.iter().map(one).collect()
}

/// Places that a log names by number alone are those of the node whose folder it lies in.
fn of_node(one: &mut Measurement, node: &str) {
    let numbered = |place: &str| {
        let number = ["gpu", "cpu"].iter().find_map(|kind| place.strip_prefix(kind));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    if one.host.is_empty() {
        node.clone_into(&mut one.host);
    }
    for place in [&mut one.host, &mut one.peer] {
        if numbered(place) {
            *place = format!("{node} {place}");
        }
    }
}

fn fit_files(args: &FitArgs, out: &mut Stream) -> Status {
    if !known(args.accelerator.as_deref(), out) {
        return Status::BadInput;
    }
    let mut diags = Diagnostics::new();
    let sources: Vec<_> = args.files.iter().filter_map(|f| diags.read_file(f, None)).collect();
    if diags.has_errors() {
        return out.refuse(&diags, MessageFormat::Human);
    }
    let options = FitOptions { accelerator: args.accelerator.as_deref(), tier: &args.tier, products: !args.law_only };
    let Some(calibration) = fit(&sources, options, &mut diags) else { return out.refuse(&diags, MessageFormat::Human) };
    if calibration.is_empty() {
        out.note(&summary(&calibration));
        diags.push(
            Diagnostic::error(codes::BAD_TABLE, "nothing has enough points for a fit")
                .at(Span { source: sources[0], start: 0, end: 0 }, "in these files")
                .hint("an operator needs 20 measurements of one part, format and library, a curve five sizes; the lines above say what was left out"),
        );
        return out.refuse(&diags, MessageFormat::Human);
    }
    if args.law_only && !calibration.entries.iter().any(|e| e.list == List::Gemm && e.fit.is_ok()) {
        diags.push(
            Diagnostic::error(codes::BAD_TABLE, "`--law-only` does nothing here: no matrix products are fitted")
                .at(Span { source: sources[0], start: 0, end: 0 }, "in these files")
                .hint("leave it out"),
        );
        return out.refuse(&diags, MessageFormat::Human);
    }
    let head = "Written by `orrery calibrate fit`. Values are [value, low, high] with the 90 % interval of the fit, times in microseconds\n\
                (rq in nanoseconds); quality is cross-validated by shape. Models: docs/models/kernels.md.";
    let points = args.out.with_extension("points.csv");
    let files = [(&args.out, write(&calibration, head)), (&points, points_csv(&calibration))];
    for (path, text) in files {
        if let Err(error) = write_atomically(path, text.as_bytes()) {
            return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), FOLDER_HINT);
        }
    }
    let shown = out.result(&summary(&calibration));
    match args.mlflow.as_deref().filter(|_| shown == Status::Done) {
        Some(url) => log(url, args, out),
        None => shown,
    }
}

/// Logs a profile that was written, with its page and its points.
fn log(url: &str, args: &FitArgs, out: &mut Stream) -> Status {
    let mut diags = Diagnostics::new();
    let text = diags.read_file(&args.out, None).map(|source| (source, diags.source(source).text.to_string()));
    let Some((source, text)) = text else { return out.refuse(&diags, MessageFormat::Human) };
    let Some(file) = read_profile(source, &mut diags) else { return out.refuse(&diags, MessageFormat::Human) };
    let points = std::fs::read_to_string(args.out.with_extension("points.csv")).unwrap_or_default();
    let name = args.out.file_stem().map_or_else(|| "profile".to_owned(), |n| n.to_string_lossy().into_owned());
    let page = calibration_html(&name, &file, &points_of(&points));
    let entries = toml::from_str::<serde_json::Value>(&text).unwrap_or_default();
    let json = serde_json::json!({"kind": "calibration", "files": args.files.len(), "profile": entries});
    let run = super::mlflow::Run {
        name,
        json,
        series: Vec::new(),
        files: vec![("report.html", page), ("profile.toml", text), ("points.csv", points)],
    };
    super::mlflow::log(url, "orrery", &[run], out)
}

fn show(args: &ShowArgs, out: &mut Stream) -> Status {
    let mut diags = Diagnostics::new();
    let file = diags.read_file(&args.profile, None).and_then(|source| read_profile(source, &mut diags));
    let Some(file) = file else { return out.refuse(&diags, MessageFormat::Human) };
    if let Some(folder) = &args.out {
        let points = std::fs::read_to_string(args.profile.with_extension("points.csv")).map(|t| points_of(&t)).unwrap_or_default();
        let title = args.profile.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        if let Err(error) = write_folder(folder, &[("calibration.html".to_owned(), calibration_html(&title, &file, &points))]) {
            return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), FOLDER_HINT);
        }
    }
    out.result(&calibration_text(&file))
}

fn check(args: &StepsArgs, out: &mut Stream) -> Status {
    let mut diags = Diagnostics::new();
    let Some(source) = diags.read_file(&args.steps, None) else { return out.refuse(&diags, MessageFormat::Human) };
    let profile = std::path::absolute(&args.profile).unwrap_or_else(|_| args.profile.clone());
    let Some(steps) = check_steps(&profile.display().to_string(), source, args.allow_synthetic, &mut diags) else {
        return out.refuse(&diags, MessageFormat::Human);
    };
    let judged = Component::judge(&steps);
    if args.json {
        let rows: Vec<_> = steps
            .iter()
            .map(|s| serde_json::json!({"id": s.id, "measured_s": s.measured, "predicted_s": s.predicted, "error": s.predicted / s.measured - 1.0}))
            .collect();
        let components: Vec<_> = judged
            .iter()
            .map(|j| serde_json::json!({"component": j.name, "factor": j.factor, "error_left": j.left, "measured_directly": j.direct}))
            .collect();
        return out.result(&format!("{:#}\n", serde_json::json!({"steps": rows, "components": components})));
    }
    out.result(&judgement(&steps, &judged))
}

fn judgement(steps: &[StepCheck], judged: &[crate::calibrate::Judged]) -> String {
    let mut text = format!("{:<32}{:>12}{:>12}{:>9}\n", "step", "measured", "predicted", "error");
    let seconds = |s: f64| crate::units::Seconds::new(s).to_string();
    for s in steps {
        let _ = writeln!(
            text,
            "{:<32}{:>12}{:>12}{:>+8.1}%",
            s.id,
            seconds(s.measured),
            seconds(s.predicted),
            100.0 * (s.predicted / s.measured - 1.0)
        );
    }
    let mut errors: Vec<f64> = steps.iter().map(|s| (s.predicted / s.measured - 1.0).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let now = errors.get(errors.len() / 2).copied().unwrap_or(0.0);
    let _ = writeln!(text, "\nmedian error {:.1} %; what would be left if one component alone changed:", 100.0 * now);
    for j in judged {
        let how = if j.direct { "measured" } else { "fitted" };
        let _ = writeln!(text, "  {:<20} times {:<6.2} leaves {:.1} % ({how})", j.name, j.factor, 100.0 * j.left);
    }
    let verdict = match judged {
        [first, ..] if now < 0.03 => format!("The steps agree within 3 %: nothing is off ({} would explain most of the rest).", first.name),
        [first, second, ..] if first.left < 0.7 * second.left => format!("Most likely off: {} (times {:.2}).", first.name, first.factor),
        [first, second, ..] => {
            format!(
                "Most likely off: {} (times {:.2}), but {} explains nearly as much: measure steps with other layouts, or components.",
                first.name, first.factor, second.name
            )
        }
        [only] => format!("Most likely off: {} (times {:.2}).", only.name, only.factor),
        [] => "There is no step.".into(),
    };
    let _ = writeln!(text, "{verdict}");
    text
}

fn write_scripts(args: &ScriptArgs, out: &mut Stream) -> Status {
    let range = 1..=100_000;
    if !range.contains(&args.nodes) || !(1..=1024).contains(&args.gpus) || !range.contains(&args.leaf) {
        out.note("error: --nodes and --leaf are 1 to 100000, --gpus 1 to 1024");
        return Status::BadInput;
    }
    let scheduler = match args.scheduler {
        SchedulerKind::Slurm => Scheduler::Slurm,
        SchedulerKind::Kubernetes => Scheduler::Kubernetes,
    };
    let files = script(scheduler, args.nodes, args.gpus, args.leaf);
    if let Err(error) = write_folder(&args.out, &files) {
        return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), FOLDER_HINT);
    }
    let names: Vec<&str> = files.iter().map(|f| f.0.as_str()).collect();
    out.result(&format!("{}: {}\n", args.out.display(), names.join(", ")))
}
