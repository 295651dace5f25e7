//! Plans for serving: which accelerators, how many nodes, how many tensor ranks an engine, so that a rate is held within latencies.
//!
//! `load` reads the question, `bound` says what a deployment takes at least (rooflines of compute and of the cache's traffic, and the
//! latencies of requests that have an engine for themselves), `search` takes deployments in order of their bounds and simulates what those do
//! not rule out, `growth` follows demand over months, `answer` says what came of it.

mod answer;
mod bound;
mod growth;
mod load;
mod search;
mod slo;

#[cfg(test)]
mod tests;

pub(super) use answer::decide;
pub use load::ServePlan;
pub(super) use load::load;
