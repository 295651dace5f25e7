//! One look at the queue: who starts, who waits, and who makes room (preemption, reclaimed quota, migration, resizing).

use super::attempt::asked;
use super::backfill::{Held, View, backfill};
use super::grant::{Ask, Grant, Within};
use super::job::{BackfillKind, Job, Work};
use super::order::{Admission, Walk, admission};
use super::place::find;
use super::replay::Sim;

/// Shapes that did not fit in this look; what asks for no less of the same does not fit either.
#[derive(Default)]
struct Failed {
    list: Vec<Ask>,
}

impl Failed {
    fn implies(&self, ask: &Ask) -> bool {
        self.list.iter().any(|f| {
            f.pools == ask.pools
                && f.within >= ask.within
                && f.chunk == ask.chunk
                && f.share <= ask.share
                && f.cpus <= ask.cpus
                && f.memory <= ask.memory
                && (f.accelerators == ask.accelerators || f.chunk <= 1 && f.accelerators > 0 && f.accelerators <= ask.accelerators)
        })
    }
}

impl Sim<'_> {
    /// Starts what may start now.
    pub(super) fn schedule(&mut self) {
        if !self.queue.is_empty() {
            if self.policy.backfill == BackfillKind::Conservative && !self.counts_only {
                self.look_planned();
            } else {
                self.look();
            }
        }
        if self.policy.grow && self.queue.is_empty() {
            self.grow();
        }
    }

    fn look(&mut self) {
        let mut rule = backfill(self.policy.backfill);
        let mut walk = Walk::new(&self.queue);
        let mut failed = Failed::default();
        let mut held = 0usize;
        let makes_room = self.policy.preempt || self.policy.reclaim || self.policy.grow || self.spot;
        while let Some((id, group)) = walk.next(&self.queue, &self.usage, &self.set.teams) {
            let full = self.counts_only && self.cluster.free_of(u64::MAX) < self.queue.smallest();
            if full && !(makes_room && held == 0) {
                return;
            }
            let job = *self.job(id);
            let admitted = admission(&self.set.teams, &self.usage, job.team as usize, asked(&job.ask));
            if admitted == Admission::No || admitted == Admission::Lent && !self.policy.reclaim {
                // A team out of quota holds up nobody else.
                if self.order.by_team() {
                    walk.close(group);
                }
                continue;
            }
            let known = failed.implies(&job.ask);
            let fits = if known || admitted == Admission::Lent { None } else { find(self.placement, &self.cluster, &job.ask) };
            if let Some(parts) = fits {
                let length = self.said(id);
                if held == 0 || rule.allows(self.now, &self.cluster, &job.ask, length, &parts) {
                    self.start(id, &parts);
                    continue;
                }
            } else if !known && held == 0 && self.make_room(id, &job, admitted) {
                failed.list.clear();
                continue;
            } else if !known {
                failed.list.push(job.ask);
            }
            held += 1;
            let length = self.said(id);
            if !self.hold(&mut *rule, &job.ask, length) || held > self.policy.depth {
                return;
            }
        }
    }

    fn hold(&self, rule: &mut dyn super::backfill::Backfill, ask: &Ask, length: f64) -> bool {
        let of = |&(end, id): &(crate::units::SimTime, u32)| {
            Some(Held { end: end.seconds(), ask: &self.job(id).ask, grant: self.states[id as usize].grant.as_ref()? })
        };
        let mut running = self.running.iter().filter_map(of);
        let view =
            View { now: self.now, cluster: &self.cluster, running: &mut running, placement: self.placement, counts_only: self.counts_only };
        rule.hold(view, ask, length)
    }

    /// Whether a job could start on the whole cluster with nothing else on it, and within the quotas.
    pub(super) fn can_ever(&self, job: &Job) -> bool {
        let idle = super::order::Usage { used: vec![0; self.usage.used.len()] };
        if admission(&self.set.teams, &idle, job.team as usize, asked(&job.ask)) == Admission::No {
            return false;
        }
        // Nodes of elastic pools can come.
        find(self.placement, &self.set.cluster, &job.ask).is_some()
    }

    /// Stops, shrinks or moves others so that a job can start, and starts it.
    pub(super) fn make_room(&mut self, id: u32, job: &Job, admitted: Admission) -> bool {
        if admitted == Admission::Lent || self.policy.reclaim && admitted == Admission::Own {
            let victims = self.borrowers(job);
            if self.take_from(id, job, &victims) {
                return true;
            }
        }
        if admitted == Admission::Lent {
            return false;
        }
        if self.policy.grow && self.shrink_for(id, job) {
            return true;
        }
        if (self.policy.preempt || self.spot) && self.stop_others(id, job) {
            return true;
        }
        self.policy.migrate.is_some_and(|cost| self.migrate_for(id, &job.ask, cost))
    }

    /// Stops those that go later, the last first.
    fn stop_others(&mut self, id: u32, job: &Job) -> bool {
        let place = self.place_of(id);
        let mut victims: Vec<u32> = self.running.iter().map(|r| r.1).filter(|&v| self.job(v).preemptible).collect();
        victims.retain(|&v| {
            let other = self.place_of(v);
            other.0 && !place.0 || self.policy.preempt && (other.0, other.1) > (place.0, place.1)
        });
        victims.sort_unstable_by_key(|&v| std::cmp::Reverse(self.place_of(v)));
        self.take_from(id, job, &victims)
    }

    /// Running jobs of teams in the same cohort that use more than their own, those that started last first.
    fn borrowers(&self, job: &Job) -> Vec<u32> {
        let teams = &self.set.teams;
        let Some(cohort) = teams.get(job.team as usize).and_then(|t| t.cohort) else { return Vec::new() };
        let borrows = |team: u16| {
            let t = &teams[team as usize];
            team != job.team && t.cohort == Some(cohort) && t.quota.is_some_and(|q| self.usage.used[team as usize] > u64::from(q) * 1000)
        };
        let mut out: Vec<u32> =
            self.running.iter().map(|r| r.1).filter(|&v| borrows(self.job(v).team) && self.job(v).preemptible).collect();
        out.sort_unstable_by(|&a, &b| {
            let started = |v: u32| self.states[v as usize].started;
            started(b).total_cmp(&started(a)).then(b.cmp(&a))
        });
        out
    }

    /// Whether a job may start and where, as things stand.
    fn could_start(&self, job: &Job) -> Option<Vec<(u32, u32)>> {
        match admission(&self.set.teams, &self.usage, job.team as usize, asked(&job.ask)) {
            Admission::Own | Admission::Borrowed => find(self.placement, &self.cluster, &job.ask),
            _ => None,
        }
    }

    /// What a running job holds, off the books or on them again; for trying.
    fn lift(&mut self, id: u32, on: bool) {
        let job = *self.job(id);
        let ask = Ask { accelerators: self.states[id as usize].size, ..job.ask };
        let Some(grant) = self.states[id as usize].grant.take() else { return };
        if on {
            self.cluster.retake(&grant, &ask);
            self.usage.used[job.team as usize] += asked(&ask);
        } else {
            self.cluster.release(&grant, &ask);
            self.usage.used[job.team as usize] -= asked(&ask);
        }
        self.states[id as usize].grant = Some(grant);
    }

    /// Stops as few of the victims, in their order, as let the job start; then starts it. Nothing changes where all are not enough.
    fn take_from(&mut self, id: u32, job: &Job, victims: &[u32]) -> bool {
        let held: u32 = victims.iter().map(|&v| self.states[v as usize].size).sum();
        if victims.is_empty() || self.cluster.free_of(job.ask.pools) + held < job.ask.accelerators {
            return false;
        }
        let mut lifted = Vec::new();
        for &victim in victims {
            self.lift(victim, false);
            lifted.push(victim);
            if self.could_start(job).is_some() {
                break;
            }
        }
        if self.could_start(job).is_none() {
            lifted.iter().for_each(|&v| self.lift(v, true));
            return false;
        }
        // Those whose stop turned out not to matter go on.
        let mut stopped = Vec::new();
        for &victim in lifted.iter().rev() {
            self.lift(victim, true);
            if self.could_start(job).is_none() {
                self.lift(victim, false);
                stopped.push(victim);
            }
        }
        for &victim in &stopped {
            self.lift(victim, true);
        }
        for &victim in &stopped {
            self.preempt(victim);
        }
        let Some(parts) = self.could_start(job) else { return false };
        self.start(id, &parts);
        true
    }

    /// Takes back what grown jobs have beyond what they asked for, those that have most of it first.
    fn shrink_for(&mut self, id: u32, job: &Job) -> bool {
        let over = |sim: &Self, v: u32| sim.states[v as usize].size.saturating_sub(sim.job(v).ask.accelerators);
        let mut grown: Vec<u32> = self.running.iter().map(|r| r.1).filter(|&v| over(self, v) > 0).collect();
        let spare: u32 = grown.iter().map(|&v| over(self, v)).sum();
        if grown.is_empty() || self.cluster.free_of(job.ask.pools) + spare < job.ask.accelerators {
            return false;
        }
        grown.sort_unstable_by_key(|&v| (std::cmp::Reverse(over(self, v)), v));
        for victim in grown {
            let least = self.job(victim).ask.accelerators;
            self.resize(victim, least);
            if let Some(parts) = self.could_start(job) {
                self.start(id, &parts);
                return true;
            }
        }
        false
    }

    /// Gives a running job another size; it saves and starts again. It had room for less, so it has room.
    fn resize(&mut self, id: u32, size: u32) {
        let job = *self.job(id);
        let before = self.states[id as usize].size;
        if self.withdraw(id).is_none() {
            return;
        }
        for size in [size, before] {
            self.states[id as usize].size = size;
            if let Some(parts) = find(self.placement, &self.cluster, &Ask { accelerators: size, ..job.ask }) {
                self.give(id, &parts, job.restart);
                return;
            }
        }
        self.states[id as usize].size = job.ask.accelerators;
        self.enqueue(id);
    }

    /// Lets jobs grow into what nobody waits for: one after the other the job that gains most time.
    fn grow(&mut self) {
        loop {
            let free = self.cluster.free_of(u64::MAX);
            let mut best: Option<(f64, u32, u32)> = None;
            for &(_, id) in self.running.iter().take_while(|_| free > 0) {
                let (job, state) = (self.job(id), &self.states[id as usize]);
                let Some(elastic) = job.elastic else { continue };
                let size = elastic.most.min(state.size + self.cluster.free_of(job.ask.pools));
                if size <= state.size {
                    continue;
                }
                let least = job.ask.accelerators;
                let left = self.left(id);
                let saved = left * state.pace * (1.0 - elastic.speedup(least, state.size) / elastic.speedup(least, size)) - job.restart;
                if saved > 0.0 && best.is_none_or(|b| saved > b.0) {
                    best = Some((saved, id, size));
                }
            }
            let Some((_, id, size)) = best else { return };
            self.resize(id, size);
            if self.states[id as usize].size < size {
                return;
            }
        }
    }

    /// Moves jobs off a node, domain, leaf or pod at checkpoints so that a job finds the nearness that it asks for. Tried are the trees
    /// with most room.
    fn migrate_for(&mut self, id: u32, ask: &Ask, cost: f64) -> bool {
        if ask.accelerators == 0 || self.cluster.free_of(ask.pools) < ask.accelerators {
            return false;
        }
        let mut targets: Vec<(u32, Vec<u32>)> = match ask.within {
            Within::Any => return false,
            Within::Node => (0..self.cluster.nodes().len() as u32).map(|n| (self.cluster.free_on(n), vec![n])).collect(),
            near => {
                let level = near as usize - 1;
                let tree = |t| (self.cluster.free_in(level, t, ask.pools), self.cluster.members(level, t).to_vec());
                (0..self.cluster.trees(level).0).map(tree).collect()
            }
        };
        let room = |nodes: &[u32]| -> u32 {
            let takes = |n: &&u32| self.is_there(**n) && ask.pools >> self.cluster.nodes()[**n as usize].pool & 1 == 1;
            nodes.iter().filter(takes).map(|&n| u32::from(self.cluster.pool(n).accelerators)).sum()
        };
        targets.retain(|t| room(&t.1) >= ask.accelerators);
        targets.sort_by_key(|t| (u32::MAX - t.0, t.1.first().copied()));
        targets.truncate(8);
        targets.into_iter().any(|(_, nodes)| self.clear(id, ask, &nodes, cost))
    }

    /// Moves jobs off some nodes until the job fits, the smallest first; whatever was tried is undone where it does not work out.
    fn clear(&mut self, id: u32, ask: &Ask, nodes: &[u32], cost: f64) -> bool {
        let on = |grant: &Grant| grant.parts.iter().any(|p| nodes.contains(&p.node));
        let mut here: Vec<u32> = self.running.iter().map(|r| r.1).collect();
        here.retain(|&v| {
            let (job, state) = (self.job(v), &self.states[v as usize]);
            state.grant.as_ref().is_some_and(on) && job.preemptible && !matches!(job.work, Work::Endless) && state.since <= self.now
        });
        here.sort_unstable_by_key(|&v| (self.states[v as usize].size, v));
        let mut moved = Vec::new();
        for &victim in &here {
            self.lift(victim, false);
            moved.push(victim);
            let Some(parts) = find(self.placement, &self.cluster, ask) else { continue };
            let mine = self.cluster.take(&parts, ask);
            // The largest of those that move look for a place first.
            let mut places: Vec<(u32, Grant, Ask)> = Vec::new();
            let all = moved.iter().rev().all(|&v| {
                let wanted = Ask { accelerators: self.states[v as usize].size, ..self.job(v).ask };
                let found = find(self.placement, &self.cluster, &wanted);
                found.map(|p| places.push((v, self.cluster.take(&p, &wanted), wanted))).is_some()
            });
            places.iter().for_each(|(_, grant, wanted)| self.cluster.release(grant, wanted));
            self.cluster.release(&mine, ask);
            if all {
                moved.iter().for_each(|&v| self.lift(v, true));
                self.carry_out(id, &parts, &places, cost);
                return true;
            }
        }
        moved.iter().for_each(|&v| self.lift(v, true));
        false
    }

    fn carry_out(&mut self, id: u32, parts: &[(u32, u32)], places: &[(u32, Grant, Ask)], cost: f64) {
        for (v, ..) in places {
            self.withdraw(*v);
            self.out.fates[*v as usize].moves += 1;
        }
        self.start(id, parts);
        for (v, grant, _) in places {
            let parts: Vec<(u32, u32)> = grant.parts.iter().map(|p| (p.node, p.mask.count_ones())).collect();
            self.give(*v, &parts, cost);
        }
    }
}
