//! Conservative backfill where nodes matter: every job that waits has a time and nodes of its own, and keeps them until it finds something
//! earlier that is in nobody's way. Literature: `docs/models/scheduling.md`.
//!
//! Accelerators of a node are interchangeable, so a reservation fits where the greatest number in use at once, while it lasts, leaves room.

use super::attempt::asked;
use super::cluster::{Cluster, Condition};
use super::grant::Ask;
use super::order::{Admission, Walk, admission};
use super::place::{Placement, find};
use super::replay::Sim;
use std::collections::BTreeMap;

/// Nodes for a job at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slot {
    /// When, seconds.
    start: f64,
    /// Nodes with the accelerators on each.
    parts: Vec<(u32, u32)>,
}

/// What somebody has of a node for a while.
#[derive(Debug, Clone, Copy)]
struct Booking {
    id: u32,
    start: f64,
    end: f64,
    accelerators: u32,
    cpus: f64,
    memory: f64,
}

/// All bookings from now on.
struct Book {
    now: f64,
    /// The cluster with nothing on it; nodes that are away or take nothing new are out.
    empty: Cluster,
    /// By node.
    nodes: BTreeMap<u32, Vec<Booking>>,
}

impl Book {
    fn add(&mut self, id: u32, parts: impl Iterator<Item = (u32, u32)>, ask: &Ask, start: f64, end: f64) {
        for (node, accelerators) in parts {
            let times = if ask.accelerators == 0 { 1.0 } else { f64::from(accelerators) };
            let booking = Booking { id, start, end, accelerators, cpus: ask.cpus * times, memory: ask.memory * times };
            self.nodes.entry(node).or_default().push(booking);
        }
    }

    fn remove(&mut self, id: u32) {
        self.nodes.values_mut().for_each(|list| list.retain(|b| b.id != id));
    }

    /// The most that is in use at once on a node within a time: accelerators, cores, memory.
    fn peak(&self, node: u32, from: f64, to: f64) -> (u32, f64, f64) {
        let list = self.nodes.get(&node).map_or(&[][..], Vec::as_slice);
        let meets = || list.iter().filter(|b| b.start < to && b.end > from);
        let at = |t: f64| {
            let here = meets().filter(|b| b.start <= t && b.end > t);
            here.fold((0, 0.0, 0.0), |sum, b| (sum.0 + b.accelerators, sum.1 + b.cpus, sum.2 + b.memory))
        };
        let most = |a: (u32, f64, f64), b: (u32, f64, f64)| (a.0.max(b.0), a.1.max(b.1), a.2.max(b.2));
        meets().map(|b| b.start.max(from)).map(at).fold((0, 0.0, 0.0), most)
    }

    /// What is free throughout a time.
    fn view(&self, from: f64, to: f64) -> Cluster {
        let mut out = self.empty.clone();
        for &node in self.nodes.keys() {
            let (accelerators, cpus, memory) = self.peak(node, from, to);
            out.occupy(node, accelerators, cpus, memory);
        }
        out
    }

    /// Whether a slot is still free.
    fn holds(&self, slot: &Slot, ask: &Ask, length: f64) -> bool {
        let mut here = self.empty.clone();
        let mut fits = |&(node, count): &(u32, u32)| {
            let (accelerators, cpus, memory) = self.peak(node, slot.start, slot.start + length);
            here.occupy(node, accelerators, cpus, memory);
            let up = here.condition(node) == Condition::Up;
            up && if count == 0 { here.has_host(node, ask) } else { here.capacity(node, ask) >= count }
        };
        slot.start >= self.now && slot.parts.iter().all(&mut fits)
    }

    /// The earliest slot of a job, before a time.
    fn earliest(&self, rule: &dyn Placement, ask: &Ask, length: f64, before: f64) -> Option<Slot> {
        let all = || self.nodes.values().flatten();
        let mut times: Vec<f64> = all().map(|b| b.end).filter(|t| *t > self.now && *t < before).chain([self.now]).collect();
        times.sort_by(f64::total_cmp);
        times.dedup();
        let whole = self.empty.free_of(u64::MAX);
        // At a time at which too many accelerators are in use there is no need to look at nodes.
        let up = || self.nodes.iter().filter(|n| self.empty.condition(*n.0) == Condition::Up).flat_map(|n| n.1);
        let may = |t: f64| {
            let used: u32 = up().filter(|b| b.start <= t && b.end > t).map(|b| b.accelerators).sum();
            t < before && used.saturating_add(ask.accelerators) <= whole
        };
        let at = |start: f64| Some(Slot { start, parts: find(rule, &self.view(start, start + length), ask)? });
        times.into_iter().filter(|t| may(*t)).find_map(at)
    }
}

