//! Measured products beside the law: whether they help, and how far they reach.
//!
//! Reach and own share come from a grid, by the errors of products that are left out one at a time. Where neighbours do not predict those better
//! than the law alone, the entry keeps no products: a profile is never worse for them where that was measured.

use crate::kernels::{Gemm, Residuals, place};
use crate::tables::quantile;
use indexmap::IndexMap;

/// Distances in the logarithms of m, n, k that are tried.
const REACHES: [f64; 7] = [0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0];

/// Shares of what a product has for itself that are tried.
const OWNS: [f64; 6] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

/// By which share, and by how much at least, the score has to be better than the law's: the best of 42 is a little better by chance, and medians of
/// repetitions are known to about one per cent.
const GAIN: (f64, f64) = (0.95, 0.003);

/// Fewest products with neighbours.
const FEWEST: usize = 30;

/// Products that are left out in turn, at most.
const MOST_LEFT_OUT: usize = 1000;

/// Products that correct the law around them.
#[derive(Debug, Clone, PartialEq)]
pub struct Near {
    /// Distance at which e^-1 of a correction is left.
    pub reach: f64,
    /// Variance of what a product has for itself over that of what it shares.
    pub own: f64,
    /// Median and 90th percentile of the absolute error, and median of the signed one, of products left out one at a time.
    pub left_out: [f64; 3],
    /// Shapes and measured seconds, no shape twice.
    pub products: Vec<(Gemm, f64)>,
}

/// Errors as one figure: what is typical, and something for what is bad.
fn score(errors: &[f64]) -> f64 {
    let size: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
    quantile(size.clone(), 0.5) + 0.25 * quantile(size, 0.9)
}

/// The products of an entry, where they say more than the law does.
pub(super) fn near(shapes: &[Gemm], measured: &[f64], law: &dyn Fn(Gemm) -> f64) -> Option<Near> {
    let mut by_shape: IndexMap<(u64, u64, u64), (Gemm, Vec<f64>)> = IndexMap::new();
    for (g, seconds) in shapes.iter().zip(measured) {
        by_shape.entry((g.m, g.n, g.k)).or_insert_with(|| (*g, Vec::new())).1.push(*seconds);
    }
    let products: Vec<(Gemm, f64)> = by_shape.into_values().map(|(g, times)| (g, quantile(times, 0.5))).collect();
    if products.len() < FEWEST {
        return None;
    }
    let points: Vec<([f64; 3], f64)> = products.iter().map(|(g, t)| (place(g.m, g.n, g.k), libm::log(t / law(*g)))).collect();
    let chosen: Vec<usize> = (0..points.len()).step_by(points.len().div_ceil(MOST_LEFT_OUT)).collect();
    let errors = |field: Option<&Residuals>| -> Vec<f64> {
        chosen.iter().map(|&i| libm::exp(field.map_or(0.0, |f| f.left_out(i)) - points[i].1) - 1.0).collect()
    };
    let alone = score(&errors(None));
    let grid = REACHES.iter().flat_map(|r| OWNS.iter().map(move |o| (*r, *o)));
    let tried = grid.map(|(reach, own)| {
        let errors = errors(Some(&Residuals::new(points.clone(), reach, own)));
        (score(&errors), reach, own, errors)
    });
    let (best, reach, own, errors) = tried.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let size: Vec<f64> = errors.iter().map(|e| e.abs()).collect();
    let left_out = [quantile(size.clone(), 0.5), quantile(size, 0.9), quantile(errors, 0.5)];
    (best <= (GAIN.0 * alone).min(alone - GAIN.1)).then_some(Near { reach, own, left_out, products })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Streams;
    use rand_pcg::rand_core::Rng;

    fn shapes() -> Vec<Gemm> {
        let mut stream = Streams::new(5).stream("shapes");
        let mut pick = |low: f64, high: f64| {
            let u = (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            (low * libm::pow(high / low, u)) as u64
        };
        (0..200)
            .map(|_| Gemm { m: pick(1.0, 8192.0), n: pick(64.0, 16384.0), k: pick(64.0, 16384.0), batch: 1, output_bytes: 2.0 })
            .collect()
    }

    /// Where the law says all but noise, products are left away; where it misses something smooth, they bring it, of shapes left out as well.
    #[test]
    fn products_are_kept_where_they_help() {
        let shapes = shapes();
        let noise = |i: usize| 0.02 * libm::sin(91.7 * i as f64);
        let law = |g: Gemm| 1e-6 * (3.0 + (g.m * g.n) as f64 * 1e-5);
        let plain: Vec<f64> = shapes.iter().enumerate().map(|(i, g)| law(*g) * (1.0 + noise(i))).collect();
        assert_eq!(near(&shapes, &plain, &law), None);
        let missed = |g: &Gemm| 0.2 * libm::sin(libm::log(g.m as f64));
        let measured: Vec<f64> = shapes.iter().enumerate().map(|(i, g)| law(*g) * libm::exp(missed(g)) * (1.0 + noise(i))).collect();
        let near = near(&shapes, &measured, &law).unwrap();
        let alone = quantile(shapes.iter().map(|g| missed(g).abs()).collect(), 0.5);
        assert!(near.left_out[0] < 0.6 * alone, "{} against {alone}", near.left_out[0]);
        assert_eq!(near.products.len(), 200);
    }

    #[test]
    fn a_shape_of_several_sessions_counts_once() {
        let shapes: Vec<Gemm> = shapes().into_iter().take(40).flat_map(|g| [g, g, g]).collect();
        let law = |_: Gemm| 1e-5;
        let measured: Vec<f64> =
            shapes.iter().enumerate().map(|(i, g)| 1e-5 * libm::pow(g.m as f64, 0.2) * [0.99, 1.0, 1.5][i % 3]).collect();
        let near = near(&shapes, &measured, &law).unwrap();
        assert_eq!(near.products.len(), 40);
        assert!((near.products[0].1 / measured[1] - 1.0).abs() < 1e-12);
    }
}
