//! Accelerators of a cluster as engines: groups of ranks, their iteration times, their limits.

use super::adapters::Adapters;
use super::cost::{Cost, Formats, Parts};
use super::fleet::Fleet;
use super::memory::{Memory, Split};
use super::offload::Offload;
use super::replica::{Limits, Role};
use super::router::RouterPolicy;
use super::shape::Shape;
use super::simulation::{EngineSite, Pool};
use super::stack::{Batching, StackRow};
use crate::collectives::{Communicator, Library, Routing, TOKEN_KERNEL_UNITS};
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::{DeviceModel, Profiles};
use std::ops::Range;

/// Engines of one kind on the accelerators of a cluster.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What is served.
    pub shape: Shape,
    /// Number formats.
    pub formats: Formats,
    /// Tensor ranks of a stage.
    pub tensor: u64,
    /// Data-parallel attention ranks of an engine, each of `tensor` accelerators with requests of its own, in step with each other.
    pub data: u64,
    /// Ranks among all of an engine over which experts are spread.
    pub expert: u64,
    /// Copies of experts beside the model's own, spread over the same ranks.
    pub redundant: u64,
    /// Load of the busiest expert rank over the mean.
    pub imbalance: f64,
    /// Whether a batch runs in two halves, so that one computes while the other's tokens are exchanged.
    pub two_batches: bool,
    /// Stages of an engine; as many batches are in flight.
    pub pipeline: u64,
    /// Guesses of a draft, where there is one.
    pub speculation: Option<Speculation>,
    /// Model that drafts; absent: a layer of the model itself.
    pub draft: Option<Box<Shape>>,
    /// Low-rank adapters that requests ask for.
    pub adapters: Option<Adapters>,
    /// Groups of ranks over which every prompt is spread.
    pub context: u64,
    /// Whether requests that are put back go to host memory instead of being computed again.
    pub swap: bool,
    /// Engines.
    pub replicas: u64,
    /// Cache blocks of an engine; absent: what memory leaves.
    pub blocks: Option<u64>,
    /// Whether prompts are looked up in a prefix cache.
    pub prefix_cache: bool,
    /// Which engine gets a request.
    pub router: RouterPolicy,
    /// Engines of their own for prompts; the others then only decode.
    pub prompts: Option<Box<Prompts>>,
    /// Where cached prompts go beside device memory.
    pub offload: Option<Offload>,
    /// Starts, stops and failures of engines, refusal of requests.
    pub fleet: Fleet,
    /// Further models on the same cluster, in order of their numbers from 1.
    pub beside: Vec<Beside>,
}

/// A further model on the cluster.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Its engines; they lie behind those before it.
    pub engines: Deployment,
    /// Their settings.
    pub stack: StackRow,
    /// Whether they lie on the accelerators of the first model's engines instead, whose iterations they then take turns with.
    pub shared: bool,
}

/// Engines that compute prompts and hand their keys and values on.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// The engines; they lie on the first accelerators of the cluster.
    pub engines: Deployment,
    /// Their settings.
    pub stack: StackRow,
    /// Whether keys and values are sent layer by layer while the prompt runs, instead of after it.
    pub by_layers: bool,
}

/// Guesses in every step, all verified at once by the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Guesses in every step.
    pub drafts: u64,
    /// Probability that a guess is right when those before it were.
    pub acceptance: f64,
}

/// Why a deployment cannot run.
#[derive(Debug, Clone, PartialEq)]
pub enum DeployError {
    /// A kind of kernels is missing on a part.
    Kernels(String),
    /// The weights leave no room for one block: what is needed, and what may be used.
    NoRoom(Memory, (f64, f64)),
    /// An engine would mix parts.
    Mixed,
    /// Engines that share accelerators need more memory than there is.
    Shared(f64, f64),
}

