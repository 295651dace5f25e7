//! Runs a task graph: events, compute at the rate that communication kernels leave it, transfers at fair rates.

use super::device::{Device, Running};
use super::fluid::Fluid;
use super::network::{KindLoad, Network, Settled};
use crate::engine::EventQueue;
use crate::fair::ResourceId;
use crate::units::SimTime;
use crate::workload::{ClassId, RouteId, Task, TaskGraph, TaskId, Work};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

/// When every task started and ended, and what the network carried.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Start of every task, seconds.
    pub start: Vec<f64>,
    /// End of every task, seconds.
    pub finish: Vec<f64>,
    /// End of the last task.
    pub makespan: f64,
    /// Events that it took.
    pub events: u64,
    /// The most loaded link of every kind.
    pub loads: Vec<KindLoad>,
    /// Bytes of payload by channel ([`Network::carried`]).
    pub payload: Vec<f64>,
}

/// Work remains and nothing can happen any more: tasks wait for each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Deadlock {
    /// Tasks that wait in a circle, in words.
    pub circle: Vec<String>,
    /// The same tasks.
    pub tasks: Vec<TaskId>,
    /// How many tasks never ran.
    pub stuck: usize,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deadlock: {} tasks never run; these wait for each other: {}", self.stuck, self.circle.join(" → "))
    }
}
impl std::error::Error for Deadlock {}

#[derive(Clone, Copy)]
/// Something ends: a compute task, a delay, the latency of a transfer, a transfer on links of its own.
enum Event {
    Compute { task: u32, generation: u32 },
    Delay { task: u32 },
    Latency { task: u32 },
    Transfer { task: u32 },
}

/// A lane: who waits for it, and the task that gives it back.
#[derive(Default, Clone)]
struct Lane {
    queue: BinaryHeap<Reverse<u32>>,
    until: Option<u32>,
}

/// Lanes, and which of them each task gives back.
#[derive(Default)]
struct Lanes {
    lanes: Vec<Lane>,
    /// (task at whose end, lane), sorted.
    back: Vec<(u32, u32)>,
    /// Lanes that may have become free for somebody.
    stirred: Vec<u32>,
}

impl Lanes {
    fn of(graph: &TaskGraph) -> Self {
        let mut back: Vec<(u32, u32)> = graph.holds().iter().map(|h| (h.last.0, h.lane.0)).collect();
        back.sort_unstable();
        back.dedup();
        Self { lanes: vec![Lane::default(); graph.lanes()], back, stirred: Vec::new() }
    }
    /// Gives back what a task held until its end.
    fn give_back(&mut self, task: u32) {
        let from = self.back.partition_point(|b| b.0 < task);
        for &(last, lane) in &self.back[from..] {
            if last != task {
                break;
            }
            let held = &mut self.lanes[lane as usize];
            if held.until == Some(task) {
                held.until = None;
                self.stirred.push(lane);
            }
        }
    }
}

struct Executor<'a> {
    graph: &'a TaskGraph,
    network: &'a Network<'a>,
    settled: Settled,
    queue: EventQueue<Event>,
    fluid: Fluid,
    shared: Vec<ResourceId>,
    devices: Vec<Device>,
    lanes: Lanes,
    waiting: Vec<u32>,
    ready: Vec<u32>,
    now: f64,
    generation: u32,
    payload: Vec<f64>,
    /// Share of memory that every transfer draws on now.
    drawn: Vec<f64>,
    /// Scratch: transfers whose rate changed.
    moved: Vec<(u32, f64)>,
    /// Scratch: what a transfer uses.
    uses: Vec<(ResourceId, f64)>,
    out: Execution,
    done: usize,
}

