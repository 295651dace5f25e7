//! Progressive filling of what changed, freeing standing rates only where they turn out to be unfair.
//!
//! The levels of all free activities rise together from zero, and resources and caps act in the order of their levels:
//! - a *cap* below the level fixes the rate of its activity;
//! - a *check* of a resource that limited standing activities at some level: unless it is just as full at that level now, they are
//!   freed, as they may rise further;
//! - a *saturation*: standing users with a greater level take more than their share and are freed; once there are none, the
//!   rates of all free users are fixed.
//!
//! Whatever is freed stood at or above the level reached, so nothing fixed before needs another look: one pass gives rates
//! that satisfy both conditions of max-min fairness everywhere, and only the max-min rates do. Levels of saturation wait in a
//! heap and are brought up to date when they reach its top.
//! Cost: O(E log R) for the E uses of freed activities on R resources, and one look at the users of resources that saturate
//! lower than before.

use super::{Fair, NO_RESOURCE};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Levels that differ by less than this share are equal: wide of rounding, and far within the 1e-9 that results ask.
const SAME_LEVEL: f64 = 1e-12;
/// When the open demand of a resource falls below this share of what it was when last summed, it is summed anew, so that
/// the rounding errors of large terms that have left do not weigh on small ones that stay.
const RESUM_BELOW: f64 = 1.0 / 1024.0;

/// What is left of a resource while filling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// Capacity not taken by standing activities.
    room: f64,
    /// What settled activities take.
    taken: f64,
    /// Σ coefficient × weight over free, unsettled users: how fast the rising level eats it.
    demand: f64,
    /// The greatest demand since it was last summed.
    summed: f64,
    /// How many uses are free and unsettled.
    users: u32,
    /// Whether it waits to be queued with a lower level, and the least level it is queued with.
    is_pending: bool,
    queued: f64,
    /// The level at which the filling saturated it; infinite if it did not.
    pub(super) saturated: f64,
}

impl Open {
    const fn new(room: f64) -> Self {
        Self { room, taken: 0.0, demand: 0.0, summed: 0.0, users: 0, is_pending: false, queued: f64::INFINITY, saturated: f64::INFINITY }
    }
    /// The level at which it saturates.
    fn level(&self) -> f64 {
        (self.room - self.taken).max(0.0) / self.demand
    }
}

/// What acts at a level; among equals, the first kind acts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cap,
    Check,
    Saturation,
}

/// Scratch space of the filling, kept between calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Fill {
    /// By resource; valid for those in `resources`.
    pub(super) open: Vec<Open>,
    /// All resources that free activities use, and those with checks of their own.
    pub(super) resources: Vec<u32>,
    /// The free activities, settled ones too.
    pub(super) activities: Vec<u32>,
    /// Bits of the level (order-preserving, as levels are not negative), then the kind, then the activity or resource.
    heap: BinaryHeap<Reverse<u128>>,
    /// Resources that gained free users since something acted last.
    pending: Vec<u32>,
    /// The level reached.
    floor: f64,
    /// Free activities that are not settled yet, and checks that wait: without either nothing in the heap acts any more.
    unsettled: u32,
    checks: u32,
}

