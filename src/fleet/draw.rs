//! Jobs out of distributions.

use super::job::Job;
use crate::engine::Streams;
use crate::operations::{normal, uniform};

/// How long jobs are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lengths {
    /// All as long as the mean.
    Fixed,
    /// Exponential.
    Exponential,
    /// Lognormal with a standard deviation of the logarithm.
    Lognormal(f64),
}

/// Sizes with their shares.
pub type Shares = Vec<(u32, f64)>;

/// A class of jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct JobClass {
    /// Its name: its random streams are its own.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Seconds of the first submission.
    pub from: f64,
    /// Mean seconds between two; 0: all at once.
    pub gap: f64,
    /// Whether the gaps are random (Poisson) or all the same.
    pub random: bool,
    /// Mean length, seconds (or steps); the length of the pattern where jobs have steps.
    pub mean: f64,
    /// Its distribution.
    pub lengths: Lengths,
    /// Accelerators.
    pub sizes: Shares,
    /// The rest.
    pub like: Job,
}

/// Draws the jobs of a class.
#[must_use]
pub fn draw_jobs(class: &JobClass, streams: &Streams) -> Vec<Job> {
    let stream = |what: &str| streams.stream(&format!("fleet {what} of {}", class.name));
    let (mut gaps, mut lengths, mut sizes) = (stream("arrivals"), stream("lengths"), stream("sizes"));
    let all: f64 = class.sizes.iter().map(|s| s.1).sum();
    let mut at = class.from;
    let mut out = Vec::with_capacity(class.count as usize);
    for i in 0..class.count {
        if class.gap > 0.0 && (class.random || i > 0) {
            at += if class.random { -libm::log(uniform(&mut gaps)) * class.gap } else { class.gap };
        }
        let length = match class.lengths {
            Lengths::Fixed => class.mean,
            Lengths::Exponential => -libm::log(uniform(&mut lengths)) * class.mean,
            Lengths::Lognormal(sigma) => class.mean * libm::exp(sigma * normal(&mut lengths) - sigma * sigma / 2.0),
        };
        let mut job = Job { submit: at, ..class.like };
        job.work = match job.work {
            super::Work::Steps { model, .. } => super::Work::Steps { model, steps: length.ceil().max(1.0) },
            _ => super::Work::Time(length),
        };
        if let [one] = class.sizes[..] {
            job.ask.accelerators = one.0;
        } else {
            let mut left = uniform(&mut sizes) * all;
            let drawn = class.sizes.iter().find(|s| {
                left -= s.1;
                left <= 0.0
            });
            job.ask.accelerators = drawn.or(class.sizes.last()).map_or(1, |s| s.0);
        }
        out.push(job);
    }
    out
}
