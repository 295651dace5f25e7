//! Runs a collective message by message: every message is a flow on its own path, started by what it waits for.

use super::fluid::Fluid;
use crate::collectives::{Message, Plan, Schedule};
use crate::engine::EventQueue;
use crate::fabric::{AcceleratorId, Fabric, LinkId};
use crate::fair::ResourceId;
use crate::ids::Id;
use crate::units::SimTime;
use rustc_hash::FxHashMap;

/// When a message-by-message run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MessageRun {
    /// End of the last message, seconds.
    pub makespan_s: f64,
    /// Messages that were sent.
    pub messages: u64,
}

/// Links of one path with their shares, and where it starts in a common list.
#[derive(Clone, Copy)]
struct Path {
    start: u32,
    end: u32,
}

struct Paths<'f> {
    fabric: &'f Fabric,
    fluid: Fluid,
    resource: Vec<Option<ResourceId>>,
    known: FxHashMap<(AcceleratorId, AcceleratorId, Option<AcceleratorId>), Path>,
    uses: Vec<(ResourceId, f64)>,
}

impl Paths<'_> {
    /// The path of a message; the same two ranks always take the same one.
    fn of(&mut self, message: &Message) -> Path {
        let key = (message.from, message.to, message.via);
        if let Some(&path) = self.known.get(&key) {
            return path;
        }
        let start = self.uses.len() as u32;
        let mut legs = vec![(message.from, message.to)];
        if let Some(via) = message.via {
            legs = vec![(message.from, via), (via, message.to)];
        }
        let mut links: Vec<(LinkId, f64)> = Vec::new();
        for (from, to) in legs {
            self.fabric.route(from, to, self.known.len() as u64 + 1, &mut |link, share| links.push((link, share)));
        }
        for (link, share) in links {
            let fluid = &mut self.fluid;
            let capacity = self.fabric.link(link).capacity;
            let resource = *self.resource[link.index()].get_or_insert_with(|| fluid.add_resource(capacity));
            self.uses.push((resource, share));
        }
        let path = Path { start, end: self.uses.len() as u32 };
        self.known.insert(key, path);
        path
    }
}

/// Runs a schedule for a payload of `bytes` under the plan of its coupled form: the plan's start-up is spread over the steps of the
/// longest way, its rate over the lanes.
#[must_use]
pub fn run_messages(fabric: &Fabric, schedule: &Schedule, plan: &Plan, bytes: f64) -> MessageRun {
    let count = schedule.messages.len();
    let step = plan.latency_s / f64::from(schedule.depth.max(1));
    let mut paths =
        Paths { fabric, fluid: Fluid::new(), resource: vec![None; fabric.link_count()], known: FxHashMap::default(), uses: Vec::new() };
    let path: Vec<Path> = schedule.messages.iter().map(|m| paths.of(m)).collect();
    let Paths { mut fluid, uses, .. } = paths;
    let (next, mut waiting) = followers(schedule);
    let mut earliest = vec![0.0f64; count];
    // What no data has to arrive for starts after one step.
    let mut fed = vec![false; count];
    schedule.data.iter().for_each(|&(_, later)| fed[later as usize] = true);
    earliest.iter_mut().zip(&fed).filter(|(_, fed)| !**fed).for_each(|(e, _)| *e = step);
    let mut queue = EventQueue::new();
    (0..count).filter(|&i| waiting[i] == 0).for_each(|i| queue.push(SimTime::new(earliest[i]), i as u32));
    let (mut ended, mut makespan) = (Vec::new(), 0.0f64);
    loop {
        let now = match (queue.next_time().map(SimTime::seconds), fluid.next_finish()) {
            (Some(q), f) if f.is_none_or(|f| q <= f) => {
                while queue.next_time().map(SimTime::seconds) == Some(q) {
                    let Some((_, i)) = queue.pop() else { break };
                    let message = &schedule.messages[i as usize];
                    let Path { start, end } = path[i as usize];
                    let inside = fabric.site(message.from).domain == fabric.site(message.to).domain;
                    let cap = match message.lane {
                        lane if lane.is_finite() => plan.rate_cap * lane,
                        _ if inside => schedule.inside_rate,
                        _ => f64::INFINITY,
                    };
                    fluid.start(q, message.share * bytes, &uses[start as usize..end as usize], cap, i);
                }
                continue;
            }
            (_, Some(f)) => {
                fluid.finish_at(f, &mut ended);
                f
            }
            _ => break,
        };
        makespan = now;
        for i in ended.drain(..) {
            for &(later, brings) in &next.list[next.start[i as usize] as usize..next.start[i as usize + 1] as usize] {
                let at = later as usize;
                earliest[at] = earliest[at].max(if brings { now + step } else { now });
                waiting[at] -= 1;
                if waiting[at] == 0 {
                    queue.push(SimTime::new(earliest[at]), later);
                }
            }
        }
    }
    MessageRun { makespan_s: makespan, messages: count as u64 }
}

/// For every message those that wait for it, and whether it brings them data.
struct Followers {
    start: Vec<u32>,
    list: Vec<(u32, bool)>,
}

fn followers(schedule: &Schedule) -> (Followers, Vec<u32>) {
    let count = schedule.messages.len();
    let all = || schedule.data.iter().map(|&d| (d, true)).chain(schedule.order.iter().map(|&d| (d, false)));
    let (mut start, mut waiting) = (vec![0u32; count + 1], vec![0u32; count]);
    for ((earlier, later), _) in all() {
        start[earlier as usize + 1] += 1;
        waiting[later as usize] += 1;
    }
    for i in 0..count {
        start[i + 1] += start[i];
    }
    let mut at = start.clone();
    let mut list = vec![(0, false); start[count] as usize];
    for ((earlier, later), brings) in all() {
        list[at[earlier as usize] as usize] = (later, brings);
        at[earlier as usize] += 1;
    }
    (Followers { start, list }, waiting)
}
