//! One device: data sheet and profile joined, and what it says of its constants.

use super::attention::{Decode, FlashAttention, Pass, Prefill, decode, flash, prefill};
use super::gemm::{Gemm, GemmModel, Sheet};
use super::profile::{GemmRow, Profile, profile_of};
use crate::hardware::{Accelerator, Catalogue, Dtype};

/// Which profile entry serves an operator class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Operator class.
    pub operator: String,
    /// Profile entry.
    pub entry: String,
    /// Where its values come from.
    pub source: String,
}

/// The kernel times of one accelerator.
#[derive(Debug, Clone)]
pub struct DeviceModel {
    name: String,
    peaks: Vec<(Dtype, f64)>,
    bandwidth: f64,
    units: f64,
    profile: &'static Profile,
    borrowed: bool,
    library: Option<String>,
    models: Vec<(Dtype, GemmModel)>,
    /// Sustained share of the matrix rate for 16-bit and narrower formats.
    sustained: (f64, f64),
}

const DTYPES: [Dtype; 8] = [Dtype::Fp32, Dtype::Tf32, Dtype::Bf16, Dtype::Fp16, Dtype::Fp8, Dtype::Fp8Block, Dtype::Nvfp4, Dtype::Int8];

/// The measured number format whose constants serve a format.
const fn measured_as(dtype: Dtype) -> &'static [Dtype] {
    match dtype {
        Dtype::Fp32 | Dtype::Tf32 | Dtype::Bf16 | Dtype::Fp16 => &[Dtype::Bf16],
        Dtype::Fp8 | Dtype::Int8 => &[Dtype::Fp8, Dtype::Bf16],
        Dtype::Fp8Block => &[Dtype::Fp8Block, Dtype::Fp8, Dtype::Bf16],
        Dtype::Nvfp4 => &[Dtype::Nvfp4, Dtype::Fp8, Dtype::Bf16],
    }
}

impl DeviceModel {
    /// Joins a part with the profile of its generation; `library` selects the rows of one engine, such as `vllm-0.24.0`.
    #[must_use]
    pub fn new(part: &Accelerator, library: Option<&str>) -> Self {
        let (profile, borrowed) = profile_of(&part.generation);
        let peaks: Vec<_> = DTYPES.iter().filter_map(|&d| Some((d, part.peak.of(d)?.get()))).collect();
        let models = peaks.iter().map(|&(d, _)| (d, GemmModel::of(&rows(profile, d, library)))).collect();
        let derate = if borrowed { 1.0 } else { derate(part, profile) };
        Self {
            name: part.name.value.clone(),
            peaks,
            bandwidth: part.memory_bandwidth.get(),
            units: *part.compute_units as f64,
            profile,
            borrowed,
            library: library.map(str::to_owned),
            models,
            sustained: (*profile.sustained_16 * derate, *profile.sustained_8 * derate),
        }
    }

    /// Dense peak of a number format, FLOP per second, if the part has a path for it.
    #[must_use]
    pub fn peak(&self, dtype: Dtype) -> Option<f64> {
        self.peaks.iter().find(|(d, _)| *d == dtype).map(|(_, p)| *p)
    }
    /// Memory bandwidth of the data sheet, bytes per second.
    #[must_use]
    pub const fn memory_bandwidth(&self) -> f64 {
        self.bandwidth
    }

    fn sheet(&self, dtype: Dtype) -> Sheet {
        Sheet { peak: self.peak(dtype).unwrap_or(1.0), bandwidth: self.bandwidth, units: self.units }
    }

    fn model(&self, dtype: Dtype) -> Option<&GemmModel> {
        self.models.iter().find(|(d, _)| *d == dtype).map(|(_, m)| m)
    }

    /// Seconds of one product alone as serving engines call it, quantisation of the input included. Infinite where the
    /// part has no path for the format.
    #[must_use]
    pub fn gemm(&self, dtype: Dtype, g: Gemm) -> f64 {
        let Some(model) = self.model(dtype) else { return f64::INFINITY };
        let sheet = self.sheet(dtype);
        model.time(&sheet, dtype, g) + model.quantisation(&sheet, g)
    }

    /// Seconds of one product whose operands the kernel before has cast: no pass over the input, and of the libraries that were
    /// measured with this format the quickest (some tables hold the cast in their start-up).
    #[must_use]
    pub fn gemm_fused(&self, dtype: Dtype, g: Gemm) -> f64 {
        let sheet = self.sheet(dtype);
        let each = rows(self.profile, dtype, None).into_iter().map(|row| GemmModel::of(&[row]).time(&sheet, dtype, g));
        let quickest = each.fold(f64::INFINITY, f64::min);
        if self.model(dtype).is_some() { quickest } else { f64::INFINITY }
    }

    /// Seconds of one product in long training: clocks under sustained power, casts left to the caller.
    #[must_use]
    pub fn gemm_sustained(&self, dtype: Dtype, g: Gemm) -> f64 {
        let (m, n, k, batch) = (g.m as f64, g.n as f64, g.k as f64, g.batch as f64);
        self.gemm_moving(dtype, g, batch * (dtype.bytes() * (m * k + n * k) + g.output_bytes * m * n))
    }

