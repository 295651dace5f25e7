//! Chakra execution traces: `.et` files, one for each rank, and files of groups.
//!
//! A file is a sequence of messages, each with its length before it: metadata, then nodes in any order with sparse numbers.
//! Sizes of collectives are what one rank puts in. Tolerated: dependencies on absent numbers (noticed), any type of an
//! integer attribute, attributes and fields that are not known. Nodes of the host that only launch a collective (no
//! `comm_type`) are host work. Durations of collectives are
//! kept beside their sizes: a simulator answers them, and only falls back on what was recorded.
//!
//! In traces converted from PyTorch, control dependencies are the parents in the tree of the host trace; the converter puts
//! the order into data dependencies, and both together are circular. There (an `rf_id` tells, or a circle that data
//! dependencies alone do not make) only data dependencies count. In written traces both do.

use super::attribute::Attribute;
use super::check::order;
use super::groups::{self, RawRank, Use};
use super::protobuf::{Reader, Wire, WireFault};
use super::{MAX_RANKS, OpName, Trace, TraceCollective, TraceError, TraceFault, TraceFile, TraceKind, TraceOp};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use super::chakra_write::{write_groups, write_rank};

/// The attribute in which our writer keeps a duration that is not a whole number of microseconds.
pub(super) const EXACT_MICROS: &str = "orrery_micros";

/// Reads the files of a trace and, where there is one, the file of groups (its name and bytes).
///
/// # Errors
/// The first fault of a file.
pub fn read(files: &[TraceFile<'_>], groups: Option<(&str, &[u8])>) -> Result<Trace, TraceError> {
    let shared = groups.map_or(Ok(Vec::new()), |(name, bytes)| groups::read_file(name, bytes))?;
    let mut noticed = Vec::new();
    let mut ranks = Vec::with_capacity(files.len());
    for file in files {
        ranks.push(read_rank(file, &mut noticed)?);
    }
    groups::resolve(ranks, &shared, noticed)
}

/// Reads `PREFIX.0.et`, `PREFIX.1.et` and so on, and the file of groups.
///
/// # Errors
/// The first fault of a file, or that there is none.
pub fn load(prefix: &Path, groups: Option<&Path>) -> Result<Trace, TraceError> {
    let mut owned = Vec::new();
    for (rank, path) in find_files(prefix, ".et")? {
        owned.push((rank, path.display().to_string(), read_bytes(&path)?));
    }
    let files: Vec<_> = owned.iter().map(|(rank, name, bytes)| TraceFile { name, rank: *rank, bytes }).collect();
    let groups = groups.map(|p| read_bytes(p).map(|b| (p.display().to_string(), b))).transpose()?;
    read(&files, groups.as_ref().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, TraceError> {
    std::fs::read(path).map_err(|e| TraceError::file(&path.display().to_string(), format!("cannot be read: {e}"), "check the path"))
}

/// The files `PREFIX.0.et`, `PREFIX.1.et` and so on (or another ending), by rank.
///
/// # Errors
/// The folder cannot be read, or there is no such file.
pub fn find_files(prefix: &Path, ending: &str) -> Result<Vec<(u32, PathBuf)>, TraceError> {
    let shown = prefix.display().to_string();
    let start = format!("{}.", prefix.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()));
    let folder = prefix.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let entries =
        std::fs::read_dir(folder).map_err(|e| TraceError::file(&shown, format!("its folder cannot be read: {e}"), "check the path"))?;
    let mut out = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let middle = name.strip_prefix(&start).and_then(|n| n.strip_suffix(ending));
        if let Some(rank) = middle.and_then(|m| m.parse().ok()) {
            out.push((rank, entry.path()));
        }
    }
    out.sort();
    if out.is_empty() {
        let what = format!("no file has this name with `.0{ending}` behind it");
        return Err(TraceError::file(&shown, what, "give the path up to the rank: `traces/job`"));
    }
    Ok(out)
}

/// One node as it stands in the file.
#[derive(Default)]
struct Node<'a> {
    at: usize,
    id: u64,
    name: &'a str,
    kind: u64,
    control: Vec<u64>,
    data: Vec<u64>,
    duration: u64,
    inputs: &'a str,
    attributes: Vec<Attribute<'a>>,
}

