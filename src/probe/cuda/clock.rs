//! How one thing is timed: warmed up by the device's own time, at least twenty samples by events, until the median is known to a percent or
//! the time for it is over; two modes are told apart rather than averaged.

use super::device::Gpu;
use crate::calibrate::{Measurement, Unit, What};
use crate::probe::{Stop, median};
use std::time::Instant;

/// Fewest samples, also of what takes so long that its share of the budget is over many times, and most.
const LEAST: usize = 20;
const LEAST_SLOW: usize = 5;
const MOST: usize = 300;

/// Seconds after which the fewest samples of slow things do.
const PATIENCE: f64 = 6.0;

/// Seconds that a sample lasts at least, by repetition: events tell half a microsecond.
const SAMPLE: f64 = 50e-6;

/// Repetitions in a sample at most.
const REPEAT: usize = 64;

/// Relative half-width of the median's 95 % interval that ends the sampling.
const PRECISE: f64 = 0.01;

/// One thing that is timed on a device.
pub(super) struct Timer<'a> {
    pub(super) gpu: &'a Gpu,
    /// Seconds for it, about.
    pub(super) seconds: f64,
    pub(super) stop: &'a Stop,
    /// Whether the stream is held until everything is queued; not for what waits by itself.
    pub(super) held: bool,
}

impl Timer<'_> {
    /// Seconds of so many repetitions in the stream.
    fn sample(
        &self,
        count: usize,
        before: &dyn Fn() -> Result<(), String>,
        queue: &dyn Fn(usize) -> Result<(), String>,
    ) -> Result<f64, String> {
        let gpu = self.gpu;
        if self.held {
            gpu.hold()?;
        }
        let queued = before().and_then(|()| gpu.start.record(&gpu.stream)).and_then(|()| {
            (0..count).try_for_each(queue)?;
            gpu.stop.record(&gpu.stream)
        });
        gpu.release();
        queued?;
        gpu.stop.since(&gpu.start)
    }

    /// Samples of seconds of one repetition. `queue` is told which repetition it is.
    pub(super) fn time(&self, queue: &dyn Fn(usize) -> Result<(), String>) -> Result<Vec<f64>, String> {
        self.time_after(&|| Ok(()), queue)
    }

    /// The same, with something queued before the time starts.
    pub(super) fn time_after(
        &self,
        before: &dyn Fn() -> Result<(), String>,
        queue: &dyn Fn(usize) -> Result<(), String>,
    ) -> Result<Vec<f64>, String> {
        let begin = Instant::now();
        // Once without a hold: what a library loads at its first call waits for the device.
        before()?;
        queue(0)?;
        self.gpu.stream.wait()?;
        let mut count = 1;
        let mut seconds = self.sample(1, before, queue)?;
        // The first one after other work can be slow for once; the least of a few tells how many fill a sample.
        for _ in 0..4 {
            if seconds < 20.0 * SAMPLE {
                seconds = seconds.min(self.sample(1, before, queue)?);
            }
        }
        while seconds < SAMPLE && count < REPEAT {
            count = if seconds > 0.0 { ((SAMPLE / seconds).ceil() as usize * count).clamp(count + 1, REPEAT) } else { REPEAT };
            seconds = self.sample(count, before, queue)?;
        }
        if seconds <= 0.0 {
            return Err("the device's clock shows no time".into());
        }
        let mut warm = seconds;
        while warm < 0.1 * self.seconds && begin.elapsed().as_secs_f64() < 0.3 * self.seconds {
            warm += self.sample(count, before, queue)?;
        }
        let mut out = Vec::new();
        while !self.stop.asked() && out.len() < MOST {
            let over = begin.elapsed().as_secs_f64() > self.seconds || self.stop.spent();
            // What looks like two modes is looked at longer.
            let known = spread(&out) < PRECISE && (out.len() >= 3 * LEAST || modes(&out).is_none());
            let slow = out.len() >= LEAST_SLOW && begin.elapsed().as_secs_f64() > PATIENCE;
            if slow || out.len() >= LEAST && (over || known) {
                break;
            }
            let one = self.sample(count, before, queue)?;
            if one <= 0.0 {
                return Err("the device's clock shows no time".into());
            }
            out.push(one / count as f64);
        }
        Ok(out)
    }

    /// The record of samples: of their seconds, or of something per second.
    pub(super) fn record(&self, what: What, samples: Vec<f64>, per_second: Option<f64>) -> Vec<Measurement> {
        if samples.len() < LEAST_SLOW {
            return Vec::new();
        }
        let modes = modes(&samples);
        let middle = median(&samples);
        let (value, unit) = match (per_second, &what) {
            (None, _) => (middle, Unit::Seconds),
            (Some(amount), What::Memory { .. }) => (amount / middle, Unit::BytesPerSecond),
            (Some(amount), _) => (amount / middle, Unit::Other),
        };
        let samples = samples.iter().map(|s| per_second.map_or(*s, |a| a / s)).collect();
        let mut one = self.gpu.record(what, value, unit, samples);
        if let Some((fast, slow)) = modes {
            one.conditions.insert("modes".into(), format!("{fast:.4e} s and {slow:.4e} s"));
        }
        vec![one]
    }
}

/// Relative half-width of the 95 % interval of the median, from the spread that a few outliers do not move.
fn spread(samples: &[f64]) -> f64 {
    let middle = median(samples);
    let deviations: Vec<f64> = samples.iter().map(|s| (s - middle).abs()).collect();
    1.96 * 1.2533 * median(&deviations) / 0.6745 / (samples.len() as f64).sqrt() / middle
}

/// Two groups of samples that lie apart by a tenth and by three times what either is wide, each at least a fifth of all.
pub(super) fn modes(samples: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let few = n.div_ceil(5).max(4);
    if n < 2 * few {
        return None;
    }
    let at = (few..=n - few).max_by(|a, b| (sorted[*a] - sorted[a - 1]).total_cmp(&(sorted[*b] - sorted[b - 1])))?;
    let (low, high) = sorted.split_at(at);
    let (fast, slow) = (median(low), median(high));
    let wide = |part: &[f64], middle: f64| median(&part.iter().map(|s| (s - middle).abs()).collect::<Vec<_>>());
    let apart = slow - fast;
    (apart > 0.1 * fast && apart > 3.0 * 2.0 * wide(low, fast).max(wide(high, slow))).then_some((fast, slow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_modes_are_told_from_noise_and_outliers() {
        let noise = |i: usize| 1.0 + 0.02 * libm::sin(i as f64 * 37.0);
        let one: Vec<f64> = (0..60).map(|i| noise(i) * if i % 20 == 3 { 2.0 } else { 1.0 }).collect();
        assert_eq!(modes(&one), None);
        let two: Vec<f64> = (0..60).map(|i| noise(i) * if i % 3 == 0 { 1.4 } else { 1.0 }).collect();
        let (fast, slow) = modes(&two).unwrap();
        assert!((fast - 1.0).abs() < 0.02 && (slow - 1.4).abs() < 0.03);
        assert_eq!(modes(&[1.0; 4]), None);
        assert!(spread(&one) < 0.02);
    }
}
