//! Engines of a deployment on a cluster, and what comes of a run.

use super::cost::Cost;
use super::deployment::DeployError;
use super::fleet::Fleet;
use super::gaps::Gaps;
use super::offload::Offload;
use super::replica::{Limits, Replica};
use super::request::{Record, Requests};
use super::router::RouterPolicy;
use super::run::Run;
use super::series::Series;
use super::watch::Watch;
use crate::engine::Streams;
use crate::fabric::{AcceleratorId, Fabric};

/// How requests come in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// At the moments that the requests name, or that follow from earlier turns of their sessions.
    Open,
    /// A fixed number of clients: each sends its next request when its last has ended and it has paused.
    Closed {
        /// Clients.
        clients: usize,
        /// Pause between an answer and the next request, seconds.
        pause: f64,
    },
}

/// One engine on the cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineSite {
    /// Which iteration times it has.
    pub class: usize,
    /// What each of its ranks (or lanes) is allowed.
    pub limits: Limits,
    /// Data-parallel ranks with requests of their own that run in step.
    pub ranks: usize,
    /// Stages, and batches in flight, each with requests and blocks of its own.
    pub lanes: usize,
    /// Its first accelerator.
    pub first: AcceleratorId,
    /// Accelerators of a stage of one data-parallel rank.
    pub tensor: u64,
    /// Bytes of the weights on one rank.
    pub weights: f64,
    /// Bytes that it takes of one rank's memory.
    pub taken: f64,
    /// The engine whose clock its iterations go by: the first on its accelerators.
    pub turns: usize,
    /// Whether it takes turns with others.
    pub shares: bool,
}

impl EngineSite {
    /// Places with requests of their own: ranks or lanes.
    #[must_use]
    pub const fn replicas(&self) -> usize {
        self.ranks * self.lanes
    }
    /// Accelerators.
    #[must_use]
    pub const fn accelerators(&self) -> u64 {
        self.tensor * self.replicas() as u64
    }
}

/// The engines of a deployment; those of one class share their iteration times.
pub struct Pool<'f> {
    /// The cluster.
    pub fabric: &'f Fabric,
    /// Iteration times by class of hardware.
    pub costs: Vec<Cost<'f>>,
    /// The engines; those of prompts first, where they are apart.
    pub engines: Vec<EngineSite>,
    /// Which rank gets a request.
    pub router: RouterPolicy,
    /// Whether keys and values are handed on layer by layer while the prompt runs.
    pub by_layers: bool,
    /// Bytes of one token's keys and values on all ranks of the engine that decodes.
    pub handed_token: f64,
    /// The same once.
    pub stored_token: f64,
    /// Layers of the model.
    pub layers: f64,
    /// Where cached prompts go beside device memory.
    pub offload: Option<Offload>,
    /// How engines come and go.
    pub fleet: Fleet,
}

impl Pool<'_> {
    /// Lets engines on the same accelerators take turns.
    pub(super) fn share_turns(&mut self) -> Result<(), DeployError> {
        for e in 0..self.engines.len() {
            let first = self.engines[e].first;
            let Some(before) = self.engines[..e].iter().position(|o| o.first == first) else { continue };
            (self.engines[e].turns, self.engines[e].shares, self.engines[before].shares) = (before, true, true);
            let need = self.engines[..=e].iter().filter(|o| o.first == first).map(|o| o.taken).sum::<f64>();
            let capacity = self.fabric.part(first).memory.get();
            if need > capacity {
                return Err(DeployError::Shared(need, capacity));
            }
        }
        Ok(())
    }
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
    /// Requests that no replica could ever hold, with what would have followed in their sessions.
    pub rejected: u64,
    /// Requests that were refused because too many waited, with what would have followed in their sessions.
    pub shed: u64,
    /// Requests that no engine was left for.
    pub unserved: u64,
    /// Requests that a failed engine lost and others computed again.
    pub moved: u64,
    /// Engines that were started.
    pub starts: u64,
    /// Seconds × engines that were on.
    pub engine_s: f64,
    /// Bytes of keys and values that were handed to other engines.
    pub handed_bytes: f64,
    /// Bytes of cached prompts that were read from a tier.
    pub loaded_bytes: f64,
    /// Time of the last event, seconds.
    pub end_s: f64,
}

impl Run<'_, '_> {
    /// What came of it.
    pub(super) fn finish(mut self) -> Served {
        let done = self.records.iter().filter(|r| r.is_done());
        let end_s = self.queue.now().seconds().max(done.clone().map(|r| r.last).fold(0.0, f64::max));
        let unserved = self.records.len() as u64 - done.count() as u64 - self.rejected - self.shed;
        self.count_engines(end_s);
        let fullest = self.replicas.iter().map(|r| (r.peak_blocks, r.block_count()));
        let share = |x: (u64, u64)| x.0 as f64 / x.1.max(1) as f64;
        let moves = self.pool.fleet.moves();
        Served {
            peak_blocks: fullest.max_by(|a, b| share(*a).total_cmp(&share(*b))).unwrap_or((0, 1)),
            busy_s: self.replicas.iter().map(|r| r.busy_s).collect(),
            held_blocks: self.replicas.iter().map(Replica::held).sum(),
            iterations: self.replicas.iter().map(|r| r.iterations).sum(),
            preemptions: self.replicas.iter().map(|r| r.preemptions).sum(),
            events: self.events,
            rejected: self.rejected,
            shed: self.shed,
            unserved,
            moved: self.moved_requests,
            starts: self.starts,
            engine_s: if moves { self.engine_s } else { self.pool.engines.len() as f64 * end_s },
            handed_bytes: self.hands.bytes,
            loaded_bytes: self.loaded_bytes,
            end_s,
            records: self.records,
            gaps: self.gaps,
            series: self.series,
        }
    }
}

/// Serves all requests; gaps between tokens are kept from `warm_up` seconds on.
#[must_use]
pub fn serve(pool: &mut Pool<'_>, requests: &Requests, arrivals: Arrivals, warm_up: f64, streams: &Streams) -> Served {
    let mut run = Run::new(pool, requests, arrivals, warm_up, streams);
    run.prepare();
    run.all();
    run.finish()
}

/// The same; nothing as soon as one of the watched percentiles is missed for certain.
#[must_use]
pub fn serve_watched(
    pool: &mut Pool<'_>,
    requests: &Requests,
    arrivals: Arrivals,
    warm_up: f64,
    streams: &Streams,
    watches: &[Watch],
) -> Option<Served> {
    // Moments of arrival must be known from the start.
    let known = arrivals == Arrivals::Open && requests.turns.is_empty();
    let mut run = Run::new(pool, requests, arrivals, warm_up, streams);
    run.watches = if known { watches.to_vec() } else { Vec::new() };
    run.prepare();
    run.all().then(|| run.finish())
}
