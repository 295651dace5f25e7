//! Activities with an amount of work that progress at max-min fair rates over simulated time.
//!
//! Between two instants every rate is constant, so an activity is touched only when its own rate changes. Rates are
//! re-solved once per instant, when somebody asks for the next finish or time moves on, however many activities started or
//! ended at that instant. Work done is charged to resources as amounts, not as rate × time, so that bytes are conserved.

use crate::engine::Deadlines;
use crate::fair::{ActivityId, Fair, ResourceId};

/// Ends that differ by no more than this share of the activity's own duration are one instant: rounding in rates and
/// remainders stays below it, and four orders of magnitude remain to the 1e-9 that the flow cases ask.
const SAME_END: f64 = 1e-13;
/// Ends that differ by no more than this share of the time since the start of the run are one instant: four units in the last place.
pub(crate) const SAME_INSTANT: f64 = 4.0 * f64::EPSILON;

/// An activity in progress.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Units of work when it started.
    amount: f64,
    /// Units of work left at `since`.
    left: f64,
    /// Units per second from `since` on.
    rate: f64,
    /// When the rate last changed, seconds.
    since: f64,
    /// When it started, seconds.
    started: f64,
    /// Orders starts.
    sequence: u64,
    token: u32,
}

impl Progress {
    /// Units of work left at `now`, seconds.
    fn left_at(&self, now: f64) -> f64 {
        if now > self.since { (self.left - self.rate * (now - self.since)).max(0.0) } else { self.left }
    }
}

/// Amounts of work that flow through shared resources.
///
/// All times are seconds since the start of the run and may not decrease from call to call; amounts are in any unit (bytes,
/// FLOP), capacities and caps in that unit per second.
///
/// ```
/// use orrery::simulate::Fluid;
/// let mut fluid = Fluid::new();
/// let link = fluid.add_resource(10.0);
/// fluid.start(0.0, 30.0, &[(link, 1.0)], f64::INFINITY, 7);
/// fluid.start(0.0, 10.0, &[(link, 1.0)], f64::INFINITY, 8);
/// let mut ended = Vec::new();
/// assert_eq!(fluid.next_finish(), Some(2.0));
/// fluid.finish_at(2.0, &mut ended);
/// assert_eq!(fluid.next_finish(), Some(4.0));
/// fluid.finish_at(4.0, &mut ended);
/// assert_eq!(ended, [8, 7]);
/// assert_eq!(fluid.load(link), 40.0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fluid {
    fair: Fair,
    /// By activity id.
    progress: Vec<Progress>,
    deadlines: Deadlines,
    /// Units of each resource used by activities that ended.
    carried: Vec<f64>,
    now: f64,
    sequence: u64,
    active: usize,
    /// Tokens of activities whose rate changed, where somebody watches.
    moved: Option<Vec<(u32, f64)>>,
    /// Scratch: what ends now, by sequence.
    ending: Vec<(u64, ActivityId)>,
}

