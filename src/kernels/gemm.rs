//! Matrix products: the tile model.
//!
//! A menu of tiles and splits of the inner dimension; each choice takes its waves of tiles over the compute units, a
//! latency for every step along the inner dimension, and the memory traffic, joined by a soft maximum; the best choice
//! counts, and what of the result's writing nothing hides comes behind it. The tile is a device of the model and not the library's kernel.

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

/// Bytes of one element of both operands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperandBytes {
    /// Of the input.
    pub input: f64,
    /// Of the weight.
    pub weight: f64,
}

/// Constants of one number format on one device, in seconds, bytes and FLOPs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GemmConstants {
    /// Start-up, seconds.
    pub t0: f64,
    /// Share of the matrix peak that a full tile reaches.
    pub ec: f64,
    /// Seconds per 256 bytes of the inner dimension of one tile.
    pub kl: f64,
    /// Extra seconds of a split inner dimension; 0: never split.
    pub ts: f64,
    /// Passes over the input for its quantisation.
    pub cq: f64,
    /// Seconds per row for the quantisation of the input, on 132 units.
    pub rq: f64,
    /// Share of the memory bandwidth.
    pub em: f64,
    /// Exponent of the soft maximum of compute and memory.
    pub q: f64,
    /// Hardness of wave quantisation.
    pub w: f64,
    /// Passes over the result whose writing nothing hides: a kernel that ends with its last tile writes it alone.
    pub wb: f64,
}

/// What the device brings: dense peak, memory bandwidth, units that run tiles side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sheet {
    /// Dense peak of the number format, FLOP/s.
    pub peak: f64,
    /// Memory bandwidth, bytes/s.
    pub bandwidth: f64,
    /// Compute units.
    pub units: f64,
}

const TILES: [(u64, u64); 6] = [(16, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 128)];
const SPLITS: [u64; 5] = [1, 2, 4, 8, 16];

impl GemmConstants {
    /// The geometric mean of sets of constants of one number format.
    #[must_use]
    pub fn mean(sets: &[Self]) -> Self {
        let mean = |get: fn(&Self) -> f64| {
            if sets.is_empty() || sets.iter().any(|s| get(s) <= 0.0) {
                return 0.0;
            }
            libm::exp(sets.iter().map(|s| libm::log(get(s))).sum::<f64>() / sets.len() as f64)
        };
        Self {
            t0: mean(|s| s.t0),
            ec: mean(|s| s.ec),
            kl: mean(|s| s.kl),
            ts: mean(|s| s.ts),
            cq: mean(|s| s.cq),
            rq: mean(|s| s.rq),
            em: mean(|s| s.em),
            q: mean(|s| s.q),
            w: mean(|s| s.w),
            wb: mean(|s| s.wb),
        }
    }

    /// Seconds of one product, casts of the input not counted.
    #[must_use]
    pub fn time(&self, sheet: &Sheet, bytes: OperandBytes, g: Gemm) -> f64 {
        let (m, n, k, batch) = (g.m as f64, g.n as f64, g.k as f64, g.batch as f64);
        self.time_moving(sheet, bytes, g, batch * (bytes.input * m * k + bytes.weight * n * k + g.output_bytes * m * n))
    }

    /// The same where memory traffic is not that of whole operands.
    pub(super) fn time_moving(&self, sheet: &Sheet, bytes: OperandBytes, g: Gemm, traffic: f64) -> f64 {
        let (m, n, k, batch) = (g.m as f64, g.n as f64, g.k as f64, g.batch as f64);
        let memory = traffic / (sheet.bandwidth * self.em);
        let tiles = |tm: u64, tn: u64| (g.m.div_ceil(tm) * g.n.div_ceil(tn)) as f64 * batch;
        let written = self.wb * g.output_bytes * m * n * batch / sheet.bandwidth;
        self.t0 + self.core(sheet, bytes.input, k, memory, m * n * batch, &tiles) + written
    }

    /// The best tile and split: `tiles(tm, tn)` tiles in all, `outputs` elements of the result.
    pub(super) fn core(&self, sheet: &Sheet, b: f64, k: f64, memory: f64, outputs: f64, tiles: &dyn Fn(u64, u64) -> f64) -> f64 {
        let step = self.kl * b / 256.0;
        let rate = sheet.peak / sheet.units * self.ec;
        let splits = if self.ts > 0.0 { &SPLITS[..] } else { &SPLITS[..1] };
        let mut best = f64::INFINITY;
        for (tm, tn) in TILES {
            let count = tiles(tm, tn);
            let per_k = (2.0 * (tm * tn) as f64 / rate).max(step);
            for &s in splits {
                let s = s as f64;
                let ks = 64.0 * ((k / s) / 64.0).ceil();
                if s > 1.0 && ks < 256.0 {
                    break;
                }
                let load = count * s / sheet.units;
                let waves = self.w * load.ceil() + (1.0 - self.w) * load.max(1.0);
                let compute = waves * ks * per_k;
                let extra = if s > 1.0 { self.ts + 8.0 * s * outputs / (3.0 * sheet.bandwidth) } else { 0.0 };
                // The soft maximum is never below the hard one: most choices need no power.
                if compute.max(memory) + extra < best {
                    best = best.min(soft_max(compute, memory, self.q) + extra);
                }
            }
        }
        best
    }

    /// Seconds of casting the input down to the operands' format, as serving engines do inside the call.
    #[must_use]
    pub fn quantisation(&self, sheet: &Sheet, g: Gemm) -> f64 {
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
    let ratio = libm::pow(small / large, q);
    if ratio < 1e-17 { large } else { large * libm::pow(1.0 + ratio, 1.0 / q) }
}
