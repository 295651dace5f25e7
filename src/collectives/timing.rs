//! Lines of one collective inside a scale-up domain: start-up and payload rate by protocol.

use super::platform::ScaleUpLines;
use super::{Algorithm, Op, Protocol};

/// A line: seconds of start-up and the payload rate in bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) latency: f64,
    pub(super) rate: f64,
}

impl Line {
    pub(super) fn time(&self, bytes: f64) -> f64 {
        self.latency + bytes / self.rate
    }
}

/// Steps of a ring operation over `n` ranks.
pub(super) fn ring_steps(op: Op, n: f64) -> f64 {
    match op {
        Op::AllReduce => 2.0 * (n - 1.0),
        _ => n - 1.0,
    }
}

fn faster(bytes: f64, a: Line, b: Line) -> Line {
    if a.time(bytes) <= b.time(bytes) { a } else { b }
}

/// The line of a ring under a protocol: the wire carries `s × steps / n` bytes an edge, and the copy of `s / n` shows.
pub(super) fn ring(lines: &ScaleUpLines, op: Op, n: f64, protocol: Protocol, bytes: f64) -> Line {
    let steps = ring_steps(op, n);
    let wire = steps / n;
    let with_copy = wire + lines.copy / n;
    let b = lines.rate;
    // Shares of the ring rate: LL 0.027 on few channels, then 0.50 (the library's own figure); LL128 0.71; bulk 1.007 [fit].
    let simple = Line { latency: lines.bulk_base + steps * lines.bulk_hop, rate: 1.007 * b / with_copy };
    match protocol {
        Protocol::Ll => faster(
            bytes,
            Line { latency: lines.base + steps * lines.hop, rate: 0.027 * b / wire },
            Line { latency: lines.base + lines.spread + steps * lines.hop, rate: 0.50 * b / with_copy },
        ),
        Protocol::Ll128 if lines.ll128 => faster(bytes, Line { latency: lines.bulk_base + 3e-6, rate: 0.71 * b / with_copy }, simple),
        _ => simple,
    }
}

/// The line of an in-switch all-reduce: the wire carries `s (1 + 1/n)`.
pub(super) fn nvls(lines: &ScaleUpLines, n: f64, bytes: f64) -> Line {
    let (small, large) = lines.nvls.unwrap_or((0.0, 0.0));
    let wire = 1.0 + 1.0 / n;
    // The large start-up grows with the domain: 58 and 142 us at 8 ranks, 64 + 7.5 n beyond (72 ranks: 600 us).
    let large = if n > 8.0 { 64e-6 + 7.5e-6 * n } else { large };
    // Above 1 GiB Hopper reaches 0.83 of the ring rate (H200 at 8 GiB, n = 5 to 8: 304 to 311 of 371 GB/s).
    let share = if bytes > 1e9 && lines.ll128 { 0.83 } else { 0.77 };
    faster(bytes, Line { latency: small, rate: 0.43 * lines.rate / wire }, Line { latency: large, rate: share * lines.rate / wire })
}

/// The line of an all-to-all of buffers of `s` bytes a rank: three regimes by message size (A100, H100, B200 fits).
pub(super) fn all_to_all(technology: &str, lines: &ScaleUpLines, n: f64, bytes: f64) -> Line {
    // [start, per peer, GB/s per peer; start, GB/s; start, GB/s, copy]
    let (a, h, b1, am, bm, a_s, b, k) = match technology {
        "nvlink3" => (9.7, 0.86, 4.2, 13.6, 77.0, 30.6, 198.0, 0.2),
        "nvlink4" => (6.2, 0.25, 6.2, 12.8, 254.0, 28.2, 314.0, 0.1),
        "nvlink5" | "nvlink6" => (8.4, 0.57, 6.2, 11.2, 26.0, 17.0, 571.0, 0.7),
        _ => {
            let rate = 0.82 * lines.rate / ((n - 1.0) / n);
            return Line { latency: lines.base + lines.hop * (n - 1.0), rate };
        }
    };
    let x = (n - 1.0) / n + k / n;
    let us = 1e-6;
    let gb = 1e9;
    let small = Line { latency: (a + h * (n - 1.0)) * us, rate: b1 * gb * n };
    let middle = Line { latency: am * us, rate: bm * gb / x };
    let large = Line { latency: a_s * us, rate: b * gb / x };
    faster(bytes, small, faster(bytes, middle, large))
}

/// The line that was chosen, with its names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chosen {
    pub(super) line: Line,
    pub(super) algorithm: Algorithm,
    pub(super) protocol: Protocol,
}
