//! Time by size as the least of up to three lines: what a library that picks among protocols looks like from outside.
//!
//! A time is the median over all repetitions of a size. Sizes in order are cut into segments, each with a line by weighted least squares
//! (weights 1/t², Huber's in a few rounds); all cuts are tried, the best one is polished by turns of "who is least here" and "fit
//! again". How many lines there are is decided by leaving sizes out.

use crate::engine::Streams;
use crate::tables::quantile;
use nalgebra::{Matrix2, Vector2};
use rand_pcg::rand_core::Rng;

/// A measured time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Size in bytes.
    pub bytes: f64,
    /// Seconds.
    pub seconds: f64,
    /// Measuring session.
    pub session: usize,
}

/// A value with its 90 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The value.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A fitted line: seconds of start-up, bytes per second (`None`: the time does not grow).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineFit {
    /// Start-up in seconds.
    pub start: Interval,
    /// Rate.
    pub rate: Option<Interval>,
}

/// A fitted curve.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveFit {
    /// Its lines, slowest rate first.
    pub lines: Vec<LineFit>,
    /// Measurements.
    pub measurements: usize,
    /// Sessions.
    pub sessions: usize,
    /// Median of the absolute relative error in the fit.
    pub inside: f64,
    /// Median, 90th percentile and greatest absolute relative error of sizes left out one at a time.
    pub left_out: [f64; 3],
    /// Median of the signed error of those.
    pub bias: f64,
    /// Smallest and greatest size.
    pub range: (f64, f64),
    /// What the data do not determine.
    pub undetermined: Vec<String>,
    /// Size, median measured seconds, fitted seconds.
    pub points: Vec<(f64, f64, f64)>,
}

/// Sizes below which there is no curve.
pub(super) const FEWEST_SIZES: usize = 5;

/// A declared floor of intervals where fewer than five sessions were measured: rates of nominally equal machines differ by that.
pub(super) const FLOOR: f64 = 0.03;

/// Score that one line more has to gain at least.
const SLACK: f64 = 2.5e-3;

/// Replicates of the bootstrap.
const REPLICATES: usize = 200;

/// Sizes between which cuts are tried; more sizes are thinned out to these.
const MOST_CUTS: usize = 40;

/// Seconds at 0 bytes and seconds per byte.
type Line = (f64, f64);

/// Medians by size in order.
fn medians(points: &[Point]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
    let equal = sorted.chunk_by(|a, b| a.bytes.total_cmp(&b.bytes).is_eq());
    equal.map(|c| (c[0].bytes, quantile(c.iter().map(|p| p.seconds).collect(), 0.5))).collect()
}

/// A line through points by relative least squares, start-up and slope at least 0.
fn line(points: &[(f64, f64)]) -> Line {
    let mut weights = vec![1.0; points.len()];
    let mut out = weighted(points, &weights);
    for _ in 0..if points.len() < 4 { 0 } else { 5 } {
        let residual = |(s, t): &(f64, f64)| (out.0 + out.1 * s) / t - 1.0;
        let sizes: Vec<f64> = points.iter().map(|p| residual(p).abs()).collect();
        let bound = 1.345 * (quantile(sizes.clone(), 0.5) / 0.6745).max(0.02);
        for (w, size) in weights.iter_mut().zip(&sizes) {
            *w = if *size <= bound { 1.0 } else { bound / size };
        }
        out = weighted(points, &weights);
    }
    out
}

fn weighted(points: &[(f64, f64)], weights: &[f64]) -> Line {
    // Columns 1/t and s/t of unit length each: start-ups and slopes differ by ten orders of magnitude.
    let scale = points.iter().map(|p| p.0).fold(1.0, f64::max);
    let (mut a, mut b) = (Matrix2::zeros(), Vector2::zeros());
    for (&(s, t), w) in points.iter().zip(weights) {
        let row = Vector2::new(1.0 / t, s / scale / t);
        a += row * row.transpose() * *w;
        b += row * *w;
    }
    let alone = |j: usize| if a[(j, j)] > 0.0 { b[j] / a[(j, j)] } else { 0.0 };
    let solved = if a.determinant() > 1e-9 * a[(0, 0)] * a[(1, 1)] { a.try_inverse().map(|i| i * b) } else { None };
    match solved {
        Some(x) if x[0] >= 0.0 && x[1] >= 0.0 => (x[0], x[1] / scale),
        Some(x) if x[0] < 0.0 => (0.0, alone(1) / scale),
        _ => (alone(0), 0.0),
    }
}

