//! The command line.

use super::calibrate_args::CalibrateCommand;
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
    /// Say what to buy or rent to train or to serve, in which layout, at what cost
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
