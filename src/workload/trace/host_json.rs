//! PyTorch host traces: the JSON of `ExecutionTraceObserver`, schemas 1.0.2-chakra.0.0.4 to 1.1.1.
//!
//! Nodes form a tree (`ctrl_deps` is the parent; the root is its own) and stand in order of their end; numbers give the order
//! of their start. So a node waits for its parent, for the node before it on its thread, and for the node of the forward
//! thread that it belongs to. A collective does not hold up its thread: only the `wait` with its sequence number does.
//! `record_param_comms` nodes become collectives; `nccl:` nodes inside them become nothing, others collectives of all ranks.
//! Host traces have no kernels: without `dur` or `exclusive_dur` (which linking with a device trace adds), work has no
//! duration. That the host waits for another thread's backward pass is not in such a file.

use super::groups::{self, GroupDef, RawRank, Use};
use super::host_comms::{self, Comms, GroupRef, Verb, attribute};
use super::{MAX_RANKS, OpName, Trace, TraceError, TraceFault, TraceFile, TraceKind, TraceOp};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Reads host traces, one file for each rank.
///
/// # Errors
/// The first fault of a file.
pub fn read(files: &[TraceFile<'_>]) -> Result<Trace, TraceError> {
    let mut noticed = Vec::new();
    let mut ranks = Vec::with_capacity(files.len());
    for file in files {
        ranks.push(read_rank(file, &mut noticed)?);
    }
    groups::resolve(ranks, &[], noticed)
}

/// A node with what all nodes have.
struct Node<'a> {
    id: u64,
    name: &'a str,
    parents: Vec<u64>,
    thread: u64,
    value: &'a Value,
    comms: Option<Comms>,
}

/// The nodes and where each number stands.
struct Tree<'a> {
    nodes: Vec<Node<'a>>,
    places: HashMap<u64, u32>,
}

fn read_rank(file: &TraceFile<'_>, noticed: &mut Vec<TraceFault>) -> Result<RawRank, TraceError> {
    if file.rank >= MAX_RANKS {
        return Err(TraceError::file(file.name, format!("rank {} is above {}", file.rank, MAX_RANKS - 1), "number the files by rank"));
    }
    let text = TraceError::utf8(file.name, file.bytes)?;
    let root: Value = serde_json::from_str(text).map_err(|e| TraceError::json(file.name, &e))?;
    schema(file, text, &root)?;
    let nodes = root.get("nodes").and_then(Value::as_array);
    let nodes = nodes.ok_or_else(|| TraceError::text(file.name, 1, "there is no list `nodes`", "give the file that the observer wrote"))?;
    let tree = tree(file, nodes)?;
    let mut raw = RawRank { file: file.name.to_owned(), rank: file.rank, ..RawRank::default() };
    for node in tree.nodes.iter().filter(|n| groups::is_init(n.name)) {
        let inputs = node.value.get("inputs").and_then(|i| i.get("values")).and_then(Value::as_array);
        for text in inputs.into_iter().flatten().filter_map(Value::as_str) {
            raw.groups.extend(groups::read_init(file.name, node.id, text)?);
        }
    }
    layouts(file, &tree, &mut raw.groups)?;
    for (i, node) in tree.nodes.iter().enumerate() {
        let kind = kind(&tree, node);
        let peer = matches!(kind, TraceKind::Send { .. } | TraceKind::Recv { .. });
        if peer || matches!(kind, TraceKind::Collective { .. }) {
            let group = node.comms.as_ref().and_then(|c| group_name(c, &raw.groups));
            raw.uses.push(Use { op: i, group });
        }
        raw.ops.push(TraceOp { id: node.id, name: node.name.to_owned(), deps: Vec::new(), kind });
    }
    depend(file.rank, &tree, &mut raw.ops, noticed);
    Ok(raw)
}

/// Whether the schema is one that this reader knows.
fn schema(file: &TraceFile<'_>, text: &str, root: &Value) -> Result<(), TraceError> {
    let fix = "record with a PyTorch that writes schema 1.0.2-chakra.0.0.4 to 1.1.1";
    let schema = root.get("schema").and_then(Value::as_str);
    let schema = schema.ok_or_else(|| TraceError::text(file.name, 1, "there is no `schema`: this is no host trace", fix))?;
    let numbers: Vec<u32> = schema.split(['-', '.']).map_while(|p| p.parse().ok()).collect();
    let known = matches!(numbers.as_slice(), [1, minor, patch, ..] if (*minor, *patch) >= (0, 2) && *minor < 2);
    if known {
        return Ok(());
    }
    let short: String = schema.chars().take(40).collect();
    Err(TraceError::text(file.name, groups::line_of(text, "schema"), format!("schema `{short}` is not known"), fix))
}