fn time(lines: &[Line], bytes: f64) -> f64 {
    lines.iter().map(|l| l.0 + l.1 * bytes).fold(f64::INFINITY, f64::min)
}

fn cost(lines: &[Line], points: &[(f64, f64)]) -> f64 {
    // Between squares and absolute values: one bad size does not turn the curve.
    points.iter().map(|&(s, t)| libm::pow(libm::log(time(lines, s).max(1e-15) / t).abs(), 1.5)).sum()
}

/// Turns of assignment and fit, as long as they help.
fn polish(mut lines: Vec<Line>, points: &[(f64, f64)]) -> Vec<Line> {
    let mut best = cost(&lines, points);
    for _ in 0..10 {
        let next = refit(&lines, points);
        let new = cost(&next, points);
        if new >= best * (1.0 - 1e-9) {
            break;
        }
        (lines, best) = (next, new);
    }
    lines
}

/// Every line again from the points where it is least.
fn refit(lines: &[Line], points: &[(f64, f64)]) -> Vec<Line> {
    let least = |s: f64| {
        let times = lines.iter().map(|l| l.0 + l.1 * s).enumerate();
        times.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |m| m.0)
    };
    let of = |i: usize| points.iter().copied().filter(|p| least(p.0) == i).collect::<Vec<_>>();
    lines.iter().enumerate().map(|(i, old)| Some(of(i)).filter(|p| p.len() >= 2).map_or(*old, |p| line(&p))).collect()
}

/// The best cut into `count` segments of at least two sizes.
fn cut(points: &[(f64, f64)], count: usize) -> Option<Vec<Line>> {
    let n = points.len();
    if n < 3 * count {
        return None;
    }
    let step = n.div_ceil(MOST_CUTS);
    let places = || (2..n - 1).step_by(step);
    let mut best: Option<(f64, Vec<Line>)> = None;
    let mut offer = |ends: &[usize]| {
        let mut from = 0;
        let lines: Vec<Line> = ends.iter().map(|&to| line(&points[std::mem::replace(&mut from, to)..to])).collect();
        let cost = cost(&lines, points);
        if best.as_ref().is_none_or(|b| cost < b.0) {
            best = Some((cost, lines));
        }
    };
    match count {
        1 => offer(&[n]),
        2 => places().for_each(|i| offer(&[i, n])),
        _ => places().for_each(|i| places().filter(|j| *j >= i + 2).for_each(|j| offer(&[i, j, n]))),
    }
    best.map(|(_, lines)| polish(lines, points))
}

/// Signed relative errors of sizes, each under lines that were fitted again without it, from the lines of all sizes.
fn leave_out(lines: &[Line], points: &[(f64, f64)]) -> Vec<f64> {
    let without = |i: usize| {
        let rest: Vec<(f64, f64)> = points.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, p)| *p).collect();
        let mut again = lines.to_vec();
        for _ in 0..3 {
            again = refit(&again, &rest);
        }
        time(&again, points[i].0) / points[i].1 - 1.0
    };
    (0..points.len()).map(without).collect()
}

fn absolute(errors: &[f64]) -> Vec<f64> {
    errors.iter().map(|e| e.abs()).collect()
}

