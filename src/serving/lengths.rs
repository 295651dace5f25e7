//! Distributions of lengths and arrivals.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

/// A draw from 0 (included) to 1 (excluded).
pub(super) fn uniform(rng: &mut Pcg64Mcg) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

/// A draw of mean 1 with an exponential distribution.
pub(super) fn exponential(rng: &mut Pcg64Mcg) -> f64 {
    -libm::log(1.0 - uniform(rng))
}

/// A draw of the standard normal distribution.
pub(super) fn normal(rng: &mut Pcg64Mcg) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * libm::cos(std::f64::consts::TAU * uniform(rng))
}

/// A draw of mean 1 with a gamma distribution of some shape (Marsaglia and Tsang 2000; below shape 1 with their power of a uniform draw).
pub(super) fn gamma(rng: &mut Pcg64Mcg, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = libm::pow(1.0 - uniform(rng), 1.0 / shape);
        return gamma(rng, shape + 1.0) * (shape + 1.0) * boost / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
        if v > 0.0 && libm::log(1.0 - uniform(rng)) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return d * v / shape;
        }
    }
}

/// How many tokens prompts or answers have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// Always the same.
    Fixed(u64),
    /// Whole numbers from the first to the second, all equally likely.
    Uniform(u64, u64),
    /// Log-normal of some mean and coefficient of variation, cut off at a greatest length.
    LogNormal {
        /// Mean before the cut.
        mean: f64,
        /// Standard deviation over mean.
        cv: f64,
        /// Greatest length.
        most: u64,
    },
}

impl Length {
    /// Draws a length of at least 1.
    pub fn draw(&self, rng: &mut Pcg64Mcg) -> u64 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform(low, high) => low + (uniform(rng) * (high - low + 1) as f64) as u64,
            Self::LogNormal { mean, cv, most } => {
                let variance = libm::log(1.0 + cv * cv);
                let value = mean * libm::exp(variance.sqrt() * normal(rng) - 0.5 * variance);
                (value.round() as u64).clamp(1, most)
            }
        }
    }
    /// The mean before cuts.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        match *self {
            Self::Fixed(n) => n as f64,
            Self::Uniform(low, high) => 0.5 * (low as f64 + high as f64),
            Self::LogNormal { mean, .. } => mean,
        }
    }
    /// The greatest length that it can draw.
    #[must_use]
    pub const fn most(&self) -> u64 {
        match *self {
            Self::Fixed(n) | Self::Uniform(_, n) => n,
            Self::LogNormal { most, .. } => most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Streams;

    fn moments(draw: impl Fn(&mut Pcg64Mcg) -> f64) -> (f64, f64) {
        let mut rng = Streams::new(7).stream("test");
        let n = 40_000;
        let values: Vec<f64> = (0..n).map(|_| draw(&mut rng)).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / f64::from(n);
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn means_and_spreads() {
        for (name, got, want) in [
            ("exponential", moments(exponential), (1.0, 1.0)),
            ("gamma 4", moments(|r| gamma(r, 4.0)), (1.0, 0.5)),
            ("gamma 1/4", moments(|r| gamma(r, 0.25)), (1.0, 2.0)),
            ("log-normal", moments(|r| Length::LogNormal { mean: 1000.0, cv: 0.5, most: 1 << 20 }.draw(r) as f64), (1000.0, 0.5)),
            ("uniform", moments(|r| Length::Uniform(80, 120).draw(r) as f64), (100.0, (1680.0f64 / 12.0).sqrt() / 100.0)),
        ] {
            assert!((got.0 / want.0 - 1.0).abs() < 0.03, "{name}: mean {}", got.0);
            assert!((got.1 / want.1 - 1.0).abs() < 0.05, "{name}: spread {}", got.1);
        }
    }
}
