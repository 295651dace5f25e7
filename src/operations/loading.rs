//! The feeding of data: workers read and decode batches ahead, steps take them in order and meet at a barrier.
//!
//! All hosts of a job do the same, so one is simulated, with its share of what the tier gives to all of them reading at once. Every
//! accelerator has `workers`; worker k mod W reads batch k whole; at most `outstanding` batches are read or waiting. Readers share the
//! supply of the host equally. A step begins when every accelerator has its next batch and the step before has ended.

use crate::choice;
use crate::engine::{EventQueue, Streams};
use crate::fabric::{AcceleratorId, Fabric, LinkKind, TierId};
use crate::storage::{Client, Direction, transfer};
use crate::units::SimTime;
use std::collections::VecDeque;

use super::draw::normal;

choice! {
    /// In which order samples are read.
    pub enum Order {
        /// One record here, one there: each is a request of its own.
        Random = "random",
        /// Files from beginning to end, in large requests.
        Sequential = "sequential",
    }
}

/// Where the data lie and how they are read.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedPlan {
    /// The tier.
    pub tier: TierId,
    /// Bytes of a sample.
    pub sample_bytes: f64,
    /// Standard deviation of a sample's bytes over their mean.
    pub sample_spread: f64,
    /// Samples in one file.
    pub samples_per_file: f64,
    /// Samples of the data set; infinite where nothing depends on it.
    pub samples: f64,
    /// Order of reading.
    pub order: Order,
    /// Workers of each reading accelerator.
    pub workers: u32,
    /// Batches of each worker that are read or wait.
    pub prefetch: u32,
    /// Core seconds to decode one sample.
    pub decode: f64,
    /// Seconds that the hand-over of a batch and the loop add to every step.
    pub overhead: f64,
    /// Share of host memory that holds data between epochs.
    pub cache: f64,
    /// The tier that holds them instead.
    pub cache_tier: Option<TierId>,
    /// Whether every host reads the same part of the data in every epoch.
    pub sharded: bool,
}

/// One host that reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Host {
    /// Reading accelerators.
    pub readers: u32,
    /// Samples of one accelerator and step.
    pub batch: f64,
    /// Seconds of one step's compute.
    pub compute: f64,
    /// Bytes per second that the host gets.
    pub supply: f64,
    /// Cores that decode.
    pub cores: f64,
    /// Steps to simulate.
    pub steps: u32,
}

/// How a host was fed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Feed {
    /// Seconds until the first step began.
    pub first: f64,
    /// Seconds of all steps with the first wait.
    pub total: f64,
    /// Mean seconds from step to step, the first left out.
    pub step: f64,
    /// Mean seconds that a step waited for data.
    pub wait: f64,
    /// Share of the time in which accelerators compute, the first step left out.
    pub utilization: f64,
    /// Samples per second of the host over the whole time.
    pub samples_per_s: f64,
}

/// Readers of one host that share its supply equally: each has been served the same bytes since it began.
struct Supply {
    rate: f64,
    each: f64,
    reads: EventQueue<u32>,
    served: f64,
    at: f64,
}

impl Supply {
    fn speed(&self) -> f64 {
        (self.rate / self.reads.len().max(1) as f64).min(self.each)
    }
    fn advance(&mut self, now: f64) {
        if !self.reads.is_empty() {
            self.served += self.speed() * (now - self.at);
        }
        self.at = now;
    }
    fn start(&mut self, now: f64, bytes: f64, token: u32) {
        self.advance(now);
        self.reads.push(SimTime::new(self.served.max(self.reads.now().seconds()) + bytes), token);
    }
    fn next(&self) -> Option<f64> {
        let end = self.reads.next_time()?.seconds();
        Some(self.at + ((end - self.served) / self.speed()).max(0.0))
    }
    fn finish(&mut self, now: f64) -> Option<u32> {
        self.advance(now);
        let (end, token) = self.reads.pop()?;
        self.served = self.served.max(end.seconds());
        Some(token)
    }
}

#[derive(Clone, Copy)]
enum Event {
    Decoded(u32),
    StepEnd,
}

