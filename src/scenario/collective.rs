//! Collectives and patterns of flows by themselves: what a sweep is, and how long it takes over sizes.

use crate::collectives::{Algorithm, Communicator, Launch, Library, Op, Protocol, Routing};
use crate::fabric::{AcceleratorId, Fabric};
use crate::metrics::{CollectiveOutcome, FlowTimes};
use crate::simulate::{Network, Pattern, Route, Transport, Way, execute, run_messages, run_pattern};
use crate::workload::{ClassId, GraphBuilder, Task, TaskId, TaskKind, Track, Work};
use std::rc::Rc;

/// What moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// A collective.
    Op(Op),
    /// Plain flows.
    Pattern(Pattern),
}

/// An operation that runs beside the measured one.
#[derive(Debug, Clone)]
pub struct Beside {
    pub(super) op: Op,
    pub(super) bytes: f64,
    pub(super) ranks: Vec<AcceleratorId>,
    pub(super) repeat: u64,
}

/// A sweep over sizes, checked.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// What moves.
    pub moves: Moves,
    /// Sizes in bytes; with a routing, tokens of a rank.
    pub sizes: Vec<f64>,
    /// How tokens visit experts (dispatch and combine).
    pub routing: Option<Routing>,
    /// Groups that run it at the same time.
    pub groups: Vec<Vec<AcceleratorId>>,
    /// Algorithm; absent: the library's choice.
    pub algorithm: Option<Algorithm>,
    /// Protocol; absent: the library's choice.
    pub protocol: Option<Protocol>,
    /// Whose kernels.
    pub library: Library,
    /// What the host's launch adds.
    pub launch: Launch,
    /// Message by message, with so many chunks where the algorithm is pipelined.
    pub explicit: Option<u32>,
    /// What runs at the same time.
    pub beside: Vec<Beside>,
    /// What holds back the senders of a pattern.
    pub transport: Transport,
    /// How much more than the mean the busiest receiver of an all-to-all pattern gets, a share of the mean.
    pub skew: f64,
}

/// Work of one flow's rate under pauses, in flows under fair shares.
const PAUSES_WORK: f64 = 0.5;

impl Sweep {
    /// One group of ranks, the library's choice, nothing beside.
    #[must_use]
    pub fn plain(op: Op, sizes: Vec<f64>, ranks: Vec<AcceleratorId>, algorithm: Option<Algorithm>) -> Self {
        Self {
            moves: Moves::Op(op),
            sizes,
            routing: None,
            groups: vec![ranks],
            algorithm,
            protocol: None,
            library: Library::nccl(),
            launch: Launch::Graph,
            explicit: None,
            beside: Vec::new(),
            transport: Transport::Fair,
            skew: 0.0,
        }
    }

    /// The communicator of its groups.
    #[must_use]
    pub fn communicator<'f>(&self, fabric: &'f Fabric, groups: &[Vec<AcceleratorId>]) -> Communicator<'f> {
        let communicator = Communicator::new(fabric, &self.library, groups);
        match self.routing {
            Some(routing) => communicator.with_routing(routing),
            None => communicator,
        }
    }

    /// What one of its sizes is in bytes and, of an exchange, in tokens. Kernels differ in what they send with a token: without a choice
    /// of the caller, those of high throughput count.
    pub(super) fn payload(&self, op: Op, size: f64, algorithm: Option<Algorithm>) -> (f64, Option<f64>) {
        self.routing.map_or((size, None), |r| (size * r.row(op, algorithm.unwrap_or(Algorithm::OneCopy)), Some(size)))
    }

    /// Ranks that take part.
    #[must_use]
    pub fn ranks(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// Flows or messages that it simulates, for the estimate of work.
    #[must_use]
    pub fn work(&self) -> f64 {
        let n = self.groups[0].len();
        let each = match (self.moves, self.explicit) {
            // Rates under pauses are found again for all flows whenever some end.
            (Moves::Pattern(p), _) if matches!(self.transport, Transport::Pauses(_)) => p.count(n) as f64 * p.count(n) as f64 * PAUSES_WORK,
            (Moves::Pattern(p), _) => p.count(n) as f64,
            (Moves::Op(Op::AllToAll | Op::Dispatch | Op::Combine), None) => (n * n) as f64 / self.sizes.len() as f64,
            (_, Some(chunks)) => (n * n * 2) as f64 + n as f64 * 2.0 * f64::from(chunks),
            _ => n as f64,
        };
        each * self.groups.len() as f64 * self.sizes.len() as f64
    }

    /// What it does, in words.
    #[must_use]
    pub fn title(&self) -> String {
        let what = match self.moves {
            Moves::Op(op) => op.to_string(),
            Moves::Pattern(p) => p.to_string(),
        };
        let groups = if self.groups.len() > 1 { format!("{} groups of ", self.groups.len()) } else { String::new() };
        let tokens =
            self.routing.map_or_else(String::new, |r| format!(", {} of {} experts, {} elements a token", r.per_token, r.experts, r.hidden));
        format!("{what} over {groups}{} accelerators{tokens}", self.groups[0].len())
    }
}

