//! What stands and what is free: the books that the filling keeps between solutions.
//!
//! In one large component most changes move few rates: what is limited elsewhere does not notice. So rates stand until the
//! filling finds a reason to free them (see `fill`). A resource's `used` and `limited` count standing activities only, and no
//! standing user of a resource has a level above its `level`.

use super::{ActivityId, Fair, NO_RESOURCE, SAME_RATE};

impl Fair {
    /// Solves everything that was touched.
    pub(super) fn solve_dirty(&mut self) {
        self.fill.clear();
        let mut touched = std::mem::take(&mut self.dirty_activities);
        let mut resources = std::mem::take(&mut self.dirty_resources);
        for &activity in &touched {
            self.activities[activity as usize].is_dirty = false;
        }
        touched.retain(|&activity| self.activities[activity as usize].is_live);
        for &resource in &resources {
            self.resources[resource as usize].is_dirty = false;
        }
        // Where no standing activity is limited by the resource itself, only those that are free can notice a change.
        resources.retain(|&resource| self.resources[resource as usize].limited > 0);
        // What shares nothing is a component of its own.
        touched.retain(|&activity| !self.settle_alone(activity));
        if !touched.is_empty() || !resources.is_empty() {
            for &activity in &touched {
                self.free(activity);
            }
            for &resource in &resources {
                self.open_resource(resource);
            }
            self.fill_freed();
            self.accept();
        }
        touched.clear();
        resources.clear();
        (self.dirty_activities, self.dirty_resources) = (touched, resources);
    }
    /// A new activity that shares nothing takes the least that its cap and its resources allow; says whether this is such a one.
    fn settle_alone(&mut self, activity: u32) -> bool {
        let state = self.activities[activity as usize];
        if state.limit != NO_RESOURCE || state.rate > 0.0 {
            return false;
        }
        let (mut rate, mut limit) = (state.cap, NO_RESOURCE);
        for edge in &self.edges[state.edges()] {
            let resource = &self.resources[edge.resource as usize];
            if resource.users.len() > 1 {
                return false;
            }
            if resource.capacity / edge.coefficient < rate {
                rate = resource.capacity / edge.coefficient;
                limit = edge.resource;
            }
        }
        for edge in &self.edges[state.edges()] {
            let is_limit = edge.resource == limit;
            self.resources[edge.resource as usize].level = if is_limit { rate / state.weight } else { f64::INFINITY };
        }
        let state = &mut self.activities[activity as usize];
        (state.trial, state.trial_limit) = (rate, limit);
        self.set_rate(activity);
        true
    }
    /// Takes an activity's use and limit off the books of its resources.
    pub(super) fn withdraw(&mut self, activity: u32) {
        let state = &mut self.activities[activity as usize];
        let limit = std::mem::replace(&mut state.limit, NO_RESOURCE);
        let (rate, edges) = (state.rate, state.edges());
        if limit != NO_RESOURCE {
            self.resources[limit as usize].limited -= 1;
        }
        if rate > 0.0 && rate < f64::INFINITY {
            for edge in &self.edges[edges] {
                self.resources[edge.resource as usize].used.add(-(edge.coefficient * rate));
            }
        }
    }
    /// Makes the rates of the filling the rates that stand.
    fn accept(&mut self) {
        for i in 0..self.fill.resources.len() {
            let resource = self.fill.resources[i];
            let state = &mut self.resources[resource as usize];
            // Standing users keep the level that they were checked against, so that tolerances do not add up.
            if state.limited == 0 {
                state.level = self.fill.open[resource as usize].saturated;
            }
        }
        for i in 0..self.fill.activities.len() {
            self.set_rate(self.fill.activities[i]);
        }
    }
    fn set_rate(&mut self, activity: u32) {
        let state = &mut self.activities[activity as usize];
        let (old, new) = (state.rate, state.trial);
        if new.to_bits() != old.to_bits() && (new - old).abs() > SAME_RATE * new.min(old) {
            state.rate = new;
            self.changed.push(ActivityId(activity));
        }
        state.limit = state.trial_limit;
        let (rate, limit, edges) = (state.rate, state.limit, state.edges());
        if limit != NO_RESOURCE {
            self.resources[limit as usize].limited += 1;
        }
        if rate > 0.0 && rate < f64::INFINITY {
            for edge in &self.edges[edges] {
                self.resources[edge.resource as usize].used.add(edge.coefficient * rate);
            }
        }
    }
}
