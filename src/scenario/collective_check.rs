//! A `[collective]` table as a sweep, checked against its fabric.

use super::collective::{Beside, Moves, Sweep, sizes};
use super::collective_input::{CollectiveInput, CongestionControl, CongestionInput};
use super::load::head;
use super::{idle, tokens};
use crate::collectives::{Communicator, Launch, Library, Op};
use crate::diag::{At, Code, Diagnostic, Diagnostics, Span, codes};
use crate::fabric::{AcceleratorId, Fabric};
use crate::simulate::Transport;
use crate::units::Bytes;

/// Chunks of a pipelined algorithm in explicit mode where nothing else is said.
const CHUNKS: u32 = 64;

/// What marks need to lead senders to fair rates where nothing else is said: one period of DCQCN's timer (SIGCOMM 2015).
const REACTION: f64 = 55e-6;

/// The sweep of a scenario, checked against its fabric.
pub(super) fn sweep(input: &At<CollectiveInput>, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Sweep> {
    let (place, input) = (head(input.span, diags), &input.value);
    let before = diags.error_count();
    let all = fabric.accelerator_count() as u64;
    let ranks = ranks_of(input, all, place, diags)?;
    let (least, most) = bounds(input, diags);
    let size = group_size(input, ranks, place, diags)?;
    let moves = moves_of(input, diags)?;
    idle::keys(input, moves, fabric, diags);
    let beside = besides(input, all, diags);
    let exchange = tokens::of(input, moves, size, diags);
    if diags.error_count() > before {
        return None;
    }
    let (sizes, routing) = match exchange? {
        Some((counts, routing)) => (counts, Some(routing)),
        None => (sizes(least, most), None),
    };
    let sweep = Sweep {
        moves,
        sizes,
        routing,
        groups: groups(ranks, size, *input.strided),
        algorithm: *input.algorithm,
        protocol: *input.protocol,
        library: Library {
            channels: input.channels.map(|c| c.min(1 << 16) as u32),
            ..input.engine.map_or_else(Library::nccl, Library::of)
        },
        launch: input.launch.unwrap_or(Launch::Graph),
        explicit: input.explicit.then(|| input.chunks.map_or(CHUNKS, |c| c.min(1 << 16) as u32)),
        beside: beside?,
        transport: transport(input.congestion.value.as_ref(), input.window.map(|w| w.get())),
        skew: input.skew.unwrap_or(0.0),
    };
    form_of(input, &sweep, fabric, diags).then_some(sweep)
}

fn refuse(code: Code, span: Span, message: String, hint: &str, diags: &mut Diagnostics) {
    diags.push(Diagnostic::error(code, message).at(span, "here").hint(hint));
}

/// How many ranks take part: all accelerators where nothing is said.
fn ranks_of(input: &CollectiveInput, all: u64, place: Span, diags: &mut Diagnostics) -> Option<u64> {
    let ranks = input.ranks.unwrap_or(all);
    if !(2..=all).contains(&ranks) {
        let span = if input.ranks.is_some() { input.ranks.span } else { place };
        refuse(codes::OUT_OF_RANGE, span, format!("{ranks} ranks on {all} accelerators"), "between 2 and the accelerators", diags);
        return None;
    }
    Some(ranks)
}

/// The smallest and the greatest size, bytes.
fn bounds(input: &CollectiveInput, diags: &mut Diagnostics) -> (f64, f64) {
    let (least, most) = (input.min_bytes.map_or(1024.0, |b| b.get()), input.max_bytes.map_or(Bytes::gib(8.0).get(), |b| b.get()));
    if least > most {
        let message = "the smallest size is above the greatest".into();
        let span = if input.min_bytes.is_some() { input.min_bytes.span } else { input.max_bytes.span };
        refuse(codes::CONFLICT, span, message, "give the smaller one as min_bytes", diags);
    }
    (least, most)
}

/// Ranks of each group: all where nothing is said.
fn group_size(input: &CollectiveInput, ranks: u64, place: Span, diags: &mut Diagnostics) -> Option<u64> {
    let size = input.group_size.unwrap_or(ranks);
    if size < 2 || !ranks.is_multiple_of(size) {
        let message = format!("{ranks} ranks do not divide into groups of {size}");
        let span = if input.group_size.is_some() { input.group_size.span } else { place };
        refuse(codes::NOT_DIVISIBLE, span, message, "a divisor of at least 2", diags);
        return None;
    }
    if *input.strided && input.group_size.is_none() {
        refuse(codes::CONFLICT, input.strided.span, "`strided` does nothing with one group".into(), "give group_size", diags);
    }
    Some(size)
}

/// What moves: an all-reduce where nothing is said.
fn moves_of(input: &CollectiveInput, diags: &mut Diagnostics) -> Option<Moves> {
    match (*input.op, *input.pattern) {
        (op, None) => Some(Moves::Op(op.unwrap_or(Op::AllReduce))),
        (None, Some(pattern)) => Some(Moves::Pattern(pattern)),
        (Some(_), Some(_)) => {
            refuse(codes::CONFLICT, input.pattern.span, "a sweep has one of `op` and `pattern`".into(), "leave one out", diags);
            None
        }
    }
}

/// Ranks in groups of a size, neighbours or as far apart as there are groups.
fn groups(ranks: u64, size: u64, strided: bool) -> Vec<Vec<AcceleratorId>> {
    let member = |group: u64, i: u64| if strided { group + i * (ranks / size) } else { group * size + i };
    (0..ranks / size).map(|g| (0..size).map(|i| AcceleratorId(member(g, i) as u32)).collect()).collect()
}

/// What holds the senders of a pattern back.
fn transport(congestion: Option<&CongestionInput>, window: Option<f64>) -> Transport {
    match congestion {
        Some(c) if *c.control == CongestionControl::Dcqcn => Transport::Pauses(c.reaction.map_or(REACTION, |r| r.get())),
        Some(_) => Transport::Pauses(f64::INFINITY),
        None => window.map_or(Transport::Fair, Transport::Window),
    }
}

fn besides(input: &CollectiveInput, all: u64, diags: &mut Diagnostics) -> Option<Vec<Beside>> {
    let mut out = Vec::new();
    for other in input.beside.iter() {
        let last = (*other.ranks - 1).saturating_mul(*other.stride).saturating_add(*other.first);
        if other.op.moves_tokens() {
            let message = format!("`{}` beside another operation has no routing of tokens", *other.op);
            diags.push(
                Diagnostic::error(codes::UNSUPPORTED, message)
                    .at(other.op.span, "here")
                    .hint("measure the exchange, and put the other one beside it"),
            );
            return None;
        }
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
    let communicator = sweep.communicator(fabric, &sweep.groups[..1]);
    let smallest = sweep.payload(op, sweep.sizes[0], sweep.algorithm).0;
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
    if let Some(protocol) = sweep.protocol
        && communicator.plan_by(op, smallest, sweep.algorithm, sweep.protocol).is_none()
    {
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, format!("{op} has no form of its own under {protocol} here"))
                .at(input.protocol.span, "no such form")
                .hint("protocols are those of rings, and of trees between nodes; LL128 up to NVLink 4; RCCL's only inside one domain"),
        );
        return false;
    }
    if input.channels.is_some() && !communicator.knows_channels() {
        diags.push(
            Diagnostic::error(codes::UNSUPPORTED, "what one channel moves is not known on these links")
                .at(input.channels.span, "no such figure")
                .hint("leave it out; it is known of NVLink 2 to 5"),
        );
        return false;
    }
    sweep.explicit.is_none_or(|chunks| messages_of(input, sweep, &communicator, (op, chunks), diags))
}

/// Messages of an explicit run, all groups together, that memory holds (about 100 bytes each).
const MOST_MESSAGES: f64 = 3e7;

/// Whether every size has a message-by-message form that fits into memory; reports where not.
fn messages_of(
    input: &CollectiveInput,
    sweep: &Sweep,
    communicator: &Communicator<'_>,
    (op, chunks): (Op, u32),
    diags: &mut Diagnostics,
) -> bool {
    for &size in &sweep.sizes {
        let bytes = sweep.payload(op, size, sweep.algorithm).0;
        let algorithm = sweep.algorithm.unwrap_or_else(|| communicator.plan(op, bytes).algorithm);
        let messages = communicator.most_messages(op, algorithm, chunks) * sweep.groups.len() as f64;
        if messages > MOST_MESSAGES {
            diags.push(
                Diagnostic::error(codes::UNSUPPORTED, format!("{op} by `{algorithm}` over these ranks is up to {messages:.1e} messages"))
                    .at(input.explicit.span, "too many to follow one by one")
                    .hint("leave out `explicit`: the coupled form costs the same at any size; or take fewer ranks or chunks"),
            );
            return false;
        }
        if communicator.schedule(op, algorithm, 1).is_none() {
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
