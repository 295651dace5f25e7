//! Writes traces as Chakra files.

use super::chakra::EXACT_MICROS;
use super::protobuf::Writer;
use super::{Trace, TraceCollective, TraceKind, TraceOp};
use std::fmt::Write as _;

/// The `.et` file of a rank; `None` if the trace does not have the rank.
///
/// A folded trace is written unfolded, sizes as one rank's input, and groups under the names of [`write_groups`].
#[must_use]
pub fn write_rank(trace: &Trace, rank: u32) -> Option<Vec<u8>> {
    let class = trace.ranks.get(trace.class_of(rank)?)?;
    let mut file = Writer::default();
    let mut message = Writer::default();
    message.blob(1, b"0.0.4");
    file.delimited(&message.bytes);
    let place = Place { shift: rank - class.rank, sets: set_numbers(trace, rank) };
    for op in &class.ops {
        let node = node(trace, op, &class.ops, &place);
        file.delimited(&node.bytes);
    }
    Some(file.bytes)
}

/// The file of groups that belongs to [`write_rank`]: numbers from 1, since readers take 0 for the whole job.
#[must_use]
pub fn write_groups(trace: &Trace) -> String {
    let mut text = String::from("{");
    let sets = trace.groups.iter().flat_map(|g| &g.sets);
    for (i, set) in sets.enumerate() {
        let ranks: Vec<String> = set.iter().map(ToString::to_string).collect();
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(text, "{comma}\n  \"{}\": [{}]", i + 1, ranks.join(", "));
    }
    text.push_str("\n}\n");
    text
}

/// What a rank of a class has of its own.
struct Place {
    /// Its distance from the first rank of its class.
    shift: u32,
    /// For every group the number of the set that has it.
    sets: Vec<usize>,
}

/// For every group the number of the set that has a rank, or that of its first set.
fn set_numbers(trace: &Trace, rank: u32) -> Vec<usize> {
    let mut before = 1;
    let number = |group: &super::TraceGroup| {
        let own = before + group.sets.iter().position(|s| s.contains(&rank)).unwrap_or(0);
        before += group.sets.len();
        own
    };
    trace.groups.iter().map(number).collect()
}

fn node(trace: &Trace, op: &TraceOp, ops: &[TraceOp], place: &Place) -> Writer {
    let mut out = Writer::default();
    out.number(1, op.id);
    out.blob(2, op.name.as_bytes());
    let mut deps = Writer::default();
    for dep in &op.deps {
        if let Some(op) = ops.get(*dep as usize) {
            deps.varint(op.id);
        }
    }
    let kind = match op.kind {
        TraceKind::Nothing => 1,
        TraceKind::Memory { load: true, .. } => 2,
        TraceKind::Memory { .. } => 3,
        TraceKind::Compute { .. } => 4,
        TraceKind::Send { .. } => 5,
        TraceKind::Recv { .. } => 6,
        TraceKind::Collective { .. } => 7,
    };
    out.number(3, kind);
    if !deps.bytes.is_empty() {
        out.blob(5, &deps.bytes);
    }
    attributes(trace, op, place, &mut out);
    out
}

fn attributes(trace: &Trace, op: &TraceOp, place: &Place, out: &mut Writer) {
    let shift = place.shift;
    let on_cpu = matches!(op.kind, TraceKind::Compute { on_cpu: true, .. });
    attribute(out, "is_cpu_op", |w| w.number(27, u64::from(on_cpu)));
    match op.kind {
        TraceKind::Nothing => {}
        TraceKind::Memory { bytes, .. } => amount(out, "tensor_size", bytes),
        TraceKind::Compute { micros, flops, bytes, .. } => {
            duration(out, micros);
            amount(out, "num_ops", flops);
            amount(out, "tensor_size", bytes);
        }
        TraceKind::Send { to, tag, bytes } => {
            attribute(out, "comm_dst", |w| w.number(11, u64::from(to + shift)));
            attribute(out, "comm_tag", |w| w.number(13, tag));
            amount(out, "comm_size", bytes);
        }
        TraceKind::Recv { from, tag, bytes } => {
            attribute(out, "comm_src", |w| w.number(11, u64::from(from + shift)));
            attribute(out, "comm_tag", |w| w.number(13, tag));
            amount(out, "comm_size", bytes);
        }
        TraceKind::Collective { op, bytes, group, micros } => {
            duration(out, micros);
            attribute(out, "comm_type", |w| w.number(9, comm_type(op)));
            amount(out, "comm_size", trace.input_bytes(op, bytes, group));
            let name = place.sets.get(group as usize).map_or_else(String::new, ToString::to_string);
            attribute(out, "pg_name", |w| w.blob(29, name.as_bytes()));
        }
    }
}

fn comm_type(op: TraceCollective) -> u64 {
    match op {
        TraceCollective::AllReduce => 0,
        TraceCollective::Reduce => 1,
        TraceCollective::AllGather => 2,
        TraceCollective::Gather => 3,
        TraceCollective::Scatter => 4,
        TraceCollective::Broadcast => 5,
        TraceCollective::AllToAll => 6,
        TraceCollective::ReduceScatter => 7,
        TraceCollective::Barrier => 9,
    }
}

fn attribute(out: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
    let mut message = Writer::default();
    message.blob(1, name.as_bytes());
    value(&mut message);
    out.blob(10, &message.bytes);
}

/// Whether a number is whole and exact as an integer of the file.
fn is_whole(value: f64) -> bool {
    value.fract() == 0.0 && (0.0..9.0e15).contains(&value)
}

fn amount(out: &mut Writer, name: &str, value: f64) {
    if is_whole(value) {
        attribute(out, name, |w| w.number(13, value as u64));
    } else {
        attribute(out, name, |w| w.double(3, value));
    }
}

/// A duration: whole microseconds in the node, and exactly in an attribute where that is not enough.
fn duration(out: &mut Writer, micros: Option<f64>) {
    let Some(micros) = micros else { return };
    out.number(7, libm::round(micros.clamp(0.0, 9.0e15)) as u64);
    if !is_whole(micros) || micros == 0.0 {
        attribute(out, EXACT_MICROS, |w| w.double(3, micros));
    }
}
