//! Offload: optimizer state, gradients, weights and activations that lie in host memory or on drives, and their way there and back.
//!
//! ZeRO-Offload (Ren et al., arXiv 2101.06840): gradients leave for the host as they are reduced, the host's processors run the optimizer
//! on the rank's own part, and the new weights come back piece by piece. ZeRO-Infinity (Rajbhandari et al., arXiv 2104.07857): what lies
//! on drives is read and written around that, piece by piece; weights of a layer are fetched ahead of its gather. All of it is traffic
//! over PCIe, host memory and drives of the fabric. Activations leave after their layer's forward pass and come back before its backward
//! pass, two layers on their way at a time.

use super::lower::Lowering;
use super::place::rank;
use super::weights::{Weights, stage_weights};
use crate::fabric::{AcceleratorId, TierId};
use crate::simulate::Route;
use crate::storage::{Client, Direction, Transfer, copy, transfer};
use crate::workload::{ClassId, Label, RouteId, Task, TaskId, TaskKind, Track, Work};

/// Where something lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Memory of the accelerator's host.
    Host,
    /// A storage tier, through host memory.
    Tier(TierId),
}

impl Shelf {
    const fn tier(self) -> Option<TierId> {
        match self {
            Self::Host => None,
            Self::Tier(tier) => Some(tier),
        }
    }
}

/// What is not kept on the accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offload {
    /// Optimizer state with master weights, and the gradients that it takes; the host's processors run the optimizer.
    pub optimizer: Option<Shelf>,
    /// The rank's part of the weights.
    pub weights: Option<Shelf>,
    /// Activations between a layer's two passes, in host memory.
    pub activations: bool,
}

impl Offload {
    /// Whether anything lies elsewhere.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.optimizer.is_some() || self.weights.is_some() || self.activations
    }
}

/// Share of the host's memory bandwidth that the optimizer reaches there: 1 to 10 G parameters take 0.22 to 2.57 s on two Xeon 8168 of 256 GB/s, 0.43 to
/// 0.50 (arXiv 2101.06840, table 4; from memory, unverified).
const HOST_OPTIMIZER_SHARE: f64 = 0.45;
/// Pieces of the optimizer step that follow each other through drives, processors and PCIe.
const PIECES: usize = 8;
/// Layers whose activations are on their way at a time.
const ON_THE_WAY: usize = 2;
/// Layers whose activations are on the accelerator: those on their way, and those of the end of the model that stay.
pub(super) const LAYERS_HELD: u64 = 2 * ON_THE_WAY as u64;

/// The ways of a rank class between its accelerators, their hosts and drives.
#[derive(Clone, Copy, Default)]
pub(super) struct HostRoutes {
    pub(super) down: Option<RouteId>,
    pub(super) up: Option<RouteId>,
    state: [Option<RouteId>; 2],
    weights: [Option<RouteId>; 2],
    /// Parameters that the host updates for one rank, per second.
    updates: f64,
}

/// Activations of a rank class on their way.
#[derive(Default, Clone)]
pub(super) struct Away {
    leaving: std::collections::VecDeque<TaskId>,
    /// Copies that left, by (microbatch, chunk, layer).
    left: rustc_hash::FxHashMap<(u32, u16, usize), TaskId>,
    /// Ends of the last backward passes of layers.
    done: std::collections::VecDeque<TaskId>,
}

