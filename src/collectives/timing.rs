//! Lines of one collective inside a scale-up domain: start-up and payload rate by protocol.

use super::constants::{EngineRow, constants};
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
    /// The faster of two for a size.
    pub(super) fn or(self, bytes: f64, other: Self) -> Self {
        if self.time(bytes) <= other.time(bytes) { self } else { other }
    }
}

/// The line that was chosen, with its names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chosen {
    pub(super) line: Line,
    pub(super) algorithm: Algorithm,
    pub(super) protocol: Protocol,
}

/// Steps of a ring operation over `n` ranks.
pub(super) fn ring_steps(op: Op, n: f64) -> f64 {
    match op {
        Op::AllReduce => 2.0 * (n - 1.0),
        _ => n - 1.0,
    }
}

/// Bytes over one edge of a ring per byte of payload.
pub(super) fn ring_edge(op: Op, n: usize) -> f64 {
    let n = n as f64;
    match op {
        Op::AllReduce => 2.0 * (n - 1.0) / n,
        Op::AllGather | Op::ReduceScatter | Op::AllToAll | Op::Gather | Op::Scatter => (n - 1.0) / n,
        Op::Broadcast | Op::Reduce | Op::SendRecv | Op::Barrier | Op::Dispatch | Op::Combine => 1.0,
    }
}

/// The line of a ring under a protocol: the wire carries the ring's bytes an edge, and the copy of `s / n` shows.
pub(super) fn ring(lines: &ScaleUpLines, op: Op, n: f64, protocol: Protocol, bytes: f64) -> Line {
    let steps = ring_steps(op, n);
    let wire = ring_edge(op, n as usize);
    let with_copy = wire + lines.copy / n;
    let b = lines.rate;
    // Shares of the ring rate: LL 0.027 on few channels, then 0.50 (the library's own figure; RCCL 0.08); LL128 0.71; bulk 1.007 [fit].
    let simple = Line { latency: lines.bulk_base + steps * lines.bulk_hop, rate: 1.007 * b / with_copy };
    match protocol {
        Protocol::Ll => {
            let few = Line { latency: lines.base + steps * lines.hop, rate: 0.027 * b / wire };
            few.or(bytes, Line { latency: lines.base + lines.spread + steps * lines.hop, rate: lines.ll_share * b / with_copy })
        }
        Protocol::Ll128 if lines.ll128 => Line { latency: lines.bulk_base + 3e-6, rate: 0.71 * b / with_copy }.or(bytes, simple),
        _ => simple,
    }
}

/// The line of an in-switch all-reduce: the wire carries `s (1 + 1/n)`.
pub(super) fn nvls(lines: &ScaleUpLines, n: f64, bytes: f64) -> Line {
    let (small, large) = lines.nvls.unwrap_or((0.0, 0.0));
    let wire = 1.0 + 1.0 / n;
    // The large start-up grows with the domain: 58 and 142 us at 8 ranks, 64 + 7.5 n beyond (72 ranks: 603 us).
    let large = if n > 8.0 { 124e-6 + nvls_growth(n) } else { large };
    // Above 1 GiB Hopper reaches 0.83 of the ring rate (H200 at 8 GiB, n = 5 to 8: 304 to 311 of 371 GB/s); 72 ranks reach 444 of
    // 722 GB/s.
    let share = if n <= 16.0 && bytes > 1e9 && lines.ll128 { 0.83 } else { nvls_share(n) };
    Line { latency: small, rate: 0.43 * lines.rate / wire }.or(bytes, Line { latency: large, rate: share * lines.rate / wire })
}

/// What the start-up of large in-switch all-reduces grows by in domains of more than eight.
pub(super) fn nvls_growth(n: f64) -> f64 {
    7.5e-6 * (n - 8.0).max(0.0)
}

/// Share of a ring's rate that large in-switch all-reduces reach.
pub(super) fn nvls_share(n: f64) -> f64 {
    if n > 16.0 { 0.615 } else { 0.77 }
}

/// The line of an all-to-all of buffers of `s` bytes a rank: regimes by message size (A100, H100, B200 fits).
pub(super) fn all_to_all(technology: &str, lines: &ScaleUpLines, n: f64, bytes: f64) -> Line {
    let Some(row) = constants().all_to_all(technology) else {
        return Line { latency: lines.base + lines.hop * (n - 1.0), rate: 0.82 * lines.rate / ((n - 1.0) / n) };
    };
    let x = (n - 1.0) / n + *row.copy / n;
    let small = Line { latency: row.a.get() + row.h.get() * (n - 1.0), rate: row.b1.get() * n };
    let middle = Line { latency: row.am.get(), rate: row.bm.get() / x };
    let large = Line { latency: row.a_s.get(), rate: row.b.get() / x };
    let bulk = row.a_bulk.zip(*row.b_bulk).map(|(a, b)| Line { latency: a.get(), rate: b.get() / x });
    small.or(bytes, middle.or(bytes, bulk.map_or(large, |bulk| large.or(bytes, bulk))))
}

/// An engine's all-reduce, up to its limit. Kernels that span the trays of a domain have start-ups of 4.3 to 4.9 us (one-shot) and
/// 6.1 to 6.2 us (two-shot) whatever the number of ranks (8 to 16 GB300).
pub(super) fn engine(row: &EngineRow, n: f64, trays: bool, bytes: f64) -> Option<Chosen> {
    let at = if n < 3.0 { 0 } else { usize::from(n > 5.0) + 1 };
    let limit = row.limit.get(at).or(row.limit.last())?.get();
    let gap = n > 5.0 && row.gap.len() == 2 && (row.gap[0].get()..=row.gap[1].get()).contains(&bytes);
    if bytes > limit || gap {
        return None;
    }
    let start = |a: f64, h: f64, trays_a: f64| if trays { trays_a } else { a + h * n };
    let (one, two) = (&row.one_shot, &row.two_shot);
    let one = Line { latency: start(one.a.get(), one.h.get(), 4.6e-6), rate: one.b.get() / (n - 1.0) };
    let two = Line { latency: start(two.a.get(), two.h.get(), 6.2e-6), rate: two.b.get() / (2.0 * (n - 1.0) / n) };
    let (line, algorithm) = if one.time(bytes) <= two.time(bytes) { (one, Algorithm::OneShot) } else { (two, Algorithm::TwoShot) };
    Some(Chosen { line, algorithm, protocol: Protocol::Simple })
}
