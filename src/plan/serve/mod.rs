//! Plans for serving: which accelerators, how many nodes, how many tensor ranks an engine, prompts apart or not, so that a rate is held within
//! latencies.
//!
//! `load` reads the question, `candidate` spreads out a cluster, `setup` says how engines lie on accelerators, `bound` says what a deployment takes at least (rooflines of compute and of the cache's traffic, and the
//! latencies of requests that have an engine for themselves), `spot` what is taken away, `search` takes deployments in order of their bounds and simulates what those do
//! not rule out, `growth` follows demand over months, `answer` says what came of it, `obstacles` what is in the way, `caveats` what it rests on.

mod answer;
mod bound;
mod candidate;
mod caveats;
mod growth;
mod load;
mod obstacles;
mod search;
mod setup;
mod slo;
mod spot;

#[cfg(test)]
mod tests;

pub(super) use answer::decide;
pub use load::ServePlan;
pub(super) use load::load;
pub(super) use setup::ratio;
