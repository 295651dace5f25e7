//! The event loop of serving: arrivals, requests that end, flows that land.

use super::cost::Batch;
use super::fleet::State;
use super::flows::{Flows, Purpose};
use super::gaps::Gaps;
use super::handover::Hands;
use super::offload::Stores;
use super::replica::{Live, Replica, Role, Shared};
use super::request::{Record, Requests};
use super::router::Router;
use super::series::Series;
use super::simulation::{Arrivals, Pool};
use super::watch::Watch;
use crate::engine::{EventQueue, Streams};
use crate::units::SimTime;
use rand_pcg::Pcg64Mcg;
use std::ops::Range;

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Arrive(u32),
    /// An idle engine starts, after everything else of this instant.
    Start(u16),
    /// The batch of an engine (or lane) ends, if it has not failed since.
    End(u16, u16),
    /// Something that moved over the fabric is there.
    Landed(Purpose),
    /// A look at the load.
    Scale,
    Boot(u16),
    Ready(u16),
    Fail(u32),
    Notice(u16),
    Repaired(u16),
    /// A request has passed the process before a replica, if its engine has not failed since.
    Through(u32, u32, u16),
}

pub(super) struct Run<'a, 'f> {
    pub(super) queue: EventQueue<Event>,
    pub(super) requests: &'a Requests,
    pub(super) replicas: Vec<Replica>,
    pub(super) pool: &'a mut Pool<'f>,
    router: Router,
    arrivals: Arrivals,
    /// For each replica the driver that forms its batches: ranks of an engine share one, lanes have one each.
    pub(super) drivers: Vec<Driver>,
    pub(super) driver_of: Vec<u16>,
    /// For each engine its first driver.
    first_driver: Vec<u16>,
    /// For each engine when its stages are free.
    pub(super) stage_free: Vec<Vec<f64>>,
    /// For each engine when the process before it is free.
    pub(super) front_free: Vec<f64>,
    /// The next request of a closed loop, or of an open trace that is not in the queue yet.
    next: u32,
    /// Arrival of the last request of an open stream in the queue.
    sent_until: f64,
    pub(super) records: Vec<Record>,
    pub(super) live: Vec<Live>,
    /// Where requests stand on engines of prompts, where those are apart.
    pub(super) live_prompts: Vec<Live>,
    pub(super) gaps: Gaps,
    pub(super) series: Series,
    pub(super) ended: Vec<u32>,
    pub(super) handed: Vec<u32>,
    pub(super) kept: Vec<(u32, u32, u32)>,
    pub(super) batches: Vec<Batch>,
    rng: Pcg64Mcg,
    /// What moves over the fabric, where anything does.
    pub(super) flows: Option<Flows<'f>>,
    pub(super) hands: Hands,
    pub(super) stores: Option<Stores>,
    /// For each request what is read of its prompt: from and to which block, for which replica.
    pub(super) loads: Vec<(u32, u32, u32)>,
    pub(super) states: Vec<State>,
    /// Raised when an engine fails.
    pub(super) lives: Vec<u16>,
    /// Requests that wait for an engine to be there.
    pub(super) held: Vec<u32>,
    /// Looks at a low load in a row.
    pub(super) calm: u64,
    pub(super) counted_at: f64,
    pub(super) engine_s: f64,
    pub(super) starts: u64,
    pub(super) moved_requests: u64,
    pub(super) loaded_bytes: f64,
    /// Requests that have not ended.
    pub(super) open_requests: usize,
    pub(super) rejected: u64,
    pub(super) shed: u64,
    pub(super) events: u64,
    pub(super) watches: Vec<Watch>,
    pub(super) warm_up: f64,
    /// Events at the next look at what is watched.
    pub(super) next_look: u64,
}

/// Who forms batches: an engine, or a lane of one with stages.
#[derive(Debug, Clone)]
pub(super) struct Driver {
    pub(super) engine: u16,
    pub(super) replicas: Range<usize>,
    pub(super) busy: bool,
    pub(super) starting: bool,
    /// Iterations in a row in which prompts waited for those of other ranks.
    pub(super) waits: u64,
}

