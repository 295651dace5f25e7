//! What measured products say beside the law: a correction from the nearest of them.
//!
//! The law (tile model) leaves out what libraries do with single shapes: which kernel they pick. What it leaves, `ln(measured/law)`, is taken as a
//! random field over `(ln m, ln n, ln k)` with the correlation `e^(−distance/reach)` and a part that no neighbour shares (`own`, in units of the part
//! that they share). A shape gets the best linear prediction from the sixteen products nearest to it: far from all of them that is the law, and a
//! product that was measured is at its measured time.

use super::device::operand_bytes;
use super::gemm::{Gemm, Sheet};
use super::profile::{GemmRow, Profile};
use crate::hardware::Catalogue;
use nalgebra::{Cholesky, DMatrix, DVector};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Products that a prediction looks at.
pub const NEIGHBOURS: usize = 16;

/// Shapes whose correction is kept; more are worked out every time.
const KEPT: usize = 1 << 16;

/// Residuals of measured products and how far they reach.
#[derive(Debug, Clone)]
pub struct Residuals {
    points: Vec<([f64; 3], f64)>,
    reach: f64,
    own: f64,
}

/// Where a product lies.
#[must_use]
pub fn place(m: u64, n: u64, k: u64) -> [f64; 3] {
    [m, n, k].map(|x| libm::log(x.max(1) as f64))
}

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

impl Residuals {
    /// From places and residuals, no place twice; `reach` in units of the logarithm and above 0, `own` at least 0.
    #[must_use]
    pub const fn new(points: Vec<([f64; 3], f64)>, reach: f64, own: f64) -> Self {
        Self { points, reach, own }
    }

    /// The residual at a place; that of a measured product is its own.
    #[must_use]
    pub fn at(&self, place: &[f64; 3]) -> f64 {
        match self.points.iter().find(|(p, _)| distance(p, place) < 1e-9) {
            Some((_, own)) => *own,
            None => self.by_neighbours(place, usize::MAX),
        }
    }

    /// The residual of a product from the others alone.
    #[must_use]
    pub fn left_out(&self, i: usize) -> f64 {
        self.by_neighbours(&self.points[i].0, i)
    }

    fn by_neighbours(&self, place: &[f64; 3], without: usize) -> f64 {
        let all = self.points.iter().enumerate().filter(|(i, _)| *i != without);
        let mut near: Vec<(f64, usize)> = all.map(|(i, (p, _))| (distance(p, place), i)).collect();
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if near.len() > NEIGHBOURS {
            near.select_nth_unstable_by(NEIGHBOURS, order);
            near.truncate(NEIGHBOURS);
        }
        near.sort_unstable_by(order);
        let alike = |d: f64| libm::exp(-d / self.reach);
        let n = near.len();
        let between = |i: usize, j: usize| distance(&self.points[near[i].1].0, &self.points[near[j].1].0);
        let matrix = DMatrix::from_fn(n, n, |i, j| if i == j { 1.0 + self.own } else { alike(between(i, j)) });
        let values = DVector::from_fn(n, |i, _| self.points[near[i].1].1);
        let Some(factors) = Cholesky::new(matrix) else { return 0.0 };
        factors.solve(&values).iter().zip(&near).map(|(weight, (d, _))| weight * alike(*d)).sum()
    }
}

/// The measured products of one entry of a profile.
#[derive(Debug)]
pub(super) struct Nearby {
    pub(super) profile: Arc<Profile>,
    pub(super) row: usize,
    residuals: Residuals,
    known: Mutex<HashMap<(u64, u64, u64), f64>>,
}

impl Nearby {
    /// Of all entries of a profile that have products.
    pub(super) fn of(profile: &Arc<Profile>) -> Vec<Arc<Self>> {
        let with = profile.gemm.iter().enumerate().filter_map(|(row, r)| {
            let residuals = residuals(profile, r)?;
            Some(Arc::new(Self { profile: profile.clone(), row, residuals, known: Mutex::default() }))
        });
        with.collect()
    }

    /// What a product takes over what the law says.
    pub(super) fn ratio(&self, g: Gemm) -> f64 {
        let key = (g.m, g.n, g.k);
        let known = |k: &Mutex<HashMap<_, f64>>| k.lock().ok().and_then(|k| k.get(&key).copied());
        if let Some(ratio) = known(&self.known) {
            return ratio;
        }
        let ratio = libm::exp(self.residuals.at(&place(g.m, g.n, g.k)));
        if let Ok(mut known) = self.known.lock()
            && known.len() < KEPT
        {
            known.insert(key, ratio);
        }
        ratio
    }
}

/// `None` without products, for an unknown part, or for a format that the part has no path for.
fn residuals(profile: &Profile, row: &GemmRow) -> Option<Residuals> {
    let near = row.near.as_ref()?;
    let part = Catalogue::embedded().accelerators.get(profile.accelerator.as_str())?;
    let peak = part.peak.of(*row.dtype)?.get();
    let sheet = Sheet { peak, bandwidth: part.memory_bandwidth.get(), units: *part.compute_units as f64 };
    let (constants, bytes) = (row.constants(), operand_bytes(*row.dtype));
    let point = |p: &super::profile::Product| {
        let g = Gemm { m: p.m, n: p.n, k: p.k, batch: 1, output_bytes: 2.0 };
        let law = constants.time(&sheet, bytes, g) + constants.quantisation(&sheet, g);
        (place(p.m, p.n, p.k), libm::log(p.seconds / law))
    };
    Some(Residuals::new(near.products.iter().map(|p| point(&p.value)).collect(), *near.reach, *near.own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(residual: impl Fn(usize) -> f64) -> Vec<([f64; 3], f64)> {
        let shapes = (0..60u64).map(|i| (1 << (i % 12), 128 + 512 * (i / 12), 64 * (1 + i % 5)));
        shapes.enumerate().map(|(i, (m, n, k))| (place(m, n, k), residual(i))).collect()
    }

    /// A measured product is at its time, one between two alike ones is like them, and far from all there is the law alone.
    #[test]
    fn near_is_like_its_neighbours_and_far_is_the_law() {
        let field = Residuals::new(grid(|_| 0.2), 1.0, 0.1);
        assert!((field.at(&place(4, 128, 192)) - 0.2).abs() < 1e-12);
        let between = field.at(&place(6, 200, 128));
        assert!((0.1..0.2).contains(&between), "{between}");
        let far = field.at(&place(1 << 24, 1 << 24, 1 << 24));
        assert!(far.abs() < 1e-4, "{far}");
    }

    proptest! {
        /// No prediction leaves what the neighbours span by more than a little, wherever the place is.
        #[test]
        fn corrections_are_bounded(
            m in 1u64..1 << 20, n in 1u64..1 << 20, k in 1u64..1 << 20, reach in 0.3..6.0f64, own in 0.02..4.0f64, seed in 0usize..1000,
        ) {
            let field = Residuals::new(grid(|i| 0.3 * libm::sin((i * 37 + seed) as f64)), reach, own);
            let r = field.at(&place(m, n, k));
            prop_assert!(r.is_finite() && r.abs() < 0.9, "{r}");
            prop_assert!(field.left_out(seed % 60).is_finite());
        }
    }
}
