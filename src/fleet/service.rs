//! Services and their requests: a fluid that comes at a rate that swings; a warm replica serves so many a second, and what exceeds that
//! waits. What a replica does with them is given, or comes from a serving simulation (`curve`).

use super::curve::{Curve, Times};
use super::grant::Ask;
use super::replay::Sim;
use super::rollout::{Roll, Rollout};
use super::tally::Series;
use crate::choice;
use std::sync::Arc;

choice! {
    /// What the number of replicas follows.
    pub enum Metric {
        /// Requests a second over what warm replicas can serve.
        Utilization = "utilization",
        /// Requests that wait, for each replica.
        Queue = "queue",
        /// Requests in the system, for each replica.
        Concurrency = "concurrency",
    }
}

/// How the number of replicas follows the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// What it follows.
    pub metric: Metric,
    /// The value to hold.
    pub target: f64,
    /// Replicas at least; 0: none while nobody asks.
    pub least: u32,
    /// Replicas at most.
    pub most: u32,
    /// Seconds for which more has to be wanted before replicas are added, and fewer before they are taken away.
    pub windows: [f64; 2],
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// What a replica asks for.
    pub ask: Ask,
    /// Whose it is.
    pub team: u16,
    /// Its class in reports.
    pub class: u16,
    /// Priority of its replicas.
    pub priority: i32,
    /// Requests a second: mean, swing over the mean (0 to 1), period in seconds.
    pub rate: (f64, f64, f64),
    /// Requests that a replica serves in a second.
    pub serves: f64,
    /// Seconds of one request that does not wait.
    pub latency: f64,
    /// Seconds that a request may wait before a replica takes it.
    pub patience: f64,
    /// What one replica does at a load, where that was simulated.
    pub replica: Option<Arc<Curve>>,
    /// Seconds from getting its nodes until a replica serves (image, warm-up), beside the read of weights where they lie in a tier.
    pub warm: f64,
    /// How it gets new versions.
    pub rollout: Option<Rollout>,
    /// How the number of replicas follows.
    pub scaling: Scaling,
    /// Seconds between two looks.
    pub interval: f64,
}

impl Service {
    /// Requests a second at a time: least at the start, most half a period later.
    #[must_use]
    pub fn rate_at(&self, at: f64) -> f64 {
        let (mean, swing, period) = self.rate;
        mean * (1.0 - swing * libm::cos(std::f64::consts::TAU * at / period))
    }

    /// Seconds of one request while so many come in a second to so many warm replicas.
    pub(super) fn latency_at(&self, rate: f64, warm: usize) -> f64 {
        self.replica.as_ref().map_or(self.latency, |curve| curve.e2e(self.load(rate, warm)))
    }

    /// Requests a second that a replica takes: its share, and never more than it serves.
    fn load(&self, rate: f64, warm: usize) -> f64 {
        (rate / warm.max(1) as f64).min(self.serves)
    }
}

/// What became of a service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServiceState {
    /// Requests that came.
    pub requests: f64,
    /// Of them those that waited no longer than they may.
    pub attained: f64,
    /// Requests that wait now.
    pub backlog: f64,
    /// The longest wait, seconds.
    pub longest: f64,
    /// Latencies of requests, where a replica was simulated.
    pub times: Times,
    /// Replicas times seconds, from getting nodes on.
    pub replica_seconds: f64,
    /// Replicas that were started.
    pub started: u64,
    /// Most replicas that were warm at once.
    pub most_warm: u32,
    /// Requests a second, replicas that are warm, replicas that are wanted, requests that wait, warm replicas of the newest version.
    pub series: Series<5>,
    /// Versions that were rolled out.
    pub rolls: Vec<Roll>,
    /// The newest version.
    pub(super) version: u32,
    /// Whether it is on its way, and how many replicas are still older.
    pub(super) rolling: bool,
    pub(super) old: u32,
    pub(super) replicas: Vec<u32>,
    pub(super) warm: Vec<u32>,
    pub(super) wanted: u32,
    /// What was wanted at each look within the windows.
    pub(super) history: Vec<(f64, u32)>,
    since: f64,
}

impl Sim<'_> {
    /// Requests come and are served from the last instant until `now`.
    pub(super) fn serve_until(&mut self, now: f64) {
        let set = self.set;
        for (service, state) in set.services.iter().zip(&mut self.out.services) {
            let (first, versions) = (set.jobs.len(), &self.versions);
            let newest = state.warm.iter().filter(|r| versions[**r as usize - first] == state.version).count() as f64;
            let step = service.interval.min(service.rate.2 / 100.0);
            let serves = state.warm.len() as f64 * service.serves;
            while state.since < now {
                let to = (state.since + step).min(now);
                let (length, rate) = (to - state.since, service.rate_at((state.since + to) / 2.0));
                let before = state.backlog;
                state.backlog = (before + (rate - serves) * length).max(0.0);
                let wait = if serves > 0.0 { (before + state.backlog) / 2.0 / serves } else { f64::INFINITY };
                let came = rate * length;
                state.requests += came;
                let mut in_time = if wait <= service.patience { came } else { 0.0 };
                if let Some(curve) = service.replica.as_ref().filter(|_| wait.is_finite()) {
                    let load = if wait > 0.0 { service.serves } else { service.load(rate, state.warm.len()) };
                    in_time *= curve.in_time(load, wait);
                    state.times.add(curve, load, wait, came);
                }
                state.attained += in_time;
                if wait.is_finite() {
                    state.longest = state.longest.max(wait);
                }
                state.replica_seconds += state.replicas.len() as f64 * length;
                state.most_warm = state.most_warm.max(state.warm.len() as u32);
                if let Some(roll) = state.rolls.last_mut().filter(|_| state.rolling) {
                    roll.requests = [roll.requests[0] + came, roll.requests[1] + in_time];
                    roll.least_warm = roll.least_warm.min(state.warm.len() as u32);
                    roll.longest = if wait.is_finite() { roll.longest.max(wait) } else { roll.longest };
                }
                state.series.until(to, [rate, state.warm.len() as f64, f64::from(state.wanted), state.backlog, newest]);
                state.since = to;
            }
        }
    }
}
