//! One run as events over counted steps: failures arrive, work since the last checkpoint that survives is lost, the job comes back.
//!
//! Time is split exactly: every wall second of a run is a step that counts, or one of [`LOSSES`]. While the job trains, steps and
//! checkpoints follow a fixed cycle, so where it stands after any time is arithmetic; only failures are events.

use super::draw::{Arrivals, normal, uniform};
use super::failure::{Class, Effect, Loses};
use super::plan::{LOSSES, Loss, RunPlan, RunResult, Segment};
use super::repair::Nodes;
use crate::engine::Streams;
use rand_pcg::Pcg64Mcg;
use std::collections::VecDeque;

/// A run that takes longer than this many times its steps is given up, as is one of more events than [`MOST_EVENTS`].
const MOST_WALL: f64 = 100.0;
/// Failures of one run after which it is given up.
const MOST_EVENTS: u64 = 100_000;

struct Runner<'a> {
    plan: &'a RunPlan,
    arrivals: Vec<Arrivals>,
    factor: f64,
    machines: Nodes<'a>,
    /// How much longer steps took in the last piece of training.
    slow: f64,
    nodes: Pcg64Mcg,
    /// Failures of each lemon; taken out ones stay in the list.
    lemons: Vec<u32>,
    /// Checkpoints taken in all pieces of training before: which of them go to a rare level does not begin anew.
    taken: f64,
    /// Steps of the newest checkpoint at each level.
    stored: Vec<Option<f64>>,
    /// Steps of the last checkpoints at each of the safest places, oldest first.
    history: Vec<VecDeque<f64>>,
    /// Wrong values: when they are found, and the step from which they are wrong.
    poison: Option<(f64, f64)>,
    now: f64,
    steps: f64,
    events: u64,
    /// Seconds of training, checkpoints included, and those of checkpoints in it.
    trained: f64,
    blocked: f64,
    record: bool,
    out: RunResult,
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
        taken: 0.0,
        stored: vec![None; plan.levels.len()],
        history: vec![VecDeque::new(); plan.levels.len()],
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
enum Stop {
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

    fn lose(&mut self, loss: Loss, seconds: f64) {
        self.out.losses[loss as usize] += seconds;
    }

