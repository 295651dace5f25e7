//! What a deployment takes at least, without simulating the load.
//!
//! Rooflines: every token needs its products at the part's peak, every decoded token reads the cache before it at the memory's bandwidth.
//! Engines have to do that for the requests that meet a target before the last of them is due. Alone: the same engine with one request at a
//! time; company never makes a request quicker, up to kernels that are a little slower for small batches, for which there is slack.

use super::load::ServePlan;
use super::slo::{Metric, Target};
use crate::engine::Streams;
use crate::fabric::{AcceleratorId, Fabric};
use crate::hardware::Dtype;
use crate::metrics::Percentiles;
use crate::scenario::{Job, Scenario};
use crate::serving::{Arrivals, Deployment, Fleet, Request, serve};

/// Kernels of small batches may be slower than of larger ones by this share.
const SLACK: f64 = 0.05;

/// A request alone on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Alone {
    ttft: Percentiles,
    tpot: Percentiles,
    e2e: Percentiles,
}

impl Alone {
    /// Latencies of requests that come one after the other to one engine; nothing where guesses are drawn, as those differ with the order.
    pub(super) fn of(scenario: &Scenario, plan: &ServePlan) -> Option<Self> {
        let Job::Serving(job) = &scenario.job else { return None };
        if job.deployment.speculation.is_some() {
            return None;
        }
        // An engine of prompts alone computes a prompt no sooner, and what decodes waits for the keys and values on top.
        let one = Deployment { replicas: 1, fleet: Fleet::default(), prompts: None, ..job.deployment.clone() };
        let mut pool = one.pool(&scenario.fabric, &scenario.profiles, &job.stack).ok()?;
        let arrivals = Arrivals::Closed { clients: 1, pause: 0.0 };
        let served = serve(&mut pool, &plan.requests, arrivals, 0.0, &Streams::new(scenario.seed));
        let rows = plan.requests.list.iter().zip(&served.records).filter(|(q, r)| r.is_done() && q.arrival >= plan.warm_up);
        let rows: Vec<_> = rows.collect();
        Some(Self {
            ttft: Percentiles::of(rows.iter().map(|(_, r)| r.ttft())),
            tpot: Percentiles::of(rows.iter().filter_map(|(q, r)| r.tpot(q.output))),
            e2e: Percentiles::of(rows.iter().map(|(_, r)| r.e2e())),
        })
    }

    /// The target that is missed most even so: how many times over, and what is reached.
    pub(super) fn misses(&self, targets: &[Target]) -> Option<(f64, Target)> {
        let over = |t: &Target| t.of([&self.ttft, &self.tpot, &self.e2e]) * (1.0 - SLACK) / t.limit;
        targets.iter().map(|t| (over(t), *t)).filter(|m| m.0 > 1.0).max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Least mean time to the last token.
    pub(super) fn least_e2e(&self) -> f64 {
        self.e2e.mean * (1.0 - SLACK)
    }
}

/// Seconds that an engine is busy with a request at least.
struct Work {
    /// A token's products at the peak.
    token: f64,
    /// Reading the cache of one token.
    read: f64,
}

impl Work {
    fn of(deployment: &Deployment, fabric: &Fabric) -> Self {
        let part = fabric.part(AcceleratorId(0));
        let (shape, formats) = (&deployment.shape, deployment.formats);
        let peak = |d: Dtype| part.peak.of(d).map_or(f64::INFINITY, crate::units::FlopsPerSecond::get);
        let peak = peak(formats.linear).max(peak(formats.attention)).max(peak(Dtype::Bf16));
        let active = shape.mixture.map_or(0.0, |m| shape.expert_parameters() * m.per_token as f64 / m.experts as f64);
        let weights = shape.mixer_parameters() + shape.dense_ffn_parameters() + active;
        let ranks = deployment.ranks() as f64;
        Self {
            token: 2.0 * weights / (ranks * peak),
            read: shape.kv_bytes_per_token(formats.kv, deployment.tensor) / (part.memory_bandwidth.get() * deployment.data as f64),
        }
    }
    fn prompt(&self, r: &Request, cached: bool) -> f64 {
        if cached { self.token } else { self.token * f64::from(r.input) }
    }
    fn answer(&self, r: &Request) -> f64 {
        let (input, later) = (f64::from(r.input), f64::from(r.output.saturating_sub(1)));
        later * (self.token + self.read * (input + later / 2.0))
    }
    fn all(&self, r: &Request, cached: bool) -> f64 {
        self.prompt(r, cached) + self.answer(r)
    }
}

/// Engines that a deployment needs at least: for everything, for prompts alone, for answers alone.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Needs {
    pub(super) all: f64,
    pub(super) prompts: f64,
    pub(super) answers: f64,
}

