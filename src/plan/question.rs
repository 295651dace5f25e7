//! The plan file: what is wanted, and what may be bought and tried for it.

use super::input::AnyValue;
use crate::diag::{Count, FilePath, List, Map, Name, Pos};
use crate::training::{Recompute, Schedule};
use crate::units::{Seconds, Usd};
use crate::{choice, record};

choice! {
    /// What is wanted.
    pub enum GoalKind {
        /// To train within a time, a budget, or both.
        Train = "train",
        /// The best layout on what there is.
        Layout = "layout",
        /// The largest of some models that fits.
        LargestModel = "largest-model",
        /// To serve requests.
        Serve = "serve",
    }
}

choice! {
    /// What is best.
    pub enum Objective {
        /// Least money for the run.
        Cost = "cost",
        /// Least time.
        Time = "time",
        /// Least energy.
        Energy = "energy",
        /// All that nothing else beats in both time and money.
        Pareto = "pareto",
    }
}

record! {
    /// What is wanted.
    pub struct GoalInput {
        /// Kind of goal.
        pub kind: GoalKind,
        /// Longest time of the run.
        pub within: Option<Pos<Seconds>>,
        /// Most money for the run.
        pub budget: Option<Pos<Usd>>,
        /// Presets to choose from (largest-model).
        pub models: Option<List<Name>>,
    }
}

record! {
    /// A cluster that may be bought or rented, in several sizes and ways to pay.
    pub struct CandidateInput {
        /// Name for people; absent: the topology's title.
        pub name: Option<Name>,
        /// Topology file, relative to this file; absent: the base's.
        pub topology: Option<FilePath>,
        /// Numbers of nodes to try; absent: the topology's.
        pub nodes: Option<List<Count>>,
        /// Ways to pay to try (`on-demand`, `reserved`, `spot`, `owned`); absent: the base's.
        pub payment: Option<List<AnyValue>>,
        /// Other keys of the base that this cluster needs, such as `"training.precision" = "fp8"`.
        pub set: Option<Map<AnyValue>>,
    }
}

record! {
    /// Layouts to try; what is absent is tried in every legal way.
    pub struct LayoutInput {
        /// Tensor-parallel degrees; absent: all that divide the attention heads and the accelerators.
        pub tensor: Option<List<Count>>,
        /// Pipeline stages; absent: all that divide the accelerators, up to the layers.
        pub pipeline: Option<List<Count>>,
        /// Context-parallel degrees; absent: all that leave a rank 4,096 tokens of a sequence.
        pub context: Option<List<Count>>,
        /// Microbatches; absent: powers of two up to 16.
        pub microbatch: Option<List<Count>>,
        /// Model chunks of a stage; absent: up to 12.
        pub virtual_stages: Option<List<Count>>,
        /// Orders of passes; absent: the base's.
        pub schedule: Option<List<Schedule>>,
        /// What is computed again; absent: all ways.
        pub recompute: Option<List<Recompute>>,
        /// Whether optimizer state is sharded over the replicas (ZeRO-1); absent: both.
        pub distributed_optimizer: Option<List<bool>>,
        /// Sequence parallelism where there is tensor parallelism; absent: with it.
        pub sequence: Option<List<bool>>,
    }
}

record! {
    /// A plan: a job, a goal, and what may be bought for it.
    pub struct PlanInput {
        /// Format version.
        pub format: Count = 1,
        /// Title for people.
        pub title: Name,
        /// The training scenario to plan for, relative to this file; its cluster, payment and layout are what is varied.
        pub base: FilePath,
        /// What is best; absent: cost within a time, else time.
        pub objective: Option<Objective>,
        /// What is wanted.
        pub goal: GoalInput,
        /// What may be bought or rented; absent: the base's cluster.
        pub candidate: List<CandidateInput> = Vec::new(),
        /// Layouts to try.
        pub layout: Option<LayoutInput>,
    }
}
