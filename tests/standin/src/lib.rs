//! Stands in for CUDA's driver, cuBLASLt, NCCL and NVML in tests of the CUDA probe, which runs against it as it is.
//!
//! A model clock takes the place of devices: an operation advances its stream by what a model with known constants says ([`truth`]), with
//! noise that a seed draws. Contents of memory are formulas that are evaluated where somebody reads ([`memory`]), so that results can be verified
//! and large operands cost nothing. `ORRERY_STANDIN` sets it up, as `seed=7,session=1,devices=2,fault=bimodal`; `ORRERY_STANDIN_TRUTH` names a
//! file for the constants. It calls itself synthetic in its name, its UUID and a symbol of its own, and nothing turns that off.
//!
//! What it cannot show: real timing, the driver's compiler, real asynchrony.
#![allow(non_snake_case, reason = "names of C libraries")]
#![allow(clippy::missing_safety_doc, reason = "C's own documents say what callers owe")]
#![allow(clippy::not_unsafe_ptr_arg_deref, reason = "every pointer is the caller's, as in C")]

mod blas;
mod driver;
mod kernels;
mod memory;
mod nccl;
mod nvml;
mod truth;
mod world;

/// What tells the probe that no device is measured.
#[unsafe(no_mangle)]
pub extern "C" fn orrery_stand_in() -> i32 {
    1
}
