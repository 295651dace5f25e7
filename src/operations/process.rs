//! One run as events over counted steps: failures arrive, work since the last checkpoint that survives is lost, the job comes back.
//!
//! Time is split exactly: every wall second of a run is a step that counts, or one of [`LOSSES`]. While the job trains, steps and
//! checkpoints follow a fixed cycle, so where it stands after any time is arithmetic; only failures are events.

use super::draw::{Arrivals, normal, uniform};
use super::failure::{Class, Effect, Loses};
use super::plan::{LOSSES, Loss, RunPlan, RunResult, Segment};
use super::repair::Nodes;
use super::saved::Saved;
use crate::engine::Streams;
use rand_pcg::Pcg64Mcg;

/// A run that takes longer than this many times its steps is given up, as is one of more events than [`MOST_EVENTS`].
const MOST_WALL: f64 = 100.0;
/// Failures of one run after which it is given up.
pub(super) const MOST_EVENTS: u64 = 100_000;

/// A run under way.
pub(super) struct Runner<'a> {
    pub(super) plan: &'a RunPlan,
    pub(super) arrivals: Vec<Arrivals>,
    pub(super) factor: f64,
    pub(super) machines: Nodes<'a>,
    /// How much longer steps took in the last piece of training.
    pub(super) slow: f64,
    pub(super) nodes: Pcg64Mcg,
    /// Failures of each lemon; taken out ones stay in the list.
    pub(super) lemons: Vec<u32>,
    pub(super) saved: Saved<'a>,
    /// Wrong values: when they are found, and the step from which they are wrong.
    pub(super) poison: Option<(f64, f64)>,
    pub(super) now: f64,
    pub(super) steps: f64,
    pub(super) events: u64,
    /// Seconds of training, checkpoints included, and those of checkpoints in it.
    pub(super) trained: f64,
    pub(super) blocked: f64,
    pub(super) record: bool,
    pub(super) out: RunResult,
}

/// Simulates run number `index` under a seed; `record` keeps the pieces of its time.
#[must_use]
pub fn run_once(plan: &RunPlan, seed: u64, index: u64, record: bool) -> RunResult {
    let streams = Streams::new(seed);
    let stream = |what: &str| streams.stream(&format!("run {index}: {what}"));
    let factor = if plan.fleet_sigma > 0.0 { libm::exp(plan.fleet_sigma * normal(&mut stream("fleet"))) } else { 1.0 };
    let first = |c: &Class| Arrivals::new(stream(&format!("failures: {}", c.name)), c, factor);
    let arrivals = plan.classes.iter().map(first).collect();
    let mut runner = Runner {
        plan,
        arrivals,
        factor,
        machines: Nodes::new(plan, stream("repairs")),
        slow: 1.0,
        nodes: stream("nodes"),
        lemons: vec![0; plan.lemons.map_or(0, |l| l.count as usize)],
        saved: Saved::new(plan),
        poison: None,
        now: 0.0,
        steps: 0.0,
        events: 0,
        trained: 0.0,
        blocked: 0.0,
        record,
        out: RunResult {
            wall: 0.0,
            useful: 0.0,
            losses: [0.0; LOSSES.len()],
            by_class: vec![0; plan.classes.len()],
            stops: 0,
            checkpoints: 0.0,
            worst_loss: 0.0,
            worst_recovery: 0.0,
            finished: false,
            segments: Vec::new(),
        },
    };
    runner.go();
    runner.out
}

/// What interrupts training.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    /// A failure of a class.
    Failure(usize),
    /// Wrong values are found.
    Found,
    /// Repaired nodes are back, and the job grows again.
    Grow,
}

