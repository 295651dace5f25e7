//! The nodes of a run: spares, repairs, and going on with fewer replicas where no spare is left.

use super::draw::normal;
use super::plan::RunPlan;
use rand_pcg::Pcg64Mcg;

/// Which nodes a run has.
pub(super) struct Nodes<'a> {
    plan: &'a RunPlan,
    stream: Pcg64Mcg,
    /// Spare nodes that are whole.
    free: u32,
    /// Nodes that the job lacks.
    missing: u32,
    /// When broken nodes come back, soonest first.
    broken: Vec<f64>,
}

impl<'a> Nodes<'a> {
    /// All of them whole.
    pub(super) fn new(plan: &'a RunPlan, stream: Pcg64Mcg) -> Self {
        Self { plan, stream, free: plan.spares.count.unwrap_or(0), missing: 0, broken: Vec::new() }
    }

    /// How much longer a step takes with what is there.
    pub(super) fn slow(&self) -> f64 {
        self.plan.shrunk.get(self.missing as usize).copied().unwrap_or(1.0)
    }

    /// When enough nodes are back for another replica; never where none is missing.
    pub(super) fn grows_at(&self) -> f64 {
        let slow = self.slow();
        let better = (1..=self.missing).find(|&k| self.plan.shrunk.get((self.missing - k) as usize).is_some_and(|&s| s < slow));
        better.and_then(|k| self.broken.get(k as usize - 1)).copied().unwrap_or(f64::INFINITY)
    }

    /// The job is placed anew at a time after it has lost some nodes: repaired ones come back first, then spares step in, then it goes on
    /// with less where the plan allows that, else it waits. Returns the seconds of waiting.
    pub(super) fn take(&mut self, nodes: u32, at: f64) -> f64 {
        let spares = self.plan.spares;
        if spares.count.is_none() {
            return 0.0;
        }
        for _ in 0..nodes {
            let draw = normal(&mut self.stream);
            let repair = spares.repair * libm::exp(spares.sigma * draw - spares.sigma * spares.sigma / 2.0);
            self.broken.push(at + repair);
        }
        self.broken.sort_by(f64::total_cmp);
        // The time of a return is reached but for rounding.
        let back = self.broken.partition_point(|&t| t <= at * (1.0 + 1e-12) + 1e-9);
        self.broken.drain(..back);
        self.free = self.free.saturating_add(back as u32);
        self.missing = self.missing.saturating_add(nodes);
        self.fill();
        let most = self.plan.shrunk.len().saturating_sub(1) as u32;
        let mut until = at;
        while self.missing > most && !self.broken.is_empty() {
            until = self.broken.remove(0);
            self.free += 1;
            self.fill();
        }
        until - at
    }

    fn fill(&mut self) {
        let filled = self.missing.min(self.free);
        self.missing -= filled;
        self.free -= filled;
    }
}
