//! Jobs on a cluster over time: arrivals, starts, stops and ends as events; after every instant the policy looks at the queue.

use super::autoscale::NodeLife;
use super::cluster::{Cluster, Condition};
use super::grant::Grant;
use super::graph::Graph;
use super::job::{Job, Policy, Team, Work};
use super::order::{Order, Place, Queue, Usage, order};
use super::outage::{OutageState, Outages};
use super::place::{Placement, placement};
use super::planned::Slot;
use super::region::{Copies, Failover, RegionLoss, WayBack};
use super::service::{Service, ServiceState};
use super::step_times::StepTimes;
use super::tally::{Fate, Series, Stay};
use crate::engine::EventQueue;
use crate::units::SimTime;
use rand_pcg::Pcg64Mcg;
use std::collections::{BTreeMap, BTreeSet};

/// All that a replay needs but the policy.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The cluster, all free.
    pub cluster: Cluster,
    /// Jobs by submission; those that wait for others at the end, with an infinite one.
    pub jobs: Vec<Job>,
    /// Who waits for whom.
    pub graph: Graph,
    /// Teams.
    pub teams: Vec<Team>,
    /// What breaks and what is maintained.
    pub outages: Outages,
    /// Services.
    pub services: Vec<Service>,
    /// Seconds that a step of each model takes by itself: what is said of jobs before they run.
    pub steps: Vec<f64>,
    /// Seconds after which it stops, whatever still runs.
    pub horizon: Option<f64>,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// Which stays of jobs on nodes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// On the first so many nodes.
    pub nodes: u32,
    /// At most so many.
    pub most: usize,
}

impl Keep {
    /// None.
    pub const NONE: Self = Self { nodes: 0, most: 0 };
    /// All.
    pub const ALL: Self = Self { nodes: u32::MAX, most: usize::MAX };
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// What happened to each job; replicas of services follow.
    pub fates: Vec<Fate>,
    /// The end: of the last job, or the horizon.
    pub end: f64,
    /// Use over time: accelerators in use, free, free on nodes that are in part used, present, jobs waiting.
    pub series: Series<5>,
    /// Where jobs lay, as far as they are kept.
    pub stays: Vec<Stay>,
    /// Events.
    pub events: u64,
    /// Failures of nodes and jobs that came.
    pub failures: u64,
    /// Spot nodes that were taken away.
    pub reclaims: u64,
    /// Regions that were lost.
    pub region_losses: Vec<RegionLoss>,
    /// Jobs whose region was lost.
    pub ways_back: Vec<WayBack>,
    /// Services that lost replicas with a region.
    pub failovers: Vec<Failover>,
    /// Seconds that nodes were there, by pool.
    pub node_seconds: Vec<f64>,
    /// What became of the services.
    pub services: Vec<ServiceState>,
    /// Classes of their replicas, which are numbered after the jobs.
    pub replica_classes: Vec<u16>,
}

/// Something that happens at a time of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Event {
    /// A job ends, if it has not been touched since.
    Finish { job: u32, generation: u32 },
    /// A failure of a class.
    Failure { class: u32 },
    /// A node works again.
    Repair { node: u32 },
    /// A maintenance begins to drain, begins, ends.
    Maintenance { which: u32, phase: u8 },
    /// The services and the elastic pools are looked at.
    Scale,
    /// A node of an elastic pool has come up.
    Arrive { node: u32 },
    /// A replica of a service is warm.
    Warm { job: u32, generation: u32 },
    /// The next read of weights ends, if none has begun or ended since.
    Read { generation: u32 },
    /// A region is lost at a known time.
    RegionLoss { which: u32 },
    /// The nodes of a region are back.
    RegionBack { region: u16 },
    /// Notice is given of a spot node of a group.
    Reclaim { which: u32 },
    /// A spot node goes.
    TakeAway { node: u32, which: u32 },
}

/// A job while it is there.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Seconds or steps that are left at `since`.
    pub(super) left: f64,
    /// What was left at the start of this attempt: where a failure throws it back to, but for checkpoints.
    pub(super) base: f64,
    /// Seconds that one second of work or one step takes, saving included; 0: not known yet.
    pub(super) pace: f64,
    /// Seconds of one step; 1 for jobs by time.
    pub(super) unit: f64,
    /// From when on it comes forward.
    pub(super) since: f64,
    /// When this attempt started.
    pub(super) started: f64,
    /// Accelerators that it holds.
    pub(super) size: u32,
    pub(super) generation: u32,
    pub(super) grant: Option<Grant>,
    /// What of it lies in which region, where there are several.
    pub(super) copies: Option<Box<Copies>>,
    /// Its place among those that run.
    pub(super) end: f64,
}

