//! Process groups: files that name them, and which ranks a name means on each rank.
//!
//! The same name may mean different ranks on different ranks (a framework numbers groups as it makes them), so a name is
//! looked up with the definitions of its own rank first. A group without ranks is the whole job.

use super::{MAX_RANKS, RankTrace, SizeConvention, Trace, TraceError, TraceFault, TraceGroup, TraceKind, TraceOp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group as a file defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupDef {
    /// Name.
    pub(super) name: String,
    /// Number of the backend, by which old files refer to the group.
    pub(super) backend: Option<u64>,
    /// Ranks; none are all.
    pub(super) ranks: Vec<u32>,
    /// How many ranks there are, where the ranks are not listed.
    pub(super) size: u32,
}

/// An operation that needs a group.
#[derive(Debug, Clone)]
pub(super) struct Use {
    /// Position in the rank's `ops`.
    pub(super) op: usize,
    /// Name of the group; none is the whole job.
    pub(super) group: Option<String>,
}

/// A rank before its groups are known.
#[derive(Debug, Clone, Default)]
pub(super) struct RawRank {
    /// File.
    pub(super) file: String,
    /// Rank.
    pub(super) rank: u32,
    /// Operations; groups in them are not set, and the other end of a message that is in `uses` is a place in its group.
    pub(super) ops: Vec<TraceOp>,
    /// Groups that the rank's file defines.
    pub(super) groups: Vec<GroupDef>,
    /// Operations that need a group.
    pub(super) uses: Vec<Use>,
}

/// Reads a file of groups: `{"1": [0, 1], "2": [2, 3]}`.
pub(super) fn read_file(file: &str, bytes: &[u8]) -> Result<Vec<GroupDef>, TraceError> {
    const FIX: &str = "write {\"1\": [0, 1, 2, 3]}: the ranks of each group";
    let text = TraceError::utf8(file, bytes)?;
    let value: Value = serde_json::from_str(text).map_err(|e| TraceError::json(file, &e))?;
    let Value::Object(map) = value else { return Err(TraceError::text(file, 1, "groups are not a JSON object", FIX)) };
    let mut out = Vec::new();
    for (name, ranks) in map {
        let ranks = ranks_of(&ranks)
            .ok_or_else(|| TraceError::text(file, line_of(text, &name), format!("group `{name}` is not a list of ranks"), FIX))?;
        if let Some(twice) = twice(&ranks) {
            let what = format!("group `{name}` names rank {twice} twice");
            return Err(TraceError::text(file, line_of(text, &name), what, "name each rank once"));
        }
        out.push(GroupDef { name, backend: None, ranks, size: 0 });
    }
    Ok(out)
}

/// The line on which a key first stands.
pub(super) fn line_of(text: &str, key: &str) -> usize {
    let at = text.find(&format!("\"{key}\"")).unwrap_or(0);
    text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}

fn ranks_of(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|v| v.as_u64().and_then(|v| u32::try_from(v).ok()).filter(|v| *v < MAX_RANKS)).collect()
}

fn twice(ranks: &[u32]) -> Option<u32> {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).find(|w| w[0] == w[1]).map(|w| w[0])
}

/// Whether a node with this name defines groups.
pub(super) fn is_init(name: &str) -> bool {
    name.contains("process_group:init")
}

/// Reads the groups in the inputs of a `process_group:init` node: a JSON list, perhaps in quotes and brackets.
pub(super) fn read_init(file: &str, node: u64, text: &str) -> Result<Vec<GroupDef>, TraceError> {
    const FIX: &str = "write [{\"pg_name\": \"1\", \"ranks\": [0, 1], \"group_size\": 2}]";
    let (Some(from), Some(to)) = (text.find("[{"), text.rfind("}]")) else { return Ok(Vec::new()) };
    let list = text.get(from..to + 2).unwrap_or_default();
    let parsed = serde_json::from_str::<Vec<Value>>(list).or_else(|_| serde_json::from_str(&list.replace("\\\"", "\"")));
    let items = parsed.map_err(|e| TraceError::node(file, node, format!("the list of process groups is not JSON: {e}"), FIX))?;
    items.iter().map(|item| init_item(item).map_err(|what| TraceError::node(file, node, what, FIX))).collect()
}

fn init_item(item: &Value) -> Result<GroupDef, String> {
    let name = match item.get("pg_name") {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => return Err("a process group has no `pg_name`".to_owned()),
    };
    let ranks = item.get("ranks").map_or(Some(Vec::new()), ranks_of);
    let ranks = ranks.ok_or_else(|| format!("the `ranks` of process group `{name}` are not a list of ranks"))?;
    if let Some(twice) = twice(&ranks) {
        return Err(format!("process group `{name}` names rank {twice} twice"));
    }
    let size = item.get("group_size").and_then(Value::as_u64).unwrap_or(0);
    let size = u32::try_from(size).ok().filter(|s| *s <= MAX_RANKS);
    let size = size.ok_or_else(|| format!("the `group_size` of process group `{name}` is above {MAX_RANKS}"))?;
    Ok(GroupDef { backend: item.get("backend_id").and_then(Value::as_u64), name, ranks, size })
}

