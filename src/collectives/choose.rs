//! Choice of algorithm and protocol inside a scale-up domain, as the library's cost model (NCCL's, RCCL's) makes it.
//!
//! The constants are the library's own and serve only to choose: its mistakes are part of what is measured, since times
//! jump where it switches.

use super::platform::ScaleUpLines;
use super::timing::{Chosen, nvls, ring, ring_edge, ring_steps};
use super::{Algorithm, Op, Protocol};

/// Share of the rate that LL128 is taken to reach: 120 of 128 bytes, and something less (NCCL).
pub(super) const LL128_SHARE: f64 = 0.92;

/// The library's estimate of a ring, seconds.
fn ring_estimate(lines: &ScaleUpLines, op: Op, n: f64, protocol: Protocol, bytes: f64) -> f64 {
    let steps = ring_steps(op, n);
    let (tuner, rate) = (lines.tuner, lines.tuner_rate);
    let (latency, busbw) = match (protocol, &tuner.ll128[..]) {
        (Protocol::Ll, _) => (tuner.base.get() + tuner.hop.get() * steps, lines.ll_cap.min(rate * *tuner.ll_share)),
        (Protocol::Ll128, [base, hop]) => (base.get() + hop.get() * steps, LL128_SHARE * rate),
        (Protocol::Ll128, _) => return f64::INFINITY,
        (Protocol::Simple, _) => (tuner.bulk_base.get() + tuner.bulk_hop.get() * steps, rate),
    };
    latency + bytes * ring_edge(op, n as usize) / busbw
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
