//! One device: data sheet and profile joined, and what it says of its constants.

use super::attention::{AttentionForm, FlashAttention, Pass, flash};
use super::gemm::{Gemm, GemmConstants, OperandBytes, Sheet};
use super::grouped::grouped;
use super::nearby::Nearby;
use super::operators::Operator;
use super::profile::{FlashRow, GemmRow, Profile, Quality};
use super::profiles::{Origin, Profiles};
use super::select::{nearest_library, same_family};
use crate::hardware::{Accelerator, AcceleratorKind, Catalogue, Dtype};
use std::sync::Arc;

/// The constants of a number format on one device, and where they come from.
#[derive(Debug, Clone)]
pub(super) struct GemmEntry {
    pub(super) dtype: Dtype,
    pub(super) measured: Dtype,
    pub(super) constants: GemmConstants,
    pub(super) origin: Origin,
    pub(super) profile: Arc<Profile>,
    /// Rows of the profile that were joined.
    pub(super) rows: Vec<usize>,
    /// Measured products of the row, where it is one and the part's own.
    pub(super) near: Option<Arc<Nearby>>,
}

/// The kernel times of one accelerator.
#[derive(Debug, Clone)]
pub struct DeviceModel {
    pub(super) name: String,
    peaks: Vec<(Dtype, f64)>,
    bandwidth: f64,
    units: f64,
    graphics: bool,
    /// Share of the peak that the best large product reaches, where it is published.
    pub(super) achieved: Option<f64>,
    pub(super) profiles: Vec<(Origin, Arc<Profile>)>,
    pub(super) library: Option<String>,
    pub(super) gemms: Vec<GemmEntry>,
    pub(super) memory_efficiency: f64,
    kernel_gap: f64,
    /// Sustained share of the matrix rate for 16-bit and narrower formats.
    pub(super) sustained: (f64, f64),
    /// FLOP/s of one compute unit for each 16-bit element that a load brings, where matrices do not lie on 16 bytes.
    pub(super) unaligned_rate: Option<f64>,
    pub(super) training: (Origin, Arc<Profile>),
}

pub(super) const DTYPES: [Dtype; 11] = [
    Dtype::Fp32,
    Dtype::Tf32,
    Dtype::Bf16,
    Dtype::Fp16,
    Dtype::Fp8,
    Dtype::Fp8Block,
    Dtype::Mxfp8,
    Dtype::Nvfp4,
    Dtype::Int8,
    Dtype::W8a16,
    Dtype::W4a16,
];

/// The measured number formats whose constants serve a format, nearest first.
pub(super) const fn measured_as(dtype: Dtype) -> &'static [Dtype] {
    match dtype {
        Dtype::Fp32 => &[Dtype::Fp32, Dtype::Bf16, Dtype::Fp16],
        Dtype::Tf32 => &[Dtype::Tf32, Dtype::Bf16, Dtype::Fp16],
        Dtype::Bf16 => &[Dtype::Bf16, Dtype::Fp16],
        Dtype::Fp16 => &[Dtype::Fp16, Dtype::Bf16],
        Dtype::W8a16 => &[Dtype::W8a16, Dtype::W4a16, Dtype::Bf16, Dtype::Fp16],
        Dtype::W4a16 => &[Dtype::W4a16, Dtype::W8a16, Dtype::Bf16, Dtype::Fp16],
        Dtype::Int8 => &[Dtype::Int8, Dtype::Fp8, Dtype::Bf16, Dtype::Fp16],
        Dtype::Fp8 => &[Dtype::Fp8, Dtype::Bf16],
        Dtype::Fp8Block => &[Dtype::Fp8Block, Dtype::Fp8, Dtype::Bf16],
        Dtype::Mxfp8 => &[Dtype::Mxfp8, Dtype::Fp8Block, Dtype::Fp8, Dtype::Bf16],
        Dtype::Nvfp4 => &[Dtype::Nvfp4, Dtype::Fp8, Dtype::Bf16],
    }
}

