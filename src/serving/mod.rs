//! Inference serving: requests, batching schedulers, key-value cache, routing; iteration times from the same kernels and collectives
//! as everything else.
//!
//! A [`Deployment`] on a fabric gives a [`Pool`] of engines; [`serve`] runs [`Requests`] through it on the event queue and returns
//! what became of each. Keys and values, weights and cached prompts move as flows over the fabric. Engines are data (`stacks.toml`).

mod adapters;
mod cost;
mod deployment;
mod drive;
mod experts;
mod fleet;
mod flows;
mod front;
mod gaps;
mod handover;
mod lengths;
mod memory;
mod offload;
mod prefix;
mod replica;
mod request;
mod router;
mod run;
mod series;
mod shape;
mod simulation;
mod stack;
mod trace;
mod traffic;
mod watch;

#[cfg(test)]
mod tests;

pub use adapters::Adapters;
pub use cost::{Batch, Cost, Formats, Stages};
pub use deployment::{Beside, DeployError, Deployment, Prompts, Speculation};
pub use fleet::{EngineFailure, Fleet, Measure, Scaling, Start};
pub use gaps::Gaps;
pub use lengths::Length;
pub use memory::{Memory, Split};
pub use offload::Offload;
pub use replica::{Limits, Role};
pub use request::{NO_SESSION, Record, Request, Requests, Turn};
pub use router::RouterPolicy;
pub use series::{Series, Slice};
pub use shape::{Latent, Mixture, Shape, Windowed};
pub use simulation::{Arrivals, EngineSite, Pool, Served, serve, serve_watched};
pub use stack::{Batching, StackRow, stack, stacks};
pub use trace::{BadRow, TraceFormat, read_trace};
pub use traffic::{Dialogue, Pace, Synthetic, converse, synthesize};
pub use watch::{Watch, Watched};
