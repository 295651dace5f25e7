//! `orrery calibrate probe`: measures this host, keeps what is done whatever happens, and goes on where it stopped.

use super::Status;
use super::args::{MessageFormat, ProbeArgs};
use super::stream::Stream;
use crate::calibrate::{HEADER, import};
use crate::diag::{Diagnostics, codes, reason};
use crate::probe::{ProbeOptions, Stop, cuda_missing, now, serve, tasks};
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
    let without = cuda_missing();
    if args.cuda {
        let why = without.map_or_else(
            || "this build has no CUDA part yet, although the driver is here".to_owned(),
            |library| format!("there is no CUDA here: the library `{library}` is missing"),
        );
        return refuse(out, &why, "leave out --cuda to measure the host, or import nccl-tests and nvbandwidth logs of a machine with GPUs");
    }
    let budget = match args.budget.parse::<Seconds>() {
        Ok(budget) if (1.0..=86_400.0).contains(&budget.get()) => budget.get(),
        _ => return refuse(out, &format!("--budget `{}` is no time from 1 s to a day", args.budget), "write 5m or 90 s"),
    };
    let Some(file) = &args.out else { return Status::BadInput };
    measure(args, file, budget, without, out)
}

fn refuse(out: &mut Stream, why: &str, hint: &str) -> Status {
    out.note(&format!("error[{}]: {why}\nhint: {hint}", codes::CANNOT_MEASURE.0));
    Status::BadInput
}

fn measure(args: &ProbeArgs, path: &Path, budget: f64, without: Option<&str>, out: &mut Stream) -> Status {
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
    let list = match tasks(&options) {
        Ok(list) => list,
        // Without room for a file the rest is measured, unless somebody asked for that folder.
        Err(why) if args.scratch.is_some() => return refuse(out, &why, "name a folder with room, --scratch DIR"),
        Err(why) => {
            out.note(&format!("storage is not measured: {why}"));
            match tasks(&ProbeOptions { scratch: None, ..options.clone() }) {
                Ok(list) => list,
                Err(why) => return refuse(out, &why, "name a folder with room, --scratch DIR"),
            }
        }
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
    let (mut measured, mut kept, mut refused) = (0, 0, Vec::new());
    for task in &list {
        bar.inc(1);
        if done.contains(&format!("probe: {}", task.id)) {
            kept += 1;
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
                measured += records.len();
            }
            Err(why) => refused.push(format!("{}: {why}", task.id)),
        }
    }
    bar.finish_and_clear();
    let mut text = format!("{}: {measured} measured", path.display());
    if kept > 0 {
        let _ = write!(text, ", {kept} kept");
    }
    let left = list.len().saturating_sub(measured + kept + refused.len());
    text.push('\n');
    for why in &refused {
        let _ = writeln!(text, "not measured: {why}");
    }
    if left > 0 {
        let why = if stop.asked() { "interrupted" } else { "the budget is spent" };
        let _ = writeln!(text, "{left} left, {why}: go on with --resume, or fit what is there");
    }
    match without {
        Some(library) => text.push_str(&format!("no CUDA part: the library `{library}` is missing on this machine\n")),
        None => text.push_str("no CUDA part: this build has none yet\n"),
    }
    out.result(&text)
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
