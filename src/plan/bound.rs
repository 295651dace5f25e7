//! What a layout takes at least, without simulating it: memory, time, money and energy that no schedule can go below.
//!
//! Memory is the memory model's own figure with few microbatches: more of them never keep less. Time is that of the busiest
//! stage: its passes one after the other, after the first microbatch has come through the stages before it, and before the last
//! gradient has gone back through them. Every pass takes at least its kernels and what its products cannot hide of its
//! tensor-parallel collectives on idle links. The optimizer follows all of it. What is left out (pipeline messages, gradient reduction, waits)
//! only adds.

use super::space::Layout;
use crate::collectives::{Communicator, Library, Op};
use crate::economics::{CostPlan, cost};
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::{DeviceModel, Profiles};
use crate::training::{Config, OPTIMIZER_FIXED, PassCost, Passes, Schedule, stage_memory, update_bytes};
use rustc_hash::FxHashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Rounding: a bound that is met exactly must not lie above.
const SLACK: f64 = 1.0 - 1e-9;

/// What passes depend on.
type Shape = (u64, u64, u64, crate::training::Recompute, bool);

/// Passes on every kind of part, and seconds of a tensor-parallel collective on idle links.
type Known = (Vec<Passes>, f64);

/// Bounds of the layouts of a job on one cluster; passes are computed once for each shape.
pub(super) struct Bounds<'a> {
    fabric: &'a Fabric,
    /// Models of its parts under the job's profiles, which all layouts share.
    devices: OnceLock<Vec<DeviceModel>>,
    launch_factor: f64,
    /// Whether all accelerators and links are alike, so that the first tensor group stands for all.
    alike: bool,
    memory: f64,
    idle_power: f64,
    passes: Mutex<FxHashMap<Shape, Known>>,
}

/// What a layout takes at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Least {
    /// Seconds of a step.
    pub(super) step: f64,
    /// Bytes of the fullest accelerator.
    pub(super) peak: f64,
    /// Bytes of an accelerator.
    pub(super) capacity: f64,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(fabric: &'a Fabric) -> Self {
        let first = AcceleratorId(0);
        let node = fabric.site(first).node;
        let parts: Vec<_> = fabric.parts().collect();
        let alike = fabric.is_uniform() && fabric.is_sound() && parts.len() == 1;
        let idle = parts.iter().map(|p| p.idle_power.get()).fold(f64::INFINITY, f64::min);
        Self {
            fabric,
            devices: OnceLock::new(),
            launch_factor: *fabric.host(node).launch_factor,
            alike,
            memory: parts.iter().map(|p| p.memory.get()).fold(0.0, f64::max),
            idle_power: idle * fabric.accelerator_count() as f64 + fabric.overhead_power(),
            passes: Mutex::new(FxHashMap::default()),
        }
    }

    fn models(&self, profiles: &Profiles) -> &[DeviceModel] {
        self.devices.get_or_init(|| self.fabric.parts().map(|p| DeviceModel::with(profiles, p, None)).collect())
    }

    fn passes(&self, config: &Config, layout: &Layout, profiles: &Profiles) -> Known {
        let shape = (layout.tensor, layout.context, layout.microbatch, layout.recompute, layout.sequence);
        if let Some(known) = self.passes.lock().unwrap_or_else(PoisonError::into_inner).get(&shape) {
            return known.clone();
        }
        let passes: Vec<Passes> = self.models(profiles).iter().map(|d| Passes::new(config, d, self.launch_factor)).collect();
        let collective = if self.alike { self.collective(layout, passes[0].layer_forward.comm_bytes) } else { 0.0 };
        let known = (passes, collective);
        self.passes.lock().unwrap_or_else(PoisonError::into_inner).insert(shape, known.clone());
        known
    }

    /// Seconds of a tensor-parallel collective, or pair of them, of the first group by itself.
    fn collective(&self, layout: &Layout, bytes: f64) -> f64 {
        if layout.tensor == 1 {
            return 0.0;
        }
        let group: Vec<AcceleratorId> = (0..layout.tensor as u32).map(AcceleratorId).collect();
        let communicator = Communicator::new(self.fabric, &Library::nccl(), &[group]);
        let ops: &[Op] = if layout.sequence { &[Op::AllGather, Op::ReduceScatter] } else { &[Op::AllReduce] };
        ops.iter().map(|op| communicator.time_alone(*op, bytes)).sum()
    }

    /// The bounds of a layout that the scenario's checks took.
    pub(super) fn of(&self, config: &Config, layout: &Layout, profiles: &Profiles) -> Least {
        let p = &config.parallel;
        let model = &config.model;
        let Ok(layers) = config.layers() else { return Least { step: 0.0, peak: 0.0, capacity: self.memory } };
        // Layers that differ, other schedules and frozen weights have no bound of time yet: all of their layouts are simulated.
        let plain = !config.has_experts()
            && !model.is_network()
            && model.prediction_layers == 0
            && config.adapter_rank.is_none()
            && p.schedule == Schedule::OneForwardOneBackward;
        if !plain {
            return Least { step: 0.0, peak: SLACK * peak(config, &layers), capacity: self.memory };
        }
        // In mixed clusters the fastest part bounds.
        let (passes, collective) = self.passes(config, layout, profiles);
        let steps = passes.iter().map(|passes| step(config, &layers, passes, collective));
        let step = steps.fold(f64::INFINITY, f64::min) + self.update(config, &layers, profiles);
        Least { step: SLACK * step, peak: SLACK * peak(config, &layers), capacity: self.memory }
    }

    /// Seconds of the optimizer of the stage with the most weights; on the host it is not bounded.
    fn update(&self, config: &Config, layers: &[Vec<u64>], profiles: &Profiles) -> f64 {
        if config.offload.optimizer.is_some() {
            return 0.0;
        }
        let bytes = (0..layers.len() as u64).map(|stage| update_bytes(config, layers, stage)).fold(0.0, f64::max);
        OPTIMIZER_FIXED + self.models(profiles).iter().map(|d| d.stream(bytes, 0.0)).fold(f64::INFINITY, f64::min)
    }

    /// Money and energy of a run of `steps` at least: no less time, and no less power than at rest.
    pub(super) fn money(&self, plan: &CostPlan, step: f64, steps: f64, tokens: f64) -> (f64, f64) {
        let cost = cost(plan, self.fabric.accelerator_count() as f64, self.idle_power, steps * step, steps * tokens);
        (SLACK * cost.usd_total, SLACK * cost.energy_kwh)
    }
}