impl Lowering<'_, '_> {
    /// Adds the ways of a class, if anything of it lies elsewhere or goes through its hosts.
    pub(super) fn add_host_routes(&mut self, class: u64) -> HostRoutes {
        let (config, parallel, stage) = (self.config, self.config.parallel, self.stage(class));
        let mut out = HostRoutes::default();
        if !config.offload.any() && !config.hierarchical {
            return out;
        }
        let members = &self.variants[(class / self.stages()) as usize].members;
        let replicas = members.iter().flat_map(|&d| (0..parallel.context).map(move |c| d * parallel.context + c));
        let ranks = replicas.flat_map(|r| (0..parallel.tensor).map(move |t| rank(&parallel, t, r, stage)));
        let clients: Vec<Client> = ranks.map(|at| Client { at, bytes: 1.0, files: 1.0 }).collect();
        let fabric = self.network.fabric();
        let mut route = |name: &str, transfer: &Transfer| {
            let name = format!("{name} of stage {stage}");
            Some(self.network.add(Route::copies(name, transfer, clients.len() as f64, vec![ClassId(class as u32)])))
        };
        out.down = route("copies to hosts", &copy(fabric, &clients, true, f64::INFINITY));
        out.up = route("copies from hosts", &copy(fabric, &clients, false, f64::INFINITY));
        let mut drives = |what: &str, shelf: Option<Shelf>| {
            let ways = [(Direction::Read, "reads"), (Direction::Write, "writes")];
            ways.map(|(direction, word)| {
                let tier = shelf.and_then(Shelf::tier)?;
                let transfer = transfer(fabric, tier, direction, &clients, fabric.tier(tier).request)?;
                route(&format!("{word} of {what}"), &transfer)
            })
        };
        out.state = drives("optimizer state", config.offload.optimizer);
        out.weights = drives("weights", config.offload.weights);
        let node = fabric.site(clients.first().map_or(AcceleratorId(0), |c| c.at)).node;
        let shares = f64::from(fabric.accelerators_per_node(node).max(1));
        let bandwidth = fabric.host(node).memory_bandwidth.get() / shares;
        // A gradient comes in 16 bit.
        out.updates = HOST_OPTIMIZER_SHARE * bandwidth / config.optimizer.bytes_per_parameter(2.0);
        out
    }

    /// A copy of a class, in order on its way.
    pub(super) fn host_copy(&mut self, class: u64, route: RouteId, bytes: f64, after: &[TaskId]) -> TaskId {
        let task = self.transfer(class, route, bytes, TaskKind::Offload, Track::Host, Label::default());
        let id = self.graph.add(task, after);
        if let Some(previous) = self.last_on.insert(route, id) {
            self.graph.depend(previous, id);
        }
        id
    }

    /// Gradients of some weights, as many as the rank owns, leave for where the optimizer takes them. The sum over `earlier` microbatches
    /// comes up to be added to on the accelerator, as DeepSpeed does it.
    pub(super) fn gradients_away(&mut self, class: u64, trained: Weights, earlier: bool, after: &[TaskId]) -> Option<TaskId> {
        self.config.offload.optimizer?;
        let ways = self.host[class as usize];
        let last = self.sum_away(class, trained, earlier, after)?;
        let bytes = self.config.gradient_bytes() * trained.owned(self.config);
        Some(ways.state[1].map_or(last, |write| self.host_copy(class, write, bytes, &[last])))
    }

    /// Gradients of a microbatch join those of `earlier` ones in host memory, where they stay until the last.
    pub(super) fn sum_away(&mut self, class: u64, trained: Weights, earlier: bool, after: &[TaskId]) -> Option<TaskId> {
        let ways = self.host[class as usize];
        let bytes = self.config.gradient_bytes() * trained.owned(self.config);
        let up = if earlier { Some(self.host_copy(class, ways.up?, bytes, after)) } else { None };
        let after = up.map_or_else(|| after.to_vec(), |up| vec![up]);
        Some(self.host_copy(class, ways.down?, bytes, &after))
    }

    /// The rank's part of some weights comes to the accelerator; what it has to wait for besides.
    pub(super) fn fetch(&mut self, class: u64, weights: Weights, after: &[TaskId]) -> Option<TaskId> {
        self.config.offload.weights?;
        let ways = self.host[class as usize];
        let bytes = self.config.weight_bytes() * weights.owned(self.config);
        let read = ways.weights[0].map(|r| self.host_copy(class, r, bytes, after));
        let after = read.map_or_else(|| after.to_vec(), |r| vec![r]);
        Some(self.host_copy(class, ways.up?, bytes, &after))
    }

