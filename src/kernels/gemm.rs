//! Matrix products: the tile model.
//!
//! A menu of tiles and splits of the inner dimension; each choice takes its waves of tiles over the compute units, a
//! latency for every step along the inner dimension, and the memory traffic, joined by a soft maximum; the best choice
//! counts. The tile is a device of the model and not the library's kernel.

use super::profile::GemmRow;
use crate::hardware::Dtype;

/// A matrix product: `m` rows (tokens) times an `n × k` weight, `batch` of them side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Rows of the result.
    pub m: u64,
    /// Columns of the result.
    pub n: u64,
    /// Inner dimension.
    pub k: u64,
    /// How many of them.
    pub batch: u64,
    /// Bytes of one element of the result.
    pub output_bytes: f64,
}

/// Constants of one number format on one device, in seconds, bytes and FLOPs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GemmModel {
    pub(super) t0: f64,
    pub(super) ec: f64,
    pub(super) kl: f64,
    pub(super) ts: f64,
    pub(super) cq: f64,
    pub(super) rq: f64,
    pub(super) em: f64,
    pub(super) q: f64,
    pub(super) w: f64,
    pub(super) splits: bool,
}

/// What the device brings: dense peak, memory bandwidth, units that run tiles side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sheet {
    pub(super) peak: f64,
    pub(super) bandwidth: f64,
    pub(super) units: f64,
}

const TILES: [(u64, u64); 6] = [(16, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 128)];
const SPLITS: [u64; 5] = [1, 2, 4, 8, 16];

fn mean(rows: &[&GemmRow], get: impl Fn(&GemmRow) -> f64) -> f64 {
    if rows.iter().any(|r| get(r) <= 0.0) {
        return 0.0;
    }
    libm::exp(rows.iter().map(|r| libm::log(get(r))).sum::<f64>() / rows.len() as f64)
}

impl GemmModel {
    /// The geometric mean of rows of one number format.
    pub(super) fn of(rows: &[&GemmRow]) -> Self {
        Self {
            t0: 1e-6 * mean(rows, |r| *r.t0),
            ec: mean(rows, |r| *r.ec),
            kl: 1e-6 * mean(rows, |r| *r.kl),
            ts: 1e-6 * mean(rows, |r| *r.ts),
            cq: mean(rows, |r| *r.cq),
            rq: 1e-9 * mean(rows, |r| *r.rq),
            em: mean(rows, |r| *r.em),
            q: mean(rows, |r| *r.q),
            w: mean(rows, |r| *r.w),
            splits: rows.iter().any(|r| *r.ts > 0.0),
        }
    }

    /// Seconds of one product; `b` bytes per operand element.
    pub(super) fn time(&self, sheet: &Sheet, dtype: Dtype, g: Gemm) -> f64 {
        let (m, n, k, batch) = (g.m as f64, g.n as f64, g.k as f64, g.batch as f64);
        self.time_moving(sheet, dtype, g, batch * (dtype.bytes() * (m * k + n * k) + g.output_bytes * m * n))
    }

    /// The same where memory traffic is not that of whole operands.
    pub(super) fn time_moving(&self, sheet: &Sheet, dtype: Dtype, g: Gemm, bytes: f64) -> f64 {
        let b = dtype.bytes();
        let (m, n, k, batch) = (g.m as f64, g.n as f64, g.k as f64, g.batch as f64);
        let memory = bytes / (sheet.bandwidth * self.em);
        let step = self.kl * b / 256.0;
        let rate = sheet.peak / sheet.units * self.ec;
        let mut best = f64::INFINITY;
        for (tm, tn) in TILES {
            let tiles = (g.m.div_ceil(tm) * g.n.div_ceil(tn)) as f64 * batch;
            let per_k = (2.0 * (tm * tn) as f64 / rate).max(step);
            for &s in if self.splits { &SPLITS[..] } else { &SPLITS[..1] } {
                let ks = 64.0 * ((k / s as f64) / 64.0).ceil();
                if s > 1 && ks < 256.0 {
                    break;
                }
                let load = tiles * s as f64 / sheet.units;
                let waves = self.w * load.ceil() + (1.0 - self.w) * load.max(1.0);
                let compute = waves * ks * per_k;
                let mut core = soft_max(compute, memory, self.q);
                if s > 1 {
                    core += self.ts + 8.0 * s as f64 * m * n * batch / (3.0 * sheet.bandwidth);
                }
                best = best.min(core);
            }
        }
        self.t0 + best
    }

    /// Seconds of casting the input down to the operands' format, as serving engines do inside the call.
    pub(super) fn quantisation(&self, sheet: &Sheet, g: Gemm) -> f64 {
        let (m, k) = (g.m as f64, g.k as f64);
        self.cq * 3.0 * m * k / sheet.bandwidth + self.rq * m * 132.0 / sheet.units
    }
}

/// `(a^q + b^q)^(1/q)`, without overflow for large exponents.
pub(super) fn soft_max(a: f64, b: f64, q: f64) -> f64 {
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    if large <= 0.0 {
        return 0.0;
    }
    large * libm::pow(1.0 + libm::pow(small / large, q), 1.0 / q)
}
