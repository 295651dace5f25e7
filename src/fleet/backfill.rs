//! What may pass a job that cannot start yet. Literature: `docs/models/scheduling.md`.
//!
//! Reservations count accelerators where jobs may lie anywhere. Where nodes matter (distance, workers, cores), EASY places the first job
//! that waits on a copy of the cluster as it will be, and what would take its place there has to end before; conservative reservations by
//! node are in `planned`.

use super::cluster::Cluster;
use super::grant::{Ask, Grant};
use super::job::BackfillKind;
use super::place::{Placement, find};

/// A job that runs, as far as reservations go.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// When it is said to end.
    pub end: f64,
    /// What it asked for.
    pub ask: &'a Ask,
    /// What it has.
    pub grant: &'a Grant,
}

/// What a rule looks at.
pub struct View<'a> {
    /// Now, seconds.
    pub now: f64,
    /// The cluster now.
    pub cluster: &'a Cluster,
    /// Jobs that run, by the end that is said of them.
    pub running: &'a mut dyn Iterator<Item = Held<'a>>,
    /// Where jobs go.
    pub placement: &'a dyn Placement,
    /// Whether only counts matter.
    pub counts_only: bool,
}

/// A rule, for one way through the queue.
pub trait Backfill {
    /// A job cannot start now. Returns whether those behind it are looked at.
    fn hold(&mut self, view: View<'_>, ask: &Ask, length: f64) -> bool;
    /// Whether a job that fits now, on these nodes, may start; if so it is taken to do so.
    fn allows(&mut self, now: f64, cluster: &Cluster, ask: &Ask, length: f64, parts: &[(u32, u32)]) -> bool;
}

/// The rule of a kind.
#[must_use]
pub fn backfill(kind: BackfillKind) -> Box<dyn Backfill> {
    match kind {
        BackfillKind::None => Box::new(Nothing),
        BackfillKind::Greedy => Box::new(Greedy),
        BackfillKind::Easy => Box::new(Easy::default()),
        BackfillKind::Conservative => Box::new(Conservative::default()),
    }
}

/// Nothing passes.
struct Nothing;

impl Backfill for Nothing {
    fn hold(&mut self, _: View<'_>, _: &Ask, _: f64) -> bool {
        false
    }
    fn allows(&mut self, _: f64, _: &Cluster, _: &Ask, _: f64, _: &[(u32, u32)]) -> bool {
        true
    }
}

/// All that fits passes.
struct Greedy;

impl Backfill for Greedy {
    fn hold(&mut self, _: View<'_>, _: &Ask, _: f64) -> bool {
        true
    }
    fn allows(&mut self, _: f64, _: &Cluster, _: &Ask, _: f64, _: &[(u32, u32)]) -> bool {
        true
    }
}

/// The reservation of the first job that waits.
enum Shadow {
    /// Accelerators that are left beside it when it starts, in its pools.
    Count { pools: u64, extra: u32 },
    /// The cluster when it has started; none where nothing that runs is in its way (a node is down).
    Nodes(Option<Box<Cluster>>),
}

/// EASY: what passes does not delay the first job that waits.
#[derive(Default)]
struct Easy {
    shadow: Option<(f64, Shadow)>,
}

impl Backfill for Easy {
    fn hold(&mut self, view: View<'_>, ask: &Ask, _: f64) -> bool {
        if self.shadow.is_none() {
            self.shadow = Some(if view.counts_only { by_count(view, ask) } else { by_nodes(view, ask) });
        }
        true
    }
    fn allows(&mut self, now: f64, _: &Cluster, ask: &Ask, length: f64, parts: &[(u32, u32)]) -> bool {
        let Some((at, shadow)) = &mut self.shadow else { return true };
        if now + length <= *at {
            return true;
        }
        match shadow {
            Shadow::Count { pools, extra } => {
                if *pools & ask.pools == 0 {
                    return true;
                }
                let fits = ask.accelerators <= *extra;
                if fits {
                    *extra -= ask.accelerators;
                }
                fits
            }
            Shadow::Nodes(None) => true,
            Shadow::Nodes(Some(then)) => {
                let fits = parts.iter().all(|&(n, count)| if count == 0 { then.has_host(n, ask) } else { then.capacity(n, ask) >= count });
                if fits {
                    then.take(parts, ask);
                }
                fits
            }
        }
    }
}

fn by_count(view: View<'_>, ask: &Ask) -> (f64, Shadow) {
    // The kind of accelerators that has enough first.
    let mut kinds: Vec<(u64, u32)> = view.cluster.kinds(ask.pools).map(|pools| (pools, view.cluster.free_of(pools))).collect();
    let enough = |kinds: &[(u64, u32)]| kinds.iter().find(|k| k.1 >= ask.accelerators).copied();
    for held in view.running {
        for part in &held.grant.parts {
            let pool = view.cluster.nodes()[part.node as usize].pool;
            if view.cluster.condition(part.node) == super::Condition::Up {
                kinds.iter_mut().filter(|k| k.0 >> pool & 1 == 1).for_each(|k| k.1 += part.mask.count_ones());
            }
        }
        if let Some((pools, free)) = enough(&kinds) {
            return (held.end, Shadow::Count { pools, extra: free - ask.accelerators });
        }
    }
    (f64::INFINITY, Shadow::Count { pools: 0, extra: 0 })
}

fn by_nodes(view: View<'_>, ask: &Ask) -> (f64, Shadow) {
    let mut then = view.cluster.clone();
    for held in view.running {
        then.release(held.grant, held.ask);
        if let Some(parts) = find(view.placement, &then, ask) {
            then.take(&parts, ask);
            return (held.end, Shadow::Nodes(Some(Box::new(then))));
        }
    }
    (f64::INFINITY, Shadow::Nodes(None))
}

/// Free accelerators of a kind from a time on.
type Steps = Vec<(f64, i64)>;

/// Conservative by counts: every job that waits has a reservation, and what passes delays none.
#[derive(Default)]
struct Conservative {
    /// By kind: its pools and the steps, the first of them now.
    kinds: Vec<(u64, Steps)>,
}

impl Conservative {
    fn fill(&mut self, view: View<'_>) {
        let now = view.now;
        self.kinds = view.cluster.kinds(u64::MAX).map(|pools| (pools, vec![(now, i64::from(view.cluster.free_of(pools)))])).collect();
        for held in view.running {
            for part in &held.grant.parts {
                let pool = view.cluster.nodes()[part.node as usize].pool;
                let Some((_, steps)) = self.kinds.iter_mut().find(|k| k.0 >> pool & 1 == 1) else { continue };
                // Ends come in order; what should have ended by now ends an instant later.
                let soon = now + 1e-12 + now * 4.0 * f64::EPSILON;
                let (end, freed) = (held.end.max(soon), i64::from(part.mask.count_ones()));
                match steps.last_mut() {
                    Some(last) if last.0 >= end => last.1 += freed,
                    Some(&mut (_, free)) => steps.push((end, free + freed)),
                    None => {}
                }
            }
        }
    }
    /// The earliest time from which `count` stay free for `length` seconds.
    fn earliest(steps: &Steps, count: i64, length: f64) -> Option<f64> {
        let mut i = 0;
        while i < steps.len() {
            let start = steps[i].0;
            let within = (i..steps.len()).take_while(|&j| steps[j].0 < start + length);
            match within.filter(|&j| steps[j].1 < count).last() {
                None => return Some(start),
                Some(j) => i = j + 1,
            }
        }
        None
    }
    fn reserve(steps: &mut Steps, start: f64, length: f64, count: i64) {
        for at in [start, start + length] {
            let i = steps.partition_point(|s| s.0 <= at);
            if at.is_finite() && i > 0 && steps[i - 1].0 < at {
                steps.insert(i, (at, steps[i - 1].1));
            }
        }
        steps.iter_mut().filter(|s| s.0 >= start && s.0 < start + length).for_each(|s| s.1 -= count);
    }
    /// Reserves for a job on the kind that has room first; returns when.
    fn book(&mut self, ask: &Ask, length: f64) -> f64 {
        let count = i64::from(ask.accelerators);
        let options = self.kinds.iter().enumerate().filter(|(_, k)| k.0 & ask.pools != 0);
        let times = options.filter_map(|(i, k)| Some((Self::earliest(&k.1, count, length)?, i)));
        let Some((start, i)) = times.min_by(|a, b| a.0.total_cmp(&b.0)) else { return f64::INFINITY };
        Self::reserve(&mut self.kinds[i].1, start, length, count);
        start
    }
}

impl Backfill for Conservative {
    fn hold(&mut self, view: View<'_>, ask: &Ask, length: f64) -> bool {
        if self.kinds.is_empty() {
            self.fill(view);
        }
        self.book(ask, length);
        true
    }
    fn allows(&mut self, now: f64, cluster: &Cluster, ask: &Ask, length: f64, parts: &[(u32, u32)]) -> bool {
        if self.kinds.is_empty() {
            // Nobody waits yet: the reservations are made when somebody does, from what then runs.
            return true;
        }
        let count = i64::from(ask.accelerators);
        let pool = parts.first().map_or(0, |p| cluster.nodes()[p.0 as usize].pool);
        let Some((_, steps)) = self.kinds.iter_mut().find(|k| k.0 >> pool & 1 == 1) else { return false };
        if Self::earliest(steps, count, length) != Some(now) {
            return false;
        }
        Self::reserve(steps, now, length, count);
        true
    }
}
