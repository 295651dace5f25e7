//! Folding: which data-parallel ranks behave the same, so that one of them stands for all.
//!
//! A rank class is a pipeline stage of a variant. Data-parallel ranks of one variant carry the same parts at the same speed on every
//! stage and reach their neighbours over paths of the same kind; on a sound cluster with spread paths there is one variant, whatever the
//! number of replicas. Where something is degraded or mixed, and on hashed paths, ranks are told apart by whom they share links with, as
//! long as their kinds are few. Of many ranks on hashed paths, nearly each a kind of its own, the slowest stands for all.

use super::config::{Config, Parallel};
use super::place::{context_groups, data_groups, stage_pairs, tensor_groups};
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::hardware::Accelerator;
use crate::ids::Id;

/// What the slowest rank of a stage is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Index into the parts of the job.
    pub part: usize,
    /// Share of its data sheet's speed.
    pub speed: f64,
}

/// Data-parallel ranks that behave the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The ranks.
    pub members: Vec<u64>,
    /// Pace of every stage.
    pub paces: Vec<Pace>,
}

/// How ranks are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// Ranks that behave the same are simulated once.
    Folded,
    /// Every data-parallel rank by itself: the oracle.
    Unfolded,
}

/// The kinds of accelerators that a job runs on, in order of first use.
#[must_use]
pub(super) fn parts_of<'f>(fabric: &'f Fabric, ranks: u64) -> Vec<&'f Accelerator> {
    let mut parts: Vec<&'f Accelerator> = Vec::new();
    let mut last: Option<&str> = None;
    for a in 0..ranks {
        let part = fabric.part(AcceleratorId::from_index(a as usize));
        if last != Some(part.id.as_str()) && !parts.iter().any(|p| p.id.value == part.id.value) {
            parts.push(part);
        }
        last = Some(part.id.as_str());
    }
    parts
}

/// More kinds of paths than this are not told apart.
const MOST_KINDS: usize = 8;

/// The variants of a job. `slower` orders parts: of a stage's mixed ranks the slowest sets the pace.
pub(super) fn variants(
    fabric: &Fabric,
    config: &Config,
    parts: &[&Accelerator],
    slower: &dyn Fn(usize, usize) -> bool,
    folding: Folding,
) -> Vec<Variant> {
    let parallel = &config.parallel;
    let uniform = parts.len() == 1 && fabric.slow_accelerators().next().is_none();
    let paces = |d: u64| -> Vec<Pace> {
        if uniform {
            return vec![Pace { part: 0, speed: 1.0 }; parallel.pipeline as usize];
        }
        (0..parallel.pipeline).map(|s| pace_of(fabric, parallel, parts, slower, d, s)).collect()
    };
    if folding == Folding::Unfolded {
        return (0..parallel.data).map(|d| Variant { members: vec![d], paces: paces(d) }).collect();
    }
    let share = |d: u64| if config.batch_shares.is_some() { config.microbatches_of(d) } else { 0 };
    let hashed = |d: u64| paces(d).iter().fold(share(d), |h, p| mix(mix(h, p.part as u64), p.speed.to_bits()));
    let kinds = kinds(fabric, parallel, &hashed);
    let mut out: Vec<(u64, Variant)> = Vec::new();
    for d in 0..parallel.data {
        let kind = kinds.as_ref().map_or_else(|| hashed(d), |k| k[d as usize]);
        match out.iter_mut().find(|v| v.0 == kind) {
            Some(known) => known.1.members.push(d),
            None => out.push((kind, Variant { members: vec![d], paces: paces(d) })),
        }
    }
    out.into_iter().map(|v| v.1).collect()
}

/// A number for the kind of every data rank: its paces, how its groups lie, and whom it shares links with; `None` where all are alike,
/// or where nearly every rank is a kind of its own.
fn kinds(fabric: &Fabric, parallel: &Parallel, paces: &dyn Fn(u64) -> u64) -> Option<Vec<u64>> {
    let ranks = 0..parallel.data;
    let own: Vec<u64> = ranks.clone().map(paces).collect();
    let lie: Vec<u64> = ranks.map(|d| mix(own[d as usize], crossings(fabric, parallel, d))).collect();
    let coarse = few(&lie).then_some(lie);
    // On hashed paths nearly every rank is a kind of its own, which only few ranks can afford; spread ones differ where something is odd.
    let worth_it = if fabric.spreads_evenly() { !fabric.is_sound() } else { parallel.data <= MOST_KINDS as u64 };
    if !worth_it {
        return coarse;
    }
    let mut fine = coarse.clone()?;
    loop {
        let before = distinct(&fine);
        refine(fabric, parallel, &mut fine);
        match distinct(&fine) {
            n if n > MOST_KINDS => return coarse,
            n if n == before => return Some(fine),
            _ => {}
        }
    }
}

