//! Jobs out of distributions.

use super::graph::Graph;
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
    /// Classes, by their place in the list, whose jobs it waits for.
    pub after: Vec<usize>,
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
fn draw_jobs(class: &JobClass, streams: &Streams) -> Vec<Job> {
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
        if !class.after.is_empty() {
            job.submit = f64::INFINITY;
        }
        out.push(job);
    }
    out
}

/// Draws all jobs beside those that are given, in order of submission, and says which wait for which.
#[must_use]
pub fn draw_all(given: &[Job], classes: &[JobClass], streams: &Streams) -> (Vec<Job>, Graph) {
    let of = |i: usize, class: &JobClass| {
        let drawn = draw_jobs(class, streams).into_iter().enumerate();
        drawn.map(move |(k, job)| (job, i, k)).collect::<Vec<_>>()
    };
    let mut all: Vec<(Job, usize, usize)> = given.iter().map(|j| (*j, usize::MAX, 0)).collect();
    all.extend(classes.iter().enumerate().flat_map(|(i, c)| of(i, c)));
    all.sort_by(|a, b| a.0.submit.total_cmp(&b.0.submit));
    if classes.iter().all(|c| c.after.is_empty()) {
        return (all.into_iter().map(|j| j.0).collect(), Graph::default());
    }
    let mut numbers: Vec<Vec<u32>> = classes.iter().map(|c| vec![0; c.count as usize]).collect();
    for (id, &(_, class, k)) in all.iter().enumerate().filter(|(_, j)| j.1 != usize::MAX) {
        numbers[class][k] = id as u32;
    }
    let pairs = |(i, class): (usize, &JobClass)| {
        let numbers = &numbers;
        let waits: Vec<(u32, u32)> =
            class.after.iter().flat_map(|&b| numbers[b].iter().copied().zip(numbers[i].iter().copied()).collect::<Vec<_>>()).collect();
        waits
    };
    let edges = classes.iter().enumerate().flat_map(pairs).collect();
    (all.into_iter().map(|j| j.0).collect(), Graph::new(edges))
}