struct Loader<'a> {
    plan: &'a FeedPlan,
    host: Host,
    supply: Supply,
    queue: EventQueue<Event>,
    /// Batches that each worker still has to read.
    work: Vec<VecDeque<u32>>,
    /// The batch that each worker reads.
    reading: Vec<u32>,
    busy: Vec<bool>,
    /// For every accelerator which of its outstanding batches are ready.
    ready: Vec<Vec<bool>>,
    step: u32,
    running: bool,
    waited_since: f64,
    wait: f64,
    first: f64,
    outstanding: u32,
    decode: f64,
    stream: rand_pcg::Pcg64Mcg,
}

/// Simulates one host; the same seed gives the same sizes of samples.
#[must_use]
pub fn feed_host(plan: &FeedPlan, host: Host, seed: u64) -> Feed {
    let workers = plan.workers.max(1);
    let all = (host.readers * workers) as usize;
    let outstanding = workers * plan.prefetch.max(1);
    // Cores are shared when all workers decode at once.
    let slow = (f64::from(host.readers * workers) / host.cores).max(1.0);
    let mut loader = Loader {
        plan,
        host,
        supply: Supply { rate: host.supply, each: f64::INFINITY, reads: EventQueue::new(), served: 0.0, at: 0.0 },
        queue: EventQueue::new(),
        work: vec![VecDeque::new(); all],
        reading: vec![0; all],
        busy: vec![false; all],
        ready: vec![vec![false; outstanding as usize]; host.readers as usize],
        step: 0,
        running: false,
        waited_since: 0.0,
        wait: 0.0,
        first: 0.0,
        outstanding,
        decode: plan.decode * host.batch * slow,
        stream: Streams::new(seed).stream("sizes of samples"),
    };
    loader.run()
}

impl Loader<'_> {
    fn run(&mut self) -> Feed {
        for reader in 0..self.host.readers {
            for batch in 0..self.outstanding.min(self.host.steps) {
                self.issue(0.0, reader, batch);
            }
        }
        let mut now = 0.0f64;
        while self.step < self.host.steps {
            let (read, event) = (self.supply.next(), self.queue.next_time().map(SimTime::seconds));
            match (read, event) {
                (Some(r), e) if e.is_none_or(|e| r < e) => {
                    now = now.max(r);
                    if let Some(worker) = self.supply.finish(now) {
                        if self.decode > 0.0 {
                            self.queue.push(SimTime::new(now + self.decode), Event::Decoded(worker));
                        } else {
                            self.batch_ready(now, worker);
                        }
                    }
                }
                (_, Some(e)) => {
                    now = now.max(e);
                    match self.queue.pop() {
                        Some((_, Event::Decoded(worker))) => self.batch_ready(now, worker),
                        _ => {
                            self.running = false;
                            self.step += 1;
                            self.waited_since = now;
                            self.begin(now);
                        }
                    }
                }
                _ => break,
            }
        }
        let steady = f64::from(self.host.steps - 1).max(1.0);
        let step =
            if self.host.steps > 1 { (now - self.first - self.host.compute - self.plan.overhead) / steady } else { now - self.first };
        Feed {
            first: self.first,
            total: now,
            step,
            wait: self.wait / steady,
            utilization: self.host.compute / step,
            samples_per_s: f64::from(self.host.steps) * self.host.batch * f64::from(self.host.readers) / now,
        }
    }

    /// Gives a batch to its worker.
    fn issue(&mut self, now: f64, reader: u32, batch: u32) {
        let worker = reader * self.plan.workers.max(1) + batch % self.plan.workers.max(1);
        self.work[worker as usize].push_back(batch);
        self.read_next(now, worker);
    }

    fn read_next(&mut self, now: f64, worker: u32) {
        if self.busy[worker as usize] {
            return;
        }
        let Some(batch) = self.work[worker as usize].pop_front() else { return };
        self.busy[worker as usize] = true;
        self.reading[worker as usize] = batch;
        let mut bytes = self.host.batch * self.plan.sample_bytes;
        if self.plan.sample_spread > 0.0 {
            // The mean of a batch of independent sizes; a size is never below a hundredth of the mean.
            let sigma = self.plan.sample_spread / libm::sqrt(self.host.batch.max(1.0));
            bytes *= (1.0 + sigma * normal(&mut self.stream)).max(0.01);
        }
        self.supply.start(now, bytes, worker);
    }

    fn batch_ready(&mut self, now: f64, worker: u32) {
        self.busy[worker as usize] = false;
        let (reader, batch) = (worker / self.plan.workers.max(1), self.reading[worker as usize]);
        self.ready[reader as usize][(batch % self.outstanding) as usize] = true;
        self.read_next(now, worker);
        self.begin(now);
    }

    /// Begins the next step if every accelerator has its batch.
    fn begin(&mut self, now: f64) {
        if self.running || self.step >= self.host.steps {
            return;
        }
        let slot = (self.step % self.outstanding) as usize;
        if !self.ready.iter().all(|r| r[slot]) {
            return;
        }
        if self.step == 0 {
            self.first = now;
        } else {
            self.wait += now - self.waited_since;
        }
        self.running = true;
        for reader in 0..self.host.readers {
            self.ready[reader as usize][slot] = false;
            let next = self.step + self.outstanding;
            if next < self.host.steps {
                self.issue(now, reader, next);
            }
        }
        self.queue.push(SimTime::new(now + self.host.compute + self.plan.overhead), Event::StepEnd);
    }
}

