//! How the ranks of a group lie on scale-up domains, and in a torus.

use crate::fabric::{AcceleratorId, DomainKind, Fabric};
use crate::ids::Id;
use std::ops::Range;

/// How the ranks of a group lie on scale-up domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Ranks of a group.
    pub(super) ranks: usize,
    /// For each domain in turn, which ranks of the group it holds.
    pub(super) domains: Vec<Range<usize>>,
    /// Sides of the box that the ranks of one domain fill in a torus, dimension by dimension, and whether each closes to a ring.
    pub(super) torus: Option<Vec<(usize, bool)>>,
    least: usize,
    most: usize,
}

impl Shape {
    pub(super) fn of(fabric: &Fabric, group: &[AcceleratorId]) -> Self {
        let mut domains: Vec<Range<usize>> = Vec::new();
        let mut last = usize::MAX;
        for (i, &a) in group.iter().enumerate() {
            let domain = fabric.site(a).domain.index();
            match domains.last_mut() {
                Some(range) if domain == last => range.end = i + 1,
                _ => domains.push(i..i + 1),
            }
            last = domain;
        }
        let torus = torus_box(fabric, &group[domains[0].clone()]);
        let sizes = || domains.iter().map(Range::len);
        let (least, most) = (sizes().min().unwrap_or(1), sizes().max().unwrap_or(1));
        Self { ranks: group.len(), domains, torus, least, most }
    }

    /// Domains that it spans.
    pub(super) const fn count(&self) -> usize {
        self.domains.len()
    }
    /// Ranks in the smallest of its domains: as many rings reach all of them.
    pub(super) const fn least(&self) -> usize {
        self.least
    }
    /// Ranks in the largest.
    pub(super) const fn most(&self) -> usize {
        self.most
    }
    /// Whether every domain holds equally many.
    pub(super) const fn is_even(&self) -> bool {
        self.least() == self.most()
    }
}

/// The box of a torus that ranks fill in order, first dimension fastest, side by side or at equal distances.
fn torus_box(fabric: &Fabric, ranks: &[AcceleratorId]) -> Option<Vec<(usize, bool)>> {
    let domain = fabric.domain(fabric.site(ranks[0]).domain);
    if domain.kind != DomainKind::Torus {
        return None;
    }
    let place = |a: AcceleratorId| {
        let mut rest = (fabric.site(a).own.0 - domain.first.0) as usize;
        let mut out = [0usize; 3];
        for (at, &side) in out.iter_mut().zip(&domain.torus) {
            *at = rest % side as usize;
            rest /= side as usize;
        }
        out
    };
    // Ranks may keep a distance, the same everywhere (every fourth chip of a row).
    let mut lattice = Vec::new();
    for d in 0..domain.torus.len() {
        let mut at: Vec<usize> = ranks.iter().map(|&a| place(a)[d]).collect();
        at.sort_unstable();
        at.dedup();
        let step = at.get(1).map_or(1, |second| second - at[0]);
        lattice.push((at[0], step, at.len()));
    }
    let closes = |d: usize, step: usize, length: usize| domain.wrap && length * step == domain.torus[d] as usize && length > 2;
    let sides: Vec<(usize, bool)> = lattice.iter().enumerate().map(|(d, &(_, step, n))| (n, closes(d, step, n))).collect();
    let fills = ranks.iter().enumerate().all(|(i, &a)| {
        let (at, mut rest) = (place(a), i);
        lattice.iter().enumerate().all(|(d, &(first, step, length))| {
            let want = first + step * (rest % length);
            rest /= length;
            at[d] == want
        })
    });
    (fills && sides.iter().map(|s| s.0).product::<usize>() == ranks.len()).then_some(sides)
}

/// The group that spans the most domains, then nodes; of equals the first: it stands for the others, which are not slower.
pub(super) fn widest<'g>(fabric: &Fabric, groups: &'g [Vec<AcceleratorId>]) -> (&'g [AcceleratorId], Shape) {
    let spread = |group: &[AcceleratorId]| {
        let (mut domains, mut nodes) = (0, 0);
        let mut last = fabric.site(group[0]);
        for &a in &group[1..] {
            let site = fabric.site(a);
            domains += usize::from(site.domain != last.domain);
            nodes += usize::from(site.node != last.node);
            last = site;
        }
        (domains, nodes)
    };
    let (mut widest, mut most) = (&groups[0], spread(&groups[0]));
    for group in &groups[1..] {
        let this = spread(group);
        if this > most {
            (widest, most) = (group, this);
        }
    }
    (widest, Shape::of(fabric, widest))
}
