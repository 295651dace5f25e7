//! Event queue and named random streams; knows nothing of AI.

mod deadlines;
mod queue;
mod random;

pub use deadlines::Deadlines;
pub use queue::EventQueue;
pub use random::Streams;
