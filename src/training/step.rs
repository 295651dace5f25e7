//! One optimizer step of a job on a fabric: lowered, run, and what came out.

use super::config::Config;
use super::cost::Passes;
use super::export::export;
use super::lower::{Lowered, Lowering};
use super::memory::{MemoryPlan, stage_memory};
use super::repeat::{Repeat, Short, short};
use super::stages::SplitError;
use super::variants::{Folding, Variant, parts_of, variants};
use crate::collectives::Library;
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::{DeviceModel, Profiles};
use crate::simulate::{Deadlock, Execution, Network, execute};
use crate::storage::Transfer;
use crate::workload::trace::Trace;
use crate::workload::{RouteId, TaskGraph};
use std::fmt;

/// Why a step cannot be simulated.
#[derive(Debug, Clone, PartialEq)]
pub enum StepError {
    /// The layers cannot be split over the stages.
    Split(SplitError),
    /// The accelerator has no path for the number format.
    Precision(String),
    /// Tasks wait for each other.
    Deadlock(Deadlock),
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split(_) => write!(f, "the layers cannot be split over the stages"),
            Self::Precision(text) => write!(f, "{text}"),
            Self::Deadlock(deadlock) => write!(f, "{deadlock}"),
        }
    }
}
impl std::error::Error for StepError {}

/// A simulated step.
#[derive(Debug, Clone)]
pub struct Step {
    /// The tasks that were run.
    pub graph: TaskGraph,
    /// When they ran; what links carried is that of the whole step.
    pub execution: Execution,
    /// Stretch of the step that repeats and was run once only: then the run is shorter than the step.
    pub repeat: Option<Repeat>,
    /// Layers of every chunk by stage.
    pub layers: Vec<Vec<u64>>,
    /// Passes of one microbatch on each part of the job.
    pub passes: Vec<Passes>,
    /// Memory of every stage at its peak.
    pub memory: Vec<MemoryPlan>,
    /// The device model of each part of the job.
    pub devices: Vec<DeviceModel>,
    /// Catalogue ids of the parts of the job.
    pub parts: Vec<String>,
    /// Data-parallel ranks that behave the same; rank class `variant × stages + stage` stands for a stage of one.
    pub variants: Vec<Variant>,
    /// Payload that moved inside passes, as for [`execute()`].
    pub(super) inside: Vec<(RouteId, f64, f64)>,
}

impl Step {
    /// Seconds of the whole step.
    #[must_use]
    pub fn time_s(&self) -> f64 {
        self.execution.makespan + self.repeat.map_or(0.0, |repeat| repeat.seconds())
    }
    /// The pipeline stage of a rank class.
    #[must_use]
    pub fn stage_of(&self, class: usize) -> usize {
        class % self.layers.len()
    }
    /// Layers of a stage without and with experts.
    #[must_use]
    pub fn layer_kinds(&self, config: &Config, stage: usize) -> (u64, u64) {
        super::weights::stage_layers(config, &self.layers, stage as u64)
    }
    /// Index of the part that sets the pace of a rank class.
    #[must_use]
    pub fn part_of(&self, class: usize) -> usize {
        self.variants[class / self.layers.len()].paces[self.stage_of(class)].part
    }
}

/// Simulates one optimizer step of a job on the first ranks of a fabric.
///
/// # Errors
/// When the layers do not split, a part lacks the number format, or the schedule locks up.
pub fn simulate_step(config: &Config, fabric: &Fabric) -> Result<Step, StepError> {
    simulate_step_with(config, fabric, Profiles::embedded())
}

/// The same with kernel profiles other than the shipped ones.
///
/// # Errors
/// As [`simulate_step`].
pub fn simulate_step_with(config: &Config, fabric: &Fabric, profiles: &Profiles) -> Result<Step, StepError> {
    in_part(config, fabric, profiles, |_, _| ()).map(|r| r.0)
}

/// The whole step with ranks folded or each by itself.
///
/// # Errors
/// As [`simulate_step`].
pub fn simulate_step_folded(config: &Config, fabric: &Fabric, folding: Folding) -> Result<Step, StepError> {
    run(config, fabric, Profiles::embedded(), folding, false, None, |_, _| ()).map(|r| r.0)
}

/// The step under some profiles while a share of the bytes of a transfer moves over the fabric from its start.
///
/// # Errors
/// As [`simulate_step`].
pub fn simulate_step_beside(
    config: &Config,
    fabric: &Fabric,
    profiles: &Profiles,
    transfer: &Transfer,
    share: f64,
) -> Result<Step, StepError> {
    run(config, fabric, profiles, Folding::Folded, false, Some((transfer, share)), |_, _| ()).map(|r| r.0)
}

/// The step as a trace: what each rank does, with the durations of the simulation.
///
/// # Errors
/// As [`simulate_step`].
pub fn trace_step(config: &Config, fabric: &Fabric, profiles: &Profiles) -> Result<Trace, StepError> {
    run(config, fabric, profiles, Folding::Folded, true, None, |step, network| export(&config.parallel, step, network)).map(|r| r.1)
}

