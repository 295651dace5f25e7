//! The keys of `[fleet]`.

use crate::diag::{Count, FilePath, Finite, List, Name, NonNeg, Plain, Pos, Share, Whole};
use crate::fleet::{BackfillKind, Metric, OrderKind, PlacementKind, TraceFormat, Within};
use crate::scenario::input::TrainingInput;
use crate::units::{Bytes, Seconds, UsdPerSecond, Watts};
use crate::{choice, record};

choice! {
    /// How long drawn jobs are.
    pub enum Durations {
        /// All as long as the mean.
        Fixed = "fixed",
        /// Exponential.
        Exponential = "exponential",
        /// Lognormal.
        Lognormal = "lognormal",
    }
}

choice! {
    /// When drawn jobs come.
    pub enum ArrivalKind {
        /// At random (exponential gaps).
        Poisson = "poisson",
        /// At equal gaps.
        Regular = "regular",
    }
}

record! {
    /// Nodes that come with the load and go (cluster autoscaler).
    pub struct ElasticPoolInput {
        /// Nodes that are always there.
        pub least: Whole = 0,
        /// Time from asking for a node until it takes work. Default 2 min.
        pub provision: NonNeg<Seconds> = Seconds::new(120.0),
        /// How long a node has to be idle before it goes. Default 10 min (Kubernetes cluster autoscaler).
        pub idle: NonNeg<Seconds> = Seconds::new(600.0),
        /// How long a node stays at least. Default 0.
        pub life: NonNeg<Seconds> = Seconds::new(0.0),
    }
}

record! {
    /// Nodes of one kind, where there is no topology.
    pub struct PoolInput {
        /// Their name.
        pub name: Name,
        /// How many.
        pub count: Count,
        /// Accelerators of one node, at most 64; 0: processor cores only.
        pub accelerators: Whole,
        /// What the accelerators are called: a catalogue id brings price and power, any other name does not. Absent: the pool's name.
        pub part: Option<Name>,
        /// Processor cores of a node; absent: as many as are asked for.
        pub cpus: Option<Finite>,
        /// Host memory of a node; absent: as much as is asked for.
        pub memory: Option<Pos<Bytes>>,
        /// Nodes under one leaf; absent: all.
        pub per_leaf: Option<Count>,
        /// Leaves of a pod (with `per_leaf`); absent: all.
        pub leaves_per_pod: Option<Count>,
        /// Price of one accelerator (of one node without any).
        pub price: Option<Pos<UsdPerSecond>>,
        /// Power of a node at work.
        pub power: Option<Pos<Watts>>,
        /// Power of a node that does nothing (with `power`).
        pub idle_power: Option<Pos<Watts>>,
        /// Nodes come and go with the load.
        pub elastic: Option<ElasticPoolInput>,
    }
}

