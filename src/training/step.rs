//! One optimizer step of a job on a fabric: lowered, run, and what came out.

use super::config::Config;
use super::layer::Passes;
use super::lower::Lowering;
use super::memory::{MemoryPlan, stage_memory};
use super::stages::{SplitError, split};
use crate::collectives::Library;
use crate::fabric::{AcceleratorId, Fabric};
use crate::kernels::DeviceModel;
use crate::simulate::{Deadlock, Execution, Network, execute};
use crate::workload::TaskGraph;
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
    /// The tasks.
    pub graph: TaskGraph,
    /// When they ran.
    pub execution: Execution,
    /// Layers of every chunk by stage.
    pub layers: Vec<Vec<u64>>,
    /// Passes of one microbatch.
    pub passes: Passes,
    /// Memory of every stage at its peak.
    pub memory: Vec<MemoryPlan>,
    /// The device model, for what it says of its constants.
    pub device: DeviceModel,
}

/// Simulates one optimizer step of a job on the first ranks of a fabric.
///
/// # Errors
/// When the layers do not split, the part lacks the number format, or the schedule locks up.
pub fn simulate_step(config: &Config, fabric: &Fabric) -> Result<Step, StepError> {
    let parallel = &config.parallel;
    let layers = split(
        config.model.layers,
        parallel.pipeline,
        parallel.virtual_stages,
        *config.stack.split,
        parallel.first_stage_layers,
        parallel.last_stage_layers,
    )
    .map_err(StepError::Split)?;
    let first = AcceleratorId(0);
    let part = fabric.part(first);
    let device = DeviceModel::new(part, None);
    for dtype in [config.precision.linear(), config.precision.wide()] {
        if device.peak(dtype).is_none() {
            return Err(StepError::Precision(format!("{} has no matrix path for {dtype}", *part.name)));
        }
    }
    let launch_factor = *fabric.host(fabric.site(first).node).launch_factor;
    let passes = Passes::new(config, &device, launch_factor);
    let mut network = Network::new(fabric);
    let library = Library::nccl();
    let memory_rate = 1.0 / device.stream(1e9, 0.0) * 1e9;
    let lowered = Lowering::new(config, &passes, &layers, memory_rate, &mut network, &library).lower();
    let execution = execute(&lowered.graph, &network, lowered.classes, &lowered.inside).map_err(StepError::Deadlock)?;
    let memory = (0..parallel.pipeline).map(|s| stage_memory(config, &layers, s)).collect();
    Ok(Step { graph: lowered.graph, execution, layers, passes, memory, device })
}
