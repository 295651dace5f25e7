//! `orrery calibrate probe`: measures this host, keeps what is done whatever happens, and goes on where it stopped.

use super::Status;
use super::args::MessageFormat;
use super::calibrate_args::ProbeArgs;
use super::stream::Stream;
use crate::calibrate::{HEADER, Measurement, compare_nodes, import};
use crate::diag::{Diagnostics, codes, reason};
use crate::probe::{Cuda, ProbeOptions, Stop, Task, now, serve, tasks};
use crate::units::Seconds;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub(super) fn run(args: &ProbeArgs, out: &mut Stream) -> Status {
    if let Some(port) = args.serve {
        out.note(&format!("answering probes on port {port}; end it with Ctrl-C"));
        return match serve(port) {
            Ok(()) => Status::Done,
            Err(error) => refuse(out, &format!("port {port}: {}", reason(&error)), "choose another port"),
        };
    }
    let budget = match seconds(&args.budget) {
        Some(budget) if (1.0..=86_400.0).contains(&budget) => budget,
        _ => return refuse(out, &format!("--budget `{}` is no time from 1 s to a day", args.budget), "write 5m or 90 s"),
    };
    let Some(file) = &args.out else { return Status::BadInput };
    let cuda = Cuda::open();
    if let (true, Err(why)) = (args.cuda, &cuda) {
        let hint = "leave out --cuda to measure the host, or import nccl-tests and nvbandwidth logs of a machine with GPUs";
        return refuse(out, &format!("CUDA devices cannot be measured: {why}"), hint);
    }
    measure(args, file, budget, cuda, out)
}

/// A time of the command line; `5m` is five minutes here, as people write it.
fn seconds(text: &str) -> Option<f64> {
    let minutes = text.strip_suffix('m').and_then(|n| n.trim().parse::<f64>().ok()).map(|n| 60.0 * n);
    minutes.or_else(|| text.parse::<Seconds>().ok().map(|s| s.get()))
}

fn refuse(out: &mut Stream, why: &str, hint: &str) -> Status {
    out.note(&format!("error[{}]: {why}\nhint: {hint}", codes::CANNOT_MEASURE.0));
    Status::BadInput
}

/// Tasks of the host and of CUDA devices by turns, each for its share of the budget; with `--cuda` only those of the devices.
fn all_tasks(args: &ProbeArgs, path: &Path, budget: f64, cuda: Option<&Cuda>, out: &mut Stream) -> Result<Vec<Task>, Status> {
    let share = if cuda.is_some() && !args.cuda { 0.5 * budget } else { budget };
    let host = if args.cuda { Vec::new() } else { host_tasks(args, path, share, out)? };
    let devices = cuda.map_or_else(Vec::new, |c| c.tasks(share));
    let mut queues: [std::collections::VecDeque<Task>; 2] = [devices.into(), host.into()];
    let mut list = Vec::new();
    while queues.iter().any(|q| !q.is_empty()) {
        list.extend(queues.iter_mut().filter_map(std::collections::VecDeque::pop_front));
    }
    Ok(list)
}

fn host_tasks(args: &ProbeArgs, path: &Path, budget: f64, out: &mut Stream) -> Result<Vec<Task>, Status> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    let options = ProbeOptions {
        scratch: Some(args.scratch.clone().unwrap_or(folder)),
        peer: args.peer.clone(),
        // About a hundred tasks share the budget.
        seconds_each: (budget / 150.0).clamp(0.02, 3.0),
        // Short probes write and touch less: filling a file or a gigabyte of memory takes its time too.
        file_bytes: ((budget * 16.0) as u64).clamp(64, 1024) << 20,
        memory_bytes: ((budget * 16.0) as u64).clamp(256, 1024) << 20,
    };
    match tasks(&options) {
        Ok(list) => Ok(list),
        // Without room for a file the rest is measured, unless somebody asked for that folder.
        Err(why) if args.scratch.is_some() => Err(refuse(out, &why, "name a folder with room, --scratch DIR")),
        Err(why) => {
            out.note(&format!("storage is not measured: {why}"));
            tasks(&ProbeOptions { scratch: None, ..options }).map_err(|why| refuse(out, &why, "name a folder with room, --scratch DIR"))
        }
    }
}

/// What a run came to.
#[derive(Default)]
struct Tally {
    records: Vec<Measurement>,
    done: usize,
    kept: usize,
    refused: Vec<String>,
}

