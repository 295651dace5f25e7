//! Least squares for kernel models: Levenberg–Marquardt in the logarithm of positive parameters, with bounds, a robust
//! loss, and a weak prior that keeps what the data do not say where it was.

use nalgebra::{Cholesky, DMatrix, DVector};

/// A parameter: bounds and the value that it has where the data say nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parameter {
    /// Key in the profile.
    pub(super) name: &'static str,
    /// Smallest value.
    pub(super) low: f64,
    /// Greatest value.
    pub(super) high: f64,
    /// Centre of the prior, and first start.
    pub(super) centre: f64,
    /// How much the prior weighs: 1 as usual, 0 nothing. What differs by an order of magnitude between entries has little.
    pub(super) firm: f64,
}

/// What is fitted: predictions of points from parameters, some of which several groups of points share.
pub(super) struct Problem<'a> {
    /// All parameters.
    pub(super) parameters: &'a [Parameter],
    /// For each point the positions of its own parameters in `parameters`.
    pub(super) own: Vec<&'a [usize]>,
    /// Seconds of each point from its own parameters.
    pub(super) predict: &'a (dyn Fn(usize, &[f64]) -> f64 + Sync),
    /// Natural logarithm of the measured seconds.
    pub(super) measured: Vec<f64>,
    /// Penalty of the prior for one unit of the logarithm, in relative error of one point.
    pub(super) prior: f64,
}

/// What a fit came to.
#[derive(Debug, Clone)]
pub(super) struct Solution {
    /// Parameters.
    pub(super) values: Vec<f64>,
    /// Standard errors of their logarithms.
    pub(super) errors: Vec<f64>,
    cost: f64,
}

/// Residuals above this count linearly, not squared.
const SCALE: f64 = 0.06;

/// Steps of one fit at most.
const STEPS: usize = 60;

/// Twice the sum of the soft-L1 loss, and the weight of a residual in the quadratic that touches it.
fn loss(r: f64) -> (f64, f64) {
    let z = 1.0 + (r / SCALE) * (r / SCALE);
    (2.0 * SCALE * SCALE * (z.sqrt() - 1.0), 1.0 / z.sqrt())
}

