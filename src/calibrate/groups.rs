//! Measurements of one thing gathered and fitted: collectives, links, memories, storage tiers. What cannot be placed is counted by reason.

use super::curve::{CurveFit, FEWEST_SIZES, Interval, LineFit, Point, fit_curve};
use super::fits::{Fit, Fits, Implausible, Levels, Seal, Sustained};
use super::record::{Measurement, What, sustained_share};
use super::storage::fit_storage;
use crate::hardware::Catalogue;
use crate::measured::ValueOrigin;
use crate::tables::quantile;
use crate::units::Quantity;
use indexmap::IndexMap;

/// Keys of a profile with the number formats that tell them, the most telling one first.
const SUSTAINED: [(&str, [&str; 2]); 2] = [("sustained_16", ["bf16", "fp16"]), ("sustained_8", ["fp8", "int8"])];

/// Greatest plausible share of the data sheet.
pub const PLAUSIBLE: f64 = 1.05;

/// Measurements by key, in order of reading.
type Groups<'a> = IndexMap<Vec<(&'static str, String)>, Vec<&'a Measurement>>;

/// Fits everything but operators. `tier` names the storage tier that storage measurements are of.
pub(super) fn fit_measurements(list: &[Measurement], tier: &str) -> Fits {
    let mut out = Fits::default();
    let mut left: IndexMap<String, usize> = IndexMap::new();
    let [mut collective, mut link, mut memory, mut storage, mut sustained]: [Groups<'_>; 5] = Default::default();
    for one in list {
        let part = one.part.clone();
        let mut leave = |reason: &str| *left.entry(reason.to_owned()).or_insert(0) += 1;
        if one.in_situ && !matches!(one.what, What::Metric { .. }) {
            leave("measured inside a job or under a profiler: kept for comparison, never fitted");
            continue;
        }
        if let Some(why) = one.unfit() {
            leave(why);
            continue;
        }
        match &one.what {
            What::Collective { .. } | What::Memory { .. } if part.is_empty() => {
                leave("the accelerator is not known by its name: give --accelerator");
            }
            What::Collective { op, ranks, nodes, library, launch, .. } => {
                let keys = vec![
                    ("op", op.clone()),
                    ("accelerator", part),
                    ("ranks", ranks.to_string()),
                    ("nodes", nodes.to_string()),
                    ("library", library.clone()),
                    ("launch", launch.clone()),
                ];
                collective.entry(keys).or_default().push(one);
            }
            What::Link { path, .. } => {
                let part = if part.is_empty() { "unknown".into() } else { part };
                link.entry(vec![("path", path.clone()), ("part", part)]).or_default().push(one);
            }
            What::Memory { .. } => memory.entry(vec![("part", part)]).or_default().push(one),
            What::Storage { pattern, .. } if pattern == "mixed" => {
                leave("reads and writes of one job hinder each other: measure them apart")
            }
            What::Storage { direction, .. } => {
                storage.entry(vec![("tier", tier.to_owned()), ("direction", direction.clone())]).or_default().push(one);
            }
            What::Metric { name } if !part.is_empty() && SUSTAINED.iter().flat_map(|s| s.1).any(|f| *name == sustained_share(f)) => {
                sustained.entry(vec![("part", part), ("name", name.clone())]).or_default().push(one);
            }
            What::Metric { .. } => leave("a figure that no model uses: nodes are compared by it"),
            What::Operator { .. } => {}
        }
    }
    collectives(collective, &mut out, &mut left);
    links(link, &mut out, &mut left);
    memories(memory, &mut out);
    for (keys, group) in storage {
        let seal = seal(&group);
        out.storage.push(Fit { keys, seal, fit: fit_storage(&group) });
    }
    lasting(&sustained, &mut out);
    out.left = left.into_iter().collect();
    out
}

/// Shares of lasting work by part: those of the first of the formats that were measured.
fn lasting(groups: &Groups<'_>, out: &mut Fits) {
    let mut parts: Vec<&String> = groups.keys().map(|k| &k[0].1).collect();
    parts.sort();
    parts.dedup();
    for part in parts {
        for (key, formats) in SUSTAINED {
            let found = formats.iter().find_map(|f| groups.get(&vec![("part", part.clone()), ("name", sustained_share(f))]));
            let Some(group) = found else { continue };
            let shares: Vec<f64> = group.iter().map(|m| m.value).collect();
            let fit = Sustained { key, share: quantile(shares, 0.5).min(1.0) };
            out.sustained.push(Fit { keys: vec![("part", part.clone())], seal: seal(group), fit });
        }
    }
}

/// Sessions by number, in order of their names.
fn sessions(group: &[&Measurement]) -> Vec<usize> {
    let mut names: Vec<&str> = group.iter().map(|m| m.session.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    group.iter().map(|m| names.binary_search(&m.session.as_str()).unwrap_or(0)).collect()
}

fn seal(group: &[&Measurement]) -> Seal {
    let joined = |of: fn(&Measurement) -> &str| {
        let mut all: Vec<&str> = group.iter().map(|m| of(m)).filter(|t| !t.is_empty()).collect();
        all.sort_unstable();
        all.dedup();
        let more = all.len().saturating_sub(4);
        all.truncate(4);
        all.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    };
    let origin = |m: &&&Measurement| ValueOrigin::from_word(&m.origin).unwrap_or(ValueOrigin::Synthetic);
    // Synthetic taints all; a host's or another tool's figure is no hardware figure of ours.
    let rank = |o: ValueOrigin| match o {
        ValueOrigin::Hardware => 0,
        ValueOrigin::Host => 1,
        ValueOrigin::Imported => 2,
        ValueOrigin::Synthetic => 3,
    };
    Seal {
        origin: group.iter().map(|m| origin(&m)).max_by_key(|o| rank(*o)).unwrap_or(ValueOrigin::Imported),
        tool: joined(|m| &m.tool),
        source: joined(|m| &m.source),
        time: group.iter().map(|m| m.time.as_str()).filter(|t| !t.is_empty()).min().unwrap_or("").to_owned(),
        device: joined(|m| &m.device),
        sessions: sessions(group).into_iter().max().map_or(1, |s| s + 1),
    }
}

fn points(group: &[&Measurement], bytes: impl Fn(&Measurement) -> f64) -> Vec<Point> {
    let sessions = sessions(group);
    group.iter().zip(sessions).map(|(m, session)| Point { bytes: bytes(m), seconds: m.value, session }).collect()
}

fn name(keys: &[(&'static str, String)]) -> String {
    keys.iter().map(|k| k.1.as_str()).collect::<Vec<_>>().join(" ")
}

const fn size(one: &Measurement) -> f64 {
    match one.what {
        What::Collective { bytes, .. } | What::Link { bytes, .. } | What::Memory { bytes, .. } | What::Storage { bytes, .. } => bytes,
        What::Operator { .. } | What::Metric { .. } => 0.0,
    }
}

fn collectives(groups: Groups<'_>, out: &mut Fits, left: &mut IndexMap<String, usize>) {
    for (keys, group) in groups {
        // Where a run left the choice to the library, forced algorithms are another question; else the best of them is the choice.
        let forced = |m: &&&Measurement| matches!(&m.what, What::Collective { variant, .. } if !variant.is_empty());
        let free: Vec<&Measurement> = group.iter().filter(|m| !forced(m)).copied().collect();
        let all = if free.is_empty() { points(&group, size) } else { points(&free, size) };
        let used = if free.is_empty() { least_by_size(all) } else { all };
        let seal = seal(&group);
        match fit_curve(&used) {
            Some(fit) => {
                let share = collective_share(&keys, &fit);
                keep(share, format!("collective {}", name(&keys)), Fit { keys, seal, fit }, &mut out.collective, &mut out.quarantined);
            }
            None => few(&keys, group.len(), left),
        }
    }
    // One entry for each operation and shape: where several launches were measured, the one with the least host in it says most.
    let rank = |f: &Fit<CurveFit>| ["graph", "eager", "single-process"].iter().position(|l| *l == f.keys[5].1).unwrap_or(3);
    out.collective.sort_by(|a, b| (&a.keys[..5], rank(a)).cmp(&(&b.keys[..5], rank(b))));
    let before = out.collective.len();
    out.collective.dedup_by(|b, a| a.keys[..5] == b.keys[..5]);
    if out.collective.len() < before {
        left.insert("curves under another launch, of which the one with the least host time serves".into(), before - out.collective.len());
    }
}

fn few(keys: &[(&'static str, String)], n: usize, left: &mut IndexMap<String, usize>) {
    left.insert(format!("{}: fewer than {FEWEST_SIZES} sizes do not tell a line", name(keys)), n);
}

/// Keeps a fit, or quarantines it where no such part can do what it says.
fn keep<F: Counted>(share: f64, what: String, fit: Fit<F>, good: &mut Vec<Fit<F>>, bad: &mut Vec<Implausible>) {
    if share > PLAUSIBLE {
        bad.push(Implausible { what, points: fit.fit.count(), seal: fit.seal, share });
    } else {
        good.push(fit);
    }
}

/// How many measurements a fit had.
trait Counted {
    fn count(&self) -> usize;
}
impl Counted for CurveFit {
    fn count(&self) -> usize {
        self.measurements
    }
}
impl Counted for Levels {
    fn count(&self) -> usize {
        self.points
    }
}

fn least_by_size(mut all: Vec<Point>) -> Vec<Point> {
    all.sort_by(|a, b| a.bytes.total_cmp(&b.bytes).then(a.session.cmp(&b.session)).then(a.seconds.total_cmp(&b.seconds)));
    all.dedup_by(|b, a| a.bytes.total_cmp(&b.bytes).is_eq() && a.session == b.session);
    all
}

/// Greatest rate of a collective on the wire over the scale-up links' data sheet; 0 where that limits nothing.
fn collective_share(keys: &[(&'static str, String)], fit: &CurveFit) -> f64 {
    let (op, part) = (keys[0].1.as_str(), Catalogue::embedded().accelerators.get(&keys[1].1));
    let (n, nodes): (f64, f64) = (keys[2].1.parse().unwrap_or(2.0), keys[3].1.parse().unwrap_or(1.0));
    let peak = part.and_then(|p| *p.scale_up_bandwidth).map_or(0.0, Quantity::get);
    if nodes > 1.0 || peak <= 0.0 {
        return 0.0;
    }
    // Bytes that at least cross a rank's links for each byte of the buffer; switches that reduce need `1 + 1/n` (two ranks the same as a ring).
    let wire = match op {
        "all_reduce" => (1.0f64 + 1.0 / n).min(2.0 * (n - 1.0) / n),
        "all_gather" | "reduce_scatter" | "all_to_all" => (n - 1.0) / n,
        _ => 0.0,
    };
    fit.points.iter().map(|&(bytes, seconds, _)| wire * bytes / seconds / peak).fold(0.0, f64::max)
}

fn links(groups: Groups<'_>, out: &mut Fits, left: &mut IndexMap<String, usize>) {
    for (keys, group) in groups {
        let streamed = |m: &&&Measurement| matches!(m.what, What::Link { streamed: true, .. });
        let single: Vec<&Measurement> = group.iter().filter(|m| !streamed(m)).copied().collect();
        let seal = seal(&group);
        let fit = fit_curve(&points(&single, size)).or_else(|| {
            let mut fit = fit_curve(&points(&group, size)).or_else(|| rate_only(&group))?;
            fit.undetermined.insert(0, "start-up (only rates of streams of copies were measured)".into());
            Some(fit)
        });
        let Some(fit) = fit else {
            few(&keys, group.len(), left);
            continue;
        };
        let share = link_share(&keys, &fit);
        keep(share, format!("link {}", name(&keys)), Fit { keys, seal, fit }, &mut out.link, &mut out.quarantined);
    }
}

/// The rate of streams of one or two sizes, without a start-up.
fn rate_only(group: &[&Measurement]) -> Option<CurveFit> {
    let rates: Vec<f64> = group.iter().filter(|m| matches!(m.what, What::Link { streamed: true, .. })).map(|m| size(m) / m.value).collect();
    if rates.is_empty() {
        return None;
    }
    let rate = quantile(rates.clone(), 0.5);
    let spread: Vec<f64> = rates.iter().map(|r| (rate / r - 1.0).abs()).collect();
    let interval =
        Interval { value: rate, low: quantile(rates.clone(), 0.05).min(0.97 * rate), high: quantile(rates, 0.95).max(1.03 * rate) };
    let sizes: Vec<f64> = group.iter().map(|m| size(m)).collect();
    let start = Interval { value: 0.0, low: 0.0, high: 0.0 };
    Some(CurveFit {
        lines: vec![LineFit { start, rate: Some(interval) }],
        measurements: group.len(),
        sessions: sessions(group).into_iter().max().map_or(1, |s| s + 1),
        inside: quantile(spread.clone(), 0.5),
        left_out: [0.5, 0.9, 1.0].map(|q| quantile(spread.clone(), q)),
        bias: 0.0,
        range: (sizes.iter().copied().fold(f64::INFINITY, f64::min), sizes.iter().copied().fold(0.0, f64::max)),
        undetermined: Vec::new(),
        points: group.iter().map(|m| (size(m), m.value, size(m) / rate)).collect(),
    })
}

fn link_share(keys: &[(&'static str, String)], fit: &CurveFit) -> f64 {
    let catalogue = Catalogue::embedded();
    let part = keys[1].1.as_str();
    let peak = match keys[0].1.as_str() {
        "peer" => catalogue.accelerators.get(part).and_then(|p| *p.scale_up_bandwidth).map(Quantity::get),
        // A copy inside a memory reads and writes every byte.
        "device" => catalogue.accelerators.get(part).map(|p| p.memory_bandwidth.get() / 2.0),
        "rdma" => catalogue.nics.get(part).map(|n| n.bandwidth.get()),
        _ => None,
    };
    let peak = peak.unwrap_or(f64::INFINITY);
    fit.points.iter().map(|&(bytes, seconds, _)| bytes / seconds / peak).fold(0.0, f64::max)
}

/// A drop of the rate that opens a new level.
const DROP: f64 = 0.75;

fn memories(groups: Groups<'_>, out: &mut Fits) {
    for (keys, group) in groups {
        // The best number of threads at a working set is what the memory gives.
        let mut by_size: IndexMap<u64, Vec<f64>> = IndexMap::new();
        for one in &group {
            by_size.entry(size(one).to_bits()).or_default().push(one.value);
        }
        let mut seen: Vec<(f64, f64)> =
            by_size.into_iter().map(|(b, v)| (f64::from_bits(b), v.iter().copied().fold(0.0, f64::max))).collect();
        seen.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut levels: Vec<Vec<(f64, f64)>> = Vec::new();
        for point in seen {
            let middle = |l: &Vec<(f64, f64)>| quantile(l.iter().map(|p| p.1).collect(), 0.5);
            match levels.last_mut() {
                Some(level) if point.1 > DROP * middle(level) => level.push(point),
                _ => levels.push(vec![point]),
            }
        }
        let fitted = |level: &Vec<(f64, f64)>| {
            let rates: Vec<f64> = level.iter().map(|p| p.1).collect();
            let value = quantile(rates.clone(), 0.5);
            Interval { value, low: quantile(rates.clone(), 0.05).min(0.97 * value), high: quantile(rates, 0.95).max(1.03 * value) }
        };
        let values: Vec<(f64, Interval)> = levels.iter().map(|l| (l.last().map_or(0.0, |p| p.0), fitted(l))).collect();
        let mut undetermined = Vec::new();
        if values.len() == 1 {
            undetermined.push("caches: all working sets have the same rate".into());
        }
        let points = levels.iter().zip(&values).flat_map(|(l, v)| l.iter().map(move |p| (p.0, p.1, v.1.value))).collect();
        let fit = Levels { levels: values, points: group.len(), undetermined, seen: points };
        let peak = Catalogue::embedded().accelerators.get(&keys[0].1).map_or(f64::INFINITY, |p| p.memory_bandwidth.get());
        let share = fit.levels.last().map_or(0.0, |l| l.1.value / peak);
        let seal = seal(&group);
        keep(share, format!("memory of {}", keys[0].1), Fit { keys, seal, fit }, &mut out.memory, &mut out.quarantined);
    }
}
