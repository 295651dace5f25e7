//! Mixture-of-experts layers: the load of the experts of one rank, and two grouped products over them.
//!
//! The rank that counts is the most loaded one: the others wait for it. How unequal the experts' loads are is an input.

use super::gemm::{Gemm, GemmConstants, OperandBytes, Sheet};
use crate::engine::Streams;
use rand_pcg::rand_core::Rng;

/// How tokens spread over the experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Balance {
    /// Every expert gets the same share.
    Even,
    /// Popularity of experts follows a power law with this exponent; measured tables use 1.01 and 1.2.
    PowerLaw(f64),
}

/// A mixture-of-experts layer on one rank of an expert-parallel group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moe {
    /// Tokens that enter the layer on all expert-parallel ranks together.
    pub tokens: u64,
    /// Width of the model.
    pub hidden: u64,
    /// Inner width of one expert on this rank (the whole width over its tensor degree).
    pub inner: u64,
    /// Whether the first product has a gate beside it.
    pub gated: bool,
    /// Experts of a token.
    pub top_k: u64,
    /// Routed experts of the layer.
    pub experts: u64,
    /// Expert-parallel degree.
    pub expert_parallel: u64,
    /// How tokens spread.
    pub balance: Balance,
}

/// Assignments of the experts of the most loaded rank.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertLoads {
    draws: Vec<Vec<u32>>,
}

/// Draws of an unequal spread that are averaged.
const DRAWS: u64 = 6;

impl ExpertLoads {
    /// The loads of a layer's most loaded rank: closed form where tokens spread evenly, else the mean of some draws.
    #[must_use]
    pub fn of(moe: &Moe) -> Self {
        let experts = moe.experts.clamp(1, 1 << 16) as usize;
        let local = (moe.experts / moe.expert_parallel.max(1)).clamp(1, 1 << 16) as usize;
        let total = moe.tokens as f64 * moe.top_k as f64;
        let alpha = match moe.balance {
            Balance::PowerLaw(alpha) if experts > 1 => alpha,
            _ => return Self { draws: vec![even(total, experts, local)] },
        };
        let mut stream = Streams::new(1).stream("expert loads");
        let draw = |_| {
            let unit = &mut || (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            skewed(total, moe.tokens as f64, experts, local, alpha, unit)
        };
        Self { draws: (0..DRAWS).map(draw).collect() }
    }

    fn mean(&self, of: impl Fn(&[u32]) -> f64) -> f64 {
        self.draws.iter().map(|d| of(d)).sum::<f64>() / self.draws.len() as f64
    }
    /// Token-to-expert assignments on the rank.
    #[must_use]
    pub fn assignments(&self) -> f64 {
        self.mean(|d| d.iter().map(|&x| f64::from(x)).sum())
    }
    /// Experts that get any token.
    #[must_use]
    pub fn active(&self) -> f64 {
        self.mean(|d| d.iter().filter(|&&x| x > 0).count() as f64)
    }
    /// Tiles of `rows` rows over all experts.
    #[must_use]
    pub fn tiles(&self, rows: u64) -> f64 {
        self.mean(|d| d.iter().map(|&x| u64::from(x).div_ceil(rows) as f64).sum())
    }
}

/// Equal shares in whole tokens; with fewer assignments than experts that many experts get one.
fn even(total: f64, experts: usize, local: usize) -> Vec<u32> {
    let share = total / experts as f64;
    let whole = share.floor();
    // The rank that counts holds the remainder as far as it goes.
    let more = (total - whole * experts as f64).round() as usize;
    let more = if more == 0 { 0 } else { (more as f64 * local as f64 / experts as f64).ceil() as usize };
    (0..local).map(|e| (whole + if e < more { 1.0 } else { 0.0 }).min(f64::from(u32::MAX)) as u32).collect()
}

/// One draw: popularity of every expert by the inverse distribution of a power law, scaled to the total, no expert above
/// the number of tokens; then the group of experts with most assignments.
fn skewed(total: f64, tokens: f64, experts: usize, local: usize, alpha: f64, unit: &mut dyn FnMut() -> f64) -> Vec<u32> {
    let (low, high) = if total <= experts as f64 { (0.01, 2.0) } else { (1.0, (0.8 * tokens).max(1.0 + 1e-9)) };
    let e = 1.0 - alpha;
    let inverse = |u: f64| {
        if e.abs() < 1e-9 {
            return low * libm::pow(high / low, u);
        }
        let (a, b) = (libm::pow(low, e), libm::pow(high, e));
        libm::pow(a + u * (b - a), 1.0 / e)
    };
    let raw: Vec<f64> = (0..experts).map(|_| inverse(unit())).collect();
    let scale = total / raw.iter().sum::<f64>();
    let load: Vec<u32> = raw.iter().map(|x| (x * scale).min(tokens).round().min(f64::from(u32::MAX)) as u32).collect();
    let sum = |group: &[u32]| group.iter().map(|&x| u64::from(x)).sum::<u64>();
    let mut best: &[u32] = &load[..local.min(load.len())];
    for group in load.chunks_exact(local) {
        if sum(group) > sum(best) {
            best = group;
        }
    }
    best.to_vec()
}

/// Constants of a mixture-of-experts kernel, in seconds, bytes and FLOPs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeConstants {
    /// Those of the grouped products; `t0` holds the start-up of the whole layer.
    pub gemm: GemmConstants,
    /// Passes over the assignments for permuting and combining.
    pub cp: f64,
    /// Passes over the tokens of the whole group for routing and quantising.
    pub ct: f64,
    /// Seconds per local expert.
    pub te: f64,
}

