//! Weighted max-min fair sharing of abstract capacities, solved anew only as far as a change reaches.
//!
//! Activities use resources in fixed proportion: an activity at rate ρ takes `coefficient × ρ` of each resource in its list.
//! The max-min rates are the only ones for which
//! 1. no resource is used above its capacity, and
//! 2. every activity runs at its cap, or uses a saturated resource on which no other activity has a greater *level*
//!    (rate divided by weight).
//!
//! The room knows nothing of networks: a resource may be a link, a memory or the multiprocessors of a device. `fill` finds
//! the rates; `standing` keeps what a solution leaves standing for the next; this file keeps who uses what and what was
//! touched.

mod fill;
mod standing;
#[cfg(test)]
mod tests;
mod total;

crate::ids! {
    /// A capacity that activities share.
    ResourceId "resource";
    /// A consumer of resources; ids of stopped activities are used again.
    ActivityId "activity";
}

/// A rate which differs from the old one by less than this share is the old one: rounding must not look like an event.
const SAME_RATE: f64 = 4.0 * f64::EPSILON;

/// No resource limits the activity: it is new, at its cap, or free of limits.
const NO_RESOURCE: u32 = u32::MAX;

/// One use of a resource by an activity.
#[derive(Debug, Clone, Copy)]
struct Edge {
    resource: u32,
    /// Position in the resource's list of users.
    slot: u32,
    coefficient: f64,
}

/// One entry in a resource's list of users.
#[derive(Debug, Clone, Copy)]
struct User {
    activity: u32,
    /// Position of the use in the arena of edges.
    edge: u32,
}

#[derive(Debug, Clone)]
struct Resource {
    capacity: f64,
    users: Vec<User>,
    /// Use by all activities whose rates stand.
    used: total::Total,
    /// Where it is saturated, the greatest level of its users; infinite where it is not.
    level: f64,
    /// How many activities with standing rates it limits.
    limited: u32,
    /// Stamp of the solution that collected it last.
    seen: u32,
    is_dirty: bool,
}

#[derive(Debug, Clone, Copy)]
struct Activity {
    /// First of its edges in the arena.
    first: u32,
    len: u32,
    weight: f64,
    cap: f64,
    rate: f64,
    /// The resource that limits it, or `NO_RESOURCE`.
    limit: u32,
    /// The rate and limit found by the filling in hand.
    trial: f64,
    trial_limit: u32,
    /// Stamp of the solution that freed its rate.
    seen: u32,
    /// Whether the filling in hand found its rate.
    is_settled: bool,
    is_live: bool,
    is_dirty: bool,
}

impl Activity {
    const fn edges(&self) -> std::ops::Range<usize> {
        self.first as usize..(self.first + self.len) as usize
    }
}

/// Resources, activities and their weighted max-min fair rates.
///
/// ```
/// use orrery::fair::Fair;
/// let mut fair = Fair::new();
/// let (left, right) = (fair.add_resource(10.0), fair.add_resource(4.0));
/// let long = fair.start(&[(left, 1.0), (right, 1.0)], 1.0, f64::INFINITY);
/// let short = fair.start(&[(left, 1.0)], 1.0, f64::INFINITY);
/// assert_eq!(fair.solve(), [long, short]);
/// assert_eq!((fair.rate(long), fair.rate(short)), (4.0, 6.0));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Fair {
    resources: Vec<Resource>,
    activities: Vec<Activity>,
    free_activities: Vec<u32>,
    /// All uses, those of one activity side by side in a block whose size is a power of two.
    edges: Vec<Edge>,
    /// Free blocks of edges by the binary logarithm of their size.
    free_blocks: Vec<Vec<u32>>,
    dirty_resources: Vec<u32>,
    dirty_activities: Vec<u32>,
    stamp: u32,
    changed: Vec<ActivityId>,
    fill: fill::Fill,
}

