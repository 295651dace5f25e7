//! One entry from its points: the fit over all of them, and what it says of shapes that it did not see.

use super::curve::FLOOR;
use super::nearby::Near;
use super::solve::{Parameter, Problem, Solution};
use crate::tables::quantile;

/// Measured points of entries that are fitted together because they share some parameters.
pub(super) struct Group<'a> {
    /// Parameters that all entries share.
    pub(super) shared: Vec<Parameter>,
    /// Parameters that every entry has for itself.
    pub(super) apart: Vec<Parameter>,
    /// How many entries there are.
    pub(super) entries: usize,
    /// Entry of each point.
    pub(super) entry: Vec<usize>,
    /// Shape of each point: all points of a shape are held out together.
    pub(super) shape: Vec<String>,
    /// Measured seconds.
    pub(super) measured: Vec<f64>,
    /// Seconds of a point from the parameters, shared ones first.
    pub(super) predict: &'a (dyn Fn(usize, &[f64]) -> f64 + Sync),
    /// Penalty of the prior for one unit of the logarithm.
    pub(super) prior: f64,
}

/// A fitted parameter with its 90 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// Key in the profile.
    pub name: &'static str,
    /// Value.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A fitted entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Parameters.
    pub values: Vec<Value>,
    /// Points.
    pub points: usize,
    /// Median of the absolute relative error at all points, in the fit.
    pub inside: f64,
    /// The same, cross-validated by shape.
    pub median: f64,
    /// 90th percentile, cross-validated.
    pub p90: f64,
    /// Median of the signed error, cross-validated.
    pub bias: f64,
    /// Median of the absolute error under the mean of the other libraries of the same part and format, where there are any.
    pub others: Option<f64>,
    /// Measured seconds of every point, and what a fit that did not see its shape predicts.
    pub held: Vec<(f64, f64)>,
    /// Matrix products: those that correct the law near them.
    pub near: Option<Near>,
}

impl Fitted {
    /// Intervals no narrower than what sessions differ by: shapes of one session agree with each other better than with another session.
    pub(super) fn over_sessions(mut self, sessions: usize) -> Self {
        let wide = if sessions < 5 { FLOOR } else { FLOOR * (5.0 / sessions as f64).sqrt() };
        for v in &mut self.values {
            (v.low, v.high) = (v.low.min(v.value * (1.0 - wide)), v.high.max(v.value * (1.0 + wide)));
        }
        self
    }
}

/// Relative error of a point under which the prior loses weight: real kernels are met to 4 % at best.
const USUAL: f64 = 0.02;

/// Parts into which shapes are dealt for cross-validation.
const FOLDS: usize = 5;

