//! Runs task graphs on a fabric: drives events, fair sharing, kernels' and collectives' times; names deadlocks.

mod constraints;
mod device;
mod execute;
mod flows;
mod fluid;
mod messages;
mod network;
mod patterns;
mod pauses;

pub use execute::{Deadlock, Execution, execute};
pub use flows::{CaseId, FlowCase, FlowCaseError, FlowEnd, FlowOutcome};
pub use fluid::Fluid;
pub use messages::{MessageRun, run_messages};
pub use network::{KindLoad, Network, Route, Way};
pub use patterns::{Flow, Pattern, Transport, run_pattern};
