//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A clockwork model of AI clusters: step time, latency, memory, energy, cost.
#[derive(Debug, Parser)]
#[command(name = "orrery", version, max_term_width = 110)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run scenarios; without a file an embedded quick start (GPT-3 175B on 1,024 A100)
    Run(RunArgs),
    /// Run scenarios and put them side by side
    Compare(CompareArgs),
    /// Parse and verify files of any kind, nothing else
    Check(CheckArgs),
    /// Counts, bisection bandwidth, power, price and picture of a topology
    Topology(TopologyArgs),
    /// A collective over sizes, as nccl-tests prints it
    Collective(CollectiveArgs),
    /// When each flow of a flow case ends
    Flows(FlowsArgs),
    /// Compare predictions with a table of measurements
    Validate(ValidateArgs),
    /// Measure, read logs, fit a profile, see how good it is
    Calibrate {
        #[command(subcommand)]
        command: CalibrateCommand,
    },
    /// Say what to buy or rent for a training job, in which layout, at what cost
    Plan(PlanArgs),
    /// Run a scenario with many values of any keys: on one machine, or in shards on many
    Sweep {
        #[command(subcommand)]
        command: SweepCommand,
    },
    /// List the parts and models that ship with the program
    Catalog(CatalogArgs),
    /// Print the JSON Schema of a kind of file
    Schema {
        /// Kind of file
        kind: SchemaKind,
    },
    /// Explain a diagnostic code such as E0102
    Explain {
        /// The code
        code: String,
    },
}

#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// Scenario files
    pub(super) files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write report.html, outcome.json, CSV and timeline into a folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Replace a value: a dotted key and a TOML value, such as training.parallel.tensor=4
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Leave out rows of request traces that cannot be read, and count them
    #[arg(long)]
    pub(super) skip_bad_rows: bool,
    /// Let values of a stand-in, which no machine measured, enter from profiles; reports then say so
    #[arg(long)]
    pub(super) allow_synthetic: bool,
    /// Seed of all random streams
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Write the timeline of one step for Perfetto
    #[arg(long, value_name = "FILE")]
    pub(super) timeline: Option<PathBuf>,
    /// Write what was simulated as Chakra traces into a folder: trace.RANK.et for every rank, and trace.groups.json
    #[arg(long, value_name = "DIR")]
    pub(super) chakra: Option<PathBuf>,
    /// Write the simulated time series of training, serving or a fleet as OpenMetrics, for Prometheus and Grafana
    #[arg(long, value_name = "FILE")]
    pub(super) metrics: Option<PathBuf>,
    /// Write manifests of Kubernetes into a folder: Kueue, Kubeflow jobs, Deployments, workflows of Argo
    #[arg(long, value_name = "DIR")]
    pub(super) manifests: Option<PathBuf>,
    /// Log parameters, metrics and report to an MLflow tracking server, such as http://127.0.0.1:5000
    #[arg(long, value_name = "URL")]
    pub(super) mlflow: Option<String>,
    /// Say which profile entry served which operators
    #[arg(long)]
    pub(super) explain: bool,
    /// Greatest estimated work in seconds
    #[arg(long, default_value_t = 600.0, value_name = "SECONDS")]
    pub(super) max_work: f64,
    /// How faults are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(super) message_format: MessageFormat,
}

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Scenario files; the first is the reference
    #[arg(required = true, num_args = 2..)]
    pub(super) files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write compare.html, compare.md and compare.json, and the report of every scenario into a folder of its own
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MessageFormat {
    /// For people
    Human,
    /// For editors and CI
    Json,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Files of any kind
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// How faults are printed
    #[arg(long, value_enum, default_value = "human")]
    pub(super) message_format: MessageFormat,
}

