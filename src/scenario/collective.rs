//! Collectives and patterns of flows by themselves: what a scenario or a command asks for, and how long it takes over sizes.

use super::input::CollectiveInput;
use super::load::head;
use crate::collectives::{Algorithm, Communicator, Launch, Library, Op, busbw_factor};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::fabric::{AcceleratorId, Fabric};
use crate::metrics::{CollectiveOutcome, FlowTimes};
use crate::simulate::{Network, Pattern, Route, Way, execute, run_messages, run_pattern};
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
    op: Op,
    bytes: f64,
    ranks: Vec<AcceleratorId>,
    repeat: u64,
}

/// A sweep over sizes, checked.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// What moves.
    pub moves: Moves,
    /// Sizes in bytes.
    pub sizes: Vec<f64>,
    /// Groups that run it at the same time.
    pub groups: Vec<Vec<AcceleratorId>>,
    /// Algorithm; absent: the library's choice.
    pub algorithm: Option<Algorithm>,
    /// Whose kernels.
    pub library: Library,
    /// What the host's launch adds.
    pub launch: Launch,
    /// Message by message, with so many chunks where the algorithm is pipelined.
    pub explicit: Option<u32>,
    /// What runs at the same time.
    pub beside: Vec<Beside>,
    /// Bytes that a flow of a pattern has in flight at most.
    pub window: Option<f64>,
    /// How much more than the mean the busiest receiver of an all-to-all pattern gets, a share of the mean.
    pub skew: f64,
}

/// Chunks of a pipelined algorithm in explicit mode where nothing else is said.
const CHUNKS: u32 = 64;

impl Sweep {
    /// One group of ranks, the library's choice, nothing beside.
    #[must_use]
    pub fn plain(op: Op, sizes: Vec<f64>, ranks: Vec<AcceleratorId>, algorithm: Option<Algorithm>) -> Self {
        Self {
            moves: Moves::Op(op),
            sizes,
            groups: vec![ranks],
            algorithm,
            library: Library::nccl(),
            launch: Launch::Graph,
            explicit: None,
            beside: Vec::new(),
            window: None,
            skew: 0.0,
        }
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
            (Moves::Pattern(p), _) => p.count(n) as f64,
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
        format!("{what} over {groups}{} accelerators", self.groups[0].len())
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
    let communicator = Rc::new(Communicator::new(fabric, &sweep.library, &sweep.groups));
    let n = communicator.ranks();
    let mut events = 0;
    let mut out = Vec::new();
    for &bytes in &sweep.sizes {
        let plan = sweep.algorithm.map_or_else(|| Some(communicator.plan(op, bytes)), |a| communicator.plan_as(op, bytes, a))?;
        let device = match sweep.explicit {
            Some(chunks) => {
                let run = run_messages(fabric, &communicator.schedule(op, plan.algorithm, chunks)?, &plan, bytes);
                events += run.messages;
                run.makespan_s
            }
            None if sweep.beside.is_empty() => communicator.time_of(op, bytes, &plan),
            None => contended(fabric, sweep, &communicator, op, bytes, &mut events),
        };
        let time_s = sweep.launch.seen(device, n);
        out.push(CollectiveOutcome {
            op: op.word(),
            bytes,
            time_s,
            algbw_bytes_per_s: bytes / time_s,
            busbw_bytes_per_s: bytes / time_s * busbw_factor(op, n),
            algorithm: plan.algorithm.to_string(),
            protocol: plan.protocol.to_string(),
            flows: None,
        });
    }
    Some((out, events))
}

/// The measured operation among others that start with it; coupled activities that share links.
fn contended<'f>(fabric: &'f Fabric, sweep: &Sweep, main: &Rc<Communicator<'f>>, op: Op, bytes: f64, events: &mut u64) -> f64 {
    let mut network = Network::new(fabric);
    let mut graph = GraphBuilder::new();
    let mut transfers = vec![(Rc::clone(main), op, bytes, 1, sweep.algorithm)];
    for other in &sweep.beside {
        let communicator = Rc::new(Communicator::new(fabric, &Library::nccl(), std::slice::from_ref(&other.ranks)));
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
        let mut finish = run_pattern(fabric, &flows, bytes, sweep.window);
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
            flows: Some(FlowTimes { count: finish.len() as u64, min_s: at(0.0), mean_s, p50_s: at(0.5), p99_s: at(0.99), max_s: time_s }),
        }
    };
    (sweep.sizes.iter().map(one).collect(), (flows.len() * sweep.sizes.len()) as u64)
}

