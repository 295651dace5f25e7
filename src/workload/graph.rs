//! The task graph and its builder.

crate::ids! {
    /// A task.
    TaskId "task";
    /// A class of ranks that behave the same.
    ClassId "class";
    /// A set of symmetric groups that communicate at the same time.
    RouteId "route";
    /// Something that one task at a time has: a device that runs one kernel after the other, a channel with one message in flight.
    LaneId "lane";
}

/// What a task asks of the hardware.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Keeps the device busy for a time that it would take alone; slower while communication holds a share of its compute units or memory.
    Compute {
        /// Seconds alone.
        seconds: f64,
    },
    /// Moves a payload over a route.
    Transfer {
        /// Which route.
        route: RouteId,
        /// Payload by the convention of the route's operation.
        bytes: f64,
    },
    /// Takes a time that nothing slows: what the host does, what an outside memory answers.
    Delay {
        /// Seconds.
        seconds: f64,
    },
    /// Takes no time: several tasks come together.
    Join,
}

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKind {
    /// Forward pass, or a piece of it.
    Forward,
    /// Backward pass with recompute, or a piece of it.
    Backward,
    /// Tensor-parallel communication.
    TensorComm,
    /// Pipeline send and receive.
    PipelineComm,
    /// Data-parallel communication.
    DataComm,
    /// Optimizer.
    Optimizer,
    /// Copies between an accelerator, its host and storage.
    Offload,
    /// Anything else.
    Other,
}

impl TaskKind {
    /// The word in messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::TensorComm => "tensor-parallel communication",
            Self::PipelineComm => "pipeline transfer",
            Self::DataComm => "data-parallel communication",
            Self::Optimizer => "optimizer",
            Self::Offload => "offload",
            Self::Other => "other work",
        }
    }
}

/// Where a timeline shows a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// Kernels.
    Compute,
    /// Tensor-parallel communication.
    Tensor,
    /// Pipeline communication.
    Pipeline,
    /// Data-parallel communication.
    Data,
    /// The host: its processors, and copies to and from it.
    Host,
}

impl Track {
    /// All tracks in the order of a timeline.
    pub const ALL: [Self; 5] = [Self::Compute, Self::Tensor, Self::Pipeline, Self::Data, Self::Host];
    /// The name in a timeline.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Tensor => "tensor parallel",
            Self::Pipeline => "pipeline",
            Self::Data => "data parallel",
            Self::Host => "host",
        }
    }
}

/// Which piece of the step a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Label {
    /// Microbatch, from 0.
    pub microbatch: u32,
    /// Model chunk on the stage, from 0.
    pub chunk: u16,
    /// Piece of a pass that is split, from 0.
    pub piece: u16,
}

/// A task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Task {
    /// Class that it belongs to; a transfer between two classes belongs to the sender.
    pub class: ClassId,
    /// Where a timeline shows it.
    pub track: Track,
    /// What it is for.
    pub kind: TaskKind,
    /// Which piece of the step.
    pub label: Label,
    /// What it asks of the hardware.
    pub work: Work,
    /// How often it happens: it runs once, and what it moves counts so many times (a stretch of a workload that repeats).
    pub times: f64,
    /// Share of a compute task that memory bounds: slowed by what communication takes of its bandwidth.
    pub memory: f64,
    /// Seconds of a compute task that are blocking communication inside it (on links that nothing else uses).
    pub inner_comm: f64,
    /// The same for context-parallel communication.
    pub inner_context: f64,
    /// The same for exchange with the ranks of experts, and waits for it.
    pub inner_expert: f64,
}

impl Task {
    /// A task without a label or communication inside it.
    #[must_use]
    pub fn new(class: ClassId, track: Track, kind: TaskKind, work: Work) -> Self {
        Self {
            class,
            track,
            kind,
            label: Label::default(),
            work,
            times: 1.0,
            memory: 0.0,
            inner_comm: 0.0,
            inner_context: 0.0,
            inner_expert: 0.0,
        }
    }
}

/// What a task needs besides its predecessors: a lane, which is given back when `last` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The task that takes the lane and waits until it is free.
    pub first: TaskId,
    /// The lane.
    pub lane: LaneId,
    /// The task at whose end it is free again: `first` itself, or one after it.
    pub last: TaskId,
}

/// A task graph, ready to run.
#[derive(Debug, Clone)]
pub struct TaskGraph {
    tasks: Vec<Task>,
    successor_start: Vec<u32>,
    successors: Vec<u32>,
    predecessor_start: Vec<u32>,
    predecessors: Vec<u32>,
    /// Sorted by `first`; a task takes at most one lane.
    holds: Vec<Hold>,
    lanes: u32,
}