fn tree<'a>(file: &TraceFile<'_>, values: &'a [Value]) -> Result<Tree<'a>, TraceError> {
    let mut nodes = Vec::with_capacity(values.len());
    let mut places = HashMap::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let id = value.get("id").and_then(Value::as_u64);
        let id = id.ok_or_else(|| TraceError::file(file.name, format!("node {i} of the list has no `id`"), "give it a whole number"))?;
        let name = value.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| TraceError::node(file.name, id, "it has no `name`", "give it a text"))?;
        let parents = match value.get("ctrl_deps") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).collect(),
            other => other.and_then(Value::as_u64).into_iter().collect(),
        };
        if places.insert(id, i as u32).is_some() {
            return Err(TraceError::node(file.name, id, "two nodes have this number", "give each node its own number"));
        }
        // Device nodes of linked traces say their stream; a thread's number is far above those.
        let stream = value.get("stream").and_then(Value::as_u64).map(|s| u64::MAX - (s & 0xffff));
        let thread = stream.or_else(|| attribute(value, "tid").and_then(Value::as_u64)).unwrap_or(0);
        nodes.push(Node { id, name, parents, thread, value, comms: host_comms::read(name, value) });
    }
    Ok(Tree { nodes, places })
}

impl<'a> Tree<'a> {
    fn parent(&self, node: &Node<'a>) -> Option<&Node<'a>> {
        let id = node.parents.first().filter(|p| **p != node.id)?;
        self.nodes.get(*self.places.get(id)? as usize)
    }
    /// Whether a node is inside one that communicates.
    fn is_inside(&self, node: &Node<'a>) -> bool {
        let mut at = self.parent(node);
        for _ in 0..64 {
            let Some(above) = at else { return false };
            if above.comms.is_some() {
                return true;
            }
            at = self.parent(above);
        }
        false
    }
    fn has_children(&self) -> Vec<bool> {
        let mut out = vec![false; self.nodes.len()];
        for node in &self.nodes {
            for parent in node.parents.iter().filter(|p| **p != node.id) {
                if let Some(place) = self.places.get(parent) {
                    out[*place as usize] = true;
                }
            }
        }
        out
    }
}

/// The group of a node: by name, or by the number of a backend that a group of the file has.
fn group_name(comms: &Comms, groups: &[GroupDef]) -> Option<String> {
    match comms.group.as_ref()? {
        GroupRef::Name(name) => Some(name.clone()),
        GroupRef::Backend(number) => {
            let by_backend = groups.iter().find(|g| g.backend == Some(*number));
            Some(by_backend.map_or_else(|| number.to_string(), |g| g.name.clone()))
        }
    }
}

/// Defines groups that only attributes of their collectives describe: first rank, distance, count.
fn layouts(file: &TraceFile<'_>, tree: &Tree<'_>, groups: &mut Vec<GroupDef>) -> Result<(), TraceError> {
    let mut total = 0;
    for node in &tree.nodes {
        let Some(((start, stride, size), name)) = node.comms.as_ref().and_then(|c| c.layout.zip(group_name(c, groups))) else { continue };
        if groups.iter().any(|g| g.name == name) || size == 0 || (stride == 0 && size > 1) {
            continue;
        }
        let last = stride.checked_mul(size - 1).and_then(|s| s.checked_add(start)).filter(|l| *l < u64::from(MAX_RANKS));
        total += size.min(u64::from(MAX_RANKS));
        if last.is_none() || total > u64::from(MAX_RANKS) {
            let fix = format!("`global_rank_start`, `global_rank_stride` and `pg_size` must name ranks below {MAX_RANKS}");
            return Err(TraceError::node(file.name, node.id, "the ranks of its group are out of range", fix));
        }
        let ranks = (0..size).map(|i| (start + i * stride) as u32).collect();
        groups.push(GroupDef { name, backend: None, ranks, size: size as u32 });
    }
    Ok(())
}

fn kind(tree: &Tree<'_>, node: &Node<'_>) -> TraceKind {
    if let Some(comms) = &node.comms {
        let bytes = comms.bytes;
        return match comms.verb {
            _ if tree.is_inside(node) => TraceKind::Nothing,
            Verb::Collective(op) => TraceKind::Collective { op, bytes, group: 0, micros: recorded(node) },
            Verb::Send => TraceKind::Send { to: comms.peer, tag: 0, bytes },
            Verb::Recv => TraceKind::Recv { from: comms.peer, tag: 0, bytes },
            Verb::Wait => TraceKind::Nothing,
        };
    }
    // Marks of the observer, of groups and of kernels of NCCL take no time of their own.
    if node.name.starts_with('[') || node.name.starts_with("##") || (node.name.starts_with("nccl") && tree.is_inside(node)) {
        return TraceKind::Nothing;
    }
    let micros = recorded(node);
    let on_cpu = node.value.get("stream").is_none();
    TraceKind::Compute { micros, flops: 0.0, bytes: 0.0, on_cpu }
}

/// The recorded duration of a node, of its own where the file says that apart.
fn recorded(node: &Node<'_>) -> Option<f64> {
    let number = |v: Option<&Value>| v.and_then(Value::as_f64).filter(|n| n.is_finite() && *n >= 0.0);
    let own = number(node.value.get("exclusive_dur"));
    own.or_else(|| number(node.value.get("dur"))).or_else(|| number(attribute(node.value, "dur")))
}

/// What came before in order of start.
#[derive(Default)]
struct Before<'a> {
    /// The last node that held up each thread.
    thread: BTreeMap<u64, u32>,
    /// The last collective of each group, which run one after another.
    group: BTreeMap<Option<&'a GroupRef>, u32>,
    /// The last communication with each sequence number.
    started: BTreeMap<u64, u32>,
}

