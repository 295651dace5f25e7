//! Ends a run early once it is certain that a percentile of its latencies is above a limit.

use super::request::{Record, Requests};
use super::run::Run;

/// Events between two looks, as a multiple of the requests that a look goes through.
const EVENTS: u64 = 2;

/// Which latency is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// Time to the last token.
    E2e,
}

/// A percentile that must not be above a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watch {
    /// Which latency.
    pub metric: Watched,
    /// Between 0 and 1.
    pub quantile: f64,
    /// Seconds.
    pub limit: f64,
}

impl Watch {
    /// What a request reaches at least, as far as it has come at `now`; nothing where the latency has no meaning.
    fn least(&self, r: &Record, output: u32, now: f64) -> Option<f64> {
        let until = |at: f64| at.min(now);
        match self.metric {
            Watched::Ttft => Some(until(r.first) - r.arrival),
            Watched::E2e => Some(until(r.last) - r.arrival),
            Watched::Tpot => (output > 1).then(|| (until(r.last) - until(r.first)) / f64::from(output - 1)),
        }
    }

    /// Whether so many requests are late already that the percentile, linear between neighbours, lies above the limit whatever comes.
    pub(super) fn is_missed(&self, requests: &Requests, records: &[Record], warm_up: f64, now: f64) -> bool {
        let (mut all, mut late) = (0usize, 0usize);
        for (q, r) in requests.list.iter().zip(records).filter(|(q, _)| q.arrival >= warm_up) {
            let reached =
                if r.arrival <= now { self.least(r, q.output, now) } else { (self.metric != Watched::Tpot || q.output > 1).then_some(0.0) };
            all += usize::from(reached.is_some());
            late += usize::from(reached.is_some_and(|s| s > self.limit));
        }
        let below = (self.quantile * all.saturating_sub(1) as f64).floor() as usize;
        late > 0 && late >= all - below
    }
}

impl Run<'_, '_> {
    /// Whether a watched percentile is missed for certain; looks now and then.
    pub(super) fn is_too_late(&mut self) -> bool {
        if self.watches.is_empty() || self.events < self.next_look {
            return false;
        }
        self.next_look = self.events + EVENTS * self.records.len() as u64;
        let now = self.queue.now().seconds();
        self.watches.iter().any(|w| w.is_missed(self.requests, &self.records, self.warm_up, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::request::{NO_SESSION, Request};
    use proptest::prelude::*;

    /// Linear between neighbours; 0 of nothing.
    fn percentile(mut values: Vec<f64>, quantile: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let at = quantile * values.len().saturating_sub(1) as f64;
        let value = |i: usize| values.get(i).or(values.last()).copied().unwrap_or(0.0);
        let low = value(at as usize);
        low + (value(at as usize + 1) - low) * at.fract()
    }

    proptest! {
        /// Whatever a look at any moment says is so in the end.
        #[test]
        fn what_is_missed_early_is_missed(
            list in prop::collection::vec((0.0..50.0f64, 0.0..20.0f64, 0.0..20.0f64, 1u32..40), 1..60), now in 0.0..120.0f64,
            limit in 0.0..12.0f64, warm_up in 0.0..20.0f64, quantile in prop::sample::select(vec![0.5, 0.9, 0.99]),
        ) {
            let one = |&(arrival, _, _, output): &(f64, f64, f64, u32)| Request { arrival, input: 8, output, session: NO_SESSION, hashes: (0, 0) };
            let requests = Requests { list: list.iter().map(one).collect(), ..Requests::default() };
            let end = |&(arrival, wait, run, _): &(f64, f64, f64, u32)| {
                let mut r = Record::new(arrival);
                (r.first, r.last) = (arrival + wait, arrival + wait + run);
                r
            };
            let done: Vec<Record> = list.iter().map(end).collect();
            let hide = |r: &Record| {
                let mut seen = *r;
                seen.first = if r.first <= now { r.first } else { f64::INFINITY };
                seen.last = if r.last <= now { r.last } else { f64::INFINITY };
                seen
            };
            let seen: Vec<Record> = done.iter().map(hide).collect();
            for metric in [Watched::Ttft, Watched::Tpot, Watched::E2e] {
                let counted = requests.list.iter().zip(&done).filter(|(q, _)| q.arrival >= warm_up);
                let values: Vec<f64> = match metric {
                    Watched::Ttft => counted.map(|(_, r)| r.ttft()).collect(),
                    Watched::E2e => counted.map(|(_, r)| r.e2e()).collect(),
                    Watched::Tpot => counted.filter_map(|(q, r)| r.tpot(q.output)).collect(),
                };
                let reached = percentile(values.clone(), quantile);
                let watch = Watch { metric, quantile, limit };
                if watch.is_missed(&requests, &seen, warm_up, now) {
                    prop_assert!(reached > limit, "{reached} against {limit}");
                }
                // With everything known the two say the same, up to a percentile between two requests.
                if values.len() > 1 && watch.is_missed(&requests, &done, warm_up, f64::INFINITY) {
                    prop_assert!(reached > limit);
                }
            }
        }
    }
}
