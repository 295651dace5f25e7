//! Regions: what is lost with one, copies of checkpoints in others, and how jobs and services come back.
//!
//! A job saves in the region in which it runs, and every so manyth checkpoint is copied to another one. With the loss of a region its nodes
//! are away for a while and everything that was kept there is gone: a job goes on elsewhere from its newest copy that is complete, or from
//! the beginning. Literature: `docs/models/failures.md`.

use super::cluster::Condition;
use super::job::Work;
use super::replay::{Event, Sim};
use crate::operations::uniform;
use crate::units::SimTime;

/// Copies of a job's checkpoints in another region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Copying {
    /// Every how manyth checkpoint.
    pub every: u32,
    /// Seconds until a copy is complete.
    pub takes: f64,
}

/// The loss of a region at a known time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegionOutage {
    /// Which.
    pub region: u16,
    /// When, seconds.
    pub at: f64,
    /// Seconds until its nodes are back.
    pub lasts: f64,
}

/// A region that was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegionLoss {
    /// Which.
    pub region: u16,
    /// When, seconds.
    pub at: f64,
    /// Seconds until its nodes are back.
    pub lasts: f64,
    /// Jobs that ran there, or waited with all that they had saved there.
    pub jobs: u32,
    /// Replicas that ran there.
    pub replicas: u32,
}

/// A job whose region was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WayBack {
    /// The job.
    pub job: u32,
    /// When its region was lost, seconds.
    pub at: f64,
    /// Seconds of its work that were lost (recovery point).
    pub lost: f64,
    /// When it worked again, seconds; negative: never.
    pub back: f64,
}

/// A service that lost warm replicas with a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failover {
    /// Which.
    pub service: u16,
    /// When, seconds.
    pub at: f64,
    /// Warm replicas before, and those that were lost.
    pub warm: [u32; 2],
    /// When as many were warm as before, or as were wanted; negative: never.
    pub back: f64,
    /// Requests that came from the loss until then, and those of them in time.
    pub requests: [f64; 2],
}

/// Of a job that has nothing anywhere.
const NOWHERE: u16 = u16::MAX;

/// What a job has in which region.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Copies {
    /// Where it runs or ran last: its own checkpoints lie there.
    home: u16,
    /// The newest complete copy: where it lies, and what was left of the job.
    far: Option<(u16, f64)>,
    /// The copy that is under way, and when it is complete.
    flight: Option<(u16, f64, f64)>,
    /// Where copies go, and the work of this attempt up to which none went there.
    to: Option<u16>,
    from: f64,
    /// Checkpoints of earlier attempts.
    saved: u64,
    /// Its way back, while it is on it.
    hit: Option<u32>,
}

impl Copies {
    /// Nothing that lies in a region, or is on its way there, is there any more.
    fn forget(&mut self, region: u16) {
        self.far = self.far.filter(|f| f.0 != region);
        self.flight = self.flight.filter(|f| f.0 != region);
    }
}