/// Fits a curve; `None` with fewer than five sizes.
#[must_use]
pub fn fit_curve(points: &[Point]) -> Option<CurveFit> {
    let sizes = medians(points);
    if sizes.len() < FEWEST_SIZES {
        return None;
    }
    let candidates: Vec<(f64, Vec<Line>, Vec<f64>)> = (1..=3)
        .filter_map(|count| cut(&sizes, count))
        .map(|lines| {
            let errors = leave_out(&lines, &sizes);
            // The mean, and something for what is worst: a switch of protocol that is missed shows there.
            let size = absolute(&errors);
            let mean = size.iter().sum::<f64>() / size.len() as f64;
            let score = mean + 0.25 * quantile(size.clone(), 0.9) + 0.1 * quantile(size, 1.0);
            (score, lines, errors)
        })
        .collect();
    // The fewest lines that are within 15 % of the best, as noise alone gains a tenth by one line more, or within a quarter of a per cent:
    // medians are known to one.
    let best = candidates.iter().map(|c| c.0).fold(f64::INFINITY, f64::min);
    let (_, mut lines, errors) = candidates.into_iter().find(|c| c.0 <= (1.15 * best + 5e-4).max(best + SLACK))?;
    lines.retain({
        let all = lines.clone();
        move |l| sizes_where_least(&all, l, points)
    });
    lines.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.total_cmp(&b.0)));
    let inside: Vec<f64> = sizes.iter().map(|&(s, t)| (time(&lines, s) / t - 1.0).abs()).collect();
    let (fits, undetermined, sessions) = intervals(&lines, points, &sizes);
    Some(CurveFit {
        lines: fits,
        measurements: points.len(),
        sessions,
        inside: quantile(inside, 0.5),
        left_out: [0.5, 0.9, 1.0].map(|q| quantile(absolute(&errors), q)),
        bias: quantile(errors, 0.5),
        range: (sizes[0].0, sizes[sizes.len() - 1].0),
        undetermined,
        points: sizes.iter().map(|&(s, t)| (s, t, time(&lines, s))).collect(),
    })
}

/// Whether a line is the least anywhere among the points.
fn sizes_where_least(all: &[Line], one: &Line, points: &[Point]) -> bool {
    points.iter().any(|p| one.0 + one.1 * p.bytes <= time(all, p.bytes) * (1.0 + 1e-12))
}