    /// The same where memory traffic is not that of whole operands.
    pub(super) fn gemm_moving(&self, dtype: Dtype, g: Gemm, bytes: f64) -> f64 {
        let (Some(model), Some(wide)) = (self.model(dtype), self.model(Dtype::Bf16)) else { return f64::INFINITY };
        let wide_format = matches!(dtype, Dtype::Fp32 | Dtype::Tf32 | Dtype::Bf16 | Dtype::Fp16);
        let sustained = if wide_format { self.sustained.0 } else { self.sustained.1 };
        // The start-up of 8-bit calls in serving holds the launch of their cast kernels; here casts are counted apart.
        let model = GemmModel { t0: wide.t0, ec: model.ec * sustained, ..*model };
        model.time_moving(&self.sheet(dtype), dtype, g, bytes)
    }

    /// Seconds of flash attention in training.
    #[must_use]
    pub fn flash_attention(&self, a: FlashAttention, pass: Pass) -> f64 {
        let rows = &self.profile.flash.value;
        // A generation of kernels that a device never had: the nearest that it has.
        let row = rows.iter().find(|r| r.generation.value == a.generation).or_else(|| rows.first());
        let (Some(row), Some(peak)) = (row, self.peak(Dtype::Bf16)) else { return f64::INFINITY };
        flash(&row.value, peak, a, pass)
    }

    /// Seconds of element-wise kernels that move `bytes` in `kernels` launches.
    #[must_use]
    pub fn stream(&self, bytes: f64, kernels: f64) -> f64 {
        bytes / (self.bandwidth * *self.profile.memory_efficiency) + kernels * self.profile.kernel_gap.get()
    }

    /// Seconds of prefill attention, or why there is no answer.
    ///
    /// # Errors
    /// When no library was measured with these formats.
    pub fn prefill(&self, query: Dtype, kv: Dtype, a: Prefill) -> Result<f64, String> {
        let rows = self.profile.prefill.value.iter().filter(|r| r.dtype.value == query && r.kv.value == kv);
        let row = best_match(rows.map(|r| &r.value), self.library.as_deref(), |r| r.library.as_str())
            .ok_or_else(|| format!("no prefill kernels with {query} queries and {kv} cache were measured on {}", self.name))?;
        Ok(prefill(row, &self.sheet(query), a))
    }

    /// Seconds of decode attention, or why there is no answer.
    ///
    /// # Errors
    /// When no library was measured with this format.
    pub fn decode(&self, kv: Dtype, a: Decode) -> Result<f64, String> {
        let rows = self.profile.decode.value.iter().filter(|r| r.kv.value == kv);
        let row = best_match(rows.map(|r| &r.value), self.library.as_deref(), |r| r.library.as_str())
            .ok_or_else(|| format!("no decode kernels with {kv} cache were measured on {}", self.name))?;
        Ok(decode(row, &self.sheet(Dtype::Bf16), a))
    }

    /// Which profile entries serve which operator classes.
    #[must_use]
    pub fn provenance(&self) -> Vec<Provenance> {
        let entry = |what: &str| {
            let from =
                if self.borrowed { format!(", borrowed by data-sheet ratio from {}", *self.profile.reference) } else { String::new() };
            format!("{}.{what}{from}", *self.profile.generation)
        };
        let one = |operator: &str, what: &str| Provenance {
            operator: operator.into(),
            entry: entry(what),
            source: self.profile.source.value.clone(),
        };
        vec![
            one("matrix products", "gemm"),
            one("sustained clocks", &format!("sustained ({:.3} in 16 bit, {:.3} in 8 bit)", self.sustained.0, self.sustained.1)),
            one("flash attention", "flash"),
            one("element-wise kernels", "memory_efficiency"),
        ]
    }
}

/// Clocks follow power: a part with fewer watts for each FLOP of its peak than the measured one sustains (ratio)^0.6 of the rate
/// (one site with H100 limited to 500 W; nothing else tests it).
fn derate(part: &Accelerator, profile: &Profile) -> f64 {
    let reference = Catalogue::embedded().accelerators.get(profile.reference.as_str());
    let watts = |a: &Accelerator| a.peak.of(Dtype::Bf16).map(|p| a.tdp.get() / p.get());
    match (watts(part), reference.and_then(watts)) {
        (Some(own), Some(measured)) => libm::pow((own / measured).min(1.0), 0.6),
        _ => 1.0,
    }
}

/// The rows of a format, of the library that is asked for if it was measured.
fn rows<'a>(profile: &'a Profile, dtype: Dtype, library: Option<&str>) -> Vec<&'a GemmRow> {
    for &measured in measured_as(dtype) {
        let all: Vec<&GemmRow> = profile.gemm.value.iter().map(|r| &r.value).filter(|r| r.dtype.value == measured).collect();
        if all.is_empty() {
            continue;
        }
        return match best_match(all.iter().copied(), library, |r| r.library.as_str()) {
            Some(row) if library.is_some_and(|l| l.starts_with(family(&row.library))) => vec![row],
            _ => all,
        };
    }
    Vec::new()
}

