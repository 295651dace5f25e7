//! What serving engines call on one device beside products: attention of prompts and tokens, layers of experts.

use super::attention::{AttentionForm, Decode, LatentDecode, Prefill};
use super::device::{DeviceModel, levels, measured_as, moved, operand_bytes};
use super::grouped::{ExpertLoads, Moe};
use super::profile::{DecodeRow, MoeRow, PrefillRow, Profile};
use super::profiles::Origin;
use super::select::nearest_library;
use crate::diag::At;
use crate::hardware::Dtype;
use std::sync::Arc;

impl DeviceModel {
    /// The profiles that serve an engine with products in these formats and a cache in `kv`.
    #[must_use]
    pub fn serving_profiles(&self, dtypes: &[Dtype], kv: Dtype) -> Vec<Arc<Profile>> {
        let products = dtypes.iter().filter_map(|d| self.gemm_entry(*d)).map(|e| e.profile.clone());
        let rows = [self.decode_row(kv).map(|(_, p, _)| p), self.prefill_row(Dtype::Bf16, kv).map(|(_, p, _)| p)];
        let of = |wanted: &Profile| self.profiles.iter().find(|(_, p)| std::ptr::eq(p.as_ref(), wanted)).map(|(_, p)| p.clone());
        products.chain(rows.into_iter().flatten().filter_map(of)).collect()
    }

    /// Seconds of prefill attention, or why there is no answer.
    ///
    /// # Errors
    /// When no prefill kernels were measured at all.
    pub fn prefill(&self, query: Dtype, kv: Dtype, a: Prefill) -> Result<f64, String> {
        self.prefill_form(query, kv, a, AttentionForm::default())
    }

    /// Seconds of prefill attention with a cached prefix, a window, other head sizes, or both directions.
    ///
    /// # Errors
    /// When no prefill kernels were measured at all.
    pub fn prefill_form(&self, query: Dtype, kv: Dtype, a: Prefill, form: AttentionForm) -> Result<f64, String> {
        let (origin, profile, row) =
            self.prefill_row(query, kv).ok_or_else(|| format!("no prefill kernels were measured for {}", self.name))?;
        let format = if self.peak(query).is_some() { query } else { Dtype::Bf16 };
        let mut constants = row.constants();
        constants.ec = (constants.ec * moved(self.achieved, origin, profile)).min(1.0);
        Ok(constants.time(&self.sheet(format), a, form))
    }

    pub(super) fn prefill_row(&self, query: Dtype, kv: Dtype) -> Option<(Origin, &Profile, &PrefillRow)> {
        let wanted = [(query, kv), (query, Dtype::Bf16), (Dtype::Bf16, kv), (Dtype::Bf16, Dtype::Bf16)];
        self.find(&wanted, |p| &p.prefill.value, |r| (*r.dtype, *r.kv), |r| &r.library.value)
    }

    /// Seconds of decode attention, or why there is no answer.
    ///
    /// # Errors
    /// When no decode kernels were measured at all.
    pub fn decode(&self, kv: Dtype, a: Decode) -> Result<f64, String> {
        self.decode_form(kv, a, AttentionForm::default())
    }

    /// Seconds of decode attention with a window, other head sizes or several new tokens.
    ///
    /// # Errors
    /// When no decode kernels were measured at all.
    pub fn decode_form(&self, kv: Dtype, a: Decode, form: AttentionForm) -> Result<f64, String> {
        let (_, _, row) = self.decode_row(kv).ok_or_else(|| format!("no decode kernels were measured for {}", self.name))?;
        let shared = DecodeRow::shares_keys(&row.library, a.heads, a.kv_heads);
        Ok(row.constants().time(&self.sheet(Dtype::Bf16), a, form, shared))
    }

