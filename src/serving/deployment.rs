//! Accelerators of a cluster as engines: groups of ranks, their iteration times, their limits.

use super::cost::{Cost, Formats, Parts};
use super::memory::Memory;
use super::replica::Limits;
use super::router::RouterPolicy;
use super::shape::Shape;
use super::simulation::Pool;
use super::stack::{Batching, StackRow};
use crate::collectives::{Communicator, Library};
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::DeviceModel;

/// Engines of one kind on the accelerators of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// What is served.
    pub shape: Shape,
    /// Number formats.
    pub formats: Formats,
    /// Tensor ranks of an engine.
    pub tensor: u64,
    /// Data-parallel attention ranks of an engine, each of `tensor` accelerators with requests of its own, in step with each other.
    pub data: u64,
    /// Ranks among all of an engine over which experts are spread.
    pub expert: u64,
    /// Guesses of a draft layer, where there is one.
    pub speculation: Option<Speculation>,
    /// Engines.
    pub replicas: u64,
    /// Cache blocks of an engine; absent: what memory leaves.
    pub blocks: Option<u64>,
    /// Whether prompts are looked up in a prefix cache.
    pub prefix_cache: bool,
    /// Which engine gets a request.
    pub router: RouterPolicy,
}

/// Multi-token prediction: a draft layer guesses, the model verifies all guesses at once.
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
    /// The weights leave no room for one block.
    NoRoom(Memory),
    /// An engine would mix parts.
    Mixed,
}

impl std::fmt::Display for DeployError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kernels(what) => f.write_str(what),
            Self::NoRoom(m) => {
                let gb = |b: f64| b / 1e9;
                write!(
                    f,
                    "weights of {:.1} GB and a workspace of {:.1} GB leave no room for keys and values in {:.1} GB",
                    gb(m.weights),
                    gb(m.workspace),
                    gb(m.capacity)
                )
            }
            Self::Mixed => f.write_str("an engine would span accelerators of different kinds"),
        }
    }
}

impl Deployment {
    /// Accelerators of one engine.
    #[must_use]
    pub const fn ranks(&self) -> u64 {
        self.tensor * self.data
    }

    /// Memory of one rank on the part of an accelerator.
    #[must_use]
    pub fn memory(&self, fabric: &Fabric, stack: &StackRow, a: AcceleratorId) -> Memory {
        Memory::of(&self.shape, self.formats, stack, (self.tensor, self.ranks()), fabric.part(a).memory.get())
    }

    /// What an engine with `blocks` is allowed under a stack's settings.
    #[must_use]
    pub fn limits(&self, stack: &StackRow, blocks: u64) -> Limits {
        Limits {
            batching: *stack.batching,
            reserve_output: *stack.reserve_output || *stack.batching == Batching::Static,
            max_tokens: *stack.max_tokens,
            max_sequences: *stack.max_sequences,
            block_tokens: *stack.block_tokens,
            blocks,
            lag: *stack.lag,
            wait_iterations: *stack.wait_iterations,
            wait_tokens: (*stack.wait_share * *stack.max_tokens as f64) as u64,
            read_interval: *stack.read_interval,
            prefix_cache: self.prefix_cache,
            speculation: self.speculation,
        }
    }

    /// The engines on the first accelerators of a cluster, in order.
    ///
    /// # Errors
    /// Why one of them cannot run.
    pub fn pool<'f>(&self, fabric: &'f Fabric, stack: &StackRow) -> Result<Pool<'f>, DeployError> {
        let mut pool = Pool { costs: Vec::new(), classes: Vec::new(), limits: Vec::new(), ranks: self.data as usize, router: self.router };
        let mut known: Vec<(String, u64, bool)> = Vec::new();
        for replica in 0..self.replicas {
            let group: Vec<AcceleratorId> = (0..self.ranks()).map(|r| AcceleratorId((replica * self.ranks() + r) as u32)).collect();
            let part = fabric.part(group[0]);
            if group.iter().any(|&a| fabric.part(a).id.value != part.id.value) {
                return Err(DeployError::Mixed);
            }
            let speed = group.iter().map(|&a| fabric.speed(a)).fold(f64::INFINITY, f64::min);
            let one_domain = group.iter().all(|&a| fabric.site(a).domain == fabric.site(group[0]).domain);
            let key = (part.id.value.clone(), speed.to_bits(), one_domain);
            let memory = self.memory(fabric, stack, group[0]);
            let blocks = self.blocks.unwrap_or_else(|| memory.blocks(*stack.block_tokens));
            if blocks == 0 {
                return Err(DeployError::NoRoom(memory));
            }
            // A group across domains depends on where it lies; inside one it does not.
            let class = match known.iter().position(|k| *k == key).filter(|_| one_domain) {
                Some(class) => class,
                None => {
                    pool.costs.push(self.cost(fabric, stack, &group, speed).map_err(DeployError::Kernels)?);
                    known.push(key);
                    known.len() - 1
                }
            };
            pool.classes.push(class);
            pool.limits.push(self.limits(stack, blocks));
        }
        Ok(pool)
    }

    fn cost<'f>(&self, fabric: &'f Fabric, stack: &StackRow, group: &[AcceleratorId], speed: f64) -> Result<Cost<'f>, String> {
        let part = fabric.part(group[0]);
        let fifth = part.scale_up.value.as_deref() == Some("nvlink5");
        let engine = stack.all_reduce_nvlink5.value.filter(|_| fifth).unwrap_or(*stack.all_reduce);
        let library = Library::of(engine);
        // Parts whose own profile has no attention kernels of serving borrow those of Hopper by data-sheet ratio.
        let mut borrower = part.clone();
        borrower.generation.value = "hopper".into();
        let parts = Parts {
            attention: DeviceModel::new(&borrower, Some(&stack.library)),
            device: DeviceModel::new(part, Some(&stack.library)),
            group: (self.tensor > 1).then(|| Communicator::new(fabric, &library, &[group[..self.tensor as usize].to_vec()])),
            all: (self.data > 1).then(|| Communicator::new(fabric, &library, &[group.to_vec()])),
            tensor: self.tensor,
            data: self.data,
            drafts: self.speculation.map_or(0, |s| s.drafts),
            expert: self.expert,
            speed,
        };
        Cost::new(parts, &self.shape, stack, self.formats)
    }
}