    /// The last copies of a class so far.
    pub(super) fn last_copies(&self, class: u64) -> Vec<TaskId> {
        let ways = self.host[class as usize];
        [ways.down, ways.state[1]].into_iter().flatten().filter_map(|r| self.last_on.get(&r).copied()).collect()
    }

    /// The optimizer of a class on the host: state from drives, update, state to drives, weights to where they lie, piece by piece.
    pub(super) fn host_optimizer(&mut self, class: u64, norm: TaskId) -> TaskId {
        let ways = self.host[class as usize];
        let owned = stage_weights(self.config, self.layers, self.stage(class)).trained(self.config).owned(self.config) / PIECES as f64;
        let (weights, kept) = (self.config.weight_bytes() * owned, self.config.optimizer.state_bytes() * owned);
        let (mut updated, mut ends) = (norm, Vec::new());
        for _ in 0..PIECES {
            let state = kept + self.config.gradient_bytes() * owned;
            let read = ways.state[0].map(|r| self.host_copy(class, r, state, &[norm]));
            let work = Work::Delay { seconds: owned / ways.updates };
            let task = Task::new(ClassId(class as u32), Track::Host, TaskKind::Optimizer, work);
            updated = self.graph.add(task, &[Some(updated), read].into_iter().flatten().collect::<Vec<_>>());
            ends.push(updated);
            ends.extend(ways.state[1].map(|w| self.host_copy(class, w, kept, &[updated])));
            let back = if self.config.offload.weights.is_some() { ways.weights[1] } else { ways.up };
            ends.extend(back.map(|r| self.host_copy(class, r, weights, &[updated])));
        }
        self.graph.add(Task::new(ClassId(class as u32), Track::Host, TaskKind::Optimizer, Work::Join), &ends)
    }

    /// Whether activations of a layer stay: those of the last layers of the model, whose backward pass is next.
    fn stays(&self, class: u64, chunk: u16, layer: usize, layers: usize) -> bool {
        let p = &self.config.parallel;
        p.leaves(p.virtual_stage(self.stage(class), u64::from(chunk))) && layer + ON_THE_WAY >= layers
    }

    /// Before the forward pass of a layer: there is a place for its activations.
    pub(super) fn make_room(&mut self, class: u64) {
        let away = &mut self.away[class as usize];
        if away.leaving.len() >= ON_THE_WAY {
            let first = away.leaving.pop_front();
            self.frontier[class as usize].extend(first);
        }
    }

    /// After the forward pass of layer `layer` of `layers` of a chunk: its activations leave.
    pub(super) fn activations_leave(&mut self, class: u64, microbatch: u32, chunk: u16, layer: usize, layers: usize) {
        if !self.config.offload.activations || self.stays(class, chunk, layer, layers) {
            return;
        }
        let Some(down) = self.host[class as usize].down else { return };
        let after = self.frontier[class as usize].clone();
        let id = self.host_copy(class, down, super::memory::layer_activations(self.config), &after);
        let away = &mut self.away[class as usize];
        away.leaving.push_back(id);
        away.left.insert((microbatch, chunk, layer), id);
    }

    /// Before the backward pass of a layer: its activations come back, as soon as the last but one layer has given its place up.
    pub(super) fn activations_return(&mut self, class: u64, microbatch: u32, chunk: u16, layer: usize) {
        let Some(up) = self.host[class as usize].up else { return };
        let away = &mut self.away[class as usize];
        let Some(left) = away.left.remove(&(microbatch, chunk, layer)) else { return };
        let mut after = vec![left];
        if away.done.len() >= ON_THE_WAY {
            after.push(away.done[away.done.len() - ON_THE_WAY]);
        }
        let id = self.host_copy(class, up, super::memory::layer_activations(self.config), &after);
        self.frontier[class as usize].push(id);
    }

    /// After the backward pass of a layer.
    pub(super) fn layer_done(&mut self, class: u64) {
        let end = self.frontier[class as usize].first().copied();
        let done = &mut self.away[class as usize].done;
        done.extend(end);
        if done.len() > ON_THE_WAY {
            done.pop_front();
        }
    }
}
