//! What a device says of its constants: which entry served which operator class, and how sure it is.

use super::device::{DeviceModel, GemmEntry};
use super::nearby::NEIGHBOURS;
use super::profile::{AttentionGeneration, Profile, Quality};
use super::profiles::Origin;
use crate::hardware::Dtype;

/// Which profile entry serves an operator class.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance {
    /// Operator class.
    pub operator: String,
    /// Profile entry, number of measurements and errors.
    pub entry: String,
    /// Where its values come from.
    pub source: String,
    /// Relative standard deviation of the class's time that all its kernels share.
    pub shared: f64,
    /// Relative standard deviation of one kernel beside that, apart for every shape.
    pub single: f64,
}

/// Relative standard deviation that a move by data-sheet ratio adds to an operator class: inside a generation the median
/// errors of H200, GB200, B300 and GB300 are 5 to 10 %, on another class of part 14 to 35 %.
const MOVED: [(Origin, f64); 3] = [(Origin::Own, 0.0), (Origin::Generation, 0.05), (Origin::Neighbour, 0.25)];

/// Relative standard deviation of sustained rates: sites and software with the same parts differ by 3 to 6 %.
const SUSTAINED: f64 = 0.05;

/// The same of flash attention in training, whose rates are published figures and not fits of tables: versions differ by 10 to 20 %.
const FLASH: f64 = 0.15;

/// The same of element-wise kernels: a share of the bandwidth between 0.70 and 0.82 fits training steps equally well.
const STREAM: f64 = 0.08;

impl Origin {
    fn spread(self) -> f64 {
        MOVED.iter().find(|(o, _)| *o == self).map_or(0.0, |(_, s)| *s)
    }
}

/// Standard deviation of a single kernel from the 90th percentile of its absolute error, as of a normal distribution.
fn single(qualities: &[&Quality]) -> f64 {
    let p90 = qualities.iter().map(|q| *q.p90).sum::<f64>() / qualities.len().max(1) as f64;
    p90 / 1.645
}

fn words(qualities: &[&Quality]) -> String {
    let points: u64 = qualities.iter().map(|q| *q.points).sum();
    let mean = |get: fn(&Quality) -> f64| 100.0 * qualities.iter().map(|q| get(q)).sum::<f64>() / qualities.len().max(1) as f64;
    if points == 0 {
        return format!("not measured, assumed ±{:.0} %", mean(|q| *q.p90));
    }
    format!("{points} points, cross-validated error {:.1} % median, {:.0} % p90", mean(|q| *q.median), mean(|q| *q.p90))
}

fn place(origin: Origin, profile: &Profile, what: &str) -> String {
    match origin {
        Origin::Own => format!("{}.{what}", *profile.accelerator),
        Origin::Generation => format!("{}.{what}, borrowed by data-sheet ratio within its generation", *profile.accelerator),
        Origin::Neighbour => format!("{}.{what}, borrowed by data-sheet ratio from another generation: ±25 %", *profile.accelerator),
    }
}

impl GemmEntry {
    fn provenance(&self, operator: &str, shared: f64) -> Provenance {
        let one = self.rows.len() == 1;
        let library = if one { self.profile.gemm[self.rows[0]].library.value.clone() } else { format!("mean of {}", self.rows.len()) };
        let qualities = self.qualities();
        let mut what = format!("gemm {} ({library}; {})", self.measured, words(&qualities));
        let mut single = single(&qualities);
        if let Some(near) = self.near.as_ref().and_then(|n| n.profile.gemm[n.row].near.as_ref()) {
            let q = &near.quality;
            what.pop();
            what += &format!(
                "; with the {NEIGHBOURS} nearest of {} measured products {:.1} % and {:.0} %, left out one at a time)",
                near.products.len(),
                100.0 * *q.median,
                100.0 * *q.p90
            );
            single = single.min(*q.p90 / 1.645);
        }
        let spread = self.origin.spread();
        Provenance {
            operator: operator.into(),
            entry: place(self.origin, &self.profile, &what),
            source: self.profile.source.value.clone(),
            shared: libm::sqrt(shared * shared + spread * spread),
            single,
        }
    }
}

impl DeviceModel {
    /// Which profile entries serve the operator classes of training in 16 bit.
    #[must_use]
    pub fn provenance(&self) -> Vec<Provenance> {
        self.training_provenance(Dtype::Bf16, AttentionGeneration::Third)
    }

    /// Which profile entries serve the operator classes of training with linear layers in `dtype`: matrix products,
    /// sustained clocks, flash attention, element-wise kernels, in this order.
    #[must_use]
    pub fn training_provenance(&self, dtype: Dtype, attention: AttentionGeneration) -> Vec<Provenance> {
        let (origin, training) = &self.training;
        let of_training = |operator: &str, what: &str, spread: f64| Provenance {
            operator: operator.into(),
            entry: place(*origin, training, what),
            source: training.source.value.clone(),
            shared: libm::sqrt(spread * spread + origin.spread() * origin.spread()),
            single: 0.0,
        };
        let products = self.gemm_entry(dtype).map(|e| e.provenance("matrix products", SUSTAINED));
        let flash = self.flash_row(attention).map_or(0.0, |(_, _, r)| *r.forward);
        products
            .into_iter()
            .chain([
                of_training(
                    "sustained clocks",
                    &format!("sustained ({:.3} in 16 bit, {:.3} in 8 bit)", self.sustained.0, self.sustained.1),
                    SUSTAINED,
                ),
                of_training("flash attention", &format!("flash ({attention}: {flash} of the peak; ±{:.0} %)", 100.0 * FLASH), FLASH),
                of_training(
                    "element-wise kernels",
                    &format!("memory_efficiency ({} of the bandwidth; ±{:.0} %)", self.memory_efficiency, 100.0 * STREAM),
                    STREAM,
                ),
            ])
            .collect()
    }

    /// Which profile entries serve the operator classes of a serving engine.
    #[must_use]
    pub fn serving_provenance(&self, dtype: Dtype, kv: Dtype) -> Vec<Provenance> {
        let entry = |operator: &str, origin: Origin, profile: &Profile, what: String, quality: &Quality| Provenance {
            operator: operator.into(),
            entry: place(origin, profile, &format!("{what}; {})", words(&[quality]))),
            source: profile.source.value.clone(),
            shared: origin.spread(),
            single: single(&[quality]),
        };
        let mut out: Vec<Provenance> = self.gemm_entry(dtype).map(|e| e.provenance("matrix products", 0.0)).into_iter().collect();
        if let Some((origin, profile, r)) = self.prefill_row(Dtype::Bf16, kv) {
            out.push(entry("prefill attention", origin, profile, format!("prefill {}/{} ({}", *r.dtype, *r.kv, *r.library), &r.quality));
        }
        if let Some((origin, profile, r)) = self.decode_row(kv) {
            out.push(entry("decode attention", origin, profile, format!("decode {} ({}", *r.kv, *r.library), &r.quality));
        }
        if let Some((origin, profile, r)) = self.moe_row(dtype, None) {
            out.push(entry("experts", origin, profile, format!("moe {} ({} {}", *r.dtype, *r.library, *r.kernel), &r.quality));
        }
        out
    }
}