impl<'a, 'f> Run<'a, 'f> {
    pub(super) fn new(pool: &'a mut Pool<'f>, requests: &'a Requests, arrivals: Arrivals, warm_up: f64, streams: &Streams) -> Self {
        let n = requests.list.len();
        let (mut replicas, mut drivers, mut driver_of, mut first_driver) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (e, site) in pool.engines.iter().enumerate() {
            first_driver.push(drivers.len() as u16);
            for _ in 0..site.lanes {
                let first = replicas.len();
                for _ in 0..site.ranks {
                    let mut replica = Replica::new(replicas.len() as u16, site.limits, requests.hash_tokens);
                    replica.open = site.limits.role != Role::Decodes;
                    replicas.push(replica);
                    driver_of.push(drivers.len() as u16);
                }
                drivers.push(Driver { engine: e as u16, replicas: first..replicas.len(), busy: false, starting: false, waits: 0 });
            }
        }
        let apart = pool.engines.iter().any(|e| e.limits.role == Role::Prompts);
        let moves = apart || pool.offload.is_some() || pool.fleet.start.tier.is_some();
        let block = pool.stored_token * f64::from(requests.hash_tokens);
        Self {
            queue: EventQueue::new(),
            requests,
            drivers,
            driver_of,
            first_driver,
            front_free: vec![0.0; pool.engines.len()],
            stage_free: pool.engines.iter().map(|e| vec![0.0; e.lanes]).collect(),
            states: vec![State::Ready; pool.engines.len()],
            lives: vec![0; pool.engines.len()],
            hands: if apart { Hands::new(n, replicas.len()) } else { Hands::default() },
            stores: pool.offload.as_ref().filter(|_| block > 0.0).map(|o| Stores::new(o, pool.fabric.node_count(), block)),
            loads: if pool.offload.is_some() { vec![(0, 0, 0); n] } else { Vec::new() },
            flows: moves.then(|| Flows::new(pool.fabric)),
            live_prompts: if apart { vec![Live::new(); n] } else { Vec::new() },
            replicas,
            router: Router::new(pool.router),
            pool,
            arrivals,
            next: 0,
            sent_until: 0.0,
            records: requests.list.iter().map(|r| Record::new(r.arrival)).collect(),
            live: vec![Live::new(); n],
            gaps: Gaps::since(warm_up),
            series: Series::default(),
            ended: Vec::new(),
            handed: Vec::new(),
            kept: Vec::new(),
            batches: Vec::new(),
            rng: streams.stream("guesses"),
            held: Vec::new(),
            calm: 0,
            counted_at: 0.0,
            engine_s: 0.0,
            starts: 0,
            moved_requests: 0,
            loaded_bytes: 0.0,
            open_requests: n,
            rejected: 0,
            shed: 0,
            events: 0,
            watches: Vec::new(),
            warm_up,
            next_look: 0,
        }
    }
}

impl Run<'_, '_> {
    /// Runs until nothing happens any more; false where a watched percentile is missed before.
    pub(super) fn all(&mut self) -> bool {
        match self.arrivals {
            Arrivals::Open => self.send_next(0.0),
            Arrivals::Closed { clients, .. } => {
                for _ in 0..clients {
                    self.release(0.0);
                }
            }
        }
        loop {
            if self.is_too_late() {
                return false;
            }
            let flow = self.flows.as_mut().and_then(Flows::next);
            let event = self.queue.next_time().map(SimTime::seconds);
            match (flow, event) {
                (Some(at), next) if next.is_none_or(|e| at <= e) => self.flows_end(at),
                (_, None) => return true,
                _ => {
                    if let Some((at, event)) = self.queue.pop() {
                        self.events += 1;
                        self.react(event, at.seconds());
                    }
                }
            }
        }
    }

    fn react(&mut self, event: Event, now: f64) {
        match event {
            Event::Arrive(id) => {
                if self.arrivals == Arrivals::Open {
                    self.send_next(now);
                }
                self.route(id, now);
            }
            Event::Start(d) => {
                self.drivers[d as usize].starting = false;
                if !self.drivers[d as usize].busy {
                    self.drive(d as usize, now);
                }
            }
            Event::End(d, life) => {
                if self.lives[self.drivers[d as usize].engine as usize] == life {
                    self.end(d as usize, now);
                    self.go_on(d as usize, now);
                }
            }
            Event::Landed(purpose) => self.landed(purpose, now),
            Event::Scale => self.scale(now),
            Event::Boot(engine) => self.read_weights(engine as usize, now),
            Event::Ready(engine) => self.ready(engine as usize, now),
            Event::Fail(failure) => self.fail(failure as usize, now),
            Event::Notice(engine) => self.notice(engine as usize, now),
            Event::Through(id, replica, life) => self.through(id, replica as usize, life, now),
            Event::Repaired(engine) => self.start_engine(engine as usize, now),
        }
    }

    /// Flows that end at `now`; what they carried is there after the latency of their ways.
    fn flows_end(&mut self, now: f64) {
        let Some(flows) = &mut self.flows else { return };
        for (purpose, latency) in flows.finish(now) {
            self.events += 1;
            if purpose != Purpose::Store {
                self.queue.push(SimTime::new(now + latency), Event::Landed(purpose));
            }
        }
    }