impl DeviceModel {
    /// Joins a part with the shipped profiles; `library` selects the rows of one engine, such as `vllm-0.24.0`.
    #[must_use]
    pub fn new(part: &Accelerator, library: Option<&str>) -> Self {
        Self::with(Profiles::embedded(), part, library)
    }

    /// Joins a part with profiles; `library` selects the rows of one engine, such as `vllm-0.24.0`.
    #[must_use]
    pub fn with(profiles: &Profiles, part: &Accelerator, library: Option<&str>) -> Self {
        let (all, profiles) = (profiles, profiles.of(part));
        let peaks: Vec<_> = DTYPES.iter().filter_map(|&d| Some((d, part.peak.of(d)?.get()))).collect();
        let mut gemms: Vec<GemmEntry> = peaks.iter().filter_map(|&(d, _)| gemm_entry(&profiles, *part.achieved, d, library)).collect();
        for entry in gemms.iter_mut().filter(|e| e.origin == Origin::Own && e.dtype == e.measured && e.rows.len() == 1) {
            entry.near = all.near(&entry.profile, entry.rows[0]);
        }
        let first = |has: &dyn Fn(&Profile) -> bool| profiles.iter().find(|(_, p)| has(p)).unwrap_or(&profiles[0]).clone();
        let training = first(&|p| p.sustained_16.is_some());
        let eighth = first(&|p| p.sustained_8.is_some()).1;
        // Elsewhere compilers pad what does not fit.
        let unaligned = (part.vendor.value == "NVIDIA").then(|| first(&|p| p.unaligned_rate.is_some()).1.unaligned_rate.value).flatten();
        let derate = if training.0 == Origin::Neighbour { 1.0 } else { derate(part, &training.1) };
        Self {
            name: part.name.value.clone(),
            peaks,
            bandwidth: part.memory_bandwidth.get(),
            units: *part.compute_units as f64,
            graphics: *part.kind == AcceleratorKind::Gpu,
            achieved: *part.achieved,
            library: library.map(str::to_owned),
            gemms,
            memory_efficiency: first(&|p| p.memory_efficiency.is_some()).1.memory_efficiency.unwrap_or(0.78),
            kernel_gap: first(&|p| p.kernel_gap.is_some()).1.kernel_gap.map_or(2e-6, crate::units::Quantity::get),
            sustained: (training.1.sustained_16.unwrap_or(1.0) * derate, eighth.sustained_8.unwrap_or(1.0) * derate),
            unaligned_rate: unaligned.map(crate::units::Quantity::get),
            training,
            profiles,
        }
    }

    /// Dense peak of a number format, FLOP per second, if the part has a path for it.
    #[must_use]
    pub fn peak(&self, dtype: Dtype) -> Option<f64> {
        self.peaks.iter().find(|(d, _)| *d == dtype).map(|(_, p)| *p)
    }
    /// Compute units of the data sheet.
    #[must_use]
    pub const fn units(&self) -> f64 {
        self.units
    }
    /// Memory bandwidth of the data sheet, bytes per second.
    #[must_use]
    pub const fn memory_bandwidth(&self) -> f64 {
        self.bandwidth
    }

    /// The profiles that serve training with products in these formats.
    #[must_use]
    pub fn training_profiles(&self, dtypes: &[Dtype]) -> Vec<Arc<Profile>> {
        let first = |has: &dyn Fn(&Profile) -> bool| self.profiles.iter().find(|(_, p)| has(p)).map(|(_, p)| p.clone());
        let products = dtypes.iter().filter_map(|d| self.gemm_entry(*d)).map(|e| e.profile.clone());
        let others = [
            first(&|p| p.sustained_16.is_some()),
            first(&|p| p.sustained_8.is_some()),
            first(&|p| p.memory_efficiency.is_some()),
            first(&|p| p.kernel_gap.is_some()),
            first(&|p| !p.flash.is_empty()),
        ];
        products.chain(others.into_iter().flatten()).collect()
    }

