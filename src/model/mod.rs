//! What is computed: transformers and convolutional networks, their parameters and the FLOPs of a token.
//!
//! Presets are data (`presets.toml`); a scenario names one or gives its own sizes.

mod architecture;
mod convolution;
mod experts;
mod input;
mod preset;

pub use architecture::{Architecture, Norm, Position};
pub use convolution::{Convolution, resnet50};
pub use experts::{Experts, Latent, Window};
pub use input::ModelInput;
pub use preset::{Preset, presets};
