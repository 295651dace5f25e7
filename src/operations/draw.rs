//! Draws: when failures come, how long repairs take.

use super::failure::Class;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

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
/// the parts as a Weibull hazard does. A part that failed is as old as before, or a new one takes its place (`renewed`).
#[derive(Debug, Clone)]
pub struct Arrivals {
    stream: Pcg64Mcg,
    /// Expected failures until the next of the first parts fails, if all of them still lived.
    sum: f64,
    /// Parts that have not failed yet, where failed ones are renewed; else all.
    first: f64,
    /// When the next of the first parts fails.
    of_first: f64,
    /// When renewed parts fail, soonest on top.
    renewed: BinaryHeap<Reverse<Nanos>>,
    /// Seconds from the start of the run.
    pub next: f64,
}

/// Whole nanoseconds, which have an order.
type Nanos = u64;

impl Arrivals {
    /// The first failure of a class.
    #[must_use]
    pub fn new(stream: Pcg64Mcg, class: &Class, factor: f64) -> Self {
        let mut out = Self { stream, sum: 0.0, first: class.parts, of_first: 0.0, renewed: BinaryHeap::new(), next: 0.0 };
        out.advance_first(class, factor);
        out.next = out.of_first;
        out
    }

    /// The next one.
    pub fn advance(&mut self, class: &Class, factor: f64) {
        let replaced = class.renewed && class.shape != 1.0 && self.next.is_finite();
        let failed_first = self.next >= self.of_first;
        if replaced {
            if failed_first {
                self.first = (self.first - 1.0).max(0.0);
            } else {
                self.renewed.pop();
            }
            let life = scale(class, factor) * libm::pow(-libm::log(uniform(&mut self.stream)), 1.0 / class.shape);
            self.renewed.push(Reverse(((self.next + life) * 1e9) as Nanos));
        }
        if failed_first {
            self.advance_first(class, factor);
        }
        let soonest = self.renewed.peek().map_or(f64::INFINITY, |Reverse(at)| *at as f64 / 1e9);
        self.next = self.of_first.min(soonest);
    }

    fn advance_first(&mut self, class: &Class, factor: f64) {
        let rate = class.rate * factor;
        if rate <= 0.0 || self.first <= 0.0 {
            self.of_first = f64::INFINITY;
            return;
        }
        self.sum -= libm::log(uniform(&mut self.stream)) * (class.parts / self.first);
        self.of_first =
            if class.shape == 1.0 { self.sum / rate } else { scale(class, factor) * libm::pow(self.sum / class.parts, 1.0 / class.shape) };
    }
}

/// Scale of the Weibull life of one part, seconds.
fn scale(class: &Class, factor: f64) -> f64 {
    class.parts / (class.rate * factor) / libm::tgamma(1.0 + 1.0 / class.shape)
}