/// Sizes from the smallest to the greatest, doubling.
#[must_use]
pub fn sizes(min: f64, max: f64) -> Vec<f64> {
    std::iter::successors(Some(min), |b| Some(b * 2.0)).take_while(|b| *b <= max).collect()
}

/// Times over all sizes, and the events that it took; `None` where the algorithm has no form for the operation over these ranks.
#[must_use]
pub fn run_sweep(fabric: &Fabric, sweep: &Sweep, seed: u64) -> Option<(Vec<CollectiveOutcome>, u64)> {
    let op = match sweep.moves {
        Moves::Pattern(pattern) => return Some(patterns(fabric, sweep, pattern, seed)),
        Moves::Op(op) => op,
    };
    let communicator = Rc::new(sweep.communicator(fabric, &sweep.groups));
    let n = communicator.ranks();
    let mut events = 0;
    let mut out = Vec::new();
    for &size in &sweep.sizes {
        let (bytes, _) = sweep.payload(op, size, sweep.algorithm);
        let plan = communicator.plan_by(op, bytes, sweep.algorithm, sweep.protocol)?;
        let (bytes, tokens) = sweep.payload(op, size, Some(plan.algorithm));
        let device = match sweep.explicit {
            Some(chunks) => {
                let run = run_messages(fabric, &communicator.schedule(op, plan.algorithm, chunks)?, &plan, bytes);
                events += run.messages;
                run.makespan_s
            }
            None if sweep.beside.is_empty() => communicator.time_of(op, bytes, &plan),
            None => contended(fabric, sweep, (&communicator, op, plan.algorithm), bytes, &mut events),
        };
        let plain = sweep.algorithm.is_none() && sweep.explicit.is_none() && sweep.beside.is_empty();
        let seen = if plain { communicator.measured_seen(op, bytes, sweep.launch) } else { None };
        let time_s = seen.unwrap_or_else(|| sweep.launch.seen(device, n));
        out.push(CollectiveOutcome {
            op: op.word(),
            bytes,
            time_s,
            algbw_bytes_per_s: bytes / time_s,
            busbw_bytes_per_s: bytes / time_s * communicator.busbw_factor(op, plan.algorithm),
            algorithm: plan.algorithm.to_string(),
            protocol: plan.protocol.to_string(),
            tokens,
            flows: None,
        });
    }
    Some((out, events))
}

/// The measured operation among others that start with it; coupled activities that share links.
fn contended<'f>(
    fabric: &'f Fabric,
    sweep: &Sweep,
    (main, op, algorithm): (&Rc<Communicator<'f>>, Op, Algorithm),
    bytes: f64,
    events: &mut u64,
) -> f64 {
    let mut network = Network::new(fabric);
    let mut graph = GraphBuilder::new();
    let chosen = if op.moves_tokens() { Some(algorithm) } else { sweep.algorithm };
    let mut transfers = vec![(Rc::clone(main), op, bytes, 1, chosen)];
    for other in &sweep.beside {
        let library = Library { channels: sweep.library.channels, ..Library::nccl() };
        let communicator = Rc::new(Communicator::new(fabric, &library, std::slice::from_ref(&other.ranks)));
        transfers.push((communicator, other.op, other.bytes, other.repeat, None));
    }
    for (i, (communicator, op, bytes, repeat, algorithm)) in transfers.into_iter().enumerate() {
        let class = ClassId(i as u32);
        let route =
            network.add(Route { name: format!("operation {i}"), way: Way::Groups { communicator, op, algorithm }, classes: vec![class] });
        let mut last: Option<TaskId> = None;
        for _ in 0..repeat {
            let work = Work::Transfer { route, bytes };
            last = Some(graph.add(Task::new(class, Track::Data, TaskKind::Other, work), last.as_slice()));
        }
    }
    // Transfers that wait only for earlier ones cannot wait for each other; the measured one is the first task.
    let Ok(run) = execute(&graph.finish(), &network, sweep.beside.len() + 1, &[]) else { return f64::INFINITY };
    *events += run.events;
    run.finish[0]
}

fn patterns(fabric: &Fabric, sweep: &Sweep, pattern: Pattern, seed: u64) -> (Vec<CollectiveOutcome>, u64) {
    let flows: Vec<_> = sweep.groups.iter().flat_map(|g| pattern.flows(g, sweep.skew, seed)).collect();
    let one = |&bytes: &f64| {
        let mut finish = run_pattern(fabric, &flows, bytes, sweep.transport);
        finish.sort_by(f64::total_cmp);
        let time_s = finish.last().copied().unwrap_or(0.0);
        let at = |q: f64| finish[((finish.len() - 1) as f64 * q).round() as usize];
        let mean_s = finish.iter().sum::<f64>() / finish.len().max(1) as f64;
        CollectiveOutcome {
            op: pattern.word(),
            bytes,
            time_s,
            algbw_bytes_per_s: bytes / time_s,
            busbw_bytes_per_s: bytes / time_s,
            algorithm: "flows".into(),
            protocol: "Simple".into(),
            tokens: None,
            flows: Some(FlowTimes { count: finish.len() as u64, min_s: at(0.0), mean_s, p50_s: at(0.5), p99_s: at(0.99), max_s: time_s }),
        }
    };
    (sweep.sizes.iter().map(one).collect(), (flows.len() * sweep.sizes.len()) as u64)
}