/// The sweep of a scenario, checked against its fabric.
pub(super) fn sweep(input: &At<CollectiveInput>, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Sweep> {
    let (place, input) = (input.span, &input.value);
    let before = diags.error_count();
    let all = fabric.accelerator_count() as u64;
    let ranks = input.ranks.unwrap_or(all);
    let whole = head(place, diags);
    let mut refuse = |code, span: Span, message: String, hint: &str| {
        diags.push(Diagnostic::error(code, message).at(span, "here").hint(hint));
    };
    let at = |given: bool, span: Span| if given { span } else { whole };
    if !(2..=all).contains(&ranks) {
        let span = at(input.ranks.is_some(), input.ranks.span);
        refuse(codes::OUT_OF_RANGE, span, format!("{ranks} ranks on {all} accelerators"), "between 2 and the accelerators");
        return None;
    }
    if *input.min_bytes > *input.max_bytes {
        let message = "the smallest size is above the greatest".into();
        refuse(codes::CONFLICT, input.min_bytes.span, message, "give the smaller one as min_bytes");
    }
    let size = input.group_size.unwrap_or(ranks);
    if size < 2 || !ranks.is_multiple_of(size) {
        let message = format!("{ranks} ranks do not divide into groups of {size}");
        refuse(codes::NOT_DIVISIBLE, at(input.group_size.is_some(), input.group_size.span), message, "a divisor of at least 2");
        return None;
    }
    if *input.strided && input.group_size.is_none() {
        refuse(codes::CONFLICT, input.strided.span, "`strided` does nothing with one group".into(), "give group_size");
    }
    let moves = match (*input.op, *input.pattern) {
        (op, None) => Moves::Op(op.unwrap_or(Op::AllReduce)),
        (None, Some(pattern)) => Moves::Pattern(pattern),
        (Some(_), Some(_)) => {
            refuse(codes::CONFLICT, input.pattern.span, "a sweep has one of `op` and `pattern`".into(), "leave one out");
            return None;
        }
    };
    let plain = matches!(moves, Moves::Pattern(_));
    for (given, span, name) in [
        (input.algorithm.is_some(), input.algorithm.span, "algorithm"),
        (input.engine.is_some(), input.engine.span, "engine"),
        (input.launch.is_some(), input.launch.span, "launch"),
        (*input.explicit, input.explicit.span, "explicit"),
        (!input.beside.is_empty(), input.beside.span, "beside"),
    ] {
        if plain && given {
            refuse(codes::CONFLICT, span, format!("`{name}` does nothing for a pattern of flows"), "leave it out, or give `op`");
        }
    }
    if moves != Moves::Pattern(Pattern::AllToAll) && input.skew.is_some() {
        let message = "`skew` does nothing but in the pattern `all-to-all`".into();
        refuse(codes::CONFLICT, input.skew.span, message, "leave it out, or give pattern = \"all-to-all\"");
    }
    if !plain && input.window.is_some() {
        refuse(codes::CONFLICT, input.window.span, "`window` does nothing for a collective".into(), "leave it out, or give `pattern`");
    }
    if *input.explicit && !input.beside.is_empty() {
        refuse(codes::CONFLICT, input.explicit.span, "`explicit` runs one operation by itself".into(), "leave out `explicit` or `beside`");
    }
    if input.chunks.is_some() && !*input.explicit {
        refuse(
            codes::CONFLICT,
            input.chunks.span,
            "`chunks` does nothing without `explicit`".into(),
            "set explicit = true, or leave it out",
        );
    }
    let member = |group: u64, i: u64| if *input.strided { group + i * (ranks / size) } else { group * size + i };
    let groups: Vec<Vec<AcceleratorId>> =
        (0..ranks / size).map(|g| (0..size).map(|i| AcceleratorId(member(g, i) as u32)).collect()).collect();
    let beside = besides(input, all, diags);
    if diags.error_count() > before {
        return None;
    }
    let sweep = Sweep {
        moves,
        sizes: sizes(input.min_bytes.get(), input.max_bytes.get()),
        groups,
        algorithm: *input.algorithm,
        library: input.engine.map_or_else(Library::nccl, Library::of),
        launch: input.launch.unwrap_or(Launch::Graph),
        explicit: input.explicit.then(|| input.chunks.map_or(CHUNKS, |c| c.min(1 << 16) as u32)),
        beside: beside?,
        window: input.window.map(|w| w.get()),
        skew: input.skew.unwrap_or(0.0),
    };
    form_of(input, &sweep, fabric, diags).then_some(sweep)
}

fn besides(input: &CollectiveInput, all: u64, diags: &mut Diagnostics) -> Option<Vec<Beside>> {
    let mut out = Vec::new();
    for other in input.beside.iter() {
        let last = (*other.ranks - 1).saturating_mul(*other.stride).saturating_add(*other.first);
        if last >= all || *other.ranks < 2 || *other.repeat > 1_000_000 {
            let message = format!("these ranks reach {last} of {all} accelerators, or are fewer than 2, or repeat without end");
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(other.ranks.span, "out of range"));
            return None;
        }
        let ranks = (0..*other.ranks).map(|i| AcceleratorId((*other.first + i * *other.stride) as u32)).collect();
        out.push(Beside { op: *other.op, bytes: other.bytes.get(), ranks, repeat: *other.repeat });
    }
    Some(out)
}

/// Whether the algorithm (and the message-by-message form) exists for these ranks; reports where not.
fn form_of(input: &CollectiveInput, sweep: &Sweep, fabric: &Fabric, diags: &mut Diagnostics) -> bool {
    let Moves::Op(op) = sweep.moves else { return true };
    let communicator = Communicator::new(fabric, &sweep.library, &sweep.groups[..1]);
    let smallest = sweep.sizes[0];
    if let Some(algorithm) = sweep.algorithm
        && communicator.plan_as(op, smallest, algorithm).is_none()
    {
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, format!("{op} has no form `{algorithm}` over these ranks"))
                .at(input.algorithm.span, "no such form")
                .hint("leave it out for the library's choice"),
        );
        return false;
    }
    if sweep.explicit.is_some() {
        let without = sweep.sizes.iter().find_map(|&bytes| {
            let algorithm = sweep.algorithm.unwrap_or_else(|| communicator.plan(op, bytes).algorithm);
            communicator.schedule(op, algorithm, 1).is_none().then_some(algorithm)
        });
        if let Some(algorithm) = without {
            diags.push(
                Diagnostic::error(codes::UNSUPPORTED, format!("{op} by `{algorithm}` is not messages between ranks"))
                    .at(input.explicit.span, "no message-by-message form")
                    .hint("give an algorithm such as \"ring\""),
            );
            return false;
        }
    }
    true
}
