//! Draws: when failures come, how long repairs take.

use super::failure::Class;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

/// A uniform draw above 0 and below 1.
#[must_use]
pub fn uniform(stream: &mut Pcg64Mcg) -> f64 {
    ((stream.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A standard normal draw (Box and Muller).
#[must_use]
pub fn normal(stream: &mut Pcg64Mcg) -> f64 {
    let (a, b) = (uniform(stream), uniform(stream));
    libm::sqrt(-2.0 * libm::log(a)) * libm::cos(std::f64::consts::TAU * b)
}

/// When the failures of one class come: a Poisson process, or for other shapes the process whose rate falls (or grows) with the age of
/// the parts as a Weibull hazard does (repairs are too few to make the fleet young again).
#[derive(Debug, Clone)]
pub struct Arrivals {
    stream: Pcg64Mcg,
    /// Expected failures until `next`.
    sum: f64,
    /// Seconds from the start of the run.
    pub next: f64,
}

impl Arrivals {
    /// The first failure of a class.
    #[must_use]
    pub fn new(stream: Pcg64Mcg, class: &Class, factor: f64) -> Self {
        let mut out = Self { stream, sum: 0.0, next: 0.0 };
        out.advance(class, factor);
        out
    }
    /// The next one.
    pub fn advance(&mut self, class: &Class, factor: f64) {
        let rate = class.rate * factor;
        if rate <= 0.0 {
            self.next = f64::INFINITY;
            return;
        }
        self.sum -= libm::log(uniform(&mut self.stream));
        self.next = if class.shape == 1.0 {
            self.sum / rate
        } else {
            let scale = class.parts / rate / libm::tgamma(1.0 + 1.0 / class.shape);
            scale * libm::pow(self.sum / class.parts, 1.0 / class.shape)
        };
    }
}
