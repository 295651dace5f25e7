//! Ring search on irregular links: the greatest set of directed rings over all ranks that no link carries twice.

use crate::fabric::{AcceleratorId, Fabric};
use rustc_hash::FxHashMap;

/// Search steps before the best set so far is taken; no shape of up to eight ranks in the catalogue needs as many.
const MOST_STEPS: u64 = 400_000;

/// Into how many parts rings cut what joins a pair: two where a full mesh has several cables a pair (four ranks have no three rings that use
/// each pair once, but six that use it twice).
pub(super) fn halves(fabric: &Fabric, a: AcceleratorId) -> u8 {
    if fabric.direct_cables(a) >= 2.0 { 2 } else { 1 }
}

/// Rings over the direct links of a mesh: each lists the members of `group` by index. Empty where the links hold none.
pub(super) fn rings_in(fabric: &Fabric, group: &[AcceleratorId]) -> Vec<Vec<usize>> {
    let n = group.len();
    if !(2..=16).contains(&n) {
        return Vec::new();
    }
    let unit = fabric.direct_link_rate(group[0]) / f64::from(halves(fabric, group[0]));
    let cables = |a: usize, b: usize| {
        let rate = fabric.direct_link(group[a], group[b]).map_or(0.0, |l| fabric.link(l).capacity);
        (rate / unit).round() as u32
    };
    let free: Vec<Vec<u32>> = (0..n).map(|a| (0..n).map(|b| if a == b { 0 } else { cables(a, b) }).collect()).collect();
    let most = free.iter().map(|row| row.iter().sum::<u32>()).min().unwrap_or(0) as usize;
    let mut search = Search { free, most, best: Vec::new(), rings: Vec::new(), steps: 0 };
    search.extend(&mut vec![0]);
    search.best
}

/// Rings of a group inside one domain: over the wiring's own where it has direct links only (perhaps none), else one in rank order.
pub(super) fn rings_of(fabric: &Fabric, group: &[AcceleratorId]) -> Vec<Vec<usize>> {
    if fabric.has_direct_links(group[0]) { rings_in(fabric, group) } else { vec![(0..group.len()).collect()] }
}

/// Rings inside the domains of a group that spans several, each of which has one at least: where the wiring holds none, in rank order.
pub(super) struct InnerRings {
    /// By places in a domain: rings over them.
    found: FxHashMap<Vec<u32>, Vec<Vec<usize>>>,
}

impl InnerRings {
    pub(super) fn new() -> Self {
        Self { found: FxHashMap::default() }
    }

    /// Those of one domain, counted from its first rank.
    pub(super) fn of(&mut self, fabric: &Fabric, members: &[AcceleratorId]) -> &[Vec<usize>] {
        let first = fabric.domain(fabric.site(members[0]).domain).first.0;
        let places: Vec<u32> = members.iter().map(|&a| fabric.site(a).own.0 - first).collect();
        self.found.entry(places).or_insert_with(|| {
            let wired = rings_of(fabric, members);
            if wired.is_empty() { vec![(0..members.len()).collect()] } else { wired }
        })
    }
}

struct Search {
    free: Vec<Vec<u32>>,
    most: usize,
    best: Vec<Vec<usize>>,
    rings: Vec<Vec<usize>>,
    steps: u64,
}

impl Search {
    /// Goes on with the ring that is being laid; starts the next one when it closes. True once nothing better can come.
    fn extend(&mut self, path: &mut Vec<usize>) -> bool {
        self.steps += 1;
        if self.best.len() == self.most || self.steps > MOST_STEPS {
            return true;
        }
        let (n, at) = (self.free.len(), path[path.len() - 1]);
        if path.len() == n {
            return self.close(path);
        }
        // Widest links first, so that doubled links are used twice before single ones are used up; then a rotation, so that
        // rings of a full mesh differ from each other at once.
        let turn = self.rings.len() + 1;
        let mut ways: Vec<usize> = (0..n).filter(|&b| self.free[at][b] > 0 && !path.contains(&b)).collect();
        ways.sort_by_key(|&b| (std::cmp::Reverse(self.free[at][b]), (b + n * n - at * turn) % n));
        for b in ways {
            self.free[at][b] -= 1;
            path.push(b);
            let done = self.extend(path);
            path.pop();
            self.free[at][b] += 1;
            if done {
                return true;
            }
        }
        false
    }

    fn close(&mut self, path: &[usize]) -> bool {
        let (last, first) = (path[path.len() - 1], path[0]);
        if self.free[last][first] == 0 {
            return false;
        }
        self.free[last][first] -= 1;
        self.rings.push(path.to_vec());
        if self.rings.len() > self.best.len() {
            self.best.clone_from(&self.rings);
        }
        let done = self.extend(&mut vec![0]);
        self.rings.pop();
        self.free[last][first] += 1;
        done
    }
}
