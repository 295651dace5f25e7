//! What is computed: transformer architectures, their parameters and the FLOPs of a token.
//!
//! Presets are data (`presets.toml`); a scenario names one or gives its own sizes. Architectures that the rooms above
//! cannot compute yet (mixture of experts, latent attention) are known by name and refused with the reason.

mod architecture;
mod preset;

pub use architecture::{Architecture, Norm, Position};
pub use preset::{ModelInput, Preset, presets};