impl MoeConstants {
    /// Seconds of the layer: both products of all experts of the rank, permuting, combining.
    #[must_use]
    pub fn time(&self, sheet: &Sheet, bytes: OperandBytes, moe: &Moe, loads: &ExpertLoads) -> f64 {
        let (a, active) = (loads.assignments(), loads.active());
        let rows = [loads.tiles(16), loads.tiles(64), loads.tiles(128), loads.tiles(256)];
        let gate = if moe.gated { 2 } else { 1 };
        let product = |n: u64, k: u64| {
            let (n_, k_) = (n as f64, k as f64);
            let traffic = active * n_ * k_ * bytes.weight + a * (k_ * bytes.input + 2.0 * n_);
            let memory = traffic / (sheet.bandwidth * self.gemm.em);
            let tiles = |tm: u64, tn: u64| {
                let row = match tm {
                    16 => rows[0],
                    64 => rows[1],
                    128 => rows[2],
                    _ => rows[3],
                };
                row * n.div_ceil(tn) as f64
            };
            self.gemm.core(sheet, bytes.input, k_, memory, a * n_, &tiles)
        };
        let (h, t) = (moe.hidden as f64, moe.tokens as f64);
        let local = (moe.experts / moe.expert_parallel.max(1)).max(1) as f64;
        let moves = 4.0 * h * (self.cp * a + self.ct * t) / sheet.bandwidth;
        self.gemm.t0 + product(gate * moe.inner, moe.hidden) + product(moe.hidden, moe.inner) + moves + self.te * local
    }
}

/// Seconds of the products of `experts` matrices with the same rows each in one launch: the tile model with one start-up.
pub(super) fn grouped(constants: &GemmConstants, sheet: &Sheet, bytes: OperandBytes, experts: u64, g: Gemm) -> f64 {
    constants.time(sheet, bytes, Gemm { batch: experts.saturating_mul(g.batch), ..g })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moe(tokens: u64, ep: u64, balance: Balance) -> Moe {
        Moe { tokens, hidden: 7168, inner: 2048, gated: true, top_k: 8, experts: 256, expert_parallel: ep, balance }
    }

    #[test]
    fn loads_of_the_most_loaded_rank() {
        let even = ExpertLoads::of(&moe(4096, 16, Balance::Even));
        assert_eq!((even.assignments(), even.active(), even.tiles(128)), (4096.0 * 8.0 / 16.0, 16.0, 16.0));
        // Fewer assignments than experts: that many experts are read.
        assert_eq!(ExpertLoads::of(&moe(4, 1, Balance::Even)).active(), 32.0);
        // Known ratios of the worst rank to the mean: about 1.8 at EP 16 and 3.4 at EP 64 with exponent 1.01.
        for (ep, alpha, low, high) in [(4, 1.01, 1.1, 1.5), (16, 1.01, 1.5, 2.2), (64, 1.01, 2.5, 4.4), (64, 1.2, 3.5, 6.0)] {
            let m = moe(8192, ep, Balance::PowerLaw(alpha));
            let ratio = ExpertLoads::of(&m).assignments() / (8192.0 * 8.0 / ep as f64);
            assert!((low..high).contains(&ratio), "EP {ep}, exponent {alpha}: {ratio}");
        }
        let whole = ExpertLoads::of(&moe(8192, 1, Balance::PowerLaw(1.2))).assignments();
        assert!((whole / 65536.0 - 1.0).abs() < 0.02, "{whole}");
    }
}