/// Collects tasks and dependencies.
#[derive(Debug, Clone, Default)]
pub struct GraphBuilder {
    tasks: Vec<Task>,
    edges: Vec<(u32, u32)>,
    holds: Vec<Hold>,
    lanes: u32,
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a task that starts when all of `after` have ended.
    pub fn add(&mut self, task: Task, after: &[TaskId]) -> TaskId {
        let id = TaskId(self.tasks.len() as u32);
        self.tasks.push(task);
        for before in after {
            self.edges.push((before.0, id.0));
        }
        id
    }
    /// Lets `after` wait for `before` too.
    pub fn depend(&mut self, before: TaskId, after: TaskId) {
        self.edges.push((before.0, after.0));
    }
    /// Lets what some microbatches do count several times.
    pub fn repeat(&mut self, times: impl Fn(u32) -> f64) {
        self.tasks.iter_mut().for_each(|t| t.times = times(t.label.microbatch));
    }
    /// A new lane.
    pub const fn lane(&mut self) -> LaneId {
        self.lanes += 1;
        LaneId(self.lanes - 1)
    }
    /// Lets `first` wait until a lane is free and take it until `last` ends. Of several that wait, the earliest added is next.
    pub fn hold(&mut self, first: TaskId, lane: LaneId, last: TaskId) {
        self.holds.push(Hold { first, lane, last });
    }
    /// How many tasks there are so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tasks.len()
    }
    /// Whether there are none yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
    /// The finished graph.
    #[must_use]
    pub fn finish(mut self) -> TaskGraph {
        self.holds.sort_unstable_by_key(|h| h.first);
        self.holds.dedup_by_key(|h| h.first);
        let n = self.tasks.len();
        let (successor_start, successors) = rows(n, &self.edges);
        let (predecessor_start, predecessors) = turned(&successor_start, &successors);
        let (holds, lanes) = (self.holds, self.lanes);
        TaskGraph { tasks: self.tasks, successor_start, successors, predecessor_start, predecessors, holds, lanes }
    }
}

/// Row starts: sums of counts that are given one place on.
fn starts(mut counts: Vec<u32>) -> Vec<u32> {
    for i in 1..counts.len() {
        counts[i] += counts[i - 1];
    }
    counts
}

/// Row starts and second ends of edges, every edge once, second ends in order.
fn rows(n: usize, edges: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>) {
    let mut counts = vec![0u32; n + 1];
    edges.iter().for_each(|&(a, _)| counts[a as usize + 1] += 1);
    let mut start = starts(counts);
    let (mut next, mut to) = (start.clone(), vec![0; edges.len()]);
    for &(a, b) in edges {
        to[next[a as usize] as usize] = b;
        next[a as usize] += 1;
    }
    let (mut kept, mut first) = (0, 0);
    for i in 0..n {
        let last = start[i + 1] as usize;
        to[first..last].sort_unstable();
        start[i] = kept as u32;
        let row = kept;
        for j in first..last {
            if kept == row || to[kept - 1] != to[j] {
                to[kept] = to[j];
                kept += 1;
            }
        }
        first = last;
    }
    start[n] = kept as u32;
    to.truncate(kept);
    (start, to)
}

/// The same edges by their second ends.
fn turned(start: &[u32], to: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let n = start.len() - 1;
    let mut counts = vec![0u32; n + 1];
    to.iter().for_each(|&b| counts[b as usize + 1] += 1);
    let back = starts(counts);
    let (mut next, mut from) = (back.clone(), vec![0; to.len()]);
    for a in 0..n {
        for &b in &to[start[a] as usize..start[a + 1] as usize] {
            from[next[b as usize] as usize] = a as u32;
            next[b as usize] += 1;
        }
    }
    (back, from)
}

impl TaskGraph {
    /// Says how often each task, by its index, happens.
    pub fn count(&mut self, times: impl Fn(usize) -> f64) {
        self.tasks.iter_mut().enumerate().for_each(|(i, task)| task.times = times(i));
    }
    /// The tasks in order of their ids.
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }
    /// One task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.0 as usize]
    }
    /// How many tasks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
    /// The lane that a task takes, where it takes one.
    #[must_use]
    pub fn hold(&self, id: TaskId) -> Option<Hold> {
        let at = self.holds.binary_search_by_key(&id, |h| h.first).ok()?;
        self.holds.get(at).copied()
    }
    /// All lanes that are taken, by the task that takes them.
    #[must_use]
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }
    /// How many lanes there are.
    #[must_use]
    pub const fn lanes(&self) -> usize {
        self.lanes as usize
    }
    /// The tasks that wait for one.
    pub fn successors(&self, id: TaskId) -> impl ExactSizeIterator<Item = TaskId> + '_ {
        let i = id.0 as usize;
        self.successors[self.successor_start[i] as usize..self.successor_start[i + 1] as usize].iter().map(|&t| TaskId(t))
    }
    /// The tasks that one waits for.
    pub fn predecessors(&self, id: TaskId) -> impl ExactSizeIterator<Item = TaskId> + '_ {
        let i = id.0 as usize;
        self.predecessors[self.predecessor_start[i] as usize..self.predecessor_start[i + 1] as usize].iter().map(|&t| TaskId(t))
    }
}
