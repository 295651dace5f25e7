//! What is counted while a replay runs: use over time, and where jobs lay.

/// Values over time as means of equal bins, which double when they become too many.
#[derive(Debug, Clone, PartialEq)]
pub struct Series<const N: usize> {
    /// Seconds of a bin.
    pub width: f64,
    /// Integrals of the values over each bin.
    sums: Vec<[f64; N]>,
    last: f64,
    /// Integrals over the whole time.
    pub total: [f64; N],
}

/// Bins at most.
const BINS: usize = 512;

impl<const N: usize> Default for Series<N> {
    fn default() -> Self {
        Self { width: 1.0, sums: Vec::new(), last: 0.0, total: [0.0; N] }
    }
}

impl<const N: usize> Series<N> {
    /// The values were these from the last call until now.
    pub fn until(&mut self, now: f64, values: [f64; N]) {
        while now > self.width * BINS as f64 {
            self.width *= 2.0;
            let pairs = self.sums.chunks(2);
            self.sums = pairs.map(|p| std::array::from_fn(|i| p.iter().map(|v| v[i]).sum())).collect();
        }
        let mut from = self.last;
        while from < now {
            let bin = ((from / self.width) as usize).min(BINS - 1);
            let to = if bin + 1 == BINS { now } else { now.min((bin + 1) as f64 * self.width) };
            if self.sums.len() <= bin {
                self.sums.resize(bin + 1, [0.0; N]);
            }
            for (i, value) in values.iter().enumerate() {
                self.sums[bin][i] += value * (to - from);
                self.total[i] += value * (to - from);
            }
            if to <= from {
                break;
            }
            from = to;
        }
        self.last = now;
    }
    /// Time and mean values of every bin, the time in its middle.
    pub fn points(&self) -> impl Iterator<Item = (f64, [f64; N])> + '_ {
        self.sums.iter().enumerate().map(|(i, sums)| {
            let from = i as f64 * self.width;
            let length = (self.last - from).min(self.width);
            (from + length / 2.0, sums.map(|s| if length > 0.0 { s / length } else { 0.0 }))
        })
    }
}

/// A job on a node for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stay {
    /// The job.
    pub job: u32,
    /// The node.
    pub node: u32,
    /// Its accelerators there, a bit each.
    pub mask: u64,
    /// Start, seconds.
    pub start: f64,
    /// End, seconds.
    pub end: f64,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fate {
    /// When it could be submitted: what it waits for had ended, seconds; negative: it never could.
    pub ready: f64,
    /// First start, seconds; negative: it never started.
    pub start: f64,
    /// End, seconds; negative: it did not end.
    pub end: f64,
    /// Seconds on accelerators, waiting in between left out.
    pub ran: f64,
    /// Accelerators times seconds.
    pub held: f64,
    /// Of them those in which nothing came forward that counts: starting again, saving, work that was lost.
    pub wasted: f64,
    /// How often it was stopped for another job.
    pub preemptions: u32,
    /// How often it was stopped by something that broke or was taken away.
    pub failures: u32,
    /// How often it was moved.
    pub moves: u32,
    /// Whether it asks for more than there ever is.
    pub rejected: bool,
}

impl Fate {
    /// Nothing yet.
    pub(super) const NONE: Self = Self {
        ready: -1.0,
        start: -1.0,
        end: -1.0,
        ran: 0.0,
        held: 0.0,
        wasted: 0.0,
        preemptions: 0,
        failures: 0,
        moves: 0,
        rejected: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_double_and_keep_integrals() {
        let mut series = Series::<1>::default();
        for i in 1..=2000 {
            series.until(f64::from(i), [f64::from(i % 2)]);
        }
        assert!((series.total[0] - 1000.0).abs() < 1e-9);
        assert_eq!(series.width, 4.0);
        let points: Vec<_> = series.points().collect();
        assert_eq!(points.len(), 500);
        assert!(points.iter().all(|p| (p.1[0] - 0.5).abs() < 1e-9));
    }
}
