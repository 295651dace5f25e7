//! Random streams named by purpose: a new consumer disturbs no old one.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// The source of all random streams of one simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// Streams of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }
    /// Streams of a part of the simulation, by its name.
    #[must_use]
    pub fn of(&self, part: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(b"part ");
        hasher.update(part.as_bytes());
        let mut seed = [0; 8];
        seed.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self { seed: u64::from_le_bytes(seed) }
    }
    /// The stream of a purpose: the same seed and name always give the same draws.
    #[must_use]
    pub fn stream(&self, name: &str) -> Pcg64Mcg {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let mut seed = [0; 16];
        seed.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Pcg64Mcg::from_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_pcg::rand_core::Rng;

    #[test]
    fn streams_are_stable_and_apart() {
        let draw = |seed, name: &str| Streams::new(seed).stream(name).next_u64();
        assert_eq!(draw(1, "failures"), draw(1, "failures"));
        assert_ne!(draw(1, "failures"), draw(1, "arrivals"));
        assert_ne!(draw(1, "failures"), draw(2, "failures"));
        // A change here changes every seeded result: it belongs into "Changed results".
        insta::assert_snapshot!(format!("{:x}", draw(1, "failures")), @"8aac2bb39817c7f6");
    }
}