impl Fill {
    pub(super) fn add_resource(&mut self) {
        self.open.push(Open::new(0.0));
    }
    pub(super) fn clear(&mut self) {
        self.resources.clear();
        self.activities.clear();
        self.heap.clear();
        self.pending.clear();
        self.floor = 0.0;
        (self.unsettled, self.checks) = (0, 0);
    }
    fn push(&mut self, level: f64, kind: Kind, id: u32) {
        self.checks += u32::from(kind == Kind::Check);
        self.heap.push(key(level.max(self.floor), kind, id));
    }
    /// Queues the resources that gained free users, where their level fell.
    fn queue_pending(&mut self) {
        while let Some(resource) = self.pending.pop() {
            let open = &mut self.open[resource as usize];
            open.is_pending = false;
            let level = open.level().max(self.floor);
            if level < open.queued {
                open.queued = level;
                self.heap.push(key(level, Kind::Saturation, resource));
            }
        }
    }
    /// What acts next, at which level, and its activity or resource. A saturation stays at the heap's top until its users are settled.
    fn next(&mut self) -> Option<(f64, Kind, u32)> {
        if self.unsettled == 0 && self.checks == 0 {
            return None;
        }
        self.queue_pending();
        while let Some(mut top) = self.heap.peek_mut() {
            let (level, id) = (f64::from_bits((top.0 >> 64) as u64), top.0 as u32);
            let kind = match (top.0 >> 32) as u32 {
                0 => Kind::Cap,
                1 => Kind::Check,
                _ => Kind::Saturation,
            };
            if kind != Kind::Saturation {
                PeekMut::pop(top);
                self.checks -= u32::from(kind == Kind::Check);
                return Some((level, kind, id));
            }
            let open = &mut self.open[id as usize];
            if open.users == 0 || level > open.queued {
                if open.users == 0 {
                    open.queued = f64::INFINITY;
                }
                PeekMut::pop(top);
                continue;
            }
            let now = open.level().max(self.floor);
            if now <= level {
                return (level < f64::INFINITY).then_some((level, kind, id));
            }
            open.queued = now;
            *top = key(now, kind, id);
        }
        None
    }
}

fn key(level: f64, kind: Kind, id: u32) -> Reverse<u128> {
    Reverse(u128::from(level.to_bits()) << 64 | (kind as u128) << 32 | u128::from(id))
}

