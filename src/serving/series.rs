//! What a deployment does over time, in slices that double in length when there are too many.

/// One slice of time: integrals over it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slice {
    /// Running requests × seconds.
    pub running: f64,
    /// Waiting requests × seconds, of engines at work.
    pub waiting: f64,
    /// Share of the cache in use × seconds, summed over engines.
    pub cache: f64,
    /// Busy seconds, summed over engines.
    pub busy: f64,
    /// Tokens generated.
    pub output: f64,
    /// Prompt tokens run.
    pub input: f64,
    /// Ready engines × seconds, where engines come and go.
    pub ready: f64,
}

/// Slices from time zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Seconds of a slice.
    pub width: f64,
    /// The slices.
    pub slices: Vec<Slice>,
}

/// Slices before their length doubles.
const MOST: usize = 1024;

impl Default for Series {
    fn default() -> Self {
        Self { width: 1.0 / 64.0, slices: Vec::new() }
    }
}

impl Series {
    fn at(&mut self, time: f64) -> usize {
        while time >= self.width * MOST as f64 {
            let halves = self.slices.chunks(2).map(|pair| {
                let mut sum = pair[0];
                if let Some(b) = pair.get(1) {
                    sum.running += b.running;
                    sum.waiting += b.waiting;
                    sum.cache += b.cache;
                    sum.busy += b.busy;
                    sum.output += b.output;
                    sum.input += b.input;
                    sum.ready += b.ready;
                }
                sum
            });
            self.slices = halves.collect();
            self.width *= 2.0;
        }
        let at = (time / self.width) as usize;
        if at >= self.slices.len() {
            self.slices.resize(at + 1, Slice::default());
        }
        at
    }

    /// An engine ran `running` requests and had `waiting` ones between two times.
    pub(super) fn engine(&mut self, from: f64, to: f64, running: f64, waiting: f64, cache: f64) {
        let last = self.at(to);
        let first = (from / self.width) as usize;
        for at in first..=last {
            let start = from.max(at as f64 * self.width);
            let end = to.min((at + 1) as f64 * self.width);
            let seconds = (end - start).max(0.0);
            let slice = &mut self.slices[at];
            slice.running += running * seconds;
            slice.waiting += waiting * seconds;
            slice.cache += cache * seconds;
            slice.busy += seconds;
        }
    }

    /// So many engines were ready between two times.
    pub(super) fn ready(&mut self, from: f64, to: f64, engines: f64) {
        if to > from {
            let last = self.at(to);
            for at in (from / self.width) as usize..=last {
                let seconds = to.min((at + 1) as f64 * self.width) - from.max(at as f64 * self.width);
                self.slices[at].ready += engines * seconds.max(0.0);
            }
        }
    }

    /// Tokens that were there at a time.
    pub(super) fn tokens(&mut self, at: f64, output: f64, input: u64) {
        let at = self.at(at);
        self.slices[at].output += output;
        self.slices[at].input += input as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_keeps_the_integrals() {
        let mut series = Series::default();
        let mut running = 0.0;
        for i in 0..500 {
            let (from, to) = (f64::from(i) * 0.37, f64::from(i + 1) * 0.37);
            series.engine(from, to, f64::from(i % 7), 1.0, 0.5);
            running += f64::from(i % 7) * (to - from);
            series.tokens(to, 3.0, 1);
        }
        assert!(series.slices.len() <= MOST);
        assert!((series.slices.iter().map(|s| s.running).sum::<f64>() / running - 1.0).abs() < 1e-9);
        assert_eq!(series.slices.iter().map(|s| s.output).sum::<f64>(), 1500.0);
    }
}