impl Sim<'_> {
    /// What runs, on a cluster with nothing else on it.
    fn book(&self) -> Book {
        let now = self.now;
        let mut book = Book { now, empty: self.cluster.clone(), nodes: BTreeMap::new() };
        for &(end, id) in &self.running {
            let Some(grant) = &self.states[id as usize].grant else { continue };
            let ask = Ask { accelerators: self.states[id as usize].size, ..self.job(id).ask };
            book.empty.release(grant, &ask);
            // What should have ended by now ends an instant later.
            let end = end.seconds().max(now + 1e-12 + now * 4.0 * f64::EPSILON);
            book.add(id, grant.parts.iter().map(|p| (p.node, p.mask.count_ones())), &ask, f64::NEG_INFINITY, end);
        }
        book
    }

    /// The slots that jobs keep, those that begin first first; what no longer fits is given up.
    fn keep_slots(&mut self, book: &mut Book) -> BTreeMap<u32, Slot> {
        let mut slots: Vec<(u32, Slot)> = std::mem::take(&mut self.slots).into_iter().collect();
        slots.sort_by(|a, b| a.1.start.total_cmp(&b.1.start).then(a.0.cmp(&b.0)));
        let mut kept = BTreeMap::new();
        for (id, slot) in slots.into_iter().filter(|(id, _)| self.states[*id as usize].grant.is_none()) {
            let (ask, length) = (self.job(id).ask, self.said(id));
            if book.holds(&slot, &ask, length) {
                book.add(id, slot.parts.iter().copied(), &ask, slot.start, slot.start + length);
                kept.insert(id, slot);
            }
        }
        kept
    }

    /// One look at the queue under reservations by node.
    pub(super) fn look_planned(&mut self) {
        while self.plan_queue() {}
    }

    /// Returns whether room was made, so that everything has to be looked at again.
    fn plan_queue(&mut self) -> bool {
        let mut book = self.book();
        let mut kept = self.keep_slots(&mut book);
        let mut walk = Walk::new(&self.queue);
        let mut held = 0usize;
        while let Some((id, group)) = walk.next(&self.queue, &self.usage, &self.set.teams) {
            let job = *self.job(id);
            let admitted = admission(&self.set.teams, &self.usage, job.team as usize, asked(&job.ask));
            if admitted == Admission::No || admitted == Admission::Lent && !self.policy.reclaim {
                if self.order.by_team() {
                    walk.close(group);
                }
                continue;
            }
            let (old, length) = (kept.remove(&id), self.said(id));
            if old.is_some() {
                book.remove(id);
            } else {
                // Those after it stand back, and are booked again when it is their turn.
                std::mem::take(&mut kept).into_keys().for_each(|other| book.remove(other));
            }
            let before = old.as_ref().map_or(f64::INFINITY, |s| s.start);
            let found = if admitted == Admission::Lent { None } else { book.earliest(self.placement, &job.ask, length, before) };
            let Some(slot) = found.or(old.filter(|_| admitted != Admission::Lent)) else {
                if held == 0 && self.make_room(id, &job, admitted) {
                    self.slots.append(&mut kept);
                    return true;
                }
                held += 1;
                continue;
            };
            book.add(id, slot.parts.iter().copied(), &job.ask, slot.start, slot.start + length);
            if slot.start <= self.now {
                self.start(id, &slot.parts);
                continue;
            }
            if held == 0 && self.make_room(id, &job, admitted) {
                self.slots.append(&mut kept);
                return true;
            }
            self.slots.insert(id, slot);
            held += 1;
            if held > self.policy.depth {
                break;
            }
        }
        self.slots.append(&mut kept);
        false
    }
}