/// Runs a graph on a network; `classes` is the number of rank classes. `inside` is payload that routes carried inside compute
/// tasks, as (route, bytes of one operation, operations): it takes no part in sharing and counts for the loads of links.
///
/// # Errors
/// Names the tasks that wait for each other when the graph cannot finish.
pub fn execute(graph: &TaskGraph, network: &Network<'_>, classes: usize, inside: &[(RouteId, f64, f64)]) -> Result<Execution, Deadlock> {
    let settled = network.settle(graph);
    let mut fluid = Fluid::new();
    fluid.watch();
    let shared = settled.capacities.iter().map(|&capacity| fluid.add_resource(capacity)).collect();
    let waiting: Vec<u32> = (0..graph.len()).map(|i| graph.predecessors(TaskId(i as u32)).len() as u32).collect();
    let ready = (0..graph.len() as u32).filter(|&i| waiting[i as usize] == 0).collect();
    let mut executor = Executor {
        graph,
        network,
        payload: vec![0.0; settled.channels.len()],
        settled,
        queue: EventQueue::new(),
        fluid,
        shared,
        devices: vec![Device::default(); classes],
        lanes: Lanes::of(graph),
        waiting,
        ready,
        now: 0.0,
        generation: 0,
        drawn: vec![0.0; graph.len()],
        moved: Vec::new(),
        uses: Vec::new(),
        out: Execution {
            start: vec![0.0; graph.len()],
            finish: vec![0.0; graph.len()],
            makespan: 0.0,
            events: 0,
            loads: Vec::new(),
            payload: Vec::new(),
        },
        done: 0,
    };
    executor.start_background();
    executor.run();
    if executor.done < graph.len() {
        return Err(executor.deadlock());
    }
    executor.out.loads = network.loads(&executor.settled, &executor.payload, inside);
    executor.out.payload = std::mem::take(&mut executor.payload);
    executor.out.makespan = executor.out.finish.iter().copied().fold(0.0, f64::max);
    Ok(executor.out)
}

/// The token of what runs beside the workload.
const BESIDE: u32 = u32::MAX;