fn family(library: &str) -> &str {
    library.split('-').next().unwrap_or(library)
}

/// The row whose library is the longest prefix of the wanted one; else one of the same family; else the first.
fn best_match<'a, R>(rows: impl Iterator<Item = &'a R> + Clone, library: Option<&str>, name: impl Fn(&R) -> &str) -> Option<&'a R> {
    let Some(wanted) = library else { return rows.into_iter().next() };
    let exact = rows.clone().filter(|r| wanted.starts_with(name(r))).max_by_key(|r| name(r).len());
    exact.or_else(|| rows.clone().find(|r| family(name(r)) == family(wanted))).or_else(|| rows.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(id: &str, library: Option<&str>) -> DeviceModel {
        DeviceModel::new(&Catalogue::embedded().accelerators[id], library)
    }

    fn gemm(m: u64, n: u64, k: u64) -> Gemm {
        Gemm { m, n, k, batch: 1, output_bytes: 2.0 }
    }

    #[test]
    fn reference_values_of_the_fit() {
        // Microseconds of the unrounded fit; the rounding of the table's constants moves them by about 1 %.
        for (id, library, dtype, g, want) in [
            ("a100-sxm-80gb", "trtllm", Dtype::Bf16, gemm(4096, 4096, 4096), 531.9),
            ("h100-sxm", "vllm", Dtype::Bf16, gemm(4096, 8192, 8192), 689.6),
            ("h100-sxm", "vllm", Dtype::Bf16, gemm(16, 8192, 8192), 49.4),
            ("h100-sxm", "vllm", Dtype::Bf16, gemm(1, 64, 65536), 11.1),
            ("h100-sxm", "vllm", Dtype::Fp8, gemm(8192, 4096, 4096), 342.5),
            ("b200-sxm", "trtllm", Dtype::Bf16, gemm(2048, 7168, 2048), 42.1),
            ("b200-sxm", "sglang", Dtype::Fp8Block, gemm(512, 4096, 7168), 20.5),
            ("b200-sxm", "trtllm", Dtype::Nvfp4, gemm(64, 16384, 7168), 24.7),
        ] {
            let got = 1e6 * device(id, Some(library)).gemm(dtype, g);
            assert!((got / want - 1.0).abs() < 0.03, "{id} {library} {dtype} {g:?}: {got} against {want}");
        }
    }

    #[test]
    fn attention_reference_values() {
        let prefill = |id, library, batch, tokens, heads, kv_heads| {
            let shape = Prefill { batch, tokens, heads, kv_heads, kv_bytes: 2.0, query_bytes: 2.0 };
            1e6 * device(id, Some(library)).prefill(Dtype::Bf16, Dtype::Bf16, shape).unwrap()
        };
        for (got, want) in [
            (prefill("h100-sxm", "vllm-0.24.0", 1, 8192, 32, 8), 961.6),
            (prefill("b200-sxm", "trtllm-1.3.0", 4, 2048, 64, 8), 439.3),
            (prefill("a100-sxm-80gb", "vllm-0.14.0", 1, 1000, 12, 12), 60.6),
        ] {
            assert!((got / want - 1.0).abs() < 0.03, "{got} against {want}");
        }
        let shape = Decode { batch: 64, context: 4096, heads: 32, kv_heads: 8, kv_bytes: 2.0, query_bytes: 2.0 };
        let got = 1e6 * device("h100-sxm", Some("vllm-0.24.0")).decode(Dtype::Bf16, shape).unwrap();
        assert!((got / 372.7 - 1.0).abs() < 0.03, "{got}");
    }

    #[test]
    fn roofline_limits() {
        let a100 = device("a100-sxm-80gb", None);
        let big = gemm(65536, 65536, 16384);
        let share = 2.0 * 65536f64 * 65536.0 * 16384.0 / a100.gemm(Dtype::Bf16, big) / 312e12;
        assert!((0.75..0.86).contains(&share), "compute-bound share {share}");
        // One token through a large weight reads the weight: no faster than memory allows, and near it.
        let skinny = gemm(1, 16384, 53248);
        let floor = 2.0 * 16384.0 * 53248.0 / 2.0e12;
        let got = a100.gemm(Dtype::Bf16, skinny);
        assert!(got > floor && got < 1.5 * floor, "{got} against {floor}");
    }

    proptest! {
        /// Nothing is NaN or negative, and more rows never take less time by more than a split's change.
        #[test]
        fn extreme_sizes_are_finite(m in 1u64..1_000_000_000, n in 1u64..1_000_000_000, k in 1u64..1_000_000_000) {
            for dtype in [Dtype::Bf16, Dtype::Fp8] {
                let t = device("h100-sxm", None).gemm(dtype, gemm(m, n, k));
                prop_assert!(t.is_finite() && t > 0.0);
            }
        }
    }
}
