//! Runs requests through the engines of a deployment, event by event.

use super::cost::{Batch, Cost};
use super::gaps::Gaps;
use super::replica::{Limits, Live, Replica, Shared};
use super::request::{Record, Requests};
use super::router::{Router, RouterPolicy};
use super::series::Series;
use crate::engine::{EventQueue, Streams};
use crate::units::SimTime;
use rand_pcg::Pcg64Mcg;

/// How requests come in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// At the moments that the requests name.
    Open,
    /// A fixed number of clients: each sends its next request when its last has ended and it has paused.
    Closed {
        /// Clients.
        clients: usize,
        /// Pause between an answer and the next request, seconds.
        pause: f64,
    },
}

/// The engines of a deployment; those of one class share their iteration times. Each has `ranks` data-parallel ranks with requests of
/// their own that run in step.
pub struct Pool<'f> {
    /// Iteration times by class of hardware.
    pub costs: Vec<Cost<'f>>,
    /// For each engine, its class.
    pub classes: Vec<usize>,
    /// What each rank of each engine is allowed.
    pub limits: Vec<Limits>,
    /// Ranks of an engine that hold requests.
    pub ranks: usize,
    /// Which rank gets a request.
    pub router: RouterPolicy,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Served {
    /// One record a request, in the order of the requests.
    pub records: Vec<Record>,
    /// Gaps between successive tokens.
    pub gaps: Gaps,
    /// Load over time.
    pub series: Series,
    /// Busy seconds of each rank.
    pub busy_s: Vec<f64>,
    /// Iterations of all replicas.
    pub iterations: u64,
    /// Events.
    pub events: u64,
    /// How often a request was put back.
    pub preemptions: u64,
    /// Greatest number of cache blocks in use, and that there are, of the replica that came nearest to its limit.
    pub peak_blocks: (u64, u64),
    /// Cache blocks that requests still hold at the end.
    pub held_blocks: u64,
    /// Requests that no replica could ever hold.
    pub rejected: u64,
    /// Time of the last event, seconds.
    pub end_s: f64,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrive(u32),
    /// An idle engine starts, after everything else of this instant.
    Start(u16),
    End(u16),
}

struct Run<'a, 'f> {
    queue: EventQueue<Event>,
    requests: &'a Requests,
    replicas: Vec<Replica>,
    pool: &'a mut Pool<'f>,
    router: Router,
    arrivals: Arrivals,
    /// The next request of a closed loop, or of an open trace that is not in the queue yet.
    next: u32,
    /// Arrival of the last request of an open stream in the queue.
    sent_until: f64,
    records: Vec<Record>,
    live: Vec<Live>,
    gaps: Gaps,
    series: Series,
    ended: Vec<u32>,
    starting: Vec<bool>,
    busy: Vec<bool>,
    batches: Vec<Batch>,
    rng: Pcg64Mcg,
    rejected: u64,
    events: u64,
}

/// Serves all requests; gaps between tokens are kept from `warm_up` seconds on.
#[must_use]
pub fn serve(pool: &mut Pool<'_>, requests: &Requests, arrivals: Arrivals, warm_up: f64, streams: &Streams) -> Served {
    let limits = pool.limits.iter().flat_map(|&l| std::iter::repeat_n(l, pool.ranks));
    let replicas: Vec<Replica> = limits.enumerate().map(|(i, l)| Replica::new(i as u16, l, requests.hash_tokens)).collect();
    let router = Router::new(pool.router);
    let mut run = Run {
        queue: EventQueue::new(),
        requests,
        starting: vec![false; pool.limits.len()],
        busy: vec![false; pool.limits.len()],
        batches: Vec::new(),
        rng: streams.stream("guesses"),
        replicas,
        pool,
        router,
        arrivals,
        next: 0,
        sent_until: 0.0,
        records: requests.list.iter().map(|r| Record::new(r.arrival)).collect(),
        live: vec![Live::new(); requests.list.len()],
        gaps: Gaps::since(warm_up),
        series: Series::default(),
        ended: Vec::new(),
        rejected: 0,
        events: 0,
    };
    run.all();
    run.finish()
}

impl Run<'_, '_> {
    fn all(&mut self) {
        match self.arrivals {
            Arrivals::Open => self.send_next(0.0),
            Arrivals::Closed { clients, .. } => {
                for _ in 0..clients {
                    self.release(0.0);
                }
            }
        }
        while let Some((at, event)) = self.queue.pop() {
            let now = at.seconds();
            self.events += 1;
            match event {
                Event::Arrive(id) => self.arrive(id, now),
                Event::Start(r) => {
                    self.starting[r as usize] = false;
                    if !self.busy[r as usize] {
                        self.drive(r as usize, now);
                    }
                }
                Event::End(r) => {
                    self.end(r as usize, now);
                    self.drive(r as usize, now);
                }
            }
        }
    }

