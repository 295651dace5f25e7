//! What is computed: transformers, hybrids with states, networks of blocks; their parameters and the FLOPs of a token.
//!
//! Presets are data (`presets.toml`); a scenario names one, a `config.json` of Hugging Face, or gives its own sizes.

mod architecture;
mod convolution;
mod experts;
mod huggingface;
mod hybrid;
mod input;
mod network;
mod preset;
#[cfg(test)]
mod tests;

pub use architecture::{Activation, Architecture, Bags, Entry, Norm, Position};
pub use convolution::{Convolution, ImageNorm, resnet50};
pub use experts::{Experts, Latent, Window};
pub use hybrid::{Hybrid, StateKind, StateMixer};
pub use input::ModelInput;
pub use network::{Block, Layer, Linear, Network};
pub use preset::{Preset, presets};