    pub(super) fn sheet(&self, dtype: Dtype) -> Sheet {
        Sheet { peak: self.peak(dtype).unwrap_or(1.0), bandwidth: self.bandwidth, units: self.units }
    }

    pub(super) fn gemm_entry(&self, dtype: Dtype) -> Option<&GemmEntry> {
        self.gemms.iter().find(|e| e.dtype == dtype)
    }

    /// Seconds of one product alone as serving engines call it, weights in memory, quantisation of the input included.
    /// Infinite where the part has no path for the format.
    #[must_use]
    pub fn gemm(&self, dtype: Dtype, g: Gemm) -> f64 {
        self.gemm_at(dtype, g, 1.0)
    }

    /// [`Self::gemm`] at a share of the matrix rate of short benchmarks, such as [`Self::clock_share`].
    #[must_use]
    pub fn gemm_at(&self, dtype: Dtype, g: Gemm, share: f64) -> f64 {
        let Some(entry) = self.gemm_entry(dtype) else { return f64::INFINITY };
        let sheet = self.sheet(dtype);
        let constants = GemmConstants { ec: entry.constants.ec * share, ..entry.constants };
        let law = constants.time(&sheet, operand_bytes(dtype), g) + constants.quantisation(&sheet, g);
        entry.beside(law, &sheet, g)
    }

    /// Share of the matrix rate of short benchmarks that clocks leave under the power limit: what training keeps in the format that loses
    /// least, since the rest of a loss is of frameworks. (On an H100 products without a pause keep 0.86 in 16 bit and in 8: `reports/calibration`.)
    /// 1 where it was found on another generation only, whose parts have other limits.
    #[must_use]
    pub fn clock_share(&self) -> f64 {
        if self.training.0 == Origin::Neighbour { 1.0 } else { self.sustained.0.max(self.sustained.1) }
    }

    /// Seconds of one product whose operands the kernel before has cast: no pass over the input, and of the libraries that were
    /// measured with this format the quickest (some tables hold the cast in their start-up).
    #[must_use]
    pub fn gemm_fused(&self, dtype: Dtype, g: Gemm) -> f64 {
        self.gemm_fused_at(dtype, g, 1.0)
    }

    /// [`Self::gemm_fused`] at a share of the matrix rate of short benchmarks.
    #[must_use]
    pub fn gemm_fused_at(&self, dtype: Dtype, g: Gemm, share: f64) -> f64 {
        let Some(entry) = self.gemm_entry(dtype) else { return f64::INFINITY };
        let (sheet, bytes) = (self.sheet(dtype), operand_bytes(dtype));
        if entry.near.is_some() && !entry.casts() {
            return self.gemm_at(dtype, g, share);
        }
        let ratio = moved(self.achieved, entry.origin, &entry.profile);
        let rows = entry.profile.gemm.iter().filter(|r| r.dtype.value == entry.measured);
        let each = rows.map(|row| {
            let constants = row.constants();
            GemmConstants { ec: (constants.ec * ratio).min(1.0) * share, ..constants }.time(&sheet, bytes, g)
        });
        each.fold(f64::INFINITY, f64::min)
    }

    /// The constants of long training: clocks under sustained power, the launch of a plain product.
    pub(super) fn sustained_constants(&self, dtype: Dtype) -> Option<GemmConstants> {
        let (own, wide) = (self.gemm_entry(dtype)?, self.gemm_entry(Dtype::Bf16)?);
        let wide_format = matches!(dtype, Dtype::Fp32 | Dtype::Tf32 | Dtype::Bf16 | Dtype::Fp16);
        let sustained = if wide_format { self.sustained.0 } else { self.sustained.1 };
        // The start-up of 8-bit calls in serving holds the launch of their cast kernels; here casts are counted apart.
        Some(GemmConstants { t0: wide.constants.t0, ec: own.constants.ec * sustained, ..own.constants })
    }

