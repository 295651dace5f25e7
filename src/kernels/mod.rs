//! How long one operator takes on one device, alone.
//!
//! A [`DeviceModel`] joins a part's data sheet with the kernel profile of its generation; parts of generations without
//! measurements borrow a neighbour's efficiencies and say so.

mod attention;
mod convolution;
mod device;
mod gemm;
mod profile;

pub use attention::{Decode, FlashAttention, Pass, Prefill};
pub use convolution::Convolve;
pub use device::{DeviceModel, Provenance};
pub use gemm::Gemm;
pub use profile::AttentionGeneration;