/// Colours links by who uses them, then ranks by the links that they use (one round of the refinement whose fixed point is the coarsest
/// partition in which ranks of a kind share links with the same kinds: members of a kind then run at the same rates).
fn refine(fabric: &Fabric, parallel: &Parallel, kinds: &mut [u64]) {
    let mut links = vec![0u64; fabric.link_count()];
    for s in 0..parallel.pipeline {
        visit(fabric, &data_groups(parallel, s), &mut |link, share| add(&mut links[link.index()], mix(s + 1, share.to_bits())));
    }
    for (d, &kind) in kinds.iter().enumerate() {
        for (tag, set) in sets(parallel, d as u64).iter().enumerate() {
            visit(fabric, set, &mut |link, share| add(&mut links[link.index()], mix(mix(kind, tag as u64), share.to_bits())));
        }
    }
    for (d, kind) in kinds.iter_mut().enumerate() {
        let mut sum = 0;
        for (tag, set) in sets(parallel, d as u64).iter().enumerate() {
            visit(fabric, set, &mut |link, share| {
                let colour = mix(links[link.index()], fabric.link(link).capacity.to_bits());
                add(&mut sum, mix(mix(colour, tag as u64), share.to_bits()));
            });
        }
        *kind = mix(*kind, sum);
    }
}

/// The groups of a data rank, sort by sort: pipeline neighbours both ways, tensor and context groups of every stage.
fn sets(parallel: &Parallel, d: u64) -> Vec<Vec<Vec<AcceleratorId>>> {
    let mut out = Vec::new();
    for s in 0..parallel.pipeline {
        if parallel.pipeline > 1 {
            let next = (s + 1) % parallel.pipeline;
            out.push(stage_pairs(parallel, &[d], s, next));
            out.push(stage_pairs(parallel, &[d], next, s));
        }
        out.push(tensor_groups(parallel, &[d], s));
        out.push(context_groups(parallel, &[d], s));
    }
    out
}

/// Where the pipeline neighbours of a data rank, and the ranks of its own block, lie across domains: a hash over its stages.
fn crossings(fabric: &Fabric, parallel: &Parallel, d: u64) -> u64 {
    let domain = |rank: u64| fabric.site(AcceleratorId(rank as u32)).domain;
    let (block, stage) = (parallel.tensor * parallel.context, parallel.tensor * parallel.replicas());
    let mut out = 0;
    for s in 0..parallel.pipeline {
        let first = block * d + stage * s;
        let next = block * d + stage * ((s + 1) % parallel.pipeline);
        let ahead = (0..block).filter(|i| domain(first + i) != domain(next + i)).count();
        let inside = (1..block).filter(|i| domain(first + i) != domain(first + i - 1)).count();
        out = mix(mix(out, ahead as u64), inside as u64);
    }
    out
}

/// The links between neighbours of some groups.
fn visit(fabric: &Fabric, set: &[Vec<AcceleratorId>], link: &mut dyn FnMut(LinkId, f64)) {
    for pair in set.iter().flat_map(|g| g.windows(2)) {
        fabric.route(pair[0], pair[1], 1, link);
    }
}

fn few(kinds: &[u64]) -> bool {
    distinct(kinds) <= MOST_KINDS
}

/// How many kinds there are, as far as it matters.
fn distinct(kinds: &[u64]) -> usize {
    let mut seen: Vec<u64> = Vec::new();
    for kind in kinds {
        if !seen.contains(kind) {
            seen.push(*kind);
        }
        if seen.len() > MOST_KINDS {
            break;
        }
    }
    seen.len()
}

/// Mixes a number into a hash.
const fn mix(hash: u64, value: u64) -> u64 {
    let x = (hash.rotate_left(25) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

/// Adds to a hash of a set, whatever the order.
const fn add(sum: &mut u64, value: u64) {
    *sum = sum.wrapping_add(mix(value, 0x2545_f491_4f6c_dd1d));
}

fn pace_of(fabric: &Fabric, parallel: &Parallel, parts: &[&Accelerator], slower: &dyn Fn(usize, usize) -> bool, d: u64, s: u64) -> Pace {
    let each = parallel.tensor * parallel.context;
    let first = each * d + parallel.tensor * parallel.replicas() * s;
    let mut pace = Pace { part: usize::MAX, speed: 1.0 };
    for rank in first..first + each {
        let a = AcceleratorId::from_index(rank as usize);
        let id = &fabric.part(a).id.value;
        let part = parts.iter().position(|p| &p.id.value == id).unwrap_or(0);
        if pace.part == usize::MAX || slower(part, pace.part) {
            pace.part = part;
        }
        pace.speed = pace.speed.min(fabric.speed(a));
    }
    pace
}
