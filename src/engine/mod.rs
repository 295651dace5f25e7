//! Event queue and named random streams; knows nothing of AI.

mod queue;
mod random;

pub use queue::EventQueue;
pub use random::Streams;
