//! Storage tiers at work: service of requests (queue depth, request size, streams, limits of prefixes), and reads and writes of many
//! nodes as one activity over the exact paths of all of them.
//!
//! The tiers themselves are parts of the fabric (`fabric::Tier`): their servers and drives are vertices, what they carry is the
//! capacity of links. Here is what a link alone cannot say.

mod service;
mod transfer;

#[cfg(test)]
mod tests;

pub use service::{Direction, client_rate, depth_curve, request_cost, store_rate, stream_rate};
pub use transfer::{Client, Transfer, copy, exchange, replicate, transfer};