/// Seconds of the busiest stage, with the way of the first and the last microbatch to it.
fn step(config: &Config, layers: &[Vec<u64>], passes: &Passes, collective: f64) -> f64 {
    let (stages, chunks) = (layers.len(), layers[0].len());
    let chunk = |forward: bool, stage: usize, chunk: usize| {
        let (layer, embedding, head) = if forward {
            (&passes.layer_forward, &passes.embedding_forward, &passes.head_forward)
        } else {
            (&passes.layer_backward, &passes.embedding_backward, &passes.head_backward)
        };
        let mut parts = vec![(layer, layers[stage][chunk] as f64)];
        parts.extend((stage == 0 && chunk == 0).then_some((embedding, 1.0)));
        parts.extend((stage + 1 == stages && chunk + 1 == chunks).then_some((head, 1.0)));
        let sum = |of: &dyn Fn(&PassCost) -> f64| parts.iter().map(|(cost, n)| n * of(cost)).sum::<f64>();
        let comm = collective * sum(&|cost| cost.comm_count);
        // With user buffers the products hide all but the first or last part.
        let share = 1.0 - 1.0 / config.parallel.tensor as f64;
        let hidden = if config.stack.tensor_overlap.value { comm.min(sum(&|cost| cost.matrix)) * share } else { 0.0 };
        (sum(&PassCost::compute) + comm - hidden).max(sum(&|cost| cost.host))
    };
    let (mut before, mut most) = (0.0, 0.0f64);
    for stage in 0..stages {
        let own: f64 = (0..chunks).map(|c| chunk(true, stage, c) + chunk(false, stage, c)).sum();
        most = most.max(before + config.microbatches() as f64 * own);
        before += chunk(true, stage, 0) + chunk(false, stage, 0);
    }
    most
}

/// Memory of the fullest of the ends of the pipeline with few microbatches.
fn peak(config: &Config, layers: &[Vec<u64>]) -> f64 {
    let p = &config.parallel;
    let few = config.microbatches().min(2 * p.pipeline);
    let small = Config { global_batch: few * config.microbatch * p.data, ..config.clone() };
    [0, p.pipeline - 1].into_iter().map(|stage| stage_memory(&small, layers, stage).total()).fold(0.0, f64::max)
}