record! {
    /// A class of jobs that are drawn.
    pub struct JobInput {
        /// Its name.
        pub name: Name,
        /// How many.
        pub count: Count = 1,
        /// Classes of jobs that it waits for: its n-th job is submitted when the n-th of each has ended (a pipeline).
        pub after: List<Name> = Vec::new(),
        /// Mean time between two submissions; absent: all at once.
        pub every: Option<Pos<Seconds>>,
        /// Whether they come at random (with `every`); absent: at random.
        pub arrivals: Option<ArrivalKind>,
        /// When the first may come.
        pub from: NonNeg<Seconds> = Seconds::new(0.0),
        /// Mean time on its accelerators (instead of `training`).
        pub duration: Option<Pos<Seconds>>,
        /// Distribution of the time; absent: fixed.
        pub durations: Option<Durations>,
        /// Standard deviation of the logarithm (lognormal).
        pub sigma: Option<Plain>,
        /// What it trains: its step is simulated on the nodes that it gets.
        pub training: Option<TrainingInput>,
        /// Optimizer steps (with `training`, or instead of those of `scenario`).
        pub steps: Option<Count>,
        /// A scenario file, instead of `training` or `duration`: a training scenario with `[run]` says what is trained for how many steps, a serving
        /// scenario is a batch of requests that the job answers. With a topology they are simulated on nodes of the fleet, else on their own.
        pub scenario: Option<FilePath>,
        /// Accelerators, all at once or none; 0: cores only.
        pub accelerators: Option<Whole>,
        /// Several sizes (instead of `accelerators`).
        pub sizes: List<Count> = Vec::new(),
        /// How often each size comes, relative to the others (with `sizes`); absent: equally often.
        pub shares: List<Finite> = Vec::new(),
        /// Share of one accelerator (with `accelerators = 1`), by thousandths.
        pub share: Option<Share>,
        /// Accelerators of one worker: they lie on one node. Absent: 1.
        pub worker: Option<Count>,
        /// How near its accelerators have to be to each other.
        pub within: Within = Within::Any,
        /// Names of the parts that it may use; absent: any, but all of one kind.
        pub parts: List<Name> = Vec::new(),
        /// Names of the node pools that it may use; absent: any.
        pub pools: List<Name> = Vec::new(),
        /// Cores for each accelerator (for the job where it has none).
        pub cpus: Option<Finite>,
        /// Host memory for each accelerator (for the job where it has none).
        pub memory: Option<Pos<Bytes>>,
        /// Whose it is.
        pub team: Option<Name>,
        /// Higher goes first under priority orders.
        pub priority: Whole = 0,
        /// It runs on what others leave, and gives way.
        pub spot: bool = false,
        /// Whether it can be stopped for others.
        pub preemptible: bool = true,
        /// Work between two checkpoints; absent: none are taken, and a failure costs all that was done.
        pub checkpoint: Option<Pos<Seconds>>,
        /// How long a checkpoint blocks it (with `checkpoint`).
        pub checkpoint_cost: Option<NonNeg<Seconds>>,
        /// Every how manyth checkpoint is copied to another region (with `checkpoint`); absent: none, and the loss of a region costs all that was done.
        pub copy_every: Option<Count>,
        /// Time until a copy is complete (with `copy_every`); absent: 0.
        pub copy_time: Option<NonNeg<Seconds>>,
        /// Time from getting accelerators again until it works; absent: `restart` and `warm_up` of `[failures]`, else 0.
        pub restart: Option<NonNeg<Seconds>>,
        /// Accelerators that it can grow to (policies with `grow`).
        pub most: Option<Count>,
        /// Share of its work that more accelerators do not speed up (with `most`); absent: 0.
        pub serial: Option<Share>,
    }
}

record! {
    /// Weights that replicas of a service read when they start.
    pub struct WeightsInput {
        /// Storage tier of the topology in which they lie.
        pub tier: Name,
        /// Bytes that a replica reads.
        pub size: Pos<Bytes>,
    }
}

record! {
    /// How a service gets new versions of its model (RollingUpdate of a Deployment).
    pub struct RolloutInput {
        /// Class of jobs: the end of each registers a new version, which is then rolled out.
        pub after: Name,
        /// Replicas beyond the wanted number at most.
        pub surge: Whole = 1,
        /// Warm replicas below the wanted number at most.
        pub unavailable: Whole = 0,
    }
}