impl Fluid {
    /// No resources and no activities at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Keeps note of every change of a rate from now on, for [`Self::take_moved`].
    pub fn watch(&mut self) {
        self.moved = Some(Vec::new());
    }
    /// Moves what was noted to the end of `out`: tokens with their new rates, in the order of the changes.
    pub fn take_moved(&mut self, out: &mut Vec<(u32, f64)>) {
        if let Some(moved) = &mut self.moved {
            out.append(moved);
        }
    }
    /// Adds a resource with a capacity in units per second.
    pub fn add_resource(&mut self, capacity: f64) -> ResourceId {
        self.carried.push(0.0);
        self.fair.add_resource(capacity)
    }
    /// Changes a capacity at `now`; zero is a dead link.
    pub fn set_capacity(&mut self, now: f64, r: ResourceId, capacity: f64) {
        self.advance(now);
        self.fair.set_capacity(r, capacity);
    }
    /// The capacity of a resource, units per second.
    #[must_use]
    pub fn capacity(&self, r: ResourceId) -> f64 {
        self.fair.capacity(r)
    }
    /// Starts `amount` units of work at `now`: each unit takes `coefficient` units of every resource in `uses`, at no more
    /// than `cap` units per second. `token` comes back from [`Self::finish_at`].
    ///
    /// Work that uses nothing runs at its cap; work of amount zero ends at once.
    pub fn start(&mut self, now: f64, amount: f64, uses: &[(ResourceId, f64)], cap: f64, token: u32) -> ActivityId {
        self.start_weighted(now, amount, uses, 1.0, cap, token)
    }
    /// As [`Self::start`], with a share against others in proportion to `weight`.
    pub fn start_weighted(&mut self, now: f64, amount: f64, uses: &[(ResourceId, f64)], weight: f64, cap: f64, token: u32) -> ActivityId {
        debug_assert!(amount >= 0.0);
        self.advance(now);
        let id = self.fair.start(uses, weight, cap);
        let progress = Progress { amount, left: amount, rate: 0.0, since: self.now, started: self.now, sequence: self.sequence, token };
        self.sequence += 1;
        self.active += 1;
        let slot = id.0 as usize;
        if slot == self.progress.len() {
            self.progress.push(progress);
        } else {
            self.progress[slot] = progress;
        }
        if amount <= 0.0 {
            self.deadlines.set(slot, self.now);
        }
        id
    }
    /// Changes the greatest rate of an activity at `now`, units per second.
    pub fn set_cap(&mut self, now: f64, a: ActivityId, cap: f64) {
        self.advance(now);
        self.fair.set_cap(a, cap);
    }
    /// Ends an activity early at `now`; returns the units of work that were left.
    pub fn cancel(&mut self, now: f64, a: ActivityId) -> f64 {
        self.advance(now);
        let progress = self.progress[a.0 as usize];
        let left = progress.left_at(self.now);
        self.retire(a, progress.amount - left);
        left
    }
    /// When the next activity ends if nothing else starts, seconds; none if nothing progresses.
    pub fn next_finish(&mut self) -> Option<f64> {
        self.solve();
        self.deadlines.earliest().map(|(_, time)| time)
    }
    /// Ends all activities that end at `now` and appends their tokens to `out`, in the order in which they started.
    pub fn finish_at(&mut self, now: f64, out: &mut Vec<u32>) {
        self.advance(now);
        self.solve();
        self.ending.clear();
        while let Some((slot, time)) = self.deadlines.earliest() {
            let progress = &self.progress[slot];
            if time > self.now + SAME_INSTANT * self.now + SAME_END * (time - progress.started) {
                break;
            }
            self.ending.push((progress.sequence, ActivityId(slot as u32)));
            self.deadlines.set(slot, f64::INFINITY);
        }
        self.ending.sort_unstable();
        for i in 0..self.ending.len() {
            let a = self.ending[i].1;
            let progress = &self.progress[a.0 as usize];
            out.push(progress.token);
            self.retire(a, progress.amount);
        }
    }
    /// Units of a resource used since the start of the run by all activities, ended ones and those in progress.
    #[must_use]
    pub fn load(&self, r: ResourceId) -> f64 {
        let done = |a: ActivityId| {
            let progress = &self.progress[a.0 as usize];
            progress.amount - progress.left_at(self.now)
        };
        self.carried[r.0 as usize] + self.fair.users(r).map(|(a, coefficient)| coefficient * done(a)).sum::<f64>()
    }
    /// The rate of an activity as of the last solution, units per second.
    #[must_use]
    pub fn rate(&self, a: ActivityId) -> f64 {
        self.progress[a.0 as usize].rate
    }
    /// The saturated resource that limits an activity as of the last solution; none if it runs at its cap.
    #[must_use]
    pub fn limit(&self, a: ActivityId) -> Option<ResourceId> {
        self.fair.limit(a)
    }
    /// How many activities are in progress or standing still.
    #[must_use]
    pub const fn active(&self) -> usize {
        self.active
    }

