//! Progressive filling of the touched components, on flat arrays.

use super::{Activity, ActivityId, Resource};

/// Scratch space of the solver, kept between calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Filler {
    resources: Vec<u32>,
    activities: Vec<u32>,
    /// Per resource: visit mark, capacity left, weighted coefficients of activities that still grow.
    mark: Vec<u32>,
    left: Vec<f64>,
    growing: Vec<f64>,
    /// Per activity: visit mark.
    seen: Vec<u32>,
    /// Round in which an activity was frozen.
    round: u32,
    heap: Vec<(f64, u32)>,
    caps: Vec<(f64, u32)>,
}

impl Filler {
    /// Solves all components that hold a dirty resource and clears the marks.
    pub(super) fn solve(
        &mut self,
        resources: &mut [Resource],
        activities: &mut [Activity],
        dirty: &mut Vec<u32>,
        changed: &mut Vec<ActivityId>,
    ) {
        self.mark.resize(resources.len(), 0);
        self.left.resize(resources.len(), 0.0);
        self.growing.resize(resources.len(), 0.0);
        self.seen.resize(activities.len(), 0);
        self.round += 1;
        for &seed in dirty.iter() {
            resources[seed as usize].dirty = false;
            if self.mark[seed as usize] != self.round {
                self.collect(seed, resources, activities);
                self.fill(resources, activities, changed);
            }
        }
        dirty.clear();
    }

    /// Collects the connected component of a resource.
    fn collect(&mut self, seed: u32, resources: &[Resource], activities: &[Activity]) {
        self.resources.clear();
        self.activities.clear();
        self.mark[seed as usize] = self.round;
        self.resources.push(seed);
        let mut next = 0;
        while next < self.resources.len() {
            let at = self.resources[next] as usize;
            next += 1;
            for &(activity, _) in &resources[at].users {
                if self.seen[activity as usize] == self.round {
                    continue;
                }
                self.seen[activity as usize] = self.round;
                self.activities.push(activity);
                for &(resource, ..) in &activities[activity as usize].uses {
                    if self.mark[resource as usize] != self.round {
                        self.mark[resource as usize] = self.round;
                        self.resources.push(resource);
                    }
                }
            }
        }
    }

    fn fill(&mut self, resources: &[Resource], activities: &mut [Activity], changed: &mut Vec<ActivityId>) {
        if let [only] = self.activities[..] {
            let activity = &mut activities[only as usize];
            let bound = activity.uses.iter().map(|&(r, c, _)| resources[r as usize].capacity / c).fold(activity.cap, f64::min);
            return set(activity, only, bound, changed);
        }
        for &r in &self.resources {
            self.left[r as usize] = resources[r as usize].capacity;
            self.growing[r as usize] = 0.0;
        }
        self.caps.clear();
        for &a in &self.activities {
            let activity = &activities[a as usize];
            for &(r, c, _) in &activity.uses {
                self.growing[r as usize] += c * activity.weight;
            }
            if activity.cap < f64::INFINITY {
                self.caps.push((activity.cap / activity.weight, a));
            }
        }
        self.caps.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        self.freeze_all(resources, activities, changed);
    }

    /// Freezes activities in order of level: at their cap, or at the resource that saturates first.
    fn freeze_all(&mut self, resources: &[Resource], activities: &mut [Activity], changed: &mut Vec<ActivityId>) {
        // A frozen activity carries a mark of the next round, so that it is neither frozen twice nor counted.
        let frozen = u32::MAX - self.round;
        let mut open = self.activities.len();
        self.heap.clear();
        for &r in &self.resources {
            if self.growing[r as usize] > 0.0 {
                self.heap.push((self.left[r as usize] / self.growing[r as usize], r));
            }
        }
        build(&mut self.heap);
        while open > 0 {
            while self.caps.last().is_some_and(|&(_, a)| self.seen[a as usize] == frozen) {
                self.caps.pop();
            }
            let at = self.tightest();
            let (level, resource) = at.unwrap_or((f64::INFINITY, u32::MAX));
            if let Some(&(cap, a)) = self.caps.last()
                && cap <= level
            {
                self.caps.pop();
                let rate = activities[a as usize].cap;
                self.freeze(a, rate, frozen, activities, changed);
                open -= 1;
                continue;
            }
            if resource == u32::MAX {
                return;
            }
            for i in 0..resources[resource as usize].users.len() {
                let a = resources[resource as usize].users[i].0;
                if self.seen[a as usize] != frozen {
                    let rate = level * activities[a as usize].weight;
                    self.freeze(a, rate, frozen, activities, changed);
                    open -= 1;
                }
            }
            self.growing[resource as usize] = 0.0;
        }
    }

    /// The resource that saturates at the least level. Levels only grow, so a stale entry is put back with its new level.
    fn tightest(&mut self) -> Option<(f64, u32)> {
        loop {
            let &(level, resource) = self.heap.first()?;
            let r = resource as usize;
            if self.growing[r] <= 0.0 {
                drop_first(&mut self.heap);
                continue;
            }
            let now = self.left[r].max(0.0) / self.growing[r];
            if now <= level {
                return Some((level.min(now), resource));
            }
            self.heap[0].0 = now;
            sift_down(&mut self.heap, 0);
        }
    }

    fn freeze(&mut self, a: u32, rate: f64, frozen: u32, activities: &mut [Activity], changed: &mut Vec<ActivityId>) {
        self.seen[a as usize] = frozen;
        let activity = &mut activities[a as usize];
        for &(r, c, _) in &activity.uses {
            let r = r as usize;
            self.left[r] -= c * rate;
            self.growing[r] -= c * activity.weight;
            // What rounding leaves of the last grower is nothing.
            if self.growing[r] < 1e-9 * c * activity.weight {
                self.growing[r] = 0.0;
            }
        }
        set(activity, a, rate, changed);
    }
}

fn set(activity: &mut Activity, id: u32, rate: f64, changed: &mut Vec<ActivityId>) {
    if activity.rate != rate {
        activity.rate = rate;
        changed.push(ActivityId(id));
    }
}

fn before(a: (f64, u32), b: (f64, u32)) -> bool {
    a.0 < b.0 || (a.0 == b.0 && a.1 < b.1)
}

fn build(heap: &mut [(f64, u32)]) {
    for i in (0..heap.len() / 2).rev() {
        sift_down(heap, i);
    }
}

fn drop_first(heap: &mut Vec<(f64, u32)>) {
    heap.swap_remove(0);
    sift_down(heap, 0);
}

fn sift_down(heap: &mut [(f64, u32)], mut at: usize) {
    loop {
        let mut least = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if child < heap.len() && before(heap[child], heap[least]) {
                least = child;
            }
        }
        if least == at {
            return;
        }
        heap.swap(at, least);
        at = least;
    }
}