    /// Puts the requests of an open stream that arrive at `now` and the first later one into the queue, so that all of an instant are there
    /// before an engine starts.
    fn send_next(&mut self, now: f64) {
        while self.sent_until <= now {
            let Some(request) = self.requests.list.get(self.next as usize) else { return };
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

    fn arrive(&mut self, id: u32, now: f64) {
        if self.arrivals == Arrivals::Open {
            self.send_next(now);
        }
        let r = self.router.choose(id, self.requests, &self.replicas);
        let request = &self.requests.list[id as usize];
        if !self.replicas[r].can_hold(request.input, request.output) {
            self.rejected += 1;
            if let Arrivals::Closed { pause, .. } = self.arrivals {
                self.release(now + pause);
            }
            return;
        }
        self.replicas[r].arrive(id, now, self.requests);
        let engine = r / self.pool.ranks;
        if !self.busy[engine] && !self.starting[engine] {
            self.starting[engine] = true;
            self.queue.push(SimTime::new(now), Event::Start(engine as u16));
        }
    }

    /// Runs an engine on from `now`, in place until somebody else's event comes first.
    fn drive(&mut self, r: usize, mut now: f64) {
        loop {
            let Some(end) = self.begin(r, now) else { return };
            if self.queue.next_time().is_some_and(|t| t.seconds() <= end) {
                self.queue.push(SimTime::new(end), Event::End(r as u16));
                return;
            }
            self.events += 1;
            self.end(r, end);
            now = end;
        }
    }

    /// Forms the batches of an engine's ranks; when they end together, if there is anything to do.
    fn begin(&mut self, engine: usize, now: f64) -> Option<f64> {
        let ranks = engine * self.pool.ranks..(engine + 1) * self.pool.ranks;
        let mut batches = std::mem::take(&mut self.batches);
        batches.clear();
        for r in ranks.clone() {
            let (replica, mut shared) = self.split(r);
            batches.push(replica.form(now, &mut shared).unwrap_or_default());
        }
        let any = batches.iter().any(|b| b.decodes > 0 || b.chunks > 0);
        self.busy[engine] = any;
        let seconds = if any { self.pool.costs[self.pool.classes[engine]].time(&batches) } else { 0.0 };
        self.batches = batches;
        if !any {
            return None;
        }
        for r in ranks {
            let (replica, mut shared) = self.split(r);
            replica.launch(now, seconds, &mut shared);
        }
        Some(now + seconds)
    }

    fn end(&mut self, engine: usize, now: f64) {
        for r in engine * self.pool.ranks..(engine + 1) * self.pool.ranks {
            let (replica, mut shared) = self.split(r);
            replica.end(now, &mut shared);
        }
        if let Arrivals::Closed { pause, .. } = self.arrivals {
            for _ in 0..self.ended.len() {
                self.release(now + pause);
            }
        }
        self.ended.clear();
    }

    fn split(&mut self, r: usize) -> (&mut Replica, Shared<'_>) {
        let shared = Shared {
            requests: self.requests,
            records: &mut self.records,
            live: &mut self.live,
            rng: &mut self.rng,
            gaps: &mut self.gaps,
            series: &mut self.series,
            ended: &mut self.ended,
        };
        (&mut self.replicas[r], shared)
    }

    fn finish(self) -> Served {
        let ranks = self.pool.ranks;
        let fullest = self.replicas.iter().enumerate().map(|(i, r)| (r.peak_blocks, self.pool.limits[i / ranks].blocks));
        let share = |x: (u64, u64)| x.0 as f64 / x.1.max(1) as f64;
        Served {
            peak_blocks: fullest.max_by(|a, b| share(*a).total_cmp(&share(*b))).unwrap_or((0, 1)),
            busy_s: self.replicas.iter().map(|r| r.busy_s).collect(),
            held_blocks: self.replicas.iter().map(Replica::held).sum(),
            iterations: self.replicas.iter().map(|r| r.iterations).sum(),
            preemptions: self.replicas.iter().map(|r| r.preemptions).sum(),
            events: self.events,
            rejected: self.rejected,
            end_s: self.queue.now().seconds().max(self.records.iter().filter(|r| r.is_done()).map(|r| r.last).fold(0.0, f64::max)),
            records: self.records,
            gaps: self.gaps,
            series: self.series,
        }
    }
}
