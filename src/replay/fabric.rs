//! Prices of operations on the fabric: kernels of the device, the library's collectives over routes, the host link.

use super::lower::Prices;
use super::{ComputeTimes, Rules, Sends};
use crate::collectives::{Communicator, Library, Op};
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::DeviceModel;
use crate::simulate::{Network, Route, Way};
use crate::workload::trace::{Trace, TraceCollective, TraceKind};
use crate::workload::{ClassId, RouteId, Work};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// What a class of ranks computes on.
struct Device {
    model: Rc<DeviceModel>,
    /// Share of its data sheet's speed.
    speed: f64,
    /// Seconds and bytes per second of the link to its host.
    host: (f64, f64),
}

pub(super) struct OnFabric<'f, 'n> {
    fabric: &'f Fabric,
    rules: Rules,
    network: &'n mut Network<'f>,
    devices: Vec<Device>,
    groups: FxHashMap<u32, Rc<Communicator<'f>>>,
    routes: FxHashMap<(u32, Op), RouteId>,
    pairs: FxHashMap<(usize, usize), RouteId>,
    without_duration: (u64, u64),
}

impl<'f, 'n> OnFabric<'f, 'n> {
    pub(super) fn new(trace: &Trace, fabric: &'f Fabric, rules: Rules, network: &'n mut Network<'f>) -> Self {
        let mut models: FxHashMap<String, Rc<DeviceModel>> = FxHashMap::default();
        let slow: Vec<(AcceleratorId, f64)> = fabric.slow_accelerators().collect();
        let device = |rank: u32, count: u32| {
            let part = fabric.part(AcceleratorId(rank));
            let model = models.entry(part.id.value.clone()).or_insert_with(|| Rc::new(DeviceModel::new(part, None)));
            let ours = slow.iter().filter(|(a, _)| (rank..rank + count).contains(&a.0)).map(|s| s.1);
            let link = fabric.link(fabric.site(AcceleratorId(rank)).host_link());
            Device { model: Rc::clone(model), speed: ours.fold(1.0, f64::min), host: (link.latency, link.capacity) }
        };
        let mut device = device;
        let devices = trace.ranks.iter().map(|r| device(r.rank, r.count)).collect();
        Self {
            fabric,
            rules,
            network,
            devices,
            groups: FxHashMap::default(),
            routes: FxHashMap::default(),
            pairs: FxHashMap::default(),
            without_duration: (0, 0),
        }
    }
    pub(super) const fn without_duration(&self) -> (u64, u64) {
        self.without_duration
    }

    /// Seconds of a compute operation; what neither was recorded nor says what it computes takes no time.
    fn seconds(&mut self, class: usize, op: &TraceKind) -> f64 {
        let TraceKind::Compute { micros, flops, bytes, on_cpu } = *op else { return 0.0 };
        let device = &self.devices[class];
        self.without_duration.1 += 1;
        if self.rules.compute == ComputeTimes::Roofline && !on_cpu && (flops > 0.0 || bytes > 0.0) {
            let peak = device.model.peak(self.rules.dtype).unwrap_or(f64::INFINITY);
            return (flops / peak).max(device.model.stream(bytes, 1.0)) / device.speed;
        }
        let Some(micros) = micros else {
            self.without_duration.0 += 1;
            return 0.0;
        };
        let speed = if on_cpu { 1.0 } else { device.speed };
        micros * 1e-6 / speed
    }
}

const fn op_of(op: TraceCollective) -> Op {
    match op {
        TraceCollective::AllReduce => Op::AllReduce,
        TraceCollective::Reduce => Op::Reduce,
        TraceCollective::AllGather => Op::AllGather,
        TraceCollective::Gather => Op::Gather,
        TraceCollective::Scatter => Op::Scatter,
        TraceCollective::Broadcast => Op::Broadcast,
        TraceCollective::AllToAll => Op::AllToAll,
        TraceCollective::ReduceScatter => Op::ReduceScatter,
        TraceCollective::Barrier => Op::Barrier,
    }
}

impl Prices for OnFabric<'_, '_> {
    fn compute(&mut self, class: usize, op: &TraceKind) -> Work {
        let seconds = self.seconds(class, op) * self.rules.scale;
        let on_device = matches!(op, TraceKind::Compute { on_cpu: false, .. });
        if on_device && self.rules.interference { Work::Compute { seconds } } else { Work::Delay { seconds } }
    }
    fn memory(&mut self, class: usize, bytes: f64) -> Work {
        let (latency, rate) = self.devices[class].host;
        Work::Delay { seconds: latency + bytes / rate }
    }
    fn memory_of(&self, _rank: u32) -> Option<u32> {
        None
    }
    fn collective(&mut self, trace: &Trace, op: &TraceKind, classes: &[usize]) -> Result<Work, String> {
        let TraceKind::Collective { op, bytes, group, micros } = *op else { return Ok(Work::Join) };
        let info = &trace.groups[group as usize];
        if info.size() < 2 {
            // The others of the job are not in the trace: what was recorded is all that is known.
            return Ok(Work::Delay { seconds: micros.unwrap_or(0.0) * 1e-6 });
        }
        let fabric = self.fabric;
        let communicator = self.groups.entry(group).or_insert_with(|| {
            let sets = info.sets.iter().map(|set| {
                let mut members: Vec<AcceleratorId> = set.iter().map(|&r| AcceleratorId(r)).collect();
                members.sort_unstable();
                members
            });
            Rc::new(Communicator::new(fabric, &Library::nccl(), &sets.collect::<Vec<_>>()))
        });
        let route = *self.routes.entry((group, op_of(op))).or_insert_with(|| {
            let classes = classes.iter().map(|&c| ClassId(c as u32)).collect();
            let name = format!("group `{}`", info.name);
            let way = Way::Groups { communicator: Rc::clone(communicator), op: op_of(op), algorithm: None };
            self.network.add(Route { name, way, classes })
        });
        Ok(Work::Transfer { route, bytes: trace.sizes.nccl_bytes(op, bytes, info.size()) })
    }
    fn message(&mut self, trace: &Trace, from: usize, to: usize, bytes: f64) -> Work {
        let fabric = self.fabric;
        let route = *self.pairs.entry((from, to)).or_insert_with(|| {
            let (a, b) = (&trace.ranks[from], &trace.ranks[to]);
            let pairs: Vec<_> = (0..a.count.min(b.count)).map(|i| vec![AcceleratorId(a.rank + i), AcceleratorId(b.rank + i)]).collect();
            let communicator = Rc::new(Communicator::new(fabric, &Library::nccl(), &pairs));
            let classes = vec![ClassId(from as u32), ClassId(to as u32)];
            let name = format!("rank {} → rank {}", a.rank, b.rank);
            self.network.add(Route { name, way: Way::Groups { communicator, op: Op::SendRecv, algorithm: None }, classes })
        });
        Work::Transfer { route, bytes }
    }
    fn one_at_a_time(&self) -> bool {
        false
    }
    fn sends(&self) -> Sends {
        self.rules.sends
    }
}
