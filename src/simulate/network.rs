//! Routes on the fabric: which links a transfer loads, how fast it is alone, and which links it shares with others.
//!
//! Every route is a class of symmetric groups, and what one byte of its payload puts on each link is summed over the
//! exact paths of all members. Links that are loaded by the same routes in the same proportion are one constraint of
//! the solver, with the least capacity among them; links that only one route loads are folded into that route's own
//! greatest rate. So the solver's size follows the number of distinct routes, not the number of accelerators.

use super::constraints::constraints;
use crate::collectives::{Algorithm, Communicator, Op, Plan, Protocol};
use crate::fabric::{Fabric, LinkId, LinkKind};
use crate::ids::{Id, Table};
use crate::storage::Transfer;
use crate::workload::{ClassId, RouteId, TaskGraph, Work};
use rustc_hash::FxHashMap;
use std::rc::Rc;
use std::sync::Arc;

/// How bytes of a route travel.
pub enum Way<'f> {
    /// Symmetric groups that run one operation.
    Groups {
        /// Who talks to whom.
        communicator: Rc<Communicator<'f>>,
        /// What they do.
        op: Op,
        /// Algorithm of the caller's choice; absent: the library's.
        algorithm: Option<Algorithm>,
    },
    /// Copies by the copy engines or drives, which hold no compute units.
    Copies {
        /// Bytes on links for a byte of payload.
        traffic: Arc<[(LinkId, f64)]>,
        /// Seconds before bytes flow.
        latency: f64,
        /// Greatest payload rate whatever the links could.
        cap: f64,
    },
}

/// A set of ranks that communicate at the same time.
pub struct Route<'f> {
    /// Name in messages and reports.
    pub name: String,
    /// How its bytes travel.
    pub way: Way<'f>,
    /// Classes whose compute is slowed while the operation's kernels run.
    pub classes: Vec<ClassId>,
}

impl Route<'_> {
    /// The copies of a storage transfer of `clients` clients that move as much each; the payload is the bytes of one of them.
    #[must_use]
    pub fn copies(name: String, transfer: &Transfer, clients: f64, classes: Vec<ClassId>) -> Self {
        let traffic = transfer.traffic.iter().map(|&(link, load)| (link, load * clients)).collect();
        Self { name, way: Way::Copies { traffic, latency: transfer.overhead_s, cap: transfer.cap / clients }, classes }
    }
    fn traffic(&self, algorithm: Algorithm) -> Arc<[(LinkId, f64)]> {
        match &self.way {
            Way::Groups { communicator, op, .. } => communicator.traffic(*op, algorithm),
            Way::Copies { traffic, .. } => Arc::clone(traffic),
        }
    }
    /// Seconds of a rank's memory that a byte of payload takes; what copies over PCIe take of it is too little to show.
    fn memory_time(&self, algorithm: Algorithm) -> f64 {
        match &self.way {
            Way::Groups { communicator, op, .. } => communicator.memory_time(*op, algorithm),
            Way::Copies { .. } => 0.0,
        }
    }
}

/// Traffic that runs beside a workload from its start and is no part of it (a checkpoint that drains).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Background {
    /// Payload in units that load the busiest link once.
    pub(super) bytes: f64,
    /// Greatest rate in these units.
    pub(super) cap: f64,
    traffic: Arc<[(LinkId, f64)]>,
}

/// All routes of a workload on one fabric.
pub struct Network<'f> {
    fabric: &'f Fabric,
    routes: Table<RouteId, Route<'f>>,
    background: Option<Background>,
}

/// What one (route, size) costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Seconds before bytes flow.
    pub(super) latency: f64,
    /// Greatest payload rate: protocol, channels, and the links that only this channel loads.
    pub(super) cap: f64,
    /// Index of the channel.
    pub(super) channel: u32,
    /// Share of the device's compute units that its kernels hold.
    pub(super) share: f64,
    /// Seconds of a device's memory that a byte of payload takes.
    pub(super) memory: f64,
}

/// One algorithm on one route: its load on the links.
pub(super) struct Channel {
    /// Constraints shared with other channels, as (constraint, bytes per payload byte).
    pub(super) uses: Vec<(u32, f64)>,
    traffic: Arc<[(LinkId, f64)]>,
    solo: f64,
}

impl Channel {
    /// Greatest payload rate on the links that only this channel loads.
    pub(super) const fn solo(&self) -> f64 {
        self.solo
    }
}

/// A workload's transfers, settled on the fabric.
pub(super) struct Settled {
    /// For every task the index of its cost; unused for tasks that are no transfer.
    pub(super) cost_of: Vec<u32>,
    /// Distinct costs.
    pub(super) costs: Vec<Cost>,
    /// Distinct channels.
    pub(super) channels: Vec<Channel>,
    /// Capacities of the shared constraints.
    pub(super) capacities: Vec<f64>,
}

