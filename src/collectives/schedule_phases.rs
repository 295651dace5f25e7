//! Schedules of several phases, each of rings over parts of the group: domains and rails, dimensions of a torus.

use super::Op;
use super::schedule::{Builder, Ring};
use crate::fabric::AcceleratorId;
use rustc_hash::FxHashMap;

impl Builder<'_> {
    /// Three phases one after the other: scatter inside every domain, rings on every rail, gather inside.
    pub(super) fn hierarchical(&mut self, op: Op) {
        let (m, k, n) = (self.shape.least(), self.shape.count(), self.group.len());
        let plain = |members: Vec<AcceleratorId>| -> Ring { members.into_iter().map(|a| (a, None)).collect() };
        let inner: Vec<Ring> = self.shape.domains.iter().map(|d| plain(self.group[d.clone()].to_vec())).collect();
        let rails: Vec<Ring> = (0..m).map(|r| plain((0..k).map(|d| self.group[d * m + r]).collect())).collect();
        let all = op == Op::AllReduce;
        // The phases follow each other, so that the links' own rates hold, not the rate of the whole.
        let (edge, outer) = (f64::INFINITY, f64::INFINITY);
        let (mut got, mut depth): (Option<Vec<u32>>, u32) = (None, 0);
        if op != Op::AllGather && m > 1 {
            got = Some(self.phase(&inner, m - 1, 1.0, edge, 0, None, |d, r| d * m + r, n));
            depth += m as u32 - 1;
        }
        let steps = if all { 2 * (k - 1) } else { k - 1 };
        let across = self.phase(&rails, steps, 1.0 / m as f64, outer, 1, got.as_deref(), |r, d| d * m + r, n);
        depth += steps as u32;
        if op != Op::ReduceScatter && m > 1 {
            self.phase(&inner, m - 1, 1.0, edge, 2, Some(&across), |d, r| d * m + r, n);
            depth += m as u32 - 1;
        }
        self.out.depth = self.out.depth.max(depth);
    }

    /// A ring phase of several rings; `place` gives the rank of (ring, member). Takes and returns the last message by rank.
    #[allow(clippy::too_many_arguments)]
    fn phase(
        &mut self,
        rings: &[Ring],
        steps: usize,
        share: f64,
        lane: f64,
        key: u32,
        start: Option<&[u32]>,
        place: impl Fn(usize, usize) -> usize,
        ranks: usize,
    ) -> Vec<u32> {
        let mut out = vec![0; ranks];
        for (number, ring) in rings.iter().enumerate() {
            let begin: Option<Vec<u32>> = start.map(|s| (0..ring.len()).map(|i| s[place(number, i)]).collect());
            let got = self.ring(ring, steps, share, lane, key, begin.as_deref());
            for (i, id) in got.into_iter().enumerate() {
                out[place(number, i)] = id;
            }
        }
        out
    }

    /// Both directions of every dimension, the payload in one part for each order of dimensions.
    pub(super) fn torus(&mut self, op: Op) -> Option<()> {
        let sides = self.shape.torus.clone()?;
        let used: Vec<usize> = (0..sides.len()).filter(|&d| sides[d].0 > 1).collect();
        if used.iter().any(|&d| !sides[d].1) {
            return None;
        }
        let mut depth = 0;
        for turn in 0..used.len() {
            for back in [false, true] {
                let dims: Vec<usize> = (0..used.len()).map(|s| used[(turn + s) % used.len()]).collect();
                let key = (turn * 2 + usize::from(back)) as u32 * 16;
                depth = self.torus_part(op, &sides, &dims, 0.5 / used.len() as f64, back, key);
            }
        }
        self.out.depth = self.out.depth.max(depth);
        Some(())
    }

    /// One part in one direction: rings along one dimension after the other; returns its depth.
    fn torus_part(&mut self, op: Op, sides: &[(usize, bool)], dims: &[usize], share: f64, back: bool, key: u32) -> u32 {
        let n = self.group.len();
        let scatter = dims.iter().map(|&d| (d, true));
        let gather = dims.iter().rev().map(|&d| (d, false));
        let phases: Vec<(usize, bool)> = match op {
            Op::ReduceScatter => scatter.collect(),
            Op::AllGather => gather.collect(),
            _ => scatter.chain(gather).collect(),
        };
        let mut shares: FxHashMap<usize, f64> = FxHashMap::default();
        let mut part = share;
        for &d in dims {
            shares.insert(d, part);
            part /= sides[d].0 as f64;
        }
        let (mut got, mut depth): (Option<Vec<u32>>, u32) = (None, 0);
        for (number, &(d, _)) in phases.iter().enumerate() {
            let stride: usize = sides[..d].iter().map(|s| s.0).product();
            let side = sides[d].0;
            let starts: Vec<usize> = (0..n).filter(|i| (i / stride).is_multiple_of(side)).collect();
            let at = |ring: usize, i: usize| starts[ring] + (if back { side - 1 - i } else { i }) * stride;
            let rings: Vec<Ring> = (0..starts.len()).map(|r| (0..side).map(|i| (self.group[at(r, i)], None)).collect()).collect();
            let lane = shares[&d] * (side as f64 - 1.0) / side as f64;
            got = Some(self.phase(&rings, side - 1, shares[&d], lane, key + number as u32, got.as_deref(), at, n));
            depth += side as u32 - 1;
        }
        depth
    }
}
