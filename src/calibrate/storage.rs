//! Storage: a request at depth q takes `latency + q (1/iops + bytes/bandwidth)`, the model of `docs/models/storage.md`.

use super::curve::Interval;
use super::record::{Measurement, What};
use super::solve::{Parameter, Problem};
use crate::tables::quantile;

/// A fitted direction of a tier.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageFit {
    /// Seconds of one small request on the idle tier.
    pub latency: Option<Interval>,
    /// Requests in a second.
    pub iops: Option<Interval>,
    /// Bytes per second.
    pub bandwidth: Option<Interval>,
    /// What the data do not determine.
    pub undetermined: Vec<String>,
    /// Measurements.
    pub measurements: usize,
    /// Median, 90th percentile, greatest absolute relative error of requests per second, each left out of the fit.
    pub left_out: [f64; 3],
    /// Median of the signed error.
    pub bias: f64,
    /// Request in bytes, measured and fitted seconds by request at its depth.
    pub points: Vec<(f64, f64, f64)>,
}

/// Microseconds, thousands of requests per second, GB/s: centres are those of a drive of 2020 to 2025.
const PARAMETERS: [Parameter; 3] = [
    Parameter { name: "latency", low: 0.1, high: 1e6, centre: 80.0, firm: 1.0 },
    Parameter { name: "iops", low: 1e-3, high: 1e5, centre: 300.0, firm: 1.0 },
    Parameter { name: "bandwidth", low: 1e-4, high: 1e4, centre: 3.0, firm: 1.0 },
];

/// Weight of the prior: a decade of a parameter weighs like 1 % of error of one point.
const PRIOR: f64 = 0.004;

/// Relative error that a single measurement of storage has at least.
const NOISE: f64 = 0.03;

/// A parameter is determined when its 90 % interval is narrower than a factor of two on both sides.
const DETERMINED: f64 = std::f64::consts::LN_2;

fn service(bytes: f64, depth: f64, v: &[f64]) -> f64 {
    1e-6 * v[0] + depth * (1e-3 / v[1] + 1e-9 * bytes / v[2])
}

/// Fits one direction; what the data do not determine stays out.
pub(super) fn fit_storage(group: &[&Measurement]) -> StorageFit {
    let rows: Vec<(f64, f64, f64)> = group
        .iter()
        .filter_map(|m| if let What::Storage { bytes, depth, .. } = m.what { Some((bytes, depth, depth / m.value)) } else { None })
        .collect();
    let own = [0, 1, 2];
    let predict = |i: usize, v: &[f64]| service(rows[i].0, rows[i].1, v);
    let problem = Problem {
        parameters: &PARAMETERS,
        own: vec![&own[..]; rows.len()],
        predict: &predict,
        measured: rows.iter().map(|r| libm::log(r.2)).collect(),
        prior: PRIOR,
    };
    let all: Vec<usize> = (0..rows.len()).collect();
    let starts = [vec![80.0, 300.0, 3.0], vec![20.0, 50.0, 1.0], vec![5000.0, 0.2, 0.2]];
    let solution = problem.solve(&all, &starts);
    // However well few points are met, each is known to a few percent at most.
    let theta: Vec<f64> = solution.values.iter().map(|v| libm::log(*v)).collect();
    let leverage = problem.leverage(&all, &theta).unwrap_or_else(|| vec![f64::INFINITY; 3]);
    let wide = |j: usize| 1.645 * solution.errors[j].max(NOISE * leverage[j]).max(0.02);
    let mut undetermined = Vec::new();
    let mut value = |j: usize, factor: f64| {
        if wide(j) > DETERMINED {
            undetermined.push(format!("{} (stays at the topology's)", PARAMETERS[j].name));
            return None;
        }
        let v = solution.values[j] * factor;
        Some(Interval { value: v, low: v * libm::exp(-wide(j)), high: v * libm::exp(wide(j)) })
    };
    let (latency, iops, bandwidth) = (value(0, 1e-6), value(1, 1e3), value(2, 1e9));
    let held: Vec<f64> = (0..rows.len())
        .map(|i| {
            let rest: Vec<usize> = all.iter().copied().filter(|j| *j != i).collect();
            let part = if rest.is_empty() { solution.clone() } else { problem.solve(&rest, std::slice::from_ref(&solution.values)) };
            rows[i].2 / service(rows[i].0, rows[i].1, &part.values) - 1.0
        })
        .collect();
    let absolute: Vec<f64> = held.iter().map(|e| e.abs()).collect();
    StorageFit {
        latency,
        iops,
        bandwidth,
        undetermined,
        measurements: rows.len(),
        left_out: [0.5, 0.9, 1.0].map(|q| quantile(absolute.clone(), q)),
        bias: quantile(held, 0.5),
        points: rows.iter().map(|r| (r.0, r.2, service(r.0, r.1, &solution.values))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::record::Unit;

    fn request(bytes: f64, depth: f64, value: f64) -> Measurement {
        let what = What::Storage { direction: "read".into(), pattern: "random".into(), bytes, depth, engine: "x".into(), latency_s: 0.0 };
        Measurement::new(what, value, Unit::OperationsPerSecond, "made")
    }

    /// 70 us, 140,000 requests a second, 2 GB/s come back from depths and sizes.
    #[test]
    fn a_drive_comes_back() {
        let mut list = Vec::new();
        for (i, (bytes, depth)) in
            [(4096.0, 1.0), (4096.0, 4.0), (4096.0, 16.0), (4096.0, 64.0), (65536.0, 8.0), (1_048_576.0, 1.0), (1_048_576.0, 8.0)]
                .into_iter()
                .enumerate()
        {
            let seconds = 70e-6 + depth * (1.0 / 140e3 + bytes / 2e9);
            list.push(request(bytes, depth, depth / seconds * (1.0 + 0.01 * libm::sin(7.0 * i as f64))));
        }
        let fit = fit_storage(&list.iter().collect::<Vec<_>>());
        for (got, want) in [(fit.latency, 70e-6), (fit.iops, 140e3), (fit.bandwidth, 2e9)] {
            let got = got.unwrap();
            assert!((got.value / want - 1.0).abs() < 0.1 && got.low <= want && want <= got.high, "{got:?} against {want}");
        }
        assert!(fit.undetermined.is_empty() && fit.left_out[0] < 0.03, "{fit:?}");
    }

    /// One depth and one size tell a single time: which part of it is latency stays open, and is said.
    #[test]
    fn one_point_determines_nothing() {
        let list = [request(4096.0, 1.0, 12.5e3)];
        let fit = fit_storage(&list.iter().collect::<Vec<_>>());
        assert!(fit.undetermined.len() >= 2 && fit.bandwidth.is_none(), "{fit:?}");
    }
}