/// A step that was lowered, and what it was lowered from.
pub(super) struct Prepared {
    pub(super) lowered: Lowered,
    layers: Vec<Vec<u64>>,
    paces: Vec<(Passes, f64)>,
    devices: Vec<DeviceModel>,
    parts: Vec<String>,
    variants: Vec<Variant>,
}

/// Launch time of the host of the first rank relative to the host of the stacks' figures.
pub(super) fn launch_factor(fabric: &Fabric) -> f64 {
    *fabric.host(fabric.site(AcceleratorId(0)).node).launch_factor
}

/// Lowers a step onto the fabric that a network sees; `repeat` is what it leaves out.
pub(super) fn prepare(
    config: &Config,
    profiles: &Profiles,
    folding: Folding,
    apart: bool,
    repeat: Option<Repeat>,
    network: &mut Network<'_>,
) -> Result<Prepared, StepError> {
    let (fabric, parallel) = (network.fabric(), &config.parallel);
    let layers = config.layers().map_err(StepError::Split)?;
    let parts = parts_of(fabric, parallel.ranks());
    let launch_factor = launch_factor(fabric);
    let mut paces = Vec::new();
    let mut devices = Vec::new();
    for part in &parts {
        let device = DeviceModel::with(profiles, part, None);
        for dtype in [config.precision.linear(), config.precision.wide()] {
            if device.peak(dtype).is_none() {
                return Err(StepError::Precision(format!("{} has no matrix path for {dtype}", *part.name)));
            }
        }
        let memory_rate = 1.0 / device.stream(1e9, 0.0) * 1e9;
        paces.push((Passes::new(config, &device, launch_factor), memory_rate));
        devices.push(device);
    }
    let slower = |a: usize, b: usize| paces[a].0.layer_forward.compute() > paces[b].0.layer_forward.compute();
    let variants = variants(fabric, config, &parts, &slower, folding);
    let mut lowering =
        Lowering::new(config, &paces, &layers, &variants, network, &Library { channels: config.collective_channels, ..Library::nccl() });
    (lowering.apart, lowering.repeat) = (apart, repeat);
    let lowered = lowering.lower();
    let parts = parts.iter().map(|p| p.id.value.clone()).collect();
    Ok(Prepared { lowered, layers, paces, devices, parts, variants })
}

/// Runs a step, in part where that stands for the whole, and gives it with what `then` reads off it while the routes are there.
pub(super) fn in_part<T>(
    config: &Config,
    fabric: &Fabric,
    profiles: &Profiles,
    then: impl FnOnce(&Step, &Network<'_>) -> T,
) -> Result<(Step, T), StepError> {
    if let Some(short) = short(config) {
        let mut network = Network::new(fabric);
        let step = simulate(&short.config, profiles, Folding::Folded, false, Some(&short), &mut network)?;
        if step.repeat.is_some() {
            let read = then(&step, &network);
            return Ok((step, read));
        }
    }
    run(config, fabric, profiles, Folding::Folded, false, None, then)
}

/// Runs a whole step and gives it, with what `then` reads off it while the routes are there; `apart` makes every tensor-parallel collective a
/// task of its own, `beside` is a transfer of which a share runs beside the step.
fn run<T>(
    config: &Config,
    fabric: &Fabric,
    profiles: &Profiles,
    folding: Folding,
    apart: bool,
    beside: Option<(&Transfer, f64)>,
    then: impl FnOnce(&Step, &Network<'_>) -> T,
) -> Result<(Step, T), StepError> {
    let mut network = Network::new(fabric);
    if let Some((transfer, share)) = beside {
        network.set_beside(transfer, share);
    }
    let step = simulate(config, profiles, folding, apart, None, &mut network)?;
    let read = then(&step, &network);
    Ok((step, read))
}

/// Lowers and runs a step, of a short one as far as it stands for the long one.
fn simulate(
    config: &Config,
    profiles: &Profiles,
    folding: Folding,
    apart: bool,
    short: Option<&Short>,
    network: &mut Network<'_>,
) -> Result<Step, StepError> {
    let Prepared { lowered, layers, paces, devices, parts, variants } =
        prepare(config, profiles, folding, apart, short.map(|s| s.repeat), network)?;
    let execution = execute(&lowered.graph, network, lowered.classes, &lowered.inside).map_err(StepError::Deadlock)?;
    let repeat = short.and_then(|s| s.settled(&lowered.graph, &execution));
    let memory = (0..config.parallel.pipeline).map(|s| stage_memory(config, &layers, s)).collect();
    let passes = paces.into_iter().map(|p| p.0).collect();
    let Lowered { mut graph, inside, .. } = lowered;
    if let Some(repeat) = repeat {
        graph.count(|task| if repeat.is_in(execution.start[task]) { f64::from(1 + repeat.times) } else { 1.0 });
    }
    Ok(Step { graph, inside, execution, repeat, layers, passes, memory, devices, parts, variants })
}
