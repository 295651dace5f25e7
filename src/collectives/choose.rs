//! Choice of algorithm and protocol inside a scale-up domain, as NCCL's cost model makes it.
//!
//! The constants are the library's own and serve only to choose: its mistakes are part of what is measured, since times
//! jump where it switches.

use super::platform::ScaleUpLines;
use super::timing::{Chosen, nvls, ring, ring_edge, ring_steps};
use super::{Algorithm, Op, Protocol};

/// The library's estimate of a ring, seconds.
fn ring_estimate(lines: &ScaleUpLines, op: Op, n: f64, protocol: Protocol, bytes: f64) -> f64 {
    let steps = ring_steps(op, n);
    let (latency, busbw) = match protocol {
        Protocol::Ll => (6.6 + 0.6 * steps, lines.ll_cap.min(lines.tuner_rate / 2.0)),
        Protocol::Ll128 => (14.0 + 1.9 * steps, 0.92 * lines.tuner_rate),
        Protocol::Simple => (8.4 + 3.4 * steps, lines.tuner_rate),
    };
    latency * 1e-6 + bytes * ring_edge(op, n as usize) / busbw
}

/// The library's estimate of an in-switch all-reduce, seconds.
fn nvls_estimate(lines: &ScaleUpLines, n: f64, bytes: f64) -> f64 {
    let (channel, efficiency) = lines.nvls_tuner;
    let busbw = n * channel.min(lines.tuner_rate / n) * efficiency * 2.0 * (n - 1.0) / n;
    25e-6 + bytes / (busbw * n / (2.0 * (n - 1.0)))
}

/// The best by the library's estimate, with its measured line.
pub(super) fn in_domain(lines: &ScaleUpLines, op: Op, n: f64, bytes: f64) -> Chosen {
    let mut best = (f64::INFINITY, Algorithm::Ring, Protocol::Ll);
    for protocol in [Protocol::Ll, Protocol::Ll128, Protocol::Simple] {
        let estimate = ring_estimate(lines, op, n, protocol, bytes);
        if estimate < best.0 {
            best = (estimate, Algorithm::Ring, protocol);
        }
    }
    if op == Op::AllReduce && n > 2.0 && lines.nvls.is_some() {
        let estimate = nvls_estimate(lines, n, bytes);
        if estimate < best.0 {
            best = (estimate, Algorithm::Nvls, Protocol::Simple);
        }
    }
    let line = if best.1 == Algorithm::Nvls { nvls(lines, n, bytes) } else { ring(lines, op, n, best.2, bytes) };
    Chosen { line, algorithm: best.1, protocol: best.2 }
}