record! {
    /// A service whose replicas follow its load.
    pub struct ServiceInput {
        /// Its name.
        pub name: Name,
        /// A serving scenario file: its accelerators, the requests that one replica serves within [serving.slo] and its latencies at every load are
        /// simulated, on nodes of the fleet where that has a topology, else on the scenario's own.
        pub scenario: Option<FilePath>,
        /// Accelerators of a replica (without `scenario`); absent: 1.
        pub accelerators: Option<Count>,
        /// How near to each other.
        pub within: Within = Within::Node,
        /// Names of the parts that it may use; absent: any.
        pub parts: List<Name> = Vec::new(),
        /// Names of the node pools that it may use; absent: any.
        pub pools: List<Name> = Vec::new(),
        /// Whose it is.
        pub team: Option<Name>,
        /// Priority of its replicas; they are never stopped for others.
        pub priority: Whole = 1000,
        /// Mean rate of requests.
        pub requests_per_s: Finite,
        /// Swing of the rate over its mean: least at the start, most half a period later.
        pub swing: Share = 0.0,
        /// Period of the swing. Default a day.
        pub period: Pos<Seconds> = Seconds::new(86_400.0),
        /// Requests that a replica serves in a second (without `scenario`).
        pub replica_requests_per_s: Option<Finite>,
        /// Time of a request that does not wait (without `scenario`); absent: 1 s.
        pub latency: Option<Pos<Seconds>>,
        /// How long a request may wait before a replica takes it; absent: 1 s, or what `ttft` of the scenario's targets leaves.
        pub patience: Option<NonNeg<Seconds>>,
        /// Weights that a replica reads over the fabric before it warms up; absent: they are part of `warm`.
        pub weights: Option<WeightsInput>,
        /// New versions of the model, from the end of a pipeline.
        pub rollout: Option<RolloutInput>,
        /// Cold start: from getting nodes, and its weights, until it serves (image, warm-up).
        pub warm: NonNeg<Seconds> = Seconds::new(60.0),
        /// What the number of replicas follows.
        pub metric: Metric = Metric::Utilization,
        /// The value to hold: a share for utilization, requests a replica else. Default 0.7.
        pub target: Finite = 0.7,
        /// Replicas at least; 0: none while nobody asks.
        pub least: Whole = 1,
        /// Replicas at most.
        pub most: Count,
        /// How long more has to be wanted before replicas are added. Default 0 (Kubernetes).
        pub up_window: NonNeg<Seconds> = Seconds::new(0.0),
        /// How long less has to be wanted before replicas are taken away. Default 5 min (Kubernetes).
        pub down_window: NonNeg<Seconds> = Seconds::new(300.0),
        /// Time between two looks. Default 15 s (Kubernetes).
        pub interval: Pos<Seconds> = Seconds::new(15.0),
    }
}

record! {
    /// A team and what it may use.
    pub struct TeamInput {
        /// Its name.
        pub name: Name,
        /// Share against others (order = "fair").
        pub weight: Finite = 1.0,
        /// Accelerators that are its own; absent: it may use all.
        pub quota: Option<Whole>,
        /// Teams of one cohort lend each other what they do not use.
        pub cohort: Option<Name>,
        /// Accelerators that it may borrow (with `cohort`); absent: all that is lent.
        pub borrow: Option<Whole>,
    }
}

record! {
    /// A scheduling policy.
    pub struct PolicyInput {
        /// Its name; absent: its words.
        pub name: Option<Name>,
        /// Who is next.
        pub order: OrderKind = OrderKind::Fifo,
        /// What may pass a job that cannot start yet.
        pub backfill: BackfillKind = BackfillKind::Easy,
        /// Where jobs go.
        pub placement: PlacementKind = PlacementKind::Pack,
        /// Whether who goes first may stop who goes later (orders by length or priority).
        pub preempt: bool = false,
        /// Whether teams take back what others borrowed.
        pub reclaim: bool = false,
        /// Jobs are moved at checkpoints to make room for one that needs nearness; what a move costs.
        pub migrate: Option<NonNeg<Seconds>>,
        /// Whether jobs that can grow do.
        pub grow: bool = false,
        /// Jobs that are looked at behind the first that cannot start; absent: all.
        pub depth: Option<Count>,
        /// What users say of the length of their jobs, as a multiple of the truth (backfill); absent: 1.
        pub estimate: Option<Finite>,
    }
}

record! {
    /// Work on nodes that is known beforehand.
    pub struct MaintenanceInput {
        /// When it begins.
        pub at: NonNeg<Seconds>,
        /// Time between two; absent: once.
        pub every: Option<Pos<Seconds>>,
        /// First node.
        pub first: Whole = 0,
        /// How many.
        pub nodes: Count,
        /// How long before it begins nodes take nothing new.
        pub cordon: NonNeg<Seconds> = Seconds::new(0.0),
        /// How long it lasts.
        pub lasts: Pos<Seconds>,
    }
}