impl Executor<'_> {
    /// What runs beside the workload starts with it; its channel is the last.
    fn start_background(&mut self) {
        let (Some(background), Some(channel)) = (self.network.background(), self.settled.channels.last()) else { return };
        let uses: Vec<(ResourceId, f64)> = channel.uses.iter().map(|&(row, c)| (self.shared[row as usize], c)).collect();
        self.fluid.start(0.0, background.bytes, &uses, background.cap.min(channel.solo()), BESIDE);
    }

    fn run(&mut self) {
        let mut ended = Vec::new();
        loop {
            self.begin_ready();
            let flow = self.fluid.next_finish();
            self.redraw();
            let event = self.queue.next_time().map(SimTime::seconds);
            match (event, flow) {
                (None, None) => return,
                (Some(e), f) if f.is_none_or(|f| e <= f) => self.pop(),
                (_, Some(f)) => {
                    self.now = self.now.max(f);
                    self.fluid.finish_at(f, &mut ended);
                    // Before the ends, after which nothing may draw any more.
                    self.redraw();
                    self.out.events += ended.len() as u64;
                    for task in ended.drain(..) {
                        self.end_transfer(task);
                    }
                }
                (Some(_), None) => self.pop(),
            }
        }
    }

    /// Tasks become ready in a fixed order; starting one may make others ready at the same instant. Lanes are given out when nothing
    /// else is ready, so that what has just become ready is considered.
    fn begin_ready(&mut self) {
        loop {
            let mut next = 0;
            while next < self.ready.len() {
                let task = self.ready[next];
                next += 1;
                match self.graph.hold(TaskId(task)) {
                    Some(hold) => {
                        self.lanes.lanes[hold.lane.0 as usize].queue.push(Reverse(task));
                        self.lanes.stirred.push(hold.lane.0);
                    }
                    None => self.begin(task),
                }
            }
            self.ready.clear();
            let Some(lane) = self.lanes.stirred.pop() else { return };
            let lane = &mut self.lanes.lanes[lane as usize];
            if lane.until.is_none()
                && let Some(Reverse(task)) = lane.queue.pop()
            {
                lane.until = self.graph.hold(TaskId(task)).map(|h| h.last.0);
                self.begin(task);
            }
        }
    }

    fn pop(&mut self) {
        let Some((time, event)) = self.queue.pop() else { return };
        self.now = self.now.max(time.seconds());
        match event {
            Event::Compute { task, generation } => {
                let class = self.graph.tasks()[task as usize].class.0 as usize;
                let running = &mut self.devices[class].running;
                if let Some(at) = running.iter().position(|r| r.task == task && r.generation == generation) {
                    running.swap_remove(at);
                    self.out.events += 1;
                    self.end(task);
                }
            }
            Event::Delay { task } => {
                self.out.events += 1;
                self.end(task);
            }
            Event::Latency { task } => {
                self.out.events += 1;
                self.flow(task);
            }
            Event::Transfer { task } => {
                self.out.events += 1;
                self.end_transfer(task);
            }
        }
    }

    fn begin(&mut self, task: u32) {
        self.out.start[task as usize] = self.now;
        let work = self.graph.tasks()[task as usize].work;
        match work {
            Work::Join => self.end(task),
            Work::Delay { seconds } => self.queue.push(SimTime::new(self.now + seconds), Event::Delay { task }),
            Work::Compute { seconds } => {
                let class = self.graph.tasks()[task as usize].class;
                self.generation += 1;
                let memory = self.graph.tasks()[task as usize].memory;
                let running = Running { task, memory, remaining: seconds, since: self.now, generation: self.generation };
                let device = &mut self.devices[class.0 as usize];
                device.running.push(running);
                let end = self.now + seconds / device.rate(memory);
                self.queue.push(SimTime::new(end), Event::Compute { task, generation: running.generation });
            }
            Work::Transfer { bytes, .. } => {
                let cost = self.settled.costs[self.settled.cost_of[task as usize] as usize];
                self.hold(task, cost.share);
                let channel = &self.settled.channels[cost.channel as usize];
                if channel.uses.is_empty() {
                    // On links of its own it ends when it must: its mean rate.
                    self.draw(task, bytes / (cost.latency + bytes / cost.cap));
                    self.queue.push(SimTime::new(self.now + cost.latency + bytes / cost.cap), Event::Transfer { task });
                } else if cost.latency > 0.0 {
                    self.queue.push(SimTime::new(self.now + cost.latency), Event::Latency { task });
                } else {
                    self.flow(task);
                }
            }
        }
    }

    /// The bytes of a transfer start to flow over links that it shares.
    fn flow(&mut self, task: u32) {
        let Work::Transfer { bytes, .. } = self.graph.tasks()[task as usize].work else { return };
        let cost = self.settled.costs[self.settled.cost_of[task as usize] as usize];
        let channel = &self.settled.channels[cost.channel as usize];
        self.uses.clear();
        self.uses.extend(channel.uses.iter().map(|&(row, c)| (self.shared[row as usize], c)));
        self.fluid.start(self.now, bytes, &self.uses, cost.cap, task);
    }

    fn end_transfer(&mut self, task: u32) {
        if task == BESIDE {
            return;
        }
        let cost = self.settled.costs[self.settled.cost_of[task as usize] as usize];
        let Task { work, times, .. } = self.graph.tasks()[task as usize];
        if let Work::Transfer { bytes, .. } = work {
            self.payload[cost.channel as usize] += times * bytes;
        }
        self.hold(task, -cost.share);
        self.draw(task, 0.0);
        self.end(task);
    }

    /// Communication kernels take (or give back) a share of the compute units of the devices of their route's classes.
    fn hold(&mut self, task: u32, share: f64) {
        if share != 0.0 {
            self.change(task, |device| device.hold(share));
        }
    }

    /// A transfer moves at so many bytes of payload a second and draws on the memory of its devices in proportion.
    fn draw(&mut self, task: u32, rate: f64) {
        let cost = self.settled.costs[self.settled.cost_of[task as usize] as usize];
        let draws = (rate * cost.memory).min(1.0);
        let before = std::mem::replace(&mut self.drawn[task as usize], draws);
        if draws.to_bits() != before.to_bits() {
            self.change(task, |device| device.draw(before, draws));
        }
    }

    /// Changes the devices of a transfer's classes, whose compute goes on at other rates.
    fn change(&mut self, task: u32, mut change: impl FnMut(&mut Device)) {
        let Work::Transfer { route, .. } = self.graph.tasks()[task as usize].work else { return };
        let network = self.network;
        for &ClassId(class) in &network.route(route).classes {
            let device = &mut self.devices[class as usize];
            let before = device.pace();
            change(device);
            let pace = device.pace();
            if pace == before {
                continue;
            }
            for running in &mut device.running {
                running.remaining = (running.remaining - (self.now - running.since) * before.rate(running.memory)).max(0.0);
                running.since = self.now;
                self.generation += 1;
                running.generation = self.generation;
                let event = Event::Compute { task: running.task, generation: running.generation };
                self.queue.push(SimTime::new(self.now + running.remaining / pace.rate(running.memory)), event);
            }
        }
    }

    /// Transfers whose rate changed draw on memory at the new one from now on.
    fn redraw(&mut self) {
        let mut moved = std::mem::take(&mut self.moved);
        self.fluid.take_moved(&mut moved);
        for (task, rate) in moved.drain(..) {
            if task != BESIDE {
                self.draw(task, rate);
            }
        }
        self.moved = moved;
    }

    fn end(&mut self, task: u32) {
        self.out.finish[task as usize] = self.now;
        self.done += 1;
        self.lanes.give_back(task);
        let graph = self.graph;
        for next in graph.successors(TaskId(task)) {
            let left = &mut self.waiting[next.0 as usize];
            *left -= 1;
            if *left == 0 {
                self.ready.push(next.0);
            }
        }
    }

    /// Follows what unfinished tasks wait for until a task comes up again: a circle.
    fn deadlock(&self) -> Deadlock {
        let n = self.graph.len();
        let stuck = n - self.done;
        // What a task that waits in a lane waits for: the end of the task that has the lane.
        let mut holder = vec![u32::MAX; n];
        for lane in &self.lanes.lanes {
            lane.queue.iter().for_each(|Reverse(task)| holder[*task as usize] = lane.until.unwrap_or(u32::MAX));
        }
        let waits = |i: usize| self.waiting[i] > 0 || holder[i] != u32::MAX;
        let mut seen_at = vec![usize::MAX; n];
        let mut path = Vec::new();
        let mut at = (0..n).find(|&i| waits(i)).unwrap_or(0);
        while seen_at[at] == usize::MAX {
            seen_at[at] = path.len();
            path.push(at);
            let before = self.graph.predecessors(TaskId(at as u32)).find(|p| waits(p.0 as usize)).map(|p| p.0);
            match before.or(Some(holder[at]).filter(|h| *h != u32::MAX)) {
                Some(before) => at = before as usize,
                None => break,
            }
        }
        let tasks: Vec<TaskId> = path[seen_at[at].min(path.len() - 1)..].iter().rev().map(|&t| TaskId(t as u32)).collect();
        let circle = tasks.iter().map(|t| self.describe(t.0 as usize)).collect();
        Deadlock { circle, tasks, stuck }
    }

    fn describe(&self, task: usize) -> String {
        let task = &self.graph.tasks()[task];
        let over = match task.work {
            Work::Transfer { route, .. } => format!(" over {}", self.network.route(route).name),
            _ => String::new(),
        };
        format!("{} of {} (microbatch {}, chunk {}){over}", task.kind.word(), task.class, task.label.microbatch, task.label.chunk)
    }
}