    fn segment(&mut self, start: f64, end: f64, loss: Option<Loss>) {
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
    fn take(&mut self, class: usize) -> bool {
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
                let mut cut = (done - reached) * slow;
                held -= cut;
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
            let (full, steps) = plan.at(done);
            let every = plan.every as f64;
            let all_steps = plan.every > 0 && steps >= (full + 1.0) * every;
            let begun = if all_steps { (done - full * plan.cycle() - every * plan.whole_step()).max(0.0) } else { 0.0 };
            self.account(done, full, begun);
            self.lose(Loss::Shrunk, done * (slow - 1.0));
            self.store(done);
            self.now = begin + held + done * slow;
            let reached = self.steps + steps;
            self.segment(begin, self.now, None);
            return Some((stop, reached));
        }
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

    /// Which checkpoints are complete after `t` seconds of training.
    fn store(&mut self, t: f64) {
        if self.plan.every == 0 {
            return;
        }
        let (cycle, every) = (self.plan.cycle(), self.plan.every as f64);
        let full = self.plan.at(t).0;
        let safest = self.plan.levels.iter().map(|l| l.survives).max();
        for (i, level) in self.plan.levels.iter().enumerate() {
            let each = level.every as f64;
            let complete = ((t - level.drain) / cycle).floor().min(full);
            let last = ((self.taken + complete) / each).floor() * each - self.taken;
            if last < 1.0 {
                continue;
            }
            self.stored[i] = Some(self.steps + last * every);
            if safest.is_some_and(|s| level.survives >= s.min(Loses::Domain)) {
                for back in (0..self.plan.retention).rev() {
                    let number = last - back as f64 * each;
                    if number >= 1.0 {
                        self.history[i].push_back(self.steps + number * every);
                    }
                }
                while self.history[i].len() > self.plan.retention {
                    self.history[i].pop_front();
                }
            }
        }
        self.taken += full;
    }

    /// The newest checkpoint that a failure leaves, with the seconds to read it; from the beginning where there is none.
    fn newest(&mut self, loses: Loses) -> (f64, f64) {
        let mut best = (0.0, 0.0);
        for (i, level) in self.plan.levels.iter().enumerate() {
            if level.survives < loses {
                self.stored[i] = None;
                self.history[i].clear();
            }
            if let Some(steps) = self.stored[i]
                && (steps > best.0 || (steps == best.0 && level.restore < best.1))
            {
                best = (steps, level.restore);
            }
        }
        best
    }

    /// The newest checkpoint from before the values went wrong; what was saved since is thrown away.
    fn clean(&mut self, wrong_from: f64) -> (f64, f64) {
        let mut best = (0.0, 0.0);
        for (i, level) in self.plan.levels.iter().enumerate() {
            self.history[i].retain(|&s| s <= wrong_from);
            let newest = self.history[i].back().copied();
            self.stored[i] = newest.or(self.stored[i].filter(|&s| s <= wrong_from));
            if let Some(steps) = newest
                && (steps > best.0 || (steps == best.0 && level.restore < best.1))
            {
                best = (steps, level.restore);
            }
        }
        best
    }

    /// From a stop to training again; failures on the way start it over.
    fn come_back(&mut self, stop: Stop, reached: f64) {
        let begin = self.now;
        let mut reached = reached;
        let mut cause = stop;
        loop {
            let (parts, target) = self.parts(cause, reached);
            self.lost_work(begin, reached - target);
            reached = target;
            self.steps = target;
            if self.poison.is_some_and(|(_, wrong)| target <= wrong) {
                self.poison = None;
            }
            let mut interrupted = None;
            for (loss, seconds) in parts {
                let end = self.now + seconds;
                interrupted = self.interruption(end);
                let until = interrupted.map_or(end, |i| i.0.max(self.now));
                self.lose(loss, until - self.now);
                self.segment(self.now, until, Some(loss));
                self.now = until;
                if interrupted.is_some() {
                    break;
                }
            }
            match interrupted {
                Some((_, class)) => cause = Stop::Failure(class),
                None => break,
            }
            if self.events > MOST_EVENTS {
                break;
            }
        }
        self.out.worst_recovery = self.out.worst_recovery.max(self.now - begin);
    }

    /// A failure that stops the job before `end`; others pass unnoticed by a job that does not train.
    fn interruption(&mut self, end: f64) -> Option<(f64, usize)> {
        loop {
            let (class, at) = self.arrivals.iter().enumerate().map(|(i, a)| (i, a.next)).min_by(|a, b| a.1.total_cmp(&b.1))?;
            if at >= end || self.events > MOST_EVENTS {
                return None;
            }
            if self.take(class) {
                self.out.by_class[class] += 1;
                if matches!(self.plan.classes[class].effect, Effect::Stop) {
                    return Some((at, class));
                }
            }
        }
    }

    /// The pieces of coming back from a stop, and the step from which the job goes on.
    fn parts(&mut self, cause: Stop, reached: f64) -> (Vec<(Loss, f64)>, f64) {
        let recovery = self.plan.recovery;
        let again = recovery.start + recovery.warm_up;
        let class = match cause {
            Stop::Found => {
                self.out.stops += 1;
                let wrong = self.poison.take().map_or(0.0, |p| p.1);
                let (steps, restore) = self.clean(wrong);
                let swap = self.machines.take(1, self.now);
                let read = restore + self.reshard();
                return (vec![(Loss::NoSpare, swap), (Loss::Restart, recovery.swap + again), (Loss::Restore, read)], steps.min(reached));
            }
            Stop::Grow => {
                self.events += 1;
                return self.planned(reached, 0.0);
            }
            Stop::Failure(class) => &self.plan.classes[class],
        };
        if let Effect::Planned { lasts } = class.effect {
            return self.planned(reached, lasts);
        }
        self.out.stops += 1;
        let (detect, nodes, loses) = (class.detect, class.nodes, class.loses);
        let (steps, restore) = self.newest(loses);
        let wait = class.outage + self.machines.take(nodes, self.now + detect);
        let swap = if nodes > 0 { recovery.swap } else { 0.0 };
        let read = restore + self.reshard();
        let parts = vec![(Loss::Detection, detect), (Loss::NoSpare, wait), (Loss::Restart, swap + again), (Loss::Restore, read)];
        (parts, steps.min(reached))
    }

    /// A stop before which the job saves: to the safest place of its region, and waits until the checkpoint is complete.
    fn planned(&mut self, reached: f64, lasts: f64) -> (Vec<(Loss, f64)>, f64) {
        let levels = self.plan.levels.iter().enumerate().filter(|(_, l)| l.survives <= Loses::Domain || self.plan.levels.len() == 1);
        let safest = levels.max_by(|a, b| a.1.survives.cmp(&b.1.survives).then(b.1.drain.total_cmp(&a.1.drain)));
        let (saved, restore) = match safest {
            Some((i, level)) if self.plan.every > 0 => {
                self.stored[i] = Some(reached);
                self.history[i].push_back(reached);
                (self.plan.block + level.drain, level.restore)
            }
            _ => (0.0, 0.0),
        };
        let steps = if safest.is_some() && self.plan.every > 0 { reached } else { 0.0 };
        self.machines.take(0, self.now);
        let again = self.plan.recovery.start + self.plan.recovery.warm_up;
        let read = restore + self.reshard();
        (vec![(Loss::Checkpoint, saved), (Loss::Maintenance, lasts), (Loss::Restart, again), (Loss::Restore, read)], steps)
    }

    /// Seconds that reading takes longer because the job has other replicas than before.
    fn reshard(&self) -> f64 {
        if self.machines.slow() == self.slow { 0.0 } else { self.plan.reshard }
    }

    /// Marks work that has to be done again at the end of the last training piece.
    fn lost_work(&mut self, begin: f64, steps: f64) {
        let seconds = steps * self.plan.whole_step();
        self.out.worst_loss = self.out.worst_loss.max(seconds);
        if !self.record || seconds <= 0.0 {
            return;
        }
        let mut left = seconds;
        let mut marks = Vec::new();
        for segment in self.out.segments.iter_mut().rev().filter(|s| s.loss.is_none() && s.end <= begin) {
            let take = left.min(segment.end - segment.start);
            marks.push(Segment { start: segment.end - take, end: segment.end, loss: Some(Loss::LostWork) });
            segment.end -= take;
            left -= take;
            if left <= 0.0 {
                break;
            }
        }
        self.out.segments.extend(marks);
    }
}
