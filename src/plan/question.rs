//! The plan file: what is wanted, and what may be bought and tried for it.

use super::input::AnyValue;
use crate::diag::{Count, FilePath, Finite, List, Map, Name, NonNeg, Plain, Pos, Share, Whole};
use crate::training::{Recompute, Schedule};
use crate::units::{Seconds, Usd, Watts};
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
    /// Greatest latencies (serve): percentiles over requests, as `run` reports them.
    pub struct LatencyInput {
        /// Median time to first token.
        pub ttft_p50: Option<Pos<Seconds>>,
        /// 90th percentile of it.
        pub ttft_p90: Option<Pos<Seconds>>,
        /// 95th percentile of it.
        pub ttft_p95: Option<Pos<Seconds>>,
        /// 99th percentile of it.
        pub ttft_p99: Option<Pos<Seconds>>,
        /// Median time per output token after the first.
        pub tpot_p50: Option<Pos<Seconds>>,
        /// 90th percentile of it.
        pub tpot_p90: Option<Pos<Seconds>>,
        /// 95th percentile of it.
        pub tpot_p95: Option<Pos<Seconds>>,
        /// 99th percentile of it.
        pub tpot_p99: Option<Pos<Seconds>>,
        /// Median time to the last token.
        pub e2e_p50: Option<Pos<Seconds>>,
        /// 90th percentile of it.
        pub e2e_p90: Option<Pos<Seconds>>,
        /// 95th percentile of it.
        pub e2e_p95: Option<Pos<Seconds>>,
        /// 99th percentile of it.
        pub e2e_p99: Option<Pos<Seconds>>,
    }
}

record! {
    /// What is wanted.
    pub struct GoalInput {
        /// Kind of goal.
        pub kind: GoalKind,
        /// Longest time of the run.
        pub within: Option<Pos<Seconds>>,
        /// Most money for the run; for serving, for the months of `[demand]`.
        pub budget: Option<Pos<Usd>>,
        /// Presets to choose from (largest-model).
        pub models: Option<List<Name>>,
        /// Requests per second (serve): the base's traffic at this mean rate.
        pub requests_per_s: Option<Finite>,
        /// Greatest latencies (serve), beside the targets of the base.
        pub slo: Option<LatencyInput>,
        /// Share of the rate that has to be held on top of it (serve); absent: 0.
        pub headroom: Option<Share>,
        /// Nodes that may be down while rate and latencies still hold (serve; 1 is N+1); absent: 0.
        pub spare_nodes: Option<Whole>,
    }
}

record! {
    /// Demand that grows (serve): the goal's rate is that of the first month.
    pub struct DemandInput {
        /// Months that are planned for.
        pub months: Count,
        /// Growth of the rate by month, compound.
        pub growth_per_month: Plain = 0.0,
        /// Months between two purchases; each buys what the rate asks for until the next.
        pub review_months: Count = 6,
    }
}

record! {
    /// What the site can take.
    pub struct SiteInput {
        /// Most power with cooling (PUE).
        pub power: Option<Pos<Watts>>,
        /// Most heat that cooling takes away: the power of everything without PUE.
        pub cooling: Option<Pos<Watts>>,
        /// Most power of one rack.
        pub rack_power: Option<Pos<Watts>>,
        /// Most racks.
        pub racks: Option<Count>,
        /// Time from order to delivery of what is bought.
        pub delivery: Option<NonNeg<Seconds>>,
        /// Time from delivery to work: installation and burn-in.
        pub installation: Option<NonNeg<Seconds>>,
    }
}

record! {
    /// Spot capacity that is taken away.
    pub struct SpotInput {
        /// Mean time until one node is taken away.
        pub interval: Pos<Seconds>,
        /// Time until another node is there.
        pub replacement: NonNeg<Seconds>,
    }
}

record! {
    /// Serving deployments to try; what is absent is tried in every legal way.
    pub struct DeploymentInput {
        /// Tensor ranks of an engine; absent: powers of two inside a scale-up domain.
        pub tensor: Option<List<Count>>,
        /// Data-parallel attention ranks of an engine (models with experts); absent: 1 and what fills a scale-up domain.
        pub data: Option<List<Count>>,
        /// Ranks over which experts are spread; absent: 1 and all of an engine.
        pub expert: Option<List<Count>>,
        /// Engines of prompts to engines that decode, such as `"1:3"`, or `"together"`; absent: together and all ratios of up to four engines.
        pub prefill_to_decode: Option<List<Name>>,
    }
}

record! {
    /// A cluster that may be bought or rented, in several sizes and ways to pay.
    pub struct CandidateInput {
        /// Name for people; absent: the topology's title.
        pub name: Option<Name>,
        /// Topology file, relative to this file; absent: the base's.
        pub topology: Option<FilePath>,
        /// Numbers of nodes to try; absent: the topology's (serve: 1 to 32).
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
        /// The training or serving scenario to plan for, relative to this file; its cluster, payment, layout and rate are what is varied.
        pub base: FilePath,
        /// What is best; absent: cost within a time, else time.
        pub objective: Option<Objective>,
        /// What is wanted.
        pub goal: GoalInput,
        /// What may be bought or rented; absent: the base's cluster.
        pub candidate: List<CandidateInput> = Vec::new(),
        /// Layouts to try (training).
        pub layout: Option<LayoutInput>,
        /// Deployments to try (serving).
        pub deployment: Option<DeploymentInput>,
        /// Growth of demand (serving).
        pub demand: Option<DemandInput>,
        /// Limits of the site.
        pub site: Option<SiteInput>,
        /// Loss of spot capacity.
        pub spot: Option<SpotInput>,
    }
}
