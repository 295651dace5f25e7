//! Mean and percentiles of what happened many times.

use schemars::JsonSchema;
use serde::Serialize;

/// Mean and percentiles of one quantity; percentiles are exact, linear between neighbours in order.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct Percentiles {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Percentiles {
    /// Of values that come so many times each, ascending.
    #[must_use]
    pub fn of_sorted(values: &[(f64, u64)]) -> Self {
        let n: u64 = values.iter().map(|v| v.1).sum();
        if n == 0 {
            return Self::default();
        }
        let mean = values.iter().map(|v| v.0 * v.1 as f64).sum::<f64>() / n as f64;
        let quantile = |q: f64| {
            let at = q * (n - 1) as f64;
            let low = at.floor() as u64;
            let mut before = 0;
            for (i, &(value, count)) in values.iter().enumerate() {
                before += count;
                if low < before {
                    let next = if low + 1 < before { value } else { values.get(i + 1).map_or(value, |v| v.0) };
                    return value + (next - value) * (at - low as f64);
                }
            }
            values[values.len() - 1].0
        };
        Self { mean, p50: quantile(0.5), p90: quantile(0.9), p95: quantile(0.95), p99: quantile(0.99) }
    }
    /// Of single values.
    #[must_use]
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut list: Vec<(f64, u64)> = values.map(|v| (v, 1)).collect();
        list.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Self::of_sorted(&list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let p = Percentiles::of((0..=100).map(f64::from));
        assert_eq!((p.mean, p.p50, p.p90, p.p95, p.p99), (50.0, 50.0, 90.0, 95.0, 99.0));
        // Counted values give the same as the values one by one.
        let one_by_one = Percentiles::of([1.0, 1.0, 1.0, 2.0, 5.0, 5.0].into_iter());
        assert_eq!(Percentiles::of_sorted(&[(1.0, 3), (2.0, 1), (5.0, 2)]), one_by_one);
        assert_eq!(one_by_one.p50, 1.5);
        assert_eq!(Percentiles::of(std::iter::empty()), Percentiles::default());
    }
}
