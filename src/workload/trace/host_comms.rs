//! What a `record_param_comms` or `nccl:` node of a PyTorch host trace says about communication.
//!
//! Inputs are tensors, sequence number, group, rank, name, splits, and sizes of the group. The name is the only text among
//! them at the top level, so the others are found by their distance from it. Newer files add attributes, which win.

use super::TraceCollective;
use serde_json::Value;

/// What is communicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// With all of a group.
    Collective(TraceCollective),
    /// To one.
    Send,
    /// From one.
    Recv,
    /// The host or a stream waits for an earlier one.
    Wait,
}

/// A communication.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comms {
    /// What.
    pub(super) verb: Verb,
    /// Bytes that the rank puts in.
    pub(super) bytes: f64,
    /// Name or number of the group.
    pub(super) group: Option<GroupRef>,
    /// Sequence number, by which a wait finds what it waits for.
    pub(super) sequence: Option<u64>,
    /// Place of the other end in the group.
    pub(super) peer: u32,
    /// First rank, distance and count of the group, where the attributes say them.
    pub(super) layout: Option<(u64, u64, u64)>,
}

/// How a node refers to a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupRef {
    /// By name.
    Name(String),
    /// By the number of its backend.
    Backend(u64),
}

/// The value of an attribute of a node.
pub(super) fn attribute<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    let attributes = node.get("attrs")?.as_array()?;
    attributes.iter().find(|a| a.get("name").and_then(Value::as_str) == Some(name))?.get("value")
}

/// Reads a node that communicates; `None` for any other.
pub(super) fn read(name: &str, node: &Value) -> Option<Comms> {
    let inputs = node.get("inputs").and_then(|i| i.get("values")).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if let Some(rest) = name.strip_prefix("nccl:") {
        let verb = verb(rest).filter(|v| matches!(v, Verb::Collective(_)))?;
        return Some(Comms { verb, bytes: tensor_bytes(inputs, 0), group: None, sequence: None, peer: 0, layout: None });
    }
    if name != "record_param_comms" {
        return None;
    }
    let (at, from_inputs) = inputs.iter().enumerate().find_map(|(i, v)| Some((i, verb(v.as_str()?)?)))?;
    let named = attribute(node, "collective_name").and_then(Value::as_str).and_then(verb);
    let input = |before: usize| at.checked_sub(before).and_then(|i| inputs.get(i));
    let tensors = inputs.get(..at.saturating_sub(3)).unwrap_or_default();
    let sequence = input(3).and_then(|v| v.as_u64().or_else(|| v.get(0)?.as_u64()));
    let peer = input(1).and_then(Value::as_u64).and_then(|p| u32::try_from(p).ok()).unwrap_or(0);
    let group = attribute(node, "pg_name").and_then(group_ref).or_else(|| input(2).and_then(group_ref));
    let number = |name| attribute(node, name).and_then(Value::as_u64);
    let layout = number("global_rank_start").zip(number("global_rank_stride")).zip(number("pg_size"));
    let layout = layout.map(|((start, stride), size)| (start, stride, size));
    let bytes = message_bytes(node).unwrap_or_else(|| tensor_bytes(tensors, 0));
    Some(Comms { verb: named.unwrap_or(from_inputs), bytes, group, sequence, peer, layout })
}

fn group_ref(value: &Value) -> Option<GroupRef> {
    match value {
        Value::String(name) => Some(GroupRef::Name(name.trim_matches('"').to_owned())),
        Value::Number(number) => number.as_u64().map(GroupRef::Backend),
        Value::Array(parts) => parts.first().and_then(Value::as_str).map(|name| GroupRef::Name(name.to_owned())),
        _ => None,
    }
}

/// The verb of a name as PyTorch spells it: `allreduce`, `all_gather`, `_allgather_base`, `all_to_allv`.
fn verb(name: &str) -> Option<Verb> {
    let mut plain: String = name.trim_matches('"').chars().filter(|c| *c != '_').collect::<String>().to_lowercase();
    if plain == "recv" {
        return Some(Verb::Recv);
    }
    while let Some(short) =
        ["coalesced", "base", "oop", "intotensor", "tensor", "single", "sparse", "v"].iter().find_map(|e| plain.strip_suffix(e))
    {
        plain = short.to_owned();
    }
    Some(match plain.as_str() {
        "allreduce" => Verb::Collective(TraceCollective::AllReduce),
        "allgather" => Verb::Collective(TraceCollective::AllGather),
        "reducescatter" => Verb::Collective(TraceCollective::ReduceScatter),
        "alltoall" => Verb::Collective(TraceCollective::AllToAll),
        "broadcast" => Verb::Collective(TraceCollective::Broadcast),
        "reduce" => Verb::Collective(TraceCollective::Reduce),
        "gather" => Verb::Collective(TraceCollective::Gather),
        "scatter" => Verb::Collective(TraceCollective::Scatter),
        "barrier" => Verb::Collective(TraceCollective::Barrier),
        "send" => Verb::Send,
        "wait" => Verb::Wait,
        _ => return None,
    })
}

/// The bytes that the attributes say.
fn message_bytes(node: &Value) -> Option<f64> {
    let elements = attribute(node, "in_msg_nelems")?.as_f64().filter(|n| *n >= 0.0)?;
    let kind = attribute(node, "dtype")?.as_str()?.trim_matches('"').to_lowercase();
    let size = match kind.as_str() {
        "double" | "long" | "float64" | "int64" | "uint64" | "complexfloat" => 8.0,
        "float" | "int" | "float32" | "int32" | "uint32" => 4.0,
        "half" | "bfloat16" | "short" | "float16" | "int16" | "uint16" => 2.0,
        "byte" | "char" | "bool" | "int8" | "uint8" => 1.0,
        k if k.starts_with("float8") => 1.0,
        _ => return None,
    };
    Some(elements * size)
}

/// The bytes of all tensors in a list of values: `[id, storage, offset, elements, bytes of one, device]`, nested in lists.
fn tensor_bytes(values: &[Value], depth: usize) -> f64 {
    let mut sum = 0.0;
    for value in values {
        let Some(list) = value.as_array() else { continue };
        let is_tensor = list.len() == 6 && list[..5].iter().all(Value::is_number) && list[5].is_string();
        if is_tensor {
            sum += list[3].as_f64().unwrap_or(0.0).max(0.0) * list[4].as_f64().unwrap_or(0.0).max(0.0);
        } else if depth < 8 {
            sum += tensor_bytes(list, depth + 1);
        }
    }
    sum
}