/// Sets what each node waits for.
fn depend(rank: u32, tree: &Tree<'_>, ops: &mut [TraceOp], noticed: &mut Vec<TraceFault>) {
    let children = tree.has_children();
    let mut order: Vec<usize> = (0..tree.nodes.len()).collect();
    order.sort_by_key(|&i| tree.nodes[i].id);
    let mut before = Before::default();
    for i in order {
        let node = &tree.nodes[i];
        let mut absent = Vec::new();
        let forward = attribute(node.value, "fw_parent").and_then(Value::as_u64).filter(|f| *f != 0 && *f != node.id);
        let mut deps: Vec<u32> = forward.and_then(|f| tree.places.get(&f)).copied().into_iter().collect();
        for parent in node.parents.iter().filter(|p| **p != node.id) {
            match tree.places.get(parent) {
                Some(place) => deps.push(*place),
                None => absent.push(*parent),
            }
        }
        before.node(i as u32, node, tree.is_inside(node), &ops[i].kind, &mut deps);
        let is_part = children[i] && node.value.get("exclusive_dur").is_none();
        if is_part && matches!(ops[i].kind, TraceKind::Compute { .. }) {
            ops[i].kind = TraceKind::Nothing;
        }
        deps.sort_unstable();
        deps.dedup();
        ops[i].deps = deps;
        if !absent.is_empty() {
            noticed.push(TraceFault::AbsentDependencies { rank, op: OpName::from(&ops[i]), absent });
        }
    }
}

impl<'a> Before<'a> {
    /// Adds what a node waits for by its thread and its group, and remembers it for those after it.
    fn node(&mut self, place: u32, node: &'a Node<'_>, inside: bool, kind: &TraceKind, deps: &mut Vec<u32>) {
        deps.extend(self.thread.get(&node.thread));
        let sequence = node.comms.as_ref().and_then(|c| c.sequence);
        let group = node.comms.as_ref().and_then(|c| c.group.as_ref());
        match kind {
            TraceKind::Collective { .. } => {
                deps.extend(self.group.insert(group, place));
                self.started.extend(sequence.map(|s| (s, place)));
            }
            TraceKind::Send { .. } | TraceKind::Recv { .. } => self.started.extend(sequence.map(|s| (s, place))),
            // What is inside a collective starts with it and must not hold up the thread in its stead.
            _ if inside => {}
            _ => {
                if node.comms.as_ref().is_some_and(|c| c.verb == Verb::Wait) {
                    deps.extend(sequence.and_then(|s| self.started.get(&s)));
                }
                self.thread.insert(node.thread, place);
            }
        }
    }
}