    /// Seconds of one product in long training: clocks under sustained power, casts left to the caller.
    #[must_use]
    pub fn gemm_sustained(&self, dtype: Dtype, g: Gemm) -> f64 {
        let (Some(constants), Some(entry)) = (self.sustained_constants(dtype), self.gemm_entry(dtype)) else { return f64::INFINITY };
        let sheet = self.sheet(dtype);
        let law = constants.time(&sheet, operand_bytes(dtype), g);
        // What a table's call holds of casts is none of the product.
        if entry.casts() { law } else { entry.beside(law, &sheet, g) }
    }

    /// The same where memory traffic is not that of whole operands.
    pub(super) fn gemm_moving(&self, dtype: Dtype, g: Gemm, bytes: f64) -> f64 {
        let Some(constants) = self.sustained_constants(dtype) else { return f64::INFINITY };
        constants.time_moving(&self.sheet(dtype), operand_bytes(dtype), g, bytes)
    }

    /// Seconds of a grouped product in long training: `experts` matrices with `g.m` rows each, one start-up.
    #[must_use]
    pub fn grouped_gemm_sustained(&self, dtype: Dtype, experts: u64, g: Gemm) -> f64 {
        let Some(constants) = self.sustained_constants(dtype) else { return f64::INFINITY };
        grouped(&constants, &self.sheet(dtype), operand_bytes(dtype), experts, g)
    }

    /// Seconds of flash attention in training: causal, every head of the same size in keys and values.
    #[must_use]
    pub fn flash_attention(&self, a: FlashAttention, pass: Pass) -> f64 {
        self.flash_attention_form(a, AttentionForm { key_dim: a.head_dim, value_dim: a.head_dim, ..AttentionForm::default() }, pass)
    }

    /// Seconds of flash attention in training with other widths of keys and values, a window, or both directions.
    #[must_use]
    pub fn flash_attention_form(&self, a: FlashAttention, form: AttentionForm, pass: Pass) -> f64 {
        let Some(peak) = self.peak(Dtype::Bf16) else { return f64::INFINITY };
        let Some((origin, profile, row)) = self.flash_row(a.generation) else { return f64::INFINITY };
        flash(row, peak * moved(self.achieved, origin, profile), a, form, pass)
    }

    /// The row of a generation of kernels; of one that a device never had, the first that it has.
    pub(super) fn flash_row(&self, generation: super::AttentionGeneration) -> Option<(Origin, &Profile, &FlashRow)> {
        let (origin, profile) = self.profiles.iter().find(|(_, p)| !p.flash.is_empty())?;
        let row = profile.flash.iter().find(|r| r.generation.value == generation).or_else(|| profile.flash.first())?;
        Some((*origin, profile, &row.value))
    }

    /// Seconds that dropout of so many scores adds to fused attention; on what is no graphics processor it is not known and nothing.
    #[must_use]
    pub fn attention_dropout(&self, scores: f64, pass: Pass) -> f64 {
        if self.graphics { super::attention::dropout(scores, self.units, pass) } else { 0.0 }
    }

    /// Seconds of element-wise kernels that move `bytes` in `kernels` launches.
    #[must_use]
    pub fn stream(&self, bytes: f64, kernels: f64) -> f64 {
        bytes / (self.bandwidth * self.memory_efficiency) + kernels * self.kernel_gap
    }

    /// Seconds of a memory-bound operator.
    #[must_use]
    pub fn operator(&self, operator: &Operator) -> f64 {
        self.stream(operator.bytes(), operator.kernels())
    }
}

