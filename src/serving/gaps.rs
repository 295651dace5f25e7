//! Gaps between successive tokens of a request, kept as (gap, how many requests saw it): exact, one entry an iteration.

/// All gaps of a run.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    list: Vec<(f64, u64)>,
}

impl Gaps {
    pub(super) fn push(&mut self, gap: f64, count: u64) {
        self.list.push((gap, count));
    }
    /// How many gaps there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.list.iter().map(|g| g.1).sum()
    }
    /// The gaps with their counts, ascending.
    #[must_use]
    pub fn sorted(&self) -> Vec<(f64, u64)> {
        let mut list = self.list.clone();
        list.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        list
    }
}
