//! A run as data: what is to be simulated, and what happened.

use super::failure::{Class, Effect, Lemons, Loses};

/// Where wall time is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Blocked by checkpoints, waiting for the last one to drain, or slowed by its traffic.
    Checkpoint,
    /// Steps that had to be done again.
    LostWork,
    /// Until a failure was noticed.
    Detection,
    /// Swapping nodes, scheduling, starting processes, warming up.
    Restart,
    /// Reading a checkpoint back.
    Restore,
    /// No spare node was left, or the whole region was down.
    NoSpare,
    /// A slow accelerator.
    Straggler,
    /// The job hung and went on.
    Pause,
    /// Planned stops.
    Maintenance,
    /// Steps waited for input data.
    DataStall,
    /// The job went on with fewer replicas because no spare node was left.
    Shrunk,
}

/// All losses with their names in JSON.
pub const LOSSES: [(Loss, &str); 11] = [
    (Loss::Checkpoint, "checkpoint"),
    (Loss::LostWork, "lost_work"),
    (Loss::Detection, "detection"),
    (Loss::Restart, "restart"),
    (Loss::Restore, "restore"),
    (Loss::NoSpare, "no_spare"),
    (Loss::Straggler, "straggler"),
    (Loss::Pause, "pause"),
    (Loss::Maintenance, "maintenance"),
    (Loss::DataStall, "data_stall"),
    (Loss::Shrunk, "shrunk"),
];

/// A place where checkpoints are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// Every how manyth checkpoint goes there.
    pub every: u64,
    /// Seconds after the job goes on until the checkpoint is complete there.
    pub drain: f64,
    /// Seconds that one write keeps its way busy: the next one waits for that long.
    pub busy: f64,
    /// Seconds to read it back, in the mean over increments.
    pub restore: f64,
    /// Seconds to read it back with the most increments.
    pub restore_worst: f64,
    /// The worst failure that it survives.
    pub survives: Loses,
}

/// Seconds of the parts of coming back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovery {
    /// Swapping in a spare node.
    pub swap: f64,
    /// Scheduling the job and starting its processes.
    pub start: f64,
    /// Until steps are as fast as before.
    pub warm_up: f64,
}

/// Spare nodes and the repair of broken ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spares {
    /// Spare nodes; `None`: there is always one.
    pub count: Option<u32>,
    /// Mean seconds of a repair.
    pub repair: f64,
    /// Standard deviation of its logarithm.
    pub sigma: f64,
}

/// A run to simulate; times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPlan {
    /// Optimizer steps.
    pub steps: f64,
    /// One step without any stall.
    pub step: f64,
    /// What a step waits for data.
    pub data_stall: f64,
    /// Steps between checkpoints; 0: none are taken.
    pub every: u64,
    /// How long a checkpoint blocks the job.
    pub block: f64,
    /// How much the traffic of one checkpoint slows the steps beside it.
    pub slowdown: f64,
    /// Where checkpoints are kept.
    pub levels: Vec<Level>,
    /// Checkpoints kept in the safest place.
    pub retention: usize,
    /// What fails.
    pub classes: Vec<Class>,
    /// Coming back.
    pub recovery: Recovery,
    /// Spare nodes.
    pub spares: Spares,
    /// Nodes that fail far more often.
    pub lemons: Option<Lemons>,
    /// Standard deviation of the logarithm of the fleet's factor on all rates (drawn once for each run).
    pub fleet_sigma: f64,
    /// How much longer a step takes with some nodes missing, by their number, none first; where it is empty the job waits for repairs.
    pub shrunk: Vec<f64>,
    /// Seconds that reading a checkpoint takes longer where the number of replicas has changed.
    pub reshard: f64,
}

/// What a kind of loss can cost at most, by the plan: work and time, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// What is lost.
    pub loses: Loses,
    /// The level that is read, and the age of the newest checkpoint there just before the next is complete (recovery point); `None`: no
    /// checkpoint survives.
    pub point: Option<(usize, f64)>,
    /// From the failure until the job trains again, with a spare node and nothing else failing (recovery time).
    pub time: f64,
}

