//! What each group of differences does: put into the first scenario one after the other, which is run again after each.

use super::Tree;
use super::differences::NAMES;
use crate::diag::{Node, Value};
use crate::metrics::Outcome;
use crate::scenario::{execute, scenario_of};
use schemars::JsonSchema;
use serde::Serialize;

/// Greatest estimated work of one run, seconds.
const MAX_WORK: f64 = 600.0;

/// The number that an outcome is compared by.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Headline {
    /// What it is: `time of the run`, `time of a step`, `mean time to the last token` and so on.
    pub name: &'static str,
    /// Seconds.
    pub seconds: f64,
    /// Money of it, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

/// What a group of differences does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Cause {
    /// The group.
    pub group: String,
    /// Its keys.
    pub keys: Vec<String>,
    /// Seconds before and after.
    pub seconds: [f64; 2],
    /// Money before and after, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<[f64; 2]>,
}

/// From the first scenario to another one.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Causes {
    /// The other scenario, by number.
    pub other: usize,
    /// What is compared.
    pub name: &'static str,
    /// One after the other.
    pub steps: Vec<Cause>,
}

/// Groups of keys by what they are about, in the order in which they are put in.
const GROUPS: [(&str, &[&str]); 14] = [
    ("compute unit", &["topology.node", "topology.accelerator", "topology.host"]),
    ("number of nodes", &["nodes", "topology.fabric.nodes"]),
    ("network", &["topology.fabric", "topology.nic", "topology.switch", "topology.link"]),
    ("degraded parts", &["degraded", "topology.degraded"]),
    ("software", &["training.framework", "training.stack", "training.attention", "serving.engine", "serving.batching", "profile"]),
    ("number format", &["training.precision", "serving.precision", "serving.kv_precision", "serving.attention_precision"]),
    ("model and batch", &["training.model", "training.global_batch", "serving.model"]),
    ("layout", &["training", "serving.parallel"]),
    ("traffic", &["serving", "collective", "trace"]),
    ("storage", &["topology.storage", "storage"]),
    ("checkpoints", &["checkpoint"]),
    ("failures and recovery", &["failures"]),
    ("length of the run", &["run", "seed"]),
    ("payment and site", &["cost", "topology.price"]),
];

/// Keys of a node that belong to the network and to storage.
const OF_NODE: [(&str, &[&str]); 2] = [("network", &["nic", "nics"]), ("storage", &["drive", "drives"])];

/// The number that an outcome is compared by.
pub(super) fn headline(o: &Outcome) -> Option<Headline> {
    let usd = o.cost.as_ref().map(|c| c.usd_total).filter(|u| *u > 0.0);
    let of = |name: &'static str, seconds: f64| Some(Headline { name, seconds, usd });
    if let Some(run) = &o.run {
        return of("time of the run", run.days * crate::units::DAY);
    }
    if let Some(t) = &o.training {
        return of("time of a step", t.step_time_s);
    }
    if let Some(s) = &o.serving {
        return of("mean time to the last token", s.e2e_s.mean);
    }
    if let Some(t) = &o.trace {
        return of("makespan", t.makespan_s);
    }
    o.collective.as_ref().and_then(|c| c.last()).and_then(|c| of("time of the largest size", c.time_s))
}

/// What the differences between two scenarios do; nothing where they are not of a kind.
pub(super) fn between(first: &Tree, other: &Tree, outcomes: [&Outcome; 2], number: usize) -> Option<Causes> {
    let [before, after] = [headline(outcomes[0])?, headline(outcomes[1])?];
    if before.name != after.name {
        return None;
    }
    let mut paths = Vec::new();
    differing(&first.node, &other.node, "", &mut paths);
    paths.retain(|p| !NAMES.contains(&p.as_str()));
    let mut groups: Vec<(&str, Vec<String>)> = GROUPS.iter().map(|g| (g.0, Vec::new())).collect();
    for path in paths {
        let group = group_of(&path);
        if let Some(slot) = groups.iter_mut().find(|g| g.0 == group) {
            slot.1.push(path);
        }
    }
    let mut node = first.node.clone();
    let (mut steps, mut waiting): (Vec<Cause>, Vec<(&str, Vec<String>)>) = (Vec::new(), Vec::new());
    let mut now = before.clone();
    for (group, keys) in groups.into_iter().filter(|g| !g.1.is_empty()) {
        keys.iter().for_each(|key| copy(&mut node, &other.node, key));
        waiting.push((group, keys));
        let ran = scenario_of(&node, &first.read).and_then(|s| execute(&s, MAX_WORK, &|| 0.0).ok());
        // A group that cannot stand without the next one is put in with it.
        let Some(next) = ran.as_ref().and_then(headline) else { continue };
        steps.push(cause(std::mem::take(&mut waiting), &now, &next));
        now = next;
    }
    if !waiting.is_empty() {
        steps.push(cause(waiting, &now, &after));
    }
    Some(Causes { other: number, name: before.name, steps })
}

