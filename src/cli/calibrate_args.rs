//! The command line of `orrery calibrate`.

use super::args::HalfKind;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum CalibrateCommand {
    /// Measure this host (memory, matrix products, storage, TCP) and its CUDA devices, where it has some
    #[command(long_about = PROBE)]
    Probe(ProbeArgs),
    /// Read logs of other tools (nccl-tests, nvbandwidth, perftest, fio, …) into one file of measurements, and compare nodes
    Import(ImportArgs),
    /// Fit a profile to tables, logs and files of measurements
    Fit(FitArgs),
    /// What a profile holds and how well it fits: text, and a page with residuals
    Show(ShowArgs),
    /// Compare the prediction under a profile with measured steps, and say which component is most likely off
    Check(StepsArgs),
    /// Write job files that measure the nodes of a cluster
    Script(ScriptArgs),
}

/// What `calibrate probe` measures.
const PROBE: &str = "\
Measure this host and its CUDA devices, and write one file of measurements that `calibrate fit` reads.

Host: memory bandwidth by working set and threads, matrix products, storage (sequential and random, by block size and queue depth, O_DIRECT; it \
leaves no file behind), TCP over the loopback and to --peer.

CUDA devices, where the driver's library is found (libcuda, and of cuBLASLt, NCCL and NVML what is there; nothing has to be installed for it): \
inventory, memory copy and triad by working set, latency of a read, copies to and from the host and between devices by size, launches, matrix \
products in bf16, fp16, tf32, fp8 and int8, what of their rate lasts without a pause, products beside copies and collectives, collectives over 2 \
to all devices by size, clocks, power, temperature and throttling beside each. One device is measured whole, the others are compared with it.

Ctrl-C or the end of the budget keep what is done; --resume goes on. Without CUDA the host part alone is done, and why is said.";

#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// File of measurements to write
    #[arg(long, value_name = "FILE", required_unless_present = "serve")]
    pub(super) out: Option<PathBuf>,
    /// Measure CUDA devices alone, and fail where there is no CUDA
    #[arg(long)]
    pub(super) cuda: bool,
    /// Time to spend, such as 5m
    #[arg(long, default_value = "5m")]
    pub(super) budget: String,
    /// Folder whose storage is measured, on a file that is removed again; absent: the folder of --out
    #[arg(long, value_name = "DIR")]
    pub(super) scratch: Option<PathBuf>,
    /// Another host that runs `calibrate probe --serve PORT`, as HOST:PORT
    #[arg(long)]
    pub(super) peer: Option<String>,
    /// Answer the probes of other hosts on a TCP port until ended
    #[arg(long, value_name = "PORT", conflicts_with_all = ["cuda", "peer", "out"])]
    pub(super) serve: Option<u16>,
    /// Go on with the measurements that the file holds
    #[arg(long)]
    pub(super) resume: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Logs, or folders of them
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// File of measurements to write
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Catalogue id of the accelerator where logs do not say it
    #[arg(long, value_name = "ID")]
    pub(super) accelerator: Option<String>,
    /// Requests of a serving log that its all-reduces are taken from, in order of arrival
    #[arg(long, value_enum)]
    pub(super) half: Option<HalfKind>,
}

#[derive(Debug, Args)]
pub(super) struct FitArgs {
    /// Tables in the columns of tests/validation, files of measurements, logs
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Profile to write; its points go beside it, as PROFILE.points.csv
    #[arg(long, value_name = "PROFILE.toml")]
    pub(super) out: PathBuf,
    /// Catalogue id of the accelerator where logs do not say it
    #[arg(long, value_name = "ID")]
    pub(super) accelerator: Option<String>,
    /// Storage tier of the topology that measurements of storage are of
    #[arg(long, value_name = "NAME", default_value = "nvme")]
    pub(super) tier: String,
    /// Write the constants of matrix products alone, without the measured products that correct them nearby
    #[arg(long)]
    pub(super) law_only: bool,
    /// Log the profile to an MLflow tracking server, such as http://127.0.0.1:5000
    #[arg(long, value_name = "URL")]
    pub(super) mlflow: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Profile
    pub(super) profile: PathBuf,
    /// Write calibration.html into a folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct StepsArgs {
    /// Profile
    pub(super) profile: PathBuf,
    /// Measured steps: columns id, scenario (a file, relative to the table), step_time_s, and any components as compute_s …
    #[arg(long, value_name = "FILE.csv")]
    pub(super) steps: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Let values of a stand-in, which no machine measured, enter
    #[arg(long)]
    pub(super) allow_synthetic: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchedulerKind {
    /// Slurm
    Slurm,
    /// Kubernetes
    Kubernetes,
}

#[derive(Debug, Args)]
pub(super) struct ScriptArgs {
    /// Whose job files
    #[arg(value_enum)]
    pub(super) scheduler: SchedulerKind,
    /// Nodes
    #[arg(long, default_value_t = 4)]
    pub(super) nodes: u64,
    /// Accelerators of a node
    #[arg(long, default_value_t = 8)]
    pub(super) gpus: u64,
    /// Nodes under a leaf switch
    #[arg(long, default_value_t = 16)]
    pub(super) leaf: u64,
    /// Folder to write into
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
}