impl Fair {
    /// Takes an activity's rate away so that the filling may give it another.
    pub(super) fn free(&mut self, activity: u32) {
        let state = &mut self.activities[activity as usize];
        if state.seen == self.stamp {
            return;
        }
        state.seen = self.stamp;
        state.is_settled = false;
        self.fill.unsettled += 1;
        let state = *state;
        self.fill.activities.push(activity);
        for i in state.edges() {
            self.open_resource(self.edges[i].resource);
        }
        self.withdraw(activity);
        let mut can_cap_bind = state.cap < f64::INFINITY;
        for i in state.edges() {
            let edge = self.edges[i];
            let resource = &self.resources[edge.resource as usize];
            can_cap_bind &= state.cap * edge.coefficient < resource.capacity;
            let open = &mut self.fill.open[edge.resource as usize];
            open.room = resource.capacity - resource.used.value();
            open.demand += edge.coefficient * state.weight;
            open.summed = open.summed.max(open.demand);
            open.users += 1;
            if !open.is_pending {
                open.is_pending = true;
                self.fill.pending.push(edge.resource);
            }
        }
        if can_cap_bind {
            self.fill.push(state.cap / state.weight, Kind::Cap, activity);
        }
    }
    /// Prepares a resource for the filling, once.
    pub(super) fn open_resource(&mut self, resource: u32) {
        let state = &mut self.resources[resource as usize];
        if state.seen == self.stamp {
            return;
        }
        state.seen = self.stamp;
        self.fill.resources.push(resource);
        self.fill.open[resource as usize] = Open::new(state.capacity - state.used.value());
        if state.limited > 0 {
            self.fill.push(state.level, Kind::Check, resource);
        }
    }
    /// Finds trial rates and limits of all free activities, and frees what must be free.
    pub(super) fn fill_freed(&mut self) {
        while let Some((level, kind, id)) = self.fill.next() {
            match kind {
                Kind::Check => self.check(id, level),
                Kind::Saturation => {
                    self.fill.floor = level;
                    self.saturate(id, level);
                }
                Kind::Cap if !self.activities[id as usize].is_settled => {
                    self.fill.floor = level;
                    self.settle(id, self.activities[id as usize].cap, NO_RESOURCE);
                }
                Kind::Cap => {}
            }
        }
        self.settle_the_unbounded();
    }
    /// Frees standing users above the level; if there are none, fixes the rates of all free users.
    fn saturate(&mut self, resource: u32, level: f64) {
        let greatest = level * (1.0 + SAME_LEVEL);
        if self.resources[resource as usize].level > greatest && self.free_above(resource, greatest) {
            return;
        }
        self.fill.open[resource as usize].saturated = level;
        for i in 0..self.resources[resource as usize].users.len() {
            let activity = self.resources[resource as usize].users[i].activity;
            let state = &self.activities[activity as usize];
            if state.seen == self.stamp && !state.is_settled {
                self.settle(activity, (state.weight * level).min(state.cap), resource);
            }
        }
    }
    /// Frees the standing users of a resource that are above a level; says whether there were any.
    fn free_above(&mut self, resource: u32, level: f64) -> bool {
        let before = self.fill.activities.len();
        for i in 0..self.resources[resource as usize].users.len() {
            let activity = self.resources[resource as usize].users[i].activity;
            let state = &self.activities[activity as usize];
            if state.seen != self.stamp && state.rate > level * state.weight {
                self.free(activity);
            }
        }
        self.fill.activities.len() > before
    }
    /// Frees the standing users that a resource limited at `level`, unless it is just full at that level.
    fn check(&mut self, resource: u32, level: f64) {
        let open = &self.fill.open[resource as usize];
        let state = &self.resources[resource as usize];
        if state.limited == 0 {
            return;
        }
        let slack = open.room - open.taken - open.demand * level;
        let is_full = if open.users == 0 {
            let rounding = state.users.len() as f64 * f64::EPSILON * state.capacity;
            slack.abs() <= rounding || slack.abs() <= SAME_LEVEL * self.limited_use(resource)
        } else {
            slack.abs() <= SAME_LEVEL * self.limited_use(resource).min(open.demand * level)
        };
        if is_full {
            return;
        }
        self.fill.floor = self.fill.floor.max(level * (1.0 - SAME_LEVEL));
        for i in 0..self.resources[resource as usize].users.len() {
            let activity = self.resources[resource as usize].users[i].activity;
            if self.activities[activity as usize].limit == resource {
                self.free(activity);
            }
        }
    }
    /// How much of a resource the standing users that it limits take.
    fn limited_use(&self, resource: u32) -> f64 {
        let users = self.resources[resource as usize].users.iter();
        let uses = users.map(|user| (&self.activities[user.activity as usize], self.edges[user.edge as usize].coefficient));
        uses.filter(|(state, _)| state.limit == resource).map(|(state, coefficient)| coefficient * state.rate).sum()
    }
    fn settle(&mut self, activity: u32, rate: f64, limit: u32) {
        let state = &mut self.activities[activity as usize];
        state.is_settled = true;
        self.fill.unsettled -= 1;
        (state.trial, state.trial_limit) = (rate, limit);
        let (weight, edges) = (state.weight, state.edges());
        for i in edges {
            let edge = self.edges[i];
            let open = &mut self.fill.open[edge.resource as usize];
            open.taken += edge.coefficient * rate;
            open.demand -= edge.coefficient * weight;
            open.users -= 1;
            if open.users == 0 {
                open.demand = 0.0;
            } else if open.demand < open.summed * RESUM_BELOW {
                self.sum_again(edge.resource);
            }
        }
    }
    fn sum_again(&mut self, resource: u32) {
        let users = self.resources[resource as usize].users.iter();
        let uses = users.map(|user| (&self.activities[user.activity as usize], self.edges[user.edge as usize].coefficient));
        let open_uses = uses.filter(|(state, _)| state.seen == self.stamp && !state.is_settled);
        let demand = open_uses.map(|(state, coefficient)| coefficient * state.weight).sum();
        let open = &mut self.fill.open[resource as usize];
        open.demand = demand;
        open.summed = demand;
    }
    /// What neither a resource nor a cap below its resources limits: its resources are infinite, or it has none.
    fn settle_the_unbounded(&mut self) {
        for &activity in &self.fill.activities {
            let state = &mut self.activities[activity as usize];
            if !state.is_settled {
                (state.trial, state.trial_limit) = (state.cap, NO_RESOURCE);
            }
        }
    }
}