impl Needs {
    /// What so many engines of prompts and others lack most: how many times over, how many are needed, and of which.
    pub(super) fn lack(&self, (prompts, others): (u64, u64)) -> Option<(f64, f64, &'static str)> {
        let (p, d) = (prompts as f64, others as f64);
        let apart = prompts > 0;
        let of = |need: f64, have: f64, what| (need / have, need, what);
        let all = [
            Some(of(self.all, p + d, "engines")),
            apart.then(|| of(self.prompts, p, "engines for prompts")),
            apart.then(|| of(self.answers, d, "engines for answers")),
        ];
        all.into_iter().flatten().filter(|l| l.0 > 1.0).max_by(|a, b| a.0.total_cmp(&b.0))
    }
}

/// Engines that a deployment needs at least, by the rooflines, so that enough requests can be through in time.
pub(super) fn engines(scenario: &Scenario, plan: &ServePlan) -> Needs {
    let mut needs = Needs::default();
    let Job::Serving(job) = &scenario.job else { return needs };
    let d = &job.deployment;
    if d.speculation.is_some() {
        return needs;
    }
    let work = Work::of(d, &scenario.fabric);
    let counted: Vec<&Request> = plan.requests.list.iter().filter(|r| r.arrival >= plan.warm_up).collect();
    let Some(last) = counted.last().map(|r| r.arrival) else { return needs };
    let longest = counted.iter().map(|r| r.output).max().unwrap_or(1);
    let of = |metric: Metric| plan.targets.iter().filter(move |t| t.metric == metric);
    let ask = |need: &mut f64, share: f64, seconds: f64, each: &dyn Fn(&Request) -> f64| {
        let mut list: Vec<f64> = counted.iter().map(|r| each(r)).collect();
        list.sort_unstable_by(f64::total_cmp);
        // A percentile that lies between two requests is no less than the one below it.
        let many = if share > 0.0 { (share * (list.len() - 1) as f64).floor() as usize + 1 } else { 0 };
        let busy: f64 = list[..many].iter().sum();
        *need = need.max(busy * (1.0 - SLACK) / (last - plan.warm_up + seconds));
    };
    let (all, prompt, answer) =
        (|r: &Request| work.all(r, d.prefix_cache), |r: &Request| work.prompt(r, d.prefix_cache), |r: &Request| work.answer(r));
    for t in of(Metric::E2e) {
        ask(&mut needs.all, t.quantile, t.limit, &all);
        ask(&mut needs.prompts, t.quantile, t.limit, &prompt);
        ask(&mut needs.answers, t.quantile, t.limit, &answer);
    }
    for t in of(Metric::Ttft) {
        ask(&mut needs.all, t.quantile, t.limit, &prompt);
        ask(&mut needs.prompts, t.quantile, t.limit, &prompt);
        for p in of(Metric::Tpot) {
            // Both at once hold for no fewer than the sum of the shares, less one; two percentiles may round.
            let share = t.quantile + p.quantile - 1.0 - 2.0 / counted.len() as f64;
            let seconds = t.limit + p.limit * f64::from(longest.saturating_sub(1));
            ask(&mut needs.all, share, seconds, &all);
            ask(&mut needs.answers, share, seconds, &answer);
        }
    }
    needs
}