impl Runner<'_> {
    fn go(&mut self) {
        let limit = MOST_WALL * (self.plan.steps * self.plan.whole_step()).max(1.0);
        loop {
            let Some((stop, reached)) = self.train() else {
                self.out.finished = true;
                return self.finish(self.plan.steps);
            };
            self.come_back(stop, reached);
            if self.now > limit || self.events > MOST_EVENTS {
                return self.finish(self.steps);
            }
        }
    }

    /// Splits the time: what was trained and is neither a step that counts nor a checkpoint was lost.
    fn finish(&mut self, steps: f64) {
        let plan = self.plan;
        self.out.wall = self.now;
        self.out.useful = steps * plan.step;
        self.lose(Loss::DataStall, steps * plan.data_stall);
        let lost = self.trained - steps * plan.whole_step() - self.blocked;
        // Rounding alone can make it differ from nothing.
        self.lose(Loss::LostWork, if lost > 1e-9 * self.trained { lost } else { 0.0 });
    }

    pub(super) fn lose(&mut self, loss: Loss, seconds: f64) {
        self.out.losses[loss as usize] += seconds;
    }

    pub(super) fn segment(&mut self, start: f64, end: f64, loss: Option<Loss>) {
        if self.record && end > start {
            self.out.segments.push(Segment { start, end, loss });
        }
    }

    /// The next failure, finding or return of nodes.
    fn next(&self) -> (f64, Option<Stop>) {
        let mut best = self.poison.map_or((f64::INFINITY, None), |(at, _)| (at, Some(Stop::Found)));
        let grows = if self.plan.every > 0 { self.machines.grows_at() } else { f64::INFINITY };
        if grows < best.0 {
            best = (grows, Some(Stop::Grow));
        }
        for (i, arrivals) in self.arrivals.iter().enumerate() {
            if arrivals.next < best.0 {
                best = (arrivals.next, Some(Stop::Failure(i)));
            }
        }
        best
    }

    /// Takes an arrival off; whether it really is one (a lemon that was taken out fails no more).
    pub(super) fn take(&mut self, class: usize) -> bool {
        self.events += 1;
        let of = &self.plan.classes[class];
        self.arrivals[class].advance(of, self.factor);
        let Some(lemons) = self.plan.lemons.filter(|_| of.loses >= Loses::Node) else { return true };
        let (which, draw) = (uniform(&mut self.nodes), uniform(&mut self.nodes));
        if draw >= lemons.share {
            return true;
        }
        let at = ((which * f64::from(lemons.count)) as usize).min(self.lemons.len() - 1);
        if lemons.removed_after.is_some_and(|most| self.lemons[at] >= most) {
            return false;
        }
        self.lemons[at] += 1;
        true
    }

    /// Trains until something stops the job, or to the end (`None`); gives what stopped it and the steps reached.
    fn train(&mut self) -> Option<(Stop, f64)> {
        let plan = self.plan;
        let begin = self.now;
        // Seconds of training are those of the whole job: with fewer replicas each takes longer.
        let slow = self.machines.slow();
        self.slow = slow;
        let need = plan.time_of(plan.steps - self.steps);
        let (mut held, mut done) = (0.0, 0.0f64);
        let mut holds: Vec<(Loss, f64)> = Vec::new();
        loop {
            let (at, stop) = self.next();
            // What was due while the job came back is found as soon as it trains.
            let at = at.max(begin);
            if at - begin - held >= need * slow || stop.is_none() {
                let full = if plan.every > 0 { ((plan.steps - self.steps - 1.0) / plan.every as f64).floor().max(0.0) } else { 0.0 };
                self.account(need, full, 0.0);
                self.lose(Loss::Shrunk, need * (slow - 1.0));
                self.now = begin + held + need * slow;
                self.segment(begin, self.now, None);
                return None;
            }
            let stop = stop?;
            let reached = (at - begin - held) / slow;
            if reached < done {
                // It came while the job was held up: the rest of the hold is no loss of its own.
                let cut = (done - reached) * slow;
                held -= cut;
                self.cut_short(&mut holds, cut);
            }
            done = done.max(reached);
            if let Stop::Failure(class) = stop {
                if !self.take(class) {
                    continue;
                }
                self.out.by_class[class] += 1;
                match plan.classes[class].effect {
                    Effect::Hold { lost, straggler } => {
                        let loss = if straggler { Loss::Straggler } else { Loss::Pause };
                        self.lose(loss, lost);
                        holds.push((loss, lost));
                        held += lost;
                        continue;
                    }
                    Effect::Corrupt { found_after } => {
                        let wrong = self.steps + plan.at(done).1;
                        if self.poison.is_none() {
                            self.poison = Some((at + found_after, wrong));
                        }
                        continue;
                    }
                    Effect::Stop | Effect::Planned { .. } => {}
                }
            }
            let steps = self.break_off(done, slow);
            self.now = begin + held + done * slow;
            self.segment(begin, self.now, None);
            return Some((stop, self.steps + steps));
        }
    }

    /// Takes the last seconds off what the job was held up.
    fn cut_short(&mut self, holds: &mut Vec<(Loss, f64)>, mut cut: f64) {
        while let Some((loss, length)) = holds.pop() {
            let taken = cut.min(length);
            self.out.losses[loss as usize] -= taken;
            cut -= taken;
            if cut <= 0.0 {
                holds.push((loss, length - taken));
                break;
            }
        }
    }

    /// Counts `done` seconds of training that something stopped, with the checkpoints that are complete by then; gives their steps.
    fn break_off(&mut self, done: f64, slow: f64) -> f64 {
        let plan = self.plan;
        let (full, steps) = plan.at(done);
        let every = plan.every as f64;
        let all_steps = plan.every > 0 && steps >= (full + 1.0) * every;
        let begun = if all_steps { (done - full * plan.cycle() - every * plan.whole_step()).max(0.0) } else { 0.0 };
        self.account(done, full, begun);
        self.lose(Loss::Shrunk, done * (slow - 1.0));
        self.saved.complete(self.steps, done);
        steps
    }

    /// Counts `trained` seconds of training with `full` cycles, and `begun` seconds of a checkpoint that was cut off.
    fn account(&mut self, trained: f64, full: f64, begun: f64) {
        self.trained += trained;
        if self.plan.every > 0 {
            let blocked = full * (self.plan.cycle() - self.plan.every as f64 * self.plan.whole_step()) + begun;
            self.blocked += blocked;
            self.out.checkpoints += full;
            self.lose(Loss::Checkpoint, blocked);
        }
    }
}