    fn landed(&mut self, purpose: Purpose, now: f64) {
        match purpose {
            Purpose::Handover(id) => self.handover_landed(id, now),
            Purpose::Load(id) => self.fetched(id, now),
            Purpose::Weights(engine) => self.queue.push(SimTime::new(now + self.pool.fleet.start.warm_up), Event::Ready(engine)),
            Purpose::Store => {}
        }
    }

    /// Puts the requests of an open stream that arrive at `now` and the first later one into the queue, so that all of an instant are there
    /// before an engine starts.
    fn send_next(&mut self, now: f64) {
        while self.sent_until <= now {
            let Some(request) = self.requests.list.get(self.next as usize).filter(|r| r.arrival < f64::INFINITY) else { return };
            self.queue.push(SimTime::new(request.arrival), Event::Arrive(self.next));
            self.sent_until = request.arrival;
            self.next += 1;
        }
    }

    /// Lets a client of a closed loop send its next request.
    fn release(&mut self, at: f64) {
        if (self.next as usize) < self.requests.list.len() {
            self.records[self.next as usize].arrival = at;
            self.queue.push(SimTime::new(at), Event::Arrive(self.next));
            self.next += 1;
        }
    }

    /// Engine of a replica, and which of its data-parallel ranks it is.
    pub(super) fn place_of(&self, replica: usize) -> (usize, usize) {
        let driver = &self.drivers[self.driver_of[replica] as usize];
        (driver.engine as usize, replica - driver.replicas.start)
    }

    /// All ranks and lanes of an engine.
    pub(super) fn replicas_of(&self, engine: usize) -> Range<usize> {
        let first = self.drivers[self.first_driver[engine] as usize].replicas.start;
        first..first + self.pool.engines[engine].replicas()
    }

    /// Whether an engine only gets requests whose prompts are through.
    pub(super) fn is_behind(&self, engine: usize) -> bool {
        self.pool.engines[engine].limits.role == Role::Decodes
    }

    /// Sends a request to an engine.
    pub(super) fn route(&mut self, id: u32, now: f64) {
        let Some(r) = self.router.choose(id, self.requests, &self.replicas) else {
            self.held.push(id);
            return;
        };
        let request = &self.requests.list[id as usize];
        let holds = self.replicas[r].can_hold(request.input, request.output) && self.hands.can_hold(&self.replicas, request);
        if !holds {
            self.rejected += self.refuse(id, now);
        } else if self.is_new(id) && self.pool.fleet.max_waiting.is_some_and(|most| self.replicas[r].queued() >= most) {
            self.shed += self.refuse(id, now);
        } else if !self.fetch(id, r, now) {
            self.enqueue(id, r, now);
        }
    }

    /// Whether a request has never run.
    pub(super) fn is_new(&self, id: u32) -> bool {
        self.records[id as usize].scheduled == f64::INFINITY
    }

    /// A request is not served, nor what follows it in its session: how many these are.
    fn refuse(&mut self, id: u32, now: f64) -> u64 {
        if let Arrivals::Closed { pause, .. } = self.arrivals {
            self.release(now + pause);
        }
        let mut count = 1;
        let mut at = id;
        while let Some(next) = self.requests.turns.get(at as usize).and_then(|t| t.next) {
            at = next;
            count += 1;
        }
        self.open_requests -= count;
        count as u64
    }

    /// What requests that ended set off.
    pub(super) fn after_requests(&mut self, now: f64) {
        self.open_requests -= self.ended.len();
        if let Arrivals::Closed { pause, .. } = self.arrivals {
            for _ in 0..self.ended.len() {
                self.release(now + pause);
            }
        }
        if !self.requests.turns.is_empty() {
            for &id in &self.ended {
                let turn = self.requests.turns[id as usize];
                if let Some(next) = turn.next {
                    self.records[next as usize].arrival = now + turn.pause;
                    self.queue.push(SimTime::new(now + turn.pause), Event::Arrive(next));
                }
            }
        }
        self.ended.clear();
    }

    pub(super) fn split(&mut self, r: usize) -> (&mut Replica, Shared<'_>) {
        let apart = !self.live_prompts.is_empty() && self.replicas[r].role() == Role::Prompts;
        let shared = Shared {
            requests: self.requests,
            records: &mut self.records,
            live: if apart { &mut self.live_prompts } else { &mut self.live },
            rng: &mut self.rng,
            gaps: &mut self.gaps,
            series: &mut self.series,
            ended: &mut self.ended,
            handed: &mut self.handed,
            kept: &mut self.kept,
        };
        (&mut self.replicas[r], shared)
    }
}