pub(super) struct Sim<'a> {
    pub(super) set: &'a Fleet,
    pub(super) policy: &'a Policy,
    pub(super) keep: Keep,
    pub(super) order: &'static dyn Order,
    pub(super) placement: &'static dyn Placement,
    pub(super) cluster: Cluster,
    pub(super) queue: Queue,
    pub(super) usage: Usage,
    pub(super) states: Vec<State>,
    /// Replicas of services, numbered after the jobs, and whose they are.
    pub(super) extra: Vec<Job>,
    pub(super) owners: Vec<u32>,
    pub(super) versions: Vec<u32>,
    /// What elastic pools remember of nodes.
    pub(super) lives: Vec<NodeLife>,
    /// Jobs that run, by the end that is said of them.
    pub(super) running: BTreeSet<(SimTime, u32)>,
    pub(super) events: EventQueue<Event>,
    pub(super) now: f64,
    pub(super) steps: &'a mut dyn StepTimes,
    pub(super) outages: OutageState,
    pub(super) counts_only: bool,
    /// Reservations by node, of jobs that wait.
    pub(super) slots: BTreeMap<u32, Slot>,
    /// Whether any job gives way to all others.
    pub(super) spot: bool,
    pub(super) out: Replayed,
    /// Nodes that come back with a region that is away, by region.
    pub(super) lost_nodes: Vec<Option<Vec<u32>>>,
    /// Services that have not failed over yet.
    pub(super) open_failovers: Vec<usize>,
    /// What is drawn of spot nodes, by group.
    pub(super) spot_streams: Vec<Pcg64Mcg>,
    pub(super) changed: Vec<(u32, f64)>,
    /// Ends that each job still waits for.
    pub(super) needs: Vec<u32>,
    /// Reads of weights: how often they changed, and the end that is waited for.
    pub(super) reads: (u32, f64),
    /// Jobs that come to an end and have not yet.
    pub(super) open: usize,
}

/// Runs the jobs of a fleet under a policy.
#[must_use]
pub fn replay(set: &Fleet, policy: &Policy, steps: &mut dyn StepTimes, keep: Keep) -> Replayed {
    let rule = order(policy.order);
    let plain = |j: &Job| {
        let a = &j.ask;
        a.accelerators > 0 && a.share == 1000 && a.chunk <= 1 && a.cpus == 0.0 && a.memory == 0.0 && a.within == super::Within::Any
    };
    let named = set.jobs.iter().map(|j| j.team).chain(set.services.iter().map(|s| s.team)).max().map_or(1, |t| t as usize + 1);
    let teams = named.max(set.teams.len());
    let mut sim = Sim {
        set,
        policy,
        keep,
        order: rule,
        placement: placement(policy.placement),
        cluster: set.cluster.clone(),
        queue: Queue::new(rule.by_team(), teams),
        usage: Usage { used: vec![0; teams] },
        states: vec![State::default(); set.jobs.len()],
        extra: Vec::new(),
        owners: Vec::new(),
        versions: Vec::new(),
        lives: Vec::new(),
        running: BTreeSet::new(),
        events: EventQueue::new(),
        now: 0.0,
        steps,
        outages: OutageState::default(),
        spot: set.jobs.iter().any(|j| j.spot),
        counts_only: set.jobs.iter().all(plain) && set.services.is_empty(),
        slots: BTreeMap::new(),
        out: Replayed {
            fates: vec![Fate::NONE; set.jobs.len()],
            end: 0.0,
            series: Series::default(),
            stays: Vec::new(),
            events: 0,
            failures: 0,
            reclaims: 0,
            region_losses: Vec::new(),
            ways_back: Vec::new(),
            failovers: Vec::new(),
            node_seconds: vec![0.0; set.cluster.pools().len()],
            services: Vec::new(),
            replica_classes: Vec::new(),
        },
        lost_nodes: Vec::new(),
        open_failovers: Vec::new(),
        spot_streams: Vec::new(),
        changed: Vec::new(),
        needs: set.graph.needs(set.jobs.len()),
        reads: (0, f64::INFINITY),
        open: set.jobs.len(),
    };
    sim.begin_regions();
    sim.begin_outages();
    sim.begin_spot();
    sim.begin_services();
    sim.run();
    sim.out
}

