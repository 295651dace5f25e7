//! How long one operator takes on one device, alone.
//!
//! A [`DeviceModel`] joins a part's data sheet with the kernel profiles ([`Profiles`]): constants that `orrery calibrate fit`
//! fitted to measured tables. Parts without measurements borrow a neighbour's efficiencies by data-sheet ratio and say so.

mod alignment;
mod attention;
#[cfg(test)]
mod breadth_tests;
mod convolution;
mod device;
mod engines;
mod gemm;
mod grouped;
mod nearby;
mod operators;
mod profile;
mod profiles;
mod provenance;
mod rows;
mod scan;
mod select;
#[cfg(test)]
mod tests;

pub use alignment::common_alignment;
pub use attention::{AttentionForm, Decode, DecodeConstants, FlashAttention, LatentDecode, Pass, Prefill, PrefillConstants};
pub use convolution::Convolve;
pub use device::DeviceModel;
pub use gemm::{Gemm, GemmConstants, OperandBytes, Sheet};
pub use grouped::{Balance, ExpertLoads, Moe, MoeConstants};
pub use nearby::{NEIGHBOURS, Residuals, place};
pub use operators::{Operator, OptimizerKind};
pub use profile::{AttentionGeneration, DecodeRow, GemmRow, MoeRow, NearRow, PrefillRow, Product, Profile, ProfileFile, Quality};
pub use profiles::{Origin, Profiles, read_profile};
pub use provenance::Provenance;
pub use rows::{ATTENTION_COLUMNS, AttentionCall, GEMM_COLUMNS, MOE_COLUMNS, attention_of_row, gemm_of_row, moe_of_row, part_of_row};
