//! Who is next: the queue, and rules that order it. Literature: `docs/models/scheduling.md`.

use super::job::{Job, OrderKind, Team};
use crate::units::SimTime;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A rule of order. Keys are not negative; smaller ones go first, equal ones by submission.
pub trait Order: Sync {
    /// The key of a job of which `left` seconds are to be done.
    fn key(&self, job: &Job, left: f64) -> f64;
    /// Whether every team has a queue of its own, of which the one that uses least of its share goes first.
    fn by_team(&self) -> bool {
        false
    }
}

/// The rule of a kind.
#[must_use]
pub fn order(kind: OrderKind) -> &'static dyn Order {
    match kind {
        OrderKind::Fifo => &Fifo,
        OrderKind::Shortest => &Shortest,
        OrderKind::Priority => &Priority,
        OrderKind::Fair => &Fair,
    }
}

/// First in, first out.
struct Fifo;
/// Least remaining work first.
struct Shortest;
/// Highest priority first.
struct Priority;
/// The team that uses least of its share first; within a team first in, first out.
struct Fair;

impl Order for Fifo {
    fn key(&self, _: &Job, _: f64) -> f64 {
        0.0
    }
}
impl Order for Shortest {
    fn key(&self, _: &Job, left: f64) -> f64 {
        left
    }
}
impl Order for Priority {
    fn key(&self, job: &Job, _: f64) -> f64 {
        f64::from(i32::MAX) - f64::from(job.priority)
    }
}
impl Order for Fair {
    fn key(&self, _: &Job, _: f64) -> f64 {
        0.0
    }
    fn by_team(&self) -> bool {
        true
    }
}

/// A place in a queue: jobs that others may push aside last, then the key, then the submission.
pub type Place = (bool, SimTime, u32);

/// What each team uses, in thousandths of accelerators.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// By team.
    pub used: Vec<u64>,
}

/// Jobs that wait.
#[derive(Debug, Clone)]
pub struct Queue {
    /// One queue, or one a team.
    groups: Vec<BTreeSet<Place>>,
    by_team: bool,
    /// Jobs by the accelerators that they ask for.
    sizes: BTreeMap<u32, u32>,
    len: usize,
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new(by_team: bool, teams: usize) -> Self {
        Self { groups: vec![BTreeSet::new(); if by_team { teams.max(1) } else { 1 }], by_team, sizes: BTreeMap::new(), len: 0 }
    }
    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }
    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The fewest accelerators that one of them asks for.
    #[must_use]
    pub fn smallest(&self) -> u32 {
        self.sizes.keys().next().copied().unwrap_or(u32::MAX)
    }
    fn group(&self, job: &Job) -> usize {
        if self.by_team { job.team as usize } else { 0 }
    }
    /// Adds a job at its place.
    pub fn add(&mut self, job: &Job, place: Place) {
        let group = self.group(job);
        self.groups[group].insert(place);
        *self.sizes.entry(job.ask.accelerators).or_insert(0) += 1;
        self.len += 1;
    }
    /// Takes a job from its place.
    pub fn remove(&mut self, job: &Job, place: Place) {
        let group = self.group(job);
        if self.groups[group].remove(&place) {
            self.len -= 1;
            if let Some(count) = self.sizes.get_mut(&job.ask.accelerators) {
                *count -= 1;
                if *count == 0 {
                    self.sizes.remove(&job.ask.accelerators);
                }
            }
        }
    }
    /// All that wait, group by group.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.iter().flatten().map(|p| p.2)
    }
}

/// One way through the queue, in order; jobs may be taken out meanwhile.
#[derive(Debug)]
pub struct Walk {
    /// The last place that was visited, by group.
    last: Vec<Option<Place>>,
    /// Groups that are closed.
    closed: Vec<bool>,
}

impl Walk {
    /// A new one.
    #[must_use]
    pub fn new(queue: &Queue) -> Self {
        Self { last: vec![None; queue.groups.len()], closed: vec![false; queue.groups.len()] }
    }
    /// The next job and its group.
    pub fn next(&mut self, queue: &Queue, usage: &Usage, teams: &[Team]) -> Option<(u32, usize)> {
        let mut best: Option<(f64, Place, usize)> = None;
        for (group, set) in queue.groups.iter().enumerate().filter(|(g, _)| !self.closed[*g]) {
            let from = self.last[group].map_or(Bound::Unbounded, Bound::Excluded);
            let Some(&place) = set.range((from, Bound::Unbounded)).next() else { continue };
            let share = if queue.by_team { usage.used[group] as f64 / teams.get(group).map_or(1.0, |t| t.weight) } else { 0.0 };
            if best.is_none_or(|(s, p, _)| (share, place) < (s, p)) {
                best = Some((share, place, group));
            }
        }
        let (_, place, group) = best?;
        self.last[group] = Some(place);
        Some((place.2, group))
    }
    /// Nothing of a group is visited any more.
    pub fn close(&mut self, group: usize) {
        self.closed[group] = true;
    }
}

/// Whether a team may start `asked` thousandths more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Out of its own quota.
    Own,
    /// Out of what others of its cohort do not use.
    Borrowed,
    /// Others of its cohort use what is its own.
    Lent,
    /// No.
    No,
}

/// What quotas say.
#[must_use]
pub fn admission(teams: &[Team], usage: &Usage, team: usize, asked: u64) -> Admission {
    let Some(Team { quota: Some(quota), cohort, borrow, .. }) = teams.get(team) else { return Admission::Own };
    let own = u64::from(*quota) * 1000;
    let then = usage.used[team] + asked;
    let Some(cohort) = cohort else { return if then <= own { Admission::Own } else { Admission::No } };
    let members = || teams.iter().enumerate().filter(|(_, t)| t.cohort == Some(*cohort));
    let all: u64 = members().filter_map(|(_, t)| t.quota).map(|q| u64::from(q) * 1000).sum();
    let used: u64 = members().map(|(i, _)| usage.used[i]).sum();
    match (then <= own, used + asked <= all) {
        (true, true) => Admission::Own,
        (true, false) => Admission::Lent,
        (false, true) if then - own <= u64::from(*borrow) * 1000 => Admission::Borrowed,
        _ => Admission::No,
    }
}
