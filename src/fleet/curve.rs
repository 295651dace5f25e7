//! What one replica of a service does at a load, as its serving simulation says request by request; between simulated loads by their
//! distance.

/// Latencies of one replica at one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Requests a second.
    pub rate: f64,
    /// Share of the requests that meet their targets.
    pub attained: f64,
    /// Seconds for each output token after the first, mean.
    pub tpot: f64,
    /// Seconds to the last token, mean.
    pub e2e: f64,
    /// Seconds to the first token, mean.
    pub ttft: f64,
    /// The same of equally many requests each, ascending.
    pub ttft_parts: Vec<f64>,
}

/// Loads of one replica; the last is the greatest at which the targets are met.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The scenario file that says so.
    pub scenario: String,
    /// Its accelerators.
    pub accelerators: u32,
    /// Ascending by rate; never empty.
    pub loads: Vec<Load>,
    /// Seconds in which a first token has to be there, where that is asked.
    pub first_token: Option<f64>,
}

impl Curve {
    /// Requests a second that a replica serves within its targets.
    #[must_use]
    pub fn serves(&self) -> f64 {
        self.loads.last().map_or(0.0, |l| l.rate)
    }
    /// The simulated load at or below a rate, the next one, and how far the rate is on the way to it.
    fn between(&self, rate: f64) -> (usize, usize, f64) {
        let high = self.loads.partition_point(|l| l.rate < rate).min(self.loads.len() - 1);
        let low = high.saturating_sub(1);
        let (a, b) = (self.loads[low].rate, self.loads[high].rate);
        (low, high, if b > a { ((rate - a) / (b - a)).clamp(0.0, 1.0) } else { 1.0 })
    }
    fn mean(&self, rate: f64, of: impl Fn(&Load) -> f64) -> f64 {
        let (low, high, way) = self.between(rate);
        let (a, b) = (of(&self.loads[low]), of(&self.loads[high]));
        if way >= 1.0 { b } else { a + (b - a) * way }
    }
    /// Mean seconds to the last token at a rate.
    #[must_use]
    pub fn e2e(&self, rate: f64) -> f64 {
        self.mean(rate, |l| l.e2e)
    }
    /// Share of the requests in time at a rate of one replica, when each waited so long before it came to the replica.
    #[must_use]
    pub fn in_time(&self, rate: f64, wait: f64) -> f64 {
        let Some(goal) = self.first_token.filter(|_| wait > 0.0) else { return self.mean(rate, |l| l.attained) };
        let early = |l: &Load| l.ttft_parts.partition_point(|t| wait + t <= goal) as f64 / l.ttft_parts.len().max(1) as f64;
        self.mean(rate, |l| l.attained.min(early(l)))
    }
}

/// Width of a bin of times over its start: percentiles are as exact.
const STEP: f64 = 1.01;
/// Start of the first bin, seconds, and bins: up to some 40 days.
const FIRST: f64 = 1e-4;
const BINS: usize = 2400;

/// Latencies of the requests of a service, those that came while no replica was warm left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Times {
    /// Requests.
    pub requests: f64,
    ttft: f64,
    tpot: f64,
    e2e: f64,
    bins: Vec<f64>,
}

impl Times {
    /// Requests came at a load and waited before they came to a replica.
    pub(super) fn add(&mut self, curve: &Curve, rate: f64, wait: f64, requests: f64) {
        if requests <= 0.0 {
            return;
        }
        self.requests += requests;
        self.ttft += requests * (wait + curve.mean(rate, |l| l.ttft));
        self.tpot += requests * curve.mean(rate, |l| l.tpot);
        self.e2e += requests * (wait + curve.mean(rate, |l| l.e2e));
        if self.bins.is_empty() {
            self.bins = vec![0.0; BINS];
        }
        let (low, high, way) = curve.between(rate);
        for (load, share) in [(low, 1.0 - way), (high, way)].into_iter().filter(|l| l.1 > 0.0) {
            let parts = &curve.loads[load].ttft_parts;
            for t in parts {
                let bin = libm::log((wait + t).max(FIRST) / FIRST) / libm::log(STEP);
                self.bins[(bin as usize).min(BINS - 1)] += share * requests / parts.len() as f64;
            }
        }
    }
    /// Mean seconds to the first token, for each token after it, and to the last one.
    #[must_use]
    pub fn means(&self) -> [f64; 3] {
        [self.ttft, self.tpot, self.e2e].map(|sum| if self.requests > 0.0 { sum / self.requests } else { 0.0 })
    }
    /// Seconds within which a share of the requests had their first token, to a bin of 1 %.
    #[must_use]
    pub fn ttft_within(&self, share: f64) -> f64 {
        let all: f64 = self.bins.iter().sum();
        let mut left = share * all;
        for (i, count) in self.bins.iter().enumerate() {
            left -= count;
            if left <= 1e-12 * all && all > 0.0 {
                return FIRST * libm::pow(STEP, i as f64 + 0.5);
            }
        }
        0.0
    }
}
