//! Folding: which data-parallel ranks behave the same, so that one of them stands for all.
//!
//! A rank class is a pipeline stage of a variant. Data-parallel ranks of one variant carry the same parts at the same speed on every
//! stage; without slow or mixed accelerators there is one variant, whatever the number of replicas.

use super::config::Parallel;
use crate::fabric::{AcceleratorId, Fabric};
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

/// The variants of a job. `slower` orders parts: of a stage's mixed ranks the slowest sets the pace.
pub(super) fn variants(
    fabric: &Fabric,
    parallel: &Parallel,
    parts: &[&Accelerator],
    slower: &dyn Fn(usize, usize) -> bool,
    folding: Folding,
) -> Vec<Variant> {
    let uniform = parts.len() == 1 && fabric.slow_accelerators().next().is_none();
    if uniform && folding == Folding::Folded {
        let pace = Pace { part: 0, speed: 1.0 };
        return vec![Variant { members: (0..parallel.data).collect(), paces: vec![pace; parallel.pipeline as usize] }];
    }
    let mut out: Vec<Variant> = Vec::new();
    for d in 0..parallel.data {
        let paces: Vec<Pace> = (0..parallel.pipeline).map(|s| pace_of(fabric, parallel, parts, slower, d, s)).collect();
        let known = out.iter_mut().find(|v| v.paces == paces).filter(|_| folding == Folding::Folded);
        match known {
            Some(variant) => variant.members.push(d),
            None => out.push(Variant { members: vec![d], paces }),
        }
    }
    out
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
