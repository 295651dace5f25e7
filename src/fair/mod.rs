//! Weighted max-min fair sharing on abstract capacities, solved again only where something changed.
//!
//! An activity has a rate; each unit of its rate takes `coefficient` units of every resource that it uses. Rates are
//! max-min fair: `rate = min(cap, weight × level)`, every resource holds `Σ coefficient × rate ≤ capacity`, and no rate
//! can grow without a smaller (rate ÷ weight) shrinking. Example: three flows, A over links 1 and 2, B over 1, C over 2, link
//! 1 of capacity 1 and link 2 of capacity 2: link 1 is tightest and gives A and B one half each, then C takes the 1.5 left.
//!
//! `start`, `stop` and the setters only mark what they touch; `solve` collects the connected components of marked
//! resources and fills each progressively: the resource that saturates at the least level freezes its activities,
//! and the others go on.

mod fill;

use fill::Filler;

crate::ids! {
    /// Something with a capacity.
    ResourceId "resource";
    /// Something with a rate.
    ActivityId "activity";
}

#[derive(Debug, Clone, Default)]
struct Resource {
    capacity: f64,
    /// (activity, position of this resource in the activity's uses)
    users: Vec<(u32, u32)>,
    dirty: bool,
}

#[derive(Debug, Clone)]
struct Activity {
    /// (resource, coefficient, position of this activity in the resource's users)
    uses: Vec<(u32, f64, u32)>,
    weight: f64,
    cap: f64,
    rate: f64,
    alive: bool,
}

/// The sharing problem and its current solution.
#[derive(Debug, Clone, Default)]
pub struct Fair {
    resources: Vec<Resource>,
    activities: Vec<Activity>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    /// Activities without uses that were started or changed.
    lonely: Vec<u32>,
    changed: Vec<ActivityId>,
    filler: Filler,
}

impl Fair {
    /// An empty problem.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a resource; a capacity of 0 is a dead one.
    pub fn add_resource(&mut self, capacity: f64) -> ResourceId {
        self.resources.push(Resource { capacity, users: Vec::new(), dirty: false });
        ResourceId(self.resources.len() as u32 - 1)
    }
    /// Changes a capacity.
    pub fn set_capacity(&mut self, resource: ResourceId, capacity: f64) {
        self.resources[resource.0 as usize].capacity = capacity;
        self.mark(resource.0);
    }
    /// The capacity of a resource.
    #[must_use]
    pub fn capacity(&self, resource: ResourceId) -> f64 {
        self.resources[resource.0 as usize].capacity
    }
    /// Starts an activity: `uses` are resources (each at most once) with coefficients above 0, `weight` is above 0, `cap`
    /// is its greatest rate and may be infinite if it uses anything. Ids of stopped activities are used again.
    pub fn start(&mut self, uses: impl IntoIterator<Item = (ResourceId, f64)>, weight: f64, cap: f64) -> ActivityId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.activities.push(Activity { uses: Vec::new(), weight: 1.0, cap: 0.0, rate: 0.0, alive: false });
            self.activities.len() as u32 - 1
        });
        let mut list = std::mem::take(&mut self.activities[id as usize].uses);
        list.clear();
        for (resource, coefficient) in uses {
            let users = &mut self.resources[resource.0 as usize].users;
            users.push((id, list.len() as u32));
            list.push((resource.0, coefficient, users.len() as u32 - 1));
        }
        for &(resource, ..) in &list {
            self.mark(resource);
        }
        if list.is_empty() {
            self.lonely.push(id);
        }
        self.activities[id as usize] = Activity { uses: list, weight, cap, rate: 0.0, alive: true };
        ActivityId(id)
    }
    /// Changes the greatest rate of an activity.
    pub fn set_cap(&mut self, activity: ActivityId, cap: f64) {
        self.activities[activity.0 as usize].cap = cap;
        if self.activities[activity.0 as usize].uses.is_empty() {
            self.lonely.push(activity.0);
        }
        for i in 0..self.activities[activity.0 as usize].uses.len() {
            self.mark(self.activities[activity.0 as usize].uses[i].0);
        }
    }
    /// Ends an activity.
    pub fn stop(&mut self, activity: ActivityId) {
        let id = activity.0 as usize;
        for i in 0..self.activities[id].uses.len() {
            let (resource, _, at) = self.activities[id].uses[i];
            let users = &mut self.resources[resource as usize].users;
            users.swap_remove(at as usize);
            if let Some(&(moved, position)) = users.get(at as usize) {
                self.activities[moved as usize].uses[position as usize].2 = at;
            }
            self.mark(resource);
        }
        let activity = &mut self.activities[id];
        activity.uses.clear();
        activity.alive = false;
        activity.rate = 0.0;
        self.free.push(id as u32);
    }
    /// The rate of an activity as of the last `solve`.
    #[must_use]
    pub fn rate(&self, activity: ActivityId) -> f64 {
        self.activities[activity.0 as usize].rate
    }
    /// The load of a resource as of the last `solve`.
    #[must_use]
    pub fn load(&self, resource: ResourceId) -> f64 {
        let share = |&(a, p): &(u32, u32)| {
            let activity = &self.activities[a as usize];
            activity.rate * activity.uses[p as usize].1
        };
        self.resources[resource.0 as usize].users.iter().map(share).sum()
    }
    fn mark(&mut self, resource: u32) {
        let r = &mut self.resources[resource as usize];
        if !r.dirty {
            r.dirty = true;
            self.dirty.push(resource);
        }
    }
    /// The activities whose rate the last `solve` changed.
    #[must_use]
    pub fn changed(&self) -> &[ActivityId] {
        &self.changed
    }
    /// Solves the components that were touched since the last call; returns the activities whose rate changed.
    pub fn solve(&mut self) -> &[ActivityId] {
        self.changed.clear();
        for id in std::mem::take(&mut self.lonely) {
            let activity = &mut self.activities[id as usize];
            if activity.alive && activity.uses.is_empty() && activity.rate != activity.cap {
                activity.rate = activity.cap;
                self.changed.push(ActivityId(id));
            }
        }
        if !self.dirty.is_empty() {
            self.filler.solve(&mut self.resources, &mut self.activities, &mut self.dirty, &mut self.changed);
        }
        &self.changed
    }
}

#[cfg(test)]
mod tests;
