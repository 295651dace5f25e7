//! Jobs that wait for others: the steps of pipelines as a graph of jobs.
//!
//! A job with predecessors is submitted when the last of them ends; from then on it queues like any other.

use super::job::Job;
use super::replay::Sim;
use super::tally::Fate;
use std::collections::BTreeMap;

/// Who waits for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// A job and one that waits for its end, in order.
    edges: Vec<(u32, u32)>,
}

/// One run of a pipeline: jobs that hang together.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineRun {
    /// Its jobs by number.
    pub jobs: Vec<u32>,
    /// Seconds from the first submission to the last end; negative: it has not ended.
    pub seconds: f64,
    /// Jobs that its end waited for, from the first on: each was submitted when the one before ended.
    pub critical: Vec<u32>,
}

impl Graph {
    /// From pairs of a job and one that waits for it.
    #[must_use]
    pub fn new(mut edges: Vec<(u32, u32)>) -> Self {
        edges.sort_unstable();
        edges.dedup();
        Self { edges }
    }
    /// Whether nobody waits for anybody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }
    /// How many ends each job waits for; empty where none waits.
    pub(super) fn needs(&self, jobs: usize) -> Vec<u32> {
        let mut out = vec![0; if self.edges.is_empty() { 0 } else { jobs }];
        self.edges.iter().for_each(|e| out[e.1 as usize] += 1);
        out
    }
    /// Jobs that wait for one.
    fn after(&self, job: u32) -> impl Iterator<Item = u32> + '_ {
        let from = self.edges.partition_point(|e| e.0 < job);
        self.edges[from..].iter().take_while(move |e| e.0 == job).map(|e| e.1)
    }

    /// The runs of pipelines, by their first job, and what became of each.
    #[must_use]
    pub fn runs(&self, jobs: &[Job], fates: &[Fate]) -> Vec<PipelineRun> {
        let mut root: BTreeMap<u32, u32> = BTreeMap::new();
        fn find(root: &BTreeMap<u32, u32>, mut at: u32) -> u32 {
            while let Some(&up) = root.get(&at).filter(|up| **up != at) {
                at = up;
            }
            at
        }
        let mut before: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for &(a, b) in &self.edges {
            before.entry(b).or_default().push(a);
            let (x, y) = (find(&root, a), find(&root, b));
            root.insert(x, x.min(y));
            root.insert(y, x.min(y));
        }
        let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for &(a, b) in &self.edges {
            for job in [a, b] {
                groups.entry(find(&root, job)).or_default().push(job);
            }
        }
        let run = |mut list: Vec<u32>| {
            list.sort_unstable();
            list.dedup();
            let end = |j: u32| fates[j as usize].end;
            let first = list.iter().map(|j| jobs[*j as usize].submit).fold(f64::INFINITY, f64::min);
            let ended = list.iter().all(|j| end(*j) >= 0.0);
            let last = list.iter().copied().max_by(|a, b| end(*a).total_cmp(&end(*b)).then(b.cmp(a)));
            let mut critical = Vec::new();
            let mut at = last.filter(|_| ended);
            while let Some(job) = at {
                critical.push(job);
                at = before.get(&job).into_iter().flatten().copied().max_by(|a, b| end(*a).total_cmp(&end(*b)).then(b.cmp(a)));
            }
            critical.reverse();
            let seconds = last.filter(|_| ended).map_or(-1.0, |l| end(l) - first);
            PipelineRun { jobs: list, seconds, critical }
        };
        groups.into_values().map(run).collect()
    }
}

impl Sim<'_> {
    /// A job has ended: what waited for nothing else is submitted.
    pub(super) fn release(&mut self, id: u32) {
        let set = self.set;
        for next in set.graph.after(id) {
            self.needs[next as usize] -= 1;
            if self.needs[next as usize] == 0 {
                self.out.events += 1;
                self.submit(next);
            }
        }
    }
}