fn measure(args: &ProbeArgs, path: &Path, budget: f64, cuda: Result<Cuda, String>, out: &mut Stream) -> Status {
    let list = match all_tasks(args, path, budget, cuda.as_ref().ok(), out) {
        Ok(list) => list,
        Err(status) => return status,
    };
    let (mut file, done) = match open(path, args.resume, out) {
        Ok(opened) => opened,
        Err(status) => return status,
    };
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without the handler an interrupt only loses the task that runs.
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&asked));
        let _ = signal_hook::flag::register(signal, Arc::clone(&asked));
    }
    let stop = Stop::new(asked, Duration::from_secs_f64(budget));
    let session = format!("{}-{}", now(), std::process::id());
    let bar = ProgressBar::new(list.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    let mut tally = Tally::default();
    for task in &list {
        bar.inc(1);
        if done.contains(&format!("probe: {}", task.id)) {
            tally.kept += 1;
            continue;
        }
        if stop.asked() || stop.spent() {
            break;
        }
        bar.set_message(task.id.clone());
        match task.measure(&session, &stop) {
            // What was cut short is measured again by --resume.
            Ok(_) if stop.asked() => break,
            Ok(records) => {
                let lines =
                    records.iter().filter_map(|r| serde_json::to_string(r).ok()).fold(String::new(), |all, line| all + &line + "\n");
                if let Err(error) = file.write_all(lines.as_bytes()).and_then(|()| file.flush()) {
                    bar.finish_and_clear();
                    return out.refuse_file(path, codes::CANNOT_WRITE, reason(&error), "make room; --resume goes on with what is there");
                }
                tally.done += 1;
                tally.records.extend(records);
            }
            Err(why) => tally.refused.push(format!("{}: {why}", task.id)),
        }
    }
    bar.finish_and_clear();
    let left = list.len() - tally.done - tally.kept - tally.refused.len();
    let why = if stop.asked() { "interrupted" } else { "the budget is spent" };
    out.result(&summary(path, &tally, (left > 0).then_some((left, why)), &cuda))
}

fn summary(path: &Path, tally: &Tally, left: Option<(usize, &str)>, cuda: &Result<Cuda, String>) -> String {
    let mut text = format!("{}: {} measured", path.display(), tally.records.len());
    if tally.kept > 0 {
        let _ = write!(text, ", {} kept", tally.kept);
    }
    text.push('\n');
    for why in &tally.refused {
        let _ = writeln!(text, "not measured: {why}");
    }
    if let Some((left, why)) = left {
        let _ = writeln!(text, "{left} left, {why}: go on with --resume, or fit what is there");
    }
    for (key, note) in [("slowed", "the device held itself back"), ("modes", "repetitions fall into two groups")] {
        let n = tally.records.iter().filter(|r| r.conditions.contains_key(key)).count();
        if n > 0 {
            let _ = writeln!(text, "{n} kept and not fitted: {note}");
        }
    }
    for odd in compare_nodes(&tally.records) {
        let _ = writeln!(text, "slow {}: {} at {:.0} % of the median of {} ({})", odd.kind, odd.name, 100.0 * odd.share, odd.of, odd.what);
    }
    match cuda {
        Ok(cuda) => {
            let _ = writeln!(text, "CUDA devices: {}", cuda.devices().join(", "));
            if tally.records.iter().any(|r| r.origin == "synthetic") {
                text.push_str("*** SYNTHETIC: no device was measured; the driver is a stand-in ***\n");
            }
            for note in &cuda.notes {
                let _ = writeln!(text, "{note}");
            }
        }
        Err(why) => {
            let _ = writeln!(text, "no CUDA part: {why} on this machine");
        }
    }
    text
}

/// Opens the file before anything is measured; what an earlier run left is gone on with on request, and never overwritten.
fn open(path: &Path, resume: bool, out: &mut Stream) -> Result<(File, BTreeSet<String>), Status> {
    let mut done = BTreeSet::new();
    if path.exists() {
        if !resume {
            return Err(out.refuse_file(
                path,
                codes::FOREIGN_RESULTS,
                "there are measurements already".into(),
                "go on with --resume, or name another file",
            ));
        }
        let mut diags = Diagnostics::new();
        let Some(source) = diags.read_file(path, None) else { return Err(out.refuse(&diags, MessageFormat::Human)) };
        let Some(read) = import(source, None, &mut diags) else { return Err(out.refuse(&diags, MessageFormat::Human)) };
        done.extend(read.list.into_iter().map(|m| m.source));
    }
    let failed = |e: std::io::Error, out: &mut Stream| {
        out.refuse_file(path, codes::CANNOT_WRITE, reason(&e), "choose a folder that you may write to")
    };
    let mut file = File::options().create(true).append(true).open(path).map_err(|e| failed(e, out))?;
    if done.is_empty() && !resume {
        writeln!(file, "{HEADER}").map_err(|e| failed(e, out))?;
    }
    Ok((file, done))
}
