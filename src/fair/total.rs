//! A running sum from which terms can be taken away again without leaving rounding errors behind.

/// A sum with the rounding error of each addition kept beside it (Knuth's two-sum), about 32 digits in all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total {
    sum: f64,
    error: f64,
}

impl Total {
    /// Adds a finite term; a term added and later subtracted leaves no trace.
    pub(super) fn add(&mut self, term: f64) {
        let sum = self.sum + term;
        let part = sum - self.sum;
        self.error += (self.sum - (sum - part)) + (term - part);
        self.sum = sum;
    }
    pub(super) fn value(&self) -> f64 {
        self.sum + self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        let mut total = Total::default();
        for term in [1e-9, 3e11, 0.1, -3e11, 7e15, -0.1, -7e15] {
            total.add(term);
        }
        assert!((total.value() - 1e-9).abs() < 1e-17, "{}", total.value());
    }
}