/// Bytes of one request to the tier of the data.
#[must_use]
pub fn request_of(plan: &FeedPlan, fabric: &Fabric) -> f64 {
    let most = fabric.tier(plan.tier).request.max(1.0);
    match plan.order {
        Order::Random => plan.sample_bytes.min(most),
        Order::Sequential => (plan.sample_bytes * plan.samples_per_file).min(most),
    }
}

/// Bytes per second that one of the hosts gets when all `readers` read at once, and the share of reads that memory serves after the first
/// epoch; `None` where a host has no way to the tier.
#[must_use]
pub fn supply(plan: &FeedPlan, fabric: &Fabric, readers: &[AcceleratorId], hosts: usize) -> Option<(f64, f64)> {
    let tier = fabric.tier(plan.tier);
    let file = plan.sample_bytes * plan.samples_per_file;
    let request = request_of(plan, fabric);
    let clients: Vec<Client> = readers.iter().map(|&at| Client { at, bytes: 1e5 * file, files: 1e5 }).collect();
    let whole = transfer(fabric, plan.tier, Direction::Read, &clients, request)?;
    let opens = if tier.kind.is_local() { f64::INFINITY } else { tier.metadata_rate * file };
    let rate = whole.rate(fabric).min(opens) / hosts as f64;
    let held = match plan.cache_tier.map(|id| fabric.tier(id)) {
        // What every node has holds its own part of the data, or the same part as all others.
        Some(kept) if kept.kind.is_local() && !plan.sharded => kept.capacity / fabric.node_count() as f64,
        Some(kept) => kept.capacity,
        None => {
            let memory: f64 = fabric.host(fabric.site(readers[0]).node).memory.get() * plan.cache;
            if plan.sharded { memory * hosts as f64 } else { memory }
        }
    };
    Some((rate, (held / (plan.samples * plan.sample_bytes)).min(1.0)))
}

/// Bytes per second that one of the hosts gets from what keeps the data when all `readers` read at once; `None` where there is no way.
#[must_use]
pub fn kept_rate(plan: &FeedPlan, fabric: &Fabric, readers: &[AcceleratorId], hosts: usize) -> Option<f64> {
    match plan.cache_tier {
        Some(id) => supply(&FeedPlan { tier: id, cache_tier: None, ..plan.clone() }, fabric, readers, hosts).map(|s| s.0),
        None => Some(memory_rate(fabric, readers[0])),
    }
}

/// What the memory of a host gives at most, bytes per second.
#[must_use]
fn memory_rate(fabric: &Fabric, at: AcceleratorId) -> f64 {
    let mut least = f64::INFINITY;
    fabric.copy_route(at, false, &mut |link, _| {
        if fabric.link(link).kind == LinkKind::HostMemory {
            least = least.min(fabric.link(link).capacity);
        }
    });
    least
}

/// The most accelerators of one host that stay above a utilisation, by simulation of each count.
#[must_use]
pub fn sustained(plan: &FeedPlan, host: Host, target: f64, seed: u64) -> u32 {
    let above = |readers: u32| feed_host(plan, Host { readers, ..host }, seed).utilization >= target;
    if host.compute / (host.compute + plan.overhead) < target {
        return 0;
    }
    let demand = host.batch * plan.sample_bytes / host.compute;
    let guess = (host.supply / (target * demand)).floor().clamp(1.0, 4096.0) as u32;
    let mut at = guess;
    while at > 0 && !above(at) {
        at -= 1;
    }
    while at < 4096 && above(at + 1) {
        at += 1;
    }
    at
}
