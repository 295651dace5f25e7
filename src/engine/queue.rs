//! The event queue and clock: a quaternary heap whose key packs time and sequence into one integer.

use crate::units::SimTime;

/// Children of each heap node: four keys of 16 bytes lie in one or two cache lines.
const ARITY: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    /// Bits of the time (order-preserving, as times are not negative) above the sequence number.
    key: u128,
    payload: T,
}

/// Pending events by time; equal times leave first in, first out.
///
/// Payloads are moved about in the heap: keep them small, such as an id into a table.
/// Cost: push and pop are O(log n); memory is one entry (16 bytes and the payload) for each pending event.
///
/// ```
/// use orrery::{engine::EventQueue, units::SimTime};
/// let mut queue = EventQueue::new();
/// queue.push(SimTime::new(2.0), "late");
/// queue.push(SimTime::new(1.0), "first");
/// queue.push(SimTime::new(1.0), "second");
/// assert_eq!(queue.pop(), Some((SimTime::new(1.0), "first")));
/// assert_eq!(queue.pop(), Some((SimTime::new(1.0), "second")));
/// assert_eq!(queue.now(), SimTime::new(1.0));
/// ```
#[derive(Debug, Clone)]
pub struct EventQueue<T> {
    heap: Vec<Entry<T>>,
    sequence: u64,
    now: SimTime,
}

impl<T: Copy> EventQueue<T> {
    /// An empty queue at time zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: Vec::new(), sequence: 0, now: SimTime::ZERO }
    }
    /// The time of the event that was popped last.
    #[must_use]
    pub const fn now(&self) -> SimTime {
        self.now
    }
    /// How many events are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }
    /// Whether no event is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
    /// Schedules an event. An infinite time is kept and leaves last, so that the caller sees an overflow.
    ///
    /// # Panics
    /// When `at` lies before [`Self::now`]: a bug in a model.
    #[track_caller]
    pub fn push(&mut self, at: SimTime, payload: T) {
        // Adding zero turns a negative zero, whose bits would sort last, into zero.
        let at = SimTime::new(at.seconds() + 0.0);
        assert!(at >= self.now, "an event at {} s lies before the present, {} s", at.seconds(), self.now.seconds());
        let key = u128::from(at.seconds().to_bits()) << 64 | u128::from(self.sequence);
        self.sequence += 1;
        let entry = Entry { key, payload };
        let mut at = self.heap.len();
        self.heap.push(entry);
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent].key <= key {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = entry;
    }
    /// The time of the next event.
    #[must_use]
    pub fn next_time(&self) -> Option<SimTime> {
        self.heap.first().map(|entry| time_of(entry.key))
    }
    /// Takes the next event and moves the clock to it.
    pub fn pop(&mut self) -> Option<(SimTime, T)> {
        let top = *self.heap.first()?;
        let last = self.heap.pop()?;
        if !self.heap.is_empty() {
            self.sink(last);
        }
        self.now = time_of(top.key);
        Some((self.now, top.payload))
    }
    /// Puts `entry` in the place of the root and restores the order.
    fn sink(&mut self, entry: Entry<T>) {
        let heap = self.heap.as_mut_slice();
        let mut at = 0;
        loop {
            let first = at * ARITY + 1;
            let Some(children) = heap.get(first..heap.len().min(first + ARITY)) else { break };
            let Some((offset, least)) = least_of(children) else { break };
            if least >= entry.key {
                break;
            }
            heap[at] = heap[first + offset];
            at = first + offset;
        }
        heap[at] = entry;
    }
}

impl<T: Copy> Default for EventQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The place and key of the least child; the full family is compared as a tournament of two rounds.
#[inline]
fn least_of<T>(children: &[Entry<T>]) -> Option<(usize, u128)> {
    if let [a, b, c, d] = children {
        let left = if b.key < a.key { (1, b.key) } else { (0, a.key) };
        let right = if d.key < c.key { (3, d.key) } else { (2, c.key) };
        return Some(if right.1 < left.1 { right } else { left });
    }
    children.iter().enumerate().map(|(i, child)| (i, child.key)).min_by_key(|&(_, key)| key)
}

#[inline]
fn time_of(key: u128) -> SimTime {
    SimTime::new(f64::from_bits((key >> 64) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn negative_zero_is_zero() {
        let mut queue = EventQueue::new();
        queue.push(SimTime::new(1.0), 1);
        queue.push(SimTime::new(-0.0), 0);
        queue.push(SimTime::new(0.0), 2);
        assert_eq!(queue.next_time(), Some(SimTime::ZERO));
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop().map(|(_, id)| id)).collect();
        assert_eq!(order, [0, 2, 1]);
    }
    #[test]
    fn an_infinite_time_leaves_last() {
        let mut queue = EventQueue::new();
        queue.push(SimTime::new(f64::INFINITY), 'z');
        queue.push(SimTime::new(1e300), 'a');
        assert_eq!(queue.pop().map(|(_, id)| id), Some('a'));
        assert_eq!(queue.pop(), Some((SimTime::new(f64::INFINITY), 'z')));
        assert!(queue.is_empty());
    }
    #[test]
    #[should_panic(expected = "before the present")]
    fn the_past_is_refused() {
        let mut queue = EventQueue::new();
        queue.push(SimTime::new(1.0), ());
        queue.pop();
        queue.push(SimTime::new(0.5), ());
    }
    proptest! {
        /// Any mix of pushes (`Some`) and pops (`None`) leaves as a stable sort by time would.
        #[test]
        fn pops_as_a_stable_sort(steps in prop::collection::vec(prop::option::weighted(0.7, 0u8..20), 0..400)) {
            let mut queue = EventQueue::new();
            let mut slow: Vec<(SimTime, usize)> = Vec::new();
            for (id, step) in steps.into_iter().enumerate() {
                if let Some(delay) = step {
                    let at = queue.now() + f64::from(delay) * 0.1;
                    queue.push(at, id);
                    slow.push((at, id));
                } else {
                    let first = slow.iter().enumerate().min_by_key(|(i, e)| (e.0, *i)).map(|(i, _)| i);
                    prop_assert_eq!(queue.pop(), first.map(|i| slow.remove(i)));
                }
                prop_assert_eq!(queue.len(), slow.len());
            }
        }
    }
}
