//! Inference serving: requests, batching schedulers, key-value cache, routing; iteration times from the same kernels and collectives
//! as everything else.
//!
//! A [`Deployment`] on a fabric gives a [`Pool`] of engines; [`serve`] runs [`Requests`] through it on the event queue and returns
//! what became of each. Engines are data (`stacks.toml`).

mod cost;
mod deployment;
mod experts;
mod gaps;
mod lengths;
mod memory;
mod prefix;
mod replica;
mod request;
mod router;
mod series;
mod shape;
mod simulation;
mod stack;
mod trace;
mod traffic;

#[cfg(test)]
mod tests;

pub use cost::{Batch, Cost, Formats};
pub use deployment::{DeployError, Deployment, Speculation};
pub use gaps::Gaps;
pub use lengths::Length;
pub use memory::Memory;
pub use replica::Limits;
pub use request::{NO_SESSION, Record, Request, Requests};
pub use router::RouterPolicy;
pub use series::{Series, Slice};
pub use shape::{Latent, Mixture, Shape};
pub use simulation::{Arrivals, Pool, Served, serve};
pub use stack::{Batching, StackRow, stack, stacks};
pub use trace::{BadRow, TraceFormat, read_trace};
pub use traffic::{Pace, Synthetic, synthesize};