impl std::fmt::Display for DeployError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kernels(what) => f.write_str(what),
            Self::NoRoom(m, (_, limit)) => {
                let gb = |b: f64| b / 1e9;
                let of = if *limit < m.capacity { format!(" that engines may use of {:.1} GB", gb(m.capacity)) } else { String::new() };
                write!(
                    f,
                    "weights of {:.1} GB and a workspace of {:.1} GB leave no room for keys and values in the {:.1} GB{of}",
                    gb(m.weights),
                    gb(m.workspace),
                    gb(*limit)
                )
            }
            Self::Mixed => f.write_str("an engine would span accelerators of different kinds"),
            Self::Shared(need, capacity) => {
                write!(f, "engines that share accelerators take {:.1} GB of {:.1} GB of memory", need / 1e9, capacity / 1e9)
            }
        }
    }
}

impl DeployError {
    /// Memory of an accelerator that is needed at least, and that there is, where it is short.
    #[must_use]
    pub const fn lack(&self) -> Option<(f64, f64)> {
        match self {
            Self::NoRoom(_, lack) => Some(*lack),
            Self::Shared(need, capacity) => Some((*need, *capacity)),
            Self::Kernels(_) | Self::Mixed => None,
        }
    }
}

impl Deployment {
    /// One engine on one accelerator with nothing beside it.
    #[must_use]
    pub fn plain(shape: Shape, formats: Formats) -> Self {
        Self {
            shape,
            formats,
            tensor: 1,
            data: 1,
            expert: 1,
            redundant: 0,
            imbalance: 1.0,
            two_batches: false,
            pipeline: 1,
            speculation: None,
            draft: None,
            adapters: None,
            context: 1,
            swap: false,
            replicas: 1,
            blocks: None,
            prefix_cache: false,
            router: RouterPolicy::RoundRobin,
            prompts: None,
            offload: None,
            fleet: Fleet::default(),
            beside: Vec::new(),
        }
    }

    /// Accelerators of one engine.
    #[must_use]
    pub const fn ranks(&self) -> u64 {
        self.tensor * self.context * self.data * self.pipeline
    }

    /// Accelerators of every engine, in the order of the pool.
    #[must_use]
    pub fn sites(&self) -> Vec<Range<u64>> {
        let mut out: Vec<Range<u64>> = Vec::new();
        let lay = |start: u64, d: &Self| (0..d.replicas).map(move |e| start + e * d.ranks()).map(|s| s..s + d.ranks()).collect::<Vec<_>>();
        let mut next = 0;
        let mut add = |d: &Self, at: Option<u64>| {
            out.extend(lay(at.unwrap_or(next), d));
            let start = next;
            next += if at.is_some() { 0 } else { d.replicas * d.ranks() };
            start
        };
        if let Some(p) = &self.prompts {
            add(&p.engines, None);
        }
        let first = add(self, None);
        for b in &self.beside {
            add(&b.engines, b.shared.then_some(first));
        }
        out
    }

    /// Memory of one rank on the part of an accelerator.
    #[must_use]
    pub fn memory(&self, fabric: &Fabric, stack: &StackRow, a: AcceleratorId) -> Memory {
        let split = Split { tensor: self.tensor, ranks: self.tensor * self.data, pipeline: self.pipeline, redundant: self.redundant };
        let mut memory = Memory::of(&self.shape, self.formats, stack, split, fabric.part(a).memory.get());
        memory.token /= self.context as f64;
        if let Some(draft) = &self.draft {
            let with = Memory::of(draft, self.formats, stack, split, 0.0);
            memory.add(with.weights, with.token, stack);
        }
        if let Some(adapters) = &self.adapters {
            memory.add(adapters.bytes(&self.shape, self.tensor) / self.pipeline as f64, 0.0, stack);
        }
        memory
    }

