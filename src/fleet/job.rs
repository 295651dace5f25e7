//! Jobs, teams and policies as data.

use super::grant::Ask;
use super::region::Copying;
use crate::choice;

/// How much a job has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Seconds on the accelerators that it asks for.
    Time(f64),
    /// Optimizer steps of a model; what one takes is simulated on the nodes that the job got.
    Steps {
        /// Which model.
        model: u16,
        /// How many steps.
        steps: f64,
    },
    /// Until it is stopped (a replica of a service).
    Endless,
}

/// What a job can do with more accelerators than it asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elastic {
    /// Accelerators at most.
    pub most: u32,
    /// Share of the work that more accelerators do not speed up (Amdahl), at the size that it asks for.
    pub serial: f64,
}

impl Elastic {
    /// How many times as fast `n` accelerators are as the `least` that the job asks for.
    #[must_use]
    pub fn speedup(&self, least: u32, n: u32) -> f64 {
        1.0 / (self.serial + (1.0 - self.serial) * f64::from(least) / f64::from(n))
    }
}

/// A job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Seconds from the start of the run until it is submitted.
    pub submit: f64,
    /// What it asks for.
    pub ask: Ask,
    /// What it has to do.
    pub work: Work,
    /// Its class, for reports.
    pub class: u16,
    /// Whose it is.
    pub team: u16,
    /// Higher goes first under policies that look at it.
    pub priority: i32,
    /// Whether it runs on what others leave and is stopped when they need it.
    pub spot: bool,
    /// Whether it can be stopped for others at all.
    pub preemptible: bool,
    /// Seconds of work between checkpoints; 0: it takes none, and a failure costs all that it did.
    pub checkpoint: f64,
    /// Seconds that one checkpoint blocks it.
    pub checkpoint_cost: f64,
    /// Copies of its checkpoints in another region; absent: none.
    pub copies: Option<Copying>,
    /// Seconds from getting its accelerators again, after a stop, until it works.
    pub restart: f64,
    /// Whether it can grow.
    pub elastic: Option<Elastic>,
}

impl Job {
    /// Share of its time on accelerators in which it works and does not save.
    #[must_use]
    pub fn productive(&self) -> f64 {
        if self.checkpoint > 0.0 { self.checkpoint / (self.checkpoint + self.checkpoint_cost) } else { 1.0 }
    }
}

/// A team and what it may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// Share against others under the fair order.
    pub weight: f64,
    /// Accelerators that are its own; `None`: it may use all.
    pub quota: Option<u32>,
    /// Teams of a cohort lend each other what they do not use.
    pub cohort: Option<u16>,
    /// Accelerators that it may borrow at most.
    pub borrow: u32,
}

choice! {
    /// Who is next.
    pub enum OrderKind {
        /// First in, first out.
        Fifo = "fifo",
        /// Least remaining work first.
        Shortest = "shortest",
        /// Highest priority first.
        Priority = "priority",
        /// The team that uses least of its share first.
        Fair = "fair",
    }
}

choice! {
    /// What may pass a job that cannot start yet.
    pub enum BackfillKind {
        /// Nothing.
        None = "none",
        /// Whatever fits.
        Greedy = "greedy",
        /// What does not delay the first job that waits.
        Easy = "easy",
        /// What delays no job before it.
        Conservative = "conservative",
    }
}

choice! {
    /// Where jobs go.
    pub enum PlacementKind {
        /// Nodes that are nearly full first.
        Pack = "pack",
        /// Nodes that are nearly empty first.
        Spread = "spread",
        /// The smallest subtree that has room: node, scale-up domain, leaf, pod.
        Topology = "topology",
    }
}

/// A scheduling policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Who is next.
    pub order: OrderKind,
    /// What may pass.
    pub backfill: BackfillKind,
    /// Where jobs go.
    pub placement: PlacementKind,
    /// Whether a job that goes first may stop others that go later.
    pub preempt: bool,
    /// Whether a team may take back what others borrowed of its quota.
    pub reclaim: bool,
    /// Seconds that moving a job to other nodes costs; `None`: jobs are not moved to make room.
    pub migrate: Option<f64>,
    /// Whether jobs that can grow do.
    pub grow: bool,
    /// Jobs that are looked at behind the first that cannot start.
    pub depth: usize,
    /// What users say of the length of their jobs, as a multiple of the truth.
    pub estimate: f64,
}

impl Policy {
    /// A policy without preemption, migration or growth, over exact estimates.
    #[must_use]
    pub fn new(order: OrderKind, backfill: BackfillKind, placement: PlacementKind) -> Self {
        Self {
            name: format!("{order}, {backfill}, {placement}"),
            order,
            backfill,
            placement,
            preempt: false,
            reclaim: false,
            migrate: None,
            grow: false,
            depth: usize::MAX,
            estimate: 1.0,
        }
    }
}