impl RunPlan {
    /// A step with its wait for data.
    #[must_use]
    pub fn whole_step(&self) -> f64 {
        self.step + self.data_stall
    }
    /// From one checkpoint to the next: steps and block, or the drain of the last one where that is longer.
    #[must_use]
    pub fn cycle(&self) -> f64 {
        let drain = self.levels.iter().map(|l| l.busy / l.every as f64).fold(0.0, f64::max);
        (self.every as f64 * self.whole_step() + self.slowdown).max(drain) + self.block
    }
    /// Seconds of training for `n` steps; no checkpoint follows the last.
    pub(super) fn time_of(&self, n: f64) -> f64 {
        if self.every == 0 || n <= 0.0 {
            return n * self.whole_step();
        }
        let full = ((n - 1.0) / self.every as f64).floor();
        full * self.cycle() + (n - full * self.every as f64) * self.whole_step()
    }
    /// Full cycles and steps after `t` seconds of training.
    pub(super) fn at(&self, t: f64) -> (f64, f64) {
        if self.every == 0 {
            return (0.0, (t / self.whole_step()).floor());
        }
        let full = (t / self.cycle()).floor();
        let more = ((t - full * self.cycle()) / self.whole_step()).floor().min(self.every as f64);
        (full, full * self.every as f64 + more)
    }
    /// Failures of one run, about: those of all classes while it trains, also where so many are more than a run is given up after.
    #[must_use]
    pub fn failures(&self) -> f64 {
        let rate: f64 = self.classes.iter().map(|c| c.rate).sum();
        self.steps * self.whole_step() * rate
    }
    /// Failures that stop the job, in a second.
    #[must_use]
    pub fn stop_rate(&self) -> f64 {
        self.classes.iter().filter(|c| matches!(c.effect, Effect::Stop | Effect::Corrupt { .. })).map(|c| c.rate).sum()
    }
    /// Mean seconds from a failure until the job trains again, reading from the place that most failures leave.
    #[must_use]
    pub fn mean_recovery(&self) -> f64 {
        let rate = self.stop_rate();
        if rate == 0.0 {
            return 0.0;
        }
        let of = |c: &Class| {
            let restore = self.levels.iter().filter(|l| l.survives >= c.loses).map(|l| l.restore).fold(f64::INFINITY, f64::min);
            c.detect + c.outage + if c.nodes > 0 { self.recovery.swap } else { 0.0 } + if restore.is_finite() { restore } else { 0.0 }
        };
        let stops = self.classes.iter().filter(|c| matches!(c.effect, Effect::Stop | Effect::Corrupt { .. }));
        stops.map(|c| c.rate / rate * of(c)).sum::<f64>() + self.recovery.start + self.recovery.warm_up
    }

    /// Recovery point and time for each kind of loss; `detect` is the time until a failure is noticed that no class tells.
    #[must_use]
    pub fn objectives(&self, detect: f64) -> Vec<Objective> {
        let one = |loses: Loses| {
            let classes = || self.classes.iter().filter(|c| c.loses == loses && matches!(c.effect, Effect::Stop));
            let noticed = classes().map(|c| c.detect + c.outage).fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
            let surviving = self.levels.iter().enumerate().filter(|(_, l)| self.every > 0 && l.survives >= loses);
            let age = |l: &Level| l.every as f64 * self.cycle() + l.drain;
            let best = surviving.min_by(|a, b| age(a.1).total_cmp(&age(b.1)).then(a.1.restore_worst.total_cmp(&b.1.restore_worst)));
            let swap = if loses >= Loses::Node { self.recovery.swap } else { 0.0 };
            let read = best.map_or(0.0, |(_, l)| l.restore_worst);
            let time = noticed.unwrap_or(detect) + swap + self.recovery.start + self.recovery.warm_up + read;
            Objective { loses, point: best.map(|(i, l)| (i, age(l))), time }
        };
        [Loses::Process, Loses::Node, Loses::Domain, Loses::Region].map(one).to_vec()
    }
}

/// What a piece of a run's time line is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// Start, seconds.
    pub start: f64,
    /// End, seconds.
    pub end: f64,
    /// `None`: training that counts (its checkpoints included); else what is lost.
    pub loss: Option<Loss>,
}

/// What happened in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// Wall seconds.
    pub wall: f64,
    /// Seconds of steps that count.
    pub useful: f64,
    /// Seconds lost, in the order of [`LOSSES`].
    pub losses: [f64; LOSSES.len()],
    /// Failures that happened, by class.
    pub by_class: Vec<u64>,
    /// Failures that stopped the job, planned stops apart.
    pub stops: u64,
    /// Checkpoints taken.
    pub checkpoints: f64,
    /// Longest stretch of work lost at once, seconds of steps.
    pub worst_loss: f64,
    /// Longest time from a failure until the job trained again, seconds.
    pub worst_recovery: f64,
    /// Whether the run came to its end; else it was given up.
    pub finished: bool,
    /// The pieces of its time, where they were asked for.
    pub segments: Vec<Segment>,
}
