//! Runs of MLPerf Storage: samples per second given the supply that was observed, and the accelerators that a fill rate sustains.
//!
//! A row's utilisation says what the steady steps were given (supply and overhead of a step); what is predicted is the rate over the whole
//! time, the first wait included, in which all workers fill their batches at that supply. Loaders that read one batch with all their
//! threads (TensorFlow) have one worker here. Counts are predicted from the rate of the fills of later epochs alone.

use super::table::{Columns, Record};
use crate::fabric::TierId;
use crate::operations::{FeedPlan, Host, Order, feed_host, sustained};

pub(super) const COLUMNS: Columns = Columns {
    needed: &[
        "id",
        "source",
        "workload",
        "accelerator",
        "framework",
        "n_accel",
        "n_hosts",
        "workers",
        "files",
        "samples_per_file",
        "au_pct",
    ],
    measured: &["samples_per_s"],
};

pub(super) const SUSTAINED: Columns = Columns {
    needed: &["id", "source", "workload", "accelerator", "n_accel", "n_hosts", "workers", "steps", "fill_bytes_per_s"],
    measured: &["accelerators_per_host"],
};

/// Steps that are simulated; the rest of a long run is like the last of them.
const STEPS: u32 = 1500;
/// Seconds that the loop adds to a step on a lean client (MLPerf Storage v1.0 logs: 4.4 to 8.6 ms; docs/models/storage.md).
const OVERHEAD: f64 = 0.0065;

/// A workload of the benchmark: bytes of a sample and their spread, samples of a step, seconds of its compute, the target.
struct Workload {
    bytes: f64,
    spread: f64,
    batch: f64,
    compute: f64,
    target: f64,
}

fn workload(record: &Record<'_>) -> Result<Workload, String> {
    let h100 = match record.text("accelerator") {
        "h100" => true,
        "a100" => false,
        other => return Err(format!("no step time is known for `{other}`")),
    };
    // Configurations of MLPerf Storage v1.0.
    let of =
        |bytes, spread, batch, (h, a): (f64, f64), target| Workload { bytes, spread, batch, compute: if h100 { h } else { a }, target };
    match record.text("workload") {
        "unet3d" => Ok(of(146_600_628.0, 0.466, 7.0, (0.323, 0.636), 0.9)),
        "resnet50" => Ok(of(114_660.0, 0.0, 400.0, (0.224, 0.435), 0.9)),
        "cosmoflow" => Ok(of(2_828_486.0, 0.0, 1.0, (0.0035, 0.005_51), 0.7)),
        other => Err(format!("`{other}` is no workload of MLPerf Storage v1.0")),
    }
}

fn plan(work: &Workload, workers: u64, prefetch: u64, overhead: f64) -> FeedPlan {
    FeedPlan {
        tier: TierId(0),
        sample_bytes: work.bytes,
        sample_spread: work.spread,
        samples_per_file: 1.0,
        samples: f64::INFINITY,
        order: Order::Sequential,
        workers: workers.min(256) as u32,
        prefetch: prefetch.min(256) as u32,
        decode: 0.0,
        overhead,
        cache: 0.0,
        cache_tier: None,
        sharded: false,
    }
}

/// Accelerators of one host; all hosts carry the same.
fn per_host(record: &Record<'_>) -> Result<u64, String> {
    let (all, hosts) = (record.count("n_accel")?, record.count("n_hosts")?);
    if all % hosts != 0 {
        return Err("the hosts carry different counts".into());
    }
    if all / hosts > 4096 { Err("more than 4,096 accelerators on a host".into()) } else { Ok(all / hosts) }
}

fn prefetch(record: &Record<'_>) -> Result<u64, String> {
    if record.text("prefetch").is_empty() { Ok(2) } else { record.count("prefetch") }
}

pub(super) fn predict(record: &Record<'_>) -> Result<f64, String> {
    let work = workload(record)?;
    if !record.text("why_not").is_empty() {
        return Err(record.text("why_not").to_owned());
    }
    let readers = per_host(record)?;
    let hosts = record.count("n_hosts")? as f64;
    let share: f64 = record.get("au_pct")?;
    if !(share > 1.0 && share <= 100.0) {
        return Err(format!("a utilisation of {share} %"));
    }
    let workers = match record.text("framework") {
        "pytorch" => record.count("workers")?,
        "tensorflow" => 1,
        other => return Err(format!("how a loader of `{other}` fills is not known")),
    };
    let steps = (record.count("files")? * record.count("samples_per_file")?) as f64 / (work.batch * readers as f64 * hosts);
    let steps = steps.floor();
    if steps < 2.0 {
        return Err("less than two steps".into());
    }
    // What the steady steps were given.
    let step = work.compute * 100.0 / share;
    let supply = readers as f64 * work.batch * work.bytes / step;
    let host = Host {
        readers: readers as u32,
        batch: work.batch,
        compute: work.compute,
        supply,
        cores: f64::INFINITY,
        steps: steps.min(f64::from(STEPS)) as u32,
    };
    let feed = feed_host(&plan(&work, workers, prefetch(record)?, step - work.compute), host, 1);
    let whole = feed.first + steps * step;
    Ok(steps * work.batch * readers as f64 * hosts / whole)
}

pub(super) fn predict_sustained(record: &Record<'_>) -> Result<f64, String> {
    let work = workload(record)?;
    per_host(record)?;
    if !record.text("why_not").is_empty() {
        return Err(record.text("why_not").to_owned());
    }
    let rate: f64 = record.get("fill_bytes_per_s")?;
    if !(rate > 0.0 && rate.is_finite()) {
        return Err("the rate of the fill is not known".into());
    }
    let supply = rate / record.count("n_hosts")? as f64;
    let steps = record.count("steps")?;
    if steps < 2 {
        return Err("less than two steps".into());
    }
    let steps = steps.min(u64::from(STEPS)) as u32;
    let host = Host { readers: 1, batch: work.batch, compute: work.compute, supply, cores: f64::INFINITY, steps };
    let plan = plan(&work, record.count("workers")?, prefetch(record)?, OVERHEAD);
    match sustained(&plan, host, work.target, 1) {
        0 => Err("not even one accelerator is sustained".into()),
        n => Ok(f64::from(n)),
    }
}