    /// Seconds of absorbed latent attention (DeepSeek-V2 and V3), or why there is no answer. Constants of memory and launch
    /// are those of the measured decode kernels; latent kernels themselves are not in the tables.
    ///
    /// # Errors
    /// When no decode kernels were measured at all.
    pub fn latent_decode(&self, kv: Dtype, a: LatentDecode) -> Result<f64, String> {
        let (_, _, row) = self.decode_row(kv).ok_or_else(|| format!("no decode kernels were measured for {}", self.name))?;
        Ok(row.constants().latent(&self.sheet(Dtype::Bf16), a))
    }

    pub(super) fn decode_row(&self, kv: Dtype) -> Option<(Origin, &Profile, &DecodeRow)> {
        self.find(&[kv, Dtype::Bf16], |p| &p.decode.value, |r| *r.kv, |r| &r.library.value)
    }

    /// Seconds of a mixture-of-experts layer of a serving engine, or why there is no answer. `kernel` picks one of the
    /// library's kernels by a part of its name.
    ///
    /// # Errors
    /// When the part has no path for the format, or no kernels were measured at all.
    pub fn moe(&self, dtype: Dtype, kernel: Option<&str>, moe: &Moe) -> Result<f64, String> {
        self.moe_loaded(dtype, kernel, moe, &ExpertLoads::of(moe))
    }

    /// The same for given loads, which do not depend on the device and may be kept.
    ///
    /// # Errors
    /// As [`Self::moe`].
    pub fn moe_loaded(&self, dtype: Dtype, kernel: Option<&str>, moe: &Moe, loads: &ExpertLoads) -> Result<f64, String> {
        if self.peak(dtype).is_none() {
            return Err(format!("{} has no matrix path for {dtype}", self.name));
        }
        let (origin, profile, row) =
            self.moe_row(dtype, kernel).ok_or_else(|| format!("no kernels of experts were measured for {}", self.name))?;
        let mut constants = row.constants();
        constants.gemm.ec = (constants.gemm.ec * moved(self.achieved, origin, profile)).min(1.0);
        Ok(constants.time(&self.sheet(dtype), operand_bytes(dtype), moe, loads))
    }

    pub(super) fn moe_row(&self, dtype: Dtype, kernel: Option<&str>) -> Option<(Origin, &Profile, &MoeRow)> {
        for (origin, wanted) in levels(measured_as(dtype)) {
            for (_, profile) in self.profiles.iter().filter(|(o, _)| *o == origin) {
                let named = |r: &&MoeRow| kernel.is_none_or(|k| r.kernel.contains(k));
                let of_format: Vec<&MoeRow> = profile.moe.iter().map(|r| &r.value).filter(|r| *r.dtype == wanted).collect();
                let mut rows: Vec<&MoeRow> = of_format.iter().copied().filter(named).collect();
                if rows.is_empty() {
                    rows = of_format;
                }
                // Of several kernels of a library the one that was measured most.
                rows.sort_by_key(|r| std::cmp::Reverse(*r.quality.points));
                if let Some(row) = nearest_library(&rows, self.library.as_deref(), |r| &r.library) {
                    return Some((origin, profile, row));
                }
            }
        }
        None
    }

    /// The row of the nearest profile that has one of the wanted formats; a library of the same family goes before a format.
    fn find<R, F: PartialEq + Copy>(
        &self,
        formats: &[F],
        list: impl Fn(&Profile) -> &Vec<At<R>>,
        format: impl Fn(&R) -> F,
        library: impl Fn(&R) -> &str,
    ) -> Option<(Origin, &Profile, &R)> {
        for (origin, wanted) in levels(formats) {
            for (_, profile) in self.profiles.iter().filter(|(o, _)| *o == origin) {
                let rows: Vec<&R> = list(profile).iter().map(|r| &r.value).filter(|r| format(r) == wanted).collect();
                if let Some(row) = nearest_library(&rows, self.library.as_deref(), |r| library(r)) {
                    return Some((origin, profile, row));
                }
            }
        }
        None
    }
}