impl Sim<'_> {
    pub(super) fn job(&self, id: u32) -> &Job {
        let id = id as usize;
        self.set.jobs.get(id).unwrap_or_else(|| &self.extra[id - self.set.jobs.len()])
    }

    fn run(&mut self) {
        let mut next = 0;
        loop {
            let arrival = self.set.jobs.get(next).map(|j| j.submit).filter(|t| t.is_finite());
            let event = self.events.next_time().map(SimTime::seconds);
            if self.open == 0 && self.set.horizon.is_none() {
                break;
            }
            let Some(at) = [arrival, event].into_iter().flatten().min_by(f64::total_cmp) else { break };
            if let Some(horizon) = self.set.horizon.filter(|h| at > *h) {
                self.pass_time(horizon);
                break;
            }
            self.pass_time(at);
            while self.set.jobs.get(next).is_some_and(|j| j.submit <= at) {
                self.out.events += 1;
                self.submit(next as u32);
                next += 1;
            }
            while self.events.next_time().is_some_and(|t| t.seconds() <= at) {
                let Some((_, event)) = self.events.pop() else { break };
                self.handle(event);
            }
            self.schedule();
            self.apply_steps();
            self.await_reads();
        }
        self.close();
    }

    /// Counts what was from the last instant until now.
    fn pass_time(&mut self, now: f64) {
        let (free, broken) = self.cluster.free_and_broken();
        let values = [self.cluster.used(), free, broken, self.cluster.present() as f64, self.queue.len() as f64];
        self.out.series.until(now, values);
        self.serve_until(now);
        self.now = now;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Finish { job, generation } if self.states[job as usize].generation == generation => {
                self.out.events += 1;
                self.finish(job);
            }
            Event::Finish { .. } => {}
            Event::Failure { class } => self.fail(class),
            Event::Repair { node } => self.repair(node),
            Event::Maintenance { which, phase } => self.maintain(which, phase),
            Event::Scale => self.scale(),
            Event::Arrive { node } => self.arrive(node),
            Event::Warm { job, generation } => self.warm(job, generation),
            Event::Read { generation } => self.end_reads(generation),
            Event::RegionLoss { which } => {
                let outage = self.set.outages.regions[which as usize];
                self.lose_region(outage.region, 0.0, outage.lasts);
            }
            Event::RegionBack { region } => self.region_back(region),
            Event::Reclaim { which } => self.reclaim(which),
            Event::TakeAway { node, which } => self.take_away(node, which),
        }
    }

    /// A job comes; what can never start is turned away.
    pub(super) fn submit(&mut self, id: u32) {
        let job = *self.job(id);
        self.out.fates[id as usize].ready = self.now;
        let work = match job.work {
            Work::Time(seconds) => seconds,
            Work::Steps { steps, .. } => steps,
            Work::Endless => f64::INFINITY,
        };
        let state = &mut self.states[id as usize];
        let unit = if let Work::Steps { model, .. } = job.work { self.set.steps[model as usize] } else { 1.0 };
        (state.left, state.base, state.unit, state.size) = (work, work, unit, job.ask.accelerators);
        if !self.can_ever(&job) {
            self.out.fates[id as usize].rejected = true;
            self.open -= 1;
            return;
        }
        self.enqueue(id);
    }

    pub(super) fn enqueue(&mut self, id: u32) {
        let (job, place) = (*self.job(id), self.place_of(id));
        self.queue.add(&job, place);
    }

    /// The place of a job in the queue, or where it would stand if it waited.
    pub(super) fn place_of(&self, id: u32) -> Place {
        let job = self.job(id);
        (job.spot, SimTime::new(self.order.key(job, self.left(id) * self.states[id as usize].unit)), id)
    }

    /// What is left of a job now.
    pub(super) fn left(&self, id: u32) -> f64 {
        let state = &self.states[id as usize];
        if state.grant.is_some() && self.now > state.since && state.pace > 0.0 {
            (state.left - (self.now - state.since) / state.pace).max(0.0)
        } else {
            state.left
        }
    }

    /// Seconds that a waiting job is said to take.
    pub(super) fn said(&self, id: u32) -> f64 {
        let (job, state) = (self.job(id), &self.states[id as usize]);
        let again = if self.out.fates[id as usize].start >= 0.0 { job.restart } else { 0.0 };
        (state.left * state.unit / job.productive() + again) * self.policy.estimate
    }

    /// What is still there at the end counts for what it held.
    fn close(&mut self) {
        let running: Vec<u32> = self.running.iter().map(|r| r.1).collect();
        for id in running {
            self.withdraw(id);
        }
        self.out.end = self.out.end.max(self.now.min(self.set.horizon.unwrap_or(f64::INFINITY)));
        self.close_failovers();
        self.close_pools();
    }

    /// Whether a node is there: it counts for what is paid.
    pub(super) fn is_there(&self, node: u32) -> bool {
        self.cluster.condition(node) != Condition::Down
    }
}
