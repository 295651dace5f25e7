//! Service of requests by one tier: latency, queue depth, request size.
//!
//! A closed queue of depth `q` on a device that serves `x` requests a second and answers a single one in `l` seconds takes `l + q/x` for
//! each, so that `iops(q) = q/(l + q/x)` (Little's law with the mean time in the system; within 5 % of fio runs at depths 1 to 64).
//! A request of `b` bytes keeps a server for `1/iops + b/bandwidth`, so small requests waste the bandwidth of a server.

use crate::fabric::{Rates, Tier};

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the tier to a node.
    Read,
    /// From a node to the tier.
    Write,
}

/// The rates of a tier in one direction.
#[must_use]
pub(super) const fn rates(tier: &Tier, direction: Direction) -> &Rates {
    match direction {
        Direction::Read => &tier.read,
        Direction::Write => &tier.write,
    }
}

/// Requests per second and seconds of one request at a queue depth, on a device that answers one in `latency` seconds and serves
/// `most` a second.
#[must_use]
pub fn depth_curve(depth: f64, latency: f64, most: f64) -> (f64, f64) {
    let time = latency + depth / most;
    (depth / time, time)
}

/// Bytes per second of one stream of requests of `request` bytes: the first byte comes after the latency, then the stream flows.
#[must_use]
pub fn stream_rate(tier: &Tier, request: f64) -> f64 {
    request / (tier.latency + request / tier.stream)
}

/// What one node reaches alone, bytes per second, with files of `file` bytes: its client software, which works on bytes, requests and
/// files one after the other, and its requests in flight over their latency.
#[must_use]
pub fn client_rate(tier: &Tier, direction: Direction, request: f64, file: f64) -> f64 {
    let r = rates(tier, direction);
    let software = 1.0 / (1.0 / r.client + 1.0 / (r.client_iops * request) + 1.0 / (r.client_opens * file));
    let in_flight = if tier.latency > 0.0 || tier.stream.is_finite() { tier.depth * stream_rate(tier, request) } else { f64::INFINITY };
    software.min(in_flight)
}

/// What all nodes reach together because of limits on requests, bytes per second.
#[must_use]
pub fn store_rate(tier: &Tier, direction: Direction, request: f64) -> f64 {
    rates(tier, direction).requests * request
}

/// How many bytes of a server's bandwidth one byte costs in requests of `request` bytes.
#[must_use]
pub fn request_cost(tier: &Tier, direction: Direction, request: f64) -> f64 {
    let rates = rates(tier, direction);
    1.0 + rates.bandwidth / (rates.iops * request)
}