fn cause(groups: Vec<(&str, Vec<String>)>, before: &Headline, after: &Headline) -> Cause {
    Cause {
        group: groups.iter().map(|g| g.0).collect::<Vec<_>>().join(" with "),
        keys: groups.into_iter().flat_map(|g| g.1).collect(),
        seconds: [before.seconds, after.seconds],
        usd: before.usd.zip(after.usd).map(|(a, b)| [a, b]),
    }
}

/// The group of the longest path that a key lies under.
fn group_of(path: &str) -> &'static str {
    let parts: Vec<&str> = path.split('.').collect();
    if parts.len() == 4
        && path.starts_with("topology.node.")
        && let Some(found) = OF_NODE.iter().find(|g| g.1.contains(&parts[3]))
    {
        return found.0;
    }
    let under = |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('.'));
    let all = GROUPS.iter().flat_map(|g| g.1.iter().map(|root| (g.0, *root)));
    all.filter(|(_, root)| under(root)).max_by_key(|(_, root)| root.len()).map_or("layout", |g| g.0)
}

/// Paths of values that differ: as deep as both have tables and arrays of one length.
fn differing(a: &Node, b: &Node, path: &str, out: &mut Vec<String>) {
    let below = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    match (&a.value, &b.value) {
        (Value::Table(x), Value::Table(y)) => {
            // What is a choice of a word belongs together.
            let word = |t: &crate::diag::TableNode| t.entries.get("kind").map(|e| text(&e.node.value));
            if word(x) != word(y) && !path.is_empty() {
                out.push(path.to_owned());
                return;
            }
            for (key, entry) in &x.entries {
                match y.entries.get(key) {
                    Some(other) => differing(&entry.node, &other.node, &below(key), out),
                    None => out.push(below(key)),
                }
            }
            out.extend(y.entries.keys().filter(|k| !x.entries.contains_key(*k)).map(|k| below(k)));
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() && !x.is_empty() => {
            x.iter().zip(y).enumerate().for_each(|(i, (a, b))| differing(a, b, &below(&i.to_string()), out));
        }
        (x, y) if text(x) == text(y) => {}
        _ => out.push(path.to_owned()),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Table(t) => t.entries.iter().map(|(k, e)| format!("{k}={};", text(&e.node.value))).collect(),
        Value::Array(list) => list.iter().map(|n| format!("{},", text(&n.value))).collect(),
        other => format!("{other:?}"),
    }
}

/// Makes a path of a tree that of another one: its value, or its absence.
fn copy(to: &mut Node, from: &Node, path: &str) {
    let found = path.split('.').try_fold(from, |node, part| match &node.value {
        Value::Table(t) => t.entries.get(part).map(|e| &e.node),
        Value::Array(list) => part.parse::<usize>().ok().and_then(|i| list.get(i)),
        _ => None,
    });
    match found {
        Some(value) => to.put(path, value.clone(), value.span, &mut crate::diag::Diagnostics::new()),
        None => to.remove(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Diagnostics;

    fn node(text: &str) -> Node {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("t", text.to_owned());
        Node::parse(source, &mut diags).unwrap()
    }

    #[test]
    fn differences_are_as_deep_as_both_have_tables_and_belong_to_groups() {
        let a = node(
            "nodes = 1\n[topology]\n[[topology.node]]\nnic = \"x\"\nhost = \"h\"\n[topology.fabric]\nkind = \"none\"\n[cost]\npue = 1.1\n",
        );
        let b = node(
            "nodes = 2\n[topology]\n[[topology.node]]\nnic = \"y\"\nhost = \"h\"\n[topology.fabric]\nkind = \"single\"\nnodes = 3\n[training]\nstack = \"s\"\n",
        );
        let mut paths = Vec::new();
        differing(&a, &b, "", &mut paths);
        assert_eq!(paths, ["nodes", "topology.node.0.nic", "topology.fabric", "cost", "training"]);
        let groups: Vec<&str> = paths.iter().map(|p| group_of(p)).collect();
        assert_eq!(groups, ["number of nodes", "network", "network", "payment and site", "layout"]);
        assert_eq!(group_of("training.stack"), "software");
        // With every path copied the trees are the same.
        let mut made = a.clone();
        paths.iter().for_each(|p| copy(&mut made, &b, p));
        let mut left = Vec::new();
        differing(&made, &b, "", &mut left);
        assert!(left.is_empty(), "{left:?}");
    }
}
