//! Nodes side by side: the same measurement on many nodes, pairs of nodes, GPUs of a node, and which of them is out of line.
//!
//! A value is out of line when it is slower than the median of its like by more than 5 % and by more than five robust standard deviations.
//! A slow pair whose ends are both slow elsewhere is not news; an end that is slow in most of its pairs is a slow node or NIC; else
//! the link between the two is named.

use super::record::{Measurement, Unit, What};
use crate::tables::quantile;
use indexmap::IndexMap;

/// A node, a device or a link that is out of line.
#[derive(Debug, Clone, PartialEq)]
pub struct Odd {
    /// `node`, `host`, `gpu`, `nic` or `link`.
    pub kind: &'static str,
    /// Its name; a link: both ends.
    pub name: String,
    /// What was measured.
    pub what: String,
    /// Its speed over the median of its like.
    pub share: f64,
    /// How many were compared.
    pub of: usize,
}

/// Slower than that share of the median is out of line.
const SHARE: f64 = 0.95;

/// And by so many robust standard deviations.
const DEVIATIONS: f64 = 5.0;

/// Fewest that can be compared.
const FEWEST: usize = 3;

/// What is the same on every node but for the place.
fn like(one: &Measurement) -> String {
    match &one.what {
        What::Metric { name } => name.clone(),
        What::Collective { op, bytes, ranks, nodes, .. } => format!("{op} of {bytes} B over {ranks} ranks on {nodes} nodes"),
        What::Link { path, bytes, .. } => format!("{path} of {bytes} B"),
        What::Memory { kernel, bytes, threads } => format!("memory {kernel} of {bytes} B by {threads}"),
        What::Storage { direction, pattern, bytes, depth, .. } => format!("{pattern} {direction} of {bytes} B at depth {depth}"),
        What::Operator { table, cells } => format!("{table:?} {}", cells.values().cloned().collect::<Vec<_>>().join(" ")),
    }
}

/// Whether a greater value is a slower one.
fn is_time(one: &Measurement) -> bool {
    let name = if let What::Metric { name } = &one.what { name.to_lowercase() } else { String::new() };
    one.unit == Unit::Seconds || ["latency", "time", "overhead"].iter().any(|w| name.contains(w))
}

/// Names the nodes, NICs and links that are slower than their like; sorted by how slow.
#[must_use]
pub fn compare_nodes(list: &[Measurement]) -> Vec<Odd> {
    let mut groups: IndexMap<String, IndexMap<(String, String), Vec<f64>>> = IndexMap::new();
    for one in list.iter().filter(|m| !m.host.is_empty() && m.value > 0.0) {
        let speed = if is_time(one) { 1.0 / one.value } else { one.value };
        // The same tool on the same kind of device; what stands in brackets is the device's own name.
        let kind = format!("{} ({} {})", like(one), one.tool, one.device.split('(').next().unwrap_or("").trim());
        let place = one.conditions.get("gpu").map_or_else(|| one.host.clone(), |gpu| format!("{} GPU {gpu}", one.host));
        groups.entry(kind).or_default().entry((place, one.peer.clone())).or_default().push(speed);
    }
    let mut worst: IndexMap<(&'static str, String), Odd> = IndexMap::new();
    for (what, places) in groups {
        let places: Vec<((String, String), f64)> = places.into_iter().map(|(k, v)| (k, quantile(v, 0.5))).collect();
        for odd in odd_of(&what, &places) {
            let known = worst.entry((odd.kind, odd.name.clone())).or_insert_with(|| odd.clone());
            if odd.share < known.share {
                *known = odd;
            }
        }
    }
    let mut out: Vec<Odd> = worst.into_values().collect();
    out.sort_by(|a, b| a.share.total_cmp(&b.share).then_with(|| a.name.cmp(&b.name)));
    out
}

fn odd_of(what: &str, places: &[((String, String), f64)]) -> Vec<Odd> {
    if places.len() < FEWEST {
        return Vec::new();
    }
    let middle = quantile(places.iter().map(|p| p.1).collect(), 0.5);
    let spread = quantile(places.iter().map(|p| (p.1 - middle).abs()).collect(), 0.5) / 0.6745;
    let slow = |v: f64| v < SHARE * middle && middle - v > DEVIATIONS * spread;
    // An end of pairs is slow where most of its pairs are.
    let ends = |name: &str| places.iter().filter(|((a, b), _)| a == name || b == name).map(|p| p.1).collect::<Vec<f64>>();
    let end_is_slow = |name: &str| {
        let all = ends(name);
        all.len() >= 2 && 2 * all.iter().filter(|v| slow(**v)).count() > all.len()
    };
    let mut out: Vec<Odd> = Vec::new();
    for ((host, peer), value) in places.iter().filter(|p| slow(p.1)) {
        let mut add = |kind: &'static str, name: String, value: f64| {
            out.push(Odd { kind, name, what: what.to_owned(), share: value / middle, of: places.len() })
        };
        if peer.is_empty() {
            add(if host.contains(" GPU ") { "gpu" } else { "node" }, host.clone(), *value);
            continue;
        }
        let guilty: Vec<&String> = [host, peer].into_iter().filter(|e| end_is_slow(e)).collect();
        if guilty.is_empty() {
            add("link", format!("{host} to {peer}"), *value);
        }
        for end in guilty {
            let kind = if end.contains(" gpu") {
                "gpu"
            } else if end.contains(" cpu") {
                "host"
            } else {
                "nic"
            };
            add(kind, end.clone(), quantile(ends(end), 0.5));
        }
    }
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(host: &str, peer: &str, seconds: f64) -> Measurement {
        let mut one = Measurement::new(What::Link { path: "rdma".into(), bytes: 1e6, streamed: true }, seconds, Unit::Seconds, "made");
        (one.host, one.peer) = (host.into(), peer.into());
        one
    }

    /// Six nodes in pairs: one slow NIC, one slow link, and the slow node of a stream.
    #[test]
    fn slow_nodes_nics_and_links_are_named() {
        let nodes = ["a", "b", "c", "d", "e", "f"];
        let mut list = Vec::new();
        for (i, x) in nodes.iter().enumerate() {
            for y in &nodes[i + 1..] {
                let slow = if *x == "c" || *y == "c" { 2.0 } else { 1.0 } * if (*x, *y) == ("a", "e") { 1.5 } else { 1.0 };
                list.push(message(x, y, 1e-5 * slow * (1.0 + 0.001 * i as f64)));
            }
            let what = What::Memory { kernel: "triad".into(), bytes: 1e9, threads: 8 };
            let mut one = Measurement::new(what, if *x == "d" { 5e10 } else { 1e11 + i as f64 * 1e8 }, Unit::BytesPerSecond, "made");
            one.host = (*x).into();
            list.push(one);
        }
        let odd: Vec<(&str, String)> = compare_nodes(&list).into_iter().map(|o| (o.kind, o.name)).collect();
        assert_eq!(odd.len(), 3, "{odd:?}");
        for want in [("nic", "c"), ("link", "a to e"), ("node", "d")] {
            assert!(odd.iter().any(|(k, n)| (*k, n.as_str()) == want), "{odd:?}");
        }
        list.retain(|m| m.host != "c" && m.peer != "c" && m.host != "d" && (m.host != "a" || m.peer != "e"));
        assert!(compare_nodes(&list).is_empty());
    }
}
