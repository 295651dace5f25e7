//! The detail of an outcome that its pictures and tables are drawn from; nothing of it is in `--json`, but for what served a prediction.

use super::run::RunSegment;
use super::timeline::Timeline;
use super::{FleetDetail, MemoryBytes, ServingDetail};
use schemars::JsonSchema;
use serde::Serialize;

/// What reports draw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Detail {
    /// Facts on the scenario for the head of a report, such as ("Layout", "TP 8 × PP 8 × DP 16").
    pub facts: Vec<Fact>,
    /// Memory by pipeline stage.
    pub stages: Vec<StageMemory>,
    /// Names of the timeline's processes (one a rank class, such as `stage 0 (node 0, accelerator 0)`).
    pub processes: Vec<String>,
    /// Names of the timeline's tracks (streams), the same for every process.
    pub tracks: Vec<String>,
    /// What each process does when.
    pub timeline: Timeline,
    /// Ranks of a trace, or classes of equal ranks.
    pub ranks: Vec<TraceRank>,
    /// Most used links by kind.
    pub links: Vec<LinkUse>,
    /// Compute time of one microbatch on the critical rank by operator class.
    pub operators: Vec<(String, f64)>,
    /// Which profile entry served which operator class (`--explain`).
    pub profile: Vec<ProfileUse>,
    /// Pieces of the first run's time.
    pub run_segments: Vec<RunSegment>,
    /// Requests and load of serving.
    pub serving: Option<ServingDetail>,
    /// Jobs and nodes of a fleet.
    pub fleet: Option<FleetDetail>,
}

/// A fact with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What.
    pub name: String,
    /// How much.
    pub value: String,
}

/// Memory of one pipeline stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageMemory {
    /// Which stage.
    pub name: String,
    /// Its memory at its peak.
    pub memory: MemoryBytes,
}

/// A rank of a trace, or a class of equal ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceRank {
    /// The rank, or the first of them.
    pub rank: u32,
    /// How many ranks do the same.
    pub count: u32,
    /// End of its last operation, seconds.
    pub finish_s: f64,
    /// Sum of its compute operations, seconds.
    pub compute_s: f64,
    /// The part of it on the host, seconds.
    pub host_s: f64,
    /// Time in which it communicates, seconds.
    pub comm_s: f64,
    /// Time in which it communicates and does not compute, seconds.
    pub exposed_comm_s: f64,
    /// Time in which it only moves data to or from outside memory, seconds.
    pub exposed_memory_s: f64,
    /// Time in which it does nothing until the last rank ends, seconds.
    pub idle_s: f64,
}

/// How much a kind of link was used.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkUse {
    /// Such as `NIC` or `NVLink`.
    pub name: String,
    /// Bytes over the most loaded link of the kind in one step.
    pub bytes: f64,
    /// Bytes over capacity and step time, on the most loaded link.
    pub utilization: f64,
}

/// Which profile entry served an operator class, and how sure it is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProfileUse {
    /// Operator class.
    pub operator: String,
    /// Profile entry.
    pub entry: String,
    /// Where its values come from.
    pub source: String,
}