/// Intervals by bootstrap: over sessions where there are several, else over signs of the residuals of one session.
fn intervals(lines: &[Line], points: &[Point], sizes: &[(f64, f64)]) -> (Vec<LineFit>, Vec<String>, usize) {
    let mut names: Vec<usize> = points.iter().map(|p| p.session).collect();
    names.sort_unstable();
    names.dedup();
    let mut stream = Streams::new(7).stream("bootstrap of curves");
    let mut draws: Vec<Vec<Line>> = Vec::with_capacity(REPLICATES);
    for _ in 0..REPLICATES {
        let sample: Vec<(f64, f64)> = if names.len() > 1 {
            let drawn: Vec<usize> = names.iter().map(|_| names[(stream.next_u64() % names.len() as u64) as usize]).collect();
            medians(&drawn.iter().flat_map(|d| points.iter().filter(move |p| p.session == *d).copied()).collect::<Vec<_>>())
        } else {
            let flip = |&(s, t): &(f64, f64)| {
                let fitted = time(lines, s);
                let residual = libm::log(t / fitted);
                (s, fitted * libm::exp(if stream.next_u64() & 1 == 0 { residual } else { -residual }))
            };
            sizes.iter().map(flip).collect()
        };
        let mut again = refit(lines, &sample);
        again = refit(&again, &sample);
        draws.push(again);
    }
    let floor = if names.len() < 5 { FLOOR } else { 0.0 };
    // Few sessions: their draws spread too little, and Student's quantile is wider than that of a normal distribution.
    let n = names.len() as f64;
    let wide = if n > 1.0 { (n / (n - 1.0)).sqrt() * (1.0 + 0.926 / (n - 1.0)) } else { 1.0 };
    let interval = |value: f64, all: Vec<f64>| Interval {
        value,
        low: (value + wide * (quantile(all.clone(), 0.05) - value)).min(value * (1.0 - floor)).max(0.0),
        high: (value + wide * (quantile(all, 0.95) - value)).max(value * (1.0 + floor)),
    };
    let mut undetermined = Vec::new();
    let fits = lines.iter().enumerate().map(|(i, l)| {
        let start = interval(l.0, draws.iter().map(|d| d[i].0).collect());
        let slope = interval(l.1, draws.iter().map(|d| d[i].1).collect());
        // What a start-up adds to the smallest time of its line has to be more than noise.
        let smallest =
            sizes.iter().filter(|(s, _)| l.0 + l.1 * s <= time(lines, *s) * (1.0 + 1e-9)).map(|p| p.1).fold(f64::INFINITY, f64::min);
        if start.high > 2.0 * start.value.max(1e-12) || start.value < 0.02 * smallest {
            undetermined.push(format!("start-up of line {}", i + 1));
        }
        let wide = slope.value <= 0.0 || slope.high > 2.0 * slope.value;
        if wide {
            undetermined.push(format!("rate of line {}", i + 1));
        }
        let rate = |s: f64| 1.0 / s.max(1e-30);
        let rate = (slope.value > 0.0).then(|| Interval {
            value: rate(slope.value),
            low: rate(slope.high),
            high: rate(slope.low).min(1e3 * rate(slope.value)),
        });
        LineFit { start, rate }
    });
    (fits.collect(), undetermined, names.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sweep(truth: &[Line], noise: f64, sessions: usize, drift: f64) -> Vec<Point> {
        let mut stream = Streams::new(3).stream("test");
        let mut uniform = || (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        let mut out = Vec::new();
        for session in 0..sessions {
            let factor = 1.0 + drift * uniform();
            for i in 0..26 {
                let bytes = 1024.0 * libm::exp2(f64::from(i) * 0.9);
                out.push(Point { bytes, seconds: time(truth, bytes) * factor * (1.0 + noise * uniform()), session });
            }
        }
        out
    }

    /// Three lines with 2 % of noise come back, and the choice of their number with them.
    #[test]
    fn lines_come_back() {
        let truth = [(35e-6, 1.0 / 21e9), (64e-6, 1.0 / 85e9), (104e-6, 1.0 / 133e9)];
        let fit = fit_curve(&sweep(&truth, 0.02, 6, 0.0)).unwrap();
        assert_eq!((fit.lines.len(), fit.sessions), (3, 6), "{fit:?}");
        for (l, t) in fit.lines.iter().zip(truth) {
            let rate = l.rate.unwrap();
            assert!((l.start.value / t.0 - 1.0).abs() < 0.1 && (rate.value * t.1 - 1.0).abs() < 0.1, "{l:?} against {t:?}");
        }
        assert!(fit.inside < 0.01 && fit.left_out[0] < 0.012);
        let one = fit_curve(&sweep(&truth[..1], 0.02, 1, 0.0)).unwrap();
        assert_eq!(one.lines.len(), 1);
    }

    /// With a drift between sessions, intervals over sessions hold the truth; intervals inside one session would not.
    #[test]
    fn intervals_hold_the_truth_under_drift() {
        let truth = [(18e-6, 1.0 / 360e9)];
        let fit = fit_curve(&sweep(&truth, 0.02, 8, 0.06)).unwrap();
        let line = fit.lines[0];
        let rate = line.rate.unwrap();
        assert!(line.start.low <= 18e-6 && 18e-6 <= line.start.high, "{line:?}");
        assert!(rate.low <= 360e9 && 360e9 <= rate.high && rate.high / rate.low < 1.1, "{line:?}");
    }

    #[test]
    fn what_sizes_do_not_show_is_listed() {
        let flat: Vec<Point> = [1.0, 2.0, 4.0, 8.0, 16.0].map(|bytes| Point { bytes, seconds: 5e-6, session: 0 }).to_vec();
        let fit = fit_curve(&flat).unwrap();
        assert!(fit.lines[0].rate.is_none() && fit.undetermined.iter().any(|u| u.contains("rate")), "{fit:?}");
        let large: Vec<Point> = [1e9, 2e9, 4e9, 8e9, 16e9].map(|bytes| Point { bytes, seconds: bytes / 1e11 + 1e-6, session: 0 }).to_vec();
        assert!(fit_curve(&large).unwrap().undetermined.iter().any(|u| u.contains("start-up")));
        assert!(fit_curve(&flat[..4]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]
        /// Any positive figures give a finite curve that is never negative.
        #[test]
        fn any_figures_give_a_curve(list in prop::collection::vec((1.0..1e12f64, 1e-9..1e3f64, 0usize..4), 1..60)) {
            let points: Vec<Point> = list.into_iter().map(|(bytes, seconds, session)| Point { bytes, seconds, session }).collect();
            if let Some(fit) = fit_curve(&points) {
                prop_assert!(!fit.lines.is_empty() && fit.lines.len() <= 3);
                for l in &fit.lines {
                    prop_assert!(l.start.value >= 0.0 && l.start.low <= l.start.value && l.start.value <= l.start.high);
                    if let Some(r) = l.rate { prop_assert!(r.value > 0.0 && r.low <= r.value && r.value <= r.high && r.high.is_finite()); }
                }
                prop_assert!(fit.left_out.iter().all(|e| e.is_finite()));
            }
        }
    }
}