fn wire(file: &str, fault: WireFault) -> TraceError {
    let fix = "a `.et` file is a sequence of Chakra messages with their lengths; it may be cut off, packed, or a text";
    TraceError::binary(file, fault.at, fault.what, fix)
}

fn read_rank(file: &TraceFile<'_>, noticed: &mut Vec<TraceFault>) -> Result<RawRank, TraceError> {
    let bad = |fault| wire(file.name, fault);
    if file.rank >= MAX_RANKS {
        return Err(TraceError::file(file.name, format!("rank {} is above {}", file.rank, MAX_RANKS - 1), "number the files by rank"));
    }
    let mut reader = Reader::new(file.bytes);
    if reader.is_empty() {
        return Err(TraceError::binary(file.name, 0, "the file is empty", "write the metadata message and the nodes"));
    }
    reader.delimited().and_then(metadata).map_err(bad)?;
    let (nodes, places) = nodes(file, reader)?;
    let mut raw = RawRank { file: file.name.to_owned(), rank: file.rank, ..RawRank::default() };
    let mut dims = false;
    let mut note = |what: &str| noticed.push(TraceFault::Tolerated { file: file.name.to_owned(), line: 0, what: what.to_owned() });
    for node in &nodes {
        if groups::is_init(node.name) {
            raw.groups.extend(groups::read_init(file.name, node.id, node.inputs)?);
        }
        let (kind, group) = kind(file, node)?;
        if let (TraceKind::Collective { .. }, group) | (_, group @ Some(_)) = (kind, group) {
            raw.uses.push(Use { op: raw.ops.len(), group });
            dims |= node.some_dims().map_err(bad)?;
        }
        raw.ops.push(TraceOp { id: node.id, name: node.name.to_owned(), deps: Vec::new(), kind });
    }
    if dims {
        note("some collectives name dimensions in `involved_dim`; they run over the whole group");
    }
    let is_tree = depend(&nodes, &places, &mut raw.ops);
    if is_tree {
        note("control dependencies are parents in a tree of PyTorch; only data dependencies count");
    }
    absent(file.rank, &nodes, &places, is_tree, noticed);
    Ok(raw)
}

/// Skims the metadata: it has nothing that a reader needs, but its form tells other files apart.
fn metadata(mut message: Reader<'_>) -> Result<(), WireFault> {
    while let Some((field, value)) = message.field()? {
        if let (2, Wire::Bytes(attribute)) = (field, value) {
            Attribute::read(attribute)?;
        }
    }
    Ok(())
}