impl Problem<'_> {
    fn residual(&self, i: usize, theta: &[f64]) -> f64 {
        let own: Vec<f64> = self.own[i].iter().map(|&j| libm::exp(theta[j])).collect();
        libm::log((self.predict)(i, &own).max(1e-30)) - self.measured[i]
    }

    fn prior_residuals(&self, theta: &[f64]) -> impl Iterator<Item = f64> {
        theta.iter().zip(self.parameters).map(|(t, p)| self.prior * p.firm * (t - libm::log(p.centre)))
    }

    fn cost(&self, points: &[usize], theta: &[f64]) -> f64 {
        let data: f64 = points.iter().map(|&i| loss(self.residual(i, theta)).0).sum();
        data + self.prior_residuals(theta).map(|r| r * r).sum::<f64>()
    }

    /// The normal matrix and the gradient of half the cost.
    fn normal(&self, points: &[usize], theta: &[f64]) -> (DMatrix<f64>, DVector<f64>) {
        const STEP: f64 = 1e-4;
        let n = theta.len();
        let (mut a, mut g) = (DMatrix::zeros(n, n), DVector::zeros(n));
        let mut moved = theta.to_vec();
        for &i in points {
            let r = self.residual(i, theta);
            let weight = loss(r).1;
            let own = self.own[i];
            let slopes: Vec<f64> = own
                .iter()
                .map(|&j| {
                    moved[j] = theta[j] + STEP;
                    let slope = (self.residual(i, &moved) - r) / STEP;
                    moved[j] = theta[j];
                    slope
                })
                .collect();
            for (x, &j) in slopes.iter().zip(own) {
                g[j] += weight * x * r;
                for (y, &k) in slopes.iter().zip(own) {
                    a[(j, k)] += weight * x * y;
                }
            }
        }
        for (j, r) in self.prior_residuals(theta).enumerate() {
            let weight = self.prior * self.parameters[j].firm;
            a[(j, j)] += weight * weight;
            g[j] += weight * r;
        }
        (a, g)
    }

    /// Minimises over some of the points from one start.
    fn descend(&self, points: &[usize], start: &[f64]) -> Solution {
        let bounds: Vec<(f64, f64)> = self.parameters.iter().map(|p| (libm::log(p.low), libm::log(p.high))).collect();
        let mut theta: Vec<f64> = start.iter().zip(&bounds).map(|(t, b)| t.clamp(b.0, b.1)).collect();
        let mut cost = self.cost(points, &theta);
        let mut damping = 1e-3;
        for _ in 0..STEPS {
            let (a, g) = self.normal(points, &theta);
            // Parameters at a bound that the cost pushes outwards stay there.
            let fixed = |j: usize| (theta[j] <= bounds[j].0 && g[j] > 0.0) || (theta[j] >= bounds[j].1 && g[j] < 0.0);
            let free: Vec<usize> = (0..theta.len()).filter(|&j| !fixed(j)).collect();
            let mut gain = 0.0;
            for _ in 0..8 {
                let Some(step) = damped(&a, &g, &free, damping) else {
                    damping *= 10.0;
                    continue;
                };
                let mut next = theta.clone();
                for (&j, s) in free.iter().zip(step.iter()) {
                    next[j] = (theta[j] - s.clamp(-1.0, 1.0)).clamp(bounds[j].0, bounds[j].1);
                }
                let new = self.cost(points, &next);
                if new < cost {
                    gain = (cost - new) / cost;
                    (theta, cost) = (next, new);
                    damping = (damping * 0.3).max(1e-9);
                    break;
                }
                damping *= 5.0;
            }
            if gain < 1e-5 {
                break;
            }
        }
        Solution { values: theta, errors: Vec::new(), cost }
    }

    /// The best of several starts over some of the points, and standard errors of the logarithms.
    pub(super) fn solve(&self, points: &[usize], starts: &[Vec<f64>]) -> Solution {
        let logs = |s: &Vec<f64>| s.iter().map(|v| libm::log(*v)).collect::<Vec<f64>>();
        let mut best: Option<Solution> = None;
        for start in starts {
            let one = self.descend(points, &logs(start));
            if best.as_ref().is_none_or(|b| one.cost < b.cost) {
                best = Some(one);
            }
        }
        let Some(mut best) = best else { return Solution { values: Vec::new(), errors: Vec::new(), cost: f64::INFINITY } };
        best.errors = self.errors(points, &best.values);
        best.values = best.values.iter().map(|t| libm::exp(*t)).collect();
        best
    }

    /// Robust standard deviation of the residuals at parameters.
    pub(super) fn spread(&self, points: &[usize], values: &[f64]) -> f64 {
        self.spread_at(points, &values.iter().map(|v| libm::log(*v)).collect::<Vec<f64>>())
    }

    fn spread_at(&self, points: &[usize], theta: &[f64]) -> f64 {
        let mut size: Vec<f64> = points.iter().map(|&i| self.residual(i, theta).abs()).collect();
        size.sort_unstable_by(f64::total_cmp);
        // The median of absolute residuals of a normal distribution is 0.6745 of its standard deviation.
        size.get(size.len() / 2).copied().unwrap_or(0.0) / 0.6745
    }

    /// Standard errors: the spread is that of the middle or of all weighted residuals, whichever is more, and grows by what the parameters took of
    /// them; with few points left Student's distribution is wider than a normal one.
    fn errors(&self, points: &[usize], theta: &[f64]) -> Vec<f64> {
        let n = points.len() as f64;
        let weighted = points.iter().map(|&i| {
            let r = self.residual(i, theta);
            let weight = loss(r).1;
            (weight * r * weight * r, weight)
        });
        let (squares, weights) = weighted.fold((0.0, 1e-30), |s, x| (s.0 + x.0, s.1 + x.1));
        let left = (n - theta.len() as f64).max(1.0);
        let spread = self.spread_at(points, theta).max((squares / weights).sqrt()) * (n / left).max(1.0).sqrt() * (1.0 + 0.926 / left);
        self.leverage(points, theta).map_or_else(|| vec![1.0; theta.len()], |l| l.into_iter().map(|l| spread * l).collect())
    }

    /// Standard errors of the logarithms for one unit of relative error of a point; `None` where nothing determines them.
    pub(super) fn leverage(&self, points: &[usize], theta: &[f64]) -> Option<Vec<f64>> {
        let n = theta.len();
        let (a, _) = self.normal(points, theta);
        let inverse = Cholesky::new(a + DMatrix::identity(n, n) * 1e-12)?.inverse();
        Some((0..n).map(|j| inverse[(j, j)].max(0.0).sqrt()).collect())
    }

    /// Seconds of a point at parameters.
    pub(super) fn at(&self, i: usize, values: &[f64]) -> f64 {
        let own: Vec<f64> = self.own[i].iter().map(|&j| values[j]).collect();
        (self.predict)(i, &own)
    }
}

