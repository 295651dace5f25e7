//! One time for each of many slots and the earliest of them, when slots change one at a time or all at once.

/// Slots in one family of the tree: sixteen `f64` fill two cache lines, and one pass finds their least.
const FAMILY: usize = 16;

/// A min-tree of times in seconds over slots numbered from zero; an unset slot is at infinity.
///
/// [`Self::set`] only marks; the next look at the earliest repairs each marked family once. A single change costs
/// O(16 log₁₆ n), a change of all slots O(n), and nothing stale is ever kept (a heap with lazy deletion grows with each
/// change).
#[derive(Debug, Clone, Default)]
pub struct Deadlines {
    /// `levels[0]` holds the slots; each entry of a level above is the least of one family below. Lengths are whole families.
    levels: Vec<Vec<f64>>,
    /// Families of level 0 whose least may be out of date, and whether each is marked.
    stale: Vec<u32>,
    is_stale: Vec<bool>,
    /// Families to repair at the level in hand.
    above: Vec<u32>,
    /// What the last look at the earliest found, until a slot changes.
    found: Option<Option<(usize, f64)>>,
}

impl Deadlines {
    /// No slots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the time of a slot, seconds; infinity unsets it.
    pub fn set(&mut self, slot: usize, time_s: f64) {
        if self.levels.first().is_none_or(|slots| slot >= slots.len()) {
            self.grow(slot + 1);
        }
        self.found = None;
        self.levels[0][slot] = time_s;
        let family = slot / FAMILY;
        if !self.is_stale[family] {
            self.is_stale[family] = true;
            self.stale.push(family as u32);
        }
    }
    /// The time of a slot, seconds; infinity where unset.
    #[must_use]
    pub fn get(&self, slot: usize) -> f64 {
        self.levels.first().and_then(|slots| slots.get(slot)).copied().unwrap_or(f64::INFINITY)
    }
    /// The slot with the earliest time (the lowest slot among equals) and that time, seconds.
    pub fn earliest(&mut self) -> Option<(usize, f64)> {
        if let Some(found) = self.found {
            return found;
        }
        let found = self.look();
        self.found = Some(found);
        found
    }
    fn look(&mut self) -> Option<(usize, f64)> {
        self.repair();
        let top = self.levels.last()?;
        let (mut at, time) = least(top);
        if time == f64::INFINITY {
            return None;
        }
        for level in self.levels.iter().rev().skip(1) {
            let first = at * FAMILY;
            at = first + least(&level[first..first + FAMILY]).0;
        }
        Some((at, time))
    }
    fn repair(&mut self) {
        let mut now = std::mem::take(&mut self.stale);
        for &family in &now {
            self.is_stale[family as usize] = false;
        }
        for height in 1..self.levels.len() {
            self.above.clear();
            let (below, level) = self.levels.split_at_mut(height);
            for &family in &now {
                let first = family as usize * FAMILY;
                level[0][family as usize] = least(&below[height - 1][first..first + FAMILY]).1;
                let parent = family / FAMILY as u32;
                if self.above.last() != Some(&parent) {
                    self.above.push(parent);
                }
            }
            if self.above.len() > 1 {
                self.above.sort_unstable();
                self.above.dedup();
            }
            std::mem::swap(&mut now, &mut self.above);
        }
        now.clear();
        self.stale = now;
    }
    /// Makes room for `slots`, at least doubling, and rebuilds the levels above.
    fn grow(&mut self, slots: usize) {
        let old = self.levels.first().map_or(0, Vec::len);
        let mut len = slots.max(2 * old).next_multiple_of(FAMILY);
        let mut height = 0;
        loop {
            if height == self.levels.len() {
                self.levels.push(Vec::new());
            }
            self.levels[height].resize(len, f64::INFINITY);
            if len == FAMILY {
                break;
            }
            len = (len / FAMILY).next_multiple_of(FAMILY);
            height += 1;
        }
        let families = self.levels[0].len() / FAMILY;
        self.is_stale = vec![true; families];
        self.stale = (0..families as u32).collect();
    }
}

/// The place and value of the least entry, the first among equals.
#[inline]
fn least(times: &[f64]) -> (usize, f64) {
    let time = times.iter().copied().fold(f64::INFINITY, |a, b| if b < a { b } else { a });
    (times.iter().position(|&t| t == time).unwrap_or(0), time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn none_when_unset() {
        let mut deadlines = Deadlines::new();
        assert_eq!(deadlines.earliest(), None);
        deadlines.set(3, 1.0);
        deadlines.set(3, f64::INFINITY);
        assert_eq!(deadlines.earliest(), None);
        assert_eq!(deadlines.get(99), f64::INFINITY);
    }
    proptest! {
        #[test]
        fn finds_the_first_least(sets in prop::collection::vec((0usize..5000, 0u8..50, 0u8..4), 1..300)) {
            let mut deadlines = Deadlines::new();
            let mut slow = vec![f64::INFINITY; 5000];
            for (slot, time, look) in sets {
                let time = if time == 0 { f64::INFINITY } else { f64::from(time) };
                deadlines.set(slot, time);
                slow[slot] = time;
                if look == 0 {
                    let (at, time) = least(&slow);
                    prop_assert_eq!(deadlines.earliest(), (time < f64::INFINITY).then_some((at, time)));
                }
            }
            for (slot, &time) in slow.iter().enumerate() {
                prop_assert_eq!(deadlines.get(slot), time);
            }
        }
    }
}