/// Load of the most loaded link of a kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KindLoad {
    /// Kind of link.
    pub kind: LinkKind,
    /// The link.
    pub link: LinkId,
    /// Bytes that it carried.
    pub bytes: f64,
    /// Its capacity in bytes per second.
    pub capacity: f64,
}

impl<'f> Network<'f> {
    /// A network without routes.
    #[must_use]
    pub const fn new(fabric: &'f Fabric) -> Self {
        Self { fabric, routes: Table::new(), background: None }
    }
    /// Lets a part of a transfer, `share` of its bytes, run beside the workload from its start.
    pub fn set_beside(&mut self, transfer: &Transfer, share: f64) {
        let most = transfer.traffic.iter().map(|t| t.1).fold(0.0, f64::max);
        if transfer.bytes <= 0.0 || most <= 0.0 {
            return;
        }
        // Fair shares are by activity: in these units it weighs like one flow on its busiest link.
        let traffic = transfer.traffic.iter().map(|&(link, load)| (link, load / most)).collect();
        self.background = Some(Background { bytes: transfer.bytes * share * most, cap: transfer.cap * most, traffic });
    }
    /// Routes that are added from now on see the fabric under other ranks; its links are the same.
    pub const fn see(&mut self, fabric: &'f Fabric) {
        self.fabric = fabric;
    }
    /// How many routes there are.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }
    /// Renumbers the classes of the routes from `first` on, as when the graph of another job is put beside.
    pub fn shift_classes(&mut self, first: usize, by: u32) {
        for i in first..self.routes.len() {
            self.routes[RouteId::from_index(i)].classes.iter_mut().for_each(|c| c.0 += by);
        }
    }
    /// The links that a workload loads, in order; `inside` as for [`super::execute()`].
    #[must_use]
    pub fn links(&self, graph: &TaskGraph, inside: &[(RouteId, f64, f64)]) -> Vec<LinkId> {
        let settled = self.settle(graph);
        let mut out: Vec<LinkId> = settled.channels.iter().flat_map(|c| c.traffic.iter().map(|t| t.0)).collect();
        for &(id, each, _) in inside {
            let route = &self.routes[id];
            out.extend(route.traffic(self.plan(id, each).algorithm).iter().map(|t| t.0));
        }
        out.sort_unstable();
        out.dedup();
        out
    }
    /// What runs beside the workload.
    pub(super) const fn background(&self) -> Option<&Background> {
        self.background.as_ref()
    }
    /// Adds a route.
    pub fn add(&mut self, route: Route<'f>) -> RouteId {
        self.routes.push(route)
    }
    /// A route by its id.
    #[must_use]
    pub fn route(&self, id: RouteId) -> &Route<'f> {
        &self.routes[id]
    }
    /// The plan of a transfer of `bytes`.
    #[must_use]
    pub fn plan(&self, id: RouteId, bytes: f64) -> Plan {
        match &self.routes[id].way {
            Way::Groups { communicator, op, algorithm } => {
                let chosen = algorithm.and_then(|a| communicator.plan_as(*op, bytes, a));
                chosen.unwrap_or_else(|| communicator.plan(*op, bytes))
            }
            &Way::Copies { latency, cap, .. } => {
                Plan { algorithm: Algorithm::Direct, protocol: Protocol::Simple, latency_s: latency, rate_cap: cap, kernel_sm_share: 0.0 }
            }
        }
    }
    /// Seconds of a transfer of `bytes` on an idle fabric.
    #[must_use]
    pub fn time_alone(&self, id: RouteId, bytes: f64) -> f64 {
        match &self.routes[id].way {
            Way::Groups { communicator, op, .. } => communicator.time_alone(*op, bytes),
            Way::Copies { traffic, latency, cap } => {
                let rate = traffic.iter().map(|&(link, load)| self.fabric.link(link).capacity / load).fold(*cap, f64::min);
                latency + bytes / rate
            }
        }
    }
    /// Marks every link that a route loads for a payload of `bytes`.
    pub fn mark_links(&self, id: RouteId, bytes: f64, marks: &mut [bool]) {
        let route = &self.routes[id];
        for (link, _) in route.traffic(self.plan(id, bytes).algorithm).iter() {
            marks[link.index()] = true;
        }
    }
    /// Whether a route loads any marked link.
    #[must_use]
    pub fn touches(&self, id: RouteId, bytes: f64, marks: &[bool]) -> bool {
        let route = &self.routes[id];
        route.traffic(self.plan(id, bytes).algorithm).iter().any(|(link, _)| marks[link.index()])
    }
    /// The fabric below.
    #[must_use]
    pub const fn fabric(&self) -> &'f Fabric {
        self.fabric
    }

    /// Settles all transfers of a graph.
    pub(super) fn settle(&self, graph: &TaskGraph) -> Settled {
        let mut settled = Settled { cost_of: vec![u32::MAX; graph.len()], costs: Vec::new(), channels: Vec::new(), capacities: Vec::new() };
        let mut costs: FxHashMap<(u32, u64), u32> = FxHashMap::default();
        let mut channels: FxHashMap<(u32, Algorithm), u32> = FxHashMap::default();
        // Most transfers of a route are as large as the one before.
        let mut last: Vec<(u64, u32)> = vec![(u64::MAX, u32::MAX); self.routes.len()];
        for (i, task) in graph.tasks().iter().enumerate() {
            let Work::Transfer { route: id, bytes } = task.work else { continue };
            let before = &mut last[id.0 as usize];
            if before.0 == bytes.to_bits() {
                settled.cost_of[i] = before.1;
                continue;
            }
            settled.cost_of[i] = *costs.entry((id.0, bytes.to_bits())).or_insert_with(|| {
                let route = &self.routes[id];
                let plan = self.plan(id, bytes);
                let channel = *channels.entry((id.0, plan.algorithm)).or_insert_with(|| {
                    let traffic = route.traffic(plan.algorithm);
                    settled.channels.push(Channel { uses: Vec::new(), traffic, solo: f64::INFINITY });
                    settled.channels.len() as u32 - 1
                });
                let memory = route.memory_time(plan.algorithm);
                settled.costs.push(Cost { latency: plan.latency_s, cap: plan.rate_cap, channel, share: plan.kernel_sm_share, memory });
                settled.costs.len() as u32 - 1
            });
            *before = (bytes.to_bits(), settled.cost_of[i]);
        }
        if let Some(background) = &self.background {
            settled.channels.push(Channel { uses: Vec::new(), traffic: Arc::clone(&background.traffic), solo: f64::INFINITY });
        }
        let traffic: Vec<_> = settled.channels.iter().map(|c| Arc::clone(&c.traffic)).collect();
        let constraints = constraints(self.fabric, traffic);
        settled.capacities = vec![1.0; constraints.count];
        for (channel, (uses, solo)) in settled.channels.iter_mut().zip(&constraints.channels) {
            (channel.uses, channel.solo) = (uses.clone(), *solo);
        }
        for cost in &mut settled.costs {
            cost.cap = cost.cap.min(settled.channels[cost.channel as usize].solo);
        }
        settled
    }

    /// Bytes over every link that an execution of a workload put there, in order; links that it could load are among them.
    #[must_use]
    pub fn carried(&self, graph: &TaskGraph, inside: &[(RouteId, f64, f64)], payload: &[f64]) -> Vec<(LinkId, f64)> {
        let bytes = self.bytes(&self.settle(graph), payload, inside);
        self.links(graph, inside).into_iter().map(|link| (link, bytes[link.index()])).collect()
    }

    /// Bytes over each link, from the payload that each channel carried.
    fn bytes(&self, settled: &Settled, payload: &[f64], inside: &[(RouteId, f64, f64)]) -> Vec<f64> {
        let mut bytes = vec![0.0; self.fabric.link_count()];
        for (channel, &carried) in settled.channels.iter().zip(payload) {
            for &(link, coefficient) in channel.traffic.iter() {
                bytes[link.index()] += carried * coefficient;
            }
        }
        for &(id, each, count) in inside {
            let route = &self.routes[id];
            for &(link, coefficient) in route.traffic(self.plan(id, each).algorithm).iter() {
                bytes[link.index()] += each * count * coefficient;
            }
        }
        bytes
    }

    /// The most loaded link of every kind.
    pub(super) fn loads(&self, settled: &Settled, payload: &[f64], inside: &[(RouteId, f64, f64)]) -> Vec<KindLoad> {
        let bytes = self.bytes(settled, payload, inside);
        let mut out: Vec<KindLoad> = Vec::new();
        for (i, &carried) in bytes.iter().enumerate().filter(|(_, b)| **b > 0.0) {
            let link = LinkId::from_index(i);
            let (kind, capacity) = (self.fabric.link(link).kind, self.fabric.link(link).capacity);
            match out.iter_mut().find(|l| l.kind == kind) {
                Some(most) if carried / capacity > most.bytes / most.capacity => *most = KindLoad { kind, link, bytes: carried, capacity },
                Some(_) => {}
                None => out.push(KindLoad { kind, link, bytes: carried, capacity }),
            }
        }
        out
    }
}