    /// What an engine with `blocks` is allowed under a stack's settings.
    #[must_use]
    pub fn limits(&self, stack: &StackRow, blocks: u64, role: Role) -> Limits {
        Limits {
            role,
            model: 0,
            batching: *stack.batching,
            reserve_output: *stack.reserve_output || *stack.batching == Batching::Static || role == Role::Prompts,
            max_tokens: *stack.max_tokens,
            max_sequences: (*stack.max_sequences).div_ceil(self.pipeline),
            block_tokens: *stack.block_tokens,
            blocks: blocks / self.pipeline,
            lag: *stack.lag,
            wait_iterations: *stack.wait_iterations,
            wait_tokens: (*stack.wait_share * *stack.max_tokens as f64) as u64,
            read_interval: *stack.read_interval,
            balance_iterations: *stack.balance_iterations,
            front: (stack.front_request.get(), stack.front_token.get()),
            prefix_cache: self.prefix_cache && role != Role::Decodes,
            speculation: self.speculation.filter(|_| role != Role::Prompts),
            swap: None,
            windowed: self.shape.windowed(),
        }
    }

    /// The engines on the accelerators of a cluster in order: those of prompts first, where they are apart.
    ///
    /// # Errors
    /// Why one of them cannot run.
    pub fn pool<'f>(&self, fabric: &'f Fabric, profiles: &Profiles, stack: &StackRow) -> Result<Pool<'f>, DeployError> {
        let mut pool = Pool {
            fabric,
            costs: Vec::new(),
            engines: Vec::new(),
            router: self.router,
            by_layers: self.prompts.as_ref().is_some_and(|p| p.by_layers),
            handed_token: self.shape.kv_bytes_per_token(self.formats.kv, self.tensor) * self.tensor as f64,
            stored_token: self.shape.kv_bytes_per_token(self.formats.kv, 1),
            layers: self.shape.layers as f64,
            offload: self.offload.clone(),
            fleet: self.fleet.clone(),
        };
        let mut first = 0;
        if let Some(prompts) = &self.prompts {
            prompts.engines.add(&mut pool, (fabric, profiles), &prompts.stack, (0, Role::Prompts, 0))?;
            first = prompts.engines.replicas * prompts.engines.ranks();
        }
        let role = if self.prompts.is_some() { Role::Decodes } else { Role::Both };
        self.add(&mut pool, (fabric, profiles), stack, (first, role, 0))?;
        let start = first;
        first += self.replicas * self.ranks();
        for (i, b) in self.beside.iter().enumerate() {
            let at = if b.shared { start } else { first };
            b.engines.add(&mut pool, (fabric, profiles), &b.stack, (at, Role::Both, i as u16 + 1))?;
            first += if b.shared { 0 } else { b.engines.replicas * b.engines.ranks() };
        }
        pool.share_turns()?;
        Ok(pool)
    }

    fn add<'f>(
        &self,
        pool: &mut Pool<'f>,
        on: (&'f Fabric, &Profiles),
        stack: &StackRow,
        (first, role, model): (u64, Role, u16),
    ) -> Result<(), DeployError> {
        let fabric = on.0;
        let before = pool.costs.len();
        let mut known: Vec<(String, u64, bool)> = Vec::new();
        for replica in 0..self.replicas {
            let start = first + replica * self.ranks();
            let group: Vec<AcceleratorId> = (0..self.ranks()).map(|r| AcceleratorId((start + r) as u32)).collect();
            let part = fabric.part(group[0]);
            if group.iter().any(|&a| fabric.part(a).id.value != part.id.value) {
                return Err(DeployError::Mixed);
            }
            let speed = group.iter().map(|&a| fabric.speed(a)).fold(f64::INFINITY, f64::min);
            let one_domain = group.iter().all(|&a| fabric.site(a).domain == fabric.site(group[0]).domain);
            let key = (part.id.value.clone(), speed.to_bits(), one_domain);
            let memory = self.memory(fabric, stack, group[0]);
            let blocks = self.blocks.unwrap_or_else(|| memory.blocks(*stack.block_tokens));
            if blocks < self.pipeline {
                return Err(DeployError::NoRoom(memory, memory.least(self.pipeline * *stack.block_tokens, stack)));
            }
            // A group across domains depends on where it lies; inside one it does not.
            let class = match known.iter().position(|k| *k == key).filter(|_| one_domain) {
                Some(class) => before + class,
                None => {
                    pool.costs.push(self.cost(on, stack, &group, speed).map_err(DeployError::Kernels)?);
                    known.push(key);
                    pool.costs.len() - 1
                }
            };
            let mut limits = Limits { model, ..self.limits(stack, blocks, role) };
            if self.swap && !limits.reserve_output {
                let mut rate = f64::INFINITY;
                fabric.copy_route(group[0], true, &mut |link, share| rate = rate.min(fabric.link(link).capacity / share));
                limits.swap = Some(memory.token * *stack.block_tokens as f64 / rate);
            }
            let site = EngineSite {
                class,
                limits,
                ranks: self.data as usize,
                lanes: self.pipeline as usize,
                first: group[0],
                tensor: self.tensor * self.context,
                weights: memory.weights,
                taken: memory.weights + memory.workspace + (blocks * *stack.block_tokens) as f64 * memory.token,
                turns: pool.engines.len(),
                shares: false,
            };
            pool.engines.push(site);
        }
        Ok(())
    }

    /// All ranks of an engine as a group that exchanges the tokens of its experts.
    fn exchange_group<'f>(&self, group: Communicator<'f>) -> Communicator<'f> {
        let Some(x) = self.shape.mixture else { return group };
        let (experts, per_token) = (x.experts + self.redundant, x.per_token);
        let compute_units = TOKEN_KERNEL_UNITS as f64;
        group.with_routing(Routing { hidden: self.shape.hidden, experts, per_token, groups: None, dispatch_bytes: 1.0, compute_units })
    }

    fn cost<'f>(&self, on: (&'f Fabric, &Profiles), stack: &StackRow, group: &[AcceleratorId], speed: f64) -> Result<Cost<'f>, String> {
        let (fabric, profiles) = on;
        let mut own = fabric.part(group[0]).clone();
        // A part with 8-bit integers alone computes attention and the output projection in them too.
        own.peak.value.bf16.value = own.peak.bf16.or(*own.peak.int8);
        let part = &own;
        let fifth = part.scale_up.value.as_deref() == Some("nvlink5");
        let engine = stack.all_reduce_nvlink5.value.filter(|_| fifth).unwrap_or(*stack.all_reduce);
        let library = Library::of(engine);
        // Parts whose own profile has no attention kernels of serving borrow those of Hopper by data-sheet ratio.
        let mut borrower = part.clone();
        borrower.generation.value = "hopper".into();
        let tensor = self.tensor as usize;
        let mut nodes: Vec<_> = group[..tensor * self.data as usize].iter().map(|&a| fabric.site(a).node).collect();
        nodes.dedup();
        let parts = |drafts: u64| Parts {
            attention: DeviceModel::with(profiles, &borrower, Some(&stack.library)),
            device: DeviceModel::with(profiles, part, Some(&stack.library)),
            generation: part.generation.value.clone(),
            group: (tensor > 1).then(|| Communicator::new(fabric, &library, &[group[..tensor].to_vec()])),
            all: (self.data > 1)
                .then(|| self.exchange_group(Communicator::new(fabric, &library, &[group[..tensor * self.data as usize].to_vec()]))),
            next: (self.pipeline > 1).then(|| Communicator::new(fabric, &library, &[vec![group[0], group[tensor * self.data as usize]]])),
            context: self.context,
            spread: (self.context > 1).then(|| {
                let ranks = (0..self.context as usize).map(|c| group[c * tensor]).collect();
                Communicator::new(fabric, &library, &[ranks])
            }),
            tensor: self.tensor,
            data: self.data,
            pipeline: self.pipeline,
            drafts,
            expert: self.expert,
            redundant: self.redundant,
            imbalance: self.imbalance,
            two_batches: self.two_batches,
            nodes: nodes.len() as u64,
            adapters: self.adapters,
            speed,
        };
        let mut cost = Cost::new(parts(self.speculation.map_or(0, |s| s.drafts)), &self.shape, stack, self.formats)?;
        if let Some(draft) = &self.draft {
            cost.set_draft(Cost::new(Parts { adapters: None, ..parts(0) }, draft, stack, self.formats)?);
        }
        Ok(cost)
    }
}
