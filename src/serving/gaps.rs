//! Gaps between successive tokens of a request, kept as (gap, how many requests saw it): exact, one entry an iteration.

/// All gaps of a run.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    list: Vec<(f64, u64)>,
    from: f64,
}

impl Gaps {
    /// Gaps that begin at a moment or later.
    pub(super) const fn since(from: f64) -> Self {
        Self { list: Vec::new(), from }
    }
    pub(super) fn push(&mut self, start: f64, end: f64, count: u64) {
        if start >= self.from {
            self.list.push((end - start, count));
        }
    }
    /// How many gaps there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.list.iter().map(|g| g.1).sum()
    }
    /// The gaps with their counts, ascending.
    #[must_use]
    pub fn into_sorted(self) -> Vec<(f64, u64)> {
        let mut list = self.list;
        list.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        list
    }
}