fn node(mut message: Reader<'_>) -> Result<Node<'_>, WireFault> {
    let mut out = Node { at: message.at(), ..Node::default() };
    while let Some((field, value)) = message.field()? {
        match (field, value) {
            (1, Wire::Varint(id)) => out.id = id,
            (2, Wire::Bytes(name)) => out.name = name.text()?,
            (3, Wire::Varint(kind)) => out.kind = kind,
            (4 | 5, Wire::Varint(_) | Wire::Bytes(_)) => {
                let list = if field == 4 { &mut out.control } else { &mut out.data };
                numbers(value, list)?;
            }
            (7, Wire::Varint(micros)) => out.duration = micros,
            (8, Wire::Bytes(mut io)) => {
                while let Some((field, value)) = io.field()? {
                    if let (1, Wire::Bytes(values)) = (field, value) {
                        out.inputs = std::str::from_utf8(values.rest()).unwrap_or_default();
                    }
                }
            }
            (10, Wire::Bytes(attribute)) => out.attributes.push(Attribute::read(attribute)?),
            (1..=10, _) if !matches!(field, 6 | 9) => {
                return Err(WireFault { at: out.at, what: "a node's field has another type than Chakra's" });
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Adds one number, or packed ones.
fn numbers(value: Wire<'_>, list: &mut Vec<u64>) -> Result<(), WireFault> {
    match value {
        Wire::Varint(number) => list.push(number),
        Wire::Bytes(mut packed) => {
            while !packed.is_empty() {
                list.push(packed.varint()?);
            }
        }
        _ => {}
    }
    Ok(())
}

/// All nodes, and where each number stands.
fn nodes<'a>(file: &TraceFile<'_>, mut reader: Reader<'a>) -> Result<(Vec<Node<'a>>, HashMap<u64, u32>), TraceError> {
    let mut nodes = Vec::new();
    let mut places = HashMap::new();
    while !reader.is_empty() {
        let node = reader.delimited().and_then(node).map_err(|fault| wire(file.name, fault))?;
        // Told at once: a file of zeros is as many empty nodes as it has bytes.
        if places.insert(node.id, nodes.len() as u32).is_some() {
            let what = format!("two nodes have the number {}", node.id);
            return Err(TraceError::binary(file.name, node.at, what, "give each node of a file its own number"));
        }
        nodes.push(node);
    }
    Ok((nodes, places))
}

/// Sets what each operation waits for; `true` if control dependencies are not an order and do not count.
fn depend(nodes: &[Node<'_>], places: &HashMap<u64, u32>, ops: &mut [TraceOp]) -> bool {
    let has_control = nodes.iter().any(|n| !n.control.is_empty());
    let set = |ops: &mut [TraceOp], control: bool| {
        for (op, node) in ops.iter_mut().zip(nodes) {
            let ids = node.data.iter().chain(node.control.iter().filter(|_| control));
            op.deps = ids.filter_map(|id| places.get(id)).copied().collect();
            op.deps.sort_unstable();
            op.deps.dedup();
        }
    };
    let is_tree = has_control && nodes.iter().any(|n| n.attribute("rf_id").is_some());
    set(ops, !is_tree);
    if is_tree || !has_control || order(ops).0.len() == ops.len() {
        return is_tree;
    }
    set(ops, false);
    let is_tree = order(ops).0.len() == ops.len();
    set(ops, !is_tree);
    is_tree
}

/// Notices dependencies on numbers that no node has.
fn absent(rank: u32, nodes: &[Node<'_>], places: &HashMap<u64, u32>, is_tree: bool, noticed: &mut Vec<TraceFault>) {
    for node in nodes {
        let ids = node.control.iter().filter(|_| !is_tree).chain(&node.data);
        let absent: Vec<u64> = ids.filter(|id| !places.contains_key(id)).copied().collect();
        if !absent.is_empty() {
            let op = OpName { id: node.id, name: node.name.to_owned() };
            noticed.push(TraceFault::AbsentDependencies { rank, op, absent });
        }
    }
}

impl<'a> Node<'a> {
    fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|a| a.name == name)
    }
    fn fault(&self, file: &TraceFile<'_>, what: &str, fix: &str) -> TraceError {
        let short: String = self.name.chars().take(60).collect();
        TraceError::binary(file.name, self.at, format!("node {} (`{short}`): {what}", self.id), fix)
    }
    /// A size or count, 0 where there is none.
    fn amount(&self, file: &TraceFile<'_>, name: &str) -> Result<f64, TraceError> {
        let Some(attribute) = self.attribute(name) else { return Ok(0.0) };
        let number = attribute.value.number().filter(|n| *n >= 0.0);
        number.ok_or_else(|| self.fault(file, &format!("`{name}` is not a number from 0"), "write an integer attribute, int64 or uint64"))
    }
    fn whole(&self, file: &TraceFile<'_>, name: &str) -> Result<Option<i128>, TraceError> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        let number = attribute.value.integer();
        number.map(Some).ok_or_else(|| self.fault(file, &format!("`{name}` is not a whole number"), "write an integer attribute"))
    }
    fn peer(&self, file: &TraceFile<'_>, name: &str) -> Result<u32, TraceError> {
        let rank = self.whole(file, name)?;
        let rank = rank.ok_or_else(|| self.fault(file, &format!("it has no `{name}`"), "give the rank at the other end"))?;
        let rank = u32::try_from(rank).ok().filter(|r| *r < MAX_RANKS);
        rank.ok_or_else(|| self.fault(file, &format!("`{name}` is not a rank"), "give a rank from 0"))
    }
    fn tag(&self, file: &TraceFile<'_>) -> Result<u64, TraceError> {
        // Negative tags are as good as others: only equality counts.
        Ok(self.whole(file, "comm_tag")?.unwrap_or(0) as u64)
    }
    fn on_cpu(&self) -> bool {
        self.attribute("is_cpu_op").and_then(|a| a.value.number()).is_some_and(|n| n != 0.0)
    }
    fn group(&self) -> Option<String> {
        let value = self.attribute("pg_name")?.value;
        if let super::attribute::Value::Text(text) = value {
            return Some(text.trim().to_owned());
        }
        value.integer().map(|i| i.to_string())
    }
    fn some_dims(&self) -> Result<bool, WireFault> {
        let dims = self.attribute("involved_dim").or_else(|| self.attribute("involve_dims"));
        dims.map_or(Ok(false), |a| a.value.list_has_zero())
    }
    /// The recorded duration.
    fn micros(&self) -> Option<f64> {
        let exact = self.attribute(EXACT_MICROS).and_then(|a| a.value.number());
        exact.or_else(|| (self.duration > 0).then_some(self.duration as f64))
    }
    fn compute(&self, file: &TraceFile<'_>) -> Result<TraceKind, TraceError> {
        let micros = self.micros();
        let (flops, bytes) = (self.amount(file, "num_ops")?, self.amount(file, "tensor_size")?);
        Ok(TraceKind::Compute { micros, flops, bytes, on_cpu: self.on_cpu() })
    }
}

/// What a node does and, for a collective, the name of its group.
fn kind(file: &TraceFile<'_>, node: &Node<'_>) -> Result<(TraceKind, Option<String>), TraceError> {
    let plain = match node.kind {
        0 | 1 => TraceKind::Nothing,
        2 | 3 => TraceKind::Memory { load: node.kind == 2, bytes: node.amount(file, "tensor_size")? },
        4 => node.compute(file)?,
        5 => TraceKind::Send { to: node.peer(file, "comm_dst")?, tag: node.tag(file)?, bytes: node.amount(file, "comm_size")? },
        6 => TraceKind::Recv { from: node.peer(file, "comm_src")?, tag: node.tag(file)?, bytes: node.amount(file, "comm_size")? },
        7 if node.on_cpu() && node.attribute("comm_type").is_none() => node.compute(file)?,
        7 => {
            let op = collective(file, node)?;
            let (bytes, micros) = (node.amount(file, "comm_size")?, node.micros());
            return Ok((TraceKind::Collective { op, bytes, group: 0, micros }, node.group()));
        }
        other => return Err(node.fault(file, &format!("its type {other} is unknown"), "types are 0 to 7")),
    };
    Ok((plain, None))
}

fn collective(file: &TraceFile<'_>, node: &Node<'_>) -> Result<TraceCollective, TraceError> {
    let fix = "give `comm_type`: 0 all-reduce, 2 all-gather, 6 all-to-all, 7 reduce-scatter";
    let Some(number) = node.whole(file, "comm_type")? else { return Err(node.fault(file, "a collective has no `comm_type`", fix)) };
    Ok(match number {
        0 => TraceCollective::AllReduce,
        1 => TraceCollective::Reduce,
        2 => TraceCollective::AllGather,
        3 => TraceCollective::Gather,
        4 => TraceCollective::Scatter,
        5 => TraceCollective::Broadcast,
        6 => TraceCollective::AllToAll,
        7 | 8 => TraceCollective::ReduceScatter,
        9 => TraceCollective::Barrier,
        other => return Err(node.fault(file, &format!("`comm_type` {other} is unknown"), fix)),
    })
}