/// Nearness and format in order of preference: the part's own measurements in any fitting format go before a neighbour's.
pub(super) fn levels<F: Copy>(formats: &[F]) -> impl Iterator<Item = (Origin, F)> {
    [Origin::Own, Origin::Generation, Origin::Neighbour].into_iter().flat_map(|o| formats.iter().map(move |&f| (o, f)))
}

/// Bytes of the operands of a number format.
pub(super) const fn operand_bytes(dtype: Dtype) -> OperandBytes {
    OperandBytes { input: dtype.input_bytes(), weight: dtype.bytes() }
}

/// By how much the matrix efficiency of a borrowed entry differs: the ratio of what the best large products of both parts reach.
pub(super) fn moved(achieved: Option<f64>, origin: Origin, profile: &Profile) -> f64 {
    if origin == Origin::Own {
        return 1.0;
    }
    let measured = Catalogue::embedded().accelerators.get(profile.accelerator.as_str()).and_then(|p| *p.achieved);
    achieved.zip(measured).map_or(1.0, |(own, measured)| own / measured)
}

/// Clocks follow power: a part with fewer watts for each FLOP of its peak than the measured one sustains (ratio)^0.6 of the rate
/// (one site with H100 limited to 500 W; nothing else tests it).
fn derate(part: &Accelerator, profile: &Profile) -> f64 {
    let reference = Catalogue::embedded().accelerators.get(profile.accelerator.as_str());
    let watts = |a: &Accelerator| a.peak.of(Dtype::Bf16).map(|p| a.tdp.get() / p.get());
    match (watts(part), reference.and_then(watts)) {
        (Some(own), Some(measured)) => libm::pow((own / measured).min(1.0), 0.6),
        _ => 1.0,
    }
}

/// The constants of a format: of the library that is asked for if its family was measured, else the mean of all.
fn gemm_entry(profiles: &[(Origin, Arc<Profile>)], achieved: Option<f64>, dtype: Dtype, library: Option<&str>) -> Option<GemmEntry> {
    for (origin, measured) in levels(measured_as(dtype)) {
        for (_, profile) in profiles.iter().filter(|(o, _)| *o == origin) {
            let all: Vec<(usize, &GemmRow)> =
                profile.gemm.iter().map(|r| &r.value).enumerate().filter(|(_, r)| r.dtype.value == measured).collect();
            if all.is_empty() {
                continue;
            }
            let one = library.and_then(|wanted| {
                let family: Vec<&(usize, &GemmRow)> = all.iter().filter(|(_, r)| same_family(&r.library, wanted)).collect();
                nearest_library(&family, library, |r| &r.1.library).copied()
            });
            let used: Vec<(usize, &GemmRow)> = one.map_or(all, |o| vec![o]);
            let sets: Vec<GemmConstants> = used.iter().map(|(_, r)| r.constants()).collect();
            let mut constants = GemmConstants::mean(&sets);
            constants.ec = (constants.ec * moved(achieved, origin, profile)).min(1.0);
            return Some(GemmEntry {
                dtype,
                measured,
                constants,
                origin,
                profile: profile.clone(),
                rows: used.iter().map(|(i, _)| *i).collect(),
                near: None,
            });
        }
    }
    None
}

impl GemmEntry {
    /// Whether the measured calls cast their input.
    const fn casts(&self) -> bool {
        self.constants.cq > 0.0 || self.constants.rq > 0.0
    }

    /// What the law says, corrected by the measured products near a single product, and never above the peak.
    fn beside(&self, law: f64, sheet: &Sheet, g: Gemm) -> f64 {
        match &self.near {
            Some(near) if g.batch == 1 => (law * near.ratio(g)).max(2.0 * g.m as f64 * g.n as f64 * g.k as f64 / sheet.peak),
            _ => law,
        }
    }

    /// Qualities of the rows that were joined.
    pub(super) fn qualities(&self) -> Vec<&Quality> {
        self.rows.iter().map(|&i| &self.profile.gemm[i].quality.value).collect()
    }
}