    /// Moves to `now`; what changed before takes effect from when it changed.
    fn advance(&mut self, now: f64) {
        debug_assert!(now >= self.now, "time runs backwards: {now} after {}", self.now);
        if now > self.now {
            self.solve();
            self.now = now;
        }
    }
    fn solve(&mut self) {
        if !self.fair.is_dirty() {
            return;
        }
        self.fair.solve();
        for &a in self.fair.changed() {
            let progress = &mut self.progress[a.0 as usize];
            progress.left = progress.left_at(self.now);
            progress.since = self.now;
            progress.rate = self.fair.rate(a);
            if let Some(moved) = &mut self.moved {
                moved.push((progress.token, progress.rate));
            }
            let finish = if progress.left <= 0.0 { self.now } else { self.now + progress.left / progress.rate };
            self.deadlines.set(a.0 as usize, finish);
        }
    }
    /// Forgets an activity that has done `done` units of work.
    fn retire(&mut self, a: ActivityId, done: f64) {
        for (resource, coefficient) in self.fair.uses(a) {
            self.carried[resource.0 as usize] += coefficient * done;
        }
        self.fair.stop(a);
        if self.deadlines.get(a.0 as usize) < f64::INFINITY {
            self.deadlines.set(a.0 as usize, f64::INFINITY);
        }
        self.active -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FREE: f64 = f64::INFINITY;

    fn ends(fluid: &mut Fluid) -> Vec<(f64, Vec<u32>)> {
        let mut all = Vec::new();
        while let Some(time) = fluid.next_finish() {
            let mut out = Vec::new();
            fluid.finish_at(time, &mut out);
            assert!(!out.is_empty(), "something ends when the next finish comes");
            all.push((time, out));
        }
        all
    }
    #[test]
    fn a_cap_changed_on_the_way() {
        let mut fluid = Fluid::new();
        let device = fluid.add_resource(10.0);
        let kernel = fluid.start(1.0, 40.0, &[(device, 1.0)], FREE, 3);
        fluid.set_cap(2.0, kernel, 5.0);
        fluid.set_cap(4.0, kernel, 20.0);
        assert_eq!(fluid.load(device), 20.0);
        assert_eq!(ends(&mut fluid), [(6.0, vec![3])]);
        assert_eq!(fluid.load(device), 40.0);
    }
    #[test]
    fn a_dead_link_stands_still_until_it_returns() {
        let mut fluid = Fluid::new();
        let link = fluid.add_resource(10.0);
        fluid.start(0.0, 40.0, &[(link, 1.0)], FREE, 0);
        fluid.set_capacity(1.0, link, 0.0);
        assert_eq!(fluid.next_finish(), None);
        fluid.set_capacity(100.0, link, 10.0);
        assert_eq!(fluid.next_finish(), Some(103.0));
    }
    #[test]
    fn equal_ends_come_in_start_order() {
        let mut fluid = Fluid::new();
        let links: Vec<ResourceId> = (1..=7).map(|i| fluid.add_resource(f64::from(i) / 3.0)).collect();
        let first = fluid.start(0.0, 1.0, &[(links[0], 1.0)], FREE, 99);
        // 0.1 × i / (i / 3) s differs in the last places only.
        for (i, &link) in links.iter().enumerate().skip(1) {
            fluid.start(0.0, 0.1 * (i + 1) as f64, &[(link, 1.0)], FREE, i as u32);
        }
        assert_eq!(fluid.cancel(0.0, first), 1.0);
        fluid.start(0.0, 0.1, &[(links[0], 1.0)], FREE, 50);
        let ends = ends(&mut fluid);
        assert_eq!(ends.len(), 1, "{ends:?}");
        assert_eq!(ends[0].1, [1, 2, 3, 4, 5, 6, 50]);
    }
    #[test]
    fn nothing_to_do_and_nothing_in_the_way_end_at_once() {
        let mut fluid = Fluid::new();
        let link = fluid.add_resource(1.0);
        fluid.start(5.0, 0.0, &[(link, 1.0)], FREE, 1);
        fluid.start(5.0, 7.0, &[], FREE, 2);
        fluid.start(5.0, 7.0, &[], 7.0, 3);
        assert_eq!(ends(&mut fluid), [(5.0, vec![1, 2]), (6.0, vec![3])]);
        assert_eq!(fluid.load(link), 0.0);
    }
    #[test]
    fn microseconds_survive_a_year() {
        let mut fluid = Fluid::new();
        let link = fluid.add_resource(50e9);
        let year = 365.0 * 86_400.0;
        fluid.start(year, 50e9 * 2e-6, &[(link, 1.0)], FREE, 0);
        fluid.start(year, 50e9 * 1e-6, &[(link, 1.0)], FREE, 1);
        let ends = ends(&mut fluid);
        assert_eq!(ends.iter().map(|(_, tokens)| tokens[0]).collect::<Vec<_>>(), [1, 0]);
        assert!((ends[1].0 - year - 3e-6).abs() < 1e-8);
    }

    proptest! {
        /// Bytes are conserved, whatever starts, is slowed, cancelled and ends on the way.
        #[test]
        fn bytes_are_conserved(
            steps in prop::collection::vec((0.0..2.0, 0u8..6, 0.0..1e9, prop::collection::vec((0usize..4, 0.1..3.0), 1..4)), 1..60),
        ) {
            let mut fluid = Fluid::new();
            let links: Vec<ResourceId> = (1..=4).map(|i| fluid.add_resource(f64::from(i) * 1e8)).collect();
            let mut expected = [0.0; 4];
            let mut live: Vec<(ActivityId, u32)> = Vec::new();
            let mut works: Vec<(f64, Vec<(usize, f64)>)> = Vec::new();
            let (mut now, mut out) = (0.0, Vec::new());
            let charge = |expected: &mut [f64; 4], (_, uses): &(f64, Vec<(usize, f64)>), done: f64| {
                for &(link, coefficient) in uses {
                    expected[link] += coefficient * done;
                }
            };
            for (gap, kind, amount, uses) in steps {
                let next = now + gap;
                while let Some(time) = fluid.next_finish().filter(|&time| time <= next) {
                    fluid.finish_at(time, &mut out);
                    for token in out.drain(..) {
                        live.retain(|l| l.1 != token);
                        charge(&mut expected, &works[token as usize], works[token as usize].0);
                    }
                }
                now = next;
                if kind == 0 && !live.is_empty() {
                    let (a, token) = live.remove(works.len() % live.len());
                    let left = fluid.cancel(now, a);
                    prop_assert!((0.0..=works[token as usize].0).contains(&left));
                    charge(&mut expected, &works[token as usize], works[token as usize].0 - left);
                } else if kind == 1 && !live.is_empty() {
                    fluid.set_cap(now, live[0].0, amount);
                } else {
                    let on: Vec<(ResourceId, f64)> = uses.iter().map(|&(link, c)| (links[link], c)).collect();
                    live.push((fluid.start(now, amount, &on, FREE, works.len() as u32), works.len() as u32));
                    works.push((amount, uses));
                }
                for (r, &link) in links.iter().enumerate() {
                    prop_assert!(fluid.load(link) <= fluid.capacity(link) * now * (1.0 + 1e-9) + 1e-3, "link {r} above its capacity");
                }
            }
            while let Some(time) = fluid.next_finish() {
                fluid.finish_at(time, &mut out);
            }
            for token in out {
                live.retain(|l| l.1 != token);
                charge(&mut expected, &works[token as usize], works[token as usize].0);
            }
            prop_assert_eq!(live.len(), fluid.active(), "only what was capped to zero stays");
            for &(a, token) in &live {
                let left = fluid.cancel(fluid.now, a);
                charge(&mut expected, &works[token as usize], works[token as usize].0 - left);
            }
            for (&link, want) in links.iter().zip(expected) {
                prop_assert!((fluid.load(link) - want).abs() <= 1e-9 * want + 1e-6, "{} is not {want}", fluid.load(link));
            }
        }
    }
}