fn damped(a: &DMatrix<f64>, g: &DVector<f64>, free: &[usize], damping: f64) -> Option<DVector<f64>> {
    let n = free.len();
    let mut m = DMatrix::from_fn(n, n, |j, k| a[(free[j], free[k])]);
    for j in 0..n {
        m[(j, j)] += damping * (m[(j, j)] + 1e-6);
    }
    Some(Cholesky::new(m)?.solve(&DVector::from_fn(n, |j, _| g[free[j]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &'static str, low: f64, high: f64, centre: f64) -> Parameter {
        Parameter { name, low, high, centre, firm: 1.0 }
    }

    /// A line with known parameters, noise of 2 % and outliers of a factor of 3: they come back within their intervals.
    #[test]
    fn finds_a_line_under_outliers() {
        let sizes: Vec<f64> = (0..80).map(|i| libm::exp(0.15 * f64::from(i))).collect();
        let noise = |i: usize| 0.02 * libm::sin(37.0 * i as f64);
        let truth = |x: f64| 5.0 + x / 40.0;
        let measured = |i: usize| libm::log(truth(sizes[i])) + noise(i) + if i % 16 == 3 { 1.1 } else { 0.0 };
        let parameters = [parameter("t0", 0.1, 100.0, 1.0), parameter("rate", 1.0, 1000.0, 100.0)];
        let predict = |i: usize, p: &[f64]| p[0] + sizes[i] / p[1];
        let problem = Problem {
            parameters: &parameters,
            own: vec![&[0, 1]; 80],
            predict: &predict,
            measured: (0..80).map(measured).collect(),
            prior: 0.02,
        };
        let all: Vec<usize> = (0..80).collect();
        let s = problem.solve(&all, &[vec![1.0, 100.0], vec![50.0, 2.0]]);
        for (value, want, error) in [(s.values[0], 5.0, s.errors[0]), (s.values[1], 40.0, s.errors[1])] {
            assert!((value / want - 1.0).abs() < 0.02 && error < 0.01, "{value} ± {error} against {want}");
        }
    }

    /// A parameter that the data do not touch stays at its prior; one whose optimum lies outside stays at its bound.
    #[test]
    fn priors_and_bounds_hold() {
        let parameters = [parameter("a", 0.5, 2.0, 1.0), parameter("idle", 0.01, 100.0, 7.0)];
        let predict = |i: usize, p: &[f64]| p[0] * (1.0 + i as f64);
        let measured = (0..10).map(|i| libm::log(10.0 * (1.0 + f64::from(i)))).collect();
        let problem = Problem { parameters: &parameters, own: vec![&[0, 1]; 10], predict: &predict, measured, prior: 0.1 };
        let all: Vec<usize> = (0..10).collect();
        let s = problem.solve(&all, &[vec![1.0, 3.0]]);
        assert!((s.values[0] - 2.0).abs() < 1e-9 && (s.values[1] - 7.0).abs() < 1e-3, "{:?}", s.values);
    }
}