record! {
    /// Nodes that are lost together, with all that is kept there; a job lies in one of them.
    pub struct RegionInput {
        /// Its name.
        pub name: Name,
        /// Names of its node pools (of node templates of a topology), instead of `first` and `nodes`.
        pub pools: List<Name> = Vec::new(),
        /// First node.
        pub first: Option<Whole>,
        /// How many.
        pub nodes: Option<Count>,
    }
}

record! {
    /// The loss of a region at a known time; a class of failures with loses = "region" takes one at random.
    pub struct OutageInput {
        /// Which region.
        pub region: Name,
        /// When.
        pub at: NonNeg<Seconds>,
        /// How long its nodes are away.
        pub lasts: Pos<Seconds>,
    }
}

record! {
    /// Spot nodes that are taken away at random.
    pub struct FleetSpotInput {
        /// Names of their pools; absent: all.
        pub pools: List<Name> = Vec::new(),
        /// Mean time until one node is taken away.
        pub interval: Pos<Seconds>,
        /// How long before it is announced: jobs save where `checkpoint_cost` is no longer. Default 2 min (AWS; Google and Azure: 30 s).
        pub notice: NonNeg<Seconds> = Seconds::new(120.0),
        /// Time until another node is there.
        pub replacement: NonNeg<Seconds>,
    }
}

record! {
    /// Many jobs on one cluster.
    pub struct FleetInput {
        /// Nodes, each `[[fleet.node]]`, where there is no topology.
        pub node: List<PoolInput> = Vec::new(),
        /// A table of nodes in Alibaba's openb columns, where there is no topology.
        pub nodes: Option<FilePath>,
        /// What `kubectl get nodes,jobs,… -o json` (or yaml) says, and manifests: nodes, where there are no others; Job, PyTorchJob, MPIJob;
        /// ClusterQueue and LocalQueue of Kueue.
        pub kubernetes: List<FilePath> = Vec::new(),
        /// How long jobs of these manifests run that have no annotation `orrery/duration`.
        pub kubernetes_duration: Option<Pos<Seconds>>,
        /// A trace of jobs (CSV).
        pub trace: Option<FilePath>,
        /// How it is written; absent: as its header says.
        pub trace_format: Option<TraceFormat>,
        /// Leaves out rows of the trace that cannot be read, and counts them.
        pub skip_bad_rows: bool = false,
        /// How many times as fast the jobs of the trace come.
        pub load: Finite = 1.0,
        /// How near the accelerators of a job of the trace have to be to each other.
        pub within: Within = Within::Any,
        /// Work between two checkpoints of jobs of the trace; absent: none.
        pub checkpoint: Option<Pos<Seconds>>,
        /// Jobs that are drawn, each `[[fleet.job]]`.
        pub job: List<JobInput> = Vec::new(),
        /// Services, each `[[fleet.service]]`.
        pub service: List<ServiceInput> = Vec::new(),
        /// Teams with quotas or weights, each `[[fleet.team]]`; others may use all.
        pub team: List<TeamInput> = Vec::new(),
        /// Policies that are compared, each `[[fleet.policy]]`; the first one's numbers are the scenario's. Absent: FIFO with EASY backfill.
        pub policy: List<PolicyInput> = Vec::new(),
        /// Maintenance, each `[[fleet.maintenance]]`.
        pub maintenance: List<MaintenanceInput> = Vec::new(),
        /// Regions that divide all nodes among them, each `[[fleet.region]]`.
        pub region: List<RegionInput> = Vec::new(),
        /// Regions that are lost at known times, each `[[fleet.outage]]`.
        pub outage: List<OutageInput> = Vec::new(),
        /// Spot nodes that are taken away at random, each `[[fleet.spot]]`.
        pub spot: List<FleetSpotInput> = Vec::new(),
        /// When it stops, whatever still runs; absent: when all jobs have ended.
        pub horizon: Option<Pos<Seconds>>,
    }
}