impl Sim<'_> {
    pub(super) fn begin_regions(&mut self) {
        let set = self.set;
        let regions = set.cluster.pools().iter().map(|p| p.region + 1).max().unwrap_or(1);
        self.lost_nodes = vec![None; regions as usize];
        for (i, outage) in set.outages.regions.iter().enumerate() {
            self.events.push(SimTime::new(outage.at), Event::RegionLoss { which: i as u32 });
        }
    }

    fn region_of(&self, node: u32) -> u16 {
        self.set.cluster.pool(node).region
    }

    /// Whether the region of a node is away.
    pub(super) fn is_lost(&self, node: u32) -> bool {
        self.lost_nodes[self.region_of(node) as usize].is_some()
    }

    /// A node of a region that is away comes with the others.
    pub(super) fn comes_with_region(&mut self, node: u32) {
        let region = self.region_of(node) as usize;
        if let Some(nodes) = &mut self.lost_nodes[region] {
            nodes.push(node);
        }
    }

    /// The next region that is there, after one.
    fn other(&self, home: u16) -> Option<u16> {
        let count = self.lost_nodes.len() as u16;
        (1..count).map(|i| (home + i) % count).find(|r| self.lost_nodes[*r as usize].is_none())
    }

    /// A job has got nodes and works again after a delay.
    pub(super) fn arrives_in_region(&mut self, id: u32, delay: f64) {
        if self.lost_nodes.len() < 2 || matches!(self.job(id).work, Work::Endless) {
            return;
        }
        let node = self.states[id as usize].grant.as_ref().and_then(|g| g.parts.first()).map_or(0, |p| p.node);
        let home = self.region_of(node);
        let to = self.other(home);
        let state = &mut self.states[id as usize];
        let (first, left) = (state.copies.is_none(), state.left);
        let copies = state.copies.get_or_insert_default();
        if !first && copies.home != NOWHERE && copies.home != home {
            // What it saved where it was before is still there.
            copies.far = Some((copies.home, left));
        }
        copies.flight = copies.flight.filter(|f| f.0 != home);
        (copies.home, copies.to, copies.from) = (home, to, 0.0);
        if let Some(way) = copies.hit.and_then(|h| self.out.ways_back.get_mut(h as usize)).filter(|w| w.back < 0.0) {
            way.back = self.now + delay;
        }
    }

    /// Brings the copies of a job to now: what is complete, and what is under way.
    pub(super) fn settle(&mut self, id: u32) {
        let (job, left, now) = (*self.job(id), self.left(id), self.now);
        let state = &mut self.states[id as usize];
        let (Some(copies), Some(copying)) = (&mut state.copies, job.copies) else { return };
        if let Some((region, left, _)) = copies.flight.filter(|f| f.2 <= now) {
            let older = copies.far.is_some_and(|f| f.0 != copies.home && f.1 <= left);
            (copies.far, copies.flight) = (if older { copies.far } else { Some((region, left)) }, None);
        }
        let Some(to) = copies.to.filter(|_| state.grant.is_some()) else { return };
        let (done, between) = (state.base - left, job.checkpoint / state.unit);
        // Checkpoints are counted over all attempts; the newest copied one of this attempt up to a number of them.
        let newest = |upto: u64| {
            let number = (copies.saved + upto) / u64::from(copying.every) * u64::from(copying.every);
            number.checked_sub(copies.saved).filter(|j| *j > 0 && *j as f64 * between > copies.from)
        };
        let at = |j: u64| state.base - j as f64 * between;
        let Some(last) = newest((done / between + 1e-9) as u64) else { return };
        let age = (done - last as f64 * between).max(0.0) * state.pace;
        if age >= copying.takes {
            (copies.far, copies.flight) = (Some((to, at(last))), None);
        } else {
            // A copy takes no longer than the next one is away: the one before is complete.
            let before = newest(last - 1).map(|j| (to, at(j)));
            (copies.far, copies.flight) = (before.or(copies.far), Some((to, at(last), now + copying.takes - age)));
        }
    }

    /// An attempt ends: what it copied is settled, and its checkpoints are counted; `notice`: it saves once more.
    pub(super) fn leaves_region(&mut self, id: u32, notice: bool) {
        if self.states[id as usize].copies.is_none() {
            return;
        }
        self.settle(id);
        let (job, left, now) = (*self.job(id), self.left(id), self.now);
        let state = &mut self.states[id as usize];
        let Some(copies) = &mut state.copies else { return };
        let Some(to) = copies.to.take() else { return };
        if job.checkpoint > 0.0 {
            copies.saved += ((state.base - left) * state.unit / job.checkpoint + 1e-9) as u64 + u64::from(notice);
        }
        if let Some(copying) = job.copies.filter(|c| notice && copies.saved.is_multiple_of(u64::from(c.every))) {
            copies.flight = Some((to, left, now + copying.takes));
        }
    }

    /// The failure of a class takes a region, each as likely as any other.
    pub(super) fn draw_region(&mut self) -> u16 {
        let regions = self.lost_nodes.len();
        let draw = self.outages.places.as_mut().map_or(0.0, uniform);
        ((draw * regions as f64) as usize).min(regions - 1) as u16
    }

    /// A region is lost with its nodes and all that was kept there, and noticed after a while.
    pub(super) fn lose_region(&mut self, region: u16, detect: f64, lasts: f64) {
        if self.lost_nodes[region as usize].is_some() {
            return;
        }
        let nodes: Vec<u32> =
            (0..self.set.cluster.nodes().len() as u32).filter(|&n| self.region_of(n) == region && self.is_there(n)).collect();
        self.lost_nodes[region as usize] = Some(nodes.clone());
        self.out.failures += 1;
        let warm: Vec<u32> = self.out.services.iter().map(|s| s.warm.len() as u32).collect();
        let mut loss = RegionLoss { region, at: self.now, lasts, jobs: 0, replicas: 0 };
        for id in 0..self.states.len() as u32 {
            self.lose_job(id, &mut loss, detect);
        }
        self.out.region_losses.push(loss);
        for &node in &nodes {
            self.leave(node);
            self.cluster.set_condition(node, Condition::Down);
        }
        for (i, before) in warm.into_iter().enumerate() {
            let state = &self.out.services[i];
            let gone = before - state.warm.len() as u32;
            if gone > 0 {
                let requests = [state.requests, state.attained];
                self.out.failovers.push(Failover { service: i as u16, at: self.now, warm: [before, gone], back: -1.0, requests });
                self.open_failovers.push(self.out.failovers.len() - 1);
            }
        }
        self.events.push(SimTime::new(self.now + lasts), Event::RegionBack { region });
    }

    /// What the loss of a region does to one job or replica.
    fn lose_job(&mut self, id: u32, loss: &mut RegionLoss, detect: f64) {
        if self.out.fates[id as usize].end >= 0.0 {
            return;
        }
        let runs = self.states[id as usize].grant.as_ref().and_then(|g| g.parts.first()).map(|p| p.node);
        if matches!(self.job(id).work, Work::Endless) {
            if runs.is_some_and(|n| self.region_of(n) == loss.region) {
                loss.replicas += 1;
                self.break_job(id, false);
            }
            return;
        }
        self.settle(id);
        let Some(mut copies) = self.states[id as usize].copies.take() else { return };
        copies.forget(loss.region);
        if copies.home != loss.region {
            if copies.to == Some(loss.region) {
                let state = &self.states[id as usize];
                (copies.to, copies.from) = (self.other(copies.home), state.base - self.left(id));
            }
            self.states[id as usize].copies = Some(copies);
            return;
        }
        // A copy that is under way cannot be completed.
        (copies.flight, copies.to) = (None, None);
        self.states[id as usize].copies = Some(copies);
        loss.jobs += 1;
        self.throw_back(id, runs.is_some(), detect);
    }

    /// A job goes back to its newest copy elsewhere, or to the beginning, and waits for nodes.
    fn throw_back(&mut self, id: u32, runs: bool, detect: f64) {
        let job = *self.job(id);
        let whole = match job.work {
            Work::Time(work) | Work::Steps { steps: work, .. } => work,
            Work::Endless => return,
        };
        if runs {
            self.withdraw(id);
        } else {
            let place = self.place_of(id);
            self.queue.remove(&job, place);
        }
        let now = self.now;
        let state = &mut self.states[id as usize];
        let far = state.copies.as_ref().and_then(|c| c.far).map_or(whole, |f| f.1);
        let lost = (far - state.left).max(0.0) * state.unit;
        let again = if runs { detect } else { 0.0 };
        state.left = state.left.max(far) + again / state.unit;
        let fate = &mut self.out.fates[id as usize];
        fate.wasted += f64::from(state.size) * (lost + again);
        fate.failures += u32::from(runs);
        let ways = &mut self.out.ways_back;
        if let Some(copies) = &mut state.copies {
            copies.home = copies.far.map_or(NOWHERE, |f| f.0);
            // Lost again before it worked again: one way back.
            let open = copies.hit.map(|h| h as usize).filter(|&h| ways[h].back < 0.0 || ways[h].back > now);
            match open {
                Some(h) => (ways[h].back, ways[h].lost) = (-1.0, ways[h].lost + lost),
                None => {
                    copies.hit = Some(ways.len() as u32);
                    ways.push(WayBack { job: id, at: now, lost, back: -1.0 });
                }
            }
        }
        self.enqueue(id);
    }

    /// The nodes of a region are back; jobs without a place for their copies have one again.
    pub(super) fn region_back(&mut self, region: u16) {
        let nodes = self.lost_nodes[region as usize].take().unwrap_or_default();
        for node in nodes {
            if self.cluster.condition(node) == Condition::Down {
                self.join(node);
                self.cluster.set_condition(node, Condition::Up);
            }
        }
        for id in self.running.iter().map(|r| r.1).collect::<Vec<_>>() {
            let done = self.states[id as usize].base - self.left(id);
            if let Some(copies) = self.states[id as usize].copies.as_mut().filter(|c| c.to.is_none() && c.home != region) {
                (copies.to, copies.from) = (Some(region), done);
            }
        }
    }

    /// A replica of a service is warm: a service that failed over may have as many as before, or as are wanted.
    pub(super) fn failed_over(&mut self, service: usize) {
        let (now, out) = (self.now, &mut self.out);
        let state = &out.services[service];
        let (warm, requests) = (state.warm.len() as u32, [state.requests, state.attained]);
        let wanted = state.wanted.max(1);
        let failovers = &mut out.failovers;
        self.open_failovers.retain(|&i| {
            let f = &mut failovers[i];
            let back = f.service as usize == service && warm >= f.warm[0].min(wanted);
            if back {
                f.back = now;
                f.requests = [requests[0] - f.requests[0], requests[1] - f.requests[1]];
            }
            !back
        });
    }

    /// What had not failed over by the end counts until then.
    pub(super) fn close_failovers(&mut self) {
        for i in std::mem::take(&mut self.open_failovers) {
            let f = &mut self.out.failovers[i];
            let state = &self.out.services[f.service as usize];
            f.requests = [state.requests - f.requests[0], state.attained - f.requests[1]];
        }
    }
}