#[derive(Debug, Args)]
pub(super) struct TopologyArgs {
    /// Topology file
    pub(super) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write a picture
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Replace a value
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct CollectiveArgs {
    /// Topology file
    pub(super) file: PathBuf,
    /// Operation: all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, reduce, gather, scatter, barrier, send_recv, dispatch,
    /// combine
    #[arg(long)]
    pub(super) op: String,
    /// Sizes, such as 64MiB; absent: 1KiB..8GiB
    #[arg(long)]
    pub(super) bytes: Option<String>,
    /// How tokens visit experts (dispatch, combine), by the keys of [collective.tokens]: hidden=7168,experts=256,per_token=8
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub(super) routing: Option<String>,
    /// Ranks, such as 0-63
    #[arg(long)]
    pub(super) ranks: Option<String>,
    /// Algorithm: the library's choice, or one
    #[arg(long, default_value = "auto")]
    pub(super) algorithm: String,
    /// Protocol of a ring, or of a tree between nodes: the library's choice, or LL, LL128, Simple
    #[arg(long, default_value = "auto")]
    pub(super) protocol: String,
    /// Channels of the library's kernels; absent: as many as it opens by itself
    #[arg(long)]
    pub(super) channels: Option<u32>,
    /// Whose kernels run small all-reduces: nccl, sglang, vllm, trtllm, sglang-trtllm
    #[arg(long, default_value = "nccl")]
    pub(super) engine: String,
    /// What the host's launch adds: graph (nothing), eager, single-process
    #[arg(long, default_value = "graph")]
    pub(super) launch: String,
    /// Message by message instead of one coupled activity
    #[arg(long)]
    pub(super) explicit: bool,
    /// Write report.html, outcome.json and CSV into a folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Replace a value of the topology
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct FlowsArgs {
    /// Flow case
    pub(super) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ValidateKind {
    /// Step times
    Training,
    /// Collectives
    Collective,
    /// Matrix products
    Gemm,
    /// Attention kernels
    Attention,
    /// Closed-loop serving, or offline throughput
    Serving,
    /// Folders with logs of serving engines, request by request
    ServingLog,
    /// Mixture-of-experts layers
    Moe,
    /// Exchanges of tokens with the ranks of their experts
    Exchange,
    /// Runs of MLPerf Storage: samples per second, or accelerators sustained
    Storage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum HalfKind {
    /// The requests that came first
    First,
    /// The others
    Second,
}

impl HalfKind {
    pub(super) const fn of(half: Option<Self>) -> crate::validate::Half {
        match half {
            None => crate::validate::Half::Both,
            Some(Self::First) => crate::validate::Half::First,
            Some(Self::Second) => crate::validate::Half::Second,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// What the table holds
    #[arg(value_enum)]
    pub(super) kind: ValidateKind,
    /// Tables (serving-log: folders)
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Profiles that go before the shipped ones (training, collective, gemm, serving-log)
    #[arg(long, value_name = "PROFILE.toml")]
    pub(super) profile: Vec<PathBuf>,
    /// Requests of a serving log that count, in order of arrival; all are served
    #[arg(long, value_enum)]
    pub(super) half: Option<HalfKind>,
    /// Write report.html and rows.json into a folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Requirements, such as median=0.08,p90=0.2
    #[arg(long, value_name = "NAME=VALUE,…")]
    pub(super) bound: Option<String>,
}

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
products in bf16, fp16, tf32, fp8 and int8, products beside copies and collectives, collectives over 2 to all devices by size, clocks, power, \
temperature and throttling beside each. One device is measured whole, the others are compared with it.

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

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Plan file
    pub(super) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write report.html, report.md and plan.json into a folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Write the answer as manifests of Kubernetes into a folder: Kueue, Kubeflow jobs, Deployments
    #[arg(long, value_name = "DIR")]
    pub(super) manifests: Option<PathBuf>,
    /// Log parameters, metrics and report to an MLflow tracking server, such as http://127.0.0.1:5000
    #[arg(long, value_name = "URL")]
    pub(super) mlflow: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum SweepCommand {
    /// Run a sweep, or a shard of it; results are written as they come
    Run(SweepRunArgs),
    /// Cut a sweep into shards: a manifest, and job files for Slurm, Kubernetes and HyperQueue
    Plan(SweepPlanArgs),
    /// Merge the parts of all shards
    Collect {
        /// Folder of the results
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct SweepRunArgs {
    /// Sweep file
    pub(super) file: PathBuf,
    /// Folder of the results
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Go on with the results that are there
    #[arg(long)]
    pub(super) resume: bool,
    /// Shard K of N, from 0; absent in a planned folder: SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX, HQ_TASK_ID or OMPI_COMM_WORLD_RANK
    #[arg(long, value_name = "K/N")]
    pub(super) shard: Option<String>,
    /// Log the collected results to an MLflow tracking server, such as http://127.0.0.1:5000
    #[arg(long, value_name = "URL")]
    pub(super) mlflow: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SweepPlanArgs {
    /// Sweep file
    pub(super) file: PathBuf,
    /// Shards
    #[arg(long, value_name = "N")]
    pub(super) shards: u64,
    /// Folder of the results
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CatalogKind {
    /// GPUs, TPUs, other chips, CPU sockets
    Accelerators,
    /// Model presets
    Models,
    /// Network cards
    Nics,
    /// Switches
    Switches,
    /// Servers without accelerators
    Hosts,
    /// Link technologies
    Links,
    /// Drives
    Storage,
    /// Rents and purchase prices
    Prices,
    /// Software stacks of training
    Stacks,
    /// Serving engines
    Engines,
}

#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    /// Which list
    #[arg(value_enum)]
    pub(super) kind: CatalogKind,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaKind {
    /// Scenario files
    Scenario,
    /// Topology files
    Topology,
    /// Kernel profiles
    Profile,
    /// Sweep files
    Sweep,
    /// Plan files
    Plan,
    /// What `plan --json` prints
    PlanOutput,
    /// What `run --json` prints for a scenario
    Output,
}