impl Fair {
    /// No resources and no activities.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a resource with a capacity in any unit per second; zero and infinity are allowed.
    pub fn add_resource(&mut self, capacity: f64) -> ResourceId {
        debug_assert!(capacity >= 0.0);
        let used = total::Total::default();
        self.resources.push(Resource { capacity, users: Vec::new(), used, level: f64::INFINITY, limited: 0, seen: 0, is_dirty: false });
        self.fill.add_resource();
        ResourceId(self.resources.len() as u32 - 1)
    }
    /// Changes a capacity; zero is a dead link, whose users stand still.
    pub fn set_capacity(&mut self, r: ResourceId, capacity: f64) {
        debug_assert!(capacity >= 0.0);
        if self.resources[r.0 as usize].capacity.to_bits() != capacity.to_bits() {
            self.resources[r.0 as usize].capacity = capacity;
            self.touch(r.0);
            for i in 0..self.resources[r.0 as usize].users.len() {
                self.touch_activity(self.resources[r.0 as usize].users[i].activity);
            }
        }
    }
    /// The capacity of a resource.
    #[must_use]
    pub fn capacity(&self, r: ResourceId) -> f64 {
        self.resources[r.0 as usize].capacity
    }
    /// Starts an activity, whose rate is zero until the next [`Self::solve`].
    ///
    /// `uses` lists resources with the units of each taken per unit of rate (coefficients above zero; a resource named
    /// twice counts twice), `weight` is its share against others (above zero), `cap` its greatest rate (zero or more; may be
    /// infinite). An activity that uses nothing runs at its cap.
    pub fn start(&mut self, uses: &[(ResourceId, f64)], weight: f64, cap: f64) -> ActivityId {
        debug_assert!(weight > 0.0 && weight.is_finite() && cap >= 0.0);
        let id = self.free_activities.pop().unwrap_or(self.activities.len() as u32);
        let first = self.take_block(uses.len());
        let activity = Activity {
            first,
            len: uses.len() as u32,
            weight,
            cap,
            rate: 0.0,
            limit: NO_RESOURCE,
            trial: 0.0,
            trial_limit: NO_RESOURCE,
            seen: 0,
            is_settled: false,
            is_live: true,
            is_dirty: false,
        };
        if id as usize == self.activities.len() {
            self.activities.push(activity);
        } else {
            let is_dirty = self.activities[id as usize].is_dirty;
            self.activities[id as usize] = Activity { is_dirty, ..activity };
        }
        for (i, &(resource, coefficient)) in uses.iter().enumerate() {
            debug_assert!(coefficient > 0.0 && coefficient.is_finite());
            let edge = first + i as u32;
            let users = &mut self.resources[resource.0 as usize].users;
            self.edges[edge as usize] = Edge { resource: resource.0, slot: users.len() as u32, coefficient };
            users.push(User { activity: id, edge });
            self.touch(resource.0);
        }
        self.touch_activity(id);
        ActivityId(id)
    }
    /// Changes the greatest rate of an activity.
    pub fn set_cap(&mut self, a: ActivityId, cap: f64) {
        debug_assert!(cap >= 0.0);
        let activity = &mut self.activities[a.0 as usize];
        if activity.cap.to_bits() != cap.to_bits() {
            activity.cap = cap;
            self.touch_activity(a.0);
        }
    }
    /// Ends an activity and frees its id.
    pub fn stop(&mut self, a: ActivityId) {
        let activity = self.activities[a.0 as usize];
        debug_assert!(activity.is_live, "{a} is stopped twice");
        self.withdraw(a.0);
        for edge in activity.edges() {
            let Edge { resource, slot, .. } = self.edges[edge];
            let users = &mut self.resources[resource as usize].users;
            users.swap_remove(slot as usize);
            if let Some(moved) = users.get(slot as usize) {
                self.edges[moved.edge as usize].slot = slot;
            }
            self.touch(resource);
        }
        self.free_block(activity.first, activity.len as usize);
        self.activities[a.0 as usize].is_live = false;
        self.free_activities.push(a.0);
    }
    /// The rate of an activity as of the last [`Self::solve`].
    #[must_use]
    pub fn rate(&self, a: ActivityId) -> f64 {
        self.activities[a.0 as usize].rate
    }
    /// The saturated resource that limits an activity; none if it runs at its cap or is new.
    #[must_use]
    pub fn limit(&self, a: ActivityId) -> Option<ResourceId> {
        Some(self.activities[a.0 as usize].limit).filter(|&limit| limit != NO_RESOURCE).map(ResourceId)
    }
    /// The weight of an activity.
    #[must_use]
    pub fn weight(&self, a: ActivityId) -> f64 {
        self.activities[a.0 as usize].weight
    }
    /// What an activity uses, and how much of each per unit of rate.
    pub fn uses(&self, a: ActivityId) -> impl ExactSizeIterator<Item = (ResourceId, f64)> {
        self.edges[self.activities[a.0 as usize].edges()].iter().map(|edge| (ResourceId(edge.resource), edge.coefficient))
    }
    /// Who uses a resource, and how much of it per unit of rate; in no particular, yet repeatable, order.
    pub fn users(&self, r: ResourceId) -> impl ExactSizeIterator<Item = (ActivityId, f64)> {
        self.resources[r.0 as usize].users.iter().map(|user| (ActivityId(user.activity), self.edges[user.edge as usize].coefficient))
    }
    /// How much of a resource is in use at the rates of the last [`Self::solve`]; activities of infinite rate are left out.
    #[must_use]
    pub fn used(&self, r: ResourceId) -> f64 {
        self.resources[r.0 as usize].used.value()
    }
    /// Whether something changed since the last [`Self::solve`].
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty_resources.is_empty() || !self.dirty_activities.is_empty()
    }
    /// Finds the rates anew where something changed since the last call; returns the activities whose rate changed.
    ///
    /// What is not connected to a change is not looked at, nor is most of what is: see `fill`.
    pub fn solve(&mut self) -> &[ActivityId] {
        self.changed.clear();
        if self.is_dirty() {
            self.next_stamp();
            self.solve_dirty();
        }
        &self.changed
    }
    /// What the last [`Self::solve`] returned.
    #[must_use]
    pub fn changed(&self) -> &[ActivityId] {
        &self.changed
    }

    fn touch(&mut self, resource: u32) {
        let state = &mut self.resources[resource as usize];
        if !state.is_dirty {
            state.is_dirty = true;
            self.dirty_resources.push(resource);
        }
    }
    fn touch_activity(&mut self, activity: u32) {
        let state = &mut self.activities[activity as usize];
        if !state.is_dirty {
            state.is_dirty = true;
            self.dirty_activities.push(activity);
        }
    }
    /// A new stamp; on the rare wrap all old ones are forgotten.
    fn next_stamp(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.resources.iter_mut().for_each(|r| r.seen = 0);
            self.activities.iter_mut().for_each(|a| a.seen = 0);
            self.stamp = 1;
        }
    }
    fn take_block(&mut self, len: usize) -> u32 {
        if len == 0 {
            return 0;
        }
        let size = len.next_power_of_two();
        let class = size.trailing_zeros() as usize;
        if let Some(first) = self.free_blocks.get_mut(class).and_then(Vec::pop) {
            return first;
        }
        let first = self.edges.len() as u32;
        self.edges.resize(self.edges.len() + size, Edge { resource: 0, slot: 0, coefficient: 0.0 });
        first
    }
    fn free_block(&mut self, first: u32, len: usize) {
        if len == 0 {
            return;
        }
        let class = len.next_power_of_two().trailing_zeros() as usize;
        if self.free_blocks.len() <= class {
            self.free_blocks.resize_with(class + 1, Vec::new);
        }
        self.free_blocks[class].push(first);
    }
}