impl Group<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        let mut all = self.shared.clone();
        for _ in 0..self.entries {
            all.extend(&self.apart);
        }
        all
    }

    fn positions(&self, entry: usize) -> Vec<usize> {
        let (s, a) = (self.shared.len(), self.apart.len());
        (0..s).chain(s + entry * a..s + (entry + 1) * a).collect()
    }

    /// The fold of each point: shapes in order of their names, dealt in turn.
    fn folds(&self) -> Vec<usize> {
        let mut shapes: Vec<&String> = self.shape.iter().collect();
        shapes.sort_unstable();
        shapes.dedup();
        self.shape.iter().map(|s| shapes.binary_search(&s).unwrap_or(0) % FOLDS).collect()
    }

    /// Fits all entries.
    pub(super) fn fit(&self) -> Vec<Fitted> {
        let parameters = self.parameters();
        let positions: Vec<Vec<usize>> = (0..self.entries).map(|e| self.positions(e)).collect();
        let mut problem = Problem {
            parameters: &parameters,
            own: self.entry.iter().map(|&e| &positions[e][..]).collect(),
            predict: self.predict,
            measured: self.measured.iter().map(|m| libm::log(*m)).collect(),
            prior: self.prior,
        };
        let all: Vec<usize> = (0..self.entry.len()).collect();
        let mut solution = problem.solve(&all, &starts(&parameters));
        // The prior is worth a point of the usual error; where points are met better than that, it steps back.
        for _ in 0..2 {
            let share = problem.spread(&all, &solution.values) / USUAL;
            if share >= 1.0 {
                break;
            }
            problem.prior = self.prior * share.max(0.02);
            let mut from = starts(&parameters);
            from.push(solution.values);
            solution = problem.solve(&all, &from);
        }
        let held = self.cross_validate(&problem, &solution);
        (0..self.entries).map(|e| self.entry_of(e, &problem, &solution, &held, &parameters)).collect()
    }

    /// Predictions of all points, each from a fit that saw no point of its shape.
    fn cross_validate(&self, problem: &Problem<'_>, whole: &Solution) -> Vec<f64> {
        let folds = self.folds();
        let mut out = vec![0.0; folds.len()];
        for fold in 0..FOLDS {
            let train: Vec<usize> = (0..folds.len()).filter(|&i| folds[i] != fold).collect();
            if train.is_empty() {
                continue;
            }
            // The whole fit's values only save steps: the descent starts half way to the prior.
            let middle = whole.values.iter().zip(problem.parameters).map(|(v, p)| libm::sqrt(v * p.centre)).collect();
            let part = problem.solve(&train, &[middle]);
            for i in (0..folds.len()).filter(|&i| folds[i] == fold) {
                out[i] = problem.at(i, &part.values);
            }
        }
        out
    }

    fn entry_of(&self, e: usize, problem: &Problem<'_>, solution: &Solution, held: &[f64], parameters: &[Parameter]) -> Fitted {
        let own: Vec<usize> = (0..self.entry.len()).filter(|&i| self.entry[i] == e).collect();
        let errors = |of: &dyn Fn(usize) -> f64| own.iter().map(|&i| of(i) / self.measured[i] - 1.0).collect::<Vec<f64>>();
        let absolute = |v: &[f64]| v.iter().map(|x| x.abs()).collect::<Vec<f64>>();
        let outside = errors(&|i| held[i]);
        let value = |j: usize| {
            let (value, p) = (solution.values[j], parameters[j]);
            // 1.645 standard errors on both sides hold 90 %.
            let wide = libm::exp((1.645 * solution.errors[j]).min(5.0));
            Value { name: p.name, value, low: (value / wide).max(p.low).min(value), high: (value * wide).min(p.high).max(value) }
        };
        Fitted {
            values: self.positions(e).into_iter().map(value).collect(),
            points: own.len(),
            inside: quantile(absolute(&errors(&|i| problem.at(i, &solution.values))), 0.5),
            median: quantile(absolute(&outside), 0.5),
            p90: quantile(absolute(&outside), 0.9),
            bias: quantile(outside, 0.5),
            others: None,
            held: own.iter().map(|&i| (self.measured[i], held[i])).collect(),
            near: None,
        }
    }
}

/// The prior's centre, and places away from it: the cost has several valleys, with soft and hard waves, short and long steps
/// along the inner dimension, and much or little overlap.
fn starts(parameters: &[Parameter]) -> Vec<Vec<f64>> {
    let place = |wave: f64, step: f64, overlap: f64| {
        let factor = |p: &Parameter| match p.name {
            "w" => wave,
            "kl" | "tt" | "lon" => step,
            "q" => overlap,
            _ => 1.0,
        };
        parameters.iter().map(|p| (p.centre * factor(p)).clamp(p.low, p.high)).collect()
    };
    [(1.0, 1.0, 1.0), (0.2, 0.3, 1.8), (1.8, 1.0, 0.7), (1.8, 3.0, 1.0), (0.2, 1.0, 1.0), (1.8, 0.3, 1.3)]
        .into_iter()
        .map(|(wave, step, overlap)| place(wave, step, overlap))
        .collect()
}