/// Gathers groups, equal ones once.
struct Table {
    groups: Vec<TraceGroup>,
    places: BTreeMap<(String, Arc<[u32]>), u32>,
    world: Arc<[u32]>,
}

impl Table {
    fn add(&mut self, name: &str, ranks: &[u32]) -> u32 {
        let set: Arc<[u32]> = if ranks.is_empty() { Arc::clone(&self.world) } else { Arc::from(ranks) };
        let next = self.groups.len() as u32;
        let place = *self.places.entry((name.to_owned(), Arc::clone(&set))).or_insert(next);
        if place == next {
            self.groups.push(TraceGroup { name: name.to_owned(), sets: vec![set] });
        }
        place
    }
}

/// How many ranks the job has, as far as the files say.
fn world(ranks: &[RawRank], shared: &[GroupDef]) -> u32 {
    let of_group = |g: &GroupDef| g.ranks.iter().map(|r| r + 1).max().unwrap_or(0).max(if g.ranks.is_empty() { g.size } else { 0 });
    let named = ranks.iter().flat_map(|r| &r.groups).chain(shared).map(of_group).max().unwrap_or(0);
    ranks.iter().map(|r| r.rank + 1).max().unwrap_or(0).max(named)
}

/// Looks up all groups and puts the ranks together.
pub(super) fn resolve(mut ranks: Vec<RawRank>, shared: &[GroupDef], noticed: Vec<TraceFault>) -> Result<Trace, TraceError> {
    ranks.sort_by_key(|r| r.rank);
    for pair in ranks.windows(2) {
        if pair[0].rank == pair[1].rank {
            let what = format!("rank {} is described by {} too", pair[0].rank, pair[0].file);
            return Err(TraceError::file(&pair[1].file, what, "give one file for each rank"));
        }
    }
    let world: Arc<[u32]> = (0..world(&ranks, shared)).collect();
    let mut table = Table { groups: Vec::new(), places: BTreeMap::new(), world };
    for def in shared {
        table.add(&def.name, &def.ranks);
    }
    let mut out = Vec::with_capacity(ranks.len());
    for raw in ranks {
        out.push(resolve_rank(raw, shared, &mut table)?);
    }
    Ok(Trace { ranks: out, groups: table.groups, sizes: SizeConvention::RankInput, noticed })
}

fn resolve_rank(mut raw: RawRank, shared: &[GroupDef], table: &mut Table) -> Result<RankTrace, TraceError> {
    let mut known: BTreeMap<Option<&str>, u32> = BTreeMap::new();
    for Use { op, group } in &raw.uses {
        let Some(op) = raw.ops.get_mut(*op) else { continue };
        let place = match known.get(&group.as_deref()) {
            Some(place) => *place,
            None => {
                let place = find(group.as_deref(), &raw.groups, shared, table).ok_or_else(|| {
                    let what = format!("`{}` is in group `{}`, which nothing defines", op.name, group.as_deref().unwrap_or_default());
                    TraceError::node(&raw.file, op.id, what, "name its ranks in the file of groups: {\"1\": [0, 1]}")
                })?;
                known.insert(group.as_deref(), place);
                place
            }
        };
        set_group(op, place, table).map_err(|what| TraceError::node(&raw.file, op.id, what, "give the peer's place in the group"))?;
    }
    Ok(RankTrace { rank: raw.rank, count: 1, ops: raw.ops })
}

/// The group that a name means; no name, an empty one, and an undefined "0" mean the whole job.
fn find(name: Option<&str>, own: &[GroupDef], shared: &[GroupDef], table: &mut Table) -> Option<u32> {
    let Some(name) = name.filter(|n| !n.is_empty()) else { return Some(table.add("all ranks", &[])) };
    if let Some(def) = own.iter().chain(shared).find(|d| d.name == name) {
        return Some(table.add(name, &def.ranks));
    }
    (name == "0").then(|| table.add("0", &[]))
}

fn set_group(op: &mut TraceOp, place: u32, table: &Table) -> Result<(), String> {
    let set = table.groups.get(place as usize).and_then(|g| g.sets.first());
    let global = |local: u32| {
        let rank = set.and_then(|s| s.get(local as usize)).copied();
        rank.ok_or_else(|| format!("`{}` is for place {local} of a group of {}", op.name, set.map_or(0, |s| s.len())))
    };
    match &mut op.kind {
        TraceKind::Collective { group, .. } => *group = place,
        TraceKind::Send { to, .. } => *to = global(*to)?,
        TraceKind::Recv { from, .. } => *from = global(*from)?,
        _ => {}
    }
    Ok(())
}
