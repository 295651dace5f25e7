//! The event queue: earliest first, first in first out at equal times.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// An event with its packed key.
#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    /// Bits of the time, ordered like the time, which is never negative.
    time: u64,
    sequence: u64,
    event: T,
}

impl<T> Entry<T> {
    /// Both in one number: one comparison without a branch.
    const fn key(&self) -> u128 {
        ((self.time as u128) << 64) | self.sequence as u128
    }
}
impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    /// Reversed: the standard heap gives the greatest, the queue the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// A queue of events at moments of simulated time, in seconds.
#[derive(Debug, Clone)]
pub struct EventQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    sequence: u64,
}

impl<T> EventQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }
    /// Adds an event at a time in seconds.
    ///
    /// # Panics
    /// When the time is negative or NaN: a bug in a model.
    #[track_caller]
    pub fn push(&mut self, time: f64, event: T) {
        assert!(time >= 0.0, "an event's time is never NaN and never negative");
        // +0.0 turns a negative zero into zero, whose bits come first.
        self.heap.push(Entry { time: (time + 0.0).to_bits(), sequence: self.sequence, event });
        self.sequence += 1;
    }
    /// Takes the earliest event; of several at one time the one that was added first.
    pub fn pop(&mut self) -> Option<(f64, T)> {
        self.heap.pop().map(|entry| (f64::from_bits(entry.time), entry.event))
    }
    /// The time of the earliest event.
    #[must_use]
    pub fn peek_time(&self) -> Option<f64> {
        self.heap.peek().map(|entry| f64::from_bits(entry.time))
    }
    /// The earliest event.
    #[must_use]
    pub fn peek(&self) -> Option<(f64, T)>
    where
        T: Copy,
    {
        self.heap.peek().map(|entry| (f64::from_bits(entry.time), entry.event))
    }
    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }
    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The queue gives what a stable sort by time gives.
        #[test]
        fn pops_like_a_stable_sort(times in proptest::collection::vec(0u8..20, 0..200)) {
            let mut queue = EventQueue::new();
            for (i, t) in times.iter().enumerate() {
                queue.push(f64::from(*t) * 0.1, i);
            }
            let mut want: Vec<usize> = (0..times.len()).collect();
            want.sort_by_key(|&i| times[i]);
            let got: Vec<usize> = std::iter::from_fn(|| queue.pop().map(|(_, i)| i)).collect();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn zero_of_either_sign_is_one_moment() {
        let mut queue = EventQueue::new();
        queue.push(0.0, 1);
        queue.push(-0.0, 2);
        assert_eq!(queue.pop(), Some((0.0, 1)));
        assert_eq!(queue.pop(), Some((0.0, 2)));
    }
}
